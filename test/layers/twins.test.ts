import { describe, expect, test } from 'vitest';
import type { DType } from '../../src/ir/dtype.ts';
import type { Json } from '../../src/ir/json.ts';
import type { Dialect, Shape, Tensor, Weight } from '../../src/ir/model.ts';
import type { Expr, Twin, TwinSource } from '../../src/layers/family.ts';
import { familyOfType, twinOf } from '../../src/layers/registry.ts';

/** A small dense array: enough to evaluate expressions by hand. */
interface Grid {
  readonly shape: readonly number[];
  readonly values: readonly number[];
}

function size(shape: readonly number[]): number {
  return shape.reduce((product, axis) => product * axis, 1);
}

function at(grid: Grid, place: readonly number[]): number {
  return grid.values[place.reduce((index, axis, level) => index * (grid.shape[level] ?? 1) + axis, 0)] ?? Number.NaN;
}

function build(shape: readonly number[], value: (place: readonly number[]) => number): Grid {
  const values = Array.from({ length: size(shape) }, (_, index) => {
    const place: number[] = [];
    let rest = index;
    for (const axis of [...shape].reverse()) {
      place.unshift(rest % axis);
      rest = Math.floor(rest / axis);
    }
    return value(place);
  });
  return { shape, values };
}

function evaluate(expr: Expr, source: (role: string, child: readonly number[]) => Grid): Grid {
  switch (expr.op) {
    case 'source':
      return source(expr.role, expr.child ?? []);
    case 'fill':
      return build(expr.shape, () => expr.value);
    case 'reshape':
      return { shape: expr.shape, values: evaluate(expr.of, source).values };
    case 'permute': {
      const inner = evaluate(expr.of, source);
      const shape = expr.axes.map((axis) => inner.shape[axis] ?? 0);
      return build(shape, (place) => {
        const old = new Array<number>(place.length).fill(0);
        for (const [index, axis] of expr.axes.entries()) old[axis] = place[index] ?? 0;
        return at(inner, old);
      });
    }
    case 'slice': {
      const inner = evaluate(expr.of, source);
      const shape = inner.shape.map((axis, index) => (index === expr.axis ? expr.stop - expr.start : axis));
      return build(shape, (place) =>
        at(
          inner,
          place.map((index, axis) => (axis === expr.axis ? index + expr.start : index)),
        ),
      );
    }
    case 'concat': {
      const parts = expr.of.map((part) => evaluate(part, source));
      const along = parts.reduce((sum, part) => sum + (part.shape[expr.axis] ?? 0), 0);
      const shape = (parts[0]?.shape ?? []).map((axis, index) => (index === expr.axis ? along : axis));
      return build(shape, (place) => {
        let index = place[expr.axis] ?? 0;
        for (const part of parts) {
          const length = part.shape[expr.axis] ?? 0;
          if (index < length)
            return at(
              part,
              place.map((old, axis) => (axis === expr.axis ? index : old)),
            );
          index -= length;
        }
        return Number.NaN;
      });
    }
    case 'flip':
      throw new Error('not used here');
    case 'compute': {
      const parts = expr.of.map((part) => evaluate(part, source));
      const first = parts[0] ?? { shape: [], values: [] };
      return {
        shape: first.shape,
        values: first.values.map((value, index) =>
          expr.name === 'variance_from_std'
            ? (value + (expr.args['epsilon'] ?? 0)) ** 2 - (expr.args['epsilon'] ?? 0)
            : value + (parts[1]?.values[index] ?? 0),
        ),
      };
    }
  }
}

type Arrays = Readonly<Record<string, Grid>>;

function weight(role: string, shape: readonly number[], dtype: DType = 'float32'): Weight {
  const tensor = { name: role, dtype, shape } as unknown as Tensor;
  return { role, class: 'weight', isParameter: null, trainable: true, tensor };
}

function layerOf(
  type: string,
  attrs: Readonly<Record<string, unknown>>,
  arrays: Arrays,
  options: {
    readonly inputs?: readonly Shape[];
    readonly version?: string;
    readonly dialect?: Dialect;
    readonly backend?: string;
    readonly children?: readonly TwinSource[];
  } = {},
): TwinSource {
  const family = familyOfType(options.dialect ?? 'keras', type);
  if (family === undefined) throw new Error(`no family for ${type}`);
  const map = new Map(Object.entries(attrs)) as ReadonlyMap<string, Json>;
  return {
    path: 'layer',
    kind: family.kind,
    type,
    norm: family.normalise(type, map, options.dialect ?? 'keras', options.version ?? '3.15.1', options.backend),
    weights: Object.entries(arrays).map(([role, grid]) => weight(role, grid.shape)),
    inputs: options.inputs ?? null,
    children: options.children ?? [],
  };
}

function accepted(twin: Twin): Twin & { readonly refused?: undefined } {
  if (twin.refused !== undefined) throw new Error(twin.refused);
  return twin;
}

function valuesOf(twin: Twin, arrays: Arrays, children: readonly Arrays[] = []): Readonly<Record<string, Grid>> {
  return Object.fromEntries(
    accepted(twin).tensors.map((tensor) => {
      const grid = evaluate(tensor.from, (role, child) => {
        const owner = child.length === 0 ? arrays : (children[child[0] ?? 0] ?? {});
        return owner[role] ?? { shape: [], values: [] };
      });
      expect(grid.shape).toEqual(tensor.shape);
      return [tensor.name, grid];
    }),
  );
}

const vector = (...values: readonly number[]): Grid => ({ shape: [values.length], values });
const matrix = (rows: number, columns: number, start = 0): Grid =>
  build([rows, columns], ([row = 0, column = 0]) => start + row * 10 + column);
const scalar = (value: number): Grid => ({ shape: [], values: [value] });

const FOUR: Arrays = {
  gamma: vector(1, 2),
  beta: vector(3, 4),
  moving_mean: vector(5, 6),
  moving_variance: vector(7, 8),
};

describe('BatchNormalization to PyTorch', () => {
  test('all four vectors, and a counter of zero', () => {
    const twin = accepted(
      twinOf(layerOf('BatchNormalization', { momentum: 0.15 }, FOUR, { inputs: [[null, 8, 8, 2]] })),
    );
    expect(twin.modules).toEqual([
      {
        name: '',
        type: 'BatchNorm2d',
        args: { num_features: 2, eps: 0.001, momentum: 0.85, affine: true, track_running_stats: true },
      },
    ]);
    expect(valuesOf(twin, FOUR)).toEqual({
      weight: vector(1, 2),
      bias: vector(3, 4),
      running_mean: vector(5, 6),
      running_var: vector(7, 8),
      num_batches_tracked: scalar(0),
    });
    expect(twin.tensors.map((tensor) => [tensor.name, tensor.isParameter, tensor.trainable, tensor.dtype])).toEqual([
      ['weight', true, true, 'float32'],
      ['bias', true, true, 'float32'],
      ['running_mean', false, false, 'float32'],
      ['running_var', false, false, 'float32'],
      ['num_batches_tracked', false, false, 'int64'],
    ]);
  });

  test.each([
    [2, 'BatchNorm1d'],
    [3, 'BatchNorm1d'],
    [4, 'BatchNorm2d'],
    [5, 'BatchNorm3d'],
    [6, 'BatchNormNd'],
  ])('rank %i is %s', (rank, type) => {
    const shape: Shape = [null, ...new Array<number>(rank - 2).fill(4), 2];
    expect(accepted(twinOf(layerOf('BatchNormalization', {}, FOUR, { inputs: [shape] }))).modules[0]?.type).toBe(type);
  });

  test('gamma that is not there is ones and not trained', () => {
    const { gamma: _, ...rest } = FOUR;
    const twin = accepted(twinOf(layerOf('BatchNormalization', { scale: false }, rest, { inputs: [[null, 2]] })));
    expect(valuesOf(twin, rest)['weight']).toEqual(vector(1, 1));
    expect(twin.tensors.find((tensor) => tensor.name === 'weight')?.trainable).toBe(false);
    expect(twin.tensors.find((tensor) => tensor.name === 'bias')?.trainable).toBe(true);
    expect(twin.diagnostics.map((entry) => entry.code)).toEqual(['FILLED']);
  });

  test('beta that is not there is zeros', () => {
    const { beta: _, ...rest } = FOUR;
    const twin = twinOf(layerOf('BatchNormalization', { center: false }, rest, { inputs: [[null, 2]] }));
    expect(valuesOf(twin, rest)['bias']).toEqual(vector(0, 0));
  });

  test('without both there is nothing to fill', () => {
    const rest = { moving_mean: vector(5, 6), moving_variance: vector(7, 8) };
    const twin = accepted(
      twinOf(layerOf('BatchNormalization', { scale: false, center: false }, rest, { inputs: [[null, 2]] })),
    );
    expect(twin.modules[0]?.args['affine']).toBe(false);
    expect(twin.tensors.map((tensor) => tensor.name)).toEqual(['running_mean', 'running_var', 'num_batches_tracked']);
  });

  test('a frozen layer and a momentum outside 0 to 1 are mentioned', () => {
    const attrs = { trainable: false, momentum: 1.5 };
    const twin = accepted(twinOf(layerOf('BatchNormalization', attrs, FOUR, { inputs: [[null, 2]] })));
    expect(twin.modules[0]?.args['momentum']).toBe(-0.5);
    expect(twin.diagnostics.map((entry) => entry.code)).toEqual(['TRAINING_DIFFERS', 'ASSUMED']);
  });

  test('renorm: three arrays are dropped', () => {
    const arrays = { ...FOUR, moving_stddev: vector(1, 1), renorm_mean: vector(1, 1), renorm_stddev: vector(1, 1) };
    const twin = accepted(twinOf(layerOf('BatchNormalization', { renorm: true }, arrays, { inputs: [[null, 2]] })));
    expect(twin.tensors).toHaveLength(5);
    expect(twin.diagnostics.map((entry) => entry.code)).toEqual(['DROPPED', 'DROPPED', 'DROPPED', 'TRAINING_DIFFERS']);
  });

  test('a virtual batch: shapes with ones are squeezed', () => {
    const arrays = Object.fromEntries(
      Object.entries(FOUR).map(([role, grid]) => [role, { ...grid, shape: [1, 1, 2] }]),
    );
    const layer = layerOf('BatchNormalization', { virtual_batch_size: 4, axis: [2] }, arrays, {
      inputs: [[null, 2]],
      version: '2.15.0',
    });
    expect(layer.norm['axis']).toBe(1);
    expect(valuesOf(twinOf(layer), arrays)['running_var']).toEqual(vector(7, 8));
  });

  test.each([
    [{ mode: 1 }, '1.2.2', /mode=1/],
    [{ mode: 2 }, '1.2.2', /mode=2/],
    [{ axis: [1, 2] }, '2.15.0', /several axes/],
    [{ axis: 0 }, '3.15.1', /axis=0/],
    [{ mode: 0 }, '1.0.6', /1\.0\.6/],
  ])('%o of %s is refused', (attrs, version, reason) => {
    const twin = twinOf(layerOf('BatchNormalization', attrs, FOUR, { version, inputs: [[null, 4, 2]] }));
    expect(twin.refused).toMatch(reason);
  });

  // s = 3, e = 1e-6 as Keras 1.0.5 had it: (s + e)² − e.
  test('Keras 1 up to 1.0.5 kept a standard deviation', () => {
    const arrays = { ...FOUR, moving_variance: vector(3, 4) };
    const twin = twinOf(layerOf('BatchNormalization', { mode: 0 }, arrays, { version: '1.0.5', inputs: [[null, 2]] }));
    expect(valuesOf(twin, arrays)['running_var']?.values).toEqual([(3 + 1e-6) ** 2 - 1e-6, (4 + 1e-6) ** 2 - 1e-6]);
    expect(accepted(twin).modules[0]?.args).toEqual({
      num_features: 2,
      eps: 1e-6,
      momentum: 0.1,
      affine: true,
      track_running_stats: true,
    });
  });

  test.each([
    ['1.0.6', 'theano', true],
    ['1.0.6', 'tensorflow', false],
    ['1.0.7', '', false],
    ['1.2.2', '', false],
  ])('Keras %s with backend "%s": deviation %s', (version, backend, deviates) => {
    const twin = twinOf(layerOf('BatchNormalization', { mode: 0 }, FOUR, { version, backend, inputs: [[null, 2]] }));
    const variance = accepted(twin).tensors.find((tensor) => tensor.name === 'running_var');
    expect(variance?.from.op === 'compute').toBe(deviates);
  });

  test.each([
    ['1.0.5', 1e-6, 0.9],
    ['1.0.7', 1e-6, 0.99],
    ['1.1.2', 1e-5, 0.99],
    ['1.2.2', 1e-3, 0.99],
    ['2.2.4', 1e-3, 0.99],
    ['3.15.1', 1e-3, 0.99],
  ])('defaults of Keras %s', (version, epsilon, momentum) => {
    const { norm } = layerOf('BatchNormalization', {}, FOUR, { version });
    expect([norm['epsilon'], norm['momentum']]).toEqual([epsilon, momentum]);
  });
});

describe('BatchNorm to Keras', () => {
  const arrays: Arrays = {
    weight: vector(1, 2),
    bias: vector(3, 4),
    running_mean: vector(5, 6),
    running_var: vector(7, 8),
    num_batches_tracked: scalar(9),
  };
  const toKeras = (attrs: Readonly<Record<string, unknown>>, grids: Arrays): Twin => {
    const layer = layerOf('BatchNorm2d', attrs, grids, { dialect: 'torch' });
    return familyOfType('torch', 'BatchNorm2d')?.toKeras?.(layer) ?? { refused: 'none' };
  };

  test('momentum is turned round in decimal', () => {
    const twin = accepted(toKeras({ eps: 1e-5, momentum: 0.01, affine: true }, arrays));
    expect(twin.modules[0]).toEqual({
      name: '',
      type: 'BatchNormalization',
      args: { axis: -1, momentum: 0.99, epsilon: 1e-5, center: true, scale: true },
    });
    expect(valuesOf(twin, arrays)).toEqual(FOUR);
    expect(twin.diagnostics.map((entry) => entry.code)).toEqual(['DROPPED']);
  });

  test('what a bare state_dict does not say is assumed aloud', () => {
    const twin = accepted(toKeras({}, arrays));
    expect(twin.modules[0]?.args).toMatchObject({ epsilon: 1e-5, momentum: 0.9 });
    expect(twin.diagnostics.map((entry) => entry.code)).toEqual(['DROPPED', 'ASSUMED', 'ASSUMED']);
  });

  test('a cumulative mean and missing statistics are refused', () => {
    expect(toKeras({ eps: 1e-5, momentum: null }, arrays).refused).toMatch(/cumulative/);
    expect(toKeras({}, { weight: vector(1), bias: vector(1) }).refused).toMatch(/running statistics/);
  });
});

describe('recurrent layers', () => {
  // One unit, one input: column g of the kernel is gate g.
  const lstm: Arrays = {
    kernel: { shape: [1, 4], values: [1, 2, 3, 4] },
    recurrent_kernel: { shape: [1, 4], values: [5, 6, 7, 8] },
    bias: vector(9, 10, 11, 12),
  };

  test('LSTM: gates stay, the bias goes to the input side', () => {
    const twin = accepted(twinOf(layerOf('LSTM', { units: 1 }, lstm)));
    expect(twin.modules[0]).toMatchObject({ type: 'LSTM', args: { input_size: 1, hidden_size: 1, batch_first: true } });
    expect(valuesOf(twin, lstm)).toEqual({
      weight_ih_l0: { shape: [4, 1], values: [1, 2, 3, 4] },
      weight_hh_l0: { shape: [4, 1], values: [5, 6, 7, 8] },
      bias_ih_l0: vector(9, 10, 11, 12),
      bias_hh_l0: vector(0, 0, 0, 0),
    });
  });

  test('GRU: z, r, h becomes r, z, n; both bias rows', () => {
    const arrays: Arrays = {
      kernel: { shape: [1, 3], values: [1, 2, 3] },
      recurrent_kernel: { shape: [1, 3], values: [4, 5, 6] },
      bias: { shape: [2, 3], values: [7, 8, 9, 10, 11, 12] },
    };
    expect(valuesOf(twinOf(layerOf('GRU', { units: 1 }, arrays)), arrays)).toEqual({
      weight_ih_l0: { shape: [3, 1], values: [2, 1, 3] },
      weight_hh_l0: { shape: [3, 1], values: [5, 4, 6] },
      bias_ih_l0: vector(8, 7, 9),
      bias_hh_l0: vector(11, 10, 12),
    });
  });

  test('GRU that resets before the product keeps Keras’ arrays in a module of its own', () => {
    const arrays: Arrays = {
      kernel: { shape: [1, 3], values: [1, 2, 3] },
      recurrent_kernel: { shape: [1, 3], values: [4, 5, 6] },
      bias: vector(7, 8, 9),
    };
    const twin = accepted(twinOf(layerOf('GRU', { units: 1, reset_after: false }, arrays)));
    expect(twin.modules[0]).toMatchObject({ type: 'KerasGRU', custom: true, args: { reset_after: false } });
    expect(valuesOf(twin, arrays)).toEqual({
      weight_ih: { shape: [3, 1], values: [1, 2, 3] },
      weight_hh: { shape: [3, 1], values: [4, 5, 6] },
      bias: vector(7, 8, 9),
    });
  });

  test('Keras 1: twelve arrays i, c, f, o', () => {
    const arrays: Arrays = Object.fromEntries(
      ['i', 'c', 'f', 'o'].flatMap((gate, index) => [
        [`W_${gate}`, { shape: [1, 1], values: [index + 1] }],
        [`U_${gate}`, { shape: [1, 1], values: [index + 5] }],
        [`b_${gate}`, vector(index + 9)],
      ]),
    );
    const attrs = { output_dim: 1, inner_activation: 'sigmoid' };
    const layer = layerOf('LSTM', attrs, arrays, { version: '1.2.2' });
    expect(
      familyOfType('keras', 'LSTM')
        ?.variables?.(layer.norm, [[null, 3, 1]])
        .map((entry) => entry.role),
    ).toEqual(Object.keys(arrays));
    const values = valuesOf(twinOf(layer), arrays);
    expect(values['weight_ih_l0']?.values).toEqual([1, 3, 2, 4]);
    expect(values['weight_hh_l0']?.values).toEqual([5, 7, 6, 8]);
    expect(values['bias_ih_l0']?.values).toEqual([9, 11, 10, 12]);
  });

  test('CuDNN: the memory of each block is read again, and the bias has two halves', () => {
    const arrays: Arrays = {
      kernel: matrix(2, 4),
      recurrent_kernel: { shape: [1, 4], values: [5, 6, 7, 8] },
      bias: vector(1, 2, 3, 4, 5, 6, 7, 8),
    };
    const values = valuesOf(twinOf(layerOf('CuDNNLSTM', { units: 1 }, arrays, { version: '2.2.4' })), arrays);
    expect(values['weight_ih_l0']).toEqual({ shape: [4, 2], values: [0, 10, 1, 11, 2, 12, 3, 13] });
    expect(values['bias_ih_l0']?.values).toEqual([1, 2, 3, 4]);
    expect(values['bias_hh_l0']?.values).toEqual([5, 6, 7, 8]);
  });

  test.each([
    ['1.2.2', 'KerasLSTM', 0.2],
    ['2.2.4', 'KerasLSTM', 0.2],
    ['2.3.1', 'LSTM', null],
    ['2.15.0', 'LSTM', null],
    ['3.15.1', 'LSTM', null],
  ])('the default gate of Keras %s gives %s', (version, type, slope) => {
    const twin = accepted(twinOf(layerOf('LSTM', { units: 1 }, lstm, { version })));
    expect(twin.modules[0]?.type).toBe(type);
    if (slope !== null) {
      expect(twin.modules[0]?.args['recurrent_activation']).toEqual({ function: 'hard_sigmoid', slope, offset: 0.5 });
    }
  });

  test('Bidirectional: one module, the backward arrays under _reverse', () => {
    const backward = { ...lstm, bias: vector(19, 20, 21, 22) };
    const layer = layerOf(
      'Bidirectional',
      { merge_mode: 'concat' },
      {},
      {
        children: [layerOf('LSTM', { units: 1 }, lstm), layerOf('LSTM', { units: 1, go_backwards: true }, backward)],
      },
    );
    const twin = accepted(twinOf(layer));
    expect(twin.modules[0]?.args).toMatchObject({ bidirectional: true });
    const values = valuesOf(twin, {}, [lstm, backward]);
    expect(values['bias_ih_l0']?.values).toEqual([9, 10, 11, 12]);
    expect(values['bias_ih_l0_reverse']?.values).toEqual([19, 20, 21, 22]);
    expect(Object.keys(values)).toHaveLength(8);
  });

  test('a forward layer that walks backwards is refused', () => {
    const layer = layerOf(
      'Bidirectional',
      {},
      {},
      {
        children: [layerOf('LSTM', { units: 1, go_backwards: true }, lstm), layerOf('LSTM', { units: 1 }, lstm)],
      },
    );
    expect(twinOf(layer).refused).toMatch(/go_backwards/);
  });

  test('a wrapper whose inner layer has no twin says why', () => {
    const inner = layerOf('RMSNormalization', { axis: 1 }, { scale: vector(1, 2) }, { inputs: [[null, 2, 4]] });
    const layer = layerOf('TimeDistributed', {}, {}, { children: [inner], inputs: [[null, 3, 2, 4]] });
    expect(twinOf(layer).refused).toMatch(/RMSNormalization inside: an axis/);
  });
});

describe('recurrent modules to Keras', () => {
  const toKeras = (type: string, attrs: Readonly<Record<string, unknown>>, grids: Arrays): Twin =>
    familyOfType('torch', type)?.toKeras?.(layerOf(type, attrs, grids, { dialect: 'torch' })) ?? { refused: 'none' };

  test('GRU: r, z, n becomes z, r, h; the biases are two rows', () => {
    const arrays: Arrays = {
      weight_ih_l0: { shape: [3, 1], values: [1, 2, 3] },
      weight_hh_l0: { shape: [3, 1], values: [4, 5, 6] },
      bias_ih_l0: vector(7, 8, 9),
      bias_hh_l0: vector(10, 11, 12),
    };
    const twin = accepted(toKeras('GRU', { hidden_size: 1, batch_first: true }, arrays));
    expect(valuesOf(twin, arrays)).toEqual({
      kernel: { shape: [1, 3], values: [2, 1, 3] },
      recurrent_kernel: { shape: [1, 3], values: [5, 4, 6] },
      bias: { shape: [2, 3], values: [8, 7, 9, 11, 10, 12] },
    });
    expect(twin.modules[0]?.args).toMatchObject({ units: 1, reset_after: true, use_bias: true });
  });

  test('LSTM of two layers, both directions: a chain whose biases are added up', () => {
    const arrays: Arrays = Object.fromEntries(
      ['_l0', '_l0_reverse', '_l1', '_l1_reverse'].flatMap((suffix, index) => [
        [`weight_ih${suffix}`, matrix(4, suffix.startsWith('_l0') ? 3 : 2, index * 100)],
        [`weight_hh${suffix}`, matrix(4, 1, index * 100)],
        [`bias_ih${suffix}`, vector(1, 2, 3, 4)],
        [`bias_hh${suffix}`, vector(10, 20, 30, 40)],
      ]),
    );
    const twin = accepted(toKeras('LSTM', { hidden_size: 1, batch_first: true }, arrays));
    expect(twin.modules.map((module) => [module.name, module.type])).toEqual([
      ['l0', 'Bidirectional'],
      ['l0/forward_layer', 'LSTM'],
      ['l0/backward_layer', 'LSTM'],
      ['l1', 'Bidirectional'],
      ['l1/forward_layer', 'LSTM'],
      ['l1/backward_layer', 'LSTM'],
    ]);
    const values = valuesOf(twin, arrays);
    expect(values['l1/backward_layer/bias']).toEqual(vector(11, 22, 33, 44));
    expect(values['l0/backward_layer/kernel']).toEqual({
      shape: [3, 4],
      values: [100, 110, 120, 130, 101, 111, 121, 131, 102, 112, 122, 132],
    });
  });

  test('a projected state is refused', () => {
    const arrays: Arrays = { weight_ih_l0: matrix(4, 1), weight_hh_l0: matrix(4, 1), weight_hr_l0: matrix(1, 1) };
    expect(toKeras('LSTM', {}, arrays).refused).toMatch(/proj_size/);
  });
});

describe('activations', () => {
  const norm = (type: string, attrs: Readonly<Record<string, unknown>>, version = '3.15.1') =>
    layerOf(type, attrs, {}, { version }).norm;

  test('hard_sigmoid changed its form in Keras 3', () => {
    expect(norm('Activation', { activation: 'hard_sigmoid' }, '2.15.0')).toEqual({
      function: 'hard_sigmoid',
      slope: 0.2,
      offset: 0.5,
    });
    expect(norm('Activation', { activation: 'hard_sigmoid' })).toEqual({
      function: 'hard_sigmoid',
      slope: 1 / 6,
      offset: 0.5,
    });
  });

  test('slopes by every spelling', () => {
    expect(norm('LeakyReLU', {})['slope']).toBe(0.3);
    expect(norm('LeakyReLU', { alpha: 0.1 }, '2.15.0')['slope']).toBe(0.1);
    expect(
      norm('LeakyReLU', {
        alpha: new Map([
          ['type', 'ndarray'],
          ['value', 0.25],
        ] as [string, Json][]),
      })['slope'],
    ).toBe(0.25);
    expect(norm('Activation', { activation: 'leaky_relu' })['slope']).toBe(0.2);
  });

  test('a function of the user’s own and sparsemax are refused by name', () => {
    expect(twinOf(layerOf('Activation', { activation: 'my_swish' }, {})).refused).toMatch(/my_swish/);
    expect(twinOf(layerOf('Activation', { activation: 'sparsemax' }, {})).refused).toMatch(/sparsemax/);
  });

  test.each([
    ['ReLU', { max_value: 6 }, 'ReLU6', {}],
    ['ReLU', { max_value: 2 }, 'Hardtanh', { min_val: 0, max_val: 2 }],
    ['ReLU', { threshold: 1 }, 'Threshold', { threshold: 1, value: 0 }],
    ['ReLU', { negative_slope: 0.1 }, 'LeakyReLU', { negative_slope: 0.1 }],
    ['ThresholdedReLU', { theta: 0.5 }, 'Threshold', { threshold: 0.5, value: 0 }],
    ['Softmax', { axis: 1 }, 'Softmax', { dim: 1 }],
  ])('%s %o is %s', (type, attrs, module, args) => {
    expect(accepted(twinOf(layerOf(type, attrs, {}))).modules).toEqual([{ name: '', type: module, args }]);
  });
});

test('MultiheadAttention stacks the three projections, head by head', () => {
  // One head of two, width two: row h·k + j of each block is kernel[:, h, j].
  const kernel = (start: number): Grid => ({ shape: [2, 1, 2], values: [start, start + 1, start + 2, start + 3] });
  const arrays: Arrays = {
    query_kernel: kernel(0),
    key_kernel: kernel(10),
    value_kernel: kernel(20),
    output_kernel: { shape: [1, 2, 2], values: [30, 31, 32, 33] },
  };
  const layer = layerOf('MultiHeadAttention', { num_heads: 1, key_dim: 2, use_bias: false }, arrays, {
    inputs: [
      [null, 5, 2],
      [null, 5, 2],
    ],
  });
  expect(accepted(twinOf(layer)).modules[0]?.type).toBe('MultiheadAttention');
  expect(valuesOf(twinOf(layer), arrays)).toEqual({
    in_proj_weight: { shape: [6, 2], values: [0, 2, 1, 3, 10, 12, 11, 13, 20, 22, 21, 23] },
    'out_proj.weight': { shape: [2, 2], values: [30, 32, 31, 33] },
  });
});

describe('arrays that do not fit are refused, not guessed at', () => {
  const toKeras = (type: string, attrs: Readonly<Record<string, unknown>>, grids: Arrays): Twin =>
    familyOfType('torch', type)?.toKeras?.(layerOf(type, attrs, grids, { dialect: 'torch' })) ?? { refused: 'none' };

  test.each([
    ['GRU', { weight_ih_l0: matrix(4, 1), weight_hh_l0: matrix(4, 1) }, /do not fit/],
    ['LSTM', { weight_ih_l0: matrix(4, 1) }, /weight_hh_l0/],
    ['LSTM', { weight_ih_l0: matrix(4, 1), weight_hh_l0: matrix(4, 1), bias_ih_l0: vector(1, 2, 3, 4) }, /bias_hh_l0/],
    ['RNN', {}, /no weight_ih/],
    ['MultiheadAttention', { in_proj_weight: matrix(5, 2), 'out_proj.weight': matrix(2, 2) }, /do not fit/],
  ] as readonly (readonly [string, Arrays, RegExp])[])('%s', (type, arrays, reason) => {
    expect(toKeras(type, { num_heads: 1 }, arrays).refused).toMatch(reason);
  });

  test('Keras layers with arrays missing', () => {
    expect(twinOf(layerOf('LSTM', { units: 1 }, { W_i: matrix(1, 1) }, { version: '1.2.2' })).refused).toMatch(/U_i/);
    expect(
      twinOf(layerOf('LSTM', { units: 1 }, { kernel: matrix(1, 4), recurrent_kernel: matrix(2, 4) })).refused,
    ).toMatch(/do not fit/);
    expect(twinOf(layerOf('BatchNormalization', {}, {})).refused).toMatch(/moving_mean/);
  });
});

describe('multiply-accumulates', () => {
  const macs = (type: string, attrs: Readonly<Record<string, unknown>>, inputs: readonly Shape[]) => {
    const family = familyOfType('keras', type);
    const { norm } = layerOf(type, attrs, {});
    return family?.macs?.(norm, inputs, family.outputs(norm, inputs, new Map()) ?? []);
  };

  test.each([
    // 5 steps · 4 gates · 3 units · (2 inputs + 3 units)
    ['LSTM', { units: 3 }, [[null, 5, 2]], 300],
    ['GRU', { units: 3 }, [[null, 5, 2]], 225],
    ['SimpleRNN', { units: 3 }, [[null, null, 2]], null],
    // 4 steps · 8 · 8 places · 3 · 3 kernel · 4 · 6 gate channels · (2 + 6) channels
    ['ConvLSTM2D', { filters: 6, kernel_size: [3, 3], padding: 'same' }, [[null, 4, 8, 8, 2]], 442368],
    ['BatchNormalization', {}, [[null, 4, 4, 3]], 48],
    ['Activation', { activation: 'relu' }, [[null, 4]], 0],
    // three projections 7·6·6 (5 for the query), scores and use 2·5·7·6, output 5·6·6
    [
      'MultiHeadAttention',
      { num_heads: 2, key_dim: 3 },
      [
        [null, 5, 6],
        [null, 7, 6],
      ],
      1284,
    ],
    [
      'Attention',
      {},
      [
        [null, 5, 6],
        [null, 7, 6],
      ],
      420,
    ],
    // (3, 4) · (4, 5): 3 · 5 · 4
    [
      'Dot',
      { axes: [2, 1] },
      [
        [null, 3, 4],
        [null, 4, 5],
      ],
      60,
    ],
  ] as readonly (readonly [string, Readonly<Record<string, unknown>>, readonly Shape[], number | null])[])(
    '%s %o',
    (type, attrs, inputs, expected) => {
      expect(macs(type, attrs, inputs)).toBe(expected);
    },
  );
});

test('Keras 1 Merge is told apart by its mode', () => {
  const kindOf = (mode: string) => familyOfType('keras', 'Merge', new Map([['mode', mode]]))?.kind;
  expect(['sum', 'mul', 'concat', 'ave', 'max', 'dot', 'cos'].map(kindOf)).toEqual([
    'add',
    'multiply',
    'concatenate',
    'average',
    'maximum',
    'dot',
    'dot',
  ]);
});
