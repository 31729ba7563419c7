import type { Totals } from '../account/account.ts';
import { type Count, plus } from '../account/count.ts';
import { SUMMARY_SCHEMA } from '../account/summary.ts';
import { BnsumError } from '../ir/error.ts';
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
} from '../ir/json.ts';
import { KINDS, type Kind } from '../ir/kind.ts';
import type { Dialect, Dim, Shape, WeightClass } from '../ir/model.ts';
import { complement } from '../layers/decimal.ts';
import { describeLayer } from '../layers/recognise.ts';
import { familyOfKind } from '../layers/registry.ts';
import {
  countsOf,
  describedFacts,
  nameOf,
  policyOf,
  rankOf,
  type Side,
  type SideLayer,
  type SideWeight,
} from './side.ts';

const CLASSES: readonly WeightClass[] = ['weight', 'statistic', 'counter', 'seed', 'constant'];

/** Whether a JSON text is a summary that bnsum wrote. */
export function isSummary(json: Json): boolean {
  return stringAt(json, '$schema') === SUMMARY_SCHEMA;
}

function malformed(file: string, place: string, reason: string): BnsumError {
  return new BnsumError({ code: 'MALFORMED', file, place, reason });
}

export function countAt(value: Json | undefined, key: string): Count | null {
  const found = isObject(value) ? value.get(key) : undefined;
  if (typeof found === 'bigint') return found;
  return typeof found === 'number' && Number.isSafeInteger(found) ? found : null;
}

/** A list of whole sizes, or a refusal. */
export function sizesOf(value: Json | undefined, file: string, place: string): readonly number[] {
  if (isList(value)) {
    const sizes = value.filter((axis) => typeof axis === 'number' && Number.isSafeInteger(axis) && axis >= 0);
    if (sizes.length === value.length) return sizes as readonly number[];
  }
  throw malformed(file, place, 'is no shape');
}

export function kindOf(value: string | undefined, file: string, place: string): Kind {
  const found = KINDS.find((kind) => kind === value);
  if (found === undefined) throw malformed(file, place, `unknown kind of layer '${value ?? ''}'`);
  return found;
}

export function classOf(value: string | undefined, file: string, place: string): WeightClass {
  const found = CLASSES.find((one) => one === value);
  if (found === undefined) throw malformed(file, place, `unknown class of tensor '${value ?? ''}'`);
  return found;
}

export function dialectOf(value: string | undefined, file: string): Dialect {
  if (value === 'keras' || value === 'torch' || value === 'onnx') return value;
  throw malformed(file, 'dialect', `unknown framework '${value ?? ''}'`);
}

export function stringsAt(value: Json | undefined, key: string): readonly string[] | null {
  const list = listAt(value, key);
  return list === undefined ? null : list.filter((one) => typeof one === 'string');
}

function dimOf(value: Json): Dim {
  return typeof value === 'number' || value === '?' ? (value as Dim) : null;
}

/** The hashes under `program`; null without any. */
export function programAt(json: Json | undefined): ReadonlyMap<string, string> | null {
  const found = objectAt(json, 'program');
  if (found === undefined) return null;
  return new Map([...found].filter((entry): entry is [string, string] => typeof entry[1] === 'string'));
}

/** A shape, or a list of shapes, or null. */
export function shapeAt(value: Json | undefined): SideLayer['outputShape'] {
  if (!isList(value)) return null;
  if (value.some((part) => isList(part))) {
    return value.map((part): Shape | null => (isList(part) ? part.map(dimOf) : null));
  }
  return value.map(dimOf);
}

/** The totals of a summary or a lock file. Throws BnsumError MALFORMED where one is missing. */
export function totalsOf(json: JsonObject, file: string): Totals {
  const totals = objectAt(json, 'totals');
  const need = (part: string, key: string): Count => {
    const count = countAt(objectAt(totals, part), key);
    if (count === null) throw malformed(file, `totals.${part}.${key}`, 'is no count');
    return count;
  };
  const keras = objectAt(totals, 'keras');
  const torch = objectAt(totals, 'torch');
  return {
    keras: {
      total: need('keras', 'total'),
      trainable: countAt(keras, 'trainable'),
      nonTrainable: countAt(keras, 'nonTrainable'),
      optimizer: countAt(keras, 'optimizer') ?? 0,
      totalCompiled: countAt(keras, 'totalCompiled'),
    },
    torch: {
      parameters: need('torch', 'parameters'),
      trainable: countAt(torch, 'trainable'),
      frozen: countAt(torch, 'frozen'),
      buffers: need('torch', 'buffers'),
    },
    state: { elements: need('state', 'elements'), unique: need('state', 'unique') },
    inference: { elements: countAt(objectAt(totals, 'inference'), 'elements') },
  };
}

function bytesOf(bytes: JsonObject | undefined, dialect: Dialect): Count | null {
  if (dialect === 'keras') return countAt(objectAt(bytes, 'keras'), 'total');
  const parameters = countAt(objectAt(bytes, 'torch'), 'parameters');
  const buffers = countAt(objectAt(bytes, 'torch'), 'buffers');
  return parameters === null || buffers === null ? null : plus(parameters, buffers);
}

function summaryWeight(weight: Json, label: string, place: string): SideWeight {
  const shape = sizesOf(isObject(weight) ? weight.get('shape') : undefined, label, place);
  return {
    role: stringAt(weight, 'role') ?? '',
    class: classOf(stringAt(weight, 'class'), label, place),
    name: stringAt(weight, 'name') ?? '',
    shape,
    dtype: stringAt(weight, 'dtype') ?? '',
    elements: shape.reduce((product, axis) => product * axis, 1),
    bytes: countAt(weight, 'bytes') ?? 0,
    trainable: null,
    tied: null,
    tensor: null,
    sha256: null,
    filled: false,
  };
}

/** A summary in bnsum's JSON form as a side. It holds no values. Throws BnsumError MALFORMED. */
export function sideOfSummary(label: string, json: Json): Side {
  if (!isObject(json)) throw malformed(label, '', 'is not a JSON object');
  const version = json.get('version');
  if (version !== 1) {
    throw new BnsumError({
      code: 'UNSUPPORTED',
      file: label,
      reason: `it is a summary of version ${String(version)}, version 1 is read`,
    });
  }
  const facts = objectAt(json, 'model');
  const dialect = dialectOf(stringAt(facts, 'dialect'), label);
  const producer = objectAt(facts, 'producer');
  const framework = stringAt(producer, 'framework') ?? '';
  const release = stringAt(producer, 'version') ?? '';
  const backend = stringAt(producer, 'backend') ?? '';
  const layers = (listAt(json, 'layers') ?? []).map((layer, index): SideLayer => {
    const path = stringAt(layer, 'path');
    const place = `layers[${index}]`;
    if (path === undefined) throw malformed(label, place, 'a layer needs a path');
    const kind = kindOf(stringAt(layer, 'kind'), label, place);
    const type = stringAt(layer, 'type') ?? '';
    const attrs = objectAt(layer, 'attrs') ?? EMPTY_OBJECT;
    const parent = stringAt(layer, 'parent') ?? null;
    const outputShape = shapeAt(isObject(layer) ? layer.get('outputShape') : undefined);
    const weights = (listAt(layer, 'weights') ?? []).map((weight, at) =>
      summaryWeight(weight, label, `${place}.weights[${at}]`),
    );
    const norm =
      dialect === 'torch' && weights.length > 0
        ? describeLayer(kind, type, attrs, path, new Map(weights.map((weight) => [weight.role, weight.shape])))
        : (familyOfKind(kind)?.normalise(type, attrs, dialect, release, backend) ?? {});
    const told = describedFacts({ kind, type, norm, attrs }, rankOf(outputShape), {
      dialect,
      version: release,
      backend,
    });
    const found = new Map(told);
    const bn = objectAt(layer, 'bn');
    if (bn !== undefined && attrs.size === 0) {
      const momentum = objectAt(bn, 'momentum')?.get('torch');
      found.set('epsilon', bn.get('eps') ?? null);
      found.set('momentum', typeof momentum === 'number' ? complement(momentum) : null);
      found.set('scale', bn.get('gamma') ?? null);
      found.set('center', bn.get('beta') ?? null);
    }
    const own = objectAt(layer, 'own');
    const container = booleanAt(layer, 'container') === true;
    const count = (key: string): Count => countAt(container ? own : layer, key) ?? 0;
    return {
      path,
      parent,
      name: nameOf(dialect, { path, parent, kind, type }),
      container,
      kind,
      type,
      known: attrs.size > 0,
      trainable: dialect === 'keras' ? (booleanAt(attrs, 'trainable') ?? null) : null,
      policy: policyOf(attrs.get('dtype')),
      facts: found,
      outputShape,
      inputs: stringsAt(layer, 'inputs'),
      weights,
      keras: count('keras'),
      torch: count('torch'),
      buffers: count('buffers'),
    };
  });
  const totals = totalsOf(json, label);
  const bytes = objectAt(json, 'bytes');
  const chain = booleanAt(json, 'chain');
  return {
    label,
    from: 'summary',
    name: stringAt(facts, 'name') ?? '',
    format: stringAt(facts, 'format') ?? '',
    dialect,
    producer: [framework, release].filter((part) => part !== '').join(' '),
    counts: countsOf(totals, bytesOf(bytes, dialect)),
    optimizer: { elements: totals.keras.optimizer, bytes: countAt(objectAt(bytes, 'keras'), 'optimizer') ?? 0 },
    layers,
    architecture: chain !== undefined,
    chain: chain === true,
    inputShapes: null,
    outputs: null,
    ...(stringAt(facts, 'type') === undefined ? {} : { rootType: stringAt(facts, 'type') ?? '' }),
    rootFacts: rootFactsAt(facts, layers, { dialect, version: release, backend }),
    program: programAt(facts),
    constants: constantsAt(facts, label),
    model: null,
    accounting: null,
  };
}

/** A summary lists constants where there are any; without a program and without a list, it cannot tell. */
function constantsAt(facts: JsonObject | undefined, label: string): readonly SideWeight[] | null {
  const list = listAt(facts, 'constants');
  if (list === undefined) return programAt(facts) === null ? null : [];
  return list.map((weight, at) => summaryWeight(weight, label, `model.constants[${at}]`));
}

function rootFactsAt(
  facts: JsonObject | undefined,
  layers: readonly SideLayer[],
  producer: Parameters<typeof describedFacts>[2],
): JsonObject | null {
  const type = stringAt(facts, 'type');
  const attrs = objectAt(facts, 'attrs');
  if (type === undefined || attrs === undefined || layers.some((layer) => layer.path === '')) return null;
  const found = describedFacts({ kind: 'model', type, norm: {}, attrs }, null, producer);
  return found.size === 0 ? new Map([['config', EMPTY_OBJECT]]) : found;
}
