/** Pickles byte by byte. Nothing here knows Python's pickler: a test says exactly which opcodes it wants. */
export type Part = string | number | Uint8Array | readonly number[];

export function bytes(...parts: readonly Part[]): Uint8Array {
  const flat: number[] = [];
  for (const part of parts) {
    if (typeof part === 'number') flat.push(part);
    else if (typeof part === 'string') for (const character of part) flat.push(character.charCodeAt(0));
    else flat.push(...part);
  }
  return Uint8Array.from(flat);
}

export const PROTO2: readonly number[] = [0x80, 2];
export const PROTO4: readonly number[] = [0x80, 4];
export const STOP = '.';

export function u32(value: number): number[] {
  return [value & 255, (value >> 8) & 255, (value >> 16) & 255, (value >>> 24) & 255];
}

export function u64(value: bigint): number[] {
  return Array.from({ length: 8 }, (_, index) => Number((value >> BigInt(8 * index)) & 255n));
}

/** BINUNICODE. */
export function text(value: string): Uint8Array {
  const encoded = new TextEncoder().encode(value);
  return bytes('X', u32(encoded.length), encoded);
}

/** SHORT_BINUNICODE. */
export function shortText(value: string): Uint8Array {
  const encoded = new TextEncoder().encode(value);
  return bytes(0x8c, encoded.length, encoded);
}

/** GLOBAL. */
export function global(module: string, name: string): Uint8Array {
  return bytes('c', new TextEncoder().encode(`${module}\n${name}\n`));
}

export function int(value: number): Uint8Array {
  return value >= 0 && value < 256 ? bytes('K', value) : bytes('J', u32(value));
}

/** ('storage', torch.<type>, key, 'cpu', count) as a persistent id. */
export function storage(type: string, key: string, count: number): Uint8Array {
  return bytes('(', text('storage'), global('torch', type), text(key), text('cpu'), int(count), 't', 'Q');
}

function tuple(values: readonly number[]): Uint8Array {
  return bytes('(', ...values.map(int), 't');
}

/** torch._utils._rebuild_tensor_v2(storage, offset, size, stride, False, OrderedDict()). */
export function tensor(
  type: string,
  key: string,
  count: number,
  offset: number,
  size: readonly number[],
  stride: readonly number[],
): Uint8Array {
  return bytes(
    global('torch._utils', '_rebuild_tensor_v2'),
    '(',
    storage(type, key, count),
    int(offset),
    tuple(size),
    tuple(stride),
    0x89,
    global('collections', 'OrderedDict'),
    ')R',
    'tR',
  );
}

/** A dict of entries, as protocol 2 writes it. */
export function dict(entries: readonly (readonly [string, Uint8Array])[]): Uint8Array {
  return bytes('}', '(', ...entries.flatMap(([key, value]) => [text(key), value]), 'u');
}
