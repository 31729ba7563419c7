import { provedByteLength } from '../ir/build.ts';
import { bytesPerElement, type DType } from '../ir/dtype.ts';
import type { Tensor } from '../ir/model.ts';
import type { StateEntry } from '../ir/state.ts';
import { castTensor } from './cast.ts';
import { computeTensor } from './compute.ts';
import { type Compiled, compileExpr, readCompiled } from './moves.ts';
import { computes } from './order.ts';
import type { Plan, PlannedTensor } from './plan.ts';

/** A planned tensor as a lazy handle: its bytes are gathered from the source when they are asked for. */
export function plannedHandle(plan: Plan, planned: PlannedTensor): Tensor {
  const find = (role: string, child: readonly number[]): Tensor => plan.find(planned, role, child);
  if (computes(planned.expr)) return computeTensor(planned, find);
  return movedTensor(planned.name, compileExpr(planned.expr, find));
}

/** A compiled expression as a tensor. */
export function movedTensor(name: string, compiled: Compiled): Tensor {
  return {
    name,
    dtype: compiled.dtype,
    shape: compiled.shape,
    byteLength: provedByteLength(compiled.dtype, compiled.shape),
    encoding: { kind: 'dense' },
    identity: `planned:${name}`,
    storage: `planned:${name}`,
    async readInto(start, count, into, signal) {
      const size = bytesPerElement(compiled.dtype);
      const aligned = size === 1 || into.byteOffset % Math.min(size, 8) === 0;
      if (aligned) return readCompiled(compiled, start, count, into, signal);
      const bytes = count.reduce((product, n) => product * n, 1) * size;
      const copy = new Uint8Array(bytes);
      await readCompiled(compiled, start, count, copy, signal);
      into.set(copy);
    },
  };
}

/** How the planned tensors are changed on their way. */
export interface TranslateOptions {
  /** Floating tensors are cast to this type. */
  readonly dtype?: DType;
}

/**
 * The state_dict that a plan describes, in order; no byte is read before a writer asks. Throws BnsumError UNSUPPORTED for
 * a cast between types that are not converted, LIMIT for a computed tensor above 64 MiB, INTERNAL for a plan that does not
 * fit its model; a tensor's `readInto` throws what its source throws.
 */
export function translate(plan: Plan, options: TranslateOptions = {}): readonly StateEntry[] {
  return plan.tensors.map((planned) => {
    const handle = plannedHandle(plan, planned);
    return {
      name: planned.name,
      tensor: options.dtype === undefined ? handle : castTensor(handle, options.dtype),
      kind: planned.isParameter ? 'parameter' : 'buffer',
      requiresGrad: planned.isParameter ? planned.requiresGrad : null,
      shares: planned.shares ?? null,
    };
  });
}
