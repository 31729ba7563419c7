import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { account } from '../../src/account/account.ts';
import { explainPair } from '../../src/account/explain-pair.ts';
import { summarise } from '../../src/account/summary.ts';
import { openModel } from '../../src/open.ts';
import { describe as wording } from '../../src/views/diagnostics.ts';
import { statsText } from '../../src/views/diff-wording.ts';

const folder = new URL('../../fixtures/good/torch/', import.meta.url).pathname;

/** What PyTorch said of a fixture. */
function parametersOf(name: string): number {
  const told = JSON.parse(readFileSync(`${folder}nn/${name}.pt.expected.json`, 'utf8')) as {
    readonly counts: { readonly parameters: number };
  };
  return told.counts.parameters;
}

async function stepsBetween(a: string, b: string): Promise<readonly (readonly [string, unknown])[]> {
  const sides = [];
  for (const name of [a, b]) {
    const { value: model } = await openModel(`${folder}nn/${name}.pt`);
    sides.push({ model, accounting: account(model) });
    await model.close();
  }
  const [left, right] = sides;
  if (left === undefined || right === undefined) throw new Error('two models');
  const { steps } = explainPair(left, right);
  return steps.map(({ kind, elements }) => [kind, elements]);
}

test('a BatchNorm without affine is the same layer, without scale and shift', async () => {
  const gap = parametersOf('BatchNorm2d-not-affine') - parametersOf('BatchNorm2d');
  expect(gap).toBeLessThan(0);
  expect(await stepsBetween('BatchNorm2d', 'BatchNorm2d-not-affine')).toEqual([['scale_and_shift', gap]]);
});

test('an LSTM without biases lacks its biases, not only second ones', async () => {
  const gap = parametersOf('LSTM-no-bias') - parametersOf('LSTM');
  expect(await stepsBetween('LSTM', 'LSTM-no-bias')).toEqual([['bias', gap]]);
});

test('one layer more in an LSTM is another size, biases included', async () => {
  const gap = parametersOf('LSTM-two-layers') - parametersOf('LSTM');
  expect(await stepsBetween('LSTM', 'LSTM-two-layers')).toEqual([['different_size', gap]]);
});

test('tensors that are not dense arrays say so', async () => {
  const encodings = async (file: string): Promise<ReadonlySet<string>> => {
    const { value: model, diagnostics } = await openModel(`${folder}tensors/${file}`);
    const summary = summarise(model, account(model), diagnostics, { describe: wording });
    await model.close();
    return new Set(summary.layers.flatMap((layer) => layer.weights.flatMap((weight) => weight.encoding ?? [])));
  };
  expect(await encodings('meta.pt')).toEqual(new Set(['meta']));
  expect(await encodings('sparse-legacy.pt')).toContain('sparse_coo');
  expect(await encodings('quantised.pt')).toContain('per_tensor_affine');
  expect(await encodings('shapes.pt')).toEqual(new Set());
});

test('numbers keep the zeros that count', () => {
  const stats = {
    elements: 3000,
    changed: 2999,
    maxAbs: 4.657e-10,
    relativeL2: 1.5e-10,
    cosine: 1.5e-10,
    nan: { a: 0, b: 0 },
    infinite: { a: 0, b: 0 },
    first: null,
  };
  const text = statsText(stats as unknown as Parameters<typeof statsText>[0]);
  expect(text).toBe('max |Δ| 4.657e-10, relative L2 1.5e-10, cosine 1.5e-10, 2,999 of 3,000 changed (>99.9%)');
  expect(statsText({ ...stats, changed: 3000 } as unknown as Parameters<typeof statsText>[0])).toContain('(100%)');
});
