import type { JsonObject } from '../ir/json.ts';
import type { Dim, NormAttrs, NormValue, Shape } from '../ir/model.ts';
import { attributeOf, type Era, normNumbers, normText, numbersOf, stringOf } from './attribute.ts';

/** Arithmetic of everything that slides over spatial axes: convolutions, pools, padding, cropping. */

export type DataFormat = 'channels_last' | 'channels_first';

/** Elements added (negative: cropped) before and after one axis. */
export type Pad = readonly [number, number];

/**
 * 'valid'; 'same' (the additional element comes last); 'same_lower' (first: ONNX); 'causal' (all of it first);
 * or a pair per spatial axis.
 */
export type Padding = 'valid' | 'same' | 'same_lower' | 'causal' | readonly Pad[];

/** Elements that a dilated kernel spans: (k − 1)·d + 1. */
export function span(kernel: number, dilation: number): number {
  return (kernel - 1) * dilation + 1;
}

/** What 'same' adds to an axis of `size`: P = max((⌈n/s⌉ − 1)·s + span − n, 0), the odd one last. */
export function samePad(size: number, kernel: number, stride: number, dilation: number): Pad {
  const total = Math.max((Math.ceil(size / stride) - 1) * stride + span(kernel, dilation) - size, 0);
  const before = Math.floor(total / 2);
  return [before, total - before];
}

/**
 * The padding of every spatial axis in elements for a layer of these attributes (`padding`, `kernelSize` or `poolSize`,
 * `strides`, `dilation`, `dataFormat`). null where an axis that decides it is not known; the size of an axis does not
 * matter when a 'same' window moves one by one.
 */
export function padsOf(norm: NormAttrs, input: Shape | null): readonly Pad[] | null {
  const kernel = normNumbers(norm, 'kernelSize') ?? normNumbers(norm, 'poolSize');
  const padding = paddingOf(norm);
  if (kernel === null || padding === null) return null;
  if (typeof padding !== 'string') return padding;
  const strides = normNumbers(norm, 'strides') ?? kernel.map(() => 1);
  const dilation = normNumbers(norm, 'dilation') ?? kernel.map(() => 1);
  const axes = input === null ? null : spatialAxes(input.length, kernel.length, dataFormatOf(norm));
  const pads: Pad[] = [];
  for (const [index, size] of kernel.entries()) {
    const stride = strides[index] ?? 1;
    const spread = dilation[index] ?? 1;
    const total = span(size, spread) - 1;
    if (padding === 'valid' || size === 1) pads.push([0, 0]);
    else if (padding === 'causal') pads.push([total, 0]);
    else {
      const length = input?.[axes?.[index] ?? -1];
      const pad: Pad | null =
        stride === 1
          ? [Math.floor(total / 2), Math.ceil(total / 2)]
          : typeof length === 'number'
            ? samePad(length, size, stride, spread)
            : null;
      if (pad === null) return null;
      pads.push(padding === 'same' ? pad : [pad[1], pad[0]]);
    }
  }
  return pads;
}

/** Windows that fit on an axis; null (dynamic) and '?' pass through; undefined when none fits (Keras refuses that). */
export function windowsOn(
  size: Dim,
  kernel: number,
  stride: number,
  dilation: number,
  padding: Exclude<Padding, readonly Pad[]> | Pad,
  ceiling = false,
): Dim | undefined {
  if (typeof size !== 'number') return size;
  if (typeof padding === 'string' && padding !== 'valid') return Math.ceil(size / stride);
  const [before, after] = typeof padding === 'string' ? [0, 0] : padding;
  const room = size + before + after - span(kernel, dilation);
  if (room < 0) return undefined;
  let windows = (ceiling ? Math.ceil(room / stride) : Math.floor(room / stride)) + 1;
  // PyTorch: a window may not start in the padding at the end.
  if (ceiling && (windows - 1) * stride >= size + before) windows -= 1;
  return windows;
}

/** Axes that hold space: all between batch and channels, counted from the end so that further leading axes are allowed. */
export function spatialAxes(shapeRank: number, rank: number, format: DataFormat): readonly number[] {
  const first = format === 'channels_first' ? shapeRank - rank : shapeRank - rank - 1;
  return Array.from({ length: rank }, (_, index) => first + index);
}

export function channelAxis(shapeRank: number, rank: number, format: DataFormat): number {
  return format === 'channels_first' ? shapeRank - rank - 1 : shapeRank - 1;
}

/**
 * A shape with its spatial axes and, where told, its channels replaced; null when the shape has too few axes or
 * `sizeOf` says undefined (impossible).
 */
export function mapSpatial(
  input: Shape | undefined,
  rank: number,
  format: DataFormat,
  sizeOf: (size: Dim, index: number) => Dim | undefined,
  channels?: Dim,
): Shape | null {
  if (input === undefined || input.length < rank + 2) return null;
  const output: Dim[] = [...input];
  for (const [index, axis] of spatialAxes(input.length, rank, format).entries()) {
    const size = sizeOf(input[axis] ?? null, index);
    if (size === undefined) return null;
    output[axis] = size;
  }
  if (channels !== undefined) output[channelAxis(input.length, rank, format)] = channels;
  return output;
}

/** Sliding-window output shape of a layer with `kernelSize` or `poolSize`, `strides`, `dilation`, `padding`, `dataFormat`. */
export function slide(norm: NormAttrs, input: Shape | undefined, channels?: Dim): Shape | null {
  const kernel = normNumbers(norm, 'kernelSize') ?? normNumbers(norm, 'poolSize');
  const padding = paddingOf(norm);
  if (kernel === null || padding === null) return null;
  const strides = normNumbers(norm, 'strides') ?? kernel.map(() => 1);
  const dilation = normNumbers(norm, 'dilation') ?? kernel.map(() => 1);
  const ceiling = norm['ceilMode'] === true;
  return mapSpatial(
    input,
    kernel.length,
    dataFormatOf(norm),
    (size, index) =>
      windowsOn(
        size,
        kernel[index] ?? 1,
        strides[index] ?? 1,
        dilation[index] ?? 1,
        typeof padding === 'string' ? padding : (padding[index] ?? [0, 0]),
        ceiling,
      ),
    channels,
  );
}

export function dataFormatOf(norm: NormAttrs): DataFormat {
  return normText(norm, 'dataFormat') === 'channels_first' ? 'channels_first' : 'channels_last';
}

/** `norm.padding` as a Padding; null when the file does not say. */
export function paddingOf(norm: NormAttrs): Padding | null {
  const value = norm['padding'];
  if (value === 'valid' || value === 'same' || value === 'same_lower' || value === 'causal') return value;
  return pairsOf(value);
}

/** A list of number pairs; null when it is anything else. */
export function pairsOf(value: NormValue | undefined): readonly Pad[] | null {
  if (!Array.isArray(value)) return null;
  const pairs: Pad[] = [];
  for (const pair of value as readonly NormValue[]) {
    if (!Array.isArray(pair) || typeof pair[0] !== 'number' || typeof pair[1] !== 'number') return null;
    pairs.push([pair[0], pair[1]]);
  }
  return pairs;
}

/**
 * `data_format`, or Keras 1's `dim_ordering`. A Keras 1 config that leaves it out means Theano's order, which was the
 * default when such configs were written; axes of 1-D layers were always channels last there.
 */
export function kerasDataFormat(attrs: JsonObject, era: Era, rank: number): DataFormat {
  const ordering = attrs.get('dim_ordering');
  if (ordering === 'th') return 'channels_first';
  if (ordering === 'tf') return 'channels_last';
  const format = attrs.get('data_format');
  if (format === 'channels_first' || format === 'channels_last') return format;
  return era === 'keras1' && rank > 1 && !attrs.has('data_format') ? 'channels_first' : 'channels_last';
}

/** Keras' `padding`, or Keras 1's `border_mode`, in lower case (application configs hold 'SAME'); null for another word. */
export function kerasPadding(attrs: JsonObject): 'valid' | 'same' | 'causal' | null {
  const word = stringOf(attrs, ['padding', 'border_mode'], 'valid').toLowerCase();
  return word === 'valid' || word === 'same' || word === 'causal' ? word : null;
}

/** PyTorch's `padding`: a word, a number or a number per axis. */
export function torchPadding(attrs: JsonObject, rank: number): NormValue {
  const value = attrs.get('padding');
  if (value === 'valid' || value === 'same') return value;
  return symmetricPads(numbersOf(value) ?? [0], rank);
}

export function symmetricPads(sizes: readonly number[], rank: number): readonly Pad[] {
  return Array.from({ length: rank }, (_, index) => {
    const size = sizes.length === 1 ? (sizes[0] ?? 0) : (sizes[index] ?? 0);
    return [size, size] as const;
  });
}

/** ONNX `auto_pad` and `pads` (all begins, then all ends). */
export function onnxPadding(attrs: JsonObject, rank: number): NormValue {
  switch (stringOf(attrs, 'auto_pad', 'NOTSET')) {
    case 'VALID':
      return 'valid';
    case 'SAME_UPPER':
      return 'same';
    case 'SAME_LOWER':
      return 'same_lower';
  }
  const pads = numbersOf(attributeOf(attrs, 'pads')) ?? [];
  return Array.from({ length: rank }, (_, index) => [pads[index] ?? 0, pads[rank + index] ?? 0]);
}

/** Axis words of a kernel's spatial axes by rank: '', 'w', 'h w', 'd h w'. */
export function spatialWords(rank: number): string {
  return ['d', 'h', 'w'].slice(3 - rank).join(' ');
}
