import type { Count } from '../account/count.ts';
import type { Json } from '../ir/json.ts';
import type { Kind } from '../ir/kind.ts';
import type { Shape, WeightClass } from '../ir/model.ts';

/** How far two tensors of one shape are apart. */
export interface ValueStats {
  readonly elements: number;
  /** Elements outside the tolerance; with a tolerance of 0, elements whose bits differ. */
  readonly changed: number;
  /** Largest |b − a| over elements that are finite in both. */
  readonly maxAbs: number;
  /** ‖b − a‖₂ / ‖a‖₂; null when a is all zeros or nothing is finite. */
  readonly relativeL2: number | null;
  /** null when one of the two is all zeros. */
  readonly cosine: number | null;
  readonly nan: { readonly a: number; readonly b: number };
  readonly infinite: { readonly a: number; readonly b: number };
  /** Index of the first changed element, and both values as text. */
  readonly first: { readonly index: readonly number[]; readonly a: string; readonly b: string };
}

/** Paths of the layer on both sides; null where it is absent. */
export interface Where {
  readonly a: string | null;
  readonly b: string | null;
  readonly kind: Kind;
}

/** One difference: a code and its arguments; the words are in views. `elements` are signed where they count. */
export type Change =
  | {
      readonly code: 'layer_added';
      readonly at: Where;
      readonly type: string;
      readonly elements: Count;
      readonly tensors: number;
    }
  | {
      readonly code: 'layer_removed';
      readonly at: Where;
      readonly type: string;
      readonly elements: Count;
      readonly tensors: number;
    }
  | { readonly code: 'layer_renamed'; readonly at: Where; readonly renumbered: boolean }
  | { readonly code: 'layer_moved'; readonly at: Where }
  | { readonly code: 'kind'; readonly at: Where; readonly before: string; readonly after: string }
  | {
      readonly code: 'attribute';
      readonly at: Where;
      readonly name: string;
      readonly before: Json;
      readonly after: Json;
    }
  | {
      readonly code: 'switched';
      readonly at: Where;
      readonly role: string;
      readonly on: boolean;
      readonly elements: Count;
    }
  | {
      readonly code: 'trainable';
      readonly at: Where;
      readonly roles: readonly string[];
      readonly before: boolean;
      readonly after: boolean;
      readonly elements: Count;
    }
  | {
      readonly code: 'dtype';
      readonly at: Where;
      readonly roles: readonly string[];
      readonly before: string;
      readonly after: string;
    }
  | { readonly code: 'policy'; readonly at: Where; readonly before: string; readonly after: string }
  | {
      readonly code: 'shape';
      readonly at: Where;
      readonly roles: readonly string[];
      readonly before: readonly number[];
      readonly after: readonly number[];
      readonly elements: Count;
    }
  | {
      readonly code: 'tensor_added';
      readonly at: Where;
      readonly role: string;
      readonly class: WeightClass;
      readonly shape: readonly number[];
      readonly elements: Count;
    }
  | {
      readonly code: 'tensor_removed';
      readonly at: Where;
      readonly role: string;
      readonly class: WeightClass;
      readonly shape: readonly number[];
      readonly elements: Count;
    }
  | {
      readonly code: 'tied';
      readonly at: Where;
      readonly role: string;
      readonly before: string | null;
      readonly after: string | null;
    }
  | {
      readonly code: 'wiring';
      readonly at: Where;
      readonly before: readonly string[];
      readonly after: readonly string[];
    }
  | {
      readonly code: 'inputs';
      readonly at: Where;
      readonly before: readonly (Shape | null)[];
      readonly after: readonly (Shape | null)[];
    }
  | {
      readonly code: 'outputs';
      readonly at: Where;
      readonly before: readonly string[];
      readonly after: readonly string[];
    }
  | {
      readonly code: 'output_shape';
      readonly at: Where;
      readonly before: Shape | readonly (Shape | null)[];
      readonly after: Shape | readonly (Shape | null)[];
    }
  | {
      readonly code: 'program';
      readonly at: Where;
      readonly part: string;
      /** SHA-256. */
      readonly before: string;
      readonly after: string;
    }
  | { readonly code: 'swapped'; readonly at: Where; readonly roles: readonly [string, string] }
  | {
      readonly code: 'hash';
      readonly at: Where;
      readonly role: string;
      readonly name: string;
      readonly class: WeightClass;
    }
  | {
      readonly code: 'value';
      readonly at: Where;
      readonly role: string;
      readonly name: string;
      readonly class: WeightClass;
      readonly filled: boolean;
      readonly stats: ValueStats;
    };

export type ChangeCode = Change['code'];

/** What could not be compared, and which side does not tell. */
export interface NotCompared {
  readonly what:
    | 'attribute'
    | 'trainable'
    | 'architecture'
    | 'wiring'
    | 'values'
    | 'layer'
    | 'policy'
    | 'ambiguous'
    | 'program'
    | 'constants'
    | 'training'
    | 'beside'
    | 'inputs'
    | 'tied'
    | 'optimizer';
  /** The attribute's name, or a reason in a word. */
  readonly name: string;
  readonly silent: 'a' | 'b' | 'both';
  readonly layers: readonly string[];
  /** What the side that tells says, where all layers agree. */
  readonly value: Json;
}

/** Words of --deny and --ignore. */
export const CATEGORIES = [
  'added',
  'removed',
  'changed',
  'params',
  'bn',
  'dtype',
  'values',
  'renames',
  'shapes',
  'trainable',
  'wiring',
  'statistics',
  'counters',
] as const;
export type Category = (typeof CATEGORIES)[number];

/** Every category that a change belongs to. */
export function categoriesOf(change: Change): ReadonlySet<Category> {
  const found = new Set<Category>();
  if (change.at.kind === 'batch_norm') found.add('bn');
  switch (change.code) {
    case 'layer_added':
      found.add('added');
      break;
    case 'layer_removed':
      found.add('removed');
      break;
    case 'layer_renamed':
    case 'layer_moved':
      found.add('renames');
      break;
    case 'tensor_added':
      found.add('added').add('changed');
      break;
    case 'tensor_removed':
      found.add('removed').add('changed');
      break;
    case 'dtype':
    case 'policy':
      found.add('dtype').add('changed');
      break;
    case 'shape':
    case 'output_shape':
    case 'inputs':
      found.add('shapes').add('changed');
      break;
    case 'trainable':
      found.add('trainable').add('changed');
      break;
    case 'wiring':
    case 'program':
    case 'outputs':
      found.add('wiring').add('changed');
      break;
    case 'swapped':
      found.add('values');
      break;
    case 'hash':
    case 'value':
      found.add('values');
      if (change.class === 'statistic') found.add('statistics');
      if (change.class === 'counter') found.add('counters');
      break;
    default:
      found.add('changed');
  }
  if ('elements' in change && change.elements !== 0 && change.code !== 'trainable') found.add('params');
  return found;
}
