import { BnsumError } from '../../ir/error.ts';
import type { Variable } from '../../layers/family.ts';
import type { LayerSpec } from './architecture.ts';
import {
  type Assignment,
  assignUnknown,
  assignVariable,
  type Discord,
  refuseDiscord,
  variablesOf,
} from './assignment.ts';
import { type Hdf5Dataset, type Hdf5File, joinPath, textAttribute } from './hdf5.ts';
import type { InputShapes } from './inputs.ts';

/**
 * Weights of `.keras` and `.weights.h5`: `<object>/vars/0,1,…` without names. An object's place follows from its class and
 * from how many of that class stand before it; since 3.6 a `name` beside the arrays tells it outright.
 */
export interface VariableStore {
  readonly label: string;
  /** Object path ('layers/dense') to its arrays in order. */
  readonly arrays: ReadonlyMap<string, readonly Hdf5Dataset[]>;
  /** Object path to the layer's name, where the file has it. */
  readonly names: ReadonlyMap<string, string>;
  /** Object path to the objects directly below it. */
  readonly below: ReadonlyMap<string, readonly string[]>;
  /** Paths of tables of lookup layers, which are no variables. */
  readonly tables: readonly string[];
}

/** Folders that hold a model's layers: of Keras 2.15 and 3, and of 2.11 to 2.14. */
const FOLDERS = ['layers', '_layer_checkpoint_dependencies'];
/** State that is no part of the model. */
const APART = new Set(['optimizer', 'metrics', '_metrics']);
/**
 * What layers of preprocessing (StringLookup, TextVectorization) save beside no variable: the config holds it too, and
 * Keras counts it as nothing.
 */
const LOOKUP_TABLES = new Set(['idf_weights']);

/** Reads the objects of one or several files (shards). Throws MALFORMED for keys that are no numbers in a row. */
export function readStore(files: readonly Hdf5File[], label: string): VariableStore {
  const found = new Map<string, Map<number, Hdf5Dataset>>();
  const names = new Map<string, string>();
  const below = new Map<string, Set<string>>();
  const tables: string[] = [];
  const note = (object: string): void => {
    for (let path = object; path !== ''; ) {
      const parent = path.includes('/') ? path.slice(0, path.lastIndexOf('/')) : '';
      const set = below.get(parent);
      if (set?.has(path)) return;
      if (set === undefined) below.set(parent, new Set([path]));
      else set.add(path);
      path = parent;
    }
  };
  for (const file of files) {
    for (const group of file.groups.values()) {
      const path = unixPath(group.path);
      const object = objectOf(path);
      if (object === undefined) continue;
      note(object);
      const name = textAttribute(group, 'name');
      if (name !== undefined) names.set(object, name);
      if (!found.has(object)) found.set(object, new Map());
    }
    for (const dataset of file.datasets.values()) {
      const path = unixPath(dataset.path);
      const cut = path.lastIndexOf('/');
      const object = objectOf(path.slice(0, Math.max(cut, 0)));
      const key = path.slice(cut + 1);
      const position = Number(key);
      if (object !== undefined && LOOKUP_TABLES.has(key)) {
        tables.push(path);
        continue;
      }
      if (object === undefined || !/^\d+$/.test(key)) {
        throw malformed(label, path, 'this is not where Keras puts an array');
      }
      note(object);
      const arrays = found.get(object) ?? new Map<number, Hdf5Dataset>();
      found.set(object, arrays);
      if (arrays.has(position)) throw malformed(label, path, 'the file holds it twice');
      arrays.set(position, dataset);
    }
  }
  const arrays = new Map<string, readonly Hdf5Dataset[]>();
  for (const [object, byPosition] of found) {
    const list: Hdf5Dataset[] = [];
    for (let position = 0; position < byPosition.size; position++) {
      const dataset = byPosition.get(position);
      if (dataset === undefined) throw malformed(label, joinPath(object, 'vars'), `array ${position} is missing`);
      list.push(dataset);
    }
    arrays.set(object, list);
  }
  return { label, arrays, names, below: new Map([...below].map(([path, set]) => [path, [...set]])), tables };
}

function malformed(file: string, place: string, reason: string): BnsumError {
  return new BnsumError({ code: 'MALFORMED', file, place, reason });
}

/** Keras 2.12 to 2.15 on Windows wrote backslashes into group names. */
function unixPath(path: string): string {
  return path.replaceAll('\\', '/');
}

/** 'layers/dense/vars' → 'layers/dense'; 'vars' → ''. */
function objectOf(path: string): string | undefined {
  if (path === 'vars') return '';
  return path.endsWith('/vars') ? path.slice(0, -'/vars'.length) : undefined;
}

/** Whether an object belongs to the optimizer or the metrics. */
export function isApart(object: string): boolean {
  return APART.has(object.split('/')[0] ?? '');
}

/** The name that Keras derives from a class: 'Conv2DTranspose' → 'conv2d_transpose'. */
export function snakeCase(type: string): string {
  return type
    .replace(/\W+/g, '')
    .replace(/(.)([A-Z][a-z]+)/g, '$1_$2')
    .replace(/([a-z])([A-Z])/g, '$1_$2')
    .toLowerCase();
}

/** Finds every weight of `root`'s layers; `places` takes the layer's path by its object. Throws MISMATCH where config and arrays do not agree. */
export function assignPositional(
  store: VariableStore,
  root: LayerSpec,
  inputs: InputShapes,
  unbuilt: boolean,
  places?: Map<string, string>,
): Assignment {
  const assignment: Assignment = new Map();
  const discord: Discord = { missing: [], unexpected: [] };
  const used = new Set<string>();
  const stack: { spec: LayerSpec; object: string }[] = [{ spec: root, object: '' }];
  for (let next = stack.pop(); next !== undefined; next = stack.pop()) {
    const { spec, object } = next;
    places?.set(object, spec.path);
    if (spec.form === 'sequential' || spec.form === 'functional') {
      for (const dataset of store.arrays.get(object) ?? []) {
        assignUnknown(assignment, spec.path, dataset, dataset.path, `variable_${positionOf(dataset)}`);
      }
      used.add(object);
      const below = placesOf(store, spec, object);
      for (const child of [...spec.children].reverse()) {
        const place = below.get(child);
        if (place !== undefined) stack.push({ spec: child, object: place });
      }
      continue;
    }
    assignLayer(store, spec, object, { assignment, discord, used, inputs });
    for (const child of [...spec.children].reverse())
      stack.push({ spec: child, object: joinPath(object, child.saved) });
  }
  for (const [object, arrays] of store.arrays) {
    if (used.has(object) || isApart(object) || arrays.length === 0) continue;
    discord.unexpected.push(joinPath(object, 'vars'));
  }
  const empty = [...assignment.values()].every((list) => list.length === 0);
  if (!(unbuilt && empty && discord.unexpected.length === 0)) refuseDiscord(store.label, discord);
  return assignment;
}

function positionOf(dataset: Hdf5Dataset): string {
  return dataset.path.slice(dataset.path.lastIndexOf('/') + 1);
}

interface Progress {
  readonly assignment: Assignment;
  readonly discord: Discord;
  readonly used: Set<string>;
  readonly inputs: InputShapes;
}

function assignLayer(store: VariableStore, spec: LayerSpec, object: string, progress: Progress): void {
  const { assignment, discord, used, inputs } = progress;
  const variables = variablesOf(spec, inputs)?.filter((variable) => variable.legacyOnly !== true);
  if (variables === undefined) {
    // A class that we do not know: everything below it is its own.
    for (const below of objectsFrom(store, object)) {
      used.add(below);
      const at = below === object ? '' : `${below.slice(object.length + 1)}/`;
      for (const dataset of store.arrays.get(below) ?? []) {
        assignUnknown(assignment, spec.path, dataset, dataset.path, `${at}variable_${positionOf(dataset)}`);
      }
    }
    return;
  }
  const byPlace = new Map<string, Variable[]>([['', []]]);
  for (const variable of variables) {
    const list = byPlace.get(variable.at);
    if (list === undefined) byPlace.set(variable.at, [variable]);
    else list.push(variable);
  }
  for (const [at, wanted] of byPlace) {
    const place = spelledPlace(store, object, at);
    const arrays = store.arrays.get(place) ?? [];
    used.add(place);
    for (const [position, variable] of wanted.entries()) {
      const dataset = arrays[position];
      if (dataset === undefined) discord.missing.push(`${spec.path} ${variable.role}`);
      else if (variable.copyOf === undefined) {
        assignVariable(assignment, store.label, spec, variable, dataset, dataset.path);
      }
    }
    for (const dataset of arrays.slice(wanted.length)) discord.unexpected.push(dataset.path);
  }
}

/** Attributes were private in early releases of Keras 3: 'query_dense' was '_query_dense'. */
function spelledPlace(store: VariableStore, object: string, at: string): string {
  const plain = joinPath(object, at);
  if (at === '' || store.arrays.has(plain)) return plain;
  const hidden = joinPath(object, at.startsWith('_') ? at.slice(1) : `_${at}`);
  return store.arrays.has(hidden) ? hidden : plain;
}

/** An object and all below it. */
function objectsFrom(store: VariableStore, object: string): readonly string[] {
  const found: string[] = [];
  const stack = [object];
  for (let next = stack.pop(); next !== undefined; next = stack.pop()) {
    if (store.arrays.has(next)) found.push(next);
    stack.push(...[...(store.below.get(next) ?? [])].sort().reverse());
  }
  return found;
}

/** Whether anything below an object holds arrays. */
function holdsArrays(store: VariableStore, object: string): boolean {
  return objectsFrom(store, object).some((path) => (store.arrays.get(path)?.length ?? 0) > 0);
}

/** Where each layer of a Sequential or functional model lies. */
function placesOf(store: VariableStore, model: LayerSpec, object: string): ReadonlyMap<LayerSpec, string> {
  const folder = FOLDERS.map((name) => joinPath(object, name)).find((path) => store.below.has(path));
  const places = new Map<LayerSpec, string>();
  const base = folder ?? joinPath(object, 'layers');
  const saved = model.children.filter((child) => child.form !== 'operation');
  const named = namedPlaces(store, base);
  const byClass = new Map<string, LayerSpec[]>();
  for (const child of saved) {
    const given = named.get(child.name);
    if (given !== undefined) places.set(child, given);
    const word = snakeCase(child.type);
    const list = byClass.get(word);
    if (list === undefined) byClass.set(word, [child]);
    else list.push(child);
  }
  for (const [word, children] of byClass) {
    if (children.every((child) => places.has(child))) continue;
    const counted = children.map((_, index) => joinPath(base, index === 0 ? word : `${word}_${index}`));
    const present = counters(store, base, word);
    // 2.12 and 2.13 met every layer with weights twice, so that the numbers in the file have gaps: then their order counts.
    const owners = children.filter(ownsArrays);
    const gaps = present.some((path) => !counted.includes(path)) && present.length === owners.length;
    for (const [index, child] of children.entries()) {
      if (places.has(child)) continue;
      const place = gaps ? present[owners.indexOf(child)] : counted[index];
      if (place !== undefined) places.set(child, place);
    }
  }
  return places;
}

function ownsArrays(spec: LayerSpec): boolean {
  const variables = variablesOf(spec);
  if (spec.form === 'layer' && variables?.length === 0) return false;
  return spec.children.length === 0 || (variables?.length ?? 0) > 0 || spec.children.some(ownsArrays);
}

/** Objects of one class below a folder that hold arrays, by their number. */
function counters(store: VariableStore, base: string, word: string): readonly string[] {
  const found: { path: string; count: number }[] = [];
  for (const path of store.below.get(base) ?? []) {
    const last = path.slice(base.length + 1);
    const suffix = last === word ? '0' : last.startsWith(`${word}_`) ? last.slice(word.length + 1) : '';
    if (/^\d+$/.test(suffix) && holdsArrays(store, path)) found.push({ path, count: Number(suffix) });
  }
  return found.sort((left, right) => left.count - right.count).map(({ path }) => path);
}

/** Layer name to object, where the file has the names and no two are equal. */
function namedPlaces(store: VariableStore, base: string): ReadonlyMap<string, string> {
  const places = new Map<string, string>();
  const twice = new Set<string>();
  for (const path of store.below.get(base) ?? []) {
    const name = store.names.get(path);
    if (name === undefined) continue;
    if (places.has(name)) twice.add(name);
    places.set(name, path);
  }
  for (const name of twice) places.delete(name);
  return places;
}
