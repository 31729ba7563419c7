import { expect, test } from 'vitest';
import { parseJson } from '../../../src/bytes/json.ts';
import { type LayerSpec, parseArchitecture } from '../../../src/formats/keras/architecture.ts';
import { wireModels } from '../../../src/formats/keras/wiring.ts';
import type { Graph } from '../../../src/ir/model.ts';

/** A functional model of the given layers; a layer is [class, name, inbound_nodes]. */
function functional(
  version: string,
  layers: readonly (readonly [string, string, unknown, unknown?])[],
  inputs: unknown,
  outputs: unknown,
): LayerSpec {
  const config = {
    class_name: 'Functional',
    config: {
      name: 'm',
      layers: layers.map(([class_name, name, inbound_nodes, config]) => ({
        class_name,
        name,
        config: { name, trainable: true, dtype: 'float32', ...(config ?? {}) },
        inbound_nodes,
      })),
      input_layers: inputs,
      output_layers: outputs,
    },
  };
  const json = parseJson(new TextEncoder().encode(JSON.stringify(config)), { file: 'm' });
  return parseArchitecture(json, 'm', { version, backend: '' });
}

/** 'layer(inputs)' of each call, values by the call that makes them: 'a.0'. */
function callsOf(graph: Graph | undefined): readonly string[] {
  const makers = new Map<number, string>();
  const counts = new Map<string, number>();
  return (graph?.calls ?? []).map((call) => {
    const name = call.layer ?? call.op;
    const count = counts.get(name) ?? 0;
    counts.set(name, count + 1);
    for (const [index, id] of call.outputs.entries()) makers.set(id, `${name}#${count}.${index}`);
    const inputs = call.inputs.map((input) =>
      typeof input === 'number' ? (makers.get(input) ?? `?${input}`) : JSON.stringify(input.constant),
    );
    return `${name}(${inputs.join(', ')})`;
  });
}

function wire(root: LayerSpec, version: string): Graph | undefined {
  return wireModels(root, 'm', version).get('');
}

const tensor = (layer: string, node = 0, index = 0): unknown => ({
  class_name: '__keras_tensor__',
  config: { shape: [null, 4], dtype: 'float32', keras_history: [layer, node, index] },
});

test('Keras 1 nodes have three parts', () => {
  const root = functional(
    '1.2.2',
    [
      ['InputLayer', 'in', []],
      ['Dense', 'a', [[['in', 0, 0]]]],
      [
        'Merge',
        'both',
        [
          [
            ['a', 0, 0],
            ['in', 0, 0],
          ],
        ],
      ],
    ],
    [['in', 0, 0]],
    [['both', 0, 0]],
  );
  expect(callsOf(wire(root, '1.2.2'))).toEqual(['in()', 'a(in#0.0)', 'both(a#0.0, in#0.0)']);
});

test('a shared layer has one call for each outer entry', () => {
  const root = functional(
    '2.3.1',
    [
      ['InputLayer', 'x', []],
      ['InputLayer', 'y', []],
      ['Dense', 'd', [[['x', 0, 0, {}]], [['y', 0, 0, {}]]]],
      [
        'Add',
        'sum',
        [
          [
            ['d', 1, 0, {}],
            ['d', 0, 0, {}],
          ],
        ],
      ],
    ],
    [
      ['x', 0, 0],
      ['y', 0, 0],
    ],
    [['sum', 0, 0]],
  );
  expect(callsOf(wire(root, '2.3.1'))).toEqual(['x()', 'y()', 'd(x#0.0)', 'd(y#0.0)', 'sum(d#1.0, d#0.0)']);
});

test('tf.keras flattens single inputs, names inputs, puts tensors into keywords and literals into nodes', () => {
  const root = functional(
    '2.4.0',
    [
      ['InputLayer', 'x', []],
      ['InputLayer', 'y', []],
      ['Dense', 'flat', [['x', 0, 0, {}]]],
      ['Concatenate', 'named', [{ left: ['x', 0, 0], right: ['y', 0, 0] }]],
      ['TFOpLambda', 'op', [['flat', 0, 0, { y: ['named', 0, 0], name: null }]]],
      ['TFOpLambda', 'times', [['_CONSTANT_VALUE', -1, 2.5, { y: ['op', 0, 0] }]]],
    ],
    [
      ['x', 0, 0],
      ['y', 0, 0],
    ],
    [['times', 0, 0]],
  );
  expect(callsOf(wire(root, '2.4.0'))).toEqual([
    'x()',
    'y()',
    'flat(x#0.0)',
    'named(x#0.0, y#0.0)',
    'op(flat#0.0, named#0.0)',
    'times(2.5, op#0.0)',
  ]);
});

test('Keras 3 nests arguments, leaves literals among them and a single output bare', () => {
  const root = functional(
    '3.5.0',
    [
      ['InputLayer', 'x', []],
      ['Dense', 'a', [{ args: [tensor('x')], kwargs: {} }]],
      ['Concatenate', 'c', [{ args: [[tensor('x'), tensor('a')]], kwargs: {} }]],
      ['MultiHeadAttention', 'm', [{ args: [tensor('c')], kwargs: { value: tensor('a'), training: false } }]],
    ],
    [['x', 0, 0]],
    ['m', 0, 0],
  );
  const graph = wire(root, '3.5.0');
  expect(callsOf(graph)).toEqual(['x()', 'a(x#0.0)', 'c(x#0.0, a#0.0)', 'm(c#0.0, a#0.0)']);
  expect(graph?.outputs).toHaveLength(1);
});

test('calls are put into the order in which they can run, whatever the order of the layers', () => {
  const root = functional(
    '2.4.0',
    [
      ['Dense', 'late', [[['early', 0, 0, {}]]]],
      ['InputLayer', 'x', []],
      ['Dense', 'early', [[['x', 0, 0, {}]]]],
    ],
    [['x', 0, 0]],
    [['late', 0, 0]],
  );
  expect(callsOf(wire(root, '2.4.0'))).toEqual(['x()', 'early(x#0.0)', 'late(early#0.0)']);
});

const INNER = {
  layers: [
    { class_name: 'InputLayer', name: 'i', config: { name: 'i', batch_input_shape: [null, 4] }, inbound_nodes: [] },
    {
      class_name: 'Dense',
      name: 'j',
      config: { name: 'j', trainable: true, dtype: 'float32', units: 4 },
      inbound_nodes: [[['i', 0, 0, {}]]],
    },
  ],
  input_layers: [['i', 0, 0]],
  output_layers: [['j', 0, 0]],
};

test('Keras 2 counts the calls of a nested model from 1 everywhere', () => {
  const root = functional(
    '2.10.0',
    [
      ['InputLayer', 'x', []],
      ['InputLayer', 'y', []],
      ['Functional', 'inner', [[['x', 0, 0, {}]], [['y', 0, 0, {}]]], INNER],
      [
        'Subtract',
        'minus',
        [
          [
            ['inner', 2, 0, {}],
            ['inner', 1, 0, {}],
          ],
        ],
      ],
    ],
    [
      ['x', 0, 0],
      ['y', 0, 0],
    ],
    [
      ['minus', 0, 0],
      ['inner', 1, 0],
    ],
  );
  const graph = wire(root, '2.10.0');
  expect(callsOf(graph)).toEqual(['x()', 'y()', 'inner(x#0.0)', 'inner(y#0.0)', 'minus(inner#1.0, inner#0.0)']);
  expect(graph?.outputs[1]).toBe(graph?.calls[2]?.outputs[0]);
});

test('Keras 3 counts them from 0 in arguments and from 1 in the outputs', () => {
  const root = functional(
    '3.5.0',
    [
      ['InputLayer', 'x', []],
      ['Functional', 'inner', [{ args: [tensor('x')], kwargs: {} }], INNER],
      ['Dense', 'd', [{ args: [tensor('inner', 0)], kwargs: {} }]],
    ],
    [['x', 0, 0]],
    [
      ['d', 0, 0],
      ['inner', 1, 0],
    ],
  );
  const graph = wire(root, '3.5.0');
  expect(callsOf(graph)).toEqual(['x()', 'inner(x#0.0)', 'd(inner#0.0)']);
  expect(graph?.outputs[1]).toBe(graph?.calls[1]?.outputs[0]);
});

test('a Sequential is a chain from the shape that it states', () => {
  const config = {
    class_name: 'Sequential',
    config: [
      { class_name: 'Dense', config: { name: 'a', units: 3, batch_input_shape: [null, 7] } },
      { class_name: 'Dense', config: { name: 'b', units: 2 } },
    ],
  };
  const json = parseJson(new TextEncoder().encode(JSON.stringify(config)), { file: 'm' });
  const graph = wire(parseArchitecture(json, 'm', { version: '2.1.3', backend: '' }), '2.1.3');
  expect(graph?.values.map((value) => value.shape)).toEqual([[null, 7], null, null]);
  expect(graph?.calls.map((call) => [call.layer, call.inputs, call.outputs])).toEqual([
    ['a', [0], [1]],
    ['b', [1], [2]],
  ]);
});

test.each([
  ['a layer that is not there', [['Dense', 'a', [[['ghost', 0, 0, {}]]]]], /ghost/],
  ['a call that is not there', [['Dense', 'a', [[['x', 3, 0, {}]]]]], /call 3 of x/],
  [
    'a circle',
    [
      ['Dense', 'a', [[['b', 0, 0, {}]]]],
      ['Dense', 'b', [[['a', 0, 0, {}]]]],
    ],
    /circle/,
  ],
] as const)('%s is refused', (_what, layers, words) => {
  const all: (readonly [string, string, unknown])[] = [['InputLayer', 'x', []], ...layers];
  const root = functional('2.4.0', all, [['x', 0, 0]], [['a', 0, 0]]);
  expect(() => wireModels(root, 'm', '2.4.0')).toThrow(words);
});
