import { expect, test } from 'vitest';
import { planFolding } from '../../src/graph/fold.ts';
import { inferShapes } from '../../src/graph/infer.ts';
import type { Layer, Model } from '../../src/ir/model.ts';
import { batchNorm, chain, graphOf, kerasLayer, modelOf, weight } from '../helpers/graph-model.ts';

const plan = (model: Model) => planFolding(inferShapes(model).value);

/** Conv2D over 3 channels. */
const conv = (path: string, config: Readonly<Record<string, unknown>> = {}, bias = true): Layer =>
  kerasLayer(path, 'Conv2D', { filters: 4, kernel_size: [3, 3], use_bias: bias, ...config }, [
    weight('kernel', [3, 3, 3, 4]),
    ...(bias ? [weight('bias', [4])] : []),
  ]);

const dense = (path: string, size: number, units: number, bias = true): Layer =>
  kerasLayer(path, 'Dense', { units, use_bias: bias }, [
    weight('kernel', [size, units]),
    ...(bias ? [weight('bias', [units])] : []),
  ]);

const flatten = kerasLayer('flatten', 'Flatten');
const relu = kerasLayer('relu', 'ReLU');
const kept = { bn: 'bn', how: 'kept', into: [], gainsBias: false, elementsAfter: 8 };

test('the reference CNN: the ReLU is inside the convolution, so the norm goes forward into the Dense', () => {
  const model = chain(
    [null, 64, 64, 1],
    [
      kerasLayer('conv', 'Conv2D', { filters: 32, kernel_size: [3, 3], padding: 'same', activation: 'relu' }, [
        weight('kernel', [3, 3, 1, 32]),
        weight('bias', [32]),
      ]),
      batchNorm('bn', 32, { axis: -1, momentum: 0.15 }),
      flatten,
      dense('dense', 131_072, 100),
      dense('dense_1', 100, 10),
    ],
  );
  expect(plan(model)).toEqual([{ bn: 'bn', how: 'forward', into: ['dense'], gainsBias: false, elementsAfter: 0 }]);
  const elements = model.layers
    .filter((layer) => layer.kind !== 'batch_norm')
    .flatMap((layer) => layer.weights)
    .reduce((sum, entry) => sum + entry.tensor.shape.reduce((product, size) => product * size, 1), 0);
  // 320 + 13,107,300 + 1,010
  expect(elements).toBe(13_108_630);
});

test('backward into a convolution without activation; one without bias gains one', () => {
  const bn = batchNorm('bn', 4);
  const into = { bn: 'bn', how: 'backward', into: ['conv'] };
  expect(plan(chain([null, 8, 8, 3], [conv('conv'), bn, relu]))).toEqual([
    { ...into, gainsBias: false, elementsAfter: 0 },
  ]);
  expect(plan(chain([null, 8, 8, 3], [conv('conv', {}, false), bn, relu]))).toEqual([
    { ...into, gainsBias: true, elementsAfter: 4 },
  ]);
  const dropout = kerasLayer('dropout', 'Dropout', { rate: 0.5 });
  expect(plan(chain([null, 8, 8, 3], [conv('conv'), dropout, bn, relu]))?.[0]?.how).toBe('backward');
});

test('kept as a scale and a shift: a non-linearity, padding or max pooling between, or the model ends', () => {
  const bn = batchNorm('bn', 4);
  expect(plan(chain([null, 8, 8, 3], [conv('conv'), relu, bn]))).toEqual([kept]);
  const pad = kerasLayer('pad', 'ZeroPadding2D', { padding: [1, 1] });
  expect(plan(chain([null, 8, 8, 3], [conv('conv'), pad, bn]))).toEqual([kept]);
  const pool = kerasLayer('pool', 'MaxPooling2D', { pool_size: [2, 2] });
  expect(plan(chain([null, 8, 8, 3], [conv('conv'), pool, bn]))).toEqual([kept]);
});

test('forward into a convolution only without padding, and only if it has all consumers', () => {
  const second = (padding: string) =>
    kerasLayer('next', 'Conv2D', { filters: 5, kernel_size: [3, 3], padding, use_bias: false }, [
      weight('kernel', [3, 3, 4, 5]),
    ]);
  const model = (padding: string) =>
    chain([null, 9, 9, 3], [conv('conv', { activation: 'relu' }), batchNorm('bn', 4), second(padding)]);
  expect(plan(model('valid'))).toEqual([
    { bn: 'bn', how: 'forward', into: ['next'], gainsBias: true, elementsAfter: 5 },
  ]);
  expect(plan(model('same'))).toEqual([kept]);

  const layers = [
    conv('conv', { activation: 'relu' }),
    batchNorm('bn', 4),
    second('valid'),
    kerasLayer('also', 'GlobalMaxPooling2D'),
  ];
  const root = graphOf(
    [[null, 9, 9, 3]],
    [
      ['conv', [0], 1],
      ['bn', [1], 2],
      ['next', [2], 3],
      ['also', [2], 4],
    ],
    [3, 4],
  );
  expect(plan(modelOf(layers, { '': root }))).toEqual([kept]);
});

test('a 1×1 convolution with padding same has none, and takes it', () => {
  const point = kerasLayer('next', 'Conv2D', { filters: 5, kernel_size: [1, 1], padding: 'same' }, [
    weight('kernel', [1, 1, 4, 5]),
    weight('bias', [5]),
  ]);
  const model = chain([null, 9, 9, 3], [conv('conv', { activation: 'relu' }), batchNorm('bn', 4), point]);
  expect(plan(model)?.[0]).toEqual({ bn: 'bn', how: 'forward', into: ['next'], gainsBias: false, elementsAfter: 0 });
});

test('not backward when the output of the convolution feeds something else, or either is shared', () => {
  const layers = [conv('conv'), batchNorm('bn', 4), kerasLayer('add', 'Add')];
  const residual = graphOf(
    [[null, 9, 9, 3]],
    [
      ['conv', [0], 1],
      ['bn', [1], 2],
      ['add', [1, 2], 3],
    ],
    [3],
  );
  expect(plan(modelOf(layers, { '': residual }))).toEqual([kept]);

  const shared = graphOf(
    [
      [null, 9, 9, 3],
      [null, 9, 9, 3],
    ],
    [
      ['conv', [0], 2],
      ['conv', [1], 3],
      ['bn', [2], 4],
      ['add', [4, 3], 5],
    ],
    [5],
  );
  expect(plan(modelOf(layers, { '': shared }))).toEqual([kept]);

  const kernel = weight('kernel', [3, 3, 3, 4], 'tied');
  const tied = [
    kerasLayer('conv', 'Conv2D', { filters: 4, kernel_size: [3, 3] }, [kernel]),
    kerasLayer('twin', 'Conv2D', { filters: 4, kernel_size: [3, 3] }, [kernel]),
    batchNorm('bn', 4),
    kerasLayer('add', 'Add'),
  ];
  const both = graphOf(
    [[null, 9, 9, 3]],
    [
      ['conv', [0], 1],
      ['twin', [0], 2],
      ['bn', [1], 3],
      ['add', [3, 2], 4],
    ],
    [4],
  );
  expect(plan(modelOf(tied, { '': both }))).toEqual([kept]);
});

test('an axis that is not the channels is kept, but Flatten lets any axis through to a Dense', () => {
  const rows = batchNorm('bn', 6, { axis: 1 });
  expect(plan(chain([null, 8, 8, 3], [conv('conv'), rows, relu]))).toEqual([{ ...kept, elementsAfter: 12 }]);
  const model = chain([null, 8, 8, 3], [conv('conv'), rows, flatten, dense('dense', 144, 2)]);
  expect(plan(model)?.[0]).toMatchObject({ how: 'forward', into: ['dense'] });
});

test('a model without a graph: null with a BatchNorm, nothing to fold without', () => {
  expect(planFolding(modelOf([conv('conv'), batchNorm('bn', 4)], {}))).toBeNull();
  expect(planFolding(modelOf([conv('conv')], {}))).toEqual([]);
});

test('a bias that two BatchNorms ask for is gained once', () => {
  const model = chain([null, 8, 8, 3], [conv('conv', {}, false), batchNorm('one', 4), batchNorm('two', 4), relu]);
  expect(plan(model)?.map((fold) => [fold.bn, fold.how, fold.elementsAfter])).toEqual([
    ['one', 'backward', 4],
    ['two', 'backward', 0],
  ]);
});
