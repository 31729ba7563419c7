import type { JsonObject } from '../ir/json.ts';
import type { Kind } from '../ir/kind.ts';
import type { Dialect, Dim, NormAttrs, Shape } from '../ir/model.ts';
import { activationOf } from './activation-function.ts';
import {
  attributeOf,
  booleanOf,
  type Era,
  eraOf,
  isBelow,
  normFlag,
  normNumber,
  numberOf,
  numberOrNull,
  sizesAt,
  stringOf,
} from './attribute.ts';
import type { Family, Variable } from './family.ts';
import { recurrentToKeras } from './recurrent-keras.ts';
import { recurrentToTorch } from './recurrent-torch.ts';

/** Gates per kind, in Keras' order: input, forget, cell, output; update, reset, new. */
export const GATES: Readonly<Record<'rnn' | 'lstm' | 'gru', number>> = { rnn: 1, lstm: 4, gru: 3 };

export type RecurrentKind = keyof typeof GATES;

/**
 * Attributes: units, activation, recurrentActivation (records of activation-function.ts; the latter null for a simple
 * RNN), useBias, resetAfter (GRU), returnSequences, returnState, goBackwards, stateful, zeroOutputForMask, timeMajor,
 * isCell, layout ('keras': three arrays; 'split': Keras 1's arrays per gate; 'cudnn'; 'torch'), and for PyTorch layers,
 * bidirectional, batchFirst, projection, dropout.
 */
function normalise(kind: RecurrentKind, type: string, attrs: JsonObject, dialect: Dialect, version: string): NormAttrs {
  if (dialect !== 'keras') return normaliseOther(kind, type, attrs, dialect);
  const era = eraOf(version);
  const isCudnn = type.startsWith('CuDNN');
  const isV1 = type.endsWith('V1');
  const old = era === 'keras1' || (era === 'keras2' && isBelow(version, '2.3.0')) || isV1;
  return {
    ...UNSET,
    units: numberOrNull(attrs, ['units', 'output_dim']),
    activation: activationOf(isCudnn ? 'tanh' : attrs.get('activation'), era, 'tanh'),
    recurrentActivation:
      kind === 'rnn'
        ? null
        : activationOf(
            isCudnn ? 'sigmoid' : attributeOf(attrs, ['recurrent_activation', 'inner_activation']),
            era,
            old ? 'hard_sigmoid' : 'sigmoid',
          ),
    useBias: booleanOf(attrs, 'use_bias', true),
    resetAfter: kind === 'gru' && (isCudnn || booleanOf(attrs, 'reset_after', resetsAfter(era, isV1))),
    returnSequences: booleanOf(attrs, 'return_sequences', false),
    returnState: booleanOf(attrs, 'return_state', false),
    goBackwards: booleanOf(attrs, 'go_backwards', false),
    stateful: booleanOf(attrs, 'stateful', false),
    zeroOutputForMask: booleanOf(attrs, 'zero_output_for_mask', false),
    timeMajor: booleanOf(attrs, 'time_major', false),
    isCell: type.endsWith('Cell'),
    layout: isCudnn
      ? 'cudnn'
      : era === 'keras1' && kind !== 'rnn' && stringOf(attrs, 'consume_less', 'cpu') !== 'gpu'
        ? 'split'
        : 'keras',
  };
}

/** Multi-backend Keras and TensorFlow 1 reset before the product, unless told otherwise. */
function resetsAfter(era: Era, isV1: boolean): boolean {
  return !isV1 && (era === 'tfkeras' || era === 'keras3');
}

const UNSET: NormAttrs = {
  units: null,
  activation: null,
  recurrentActivation: null,
  useBias: null,
  resetAfter: false,
  returnSequences: false,
  returnState: false,
  goBackwards: false,
  stateful: false,
  zeroOutputForMask: false,
  timeMajor: false,
  isCell: false,
  layout: 'keras',
  layers: null,
  bidirectional: null,
  batchFirst: null,
  projection: null,
  dropout: null,
};

function normaliseOther(kind: RecurrentKind, type: string, attrs: JsonObject, dialect: Dialect): NormAttrs {
  const nonlinearity = stringOf(attrs, 'nonlinearity', 'tanh');
  const flag = (key: string) => (attrs.has(key) ? booleanOf(attrs, key, false) : null);
  return {
    ...UNSET,
    units: numberOrNull(attrs, 'hidden_size'),
    activation: activationOf(kind === 'rnn' ? nonlinearity : 'tanh', 'keras3'),
    recurrentActivation: kind === 'rnn' ? null : activationOf('sigmoid', 'keras3'),
    useBias: flag('bias'),
    // ONNX's linear_before_reset is what PyTorch always does.
    resetAfter: kind === 'gru' && (dialect === 'torch' || numberOf(attrs, 'linear_before_reset', 0) === 1),
    returnSequences: true,
    isCell: type.endsWith('Cell'),
    layout: dialect,
    layers: dialect === 'onnx' ? 1 : numberOrNull(attrs, 'num_layers'),
    bidirectional:
      dialect === 'onnx' ? stringOf(attrs, 'direction', 'forward') === 'bidirectional' : flag('bidirectional'),
    batchFirst: flag('batch_first'),
    projection: numberOrNull(attrs, 'proj_size'),
    dropout: numberOrNull(attrs, 'dropout'),
  };
}

function variables(kind: RecurrentKind, norm: NormAttrs, inputs: readonly Shape[] | null): readonly Variable[] {
  const units = normNumber(norm, 'units');
  const width = sizesAt(inputs?.[0], [-1])?.[0] ?? null;
  const isCudnn = norm['layout'] === 'cudnn';
  const at = normFlag(norm, 'isCell') || isCudnn ? '' : 'cell';
  const gates = GATES[kind];
  const own = (role: string, names: readonly string[], shape: readonly (number | null)[]): Variable => ({
    role,
    class: 'weight',
    at,
    names,
    shape: shape.every((size) => size !== null) ? (shape as readonly number[]) : null,
  });
  if (norm['layout'] === 'split') {
    return (kind === 'lstm' ? ['i', 'c', 'f', 'o'] : ['z', 'r', 'h']).flatMap((gate) => [
      own(`W_${gate}`, [`W_${gate}`], [width, units]),
      own(`U_${gate}`, [`U_${gate}`], [units, units]),
      own(`b_${gate}`, [`b_${gate}`], [units]),
    ]);
  }
  const rows = units === null ? null : gates * units;
  const bias = isCudnn
    ? [rows === null ? null : 2 * rows]
    : kind === 'gru' && normFlag(norm, 'resetAfter')
      ? [2, rows]
      : [rows];
  return [
    own('kernel', ['kernel', 'W'], [width, rows]),
    own('recurrent_kernel', ['recurrent_kernel', 'U'], [units, rows]),
    ...(norm['useBias'] === false ? [] : [own('bias', ['bias', 'b'], bias)]),
  ];
}

/** States that a step hands on: h, and c for an LSTM. */
function stateCount(kind: RecurrentKind): number {
  return kind === 'lstm' ? 2 : 1;
}

function outputs(kind: RecurrentKind, norm: NormAttrs, inputs: readonly Shape[]): readonly Shape[] | null {
  const input = inputs[0];
  const units = normNumber(norm, 'units');
  if (input === undefined || units === null || norm['layers'] !== null) return null;
  const isTimeMajor = normFlag(norm, 'timeMajor');
  const batch: Dim = input[isTimeMajor ? 1 : 0] ?? null;
  const states = new Array<Shape>(stateCount(kind)).fill([batch, units]);
  if (normFlag(norm, 'isCell')) return [[input[0] ?? null, units], ...states];
  const steps: Dim = input[isTimeMajor ? 0 : 1] ?? null;
  const main: Shape = !normFlag(norm, 'returnSequences')
    ? [batch, units]
    : isTimeMajor
      ? [steps, batch, units]
      : [batch, steps, units];
  return normFlag(norm, 'returnState') ? [main, ...states] : [main];
}

/** The two matrix products of each step; what is done element by element is not counted. */
function macs(kind: RecurrentKind, norm: NormAttrs, inputs: readonly Shape[]): number | null {
  const input = inputs[0];
  const units = normNumber(norm, 'units');
  const width = input?.at(-1);
  const steps = normFlag(norm, 'isCell') ? 1 : input?.[normFlag(norm, 'timeMajor') ? 0 : 1];
  if (units === null || typeof width !== 'number' || typeof steps !== 'number') return null;
  return steps * GATES[kind] * units * (width + units);
}

function family(kind: Kind & RecurrentKind, types: Family['types']): Family {
  return {
    kind,
    types,
    normalise: (type, attrs, dialect, version) => normalise(kind, type, attrs, dialect, version),
    variables: (norm, inputs) => variables(kind, norm, inputs),
    outputs: (norm, inputs) => outputs(kind, norm, inputs),
    macs: (norm, inputs) => macs(kind, norm, inputs),
    toTorch: (layer) => recurrentToTorch(layer),
    toKeras: (layer) => recurrentToKeras(layer),
  };
}

export const rnn: Family = family('rnn', {
  keras: ['SimpleRNN', 'SimpleRNNCell'],
  torch: ['RNN', 'RNNCell'],
  onnx: ['RNN'],
});

export const lstm: Family = family('lstm', {
  keras: ['LSTM', 'LSTMCell', 'CuDNNLSTM', 'LSTMV1', 'LSTMV2'],
  torch: ['LSTM', 'LSTMCell'],
  onnx: ['LSTM'],
});

export const gru: Family = family('gru', {
  keras: ['GRU', 'GRUCell', 'CuDNNGRU', 'GRUV1', 'GRUV2'],
  torch: ['GRU', 'GRUCell'],
  onnx: ['GRU'],
});

/** Whether two recurrent layers or cells compute the same, weights apart, so that one module can hold both. */
export function areUniform(left: NormAttrs, right: NormAttrs): boolean {
  return ['units', 'activation', 'recurrentActivation', 'useBias', 'resetAfter', 'layout'].every(
    (name) => JSON.stringify(left[name]) === JSON.stringify(right[name]),
  );
}

/** Kind of a recurrent child; undefined for any other layer. */
export function recurrentKind(kind: Kind): RecurrentKind | undefined {
  return kind === 'rnn' || kind === 'lstm' || kind === 'gru' ? kind : undefined;
}
