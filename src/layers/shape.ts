import { isObject, type Json } from '../ir/json.ts';
import type { Dim, NormValue, Shape } from '../ir/model.ts';
import { attributeOf, normNumber, normNumbers, numberOf, numbersOf, wrapAxis } from './attribute.ts';
import type { Family, Twin, TwinSource } from './family.ts';
import { customModule, twin, twinModule } from './twin.ts';

/** Product of axes; null when one is dynamic, '?' when one cannot be known. */
export function productOf(axes: readonly Dim[]): Dim {
  let product = 1;
  let dynamic = false;
  for (const size of axes) {
    if (size === '?') return '?';
    if (size === null) dynamic = true;
    else product *= size;
  }
  return dynamic ? null : product;
}

/** A shape as a file writes it: a list of numbers and nulls, or Keras' tuple object; null when it is neither. */
export function shapeOfJson(value: Json | undefined): readonly (number | null)[] | null {
  const list = Array.isArray(value) ? value : isObject(value) ? value.get('items') : undefined;
  if (!Array.isArray(list)) return null;
  return list.map((size: Json) => (typeof size === 'number' ? size : null));
}

/**
 * A reshape's target against the input's elements, batch axis included in both. A −1 is settled when all else is known;
 * null when the target does not fit (Keras refuses that).
 */
export function reshapedTo(input: readonly Dim[], target: readonly Dim[]): Shape | null {
  const whole = productOf(input);
  const rest = productOf(target.filter((size) => size !== -1));
  const guess: Dim | undefined =
    whole === '?' || rest === '?'
      ? '?'
      : whole === null || rest === null
        ? null
        : rest === 0
          ? undefined
          : whole / rest;
  if (target.includes(-1)) {
    if (guess === undefined || (typeof guess === 'number' && !Number.isInteger(guess))) return null;
    return target.map((size) => (size === -1 ? guess : size));
  }
  return typeof whole === 'number' && typeof rest === 'number' && whole !== rest ? null : target;
}

/** The input of a model. Neutral: shape (batch axis included, null entries dynamic; null: not stated), dtype. */
export const input: Family = {
  kind: 'input',
  types: { keras: ['InputLayer'] },
  normalise(_type, attrs) {
    const told = shapeOfJson(attributeOf(attrs, ['batch_shape', 'batch_input_shape']));
    const dtype = attributeOf(attrs, ['dtype', 'input_dtype']);
    return { shape: told, dtype: typeof dtype === 'string' ? dtype : null };
  },
  outputs(norm, inputs) {
    const shape = norm['shape'];
    if (Array.isArray(shape)) return [shape.map((size: NormValue) => (typeof size === 'number' ? size : null))];
    return inputs[0] === undefined ? null : [inputs[0]];
  },
  toTorch: () => twin([]),
};

/**
 * Flatten. Neutral: startAxis, endAxis (inclusive), dataFormat: Keras moves the channels last first when it is
 * channels_first.
 */
export const flatten: Family = {
  kind: 'flatten',
  types: { keras: ['Flatten'], torch: ['Flatten'], onnx: ['Flatten'] },
  normalise(_type, attrs, dialect) {
    if (dialect === 'onnx') {
      return { startAxis: numberOf(attrs, 'axis', 1), endAxis: -1, dataFormat: 'channels_last', matrix: true };
    }
    const format = attrs.get('data_format');
    return {
      startAxis: numberOf(attrs, 'start_dim', 1),
      endAxis: numberOf(attrs, 'end_dim', -1),
      dataFormat: format === 'channels_first' ? 'channels_first' : 'channels_last',
      matrix: false,
    };
  },
  outputs(norm, inputs) {
    const [input] = inputs;
    if (input === undefined) return null;
    const start = normNumber(norm, 'startAxis') ?? 1;
    // Keras: a vector gains an axis.
    if (input.length === 1 && start === 1) return [[...input, 1]];
    const first = start === input.length ? start : wrapAxis(start, input.length);
    const last = wrapAxis(normNumber(norm, 'endAxis') ?? -1, input.length);
    if (first === null || last === null) return null;
    const flat = productOf(input.slice(first, last + 1));
    if (norm['matrix'] === true) return [[productOf(input.slice(0, first)), flat]];
    return [[...input.slice(0, first), flat, ...input.slice(last + 1)]];
  },
  toTorch: () => twin([twinModule('Flatten', {})]),
  toKeras(layer: TwinSource): Twin {
    const plain = normNumber(layer.norm, 'startAxis') === 1 && normNumber(layer.norm, 'endAxis') === -1;
    return plain ? twin([twinModule('Flatten', {})]) : { refused: 'it flattens only some of the axes' };
  },
};

/**
 * Reshape. Neutral: targetShape (−1: what is left; null entries dynamic), batch: true when the target includes the
 * batch axis (PyTorch, ONNX), 0 in an ONNX target keeps the axis.
 * Twin: the custom module Reshape {shape}: x.reshape(N, *shape) in Keras' axis order.
 */
export const reshape: Family = {
  kind: 'reshape',
  types: { keras: ['Reshape'], torch: ['Unflatten'], onnx: ['Reshape'] },
  normalise(_type, attrs, dialect) {
    if (dialect === 'torch') {
      return {
        targetShape: numbersOf(attrs.get('unflattened_size')),
        batch: true,
        axis: numberOf(attrs, 'dim', 1),
      };
    }
    const target = shapeOfJson(attributeOf(attrs, ['target_shape', 'dims', 'shape']));
    return { targetShape: target, batch: dialect === 'onnx' };
  },
  outputs(norm, inputs) {
    const [input] = inputs;
    const target = norm['targetShape'];
    if (input === undefined || !Array.isArray(target)) return null;
    const wanted: Dim[] = target.map((size: NormValue) => (typeof size === 'number' ? size : null));
    const axis = normNumber(norm, 'axis');
    if (axis !== null) {
      const at = wrapAxis(axis, input.length);
      const inner = at === null ? null : reshapedTo([input[at] ?? null], wanted);
      return at === null || inner === null ? null : [[...input.slice(0, at), ...inner, ...input.slice(at + 1)]];
    }
    if (norm['batch'] === true) {
      const output = reshapedTo(
        input,
        wanted.map((size, index) => (size === 0 ? (input[index] ?? null) : size)),
      );
      return output === null ? null : [output];
    }
    const inner = reshapedTo(input.slice(1), wanted);
    return inner === null ? null : [[input[0] ?? null, ...inner]];
  },
  toTorch(layer: TwinSource): Twin {
    return twin([customModule('Reshape', { shape: layer.norm['targetShape'] ?? null })]);
  },
};

/** Permute. Neutral: axes, batch axis included and counted from 0: output axis i is input axis axes[i]; null: reversed. */
export const permute: Family = {
  kind: 'permute',
  types: { keras: ['Permute'], onnx: ['Transpose'] },
  normalise(_type, attrs, dialect) {
    if (dialect === 'onnx') return { axes: numbersOf(attrs.get('perm')) };
    const axes = numbersOf(attrs.get('dims'));
    return { axes: axes === null ? null : [0, ...axes] };
  },
  outputs(norm, inputs) {
    const [input] = inputs;
    if (input === undefined) return null;
    const axes = normNumbers(norm, 'axes') ?? [...input.keys()].reverse();
    if (axes.length !== input.length || axes.some((axis) => input[axis] === undefined)) return null;
    return [axes.map((axis) => input[axis] ?? null)];
  },
  toTorch(layer: TwinSource): Twin {
    const axes = normNumbers(layer.norm, 'axes');
    if (axes === null) return { refused: 'its axes are not stated' };
    return twin([customModule('Permute', { dims: axes })]);
  },
};

/** RepeatVector: (N, F) to (N, times, F). Neutral: times. */
export const repeat: Family = {
  kind: 'repeat',
  types: { keras: ['RepeatVector'] },
  normalise: (_type, attrs) => ({ times: numberOf(attrs, 'n', 1) }),
  outputs(norm, inputs) {
    const [input] = inputs;
    return input?.length === 2 ? [[input[0] ?? null, normNumber(norm, 'times'), input[1] ?? null]] : null;
  },
  toTorch(layer: TwinSource): Twin {
    return twin([customModule('RepeatVector', { n: normNumber(layer.norm, 'times') ?? 1 })]);
  },
};
