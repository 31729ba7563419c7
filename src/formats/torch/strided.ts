import type { ByteSource } from '../../bytes/source.ts';
import { bitsOf, type DType, familyOf } from '../../ir/dtype.ts';
import { BnsumError } from '../../ir/error.ts';
import type { Encoding, Tensor } from '../../ir/model.ts';

/** The bytes behind one storage. `open` is called when a tensor is read, not before. */
export interface StorageBytes {
  /** Unique in the model; equal means the same bytes. */
  readonly id: string;
  readonly byteLength: number;
  readonly bigEndian: boolean;
  open(): Promise<ByteSource>;
}

export interface StridedFacts {
  readonly file: string;
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly number[];
  /** In elements, like `offset`; a stride of 0 repeats. */
  readonly strides: readonly number[];
  readonly offset: number;
  readonly storage: StorageBytes;
  readonly encoding: Encoding;
  /** Why the values cannot be given (conjugate bit), undefined when they can. */
  readonly refusal: string | undefined;
}

/** Bytes of storage that one piece of a gather spans at most. */
const SPAN_BYTES = 8 * 1024 * 1024;

/** Elements of a shape without the BigInt detour; NaN beyond 2^53. */
function product(shape: readonly number[]): number {
  let total = 1;
  for (const axis of shape) total *= axis;
  return Number.isSafeInteger(total) ? total : Number.NaN;
}

/**
 * A view of a storage as a Tensor. Proves that every element of the view lies inside the storage; throws BnsumError
 * MALFORMED otherwise. Shape, strides and offset must be safe integers ≥ 0.
 */
export function makeStridedTensor(facts: StridedFacts): Tensor {
  const { file, name, dtype, shape, strides, offset, storage } = facts;
  const bits = bitsOf(dtype);
  const elements = product(shape);
  const byteLength = Math.ceil((elements * bits) / 8);
  if (!Number.isSafeInteger(byteLength)) {
    throw new BnsumError({
      code: 'LIMIT',
      file,
      place: name,
      reason: `shape [${shape.join(', ')}] is above 2^53 bytes`,
    });
  }
  if (strides.length !== shape.length) throw misfit(facts, `${shape.length} sizes and ${strides.length} strides`);
  if (elements > 0) {
    let last = offset;
    for (let axis = 0; axis < shape.length; axis += 1) last += ((shape[axis] ?? 1) - 1) * (strides[axis] ?? 0);
    const held = Math.floor((storage.byteLength * 8) / bits);
    if (!Number.isSafeInteger(last) || last >= held) {
      throw misfit(
        facts,
        `its last element is number ${last} of a storage of ${held} elements (offset ${offset}, shape [${shape.join(', ')}], strides [${strides.join(', ')}])`,
      );
    }
  }
  return new StridedTensor(facts, byteLength);
}

function misfit({ file, name }: StridedFacts, reason: string): BnsumError {
  return new BnsumError({ code: 'MALFORMED', file, place: name, reason });
}

/** A class, not a literal with a closure, and flat: a large checkpoint has 100,000 of them. */
class StridedTensor implements Tensor {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly byteLength: number;
  readonly encoding: Encoding;
  readonly identity: string;
  readonly #file: string;
  readonly #strides: readonly number[];
  readonly #offset: number;
  readonly #bytes: StorageBytes;
  readonly #refusal: string | undefined;

  constructor(facts: StridedFacts, byteLength: number) {
    this.name = facts.name;
    this.dtype = facts.dtype;
    this.shape = facts.shape;
    this.byteLength = byteLength;
    this.encoding = facts.encoding;
    this.identity = identityOf(facts);
    this.#file = facts.file;
    this.#strides = facts.strides;
    this.#offset = facts.offset;
    this.#bytes = facts.storage;
    this.#refusal = facts.refusal;
  }

  get storage(): string {
    return this.#bytes.id;
  }

  /** The bytes of its storage that a tensor without holes takes, from and to; null for one with strides of its own. */
  extent(): readonly [number, number] | null {
    let expected = 1;
    for (let axis = this.shape.length - 1; axis >= 0; axis -= 1) {
      const size = this.shape[axis] ?? 0;
      if (size > 1 && this.#strides[axis] !== expected) return null;
      expected *= size;
    }
    const from = (this.#offset * bitsOf(this.dtype)) / 8;
    return [from, from + this.byteLength];
  }

  readInto(start: readonly number[], count: readonly number[], into: Uint8Array, signal?: AbortSignal): Promise<void> {
    const facts: StridedFacts = {
      file: this.#file,
      name: this.name,
      dtype: this.dtype,
      shape: this.shape,
      strides: this.#strides,
      offset: this.#offset,
      storage: this.#bytes,
      encoding: this.encoding,
      refusal: this.#refusal,
    };
    return readStrided(facts, start, count, into, signal);
  }
}

/**
 * Tensors that share some of their bytes with another one and are not the same tensor, each with the first that it
 * overlaps. Only tensors without holes are looked at: whether strided views share elements is another question.
 */
export function findOverlaps(tensors: readonly Tensor[]): readonly (readonly [Tensor, Tensor])[] {
  const byStorage = new Map<string, StridedTensor[]>();
  for (const tensor of tensors) {
    if (!(tensor instanceof StridedTensor)) continue;
    const list = byStorage.get(tensor.storage);
    if (list === undefined) byStorage.set(tensor.storage, [tensor]);
    else list.push(tensor);
  }
  const found: (readonly [Tensor, Tensor])[] = [];
  for (const list of byStorage.values()) {
    if (list.length < 2) continue;
    const placed = list.flatMap((tensor) => {
      const extent = tensor.extent();
      return extent === null || extent[0] === extent[1] ? [] : [{ tensor, from: extent[0], to: extent[1] }];
    });
    placed.sort((a, b) => a.from - b.from || b.to - a.to);
    // The one that reaches farthest so far: whatever begins before its end overlaps it.
    let reach = placed[0];
    for (const one of placed.slice(1)) {
      if (reach === undefined) break;
      if (one.from < reach.to && one.tensor.identity !== reach.tensor.identity) found.push([one.tensor, reach.tensor]);
      if (one.to > reach.to) reach = one;
    }
  }
  return found;
}

/** Views that mean the same elements have the same identity, whatever they say of axes of one element. */
function identityOf({ storage, offset, dtype, strides, shape }: StridedFacts): string {
  let meaning = '';
  let expected = 1;
  for (let axis = shape.length - 1; axis >= 0; axis -= 1) {
    const size = shape[axis] ?? 0;
    // The stride of an axis of one element means nothing.
    if (size > 1 && strides[axis] !== expected) {
      meaning = strides.map((stride, index) => ((shape[index] ?? 0) > 1 ? stride : 0)).join(',');
      break;
    }
    expected *= size;
  }
  // Joined, not concatenated: one flat text instead of a chain of pieces, of which a large checkpoint would keep many.
  return [storage.id, '@', offset, ':', dtype, ':', meaning, ':', shape.join(',')].join('');
}

/** Throws BnsumError when the hyperslab is outside the shape or `into` is too small. */
export function checkHyperslab(
  tensor: { readonly file: string; readonly name: string; readonly dtype: DType; readonly shape: readonly number[] },
  start: readonly number[],
  count: readonly number[],
  into: Uint8Array,
): number {
  const bytes = Math.ceil((product(count) * bitsOf(tensor.dtype)) / 8);
  const inside =
    start.length === tensor.shape.length &&
    count.length === tensor.shape.length &&
    tensor.shape.every((size, axis) => {
      const from = start[axis] ?? -1;
      const length = count[axis] ?? -1;
      return from >= 0 && length >= 0 && from + length <= size;
    });
  if (!inside || !(bytes <= into.byteLength)) {
    throw new BnsumError({
      code: 'INTERNAL',
      file: tensor.file,
      place: tensor.name,
      reason: `hyperslab [${start.join(', ')}] + [${count.join(', ')}] of shape [${tensor.shape.join(', ')}] into ${into.byteLength} bytes`,
    });
  }
  return bytes;
}

async function readStrided(
  facts: StridedFacts,
  start: readonly number[],
  count: readonly number[],
  into: Uint8Array,
  signal: AbortSignal | undefined,
): Promise<void> {
  const bytes = checkHyperslab(facts, start, count, into);
  if (facts.refusal !== undefined) {
    throw new BnsumError({ code: 'UNSUPPORTED', file: facts.file, place: facts.name, reason: facts.refusal });
  }
  if (bytes === 0) return;
  const source = await facts.storage.open();
  const target = into.subarray(0, bytes);
  if (bitsOf(facts.dtype) < 8) await readPacked(facts, source, start, count, target, signal);
  else await gather(facts, source, start, count, target, signal);
  if (facts.storage.bigEndian) swapBytes(facts.dtype, target);
}

/** Types of less than a byte: only whole, contiguous tensors, since single elements have no address. */
async function readPacked(
  facts: StridedFacts,
  source: ByteSource,
  start: readonly number[],
  count: readonly number[],
  target: Uint8Array,
  signal: AbortSignal | undefined,
): Promise<void> {
  let expected = 1;
  let contiguous = facts.offset === 0 && start.every((from) => from === 0);
  for (let axis = facts.shape.length - 1; axis >= 0; axis -= 1) {
    const size = facts.shape[axis] ?? 0;
    if (count[axis] !== size || (size > 1 && facts.strides[axis] !== expected)) contiguous = false;
    expected *= size;
  }
  if (!contiguous) {
    throw new BnsumError({
      code: 'UNSUPPORTED',
      file: facts.file,
      place: facts.name,
      reason: `${facts.dtype} can only be read as a whole, contiguous tensor`,
    });
  }
  await readDirect(source, 0, target, signal);
}

/** A box of the view: counts per merged axis, the element where it begins, and where it goes. */
interface Piece {
  readonly counts: readonly number[];
  readonly from: number;
  readonly to: number;
}

async function gather(
  facts: StridedFacts,
  source: ByteSource,
  start: readonly number[],
  count: readonly number[],
  target: Uint8Array,
  signal: AbortSignal | undefined,
): Promise<void> {
  const item = bitsOf(facts.dtype) / 8;
  let base = facts.offset;
  const counts: number[] = [];
  const strides: number[] = [];
  for (const [axis, length] of count.entries()) {
    const stride = facts.strides[axis] ?? 0;
    base += (start[axis] ?? 0) * stride;
    if (length === 1) continue;
    const above = counts.length - 1;
    // Two axes that lie one behind the other in storage are one longer axis.
    if (above >= 0 && strides[above] === stride * length) {
      counts[above] = (counts[above] ?? 1) * length;
      strides[above] = stride;
    } else {
      counts.push(length);
      strides.push(stride);
    }
  }
  if (counts.length === 0) {
    counts.push(1);
    strides.push(1);
  }
  const outer = counts.map((_, axis) => product(counts.slice(axis + 1)));
  const pieces: Piece[] = [{ counts, from: base, to: 0 }];
  for (let piece = pieces.pop(); piece !== undefined; piece = pieces.pop()) {
    const { counts: box, from, to } = piece;
    let span = 1;
    let widest = 0;
    for (const [axis, length] of box.entries()) {
      const reach = (length - 1) * (strides[axis] ?? 0);
      span += reach;
      if (reach > ((box[widest] ?? 1) - 1) * (strides[widest] ?? 0)) widest = axis;
    }
    const total = product(box);
    const isRun = span === total && strides.at(-1) === 1 && box.slice(0, -1).every((length) => length === 1);
    if (isRun) {
      await readDirect(source, from * item, target.subarray(to * item, (to + total) * item), signal);
    } else if (span * item <= SPAN_BYTES) {
      const bytes = await source.read(from * item, (from + span) * item, signal);
      scatter(bytes, target, to, box, strides, outer, item);
    } else {
      const length = box[widest] ?? 1;
      const half = Math.floor(length / 2);
      const low = box.map((size, axis) => (axis === widest ? half : size));
      const high = box.map((size, axis) => (axis === widest ? length - half : size));
      pieces.push({ counts: high, from: from + half * (strides[widest] ?? 0), to: to + half * (outer[widest] ?? 0) });
      pieces.push({ counts: low, from, to });
    }
  }
}

async function readDirect(
  source: ByteSource,
  from: number,
  target: Uint8Array,
  signal: AbortSignal | undefined,
): Promise<void> {
  for (let at = 0; at < target.byteLength; at += SPAN_BYTES) {
    const part = target.subarray(at, Math.min(target.byteLength, at + SPAN_BYTES));
    if (source.readSync !== undefined) {
      signal?.throwIfAborted();
      source.readSync(from + at, part);
    } else part.set(await source.read(from + at, from + at + part.byteLength, signal));
  }
}

/** Copies the elements of a box, whose storage bytes are `bytes`, to their places in C order. */
function scatter(
  bytes: Uint8Array,
  target: Uint8Array,
  to: number,
  box: readonly number[],
  strides: readonly number[],
  outer: readonly number[],
  item: number,
): void {
  const unit = Math.min(item, 4);
  const aligned = bytes.byteOffset % unit === 0 && target.byteOffset % unit === 0;
  const width = aligned ? item / unit : item;
  const from = aligned ? wordsOf(bytes, unit) : bytes;
  const into = aligned ? wordsOf(target, unit) : target;
  const inner = box.length - 1;
  const innerLength = box[inner] ?? 1;
  const innerStride = (strides[inner] ?? 1) * width;
  const index = new Array<number>(box.length).fill(0);
  let source = 0;
  let place = to;
  for (;;) {
    let read = source * width;
    let write = place * width;
    if (width === 1) {
      for (let at = 0; at < innerLength; at += 1, read += innerStride) into[write++] = from[read] ?? 0;
    } else {
      for (let at = 0; at < innerLength; at += 1, read += innerStride) {
        for (let word = 0; word < width; word += 1) into[write++] = from[read + word] ?? 0;
      }
    }
    let axis = inner - 1;
    for (; axis >= 0; axis -= 1) {
      const next = (index[axis] ?? 0) + 1;
      source += strides[axis] ?? 0;
      place += outer[axis] ?? 0;
      if (next < (box[axis] ?? 1)) {
        index[axis] = next;
        break;
      }
      index[axis] = 0;
      source -= next * (strides[axis] ?? 0);
      place -= next * (outer[axis] ?? 0);
    }
    if (axis < 0) return;
  }
}

function wordsOf(bytes: Uint8Array, unit: number): Uint8Array | Uint16Array | Uint32Array {
  if (unit === 1) return bytes;
  return unit === 2
    ? new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.byteLength >> 1)
    : new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength >> 2);
}

/** Turns big-endian elements into little-endian ones; complex numbers are two elements. */
function swapBytes(dtype: DType, bytes: Uint8Array): void {
  const width = bitsOf(dtype) / (familyOf(dtype) === 'complex' ? 16 : 8);
  if (width < 2) return;
  for (let at = 0; at + width <= bytes.byteLength; at += width) {
    for (let low = at, high = at + width - 1; low < high; low += 1, high -= 1) {
      const kept = bytes[low] ?? 0;
      bytes[low] = bytes[high] ?? 0;
      bytes[high] = kept;
    }
  }
}

/** A tensor of which only dtype and shape are known; reading it is refused with the reason. */
export function makeShapeTensor(facts: {
  readonly file: string;
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly encoding: Encoding;
  readonly id: string;
  readonly refusal: string;
}): Tensor {
  const { file, name, dtype, shape } = facts;
  const byteLength = Math.ceil((product(shape) * bitsOf(dtype)) / 8);
  if (!Number.isSafeInteger(byteLength)) {
    throw new BnsumError({
      code: 'LIMIT',
      file,
      place: name,
      reason: `shape [${shape.join(', ')}] is above 2^53 bytes`,
    });
  }
  return {
    name,
    dtype,
    shape,
    byteLength,
    encoding: facts.encoding,
    identity: `${facts.id}:${dtype}:${shape.join(',')}`,
    storage: facts.id,
    readInto: async () => {
      throw new BnsumError({ code: 'UNSUPPORTED', file, place: name, reason: facts.refusal });
    },
  };
}
