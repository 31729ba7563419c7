import type { Diagnostic } from '../ir/diagnostic.ts';
import type { NormAttrs } from '../ir/model.ts';
import { functionOf } from './activation-function.ts';
import { normFlag, normNumber } from './attribute.ts';
import type { Expr, Twin, TwinModule, TwinSource, TwinTensor } from './family.ts';
import {
  assumed,
  joined,
  missing,
  reorderedBlocks,
  reshaped,
  shapeOf,
  sliced,
  source,
  transposed,
  twin,
  twinModule,
  twinTensor,
  weightOf,
} from './twin.ts';

const WORDS = { rnn: 'SimpleRNN', lstm: 'LSTM', gru: 'GRU' } as const;
const GATES = { rnn: 1, lstm: 4, gru: 3 } as const;

/**
 * A PyTorch recurrent module as Keras layers: one, a Bidirectional (`forward_layer`, `backward_layer`), or a chain of
 * `l0`, `l1` … for several layers. Tensor names use '/' between these parts.
 */
export function recurrentToKeras(layer: TwinSource): Twin {
  const kind = layer.kind === 'lstm' || layer.kind === 'gru' ? layer.kind : 'rnn';
  const { norm } = layer;
  if (norm['layout'] === 'onnx') return onnxToKeras(layer, kind);
  if (layer.weights.some((weight) => weight.role.startsWith('weight_hr_'))) {
    return { refused: 'proj_size (a projected hidden state) has no layer in Keras' };
  }
  const isCell = normFlag(norm, 'isCell') || weightOf(layer, 'weight_ih') !== undefined;
  const levels = isCell ? [''] : levelsOf(layer);
  if (levels.length === 0) return { refused: 'the file holds no weight_ih for this layer' };
  const isBidirectional = weightOf(layer, 'weight_ih_l0_reverse') !== undefined;
  const suffixes = isBidirectional ? levels.flatMap((level) => [level, `${level}_reverse`]) : levels;
  const misfit = misfitOf(layer, GATES[kind], suffixes);
  if (misfit !== undefined) return misfit;
  const modules: TwinModule[] = [];
  const tensors: TwinTensor[] = [];
  const diagnostics: Diagnostic[] = [];
  if (!isCell && norm['batchFirst'] === null) diagnostics.push(assumed(layer, 'batch_first', true));
  for (const [index, suffix] of levels.entries()) {
    const name = levels.length > 1 ? `l${index}` : '';
    const units = shapeOf(layer, `weight_hh${suffix}`)[1] ?? normNumber(norm, 'units') ?? 0;
    const own: NormAttrs = {
      units,
      activation: kind === 'rnn' && functionOf(norm, 'activation') === 'relu' ? 'relu' : 'tanh',
      ...(kind === 'rnn' ? {} : { recurrent_activation: 'sigmoid' }),
      use_bias: weightOf(layer, `bias_ih${suffix}`) !== undefined,
      ...(kind === 'gru' ? { reset_after: true } : {}),
    };
    const type = isCell ? `${WORDS[kind]}Cell` : WORDS[kind];
    const args = isCell ? own : { ...own, return_sequences: true };
    const below = (part: string) => (name === '' ? part : `${name}/${part}`);
    if (isBidirectional) {
      modules.push(twinModule('Bidirectional', { merge_mode: 'concat' }, name));
      modules.push(twinModule(type, args, below('forward_layer')));
      modules.push(twinModule(type, { ...args, go_backwards: true }, below('backward_layer')));
      tensors.push(...kerasTensors(layer, kind, suffix, `${below('forward_layer')}/`));
      tensors.push(...kerasTensors(layer, kind, `${suffix}_reverse`, `${below('backward_layer')}/`));
    } else {
      modules.push(twinModule(type, args, name));
      tensors.push(...kerasTensors(layer, kind, suffix, name === '' ? '' : `${name}/`));
    }
  }
  return twin(modules, tensors, diagnostics);
}

/** The refusal when arrays are missing or of shapes that no such module has. */
function misfitOf(
  layer: TwinSource,
  gates: number,
  suffixes: readonly string[],
): { readonly refused: string } | undefined {
  for (const suffix of suffixes) {
    const hasBias = weightOf(layer, `bias_ih${suffix}`) !== undefined;
    const absent = missing(layer, `weight_ih${suffix}`, `weight_hh${suffix}`, ...(hasBias ? [`bias_hh${suffix}`] : []));
    if (absent !== undefined) return absent;
    const [rows = 0] = shapeOf(layer, `weight_ih${suffix}`);
    const [hiddenRows, units = 0] = shapeOf(layer, `weight_hh${suffix}`);
    if (hiddenRows !== rows || rows !== gates * units) {
      return { refused: `weight_ih${suffix} and weight_hh${suffix} do not fit each other` };
    }
  }
  return undefined;
}

/** '_l0', '_l1' … as far as the weights go. */
function levelsOf(layer: TwinSource): readonly string[] {
  const levels: string[] = [];
  while (weightOf(layer, `weight_ih_l${levels.length}`) !== undefined) levels.push(`_l${levels.length}`);
  return levels;
}

function kerasTensors(
  layer: TwinSource,
  kind: 'rnn' | 'lstm' | 'gru',
  suffix: string,
  prefix: string,
): readonly TwinTensor[] {
  const rows = shapeOf(layer, `weight_ih${suffix}`)[0] ?? 0;
  const units = rows / GATES[kind];
  // PyTorch r, z, n; Keras z, r, h.
  const arrange = (of: Expr): Expr => (kind === 'gru' ? reorderedBlocks(of, 0, units, [1, 0, 2]) : of);
  const tensors = [
    twinTensor(layer, `${prefix}kernel`, transposed(arrange(source(`weight_ih${suffix}`)))),
    twinTensor(layer, `${prefix}recurrent_kernel`, transposed(arrange(source(`weight_hh${suffix}`)))),
  ];
  if (weightOf(layer, `bias_ih${suffix}`) === undefined) return tensors;
  const [input, hidden] = [source(`bias_ih${suffix}`), source(`bias_hh${suffix}`)];
  const bias: Expr =
    kind === 'gru'
      ? joined([reshaped(arrange(input), [1, rows]), reshaped(arrange(hidden), [1, rows])], 0)
      : { op: 'compute', name: 'add', of: [input, hidden], args: {} };
  return [...tensors, twinTensor(layer, `${prefix}bias`, bias)];
}

/** Where each of Keras' gates stands in ONNX: i o f c for Keras' i f c o; z r h as Keras has them. */
const ONNX_ORDER = { rnn: [0], lstm: [0, 2, 3, 1], gru: [0, 1, 2] } as const;

/**
 * A recurrent operator of ONNX: W (directions, gates · units, inputs), R (directions, gates · units, units), B
 * (directions, 2 · gates · units: the input's bias, then the state's). Two directions are a Bidirectional.
 */
function onnxToKeras(layer: TwinSource, kind: 'rnn' | 'lstm' | 'gru'): Twin {
  const { norm } = layer;
  const absent = missing(layer, 'W', 'R');
  if (absent !== undefined) return absent;
  if (weightOf(layer, 'P') !== undefined) return { refused: 'peepholes have no layer in Keras' };
  if (norm['activation'] === null) return { refused: 'activations other than the usual ones are not converted' };
  const [directions = 0, rows = 0, width = 0] = shapeOf(layer, 'W');
  const [others, hiddenRows, units = 0] = shapeOf(layer, 'R');
  const hasBias = weightOf(layer, 'B') !== undefined;
  const fits = others === directions && hiddenRows === rows && rows === GATES[kind] * units;
  const [biasDirections, biases] = shapeOf(layer, 'B');
  if (!fits || directions > 2 || (hasBias && (biasDirections !== directions || biases !== 2 * rows))) {
    return { refused: 'W, R and B do not fit each other' };
  }
  const resetAfter = norm['resetAfter'] === true;
  const args: NormAttrs = {
    units,
    activation: kind === 'rnn' && functionOf(norm, 'activation') === 'relu' ? 'relu' : 'tanh',
    ...(kind === 'rnn' ? {} : { recurrent_activation: 'sigmoid' }),
    use_bias: hasBias,
    ...(kind === 'gru' ? { reset_after: resetAfter } : {}),
    return_sequences: true,
  };
  const type = WORDS[kind];
  const one = (direction: number, prefix: string): readonly TwinTensor[] => {
    const part = (role: string, shape: readonly number[]): Expr =>
      reshaped(directions === 1 ? source(role) : sliced(source(role), 0, direction, direction + 1), shape);
    const arrange = (of: Expr): Expr => reorderedBlocks(of, 0, units, ONNX_ORDER[kind]);
    const tensors = [
      twinTensor(layer, `${prefix}kernel`, transposed(arrange(part('W', [rows, width])))),
      twinTensor(layer, `${prefix}recurrent_kernel`, transposed(arrange(part('R', [rows, units])))),
    ];
    if (!hasBias) return tensors;
    const both = part('B', [2 * rows]);
    const input = arrange(sliced(both, 0, 0, rows));
    const hidden = arrange(sliced(both, 0, rows, 2 * rows));
    const bias: Expr =
      kind === 'gru' && resetAfter
        ? joined([reshaped(input, [1, rows]), reshaped(hidden, [1, rows])], 0)
        : { op: 'compute', name: 'add', of: [input, hidden], args: {} };
    return [...tensors, twinTensor(layer, `${prefix}bias`, bias)];
  };
  if (directions === 1) return twin([twinModule(type, args)], one(0, ''));
  return twin(
    [
      twinModule('Bidirectional', { merge_mode: 'concat' }),
      twinModule(type, args, 'forward_layer'),
      twinModule(type, { ...args, go_backwards: true }, 'backward_layer'),
    ],
    [...one(0, 'forward_layer/'), ...one(1, 'backward_layer/')],
  );
}
