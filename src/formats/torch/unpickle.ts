import { BnsumError, isBnsumError } from '../../ir/error.ts';
import { LIMITS } from '../../ir/limits.ts';
import {
  addItems,
  append,
  build,
  call,
  frozenSet,
  importExtension,
  importGlobal,
  recordPersistent,
  setItems,
} from './pickle-effect.ts';
import type { PickleRun } from './pickle-event.ts';
import {
  breach,
  fail,
  find,
  type Machine,
  makeMachine,
  memoSize,
  type PickleOptions,
  pop,
  popMark,
  push,
  pushMark,
  recall,
  remember,
  SHARED_TUPLES,
  take,
  takeBytes,
  takeInt32,
  takeLine,
  takeUint8,
  takeUint16,
  takeUint32,
  takeUint64,
  top,
} from './pickle-machine.ts';
import {
  decodeLong,
  decodeOldString,
  decodeQuoted,
  decodeRawUnicode,
  decodeUtf8,
  type IntegerLine,
  isAscii,
  latin1,
  parseFloatLine,
  parseInteger,
} from './pickle-text.ts';
import { isNode, itemsOf, makeDict, NO_ITEMS, type PickleValue, type TupleNode } from './pickle-value.ts';

/**
 * Walks one pickle from `start` to its STOP and describes what it holds. Nothing is imported, called or looked up: the
 * result is plain data, and every import and call is an event. Never throws for bad bytes: `error` says where it broke,
 * and events and findings hold what came before. Several pickles in one buffer: start again at `end`.
 */
export function runPickle(bytes: Uint8Array, start: number, options: PickleOptions): PickleRun {
  const state = makeMachine(bytes, start, options);
  let value: PickleValue | undefined;
  let error: BnsumError | undefined;
  try {
    value = run(state);
  } catch (cause) {
    if (!isBnsumError(cause)) throw cause;
    error = cause;
  }
  return {
    value: error === undefined ? value : undefined,
    end: error === undefined ? state.position : state.opStart,
    opcodes: state.opIndex,
    protocol: state.protocol,
    events: state.events,
    findings: state.findings,
    nodes: state.nodes,
    made: state.effort?.made ?? 0,
    indirect: state.effort?.indirect ?? [],
    error,
  };
}

/** Like runPickle, but throws the BnsumError of a stream that breaks. */
export function unpickle(
  bytes: Uint8Array,
  start: number,
  options: PickleOptions,
): PickleRun & { readonly value: PickleValue } {
  const result = runPickle(bytes, start, options);
  if (result.error !== undefined) throw result.error;
  if (result.value === undefined) {
    throw new BnsumError({ code: 'INTERNAL', file: options.file, reason: 'a pickle ended without a value' });
  }
  return { ...result, value: result.value };
}

function run(m: Machine): PickleValue {
  if (m.bytes.length - m.position > LIMITS.pickleBytes) {
    fail(m, 'LIMIT', `the pickle is larger than ${LIMITS.pickleBytes} bytes`);
  }
  if (m.position >= m.bytes.length) {
    throw new BnsumError({
      code: 'TRUNCATED',
      file: m.options.file,
      place: `@${m.position}`,
      reason: 'empty: no pickle here',
    });
  }
  for (;;) {
    m.opStart = m.position;
    if (m.opIndex >= LIMITS.pickleOpcodes) fail(m, 'LIMIT', `more than ${LIMITS.pickleOpcodes} opcodes`);
    if (m.position >= m.bytes.length) {
      m.opcode = 0x2e;
      fail(m, 'TRUNCATED', 'truncated: the stream ends before it');
    }
    if (m.frameEnd >= 0 && m.position >= m.frameEnd) m.frameEnd = -1;
    m.opcode = m.bytes[m.position] ?? 0;
    m.position += 1;
    if (m.opcode === 0x2e) {
      const value = pop(m);
      if (m.size > 0 || m.marks.length > 0) {
        find(m, 'LEFT_ON_STACK', `${m.size} values were made and not used`);
      }
      m.opIndex += 1;
      return value;
    }
    const made = step(m);
    if (made !== undefined) {
      if (!m.strict && typeof made === 'object' && made !== null) countNode(m, made);
      push(m, made);
    }
    m.opIndex += 1;
  }
}

/** Counts what an opcode of an audit made; what the memo gives again is no new object. */
function countNode(m: Machine, made: PickleValue): void {
  const isOld = m.opcode === 0x68 || m.opcode === 0x6a || m.opcode === 0x67 || m.opcode === 0x32;
  if (isOld || made === EMPTY_TUPLE) return;
  m.nodes += 1;
  if (m.nodes > m.mostNodes) fail(m, 'LIMIT', `more than ${m.mostNodes} objects`);
}

/** One opcode, its byte already consumed; gives the value to push, undefined for none. */
function step(m: Machine): PickleValue | undefined {
  switch (m.opcode) {
    case 0x71: // BINPUT
      remember(m, takeUint8(m), top(m));
      return undefined;
    case 0x72: // LONG_BINPUT
      remember(m, takeUint32(m), top(m));
      return undefined;
    case 0x94: // MEMOIZE
      remember(m, memoSize(m), top(m));
      return undefined;
    case 0x70: {
      // PUT
      const index = memoIndex(m);
      if (index !== undefined) remember(m, index, top(m));
      return undefined;
    }
    case 0x68: // BINGET
      return recall(m, takeUint8(m));
    case 0x6a: // LONG_BINGET
      return recall(m, takeUint32(m));
    case 0x67: {
      // GET
      const index = memoIndex(m);
      return index === undefined ? { kind: 'unresolved' } : recall(m, index);
    }
    case 0x4b: // BININT1
      return takeUint8(m);
    case 0x4d: // BININT2
      return takeUint16(m);
    case 0x4a: // BININT
      return takeInt32(m);
    case 0x58: // BINUNICODE
      return text(m, takeUint32(m));
    case 0x8c: // SHORT_BINUNICODE
      return text(m, takeUint8(m));
    case 0x8d: // BINUNICODE8
      return text(m, takeUint64(m));
    case 0x28: // MARK
      pushMark(m);
      return undefined;
    case 0x74: // TUPLE
      return markedTuple(m);
    case 0x29: // EMPTY_TUPLE
      return EMPTY_TUPLE;
    case 0x85: // TUPLE1
      return shortTuple(m, 1);
    case 0x86: // TUPLE2
      return shortTuple(m, 2);
    case 0x87: // TUPLE3
      return shortTuple(m, 3);
    case 0x51: // BINPERSID
      return persist(m, pop(m));
    case 0x50: {
      // PERSID
      const id = decodeUtf8(takeLine(m));
      return id === undefined ? refuse(m, 'its id is not text') : persist(m, id);
    }
    case 0x52: {
      // REDUCE
      const args = pop(m);
      return call(m, pop(m), argumentsOf(m, args));
    }
    case 0x81: {
      // NEWOBJ
      const args = pop(m);
      return call(m, pop(m), argumentsOf(m, args));
    }
    case 0x92: {
      // NEWOBJ_EX
      const keywords = pop(m);
      const args = pop(m);
      return call(m, pop(m), argumentsOf(m, args), keywords);
    }
    case 0x6f: {
      // OBJ
      const [callable, ...args] = popMark(m);
      if (callable === undefined) fail(m, 'MALFORMED', 'no class above the mark');
      return call(m, callable, args);
    }
    case 0x69: {
      // INST
      // Python looks for the mark first, and imports nothing without one.
      if (m.marks.length === 0) fail(m, 'MALFORMED', 'no mark on the stack');
      const callable = globalLines(m, !m.strict);
      return call(m, callable, popMark(m));
    }
    case 0x63: // GLOBAL
      return globalLines(m);
    case 0x93: {
      // STACK_GLOBAL
      const name = pop(m);
      return importGlobal(m, pop(m), name);
    }
    case 0x62: {
      // BUILD
      const state = pop(m);
      build(m, top(m), state);
      return undefined;
    }
    case 0x73: {
      // SETITEM
      const value = pop(m);
      const key = pop(m);
      setItems(m, top(m), [key, value]);
      return undefined;
    }
    case 0x75: {
      // SETITEMS
      const items = popMark(m);
      setItems(m, top(m), items);
      return undefined;
    }
    case 0x61: {
      // APPEND
      const value = pop(m);
      append(m, top(m), [value]);
      return undefined;
    }
    case 0x65: {
      // APPENDS
      const items = popMark(m);
      append(m, top(m), items);
      return undefined;
    }
    case 0x90: {
      // ADDITEMS
      const items = popMark(m);
      addItems(m, top(m), items);
      return undefined;
    }
    case 0x7d: // EMPTY_DICT
      return makeDict('dict');
    case 0x5d: // EMPTY_LIST
      return { kind: 'list', items: NO_ITEMS };
    case 0x8f: // EMPTY_SET
      return { kind: 'set', frozen: false, items: NO_ITEMS };
    case 0x91: // FROZENSET
      return frozenSet(m, popMark(m));
    case 0x6c: // LIST
      return { kind: 'list', items: popMark(m) };
    case 0x64: {
      // DICT
      const dict = makeDict('dict');
      setItems(m, dict, popMark(m));
      return dict;
    }
    case 0x4e: // NONE
      return null;
    case 0x88: // NEWTRUE
      return true;
    case 0x89: // NEWFALSE
      return false;
    case 0x8a: // LONG1
      return long(m, takeUint8(m));
    case 0x8b: // LONG4
      return long(m, takeInt32(m));
    case 0x47: // BINFLOAT
      return float(m.view.getFloat64(take(m, 8), false));
    default:
      return stepRare(m);
  }
}

function stepRare(m: Machine): PickleValue | undefined {
  switch (m.opcode) {
    case 0x80: {
      // PROTO
      const protocol = takeUint8(m);
      if (protocol > 5) fail(m, 'UNSUPPORTED', `protocol ${protocol}; 0 to 5 are known`);
      if (m.opIndex > 0) breach(m, 'PROTO', 'MALFORMED', 'stands inside the stream, not at its start');
      m.protocol = protocol;
      return undefined;
    }
    case 0x95: {
      // FRAME
      const inside = m.frameEnd >= 0;
      // Python's own unpickler written in Python does not mind a frame that is too long: an audit goes on behind it.
      const length = m.strict ? takeUint64(m) : Number(m.view.getBigUint64(take(m, 8), true));
      if (inside) breach(m, 'FRAME', 'MALFORMED', 'a frame begins inside another one');
      if (m.position + length > m.bytes.length) {
        if (m.strict) fail(m, 'TRUNCATED', `a frame of ${length} bytes, ${m.bytes.length - m.position} are left`);
        find(m, 'FRAME', `a frame of ${length} bytes is longer than the stream`);
        return undefined;
      }
      m.frameEnd = m.position + length;
      return undefined;
    }
    case 0x30: // POP: an empty segment is ended by dropping its mark, as Python does
      if (m.size === m.base && m.marks.length > 0) popMark(m);
      else pop(m);
      return undefined;
    case 0x31: // POP_MARK
      popMark(m);
      return undefined;
    case 0x32: // DUP
      return top(m);
    case 0x49: {
      // INT
      const line = latin1(takeLine(m));
      if (line === '00' || line === '01') return line === '01';
      return integer(m, line, 'INT');
    }
    case 0x4c: // LONG
      return integer(m, latin1(takeLine(m)), 'LONG');
    case 0x46: {
      // FLOAT
      const value = parseFloatLine(latin1(takeLine(m)), LIMITS.pickleIntegerDigits);
      if (value === undefined) return refuse(m, 'its argument is not a number');
      return value === 'too long' ? tooLong(m, TOO_MANY_DIGITS) : float(value);
    }
    case 0x53: {
      // STRING
      const quoted = decodeQuoted(takeLine(m));
      return quoted === undefined ? refuse(m, 'its argument is not quoted') : decodeOldString(quoted);
    }
    case 0x54: {
      // BINSTRING
      const length = takeInt32(m);
      if (length < 0) fail(m, 'MALFORMED', `negative length ${length}`);
      return decodeOldString(takeBytes(m, length));
    }
    case 0x55: // SHORT_BINSTRING
      return decodeOldString(takeBytes(m, takeUint8(m)));
    case 0x56: // UNICODE
      return decodeRawUnicode(takeLine(m)) ?? refuse(m, 'its escapes are broken');
    case 0x42: // BINBYTES
      return takeBytes(m, takeUint32(m));
    case 0x43: // SHORT_BINBYTES
      return takeBytes(m, takeUint8(m));
    case 0x8e: // BINBYTES8
    case 0x96: // BYTEARRAY8
      return takeBytes(m, takeUint64(m));
    case 0x97: // NEXT_BUFFER
      return fail(m, 'UNSUPPORTED', 'out-of-band buffers are not part of the file');
    case 0x98: // READONLY_BUFFER
      top(m);
      return undefined;
    case 0x82: // EXT1
      return importExtension(m, takeUint8(m));
    case 0x83: // EXT2
      return importExtension(m, takeUint16(m));
    case 0x84: // EXT4
      return importExtension(m, takeInt32(m));
    default:
      return fail(m, 'MALFORMED', `byte 0x${m.opcode.toString(16).padStart(2, '0')} is no pickle opcode`);
  }
}

const EMPTY_TUPLE: TupleNode = { kind: 'tuple', items: [] };

function tuple(items: readonly PickleValue[]): TupleNode {
  return { kind: 'tuple', items };
}

/** Everything above the last mark as a tuple. */
function markedTuple(m: Machine): TupleNode {
  const length = m.size - m.base;
  if (length === 0 || length > LIMITS.tensorRank) return tuple(popMark(m));
  const made = shortTuple(m, length);
  popMark(m);
  return made;
}

/**
 * The topmost values as a tuple. Sizes and strides repeat from tensor to tensor: equal ones, which nothing can change,
 * are one tuple.
 */
function shortTuple(m: Machine, length: number): TupleNode {
  const from = m.size - length;
  if (from < m.base) fail(m, 'MALFORMED', 'stack underflow');
  let hash = length;
  for (let at = from; at < m.size; at += 1) {
    const value = m.stack[at];
    if (typeof value !== 'number' || (value | 0) !== value) return tuple(takeTop(m, from));
    hash = (Math.imul(hash, 31) + value) | 0;
  }
  if (m.tuples.length === 0) m.tuples = new Array<TupleNode | undefined>(SHARED_TUPLES).fill(undefined);
  const place = hash & (SHARED_TUPLES - 1);
  const known = m.tuples[place];
  if (known !== undefined && isSame(m, known.items, from, length)) {
    m.size = from;
    return known;
  }
  const made = tuple(takeTop(m, from));
  m.tuples[place] = made;
  return made;
}

function takeTop(m: Machine, from: number): PickleValue[] {
  const items = m.stack.slice(from, m.size);
  m.size = from;
  return items;
}

function isSame(m: Machine, items: readonly PickleValue[], from: number, length: number): boolean {
  if (items.length !== length) return false;
  for (let at = 0; at < length; at += 1) if (items[at] !== m.stack[from + at]) return false;
  return true;
}

function float(value: number): PickleValue {
  return Number.isInteger(value) ? { kind: 'float', value } : value;
}

function text(m: Machine, length: number): PickleValue {
  const start = take(m, length);
  const end = start + length;
  if (isAscii(m.bytes, start, end)) return m.latin1(start, end);
  return decodeUtf8(m.bytes.subarray(start, end)) ?? refuse(m, 'its text is not UTF-8');
}

function long(m: Machine, length: number): PickleValue {
  if (length < 0) fail(m, 'MALFORMED', `negative length ${length}`);
  // log10(256) is 2.41 digits a byte.
  if (length * 2.41 > LIMITS.pickleIntegerDigits) {
    if (!m.strict) take(m, length);
    return tooLong(m, `an integer of ${length} bytes has more than ${LIMITS.pickleIntegerDigits} digits`);
  }
  return decodeLong(takeBytes(m, length));
}

const TOO_MANY_DIGITS = `a number of more than ${LIMITS.pickleIntegerDigits} digits`;

/**
 * An argument that Python refuses. An audit goes on behind it, with a value that nobody knows: whether what follows would
 * run must not hang on our reading of a number.
 */
function refuse(m: Machine, reason: string): PickleValue {
  breach(m, 'ARGUMENT', 'MALFORMED', reason);
  return { kind: 'unresolved' };
}

/** A number that Python takes and that is too long for us; an audit needs no more than its place. */
function tooLong(m: Machine, reason: string): PickleValue {
  breach(m, 'LIMIT', 'LIMIT', reason);
  return { kind: 'unresolved' };
}

function integer(m: Machine, line: string, kind: IntegerLine): PickleValue {
  const value = parseInteger(line, kind, LIMITS.pickleIntegerDigits);
  if (value === 'too long') return tooLong(m, TOO_MANY_DIGITS);
  return value ?? refuse(m, 'its argument is not an integer');
}

/** undefined: one that is refused, in an audit. */
function memoIndex(m: Machine): number | bigint | undefined {
  const value = integer(m, latin1(takeLine(m)), 'INDEX');
  if (typeof value === 'number' && value >= 0) return value;
  // The unpickler that is written in Python keeps its memo in a dict, which takes any number.
  if (typeof value === 'bigint' && value > 0n && !m.strict) return value;
  if (typeof value === 'number' || typeof value === 'bigint') refuse(m, 'its memo index is not a small whole number');
  return undefined;
}

function argumentsOf(m: Machine, args: PickleValue): readonly PickleValue[] {
  const items = itemsOf(args);
  if (items !== undefined && isNode(args) && args.kind === 'tuple') return items;
  breach(m, 'WRONG_TARGET', 'MALFORMED', 'its arguments are not a tuple');
  return [args];
}

/** `open`: the last line may end with the stream. */
function globalLines(m: Machine, open: boolean = false): ReturnType<typeof importGlobal> {
  const module = decodeUtf8(takeLine(m));
  const name = decodeUtf8(open && m.bytes.indexOf(10, m.position) < 0 ? takeRest(m) : takeLine(m));
  if (module === undefined || name === undefined) return importGlobal(m, null, null);
  return importGlobal(m, module, name);
}

/** A line without its end: the unpickler that is written in Python drops its last byte and goes on to the call. */
function takeRest(m: Machine): Uint8Array {
  const start = m.position;
  const left = m.bytes.length - start;
  if (left < 2 || left > LIMITS.pickleLineBytes) return takeLine(m);
  take(m, left);
  return m.bytes.subarray(start, start + left - 1);
}

function persist(m: Machine, id: PickleValue): PickleValue {
  recordPersistent(m, id);
  return m.options.persist === undefined
    ? { kind: 'persistent', id, offset: m.opStart }
    : m.options.persist(id, m.place);
}
