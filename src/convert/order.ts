import type { Expr } from '../layers/family.ts';
import type { FeatureOrder } from './lower/lowered.ts';

const productOf = (dims: readonly number[]): number => dims.reduce((product, size) => product * size, 1);

/**
 * Brings axis `axis` of an array of `shape` from Keras' feature order into PyTorch's. For a Dense kernel after Flatten
 * this is weight[j, c·H·W + h·W + w] = kernel[(h·W + w)·C + c, j].
 * Throws RangeError when the order does not cover the axis.
 */
export function reorder(expr: Expr, shape: readonly number[], axis: number, order: FeatureOrder): Expr {
  const covered = order.reduce((sum, { dims }) => sum + productOf(dims), 0);
  if (covered !== shape[axis]) throw new RangeError(`an order of ${covered} features for an axis of ${shape[axis]}`);
  let at = 0;
  const parts = order.map(({ dims, order: axes }): Expr => {
    const size = productOf(dims);
    const part: Expr = order.length === 1 ? expr : { op: 'slice', of: expr, axis, start: at, stop: at + size };
    at += size;
    if (dims.length === 1) return part;
    const before = shape.slice(0, axis);
    const after = shape.slice(axis + 1);
    const permutation = [
      ...before.keys(),
      ...axes.map((inner) => before.length + inner),
      ...after.map((_, index) => before.length + dims.length + index),
    ];
    return {
      op: 'reshape',
      of: { op: 'permute', of: { op: 'reshape', of: part, shape: [...before, ...dims, ...after] }, axes: permutation },
      shape: [...before, size, ...after],
    };
  });
  const first = parts[0];
  if (first === undefined) throw new RangeError('an order of no features');
  return parts.length === 1 ? first : { op: 'concat', of: parts, axis };
}

/** Replaces each source of an expression. */
export function mapSources(expr: Expr, change: (source: Extract<Expr, { op: 'source' }>) => Expr): Expr {
  switch (expr.op) {
    case 'source':
      return change(expr);
    case 'fill':
      return expr;
    case 'concat':
    case 'compute':
      return { ...expr, of: expr.of.map((part) => mapSources(part, change)) };
    default:
      return { ...expr, of: mapSources(expr.of, change) };
  }
}

/** Every source that an expression names. */
export function sourcesOf(expr: Expr): Extract<Expr, { op: 'source' }>[] {
  switch (expr.op) {
    case 'source':
      return [expr];
    case 'fill':
      return [];
    case 'concat':
    case 'compute':
      return expr.of.flatMap(sourcesOf);
    default:
      return sourcesOf(expr.of);
  }
}

/** Whether an expression computes values instead of only moving them. */
export function computes(expr: Expr): boolean {
  switch (expr.op) {
    case 'source':
    case 'fill':
      return false;
    case 'compute':
      return true;
    case 'concat':
      return expr.of.some(computes);
    default:
      return computes(expr.of);
  }
}

/** The expression in words, innermost first: `kernel · permute(3, 2, 0, 1)`. */
export function describeExpr(expr: Expr): string {
  switch (expr.op) {
    case 'source':
      return expr.child === undefined || expr.child.length === 0
        ? expr.role
        : `${expr.role} of part ${expr.child.join('.')}`;
    case 'fill':
      return `fill ${expr.value}`;
    case 'permute':
      return `${describeExpr(expr.of)} · permute(${expr.axes.join(', ')})`;
    case 'reshape':
      return `${describeExpr(expr.of)} · reshape(${expr.shape.join(', ')})`;
    case 'slice':
      return `${describeExpr(expr.of)} · slice(axis ${expr.axis}, ${expr.start}:${expr.stop})`;
    case 'flip':
      return `${describeExpr(expr.of)} · flip(${expr.axes.join(', ')})`;
    case 'concat':
      return `concat(${expr.of.map(describeExpr).join(' | ')}, axis ${expr.axis})`;
    case 'compute':
      return `${expr.name}(${expr.of.map(describeExpr).join(', ')})`;
  }
}
