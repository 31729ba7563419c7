import { isObject, type JsonObject } from '../ir/json.ts';
import type { NormAttrs, NormValue } from '../ir/model.ts';
import { isBelow, normNumber, normRecord, normText } from './attribute.ts';
import type { Variable } from './family.ts';

/** What Keras 3 stores for a quantised or adapted (LoRA) layer. Facts: keras `dense.py`, `embedding.py`, `einsum_dense.py`. */

/** The part of a neutral record that quantisation and LoRA add; null where the layer has none. */
export interface Adaptation {
  /** {mode: 'int8' | 'int4' | 'float8' | 'gptq' | 'awq', bits, block, history}: block −1 per channel, null not told. */
  readonly quantised: NormValue;
  /** {rank, alpha}. */
  readonly lora: NormValue;
}

/** From a Keras 3 layer config: the dtype policy and `lora_rank`. */
export function adaptationOf(attrs: JsonObject, version: string): Adaptation {
  const rank = attrs.get('lora_rank');
  const alpha = attrs.get('lora_alpha');
  return {
    quantised: quantisedBy(attrs, version),
    lora: typeof rank === 'number' ? { rank, alpha: typeof alpha === 'number' ? alpha : rank } : null,
  };
}

function quantisedBy(attrs: JsonObject, version: string): NormValue {
  const policy = attrs.get('dtype');
  const config = isObject(policy) ? policy.get('config') : undefined;
  const told = isObject(config) ? config.get('mode') : policy;
  if (typeof told !== 'string') return null;
  // 'int8', 'int4/128', 'gptq/4/128', 'awq/4/-1', and as a bare string 'int8_from_float32'.
  const [mode = '', ...numbers] = (told.split('_from_')[0] ?? '').split('/');
  const [first, second] = numbers.map(Number);
  switch (mode) {
    case 'int8':
      return { mode, bits: 8, block: -1 };
    case 'int4':
      // Without a block size: one scale per channel. Before 3.15 kernels were packed along another axis.
      return { mode, bits: 4, block: first ?? (isBelow(version, '3.15') ? null : -1) };
    case 'float8': {
      const history = isObject(config) ? config.get('amax_history_length') : undefined;
      return { mode, bits: 8, history: typeof history === 'number' ? history : 1024 };
    }
    case 'gptq':
    case 'awq':
      return { mode, bits: first ?? null, block: second ?? null };
    default:
      return null;
  }
}

export function quantisedMode(norm: NormAttrs): string | null {
  return normText(normRecord(norm, 'quantised'), 'mode');
}

export function variable(role: string, shape: readonly number[] | null, names: readonly string[] = []): Variable {
  return { role, class: 'weight', at: '', names: names.length === 0 ? [role] : names, shape };
}

export function constant(role: string, shape: readonly number[] | null): Variable {
  return { role, class: 'constant', at: '', names: [role], shape };
}

const blocks = (size: number, block: number): number => (block <= 0 ? 1 : Math.ceil(size / block));

/**
 * Variables of a kernel seen as a matrix (rows reduced by the product, columns produced) and its bias, in the order of
 * `vars/N`. `kernel` is the kernel's own shape; `scale` the shape of an int8 layer's `kernel_scale`.
 */
export function kernelVariables(
  norm: NormAttrs,
  kernel: readonly number[] | null,
  matrix: readonly [number, number] | null,
  scale: readonly number[] | null,
  bias: Variable | null,
): readonly Variable[] {
  const record = normRecord(norm, 'quantised');
  const told = normNumber(record, 'block');
  const biases = bias === null ? [] : [bias];
  const rows = matrix?.[0];
  const columns = matrix?.[1];
  const shape = (of: (rows: number, columns: number, block: number) => readonly number[]): readonly number[] | null =>
    rows === undefined || columns === undefined || told === null ? null : of(rows, columns, told);
  switch (quantisedMode(norm)) {
    case 'int8':
      return [constant('kernel', kernel), ...biases, constant('kernel_scale', scale)];
    case 'int4': {
      const grouped = told !== null && told > 0;
      return [
        constant(
          'kernel',
          shape((r, c) => [r, Math.ceil(c / 2)]),
        ),
        ...biases,
        constant(
          'kernel_scale',
          shape((r, c, block) => (grouped ? [blocks(r, block), c] : [c])),
        ),
        ...(grouped
          ? [
              constant(
                'kernel_zero',
                shape((r, c, block) => [blocks(r, block), c]),
              ),
              constant(
                'g_idx',
                shape((r) => [r]),
              ),
            ]
          : []),
      ];
    }
    case 'gptq':
    case 'awq': {
      const packed = normNumber(record, 'bits') === 4;
      const perBlock = shape((r, c, block) => [c, blocks(r, block)]);
      return [
        ...biases,
        constant(
          'quantized_kernel',
          shape((r, c) => [packed ? Math.ceil(c / 2) : c, r]),
        ),
        constant('kernel_scale', perBlock),
        constant('kernel_zero', perBlock),
        ...(quantisedMode(norm) === 'awq'
          ? [
              constant(
                'awq_scales',
                shape((r) => [r]),
              ),
            ]
          : []),
        constant(
          'g_idx',
          shape((r) => [r]),
        ),
      ];
    }
    case 'float8': {
      const history = normNumber(record, 'history');
      const amax = history === null ? null : [history];
      return [
        variable('kernel', kernel, ['kernel', 'W']),
        ...biases,
        ...['inputs', 'kernel', 'outputs_grad'].flatMap((name) => [
          variable(`${name}_scale`, []),
          variable(`${name}_amax_history`, amax),
        ]),
      ];
    }
    default:
      return [variable('kernel', kernel, ['kernel', 'W']), ...biases];
  }
}

/**
 * The two LoRA matrices, which only legacy `.h5` files hold; `.keras` and `.weights.h5` hold the merged kernel.
 * `kernel` is what they adapt: a has its shape with the last axis replaced by the rank, b is (rank, last axis).
 */
export function loraVariables(norm: NormAttrs, name: string, kernel: readonly number[] | null): readonly Variable[] {
  const rank = normNumber(normRecord(norm, 'lora'), 'rank');
  if (rank === null) return [];
  const last = kernel?.at(-1);
  return [
    { ...variable(`lora_${name}_a`, kernel === null ? null : [...kernel.slice(0, -1), rank]), legacyOnly: true },
    { ...variable(`lora_${name}_b`, last === undefined ? null : [rank, last]), legacyOnly: true },
  ];
}

/** Why a quantised layer, or one whose LoRA matrices are apart, has no twin; undefined where it has one. */
export function adaptationRefusal(norm: NormAttrs, roles: readonly string[]): { readonly refused: string } | undefined {
  const mode = quantisedMode(norm);
  if (mode !== null) {
    return { refused: `its weights are quantised (${mode}); save the model in floating point first` };
  }
  if (roles.some((role) => role.startsWith('lora_'))) {
    return { refused: 'its LoRA matrices are apart from the kernel; save the model as .keras, which merges them' };
  }
  return undefined;
}
