import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { account } from '../../../src/account/account.ts';
import { summarise } from '../../../src/account/summary.ts';
import type { Tensor } from '../../../src/ir/model.ts';
import { wholeTensor } from '../../helpers/source.ts';
import { openOnnx } from './open.ts';

const ROOT = join(import.meta.dirname, '../../../fixtures/good/onnx');

interface Row {
  readonly name: string;
  readonly shape: readonly number[];
  readonly dtype: string;
  readonly sha256: string | null;
  readonly bitsEach?: number;
  readonly values?: readonly number[];
}

interface Norm {
  readonly inputs: readonly string[];
  readonly epsilon?: number;
  readonly momentum?: number;
  readonly graph?: string;
}

interface Expected {
  readonly producer: string;
  readonly initializers: readonly Row[];
  readonly batchNorms: readonly Norm[];
  readonly nodes: readonly { readonly op: string; readonly inputs: readonly string[] }[];
  /** Of the PyTorch model that was exported. */
  readonly counts?: { readonly parameters: number; readonly buffers: number };
  readonly stateNames?: readonly string[];
}

/** ONNX's words for element types, PyTorch's. */
const DTYPES: ReadonlyMap<string, string> = new Map([
  ['FLOAT', 'float32'],
  ['DOUBLE', 'float64'],
  ['FLOAT8E4M3FN', 'float8_e4m3fn'],
  ['FLOAT8E4M3FNUZ', 'float8_e4m3fnuz'],
  ['FLOAT8E5M2', 'float8_e5m2'],
  ['FLOAT8E5M2FNUZ', 'float8_e5m2fnuz'],
  ['FLOAT8E8M0', 'float8_e8m0fnu'],
  ['FLOAT4E2M1', 'float4_e2m1'],
  ['FLOAT6E2M3', 'float6_e2m3'],
  ['FLOAT6E3M2', 'float6_e3m2'],
]);

const files = (readdirSync(ROOT, { recursive: true }) as string[]).filter((name) => name.endsWith('.onnx')).sort();

function expectedOf(file: string): Expected {
  return JSON.parse(readFileSync(join(ROOT, `${file}.expected.json`), 'utf8')) as Expected;
}

/** Packed elements of less than a byte, low bits first, as whole numbers. */
function unpacked(bytes: Uint8Array, bits: number, count: number, isSigned: boolean): readonly number[] {
  return Array.from({ length: count }, (_, index) => {
    const at = index * bits;
    const pair = (bytes[at >> 3] ?? 0) | ((bytes[(at >> 3) + 1] ?? 0) << 8);
    const value = (pair >> (at & 7)) & (2 ** bits - 1);
    return isSigned && value >= 2 ** (bits - 1) ? value - 2 ** bits : value;
  });
}

async function compare(tensor: Tensor, row: Row): Promise<void> {
  expect(tensor.dtype, row.name).toBe(DTYPES.get(row.dtype) ?? row.dtype.toLowerCase());
  const bytes = tensor.encoding.kind === 'sparse' ? null : await wholeTensor(tensor);
  if (bytes === null) return;
  const count = row.shape.reduce((product, size) => product * size, 1);
  if (row.dtype.startsWith('FLOAT6')) {
    // onnx gives one element per byte.
    const apart = Uint8Array.from(unpacked(bytes, 6, count, false));
    expect(createHash('sha256').update(apart).digest('hex'), row.name).toBe(row.sha256);
  } else if (row.sha256 !== null) expect(createHash('sha256').update(bytes).digest('hex'), row.name).toBe(row.sha256);
  else if (row.bitsEach !== undefined && !row.dtype.startsWith('FLOAT')) {
    const isSigned = row.dtype.startsWith('INT');
    expect(unpacked(bytes, row.bitsEach, count, isSigned), row.name).toEqual(row.values);
  }
}

test('there are fixtures', () => {
  expect(files.length).toBeGreaterThan(40);
});

describe.each(files)('%s', (file) => {
  const expected = expectedOf(file);

  test('tensors are those that onnx reads, each byte of them', async () => {
    const { value: model } = await openOnnx(join(ROOT, file));
    const tensors = new Map<string, Tensor>();
    for (const layer of model.layers) for (const { tensor } of layer.weights) tensors.set(tensor.name, tensor);
    const { framework, version } = model.producer;
    expect(`${framework} ${version}`.trim()).toBe(expected.producer);
    // What only says how another constant is made (its shape) is no tensor of the model, nor is text.
    const arguments_ = new Set(
      expected.nodes
        .filter(({ op }) => op === 'ConstantOfShape' || op === 'Reshape' || op === 'Unsqueeze')
        .flatMap(({ op, inputs }) => inputs.slice(op === 'ConstantOfShape' ? 0 : 1)),
    );
    for (const row of expected.initializers) {
      const tensor = tensors.get(row.name);
      if (tensor === undefined) {
        expect(row.dtype === 'STRING' || arguments_.has(row.name), row.name).toBe(true);
        continue;
      }
      await compare(tensor, row);
      const count = (shape: readonly number[]) => shape.reduce((product, size) => product * size, 1);
      expect(count(tensor.shape), row.name).toBe(count(row.shape));
    }
    await model.close();
  });

  test('every BatchNormalization is a layer with its epsilon, momentum and arguments', async () => {
    const { value: model } = await openOnnx(join(ROOT, file));
    const norms = model.layers.filter((layer) => layer.kind === 'batch_norm');
    expect(norms.length).toBe(expected.batchNorms.length);
    for (const [index, { inputs, epsilon = 1e-5, momentum = 0.9 }] of expected.batchNorms.entries()) {
      const layer = norms[index];
      expect(layer?.norm['epsilon']).toBeCloseTo(epsilon, 12);
      // ONNX's momentum is Keras'.
      expect(layer?.norm['momentum']).toBeCloseTo(momentum, 7);
      const names = new Map(layer?.weights.map(({ role, tensor }) => [role, tensor.name]));
      expect(names.get('running_mean')).toBe(inputs[3]);
      expect(names.get('running_var')).toBe(inputs[4]);
      if (names.has('weight')) expect([names.get('weight'), names.get('bias')]).toEqual([inputs[1], inputs[2]]);
    }
    await model.close();
  });

  test('totals add up, and are those of the exported model where its tensors were kept', async () => {
    const { value: model, diagnostics } = await openOnnx(join(ROOT, file));
    const accounting = account(model);
    const { torch, keras } = accounting.totals;
    const summary = summarise(model, accounting, diagnostics, { describe: ({ code }) => code, explain: true });
    expect(summary.totals).toEqual(accounting.totals);
    const names = new Set(expected.initializers.map(({ name }) => name));
    // The format has no place for the counter, and an exporter that folds leaves other tensors.
    const state = (expected.stateNames ?? []).filter((name) => !name.endsWith('num_batches_tracked'));
    const isKept = expected.counts !== undefined && state.every((name) => names.has(name));
    if (isKept) {
      expect(torch.parameters).toBe(expected.counts?.parameters);
      const counters = (expected.stateNames?.length ?? 0) - state.length;
      const constants = expected.initializers
        .filter(({ name }) => !state.includes(name))
        .reduce((sum, { shape }) => sum + shape.reduce((product, size) => product * size, 1), 0);
      expect(Number(torch.buffers) - constants).toBe((expected.counts?.buffers ?? 0) - counters);
      expect(keras.total).toBe(Number(torch.parameters) + (expected.counts?.buffers ?? 0) - counters);
    }
    await model.close();
  });
});

test.each([
  // Keras has one bias per gate where PyTorch has two, but in a GRU that resets after the product.
  ['lstm.onnx', 4 * (5 + 4 + 1) * 4 + 4 * 2 + 2],
  ['gru.onnx', 3 * (5 + 4 + 2) * 4 + 4 * 2 + 2],
  ['rnn.onnx', (5 + 4 + 1) * 4 + 4 * 2 + 2],
  ['lstm-two-layers-bidirectional.onnx', 2 * 4 * (5 + 4 + 1) * 4 + 2 * 4 * (8 + 4 + 1) * 4 + 8 * 2 + 2],
  ['recurrent-gru.onnx', 2 * 3 * (5 + 4 + 2) * 4],
])('%s: Keras would count %i', async (file, count) => {
  const { value: model, diagnostics } = await openOnnx(join(ROOT, file));
  const accounting = account(model);
  expect(accounting.totals.keras.total).toBe(count);
  summarise(model, accounting, diagnostics, { describe: ({ code }) => code, explain: true });
  await model.close();
});
