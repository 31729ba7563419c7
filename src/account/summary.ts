import { outputShapeOf as inferredShapeOf } from '../graph/infer.ts';
import type { Diagnostic } from '../ir/diagnostic.ts';
import type { JsonObject } from '../ir/json.ts';
import type { Kind } from '../ir/kind.ts';
import type { Dialect, Layer, Model, NormValue, Shape, Weight, WeightClass } from '../ir/model.ts';
import { complement, shortest } from '../layers/decimal.ts';
import type { Accounting, Totals } from './account.ts';
import { connect } from './connections.ts';
import type { Count } from './count.ts';
import { type Explanation, explain, type Step } from './explain.ts';
import { countMacs } from './macs.ts';
import { type ToolFigure, toolFigures } from './tools.ts';

/** The name of the JSON form's schema: the `$id` of docs/schema/summary.schema.json, which the package carries. */
export const SUMMARY_SCHEMA = 'urn:bnsum:schema:summary:1';
/** Raised when a field changes its meaning or goes; new fields do not raise it. */
export const SUMMARY_VERSION = 1;

export interface BatchNormFacts {
  readonly channels: number | null;
  readonly axis: number | readonly number[] | null;
  readonly eps: number | null;
  /** Keras' is the share of the old value that is kept, PyTorch's the share of the new one. null: not known. */
  readonly momentum: { readonly keras: number | null; readonly torch: number | null };
  readonly gamma: boolean | null;
  readonly beta: boolean | null;
  readonly frozen: boolean | null;
}

export interface SummaryWeight {
  readonly role: string;
  readonly name: string;
  readonly shape: readonly number[];
  readonly dtype: string;
  readonly class: WeightClass;
  readonly elements: Count;
  readonly bytes: Count;
  /** How the file holds it, where that is not as a dense array: 'meta' (no values), 'sparse_coo', 'per_tensor_affine' … */
  readonly encoding?: string;
}

export interface SummaryLayer {
  readonly path: string;
  /** The container that it stands in. */
  readonly parent: string | null;
  readonly name: string;
  readonly type: string;
  readonly kind: Kind;
  readonly container: boolean;
  /** null: not known; a list of lists for several outputs. */
  readonly outputShape: Shape | readonly (Shape | null)[] | null;
  readonly keras: Count;
  readonly torch: Count;
  readonly buffers: Count;
  readonly bytes: Count;
  /** The element type of the weights, null without weights or with several. */
  readonly dtype: string | null;
  readonly attrs: JsonObject;
  /** Only of containers that hold tensors of their own: their share of the row. */
  readonly own?: { readonly keras: Count; readonly torch: Count; readonly buffers: Count };
  readonly bn?: BatchNormFacts;
  /** Layers and operations that it reads from; null without a graph. */
  readonly inputs: readonly string[] | null;
  /** Multiply-accumulates for one sample; only when asked for, null: not known. */
  readonly macs?: Count | null;
  readonly weights: readonly SummaryWeight[];
}

export interface SummaryDiagnostic extends Diagnostic {
  readonly message: string;
}

/** The JSON form of one model's summary; docs/schema/summary.schema.json describes it. */
export interface Summary {
  readonly $schema: string;
  readonly version: number;
  readonly model: {
    readonly name: string;
    readonly format: string;
    readonly dialect: Dialect;
    readonly producer: {
      readonly framework: string | null;
      readonly version: string | null;
      readonly backend: string | null;
    };
    /** Class and attributes of a whole PyTorch module, which has no row of its own. */
    readonly type?: string;
    readonly attrs?: JsonObject;
    /** SHA-256 of what the file holds of the computation besides layers, by part; absent: nothing. */
    readonly program?: Readonly<Record<string, string>>;
    /** Tensors that are no part of the state and count in no total; absent: the file cannot tell. */
    readonly constants?: readonly SummaryWeight[];
  };
  readonly totals: Totals & { readonly macs?: Count | null };
  /** Stored bytes by the rules of the totals. */
  readonly bytes: {
    readonly keras: {
      readonly total: Count;
      readonly trainable: Count | null;
      readonly nonTrainable: Count | null;
      readonly optimizer: Count;
    };
    readonly torch: { readonly parameters: Count; readonly buffers: Count };
  };
  readonly dtypes: readonly {
    readonly dtype: string;
    readonly tensors: number;
    readonly elements: Count;
    readonly bytes: Count;
  }[];
  /** The steps from `totals.keras.total` to `totals.torch.parameters`; they add up exactly. */
  readonly difference: readonly Step[];
  /** False when the graph branches (or is not known), so that each layer's inputs are worth a column. */
  readonly chain: boolean | null;
  readonly layers: readonly SummaryLayer[];
  readonly explanation?: Explanation & { readonly tools: readonly ToolFigure[] };
  readonly diagnostics: readonly SummaryDiagnostic[];
}

export interface SummaryOptions {
  /** The sentence of a diagnostic; wording belongs to the views. */
  readonly describe: (diagnostic: Diagnostic) => string;
  readonly macs?: boolean;
  readonly explain?: boolean;
}

function nullIfEmpty(text: string): string | null {
  return text === '' ? null : text;
}

function nameOf(layer: Layer): string {
  const { path, parent } = layer;
  return parent !== null && path.startsWith(parent) && path.length > parent.length + 1
    ? path.slice(parent.length + 1)
    : path;
}

function outputShapeOf(shapes: readonly (Shape | null)[] | undefined): SummaryLayer['outputShape'] {
  if (shapes === undefined || shapes.every((shape) => shape === null)) return null;
  return shapes.length === 1 ? (shapes[0] ?? null) : shapes;
}

function dtypeOf(layer: Layer): string | null {
  let found: string | null = null;
  // Of the trained weights where there are any, else of all.
  const isTrained = layer.weights.some((weight) => weight.class === 'weight');
  for (const weight of layer.weights) {
    if (isTrained && weight.class !== 'weight') continue;
    if (found !== null && found !== weight.tensor.dtype) return null;
    found = weight.tensor.dtype;
  }
  return found;
}

function flagOf(value: NormValue | undefined): boolean | null {
  return typeof value === 'boolean' ? value : null;
}

/** The facts of a BatchNorm row, from the attributes and, where they are silent, from the tensors present. */
function batchNormFacts(layer: Layer): BatchNormFacts {
  const roles = new Set(layer.weights.map((weight) => weight.role));
  const present = (...words: readonly string[]): boolean => words.some((word) => roles.has(word));
  const statistics = layer.weights.find((weight) => weight.class === 'statistic') ?? layer.weights[0];
  const channels = statistics?.tensor.shape.reduce((product, axis) => product * axis, 1) ?? null;
  const { axis, epsilon, momentum, scale, center } = layer.norm;
  const kept = typeof momentum === 'number' ? shortest(momentum) : null;
  const trained = layer.weights.filter((weight) => weight.class === 'weight').map((weight) => weight.trainable);
  const frozen =
    trained.length === 0
      ? layer.trainable === null
        ? null
        : !layer.trainable
      : trained.includes(null)
        ? null
        : !trained.includes(true);
  const held = layer.weights.length > 0;
  return {
    channels,
    axis:
      typeof axis === 'number' || (Array.isArray(axis) && axis.every((one) => typeof one === 'number')) ? axis : null,
    eps: typeof epsilon === 'number' ? shortest(epsilon) : null,
    momentum: { keras: kept, torch: kept === null ? null : complement(kept) },
    gamma: held ? present('gamma', 'weight', 'scale') : flagOf(scale),
    beta: held ? present('beta', 'bias', 'B') : flagOf(center),
    frozen,
  };
}

function weightRow({ role, class: weightClass, tensor }: Pick<Weight, 'role' | 'class' | 'tensor'>): SummaryWeight {
  const row = {
    role,
    name: tensor.name,
    shape: tensor.shape,
    dtype: tensor.dtype,
    class: weightClass,
    elements: elementsOf(tensor.shape),
    bytes: tensor.byteLength,
  };
  const { encoding } = tensor;
  if (encoding.kind === 'dense') return row;
  const { kind } = encoding;
  return {
    ...row,
    encoding: encoding.kind === 'sparse' ? encoding.layout : encoding.kind === 'quantised' ? encoding.scheme : kind,
  };
}

/** The members for what is neither a layer nor counted. */
function besidesLayers({
  rootType,
  rootAttrs,
  program,
  constants,
}: Model['origin']): Pick<Summary['model'], 'type' | 'attrs' | 'program' | 'constants'> {
  return {
    ...(rootType === undefined || rootAttrs === undefined ? {} : { type: rootType, attrs: rootAttrs }),
    ...(program === undefined
      ? {}
      : { program: Object.fromEntries([...program].map(([part, hash]) => [part, hash()])) }),
    ...(constants === undefined || constants.length === 0
      ? {}
      : { constants: constants.map((tensor) => weightRow({ role: tensor.name, class: 'constant', tensor })) }),
  };
}

function elementsOf(shape: readonly number[]): number {
  let product = 1;
  for (const axis of shape) product *= axis;
  return product;
}

/** Parts of a container's config that its children's rows show. */
const SHOWN_BELOW: ReadonlySet<string> = new Set([
  'backward_layer',
  'cell',
  'cells',
  'forward_layer',
  'input_layers',
  'layer',
  'layers',
  'output_layers',
]);

function attrsOf(layer: Layer, dialect: Dialect): JsonObject {
  // A module of PyTorch holds none of its children's settings.
  if (!layer.container || layer.attrs.size === 0 || dialect !== 'keras') return layer.attrs;
  return new Map([...layer.attrs].filter(([key]) => !SHOWN_BELOW.has(key)));
}

/** Each diagnostic once. */
function distinct(diagnostics: readonly Diagnostic[]): readonly Diagnostic[] {
  const seen = new Set<string>();
  return diagnostics.filter(({ code, at, args }) => {
    const key = JSON.stringify([code, at, args]);
    if (seen.has(key)) return false;
    seen.add(key);
    return true;
  });
}

/** Everything that the views show of one model, as plain data in the JSON form's own shape. */
export function summarise(
  model: Model,
  accounting: Accounting,
  diagnostics: readonly Diagnostic[],
  options: SummaryOptions,
): Summary {
  const connections = connect(model);
  const macs = options.macs === true ? countMacs(model) : null;
  const known = model.graphs.size > 0;
  const { bytes, totals } = accounting;
  const explanation = explain(model, accounting);
  // A wrapper's inner layer is in no graph; its shape follows from the wrapper's call.
  const shapeOf = (path: string): SummaryLayer['outputShape'] =>
    outputShapeOf(connections.outputs.get(path) ?? inferredShapeOf(model, path) ?? undefined);
  const layers = model.layers.map((layer, at): SummaryLayer => {
    const counts = accounting.layers[at];
    const shown = layer.container ? counts?.subtree : counts?.own;
    const own = counts?.own;
    const holdsOwn = own !== undefined && (own.keras !== 0 || own.torch !== 0 || own.buffers !== 0);
    const base = {
      path: layer.path,
      parent: layer.parent,
      name: nameOf(layer),
      type: layer.type,
      kind: layer.kind,
      container: layer.container,
      outputShape: known ? shapeOf(layer.path) : null,
      keras: shown?.keras ?? 0,
      torch: shown?.torch ?? 0,
      buffers: shown?.buffers ?? 0,
      bytes: shown?.bytes ?? 0,
      dtype: dtypeOf(layer),
      attrs: attrsOf(layer, model.dialect),
      inputs: known ? (connections.sources.get(layer.path) ?? []) : null,
      weights: layer.weights.map(weightRow),
    };
    const ownShown = layer.container && holdsOwn;
    // Most layers are plain; objects put together by spreading each have a shape of their own, which costs memory.
    if (!ownShown && layer.kind !== 'batch_norm' && macs === null) return base;
    const { inputs, weights, ...first } = base;
    return {
      ...first,
      ...(ownShown ? { own: { keras: own.keras, torch: own.torch, buffers: own.buffers } } : {}),
      ...(layer.kind === 'batch_norm' ? { bn: batchNormFacts(layer) } : {}),
      inputs,
      ...(macs === null ? {} : { macs: macs.layers.get(layer.path) ?? null }),
      weights,
    };
  });
  return {
    $schema: SUMMARY_SCHEMA,
    version: SUMMARY_VERSION,
    model: {
      name: model.name,
      format: model.format,
      dialect: model.dialect,
      producer: {
        framework: nullIfEmpty(model.producer.framework),
        version: nullIfEmpty(model.producer.version),
        backend: nullIfEmpty(model.producer.backend),
      },
      ...besidesLayers(model.origin),
    },
    totals: macs === null ? totals : { ...totals, macs: macs.total },
    bytes: {
      keras: {
        total: bytes['keras.total'] ?? 0,
        trainable: bytes['keras.trainable'],
        nonTrainable: bytes['keras.nonTrainable'],
        optimizer: accounting.optimizer.tally.bytes,
      },
      torch: { parameters: bytes['torch.parameters'] ?? 0, buffers: bytes['torch.buffers'] ?? 0 },
    },
    dtypes: accounting.dtypes,
    difference: explanation.stages[0]?.steps ?? [],
    chain: known ? connections.isChain : null,
    layers,
    ...(options.explain === true ? { explanation: { ...explanation, tools: toolFigures(model, accounting) } } : {}),
    diagnostics: distinct([...diagnostics, ...accounting.diagnostics]).map((diagnostic) => ({
      ...diagnostic,
      message: options.describe(diagnostic),
    })),
  };
}
