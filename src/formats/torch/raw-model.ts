import type { Diagnostic } from '../../ir/diagnostic.ts';
import type { Json, JsonObject } from '../../ir/json.ts';
import type { Beside, Details, Producer, Tensor } from '../../ir/model.ts';
import type { ModuleFacts, RawTensor } from '../../layers/recognise.ts';
import { type DictNode, isGlobal, isNode, type PickleValue } from './pickle-value.ts';

/** What every torch container comes down to, before tensors are grouped into layers. */
export interface RawModel {
  readonly format: string;
  readonly producer: Producer;
  /** In the file's order; names are the state_dict's keys. */
  readonly tensors: readonly RawTensor[];
  /** Module path to what the file says of it; empty for a bare state_dict. */
  readonly modules: ReadonlyMap<string, ModuleFacts>;
  /** state_dict._metadata: module path to version. */
  readonly versions: ReadonlyMap<string, number> | undefined;
  readonly optimizer: readonly Tensor[];
  readonly diagnostics: readonly Diagnostic[];
  readonly extra: ReadonlyMap<string, string>;
  /** false: every tensor has a storage of its own, as in nearly every large file. */
  readonly sharesStorages?: boolean;
  readonly constants?: readonly Tensor[];
  readonly program?: ReadonlyMap<string, () => string>;
  readonly details?: () => Details;
  readonly beside?: () => ReadonlyMap<string, Beside>;
}

/** A dict key as a name: text as it is, anything else between angle brackets so that 3 and '3' differ. */
export function keyText(key: PickleValue): string {
  if (typeof key === 'string') return key;
  if (key === null) return '<None>';
  if (key instanceof Uint8Array) return `<${key.length} bytes>`;
  if (!isNode(key)) return `<${key}>`;
  if (key.kind === 'float') return `<${key.value}>`;
  if (key.kind === 'global') return `<${key.module}.${key.name}>`;
  return key.kind === 'tuple' ? `<tuple of ${key.items.length}>` : `<${key.kind}>`;
}

/** `_metadata` of a state_dict: prefix to version; undefined when it has none. */
export function versionsOf(dict: DictNode): ReadonlyMap<string, number> | undefined {
  const state = dict.state;
  if (!isNode(state) || state.kind !== 'dict') return undefined;
  const metadata = state.entries.get('_metadata');
  if (!isNode(metadata) || metadata.kind !== 'dict') return undefined;
  const versions = new Map<string, number>();
  for (const [prefix, facts] of metadata.entries) {
    if (typeof prefix !== 'string' || !isNode(facts) || facts.kind !== 'dict') continue;
    const version = facts.entries.get('version');
    if (typeof version === 'number') versions.set(prefix, version);
  }
  return versions;
}

/** Nodes that one attribute may hold before it is left out: attributes are settings, not data. */
const ATTRIBUTE_NODES = 1_000;

/** A module's attribute as JSON; undefined for what is no setting (tensors, objects, bytes, long or deep values). */
export function attributeJson(value: PickleValue): Json | undefined {
  let left = ATTRIBUTE_NODES;
  const convert = (item: PickleValue, depth: number): Json | undefined => {
    left -= 1;
    if (left < 0 || depth > 8) return undefined;
    if (item instanceof Uint8Array) return undefined;
    if (!isNode(item)) return item;
    if (item.kind === 'float') return item.value;
    if (isGlobal(item)) return item.module === 'torch' ? item.name : `${item.module}.${item.name}`;
    if (item.kind === 'list' || item.kind === 'tuple') {
      const list: Json[] = [];
      for (const inner of item.items) {
        const json = convert(inner, depth + 1);
        if (json === undefined) return undefined;
        list.push(json);
      }
      return list;
    }
    if (item.kind !== 'dict') return undefined;
    const object = new Map<string, Json>();
    for (const [key, inner] of item.entries) {
      const json = convert(inner, depth + 1);
      if (typeof key !== 'string' || json === undefined) return undefined;
      object.set(key, json);
    }
    return object;
  };
  return convert(value, 0);
}

/** Attributes of a module in the file's order, private ones and non-settings left out. */
export function attributesOf(state: DictNode): JsonObject {
  const attrs = new Map<string, Json>();
  for (const [key, value] of state.entries) {
    if (typeof key !== 'string' || key.startsWith('_')) continue;
    const json = attributeJson(value);
    if (json !== undefined) attrs.set(key, json);
  }
  return attrs;
}
