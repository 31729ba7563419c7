import type { Kind } from '../../ir/kind.ts';
import { activate } from './activation.ts';
import { type Emit, type Emitted, plainAxes } from './context.ts';
import type { Ref } from './lowered.ts';

/** A value whose last Keras axis is PyTorch's last one too, the rest wherever it is. */
export function lastAxisLast(emit: Emit, ref: Ref): Ref {
  const rank = ref.axes.length;
  return ref.axes[rank - 1] === rank - 1 ? ref : emit.arrange(ref, plainAxes(rank));
}

/** Dense and Linear-like EinsumDense: acts on the last axis; after Flatten its kernel takes the features as they come. */
export function emitDense(emit: Emit): Emitted {
  const given = emit.inputs[0] as Ref;
  const takesOrder = given.features !== null && emit.calls === 1 && emit.layer.kind === 'dense';
  if (takesOrder) emit.takes(given.features ?? []);
  const input = lastAxisLast(emit, takesOrder ? given : emit.plain(given));
  const comment = takesOrder ? 'Its weight is stored for features flattened channels first.' : undefined;
  const shape = emit.outputShapes[0] ?? null;
  const output = emit.line(`${emit.module(comment)}(${input.name})`, {
    shape,
    axes: input.axes,
    ...(given.mask === undefined ? {} : { mask: given.mask }),
  });
  return [activate(emit, output, emit.norm['activation'])];
}

/** Kinds that are written without asking for the size of any axis. */
const BY_AXES: ReadonlySet<Kind> = new Set<Kind>([
  'activation',
  'add',
  'average',
  'batch_norm',
  'concatenate',
  'dense',
  'dropout',
  'einsum_dense',
  'global_avg_pool',
  'global_max_pool',
  'identity',
  'input',
  'maximum',
  'minimum',
  'multiply',
  'noise',
  'softmax',
  'subtract',
]);

/** Whether nothing in the graph of this call asks for sizes. */
function goesByAxes(emit: Emit): boolean {
  const graph = [...emit.model.graphs.entries()].find(([, { calls }]) => calls.includes(emit.call));
  if (graph === undefined || graph[0] !== '') return false;
  const kinds = new Map(emit.model.layers.map((layer) => [layer.path, layer.kind]));
  return graph[1].calls.every(({ layer }) => layer !== null && BY_AXES.has(kinds.get(layer) ?? 'unknown'));
}

/** EinsumDense by its equation: Keras' own axis order. */
export function emitEinsumDense(emit: Emit): Emitted {
  if (emit.twin?.modules[0]?.type === 'Linear') {
    // Keras turns the axes of an ellipsis round when it states the shape: whatever goes by sizes would go wrong.
    const before = emit.inputs[0]?.shape;
    const after = emit.outputShapes[0];
    const differs = before != null && after != null && before.slice(0, -1).some((size, axis) => size !== after[axis]);
    if (differs && !goesByAxes(emit)) return emit.refuse('Keras states another shape for its output than it has');
    return emitDense(emit);
  }
  const input = emit.keras(emit.inputs[0] as Ref);
  const shape = emit.outputShapes[0] ?? null;
  const output = emit.line(`${emit.module()}(${input.name})`, {
    shape,
    axes: plainAxes(shape?.length ?? input.axes.length),
  });
  return [activate(emit, output, emit.norm['activation'])];
}

/** Embedding: (N, …) integers to (N, …, D). */
export function emitEmbedding(emit: Emit): Emitted {
  const input = emit.keras(emit.inputs[0] as Ref);
  const shape = emit.outputShapes[0] ?? null;
  const rank = shape?.length ?? input.axes.length + 1;
  const output = emit.line(`${emit.module()}(${input.name}.long())`, { shape, axes: plainAxes(rank) });
  if (emit.norm['maskZero'] !== true) return [output];
  const zero = { shape: input.shape, axes: input.axes, named: 'mask' };
  const mask = emit.line(`${input.name} != 0`, zero, 'Keras masks the index 0.');
  return [{ ...output, mask: mask.name }];
}

/** ReversibleEmbedding: indices to vectors, or with `reverse` vectors to the logits of the indices. */
export function emitReversibleEmbedding(emit: Emit): Emitted {
  if (emit.call.attrs.get('reverse') !== true) {
    const input = emit.keras(emit.inputs[0] as Ref);
    const shape = emit.outputShapes[0] ?? null;
    const rank = shape?.length ?? input.axes.length + 1;
    const output = emit.line(`${emit.module()}.embedding(${input.name}.long())`, { shape, axes: plainAxes(rank) });
    if (emit.norm['maskZero'] !== true) return [output];
    const mask = emit.line(`${input.name} != 0`, { shape: input.shape, axes: input.axes }, 'Keras masks the index 0.');
    return [{ ...output, mask: mask.name }];
  }
  const input = lastAxisLast(emit, emit.plain(emit.inputs[0] as Ref));
  const result = { shape: emit.outputShapes[0] ?? null, axes: input.axes };
  const isTied = emit.norm['tied'] === true;
  const module = emit.module();
  const logits = emit.line(
    isTied ? `F.linear(${input.name}, ${module}.embedding.weight)` : `${module}.reverse(${input.name})`,
    result,
  );
  const cap = emit.norm['softCap'];
  if (typeof cap !== 'number') return [logits];
  return [emit.line(`${cap} * torch.tanh(${logits.name} / ${cap})`, result)];
}
