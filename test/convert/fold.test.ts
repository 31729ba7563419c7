import { beforeEach, describe, expect, test } from 'vitest';
import { decodeFloats } from '../../src/convert/cast.ts';
import { planTranslation } from '../../src/convert/plan.ts';
import { translate } from '../../src/convert/translate.ts';
import { inferShapes } from '../../src/graph/infer.ts';
import type { Layer, Model, Tensor, Weight } from '../../src/ir/model.ts';
import type { StateEntry } from '../../src/ir/state.ts';
import { verifyState } from '../../src/verify/verify.ts';
import { chain, graphOf, kerasLayer, modelOf } from '../helpers/graph-model.ts';
import { memoryTensor } from '../helpers/memory-tensor.ts';

/** Small whole numbers and quarters, different everywhere: sums of products are exact in float64. */
let seed = 1;
function next(): number {
  seed = (seed * 48_271) % 2_147_483_647;
  return ((seed % 33) - 16) / 4;
}

const values = new Map<string, Float32Array>();
beforeEach(() => values.clear());

function filled(name: string, shape: readonly number[], make: () => number = next): Weight {
  const array = Float32Array.from({ length: shape.reduce((product, n) => product * n, 1) }, make);
  values.set(name, array);
  const role = name.split('/').at(-1) ?? name;
  const isStatistic = role.startsWith('moving');
  return {
    role,
    class: isStatistic ? 'statistic' : 'weight',
    isParameter: !isStatistic,
    trainable: !isStatistic,
    tensor: memoryTensor(name, 'float32', shape, new Uint8Array(array.buffer)),
  };
}

const of = (name: string): Float32Array => values.get(name) ?? new Float32Array();

const EPSILON = 0.25;

function norm(path: string, channels: number, config: Readonly<Record<string, unknown>> = {}): Layer {
  const roles = ['gamma', 'beta', 'moving_mean'].filter(
    (role) => !(role === 'gamma' && config['scale'] === false) && !(role === 'beta' && config['center'] === false),
  );
  return kerasLayer(path, 'BatchNormalization', { axis: -1, epsilon: EPSILON, ...config }, [
    ...roles.map((role) => filled(`${path}/${role}`, [channels])),
    filled(`${path}/moving_variance`, [channels], () => 0.5 + Math.abs(next())),
  ]);
}

/** BatchNormalization by its definition. */
function normalise(path: string, x: number, c: number): number {
  const gamma = of(`${path}/gamma`)[c] ?? 1;
  const beta = of(`${path}/beta`)[c] ?? 0;
  const mean = of(`${path}/moving_mean`)[c] ?? 0;
  const variance = of(`${path}/moving_variance`)[c] ?? 0;
  return ((x - mean) / Math.sqrt(variance + EPSILON)) * gamma + beta;
}

function layer(
  path: string,
  type: string,
  config: Readonly<Record<string, unknown>>,
  kernels: readonly Weight[],
  bias: number,
): Layer {
  return kerasLayer(path, type, { use_bias: bias > 0, ...config }, [
    ...kernels,
    ...(bias > 0 ? [filled(`${path}/bias`, [bias])] : []),
  ]);
}

async function read(tensor: Tensor): Promise<Float64Array> {
  const bytes = new Uint8Array(tensor.byteLength);
  await tensor.readInto(
    tensor.shape.map(() => 0),
    tensor.shape,
    bytes,
  );
  return decodeFloats(bytes, tensor.dtype, bytes.byteLength / 4);
}

interface Converted {
  readonly names: readonly string[];
  readonly codes: readonly string[];
  get(name: string): Promise<Float64Array>;
}

async function fold(model: Model): Promise<Converted> {
  const plan = planTranslation(inferShapes(model).value, { file: 'model', foldBn: true });
  const entries = translate(plan);
  // What is written must be what is planned, whatever block it is read in.
  const verified = await verifyState(plan, entries, entries.map(stored), 'model');
  expect(verified.asPlanned + verified.lossless).toBe(entries.length);
  return {
    names: entries.map((entry) => entry.name),
    codes: plan.diagnostics.map((one) => one.code),
    get: async (name) => read((entries.find((entry) => entry.name === name) as StateEntry).tensor),
  };
}

/** The entry's bytes, element by element: a second way to read them. */
function stored(entry: StateEntry): Tensor {
  return {
    ...entry.tensor,
    async readInto(start, count, into) {
      const size =
        entry.tensor.byteLength /
        Math.max(
          1,
          entry.tensor.shape.reduce((product, n) => product * n, 1),
        );
      const total = count.reduce((product, n) => product * n, 1);
      for (let at = 0; at < total; at += 1) {
        let rest = at;
        const index = [...count].reverse().map((n) => {
          const place = rest % n;
          rest = Math.floor(rest / n);
          return place;
        });
        const place = index.reverse().map((value, axis) => value + (start[axis] ?? 0));
        const one = new Uint8Array(size);
        await entry.tensor.readInto(
          place,
          place.map(() => 1),
          one,
        );
        into.set(one, at * size);
      }
    },
  };
}

function close(found: readonly number[], wanted: readonly number[]): void {
  expect(found).toHaveLength(wanted.length);
  const scale = Math.max(1, ...wanted.map(Math.abs));
  for (const [at, value] of wanted.entries())
    expect(Math.abs((found[at] ?? Number.NaN) - value) / scale).toBeLessThan(2e-6);
}

const relu = (path: string): Layer => kerasLayer(path, 'ReLU');

describe('by hand', () => {
  test('backward: W·s and (b − μ)·s + β with s = γ / √(σ² + ε)', async () => {
    const told = (name: string, numbers: readonly number[], shape: readonly number[]): Weight => {
      let at = 0;
      return filled(name, shape, () => numbers[at++] ?? 0);
    };
    const model = chain(
      [null, 2],
      [
        kerasLayer('dense', 'Dense', { units: 2 }, [
          told('dense/kernel', [1, 2, 3, 4], [2, 2]),
          told('dense/bias', [5, 6], [2]),
        ]),
        kerasLayer('bn', 'BatchNormalization', { axis: -1, epsilon: 0.25 }, [
          told('bn/gamma', [3, 1], [2]),
          told('bn/beta', [10, 20], [2]),
          told('bn/moving_mean', [1, 2], [2]),
          // √(2 + 0.25) = 1.5 and √(3.75 + 0.25) = 2: s = [2, 0.5]
          told('bn/moving_variance', [2, 3.75], [2]),
        ]),
      ],
    );
    const folded = await fold(model);
    expect(folded.names).toEqual(['dense.weight', 'dense.bias']);
    // Rows are outputs: [1, 3]·2 and [2, 4]·0.5
    expect([...(await folded.get('dense.weight'))]).toEqual([2, 6, 1, 2]);
    // (5 − 1)·2 + 10 and (6 − 2)·0.5 + 20
    expect([...(await folded.get('dense.bias'))]).toEqual([18, 22]);
    expect(folded.codes).toEqual(['FOLDED']);
  });

  test('forward into a layer without bias, which gains Σ W·t', async () => {
    const told = (name: string, numbers: readonly number[], shape: readonly number[]): Weight => {
      let at = 0;
      return filled(name, shape, () => numbers[at++] ?? 0);
    };
    const model = chain(
      [null, 2],
      [
        relu('relu'),
        kerasLayer('bn', 'BatchNormalization', { axis: -1, epsilon: 0.25, scale: false }, [
          told('bn/beta', [10, 20], [2]),
          told('bn/moving_mean', [1, 2], [2]),
          told('bn/moving_variance', [3.75, 15.75], [2]),
        ]),
        kerasLayer('dense', 'Dense', { units: 2, use_bias: false }, [told('dense/kernel', [1, 2, 3, 4], [2, 2])]),
      ],
    );
    const folded = await fold(model);
    // s = [1/2, 1/4]; t = [10 − 1/2, 20 − 2/4] = [9.5, 19.5]
    expect([...(await folded.get('dense.weight'))]).toEqual([0.5, 0.75, 1, 1]);
    // 1·9.5 + 3·19.5 and 2·9.5 + 4·19.5
    expect([...(await folded.get('dense.bias'))]).toEqual([68, 97]);
  });
});

describe('the same outputs', () => {
  /** One output position: an input as large as the kernel. Reference in Keras' layout, folded in PyTorch's. */
  test.each([
    { groups: 1, bias: true },
    { groups: 1, bias: false },
    { groups: 3, bias: true },
  ])('a convolution between two norms: %j', async ({ groups, bias }) => {
    const [h, w, channels, filters] = [2, 3, 6, 9];
    const per = channels / groups;
    const model = chain(
      [null, h, w, channels],
      [
        relu('relu'),
        norm('before', channels),
        layer(
          'conv',
          'Conv2D',
          { filters, kernel_size: [h, w], groups },
          [filled('conv/kernel', [h, w, per, filters])],
          bias ? filters : 0,
        ),
        norm('behind', filters),
        relu('last'),
      ],
    );
    const folded = await fold(model);
    expect(folded.names).toEqual(['conv.weight', 'conv.bias']);
    const weight = await folded.get('conv.weight');
    const added = await folded.get('conv.bias');
    const x = Array.from({ length: h * w * channels }, next);
    const wanted: number[] = [];
    const found: number[] = [];
    for (let o = 0; o < filters; o += 1) {
      const group = Math.floor(o / (filters / groups));
      let old = bias ? (of('conv/bias')[o] ?? 0) : 0;
      let sum = added[o] ?? 0;
      for (let i = 0; i < h; i += 1)
        for (let j = 0; j < w; j += 1)
          for (let k = 0; k < per; k += 1) {
            const c = group * per + k;
            const value = x[(i * w + j) * channels + c] ?? 0;
            old += normalise('before', value, c) * (of('conv/kernel')[((i * w + j) * per + k) * filters + o] ?? 0);
            sum += value * (weight[((o * per + k) * h + i) * w + j] ?? 0);
          }
      wanted.push(normalise('behind', old, o));
      found.push(sum);
    }
    close(found, wanted);
  });

  test('a depthwise convolution with a multiplier, from both sides', async () => {
    const [h, w, channels, times] = [2, 2, 3, 2];
    const model = chain(
      [null, h, w, channels],
      [
        relu('relu'),
        norm('before', channels, { center: false }),
        layer(
          'dw',
          'DepthwiseConv2D',
          { kernel_size: [h, w], depth_multiplier: times },
          [filled('dw/kernel', [h, w, channels, times])],
          channels * times,
        ),
        norm('behind', channels * times, { scale: false }),
        relu('last'),
      ],
    );
    const folded = await fold(model);
    const weight = await folded.get('dw.weight');
    const added = await folded.get('dw.bias');
    const x = Array.from({ length: h * w * channels }, next);
    const wanted: number[] = [];
    const found: number[] = [];
    for (let c = 0; c < channels; c += 1)
      for (let m = 0; m < times; m += 1) {
        const o = c * times + m;
        let old = of('dw/bias')[o] ?? 0;
        let sum = added[o] ?? 0;
        for (let p = 0; p < h * w; p += 1) {
          const value = x[p * channels + c] ?? 0;
          old += normalise('before', value, c) * (of('dw/kernel')[(p * channels + c) * times + m] ?? 0);
          sum += value * (weight[o * h * w + p] ?? 0);
        }
        wanted.push(normalise('behind', old, o));
        found.push(sum);
      }
    close(found, wanted);
  });

  test('a separable convolution, whose shift runs through both steps', async () => {
    const [h, w, channels, times, filters] = [2, 2, 3, 2, 4];
    const model = chain(
      [null, h, w, channels],
      [
        relu('relu'),
        norm('before', channels),
        layer(
          'sep',
          'SeparableConv2D',
          { filters, kernel_size: [h, w], depth_multiplier: times },
          [
            filled('sep/depthwise_kernel', [h, w, channels, times]),
            filled('sep/pointwise_kernel', [1, 1, channels * times, filters]),
          ],
          0,
        ),
        norm('behind', filters),
        relu('last'),
      ],
    );
    const folded = await fold(model);
    const deep = await folded.get('sep.depthwise.weight');
    const point = await folded.get('sep.pointwise.weight');
    const added = await folded.get('sep.pointwise.bias');
    const x = Array.from({ length: h * w * channels }, next);
    const middle = channels * times;
    const steps = (value: (p: number, c: number) => number, kernel: (p: number, c: number, m: number) => number) =>
      Array.from({ length: middle }, (_, at) => {
        const [c, m] = [Math.floor(at / times), at % times];
        let sum = 0;
        for (let p = 0; p < h * w; p += 1) sum += value(p, c) * kernel(p, c, m);
        return sum;
      });
    const at = (p: number, c: number): number => x[p * channels + c] ?? 0;
    const old = steps(
      (p, c) => normalise('before', at(p, c), c),
      (p, c, m) => of('sep/depthwise_kernel')[(p * channels + c) * times + m] ?? 0,
    );
    const now = steps(at, (p, c, m) => deep[(c * times + m) * h * w + p] ?? 0);
    const outputs = Array.from({ length: filters }, (_, o) => o);
    close(
      outputs.map((o) => now.reduce((sum, value, i) => sum + value * (point[o * middle + i] ?? 0), added[o] ?? 0)),
      outputs.map((o) =>
        normalise(
          'behind',
          old.reduce((sum, value, i) => sum + value * (of('sep/pointwise_kernel')[i * filters + o] ?? 0), 0),
          o,
        ),
      ),
    );
  });

  test.each([
    { axis: 1, format: 'channels_last' },
    { axis: 2, format: 'channels_last' },
    { axis: -1, format: 'channels_last' },
    { axis: -1, format: 'channels_first' },
  ])('Dense behind Flatten: %j', async ({ axis, format }) => {
    const shape = [2, 3, 4] as const;
    const [h, w, c] = shape;
    const channels = axis === 1 ? h : axis === 2 ? w : c;
    const size = h * w * c;
    const units = 3;
    const model = chain(
      [null, ...shape],
      [
        relu('relu'),
        norm('bn', channels, { axis }),
        kerasLayer('dropout', 'Dropout', { rate: 0.5 }),
        kerasLayer('flatten', 'Flatten', { data_format: format }),
        layer('dense', 'Dense', { units }, [filled('dense/kernel', [size, units])], units),
      ],
    );
    const folded = await fold(model);
    expect(folded.names).toEqual(['dense.weight', 'dense.bias']);
    const weight = await folded.get('dense.weight');
    const added = await folded.get('dense.bias');
    const x = Array.from({ length: size }, next);
    const wanted = Array.from({ length: units }, (_, o) => of('dense/bias')[o] ?? 0);
    const found = Array.from({ length: units }, (_, o) => added[o] ?? 0);
    // The generated module keeps images as (N, C, H, W) where a norm or convolution wants the channels first.
    const plan = planTranslation(inferShapes(model).value, { file: 'model', foldBn: true });
    const axes = plan.lowered.classes.at(-1)?.inputs[0]?.axes ?? [];
    for (let i = 0; i < h; i += 1)
      for (let j = 0; j < w; j += 1)
        for (let k = 0; k < c; k += 1) {
          const value = x[(i * w + j) * c + k] ?? 0;
          const channel = axis === 1 ? i : axis === 2 ? j : k;
          const row = format === 'channels_first' ? (k * h + i) * w + j : (i * w + j) * c + k;
          // Flatten(channels_first) reads its axes as (2, 3, 1), so axis 1 comes last.
          const keras = format === 'channels_first' ? (j * c + k) * h + i : row;
          const index = [0, i, j, k];
          const dims = [1, h, w, c];
          const torch = axes.slice(1).reduce((sum, a) => sum * (dims[a] ?? 1) + (index[a] ?? 0), 0);
          for (let o = 0; o < units; o += 1) {
            wanted[o] =
              (wanted[o] ?? 0) + normalise('bn', value, channel) * (of('dense/kernel')[keras * units + o] ?? 0);
            found[o] = (found[o] ?? 0) + value * (weight[o * size + torch] ?? 0);
          }
        }
    close(found, wanted);
  });

  test('two norms behind each other, and one that goes into two layers', async () => {
    const model = modelOf(
      [
        layer('dense', 'Dense', { units: 3 }, [filled('dense/kernel', [2, 3])], 0),
        norm('one', 3),
        norm('two', 3),
        relu('relu'),
        norm('three', 3),
        layer('left', 'Dense', { units: 2 }, [filled('left/kernel', [3, 2])], 2),
        layer('right', 'Dense', { units: 1 }, [filled('right/kernel', [3, 1])], 0),
      ],
      {
        '': graphOf(
          [[null, 2]],
          [
            ['dense', [0], 1],
            ['one', [1], 2],
            ['two', [2], 3],
            ['relu', [3], 4],
            ['three', [4], 5],
            ['left', [5], 6],
            ['right', [5], 7],
          ],
          [6, 7],
        ),
      },
    );
    const folded = await fold(model);
    expect(folded.names).toEqual([
      'dense.weight',
      'dense.bias',
      'left.weight',
      'left.bias',
      'right.weight',
      'right.bias',
    ]);
    const x = [1.5, -2];
    const dense = async (name: string, input: readonly number[]): Promise<number[]> => {
      const weight = await folded.get(`${name}.weight`);
      const bias = await folded.get(`${name}.bias`);
      return [...bias].map((b, o) =>
        input.reduce((sum, value, i) => sum + value * (weight[o * input.length + i] ?? 0), b),
      );
    };
    const old = (name: string, input: readonly number[], units: number): number[] =>
      Array.from({ length: units }, (_, o) =>
        input.reduce(
          (sum, value, i) => sum + value * (of(`${name}/kernel`)[i * units + o] ?? 0),
          of(`${name}/bias`)[o] ?? 0,
        ),
      );
    const hidden = (await dense('dense', x)).map((value) => Math.max(0, value));
    const before = old('dense', x, 3).map((value, c) => Math.max(0, normalise('two', normalise('one', value, c), c)));
    close(hidden, before);
    const normed = before.map((value, c) => normalise('three', value, c));
    close(await dense('left', before), old('left', normed, 2));
    close(await dense('right', before), old('right', normed, 1));
  });
});

describe('what stays', () => {
  const why = (model: Model): unknown => {
    const plan = planTranslation(inferShapes(model).value, { file: 'model', foldBn: true });
    expect(plan.tensors.some((tensor) => tensor.name === 'bn.running_mean')).toBe(true);
    return plan.diagnostics.find((one) => one.code === 'NOT_FOLDED')?.args['why'];
  };
  const conv = (path: string, config: Readonly<Record<string, unknown>> = {}): Layer =>
    layer(path, 'Conv2D', { filters: 3, kernel_size: [3, 3], ...config }, [filled(`${path}/kernel`, [3, 3, 3, 3])], 3);

  test('behind an activation and before padding', () => {
    const model = chain(
      [null, 8, 8, 3],
      [conv('one', { activation: 'relu' }), norm('bn', 3), conv('two', { padding: 'same' })],
    );
    expect(why(model)).toBe('one (Conv2D, relu) comes before it, two (Conv2D) behind it: none can take it exactly');
  });

  test('where it is called with training=True', () => {
    const model = chain([null, 8, 8, 3], [conv('one'), norm('bn', 3), relu('relu')]);
    const root = model.graphs.get('');
    if (root === undefined) throw new Error('no graph');
    const calls = root.calls.map((call) =>
      call.layer === 'bn' ? { ...call, attrs: new Map([['training', true]]) } : call,
    );
    const training = { ...model, graphs: new Map([['', { ...root, calls }]]) };
    expect(() => planTranslation(inferShapes(training).value, { file: 'model', foldBn: true })).toThrow(
      'training=True',
    );
  });

  test('a layer that is left out takes nothing', () => {
    const model = chain([null, 8, 8, 3], [conv('one'), norm('bn', 3), relu('relu')]);
    const plan = planTranslation(inferShapes(model).value, { file: 'model', foldBn: true, skip: new Set(['one']) });
    expect(plan.folds).toEqual([]);
    expect(plan.tensors.map((tensor) => tensor.name)).toContain('bn.weight');
  });

  test('a variance that is not above −ε is refused by channel', async () => {
    const bad = kerasLayer('bn', 'BatchNormalization', { axis: -1, epsilon: EPSILON }, [
      filled('bn/gamma', [3]),
      filled('bn/beta', [3]),
      filled('bn/moving_mean', [3]),
      filled('bn/moving_variance', [3], () => Number.NaN),
    ]);
    await expect(fold(chain([null, 8, 8, 3], [conv('one'), bad, relu('relu')]))).rejects.toThrow(
      /layer bn .*variance of channel 0 is NaN.*--fold-bn/,
    );
  });
});

test('rounded once: to the type that is asked for, straight from float64', async () => {
  // 1 + 2^-11 is the middle of two halves. Times 1 + 2^-25 it lies above; float32 would make it the middle again: down.
  const told = (name: string, numbers: readonly number[], shape: readonly number[]): Weight => {
    let at = 0;
    return filled(name, shape, () => numbers[at++] ?? 0);
  };
  const model = chain(
    [null, 1],
    [
      kerasLayer('dense', 'Dense', { units: 1, use_bias: false }, [told('dense/kernel', [1 + 2 ** -11], [1, 1])]),
      kerasLayer('bn', 'BatchNormalization', { axis: -1, epsilon: 0.25 }, [
        told('bn/gamma', [1], [1]),
        told('bn/beta', [0], [1]),
        told('bn/moving_mean', [0], [1]),
        // 1 / √(1 − 2^-24) = 1 + 2^-25
        told('bn/moving_variance', [0.75 - 2 ** -24], [1]),
      ]),
    ],
  );
  const plan = planTranslation(inferShapes(model).value, { file: 'model', foldBn: true, dtype: 'float16' });
  const [weight] = translate(plan, { dtype: 'float16' });
  const bytes = new Uint8Array(2);
  await weight?.tensor.readInto([0, 0], [1, 1], bytes);
  expect(weight?.tensor.dtype).toBe('float16');
  expect(decodeFloats(bytes, 'float16', 1)[0]).toBe(1 + 2 ** -10);
});
