/** Wire types of the fields of a ModelProto. */
const FIELDS: ReadonlyMap<number, number> = new Map([
  [1, 0],
  [2, 2],
  [3, 2],
  [4, 2],
  [5, 0],
  [6, 2],
  [7, 2],
  [8, 2],
  [14, 2],
  [20, 2],
  [25, 2],
  [26, 2],
]);

/** Fields of text. */
const TEXTS: ReadonlySet<number> = new Set([2, 3, 4, 6]);

/** IR versions are small numbers: 13 in 2025. */
const HIGHEST_IR_VERSION = 255;

/**
 * Whether bytes begin as a ModelProto: an IR version, and a graph or operator sets, among nothing but fields of that
 * message. A SavedModel begins alike; its second field is no text.
 */
export function looksLikeModel(head: Uint8Array, size: number): boolean {
  let at = 0;
  const seen = new Set<number>();
  const varint = (): number => {
    let value = 0;
    for (let scale = 1; at < head.byteLength && scale <= 2 ** 56; scale *= 128) {
      const byte = head[at++] ?? 0;
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) return value;
    }
    return Number.NaN;
  };
  while (at < head.byteLength) {
    const tag = varint();
    const number = Math.floor(tag / 8);
    if (FIELDS.get(number) !== tag % 8) return false;
    const value = varint();
    if (Number.isNaN(value)) return false;
    seen.add(number);
    if (number === 1 && (value === 0 || value > HIGHEST_IR_VERSION)) return false;
    if (tag % 8 !== 2) continue;
    if (at + value > size) return false;
    if (TEXTS.has(number) && head.subarray(at, at + value).some(isControl)) return false;
    at += value;
  }
  return seen.has(1) ? seen.has(7) || seen.has(8) : seen.has(7) && seen.has(8);
}

function isControl(byte: number): boolean {
  return byte < 0x20 && byte !== 0x09 && byte !== 0x0a && byte !== 0x0d;
}
