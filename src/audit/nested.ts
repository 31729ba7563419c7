import type { PickleEvent, PickleRun } from '../formats/torch/pickle-event.ts';
import { isNode, type PickleValue } from '../formats/torch/pickle-value.ts';
import { runPickle } from '../formats/torch/unpickle.ts';
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
  if (/^(?:[0-9a-fA-F]{2})+$/.test(plain)) {
    const bytes = new Uint8Array(plain.length / 2);
    for (let at = 0; at < bytes.length; at += 1) bytes[at] = Number.parseInt(plain.slice(2 * at, 2 * at + 2), 16);
    const run = completeRun(bytes, member);
    if (run !== undefined) return { run, how: 'hex' };
  }
  if (!/[^A-Za-z0-9+/_\-=\s]/.test(plain)) {
    const bytes = decodeBase64(plain);
    const run = bytes && completeRun(bytes, member);
    if (bytes !== undefined && run !== undefined) return { run, how: 'base64' };
  }
  return undefined;
}

function decodeBase64(text: string): Uint8Array | undefined {
  try {
    const binary = atob(text.replace(/\s+/g, '').replaceAll('-', '+').replaceAll('_', '/'));
    return Uint8Array.from(binary, (character) => character.charCodeAt(0));
  } catch {
    return undefined;
  }
}

/** The run of bytes that are a pickle from first to last: a chance text ends or imports nothing. */
function completeRun(bytes: Uint8Array, member: string): PickleRun | undefined {
  const proto = bytes[0] === 0x80 && (bytes[1] ?? 9) <= 5;
  const old = !proto && looksOld(bytes);
  if (!proto && !old) return undefined;
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
  let skipTo = 0;
  for (let at = 0; at < bytes.length - SHORTEST; at += 1) {
    const byte = bytes[at];
    const next = bytes[at + 1] ?? 0;
    const isProto = byte === 0x80 && next >= 1 && next <= 5;
    const isOld = byte === 0x63 && isLetter(next) && hasTwoLines(bytes, at + 1);
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

/** A run that begins at a candidate; undefined when the search has done what it may. */
function runCandidate(bytes: Uint8Array, at: number, search: Search, place: PicklePlace): PickleRun | undefined {
  search.candidates += 1;
  if (search.candidates > CANDIDATES || search.walked > WALKED_BYTES) {
    const detail = 'too many places where a pickle could begin';
    place.ledger.add({ level: 'suspicious', rule: 'LIMIT', member: place.member, detail });
    place.ledger.miss(0);
    return undefined;
  }
  // A copy of the view up to a bound: what imports does so early.
  const run = runPickle(bytes.subarray(0, Math.min(bytes.length, at + 1_048_576)), at, {
    file: place.member,
    strict: false,
  });
  search.walked += run.end - at;
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

/** Opcodes around a call may begin this far before it. */
const MARK_BYTES = 4_096;

/**
 * Parts of streams that import a dangerous name and call it: GLOBAL, INST behind its mark, and the strings that
 * STACK_GLOBAL takes. Gives the offset of the first one.
 */
export function findCalls(bytes: Uint8Array, place: PicklePlace, search: Search, level: Level): number | undefined {
  let first: number | undefined;
  let skipTo = 0;
  for (let at = 0; at < bytes.length - 3; at += 1) {
    if (at < skipTo) continue;
    const module = moduleAt(bytes, at);
    if (module === undefined) continue;
    const isLines = bytes[at] === 0x63 || bytes[at] === 0x69;
    const name = isLines ? lineWord(bytes, at + module.length + 2, 0) : undefined;
    if (!(name === undefined ? mayBeDangerous(module) : isDangerousName(module, name))) continue;
    for (const start of startsOf(bytes, at)) {
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

/** Where the opcodes of a call could begin: at the import, or at a mark before it. */
function startsOf(bytes: Uint8Array, at: number): readonly number[] {
  const starts = bytes[at] === 0x69 ? [] : bytes[at - 1] === 0x28 ? [at, at - 1] : [at];
  if (bytes[at] !== 0x69) return starts;
  for (let mark = at - 1; mark >= Math.max(0, at - MARK_BYTES) && starts.length < 8; mark -= 1) {
    if (bytes[mark] === 0x28) starts.push(mark);
  }
  return starts;
}

/** The module that an opcode at this place names: GLOBAL and INST by a line, a string opcode by its value. */
function moduleAt(bytes: Uint8Array, at: number): string | undefined {
  const byte = bytes[at];
  const next = bytes[at + 1] ?? 0;
  switch (byte) {
    case 0x63: // GLOBAL
    case 0x69: // INST
      return isLetter(next) && hasTwoLines(bytes, at + 1) ? wordAt(bytes, at + 1, bytes.indexOf(10, at)) : undefined;
    case 0x8c: // SHORT_BINUNICODE
    case 0x55: // SHORT_BINSTRING
      return wordAt(bytes, at + 2, at + 2 + next);
    case 0x58: // BINUNICODE
    case 0x54: // BINSTRING
      if (bytes[at + 2] !== 0 || bytes[at + 3] !== 0 || bytes[at + 4] !== 0) return undefined;
      return wordAt(bytes, at + 5, at + 5 + next);
    case 0x8d: // BINUNICODE8
      if (bytes.subarray(at + 2, at + 9).some((part) => part !== 0)) return undefined;
      return wordAt(bytes, at + 9, at + 9 + next);
    case 0x56: // UNICODE
      return lineWord(bytes, at + 1, 0);
    case 0x53: // STRING
      return next === 0x27 || next === 0x22 ? lineWord(bytes, at + 2, 1) : undefined;
    default:
      return undefined;
  }
}

/** The longest name of a module that is looked for. */
const MODULE_BYTES = 100;

function wordAt(bytes: Uint8Array, start: number, end: number): string | undefined {
  if (end <= start || end - start > MODULE_BYTES || end > bytes.length) return undefined;
  let word = '';
  for (let at = start; at < end; at += 1) {
    const byte = bytes[at] ?? 0;
    if (!isLetter(byte) && (at === start || !(byte === 0x2e || (byte >= 0x30 && byte <= 0x39)))) return undefined;
    word += String.fromCharCode(byte);
  }
  return word;
}

/** A word up to the end of its line, less the quote that ends it. */
function lineWord(bytes: Uint8Array, start: number, quotes: number): string | undefined {
  for (let at = start; at < bytes.length && at - start <= MODULE_BYTES; at += 1) {
    if (bytes[at] === 10) return wordAt(bytes, start, at - quotes);
  }
  return undefined;
}

function isLetter(byte: number): boolean {
  return (byte >= 0x41 && byte <= 0x5a) || (byte >= 0x61 && byte <= 0x7a) || byte === 0x5f;
}

/** 'os\nsystem\n': two lines of identifiers, as GLOBAL takes them. */
function hasTwoLines(bytes: Uint8Array, start: number): boolean {
  let lines = 0;
  let length = 0;
  for (let at = start; at < bytes.length && at < start + 300; at += 1) {
    const byte = bytes[at] ?? 0;
    if (byte === 10) {
      if (length === 0) return false;
      lines += 1;
      length = 0;
      if (lines === 2) return true;
      continue;
    }
    const ok = isLetter(byte) || byte === 0x2e || (byte >= 0x30 && byte <= 0x39);
    if (!ok) return false;
    length += 1;
  }
  return false;
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
