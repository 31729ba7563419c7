import type { ByteSource } from '../../bytes/source.ts';
import { countElements, provedByteLength } from '../../ir/build.ts';
import { bitsOf, byteLengthOf, type DType } from '../../ir/dtype.ts';
import { BnsumError } from '../../ir/error.ts';
import { LIMITS } from '../../ir/limits.ts';
import type { PayloadField } from './schema.ts';
import type { Payload } from './skim.ts';

/** Gives bytes [start, start + into.byteLength) of a tensor's dense form. */
export type Fill = (start: number, into: Uint8Array, signal?: AbortSignal) => Promise<void>;

/** Element types that each typed field holds (onnx.proto, TensorProto); raw_data holds all of them. */
const FIELD_DTYPES: ReadonlyMap<PayloadField, ReadonlySet<DType>> = new Map<PayloadField, ReadonlySet<DType>>([
  ['float_data', new Set<DType>(['float32', 'complex64'])],
  ['double_data', new Set<DType>(['float64', 'complex128'])],
  ['int64_data', new Set<DType>(['int64'])],
  ['uint64_data', new Set<DType>(['uint32', 'uint64'])],
  [
    'int32_data',
    new Set<DType>([
      'int32',
      'int16',
      'int8',
      'int4',
      'int2',
      'uint16',
      'uint8',
      'uint4',
      'uint2',
      'bool',
      'float16',
      'bfloat16',
      'float8_e4m3fn',
      'float8_e4m3fnuz',
      'float8_e5m2',
      'float8_e5m2fnuz',
      'float8_e8m0fnu',
      'float4_e2m1',
      'float6_e2m3',
      'float6_e3m2',
    ]),
  ],
]);

/** Bytes that one number of a typed field stands for: the element, half a complex one, or a byte of packed ones. */
function numberBytes(field: PayloadField, dtype: DType): number {
  if (field === 'float_data') return 4;
  if (field === 'double_data') return 8;
  return byteLengthOf(dtype, 1);
}

/**
 * The way to a tensor's elements in the model file. Throws BnsumError MISMATCH when what is there cannot be the elements
 * of that shape and type, MALFORMED when there are several forms of them.
 */
export function elementsOf(
  source: ByteSource,
  name: string,
  dtype: DType,
  shape: readonly number[],
  payloads: readonly Payload[],
): Fill {
  const file = source.label;
  const wanted = provedByteLength(dtype, shape, file, name);
  // An empty field is no second form.
  const given = payloads.filter((payload) => payload.end > payload.start || !payload.packed);
  const field = given[0]?.field;
  if (given.some((payload) => payload.field !== field) || (field === 'raw_data' && given.length > 1)) {
    const forms = [...new Set(given.map((payload) => payload.field))].join(' and ');
    throw new BnsumError({ code: 'MALFORMED', file, place: name, reason: `its elements come twice (${forms})` });
  }
  const misfit = (reason: string): BnsumError =>
    new BnsumError({ code: 'MISMATCH', file, place: name, reason: `[${shape.join(', ')}] of ${dtype}: ${reason}` });
  if (field === undefined) {
    if (wanted > 0) throw misfit(`${wanted} bytes are needed, the file holds no elements of it`);
    return async () => {};
  }
  if (field === 'raw_data') {
    const bytes = given.reduce((sum, payload) => sum + payload.end - payload.start, 0);
    if (bytes !== wanted) throw misfit(`${wanted} bytes are needed, raw_data holds ${bytes}`);
    return rangeFill(source, given);
  }
  if (FIELD_DTYPES.get(field)?.has(dtype) !== true) throw misfit(`its elements stand in ${field}`);
  const width = numberBytes(field, dtype);
  // Six bits each, packed in raw_data and one to a number here.
  const isSix = bitsOf(dtype) === 6;
  const numbers = isSix ? countElements(shape, file, name) : wanted / width;
  const isFixed = field === 'float_data' || field === 'double_data';
  let least = 0;
  let most = 0;
  for (const payload of given) {
    const bytes = payload.end - payload.start;
    least += payload.packed ? (isFixed ? bytes / width : Math.ceil(bytes / 10)) : payload.count;
    most += payload.packed ? (isFixed ? bytes / width : bytes) : payload.count;
  }
  if (numbers < least || numbers > most) {
    throw misfit(`${numbers} numbers are needed, ${field} holds ${least === most ? least : `${least} to ${most}`}`);
  }
  if (isFixed && given.every((payload) => payload.packed)) return rangeFill(source, given);
  return decodedFill(async (signal) => {
    const dense = await decodeNumbers(source, name, given, isFixed, width, numbers * width, signal);
    return isSix ? packSix(dense) : dense;
  });
}

/** Bytes that stand in the file as they are, in one or more pieces. */
export function rangeFill(
  source: ByteSource,
  ranges: readonly { readonly start: number; readonly end: number }[],
): Fill {
  return async (start, into, signal) => {
    let skipped = start;
    let done = 0;
    for (const range of ranges) {
      const size = range.end - range.start;
      if (skipped >= size) {
        skipped -= size;
        continue;
      }
      let at = range.start + skipped;
      skipped = 0;
      while (at < range.end && done < into.byteLength) {
        const end = Math.min(range.end, at + into.byteLength - done, at + LIMITS.blockBytes);
        into.set(await source.read(at, end, signal), done);
        done += end - at;
        at = end;
      }
      if (done === into.byteLength) return;
    }
    if (done < into.byteLength) {
      const reason = `bytes up to ${start + into.byteLength} of a tensor are needed, it has ${start + done}`;
      throw new BnsumError({ code: 'TRUNCATED', file: source.label, reason });
    }
  };
}

/** Numbers that are stored as varints, or each behind a tag: decoded whole, and kept for the next call. */
function decodedFill(decode: (signal: AbortSignal | undefined) => Promise<Uint8Array>): Fill {
  let known: WeakRef<Uint8Array> | undefined;
  return async (start, into, signal) => {
    const dense = known?.deref() ?? (await decode(signal));
    known = new WeakRef(dense);
    into.set(dense.subarray(start, start + into.byteLength));
  };
}

/** Six bits of each byte, low bits first. */
function packSix(bytes: Uint8Array): Uint8Array {
  const packed = new Uint8Array(Math.ceil((bytes.byteLength * 6) / 8));
  for (const [index, byte] of bytes.entries()) {
    const at = index * 6;
    const bits = (byte & 0x3f) << (at & 7);
    packed[at >> 3] = (packed[at >> 3] ?? 0) | (bits & 0xff);
    if (bits > 0xff) packed[(at >> 3) + 1] = bits >> 8;
  }
  return packed;
}

const BLOCK_BYTES = 1024 * 1024;

async function decodeNumbers(
  source: ByteSource,
  name: string,
  payloads: readonly Payload[],
  isFixed: boolean,
  width: number,
  wanted: number,
  signal: AbortSignal | undefined,
): Promise<Uint8Array> {
  const dense = new Uint8Array(wanted);
  const damaged = (reason: string): BnsumError =>
    new BnsumError({ code: 'MISMATCH', file: source.label, place: name, reason });
  let filled = 0;
  for (const payload of payloads) {
    let isTag = !payload.packed;
    let window = new Uint8Array(0);
    let at = 0;
    let next = payload.start;
    while (next < payload.end || at < window.byteLength) {
      if (window.byteLength - at < 10 && next < payload.end) {
        const end = Math.min(payload.end, next + BLOCK_BYTES);
        const more = await source.read(next, end, signal);
        const joined = new Uint8Array(window.byteLength - at + more.byteLength);
        joined.set(window.subarray(at));
        joined.set(more, window.byteLength - at);
        [window, at, next] = [joined, 0, end];
      }
      if (isFixed && !isTag) {
        if (filled + width > wanted) throw damaged('more numbers than elements');
        dense.set(window.subarray(at, at + width), filled);
        [at, filled, isTag] = [at + width, filled + width, true];
        continue;
      }
      let low = 0;
      let high = 0;
      let shift = 0;
      for (;;) {
        const byte = window[at];
        if (byte === undefined || shift > 63) throw damaged('its list of numbers is damaged');
        at += 1;
        const bits = byte & 0x7f;
        if (shift < 28) low |= bits << shift;
        else if (shift === 28) {
          low |= bits << 28;
          high |= bits >>> 4;
        } else high |= bits << (shift - 32);
        shift += 7;
        if (byte < 0x80) break;
      }
      if (isTag) {
        isTag = false;
        continue;
      }
      if (filled + width > wanted) throw damaged('more numbers than elements');
      for (let index = 0; index < width; index += 1) {
        dense[filled + index] = (index < 4 ? low >>> (8 * index) : high >>> (8 * (index - 4))) & 0xff;
      }
      filled += width;
      isTag = !payload.packed;
    }
  }
  if (filled !== wanted) throw damaged(`it holds ${filled / width} numbers, ${wanted / width} are needed`);
  return dense;
}
