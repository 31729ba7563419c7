import type { JsonObject } from '../ir/json.ts';
import type { Dialect, NormAttrs, Shape } from '../ir/model.ts';
import { normNumber, normNumbers, numberOf, sampleElements } from './attribute.ts';
import { biasOf, convEra, inputChannels, kerasConvolution, product } from './conv.ts';
import { type Expr, type Family, permutationOf, type Twin, type TwinSource } from './family.ts';
import { variable } from './quantisation.ts';
import { customModule, missing, reshaped, shapeOf, source, twin, twinTensor, weightOf } from './twin.ts';
import { dataFormatOf, slide, spatialAxes, spatialWords } from './window.ts';

/**
 * LocallyConnected1D and 2D (up to tf.keras). Neutral: as conv, and implementation.
 * Twin (implementation 1 only): the custom module LocallyConnected {in_channels, out_channels, kernel_size, stride,
 * output_size}: weight (positions, in·k, out) and bias (positions, out) on the columns that unfold gives, whose order
 * is channels first, then the window.
 */
export const locallyConnected: Family = {
  kind: 'locally_connected',
  types: { keras: ['LocallyConnected1D', 'LocallyConnected2D'] },
  normalise(type: string, attrs: JsonObject, _dialect: Dialect, version: string, backend = ''): NormAttrs {
    const rank = type.endsWith('1D') ? 1 : 2;
    return {
      ...kerasConvolution(attrs, rank, convEra(attrs, version), version, backend),
      implementation: numberOf(attrs, 'implementation', 1),
      kernelLayout: null,
      flip: false,
    };
  },
  variables(norm, inputs) {
    const filters = normNumber(norm, 'filters');
    const input = inputs?.[0];
    const output = positions(norm, input);
    const bias = output === null || filters === null ? null : [...output, filters];
    return [
      variable('kernel', kernelShape(norm, input), ['kernel', 'W']),
      ...biasOf(norm, null).map((entry) => ({ ...entry, shape: bias })),
    ];
  },
  outputs(norm, inputs) {
    const output = slide(norm, inputs[0], normNumber(norm, 'filters') ?? '?');
    return output === null ? null : [output];
  },
  /** Output elements × kernel elements × input channels. */
  macs(norm, inputs, outputs) {
    const kernel = normNumbers(norm, 'kernelSize');
    const channels = inputChannels(norm, inputs[0]);
    const elements = sampleElements(outputs[0]);
    if (kernel === null || channels === null || elements === null) return null;
    return elements * product(kernel) * channels;
  },
  toTorch(layer: TwinSource): Twin {
    const { norm } = layer;
    if (normNumber(norm, 'implementation') !== 1 || norm['padding'] !== 'valid') {
      return { refused: 'only implementation 1 of a locally connected layer has a counterpart in PyTorch' };
    }
    const refusal = missing(layer, 'kernel');
    if (refusal !== undefined) return refusal;
    const kernelSize = normNumbers(norm, 'kernelSize');
    const [places = 0, rows = 0, filters = 0] = shapeOf(layer, 'kernel');
    const output = positions(norm, layer.inputs?.[0]);
    if (kernelSize === null || output === null || product(output) !== places) {
      return { refused: 'its positions cannot be told without the shape of its input' };
    }
    const channels = rows / product(kernelSize);
    const bias = weightOf(layer, 'bias') !== undefined;
    const weight = twinTensor(layer, 'weight', unfolded(norm, [places, ...kernelSize], channels, rows, filters));
    return twin(
      [
        customModule('LocallyConnected', {
          in_channels: channels,
          out_channels: filters,
          kernel_size: kernelSize,
          stride: normNumbers(norm, 'strides') ?? kernelSize.map(() => 1),
          output_size: output,
          bias,
        }),
      ],
      bias ? [weight, twinTensor(layer, 'bias', placedBias(norm, places, filters))] : [weight],
    );
  },
};

/**
 * Keras adds a channels_first bias by rereading its (places, filters) elements as (filters, places), not by turning it;
 * what it computes is kept.
 */
function placedBias(norm: NormAttrs, places: number, filters: number): Expr {
  if (dataFormatOf(norm) === 'channels_last') return reshaped(source('bias'), [places, filters]);
  return {
    op: 'permute',
    of: reshaped(source('bias'), [filters, places]),
    axes: permutationOf('out place', 'place out'),
  };
}

/** Rows from (window, channels), Keras' order for channels_last data, to (channels, window). */
function unfolded(
  norm: NormAttrs,
  placesAndKernel: readonly number[],
  channels: number,
  rows: number,
  filters: number,
): Expr {
  if (dataFormatOf(norm) === 'channels_first') return source('kernel');
  const words = spatialWords(placesAndKernel.length - 1);
  return reshaped(
    {
      op: 'permute',
      of: reshaped(source('kernel'), [...placesAndKernel, channels, filters]),
      axes: permutationOf(`place ${words} in out`, `place in ${words} out`),
    },
    [placesAndKernel[0] ?? 0, rows, filters],
  );
}

/** Sizes of the output's spatial axes; null when one is not known. */
function positions(norm: NormAttrs, input: Shape | undefined): readonly number[] | null {
  const rank = normNumber(norm, 'rank') ?? 2;
  return spatial(slide(norm, input), rank, norm);
}

function spatial(shape: Shape | null | undefined, rank: number, norm: NormAttrs): readonly number[] | null {
  if (shape === null || shape === undefined) return null;
  const sizes: number[] = [];
  for (const axis of spatialAxes(shape.length, rank, dataFormatOf(norm))) {
    const size = shape[axis];
    if (typeof size !== 'number') return null;
    sizes.push(size);
  }
  return sizes;
}

/** tf-keras `locally_connected1d.py`, `locally_connected2d.py`; implementation 3 keeps only the non-zero entries. */
function kernelShape(norm: NormAttrs, input: Shape | undefined): readonly number[] | null {
  const kernel = normNumbers(norm, 'kernelSize');
  const filters = normNumber(norm, 'filters');
  const channels = inputChannels(norm, input);
  const output = positions(norm, input);
  const sizes = spatial(input, kernel?.length ?? 2, norm);
  if (kernel === null || filters === null || channels === null || output === null || sizes === null) return null;
  switch (normNumber(norm, 'implementation')) {
    case 1:
      return [product(output), product(kernel) * channels, filters];
    case 2:
      return dataFormatOf(norm) === 'channels_first'
        ? [channels, ...sizes, filters, ...output]
        : [...sizes, channels, ...output, filters];
    default:
      return null;
  }
}
