import { parseJson } from '../../bytes/json.ts';
import type { ByteSource } from '../../bytes/source.ts';
import { provedByteLength } from '../../ir/build.ts';
import { bitsOf, type DType } from '../../ir/dtype.ts';
import { BnsumError, type ErrorCode } from '../../ir/error.ts';
import { isList, isObject, type Json, type JsonObject } from '../../ir/json.ts';
import { LIMITS } from '../../ir/limits.ts';

/**
 * Element types in the reference implementation's order, which its writer sorts by (safetensors, `Dtype`): growing
 * alignment. F4 counts single float4 numbers, two to a byte.
 */
export const DTYPE_WORDS: readonly (readonly [word: string, dtype: DType])[] = [
  ['BOOL', 'bool'],
  ['F4', 'float4_e2m1'],
  ['F6_E2M3', 'float6_e2m3'],
  ['F6_E3M2', 'float6_e3m2'],
  ['U8', 'uint8'],
  ['I8', 'int8'],
  ['F8_E5M2', 'float8_e5m2'],
  ['F8_E4M3', 'float8_e4m3fn'],
  ['F8_E8M0', 'float8_e8m0fnu'],
  ['F8_E4M3FNUZ', 'float8_e4m3fnuz'],
  ['F8_E5M2FNUZ', 'float8_e5m2fnuz'],
  ['I16', 'int16'],
  ['U16', 'uint16'],
  ['F16', 'float16'],
  ['BF16', 'bfloat16'],
  ['I32', 'int32'],
  ['U32', 'uint32'],
  ['F32', 'float32'],
  ['C64', 'complex64'],
  ['F64', 'float64'],
  ['I64', 'int64'],
  ['U64', 'uint64'],
];

const DTYPE_OF: ReadonlyMap<string, DType> = new Map(DTYPE_WORDS);

export interface HeaderEntry {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly number[];
  /** Bytes [begin, end) of the file. */
  readonly begin: number;
  readonly end: number;
}

export interface Header {
  /** In the header's order. */
  readonly entries: readonly HeaderEntry[];
  readonly metadata: ReadonlyMap<string, string>;
}

/**
 * Reads and proves the header, nothing else: types known, sizes exact, and the tensors tile the data from its first
 * byte to the end of the file without hole or overlap, as the reference implementation demands. Throws BnsumError.
 */
export async function readHeader(source: ByteSource): Promise<Header> {
  const file = source.label;
  const refuse = (code: ErrorCode, place: string | undefined, reason: string): BnsumError =>
    new BnsumError({ code, file, ...(place === undefined ? {} : { place }), reason });
  if (source.size < 8) throw refuse('TRUNCATED', undefined, `${source.size} bytes are no safetensors header`);
  const prefix = await source.read(0, 8);
  const claimed = new DataView(prefix.buffer, prefix.byteOffset, 8).getBigUint64(0, true);
  if (claimed > BigInt(LIMITS.safetensorsHeaderBytes)) {
    throw refuse('LIMIT', '@0', `claims a header of ${claimed} bytes, the limit is ${LIMITS.safetensorsHeaderBytes}`);
  }
  const length = Number(claimed);
  if (length < 2) throw refuse('MALFORMED', '@0', `claims a header of ${length} bytes`);
  if (8 + length > source.size) {
    throw refuse('TRUNCATED', '@0', `the header needs ${8 + length} bytes, the file has ${source.size}`);
  }
  const bytes = await source.read(8, 8 + length);
  if (bytes[0] !== 0x7b) throw refuse('MALFORMED', '@8', 'the header does not start with {');
  // One tensor takes eight values: its object, dtype, shape and offsets with their items.
  const maxNodes = LIMITS.safetensorsTensors * 8;
  const maxObjects = LIMITS.safetensorsTensors + 2;
  const at = { file, place: 'header' };
  const root = parseJson(bytes, at, { integersOnly: true, maxBytes: length, maxNodes, maxObjects });
  if (!isObject(root)) throw refuse('MALFORMED', 'header', 'is not an object');

  const dataStart = 8 + length;
  const entries: HeaderEntry[] = [];
  let metadata: ReadonlyMap<string, string> = new Map();
  for (const [name, value] of root) {
    if (name === '__metadata__') metadata = readMetadata(value, file);
    else entries.push(readEntry(name, value, dataStart, file));
  }
  proveTiling(entries, dataStart, source.size, file);
  return { entries, metadata };
}

function readMetadata(value: Json, file: string): ReadonlyMap<string, string> {
  const place = '__metadata__';
  if (!isObject(value)) throw new BnsumError({ code: 'MALFORMED', file, place, reason: 'is not an object' });
  const metadata = new Map<string, string>();
  for (const [key, text] of value) {
    if (typeof text !== 'string') {
      throw new BnsumError({ code: 'MALFORMED', file, place, reason: `'${key}' is not text` });
    }
    metadata.set(key, text);
  }
  return metadata;
}

function readEntry(name: string, value: Json, dataStart: number, file: string): HeaderEntry {
  const refuse = (code: ErrorCode, reason: string): BnsumError => new BnsumError({ code, file, place: name, reason });
  if (!isObject(value)) throw refuse('MALFORMED', 'is not an object');
  for (const key of value.keys()) {
    if (key !== 'dtype' && key !== 'shape' && key !== 'data_offsets') throw refuse('MALFORMED', `unknown key '${key}'`);
  }
  const word = value.get('dtype');
  if (typeof word !== 'string') throw refuse('MALFORMED', 'has no dtype');
  const dtype = DTYPE_OF.get(word);
  if (dtype === undefined) throw refuse('UNSUPPORTED', `unknown dtype '${word}'`);
  const shape = integersAt(value, 'shape', refuse);
  const [begin, end, ...more] = integersAt(value, 'data_offsets', refuse);
  if (begin === undefined || end === undefined || more.length > 0) throw refuse('MALFORMED', 'needs two data_offsets');
  if (begin > end) throw refuse('MALFORMED', `data_offsets [${begin}, ${end}] run backwards`);
  const byteLength = provedByteLength(dtype, shape, file, name);
  const bits = bitsOf(dtype);
  if (bits % 8 !== 0 && (shape.reduce((product, axis) => (product * (axis % 8)) % 8, 1) * bits) % 8 !== 0) {
    throw refuse('MALFORMED', `${dtype} of shape [${shape.join(', ')}] does not fill whole bytes`);
  }
  if (end - begin !== byteLength) {
    throw refuse('MALFORMED', `${dtype} of shape [${shape.join(', ')}] takes ${byteLength} bytes, not ${end - begin}`);
  }
  if (!Number.isSafeInteger(dataStart + end)) throw refuse('LIMIT', 'data_offsets beyond 2^53');
  return { name, dtype, shape, begin: dataStart + begin, end: dataStart + end };
}

function integersAt(
  value: JsonObject,
  key: 'shape' | 'data_offsets',
  refuse: (code: ErrorCode, reason: string) => BnsumError,
): readonly number[] {
  const list = value.get(key);
  if (!isList(list)) throw refuse('MALFORMED', `has no ${key}`);
  return list.map((item) => {
    if (typeof item !== 'number' || !Number.isSafeInteger(item) || item < 0) {
      throw refuse('MALFORMED', `${key} holds ${String(item).slice(0, 40)}, not a size`);
    }
    return item;
  });
}

function proveTiling(entries: readonly HeaderEntry[], dataStart: number, size: number, file: string): void {
  let reached = dataStart;
  for (const entry of entries.toSorted((a, b) => a.begin - b.begin || a.end - b.end)) {
    if (entry.begin !== reached) {
      const what =
        entry.begin < reached ? 'overlaps the tensor before it' : `leaves ${entry.begin - reached} bytes unused`;
      throw new BnsumError({ code: 'MALFORMED', file, place: entry.name, reason: `${what}, but tensors must touch` });
    }
    reached = entry.end;
  }
  if (reached > size) {
    throw new BnsumError({
      code: 'TRUNCATED',
      file,
      reason: `the tensors need ${reached} bytes, the file has ${size}`,
    });
  }
  if (reached < size) {
    throw new BnsumError({
      code: 'MALFORMED',
      file,
      place: `@${reached}`,
      reason: `${size - reached} bytes belong to no tensor`,
    });
  }
}
