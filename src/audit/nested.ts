import type { PickleEvent, PickleRun } from '../formats/torch/pickle-event.ts';
import { isNode, type PickleValue } from '../formats/torch/pickle-value.ts';
import { runPickle } from '../formats/torch/unpickle.ts';
import { LIMITS } from '../ir/limits.ts';
import type { Level } from './finding.ts';
import { isDangerousName, mayBeDangerous } from './names.ts';
import type { PicklePlace } from './pickle.ts';
import { partsOf } from './value.ts';

/** Pickles in pickles are followed this deep. */
const DEPTH = 4;
/** Candidates that one region may have before the search ends: chance alone makes a few per megabyte. */
const CANDIDATES = 20_000;
/** Values up to this are judged as often as they stand. */
const SHORT_VALUE = 256;
/** Bytes that the runs of one search may walk, all candidates together. */
const WALKED_BYTES = 64 * 1024 * 1024;
/** What a run costs beside the bytes that it walks. */
const RUN_BYTES = 64;
/** Opcodes after which a chance candidate would long have broken. */
const SHORTEST = 8;

interface Inner {
  readonly run: PickleRun;
  readonly how: string;
}

/**
 * Values that are pickles themselves, as bytes, base64 or hex. They are suspicious, and what they import is named;
 * dangerous they are when the stream also unpickles.
 */
export function findNested(run: PickleRun, place: PicklePlace, unpickles: boolean): void {
  const seen = new Set<PickleValue>();
  const search = (root: PickleValue | undefined, depth: number): void => {
    if (root === undefined || depth > DEPTH) return;
    const stack: PickleValue[] = [root];
    for (let value = stack.pop(); value !== undefined; value = stack.pop()) {
      if (typeof value === 'string' || value instanceof Uint8Array) {
        // A long value may be referred to a million times.
        if (value.length > SHORT_VALUE) {
          if (seen.has(value)) continue;
          seen.add(value);
        }
        const inner = innerOf(value, place.member);
        if (inner === undefined) continue;
        reportInner(inner, place, depth, unpickles);
        search(inner.run.value, depth + 1);
      } else if (isNode(value) && !seen.has(value)) {
        seen.add(value);
        for (const part of partsOf(value)) stack.push(part);
      }
    }
  };
  search(run.value, 1);
  // Calls whose result was thrown away are not part of the value.
  for (const event of run.events) for (const argument of event.args ?? []) search(argument, 1);
}

function reportInner(inner: Inner, place: PicklePlace, depth: number, unpickles: boolean): void {
  const names = importsOf(inner.run);
  const dangerous = inner.run.events.some(
    (event) => event.kind === 'import' && event.role === null && isDangerousName(event.module, event.name),
  );
  place.ledger.add({
    level: dangerous && unpickles ? 'dangerous' : 'suspicious',
    rule: 'NESTED_PICKLE',
    member: place.member,
    detail: `${inner.how}, depth ${depth}${names === '' ? '' : `, imports ${names}`}`,
  });
}

function importsOf(run: PickleRun): string {
  const names = new Set<string>();
  for (const event of run.events) if (event.kind === 'import') names.add(`${event.module}.${event.name}`);
  const list = [...names];
  return list.slice(0, 5).join(', ') + (list.length > 5 ? ', …' : '');
}

/** The pickle that a value is, whole or behind base64 or hex; undefined for anything else. */
function innerOf(value: string | Uint8Array, member: string): Inner | undefined {
  if (value.length < 8) return undefined;
  if (value instanceof Uint8Array) {
    const run = completeRun(value, member);
    if (run !== undefined) return { run, how: 'bytes' };
    if (value.length > 65_536 && !isAscii(value.subarray(0, 256))) return undefined;
    return innerOfText(new TextDecoder('latin1').decode(value), member);
  }
  return innerOfText(value, member);
}

function isAscii(bytes: Uint8Array): boolean {
  return bytes.every((byte) => byte < 0x80);
}

function innerOfText(text: string, member: string): Inner | undefined {
  // A text whose characters are the bytes of a pickle.
  if ((text.charCodeAt(0) === 0x80 && text.charCodeAt(1) <= 5) || /^(?:\(?[ci])[A-Za-z_][\w.]*\n/.test(text)) {
    const bytes = Uint8Array.from(text, (character) => character.charCodeAt(0) & 0xff);
    const run = completeRun(bytes, member);
    if (run !== undefined) return { run, how: 'text' };
  }
  const plain = text.replace(/^data:[^,]{0,100},/, '').trim();
  if (plain.length < 12) return undefined;
  if (hexPairs(plain, 1) !== undefined && plain.length % 2 === 0) {
    // A long text of digits is looked at in full only where it begins as a pickle does.
    const bytes = beginsPickle(hexPairs(plain, 2)) ? hexPairs(plain, plain.length / 2) : undefined;
    const run = bytes && completeRun(bytes, member);
    if (run !== undefined) return { run, how: 'hex' };
  }
  if (beginsPickle(decodeBase64(firstWord(plain, 4))) && !/[^A-Za-z0-9+/_\-=\s]/.test(plain)) {
    const bytes = decodeBase64(plain);
    const run = bytes && completeRun(bytes, member);
    if (bytes !== undefined && run !== undefined) return { run, how: 'base64' };
  }
  return undefined;
}

/** The first characters that are no white space. */
function firstWord(text: string, length: number): string {
  let word = '';
  for (let at = 0; at < text.length && word.length < length; at += 1) word += text.charAt(at).trim();
  return word;
}

/** The first bytes of a text of hexadecimal digits; undefined where something else stands among them. */
function hexPairs(text: string, count: number): Uint8Array | undefined {
  const bytes = new Uint8Array(count);
  for (let at = 0; at < count; at += 1) {
    const high = hexDigit(text.charCodeAt(2 * at));
    const low = hexDigit(text.charCodeAt(2 * at + 1));
    if (high < 0 || low < 0) return undefined;
    bytes[at] = 16 * high + low;
  }
  return bytes;
}

function hexDigit(code: number): number {
  if (code >= 0x30 && code <= 0x39) return code - 0x30;
  const letter = code | 0x20;
  return letter >= 0x61 && letter <= 0x66 ? letter - 0x57 : -1;
}

/** Whether a text that is one opcode after another could begin with these bytes. */
function beginsPickle(bytes: Uint8Array | undefined): boolean {
  return bytes !== undefined && ((bytes[0] === 0x80 && (bytes[1] ?? 9) <= 5) || looksOld(bytes));
}

function decodeBase64(text: string): Uint8Array | undefined {
  let binary: string;
  try {
    binary = atob(text.replace(/\s+/g, '').replaceAll('-', '+').replaceAll('_', '/'));
  } catch {
    return undefined;
  }
  const bytes = new Uint8Array(binary.length);
  for (let at = 0; at < bytes.length; at += 1) bytes[at] = binary.charCodeAt(at);
  return bytes;
}

/** The run of bytes that are a pickle from first to last: a chance text ends or imports nothing. */
function completeRun(bytes: Uint8Array, member: string): PickleRun | undefined {
  if (!beginsPickle(bytes)) return undefined;
  const proto = bytes[0] === 0x80;
  const run = runPickle(bytes, 0, { file: member, strict: false });
  const imports = run.events.some((event) => event.kind === 'import' && isPlainName(event.module));
  if (imports) return run;
  return proto && run.error === undefined && run.opcodes >= 3 ? run : undefined;
}

/** Protocol 0 and 1 begin with an opcode that takes a class name, a MARK or an empty container. */
function looksOld(bytes: Uint8Array): boolean {
  const first = bytes[0] ?? 0;
  return first === 0x63 || first === 0x28 || first === 0x69 || first === 0x5d || first === 0x7d;
}

function isPlainName(module: string): boolean {
  return /^[A-Za-z_][\w.]*$/.test(module);
}

/** The first import of a dangerous name that the run also calls. */
export function dangerousCall(run: PickleRun): PickleEvent | undefined {
  return run.events.find(
    (event) =>
      event.kind === 'import' &&
      event.resolved &&
      event.called &&
      event.role === null &&
      isDangerousName(event.module, event.name),
  );
}

/**
 * Looks in bytes that nothing owns for pickles that import something by a plausible name. What numbers make by chance
 * breaks before it imports. `broken`: the bytes follow a stream that was given up, so that a loader may come this far;
 * a dangerous name that is called there is dangerous, wherever the opcodes around it begin.
 */
export function scanForPickles(bytes: Uint8Array, place: PicklePlace, broken: boolean = false): void {
  const { ledger, member } = place;
  const reported = new Set<number>();
  // Calls first: decoys that import nothing of interest do not use up what this search may do.
  if (broken) findCalls(bytes, place, { candidates: 0, walked: 0, reported }, 'dangerous');
  const search: Search = { candidates: 0, walked: 0, reported };
  const words = makeWords(bytes);
  let skipTo = 0;
  for (let at = 0; at < bytes.length - SHORTEST; at += 1) {
    const byte = bytes[at];
    const next = bytes[at + 1] ?? 0;
    const isProto = byte === 0x80 && next >= 1 && next <= 5;
    const isOld = byte === 0x63 && isLetter(next) && words.linesAt(at + 1) !== undefined;
    if ((!isProto && !isOld) || at < skipTo) continue;
    const run = runCandidate(bytes, at, search, place);
    if (run === undefined) return;
    const found = run.events.find(
      (event) => event.kind === 'import' && isPlainName(event.module) && /^[A-Za-z_][\w.]*$/.test(event.name),
    );
    if (found === undefined) continue;
    skipTo = Math.max(at + 1, run.end);
    const call = broken ? dangerousCall(run) : undefined;
    const detail = `imports ${importsOf(run)}`;
    if (call !== undefined) reportCall(run, call, place, search, 'dangerous');
    else ledger.add({ level: 'suspicious', rule: 'EMBEDDED_PICKLE', member, offset: place.base + at, detail });
  }
}

/** What one search has done so far. */
export interface Search {
  candidates: number;
  walked: number;
  /** Offsets of the imports that are reported: several candidates come to one. */
  readonly reported: Set<number>;
}

/** Charges a search, and the audit, for what it is about to do; false, with a finding, when it has done what it may. */
function maySearch(search: Search, place: PicklePlace): boolean {
  const { ledger, member } = place;
  if (
    search.candidates <= CANDIDATES &&
    search.walked <= WALKED_BYTES &&
    ledger.searched.bytes <= LIMITS.auditSearchBytes
  ) {
    return true;
  }
  ledger.add({ level: 'suspicious', rule: 'LIMIT', member, detail: 'too many places where a pickle could begin' });
  ledger.miss(0);
  return false;
}

function charge(bytes: number, search: Search, place: PicklePlace): void {
  search.walked += bytes;
  place.ledger.searched.bytes += bytes;
}

/** A run that begins at a candidate; undefined when the search has done what it may. */
function runCandidate(bytes: Uint8Array, at: number, search: Search, place: PicklePlace): PickleRun | undefined {
  search.candidates += 1;
  if (!maySearch(search, place)) return undefined;
  // A copy of the view up to a bound: what imports does so early.
  const run = runPickle(bytes.subarray(0, Math.min(bytes.length, at + 1_048_576)), at, {
    file: place.member,
    strict: false,
  });
  charge(run.end - at + RUN_BYTES, search, place);
  return run;
}

function reportCall(run: PickleRun, call: PickleEvent, place: PicklePlace, search: Search, level: Level): void {
  const { module, name, offset } = call;
  if (search.reported.has(place.base + offset)) return;
  search.reported.add(place.base + offset);
  const calls = run.events.find((event) => event.kind === 'call' && event.module === module && event.name === name);
  place.ledger.add({
    level,
    rule: 'EMBEDDED_PICKLE',
    member: place.member,
    module,
    name,
    offset: place.base + offset,
    called: true,
    detail: calls?.argSummary ?? '',
  });
}

/** Opcodes around a call may begin this far before it, at one of so many marks. */
const MARK_BYTES = 4_096;
const MARKS = 8;

/**
 * Parts of streams that import a dangerous name and call it: GLOBAL, INST behind its mark, and the strings that
 * STACK_GLOBAL takes. Gives the offset of the first one.
 */
export function findCalls(bytes: Uint8Array, place: PicklePlace, search: Search, level: Level): number | undefined {
  const words = makeWords(bytes);
  /** The marks before `at`, the last ones. */
  const marks: number[] = [];
  let first: number | undefined;
  let skipTo = 0;
  for (let at = 0; at < bytes.length - 3; at += 1) {
    const byte = bytes[at] ?? 0;
    if (byte === MARK && marks.push(at) > MARKS) marks.shift();
    if (at < skipTo || NAMING[byte] === 0) continue;
    const named = words.namedAt(at);
    if (named === undefined) continue;
    charge(named.module.length, search, place);
    if (!maySearch(search, place)) return first ?? at;
    const { module, name } = named;
    if (!(name === undefined ? mayBeDangerous(module) : isDangerousName(module, name))) continue;
    for (const start of startsOf(bytes, at, marks)) {
      const run = runCandidate(bytes, start, search, place);
      if (run === undefined) return first ?? at;
      const call = dangerousCall(run);
      if (call === undefined) continue;
      first ??= at;
      skipTo = Math.max(at + 1, call.offset + 1);
      reportCall(run, call, place, search, level);
      break;
    }
  }
  return first;
}

const MARK = 0x28;

/** Where the opcodes of a call could begin: at the import, or at a mark before it. */
function startsOf(bytes: Uint8Array, at: number, marks: readonly number[]): readonly number[] {
  if (bytes[at] === INST) return marks.filter((mark) => mark >= at - MARK_BYTES).toReversed();
  return bytes[at - 1] === MARK ? [at, at - 1] : [at];
}

/** The longest name of a module that is looked for, and the two lines of an import together. */
const MODULE_BYTES = 100;
const LINES_BYTES = 300;

const GLOBAL = 0x63;
const INST = 0x69;
/** Opcodes that a name may stand in, and where its bytes begin behind the opcode. */
const NAMING: Uint8Array = new Uint8Array(256);
for (const [code, offset] of [
  [GLOBAL, 1],
  [INST, 1],
  [0x56, 1], // UNICODE
  [0x8c, 2], // SHORT_BINUNICODE
  [0x55, 2], // SHORT_BINSTRING
  [0x53, 2], // STRING
  [0x58, 5], // BINUNICODE
  [0x54, 5], // BINSTRING
  [0x8d, 9], // BINUNICODE8
] as const) {
  NAMING[code] = offset;
}

/** A module that an opcode names, and the name in it that GLOBAL and INST have behind it. */
interface Named {
  readonly module: string;
  readonly name: string | undefined;
}

interface Words {
  /** The two lines that begin here, 'os\nsystem\n', as GLOBAL takes them; places have to grow from call to call. */
  linesAt(start: number): { readonly middle: number; readonly end: number } | undefined;
  /** What the opcode at this place names; places have to grow from call to call. */
  namedAt(at: number): Named | undefined;
}

/** Finds words in bytes that are gone through once: however long they are, each byte is looked at a few times. */
function makeWords(bytes: Uint8Array): Words {
  /** One end for each distance from the opcode, since each is asked for in growing order. */
  const ends = new Map([1, 2, 5, 9].map((offset) => [offset, makeEnd(bytes)]));
  const secondEnd = makeEnd(bytes);
  const endAt = (offset: number, start: number): number => ends.get(offset)?.(start) ?? 0;
  const wordAt = (start: number, end: number): string | undefined => {
    if (end <= start || end - start > MODULE_BYTES || !isLetter(bytes[start] ?? 0)) return undefined;
    return String.fromCharCode(...bytes.subarray(start, end));
  };
  const linesAt: Words['linesAt'] = (start) => {
    const middle = endAt(1, start);
    if (middle <= start || bytes[middle] !== 10) return undefined;
    const end = secondEnd(middle + 1);
    return end > middle + 1 && bytes[end] === 10 && end < start + LINES_BYTES ? { middle, end } : undefined;
  };
  return {
    linesAt,
    namedAt(at) {
      const byte = bytes[at] ?? 0;
      const offset = NAMING[byte] ?? 0;
      const start = at + offset;
      const counted = bytes[at + 1] ?? 0;
      let end: number | undefined;
      switch (byte) {
        case GLOBAL:
        case INST: {
          const lines = linesAt(start);
          const module = lines && wordAt(start, lines.middle);
          const name = lines && wordAt(lines.middle + 1, lines.end);
          return module === undefined ? undefined : { module, name };
        }
        case 0x56:
          end = endAt(1, start);
          if (bytes[end] !== 10) return undefined;
          break;
        case 0x53:
          end = endAt(2, start);
          if ((counted !== 0x27 && counted !== 0x22) || bytes[end] !== counted || bytes[end + 1] !== 10)
            return undefined;
          break;
        default:
          // The count is little-endian: no name is longer than its first byte says.
          for (let high = at + 2; high < start; high += 1) if (bytes[high] !== 0) return undefined;
          end = start + counted;
          if (endAt(offset, start) < end) return undefined;
      }
      const module = wordAt(start, end);
      return module === undefined ? undefined : { module, name: undefined };
    },
  };
}

/** Where the word that begins at a place ends; places have to grow from call to call. */
function makeEnd(bytes: Uint8Array): (start: number) => number {
  let end = 0;
  return (start) => {
    if (end < start) end = start;
    while (end < bytes.length && isWordByte(bytes[end] ?? 0)) end += 1;
    return end;
  };
}

function isWordByte(byte: number): boolean {
  return isLetter(byte) || byte === 0x2e || (byte >= 0x30 && byte <= 0x39);
}

function isLetter(byte: number): boolean {
  return (byte >= 0x41 && byte <= 0x5a) || (byte >= 0x61 && byte <= 0x7a) || byte === 0x5f;
}

/** A text that is a pickle, or a torch file around one, behind base64: what it imports. */
export function judgeEncodedPickle(
  text: string,
  ledger: PicklePlace['ledger'],
  member: string,
  isLoaded: boolean,
): void {
  const place: PicklePlace = { ledger, member, base: 0 };
  const inner = innerOf(text, member);
  if (inner !== undefined) {
    reportInner(inner, place, 1, isLoaded);
    return;
  }
  // 'UEsDB' is a zip: torch.save's archive holds its pickle uncompressed.
  const plain = text.trim();
  const bytes = plain.startsWith('UEsDB') ? decodeBase64(plain) : undefined;
  if (bytes === undefined) return;
  ledger.add({ level: 'suspicious', rule: 'NESTED_ARCHIVE', member, detail: `base64, ${bytes.length} bytes` });
  scanForPickles(bytes, place);
}
