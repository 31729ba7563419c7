import { minus } from '../account/count.ts';
import { explain, type StepKind } from '../account/explain.ts';
import { explainPair, type PairExplanation, type PairStep, type PairStepKind } from '../account/explain-pair.ts';
import { planTranslation } from '../convert/plan.ts';
import { translate } from '../convert/translate.ts';
import { countElements } from '../ir/build.ts';
import { BnsumError, isBnsumError } from '../ir/error.ts';
import type { Json } from '../ir/json.ts';
import type { NormAttrs, NormValue } from '../ir/model.ts';
import { familyOfType } from '../layers/registry.ts';
import type { Change } from './change.ts';
import { type CompareOptions, type Comparison, compareSides, type Trouble } from './compare.ts';
import { type LayerPair, type Pairing, pairLayers } from './pair.ts';
import { byNumbers, contradicted } from './paired-order.ts';
import type { Aliases } from './policy.ts';
import { factsOf, nameOf, RULES, type Side, type SideLayer, type SideWeight } from './side.ts';
import { hashTensor, hasValues, newBuffers } from './values.ts';

/** A module's constructor arguments as a reader of a PyTorch file would have them. */
function argsOf(args: NormAttrs): ReadonlyMap<string, Json> {
  const plain = (value: NormValue): Json => {
    if (Array.isArray(value)) return (value as readonly NormValue[]).map(plain);
    if (typeof value === 'object' && value !== null) {
      return new Map(
        Object.entries(value as Readonly<Record<string, NormValue>>).map(([key, one]) => [key, plain(one)]),
      );
    }
    return value as Json;
  };
  return new Map(Object.entries(args).map(([key, value]) => [key, plain(value)]));
}

/** torch.nn's defaults of arguments that a translation leaves out when it wants the default (torch 2.13). */
const DEFAULTS: readonly (readonly [string, Json])[] = [
  ['affine', true],
  ['batch_first', false],
  ['bias', true],
  ['bidirectional', false],
  ['dilation', 1],
  ['elementwise_affine', true],
  ['eps', 1e-5],
  ['groups', 1],
  ['momentum', 0.1],
  ['num_layers', 1],
  ['padding', 0],
  ['padding_mode', 'zeros'],
  ['proj_size', 0],
  ['stride', 1],
  ['track_running_stats', true],
];

/**
 * A Keras model in PyTorch's words, tensors included: what bnconvert would write, as a side; and for each of its layers
 * the paths of the Keras layers that its tensors come from. Throws BnsumError REFUSED or MISMATCH naming the layer that
 * has no counterpart.
 */
function translatedWithNames(
  side: Side,
  other: Side,
): { readonly side: Side; readonly origins: ReadonlyMap<string, readonly string[]> } {
  if (side.model === null) throw new BnsumError({ code: 'INTERNAL', reason: 'a translation needs a model' });
  const plan = planTranslation(side.model, { file: side.label });
  const entries = translate(plan);
  const modules = new Map(plan.modules.map((module) => [module.path, module]));
  // A key stands where the other file's reader puts it, so that the same keys are the same layers.
  const places = new Map<string, readonly [string, string]>();
  for (const layer of other.layers)
    for (const weight of layer.weights) places.set(weight.name, [layer.path, weight.role]);
  const owned = new Map<string, SideWeight[]>();
  const holders = new Map(side.layers.flatMap((layer) => layer.weights.map((weight) => [weight.name, layer.path])));
  const origins = new Map<string, string[]>();
  for (const [index, planned] of plan.tensors.entries()) {
    const entry = entries[index];
    if (entry === undefined) continue;
    const [module, role] = places.get(planned.name) ?? ownerOf(planned.name, modules);
    const weight: SideWeight = {
      role,
      class: planned.class,
      name: planned.filled ? planned.name : planned.sources.map((source) => source.name).join(', '),
      shape: planned.shape,
      dtype: planned.dtype,
      elements: countElements(planned.shape, side.label, planned.name),
      bytes: entry.tensor.byteLength,
      trainable: planned.class === 'weight' && planned.isParameter ? planned.requiresGrad : null,
      tied: null,
      // An architecture alone has no values to move.
      tensor: planned.sources.every(hasValues) ? entry.tensor : null,
      sha256: null,
      filled: planned.filled,
    };
    const list = owned.get(module);
    if (list) list.push(weight);
    else owned.set(module, [weight]);
    const from = origins.get(module) ?? [];
    for (const source of planned.sources) {
      const holder = holders.get(source.name);
      if (holder !== undefined && !from.includes(holder)) from.push(holder);
    }
    origins.set(module, from);
  }
  const layers = [...owned].map(([path, weights]): SideLayer => {
    const made = modules.get(path);
    const type = made?.type ?? '';
    const attrs = argsOf(made?.args ?? {});
    const family = made?.custom === true ? undefined : familyOfType('torch', type, attrs);
    const kind = family?.kind ?? 'unknown';
    const norm = family?.normalise(type, new Map([...DEFAULTS, ...attrs]), 'torch', '') ?? {};
    const layer = { path, parent: null, kind, type };
    return {
      ...layer,
      name: nameOf('torch', layer),
      container: false,
      known: family !== undefined,
      trainable: null,
      policy: null,
      facts: factsOf(kind, norm, attrs, null),
      outputShape: null,
      inputs: null,
      weights,
      keras: 0,
      torch: weights.reduce((sum, weight) => sum + (weight.class === 'weight' ? weight.elements : 0), 0),
      buffers: 0,
    };
  });
  return {
    side: { ...side, dialect: 'torch', layers, architecture: false, chain: false, inputShapes: null, outputs: null },
    origins,
  };
}

/** The nearest module above a key that the plan makes, and the rest of the key. */
function ownerOf(key: string, modules: ReadonlyMap<string, unknown>): readonly [string, string] {
  const nearest = key.lastIndexOf('.');
  for (let dot = nearest; dot > 0; dot = key.lastIndexOf('.', dot - 1)) {
    if (modules.has(key.slice(0, dot))) return [key.slice(0, dot), key.slice(dot + 1)];
  }
  return [key.slice(0, Math.max(0, nearest)), key.slice(nearest + 1)];
}

/** Ways of matching modules whose names differ, the surest first. */
const SIGNATURES: readonly ((layer: SideLayer) => string)[] = [
  (layer) => `${layer.kind} ${tensorsOf(layer)}`,
  (layer) => tensorsOf(layer),
  // With and without bias, or with and without a counter, it is still that layer.
  (layer) =>
    `${layer.kind} ${layer.weights.find((weight) => weight.role === 'weight')?.shape.join('x') ?? tensorsOf(layer)}`,
];

function tensorsOf(layer: SideLayer): string {
  return layer.weights
    .map((weight) => `${weight.role}:${weight.shape.join('x')}`)
    .toSorted()
    .join(' ');
}

interface PairedAcross {
  readonly pairing: Pairing;
  /** Layers whose content stands in another layer than the one that they are paired with. */
  readonly moved: readonly (readonly [SideLayer, SideLayer])[];
}

/**
 * Pairs modules of a translated side with those of a file: by path, then content, then kind and shape in order. Content
 * alone does not say where a layer belongs: where the names or the order of the file say otherwise, they win, and what
 * stands elsewhere is told.
 */
async function pairAcross(a: Side, b: Side, values: boolean, signal?: AbortSignal): Promise<PairedAcross> {
  const left = a.layers.filter((layer) => layer.weights.length > 0);
  // A safetensors file is in an order of its own: the numbers in its names say more.
  const isOrdered = b.format !== 'safetensors';
  const held = b.layers.filter((layer) => layer.weights.length > 0);
  const right = isOrdered ? held : held.toSorted((one, other) => byNumbers(one.path, other.path));
  const partner = new Map<SideLayer, LayerPair>();
  const taken = new Set<SideLayer>();
  const ambiguous: SideLayer[] = [];
  const join = (one: SideLayer, other: SideLayer, by: LayerPair['by']): void => {
    partner.set(one, { a: one, b: other, by });
    taken.add(other);
  };
  const paths = new Map(right.map((layer) => [layer.path, layer]));
  for (const layer of left) {
    const found = paths.get(layer.path);
    if (found !== undefined) join(layer, found, 'path');
  }
  const open = (): [SideLayer[], SideLayer[]] => [
    left.filter((layer) => !partner.has(layer)),
    right.filter((layer) => !taken.has(layer)),
  ];
  const moved: (readonly [SideLayer, SideLayer])[] = [];
  if (values) {
    const found = await pairsByContent(...open(), signal);
    // Layers of one kind and one shape, which only their place or their name tells apart.
    const groups = new Map<string, (readonly [SideLayer, SideLayer])[]>();
    for (const pair of found) {
      const key = `${pair[0].kind} ${tensorsOf(pair[0])}`;
      const list = groups.get(key);
      if (list) list.push(pair);
      else groups.set(key, [pair]);
    }
    const places = new Map(right.map((layer, index) => [layer, index]));
    for (const group of groups.values()) {
      const { pairs, unsure } = contradicted(group, (layer) => places.get(layer) ?? 0, isOrdered);
      ambiguous.push(...unsure);
      for (const [one, other, content] of pairs) {
        join(one, other, content === other ? 'content' : 'order');
        if (content !== other) moved.push([one, content]);
      }
    }
  }
  for (const signature of SIGNATURES) {
    const [ours, theirs] = open();
    const groups = new Map<string, SideLayer[]>();
    for (const layer of theirs) {
      const key = signature(layer);
      const list = groups.get(key);
      if (list) list.push(layer);
      else groups.set(key, [layer]);
    }
    const counts = new Map<string, number>();
    for (const layer of ours) counts.set(signature(layer), (counts.get(signature(layer)) ?? 0) + 1);
    const cursors = new Map<string, number>();
    for (const layer of ours) {
      const key = signature(layer);
      const group = groups.get(key) ?? [];
      const at = cursors.get(key) ?? 0;
      const found = group[at];
      if (found === undefined) continue;
      cursors.set(key, at + 1);
      if (group.length > 1 || (counts.get(key) ?? 0) > 1) ambiguous.push(layer);
      join(layer, found, 'order');
    }
  }
  return {
    pairing: {
      pairs: left.flatMap((layer) => partner.get(layer) ?? []),
      removed: left.filter((layer) => !partner.has(layer)),
      added: right.filter((layer) => !taken.has(layer)),
      ambiguous,
    },
    moved,
  };
}

/** Pairs of layers that hold the same: every tensor first, then the largest alone. */
async function pairsByContent(
  left: readonly SideLayer[],
  right: readonly SideLayer[],
  signal?: AbortSignal,
): Promise<readonly (readonly [SideLayer, SideLayer])[]> {
  const buffers = newBuffers();
  const hashes = new Map<SideWeight, string | null>();
  const hashOf = async (weight: SideWeight): Promise<string | null> => {
    const known = hashes.get(weight);
    if (known !== undefined) return known;
    const dense = weight.tensor !== null && weight.tensor.encoding.kind === 'dense';
    const hash =
      dense && weight.tensor !== null
        ? `${weight.role} ${weight.dtype} ${weight.shape.join('x')} ${await hashTensor(weight.tensor, buffers, signal)}`
        : null;
    hashes.set(weight, hash);
    return hash;
  };
  const everything = async (layer: SideLayer): Promise<string | null> => {
    const words: string[] = [];
    for (const weight of layer.weights) {
      if (weight.class === 'counter') continue;
      const hash = await hashOf(weight);
      if (hash === null) return null;
      words.push(hash);
    }
    return words.length === 0 ? null : words.toSorted().join('\n');
  };
  const largest = async (layer: SideLayer): Promise<string | null> => {
    // The largest tensor tells a layer; a shared bias of zeros does not.
    const weight = layer.weights
      .filter((one) => one.class === 'weight' && !one.filled)
      .toSorted((one, other) => other.elements - one.elements)[0];
    return weight === undefined ? null : hashOf(weight);
  };
  const found = new Map<SideLayer, SideLayer>();
  const taken = new Set<SideLayer>();
  for (const wordOf of [everything, largest]) {
    const byContent = new Map<string, SideLayer[]>();
    for (const layer of right) {
      const word = taken.has(layer) ? null : await wordOf(layer);
      if (word === null) continue;
      const list = byContent.get(word);
      if (list) list.push(layer);
      else byContent.set(word, [layer]);
    }
    for (const layer of left) {
      if (found.has(layer)) continue;
      const word = await wordOf(layer);
      const other = word === null ? undefined : byContent.get(word)?.shift();
      if (other === undefined) continue;
      found.set(layer, other);
      taken.add(other);
    }
  }
  return left.flatMap((layer) => {
    const other = found.get(layer);
    return other === undefined ? [] : [[layer, other] as const];
  });
}

function tryTranslation(keras: Side, torch: Side): ReturnType<typeof translatedWithNames> | Trouble {
  try {
    return translatedWithNames(keras, torch);
  } catch (error) {
    if (!isBnsumError(error, 'REFUSED', 'MISMATCH', 'UNSUPPORTED')) throw error;
    return { layer: '', role: '', code: error.code, message: error.message };
  }
}

/** A comparison with every name that its layers go by. */
export interface Compared extends Comparison {
  readonly aliases: Aliases;
}

export interface NamedOptions extends CompareOptions {
  /** `values` asks for some layers by name, and means a layer by any of its names. */
  readonly byName?: boolean;
}

function aliasesOf(pairing: Pairing, origins: ReadonlyMap<string, readonly string[]>): Map<string, readonly string[]> {
  const aliases = new Map<string, readonly string[]>();
  for (const { path } of pairing.added) aliases.set(path, origins.get(path) ?? []);
  for (const { path } of pairing.removed) aliases.set(path, origins.get(path) ?? []);
  for (const { a, b } of pairing.pairs) {
    aliases.set(a.path, [b.path, ...(origins.get(a.path) ?? []), ...(origins.get(b.path) ?? [])]);
  }
  return aliases;
}

function askedByName(options: CompareOptions, aliases: Aliases): CompareOptions {
  const { values } = options;
  if (values === null) return options;
  return { ...options, values: (path) => [path, ...(aliases.get(path) ?? [])].some((name) => values(name)) };
}

/** What can be said of a Keras model that has no counterpart: the totals, and why they differ. */
function untranslated(a: Side, b: Side, trouble: Trouble): Compared {
  const named = ({ label, from, format, dialect, producer }: Side): Comparison['a'] => ({
    label,
    from,
    format,
    dialect,
    producer,
  });
  const [left, right] = [a, b].map(({ model, accounting }) => (model && accounting ? { model, accounting } : null));
  return {
    a: named(a),
    b: named(b),
    across: true,
    paired: 0,
    changes: [],
    ignored: 0,
    rules: RULES.map((rule) => ({ rule, a: a.counts.get(rule) ?? null, b: b.counts.get(rule) ?? null })),
    optimizer: { a: a.optimizer?.elements ?? null, b: b.optimizer?.elements ?? null },
    explanation: left && right ? explainPair(left, right) : null,
    values: null,
    notCompared: [],
    troubles: [trouble],
    namesDiffer: 0,
    aliases: new Map(),
  };
}

/** The steps of a translation in the words of a pair. */
const PAIR_STEPS: Readonly<Record<StepKind, PairStepKind | null>> = {
  moving_statistics: 'moving_statistics',
  other_statistics: 'other_statistics',
  counters: 'counters',
  constants: 'constants',
  filled_scale: 'scale_and_shift',
  tied_apart: 'tied',
  second_bias: 'second_bias',
  filled: 'different_size',
  restructured: 'different_size',
  batch_counters: null,
  repeated_keys: null,
  folded_affine: null,
  gained_bias: null,
  scale_and_shift: null,
  optimizer: null,
};

/**
 * Why two files of one network have different totals: the steps from Keras' total to PyTorch's parameters of the Keras
 * side, as long as nothing else differs in size; null: something does, or the steps lead elsewhere.
 */
function explainTranslation(
  keras: Side,
  torch: Side,
  kerasFirst: boolean,
  compared: Comparison,
): PairExplanation | null {
  if (keras.model === null || keras.accounting === null) return null;
  if (compared.changes.some((change) => 'elements' in change && change.code !== 'trainable')) return null;
  const stage = explain(keras.model, keras.accounting).stages[0];
  const to = torch.counts.get('torch.parameters');
  if (stage === undefined || stage.to.elements !== to) return null;
  const steps: PairStep[] = [];
  for (const step of stage.steps) {
    const kind = PAIR_STEPS[step.kind];
    if (kind === null) return null;
    steps.push({ kind, elements: kerasFirst ? step.elements : minus(0, step.elements), layers: step.layers });
  }
  const ends = [stage.from, stage.to] as const;
  const [from, until] = kerasFirst ? ends : [ends[1], ends[0]];
  return { from, steps, to: until, paired: compared.paired };
}

/**
 * Compares a Keras model with a PyTorch one in PyTorch's words: the Keras side is translated as bnconvert does, the
 * tensors that a translation fills are compared with their fill values, and the two totals are explained.
 */
export async function compareAcross(a: Side, b: Side, options: CompareOptions): Promise<Compared> {
  const kerasFirst = a.dialect === 'keras';
  const keras = kerasFirst ? a : b;
  const torch = kerasFirst ? b : a;
  if (keras.dialect !== 'keras' || torch.dialect !== 'torch') {
    throw new BnsumError({
      code: 'UNSUPPORTED',
      file: torch.label,
      reason: `a ${torch.dialect} model is not compared with a ${keras.dialect} one`,
      next: 'Keras and PyTorch models are compared with each other, and each with its own kind',
    });
  }
  if (keras.model === null || torch.model === null) {
    throw new BnsumError({
      code: 'UNSUPPORTED',
      file: keras.model === null ? keras.label : torch.label,
      reason: 'across frameworks the model files themselves are compared, not summaries or lock files',
      next: 'name the two model files',
    });
  }
  const translated = tryTranslation(keras, torch);
  if ('message' in translated) return untranslated(a, b, translated);
  const first = kerasFirst ? translated.side : torch;
  const second = kerasFirst ? torch : translated.side;
  const { pairing, moved } = await pairAcross(first, second, options.values !== null, options.signal);
  const aliases = aliasesOf(pairing, translated.origins);
  const accounts = [a, b].map((side) => {
    if (side.model === null || side.accounting === null) throw new BnsumError({ code: 'INTERNAL', reason: 'no model' });
    return { model: side.model, accounting: side.accounting };
  });
  const [left, right] = accounts;
  const compared = await compareSides(first, second, askedByName(options, aliases), { pairing, across: true });
  // Their values differ in place, and that is told as well.
  const moves = moved.map(
    ([one, other]): Change => ({ code: 'layer_moved', at: { a: one.path, b: other.path, kind: one.kind } }),
  );
  const ignored = options.ignore.has('renames');
  const explanation =
    left === undefined || right === undefined
      ? null
      : (explainTranslation(keras, torch, kerasFirst, compared) ?? explainPair(left, right));
  return {
    ...compared,
    changes: ignored ? compared.changes : [...moves, ...compared.changes],
    ignored: compared.ignored + (ignored ? moves.length : 0),
    aliases,
    explanation,
    a: { ...compared.a, dialect: a.dialect },
    b: { ...compared.b, dialect: b.dialect },
  };
}

/** Compares any two sides; across frameworks by translation. */
export async function compare(a: Side, b: Side, options: NamedOptions): Promise<Compared> {
  if (a.dialect !== b.dialect) return compareAcross(a, b, options);
  // A layer's other name is its partner's, as far as paths and shapes tell; equal content needs no second look.
  const named =
    options.values === null || options.byName !== true ? null : aliasesOf(await pairLayers(a, b), new Map());
  const aliases = named ?? new Map<string, readonly string[]>();
  const compared = { ...(await compareSides(a, b, askedByName(options, aliases))), aliases };
  if (a.model === null || b.model === null || a.accounting === null || b.accounting === null) return compared;
  const same = a.counts.get('keras.total') === b.counts.get('keras.total');
  if (same) return compared;
  return {
    ...compared,
    explanation: explainPair(
      { model: a.model, accounting: a.accounting },
      { model: b.model, accounting: b.accounting },
    ),
  };
}
