const ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/';
const ENCODE = new TextEncoder().encode(ALPHABET);
const DECODE = new Uint8Array(256).fill(255);
for (const [value, code] of ENCODE.entries()) DECODE[code] = value;
const PAD = 0x3d;

/** Two characters for each twelve bits, in the byte order of the machine. */
const PAIRS = new Uint16Array(4096);
const PAIR_BYTES = new Uint8Array(PAIRS.buffer);
for (let bits = 0; bits < 4096; bits += 1) {
  PAIR_BYTES[bits * 2] = ENCODE[bits >> 6] as number;
  PAIR_BYTES[bits * 2 + 1] = ENCODE[bits & 63] as number;
}

/** Characters of the base64 form of so many bytes, padding included. */
export function base64Length(byteLength: number): number {
  return Math.ceil(byteLength / 3) * 4;
}

/** Standard base64 (RFC 4648, section 4), padded, as ASCII bytes. */
export function encodeBase64(bytes: Uint8Array): Uint8Array {
  const { length } = bytes;
  const text = new Uint8Array(base64Length(length));
  let to = 0;
  let from = 0;
  const pairs = new Uint16Array(text.buffer, 0, text.byteLength / 2);
  for (; from + 2 < length; from += 3) {
    const word = ((bytes[from] as number) << 16) | ((bytes[from + 1] as number) << 8) | (bytes[from + 2] as number);
    pairs[to] = PAIRS[word >> 12] as number;
    pairs[to + 1] = PAIRS[word & 4095] as number;
    to += 2;
  }
  to *= 2;
  const rest = length - from;
  if (rest === 0) return text;
  const word = ((bytes[from] as number) << 16) | (rest === 2 ? (bytes[from + 1] as number) << 8 : 0);
  text[to] = ENCODE[word >> 18] as number;
  text[to + 1] = ENCODE[(word >> 12) & 63] as number;
  text[to + 2] = rest === 2 ? (ENCODE[(word >> 6) & 63] as number) : PAD;
  text[to + 3] = PAD;
  return text;
}

/**
 * Decodes whole groups of four characters; padding may only end the last group. Returns the bytes written, or -1 when
 * the text is not base64. `into` has room for three bytes per group.
 */
export function decodeBase64(text: Uint8Array, into: Uint8Array): number {
  const { length } = text;
  if (length % 4 !== 0) return -1;
  let padding = 0;
  if (length > 0 && text[length - 1] === PAD) padding = text[length - 2] === PAD ? 2 : 1;
  const plain = padding === 0 ? length : length - 4;
  let to = 0;
  let wrong = 0;
  for (let from = 0; from < plain; from += 4) {
    const a = DECODE[text[from] as number] as number;
    const b = DECODE[text[from + 1] as number] as number;
    const c = DECODE[text[from + 2] as number] as number;
    const d = DECODE[text[from + 3] as number] as number;
    wrong |= a | b | c | d;
    into[to] = (a << 2) | (b >> 4);
    into[to + 1] = (b << 4) | (c >> 2);
    into[to + 2] = (c << 6) | d;
    to += 3;
  }
  if (padding > 0) {
    const a = DECODE[text[plain] as number] as number;
    const b = DECODE[text[plain + 1] as number] as number;
    const c = padding === 1 ? (DECODE[text[plain + 2] as number] as number) : 0;
    wrong |= a | b | c;
    into[to] = (a << 2) | (b >> 4);
    if (padding === 1) into[to + 1] = (b << 4) | (c >> 2);
    to += 3 - padding;
  }
  return (wrong & 128) !== 0 ? -1 : to;
}
