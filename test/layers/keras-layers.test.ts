import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import type { Json, JsonObject } from '../../src/ir/json.ts';
import type { Shape } from '../../src/ir/model.ts';
import type { Variable } from '../../src/layers/family.ts';
import { familyOfType } from '../../src/layers/registry.ts';

/** What real Keras said of one layer: written by fixtures/make. */
interface Case {
  readonly class: string;
  readonly className: string;
  readonly name: string;
  readonly config: { readonly dtype?: { readonly config?: { readonly mode?: string } } };
  readonly inputs: readonly { readonly shape: Shape }[];
  readonly callKwargs: Readonly<Record<string, unknown>>;
  readonly outputShape: unknown;
  readonly count: number;
  readonly weights: readonly { readonly name: string; readonly shape: readonly number[] }[];
}

const MINE = new Set(
  `Conv1D Conv2D Conv3D Conv1DTranspose Conv2DTranspose Conv3DTranspose DepthwiseConv1D DepthwiseConv2D SeparableConv1D
  SeparableConv2D Dense EinsumDense Embedding ReversibleEmbedding MaxPooling1D MaxPooling2D MaxPooling3D AveragePooling1D
  AveragePooling2D AveragePooling3D GlobalMaxPooling1D GlobalMaxPooling2D GlobalMaxPooling3D GlobalAveragePooling1D
  GlobalAveragePooling2D GlobalAveragePooling3D AdaptiveMaxPooling1D AdaptiveMaxPooling2D AdaptiveMaxPooling3D
  AdaptiveAveragePooling1D AdaptiveAveragePooling2D AdaptiveAveragePooling3D ZeroPadding1D ZeroPadding2D ZeroPadding3D
  Cropping1D Cropping2D Cropping3D CenterCrop UpSampling1D UpSampling2D UpSampling3D Resizing Flatten Reshape Permute
  RepeatVector InputLayer`.split(/\s+/),
);

const fixture = JSON.parse(readFileSync(new URL('../../fixtures/good/keras-layers.json', import.meta.url), 'utf8')) as {
  readonly framework: { readonly keras: string };
  readonly cases: readonly Case[];
};

function toJson(value: unknown): Json {
  if (Array.isArray(value)) return value.map(toJson);
  if (typeof value === 'object' && value !== null) {
    return new Map(Object.entries(value).map(([key, inner]) => [key, toJson(inner)]));
  }
  return value as Json;
}

const cases = fixture.cases.filter((entry) => MINE.has(entry.class));

describe.each([...MINE])('%s', (name) => {
  const own = cases.filter((entry) => entry.class === name);

  test('has cases', () => {
    expect(own.length).toBeGreaterThan(0);
  });

  test.each(own.map((entry, index) => [index, entry] as const))('case %i agrees with Keras', (_, entry) => {
    const family = familyOfType('keras', entry.className);
    expect(family).toBeDefined();
    if (family === undefined) return;
    const attrs = toJson(entry.config) as JsonObject;
    const norm = family.normalise(entry.className, attrs, 'keras', fixture.framework.keras, 'tensorflow');
    const inputs = entry.inputs.map((input) => input.shape);
    const outputs = family.outputs(norm, inputs, toJson(entry.callKwargs) as JsonObject);
    const description = JSON.stringify({ config: entry.config, inputs, call: entry.callKwargs });
    expect(outputs?.length === 1 ? outputs[0] : outputs, description).toEqual(entry.outputShape);
    const variables = family.variables?.(norm, inputs) ?? [];
    // The fixture lists weights as the layer holds them in memory; `variables` has the order of the file, which differs
    // for quantised layers only.
    const byName = entry.config.dtype?.config?.mode !== undefined;
    const name = (variable: Variable): string => variable.names.find((word) => said.has(word)) ?? variable.role;
    const said = new Map(entry.weights.map((weight) => [weight.name, weight.shape]));
    const ours = variables.map((variable) => [name(variable), variable.shape] as const);
    if (byName) expect(new Map(ours), description).toEqual(said);
    else expect(ours, description).toEqual([...said]);
    const sizes = variables.map((variable) => variable.shape);
    const count = sizes.reduce((sum, shape) => sum + (shape ?? []).reduce((all, size) => all * size, 1), 0);
    expect(count, description).toBe(entry.count);
  });
});
