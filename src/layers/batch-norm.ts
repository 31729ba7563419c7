import type { Diagnostic } from '../ir/diagnostic.ts';
import type { JsonObject } from '../ir/json.ts';
import type { NormAttrs, Shape } from '../ir/model.ts';
import {
  attributeOf,
  booleanOf,
  eraOf,
  isBelow,
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
import { complement } from './decimal.ts';
import type { Expr, Family, Twin, TwinModule, TwinSource, TwinTensor, Variable } from './family.ts';
import {
  assumed,
  customModule,
  droppedNote,
  dtypeOf,
  filled,
  filledNote,
  missing,
  reshaped,
  shapeOf,
  source,
  trainingNote,
  twin,
  twinModule,
  twinTensor,
  weightOf,
} from './twin.ts';

/**
 * Attributes: axis (a number, or a list where several axes are normalised together; 1 in PyTorch and ONNX), epsilon,
 * momentum (Keras' convention in every dialect: the share of the OLD value that is kept; null unknown; 'cumulative'
 * for PyTorch's None), center, scale (null: the file does not say), renorm, synchronized, virtualBatchSize, mode (Keras
 * 1: 0, 1 per sample, 2 batch statistics at all times), frozen, stdIsVariance (Keras 1's `running_std` holds a variance;
 * false: a standard deviation; null: the release is not known; 'backend': 1.0.6, where it depends on the backend), statistics (PyTorch's track_running_stats), spatial
 * (1, 2, 3 where the class says it, else null).
 */
function normalise(type: string, attrs: JsonObject, dialect: string, version: string, backend = ''): NormAttrs {
  if (dialect === 'torch') return normaliseTorch(type, attrs);
  if (dialect === 'onnx') {
    return {
      ...UNSET,
      epsilon: numberOf(attrs, 'epsilon', 1e-5),
      momentum: numberOf(attrs, 'momentum', 0.9),
      center: true,
      scale: true,
    };
  }
  const era = eraOf(version);
  const virtualBatchSize = numberOrNull(attrs, 'virtual_batch_size');
  const keras1 = era === 'keras1' || (version === '' && attrs.has('mode'));
  return {
    ...UNSET,
    axis: kerasAxis(attrs, virtualBatchSize !== null),
    epsilon: numberOf(
      attrs,
      'epsilon',
      keras1 && isBelow(version, '1.0.8') ? 1e-6 : keras1 && isBelow(version, '1.2.0') ? 1e-5 : 1e-3,
    ),
    momentum: numberOf(attrs, 'momentum', keras1 && isBelow(version, '1.0.7') ? 0.9 : 0.99),
    center: booleanOf(attrs, 'center', true),
    scale: booleanOf(attrs, 'scale', true),
    renorm: booleanOf(attrs, 'renorm', false),
    synchronized: type === 'SyncBatchNormalization' || booleanOf(attrs, 'synchronized', false),
    virtualBatchSize,
    mode: numberOf(attrs, 'mode', 0),
    frozen: attrs.get('trainable') === false,
    stdIsVariance: keras1 ? stdIsVariance(version, backend) : true,
  };
}

const UNSET: NormAttrs = {
  axis: 1,
  epsilon: null,
  momentum: null,
  center: null,
  scale: null,
  renorm: false,
  synchronized: false,
  virtualBatchSize: null,
  mode: 0,
  frozen: false,
  stdIsVariance: true,
  statistics: true,
  spatial: null,
};

/**
 * What Keras 1 kept under `running_std`: a standard deviation up to 1.0.5, a variance since 1.0.7; 1.0.6 depends on
 * the backend, which the file does not name.
 */
function stdIsVariance(version: string, backend: string): boolean | null | 'backend' {
  if (version === '') return null;
  if (isBelow(version, '1.0.6')) return false;
  if (!isBelow(version, '1.0.7')) return true;
  return backend === 'theano' ? false : backend === 'tensorflow' ? true : 'backend';
}

/**
 * tf.keras writes a list once the layer is built. With a virtual batch size the built axis counts the axis that was
 * put in after the batch axis.
 */
function kerasAxis(attrs: JsonObject, isVirtual: boolean): number | readonly number[] {
  const value = attributeOf(attrs, 'axis');
  const axes = numbersOf(value);
  if (axes === null || axes.length === 0) return -1;
  if (typeof value === 'number') return value;
  const own = isVirtual ? axes.map((axis) => (axis > 0 ? axis - 1 : axis)) : axes;
  return own.length === 1 ? (own[0] ?? -1) : own;
}

function normaliseTorch(type: string, attrs: JsonObject): NormAttrs {
  const momentum = attrs.get('momentum');
  const affine = plainValue(attrs.get('affine'));
  const spatial = /BatchNorm([123])d$/.exec(type)?.[1];
  return {
    ...UNSET,
    epsilon: numberOrNull(attrs, 'eps'),
    momentum: typeof momentum === 'number' ? complement(momentum) : momentum === null ? 'cumulative' : null,
    center: affine === null ? null : affine === true && attrs.get('bias') !== false,
    scale: affine,
    synchronized: type === 'SyncBatchNorm',
    statistics: booleanOf(attrs, 'track_running_stats', true),
    spatial: spatial === undefined ? null : Number(spatial),
  };
}

function variables(norm: NormAttrs, inputs: readonly Shape[] | null): readonly Variable[] {
  const shape = parameterShape(norm, inputs?.[0]);
  const own = (role: string, names: readonly string[], trained: boolean): Variable => ({
    role,
    class: trained ? 'weight' : 'statistic',
    at: '',
    names,
    shape,
  });
  return [
    ...(norm['scale'] === false ? [] : [own('gamma', ['gamma'], true)]),
    ...(norm['center'] === false ? [] : [own('beta', ['beta'], true)]),
    own('moving_mean', ['moving_mean', 'running_mean'], false),
    own('moving_variance', ['moving_variance', 'running_std'], false),
    ...(normFlag(norm, 'renorm')
      ? ['moving_stddev', 'renorm_mean', 'renorm_stddev'].map((role) => own(role, [role], false))
      : []),
  ];
}

/** (C,); several axes: the input's rank with 1 elsewhere; a virtual batch: that with one more axis after the batch. */
function parameterShape(norm: NormAttrs, input: Shape | undefined): readonly number[] | null {
  const axes = normNumbers(norm, 'axis') ?? [-1];
  const sizes = sizesAt(input, axes);
  if (sizes === null || input === undefined) return null;
  const isVirtual = norm['virtualBatchSize'] !== null && norm['virtualBatchSize'] !== undefined;
  if (axes.length === 1 && !isVirtual) return sizes;
  const shape = new Array<number>(input.length).fill(1);
  for (const [index, axis] of axes.entries()) shape[axis < 0 ? axis + input.length : axis] = sizes[index] ?? 1;
  return isVirtual ? [1, 1, ...shape.slice(1)] : shape;
}

function toTorch(layer: TwinSource): Twin {
  const { norm } = layer;
  const axes = normNumbers(norm, 'axis') ?? [-1];
  const axis = axes[0] ?? -1;
  const rank = layer.inputs?.[0]?.length;
  if (norm['mode'] === 1) return { refused: 'mode=1 normalises each sample by itself, which BatchNorm does not do' };
  if (norm['mode'] === 2) return { refused: 'mode=2 uses the statistics of the batch in inference too' };
  if (axes.length > 1) return { refused: `axis=[${axes.join(', ')}] normalises several axes together` };
  if (axis === 0 || axis === -(rank ?? Number.NaN)) {
    return { refused: 'axis=0 normalises along the batch axis' };
  }
  const absent = missing(layer, 'moving_mean', 'moving_variance');
  if (absent !== undefined) return absent;
  if (norm['stdIsVariance'] === 'backend') {
    return {
      refused:
        'Keras 1.0.6 kept a variance with TensorFlow and a standard deviation with Theano, and the file names no backend',
    };
  }
  return kerasTwin(layer, rank);
}

function kerasTwin(layer: TwinSource, rank: number | undefined): Twin {
  const { norm } = layer;
  const diagnostics: Diagnostic[] = [];
  const channels = elements(shapeOf(layer, 'moving_mean'));
  const epsilon = normNumber(norm, 'epsilon');
  const momentum = normNumber(norm, 'momentum');
  const vector = (role: string): Expr => {
    const shape = shapeOf(layer, role);
    return shape.length === 1 ? source(role) : reshaped(source(role), [channels]);
  };
  const isAffine = weightOf(layer, 'gamma') !== undefined || weightOf(layer, 'beta') !== undefined;
  const tensors: TwinTensor[] = [];
  if (isAffine) {
    for (const [name, role, value] of [
      ['weight', 'gamma', 1],
      ['bias', 'beta', 0],
    ] as const) {
      if (weightOf(layer, role) !== undefined) {
        tensors.push(twinTensor(layer, name, vector(role)));
      } else {
        tensors.push(twinTensor(layer, name, filled(value, [channels], dtypeOf(layer)), { trainable: false }));
        diagnostics.push(filledNote(layer, name, value));
      }
    }
  }
  const statistic = { class: 'statistic', isParameter: false, trainable: false } as const;
  let variance = vector('moving_variance');
  if (norm['stdIsVariance'] === false) {
    variance = { op: 'compute', name: 'variance_from_std', of: [variance], args: { epsilon: epsilon ?? 1e-6 } };
  } else if (norm['stdIsVariance'] === null) {
    diagnostics.push(assumed(layer, 'running_std holds', 'variance'));
  }
  tensors.push(twinTensor(layer, 'running_mean', vector('moving_mean'), statistic));
  tensors.push(twinTensor(layer, 'running_var', variance, statistic));
  tensors.push(counter(layer));
  for (const { role } of layer.weights) {
    if (role === 'moving_stddev' || role === 'renorm_mean' || role === 'renorm_stddev') {
      diagnostics.push(droppedNote(layer, role, 'batch renormalisation is used in training only'));
    }
  }
  if (normFlag(norm, 'renorm')) diagnostics.push(trainingNote(layer, 'renorm'));
  if (norm['virtualBatchSize'] !== null && norm['virtualBatchSize'] !== undefined) {
    diagnostics.push(trainingNote(layer, 'virtual_batch_size'));
  }
  if (normFlag(norm, 'synchronized')) diagnostics.push(trainingNote(layer, 'synchronized'));
  if (normFlag(norm, 'frozen')) diagnostics.push(trainingNote(layer, 'trainable=False (keep the module in eval mode)'));
  if (momentum !== null && (momentum < 0 || momentum > 1)) {
    diagnostics.push(assumed(layer, 'momentum outside 0 to 1', momentum));
  }
  if (rank === undefined) diagnostics.push(assumed(layer, 'input rank', 4));
  const args: NormAttrs = {
    num_features: channels,
    eps: epsilon ?? 1e-3,
    momentum: momentum === null ? null : complement(momentum),
    affine: isAffine,
    track_running_stats: true,
  };
  return twin([torchModule(rank ?? 4, args)], tensors, diagnostics);
}

function torchModule(rank: number, args: NormAttrs): TwinModule {
  if (rank <= 3) return twinModule('BatchNorm1d', args);
  if (rank === 4) return twinModule('BatchNorm2d', args);
  if (rank === 5) return twinModule('BatchNorm3d', args);
  return customModule('BatchNormNd', args);
}

function counter(layer: TwinSource): TwinTensor {
  return twinTensor(layer, 'num_batches_tracked', filled(0, [], 'int64'), {
    class: 'counter',
    isParameter: false,
    trainable: false,
    dtype: 'int64',
  });
}

function elements(shape: readonly number[]): number {
  return shape.reduce((product, size) => product * size, 1);
}

/** PyTorch's and ONNX's names for the four vectors. */
const TORCH_ROLES = [
  ['gamma', ['weight', 'scale']],
  ['beta', ['bias', 'B']],
  ['moving_mean', ['running_mean', 'mean', 'input_mean']],
  ['moving_variance', ['running_var', 'var', 'input_var']],
] as const;

function toKeras(layer: TwinSource): Twin {
  const { norm } = layer;
  const diagnostics: Diagnostic[] = [];
  const found = new Map<string, string>();
  for (const [role, names] of TORCH_ROLES) {
    const name = names.find((word) => weightOf(layer, word) !== undefined);
    if (name !== undefined) found.set(role, name);
  }
  if (!found.has('moving_mean') || !found.has('moving_variance')) {
    return { refused: 'without running statistics (track_running_stats=False) Keras has nothing to normalise with' };
  }
  if (norm['momentum'] === 'cumulative') {
    return { refused: 'momentum=None is a cumulative mean, which Keras cannot express; give a momentum for it' };
  }
  const parts = layer.weights.map((weight) => weight.role).filter((role) => /_orig$|^parametrizations\./.test(role));
  if (parts.length > 0) return { refused: `it is re-parametrised (${parts.join(', ')})` };
  const tensors: TwinTensor[] = [];
  for (const [role] of TORCH_ROLES) {
    const name = found.get(role);
    if (name === undefined) continue;
    const isStatistic = role.startsWith('moving');
    tensors.push(
      twinTensor(
        layer,
        role,
        source(name),
        isStatistic ? { class: 'statistic', isParameter: false, trainable: false } : {},
      ),
    );
  }
  if (weightOf(layer, 'num_batches_tracked') !== undefined) {
    diagnostics.push(droppedNote(layer, 'num_batches_tracked', 'Keras keeps no counter'));
  }
  const epsilon = normNumber(norm, 'epsilon');
  const momentum = normNumber(norm, 'momentum');
  if (epsilon === null) diagnostics.push(assumed(layer, 'epsilon', 1e-5));
  if (momentum === null) diagnostics.push(assumed(layer, 'momentum', 0.9));
  return twin(
    [
      twinModule('BatchNormalization', {
        axis: -1,
        momentum: momentum ?? 0.9,
        epsilon: epsilon ?? 1e-5,
        center: found.has('beta'),
        scale: found.has('gamma'),
      }),
    ],
    tensors,
    diagnostics,
  );
}

export const batchNorm: Family = {
  kind: 'batch_norm',
  types: {
    keras: ['BatchNormalization', 'BatchNormalizationV1', 'BatchNormalizationV2', 'SyncBatchNormalization'],
    torch: [
      'BatchNorm1d',
      'BatchNorm2d',
      'BatchNorm3d',
      'SyncBatchNorm',
      'LazyBatchNorm1d',
      'LazyBatchNorm2d',
      'LazyBatchNorm3d',
    ],
    onnx: ['BatchNormalization'],
  },
  normalise,
  variables,
  outputs: (_norm, inputs) => inputs.slice(0, 1),
  // One scale and one shift per element: y = x · a + b.
  macs: (_norm, inputs) => sampleElements(inputs[0]),
  toTorch,
  toKeras,
};
