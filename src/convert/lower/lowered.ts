import type { Diagnostic } from '../../ir/diagnostic.ts';
import type { Shape } from '../../ir/model.ts';
import type { Twin } from '../../layers/family.ts';

/**
 * A model lowered to PyTorch: which modules there are, in which order features arrive where, and the statements of each
 * forward. Plain data: the plan moves weights by it, codegen prints it.
 */

/**
 * The order of the last axis' elements on the PyTorch side: position p of the PyTorch tensor holds the element that
 * Keras has at the place this order gives. Segments follow each other; a segment of `dims` (Keras order, [H, W, C])
 * is laid out in PyTorch in the axis order `order` ([2, 0, 1] for C, H, W). `order` [0] of one dim means unchanged.
 */
export interface Segment {
  readonly dims: readonly number[];
  readonly order: readonly number[];
}
export type FeatureOrder = readonly Segment[];

/** Where the torch side's axes come from: torch axis i is Keras axis axes[i]. */
export type Axes = readonly number[];

export interface Statement {
  /** Assigned names; several for a call with several results, none for a bare comment. */
  readonly targets: readonly string[];
  /** How the targets are written where they nest: `x, (h, c)`. */
  readonly shown?: string;
  /** Python expression. */
  readonly expr: string;
  /** One line above the statement, where the two frameworks differ. */
  readonly comment?: string;
}

/** An attribute of a generated class. */
export interface Attribute {
  readonly name: string;
  /** Path of the Keras layer that it stands for; null for a helper without one. */
  readonly layer: string | null;
  /** Python constructor expression, for attributes that no twin describes (a nested class, a plain helper). */
  readonly build?: string;
  readonly twin?: Exclude<Twin, { readonly refused: string }>;
  readonly comment?: string;
}

export interface Port {
  /** Python argument name (inputs), or the Keras layer's name (outputs). */
  readonly name: string;
  /** As Keras has it, batch axis included. */
  readonly shape: Shape;
  readonly axes: Axes;
}

export interface LoweredClass {
  /** Graph's path: '' is the root. */
  readonly graph: string;
  readonly name: string;
  readonly attributes: readonly Attribute[];
  readonly inputs: readonly Port[];
  readonly statements: readonly Statement[];
  /** Python expressions returned, one per output. */
  readonly returns: readonly string[];
  readonly outputs: readonly Port[];
}

export interface Lowered {
  /** Inner classes first, the root last. */
  readonly classes: readonly LoweredClass[];
  /** Layer path to its module path in the root ('tower/inner_bn' → 'tower.inner_bn'). */
  readonly modules: ReadonlyMap<string, string>;
  /** Layer path to the order in which its input features arrive, where that is not Keras' own. */
  readonly inputOrder: ReadonlyMap<string, FeatureOrder>;
  /** Layer path to the order in which its output features leave, where that is not Keras' own. */
  readonly outputOrder: ReadonlyMap<string, FeatureOrder>;
  /** Names of helper classes and functions of codegen's library that the statements or attributes use. */
  readonly helpers: ReadonlySet<string>;
  readonly diagnostics: readonly Diagnostic[];
}

/** A value on its way through a forward. */
export interface Ref {
  /** Python expression that holds it: a name. */
  readonly name: string;
  /** Keras shape, batch axis included; null where it is not known. */
  readonly shape: Shape | null;
  readonly axes: Axes;
  /** Order of the last Keras axis' features; null: Keras' own. */
  readonly features: FeatureOrder | null;
  /** Name of the boolean (N, T) mask that Keras hands on with the value; absent: none. */
  readonly mask?: string;
}
