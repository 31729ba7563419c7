import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import type { Json, JsonObject } from '../../src/ir/json.ts';
import type { Shape } from '../../src/ir/model.ts';
import type { BoundLayer, Variable } from '../../src/layers/family.ts';
import { bindLayer, families, familyOfType } from '../../src/layers/registry.ts';
import { UNCOVERED } from '../../src/layers/uncovered.ts';

/** What real Keras said of one layer: written by fixtures/make. */
interface Case {
  readonly class: string;
  readonly className: string;
  readonly name: string;
  readonly config: unknown;
  readonly inputs: readonly { readonly shape: Shape }[];
  readonly callKwargs: Readonly<Record<string, unknown>>;
  readonly outputShape: unknown;
  readonly count: number;
  readonly weights: readonly { readonly name: string; readonly path: string; readonly shape: readonly number[] }[];
}

interface Fixture {
  readonly framework: { readonly keras: string };
  readonly classes: readonly string[];
  readonly aliases: Readonly<Record<string, string>>;
  readonly reasons: Readonly<Record<string, string>>;
  readonly cases: readonly Case[];
}

function readFixture(name: string): Fixture {
  return JSON.parse(readFileSync(new URL(`../../fixtures/good/${name}`, import.meta.url), 'utf8')) as Fixture;
}

function toJson(value: unknown): Json {
  if (Array.isArray(value)) return value.map(toJson);
  if (typeof value === 'object' && value !== null) {
    return new Map(Object.entries(value).map(([key, inner]) => [key, toJson(inner)]));
  }
  return value as Json;
}

const MINE = new Set(
  `Activation ReLU LeakyReLU ELU ThresholdedReLU Softmax PReLU BatchNormalization LayerNormalization GroupNormalization
  RMSNormalization UnitNormalization SpectralNormalization Normalization Rescaling SimpleRNN LSTM GRU SimpleRNNCell
  LSTMCell GRUCell RNN StackedRNNCells Bidirectional TimeDistributed ConvLSTM1D ConvLSTM2D ConvLSTM3D
  MultiHeadAttention GroupQueryAttention Attention AdditiveAttention Add Subtract Multiply Average Maximum Minimum
  Concatenate Dot Dropout SpatialDropout1D SpatialDropout2D SpatialDropout3D GaussianDropout GaussianNoise AlphaDropout
  Masking Identity ActivityRegularization Discretization StringLookup IntegerLookup TextVectorization CategoryEncoding
  Hashing HashedCrossing STFTSpectrogram MelSpectrogram Pipeline SyncBatchNormalization RandomHeight
  RandomWidth AugMix AutoContrast ContrastLimitedAdaptiveHistogramEqualization CutMix Equalization MixUp RandAugment
  RandomBrightness RandomColorDegeneration RandomColorJitter RandomContrast RandomCrop RandomElasticTransform
  RandomErasing RandomFlip RandomGaussianBlur RandomGrayscale RandomHue RandomInvert RandomPerspective
  RandomPosterization RandomRotation RandomSaturation RandomSharpness RandomShear RandomTranslation RandomZoom
  Solarization CuDNNGRU CuDNNLSTM`.split(/\s+/),
);

interface Built {
  readonly bound: BoundLayer;
  readonly children: readonly Built[];
}

function build(path: string, type: string, attrs: JsonObject, version: string): Built {
  const family = familyOfType('keras', type, attrs);
  if (family === undefined) throw new Error(`no family for ${type}`);
  const norm = family.normalise(type, attrs, 'keras', version, 'tensorflow');
  const children = (family.inner?.(attrs) ?? []).map((inner) =>
    build(`${path}/${inner.at}`, inner.type, inner.attrs, version),
  );
  return {
    bound: bindLayer({ path, kind: family.kind, type, norm, children: children.map((child) => child.bound) }),
    children,
  };
}

/** Own variables of the layer and of everything inside it; `inputs` only where the layer itself is asked. */
function variablesOf(built: Built, inputs: readonly Shape[] | null): readonly Variable[] {
  const family = families().find((entry) => entry.kind === built.bound.kind);
  const own = (family?.variables?.(built.bound.norm, inputs) ?? []).filter((entry) => entry.copyOf === undefined);
  return [...own, ...built.children.flatMap((child) => variablesOf(child, null))];
}

/** Keras nests the states of stacked cells; a list of shapes is what counts. */
function flatShapes(value: unknown): unknown {
  if (!Array.isArray(value) || !value.some(Array.isArray)) return value;
  return value.flatMap((entry: unknown) => {
    const flat = flatShapes(entry);
    return Array.isArray(flat) && flat.some(Array.isArray) ? (flat as unknown[]) : [flat];
  });
}

/** TensorFlow's variable names end in the number of an output. */
function withoutOutputNumbers(entry: Case): Case {
  return { ...entry, weights: entry.weights.map((weight) => ({ ...weight, path: weight.path.replace(/:\d+$/, '') })) };
}

describe.each(['keras-layers.json', 'tfkeras-layers.json'])('%s', (file) => {
  const fixture = readFixture(file);
  const cases = fixture.cases.filter((entry) => MINE.has(entry.class)).map(withoutOutputNumbers);

  test('every class of keras.layers has a family or a reason', () => {
    const claimed = new Set(families().flatMap((family) => family.types.keras ?? []));
    const open = [...fixture.classes, ...Object.keys(fixture.aliases)].filter(
      (name) => !claimed.has(name) && !UNCOVERED.has(name),
    );
    expect(open).toEqual([]);
  });

  test('no class has both a family and a reason', () => {
    const claimed = families().flatMap((family) => family.types.keras ?? []);
    expect(claimed.filter((name) => UNCOVERED.has(name))).toEqual([]);
  });

  test.each(cases.map((entry, index) => [`${entry.class} ${index}`, entry] as const))('%s', (_, entry) => {
    const version = fixture.framework.keras;
    const built = build(entry.name, entry.className, toJson(entry.config) as JsonObject, version);
    const inputs = entry.inputs.map((input) => input.shape);
    const description = JSON.stringify({ config: entry.config, inputs, call: entry.callKwargs });
    const outputs = built.bound.outputs(inputs, toJson(entry.callKwargs) as JsonObject);
    expect(outputs?.length === 1 ? outputs[0] : outputs, description).toEqual(flatShapes(entry.outputShape));
    const variables = variablesOf(built, inputs);
    expect(variables.length, description).toBe(entry.weights.length);
    for (const variable of variables) {
      const found = entry.weights.filter((weight) =>
        variable.names.some((name) => weight.path === name || weight.path.endsWith(`/${name}`)),
      );
      expect(found.length, `${variable.role} of ${description}`).toBeGreaterThan(0);
      if (variable.shape !== null) expect(found.map((weight) => weight.shape)).toContainEqual(variable.shape);
    }
    if (built.children.length > 0) return;
    expect(
      variables.map((variable) => variable.shape),
      description,
    ).toEqual(entry.weights.map((weight) => weight.shape));
    for (const [index, variable] of variables.entries()) {
      expect(variable.names.some((name) => entry.weights[index]?.path.endsWith(name))).toBe(true);
    }
    const count = variables.reduce(
      (sum, variable) => sum + (variable.shape ?? []).reduce((all, size) => all * size, 1),
      0,
    );
    expect(count, description).toBe(entry.count);
  });
});
