import type { WeightClass } from '../ir/model.ts';

/**
 * What the tensors of torch.nn's own modules are. A role is the key below the module: 'weight', 'out_proj.bias',
 * 'parametrizations.weight.original0'.
 */

/** The roles of one module together: a Set of them, or a Map by them. */
export interface Roles {
  has(role: string): boolean;
  readonly size: number;
}

/** Buffers by role, for modules whose class or kind is known. */
const BUFFERS: ReadonlyMap<string, WeightClass> = new Map<string, WeightClass>([
  ['running_mean', 'statistic'],
  ['running_var', 'statistic'],
  ['num_batches_tracked', 'counter'],
  ['n_averaged', 'counter'],
  // Tables that torchvision's Swin transformers compute when they are built.
  ['relative_coords_table', 'constant'],
]);

/** Vectors of spectral normalisation, which every forward pass in training moves. */
const SPECTRAL_BUFFER = /^(?:parametrizations\.[^.]+\.\d+\._[uv]|[a-z_]+_[uv])$/;

/** Classes whose `weight` and `pos_weight` are constants of a loss. */
const LOSS_CLASS = /Loss(?:2d)?$/;

/**
 * The class of a buffer by its role, undefined for a parameter. `roles` are the module's roles together: `weight_u` is a
 * buffer of spectral normalisation only beside `weight_orig`. `type` is '' where the file has no class name.
 */
export function bufferClass(role: string, roles: Roles, type: string): WeightClass | undefined {
  const plain = BUFFERS.get(role);
  if (plain !== undefined) return plain;
  if (SPECTRAL_BUFFER.test(role)) {
    const isNew = role.startsWith('parametrizations.');
    if (isNew || roles.has(`${role.slice(0, -2)}_orig`)) return 'statistic';
  }
  // Quantised modules keep their output's scale and zero point beside the packed weight.
  if ((role === 'scale' || role === 'zero_point') && roles.has('scale') && roles.has('zero_point')) return 'constant';
  // Statistics of the inputs, as the class Normalization of generated modules names them.
  if ((role === 'mean' || role === 'variance') && roles.size === 2 && roles.has('mean') && roles.has('variance')) {
    return 'statistic';
  }
  // The orthogonal parametrisation keeps the matrix that it started from.
  if (/^parametrizations\.[^.]+\.\d+\.base$/.test(role)) return 'constant';
  return LOSS_CLASS.test(type) && (role === 'weight' || role === 'pos_weight') ? 'constant' : undefined;
}

/** The role that a re-parametrised tensor stands for: 'weight' of 'weight_orig', of 'parametrizations.weight.original1'. */
export function plainRole(role: string, roles: Roles): string | undefined {
  const match = /^parametrizations\.([^.]+)\.original([01]?)$/.exec(role);
  if (match !== null) {
    const isWhole = match[2] === '' || match[2] === '1' || !roles.has(`parametrizations.${match[1]}.original1`);
    return isWhole ? match[1] : undefined;
  }
  if (role.endsWith('_orig')) return role.slice(0, -5);
  if (role.endsWith('_v') && roles.has(`${role.slice(0, -2)}_g`)) return role.slice(0, -2);
  return undefined;
}

/** Modules that only hold other modules. */
const CONTAINERS: ReadonlySet<string> = new Set([
  'AdaptiveLogSoftmaxWithLoss',
  'Container',
  'Module',
  'ModuleDict',
  'ModuleList',
  'Sequential',
  'Transformer',
  'TransformerDecoder',
  'TransformerDecoderLayer',
  'TransformerEncoder',
  'TransformerEncoderLayer',
  'torch.nn.parallel.data_parallel.DataParallel',
  'torch.nn.parallel.distributed.DistributedDataParallel',
]);

export function isContainerType(type: string): boolean {
  return CONTAINERS.has(type);
}

/** Classes of torch.nn whose parameters are exactly what they register, whatever the shapes. */
const OWN_PARAMETERS: ReadonlySet<string> = new Set(['Bilinear', 'EmbeddingBag', 'ParameterDict', 'ParameterList']);

/** Whether every tensor of this class that is no buffer by its role is a parameter. */
export function holdsParameters(type: string): boolean {
  return OWN_PARAMETERS.has(type) || LOSS_CLASS.test(type);
}
