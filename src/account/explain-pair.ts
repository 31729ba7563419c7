import type { Kind } from '../ir/kind.ts';
import type { Layer, Model } from '../ir/model.ts';
import type { Accounting } from './account.ts';
import { type Count, minus, order, plus, total } from './count.ts';
import type { Entry } from './entries.ts';
import { gatherSteps, type Landmark, requireNoRemainder } from './explain.ts';
import { counts, firstOwners, RULES } from './rules.ts';

export type PairStepKind =
  | 'moving_statistics'
  | 'other_statistics'
  | 'counters'
  | 'constants'
  | 'bias_before_batch_norm'
  | 'bias'
  | 'second_bias'
  | 'scale_and_shift'
  | 'tied'
  | 'different_size'
  | 'only_in_first'
  | 'only_in_second';

/** `elements` is signed; `layers` are paths of the model that has more. */
export interface PairStep {
  readonly kind: PairStepKind;
  readonly elements: Count;
  readonly layers: readonly string[];
}

/** From the first model's own number to the second's. */
export interface PairExplanation {
  readonly from: Landmark;
  readonly steps: readonly PairStep[];
  readonly to: Landmark;
  /** Leaf layers that were matched by kind, order and shape. */
  readonly paired: number;
}

const STEP_ORDER: readonly PairStepKind[] = [
  'moving_statistics',
  'other_statistics',
  'counters',
  'constants',
  'bias_before_batch_norm',
  'bias',
  'second_bias',
  'scale_and_shift',
  'tied',
  'different_size',
  'only_in_first',
  'only_in_second',
];

const NORMS: ReadonlySet<Kind> = new Set(['batch_norm', 'group_norm', 'instance_norm', 'layer_norm', 'rms_norm']);
const RECURRENT: ReadonlySet<Kind> = new Set(['gru', 'lstm', 'rnn']);

type PartKind = 'moving_statistics' | 'other_statistics' | 'counters' | 'constants' | 'bias' | 'scale' | 'main';

/** One layer's native tensors, sorted by what they are. */
interface Unit {
  readonly layer: Layer;
  readonly parts: ReadonlyMap<PartKind, Count>;
  /** Elements that are another layer's tensor too, and are counted there. */
  readonly tied: ReadonlyMap<PartKind, Count>;
  readonly sizes: string;
}

function partOf(entry: Entry, kind: Kind): PartKind {
  if (entry.class === 'statistic') return kind === 'batch_norm' ? 'moving_statistics' : 'other_statistics';
  if (entry.class === 'counter') return 'counters';
  if (entry.class !== 'weight') return 'constants';
  if (NORMS.has(kind)) return 'scale';
  const word = entry.role.slice(entry.role.lastIndexOf('.') + 1);
  return /^(?:.*_)?bias(?:_.*)?$|^beta$/.test(word) ? 'bias' : 'main';
}

/** What the model's own framework prints: Keras' total, PyTorch's parameters. */
function nativeLandmark(model: Model, accounting: Accounting): Landmark {
  return model.dialect === 'keras'
    ? { rule: 'keras.total', elements: accounting.totals.keras.total }
    : { rule: 'torch.parameters', elements: accounting.totals.torch.parameters };
}

function unitsOf(model: Model, accounting: Accounting): readonly Unit[] {
  const ofKeras = model.dialect === 'keras';
  const rule = ofKeras ? RULES['keras.total'] : RULES['torch.parameters'];
  const all = ofKeras ? accounting.entries.keras : accounting.entries.torch;
  const first = new Set(firstOwners(all));
  const byPath = new Map<string, Entry[]>();
  for (const entry of all) {
    if (!counts(rule, entry)) continue;
    const list = byPath.get(entry.layer);
    if (list) list.push(entry);
    else byPath.set(entry.layer, [entry]);
  }
  return model.layers.flatMap((layer) => {
    // A layer of which the rule counts nothing (a BatchNorm without affine) is still there to be paired.
    const own = byPath.get(layer.path) ?? [];
    if (own.length === 0 && (layer.container || (layer.weights.length === 0 && !NORMS.has(layer.kind)))) return [];
    const parts = new Map<PartKind, Count>();
    const tied = new Map<PartKind, Count>();
    const sizes: string[] = [];
    for (const entry of own) {
      const part = partOf(entry, layer.kind);
      const sums = first.has(entry) ? parts : tied;
      sums.set(part, plus(sums.get(part) ?? 0, entry.elements));
      // Axis order differs between the frameworks, the multiset of axes does not.
      const axes = entry.shape.filter((axis) => axis !== 1).toSorted((a, b) => a - b);
      if (part === 'main' || part === 'scale') sizes.push(axes.join('x'));
    }
    // A norm may lack its scale or its shift: its channels say enough.
    const distinct = NORMS.has(layer.kind) ? [...new Set(sizes)] : sizes;
    return [{ layer, parts, tied, sizes: distinct.toSorted().join(' ') }];
  });
}

/** Pairs units by kind and axes, in file order; what stays over is paired by kind alone where as many stay on each side. */
function pair(left: readonly Unit[], right: readonly Unit[]): readonly (readonly [Unit | null, Unit | null])[] {
  const pairs: (readonly [Unit | null, Unit | null])[] = [];
  const match = (a: readonly Unit[], b: readonly Unit[], key: (unit: Unit) => string): [Unit[], Unit[]] => {
    const waiting = new Map<string, Unit[]>();
    for (const unit of b) {
      const list = waiting.get(key(unit));
      if (list) list.push(unit);
      else waiting.set(key(unit), [unit]);
    }
    const over: Unit[] = [];
    const taken = new Set<Unit>();
    const cursor = new Map<string, number>();
    for (const unit of a) {
      const word = key(unit);
      const at = cursor.get(word) ?? 0;
      const found = waiting.get(word)?.[at];
      if (found === undefined) over.push(unit);
      else {
        pairs.push([unit, found]);
        taken.add(found);
        cursor.set(word, at + 1);
      }
    }
    return [over, b.filter((unit) => !taken.has(unit))];
  };
  const [a, b] = match(left, right, (unit) => `${unit.layer.kind} ${unit.sizes}`);
  const [onlyLeft, onlyRight] = match(a, b, (unit) => unit.layer.kind);
  return [
    ...pairs,
    ...onlyLeft.map((unit) => [unit, null] as const),
    ...onlyRight.map((unit) => [null, unit] as const),
  ];
}

/** Layers whose every output goes into a BatchNorm, as far as a graph says; else the layer behind it in file order is one. */
function layersBeforeBatchNorm(model: Model): ReadonlySet<string> {
  const kinds = new Map(model.layers.map((layer) => [layer.path, layer.kind]));
  const before = new Set<string>();
  if (model.graphs.size === 0) {
    const leaves = model.layers.filter((layer) => !layer.container && layer.weights.length > 0);
    for (const [index, layer] of leaves.entries()) {
      if (leaves[index + 1]?.kind === 'batch_norm') before.add(layer.path);
    }
    return before;
  }
  for (const graph of model.graphs.values()) {
    const producer = new Map<number, string>();
    for (const call of graph.calls) {
      if (call.layer !== null && kinds.get(call.layer) === 'batch_norm') {
        for (const input of call.inputs) {
          const layer = typeof input === 'number' ? producer.get(input) : undefined;
          if (layer !== undefined) before.add(layer);
        }
      }
      if (call.layer !== null) for (const output of call.outputs) producer.set(output, call.layer);
    }
  }
  return before;
}

/**
 * Why two models have different numbers, each counted by its own framework's rule. Exact: a remainder throws
 * BnsumError INTERNAL.
 */
export function explainPair(
  left: { readonly model: Model; readonly accounting: Accounting },
  right: { readonly model: Model; readonly accounting: Accounting },
): PairExplanation {
  const from = nativeLandmark(left.model, left.accounting);
  const to = nativeLandmark(right.model, right.accounting);
  const before = [layersBeforeBatchNorm(left.model), layersBeforeBatchNorm(right.model)] as const;
  const steps = gatherSteps<PairStepKind>();
  let paired = 0;
  for (const [a, b] of pair(unitsOf(left.model, left.accounting), unitsOf(right.model, right.accounting))) {
    if (a === null || b === null) {
      if (a !== null) steps.add('only_in_first', minus(0, total(a.parts.values())), a.layer.path);
      if (b !== null) steps.add('only_in_second', total(b.parts.values()), b.layer.path);
      continue;
    }
    paired += 1;
    for (const part of new Set([...a.parts.keys(), ...b.parts.keys()])) {
      const tied = minus(a.tied.get(part) ?? 0, b.tied.get(part) ?? 0);
      const whole = minus(b.parts.get(part) ?? 0, a.parts.get(part) ?? 0);
      if (tied !== 0) steps.add('tied', tied, (order(tied, 0) > 0 ? b : a).layer.path);
      const gap = minus(whole, tied);
      const richer = order(gap, 0) > 0 ? b : a;
      const beforeNorm = before[richer === b ? 1 : 0].has(richer.layer.path);
      const less = (richer === b ? a : b).parts.get(part) ?? 0;
      // A second bias is one more of the same size beside the same matrices, which only the other framework keeps.
      const isSecond =
        part === 'bias' &&
        RECURRENT.has(richer.layer.kind) &&
        left.model.dialect !== right.model.dialect &&
        a.parts.get('main') === b.parts.get('main') &&
        (gap === less || minus(0, gap) === less);
      const isLarger = part === 'bias' && RECURRENT.has(richer.layer.kind) && a.sizes !== b.sizes;
      const kind = isSecond ? 'second_bias' : isLarger ? 'different_size' : stepKindOf(part, beforeNorm);
      steps.add(kind, gap, richer.layer.path);
    }
  }
  const taken = steps.take(STEP_ORDER);
  requireNoRemainder(from.elements, taken, to.elements);
  return { from, steps: taken, to, paired };
}

function stepKindOf(part: PartKind, beforeNorm: boolean): PairStepKind {
  switch (part) {
    case 'bias':
      return beforeNorm ? 'bias_before_batch_norm' : 'bias';
    case 'scale':
      return 'scale_and_shift';
    case 'main':
      return 'different_size';
    default:
      return part;
  }
}
