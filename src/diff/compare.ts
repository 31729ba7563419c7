import { type Count, minus, plus, total } from '../account/count.ts';
import type { PairExplanation } from '../account/explain-pair.ts';
import { isList, type Json, type JsonObject } from '../ir/json.ts';
import type { Kind } from '../ir/kind.ts';
import type { Shape } from '../ir/model.ts';
import { type Category, type Change, categoriesOf, type NotCompared, type Where } from './change.ts';
import { compareBeside, compareSummaries, differInClass } from './compare-details.ts';
import { compareConfig, compareConstants, compareProgram, compareRoots } from './compare-model.ts';
import { compareAllValues, type ValueTally } from './compare-values.ts';
import { compareOrder, compareWiring } from './compare-wiring.ts';
import {
  type CompareOptions,
  hashOf,
  leaveOut,
  ofOneWriter,
  type Trouble,
  type Work,
  weightPairs,
  whereOf,
  wiresOfBoth,
} from './compare-work.ts';
import { sameFact } from './fact.ts';
import { isTorchNn } from './module-facts.ts';
import { type ContentOf, type LayerPair, type Pairing, pairLayers } from './pair.ts';
import {
  ASSETS,
  DERIVED,
  generationOf,
  hasOwnNames,
  RULES,
  type Rule,
  rankOf,
  type Side,
  type SideLayer,
  type SideWeight,
  WHOLE,
} from './side.ts';
import { type Buffers, newBuffers } from './values.ts';
import type { AllWires } from './wires.ts';

export type { CompareOptions, Trouble, ValueTally };

export interface RuleChange {
  readonly rule: Rule;
  /** null: not known on that side. */
  readonly a: Count | null;
  readonly b: Count | null;
}

export interface SideName {
  readonly label: string;
  readonly from: Side['from'];
  readonly format: string;
  readonly dialect: Side['dialect'];
  readonly producer: string;
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
  compareRoots(work);
  compareSummaries(work);
  compareBeside(work);
  compareProgram(work);
  const constants = compareConstants(work);
  for (const layer of pairing.ambiguous) leaveOut(work, 'ambiguous', 'order', 'both', layer.path);
  const valued = constants === null ? pairing.pairs : [...pairing.pairs, constants];
  const values = await compareAllValues(work, valued, options, buffers);

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

/** The model's own inputs and outputs. */
function compareEnds(work: Work, partners: ReadonlyMap<string, string>): void {
  const { a, b } = work;
  if (work.across) return;
  const at: Where = { a: '', b: '', kind: 'model' };
  if (a.inputShapes !== null && b.inputShapes !== null && !sameShapes(a.inputShapes, b.inputShapes)) {
    work.changes.push({ code: 'inputs', at, before: a.inputShapes, after: b.inputShapes });
  }
  if (a.inputDtypes !== undefined && b.inputDtypes !== undefined) compareInputTypes(work, a.inputDtypes, b.inputDtypes);
  // Lock files of before do not keep them.
  else if (a.from === 'lock' && b.inputDtypes !== undefined) leaveOut(work, 'inputs', 'types', 'a', '');
  else if (b.from === 'lock' && a.inputDtypes !== undefined) leaveOut(work, 'inputs', 'types', 'b', '');
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
  const isLock = work.a.from === 'lock' || work.b.from === 'lock';
  if (!isLock && generationOf(work.a) !== generationOf(work.b)) return;
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
    if (isInnerName(work, a) || isInnerName(work, b)) return;
    work.changes.push({ code: 'layer_moved', at });
    return;
  }
  if (a.name.leaf === b.name.leaf || isInnerName(work, a) || isInnerName(work, b)) return;
  const numbered = a.name.base !== null && a.name.base === b.name.base;
  if (work.a.dialect === 'keras') {
    // A number that Keras gave, or a word of another generation for the same thing, is no name.
    if (a.name.base !== null && b.name.base !== null) return;
    work.changes.push({ code: 'layer_renamed', at, renumbered: false });
    return;
  }
  work.changes.push({ code: 'layer_renamed', at, renumbered: numbered });
}

/** Names that an exporter makes up, so that another export may have others: torch.onnx, tf2onnx. */
const MADE_UP = /^(?:onnx::|\/|val_\d+$|\d+$|_?const)/i;

/** A layer of ONNX has the name of its node, which is nobody's, unless the name is that of its tensors. */
function isInnerName(work: Work, { path, weights }: SideLayer): boolean {
  if (work.a.dialect !== 'onnx') return false;
  return MADE_UP.test(path) || !weights.some(({ name }) => name.startsWith(path));
}

/** Hyper-parameters that stand for a tensor: they are told as one change. */
const SWITCHES: ReadonlyMap<string, readonly string[]> = new Map([
  ['useBias', ['bias']],
  ['scale', ['gamma', 'weight']],
  ['center', ['beta', 'bias']],
]);

/** Facts in a file's own words, which have comparisons of their own. */
const OWN_WORDS: ReadonlySet<string> = new Set(['config', 'details', 'training', 'trainingFlag']);

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
  } else if (work.a.dialect === 'torch' && work.b.dialect === 'torch') {
    compareClasses(work, pair, at);
  } else if (a.kind === 'unknown' && a.type !== '' && b.type !== '' && !sameClass(work, a.type, b.type)) {
    work.changes.push({ code: 'kind', at, before: a.type, after: b.type });
  }
  const tensors = compareTensors(work, pair, at, partners);
  if (a.kind === b.kind) {
    compareFacts(work, pair, at, tensors, inside);
    const whole = a.facts.has(WHOLE) && b.facts.has(WHOLE);
    if (!whole && !lacksConfig(work, pair)) compareConfig(work, pair, at);
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

/** Whether one side is of an older release, whose ONNX layers kept no settings beyond the neutral ones; notes it. */
function lacksConfig(work: Work, { a, b }: LayerPair): boolean {
  if (work.a.dialect !== 'onnx' || !a.known || !b.known || a.facts.has('config') === b.facts.has('config'))
    return false;
  leaveOut(work, 'attribute', 'settings', a.facts.has('config') ? 'b' : 'a', a.path);
  return true;
}

/** Another class may compute something else; two of torch.nn that are of one kind differ in what their settings say. */
function compareClasses(work: Work, { a, b }: LayerPair, at: Where): void {
  if (!differInClass(work, a.type, b.type)) return;
  const isTold = isTorchNn(a.type) && isTorchNn(b.type) && !sameFact(normOf(a), normOf(b));
  if (!isTold) work.changes.push({ code: 'kind', at, before: a.type, after: b.type });
}

/** The neutral facts alone. */
function normOf({ facts }: SideLayer): JsonObject {
  return new Map([...facts].filter(([key]) => !OWN_WORDS.has(key)));
}

/** Keras 3 writes `package>Class` in one container and `Class` in the other; TorchScript may leave out the module. */
function sameClass(work: Work, a: string, b: string): boolean {
  const mark = ofOneWriter(work) ? '>' : /.*[.>]/;
  const nameOf = (type: string): string =>
    typeof mark === 'string' ? type.slice(type.lastIndexOf(mark) + 1) : type.replace(mark, '');
  return nameOf(a) === nameOf(b);
}

interface TensorChanges {
  readonly added: readonly { readonly weight: SideWeight; readonly change: Change }[];
  readonly removed: readonly { readonly weight: SideWeight; readonly change: Change }[];
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
  // Of a custom layer every key is its author's.
  const whole = a.facts.has(WHOLE) && b.facts.has(WHOLE);
  for (const name of names) {
    if (name === WHOLE) continue;
    // Files of older releases of this program hold facts that are derived ones by now.
    if (!whole && (OWN_WORDS.has(name) || DERIVED.has(name))) continue;
    // Keras' switch chooses how statistics are gathered over replicas; PyTorch has a class of its own for it.
    if (name === 'synchronized' && !whole && work.a.dialect === 'keras' && work.b.dialect === 'keras') continue;
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
    // A summary of ONNX tells by its tensors alone what a node was given of them.
    const isSummary = work.a.from === 'summary' || work.b.from === 'summary';
    if (switched !== undefined && isSummary && work.a.dialect === 'onnx') continue;
    if (isNothing(before) && isNothing(after)) {
      if (!both && (name === 'epsilon' || name === 'momentum')) leaveOut(work, 'attribute', name, 'both', a.path);
      continue;
    }
    if (sameFact(before ?? null, after ?? null)) continue;
    const silent = isNothing(before) ? 'a' : isNothing(after) ? 'b' : null;
    // Files that a layer keeps beside the model, which .h5 and a summary lack; older releases kept less of custom layers.
    const older = silent === 'a' ? work.a : work.b;
    const isPartial = older.from === 'lock' && a.kind === 'unknown' && a.facts.has(WHOLE) !== b.facts.has(WHOLE);
    if (silent !== null && (name === ASSETS || isPartial)) {
      leaveOut(work, 'attribute', name, silent, a.path);
      continue;
    }
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
    if ((name === 'axis' || name === 'axes') && sameFact(axesOf(before, after), axesOf(after, before))) continue;
    const isOfOneRank =
      rankOf(a.outputShape) === rankOf(b.outputShape) && generationOf(work.a) === generationOf(work.b);
    if ((name === 'axis' || name === 'axes') && !isOfOneRank && isOtherCount(before, after)) {
      leaveOut(work, 'attribute', name, 'both', a.path);
      continue;
    }
    // Said by the shapes already.
    if (SIZES.has(name) && resized) continue;
    work.changes.push({ code: 'attribute', at, name, before: before ?? null, after: after ?? null });
  }
  for (const { change } of [...tensors.added, ...tensors.removed]) if (!told.has(change)) work.changes.push(change);
}

/** One axis stands for all of a list: Keras' Dot. */
function axesOf(axes: Json | undefined, other: Json | undefined): Json {
  return typeof axes === 'number' && isList(other ?? null)
    ? (other as readonly Json[]).map(() => axes)
    : (axes ?? null);
}

/** Whether as many axes count from the other end. */
function isOtherCount(before: Json | undefined, after: Json | undefined): boolean {
  const [one, other] = [signOf(axesOf(before, after)), signOf(axesOf(after, before))];
  return one.length === other.length && one !== other;
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
