import { denseTensor } from '../../bytes/dense-tensor.ts';
import type { ByteSource } from '../../bytes/source.ts';
import { countElements, provedByteLength } from '../../ir/build.ts';
import { bytesPerElement, type DType } from '../../ir/dtype.ts';
import { BnsumError } from '../../ir/error.ts';
import type { Tensor } from '../../ir/model.ts';
import { elementsOf, type Fill } from './elements.ts';
import { type ExternalFiles, placeOf } from './external.ts';
import type { Integer, SparseTensorProto, TensorProto } from './schema.ts';
import type { Payload } from './skim.ts';

/** TensorProto.DataType; 8 is text, which is no tensor here. */
const DTYPE_CODES: ReadonlyMap<number, DType> = new Map<number, DType>([
  [1, 'float32'],
  [2, 'uint8'],
  [3, 'int8'],
  [4, 'uint16'],
  [5, 'int16'],
  [6, 'int32'],
  [7, 'int64'],
  [9, 'bool'],
  [10, 'float16'],
  [11, 'float64'],
  [12, 'uint32'],
  [13, 'uint64'],
  [14, 'complex64'],
  [15, 'complex128'],
  [16, 'bfloat16'],
  [17, 'float8_e4m3fn'],
  [18, 'float8_e4m3fnuz'],
  [19, 'float8_e5m2'],
  [20, 'float8_e5m2fnuz'],
  [21, 'uint4'],
  [22, 'int4'],
  [23, 'float4_e2m1'],
  [24, 'float8_e8m0fnu'],
  [25, 'uint2'],
  [26, 'int2'],
  [27, 'float6_e2m3'],
  [28, 'float6_e3m2'],
]);

const STRING_CODE = 8;

/** The element type of a number in the file; null for text and for what is not stated. */
export function dtypeOfCode(code: Integer | undefined): DType | null {
  return DTYPE_CODES.get(Number(code ?? 0)) ?? null;
}

/** What tensors of one file are read from. */
export interface TensorContext {
  readonly source: ByteSource;
  readonly payloads: readonly Payload[];
  readonly external: ExternalFiles;
}

/** A tensor and the way to its bytes, from which others of the same bytes are made. */
export interface Stored {
  readonly tensor: Tensor;
  /** null: the elements are described, not read (sparse). */
  readonly fill: Fill | null;
}

export function shapeOf(dims: readonly Integer[] | undefined, file: string, name: string): readonly number[] {
  const shape = (dims ?? []).map((size) => {
    if (typeof size === 'bigint') {
      throw new BnsumError({ code: 'LIMIT', file, place: name, reason: `an axis of ${size} elements` });
    }
    return size;
  });
  countElements(shape, file, name);
  return shape;
}

/**
 * The tensor that a TensorProto describes; null when it holds text. `id` tells it from all others of the file.
 * Throws BnsumError when its elements are not there, or not those of its shape and type.
 */
export async function readTensor(
  proto: TensorProto,
  name: string,
  id: string,
  context: TensorContext,
): Promise<Stored | null> {
  const { source, external } = context;
  const file = source.label;
  const code = Number(proto.data_type ?? 0);
  if (code === STRING_CODE) return null;
  const dtype = DTYPE_CODES.get(code);
  if (dtype === undefined) {
    throw new BnsumError({ code: 'UNSUPPORTED', file, place: name, reason: `element type ${code} is not known` });
  }
  if (proto.segment !== undefined) {
    throw new BnsumError({ code: 'UNSUPPORTED', file, place: name, reason: 'a tensor that is cut into segments' });
  }
  const shape = shapeOf(proto.dims, file, name);
  const payloads = (proto.payload ?? []).flatMap((index) => context.payloads[index] ?? []);
  if (Number(proto.data_location ?? 0) !== 1) {
    const fill = elementsOf(source, name, dtype, shape, payloads);
    return storedTensor(file, name, dtype, shape, id, id, fill);
  }
  if (payloads.some((payload) => payload.end > payload.start)) {
    throw new BnsumError({
      code: 'MALFORMED',
      file,
      place: name,
      reason: 'its elements come twice (external data and in the file)',
    });
  }
  const place = placeOf(proto.external_data ?? [], provedByteLength(dtype, shape, file, name), file, name);
  await external.prove(place, name);
  const storage = `${place.location}@${place.offset}`;
  const identity = place.length === 0 ? id : `${storage}:${dtype}[${shape.join()}]`;
  return storedTensor(file, name, dtype, shape, identity, storage, external.fill(place));
}

export function storedTensor(
  file: string,
  name: string,
  dtype: DType,
  shape: readonly number[],
  identity: string,
  storage: string,
  fill: Fill,
): Stored {
  return { tensor: denseTensor({ file, name, dtype, shape, identity, storage, fill }), fill };
}

/** The same elements under another shape: still one and the same tensor. */
export function reshapedTensor(file: string, stored: Stored, shape: readonly number[]): Stored {
  const { tensor, fill } = stored;
  if (fill === null) return stored;
  return storedTensor(file, tensor.name, tensor.dtype, shape, tensor.identity, tensor.storage, fill);
}

/** A tensor of one value, as ConstantOfShape makes it; `element` holds the bytes of one element. */
export function filledTensor(
  file: string,
  name: string,
  dtype: DType,
  shape: readonly number[],
  id: string,
  element: Uint8Array,
): Stored {
  const size = bytesPerElement(dtype);
  return storedTensor(file, name, dtype, shape, id, id, async (start, into) => {
    for (let index = 0; index < into.byteLength; index += 1) into[index] = element[(start + index) % size] ?? 0;
  });
}

/** A sparse tensor: its dense shape, and its parts. Throws BnsumError MISMATCH when they do not fit each other. */
export async function readSparse(
  proto: SparseTensorProto,
  name: string,
  id: string,
  context: TensorContext,
): Promise<Stored | null> {
  const file = context.source.label;
  if (proto.values === undefined || proto.indices === undefined) {
    throw new BnsumError({ code: 'MALFORMED', file, place: name, reason: 'a sparse tensor without values or indices' });
  }
  const values = await readTensor(proto.values, `${name}.values`, `${id}/values`, context);
  const indices = await readTensor(proto.indices, `${name}.indices`, `${id}/indices`, context);
  if (values === null || indices === null) return null;
  const shape = shapeOf(proto.dims, file, name);
  const stored = values.tensor.shape[0] ?? 0;
  const [entries, axes] = indices.tensor.shape;
  const fits = entries === stored && (axes === undefined || axes === shape.length);
  if (!fits || values.tensor.shape.length !== 1 || indices.tensor.dtype !== 'int64') {
    throw new BnsumError({ code: 'MISMATCH', file, place: name, reason: 'its indices do not fit its values' });
  }
  const { dtype } = values.tensor;
  const tensor: Tensor = {
    name,
    dtype,
    shape,
    byteLength: provedByteLength(dtype, shape, file, name),
    encoding: {
      kind: 'sparse',
      layout: 'sparse_coo',
      parts: new Map([
        ['indices', indices.tensor],
        ['values', values.tensor],
      ]),
    },
    identity: id,
    storage: id,
    async readInto() {
      const reason = 'a sparse tensor is described, not read';
      throw new BnsumError({ code: 'UNSUPPORTED', file, place: name, reason });
    },
  };
  return { tensor, fill: null };
}

/** Elements that are read while opening: shapes and fill values. */
const SMALL_BYTES = 4096;

/** A small tensor's bytes; null when it is large or cannot be read. */
export async function smallBytes(stored: Stored): Promise<Uint8Array | null> {
  const { tensor, fill } = stored;
  if (fill === null || tensor.byteLength > SMALL_BYTES) return null;
  const bytes = new Uint8Array(tensor.byteLength);
  await fill(0, bytes);
  return bytes;
}

/** The whole numbers of a small int64 or int32 tensor (a shape); null for any other. */
export async function smallIntegers(stored: Stored): Promise<readonly number[] | null> {
  const { dtype } = stored.tensor;
  if (dtype !== 'int64' && dtype !== 'int32') return null;
  const bytes = await smallBytes(stored);
  if (bytes === null) return null;
  const view = new DataView(bytes.buffer);
  const size = dtype === 'int64' ? 8 : 4;
  return Array.from({ length: bytes.byteLength / size }, (_, index) =>
    dtype === 'int64' ? Number(view.getBigInt64(index * 8, true)) : view.getInt32(index * 4, true),
  );
}
