import type { Diagnostic } from '../ir/diagnostic.ts';
import { LIMITS } from '../ir/limits.ts';
import type { NormAttrs, Shape } from '../ir/model.ts';
import {
  attributeOf,
  booleanOf,
  normFlag,
  normNumber,
  normNumbers,
  numberOf,
  numberOrNull,
  numbersOf,
  plainValue,
  sampleElements,
  sizesAt,
} from './attribute.ts';
import type { Family, Twin, TwinSource, TwinTensor, Variable } from './family.ts';
import {
  assumed,
  customModule,
  dtypeOf,
  filled,
  filledNote,
  shapeOf,
  source,
  twin,
  twinModule,
  twinTensor,
  weightOf,
} from './twin.ts';

/** The axes as they come last in PyTorch: sorted as Keras sorts them (by their numbers as written). */
export function sortedAxes(norm: NormAttrs): readonly number[] {
  return [...(normNumbers(norm, 'axes') ?? [-1])].sort((left, right) => left - right);
}

/**
 * Whether the normalised axes are the last ones of the data. null: positive axes and no rank to hold them against.
 */
export function areTrailing(axes: readonly number[], rank: number | undefined): boolean | null {
  if (rank === undefined && axes.some((axis) => axis >= 0)) return null;
  const places = axes.map((axis) => (axis < 0 ? axis : axis - (rank ?? 0))).sort((left, right) => left - right);
  return places.every((place, index) => place === index - places.length);
}

/** Axes of a Keras config: a number or a list, a `__tuple__` included. */
export function axesOf(value: ReturnType<typeof attributeOf>): readonly number[] {
  const axes = numbersOf(value);
  return axes === null || axes.length === 0 ? [-1] : axes;
}

/** The last `count` axes: [-2, -1]. */
export function lastAxes(count: number): readonly number[] {
  return Array.from({ length: count }, (_, index) => index - count);
}

function variables(norm: NormAttrs, inputs: readonly Shape[] | null): readonly Variable[] {
  const shape = sizesAt(inputs?.[0], sortedAxes(norm));
  const own = (role: string): Variable => ({ role, class: 'weight', at: '', names: [role], shape });
  const isRms = normFlag(norm, 'rmsScaling');
  return [
    ...(norm['scale'] === false && !isRms ? [] : [own('gamma')]),
    ...(norm['center'] === false || isRms ? [] : [own('beta')]),
  ];
}

function toTorch(layer: TwinSource): Twin {
  const { norm } = layer;
  const rank = layer.inputs?.[0]?.length;
  const axes = sortedAxes(norm);
  const trailing = areTrailing(axes, rank);
  const diagnostics: Diagnostic[] = trailing === null ? [assumed(layer, 'normalised axes', 'the last ones')] : [];
  const present = ['gamma', 'beta'].filter((role) => weightOf(layer, role) !== undefined);
  const first = present[0];
  const shape = first === undefined ? sizesAt(layer.inputs?.[0], axes) : shapeOf(layer, first);
  if (shape === null) return { refused: 'the sizes of the normalised axes are not known' };
  const tensors: TwinTensor[] = [];
  const isRms = normFlag(norm, 'rmsScaling');
  for (const [name, role, value] of [
    ['weight', 'gamma', 1],
    ['bias', 'beta', 0],
  ] as const) {
    if (present.includes(role)) {
      tensors.push(twinTensor(layer, name, source(role)));
    } else if (present.length > 0 && !isRms) {
      tensors.push(twinTensor(layer, name, filled(value, shape, dtypeOf(layer)), { trainable: false }));
      diagnostics.push(filledNote(layer, name, value));
    }
  }
  const args: NormAttrs = {
    normalized_shape: shape.length === 1 ? (shape[0] ?? null) : shape,
    eps: normNumber(norm, 'epsilon') ?? 1e-3,
  };
  if (isRms) return twin([customModule('VarianceScaling', { ...args, dims: axes })], tensors, diagnostics);
  const affine = present.length === 0 ? { elementwise_affine: false } : {};
  return trailing === false
    ? twin([customModule('AxisLayerNorm', { ...args, dims: axes, ...affine })], tensors, diagnostics)
    : twin([twinModule('LayerNorm', { ...args, ...affine })], tensors, diagnostics);
}

function toKeras(layer: TwinSource): Twin {
  const { norm } = layer;
  const hasGamma = weightOf(layer, 'weight') !== undefined;
  const hasBeta = weightOf(layer, 'bias') !== undefined;
  const rank = hasGamma ? shapeOf(layer, 'weight').length : (normNumbers(norm, 'axes')?.length ?? 1);
  const epsilon = normNumber(norm, 'epsilon');
  return twin(
    [
      twinModule('LayerNormalization', {
        axis: rank === 1 ? -1 : lastAxes(rank),
        epsilon: epsilon ?? 1e-5,
        center: hasBeta,
        scale: hasGamma,
      }),
    ],
    [
      ...(hasGamma ? [twinTensor(layer, 'gamma', source('weight'))] : []),
      ...(hasBeta ? [twinTensor(layer, 'beta', source('bias'))] : []),
    ],
    epsilon === null ? [assumed(layer, 'epsilon', 1e-5)] : [],
  );
}

/**
 * Attributes: axes (a list, as written; PyTorch's and ONNX's are the last ones), epsilon, center, scale (null: the file
 * does not say), rmsScaling (Keras' old option: x·gamma/√(var(x) + epsilon), x itself not centred).
 */
export const layerNorm: Family = {
  kind: 'layer_norm',
  types: { keras: ['LayerNormalization'], torch: ['LayerNorm'], onnx: ['LayerNormalization'] },
  normalise(_type, attrs, dialect) {
    if (dialect === 'torch') {
      const affine = plainValue(attrs.get('elementwise_affine'));
      const shape = numbersOf(attrs.get('normalized_shape'));
      return {
        axes: shape === null ? null : lastAxes(shape.length),
        epsilon: numberOrNull(attrs, 'eps'),
        center: affine === null ? null : affine === true && attrs.get('bias') !== false,
        scale: affine,
        rmsScaling: false,
      };
    }
    if (dialect === 'onnx') {
      const axis = numberOf(attrs, 'axis', -1);
      return {
        // A positive axis starts a range that ends at a rank the node does not state.
        axes: axis < 0 && axis >= -LIMITS.tensorRank ? lastAxes(-axis) : null,
        epsilon: numberOf(attrs, 'epsilon', 1e-5),
        center: null,
        scale: true,
        rmsScaling: false,
      };
    }
    return {
      axes: axesOf(attributeOf(attrs, 'axis')),
      epsilon: numberOf(attrs, 'epsilon', 1e-3),
      center: booleanOf(attrs, 'center', true),
      scale: booleanOf(attrs, 'scale', true),
      rmsScaling: booleanOf(attrs, 'rms_scaling', false),
    };
  },
  variables,
  outputs: (_norm, inputs) => inputs.slice(0, 1),
  // One scale and one shift per element; the mean and the variance are sums without products.
  macs: (_norm, inputs) => sampleElements(inputs[0]),
  toTorch,
  toKeras,
};
