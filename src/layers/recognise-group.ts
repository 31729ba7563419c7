import type { Kind } from '../ir/kind.ts';
import type { NormAttrs, NormValue } from '../ir/model.ts';
import { isNormalizationType, plainRole } from './recognise-role.ts';

/** How sure a reading is. 'certain': no other module of torch.nn has these keys and shapes. */
export type Confidence = 'certain' | 'high' | 'medium' | 'low';

export interface Reading {
  readonly kind: Kind;
  /** The torch.nn class whose rules hold; '' for none. */
  readonly type: string;
  readonly confidence: Confidence;
  /** Neutral attributes that the shapes settle. */
  readonly known: NormAttrs;
}

/** Role to shape of the tensors of one module. */
export interface Shapes {
  has(role: string): boolean;
  get(role: string): readonly number[] | undefined;
  readonly size: number;
  keys(): Iterable<string>;
}

type Facts = Readonly<Record<string, NormValue>>;

function reading(kind: Kind, type: string, confidence: Confidence, known: Facts = {}): Reading {
  return { kind, type, confidence, known };
}

const UNKNOWN: Reading = reading('unknown', '', 'certain');

/** Shapes with re-parametrised tensors under the role that they stand for ('weight_orig' as 'weight'). */
function effective(shapes: Shapes): Shapes {
  let plain: Map<string, readonly number[]> | undefined;
  for (const role of shapes.keys()) {
    const stands = plainRole(role, shapes);
    if (stands === undefined) continue;
    plain ??= new Map(Array.from(shapes.keys(), (key) => [key, shapes.get(key) ?? []]));
    if (!plain.has(stands)) plain.set(stands, shapes.get(role) ?? []);
  }
  return plain ?? shapes;
}

/**
 * What a group of tensors is, by the keys and shapes alone. `path` is the module's path: its
 * last words are a hint where shapes leave several readings. Never says more than the table there allows: a group with
 * no reading is 'unknown'. `type` is the class that the file names, '' where it names none.
 */
export function readGroup(path: string, given: Shapes, type: string): Reading {
  const shapes = effective(given);
  const weight = shapes.get('weight');
  const bias = shapes.get('bias');
  return (
    readRecurrent(shapes) ??
    readAttention(shapes) ??
    readStatistics(shapes, weight, bias) ??
    readNormalization(shapes, type) ??
    readOldNames(shapes) ??
    readWeight(path, weight, bias) ??
    UNKNOWN
  );
}

const GATES: ReadonlyMap<number, readonly [Kind, string]> = new Map([
  [4, ['lstm', 'LSTM']],
  [3, ['gru', 'GRU']],
  [1, ['rnn', 'RNN']],
]);

function readRecurrent(shapes: Shapes): Reading | undefined {
  const isCell = shapes.has('weight_ih') && shapes.has('weight_hh');
  const suffix = isCell ? '' : '_l0';
  const input = shapes.get(`weight_ih${suffix}`);
  const hidden = shapes.get(`weight_hh${suffix}`);
  if (input?.length !== 2 || hidden?.length !== 2 || input[0] !== hidden[0]) return undefined;
  const projection = shapes.get(`weight_hr${suffix}`);
  const units = projection?.[1] ?? hidden[1] ?? 0;
  const gates = units === 0 ? undefined : GATES.get((hidden[0] ?? 0) / units);
  if (gates === undefined) return undefined;
  let layers = 0;
  while (shapes.has(`weight_ih_l${layers}`)) layers += 1;
  const [kind, type] = gates;
  return reading(kind, isCell ? `${type}Cell` : type, 'certain', {
    units,
    useBias: shapes.has(`bias_ih${suffix}`),
    layers: isCell ? null : layers,
    bidirectional: isCell ? null : shapes.has('weight_ih_l0_reverse'),
    projection: projection?.[0] ?? 0,
  });
}

function readAttention(shapes: Shapes): Reading | undefined {
  const stacked = shapes.get('in_proj_weight');
  const apart = shapes.get('q_proj_weight');
  const output = shapes.get('out_proj.weight');
  if (output?.length !== 2) return undefined;
  const isStacked = stacked?.length === 2 && stacked[0] === 3 * (stacked[1] ?? 0);
  const isApart = apart !== undefined && shapes.has('k_proj_weight') && shapes.has('v_proj_weight');
  if (!isStacked && !isApart) return undefined;
  return reading('attention', 'MultiheadAttention', 'certain', { useBias: shapes.has('in_proj_bias') });
}

function readStatistics(
  shapes: Shapes,
  weight: readonly number[] | undefined,
  bias: readonly number[] | undefined,
): Reading | undefined {
  const mean = shapes.get('running_mean');
  const variance = shapes.get('running_var');
  if (mean?.length !== 1 || variance?.length !== 1 || mean[0] !== variance[0]) return undefined;
  for (const vector of [weight, bias]) {
    if (vector !== undefined && (vector.length !== 1 || vector[0] !== mean[0])) return undefined;
  }
  // InstanceNorm with track_running_stats has the same keys; it is rare.
  return reading('batch_norm', 'BatchNorm', 'high', {
    scale: weight !== undefined,
    center: bias !== undefined,
    statistics: true,
  });
}

/**
 * Keras' Normalization, as bnconvert's modules hold it: a mean and a variance of one shape, nothing else. A distribution's
 * own parameters may have the same names, so that without a class it is a guess.
 */
function readNormalization(shapes: Shapes, type: string): Reading | undefined {
  if (shapes.size !== 2 || !(type === '' || isNormalizationType(type))) return undefined;
  const mean = shapes.get('mean');
  const variance = shapes.get('variance');
  if (mean === undefined || variance === undefined || mean.join() !== variance.join()) return undefined;
  return reading('normalization', 'Normalization', type === 'Normalization' ? 'certain' : 'medium');
}

/** `gamma` and `beta` of files from before the rename in BERT's code. */
function readOldNames(shapes: Shapes): Reading | undefined {
  const gamma = shapes.get('gamma');
  const beta = shapes.get('beta');
  if (gamma?.length !== 1 || beta?.length !== 1 || gamma[0] !== beta[0] || shapes.size !== 2) return undefined;
  return reading('layer_norm', 'LayerNorm', 'medium', { axes: [-1], scale: true, center: true });
}

const EMBEDDING_NAME = /emb|token|wte|wpe|vocab|lookup/;
const CLASSIFIER_NAME = /head|classif|logit|decoder|output|proj|fc|linear/;
const GROUP_NAME = /(?:^|[._])(?:gn\d*|group_?norm)/;
const INSTANCE_NAME = /instance_?norm/;
const BATCH_NAME = /(?:^|[._])(?:bn\d*|batch_?norm)/;
const LAYER_NAME = /(?:^|[._])(?:ln\d*|ln_[a-z0-9]+|[a-z_]*layer_?norm[a-z0-9_]*)/;
const NORM_NAME = /norm/;
const ACTIVATION_NAME = /prelu|(?:^|[._])act/;

/** The end of a module's path, for its hints. */
function lastWords(path: string): string {
  return path.split('.').slice(-2).join('.').toLowerCase();
}

function readWeight(
  path: string,
  weight: readonly number[] | undefined,
  bias: readonly number[] | undefined,
): Reading | undefined {
  if (weight === undefined || (bias !== undefined && bias.length !== 1)) return undefined;
  const rows = weight[0] ?? 0;
  const columns = weight[1] ?? 0;
  switch (weight.length) {
    case 1:
      if (bias !== undefined) return bias[0] === rows ? readNorm(lastWords(path)) : undefined;
      if (ACTIVATION_NAME.test(lastWords(path)) || rows === 1) return reading('prelu', 'PReLU', 'medium');
      if (/rms/.test(lastWords(path))) return reading('rms_norm', 'RMSNorm', 'medium', { axes: [-1], scale: true });
      // RMSNorm, or LayerNorm without bias: nothing settles it.
      return undefined;
    case 2: {
      if (bias !== undefined) {
        // Of other length: an (in, out) weight of a custom class, for which no rule of torch.nn holds.
        if (bias[0] !== rows) return undefined;
        return reading('dense', 'Linear', 'high', { units: rows, inFeatures: columns, useBias: true });
      }
      const words = lastWords(path);
      const isNamed = EMBEDDING_NAME.test(words);
      if (isNamed || (columns >= 4 && rows >= 64 && rows >= 8 * columns && !CLASSIFIER_NAME.test(words))) {
        const known = { vocabulary: rows, width: columns };
        return reading('embedding', 'Embedding', isNamed ? 'medium' : 'low', known);
      }
      return reading('dense', 'Linear', 'medium', { units: rows, inFeatures: columns, useBias: false });
    }
    case 3:
    case 4:
    case 5:
      return readConvolution(weight, bias);
    default:
      return undefined;
  }
}

function readConvolution(weight: readonly number[], bias: readonly number[] | undefined): Reading | undefined {
  const [first = 0, second = 0, ...kernelSize] = weight;
  const rank = kernelSize.length;
  const length = bias?.[0];
  const straight = length === undefined || length === first;
  // A transposed convolution has (in, out / groups, …): its bias is a multiple of the second axis.
  const groups = length === undefined || second === 0 ? 0 : length / second;
  const transposed = Number.isInteger(groups) && groups > 0 && first % groups === 0;
  if (!straight && !transposed) return undefined;
  if (straight) {
    // Three axes are also Bilinear's.
    const isOpen = length === undefined || rank === 1 || (transposed && second > 1);
    const confidence: Confidence = isOpen ? 'medium' : 'high';
    return reading('conv', `Conv${rank}d`, confidence, {
      rank,
      filters: first,
      kernelSize,
      useBias: length !== undefined,
    });
  }
  if (groups > 1 && rank === 1) return undefined;
  return reading('conv_transpose', `ConvTranspose${rank}d`, groups > 1 ? 'low' : 'medium', {
    rank,
    filters: length ?? null,
    kernelSize,
    useBias: true,
    inChannels: first,
  });
}

function readNorm(words: string): Reading | undefined {
  const known = { scale: true, center: true };
  if (GROUP_NAME.test(words)) return reading('group_norm', 'GroupNorm', 'medium', known);
  if (INSTANCE_NAME.test(words)) return reading('instance_norm', 'InstanceNorm', 'medium', known);
  if (BATCH_NAME.test(words)) return reading('batch_norm', 'BatchNorm', 'medium', { ...known, statistics: false });
  if (LAYER_NAME.test(words)) return reading('layer_norm', 'LayerNorm', 'medium', { ...known, axes: [-1] });
  return NORM_NAME.test(words) ? reading('layer_norm', 'LayerNorm', 'low', { ...known, axes: [-1] }) : undefined;
}
