import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { account } from '../../src/account/account.ts';
import { total } from '../../src/account/count.ts';
import { explain } from '../../src/account/explain.ts';
import { explainPair } from '../../src/account/explain-pair.ts';
import { toolFigures } from '../../src/account/tools.ts';
import type { Model } from '../../src/ir/model.ts';
import {
  attrsOf,
  batchNormWeights,
  chainOf,
  type LayerSpec,
  modelOf,
  referenceCnn,
  tensorOf,
} from '../helpers/model.ts';

function accountOf(model: Model, path: string) {
  return account(model).layers[model.layers.findIndex((layer) => layer.path === path)];
}

describe('the reference CNN', () => {
  const model = referenceCnn();
  const accounting = account(model);

  // What Keras 3.15.1, PyTorch 2.13.0 and torchinfo print for this network.
  test('has the frameworks’ own totals', () => {
    expect(accounting.totals).toEqual({
      keras: { total: 13_108_758, trainable: 13_108_694, nonTrainable: 64, optimizer: 0, totalCompiled: null },
      torch: { parameters: 13_108_694, trainable: 13_108_694, frozen: 0, buffers: 65 },
      state: { elements: 13_108_759, unique: 13_108_759 },
      inference: { elements: 13_108_630 },
    });
    expect(accounting.bytes['keras.total']).toBe(52_435_032);
    expect(accounting.bytes['keras.nonTrainable']).toBe(256);
    expect(accounting.diagnostics).toEqual([]);
  });

  test('has its BatchNorm as 128 in Keras, 64 + 65 in PyTorch', () => {
    expect(accountOf(model, 'batch_normalization')?.own).toMatchObject({ keras: 128, torch: 64, buffers: 65 });
  });

  test('is explained from rule to rule without a remainder', () => {
    const { stages } = explain(model, accounting);
    expect(stages.map((stage) => stage.to)).toEqual([
      { rule: 'torch.parameters', elements: 13_108_694 },
      { rule: 'state.elements', elements: 13_108_759 },
      { rule: 'inference.elements', elements: 13_108_630 },
    ]);
    expect(stages[0]?.steps).toEqual([{ kind: 'moving_statistics', elements: -64, layers: ['batch_normalization'] }]);
    expect(stages[1]?.steps).toEqual([
      { kind: 'moving_statistics', elements: 64, layers: ['batch_normalization'] },
      { kind: 'batch_counters', elements: 1, layers: ['batch_normalization'] },
    ]);
    expect(stages[2]?.steps).toEqual([
      { kind: 'moving_statistics', elements: -64, layers: ['batch_normalization'] },
      { kind: 'batch_counters', elements: -1, layers: ['batch_normalization'] },
      { kind: 'folded_affine', elements: -64, layers: ['batch_normalization'] },
    ]);
  });

  test('leaves the folded size unknown without a graph', () => {
    expect(account(referenceCnn({ graphs: new Map() })).totals.inference).toEqual({ elements: null });
  });

  test('with Adam built: the optimizer apart, and Keras 3’s compiled total', () => {
    // iteration, learning rate, and two slots of 13,108,694 elements (Keras prints 26,217,390).
    const optimizer = [
      tensorOf('optimizer/iteration', [], 'int64'),
      tensorOf('optimizer/learning_rate', []),
      tensorOf('optimizer/momentum', [13_108_694]),
      tensorOf('optimizer/velocity', [13_108_694]),
    ];
    const compiled = account(referenceCnn({ optimizer }));
    expect(compiled.totals.keras).toMatchObject({
      total: 13_108_758,
      optimizer: 26_217_390,
      totalCompiled: 39_326_148,
    });
    const { stages } = explain(referenceCnn({ optimizer }), compiled);
    expect(stages.at(-1)?.steps).toEqual([{ kind: 'optimizer', elements: 26_217_390, layers: [] }]);
    // Keras 3 loads a compiled .h5 with the iteration and the learning rate alone.
    const tools = toolFigures(referenceCnn({ optimizer }), compiled);
    expect(tools.find((tool) => tool.tool === 'keras3_summary_compiled')?.elements).toBe(13_108_760);
  });

  test('as a .keras compiled with Adam and never fitted: what loading builds', () => {
    const adam = referenceCnn({
      format: 'keras-zip',
      optimizer: [tensorOf('optimizer/vars/0', [], 'int64'), tensorOf('optimizer/vars/1', [])],
      origin: {
        trainingConfig: attrsOf({
          optimizer: attrsOf({ class_name: 'Adam', config: attrsOf({ learning_rate: 0.001, amsgrad: false }) }),
        }),
      },
    });
    expect(account(adam).totals.keras).toMatchObject({ optimizer: 26_217_390, totalCompiled: 39_326_148 });
  });
});

describe('rules', () => {
  test('a frozen BatchNorm is non-trainable in Keras, frozen in PyTorch', () => {
    const model = modelOf({
      layers: [
        { path: 'bn', kind: 'batch_norm', type: 'BatchNormalization', trainable: false, weights: batchNormWeights(8) },
      ],
    });
    const { totals } = account(model);
    expect(totals.keras).toMatchObject({ total: 32, trainable: 0, nonTrainable: 32 });
    expect(totals.torch).toEqual({ parameters: 16, trainable: 0, frozen: 16, buffers: 17 });
  });

  test('a filled gamma is a frozen parameter in PyTorch alone', () => {
    const model = modelOf({
      layers: [
        {
          path: 'bn',
          kind: 'batch_norm',
          type: 'BatchNormalization',
          attrs: attrsOf({ scale: false }),
          weights: batchNormWeights(8).filter((weight) => weight.role !== 'gamma'),
        },
      ],
    });
    const accounting = account(model);
    expect(accounting.totals.keras).toMatchObject({ total: 24, trainable: 8, nonTrainable: 16 });
    expect(accounting.totals.torch).toEqual({ parameters: 16, trainable: 8, frozen: 8, buffers: 17 });
    expect(explain(model, accounting).stages[0]?.steps).toEqual([
      { kind: 'moving_statistics', elements: -16, layers: ['bn'] },
      { kind: 'filled_scale', elements: 8, layers: ['bn'] },
    ]);
  });

  test('an LSTM has a second bias of 4u in PyTorch', () => {
    const model = modelOf({
      layers: [
        {
          path: 'lstm',
          kind: 'lstm',
          type: 'LSTM',
          attrs: attrsOf({ units: 5 }),
          weights: [
            { role: 'kernel', shape: [3, 20] },
            { role: 'recurrent_kernel', shape: [5, 20] },
            { role: 'bias', shape: [20] },
          ],
        },
      ],
    });
    const accounting = account(model);
    expect(accounting.totals.keras.total).toBe(180);
    expect(accounting.totals.torch.parameters).toBe(200);
    expect(explain(model, accounting).stages[0]?.steps).toEqual([
      { kind: 'second_bias', elements: 20, layers: ['lstm'] },
    ]);
    expect(toolFigures(model, accounting).find((tool) => tool.tool === 'torchsummary')).toMatchObject({
      crashes: true,
      elements: null,
    });
  });

  test('a layer without a twin counts its own tensors and says so', () => {
    const model = modelOf({
      layers: [
        { path: 'mine', kind: 'unknown', type: 'Mine', weights: [{ role: 'w', shape: [7], isParameter: null }] },
      ],
    });
    const { totals, diagnostics } = account(model);
    expect(totals.keras.total).toBe(7);
    expect(totals.torch.parameters).toBe(7);
    expect(totals.inference.elements).toBeNull();
    expect(diagnostics.map((one) => one.code)).toEqual(['CLASS_ASSUMED', 'NO_TWIN']);
  });

  test('a tied tensor counts once, with its first owner, and twice key by key', () => {
    const model = modelOf({
      dialect: 'torch',
      layers: [
        {
          path: 'embed',
          kind: 'embedding',
          type: 'Embedding',
          weights: [{ role: 'weight', shape: [10, 4], identity: 'one' }],
        },
        { path: 'head', kind: 'dense', type: 'Linear', weights: [{ role: 'weight', shape: [10, 4], identity: 'one' }] },
      ],
    });
    const accounting = account(model);
    expect(accounting.totals.torch.parameters).toBe(40);
    expect(accounting.totals.state).toEqual({ elements: 80, unique: 40 });
    expect(accountOf(model, 'embed')?.own.torch).toBe(40);
    expect(accountOf(model, 'head')?.own.torch).toBe(0);
    expect(explain(model, accounting).stages[1]?.steps).toEqual([
      { kind: 'repeated_keys', elements: 40, layers: ['head'] },
    ]);
  });

  test('what the file does not say is null', () => {
    const model = modelOf({
      dialect: 'torch',
      layers: [
        {
          path: 'fc',
          kind: 'dense',
          type: 'Linear',
          trainable: null,
          weights: [{ role: 'weight', shape: [2, 3], trainable: null }],
        },
      ],
    });
    expect(account(model).totals.torch).toEqual({ parameters: 6, trainable: null, frozen: null, buffers: 0 });
  });

  test('a count past 2^53 is exact', () => {
    const layer = (path: string): LayerSpec => ({
      path,
      kind: 'dense',
      type: 'Linear',
      weights: [{ role: 'weight', shape: [2 ** 26, 2 ** 26 - 1] }],
    });
    const model = modelOf({ dialect: 'torch', layers: ['a', 'b', 'c'].map(layer) });
    expect(account(model).totals.torch.parameters).toBe(3n * 2n ** 26n * (2n ** 26n - 1n));
  });

  test('a container shows its subtree and its own share apart', () => {
    const model = modelOf({
      layers: [
        { path: 'tower', kind: 'model', type: 'Functional', container: true, weights: [{ role: 'scale', shape: [3] }] },
        {
          path: 'tower/bn',
          parent: 'tower',
          kind: 'batch_norm',
          type: 'BatchNormalization',
          weights: batchNormWeights(4),
        },
      ],
    });
    const tower = accountOf(model, 'tower');
    expect(tower?.subtree).toMatchObject({ keras: 19, torch: 11, buffers: 9 });
    expect(tower?.own).toMatchObject({ keras: 3, torch: 3, buffers: 0 });
  });
});

/** Random models of known layers: rows, rules and explanations must agree whatever they hold. */
const layerSpec = (index: number): fc.Arbitrary<LayerSpec> => {
  const size = fc.integer({ min: 1, max: 6 });
  const trainable = fc.boolean();
  return fc.oneof(
    fc.tuple(size, trainable, fc.boolean(), fc.boolean()).map(
      ([channels, flag, scale, center]): LayerSpec => ({
        path: `layer_${index}`,
        kind: 'batch_norm',
        type: 'BatchNormalization',
        trainable: flag,
        attrs: attrsOf({ scale, center }),
        weights: batchNormWeights(channels).filter(
          (weight) => (scale || weight.role !== 'gamma') && (center || weight.role !== 'beta'),
        ),
      }),
    ),
    fc.tuple(size, size, trainable).map(
      ([from, to, flag]): LayerSpec => ({
        path: `layer_${index}`,
        kind: 'dense',
        type: 'Dense',
        trainable: flag,
        attrs: attrsOf({ units: to }),
        weights: [
          { role: 'kernel', shape: [from, to] },
          { role: 'bias', shape: [to] },
        ],
      }),
    ),
    fc.tuple(size, size, trainable).map(
      ([from, units, flag]): LayerSpec => ({
        path: `layer_${index}`,
        kind: 'lstm',
        type: 'LSTM',
        trainable: flag,
        attrs: attrsOf({ units }),
        weights: [
          { role: 'kernel', shape: [from, 4 * units] },
          { role: 'recurrent_kernel', shape: [units, 4 * units] },
          { role: 'bias', shape: [4 * units] },
        ],
      }),
    ),
    fc.tuple(fc.array(size, { maxLength: 3 }), fc.constantFrom('weight', 'statistic', 'counter', 'constant')).map(
      ([shape, weightClass]): LayerSpec => ({
        path: `layer_${index}`,
        kind: 'unknown',
        type: 'Mine',
        weights: [{ role: 'own', shape, class: weightClass as 'weight', identity: `own of ${index % 2}` }],
      }),
    ),
  );
};

const models: fc.Arbitrary<Model> = fc
  .integer({ min: 0, max: 8 })
  .chain((count) => fc.tuple(...Array.from({ length: count }, (_, index) => layerSpec(index))))
  .map((layers) => {
    // A shared identity means one shape; the later spec is left out otherwise.
    const shapes = new Map<string, string>();
    const consistent = layers.filter((layer) => {
      const weight = layer.weights?.[0];
      if (weight?.identity === undefined) return true;
      const facts = JSON.stringify([weight.shape, weight.class]);
      if ((shapes.get(weight.identity) ?? facts) !== facts) return false;
      shapes.set(weight.identity, facts);
      return true;
    });
    return modelOf({ layers: consistent });
  });

describe('whatever the model', () => {
  test('rows add up, rules are ordered, explanations have no remainder', () => {
    fc.assert(
      fc.property(models, (model) => {
        const accounting = account(model);
        const { keras, torch, state } = accounting.totals;
        const rows = accounting.layers.map((layer) => layer.own);
        expect(total(rows.map((row) => row.keras))).toBe(keras.total);
        expect(total(rows.map((row) => row.torch))).toBe(torch.parameters);
        expect(total(rows.map((row) => row.buffers))).toBe(torch.buffers);
        expect(total([keras.trainable ?? 0, keras.nonTrainable ?? 0])).toBe(keras.total);
        expect(total([torch.trainable ?? 0, torch.frozen ?? 0])).toBe(torch.parameters);
        expect(torch.parameters <= state.unique).toBe(true);
        expect(state.unique <= state.elements).toBe(true);
        // The independent sum: Keras' total is the elements of the distinct tensors that the specs name.
        const distinct = new Map(
          model.layers.flatMap((layer) => layer.weights.map((weight) => [weight.tensor.identity, weight.tensor.shape])),
        );
        const sum = [...distinct.values()].reduce((all, shape) => all + shape.reduce((n, axis) => n * axis, 1), 0);
        expect(keras.total).toBe(sum);
        for (const stage of explain(model, accounting).stages) {
          expect(total([stage.from.elements, ...stage.steps.map((step) => step.elements)])).toBe(stage.to.elements);
        }
      }),
      { numRuns: 200, seed: 20_241 },
    );
  });

  test('two models are explained without a remainder', () => {
    fc.assert(
      fc.property(models, models, (a, b) => {
        const left = { model: a, accounting: account(a) };
        const right = { model: b, accounting: account(b) };
        const pair = explainPair(left, right);
        expect(total([pair.from.elements, ...pair.steps.map((step) => step.elements)])).toBe(pair.to.elements);
      }),
      { numRuns: 100, seed: 7 },
    );
  });
});

describe('two frameworks’ versions of one network', () => {
  test('differ by statistics and by the biases before each BatchNorm', () => {
    const keras = modelOf({
      layers: [
        {
          path: 'conv',
          kind: 'conv',
          type: 'Conv2D',
          attrs: attrsOf({ filters: 8, kernel_size: [3, 3] }),
          weights: [
            { role: 'kernel', shape: [3, 3, 3, 8] },
            { role: 'bias', shape: [8] },
          ],
        },
        { path: 'bn', kind: 'batch_norm', type: 'BatchNormalization', weights: batchNormWeights(8) },
      ],
      graphs: new Map([
        [
          '',
          chainOf(
            [null, 9, 9, 3],
            [
              ['conv', [null, 7, 7, 8]],
              ['bn', [null, 7, 7, 8]],
            ],
          ),
        ],
      ]),
    });
    const torch = modelOf({
      dialect: 'torch',
      layers: [
        { path: 'conv1', kind: 'conv', type: 'Conv2d', weights: [{ role: 'weight', shape: [8, 3, 3, 3] }] },
        {
          path: 'bn1',
          kind: 'batch_norm',
          type: 'BatchNorm2d',
          weights: [
            { role: 'weight', shape: [8] },
            { role: 'bias', shape: [8] },
            { role: 'running_mean', shape: [8], class: 'statistic', isParameter: false },
            { role: 'running_var', shape: [8], class: 'statistic', isParameter: false },
            { role: 'num_batches_tracked', shape: [], class: 'counter', isParameter: false, dtype: 'int64' },
          ],
        },
      ],
    });
    const pair = explainPair(
      { model: torch, accounting: account(torch) },
      { model: keras, accounting: account(keras) },
    );
    expect(pair).toEqual({
      from: { rule: 'torch.parameters', elements: 232 },
      steps: [
        { kind: 'moving_statistics', elements: 16, layers: ['bn'] },
        { kind: 'bias_before_batch_norm', elements: 8, layers: ['conv'] },
      ],
      to: { rule: 'keras.total', elements: 256 },
      paired: 2,
    });
  });
});

describe('what is tied in PyTorch and is two layers in Keras', () => {
  const model = modelOf({
    dialect: 'torch',
    layers: [
      {
        path: 'embed',
        kind: 'embedding',
        type: 'Embedding',
        weights: [{ role: 'weight', shape: [10, 4], identity: 'one' }],
      },
      { path: 'head', kind: 'dense', type: 'Linear', weights: [{ role: 'weight', shape: [10, 4], identity: 'one' }] },
    ],
  });

  // An Embedding's table is [10, 4] and a Dense kernel [4, 10]: Keras cannot hold them as one variable of two layers.
  test('is explained by the tie', () => {
    const accounting = account(model);
    expect(accounting.totals.keras.total).toBe(80);
    expect(accounting.totals.torch.parameters).toBe(40);
    expect(explain(model, accounting).stages[0]?.steps).toEqual([
      { kind: 'tied_apart', elements: -40, layers: ['head'] },
    ]);
  });

  // Keras ties the two Dense kernels as PyTorch does; its one LSTM bias stands for two.
  test('layers that both frameworks tie are not', () => {
    const recurrent = (path: string): LayerSpec => ({
      path,
      kind: 'lstm',
      type: 'LSTM',
      attrs: attrsOf({ input_size: 3, hidden_size: 2, num_layers: 1, bias: true }),
      weights: [
        { role: 'weight_ih_l0', shape: [8, 3], identity: 'input' },
        { role: 'weight_hh_l0', shape: [8, 2], identity: 'hidden' },
        { role: 'bias_ih_l0', shape: [8], identity: `${path} first` },
        { role: 'bias_hh_l0', shape: [8], identity: `${path} second` },
      ],
    });
    const twice = modelOf({ dialect: 'torch', layers: [recurrent('a'), recurrent('b')] });
    const accounting = account(twice);
    // 24 + 16 elements once, and a bias of 8 for each in Keras, two of 8 for each in PyTorch.
    expect(accounting.totals.keras.total).toBe(56);
    expect(accounting.totals.torch.parameters).toBe(72);
    expect(explain(twice, accounting).stages[0]?.steps).toEqual([
      { kind: 'second_bias', elements: 16, layers: ['a', 'b'] },
    ]);
  });

  test('also between two files', () => {
    const untied = modelOf({
      dialect: 'torch',
      layers: [
        { path: 'embed', kind: 'embedding', type: 'Embedding', weights: [{ role: 'weight', shape: [10, 4] }] },
        { path: 'head', kind: 'dense', type: 'Linear', weights: [{ role: 'weight', shape: [10, 4] }] },
      ],
    });
    const sides = [model, untied].map((one) => ({ model: one, accounting: account(one) }));
    const [left, right] = sides;
    if (left === undefined || right === undefined) throw new Error('two sides');
    expect(explainPair(left, right).steps).toEqual([{ kind: 'tied', elements: 40, layers: ['head'] }]);
    expect(explainPair(right, left).steps).toEqual([{ kind: 'tied', elements: -40, layers: ['head'] }]);
  });
});

test('a BatchNorm that Keras does not have brings no counter of batches there', () => {
  const model = modelOf({
    dialect: 'torch',
    layers: [
      {
        path: 'odd',
        kind: 'batch_norm',
        type: 'BatchNorm1d',
        // Shapes that do not fit each other: no counterpart.
        weights: [
          { role: 'weight', shape: [4] },
          { role: 'running_mean', shape: [3], class: 'statistic', isParameter: false },
          { role: 'num_batches_tracked', shape: [], class: 'counter', isParameter: false },
        ],
      },
    ],
  });
  const accounting = account(model);
  expect([...accounting.entries.untwinned]).toEqual(['odd']);
  expect(accounting.totals.keras.total).toBe(7);
  expect(accounting.totals.torch.buffers).toBe(4);
});
