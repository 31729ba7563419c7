import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { compileExpr } from '../../src/convert/moves.ts';
import type { JsonObject } from '../../src/ir/json.ts';
import type { Dialect, NormAttrs, Shape, Weight } from '../../src/ir/model.ts';
import { transposePlan } from '../../src/layers/conv-transpose.ts';
import { type Expr, invertPermutation, permutationOf, type Twin, type TwinSource } from '../../src/layers/family.ts';
import { operationOutputs } from '../../src/layers/operation.ts';
import { familyOfType } from '../../src/layers/registry.ts';
import { padsOf, samePad } from '../../src/layers/window.ts';
import { toJson, weight } from '../helpers/graph-model.ts';

function family(dialect: Dialect, type: string) {
  const found = familyOfType(dialect, type);
  if (found === undefined) throw new Error(`no family for ${type}`);
  return found;
}

function norm(type: string, config: object, version = '3.15.1', dialect: Dialect = 'keras', backend = 'tensorflow') {
  return family(dialect, type).normalise(type, toJson(config) as JsonObject, dialect, version, backend);
}

function source(type: string, attrs: NormAttrs, weights: readonly Weight[], inputs: readonly Shape[] | null = null) {
  const kind = (familyOfType('keras', type) ?? familyOfType('torch', type))?.kind ?? 'unknown';
  return { path: 'layer', kind, type, norm: attrs, weights, inputs, children: [] } satisfies TwinSource;
}

function accepted(made: Twin | undefined) {
  if (made === undefined || made.refused !== undefined) throw new Error(made?.refused ?? 'no twin');
  return made;
}

/** Where each element of the result comes from: its flat index in a source of this shape. */
function indices(expr: Expr, shape: readonly number[]): readonly number[] {
  switch (expr.op) {
    case 'source':
      return Array.from({ length: shape.reduce((product, size) => product * size, 1) }, (_, index) => index);
    case 'reshape':
      return indices(expr.of, shape);
    case 'permute':
    case 'flip': {
      const inner = indices(expr.of, shape);
      const from = shapeOf(expr.of, shape);
      const axes = expr.op === 'permute' ? expr.axes : [...from.keys()];
      const to = axes.map((axis) => from[axis] ?? 1);
      const steps = from.map((_, axis) => from.slice(axis + 1).reduce((product, size) => product * size, 1));
      const out: number[] = [];
      const walk = (axis: number, at: number): void => {
        if (axis === to.length) {
          out.push(inner[at] ?? -1);
          return;
        }
        const own = axes[axis] ?? 0;
        for (let k = 0; k < (to[axis] ?? 0); k++) {
          const place = expr.op === 'flip' && expr.axes.includes(own) ? (from[own] ?? 0) - 1 - k : k;
          walk(axis + 1, at + place * (steps[own] ?? 1));
        }
      };
      walk(0, 0);
      return out;
    }
    default:
      throw new Error(`not expected: ${expr.op}`);
  }
}

function shapeOf(expr: Expr, shape: readonly number[]): readonly number[] {
  if (expr.op === 'source') return shape;
  if (expr.op === 'reshape') return expr.shape;
  if (expr.op === 'flip') return shapeOf(expr.of, shape);
  if (expr.op === 'permute') {
    const from = shapeOf(expr.of, shape);
    return expr.axes.map((axis) => from[axis] ?? 1);
  }
  throw new Error(`not expected: ${expr.op}`);
}

const conv1 = { nb_filter: 4, nb_row: 3, nb_col: 2, border_mode: 'same', subsample: [2, 1], dim_ordering: 'th' };

describe('convolution', () => {
  test('Keras 1 words and Theano order', () => {
    const attrs = norm('Convolution2D', { ...conv1, bias: false, activation: 'relu' }, '1.2.2', 'keras', '');
    expect(attrs).toMatchObject({
      rank: 2,
      filters: 4,
      kernelSize: [3, 2],
      strides: [2, 1],
      padding: 'same',
      dataFormat: 'channels_first',
      useBias: false,
      kernelLayout: 'out in h w',
      flip: null,
      activation: { function: 'relu' },
    });
    const made = family('keras', 'Convolution2D');
    expect(made.outputs(attrs, [[null, 3, 9, 10]], new Map())).toEqual([[null, 4, 5, 10]]);
    expect(made.variables?.(attrs, [[null, 3, 9, 10]]).map((entry) => entry.shape)).toEqual([[4, 3, 3, 2]]);
    const twin = accepted(made.toTorch?.(source('Convolution2D', attrs, [weight('kernel', [4, 3, 3, 2])]), refuse));
    expect(twin.tensors[0]?.from).toEqual({ op: 'source', role: 'kernel' });
    expect(twin.diagnostics.map((entry) => entry.code)).toEqual(['ASSUMED']);
  });

  test('a kernel that Theano wrote is turned round on its spatial axes', () => {
    const attrs = norm('Conv2D', { filters: 2, kernel_size: [2, 2] }, '2.2.4', 'keras', 'theano');
    const made = family('keras', 'Conv2D');
    const twin = accepted(made.toTorch?.(source('Conv2D', attrs, [weight('kernel', [2, 2, 1, 2])]), refuse));
    // Keras element (h, w, 0, o) has index h·4 + w·2 + o; row 0 of the twin is o = 0 with h and w from the end.
    const from = twin.tensors[0]?.from;
    expect(from && indices(from, [2, 2, 1, 2])).toEqual([6, 4, 2, 0, 7, 5, 3, 1]);
    expect(twin.diagnostics).toEqual([]);
  });

  test('the three layouts that Keras 1 gave one-dimensional kernels', () => {
    const made = family('keras', 'Convolution1D');
    const config = { nb_filter: 5, filter_length: 3, border_mode: 'valid' };
    for (const [version, shape] of [
      ['1.1.0', [5, 2, 3, 1]],
      ['1.2.2', [3, 1, 2, 5]],
    ] as const) {
      const attrs = norm('Convolution1D', config, version, 'keras', 'tensorflow');
      expect(made.variables?.(attrs, [[null, 9, 2]])[0]?.shape).toEqual(shape);
      const twin = accepted(made.toTorch?.(source('Convolution1D', attrs, [weight('kernel', shape)]), refuse));
      expect(twin.tensors[0]?.shape).toEqual([5, 2, 3]);
    }
  });

  test('torch.nn arguments, with those left out at their defaults; a bare state_dict tells nothing', () => {
    const made = family('torch', 'Conv2d');
    const attrs = norm(
      'Conv2d',
      { in_channels: 4, out_channels: 6, kernel_size: 3, padding: 1, groups: 2 },
      '',
      'torch',
    );
    expect(made.outputs(attrs, [[null, 4, 9, 7]], new Map())).toEqual([[null, 6, 9, 7]]);
    expect(attrs).toMatchObject({
      strides: [1, 1],
      padding: [
        [1, 1],
        [1, 1],
      ],
      groups: 2,
    });
    const bare = norm('Conv2d', {}, '', 'torch');
    expect(bare).toMatchObject({ filters: null, kernelSize: null, strides: null, padding: null, groups: null });
    const twin = accepted(made.toKeras?.(source('Conv2d', attrs, [weight('weight', [6, 2, 3, 3])])));
    expect(twin.tensors.map((tensor) => [tensor.name, tensor.shape])).toEqual([['kernel', [3, 3, 2, 6]]]);
    expect(twin.modules[0]?.args).toMatchObject({ padding: 'same', groups: 2, use_bias: false });
  });

  test('ONNX pads: all begins, then all ends', () => {
    const attrs = norm('Conv', { kernel_shape: [3, 3], pads: [0, 1, 2, 1], strides: [2, 2] }, '', 'onnx');
    expect(attrs['padding']).toEqual([
      [0, 2],
      [1, 1],
    ]);
    expect(family('onnx', 'Conv').outputs(attrs, [[1, 3, 8, 8]], new Map())).toEqual([[1, '?', 4, 4]]);
  });

  test('padding of the twin: what holds for every input size, else 0', () => {
    const padding = (config: object) => {
      const attrs = norm('Conv2D', { filters: 1, padding: 'same', ...config });
      const [k = 1, j = 1] = (attrs['kernelSize'] as number[]) ?? [];
      const made = source('Conv2D', attrs, [weight('kernel', [k, j, 1, 1])]);
      return accepted(family('keras', 'Conv2D').toTorch?.(made, refuse)).modules[0]?.args['padding'];
    };
    expect(padding({ kernel_size: 3 })).toEqual([1, 1]);
    expect(padding({ kernel_size: [5, 3], dilation_rate: 2 })).toEqual([4, 2]);
    expect(padding({ kernel_size: [3, 2] })).toBe('same');
    expect(padding({ kernel_size: 3, strides: 2 })).toEqual([0, 0]);
    expect(padding({ kernel_size: 1, strides: 2 })).toEqual([0, 0]);
    expect(padding({ kernel_size: 3, padding: 'valid' })).toEqual([0, 0]);
  });

  test('what same adds: k 3, stride 2 on an even size adds nothing before and one after', () => {
    expect(samePad(8, 3, 2, 1)).toEqual([0, 1]);
    expect(samePad(7, 3, 2, 1)).toEqual([1, 1]);
    expect(samePad(6, 1, 3, 1)).toEqual([0, 0]);
    const attrs = norm('Conv2D', { filters: 1, kernel_size: 3, strides: 2, padding: 'same' });
    expect(padsOf(attrs, [null, 8, null, 3])).toBeNull();
    expect(padsOf(attrs, [null, 8, 7, 3])).toEqual([
      [0, 1],
      [1, 1],
    ]);
    const causal = norm('Conv1D', { filters: 1, kernel_size: 3, dilation_rate: 2, padding: 'causal' });
    expect(padsOf(causal, null)).toEqual([[4, 0]]);
  });

  test('a window that does not fit gives no shape', () => {
    const attrs = norm('Conv2D', { filters: 1, kernel_size: 9 });
    expect(family('keras', 'Conv2D').outputs(attrs, [[null, 8, 8, 3]], new Map())).toBeNull();
  });
});

describe('transposed convolution', () => {
  const plan = (config: object) => transposePlan(norm('Conv1DTranspose', { filters: 1, ...config }), null);

  // The table of documented cases: natural length (n − 1)·s + k, wanted length, and where the surplus goes.
  test.each([
    [
      { kernel_size: 3, strides: 2, padding: 'valid' },
      { padding: [0], outputPadding: [0], crop: [[0, 0]] },
    ],
    [
      { kernel_size: 2, strides: 3, padding: 'valid' },
      { padding: [0], outputPadding: [1], crop: [[0, 0]] },
    ],
    [
      { kernel_size: 4, strides: 2, padding: 'same' },
      { padding: [1], outputPadding: [0], crop: [[0, 0]] },
    ],
    [
      { kernel_size: 3, strides: 2, padding: 'same' },
      { padding: [0], outputPadding: [0], crop: [[0, 1]] },
    ],
    [
      { kernel_size: 2, strides: 3, padding: 'same' },
      { padding: [0], outputPadding: [1], crop: [[0, 0]] },
    ],
    [
      { kernel_size: 3, strides: 2, padding: 'same', output_padding: 0 },
      { padding: [1], outputPadding: [0], crop: [[0, 0]] },
    ],
    [
      { kernel_size: 3, strides: 2, padding: 'same', output_padding: 1 },
      { padding: [0], outputPadding: [0], crop: [[0, 1]] },
    ],
    [
      { kernel_size: 3, strides: 2, padding: 'valid', output_padding: 1 },
      { padding: [0], outputPadding: [1], crop: [[0, 0]] },
    ],
  ])('%j', (config, wanted) => {
    expect(plan(config)).toEqual(wanted);
    expect(norm('Conv1DTranspose', { filters: 1, ...config })['crop']).toEqual(wanted.crop);
  });

  test('Keras 1 states its output, batch axis included', () => {
    const config = { ...conv1, nb_col: 3, subsample: [2, 2], dim_ordering: 'tf', output_shape: [null, 13, 14, 4] };
    const attrs = norm('Deconvolution2D', config, '1.2.2');
    const made = family('keras', 'Deconvolution2D');
    expect(made.outputs(attrs, [[null, 7, 7, 3]], new Map())).toEqual([[null, 13, 14, 4]]);
    expect(transposePlan(attrs, null)).toBeNull();
    expect(transposePlan(attrs, [null, 7, 7, 3])).toEqual({
      padding: [1, 0],
      outputPadding: [0, 0],
      crop: [
        [0, 0],
        [0, 1],
      ],
    });
  });

  test('groups have no counterpart in Keras', () => {
    const attrs = norm('ConvTranspose2d', { kernel_size: 2, groups: 2 }, '', 'torch');
    const made = family('torch', 'ConvTranspose2d').toKeras?.(
      source('ConvTranspose2d', attrs, [weight('weight', [4, 2, 2, 2])]),
    );
    expect(made?.refused).toContain('groups');
  });
});

describe('depthwise and separable', () => {
  test('channel c·mult + m of the twin is channel c, multiple m of Keras', () => {
    const attrs = norm('DepthwiseConv1D', { kernel_size: 1, depth_multiplier: 2 });
    const made = source('DepthwiseConv1D', attrs, [weight('kernel', [1, 3, 2])]);
    const twin = accepted(family('keras', 'DepthwiseConv1D').toTorch?.(made, refuse));
    expect(twin.tensors[0]?.shape).toEqual([6, 1, 1]);
    const from = twin.tensors[0]?.from;
    expect(from && indices(from, [1, 3, 2])).toEqual([0, 1, 2, 3, 4, 5]);
    expect(twin.modules[0]?.args).toMatchObject({ in_channels: 3, out_channels: 6, groups: 3, bias: false });
  });

  test('a separable convolution is two modules, the bias in the second', () => {
    const attrs = norm('SeparableConv2D', { filters: 5, kernel_size: 3, strides: 2, padding: 'valid' });
    const weights = [
      weight('depthwise_kernel', [3, 3, 2, 1]),
      weight('pointwise_kernel', [1, 1, 2, 5]),
      weight('bias', [5]),
    ];
    const twin = accepted(
      family('keras', 'SeparableConv2D').toTorch?.(source('SeparableConv2D', attrs, weights), refuse),
    );
    expect(twin.tensors.map((tensor) => [tensor.name, tensor.shape])).toEqual([
      ['depthwise.weight', [2, 1, 3, 3]],
      ['pointwise.weight', [5, 2, 1, 1]],
      ['pointwise.bias', [5]],
    ]);
    const made = family('keras', 'SeparableConv2D');
    const outputs = made.outputs(attrs, [[null, 9, 9, 2]], new Map());
    // 16 positions × 2 channels × 9 + 16 × 5 outputs × 2 channels
    expect(made.macs?.(attrs, [[null, 9, 9, 2]], outputs ?? [])).toBe(288 + 160);
  });
});

describe('locally connected', () => {
  test('columns as unfold gives them: channels first, then the window', () => {
    const attrs = norm('LocallyConnected1D', { filters: 1, kernel_size: [2] }, '2.15.0');
    const input: Shape = [null, 3, 2];
    const made = family('keras', 'LocallyConnected1D');
    expect(made.variables?.(attrs, [input]).map((entry) => entry.shape)).toEqual([
      [2, 4, 1],
      [2, 1],
    ]);
    const weights = [weight('kernel', [2, 4, 1]), weight('bias', [2, 1])];
    const twin = accepted(made.toTorch?.(source('LocallyConnected1D', attrs, weights, [input]), refuse));
    const from = twin.tensors[0]?.from;
    expect(from && indices(from, [2, 4, 1])).toEqual([0, 2, 1, 3, 4, 6, 5, 7]);
    // Keras rereads a channels_first bias of (2 places, 3 filters) as (3, 2): filter f at place p is element 2f + p.
    const first = norm('LocallyConnected1D', { filters: 3, kernel_size: [2], data_format: 'channels_first' }, '2.15.0');
    const wide = [weight('kernel', [2, 4, 3]), weight('bias', [2, 3])];
    const turned = accepted(made.toTorch?.(source('LocallyConnected1D', first, wide, [[null, 2, 3]]), refuse));
    const bias = turned.tensors[1]?.from;
    expect(bias && indices(bias, [2, 3])).toEqual([0, 2, 4, 1, 3, 5]);
    const other = norm('LocallyConnected1D', { filters: 1, kernel_size: [2], implementation: 2 }, '2.15.0');
    expect(made.toTorch?.(source('LocallyConnected1D', other, weights, [input]), refuse).refused).toBeDefined();
  });
});

describe('dense and embedding', () => {
  test('Keras 1 and PyTorch words', () => {
    expect(norm('Dense', { output_dim: 3, input_dim: 4, bias: false }, '1.2.2')).toMatchObject({
      units: 3,
      inFeatures: 4,
      useBias: false,
    });
    expect(norm('Linear', { in_features: 4, out_features: 3 }, '', 'torch')).toMatchObject({ units: 3, useBias: null });
    const made = family('torch', 'Linear').toKeras?.(
      source('Linear', norm('Linear', {}, '', 'torch'), [weight('weight', [3, 4]), weight('bias', [3])]),
    );
    expect(accepted(made).tensors.map((tensor) => [tensor.name, tensor.shape])).toEqual([
      ['kernel', [4, 3]],
      ['bias', [3]],
    ]);
  });

  test('an equation on the last axis is Linear, any other keeps its own layout', () => {
    const made = family('keras', 'EinsumDense');
    const linear = norm('EinsumDense', { equation: '...x,xy->...y', output_shape: 5, bias_axes: 'y' });
    const twin = (attrs: NormAttrs, shape: readonly number[]) =>
      accepted(made.toTorch?.(source('EinsumDense', attrs, [weight('kernel', shape)]), refuse));
    expect(twin(linear, [6, 5]).tensors[0]?.shape).toEqual([5, 6]);
    const heads = norm('EinsumDense', { equation: 'abc,cde->abde', output_shape: [null, 2, 3], bias_axes: 'de' });
    expect(twin(heads, [8, 2, 3]).modules[0]).toMatchObject({ type: 'EinsumDense', custom: true });
    // Keras 3 shows what the config states, tf.keras what the product has.
    expect(made.outputs(heads, [[null, 10, 8]], new Map())).toEqual([[null, null, 2, 3]]);
    const older = norm('EinsumDense', { equation: 'abc,cde->abde', output_shape: [null, 2, 3] }, '2.15.0');
    expect(made.outputs(older, [[null, 10, 8]], new Map())).toEqual([[null, 10, 2, 3]]);
  });

  test('quantised weights and LoRA matrices that stand apart are refused', () => {
    const made = family('keras', 'Dense');
    const int8 = norm('Dense', { units: 3, dtype: 'int8_from_float32' });
    expect(made.toTorch?.(source('Dense', int8, [weight('kernel', [4, 3])]), refuse).refused).toContain('int8');
    const lora = norm('Dense', { units: 3, lora_rank: 2 });
    const weights = [weight('kernel', [4, 3]), weight('lora_kernel_a', [4, 2]), weight('lora_kernel_b', [2, 3])];
    expect(made.toTorch?.(source('Dense', lora, weights), refuse).refused).toContain('LoRA');
    expect(accepted(made.toTorch?.(source('Dense', lora, weights.slice(0, 1)), refuse)).tensors).toHaveLength(1);
    expect(made.variables?.(lora, [[null, 4]]).map((entry) => [entry.role, entry.shape, entry.legacyOnly])).toEqual([
      ['kernel', [4, 3], undefined],
      ['bias', [3], undefined],
      ['lora_kernel_a', [4, 2], true],
      ['lora_kernel_b', [2, 3], true],
    ]);
  });
});

describe('shapes and spatial layers of older files', () => {
  const shape = (type: string, config: object, input: Shape, version = '3.15.1', dialect: Dialect = 'keras') =>
    family(dialect, type).outputs(norm(type, config, version, dialect), [input], new Map());

  test.each([
    ['ZeroPadding2D', { padding: [1, 2], dim_ordering: 'th' }, [null, 3, 8, 8], [null, 3, 10, 12]],
    ['ZeroPadding2D', { padding: { top_pad: 1, left_pad: 2 }, dim_ordering: 'tf' }, [null, 8, 8, 3], [null, 9, 10, 3]],
    ['MaxPooling1D', { pool_length: 2, stride: 1, border_mode: 'same' }, [null, 9, 3], [null, 9, 3]],
    ['MaxPooling2D', { pool_size: [2, 2], dim_ordering: 'th' }, [null, 3, 9, 8], [null, 3, 4, 4]],
    ['UpSampling1D', { length: 3 }, [null, 4, 2], [null, 12, 2]],
    ['Reshape', { target_shape: [-1, 2] }, [null, 4, 3], [null, 6, 2]],
  ] as const)('Keras 1 %s %j', (type, config, input, output) => {
    expect(shape(type, config, input, '1.2.2')).toEqual([output]);
  });

  test('PyTorch and ONNX', () => {
    const pool = { kernel_size: 3, stride: 2, padding: 1, ceil_mode: true };
    expect(shape('MaxPool2d', pool, [1, 2, 8, 7], '', 'torch')).toEqual([[1, 2, 5, 4]]);
    expect(shape('ZeroPad2d', { padding: [1, 2, 3, 4] }, [1, 2, 5, 5], '', 'torch')).toEqual([[1, 2, 12, 8]]);
    expect(shape('Flatten', { start_dim: 1, end_dim: 2 }, [1, 2, 3, 4], '', 'torch')).toEqual([[1, 6, 4]]);
    expect(shape('Flatten', { axis: 2 }, [1, 2, 3, 4], '', 'onnx')).toEqual([[2, 12]]);
    expect(shape('Transpose', { perm: [0, 2, 1] }, [1, 2, 3], '', 'onnx')).toEqual([[1, 3, 2]]);
  });

  test('a dynamic axis stays dynamic, an unknown one unknown', () => {
    expect(shape('Flatten', {}, [null, null, 3])).toEqual([[null, null]]);
    expect(shape('Flatten', {}, [null, '?', 3])).toEqual([[null, '?']]);
    expect(shape('Reshape', { target_shape: [4, 3] }, [null, 11])).toBeNull();
  });
});

describe('operations', () => {
  test.each([
    ['add', [[null, 4, 1], [3]], {}, [null, 4, 3]],
    ['multiply', [[null, 4], { constant: 2 }], {}, [null, 4]],
    [
      'concatenate',
      [
        [null, 4],
        [null, 5],
      ],
      { axis: -1 },
      [null, 9],
    ],
    [
      'stack',
      [
        [null, 4],
        [null, 4],
      ],
      { axis: 1 },
      [null, 2, 4],
    ],
    ['transpose', [[2, 3, 4]], { perm: [0, 2, 1] }, [2, 4, 3]],
    [
      'matmul',
      [
        [null, 2, 3],
        [null, 3, 5],
      ],
      {},
      [null, 2, 5],
    ],
    ['reducemean', [[null, 4, 5, 6]], { axis: [1, 2], keepdims: true }, [null, 1, 1, 6]],
    ['squeeze', [[null, 1, 4]], { axis: 1 }, [null, 4]],
    [
      'pad',
      [
        [null, 4],
        {
          constant: [
            [0, 0],
            [1, 2],
          ],
        },
      ],
      {},
      [null, 7],
    ],
    ['onehot', [[null, 3]], { depth: 7 }, [null, 3, 7]],
    ['cast', [[null, 3]], { dtype: 'float16' }, [null, 3]],
    [
      'getitem',
      [[null, 8]],
      {
        slice_spec: [
          { start: null, stop: null, step: null },
          { start: -3, stop: null, step: 2 },
        ],
      },
      [null, 2],
    ],
    ['depthtospace', [[null, 2, 3, 8]], { block_size: 2 }, [null, 4, 6, 2]],
    ['einsum', [{ constant: 'ab,bc->ac' }, [null, 3], [3, 5]], {}, [null, 5]],
  ] as const)('%s', (op, inputs, attrs, output) => {
    const outputs = operationOutputs(op, inputs as Parameters<typeof operationOutputs>[1], toJson(attrs) as JsonObject);
    expect(outputs).toEqual([output]);
  });

  test('unknown operations and shapes that do not fit', () => {
    expect(operationOutputs('fft', [[null, 4]])).toBeNull();
    expect(
      operationOutputs('add', [
        [null, 4],
        [null, 5],
      ]),
    ).toBeNull();
    expect(operationOutputs('split', [[null, 6]], toJson({ num_or_size_splits: 3, axis: 1 }) as JsonObject)).toEqual(
      new Array(3).fill([null, 2]),
    );
  });
});

test('a permutation and its inverse give identity, and axis words invert themselves', () => {
  const words = fc.uniqueArray(fc.constantFrom('h', 'w', 'd', 'in', 'out', 'mult', 'place'), { minLength: 1 });
  fc.assert(
    fc.property(
      words.chain((from) => fc.tuple(fc.constant(from), fc.shuffledSubarray(from, { minLength: from.length }))),
      ([from, to]) => {
        const axes = permutationOf(from.join(' '), to.join(' '));
        expect(invertPermutation(axes)).toEqual(permutationOf(to.join(' '), from.join(' ')));
        expect(invertPermutation(invertPermutation(axes))).toEqual(axes);
        expect(axes.map((axis) => from[axis])).toEqual(to);
      },
    ),
  );
  expect(permutationOf('h w in out', 'out in h w')).toEqual([3, 2, 0, 1]);
});

test('the tensors of every twin compile into moves', () => {
  const kernel = weight('kernel', [3, 3, 2, 4]);
  const attrs = norm('Conv2D', { filters: 4, kernel_size: 3 }, '2.2.4', 'keras', 'theano');
  const twin = accepted(family('keras', 'Conv2D').toTorch?.(source('Conv2D', attrs, [kernel]), refuse));
  const from = twin.tensors[0]?.from;
  expect(from && compileExpr(from, () => kernel.tensor).shape).toEqual([4, 2, 3, 3]);
});

function refuse(): never {
  throw new Error('no children here');
}
