import { BnsumError } from '../ir/error.ts';
import type { Kind } from '../ir/kind.ts';
import type { Layer, Model } from '../ir/model.ts';
import { type Accounting, survivesFolding } from './account.ts';
import { type Count, minus, plus, total } from './count.ts';
import type { Entry } from './entries.ts';
import { countable, counts, firstOwners, RULES } from './rules.ts';

/** A number that a rule gives. */
export interface Landmark {
  readonly rule: 'keras.total' | 'keras.totalCompiled' | 'torch.parameters' | 'state.elements' | 'inference.elements';
  readonly elements: Count;
}

export type StepKind =
  | 'moving_statistics' // BatchNorm's moving mean and variance
  | 'other_statistics' // Normalization, spectral vectors, InstanceNorm
  | 'batch_counters' // num_batches_tracked
  | 'counters' // Normalization's count
  | 'constants'
  | 'filled_scale' // gamma or beta that PyTorch holds and Keras leaves out
  | 'second_bias' // PyTorch's recurrent layers have two biases, Keras one
  | 'filled' // other tensors that only the twin has
  | 'tied_apart' // one tensor in the file, two in the other framework
  | 'restructured' // the twin holds the same layer in another number of elements
  | 'repeated_keys' // a tied tensor under further keys
  | 'folded_affine' // gamma and beta that go into a neighbour
  | 'gained_bias' // the neighbour gains a bias
  | 'scale_and_shift' // a BatchNorm that cannot be folded keeps one scale and one shift
  | 'optimizer';

/** `elements` is signed: what the step adds to the number before it. */
export interface Step {
  readonly kind: StepKind;
  readonly elements: Count;
  /** Layer paths in file order; empty for the optimizer. */
  readonly layers: readonly string[];
}

/** From one rule's number to another's: `from` plus every step is `to`, exactly. */
export interface Stage {
  readonly from: Landmark;
  readonly steps: readonly Step[];
  readonly to: Landmark;
}

/** How each rule's number follows from another's, in stages of steps that add up. */
export interface Explanation {
  readonly stages: readonly Stage[];
  /** The folded size is left out because the file does not hold the graph. */
  readonly inferenceUnknown: boolean;
}

/** Collects steps: one per kind, zero ones left out. */
export function gatherSteps<K extends string>(): {
  add(kind: K, elements: Count, layer: string | null): void;
  take(order: readonly K[]): readonly { kind: K; elements: Count; layers: readonly string[] }[];
} {
  const found = new Map<K, { elements: Count; layers: Set<string> }>();
  return {
    add(kind, elements, layer) {
      if (elements === 0) return;
      const step = found.get(kind) ?? { elements: 0, layers: new Set<string>() };
      step.elements = plus(step.elements, elements);
      if (layer !== null) step.layers.add(layer);
      found.set(kind, step);
    },
    take(order) {
      return order.flatMap((kind) => {
        const step = found.get(kind);
        return step === undefined ? [] : [{ kind, elements: step.elements, layers: [...step.layers] }];
      });
    },
  };
}

/** Throws BnsumError INTERNAL unless the steps lead from one number to the other. */
export function requireNoRemainder(from: Count, steps: readonly { readonly elements: Count }[], to: Count): void {
  const reached = plus(from, total(steps.map((step) => step.elements)));
  if (reached === to) return;
  throw new BnsumError({
    code: 'INTERNAL',
    reason: `an explanation leads from ${from} to ${reached}, not to ${to}: ${minus(to, reached)} are unexplained`,
  });
}

const ORDER: readonly StepKind[] = [
  'moving_statistics',
  'other_statistics',
  'batch_counters',
  'counters',
  'constants',
  'filled_scale',
  'second_bias',
  'filled',
  'tied_apart',
  'restructured',
  'repeated_keys',
  'folded_affine',
  'gained_bias',
  'scale_and_shift',
  'optimizer',
];

const RECURRENT: ReadonlySet<Kind> = new Set(['bidirectional', 'gru', 'lstm', 'rnn', 'rnn_container', 'stacked_cells']);
const NORMS: ReadonlySet<Kind> = new Set(['batch_norm', 'group_norm', 'instance_norm', 'layer_norm', 'rms_norm']);

function stage(from: Landmark, steps: readonly Step[], to: Landmark): Stage {
  requireNoRemainder(from.elements, steps, to.elements);
  return { from, steps, to };
}

/** The step kind of an entry that is no trained weight. */
export function apartKind(entry: Entry, layer: Layer | undefined): StepKind {
  if (entry.class === 'counter') return layer?.kind === 'batch_norm' ? 'batch_counters' : 'counters';
  if (entry.class === 'statistic') return layer?.kind === 'batch_norm' ? 'moving_statistics' : 'other_statistics';
  return 'constants';
}

function kerasToTorch(model: Model, accounting: Accounting): readonly Step[] {
  const { layers } = model;
  const steps = gatherSteps<StepKind>();
  // What both call trained weights must come out equal, layer by layer; the rest has a name.
  const gaps = new Array<Count>(layers.length).fill(0);
  const keras = RULES['keras.total'];
  for (const entry of countable(keras, accounting.entries.keras)) {
    if (!counts(keras, entry)) continue;
    if (entry.class === 'weight') gaps[entry.at] = minus(gaps[entry.at] ?? 0, entry.elements);
    else steps.add(apartKind(entry, layers[entry.at]), minus(0, entry.elements), entry.layer);
  }
  const parameters = RULES['torch.parameters'];
  for (const entry of countable(parameters, accounting.entries.torch)) {
    if (!counts(parameters, entry)) continue;
    if (!entry.filled) {
      gaps[entry.at] = plus(gaps[entry.at] ?? 0, entry.elements);
      continue;
    }
    const kind = layers[entry.at]?.kind ?? 'unknown';
    const filledKind = RECURRENT.has(kind) ? 'second_bias' : NORMS.has(kind) ? 'filled_scale' : 'filled';
    steps.add(filledKind, entry.elements, entry.layer);
  }
  const tied = tiedElements(model, accounting);
  for (const [at, difference] of gaps.entries()) {
    const layer = layers[at];
    if (difference === 0 || layer === undefined) continue;
    // A tensor that the file holds once, and that the other framework's layers cannot share.
    const held = tied.get(at) ?? 0;
    const apart = model.dialect === 'keras' ? held : minus(0, held);
    if (apart !== 0) steps.add('tied_apart', apart, layer.path);
    const gap = minus(difference, apart);
    if (gap === 0) continue;
    // Read from PyTorch's side, the two biases become one by adding, so neither is filled.
    const recurrent = RECURRENT.has(layer.kind) && model.dialect !== 'keras' && gap > 0;
    steps.add(recurrent ? 'second_bias' : 'restructured', gap, layer.path);
  }
  return steps.take(ORDER);
}

/**
 * By the place of a layer: elements of its weights that the file's own framework counts with another layer, less those
 * that its counterpart shares in the same way.
 */
function tiedElements({ dialect }: Model, { entries }: Accounting): ReadonlyMap<number, Count> {
  const [own, other] = dialect === 'keras' ? [entries.keras, entries.torch] : [entries.torch, entries.keras];
  const found = new Map<number, Count>();
  const gather = (list: readonly Entry[], add: (sum: Count, elements: Count) => Count): void => {
    const isFirst = firstOf(list);
    for (const entry of list) {
      if (isFirst(entry) || entry.class !== 'weight') continue;
      found.set(entry.at, add(found.get(entry.at) ?? 0, entry.elements));
    }
  };
  gather(own, plus);
  gather(other, minus);
  return found;
}

/** Tells the first owner of a tensor from its further names. */
function firstOf(entries: readonly Entry[]): (entry: Entry) => boolean {
  const owners = firstOwners(entries);
  if (owners.length === entries.length) return () => true;
  const first = new Set(owners);
  return (entry) => first.has(entry);
}

function torchToState({ layers }: Model, accounting: Accounting): readonly Step[] {
  const steps = gatherSteps<StepKind>();
  const all = accounting.entries.torch;
  const isFirst = firstOf(all);
  for (const entry of all) {
    if (!isFirst(entry)) steps.add('repeated_keys', entry.elements, entry.layer);
    else if (!entry.isParameter) steps.add(apartKind(entry, layers[entry.at]), entry.elements, entry.layer);
  }
  return steps.take(ORDER);
}

function stateToInference({ layers }: Model, accounting: Accounting): readonly Step[] {
  const steps = gatherSteps<StepKind>();
  const isFirst = firstOf(accounting.entries.torch);
  for (const entry of accounting.entries.torch) {
    if (!isFirst(entry)) steps.add('repeated_keys', minus(0, entry.elements), entry.layer);
    else if (!survivesFolding(entry, layers[entry.at])) {
      const kind = entry.isParameter ? 'folded_affine' : apartKind(entry, layers[entry.at]);
      steps.add(kind, minus(0, entry.elements), entry.layer);
    }
  }
  for (const fold of accounting.folding ?? []) {
    steps.add(fold.how === 'kept' ? 'scale_and_shift' : 'gained_bias', fold.elementsAfter, fold.bn);
  }
  return steps.take(ORDER);
}

/**
 * The waterfall from Keras' total through PyTorch's parameters and the state_dict to the folded size, and to the total
 * of a compiled Keras model. Every stage is exact: a remainder throws BnsumError INTERNAL.
 */
export function explain(model: Model, accounting: Accounting): Explanation {
  const { totals } = accounting;
  const keras: Landmark = { rule: 'keras.total', elements: totals.keras.total };
  const torch: Landmark = { rule: 'torch.parameters', elements: totals.torch.parameters };
  const state: Landmark = { rule: 'state.elements', elements: totals.state.elements };
  const stages = [
    stage(keras, kerasToTorch(model, accounting), torch),
    stage(torch, torchToState(model, accounting), state),
  ];
  if (totals.inference.elements !== null) {
    const inference: Landmark = { rule: 'inference.elements', elements: totals.inference.elements };
    stages.push(stage(state, stateToInference(model, accounting), inference));
  }
  if (totals.keras.totalCompiled !== null) {
    const compiled: Landmark = { rule: 'keras.totalCompiled', elements: totals.keras.totalCompiled };
    const optimizer: Step = { kind: 'optimizer', elements: totals.keras.optimizer, layers: [] };
    stages.push(stage(keras, optimizer.elements === 0 ? [] : [optimizer], compiled));
  }
  return { stages, inferenceUnknown: totals.inference.elements === null };
}
