import { isList, isObject, type Json, type JsonObject, stringAt } from '../../ir/json.ts';
import type { Kind } from '../../ir/kind.ts';
import type { Layer } from '../../ir/model.ts';
import type { Emitted } from './context.ts';
import type { Ref } from './lowered.ts';

/**
 * Masks as Keras hands them on: with the value from layer to layer, or, in files of newer releases, as an argument of
 * the call. What the file states wins over what comes with the value.
 */

/** A mask that two releases of Keras would put together differently; whoever needs it refuses. */
export const UNKNOWN_MASK = '?';

export const AMBIGUOUS = 'the masks of several values meet before it, and releases of Keras join them differently';

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

function isTensor(value: Json): boolean {
  if (stringAt(value, 'class_name') === '__keras_tensor__') return true;
  return isList(value) && value.length >= 3 && value.length <= 4 && typeof value[0] === 'string';
}

/** Number of tensors in a keyword argument, in the order in which a call's inputs list them. */
function tensorsIn(value: Json): number {
  let count = 0;
  const stack: Json[] = [value];
  for (let next = stack.pop(); next !== undefined; next = stack.pop()) {
    if (isTensor(next)) count += 1;
    else if (isList(next)) stack.push(...next);
    else if (isObject(next)) stack.push(...next.values());
  }
  return count;
}

/** The tensors of a call: those given by place, and those given by name. */
export interface Given {
  readonly placed: readonly Ref[];
  readonly named: ReadonlyMap<string, readonly Ref[]>;
}

/** Splits a call's tensors; keyword arguments stand behind the others, in the file's order. */
export function givenBy(attrs: JsonObject, inputs: readonly Ref[]): Given {
  const counts = [...attrs].map(([name, value]): [string, number] => [name, tensorsIn(value)]);
  const total = counts.reduce((sum, [, count]) => sum + count, 0);
  let at = Math.max(inputs.length - total, 0);
  const placed = inputs.slice(0, at);
  const named = new Map<string, readonly Ref[]>();
  for (const [name, count] of counts) {
    if (count === 0) continue;
    named.set(name, inputs.slice(at, at + count));
    at += count;
  }
  return { placed, named };
}

/** Masks of an argument, one per value: null where the file states that there is none. */
function spread(value: Json, masks: readonly Ref[]): readonly (Ref | null)[] {
  if (isTensor(value) || !isList(value)) return masks.slice(0, 1);
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
): readonly Ref[] {
  const { placed, named } = givenBy(attrs, inputs);
  if (ATTENTION.has(layer.kind)) {
    const all = ['query', 'value', 'key'].map((name, index) => {
      const ref = named.get(name)?.[0] ?? placed[index];
      const mask = named.get(`${name}_mask`)?.[0];
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

/** The outputs with the mask that Keras gives them. */
export function handOn(layer: Layer | null, inputs: readonly Ref[], outputs: Emitted): Emitted {
  const kind = layer?.kind ?? 'operation';
  if (OWN.has(kind)) return outputs;
  const first = inputs[0];
  const mask = KEEPS.has(kind) ? first?.mask : MERGES.has(kind) ? mergedMask(inputs) : undefined;
  return outputs.map((ref, index) => {
    const { mask: _, ...rest } = ref;
    return mask === undefined || index > 0 ? rest : { ...rest, mask };
  });
}

/** Releases differ in whether masks are joined by and or by or, and in what a value without one does to the others. */
function mergedMask(inputs: readonly Ref[]): string | undefined {
  const masks = new Set(inputs.map((ref) => ref.mask));
  if (masks.size === 1) return inputs[0]?.mask;
  return UNKNOWN_MASK;
}
