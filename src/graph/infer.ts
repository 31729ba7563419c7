import { type Diagnostic, note, type Outcome } from '../ir/diagnostic.ts';
import { EMPTY_OBJECT, type Json, type JsonObject } from '../ir/json.ts';
import { layersByPath } from '../ir/layer-index.ts';
import type { Call, Constant, Dim, Graph, Layer, Model, Shape, Value } from '../ir/model.ts';
import { normFlag, normNumber } from '../layers/attribute.ts';
import type { BoundLayer } from '../layers/family.ts';
import { operationOutputs, operationWord } from '../layers/operation.ts';
import type { Argument } from '../layers/operation-tensor.ts';
import { bindLayer } from '../layers/registry.ts';
import { fillShapes } from './infer-onnx.ts';

type Shapes = readonly (Shape | null)[];

/** What the layers of one model are asked through. */
interface Binding {
  readonly model: Model;
  readonly layers: ReadonlyMap<string, Layer>;
  readonly bound: ReadonlyMap<string, BoundLayer>;
  /** Values of a graph for given input shapes, by graph path and shapes. */
  readonly known: Map<string, Shapes>;
  /** Outputs of a wrapper's inner layers, as the wrapper first asked for them. */
  readonly inner: Map<string, readonly Shape[]>;
  /** Layers whose outputs could not be told from known inputs. */
  readonly lost: Map<string, Diagnostic>;
}

/**
 * Fills the shapes of every value of a Keras model's graphs, the root's and the nested models', by walking the calls in
 * order. A nested model is walked for each combination of input shapes that it is called with; its own values get the
 * shapes that follow from its declared inputs, or, where it declares none, from its first call.
 * A layer that does not tell its outputs leaves null and one SHAPE_UNKNOWN; what follows recovers where it can.
 * Of ONNX models, which may state shapes, only those that they leave out are filled. Models without a graph, and of other
 * dialects, stay as they are.
 */
export function inferShapes(model: Model): Outcome<Model> {
  const root = model.graphs.get('');
  if (model.dialect === 'onnx' && root !== undefined) {
    const layers = layersByPath(model);
    return { value: withGraphs(model, new Map(model.graphs).set('', fillShapes(root, layers))), diagnostics: [] };
  }
  if (model.dialect !== 'keras' || root === undefined) return { value: model, diagnostics: [] };
  const binding = bind(model);
  const filled = new Map<string, Shapes>();
  filled.set('', evaluate(binding, '', root, declared(binding, root)));
  // Calls stand before what they call is asked for, so that every nested model has its first call's shapes by then.
  const pending = [''];
  for (let path = pending.shift(); path !== undefined; path = pending.shift()) {
    const graph = model.graphs.get(path);
    const values = filled.get(path);
    if (graph === undefined || values === undefined) continue;
    for (const call of graph.calls) {
      const inner = call.layer === null ? undefined : model.graphs.get(call.layer);
      if (call.layer === null || inner === undefined || filled.has(call.layer)) continue;
      const own = declared(binding, inner);
      const inputs = own.includes(null) ? given(call, values, own) : own;
      filled.set(call.layer, evaluate(binding, call.layer, inner, inputs));
      pending.push(call.layer);
    }
  }
  // What no call of a graph reaches (a model inside a wrapper) is told from its declared inputs, or its wrapper's call.
  for (const [path, graph] of model.graphs) {
    if (filled.has(path)) continue;
    const own = declared(binding, graph);
    const asked = own.includes(null) ? binding.known.get(firstAsked(path)) : undefined;
    filled.set(path, asked ?? evaluate(binding, path, graph, own));
  }
  const graphs = new Map<string, Graph>();
  for (const [path, graph] of model.graphs) {
    const shapes = filled.get(path);
    const values = graph.values.map((value): Value => ({ ...value, shape: shapes?.[value.id] ?? value.shape }));
    graphs.set(path, { ...graph, values });
  }
  return { value: withGraphs(model, graphs), diagnostics: [...binding.lost.values()] };
}

/** The model with other graphs; its methods and layers stay the same ones. */
function withGraphs(model: Model, graphs: ReadonlyMap<string, Graph>): Model {
  return {
    ...model,
    graphs,
    bytesRead: () => model.bytesRead(),
    close: () => model.close(),
  };
}

function bind(model: Model): Binding {
  const layers = layersByPath(model);
  const below = new Map<string, BoundLayer[]>();
  const bound = new Map<string, BoundLayer>();
  const binding: Binding = { model, layers, bound, known: new Map(), inner: new Map(), lost: new Map() };
  // Containers stand before what they hold, so from the end every layer finds its children bound.
  for (const layer of [...model.layers].reverse()) {
    const children = below.get(layer.path)?.reverse() ?? [];
    const own = model.graphs.has(layer.path) ? boundModel(binding, layer) : bindLayer({ ...layer, children });
    const parent = layer.parent === null ? undefined : layers.get(layer.parent);
    const wrapped = parent !== undefined && !model.graphs.has(parent.path) && !HOLDS_CELLS.has(parent.kind);
    const both = layer.kind === 'bidirectional' ? bothWays(own) : own;
    const made = wrapped ? overheard(binding, both) : both;
    bound.set(layer.path, made);
    if (layer.parent === null) continue;
    const siblings = below.get(layer.parent);
    if (siblings === undefined) below.set(layer.parent, [made]);
    else siblings.push(made);
  }
  return binding;
}

/** Their inner layers are cells, which have states and no output of their own. */
const HOLDS_CELLS: ReadonlySet<string> = new Set(['rnn_container', 'stacked_cells']);

/** An inner layer of a wrapper, whose first outputs are kept: no graph holds them. */
function overheard(binding: Binding, layer: BoundLayer): BoundLayer {
  return {
    ...layer,
    outputs(inputs, call) {
      const outputs = layer.outputs(inputs, call);
      if (outputs !== null && !binding.inner.has(layer.path)) binding.inner.set(layer.path, outputs);
      return outputs;
    },
  };
}

/** A Bidirectional tells its outputs from one direction; the other one gets the same input. */
function bothWays(layer: BoundLayer): BoundLayer {
  return {
    ...layer,
    outputs(inputs, call) {
      for (const child of layer.children) child.outputs(inputs.slice(0, 1), EMPTY_OBJECT);
      return layer.outputs(inputs, call);
    },
  };
}

/** A nested model as a layer: its outputs for given inputs are those of its graph. */
function boundModel(binding: Binding, layer: Layer): BoundLayer {
  const { path, kind, type, norm } = layer;
  return {
    path,
    kind,
    type,
    norm,
    children: [],
    outputs(inputs) {
      const graph = binding.model.graphs.get(path);
      // Masks that are given by name stand behind the model's own inputs.
      if (graph === undefined || inputs.length < graph.inputs.length) return null;
      const own = inputs.slice(0, graph.inputs.length);
      return complete(outputsOf(graph, evaluate(binding, path, graph, own)));
    },
    macs(inputs) {
      const graph = binding.model.graphs.get(path);
      if (graph === undefined || inputs.length < graph.inputs.length) return null;
      return macsOfGraph(binding, graph, evaluate(binding, path, graph, inputs.slice(0, graph.inputs.length)));
    },
  };
}

function complete(shapes: Shapes): readonly Shape[] | null {
  return shapes.every((shape) => shape !== null) ? (shapes as readonly Shape[]) : null;
}

function outputsOf(graph: Graph, values: Shapes): Shapes {
  return graph.outputs.map((id) => values[id] ?? null);
}

/** Input shapes that a graph states itself: its values', or its input layers'. */
function declared(binding: Binding, graph: Graph): Shapes {
  const stated = new Map<number, Shape>();
  const ports = new Set(graph.inputs);
  for (const call of graph.calls) {
    const layer = call.layer === null ? undefined : binding.layers.get(call.layer);
    if (layer?.kind !== 'input') continue;
    const shape = binding.bound.get(layer.path)?.outputs([], EMPTY_OBJECT)?.[0];
    if (shape === undefined) continue;
    for (const id of [...call.inputs, ...call.outputs]) {
      if (typeof id === 'number' && ports.has(id)) stated.set(id, shape);
    }
  }
  return graph.inputs.map((id) => graph.values[id]?.shape ?? stated.get(id) ?? null);
}

/** The shapes that a call hands in; `otherwise` where it hands in none. */
function given(call: Call, values: Shapes, otherwise: Shapes): Shapes {
  const ids = call.inputs.filter((input) => typeof input === 'number');
  return otherwise.map((shape, index) => values[ids[index] ?? -1] ?? shape);
}

function keyOf(path: string, inputs: Shapes): string {
  return `${JSON.stringify(inputs)} ${path}`;
}

function firstAsked(path: string): string {
  return `first ${path}`;
}

/** Shapes of all values of a graph for these input shapes. Each combination is walked once. */
function evaluate(binding: Binding, path: string, graph: Graph, inputs: Shapes): Shapes {
  const key = keyOf(path, inputs);
  const before = binding.known.get(key);
  if (before !== undefined) return before;
  const values: (Shape | null)[] = graph.values.map((value) => value.shape);
  for (const [index, id] of graph.inputs.entries()) values[id] = inputs[index] ?? null;
  const ports = new Set(graph.inputs);
  for (const call of graph.calls) {
    const outputs = outputsOfCall(binding, call, values);
    for (const [index, id] of call.outputs.entries()) {
      if (!ports.has(id)) values[id] = outputs?.[index] ?? graph.values[id]?.shape ?? null;
    }
  }
  binding.known.set(key, values);
  const first = firstAsked(path);
  if (!binding.known.has(first)) binding.known.set(first, values);
  return values;
}

function outputsOfCall(binding: Binding, call: Call, values: Shapes): readonly Shape[] | null {
  const layer = call.layer === null ? undefined : binding.layers.get(call.layer);
  if (layer === undefined || layer.kind === 'operation') return operation(binding, call, layer, values);
  const bound = binding.bound.get(layer.path);
  const inputs = call.inputs.filter((input) => typeof input === 'number').map((id) => values[id] ?? null);
  const known = complete(RECURRENT.has(layer.kind) ? upToUnknown(inputs) : inputs);
  const outputs = known === null ? recovered(layer) : (bound?.outputs(known, call.attrs) ?? null);
  if (outputs === null && known !== null && (layer.kind !== 'input' || known.length > 0)) {
    // A nested model is unknown because of a layer inside it, which has its own diagnostic.
    if (!binding.model.graphs.has(layer.path)) {
      lose(binding, layer.path, layer.type === '' ? layer.kind : layer.type);
    }
  }
  return outputs;
}

/** Their other inputs are states and masks, which do not change the outputs' shape. */
const RECURRENT: ReadonlySet<string> = new Set([
  'bidirectional',
  'conv_lstm',
  'gru',
  'lstm',
  'rnn',
  'rnn_container',
  'time_distributed',
]);

function upToUnknown(inputs: Shapes): Shapes {
  const unknown = inputs.indexOf(null);
  return unknown > 0 ? inputs.slice(0, unknown) : inputs;
}

function lose(binding: Binding, path: string, type: string): void {
  if (binding.lost.has(path)) return;
  binding.lost.set(path, note('SHAPE_UNKNOWN', { layer: path }, { type }));
}

/** An operation, by its name and all its arguments. */
function operation(binding: Binding, call: Call, layer: Layer | undefined, values: Shapes): readonly Shape[] | null {
  const word = layer === undefined ? operationWord(call.op) : String(layer.norm['op'] ?? '');
  const args = call.inputs.map((input): Argument => (typeof input === 'number' ? (values[input] ?? null) : input));
  const outputs = operationOutputs(word, withConstants(layer, args), call.attrs);
  if (outputs === null && !args.includes(null)) lose(binding, layer?.path ?? call.op, layer?.type ?? call.op);
  return outputs;
}

/** TensorFlowOpLayer keeps literals apart, under the place that each has among the arguments. */
function withConstants(layer: Layer | undefined, args: readonly Argument[]): readonly Argument[] {
  const constants = layer?.attrs.get('constants');
  if (!(constants instanceof Map)) return args;
  const all = [...args];
  const literals = [...(constants as JsonObject)]
    .map(([place, value]): readonly [number, Constant] => [Number(place), { constant: value as Json }])
    .sort(([left], [right]) => left - right);
  for (const [place, constant] of literals) all.splice(place, 0, constant);
  return all;
}

/** What a layer's output must look like whatever its input: '?' on axes that depend on it. */
function recovered(layer: Layer): readonly Shape[] | null {
  const { norm } = layer;
  switch (layer.kind) {
    case 'flatten':
      return norm['matrix'] === true || normNumber(norm, 'startAxis') === 1 ? [['?', '?']] : null;
    case 'global_avg_pool':
    case 'global_max_pool':
      return normFlag(norm, 'keepdims') || normNumber(norm, 'rank') === null ? null : [['?', '?']];
    case 'reshape': {
      const target = norm['targetShape'];
      if (!Array.isArray(target) || norm['batch'] === true) return null;
      return [['?', ...target.map((size): Dim => (typeof size === 'number' && size >= 0 ? size : '?'))]];
    }
    case 'repeat':
      return [['?', normNumber(norm, 'times') ?? '?', '?']];
    default:
      return null;
  }
}

function macsOfGraph(binding: Binding, graph: Graph, values: Shapes): number | null {
  let sum = 0;
  for (const call of graph.calls) {
    const each = macsOfCall(binding, call, values);
    if (each === null) return null;
    sum += each;
  }
  return sum;
}

function macsOfCall(binding: Binding, call: Call, values: Shapes): number | null {
  if (call.layer === null) return 0;
  const layer = binding.layers.get(call.layer);
  if (layer?.kind === 'input') return 0;
  const inputs = complete(call.inputs.filter((input) => typeof input === 'number').map((id) => values[id] ?? null));
  const outputs = complete(call.outputs.map((id) => values[id] ?? null));
  if (inputs === null || outputs === null) return null;
  return binding.bound.get(call.layer)?.macs(inputs, outputs) ?? null;
}

interface FirstCall {
  readonly call: Call;
  readonly values: Shapes;
}

interface Index {
  readonly binding: Binding;
  readonly first: ReadonlyMap<string, FirstCall>;
}

const indexes = new WeakMap<Model, Index>();

function indexOf(model: Model): Index {
  const before = indexes.get(model);
  if (before !== undefined) return before;
  const first = new Map<string, FirstCall>();
  for (const graph of model.graphs.values()) {
    const values = graph.values.map((value) => value.shape);
    for (const call of graph.calls) {
      if (call.layer !== null && !first.has(call.layer)) first.set(call.layer, { call, values });
    }
  }
  const index = { binding: bind(model), first };
  indexes.set(model, index);
  return index;
}

/**
 * Output shapes of a layer's first call, one per output, as the model's graph states them (after inferShapes); of a
 * wrapper's inner layer, what it gives in the wrapper's first call. null inside where one is not known; null for a layer
 * that nothing calls.
 */
export function outputShapeOf(model: Model, path: string): Shapes | null {
  const { binding, first } = indexOf(model);
  const found = first.get(path);
  if (found !== undefined) return found.call.outputs.map((id) => found.values[id] ?? null);
  if (!binding.inner.has(path)) askWrapperOf(binding, first, path);
  return binding.inner.get(path) ?? null;
}

/** Has the outermost wrapper around a layer tell its outputs, which lets its inner layers be overheard. */
function askWrapperOf(binding: Binding, first: ReadonlyMap<string, FirstCall>, path: string): void {
  let layer = binding.layers.get(path);
  while (layer !== undefined && !first.has(layer.path)) {
    layer = layer.parent === null ? undefined : binding.layers.get(layer.parent);
  }
  const found = layer === undefined ? undefined : first.get(layer.path);
  if (layer === undefined || found === undefined || binding.model.graphs.has(layer.path)) return;
  outputsOfCall(binding, found.call, found.values);
}

/** Input shapes of a layer's first call; null for a layer that no graph calls, or where one shape is not known. */
export function inputShapesOf(model: Model, path: string): readonly Shape[] | null {
  const first = indexOf(model).first.get(path);
  if (first === undefined) return null;
  const ids = first.call.inputs.filter((input) => typeof input === 'number');
  return complete(ids.map((id) => first.values[id] ?? null));
}

/**
 * Multiply-accumulates of a layer's first call for one sample, a nested model's with all it calls (after inferShapes);
 * null where they are not known, or no graph calls the layer.
 */
export function macsOf(model: Model, path: string): number | null {
  const { binding, first } = indexOf(model);
  const found = first.get(path);
  return found === undefined ? null : macsOfCall(binding, found.call, found.values);
}
