import { type Diagnostic, note } from '../ir/diagnostic.ts';
import type { DType } from '../ir/dtype.ts';
import type { NormAttrs, Weight, WeightClass } from '../ir/model.ts';
import { type Expr, shapeOfExpr, type Twin, type TwinModule, type TwinSource, type TwinTensor } from './family.ts';

/** The layer's own weight of a role, whole. */
export function source(role: string): Expr {
  return { op: 'source', role };
}

/** The matrix turned: (a, b) to (b, a). */
export function transposed(of: Expr): Expr {
  return { op: 'permute', of, axes: [1, 0] };
}

export function filled(value: number, shape: readonly number[], dtype: DType): Expr {
  return { op: 'fill', value, shape, dtype };
}

export function reshaped(of: Expr, shape: readonly number[]): Expr {
  return { op: 'reshape', of, shape };
}

export function sliced(of: Expr, axis: number, start: number, stop: number): Expr {
  return { op: 'slice', of, axis, start, stop };
}

export function joined(of: readonly Expr[], axis: number): Expr {
  return { op: 'concat', of, axis };
}

/** The blocks of an axis in another order: `order[i]` is the old place of the new block i. */
export function reorderedBlocks(of: Expr, axis: number, block: number, order: readonly number[]): Expr {
  if (order.every((place, index) => place === index)) return of;
  return joined(
    order.map((place) => sliced(of, axis, place * block, (place + 1) * block)),
    axis,
  );
}

export function weightOf(layer: TwinSource, role: string): Weight | undefined {
  return layer.weights.find((weight) => weight.role === role);
}

/** dtype of the layer's floating weights: that of the first one; float32 where there is none. */
export function dtypeOf(layer: TwinSource): DType {
  return layer.weights[0]?.tensor.dtype ?? 'float32';
}

/** A source weight's shape; [] when it is absent. */
export function shapeOf(layer: TwinSource, role: string): readonly number[] {
  return weightOf(layer, role)?.tensor.shape ?? [];
}

/** Shape of an expression over the layer's own weights. Throws RangeError when a weight it names is absent. */
export function exprShape(layer: TwinSource, expr: Expr): readonly number[] {
  const shape = shapeOfExpr(expr, (role, child) => {
    let owner: TwinSource | undefined = layer;
    for (const index of child) owner = owner?.children[index];
    return owner && weightOf(owner, role)?.tensor.shape;
  });
  if (shape === undefined) throw new RangeError(`${layer.path} lacks a weight that its twin needs`);
  return shape;
}

export interface TensorOptions {
  readonly class?: WeightClass;
  readonly isParameter?: boolean;
  readonly trainable?: boolean;
  readonly dtype?: DType;
}

/**
 * A tensor of a twin. Without options: an nn.Parameter of class 'weight', trainable as the source weight is
 * (an untold trainability counts as true), of the layer's dtype.
 */
export function twinTensor(layer: TwinSource, name: string, from: Expr, options: TensorOptions = {}): TwinTensor {
  const owner = firstSource(layer, from);
  const isParameter = options.isParameter ?? true;
  return {
    name,
    class: options.class ?? 'weight',
    isParameter,
    trainable: options.trainable ?? (isParameter && (owner?.trainable ?? true)),
    shape: exprShape(layer, from),
    dtype: options.dtype ?? owner?.tensor.dtype ?? dtypeOf(layer),
    from,
  };
}

function firstSource(layer: TwinSource, expr: Expr): Weight | undefined {
  switch (expr.op) {
    case 'source': {
      let owner: TwinSource | undefined = layer;
      for (const index of expr.child ?? []) owner = owner?.children[index];
      return owner && weightOf(owner, expr.role);
    }
    case 'fill':
      return undefined;
    case 'concat':
    case 'compute':
      for (const part of expr.of) {
        const found = firstSource(layer, part);
        if (found !== undefined) return found;
      }
      return undefined;
    default:
      return firstSource(layer, expr.of);
  }
}

/** A module of the twin; `name` '' is the layer's own. */
export function twinModule(type: string, args: NormAttrs, name = ''): TwinModule {
  return { name, type, args };
}

/** A module whose class the generated code defines. */
export function customModule(type: string, args: NormAttrs, name = ''): TwinModule {
  return { name, type, args, custom: true };
}

export function twin(
  modules: readonly TwinModule[],
  tensors: readonly TwinTensor[] = [],
  diagnostics: readonly Diagnostic[] = [],
): Twin {
  return { modules, tensors, diagnostics };
}

/** A reading that the file does not settle. */
export function assumed(layer: TwinSource, what: string, value: string | number | boolean | null): Diagnostic {
  return note('ASSUMED', { layer: layer.path }, { what, value });
}

/** A tensor of the twin that the source lacks. */
export function filledNote(layer: TwinSource, tensor: string, value: number): Diagnostic {
  return note('FILLED', { layer: layer.path }, { tensor, value });
}

/** A source weight that has no place in the twin. */
export function droppedNote(layer: TwinSource, role: string, why: string): Diagnostic {
  return note('DROPPED', { layer: layer.path }, { role, why });
}

/** Same inference, other training. */
export function trainingNote(layer: TwinSource, what: string): Diagnostic {
  return note('TRAINING_DIFFERS', { layer: layer.path }, { what });
}

/** The refusal when a weight that the kind must have is not among the layer's weights. */
export function missing(layer: TwinSource, ...roles: readonly string[]): { readonly refused: string } | undefined {
  const absent = roles.filter((role) => weightOf(layer, role) === undefined);
  if (absent.length === 0) return undefined;
  const held = layer.weights.map((weight) => weight.role);
  // A re-parametrised weight is there, in parts.
  const parts = held.filter((role) => absent.some((word) => role.startsWith(`${word}_`) || role.includes(`.${word}.`)));
  if (parts.length > 0) return { refused: `its ${absent.join(', ')} is re-parametrised (${parts.join(', ')})` };
  return { refused: `the file holds no ${absent.join(', ')} for this layer` };
}

/** Expr with every own weight read from the child at this place instead. */
export function fromChild(expr: Expr, child: number): Expr {
  switch (expr.op) {
    case 'source':
      return { ...expr, child: [child, ...(expr.child ?? [])] };
    case 'fill':
      return expr;
    case 'concat':
    case 'compute':
      return { ...expr, of: expr.of.map((part) => fromChild(part, child)) };
    default:
      return { ...expr, of: fromChild(expr.of, child) };
  }
}
