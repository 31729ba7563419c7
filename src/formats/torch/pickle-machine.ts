import { codec } from '../../bytes/codec.ts';
import { BnsumError, type ErrorCode } from '../../ir/error.ts';
import { LIMITS } from '../../ir/limits.ts';
import { OPCODE_NAMES } from './opcodes.ts';
import type { Effort } from './pickle-effort.ts';
import type { FindingCode, PickleEvent, PickleFinding } from './pickle-event.ts';
import { isNode, type PickleValue, type TupleNode } from './pickle-value.ts';

export interface PickleOptions {
  /** For messages: 'model.pt!data.pkl'. */
  readonly file: string;
  /**
   * false: what breaks a rule without making the bytes unreadable is a finding, and reading goes on (for an audit, which
   * has to see what follows). Default true: it is an error.
   */
  readonly strict?: boolean;
  /**
   * What a persistent id stands for; throws BnsumError for one that is not understood. Default: a PersistentNode.
   * `place` gives the place of the id, for a message, as long as the call lasts.
   */
  readonly persist?: (id: PickleValue, place: () => string) => PickleValue;
  /** Containers and other objects that an audit may hold for this stream. Default: the limit. */
  readonly nodes?: number;
}

/** The state of one run: the stack with its marks, the memo, the place, and what was recorded. */
export interface Machine {
  readonly bytes: Uint8Array;
  readonly view: DataView;
  readonly options: PickleOptions;
  readonly strict: boolean;
  readonly start: number;
  position: number;
  opStart: number;
  opIndex: number;
  opcode: number;
  protocol: number;
  /** End of the current FRAME, -1 outside of one. */
  frameEnd: number;
  /** Values on the stack: the first `size` of this array, which never shrinks, so that it never grows twice. */
  readonly stack: PickleValue[];
  size: number;
  /** Where the segment above the last mark starts. */
  base: number;
  /** The starts of the segments below. */
  readonly marks: number[];
  /** Text of a range of `bytes`, one character a byte. */
  readonly latin1: (start: number, end: number) => string;
  readonly place: () => string;
  /** Memo entries 0, 1, 2 … as writers number them; others (a sparse PUT) go to `memoFar`. */
  readonly memo: PickleValue[];
  memoFar: Map<number | bigint, PickleValue> | undefined;
  /** Tuples of whole numbers by a hash of them, for sharing; a place that is taken goes to the newcomer. Empty before the first. */
  tuples: (TupleNode | undefined)[];
  readonly events: PickleEvent[];
  /** Events of listed names, each once. */
  readonly folded: PickleEvent[];
  readonly findings: PickleFinding[];
  findingCounts: Map<FindingCode, number> | undefined;
  /** Values that calls such as list([…]) have copied. */
  copied: number;
  /** Objects that an audit holds, each a few dozen bytes whatever it takes in the stream. */
  nodes: number;
  readonly mostNodes: number;
  /** What an audit adds up; undefined before it is needed. */
  effort: Effort | undefined;
}

/** Places for tuples that are shared: a power of two. */
export const SHARED_TUPLES = 1024;

export function makeMachine(bytes: Uint8Array, start: number, options: PickleOptions): Machine {
  const machine: Machine = {
    bytes,
    view: new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength),
    options,
    strict: options.strict ?? true,
    start,
    position: start,
    opStart: start,
    opIndex: 0,
    opcode: 0,
    protocol: 0,
    frameEnd: -1,
    stack: [],
    size: 0,
    base: 0,
    marks: [],
    latin1: codec().latin1(bytes),
    place: () => placeOf(machine),
    memo: [],
    memoFar: undefined,
    tuples: [],
    events: [],
    folded: [],
    findings: [],
    findingCounts: undefined,
    copied: 0,
    nodes: 0,
    mostNodes: options.nodes ?? LIMITS.pickleNodes,
    effort: undefined,
  };
  return machine;
}

export function opcodeName(opcode: number): string {
  return OPCODE_NAMES.get(opcode) ?? `0x${opcode.toString(16).padStart(2, '0')}`;
}

export function placeOf(machine: Machine): string {
  return `@${machine.opStart} op#${machine.opIndex}`;
}

/** Ends the run with an error that names the opcode's place. */
export function fail(machine: Machine, code: ErrorCode, reason: string, next?: string): never {
  throw new BnsumError({
    code,
    file: machine.options.file,
    place: placeOf(machine),
    reason: `${opcodeName(machine.opcode)}: ${reason}`,
    ...(next === undefined ? {} : { next }),
  });
}

/** Findings of one code that are kept; the rest of that code says nothing new. */
const FINDINGS_KEPT = 1_000;

export function find(machine: Machine, code: FindingCode, detail: string): void {
  machine.findingCounts ??= new Map();
  const count = (machine.findingCounts.get(code) ?? 0) + 1;
  machine.findingCounts.set(code, count);
  if (count <= FINDINGS_KEPT) {
    machine.findings.push({ code, offset: machine.opStart, opIndex: machine.opIndex, detail });
  }
}

/** A broken rule: an error in a strict run, else a finding. */
export function breach(machine: Machine, code: FindingCode, error: ErrorCode, reason: string): void {
  if (machine.strict) fail(machine, error, reason);
  find(machine, code, reason);
}

/** The next `length` bytes, proved to be there and inside the frame. */
export function take(machine: Machine, length: number): number {
  const start = machine.position;
  const end = start + length;
  if (end > machine.bytes.length) {
    fail(machine, 'TRUNCATED', `needs ${length} bytes, ${machine.bytes.length - start} are left`);
  }
  if (machine.frameEnd >= 0 && end > machine.frameEnd) {
    breach(machine, 'FRAME', 'MALFORMED', 'its argument runs past the end of its frame');
    machine.frameEnd = -1;
  }
  machine.position = end;
  return start;
}

export function takeBytes(machine: Machine, length: number): Uint8Array {
  const start = take(machine, length);
  return machine.bytes.subarray(start, start + length);
}

export function takeUint8(machine: Machine): number {
  return machine.view.getUint8(take(machine, 1));
}

export function takeUint16(machine: Machine): number {
  return machine.view.getUint16(take(machine, 2), true);
}

export function takeUint32(machine: Machine): number {
  return machine.view.getUint32(take(machine, 4), true);
}

export function takeInt32(machine: Machine): number {
  return machine.view.getInt32(take(machine, 4), true);
}

/** An eight-byte length; one that no file can hold is an error before anything is allocated. */
export function takeUint64(machine: Machine): number {
  const value = machine.view.getBigUint64(take(machine, 8), true);
  if (value > BigInt(machine.bytes.length)) {
    fail(machine, 'TRUNCATED', `claims ${value} bytes, ${machine.bytes.length - machine.position} are left`);
  }
  return Number(value);
}

/** The bytes up to the next newline, which is consumed and not returned. */
export function takeLine(machine: Machine): Uint8Array {
  const start = machine.position;
  const end = machine.bytes.indexOf(10, start);
  if (end < 0) fail(machine, 'TRUNCATED', 'no newline ends its text argument');
  if (end - start > LIMITS.pickleLineBytes) {
    fail(machine, 'LIMIT', `its text argument has ${end - start} bytes, more than ${LIMITS.pickleLineBytes}`);
  }
  take(machine, end + 1 - start);
  return machine.bytes.subarray(start, end);
}

export function push(machine: Machine, value: PickleValue): void {
  if (machine.size >= LIMITS.pickleStack) {
    fail(machine, 'LIMIT', `the stack is above the limit of ${LIMITS.pickleStack} values`);
  }
  machine.stack[machine.size] = value;
  machine.size += 1;
}

export function pop(machine: Machine): PickleValue {
  if (machine.size === machine.base) fail(machine, 'MALFORMED', 'stack underflow');
  machine.size -= 1;
  return machine.stack[machine.size] ?? null;
}

export function top(machine: Machine): PickleValue {
  if (machine.size === machine.base) fail(machine, 'MALFORMED', 'stack underflow');
  return machine.stack[machine.size - 1] ?? null;
}

export function pushMark(machine: Machine): void {
  if (machine.marks.length >= LIMITS.pickleMarkDepth) {
    fail(machine, 'LIMIT', `marks are nested deeper than ${LIMITS.pickleMarkDepth}`);
  }
  machine.marks.push(machine.base);
  machine.base = machine.size;
}

/** Everything above the last mark, which is removed. */
export function popMark(machine: Machine): PickleValue[] {
  const below = machine.marks.pop();
  if (below === undefined) fail(machine, 'MALFORMED', 'no mark on the stack');
  const items = machine.stack.slice(machine.base, machine.size);
  machine.size = machine.base;
  machine.base = below;
  return items;
}

/** A memo index from which on CPython's table, which grows to twice the index, takes tens of megabytes. */
const FAR_INDEX = 1 << 22;

export function remember(machine: Machine, index: number | bigint, value: PickleValue): void {
  if (index < machine.memo.length) machine.memo[Number(index)] = value;
  else if (index > machine.memo.length) {
    machine.memoFar ??= new Map();
    machine.memoFar.set(index, value);
    if (index >= FAR_INDEX && index > 16 * memoSize(machine)) {
      find(machine, 'EXPANSION', `memo index ${String(index).slice(0, 40)}: Python's table grows to it`);
    }
  } else {
    machine.memo.push(value);
    machine.memoFar?.delete(index);
  }
  if (memoSize(machine) > LIMITS.pickleMemo) {
    fail(machine, 'LIMIT', `the memo is above the limit of ${LIMITS.pickleMemo} entries`);
  }
}

/** Entries so far: the index that MEMOIZE takes next. */
export function memoSize(machine: Machine): number {
  return machine.memo.length + (machine.memoFar?.size ?? 0);
}

export function recall(machine: Machine, index: number | bigint): PickleValue {
  if (index < machine.memo.length) return machine.memo[Number(index)] ?? null;
  const far = machine.memoFar?.get(index);
  if (far !== undefined || machine.memoFar?.has(index) === true) return far ?? null;
  breach(machine, 'MISSING_MEMO', 'MALFORMED', `memo entry ${String(index).slice(0, 40)} was never made`);
  return { kind: 'unresolved' };
}

/** One line of at most 120 characters; never walks deep. */
export function summarise(value: PickleValue | undefined, depth: number = 2): string {
  if (value === undefined) return '';
  if (typeof value === 'string') return JSON.stringify(value.length > 60 ? `${value.slice(0, 60)}…` : value);
  if (value instanceof Uint8Array) return `<${value.length} bytes>`;
  if (!isNode(value)) return typeof value === 'bigint' ? '<integer>' : String(value);
  const some = (items: readonly PickleValue[]): string =>
    depth === 0
      ? '…'
      : items
          .slice(0, 4)
          .map((item) => summarise(item, depth - 1))
          .join(', ') + (items.length > 4 ? ', …' : '');
  let text: string;
  switch (value.kind) {
    case 'float':
      text = String(value.value);
      break;
    case 'list':
      text = `[${some(value.items)}]`;
      break;
    case 'tuple':
      text = `(${some(value.items)})`;
      break;
    case 'set':
      text = `{${some(value.items)}}`;
      break;
    case 'dict':
      text = `<${value.type} of ${value.entries.size}>`;
      break;
    case 'global':
      text = `${value.module}.${value.name}`;
      break;
    case 'reduced':
      text = depth === 0 ? '…' : `${summarise(value.callable, depth - 1)}(${some(value.args)})`;
      break;
    case 'persistent':
      text = '<persistent>';
      break;
    case 'storage':
      text = `<storage ${value.key.slice(0, 40)}>`;
      break;
    case 'unresolved':
      text = '<unresolved>';
      break;
  }
  return text.length > 120 ? `${text.slice(0, 119)}…` : text;
}
