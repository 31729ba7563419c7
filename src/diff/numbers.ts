import { decodeFloats } from '../convert/cast.ts';
import { bitsOf, type DType } from '../ir/dtype.ts';

/** Numbers of a block; complex numbers are two each, packed types are read as stored. Aligned blocks are not copied. */
export function numbersOf(block: Uint8Array, dtype: DType, elements: number): ArrayLike<number> {
  const { buffer, byteOffset } = block;
  const aligned = (size: number): boolean => byteOffset % size === 0;
  switch (dtype) {
    case 'float32':
      return aligned(4) ? new Float32Array(buffer, byteOffset, elements) : decodeFloats(block, dtype, elements);
    case 'complex64':
      return aligned(4)
        ? new Float32Array(buffer, byteOffset, elements * 2)
        : decodeFloats(block, 'float32', elements * 2);
    case 'float64':
      return aligned(8) ? new Float64Array(buffer, byteOffset, elements) : decodeFloats(block, dtype, elements);
    case 'complex128':
      return aligned(8)
        ? new Float64Array(buffer, byteOffset, elements * 2)
        : decodeFloats(block, 'float64', elements * 2);
    case 'float16':
    case 'bfloat16':
      return decodeFloats(block, dtype, elements);
    case 'complex32':
      return decodeFloats(block, 'float16', elements * 2);
    case 'float8_e4m3fn':
      return mapped(block, E4M3FN);
    case 'float8_e4m3fnuz':
      return mapped(block, E4M3FNUZ);
    case 'float8_e5m2':
      return mapped(block, E5M2);
    case 'float8_e5m2fnuz':
      return mapped(block, E5M2FNUZ);
    case 'float8_e8m0fnu':
      return mapped(block, E8M0);
    default:
      return integersOf(block, dtype, elements);
  }
}

function integersOf(block: Uint8Array, dtype: DType, elements: number): ArrayLike<number> {
  const view = new DataView(block.buffer, block.byteOffset, block.byteLength);
  const read = (at: number): number => {
    switch (dtype) {
      case 'int64':
        return Number(view.getBigInt64(at * 8, true));
      case 'uint64':
        return Number(view.getBigUint64(at * 8, true));
      case 'int32':
      case 'qint32':
        return view.getInt32(at * 4, true);
      case 'uint32':
        return view.getUint32(at * 4, true);
      case 'int16':
        return view.getInt16(at * 2, true);
      case 'uint16':
      case 'bits16':
        return view.getUint16(at * 2, true);
      case 'int8':
      case 'qint8':
        return view.getInt8(at);
      default:
        return packed(block, bitsOf(dtype), at, dtype === 'int4');
    }
  };
  return Float64Array.from({ length: elements }, (_, at) => read(at));
}

/** Types below a byte, lowest bits first. */
function packed(block: Uint8Array, bits: number, at: number, signed: boolean): number {
  if (bits === 8) return block[at] ?? 0;
  let value = 0;
  for (let bit = 0; bit < bits; bit += 1) {
    const place = at * bits + bit;
    value |= (((block[place >> 3] ?? 0) >> (place & 7)) & 1) << bit;
  }
  return signed && value >= 1 << (bits - 1) ? value - (1 << bits) : value;
}

function mapped(block: Uint8Array, table: Float64Array): Float64Array {
  return Float64Array.from(block, (byte) => table[byte] ?? Number.NaN);
}

/** The 256 values of a type of one byte: sign, exponent, fraction. */
function tableOf(exponentBits: number, bias: number, special: 'ieee' | 'fn' | 'fnuz'): Float64Array {
  const fractionBits = 7 - exponentBits;
  const top = (1 << exponentBits) - 1;
  return Float64Array.from({ length: 256 }, (_, byte) => {
    const sign = byte & 0x80 ? -1 : 1;
    const exponent = (byte >> fractionBits) & top;
    const fraction = byte & ((1 << fractionBits) - 1);
    if (special === 'fnuz' && byte === 0x80) return Number.NaN;
    if (special === 'ieee' && exponent === top) return fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
    if (special === 'fn' && (byte & 0x7f) === 0x7f) return Number.NaN;
    const scale = 2 ** -fractionBits;
    return exponent === 0
      ? sign * fraction * scale * 2 ** (1 - bias)
      : sign * (1 + fraction * scale) * 2 ** (exponent - bias);
  });
}

const E4M3FN = tableOf(4, 7, 'fn');
const E4M3FNUZ = tableOf(4, 8, 'fnuz');
const E5M2 = tableOf(5, 15, 'ieee');
const E5M2FNUZ = tableOf(5, 16, 'fnuz');
const E8M0 = Float64Array.from({ length: 256 }, (_, byte) => (byte === 255 ? Number.NaN : 2 ** (byte - 127)));
