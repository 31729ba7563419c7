import { type Diagnostic, note } from '../../ir/diagnostic.ts';
import { BnsumError } from '../../ir/error.ts';
import type { Tensor } from '../../ir/model.ts';
import type { ModuleFacts, RawTensor } from '../../layers/recognise.ts';
import { isModuleValue, readModuleTree, typeOfObject } from './module-tree.ts';
import {
  classNameOf,
  type DictNode,
  isDict,
  isNode,
  isReduced,
  isTuple,
  itemsOf,
  type PickleValue,
} from './pickle-value.ts';
import { keyText, versionsOf } from './raw-model.ts';
import { isTensorValue, isUninitialised, readTensorValue, type TensorContext } from './tensor-value.ts';

/** Something in a checkpoint that can be read as a model. */
export interface Candidate {
  /** What `--pick` takes: keys joined by '.'; ROOT for the checkpoint itself. */
  readonly name: string;
  readonly kind: 'state_dict' | 'module' | 'tensors' | 'scattered';
  readonly value: PickleValue;
  /** Tensors that it holds directly; of a module not counted. */
  readonly tensors: number;
}

/** Name of the candidate that is the whole file. */
export const ROOT = '(root)';

/** Keys under which a model is saved, the most explicit first; copies made by averaging come last. */
const PREFERRED: readonly string[] = [
  'state_dict',
  'model_state_dict',
  'model_state',
  'model',
  'net',
  'network',
  'module',
  'weights',
  'params',
];

/** An averaged copy of the model. */
const AVERAGED = /(?:^|_)(?:ema|swa|averaged?)(?:_|$)/i;

const OPTIMIZER = /optim/i;

function isOptimizer(key: string, value: PickleValue): boolean {
  if (OPTIMIZER.test(key)) return true;
  return isDict(value) && value.entries.has('param_groups') && value.entries.has('state');
}

function directTensors(dict: DictNode): number {
  let count = 0;
  for (const value of dict.entries.values()) if (isTensorValue(value) || isUninitialised(value)) count += 1;
  return count;
}

/** A dict that holds some tensor among settings (a callback's best score) is no state_dict, unless its name says so. */
function isLikely(key: string, tensors: number, dict: DictNode): boolean {
  return tensors > 0 && (PREFERRED.includes(key) || tensors * 2 >= dict.entries.size);
}

/** Everything in a checkpoint that can be read as a model, in file order; looks two levels deep. */
export function findCandidates(root: PickleValue): readonly Candidate[] {
  if (isModuleValue(root)) return [{ name: ROOT, kind: 'module', value: root, tensors: 0 }];
  if (isTensorValue(root)) return [{ name: ROOT, kind: 'tensors', value: root, tensors: 1 }];
  const items = itemsOf(root);
  if (items !== undefined) {
    const count = items.filter((item) => isTensorValue(item)).length;
    if (count > 0) return [{ name: ROOT, kind: 'tensors', value: root, tensors: count }];
  }
  if (isDict(root) && isOptimizer('', root)) return [];
  if (!isDict(root)) return findScattered(root);
  const found: Candidate[] = [];
  const own = directTensors(root);
  // The state_dict of a module without state is an empty OrderedDict.
  const isEmpty = root.entries.size === 0 && root.type === 'OrderedDict';
  if (own > 0 || isEmpty) found.push({ name: ROOT, kind: 'state_dict', value: root, tensors: own });
  for (const [key, value] of root.entries) {
    if (isTensorValue(value)) continue;
    const name = keyText(key);
    if (isOptimizer(name, value)) continue;
    if (isModuleValue(value)) found.push({ name, kind: 'module', value, tensors: 0 });
    if (!isDict(value)) continue;
    const tensors = directTensors(value);
    if (isLikely(name, tensors, value)) found.push({ name, kind: 'state_dict', value, tensors });
    for (const [innerKey, inner] of value.entries) {
      if (isTensorValue(inner)) continue;
      const path = `${name}.${keyText(innerKey)}`;
      if (isOptimizer(keyText(innerKey), inner)) continue;
      if (isModuleValue(inner)) found.push({ name: path, kind: 'module', value: inner, tensors: 0 });
      else if (isDict(inner)) {
        const count = directTensors(inner);
        if (isLikely(keyText(innerKey), count, inner)) {
          found.push({ name: path, kind: 'state_dict', value: inner, tensors: count });
        }
      }
    }
  }
  return found.length > 0 ? found : findScattered(root);
}

/** Values that are visited in search of tensors, and how deep. */
const VISITS = 4_000_000;
const DEPTH = 6;

/** Tensors below a value by the path of keys to them, in order; an optimizer among the values is left out. */
function* walkTensors(root: PickleValue, file: string, name: string): Generator<readonly [string, PickleValue]> {
  const pending: { readonly name: string; readonly depth: number; readonly value: PickleValue }[] = [
    { name, depth: 0, value: root },
  ];
  let visited = 0;
  for (let item = pending.pop(); item !== undefined; item = pending.pop()) {
    visited += 1;
    if (visited > VISITS) {
      throw new BnsumError({ code: 'LIMIT', file, place: item.name, reason: `more than ${VISITS} values` });
    }
    const { depth, value } = item;
    if (isTensorValue(value)) {
      yield [item.name, value];
      continue;
    }
    if (depth > DEPTH) continue;
    const dict = isDict(value) ? value : isReduced(value) && isDict(value.state) ? value.state : undefined;
    const below: (readonly [string, PickleValue])[] = [];
    if (dict !== undefined) for (const [key, inner] of dict.entries) below.push([keyText(key), inner]);
    else for (const [index, inner] of (itemsOf(value) ?? []).entries()) below.push([String(index), inner]);
    for (const [key, inner] of below.reverse()) {
      const plain = key.replace(/^<(.*)>$/, '$1');
      if (isNode(inner))
        pending.push({ name: item.name === '' ? plain : `${item.name}.${plain}`, depth: depth + 1, value: inner });
    }
  }
}

/** A checkpoint whose tensors lie deeper than any state_dict would: all of them together. */
function findScattered(root: PickleValue): readonly Candidate[] {
  let tensors = 0;
  for (const _ of walkTensors(root, '', '')) tensors += 1;
  return tensors > 0 ? [{ name: ROOT, kind: 'scattered', value: root, tensors }] : [];
}

export interface Choice {
  readonly chosen: Candidate;
  /** Why: 'only', 'picked', 'preferred name', 'not an average', 'whole dict'. */
  readonly reason: string;
}

/**
 * The candidate that `pick` names, else the default: the preferred names in their order, the dict itself when its own
 * tensors are most of it, else the only one left once averaged copies are set aside. Throws BnsumError NOT_FOUND for an
 * unknown pick, NOT_A_MODEL without candidates, AMBIGUOUS when nothing settles it; all name the candidates.
 */
export function chooseCandidate(candidates: readonly Candidate[], pick: string | undefined, file: string): Choice {
  const list = candidates.map((candidate) => candidate.name).join(', ');
  if (pick !== undefined) {
    const chosen = candidates.find((candidate) => candidate.name === pick);
    if (chosen !== undefined) return { chosen, reason: 'picked' };
    throw new BnsumError({
      code: 'NOT_FOUND',
      file,
      reason: `it holds no '${pick}'`,
      next: candidates.length === 0 ? 'it holds nothing that can be picked' : `pick one of ${list}`,
    });
  }
  const [first] = candidates;
  if (first === undefined) {
    throw new BnsumError({ code: 'NOT_A_MODEL', file, reason: 'it holds no tensors and no modules' });
  }
  if (candidates.length === 1) return { chosen: first, reason: 'only' };
  for (const name of PREFERRED) {
    const chosen =
      candidates.find((candidate) => candidate.name === name) ??
      candidates.find((candidate) => candidate.name.endsWith(`.${name}`) && !AVERAGED.test(candidate.name));
    if (chosen !== undefined) return { chosen, reason: 'preferred name' };
  }
  const root = candidates.find((candidate) => candidate.name === ROOT);
  if (root !== undefined && isDict(root.value) && root.tensors * 2 >= root.value.entries.size) {
    return { chosen: root, reason: 'whole dict' };
  }
  const plain = candidates.filter((candidate) => !AVERAGED.test(candidate.name));
  if (plain.length === 1 && plain[0] !== undefined) return { chosen: plain[0], reason: 'not an average' };
  throw new BnsumError({
    code: 'AMBIGUOUS',
    file,
    reason: `it holds several models: ${list}`,
    next: 'choose one with --pick NAME',
  });
}

/** Prefixes that wrappers put before every key, outermost first. */
const WRAPPERS: readonly string[] = ['_orig_mod.', 'module.', 'model.'];

/** The wrapper prefixes that all names share, in order ('module.', 'model.'); paths keep them. */
export function commonPrefixes(names: readonly string[]): readonly string[] {
  const found: string[] = [];
  let prefix = '';
  for (;;) {
    const next = WRAPPERS.find((word) => names.length > 1 && names.every((name) => name.startsWith(prefix + word)));
    if (next === undefined || found.length >= 8) return found;
    found.push(next);
    prefix += next;
  }
}

export interface CheckpointContents {
  readonly tensors: readonly RawTensor[];
  readonly modules: ReadonlyMap<string, ModuleFacts>;
  readonly versions: ReadonlyMap<string, number> | undefined;
  readonly optimizer: readonly Tensor[];
  readonly diagnostics: readonly Diagnostic[];
}

/** Reads the chosen candidate of a checkpoint, and the optimizer's tensors beside it. */
export function readCheckpoint(
  root: PickleValue,
  context: TensorContext,
  pick: string | undefined,
): CheckpointContents {
  const at = { file: context.file };
  const candidates = findCandidates(root);
  if (candidates.length === 0 && pick === undefined) throw noModel(root, context.file);
  const { chosen, reason } = chooseCandidate(candidates, pick, context.file);
  const diagnostics: Diagnostic[] = [];
  if (chosen.name !== ROOT || candidates.length > 1) {
    const names = candidates.map((candidate) => candidate.name);
    diagnostics.push(note('CANDIDATE_CHOSEN', at, { chosen: chosen.name, reason, candidates: names }));
  }
  const optimizer = readOptimizer(root, context);
  if (chosen.kind === 'module') {
    const tree = readModuleTree(chosen.value, context);
    return { ...tree, versions: undefined, optimizer, diagnostics: [...diagnostics, ...tree.diagnostics] };
  }
  const { tensors, skipped, lazy } = readTensors(chosen, context);
  if (lazy.length > 0) {
    diagnostics.push(note('WEIGHT_MISSING', at, { count: lazy.length, first: lazy.slice(0, 5), why: 'uninitialised' }));
  }
  if (skipped.length > 0) {
    diagnostics.push(note('NOT_A_TENSOR', at, { count: skipped.length, first: skipped.slice(0, 5) }));
  }
  const prefixes = commonPrefixes(tensors.map((tensor) => tensor.name));
  if (prefixes.length > 0) diagnostics.push(note('COMMON_PREFIX', at, { prefix: prefixes.join('') }));
  return {
    tensors,
    modules: new Map(),
    versions: isDict(chosen.value) ? versionsOf(chosen.value) : undefined,
    optimizer,
    diagnostics,
  };
}

function readTensors(
  { kind, value }: Candidate,
  context: TensorContext,
): { readonly tensors: readonly RawTensor[]; readonly skipped: readonly string[]; readonly lazy: readonly string[] } {
  const tensors: RawTensor[] = [];
  const skipped: string[] = [];
  const lazy: string[] = [];
  const names = new Set<string>();
  const take = (name: string, item: PickleValue): void => {
    if (!isTensorValue(item)) {
      if (isUninitialised(item)) {
        lazy.push(name);
        return;
      }
      // Packed parameters of quantised modules: a tuple of weight and bias.
      const parts = isTuple(item) && item.items.some((part) => isTensorValue(part)) ? item.items : undefined;
      if (parts === undefined) skipped.push(name);
      else for (const [index, part] of parts.entries()) if (isTensorValue(part)) take(`${name}.${index}`, part);
      return;
    }
    if (names.has(name)) {
      throw new BnsumError({
        code: 'AMBIGUOUS',
        file: context.file,
        place: name,
        reason: 'two keys that read the same',
      });
    }
    names.add(name);
    const { tensor, isParameter, requiresGrad } = readTensorValue(item, name, context);
    // A state_dict holds detached tensors: only a rebuilt Parameter, or a flag that is set, says something.
    const trainable = isParameter === true || requiresGrad === true ? requiresGrad : null;
    tensors.push({ name, tensor, isParameter, trainable });
  };
  if (kind === 'scattered') for (const [name, item] of walkTensors(value, context.file, '')) take(name, item);
  else if (isDict(value)) for (const [key, item] of value.entries) take(keyText(key), item);
  else if (isTensorValue(value)) take('tensor', value);
  else for (const [index, item] of (itemsOf(value) ?? []).entries()) take(String(index), item);
  return { tensors, skipped, lazy };
}

/** The tensors of every optimizer state in the checkpoint, named by their keys. */
function readOptimizer(root: PickleValue, context: TensorContext): readonly Tensor[] {
  if (!isDict(root)) return [];
  const tensors: Tensor[] = [];
  for (const [key, value] of root.entries) {
    if (isTensorValue(value)) continue;
    const name = keyText(key);
    if (!isOptimizer(name, value)) continue;
    for (const [path, tensor] of walkTensors(value, context.file, name)) {
      if (isTensorValue(tensor)) tensors.push(readTensorValue(tensor, path, context).tensor);
    }
  }
  return tensors;
}

function noModel(root: PickleValue, file: string): BnsumError {
  const optimizer = isDict(root) && isOptimizer('', root);
  const what = optimizer
    ? 'the state of an optimizer'
    : isReduced(root)
      ? `an object of ${typeOfObject(root) || 'an unknown class'}`
      : isDict(root)
        ? `a ${root.type} with the keys ${[...root.entries.keys()].slice(0, 8).map(keyText).join(', ') || '(none)'}`
        : `a value of ${classNameOf(root) ?? (isNode(root) ? root.kind : typeof root)}`;
  return new BnsumError({ code: 'NOT_A_MODEL', file, reason: `it holds ${what}, no tensors of a model` });
}
