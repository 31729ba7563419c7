import { codec, type Hasher } from '../bytes/codec.ts';
import { bitsOf, type DType, familyOf } from '../ir/dtype.ts';
import type { Tensor } from '../ir/model.ts';
import { BlockBuffer, readBlocks, slabsOf } from '../ir/slabs.ts';
import { sameBytes } from '../verify/verify.ts';
import type { ValueStats } from './change.ts';
import { numbersOf } from './numbers.ts';

/** Two blocks of this size are in memory at a time, and their numbers. */
const BLOCK_BYTES = 8 * 1024 * 1024;

export interface Tolerance {
  /** An element of b is the same as that of a when |b − a| ≤ atol + rtol·|a|. With both 0, when the bits are equal. */
  readonly rtol: number;
  readonly atol: number;
}

/** Buffers that one comparison after the other uses again. */
export interface Buffers {
  readonly a: BlockBuffer;
  readonly b: BlockBuffer;
}

export function newBuffers(): Buffers {
  return { a: new BlockBuffer(), b: new BlockBuffer() };
}

/** Whether values can be had at all: a tensor on the meta device has none. */
export function hasValues(tensor: Tensor): boolean {
  return tensor.encoding.kind !== 'meta';
}

/**
 * How the values of two tensors of one shape differ; null: they are the same within the tolerance. Bytes are compared
 * first; numbers are looked at only once a block differs. Streams: two blocks at a time, whatever the tensors' size.
 */
export async function compareValues(
  a: Tensor,
  b: Tensor,
  tolerance: Tolerance,
  buffers: Buffers = newBuffers(),
  signal?: AbortSignal,
): Promise<ValueStats | null> {
  const parts = partsOf(a, b);
  if (parts !== null) {
    for (const [one, other] of parts) {
      const found = await compareValues(one, other, tolerance, buffers, signal);
      if (found !== null) return found;
    }
    if (a.encoding.kind === 'sparse') return null;
  }
  if (a.dtype === b.dtype && (await sameContent(a, b, buffers, signal))) return null;
  const stats = await measure(a, b, tolerance, buffers, signal);
  return stats.changed === 0 ? null : stats;
}

/** Tensors inside: the parts of a sparse one, the scales of a quantised one. */
function partsOf(a: Tensor, b: Tensor): readonly (readonly [Tensor, Tensor])[] | null {
  if (a.encoding.kind === 'sparse' && b.encoding.kind === 'sparse') {
    const { parts } = b.encoding;
    return [...a.encoding.parts].flatMap(([name, part]) => {
      const other = parts.get(name);
      return other === undefined || other.shape.join() !== part.shape.join() ? [] : [[part, other] as const];
    });
  }
  if (a.encoding.kind === 'quantised' && b.encoding.kind === 'quantised') {
    const pairs = [
      [a.encoding.scale, b.encoding.scale],
      [a.encoding.zeroPoint, b.encoding.zeroPoint],
    ] as const;
    return pairs.flatMap(([one, other]) =>
      typeof one === 'number' || typeof other === 'number' ? [] : [[one, other] as const],
    );
  }
  return null;
}

function stepOf(a: Tensor, b: Tensor): number {
  const bits = Math.max(bitsOf(a.dtype), bitsOf(b.dtype));
  return Math.max(8, Math.floor((BLOCK_BYTES * 8) / bits / 8) * 8);
}

async function sameContent(a: Tensor, b: Tensor, buffers: Buffers, signal?: AbortSignal): Promise<boolean> {
  const bits = bitsOf(a.dtype);
  for (const slab of slabsOf(a.shape, stepOf(a, b))) {
    const bytes = Math.ceil((slab.elements * bits) / 8);
    const one = buffers.a.take(bytes);
    const other = buffers.b.take(bytes);
    await Promise.all([
      a.readInto(slab.start, slab.count, one, signal),
      b.readInto(slab.start, slab.count, other, signal),
    ]);
    if (!sameBlock(one, other)) return false;
  }
  return true;
}

/** Byte equality of two blocks of one length, 32 bytes a step: files of gigabytes go through it. */
function sameBlock(one: Uint8Array, other: Uint8Array): boolean {
  const length = one.byteLength;
  if (length !== other.byteLength || one.byteOffset % 4 !== 0 || other.byteOffset % 4 !== 0)
    return sameBytes(one, other);
  const words = (length >> 5) << 3;
  const a = new Int32Array(one.buffer, one.byteOffset, words);
  const b = new Int32Array(other.buffer, other.byteOffset, words);
  for (let at = 0; at < words; at += 8) {
    const differs =
      ((a[at] ?? 0) ^ (b[at] ?? 0)) |
      ((a[at + 1] ?? 0) ^ (b[at + 1] ?? 0)) |
      ((a[at + 2] ?? 0) ^ (b[at + 2] ?? 0)) |
      ((a[at + 3] ?? 0) ^ (b[at + 3] ?? 0)) |
      ((a[at + 4] ?? 0) ^ (b[at + 4] ?? 0)) |
      ((a[at + 5] ?? 0) ^ (b[at + 5] ?? 0)) |
      ((a[at + 6] ?? 0) ^ (b[at + 6] ?? 0)) |
      ((a[at + 7] ?? 0) ^ (b[at + 7] ?? 0));
    if (differs !== 0) return false;
  }
  for (let at = words * 4; at < length; at += 1) if (one[at] !== other[at]) return false;
  return true;
}

interface Sums {
  changed: number;
  maxAbs: number;
  /** Largest finite |a| and |b|, where doubles are compared: their squares may be beyond a double. */
  largestA: number;
  largestB: number;
  squares: number;
  squaresA: number;
  squaresB: number;
  product: number;
  nanA: number;
  nanB: number;
  infiniteA: number;
  infiniteB: number;
  /** Place of the first changed element in C order; -1: none. */
  first: number;
  firstA: string;
  firstB: string;
}

async function measure(
  a: Tensor,
  b: Tensor,
  tolerance: Tolerance,
  buffers: Buffers,
  signal?: AbortSignal,
): Promise<ValueStats> {
  const sums: Sums = {
    changed: 0,
    maxAbs: 0,
    largestA: 0,
    largestB: 0,
    squares: 0,
    squaresA: 0,
    squaresB: 0,
    product: 0,
    nanA: 0,
    nanB: 0,
    infiniteA: 0,
    infiniteB: 0,
    first: -1,
    firstA: '',
    firstB: '',
  };
  let done = 0;
  // The numbers of types that have no array of their own take eight bytes each.
  const step = Math.min(stepOf(a, b), BLOCK_BYTES / 8);
  for (const slab of slabsOf(a.shape, step)) {
    const one = buffers.a.take(Math.ceil((slab.elements * bitsOf(a.dtype)) / 8));
    const other = buffers.b.take(Math.ceil((slab.elements * bitsOf(b.dtype)) / 8));
    await Promise.all([
      a.readInto(slab.start, slab.count, one, signal),
      b.readInto(slab.start, slab.count, other, signal),
    ]);
    addBlock(sums, one, a.dtype, other, b.dtype, slab.elements, done, tolerance);
    done += slab.elements;
  }
  return {
    elements: done,
    changed: sums.changed,
    maxAbs: sums.maxAbs,
    ...(isOutOfRange(sums.largestA) || isOutOfRange(sums.largestB)
      ? await scaledNorms(a, b, sums, buffers, signal)
      : normsOf(sums, 1)),
    nan: { a: sums.nanA, b: sums.nanB },
    infinite: { a: sums.infiniteA, b: sums.infiniteB },
    first: { index: indexOf(Math.max(0, sums.first), a.shape), a: sums.firstA, b: sums.firstB },
  };
}

type Norms = Pick<ValueStats, 'relativeL2' | 'cosine'>;

/** `ratio` is what the scales of the difference and of a leave to be multiplied. */
function normsOf(sums: Pick<Sums, 'squares' | 'squaresA' | 'squaresB' | 'product'>, ratio: number): Norms {
  const { squares, squaresA, squaresB, product } = sums;
  const relative = squaresA > 0 ? Math.sqrt(squares / squaresA) * ratio : Number.NaN;
  const cosine = squaresA > 0 && squaresB > 0 ? product / (Math.sqrt(squaresA) * Math.sqrt(squaresB)) : Number.NaN;
  return {
    relativeL2: Number.isFinite(relative) ? relative : null,
    cosine: Number.isFinite(cosine) ? Math.max(-1, Math.min(1, cosine)) : null,
  };
}

/** Whether squares of such numbers, or sums of them, leave the range of a double. */
function isOutOfRange(largest: number): boolean {
  return largest > 1e140 || (largest > 0 && largest < 1e-140);
}

/** The power of two that brings numbers up to `largest` to about 1. */
function scaleOf(largest: number): number {
  return largest === 0 ? 1 : 2 ** -Math.max(-1022, Math.min(1022, Math.floor(Math.log2(largest))));
}

/** The norms of numbers whose squares a double cannot hold: read again, each side divided by its largest. */
async function scaledNorms(
  a: Tensor,
  b: Tensor,
  { largestA, largestB }: Sums,
  buffers: Buffers,
  signal?: AbortSignal,
): Promise<Norms> {
  const scaleA = scaleOf(largestA);
  const scaleB = scaleOf(largestB);
  const scale = Math.min(scaleA, scaleB);
  const sums = { squares: 0, squaresA: 0, squaresB: 0, product: 0 };
  const step = Math.min(stepOf(a, b), BLOCK_BYTES / 8);
  for (const slab of slabsOf(a.shape, step)) {
    const one = buffers.a.take(Math.ceil((slab.elements * bitsOf(a.dtype)) / 8));
    const other = buffers.b.take(Math.ceil((slab.elements * bitsOf(b.dtype)) / 8));
    await Promise.all([
      a.readInto(slab.start, slab.count, one, signal),
      b.readInto(slab.start, slab.count, other, signal),
    ]);
    const left = numbersOf(one, a.dtype, slab.elements);
    const right = numbersOf(other, b.dtype, slab.elements);
    if (left.length !== right.length) return { relativeL2: null, cosine: null };
    for (let at = 0; at < left.length; at += 1) {
      const x = left[at] as number;
      const y = right[at] as number;
      if (!Number.isFinite(x) || !Number.isFinite(y)) continue;
      sums.squares += (y * scale - x * scale) ** 2;
      sums.squaresA += (x * scaleA) ** 2;
      sums.squaresB += (y * scaleB) ** 2;
      sums.product += x * scaleA * (y * scaleB);
    }
  }
  return normsOf(sums, scaleA / scale);
}

function indexOf(place: number, shape: readonly number[]): readonly number[] {
  const index: number[] = [];
  let rest = place;
  for (let axis = shape.length - 1; axis >= 0; axis -= 1) {
    const size = shape[axis] ?? 1;
    index.unshift(rest % size);
    rest = Math.floor(rest / size);
  }
  return index;
}

/** Whether the stored bits of element `at` differ; both blocks are of one type. */
function bitsDiffer(one: Uint8Array, other: Uint8Array, at: number, bits: number): boolean {
  if (bits % 8 === 0) {
    const size = bits / 8;
    for (let byte = at * size; byte < (at + 1) * size; byte += 1) if (one[byte] !== other[byte]) return true;
    return false;
  }
  for (let bit = at * bits; bit < (at + 1) * bits; bit += 1) {
    if ((((one[bit >> 3] ?? 0) ^ (other[bit >> 3] ?? 0)) >> (bit & 7)) & 1) return true;
  }
  return false;
}

function addBlock(
  sums: Sums,
  one: Uint8Array,
  dtypeA: DType,
  other: Uint8Array,
  dtypeB: DType,
  elements: number,
  done: number,
  { rtol, atol }: Tolerance,
): void {
  const exact = rtol === 0 && atol === 0 && dtypeA === dtypeB;
  const bits = bitsOf(dtypeA);
  const perElement = familyOf(dtypeA) === 'complex' ? 2 : 1;
  if ((familyOf(dtypeB) === 'complex') !== (perElement === 2)) {
    sums.changed += elements;
    if (sums.first < 0) sums.first = done;
    return;
  }
  const left = numbersOf(one, dtypeA, elements);
  const right = numbersOf(other, dtypeB, elements);
  // Equal numbers have equal bits but for zeros, NaN and what a double cannot tell apart.
  const wide = dtypeA === 'int64' || dtypeA === 'uint64';
  const first =
    perElement === 1 && !wide && left instanceof Float32Array && right instanceof Float32Array
      ? addFloats(sums, left, right, (at) => exact && bitsDiffer(one, other, at, bits), rtol, atol)
      : addNumbers(
          sums,
          left,
          right,
          perElement,
          (at, unsure) => exact && (unsure || wide) && bitsDiffer(one, other, at, bits),
          rtol,
          atol,
        );
  if (first < 0 || sums.first >= 0) return;
  sums.first = done + first;
  sums.firstA = elementText(one, left, dtypeA, first, perElement);
  sums.firstB = elementText(other, right, dtypeB, first, perElement);
}

/** The common case on its own, so that the loop stays tight; gives the place of the first changed element, or -1. */
function addFloats(
  sums: Sums,
  left: Float32Array,
  right: Float32Array,
  bitsDifferAt: (at: number) => boolean,
  rtol: number,
  atol: number,
): number {
  let { changed, maxAbs, squares, squaresA, squaresB, product } = sums;
  let first = -1;
  for (let at = 0; at < left.length; at += 1) {
    const x = left[at] as number;
    const y = right[at] as number;
    const gap = y - x;
    const size = gap < 0 ? -gap : gap;
    let differs = size > atol + rtol * (x < 0 ? -x : x);
    // Only the difference of finite numbers is 0 when taken from itself.
    if (gap - gap === 0) {
      if (size > maxAbs) maxAbs = size;
      squares += gap * gap;
      squaresA += x * x;
      squaresB += y * y;
      product += x * y;
      if (x === 0 && !differs) differs = bitsDifferAt(at);
    } else {
      differs = countOdd(sums, x, y, gap) || bitsDifferAt(at);
    }
    if (!differs) continue;
    changed += 1;
    if (first < 0) first = at;
  }
  Object.assign(sums, { changed, maxAbs: Math.max(maxAbs, sums.maxAbs), squares, squaresA, squaresB, product });
  return first;
}

/** Any numbers; an element has `perElement` of them. Gives the place of the first changed element, or -1. */
function addNumbers(
  sums: Sums,
  left: ArrayLike<number>,
  right: ArrayLike<number>,
  perElement: number,
  bitsDifferAt: (at: number, unsure: boolean) => boolean,
  rtol: number,
  atol: number,
): number {
  let first = -1;
  for (let at = 0; at < left.length / perElement; at += 1) {
    let differs = false;
    let unsure = false;
    for (let part = at * perElement; part < (at + 1) * perElement; part += 1) {
      const x = left[part] ?? 0;
      const y = right[part] ?? 0;
      const gap = y - x;
      if (Number.isFinite(x)) sums.largestA = Math.max(sums.largestA, Math.abs(x));
      if (Number.isFinite(y)) sums.largestB = Math.max(sums.largestB, Math.abs(y));
      if (gap - gap === 0) {
        const size = Math.abs(gap);
        sums.maxAbs = Math.max(sums.maxAbs, size);
        sums.squares += gap * gap;
        sums.squaresA += x * x;
        sums.squaresB += y * y;
        sums.product += x * y;
        if (size > atol + rtol * Math.abs(x)) differs = true;
        else if (x === 0) unsure = true;
      } else {
        unsure = true;
        if (countOdd(sums, x, y, gap)) differs = true;
      }
    }
    // With a tolerance of 0 it is the bits that count: -0, the payload of a NaN, integers beyond 2^53.
    if (!differs && !bitsDifferAt(at, unsure)) continue;
    sums.changed += 1;
    if (first < 0) first = at;
  }
  return first;
}

/** Counts NaN and infinities; whether the two differ as numbers. */
function countOdd(sums: Sums, x: number, y: number, gap: number): boolean {
  if (Number.isFinite(x) && Number.isFinite(y)) {
    // Both are finite and their difference is beyond a double.
    sums.maxAbs = Math.max(sums.maxAbs, Math.abs(gap));
    return true;
  }
  if (Number.isNaN(x)) sums.nanA += 1;
  else if (!Number.isFinite(x)) sums.infiniteA += 1;
  if (Number.isNaN(y)) sums.nanB += 1;
  else if (!Number.isFinite(y)) sums.infiniteB += 1;
  return !Object.is(x, y);
}

function elementText(
  block: Uint8Array,
  numbers: ArrayLike<number>,
  dtype: DType,
  at: number,
  perElement: number,
): string {
  if (dtype === 'int64' || dtype === 'uint64') {
    const view = new DataView(block.buffer, block.byteOffset, block.byteLength);
    return String(dtype === 'int64' ? view.getBigInt64(at * 8, true) : view.getBigUint64(at * 8, true));
  }
  const text = (value: number): string => (Object.is(value, -0) ? '-0' : String(value));
  if (perElement === 2) return `${text(numbers[at * 2] ?? 0)} + ${text(numbers[at * 2 + 1] ?? 0)}i`;
  return text(numbers[at] ?? 0);
}

/** SHA-256 of a tensor's dense bytes in C order, little-endian. */
export async function hashTensor(tensor: Tensor, buffers: Buffers, signal?: AbortSignal): Promise<string> {
  const hash = codec().sha256();
  const { encoding } = tensor;
  if (encoding.kind === 'sparse') {
    // The parts one after the other, each behind what it is.
    hash.update(words(`${encoding.layout} ${tensor.shape.join('x')}`));
    for (const [name, part] of encoding.parts) await hashPart(hash, name, part, buffers, signal);
    return hash.digest();
  }
  if (encoding.kind === 'quantised') {
    hash.update(words(`${encoding.scheme} ${encoding.axis ?? ''} ${tensor.dtype}`));
    for (const [name, part] of [
      ['scale', encoding.scale],
      ['zero point', encoding.zeroPoint],
    ] as const) {
      if (typeof part === 'number') hash.update(words(`${name} ${part}`));
      else await hashPart(hash, name, part, buffers, signal);
    }
  }
  for await (const block of readBlocks(tensor, buffers.a, BLOCK_BYTES, signal)) hash.update(block);
  return hash.digest();
}

function words(text: string): Uint8Array {
  return new TextEncoder().encode(`${text}\n`);
}

async function hashPart(
  hash: Hasher,
  name: string,
  part: Tensor,
  buffers: Buffers,
  signal: AbortSignal | undefined,
): Promise<void> {
  hash.update(words(`${name} ${part.dtype} ${part.shape.join('x')}`));
  for await (const block of readBlocks(part, buffers.a, BLOCK_BYTES, signal)) hash.update(block);
}
