import { isList, isObject, type Json, type JsonObject } from '../ir/json.ts';
import type { Dialect } from '../ir/model.ts';
import { shortest } from '../layers/decimal.ts';
import type { Family } from '../layers/family.ts';
import { withOnnxDefaults } from '../layers/onnx-defaults.ts';
import { formatFact, sameFact } from './fact.ts';

/** Attributes that notes which of them someone asked for. */
export class Asked extends Map<string, Json> {
  readonly asked: Set<string> = new Set();

  override get(key: string): Json | undefined {
    this.asked?.add(key);
    return super.get(key);
  }

  override has(key: string): boolean {
    this.asked?.add(key);
    return super.has(key);
  }
}

/** Parts of a Keras config that say nothing of what a layer computes, that follow from the tensors, or that are over. */
const KERAS_BOOKKEEPING = new Set([
  ...['name', 'trainable', 'dtype', 'autocast', 'module', 'registered_name', 'shared_object_id', 'build_config'],
  ...['batch_input_shape', 'batch_shape', 'batch_size', 'input_shape', 'input_dim', 'input_length', 'input_dtype'],
  ...['query_shape', 'key_shape', 'value_shape', 'output_shape', 'output_shape_type', 'output_shape_module'],
  ...['layers', 'layer', 'cell', 'cells', 'forward_layer', 'backward_layer', 'input_layers', 'output_layers'],
  ...['init', 'inner_init', 'forget_bias_init', 'unit_forget_bias', 'beta_init', 'gamma_init', 'weights', 'seed'],
  // How it is computed, not what.
  ...['implementation', 'unroll', 'consume_less', 'rng_type', 'synchronized', 'softmax_robust_masking'],
  ...['mode_type', 'output_mask', 'output_mask_type', 'node_indices', 'tensor_indices', 'lora_rank', 'lora_alpha'],
]);

/** Keys of which a family keeps less than the whole. */
const READ_IN_PART = new Set(['vocabulary', 'split', 'idf_weights', 'max_tokens', 'pad_to_max_tokens']);

/** Words of Keras 1 for what later releases call otherwise. */
const LATER_KEYS: ReadonlyMap<string, string> = new Map([
  ['dropout_W', 'dropout'],
  ['dropout_U', 'recurrent_dropout'],
]);

/** Defaults that one generation leaves out; null, false, 0 and nothing in a list are left out in any case. */
const DEFAULTS: readonly (readonly [key: string, value: Json, type?: string])[] = [
  ['data_format', 'channels_last'],
  ['groups', 1],
  ['dropout', 0],
  ['recurrent_dropout', 0],
  ['renorm_momentum', 0.99],
  ['oov_method', 'floormod'],
  ['value_range', [0, 255]],
  ['fill_mode', 'constant', 'Resizing'],
  ['encoding', 'utf-8'],
];

function isNothing(value: Json): boolean {
  if (value === null || value === false || value === 0 || value === '') return true;
  return isList(value) ? value.length === 0 : isObject(value) && value.size === 0;
}

function isLeftOut(type: string, key: string, value: Json): boolean {
  return (
    isNothing(value) ||
    DEFAULTS.some(([name, usual, of]) => name === key && (of ?? type) === type && sameFact(usual, value))
  );
}

/** The value in the words of every generation: scalars unwrapped, numbers shortest, long lists by their content. */
function plainFact(type: string, key: string, value: Json): Json {
  const flat = flatten(value);
  if (key === 'oov_token' && typeof flat === 'string' && /^-?\d{1,9}$/.test(flat)) return Number(flat);
  // Keras 3 spells a factor out as its range.
  if (key.endsWith('factor') && isList(flat) && flat.length === 2) {
    const [low, high] = flat;
    if (typeof low === 'number' && typeof high === 'number' && low === -high) return high;
    if (type === 'RandomContrast' && low === 0 && high !== undefined) return high;
  }
  if (isList(flat) && flat.length > LISTED) return `${flat.length} entries, ${digest(formatFact(flat))}`;
  return flat;
}

/** Longer lists, such as vocabularies, are kept by their content's digest. */
export const LISTED = 16;

function flatten(value: Json): Json {
  if (typeof value === 'number') return shortest(value);
  if (isList(value)) return value.map(flatten);
  if (!isObject(value)) return value;
  const inner = value.get('class_name') === '__tuple__' ? value.get('items') : undefined;
  if (isList(inner)) return inner.map(flatten);
  return new Map(
    [...value]
      .filter(([key]) => key !== 'module' && key !== 'registered_name' && key !== 'shared_object_id')
      .map(([key, one]) => [key, flatten(one)]),
  );
}

/** 64 bits of FNV-1a: enough to tell two texts of one file's history apart. */
export function digest(text: string): string {
  let hash = 0xcbf29ce484222325n;
  for (const byte of new TextEncoder().encode(text)) hash = BigInt.asUintN(64, (hash ^ BigInt(byte)) * 0x100000001b3n);
  return hash.toString(16).padStart(16, '0');
}

/**
 * What a layer's own config says beyond the neutral attributes, in the file's words. Which keys those are is found by
 * watching what the family asks for, so that a family that learns a key takes it from here. Values that a generation
 * fills in by itself are left out: an absent key is the default.
 */
export function configFacts(
  family: Family,
  type: string,
  attrs: JsonObject,
  dialect: Dialect,
  version: string,
  backend: string,
): JsonObject {
  if (dialect === 'onnx') return nodeFacts(family, type, attrs);
  const facts = new Map<string, Json>();
  if (attrs.size === 0 || dialect !== 'keras') return facts;
  const watched = new Asked(attrs);
  family.normalise(type, watched, dialect, version, backend);
  for (const [key, value] of attrs) {
    if (KERAS_BOOKKEEPING.has(key) || (watched.asked.has(key) && !READ_IN_PART.has(key))) continue;
    if (/_(?:initializer|regularizer|constraint)$/.test(key)) continue;
    const name = LATER_KEYS.get(key) ?? key;
    const fact = plainFact(type, name, value);
    if (!isLeftOut(type, name, fact)) facts.set(name, fact);
  }
  return facts;
}

/** What an ONNX node says beyond the neutral attributes, the standard's defaults included. */
function nodeFacts(family: Family, type: string, attrs: JsonObject): JsonObject {
  // A product without a bias is a Gemm that asks for nothing.
  const watched = new Asked(withOnnxDefaults(type === 'MatMul' ? 'Gemm' : type, attrs));
  family.normalise(type, watched, 'onnx', '', '');
  const facts = new Map<string, Json>();
  // The kernel's shape is the weight's.
  for (const [key, value] of watched) {
    if (NODE_BOOKKEEPING.has(key) || (watched.asked.has(key) && !NODE_IN_PART.has(key))) continue;
    facts.set(key, flatten(value));
  }
  return facts;
}

/** Attributes of nodes of which a family keeps less than the whole: whether both directions, which activations are usual. */
const NODE_IN_PART = new Set(['activations', 'direction']);

/** Attributes of old operator sets that stand for shapes, and settings that the families read from the weights. */
const NODE_BOOKKEEPING = new Set(['broadcast', 'axis_w', 'kernel_shape', 'hidden_size', 'transB']);

/** What an absent key stands for; null where that is not known, for an absent number may be None as well as 0. */
export function defaultOf(key: string, other: Json): Json {
  const usual = DEFAULTS.find(([name]) => name === key)?.[1];
  if (usual !== undefined) return usual;
  return typeof other === 'boolean' ? false : null;
}
