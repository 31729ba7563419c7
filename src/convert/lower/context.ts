import type { Diagnostic, DiagnosticCode } from '../../ir/diagnostic.ts';
import { BnsumError } from '../../ir/error.ts';
import type { Call, Layer, Model, NormAttrs, Shape } from '../../ir/model.ts';
import type { Twin, TwinSource } from '../../layers/family.ts';
import type { Attribute, Axes, FeatureOrder, Ref, Statement } from './lowered.ts';

/** Keras order on both sides. */
export function plainAxes(rank: number): Axes {
  return Array.from({ length: rank }, (_, axis) => axis);
}

/** Channels (Keras axis `channel`) at dim 1, everything else in Keras order: NHWC → NCHW for channel 3. */
export function channelAxes(rank: number, channel: number): Axes {
  const rest = plainAxes(rank).filter((axis) => axis !== 0 && axis !== channel);
  return [0, channel, ...rest];
}

export function sameAxes(a: Axes, b: Axes): boolean {
  return a.length === b.length && a.every((axis, at) => axis === b[at]);
}

export function sameOrder(a: FeatureOrder | null, b: FeatureOrder | null): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}

/** A dim as a Python expression of the run-time tensor when it is not known. */
export function known(dim: Shape[number] | undefined): dim is number {
  return typeof dim === 'number';
}

/** What an emitter returns for one call: a Ref per output. */
export type Emitted = readonly Ref[];

/** Writes one call of a layer (or of an operation) as PyTorch statements. */
export type Emitter = (emit: Emit) => Emitted;

/** A refusal that names the layer; `--skip` cannot help where the forward needs it. */
export function refuse(layer: Layer | null, call: Call, reason: string, file: string): BnsumError {
  return new BnsumError({
    code: 'REFUSED',
    file,
    place: layer === null ? `operation ${call.op}` : `layer ${layer.path} (${layer.type})`,
    reason,
  });
}

/** What a statement gives, without its name. */
export interface Result {
  readonly shape: Shape | null;
  readonly axes: Axes;
  readonly features?: FeatureOrder | null;
  readonly mask?: string;
  /** A name to keep, where `x` would mislead: a mask is no value on its way through. */
  readonly named?: string;
}

/** How several targets nest (`{0}, ({1}, {2})`) and what their names end with. */
export interface TargetPattern {
  readonly text: string;
  readonly hints: readonly string[];
}

/** Everything an emitter may ask for and do; one per call. */
export interface Emit {
  readonly model: Model;
  readonly file: string;
  readonly layer: Layer;
  readonly call: Call;
  readonly norm: NormAttrs;
  /** The layer's twin; emitters of weighted layers have one, those without weights need none. */
  readonly twin: Exclude<Twin, { readonly refused: string }> | null;
  readonly source: TwinSource;
  readonly inputs: readonly Ref[];
  /** Keras shapes of the call's outputs. */
  readonly outputShapes: readonly (Shape | null)[];
  /** How often the layer is called in the whole model. */
  readonly calls: number;
  /** `self.conv1`, registered on first use with the layer's twin; `args` replace its module's own. */
  module(comment?: string, args?: NormAttrs): string;
  /** Registers a further attribute (`self.conv1_pool`) built by the Python expression `build`, once per layer and suffix. */
  attribute(suffix: string, build: string): string;
  /** Uses a class or function of codegen's library; returns its name. */
  helper(name: string): string;
  /** Emits `name = expr` and returns the value. `name` is only a wish. */
  line(expr: string, result: Result, comment?: string): Ref;
  /** Emits one statement with several results. */
  lines(expr: string, results: readonly Result[], comment?: string, pattern?: TargetPattern): readonly Ref[];
  /** The value with its axes in the order asked for; emits a permute where they are not. */
  arrange(ref: Ref, axes: Axes): Ref;
  /** The value with its features in Keras' order; emits what that takes. */
  plain(ref: Ref): Ref;
  /** Keras order of axes and of features. */
  keras(ref: Ref): Ref;
  /** The layer's kernel takes its input features in this order. */
  takes(order: FeatureOrder): void;
  /** The layer's vectors (and so its output) are in this order. */
  gives(order: FeatureOrder): void;
  /** Emits the call of another layer (a wrapper's child) on a value. */
  inner(child: Layer, inputs: readonly Ref[], self: () => string): Emitted;
  /** The layer's inner layers (a wrapper's). */
  readonly children: readonly Layer[];
  note(code: DiagnosticCode, args: Diagnostic['args']): void;
  refuse(reason: string): never;
}

/** State of one class while its calls are lowered. */
export interface ClassState {
  readonly attributes: Attribute[];
  readonly statements: Statement[];
  readonly diagnostics: Diagnostic[];
}

/** Python literal of a neutral value. */
export function literal(value: unknown): string {
  if (value === null || value === undefined) return 'None';
  if (typeof value === 'boolean') return value ? 'True' : 'False';
  if (typeof value === 'number') {
    if (Number.isNaN(value)) return 'float("nan")';
    if (value === Number.POSITIVE_INFINITY) return 'float("inf")';
    if (value === Number.NEGATIVE_INFINITY) return 'float("-inf")';
    return Object.is(value, -0) ? '-0.0' : pythonNumber(value);
  }
  if (typeof value === 'bigint') return value.toString();
  if (typeof value === 'string')
    return JSON.stringify(value).replaceAll('\u2028', '\\u2028').replaceAll('\u2029', '\\u2029');
  if (Array.isArray(value))
    return value.length === 1 ? `(${literal(value[0])},)` : `(${value.map(literal).join(', ')})`;
  throw new BnsumError({ code: 'INTERNAL', reason: 'a value without a Python literal' });
}

/** JavaScript's shortest text, in the form Python's formatters keep: 1e-5 → 1e-05, 1e21 → 1e21. */
function pythonNumber(value: number): string {
  const text = String(value);
  const match = /^(-?[\d.]+)e([+-])(\d+)$/.exec(text);
  if (match === null) return text;
  const [, mantissa, sign, digits] = match;
  return `${mantissa}e${sign === '-' ? '-' : ''}${(digits ?? '').padStart(2, '0')}`;
}
