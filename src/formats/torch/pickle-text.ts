/**
 * The literals of a pickle: text lines, UTF-8 with surrogates, escapes, long integers. Each function answers undefined
 * for what Python would refuse; the machine knows the place.
 */
const strict = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** Whether a range of bytes is plain ASCII. */
export function isAscii(bytes: Uint8Array, start: number, end: number): boolean {
  for (let at = start; at < end; at += 1) if ((bytes[at] ?? 0) > 127) return false;
  return true;
}

/** UTF-8 as Python's 'surrogatepass' reads it: lone surrogates stay. */
export function decodeUtf8(bytes: Uint8Array): string | undefined {
  try {
    return strict.decode(bytes);
  } catch {
    return decodeWithSurrogates(bytes);
  }
}

function decodeWithSurrogates(bytes: Uint8Array): string | undefined {
  const parts: string[] = [];
  let from = 0;
  const flush = (to: number): boolean => {
    if (to > from) {
      try {
        parts.push(strict.decode(bytes.subarray(from, to)));
      } catch {
        return false;
      }
    }
    return true;
  };
  for (let at = 0; at + 2 < bytes.length; at += 1) {
    const second = bytes[at + 1] ?? 0;
    const third = bytes[at + 2] ?? 0;
    if (bytes[at] !== 0xed || second < 0xa0 || second > 0xbf || third < 0x80 || third > 0xbf) continue;
    if (!flush(at)) return undefined;
    parts.push(String.fromCharCode(0xd000 | ((second & 0x3f) << 6) | (third & 0x3f)));
    from = at + 3;
    at += 2;
  }
  return flush(bytes.length) ? parts.join('') : undefined;
}

/** Bytes as text when they are UTF-8, else the bytes: Python 2 strings are either. */
export function decodeOldString(bytes: Uint8Array): string | Uint8Array {
  try {
    return strict.decode(bytes);
  } catch {
    return bytes;
  }
}

/** Little-endian two's complement of LONG1 and LONG4, in time linear in the length. */
export function decodeLong(bytes: Uint8Array): number | bigint {
  if (bytes.length === 0) return 0;
  const negative = (bytes[bytes.length - 1] ?? 0) > 127;
  let hex = '';
  for (let at = bytes.length - 1; at >= 0; at -= 1) hex += (bytes[at] ?? 0).toString(16).padStart(2, '0');
  const unsigned = BigInt(`0x${hex}`);
  return shrink(negative ? unsigned - (1n << BigInt(8 * bytes.length)) : unsigned);
}

/** A number where it is exact, else the bigint. */
export function shrink(value: bigint): number | bigint {
  const small = Number(value);
  return Number.isSafeInteger(small) ? small : value;
}

/** How CPython reads the number: INT by C's strtol before its own parser, LONG in any base, a memo index in base 10. */
export type IntegerLine = 'INT' | 'LONG' | 'INDEX';

/**
 * A text line of INT, LONG, PUT or GET, as any unpickler of CPython takes it, the one in C or the one in Python:
 * underscores, bases, white space, and a NUL that ends the number. `digits` bounds its length.
 */
export function parseInteger(
  line: string,
  kind: IntegerLine,
  digits: number,
): number | bigint | 'too long' | undefined {
  const nul = line.indexOf('\0');
  const ended = nul < 0 ? line : line.slice(0, nul);
  // strtol converts nothing and stops at the NUL, which load_int takes for the end.
  if (ended === '' && nul === 0) return kind === 'INT' ? 0 : undefined;
  let text = trimAscii(kind === 'LONG' && nul < 0 && ended.endsWith('L') ? ended.slice(0, -1) : ended);
  const isNegative = text.startsWith('-');
  if (isNegative || text.startsWith('+')) text = text.slice(1);
  if (text.length > digits) return isNumeral(text) ? 'too long' : undefined;
  // strtol knows C's octal numbers, and wants nothing behind the digits.
  const isC = kind === 'INT' && ended.endsWith(text);
  const literal = literalOf(text, kind, isC);
  if (literal === undefined) return undefined;
  const value = BigInt(literal);
  return shrink(isNegative ? -value : value);
}

/** The number without its sign, as BigInt reads it. */
function literalOf(text: string, kind: IntegerLine, isC: boolean): string | undefined {
  if (kind === 'INDEX') return /^[0-9](?:_?[0-9])*$/.test(text) ? text.replaceAll('_', '') : undefined;
  if (isC && /^0[0-7]+$/.test(text)) return `0o${text}`;
  const known = /^(?:[1-9](?:_?[0-9])*|0(?:_?0)*|0[xX](?:_?[0-9a-fA-F])+|0[oO](?:_?[0-7])+|0[bB](?:_?[01])+)$/.test(
    text,
  );
  return known ? text.replaceAll('_', '').toLowerCase() : undefined;
}

/** Whether a long text could be a number at all; a paragraph behind an 'I' is none. */
function isNumeral(text: string): boolean {
  for (let at = 0; at < text.length; at += 1) {
    const code = text.charCodeAt(at) | 0x20;
    const isDigit = code >= 0x30 && code <= 0x39;
    const isLetter = code >= 0x61 && code <= 0x66;
    if (!isDigit && !isLetter && text[at] !== '_' && !(at === 1 && (code === 0x78 || code === 0x6f))) return false;
  }
  return true;
}

/** Without the white space that C's isspace knows, at both ends. */
function trimAscii(text: string): string {
  const isSpace = (code: number): boolean => code === 0x20 || (code >= 9 && code <= 13);
  let start = 0;
  let end = text.length;
  while (start < end && isSpace(text.charCodeAt(start))) start += 1;
  while (end > start && isSpace(text.charCodeAt(end - 1))) end -= 1;
  return text.slice(start, end);
}

const FLOAT =
  /^[+-]?(?:[0-9](?:_?[0-9])*(?:\.(?:[0-9](?:_?[0-9])*)?)?|\.[0-9](?:_?[0-9])*)(?:e[+-]?[0-9](?:_?[0-9])*)?$/;

/** A line of FLOAT, as repr() writes it or as float() takes it, with underscores between digits. */
export function parseFloatLine(line: string, digits: number): number | 'too long' | undefined {
  const nul = line.indexOf('\0');
  const text = (nul < 0 ? trimAscii(line) : line.slice(0, nul)).toLowerCase();
  if (text.length > digits) return isFloatText(text) ? 'too long' : undefined;
  const word = /^([+-]?)(inf|infinity|nan)$/.exec(text);
  if (word !== null) {
    if (word[2] === 'nan') return Number.NaN;
    return word[1] === '-' ? Number.NEGATIVE_INFINITY : Number.POSITIVE_INFINITY;
  }
  return FLOAT.test(text) ? Number(text.replaceAll('_', '')) : undefined;
}

function isFloatText(text: string): boolean {
  for (const character of text) if (!'0123456789._e+-'.includes(character)) return false;
  return true;
}

const ESCAPES: ReadonlyMap<number, number> = new Map([
  [0x61, 7],
  [0x62, 8],
  [0x74, 9],
  [0x6e, 10],
  [0x76, 11],
  [0x66, 12],
  [0x72, 13],
  [0x22, 0x22],
  [0x27, 0x27],
  [0x5c, 0x5c],
]);

/** The argument of STRING: a quoted Python literal, quotes included. */
export function decodeQuoted(line: Uint8Array): Uint8Array | undefined {
  const quote = line[0];
  if (line.length < 2 || (quote !== 0x27 && quote !== 0x22) || line[line.length - 1] !== quote) return undefined;
  const out = new Uint8Array(line.length);
  let length = 0;
  for (let at = 1; at < line.length - 1; at += 1) {
    const byte = line[at] ?? 0;
    if (byte !== 0x5c) {
      out[length++] = byte;
      continue;
    }
    at += 1;
    if (at >= line.length - 1) return undefined;
    const code = line[at] ?? 0;
    const simple = ESCAPES.get(code);
    if (simple !== undefined) out[length++] = simple;
    else if (code === 0x78) {
      const hex = String.fromCharCode(line[at + 1] ?? 0, line[at + 2] ?? 0);
      if (!/^[0-9a-fA-F]{2}$/.test(hex)) return undefined;
      out[length++] = Number.parseInt(hex, 16);
      at += 2;
    } else if (code >= 0x30 && code <= 0x37) {
      let octal = '';
      while (octal.length < 3 && (line[at] ?? 0) >= 0x30 && (line[at] ?? 0) <= 0x37 && at < line.length - 1) {
        octal += String.fromCharCode(line[at] ?? 0);
        at += 1;
      }
      at -= 1;
      out[length++] = Number.parseInt(octal, 8) & 0xff;
    } else {
      out[length++] = 0x5c;
      out[length++] = code;
    }
  }
  return out.slice(0, length);
}

/** The argument of UNICODE: latin-1 with \\uXXXX and \\UXXXXXXXX. */
export function decodeRawUnicode(line: Uint8Array): string | undefined {
  const text = latin1(line);
  let broken = false;
  const decoded = text.replace(/\\+(?:u[0-9a-fA-F]{0,4}|U[0-9a-fA-F]{0,8})/g, (match) => {
    const slashes = match.lastIndexOf('\\') + 1;
    if (slashes % 2 === 0) return match;
    const digits = match.slice(slashes + 1);
    const point = Number.parseInt(digits, 16);
    if (digits.length !== (match[slashes] === 'u' ? 4 : 8) || point > 0x10ffff) {
      broken = true;
      return '';
    }
    return match.slice(0, slashes - 1) + String.fromCodePoint(point);
  });
  return broken ? undefined : decoded;
}

/** One character per byte. */
export function latin1(bytes: Uint8Array): string {
  const parts: string[] = [];
  for (let at = 0; at < bytes.length; at += 4096) parts.push(String.fromCharCode(...bytes.subarray(at, at + 4096)));
  return parts.join('');
}

/** The bytes of a text whose characters are below 256; undefined for any other. */
export function encodeLatin1(text: string): Uint8Array | undefined {
  const bytes = new Uint8Array(text.length);
  for (let at = 0; at < text.length; at += 1) {
    const code = text.charCodeAt(at);
    if (code > 255) return undefined;
    bytes[at] = code;
  }
  return bytes;
}
