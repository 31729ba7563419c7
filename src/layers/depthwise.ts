import type { JsonObject } from '../ir/json.ts';
import type { Dialect, NormAttrs } from '../ir/model.ts';
import { normNumber, normNumbers, normText, numberOf, numberOrNull, sampleElements } from './attribute.ts';
import { biasOf, convEra, inputChannels, kerasConvolution, modulePadding, product } from './conv.ts';
import { type Expr, type Family, permutationOf, type Twin, type TwinSource } from './family.ts';
import { variable } from './quantisation.ts';
import { missing, reshaped, shapeOf, source, twin, twinModule, twinTensor, weightOf } from './twin.ts';
import { slide, spatialWords } from './window.ts';

const DEPTHWISE_RANKS: Readonly<Record<string, number>> = {
  DepthwiseConv1D: 1,
  DepthwiseConv2D: 2,
  DepthwiseConvolution2D: 2,
};

const SEPARABLE_RANKS: Readonly<Record<string, number>> = {
  SeparableConv1D: 1,
  SeparableConvolution1D: 1,
  SeparableConv2D: 2,
  SeparableConvolution2D: 2,
};

/**
 * DepthwiseConv1D and 2D. Neutral: as conv without filters and groups, and multiplier (outputs per input channel).
 * Keras stores 'h w in mult'; PyTorch is a Conv of `in` groups with weight (in·mult, 1, h, w), channel c·mult + m.
 */
export const depthwiseConv: Family = {
  kind: 'depthwise_conv',
  types: { keras: Object.keys(DEPTHWISE_RANKS) },
  normalise(type: string, attrs: JsonObject, _dialect: Dialect, version: string, backend = ''): NormAttrs {
    return depthwiseNorm(attrs, DEPTHWISE_RANKS[type] ?? 2, version, backend);
  },
  variables(norm, inputs) {
    const channels = inputChannels(norm, inputs?.[0]);
    return [
      variable('kernel', depthwiseShape(norm, channels), ['depthwise_kernel', 'kernel']),
      ...biasOf(norm, produced(norm, channels)),
    ];
  },
  outputs(norm, inputs) {
    const output = slide(norm, inputs[0], produced(norm, inputChannels(norm, inputs[0])));
    return output === null ? null : [output];
  },
  /** Output elements × kernel elements. */
  macs(norm, _inputs, outputs) {
    const kernel = normNumbers(norm, 'kernelSize');
    const elements = sampleElements(outputs[0]);
    return kernel === null || elements === null ? null : elements * product(kernel);
  },
  toTorch(layer: TwinSource): Twin {
    const refusal = theanoRefusal(layer) ?? missing(layer, 'kernel');
    if (refusal !== undefined) return refusal;
    const { norm } = layer;
    const rank = normNumber(norm, 'rank') ?? 2;
    const weight = twinTensor(layer, 'weight', depthwiseWeight(layer, 'kernel', rank));
    const bias = weightOf(layer, 'bias') !== undefined;
    return twin(
      [twinModule(`Conv${rank}d`, depthwiseArgs(layer, 'kernel', bias))],
      bias ? [weight, twinTensor(layer, 'bias', source('bias'))] : [weight],
    );
  },
};

/**
 * SeparableConv1D and 2D. Neutral: as depthwise, and filters.
 * Twin: `depthwise` (stride, padding, dilation; no bias) and `pointwise` (1×1, the bias).
 */
export const separableConv: Family = {
  kind: 'separable_conv',
  types: { keras: Object.keys(SEPARABLE_RANKS) },
  normalise(type: string, attrs: JsonObject, _dialect: Dialect, version: string, backend = ''): NormAttrs {
    return {
      ...depthwiseNorm(attrs, SEPARABLE_RANKS[type] ?? 2, version, backend),
      filters: numberOrNull(attrs, ['filters', 'nb_filter']),
    };
  },
  variables(norm, inputs) {
    const channels = inputChannels(norm, inputs?.[0]);
    const filters = normNumber(norm, 'filters');
    const middle = produced(norm, channels);
    const rank = normNumber(norm, 'rank') ?? 2;
    const ones = new Array<number>(rank).fill(1);
    const first = normText(norm, 'kernelLayout')?.startsWith('mult') === true;
    return [
      variable('depthwise_kernel', depthwiseShape(norm, channels)),
      variable(
        'pointwise_kernel',
        middle === null || filters === null ? null : first ? [filters, middle, ...ones] : [...ones, middle, filters],
      ),
      ...biasOf(norm, filters),
    ];
  },
  outputs(norm, inputs) {
    const output = slide(norm, inputs[0], normNumber(norm, 'filters') ?? '?');
    return output === null ? null : [output];
  },
  /** Both steps: positions × in·mult × kernel elements + output elements × in·mult. */
  macs(norm, inputs, outputs) {
    const kernel = normNumbers(norm, 'kernelSize');
    const filters = normNumber(norm, 'filters');
    const middle = produced(norm, inputChannels(norm, inputs[0]));
    const elements = sampleElements(outputs[0]);
    if (kernel === null || filters === null || filters === 0 || middle === null || elements === null) return null;
    return (elements / filters) * middle * product(kernel) + elements * middle;
  },
  toTorch(layer: TwinSource): Twin {
    const refusal = theanoRefusal(layer) ?? missing(layer, 'depthwise_kernel', 'pointwise_kernel');
    if (refusal !== undefined) return refusal;
    const { norm } = layer;
    const rank = normNumber(norm, 'rank') ?? 2;
    const words = spatialWords(rank);
    const first = normText(norm, 'kernelLayout')?.startsWith('mult') === true;
    const depthwise = twinTensor(layer, 'depthwise.weight', depthwiseWeight(layer, 'depthwise_kernel', rank));
    const pointwise = twinTensor(
      layer,
      'pointwise.weight',
      first
        ? source('pointwise_kernel')
        : {
            op: 'permute',
            of: source('pointwise_kernel'),
            axes: permutationOf(`${words} in out`, `out in ${words}`),
          },
    );
    const bias = weightOf(layer, 'bias') !== undefined;
    const [outChannels = 0, middle = 0] = pointwise.shape;
    return twin(
      [
        twinModule(`Conv${rank}d`, depthwiseArgs(layer, 'depthwise_kernel', false), 'depthwise'),
        twinModule(
          `Conv${rank}d`,
          {
            in_channels: middle,
            out_channels: outChannels,
            kernel_size: new Array<number>(rank).fill(1),
            bias,
          },
          'pointwise',
        ),
      ],
      bias ? [depthwise, pointwise, twinTensor(layer, 'pointwise.bias', source('bias'))] : [depthwise, pointwise],
    );
  },
};

function depthwiseNorm(attrs: JsonObject, rank: number, version: string, backend: string): NormAttrs {
  const era = convEra(attrs, version);
  const norm = kerasConvolution(attrs, rank, era, version, backend);
  const words = spatialWords(rank);
  const theano = era === 'keras1' && norm['dataFormat'] === 'channels_first';
  return {
    ...norm,
    filters: null,
    multiplier: numberOf(attrs, 'depth_multiplier', 1),
    kernelLayout: theano ? `mult in ${words}` : `${words} in mult`,
    // Keras 1 ran these layers on TensorFlow only.
    flip: norm['flip'] === true,
  };
}

/** Keras never turned these kernels round when it loaded a file of Theano's, so which way they lie is not settled. */
function theanoRefusal(layer: TwinSource): { readonly refused: string } | undefined {
  const wide = (normNumbers(layer.norm, 'kernelSize') ?? []).some((size) => size > 1);
  return layer.norm['flip'] === true && wide
    ? { refused: 'how Theano oriented a depthwise kernel is not settled by the file' }
    : undefined;
}

function produced(norm: NormAttrs, channels: number | null): number | null {
  return channels === null ? null : channels * (normNumber(norm, 'multiplier') ?? 1);
}

function depthwiseShape(norm: NormAttrs, channels: number | null): readonly number[] | null {
  const kernel = normNumbers(norm, 'kernelSize');
  if (kernel === null || channels === null) return null;
  const multiplier = normNumber(norm, 'multiplier') ?? 1;
  return normText(norm, 'kernelLayout')?.startsWith('mult') === true
    ? [multiplier, channels, ...kernel]
    : [...kernel, channels, multiplier];
}

/** Axes of the stored kernel: input channels, multiplier, spatial sizes. */
function depthwiseSizes(layer: TwinSource, role: string): { channels: number; multiplier: number; kernel: number[] } {
  const layout = (normText(layer.norm, 'kernelLayout') ?? '').split(' ');
  const shape = shapeOf(layer, role);
  const at = (word: string): number => shape[layout.indexOf(word)] ?? 0;
  return {
    channels: at('in'),
    multiplier: at('mult'),
    kernel: layout.flatMap((word, axis) => (word === 'in' || word === 'mult' ? [] : [shape[axis] ?? 1])),
  };
}

function depthwiseWeight(layer: TwinSource, role: string, rank: number): Expr {
  const { channels, multiplier, kernel } = depthwiseSizes(layer, role);
  const layout = normText(layer.norm, 'kernelLayout') ?? '';
  const axes = permutationOf(layout, `in mult ${spatialWords(rank)}`);
  return reshaped({ op: 'permute', of: source(role), axes }, [channels * multiplier, 1, ...kernel]);
}

function depthwiseArgs(layer: TwinSource, role: string, bias: boolean): NormAttrs {
  const { channels, multiplier, kernel } = depthwiseSizes(layer, role);
  return {
    in_channels: channels,
    out_channels: channels * multiplier,
    kernel_size: kernel,
    stride: normNumbers(layer.norm, 'strides') ?? kernel.map(() => 1),
    padding: modulePadding(layer.norm),
    dilation: normNumbers(layer.norm, 'dilation') ?? kernel.map(() => 1),
    groups: channels,
    bias,
  };
}
