import { provedByteLength } from '../ir/build.ts';
import { bytesPerElement, type DType, familyOf } from '../ir/dtype.ts';
import { BnsumError } from '../ir/error.ts';
import type { Tensor } from '../ir/model.ts';

/** Element types that a cast reads and writes. */
const CASTABLE: ReadonlySet<DType> = new Set<DType>(['float64', 'float32', 'float16', 'bfloat16']);

export function isCastable(dtype: DType): boolean {
  return CASTABLE.has(dtype);
}

/**
 * The tensor with its floating elements rounded (to nearest, ties to even) to another floating type; other tensors
 * (counters, integers) and tensors of that type already pass through.
 */
export function castTensor(tensor: Tensor, dtype: DType): Tensor {
  if (tensor.dtype === dtype || familyOf(tensor.dtype) !== 'float') return tensor;
  if (!isCastable(tensor.dtype) || !isCastable(dtype)) {
    throw new BnsumError({
      code: 'UNSUPPORTED',
      place: tensor.name,
      reason: `a cast from ${tensor.dtype} to ${dtype} is not offered`,
    });
  }
  const sourceBytes = bytesPerElement(tensor.dtype);
  return {
    name: tensor.name,
    dtype,
    shape: tensor.shape,
    byteLength: provedByteLength(dtype, tensor.shape),
    encoding: tensor.encoding,
    identity: `${tensor.identity} as ${dtype}`,
    storage: tensor.storage,
    async readInto(start, count, into, signal) {
      const elements = count.reduce((product, size) => product * size, 1);
      const bytes = new Uint8Array(elements * sourceBytes);
      await tensor.readInto(start, count, bytes, signal);
      castElements(bytes, tensor.dtype, into, dtype, elements);
    },
  };
}

/** Reads `elements` numbers of a floating type; exact. */
export function decodeFloats(bytes: Uint8Array, dtype: DType, elements: number): Float64Array {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const values = new Float64Array(elements);
  switch (dtype) {
    case 'float64':
      for (let at = 0; at < elements; at += 1) values[at] = view.getFloat64(at * 8, true);
      break;
    case 'float32':
      for (let at = 0; at < elements; at += 1) values[at] = view.getFloat32(at * 4, true);
      break;
    case 'float16':
      for (let at = 0; at < elements; at += 1) values[at] = halfToNumber(view.getUint16(at * 2, true));
      break;
    case 'bfloat16': {
      const word = new DataView(new ArrayBuffer(4));
      for (let at = 0; at < elements; at += 1) {
        word.setUint32(0, view.getUint16(at * 2, true) * 65536);
        values[at] = word.getFloat32(0);
      }
      break;
    }
    default:
      throw new BnsumError({ code: 'INTERNAL', reason: `${dtype} is not decoded as numbers` });
  }
  return values;
}

/** Writes numbers as a floating type, rounded to nearest, ties to even. */
export function encodeFloats(values: Float64Array, dtype: DType, into: Uint8Array): void {
  const view = new DataView(into.buffer, into.byteOffset, into.byteLength);
  const { length } = values;
  switch (dtype) {
    case 'float64':
      for (let at = 0; at < length; at += 1) view.setFloat64(at * 8, values[at] ?? 0, true);
      break;
    case 'float32':
      for (let at = 0; at < length; at += 1) view.setFloat32(at * 4, values[at] ?? 0, true);
      break;
    case 'float16':
      for (let at = 0; at < length; at += 1) view.setUint16(at * 2, numberToHalf(values[at] ?? 0), true);
      break;
    case 'bfloat16':
      for (let at = 0; at < length; at += 1) view.setUint16(at * 2, numberToBrain(values[at] ?? 0), true);
      break;
    default:
      throw new BnsumError({ code: 'INTERNAL', reason: `numbers are not encoded as ${dtype}` });
  }
}

function castElements(from: Uint8Array, fromType: DType, to: Uint8Array, toType: DType, elements: number): void {
  encodeFloats(decodeFloats(from, fromType, elements), toType, to);
}

/** IEEE 754 binary16. */
export function halfToNumber(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 0x1f;
  const fraction = bits & 0x3ff;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

/** Nearest half, ties to even; beyond 65,520 it is infinite. */
export function numberToHalf(value: number): number {
  if (Number.isNaN(value)) return 0x7e00;
  const sign = value < 0 || Object.is(value, -0) ? 0x8000 : 0;
  const size = Math.abs(value);
  if (size >= 65520) return sign | 0x7c00;
  if (size < 2 ** -14) return sign | roundEven(size * 2 ** 24);
  const exponent = Math.min(15, Math.floor(Math.log2(size)));
  const fixed = size < 2 ** exponent ? exponent - 1 : size >= 2 ** (exponent + 1) ? exponent + 1 : exponent;
  const fraction = roundEven((size / 2 ** fixed) * 1024 - 1024);
  return sign | (((fixed + 15) << 10) + fraction);
}

function roundEven(value: number): number {
  const floor = Math.floor(value);
  const rest = value - floor;
  if (rest > 0.5 || (rest === 0.5 && floor % 2 === 1)) return floor + 1;
  return floor;
}

const BRAIN = new DataView(new ArrayBuffer(8));

/**
 * Nearest bfloat16, ties to even. From float64 it rounds once: a double that float32 would round first could round twice.
 */
export function numberToBrain(value: number): number {
  if (Number.isNaN(value)) return 0x7fc0;
  BRAIN.setFloat32(0, value);
  const bits = BRAIN.getUint32(0);
  const near = BRAIN.getFloat32(0);
  const low = bits & 0xffff;
  let high = bits >>> 16;
  if (low > 0x8000) high += 1;
  else if (low === 0x8000) {
    const size = Math.abs(value);
    const rounded = Math.abs(near);
    if (size > rounded || (size === rounded && high % 2 === 1)) high += 1;
  }
  return high & 0xffff;
}
