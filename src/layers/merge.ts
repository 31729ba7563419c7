import { isList } from '../ir/json.ts';
import type { Kind } from '../ir/kind.ts';
import type { Dim, NormAttrs, NormValue, Shape } from '../ir/model.ts';
import {
  attributeOf,
  booleanOf,
  normNumber,
  normNumbers,
  numberOf,
  numbersOf,
  plainValue,
  wrapAxis,
} from './attribute.ts';
import type { Family } from './family.ts';
import { twin, twinModule } from './twin.ts';

/**
 * Element-wise merges. Attributes: none. Shapes of different rank are lined up as Keras does: axes of length one are
 * put in behind the batch axis.
 */
function elementwise(kind: Kind, keras: string, types: Family['types']): Family {
  return {
    kind,
    types,
    normalise: () => ({}),
    outputs(_norm, inputs) {
      const merged = broadcast(inputs);
      return merged === null ? null : [merged];
    },
    macs: () => 0,
    // An operation between tensors: no module and no tensors of its own.
    toTorch: () => twin([]),
    toKeras: () => twin([twinModule(keras, {})]),
  };
}

/** Keras' `_Merge.compute_output_shape`; null when the shapes cannot be merged. */
function broadcast(inputs: readonly Shape[]): Shape | null {
  const [first, ...others] = inputs;
  if (first === undefined) return null;
  let merged: readonly Dim[] | null = first.slice(1);
  for (const shape of others) {
    merged = broadcastPair(merged, shape.slice(1));
    if (merged === null) return null;
  }
  const batches = new Set(inputs.map((shape) => shape[0]).filter((size) => typeof size === 'number'));
  const [batch] = batches;
  const unknown = inputs.some((shape) => shape[0] === '?') ? '?' : null;
  return [batches.size === 1 && batch !== undefined ? batch : unknown, ...merged];
}

function broadcastPair(left: readonly Dim[], right: readonly Dim[]): readonly Dim[] | null {
  if (left.length < right.length) return broadcastPair(right, left);
  if (right.length === 0) return left;
  const lead = left.length - right.length;
  const merged: Dim[] = left.slice(0, lead);
  for (const [index, other] of right.entries()) {
    const own = left[lead + index] ?? null;
    if (own === '?' || other === '?') merged.push('?');
    else if (own === null || other === null) merged.push(null);
    else if (own === 1) merged.push(other);
    else if (other === 1 || own === other) merged.push(own);
    else return null;
  }
  return merged;
}

/** Attributes: scale (1, or InceptionResNetV2's factor of the second input in x₀ + scale · x₁). */
export const add: Family = {
  ...elementwise('add', 'Add', { keras: ['Add', 'Merge:sum', 'CustomScaleLayer'], onnx: ['Sum'] }),
  normalise: (type, attrs) => ({ scale: type === 'CustomScaleLayer' ? numberOf(attrs, 'scale', 1) : 1 }),
};
export const subtract: Family = elementwise('subtract', 'Subtract', { keras: ['Subtract'] });
export const multiply: Family = elementwise('multiply', 'Multiply', { keras: ['Multiply', 'Merge:mul'] });
export const average: Family = elementwise('average', 'Average', {
  keras: ['Average', 'Merge:ave'],
  onnx: ['Mean'],
});
export const maximum: Family = elementwise('maximum', 'Maximum', {
  keras: ['Maximum', 'Merge:max'],
  onnx: ['Max'],
});
export const minimum: Family = elementwise('minimum', 'Minimum', { keras: ['Minimum'], onnx: ['Min'] });

/** Attributes: axis. */
export const concatenate: Family = {
  kind: 'concatenate',
  types: { keras: ['Concatenate', 'Merge:concat'], onnx: ['Concat'] },
  normalise: (_type, attrs) => ({ axis: numberOf(attrs, ['axis', 'concat_axis'], -1) }),
  outputs(norm, inputs) {
    const first = inputs[0];
    const axis = first === undefined ? null : wrapAxis(normNumber(norm, 'axis') ?? -1, first.length);
    if (first === undefined || axis === null) return null;
    let along: Dim = 0;
    for (const shape of inputs) {
      const size: Dim | undefined = shape[axis];
      if (shape.length !== first.length || size === undefined) return null;
      along =
        typeof size === 'number' && typeof along === 'number'
          ? along + size
          : along === '?'
            ? '?'
            : asOpen(size, along);
    }
    return [first.map((size, index) => (index === axis ? along : size))];
  },
  macs: () => 0,
  toTorch: () => twin([]),
  toKeras: ({ norm }) => twin([twinModule('Concatenate', { axis: normNumber(norm, 'axis') ?? -1 })]),
};

/** Whichever of the two is not a number; '?' wins. */
function asOpen(left: Dim, right: Dim): Dim {
  if (left === '?' || right === '?') return '?';
  return null;
}

/** Attributes: axes (one number for both, or two), normalize (cosine proximity). */
export const dot: Family = {
  kind: 'dot',
  types: { keras: ['Dot', 'Merge:dot', 'Merge:cos'] },
  normalise(_type, attrs) {
    const value = attributeOf(attrs, ['axes', 'dot_axes']);
    // Keras 1 wrote a number, a pair, or a pair of lists of one.
    const pair = isList(value) ? value.flatMap((item) => numbersOf(item) ?? []) : [];
    const axes: NormValue = typeof value === 'number' ? value : pair.length === 2 ? pair : -1;
    return { axes, normalize: booleanOf(attrs, 'normalize', plainValue(attrs.get('mode')) === 'cos') };
  },
  outputs(norm, inputs) {
    const pair = contracted(norm, inputs);
    if (pair === null) return null;
    const [left, right, a, b] = pair;
    const shape = [...left.filter((_, axis) => axis !== a), ...right.filter((_, axis) => axis !== b && axis !== 0)];
    return [shape.length === 1 ? [...shape, 1] : shape];
  },
  macs(norm, inputs, outputs) {
    const pair = contracted(norm, inputs);
    const length = pair?.[0][pair[2]];
    if (pair === null || typeof length !== 'number') return null;
    let product = length;
    for (const size of outputs[0]?.slice(1) ?? [null]) {
      if (typeof size !== 'number') return null;
      product *= size;
    }
    return product;
  },
  toTorch: () => twin([]),
};

function contracted(norm: NormAttrs, inputs: readonly Shape[]): readonly [Shape, Shape, number, number] | null {
  const [left, right] = inputs;
  const axes = normNumbers(norm, 'axes') ?? [-1];
  if (left === undefined || right === undefined) return null;
  const a = wrapAxis(axes[0] ?? -1, left.length);
  const b = wrapAxis(axes[1] ?? axes[0] ?? -1, right.length);
  return a === null || b === null ? null : [left, right, a, b];
}
