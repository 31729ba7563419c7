// Builds the thread that reads HDF5 (hdf5.cjs) with the library's WebAssembly as a file of its own (hdf5.wasm) beside it.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

// The library's release holds its WebAssembly as text inside a string, which costs a third of the start-up time to parse.
const OPENING = "function findWasmBinary(){return binaryDecode('";
const CLOSING = "')}function getBinarySync(";
// Of the 2 GiB that the library would take, this much is enough: blocks are 64 MiB at most.
const HEAP_LIMIT = [/getHeapMax=\(\)=>2147483648/, `getHeapMax=()=>${768 * 1024 * 1024}`];

/** Builds both files into `outdir`. */
export async function buildHdf5Worker({ root, outdir, define = {} }) {
  const library = join(dirname(fileURLToPath(import.meta.resolve('h5wasm'))), 'hdf5_util.js');
  mkdirSync(outdir, { recursive: true });
  const { code, wasm } = splitLibrary(readFileSync(library, 'utf8'));
  writeFileSync(join(outdir, 'hdf5.wasm'), wasm);
  await build({
    absWorkingDir: root,
    bundle: true,
    platform: 'node',
    target: 'node20',
    define,
    logLevel: 'warning',
    entryPoints: ['src/formats/keras/hdf5-worker.ts'],
    outfile: join(outdir, 'hdf5.cjs'),
    format: 'cjs',
    minifySyntax: true,
    minifyWhitespace: true,
    plugins: [
      {
        name: 'hdf5-library',
        setup({ onResolve, onLoad }) {
          onResolve({ filter: /^h5wasm$/ }, () => ({ path: 'ready', namespace: 'hdf5-library' }));
          onResolve({ filter: /^library$/, namespace: 'hdf5-library' }, () => ({
            path: 'library',
            namespace: 'hdf5-library',
          }));
          onLoad({ filter: /^ready$/, namespace: 'hdf5-library' }, () => ({
            contents: READY,
            loader: 'js',
            resolveDir: root,
          }));
          onLoad({ filter: /^library$/, namespace: 'hdf5-library' }, () => ({
            contents: code,
            loader: 'js',
            resolveDir: root,
          }));
        },
      },
    ],
  });
}

const READY = `
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import factory from 'library';
export const ready = factory({
  noInitialRun: true,
  wasmFile: readFileSync(join(__dirname, 'hdf5.wasm')),
});
`;

function splitLibrary(text) {
  const from = text.indexOf(OPENING);
  const to = text.indexOf(CLOSING);
  if (from < 0 || to < from) throw new Error('h5wasm no longer holds its WebAssembly where this build looks for it');
  const literal = text.slice(from + OPENING.length, to);
  const wasm = decodeLiteral(literal);
  if (wasm.readUInt32LE(0) !== 0x6d736100) throw new Error('what h5wasm holds is not WebAssembly');
  let code =
    `${text.slice(0, from)}function findWasmBinary(){return Module["wasmFile"]${text.slice(to + 2)}`.replaceAll(
      'import.meta.url',
      '"file:///"',
    );
  const [heap, bound] = HEAP_LIMIT;
  if (!heap.test(code)) throw new Error('h5wasm no longer states its largest heap where this build looks for it');
  code = code.replace(heap, bound);
  return { code, wasm };
}

// Bytes as characters, 0 as 0x100, escapes as JavaScript spells them in a string.
function decodeLiteral(literal) {
  const text = new Function(`return '${literal}'`)();
  const bytes = Buffer.alloc(text.length);
  for (let index = 0; index < text.length; index++) {
    const code = text.charCodeAt(index);
    bytes[index] = (~code >> 8) & code;
  }
  return bytes;
}
