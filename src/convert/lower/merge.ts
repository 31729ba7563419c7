import { normNumber, normNumbers } from '../../layers/attribute.ts';
import { type Emit, type Emitted, literal, plainAxes, sameAxes, sameOrder } from './context.ts';
import type { FeatureOrder, Ref } from './lowered.ts';
import { AMBIGUOUS, releaseOf, UNKNOWN_MASK } from './mask.ts';

/** All inputs in one layout: the first one that is not Keras' own wins, so that the fewest permutes are written. */
export function together(emit: Emit, inputs: readonly Ref[] = emit.inputs): readonly Ref[] {
  const ranks = new Set(inputs.map((ref) => ref.axes.length));
  if (ranks.size > 1) return inputs.map((ref) => emit.keras(ref));
  const rank = inputs[0]?.axes.length ?? 0;
  const plain = plainAxes(rank);
  const axes = inputs.find((ref) => !sameAxes(ref.axes, plain))?.axes ?? plain;
  const orders = inputs.map((ref) => ref.features);
  const alike = orders.every((order) => sameOrder(order, orders[0] ?? null));
  return inputs.map((ref) => emit.arrange(alike ? ref : emit.plain(ref), axes));
}

/** Keras lines ranks up by putting axes of length one behind the batch axis. */
function lifted(emit: Emit, ref: Ref, rank: number): Ref {
  const missing = rank - ref.axes.length;
  if (missing <= 0) return ref;
  const index = [':', ...Array.from({ length: missing }, () => 'None')].join(', ');
  return emit.line(`${ref.name}[${index}]`, { shape: null, axes: plainAxes(rank) });
}

/** Kinds in whose results masked steps are left out by Keras 3. */
const MASKED_MERGES: ReadonlyMap<string, string> = new Map([
  ['multiply', 'masked_product'],
  ['maximum', 'masked_extreme'],
  ['minimum', 'masked_extreme'],
]);

/** Multiply, Maximum and Minimum of Keras 3 where a mask reaches them. */
function emitMasked(emit: Emit, helper: string): Emitted {
  const refs = emit.inputs.map((ref) => emit.keras(ref));
  if (refs.some((ref) => ref.axes.length !== 3)) return emit.refuse('a mask reaches it on data without steps');
  if (refs.some((ref) => ref.mask === UNKNOWN_MASK)) return emit.refuse(AMBIGUOUS);
  emit.note('ASSUMED', { what: 'masked steps', assumed: 'that they are left out, as current releases of Keras 3 do' });
  const values = `[${refs.map((ref) => ref.name).join(', ')}]`;
  const masks = `[${refs.map((ref) => ref.mask ?? 'None').join(', ')}]`;
  const lead = emit.layer.kind === 'multiply' ? '' : `torch.${emit.layer.kind}, `;
  const shape = emit.outputShapes[0] ?? null;
  const expr = `${emit.helper(helper)}(${lead}${values}, ${masks})`;
  return [emit.line(expr, { shape, axes: plainAxes(3) }, 'Keras leaves masked steps out.')];
}

export function emitElementwise(emit: Emit): Emitted {
  const masked = MASKED_MERGES.get(emit.layer.kind);
  const isModern = releaseOf(emit.model) !== 'keras2';
  if (masked !== undefined && isModern && emit.inputs.some((ref) => ref.mask !== undefined)) {
    return emitMasked(emit, masked);
  }
  const rank = Math.max(...emit.inputs.map((ref) => ref.axes.length));
  const refs = together(emit).map((ref) => lifted(emit, ref, rank));
  const names = refs.map((ref) => ref.name);
  const first = refs[0] as Ref;
  const result = { ...first, shape: emit.outputShapes[0] ?? first.shape };
  switch (emit.layer.kind) {
    case 'add': {
      // InceptionResNetV2 scales its second input.
      const scale = normNumber(emit.norm, 'scale') ?? 1;
      const [left = '', ...others] = names;
      const right = others.map((name) => (scale === 1 ? name : `${literal(scale)} * ${name}`));
      return [emit.line([left, ...right].join(' + '), result)];
    }
    case 'subtract':
      return [emit.line(names.join(' - '), result)];
    case 'multiply':
      return [emit.line(names.join(' * '), result)];
    case 'average':
      return [emit.line(`(${names.join(' + ')}) / ${names.length}`, result)];
    default: {
      const name = emit.layer.kind === 'maximum' ? 'torch.maximum' : 'torch.minimum';
      const expr = names.slice(1).reduce((sum, next) => `${name}(${sum}, ${next})`, names[0] ?? '');
      return [emit.line(expr, result)];
    }
  }
}

function orderOf(ref: Ref): FeatureOrder | null {
  if (ref.features !== null) return ref.features;
  const size = ref.shape?.at(-1);
  return typeof size === 'number' ? [{ dims: [size], order: [0] }] : null;
}

export function emitConcatenate(emit: Emit): Emitted {
  const first = emit.inputs[0] as Ref;
  const rank = first.axes.length;
  const told = normNumber(emit.norm, 'axis') ?? -1;
  const axis = told < 0 ? told + rank : told;
  const shape = emit.outputShapes[0] ?? null;
  if (emit.inputs.length === 1) return [first];
  // Flattened branches side by side: the orders stand side by side too.
  if (rank === 2 && axis === 1 && emit.inputs.some((ref) => ref.features !== null)) {
    const orders = emit.inputs.map(orderOf);
    if (orders.every((order) => order !== null)) {
      const features = orders.flatMap((order) => order ?? []);
      const names = emit.inputs.map((ref) => ref.name).join(', ');
      return [emit.line(`torch.cat([${names}], dim=1)`, { shape, axes: first.axes, features })];
    }
  }
  const refs = together(
    emit,
    emit.inputs.map((ref) => emit.plain(ref)),
  );
  const axes = refs[0]?.axes ?? first.axes;
  const expr = `torch.cat([${refs.map((ref) => ref.name).join(', ')}], dim=${axes.indexOf(axis)})`;
  return [emit.line(expr, { shape, axes })];
}

/** Dot over one axis of each input, cosine similarity where normalised. */
export function emitDot(emit: Emit): Emitted {
  const [left, right] = emit.inputs.map((ref) => emit.keras(ref));
  if (left === undefined || right === undefined) return emit.refuse('Dot needs two inputs');
  const axes = normNumbers(emit.norm, 'axes') ?? [-1];
  const wrap = (axis: number, rank: number): number => (axis < 0 ? axis + rank : axis);
  const a = wrap(axes[0] ?? -1, left.axes.length);
  const b = wrap(axes[1] ?? axes[0] ?? -1, right.axes.length);
  let x = left.name;
  let y = right.name;
  if (emit.norm['normalize'] === true) {
    x = `F.normalize(${x}, dim=${a}, eps=1e-6)`;
    y = `F.normalize(${y}, dim=${b}, eps=1e-6)`;
  }
  const letters = 'abcdefgh';
  const leftWords = [...left.axes.keys()].map((axis) => (axis === 0 ? 'n' : axis === a ? 'k' : (letters[axis] ?? 'a')));
  const rightWords = [...right.axes.keys()].map((axis) =>
    axis === 0 ? 'n' : axis === b ? 'k' : (letters[axis] ?? 'a').toUpperCase(),
  );
  const kept = [
    ...leftWords.filter((word) => word !== 'k'),
    ...rightWords.filter((word) => word !== 'k' && word !== 'n'),
  ];
  const shape = emit.outputShapes[0] ?? null;
  const expr = `torch.einsum(${literal(`${leftWords.join('')},${rightWords.join('')}->${kept.join('')}`)}, ${x}, ${y})`;
  const rank = kept.length;
  if (rank > 1) return [emit.line(expr, { shape, axes: plainAxes(rank) })];
  return [emit.line(`${expr}[:, None]`, { shape, axes: plainAxes(2) })];
}
