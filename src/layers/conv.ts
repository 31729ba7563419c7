import type { JsonObject } from '../ir/json.ts';
import type { Dialect, NormAttrs, Shape } from '../ir/model.ts';
import { activationOf } from './activation-function.ts';
import {
  attributeOf,
  booleanOf,
  type Era,
  eraOf,
  hasAny,
  isBelow,
  normNumber,
  normNumbers,
  normText,
  numberOf,
  numberOrNull,
  numbersOf,
  sampleElements,
  sizesAt,
  sizesOf,
  stringOf,
} from './attribute.ts';
import { type Expr, type Family, permutationOf, type Twin, type TwinSource } from './family.ts';
import { adaptationOf, adaptationRefusal, loraVariables, variable } from './quantisation.ts';
import { assumed, missing, shapeOf, source, twin, twinModule, twinTensor, weightOf } from './twin.ts';
import {
  channelAxis,
  dataFormatOf,
  kerasDataFormat,
  kerasPadding,
  onnxPadding,
  paddingOf,
  padsOf,
  slide,
  span,
  spatialWords,
  torchPadding,
} from './window.ts';

const KERAS_RANKS: Readonly<Record<string, number>> = {
  Conv1D: 1,
  Convolution1D: 1,
  AtrousConv1D: 1,
  AtrousConvolution1D: 1,
  Conv2D: 2,
  Convolution2D: 2,
  AtrousConv2D: 2,
  AtrousConvolution2D: 2,
  Conv3D: 3,
  Convolution3D: 3,
};

const TORCH_RANKS: Readonly<Record<string, number>> = {
  Conv1d: 1,
  Conv2d: 2,
  Conv3d: 3,
  LazyConv1d: 1,
  LazyConv2d: 2,
  LazyConv3d: 3,
};

/**
 * Conv1D to Conv3D.
 * Neutral: rank, filters, kernelSize[], strides[], padding ('valid' | 'same' | 'same_lower' | 'causal' | [before, after][]),
 * dilation[], groups, dataFormat, useBias (null: the weights tell), activation, inChannels (null: not stated),
 * paddingMode ('zeros' …), kernelLayout (axis words in storage order: 'h w in out', 'out in h w'),
 * flip (true: Theano's true convolution; null: not told), lora.
 */
export const conv: Family = {
  kind: 'conv',
  types: { keras: Object.keys(KERAS_RANKS), torch: Object.keys(TORCH_RANKS), onnx: ['Conv'] },
  normalise(type: string, attrs: JsonObject, dialect: Dialect, version: string, backend = ''): NormAttrs {
    switch (dialect) {
      case 'keras': {
        const rank = KERAS_RANKS[type] ?? 2;
        return { ...kerasConvolution(attrs, rank, convEra(attrs, version), version, backend), ...kerasLora(attrs) };
      }
      case 'torch':
        return torchConvolution(attrs, TORCH_RANKS[type] ?? 2);
      case 'onnx':
        return onnxConvolution(attrs);
    }
  },
  variables(norm, inputs) {
    const kernel = kernelShape(norm, inputs?.[0]);
    return [
      variable('kernel', kernel, ['kernel', 'W']),
      ...biasOf(norm, normNumber(norm, 'filters')),
      ...loraVariables(norm, 'kernel', kernel),
    ];
  },
  outputs(norm, inputs) {
    const output = slide(norm, inputs[0], normNumber(norm, 'filters') ?? '?');
    return output === null ? null : [output];
  },
  /** Output elements × kernel elements × input channels of a group. */
  macs(norm, inputs, outputs) {
    const kernel = normNumbers(norm, 'kernelSize');
    const channels = inputChannels(norm, inputs[0]);
    const elements = sampleElements(outputs[0]);
    if (kernel === null || channels === null || elements === null) return null;
    return elements * product(kernel) * (channels / (normNumber(norm, 'groups') ?? 1));
  },
  toTorch(layer: TwinSource): Twin {
    const refusal =
      adaptationRefusal(
        layer.norm,
        layer.weights.map((weight) => weight.role),
      ) ?? missing(layer, 'kernel');
    if (refusal !== undefined) return refusal;
    const { norm } = layer;
    const rank = normNumber(norm, 'rank') ?? 2;
    const layout = kernelLayoutOf(layer);
    if (layout === null) return { refused: `its kernel has shape [${shapeOf(layer, 'kernel').join(', ')}]` };
    const weight = twinTensor(
      layer,
      'weight',
      arranged(oriented(source('kernel'), layer, layout), layout, `out in ${spatialWords(rank)}`, layer),
    );
    const bias = weightOf(layer, 'bias') !== undefined;
    const groups = normNumber(norm, 'groups') ?? 1;
    const [outChannels = 0, perGroup = 0, ...kernelSize] = weight.shape;
    return twin(
      [
        twinModule(`Conv${rank}d`, {
          in_channels: perGroup * groups,
          out_channels: outChannels,
          kernel_size: kernelSize,
          stride: normNumbers(norm, 'strides') ?? kernelSize.map(() => 1),
          padding: modulePadding(norm),
          dilation: normNumbers(norm, 'dilation') ?? kernelSize.map(() => 1),
          groups,
          bias,
        }),
      ],
      bias ? [weight, twinTensor(layer, 'bias', source('bias'))] : [weight],
      flipNotes(layer),
    );
  },
  toKeras(layer: TwinSource): Twin {
    const refusal = missing(layer, 'weight');
    if (refusal !== undefined) return refusal;
    const rank = shapeOf(layer, 'weight').length - 2;
    if (rank < 1 || rank > 3) return { refused: 'its weight has no 1 to 3 spatial axes' };
    const words = spatialWords(rank);
    const kernel = twinTensor(layer, 'kernel', {
      op: 'permute',
      of: source('weight'),
      axes: permutationOf(`out in ${words}`, `${words} in out`),
    });
    const bias = weightOf(layer, 'bias') !== undefined;
    const { norm } = layer;
    return twin(
      [
        twinModule(`Conv${rank}D`, {
          filters: kernel.shape.at(-1) ?? 0,
          kernel_size: kernel.shape.slice(0, rank),
          strides: normNumbers(norm, 'strides') ?? new Array<number>(rank).fill(1),
          padding: kerasWord(norm),
          dilation_rate: normNumbers(norm, 'dilation') ?? new Array<number>(rank).fill(1),
          groups: normNumber(norm, 'groups') ?? 1,
          use_bias: bias,
        }),
      ],
      bias ? [kernel, twinTensor(layer, 'bias', source('bias'))] : [kernel],
    );
  },
};

/** A config that uses Keras 1's words is one, whatever version the file states. */
export function convEra(attrs: JsonObject, version: string): Era {
  return hasAny(attrs, ['nb_filter', 'nb_row', 'filter_length', 'border_mode', 'dim_ordering', 'kernel_dim1'])
    ? 'keras1'
    : eraOf(version);
}

/** What every Keras convolution states. */
export function kerasConvolution(
  attrs: JsonObject,
  rank: number,
  era: Era,
  version: string,
  backend: string,
): NormAttrs {
  const dataFormat = kerasDataFormat(attrs, era, rank);
  return {
    rank,
    filters: numberOrNull(attrs, ['filters', 'nb_filter']),
    kernelSize: kernelSizeOf(attrs, rank),
    strides: sizesOf(attrs, ['strides', 'subsample', 'subsample_length'], rank, 1),
    padding: kerasPadding(attrs),
    dilation: sizesOf(attrs, ['dilation_rate', 'atrous_rate'], rank, 1),
    groups: numberOf(attrs, 'groups', 1),
    dataFormat,
    useBias: booleanOf(attrs, ['use_bias', 'bias'], true),
    activation: activationOf(attrs.get('activation'), era),
    inChannels: null,
    paddingMode: 'zeros',
    kernelLayout: kerasLayout(rank, era, version, dataFormat),
    // Keras 1 files do not name their backend.
    flip: backend === 'theano' ? true : era === 'keras1' && backend === '' ? null : false,
  };
}

export function kerasLora(attrs: JsonObject): NormAttrs {
  return { lora: adaptationOf(attrs, '').lora };
}

function kernelSizeOf(attrs: JsonObject, rank: number): readonly number[] | null {
  const told = attributeOf(attrs, ['kernel_size', 'filter_length']);
  if (told !== undefined) {
    const sizes = numbersOf(told);
    return sizes === null ? null : sizes.length === 1 ? new Array<number>(rank).fill(sizes[0] ?? 1) : sizes;
  }
  const names = rank === 3 ? ['kernel_dim1', 'kernel_dim2', 'kernel_dim3'] : ['nb_row', 'nb_col'];
  const sizes = names.map((name) => attrs.get(name));
  return sizes.every((size) => typeof size === 'number') ? (sizes as readonly number[]) : null;
}

/** Storage order of a kernel's axes. Keras 1 kept Theano's order where the data had it, and 1-D kernels with a fourth axis. */
function kerasLayout(rank: number, era: Era, version: string, dataFormat: string): string {
  if (era === 'keras1') {
    if (rank === 1) return isBelow(version, '1.2') ? 'out in w one' : 'w one in out';
    if (dataFormat === 'channels_first') return `out in ${spatialWords(rank)}`;
  }
  return `${spatialWords(rank)} in out`;
}

export function torchConvolution(attrs: JsonObject, rank: number): NormAttrs {
  const silent = attrs.size === 0;
  const kernel = attrs.get('kernel_size');
  return {
    rank,
    filters: numberOrNull(attrs, 'out_channels'),
    kernelSize: kernel === undefined ? null : sizesOf(attrs, 'kernel_size', rank, 1),
    strides: silent ? null : sizesOf(attrs, 'stride', rank, 1),
    padding: silent ? null : torchPadding(attrs, rank),
    dilation: silent ? null : sizesOf(attrs, 'dilation', rank, 1),
    groups: silent ? null : numberOf(attrs, 'groups', 1),
    dataFormat: 'channels_first',
    useBias: attrs.has('bias') ? booleanOf(attrs, 'bias', true) : null,
    activation: { function: 'linear' },
    inChannels: numberOrNull(attrs, 'in_channels'),
    paddingMode: silent ? null : stringOf(attrs, 'padding_mode', 'zeros'),
    kernelLayout: `out in ${spatialWords(rank)}`,
    flip: false,
  };
}

export function onnxConvolution(attrs: JsonObject): NormAttrs {
  const kernel = numbersOf(attrs.get('kernel_shape'));
  const rank = kernel?.length ?? numbersOf(attrs.get('strides'))?.length ?? 2;
  return {
    rank,
    filters: null,
    kernelSize: kernel,
    strides: sizesOf(attrs, 'strides', rank, 1),
    padding: onnxPadding(attrs, rank),
    dilation: sizesOf(attrs, 'dilations', rank, 1),
    groups: numberOf(attrs, 'group', 1),
    dataFormat: 'channels_first',
    useBias: null,
    activation: { function: 'linear' },
    inChannels: null,
    paddingMode: 'zeros',
    kernelLayout: `out in ${spatialWords(rank)}`,
    flip: false,
  };
}

export function product(sizes: readonly number[]): number {
  return sizes.reduce((whole, size) => whole * size, 1);
}

/** Channels of the input: what the shape says, else what the file states. */
export function inputChannels(norm: NormAttrs, input: Shape | undefined): number | null {
  const rank = normNumber(norm, 'rank');
  if (input !== undefined && rank !== null) {
    const size = sizesAt(input, [channelAxis(input.length, rank, dataFormatOf(norm))])?.[0];
    if (size !== undefined) return size;
  }
  return normNumber(norm, 'inChannels');
}

/** The kernel's shape in its own layout. */
function kernelShape(norm: NormAttrs, input: Shape | undefined): readonly number[] | null {
  const kernel = normNumbers(norm, 'kernelSize');
  const channels = inputChannels(norm, input);
  const filters = normNumber(norm, 'filters');
  const layout = normText(norm, 'kernelLayout');
  if (kernel === null || channels === null || filters === null || layout === null) return null;
  const sizes = axisSizes(kernel, { in: channels / (normNumber(norm, 'groups') ?? 1), out: filters });
  return layout.split(' ').map((word) => sizes.get(word) ?? 1);
}

function axisSizes(kernel: readonly number[], channels: Readonly<Record<string, number>>): Map<string, number> {
  const sizes = new Map(Object.entries(channels));
  for (const [index, word] of spatialWords(kernel.length).split(' ').entries()) sizes.set(word, kernel[index] ?? 1);
  return sizes.set('one', 1);
}

export function biasOf(norm: NormAttrs, size: number | null): readonly ReturnType<typeof variable>[] {
  return norm['useBias'] === false ? [] : [variable('bias', size === null ? null : [size], ['bias', 'b'])];
}

/**
 * The layout that the stored kernel has: the declared one, or, in a Keras 1 file whose kernel does not fit it, the
 * other one that Keras 1 used. null when none fits.
 */
export function kernelLayoutOf(layer: TwinSource): string | null {
  const rank = normNumber(layer.norm, 'rank') ?? 2;
  const words = spatialWords(rank);
  const declared = normText(layer.norm, 'kernelLayout') ?? `${words} in out`;
  const shape = shapeOf(layer, 'kernel');
  const kernel = normNumbers(layer.norm, 'kernelSize');
  const filters = normNumber(layer.norm, 'filters');
  const one = rank === 1 ? ['w one in out', 'out in w one'] : [];
  for (const layout of [declared, ...one, `${words} in out`, `out in ${words}`]) {
    const names = layout.split(' ');
    if (names.length !== shape.length) continue;
    const sizes = axisSizes(kernel ?? [], {});
    if (filters !== null) sizes.set('out', filters);
    if (names.every((word, axis) => sizes.get(word) === undefined || sizes.get(word) === shape[axis])) return layout;
  }
  return null;
}

/** Theano's kernels turned round. */
export function oriented(of: Expr, layer: TwinSource, layout: string): Expr {
  if (layer.norm['flip'] !== true) return of;
  const axes = layout.split(' ').flatMap((word, axis) => (['d', 'h', 'w'].includes(word) ? [axis] : []));
  return { op: 'flip', of, axes };
}

/** Axes from one wording to another; an axis `one` is dropped. */
export function arranged(of: Expr, from: string, to: string, layer: TwinSource): Expr {
  const words = from.split(' ');
  const lean = words.filter((word) => word !== 'one');
  const shape = shapeOf(layer, 'kernel');
  const squeezed: Expr =
    lean.length === words.length ? of : { op: 'reshape', of, shape: shape.filter((_, axis) => words[axis] !== 'one') };
  const axes = permutationOf(lean.join(' '), to);
  return axes.every((axis, index) => axis === index) ? squeezed : { op: 'permute', of: squeezed, axes };
}

/** The reading of a Keras 1 kernel whose backend the file does not name. */
export function flipNotes(layer: TwinSource): ReturnType<typeof assumed>[] {
  const kernel = normNumbers(layer.norm, 'kernelSize') ?? [1];
  return layer.norm['flip'] === null && kernel.some((size) => size > 1)
    ? [assumed(layer, 'backend', 'tensorflow')]
    : [];
}

/**
 * The `padding` argument of the twin: exact whatever the input's size, or 0.
 * 'same' with stride 1: (k_e − 1) / 2 per axis, or PyTorch's own 'same' when a span is even (its additional element
 * also comes last). 'same' with a stride, 'causal', and pairs that differ: 0, to be padded before the module (padsOf).
 */
export function modulePadding(norm: NormAttrs, allowSame = true): 'same' | readonly number[] {
  const kernel = normNumbers(norm, 'kernelSize') ?? normNumbers(norm, 'poolSize') ?? [];
  const strides = normNumbers(norm, 'strides') ?? kernel.map(() => 1);
  const dilation = normNumbers(norm, 'dilation') ?? kernel.map(() => 1);
  const none = kernel.map(() => 0);
  const padding = paddingOf(norm);
  if (padding === null || padding === 'valid' || padding === 'causal') return none;
  const pads = padsOf(norm, null);
  if (pads === null) return none;
  if (pads.every(([before, after]) => before === after)) return pads.map(([before]) => before);
  const unit = strides.every((stride) => stride === 1);
  const even = kernel.some((size, index) => span(size, dilation[index] ?? 1) % 2 === 0);
  return padding === 'same' && unit && even && allowSame ? 'same' : none;
}

/** Keras' word for a PyTorch padding; 'valid' where ZeroPadding comes first. */
function kerasWord(norm: NormAttrs): string {
  const padding = paddingOf(norm);
  if (padding === 'same' || padding === 'causal') return padding;
  const kernel = normNumbers(norm, 'kernelSize');
  const unit = (normNumbers(norm, 'strides') ?? []).every((stride) => stride === 1);
  if (padding === null || typeof padding === 'string' || kernel === null || !unit) return 'valid';
  const dilation = normNumbers(norm, 'dilation') ?? kernel.map(() => 1);
  const same = padding.every(([before, after], index) => {
    const total = span(kernel[index] ?? 1, dilation[index] ?? 1) - 1;
    return before === after && before * 2 === total && total > 0;
  });
  return same ? 'same' : 'valid';
}
