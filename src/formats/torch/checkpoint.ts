import { type Diagnostic, note } from '../../ir/diagnostic.ts';
import { BnsumError } from '../../ir/error.ts';
import type { Beside, Details, Tensor } from '../../ir/model.ts';
import type { ModuleFacts, RawTensor } from '../../layers/recognise.ts';
import { describeBeside, describeEntries, describeModules, namesByIdentity } from './module-details.ts';
import {
  isModuleValue,
  isScriptObject,
  notePacked,
  packedTensors,
  readModuleTree,
  stateOf,
  typeOfObject,
} from './module-tree.ts';
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
  /** Found where a model is seldom kept: the default only where there is no other. */
  readonly deep: boolean;
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

/** The attributes of an optimizer, pickled whole or as its state_dict. */
function optimizerOf(value: PickleValue): DictNode | undefined {
  const dict = isDict(value) ? value : stateOf(value);
  return dict?.entries.has('param_groups') === true && dict.entries.has('state') ? dict : undefined;
}

function isOptimizer(key: string, value: PickleValue, depth: number): boolean {
  if (optimizerOf(value) !== undefined) return true;
  // A name says it of what lies at the top of a checkpoint; further down it is any setting's.
  return depth <= NAMED_DEPTH && OPTIMIZER.test(key) && !isModuleValue(value);
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

/** Whether a tensor value has one element, as a loss or a score has. */
function isSingle(value: PickleValue): boolean {
  let inner: PickleValue | undefined = value;
  for (let depth = 0; depth < 8 && isReduced(inner) && isTensorValue(inner); depth += 1) {
    const args: readonly PickleValue[] = inner.args;
    const data = args[0];
    if (!isTensorValue(data)) {
      const sizes = itemsOf(isNode(data) && data.kind === 'storage' ? args[2] : args[1]);
      return sizes?.every((size) => size === 1) === true;
    }
    inner = data;
  }
  return false;
}

/** Whether no tensor that a dict or list holds directly has more than one element. */
function holdsSinglesOnly(values: Iterable<PickleValue>): boolean {
  for (const value of values) if (isTensorValue(value) && !isSingle(value)) return false;
  return true;
}

/** Values that are visited in search of models and tensors, and how deep. */
const VISITS = 4_000_000;
const DEPTH = 6;

/** How deep a state_dict is looked for, and an optimizer by its name. */
const NAMED_DEPTH = 2;

interface Survey {
  readonly candidates: Candidate[];
  readonly optimizers: { readonly name: string; readonly value: PickleValue }[];
}

/** Names and values below a dict, list, tuple or plain object; undefined for anything else. */
function* below(value: PickleValue): Generator<readonly [string, PickleValue]> {
  const dict = isDict(value) ? value : stateOf(value);
  if (dict !== undefined) {
    let index = 0;
    for (const [key, inner] of dict.entries) {
      // Tensors are passed by without a name: a state_dict has many.
      if (isNode(inner) && !isTensorValue(inner)) yield [isReduced(key) ? String(index) : keyText(key), inner];
      index += 1;
    }
    return;
  }
  for (const [index, inner] of (itemsOf(value) ?? []).entries()) {
    if (isNode(inner) && !isTensorValue(inner)) yield [String(index), inner];
  }
}

/**
 * The models and the optimizers of a checkpoint, in file order. Modules are found in dicts, lists, tuples and plain
 * objects alike; state_dicts in dicts, lists and tuples, two levels deep.
 */
function survey(root: PickleValue): Survey {
  const found: Survey = { candidates: [], optimizers: [] };
  const entered = new Set<PickleValue>();
  let visited = 0;
  const look = (value: PickleValue, name: string, key: string, depth: number, deep: boolean, plain: boolean): void => {
    visited += 1;
    if (visited > VISITS) return;
    if (isOptimizer(key, value, depth)) {
      found.optimizers.push({ name, value });
      return;
    }
    if (isModuleValue(value)) {
      found.candidates.push({ name, kind: 'module', value, tensors: 0, deep: deep || depth > NAMED_DEPTH });
      return;
    }
    if (isDict(value) && depth > 0 && depth <= NAMED_DEPTH && !plain) {
      const tensors = directTensors(value);
      // Below a list, one element each: a history of losses.
      const isHistory = deep && holdsSinglesOnly(value.entries.values());
      if (isLikely(key, tensors, value) && !isHistory) {
        found.candidates.push({ name, kind: 'state_dict', value, tensors, deep });
      }
    }
    if (depth >= DEPTH) return;
    if (depth >= NAMED_DEPTH) {
      if (entered.has(value)) return;
      entered.add(value);
    }
    const isObject = isReduced(value);
    const isDeep = deep || (depth > 0 && !isDict(value));
    for (const [inner, item] of below(value)) {
      look(item, name === '' ? inner : `${name}.${inner}`, inner, depth + 1, isDeep, plain || isObject);
    }
  };
  look(root, '', '', 0, false, false);
  const usual = new Set(found.candidates.filter(({ deep }) => !deep).map(({ value }) => value));
  const candidates = found.candidates.filter(({ deep, value }) => !deep || !usual.has(value));
  return { candidates, optimizers: found.optimizers };
}

/** Everything in a checkpoint that can be read as a model, in file order. */
function candidatesOf(root: PickleValue, { candidates }: Survey): readonly Candidate[] {
  const whole = (kind: Candidate['kind'], tensors: number): Candidate => {
    return { name: ROOT, kind, value: root, tensors, deep: false };
  };
  if (isModuleValue(root)) return [whole('module', 0)];
  if (isTensorValue(root)) return [whole('tensors', 1)];
  if (optimizerOf(root) !== undefined) return [];
  const values = isDict(root) ? root.entries : itemsOf(root);
  if (values !== undefined) {
    const own = isDict(root) ? directTensors(root) : countTensors(values.values());
    // The state_dict of a module without state is an empty OrderedDict.
    const isEmpty = isDict(root) && root.entries.size === 0 && root.type === 'OrderedDict';
    // Scalars beside a model are its loss and its score.
    const isAside = candidates.length > 0 && holdsSinglesOnly(values.values());
    if ((own > 0 && !isAside) || isEmpty) return [whole(isDict(root) ? 'state_dict' : 'tensors', own), ...candidates];
  }
  // A callback's best score, under no name that models have, is no model beside one.
  const likely = candidates.filter(
    ({ kind, name, value }) =>
      kind !== 'state_dict' ||
      PREFERRED.includes(name.slice(name.lastIndexOf('.') + 1)) ||
      !isDict(value) ||
      !holdsSinglesOnly(value.entries.values()),
  );
  if (likely.length > 0) return likely;
  return candidates.length > 0 ? candidates : findScattered(root);
}

function countTensors(values: Iterable<PickleValue>): number {
  let count = 0;
  for (const value of values) if (isTensorValue(value)) count += 1;
  return count;
}

/**
 * Tensors below a value by the path of keys to them, in order. Modules are left out, which have tables of their own, and
 * so are optimizers, unless the value itself is (or holds) what is read as one.
 */
function* walkTensors(
  root: PickleValue,
  file: string,
  name: string,
  what: 'model' | 'optimizer',
): Generator<readonly [string, PickleValue]> {
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
    if (depth > DEPTH || isModuleValue(value)) continue;
    const inside: (readonly [string, PickleValue])[] = [];
    for (const [key, inner] of entriesBelow(value)) {
      const isApart = what === 'model' && !isTensorValue(inner) && isOptimizer(key, inner, depth + 1);
      if (isNode(inner) && !isApart) inside.push([key, inner]);
    }
    for (const [key, inner] of inside.reverse()) {
      const plain = key.replace(/^<(.*)>$/, '$1');
      pending.push({ name: item.name === '' ? plain : `${item.name}.${plain}`, depth: depth + 1, value: inner });
    }
  }
}

function* entriesBelow(value: PickleValue): Generator<readonly [string, PickleValue]> {
  // A pickled optimizer holds the model's parameters in its groups, and they are not its own.
  const held = isDict(value) ? undefined : optimizerOf(value)?.entries.get('state');
  if (held !== undefined) {
    yield ['state', held];
    return;
  }
  const dict = isDict(value) ? value : isReduced(value) && isDict(value.state) ? value.state : undefined;
  if (dict === undefined) {
    for (const [index, inner] of (itemsOf(value) ?? []).entries()) yield [String(index), inner];
    return;
  }
  let index = 0;
  for (const [key, inner] of dict.entries) {
    // The state of a pickled optimizer is keyed by the parameters themselves.
    yield [isReduced(key) ? String(index) : keyText(key), inner];
    index += 1;
  }
}

/** A checkpoint whose tensors lie deeper than any state_dict would: all of them together. */
function findScattered(root: PickleValue): readonly Candidate[] {
  let tensors = 0;
  for (const _ of walkTensors(root, '', '', 'model')) tensors += 1;
  return tensors > 0 ? [{ name: ROOT, kind: 'scattered', value: root, tensors, deep: false }] : [];
}

export interface Choice {
  readonly chosen: Candidate;
  /** Why: 'only', 'picked', 'preferred name', 'not an average', 'whole dict'. */
  readonly reason: string;
}

/**
 * The candidate that `pick` names, else the default, deep ones only where there are no others: the preferred names in
 * their order, the dict itself when its own tensors are most of it, else the only one left once averaged copies are set aside. Throws BnsumError NOT_FOUND for an
 * unknown pick, NOT_A_MODEL without candidates, AMBIGUOUS when nothing settles it; all name the candidates.
 */
export function chooseCandidate(all: readonly Candidate[], pick: string | undefined, file: string): Choice {
  if (pick !== undefined) {
    const list = all.map((candidate) => candidate.name).join(', ');
    const chosen = all.find((candidate) => candidate.name === pick);
    if (chosen !== undefined) return { chosen, reason: 'picked' };
    throw new BnsumError({
      code: 'NOT_FOUND',
      file,
      reason: `it holds no '${pick}'`,
      next: all.length === 0 ? 'it holds nothing that can be picked' : `pick one of ${list}`,
    });
  }
  const usual = all.filter((candidate) => !candidate.deep);
  const candidates = usual.length > 0 ? usual : all;
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
    reason: `it holds several models: ${candidates.map((candidate) => candidate.name).join(', ')}`,
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
  /** Buffers that a module keeps out of its state; absent for a state_dict, which cannot tell. */
  readonly constants?: readonly Tensor[];
  readonly details?: () => Details;
  readonly beside?: () => ReadonlyMap<string, Beside>;
}

/**
 * What lies beside the chosen candidate, from the top of the file down to it; optimizers are apart. Only these values are
 * kept for later: a state_dict is read by then.
 */
function besideOf(root: PickleValue, chosen: Candidate): readonly (readonly [string, PickleValue])[] {
  if (chosen.kind === 'scattered') return [['values', root]];
  const found: (readonly [string, PickleValue])[] = [];
  let value: PickleValue | undefined = chosen.name === ROOT ? undefined : root;
  let prefix = '';
  for (let depth = 1; value !== undefined && value !== chosen.value && depth <= DEPTH + 1; depth += 1) {
    let below: PickleValue | undefined;
    const before: string = prefix;
    for (const [key, inner] of entriesIn(value)) {
      const name = before + key;
      if (name === chosen.name || chosen.name.startsWith(`${name}.`)) {
        below = inner;
        prefix = `${name}.`;
      } else if (!isOptimizer(key, inner, depth)) found.push([name, inner]);
    }
    value = below;
  }
  return found;
}

/** Every entry of a dict, list, tuple or plain object by the name that `below` gives it. */
function* entriesIn(value: PickleValue): Generator<readonly [string, PickleValue]> {
  const dict = isDict(value) ? value : stateOf(value);
  const entries: Iterable<readonly [PickleValue, PickleValue]> = dict?.entries ?? (itemsOf(value) ?? []).entries();
  let index = 0;
  for (const [key, inner] of entries) {
    yield [dict === undefined || isReduced(key) ? String(index) : keyText(key), inner];
    index += 1;
  }
}

// What is worked out later is made in functions of its own: a closure keeps whatever its neighbours use alive, which is
// every tensor of a large state_dict.

function noDetails(): Details {
  return { facts: new Map(), constants: [] };
}

function laterEntries(
  entries: readonly (readonly [string, PickleValue])[],
  tensors: readonly RawTensor[],
  context: TensorContext,
): () => Details {
  return () => describeEntries(entries, namesByIdentity(tensors), context);
}

function laterModules(
  modules: Parameters<typeof describeModules>[0],
  tensors: readonly RawTensor[],
  context: TensorContext,
): () => Details {
  return () => describeModules(modules, namesByIdentity(tensors), context);
}

function laterBeside(
  entries: readonly (readonly [string, PickleValue])[],
  context: TensorContext,
): () => ReadonlyMap<string, Beside> {
  return () => describeBeside(entries, context);
}

/** Reads the chosen candidate of a checkpoint, and the optimizer's tensors beside it. */
export function readCheckpoint(
  root: PickleValue,
  context: TensorContext,
  pick: string | undefined,
): CheckpointContents {
  const at = { file: context.file };
  const surveyed = survey(root);
  const candidates = candidatesOf(root, surveyed);
  if (candidates.length === 0 && pick === undefined) throw noModel(root, context.file);
  const { chosen, reason } = chooseCandidate(candidates, pick, context.file);
  const diagnostics: Diagnostic[] = [];
  if (chosen.name !== ROOT || candidates.length > 1) {
    const names = candidates.map((candidate) => candidate.name);
    diagnostics.push(note('CANDIDATE_CHOSEN', at, { chosen: chosen.name, reason, candidates: names }));
  }
  const optimizer = readOptimizer(surveyed, context);
  const aside = besideOf(root, chosen);
  const beside = aside.length === 0 ? {} : { beside: laterBeside(aside, context) };
  if (chosen.kind === 'module') {
    const { pickled, ...tree } = readModuleTree(chosen.value, context);
    return {
      ...tree,
      versions: undefined,
      optimizer,
      diagnostics: [...diagnostics, ...tree.diagnostics],
      details: laterModules(pickled, tree.tensors, context),
      ...beside,
    };
  }
  const { tensors, skipped: others, lazy, packed } = readTensors(chosen, context);
  const skipped = others.map(([name]) => name);
  if (packed.length > 0) diagnostics.push(notePacked(packed, context.file));
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
    details: others.length === 0 ? noDetails : laterEntries(others, tensors, context),
    ...beside,
  };
}

function readTensors(
  { kind, value }: Candidate,
  context: TensorContext,
): Readonly<Record<'lazy' | 'packed', readonly string[]>> & {
  readonly tensors: readonly RawTensor[];
  /** Entries that are no tensors and hold no packed ones. */
  readonly skipped: readonly (readonly [string, PickleValue])[];
} {
  const tensors: RawTensor[] = [];
  const skipped: (readonly [string, PickleValue])[] = [];
  const lazy: string[] = [];
  const packed: string[] = [];
  // The keys of a dict are distinct; their texts are, as long as each is the key itself.
  let distinct = isDict(value);
  const take = (name: string, item: PickleValue): void => {
    if (!isTensorValue(item)) {
      if (isUninitialised(item)) {
        lazy.push(name);
        return;
      }
      // Packed parameters of quantised modules: a tuple of weight and bias, or an object of C++.
      const parts = isTuple(item) || isScriptObject(item) ? packedTensors(name, item) : [];
      if (parts.length === 0) skipped.push([name, item]);
      else distinct = false;
      for (const [path, part] of parts) {
        packed.push(path);
        const { tensor } = readTensorValue(part, path, context);
        tensors.push({ name: path, tensor, isParameter: false, trainable: false });
      }
      return;
    }
    const { tensor, isParameter, requiresGrad } = readTensorValue(item, name, context);
    // A state_dict holds detached tensors: only a rebuilt Parameter, or a flag that is set, says something.
    const trainable = isParameter === true || requiresGrad === true ? requiresGrad : null;
    tensors.push({ name, tensor, isParameter, trainable });
  };
  if (kind === 'scattered') for (const [name, item] of walkTensors(value, context.file, '', 'model')) take(name, item);
  else if (isDict(value)) {
    for (const [key, item] of value.entries) {
      if (typeof key !== 'string') distinct = false;
      take(keyText(key), item);
    }
  } else if (isTensorValue(value)) take('tensor', value);
  else for (const [index, item] of (itemsOf(value) ?? []).entries()) take(String(index), item);
  if (!distinct) requireDistinctNames(tensors, context.file);
  return { tensors, skipped, lazy, packed };
}

function requireDistinctNames(tensors: readonly RawTensor[], file: string): void {
  const names = new Set<string>();
  for (const { name } of tensors) {
    if (names.has(name)) {
      throw new BnsumError({ code: 'AMBIGUOUS', file, place: name, reason: 'two keys that read the same' });
    }
    names.add(name);
  }
}

/** The tensors of every optimizer in the checkpoint, named by their keys. */
function readOptimizer({ optimizers }: Survey, context: TensorContext): readonly Tensor[] {
  const tensors: Tensor[] = [];
  for (const { name, value } of optimizers) {
    for (const [path, tensor] of walkTensors(value, context.file, name, 'optimizer')) {
      if (isTensorValue(tensor)) tensors.push(readTensorValue(tensor, path, context).tensor);
    }
  }
  return tensors;
}

function noModel(root: PickleValue, file: string): BnsumError {
  const optimizer = isDict(root) && optimizerOf(root) !== undefined;
  const what = optimizer
    ? 'the state of an optimizer'
    : isReduced(root)
      ? `an object of ${typeOfObject(root) || 'an unknown class'}`
      : root === null
        ? 'nothing (None)'
        : isDict(root) && root.entries.size === 0
          ? `an empty ${root.type}`
          : isDict(root)
            ? `a ${root.type} with the keys ${[...root.entries.keys()].slice(0, 8).map(keyText).join(', ')}`
            : `a value of ${classNameOf(root) ?? (isNode(root) ? root.kind : typeof root)}`;
  return new BnsumError({ code: 'NOT_A_MODEL', file, reason: `it holds ${what}, no tensors of a model` });
}
