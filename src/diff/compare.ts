import { type Count, minus, plus, total } from '../account/count.ts';
import type { PairExplanation } from '../account/explain-pair.ts';
import { isBnsumError } from '../ir/error.ts';
import { EMPTY_OBJECT, isList, isObject, type Json } from '../ir/json.ts';
import type { Kind } from '../ir/kind.ts';
import type { Shape, Tensor } from '../ir/model.ts';
import { keptInOrder } from './align.ts';
import { type Category, type Change, categoriesOf, type NotCompared, type Where } from './change.ts';
import { defaultOf } from './config-facts.ts';
import { sameFact } from './fact.ts';
import { type ContentOf, type LayerPair, type Pairing, pairLayers } from './pair.ts';
import { DERIVED, hasOwnNames, RULES, type Rule, type Side, type SideLayer, type SideWeight } from './side.ts';
import { type Buffers, compareValues, hashTensor, hasValues, newBuffers, type Tolerance } from './values.ts';
import { type AllWires, type ResolvedWires, resolveWires, Terms } from './wires.ts';

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
  const inside = containersOf(a);
  for (const pair of pairing.pairs) {
    if (named) compareNames(work, pair, partners);
    else if (pair.a.path !== pair.b.path) namesDiffer += 1;
    compareLayer(work, pair, partners, inside.get(pair.a.parent ?? ''));
  }
  if (!work.across) {
    compareWiring(work, pairing, partners);
    compareOrder(work, pairing);
  }
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
  if (a.inputDtypes !== undefined && b.inputDtypes !== undefined) compareInputTypes(work, a.inputDtypes, b.inputDtypes);
  // Calls say more of the outputs than the names of their layers.
  if (wiresOfBoth(work) !== null) return;
  if (a.outputs !== null && b.outputs !== null) {
    const mapped = a.outputs.map((path) => partners.get(path) ?? path);
    const follows = mapped.every((path, index) => path === b.outputs?.[index]) && mapped.length === b.outputs.length;
    const gone = a.outputs.some((path) => !partners.has(path));
    if (!follows && !gone) work.changes.push({ code: 'outputs', at, before: a.outputs, after: b.outputs });
  }
}

/** The type of an input that has no layer of its own, as in a Sequential; a layer's is its dtype policy. */
function compareInputTypes(work: Work, before: readonly (string | null)[], after: readonly (string | null)[]): void {
  const at: Where = { a: '', b: '', kind: 'model' };
  const hasLayers = (side: Side): boolean => side.layers.some((layer) => layer.kind === 'input');
  if (hasLayers(work.a) && hasLayers(work.b)) return;
  // Before Keras 3 a Sequential without an InputLayer has the type of its first layer here.
  if (generationOf(work.a) !== generationOf(work.b)) return;
  for (const [index, type] of before.entries()) {
    const other = after[index] ?? null;
    if (type === null || other === null || type === other) continue;
    work.changes.push({
      code: 'dtype',
      at,
      roles: [before.length === 1 ? 'input' : `input ${index}`],
      before: type,
      after: other,
    });
  }
}

function generationOf(side: Side): string {
  return /^keras 3/.test(side.producer) ? 'keras3' : 'older';
}

function wiresOfBoth({ a, b }: Work): readonly [AllWires, AllWires] | null {
  return a.wires == null || b.wires == null ? null : [a.wires, b.wires];
}

/** Kinds of the containers by path. */
function containersOf(side: Side): ReadonlyMap<string, Kind> {
  return new Map(side.layers.filter((layer) => layer.container).map((layer) => [layer.path, layer.kind]));
}

function isUnsure(shape: Shape | readonly (Shape | null)[] | null): boolean {
  return shape === null || shape.some((part) => part === '?' || (Array.isArray(part) && isUnsure(part)));
}

/** Same as far as both are known. */
function sameShapes(a: Shape | readonly (Shape | null)[], b: Shape | readonly (Shape | null)[]): boolean {
  if (isUnsure(a) || isUnsure(b)) return true;
  return JSON.stringify(a) === JSON.stringify(b);
}

/**
 * Outputs that both files know of: a graph tells only those that are read. `loosely`: one generation may know the size
 * of an axis that another leaves open.
 */
function sameOutputs(
  a: NonNullable<SideLayer['outputShape']>,
  b: NonNullable<SideLayer['outputShape']>,
  loosely: boolean,
): boolean {
  const listed = (shapes: NonNullable<SideLayer['outputShape']>): readonly (Shape | null)[] =>
    shapes.some((part) => Array.isArray(part)) ? (shapes as readonly (Shape | null)[]) : [shapes as Shape];
  const [ours, theirs] = [listed(a), listed(b)];
  return ours.slice(0, theirs.length).every((shape, index) => {
    const other = theirs[index];
    if (shape === null || other === null || other === undefined) return true;
    if (sameShapes(shape, other)) return true;
    return (
      loosely &&
      shape.length === other.length &&
      shape.every((size, at) => size === other[at] || (at > 0 && (size === null || other[at] === null)))
    );
  });
}

function elementsOf(layer: SideLayer): Count {
  return total(layer.weights.map((weight) => weight.elements));
}

function addUnpaired(work: Work, pairing: Pairing): void {
  const { a, b } = work;
  const hidden = (side: Side, layer: SideLayer): boolean => layer.weights.length === 0 && !side.architecture;
  // TensorFlow's operations are layers, those of Keras 3 are calls: they are compared where they are read.
  const loose = (wires: AllWires): boolean =>
    [...wires.values()].some(({ calls }) => calls.some((call) => call.layer === null));
  const hasOperations = ({ layers }: Side): boolean => layers.some((layer) => layer.kind === 'operation');
  const both = wiresOfBoth(work);
  const asCalls = both !== null && hasOperations(a) !== hasOperations(b) && loose(both[0]) && loose(both[1]);
  let told = false;
  for (const layer of pairing.removed) {
    if (asCalls && layer.kind === 'operation') continue;
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
    if (asCalls && layer.kind === 'operation') continue;
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

function compareLayer(
  work: Work,
  pair: LayerPair,
  partners: ReadonlyMap<string, string>,
  inside: Kind | undefined,
): void {
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
  const tensors = compareTensors(work, pair, at, partners);
  if (a.kind === b.kind) {
    compareFacts(work, pair, at, tensors, inside);
    compareConfig(work, pair, at);
  } else
    work.changes.push(...tensors.added.map(({ change }) => change), ...tensors.removed.map(({ change }) => change));
  compareTrainable(work, pair, at);
  if (a.policy !== null && b.policy !== null && a.policy !== b.policy) {
    work.changes.push({ code: 'policy', at, before: a.policy, after: b.policy });
  }
  const loosely = generationOf(work.a) !== generationOf(work.b);
  if (a.outputShape !== null && b.outputShape !== null && !sameOutputs(a.outputShape, b.outputShape, loosely)) {
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

function compareTensors(work: Work, pair: LayerPair, at: Where, partners: ReadonlyMap<string, string>): TensorChanges {
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
    // A summary does not say which tensors are one.
    if (!work.across && work.a.from !== 'summary' && work.b.from !== 'summary') {
      compareTied(work, at, one, other, partners);
    }
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

function compareTied(
  work: Work,
  at: Where,
  one: SideWeight,
  other: SideWeight,
  partners: ReadonlyMap<string, string>,
): void {
  if (one.tied === other.tied) return;
  if (one.tied !== null && other.tied !== null) {
    const space = one.tied.lastIndexOf(' ');
    const owner = one.tied.slice(0, space);
    if (`${partners.get(owner) ?? owner}${one.tied.slice(space)}` === other.tied) return;
  }
  work.changes.push({ code: 'tied', at, role: one.role, before: one.tied, after: other.tied });
}

function isNothing(value: Json | undefined): boolean {
  return value === undefined || value === null;
}

function compareFacts(work: Work, pair: LayerPair, at: Where, tensors: TensorChanges, inside: Kind | undefined): void {
  const { a, b } = pair;
  const told = new Set<Change>();
  const names = [...new Set([...a.facts.keys(), ...b.facts.keys()])];
  const resized = work.changes.some((change) => change.code === 'shape' && change.at.a === a.path);
  const both = a.known && b.known;
  for (const name of names) {
    // Files of older releases of this program hold facts that are derived ones by now.
    if (name === 'config' || DERIVED.has(name)) continue;
    // A Bidirectional settles it for both directions; only Keras 3 writes it down.
    if (name === 'zeroOutputForMask' && inside === 'bidirectional') continue;
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
    if ((name === 'axis' || name === 'axes') && signOf(before) !== signOf(after)) {
      leaveOut(work, 'attribute', name, 'both', a.path);
      continue;
    }
    // Said by the shapes already.
    if (SIZES.has(name) && resized) continue;
    work.changes.push({ code: 'attribute', at, name, before: before ?? null, after: after ?? null });
  }
  for (const { change } of [...tensors.added, ...tensors.removed]) if (!told.has(change)) work.changes.push(change);
}

/** What the files' own configs say besides; an absent key is the default. */
function compareConfig(work: Work, { a, b }: LayerPair, at: Where): void {
  if (work.across || !a.known || !b.known) return;
  const [one, other] = [a.facts.get('config'), b.facts.get('config')];
  const left = isObject(one) ? one : EMPTY_OBJECT;
  const right = isObject(other) ? other : EMPTY_OBJECT;
  for (const name of new Set([...left.keys(), ...right.keys()])) {
    const [before, after] = [left.get(name), right.get(name)];
    if (sameFact(before ?? null, after ?? null)) continue;
    work.changes.push({
      code: 'attribute',
      at,
      name,
      before: before ?? defaultOf(name, after ?? null),
      after: after ?? defaultOf(name, before ?? null),
    });
  }
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
  const both = wiresOfBoth(work);
  const found = both === null ? readsThatDiffer(work, pairing, partners) : callsThatDiffer(pairing, partners, both);
  if (found.length === 0) return;
  const { a, b } = work;
  if (a.chain && b.chain && a.layers.length === b.layers.length) {
    // In a chain another order is a layer that moved, and those around it follow.
    const places = new Map(b.layers.map((layer, index) => [layer.path, index]));
    const order = pairing.pairs.map((pair) => places.get(pair.b.path) ?? 0);
    const kept = keptInOrder(order);
    const moved = new Set(pairing.pairs.filter((_, index) => !kept.has(index)).map((pair) => pair.a.path));
    if (moved.size > 0) {
      const told = found.filter(({ change, plain }) => !plain || moved.has(change.at.a ?? ''));
      if (told.length > 0) {
        work.changes.push(...told.map(({ change }) => change));
        return;
      }
    }
  }
  work.changes.push(...found.map(({ change }) => change));
}

interface WiringChange {
  readonly change: Change;
  /** Nothing but which layers are read differs. */
  readonly plain: boolean;
}

/** Where one side tells no more than the names of what each layer reads. */
function readsThatDiffer(work: Work, pairing: Pairing, partners: ReadonlyMap<string, string>): readonly WiringChange[] {
  const { a, b } = work;
  const gone = new Set(pairing.removed.map((layer) => layer.path));
  const fresh = new Set(pairing.added.map((layer) => layer.path));
  const found: WiringChange[] = [];
  // An operation's name carries a number and a module path of its release; the name of a layer that has a partner is
  // the partner's.
  const known = new Set(b.layers.filter((layer) => layer.kind !== 'operation').map((layer) => layer.path));
  const word = (name: string): string => (known.has(name) ? name : operationName(name));
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
    if (direct.map(word).join('\n') === others.map(word).join('\n')) continue;
    const ours = inputs.map((path) => through(a, path, gone)).map((path) => partners.get(path) ?? path);
    const theirs = others.map((path) => through(b, path, fresh));
    if (ours.map(word).join('\n') === theirs.map(word).join('\n')) continue;
    const change: Change = { code: 'wiring', at: whereOf(pair.a, pair.b), before: inputs, after: others };
    found.push({ change, plain: true });
  }
  return found;
}

function operationName(name: string): string {
  return name
    .slice(name.lastIndexOf('.') + 1)
    .replace(/_\d+$/, '')
    .replaceAll('_', '')
    .toLowerCase();
}

/** Every argument of every call, down through operations to the layers that both sides have. */
function callsThatDiffer(
  pairing: Pairing,
  partners: ReadonlyMap<string, string>,
  [left, right]: readonly [AllWires, AllWires],
): readonly WiringChange[] {
  const terms = new Terms();
  const back = new Map([...partners].map(([one, other]) => [other, one]));
  const removed = new Set(pairing.removed.map((layer) => layer.path));
  const added = new Set(pairing.added.map((layer) => layer.path));
  const nameOfInput = (wires: AllWires, graph: string, index: number): string | null =>
    wires.get(graph)?.inputs[index] ?? null;
  const otherGraph = (graph: string, table: ReadonlyMap<string, string>): string =>
    graph === '' ? '' : (table.get(graph) ?? graph);
  const resolve = (deep: boolean): readonly [ResolvedWires, ResolvedWires] => [
    resolveWires(left, terms, {
      side: 'a',
      common: (path) => partners.get(path) ?? null,
      through: deep ? removed : NONE,
      byPlace: (graph, index) => nameOfInput(right, otherGraph(graph, partners), index) === null,
    }),
    resolveWires(right, terms, {
      side: 'b',
      common: (path) => (back.has(path) ? path : null),
      through: deep ? added : NONE,
      byPlace: (graph, index) => nameOfInput(left, otherGraph(graph, back), index) === null,
    }),
  ];
  const direct = resolve(false);
  const deep = resolve(true);
  const differs = (one: readonly number[], other: readonly number[]): boolean => one.join() !== other.join();
  const found: WiringChange[] = [];
  for (const pair of pairing.pairs) {
    if (pair.a.kind === 'operation') continue;
    const callsIn = ([one, other]: readonly [ResolvedWires, ResolvedWires]) =>
      [one.calls.get(pair.a.path) ?? [], other.calls.get(pair.b.path) ?? []] as const;
    const [before, after] = callsIn(direct);
    if (!differs(before, after) || !differs(...callsIn(deep))) continue;
    const texts = callTexts(terms, before, after);
    const change: Change = { code: 'wiring', at: whereOf(pair.a, pair.b), before: texts.before, after: texts.after };
    found.push({ change, plain: texts.plain });
  }
  for (const [graph, wires] of left) {
    const other = otherGraph(graph, partners);
    const theirs = right.get(other);
    if (theirs === undefined) continue;
    const at: Where = { a: graph, b: other, kind: 'model' };
    const mapped = wires.inputs.map((name) => (name === null ? null : (partners.get(name) ?? null)));
    const told =
      mapped.every((name) => name !== null) && theirs.inputs.every((name) => name !== null && back.has(name));
    if (told && mapped.length === theirs.inputs.length && mapped.join('\n') !== theirs.inputs.join('\n')) {
      const names = (inputs: readonly (string | null)[]): readonly string[] => inputs.map((name) => name ?? '');
      const change: Change = { code: 'wiring', at, before: names(wires.inputs), after: names(theirs.inputs) };
      found.push({ change, plain: false });
    }
    const ends = ([one, two]: readonly [ResolvedWires, ResolvedWires]) =>
      [one.outputs.get(graph) ?? [], two.outputs.get(other) ?? []] as const;
    const [before, after] = ends(direct);
    if (!differs(before, after) || !differs(...ends(deep))) continue;
    const texts = listTexts(terms, before, after);
    found.push({ change: { code: 'outputs', at, ...texts }, plain: texts.plain });
  }
  return found;
}

const NONE: ReadonlySet<string> = new Set();

interface Texts {
  readonly before: readonly string[];
  readonly after: readonly string[];
  readonly plain: boolean;
}

/** Texts of two lists of values; of long ones the part that differs. */
function listTexts(terms: Terms, before: readonly number[], after: readonly number[]): Texts {
  const one: string[] = [];
  const other: string[] = [];
  let plain = true;
  for (let index = 0; index < Math.max(before.length, after.length); index += 1) {
    const [left, right] = [before[index], after[index]];
    if (left !== right) {
      for (const id of [left, right]) if (id !== undefined && terms.at(id)?.form !== 'layer') plain = false;
    }
    const [a, b] = textPair(terms, left, right);
    if (a !== null) one.push(a);
    if (b !== null) other.push(b);
  }
  return { before: one, after: other, plain };
}

/** Longer, an expression is told by the part that differs. */
const EXPRESSION = 70;

function textPair(
  terms: Terms,
  left: number | undefined,
  right: number | undefined,
): readonly [string | null, string | null] {
  const one = left === undefined ? null : terms.text('a', left);
  const other = right === undefined ? null : terms.text('b', right);
  if (left === undefined || right === undefined || left === right || one === null || other === null)
    return [one, other];
  if (one !== other && one.length <= EXPRESSION && other.length <= EXPRESSION) return [one, other];
  const [first, second] = terms.firstDifference(left, right);
  return [terms.text('a', first, 2), terms.text('b', second, 2)];
}

function callTexts(terms: Terms, before: readonly number[], after: readonly number[]): Texts {
  const [one, ...more] = before;
  const [other, ...others] = after;
  if (one === undefined || other === undefined || more.length > 0 || others.length > 0) {
    const all = (side: 'a' | 'b', calls: readonly number[]): readonly string[] =>
      calls.map((id) => {
        const parts = terms.parts(side, id, 2);
        return parts.length === 1 ? (parts[0] ?? '') : `(${parts.join(', ')})`;
      });
    return { before: all('a', before), after: all('b', after), plain: false };
  }
  const list = listTexts(terms, terms.at(one)?.of ?? [], terms.at(other)?.of ?? []);
  const named = (side: 'a' | 'b', id: number): readonly string[] => terms.named(side, id);
  const [ours, theirs] = [named('a', one), named('b', other)];
  return {
    before: [...list.before, ...ours],
    after: [...list.after, ...theirs],
    plain: list.plain && ours.length === 0 && theirs.length === 0,
  };
}

/** The order of a file's layers where it tells no connections: in a Sequential it is what is computed. */
function compareOrder(work: Work, pairing: Pairing): void {
  const { a, b } = work;
  if (a.dialect !== 'torch' || b.dialect !== 'torch' || wiresOfBoth(work) !== null) return;
  // A safetensors file puts its tensors in an order of its own, by type and size, which says nothing.
  if ([a, b].some((side) => side.format === 'safetensors')) return;
  const places = new Map(b.layers.map((layer, index) => [layer.path, index]));
  const parents = new Map(a.layers.map((layer) => [layer.path, layer]));
  const groups = new Map<string, LayerPair[]>();
  for (const pair of pairing.pairs) {
    const key = `${pair.a.parent ?? ''}\n${pair.b.parent ?? ''}`;
    const list = groups.get(key);
    if (list) list.push(pair);
    else groups.set(key, [pair]);
  }
  for (const pairs of groups.values()) {
    const kept = keptInOrder(pairs.map((pair) => places.get(pair.b.path) ?? 0));
    if (kept.size === pairs.length) continue;
    const [first] = pairs;
    const parent = first?.a.parent == null ? undefined : parents.get(first.a.parent);
    // The root of a whole module has no row of its own.
    const isRoot = parent === undefined && a.rootType === 'Sequential' && b.rootType === 'Sequential';
    if (!isRoot && parent?.type !== 'Sequential') {
      for (const [index, pair] of pairs.entries())
        if (!kept.has(index)) leaveOut(work, 'wiring', 'order', 'both', pair.a.path);
      continue;
    }
    const behind = pairs.toSorted((one, other) => (places.get(one.b.path) ?? 0) - (places.get(other.b.path) ?? 0));
    const placeOf = new Map(behind.map((pair, index) => [pair, index]));
    for (const [index, pair] of pairs.entries()) {
      if (kept.has(index)) continue;
      const before = pairs[index - 1]?.a.path;
      const after = behind[(placeOf.get(pair) ?? 0) - 1]?.b.path;
      const names = (path: string | undefined): readonly string[] => [path ?? 'the input'];
      work.changes.push({ code: 'wiring', at: whereOf(pair.a, pair.b), before: names(before), after: names(after) });
    }
  }
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
