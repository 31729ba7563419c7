import type { JsonObject } from '../ir/json.ts';
import type { Dialect, Dim, NormAttrs, Shape } from '../ir/model.ts';
import { activationOf } from './activation-function.ts';
import {
  attributeOf,
  booleanOf,
  eraOf,
  normNumber,
  normText,
  numberOrNull,
  numbersOf,
  sampleElements,
  sizesAt,
  stringOf,
} from './attribute.ts';
import { type Family, permutationOf, type Twin, type TwinSource } from './family.ts';
import { adaptationOf, adaptationRefusal, kernelVariables, loraVariables, variable } from './quantisation.ts';
import { customModule, missing, shapeOf, source, twin, twinModule, twinTensor, weightOf } from './twin.ts';

const KERNEL = 'in out';
const WEIGHT = 'out in';

/**
 * Dense, Linear, Gemm: acts on the last axis.
 * Neutral: units, inFeatures (what the file states, else null), useBias (null: the weights tell), activation,
 * quantised, lora; for Gemm and MatMul also transposed (the weight is (out, in)).
 */
export const dense: Family = {
  kind: 'dense',
  types: {
    keras: ['Dense', 'TimeDistributedDense'],
    torch: ['Linear', 'LazyLinear', 'NonDynamicallyQuantizableLinear'],
    onnx: ['Gemm', 'MatMul'],
  },
  normalise(type: string, attrs: JsonObject, dialect: Dialect, version: string): NormAttrs {
    switch (dialect) {
      case 'keras':
        return {
          units: numberOrNull(attrs, ['units', 'output_dim']),
          inFeatures: numberOrNull(attrs, 'input_dim'),
          useBias: booleanOf(attrs, ['use_bias', 'bias'], true),
          activation: activationOf(attrs.get('activation'), eraOf(version)),
          ...adaptationOf(attrs, version),
        };
      case 'torch':
        return {
          units: numberOrNull(attrs, 'out_features'),
          inFeatures: numberOrNull(attrs, 'in_features'),
          useBias: attrs.has('bias') ? booleanOf(attrs, 'bias', true) : null,
          activation: { function: 'linear' },
        };
      case 'onnx':
        return {
          units: null,
          inFeatures: null,
          useBias: null,
          activation: { function: 'linear' },
          transposed: type === 'Gemm' && attrs.get('transB') === 1,
        };
    }
  },
  variables(norm, inputs) {
    const units = normNumber(norm, 'units');
    const size = sizesAt(inputs?.[0], [-1])?.[0] ?? normNumber(norm, 'inFeatures');
    const kernel = units === null || size === null ? null : [size, units];
    const bias = norm['useBias'] === false ? null : variable('bias', units === null ? null : [units], ['bias', 'b']);
    return [
      ...kernelVariables(
        norm,
        kernel,
        kernel === null ? null : [kernel[0] ?? 0, kernel[1] ?? 0],
        units === null ? null : [units],
        bias,
      ),
      ...loraVariables(norm, 'kernel', kernel),
    ];
  },
  outputs(norm, inputs) {
    const [input] = inputs;
    if (input === undefined || input.length === 0) return null;
    return [[...input.slice(0, -1), normNumber(norm, 'units') ?? '?']];
  },
  /** Output elements × input features. */
  macs(_norm, inputs, outputs) {
    const size = sizesAt(inputs[0], [-1])?.[0];
    const elements = sampleElements(outputs[0]);
    return size === undefined || elements === null ? null : elements * size;
  },
  toTorch(layer: TwinSource): Twin {
    const refusal = adaptationRefusal(layer.norm, roles(layer)) ?? missing(layer, 'kernel');
    if (refusal !== undefined) return refusal;
    const weight = twinTensor(layer, 'weight', {
      op: 'permute',
      of: source('kernel'),
      axes: permutationOf(KERNEL, WEIGHT),
    });
    const bias = weightOf(layer, 'bias') !== undefined;
    const [outFeatures = 0, inFeatures = 0] = weight.shape;
    return twin(
      [twinModule('Linear', { in_features: inFeatures, out_features: outFeatures, bias })],
      bias ? [weight, twinTensor(layer, 'bias', source('bias'))] : [weight],
    );
  },
  toKeras(layer: TwinSource): Twin {
    const refusal = missing(layer, 'weight');
    if (refusal !== undefined) return refusal;
    if (shapeOf(layer, 'weight').length !== 2) return { refused: 'its weight is not a matrix' };
    // A product of ONNX may hold its weight as Keras does.
    const kernel = twinTensor(
      layer,
      'kernel',
      layer.norm['transposed'] === false
        ? source('weight')
        : { op: 'permute', of: source('weight'), axes: permutationOf(WEIGHT, KERNEL) },
    );
    const bias = weightOf(layer, 'bias') !== undefined;
    return twin(
      [twinModule('Dense', { units: kernel.shape[1] ?? 0, use_bias: bias })],
      bias ? [kernel, twinTensor(layer, 'bias', source('bias'))] : [kernel],
    );
  },
};

function roles(layer: TwinSource): readonly string[] {
  return layer.weights.map((weight) => weight.role);
}

/**
 * EinsumDense. Neutral: equation, outputShape (without batch; null entries are dynamic), biasAxes (text or null),
 * activation, quantised, lora, asStated (true: Keras 3, whose output shape is the stated one; false: tf.keras, whose
 * output shape is that of the product itself).
 * Twin: Linear where the equation contracts the last input axis into the last output axis; else the custom module
 * EinsumDense {equation, kernel_shape, bias_shape}, which holds `weight` and `bias` in Keras' own layout.
 */
export const einsumDense: Family = {
  kind: 'einsum_dense',
  types: { keras: ['EinsumDense'] },
  normalise(_type, attrs, _dialect, version) {
    const told = attributeOf(attrs, 'output_shape');
    const items = typeof told === 'number' ? [told] : Array.isArray(told) ? told : (numbersOf(told) ?? []);
    const bias = stringOf(attrs, 'bias_axes', '');
    return {
      equation: stringOf(attrs, 'equation', ''),
      outputShape: items.map((size) => (typeof size === 'number' ? size : null)),
      biasAxes: bias === '' ? null : bias,
      activation: activationOf(attrs.get('activation'), eraOf(version)),
      asStated: eraOf(version) === 'keras3',
      ...adaptationOf(attrs, version),
    };
  },
  variables(norm, inputs) {
    const einsum = analyse(norm, inputs?.[0]);
    const kernel = einsum === null ? null : known(einsum.kernel);
    const bias = einsum === null ? null : known(einsum.bias);
    const biases = normText(norm, 'biasAxes') === null ? null : variable('bias', bias);
    const matrix = kernel === null || einsum === null ? null : matrixOf(kernel, einsum.contracted);
    return [
      ...kernelVariables(norm, kernel, matrix, einsum === null ? null : scaleShape(einsum), biases),
      ...loraVariables(norm, 'kernel', kernel),
    ];
  },
  outputs(norm, inputs) {
    const einsum = analyse(norm, inputs[0]);
    return einsum === null ? null : [einsum.output];
  },
  /** Output elements × contracted elements. */
  macs(norm, inputs, outputs) {
    const einsum = analyse(norm, inputs[0]);
    const elements = sampleElements(outputs[0]);
    const kernel = einsum === null ? null : known(einsum.kernel);
    if (einsum === null || elements === null || kernel === null) return null;
    return elements * matrixOf(kernel, einsum.contracted)[0];
  },
  toTorch(layer: TwinSource): Twin {
    const refusal = adaptationRefusal(layer.norm, roles(layer)) ?? missing(layer, 'kernel');
    if (refusal !== undefined) return refusal;
    const equation = normText(layer.norm, 'equation') ?? '';
    if (partsOf(layer.norm) === null) return { refused: `'${equation}' is no equation that Keras takes` };
    const input = layer.inputs?.[0];
    if (input !== undefined && analyse(layer.norm, input) === null) {
      return { refused: `'${equation}' does not fit its input or its output_shape` };
    }
    const bias = weightOf(layer, 'bias') !== undefined;
    const tensors = (weight: ReturnType<typeof twinTensor>) =>
      bias ? [weight, twinTensor(layer, 'bias', source('bias'))] : [weight];
    if (isLinear(layer)) {
      const weight = twinTensor(layer, 'weight', {
        op: 'permute',
        of: source('kernel'),
        axes: permutationOf(KERNEL, WEIGHT),
      });
      const [outFeatures = 0, inFeatures = 0] = weight.shape;
      return twin(
        [twinModule('Linear', { in_features: inFeatures, out_features: outFeatures, bias })],
        tensors(weight),
      );
    }
    const weight = twinTensor(layer, 'weight', source('kernel'));
    return twin(
      [
        customModule('EinsumDense', {
          equation,
          kernel_shape: weight.shape,
          bias_shape: bias ? shapeOf(layer, 'bias') : null,
        }),
      ],
      tensors(weight),
    );
  },
};

interface Einsum {
  readonly output: Shape;
  readonly kernel: readonly Dim[];
  /** null: no bias. */
  readonly bias: readonly Dim[] | null;
  /** Axes of the kernel that are summed over. */
  readonly contracted: readonly number[];
  readonly inputWords: string;
  readonly kernelWords: string;
  readonly outputWords: string;
  readonly elidedLast: boolean;
}

const EQUATION = /^(\.\.\.)?([a-zA-Z]+)(\.\.\.)?,([a-zA-Z]+)->(\.\.\.)?([a-zA-Z]+)(\.\.\.)?$/;

/** The parts of an equation that Keras would take; null for any other. */
function partsOf(norm: NormAttrs): RegExpExecArray | null {
  const match = EQUATION.exec((normText(norm, 'equation') ?? '').replaceAll(' ', ''));
  if (match === null) return null;
  const [, left, inputWords = '', right, kernelWords = '', leftOut, outputWords = '', rightOut] = match;
  if (left !== leftOut || right !== rightOut || (left !== undefined && right !== undefined)) return null;
  const isMade = [...outputWords].every((word) => inputWords.includes(word) || kernelWords.includes(word));
  const isTaken = [...kernelWords].every((word) => inputWords.includes(word) || outputWords.includes(word));
  return isMade && isTaken ? match : null;
}

/** Shapes that an equation gives, as keras `einsum_dense.py` (`_analyze_einsum_string`) computes them. */
function analyse(norm: NormAttrs, input: Shape | undefined): Einsum | null {
  const match = partsOf(norm);
  const told = norm['outputShape'];
  if (match === null || input === undefined || !Array.isArray(told)) return null;
  const [, left, inputWords = '', right, kernelWords = '', , outputWords = ''] = match;
  const elided = input.length - inputWords.length;
  if (elided < 0 || (elided > 0 && left === undefined && right === undefined)) return null;
  const output: Dim[] = [input[0] ?? null, ...told.map((size) => (typeof size === 'number' ? size : null))];
  // Keras inserts them one before the other and so states them in reverse; its summary says the same.
  if (left !== undefined) output.splice(1, 0, ...input.slice(1, Math.max(elided, 1)).reverse());
  else if (right !== undefined) output.push(...input.slice(input.length - elided));
  if (output.length !== outputWords.length + elided) return null;
  const offset = left === undefined ? 0 : elided;
  const inputAt = new Map([...inputWords].map((word, index) => [word, index + offset]));
  const outputAt = new Map([...outputWords].map((word, index) => [word, index + offset]));
  const kernel: Dim[] = [];
  const contracted: number[] = [];
  for (const [axis, word] of [...kernelWords].entries()) {
    const atOutput = outputAt.get(word);
    const atInput = inputAt.get(word);
    if (atOutput !== undefined) kernel.push(output[atOutput] ?? null);
    else if (atInput !== undefined) {
      kernel.push(input[atInput] ?? null);
      contracted.push(axis);
    } else return null;
  }
  return {
    output: norm['asStated'] === false ? productShape(input, output, outputAt, inputAt, offset) : output,
    kernel,
    bias: biasShape(normText(norm, 'biasAxes'), outputWords, outputAt, output, right === undefined ? 0 : elided),
    contracted,
    inputWords,
    kernelWords,
    outputWords,
    elidedLast: right !== undefined,
  };
}

/** The shape that einsum itself gives: sizes of the input where an axis comes from it, elided axes in their order. */
function productShape(
  input: Shape,
  stated: Shape,
  outputAt: ReadonlyMap<string, number>,
  inputAt: ReadonlyMap<string, number>,
  elidedFirst: number,
): Shape {
  const output = [...stated];
  for (let axis = 0; axis < elidedFirst; axis++) output[axis] = input[axis] ?? null;
  for (const [word, axis] of outputAt) {
    const from = inputAt.get(word);
    if (from !== undefined) output[axis] = input[from] ?? null;
  }
  return output;
}

/** From the first bias axis on, the axes that are named keep their size and the others (elided ones too) are 1. */
function biasShape(
  axes: string | null,
  outputWords: string,
  outputAt: ReadonlyMap<string, number>,
  output: Shape,
  elidedAfter: number,
): readonly Dim[] | null {
  if (axes === null) return null;
  const first = Math.min(...[...axes].map((word) => outputWords.indexOf(word)));
  if (first < 0) return null;
  const named = [...outputWords.slice(first)].map((word) =>
    axes.includes(word) ? (output[outputAt.get(word) ?? -1] ?? null) : 1,
  );
  return [...named, ...new Array<number>(elidedAfter).fill(1)];
}

function known(shape: readonly Dim[] | null): readonly number[] | null {
  return shape?.every((size) => typeof size === 'number') === true ? (shape as readonly number[]) : null;
}

function matrixOf(kernel: readonly number[], contracted: readonly number[]): readonly [number, number] {
  let rows = 1;
  let columns = 1;
  for (const [axis, size] of kernel.entries()) {
    if (contracted.includes(axis)) rows *= size;
    else columns *= size;
  }
  return [rows, columns];
}

/** An int8 kernel's scale lies along the output: the kernel's size on the axes that it produces, 1 on all others. */
function scaleShape(einsum: Einsum): readonly number[] | null {
  const kernel = known(einsum.kernel);
  if (kernel === null) return null;
  const produced = [...einsum.outputWords].map((word) => kernel[einsum.kernelWords.indexOf(word)] ?? 1);
  const elided = new Array<number>(einsum.output.length - produced.length).fill(1);
  return einsum.elidedLast ? [...produced, ...elided] : [...elided, ...produced];
}

/** Whether the equation is x·W on the last axis with a bias over it: '…ab,bc->…ac'. */
function isLinear(layer: TwinSource): boolean {
  const match = partsOf(layer.norm);
  if (match === null || match[3] !== undefined) return false;
  const [, , inputWords = '', , kernelWords = '', , outputWords = ''] = match;
  const [from, to] = kernelWords;
  return (
    kernelWords.length === 2 &&
    from === inputWords.at(-1) &&
    to === outputWords.at(-1) &&
    inputWords.slice(0, -1) === outputWords.slice(0, -1) &&
    to !== undefined &&
    !inputWords.includes(to) &&
    shapeOf(layer, 'bias').length <= 1
  );
}
