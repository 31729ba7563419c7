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

/** A decimal line of INT or LONG; `digits` bounds its length. */
export function parseInteger(line: string, digits: number): number | bigint | 'too long' | undefined {
  const text = line.trim();
  if (text.length > digits) return 'too long';
  if (!/^[+-]?[0-9]+$/.test(text)) return undefined;
  return shrink(BigInt(text.startsWith('+') ? text.slice(1) : text));
}

/** A line of FLOAT, as repr() writes it. */
export function parseFloatLine(line: string): number | undefined {
  const text = line.trim().toLowerCase();
  const word = /^([+-]?)(inf|infinity|nan)$/.exec(text);
  if (word !== null) {
    if (word[2] === 'nan') return Number.NaN;
    return word[1] === '-' ? Number.NEGATIVE_INFINITY : Number.POSITIVE_INFINITY;
  }
  return text.length < 400 && /^[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:e[+-]?[0-9]+)?$/.test(text)
    ? Number(text)
    : undefined;
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
