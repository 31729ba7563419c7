import { EMPTY_OBJECT, isObject, type JsonObject } from '../ir/json.ts';
import type { NotCompared, Where } from './change.ts';
import { formOf, leaveOut, type Work } from './compare-work.ts';
import { sameFact } from './fact.ts';
import { isNothing, isTorchNn, sameModuleClass } from './module-facts.ts';
import type { LayerPair } from './pair.ts';
import type { Side, SideLayer } from './side.ts';

function objectOf(layer: SideLayer, name: string): JsonObject {
  const found = layer.facts.get(name);
  return isObject(found) ? found : EMPTY_OBJECT;
}

/** A lock file of before, which left out what it took for nothing. */
function isOldLock(side: Side): boolean {
  return side.from === 'lock' && side.details !== true;
}

/** Attributes, hooks and training flag of a module of PyTorch, all in the file's own words. */
export function compareModules(work: Work, pair: LayerPair, at: Where): void {
  if (work.across) return;
  if (pair.a.known && pair.b.known) compareAttributes(work, pair, at);
  compareDetails(work, pair, at);
  compareTraining(work, pair, at);
}

function compareAttributes(work: Work, { a, b }: LayerPair, at: Where): void {
  const [left, right] = [objectOf(a, 'config'), objectOf(b, 'config')];
  const ofTorch = isTorchNn(a.type) && isTorchNn(b.type);
  const [form, other] = [formOf(work.a), formOf(work.b)];
  for (const name of new Set([...left.keys(), ...right.keys()])) {
    const [before, after] = [left.get(name), right.get(name)];
    if (before !== undefined && after !== undefined) {
      if (!sameFact(before, after)) work.changes.push({ code: 'attribute', at, name, before, after });
      continue;
    }
    const value = before ?? after ?? null;
    // A setting of torch.nn that one release does not have yet is off there.
    if (ofTorch && isNothing(value)) continue;
    const silent = before === undefined ? 'a' : 'b';
    // A pickled module, TorchScript and an exported program each keep another part of a module's attributes; of two
    // files of TorchScript the code says which there are, and is compared.
    if (form !== other || form === 'code' || isOldLock(silent === 'a' ? work.a : work.b)) {
      leaveOut(work, 'attribute', name, silent, a.path, value);
    } else work.changes.push({ code: 'attribute', at, name, before: before ?? null, after: after ?? null });
  }
}

/** What is no plain setting. Its texts are the file's own, and another form of file has others. */
function compareDetails(work: Work, { a, b }: LayerPair, at: Where): void {
  const [left, right] = [objectOf(a, 'details'), objectOf(b, 'details')];
  const sameForm = formOf(work.a) === formOf(work.b);
  for (const name of new Set([...left.keys(), ...right.keys()])) {
    const [before, after] = [left.get(name), right.get(name)];
    const silent = silentOf(work, before !== undefined, after !== undefined, sameForm);
    if (silent !== null) leaveOut(work, 'attribute', name, silent, a.path, (silent === 'a' ? after : before) ?? null);
    // What could not be read is null on either side.
    else if (before === null || after === null) leaveOut(work, 'attribute', name, 'both', a.path);
    else if (!sameFact(before ?? null, after ?? null)) {
      if (sameForm) work.changes.push({ code: 'attribute', at, name, before: before ?? null, after: after ?? null });
      else leaveOut(work, 'attribute', name, 'both', a.path);
    }
  }
}

/** The side that cannot tell; null: both can, and what one lacks is absent there. */
function silentOf(work: Work, inA: boolean, inB: boolean, sameForm: boolean): NotCompared['silent'] | null {
  if (!inA && (work.a.details !== true || !sameForm)) return 'a';
  if (!inB && (work.b.details !== true || !sameForm)) return 'b';
  return null;
}

function compareTraining(work: Work, { a, b }: LayerPair, at: Where): void {
  const flagOf = (layer: SideLayer): unknown => layer.facts.get('training') ?? layer.facts.get('trainingFlag');
  const [before, after] = [flagOf(a), flagOf(b)];
  const certain = a.facts.has('training') || b.facts.has('training');
  if (typeof before === 'boolean' && typeof after === 'boolean') {
    if (before === after) return;
    // Only the code of the class knows whether it asks.
    if (certain) work.changes.push({ code: 'attribute', at, name: 'training', before, after });
    else leaveOut(work, 'training', 'training', 'both', a.path);
    return;
  }
  if (!certain) return;
  if (before === undefined && after !== undefined) leaveOut(work, 'attribute', 'training', 'a', a.path, after === true);
  if (after === undefined && before !== undefined)
    leaveOut(work, 'attribute', 'training', 'b', a.path, before === true);
}

/** Whether the classes of two PyTorch modules differ; false where one file does not name them. */
export function differInClass(work: Work, a: string, b: string): boolean {
  const [form, other] = [formOf(work.a), formOf(work.b)];
  // An exported program is the whole computation: its classes are a note of where each operation came from.
  if (work.across || (form === 'export' && other === 'export')) return false;
  return !sameModuleClass(a, b, form !== other);
}

/** What lies beside the models in their files: it is no part of them, so it is told and no difference. */
export function compareBeside(work: Work): void {
  const { a, b } = work;
  if (work.across) return;
  const [left, right] = [a.beside ?? new Map(), b.beside ?? new Map()];
  for (const name of new Set([...left.keys(), ...right.keys()])) {
    const [before, after] = [left.get(name), right.get(name)];
    const isSame = before?.text !== null && before?.text === after?.text && after?.tensors === false;
    if (isSame) continue;
    const silent = before === undefined ? 'a' : after === undefined ? 'b' : 'both';
    const differs = before?.text === null || before?.text !== after?.text;
    leaveOut(work, 'beside', name, silent, '', silent !== 'both' ? null : differs ? 'differs' : 'tensors');
  }
}

/** What a summary does not keep and the other side does: it is written for people, lock files are for comparing. */
export function compareSummaries(work: Work): void {
  const { a, b } = work;
  if (work.across || (a.from !== 'summary' && b.from !== 'summary')) return;
  const silent = a.from !== 'summary' ? 'b' : b.from !== 'summary' ? 'a' : 'both';
  const graphs = (side: Side): boolean =>
    side.from === 'summary' ? side.layers.some((layer) => layer.inputs !== null) : side.wires != null;
  const isTied = ({ layers }: Side): boolean => layers.some(({ weights }) => weights.some(({ tied }) => tied !== null));
  if (graphs(a) && graphs(b)) {
    leaveOut(work, 'wiring', 'calls', silent, '');
    leaveOut(work, 'inputs', 'inputs', silent, '');
  }
  if (isTied(a) || isTied(b)) leaveOut(work, 'tied', 'tied', silent, '');
}
