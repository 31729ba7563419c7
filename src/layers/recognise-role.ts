import { type DType, familyOf } from '../ir/dtype.ts';
import type { Kind } from '../ir/kind.ts';
import type { WeightClass } from '../ir/model.ts';

/**
 * What the tensors of torch.nn's own modules are. A role is the key below the module: 'weight', 'out_proj.bias',
 * 'parametrizations.weight.original0'.
 */

/** The roles of one module together: a Set of them, or a Map by them. */
export interface Roles {
  has(role: string): boolean;
}

/** The tensors of one module by role. */
export interface Members extends Roles {
  get(role: string): { readonly tensor: { readonly dtype: DType } } | undefined;
  readonly size: number;
}

/** Only tensors of these types have gradients: others are in a state_dict as buffers. */
export function canBeTrained(dtype: DType): boolean {
  const family = familyOf(dtype);
  return family === 'float' || family === 'complex';
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
const SPECTRAL_BUFFER = /(?:^|\.)(?:parametrizations\.[^.]+\.\d+\._[uv]|[a-z_0-9]+_[uv])$/;

/** The matrix that the orthogonal parametrisation started from. */
const ORTHOGONAL_BASE = /(?:^|\.)parametrizations\.[^.]+\.\d+\.base$/;

/** Classes whose `weight` and `pos_weight` are constants of a loss. */
const LOSS_CLASS = /Loss(?:2d)?$/;

/** The class that generated modules standardise their inputs with. */
const NORMALIZATION_CLASS = /(?:^|\.)Normalization$/;

export function isNormalizationType(type: string): boolean {
  return NORMALIZATION_CLASS.test(type);
}

/** The class of a buffer by its role, undefined for a parameter. `type` is '' where the file has no class name. */
export function bufferClass(role: string, roles: Members, type: string): WeightClass | undefined {
  // What most tensors are.
  if (role === 'bias') return undefined;
  if (role === 'weight') return LOSS_CLASS.test(type) ? 'constant' : undefined;
  const plain = BUFFERS.get(role);
  if (plain !== undefined) return plain;
  // 'weight_u' is a vector of spectral normalisation only beside 'weight_orig'.
  if (SPECTRAL_BUFFER.test(role) && (role.includes('parametrizations.') || roles.has(`${role.slice(0, -2)}_orig`))) {
    return 'statistic';
  }
  // Pruning keeps the dense tensor as the parameter and what is left of it as a mask.
  if (role.endsWith('_mask') && roles.has(`${role.slice(0, -5)}_orig`)) return 'constant';
  if (role === 'scale' || role === 'zero_point') return isQuantisation(roles) ? 'constant' : undefined;
  // The smallest scale of a quantisation that is learned.
  if (role === 'eps' && roles.has('learning_enabled')) return 'constant';
  if (role === 'mean' || role === 'variance') return isNormalizationType(type) ? 'statistic' : undefined;
  if (ORTHOGONAL_BASE.test(role)) return 'constant';
  return role === 'pos_weight' && LOSS_CLASS.test(type) ? 'constant' : undefined;
}

/**
 * Whether `scale` and `zero_point` are those of a quantisation: a zero point counts in whole numbers, or stands beside
 * quantised values. A learned one has the same names and trains both.
 */
function isQuantisation(roles: Members): boolean {
  const zeroPoint = roles.get('zero_point')?.tensor.dtype;
  if (zeroPoint === undefined || !roles.has('scale') || roles.has('learning_enabled')) return false;
  if (!canBeTrained(zeroPoint) || roles.has('fake_quant_enabled')) return true;
  const weight = roles.get('weight')?.tensor.dtype;
  return weight !== undefined && !canBeTrained(weight);
}

/** Tensors that a parametrisation makes another one from. */
const ORIGINAL = /^(.*\.)?parametrizations\.([^.]+)\.original(\d*)$/;

/** The role that a re-parametrised tensor is a part of: 'weight' of 'weight_orig', of 'weight_g' beside 'weight_v'. */
function wholeRole(role: string, roles: Roles): string | undefined {
  const match = role.includes('parametrizations.') ? ORIGINAL.exec(role) : null;
  if (match !== null) return `${match[1] ?? ''}${match[2]}`;
  if (role.endsWith('_orig')) return role.slice(0, -5);
  const stem = role.slice(0, -2);
  const isPair = role.endsWith('_v') ? roles.has(`${stem}_g`) : role.endsWith('_g') && roles.has(`${stem}_v`);
  return isPair ? stem : undefined;
}

/**
 * The role that a re-parametrised tensor stands for by its shape: 'weight' of 'weight_orig', of 'weight_v', of
 * 'parametrizations.weight.original1'; undefined for the part that only scales it.
 */
export function plainRole(role: string, roles: Roles): string | undefined {
  if (role.endsWith('_g') || role.endsWith('.original0')) {
    const isScale = role.endsWith('_g') || roles.has(`${role.slice(0, -1)}1`);
    if (isScale) return undefined;
  }
  return wholeRole(role, roles);
}

const RECURRENT_ROLE = /^(?:weight_(?:ih|hh|hr)|bias_(?:ih|hh))(?:_l\d+(?:_reverse)?)?$/;

const ATTENTION_ROLES: ReadonlySet<string> = new Set([
  'in_proj_weight',
  'in_proj_bias',
  'q_proj_weight',
  'k_proj_weight',
  'v_proj_weight',
  'bias_k',
  'bias_v',
  'out_proj.weight',
  'out_proj.bias',
]);

function registers(kind: Kind, role: string): boolean {
  switch (kind) {
    case 'lstm':
    case 'gru':
    case 'rnn':
      return RECURRENT_ROLE.test(role);
    case 'attention':
      return ATTENTION_ROLES.has(role);
    case 'layer_norm':
      return role === 'weight' || role === 'bias' || role === 'gamma' || role === 'beta';
    default:
      return role === 'weight' || role === 'bias';
  }
}

/**
 * Whether torch.nn's class of this kind registers a parameter in this role, as it is or re-parametrised. What else lies
 * in a module (a subclass' own tensors, those of a parametrisation) is not told by its class.
 */
export function isOwnParameter(role: string, roles: Roles, kind: Kind, type: string): boolean {
  if (type === 'ParameterList' || type === 'ParameterDict' || registers(kind, role)) return true;
  const whole = wholeRole(role, roles);
  return whole !== undefined && registers(kind, whole);
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
