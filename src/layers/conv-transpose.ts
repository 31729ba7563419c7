import type { JsonObject } from '../ir/json.ts';
import type { Dialect, Dim, NormAttrs, NormValue, Shape } from '../ir/model.ts';
import { normNumber, normNumbers, normText, numbersOf, sampleElements, sizesOf, wrapAxis } from './attribute.ts';
import {
  arranged,
  biasOf,
  convEra,
  flipNotes,
  inputChannels,
  kerasConvolution,
  kerasLora,
  onnxConvolution,
  oriented,
  product,
  torchConvolution,
} from './conv.ts';
import { type Family, permutationOf, type Twin, type TwinSource } from './family.ts';
import { adaptationRefusal, loraVariables, variable } from './quantisation.ts';
import { missing, shapeOf, source, twin, twinModule, twinTensor, weightOf } from './twin.ts';
import { dataFormatOf, mapSpatial, type Pad, paddingOf, span, spatialAxes, spatialWords } from './window.ts';

const KERAS_RANKS: Readonly<Record<string, number>> = {
  Conv1DTranspose: 1,
  Convolution1DTranspose: 1,
  Conv2DTranspose: 2,
  Convolution2DTranspose: 2,
  Deconvolution2D: 2,
  Deconv2D: 2,
  Conv3DTranspose: 3,
  Convolution3DTranspose: 3,
  Deconvolution3D: 3,
  Deconv3D: 3,
};

const TORCH_RANKS: Readonly<Record<string, number>> = {
  ConvTranspose1d: 1,
  ConvTranspose2d: 2,
  ConvTranspose3d: 3,
  LazyConvTranspose1d: 1,
  LazyConvTranspose2d: 2,
  LazyConvTranspose3d: 3,
};

/**
 * Conv1DTranspose to Conv3DTranspose.
 * Neutral: as conv, and outputPadding[] (null: Keras derives it), outputShape (Keras 1 states it whole, else null),
 * crop ([before, after][]: what the generated code drops after the twin's module; null where the input decides).
 * Keras stores 'h w out in' (Keras 1 'h w in out', or 'out in h w' in Theano's order), PyTorch 'in out h w'.
 */
export const convTranspose: Family = {
  kind: 'conv_transpose',
  types: { keras: Object.keys(KERAS_RANKS), torch: Object.keys(TORCH_RANKS), onnx: ['ConvTranspose'] },
  normalise(type: string, attrs: JsonObject, dialect: Dialect, version: string, backend = ''): NormAttrs {
    const norm = normalised(type, attrs, dialect, version, backend);
    return { ...norm, crop: transposePlan(norm, null)?.crop ?? null };
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
    const output = outputShape(norm, inputs[0]);
    return output === null ? null : [output];
  },
  /** Input elements × kernel elements × output channels of a group: every input element meets the whole kernel. */
  macs(norm, inputs) {
    const kernel = normNumbers(norm, 'kernelSize');
    const filters = normNumber(norm, 'filters');
    const elements = sampleElements(inputs[0]);
    if (kernel === null || filters === null || elements === null) return null;
    return elements * product(kernel) * (filters / (normNumber(norm, 'groups') ?? 1));
  },
  toTorch(layer: TwinSource): Twin {
    const refusal =
      adaptationRefusal(
        layer.norm,
        layer.weights.map((weight) => weight.role),
      ) ?? missing(layer, 'kernel');
    if (refusal !== undefined) return refusal;
    const { norm } = layer;
    const plan = transposePlan(norm, layer.inputs?.[0] ?? null);
    if (plan === null) return { refused: 'its output size is not settled by its configuration' };
    const rank = normNumber(norm, 'rank') ?? 2;
    const layout = normText(norm, 'kernelLayout') ?? '';
    const shape = shapeOf(layer, 'kernel');
    if (layout.split(' ').length !== shape.length) {
      return { refused: `its kernel has shape [${shape.join(', ')}]` };
    }
    const weight = twinTensor(
      layer,
      'weight',
      arranged(oriented(source('kernel'), layer, layout), layout, `in out ${spatialWords(rank)}`, layer),
    );
    const bias = weightOf(layer, 'bias') !== undefined;
    const [inChannels = 0, outChannels = 0, ...kernelSize] = weight.shape;
    return twin(
      [
        twinModule(`ConvTranspose${rank}d`, {
          in_channels: inChannels,
          out_channels: outChannels,
          kernel_size: kernelSize,
          stride: normNumbers(norm, 'strides') ?? kernelSize.map(() => 1),
          padding: plan.padding,
          output_padding: plan.outputPadding,
          dilation: normNumbers(norm, 'dilation') ?? kernelSize.map(() => 1),
          groups: 1,
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
    const { norm } = layer;
    const groups = normNumber(norm, 'groups') ?? 1;
    if (groups !== 1) return { refused: 'a transposed convolution with groups has no counterpart in Keras' };
    const rank = shapeOf(layer, 'weight').length - 2;
    if (rank < 1 || rank > 3) return { refused: 'its weight has no 1 to 3 spatial axes' };
    const words = spatialWords(rank);
    const kernel = twinTensor(layer, 'kernel', {
      op: 'permute',
      of: source('weight'),
      axes: permutationOf(`in out ${words}`, `${words} out in`),
    });
    const bias = weightOf(layer, 'bias') !== undefined;
    return twin(
      [
        twinModule(`Conv${rank}DTranspose`, {
          filters: kernel.shape[rank] ?? 0,
          kernel_size: kernel.shape.slice(0, rank),
          strides: normNumbers(norm, 'strides') ?? new Array<number>(rank).fill(1),
          padding: 'valid',
          output_padding: normNumbers(norm, 'outputPadding') ?? new Array<number>(rank).fill(0),
          dilation_rate: normNumbers(norm, 'dilation') ?? new Array<number>(rank).fill(1),
          use_bias: bias,
        }),
      ],
      bias ? [kernel, twinTensor(layer, 'bias', source('bias'))] : [kernel],
    );
  },
};

function normalised(type: string, attrs: JsonObject, dialect: Dialect, version: string, backend: string): NormAttrs {
  switch (dialect) {
    case 'keras': {
      const rank = KERAS_RANKS[type] ?? 2;
      const era = convEra(attrs, version);
      const norm = kerasConvolution(attrs, rank, era, version, backend);
      const told = numbersOf(attrs.get('output_padding'));
      const first = era === 'keras1' && norm['dataFormat'] === 'channels_first';
      return {
        ...norm,
        outputPadding: told === null ? null : sizesOf(attrs, 'output_padding', rank, 0),
        outputShape: attrs.has('nb_filter') ? shapeValue(attrs.get('output_shape')) : null,
        kernelLayout: first
          ? `out in ${spatialWords(rank)}`
          : `${spatialWords(rank)} ${era === 'keras1' ? 'in out' : 'out in'}`,
        ...kerasLora(attrs),
      };
    }
    case 'torch': {
      const rank = TORCH_RANKS[type] ?? 2;
      const norm = torchConvolution(attrs, rank);
      return {
        ...norm,
        outputPadding: attrs.size === 0 ? null : sizesOf(attrs, 'output_padding', rank, 0),
        outputShape: null,
        kernelLayout: `in out ${spatialWords(rank)}`,
      };
    }
    case 'onnx': {
      const norm = onnxConvolution(attrs);
      const rank = normNumber(norm, 'rank') ?? 2;
      return {
        ...norm,
        outputPadding: sizesOf(attrs, 'output_padding', rank, 0),
        outputShape: null,
        kernelLayout: `in out ${spatialWords(rank)}`,
      };
    }
  }
}

function shapeValue(value: Parameters<typeof numbersOf>[0]): NormValue {
  return Array.isArray(value) ? value.map((size) => (typeof size === 'number' ? size : null)) : null;
}

function kernelShape(norm: NormAttrs, input: Shape | undefined): readonly number[] | null {
  const kernel = normNumbers(norm, 'kernelSize');
  const channels = inputChannels(norm, input);
  const filters = normNumber(norm, 'filters');
  const layout = normText(norm, 'kernelLayout');
  if (kernel === null || channels === null || filters === null || layout === null) return null;
  const words = spatialWords(kernel.length).split(' ');
  return layout
    .split(' ')
    .map((word) => (word === 'in' ? channels : word === 'out' ? filters : (kernel[words.indexOf(word)] ?? 1)));
}

/** Length of one axis; keras `backend_utils.py` (`_get_output_shape_given_tf_padding`). */
function lengthOf(norm: NormAttrs, index: number, size: number): number | null {
  const kernel = normNumbers(norm, 'kernelSize')?.[index];
  const stride = normNumbers(norm, 'strides')?.[index] ?? 1;
  const dilation = normNumbers(norm, 'dilation')?.[index] ?? 1;
  const extra = normNumbers(norm, 'outputPadding')?.[index];
  const padding = paddingOf(norm);
  if (kernel === undefined || padding === null || padding === 'causal') return null;
  const reach = span(kernel, dilation);
  const natural = (size - 1) * stride + reach;
  if (typeof padding !== 'string') {
    const [before, after] = padding[index] ?? [0, 0];
    return natural - before - after + (extra ?? 0);
  }
  if (padding === 'valid') return natural + (extra ?? Math.max(stride - reach, 0));
  return extra === undefined ? size * stride : (size - 1) * stride + (reach % 2) + extra;
}

function outputShape(norm: NormAttrs, input: Shape | undefined): Shape | null {
  const rank = normNumber(norm, 'rank') ?? 2;
  const told = norm['outputShape'];
  const filters = normNumber(norm, 'filters') ?? '?';
  const axes = input === undefined ? [] : spatialAxes(input.length, rank, dataFormatOf(norm));
  return mapSpatial(
    input,
    rank,
    dataFormatOf(norm),
    (size: Dim, index) => {
      const stated: unknown = Array.isArray(told) ? told[axes[index] ?? -1] : undefined;
      if (typeof stated === 'number') return stated;
      if (typeof size !== 'number') return size;
      const length = lengthOf(norm, index, size);
      return length === null || length <= 0 ? undefined : length;
    },
    filters,
  );
}

/** What makes a PyTorch transposed convolution equal to this layer. */
export interface TransposePlan {
  readonly padding: readonly number[];
  readonly outputPadding: readonly number[];
  /** Elements to drop before and after each spatial axis of the module's output. */
  readonly crop: readonly Pad[];
}

/**
 * The natural output has (n − 1)·s + k_e elements; what is above the wanted length is cropped, the smaller half first
 * for 'same', all of it last for 'valid'. PyTorch's padding p and output_padding o crop p before and p − o after; what
 * they cannot say is left to `crop`. The input's size matters only where Keras 1 states the output's size.
 */
export function transposePlan(norm: NormAttrs, input: Shape | null): TransposePlan | null {
  const kernel = normNumbers(norm, 'kernelSize');
  const padding = paddingOf(norm);
  if (kernel === null || padding === null) return null;
  const told = norm['outputShape'];
  const axes = input === null ? [] : spatialAxes(input.length, kernel.length, dataFormatOf(norm));
  const plan = { padding: [] as number[], outputPadding: [] as number[], crop: [] as Pad[] };
  for (const [index, width] of kernel.entries()) {
    const stride = normNumbers(norm, 'strides')?.[index] ?? 1;
    const dilation = normNumbers(norm, 'dilation')?.[index] ?? 1;
    const axis = axes[index] ?? -1;
    const place = input === null ? null : wrapAxis(axis, input.length);
    const size = place === null ? undefined : input?.[place];
    const stated: unknown = Array.isArray(told) ? told[axis] : undefined;
    if (Array.isArray(told) && (typeof stated !== 'number' || typeof size !== 'number')) return null;
    const n = typeof size === 'number' ? size : 1;
    const wanted = typeof stated === 'number' ? stated : lengthOf(norm, index, n);
    if (wanted === null) return null;
    const surplus = (n - 1) * stride + span(width, dilation) - wanted;
    const before =
      typeof padding !== 'string'
        ? (padding[index]?.[0] ?? 0)
        : padding === 'same'
          ? Math.floor(Math.max(surplus, 0) / 2)
          : 0;
    const after = surplus - before;
    const extra = Math.max(before - after, 0);
    if (extra >= Math.max(stride, dilation) && extra > 0) return null;
    plan.padding.push(before);
    plan.outputPadding.push(extra);
    plan.crop.push([0, Math.max(after - before, 0)]);
  }
  return plan;
}
