import { bitsOf } from './dtype.ts';
import { LIMITS } from './limits.ts';
import type { Tensor } from './model.ts';

/** A hyperslab that is one run of the tensor in C order. */
export interface Slab {
  readonly start: readonly number[];
  readonly count: readonly number[];
  readonly elements: number;
}

/**
 * Cuts a tensor into consecutive runs of at most `maxElements` elements, C order. A tensor of no elements has none.
 * A scalar is one run.
 */
export function* slabsOf(shape: readonly number[], maxElements: number): Generator<Slab> {
  const rank = shape.length;
  const total = shape.reduce((product, size) => product * size, 1);
  if (total === 0) return;
  // The first axis whose inner part fits into a run is the one that is cut; all before it are walked one by one.
  let axis = 0;
  let inner = total;
  while (axis < rank) {
    inner /= shape[axis] ?? 1;
    if (inner <= maxElements) break;
    axis += 1;
  }
  if (axis >= rank) {
    yield { start: [], count: [], elements: 1 };
    return;
  }
  const step = Math.max(1, Math.floor(maxElements / inner));
  const index = new Array<number>(rank).fill(0);
  for (;;) {
    const size = Math.min(step, (shape[axis] ?? 1) - (index[axis] ?? 0));
    yield {
      start: [...index],
      count: shape.map((n, at) => (at < axis ? 1 : at === axis ? size : n)),
      elements: size * inner,
    };
    index[axis] = (index[axis] ?? 0) + size;
    let at = axis;
    while ((index[at] ?? 0) >= (shape[at] ?? 1)) {
      index[at] = 0;
      at -= 1;
      if (at < 0) return;
      index[at] = (index[at] ?? 0) + 1;
    }
  }
}

/**
 * Cuts a tensor into tiles of at most `maxElements` elements whose last axis is cut too: where a reader walks another
 * axis fastest, both sides then have runs of a fair length. Every element is in exactly one tile.
 */
export function* tilesOf(shape: readonly number[], maxElements: number): Generator<Slab> {
  const last = shape.at(-1);
  if (last === undefined || shape.length < 2) {
    yield* slabsOf(shape, maxElements);
    return;
  }
  const width = Math.min(last, Math.max(1, Math.floor(Math.sqrt(maxElements))));
  const lead = shape.slice(0, -1);
  for (let from = 0; from < last; from += width) {
    const size = Math.min(width, last - from);
    for (const slab of slabsOf(lead, Math.max(1, Math.floor(maxElements / size)))) {
      yield { start: [...slab.start, from], count: [...slab.count, size], elements: slab.elements * size };
    }
  }
}

/** One buffer for the blocks of many tensors: first touch of fresh memory is what costs. */
export class BlockBuffer {
  #bytes: Uint8Array = new Uint8Array(0);

  take(bytes: number): Uint8Array {
    if (this.#bytes.byteLength < bytes) this.#bytes = new Uint8Array(bytes);
    return this.#bytes.subarray(0, bytes);
  }
}

/** Bytes of a tensor in C order, in blocks that are valid until the next one is asked for. */
export async function* readBlocks(
  tensor: Tensor,
  buffer: BlockBuffer = new BlockBuffer(),
  maxBytes: number = LIMITS.blockBytes,
  signal?: AbortSignal,
): AsyncGenerator<Uint8Array> {
  const bits = bitsOf(tensor.dtype);
  // A block holds whole bytes: sub-byte types are cut at multiples of eight elements.
  const perBlock = Math.max(8, Math.floor((maxBytes * 8) / bits / 8) * 8);
  for (const slab of slabsOf(tensor.shape, perBlock)) {
    const block = buffer.take(Math.ceil((slab.elements * bits) / 8));
    await tensor.readInto(slab.start, slab.count, block, signal);
    yield block;
  }
}
