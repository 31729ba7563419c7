import { bytesPerElement, type DType } from '../ir/dtype.ts';
import { BnsumError } from '../ir/error.ts';
import type { Tensor } from '../ir/model.ts';
import type { Expr } from '../layers/family.ts';

/**
 * Compiles an Expr into moves: boxes of elements with their place in one source and in the result. A move is symmetric,
 * so the same list read backwards is the inverse, which is what verification uses.
 */

/** One loop of a move. Along it, the source index grows by `sourceStep` on `sourceAxis`, the result's by `step` on `axis`. */
interface Loop {
  readonly size: number;
  readonly axis: number;
  readonly step: number;
  readonly sourceAxis: number;
  /** Negative for a flipped axis. */
  readonly sourceStep: number;
}

export interface Move {
  readonly source: Tensor;
  readonly loops: readonly Loop[];
  /** First index on each axis of the result, and of the source (of the element that loops start from). */
  readonly start: readonly number[];
  readonly sourceStart: readonly number[];
}

export interface Fill {
  readonly value: number;
  readonly start: readonly number[];
  readonly size: readonly number[];
}

export interface Compiled {
  readonly shape: readonly number[];
  readonly dtype: DType;
  readonly moves: readonly Move[];
  readonly fills: readonly Fill[];
}

/** Finds the weight of a role; `child` leads to a child of a wrapper. */
export type Sources = (role: string, child: readonly number[]) => Tensor;

const elementCount = (shape: readonly number[]): number => shape.reduce((product, size) => product * size, 1);

function internal(reason: string): BnsumError {
  return new BnsumError({ code: 'INTERNAL', reason });
}

/** Throws BnsumError INTERNAL for an expression whose parts do not fit, which a family's test should have shown. */
export function compileExpr(expr: Expr, sources: Sources): Compiled {
  switch (expr.op) {
    case 'source': {
      const tensor = sources(expr.role, expr.child ?? []);
      const loops = tensor.shape.map((size, axis) => ({ size, axis, step: 1, sourceAxis: axis, sourceStep: 1 }));
      const zeros = tensor.shape.map(() => 0);
      return {
        shape: tensor.shape,
        dtype: tensor.dtype,
        moves: [{ source: tensor, loops, start: zeros, sourceStart: zeros }],
        fills: [],
      };
    }
    case 'fill':
      return {
        shape: expr.shape,
        dtype: expr.dtype,
        moves: [],
        fills: [{ value: expr.value, start: expr.shape.map(() => 0), size: expr.shape }],
      };
    case 'permute':
      return permute(compileExpr(expr.of, sources), expr.axes);
    case 'reshape':
      return reshape(compileExpr(expr.of, sources), expr.shape);
    case 'slice':
      return slice(compileExpr(expr.of, sources), expr.axis, expr.start, expr.stop);
    case 'concat':
      return concat(
        expr.of.map((part) => compileExpr(part, sources)),
        expr.axis,
      );
    case 'flip':
      return expr.axes.reduce(flip, compileExpr(expr.of, sources));
    case 'compute':
      throw internal(`'${expr.name}' computes, it does not move`);
  }
}

function permute(inner: Compiled, axes: readonly number[]): Compiled {
  if (axes.length !== inner.shape.length) throw internal('a permutation of another rank');
  const place = new Map(axes.map((from, to) => [from, to]));
  const pick = (list: readonly number[]): number[] => axes.map((axis) => list[axis] ?? 0);
  return {
    ...inner,
    shape: pick(inner.shape),
    moves: inner.moves.map((move) => ({
      ...move,
      start: pick(move.start),
      loops: move.loops.map((loop) => ({ ...loop, axis: place.get(loop.axis) ?? loop.axis })),
    })),
    fills: inner.fills.map((fill) => ({ ...fill, start: pick(fill.start), size: pick(fill.size) })),
  };
}

/** The loops of an axis, outermost first. */
function loopsOf(loops: readonly Loop[], axis: number): Loop[] {
  return loops.filter((loop) => loop.axis === axis).sort((a, b) => b.step - a.step);
}

/**
 * Axes are regrouped: [H·W·C, out] → [H, W, C, out] splits a loop, [out, C, H, W] → [out, C·H·W] joins three.
 * Boxes that start inside an axis (after a concat) keep that axis as it is.
 */
function reshape(inner: Compiled, shape: readonly number[]): Compiled {
  if (elementCount(shape) !== elementCount(inner.shape)) {
    throw internal(`[${inner.shape.join(', ')}] cannot be reshaped to [${shape.join(', ')}]`);
  }
  const whole = (start: readonly number[], size: readonly number[]): boolean =>
    start.every((at) => at === 0) && size.every((n, axis) => n === inner.shape[axis]);
  const sizeOf = (move: Move): number[] =>
    inner.shape.map((_, axis) => loopsOf(move.loops, axis).reduce((product, loop) => product * loop.size, 1));
  if (
    inner.moves.every((move) => whole(move.start, sizeOf(move))) &&
    inner.fills.every((f) => whole(f.start, f.size))
  ) {
    return {
      ...inner,
      shape,
      moves: inner.moves.flatMap((move) => {
        const loops = regroup(inner.shape, move.loops, shape);
        return loops === null ? reshapeRuns(inner.shape, move, shape) : [{ ...move, start: shape.map(() => 0), loops }];
      }),
      fills: inner.fills.map((fill) => ({ ...fill, start: shape.map(() => 0), size: shape })),
    };
  }
  return reshapeParts(inner, shape, sizeOf);
}

/** Reshapes boxes of a concatenation: the leading or trailing axes that stay the same may hold the cut. */
function reshapeParts(inner: Compiled, shape: readonly number[], sizeOf: (move: Move) => number[]): Compiled {
  let lead = 0;
  while (lead < shape.length && lead < inner.shape.length && shape[lead] === inner.shape[lead]) lead += 1;
  let tail = 0;
  while (
    tail < shape.length - lead &&
    tail < inner.shape.length - lead &&
    shape[shape.length - 1 - tail] === inner.shape[inner.shape.length - 1 - tail]
  ) {
    tail += 1;
  }
  const midOld = inner.shape.slice(lead, inner.shape.length - tail);
  const midNew = shape.slice(lead, shape.length - tail);
  const isWholeMiddle = (start: readonly number[], size: readonly number[]): boolean =>
    midOld.every((n, at) => start[lead + at] === 0 && size[lead + at] === n);
  /** A cut of the middle's only axis that falls on whole rows of the new shape: [3·u] cut at u → [3, u]. */
  const rowCut = (start: readonly number[], size: readonly number[]): { row: number; rows: number } | undefined => {
    if (midOld.length !== 1 || midNew.length === 0) return undefined;
    const row = elementCount(midNew.slice(1));
    const at = start[lead] ?? 0;
    const n = size[lead] ?? 0;
    return at % row === 0 && n % row === 0 ? { row: at / row, rows: n / row } : undefined;
  };
  const place = (start: readonly number[], size: readonly number[]): { start: number[]; size: number[] } => {
    const head = [start.slice(0, lead), size.slice(0, lead)] as const;
    const foot = [start.slice(start.length - tail), size.slice(size.length - tail)] as const;
    const feet = tail === 0 ? ([[], []] as const) : foot;
    if (isWholeMiddle(start, size)) {
      return { start: [...head[0], ...midNew.map(() => 0), ...feet[0]], size: [...head[1], ...midNew, ...feet[1]] };
    }
    const cut = rowCut(start, size);
    if (cut === undefined) throw internal('a reshape cuts through a concatenation');
    const rest = midNew.slice(1);
    return {
      start: [...head[0], cut.row, ...rest.map(() => 0), ...feet[0]],
      size: [...head[1], cut.rows, ...rest, ...feet[1]],
    };
  };
  return {
    ...inner,
    shape,
    moves: inner.moves.map((move) => {
      const old = sizeOf(move);
      const box = place(move.start, old);
      const loops = regroup(old, move.loops, box.size);
      if (loops === null) throw internal('a reshape of a part that does not divide');
      return { ...move, start: box.start, loops };
    }),
    fills: inner.fills.map((fill) => ({ ...fill, ...place(fill.start, fill.size) })),
  };
}

/** Moves of one reshape that does not divide: enough for a recurrent kernel of CuDNN, a bound for anything else. */
const MOST_RUNS = 1_000_000;

/**
 * A reshape whose axes do not divide each other ([in, u] reread as [u, in]): each run of the innermost loop is a range
 * of the result in C order, placed box by box.
 */
function reshapeRuns(from: readonly number[], move: Move, to: readonly number[]): Move[] {
  const queue = from.flatMap((_, axis) => loopsOf(move.loops, axis)).filter((loop) => loop.size !== 1);
  const inner = queue.pop();
  if (inner === undefined) throw internal('a reshape of no elements');
  const places: Loop[] = [];
  let step = 1;
  for (let axis = to.length - 1; axis >= 0; axis -= 1) {
    places.unshift({
      size: to[axis] ?? 1,
      axis,
      step,
      sourceAxis: inner.sourceAxis,
      sourceStep: inner.sourceStep * step,
    });
    step *= to[axis] ?? 1;
  }
  const runs = queue.reduce((product, loop) => product * loop.size, 1);
  if (runs > MOST_RUNS) throw internal('a reshape of too many runs');
  const moves: Move[] = [];
  for (let run = 0; run < runs; run += 1) {
    const sourceStart = [...move.sourceStart];
    let rest = run;
    for (let at = queue.length - 1; at >= 0; at -= 1) {
      const loop = queue[at] as Loop;
      const index = rest % loop.size;
      rest = Math.floor(rest / loop.size);
      sourceStart[loop.sourceAxis] = (sourceStart[loop.sourceAxis] ?? 0) + index * loop.sourceStep;
    }
    const flat = run * inner.size;
    for (const box of boxesOf(places, flat, flat + inner.size)) {
      const start = to.map((_, axis) => box[axis]?.first ?? 0);
      const skipped = places.reduce((sum, place, axis) => sum + (start[axis] ?? 0) * place.step, 0) - flat;
      const begin = [...sourceStart];
      begin[inner.sourceAxis] = (begin[inner.sourceAxis] ?? 0) + skipped * inner.sourceStep;
      const loops = places.map((place, axis) => ({ ...place, step: 1, size: box[axis]?.size ?? 1 }));
      moves.push({ source: move.source, loops, start, sourceStart: begin });
    }
  }
  return moves;
}

/**
 * Distributes loops that run over a box of shape `from` in C order onto the axes of `to`, splitting where axes split.
 * null: the axes do not divide each other.
 */
function regroup(from: readonly number[], loops: readonly Loop[], to: readonly number[]): Loop[] | null {
  const queue = from.flatMap((_, axis) => loopsOf(loops, axis)).filter((loop) => loop.size !== 1);
  const result: Loop[] = [];
  for (let axis = to.length - 1; axis >= 0; axis -= 1) {
    let step = 1;
    const size = to[axis] ?? 1;
    while (step < size) {
      const loop = queue.pop();
      if (loop === undefined) throw internal('a reshape of other elements');
      const room = size / step;
      if (loop.size <= room) {
        if (room % loop.size !== 0) return null;
        result.push({ ...loop, axis, step });
        step *= loop.size;
      } else {
        if (loop.size % room !== 0) return null;
        result.push({ ...loop, size: room, axis, step });
        queue.push({ ...loop, size: loop.size / room, sourceStep: loop.sourceStep * room });
        step *= room;
      }
    }
  }
  return result;
}

/** The part of loops (outermost first, compact) that covers [start, stop) of their joint range, as boxes. */
function boxesOf(loops: readonly Loop[], start: number, stop: number): { first: number; size: number }[][] {
  const [outer, ...rest] = loops;
  if (outer === undefined) return start < stop ? [[]] : [];
  if (start >= stop) return [];
  const inner = outer.step / (loops.at(-1)?.step ?? 1);
  const first = Math.floor(start / inner);
  const last = Math.floor((stop - 1) / inner);
  if (first === last) {
    return boxesOf(rest, start - first * inner, stop - first * inner).map((box) => [{ first, size: 1 }, ...box]);
  }
  const boxes: { first: number; size: number }[][] = [];
  let from = first;
  if (start % inner !== 0) {
    for (const box of boxesOf(rest, start - first * inner, inner)) boxes.push([{ first, size: 1 }, ...box]);
    from = first + 1;
  }
  const until = Math.floor(stop / inner);
  if (until > from) {
    const full = rest.map((loop) => ({ first: 0, size: loop.size }));
    boxes.push([{ first: from, size: until - from }, ...full]);
  }
  if (stop % inner !== 0) {
    for (const box of boxesOf(rest, 0, stop - until * inner)) boxes.push([{ first: until, size: 1 }, ...box]);
  }
  return boxes;
}

function slice(inner: Compiled, axis: number, start: number, stop: number): Compiled {
  const shape = inner.shape.map((size, at) => (at === axis ? stop - start : size));
  const moves = inner.moves.flatMap((move): Move[] => {
    const loops = loopsOf(move.loops, axis);
    const others = move.loops.filter((loop) => loop.axis !== axis);
    const size = loops.reduce((product, loop) => product * loop.size, 1);
    const at = move.start[axis] ?? 0;
    const from = Math.max(start, at) - at;
    const to = Math.min(stop, at + size) - at;
    if (from >= to) return [];
    return boxesOf(loops, from, to).map((box) => {
      const sourceStart = [...move.sourceStart];
      let place = 0;
      const kept = loops.map((loop, index) => {
        const range = box[index] ?? { first: 0, size: 1 };
        sourceStart[loop.sourceAxis] = (sourceStart[loop.sourceAxis] ?? 0) + range.first * loop.sourceStep;
        place += range.first * loop.step;
        return { ...loop, size: range.size };
      });
      return {
        source: move.source,
        loops: [...others, ...kept],
        start: move.start.map((value, index) => (index === axis ? at + place - start : value)),
        sourceStart,
      };
    });
  });
  const fills = inner.fills.flatMap((fill): Fill[] => {
    const at = fill.start[axis] ?? 0;
    const from = Math.max(start, at);
    const to = Math.min(stop, at + (fill.size[axis] ?? 0));
    if (from >= to) return [];
    return [
      {
        value: fill.value,
        start: fill.start.map((value, index) => (index === axis ? from - start : value)),
        size: fill.size.map((value, index) => (index === axis ? to - from : value)),
      },
    ];
  });
  return { ...inner, shape, moves, fills };
}

function concat(parts: readonly Compiled[], axis: number): Compiled {
  const first = parts[0];
  if (first === undefined) throw internal('a concatenation of nothing');
  const moves: Move[] = [];
  const fills: Fill[] = [];
  let along = 0;
  for (const part of parts) {
    const fits =
      part.shape.length === first.shape.length && part.shape.every((n, at) => at === axis || n === first.shape[at]);
    if (!fits || part.dtype !== first.dtype) throw internal('a concatenation of parts that do not fit');
    const shiftBy = (list: readonly number[]): number[] =>
      list.map((value, at) => (at === axis ? value + along : value));
    for (const move of part.moves) moves.push({ ...move, start: shiftBy(move.start) });
    for (const fill of part.fills) fills.push({ ...fill, start: shiftBy(fill.start) });
    along += part.shape[axis] ?? 0;
  }
  return { shape: first.shape.map((n, at) => (at === axis ? along : n)), dtype: first.dtype, moves, fills };
}

function flip(inner: Compiled, axis: number): Compiled {
  const total = inner.shape[axis] ?? 1;
  return {
    ...inner,
    moves: inner.moves.map((move) => {
      const sourceStart = [...move.sourceStart];
      let size = 1;
      const loops = move.loops.map((loop) => {
        if (loop.axis !== axis) return loop;
        size *= loop.size;
        sourceStart[loop.sourceAxis] = (sourceStart[loop.sourceAxis] ?? 0) + (loop.size - 1) * loop.sourceStep;
        return { ...loop, sourceStep: -loop.sourceStep };
      });
      return {
        ...move,
        loops,
        sourceStart,
        start: move.start.map((value, at) => (at === axis ? total - value - size : value)),
      };
    }),
    fills: inner.fills.map((fill) => ({
      ...fill,
      start: fill.start.map((value, at) => (at === axis ? total - value - (fill.size[at] ?? 0) : value)),
    })),
  };
}

/**
 * The moves that give `source` back from the finished result `target` (a tensor of the compiled shape).
 * Elements of the source that no move uses are not in it: `movedElements` of the result is less than the source has.
 */
export function invertMoves(compiled: Compiled, source: Tensor, target: Tensor): Compiled {
  const moves = compiled.moves
    .filter((move) => move.source.identity === source.identity)
    .map((move): Move => {
      // A flipped loop runs backwards through the source: start from its other end, so that both sides count upwards.
      const start = [...move.start];
      const sourceStart = [...move.sourceStart];
      const loops = move.loops.map((loop): Loop => {
        const last = loop.size - 1;
        if (loop.sourceStep >= 0) {
          return {
            size: loop.size,
            axis: loop.sourceAxis,
            step: loop.sourceStep,
            sourceAxis: loop.axis,
            sourceStep: loop.step,
          };
        }
        sourceStart[loop.sourceAxis] = (sourceStart[loop.sourceAxis] ?? 0) + last * loop.sourceStep;
        start[loop.axis] = (start[loop.axis] ?? 0) + last * loop.step;
        return {
          size: loop.size,
          axis: loop.sourceAxis,
          step: -loop.sourceStep,
          sourceAxis: loop.axis,
          sourceStep: -loop.step,
        };
      });
      return { source: target, loops, start: sourceStart, sourceStart: start };
    });
  return { shape: source.shape, dtype: source.dtype, moves, fills: [] };
}

/** Elements that the moves write. */
export function movedElements(compiled: Compiled): number {
  return compiled.moves.reduce((sum, move) => sum + move.loops.reduce((product, loop) => product * loop.size, 1), 0);
}

/** What the copies use of a typed array; both sides of a copy have elements of one type. */
interface Words<T> {
  [index: number]: T;
  set(words: ArrayLike<T>, at: number): void;
  subarray(start: number, end: number): ArrayLike<T>;
}

function numbersOf(bytes: Uint8Array, size: number): Words<number> {
  if (size === 1) return bytes;
  const { buffer, byteOffset, byteLength } = bytes;
  return size === 2
    ? new Uint16Array(buffer, byteOffset, byteLength / 2)
    : new Uint32Array(buffer, byteOffset, byteLength / 4);
}

function bigintsOf({ buffer, byteOffset, byteLength }: Uint8Array): Words<bigint> {
  return new BigUint64Array(buffer, byteOffset, byteLength / 8);
}

/** Scratch memory that every read of one process shares: first touch of fresh memory is what costs. */
let scratch = new Uint8Array(0);
let busy = false;

function borrowScratch(bytes: number): Uint8Array {
  if (busy) return new Uint8Array(bytes);
  if (scratch.byteLength < bytes) scratch = new Uint8Array(bytes);
  busy = true;
  return scratch.subarray(0, bytes);
}

/**
 * Writes the hyperslab [start, start + count) of the compiled result into `into`, C order. `into` must be aligned to
 * the element size. Reads each source only where the slab needs it.
 */
export async function readCompiled(
  compiled: Compiled,
  start: readonly number[],
  count: readonly number[],
  into: Uint8Array,
  signal?: AbortSignal,
): Promise<void> {
  const size = bytesPerElement(compiled.dtype);
  const outStrides = strides(count);
  for (const fill of compiled.fills) fillBox(fill, compiled.dtype, start, count, outStrides, into);
  for (const move of compiled.moves) {
    const boxes = intersect(move, compiled.shape.length, start, count);
    for (const box of boxes) await readBox(move, box, start, outStrides, size, into, signal);
  }
}

function strides(count: readonly number[]): number[] {
  const result = new Array<number>(count.length).fill(1);
  for (let axis = count.length - 2; axis >= 0; axis -= 1)
    result[axis] = (result[axis + 1] ?? 1) * (count[axis + 1] ?? 1);
  return result;
}

interface Range {
  readonly first: number;
  readonly size: number;
}
/** Ranges of a move's loops, in the order of `loops`. */
type Box = readonly { readonly loop: Loop; readonly range: Range }[];

function intersect(move: Move, rank: number, start: readonly number[], count: readonly number[]): Box[] {
  let boxes: { loop: Loop; range: Range }[][] = [[]];
  for (let axis = 0; axis < rank; axis += 1) {
    const loops = loopsOf(move.loops, axis);
    const size = loops.reduce((product, loop) => product * loop.size, 1);
    const at = move.start[axis] ?? 0;
    const from = Math.max(start[axis] ?? 0, at) - at;
    const to = Math.min((start[axis] ?? 0) + (count[axis] ?? 0), at + size) - at;
    const cuts = loops.length === 0 ? (from < to ? [[]] : []) : boxesOf(loops, from, to);
    boxes = boxes.flatMap((box) =>
      cuts.map((cut) => [
        ...box,
        ...loops.map((loop, index) => ({ loop, range: cut[index] ?? { first: 0, size: 1 } })),
      ]),
    );
  }
  return boxes;
}

async function readBox(
  move: Move,
  box: Box,
  start: readonly number[],
  outStrides: readonly number[],
  size: number,
  into: Uint8Array,
  signal: AbortSignal | undefined,
): Promise<void> {
  const rank = move.source.shape.length;
  // The slab of the source that the box touches.
  const low = move.sourceStart.map((value) => value);
  const high = move.sourceStart.map((value) => value);
  for (const { loop, range } of box) {
    const axis = loop.sourceAxis;
    const a = range.first * loop.sourceStep;
    const b = (range.first + range.size - 1) * loop.sourceStep;
    low[axis] = (low[axis] ?? 0) + Math.min(a, b);
    high[axis] = (high[axis] ?? 0) + Math.max(a, b);
  }
  const slab = low.map((value, axis) => (high[axis] ?? 0) - value + 1);
  const sourceStrides = strides(slab);
  const bytes = elementCount(slab) * size;
  const halves = bytes > SCRATCH_BYTES ? halve(box, sourceStrides) : undefined;
  if (halves !== undefined) {
    for (const half of halves) await readBox(move, half, start, outStrides, size, into, signal);
    return;
  }
  const memory = borrowScratch(bytes);
  const own = memory.buffer === scratch.buffer;
  try {
    await move.source.readInto(low, slab, memory, signal);
    let sourceOffset = 0;
    let outOffset = 0;
    for (let axis = 0; axis < rank; axis += 1) {
      sourceOffset += ((move.sourceStart[axis] ?? 0) - (low[axis] ?? 0)) * (sourceStrides[axis] ?? 1);
    }
    for (let axis = 0; axis < start.length; axis += 1) {
      outOffset += ((move.start[axis] ?? 0) - (start[axis] ?? 0)) * (outStrides[axis] ?? 1);
    }
    const sizes: number[] = [];
    const to: number[] = [];
    const from: number[] = [];
    for (const { loop, range } of box) {
      const outStep = loop.step * (outStrides[loop.axis] ?? 1);
      const sourceStep = loop.sourceStep * (sourceStrides[loop.sourceAxis] ?? 1);
      outOffset += range.first * outStep;
      sourceOffset += range.first * sourceStep;
      sizes.push(range.size);
      to.push(outStep);
      from.push(sourceStep);
    }
    copyStrided(into, outOffset, to, memory, sourceOffset, from, sizes, size);
  } finally {
    if (own) busy = false;
  }
}

/** A box that touches more of its source is read in parts. */
const SCRATCH_BYTES = 8 * 1024 * 1024;

/** The box cut in two across the source's slowest axis, so that each half is a slab of long runs; undefined: one element. */
function halve(box: Box, sourceStrides: readonly number[]): readonly [Box, Box] | undefined {
  let widest = -1;
  let most = 0;
  for (const [index, { loop, range }] of box.entries()) {
    const step = Math.abs(loop.sourceStep) * (sourceStrides[loop.sourceAxis] ?? 1);
    if (range.size < 2 || step <= most) continue;
    widest = index;
    most = step;
  }
  if (widest < 0) return undefined;
  const part = (pick: (range: Range) => Range): Box =>
    box.map((one, index) => (index === widest ? { loop: one.loop, range: pick(one.range) } : one));
  const half = (range: Range): number => range.size >> 1;
  return [
    part((range) => ({ first: range.first, size: half(range) })),
    part((range) => ({ first: range.first + half(range), size: range.size - half(range) })),
  ];
}

const TILE = 32;

/** Strided copy of elements of `size` bytes; offsets and strides count elements. */
function copyStrided(
  target: Uint8Array,
  targetOffset: number,
  targetStrides: readonly number[],
  source: Uint8Array,
  sourceOffset: number,
  sourceStrides: readonly number[],
  sizes: readonly number[],
  size: number,
): void {
  const words = size === 16 ? 8 : size;
  const scale = size / words;
  const loops = sizes
    .map((n, index) => ({ n, to: (targetStrides[index] ?? 0) * scale, from: (sourceStrides[index] ?? 0) * scale }))
    .filter((loop) => loop.n !== 1)
    .sort((a, b) => b.to - a.to);
  if (scale > 1) loops.push({ n: scale, to: 1, from: 1 });
  // Loops that run on without a gap on both sides are one loop.
  for (let index = loops.length - 2; index >= 0; index -= 1) {
    const outer = loops[index];
    const inner = loops[index + 1];
    if (outer && inner && outer.to === inner.to * inner.n && outer.from === inner.from * inner.n) {
      loops.splice(index, 2, { n: outer.n * inner.n, to: inner.to, from: inner.from });
    }
  }
  const to = targetOffset * scale;
  const from = sourceOffset * scale;
  if (words === 8) copyLoops(bigintsOf(target), to, bigintsOf(source), from, loops);
  else copyLoops(numbersOf(target, words), to, numbersOf(source, words), from, loops);
}

interface Stride {
  readonly n: number;
  readonly to: number;
  readonly from: number;
}

function copyLoops<T>(to: Words<T>, toAt: number, from: Words<T>, fromAt: number, loops: readonly Stride[]): void {
  const inner = loops.at(-1);
  if (inner === undefined) {
    to[toAt] = from[fromAt]!;
    return;
  }
  if (loops.length === 1) {
    copyRun(to, toAt, from, fromAt, inner);
    return;
  }
  // The loop with the smallest step in the source is paired with the innermost one and walked in tiles.
  const outers = loops.slice(0, -1);
  let partner = outers.length - 1;
  if (Math.abs(inner.from) !== 1) {
    for (const [index, loop] of outers.entries()) {
      if (Math.abs(loop.from) < Math.abs(outers[partner]?.from ?? 0)) partner = index;
    }
  }
  const second = outers[partner] ?? inner;
  const rest = outers.filter((_, index) => index !== partner);
  const index = rest.map(() => 0);
  for (;;) {
    copyPlane(to, toAt, from, fromAt, second, inner);
    let level = rest.length - 1;
    for (; level >= 0; level -= 1) {
      const loop = rest[level] as Stride;
      toAt += loop.to;
      fromAt += loop.from;
      index[level] = (index[level] ?? 0) + 1;
      if ((index[level] ?? 0) < loop.n) break;
      toAt -= loop.to * loop.n;
      fromAt -= loop.from * loop.n;
      index[level] = 0;
    }
    if (level < 0) return;
  }
}

function copyRun<T>(to: Words<T>, toAt: number, from: Words<T>, fromAt: number, loop: Stride): void {
  if (loop.to === 1 && loop.from === 1) {
    to.set(from.subarray(fromAt, fromAt + loop.n), toAt);
    return;
  }
  for (let k = 0; k < loop.n; k += 1) {
    to[toAt] = from[fromAt]!;
    toAt += loop.to;
    fromAt += loop.from;
  }
}

function copyPlane<T>(to: Words<T>, toAt: number, from: Words<T>, fromAt: number, a: Stride, b: Stride): void {
  if (b.to === 1 && b.from === 1) {
    for (let i = 0; i < a.n; i += 1) copyRun(to, toAt + i * a.to, from, fromAt + i * a.from, b);
    return;
  }
  if (to instanceof Uint32Array && from instanceof Uint32Array) {
    tiles32(to, toAt, from, fromAt, a, b);
    return;
  }
  for (let i0 = 0; i0 < a.n; i0 += TILE) {
    const i1 = Math.min(i0 + TILE, a.n);
    for (let j0 = 0; j0 < b.n; j0 += TILE) {
      const j1 = Math.min(j0 + TILE, b.n);
      for (let i = i0; i < i1; i += 1) {
        let t = toAt + i * a.to + j0 * b.to;
        let f = fromAt + i * a.from + j0 * b.from;
        for (let j = j0; j < j1; j += 1) {
          to[t] = from[f]!;
          t += b.to;
          f += b.from;
        }
      }
    }
  }
}

/** The same for 4-byte elements, with one type of array so that the compiler keeps the loop tight. */
function tiles32(to: Uint32Array, toAt: number, from: Uint32Array, fromAt: number, a: Stride, b: Stride): void {
  const { n: an, to: ato, from: afrom } = a;
  const { n: bn, to: bto, from: bfrom } = b;
  for (let i0 = 0; i0 < an; i0 += TILE) {
    const i1 = Math.min(i0 + TILE, an);
    for (let j0 = 0; j0 < bn; j0 += TILE) {
      const j1 = Math.min(j0 + TILE, bn);
      for (let i = i0; i < i1; i += 1) {
        let t = toAt + i * ato + j0 * bto;
        let f = fromAt + i * afrom + j0 * bfrom;
        for (let j = j0; j < j1; j += 1) {
          to[t] = from[f] as number;
          t += bto;
          f += bfrom;
        }
      }
    }
  }
}

function fillBox(
  fill: Fill,
  dtype: DType,
  start: readonly number[],
  count: readonly number[],
  outStrides: readonly number[],
  into: Uint8Array,
): void {
  const low = start.map((value, axis) => Math.max(value, fill.start[axis] ?? 0));
  const high = start.map((value, axis) =>
    Math.min(value + (count[axis] ?? 0), (fill.start[axis] ?? 0) + (fill.size[axis] ?? 0)),
  );
  if (low.some((value, axis) => value >= (high[axis] ?? 0))) return;
  const pattern = encodeNumber(fill.value, dtype);
  const width = pattern.byteLength;
  const at = low.map((value) => value);
  const rank = start.length;
  for (;;) {
    let offset = 0;
    for (let axis = 0; axis < rank; axis += 1)
      offset += ((at[axis] ?? 0) - (start[axis] ?? 0)) * (outStrides[axis] ?? 1);
    const run = rank === 0 ? 1 : (high[rank - 1] ?? 0) - (low[rank - 1] ?? 0);
    for (let k = 0; k < run; k += 1) into.set(pattern, (offset + k) * width);
    let axis = rank - 2;
    for (; axis >= 0; axis -= 1) {
      at[axis] = (at[axis] ?? 0) + 1;
      if ((at[axis] ?? 0) < (high[axis] ?? 0)) break;
      at[axis] = low[axis] ?? 0;
    }
    if (axis < 0) return;
  }
}

/** Little-endian bytes of 0, 1 or another small whole number in a dtype; throws INTERNAL for types without numbers. */
export function encodeNumber(value: number, dtype: DType): Uint8Array {
  const bytes = new Uint8Array(bytesPerElement(dtype));
  const view = new DataView(bytes.buffer);
  switch (dtype) {
    case 'float64':
      view.setFloat64(0, value, true);
      break;
    case 'float32':
      view.setFloat32(0, value, true);
      break;
    case 'bfloat16': {
      view.setUint16(0, upperHalf(value), true);
      break;
    }
    case 'float16': {
      if (value !== 0 && value !== 1) throw internal(`${value} is not filled in as float16`);
      view.setUint16(0, value === 0 ? 0 : 0x3c00, true);
      break;
    }
    case 'int64':
      view.setBigInt64(0, BigInt(value), true);
      break;
    case 'uint64':
      view.setBigUint64(0, BigInt(value), true);
      break;
    case 'int32':
    case 'uint32':
      view.setInt32(0, value, true);
      break;
    case 'int16':
    case 'uint16':
      view.setInt16(0, value, true);
      break;
    case 'int8':
    case 'uint8':
    case 'bool':
      view.setInt8(0, value);
      break;
    default:
      throw internal(`${value} is not filled in as ${dtype}`);
  }
  return bytes;
}

function upperHalf(value: number): number {
  const view = new DataView(new ArrayBuffer(4));
  view.setFloat32(0, value);
  const low = view.getUint16(2);
  if (low !== 0) throw internal(`${value} is not exact as bfloat16`);
  return view.getUint16(0);
}
