import { type Count, minus, plus, total } from '../account/count.ts';
import type { PairExplanation } from '../account/explain-pair.ts';
import { isBnsumError } from '../ir/error.ts';
import { isList, type Json } from '../ir/json.ts';
import type { Shape, Tensor } from '../ir/model.ts';
import { keptInOrder } from './align.ts';
import { type Category, type Change, categoriesOf, type NotCompared, type Where } from './change.ts';
import { sameFact } from './fact.ts';
import { type ContentOf, type LayerPair, type Pairing, pairLayers } from './pair.ts';
import { hasOwnNames, RULES, type Rule, type Side, type SideLayer, type SideWeight } from './side.ts';
import { type Buffers, compareValues, hashTensor, hasValues, newBuffers, type Tolerance } from './values.ts';

export interface CompareOptions extends Tolerance {
  /** Read and compare the values of these layers (path of the first side); null: none. */
  readonly values: ((path: string) => boolean) | null;
  /** The two files hold the same bytes, so every value is the same. */
  readonly identical?: boolean;
  readonly ignore: ReadonlySet<Category>;
  readonly signal?: AbortSignal;
}

export interface RuleChange {
  readonly rule: Rule;
  /** null: not known on that side. */
  readonly a: Count | null;
  readonly b: Count | null;
}

export interface ValueTally {
  readonly compared: number;
  readonly elements: Count;
  readonly changedWeights: number;
  readonly changedStatistics: number;
  readonly changedOthers: number;
}

export interface SideName {
  readonly label: string;
  readonly from: Side['from'];
  readonly format: string;
  readonly dialect: Side['dialect'];
  readonly producer: string;
}

/** One refusal; the rest was compared. */
export interface Trouble {
  /** The layer, '' for the whole file. */
  readonly layer: string;
  readonly role: string;
  readonly code: string;
  readonly message: string;
}

/** Everything that two sides differ in, as plain data. */
export interface Comparison {
  readonly a: SideName;
  readonly b: SideName;
  /** True when one side was translated, and layers are named in PyTorch's words. */
  readonly across: boolean;
  readonly paired: number;
  readonly changes: readonly Change[];
  /** Changes that --ignore left out. */
  readonly ignored: number;
  readonly rules: readonly RuleChange[];
  readonly optimizer: { readonly a: Count | null; readonly b: Count | null };
  readonly explanation: PairExplanation | null;
  readonly values: ValueTally | null;
  readonly notCompared: readonly NotCompared[];
  /** What went wrong on the way: values that cannot be read, a model that has no translation. Then the status is 2. */
  readonly troubles: readonly Trouble[];
  /** Layers of the first side under other names on the second, where names are no difference. */
  readonly namesDiffer: number;
}

/** The work of one comparison while it grows. */
interface Work {
  readonly a: Side;
  readonly b: Side;
  readonly across: boolean;
  readonly changes: Change[];
  readonly troubles: Trouble[];
  readonly silent: Map<
    string,
    {
      what: NotCompared['what'];
      name: string;
      silent: NotCompared['silent'];
      layers: string[];
      value: Json | undefined;
    }
  >;
}

function whereOf(a: SideLayer | null, b: SideLayer | null): Where {
  return { a: a?.path ?? null, b: b?.path ?? null, kind: a?.kind ?? b?.kind ?? 'unknown' };
}

function leaveOut(
  work: Work,
  what: NotCompared['what'],
  name: string,
  silent: NotCompared['silent'],
  layer: string,
  value: Json = null,
): void {
  const key = `${what} ${name} ${silent}`;
  const entry = work.silent.get(key);
  if (entry === undefined) {
    work.silent.set(key, { what, name, silent, layers: layer === '' ? [] : [layer], value });
    return;
  }
  if (layer !== '' && entry.layers.at(-1) !== layer) entry.layers.push(layer);
  if (entry.value !== undefined && !sameFact(entry.value, value)) entry.value = undefined;
}

/** Compares two sides of one dialect (or a translated side with a file of PyTorch). */
export async function compareSides(
  a: Side,
  b: Side,
  options: CompareOptions,
  given?: { readonly pairing: Pairing; readonly across: true },
): Promise<Comparison> {
  const buffers = newBuffers();
  const work: Work = { a, b, across: given !== undefined, changes: [], troubles: [], silent: new Map() };
  const wantsValues = options.values !== null && options.identical !== true;
  const pairing = given?.pairing ?? (await pairLayers(a, b, wantsValues ? contentOf(buffers, options) : undefined));
  const partners = new Map(pairing.pairs.map((pair) => [pair.a.path, pair.b.path]));
  let namesDiffer = 0;

  const named = !work.across && hasOwnNames(a) && hasOwnNames(b);
  compareEnds(work, partners);
  addUnpaired(work, pairing);
  for (const pair of pairing.pairs) {
    if (named) compareNames(work, pair, partners);
    else if (pair.a.path !== pair.b.path) namesDiffer += 1;
    compareLayer(work, pair);
  }
  if (!work.across) compareWiring(work, pairing, partners);
  for (const layer of pairing.ambiguous) leaveOut(work, 'ambiguous', 'order', 'both', layer.path);
  const values = await compareAllValues(work, pairing, options, buffers);

  const kept: Change[] = [];
  let ignored = 0;
  for (const change of work.changes) {
    if (isIgnored(change, options.ignore)) ignored += 1;
    else kept.push(change);
  }
  return {
    a: nameOfSide(a),
    b: nameOfSide(b),
    across: work.across,
    paired: pairing.pairs.length,
    changes: kept,
    ignored,
    rules: RULES.map((rule) => ({ rule, a: a.counts.get(rule) ?? null, b: b.counts.get(rule) ?? null })),
    optimizer: { a: a.optimizer?.elements ?? null, b: b.optimizer?.elements ?? null },
    explanation: null,
    values,
    notCompared: [...work.silent.values()].map((entry) => ({ ...entry, value: entry.value ?? null })),
    troubles: work.troubles,
    namesDiffer,
  };
}

function nameOfSide({ label, from, format, dialect, producer }: Side): SideName {
  return { label, from, format, dialect, producer };
}

/** A change is ignored when a word for what it is, not for where it is, is among the ignored ones. */
function isIgnored(change: Change, ignore: ReadonlySet<Category>): boolean {
  if (ignore.size === 0) return false;
  return [...categoriesOf(change)].some((category) => ignore.has(category));
}

function contentOf(buffers: Buffers, options: CompareOptions): ContentOf {
  const known = new Map<SideLayer, string | null>();
  return async (layer) => {
    const before = known.get(layer);
    if (before !== undefined) return before;
    const parts: string[] = [];
    for (const weight of layer.weights.toSorted((one, other) => (one.role < other.role ? -1 : 1))) {
      const hash = await hashOf(weight, buffers, options.signal);
      if (hash === null) {
        known.set(layer, null);
        return null;
      }
      parts.push(`${weight.role} ${hash}`);
    }
    const word = parts.join(' ');
    known.set(layer, word);
    return word;
  };
}

async function hashOf(weight: SideWeight, buffers: Buffers, signal?: AbortSignal): Promise<string | null> {
  if (weight.sha256 !== null) return weight.sha256;
  if (weight.tensor === null || weight.tensor.encoding.kind !== 'dense') return null;
  return hashTensor(weight.tensor, buffers, signal);
}

/** The model's own inputs and outputs. */
function compareEnds(work: Work, partners: ReadonlyMap<string, string>): void {
  const { a, b } = work;
  if (work.across) return;
  const at: Where = { a: '', b: '', kind: 'model' };
  if (a.inputShapes !== null && b.inputShapes !== null && !sameShapes(a.inputShapes, b.inputShapes)) {
    work.changes.push({ code: 'inputs', at, before: a.inputShapes, after: b.inputShapes });
  }
  if (a.outputs !== null && b.outputs !== null) {
    const mapped = a.outputs.map((path) => partners.get(path) ?? path);
    const follows = mapped.every((path, index) => path === b.outputs?.[index]) && mapped.length === b.outputs.length;
    const gone = a.outputs.some((path) => !partners.has(path));
    if (!follows && !gone) work.changes.push({ code: 'outputs', at, before: a.outputs, after: b.outputs });
  }
}

function isUnsure(shape: Shape | readonly (Shape | null)[] | null): boolean {
  return shape === null || shape.some((part) => part === '?' || (Array.isArray(part) && isUnsure(part)));
}

/** Same as far as both are known. */
function sameShapes(a: Shape | readonly (Shape | null)[], b: Shape | readonly (Shape | null)[]): boolean {
  if (isUnsure(a) || isUnsure(b)) return true;
  return JSON.stringify(a) === JSON.stringify(b);
}

function elementsOf(layer: SideLayer): Count {
  return total(layer.weights.map((weight) => weight.elements));
}

function addUnpaired(work: Work, pairing: Pairing): void {
  const { a, b } = work;
  const hidden = (side: Side, layer: SideLayer): boolean => layer.weights.length === 0 && !side.architecture;
  let told = false;
  for (const layer of pairing.removed) {
    if (layer.weights.length === 0 && (hidden(b, layer) || work.across)) {
      told = true;
      continue;
    }
    const at = whereOf(layer, null);
    work.changes.push({
      code: 'layer_removed',
      at,
      type: layer.type,
      elements: minus(0, elementsOf(layer)),
      tensors: layer.weights.length,
    });
  }
  if (told) leaveOut(work, 'architecture', 'layers', 'b', '');
  told = false;
  for (const layer of pairing.added) {
    if (layer.weights.length === 0 && (hidden(a, layer) || work.across)) {
      told = true;
      continue;
    }
    const at = whereOf(null, layer);
    work.changes.push({
      code: 'layer_added',
      at,
      type: layer.type,
      elements: elementsOf(layer),
      tensors: layer.weights.length,
    });
  }
  if (told) leaveOut(work, 'architecture', 'layers', 'a', '');
}

function compareNames(work: Work, pair: LayerPair, partners: ReadonlyMap<string, string>): void {
  const { a, b } = pair;
  const at = whereOf(a, b);
  const parentOfA = a.parent === null ? null : (partners.get(a.parent) ?? a.parent);
  if (parentOfA !== b.parent && a.path !== b.path) {
    work.changes.push({ code: 'layer_moved', at });
    return;
  }
  if (a.name.leaf === b.name.leaf) return;
  const numbered = a.name.base !== null && a.name.base === b.name.base;
  if (work.a.dialect === 'keras') {
    // A number that Keras gave, or a word of another generation for the same thing, is no name.
    if (a.name.base !== null && b.name.base !== null) return;
    work.changes.push({ code: 'layer_renamed', at, renumbered: false });
    return;
  }
  work.changes.push({ code: 'layer_renamed', at, renumbered: numbered });
}

/** Hyper-parameters that stand for a tensor: they are told as one change. */
const SWITCHES: ReadonlyMap<string, readonly string[]> = new Map([
  ['useBias', ['bias']],
  ['scale', ['gamma', 'weight']],
  ['center', ['beta', 'bias']],
]);

/** Attributes that repeat a tensor's size, by what they count. */
const SIZES: ReadonlySet<string> = new Set(['filters', 'units', 'kernelSize', 'inputDim', 'outputDim', 'numFeatures']);

function compareLayer(work: Work, pair: LayerPair): void {
  const { a, b } = pair;
  const at = whereOf(a, b);
  if (a.kind !== b.kind) {
    // A kind read from tensors alone is a guess (the kernels of a convolution and of a transposed one look alike), and
    // the tensors are compared. Of two guesses, different ones come from different tensors.
    if (!a.known && (b.known || a.kind === 'unknown')) leaveOut(work, 'layer', 'kind', 'a', a.path);
    else if (!b.known && (a.known || b.kind === 'unknown')) leaveOut(work, 'layer', 'kind', 'b', a.path);
    else work.changes.push({ code: 'kind', at, before: a.type || a.kind, after: b.type || b.kind });
  } else if (a.kind === 'unknown' && className(a.type) !== className(b.type) && a.type !== '' && b.type !== '') {
    work.changes.push({ code: 'kind', at, before: a.type, after: b.type });
  }
  const tensors = compareTensors(work, pair, at);
  if (a.kind === b.kind) compareFacts(work, pair, at, tensors);
  else work.changes.push(...tensors.added.map(({ change }) => change), ...tensors.removed.map(({ change }) => change));
  compareTrainable(work, pair, at);
  if (a.policy !== null && b.policy !== null && a.policy !== b.policy) {
    work.changes.push({ code: 'policy', at, before: a.policy, after: b.policy });
  }
  if (a.outputShape !== null && b.outputShape !== null && !sameShapes(a.outputShape, b.outputShape)) {
    work.changes.push({ code: 'output_shape', at, before: a.outputShape, after: b.outputShape });
  }
}

/** Keras 3 writes `package>Class` in one container and `Class` in the other. */
function className(type: string): string {
  return type.slice(type.lastIndexOf('>') + 1);
}

interface TensorChanges {
  readonly added: readonly { readonly weight: SideWeight; readonly change: Change }[];
  readonly removed: readonly { readonly weight: SideWeight; readonly change: Change }[];
}

/** Weights of both sides that stand for one another. */
function weightPairs(pair: LayerPair): {
  readonly both: readonly (readonly [SideWeight, SideWeight])[];
  readonly removed: readonly SideWeight[];
  readonly added: readonly SideWeight[];
} {
  const theirs = new Map(pair.b.weights.map((weight) => [weight.role, weight]));
  const both: (readonly [SideWeight, SideWeight])[] = [];
  const removed: SideWeight[] = [];
  for (const weight of pair.a.weights) {
    const other = theirs.get(weight.role);
    if (other === undefined) removed.push(weight);
    else both.push([weight, other]);
  }
  // Of a layer that nobody knows the containers name the tensors each in its own way; their order is one.
  const inOrder =
    pair.a.kind === 'unknown' &&
    pair.b.kind === 'unknown' &&
    both.length === 0 &&
    pair.a.weights.length === pair.b.weights.length &&
    pair.a.weights.every((weight, index) => weight.shape.join() === pair.b.weights[index]?.shape.join());
  if (inOrder) {
    const matched = pair.a.weights.flatMap((weight, index) => {
      const other = pair.b.weights[index];
      return other === undefined ? [] : [[weight, other] as const];
    });
    return { both: matched, removed: [], added: [] };
  }
  const ours = new Set(pair.a.weights.map((weight) => weight.role));
  return { both, removed, added: pair.b.weights.filter((weight) => !ours.has(weight.role)) };
}

function compareTensors(work: Work, pair: LayerPair, at: Where): TensorChanges {
  const { both, removed, added } = weightPairs(pair);
  // Tensors of one layer that change in the same way are one change: a BatchNorm's four vectors.
  const shapes = new Map<
    string,
    { before: readonly number[]; after: readonly number[]; roles: string[]; elements: Count }
  >();
  const dtypes = new Map<string, { before: string; after: string; roles: string[] }>();
  for (const [one, other] of both) {
    if (one.shape.join() !== other.shape.join()) {
      const key = `${one.shape.join()} ${other.shape.join()}`;
      const group = shapes.get(key) ?? { before: one.shape, after: other.shape, roles: [], elements: 0 };
      group.roles.push(one.role);
      group.elements = plus(group.elements, minus(other.elements, one.elements));
      shapes.set(key, group);
    }
    if (one.dtype !== other.dtype) {
      const key = `${one.dtype} ${other.dtype}`;
      const group = dtypes.get(key) ?? { before: one.dtype, after: other.dtype, roles: [] };
      group.roles.push(one.role);
      dtypes.set(key, group);
    }
    if (!work.across && work.a.from === 'model' && work.b.from === 'model') compareTied(work, at, one, other);
  }
  for (const group of shapes.values()) work.changes.push({ code: 'shape', at, ...group });
  for (const group of dtypes.values()) work.changes.push({ code: 'dtype', at, ...group });
  const changeOf = (code: 'tensor_added' | 'tensor_removed', weight: SideWeight): Change => ({
    code,
    at,
    role: weight.role,
    class: weight.class,
    shape: weight.shape,
    elements: code === 'tensor_added' ? weight.elements : minus(0, weight.elements),
  });
  return {
    added: added.map((weight) => ({ weight, change: changeOf('tensor_added', weight) })),
    removed: removed.map((weight) => ({ weight, change: changeOf('tensor_removed', weight) })),
  };
}

function compareTied(work: Work, at: Where, one: SideWeight, other: SideWeight): void {
  if ((one.tied === null) === (other.tied === null)) return;
  work.changes.push({ code: 'tied', at, role: one.role, before: one.tied, after: other.tied });
}

function isNothing(value: Json | undefined): boolean {
  return value === undefined || value === null;
}

function compareFacts(work: Work, pair: LayerPair, at: Where, tensors: TensorChanges): void {
  const { a, b } = pair;
  const told = new Set<Change>();
  const names = [...new Set([...a.facts.keys(), ...b.facts.keys()])];
  const resized = work.changes.some((change) => change.code === 'shape' && change.at.a === a.path);
  const both = a.known && b.known;
  for (const name of names) {
    const before = a.facts.get(name);
    const after = b.facts.get(name);
    const switched = SWITCHES.get(name);
    if (switched !== undefined) {
      const moved = [...tensors.added, ...tensors.removed].find(({ weight }) => switched.includes(weight.role));
      if (moved !== undefined) {
        const on = moved.change.code === 'tensor_added';
        told.add(moved.change);
        const elements = 'elements' in moved.change ? moved.change.elements : 0;
        work.changes.push({ code: 'switched', at, role: moved.weight.role, on, elements });
        continue;
      }
    }
    if (isNothing(before) && isNothing(after)) {
      if (!both && (name === 'epsilon' || name === 'momentum')) leaveOut(work, 'attribute', name, 'both', a.path);
      continue;
    }
    if (sameFact(before ?? null, after ?? null)) continue;
    const silent = isNothing(before) ? 'a' : isNothing(after) ? 'b' : null;
    const strictKeras = both && work.a.dialect === 'keras' && work.b.dialect === 'keras' && !work.across;
    if (silent !== null && !strictKeras) {
      leaveOut(work, 'attribute', name, silent, a.path, (silent === 'a' ? after : before) ?? null);
      continue;
    }
    // What the file does not describe is guessed from tensors, and the tensors are compared.
    if (!both && !(name === 'useBias' || name === 'scale' || name === 'center')) {
      leaveOut(work, 'attribute', name, a.known ? 'b' : 'a', a.path, (a.known ? before : after) ?? null);
      continue;
    }
    if (!both) continue;
    if (name === 'axis' && signOf(before) !== signOf(after)) {
      leaveOut(work, 'attribute', name, 'both', a.path);
      continue;
    }
    // Said by the shapes already.
    if (SIZES.has(name) && resized) continue;
    work.changes.push({ code: 'attribute', at, name, before: before ?? null, after: after ?? null });
  }
  for (const { change } of [...tensors.added, ...tensors.removed]) if (!told.has(change)) work.changes.push(change);
}

/** Whether an axis counts from the end; two ways of counting without the rank say nothing. */
function signOf(axis: Json | undefined): string {
  if (isList(axis ?? null)) return (axis as readonly Json[]).map((one) => signOf(one)).join();
  return typeof axis === 'number' && axis < 0 ? '-' : '+';
}

function compareTrainable(work: Work, pair: LayerPair, at: Where): void {
  const { a, b } = pair;
  const groups = new Map<boolean, { roles: string[]; elements: Count }>();
  let silent: NotCompared['silent'] | null = null;
  for (const [one, other] of weightPairs(pair).both) {
    if (one.class !== 'weight' || other.class !== 'weight') continue;
    if (one.trainable === null || other.trainable === null) {
      if (one.trainable !== null) silent = 'b';
      else if (other.trainable !== null) silent = 'a';
      continue;
    }
    if (one.trainable === other.trainable) continue;
    // A filled gamma is frozen so that it stays what Keras means; a file of PyTorch may train it.
    if (one.filled || other.filled) continue;
    const group = groups.get(one.trainable) ?? { roles: [], elements: 0 };
    group.roles.push(one.role);
    group.elements = plus(group.elements, one.elements);
    groups.set(one.trainable, group);
  }
  for (const [before, group] of groups) work.changes.push({ code: 'trainable', at, ...group, before, after: !before });
  if (silent === null) return;
  if (groups.size === 0 && !work.across && a.trainable !== null && b.trainable !== null) {
    if (a.trainable !== b.trainable) {
      work.changes.push({
        code: 'trainable',
        at,
        roles: [],
        before: a.trainable,
        after: b.trainable,
        elements: elementsOf(a),
      });
    }
    return;
  }
  leaveOut(work, 'trainable', 'trainable', silent, a.path);
}

/** Reads through layers that the other side lacks, as long as they have one input. */
function through(side: Side, path: string, gone: ReadonlySet<string>): string {
  const layers = new Map(side.layers.map((layer) => [layer.path, layer]));
  let at = path;
  for (let steps = 0; gone.has(at) && steps < side.layers.length; steps += 1) {
    const inputs = layers.get(at)?.inputs ?? [];
    const [only] = inputs;
    if (only === undefined || inputs.length !== 1) break;
    at = only;
  }
  return at;
}

function compareWiring(work: Work, pairing: Pairing, partners: ReadonlyMap<string, string>): void {
  const { a, b } = work;
  const gone = new Set(pairing.removed.map((layer) => layer.path));
  const fresh = new Set(pairing.added.map((layer) => layer.path));
  const found: Change[] = [];
  for (const pair of pairing.pairs) {
    const { inputs } = pair.a;
    const others = pair.b.inputs;
    if (inputs === null || others === null) {
      if (inputs !== others && pair.a.weights.length > 0) {
        leaveOut(work, 'wiring', 'wiring', inputs === null ? 'a' : 'b', '');
      }
      continue;
    }
    const direct = inputs.map((path) => partners.get(path) ?? path);
    if (direct.join('\n') === others.join('\n')) continue;
    const ours = inputs.map((path) => through(a, path, gone)).map((path) => partners.get(path) ?? path);
    const theirs = others.map((path) => through(b, path, fresh));
    if (ours.join('\n') === theirs.join('\n')) continue;
    // An operation's name carries a number and a module path of its release.
    if (ours.map(operationWord).join('\n') === theirs.map(operationWord).join('\n')) continue;
    found.push({ code: 'wiring', at: whereOf(pair.a, pair.b), before: inputs, after: others });
  }
  if (found.length === 0) return;
  if (a.chain && b.chain && a.layers.length === b.layers.length) {
    // In a chain another order is a layer that moved, and says everything about the wires.
    const places = new Map(b.layers.map((layer, index) => [layer.path, index]));
    const order = pairing.pairs.map((pair) => places.get(pair.b.path) ?? 0);
    const kept = keptInOrder(order);
    const moved = pairing.pairs.filter((_, index) => !kept.has(index));
    if (moved.length > 0) {
      for (const pair of moved) work.changes.push({ code: 'layer_moved', at: whereOf(pair.a, pair.b) });
      return;
    }
  }
  work.changes.push(...found);
}

function operationWord(name: string): string {
  return name
    .slice(name.lastIndexOf('.') + 1)
    .replace(/_\d+$/, '')
    .toLowerCase();
}

async function compareAllValues(
  work: Work,
  pairing: Pairing,
  options: CompareOptions,
  buffers: Buffers,
): Promise<ValueTally | null> {
  const hashed = (side: Side): boolean =>
    side.layers.some((layer) => layer.weights.some((weight) => weight.sha256 !== null));
  const fromLock = hashed(work.a) || hashed(work.b);
  if (options.values === null && !fromLock) return null;
  let compared = 0;
  let elements: Count = 0;
  const counts = { weight: 0, statistic: 0, other: 0 };
  for (const pair of pairing.pairs) {
    const at = whereOf(pair.a, pair.b);
    const changed = new Map<string, Change>();
    for (const [one, other] of weightPairs(pair).both) {
      const locked = one.sha256 !== null || other.sha256 !== null;
      if (options.values?.(pair.a.path) !== true && !locked) continue;
      if (one.shape.join() !== other.shape.join()) continue;
      const held = options.identical === true && one.tensor !== null && hasValues(one.tensor);
      const result = held ? null : await tryOne(work, pair, one, other, options, buffers);
      if (result === 'trouble') continue;
      if (result === 'silent') {
        leaveOut(work, 'values', 'values', silentSide(one, other), pair.a.path);
        continue;
      }
      compared += 1;
      elements = plus(elements, one.elements);
      if (result === null) continue;
      counts[one.class === 'weight' ? 'weight' : one.class === 'statistic' ? 'statistic' : 'other'] += 1;
      const base = { at, role: one.role, name: one.filled ? other.name : one.name, class: one.class };
      changed.set(
        one.role,
        result === 'hash'
          ? { code: 'hash', ...base }
          : { code: 'value', ...base, filled: one.filled || other.filled, stats: result },
      );
    }
    await findSwaps(work, pair, at, changed, buffers, options);
    work.changes.push(...changed.values());
  }
  return {
    compared,
    elements,
    changedWeights: counts.weight,
    changedStatistics: counts.statistic,
    changedOthers: counts.other,
  };
}

function silentSide(one: SideWeight, other: SideWeight): NotCompared['silent'] {
  const tells = ({ tensor, sha256 }: SideWeight): boolean => sha256 !== null || (tensor !== null && hasValues(tensor));
  if (tells(one)) return tells(other) ? 'both' : 'b';
  return tells(other) ? 'a' : 'both';
}

/** The result, or a trouble that is noted: what one tensor cannot give does not hide the others. */
async function tryOne(
  work: Work,
  pair: LayerPair,
  one: SideWeight,
  other: SideWeight,
  options: CompareOptions,
  buffers: Buffers,
): Promise<OneResult | 'trouble'> {
  try {
    return await compareOne(one, other, options, buffers);
  } catch (error) {
    if (!isBnsumError(error) || error.code === 'INTERNAL') throw error;
    work.troubles.push({ layer: pair.a.path, role: one.role, code: error.code, message: error.message });
    return 'trouble';
  }
}

type OneResult = Awaited<ReturnType<typeof compareValues>> | 'hash' | 'silent';

async function compareOne(
  one: SideWeight,
  other: SideWeight,
  options: CompareOptions,
  buffers: Buffers,
): Promise<OneResult> {
  if (one.sha256 !== null || other.sha256 !== null) {
    const before = await hashOf(one, buffers, options.signal);
    const after = await hashOf(other, buffers, options.signal);
    if (before === null || after === null) return 'silent';
    return before === after ? null : 'hash';
  }
  if (one.tensor === null || other.tensor === null) return 'silent';
  if (!hasValues(one.tensor) || !hasValues(other.tensor)) return 'silent';
  if (one.tensor.encoding.kind !== other.tensor.encoding.kind) return 'silent';
  if (!sameEncoding(one.tensor, other.tensor)) return 'hash';
  return compareValues(one.tensor, other.tensor, options, buffers, options.signal);
}

/** Equal scales, zero points and axes of quantised tensors, where they are plain numbers; equal parts of sparse ones. */
function sameEncoding(one: Tensor, other: Tensor): boolean {
  const a = one.encoding;
  const b = other.encoding;
  if (a.kind === 'quantised' && b.kind === 'quantised') {
    const plain = (value: number | Tensor): number | string => (typeof value === 'number' ? value : value.shape.join());
    return (
      a.scheme === b.scheme &&
      a.axis === b.axis &&
      plain(a.scale) === plain(b.scale) &&
      plain(a.zeroPoint) === plain(b.zeroPoint)
    );
  }
  if (a.kind === 'sparse' && b.kind === 'sparse') {
    const shapes = (parts: ReadonlyMap<string, Tensor>): string =>
      [...parts].map(([name, part]) => `${name} ${part.dtype} ${part.shape.join('x')}`).join(', ');
    return a.layout === b.layout && shapes(a.parts) === shapes(b.parts);
  }
  return true;
}

/** Two changed tensors of one layer that hold each other's values: gamma and beta, mean and variance. */
async function findSwaps(
  work: Work,
  pair: LayerPair,
  at: Where,
  changed: Map<string, Change>,
  buffers: Buffers,
  options: CompareOptions,
): Promise<void> {
  if (changed.size < 2) return;
  const roles = [...changed.keys()];
  const hashes = new Map<string, string | null>();
  const hash = async (layer: SideLayer, side: string, role: string): Promise<string | null> => {
    const key = `${side} ${role}`;
    const before = hashes.get(key);
    if (before !== undefined) return before;
    const weight = layer.weights.find((candidate) => candidate.role === role);
    const found = weight === undefined ? null : await hashOf(weight, buffers, options.signal);
    hashes.set(key, found);
    return found;
  };
  const shapeOf = (role: string): string => pair.a.weights.find((weight) => weight.role === role)?.shape.join() ?? '';
  for (const [index, role] of roles.entries()) {
    for (const other of roles.slice(index + 1)) {
      if (!changed.has(role) || !changed.has(other) || shapeOf(role) !== shapeOf(other)) continue;
      const mine = await hash(pair.a, 'a', role);
      if (mine === null || mine !== (await hash(pair.b, 'b', other))) continue;
      if ((await hash(pair.a, 'a', other)) !== (await hash(pair.b, 'b', role))) continue;
      changed.delete(role);
      changed.delete(other);
      work.changes.push({ code: 'swapped', at, roles: [role, other] });
    }
  }
}
