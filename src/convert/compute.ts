import { provedByteLength } from '../ir/build.ts';
import { bytesPerElement, familyOf } from '../ir/dtype.ts';
import { BnsumError } from '../ir/error.ts';
import { LIMITS } from '../ir/limits.ts';
import type { Tensor } from '../ir/model.ts';
import type { Expr } from '../layers/family.ts';
import { decodeFloats, encodeFloats } from './cast.ts';
import { compileExpr, readCompiled } from './moves.ts';
import { computes } from './order.ts';
import type { PlannedTensor } from './plan.ts';

type Find = (role: string, child: readonly number[]) => Tensor;

/**
 * A tensor whose values are computed (Keras 1's variance from a standard deviation, …). Such tensors are vectors:
 * they are evaluated whole, in float64, and rounded once.
 */
export function computeTensor(planned: PlannedTensor, find: Find): Tensor {
  const { expr, dtype, shape } = planned;
  const byteLength = provedByteLength(dtype, shape);
  if (byteLength > LIMITS.blockBytes) {
    throw new BnsumError({ code: 'LIMIT', place: planned.name, reason: 'a computed tensor above 64 MiB' });
  }
  let bytes: Promise<Uint8Array> | undefined;
  return {
    name: planned.name,
    dtype,
    shape,
    byteLength,
    encoding: { kind: 'dense' },
    identity: `planned:${planned.name}`,
    storage: `planned:${planned.name}`,
    async readInto(start, count, into, signal) {
      bytes ??= evaluateExpr(expr, find, signal).then((values) => {
        const whole = new Uint8Array(byteLength);
        encodeFloats(values, dtype, whole);
        return whole;
      });
      const whole = await bytes;
      const size = bytesPerElement(dtype);
      const copy = (axis: number, from: number, to: number): number => {
        if (axis === shape.length) {
          into.set(whole.subarray(from * size, (from + 1) * size), to * size);
          return to + 1;
        }
        const inner = shape.slice(axis + 1).reduce((product, n) => product * n, 1);
        let at = to;
        for (let k = 0; k < (count[axis] ?? 0); k += 1)
          at = copy(axis + 1, from + ((start[axis] ?? 0) + k) * inner, at);
        return at;
      };
      copy(0, 0, 0);
    },
  };
}

export async function evaluateExpr(expr: Expr, find: Find, signal: AbortSignal | undefined): Promise<Float64Array> {
  if (!computes(expr)) {
    const compiled = compileExpr(expr, find);
    if (familyOf(compiled.dtype) !== 'float')
      throw new BnsumError({ code: 'INTERNAL', reason: 'arithmetic on integers' });
    const elements = compiled.shape.reduce((product, n) => product * n, 1);
    const bytes = new Uint8Array(elements * bytesPerElement(compiled.dtype));
    await readCompiled(
      compiled,
      compiled.shape.map(() => 0),
      compiled.shape,
      bytes,
      signal,
    );
    return decodeFloats(bytes, compiled.dtype, elements);
  }
  if (expr.op !== 'compute') throw new BnsumError({ code: 'INTERNAL', reason: 'arithmetic inside a move' });
  const operands: Float64Array[] = [];
  for (const part of expr.of) operands.push(await evaluateExpr(part, find, signal));
  const [first = new Float64Array(0), second] = operands;
  const arg = (name: string): number => expr.args[name] ?? 0;
  switch (expr.name) {
    case 'variance_from_std':
      // Keras ≤ 1.0.5 divides by s + e: σ² = (s + e)² − e reproduces that denominator under PyTorch's √(σ² + e).
      return first.map((value) => (value + arg('epsilon')) ** 2 - arg('epsilon'));
    case 'shift':
      return first.map((value) => value + arg('by'));
    case 'add':
      if (second?.length !== first.length) throw new BnsumError({ code: 'INTERNAL', reason: 'a sum of other sizes' });
      return first.map((value, at) => value + (second[at] ?? 0));
    case 'scale_rows': {
      const rows = second?.length ?? 1;
      const row = first.length / rows;
      return first.map((value, at) => value * (second?.[Math.floor(at / row)] ?? 1));
    }
  }
}
