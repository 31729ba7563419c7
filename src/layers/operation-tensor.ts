import { isList, isObject, type Json } from '../ir/json.ts';
import type { Dim, Shape } from '../ir/model.ts';
import { numbersOf, wrapAxis } from './attribute.ts';
import { windowsOn } from './window.ts';

/** Operations that take parts of a tensor, split it, or multiply two. */

/** An argument of an operation: the shape of a value (null: not known), or a literal. */
export type Argument = Shape | null | { readonly constant: Json };

/** What a call of an operation knows of its arguments. */
export interface Arguments {
  /** Values and literals in order. */
  readonly all: readonly Argument[];
  /** The shapes among them. */
  readonly shapes: readonly (Shape | null)[];
  /** The literal under one of these names, else at the place after the first value that these names stand for. */
  literal(names: readonly string[], place: number): Json | undefined;
}

/** Sizes of a literal as broadcasting sees it: a number is a scalar, nested lists have their lengths. */
export function literalShape(value: Json): Shape {
  const shape: number[] = [];
  let inner: Json | undefined = value;
  while (isList(inner)) {
    shape.push(inner.length);
    inner = inner[0];
  }
  return shape;
}

/** Shapes stretched over each other from the last axis on; null when they do not fit. */
export function broadcast(shapes: readonly Shape[]): Shape | null {
  const rank = Math.max(0, ...shapes.map((shape) => shape.length));
  const output: Dim[] = [];
  for (let axis = 0; axis < rank; axis++) {
    let size: Dim = 1;
    for (const shape of shapes) {
      const own = shape[axis - rank + shape.length] ?? (axis - rank + shape.length < 0 ? 1 : null);
      const both = stretch(size, own);
      if (both === undefined) return null;
      size = both;
    }
    output.push(size);
  }
  return output;
}

function stretch(left: Dim, right: Dim): Dim | undefined {
  if (left === 1) return right;
  if (right === 1 || left === right) return left;
  if (typeof left === 'number' && typeof right === 'number') return undefined;
  if (typeof left === 'number') return left;
  if (typeof right === 'number') return right;
  return '?';
}

/** numpy's matmul, the leading axes broadcast; Arguments may transpose either side (TensorFlow). */
export function dot(left: Shape, right: Shape, args: Arguments): Shape | null {
  const turn = (shape: Shape, name: readonly string[]): Shape =>
    args.literal(name, Number.POSITIVE_INFINITY) === true && shape.length > 1
      ? [...shape.slice(0, -2), shape.at(-1) ?? null, shape.at(-2) ?? null]
      : shape;
  const first = turn(left, ['transpose_a', 'adj_x', 'adjoint_a']);
  const second = turn(right, ['transpose_b', 'adj_y', 'adjoint_b']);
  if (first.length === 0 || second.length === 0) return null;
  const a = first.length === 1 ? [1, ...first] : first;
  const b = second.length === 1 ? [...second, 1] : second;
  const inner = a.at(-1);
  const outer = b.at(-2);
  if (typeof inner === 'number' && typeof outer === 'number' && inner !== outer) return null;
  const leading = broadcast([a.slice(0, -2), b.slice(0, -2)]);
  if (leading === null) return null;
  return [
    ...leading,
    ...(first.length === 1 ? [] : [a.at(-2) ?? null]),
    ...(second.length === 1 ? [] : [b.at(-1) ?? null]),
  ];
}

/** einsum without an ellipsis. */
export function einsumOutput(args: Arguments): readonly Shape[] | null {
  const told = args.literal(['subscripts', 'equation'], 0);
  if (typeof told !== 'string') return null;
  const [left = '', right] = told.replaceAll(' ', '').split('->');
  const terms = left.split(',');
  if (right === undefined || told.includes('.') || terms.length !== args.shapes.length) return null;
  const sizes = new Map<string, Dim>();
  for (const [index, term] of terms.entries()) {
    const shape = args.shapes[index];
    if (shape === undefined || shape === null || shape.length !== term.length) return null;
    for (const [axis, word] of [...term].entries()) {
      const size: Dim = shape[axis] ?? null;
      if (typeof sizes.get(word) !== 'number') sizes.set(word, size);
    }
  }
  return [[...right].map((word) => sizes.get(word) ?? null)];
}

export function onIndex(op: string, input: Shape, args: Arguments): readonly Shape[] | null {
  switch (op) {
    case 'getitem':
      return indexed(input, args.literal(['slice_spec', 'key'], 1));
    case 'slice': {
      const sizes = numbersOf(args.literal(['size', 'shape'], 2));
      const starts = numbersOf(args.literal(['begin', 'start_indices'], 1));
      if (sizes === null || sizes.length !== input.length) return null;
      return [
        sizes.map((size, axis) => {
          const whole = input[axis] ?? null;
          return size !== -1 ? size : typeof whole === 'number' ? whole - (starts?.[axis] ?? 0) : whole;
        }),
      ];
    }
    case 'split':
    case 'splitv':
    case 'arraysplit':
      return pieces(input, args);
    case 'unstack':
    case 'unpack': {
      const axis = axisOf(args.literal(['axis'], 2), input.length);
      const count = axis === null ? null : input[axis];
      if (axis === null || typeof count !== 'number' || count > 100_000) return null;
      const part = input.filter((_, index) => index !== axis);
      return Array.from({ length: count }, () => part);
    }
    case 'take':
    case 'gather':
    case 'gatherv2':
      return taken(input, args);
    case 'takealongaxis': {
      const [, indices] = args.shapes;
      return indices === undefined || indices === null ? null : [indices];
    }
    case 'onehot': {
      const classes = args.literal(['num_classes', 'depth'], 1);
      const axis = axisOf(args.literal(['axis'], 2) ?? -1, input.length + 1);
      if (typeof classes !== 'number' || axis === null) return null;
      return [[...input.slice(0, axis), classes, ...input.slice(axis)]];
    }
    case 'topk': {
      const k = args.literal(['k'], 1);
      if (typeof k !== 'number' || input.length === 0) return null;
      const output = [...input.slice(0, -1), k];
      return [output, output];
    }
    case 'moments':
      return null;
    case 'shape':
      return [[input.length]];
    case 'size':
    case 'rank':
    case 'ndim':
      return [[]];
    case 'resize':
    case 'resizeimages':
    case 'resizebilinear':
    case 'resizenearestneighbor':
      return resized(input, args);
    case 'depthtospace':
    case 'spacetodepth':
      return blocked(op, input, args);
    case 'maxpool':
    case 'averagepool':
    case 'avgpool':
      return pooled(input, args);
    default:
      return null;
  }
}

function axisOf(value: Json | undefined, rank: number): number | null {
  return typeof value === 'number' ? wrapAxis(value, rank) : null;
}

type Item =
  | { readonly form: 'slice'; readonly start: number | null; readonly stop: number | null; readonly step: number }
  | { readonly form: 'index' }
  | { readonly form: 'new' }
  | { readonly form: 'rest' };

/** x[…]: whole numbers, slices, new axes and an ellipsis as Keras writes them. */
function indexed(input: Shape, told: Json | undefined): readonly Shape[] | null {
  if (told === undefined) return null;
  const list = isList(told) ? told : isObject(told) && isList(told.get('items')) ? told.get('items') : [told];
  const items: Item[] = [];
  for (const value of list as readonly Json[]) {
    const item = itemOf(value);
    if (item === null) return null;
    items.push(item);
  }
  const used = items.filter((item) => item.form === 'slice' || item.form === 'index').length;
  if (used > input.length || items.filter((item) => item.form === 'rest').length > 1) return null;
  const output: Dim[] = [];
  let axis = 0;
  for (const item of items) {
    if (item.form === 'new') output.push(1);
    else if (item.form === 'index') axis += 1;
    else if (item.form === 'rest') {
      const until = axis + input.length - used;
      output.push(...input.slice(axis, until));
      axis = until;
    } else {
      const size = input[axis] ?? null;
      output.push(item.start === null && item.stop === null && item.step === 1 ? size : sliceLength(size, item));
      axis += 1;
    }
  }
  return [[...output, ...input.slice(axis)]];
}

function itemOf(value: Json): Item | null {
  if (value === null) return { form: 'new' };
  if (typeof value === 'number') return { form: 'index' };
  if (value === '...' || value === 'Ellipsis') return { form: 'rest' };
  if (!isObject(value)) return null;
  const name = value.get('class_name');
  if (name === '__ellipsis__') return { form: 'rest' };
  const inner = value.get('config');
  const fields = isObject(inner) ? inner : value;
  if (!fields.has('start') && !fields.has('stop')) return null;
  const bound = (key: string): number | null | undefined => {
    const told = fields.get(key);
    return typeof told === 'number' ? told : told === null || told === undefined ? null : undefined;
  };
  const start = bound('start');
  const stop = bound('stop');
  const step = bound('step');
  if (start === undefined || stop === undefined || step === undefined || step === 0) return null;
  return { form: 'slice', start, stop, step: step ?? 1 };
}

/** Python's slice length; a dynamic axis stays dynamic. */
function sliceLength(size: Dim, item: Extract<Item, { form: 'slice' }>): Dim {
  if (typeof size !== 'number') return size;
  const { step } = item;
  const clamp = (bound: number, low: number, high: number): number =>
    Math.min(Math.max(bound < 0 ? bound + size : bound, low), high);
  if (step > 0) {
    const start = item.start === null ? 0 : clamp(item.start, 0, size);
    const stop = item.stop === null ? size : clamp(item.stop, 0, size);
    return Math.max(Math.ceil((stop - start) / step), 0);
  }
  const start = item.start === null ? size - 1 : clamp(item.start, -1, size - 1);
  const stop = item.stop === null ? -1 : clamp(item.stop, -1, size - 1);
  return Math.max(Math.ceil((start - stop) / -step), 0);
}

function pieces(input: Shape, args: Arguments): readonly Shape[] | null {
  const told = args.literal(['indices_or_sections', 'num_or_size_splits', 'num_split'], 1);
  const axis = axisOf(args.literal(['axis'], 2), input.length);
  if (axis === null) return null;
  const size = input[axis] ?? null;
  const part = (length: Dim): Shape => input.map((own, index) => (index === axis ? length : own));
  if (typeof told === 'number') {
    if (!Number.isInteger(told) || told <= 0 || told > 100_000) return null;
    if (typeof size === 'number' && size % told !== 0) return null;
    return Array.from({ length: told }, () => part(typeof size === 'number' ? size / told : size));
  }
  const numbers = numbersOf(told);
  if (numbers === null) return null;
  // TensorFlow names sizes, Keras 3 the places to cut at.
  if (args.literal(['num_or_size_splits'], Number.POSITIVE_INFINITY) !== undefined) return numbers.map(part);
  const cuts = [0, ...numbers];
  return cuts.map((start, index) => {
    const stop = cuts[index + 1] ?? size;
    return part(typeof stop === 'number' ? stop - start : stop);
  });
}

function taken(input: Shape, args: Arguments): readonly Shape[] | null {
  const [, second] = args.shapes;
  const told = args.literal(['indices'], 1);
  const indices: Shape | null = second ?? (typeof told === 'number' ? [] : isList(told) ? [told.length] : null);
  const where = args.literal(['axis'], 2);
  const axis = axisOf(where, input.length);
  if (indices === null || axis === null) return null;
  return [[...input.slice(0, axis), ...indices, ...input.slice(axis + 1)]];
}

function resized(input: Shape, args: Arguments): readonly Shape[] | null {
  const size = numbersOf(args.literal(['size', 'images_size'], 1));
  if (size === null || size.length !== 2 || input.length < 3) return null;
  const [height = 0, width = 0] = size;
  return args.literal(['data_format'], Number.POSITIVE_INFINITY) === 'channels_first'
    ? [[...input.slice(0, -2), height, width]]
    : [[...input.slice(0, -3), height, width, input.at(-1) ?? null]];
}

function blocked(op: string, input: Shape, args: Arguments): readonly Shape[] | null {
  const block = args.literal(['block_size'], 1);
  if (typeof block !== 'number' || input.length !== 4) return null;
  const format = args.literal(['data_format'], 2);
  const first = format === 'NCHW' || format === 'channels_first';
  const [n = null, a = null, b = null, c = null] = input;
  const [channels, height, width] = first ? [a, b, c] : [c, a, b];
  const scale = (size: Dim, factor: number): Dim => (typeof size === 'number' ? size * factor : size);
  const factor = op === 'depthtospace' ? block : 1 / block;
  const deep = scale(channels, 1 / (factor * factor));
  const high = scale(height, factor);
  const wide = scale(width, factor);
  if ([deep, high, wide].some((size) => typeof size === 'number' && !Number.isInteger(size))) return null;
  return [first ? [n, deep, high, wide] : [n, high, wide, deep]];
}

function pooled(input: Shape, args: Arguments): readonly Shape[] | null {
  const rank = input.length - 2;
  const pool = numbersOf(args.literal(['pool_size', 'ksize'], 1));
  if (pool === null || rank < 1) return null;
  const strides = numbersOf(args.literal(['strides'], 2)) ?? pool;
  const word = args.literal(['padding'], 3);
  const padding = typeof word === 'string' && word.toLowerCase() === 'same' ? 'same' : 'valid';
  const format = args.literal(['data_format'], 4);
  const first = format === 'channels_first' || format === 'NCHW' ? 2 : 1;
  const at = (sizes: readonly number[], index: number): number =>
    (sizes.length === rank + 2 ? sizes[first + index] : sizes.length === 1 ? sizes[0] : sizes[index]) ?? 1;
  const output: Dim[] = [...input];
  for (let index = 0; index < rank; index++) {
    const size = windowsOn(input[first + index] ?? null, at(pool, index), at(strides, index), 1, padding);
    if (size === undefined) return null;
    output[first + index] = size;
  }
  return [output];
}
