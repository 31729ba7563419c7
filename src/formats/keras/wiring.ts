import { BnsumError } from '../../ir/error.ts';
import { EMPTY_OBJECT, isList, isObject, type Json, type JsonObject, objectAt, stringAt } from '../../ir/json.ts';
import { LIMITS } from '../../ir/limits.ts';
import type { Call, Constant, Graph, Shape, Value } from '../../ir/model.ts';
import { isKeras3, type LayerSpec, shapeOf, shapesOf } from './architecture.ts';

/**
 * The graphs of a model and of every model nested in it, from `inbound_nodes` in all its spellings. A call's inputs are
 * the tensors and literals of its arguments in the order in which they stand; keyword arguments come behind them.
 */
export function wireModels(root: LayerSpec, file: string, version: string): ReadonlyMap<string, Graph> {
  const graphs = new Map<string, Graph>();
  const stack = [root];
  for (let spec = stack.pop(); spec !== undefined; spec = stack.pop()) {
    if (spec.form === 'sequential') graphs.set(spec.path, wireSequential(spec));
    if (spec.form === 'functional') graphs.set(spec.path, wireFunctional(spec, file, version));
    stack.push(...spec.children);
  }
  return graphs;
}

interface GraphBuilder {
  readonly values: Value[];
  readonly calls: Call[];
  /** Adds a value and gives its id. */
  add(shape: Shape | null, dtype: string | null): number;
}

function buildGraph(): GraphBuilder {
  const values: Value[] = [];
  return {
    values,
    calls: [],
    add(shape, dtype) {
      const id = values.length;
      values.push({ id, shape, dtype });
      return id;
    },
  };
}

function inputDtype(attrs: JsonObject | undefined): string | null {
  return stringAt(attrs, 'dtype') ?? stringAt(attrs, 'input_dtype') ?? null;
}

/** The shape that goes into a Sequential's first layer; null when neither the model nor that layer states it. */
function entryShape(model: LayerSpec): Shape | null {
  const [first] = model.children;
  const stated = inputShapeOf(model.entry) ?? inputShapeOf(first?.attrs);
  if (stated !== null) return stated;
  const built = shapesOf(model.attrs.get('build_input_shape')) ?? model.buildInputs;
  if (built?.length === 1 && built[0] !== undefined) return built[0];
  const length = first?.attrs.get('input_length');
  const size = first?.attrs.get('input_dim');
  if (first?.kind === 'embedding') return typeof length === 'number' ? [null, length] : null;
  // Keras 1 and 2 take the size of a first Dense, or of a first recurrent layer with its length, as arguments.
  if (typeof size !== 'number') return first?.form === 'sequential' ? entryShape(first) : null;
  return length === undefined ? [null, size] : [null, typeof length === 'number' ? length : null, size];
}

function inputShapeOf(attrs: JsonObject | undefined): Shape | null {
  return shapeOf(attrs?.get('batch_shape')) ?? shapeOf(attrs?.get('batch_input_shape'));
}

function wireSequential(model: LayerSpec): Graph {
  const builder = buildGraph();
  const [first] = model.children;
  let current = builder.add(entryShape(model), inputDtype(model.entry) ?? inputDtype(first?.attrs));
  const inputs = [current];
  for (const spec of model.children) {
    const output = builder.add(null, null);
    builder.calls.push({ layer: spec.path, op: '', attrs: EMPTY_OBJECT, inputs: [current], outputs: [output] });
    current = output;
  }
  return { inputs, outputs: [current], takes: '#', gives: '#', values: builder.values, calls: builder.calls };
}

/** [layer, node, tensor] */
interface History {
  readonly layer: string;
  readonly node: number;
  readonly tensor: number;
  /** In `input_layers` and `output_layers` Keras 3 counts the nodes of nested models otherwise. */
  readonly outer: boolean;
}

type Argument = History | Constant;

interface PlannedCall {
  readonly spec: LayerSpec;
  readonly node: number;
  readonly arguments: readonly Argument[];
  readonly attrs: JsonObject;
}

function wireFunctional(model: LayerSpec, file: string, version: string): Graph {
  const byName = new Map(model.children.map((child) => [child.name, child]));
  const planned: PlannedCall[] = [];
  for (const spec of model.children) {
    if (spec.kind === 'input') {
      planned.push({ spec, node: 0, arguments: [], attrs: EMPTY_OBJECT });
      continue;
    }
    for (const [node, inbound] of spec.inbound.entries()) {
      planned.push({ spec, node, ...argumentsOf(inbound, spec, version) });
    }
    if (planned.length > LIMITS.layers) {
      throw new BnsumError({ code: 'LIMIT', file, place: model.path, reason: `more than ${LIMITS.layers} calls` });
    }
  }
  const inputs = historiesOf(model.inputLayers, true);
  const outputs = historiesOf(model.outputLayers, true);
  const histories = [...inputs, ...outputs];
  for (const call of planned) for (const argument of call.arguments) if ('layer' in argument) histories.push(argument);
  const resolve = nodeResolver(byName, histories, file, model.path, version);
  const tensors = new Map<string, number>();
  for (const history of histories) {
    const key = `${history.layer}\0${resolve(history)}`;
    tensors.set(key, Math.max(tensors.get(key) ?? 0, history.tensor));
  }

  const builder = buildGraph();
  const made = new Map<string, readonly number[]>();
  const valueAt = (history: History): number | undefined =>
    made.get(`${history.layer}\0${resolve(history)}`)?.[history.tensor];
  for (const call of inExecutionOrder(planned, resolve, file, model.path)) {
    const { spec, node } = call;
    const key = `${spec.name}\0${node}`;
    if (spec.kind === 'input') {
      const shapes = spec.inputs ?? [];
      const id = builder.add(shapes[0] ?? null, inputDtype(spec.attrs));
      made.set(key, [id]);
      builder.calls.push({ layer: spec.path, op: '', attrs: EMPTY_OBJECT, inputs: [], outputs: [id] });
      continue;
    }
    const count = Math.max((tensors.get(key) ?? 0) + 1, outputsOfModel(spec));
    if (count > LIMITS.layers) throw malformed(file, spec.path, `a call with ${count} outputs`);
    const ids = Array.from({ length: count }, () => builder.add(null, null));
    made.set(key, ids);
    const operation = spec.form === 'operation';
    builder.calls.push({
      layer: operation ? null : spec.path,
      op: operation ? operationName(spec) : '',
      attrs: operation ? operationAttrs(spec.attrs, call.attrs) : call.attrs,
      inputs: call.arguments.map((argument) => {
        if (!('layer' in argument)) return argument;
        return valueAt(argument) ?? missingTensor(file, spec.path, argument);
      }),
      outputs: ids,
    });
  }
  const ends = (list: readonly History[]): number[] =>
    list.map((history) => valueAt(history) ?? missingTensor(file, model.path, history));
  return {
    inputs: ends(inputs),
    outputs: ends(outputs),
    ...(isObject(model.inputLayers) ? { inputNames: keysOf(model.inputLayers) } : {}),
    ...(isObject(model.outputLayers) ? { outputNames: keysOf(model.outputLayers) } : {}),
    takes: formOf(model.inputLayers, version),
    gives: formOf(model.outputLayers, version),
    values: builder.values,
    calls: builder.calls,
  };
}

/**
 * How a model is called: `#` for a tensor, in the lists and dicts that the config has. Before Keras 3 the config has a
 * list of one for a tensor alone, too: `#?`.
 */
function formOf(ends: Json, version: string): Json {
  const form = (value: Json): Json => {
    if (historyOf(value, true) !== undefined) return '#';
    if (isList(value)) return value.map(form);
    return isObject(value) ? new Map([...value].map(([key, one]) => [key, form(one)])) : '#';
  };
  const found = form(ends);
  return !isKeras3(version) && isList(found) && found.length === 1 && found[0] === '#' ? '#?' : found;
}

/** An operation's own settings (axis, newshape) stand in its config; what a call says wins. */
function operationAttrs(config: JsonObject, call: JsonObject): JsonObject {
  return new Map([...config, ...call].filter(([key]) => key !== 'name'));
}

function operationName(spec: LayerSpec): string {
  return spec.module === '' ? spec.type : `${spec.module}.${spec.type}`;
}

function malformed(file: string, place: string, reason: string): BnsumError {
  return new BnsumError({ code: 'MALFORMED', file, place, reason });
}

function missingTensor(file: string, place: string, { layer, node, tensor }: History): never {
  throw malformed(file, place, `the graph names output ${tensor} of call ${node} of ${layer}, which is not there`);
}

function outputsOfModel(spec: LayerSpec): number {
  return spec.form === 'functional' ? historiesOf(spec.outputLayers, true).length : 1;
}

/**
 * Which call of its layer a history means. Calls are counted from 0, but a nested model has had one of its own when it was
 * made: Keras 2 counts that one everywhere, Keras 3 in `input_layers` and `output_layers` alone. Where a file contradicts
 * its generation (a call 0, or one more than there are), the file is believed.
 */
function nodeResolver(
  byName: ReadonlyMap<string, LayerSpec>,
  histories: readonly History[],
  file: string,
  place: string,
  version: string,
): (history: History) => number {
  const range = new Map<string, { least: number; most: number }>();
  const keyOf = ({ layer, outer }: History): string => `${outer && isKeras3(version) ? 'outer' : 'inner'}\0${layer}`;
  for (const history of histories) {
    const spec = byName.get(history.layer);
    if (spec === undefined)
      throw malformed(file, place, `the graph names ${history.layer}, which is no layer of the model`);
    const key = keyOf(history);
    const { least, most } = range.get(key) ?? { least: history.node, most: history.node };
    range.set(key, { least: Math.min(least, history.node), most: Math.max(most, history.node) });
  }
  return (history) => {
    const spec = byName.get(history.layer);
    if (spec === undefined || (spec.form !== 'functional' && spec.form !== 'sequential')) return history.node;
    const calls = spec.inbound.length;
    const { least, most } = range.get(keyOf(history)) ?? { least: 0, most: 0 };
    const usual = history.outer || !isKeras3(version) ? 1 : 0;
    const offset = least === 0 ? 0 : most >= calls ? 1 : usual;
    return history.node - offset;
  };
}

/** Each call behind those whose results it takes; throws MALFORMED for a cycle. */
function inExecutionOrder(
  planned: readonly PlannedCall[],
  resolve: (history: History) => number,
  file: string,
  place: string,
): readonly PlannedCall[] {
  const indexOf = new Map(planned.map((call, index) => [`${call.spec.name}\0${call.node}`, index]));
  const waitingFor = planned.map(() => 0);
  const followers = planned.map((): number[] => []);
  for (const [index, call] of planned.entries()) {
    for (const argument of call.arguments) {
      if (!('layer' in argument)) continue;
      const from = indexOf.get(`${argument.layer}\0${resolve(argument)}`);
      if (from === undefined) return missingTensor(file, call.spec.path, argument);
      followers[from]?.push(index);
      waitingFor[index] = (waitingFor[index] ?? 0) + 1;
    }
  }
  const order: PlannedCall[] = [];
  // Of all calls that could come next, the one that stands first in the config.
  const ready: number[] = [];
  for (const [index, count] of waitingFor.entries()) if (count === 0) pushLeast(ready, index);
  for (let index = popLeast(ready); index !== undefined; index = popLeast(ready)) {
    const call = planned[index];
    if (call !== undefined) order.push(call);
    for (const follower of followers[index] ?? []) {
      const left = (waitingFor[follower] ?? 0) - 1;
      waitingFor[follower] = left;
      if (left === 0) pushLeast(ready, follower);
    }
  }
  if (order.length < planned.length) throw malformed(file, place, 'the graph runs in a circle');
  return order;
}

/** A heap of numbers, the least on top. */
function pushLeast(items: number[], item: number): void {
  let at = items.push(item) - 1;
  while (at > 0) {
    const parent = (at - 1) >> 1;
    const above = items[parent] ?? 0;
    if (above <= item) break;
    items[at] = above;
    at = parent;
  }
  items[at] = item;
}

function popLeast(items: number[]): number | undefined {
  const top = items[0];
  const last = items.pop();
  if (top === undefined || last === undefined || items.length === 0) return top;
  let at = 0;
  for (;;) {
    let child = 2 * at + 1;
    if (child >= items.length) break;
    if (child + 1 < items.length && (items[child + 1] ?? 0) < (items[child] ?? 0)) child++;
    if ((items[child] ?? 0) >= last) break;
    items[at] = items[child] ?? 0;
    at = child;
  }
  items[at] = last;
  return top;
}

/** The key of each history of an object, in Keras' order: `z`, and `z_0`, `z_1` where a list stands under it. */
function keysOf(value: JsonObject): readonly string[] {
  return [...value.keys()].sort(compareCodePoints).flatMap((key) => {
    const count = historiesOf(value.get(key) ?? null, true).length;
    return count === 1 ? [key] : Array.from({ length: count }, (_, index) => `${key}_${index}`);
  });
}

/** Keras flattens an object by its keys, whatever their order in the file; Python compares them by code points. */
function byKey(value: JsonObject): readonly Json[] {
  // A tuple, a slice: an object of Keras' own JSON, no dict of the model's.
  if (typeof value.get('class_name') === 'string') return [...value.values()];
  return [...value].sort(([a], [b]) => compareCodePoints(a, b)).map(([, item]) => item);
}

function compareCodePoints(a: string, b: string): number {
  const [left, right] = [[...a], [...b]];
  for (const [at, character] of left.entries()) {
    const other = right[at];
    if (other === undefined) return 1;
    if (character !== other) return (character.codePointAt(0) ?? 0) - (other.codePointAt(0) ?? 0);
  }
  return left.length - right.length;
}

/** What a structure holds, in the order in which Keras flattens it. */
function partsOf(value: Json): readonly Json[] | undefined {
  return isList(value) ? value : isObject(value) ? byKey(value) : undefined;
}

/**
 * What a nested model takes from an object that it is called with. One that was made with a list looks for the names of
 * its input layers. One that was made with an object looks for its own keys in Keras 2; Keras 3 flattens both and
 * passes over what is left (`most`: as many as the model has inputs).
 */
function forModel(
  spec: LayerSpec,
  value: JsonObject,
  version: string,
): { readonly value: Json; readonly most: number } {
  const { inputLayers } = spec;
  const histories = historiesOf(inputLayers, true);
  const named = isObject(inputLayers);
  if (named && isKeras3(version)) return { value, most: histories.length };
  const keys = named ? [...inputLayers.keys()].sort(compareCodePoints) : histories.map(({ layer }) => layer);
  const found = keys.map((key) => value.get(key));
  return { value: found.every((item) => item !== undefined) ? found : value, most: histories.length };
}

/** `[name, node, tensor]` or deeper lists and objects of them, in Keras' order. */
function historiesOf(value: Json, outer: boolean): History[] {
  const found: History[] = [];
  const stack: Json[] = [value];
  for (let next = stack.pop(); next !== undefined; next = stack.pop()) {
    const history = historyOf(next, outer);
    if (history !== undefined) found.push(history);
    else stack.push(...[...(partsOf(next) ?? [])].reverse());
  }
  return found;
}

function historyOf(value: Json, outer: boolean): History | undefined {
  if (!isList(value)) return undefined;
  const [layer, node, tensor] = value;
  if (typeof layer !== 'string' || typeof node !== 'number' || typeof tensor !== 'number') return undefined;
  if (value.length > 4 || !isCount(node) || !isCount(tensor)) return undefined;
  return { layer, node, tensor, outer };
}

function isCount(value: number): boolean {
  return Number.isSafeInteger(value) && value >= 0 && value <= LIMITS.layers;
}

interface Arguments {
  readonly arguments: readonly Argument[];
  readonly attrs: JsonObject;
}

function argumentsOf(inbound: Json, spec: LayerSpec, version: string): Arguments {
  const args = isObject(inbound) ? inbound.get('args') : undefined;
  // An object of named inputs may have this very name among them.
  if (isObject(inbound) && args !== undefined && historyOf(args, false) === undefined)
    return modernArguments(inbound, spec, version);
  return olderArguments(inbound, spec, version);
}

/** Keras 3: `{args, kwargs}` with `__keras_tensor__` objects anywhere in them. */
function modernArguments(inbound: JsonObject, spec: LayerSpec, version: string): Arguments {
  const found: Argument[] = [];
  const collect = (given: Json, literals: boolean, isInput: boolean): void => {
    const taken =
      isInput && isObject(given) && spec.form === 'functional' && tensorOf(given) === undefined
        ? forModel(spec, given, version)
        : { value: given, most: Number.POSITIVE_INFINITY };
    const before = found.length;
    const stack: Json[] = [taken.value];
    for (let next = stack.pop(); next !== undefined; next = stack.pop()) {
      const tensor = tensorOf(next);
      const array = arrayOf(next);
      if (tensor !== undefined) found.push(tensor);
      else if (array !== undefined) {
        if (literals) found.push({ constant: array });
      } else {
        const parts = partsOf(next);
        if (parts !== undefined) stack.push(...[...parts].reverse());
        else if (literals) found.push({ constant: next });
      }
    }
    if (found.length - before > taken.most) found.length = before + taken.most;
  };
  const args = inbound.get('args');
  for (const [index, argument] of (isList(args) ? args : []).entries()) {
    // A list of plain numbers is one literal (a shape, axes), not several inputs.
    const tensors: Json[] = [];
    if (isList(argument) && !holdsTensor(argument)) found.push({ constant: argument });
    else tensors.push(argument);
    for (const value of tensors) collect(value, true, index === 0);
  }
  const attrs = objectAt(inbound, 'kwargs') ?? EMPTY_OBJECT;
  // They keep the file's order, for their names tell them apart.
  for (const [name, value] of attrs) collect(value, false, name === 'inputs');
  return { arguments: found, attrs };
}

/** The values of an array that a call was given: one literal, whatever its size. */
function arrayOf(value: Json): Json | undefined {
  const name = stringAt(value, 'class_name');
  return name === '__numpy__' || name === '__tensor__' ? objectAt(value, 'config')?.get('value') : undefined;
}

function tensorOf(value: Json): History | undefined {
  if (stringAt(value, 'class_name') !== '__keras_tensor__') return undefined;
  const history = objectAt(value, 'config')?.get('keras_history');
  return history === undefined ? undefined : historyOf(history, false);
}

function holdsTensor(value: Json): boolean {
  const stack: Json[] = [value];
  for (let next = stack.pop(); next !== undefined; next = stack.pop()) {
    if (tensorOf(next) !== undefined) return true;
    if (isList(next)) stack.push(...next);
    else if (isObject(next)) stack.push(...next.values());
  }
  return false;
}

/**
 * Keras 1 and 2: a list of `[name, node, tensor, kwargs?]`, or one of them alone; an object of them for named inputs;
 * literals as `['_CONSTANT_VALUE', -1, value, kwargs?]`; a tensor in keyword arguments as `[name, node, tensor]`.
 */
function olderArguments(inbound: Json, spec: LayerSpec, version: string): Arguments {
  const found: Argument[] = [];
  const attrs = new Map<string, Json>();
  const only = isList(inbound) && inbound.length === 1 ? inbound[0] : inbound;
  const stack: Json[] = [spec.form === 'functional' && isObject(only) ? forModel(spec, only, version).value : inbound];
  for (let next = stack.pop(); next !== undefined; next = stack.pop()) {
    if (isList(next) && next[0] === '_CONSTANT_VALUE') found.push({ constant: next[2] ?? null });
    else {
      const history = historyOf(next, false);
      if (history !== undefined) found.push(history);
      else {
        stack.push(...[...(partsOf(next) ?? [])].reverse());
        continue;
      }
    }
    const kwargs = isList(next) ? next[3] : undefined;
    if (isObject(kwargs)) for (const [key, value] of kwargs) attrs.set(key, value);
  }
  for (const value of attrs.values())
    found.push(...historiesOf(value, false).filter((history) => history.layer !== ''));
  return { arguments: found, attrs };
}
