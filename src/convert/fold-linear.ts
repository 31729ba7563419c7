import type { DType } from '../ir/dtype.ts';
import { BnsumError } from '../ir/error.ts';
import type { Layer, Tensor, Weight } from '../ir/model.ts';
import { normNumber, normText } from '../layers/attribute.ts';
import { kernelLayoutOf } from '../layers/conv.ts';
import type { Twin, TwinSource } from '../layers/family.ts';
import { isCastable } from './cast.ts';
import { evaluateExpr } from './compute.ts';
import { along, once, type Pick, scaledTensor, sumProducts, type Term, vectorTensor } from './fold-tensor.ts';

/** A BatchNorm at inference: y = scale · x + shift per channel. */
export interface Affine {
  readonly path: string;
  readonly channels: number;
  values(): Promise<{ readonly scale: Float64Array; readonly shift: Float64Array }>;
  /** The BatchNorm's own tensors that make the scale, and all of them. */
  readonly scaleSources: readonly Tensor[];
  readonly sources: readonly Tensor[];
}

/** scale = γ / √(σ² + ε), shift = β − μ · scale, in float64. null for values that are no floating numbers. */
export function affineOf(layer: Layer, twin: Exclude<Twin, { readonly refused: string }>, file: string): Affine | null {
  const tensor = (name: string) => twin.tensors.find((one) => one.name === name);
  const mean = tensor('running_mean');
  const variance = tensor('running_var');
  const eps = twin.modules[0]?.args['eps'];
  if (mean === undefined || variance === undefined || typeof eps !== 'number') return null;
  const used = twin.tensors.filter((one) => one.name !== 'num_batches_tracked');
  if (!used.every((one) => isCastable(one.dtype))) return null;
  const find = (role: string): Tensor => {
    const weight = layer.weights.find((one) => one.role === role);
    if (weight === undefined) throw new BnsumError({ code: 'INTERNAL', reason: `${layer.path} has no ${role}` });
    return weight.tensor;
  };
  const channels = mean.shape[0] ?? 0;
  const numbers = async (name: string, otherwise: number): Promise<Float64Array> => {
    const found = tensor(name);
    return found === undefined ? new Float64Array(channels).fill(otherwise) : evaluateExpr(found.from, find, undefined);
  };
  const own = (roles: readonly string[]): Tensor[] =>
    layer.weights.filter((weight) => roles.includes(weight.role)).map((weight) => weight.tensor);
  return {
    path: layer.path,
    channels,
    scaleSources: own(['gamma', 'moving_variance']),
    sources: own(['gamma', 'beta', 'moving_mean', 'moving_variance']),
    values: once(async () => {
      const gamma = await numbers('weight', 1);
      const beta = await numbers('bias', 0);
      const mu = await numbers('running_mean', 0);
      const sigma = await numbers('running_var', 1);
      const scale = new Float64Array(channels);
      const shift = new Float64Array(channels);
      for (let c = 0; c < channels; c += 1) {
        const spread = (sigma[c] ?? 0) + eps;
        if (!(spread > 0)) {
          throw new BnsumError({
            code: 'REFUSED',
            file,
            place: `layer ${layer.path} (${layer.type})`,
            reason: `its variance of channel ${c} is ${sigma[c]}, which cannot be folded`,
            next: 'convert without --fold-bn',
          });
        }
        const factor = (gamma[c] ?? 1) / Math.sqrt(spread);
        scale[c] = factor;
        shift[c] = (beta[c] ?? 0) - (mu[c] ?? 0) * factor;
      }
      return { scale, shift };
    }),
  };
}

/** How the channels of a value lie among the features that a layer takes: feature f has channel ⌊f / inner⌋ mod channels. */
export interface Spread {
  readonly channels: number;
  readonly inner: number;
}

/** Where a linear layer holds its input and output channels, in the layout of its own kernels. */
interface Linear {
  readonly inputRole: string;
  readonly outputRole: string;
  inputPick(spread: Spread): Pick;
  /** Input features, or channels, that the kernel has. */
  readonly inputs: number;
  readonly outputPick: Pick;
  readonly outputs: number;
}

function weightOf(layer: Layer, role: string): Weight | undefined {
  return layer.weights.find((weight) => weight.role === role);
}

function linearOf(layer: Layer): Linear | null {
  const kernel = weightOf(layer, 'kernel')?.tensor.shape ?? weightOf(layer, 'depthwise_kernel')?.tensor.shape;
  if (kernel === undefined) return null;
  const size = (axis: number): number => kernel[axis] ?? 0;
  const plain = (axis: number) => (): Pick => [along(axis)];
  switch (layer.kind) {
    case 'dense': {
      if (kernel.length !== 2) return null;
      return {
        inputRole: 'kernel',
        outputRole: 'kernel',
        inputPick: ({ channels, inner }): Pick => [
          { axis: 0, divide: inner, modulo: channels, times: 1 } satisfies Term,
        ],
        inputs: size(0),
        outputPick: [along(1)],
        outputs: size(1),
      };
    }
    case 'conv': {
      const words = kernelLayoutOf(sourceOf(layer))?.split(' ');
      if (words === undefined) return null;
      const input = words.indexOf('in');
      const output = words.indexOf('out');
      const groups = normNumber(layer.norm, 'groups') ?? 1;
      const perGroup = size(output) / groups;
      return {
        inputRole: 'kernel',
        outputRole: 'kernel',
        inputPick: (): Pick =>
          groups === 1
            ? [along(input)]
            : [along(input), { axis: output, divide: perGroup, modulo: Number.MAX_SAFE_INTEGER, times: size(input) }],
        inputs: size(input) * groups,
        outputPick: [along(output)],
        outputs: size(output),
      };
    }
    case 'conv_transpose': {
      const words = (normText(layer.norm, 'kernelLayout') ?? '').split(' ');
      if (words.length !== kernel.length) return null;
      const output = words.indexOf('out');
      return {
        inputRole: 'kernel',
        outputRole: 'kernel',
        inputPick: plain(words.indexOf('in')),
        inputs: size(words.indexOf('in')),
        outputPick: [along(output)],
        outputs: size(output),
      };
    }
    case 'depthwise_conv': {
      const words = (normText(layer.norm, 'kernelLayout') ?? '').split(' ');
      if (words.length !== kernel.length) return null;
      const input = words.indexOf('in');
      const multiplier = words.indexOf('mult');
      return {
        inputRole: 'kernel',
        outputRole: 'kernel',
        inputPick: plain(input),
        inputs: size(input),
        outputPick: [along(input, size(multiplier)), along(multiplier)],
        outputs: size(input) * size(multiplier),
      };
    }
    case 'separable_conv': {
      const words = (normText(layer.norm, 'kernelLayout') ?? '').split(' ');
      const pointwise = weightOf(layer, 'pointwise_kernel')?.tensor.shape;
      if (words.length !== kernel.length || pointwise === undefined) return null;
      const output = words[0] === 'mult' ? 0 : pointwise.length - 1;
      return {
        inputRole: 'depthwise_kernel',
        outputRole: 'pointwise_kernel',
        inputPick: plain(words.indexOf('in')),
        inputs: size(words.indexOf('in')),
        outputPick: [along(output)],
        outputs: pointwise[output] ?? 0,
      };
    }
    default:
      return null;
  }
}

function sourceOf(layer: Layer): TwinSource {
  return { ...layer, inputs: null, children: [] };
}

/** What is folded into one layer: at most one BatchNorm before it, and those behind it in order. */
export interface Share {
  before: { readonly affine: Affine; readonly spread: Spread } | null;
  readonly behind: Affine[];
}

/** Whether the sizes fit and every array is floating point. */
export function canTake(layer: Layer, affine: Affine, spread: Spread | null): boolean {
  const linear = linearOf(layer);
  if (linear === null || !layer.weights.every((weight) => isCastable(weight.tensor.dtype))) return false;
  if (spread === null) return affine.channels === linear.outputs;
  if (spread.channels !== affine.channels) return false;
  return layer.kind === 'dense'
    ? linear.inputs % (spread.channels * spread.inner) === 0
    : spread.inner === 1 && linear.inputs === spread.channels;
}

/** What a folded tensor is made of, for reports. */
export interface FoldedTensor {
  readonly sources: readonly Tensor[];
  readonly how: string;
}

/**
 * The layer with its BatchNorms folded in, and what became of each of its tensors (by identity). `dtype`: the element
 * type to round to, else each array's own.
 */
export function foldInto(
  layer: Layer,
  share: Share,
  dtype: DType | undefined,
): { readonly layer: Layer; readonly made: ReadonlyMap<string, FoldedTensor> } {
  const linear = linearOf(layer);
  if (linear === null) throw new BnsumError({ code: 'INTERNAL', reason: `${layer.path} cannot take a BatchNorm` });
  const { before, behind } = share;
  const made = new Map<string, FoldedTensor>();
  const outer = once(() => composed(behind, linear.outputs));
  const inputPick = before === null ? [] : linear.inputPick(before.spread);
  const scaled = (weight: Weight): Weight => {
    const isInput = before !== null && weight.role === linear.inputRole;
    const isOutput = behind.length > 0 && weight.role === linear.outputRole;
    if (!isInput && !isOutput) return weight;
    const tensor = scaledTensor(weight.tensor, dtype ?? weight.tensor.dtype, [
      ...(isInput ? [{ pick: inputPick, values: async () => (await before.affine.values()).scale }] : []),
      ...(isOutput ? [{ pick: linear.outputPick, values: async () => (await outer()).scale }] : []),
    ]);
    const norms = [...(isInput ? [before.affine] : []), ...(isOutput ? behind : [])];
    made.set(tensor.identity, {
      sources: [weight.tensor, ...norms.flatMap((norm) => norm.scaleSources)],
      how: [
        ...(isInput ? [`scaled per input channel by ${before.affine.path}`] : []),
        ...(isOutput ? [`scaled per output channel by ${behind.map((norm) => norm.path).join(', ')}`] : []),
      ].join(', '),
    });
    return { ...weight, tensor };
  };
  const first = weightOf(layer, linear.inputRole);
  const last = weightOf(layer, linear.outputRole);
  if (first === undefined || last === undefined)
    throw new BnsumError({ code: 'INTERNAL', reason: `${layer.path} lost its kernel` });
  const old = weightOf(layer, 'bias');
  const bias = once(async () => {
    const sums = new Float64Array(linear.outputs);
    if (old !== undefined) sums.set(await wholeVector(old.tensor));
    if (before !== null) {
      const { shift } = await before.affine.values();
      const added = await shifted(layer, linear, first.tensor, last.tensor, inputPick, shift);
      for (const [o, value] of added.entries()) sums[o] = (sums[o] ?? 0) + value;
    }
    const { scale, shift } = await outer();
    return sums.map((value, o) => value * (scale[o] ?? 1) + (shift[o] ?? 0));
  });
  const identity = `folded:${layer.path}:bias`;
  const tensor = vectorTensor(
    old?.tensor.name ?? `${layer.path}/bias`,
    identity,
    dtype ?? old?.tensor.dtype ?? last.tensor.dtype,
    linear.outputs,
    bias,
  );
  const norms = [...(before === null ? [] : [before.affine]), ...behind];
  made.set(identity, {
    sources: [
      ...(old === undefined ? [] : [old.tensor]),
      ...(before === null ? [] : [...new Set([first.tensor, last.tensor])]),
      ...norms.flatMap((norm) => norm.sources),
    ],
    how: `${old === undefined ? 'gained' : 'shifted'} from ${norms.map((norm) => norm.path).join(', ')}`,
  });
  const newBias: Weight = {
    role: 'bias',
    class: 'weight',
    isParameter: true,
    trainable: old?.trainable ?? last.trainable,
    tensor,
  };
  const weights = layer.weights.filter((weight) => weight.role !== 'bias').map(scaled);
  return { layer: { ...layer, norm: { ...layer.norm, useBias: true }, weights: [...weights, newBias] }, made };
}

/** One map after the other: scale and shift of all of them together. */
async function composed(
  norms: readonly Affine[],
  size: number,
): Promise<{ readonly scale: Float64Array; readonly shift: Float64Array }> {
  const scale = new Float64Array(size).fill(1);
  const shift = new Float64Array(size);
  for (const norm of norms) {
    const next = await norm.values();
    for (let o = 0; o < size; o += 1) {
      scale[o] = (scale[o] ?? 1) * (next.scale[o] ?? 1);
      shift[o] = (shift[o] ?? 0) * (next.scale[o] ?? 1) + (next.shift[o] ?? 0);
    }
  }
  return { scale, shift };
}

/** What a shift of the input adds to each output. */
async function shifted(
  layer: Layer,
  linear: Linear,
  first: Tensor,
  last: Tensor,
  inputPick: Pick,
  shift: Float64Array,
): Promise<Float64Array> {
  if (layer.kind !== 'separable_conv') return sumProducts(first, inputPick, shift, linear.outputPick, linear.outputs);
  // The depthwise step first: its outputs are channel · multiplier + m, which the pointwise kernel takes.
  const words = (normText(layer.norm, 'kernelLayout') ?? '').split(' ');
  const input = words.indexOf('in');
  const multiplier = words.indexOf('mult');
  const times = first.shape[multiplier] ?? 1;
  const middle = (first.shape[input] ?? 0) * times;
  const between = await sumProducts(first, inputPick, shift, [along(input, times), along(multiplier)], middle);
  const axis = words[0] === 'mult' ? 1 : last.shape.length - 2;
  return sumProducts(last, [along(axis)], between, linear.outputPick, linear.outputs);
}

async function wholeVector(tensor: Tensor): Promise<Float64Array> {
  return evaluateExpr({ op: 'source', role: 'bias' }, () => tensor, undefined);
}
