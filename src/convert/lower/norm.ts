import { normNumbers } from '../../layers/attribute.ts';
import { channelAxes, type Emit, type Emitted, plainAxes } from './context.ts';
import type { Ref } from './lowered.ts';

/** BatchNormalization: the normalised axis at dim 1, wherever the others are. */
export function emitBatchNorm(emit: Emit): Emitted {
  const given = emit.inputs[0] as Ref;
  const rank = given.axes.length;
  const axis = normNumbers(emit.norm, 'axis')?.[0] ?? -1;
  const channel = axis < 0 ? axis + rank : axis;
  const shape = emit.outputShapes[0] ?? given.shape;
  if (rank === 2) {
    const keeps = given.features !== null && emit.calls === 1;
    if (keeps) emit.gives(given.features ?? []);
    const input = keeps ? given : emit.plain(given);
    return [emit.line(`${emit.module()}(${input.name})`, { ...input, shape })];
  }
  const plain = emit.plain(given);
  const input = plain.axes[1] === channel ? plain : emit.arrange(plain, channelAxes(rank, channel));
  return [emit.line(`${emit.module()}(${input.name})`, { ...input, shape })];
}

/** A layer that normalises over trailing Keras axes: those axes last, in increasing order. */
export function emitTrailingNorm(emit: Emit): Emitted {
  const given = emit.inputs[0] as Ref;
  const rank = given.axes.length;
  const told = normNumbers(emit.norm, 'axes') ?? [-1];
  const axes = told.map((axis) => (axis < 0 ? axis + rank : axis)).sort((a, b) => a - b);
  const shape = emit.outputShapes[0] ?? given.shape;
  if (rank === 2 && given.features !== null && emit.calls === 1) {
    emit.gives(given.features);
    return [emit.line(`${emit.module()}(${given.name})`, { ...given, shape })];
  }
  // A class of our own that normalises other axes counts them in Keras' order.
  if (emit.twin?.modules[0]?.custom === true) {
    const input = emit.keras(given);
    return [emit.line(`${emit.module()}(${input.name})`, { ...input, shape })];
  }
  const wanted = [...plainAxes(rank).filter((axis) => !axes.includes(axis)), ...axes];
  const plain = emit.plain(given);
  const trailing = plain.axes.slice(rank - axes.length);
  const input = trailing.every((axis, index) => axis === axes[index]) ? plain : emit.arrange(plain, wanted);
  return [emit.line(`${emit.module()}(${input.name})`, { ...input, shape })];
}

/** GroupNormalization and InstanceNorm: the channel axis at dim 1. */
export function emitGroupNorm(emit: Emit): Emitted {
  const given = emit.plain(emit.inputs[0] as Ref);
  const rank = given.axes.length;
  const axis = normNumbers(emit.norm, 'axis')?.[0] ?? -1;
  const channel = axis < 0 ? axis + rank : axis;
  const input = given.axes[1] === channel ? given : emit.arrange(given, channelAxes(rank, channel));
  return [emit.line(`${emit.module()}(${input.name})`, { ...input, shape: emit.outputShapes[0] ?? given.shape })];
}
