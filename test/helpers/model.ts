import { byteLengthOf, type DType } from '../../src/ir/dtype.ts';
import { EMPTY_OBJECT, type Json, type JsonObject } from '../../src/ir/json.ts';
import type { Kind } from '../../src/ir/kind.ts';
import type {
  Call,
  Dialect,
  Graph,
  Layer,
  Model,
  NormAttrs,
  Origin,
  Producer,
  Shape,
  Tensor,
  Weight,
  WeightClass,
} from '../../src/ir/model.ts';

import { familyOfType } from '../../src/layers/registry.ts';

/** A tensor without bytes: enough for everything that counts and shows. */
export function tensorOf(
  name: string,
  shape: readonly number[],
  dtype: DType = 'float32',
  identity: string = name,
): Tensor {
  return {
    name,
    dtype,
    shape,
    byteLength: byteLengthOf(
      dtype,
      shape.reduce((product, axis) => product * axis, 1),
    ),
    encoding: { kind: 'dense' },
    identity,
    storage: identity,
    readInto: () => Promise.reject(new Error('a counted tensor has no bytes')),
  };
}

export interface WeightSpec {
  readonly role: string;
  readonly shape: readonly number[];
  readonly class?: WeightClass;
  readonly isParameter?: boolean | null;
  readonly trainable?: boolean | null;
  readonly dtype?: DType;
  readonly identity?: string;
}

export interface LayerSpec {
  readonly path: string;
  readonly kind: Kind;
  readonly type?: string;
  readonly parent?: string | null;
  readonly container?: boolean;
  readonly trainable?: boolean | null;
  readonly attrs?: JsonObject;
  readonly norm?: NormAttrs;
  readonly weights?: readonly WeightSpec[];
}

/** Attributes as a reader has them: plain values by name. */
export function attrsOf(values: Readonly<Record<string, Json>>): JsonObject {
  return new Map(Object.entries(values));
}

export function layerOf(spec: LayerSpec, dialect: Dialect = 'keras', version = '3.15.1'): Layer {
  const attrs = spec.attrs ?? EMPTY_OBJECT;
  const type = spec.type ?? '';
  const norm = spec.norm ?? familyOfType(dialect, type)?.normalise(type, attrs, dialect, version, '') ?? {};
  const trainable = spec.trainable === undefined ? true : spec.trainable;
  const weights = (spec.weights ?? []).map((weight): Weight => {
    const name = `${spec.path}/${weight.role}`;
    const weightClass = weight.class ?? 'weight';
    return {
      role: weight.role,
      class: weightClass,
      isParameter: weight.isParameter === undefined ? weightClass === 'weight' : weight.isParameter,
      trainable: weight.trainable === undefined ? (weightClass === 'weight' ? trainable : false) : weight.trainable,
      tensor: tensorOf(name, weight.shape, weight.dtype ?? 'float32', weight.identity ?? name),
    };
  });
  return {
    path: spec.path,
    parent: spec.parent ?? null,
    container: spec.container ?? false,
    kind: spec.kind,
    type,
    trainable,
    attrs,
    norm,
    weights,
  };
}

/** A graph from calls written as `[layer, inputs, output shape]`; value 0 is the input. */
export function chainOf(input: Shape, steps: readonly (readonly [string, Shape])[]): Graph {
  return {
    inputs: [0],
    outputs: [steps.length],
    values: [input, ...steps.map(([, shape]) => shape)].map((shape, id) => ({ id, shape, dtype: 'float32' })),
    calls: steps.map(
      ([layer], index): Call => ({
        layer,
        op: '',
        attrs: EMPTY_OBJECT,
        inputs: [index],
        outputs: [index + 1],
      }),
    ),
  };
}

export interface ModelSpec {
  readonly name?: string;
  readonly format?: string;
  readonly dialect?: Dialect;
  readonly producer?: Producer;
  readonly layers: readonly LayerSpec[];
  readonly graphs?: ReadonlyMap<string, Graph>;
  readonly optimizer?: readonly Tensor[];
  readonly origin?: Origin;
}

export function modelOf(spec: ModelSpec): Model {
  const dialect = spec.dialect ?? 'keras';
  const producer = spec.producer ?? { framework: dialect === 'keras' ? 'keras' : 'torch', version: '', backend: '' };
  return {
    name: spec.name ?? 'sequential',
    format: spec.format ?? (dialect === 'keras' ? 'keras-h5' : 'torch-zip'),
    dialect,
    producer,
    layers: spec.layers.map((layer) => layerOf(layer, dialect, producer.version)),
    graphs: spec.graphs ?? new Map(),
    optimizer: spec.optimizer ?? [],
    trainable: true,
    origin: spec.origin ?? {},
    bytesRead: () => 0,
    close: () => Promise.resolve(),
  };
}

/** The four tensors of a Keras BatchNormalization. */
export function batchNormWeights(channels: number): readonly WeightSpec[] {
  return [
    { role: 'gamma', shape: [channels] },
    { role: 'beta', shape: [channels] },
    { role: 'moving_mean', shape: [channels], class: 'statistic' },
    { role: 'moving_variance', shape: [channels], class: 'statistic' },
  ];
}

/** The Keras reference CNN: 64x64x1, Conv2D 32, BatchNormalization, Flatten, Dense 100, Dense 10. */
export function referenceCnn(change: Partial<ModelSpec> = {}): Model {
  return modelOf({
    producer: { framework: 'keras', version: '3.15.1', backend: 'tensorflow' },
    layers: [
      {
        path: 'conv2d',
        kind: 'conv',
        type: 'Conv2D',
        attrs: attrsOf({ filters: 32, kernel_size: [3, 3], padding: 'same', activation: 'relu' }),
        weights: [
          { role: 'kernel', shape: [3, 3, 1, 32] },
          { role: 'bias', shape: [32] },
        ],
      },
      {
        path: 'batch_normalization',
        kind: 'batch_norm',
        type: 'BatchNormalization',
        attrs: attrsOf({ axis: -1, momentum: 0.15, epsilon: 0.001, center: true, scale: true }),
        weights: batchNormWeights(32),
      },
      { path: 'flatten', kind: 'flatten', type: 'Flatten' },
      {
        path: 'dense',
        kind: 'dense',
        type: 'Dense',
        attrs: attrsOf({ units: 100, activation: 'relu' }),
        weights: [
          { role: 'kernel', shape: [131072, 100] },
          { role: 'bias', shape: [100] },
        ],
      },
      {
        path: 'dense_1',
        kind: 'dense',
        type: 'Dense',
        attrs: attrsOf({ units: 10, activation: 'softmax' }),
        weights: [
          { role: 'kernel', shape: [100, 10] },
          { role: 'bias', shape: [10] },
        ],
      },
    ],
    graphs: new Map([
      [
        '',
        chainOf(
          [null, 64, 64, 1],
          [
            ['conv2d', [null, 64, 64, 32]],
            ['batch_normalization', [null, 64, 64, 32]],
            ['flatten', [null, 131072]],
            ['dense', [null, 100]],
            ['dense_1', [null, 10]],
          ],
        ),
      ],
    ]),
    ...change,
  });
}
