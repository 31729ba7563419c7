import { BnsumError } from '../../ir/error.ts';
import {
  booleanAt,
  EMPTY_OBJECT,
  isList,
  isObject,
  type Json,
  type JsonObject,
  listAt,
  objectAt,
  stringAt,
} from '../../ir/json.ts';
import type { Kind } from '../../ir/kind.ts';
import { LIMITS } from '../../ir/limits.ts';
import type { NormAttrs, Shape } from '../../ir/model.ts';
import { isBelow } from '../../layers/attribute.ts';
import type { Family } from '../../layers/family.ts';
import { familyOfType } from '../../layers/registry.ts';

/** A layer of the config, before its weights are found. Nested models and wrappers hold others. */
export interface LayerSpec {
  /** In its own model: unique there. */
  readonly name: string;
  /** Names from the root on, joined by '/'; wrappers name their inner layers by attribute ('forward_layer'). */
  readonly path: string;
  readonly type: string;
  /** Python module of the class, '' when the config does not say. */
  readonly module: string;
  /**
   * 'sequential' and 'functional' models hold layers and a graph; a 'subclassed' one is known by its class alone; a
   * 'wrapper' holds inner layers; an 'operation' is a call without a layer.
   */
  readonly form: 'layer' | 'sequential' | 'functional' | 'subclassed' | 'wrapper' | 'operation';
  readonly kind: Kind;
  readonly family: Family | undefined;
  readonly attrs: JsonObject;
  readonly norm: NormAttrs;
  /** The layer's own flag; null when the config has none. */
  readonly trainable: boolean | null;
  /** Input shapes that the config states (build_config, batch_shape); null when it does not. */
  readonly inputs: readonly Shape[] | null;
  /** Those of build_config alone, which Keras recorded when it made the variables (batch_input_shape may be stale). */
  readonly buildInputs: readonly Shape[] | null;
  /** Wrappers' inner layers: sub-object in `.weights.h5`. '' for others. */
  readonly saved: string;
  readonly children: readonly LayerSpec[];
  /** A Sequential's InputLayer, which Keras counts among the layers of the config and not of the model; {} without one. */
  readonly entry: JsonObject;
  readonly inbound: readonly Json[];
  /** Models: where values come in and go out, as the config spells it. */
  readonly inputLayers: Json;
  readonly outputLayers: Json;
}

export interface Generation {
  /** As the file states it: '1.2.2', '2.15.0', '3.15.1'; '' when it does not. */
  readonly version: string;
  readonly backend: string;
}

/** What the parser knows while it walks down. */
interface Context extends Generation {
  readonly file: string;
  count: number;
}

/** Reads `{class_name, config}` of a model. `names` are those of the layers in the weights, for configs without names. */
export function parseArchitecture(
  config: Json,
  file: string,
  generation: Generation,
  names: readonly string[] = [],
): LayerSpec {
  const context: Context = { ...generation, file, count: 0 };
  if (!isObject(config) || stringAt(config, 'class_name') === undefined) {
    throw malformed(file, '/', 'the config names no class');
  }
  return parseEntry(config, { context, parentPath: '', depth: 0, name: '', saved: '', names, root: true });
}

interface Where {
  readonly context: Context;
  readonly parentPath: string;
  readonly depth: number;
  /** Used when the entry has no name of its own. */
  readonly name: string;
  /** Set for a wrapper's inner layer, whose place in the path is its attribute. */
  readonly at?: string;
  readonly saved: string;
  readonly names?: readonly string[];
  readonly root?: boolean;
}

function malformed(file: string, place: string, reason: string): BnsumError {
  return new BnsumError({ code: 'MALFORMED', file, place, reason });
}

function parseEntry(entry: JsonObject, where: Where): LayerSpec {
  const { context, depth } = where;
  const type = stringAt(entry, 'class_name') ?? '';
  const inner = entry.get('config');
  const attrs = isObject(inner) ? inner : EMPTY_OBJECT;
  const name = stringAt(entry, 'name') ?? stringAt(attrs, 'name') ?? where.name;
  const path = where.root === true ? '' : joinNames(where.parentPath, where.at ?? name);
  if (depth > LIMITS.moduleDepth) throw limit(context.file, path, `models nest deeper than ${LIMITS.moduleDepth}`);
  context.count++;
  if (context.count > LIMITS.layers) throw limit(context.file, path, `more than ${LIMITS.layers} layers`);
  if (type === '') throw malformed(context.file, path, 'a layer without class_name');
  const module = stringAt(entry, 'module') ?? '';
  const shared = {
    name,
    path,
    type,
    module,
    attrs,
    trainable: booleanAt(attrs, 'trainable') ?? null,
    inputs: inputShapesOf(entry, attrs),
    buildInputs: shapesOf(objectAt(entry, 'build_config')?.get('input_shape')),
    saved: where.saved,
    entry: EMPTY_OBJECT,
    inbound: listAt(entry, 'inbound_nodes') ?? [],
    inputLayers: attrs.get('input_layers') ?? null,
    outputLayers: attrs.get('output_layers') ?? null,
  };
  const below = (index: number): Where => ({
    context,
    parentPath: path,
    depth: depth + 1,
    name: where.names?.[index] ?? `layer_${index}`,
    saved: '',
  });
  const form = modelForm(type, inner);
  if (form !== undefined) {
    const layers = isList(inner) ? inner : (listAt(attrs, 'layers') ?? []);
    const hidden = form === 'sequential' && isInputEntry(layers[0]) ? 1 : 0;
    const children = layers.slice(hidden).map((layer, index) => {
      if (!isObject(layer)) throw malformed(context.file, path, `layer ${index} of the config is not an object`);
      return parseEntry(layer, below(index));
    });
    const entryConfig = hidden === 1 ? (objectAt(layers[0], 'config') ?? EMPTY_OBJECT) : EMPTY_OBJECT;
    refuseDuplicates(children, context.file);
    return { ...shared, form, kind: 'model', family: undefined, norm: {}, children, entry: entryConfig };
  }
  if (isOperation(entry, type, module, attrs, context.version)) {
    return { ...shared, form: 'operation', kind: 'operation', family: undefined, norm: {}, children: [] };
  }
  const family = isForeign(entry, module) ? undefined : familyOfType('keras', type, attrs);
  if (family === undefined) {
    const subclassed = where.root === true;
    const kind = type === 'Lambda' ? 'lambda' : 'unknown';
    return {
      ...shared,
      form: subclassed ? 'subclassed' : 'layer',
      kind: subclassed ? 'model' : kind,
      family,
      norm: {},
      children: [],
    };
  }
  refuseOddSizes(attrs, context.file, path);
  const norm = family.normalise(type, attrs, 'keras', context.version, context.backend);
  const children = (family.inner?.(attrs) ?? []).map((layer) =>
    parseEntry(
      new Map<string, Json>([
        ['class_name', layer.type],
        ['config', layer.attrs],
      ]),
      {
        context,
        parentPath: path,
        depth: depth + 1,
        name: layer.at,
        at: layer.at,
        saved: layer.saved,
      },
    ),
  );
  return {
    ...shared,
    form: family.container === true || children.length > 0 ? 'wrapper' : 'layer',
    kind: family.kind,
    family,
    norm,
    children,
  };
}

/** Sizes that Keras takes as whole numbers and nothing else, under the names of all its generations. */
const SIZES = ['units', 'filters', 'nb_filter', 'input_dim', 'output_dim', 'num_heads', 'key_dim', 'depth_multiplier'];

function refuseOddSizes(attrs: JsonObject, file: string, place: string): void {
  for (const name of SIZES) {
    const value = attrs.get(name);
    if (value === undefined || value === null) continue;
    if (typeof value === 'number' && Number.isSafeInteger(value) && value >= 0) continue;
    const shown = isList(value) || isObject(value) ? 'a structure' : JSON.stringify(String(value));
    throw malformed(file, place, `${name} is ${shown}, not a whole number`);
  }
}

function limit(file: string, place: string, reason: string): BnsumError {
  return new BnsumError({ code: 'LIMIT', file, place, reason });
}

/** 'tower' + 'inner_bn' → 'tower/inner_bn'. */
export function joinNames(parent: string, name: string): string {
  return parent === '' ? name : `${parent}/${name}`;
}

function modelForm(type: string, config: Json | undefined): 'sequential' | 'functional' | undefined {
  if (type === 'Sequential') return 'sequential';
  const layered = isObject(config) && isList(config.get('layers'));
  if (!layered) return undefined;
  // Subclasses of a functional model keep its form under a name of their own.
  const wired = config.has('input_layers') && config.has('output_layers');
  return wired || type === 'Functional' || type === 'Model' ? 'functional' : undefined;
}

/**
 * Operations of Keras 3 stand among the layers (an `Add` is a layer or an operation). Their module tells; legacy `.h5`
 * leaves it out, but no operation has the flag and the dtype that every layer has.
 */
function isOperation(entry: JsonObject, type: string, module: string, attrs: JsonObject, version: string): boolean {
  if (/^keras\.(src\.)?ops(\.|$)/.test(module)) return true;
  // A class without a module in a .keras, and one of a package in .h5, is somebody's own: a Model writes neither.
  if (entry.has('module') || type.includes('>')) return false;
  if (module !== '' || !isKeras3(version) || type === 'InputLayer' || type === 'Lambda') return false;
  return attrs.has('name') && !attrs.has('trainable') && !attrs.has('dtype');
}

/** A class registered by someone else may wear the name of one of Keras' own. */
function isForeign(entry: JsonObject, module: string): boolean {
  const registered = stringAt(entry, 'registered_name');
  if (module !== '' && !/^(keras|tf_keras|tensorflow\.keras|tensorflow\.python\.keras)(\.|$)/.test(module)) return true;
  return registered?.includes('>') === true && !registered.startsWith('keras>');
}

function isInputEntry(entry: Json | undefined): boolean {
  return stringAt(entry, 'class_name') === 'InputLayer';
}

function refuseDuplicates(children: readonly LayerSpec[], file: string): void {
  const seen = new Set<string>();
  for (const { name, path } of children) {
    if (seen.has(name)) throw malformed(file, path, 'two layers of one model have this name');
    seen.add(name);
  }
}

/** Input shapes that the config itself states, batch axis included. */
function inputShapesOf(entry: JsonObject, attrs: JsonObject): readonly Shape[] | null {
  const build = objectAt(entry, 'build_config');
  const stated = build?.get('input_shape') ?? attrs.get('build_input_shape');
  return shapesOf(stated) ?? shapesOf(attrs.get('batch_shape') ?? attrs.get('batch_input_shape'));
}

/** One shape, or a list of them. */
export function shapesOf(value: Json | undefined): readonly Shape[] | null {
  const single = shapeOf(value);
  if (single !== null) return [single];
  const list = isList(value) ? value : isObject(value) ? [...value.values()] : [];
  const shapes = list.map(shapeOf);
  return shapes.length > 0 && shapes.every((shape) => shape !== null) ? shapes : null;
}

/** `[null, 64, 64, 1]`, or the same as a tuple of Keras' JSON; null when it is not a shape. */
export function shapeOf(value: Json | undefined): Shape | null {
  const list = isList(value) ? value : listAt(value, 'items');
  if (list === undefined) return null;
  const shape: (number | null)[] = [];
  for (const size of list) {
    if (size !== null && (typeof size !== 'number' || !Number.isSafeInteger(size) || size < 0)) return null;
    shape.push(size);
  }
  return shape;
}

/** The name of the dtype policy of a layer: 'float32', 'mixed_float16', 'bfloat16'; undefined when it states none. */
export function policyOf(attrs: JsonObject): string | undefined {
  const dtype = attrs.get('dtype');
  if (typeof dtype === 'string') return dtype;
  const config = objectAt(dtype, 'config');
  return stringAt(config, 'name') ?? stringAt(config, 'source_name');
}

/** Whether the file follows Keras 3 where the generations differ. */
export function isKeras3(version: string): boolean {
  return !isBelow(version, '3');
}

/** Every layer from the root's children on, containers before what they hold; operations left out. */
export function layersBelow(root: LayerSpec): readonly { readonly spec: LayerSpec; readonly parent: LayerSpec }[] {
  const found: { spec: LayerSpec; parent: LayerSpec }[] = [];
  const stack = root.children.map((spec) => ({ spec, parent: root })).reverse();
  for (let next = stack.pop(); next !== undefined; next = stack.pop()) {
    if (next.spec.form === 'operation') continue;
    found.push(next);
    const { spec } = next;
    for (const child of [...spec.children].reverse()) stack.push({ spec: child, parent: spec });
  }
  return found;
}
