import { isList } from '../ir/json.ts';
import { attributeOf, normNumbers, numberOrNull, numbersOf, sampleElements } from './attribute.ts';
import type { Family } from './family.ts';
import {
  assumed,
  customModule,
  missing,
  reshaped,
  shapeOf,
  source,
  twin,
  twinModule,
  twinTensor,
  weightOf,
} from './twin.ts';

/** Attributes: sharedAxes (counted with the batch axis as 0; [] none), count (PyTorch's num_parameters; null in Keras). */
export const prelu: Family = {
  kind: 'prelu',
  types: { keras: ['PReLU'], torch: ['PReLU'], onnx: ['PRelu'] },
  normalise(_type, attrs, dialect) {
    if (dialect !== 'keras') return { sharedAxes: null, count: numberOrNull(attrs, 'num_parameters') };
    const value = attributeOf(attrs, 'shared_axes');
    return { sharedAxes: isList(value) && value.length === 0 ? [] : (numbersOf(value) ?? []), count: null };
  },
  variables(norm, inputs) {
    const shared = normNumbers(norm, 'sharedAxes') ?? [];
    const input = inputs?.[0];
    // Keras sets param_shape[i - 1], so a negative axis counts from the end of the shape, one place early.
    const sizes = input
      ?.slice(1)
      .map((size, index, all) => (shared.some((axis) => (axis - 1 + all.length) % all.length === index) ? 1 : size));
    const shape = sizes?.every((size) => typeof size === 'number') === true ? (sizes as readonly number[]) : null;
    // Keras 1 called the array `<layer>_alphas`.
    return [{ role: 'alpha', class: 'weight', at: '', names: ['alpha', 'alphas'], shape }];
  },
  outputs: (_norm, inputs) => inputs.slice(0, 1),
  macs: (_norm, inputs) => sampleElements(inputs[0]),
  toTorch(layer) {
    const absent = missing(layer, 'alpha');
    if (absent !== undefined) return absent;
    const shape = shapeOf(layer, 'alpha');
    const last = shape.at(-1) ?? 1;
    // PyTorch knows one slope, or one per channel.
    if (shape.slice(0, -1).every((size) => size === 1)) {
      const alpha = shape.length === 1 ? source('alpha') : reshaped(source('alpha'), [last]);
      return twin([twinModule('PReLU', { num_parameters: last })], [twinTensor(layer, 'weight', alpha)]);
    }
    return twin([customModule('ElementPReLU', { shape })], [twinTensor(layer, 'weight', source('alpha'))]);
  },
  toKeras(layer) {
    const role = ['weight', 'slope'].find((name) => weightOf(layer, name) !== undefined);
    if (role === undefined) return { refused: 'the file holds no weight for this layer' };
    const count = shapeOf(layer, role).reduce((product, size) => product * size, 1);
    const rank = layer.inputs?.[0]?.length;
    if (rank !== undefined && rank < 2) return { refused: 'Keras’ PReLU needs a batch axis and one more' };
    const shape = [...new Array<number>((rank ?? 4) - 2).fill(1), count];
    const shared = Array.from({ length: (rank ?? 4) - (count === 1 ? 1 : 2) }, (_, index) => index + 1);
    return twin(
      [twinModule('PReLU', { shared_axes: shared.length === 0 ? null : shared })],
      [twinTensor(layer, 'alpha', reshaped(source(role), shape))],
      rank === undefined ? [assumed(layer, 'input rank', 4)] : [],
    );
  },
};
