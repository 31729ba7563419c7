import { type Fold, planFolding } from '../graph/fold.ts';
import type { Diagnostic } from '../ir/diagnostic.ts';
import type { DType } from '../ir/dtype.ts';
import { BnsumError } from '../ir/error.ts';
import { layerTree } from '../ir/layer-index.ts';
import type { Layer, Model, Weight, WeightClass } from '../ir/model.ts';
import { type Count, minus, plus, total } from './count.ts';
import { type Entries, type Entry, entriesOf } from './entries.ts';
import { accountOptimizer, type OptimizerAccount } from './optimizer.ts';
import { countable, counts, firstOwners, measure, RULES, type Rule, type RuleName, type Tally } from './rules.ts';

/** Counts of one row: elements, each tensor at its first owner. */
export interface LayerCounts {
  readonly keras: Count;
  /** nn.Parameters, trained or not. */
  readonly torch: Count;
  readonly buffers: Count;
  /** Bytes of the tensors that the file's own framework counts. */
  readonly bytes: Count;
}

export interface LayerAccount {
  /** The layer's own tensors. The sum of `own` over all layers is the total. */
  readonly own: LayerCounts;
  /** Own and everything below. */
  readonly subtree: LayerCounts;
}

/** One model's numbers by Keras' rule, PyTorch's, a state_dict's, and at inference; null: the file does not say. */
export interface Totals {
  readonly keras: {
    readonly total: Count;
    readonly trainable: Count | null;
    readonly nonTrainable: Count | null;
    readonly optimizer: Count;
    /** What Keras 3 calls Total once the model is compiled and built; null without an optimizer that is known whole. */
    readonly totalCompiled: Count | null;
  };
  readonly torch: {
    readonly parameters: Count;
    readonly trainable: Count | null;
    readonly frozen: Count | null;
    readonly buffers: Count;
  };
  readonly state: { readonly elements: Count; readonly unique: Count };
  /** null: the graph is not known, so neither is what can be folded. */
  readonly inference: { readonly elements: Count | null };
}

export interface DTypeTotal {
  readonly dtype: DType;
  readonly tensors: number;
  readonly elements: Count;
  readonly bytes: Count;
}

/** A model counted under every rule: totals, bytes, each layer's share, and what was noticed. */
export interface Accounting {
  readonly totals: Totals;
  /** Stored bytes by the same rules; Keras divides them by powers of 1024. */
  readonly bytes: Readonly<Record<RuleName, Count | null>>;
  /** One for each of the model's layers, in their order. */
  readonly layers: readonly LayerAccount[];
  /** Tensors of the model by element type, each identity once, optimizer left out; largest first. */
  readonly dtypes: readonly DTypeTotal[];
  readonly optimizer: OptimizerAccount;
  readonly entries: Entries;
  /** How each BatchNorm goes away; null: not known. */
  readonly folding: readonly Fold[] | null;
  readonly diagnostics: readonly Diagnostic[];
}

type Sums = { -readonly [K in keyof LayerCounts]: LayerCounts[K] };

function addCounts(into: Sums, more: LayerCounts): void {
  into.keras = plus(into.keras, more.keras);
  into.torch = plus(into.torch, more.torch);
  into.buffers = plus(into.buffers, more.buffers);
  into.bytes = plus(into.bytes, more.bytes);
}

function layerAccounts(model: Model, entries: Entries): readonly LayerAccount[] {
  const { layers } = model;
  const accounts: { readonly own: Sums; subtree: Sums }[] = [];
  for (let at = 0; at < layers.length; at += 1) {
    const own: Sums = { keras: 0, torch: 0, buffers: 0, bytes: 0 };
    // A leaf's sum is its own counts, the same object.
    accounts.push({ own, subtree: own });
  }
  const add = (rule: Rule, all: readonly Entry[], key: 'keras' | 'torch' | 'buffers', hasBytes: boolean): void => {
    for (const entry of countable(rule, all)) {
      if (!counts(rule, entry)) continue;
      const own = accounts[entry.at]?.own;
      if (own === undefined) continue;
      own[key] = plus(own[key], entry.elements);
      if (hasBytes) own.bytes = plus(own.bytes, entry.bytes);
    }
  };
  const ofKeras = model.dialect === 'keras';
  add(RULES['keras.total'], entries.keras, 'keras', ofKeras);
  add(RULES['torch.parameters'], entries.torch, 'torch', !ofKeras);
  add(RULES['torch.buffers'], entries.torch, 'buffers', !ofKeras);

  const { parents, firstChildren, nextSiblings, firstRoot } = layerTree(model);
  // Parents before children, then summed from the leaves up.
  const order: number[] = [];
  for (let root = firstRoot; root >= 0; root = nextSiblings[root] ?? -1) order.push(root);
  for (let index = 0; index < order.length; index += 1) {
    const at = order[index] ?? -1;
    for (let child = firstChildren[at] ?? -1; child >= 0; child = nextSiblings[child] ?? -1) order.push(child);
  }
  for (const at of order.reverse()) {
    const child = accounts[at];
    const parent = accounts[parents[at] ?? -1];
    if (child === undefined || parent === undefined) continue;
    if (parent.subtree === parent.own) parent.subtree = { ...parent.own };
    addCounts(parent.subtree, child.subtree);
  }
  return accounts;
}

/** Statistics that inference reads as they are (Normalization's mean, InstanceNorm's); spectral vectors serve training. */
const READ_AT_INFERENCE: ReadonlySet<WeightClass> = new Set(['weight', 'statistic', 'constant']);

/** Whether an entry is still there once every BatchNorm is folded away, its replacement apart. */
export function survivesFolding(entry: Entry, layer: Layer | undefined): boolean {
  if (layer?.kind === 'batch_norm') return false;
  if (layer?.kind === 'spectral_norm' && entry.class === 'statistic') return false;
  return entry.isParameter || READ_AT_INFERENCE.has(entry.class);
}

function foldingOf(model: Model): readonly Fold[] | null {
  const norms = model.layers.filter((layer) => layer.kind === 'batch_norm');
  if (norms.length === 0) {
    // Without a BatchNorm there is nothing to fold, as long as every layer is known for what it is.
    const isTrained = (weight: Weight): boolean => weight.class !== 'constant';
    return model.layers.some((layer) => layer.kind === 'unknown' && layer.weights.some(isTrained)) ? null : [];
  }
  const plan = planFolding(model);
  if (plan === null) return null;
  const planned = new Set(plan.map((fold) => fold.bn));
  return norms.every((layer) => planned.has(layer.path)) ? plan : null;
}

function foldedSize(model: Model, entries: Entries, folding: readonly Fold[]): Count {
  let size = total(folding.map((fold) => fold.elementsAfter));
  for (const entry of firstOwners(entries.torch)) {
    if (survivesFolding(entry, model.layers[entry.at])) size = plus(size, entry.elements);
  }
  return size;
}

function dtypeTotals(entries: readonly Entry[]): readonly DTypeTotal[] {
  const sums = new Map<DType, { tensors: number; elements: Count; bytes: Count }>();
  for (const entry of firstOwners(entries)) {
    let sum = sums.get(entry.dtype);
    if (sum === undefined) {
      sum = { tensors: 0, elements: 0, bytes: 0 };
      sums.set(entry.dtype, sum);
    }
    sum.tensors += 1;
    sum.elements = plus(sum.elements, entry.elements);
    sum.bytes = plus(sum.bytes, entry.bytes);
  }
  return [...sums]
    .map(([dtype, sum]) => ({ dtype, ...sum }))
    .sort((a, b) => (a.bytes < b.bytes ? 1 : a.bytes > b.bytes ? -1 : a.dtype < b.dtype ? -1 : 1));
}

/**
 * The model's parameter totals under every rule, and each layer's share.
 * Throws BnsumError INTERNAL when the rows do not add up to the totals: a wrong number is never shown.
 */
export function account(model: Model): Accounting {
  const entries = entriesOf(model);
  const sums = new Map<RuleName, Tally | null>();
  for (const [name, rule] of Object.entries(RULES) as [RuleName, Rule][]) {
    sums.set(name, measure(rule, rule.of === 'keras' ? entries.keras : entries.torch));
  }
  const elements = (name: RuleName): Count | null => sums.get(name)?.elements ?? null;
  const known = (name: RuleName): Count => elements(name) ?? 0;

  const optimizer = accountOptimizer(model, entries.keras);
  const folding = foldingOf(model);
  const layers = layerAccounts(model, entries);
  const compiled = model.dialect === 'keras' && optimizer.account.built;

  const totals: Totals = {
    keras: {
      total: known('keras.total'),
      trainable: elements('keras.trainable'),
      nonTrainable: elements('keras.nonTrainable'),
      optimizer: optimizer.account.tally.elements,
      totalCompiled: compiled ? plus(known('keras.total'), optimizer.account.tally.elements) : null,
    },
    torch: {
      parameters: known('torch.parameters'),
      trainable: elements('torch.trainable'),
      frozen: elements('torch.frozen'),
      buffers: known('torch.buffers'),
    },
    state: { elements: known('state.elements'), unique: known('state.unique') },
    inference: {
      elements: folding === null ? null : foldedSize(model, entries, folding),
    },
  };
  requireRowsToAddUp(totals, layers);

  const bytes = Object.fromEntries([...sums].map(([name, sum]) => [name, sum?.bytes ?? null])) as Record<
    RuleName,
    Count | null
  >;
  return {
    totals,
    bytes,
    layers,
    dtypes: dtypeTotals(model.dialect === 'keras' ? entries.keras : entries.torch),
    optimizer: optimizer.account,
    entries,
    folding,
    diagnostics: [...entries.diagnostics, ...optimizer.diagnostics],
  };
}

function requireRowsToAddUp(totals: Totals, layers: readonly LayerAccount[]): void {
  const rows: Sums = { keras: 0, torch: 0, buffers: 0, bytes: 0 };
  for (const { own } of layers) {
    rows.keras = plus(rows.keras, own.keras);
    rows.torch = plus(rows.torch, own.torch);
    rows.buffers = plus(rows.buffers, own.buffers);
  }
  const gaps: readonly (readonly [string, Count, Count])[] = [
    ['Keras', rows.keras, totals.keras.total],
    ['PyTorch', rows.torch, totals.torch.parameters],
    ['buffer', rows.buffers, totals.torch.buffers],
    ['state_dict', plus(rows.torch, rows.buffers), totals.state.unique],
  ];
  for (const [what, found, wanted] of gaps) {
    if (found === wanted) continue;
    throw new BnsumError({
      code: 'INTERNAL',
      reason: `the ${what} rows add up to ${found}, the total is ${wanted} (${minus(wanted, found)} apart)`,
    });
  }
}
