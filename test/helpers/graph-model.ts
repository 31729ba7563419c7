import type { Json } from '../../src/ir/json.ts';
import type { Call, Constant, Graph, Layer, Model, Shape, Weight } from '../../src/ir/model.ts';
import { familyOfType } from '../../src/layers/registry.ts';
import { memoryTensor } from './memory-tensor.ts';

/** JavaScript values as parsed JSON: objects are Maps. */
export function toJson(value: unknown): Json {
  if (Array.isArray(value)) return value.map(toJson);
  if (typeof value === 'object' && value !== null) {
    return new Map(Object.entries(value).map(([key, inner]) => [key, toJson(inner)]));
  }
  return value as Json;
}

export function weight(role: string, shape: readonly number[], identity = ''): Weight {
  const elements = shape.reduce((product, size) => product * size, 1);
  const tensor = memoryTensor(role, 'float32', shape, new Uint8Array(4 * Math.min(elements, 1)));
  return {
    role,
    class: role.startsWith('moving') ? 'statistic' : 'weight',
    isParameter: !role.startsWith('moving'),
    trainable: true,
    tensor: { ...tensor, identity: identity === '' ? `${role} ${Math.random()}` : identity },
  };
}

/** A Keras 3 layer as its family reads it. */
export function kerasLayer(
  path: string,
  type: string,
  config: Readonly<Record<string, unknown>> = {},
  weights: readonly Weight[] = [],
): Layer {
  const attrs = toJson(config) as ReadonlyMap<string, Json>;
  const family = familyOfType('keras', type);
  const slash = path.lastIndexOf('/');
  return {
    path,
    parent: slash === -1 ? null : path.slice(0, slash),
    container: family?.container === true,
    kind: family?.kind ?? (type === 'Functional' ? 'model' : 'unknown'),
    type,
    trainable: true,
    attrs,
    norm: family?.normalise(type, attrs, 'keras', '3.15.1', 'tensorflow') ?? {},
    weights,
  };
}

/** BatchNormalization over `channels`. */
export function batchNorm(path: string, channels: number, config: Readonly<Record<string, unknown>> = {}): Layer {
  const roles = ['gamma', 'beta', 'moving_mean', 'moving_variance'];
  return kerasLayer(
    path,
    'BatchNormalization',
    config,
    roles.map((role) => weight(role, [channels])),
  );
}

/** One call: the layer's path (or `op:` and a name), the values it reads, and the one it makes. */
export type Step = readonly [
  name: string,
  inputs: readonly (number | Constant)[],
  output: number,
  attrs?: Record<string, unknown>,
];

export function graphOf(shapes: readonly (Shape | null)[], steps: readonly Step[], outputs: readonly number[]): Graph {
  const count = Math.max(shapes.length, ...steps.map(([, , output]) => output + 1));
  return {
    inputs: shapes.map((_, id) => id),
    outputs,
    values: Array.from({ length: count }, (_, id) => ({ id, shape: shapes[id] ?? null, dtype: null })),
    calls: steps.map(([name, inputs, output, attrs]): Call => {
      const operation = name.startsWith('op:');
      return {
        layer: operation ? null : name,
        op: operation ? name.slice(3) : '',
        attrs: toJson(attrs ?? {}) as ReadonlyMap<string, Json>,
        inputs,
        outputs: [output],
      };
    }),
  };
}

export function modelOf(layers: readonly Layer[], graphs: Readonly<Record<string, Graph>>): Model {
  return {
    name: 'model',
    format: 'keras-zip',
    dialect: 'keras',
    producer: { framework: 'keras', version: '3.15.1', backend: 'tensorflow' },
    layers,
    graphs: new Map(Object.entries(graphs)),
    optimizer: [],
    trainable: true,
    origin: {},
    bytesRead: () => 0,
    close: async () => {},
  };
}

/** A chain of layers, one after the other, on one input. */
export function chain(input: Shape, layers: readonly Layer[]): Model {
  const steps = layers.map((layer, index): Step => [layer.path, [index], index + 1]);
  return modelOf(layers, { '': graphOf([input], steps, [layers.length]) });
}
