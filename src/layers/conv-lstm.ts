import type { Dim, NormAttrs, Shape } from '../ir/model.ts';
import { activationModule, activationOf } from './activation-function.ts';
import {
  attributeOf,
  booleanOf,
  eraOf,
  normFlag,
  normNumber,
  normNumbers,
  normRecord,
  normText,
  numberOf,
  numberOrNull,
  sizesOf,
  stringOf,
} from './attribute.ts';
import type { Expr, Family, Twin, TwinSource } from './family.ts';
import { customModule, missing, shapeOf, source, twin, twinTensor, weightOf } from './twin.ts';

/** Keras' `compute_conv_output_shape` for one axis. */
function convolved(size: Dim, kernel: number, stride: number, dilation: number, padding: string): Dim {
  if (typeof size !== 'number') return size;
  const reach = padding === 'same' ? size : size - (kernel - 1) * dilation;
  return Math.floor((reach - 1) / stride) + 1;
}

/** Spatial axes and channels of one step's output, in the layer's data format. */
function stepShape(norm: NormAttrs, input: Shape): Shape | null {
  const rank = normNumber(norm, 'spatial') ?? 2;
  const filters = normNumber(norm, 'filters');
  const isFirst = norm['dataFormat'] === 'channels_first';
  const spatial = isFirst ? input.slice(3, 3 + rank) : input.slice(2, 2 + rank);
  if (filters === null || spatial.length !== rank) return null;
  const sizes = spatial.map((size, index) =>
    convolved(
      size,
      normNumbers(norm, 'kernelSize')?.[index] ?? 1,
      normNumbers(norm, 'strides')?.[index] ?? 1,
      normNumbers(norm, 'dilation')?.[index] ?? 1,
      normText(norm, 'padding') ?? 'valid',
    ),
  );
  return isFirst ? [filters, ...sizes] : [...sizes, filters];
}

function channelsOf(norm: NormAttrs, input: Shape | undefined): number | null {
  const size = norm['dataFormat'] === 'channels_first' ? input?.[2] : input?.at(-1);
  return typeof size === 'number' ? size : null;
}

function toTorch(layer: TwinSource): Twin {
  const { norm } = layer;
  const absent = missing(layer, 'kernel', 'recurrent_kernel');
  if (absent !== undefined) return absent;
  for (const name of ['activation', 'recurrentActivation']) {
    const record = normRecord(norm, name);
    if (activationModule(record) === undefined) {
      return { refused: `${name} '${String(record['name'] ?? record['function'])}' is not a built-in function` };
    }
  }
  const rank = normNumber(norm, 'spatial') ?? 2;
  // (spatial…, in, 4·filters) to (4·filters, in, spatial…)
  const axes = [rank + 1, rank, ...Array.from({ length: rank }, (_, index) => index)];
  const turn = (role: string): Expr => ({ op: 'permute', of: source(role), axes });
  const hasBias = weightOf(layer, 'bias') !== undefined;
  return twin(
    [
      customModule(`ConvLSTM${rank}d`, {
        in_channels: shapeOf(layer, 'kernel')[rank] ?? null,
        out_channels: normNumber(norm, 'filters'),
        kernel_size: norm['kernelSize'] ?? null,
        stride: norm['strides'] ?? null,
        padding: norm['padding'] ?? 'valid',
        dilation: norm['dilation'] ?? null,
        activation: norm['activation'] ?? null,
        recurrent_activation: norm['recurrentActivation'] ?? null,
        ...(hasBias ? {} : { bias: false }),
      }),
    ],
    [
      twinTensor(layer, 'weight_ih', turn('kernel')),
      twinTensor(layer, 'weight_hh', turn('recurrent_kernel')),
      ...(hasBias ? [twinTensor(layer, 'bias', source('bias'))] : []),
    ],
  );
}

/**
 * Attributes: filters, spatial (1, 2, 3), kernelSize, strides, dilation (a number per axis), padding ('valid', 'same'),
 * dataFormat, activation, recurrentActivation, useBias, returnSequences, returnState, goBackwards, stateful, isCell.
 */
export const convLstm: Family = {
  kind: 'conv_lstm',
  types: { keras: ['ConvLSTM1D', 'ConvLSTM2D', 'ConvLSTM3D', 'ConvLSTM1DCell', 'ConvLSTM2DCell', 'ConvLSTM3DCell'] },
  normalise(type, attrs, _dialect, version) {
    const era = eraOf(version);
    const rank = Number(/([123])D/.exec(type)?.[1] ?? 2);
    const order = stringOf(attrs, 'dim_ordering', '');
    const rows = numberOrNull(attrs, 'nb_row');
    return {
      filters: numberOrNull(attrs, ['filters', 'nb_filter']),
      spatial: rank,
      kernelSize: rows === null ? sizesOf(attrs, 'kernel_size', rank, 1) : [rows, numberOf(attrs, 'nb_col', rows)],
      strides: sizesOf(attrs, ['strides', 'subsample'], rank, 1),
      dilation: sizesOf(attrs, 'dilation_rate', rank, 1),
      padding: stringOf(attrs, ['padding', 'border_mode'], 'valid').toLowerCase(),
      dataFormat: stringOf(attrs, 'data_format', order === 'th' ? 'channels_first' : 'channels_last'),
      activation: activationOf(attrs.get('activation'), era, 'tanh'),
      recurrentActivation: activationOf(
        attributeOf(attrs, ['recurrent_activation', 'inner_activation']),
        era,
        era === 'keras3' ? 'sigmoid' : 'hard_sigmoid',
      ),
      useBias: booleanOf(attrs, 'use_bias', true),
      returnSequences: booleanOf(attrs, 'return_sequences', false),
      returnState: booleanOf(attrs, 'return_state', false),
      goBackwards: booleanOf(attrs, 'go_backwards', false),
      stateful: booleanOf(attrs, 'stateful', false),
      isCell: type.endsWith('Cell'),
    };
  },
  variables(norm, inputs) {
    const filters = normNumber(norm, 'filters');
    const kernel = normNumbers(norm, 'kernelSize');
    const channels = channelsOf(norm, inputs?.[0]);
    const at = normFlag(norm, 'isCell') ? '' : 'cell';
    const shape = (input: number | null): readonly number[] | null =>
      kernel === null || filters === null || input === null ? null : [...kernel, input, 4 * filters];
    return [
      { role: 'kernel', class: 'weight', at, names: ['kernel'], shape: shape(channels) },
      { role: 'recurrent_kernel', class: 'weight', at, names: ['recurrent_kernel'], shape: shape(filters) },
      ...(norm['useBias'] === false
        ? []
        : [
            {
              role: 'bias',
              class: 'weight' as const,
              at,
              names: ['bias'],
              shape: filters === null ? null : [4 * filters],
            },
          ]),
    ];
  },
  outputs(norm, inputs) {
    const input = inputs[0];
    if (input === undefined) return null;
    const batch: Dim = input[0] ?? null;
    const isCell = normFlag(norm, 'isCell');
    const step = stepShape(norm, isCell ? [batch, 1, ...input.slice(1)] : input);
    if (step === null) return null;
    const state: Shape = [batch, ...step];
    if (isCell) return [state, state, state];
    const main: Shape = normFlag(norm, 'returnSequences') ? [batch, input[1] ?? null, ...step] : state;
    return normFlag(norm, 'returnState') ? [main, state, state] : [main];
  },
  // Both convolutions of each step; what is done element by element is not counted.
  macs(norm, inputs) {
    const input = inputs[0];
    const filters = normNumber(norm, 'filters');
    const channels = channelsOf(norm, input);
    const steps = input?.[1];
    const step = input === undefined ? null : stepShape(norm, input);
    if (filters === null || channels === null || typeof steps !== 'number' || step === null) return null;
    let product = steps * 4 * (channels + filters);
    for (const size of [...step, ...(normNumbers(norm, 'kernelSize') ?? [])]) {
      if (typeof size !== 'number') return null;
      product *= size;
    }
    return product;
  },
  toTorch,
};
