import { type Diagnostic, note } from '../../ir/diagnostic.ts';
import { BnsumError } from '../../ir/error.ts';
import { EMPTY_OBJECT } from '../../ir/json.ts';
import type { Kind } from '../../ir/kind.ts';
import { childrenByPath, layersByPath } from '../../ir/layer-index.ts';
import type { Call, Graph, Layer, Model, Shape } from '../../ir/model.ts';
import type { BoundLayer, Twin, TwinSource } from '../../layers/family.ts';
import { bindLayer, familyOfKind, twinOf } from '../../layers/registry.ts';
import { attributeOf, classNameOf, identifierOf, LIBRARY_NAMES, NameSet, snakeWord } from '../names.ts';
import {
  channelAxes,
  type Emit,
  type Emitted,
  literal,
  plainAxes,
  type Result,
  sameAxes,
  sameOrder,
  type TargetPattern,
} from './context.ts';
import type { Attribute, Axes, FeatureOrder, Lowered, LoweredClass, Port, Ref, Statement } from './lowered.ts';
import {
  AMBIGUOUS,
  castsBetween,
  type Given,
  givenBy,
  handOn,
  passesItself,
  type Release,
  releaseOf,
  UNKNOWN_MASK,
  withMasks,
} from './mask.ts';
import { nameValues } from './naming.ts';
import { emitterOf, layoutWish } from './registry.ts';
import { inRunOrder } from './run-order.ts';

export interface LowerOptions {
  readonly file: string;
  /** Layer paths to leave out: their calls pass their input on. */
  readonly skip: ReadonlySet<string>;
}

/** What the calls of one class share while they are lowered. */
interface Draft {
  readonly graph: string;
  readonly name: string;
  readonly attributes: Attribute[];
  readonly attributeNames: NameSet;
  /** Layer path (and suffix) to attribute name. */
  readonly registered: Map<string, string>;
  readonly statements: Statement[];
  readonly hints: Map<string, string>;
  /** Tokens of values that are not called `x`. */
  readonly kept: Set<string>;
  /** Names of values that were brought into another order, by what they are of. */
  readonly arranged: Map<string, string>;
  /** Values that Keras 3 holds in one and the same tensor, each to the first of them. */
  readonly same: Map<number, number>;
  /** First values of tensors whose masks an attention took away. */
  readonly stripped: Set<number>;
  /** Permuted values to what they were before. */
  readonly permuted: Map<string, { readonly name: string; readonly axes: Axes; readonly to: Axes }>;
}

interface NestedMasks {
  readonly inputs: readonly boolean[];
  readonly outputs: readonly (string | null)[];
  /** Inputs whose masks are gone after the call. */
  readonly stripped: readonly boolean[];
  /** The input that an output is, or -1. */
  readonly passed: readonly number[];
}

interface Work {
  readonly model: Model;
  readonly options: LowerOptions;
  readonly layers: ReadonlyMap<string, Layer>;
  readonly children: ReadonlyMap<string, readonly Layer[]>;
  readonly callCounts: ReadonlyMap<string, number>;
  readonly twins: Map<string, Twin>;
  readonly firstInputs: ReadonlyMap<string, readonly Shape[] | null>;
  readonly classes: LoweredClass[];
  readonly classNames: NameSet;
  readonly lowered: Map<string, LoweredClass>;
  /** Which inputs of a nested model come with a mask, and which outputs leave with one. */
  readonly masks: Map<string, NestedMasks>;
  readonly release: Release;
  readonly casts: { readonly layers: boolean; readonly models: boolean };
  /** Whether an attention may take masks away, so that the order of its neighbours matters. */
  readonly strips: boolean;
  readonly inputOrder: Map<string, FeatureOrder>;
  readonly outputOrder: Map<string, FeatureOrder>;
  readonly helpers: Set<string>;
  readonly diagnostics: Diagnostic[];
  token: number;
}

/**
 * Lowers a Keras model with a graph. Throws BnsumError REFUSED naming the first layer or operation that PyTorch code
 * cannot stand for, and NOT_FOUND when the model has no graph.
 */
export function lowerModel(model: Model, options: LowerOptions): Lowered {
  const root = model.graphs.get('');
  if (root === undefined) {
    throw new BnsumError({
      code: 'NOT_FOUND',
      file: options.file,
      reason: 'the file holds weights without an architecture',
      next: 'give the architecture with --config FILE (a to_json() text, a config.json, or another Keras file)',
    });
  }
  const layers = layersByPath(model);
  const release = releaseOf(model);
  const work: Work = {
    model,
    options,
    layers,
    children: childrenByPath(model),
    callCounts: countCalls(model),
    twins: new Map(),
    firstInputs: inputsOfFirstCalls(model),
    classes: [],
    classNames: new NameSet(['nn', 'torch', 'F', 'OrderedDict', ...LIBRARY_NAMES]),
    lowered: new Map(),
    masks: new Map(),
    release,
    casts: castsBetween(model),
    strips: release !== 'keras2' && model.layers.some(({ kind }) => kind === 'attention'),
    inputOrder: new Map(),
    outputOrder: new Map(),
    helpers: new Set(),
    diagnostics: [],
    token: 0,
  };
  // Keras' automatic names say nothing.
  const isAutomatic = /^(?:sequential|functional|model)?(?:_\d+)?$/.test(model.name);
  lowerGraph(work, '', root, work.classNames.take(isAutomatic ? 'Model' : classNameOf(model.name)), []);
  return {
    classes: work.classes,
    modules: modulePaths(work),
    inputOrder: work.inputOrder,
    outputOrder: work.outputOrder,
    helpers: work.helpers,
    diagnostics: work.diagnostics,
  };
}

function countCalls(model: Model): Map<string, number> {
  const counts = new Map<string, number>();
  for (const graph of model.graphs.values()) {
    for (const call of graph.calls) {
      if (call.layer !== null) counts.set(call.layer, (counts.get(call.layer) ?? 0) + 1);
    }
  }
  return counts;
}

/** Input shapes of each layer's first call; null where one of them is not known. */
export function inputsOfFirstCalls(model: Model): Map<string, readonly Shape[] | null> {
  const inputs = new Map<string, readonly Shape[] | null>();
  for (const graph of model.graphs.values()) {
    for (const call of graph.calls) {
      if (call.layer === null || inputs.has(call.layer)) continue;
      const shapes = call.inputs.flatMap((input) =>
        typeof input === 'number' ? [graph.values[input]?.shape ?? null] : [],
      );
      inputs.set(call.layer, shapes.every((shape) => shape !== null) ? shapes : null);
    }
  }
  return inputs;
}

/** What a layer's twin is derived from, its children included. */
export function twinSourceOf(
  layer: Layer,
  children: ReadonlyMap<string, readonly Layer[]>,
  inputs: ReadonlyMap<string, readonly Shape[] | null>,
): TwinSource {
  return {
    path: layer.path,
    kind: layer.kind,
    type: layer.type,
    norm: layer.norm,
    weights: layer.weights,
    inputs: inputs.get(layer.path) ?? null,
    children: (children.get(layer.path) ?? []).map((child) => twinSourceOf(child, children, inputs)),
  };
}

/** `masked` tells which inputs come with a mask: each of them is a further argument behind the inputs. */
function lowerGraph(work: Work, path: string, graph: Graph, name: string, masked: readonly boolean[]): LoweredClass {
  const draft: Draft = {
    graph: path,
    name,
    attributes: [],
    attributeNames: new NameSet(),
    registered: new Map(),
    statements: [],
    hints: new Map(),
    kept: new Set(),
    arranged: new Map(),
    same: new Map(),
    stripped: new Set(),
    permuted: new Map(),
  };
  const refs = new Map<number, Ref>();
  const inputs: Port[] = [];
  const inputTokens: string[] = [];
  for (const id of graph.inputs) {
    const shape = graph.values[id]?.shape ?? null;
    if (shape === null) {
      throw new BnsumError({
        code: 'REFUSED',
        file: work.options.file,
        place: path === '' ? 'the model' : `model ${path}`,
        reason: 'its input shape is not in the file',
        next: 'save the model after it was built, or give a config with the input shape by --config FILE',
      });
    }
    const axes = wishedAxes(work, graph, id, shape);
    const token = newToken(work, draft, inputNameOf(graph, id));
    inputTokens.push(token);
    inputs.push({ name: inputNameOf(graph, id), shape, axes });
    refs.set(id, { name: token, shape, axes, features: null });
  }
  for (const [index, id] of graph.inputs.entries()) {
    const ref = refs.get(id);
    const port = inputs[index];
    if (masked[index] !== true || ref === undefined || port === undefined) continue;
    const token = newToken(work, draft, 'mask');
    inputTokens.push(token);
    inputs.push({ name: 'mask', shape: port.shape.slice(0, 2), axes: plainAxes(2) });
    refs.set(id, { ...ref, mask: token });
  }
  const calls = work.strips ? inRunOrder(graph) : graph.calls;
  for (const call of calls) lowerCall(work, draft, graph, call, refs);
  const returned = graph.outputs.map((id) => {
    const ref = refs.get(id);
    if (ref === undefined)
      throw new BnsumError({ code: 'INTERNAL', file: work.options.file, reason: 'an output of no call' });
    return plain(work, draft, ref);
  });
  if (path !== '') {
    const masks = returned.map((ref) => ref.mask ?? null);
    const origins = graph.inputs.map((id) => originOf(draft, id));
    work.masks.set(path, {
      inputs: masked,
      outputs: masks,
      stripped: origins.map((id) => draft.stripped.has(id)),
      passed: graph.outputs.map((id) => origins.indexOf(originOf(draft, id))),
    });
    for (const ref of [...returned]) {
      if (ref.mask === undefined || ref.mask === UNKNOWN_MASK) continue;
      returned.push({ name: ref.mask, shape: ref.shape?.slice(0, 2) ?? null, axes: plainAxes(2), features: null });
    }
  }
  const outputs = returned.map((ref, index) => ({
    name: graph.outputNames?.[index] ?? `output_${index}`,
    shape: ref.shape ?? [],
    axes: ref.axes,
  }));
  const named = nameValues(draft, work.helpers, inputs, inputTokens, returned);
  const lowered: LoweredClass = {
    graph: path,
    name,
    attributes: draft.attributes,
    inputs: named.inputs,
    statements: named.statements,
    returns: named.returns,
    outputs,
  };
  work.lowered.set(path, lowered);
  work.classes.push(lowered);
  return lowered;
}

/** Its key where the model takes a dict; `x` for a model's only input, else the input layer's name, else input_1 … */
function inputNameOf(graph: Graph, id: number): string {
  const key = graph.inputNames?.[graph.inputs.indexOf(id)] ?? null;
  if (key !== null) return identifierOf(key);
  if (graph.inputs.length === 1) return 'x';
  const call = graph.calls.find((one) => one.inputs.length === 0 && one.outputs.includes(id));
  const name = call?.layer?.split('/').at(-1);
  return identifierOf(name ?? `input_${graph.inputs.indexOf(id) + 1}`);
}

function newToken(work: Work, draft: Draft, hint: string, keeps = false): string {
  work.token += 1;
  const token = `\u27e6${work.token}\u27e7`;
  draft.hints.set(token, identifierOf(hint));
  if (keeps) draft.kept.add(token);
  return token;
}

/** Channels first where the value's first consumer that cares wants them, else Keras' order. */
function wishedAxes(work: Work, graph: Graph, id: number, shape: Shape): Axes {
  const rank = shape.length;
  if (rank < 3) return plainAxes(rank);
  const wish = followWish(work, graph, id, rank, new Set());
  if (wish !== null) return wish;
  return rank > 3 ? channelAxes(rank, rank - 1) : plainAxes(rank);
}

function followWish(work: Work, graph: Graph, id: number, rank: number, seen: Set<number>): Axes | null {
  if (seen.has(id)) return null;
  seen.add(id);
  for (const call of graph.calls) {
    const at = call.inputs.indexOf(id);
    if (at < 0) continue;
    const layer = call.layer === null ? undefined : work.layers.get(call.layer);
    if (layer?.kind === 'model') {
      const inner = work.model.graphs.get(layer.path);
      const port = inner?.inputs[at];
      const wish = inner === undefined || port === undefined ? null : followWish(work, inner, port, rank, new Set());
      if (wish !== null) return wish;
      continue;
    }
    // SpectralNormalization is its inner layer.
    const asked = layer?.kind === 'spectral_norm' ? (work.children.get(layer.path)?.[0] ?? layer) : layer;
    const wish = asked === undefined ? 'any' : layoutWish(asked);
    if (wish === 'keras') return plainAxes(rank);
    if (wish === 'any') {
      for (const output of call.outputs) {
        if (graph.values[output]?.shape?.length !== rank) continue;
        const further = followWish(work, graph, output, rank, seen);
        if (further !== null) return further;
      }
      continue;
    }
    if (wish === 'none') continue;
    return channelAxes(rank, wish.channel < 0 ? wish.channel + rank : wish.channel);
  }
  return null;
}

function lowerCall(work: Work, draft: Draft, graph: Graph, call: Call, refs: Map<number, Ref>): void {
  const layer = call.layer === null ? null : (work.layers.get(call.layer) ?? null);
  // An input layer's call gives the graph's input, which has its name already.
  if (layer?.kind === 'input' && call.inputs.length === 0) return;
  const given = call.inputs.flatMap((input) => {
    if (typeof input !== 'number') return [];
    const ref = refs.get(input);
    if (ref === undefined)
      throw new BnsumError({ code: 'INTERNAL', file: work.options.file, reason: 'a call before its input' });
    return [ref];
  });
  const keras = (ref: Ref): Ref => arrange(work, draft, plain(work, draft, ref), plainAxes(ref.axes.length));
  const inputs = layer === null ? given : withMasks(layer, call.attrs, given, keras, work.release);
  const told = givenBy(call.attrs, given);
  const ids = givenBy(
    call.attrs,
    call.inputs.filter((input) => typeof input === 'number'),
  );
  if (layer?.kind === 'model' && work.strips && told.named.has('mask')) {
    // Keras puts the mask that the call states on its inputs again.
    if (ids.placed.some((id) => draft.stripped.has(originOf(draft, id)))) {
      throw new BnsumError({
        code: 'REFUSED',
        file: work.options.file,
        place: `model ${layer.path} (${layer.type})`,
        reason: 'it is called with a mask on a value whose mask an attention has taken away',
        next: 'call it on a copy of the value, for example behind a Dense or an operation',
      });
    }
  }
  const shapes = call.outputs.map((id) => graph.values[id]?.shape ?? null);
  let outputs: Emitted;
  if (layer !== null && work.options.skip.has(layer.path)) {
    const input = inputs[0];
    if (inputs.length !== 1 || call.outputs.length !== 1 || input === undefined) {
      throw new BnsumError({
        code: 'REFUSED',
        file: work.options.file,
        place: `layer ${layer.path} (${layer.type})`,
        reason: 'it cannot be left out, since it has several inputs or outputs',
      });
    }
    outputs = [{ ...input, shape: shapes[0] ?? input.shape }];
    work.diagnostics.push(note('LAYER_SKIPPED', { layer: layer.path }, { type: layer.type }));
  } else if (layer?.kind === 'model') {
    outputs = callModel(work, draft, layer, inputs, shapes);
  } else {
    outputs = emitCall(work, draft, layer, call, inputs, shapes, null);
  }
  const passage = {
    release: work.release,
    layer,
    op: call.op,
    child: layer === null ? undefined : work.children.get(layer.path)?.[0],
    inputs,
    first: layer?.kind === 'grouped_attention' ? (told.named.get('query')?.[0] ?? told.placed[0]) : inputs[0],
    write: (expr: string, result: Result) => emitLines(work, draft, expr, [result], 'mask')[0] as Ref,
  };
  const handed = handOn(passage, outputs);
  for (const [index, id] of call.outputs.entries()) {
    const ref = handed[index];
    if (ref !== undefined) refs.set(id, ref);
  }
  if (work.strips) followTensors(work, draft, layer, call, ids, refs);
}

function originOf(draft: Draft, id: number): number {
  return draft.same.get(id) ?? id;
}

/**
 * Keras 3 keeps masks on tensors. Its MultiHeadAttention takes them from the tensors that it reads: whatever reads
 * these later, under whichever name, finds none.
 */
function followTensors(
  work: Work,
  draft: Draft,
  layer: Layer | null,
  call: Call,
  ids: Given<number>,
  refs: Map<number, Ref>,
): void {
  const strip = (id: number | undefined, isCertain: boolean): void => {
    if (id === undefined) return;
    const origin = originOf(draft, id);
    draft.stripped.add(origin);
    for (const [other, ref] of refs) {
      if (ref.mask === undefined || originOf(draft, other) !== origin) continue;
      const { mask: _, ...rest } = ref;
      refs.set(other, isCertain ? rest : { ...rest, mask: UNKNOWN_MASK });
    }
  };
  const values = [...ids.placed, ...[...ids.named].flatMap(([name, all]) => (name.endsWith('mask') ? [] : all))];
  if (layer !== null && work.options.skip.has(layer.path)) return;
  if (layer?.kind === 'attention') {
    const isCertain = work.release === 'keras3' && !work.casts.layers;
    for (const id of values) strip(id, isCertain);
  } else if (layer?.kind === 'model') {
    const nested = work.masks.get(layer.path);
    for (const [index, origin] of (nested?.passed ?? []).entries()) {
      const [from, to] = [values[origin], call.outputs[index]];
      if (from !== undefined && to !== undefined) draft.same.set(to, originOf(draft, from));
    }
    const isCertain = work.release === 'keras3' && !work.casts.models;
    for (const [index, isStripped] of (nested?.stripped ?? []).entries()) {
      if (isStripped) strip(values[index], isCertain);
    }
  } else if (passesItself(layer, call.op, values.length)) {
    const [from, to] = [values[0], call.outputs[0]];
    if (from !== undefined && to !== undefined) draft.same.set(to, originOf(draft, from));
  }
}

/** Layers that compute something else where a mask reaches them. */
const USES_MASK: ReadonlySet<Kind> = new Set<Kind>([
  'additive_attention',
  'attention',
  'bidirectional',
  'conv_lstm',
  'dot_attention',
  'global_avg_pool',
  'grouped_attention',
  'gru',
  'lstm',
  'rnn',
  'rnn_container',
  'softmax',
]);

/** Layers whose result does not depend on whether they are trained. */
const SAME_IN_TRAINING: ReadonlySet<Kind> = new Set<Kind>([
  'crop',
  'normalization',
  'preprocessing',
  'random',
  'rescaling',
  'resize',
]);

/** A nested model: one class, one attribute, called with its inputs in the order that its class takes. */
function callModel(
  work: Work,
  draft: Draft,
  layer: Layer,
  inputs: readonly Ref[],
  shapes: readonly (Shape | null)[],
  attributeFor: Layer = layer,
): Emitted {
  const graph = work.model.graphs.get(layer.path);
  if (graph === undefined) {
    throw new BnsumError({
      code: 'REFUSED',
      file: work.options.file,
      place: `model ${layer.path} (${layer.type})`,
      reason: 'its graph is not in the file (a subclassed model keeps its forward pass in code)',
      next: 'convert a functional or Sequential model, or leave it out with --skip',
    });
  }
  const masked = graph.inputs.map((_, index) => inputs[index]?.mask !== undefined);
  const known = work.masks.get(layer.path);
  const refused = inputs.some((ref) => ref.mask === UNKNOWN_MASK)
    ? AMBIGUOUS
    : known !== undefined && known.inputs.join() !== masked.join()
      ? 'it is called both with and without a mask'
      : null;
  if (refused !== null) {
    throw new BnsumError({
      code: 'REFUSED',
      file: work.options.file,
      place: `model ${layer.path} (${layer.type})`,
      reason: refused,
    });
  }
  const inner =
    work.lowered.get(layer.path) ??
    lowerGraph(
      work,
      layer.path,
      graph,
      work.classNames.take(classNameOf(layer.path.split('/').at(-1) ?? layer.path)),
      masked,
    );
  let name = draft.registered.get(attributeFor.path);
  if (name === undefined) {
    name = draft.attributeNames.take(attributeOf(attributeFor.path.split('/').at(-1) ?? attributeFor.path));
    draft.registered.set(attributeFor.path, name);
    draft.attributes.push({ name, layer: attributeFor.path, build: `${inner.name}()` });
  }
  const given = inner.inputs.slice(0, graph.inputs.length).map((port, index) => {
    const ref = inputs[index];
    if (ref === undefined)
      throw new BnsumError({ code: 'INTERNAL', file: work.options.file, reason: 'a model called with too few inputs' });
    return arrange(work, draft, plain(work, draft, ref), port.axes).name;
  });
  for (const [index, flag] of masked.entries()) if (flag) given.push(inputs[index]?.mask ?? '');
  const results = inner.outputs.map((port, index) => ({ shape: shapes[index] ?? port.shape, axes: port.axes }));
  const made = emitLines(work, draft, `self.${name}(${given.join(', ')})`, results, name);
  const values = made.slice(0, graph.outputs.length);
  let next = values.length;
  return values.map((ref, index) => {
    const mask = work.masks.get(layer.path)?.outputs[index] ?? null;
    if (mask === null || mask === UNKNOWN_MASK) return mask === null ? ref : { ...ref, mask };
    next += 1;
    return { ...ref, mask: made[next - 1]?.name ?? '' };
  });
}

function emitLines(
  work: Work,
  draft: Draft,
  expr: string,
  results: readonly Result[],
  hint: string,
  comment?: string,
  pattern?: TargetPattern,
): readonly Ref[] {
  const refs = results.map((result, index) => ({
    name: newToken(
      work,
      draft,
      result.named ?? (results.length === 1 ? hint : `${hint}_${pattern?.hints[index] ?? index}`),
      result.named !== undefined,
    ),
    shape: result.shape,
    axes: result.axes,
    features: result.features ?? null,
    ...(result.mask === undefined ? {} : { mask: result.mask }),
  }));
  const shown = pattern?.text.replace(/\{(\d+)\}/g, (_, index: string) => refs[Number(index)]?.name ?? '');
  draft.statements.push({
    targets: refs.map((ref) => ref.name),
    expr,
    ...(shown === undefined ? {} : { shown }),
    ...(comment === undefined ? {} : { comment }),
  });
  return refs;
}

function arrange(work: Work, draft: Draft, ref: Ref, axes: Axes): Ref {
  if (sameAxes(ref.axes, axes)) return ref;
  // Permute layers give the axes of a value other names, so that one value may be asked for in several senses.
  const key = `${ref.name} ${ref.axes.join(' ')} > ${axes.join(' ')}`;
  const had = draft.arranged.get(key);
  if (had !== undefined) return { ...ref, name: had, axes };
  // Two permutes in a row are one, or none.
  const from = draft.permuted.get(ref.name);
  if (from !== undefined && sameAxes(from.to, ref.axes)) {
    return arrange(work, draft, { ...ref, name: from.name, axes: from.axes }, axes);
  }
  const order = axes.map((axis) => ref.axes.indexOf(axis));
  const hint = draft.hints.get(ref.name) ?? 'x';
  const [made] = emitLines(work, draft, `${ref.name}.permute(${order.join(', ')})`, [{ ...ref, axes }], hint);
  const result = made as Ref;
  draft.arranged.set(key, result.name);
  draft.permuted.set(result.name, { name: ref.name, axes: ref.axes, to: axes });
  return result;
}

function sizeOf(dims: readonly number[]): number {
  return dims.reduce((product, size) => product * size, 1);
}

/** Emits what brings scrambled features back into Keras' order. */
function plain(work: Work, draft: Draft, ref: Ref): Ref {
  const { features } = ref;
  if (features === null) return ref;
  const key = `${ref.name} plain`;
  const had = draft.arranged.get(key);
  if (had !== undefined) return { ...ref, name: had, features: null };
  let at = 0;
  const parts = features.map(({ dims, order }) => {
    const size = sizeOf(dims);
    const part = features.length === 1 ? ref.name : `${ref.name}[:, ${at}:${at + size}]`;
    at += size;
    if (dims.length === 1) return part;
    const torchDims = order.map((axis) => dims[axis] ?? 1);
    const back = dims.map((_, axis) => order.indexOf(axis) + 1);
    return `${part}.unflatten(1, ${literal(torchDims)}).permute(0, ${back.join(', ')}).flatten(1)`;
  });
  const expr = parts.length === 1 ? (parts[0] ?? '') : `torch.cat([${parts.join(', ')}], dim=1)`;
  const [made] = emitLines(
    work,
    draft,
    expr,
    [{ ...ref, features: null }],
    draft.hints.get(ref.name) ?? 'x',
    'Back to the order in which Keras flattens (channels last).',
  );
  const result = made as Ref;
  draft.arranged.set(key, result.name);
  return result;
}

/** A layer of an operation node, so that emitters see one kind of thing. */
function operationLayer(call: Call): Layer {
  return {
    path: call.op,
    parent: null,
    container: false,
    kind: 'operation',
    type: call.op,
    trainable: null,
    attrs: EMPTY_OBJECT,
    norm: {},
    weights: [],
  };
}

function emitCall(
  work: Work,
  draft: Draft,
  given: Layer | null,
  call: Call,
  inputs: readonly Ref[],
  shapes: readonly (Shape | null)[],
  /** For a wrapper's child: the wrapper, and how its module is named. */
  within: { readonly owner: Layer; self(): string } | null,
): Emitted {
  const layer = given ?? operationLayer(call);
  const owner = within?.owner ?? layer;
  const { file } = work.options;
  const place = given === null ? `operation ${call.op}` : `layer ${layer.path} (${layer.type})`;
  const refuse = (reason: string): never => {
    throw new BnsumError({
      code: 'REFUSED',
      file,
      place,
      reason,
      ...(given === null ? {} : { next: `leave it out with --skip ${layer.path} where that makes sense` }),
    });
  };
  if (call.attrs.get('training') === true && !SAME_IN_TRAINING.has(layer.kind)) {
    return refuse('it is called with training=True');
  }
  const mask = call.attrs.get('mask');
  if (mask !== undefined && mask !== null && !givenBy(call.attrs, inputs).named.has('mask')) {
    return refuse('it is called with a mask that is not in the file');
  }
  if (USES_MASK.has(layer.kind) && inputs.some((ref) => ref.mask === UNKNOWN_MASK)) return refuse(AMBIGUOUS);
  const emitter = emitterOf(layer.kind);
  if (emitter === undefined)
    return refuse(`no PyTorch counterpart is known for ${layer.type === '' ? 'it' : layer.type}`);
  const source = twinSourceOf(layer, work.children, work.firstInputs);
  const hint = given === null ? snakeWord(call.op) : (layer.path.split('/').at(-1) ?? layer.path);
  const twin = (): Exclude<Twin, { readonly refused: string }> | null => {
    const made = work.twins.get(layer.path) ?? twinOf(source);
    work.twins.set(layer.path, made);
    if (made.refused === undefined) return made;
    // A family that could speak of the layer and refused it is believed, with or without weights.
    const spoke = familyOfKind(layer.kind)?.toTorch !== undefined;
    return spoke || layer.weights.length > 0 || source.children.length > 0 ? refuse(made.refused) : null;
  };
  const register = (key: string, wanted: string, attribute: (name: string) => Attribute): string => {
    const had = draft.registered.get(key);
    if (had !== undefined) return `self.${had}`;
    const name = draft.attributeNames.take(attributeOf(wanted));
    draft.registered.set(key, name);
    draft.attributes.push(attribute(name));
    return `self.${name}`;
  };
  const emit: Emit = {
    model: work.model,
    file,
    layer,
    call,
    norm: layer.norm,
    get twin() {
      return twin();
    },
    source,
    inputs,
    outputShapes: shapes,
    calls: work.callCounts.get(owner.path) ?? 1,
    module(comment, args) {
      if (within !== null) return within.self();
      const made = twin();
      if (made === null) return refuse('it has no PyTorch module');
      const used =
        args === undefined
          ? made
          : {
              ...made,
              modules: made.modules.map((module) =>
                module.name === '' ? { ...module, args: { ...module.args, ...args } } : module,
              ),
            };
      return register(layer.path, hint, (name) => ({
        name,
        layer: layer.path,
        twin: used,
        ...(comment === undefined ? {} : { comment }),
      }));
    },
    attribute(suffix, build) {
      // A layer that is called on several sizes may need several modules.
      return register(
        `${layer.path}\u0000${suffix}\u0000${build}`,
        suffix === '' ? hint : `${hint}_${suffix}`,
        (name) => ({
          name,
          layer: null,
          build,
        }),
      );
    },
    helper(name) {
      work.helpers.add(name);
      return name;
    },
    line(expr, result, comment) {
      return emitLines(work, draft, expr, [result], hint, comment)[0] as Ref;
    },
    lines(expr, results, comment, pattern) {
      return emitLines(work, draft, expr, results, hint, comment, pattern);
    },
    arrange: (ref, axes) => arrange(work, draft, ref, axes),
    plain: (ref) => plain(work, draft, ref),
    keras: (ref) => arrange(work, draft, plain(work, draft, ref), plainAxes(ref.axes.length)),
    takes(order) {
      const had = work.inputOrder.get(owner.path);
      if (had !== undefined && !sameOrder(had, order)) refuse('it is called on features in two different orders');
      work.inputOrder.set(owner.path, order);
    },
    gives(order) {
      const had = work.outputOrder.get(owner.path);
      if (had !== undefined && !sameOrder(had, order)) refuse('it is called on features in two different orders');
      work.outputOrder.set(owner.path, order);
    },
    inner(child, childInputs, childSelf) {
      const childShapes = childInputs.map((ref) => ref.shape);
      if (child.kind === 'model') {
        const graph = work.model.graphs.get(child.path);
        const known = graph?.outputs.map((id) => graph.values[id]?.shape ?? null) ?? [null];
        return callModel(work, draft, child, childInputs, known, layer);
      }
      const outputs = childShapes.every((shape) => shape !== null)
        ? outputsOf(child, childShapes as readonly Shape[], work)
        : [null];
      const ids = childInputs.map((_, at) => at);
      const childCall: Call = { layer: child.path, op: '', attrs: EMPTY_OBJECT, inputs: ids, outputs: [ids.length] };
      return emitCall(work, draft, child, childCall, childInputs, outputs, { owner, self: childSelf });
    },
    children: work.children.get(layer.path) ?? [],
    note(code, args) {
      work.diagnostics.push(note(code, { layer: layer.path }, args));
    },
    refuse,
  };
  return emitter(emit);
}

/** Output shapes of a layer outside a graph: a wrapper's child. */
function outputsOf(layer: Layer, inputs: readonly Shape[], work: Work): readonly (Shape | null)[] {
  const bind = (one: Layer): BoundLayer =>
    bindLayer({ ...one, children: (work.children.get(one.path) ?? []).map(bind) });
  return bind(layer).outputs(inputs, EMPTY_OBJECT) ?? [null];
}

/** Layer path → module path in the root, through the attributes of the classes. */
function modulePaths(work: Work): Map<string, string> {
  const paths = new Map<string, string>();
  const byGraph = new Map(work.classes.map((made) => [made.graph, made]));
  const walk = (graph: string, prefix: string): void => {
    const made = byGraph.get(graph);
    if (made === undefined) return;
    for (const attribute of made.attributes) {
      if (attribute.layer === null) continue;
      const path = prefix === '' ? attribute.name : `${prefix}.${attribute.name}`;
      paths.set(attribute.layer, path);
      if (attribute.twin !== undefined) continue;
      const layer = work.layers.get(attribute.layer);
      const inner =
        layer?.kind === 'model'
          ? layer.path
          : (work.children.get(attribute.layer) ?? []).find((c) => c.kind === 'model')?.path;
      if (inner !== undefined) {
        paths.set(inner, path);
        walk(inner, path);
      }
    }
  };
  walk('', '');
  return paths;
}
