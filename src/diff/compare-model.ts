import { EMPTY_OBJECT, isObject, type Json, type JsonObject } from '../ir/json.ts';
import type { Change, NotCompared, Where } from './change.ts';
import { compareModules, differInClass } from './compare-details.ts';
import { leaveOut, ofOneWriter, type Work, weightPairs } from './compare-work.ts';
import { defaultOf } from './config-facts.ts';
import { sameFact } from './fact.ts';
import type { LayerPair } from './pair.ts';
import type { Side, SideLayer, SideWeight } from './side.ts';

const MODEL: Where = { a: '', b: '', kind: 'model' };

/** What the files' own configs say besides; an absent key is the default. */
export function compareConfig(work: Work, pair: LayerPair, at: Where): void {
  if (work.a.dialect === 'torch') {
    compareModules(work, pair, at);
    return;
  }
  const { a, b } = pair;
  if (work.across || !a.known || !b.known) return;
  const [one, other] = [a.facts.get('config'), b.facts.get('config')];
  const left = isObject(one) ? one : EMPTY_OBJECT;
  const right = isObject(other) ? other : EMPTY_OBJECT;
  for (const name of new Set([...left.keys(), ...right.keys()])) {
    const [before, after] = [left.get(name), right.get(name)];
    if (sameFact(before ?? null, after ?? null)) continue;
    work.changes.push({
      code: 'attribute',
      at,
      name,
      before: before ?? defaultOf(name, after ?? null),
      after: after ?? defaultOf(name, before ?? null),
    });
  }
}

/** Class and attributes of the whole, which has no row of its own unless it owns tensors. */
export function compareRoots(work: Work): void {
  const { a, b } = work;
  if (work.across) return;
  const hasRow = [a, b].some(({ layers }) => layers.some((layer) => layer.path === ''));
  if (!hasRow) compareRootClass(work);
  const [before, after] = [a.rootFacts ?? null, b.rootFacts ?? null];
  if (before === null && after === null) return;
  const pair: LayerPair = { a: rootOf(a), b: rootOf(b), by: 'path' };
  if (a.dialect === 'torch') {
    if (!hasRow) compareModules(work, pair, MODEL);
    return;
  }
  // Two classes have settings of their own; that they are two is told.
  if (a.rootType !== undefined && b.rootType !== undefined && a.rootType !== b.rootType) return;
  if (before !== null && after !== null) {
    compareConfig(work, pair, MODEL);
    return;
  }
  // A summary, or a lock file of before, does not tell the settings of a model's own class.
  const told = (before ?? after)?.get('config');
  for (const [name, value] of isObject(told) ? told : EMPTY_OBJECT) {
    leaveOut(work, 'attribute', name, before === null ? 'a' : 'b', '', value);
  }
}

function compareRootClass(work: Work): void {
  const { a, b } = work;
  const [before, after] = [a.rootType, b.rootType];
  if (before === undefined || after === undefined) {
    // Files of weights alone say nothing of a model.
    const told: Json = before ?? after ?? null;
    if (told !== null && a.dialect === 'keras' && a.architecture && b.architecture) {
      leaveOut(work, 'attribute', 'class', before === undefined ? 'a' : 'b', '', told);
    }
    return;
  }
  const differ = a.dialect === 'torch' ? differInClass(work, before, after) : before !== after;
  if (differ) work.changes.push({ code: 'kind', at: MODEL, before, after });
}

function rootOf({ rootFacts, rootType, dialect }: Side): SideLayer {
  const layer = modelLayer([], rootFacts ?? EMPTY_OBJECT);
  // A state_dict says nothing of its module, whatever else it holds.
  return { ...layer, type: rootType ?? '', known: layer.known && (dialect !== 'torch' || rootType !== undefined) };
}

/** Which side does not tell; null: both do, or neither has anything to tell. */
function silentOf(a: boolean, b: boolean): NotCompared['silent'] | null {
  return a === b ? null : a ? 'b' : 'a';
}

/** What the files hold of the computation besides layers and graphs: TorchScript code, exported programs. */
export function compareProgram(work: Work): void {
  const { a, b } = work;
  const silent = silentOf(a.program != null, b.program != null);
  if (silent !== null && !work.across) leaveOut(work, 'program', 'program', silent, '');
  if (a.program == null || b.program == null) return;
  const both = [...a.program].filter(([part]) => b.program?.has(part) === true);
  // TorchScript on one side, torch.export on the other.
  if (both.length === 0) leaveOut(work, 'program', 'program', 'both', '');
  for (const [part, before] of both) {
    const after = b.program.get(part) ?? '';
    if (before !== after) work.changes.push({ code: 'program', at: MODEL, part, before, after });
  }
}

/**
 * The constants of both sides as one pair, for comparing their values; null: there is nothing to compare. They count in
 * no total, so what is added or removed has no elements.
 */
export function compareConstants(work: Work): LayerPair | null {
  const { a, b } = work;
  // Those among attributes and other entries, which old lock files and summaries do not list.
  const told = a.details === true && b.details === true;
  const listOf = ({ constants, further = [] }: Side): readonly SideWeight[] | null =>
    told && further.length > 0 ? [...(constants ?? []), ...further] : (constants ?? null);
  const left = told ? 0 : (a.further?.length ?? 0) + (b.further?.length ?? 0);
  if (left > 0 && !work.across) leaveOut(work, 'constants', 'constants', a.details === true ? 'b' : 'a', '');
  const [ours, theirs] = [listOf(a), listOf(b)];
  if ((ours?.length ?? 0) + (theirs?.length ?? 0) === 0) return null;
  if (ours === null || theirs === null) {
    if (!work.across) leaveOut(work, 'constants', 'constants', ours === null ? 'a' : 'b', '');
    return null;
  }
  // Code numbers its constants, a program names them.
  if (!ofOneWriter(work)) {
    leaveOut(work, 'constants', 'constants', 'both', '');
    return null;
  }
  const pair: LayerPair = { a: modelLayer(ours), b: modelLayer(theirs), by: 'path' };
  const { both, removed, added } = weightPairs(pair);
  const gone = (code: 'tensor_added' | 'tensor_removed', weight: SideWeight): Change => {
    const { role, shape } = weight;
    return { code, at: MODEL, role, class: weight.class, shape, elements: 0 };
  };
  work.changes.push(...removed.map((weight) => gone('tensor_removed', weight)));
  // Lock files of before list fewer of them.
  const isOld = a.from === 'lock' && a.details !== true && a.dialect === 'torch';
  if (isOld && added.length > 0) leaveOut(work, 'constants', 'constants', 'a', '');
  else work.changes.push(...added.map((weight) => gone('tensor_added', weight)));
  for (const [one, other] of both) {
    const roles = [one.role];
    if (one.shape.join() !== other.shape.join()) {
      work.changes.push({ code: 'shape', at: MODEL, roles, before: one.shape, after: other.shape, elements: 0 });
    }
    if (one.dtype !== other.dtype) {
      work.changes.push({ code: 'dtype', at: MODEL, roles, before: one.dtype, after: other.dtype });
    }
  }
  return pair;
}

/** What stands for the model itself, where a layer is compared. */
function modelLayer(weights: readonly SideWeight[], facts: JsonObject = EMPTY_OBJECT): SideLayer {
  return {
    path: '',
    parent: null,
    name: { leaf: '', base: null, number: 0 },
    container: false,
    kind: 'model',
    type: '',
    known: facts.size > 0,
    trainable: null,
    policy: null,
    facts,
    outputShape: null,
    inputs: null,
    weights,
    keras: 0,
    torch: 0,
    buffers: 0,
  };
}
