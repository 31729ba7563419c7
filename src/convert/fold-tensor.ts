import { provedByteLength } from '../ir/build.ts';
import { bytesPerElement, type DType } from '../ir/dtype.ts';
import { BnsumError } from '../ir/error.ts';
import type { Tensor } from '../ir/model.ts';
import { slabsOf } from '../ir/slabs.ts';
import { decodeFloats, encodeFloats } from './cast.ts';

/** Tensors whose values are computed block by block, in float64, and rounded once. */

/** A part of the place in a vector: ⌊index[axis] / divide⌋ mod modulo, times `times`. */
export interface Term {
  readonly axis: number;
  readonly divide: number;
  readonly modulo: number;
  readonly times: number;
}

/** Which element of a vector belongs to an element of an array: the sum of the terms. */
export type Pick = readonly Term[];

export function along(axis: number, times = 1): Term {
  return { axis, divide: 1, modulo: Number.MAX_SAFE_INTEGER, times };
}

/** A vector and where each element of an array finds its factor in it. */
export interface Factor {
  readonly pick: Pick;
  values(): Promise<Float64Array>;
}

/** Elements that are worked on at a time. */
const CHUNK = 1024 * 1024;

function termAt(term: Term, index: number): number {
  return (Math.floor(index / term.divide) % term.modulo) * term.times;
}

/** Where the elements of a row (a run along the last axis) find theirs: `table[j]` plus the row's own base. */
class Lookup {
  readonly vector: Float64Array;
  readonly table: Int32Array;
  readonly #lead: readonly Term[];

  constructor(pick: Pick, vector: Float64Array, start: readonly number[], count: readonly number[]) {
    const last = count.length - 1;
    const first = start[last] ?? 0;
    const own = pick.filter((term) => term.axis === last);
    this.vector = vector;
    this.#lead = pick.filter((term) => term.axis !== last);
    this.table = Int32Array.from({ length: count[last] ?? 1 }, (_, j) =>
      own.reduce((sum, term) => sum + termAt(term, first + j), 0),
    );
  }

  base(index: readonly number[]): number {
    return this.#lead.reduce((sum, term) => sum + termAt(term, index[term.axis] ?? 0), 0);
  }
}

/** Calls `visit` with the index of each row's first element and its place in the block. */
function eachRow(
  start: readonly number[],
  count: readonly number[],
  visit: (index: readonly number[], at: number) => void,
): void {
  const rank = count.length;
  const row = count[rank - 1] ?? 1;
  const index = [...start];
  for (let at = 0; ; at += row) {
    visit(index, at);
    let axis = rank - 2;
    for (; axis >= 0; axis -= 1) {
      index[axis] = (index[axis] ?? 0) + 1;
      if ((index[axis] ?? 0) < (start[axis] ?? 0) + (count[axis] ?? 0)) break;
      index[axis] = start[axis] ?? 0;
    }
    if (axis < 0) return;
  }
}

/** Reads a slab as numbers. */
async function readNumbers(
  tensor: Tensor,
  start: readonly number[],
  count: readonly number[],
  elements: number,
  signal: AbortSignal | undefined,
): Promise<Float32Array | Float64Array> {
  const bytes = new Uint8Array(elements * bytesPerElement(tensor.dtype));
  await tensor.readInto(start, count, bytes, signal);
  if (tensor.dtype === 'float32') return new Float32Array(bytes.buffer, 0, elements);
  return decodeFloats(bytes, tensor.dtype, elements);
}

/** Writes numbers, rounded once. */
function writeNumbers(values: Float64Array, dtype: DType, into: Uint8Array): void {
  if (dtype === 'float32' && into.byteOffset % 4 === 0) {
    new Float32Array(into.buffer, into.byteOffset, values.length).set(values);
  } else encodeFloats(values, dtype, into);
}

/** The source with each element times its factors; shape as the source. `name` is the result's. */
export function scaledTensor(source: Tensor, dtype: DType, factors: readonly Factor[]): Tensor {
  const size = bytesPerElement(dtype);
  return {
    name: source.name,
    dtype,
    shape: source.shape,
    byteLength: provedByteLength(dtype, source.shape),
    encoding: { kind: 'dense' },
    identity: `folded:${source.identity}`,
    storage: `folded:${source.storage}`,
    async readInto(start, count, into, signal) {
      const vectors: Float64Array[] = [];
      for (const factor of factors) vectors.push(await factor.values());
      let done = 0;
      for (const slab of slabsOf(count, CHUNK)) {
        const from = slab.start.map((value, axis) => value + (start[axis] ?? 0));
        const numbers = await readNumbers(source, from, slab.count, slab.elements, signal);
        const values = new Float64Array(slab.elements);
        const lookups = factors.map(({ pick }, at) => new Lookup(pick, vectors[at] as Float64Array, from, slab.count));
        multiply(numbers, values, from, slab.count, lookups);
        writeNumbers(values, dtype, into.subarray(done * size, (done + slab.elements) * size));
        done += slab.elements;
      }
    },
  };
}

function multiply(
  numbers: Float32Array | Float64Array,
  values: Float64Array,
  start: readonly number[],
  count: readonly number[],
  lookups: readonly Lookup[],
): void {
  const row = count.at(-1) ?? 1;
  const [first, second] = lookups;
  if (first === undefined) {
    values.set(numbers);
    return;
  }
  eachRow(start, count, (index, at) => {
    const base = first.base(index);
    const { vector, table } = first;
    if (second === undefined) {
      for (let j = 0; j < row; j += 1) {
        values[at + j] = (numbers[at + j] as number) * (vector[base + (table[j] as number)] as number);
      }
      return;
    }
    const other = second.base(index);
    for (let j = 0; j < row; j += 1) {
      const factor =
        (vector[base + (table[j] as number)] as number) *
        (second.vector[other + (second.table[j] as number)] as number);
      values[at + j] = (numbers[at + j] as number) * factor;
    }
  });
}

/** For each output o: the sum of element · shift over the elements that belong to o. The tensor is streamed once. */
export async function sumProducts(
  tensor: Tensor,
  input: Pick,
  shift: Float64Array,
  output: Pick,
  outputs: number,
): Promise<Float64Array> {
  const sums = new Float64Array(outputs);
  for (const slab of slabsOf(tensor.shape, CHUNK)) {
    const numbers = await readNumbers(tensor, slab.start, slab.count, slab.elements, undefined);
    const from = new Lookup(input, shift, slab.start, slab.count);
    const to = new Lookup(output, sums, slab.start, slab.count);
    const row = slab.count.at(-1) ?? 1;
    eachRow(slab.start, slab.count, (index, at) => {
      const base = from.base(index);
      const place = to.base(index);
      for (let j = 0; j < row; j += 1) {
        const o = place + (to.table[j] as number);
        sums[o] =
          (sums[o] as number) + (numbers[at + j] as number) * (shift[base + (from.table[j] as number)] as number);
      }
    });
  }
  return sums;
}

/** A vector whose values are computed when they are first asked for. */
export function vectorTensor(
  name: string,
  identity: string,
  dtype: DType,
  length: number,
  values: () => Promise<Float64Array>,
): Tensor {
  const size = bytesPerElement(dtype);
  return {
    name,
    dtype,
    shape: [length],
    byteLength: provedByteLength(dtype, [length]),
    encoding: { kind: 'dense' },
    identity,
    storage: identity,
    async readInto([start = 0], [count = 0], into) {
      const all = await values();
      if (all.length !== length)
        throw new BnsumError({ code: 'INTERNAL', place: name, reason: 'a vector of other size' });
      encodeFloats(all.subarray(start, start + count), dtype, into.subarray(0, count * size));
    },
  };
}

/** Computes once; a failure is not remembered. */
export function once<T>(compute: () => Promise<T>): () => Promise<T> {
  let made: Promise<T> | undefined;
  return () => {
    made ??= compute().catch((error: unknown) => {
      made = undefined;
      throw error;
    });
    return made;
  };
}
