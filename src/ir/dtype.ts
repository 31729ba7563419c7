/**
 * Element types, spelled as PyTorch spells them (Keras uses the same words).
 * `bits` is the stored size of one element; complex and sub-byte types included.
 */
export type DType =
  | 'float64'
  | 'float32'
  | 'float16'
  | 'bfloat16'
  | 'float8_e4m3fn'
  | 'float8_e4m3fnuz'
  | 'float8_e5m2'
  | 'float8_e5m2fnuz'
  | 'float8_e8m0fnu'
  | 'float6_e2m3'
  | 'float6_e3m2'
  | 'float4_e2m1'
  | 'float4_e2m1fn_x2'
  | 'int64'
  | 'int32'
  | 'int16'
  | 'int8'
  | 'int4'
  | 'int2'
  | 'uint64'
  | 'uint32'
  | 'uint16'
  | 'uint8'
  | 'uint4'
  | 'uint2'
  | 'bool'
  | 'complex32'
  | 'complex64'
  | 'complex128'
  | 'qint8'
  | 'quint8'
  | 'qint32'
  | 'quint4x2'
  | 'quint2x4'
  | 'bits1x8'
  | 'bits2x4'
  | 'bits4x2'
  | 'bits8'
  | 'bits16';

interface DTypeFacts {
  readonly bits: number;
  readonly family: 'float' | 'int' | 'uint' | 'bool' | 'complex' | 'quantised';
}

const TABLE: Readonly<Record<DType, DTypeFacts>> = {
  float64: { bits: 64, family: 'float' },
  float32: { bits: 32, family: 'float' },
  float16: { bits: 16, family: 'float' },
  bfloat16: { bits: 16, family: 'float' },
  float8_e4m3fn: { bits: 8, family: 'float' },
  float8_e4m3fnuz: { bits: 8, family: 'float' },
  float8_e5m2: { bits: 8, family: 'float' },
  float8_e5m2fnuz: { bits: 8, family: 'float' },
  float8_e8m0fnu: { bits: 8, family: 'float' },
  float6_e2m3: { bits: 6, family: 'float' },
  float6_e3m2: { bits: 6, family: 'float' },
  float4_e2m1: { bits: 4, family: 'float' },
  /** PyTorch's packed form: one element is a byte that holds two float4 numbers. */
  float4_e2m1fn_x2: { bits: 8, family: 'float' },
  int64: { bits: 64, family: 'int' },
  int32: { bits: 32, family: 'int' },
  int16: { bits: 16, family: 'int' },
  int8: { bits: 8, family: 'int' },
  int4: { bits: 4, family: 'int' },
  int2: { bits: 2, family: 'int' },
  uint64: { bits: 64, family: 'uint' },
  uint32: { bits: 32, family: 'uint' },
  uint16: { bits: 16, family: 'uint' },
  uint8: { bits: 8, family: 'uint' },
  uint4: { bits: 4, family: 'uint' },
  uint2: { bits: 2, family: 'uint' },
  bool: { bits: 8, family: 'bool' },
  complex32: { bits: 32, family: 'complex' },
  complex64: { bits: 64, family: 'complex' },
  complex128: { bits: 128, family: 'complex' },
  qint8: { bits: 8, family: 'quantised' },
  quint8: { bits: 8, family: 'quantised' },
  qint32: { bits: 32, family: 'quantised' },
  /** PyTorch stores two (four) of these in a byte; `bits` is per element. */
  quint4x2: { bits: 4, family: 'quantised' },
  quint2x4: { bits: 2, family: 'quantised' },
  /** PyTorch's uninterpreted bits: one element is a byte, however many numbers are packed into it. */
  bits1x8: { bits: 8, family: 'uint' },
  bits2x4: { bits: 8, family: 'uint' },
  bits4x2: { bits: 8, family: 'uint' },
  bits8: { bits: 8, family: 'uint' },
  bits16: { bits: 16, family: 'uint' },
};

export const DTYPES: readonly DType[] = Object.keys(TABLE) as DType[];

/** Whether a word from a file is one of ours. */
export function isDType(word: string): word is DType {
  return Object.hasOwn(TABLE, word);
}

/** Stored bits of one element. */
export function bitsOf(dtype: DType): number {
  return TABLE[dtype].bits;
}

export function familyOf(dtype: DType): DTypeFacts['family'] {
  return TABLE[dtype].family;
}

/** Bytes of one element; sub-byte types throw a RangeError, since no element of theirs can be addressed alone. */
export function bytesPerElement(dtype: DType): number {
  const bits = bitsOf(dtype);
  if (bits % 8 !== 0) throw new RangeError(`${dtype} has no whole number of bytes per element`);
  return bits / 8;
}

/** Stored bytes of a contiguous tensor, rounded up to whole bytes. */
export function byteLengthOf(dtype: DType, elements: number): number {
  return Math.ceil((elements * bitsOf(dtype)) / 8);
}
