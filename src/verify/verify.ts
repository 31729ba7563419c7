import { type Compiled, compileExpr, invertMoves, movedElements, readCompiled } from '../convert/moves.ts';
import type { Plan, PlannedTensor } from '../convert/plan.ts';
import { bitsOf, bytesPerElement } from '../ir/dtype.ts';
import { BnsumError } from '../ir/error.ts';
import { LIMITS } from '../ir/limits.ts';
import type { Tensor } from '../ir/model.ts';
import { BlockBuffer, slabsOf, tilesOf } from '../ir/slabs.ts';
import type { StateEntry } from '../ir/state.ts';

/** What re-reading a written file showed. */
export interface Verification {
  /** Tensors whose every source element came back bit for bit through the inverse. */
  readonly lossless: number;
  /** Tensors that were filled, folded, computed or cast: compared with what was planned. */
  readonly asPlanned: number;
  /** Source elements that were compared. */
  readonly elements: number;
}

const mismatch = (file: string, name: string, reason: string): BnsumError =>
  new BnsumError({ code: 'MISMATCH', file, place: name, reason, next: 'the output was not kept; please report this' });

/**
 * Compares a written state_dict with its source: names, element types and shapes; then, for every tensor that only
 * moves elements, each source tensor is rebuilt from the output through the inverse moves and compared block by block.
 * It shows that nothing was lost, not that the rule is right: the inverse comes from the same declaration.
 * Throws BnsumError MISMATCH naming the first tensor that differs.
 */
export async function verifyState(
  plan: Plan,
  entries: readonly StateEntry[],
  written: readonly Tensor[],
  file: string,
  signal?: AbortSignal,
): Promise<Verification> {
  const found = new Map(written.map((tensor) => [tensor.name, tensor]));
  if (found.size !== entries.length) {
    throw mismatch(file, 'the state_dict', `holds ${found.size} tensors, ${entries.length} were written`);
  }
  const planned = new Map(plan.tensors.map((tensor) => [tensor.name, tensor]));
  let lossless = 0;
  let asPlanned = 0;
  let elements = 0;
  const buffers = [new BlockBuffer(), new BlockBuffer()] as const;
  for (const entry of entries) {
    const target = found.get(entry.name);
    if (target === undefined) throw mismatch(file, entry.name, 'is missing in the output');
    if (target.dtype !== entry.tensor.dtype || target.shape.join() !== entry.tensor.shape.join()) {
      throw mismatch(file, entry.name, `is ${target.dtype} [${target.shape.join(', ')}] in the output`);
    }
    const plannedTensor = planned.get(entry.name);
    const cast = plannedTensor !== undefined && plannedTensor.dtype !== entry.tensor.dtype;
    if (plannedTensor === undefined || cast || plannedTensor.filled || !plannedTensor.exact) {
      await compareForward(entry.tensor, target, file, buffers, signal);
      asPlanned += 1;
      continue;
    }
    elements += await compareInverse(plan, plannedTensor, target, file, buffers, signal);
    lossless += 1;
  }
  return { lossless, asPlanned, elements };
}

/** Rebuilds every source of a planned tensor from the output and compares it with the file it came from. */
async function compareInverse(
  plan: Plan,
  planned: PlannedTensor,
  target: Tensor,
  file: string,
  buffers: readonly [BlockBuffer, BlockBuffer],
  signal: AbortSignal | undefined,
): Promise<number> {
  const compiled = compileExpr(planned.expr, (role, child) => plan.find(planned, role, child));
  let elements = 0;
  for (const source of planned.sources) {
    const inverse = invertMoves(compiled, source, target);
    elements += movedElements(inverse);
    const size = bytesPerElement(source.dtype);
    const cut = keepsLastAxis(inverse) ? slabsOf : tilesOf;
    for (const slab of cut(source.shape, Math.floor(LIMITS.blockBytes / 4 / size))) {
      const bytes = slab.elements * size;
      const before = buffers[0].take(bytes);
      const after = buffers[1].take(bytes);
      await source.readInto(slab.start, slab.count, before, signal);
      after.set(before);
      await readCompiled(inverse, slab.start, slab.count, after, signal);
      if (!sameBytes(before, after)) throw mismatch(file, planned.name, `does not give ${source.name} back`);
    }
  }
  const filled = compiled.fills.reduce((sum, fill) => sum + fill.size.reduce((product, n) => product * n, 1), 0);
  const total = planned.shape.reduce((product, n) => product * n, 1);
  if (movedElements(compiled) + filled !== total) throw mismatch(file, planned.name, 'was not written whole');
  return elements;
}

/** Whether the fastest axis is the fastest one on the other side too. */
function keepsLastAxis(inverse: Compiled): boolean {
  const last = inverse.shape.length - 1;
  return inverse.moves.every((move) => {
    const lastSource = move.source.shape.length - 1;
    return move.loops.every((loop) => loop.axis !== last || loop.size === 1 || loop.sourceAxis === lastSource);
  });
}

async function compareForward(
  wanted: Tensor,
  target: Tensor,
  file: string,
  buffers: readonly [BlockBuffer, BlockBuffer],
  signal: AbortSignal | undefined,
): Promise<void> {
  const perBlock = Math.floor((LIMITS.blockBytes * 2) / bitsOf(wanted.dtype));
  for (const slab of slabsOf(wanted.shape, perBlock)) {
    const bytes = Math.ceil((slab.elements * bitsOf(wanted.dtype)) / 8);
    const before = buffers[0].take(bytes);
    const after = buffers[1].take(bytes);
    await wanted.readInto(slab.start, slab.count, before, signal);
    await target.readInto(slab.start, slab.count, after, signal);
    if (!sameBytes(before, after)) throw mismatch(file, wanted.name, 'is not what was planned');
  }
}

/** Byte equality, eight bytes at a time where both are aligned. */
export function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  if (a.byteLength !== b.byteLength) return false;
  const aligned = a.byteOffset % 8 === 0 && b.byteOffset % 8 === 0;
  const words = aligned ? Math.floor(a.byteLength / 8) : 0;
  if (words > 0) {
    const leftBits = new Uint32Array(a.buffer, a.byteOffset, words * 2);
    const rightBits = new Uint32Array(b.buffer, b.byteOffset, words * 2);
    for (let at = 0; at < leftBits.length; at += 1) if (leftBits[at] !== rightBits[at]) return false;
  }
  for (let at = words * 8; at < a.byteLength; at += 1) if (a[at] !== b[at]) return false;
  return true;
}
