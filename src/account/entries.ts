import { countElements } from '../ir/build.ts';
import { type Diagnostic, note } from '../ir/diagnostic.ts';
import { byteLengthOf, type DType } from '../ir/dtype.ts';
import { isBnsumError } from '../ir/error.ts';
import type { Kind } from '../ir/kind.ts';
import { type LayerTree, layerTree } from '../ir/layer-index.ts';
import type { Layer, Model, NormAttrs, Shape, Weight, WeightClass } from '../ir/model.ts';
import type { Expr, Twin, TwinModule, TwinSource, TwinTensor } from '../layers/family.ts';
import { familyOfKind, twinOf } from '../layers/registry.ts';

/** One tensor as a framework would hold it: the unit that every accounting rule counts. */
export interface Entry {
  /** The layer whose row shows it. */
  readonly layer: string;
  /** That layer's place in the model's list. */
  readonly at: number;
  /** Keras' variable word or the state_dict name below the layer. */
  readonly role: string;
  readonly class: WeightClass;
  readonly isParameter: boolean;
  /** null: the file does not say. */
  readonly trainable: boolean | null;
  readonly shape: readonly number[];
  readonly dtype: DType;
  readonly elements: number;
  readonly bytes: number;
  /** Equal identities are one tensor. */
  readonly identity: string;
  /** True for a tensor that no tensor of the file gives: a filled gamma, a second LSTM bias, a new counter. */
  readonly filled: boolean;
}

/** The model's tensors as both frameworks would hold them. */
export interface Entries {
  readonly keras: readonly Entry[];
  readonly torch: readonly Entry[];
  /** Layers counted by their own tensors for want of a twin. */
  readonly untwinned: ReadonlySet<string>;
  /** Classes of the twin's modules by the layer's place in the model's list. */
  readonly types: ReadonlyMap<number, readonly string[]>;
  readonly diagnostics: readonly Diagnostic[];
}

/** Input shapes of the first call of each layer, where a graph knows them. */
export function inputsOfLayers(model: Model): ReadonlyMap<string, readonly Shape[]> {
  const inputs = new Map<string, readonly Shape[]>();
  for (const graph of model.graphs.values()) {
    for (const call of graph.calls) {
      if (call.layer === null || inputs.has(call.layer)) continue;
      const shapes: Shape[] = [];
      let known = true;
      for (const input of call.inputs) {
        if (typeof input !== 'number') continue;
        const shape = graph.values[input]?.shape ?? null;
        if (shape === null) known = false;
        else shapes.push(shape);
      }
      if (known) inputs.set(call.layer, shapes);
    }
  }
  return inputs;
}

function ownEntry(layer: Layer, at: number, weight: Weight): Entry {
  const elements = countElements(weight.tensor.shape, undefined, weight.tensor.name);
  return {
    layer: layer.path,
    at,
    role: weight.role,
    class: weight.class,
    isParameter: weight.isParameter ?? weight.class === 'weight',
    trainable: weight.trainable,
    shape: weight.tensor.shape,
    dtype: weight.tensor.dtype,
    elements,
    bytes: weight.tensor.byteLength,
    identity: weight.tensor.identity,
    filled: false,
  };
}

interface Place {
  readonly layer: Layer;
  /** Its place in the model's list. */
  readonly at: number;
  readonly source: TwinSource;
  /** The same nesting as `source.children`. */
  readonly children: readonly Place[];
}

/** What twins are derived from: the layers, the inputs of their first calls. */
interface Ground {
  readonly layers: readonly Layer[];
  readonly tree: LayerTree;
  readonly inputs: ReadonlyMap<string, readonly Shape[]>;
}

/** `whole`: with everything below it. */
function placeOf(ground: Ground, layer: Layer, at: number, whole: boolean): Place {
  const { layers, tree, inputs } = ground;
  let below = NO_PLACES;
  if (whole) {
    // Depth is bounded by limits.moduleDepth, which the readers enforce.
    below = placesBelow(tree, at).flatMap((place) => {
      const child = layers[place];
      return child === undefined ? [] : placeOf(ground, child, place, true);
    });
  }
  const source: TwinSource = {
    path: layer.path,
    kind: layer.kind,
    type: layer.type,
    norm: layer.norm,
    weights: layer.weights,
    inputs: inputs.get(layer.path) ?? null,
    children: below === NO_PLACES ? NO_SOURCES : below.map((place) => place.source),
  };
  return { layer, at, source, children: below };
}

function placesBelow({ firstChildren, nextSiblings }: LayerTree, at: number): readonly number[] {
  const places: number[] = [];
  for (let child = firstChildren[at] ?? -1; child >= 0; child = nextSiblings[child] ?? -1) places.push(child);
  return places;
}

const NO_PLACES: readonly Place[] = [];
const NO_SOURCES: readonly TwinSource[] = [];

function placeAt(place: Place, path: readonly number[]): Place | undefined {
  let at: Place | undefined = place;
  for (const index of path) at = at?.children[index];
  return at;
}

function weightAt(place: Place, role: string, child: readonly number[]): Weight | undefined {
  return placeAt(place, child)?.layer.weights.find((weight) => weight.role === role);
}

/** The layer itself, among the places of a twin. */
const OWN: readonly number[] = [];

function sourcesOf(expr: Expr): readonly { role: string; child: readonly number[] }[] {
  switch (expr.op) {
    case 'source':
      return [{ role: expr.role, child: expr.child ?? OWN }];
    case 'fill':
      return [];
    case 'concat':
    case 'compute':
      return expr.of.flatMap(sourcesOf);
    case 'reshape':
    case 'permute':
    case 'slice':
    case 'flip':
      return sourcesOf(expr.of);
  }
}

/** The expression with each source replaced by its tensor's identity: equal texts are one and the same new tensor. */
function identityOf(expr: Expr, place: Place): string {
  switch (expr.op) {
    case 'source':
      return weightAt(place, expr.role, expr.child ?? [])?.tensor.identity ?? `${place.layer.path}/${expr.role}`;
    case 'fill':
      return `fill(${expr.value},${expr.shape.join('x')})`;
    case 'reshape':
      return `reshape(${identityOf(expr.of, place)},${expr.shape.join('x')})`;
    case 'permute':
      return `permute(${identityOf(expr.of, place)},${expr.axes.join()})`;
    case 'slice':
      return `slice(${identityOf(expr.of, place)},${expr.axis},${expr.start},${expr.stop})`;
    case 'flip':
      return `flip(${identityOf(expr.of, place)},${expr.axes.join()})`;
    case 'concat':
      return `concat(${expr.of.map((part) => identityOf(part, place)).join('+')},${expr.axis})`;
    case 'compute':
      return `${expr.name}(${expr.of.map((part) => identityOf(part, place)).join('+')},${JSON.stringify(expr.args)})`;
  }
}

/** Twins of plain layers by their neutral attributes, which alike layers share. */
type KnownTwins = WeakMap<NormAttrs, { readonly source: TwinSource; readonly twin: Twin }>;

/** Whether two layers without children and graph differ in nothing that a twin is derived from, except their names. */
function areAlike(a: TwinSource, b: TwinSource): boolean {
  if (a.kind !== b.kind || a.type !== b.type || a.norm !== b.norm || a.weights.length !== b.weights.length)
    return false;
  return a.weights.every((weight, index) => {
    const other = b.weights[index];
    const { tensor } = weight;
    if (other === undefined || weight.role !== other.role || weight.class !== other.class) return false;
    if (weight.isParameter !== other.isParameter || weight.trainable !== other.trainable) return false;
    if (tensor.dtype !== other.tensor.dtype || tensor.shape.length !== other.tensor.shape.length) return false;
    return tensor.shape.every((size, axis) => size === other.tensor.shape[axis]);
  });
}

/** The twin of a layer, taken from a layer that is alike where there is one: a large model has thousands of them. */
function twinLike(place: Place, toward: 'torch' | 'keras', known: KnownTwins): Twin | null {
  const { source } = place;
  if (source.children.length > 0 || source.inputs !== null) return twinToward(place, toward);
  const earlier = known.get(source.norm);
  if (earlier !== undefined && areAlike(earlier.source, source)) return earlier.twin;
  const twin = twinToward(place, toward);
  // Diagnostics and refusals name their layer.
  if (twin !== null && twin.refused === undefined && twin.diagnostics.length === 0) {
    known.set(source.norm, { source, twin });
  }
  return twin;
}

/** The twin of a layer in the other dialect; null: its kind has none at all. */
function twinToward(place: Place, toward: 'torch' | 'keras'): Twin | null {
  const family = familyOfKind(place.layer.kind);
  try {
    if (toward === 'torch') return family?.toTorch === undefined ? null : twinOf(place.source);
    return family?.toKeras === undefined ? null : family.toKeras(place.source);
  } catch (error) {
    // Families throw RangeError when the layer lacks a weight or its shapes are not those of its kind.
    if (isBnsumError(error)) return { refused: error.reason };
    if (error instanceof RangeError) return { refused: 'its tensors do not fit its kind' };
    throw error;
  }
}

function twinEntries(place: Place, twin: Extract<Twin, { modules: unknown }>, into: Entry[]): void {
  if (place.children.length === 0 && twin.tensors.every((tensor) => sourceOf(tensor.from) !== undefined)) {
    for (const tensor of twin.tensors) into.push(movedEntry(place, tensor));
    return;
  }
  const owners: (Place | null)[] = twin.tensors.map((tensor) => {
    const child = sourcesOf(tensor.from)[0]?.child;
    return child === undefined ? null : (placeAt(place, child) ?? place);
  });
  // A filled tensor stands on the row of the tensor that it follows (the second bias of one direction of a Bidirectional).
  for (let index = 1; index < owners.length; index += 1) owners[index] ??= owners[index - 1] ?? null;
  for (let index = owners.length - 2; index >= 0; index -= 1) owners[index] ??= owners[index + 1] ?? null;
  twin.tensors.forEach((tensor, index) => {
    const sources = sourcesOf(tensor.from).map(({ role, child }) => weightAt(place, role, child));
    const elements = countElements(tensor.shape, undefined, `${place.layer.path} ${tensor.name}`);
    const owner = owners[index] ?? place;
    const givers = sources.length > 0 ? sources : weightsBelow(place).filter((weight) => weight.class === 'weight');
    into.push({
      layer: owner.layer.path,
      at: owner.at,
      role: tensor.name,
      class: tensor.class,
      isParameter: tensor.isParameter,
      trainable: tensor.trainable && tensor.isParameter ? trainableTogether(givers) : false,
      shape: tensor.shape,
      dtype: tensor.dtype,
      elements,
      bytes: byteLengthOf(tensor.dtype, elements),
      identity:
        sources.length === 0 ? `new:${place.layer.path}:${tensor.name}` : `twin:${identityOf(tensor.from, place)}`,
      filled: sources.length === 0,
    });
  });
}

/** The one weight that an expression moves; undefined when it joins several, or none. */
function sourceOf(expr: Expr): Extract<Expr, { op: 'source' }> | undefined {
  if (expr.op === 'source') return expr;
  return expr.op === 'fill' || expr.op === 'concat' || expr.op === 'compute' ? undefined : sourceOf(expr.of);
}

/** What nearly every tensor of a twin is: one weight of the layer itself, moved. */
function movedEntry(place: Place, tensor: TwinTensor): Entry {
  const { path } = place.layer;
  const elements = countElements(tensor.shape, undefined, `${path} ${tensor.name}`);
  const moved = sourceOf(tensor.from);
  const giver = moved === undefined ? undefined : weightAt(place, moved.role, moved.child ?? OWN);
  const trainable = giver === undefined ? null : giver.trainable;
  return {
    layer: path,
    at: place.at,
    role: tensor.name,
    class: tensor.class,
    isParameter: tensor.isParameter,
    trainable: tensor.trainable && tensor.isParameter ? trainable : false,
    shape: tensor.shape,
    dtype: tensor.dtype,
    elements,
    bytes: byteLengthOf(tensor.dtype, elements),
    identity: movedIdentity(tensor.from, place),
    filled: false,
  };
}

/** One flat text: the pieces of a concatenation would stay in memory beside it. */
function movedIdentity(from: Expr, place: Place): string {
  return ['twin:', identityOf(from, place)].join('');
}

/** false as soon as one source is frozen, null when none is but one is not known. */
function trainableTogether(weights: readonly (Weight | undefined)[]): boolean | null {
  let known = true;
  for (const weight of weights) {
    if (weight?.trainable === false) return false;
    if (weight === undefined || weight.trainable === null) known = false;
  }
  return known ? true : null;
}

function weightsBelow(place: Place): readonly Weight[] {
  return [...place.layer.weights, ...place.children.flatMap(weightsBelow)];
}

/** Kinds whose children are parts of one twin; the children of a model, and of a container we know nothing of, are not. */
const STANDS_FOR_ITS_CHILDREN: ReadonlySet<Kind> = new Set([
  'bidirectional',
  'rnn_container',
  'spectral_norm',
  'stacked_cells',
  'time_distributed',
  'wrapper',
]);

/** Whether the layer and everything below it become one twin. */
export function absorbsChildren(layer: Layer): boolean {
  return STANDS_FOR_ITS_CHILDREN.has(layer.kind);
}

/** A constant that an operation of ONNX reads (a shape, an index) is no variable of a Keras layer. */
function isArgument(model: Model, layer: Layer): boolean {
  return (
    model.dialect === 'onnx' && layer.kind === 'unknown' && layer.weights.every((weight) => weight.class === 'constant')
  );
}

/**
 * Both frameworks' tensors of a model. The file's own side is as read; the other side comes from the layer families.
 * A layer that holds tensors and has no twin counts its own on both sides and raises NO_TWIN.
 */
export function entriesOf(model: Model): Entries {
  const { layers } = model;
  const tree = layerTree(model);
  const ground: Ground = { layers, tree, inputs: inputsOfLayers(model) };
  const own: Entry[] = [];
  const other: Entry[] = [];
  const untwinned = new Set<string>();
  const types = new Map<number, readonly string[]>();
  const namesOf = new WeakMap<readonly TwinModule[], readonly string[]>();
  const known: KnownTwins = new WeakMap();
  const diagnostics: Diagnostic[] = [];
  const toward = model.dialect === 'keras' ? 'torch' : 'keras';

  const once = new Set<string>();
  for (let at = 0; at < layers.length; at += 1) {
    const layer = layers[at];
    if (layer === undefined) continue;
    for (const weight of layer.weights) {
      if (weight.class === 'seed' && model.dialect === 'keras') continue;
      if (model.dialect === 'onnx') {
        // An initializer stands once in its file, whatever number of nodes reads it.
        if (once.has(weight.tensor.identity)) continue;
        once.add(weight.tensor.identity);
      }
      own.push(ownEntry(layer, at, weight));
      if (weight.isParameter === null && layer.kind === 'unknown' && weight.class === 'weight') {
        diagnostics.push(note('CLASS_ASSUMED', { layer: layer.path, tensor: weight.tensor.name }));
      }
    }
  }

  const visitBelow = (first: number): void => {
    for (let child = first; child >= 0; child = tree.nextSiblings[child] ?? -1) visit(child);
  };
  const visit = (at: number): void => {
    const layer = layers[at];
    if (layer === undefined) return;
    const first = tree.firstChildren[at] ?? -1;
    const family = familyOfKind(layer.kind);
    const isBare = layer.weights.length === 0 && !absorbsChildren(layer);
    if (isBare && (toward === 'torch' ? family?.toTorch : family?.toKeras) === undefined) {
      // A container, mostly: nothing of its own, and its children stand for themselves.
      visitBelow(first);
      return;
    }
    const whole = absorbsChildren(layer);
    const place = placeOf(ground, layer, at, whole);
    const twin = twinLike(place, toward, known);
    const held = whole ? weightsBelow(place) : layer.weights;
    if (twin !== null && twin.refused === undefined) {
      twinEntries(place, twin, other);
      const names = namesOf.get(twin.modules) ?? twin.modules.map((module) => module.type);
      namesOf.set(twin.modules, names);
      if (names.length > 0) types.set(at, names);
    } else if (whole && layer.weights.length === 0 && (twin === null || layer.kind === 'time_distributed')) {
      // A wrapper that only forwards, around what is no single layer: its children stand for themselves.
      visitBelow(first);
      return;
    } else if (held.length > 0 && !isArgument(model, layer)) {
      untwinned.add(layer.path);
      diagnostics.push(
        note('NO_TWIN', { layer: layer.path }, { type: layer.type, toward, reason: twin?.refused ?? null }),
      );
      const keepOwn = (held: Place): void => {
        for (const weight of held.layer.weights) {
          // No layer of Keras counts batches.
          const counts = toward === 'keras' && weight.class === 'counter' && held.layer.kind === 'batch_norm';
          if (weight.class !== 'seed' && !counts) other.push(ownEntry(held.layer, held.at, weight));
        }
        for (const child of held.children) keepOwn(child);
      };
      keepOwn(place);
    }
    if (!whole) visitBelow(first);
  };
  visitBelow(tree.firstRoot);

  return toward === 'torch'
    ? { keras: own, torch: other, untwinned, types, diagnostics }
    : { keras: other, torch: own, untwinned, types, diagnostics };
}
