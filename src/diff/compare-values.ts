import { type Count, plus } from '../account/count.ts';
import { isBnsumError } from '../ir/error.ts';
import type { Tensor } from '../ir/model.ts';
import type { Change, NotCompared, Where } from './change.ts';
import { type CompareOptions, hashOf, leaveOut, type Work, weightPairs, whereOf } from './compare-work.ts';
import type { LayerPair } from './pair.ts';
import type { Side, SideLayer, SideWeight } from './side.ts';
import { type Buffers, compareValues, hasValues } from './values.ts';

export interface ValueTally {
  readonly compared: number;
  readonly elements: Count;
  readonly changedWeights: number;
  readonly changedStatistics: number;
  readonly changedOthers: number;
}

/** Values and hashes of every pair, as far as the options and the files give them; null: none was asked for. */
export async function compareAllValues(
  work: Work,
  pairs: readonly LayerPair[],
  options: CompareOptions,
  buffers: Buffers,
): Promise<ValueTally | null> {
  const hashed = ({ layers, constants }: Side): boolean =>
    layers.some((layer) => layer.weights.some((weight) => weight.sha256 !== null)) ||
    (constants ?? []).some((weight) => weight.sha256 !== null);
  const fromLock = hashed(work.a) || hashed(work.b);
  if (options.values === null && !fromLock) return null;
  let compared = 0;
  let elements: Count = 0;
  const counts = { weight: 0, statistic: 0, other: 0 };
  for (const pair of pairs) {
    const at = whereOf(pair.a, pair.b);
    const changed = new Map<string, Change>();
    for (const [one, other] of weightPairs(pair).both) {
      const locked = one.sha256 !== null || other.sha256 !== null;
      if (options.values?.(pair.a.path) !== true && !locked) continue;
      if (one.shape.join() !== other.shape.join()) continue;
      const held = options.identical === true && one.tensor !== null && hasValues(one.tensor);
      const result = held ? null : await tryOne(work, pair, one, other, options, buffers);
      if (result === 'trouble') continue;
      if (result === 'silent') {
        leaveOut(work, 'values', 'values', silentSide(one, other), pair.a.path);
        continue;
      }
      compared += 1;
      elements = plus(elements, one.elements);
      if (result === null) continue;
      counts[one.class === 'weight' ? 'weight' : one.class === 'statistic' ? 'statistic' : 'other'] += 1;
      const base = { at, role: one.role, name: one.filled ? other.name : one.name, class: one.class };
      changed.set(
        one.role,
        result === 'hash'
          ? { code: 'hash', ...base }
          : { code: 'value', ...base, filled: one.filled || other.filled, stats: result },
      );
    }
    await findSwaps(work, pair, at, changed, buffers, options);
    work.changes.push(...changed.values());
  }
  return {
    compared,
    elements,
    changedWeights: counts.weight,
    changedStatistics: counts.statistic,
    changedOthers: counts.other,
  };
}

function silentSide(one: SideWeight, other: SideWeight): NotCompared['silent'] {
  const tells = ({ tensor, sha256 }: SideWeight): boolean => sha256 !== null || (tensor !== null && hasValues(tensor));
  if (tells(one)) return tells(other) ? 'both' : 'b';
  return tells(other) ? 'a' : 'both';
}

/** The result, or a trouble that is noted: what one tensor cannot give does not hide the others. */
async function tryOne(
  work: Work,
  pair: LayerPair,
  one: SideWeight,
  other: SideWeight,
  options: CompareOptions,
  buffers: Buffers,
): Promise<OneResult | 'trouble'> {
  try {
    return await compareOne(one, other, options, buffers);
  } catch (error) {
    if (!isBnsumError(error) || error.code === 'INTERNAL') throw error;
    work.troubles.push({ layer: pair.a.path, role: one.role, code: error.code, message: error.message });
    return 'trouble';
  }
}

type OneResult = Awaited<ReturnType<typeof compareValues>> | 'hash' | 'silent';

async function compareOne(
  one: SideWeight,
  other: SideWeight,
  options: CompareOptions,
  buffers: Buffers,
): Promise<OneResult> {
  if (one.sha256 !== null || other.sha256 !== null) {
    const before = await hashOf(one, buffers, options.signal);
    const after = await hashOf(other, buffers, options.signal);
    if (before === null || after === null) return 'silent';
    return before === after ? null : 'hash';
  }
  if (one.tensor === null || other.tensor === null) return 'silent';
  if (!hasValues(one.tensor) || !hasValues(other.tensor)) return 'silent';
  if (one.tensor.encoding.kind !== other.tensor.encoding.kind) return 'silent';
  if (!sameEncoding(one.tensor, other.tensor)) return 'hash';
  return compareValues(one.tensor, other.tensor, options, buffers, options.signal);
}

/** Equal scales, zero points and axes of quantised tensors, where they are plain numbers; equal parts of sparse ones. */
function sameEncoding(one: Tensor, other: Tensor): boolean {
  const a = one.encoding;
  const b = other.encoding;
  if (a.kind === 'quantised' && b.kind === 'quantised') {
    const plain = (value: number | Tensor): number | string => (typeof value === 'number' ? value : value.shape.join());
    return (
      a.scheme === b.scheme &&
      a.axis === b.axis &&
      plain(a.scale) === plain(b.scale) &&
      plain(a.zeroPoint) === plain(b.zeroPoint)
    );
  }
  if (a.kind === 'sparse' && b.kind === 'sparse') {
    const shapes = (parts: ReadonlyMap<string, Tensor>): string =>
      [...parts].map(([name, part]) => `${name} ${part.dtype} ${part.shape.join('x')}`).join(', ');
    return a.layout === b.layout && shapes(a.parts) === shapes(b.parts);
  }
  return true;
}

/** Two changed tensors of one layer that hold each other's values: gamma and beta, mean and variance. */
async function findSwaps(
  work: Work,
  pair: LayerPair,
  at: Where,
  changed: Map<string, Change>,
  buffers: Buffers,
  options: CompareOptions,
): Promise<void> {
  if (changed.size < 2) return;
  const roles = [...changed.keys()];
  const hashes = new Map<string, string | null>();
  const hash = async (layer: SideLayer, side: string, role: string): Promise<string | null> => {
    const key = `${side} ${role}`;
    const before = hashes.get(key);
    if (before !== undefined) return before;
    const weight = layer.weights.find((candidate) => candidate.role === role);
    const found = weight === undefined ? null : await hashOf(weight, buffers, options.signal);
    hashes.set(key, found);
    return found;
  };
  const shapeOf = (role: string): string => pair.a.weights.find((weight) => weight.role === role)?.shape.join() ?? '';
  for (const [index, role] of roles.entries()) {
    for (const other of roles.slice(index + 1)) {
      if (!changed.has(role) || !changed.has(other) || shapeOf(role) !== shapeOf(other)) continue;
      const mine = await hash(pair.a, 'a', role);
      if (mine === null || mine !== (await hash(pair.b, 'b', other))) continue;
      if ((await hash(pair.a, 'a', other)) !== (await hash(pair.b, 'b', role))) continue;
      changed.delete(role);
      changed.delete(other);
      work.changes.push({ code: 'swapped', at, roles: [role, other] });
    }
  }
}
