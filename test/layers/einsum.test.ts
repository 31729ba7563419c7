import { expect, test } from 'vitest';
import { parseJson } from '../../src/bytes/json.ts';
import type { Layer } from '../../src/ir/model.ts';
import { bindLayer, familyOfType, twinOf } from '../../src/layers/registry.ts';
import { kerasLayer, weight } from '../helpers/graph-model.ts';

/** Over an input of (None, 3, 4, 5), as Keras' own EinsumDense("abcd,de->abce", (3, 4, 6), bias_axes="e"). */
function einsum(equation: string): Layer {
  const config = { equation, output_shape: [3, 4, 6], bias_axes: 'e' };
  return kerasLayer('einsum', 'EinsumDense', config, [weight('kernel', [5, 6]), weight('bias', [6])]);
}

const INPUTS = [[null, 3, 4, 5]] as const;

function shapesOf(layer: Layer) {
  const { norm } = layer;
  const variables = familyOfType(
    'keras',
    'EinsumDense',
    parseJson(new TextEncoder().encode('{}'), { file: '' }) as never,
  )
    ?.variables?.(norm, INPUTS)
    .map(({ shape }) => shape);
  return { variables, outputs: bindLayer({ ...layer, children: [] }).outputs(INPUTS, new Map()) };
}

const refusalOf = (layer: Layer): string | undefined => twinOf({ ...layer, inputs: INPUTS, children: [] }).refused;

test('an equation that Keras takes', () => {
  for (const equation of ['abcd,de->abce', '...bcd,de->...bce', 'abcd, de -> abce']) {
    expect(refusalOf(einsum(equation))).toBeUndefined();
    expect(shapesOf(einsum(equation))).toEqual({ variables: [[5, 6], [6]], outputs: [[null, 3, 4, 6]] });
  }
});

/** For each of them Keras raises ValueError when it loads the model. */
test.each([
  'abcd,de->abcex',
  'abcd,dz->abce',
  'abc,ce->abe',
  'abcd,de->abe',
  'ab...,de->abe...',
  'abcd,de,ef->abcf',
  '',
])('%j has no shape and no twin', (equation) => {
  const { variables, outputs } = shapesOf(einsum(equation));
  expect(variables?.[0]).toBeNull();
  expect(outputs).toBeNull();
  expect(refusalOf(einsum(equation))).toMatch(/is no equation that Keras takes|does not fit its input/);
});
