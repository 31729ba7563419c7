import type { Diagnostic } from '../ir/diagnostic.ts';
import type { NormAttrs } from '../ir/model.ts';
import { activationModule, functionOf } from './activation-function.ts';
import { normFlag, normRecord } from './attribute.ts';
import type { Expr, Twin, TwinModule, TwinSource, TwinTensor } from './family.ts';
import {
  assumed,
  customModule,
  dtypeOf,
  exprShape,
  filled,
  filledNote,
  joined,
  missing,
  reorderedBlocks,
  reshaped,
  sliced,
  source,
  transposed,
  twin,
  twinModule,
  twinTensor,
  weightOf,
} from './twin.ts';

/** A parameter of a one-layer recurrent module, without the `_l0` that says which layer. */
export interface RecurrentTensor {
  readonly stem: 'weight_ih' | 'weight_hh' | 'bias_ih' | 'bias_hh' | 'bias';
  readonly from: Expr;
  readonly isFilled: boolean;
}

/** One direction of one layer, ready to be put into a module of one or many. */
export interface RecurrentPart {
  readonly type: 'RNN' | 'LSTM' | 'GRU' | 'KerasRNN' | 'KerasLSTM' | 'KerasGRU';
  readonly isCustom: boolean;
  readonly inputSize: number;
  readonly units: number;
  readonly hasBias: boolean;
  /** Constructor arguments beyond sizes and bias. */
  readonly args: NormAttrs;
  readonly tensors: readonly RecurrentTensor[];
}

/** New place ← old place of the GRU's gates: Keras z, r, h; PyTorch r, z, n. */
const GRU_ORDER = [1, 0, 2] as const;

const WORDS = { rnn: 'RNN', lstm: 'LSTM', gru: 'GRU' } as const;

/** What one Keras recurrent layer or cell holds, in PyTorch's arrangement. */
export function recurrentPart(layer: TwinSource): RecurrentPart | { readonly refused: string } {
  const kind = layer.kind === 'lstm' || layer.kind === 'gru' ? layer.kind : 'rnn';
  const { norm } = layer;
  const isSplit = weightOf(layer, 'W_i') !== undefined || weightOf(layer, 'W_z') !== undefined;
  const isCudnn = norm['layout'] === 'cudnn';
  const gates = kind === 'lstm' ? ['i', 'f', 'c', 'o'] : ['z', 'r', 'h'];
  const needed = isSplit
    ? gates.flatMap((gate) => [`W_${gate}`, `U_${gate}`, `b_${gate}`])
    : ['kernel', 'recurrent_kernel'];
  const absent = missing(layer, ...needed);
  if (absent !== undefined) return absent;
  const isBuiltIn = hasModule(kind, norm);
  for (const name of ['activation', 'recurrentActivation']) {
    const record = normRecord(norm, name);
    if (norm[name] !== null && activationModule(record) === undefined) {
      return { refused: `${name} '${String(record['name'] ?? record['function'])}' is not a built-in function` };
    }
  }
  const all = (letter: string, axis: number): Expr =>
    joined(
      gates.map((gate) => source(`${letter}_${gate}`)),
      axis,
    );
  const kernel = isSplit ? all('W', 1) : source('kernel');
  const recurrent = isSplit ? all('U', 1) : source('recurrent_kernel');
  const [inputSize = 0, rows = 0] = exprShape(layer, kernel);
  const count = kind === 'rnn' ? 1 : gates.length;
  const units = rows / count;
  const [recurrentUnits, recurrentRows] = exprShape(layer, recurrent);
  if (!Number.isInteger(units) || recurrentUnits !== units || recurrentRows !== rows) {
    return { refused: 'kernel and recurrent_kernel do not fit each other' };
  }
  // Custom modules keep Keras' order of gates.
  const order = kind === 'gru' && isBuiltIn ? GRU_ORDER : Array.from({ length: count }, (_, index) => index);
  const arrange = (of: Expr) => reorderedBlocks(of, 0, units, order);
  const tensors: RecurrentTensor[] = [
    {
      stem: 'weight_ih',
      from: isCudnn ? reread(kernel, units, [units, inputSize], order) : arrange(transposed(kernel)),
      isFilled: false,
    },
    {
      stem: 'weight_hh',
      from: isCudnn ? reread(recurrent, units, null, order) : arrange(transposed(recurrent)),
      isFilled: false,
    },
  ];
  const hasBias = isSplit || weightOf(layer, 'bias') !== undefined;
  if (hasBias) tensors.push(...biases(layer, isSplit ? all('b', 0) : source('bias'), rows, isBuiltIn, arrange));
  return {
    type: isBuiltIn ? WORDS[kind] : (`Keras${WORDS[kind]}` as const),
    isCustom: !isBuiltIn,
    inputSize,
    units,
    hasBias,
    args: isBuiltIn
      ? kind === 'rnn' && functionOf(norm, 'activation') === 'relu'
        ? { nonlinearity: 'relu' }
        : {}
      : {
          activation: norm['activation'] ?? null,
          ...(kind === 'rnn' ? {} : { recurrent_activation: norm['recurrentActivation'] ?? null }),
          ...(kind === 'gru' ? { reset_after: normFlag(norm, 'resetAfter') } : {}),
        },
    tensors,
  };
}

function hasModule(kind: 'rnn' | 'lstm' | 'gru', norm: NormAttrs): boolean {
  const activation = normRecord(norm, 'activation');
  const word = functionOf(norm, 'activation');
  if (kind === 'rnn') {
    const isPlainRelu =
      word === 'relu' && activation['maxValue'] === null && activation['slope'] === 0 && activation['threshold'] === 0;
    return word === 'tanh' || isPlainRelu;
  }
  if (word !== 'tanh' || functionOf(norm, 'recurrentActivation') !== 'sigmoid') return false;
  return kind === 'lstm' || normFlag(norm, 'resetAfter');
}

/**
 * CuDNN's own arrangement: the memory of each gate's block is a (units, inputs) matrix already; `shape` null keeps the
 * square block as it is.
 */
function reread(of: Expr, units: number, shape: readonly number[] | null, order: readonly number[]): Expr {
  const blocks = order.map((gate) => {
    const block = sliced(of, 1, gate * units, (gate + 1) * units);
    return shape === null ? block : reshaped(block, shape);
  });
  return joined(blocks, 0);
}

/** One Keras bias feeds bias_ih, with zeros beside it; two rows (or CuDNN's two halves) feed both. */
function biases(
  layer: TwinSource,
  bias: Expr,
  rows: number,
  isBuiltIn: boolean,
  arrange: (of: Expr) => Expr,
): readonly RecurrentTensor[] {
  const shape = exprShape(layer, bias);
  const tensor = (stem: RecurrentTensor['stem'], from: Expr, isFilled = false): RecurrentTensor => ({
    stem,
    from,
    isFilled,
  });
  if (shape.length === 2 || shape[0] === 2 * rows) {
    const row = (index: number): Expr =>
      shape.length === 2
        ? reshaped(sliced(bias, 0, index, index + 1), [rows])
        : sliced(bias, 0, index * rows, (index + 1) * rows);
    return [tensor('bias_ih', arrange(row(0))), tensor('bias_hh', arrange(row(1)))];
  }
  if (!isBuiltIn) return [tensor('bias', bias)];
  return [tensor('bias_ih', arrange(bias)), tensor('bias_hh', filled(0, [rows], dtypeOf(layer)), true)];
}

/** Twin of a layer with one part per layer and direction: `parts[layer][direction]`. */
export function recurrentTwin(
  owner: TwinSource,
  parts: readonly (readonly RecurrentPart[])[],
  name = '',
  diagnostics: readonly Diagnostic[] = [],
): Twin {
  const first = parts[0]?.[0];
  if (first === undefined) return { refused: 'there is no recurrent layer inside' };
  const isBidirectional = (parts[0]?.length ?? 1) > 1;
  const prefix = name === '' ? '' : `${name}.`;
  const isTimeMajor = normFlag(owner.norm, 'timeMajor');
  if (first.isCustom && isTimeMajor) return { refused: 'time_major together with a cell that PyTorch does not have' };
  if (first.isCustom) return customTwin(owner, parts, prefix, name, diagnostics);
  const notes: Diagnostic[] = [...diagnostics];
  const tensors: TwinTensor[] = [];
  for (const [level, directions] of parts.entries()) {
    for (const [direction, part] of directions.entries()) {
      for (const { stem, from, isFilled } of part.tensors) {
        const key = `${prefix}${stem}_l${level}${direction === 0 ? '' : '_reverse'}`;
        tensors.push(twinTensor(owner, key, from, isFilled ? { trainable: false } : {}));
        if (isFilled) notes.push(filledNote(owner, key, 0));
      }
    }
  }
  const args: NormAttrs = {
    input_size: first.inputSize,
    hidden_size: first.units,
    ...(parts.length > 1 ? { num_layers: parts.length } : {}),
    ...first.args,
    ...(first.hasBias ? {} : { bias: false }),
    batch_first: !isTimeMajor,
    ...(isBidirectional ? { bidirectional: true } : {}),
  };
  return twin([twinModule(first.type, args, name)], tensors, notes);
}

function customTwin(
  owner: TwinSource,
  parts: readonly (readonly RecurrentPart[])[],
  prefix: string,
  name: string,
  diagnostics: readonly Diagnostic[],
): Twin {
  const modules: TwinModule[] = [];
  const tensors: TwinTensor[] = [];
  const single = parts.length === 1 && parts[0]?.length === 1;
  if (!single) modules.push(customModule(parts.length > 1 ? 'RecurrentChain' : 'BidirectionalPair', {}, name));
  for (const [level, directions] of parts.entries()) {
    for (const [direction, part] of directions.entries()) {
      const place = single
        ? ''
        : [
            ...(parts.length > 1 ? [String(level)] : []),
            ...(directions.length > 1 ? [direction === 0 ? 'forward_layer' : 'backward_layer'] : []),
          ].join('.');
      const path = place === '' ? name : `${prefix}${place}`;
      modules.push(
        customModule(
          part.type,
          {
            input_size: part.inputSize,
            hidden_size: part.units,
            ...part.args,
            ...(part.hasBias ? {} : { bias: false }),
          },
          path,
        ),
      );
      const lead = path === '' ? '' : `${path}.`;
      for (const { stem, from } of part.tensors) tensors.push(twinTensor(owner, `${lead}${stem}`, from));
    }
  }
  return twin(modules, tensors, diagnostics);
}

/** A part seen from a wrapper: its sources are those of the child at this path. */
export function partOfChild(part: RecurrentPart, path: readonly number[]): RecurrentPart {
  return { ...part, tensors: part.tensors.map((tensor) => ({ ...tensor, from: below(tensor.from, path) })) };
}

function below(expr: Expr, path: readonly number[]): Expr {
  switch (expr.op) {
    case 'source':
      return { ...expr, child: [...path, ...(expr.child ?? [])] };
    case 'fill':
      return expr;
    case 'concat':
    case 'compute':
      return { ...expr, of: expr.of.map((part) => below(part, path)) };
    default:
      return { ...expr, of: below(expr.of, path) };
  }
}

/** A Keras LSTM, GRU, SimpleRNN or cell. */
export function recurrentToTorch(layer: TwinSource): Twin {
  const part = recurrentPart(layer);
  if ('refused' in part) return part;
  const notes = maskNotes(layer);
  if (!normFlag(layer.norm, 'isCell')) return recurrentTwin(layer, [[part]], '', notes);
  if (part.isCustom) return { refused: 'a cell by itself with activations that PyTorch’s cells do not have' };
  return twin(
    [
      twinModule(`${part.type}Cell`, {
        input_size: part.inputSize,
        hidden_size: part.units,
        ...part.args,
        ...(part.hasBias ? {} : { bias: false }),
      }),
    ],
    part.tensors.map(({ stem, from, isFilled }) => twinTensor(layer, stem, from, isFilled ? { trainable: false } : {})),
    notes,
  );
}

function maskNotes(layer: TwinSource): readonly Diagnostic[] {
  return normFlag(layer.norm, 'stateful') ? [assumed(layer, 'stateful', 'the caller hands the state on')] : [];
}
