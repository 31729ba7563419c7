import type { Json } from '../ir/json.ts';
import type { Category, Change, NotCompared, Where } from './change.ts';
import { sameFact } from './fact.ts';
import type { LayerPair } from './pair.ts';
import type { Side, SideLayer, SideWeight } from './side.ts';
import { type Buffers, hashTensor, hasValues, type Tolerance } from './values.ts';
import type { AllWires } from './wires.ts';

export interface CompareOptions extends Tolerance {
  /** Read and compare the values of these layers (path of the first side); null: none. */
  readonly values: ((path: string) => boolean) | null;
  /** The two files hold the same bytes, so every value is the same. */
  readonly identical?: boolean;
  readonly ignore: ReadonlySet<Category>;
  readonly signal?: AbortSignal;
}

/** One refusal; the rest was compared. */
export interface Trouble {
  /** The layer, '' for the whole file. */
  readonly layer: string;
  readonly role: string;
  readonly code: string;
  readonly message: string;
}

/** The work of one comparison while it grows. */
export interface Work {
  readonly a: Side;
  readonly b: Side;
  readonly across: boolean;
  readonly changes: Change[];
  readonly troubles: Trouble[];
  readonly silent: Map<
    string,
    {
      what: NotCompared['what'];
      name: string;
      silent: NotCompared['silent'];
      layers: string[];
      value: Json | undefined;
    }
  >;
}

/** The place of a change: a layer on both sides, or on one. */
export function whereOf(a: SideLayer | null, b: SideLayer | null): Where {
  return { a: a?.path ?? null, b: b?.path ?? null, kind: a?.kind ?? b?.kind ?? 'unknown' };
}

/** Notes what could not be compared; layers that lack the same stand in one entry. */
export function leaveOut(
  work: Work,
  what: NotCompared['what'],
  name: string,
  silent: NotCompared['silent'],
  layer: string,
  value: Json = null,
): void {
  const key = `${what} ${name} ${silent}`;
  const entry = work.silent.get(key);
  if (entry === undefined) {
    work.silent.set(key, { what, name, silent, layers: layer === '' ? [] : [layer], value });
    return;
  }
  if (layer !== '' && entry.layers.at(-1) !== layer) entry.layers.push(layer);
  if (entry.value !== undefined && !sameFact(entry.value, value)) entry.value = undefined;
}

/**
 * The forms of a PyTorch file by what they keep of a module: a state_dict nothing, a pickled module its attributes,
 * TorchScript and torch.export another part of them each. A lock file has the form of its model.
 */
export function formOf({ program, rootType }: Side): 'state' | 'module' | 'code' | 'export' {
  if (program?.has('code') === true) return 'code';
  if (program != null && program.size > 0) return 'export';
  return rootType === undefined ? 'state' : 'module';
}

/** Whether an attribute that one side lacks is absent there: not between two forms of a PyTorch file. */
export function ofOneWriter({ a, b }: Work): boolean {
  return a.dialect !== 'torch' || formOf(a) === formOf(b);
}

/** The calls of both sides; null: one of them keeps none. */
export function wiresOfBoth({ a, b }: Work): readonly [AllWires, AllWires] | null {
  return a.wires == null || b.wires == null ? null : [a.wires, b.wires];
}

/** Weights of both sides that stand for one another. */
export function weightPairs(pair: LayerPair): {
  readonly both: readonly (readonly [SideWeight, SideWeight])[];
  readonly removed: readonly SideWeight[];
  readonly added: readonly SideWeight[];
} {
  const theirs = new Map(pair.b.weights.map((weight) => [weight.role, weight]));
  const both: (readonly [SideWeight, SideWeight])[] = [];
  const removed: SideWeight[] = [];
  for (const weight of pair.a.weights) {
    const other = theirs.get(weight.role);
    if (other === undefined) removed.push(weight);
    else both.push([weight, other]);
  }
  // Of a layer that nobody knows the containers name the tensors each in its own way; their order is one.
  const inOrder =
    pair.a.kind === 'unknown' &&
    pair.b.kind === 'unknown' &&
    both.length === 0 &&
    pair.a.weights.length === pair.b.weights.length &&
    pair.a.weights.every((weight, index) => weight.shape.join() === pair.b.weights[index]?.shape.join());
  if (inOrder) {
    const matched = pair.a.weights.flatMap((weight, index) => {
      const other = pair.b.weights[index];
      return other === undefined ? [] : [[weight, other] as const];
    });
    return { both: matched, removed: [], added: [] };
  }
  const ours = new Set(pair.a.weights.map((weight) => weight.role));
  return { both, removed, added: pair.b.weights.filter((weight) => !ours.has(weight.role)) };
}

/** The SHA-256 that a file keeps, or that of the values; null: there is neither. */
export async function hashOf(weight: SideWeight, buffers: Buffers, signal?: AbortSignal): Promise<string | null> {
  if (weight.sha256 !== null) return weight.sha256;
  if (weight.tensor === null || !hasValues(weight.tensor)) return null;
  return hashTensor(weight.tensor, buffers, signal);
}
