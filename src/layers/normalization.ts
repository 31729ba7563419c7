import type { NormAttrs, NormValue, Shape } from '../ir/model.ts';
import {
  attributeOf,
  booleanOf,
  normFlag,
  normNumbers,
  numbersOf,
  plainValue,
  sampleElements,
  sizesAt,
  wrapAxis,
} from './attribute.ts';
import type { Expr, Family, Twin, TwinSource, Variable } from './family.ts';
import {
  customModule,
  droppedNote,
  filled,
  joined,
  missing,
  reshaped,
  source,
  twin,
  twinTensor,
  weightOf,
} from './twin.ts';

/** The kept axes from the front, in increasing order: the order of the arrays' own axes. Negative ones need the rank. */
function keptAxes(norm: NormAttrs, rank: number | undefined): readonly number[] {
  const axes = normNumbers(norm, 'axes') ?? [-1];
  const wrapped = rank === undefined ? axes : axes.map((axis) => wrapAxis(axis, rank) ?? axis);
  return [...wrapped].sort((left, right) => left - right);
}

/** A number, or nested lists, as one flat list with its shape; null where the config holds none. */
function flatValues(
  value: NormValue | undefined,
): { readonly values: readonly number[]; readonly shape: number[] } | null {
  if (typeof value === 'number') return { values: [value], shape: [] };
  if (!Array.isArray(value) || value.length === 0) return null;
  const parts = (value as readonly NormValue[]).map(flatValues);
  const first = parts[0];
  if (first === undefined || first === null || parts.some((part) => part === null)) return null;
  return { values: parts.flatMap((part) => part?.values ?? []), shape: [parts.length, ...first.shape] };
}

function variables(norm: NormAttrs, inputs: readonly Shape[] | null): readonly Variable[] {
  if (norm['mean'] !== null && norm['mean'] !== undefined) return [];
  const input = inputs?.[0];
  const axes = normNumbers(norm, 'axes') ?? [-1];
  const shape = axes.length === 0 ? [] : input === undefined ? null : sizesAt(input, keptAxes(norm, input.length));
  const statistic = (role: string): Variable => ({ role, class: 'statistic', at: '', names: [role], shape });
  return [
    statistic('mean'),
    statistic('variance'),
    { role: 'count', class: 'counter', at: '', names: ['count'], shape: [] },
  ];
}

function toTorch(layer: TwinSource): Twin {
  const { norm } = layer;
  const input = layer.inputs?.[0];
  const invert = normFlag(norm, 'invert');
  const statistic = { class: 'statistic', isParameter: false, trainable: false } as const;
  if (norm['mean'] === null || norm['mean'] === undefined) {
    const absent = missing(layer, 'mean', 'variance');
    if (absent !== undefined) return absent;
    return twin(
      [customModule('Normalization', { dims: keptAxes(norm, input?.length), invert })],
      [
        twinTensor(layer, 'mean', source('mean'), statistic),
        twinTensor(layer, 'variance', source('variance'), statistic),
      ],
      weightOf(layer, 'count') === undefined ? [] : [droppedNote(layer, 'count', 'only adapt() uses it')],
    );
  }
  const values = ['mean', 'variance'].map((name) => flatValues(norm[name]));
  const [mean, variance] = values;
  if (mean === null || mean === undefined || variance === null || variance === undefined) {
    return { refused: 'mean and variance in the config are not numbers' };
  }
  // The config's arrays line up with the last of the kept axes.
  const axes = keptAxes(norm, input?.length);
  const dims = axes.slice(axes.length - mean.shape.length);
  if (mean.shape.length > axes.length || variance.shape.length !== mean.shape.length) {
    return { refused: 'mean and variance in the config have more axes than the layer keeps' };
  }
  return twin(
    [customModule('Normalization', { dims, invert })],
    [
      twinTensor(layer, 'mean', constants(mean), { ...statistic, dtype: 'float32' }),
      twinTensor(layer, 'variance', constants(variance), { ...statistic, dtype: 'float32' }),
    ],
  );
}

function constants({ values, shape }: { readonly values: readonly number[]; readonly shape: readonly number[] }): Expr {
  if (shape.length === 0) return filled(values[0] ?? 0, [], 'float32');
  const flat = joined(
    values.map((value) => filled(value, [1], 'float32')),
    0,
  );
  return shape.length === 1 ? flat : reshaped(flat, shape);
}

/**
 * (x − mean) / max(√variance, 1e-7), or its inverse. Attributes: axes (those that keep their own mean; [] for one mean
 * over everything), invert, mean, variance (the config's own values; null: the arrays are weights).
 */
export const normalization: Family = {
  kind: 'normalization',
  types: { keras: ['Normalization'] },
  normalise(_type, attrs) {
    const axis = attributeOf(attrs, 'axis');
    return {
      axes: axis === undefined ? [-1] : (numbersOf(axis) ?? []),
      invert: booleanOf(attrs, 'invert', false),
      mean: arrayValue(attrs.get('mean')),
      variance: arrayValue(attrs.get('variance')),
    };
  },
  variables,
  outputs: (_norm, inputs) => inputs.slice(0, 1),
  macs: (_norm, inputs) => sampleElements(inputs[0]),
  toTorch,
};

/** Numbers, nested lists, or Keras' serialised numpy array or tensor. */
export function arrayValue(value: ReturnType<typeof attributeOf>): NormValue {
  const plain = plainValue(value);
  if (typeof plain !== 'object' || plain === null || Array.isArray(plain)) return plain;
  const record = plain as NormAttrs;
  const config = record['config'];
  const inner = typeof config === 'object' && config !== null ? (config as NormAttrs)['value'] : record['items'];
  return inner ?? null;
}
