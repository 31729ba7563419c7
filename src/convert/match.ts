import { type Diagnostic, note } from '../ir/diagnostic.ts';
import { BnsumError } from '../ir/error.ts';
import type { Kind } from '../ir/kind.ts';
import { layersByPath } from '../ir/layer-index.ts';
import type { Model } from '../ir/model.ts';
import { type Labelled, labelsOf, objection, partsByLabel } from './match-abbreviation.ts';
import {
  compareNumbers,
  contains,
  isAutomatic,
  isNumber,
  patternOf,
  similarity,
  tellingWords,
  wordsOf,
} from './match-name.ts';
import { orderOf } from './match-order.ts';
import type { Target, TargetKey } from './match-target.ts';
import { type NameRow, splitKey } from './name-map.ts';
import type { Plan, PlannedTensor } from './plan.ts';

/** Tensors of one module, ours or the target's. */
interface Group<T> {
  readonly prefix: string;
  /** Leaf in PyTorch's word to its tensor; the counter apart. */
  readonly leaves: ReadonlyMap<string, T>;
  readonly counter: T | null;
  readonly words: readonly string[];
  readonly kind: Kind | null;
  /** Words that no one chose: Keras counts its layers itself. */
  readonly automatic: boolean;
  /** Place in the state_dict. */
  readonly at: number;
}

type Ours = Group<PlannedTensor> & { readonly layer: string; readonly inner: string };
type Theirs = Group<TargetKey>;

interface Pair {
  readonly ours: Ours;
  readonly theirs: Theirs;
  readonly because: string;
}

export interface Match {
  readonly rows: readonly NameRow[];
  readonly diagnostics: readonly Diagnostic[];
}

/** Old names of vectors. */
const LEAVES: ReadonlyMap<string, string> = new Map([
  ['gamma', 'weight'],
  ['beta', 'bias'],
  ['moving_mean', 'running_mean'],
  ['moving_variance', 'running_var'],
  ['running_variance', 'running_var'],
]);
const COUNTER = 'num_batches_tracked';

/**
 * Gives every planned tensor a key of the target and fills every key: module by module, by shapes, then names, then
 * order. Names, in full or abbreviated, count where they tell modules of equal shapes apart (Keras' automatic ones
 * never do); order counts only when both models list the same shapes one after the other, each layer feeds the next one, and no name speaks
 * against it. What is left is not guessed.
 * Throws BnsumError MISMATCH for a missing or additional layer, AMBIGUOUS with up to five candidates.
 */
export function matchKeys(model: Model, plan: Plan, target: Target): Match {
  const ours = ourGroups(model, plan);
  const theirs = theirGroups(target);
  const withShapes = target.keys.every((key) => key.shape !== null);
  const signature = (group: Ours | Theirs): string => signatureOf(group, withShapes);
  const buckets = bucketsOf(ours, theirs, signature);
  checkCounts(buckets, theirs, target.file);
  const pairs: Pair[] = [];
  for (const bucket of buckets.values()) {
    const [left, right] = [bucket.ours[0], bucket.theirs[0]];
    if (bucket.ours.length === 1 && left !== undefined && right !== undefined) {
      pairs.push({ ours: left, theirs: right, because: 'the only one of its shapes' });
    } else pairs.push(...byNames(bucket));
  }
  const done = new Set(pairs.map((pair) => pair.ours));
  if (done.size < ours.length) pairs.push(...byOrder(model, ours, theirs, pairs, buckets, signature, target));
  checkPairs(pairs, target.file);
  return rowsOf(plan, pairs, target);
}

function ourGroups(model: Model, plan: Plan): readonly Ours[] {
  const types = layersByPath(model);
  const groups = new Map<string, PlannedTensor[]>();
  for (const tensor of plan.tensors) {
    const { prefix } = splitKey(tensor.name);
    const list = groups.get(prefix);
    if (list === undefined) groups.set(prefix, [tensor]);
    else list.push(tensor);
  }
  return [...groups].map(([prefix, tensors], at): Ours => {
    const path = tensors[0]?.layer ?? prefix;
    const layer = types.get(path);
    const module = tensors[0]?.module ?? prefix;
    const inner = prefix.startsWith(`${module}.`) ? prefix.slice(module.length + 1) : '';
    return {
      prefix,
      leaves: leavesOf(tensors, (tensor) => tensor.name),
      counter: tensors.find((tensor) => splitKey(tensor.name).leaf === COUNTER) ?? null,
      words: wordsOf(inner === '' ? path : `${path}.${inner}`),
      kind: inner === '' ? (layer?.kind ?? null) : null,
      at,
      layer: path,
      inner,
      automatic: isAutomatic(path, layer?.type ?? ''),
    };
  });
}

function theirGroups(target: Target): readonly Theirs[] {
  const groups = new Map<string, TargetKey[]>();
  for (const key of target.keys) {
    if (key.shares !== null) continue;
    const { prefix } = splitKey(key.key);
    const list = groups.get(prefix);
    if (list === undefined) groups.set(prefix, [key]);
    else list.push(key);
  }
  return [...groups].map(([prefix, keys], at) => ({
    prefix,
    leaves: leavesOf(keys, (key) => key.key),
    counter: keys.find((key) => splitKey(key.key).leaf === COUNTER) ?? null,
    words: wordsOf(prefix),
    kind: keys[0]?.kind ?? null,
    automatic: false,
    at,
  }));
}

function leavesOf<T>(items: readonly T[], nameOf: (item: T) => string): ReadonlyMap<string, T> {
  const leaves = new Map<string, T>();
  for (const item of items) {
    const { leaf } = splitKey(nameOf(item));
    if (leaf === COUNTER) continue;
    const word = LEAVES.get(leaf) ?? leaf;
    leaves.set(leaves.has(word) ? leaf : word, item);
  }
  return leaves;
}

function signatureOf(group: Ours | Theirs, withShapes: boolean): string {
  const parts = [...group.leaves].map(([leaf, { shape }]) => (withShapes ? `${leaf} [${shape?.join(', ')}]` : leaf));
  return parts.sort().join(', ');
}

interface Bucket {
  readonly signature: string;
  readonly ours: Ours[];
  readonly theirs: Theirs[];
}

function bucketsOf(
  ours: readonly Ours[],
  theirs: readonly Theirs[],
  signature: (group: Ours | Theirs) => string,
): ReadonlyMap<string, Bucket> {
  const buckets = new Map<string, Bucket>();
  const bucket = (name: string): Bucket => {
    const had = buckets.get(name) ?? { signature: name, ours: [], theirs: [] };
    buckets.set(name, had);
    return had;
  };
  for (const group of ours) bucket(signature(group)).ours.push(group);
  for (const group of theirs) bucket(signature(group)).theirs.push(group);
  return buckets;
}

function list(names: readonly string[], most = 5): string {
  const more = names.length > most ? ` and ${names.length - most} more` : '';
  return `${names.slice(0, most).join(', ')}${more}`;
}

/** As many modules of each shape on both sides, or a refusal that names the layers. */
function checkCounts(buckets: ReadonlyMap<string, Bucket>, theirs: readonly Theirs[], file: string): void {
  const wrong = [...buckets.values()].filter((bucket) => bucket.ours.length !== bucket.theirs.length);
  // The first place where the two part, seen from our side, else from theirs.
  const lacking = wrong.filter((bucket) => bucket.ours.length > bucket.theirs.length);
  const [first] = lacking;
  if (first !== undefined) {
    const names = first.ours.map((group) => group.layer);
    const near = nearestOf(first, theirs, buckets);
    throw new BnsumError({
      code: 'MISMATCH',
      file,
      place: `layer ${list(names)}`,
      reason:
        `the model has ${first.ours.length} of ${first.signature === '' ? 'no tensors' : first.signature}, ` +
        `the target ${first.theirs.length === 0 ? 'none' : first.theirs.length}${near}`,
      next: `${lacking.length > 1 ? `${lacking.length - 1} more shapes differ; ` : ''}the target must have the same layers`,
    });
  }
  const [extra] = wrong;
  if (extra !== undefined) {
    const taken = extra.ours.length === 0 ? 'none' : String(extra.ours.length);
    throw new BnsumError({
      code: 'MISMATCH',
      file,
      place: list(extra.theirs.map((group) => group.prefix)),
      reason: `the target has ${extra.theirs.length} of ${extra.signature}, the model ${taken}: not every key would be filled`,
      next: 'the model must have the same layers',
    });
  }
}

/** A target module that differs only in whether it has a bias, or whose name is the same. */
function nearestOf(bucket: Bucket, theirs: readonly Theirs[], buckets: ReadonlyMap<string, Bucket>): string {
  const [one] = bucket.ours;
  const weight = one?.leaves.get('weight')?.shape.join();
  const open = theirs.filter((group) => {
    const own = [...buckets.values()].find((other) => other.theirs.includes(group));
    return own !== undefined && own.theirs.length > own.ours.length;
  });
  const near =
    open.find((group) => weight !== undefined && group.leaves.get('weight')?.shape?.join() === weight) ??
    open.find((group) => one !== undefined && contains(group.words, one.words));
  if (near === undefined) return '';
  const facts = [...near.leaves].map(([leaf, { shape }]) => (shape === null ? leaf : `${leaf} [${shape.join(', ')}]`));
  return ` (${near.prefix} has ${facts.join(', ')})`;
}

/** Modules that names tell apart: all of a bucket, or single ones by words alone. */
function byNames(bucket: Bucket): readonly Pair[] {
  // The very same names on both sides, all of them: even automatic ones then count from the same start.
  const same = bucket.ours.flatMap((ours): Pair[] => {
    const theirs = bucket.theirs.find((other) => other.prefix === ours.prefix);
    return theirs === undefined ? [] : [{ ours, theirs, because: 'its name' }];
  });
  if (same.length === bucket.ours.length) return same;
  const pairs = mutual(bucket);
  if (pairs.length === bucket.ours.length) return pairs;
  // A number alone may count from 0 on one side and from 1 on the other: it tells only when all of them fit.
  const sure = pairs.filter((pair) => {
    const telling = tellingWords(pair.ours.words);
    return telling.some((word) => !isNumber(word)) && !telling.some(isNumber);
  });
  return sure;
}

function mutual(bucket: Bucket): Pair[] {
  const fits = (ours: Ours, theirs: Theirs): boolean =>
    !ours.automatic &&
    tellingWords(ours.words).length > 0 &&
    tellingWords(theirs.words).length > 0 &&
    contains(ours.words, theirs.words);
  const exact = (ours: Ours, theirs: Theirs): boolean =>
    fits(ours, theirs) && ours.words.join() === theirs.words.join();
  const pairs: Pair[] = [];
  for (const ours of bucket.ours) {
    for (const test of [exact, fits]) {
      const found = bucket.theirs.filter((theirs) => test(ours, theirs));
      const [theirs] = found;
      if (found.length !== 1 || theirs === undefined) continue;
      if (bucket.ours.filter((other) => test(other, theirs)).length !== 1) continue;
      pairs.push({ ours, theirs, because: 'its name' });
      break;
    }
  }
  const taken = new Map<Theirs, number>();
  for (const { theirs } of pairs) taken.set(theirs, (taken.get(theirs) ?? 0) + 1);
  return pairs.filter(({ theirs }) => taken.get(theirs) === 1);
}

/** What names leave open, by order, where order is a fact of both models. */
function byOrder(
  model: Model,
  ours: readonly Ours[],
  theirs: readonly Theirs[],
  pairs: readonly Pair[],
  buckets: ReadonlyMap<string, Bucket>,
  signature: (group: Ours | Theirs) => string,
  target: Target,
): readonly Pair[] {
  const known = new Map(pairs.map((pair) => [pair.ours, pair.theirs]));
  const taken = new Set(pairs.map((pair) => pair.theirs));
  const sameSequence = ours.every((group, at) => {
    const other = theirs[at];
    return other !== undefined && signature(group) === signature(other);
  });
  const agrees = sameSequence && ours.every((group, at) => (known.get(group) ?? theirs[at]) === theirs[at]);
  const order = orderOf(model);
  const made: Pair[] = [];
  for (const bucket of buckets.values()) {
    const open = labelled(bucket.ours).filter(({ item }) => !known.has(item));
    const free = labelled(bucket.theirs).filter(({ item }) => !taken.has(item));
    for (const part of partsByLabel(open, free)) {
      const [first] = part.ours;
      const [only] = part.theirs;
      if (first === undefined || only === undefined) continue;
      if (part.ours.length === 1) {
        const because = part.isNamed ? 'its abbreviated name' : 'the only one of its shapes that is left';
        made.push({ ours: first, theirs: only, because });
        continue;
      }
      const counted = byNumber(part.theirs, target.isOrdered);
      const listed = counted ?? part.theirs;
      const disorder = !target.isOrdered
        ? 'the target sorts its keys by name'
        : agrees
          ? null
          : 'the two models list their layers in different orders';
      const members = new Set(part.ours);
      const inPart = (one: Labelled<Ours>): boolean => members.has(one.item);
      const labelOf = new Map(free.map((one) => [one.item, one]));
      const refused = objection(
        open.filter(inPart),
        listed.map((item) => labelOf.get(item) ?? { item, label: [] }),
      );
      if (refused !== null) {
        const why = `by order it would be ${refused.theirs.prefix}, by name ${refused.rather.prefix}`;
        throw ambiguous(refused.ours, part.theirs, why, target.file, refused.rather);
      }
      const why =
        (counted === null ? disorder : null) ??
        unordered(part.ours, order) ??
        countsDown(listed) ??
        contradicted(part.ours, listed);
      if (why !== null) throw ambiguous(first, part.theirs, why, target.file);
      const because = counted === null ? 'its place in the order' : 'its number';
      for (const [at, group] of part.ours.entries()) {
        const other = listed[at];
        if (other !== undefined) made.push({ ours: group, theirs: other, because });
      }
    }
  }
  return made;
}

/** Modules of equal shapes with the words that tell them apart; parts of one layer have names of their own. */
function labelled<T extends Ours | Theirs>(groups: readonly T[]): readonly Labelled<T>[] {
  const labels = labelsOf(groups.map(ownWords));
  return groups.map((item, at) => ({ item, label: labels[at] ?? [] }));
}

function ownWords(group: Ours | Theirs): readonly string[] {
  if (!group.automatic) return group.words;
  return 'inner' in group ? wordsOf(group.inner) : [];
}

/** Names that differ in their numbers alone, counted up; null where they do not, or the target's own order differs. */
function byNumber(free: readonly Theirs[], isOrdered: boolean): readonly Theirs[] | null {
  const [first] = free;
  if (first === undefined || free.some((group) => patternOf(group.words) !== patternOf(first.words))) return null;
  const sorted = [...free].sort((a, b) => compareNumbers(a.words, b.words));
  const isTold = sorted.every((group, at) => at === 0 || compareNumbers(sorted[at - 1]?.words ?? [], group.words) < 0);
  if (!isTold || (isOrdered && sorted.some((group, at) => group !== free[at]))) return null;
  return sorted;
}

/** Names of one pattern whose numbers go down. */
function countsDown(free: readonly Theirs[]): string | null {
  for (const [at, group] of free.entries()) {
    const next = free[at + 1];
    if (next === undefined || patternOf(group.words) !== patternOf(next.words)) continue;
    if (compareNumbers(group.words, next.words) > 0) return `the target lists ${group.prefix} before ${next.prefix}`;
  }
  return null;
}

/** Two layers side by side have no order of their own. */
function unordered(open: readonly Ours[], order: ReturnType<typeof orderOf>): string | null {
  for (const [at, group] of open.entries()) {
    const next = open[at + 1];
    if (next !== undefined && group.layer !== next.layer && !order.precedes(group.layer, next.layer)) {
      return `${group.layer} and ${next.layer} stand side by side`;
    }
  }
  return null;
}

/** Beyond this many modules of equal shapes only neighbours are compared. */
const MANY = 300;

/** Names that would fit better the other way round. */
function contradicted(open: readonly Ours[], free: readonly Theirs[]): string | null {
  for (const [i, one] of open.entries()) {
    const end = open.length > MANY ? Math.min(i + 2, open.length) : open.length;
    for (let j = i + 1; j < end; j += 1) {
      const other = open[j];
      const [left, right] = [free[i], free[j]];
      if (other === undefined || left === undefined || right === undefined) continue;
      const straight = similarity(one.words, left.words) + similarity(other.words, right.words);
      const crossed = similarity(one.words, right.words) + similarity(other.words, left.words);
      if (crossed > straight) return `by order it would be ${left.prefix}, by name ${right.prefix}`;
    }
  }
  return null;
}

function ambiguous(ours: Ours, free: readonly Theirs[], why: string, file: string, rather?: Theirs): BnsumError {
  const ranked = free
    .map((group) => ({ group, score: group === rather ? 2 : similarity(ours.words, group.words) }))
    .sort((a, b) => b.score - a.score || a.group.at - b.group.at)
    .map(({ group }) => group.prefix);
  return new BnsumError({
    code: 'AMBIGUOUS',
    file,
    place: `layer ${ours.layer}`,
    reason: `fits ${free.length} modules of equal shapes: ${list(ranked)}; ${why}`,
    next: 'write a map with --emit-map FILE (without --keys), put the keys there, and give it with --map FILE',
  });
}

/** Kinds that shapes do not tell apart. */
const CONFUSABLE: readonly (readonly Kind[])[] = [
  ['conv', 'conv_transpose'],
  ['batch_norm', 'layer_norm', 'group_norm', 'instance_norm', 'rms_norm', 'prelu'],
  ['lstm', 'gru', 'rnn'],
];

/** Shapes that a list states for single keys, and kinds that contradict each other. */
function checkPairs(pairs: readonly Pair[], file: string): void {
  for (const { ours, theirs, because } of pairs) {
    for (const [leaf, tensor] of ours.leaves) {
      const wanted = theirs.leaves.get(leaf)?.shape ?? null;
      if (wanted !== null && wanted.join() !== tensor.shape.join()) {
        throw new BnsumError({
          code: 'MISMATCH',
          file,
          place: `${theirs.prefix}.${leaf}`,
          reason: `has shape [${wanted.join(', ')}], layer ${ours.layer} gives [${tensor.shape.join(', ')}] (matched as ${because})`,
          next: 'give the names with --map FILE',
        });
      }
    }
    const differs = CONFUSABLE.some(
      (kinds) =>
        ours.kind !== theirs.kind && kinds.some((k) => k === ours.kind) && kinds.some((k) => k === theirs.kind),
    );
    const sure = because === 'the only one of its shapes' || because === 'its name';
    if (differs && !sure) {
      throw new BnsumError({
        code: 'AMBIGUOUS',
        file,
        place: `layer ${ours.layer}`,
        reason: `is a ${ours.kind}, but ${because} it would be ${theirs.prefix}, a ${theirs.kind}`,
        next: 'give the names with --map FILE',
      });
    }
  }
}

function rowsOf(plan: Plan, pairs: readonly Pair[], target: Target): Match {
  const to = new Map<string, { key: string | null; because: string }>();
  for (const { ours, theirs, because } of pairs) {
    for (const [leaf, tensor] of ours.leaves) {
      const key = theirs.leaves.get(leaf)?.key;
      if (key === undefined) throw new BnsumError({ code: 'INTERNAL', reason: `${tensor.name} lost its key` });
      to.set(tensor.name, { key, because });
    }
    if (ours.counter !== null) {
      const because_ = theirs.counter === null ? 'the target keeps no counter' : because;
      to.set(ours.counter.name, { key: theirs.counter?.key ?? null, because: because_ });
    } else if (theirs.counter !== null) {
      throw new BnsumError({
        code: 'MISMATCH',
        file: target.file,
        place: theirs.counter.key,
        reason: `layer ${ours.layer} has no counter to fill it`,
      });
    }
  }
  const rows = plan.tensors.map((tensor): NameRow => {
    const found = to.get(tensor.name);
    if (found === undefined) throw new BnsumError({ code: 'INTERNAL', reason: `${tensor.name} has no key` });
    return { tensor: tensor.name, to: found.key, shares: null, because: found.because };
  });
  const holders = new Map(rows.flatMap((row) => (row.to === null ? [] : [[row.to, row.tensor] as const])));
  for (const key of target.keys) {
    if (key.shares === null) continue;
    const tensor = holders.get(key.shares);
    if (tensor === undefined) throw new BnsumError({ code: 'INTERNAL', reason: `nothing fills ${key.shares}` });
    rows.push({ tensor, to: key.key, shares: key.shares, because: `the target ties it to ${key.shares}` });
  }
  const reasons = new Map<string, number>();
  for (const { because } of pairs) reasons.set(because, (reasons.get(because) ?? 0) + 1);
  const by = [...reasons].sort(([a], [b]) => (a < b ? -1 : 1)).map(([because, count]) => `${count} by ${because}`);
  return { rows, diagnostics: [note('KEYS_MATCHED', {}, { count: pairs.length, by })] };
}
