import { layersByPath } from '../ir/layer-index.ts';
import type { Call, Graph, Layer, Model, NormAttrs, Shape } from '../ir/model.ts';
import { normNumber, normRecord, normText, wrapAxis } from '../layers/attribute.ts';
import { channelAxis, dataFormatOf, padsOf } from '../layers/window.ts';

/** What becomes of one BatchNorm when a model is deployed. */
export interface Fold {
  /** Path of the BatchNorm. */
  readonly bn: string;
  /** Into the linear layer before it, into all linear layers behind it, or left as a scale and a shift per channel. */
  readonly how: 'backward' | 'forward' | 'kept';
  /** Paths of the layers that take it; [] when it is kept. */
  readonly into: readonly string[];
  /** Whether a layer that takes it has no bias and gains one. */
  readonly gainsBias: boolean;
  /** Elements that it leaves: gained biases, or 2C when it is kept. */
  readonly elementsAfter: number;
}

export type FoldPlan = readonly Fold[];

/**
 * The fold plan of every BatchNorm, in the order of the layers:
 * - backward when the value that it normalises comes from a linear layer without an activation, through nothing but
 *   what passes an affine map of each channel on, every value on the way feeds nothing else, its channels are the
 *   layer's outputs, and neither is used twice;
 * - else forward when every consumer, seen through Flatten, Dropout and Identity, is a linear layer that takes a scale
 *   and a shift of its inputs exactly: Dense, or a convolution without padding;
 * - else kept, as one scale and one shift per channel.
 * Never across a non-linearity. null without a graph while there is a BatchNorm: who feeds whom is not known then.
 * Shapes are needed where the rank decides which axis holds the channels (inferShapes).
 */
export function planFolding(model: Model): FoldPlan | null {
  const norms = model.layers.filter((layer) => layer.kind === 'batch_norm');
  if (norms.length > 0 && !model.graphs.has('')) return null;
  const wiring = wire(model);
  const folds = new Map<string, Fold>();
  // In execution order, so that a BatchNorm behind a folded one can follow it.
  for (const graph of model.graphs.values()) {
    for (const call of graph.calls) {
      const layer = call.layer === null ? undefined : wiring.layers.get(call.layer);
      if (layer?.kind === 'batch_norm' && !folds.has(layer.path)) {
        const made = fold(wiring, graph, call, layer, folds);
        folds.set(layer.path, made);
        for (const path of made.into) wiring.biased.add(path);
      }
    }
  }
  return norms.map((layer) => folds.get(layer.path) ?? kept(layer));
}

interface Wiring {
  readonly layers: ReadonlyMap<string, Layer>;
  /** Calls of each layer over all graphs. */
  readonly uses: ReadonlyMap<string, number>;
  /** Paths of layers that share a tensor with another layer. */
  readonly tied: ReadonlySet<string>;
  readonly graphs: ReadonlyMap<Graph, Ports>;
  /** Paths of layers that have a bias, of their own or since a BatchNorm went into them. */
  readonly biased: Set<string>;
}

/** Who makes and who reads each value of a graph. */
interface Ports {
  readonly producer: ReadonlyMap<number, Call>;
  readonly consumers: ReadonlyMap<number, readonly Call[]>;
  readonly outputs: ReadonlySet<number>;
}

function wire(model: Model): Wiring {
  const uses = new Map<string, number>();
  const graphs = new Map<Graph, Ports>();
  for (const graph of model.graphs.values()) {
    const producer = new Map<number, Call>();
    const consumers = new Map<number, Call[]>();
    for (const call of graph.calls) {
      if (call.layer !== null) uses.set(call.layer, (uses.get(call.layer) ?? 0) + 1);
      for (const id of call.outputs) producer.set(id, call);
      for (const id of call.inputs) {
        if (typeof id !== 'number') continue;
        const readers = consumers.get(id);
        if (readers === undefined) consumers.set(id, [call]);
        else readers.push(call);
      }
    }
    graphs.set(graph, { producer, consumers, outputs: new Set(graph.outputs) });
  }
  return {
    layers: layersByPath(model),
    uses,
    tied: tiedLayers(model),
    graphs,
    biased: new Set(model.layers.filter(hasBias).map((layer) => layer.path)),
  };
}

function tiedLayers(model: Model): ReadonlySet<string> {
  const owner = new Map<string, string>();
  const tied = new Set<string>();
  for (const layer of model.layers) {
    for (const { tensor } of layer.weights) {
      const first = owner.get(tensor.identity);
      if (first === undefined) owner.set(tensor.identity, layer.path);
      else if (first !== layer.path) tied.add(first).add(layer.path);
    }
  }
  return tied;
}

/** Elements per BatchNorm: the sizes of the axes that it keeps apart. */
function channelsOf(layer: Layer): number {
  const statistic =
    layer.weights.find((weight) => weight.role === 'moving_mean' || weight.role === 'running_mean') ?? layer.weights[0];
  return (statistic?.tensor.shape ?? []).reduce((product, size) => product * size, 1);
}

function kept(layer: Layer): Fold {
  return { bn: layer.path, how: 'kept', into: [], gainsBias: false, elementsAfter: 2 * channelsOf(layer) };
}

function fold(wiring: Wiring, graph: Graph, call: Call, bn: Layer, folds: ReadonlyMap<string, Fold>): Fold {
  const ports = wiring.graphs.get(graph);
  const axis = normNumber(bn.norm, 'axis');
  // Called with training=True it normalises by the statistics of the batch.
  if (call.attrs.get('training') === true) return kept(bn);
  if (ports === undefined || axis === null || !isFree(wiring, bn) || !atInference(bn)) return kept(bn);
  return (
    backward(wiring, graph, ports, call, bn, axis, folds) ?? forward(wiring, graph, ports, call, bn, axis) ?? kept(bn)
  );
}

/** Used once, and sharing no tensor. */
function isFree(wiring: Wiring, layer: Layer): boolean {
  return wiring.uses.get(layer.path) === 1 && !wiring.tied.has(layer.path);
}

/** Whether inference uses the stored statistics: not in Keras 1's modes 1 and 2, nor without statistics. */
function atInference(bn: Layer): boolean {
  const mode = normNumber(bn.norm, 'mode');
  return (mode === null || mode === 0) && bn.norm['statistics'] !== false;
}

function hasBias(layer: Layer): boolean {
  return layer.weights.some((weight) => weight.role === 'bias');
}

function shapeOf(graph: Graph, id: number | undefined): Shape | null {
  return id === undefined ? null : (graph.values[id]?.shape ?? null);
}

function firstInput(call: Call): number | undefined {
  const ids = call.inputs.filter((input) => typeof input === 'number');
  return ids.length === 1 ? ids[0] : undefined;
}

function backward(
  wiring: Wiring,
  graph: Graph,
  ports: Ports,
  call: Call,
  bn: Layer,
  axis: number,
  folds: ReadonlyMap<string, Fold>,
): Fold | null {
  let id = firstInput(call);
  let channel = wrapAxis(axis, shapeOf(graph, id)?.length ?? 0);
  while (id !== undefined && channel !== null) {
    if (ports.outputs.has(id) || ports.consumers.get(id)?.length !== 1) return null;
    const producer = ports.producer.get(id);
    const layer = producer?.layer == null ? undefined : wiring.layers.get(producer.layer);
    if (producer === undefined || layer === undefined) return null;
    const output = shapeOf(graph, id);
    if (isLinear(layer)) {
      if (output === null || !isFree(wiring, layer) || channel !== outputChannel(layer, output)) return null;
      const gains = !wiring.biased.has(layer.path);
      return {
        bn: bn.path,
        how: 'backward',
        into: [layer.path],
        gainsBias: gains,
        elementsAfter: gains ? channelsOf(bn) : 0,
      };
    }
    const before = firstInput(producer);
    const rank = shapeOf(graph, before)?.length;
    if (!passesAffine(layer, channel, output, folds)) return null;
    // A global pool without kept axes leaves (batch, channels): its channels are those of its input.
    if (layer.kind === 'global_avg_pool' && rank !== undefined && rank !== output?.length) {
      channel = channelAxis(rank, normNumber(layer.norm, 'rank') ?? rank - 2, dataFormatOf(layer.norm));
    }
    id = before;
  }
  return null;
}

/** What carries an affine map of each channel over unchanged at inference. */
function passesAffine(layer: Layer, channel: number, output: Shape | null, folds: ReadonlyMap<string, Fold>): boolean {
  switch (layer.kind) {
    case 'identity':
    case 'dropout':
    case 'noise':
      return true;
    case 'activation':
      return activationOf(layer.norm) === 'linear';
    case 'batch_norm': {
      // One that went into the same layer is gone.
      const axis = normNumber(layer.norm, 'axis');
      const same = axis !== null && output !== null && wrapAxis(axis, output.length) === channel;
      return same && folds.get(layer.path)?.how === 'backward';
    }
    case 'crop':
      return layer.norm['pads'] !== null;
    // A mean of equal shifts is that shift; Keras never counts padded cells.
    case 'avg_pool':
      return (
        output !== null && channel === spatialChannel(layer.norm, output) && layer.norm['countIncludePad'] !== true
      );
    case 'global_avg_pool':
      return output !== null && channel === (output.length === 2 ? 1 : spatialChannel(layer.norm, output));
    case 'upsample': {
      const mode = normText(layer.norm, 'interpolation');
      return (
        output !== null && channel === spatialChannel(layer.norm, output) && (mode === 'nearest' || mode === 'bilinear')
      );
    }
    default:
      return false;
  }
}

function spatialChannel(norm: NormAttrs, shape: Shape): number {
  return channelAxis(shape.length, normNumber(norm, 'rank') ?? shape.length - 2, dataFormatOf(norm));
}

function activationOf(norm: NormAttrs): string | null {
  return normText(norm, 'function') ?? normText(normRecord(norm, 'activation'), 'function');
}

/** A layer with a kernel over its output channels and no activation, in floating point. */
function isLinear(layer: Layer): boolean {
  switch (layer.kind) {
    case 'dense':
    case 'conv':
    case 'conv_transpose':
    case 'depthwise_conv':
    case 'separable_conv':
      return activationOf(layer.norm) === 'linear' && isPlain(layer);
    default:
      return false;
  }
}

function isPlain(layer: Layer): boolean {
  const adapted = layer.weights.some((weight) => weight.role.startsWith('lora_'));
  return !adapted && (layer.norm['quantised'] ?? null) === null && layer.weights.length > 0;
}

function outputChannel(layer: Layer, output: Shape): number {
  return layer.kind === 'dense' ? output.length - 1 : spatialChannel(layer.norm, output);
}

function forward(wiring: Wiring, graph: Graph, ports: Ports, call: Call, bn: Layer, axis: number): Fold | null {
  const [output] = call.outputs;
  const shape = shapeOf(graph, output);
  const channel = shape === null ? null : wrapAxis(axis, shape.length);
  if (output === undefined || channel === null) return null;
  const into: string[] = [];
  let gained = 0;
  const pending: { readonly id: number; readonly flat: boolean }[] = [{ id: output, flat: false }];
  for (let next = pending.pop(); next !== undefined; next = pending.pop()) {
    const readers = ports.consumers.get(next.id) ?? [];
    if (ports.outputs.has(next.id) || readers.length === 0) return null;
    for (const reader of readers) {
      const layer = reader.layer === null ? undefined : wiring.layers.get(reader.layer);
      const [made] = reader.outputs;
      if (layer === undefined || made === undefined || reader.outputs.length !== 1) return null;
      if (firstInput(reader) === undefined) return null;
      if (passesOn(layer)) {
        // Behind Flatten every feature has its own scale and shift, whatever the axis was.
        pending.push({ id: made, flat: next.flat || layer.kind === 'flatten' });
        continue;
      }
      const input = shapeOf(graph, next.id);
      if (input === null || !isFree(wiring, layer) || !takes(layer, input, next.flat ? null : channel)) return null;
      into.push(layer.path);
      if (!wiring.biased.has(layer.path)) gained += biasElements(layer);
    }
  }
  into.reverse();
  return { bn: bn.path, how: 'forward', into, gainsBias: gained > 0, elementsAfter: gained };
}

function passesOn(layer: Layer): boolean {
  return (
    layer.kind === 'flatten' ||
    layer.kind === 'dropout' ||
    layer.kind === 'identity' ||
    layer.kind === 'noise' ||
    (layer.kind === 'activation' && activationOf(layer.norm) === 'linear')
  );
}

/** Whether a layer takes a scale and a shift of its input channels exactly; `channel` null: of every input feature. */
function takes(layer: Layer, input: Shape, channel: number | null): boolean {
  if (!isPlain(layer)) return false;
  switch (layer.kind) {
    case 'dense':
      return channel === null ? input.length === 2 : channel === input.length - 1;
    case 'conv':
    case 'depthwise_conv':
    case 'separable_conv':
      return channel !== null && channel === spatialChannel(layer.norm, input) && isUnpadded(layer.norm, input);
    default:
      return false;
  }
}

/** A padded convolution sees zeros at its border, which a shift would have moved. */
function isUnpadded(norm: NormAttrs, input: Shape): boolean {
  const pads = padsOf(norm, input);
  return pads?.every(([before, after]) => before === 0 && after === 0) === true;
}

/** Elements of the bias that a layer without one would have: its output channels. */
function biasElements(layer: Layer): number {
  const told = normNumber(layer.norm, 'units') ?? normNumber(layer.norm, 'filters');
  if (told !== null) return told;
  const kernel = layer.weights.find((weight) => weight.role === 'kernel' || weight.role === 'weight');
  const shape = kernel?.tensor.shape ?? [];
  if (layer.kind === 'depthwise_conv') {
    const words = (normText(layer.norm, 'kernelLayout') ?? '').split(' ');
    return (shape[words.indexOf('in')] ?? 0) * (shape[words.indexOf('mult')] ?? 0);
  }
  return (layer.kind === 'dense' ? shape.at(-1) : shape[0]) ?? 0;
}
