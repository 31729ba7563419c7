import type { Diagnostic } from '../ir/diagnostic.ts';
import type { NormAttrs } from '../ir/model.ts';
import { booleanOf, normNumber, numberOf, numberOrNull, plainValue, sampleElements, sizesAt } from './attribute.ts';
import type { Family, Twin, TwinSource, TwinTensor } from './family.ts';
import {
  assumed,
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

/** Attributes: groups (−1: one per channel), axis, epsilon, center, scale (null: the file does not say). */
export const groupNorm: Family = {
  kind: 'group_norm',
  types: { keras: ['GroupNormalization'], torch: ['GroupNorm'], onnx: ['GroupNormalization'] },
  normalise(_type, attrs, dialect) {
    if (dialect === 'torch') {
      const affine = plainValue(attrs.get('affine'));
      return {
        groups: numberOrNull(attrs, 'num_groups'),
        axis: 1,
        epsilon: numberOrNull(attrs, 'eps'),
        center: affine === null ? null : affine === true && attrs.get('bias') !== false,
        scale: affine,
      };
    }
    if (dialect === 'onnx') {
      return {
        groups: numberOrNull(attrs, 'num_groups'),
        axis: 1,
        epsilon: numberOf(attrs, 'epsilon', 1e-5),
        center: true,
        scale: true,
      };
    }
    return {
      groups: numberOf(attrs, 'groups', 32),
      axis: numberOf(attrs, 'axis', -1),
      epsilon: numberOf(attrs, 'epsilon', 1e-3),
      center: booleanOf(attrs, 'center', true),
      scale: booleanOf(attrs, 'scale', true),
    };
  },
  variables(norm, inputs) {
    const shape = sizesAt(inputs?.[0], [normNumber(norm, 'axis') ?? -1]);
    return (['gamma', 'beta'] as const)
      .filter((role) => norm[role === 'gamma' ? 'scale' : 'center'] !== false)
      .map((role) => ({ role, class: 'weight', at: '', names: [role], shape }));
  },
  outputs: (_norm, inputs) => inputs.slice(0, 1),
  macs: (_norm, inputs) => sampleElements(inputs[0]),
  toTorch(layer) {
    const { norm } = layer;
    const present = ['gamma', 'beta'].filter((role) => weightOf(layer, role) !== undefined);
    const first = present[0];
    const channels =
      first === undefined
        ? sizesAt(layer.inputs?.[0], [normNumber(norm, 'axis') ?? -1])?.[0]
        : shapeOf(layer, first)[0];
    if (channels === undefined) return { refused: 'the number of channels is not known' };
    const groups = normNumber(norm, 'groups') ?? 32;
    const diagnostics: Diagnostic[] = [];
    const args: NormAttrs = {
      num_groups: groups === -1 ? channels : groups,
      num_channels: channels,
      eps: normNumber(norm, 'epsilon') ?? 1e-3,
      ...(present.length === 0 ? { affine: false } : {}),
    };
    const tensors = affineTensors(layer, present, channels, diagnostics);
    return twin([twinModule('GroupNorm', args)], tensors, diagnostics);
  },
  toKeras(layer) {
    const groups = normNumber(layer.norm, 'groups');
    if (groups === null) return { refused: 'the number of groups is not in the file' };
    return kerasGroups(layer, groups);
  },
};

function affineTensors(
  layer: TwinSource,
  present: readonly string[],
  channels: number,
  diagnostics: Diagnostic[],
): readonly TwinTensor[] {
  if (present.length === 0) return [];
  return (
    [
      ['weight', 'gamma', 1],
      ['bias', 'beta', 0],
    ] as const
  ).map(([name, role, value]) => {
    if (present.includes(role)) return twinTensor(layer, name, source(role));
    diagnostics.push(filledNote(layer, name, value));
    return twinTensor(layer, name, filled(value, [channels], dtypeOf(layer)), { trainable: false });
  });
}

/** GroupNormalization with these groups; instance normalization is one group per channel. */
function kerasGroups(layer: TwinSource, groups: number): Twin {
  const hasGamma = weightOf(layer, 'weight') !== undefined;
  const hasBeta = weightOf(layer, 'bias') !== undefined;
  const epsilon = normNumber(layer.norm, 'epsilon');
  return twin(
    [
      twinModule('GroupNormalization', {
        groups,
        axis: -1,
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

/** Attributes: epsilon, center, scale, statistics (track_running_stats), spatial (1, 2, 3 or null). Not in Keras. */
export const instanceNorm: Family = {
  kind: 'instance_norm',
  types: {
    torch: [
      'InstanceNorm1d',
      'InstanceNorm2d',
      'InstanceNorm3d',
      'LazyInstanceNorm1d',
      'LazyInstanceNorm2d',
      'LazyInstanceNorm3d',
    ],
    onnx: ['InstanceNormalization'],
  },
  normalise(type, attrs, dialect) {
    const affine = dialect === 'onnx' ? true : plainValue(attrs.get('affine'));
    const spatial = /([123])d$/.exec(type)?.[1];
    return {
      axis: 1,
      epsilon: dialect === 'onnx' ? numberOf(attrs, 'epsilon', 1e-5) : numberOrNull(attrs, 'eps'),
      center: affine,
      scale: affine,
      statistics: booleanOf(attrs, 'track_running_stats', false),
      spatial: spatial === undefined ? null : Number(spatial),
    };
  },
  outputs: (_norm, inputs) => inputs.slice(0, 1),
  macs: (_norm, inputs) => sampleElements(inputs[0]),
  toKeras(layer) {
    if (weightOf(layer, 'running_mean') !== undefined) {
      return { refused: 'running statistics (track_running_stats=True) have no place in Keras’ GroupNormalization' };
    }
    return kerasGroups(layer, -1);
  },
};
