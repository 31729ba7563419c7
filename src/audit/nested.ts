import type { PickleEvent, PickleRun } from '../formats/torch/pickle-event.ts';
import { partsOf } from '../formats/torch/pickle-tree.ts';
import { isNode, type PickleValue } from '../formats/torch/pickle-value.ts';
import { runPickle } from '../formats/torch/unpickle.ts';
import { LIMITS } from '../ir/limits.ts';
import type { Level } from './finding.ts';
import { isDangerousName, mayBeDangerous } from './names.ts';
import type { PicklePlace } from './pickle.ts';

/** Pickles in pickles are followed this deep. */
const DEPTH = 4;
/** Candidates that one region may have before the search ends: chance alone makes a few per megabyte. */
const CANDIDATES = 20_000;
/** Texts and bytes of one pickle that could be a pickle by how they begin, each judged once. */
const VALUES = 2_000_000;
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
  let values = 0;
  /** `nodes`: what the runs around this one hold already. */
  const search = (root: PickleValue | undefined, depth: number, nodes: number): void => {
    if (root === undefined || depth > DEPTH) return;
    const stack: { readonly parts: readonly PickleValue[]; next: number }[] = [{ parts: [root], next: 0 }];
    for (let frame = stack.at(-1); frame !== undefined; frame = stack.at(-1)) {
      if (frame.next >= frame.parts.length) {
        stack.pop();
        continue;
      }
      const value = frame.parts[frame.next] ?? null;
      frame.next += 1;
      if (typeof value === 'string' || value instanceof Uint8Array) {
        if (!mayBePickle(value) || seen.has(value)) continue;
        values += 1;
        if (values > VALUES) {
          const detail = 'too many values that could be pickles';
          place.ledger.add({ level: 'suspicious', rule: 'LIMIT', member: place.member, detail });
          place.ledger.miss(0);
          return;
        }
        seen.add(value);
        const inner = innerOf(value, place.member, LIMITS.pickleNodes - nodes);
        if (inner === undefined) continue;
        reportInner(inner, place, depth, unpickles);
        search(inner.run.value, depth + 1, nodes + inner.run.nodes);
      } else if (isNode(value) && !seen.has(value)) {
        seen.add(value);
        const parts = partsOf(value);
        if (parts.length > 0) stack.push({ parts, next: 0 });
      }
    }
  };
  search(run.value, 1, run.nodes);
  // Calls whose result was thrown away are not part of the value.
  for (const event of run.events) for (const argument of event.args ?? []) search(argument, 1, run.nodes);
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

/** Values shorter than this hold nothing. */
const SHORTEST_VALUE = 8;
/** Characters at the start of a text that say whether it can be a pickle, behind white space and `data:…,`. */
const HEAD = 256;

/** Whether a value can be a pickle, by how it begins: bytes, text, hex and base64. The rest of a long one is not touched. */
function mayBePickle(value: string | Uint8Array): boolean {
  if (value.length < SHORTEST_VALUE) return false;
  if (value instanceof Uint8Array && isPickleHead(value)) return true;
  const head = typeof value === 'string' ? value.slice(0, HEAD) : latin1(value.subarray(0, HEAD));
  if (isTextOfPickle(head)) return true;
  const plain = head.slice(startOfText(head));
  const hex = decodeHex(plain.slice(0, 4));
  if (hex !== undefined && isPickleHead(hex)) return true;
  const base64 = decodeBase64(plain.replace(/\s+/g, '').slice(0, 4));
  return base64 !== undefined && isPickleHead(base64);
}

function isPickleHead(bytes: Uint8Array): boolean {
  return (bytes[0] === 0x80 && (bytes[1] ?? 9) <= 5) || looksOld(bytes);
}

/** A text whose characters are the bytes of a pickle. */
function isTextOfPickle(head: string): boolean {
  return (head.charCodeAt(0) === 0x80 && head.charCodeAt(1) <= 5) || /^(?:\(?[ci])[A-Za-z_][\w.]*\n/.test(head);
}

/** Behind white space and the prefix of a data address. */
function startOfText(head: string): number {
  const found = /^\s*(?:data:[^,]{0,100},)?\s*/.exec(head);
  return found === null ? 0 : found[0].length;
}

/** The pickle that a value is, whole or behind base64 or hex; undefined for anything else. */
function innerOf(value: string | Uint8Array, member: string, nodes: number): Inner | undefined {
  if (!mayBePickle(value)) return undefined;
  if (value instanceof Uint8Array) {
    const run = completeRun(value, member, nodes);
    if (run !== undefined) return { run, how: 'bytes' };
    if (value.length > 65_536 && !isAscii(value.subarray(0, HEAD))) return undefined;
    return innerOfText(latin1(value), member, nodes);
  }
  return innerOfText(value, member, nodes);
}

function latin1(bytes: Uint8Array): string {
  return new TextDecoder('latin1').decode(bytes);
}

function isAscii(bytes: Uint8Array): boolean {
  return bytes.every((byte) => byte < 0x80);
}

function innerOfText(text: string, member: string, nodes: number): Inner | undefined {
  if (isTextOfPickle(text.slice(0, HEAD))) {
    const bytes = new Uint8Array(text.length);
    for (let at = 0; at < bytes.length; at += 1) bytes[at] = text.charCodeAt(at);
    const run = completeRun(bytes, member, nodes);
    if (run !== undefined) return { run, how: 'text' };
  }
  const plain = text.slice(startOfText(text.slice(0, HEAD))).trimEnd();
  if (plain.length < 12) return undefined;
  for (const [decode, how] of [
    [decodeHex, 'hex'],
    [decodeBase64, 'base64'],
  ] as const) {
    const bytes = decode(plain);
    const run = bytes && completeRun(bytes, member, nodes);
    if (run !== undefined) return { run, how };
  }
  return undefined;
}

function decodeHex(text: string): Uint8Array | undefined {
  if (text.length % 2 !== 0) return undefined;
  const bytes = new Uint8Array(text.length / 2);
  for (let at = 0; at < bytes.length; at += 1) {
    const high = digitOf(text.charCodeAt(2 * at));
    const low = digitOf(text.charCodeAt(2 * at + 1));
    if (high < 0 || low < 0) return undefined;
    bytes[at] = 16 * high + low;
  }
  return bytes;
}

function digitOf(code: number): number {
  if (code >= 0x30 && code <= 0x39) return code - 0x30;
  const lower = code | 0x20;
  return lower >= 0x61 && lower <= 0x66 ? lower - 0x57 : -1;
}

/** Base64 of either alphabet; white space anywhere, '=' ends it. undefined for any other character. */
function decodeBase64(text: string): Uint8Array | undefined {
  const bytes = new Uint8Array(Math.ceil((text.length * 3) / 4));
  let length = 0;
  let held = 0;
  let bits = 0;
  for (let at = 0; at < text.length; at += 1) {
    const code = text.charCodeAt(at);
    if (code === 0x20 || (code >= 9 && code <= 13)) continue;
    if (code === 0x3d) break;
    const digit = sextetOf(code);
    if (digit < 0) return undefined;
    held = ((held << 6) | digit) & 0xffff;
    bits += 6;
    if (bits < 8) continue;
    bits -= 8;
    bytes[length] = held >> bits;
    length += 1;
  }
  return bytes.subarray(0, length);
}

function sextetOf(code: number): number {
  if (code >= 0x41 && code <= 0x5a) return code - 0x41;
  if (code >= 0x61 && code <= 0x7a) return code - 0x47;
  if (code >= 0x30 && code <= 0x39) return code + 4;
  if (code === 0x2b || code === 0x2d) return 62;
  return code === 0x2f || code === 0x5f ? 63 : -1;
}

/** The run of bytes that are a pickle from first to last: a chance text ends or imports nothing. */
function completeRun(bytes: Uint8Array, member: string, nodes: number): PickleRun | undefined {
  if (!isPickleHead(bytes)) return undefined;
  const run = runPickle(bytes, 0, { file: member, strict: false, nodes });
  const imports = run.events.some((event) => event.kind === 'import' && isPlainName(event.module));
  // What lies beyond a limit of ours could be anything.
  if (imports || run.error?.code === 'LIMIT') return run;
  return bytes[0] === 0x80 && run.error === undefined && run.opcodes >= 3 ? run : undefined;
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
  const inner = innerOf(text, member, LIMITS.pickleNodes);
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
