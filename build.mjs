// Builds dist/: three bundled CommonJS commands, the HDF5 worker, and the ESM library with its types.
import { spawnSync } from 'node:child_process';
import { chmodSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { buildHdf5Worker } from './build-hdf5-worker.mjs';

const root = dirname(fileURLToPath(import.meta.url));
const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
const dist = join(root, 'dist');
rmSync(dist, { recursive: true, force: true });

const define = { BNSUM_VERSION: JSON.stringify(version) };
const common = { absWorkingDir: root, bundle: true, platform: 'node', target: 'node20', define, logLevel: 'warning' };

const bins = ['bnsum', 'bnconvert', 'bndiff'];

// A command is two files: a few lines that answer --version, and the bundled program that they load for everything else.
const programsApart = {
  name: 'programs-apart',
  setup(build) {
    build.onResolve({ filter: /\/cli\/start-\w+\.ts$/ }, ({ path, kind }) =>
      kind === 'entry-point' ? undefined : { path: `../cli/${/start-(\w+)\.ts$/.exec(path)[1]}.cjs`, external: true },
    );
  },
};
await build({
  ...common,
  entryPoints: bins.map((name) => `bin/${name}.ts`),
  outdir: 'dist/bin',
  format: 'cjs',
  outExtension: { '.js': '.cjs' },
  banner: { js: '#!/usr/bin/env node' },
  // The program is required, not imported: Node would scan it a second time for what it exports.
  supported: { 'dynamic-import': false },
  plugins: [programsApart],
});
await build({
  ...common,
  entryPoints: bins.map((name) => ({ in: `src/cli/start-${name}.ts`, out: name })),
  outdir: 'dist/cli',
  format: 'cjs',
  outExtension: { '.js': '.cjs' },
  external: ['h5wasm'],
  minifySyntax: true,
  minifyWhitespace: true,
});
for (const name of bins) chmodSync(join(dist, 'bin', `${name}.cjs`), 0o755);

await buildHdf5Worker({ root, outdir: join(dist, 'worker'), define });

await build({
  ...common,
  entryPoints: ['src/index.ts'],
  outdir: 'dist/lib',
  format: 'esm',
  splitting: true,
  packages: 'external',
});

const require = createRequire(import.meta.url);
const tsc = require.resolve('typescript/bin/tsc');
const { status } = spawnSync(process.execPath, [tsc, '-p', 'tsconfig.build.json'], { cwd: root, stdio: 'inherit' });
if (status !== 0) process.exit(status ?? 1);
keepReachable(join(dist, 'lib'), 'index.d.ts');

/** tsc declares every source file; a user's compiler can only get to those that the library's own types lead to. */
function keepReachable(folder, first) {
  const kept = new Set([join(folder, first)]);
  for (const path of kept) {
    const text = readFileSync(path, 'utf8');
    for (const [, name] of text.matchAll(/(?:\bfrom\s*|\bimport\s*\(?\s*)['"](\.[^'"]+)['"]/g)) {
      kept.add(join(dirname(path), name.replace(/\.ts$/, '.d.ts')));
    }
  }
  for (const entry of readdirSync(folder, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name);
    if (entry.isFile() && path.endsWith('.d.ts') && !kept.has(path)) rmSync(path);
  }
  removeEmpty(folder);
}

function removeEmpty(folder) {
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    if (entry.isDirectory()) removeEmpty(join(folder, entry.name));
  }
  if (readdirSync(folder).length === 0) rmSync(folder, { recursive: true });
}
