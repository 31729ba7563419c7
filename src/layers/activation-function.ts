import { isObject, type Json, type JsonObject } from '../ir/json.ts';
import type { NormAttrs, Shape } from '../ir/model.ts';
import { type Era, normNumber, numberOf, numberOrNull, numbersOf } from './attribute.ts';
import type { TwinModule } from './family.ts';
import { customModule, twinModule } from './twin.ts';

/**
 * An activation in neutral words: `function` and its constants.
 * linear · relu {maxValue, slope, threshold} · leaky_relu {slope} · elu, celu {alpha} · gelu {approximate} ·
 * softplus {beta, threshold} · hard_sigmoid {slope, offset} (clip(slope·x + offset, 0, 1)) · hard_tanh {min, max} ·
 * hard_shrink, soft_shrink {threshold} · threshold {threshold, value} · softmax, log_softmax, sparsemax {axis} ·
 * glu {axis, halves} · squareplus {b} · selu, silu, mish, softsign, tanh, sigmoid, hard_silu, log_sigmoid, tanh_shrink,
 * exponential, sparse_plus, sparse_sigmoid, softmin {axis} · unknown {name}: a function of the user's own.
 */
export type ActivationNorm = NormAttrs & { readonly function: string };

/** Keras 3, and PyTorch's Hardsigmoid: relu6(x + 3) / 6. */
const SIXTH: number = 1 / 6;

const PLAIN: ReadonlySet<string> = new Set([
  'selu',
  'silu',
  'mish',
  'softsign',
  'tanh',
  'sigmoid',
  'hard_silu',
  'log_sigmoid',
  'tanh_shrink',
  'exponential',
  'sparse_plus',
  'sparse_sigmoid',
  'linear',
]);

const ALIASES: ReadonlyMap<string, string> = new Map([
  ['swish', 'silu'],
  ['hard_swish', 'hard_silu'],
  ['hardswish', 'hard_silu'],
  ['hardsigmoid', 'hard_sigmoid'],
  ['hardtanh', 'hard_tanh'],
  ['logsigmoid', 'log_sigmoid'],
  ['identity', 'linear'],
  ['exp', 'exponential'],
]);

/** The old form's clip(0.2·x + 0.5, 0, 1) up to Keras 2, relu6(x + 3) / 6 since Keras 3. */
function hardSigmoid(era: Era): ActivationNorm {
  return { function: 'hard_sigmoid', slope: era === 'keras3' ? SIXTH : 0.2, offset: 0.5 };
}

/** A Keras function name ('relu', 'swish', 'hard_sigmoid') with the defaults of its generation. */
export function activationOfName(name: string, era: Era): ActivationNorm {
  const word = ALIASES.get(name) ?? name;
  if (PLAIN.has(word)) return { function: word };
  switch (word) {
    case 'relu':
      return { function: 'relu', maxValue: null, slope: 0, threshold: 0 };
    case 'relu6':
      return { function: 'relu', maxValue: 6, slope: 0, threshold: 0 };
    case 'leaky_relu':
      return { function: 'leaky_relu', slope: 0.2 };
    case 'elu':
    case 'celu':
      return { function: word, alpha: 1 };
    case 'gelu':
      return { function: 'gelu', approximate: false };
    case 'softplus':
      return { function: 'softplus', beta: 1, threshold: 20 };
    case 'hard_sigmoid':
      return hardSigmoid(era);
    case 'hard_tanh':
      return { function: 'hard_tanh', min: -1, max: 1 };
    case 'hard_shrink':
    case 'soft_shrink':
      return { function: word, threshold: 0.5 };
    case 'threshold':
      return { function: 'threshold', threshold: 0, value: 0 };
    case 'softmax':
    case 'log_softmax':
    case 'sparsemax':
    case 'glu':
      return { function: word, axis: -1 };
    case 'squareplus':
      return { function: 'squareplus', b: 4 };
    default:
      return { function: 'unknown', name };
  }
}

/**
 * The `activation` argument of a Keras layer: a name, null, a serialised function, or a serialised activation layer.
 * `absent` is the name that the argument's absence stands for.
 */
export function activationOf(value: Json | undefined, era: Era, absent = 'linear'): ActivationNorm {
  if (value === undefined) return activationOfName(absent, era);
  if (value === null) return { function: 'linear' };
  if (typeof value === 'string') return activationOfName(value, era);
  if (isObject(value)) {
    const type = value.get('class_name');
    const config = value.get('config');
    if (type === 'function' && typeof config === 'string') return activationOfName(config, era);
    if (typeof type === 'string') {
      const attrs = isObject(config) ? config : new Map<string, Json>();
      if (type === 'Activation') return activationOf(attrs.get('activation'), era);
      return kerasActivationLayer(type, attrs, era) ?? activationOfName(type, era);
    }
    const name = value.get('name');
    if (typeof name === 'string') return { function: 'unknown', name };
  }
  return { function: 'unknown', name: '' };
}

/** A Keras activation layer's class and config; undefined for another class. */
export function kerasActivationLayer(type: string, attrs: JsonObject, era: Era): ActivationNorm | undefined {
  switch (type) {
    case 'Activation':
      return activationOf(attrs.get('activation'), era);
    case 'ReLU':
      return {
        function: 'relu',
        maxValue: numberOrNull(attrs, 'max_value'),
        slope: numberOf(attrs, ['negative_slope', 'alpha'], 0),
        threshold: numberOf(attrs, ['threshold', 'theta'], 0),
      };
    case 'LeakyReLU':
      return { function: 'leaky_relu', slope: numberOf(attrs, ['negative_slope', 'alpha'], 0.3) };
    case 'ELU':
      return { function: 'elu', alpha: numberOf(attrs, 'alpha', 1) };
    case 'ThresholdedReLU':
      return { function: 'threshold', threshold: numberOf(attrs, 'theta', 1), value: 0 };
    case 'Softmax':
      return { function: 'softmax', axis: axisOf(attrs.get('axis')) };
    default:
      return undefined;
  }
}

function axisOf(value: Json | undefined): number | readonly number[] {
  const axes = numbersOf(value);
  return axes === null ? -1 : typeof value === 'number' ? value : axes;
}

/**
 * Output shapes of an activation: those of its inputs. PyTorch's GLU halves an axis; Keras says the input's shape for it
 * all the same.
 */
export function activationOutputs(norm: NormAttrs, inputs: readonly Shape[]): readonly Shape[] {
  const first = inputs[0];
  if (first === undefined) return [];
  if (norm['halves'] !== true) return [first];
  const axis = normNumber(norm, 'axis') ?? -1;
  const place = axis < 0 ? axis + first.length : axis;
  return [first.map((size, index) => (index === place && typeof size === 'number' ? Math.floor(size / 2) : size))];
}

/**
 * The torch.nn module of an activation, or one that the generated code defines. Axes are those of the source: whoever
 * changes the layout remaps `dim`. Undefined: no module (linear's is Identity); the reason is in `activationRefusal`.
 */
export function activationModule(norm: NormAttrs, name = ''): TwinModule | undefined {
  const number = (key: string, otherwise: number) => normNumber(norm, key) ?? otherwise;
  const plain = (type: string, args: NormAttrs = {}) => twinModule(type, args, name);
  switch (norm['function']) {
    case 'linear':
      return plain('Identity');
    case 'relu':
      return reluModule(norm, name);
    case 'leaky_relu':
      return plain('LeakyReLU', { negative_slope: number('slope', 0.01) });
    case 'elu':
      return plain('ELU', { alpha: number('alpha', 1) });
    case 'celu':
      return plain('CELU', { alpha: number('alpha', 1) });
    case 'gelu':
      return plain('GELU', norm['approximate'] === true ? { approximate: 'tanh' } : {});
    case 'selu':
      return plain('SELU');
    case 'silu':
      return plain('SiLU');
    case 'mish':
      return plain('Mish');
    case 'softplus':
      return plain(
        'Softplus',
        number('beta', 1) === 1 && number('threshold', 20) === 20
          ? {}
          : { beta: number('beta', 1), threshold: number('threshold', 20) },
      );
    case 'softsign':
      return plain('Softsign');
    case 'tanh':
      return plain('Tanh');
    case 'sigmoid':
      return plain('Sigmoid');
    case 'hard_sigmoid':
      if (number('slope', SIXTH) === SIXTH && number('offset', 0.5) === 0.5) return plain('Hardsigmoid');
      return customModule('ClippedLinear', { slope: number('slope', 0.2), offset: number('offset', 0.5) }, name);
    case 'hard_silu':
      return plain('Hardswish');
    case 'hard_tanh':
      return plain(
        'Hardtanh',
        number('min', -1) === -1 && number('max', 1) === 1
          ? {}
          : { min_val: number('min', -1), max_val: number('max', 1) },
      );
    case 'hard_shrink':
      return plain('Hardshrink', { lambd: number('threshold', 0.5) });
    case 'soft_shrink':
      return plain('Softshrink', { lambd: number('threshold', 0.5) });
    case 'tanh_shrink':
      return plain('Tanhshrink');
    case 'log_sigmoid':
      return plain('LogSigmoid');
    case 'threshold':
      return plain('Threshold', { threshold: number('threshold', 0), value: number('value', 0) });
    case 'softmax':
      return Array.isArray(norm['axis']) && norm['axis'].length !== 1
        ? customModule('JointSoftmax', { dims: norm['axis'] }, name)
        : plain('Softmax', { dim: firstAxis(norm) });
    case 'softmin':
      return plain('Softmin', { dim: firstAxis(norm) });
    case 'log_softmax':
      return plain('LogSoftmax', { dim: firstAxis(norm) });
    case 'glu':
      return plain('GLU', firstAxis(norm) === -1 ? {} : { dim: firstAxis(norm) });
    case 'exponential':
      return customModule('Exponential', {}, name);
    case 'squareplus':
      return customModule('Squareplus', { b: number('b', 4) }, name);
    case 'sparse_plus':
      return customModule('SparsePlus', {}, name);
    case 'sparse_sigmoid':
      return customModule('SparseSigmoid', {}, name);
    default:
      return undefined;
  }
}

function firstAxis(norm: NormAttrs): number {
  const axis = norm['axis'];
  const first = Array.isArray(axis) ? axis[0] : axis;
  return typeof first === 'number' ? first : -1;
}

function reluModule(norm: NormAttrs, name: string): TwinModule {
  const maxValue = normNumber(norm, 'maxValue');
  const slope = normNumber(norm, 'slope') ?? 0;
  const threshold = normNumber(norm, 'threshold') ?? 0;
  if (threshold === 0 && slope === 0) {
    if (maxValue === null) return twinModule('ReLU', {}, name);
    if (maxValue === 6) return twinModule('ReLU6', {}, name);
    return twinModule('Hardtanh', { min_val: 0, max_val: maxValue }, name);
  }
  if (threshold === 0 && maxValue === null) return twinModule('LeakyReLU', { negative_slope: slope }, name);
  if (slope === 0 && maxValue === null) return twinModule('Threshold', { threshold, value: 0 }, name);
  return customModule('GeneralReLU', { max_value: maxValue, negative_slope: slope, threshold }, name);
}

/** Why an activation has no module. */
export function activationRefusal(norm: NormAttrs): string {
  if (norm['function'] === 'sparsemax') {
    return 'sparsemax: PyTorch has no such function, and what Keras computes differs from the published one';
  }
  const name = norm['name'];
  return `activation '${typeof name === 'string' ? name : String(norm['function'])}' is not a built-in function`;
}

/** A torch.nn activation class and its attributes; undefined for another class. Absent attributes have PyTorch's defaults. */
export function torchActivation(type: string, attrs: JsonObject): ActivationNorm | undefined {
  switch (type) {
    case 'ReLU':
      return { function: 'relu', maxValue: null, slope: 0, threshold: 0 };
    case 'ReLU6':
      return { function: 'relu', maxValue: 6, slope: 0, threshold: 0 };
    case 'LeakyReLU':
      return { function: 'leaky_relu', slope: numberOf(attrs, 'negative_slope', 0.01) };
    // In eval mode the slope is the mean of the bounds.
    case 'RReLU':
      return {
        function: 'leaky_relu',
        slope: (numberOf(attrs, 'lower', 1 / 8) + numberOf(attrs, 'upper', 1 / 3)) / 2,
      };
    case 'ELU':
      return { function: 'elu', alpha: numberOf(attrs, 'alpha', 1) };
    case 'CELU':
      return { function: 'celu', alpha: numberOf(attrs, 'alpha', 1) };
    case 'GELU':
      return { function: 'gelu', approximate: attrs.get('approximate') === 'tanh' };
    case 'SELU':
      return { function: 'selu' };
    case 'SiLU':
      return { function: 'silu' };
    case 'Mish':
      return { function: 'mish' };
    case 'Softplus':
      return { function: 'softplus', beta: numberOf(attrs, 'beta', 1), threshold: numberOf(attrs, 'threshold', 20) };
    case 'Softsign':
      return { function: 'softsign' };
    case 'Tanh':
      return { function: 'tanh' };
    case 'Sigmoid':
      return { function: 'sigmoid' };
    case 'Hardsigmoid':
      return { function: 'hard_sigmoid', slope: SIXTH, offset: 0.5 };
    case 'Hardswish':
      return { function: 'hard_silu' };
    case 'Hardtanh':
      return { function: 'hard_tanh', min: numberOf(attrs, 'min_val', -1), max: numberOf(attrs, 'max_val', 1) };
    case 'Hardshrink':
      return { function: 'hard_shrink', threshold: numberOf(attrs, 'lambd', 0.5) };
    case 'Softshrink':
      return { function: 'soft_shrink', threshold: numberOf(attrs, 'lambd', 0.5) };
    case 'Tanhshrink':
      return { function: 'tanh_shrink' };
    case 'LogSigmoid':
      return { function: 'log_sigmoid' };
    case 'Threshold':
      return { function: 'threshold', threshold: numberOf(attrs, 'threshold', 0), value: numberOf(attrs, 'value', 0) };
    case 'Softmax':
      return { function: 'softmax', axis: numberOrNull(attrs, 'dim') };
    // Softmax2d works on the channel axis of (N, C, H, W).
    case 'Softmax2d':
      return { function: 'softmax', axis: -3 };
    case 'Softmin':
      return { function: 'softmin', axis: numberOrNull(attrs, 'dim') };
    case 'LogSoftmax':
      return { function: 'log_softmax', axis: numberOrNull(attrs, 'dim') };
    case 'GLU':
      return { function: 'glu', axis: numberOf(attrs, 'dim', -1), halves: true };
    default:
      return undefined;
  }
}

/** Defaults of ONNX' Selu since version 6. */
const SELU_ALPHA = 1.6732632;
const SELU_GAMMA = 1.050701;

/** An ONNX activation operator and its attributes; undefined for another operator. Defaults are those of the standard. */
export function onnxActivation(type: string, attrs: JsonObject): ActivationNorm | undefined {
  switch (type) {
    case 'Relu':
      return { function: 'relu', maxValue: null, slope: 0, threshold: 0 };
    case 'LeakyRelu':
      return { function: 'leaky_relu', slope: numberOf(attrs, 'alpha', 0.01) };
    case 'ThresholdedRelu':
      return { function: 'threshold', threshold: numberOf(attrs, 'alpha', 1), value: 0 };
    case 'Elu':
      return { function: 'elu', alpha: numberOf(attrs, 'alpha', 1) };
    case 'Celu':
      return { function: 'celu', alpha: numberOf(attrs, 'alpha', 1) };
    case 'Gelu':
      return { function: 'gelu', approximate: attrs.get('approximate') === 'tanh' };
    // The standard's constants are adjustable; only the usual ones are SELU.
    case 'Selu':
      return Math.fround(numberOf(attrs, 'alpha', SELU_ALPHA)) !== Math.fround(SELU_ALPHA) ||
        Math.fround(numberOf(attrs, 'gamma', SELU_GAMMA)) !== Math.fround(SELU_GAMMA)
        ? {
            function: 'unknown',
            name: 'Selu',
            alpha: numberOrNull(attrs, 'alpha'),
            gamma: numberOrNull(attrs, 'gamma'),
          }
        : { function: 'selu' };
    case 'Mish':
      return { function: 'mish' };
    case 'Swish':
      return numberOf(attrs, 'alpha', 1) === 1 ? { function: 'silu' } : { function: 'unknown', name: 'Swish' };
    case 'Softplus':
      return { function: 'softplus', beta: 1, threshold: 20 };
    case 'Softsign':
      return { function: 'softsign' };
    case 'Tanh':
      return { function: 'tanh' };
    case 'Sigmoid':
      return { function: 'sigmoid' };
    case 'HardSigmoid':
      return {
        function: 'hard_sigmoid',
        slope:
          Math.fround(numberOf(attrs, 'alpha', 0.2)) === Math.fround(SIXTH) ? SIXTH : numberOf(attrs, 'alpha', 0.2),
        offset: numberOf(attrs, 'beta', 0.5),
      };
    case 'HardSwish':
      return { function: 'hard_silu' };
    case 'Shrink':
      return {
        function: numberOf(attrs, 'bias', 0) === 0 ? 'hard_shrink' : 'soft_shrink',
        threshold: numberOf(attrs, 'lambd', 0.5),
      };
    case 'Softmax':
      return { function: 'softmax', axis: numberOf(attrs, 'axis', -1) };
    case 'LogSoftmax':
      return { function: 'log_softmax', axis: numberOf(attrs, 'axis', -1) };
    default:
      return undefined;
  }
}

/** A Keras layer for an activation: its class and config; undefined where Keras has none. */
export function kerasActivationModule(norm: NormAttrs, name = ''): TwinModule | undefined {
  const number = (key: string, otherwise: number) => normNumber(norm, key) ?? otherwise;
  const layer = (type: string, args: NormAttrs): TwinModule => ({ name, type, args });
  const word = norm['function'];
  switch (word) {
    case 'relu':
      return layer('ReLU', {
        max_value: normNumber(norm, 'maxValue'),
        negative_slope: number('slope', 0),
        threshold: number('threshold', 0),
      });
    case 'leaky_relu':
      return layer('LeakyReLU', { negative_slope: number('slope', 0.01) });
    case 'elu':
      return layer('ELU', { alpha: number('alpha', 1) });
    case 'softmax':
    case 'log_softmax':
      if (norm['axis'] === null || norm['axis'] === undefined) return undefined;
      if (word === 'softmax') return layer('Softmax', { axis: norm['axis'] });
      return number('axis', -1) === -1 ? layer('Activation', { activation: word }) : undefined;
    case 'threshold':
      return number('value', 0) === 0 && number('threshold', 0) >= 0
        ? layer('ReLU', { max_value: null, negative_slope: 0, threshold: number('threshold', 0) })
        : undefined;
    case 'hard_sigmoid':
      return number('slope', SIXTH) === SIXTH && number('offset', 0.5) === 0.5
        ? layer('Activation', { activation: 'hard_sigmoid' })
        : undefined;
    case 'hard_tanh':
      if (number('min', -1) === 0)
        return layer('ReLU', { max_value: number('max', 1), negative_slope: 0, threshold: 0 });
      return number('min', -1) === -1 && number('max', 1) === 1
        ? layer('Activation', { activation: 'hard_tanh' })
        : undefined;
    case 'celu':
      return number('alpha', 1) === 1 ? layer('Activation', { activation: word }) : undefined;
    case 'gelu':
      return norm['approximate'] === true ? undefined : layer('Activation', { activation: word });
    case 'softplus':
      return number('beta', 1) === 1 ? layer('Activation', { activation: word }) : undefined;
    case 'hard_shrink':
    case 'soft_shrink':
      return number('threshold', 0.5) === 0.5 ? layer('Activation', { activation: word }) : undefined;
    case 'glu':
      return number('axis', -1) === -1 ? layer('Activation', { activation: word }) : undefined;
    default:
      return typeof word === 'string' && PLAIN.has(word) ? layer('Activation', { activation: word }) : undefined;
  }
}

/** The function named in an attribute of a layer ('activation', 'recurrentActivation'); 'unknown' where there is none. */
export function functionOf(norm: NormAttrs, name: string): string {
  const value = norm[name];
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) {
    const word = (value as NormAttrs)['function'];
    if (typeof word === 'string') return word;
  }
  return 'unknown';
}
