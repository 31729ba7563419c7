import type { Shape } from '../../ir/model.ts';
import { normNumber, normNumbers } from '../../layers/attribute.ts';
import { dataFormatOf, pairsOf } from '../../layers/window.ts';
import { channelAxes, type Emit, type Emitted, plainAxes } from './context.ts';
import { channelsFirst, padArgument } from './convolution.ts';
import type { FeatureOrder, Ref } from './lowered.ts';

/** Keras axes 1… in the order in which Flatten reads them. */
function readingOrder(emit: Emit, rank: number): readonly number[] {
  const axes = plainAxes(rank).slice(1);
  if (emit.layer.kind !== 'flatten' || dataFormatOf(emit.norm) !== 'channels_first' || rank < 3) return axes;
  // Flatten(data_format=channels_first) moves the channels last before it flattens.
  return [...axes.slice(1), 1];
}

/**
 * Flatten (and Reshape to one axis): the PyTorch value is flattened as it lies, and the order of its features is
 * remembered; whoever takes them stores its weights for that order, or they are brought back first.
 */
export function emitFlatten(emit: Emit): Emitted {
  const given = emit.inputs[0] as Ref;
  const rank = given.axes.length;
  const shape = emit.outputShapes[0] ?? null;
  if (rank <= 2) {
    if (rank === 2) return [{ ...given, shape: shape ?? given.shape }];
    return [emit.line(`${given.name}[:, None]`, { shape, axes: [0, 1] })];
  }
  const reading = readingOrder(emit, rank);
  const stored = given.axes.slice(1);
  const sizes = reading.map((axis) => given.shape?.[axis]);
  const dims = sizes.map((size) => (typeof size === 'number' ? size : 1));
  // Only an axis that is known to have one element may stand anywhere.
  const matters = (axis: number): boolean => given.shape?.[axis] !== 1;
  const scrambled = reading.filter(matters).join() !== stored.filter(matters).join();
  if (!scrambled) return [emit.line(`${given.name}.flatten(1)`, { shape, axes: [0, 1] })];
  if (given.features !== null || given.axes[0] !== 0 || sizes.some((size) => typeof size !== 'number')) {
    const input = emit.arrange(emit.plain(given), [0, ...reading]);
    return [emit.line(`${input.name}.flatten(1)`, { shape, axes: [0, 1] })];
  }
  const features: FeatureOrder = [{ dims, order: stored.map((axis) => reading.indexOf(axis)) }];
  return [emit.line(`${given.name}.flatten(1)`, { shape, axes: [0, 1], features })];
}

/** Reshape works on Keras' order of elements; (1, 1, C) from C features is the same in both layouts. */
export function emitReshape(emit: Emit): Emitted {
  const given = emit.inputs[0] as Ref;
  const shape = emit.outputShapes[0] ?? null;
  if (shape === null) return emit.refuse('its output shape is not known');
  if (emit.layer.kind === 'operation' && !keepsSamples(given.shape, shape)) {
    return emit.refuse('it moves elements between samples, or their number is not known');
  }
  if (shape.length === 2 && given.axes.length > 2) return emitFlatten(emit);
  if (given.shape !== null && sameShape(given.shape, shape)) return [{ ...given, shape }];
  const input = emit.keras(given);
  const target = shape.slice(1);
  const channel = shape.length - 1;
  if (shape.length >= 4 && target.slice(0, -1).every((size) => size === 1)) {
    const ones = target.slice(0, -1).map(() => '1');
    const expr = `${input.name}.reshape(-1, ${[dimWord(target.at(-1)), ...ones].join(', ')})`;
    return [emit.line(expr, { shape, axes: channelAxes(shape.length, channel) })];
  }
  const open = target.filter((size) => typeof size !== 'number').length;
  if (open > 1) return emit.refuse('several of its output axes are not known');
  const words = target.map(dimWord);
  const expr =
    open === 0
      ? `${input.name}.reshape(-1, ${words.join(', ')})`
      : `${input.name}.reshape(${input.name}.shape[0], ${words.join(', ')})`;
  return [emit.line(expr, { shape, axes: plainAxes(shape.length) })];
}

/** Whether both shapes are known to have equally many elements per sample, so that the batch axis stays. */
function keepsSamples(before: Shape | null, after: Shape): boolean {
  const count = (shape: Shape): number | null =>
    shape
      .slice(1)
      .reduce<number | null>(
        (product, size) => (product === null || typeof size !== 'number' ? null : product * size),
        1,
      );
  const own = before === null ? null : count(before);
  return own !== null && own === count(after);
}

function dimWord(size: Shape[number] | undefined): string {
  return typeof size === 'number' ? String(size) : '-1';
}

function sameShape(a: Shape, b: Shape): boolean {
  return a.length === b.length && a.every((size, axis) => size === b[axis]);
}

/** Permute: no data moves, the axes are renamed; Keras axis i of the result is axis axes[i] of the input. */
export function emitPermute(emit: Emit): Emitted {
  const given = emit.plain(emit.inputs[0] as Ref);
  const rank = given.axes.length;
  const axes = normNumbers(emit.norm, 'axes') ?? [...plainAxes(rank)].reverse();
  const renamed = given.axes.map((axis) => axes.indexOf(axis));
  if (renamed.includes(-1) || renamed[0] !== 0) {
    const input = emit.keras(given);
    const expr = `${input.name}.permute(${axes.join(', ')})`;
    return [emit.line(expr, { shape: emit.outputShapes[0] ?? null, axes: plainAxes(rank) })];
  }
  return [{ ...given, shape: emit.outputShapes[0] ?? null, axes: renamed }];
}

/** RepeatVector. */
export function emitRepeat(emit: Emit): Emitted {
  const input = emit.keras(emit.inputs[0] as Ref);
  const times = normNumber(emit.norm, 'times') ?? 1;
  const expr = `${input.name}[:, None].expand(-1, ${times}, -1)`;
  return [emit.line(expr, { shape: emit.outputShapes[0] ?? null, axes: plainAxes(3) })];
}

/** ZeroPadding and Cropping: one F.pad, negative numbers crop. */
export function emitZeroPad(emit: Emit): Emitted {
  const input = channelsFirst(emit, emit.inputs[0] as Ref);
  const pads = pairsOf(emit.norm['pads']) ?? pairsOf(emit.norm['padding']);
  if (pads === null) return emit.refuse('its padding is not known');
  const shape = emit.outputShapes[0] ?? null;
  if (pads.every(([before, after]) => before === 0 && after === 0)) return [{ ...input, shape }];
  return [emit.line(`F.pad(${input.name}, ${padArgument(pads)})`, { shape, axes: input.axes })];
}

/** Layers that do nothing at inference and keep their module for training (Dropout), or nothing at all. */
export function emitPassing(emit: Emit): Emitted {
  const given = emit.inputs[0] as Ref;
  const shape = emit.outputShapes[0] ?? given.shape;
  const module = emit.twin?.modules[0];
  if (module === undefined || module.type === 'Identity') return [{ ...given, shape }];
  return [emit.line(`${emit.module()}(${given.name})`, { ...given, shape })];
}
