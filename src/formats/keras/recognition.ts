import type { Kind } from '../../ir/kind.ts';
import type { WeightClass } from '../../ir/model.ts';
import { families } from '../../layers/registry.ts';
import type { Hdf5Dataset } from './hdf5.ts';
import { snakeCase } from './positional.ts';

/** An array of a layer of which no config is at hand. */
export interface LooseArray {
  /** 'kernel', 'forward_lstm/lstm_cell/kernel'; '' where the file only counts. */
  readonly role: string;
  readonly name: string;
  readonly dataset: Hdf5Dataset;
}

export interface RecognisedArray {
  readonly role: string;
  readonly class: WeightClass;
  readonly certain: boolean;
  readonly name: string;
  readonly dataset: Hdf5Dataset;
}

export interface Recognised {
  readonly kind: Kind;
  readonly arrays: readonly RecognisedArray[];
}

const STATISTICS: ReadonlySet<string> = new Set([
  'moving_mean',
  'moving_variance',
  'running_mean',
  'running_std',
  'moving_stddev',
  'renorm_mean',
  'renorm_stddev',
]);

/** A layer whose arrays have names: the kind where the names leave no choice, else what the layer's own name says. */
export function recogniseNamed(layerName: string, arrays: readonly LooseArray[]): Recognised {
  const tails = new Set(arrays.map((array) => array.role.split('/').at(-1) ?? ''));
  const kernel = arrays.find((array) => /(^|\/)(kernel|W)$/.test(array.role));
  const kind = kindByRoles(tails, kernel?.dataset.shape) ?? kindByName(layerName) ?? 'unknown';
  return {
    kind,
    arrays: arrays.map((array) => {
      const statistic = STATISTICS.has(array.role.split('/').at(-1) ?? '');
      return { ...array, class: statistic ? 'statistic' : 'weight', certain: kind !== 'unknown' || statistic };
    }),
  };
}

function kindByRoles(roles: ReadonlySet<string>, kernel: readonly number[] | null | undefined): Kind | undefined {
  const has = (...names: readonly string[]): boolean => names.every((name) => roles.has(name));
  if (has('moving_mean', 'moving_variance') || has('running_mean', 'running_std')) return 'batch_norm';
  if (has('depthwise_kernel', 'pointwise_kernel')) return 'separable_conv';
  if (has('depthwise_kernel')) return 'depthwise_conv';
  if (has('embeddings')) return 'embedding';
  if (has('kernel', 'recurrent_kernel') && kernel?.length === 2) return undefined;
  if ((has('kernel') || has('W')) && kernel?.length === 2) return 'dense';
  return undefined;
}

/** 'conv2d_transpose_3' → conv_transpose: the name that Keras gives a layer of a class by itself. */
export function kindByName(name: string): Kind | undefined {
  const table = classWords();
  return table.get(name) ?? table.get(name.replace(/_\d+$/, ''));
}

let words: ReadonlyMap<string, Kind> | undefined;

function classWords(): ReadonlyMap<string, Kind> {
  if (words === undefined) {
    const found = new Map<string, Kind>();
    for (const family of families()) {
      for (const type of family.types.keras ?? []) found.set(snakeCase(type), family.kind);
    }
    words = found;
  }
  return words;
}

/** A layer whose arrays are only counted; its class is the last part of its path. */
export function recognisePositional(kind: Kind | undefined, arrays: readonly LooseArray[]): Recognised {
  const roles = kind === undefined ? undefined : rolesOf(kind, arrays);
  return {
    kind: kind ?? 'unknown',
    arrays: arrays.map((array, index) => {
      const role = roles?.[index];
      return {
        ...array,
        role: role ?? `variable_${index}`,
        class: role !== undefined && STATISTICS.has(role) ? 'statistic' : 'weight',
        certain: role !== undefined,
      };
    }),
  };
}

/** Roles by kind and number of arrays, where they follow; undefined where attributes would have to tell. */
function rolesOf(kind: Kind, arrays: readonly LooseArray[]): readonly string[] | undefined {
  const count = arrays.length;
  const ranks = arrays.map((array) => array.dataset.shape?.length ?? -1);
  switch (kind) {
    case 'batch_norm':
      if (count === 4) return ['gamma', 'beta', 'moving_mean', 'moving_variance'];
      // One of gamma and beta is off; which one, only the config knows.
      if (count === 3) return ['gamma_or_beta', 'moving_mean', 'moving_variance'];
      return count === 2 ? ['moving_mean', 'moving_variance'] : undefined;
    case 'dense':
    case 'conv':
    case 'conv_transpose':
      if (count > 2 || (ranks[0] ?? 0) < 2 || (count === 2 && ranks[1] !== 1)) return undefined;
      return count === 2 ? ['kernel', 'bias'] : ['kernel'];
    case 'depthwise_conv':
      if (count > 2) return undefined;
      return count === 2 ? ['kernel', 'bias'] : ['kernel'];
    case 'embedding':
      return count === 1 ? ['embeddings'] : undefined;
    case 'layer_norm':
    case 'group_norm':
      return count === 2 ? ['gamma', 'beta'] : undefined;
    case 'lstm':
    case 'gru':
    case 'rnn':
      if (count === 3) return ['kernel', 'recurrent_kernel', 'bias'];
      return count === 2 ? ['kernel', 'recurrent_kernel'] : undefined;
    default:
      return undefined;
  }
}
