import { LIMITS } from '../../ir/limits.ts';
import type { IndirectTensor } from './pickle-event.ts';
import { find, type Machine } from './pickle-machine.ts';
import { type PickleNode, partsOf, sizeOfTree } from './pickle-tree.ts';
import { type DictNode, isGlobal, isReduced, isTuple, type PickleValue } from './pickle-value.ts';

/** What an audit adds up over one stream: the memory and time that Python would spend, and our own steps. */
export interface Effort {
  /** Bytes that calls make out of numbers, or by copying what the stream holds once. */
  made: number;
  /** Steps of Python's hashing: a tuple is hashed anew, with all its parts, whenever it is a key. */
  hashed: number;
  /** Steps of our own walks. */
  visits: number;
  /** What has been said once. */
  readonly said: Set<string>;
  /** Lengths of what calls make, where that is no container of this stream: list(range(n)). */
  readonly lengths: Map<PickleValue, number>;
  /** Containers and bytes that were copied once: the first copy is in proportion to the stream. */
  readonly copied: Set<PickleValue>;
  /** Elements of each storage that a copy may still make: the file holds them. */
  readonly backed: Map<string, number>;
  /** Dicts that NumPy keeps as the fields of a type: whoever changes them changes how memory is read. */
  readonly fields: Set<DictNode>;
  readonly hashes: Map<PickleNode, number>;
  /** Tensors that are addressed by the numbers of others. */
  readonly indirect: IndirectTensor[];
}

/** Made when first needed: small streams follow one another by the million. */
export function effortOf(machine: Machine): Effort {
  machine.effort ??= {
    made: 0,
    hashed: 0,
    visits: 0,
    said: new Set(),
    lengths: new Map(),
    copied: new Set(),
    backed: new Map(),
    fields: new Set(),
    hashes: new Map(),
    indirect: [],
  };
  return machine.effort;
}

function sayOnce(machine: Machine, effort: Effort, code: 'EXPANSION' | 'LIMIT', what: string, detail: string): void {
  if (effort.said.has(what)) return;
  effort.said.add(what);
  find(machine, code, detail);
}

/** Adds memory that Python takes for a call; more than the stream could honestly need is a finding. */
export function charge(machine: Machine, bytes: number, what: string): void {
  if (bytes === 0) return;
  const effort = effortOf(machine);
  // What is no number is more than any limit.
  effort.made += bytes >= 0 ? bytes : Number.POSITIVE_INFINITY;
  const read = machine.position - machine.start;
  if (effort.made <= LIMITS.pickleMadeBytes + LIMITS.pickleMadeRatio * read) return;
  sayOnce(
    machine,
    effort,
    'EXPANSION',
    'made',
    `${what}: ${effort.made.toPrecision(3)} bytes of memory out of ${read} bytes of the stream`,
  );
}

/** Adds the copy of something that stands in the stream: from the second one on it is made out of nothing. */
export function chargeCopy(machine: Machine, source: PickleValue, bytes: number, what: string): void {
  if (typeof source === 'object' && source !== null) {
    const { copied } = effortOf(machine);
    if (!copied.has(source)) {
      copied.add(source);
      return;
    }
  }
  charge(machine, bytes, what);
}

/** Counts steps of our own; false: enough, what is left is not judged. */
export function step(machine: Machine, count: number): boolean {
  const effort = effortOf(machine);
  effort.visits += count;
  if (effort.visits <= LIMITS.pickleVisits) return true;
  sayOnce(machine, effort, 'LIMIT', 'visits', `more than ${LIMITS.pickleVisits} steps through the arguments of calls`);
  return false;
}

/** Tuples up to this length are counted through each time. */
const SHORT_TUPLE = 16;

/** Adds what Python does to hash a key. */
export function hashKey(machine: Machine, key: PickleValue): void {
  if (!isTuple(key)) return;
  const { items } = key;
  const effort = effortOf(machine);
  let size = items.length;
  if (items.length > SHORT_TUPLE || items.some(isTuple)) {
    const known = effort.hashes;
    size =
      known.get(key) ??
      sizeOfTree(
        key,
        known,
        () => 1,
        (node) => (node.kind === 'tuple' ? node.items : []),
        (parts, depth) => {
          if (depth > LIMITS.pickleKeyDepth) {
            sayOnce(
              machine,
              effort,
              'EXPANSION',
              'depth',
              `a key of more than ${LIMITS.pickleKeyDepth} tuples in one another`,
            );
          }
          return step(machine, parts);
        },
      );
  }
  effort.hashed += size;
  if (effort.hashed <= LIMITS.pickleHashSteps + (machine.position - machine.start)) return;
  sayOnce(machine, effort, 'EXPANSION', 'hashed', `keys that take ${effort.hashed.toPrecision(3)} steps to hash`);
}

/** Characters that a value has when it is printed. */
export function textLength(machine: Machine, value: PickleValue): number {
  const own = (part: PickleValue): number => {
    // An escape takes up to four characters a byte.
    if (typeof part === 'string' || part instanceof Uint8Array) return 4 * part.length + 8;
    if (typeof part === 'bigint') return 3 * part.toString(16).length;
    const length = isReduced(part) && !isRange(part) ? machine.effort?.lengths.get(part) : undefined;
    return length === undefined ? 24 : 4 * length;
  };
  if (typeof value !== 'object' || value === null || value instanceof Uint8Array) return own(value);
  return sizeOfTree(value, new Map(), own, partsOf, (parts) => step(machine, parts));
}

/** A range that is made in the stream: it is small, however long. */
export function isRange(value: PickleValue | undefined): boolean {
  return isReduced(value) && isGlobal(value.callable) && value.callable.path === 'builtins.range';
}
