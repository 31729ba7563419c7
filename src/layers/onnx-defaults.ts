import { isList, type Json, type JsonObject } from '../ir/json.ts';
import { ONNX_OPERATORS } from './onnx-operators.ts';

interface Operator {
  /** Operator sets in which it became another version, ascending. */
  readonly versions: readonly number[];
  /** Defaults by attribute, each from the version on that it came with. */
  readonly defaults: ReadonlyMap<string, readonly { readonly since: number; readonly value: Json }[]>;
}

let known: ReadonlyMap<string, Operator> | undefined;

function operators(): ReadonlyMap<string, Operator> {
  known ??= new Map(
    ONNX_OPERATORS.trim()
      .split('\n')
      .map((line): [string, Operator] => {
        const [name = '', versions = '', ...rest] = line.split(' ');
        return [name, { versions: versions.split(',').map(Number), defaults: new Map(rest.map(defaultOf)) }];
      }),
  );
  return known;
}

/** `keepdims=1`, or `axis=1@1;-1@13` where the default changed. */
function defaultOf(text: string): [string, { readonly since: number; readonly value: Json }[]] {
  const at = text.indexOf('=');
  const told = text.slice(at + 1).split(';');
  const changes = told.map((one) => {
    const [value = '', since = '1'] = one.split('@');
    return { since: Number(since), value: JSON.parse(value) as Json };
  });
  return [text.slice(0, at), changes];
}

/** The version of a standard operator that an operator set means; null for an operator that the standard lacks. */
export function onnxVersion(operator: string, opset: number): number | null {
  return (
    operators()
      .get(operator)
      ?.versions.findLast((version) => version <= opset) ?? null
  );
}

/** Defaults of recurrent operators that the schemas state in words alone, for one direction. */
const ACTIVATIONS: ReadonlyMap<string, readonly string[]> = new Map([
  ['LSTM', ['Sigmoid', 'Tanh', 'Tanh']],
  ['GRU', ['Sigmoid', 'Tanh']],
  ['RNN', ['Tanh']],
]);

/** Attributes whose default the standard states in words: one along each axis, or nothing. */
const ALONG_AXES: ReadonlyMap<string, number> = new Map([
  ['dilations', 1],
  ['output_padding', 0],
  ['pads', 0],
  ['strides', 1],
]);

/**
 * The attributes of a standard operator with the standard's defaults for those that are absent (onnx/defs, the schemas),
 * so that an absent one and its default are the same. Without an operator set, the newest defaults.
 */
export function withOnnxDefaults(
  operator: string,
  attrs: JsonObject,
  opset: number = Number.POSITIVE_INFINITY,
): JsonObject {
  const full = new Map<string, Json>();
  for (const [name, changes] of operators().get(operator)?.defaults ?? []) {
    const value = changes.findLast(({ since }) => since <= opset)?.value;
    if (value !== undefined) full.set(name, value);
  }
  for (const [name, value] of attrs) {
    const usual = ALONG_AXES.get(name);
    if (usual === undefined || !isList(value) || value.some((size) => size !== usual)) full.set(name, value);
  }
  // How the first releases of Caffe2 shared memory; and a switch that only says no (versions before 7).
  full.delete('consumed_inputs');
  if (full.get('broadcast') === 0) full.delete('broadcast');
  const usual = ACTIVATIONS.get(operator);
  if (usual !== undefined) {
    const both = full.get('direction') === 'bidirectional';
    if (!attrs.has('activations')) full.set('activations', both ? [...usual, ...usual] : usual);
  }
  // Until version 7 `is_test` was the opposite of what `training_mode` is since version 14.
  if (full.delete('is_test') && operator === 'BatchNormalization' && attrs.get('is_test') === 0) {
    full.set('training_mode', 1);
  }
  return full;
}

/** Attributes with those defaults that an operator set decides: Softmax' axis is 1 before operator set 13, and −1 since. */
export function settled(operator: string, attrs: JsonObject, opset: number): JsonObject {
  const found = new Map(attrs);
  for (const [name, changes] of operators().get(operator)?.defaults ?? []) {
    const [first] = changes;
    const inForce = changes.findLast(({ since }) => since <= opset) ?? first;
    if (inForce === undefined || inForce === changes.at(-1) || attrs.has(name)) continue;
    if (operator === 'Softmax' || operator === 'LogSoftmax') found.set(name, inForce.value);
  }
  return found;
}
