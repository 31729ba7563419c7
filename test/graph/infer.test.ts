import { expect, test } from 'vitest';
import { inferShapes, inputShapesOf, macsOf, outputShapeOf } from '../../src/graph/infer.ts';
import type { Layer, Model } from '../../src/ir/model.ts';
import { chain, graphOf, kerasLayer, modelOf, type Step } from '../helpers/graph-model.ts';

const shapesOf = (model: Model, path = '') => model.graphs.get(path)?.values.map((value) => value.shape);

const conv = (path: string, filters = 4): Layer =>
  kerasLayer(path, 'Conv2D', { filters, kernel_size: [3, 3], padding: 'valid' });

test('walks a chain, keeping the batch axis dynamic', () => {
  const { value, diagnostics } = inferShapes(
    chain(
      [null, 8, 9, 3],
      [conv('conv'), kerasLayer('flatten', 'Flatten'), kerasLayer('dense', 'Dense', { units: 5 })],
    ),
  );
  expect(diagnostics).toEqual([]);
  expect(shapesOf(value)).toEqual([
    [null, 8, 9, 3],
    [null, 6, 7, 4],
    [null, 168],
    [null, 5],
  ]);
  // 6·7·4 outputs × 3·3 kernel × 3 channels; 5 outputs × 168 features.
  expect(macsOf(value, 'conv')).toBe(4536);
  expect(macsOf(value, 'dense')).toBe(840);
  expect(outputShapeOf(value, 'conv')).toEqual([[null, 6, 7, 4]]);
  expect(inputShapesOf(value, 'dense')).toEqual([[null, 168]]);
  expect(outputShapeOf(value, 'nowhere')).toBeNull();
});

test('a custom layer leaves null, says so once, and Flatten and Dense recover what they can', () => {
  const { value, diagnostics } = inferShapes(
    chain(
      [null, 8, 8, 3],
      [
        kerasLayer('mystery', 'MyLayer'),
        kerasLayer('act', 'ReLU'),
        kerasLayer('flatten', 'Flatten'),
        kerasLayer('dense', 'Dense', { units: 5 }),
      ],
    ),
  );
  expect(shapesOf(value)).toEqual([[null, 8, 8, 3], null, null, ['?', '?'], ['?', 5]]);
  expect(diagnostics.map((entry) => [entry.code, entry.at.layer, entry.args])).toEqual([
    ['SHAPE_UNKNOWN', 'mystery', { type: 'MyLayer' }],
  ]);
  expect(macsOf(value, 'dense')).toBeNull();
});

test('a nested model is inferred for each call, its own values from its declared input', () => {
  const layers = [kerasLayer('tower', 'Functional'), conv('tower/conv'), kerasLayer('pool', 'GlobalMaxPooling2D')];
  const inner = graphOf([[null, null, null, 3]], [['tower/conv', [0], 1]], [1]);
  const root = graphOf(
    [
      [null, 8, 8, 3],
      [null, 12, 10, 3],
    ],
    [
      ['tower', [0], 2],
      ['tower', [1], 3],
      ['pool', [2], 4],
    ],
    [3, 4],
  );
  const { value } = inferShapes(modelOf(layers, { '': root, tower: inner }));
  expect(shapesOf(value)?.slice(2)).toEqual([
    [null, 6, 6, 4],
    [null, 10, 8, 4],
    [null, 4],
  ]);
  expect(shapesOf(value, 'tower')).toEqual([
    [null, null, null, 3],
    [null, null, null, 4],
  ]);
  expect(macsOf(value, 'tower')).toBe(6 * 6 * 4 * 9 * 3);
});

test('a nested model without a declared input has the shapes of its first call', () => {
  const layers = [kerasLayer('tower', 'Functional'), conv('tower/conv')];
  const inner = graphOf([null], [['tower/conv', [0], 1]], [1]);
  const root = graphOf([[null, 8, 8, 3]], [['tower', [0], 1]], [1]);
  const { value } = inferShapes(modelOf(layers, { '': root, tower: inner }));
  expect(shapesOf(value, 'tower')).toEqual([
    [null, 8, 8, 3],
    [null, 6, 6, 4],
  ]);
});

test('operations between layers: broadcasting, reshaping, slicing, reducing', () => {
  const layers = [kerasLayer('dense', 'Dense', { units: 3 })];
  const root = graphOf(
    [
      [null, 6],
      [null, 1],
    ],
    [
      ['op:keras.src.ops.numpy.Add', [0, 1], 2],
      ['op:keras.src.ops.numpy.Reshape', [2], 3, { newshape: [-1, 2, 3] }],
      ['op:keras.src.ops.numpy.Mean', [3], 4, { axis: 1, keepdims: false }],
      [
        'op:keras.src.ops.numpy.GetItem',
        [3],
        5,
        {
          key: [
            { class_name: '__slice__', config: { start: null, stop: null, step: null } },
            0,
            { class_name: '__slice__', config: { start: 1, stop: null, step: null } },
          ],
        },
      ],
      ['op:keras.src.ops.numpy.ExpandDims', [4], 6, { axis: 1 }],
      ['dense', [6], 7],
      ['op:my.Own', [0], 8],
    ],
    [7],
  );
  const { value, diagnostics } = inferShapes(modelOf(layers, { '': root }));
  expect(shapesOf(value)).toEqual([
    [null, 6],
    [null, 1],
    [null, 6],
    [null, 2, 3],
    [null, 3],
    [null, 2],
    [null, 1, 3],
    [null, 1, 3],
    null,
  ]);
  expect(diagnostics.map((entry) => entry.args['type'])).toEqual(['my.Own']);
});

test('a model without a graph, or of another dialect, stays as it is', () => {
  const bare = modelOf([conv('conv')], {});
  expect(inferShapes(bare).value).toBe(bare);
  const torch: Model = { ...chain([null, 8, 8, 3], [conv('conv')]), dialect: 'torch' };
  expect(inferShapes(torch).value).toBe(torch);
});

test('10,000 layers take time in proportion, and 200 nested models called twice each do not multiply', () => {
  const layers = Array.from({ length: 10_000 }, (_, index) => kerasLayer(`d${index}`, 'Dense', { units: 4 }));
  const model = chain([null, 4], layers);
  // The best of three, so that a busy machine does not decide.
  const times = [1, 2, 3].map(() => {
    const started = performance.now();
    inferShapes(model);
    return performance.now() - started;
  });
  expect(Math.min(...times)).toBeLessThan(10_000);
  const { value } = inferShapes(model);
  expect(outputShapeOf(value, 'd9999')).toEqual([[null, 4]]);

  const nested: Layer[] = [];
  const graphs: Record<string, ReturnType<typeof graphOf>> = {};
  let path = '';
  for (let depth = 0; depth < 200; depth++) {
    const below = path === '' ? 'm' : `${path}/m`;
    nested.push(kerasLayer(below, 'Functional'));
    const twice: readonly Step[] = [
      [below, [0], 1],
      [below, [1], 2],
    ];
    graphs[path] = graphOf([[null, 4]], twice, [2]);
    path = below;
  }
  nested.push(kerasLayer(`${path}/d`, 'Dense', { units: 4 }));
  graphs[path] = graphOf([[null, 4]], [[`${path}/d`, [0], 1]], [1]);
  expect(shapesOf(inferShapes(modelOf(nested, graphs)).value)?.at(-1)).toEqual([null, 4]);
});
