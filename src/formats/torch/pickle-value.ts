import type { DType } from '../../ir/dtype.ts';
import type { PickleEvent } from './pickle-event.ts';
import type { StorageBytes } from './strided.ts';

/**
 * What a pickle describes, as inert data. Nothing here can be called; a class is a name and a call is a record of it.
 * Integers beyond 2^53 are bigint. A float whose value is whole is a FloatNode, so that 5.0 is not taken for 5.
 */
export type PickleValue =
  | null
  | boolean
  | number
  | bigint
  | string
  | Uint8Array
  | FloatNode
  | ListNode
  | TupleNode
  | DictNode
  | SetNode
  | GlobalNode
  | Reduced
  | PersistentNode
  | StorageNode
  | UnresolvedNode;

export interface FloatNode {
  readonly kind: 'float';
  readonly value: number;
}

export interface ListNode {
  readonly kind: 'list';
  items: PickleValue[];
}

export interface TupleNode {
  readonly kind: 'tuple';
  readonly items: readonly PickleValue[];
}

/** Insertion-ordered, last value of a key wins. Keys that Python holds equal are one key here. */
export interface DictNode {
  readonly kind: 'dict';
  /** 'dict', or the class that was called: 'OrderedDict', 'Counter', 'defaultdict'. */
  readonly type: string;
  entries: ReadonlyMap<PickleValue, PickleValue>;
  /** What BUILD set on it: the `_metadata` of a state_dict. */
  state: PickleValue | undefined;
}

export interface SetNode {
  readonly kind: 'set';
  readonly frozen: boolean;
  items: PickleValue[];
}

/** A class or function by name. */
export interface GlobalNode {
  readonly kind: 'global';
  /** 'module.name', made once: it is asked for at every tensor. */
  readonly path: string;
  readonly module: string;
  readonly name: string;
  readonly event: PickleEvent;
}

/** What a call would have returned: its callable, its arguments, and what was done to the result. */
export interface Reduced {
  readonly kind: 'reduced';
  readonly callable: PickleValue;
  readonly args: readonly PickleValue[];
  readonly keywords: PickleValue | undefined;
  /** The last BUILD's argument. */
  state: PickleValue | undefined;
  /** Values appended, or keys and values in turn, to an instance of a class that we do not know. */
  items: PickleValue[] | undefined;
}

export interface PersistentNode {
  readonly kind: 'persistent';
  readonly id: PickleValue;
  readonly offset: number;
}

/** A storage of a torch file. */
export interface StorageNode {
  readonly kind: 'storage';
  /** null: an untyped storage, its length is in bytes. */
  readonly dtype: DType | null;
  readonly key: string;
  /** Elements, or bytes where dtype is null. */
  readonly length: number;
  /** Legacy storage views: where in the storage of `key` this one begins, in elements. */
  readonly shift: number;
  /** Where its bytes are; set by the container that knows when it reads the storage's id. */
  bytes: StorageBytes | undefined;
}

/** Stands for a memo entry that was never made. */
export interface UnresolvedNode {
  readonly kind: 'unresolved';
}

type Node = Extract<PickleValue, { readonly kind: string }>;

export function isNode(value: PickleValue | undefined): value is Node {
  return typeof value === 'object' && value !== null && !(value instanceof Uint8Array);
}

export function isDict(value: PickleValue | undefined): value is DictNode {
  return isNode(value) && value.kind === 'dict';
}

export function isTuple(value: PickleValue | undefined): value is TupleNode {
  return isNode(value) && value.kind === 'tuple';
}

export function isReduced(value: PickleValue | undefined): value is Reduced {
  return isNode(value) && value.kind === 'reduced';
}

export function isGlobal(value: PickleValue | undefined): value is GlobalNode {
  return isNode(value) && value.kind === 'global';
}

/** Items of a list or tuple, else undefined. */
export function itemsOf(value: PickleValue | undefined): readonly PickleValue[] | undefined {
  return isNode(value) && (value.kind === 'list' || value.kind === 'tuple') ? value.items : undefined;
}

/** The number behind an int or a float; undefined for anything else. */
export function numberOf(value: PickleValue | undefined): number | undefined {
  if (typeof value === 'number') return value;
  return isNode(value) && value.kind === 'float' ? value.value : undefined;
}

/** A whole number ≥ 0 that a file may use as a count or an offset; a float is none. */
export function countOf(value: PickleValue | undefined): number | undefined {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0 ? value : undefined;
}

/** Shared by all lists and sets that are still empty; nobody adds to it. */
export const NO_ITEMS: PickleValue[] = [];

/** Items of a list or set with more of them, which may be kept; a pickle has lists by the million. */
export function joinItems(items: PickleValue[], more: PickleValue[]): PickleValue[] {
  if (items === NO_ITEMS) return more;
  for (const item of more) items.push(item);
  return items;
}

/** Shared by all empty dicts: every tensor brings one along. */
const NO_ENTRIES: ReadonlyMap<PickleValue, PickleValue> = new Map();

/**
 * The entries of a dict of one, as the `_metadata` of a state_dict has them at every module: a Map of its own costs many
 * times as much.
 */
class OneEntry implements ReadonlyMap<PickleValue, PickleValue> {
  readonly #key: PickleValue;
  readonly #value: PickleValue;
  readonly size = 1;

  constructor(key: PickleValue, value: PickleValue) {
    this.#key = key;
    this.#value = value;
  }

  has(key: PickleValue): boolean {
    // As a Map compares: NaN is itself, 0 and -0 are one.
    return key === this.#key || Object.is(key, this.#key);
  }

  get(key: PickleValue): PickleValue | undefined {
    return this.has(key) ? this.#value : undefined;
  }

  forEach(visit: (value: PickleValue, key: PickleValue, map: ReadonlyMap<PickleValue, PickleValue>) => void): void {
    visit(this.#value, this.#key, this);
  }

  entries(): MapIterator<[PickleValue, PickleValue]> {
    return new Map([[this.#key, this.#value]]).entries();
  }

  keys(): MapIterator<PickleValue> {
    return new Map([[this.#key, this.#value]]).keys();
  }

  values(): MapIterator<PickleValue> {
    return new Map([[this.#key, this.#value]]).values();
  }

  [Symbol.iterator](): MapIterator<[PickleValue, PickleValue]> {
    return this.entries();
  }
}

export function putEntry(dict: DictNode, key: PickleValue, value: PickleValue): void {
  const { entries } = dict;
  if (entries instanceof Map && entries !== NO_ENTRIES) entries.set(key, value);
  else if (entries.size === 0 || entries.has(key)) dict.entries = new OneEntry(key, value);
  else dict.entries = new Map([...entries, [key, value]]);
}

export function makeDict(type: string): DictNode {
  return { kind: 'dict', type, entries: NO_ENTRIES, state: undefined };
}

/** 'module.name' of a class, also of the class that a call made an instance of; undefined for anything else. */
export function classNameOf(value: PickleValue | undefined): string | undefined {
  if (isGlobal(value)) return value.path;
  if (!isReduced(value)) return undefined;
  return isGlobal(value.callable) ? value.callable.path : undefined;
}
