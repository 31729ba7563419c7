import { BnsumError, type ErrorCode } from '../ir/error.ts';
import { EMPTY_OBJECT, type Json, type JsonObject } from '../ir/json.ts';
import { LIMITS } from '../ir/limits.ts';

export interface JsonOptions {
  /** Accept the tokens NaN, Infinity and -Infinity, which Python's writer emits. */
  readonly nonFinite?: boolean;
  /** Refuse every number with a fraction or an exponent, and -0: the header of a safetensors file holds none. */
  readonly integersOnly?: boolean;
  /** Instead of LIMITS.jsonBytes. */
  readonly maxBytes?: number;
  /** Instead of LIMITS.jsonNodes. */
  readonly maxNodes?: number;
  /** Instead of LIMITS.jsonObjects. */
  readonly maxObjects?: number;
}

interface At {
  readonly file: string;
  readonly place?: string;
}

type Frame =
  | { readonly kind: 'list'; readonly items: Json[] }
  | { readonly kind: 'object'; readonly entries: Map<string, Json>; key: string };

const SHORT_LIST = 12;
const QUOTE = 0x22;
const BACKSLASH = 0x5c;

/**
 * Strict RFC 8259 JSON as data: Map for objects, bigint for integers beyond 2^53.
 * Refuses (BnsumError) invalid UTF-8, a byte order mark, duplicate keys, lone surrogates, numbers that overflow,
 * trailing text, and whatever goes beyond the limits of bytes, nesting and values. Iterative.
 */
export function parseJson(bytes: Uint8Array, at: At, options: JsonOptions = {}): Json {
  const maxBytes = options.maxBytes ?? LIMITS.jsonBytes;
  if (bytes.byteLength > maxBytes) {
    throw refusal('LIMIT', at, at.place, `JSON text of ${bytes.byteLength} bytes, the limit is ${maxBytes}`);
  }
  const text = decodeText(bytes, at);
  const maxNodes = options.maxNodes ?? LIMITS.jsonNodes;
  const end = text.length;
  const stack: Frame[] = [];
  let position = 0;
  const maxObjects = options.maxObjects ?? LIMITS.jsonObjects;
  let nodes = 0;
  let objects = 0;

  const fail = (reason: string, where: number = position): BnsumError => {
    const cut = where >= end;
    const offset = cut ? bytes.byteLength : utf8Length(text, where);
    return refusal(
      cut ? 'TRUNCATED' : 'MALFORMED',
      at,
      `${at.place ?? ''}@${offset}`,
      cut ? 'JSON ends early' : reason,
    );
  };
  const pointer = (): string => {
    const parts = stack.map((frame) => (frame.kind === 'list' ? String(frame.items.length) : frame.key));
    return parts.map((part) => `/${part.replaceAll('~', '~0').replaceAll('/', '~1')}`).join('');
  };
  const skipSpace = (): number => {
    for (; position < end; position += 1) {
      const code = text.charCodeAt(position);
      if (code !== 0x20 && code !== 0x0a && code !== 0x0d && code !== 0x09) return code;
    }
    return -1;
  };
  const readString = (): string => {
    const start = position + 1;
    let from = start;
    let built = '';
    for (let index = start; index < end; index += 1) {
      const code = text.charCodeAt(index);
      if (code === QUOTE) {
        position = index + 1;
        return built === '' ? text.slice(from, index) : built + text.slice(from, index);
      }
      if (code < 0x20) throw fail('a control character stands in a JSON string', index);
      if (code !== BACKSLASH) continue;
      built += text.slice(from, index);
      const letter = text.charAt(index + 1);
      const plain = ESCAPES.get(letter);
      if (plain !== undefined) {
        built += plain;
        index += 1;
      } else if (letter === 'u') {
        const unit = hexUnit(text, index + 2);
        if (unit < 0) throw fail('a \\u escape needs four hexadecimal digits', index);
        index += 5;
        if (unit >= 0xd800 && unit < 0xe000) {
          const low = text.startsWith('\\u', index + 1) ? hexUnit(text, index + 3) : -1;
          if (unit >= 0xdc00 || low < 0xdc00 || low > 0xdfff)
            throw fail('a lone surrogate in a JSON string', index - 5);
          built += String.fromCharCode(unit, low);
          index += 6;
        } else {
          built += String.fromCharCode(unit);
        }
      } else {
        throw fail('an unknown escape in a JSON string', index);
      }
      from = index + 1;
    }
    throw fail('', end);
  };
  const readNumber = (): number | bigint => {
    const start = position;
    let index = start;
    const negative = text.charCodeAt(index) === 0x2d;
    if (negative) index += 1;
    const first = text.charCodeAt(index);
    const firstDigit = index;
    let small = 0;
    for (; index < end; index += 1) {
      const digit = text.charCodeAt(index) - 0x30;
      if (!(digit >= 0 && digit <= 9)) break;
      small = small * 10 + digit;
    }
    const digits = index - firstDigit;
    if (digits === 0) throw fail('not a JSON value', index >= end ? end : start);
    if (first === 0x30 && digits > 1) throw fail('a number with a leading zero');
    const integerEnd = index;
    if (text.charCodeAt(index) === 0x2e) {
      const from = index + 1;
      index = skipDigits(text, from);
      if (index === from) throw fail('a number without digits after its point', index);
    }
    const mark = text.charCodeAt(index);
    if (mark === 0x65 || mark === 0x45) {
      const sign = text.charCodeAt(index + 1);
      const from = index + (sign === 0x2b || sign === 0x2d ? 2 : 1);
      index = skipDigits(text, from);
      if (index === from) throw fail('a number without digits in its exponent', index);
    }
    if (index - start > LIMITS.jsonDigits) {
      throw refusal('LIMIT', at, `${at.place ?? ''}@${utf8Length(text, start)}`, `a number of ${index - start} digits`);
    }
    position = index;
    if (index === integerEnd) {
      if (options.integersOnly === true && negative && small === 0) throw fail('-0 where an integer belongs', start);
      if (digits <= 15) return negative ? -small : small;
      const exact = BigInt(text.slice(firstDigit, index));
      const value = negative ? -exact : exact;
      return exact <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(value) : value;
    }
    if (options.integersOnly === true) throw fail('a fraction or exponent where an integer belongs', start);
    const value = Number(text.slice(start, index));
    if (!Number.isFinite(value)) throw fail(`the number ${clip(text.slice(start, index))} is too large`, start);
    return value;
  };
  const readWord = (): Json => {
    for (const [word, value] of WORDS) {
      if (!text.startsWith(word, position)) continue;
      if (typeof value === 'number' && options.nonFinite !== true) throw fail(`${word} is not JSON`);
      position += word.length;
      return value;
    }
    const left = text.slice(position, position + 9);
    if ([...WORDS.keys()].some((word) => end - position < word.length && word.startsWith(left))) throw fail('', end);
    throw fail('not a JSON value');
  };

  /** Reads one key and its colon into the frame; the position stands on the opening quote. */
  const readKey = (frame: Extract<Frame, { kind: 'object' }>): void => {
    const code = skipSpace();
    if (code !== QUOTE) throw fail('a JSON object needs a quoted key here');
    const key = readString();
    if (frame.entries.has(key)) {
      stack.pop();
      throw refusal('MALFORMED', at, `${at.place ?? ''}${pointer()}`, `duplicate key '${clip(key)}'`);
    }
    frame.key = key;
    if (skipSpace() !== 0x3a) throw fail('a colon belongs here');
    position += 1;
  };

  for (;;) {
    let value: Json;
    const code = skipSpace();
    nodes += 1;
    if (nodes > maxNodes) {
      throw refusal('LIMIT', at, at.place, `JSON of more than ${maxNodes} values`);
    }
    if (code === 0x7b || code === 0x5b) {
      if (stack.length >= LIMITS.jsonDepth) {
        const place = `${at.place ?? ''}@${utf8Length(text, position)}`;
        throw refusal('LIMIT', at, place, `JSON nested deeper than ${LIMITS.jsonDepth}`);
      }
      position += 1;
      const next = skipSpace();
      if (code === 0x7b) {
        objects += 1;
        if (objects > maxObjects) throw refusal('LIMIT', at, at.place, `JSON of more than ${maxObjects} objects`);
        if (next === 0x7d) {
          position += 1;
          value = EMPTY_OBJECT;
        } else {
          const frame: Frame = { kind: 'object', entries: new Map(), key: '' };
          stack.push(frame);
          readKey(frame);
          continue;
        }
      } else {
        const items: Json[] = [];
        if (next === 0x5d) {
          position += 1;
          value = items;
        } else {
          stack.push({ kind: 'list', items });
          continue;
        }
      }
    } else if (code === QUOTE) {
      value = readString();
    } else if ((code >= 0x30 && code <= 0x39) || (code === 0x2d && text.charCodeAt(position + 1) !== 0x49)) {
      value = readNumber();
    } else if (code === -1) {
      throw fail('', end);
    } else {
      value = readWord();
    }
    // A value is complete: hand it to its container, and close every container that ends here.
    for (;;) {
      const frame = stack.at(-1);
      if (frame === undefined) {
        if (skipSpace() !== -1) throw fail('text follows the JSON value');
        return value;
      }
      const isList = frame.kind === 'list';
      if (isList) frame.items.push(value);
      else frame.entries.set(frame.key, value);
      const next = skipSpace();
      if (next === 0x2c) {
        position += 1;
        if (!isList) readKey(frame);
        break;
      }
      if (next !== (isList ? 0x5d : 0x7d)) throw fail(`a comma or ${isList ? ']' : '}'} belongs here`);
      position += 1;
      // A list that grew has room for more; as many as a text may hold of short ones would be mostly room.
      if (!isList) value = frame.entries;
      else value = frame.items.length < SHORT_LIST ? frame.items.slice() : frame.items;
      stack.pop();
    }
  }
}

const ESCAPES: ReadonlyMap<string, string> = new Map([
  ['"', '"'],
  ['\\', '\\'],
  ['/', '/'],
  ['b', '\b'],
  ['f', '\f'],
  ['n', '\n'],
  ['r', '\r'],
  ['t', '\t'],
]);

const WORDS: ReadonlyMap<string, null | boolean | number> = new Map<string, null | boolean | number>([
  ['null', null],
  ['true', true],
  ['false', false],
  ['NaN', Number.NaN],
  ['Infinity', Number.POSITIVE_INFINITY],
  ['-Infinity', Number.NEGATIVE_INFINITY],
]);

function skipDigits(text: string, from: number): number {
  let index = from;
  for (; index < text.length; index += 1) {
    const code = text.charCodeAt(index);
    if (code < 0x30 || code > 0x39) break;
  }
  return index;
}

/** The UTF-16 unit of four hexadecimal digits, -1 when they are not. */
function hexUnit(text: string, from: number): number {
  const digits = text.slice(from, from + 4);
  return /^[0-9a-fA-F]{4}$/.test(digits) ? Number.parseInt(digits, 16) : -1;
}

/** UTF-8 bytes of the first `count` UTF-16 units; the text holds no lone surrogate. */
function utf8Length(text: string, count: number): number {
  let bytes = 0;
  for (let index = 0; index < count; index += 1) {
    const code = text.charCodeAt(index);
    bytes += code < 0x80 ? 1 : code < 0x800 ? 2 : code >= 0xd800 && code < 0xe000 ? 2 : 3;
  }
  return bytes;
}

function clip(text: string): string {
  return text.length > 80 ? `${text.slice(0, 80)}…` : text;
}

function refusal(code: ErrorCode, at: At, place: string | undefined, reason: string): BnsumError {
  return new BnsumError({ code, file: at.file, ...(place === undefined || place === '' ? {} : { place }), reason });
}

function decodeText(bytes: Uint8Array, at: At): string {
  const [a, b, c] = bytes;
  const place = at.place;
  if (a === 0xef && b === 0xbb && c === 0xbf) {
    throw refusal('MALFORMED', at, place, 'JSON text starts with a byte order mark');
  }
  if ((a === 0xff && b === 0xfe) || (a === 0xfe && b === 0xff)) {
    throw refusal('MALFORMED', at, place, 'JSON text is UTF-16, not UTF-8');
  }
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw refusal('MALFORMED', at, place, 'JSON text is not valid UTF-8');
  }
}

export interface JsonLayout {
  /** Spaces per level; 0 (default) writes one line without spaces. */
  readonly indent?: number;
  /** Write NaN and the infinities as Python does; otherwise they are refused as our own mistake. */
  readonly nonFinite?: boolean;
}

/** Deterministic text: order of Maps kept, shortest round-trip numbers, -0 as `-0.0`, bigint as digits. Iterative. */
export function formatJson(value: Json, layout: JsonLayout = {}): string {
  const indent = layout.indent ?? 0;
  const colon = indent > 0 ? ': ' : ':';
  const parts: string[] = [];
  const line = (depth: number): string => (indent > 0 ? `\n${' '.repeat(indent * depth)}` : '');
  const stack: {
    readonly object: boolean;
    readonly entries: Iterator<Json | readonly [string, Json]>;
    first: boolean;
  }[] = [];
  let current: Json | undefined = value;
  for (;;) {
    if (current !== undefined) {
      if (Array.isArray(current) && current.length > 0) {
        parts.push('[');
        stack.push({ object: false, entries: current.values(), first: true });
      } else if (current instanceof Map && current.size > 0) {
        parts.push('{');
        const entries = (current as JsonObject).entries();
        stack.push({ object: true, entries, first: true });
      } else {
        parts.push(formatScalar(current, layout.nonFinite === true));
      }
      current = undefined;
    }
    const frame = stack.at(-1);
    if (frame === undefined) return parts.join('');
    const next = frame.entries.next();
    if (next.done === true) {
      stack.pop();
      parts.push(line(stack.length), frame.object ? '}' : ']');
      continue;
    }
    parts.push(frame.first ? '' : ',', line(stack.length));
    frame.first = false;
    if (frame.object) {
      const [key, inner] = next.value as readonly [string, Json];
      parts.push(JSON.stringify(key), colon);
      current = inner;
    } else {
      current = next.value as Json;
    }
  }
}

function formatScalar(value: Json, nonFinite: boolean): string {
  if (typeof value === 'bigint') return value.toString();
  if (typeof value === 'number') {
    if (Object.is(value, -0)) return '-0.0';
    if (Number.isFinite(value)) return String(value);
    if (nonFinite) return String(value);
    throw new BnsumError({ code: 'INTERNAL', reason: `${value} has no JSON form` });
  }
  if (typeof value === 'string') return JSON.stringify(value);
  if (value === null || typeof value === 'boolean') return String(value);
  return value instanceof Map ? '{}' : '[]';
}
