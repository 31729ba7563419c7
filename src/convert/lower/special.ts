import type { NormAttrs } from '../../ir/model.ts';
import { normNumber, normNumbers, normText } from '../../layers/attribute.ts';
import { transposePlan } from '../../layers/conv-transpose.ts';
import { pairsOf } from '../../layers/window.ts';
import { sourcesOf } from '../order.ts';
import { activate } from './activation.ts';
import { type Emit, type Emitted, literal, plainAxes } from './context.ts';
import { channelOf, channelsFirst } from './convolution.ts';
import type { Ref } from './lowered.ts';
import { emitPassing } from './shape.ts';

/** A module of our own that counts axes as Keras does: one axis is remapped, several need Keras' order. */
function emitByDims(emit: Emit, dims: readonly number[], name: 'dims' | 'dim', more: NormAttrs = {}): Emitted {
  const given = emit.plain(emit.inputs[0] as Ref);
  const rank = given.axes.length;
  const shape = emit.outputShapes[0] ?? given.shape;
  const wrapped = dims.map((axis) => (axis < 0 ? axis + rank : axis));
  const moved = wrapped.map((axis) => given.axes.indexOf(axis));
  const increasing = moved.every((dim, index) => index === 0 || dim > (moved[index - 1] ?? 0));
  if (increasing && emit.calls === 1) {
    const args: NormAttrs = { ...more, ...(name === 'dim' ? { dim: moved[0] ?? -1 } : { dims: moved }) };
    return [emit.line(`${emit.module(undefined, args)}(${given.name})`, { ...given, shape })];
  }
  const input = emit.keras(given);
  return [emit.line(`${emit.module(undefined, more)}(${input.name})`, { ...input, shape })];
}

/** Normalization: (x − mean) / max(√variance, 1e-7). */
export function emitNormalization(emit: Emit): Emitted {
  const given = emit.inputs[0] as Ref;
  const dims = emit.twin?.modules[0]?.args['dims'];
  const axes = Array.isArray(dims) ? (dims as readonly number[]) : [];
  const shape = emit.twin?.tensors[0]?.shape ?? [];
  // Statistics that the configuration states are no weights; they stay in Keras' order.
  const stored = emit.twin?.tensors.every((tensor) => sourcesOf(tensor.from).length > 0) === true;
  if (given.features !== null && given.axes.length === 2 && emit.calls === 1 && axes.length === 1 && stored) {
    emit.gives(given.features);
    return [emit.line(`${emit.module(undefined, { shape })}(${given.name})`, given)];
  }
  return emitByDims(emit, axes, 'dims', { shape });
}

export function emitUnitNorm(emit: Emit): Emitted {
  const given = emit.inputs[0] as Ref;
  const dims = normNumbers(emit.norm, 'axes') ?? [-1];
  // The norm over all features is the same in any order.
  if (given.features !== null && dims.length === 1) {
    return [emit.line(`${emit.module()}(${given.name})`, given)];
  }
  return emitByDims(emit, dims, 'dims');
}

export function emitLayerScale(emit: Emit): Emitted {
  return emitByDims(emit, [-1], 'dim');
}

/** x · scale + offset, numbers in the code, lists per channel in a module of our own. */
export function emitRescaling(emit: Emit): Emitted {
  const { scale, offset } = emit.norm;
  if (typeof scale === 'number' && typeof offset === 'number') {
    const given = emit.inputs[0] as Ref;
    const factor = scale === 1 ? given.name : `${given.name} * ${literal(scale)}`;
    const tail = offset === 0 ? '' : offset < 0 ? ` - ${literal(-offset)}` : ` + ${literal(offset)}`;
    if (factor === given.name && tail === '') return [given];
    return [emit.line(`${factor}${tail}`, given)];
  }
  return emitByDims(emit, [-1], 'dim');
}

/** PReLU: slopes per channel at dim 1; one slope per element in Keras' order. */
export function emitPrelu(emit: Emit): Emitted {
  const given = emit.inputs[0] as Ref;
  const rank = given.axes.length;
  const shape = emit.outputShapes[0] ?? given.shape;
  const module = emit.twin?.modules[0];
  if (module?.custom === true) {
    const input = emit.keras(given);
    return [emit.line(`${emit.module()}(${input.name})`, { ...input, shape })];
  }
  if (rank === 2 && given.features !== null && emit.calls === 1) {
    emit.gives(given.features);
    return [emit.line(`${emit.module()}(${given.name})`, given)];
  }
  const plain = emit.plain(given);
  const single = module?.args['num_parameters'] === 1;
  const channel = rank - 1;
  const input =
    single || rank === 2 || plain.axes[1] === channel
      ? plain
      : emit.arrange(plain, [0, channel, ...plainAxes(rank).slice(1, channel)]);
  return [emit.line(`${emit.module()}(${input.name})`, { ...input, shape })];
}

/** Transposed convolutions: the module, then what its padding cannot say is cut off at the end. */
export function emitConvTranspose(emit: Emit): Emitted {
  const input = channelsFirst(emit, emit.inputs[0] as Ref);
  const shape = emit.outputShapes[0] ?? null;
  const plan = transposePlan(emit.norm, input.shape);
  let output = emit.line(`${emit.module()}(${input.name})`, { shape, axes: input.axes });
  const crop = plan?.crop ?? [];
  if (crop.some(([before, after]) => before !== 0 || after !== 0)) {
    const ranges = crop.map(([before, after]) => `${before === 0 ? '' : before}:${after === 0 ? '' : -after}`);
    output = emit.line(
      `${output.name}[:, :, ${ranges.join(', ')}]`,
      { shape, axes: input.axes },
      'Keras drops the last elements, PyTorch would drop one on each side.',
    );
  }
  return [activate(emit, output, emit.norm['activation'])];
}

/** LocallyConnected: a module of our own on channels first. */
export function emitLocal(emit: Emit): Emitted {
  const input = channelsFirst(emit, emit.inputs[0] as Ref);
  const shape = emit.outputShapes[0] ?? null;
  const output = emit.line(`${emit.module()}(${input.name})`, { shape, axes: input.axes });
  return [activate(emit, output, emit.norm['activation'])];
}

/** UpSampling by whole factors. */
export function emitUpsample(emit: Emit): Emitted {
  const input = channelsFirst(emit, emit.inputs[0] as Ref);
  const shape = emit.outputShapes[0] ?? null;
  const size = normNumbers(emit.norm, 'size') ?? [];
  const mode = normText(emit.norm, 'interpolation') ?? 'nearest';
  const factor = size.every((n) => n === size[0]) ? literal(size[0]) : literal(size);
  const scale = `F.interpolate(${input.name}, scale_factor=${factor}`;
  switch (mode) {
    case 'nearest':
    case 'area':
      return [emit.line(`${scale}, mode="nearest")`, { shape, axes: input.axes })];
    case 'bilinear':
      return [emit.line(`${scale}, mode="bilinear", align_corners=False)`, { shape, axes: input.axes })];
    case 'bicubic': {
      emit.note('ASSUMED', {
        what: 'the bicubic kernel',
        assumed: "TensorFlow's, which PyTorch has with antialias=True; other factors than 2 and 4 differ by up to 1e-3",
      });
      const expr = `${scale}, mode="bicubic", align_corners=False, antialias=True)`;
      return [
        emit.line(
          expr,
          { shape, axes: input.axes },
          "TensorFlow's bicubic kernel; other factors than 2 and 4 differ by up to 1e-3.",
        ),
      ];
    }
    default:
      return emit.refuse(`interpolation '${mode}' has no counterpart in PyTorch`);
  }
}

/** Resizing to a fixed size. */
export function emitResize(emit: Emit): Emitted {
  if (normText(emit.norm, 'fit') !== 'stretch') return emit.refuse('it crops or pads to keep the aspect ratio');
  const given = emit.plain(emit.inputs[0] as Ref);
  const rank = given.axes.length;
  const channel = emit.norm['dataFormat'] === 'channels_first' ? rank - 3 : rank - 1;
  if (rank !== 4) return emit.refuse('it resizes something else than a batch of images');
  const input = emit.arrange(given, [0, channel, ...plainAxes(4).filter((axis) => axis !== 0 && axis !== channel)]);
  const shape = emit.outputShapes[0] ?? null;
  return [emit.line(`${emit.module()}(${input.name})`, { shape, axes: input.axes })];
}

/** Cropping, and CenterCrop where the image is large enough. */
export function emitCropping(emit: Emit): Emitted {
  const input = channelsFirst(emit, emit.inputs[0] as Ref);
  const pairs = pairsOf(emit.norm['pads']);
  const shape = emit.outputShapes[0] ?? null;
  if (pairs === null) return emit.refuse('CenterCrop scales images that are too small');
  const ranges = pairs.map(([before, after]) => `${before === 0 ? '' : before}:${after === 0 ? '' : -after}`);
  if (ranges.every((range) => range === ':')) return [{ ...input, shape }];
  return [emit.line(`${input.name}[:, :, ${ranges.join(', ')}]`, { shape, axes: input.axes })];
}

/** Masking: masked steps become zeros, and the mask goes on. */
export function emitMasking(emit: Emit): Emitted {
  const input = emit.keras(emit.inputs[0] as Ref);
  const value = normNumber(emit.norm, 'maskValue') ?? 0;
  const mask = emit.line(`(${input.name} != ${literal(value)}).any(dim=-1)`, {
    shape: input.shape?.slice(0, -1) ?? null,
    axes: plainAxes(input.axes.length - 1),
    named: 'mask',
  });
  const output = emit.line(`${input.name} * ${mask.name}[..., None]`, { shape: input.shape, axes: input.axes });
  return [{ ...output, mask: mask.name }];
}

/** Dropout of whole channels needs them at dim 1; everything else passes as it lies. */
export function emitDropout(emit: Emit): Emitted {
  const given = emit.inputs[0] as Ref;
  if (emit.norm['variant'] !== 'channel' || given.axes.length < 3) return emitPassing(emit);
  const rank = given.axes.length;
  const channel = channelOf(emit, given);
  const input =
    given.axes[1] === channel
      ? given
      : emit.arrange(given, [0, channel, ...plainAxes(rank).filter((a) => a !== 0 && a !== channel)]);
  return [emit.line(`${emit.module()}(${input.name})`, { ...input, shape: emit.outputShapes[0] ?? given.shape })];
}

/** A layer of our own library that takes and gives Keras' order. */
export function emitOwn(emit: Emit): Emitted {
  const input = emit.keras(emit.inputs[0] as Ref);
  const shape = emit.outputShapes[0] ?? null;
  const module = emit.twin?.modules[0];
  if (module === undefined || module.type === 'Identity') return [{ ...input, shape: shape ?? input.shape }];
  return [emit.line(`${emit.module()}(${input.name})`, { shape, axes: plainAxes(shape?.length ?? input.axes.length) })];
}

/** SpectralNormalization: in inference the stored kernel is used as it is, so the wrapper is its inner layer. */
export function emitSpectralNorm(emit: Emit): Emitted {
  const child = emit.children[0];
  if (child === undefined) return emit.refuse('the file does not say what it wraps');
  return emit.inner(child, emit.inputs, () => emit.module());
}

/** TimeDistributed: batch and steps are one axis for the inner layer. */
export function emitTimeDistributed(emit: Emit): Emitted {
  const child = emit.children[0];
  const given = emit.inputs[0];
  if (child === undefined || given === undefined) return emit.refuse('the file does not say what it wraps');
  const input = emit.keras(given);
  const shape = emit.outputShapes[0] ?? null;
  const step = input.shape === null ? null : [null, ...input.shape.slice(2)];
  const flat = emit.line(`${input.name}.flatten(0, 1)`, { shape: step, axes: plainAxes(input.axes.length - 1) });
  const [result] = emit.inner(child, [flat], () => emit.module());
  if (result === undefined) return emit.refuse(`its inner ${child.type} gives nothing`);
  const ordered = emit.keras(result);
  const output = emit.line(`${ordered.name}.unflatten(0, ${input.name}.shape[:2])`, {
    shape,
    axes: plainAxes(ordered.axes.length + 1),
    ...(given.mask === undefined ? {} : { mask: given.mask }),
  });
  return [output];
}
