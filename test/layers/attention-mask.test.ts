import { expect, test } from 'vitest';
import { countMacs } from '../../src/account/macs.ts';
import { inferShapes } from '../../src/graph/infer.ts';
import type { JsonObject } from '../../src/ir/json.ts';
import { attentionInputs } from '../../src/layers/attention.ts';
import { openModel } from '../../src/open.ts';
import { toJson } from '../helpers/graph-model.ts';

const tensor = { class_name: '__keras_tensor__', config: { keras_history: ['x', 0, 0] } };
const call = (kwargs: Record<string, unknown>): JsonObject => toJson(kwargs) as JsonObject;

test('query, value and key of a call, masks left out', () => {
  expect(attentionInputs(['q', 'v'], call({}))).toEqual(['q', 'v']);
  expect(attentionInputs(['q', 'v', 'k'], call({ use_causal_mask: true }))).toEqual(['q', 'v', 'k']);
  expect(attentionInputs(['q', 'v', 'm'], call({ attention_mask: tensor }))).toEqual(['q', 'v']);
  expect(attentionInputs(['q', 'v', 'm'], call({ attention_mask: ['x', 0, 0] }))).toEqual(['q', 'v']);
  expect(attentionInputs(['q', 'v', 'm', 'k'], call({ attention_mask: tensor, key: tensor }))).toEqual(['q', 'v', 'k']);
  expect(attentionInputs(['q', 'k', 'm', 'v'], call({ key: tensor, query_mask: tensor, value: tensor }))).toEqual([
    'q',
    'v',
    'k',
  ]);
});

/** Projections, scores and their use, written out: no mask has a part in them. */
test.each(['keras', 'h5'])('multiply-accumulates of attention-mask.%s', async (suffix) => {
  const path = new URL(`../../fixtures/good/attention-mask.${suffix}`, import.meta.url).pathname;
  const { value } = await openModel(path);
  try {
    const { layers } = countMacs(inferShapes(value).value);
    const scores = (queries: number, keys: number): number => queries * keys * 2 * (3 + 3);
    expect(layers.get('self')).toBe(3 * (5 * 6 * 6) + scores(5, 5) + 5 * 6 * 6);
    expect(layers.get('cross')).toBe(5 * 6 * 6 + 7 * 3 * 6 + 7 * 4 * 6 + scores(5, 7) + 5 * 6 * 6);
    // Two heads of four: its third tensor is the mask, not the key.
    expect(layers.get('grouped')).toBe(3 * (5 * 6 * 8) + 5 * 5 * 2 * (4 + 4) + 5 * 8 * 6);
  } finally {
    await value.close();
  }
});
