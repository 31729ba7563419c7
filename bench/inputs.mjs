// Inputs of the benchmarks that need no framework. Large ones are sparse: their headers are real, their values zeros.
import { open } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { build } from 'esbuild';

const root = dirname(dirname(fileURLToPath(import.meta.url)));

/** The tests' own builders of pickles and zips, made runnable in `folder`. */
async function builders(folder) {
  const entries = ['pickle-builder', 'zip-builder'].map((name) => join(root, 'test', 'formats', 'torch', `${name}.ts`));
  await build({
    entryPoints: entries,
    bundle: true,
    platform: 'node',
    format: 'esm',
    outdir: join(folder, 'builders'),
    outExtension: { '.js': '.mjs' },
    logLevel: 'warning',
  });
  const load = (name) => import(pathToFileURL(join(folder, 'builders', `${name}.mjs`)).href);
  return { ...(await load('pickle-builder')), ...(await load('zip-builder')) };
}

async function writeParts(path, parts, size) {
  const file = await open(path, 'w');
  try {
    await file.truncate(size);
    for (const [at, part] of parts) await file.write(part, 0, part.length, at);
  } finally {
    await file.close();
  }
}

/** A torch.save file of float32 tensors [name, shape] whose values are zeros. */
export async function writeTorch(folder, path, tensors) {
  const { bytes, dict, PROTO2, planZip, STOP, tensor } = await builders(folder);
  const product = (shape) => shape.reduce((total, size) => total * size, 1);
  const parts = tensors.map(([name, shape], key) => {
    const strides = shape.map((_, axis) => product(shape.slice(axis + 1)));
    const value = tensor('FloatStorage', String(key), product(shape), 0, shape, strides);
    // The items of a dict of one, without the opening and the SETITEMS that dict writes.
    return dict([[name, value]]).subarray(2, -1);
  });
  const pickle = Buffer.concat([bytes(PROTO2, '}('), ...parts, bytes('u', STOP)]);
  const { parts: written, size } = planZip([
    { name: 'model/data.pkl', content: pickle },
    { name: 'model/byteorder', content: bytes('little') },
    ...tensors.map(([, shape], key) => ({ name: `model/data/${key}`, size: product(shape) * 4 })),
    { name: 'model/version', content: bytes('3\n') },
  ]);
  await writeParts(path, written, size);
}

export async function writeSafetensors(path, tensors) {
  let at = 0;
  const header = {};
  for (const [name, shape] of tensors) {
    const end = at + shape.reduce((total, size) => total * size, 4);
    header[name] = { dtype: 'F32', shape, data_offsets: [at, end] };
    at = end;
  }
  const text = Buffer.from(JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  await writeParts(path, [[0, Buffer.concat([length, text])]], 8 + text.length + at);
}

/** 50,000 linear layers of two tensors each, or fewer. */
export function manyTensors(count) {
  return Array.from({ length: count }, (_, index) =>
    index % 2 === 0 ? [`layers.${index >> 1}.fc.weight`, [4, 4]] : [`layers.${index >> 1}.fc.bias`, [4]],
  );
}

function varint(value) {
  const bytes = [];
  let rest = BigInt(value);
  do {
    bytes.push(Number(rest & 127n) | (rest > 127n ? 128 : 0));
    rest >>= 7n;
  } while (rest > 0n);
  return Buffer.from(bytes);
}

const number = (field, value) => Buffer.concat([varint(field << 3), varint(value)]);
const message = (field, ...parts) => {
  const body = Buffer.concat(parts.map((part) => (typeof part === 'string' ? Buffer.from(part) : part)));
  return Buffer.concat([varint((field << 3) | 2), varint(body.length), body]);
};

/** An ONNX chain of MatMuls [side, side] whose weights lie in `<path>.data` (field numbers of onnx.proto). */
export async function writeOnnx(path, name, side, layers) {
  const bytes = side * side * 4;
  const entry = (key, value) => message(13, message(1, key), message(2, value));
  const value = (word) =>
    Buffer.concat([
      message(1, word),
      message(2, message(1, number(1, 1), message(2, message(1, number(1, 1)), message(1, number(1, side))))),
    ]);
  const nodes = [];
  const weights = [];
  for (let layer = 0; layer < layers; layer += 1) {
    const input = layer === 0 ? 'input' : `x${layer}`;
    const output = layer === layers - 1 ? 'output' : `x${layer + 1}`;
    nodes.push(
      message(
        1,
        message(1, input),
        message(1, `w${layer}`),
        message(2, output),
        message(3, `m${layer}`),
        message(4, 'MatMul'),
      ),
    );
    weights.push(
      message(
        5,
        number(1, side),
        number(1, side),
        number(2, 1),
        message(8, `w${layer}`),
        entry('location', `${name}.data`),
        entry('offset', String(layer * bytes)),
        entry('length', String(bytes)),
        number(14, 1),
      ),
    );
  }
  const graph = message(
    7,
    ...nodes,
    message(2, 'bench'),
    ...weights,
    message(11, value('input')),
    message(12, value('output')),
  );
  const model = Buffer.concat([number(1, 8), message(2, 'bench'), graph, message(8, number(2, 17))]);
  await writeParts(path, [[0, model]], model.length);
  await writeParts(`${path}.data`, [], layers * bytes);
}
