import { type Count, plus, total } from '../account/count.ts';
import { BnsumError } from '../ir/error.ts';
import {
  booleanAt,
  EMPTY_OBJECT,
  isObject,
  type Json,
  type JsonObject,
  listAt,
  numberAt,
  objectAt,
  stringAt,
} from '../ir/json.ts';
import type { Shape } from '../ir/model.ts';
import { formatLines } from './fact.ts';
import { countsOf, nameOf, RAW, type Rule, type Side, type SideLayer, type SideWeight } from './side.ts';
import {
  classOf,
  countAt,
  dialectOf,
  kindOf,
  programAt,
  shapeAt,
  sizesOf,
  stringsAt,
  totalsOf,
} from './side-summary.ts';
import { hashTensor, hasValues, newBuffers } from './values.ts';
import { wiresAt, wiresJson } from './wires.ts';

/** The name of the lock file's schema: the `$id` of docs/schema/lock.schema.json, which the package carries. */
export const LOCK_SCHEMA = 'urn:bnsum:schema:lock:1';
export const LOCK_VERSION = 1;
/** Raised when a rule counts or names something differently, so that an old lock file is known to be old. */
export const RULE_VERSION = 2;
export const LOCK_SUFFIX = '.bnlock.json';

export function isLock(json: Json): boolean {
  return stringAt(json, '$schema') === LOCK_SCHEMA;
}

/** Paths without the numbers that Keras gives and without the words of one release, unique, by the file's own path. */
function canonicalPaths(side: Side): ReadonlyMap<string, string> {
  const paths = new Map<string, string>();
  if (side.dialect !== 'keras') {
    for (const layer of side.layers) paths.set(layer.path, layer.path);
    return paths;
  }
  const children = new Map<string | null, SideLayer[]>();
  const known = new Set(side.layers.map((layer) => layer.path));
  for (const layer of side.layers) {
    const parent =
      layer.parent !== null && known.has(layer.parent) && layer.parent !== layer.path ? layer.parent : null;
    const list = children.get(parent);
    if (list) list.push(layer);
    else children.set(parent, [layer]);
  }
  const waiting: (string | null)[] = [null];
  for (let index = 0; index < waiting.length; index += 1) {
    const parent = waiting[index] ?? null;
    const list = children.get(parent) ?? [];
    const prefix = parent === null ? '' : `${paths.get(parent) ?? parent}/`;
    const taken = new Set(list.filter((layer) => layer.name.base === null).map((layer) => layer.name.leaf));
    const counters = new Map<string, number>();
    const numbered = list
      .filter((layer) => layer.name.base !== null)
      .toSorted((one, other) => one.name.number - other.name.number);
    for (const layer of list) if (layer.name.base === null) paths.set(layer.path, prefix + layer.name.leaf);
    for (const layer of numbered) {
      const base = layer.name.base ?? '';
      let count = counters.get(base) ?? 0;
      while (taken.has(count === 0 ? base : `${base}_${count}`)) count += 1;
      const leaf = count === 0 ? base : `${base}_${count}`;
      counters.set(base, count + 1);
      taken.add(leaf);
      paths.set(layer.path, prefix + leaf);
    }
    for (const layer of list) waiting.push(layer.path);
  }
  return paths;
}

function object(members: Readonly<Record<string, Json | undefined>>): JsonObject {
  return new Map(Object.entries(members).filter((entry): entry is [string, Json] => entry[1] !== undefined));
}

export interface LockOptions {
  /** Base name of the model. */
  readonly file: string;
  /** Layers whose tensors are kept by hash: by path. */
  readonly hash: (path: string) => boolean;
  readonly signal?: AbortSignal;
}

/**
 * The canonical text of a side's lock file: keys sorted, two spaces a level, LF, numbers as JSON writes them; free of
 * the framework's version and of numbers that Keras gives by itself. Reads the weights only of layers to be hashed.
 */
export async function lockText(side: Side, options: LockOptions): Promise<string> {
  const paths = canonicalPaths(side);
  const renamed = (path: string): string => paths.get(path) ?? path;
  const buffers = newBuffers();
  const layers: Json[] = [];
  const lockedRow = async (weight: SideWeight, hash: boolean): Promise<Json> => {
    const readable = weight.tensor !== null && hasValues(weight.tensor);
    const sha256 =
      hash && readable && weight.tensor !== null ? await hashTensor(weight.tensor, buffers, options.signal) : undefined;
    return object({
      role: weight.role,
      class: weight.class,
      shape: weight.shape,
      dtype: weight.dtype,
      trainable: weight.trainable ?? undefined,
      tied: weight.tied === null ? undefined : tiedName(weight.tied, renamed),
      sha256,
    });
  };
  const constants: Json[] = [];
  const all = [...(side.constants ?? []), ...(side.further ?? [])];
  for (const weight of all) constants.push(await lockedRow(weight, options.hash('')));
  for (const layer of side.layers) {
    const weights: Json[] = [];
    const hash = options.hash(layer.path);
    for (const weight of layer.weights) weights.push(await lockedRow(weight, hash));
    const raw =
      layer.kind === 'unknown' || layer.kind === 'wrapper' || layer.kind === 'lambda' || side.dialect !== 'keras';
    layers.push(
      object({
        path: renamed(layer.path),
        parent: layer.parent === null ? undefined : renamed(layer.parent),
        kind: layer.kind,
        type: raw && layer.type !== '' ? layer.type : undefined,
        container: layer.container ? true : undefined,
        known: layer.known,
        trainable: layer.trainable ?? undefined,
        policy: layer.policy ?? undefined,
        facts: layer.facts.size === 0 ? undefined : layer.facts,
        outputShape: layer.outputShape === null ? undefined : (layer.outputShape as Json),
        inputs: layer.inputs === null ? undefined : layer.inputs.map(renamed),
        weights: weights.length === 0 ? undefined : weights,
      }),
    );
  }
  const count = (rule: Parameters<Side['counts']['get']>[0]): Json => side.counts.get(rule) ?? null;
  const json = object({
    $schema: LOCK_SCHEMA,
    version: LOCK_VERSION,
    rules: RULE_VERSION,
    model: object({
      file: options.file,
      dialect: side.dialect,
      type: side.rootType,
      facts: side.rootFacts ?? undefined,
    }),
    totals: object({
      keras: object({
        total: count('keras.total'),
        trainable: count('keras.trainable'),
        nonTrainable: count('keras.nonTrainable'),
      }),
      torch: object({
        parameters: count('torch.parameters'),
        trainable: count('torch.trainable'),
        frozen: count('torch.frozen'),
        buffers: count('torch.buffers'),
      }),
      state: object({ elements: count('state.elements'), unique: count('state.unique') }),
      inference: object({ elements: count('inference.elements') }),
    }),
    bytes: count('bytes'),
    architecture: side.architecture,
    chain: side.chain,
    inputShapes: side.inputShapes === null ? undefined : (side.inputShapes as Json),
    inputDtypes: side.inputDtypes === undefined ? undefined : side.inputDtypes,
    outputs: side.outputs === null ? undefined : side.outputs.map(renamed),
    wires: side.wires == null ? undefined : wiresJson(side.wires, renamed),
    program: side.program == null ? undefined : new Map(side.program),
    constants: side.constants == null && all.length === 0 ? undefined : constants,
    details: side.details === true ? true : undefined,
    layers,
  });
  return `${formatLines(json)}\n`;
}

function tiedName(tied: string, renamed: (path: string) => string): string {
  const space = tied.lastIndexOf(' ');
  return `${renamed(tied.slice(0, space))}${tied.slice(space)}`;
}

/** Lock files of before keep the attributes of a class of PyTorch that they do not know beside the neutral ones. */
function factsAt(layer: JsonObject, dialect: Side['dialect'], kind: SideLayer['kind'], json: JsonObject): JsonObject {
  const facts = objectAt(layer, 'facts') ?? EMPTY_OBJECT;
  const isOld = dialect === 'torch' && booleanAt(json, 'details') !== true && RAW.has(kind);
  return isOld && facts.size > 0 ? new Map([['config', facts]]) : facts;
}

/** A lock file as a side; it has no values, only the hashes it keeps. Throws BnsumError MALFORMED or UNSUPPORTED. */
export function sideOfLock(label: string, json: Json): Side {
  const next = `write it again with bndiff --update${label.endsWith(LOCK_SUFFIX) ? ` ${label.slice(0, -LOCK_SUFFIX.length)}` : ''}`;
  const wrong = (place: string, reason: string): BnsumError =>
    new BnsumError({ code: 'MALFORMED', file: label, place, reason, next });
  if (!isObject(json)) throw wrong('', 'is not a JSON object');
  if (json.get('version') !== LOCK_VERSION || json.get('rules') !== RULE_VERSION) {
    throw new BnsumError({
      code: 'UNSUPPORTED',
      file: label,
      reason: `it was written under version ${String(json.get('version'))}, rules ${String(json.get('rules'))}; version ${LOCK_VERSION}, rules ${RULE_VERSION} are read`,
      next,
    });
  }
  const dialect = dialectOf(stringAt(objectAt(json, 'model'), 'dialect'), label);
  const layers = (listAt(json, 'layers') ?? []).map((layer, index): SideLayer => {
    const place = `layers[${index}]`;
    const path = stringAt(layer, 'path');
    if (path === undefined || !isObject(layer)) throw wrong(place, 'a layer needs a path');
    const kind = kindOf(stringAt(layer, 'kind'), label, place);
    const type = stringAt(layer, 'type') ?? '';
    const parent = stringAt(layer, 'parent') ?? null;
    return {
      path,
      parent,
      name: nameOf(dialect, { path, parent, kind, type }),
      container: booleanAt(layer, 'container') === true,
      kind,
      type,
      known: booleanAt(layer, 'known') === true,
      trainable: booleanAt(layer, 'trainable') ?? null,
      policy: stringAt(layer, 'policy') ?? null,
      facts: factsAt(layer, dialect, kind, json),
      outputShape: shapeAt(layer.get('outputShape')),
      inputs: stringsAt(layer, 'inputs'),
      weights: (listAt(layer, 'weights') ?? []).map((weight, at) =>
        lockedWeight(weight, path, label, `${place}.weights[${at}]`),
      ),
      keras: 0,
      torch: 0,
      buffers: 0,
    };
  });
  const counts = countsOf(totalsOf(json, label), countAt(json, 'bytes'));
  const gap = gapOf(counts, layers, dialect);
  if (gap !== null) throw wrong('totals', gap);
  const shapes = listAt(json, 'inputShapes');
  const dtypes = listAt(json, 'inputDtypes');
  const rootType = stringAt(objectAt(json, 'model'), 'type');
  return {
    label,
    from: 'lock',
    name: '',
    format: 'lock',
    dialect,
    producer: '',
    counts,
    optimizer: null,
    layers,
    architecture: booleanAt(json, 'architecture') === true,
    chain: booleanAt(json, 'chain') === true,
    inputShapes: shapes === undefined ? null : shapes.map(plainShape),
    ...(dtypes === undefined ? {} : { inputDtypes: dtypes.map((one) => (typeof one === 'string' ? one : null)) }),
    outputs: stringsAt(json, 'outputs'),
    wires: wiresAt(json.get('wires')),
    ...(rootType === undefined ? {} : { rootType }),
    rootFacts: objectAt(objectAt(json, 'model'), 'facts') ?? null,
    program: programAt(json),
    constants:
      listAt(json, 'constants')?.map((weight, at) => lockedWeight(weight, '', label, `constants[${at}]`)) ?? null,
    details: booleanAt(json, 'details') === true,
    model: null,
    accounting: null,
  };
}

/**
 * What the totals of a lock file and its own rows contradict each other in; null: nothing. A budget is measured against
 * these totals, so one that was edited by hand must not pass.
 */
function gapOf(
  counts: ReadonlyMap<Rule, Count | null>,
  layers: readonly SideLayer[],
  dialect: Side['dialect'],
): string | null {
  const rows = layers.flatMap((layer) => layer.weights);
  const own = rows.filter((weight) => weight.tied === null);
  const sum = (weights: readonly SideWeight[]): Count => total(weights.map((weight) => weight.elements));
  const of = (rule: Rule): Count | null => counts.get(rule) ?? null;
  const both = (one: Rule, other: Rule): Count | null => {
    const [a, b] = [of(one), of(other)];
    return a === null || b === null ? null : plus(a, b);
  };
  const sums: readonly (readonly [Rule, Count | null])[] = [
    ['keras.total', both('keras.trainable', 'keras.nonTrainable')],
    ['torch.parameters', both('torch.trainable', 'torch.frozen')],
    ['state.unique', both('torch.parameters', 'torch.buffers')],
    // Keras keeps random state out of its weights. The other framework's tensors have no rows.
    dialect === 'keras'
      ? ['keras.total', sum(own.filter((weight) => weight.class !== 'seed'))]
      : ['state.unique', sum(own)],
    // In ONNX one initialiser that two nodes read is one entry and two rows.
    ...(dialect === 'torch' ? [['state.elements', sum(rows)] as const] : []),
  ];
  for (const [rule, found] of sums) {
    const said = of(rule);
    if (said !== null && found !== null && said !== found) return `${rule} is ${said}, and what it is made of ${found}`;
  }
  return null;
}

function plainShape(value: Json): Shape | null {
  const shape = shapeAt(value);
  return shape === null || shape.some((part) => Array.isArray(part)) ? null : (shape as Shape);
}

function lockedWeight(weight: Json, path: string, label: string, place: string): SideWeight {
  const shape = sizesOf(isObject(weight) ? weight.get('shape') : undefined, label, place);
  const role = stringAt(weight, 'role') ?? '';
  const elements = shape.reduce((product, axis) => product * axis, 1);
  const bytes: Count = numberAt(weight, 'bytes') ?? 0;
  return {
    role,
    class: classOf(stringAt(weight, 'class'), label, place),
    name: path === '' ? role : `${path}/${role}`,
    shape,
    dtype: stringAt(weight, 'dtype') ?? '',
    elements,
    bytes,
    trainable: booleanAt(weight, 'trainable') ?? null,
    tied: stringAt(weight, 'tied') ?? null,
    tensor: null,
    sha256: stringAt(weight, 'sha256') ?? null,
    filled: false,
  };
}
