import type { Diagnostic } from '../ir/diagnostic.ts';
import type { DType } from '../ir/dtype.ts';
import type { JsonObject } from '../ir/json.ts';
import type { Kind } from '../ir/kind.ts';
import type { Dialect, NormAttrs, Shape, Weight, WeightClass } from '../ir/model.ts';

/**
 * A layer family declares, once for both directions, what a kind of layer is called, holds and does in each dialect.
 * One file per family, one line in registry.ts.
 */
export interface Family {
  readonly kind: Kind;
  /** Class names read in each dialect: Keras 1, 2 and 3 names; torch.nn names; ONNX operators. */
  readonly types: Readonly<Partial<Record<Dialect, readonly string[]>>>;
  /** Only for wrappers and nested models: the row shows its subtree. */
  readonly container?: true;
  /**
   * The file's own attributes in neutral names and values, the dialect's defaults filled in where the class was
   * constructed (a config that leaves an argument out had the default of its generation). `version` is the producer's
   * ('2.1.3', '3.15.1', '' unknown). Attributes that the file does not hold at all (a bare state_dict) are null.
   * `backend` is the producer's ('theano' stores true convolutions: kernels are flipped); '' or absent: not told.
   */
  normalise(type: string, attrs: JsonObject, dialect: Dialect, version: string, backend?: string): NormAttrs;
  /**
   * The Keras variables of a layer with these attributes, in creation order (the order of `vars/N`), with the shapes
   * that follow from the attributes and the input shapes. Absent: a layer without variables.
   */
  variables?(norm: NormAttrs, inputs: readonly Shape[] | null): readonly Variable[];
  /** Only for wrappers: the layers that a wrapper's config holds, in order. Each becomes a Layer below the wrapper. */
  inner?(attrs: JsonObject): readonly InnerLayer[];
  /**
   * Output shapes, batch axis included, as Keras computes them. null: this layer's outputs cannot be inferred.
   * `call` holds the keyword arguments of the call. `children` are a wrapper's inner layers (bindLayer of registry.ts).
   */
  outputs(
    norm: NormAttrs,
    inputs: readonly Shape[],
    call: JsonObject,
    children?: readonly BoundLayer[],
  ): readonly Shape[] | null;
  /** Multiply-accumulates of one call for one sample (batch axis left out); null when a needed axis is not known. */
  macs?(
    norm: NormAttrs,
    inputs: readonly Shape[],
    outputs: readonly Shape[],
    children?: readonly BoundLayer[],
  ): number | null;
  /**
   * What the layer becomes in PyTorch: modules, every state_dict tensor, and where each comes from.
   * `twinOf` gives the twin of a wrapper's child (twinOf of registry.ts).
   */
  toTorch?(layer: TwinSource, twinOf: (child: TwinSource) => Twin): Twin;
  /** What a PyTorch (or ONNX) layer becomes in Keras: variables and where each comes from. */
  toKeras?(layer: TwinSource): Twin;
}

/** One Keras variable of a layer. */
export interface Variable {
  readonly role: string;
  readonly class: WeightClass;
  /** Sub-object that owns it in `.keras` and `.weights.h5`: '' , 'cell', 'forward_layer/cell', 'query_dense'. */
  readonly at: string;
  /** How legacy `.h5` weight names end, without `:0`: ['kernel'], ['query/kernel'], ['depthwise_kernel', 'kernel']. */
  readonly names: readonly string[];
  /** Shape that the attributes and inputs demand; null when they do not settle it. */
  readonly shape: readonly number[] | null;
  /**
   * 'layer/kernel': the file holds this array a second time; it is the inner layer's weight of that role and is not a
   * weight of its own (SpectralNormalization's `vars/0`).
   */
  readonly copyOf?: string;
  /** Only legacy `.h5` files hold it (LoRA matrices: `.keras` and `.weights.h5` hold the merged kernel instead). */
  readonly legacyOnly?: true;
}

/** One layer inside a wrapper's config. */
export interface InnerLayer {
  /** Path below the wrapper's: 'forward_layer', 'layer', 'cell', 'cells/lstm_cell_1'. */
  readonly at: string;
  /** Sub-object in `.keras` and `.weights.h5`, where cells are counted by class: 'cells/lstm_cell_1'. */
  readonly saved: string;
  readonly type: string;
  readonly attrs: JsonObject;
}

/** A layer bound to its family, so that a wrapper can ask its inner layers without knowing the registry. */
export interface BoundLayer {
  readonly path: string;
  readonly kind: Kind;
  readonly type: string;
  readonly norm: NormAttrs;
  readonly children: readonly BoundLayer[];
  outputs(inputs: readonly Shape[], call: JsonObject): readonly Shape[] | null;
  macs(inputs: readonly Shape[], outputs: readonly Shape[]): number | null;
}

/** What a twin is derived from. */
export interface TwinSource {
  readonly path: string;
  readonly kind: Kind;
  readonly type: string;
  readonly norm: NormAttrs;
  readonly weights: readonly Weight[];
  /** Input shapes of the first call in the source's own layout, batch axis included; null when the graph is unknown. */
  readonly inputs: readonly Shape[] | null;
  /** Child layers of a wrapper (Bidirectional, TimeDistributed, RNN with cells), in order. */
  readonly children: readonly TwinSource[];
}

/**
 * A target tensor as a tree over source tensors: what is moved where, in words that can be inverted and printed.
 * Shapes are in elements; axes count from 0. All but `compute` only move or fill elements, so they are byte-exact.
 */
export type Expr =
  /** The layer's own weight of this role, whole. `of` names a child by its index where the twin merges children. */
  | { readonly op: 'source'; readonly role: string; readonly child?: readonly number[] }
  | { readonly op: 'fill'; readonly value: number; readonly shape: readonly number[]; readonly dtype: DType }
  | { readonly op: 'reshape'; readonly of: Expr; readonly shape: readonly number[] }
  /** Axis i of the result is axis axes[i] of `of`. */
  | { readonly op: 'permute'; readonly of: Expr; readonly axes: readonly number[] }
  | { readonly op: 'slice'; readonly of: Expr; readonly axis: number; readonly start: number; readonly stop: number }
  | { readonly op: 'concat'; readonly of: readonly Expr[]; readonly axis: number }
  /** Reverses the order of elements along each of the axes (Theano's true convolution). */
  | { readonly op: 'flip'; readonly of: Expr; readonly axes: readonly number[] }
  /** Element-wise arithmetic in the tensor's dtype, named; not byte-exact. */
  | {
      readonly op: 'compute';
      readonly name: 'variance_from_std' | 'add' | 'scale_rows' | 'shift';
      readonly of: readonly Expr[];
      readonly args: Readonly<Record<string, number>>;
    };

export interface TwinTensor {
  /** Below the twin's own name: 'weight', 'depthwise.weight', 'cell.weight_ih'. */
  readonly name: string;
  readonly class: WeightClass;
  readonly isParameter: boolean;
  /** false for a filled gamma or beta, which must not be trained. */
  readonly trainable: boolean;
  readonly shape: readonly number[];
  readonly dtype: DType;
  readonly from: Expr;
}

export interface TwinModule {
  /** '' for the layer's own module, else the sub-module's name ('depthwise'). */
  readonly name: string;
  /** torch.nn class ('Conv2d'), or the name of a class that the generated module defines ('ConvLSTM2d'). */
  readonly type: string;
  /** Constructor arguments by PyTorch's names, defaults that differ written out. */
  readonly args: NormAttrs;
  /** True when `type` is not in torch.nn. */
  readonly custom?: true;
}

/** `tensors` in state_dict order. Refused: there is no counterpart, with the reason. */
export type Twin =
  | {
      readonly refused?: undefined;
      readonly modules: readonly TwinModule[];
      readonly tensors: readonly TwinTensor[];
      readonly diagnostics: readonly Diagnostic[];
    }
  | { readonly refused: string };

/**
 * The permutation that turns an array whose axes are named by `from` into one named by `to`:
 * 'h w in out' → 'out in h w' gives [3, 2, 0, 1]. Throws RangeError when the words differ.
 */
export function permutationOf(from: string, to: string): readonly number[] {
  const source = from.split(' ');
  const target = to.split(' ');
  const axes = target.map((word) => source.indexOf(word));
  if (axes.includes(-1) || source.length !== target.length || new Set(source).size !== source.length) {
    throw new RangeError(`'${from}' and '${to}' do not name the same axes`);
  }
  return axes;
}

/** The permutation that undoes `axes`. */
export function invertPermutation(axes: readonly number[]): readonly number[] {
  const inverse = new Array<number>(axes.length).fill(0);
  for (const [index, axis] of axes.entries()) inverse[axis] = index;
  return inverse;
}

/** Shape of an expression, given the shapes of the source weights by role; undefined when a source is absent. */
export function shapeOfExpr(
  expr: Expr,
  sourceShape: (role: string, child: readonly number[]) => readonly number[] | undefined,
): readonly number[] | undefined {
  switch (expr.op) {
    case 'source':
      return sourceShape(expr.role, expr.child ?? []);
    case 'fill':
    case 'reshape':
      return expr.shape;
    case 'permute': {
      const inner = shapeOfExpr(expr.of, sourceShape);
      return inner && expr.axes.map((axis) => inner[axis] ?? 0);
    }
    case 'slice': {
      const inner = shapeOfExpr(expr.of, sourceShape);
      return inner?.map((size, axis) => (axis === expr.axis ? expr.stop - expr.start : size));
    }
    case 'concat': {
      const parts = expr.of.map((part) => shapeOfExpr(part, sourceShape));
      const first = parts[0];
      if (first === undefined || parts.some((part) => part === undefined)) return undefined;
      const along = parts.reduce((sum, part) => sum + (part?.[expr.axis] ?? 0), 0);
      return first.map((size, axis) => (axis === expr.axis ? along : size));
    }
    case 'flip':
      return shapeOfExpr(expr.of, sourceShape);
    case 'compute':
      return expr.of[0] && shapeOfExpr(expr.of[0], sourceShape);
  }
}
