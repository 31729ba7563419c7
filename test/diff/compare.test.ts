import { existsSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { compare } from '../../src/diff/across.ts';
import { categoriesOf } from '../../src/diff/change.ts';
import { sideOfModel } from '../../src/diff/side.ts';
import { chain, graphOf, kerasLayer, modelOf as modelWith, weight } from '../helpers/graph-model.ts';
import { batchNormWeights, modelOf } from '../helpers/model.ts';
import { compareFiles, goodPath, linesOf, STRICT, STRUCTURE } from './open-side.ts';

const dense = (path: string, units: number, inputs: number) =>
  kerasLayer(path, 'Dense', { name: path, units, use_bias: false }, [weight('kernel', [inputs, units])]);

describe('what others miss in a BatchNormalization, each file written by Keras', () => {
  const against = (name: string) => compareFiles('pairs/bn.keras', `pairs/bn-${name}.keras`);

  test('all four vectors grow from 4 to 5', async () => {
    const { changes } = await against('five-channels');
    expect(changes.filter((change) => change.code === 'shape')).toEqual([
      {
        code: 'shape',
        at: { a: 'bn', b: 'bn', kind: 'batch_norm' },
        roles: ['gamma', 'beta', 'moving_mean', 'moving_variance'],
        before: [4],
        after: [5],
        elements: 4,
      },
    ]);
  });

  test('gamma and beta swapped', async () => {
    expect(linesOf(await against('gamma-beta-swapped'))).toEqual(['bn gamma and beta are swapped']);
  });

  test('mean and variance swapped', async () => {
    expect(linesOf(await against('mean-variance-swapped'))).toEqual(['bn moving_mean and moving_variance are swapped']);
  });

  test('momentum alone', async () => {
    expect(linesOf(await against('momentum'))).toEqual(['bn momentum 0.99 → 0.9 (PyTorch 0.01 → 0.1)']);
  });

  test('eps alone', async () => {
    expect(linesOf(await against('epsilon'))).toEqual(['bn eps 0.001 → 0.01']);
  });

  test('trainable alone', async () => {
    expect(linesOf(await against('frozen'))).toEqual(['bn trainability (gamma, beta) trainable → frozen (8 elements)']);
  });

  test('dtype alone', async () => {
    const found = await compareFiles('pairs/bn.keras', 'pairs/bn-dtype.keras', STRUCTURE);
    expect(linesOf(found)).toEqual([
      'bn dtype of gamma, beta, moving_mean, moving_variance float32 → float16',
      'bn dtype policy float32 → float16',
    ]);
  });

  test('without --values nothing is said of values', async () => {
    const found = await compareFiles('pairs/bn.keras', 'pairs/bn-gamma-beta-swapped.keras', STRUCTURE);
    expect(found.changes).toEqual([]);
    expect(found.values).toBeNull();
  });
});

describe('what is no difference', () => {
  test.each([
    ['reference-cnn.h5', 'reference-cnn-keras2.h5'],
    ['reference-cnn.keras', 'reference-cnn-keras2.h5'],
    ['reference-cnn.h5', 'reference-cnn.keras'],
    ['k2-frozen-parent-thawed-child.h5', 'k2-frozen-parent-thawed-child.keras'],
  ])('%s and %s, whatever release and container', async (a, b) => {
    expect(linesOf(await compareFiles(a, b, STRUCTURE))).toEqual([]);
  });

  test('clipping of renorm that one of two releases was given is one', async () => {
    expect(linesOf(await compareFiles('k2-bn-renorm.h5', 'bn-renorm.h5', STRUCTURE))).toEqual([
      'bn renorm_clipping {"dmax": 5, "rmax": 3} → none',
    ]);
  });

  test('numbers that Keras gives by itself, values included', async () => {
    const found = await compareFiles('pairs/automatic.keras', 'pairs/automatic-again.keras');
    expect(found.changes).toEqual([]);
    expect(found.values?.compared).toBe(14);
  });

  test('a file and itself', async () => {
    const found = await compareFiles('many-same-class.h5', 'many-same-class.keras');
    expect(found.changes).toEqual([]);
  });
});

describe('renames and moves', () => {
  test('a renamed block of MobileNetV2 is one line', async () => {
    const found = await compareFiles(
      'pairs/mobilenet-v2.config.json',
      'pairs/mobilenet-v2-renamed.config.json',
      STRUCTURE,
    );
    expect(linesOf(found)).toEqual(['renamed block_3_* → stage_three_* (9 layers)']);
    expect(found.changes.every((change) => change.code === 'layer_renamed')).toBe(true);
  });

  test('--ignore renames leaves them out', async () => {
    const found = await compareFiles('pairs/mobilenet-v2.config.json', 'pairs/mobilenet-v2-renamed.config.json', {
      ...STRUCTURE,
      ignore: new Set(['renames']),
    });
    expect(found.changes).toEqual([]);
    expect(found.ignored).toBe(9);
  });

  const sides = (left: ReturnType<typeof chain>, right: ReturnType<typeof chain>) =>
    compare(sideOfModel('a', left), sideOfModel('b', right), STRUCTURE);

  test('a layer put between others of the same automatic base is an addition, and nothing else', async () => {
    const before = chain([null, 4], [dense('dense', 8, 4), dense('dense_1', 2, 8)]);
    const after = chain([null, 4], [dense('dense_5', 8, 4), dense('dense_6', 8, 8), dense('dense_7', 2, 8)]);
    const found = await sides(before, after);
    expect(linesOf(found)).toEqual(['dense_6 added (Dense, 1 tensor, +64)']);
  });

  test('a layer in another place of a chain is another computation: wiring, whatever is said of names', async () => {
    const one = chain(
      [null, 4],
      [dense('first', 4, 4), kerasLayer('drop', 'Dropout', { rate: 0.5 }), dense('last', 4, 4)],
    );
    const other = chain(
      [null, 4],
      [dense('first', 4, 4), dense('last', 4, 4), kerasLayer('drop', 'Dropout', { rate: 0.5 })],
    );
    const found = await sides(one, other);
    expect(linesOf(found)).toEqual(['drop reads from first → last']);
    expect(found.changes.every((change) => categoriesOf(change).has('wiring'))).toBe(true);
    expect(found.changes.some((change) => categoriesOf(change).has('renames'))).toBe(false);
  });

  test('a block in an nn.Sequential shifts those behind it', async () => {
    const sequential = (sizes: readonly number[]) =>
      sideOfModel(
        'x',
        modelOf({
          dialect: 'torch',
          layers: sizes.map((size, index) => ({
            path: String(index),
            kind: 'dense' as const,
            type: 'Linear',
            weights: [{ role: 'weight', shape: [size, 3] }],
          })),
        }),
      );
    const found = await compare(sequential([1, 2, 3, 4]), sequential([1, 9, 2, 3, 4]), STRUCTURE);
    expect(linesOf(found)).toEqual(['1 added (Linear, 1 tensor, +27)', 'renumbered 1 … 3 → 2 … 4 (3 layers)']);
  });
});

describe('what it means', () => {
  test('biases switched on are one line with their count', async () => {
    const conv = (path: string, bias: boolean) => ({
      path,
      kind: 'conv' as const,
      type: 'Conv2d',
      weights: [{ role: 'weight', shape: [64, 3, 3, 3] }, ...(bias ? [{ role: 'bias', shape: [64] }] : [])],
      norm: { useBias: bias },
    });
    const model = (bias: boolean) =>
      sideOfModel('x', modelOf({ dialect: 'torch', layers: ['a', 'b', 'c'].map((path) => conv(path, bias)) }));
    const found = await compare(model(false), model(true), STRUCTURE);
    expect(linesOf(found)).toEqual(['3 convolutions bias switched on (+192, a, b, c)']);
  });

  test('a connection that changes while every layer stays', async () => {
    const layers = [dense('left', 4, 4), dense('right', 4, 4), kerasLayer('sum', 'Add'), dense('last', 2, 4)];
    const wired = (second: number) =>
      modelWith(layers, {
        '': graphOf(
          [[null, 4]],
          [
            ['left', [0], 1],
            ['right', [1], 2],
            ['sum', [1, second], 3],
            ['last', [3], 4],
          ],
          [4],
        ),
      });
    const found = await compare(sideOfModel('a', wired(2)), sideOfModel('b', wired(0)), STRUCTURE);
    expect(linesOf(found)).toEqual(['sum reads from left, right → left, the input']);
  });

  test('what one side does not tell is not compared, and is no difference', async () => {
    const layer = { path: 'bn', kind: 'batch_norm' as const, weights: batchNormWeights(4) };
    const known = modelOf({ layers: [{ ...layer, type: 'BatchNormalization', attrs: new Map([['epsilon', 0.001]]) }] });
    const bare = modelOf({ layers: [{ ...layer, type: '', norm: { epsilon: null, momentum: null } }] });
    const found = await compare(sideOfModel('a', known), sideOfModel('b', bare), STRUCTURE);
    expect(found.changes).toEqual([]);
    expect(found.notCompared.find((one) => one.name === 'epsilon')).toMatchObject({
      silent: 'b',
      layers: ['bn'],
      value: 0.001,
    });
  });
});

test('a kind that one side guesses from its tensors is not compared; one that both tell is', async () => {
  const weights = [{ role: 'weight', class: 'weight' as const, shape: [4, 4, 3, 3] }];
  const side = (kind: 'conv' | 'conv_transpose', told: boolean) =>
    sideOfModel(
      'file',
      modelOf({
        layers: [{ path: 'up', kind, type: told ? kind : '', attrs: new Map(told ? [['stride', 2]] : []), weights }],
      }),
    );
  const told = await compare(side('conv_transpose', true), side('conv', false), STRUCTURE);
  expect(told.changes).toEqual([]);
  expect(told.notCompared).toContainEqual(expect.objectContaining({ name: 'kind', silent: 'b', layers: ['up'] }));
  const both = await compare(side('conv_transpose', true), side('conv', true), STRUCTURE);
  expect(both.changes.map((change) => change.code)).toContain('kind');
});

describe('across frameworks', () => {
  test('ResNet50: 79,680 without a remainder, in biases and statistics', async () => {
    const found = await compareFiles('pairs/resnet50.config.json', 'pairs/resnet50.pt', STRUCTURE);
    const steps = found.explanation?.steps.map(({ kind, elements, layers }) => [kind, elements, layers.length]);
    expect(steps).toEqual([
      ['moving_statistics', -53_120, 53],
      ['bias_before_batch_norm', -26_560, 53],
    ]);
    expect(found.explanation?.from.elements).toBe(25_636_712);
    expect(found.explanation?.to.elements).toBe(25_557_032);
    expect(linesOf(found)).toHaveLength(1);
    expect(linesOf(found)[0]).toMatch(/^53 convolutions bias switched off \(−26,560, /);
    expect(found.notCompared.map((one) => one.name)).toContain('strides');
  });

  test('ResNet50 as a module names where the strides are', async () => {
    const found = await compareFiles('pairs/resnet50.config.json', 'pairs/resnet50-module.pt', STRUCTURE);
    expect(linesOf(found)).toContain(
      '3 convolutions strides [2, 2] → [1, 1] (conv3_block1_1_conv, conv4_block1_1_conv, conv5_block1_1_conv)',
    );
    expect(linesOf(found)).toContain(
      '3 convolutions strides [1, 1] → [2, 2] (conv3_block1_2_conv, conv4_block1_2_conv, conv5_block1_2_conv)',
    );
  });

  test('a summary is not compared across frameworks', async () => {
    const keras = modelOf({ layers: [] });
    const torch = { ...sideOfModel('b', modelOf({ dialect: 'torch', layers: [] })), model: null };
    await expect(compare(sideOfModel('a', keras), torch, STRICT)).rejects.toThrow(/model files themselves/);
  });
});

test('the pairs are there', () => {
  expect(existsSync(goodPath('pairs/bn.keras'))).toBe(true);
});
