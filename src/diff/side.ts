import { type Accounting, account, type Totals } from '../account/account.ts';
import { connect } from '../account/connections.ts';
import type { Count } from '../account/count.ts';
import { countElements } from '../ir/build.ts';
import { EMPTY_OBJECT, isList, isObject, type Json, type JsonObject, objectAt, stringAt } from '../ir/json.ts';
import type { Kind } from '../ir/kind.ts';
import type { Beside, Details, Dialect, Layer, Model, NormValue, Shape, Tensor, WeightClass } from '../ir/model.ts';
import { shortest } from '../layers/decimal.ts';
import type { Family } from '../layers/family.ts';
import { familyOfKind } from '../layers/registry.ts';
import { configFacts } from './config-facts.ts';
import { formatFact } from './fact.ts';
import { moduleFacts, trainingFacts } from './module-facts.ts';
import { kerasName, type LayerName, torchName } from './names.ts';
import { type AllWires, wiresOf } from './wires.ts';

/** One tensor of one side. */
export interface SideWeight {
  readonly role: string;
  readonly class: WeightClass;
  /** As the file spells it. */
  readonly name: string;
  readonly shape: readonly number[];
  readonly dtype: string;
  readonly elements: number;
  readonly bytes: Count;
  /** Effective; null: not told. */
  readonly trainable: boolean | null;
  /** `layer role` of the first tensor that this one is; null: its own, or not told. */
  readonly tied: string | null;
  /** What gives the values; null: they are not at hand. */
  readonly tensor: Tensor | null;
  /** SHA-256 of the dense little-endian bytes in C order, where a lock file keeps it. */
  readonly sha256: string | null;
  /** Made by the conversion, not read from a file. */
  readonly filled: boolean;
}

/** One layer of one side, as far as it is compared. */
export interface SideLayer {
  readonly path: string;
  readonly parent: string | null;
  readonly name: LayerName;
  readonly container: boolean;
  readonly kind: Kind;
  readonly type: string;
  /** The file describes the layer; false: only its tensors are known, and an absent fact says nothing. */
  readonly known: boolean;
  readonly trainable: boolean | null;
  /** dtype policy ('mixed_float16'); null: not told. */
  readonly policy: string | null;
  /** Hyper-parameters in neutral names; under `config` what the file's own config says besides. */
  readonly facts: JsonObject;
  readonly outputShape: Shape | readonly (Shape | null)[] | null;
  /** Layers and operations that it reads; null: not known. */
  readonly inputs: readonly string[] | null;
  readonly weights: readonly SideWeight[];
  readonly keras: Count;
  readonly torch: Count;
  readonly buffers: Count;
}

export type Rule =
  | 'keras.total'
  | 'keras.trainable'
  | 'keras.nonTrainable'
  | 'torch.parameters'
  | 'torch.trainable'
  | 'torch.frozen'
  | 'torch.buffers'
  | 'state.elements'
  | 'state.unique'
  | 'inference.elements'
  | 'bytes';

export const RULES: readonly Rule[] = [
  'keras.total',
  'keras.trainable',
  'keras.nonTrainable',
  'torch.parameters',
  'torch.trainable',
  'torch.frozen',
  'torch.buffers',
  'state.elements',
  'state.unique',
  'inference.elements',
  'bytes',
];

export interface Side {
  /** What the user named. */
  readonly label: string;
  readonly from: 'model' | 'summary' | 'lock';
  readonly name: string;
  readonly format: string;
  readonly dialect: Dialect;
  /** `keras 3.15.1`; '' where nothing is told. */
  readonly producer: string;
  readonly counts: ReadonlyMap<Rule, Count | null>;
  readonly optimizer: { readonly elements: Count; readonly bytes: Count } | null;
  readonly layers: readonly SideLayer[];
  /** True when the layers without weights and their wiring are known. */
  readonly architecture: boolean;
  /** The graph is one chain. */
  readonly chain: boolean;
  /** Shapes of the model's inputs; null: not known. */
  readonly inputShapes: readonly (Shape | null)[] | null;
  /** Element types of the model's inputs, as far as the file tells; absent: it does not. */
  readonly inputDtypes?: readonly (string | null)[];
  /** Layers that give the model's outputs; null: not known. */
  readonly outputs: readonly string[] | null;
  /** Every call with its arguments; null or absent: only what each layer reads is known. */
  readonly wires?: AllWires | null;
  /** Class of a whole PyTorch module; absent: the file does not tell. */
  readonly rootType?: string;
  /** What a whole module of PyTorch says of itself; null or absent: nothing, or it has a row of its own. */
  readonly rootFacts?: JsonObject | null;
  /** SHA-256 of code or program by part; null or absent: the file holds none. */
  readonly program?: ReadonlyMap<string, string> | null;
  /** Tensors that are no part of the state; null or absent: the file cannot tell. */
  readonly constants?: readonly SideWeight[] | null;
  /** Whether attributes of any kind are told, and the tensors among them; absent: only plain settings. */
  readonly details?: boolean;
  /** Tensors among attributes and other entries, where they are not in `constants`. */
  readonly further?: readonly SideWeight[];
  /** What lies beside the model in its file; null or absent: not told. */
  readonly beside?: ReadonlyMap<string, Beside> | null;
  readonly model: Model | null;
  readonly accounting: Accounting | null;
}

/** Facts that follow from others, or from the tensors, or that two files of one network may spell differently. */
export const DERIVED: ReadonlySet<string> = new Set([
  'asStated',
  'frozen',
  'generation',
  'inChannels',
  'inFeatures',
  'kernelLayout',
  'lora',
  'scoresOf',
  'spatial',
  'stdIsVariance',
]);

/** Parts of a raw config that say nothing of what a layer computes, or that have a place of their own. */
const NOT_A_FACT =
  /^(?:name|trainable|dtype|build_config|batch_input_shape|batch_shape|shared_object_id|layers|layer|cell|cells|forward_layer|backward_layer|input_layers|output_layers|training|.*_initializer|init)$/;

/** Kinds of which no family knows the attributes. */
export const RAW: ReadonlySet<Kind> = new Set(['lambda', 'unknown', 'wrapper']);

function factOf(value: NormValue | Json): Json {
  if (typeof value === 'number') return shortest(value);
  if (isList(value as Json)) return (value as readonly NormValue[]).map(factOf);
  if (isObject(value as Json)) {
    const members = [...(value as JsonObject)].filter(([key]) => key !== 'module' && key !== 'registered_name');
    return new Map(members.map(([key, inner]) => [key, factOf(inner)]));
  }
  if (typeof value === 'object' && value !== null) {
    return new Map(
      Object.entries(value as Readonly<Record<string, NormValue>>).map(([key, inner]) => [key, factOf(inner)]),
    );
  }
  return value as Json;
}

/** What every layer of Keras has in its config, and nobody's class means anything by. */
const OF_EVERY_LAYER =
  /^(?:name|trainable|dtype|build_config|compile_config|batch_input_shape|batch_shape|shared_object_id)$/;

/** Digests of the files that a container keeps for a layer (vocabularies). */
export const ASSETS = 'assets';

/** Marks that the config of a class of the user's own was kept whole, as older releases did not. */
export const WHOLE = 'whole';

/** The config of a layer of somebody's own: any name in it may be a setting. */
function customFacts(attrs: JsonObject): JsonObject {
  const facts = new Map<string, Json>();
  if (attrs.size === 0) return facts;
  for (const [key, value] of attrs) if (!OF_EVERY_LAYER.test(key)) facts.set(key, objectFact(value));
  return facts.set(WHOLE, true);
}

/** A value with Keras' objects in it, whose names, numbers of sharing and Python modules are no settings. */
function objectFact(value: Json): Json {
  if (typeof value === 'number') return shortest(value);
  if (isList(value)) return value.map(objectFact);
  if (!isObject(value)) return value;
  const isKerasObject = typeof value.get('class_name') === 'string';
  const found = new Map<string, Json>();
  for (const [key, inner] of value) {
    if (key === 'module' || key === 'registered_name' || key === 'shared_object_id') continue;
    if (isKerasObject && OBJECT_NOTES.has(key)) continue;
    if (isKerasObject && key === 'config' && isObject(inner)) {
      const settings = [...inner].filter(([name]) => name !== 'name');
      const dtype = policyOf(inner.get('dtype'));
      const config = new Map(settings.map(([name, one]) => [name, name === 'dtype' ? dtype : objectFact(one)]));
      // A policy is nothing but its name.
      found.set(key, settings.length === 0 ? objectFact([...inner].map(([, one]) => one)) : config);
    } else found.set(key, objectFact(inner));
  }
  return found;
}

/** What Keras notes beside the config of an object: how it was built, and what it is called. */
const OBJECT_NOTES = new Set(['build_config', 'compile_config', 'inbound_nodes', 'name']);

const OLD_PREFIX: ReadonlyMap<string, string> = new Map([
  ['W', 'kernel'],
  ['b', 'bias'],
  ['U', 'recurrent'],
]);

/** What names a penalty's class, where its settings stand beside it. */
const PENALTY_CLASS = /^(?:class_name|config|module|name|registered_name|shared_object_id)$/;

/** `L2(0.01)`: the same words for every generation's spelling; null: none. */
function penaltyOf(value: Json): string | null {
  if (value === null || value === undefined) return null;
  if (typeof value === 'string') return value;
  if (!isObject(value)) return JSON.stringify(value);
  const config = value.get('config');
  const numbers = isObject(config) ? config : value;
  const l1 = numbers.get('l1');
  const l2 = numbers.get('l2');
  const named = value.get('class_name') ?? value.get('name');
  if (typeof l1 === 'number' || typeof l2 === 'number') {
    const parts = [
      ...(typeof l1 === 'number' && l1 !== 0 ? [`L1(${shortest(l1)})`] : []),
      ...(typeof l2 === 'number' && l2 !== 0 ? [`L2(${shortest(l2)})`] : []),
    ];
    return parts.length === 0 ? null : parts.join(' + ');
  }
  const plain = [...numbers]
    .filter(([key, one]) => one !== null && (numbers === config || !PENALTY_CLASS.test(key)))
    .map(([key, one]) => `${key}=${typeof one === 'string' ? one : formatFact(factOf(one))}`);
  return `${typeof named === 'string' ? named.slice(named.lastIndexOf('>') + 1) : 'custom'}(${plain.join(', ')})`;
}

/** Neutral hyper-parameters of a layer; regularisers and constraints as words, initialisers left out: they are over. */
export function factsOf(
  kind: Kind,
  norm: Readonly<Record<string, NormValue>>,
  attrs: JsonObject,
  rank: number | null,
  dialect?: Dialect,
): JsonObject {
  const facts = new Map<string, Json>();
  if (kind === 'unknown' && dialect === 'keras') return customFacts(attrs);
  if (RAW.has(kind)) {
    for (const [key, value] of attrs) if (!NOT_A_FACT.test(key)) facts.set(key, factOf(value));
    return facts;
  }
  for (const [key, value] of Object.entries(norm)) {
    // An input's shape is the model's, and is compared there.
    if (kind === 'input' && key === 'shape') continue;
    if (DERIVED.has(key)) continue;
    const isAxis = key === 'axis' || (key === 'axes' && NORMALISES.has(kind));
    facts.set(key, isAxis ? axisFromEnd(factOf(value), rank) : factOf(value));
  }
  for (const [key, value] of attrs) {
    const [, part, what] = /^(.*?)_(regularizer|constraint)$/.exec(key) ?? [];
    if (part === undefined || what === undefined) continue;
    const penalty = penaltyOf(value);
    if (penalty !== null) facts.set(`${OLD_PREFIX.get(part) ?? part}_${what}`, penalty);
  }
  return facts;
}

/** Kinds whose `axes` are axes of the data; those of a permutation are places. */
const NORMALISES: ReadonlySet<Kind> = new Set(['layer_norm', 'normalization', 'rms_norm', 'unit_norm']);

/** A container of PyTorch has no family; what it keeps of its own (norm_first) is all there is to know of it. */
const CONTAINER: Family = { kind: 'model', types: {}, normalise: () => ({}), outputs: () => null };

/** The facts of a layer that a file describes. */
export function describedFacts(
  layer: Pick<Layer, 'kind' | 'type' | 'norm' | 'attrs'>,
  rank: number | null,
  { dialect, version, backend }: { readonly dialect: Dialect; readonly version: string; readonly backend: string },
): JsonObject {
  const { kind, type, norm, attrs } = layer;
  if (dialect === 'torch') return describedModule(layer, rank, version, backend);
  const facts = factsOf(kind, norm, attrs, rank, dialect);
  const family = familyOfKind(kind);
  if (family === undefined || RAW.has(kind)) return facts;
  const config = configFacts(family, type, attrs, dialect, version, backend);
  // A node without further attributes tells that it has none, unlike a lock file of an older release.
  return config.size === 0 && (dialect !== 'onnx' || type === '') ? facts : new Map([...facts, ['config', config]]);
}

/** The facts of a module of PyTorch, whose own words all stand under `config`. */
function describedModule(
  { kind, type, norm, attrs }: Pick<Layer, 'kind' | 'type' | 'norm' | 'attrs'>,
  rank: number | null,
  version: string,
  backend: string,
): JsonObject {
  const family = RAW.has(kind) || kind === 'model' ? CONTAINER : (familyOfKind(kind) ?? CONTAINER);
  const facts = family === CONTAINER ? EMPTY_OBJECT : factsOf(kind, norm, EMPTY_OBJECT, rank, 'torch');
  const config = moduleFacts(family, kind, type, attrs, version, backend);
  return config.size === 0 ? facts : new Map([...facts, ['config', config]]);
}

/**
 * What only the file itself tells of a module: attributes that are no plain settings, under `details`, and the training
 * flag where it bears on what is computed.
 */
function withDetails(
  facts: JsonObject,
  { kind, type, attrs }: Pick<Layer, 'kind' | 'type' | 'attrs'>,
  found: JsonObject | undefined,
  hasCode: boolean,
): JsonObject {
  const details = new Map(found ?? []);
  const read = details.get('training');
  details.delete('training');
  // Code says by itself whether it reads the flag.
  const training = !hasCode
    ? trainingFacts(kind, type, attrs, details)
    : typeof read === 'boolean'
      ? new Map([['training', read]])
      : undefined;
  if (details.size === 0 && training === undefined) return facts;
  return new Map([...facts, ...(training ?? []), ...(details.size === 0 ? [] : [['details', details] as const])]);
}

/** Axis 3 of four is the same axis as -1. */
function axisFromEnd(axis: Json, rank: number | null): Json {
  if (rank === null) return axis;
  if (typeof axis === 'number') return axis >= 0 && axis < rank ? axis - rank : axis;
  return isList(axis) ? axis.map((one) => axisFromEnd(one, rank)) : axis;
}

/** The name of a dtype policy in any generation's spelling; null: not told. */
export function policyOf(value: Json | undefined): string | null {
  if (typeof value === 'string') return value;
  if (!isObject(value)) return null;
  const config = value.get('config');
  const name = isObject(config) ? config.get('name') : value.get('name');
  return typeof name === 'string' ? name : null;
}

export function rankOf(shape: SideLayer['outputShape']): number | null {
  return shape === null || shape.some((part) => Array.isArray(part)) ? null : shape.length;
}

export function nameOf(dialect: Dialect, layer: Pick<Layer, 'path' | 'parent' | 'kind' | 'type'>): LayerName {
  return dialect === 'keras'
    ? kerasName(layer.path, layer.parent, layer.kind, layer.type)
    : torchName(layer.path, layer.parent);
}

/** The counts that are compared, from the totals of any form. */
export function countsOf(totals: Totals, bytes: Count | null): ReadonlyMap<Rule, Count | null> {
  return new Map<Rule, Count | null>([
    ['keras.total', totals.keras.total],
    ['keras.trainable', totals.keras.trainable],
    ['keras.nonTrainable', totals.keras.nonTrainable],
    ['torch.parameters', totals.torch.parameters],
    ['torch.trainable', totals.torch.trainable],
    ['torch.frozen', totals.torch.frozen],
    ['torch.buffers', totals.torch.buffers],
    ['state.elements', totals.state.elements],
    ['state.unique', totals.state.unique],
    ['inference.elements', totals.inference.elements],
    ['bytes', bytes],
  ]);
}

function weightsOf(layer: Layer, owners: Map<string, string>): readonly SideWeight[] {
  return layer.weights.map((weight): SideWeight => {
    const { tensor } = weight;
    const own = `${layer.path} ${weight.role}`;
    const owner = owners.get(tensor.identity);
    if (owner === undefined) owners.set(tensor.identity, own);
    return {
      role: weight.role,
      class: weight.class,
      name: tensor.name,
      shape: tensor.shape,
      dtype: tensor.dtype,
      elements: countElements(tensor.shape, undefined, tensor.name),
      bytes: tensor.byteLength,
      trainable: weight.class === 'weight' ? weight.trainable : null,
      tied: owner ?? null,
      tensor,
      sha256: null,
      filled: false,
    };
  });
}

function isGroup(path: string): boolean {
  return path === 'layers' || path.endsWith('/layers');
}

function ungrouped(path: string): string {
  return path.replace(/(^|\/)layers\//g, '$1');
}

function parentOf(parent: string | null): string | null {
  if (parent === null || parent === 'layers') return null;
  return ungrouped(isGroup(parent) ? parent.slice(0, -'/layers'.length) : parent);
}

/** Keras 3, or what came before it; a lock file does not say. */
export function generationOf(side: Side): string {
  return /^keras 3/.test(side.producer) ? 'keras3' : 'older';
}

/** Whether names are those of storage: a Keras file of weights alone names layers by their class. */
export function hasOwnNames(side: Side): boolean {
  return side.dialect !== 'keras' || side.architecture;
}

/** Classes of Keras that say no more of a model than its graph does. */
const PLAIN_MODELS = new Set(['Functional', 'Graph', 'Model', 'Sequential']);

/**
 * Class of the whole: of a pickled module; of a Keras model without its package, where all that Keras itself has are one
 * (a Sequential and a Functional of the same layers compute the same).
 */
function rootTypeOf({ origin, dialect }: Model): string | undefined {
  if (dialect !== 'keras') return origin.rootType;
  const name = stringAt(origin.config, 'class_name');
  if (name === undefined) return undefined;
  return PLAIN_MODELS.has(name) ? 'Functional' : name.slice(name.lastIndexOf('>') + 1);
}

/** What the config of a Keras model of somebody's own class holds beside the graph. */
function ownClassFacts({ origin }: Model): JsonObject | null {
  const { config } = origin;
  if (config === undefined) return null;
  if (PLAIN_MODELS.has(stringAt(config, 'class_name') ?? '')) return new Map([['config', EMPTY_OBJECT]]);
  const settings = [...(objectAt(config, 'config') ?? EMPTY_OBJECT)].filter(
    ([key]) => !OF_EVERY_LAYER.test(key) && !/^(?:layers|input_layers|output_layers)$/.test(key),
  );
  const facts = new Map(settings.map(([key, value]) => [key, objectFact(value)]));
  return new Map([['config', facts]]);
}

function rootFactsOf(model: Model, details: Details | undefined): JsonObject | null {
  if (model.dialect === 'keras') return ownClassFacts(model);
  const { origin, layers, dialect, producer } = model;
  const { rootType, rootAttrs } = origin;
  // Entries of a state_dict that are no tensors.
  const own = details?.facts.get('');
  if (rootType === undefined && own !== undefined) return new Map([['details', own]]);
  if (rootType === undefined || rootAttrs === undefined || layers.some((layer) => layer.path === '')) return null;
  const root = { kind: 'model' as const, type: rootType, norm: {}, attrs: rootAttrs };
  const plain = describedFacts(root, null, { dialect, ...producer });
  const facts = withDetails(plain, root, own, origin.program?.has('code') === true);
  // A module without settings tells that it has none.
  return facts.size === 0 ? new Map([['config', EMPTY_OBJECT]]) : facts;
}

function withAssets(facts: JsonObject, assets: Layer['assets']): JsonObject {
  return assets === undefined ? facts : new Map([...facts, [ASSETS, new Map(assets)]]);
}

function programOf(model: Model): ReadonlyMap<string, string> | null {
  const { program } = model.origin;
  return program === undefined ? null : new Map([...program].map(([part, hash]) => [part, hash()]));
}

function constantOf(tensor: Tensor): SideWeight {
  return {
    role: tensor.name,
    class: 'constant',
    name: tensor.name,
    shape: tensor.shape,
    dtype: tensor.dtype,
    elements: countElements(tensor.shape, undefined, tensor.name),
    bytes: tensor.byteLength,
    trainable: null,
    tied: null,
    tensor,
    sha256: null,
    filled: false,
  };
}

/** A model file as a side; the model stays open for as long as values are wanted. */
export function sideOfModel(label: string, model: Model): Side {
  const accounting = account(model);
  const connections = connect(model);
  const known = model.graphs.size > 0;
  const owners = new Map<string, string>();
  const details = model.origin.details?.();
  const hasCode = model.origin.program?.has('code') === true;
  const root = model.graphs.get('');
  const producers = new Map<number, string>();
  for (const call of root?.calls ?? []) for (const output of call.outputs) producers.set(output, call.layer ?? call.op);
  const outputs = root?.outputs.map((output) => producers.get(output) ?? '');
  // A .weights.h5 without its architecture keeps its layers in groups of that name, which are no layers.
  const bare = model.dialect === 'keras' && !known;
  const held = bare ? model.layers.filter((layer) => layer.weights.length > 0 || !isGroup(layer.path)) : model.layers;
  const accounts = new Map(model.layers.map((layer, at) => [layer, accounting.layers[at]]));
  const layers = held.map((original): SideLayer => {
    const layer = bare ? { ...original, path: ungrouped(original.path), parent: parentOf(original.parent) } : original;
    const shapes = connections.outputs.get(layer.path);
    const outputShape =
      shapes === undefined || shapes.every((shape) => shape === null)
        ? null
        : shapes.length === 1
          ? (shapes[0] ?? null)
          : shapes;
    const own = accounts.get(original)?.own;
    return {
      path: layer.path,
      parent: layer.parent,
      name: nameOf(model.dialect, layer),
      container: layer.container,
      kind: layer.kind,
      type: layer.type,
      // A node of ONNX without attributes has the standard's defaults.
      known: layer.attrs.size > 0 || (model.dialect === 'onnx' && layer.type !== ''),
      trainable: layer.trainable,
      policy: policyOf(layer.attrs.get('dtype')),
      facts: withAssets(
        withDetails(
          describedFacts(layer, rankOf(outputShape), { dialect: model.dialect, ...model.producer }),
          layer,
          details?.facts.get(layer.path),
          hasCode || model.dialect !== 'torch',
        ),
        layer.assets,
      ),
      outputShape,
      inputs: known ? (connections.sources.get(layer.path) ?? []) : null,
      weights: weightsOf(layer, owners),
      keras: own?.keras ?? 0,
      torch: own?.torch ?? 0,
      buffers: own?.buffers ?? 0,
    };
  });
  const { bytes } = accounting;
  const rootType = rootTypeOf(model);
  return {
    label,
    from: 'model',
    name: model.name,
    format: model.format,
    dialect: model.dialect,
    producer: [model.producer.framework, model.producer.version].filter((part) => part !== '').join(' '),
    counts: countsOf(accounting.totals, model.dialect === 'keras' ? bytes['keras.total'] : bytes['state.unique']),
    optimizer: accounting.optimizer.tally,
    layers,
    architecture: known || layers.some((layer) => layer.known && layer.weights.length === 0 && !layer.container),
    chain: known && connections.isChain,
    inputShapes: root === undefined ? null : root.inputs.map((id) => root.values[id]?.shape ?? null),
    ...(root === undefined ? {} : { inputDtypes: root.inputs.map((id) => root.values[id]?.dtype ?? null) }),
    outputs: outputs === undefined || outputs.includes('') ? null : outputs,
    wires: wiresOf(model),
    ...(rootType === undefined ? {} : { rootType }),
    rootFacts: rootFactsOf(model, details),
    program: programOf(model),
    constants: model.origin.constants?.map(constantOf) ?? null,
    further: details?.constants.map(constantOf) ?? [],
    details: details !== undefined,
    beside: model.origin.beside?.() ?? null,
    model,
    accounting,
  };
}
