import { LIMITS } from '../ir/limits.ts';
import {
  attributeOf,
  normNumber,
  normNumbers,
  numberOf,
  numberOrNull,
  numbersOf,
  plainValue,
  sampleElements,
  sizesAt,
} from './attribute.ts';
import type { Family } from './family.ts';
import { areTrailing, axesOf, lastAxes, sortedAxes } from './layer-norm.ts';
import {
  assumed,
  dtypeOf,
  filled,
  filledNote,
  missing,
  shapeOf,
  source,
  twin,
  twinModule,
  twinTensor,
  weightOf,
} from './twin.ts';

/** Machine epsilon of float32, which PyTorch's eps=None stands for. */
const FLOAT32_EPSILON = 1.1920928955078125e-7;

/** Attributes: axes (a list), epsilon (null: the file does not say; 'machine': PyTorch's None), scale. */
export const rmsNorm: Family = {
  kind: 'rms_norm',
  types: {
    keras: ['RMSNormalization'],
    torch: ['RMSNorm'],
    onnx: ['RMSNormalization', 'SimplifiedLayerNormalization'],
  },
  normalise(_type, attrs, dialect) {
    if (dialect === 'torch') {
      const shape = numbersOf(attrs.get('normalized_shape'));
      return {
        axes: shape === null ? null : lastAxes(shape.length),
        epsilon: attrs.get('eps') === null ? 'machine' : numberOrNull(attrs, 'eps'),
        scale: plainValue(attrs.get('elementwise_affine')),
      };
    }
    if (dialect === 'onnx') {
      const axis = numberOf(attrs, 'axis', -1);
      return {
        axes: axis < 0 && axis >= -LIMITS.tensorRank ? lastAxes(-axis) : null,
        epsilon: numberOf(attrs, 'epsilon', 1e-5),
        scale: true,
      };
    }
    return { axes: axesOf(attributeOf(attrs, 'axis')), epsilon: numberOf(attrs, 'epsilon', 1e-6), scale: true };
  },
  variables: (norm, inputs) => [
    { role: 'scale', class: 'weight', at: '', names: ['scale'], shape: sizesAt(inputs?.[0], sortedAxes(norm)) },
  ],
  outputs: (_norm, inputs) => inputs.slice(0, 1),
  macs: (_norm, inputs) => sampleElements(inputs[0]),
  toTorch(layer) {
    const absent = missing(layer, 'scale');
    if (absent !== undefined) return absent;
    const trailing = areTrailing(sortedAxes(layer.norm), layer.inputs?.[0]?.length);
    // Keras normalises such an axis but applies `scale` along the last one, or the reverse, by backend.
    if (trailing === false) return { refused: 'an axis that is not the last one, on which Keras’ backends disagree' };
    const shape = shapeOf(layer, 'scale');
    return twin(
      [
        twinModule('RMSNorm', {
          normalized_shape: shape.length === 1 ? (shape[0] ?? null) : shape,
          eps: normNumber(layer.norm, 'epsilon') ?? 1e-6,
        }),
      ],
      [twinTensor(layer, 'weight', source('scale'))],
      trailing === null ? [assumed(layer, 'normalised axes', 'the last ones')] : [],
    );
  },
  toKeras(layer) {
    const { norm } = layer;
    const role = ['weight', 'scale'].find((name) => weightOf(layer, name) !== undefined);
    const shape =
      role === undefined ? sizesAt(layer.inputs?.[0], normNumbers(norm, 'axes') ?? [-1]) : shapeOf(layer, role);
    if (shape === null) return { refused: 'the size of the normalised axis is not known' };
    const epsilon = norm['epsilon'] === 'machine' ? FLOAT32_EPSILON : normNumber(norm, 'epsilon');
    const axis = shape.length === 1 ? -1 : lastAxes(shape.length);
    return twin(
      [twinModule('RMSNormalization', { axis, epsilon: epsilon ?? FLOAT32_EPSILON })],
      [
        role === undefined
          ? twinTensor(layer, 'scale', filled(1, shape, dtypeOf(layer)), { trainable: false })
          : twinTensor(layer, 'scale', source(role)),
      ],
      [
        ...(role === undefined ? [filledNote(layer, 'scale', 1)] : []),
        ...(epsilon === null ? [assumed(layer, 'epsilon', FLOAT32_EPSILON)] : []),
      ],
    );
  },
};
