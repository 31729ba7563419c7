import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { compare } from '../../src/diff/across.ts';
import { type Side, sideOfModel } from '../../src/diff/side.ts';
import type { Layer } from '../../src/ir/model.ts';
import { familyOfType } from '../../src/layers/registry.ts';
import { chain, kerasLayer, toJson } from '../helpers/graph-model.ts';
import { modelOf } from '../helpers/model.ts';
import { linesOf, STRUCTURE } from './open-side.ts';

type Config = Readonly<Record<string, unknown>>;

/** What get_config() of layers with their usual arguments gives: Keras 3.15 and tf_keras 2.x. */
const CONFIGS = JSON.parse(
  readFileSync(new URL('../../fixtures/good/keras-configs.json', import.meta.url), 'utf8'),
) as {
  readonly keras3: Readonly<Record<string, Config>>;
  readonly tfkeras: Readonly<Record<string, Config>>;
};

function layerOf(type: string, config: Config, version: string): Layer {
  const attrs = toJson({ name: 'x', trainable: true, ...config }) as Layer['attrs'];
  const family = familyOfType('keras', type, attrs);
  const norm = family?.normalise(type, attrs, 'keras', version, 'tensorflow') ?? {};
  return { ...kerasLayer('x', type), attrs, norm, kind: family?.kind ?? 'unknown' };
}

function sideOf(type: string, config: Config, version = '3.15.1'): Side {
  const model = chain([null, 4], [layerOf(type, config, version)]);
  return sideOfModel(version, { ...model, producer: { framework: 'keras', version, backend: 'tensorflow' } });
}

const WORDS: Readonly<Record<string, string>> = {
  channels_last: 'channels_first',
  same: 'valid',
  valid: 'same',
  linear: 'relu',
  relu: 'tanh',
  tanh: 'relu',
  sigmoid: 'relu',
  concat: 'sum',
  dot: 'concat',
  nearest: 'bilinear',
  bilinear: 'nearest',
  reflect: 'constant',
  horizontal_and_vertical: 'horizontal',
  multi_hot: 'count',
  int: 'multi_hot',
};

/** Another value of the same kind; undefined: there is none to be had. */
function mutate(value: unknown, key = ''): unknown {
  // Where the rank is not known, only axes that are counted from the same end can be compared.
  if (key === 'axis' && typeof value === 'number') return value - 1;
  if (key === 'axis' && Array.isArray(value)) return [-2];
  if (typeof value === 'boolean') return !value;
  if (typeof value === 'number') return Number.isInteger(value) ? value + 1 : value + 0.125;
  if (typeof value === 'string') return WORDS[value] ?? `${value}x`;
  if (Array.isArray(value) && value.length > 0) return [mutate(value[0]), ...value.slice(1)];
  return value === null ? 2 : undefined;
}

/**
 * Not what a layer computes: where random numbers begin, how a loop is run, initial values, shapes that the model tells;
 * or values that Keras takes no number for.
 */
const NO_FACT =
  /^(?:seed|unroll|implementation|unit_forget_bias|synchronized|output_shape|batch_input_shape|input_length|rng_type|autocast|bias_axes|equation)$/;

describe('every part of a config that changes what is computed is told', () => {
  const cases = Object.entries(CONFIGS.keras3).flatMap(([type, config]) =>
    Object.keys(config)
      .filter((key) => !NO_FACT.test(key) && mutate(config[key], key) !== undefined)
      .map((key) => [type, key] as const),
  );

  test('there are hundreds of them', () => {
    expect(cases.length).toBeGreaterThan(400);
  });

  test.each(cases)('%s %s', async (type, key) => {
    const config = CONFIGS.keras3[type] ?? {};
    const found = await compare(
      sideOf(type, config),
      sideOf(type, { ...config, [key]: mutate(config[key], key) }),
      STRUCTURE,
    );
    expect(linesOf(found)).not.toEqual([]);
  });
});

describe('the defaults of two releases are no difference', () => {
  /** Layers whose default is another in the other release. */
  const OTHERWISE: ReadonlySet<string> = new Set(['ConvLSTM1D', 'ConvLSTM2D', 'ConvLSTM3D']);
  const both = Object.keys(CONFIGS.keras3).filter((type) => type in CONFIGS.tfkeras && !OTHERWISE.has(type));

  test('there are dozens of them', () => {
    expect(both.length).toBeGreaterThan(60);
  });

  test.each(both)('%s', async (type) => {
    const old = sideOf(type, CONFIGS.tfkeras[type] ?? {}, '2.15.0');
    const found = await compare(old, sideOf(type, CONFIGS.keras3[type] ?? {}), STRUCTURE);
    expect(linesOf(found)).toEqual([]);
  });
});

describe('words for people', () => {
  test('dropout inside a recurrent layer, of Keras 1 as well', async () => {
    const config = { units: 4, dropout: 0.3, recurrent_dropout: 0.2 };
    const plain = await compare(sideOf('LSTM', { units: 4 }), sideOf('LSTM', config), STRUCTURE);
    expect(linesOf(plain)).toEqual(['x dropout 0 → 0.3', 'x recurrent_dropout 0 → 0.2']);
    const old = sideOf(
      'LSTM',
      { output_dim: 4, dropout_W: 0.3, dropout_U: 0.2, consume_less: 'gpu', inner_activation: 'sigmoid' },
      '1.2.2',
    );
    const found = await compare(old, sideOf('LSTM', config), STRUCTURE);
    expect(linesOf(found)).toEqual([]);
  });

  test('a long vocabulary is told by its content', async () => {
    const words = Array.from({ length: 300 }, (_, index) => `w${index}`);
    const side = (vocabulary: readonly string[]) => sideOf('StringLookup', { vocabulary });
    expect(linesOf(await compare(side(words), side([...words]), STRUCTURE))).toEqual([]);
    const found = await compare(side(words), side([...words.slice(0, -1), 'other']), STRUCTURE);
    expect(linesOf(found)[0]).toMatch(/^x vocabulary 300 entries, [0-9a-f]{16} → 300 entries, [0-9a-f]{16}$/);
  });

  test('a factor is the range that it stands for', async () => {
    const found = await compare(
      sideOf('RandomRotation', { factor: 0.1 }, '2.15.0'),
      sideOf('RandomRotation', { factor: [-0.1, 0.1] }),
      STRUCTURE,
    );
    expect(linesOf(found)).toEqual([]);
  });
});

describe('modules of PyTorch', () => {
  const module = (type: string, kind: Layer['kind'], attrs: Config) =>
    sideOfModel(
      'x',
      modelOf({ dialect: 'torch', layers: [{ path: 'x', kind, type, attrs: toJson(attrs) as Layer['attrs'] }] }),
    );

  test.each([
    ['TransformerEncoderLayer', 'model', { norm_first: false }, { norm_first: true }, 'x norm_first off → on'],
    ['AvgPool2d', 'avg_pool', { divisor_override: null }, { divisor_override: 3 }, 'x divisor_override none → 3'],
    ['Embedding', 'embedding', { max_norm: null }, { max_norm: 1 }, 'x max_norm none → 1'],
  ] as const)('%s', async (type, kind, before, after, line) => {
    const side = (attrs: Config) => module(type, kind, { training: true, ...attrs });
    expect(linesOf(await compare(side(before), side(after), STRUCTURE))).toEqual([line]);
    expect(linesOf(await compare(side(after), module(type, kind, { training: false, ...after }), STRUCTURE))).toEqual(
      [],
    );
  });
});

// Every key of a custom layer's config is its author's, whatever words the comparison has for other layers.
test.each(['training', 'config', 'details', 'asStated', 'layers', 'init', 'kernel_initializer', 'n', 'synchronized'])(
  'a custom layer’s setting %s is compared',
  async (key) => {
    const side = (value: unknown): Side => sideOf('pkg>Odd', { [key]: value });
    for (const [before, after] of [
      [1, 2],
      [true, false],
      ['a', 'b'],
    ]) {
      const found = await compare(side(before), side(after), STRUCTURE);
      expect(found.changes.map((change) => [change.code, 'name' in change ? change.name : ''])).toEqual([
        ['attribute', key],
      ]);
    }
    expect((await compare(side('a'), side('a'), STRUCTURE)).changes).toEqual([]);
  },
);
