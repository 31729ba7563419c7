import type { NormAttrs } from '../../ir/model.ts';
import { activationRefusal } from '../../layers/activation-function.ts';
import { normNumber } from '../../layers/attribute.ts';
import { type Emit, type Emitted, literal } from './context.ts';
import type { Ref } from './lowered.ts';

const FUNCTIONS: ReadonlyMap<string, string> = new Map([
  ['selu', 'F.selu'],
  ['silu', 'F.silu'],
  ['mish', 'F.mish'],
  ['softsign', 'F.softsign'],
  ['tanh', 'torch.tanh'],
  ['sigmoid', 'torch.sigmoid'],
  ['hard_silu', 'F.hardswish'],
  ['log_sigmoid', 'F.logsigmoid'],
  ['tanh_shrink', 'F.tanhshrink'],
  ['exponential', 'torch.exp'],
]);

/** Axes of an activation in Keras' counting: one, several, or null where it is element-wise. */
function axesOf(norm: NormAttrs): readonly number[] | null {
  switch (norm['function']) {
    case 'softmax':
    case 'log_softmax':
    case 'softmin':
    case 'glu': {
      const { axis } = norm;
      if (typeof axis === 'number') return [axis];
      return Array.isArray(axis) && axis.every((item) => typeof item === 'number') ? (axis as number[]) : [-1];
    }
    default:
      return null;
  }
}

/** The activation as a Python expression of `x`; `dims` are the torch axes of axesOf. */
function expressionOf(emit: Emit, norm: NormAttrs, x: string, dims: readonly number[]): string {
  const number = (key: string, otherwise: number): number => normNumber(norm, key) ?? otherwise;
  const plain = FUNCTIONS.get(String(norm['function']));
  if (plain !== undefined) return `${plain}(${x})`;
  switch (norm['function']) {
    case 'relu':
      return reluOf(norm, x);
    case 'leaky_relu':
      return `F.leaky_relu(${x}, ${literal(number('slope', 0.2))})`;
    case 'elu':
      return number('alpha', 1) === 1 ? `F.elu(${x})` : `F.elu(${x}, ${literal(number('alpha', 1))})`;
    case 'celu':
      return number('alpha', 1) === 1 ? `F.celu(${x})` : `F.celu(${x}, ${literal(number('alpha', 1))})`;
    case 'gelu':
      return norm['approximate'] === true ? `F.gelu(${x}, approximate="tanh")` : `F.gelu(${x})`;
    case 'softplus': {
      const beta = number('beta', 1);
      const threshold = number('threshold', 20);
      return beta === 1 && threshold === 20
        ? `F.softplus(${x})`
        : `F.softplus(${x}, beta=${literal(beta)}, threshold=${literal(threshold)})`;
    }
    case 'hard_sigmoid': {
      const slope = number('slope', 1 / 6);
      const offset = number('offset', 0.5);
      if (slope === 1 / 6 && offset === 0.5) return `F.hardsigmoid(${x})`;
      return `torch.clamp(${literal(slope)} * ${x} + ${literal(offset)}, 0, 1)`;
    }
    case 'hard_tanh':
      return `F.hardtanh(${x}, ${literal(number('min', -1))}, ${literal(number('max', 1))})`;
    case 'hard_shrink':
      return `F.hardshrink(${x}, ${literal(number('threshold', 0.5))})`;
    case 'soft_shrink':
      return `F.softshrink(${x}, ${literal(number('threshold', 0.5))})`;
    case 'threshold':
      return `F.threshold(${x}, ${literal(number('threshold', 0))}, ${literal(number('value', 0))})`;
    case 'softmax':
      if (dims.length > 1)
        return `${emit.helper('joint_softmax')}(${x}, dims=${literal([...dims].sort((a, b) => a - b))})`;
      return `F.softmax(${x}, dim=${dims[0] ?? -1})`;
    case 'softmin':
      return `F.softmin(${x}, dim=${dims[0] ?? -1})`;
    case 'log_softmax':
      return `F.log_softmax(${x}, dim=${dims[0] ?? -1})`;
    case 'glu':
      return `F.glu(${x}, dim=${dims[0] ?? -1})`;
    case 'squareplus':
      return `(${x} + torch.sqrt(${x} * ${x} + ${literal(number('b', 4))})) / 2`;
    case 'sparse_plus':
      return `torch.where(${x} <= -1, 0.0, torch.where(${x} < 1, (${x} + 1) ** 2 / 4, ${x}))`;
    case 'sparse_sigmoid':
      return `torch.clamp((${x} + 1) / 2, 0, 1)`;
    default:
      return emit.refuse(activationRefusal(norm));
  }
}

function reluOf(norm: NormAttrs, x: string): string {
  const maxValue = normNumber(norm, 'maxValue');
  const slope = normNumber(norm, 'slope') ?? 0;
  const threshold = normNumber(norm, 'threshold') ?? 0;
  if (slope === 0 && threshold === 0) {
    if (maxValue === null) return `F.relu(${x})`;
    return maxValue === 6 ? `F.relu6(${x})` : `torch.clamp(${x}, 0, ${literal(maxValue)})`;
  }
  if (threshold === 0 && maxValue === null) return `F.leaky_relu(${x}, ${literal(slope)})`;
  if (slope === 0 && maxValue === null) return `F.threshold(${x}, ${literal(threshold)}, 0)`;
  const above = maxValue === null ? x : `torch.clamp(${x}, max=${literal(maxValue)})`;
  return `torch.where(${x} > ${literal(threshold)}, ${above}, ${literal(slope)} * (${x} - ${literal(threshold)}))`;
}

/** Applies an activation to a value, whatever its layout; linear emits nothing. */
export function activate(emit: Emit, ref: Ref, value: NormAttrs[string] | undefined): Ref {
  if (value === null || value === undefined || typeof value !== 'object' || Array.isArray(value)) return ref;
  const norm = value as NormAttrs;
  if (norm['function'] === 'linear' || norm['function'] === undefined) return ref;
  const axes = axesOf(norm);
  if (axes === null) return emit.line(expressionOf(emit, norm, ref.name, []), ref);
  // Over an axis, features must stand in Keras' order only where the axis is cut (glu); softmax over all of them need not.
  const rank = ref.axes.length;
  const wrapped = axes.map((axis) => (axis < 0 ? axis + rank : axis));
  const ordered = norm['function'] === 'glu' ? emit.plain(ref) : ref;
  const dims = wrapped.map((axis) => ordered.axes.indexOf(axis));
  const shape =
    norm['function'] === 'glu'
      ? (ref.shape?.map((size, axis) => (axis === wrapped[0] && typeof size === 'number' ? size / 2 : size)) ?? null)
      : ref.shape;
  return emit.line(expressionOf(emit, norm, ordered.name, dims), { ...ordered, shape });
}

export function emitActivation(emit: Emit): Emitted {
  const ref = emit.inputs[0] as Ref;
  if (emit.layer.kind === 'softmax' && ref.mask !== undefined) return emit.refuse('a mask reaches it');
  if (emit.norm['function'] === 'softmax' && emit.inputs.length > 1) return emit.refuse('Softmax with a mask input');
  return [activate(emit, ref, emit.norm)];
}
