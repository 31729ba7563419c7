import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import type { Layer, Model } from '../../../src/ir/model.ts';
import { openKeras } from './open-keras.ts';

/** Each model as the framework wrote it, against what the framework said about it. */
const good = join(dirname(dirname(dirname(dirname(fileURLToPath(import.meta.url))))), 'fixtures', 'good');

interface ExpectedWeight {
  readonly name: string;
  readonly path: string;
  readonly shape: readonly number[];
  readonly dtype: string;
  readonly trainable: boolean | null;
}

interface ExpectedLayer {
  readonly path: string;
  readonly type: string;
  readonly count: number | null;
  readonly trainable: boolean | null;
  readonly weights: readonly ExpectedWeight[];
}

interface Expected {
  readonly framework: Readonly<Record<string, string>>;
  readonly file: string;
  readonly reloaded: boolean;
  readonly summary: string | null;
  readonly counts: {
    readonly total: number | null;
    readonly trainable: number | null;
    readonly nonTrainable: number | null;
    readonly optimizer: number | null;
  };
  readonly layers: readonly ExpectedLayer[];
}

function isKerasFixture(name: string): boolean {
  return /\.(h5|keras|hdf5)\.expected\.json$/.test(name) || name.endsWith('.weights.json.expected.json');
}

const cases = readdirSync(good).filter(isKerasFixture).sort();

/** The config that stands beside a weights-only fixture. */
function configOf(file: string): string | undefined {
  if (!/\.(legacy-)?weights\.(h5|json)$/.test(file)) return undefined;
  const config = join(good, file.replace(/\.(legacy-)?weights\.(h5|json)$/, '.config.json'));
  return existsSync(config) ? config : undefined;
}

function elements(shape: readonly number[]): number {
  return shape.reduce((product, axis) => product * axis, 1);
}

interface Row {
  readonly path: string;
  readonly type: string;
  readonly count: number;
  readonly weights: readonly string[];
}

/** Counts of the subtree, own weights in an order that does not matter. */
function rowsOf(model: Model): ReadonlyMap<string, Row> {
  const own = (layer: Layer): number => layer.weights.reduce((sum, weight) => sum + elements(weight.tensor.shape), 0);
  const total = new Map<string, number>();
  for (const layer of model.layers) {
    for (let path: string | null = layer.path; path !== null; ) {
      total.set(path, (total.get(path) ?? 0) + own(layer));
      path = model.layers.find((other) => other.path === path)?.parent ?? null;
    }
  }
  return new Map(
    model.layers.map((layer) => [
      layer.path,
      {
        path: layer.path,
        type: pythonType(layer.type),
        count: total.get(layer.path) ?? 0,
        weights: layer.weights.map(({ role, trainable, tensor }) =>
          JSON.stringify([role, tensor.shape, tensor.dtype, trainable]),
        ),
      },
    ]),
  );
}

/**
 * Keras 2 names a weight 'dense/kernel:0', Keras 3 'kernel'; both mean the last part. Attention holds several of a name,
 * told apart by the part before.
 */
function roleOf(layer: ExpectedLayer, { name, path }: ExpectedWeight): string {
  const role = (name.split('/').at(-1) ?? name).replace(/:\d+$/, '');
  const keras1 = KERAS_1_ROLES.get(`${layer.type} ${role}`) ?? KERAS_1_ROLES.get(role);
  if (keras1 !== undefined) return keras1;
  const part = path.split('/').at(-2) ?? '';
  const parts = new Set(['query', 'key', 'value', 'attention_output', 'gate']);
  if (!/Attention$/.test(layer.type) || !parts.has(part)) return role;
  return `${part.replace('attention_', '')}_${role}`;
}

/** Our word for a variable is the one of Keras 3, whatever the file's generation called it. */
const KERAS_1_ROLES: ReadonlyMap<string, string> = new Map([
  ['Embedding W', 'embeddings'],
  ['W', 'kernel'],
  ['b', 'bias'],
  ['running_mean', 'moving_mean'],
  ['running_std', 'moving_variance'],
  ['DepthwiseConv2D depthwise_kernel', 'kernel'],
  ['DepthwiseConv1D depthwise_kernel', 'kernel'],
]);

/** Classes that a config may name otherwise than Python does. */
function pythonType(type: string): string {
  return type === 'GroupQueryAttention' ? 'GroupedQueryAttention' : (type.split('>').at(-1) ?? type);
}

function expectedRow(layer: ExpectedLayer): Row {
  return {
    path: layer.path,
    type: layer.type,
    count: layer.count ?? 0,
    weights: layer.weights.map((weight) =>
      JSON.stringify([roleOf(layer, weight), weight.shape, weight.dtype, weight.trainable]),
    ),
  };
}

function shapesOf(row: Row): readonly string[] {
  return row.weights.map((weight) => JSON.stringify((JSON.parse(weight) as readonly unknown[])[1])).sort();
}

/** Models whose layers no config tells: the totals alone can be compared. */
const LAYERS_UNTOLD = /^(k2-)?subclassed\./;
/** Keras 3 loads what these hold; from a legacy file it loads no slots, and tf_keras does not count any. */
const OPTIMIZER_TOLD = /^(adam|adam-schedule|loss-scale|rmsprop-frozen|sgd-momentum)-fitted\.(keras|weights\.h5)$/;
/** Keras adds the two matrices of each adapted layer when it loads the file; the file itself has the kernel they go into. */
const FILE_HOLDS: Readonly<Record<string, number>> = { 'lora.keras': 8 * 6 + 6 + 6 * 2 + 2 };
/** A custom layer's own variables have names of their own; in files that count variables they have none. */
const ROLES_UNTOLD = /^custom-layer\./;

describe('every Keras fixture', () => {
  test('there are some', () => expect(cases.length).toBeGreaterThan(100));

  test.each(cases)('%s', async (name) => {
    const expected = JSON.parse(readFileSync(join(good, name), 'utf8')) as Expected;
    const config = configOf(expected.file);
    if (expected.file === 'npz-weights.keras') {
      await expect(openKeras(join(good, expected.file))).rejects.toMatchObject({ code: 'UNSUPPORTED' });
      return;
    }
    const { value: model } = await openKeras(join(good, expected.file), config);
    try {
      const rows = rowsOf(model);
      const all = model.layers.flatMap((layer) => layer.weights);
      const count = (list: typeof all): number => list.reduce((sum, weight) => sum + elements(weight.tensor.shape), 0);
      expect(count(all)).toBe(FILE_HOLDS[expected.file] ?? expected.counts.total ?? 0);
      if (FILE_HOLDS[expected.file] !== undefined) return;
      if (OPTIMIZER_TOLD.test(expected.file)) {
        const optimizer = model.optimizer.reduce((sum, tensor) => sum + elements(tensor.shape), 0);
        expect(optimizer).toBe(expected.counts.optimizer);
      }
      if (LAYERS_UNTOLD.test(expected.file)) return;
      const bare = model.graphs.size === 0;
      const withRoles = !ROLES_UNTOLD.test(expected.file);
      const sort = (list: readonly string[]): readonly string[] => [...list].sort();
      const strip = (row: Row): unknown =>
        withRoles ? { ...row, weights: sort(row.weights) } : { path: row.path, type: row.type, count: row.count };
      const wanted = expected.layers.map(expectedRow);
      if (bare) {
        // Weights alone: names, counts and shapes, but no classes, and no word on what is trained.
        const told = (row: Row): unknown => [row.path, row.count, shapesOf(row)];
        expect([...rows.values()].map(told).sort()).toEqual(wanted.map(told).sort());
        return;
      }
      expect(wanted.map((row) => strip(rows.get(row.path) ?? { ...row, type: 'absent' }))).toEqual(wanted.map(strip));
      expect([...rows.keys()].sort()).toEqual(wanted.map((row) => row.path).sort());
      if (!withRoles) return;
      expect(count(all.filter((weight) => weight.trainable === true))).toBe(expected.counts.trainable);
      expect(count(all.filter((weight) => weight.trainable === false))).toBe(expected.counts.nonTrainable);
    } finally {
      await model.close();
    }
  });
});
