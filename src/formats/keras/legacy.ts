import { BnsumError } from '../../ir/error.ts';
import type { Variable } from '../../layers/family.ts';
import type { LayerSpec } from './architecture.ts';
import {
  type Assignment,
  assignUnknown,
  assignVariable,
  type Discord,
  refuseDiscord,
  variablesOf,
} from './assignment.ts';
import { type Hdf5Dataset, type Hdf5File, joinPath, textList } from './hdf5.ts';
import type { InputShapes } from './inputs.ts';

/**
 * Weights of the legacy layout: a group per top-level layer (`layer_names`), arrays by name (`weight_names`). A nested
 * model's arrays lie in one group, trainable ones first, so they are told apart by name and never by place.
 */

interface NamedArray {
  readonly name: string;
  readonly dataset: Hdf5Dataset;
}

/** A place that waits for an array. */
interface Slot {
  readonly owner: LayerSpec;
  readonly variable: Variable;
  /** Names from the group's layer down to the owner. */
  readonly chain: readonly string[];
  taken: boolean;
}

/** The arrays of a layer that `layer_names` lists. Throws MISMATCH when its group or an array is not there. */
export function arraysOfLayer(file: Hdf5File, groupPath: string): readonly NamedArray[] {
  if (!file.groups.has(groupPath)) {
    throw new BnsumError({
      code: 'MISMATCH',
      file: file.label,
      place: groupPath,
      reason: 'layer_names lists this layer, whose group is not in the file',
    });
  }
  return arraysOf(file, groupPath);
}

/** The arrays that a group's `weight_names` lists; none without the group. Throws MISMATCH when one is not there. */
export function arraysOf(file: Hdf5File, groupPath: string): readonly NamedArray[] {
  const group = file.groups.get(groupPath);
  const names = textList(group, 'weight_names') ?? [];
  return names.map((name) => {
    const dataset = file.datasets.get(joinPath(groupPath, cleanPath(name)));
    if (dataset === undefined) {
      throw new BnsumError({
        code: 'MISMATCH',
        file: file.label,
        place: groupPath,
        reason: `weight_names lists ${name}, which is not in the file`,
      });
    }
    return { name, dataset };
  });
}

function cleanPath(name: string): string {
  return name
    .split('/')
    .filter((part) => part !== '' && part !== '.')
    .join('/');
}

/** Finds every weight of `root`'s layers in the groups below `base`. Throws MISMATCH where the two do not agree. */
export function assignLegacy(
  file: Hdf5File,
  base: string,
  root: LayerSpec,
  inputs: InputShapes,
  unbuilt: boolean,
): Assignment {
  const assignment: Assignment = new Map();
  const discord: Discord = { missing: [], unexpected: [] };
  const layerNames = textList(file.groups.get(base), 'layer_names') ?? [];
  const byName = new Map(root.children.map((child) => [child.name, child]));
  const seen = new Set<string>();
  for (const name of layerNames) {
    const arrays = arraysOfLayer(file, joinPath(base, name));
    const spec = byName.get(name);
    if (spec === undefined) discord.unexpected.push(...arrays.map((array) => array.name));
    else {
      if (seen.has(name)) {
        throw new BnsumError({ code: 'MALFORMED', file: file.label, place: name, reason: 'layer_names has it twice' });
      }
      seen.add(name);
      assignGroup(assignment, discord, file.label, { top: spec, inputs }, arrays);
    }
  }
  for (const spec of root.children) {
    if (!seen.has(spec.name)) assignGroup(assignment, discord, file.label, { top: spec, inputs }, []);
  }
  for (const { name, dataset } of arraysOf(file, joinPath(base, 'top_level_model_weights'))) {
    assignUnknown(assignment, '', dataset, name, roleOf(name));
  }
  if (!(unbuilt && assignment.size === 0 && discord.unexpected.length === 0)) refuseDiscord(file.label, discord);
  return assignment;
}

function assignGroup(
  assignment: Assignment,
  discord: Discord,
  file: string,
  { top, inputs }: { readonly top: LayerSpec; readonly inputs: InputShapes },
  arrays: readonly NamedArray[],
): void {
  const { slots, strangers } = slotsOf(top, inputs);
  const waiting = new Set(arrays);
  const index = indexSlots(slots);
  const choices = new Map(arrays.map((array) => [array, choicesFor(array.name, index)]));
  const found = new Map<Slot, NamedArray>();
  const take = (array: NamedArray, slot: Slot): void => {
    slot.taken = true;
    found.set(slot, array);
    waiting.delete(array);
  };
  // Arrays whose name fits one place better than every other; each place that is filled may settle another array.
  for (let progress = true; progress; ) {
    progress = false;
    const claims = new Map<Slot, NamedArray[]>();
    for (const array of waiting) {
      const best = bestOf(choices.get(array) ?? []);
      const [only, ...others] = best;
      if (only === undefined || others.length > 0) continue;
      const claim = claims.get(only);
      if (claim === undefined) claims.set(only, [array]);
      else claim.push(array);
    }
    for (const [slot, [array, ...rivals]] of claims) {
      if (array === undefined || rivals.length > 0) continue;
      take(array, slot);
      progress = true;
    }
  }
  // Names that the file itself cannot tell apart (layers of one name in two inner models): the file's order decides,
  // and within one role that order is the layers' own.
  for (const array of arrays) {
    if (!waiting.has(array)) continue;
    const slot = bestOf(choices.get(array) ?? []).find((candidate) => fits(candidate, array));
    if (slot !== undefined) take(array, slot);
  }
  for (const array of arrays) {
    if (!waiting.has(array)) continue;
    const owner = strangerOf(array.name, strangers, top);
    if (owner === undefined) discord.unexpected.push(array.name);
    else assignUnknown(assignment, owner.path, array.dataset, array.name, roleBelow(array.name, owner));
  }
  for (const slot of slots) {
    const array = found.get(slot);
    if (array === undefined) discord.missing.push(`${slot.owner.path} ${slot.variable.role}`);
    else assignVariable(assignment, file, slot.owner, slot.variable, array.dataset, array.name);
  }
}

function fits({ variable }: Slot, { dataset }: NamedArray): boolean {
  const wanted = variable.shape;
  const { shape } = dataset;
  return wanted === null || (shape?.length === wanted.length && wanted.every((size, axis) => size === shape[axis]));
}

/** The places of a layer and of everything below it, and the layers of unknown class among them. */
function slotsOf(
  top: LayerSpec,
  inputs: InputShapes,
): { readonly slots: readonly Slot[]; readonly strangers: readonly LayerSpec[] } {
  const slots: Slot[] = [];
  const strangers: LayerSpec[] = [];
  const stack: { spec: LayerSpec; chain: readonly string[] }[] = [{ spec: top, chain: [] }];
  for (let next = stack.pop(); next !== undefined; next = stack.pop()) {
    const { spec } = next;
    const chain = [...next.chain, spec.name];
    if (spec.form === 'layer' || spec.form === 'wrapper') {
      const variables = variablesOf(spec, inputs);
      if (variables === undefined) strangers.push(spec);
      for (const variable of variables ?? []) {
        if (variable.copyOf === undefined) slots.push({ owner: spec, variable, chain, taken: false });
      }
    }
    for (const child of [...spec.children].reverse()) {
      if (child.form !== 'operation') stack.push({ spec: child, chain });
    }
  }
  return { slots, strangers };
}

interface SlotIndex {
  readonly byOwner: ReadonlyMap<string, readonly Slot[]>;
  readonly byTail: ReadonlyMap<string, readonly Slot[]>;
}

/** A name that an array of the owner may carry in front of its role. */
function ownerWords({ owner }: Slot): readonly string[] {
  // Keras names the two inner layers of a Bidirectional after the wrapped one.
  const direction = owner.path.endsWith('/forward_layer')
    ? 'forward_'
    : owner.path.endsWith('/backward_layer')
      ? 'backward_'
      : undefined;
  return direction === undefined || owner.name.startsWith(direction)
    ? [owner.name]
    : [owner.name, `${direction}${owner.name}`];
}

function indexSlots(slots: readonly Slot[]): SlotIndex {
  const byOwner = new Map<string, Slot[]>();
  const byTail = new Map<string, Slot[]>();
  const put = (map: Map<string, Slot[]>, key: string, slot: Slot): void => {
    const list = map.get(key);
    if (list === undefined) map.set(key, [slot]);
    else if (list.at(-1) !== slot) list.push(slot);
  };
  for (const slot of slots) {
    for (const tail of slot.variable.names) {
      put(byTail, tail, slot);
      for (const word of ownerWords(slot)) put(byOwner, `${word}\0${tail}`, slot);
    }
  }
  return { byOwner, byTail };
}

interface Choice {
  readonly slot: Slot;
  readonly score: number;
}

const MAXIMUM_TAIL = 3;
const OWNER_SCORE = 1_000;
const TAIL_SCORE = 10;
const EXACT_SCORE = 5;

/** Every place that this name may mean, with how well it fits: the owner's name first, then how much of the tail. */
function choicesFor(name: string, index: SlotIndex): readonly Choice[] {
  const best = new Map<Slot, number>();
  const consider = (slot: Slot, score: number): void => {
    if ((best.get(slot) ?? -1) < score) best.set(slot, score);
  };
  for (const { words, tail, parts, exact } of readingsOf(name)) {
    const tailScore = parts * TAIL_SCORE + (exact ? EXACT_SCORE : 0);
    for (const word of words) {
      for (const slot of index.byOwner.get(`${word}\0${tail}`) ?? []) {
        const ancestors = slot.chain.filter((link) => words.includes(link)).length;
        consider(slot, OWNER_SCORE + ancestors * 100 + tailScore);
      }
    }
    // Without the owner's name only its ancestors can speak for it (a TimeDistributed names its inner layer's arrays).
    const hits = index.byTail.get(tail) ?? [];
    for (const slot of hits) {
      consider(slot, slot.chain.filter((link) => words.includes(link)).length * 100 + tailScore);
    }
  }
  return [...best].map(([slot, score]) => ({ slot, score }));
}

interface Reading {
  readonly words: readonly string[];
  readonly tail: string;
  /** Path parts of the tail. */
  readonly parts: number;
  /** The tail as it stands, without a de-duplication suffix taken off. */
  readonly exact: boolean;
}

/** The ways to read a name as owner and role: 'a/lstm_cell/kernel:0', 'lstm_1_W_i', 'dense/kernel_1:0'. */
function readingsOf(name: string): readonly Reading[] {
  const parts = cleanPath(name.replace(/:\d+(_\d+)?$/, '')).split('/');
  const readings: Reading[] = [];
  const add = (words: readonly string[], tail: string, count: number): void => {
    readings.push({ words, tail, parts: count, exact: true });
    const shorter = tail.replace(/_\d+$/, '');
    if (shorter !== tail) readings.push({ words, tail: shorter, parts: count, exact: false });
  };
  for (let count = 1; count <= Math.min(MAXIMUM_TAIL, parts.length); count++) {
    add(parts.slice(0, -count), parts.slice(-count).join('/'), count);
  }
  // Keras 1 joins the two by an underscore, and both may hold others.
  const last = parts.at(-1) ?? '';
  const before = parts.slice(0, -1);
  for (let at = last.indexOf('_'); at > 0; at = last.indexOf('_', at + 1)) {
    readings.push({ words: [...before, last.slice(0, at)], tail: last.slice(at + 1), parts: 1, exact: true });
  }
  return readings;
}

function bestOf(choices: readonly Choice[]): readonly Slot[] {
  let top = -1;
  let best: Slot[] = [];
  for (const { slot, score } of choices) {
    if (slot.taken || score < top) continue;
    if (score > top) best = [];
    top = score;
    best.push(slot);
  }
  return best;
}

/** The layer of unknown class that an array belongs to: the one it names, or the only one there is. */
function strangerOf(name: string, strangers: readonly LayerSpec[], top: LayerSpec): LayerSpec | undefined {
  const parts = cleanPath(name).split('/');
  const named = strangers.filter(
    (spec) => parts.includes(spec.name) || parts.at(-1)?.startsWith(`${spec.name}_`) === true,
  );
  if (named.length === 1) return named[0];
  if (named.length === 0 && strangers.length === 1) return strangers[0];
  return strangers.includes(top) && strangers.length === 1 ? top : undefined;
}

/** The last part of a name, without ':0'. */
export function roleOf(name: string): string {
  return (
    cleanPath(name.replace(/:\d+(_\d+)?$/, ''))
      .split('/')
      .at(-1) ?? name
  );
}

/** What stands behind the owner's name: 'dense_1/kernel' of 'scale_block/dense_1/kernel:0'. */
function roleBelow(name: string, owner: LayerSpec): string {
  const parts = cleanPath(name.replace(/:\d+(_\d+)?$/, '')).split('/');
  const at = parts.lastIndexOf(owner.name);
  return at >= 0 && at < parts.length - 1 ? parts.slice(at + 1).join('/') : (parts.at(-1) ?? name);
}

/**
 * Owner and role of an array in the group of a layer, from the name alone: 'sequential/dense/kernel' of dense is its
 * kernel, 'inner_bn/gamma:0' of tower belongs to inner_bn, 'mha/query/kernel' of mha is query/kernel.
 */
export function readings(name: string, layer: string): { readonly owner: string; readonly role: string } {
  const parts = cleanPath(name.replace(/:\d+(_\d+)?$/, '')).split('/');
  const at = parts.lastIndexOf(layer, parts.length - 2);
  if (parts.length > 1 && at >= 0) return { owner: '', role: parts.slice(at + 1).join('/') };
  const last = parts.at(-1) ?? name;
  if (parts.length === 1) {
    return { owner: '', role: last.startsWith(`${layer}_`) ? last.slice(layer.length + 1) : last };
  }
  return { owner: parts.slice(0, -1).join('/'), role: last };
}
