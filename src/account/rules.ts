import type { WeightClass } from '../ir/model.ts';
import type { Count } from './count.ts';
import { plus } from './count.ts';
import type { Entry } from './entries.ts';

/**
 * A rule is data: whose tensors, which of them, and when two of them are one. A further rule is one more object.
 * Source of each: the `summary()` of Keras, `sum(p.numel())` of PyTorch, and sums over a state_dict.
 */
export interface Rule {
  /** Whose tensors are counted. */
  readonly of: 'keras' | 'torch';
  /** `identity`: one tensor under two names counts once, with its first owner. `key`: each name counts. */
  readonly unique: 'identity' | 'key';
  readonly classes: ReadonlySet<WeightClass>;
  /** Only parameters, or only buffers. */
  readonly parameter?: boolean;
  /** Only what is trained, or only what is not. Unknown when one tensor's flag is not known. */
  readonly trainable?: boolean;
}

const EVERY: ReadonlySet<WeightClass> = new Set(['weight', 'statistic', 'counter', 'seed', 'constant']);
/** Keras keeps random state out of `weights`. */
const HELD_BY_KERAS: ReadonlySet<WeightClass> = new Set(['weight', 'statistic', 'counter', 'constant']);

export type RuleName =
  | 'keras.total'
  | 'keras.trainable'
  | 'keras.nonTrainable'
  | 'torch.parameters'
  | 'torch.trainable'
  | 'torch.frozen'
  | 'torch.buffers'
  | 'state.elements'
  | 'state.unique';

export const RULES: Readonly<Record<RuleName, Rule>> = {
  'keras.total': { of: 'keras', unique: 'identity', classes: HELD_BY_KERAS },
  'keras.trainable': { of: 'keras', unique: 'identity', classes: HELD_BY_KERAS, trainable: true },
  'keras.nonTrainable': { of: 'keras', unique: 'identity', classes: HELD_BY_KERAS, trainable: false },
  'torch.parameters': { of: 'torch', unique: 'identity', classes: EVERY, parameter: true },
  'torch.trainable': { of: 'torch', unique: 'identity', classes: EVERY, parameter: true, trainable: true },
  'torch.frozen': { of: 'torch', unique: 'identity', classes: EVERY, parameter: true, trainable: false },
  'torch.buffers': { of: 'torch', unique: 'identity', classes: EVERY, parameter: false },
  'state.elements': { of: 'torch', unique: 'key', classes: EVERY },
  'state.unique': { of: 'torch', unique: 'identity', classes: EVERY },
};

/** Whether an entry is trained: statistics, counters and constants never are; null where the file does not say. */
export function isTrained(entry: Entry): boolean | null {
  return entry.class === 'weight' || entry.trainable === true ? entry.trainable : false;
}

const owners = new WeakMap<readonly Entry[], readonly Entry[]>();

/** The first of each identity, in order. Remembered for a list, which every rule asks for. */
export function firstOwners(entries: readonly Entry[]): readonly Entry[] {
  const known = owners.get(entries);
  if (known !== undefined) return known;
  const seen = new Set<string>();
  for (const entry of entries) seen.add(entry.identity);
  // Nothing is shared, as in most models: the list itself, whose copy would be as long.
  const first = seen.size === entries.length ? entries : entries.filter((entry) => seen.delete(entry.identity));
  owners.set(entries, first);
  return first;
}

export interface Tally {
  readonly elements: Count;
  readonly bytes: Count;
}

/** Whether a rule counts an entry, trainability apart. */
export function counts(rule: Rule, entry: Entry): boolean {
  return rule.classes.has(entry.class) && (rule.parameter === undefined || entry.isParameter === rule.parameter);
}

/** What a rule looks through: every name, or the first of each identity. */
export function countable(rule: Rule, all: readonly Entry[]): readonly Entry[] {
  return rule.unique === 'identity' ? firstOwners(all) : all;
}

/** The sum of what `select` would list; null when it asks for a flag that the file does not state. */
export function measure(rule: Rule, all: readonly Entry[]): Tally | null {
  let elements: Count = 0;
  let bytes: Count = 0;
  for (const entry of countable(rule, all)) {
    if (!counts(rule, entry)) continue;
    if (rule.trainable !== undefined) {
      const trained = isTrained(entry);
      if (trained === null) return null;
      if (trained !== rule.trainable) continue;
    }
    elements = plus(elements, entry.elements);
    bytes = plus(bytes, entry.bytes);
  }
  return { elements, bytes };
}

/** The entries that a rule counts; null when it asks for a flag that the file does not state. */
export function select(rule: Rule, all: readonly Entry[]): readonly Entry[] | null {
  const entries = countable(rule, all).filter((entry) => counts(rule, entry));
  if (rule.trainable === undefined) return entries;
  if (entries.some((entry) => isTrained(entry) === null)) return null;
  return entries.filter((entry) => isTrained(entry) === rule.trainable);
}

export function tally(entries: readonly Entry[]): Tally {
  let elements: Count = 0;
  let bytes: Count = 0;
  for (const entry of entries) {
    elements = plus(elements, entry.elements);
    bytes = plus(bytes, entry.bytes);
  }
  return { elements, bytes };
}
