import { type Diagnostic, note, type Outcome } from '../ir/diagnostic.ts';
import { BnsumError } from '../ir/error.ts';
import { EMPTY_OBJECT, type JsonObject } from '../ir/json.ts';
import type { Kind } from '../ir/kind.ts';
import { LIMITS } from '../ir/limits.ts';
import type { Layer, NormAttrs, NormValue, Tensor, Weight, WeightClass } from '../ir/model.ts';
import type { Family } from './family.ts';
import { type Confidence, type Reading, readGroup, type Shapes } from './recognise-group.ts';
import { bufferClass, canBeTrained, holdsParameters, isContainerType, isOwnParameter } from './recognise-role.ts';
import { familyOfKind, familyOfType } from './registry.ts';

/** One entry of a state_dict. */
export interface RawTensor {
  /** The key: module path, '.', role. */
  readonly name: string;
  readonly tensor: Tensor;
  /** What the file says; null where it does not. */
  readonly isParameter: boolean | null;
  readonly trainable: boolean | null;
}

/** What a file says of one module. */
export interface ModuleFacts {
  /** 'BatchNorm2d' for torch.nn's classes, 'package.Class' for others. */
  readonly type: string;
  readonly attrs: JsonObject;
  /** PyTorch's version of the module's state. */
  readonly version?: number;
}

/** The shapes of a group, read from its tensors: a map of their own would be one more per layer. */
class GroupShapes implements Shapes {
  readonly #members: ReadonlyMap<string, RawTensor>;

  constructor(members: ReadonlyMap<string, RawTensor>) {
    this.#members = members;
  }

  get size(): number {
    return this.#members.size;
  }

  has(role: string): boolean {
    return this.#members.has(role);
  }

  get(role: string): readonly number[] | undefined {
    return this.#members.get(role)?.tensor.shape;
  }

  keys(): Iterable<string> {
    return this.#members.keys();
  }
}

/** A path that owns tensors, that the file describes, or that such a path lies below. */
interface Module {
  readonly path: string;
  /** null at the top. */
  readonly parent: Module | null;
  readonly facts: ModuleFacts | undefined;
  /** Role to tensor, in the file's order; undefined where it owns none. */
  members: Map<string, RawTensor> | undefined;
  hasChildren: boolean;
  made: boolean;
}

/**
 * Groups the tensors of a PyTorch model into layers by their keys: one Layer per module path that owns tensors or that
 * the file describes, and a container row for every path in between. Kinds come from the class where the file has it,
 * else from keys and shapes, folded into one KIND_GUESSED diagnostic per kind and confidence. A module that owns
 * tensors is never a container, so the rows that are none add up to the totals.
 * Parameters and buffers: by the file, else by the recognised layer (CLASS_INFERRED). Where neither tells (a group
 * without a reading, a role that the layer's class does not have) a floating tensor counts as a parameter
 * (CLASS_ASSUMED), one of integers as a buffer, since only floating tensors are trained. A mean and a variance alone are
 * taken for statistics, and that is said in the same way.
 */
export function recogniseLayers(
  tensors: readonly RawTensor[],
  modules: ReadonlyMap<string, ModuleFacts>,
  file: string,
): Outcome<readonly Layer[]> {
  const tree = new ModuleTree(modules);
  const owners = groupTensors(tensors, modules, tree);
  const described: Module[] = [];
  for (const path of modules.keys()) {
    const module = tree.at(path);
    if (!isPart(path, modules)) described.push(module);
  }
  const notes = makeNotes(file);
  const shared = new Map<string, NormAttrs>();
  const layers: Layer[] = [];
  const make = (module: Module): void => {
    const above: Module[] = [];
    for (let one: Module | null = module; one !== null && !one.made; one = one.parent) above.push(one);
    for (const one of above.reverse()) {
      one.made = true;
      // The root module is the Model itself; it is a row only for tensors of its own.
      if (one.path === '' && one.members === undefined) continue;
      if (layers.length >= LIMITS.layers) {
        throw new BnsumError({ code: 'LIMIT', file, reason: `more than ${LIMITS.layers} layers` });
      }
      layers.push(makeLayer(one, notes, shared));
    }
  };
  for (const module of described) make(module);
  for (const module of owners) make(module);
  return { value: layers, diagnostics: notes.diagnostics() };
}

/** The modules by path, each with those that it lies in. */
class ModuleTree {
  readonly #facts: ReadonlyMap<string, ModuleFacts>;
  readonly #byPath = new Map<string, Module>();

  constructor(facts: ReadonlyMap<string, ModuleFacts>) {
    this.#facts = facts;
  }

  /** The module of a path, made with its ancestors when it is asked for first. */
  at(path: string): Module {
    const known = this.#byPath.get(path);
    if (known !== undefined) return known;
    const missing = [path];
    let parent: Module | null = null;
    for (let dot = path.lastIndexOf('.'); dot >= 0; dot = dot === 0 ? -1 : path.lastIndexOf('.', dot - 1)) {
      const above = path.slice(0, dot);
      const found = this.#byPath.get(above);
      if (found !== undefined) {
        parent = found;
        break;
      }
      missing.push(above);
    }
    let module = this.#add(missing.pop() ?? path, parent);
    for (let next = missing.pop(); next !== undefined; next = missing.pop()) module = this.#add(next, module);
    return module;
  }

  #add(path: string, parent: Module | null): Module {
    if (parent !== null) parent.hasChildren = true;
    const facts = this.#facts.get(path);
    const module: Module = { path, parent, facts, members: undefined, hasChildren: false, made: false };
    this.#byPath.set(path, module);
    return module;
  }
}

/** MultiheadAttention's output projection is a module of its own in PyTorch and a part of the layer here. */
const PART = /^(.*?)\.?(out_proj)$/;

/** The projection that only MultiheadAttention has, as it is or re-parametrised. */
const PROJECTION =
  /^(?:(.*?)\.)?(?:parametrizations\.(?:in|q)_proj_weight\.original\d*|(?:in|q)_proj_weight(?:_orig|_v)?)$/;

function isPart(path: string, modules: ReadonlyMap<string, ModuleFacts>): boolean {
  const owner = PART.exec(path)?.[1];
  return owner !== undefined && modules.get(owner)?.type === 'MultiheadAttention';
}

/**
 * Splits keys into module path and role; parts of a module (parametrizations, out_proj) stay with it. Gives the modules
 * that own tensors, in the file's order.
 */
function groupTensors(
  tensors: readonly RawTensor[],
  modules: ReadonlyMap<string, ModuleFacts>,
  tree: ModuleTree,
): readonly Module[] {
  const owners: Module[] = [];
  const attention = new Set<string>();
  for (const { name } of tensors) {
    if (!name.includes('_proj_weight')) continue;
    const match = PROJECTION.exec(name);
    if (match !== null) attention.add(match[1] ?? '');
  }
  let last: Module | undefined;
  for (const raw of tensors) {
    // Tensors of one module follow each other.
    const owner =
      last !== undefined && isDirectly(raw.name, last.path) ? last : tree.at(ownerOf(raw.name, attention, modules));
    if (owner.members === undefined) {
      owner.members = new Map();
      owners.push(owner);
    }
    owner.members.set(owner.path === '' ? raw.name : raw.name.slice(owner.path.length + 1), raw);
    last = owner;
  }
  return owners;
}

/** Whether a key is that path, '.', and a plain role. */
function isDirectly(name: string, path: string): boolean {
  return name.lastIndexOf('.') === path.length && name.startsWith(path) && !name.includes('parametrizations.');
}

function ownerOf(name: string, attention: ReadonlySet<string>, modules: ReadonlyMap<string, ModuleFacts>): string {
  const parametrised = name.includes('parametrizations.')
    ? /^(?:(.*?)\.)?parametrizations\.[^.]+\.(?:original\d*|\d+\.[^.]+)$/.exec(name)
    : null;
  const dot = name.lastIndexOf('.');
  const path = parametrised !== null ? (parametrised[1] ?? '') : dot < 0 ? '' : name.slice(0, dot);
  const match = path.endsWith('out_proj') ? PART.exec(path) : null;
  const owner = match?.[1] ?? '';
  if (match !== null && (attention.has(owner) || modules.get(owner)?.type === 'MultiheadAttention')) return owner;
  return path;
}

function makeLayer(module: Module, notes: Notes, shared: Map<string, NormAttrs>): Layer {
  const { path, facts, members, hasChildren } = module;
  const type = facts?.type ?? '';
  const attrs = facts?.attrs ?? EMPTY_OBJECT;
  const parent = module.parent?.path ?? null;
  // Written out, not spread: a spread gives every object a shape of its own, which 100,000 layers pay for.
  const layer = (container: boolean, kind: Kind, norm: NormAttrs, weights: readonly Weight[]): Layer => ({
    path,
    parent,
    container,
    kind,
    type,
    trainable: null,
    attrs,
    norm,
    weights,
  });
  if (members === undefined) {
    const family = familyOfType('torch', type);
    if (family !== undefined && !hasChildren) {
      return layer(false, family.kind, family.normalise(type, attrs, 'torch', ''), NO_WEIGHTS);
    }
    const isModel = isContainerType(type) || (facts !== undefined && hasChildren);
    return layer(hasChildren, isModel ? 'model' : 'unknown', NOTHING, NO_WEIGHTS);
  }
  const family = familyOfType('torch', type);
  const guess = readGroup(path, new GroupShapes(members), type);
  const isOwn = family !== undefined || holdsParameters(type);
  const kind: Kind = family?.kind ?? (holdsParameters(type) ? 'unknown' : guess.kind);
  if (!isOwn && guess.kind !== 'unknown' && guess.confidence !== 'certain') {
    notes.guessed(guess.kind, guess.confidence, path);
  }
  const known = guess.kind === kind ? guess : undefined;
  return layer(false, kind, neutral(kind, type, attrs, known, shared), weightsOf(members, kind, type, isOwn, notes));
}

const NOTHING: NormAttrs = {};
const NO_WEIGHTS: readonly Weight[] = [];

function isUnset(value: NormValue | undefined): boolean {
  return value === null || value === undefined;
}

/** Attributes that say nothing of how the layer was constructed. */
const SILENT: ReadonlySet<string> = new Set(['training']);

/**
 * Neutral attributes of a layer: the family reads the file's own, and the shapes fill what those leave open. Without
 * attributes nothing is taken for a default.
 */
function neutral(
  kind: Kind,
  type: string,
  attrs: JsonObject,
  guess: Reading | undefined,
  shared: Map<string, NormAttrs>,
): NormAttrs {
  const family = familyOfKind(kind);
  if (family === undefined) return guess?.known ?? NOTHING;
  const isSilent = [...attrs.keys()].every((key) => SILENT.has(key));
  if (!isSilent) return merge(family, kind, type, attrs, guess);
  // Layers of which only shapes are known are often alike: equal ones share their attributes.
  const key = JSON.stringify([kind, type, guess?.type, guess?.known]);
  const known = shared.get(key) ?? merge(family, kind, type, EMPTY_OBJECT, guess);
  shared.set(key, known);
  return known;
}

/** Neutral attributes of a layer by what a file says of it and by the shapes of its tensors. */
export function describeLayer(kind: Kind, type: string, attrs: JsonObject, path: string, shapes: Shapes): NormAttrs {
  const guess = readGroup(path, shapes, type);
  return neutral(kind, type, attrs, guess.kind === kind ? guess : undefined, new Map());
}

function merge(family: Family, kind: Kind, type: string, attrs: JsonObject, guess: Reading | undefined): NormAttrs {
  const norm = family.normalise(type || (guess?.type ?? ''), attrs, 'torch', '');
  const known = guess?.known ?? NOTHING;
  // The tensors are the fact; only which axes a norm covers is a guess.
  const axes = known['axes'] !== undefined && !isUnset(norm['axes']) ? { axes: norm['axes'] ?? null } : NOTHING;
  // A state_dict does not say which of tanh and relu an RNN uses.
  const open = attrs.size === 0 && kind === 'rnn' ? { activation: null } : NOTHING;
  return { ...norm, ...known, ...axes, ...open };
}

/** What TensorFlow's and the first Transformers' LayerNorm call weight and bias. */
const OLD_ROLES: ReadonlyMap<string, string> = new Map([
  ['gamma', 'weight'],
  ['beta', 'bias'],
]);

function weightsOf(
  members: ReadonlyMap<string, RawTensor>,
  kind: Kind,
  type: string,
  isOwn: boolean,
  notes: Notes,
): readonly Weight[] {
  const weights: Weight[] = [];
  // PyTorch trains nothing of a quantised layer, its bias neither.
  const renames = kind === 'layer_norm' && !members.has('weight') && !members.has('bias');
  const isQuantised = members.get('weight')?.tensor.encoding.kind === 'quantised';
  for (const [role, raw] of members) {
    const buffer = bufferClass(role, members, type);
    let isParameter = isQuantised ? false : raw.isParameter;
    let weightClass: WeightClass;
    if (isParameter !== null) weightClass = isParameter ? 'weight' : (buffer ?? 'constant');
    else if (buffer !== undefined) {
      isParameter = false;
      weightClass = buffer;
      notes.inferred(false);
    } else if (kind === 'normalization') {
      // Statistics of the inputs, most likely: the file names no class that says so.
      isParameter = false;
      weightClass = 'statistic';
      notes.assumed(raw.name);
    } else {
      const isKnown = isOwn || kind !== 'unknown';
      const isOfClass = isKnown && isOwnParameter(role, members, kind, type);
      isParameter = isOfClass || canBeTrained(raw.tensor.dtype);
      weightClass = isParameter ? 'weight' : 'constant';
      if (isOfClass || (isKnown && !isParameter)) notes.inferred(isParameter);
      else notes.assumed(raw.name);
    }
    weights.push({
      role: renames ? (OLD_ROLES.get(role) ?? role) : role,
      class: weightClass,
      isParameter,
      trainable: isParameter ? raw.trainable : false,
      tensor: raw.tensor,
    });
  }
  return weights;
}

/** Examples that a folded diagnostic names. */
const EXAMPLES = 5;

interface Notes {
  guessed(kind: Kind, confidence: Confidence, path: string): void;
  inferred(isParameter: boolean): void;
  assumed(name: string): void;
  diagnostics(): readonly Diagnostic[];
}

/** Collects what was inferred, one diagnostic per kind of inference however many layers there are. */
function makeNotes(file: string): Notes {
  const guesses = new Map<string, { kind: Kind; confidence: Confidence; count: number; first: string[] }>();
  let parameters = 0;
  let buffers = 0;
  let assumed = 0;
  const assumedFirst: string[] = [];
  return {
    guessed(kind, confidence, path) {
      const key = `${kind} ${confidence}`;
      const seen = guesses.get(key) ?? { kind, confidence, count: 0, first: [] };
      guesses.set(key, seen);
      seen.count += 1;
      if (seen.first.length < EXAMPLES) seen.first.push(path);
    },
    inferred(isParameter) {
      if (isParameter) parameters += 1;
      else buffers += 1;
    },
    assumed(name) {
      assumed += 1;
      if (assumedFirst.length < EXAMPLES) assumedFirst.push(name);
    },
    diagnostics() {
      const list: Diagnostic[] = [...guesses.values()].map(({ kind, confidence, count, first }) =>
        note('KIND_GUESSED', { file }, { kind, confidence, count, first }),
      );
      if (parameters + buffers > 0) list.push(note('CLASS_INFERRED', { file }, { parameters, buffers }));
      if (assumed > 0) list.push(note('CLASS_ASSUMED', { file }, { count: assumed, first: assumedFirst }));
      return list;
    },
  };
}
