import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import type { DType } from '../../src/ir/dtype.ts';
import type { Json } from '../../src/ir/json.ts';
import type { Layer, Tensor } from '../../src/ir/model.ts';
import { type ModuleFacts, type RawTensor, recogniseLayers } from '../../src/layers/recognise.ts';

function raw(name: string, shape: readonly number[], dtype: DType = 'float32'): RawTensor {
  const tensor: Tensor = {
    name,
    dtype,
    shape,
    byteLength: 0,
    encoding: { kind: 'dense' },
    identity: name,
    storage: name,
    readInto: async () => {},
  };
  return { name, tensor, isParameter: null, trainable: null };
}

function recognise(
  shapes: Readonly<Record<string, readonly number[]>>,
  modules: ReadonlyMap<string, ModuleFacts> = new Map(),
): ReturnType<typeof recogniseLayers> {
  return recogniseLayers(
    Object.entries(shapes).map(([name, shape]) => raw(name, shape)),
    modules,
    'file',
  );
}

function only(shapes: Readonly<Record<string, readonly number[]>>): Layer {
  const layers = recognise(shapes).value.filter((layer) => !layer.container);
  if (layers.length !== 1 || layers[0] === undefined) throw new Error(`${layers.length} layers`);
  return layers[0];
}

/** From the constructors of torch.nn: keys and shapes, the reading, and what the shapes settle. */
const TABLE: readonly (readonly [string, Readonly<Record<string, readonly number[]>>, string, Record<string, Json>])[] =
  [
    ['Linear(3, 5)', { 'fc.weight': [5, 3], 'fc.bias': [5] }, 'dense', { units: 5, inFeatures: 3, useBias: true }],
    ['Linear without bias', { 'fc.weight': [5, 3] }, 'dense', { useBias: false }],
    ['Embedding by name', { 'tok_emb.weight': [11, 4] }, 'embedding', { vocabulary: 11, width: 4 }],
    ['Embedding by size', { 'x.weight': [30_000, 64] }, 'embedding', {}],
    ['a large classifier', { 'head.weight': [30_000, 64] }, 'dense', {}],
    [
      'Conv1d',
      { 'c.weight': [6, 3, 5], 'c.bias': [6] },
      'conv',
      { rank: 1, filters: 6, kernelSize: [5], strides: null },
    ],
    ['Conv2d', { 'c.weight': [6, 3, 5, 4] }, 'conv', { rank: 2, kernelSize: [5, 4], useBias: false, padding: null }],
    ['Conv3d', { 'c.weight': [6, 3, 5, 4, 3], 'c.bias': [6] }, 'conv', { rank: 3, groups: null }],
    ['ConvTranspose2d', { 'c.weight': [6, 3, 5, 5], 'c.bias': [3] }, 'conv_transpose', { filters: 3, inChannels: 6 }],
    [
      'BatchNorm',
      { 'n.weight': [4], 'n.bias': [4], 'n.running_mean': [4], 'n.running_var': [4], 'n.num_batches_tracked': [] },
      'batch_norm',
      { axis: 1, epsilon: null, momentum: null, scale: true, center: true },
    ],
    [
      'BatchNorm before the counter',
      { 'n.weight': [4], 'n.bias': [4], 'n.running_mean': [4], 'n.running_var': [4] },
      'batch_norm',
      {},
    ],
    [
      'BatchNorm(affine=False)',
      { 'n.running_mean': [4], 'n.running_var': [4] },
      'batch_norm',
      { scale: false, center: false },
    ],
    ['LayerNorm by name', { 'ln_1.weight': [4], 'ln_1.bias': [4] }, 'layer_norm', { epsilon: null }],
    ['LayerNorm of old BERT', { 'LayerNorm.gamma': [4], 'LayerNorm.beta': [4] }, 'layer_norm', {}],
    ['GroupNorm by name', { 'gn.weight': [4], 'gn.bias': [4] }, 'group_norm', { groups: null }],
    ['two vectors without a name', { 'x.weight': [4], 'x.bias': [4] }, 'unknown', {}],
    ['a vector without a name', { 'x.weight': [4] }, 'unknown', {}],
    ['PReLU(1)', { 'x.weight': [1] }, 'prelu', {}],
    [
      'LSTM',
      { 'r.weight_ih_l0': [16, 3], 'r.weight_hh_l0': [16, 4], 'r.bias_ih_l0': [16], 'r.bias_hh_l0': [16] },
      'lstm',
      { units: 4, layers: 1, bidirectional: false, useBias: true },
    ],
    [
      'LSTM(proj_size=2)',
      { 'r.weight_ih_l0': [16, 3], 'r.weight_hh_l0': [16, 2], 'r.weight_hr_l0': [2, 4] },
      'lstm',
      { units: 4, projection: 2, useBias: false },
    ],
    [
      'GRU, bidirectional',
      {
        'r.weight_ih_l0': [12, 3],
        'r.weight_hh_l0': [12, 4],
        'r.weight_ih_l0_reverse': [12, 3],
        'r.weight_hh_l0_reverse': [12, 4],
      },
      'gru',
      { bidirectional: true },
    ],
    ['RNN', { 'r.weight_ih_l0': [4, 3], 'r.weight_hh_l0': [4, 4] }, 'rnn', { activation: null }],
    ['LSTMCell', { 'r.weight_ih': [16, 3], 'r.weight_hh': [16, 4] }, 'lstm', { isCell: true }],
    [
      'MultiheadAttention',
      { 'a.in_proj_weight': [12, 4], 'a.in_proj_bias': [12], 'a.out_proj.weight': [4, 4], 'a.out_proj.bias': [4] },
      'attention',
      {},
    ],
    [
      'MultiheadAttention(kdim)',
      { 'a.q_proj_weight': [4, 4], 'a.k_proj_weight': [4, 6], 'a.v_proj_weight': [4, 6], 'a.out_proj.weight': [4, 4] },
      'attention',
      {},
    ],
    [
      'spectral_norm(Linear)',
      { 'fc.bias': [5], 'fc.weight_orig': [5, 3], 'fc.weight_u': [5], 'fc.weight_v': [3] },
      'dense',
      {},
    ],
    ['weight_norm(Conv2d)', { 'c.bias': [6], 'c.weight_g': [6, 1, 1, 1], 'c.weight_v': [6, 3, 5, 5] }, 'conv', {}],
    [
      'parametrizations',
      { 'c.bias': [6], 'c.parametrizations.weight.original0': [6, 1], 'c.parametrizations.weight.original1': [6, 3] },
      'dense',
      {},
    ],
    ['an (in, out) weight of a custom class', { 'c_attn.weight': [4, 12], 'c_attn.bias': [12] }, 'unknown', {}],
  ];

describe('readings by keys and shapes', () => {
  test.each(TABLE)('%s', (_name, shapes, kind, known) => {
    const layer = only(shapes);
    expect(layer.kind).toBe(kind);
    expect(layer.norm).toMatchObject(known);
    expect(layer.type).toBe('');
    expect(layer.weights.length).toBe(Object.keys(shapes).length);
  });
  test('parameters, statistics and counters of a BatchNorm', () => {
    const layer = only({
      'n.weight': [4],
      'n.bias': [4],
      'n.running_mean': [4],
      'n.running_var': [4],
      'n.num_batches_tracked': [],
    });
    expect(layer.weights.map((weight) => [weight.role, weight.class, weight.isParameter, weight.trainable])).toEqual([
      ['weight', 'weight', true, null],
      ['bias', 'weight', true, null],
      ['running_mean', 'statistic', false, false],
      ['running_var', 'statistic', false, false],
      ['num_batches_tracked', 'counter', false, false],
    ]);
  });
  test('the vectors of spectral normalisation are buffers, those of weight normalisation parameters', () => {
    const spectral = only({ 'fc.weight_orig': [5, 3], 'fc.weight_u': [5], 'fc.weight_v': [3] });
    expect(spectral.weights.map((weight) => weight.isParameter)).toEqual([true, false, false]);
    const weight = only({ 'c.weight_g': [6, 1, 1, 1], 'c.weight_v': [6, 3, 5, 5] });
    expect(weight.weights.map((entry) => entry.isParameter)).toEqual([true, true]);
  });
  test('tensors without a reading: floats are parameters, integers are buffers, and that is said', () => {
    const { value, diagnostics } = recogniseLayers([raw('pos', [4]), raw('ids', [4], 'int64')], new Map(), 'file');
    expect(value[0]?.weights.map((weight) => [weight.class, weight.isParameter])).toEqual([
      ['weight', true],
      ['constant', false],
    ]);
    expect(diagnostics).toMatchObject([{ code: 'CLASS_ASSUMED', args: { count: 2, first: ['pos', 'ids'] } }]);
  });
  /** Roles of one module by what they count as, and those of them that are said to be assumed. */
  function told(
    entries: Readonly<Record<string, readonly [readonly number[], DType]>>,
    type = '',
  ): { readonly parameters: string[]; readonly buffers: string[]; readonly assumed: unknown } {
    const modules = new Map<string, ModuleFacts>(type === '' ? [] : [['m', { type, attrs: new Map() }]]);
    const tensors = Object.entries(entries).map(([role, [shape, dtype]]) => raw(`m.${role}`, shape, dtype));
    const { value, diagnostics } = recogniseLayers(tensors, modules, 'file');
    const weights = value.flatMap((layer) => layer.weights);
    const rolesOf = (isParameter: boolean): string[] =>
      weights.filter((weight) => weight.isParameter === isParameter).map((weight) => weight.role);
    const assumed = diagnostics.find((entry) => entry.code === 'CLASS_ASSUMED')?.args['first'] ?? [];
    return { parameters: rolesOf(true), buffers: rolesOf(false), assumed };
  }
  test('what the class of a layer does not register: floats are assumed to be parameters, others are buffers', () => {
    const linear = { weight: [[4, 3], 'float32'], bias: [[4], 'float32'] } as const;
    expect(told({ ...linear, index: [[5], 'int64'], allowed: [[4, 3], 'bool'], gain: [[4], 'float32'] })).toEqual({
      parameters: ['weight', 'bias', 'gain'],
      buffers: ['index', 'allowed'],
      assumed: ['m.gain'],
    });
    // The file's own word for the class settles no more than the shapes do.
    expect(told({ ...linear, gain: [[4], 'float32'] }, 'Linear').assumed).toEqual(['m.gain']);
    // A quantised model's whole numbers in the class' own role are its parameters all the same.
    expect(told({ weight: [[4, 3], 'int8'], bias: [[4], 'float32'] }).parameters).toEqual(['weight', 'bias']);
  });
  test('masks of pruning are buffers beside what they mask, and only there', () => {
    const { parameters, buffers, assumed } = told({
      weight_orig: [[4, 3], 'float32'],
      weight_mask: [[4, 3], 'float32'],
      bias: [[4], 'float32'],
    });
    expect({ parameters, buffers, assumed }).toEqual({
      parameters: ['weight_orig', 'bias'],
      buffers: ['weight_mask'],
      assumed: [],
    });
    expect(told({ weight_mask: [[4, 3], 'float32'] }).parameters).toEqual(['weight_mask']);
  });
  test('attention is told by its projection however that is re-parametrised', () => {
    for (const key of ['in_proj_weight_orig', 'parametrizations.in_proj_weight.original']) {
      const { value } = recognise({ [`a.${key}`]: [12, 4], 'a.out_proj.weight': [4, 4], 'a.out_proj.bias': [4] });
      expect(value.map((layer) => [layer.path, layer.kind])).toEqual([['a', 'attention']]);
    }
  });
  test('a mean and a variance: statistics where the class says so, assumed to be where there is none', () => {
    const pair = { mean: [[3], 'float32'], variance: [[3], 'float32'] } as const;
    expect(told(pair, 'Normalization')).toEqual({ parameters: [], buffers: ['mean', 'variance'], assumed: [] });
    expect(told(pair)).toEqual({ parameters: [], buffers: ['mean', 'variance'], assumed: ['m.mean', 'm.variance'] });
    expect(told(pair, 'net.Gaussian')).toEqual({
      parameters: ['mean', 'variance'],
      buffers: [],
      assumed: ['m.mean', 'm.variance'],
    });
  });
  test('a scale and a zero point are constants of a quantisation beside evidence of one', () => {
    const both = (zero: DType, more: Readonly<Record<string, readonly [readonly number[], DType]>> = {}) =>
      told({ scale: [[1], 'float32'], zero_point: [[1], zero], ...more });
    expect(both('int64')).toEqual({ parameters: [], buffers: ['scale', 'zero_point'], assumed: [] });
    expect(both('float32')).toEqual({
      parameters: ['scale', 'zero_point'],
      buffers: [],
      assumed: ['m.scale', 'm.zero_point'],
    });
    expect(both('float32', { weight: [[4, 3], 'qint8'] }).buffers).toEqual(['scale', 'zero_point']);
    expect(both('float32', { fake_quant_enabled: [[1], 'uint8'] }).buffers).toContain('scale');
    const learned = both('float32', { fake_quant_enabled: [[1], 'uint8'], learning_enabled: [[1], 'uint8'] });
    expect(learned.parameters).toEqual(['scale', 'zero_point']);
  });
  test('guesses are folded: one diagnostic per kind and confidence', () => {
    const shapes: Record<string, readonly number[]> = {};
    for (let index = 0; index < 20; index += 1) {
      shapes[`l${index}.weight`] = [5, 3];
      shapes[`l${index}.bias`] = [5];
    }
    const guesses = recognise(shapes).diagnostics.filter((entry) => entry.code === 'KIND_GUESSED');
    expect(guesses).toMatchObject([{ args: { kind: 'dense', confidence: 'high', count: 20 } }]);
    expect(guesses[0]?.args['first']).toEqual(['l0', 'l1', 'l2', 'l3', 'l4']);
  });
});

describe('rows', () => {
  test('containers stand before what they hold, and hold no tensors', () => {
    const { value } = recognise({ 'a.b.weight': [5, 3], 'a.b.bias': [5], 'a.c.weight': [5, 3], top: [2] });
    expect(value.map((layer) => [layer.path, layer.parent, layer.container, layer.kind])).toEqual([
      ['a', null, true, 'unknown'],
      ['a.b', 'a', false, 'dense'],
      ['a.c', 'a', false, 'dense'],
      ['', null, false, 'unknown'],
    ]);
    expect(value.filter((layer) => layer.container).flatMap((layer) => layer.weights)).toEqual([]);
  });
  test('a class that the file names is certain', () => {
    const modules = new Map<string, ModuleFacts>([
      ['', { type: '__main__.Net', attrs: new Map() }],
      ['seq', { type: 'Sequential', attrs: new Map() }],
      [
        'seq.0',
        {
          type: 'GroupNorm',
          attrs: new Map<string, Json>([
            ['num_groups', 2],
            ['eps', 1e-6],
            ['affine', true],
          ]),
        },
      ],
      ['seq.1', { type: 'ReLU', attrs: new Map() }],
    ]);
    const { value, diagnostics } = recognise({ 'seq.0.weight': [4], 'seq.0.bias': [4] }, modules);
    expect(value.map((layer) => [layer.path, layer.container, layer.kind, layer.type])).toEqual([
      ['seq', true, 'model', 'Sequential'],
      ['seq.0', false, 'group_norm', 'GroupNorm'],
      ['seq.1', false, 'activation', 'ReLU'],
    ]);
    expect(value[1]?.norm).toMatchObject({ groups: 2, epsilon: 1e-6 });
    expect(diagnostics.map((entry) => entry.code)).toEqual(['CLASS_INFERRED']);
  });
  test('attention keeps its output projection, whose module is no row of its own', () => {
    const modules = new Map<string, ModuleFacts>([
      [
        'a',
        {
          type: 'MultiheadAttention',
          attrs: new Map<string, Json>([
            ['embed_dim', 4],
            ['num_heads', 2],
          ]),
        },
      ],
      ['a.out_proj', { type: 'NonDynamicallyQuantizableLinear', attrs: new Map() }],
    ]);
    const { value } = recognise(
      { 'a.in_proj_weight': [12, 4], 'a.out_proj.weight': [4, 4], 'a.out_proj.bias': [4] },
      modules,
    );
    expect(value.map((layer) => layer.path)).toEqual(['a']);
    expect(value[0]?.weights.map((weight) => weight.role)).toEqual([
      'in_proj_weight',
      'out_proj.weight',
      'out_proj.bias',
    ]);
  });
  test('names are only names', () => {
    const { value } = recognise({ '__proto__.weight': [5, 3], 'constructor.bias': [5], '.weight': [3], '..': [1] });
    expect(value.flatMap((layer) => layer.weights).length).toBe(4);
  });
});

/** Weighted classes without a fixture of their own, each with the reason. */
const WITHOUT: ReadonlyMap<string, string> = new Map([
  ['DataParallel', 'a wrapper: fixtures of whole modules and prefixes stand for it'],
  ['LinearCrossEntropyLoss', 'its weight is a Linear inside a loss'],
]);

test('every class of torch.nn with weights has a fixture, or a reason', () => {
  const folder = fileURLToPath(new URL('../../fixtures/good/torch/', import.meta.url));
  const { weighted } = JSON.parse(readFileSync(`${folder}nn-classes.json`, 'utf8')) as {
    readonly weighted: readonly string[];
  };
  const found = new Set(readdirSync(`${folder}nn`).map((name) => name.split(/[-.]/)[0] ?? ''));
  expect(weighted.length).toBeGreaterThan(40);
  expect(weighted.filter((name) => !found.has(name) && !WITHOUT.has(name))).toEqual([]);
});

test('the LayerNorm of old BERT has weight and bias under their old names', () => {
  const layer = only({ 'LayerNorm.gamma': [4], 'LayerNorm.beta': [4] });
  expect(layer.weights.map(({ role, tensor }) => [role, tensor.name])).toEqual([
    ['weight', 'LayerNorm.gamma'],
    ['bias', 'LayerNorm.beta'],
  ]);
});
