import { provedByteLength } from '../ir/build.ts';
import { bitsOf, type DType } from '../ir/dtype.ts';
import { BnsumError } from '../ir/error.ts';
import { LIMITS } from '../ir/limits.ts';
import type { Encoding, Tensor } from '../ir/model.ts';

export interface DenseFacts {
  readonly file: string;
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly encoding?: Encoding;
  readonly identity: string;
  readonly storage: string;
  /** Bytes [start, start + into.byteLength) of the dense form; every byte or an error. */
  fill(start: number, into: Uint8Array, signal?: AbortSignal): Promise<void>;
}

/** Runs this close together are fetched in one piece. */
const WINDOW_BYTES = 1024 * 1024;
const NEAR_BYTES = 16 * 1024;

/** A tensor whose bytes lie in C order, little-endian and without gaps, somewhere that `fill` can reach. */
export function denseTensor(facts: DenseFacts): Tensor {
  const { file, name, dtype, shape } = facts;
  return {
    name,
    dtype,
    shape,
    byteLength: provedByteLength(dtype, shape, file, name),
    encoding: facts.encoding ?? DENSE,
    identity: facts.identity,
    storage: facts.storage,
    readInto: (start, count, into, signal) => readSlab(facts, start, count, into, signal),
  };
}

const DENSE: Encoding = { kind: 'dense' };

async function readSlab(
  facts: DenseFacts,
  start: readonly number[],
  count: readonly number[],
  into: Uint8Array,
  signal: AbortSignal | undefined,
): Promise<void> {
  const { file, name, dtype, shape } = facts;
  const bits = bitsOf(dtype);
  checkSlab(file, name, shape, start, count);
  if (count.includes(0)) return;
  // The trailing axes that are taken whole, and one more, make a run of neighbouring elements.
  let axis = shape.length - 1;
  let inner = 1;
  while (axis > 0 && count[axis] === shape[axis]) {
    inner *= shape[axis] ?? 1;
    axis -= 1;
  }
  const strides = stridesOf(shape);
  const runBits = (axis < 0 ? 1 : (count[axis] ?? 1) * inner) * bits;
  const outer = count.slice(0, Math.max(0, axis));
  const runs = outer.reduce((product, size) => product * size, 1);
  const origin = start.reduce((sum, at, index) => sum + at * (strides[index] ?? 0), 0);
  if (runs > 1 && ((runBits | (origin * bits)) & 7) !== 0) throw unaligned(file, name, dtype);
  if (((origin * bits) & 7) !== 0) throw unaligned(file, name, dtype);
  const runBytes = Math.ceil(runBits / 8);
  if (runs === 1) {
    await facts.fill((origin * bits) / 8, into.subarray(0, runBytes), signal);
    return;
  }
  const index = outer.map(() => 0);
  const last = (origin + outer.reduce((sum, size, at) => sum + (size - 1) * (strides[at] ?? 0), 0)) * bits;
  const end = last / 8 + runBytes;
  const step = ((strides[outer.length - 1] ?? 0) * bits) / 8;
  const gathered = runBytes < NEAR_BYTES && step < NEAR_BYTES * 4;
  let window = new Uint8Array(0);
  let windowStart = 0;
  for (let run = 0; run < runs; run += 1) {
    const element = origin + index.reduce((sum, at, which) => sum + at * (strides[which] ?? 0), 0);
    if (((element * bits) & 7) !== 0) throw unaligned(file, name, dtype);
    const from = (element * bits) / 8;
    const to = into.subarray(run * runBytes, (run + 1) * runBytes);
    if (gathered) {
      if (from + runBytes > windowStart + window.byteLength || from < windowStart) {
        window = new Uint8Array(Math.min(WINDOW_BYTES, end - from));
        windowStart = from;
        await facts.fill(from, window, signal);
      }
      to.set(window.subarray(from - windowStart, from - windowStart + runBytes));
    } else {
      await facts.fill(from, to, signal);
    }
    for (let which = outer.length - 1; which >= 0; which -= 1) {
      const next = (index[which] ?? 0) + 1;
      index[which] = next === outer[which] ? 0 : next;
      if (next !== outer[which]) break;
    }
  }
}

function stridesOf(shape: readonly number[]): readonly number[] {
  const strides = new Array<number>(shape.length).fill(1);
  for (let axis = shape.length - 2; axis >= 0; axis -= 1) {
    strides[axis] = (strides[axis + 1] ?? 1) * (shape[axis + 1] ?? 1);
  }
  return strides;
}

function checkSlab(
  file: string,
  name: string,
  shape: readonly number[],
  start: readonly number[],
  count: readonly number[],
): void {
  const fits =
    start.length === shape.length &&
    count.length === shape.length &&
    shape.every((size, axis) => {
      const from = start[axis] ?? -1;
      const many = count[axis] ?? -1;
      return from >= 0 && many >= 0 && from + many <= size;
    });
  if (fits) return;
  const asked = `[${start.join(', ')}] + [${count.join(', ')}]`;
  throw new BnsumError({ code: 'INTERNAL', file, place: name, reason: `no part of [${shape.join(', ')}]: ${asked}` });
}

function unaligned(file: string, name: string, dtype: DType): BnsumError {
  const reason = `a part of a ${dtype} tensor that starts or ends inside a byte`;
  return new BnsumError({ code: 'UNSUPPORTED', file, place: name, reason });
}

/** Usual size of a block: large enough to keep a disk busy, small against the memory budget. */
const BLOCK_BYTES = 8 * 1024 * 1024;

/**
 * The dense bytes of a tensor, first to last, in blocks of at most `maxBytes` (never above LIMITS.blockBytes). Each
 * block is only good until the next one is asked for.
 */
export async function* tensorBlocks(
  tensor: Tensor,
  maxBytes: number = BLOCK_BYTES,
  signal?: AbortSignal,
): AsyncGenerator<Uint8Array> {
  const { shape } = tensor;
  if (shape.includes(0)) return;
  const most = Math.min(maxBytes, LIMITS.blockBytes);
  if (tensor.byteLength <= most) {
    const block = new Uint8Array(tensor.byteLength);
    await tensor.readInto(
      shape.map(() => 0),
      shape,
      block,
      signal,
    );
    yield block;
    return;
  }
  const bits = bitsOf(tensor.dtype);
  const strides = stridesOf(shape);
  // The first axis whose single step fits is cut; the axes before it are walked one by one.
  let axis = 0;
  while (axis < shape.length - 1 && ((strides[axis] ?? 1) * bits) / 8 > most) axis += 1;
  const stepBits = (strides[axis] ?? 1) * bits;
  let rows = Math.max(1, Math.floor((most * 8) / stepBits));
  // Types below a byte are cut where a byte ends.
  if (stepBits % 8 !== 0) rows = Math.max(8, rows - (rows % 8));
  const size = shape[axis] ?? 1;
  const block = new Uint8Array(Math.ceil((Math.min(rows, size) * stepBits) / 8));
  const outer = shape.slice(0, axis);
  const total = outer.reduce((product, one) => product * one, 1);
  for (let at = 0; at < total; at += 1) {
    let rest = at;
    const prefix = outer.map((_, which) => {
      const stride = outer.slice(which + 1).reduce((product, one) => product * one, 1);
      const index = Math.floor(rest / stride);
      rest -= index * stride;
      return index;
    });
    const tail = shape.slice(axis + 1);
    for (let row = 0; row < size; row += rows) {
      const many = Math.min(rows, size - row);
      const view = block.subarray(0, Math.ceil((many * stepBits) / 8));
      await tensor.readInto(
        [...prefix, row, ...tail.map(() => 0)],
        [...prefix.map(() => 1), many, ...tail],
        view,
        signal,
      );
      yield view;
    }
  }
}
