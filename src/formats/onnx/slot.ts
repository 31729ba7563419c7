import { familyOf } from '../../ir/dtype.ts';
import type { JsonObject } from '../../ir/json.ts';
import type { Kind } from '../../ir/kind.ts';
import type { NormAttrs, WeightClass } from '../../ir/model.ts';
import { lastAxes } from '../../layers/layer-norm.ts';
import { familyOfKind, familyOfType } from '../../layers/registry.ts';
import { isStandard } from './node.ts';
import type { NodeProto } from './schema.ts';
import type { Known } from './scope.ts';

/** One input of an operator that a weight may come in by. Roles are PyTorch's, so that families know them. */
export interface Slot {
  readonly input: number;
  readonly role: string;
  readonly class: WeightClass;
}

function slots(from: number, ...roles: readonly string[]): readonly Slot[] {
  return roles.map((role, index) => ({ input: from + index, role, class: classOf(role) }));
}

function classOf(role: string): WeightClass {
  return role.startsWith('running_') ? 'statistic' : role.startsWith('initial_') ? 'constant' : 'weight';
}

const RECURRENT: readonly Slot[] = [
  ...slots(1, 'W', 'R', 'B'),
  ...slots(5, 'initial_h', 'initial_c'),
  ...slots(7, 'P'),
];

/** Operators that hold weights, with the inputs that these come in by (the standard's order). */
const SLOTS: ReadonlyMap<string, readonly Slot[]> = new Map([
  ['Conv', slots(1, 'weight', 'bias')],
  ['ConvTranspose', slots(1, 'weight', 'bias')],
  ['Gemm', slots(1, 'weight', 'bias')],
  ['MatMul', slots(1, 'weight')],
  ['BatchNormalization', slots(1, 'weight', 'bias', 'running_mean', 'running_var')],
  ['InstanceNormalization', slots(1, 'weight', 'bias')],
  ['LayerNormalization', slots(1, 'weight', 'bias')],
  ['GroupNormalization', slots(1, 'weight', 'bias')],
  ['RMSNormalization', slots(1, 'weight')],
  ['SimplifiedLayerNormalization', slots(1, 'weight')],
  ['PRelu', slots(1, 'weight')],
  ['Gather', slots(0, 'weight')],
  ['LSTM', RECURRENT],
  ['GRU', RECURRENT],
  ['RNN', RECURRENT],
]);

/** Operators without weights that get a row, as the layers of the frameworks do. */
const ROWS: ReadonlySet<Kind> = new Set<Kind>([
  'activation',
  'avg_pool',
  'dropout',
  'flatten',
  'global_avg_pool',
  'global_max_pool',
  'max_pool',
  'softmax',
]);

/** Normalisations, whose scale and shift ONNX demands even where the module had none. */
export const NORMS: ReadonlySet<Kind> = new Set<Kind>([
  'batch_norm',
  'group_norm',
  'instance_norm',
  'layer_norm',
  'rms_norm',
]);

export interface Recognised {
  readonly kind: Kind;
  readonly slots: readonly Slot[];
}

/**
 * The kind of layer that a node is: an operator with weights whose first weight is a constant that fits it, or one of
 * the operators without weights that have a row. undefined: an operation.
 */
export function recognise(node: NodeProto, known: (input: number) => Known | undefined): Recognised | undefined {
  const op = node.op_type ?? '';
  if (!isStandard(node)) return undefined;
  const own = SLOTS.get(op);
  const kind = op === 'Gather' ? 'embedding' : familyOfType('onnx', op)?.kind;
  if (kind === undefined) return undefined;
  if (own === undefined) return ROWS.has(kind) ? { kind, slots: [] } : undefined;
  const [first] = own;
  const weight = first === undefined ? undefined : known(first.input);
  if (NORMS.has(kind)) return { kind, slots: own };
  if (weight === undefined) return undefined;
  const rank = weight.stored.tensor.shape.length;
  const isFloat = weight.quantisation.length > 0 || familyOf(weight.stored.tensor.dtype) === 'float';
  if (!isFloat) return undefined;
  switch (op) {
    case 'Conv':
    case 'ConvTranspose':
      return rank >= 3 && !weight.transposed ? { kind, slots: own } : undefined;
    case 'Gemm':
    case 'MatMul':
      return rank === 2 ? { kind, slots: own } : undefined;
    case 'Gather':
      return rank === 2 && !weight.transposed && isFirstAxis(node) ? { kind, slots: own } : undefined;
    case 'LSTM':
    case 'GRU':
    case 'RNN':
      return rank === 3 ? { kind, slots: own } : undefined;
    default:
      return { kind, slots: own };
  }
}

function isFirstAxis(node: NodeProto): boolean {
  const axis = node.attribute?.find((attribute) => attribute.name === 'axis')?.i ?? 0;
  return Number(axis) === 0;
}

/** Neutral attributes of a node: the family reads the file's settings, and the weights' shapes fill in what these leave open. */
export function normOf(op: string, kind: Kind, settings: JsonObject, weights: ReadonlyMap<string, Known>): NormAttrs {
  const family = familyOfType('onnx', op) ?? familyOfKind(kind);
  const weight = weights.get('weight');
  const shape = weight?.stored.tensor.shape ?? [];
  const [first = 0, second = 0] = shape;
  const useBias = weights.has('bias');
  switch (kind) {
    case 'conv':
    case 'conv_transpose': {
      const kernelSize = shape.slice(2);
      const told = new Map([['kernel_shape', kernelSize] as const, ...settings]);
      const norm = family?.normalise(op, told, 'onnx', '') ?? {};
      const groups = typeof norm['groups'] === 'number' ? norm['groups'] : 1;
      return kind === 'conv'
        ? { ...norm, kernelSize, filters: first, inChannels: second * groups, useBias }
        : { ...norm, kernelSize, filters: second * groups, inChannels: first, useBias };
    }
    case 'dense': {
      const norm = family?.normalise(op, settings, 'onnx', '') ?? {};
      // (out, in), which transB says of Gemm and a Transpose before it of either.
      const transposed = (norm['transposed'] === true) !== (weight?.transposed === true);
      return {
        ...norm,
        transposed,
        units: transposed ? first : second,
        inFeatures: transposed ? second : first,
        useBias,
      };
    }
    case 'embedding':
      return { vocabulary: first, width: second, paddingIndex: null, maskZero: false };
    case 'lstm':
    case 'gru':
    case 'rnn':
      return recurrentNorm(kind, family?.normalise(op, settings, 'onnx', '') ?? {}, settings, weights);
    default: {
      const norm = family?.normalise(op, settings, 'onnx', '') ?? {};
      if (!NORMS.has(kind)) return norm;
      const axes = norm['axes'] === null && shape.length > 0 ? { axes: lastAxes(shape.length) } : {};
      return { ...norm, ...axes, scale: weight !== undefined, ...(kind === 'rms_norm' ? {} : { center: useBias }) };
    }
  }
}

const USUAL_ACTIVATIONS: Readonly<Record<'lstm' | 'gru' | 'rnn', string>> = {
  lstm: 'Sigmoid,Tanh,Tanh',
  gru: 'Sigmoid,Tanh',
  rnn: 'Tanh',
};

function recurrentNorm(
  kind: 'lstm' | 'gru' | 'rnn',
  norm: NormAttrs,
  settings: JsonObject,
  weights: ReadonlyMap<string, Known>,
): NormAttrs {
  const [directions, , units] = weights.get('R')?.stored.tensor.shape ?? [];
  const told = settings.get('activations');
  const usual = USUAL_ACTIVATIONS[kind];
  const both = directions === 2 ? `${usual},${usual}` : usual;
  // Other functions are left open: their parameters stand in further settings.
  const open = Array.isArray(told) && told.length > 0 && told.join() !== both;
  return {
    ...norm,
    units: units ?? norm['units'] ?? null,
    useBias: weights.has('B'),
    ...(open ? { activation: null, recurrentActivation: null } : {}),
  };
}
