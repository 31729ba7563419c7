import type { NormAttrs } from '../ir/model.ts';
import {
  type ActivationNorm,
  activationModule,
  activationOf,
  activationOutputs,
  activationRefusal,
  kerasActivationLayer,
  kerasActivationModule,
  onnxActivation,
  torchActivation,
} from './activation-function.ts';
import { eraOf, sampleElements } from './attribute.ts';
import type { Family, Twin, TwinSource } from './family.ts';
import { twin } from './twin.ts';

/** Attributes: `function` and its constants, see activation-function.ts. */
const normalise: Family['normalise'] = (type, attrs, dialect, version) =>
  named(
    dialect === 'torch'
      ? torchActivation(type, attrs)
      : dialect === 'onnx'
        ? onnxActivation(type, attrs)
        : (kerasActivationLayer(type, attrs, eraOf(version)) ?? activationOf(type, eraOf(version))),
    type,
  );

function named(norm: ActivationNorm | undefined, type: string): NormAttrs {
  return norm ?? { function: 'unknown', name: type };
}

function toTorch(layer: TwinSource): Twin {
  const module = activationModule(layer.norm);
  return module === undefined ? { refused: activationRefusal(layer.norm) } : twin([module]);
}

function toKeras(layer: TwinSource): Twin {
  const module = kerasActivationModule(layer.norm);
  return module === undefined
    ? { refused: `${layer.type} with these constants has no layer in Keras` }
    : twin([module]);
}

export const activation: Family = {
  kind: 'activation',
  types: {
    keras: ['Activation', 'ReLU', 'LeakyReLU', 'ELU', 'ThresholdedReLU'],
    torch: [
      'ReLU',
      'ReLU6',
      'LeakyReLU',
      'RReLU',
      'ELU',
      'CELU',
      'GELU',
      'SELU',
      'SiLU',
      'Mish',
      'Softplus',
      'Softsign',
      'Tanh',
      'Sigmoid',
      'Hardsigmoid',
      'Hardswish',
      'Hardtanh',
      'Hardshrink',
      'Softshrink',
      'Tanhshrink',
      'LogSigmoid',
      'Threshold',
      'LogSoftmax',
      'GLU',
    ],
    onnx: [
      'Relu',
      'LeakyRelu',
      'ThresholdedRelu',
      'Elu',
      'Celu',
      'Gelu',
      'Selu',
      'Mish',
      'Swish',
      'Softplus',
      'Softsign',
      'Tanh',
      'Sigmoid',
      'HardSigmoid',
      'HardSwish',
      'Shrink',
      'LogSoftmax',
    ],
  },
  normalise,
  outputs: activationOutputs,
  // Element-wise: no multiply-accumulate is counted.
  macs: () => 0,
  toTorch,
  toKeras,
};

/** Softmax layers are a kind of their own, since their axis moves with the layout. */
export const softmax: Family = {
  kind: 'softmax',
  types: {
    keras: ['Softmax'],
    torch: ['Softmax', 'Softmax2d', 'Softmin'],
    onnx: ['Softmax'],
  },
  normalise,
  outputs: activationOutputs,
  macs: (_norm, inputs) => (sampleElements(inputs[0]) === null ? null : 0),
  toTorch,
  toKeras,
};
