import { type Fold, planFolding } from '../graph/fold.ts';
import { type Diagnostic, note } from '../ir/diagnostic.ts';
import type { DType } from '../ir/dtype.ts';
import { layersByPath } from '../ir/layer-index.ts';
import type { Call, Graph, Layer, Model, Shape } from '../ir/model.ts';
import { normNumber, normText } from '../layers/attribute.ts';
import type { Twin } from '../layers/family.ts';
import { twinOf } from '../layers/registry.ts';
import { dataFormatOf } from '../layers/window.ts';
import { type Affine, affineOf, canTake, type FoldedTensor, foldInto, type Share, type Spread } from './fold-linear.ts';

/** One BatchNorm that is gone. */
export interface FoldRecord {
  readonly bn: string;
  readonly how: 'backward' | 'forward';
  readonly into: readonly string[];
}

/** A model without the BatchNorms that could be folded; its other layers hold lazily computed arrays. */
export interface Folded {
  readonly model: Model;
  readonly folds: readonly FoldRecord[];
  /** What the computed tensors are made of, by identity. */
  readonly made: ReadonlyMap<string, FoldedTensor>;
  readonly diagnostics: readonly Diagnostic[];
}

export interface FoldOptions {
  readonly file: string;
  /** Layers that are left out: nothing is folded into them, nor are they. */
  readonly skip: ReadonlySet<string>;
  /** Element type that computed arrays are rounded to; absent: each array's own. */
  readonly dtype?: DType;
}

/**
 * Folds BatchNorms away by the plan of graph/fold.ts (the `inference` rule): backward W·s and (b − μ)·s + β per output
 * channel; forward W·s per input channel and b + Σ W·t, where y = s·x + t. Nothing is read here.
 */
export function foldModel(model: Model, options: FoldOptions): Folded {
  const plan = planFolding(model);
  const layers = layersByPath(model);
  const diagnostics: Diagnostic[] = [];
  const folds: FoldRecord[] = [];
  const shares = new Map<string, Share>();
  /** Layers behind which a BatchNorm stayed: a further one must not go past it. */
  const blocked = new Set<string>();
  const shareOf = (path: string): Share => {
    const had = shares.get(path) ?? { before: null, behind: [] };
    shares.set(path, had);
    return had;
  };
  // In execution order, so that several BatchNorms behind one layer are composed in theirs.
  for (const [graph, call, fold] of inOrder(model, plan ?? [])) {
    const bn = layers.get(fold.bn);
    if (bn === undefined || isSkipped(options.skip, fold.bn)) continue;
    const kept = (why: string): void => {
      diagnostics.push(note('NOT_FOLDED', { layer: fold.bn }, { why }));
      for (const path of fold.into) blocked.add(path);
    };
    if (fold.how === 'kept' || graph === null || call === null) {
      kept(whyKept(model, layers, graph, call, bn));
      continue;
    }
    if (fold.into.some((path) => isSkipped(options.skip, path))) {
      kept('the layer that would take it is left out');
      continue;
    }
    if (fold.into.some((path) => blocked.has(path))) {
      kept('another BatchNorm stays between it and the layer that would take it');
      continue;
    }
    const [input] = call.inputs;
    const shape = typeof input === 'number' ? (graph.values[input]?.shape ?? null) : null;
    const twin = twinOf({ ...bn, inputs: shape === null ? null : [shape], children: [] });
    const affine = twin.refused === undefined ? affineOf(bn, twin, options.file) : null;
    if (twin.refused !== undefined || affine === null) {
      kept(twin.refused ?? 'its values are no floating point numbers');
      continue;
    }
    const targets = fold.into.map((path) => targetOf(layers, graph, call, bn, fold, path, affine));
    if (targets.some((target) => target === null)) {
      kept('which features belong to which of its channels is not known');
      continue;
    }
    for (const target of targets) {
      if (target === null) continue;
      const share = shareOf(target.path);
      if (target.spread === null) share.behind.push(affine);
      else share.before = { affine, spread: target.spread };
    }
    folds.push({ bn: fold.bn, how: fold.how, into: fold.into });
    diagnostics.push(note('FOLDED', { layer: fold.bn }, { into: fold.into, how: fold.how }));
    diagnostics.push(...lasting(twin));
  }
  const made = new Map<string, FoldedTensor>();
  const changed = new Map<string, Layer>();
  for (const [path, share] of shares) {
    const layer = layers.get(path);
    if (layer === undefined) continue;
    const result = foldInto(layer, share, options.dtype);
    changed.set(path, result.layer);
    for (const [identity, facts] of result.made) made.set(identity, facts);
  }
  const gone = new Set(folds.map((fold) => fold.bn));
  return {
    model: {
      ...model,
      layers: model.layers.map((layer) => changed.get(layer.path) ?? layer),
      graphs: new Map([...model.graphs].map(([path, graph]) => [path, without(graph, gone)])),
    },
    folds,
    made,
    diagnostics,
  };
}

function isSkipped(skip: ReadonlySet<string>, path: string): boolean {
  return [...skip].some((one) => path === one || path.startsWith(`${one}/`));
}

/** What still has to be said of a BatchNorm that is gone: weights that had no place anyway, and readings. */
function lasting(twin: Exclude<Twin, { readonly refused: string }>): readonly Diagnostic[] {
  return twin.diagnostics.filter(({ code }) => code === 'DROPPED' || code === 'ASSUMED');
}

/** Each fold with its call; null for a BatchNorm that no graph calls. */
function inOrder(model: Model, plan: readonly Fold[]): readonly (readonly [Graph | null, Call | null, Fold])[] {
  const byPath = new Map(plan.map((fold) => [fold.bn, fold]));
  const ordered: (readonly [Graph | null, Call | null, Fold])[] = [];
  for (const graph of model.graphs.values()) {
    for (const call of graph.calls) {
      const fold = call.layer === null ? undefined : byPath.get(call.layer);
      if (fold === undefined) continue;
      byPath.delete(fold.bn);
      ordered.push([graph, call, fold]);
    }
  }
  return [...ordered, ...[...byPath.values()].map((fold) => [null, null, fold] as const)];
}

/** Where a layer takes the BatchNorm: spread null is behind it. null: it cannot be told. */
function targetOf(
  layers: ReadonlyMap<string, Layer>,
  graph: Graph,
  call: Call,
  bn: Layer,
  fold: Fold,
  path: string,
  affine: Affine,
): { readonly path: string; readonly spread: Spread | null } | null {
  const layer = layers.get(path);
  if (layer === undefined) return null;
  if (fold.how === 'backward') return canTake(layer, affine, null) ? { path, spread: null } : null;
  const spread = spreadOf(layers, graph, call, bn, path, affine.channels);
  return spread !== null && canTake(layer, affine, spread) ? { path, spread } : null;
}

/** Walks from the layer back to the BatchNorm: a Flatten in between spreads the channels over the features. */
function spreadOf(
  layers: ReadonlyMap<string, Layer>,
  graph: Graph,
  call: Call,
  bn: Layer,
  path: string,
  channels: number,
): Spread | null {
  const [made] = call.outputs;
  const axis = normNumber(bn.norm, 'axis');
  const shape = made === undefined ? null : (graph.values[made]?.shape ?? null);
  if (axis === null || shape === null) return null;
  const channel = axis < 0 ? axis + shape.length : axis;
  if (channel < 1) return null;
  let inner = 1;
  let id = graph.calls.find((one) => one.layer === path)?.inputs.find((input) => typeof input === 'number');
  for (let steps = 0; id !== made && steps <= graph.calls.length; steps += 1) {
    const producer = graph.calls.find((one) => typeof id === 'number' && one.outputs.includes(id));
    const before = producer?.inputs.find((input) => typeof input === 'number');
    const layer = producer?.layer == null ? undefined : layers.get(producer.layer);
    if (producer === undefined || layer === undefined || typeof before !== 'number') return null;
    const input = graph.values[before]?.shape ?? null;
    if (layer.kind === 'flatten' && input !== null && input.length > 2) {
      const behind = innerSize(input, channel, layer);
      if (behind === null) return null;
      inner = behind;
    } else if (layer.kind === 'flatten' && (input === null || input.length < 2)) return null;
    id = before;
  }
  return id === made ? { channels, inner } : null;
}

/** Features of one channel that follow each other when Flatten reads the axes in its order. */
function innerSize(input: Shape, channel: number, flatten: Layer): number | null {
  const axes = input.map((_, axis) => axis).slice(1);
  const order = dataFormatOf(flatten.norm) === 'channels_first' ? [...axes.slice(1), 1] : axes;
  let size = 1;
  for (const axis of order.slice(order.indexOf(channel) + 1)) {
    const dim = input[axis];
    if (typeof dim !== 'number') return null;
    size *= dim;
  }
  return size;
}

/** The graph without the calls of these layers: whoever read their output reads their input. */
function without(graph: Graph, gone: ReadonlySet<string>): Graph {
  const instead = new Map<number, number>();
  for (const call of graph.calls) {
    if (call.layer === null || !gone.has(call.layer)) continue;
    const input = call.inputs.find((one) => typeof one === 'number');
    const [output] = call.outputs;
    if (typeof input === 'number' && output !== undefined) instead.set(output, instead.get(input) ?? input);
  }
  if (instead.size === 0) return graph;
  const replaced = (id: number): number => instead.get(id) ?? id;
  return {
    ...graph,
    outputs: graph.outputs.map(replaced),
    calls: graph.calls
      .filter((call) => call.layer === null || !gone.has(call.layer))
      .map((call) => ({
        ...call,
        inputs: call.inputs.map((input) => (typeof input === 'number' ? replaced(input) : input)),
      })),
  };
}

/** One clause on what stands in the way. */
function whyKept(
  model: Model,
  layers: ReadonlyMap<string, Layer>,
  graph: Graph | null,
  call: Call | null,
  bn: Layer,
): string {
  if (graph === null || call === null) return 'it sits inside a wrapper';
  const calls = [...model.graphs.values()].reduce(
    (sum, one) => sum + one.calls.filter((other) => other.layer === bn.path).length,
    0,
  );
  if (calls > 1) return `it is called ${calls} times`;
  if (call.attrs.get('training') === true) return 'it is called with training=True';
  if (normNumber(bn.norm, 'axis') === null) return 'it normalises several axes together';
  const input = call.inputs.find((one) => typeof one === 'number');
  const [output] = call.outputs;
  const producer = graph.calls.find((one) => typeof input === 'number' && one.outputs.includes(input));
  const wordOf = (one: Call | undefined): string => {
    if (one === undefined) return 'the input';
    const layer = one.layer === null ? undefined : layers.get(one.layer);
    if (layer === undefined) return one.op;
    const activation = layer.norm['activation'];
    const word =
      typeof activation === 'object' && activation !== null && !Array.isArray(activation)
        ? normText(activation as Layer['norm'], 'function')
        : null;
    return `${layer.path} (${layer.type}${word === null || word === 'linear' ? '' : `, ${word}`})`;
  };
  const readers = graph.calls.filter((one) => output !== undefined && one.inputs.includes(output));
  const shares = graph.calls.filter((one) => typeof input === 'number' && one.inputs.includes(input)).length > 1;
  const front = shares ? `${wordOf(producer)} before it also feeds others` : `${wordOf(producer)} comes before it`;
  const isOutput = output !== undefined && graph.outputs.includes(output);
  const names = readers.slice(0, 3).map(wordOf);
  const more = readers.length > names.length ? ` and ${readers.length - names.length} more` : '';
  const back = isOutput || readers.length === 0 ? 'the model ends behind it' : `${names.join(', ')}${more} behind it`;
  return `${front}, ${back}: none can take it exactly`;
}
