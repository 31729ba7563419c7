import { isList, isObject, type Json, type JsonObject, stringAt } from '../../ir/json.ts';
import type { Kind } from '../../ir/kind.ts';
import type { Layer, Model } from '../../ir/model.ts';
import { isBelow, normNumber } from '../../layers/attribute.ts';
import { countCallTensors, isCallTensor } from '../../layers/call-tensors.ts';
import { operationWord } from '../../layers/operation.ts';
import { type Emitted, plainAxes, type Result, sameAxes } from './context.ts';
import type { Ref } from './lowered.ts';

/**
 * Masks as Keras hands them on: with the value from layer to layer, or, in files of newer releases, as an argument of
 * the call. What the file states wins over what comes with the value.
 */

/** A mask that two releases of Keras would put together differently; whoever needs it refuses. */
export const UNKNOWN_MASK = '?';

export const AMBIGUOUS = 'which mask reaches it depends on the release of Keras that runs the file';

/**
 * How Keras treats masks where its generations differ. Keras 3 settled with 3.10: an attention takes the masks of what
 * it reads away, sums join masks by or, and Softmax gives 0 where everything is masked. Earlier 3.x did so in part; a
 * file without a version is taken for a current one.
 */
export type Release = 'keras2' | 'early3' | 'keras3';

export function releaseOf(model: Model): Release {
  const { version } = model.producer;
  if (isBelow(version, '3')) return 'keras2';
  return isBelow(version, '3.10') ? 'early3' : 'keras3';
}

/** Layers whose output has the mask of their first input. Every other one ends it. */
const KEEPS: ReadonlySet<Kind> = new Set<Kind>([
  'activation',
  'attention',
  'batch_norm',
  'dense',
  'dot_attention',
  'additive_attention',
  'dropout',
  'grouped_attention',
  'group_norm',
  'identity',
  'instance_norm',
  'layer_norm',
  'noise',
  'normalization',
  'prelu',
  'rescaling',
  'softmax',
  'time_distributed',
  'unit_norm',
]);

/** Those of them that end it in Keras 2: they do not say that they support masks. */
const KEEP_SINCE_KERAS_3: ReadonlySet<Kind> = new Set<Kind>(['identity', 'normalization', 'rescaling']);

const MERGES: ReadonlySet<Kind> = new Set<Kind>([
  'add',
  'subtract',
  'multiply',
  'average',
  'maximum',
  'minimum',
  'concatenate',
]);

/** Layers that say themselves which mask their outputs have. */
const OWN: ReadonlySet<Kind> = new Set<Kind>([
  'bidirectional',
  'embedding',
  'gru',
  'lstm',
  'masking',
  'model',
  'reversible_embedding',
  'rnn',
  'rnn_container',
]);

/** The tensors of a call: those given by place, and those given by name. */
export interface Given<T> {
  readonly placed: readonly T[];
  readonly named: ReadonlyMap<string, readonly T[]>;
}

/** Splits a call's tensors; keyword arguments stand behind the others, in the file's order. */
export function givenBy<T>(attrs: JsonObject, inputs: readonly T[]): Given<T> {
  const counts = [...attrs].map(([name, value]): [string, number] => [name, countCallTensors(value)]);
  const total = counts.reduce((sum, [, count]) => sum + count, 0);
  let at = Math.max(inputs.length - total, 0);
  const placed = inputs.slice(0, at);
  const named = new Map<string, readonly T[]>();
  for (const [name, count] of counts) {
    if (count === 0) continue;
    named.set(name, inputs.slice(at, at + count));
    at += count;
  }
  return { placed, named };
}

/** Masks of an argument, one per value: null where the file states that there is none. */
function spread(value: Json, masks: readonly Ref[]): readonly (Ref | null)[] {
  if (isCallTensor(value) || !isList(value)) return masks.slice(0, 1);
  let next = 0;
  return value.map((item) => {
    if (item === null) return null;
    const found = masks[next] ?? null;
    next += 1;
    return found;
  });
}

const masked = (ref: Ref, mask: Ref | null): Ref => {
  const { mask: _, ...rest } = ref;
  return mask === null ? rest : { ...rest, mask: mask.name };
};

const ATTENTION: ReadonlySet<Kind> = new Set<Kind>(['attention', 'grouped_attention']);

/**
 * A call's values in the order in which its layer takes them, each with its mask. `attrs` are the call's keyword
 * arguments; a mask that does not lie in Keras' order is brought there by `keras`.
 */
export function withMasks(
  layer: Layer,
  attrs: JsonObject,
  inputs: readonly Ref[],
  keras: (ref: Ref) => Ref,
  release: Release,
): readonly Ref[] {
  const { placed, named } = givenBy(attrs, inputs);
  if (ATTENTION.has(layer.kind)) {
    const all = ['query', 'value', 'key'].map((name, index) => {
      const ref = named.get(name)?.[0] ?? placed[index];
      // MultiHeadAttention of Keras 3 asks the query itself for its mask, whatever the call states.
      const isIgnored = name === 'query' && layer.kind === 'attention' && release === 'keras3';
      const mask = isIgnored ? undefined : named.get(`${name}_mask`)?.[0];
      return ref !== undefined && mask !== undefined ? masked(ref, keras(mask)) : ref;
    });
    return all.filter((ref) => ref !== undefined);
  }
  const told = attrs.get('mask');
  const masks = named.get('mask');
  const rest = [...named].flatMap(([name, refs]) => (name === 'mask' ? [] : refs));
  const values = [...placed, ...rest];
  if (told === undefined || masks === undefined) return values;
  const laid = spread(told, masks.map(keras));
  return values.map((ref, index) => {
    const mask = laid[index];
    return mask === undefined ? ref : masked(ref, mask);
  });
}

/** What handing masks on needs to know of a call. */
export interface Passage {
  readonly release: Release;
  readonly layer: Layer | null;
  /** The operation that is called where it is no layer. */
  readonly op: string;
  /** A wrapper's inner layer. */
  readonly child: Layer | undefined;
  readonly inputs: readonly Ref[];
  /** The value whose mask the layer hands on. */
  readonly first: Ref | undefined;
  /** Writes a mask that is put together from others. */
  write(expr: string, result: Result): Ref;
}

/** The outputs with the mask that Keras gives them. */
export function handOn(passage: Passage, outputs: Emitted): Emitted {
  const { layer, child, release, first } = passage;
  // The wrapper hands out what its inner layer gave, with the mask that this one put on it.
  const acting = layer?.kind === 'spectral_norm' && child !== undefined ? child : layer;
  const kind = acting?.kind ?? 'operation';
  if (OWN.has(kind)) return outputs;
  if (layer === null && release !== 'keras2') return handOnOperation(passage, outputs);
  // ActivityRegularization is of one kind with Identity, and hands the mask on in both.
  const isOld = release === 'keras2' && acting?.type !== 'ActivityRegularization';
  const keeps = KEEPS.has(kind) && !(isOld && KEEP_SINCE_KERAS_3.has(kind));
  const mask = keeps ? first?.mask : MERGES.has(kind) && layer !== null ? mergedMask(passage, layer) : undefined;
  return outputs.map((ref, index) => {
    const { mask: _, ...rest } = ref;
    if (mask === undefined) return rest;
    if (index === 0) return { ...rest, mask };
    // The scores of an attention have a mask of their own, over queries and keys.
    return kind === 'attention' ? { ...rest, mask: UNKNOWN_MASK } : rest;
  });
}

/**
 * Operations of Keras 3 end a mask, since what they give is new; not those that may give the very tensor they took:
 * a conversion does where it names no type, a cast where the value has the type already.
 */
function handOnOperation({ op, first }: Passage, outputs: Emitted): Emitted {
  const word = operationWord(op);
  const mask =
    word === 'converttotensor' ? first?.mask : word === 'cast' && first?.mask !== undefined ? UNKNOWN_MASK : undefined;
  return outputs.map(({ mask: _, ...rest }) => (mask === undefined ? rest : { ...rest, mask }));
}

/** Releases differ in whether masks are joined by and or by or, and in what a value without one does to the others. */
function mergedMask(passage: Passage, layer: Layer): string | undefined {
  const { inputs, release, write } = passage;
  const masks = inputs.flatMap((ref) => (ref.mask === undefined ? [] : [ref.mask]));
  if (masks.length === 0) return undefined;
  const first = inputs[0] as Ref;
  const rank = first.axes.length;
  const told = layer.kind === 'concatenate' ? (normNumber(layer.norm, 'axis') ?? -1) : -1;
  const axis = told < 0 ? told + rank : told;
  const isLast = axis === rank - 1;
  const isUnmasked = masks.length < inputs.length;
  const isAlike = !isUnmasked && new Set(masks).size === 1;
  if (isAlike && isLast) return first.mask;
  const isRegular = rank === 3 && inputs.every((ref) => sameAxes(plainAxes(ref.axes.length), plainAxes(rank)));
  if (release !== 'keras3' || masks.includes(UNKNOWN_MASK)) return UNKNOWN_MASK;
  // A sum with a value without a mask has none. Side by side with such a value, every step counts: that is none, too.
  if (isUnmasked && isLast) return undefined;
  if (!isRegular || isUnmasked) return UNKNOWN_MASK;
  const steps: Result = { shape: null, axes: plainAxes(2), named: 'mask' };
  if (isLast) return write([...new Set(masks)].join(' | '), steps).name;
  return axis === 1 ? write(`torch.cat([${masks.join(', ')}], dim=1)`, steps).name : UNKNOWN_MASK;
}

/** Layers that give the very tensor that they took, so that a mask taken from one is taken from the other as well. */
const PASSES_ITSELF: ReadonlySet<Kind> = new Set<Kind>(['dropout', 'identity', 'noise']);

/** Whether a call of Keras 3 gives its input itself, not a copy of it, in inference. */
export function passesItself(layer: Layer | null, op: string, inputs: number): boolean {
  if (layer === null) return ['converttotensor', 'cast'].includes(operationWord(op));
  if (PASSES_ITSELF.has(layer.kind)) return true;
  if (layer.kind === 'activation') return layer.norm['function'] === 'linear' || layer.norm['function'] === undefined;
  return MERGES.has(layer.kind) && layer.kind !== 'concatenate' && inputs === 1;
}

/** The name of a layer's dtype policy; undefined where it states none. */
function policyOf(layer: Layer): string | undefined {
  const dtype = layer.attrs.get('dtype');
  if (typeof dtype === 'string') return dtype;
  const config = isObject(dtype ?? null) ? (dtype as JsonObject).get('config') : undefined;
  return config === undefined ? undefined : stringAt(config, 'name');
}

/** Whether Keras may cast values on their way from layer to layer, and so hand copies on whose masks stay. */
export function castsBetween(model: Model): { readonly layers: boolean; readonly models: boolean } {
  const policies = new Set<string>();
  for (const layer of model.layers) {
    const policy = layer.kind === 'input' ? undefined : policyOf(layer);
    if (policy !== undefined) policies.add(policy);
  }
  const [only = 'float32'] = policies;
  return { layers: policies.size > 1, models: policies.size > 1 || only !== 'float32' };
}
