import { normNumber, normNumbers } from '../../layers/attribute.ts';
import { modulePadding } from '../../layers/conv.ts';
import { channelAxis, dataFormatOf, type Pad, paddingOf, padsOf } from '../../layers/window.ts';
import { activate } from './activation.ts';
import { channelAxes, type Emit, type Emitted, literal, plainAxes } from './context.ts';
import type { Ref } from './lowered.ts';

/** Keras axis of the channels for a value of a layer that slides over `rank` spatial axes. */
export function channelOf(emit: Emit, ref: Ref): number {
  const rank = normNumber(emit.norm, 'rank') ?? ref.axes.length - 2;
  return channelAxis(ref.axes.length, rank, dataFormatOf(emit.norm));
}

/** The first input, channels at dim 1. */
export function channelsFirst(emit: Emit, ref: Ref): Ref {
  return emit.arrange(emit.plain(ref), channelAxes(ref.axes.length, channelOf(emit, ref)));
}

/** F.pad's argument: last axis first, before and after. */
export function padArgument(pads: readonly Pad[]): string {
  return literal([...pads].reverse().flat());
}

/**
 * What the layer's padding takes before a module that pads by `own` itself: nothing, F.pad with known numbers, or the
 * run-time helper where the size of an axis is not known. Returns the value to give to the module.
 */
export function padBefore(emit: Emit, ref: Ref, fill: number): { value: Ref; pads: readonly Pad[] | null } {
  const padding = paddingOf(emit.norm);
  if (padding === null || padding === 'valid') return { value: ref, pads: [] };
  const pads = padsOf(emit.norm, ref.shape);
  const fillWord = fill === 0 ? '' : `, value=${literal(fill)}`;
  if (pads === null) {
    const kernel = normNumbers(emit.norm, 'kernelSize') ?? normNumbers(emit.norm, 'poolSize') ?? [];
    const strides = normNumbers(emit.norm, 'strides') ?? kernel.map(() => 1);
    const dilation = normNumbers(emit.norm, 'dilation') ?? kernel.map(() => 1);
    const expr = `${emit.helper('pad_same')}(${ref.name}, ${literal(kernel)}, ${literal(strides)}, ${literal(dilation)}${fillWord})`;
    return {
      value: emit.line(expr, { ...ref, shape: null }, 'Keras pads "same" with the additional element at the end.'),
      pads: null,
    };
  }
  if (pads.every(([before, after]) => before === 0 && after === 0)) return { value: ref, pads };
  const comment =
    padding === 'causal'
      ? 'Causal padding: all of it before the first step.'
      : 'Keras pads "same" with the additional element at the end; PyTorch would pad both sides alike.';
  const padded = emit.line(`F.pad(${ref.name}, ${padArgument(pads)}${fillWord})`, { ...ref, shape: null }, comment);
  return { value: padded, pads };
}

/** Whether the module's own `padding` argument is all that the layer asks for. */
function padsItself(emit: Emit): boolean {
  const own = modulePadding(emit.norm);
  return own === 'same' || own.some((size) => size !== 0);
}

/** Conv, DepthwiseConv, SeparableConv: pad, module, activation. */
export function emitConvolution(emit: Emit): Emitted {
  const input = channelsFirst(emit, emit.inputs[0] as Ref);
  const shape = emit.outputShapes[0] ?? null;
  const given = padsItself(emit) ? input : padBefore(emit, input, 0).value;
  const output = emit.line(`${emit.module()}(${given.name})`, { shape, axes: input.axes });
  return [activate(emit, output, emit.norm['activation'])];
}

/** Max and average pools. */
export function emitPool(emit: Emit): Emitted {
  const input = channelsFirst(emit, emit.inputs[0] as Ref);
  const shape = emit.outputShapes[0] ?? null;
  const rank = normNumber(emit.norm, 'rank') ?? input.axes.length - 2;
  const isMax = emit.layer.kind === 'max_pool';
  const kernel = normNumbers(emit.norm, 'poolSize') ?? [];
  const strides = normNumbers(emit.norm, 'strides') ?? kernel;
  const pads = paddingOf(emit.norm) === 'valid' ? [] : padsOf(emit.norm, input.shape);
  const words = (list: readonly number[]): string =>
    list.every((n) => n === list[0]) ? literal(list[0]) : literal(list);
  const args = (padding: readonly number[]): string =>
    [
      `kernel_size=${words(kernel)}`,
      `stride=${words(strides)}`,
      ...(padding.some((n) => n !== 0) ? [`padding=${words(padding)}`] : []),
      ...(!isMax && padding.some((n) => n !== 0) ? ['count_include_pad=False'] : []),
    ].join(', ');
  const type = `nn.${isMax ? 'Max' : 'Avg'}Pool${rank}d`;
  // PyTorch allows a pool's own padding up to half of its kernel.
  const symmetric =
    pads?.every(([before, after], index) => before === after && before * 2 <= (kernel[index] ?? 1)) ?? false;
  if (symmetric) {
    const padding = kernel.map((_, index) => pads?.[index]?.[0] ?? 0);
    const module = emit.attribute('', `${type}(${args(padding)})`);
    return [emit.line(`${module}(${input.name})`, { shape, axes: input.axes })];
  }
  const module = emit.attribute('', `${type}(${args(kernel.map(() => 0))})`);
  if (isMax) {
    const padded = padBefore(emit, input, Number.NEGATIVE_INFINITY);
    return [emit.line(`${module}(${padded.value.name})`, { shape, axes: input.axes })];
  }
  // Padded cells must not count: divide the padded average by the average of an equally padded mask of ones.
  const ones = emit.line(`torch.ones_like(${input.name})`, { ...input, shape: input.shape });
  const padded = padBefore(emit, input, 0);
  const mask = padBefore(emit, ones, 0);
  return [
    emit.line(
      `${module}(${padded.value.name}) / ${module}(${mask.value.name})`,
      { shape, axes: input.axes },
      'Keras leaves padded cells out of the average.',
    ),
  ];
}

/** Global pools: mean or maximum over the spatial axes. */
export function emitGlobalPool(emit: Emit): Emitted {
  const masked = emit.inputs[0]?.mask;
  if (masked !== undefined && emit.layer.kind === 'global_avg_pool') return [emitMaskedMean(emit, masked)];
  const input = emit.plain(emit.inputs[0] as Ref);
  const channel = channelOf(emit, input);
  const dims = input.axes.flatMap((axis, dim) => (axis !== 0 && axis !== channel ? [dim] : []));
  const keep = emit.norm['keepdims'] === true;
  const shape = emit.outputShapes[0] ?? null;
  const name = emit.layer.kind === 'global_max_pool' ? 'amax' : 'mean';
  const axes = keep ? input.axes : [0, 1];
  const expr = `${input.name}.${name}(dim=${literal(dims)}${keep ? ', keepdim=True' : ''})`;
  return [emit.line(expr, { shape, axes })];
}

/** GlobalAveragePooling1D with a mask divides by the number of valid steps. */
function emitMaskedMean(emit: Emit, mask: string): Ref {
  const input = emit.keras(emit.inputs[0] as Ref);
  if (input.axes.length !== 3 || channelOf(emit, input) !== 2) return emit.refuse('a mask reaches it');
  const keep = emit.norm['keepdims'] === true ? ', keepdim=True' : '';
  const weights = emit.line(`${mask}[..., None].to(${input.name}.dtype)`, { ...input, shape: null });
  return emit.line(
    `(${input.name} * ${weights.name}).sum(dim=1${keep}) / ${weights.name}.sum(dim=1${keep})`,
    { shape: emit.outputShapes[0] ?? null, axes: plainAxes(keep === '' ? 2 : 3) },
    'Only the steps that the mask leaves are averaged.',
  );
}

/** AdaptiveAveragePooling, AdaptiveMaxPooling. */
export function emitAdaptivePool(emit: Emit): Emitted {
  const input = channelsFirst(emit, emit.inputs[0] as Ref);
  const rank = normNumber(emit.norm, 'rank') ?? 2;
  const size = emit.norm['outputSize'];
  const name = emit.norm['mode'] === 'max' ? 'max' : 'avg';
  const expr = `F.adaptive_${name}_pool${rank}d(${input.name}, ${literal(size)})`;
  return [emit.line(expr, { shape: emit.outputShapes[0] ?? null, axes: input.axes })];
}
