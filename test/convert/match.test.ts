import { describe, expect, test } from 'vitest';
import { matchKeys } from '../../src/convert/match.ts';
import { contains, isAutomatic, wordsOf } from '../../src/convert/match-name.ts';
import { type Target, targetOfText } from '../../src/convert/match-target.ts';
import { formatNameMap, ownNames, readNameMap, renamePlan } from '../../src/convert/name-map.ts';
import { planTranslation } from '../../src/convert/plan.ts';
import { translate } from '../../src/convert/translate.ts';
import { inferShapes } from '../../src/graph/infer.ts';
import type { Layer, Model } from '../../src/ir/model.ts';
import { batchNorm, chain, graphOf, kerasLayer, modelOf, weight } from '../helpers/graph-model.ts';

const dense = (path: string, from: number, to: number): Layer =>
  kerasLayer(path, 'Dense', { units: to }, [weight('kernel', [from, to]), weight('bias', [to])]);
const conv = (path: string, from: number, to: number): Layer =>
  kerasLayer(path, 'Conv2D', { filters: to, kernel_size: [3, 3], padding: 'same' }, [
    weight('kernel', [3, 3, from, to]),
    weight('bias', [to]),
  ]);

const planOf = (model: Model) => planTranslation(inferShapes(model).value, { file: 'model' });

/** Keys of a target in its order: `name shape`, `weight` and `bias` of a layer by one line. */
function target(lines: readonly string[]): Target {
  return targetOfText(lines.join('\n'), 'target');
}

const linear = (prefix: string, from: number, to: number): string[] => [
  `${prefix}.weight\t${to},${from}`,
  `${prefix}.bias\t${to}`,
];
const conv2d = (prefix: string, from: number, to: number): string[] => [
  `${prefix}.weight\t[${to}, ${from}, 3, 3]`,
  `${prefix}.bias\t[${to}]`,
];
const bn2d = (prefix: string, channels: number, counter = true): string[] => [
  ...['weight', 'bias', 'running_mean', 'running_var'].map((leaf) => `${prefix}.${leaf}\t${channels}`),
  ...(counter ? [`${prefix}.num_batches_tracked\t[]`] : []),
];

/** Layer's weight → key and reason. */
function matched(model: Model, lines: readonly string[]): Record<string, readonly [string | null, string]> {
  const plan = planOf(model);
  const { rows } = matchKeys(model, plan, target(lines));
  expect(rows.map((row) => row.tensor)).toEqual(plan.tensors.map((tensor) => tensor.name));
  const keys = rows.flatMap((row) => (row.to === null ? [] : [row.to]));
  expect(new Set(keys).size).toBe(keys.length);
  return Object.fromEntries(
    rows.filter((row) => row.tensor.endsWith('.weight')).map((row) => [row.tensor.slice(0, -7), [row.to, row.because]]),
  );
}

const refusal = (model: Model, lines: readonly string[]): string => {
  try {
    matchKeys(model, planOf(model), target(lines));
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
  return 'matched';
};

describe('names as words', () => {
  test('spellings of one name', () => {
    const words = ['block', '1', 'conv', '2'];
    for (const name of ['block1_conv2', 'block1.conv2', 'block_1/Conv_2', 'Block1Conv2'])
      expect(wordsOf(name)).toEqual(words);
    expect(wordsOf('batch_normalization_3')).toEqual(['bn', '3']);
    expect(wordsOf('BatchNorm2d')).toEqual(['bn']);
    expect(wordsOf('conv2d_7')).toEqual(['conv', '7']);
    expect(wordsOf('head.fc')).toEqual(['head', 'dense']);
  });

  test("Keras' automatic names", () => {
    expect(isAutomatic('conv2d_3', 'Conv2D')).toBe(true);
    expect(isAutomatic('tower/batch_normalization', 'BatchNormalization')).toBe(true);
    expect(isAutomatic('separable_conv2d_1', 'SeparableConv2D')).toBe(true);
    expect(isAutomatic('conv1', 'Conv2D')).toBe(false);
    expect(isAutomatic('dense_head', 'Dense')).toBe(false);
  });

  test('one within the other, in order', () => {
    expect(contains(wordsOf('head.fc'), wordsOf('model.head.linear'))).toBe(true);
    expect(contains(wordsOf('conv.1'), wordsOf('block1.conv'))).toBe(false);
  });
});

describe('by shapes', () => {
  const model = chain(
    [null, 8, 8, 3],
    [
      conv('conv2d', 3, 4),
      batchNorm('batch_normalization', 4),
      kerasLayer('pool', 'GlobalAveragePooling2D'),
      dense('dense', 4, 2),
    ],
  );

  test('the only ones of their shapes, whatever the target calls them and in whatever order', () => {
    const found = matched(model, [...linear('z', 4, 2), ...bn2d('a', 4), ...conv2d('m.0', 3, 4)]);
    const because = 'the only one of its shapes';
    expect(found).toEqual({
      conv2d: ['m.0.weight', because],
      batch_normalization: ['a.weight', because],
      dense: ['z.weight', because],
    });
  });

  test('a target without counters leaves ours out, and says so', () => {
    const plan = planOf(model);
    const lines = [...conv2d('c', 3, 4), ...bn2d('b', 4, false), ...linear('d', 4, 2)];
    const { rows } = matchKeys(model, plan, target(lines));
    expect(rows.find((row) => row.tensor.endsWith('num_batches_tracked'))?.to).toBeNull();
    const renamed = renamePlan(plan, rows);
    expect(renamed.tensors.map((tensor) => tensor.name)).toEqual(lines.map((line) => line.split('\t')[0]));
    expect(renamed.diagnostics.filter((one) => one.code === 'DROPPED').map((one) => one.args['role'])).toEqual([
      'num_batches_tracked',
    ]);
    expect(translate(renamed).map((entry) => entry.name)).toEqual(renamed.tensors.map((tensor) => tensor.name));
    expect(renamed.modules.map((module) => [module.path, module.type])).toEqual([
      ['c', 'Conv2d'],
      ['b', 'BatchNorm2d'],
      ['d', 'Linear'],
    ]);
  });

  test('a missing, an additional and a different layer are named', () => {
    const all = [...conv2d('c', 3, 4), ...bn2d('b', 4), ...linear('d', 4, 2)];
    expect(refusal(model, all)).toBe('matched');
    expect(refusal(model, [...conv2d('c', 3, 4), ...linear('d', 4, 2)])).toMatch(
      /layer batch_normalization: .* the target none.*\[MISMATCH\]/,
    );
    expect(refusal(model, [...all, ...linear('aux.head', 4, 9)])).toMatch(
      /target aux\.head: .*not every key.*\[MISMATCH\]/,
    );
    expect(refusal(model, [...all, 'position_ids\t1,512'])).toMatch(/position_ids \[1, 512\]/);
    const noBias = ['c.weight\t4,3,3,3', ...bn2d('b', 4), ...linear('d', 4, 2)];
    expect(refusal(model, noBias)).toMatch(/layer conv2d: .*bias \[4\].*\(c has weight \[4, 3, 3, 3\]\)/);
  });

  test('old names of vectors', () => {
    const lines = bn2d('b', 4, false).map((line) => line.replace('.weight', '.gamma').replace('.bias', '.beta'));
    const found = matched(model, [...conv2d('c', 3, 4), ...lines, ...linear('d', 4, 2)]);
    expect(found['batch_normalization']?.[0]).toBe('b.gamma');
  });
});

describe('equal shapes', () => {
  const tower = (names: readonly string[]): Model =>
    chain(
      [null, 5],
      names.map((name) => dense(name, 5, 5)),
    );

  test('names that tell all of them apart', () => {
    const model = tower(['query', 'key_1', 'out']);
    const lines = [...linear('m.out', 5, 5), ...linear('m.query', 5, 5), ...linear('m.key.1', 5, 5)];
    expect(matched(model, lines)).toEqual({
      query: ['m.query.weight', 'its name'],
      key_1: ['m.key.1.weight', 'its name'],
      out: ['m.out.weight', 'its name'],
    });
  });

  test('order, where each feeds the next and both lists agree', () => {
    const model = tower(['dense', 'dense_1', 'dense_2']);
    const lines = [...linear('up', 5, 5), ...linear('mid', 5, 5), ...linear('down', 5, 5)];
    expect(Object.values(matched(model, lines)).map(([key]) => key)).toEqual([
      'up.weight',
      'mid.weight',
      'down.weight',
    ]);
  });

  test('numbers, also in a list that is sorted by name', () => {
    const model = tower(['dense_7', 'dense_8', 'dense_9']);
    const lines = [...linear('m.10', 5, 5), ...linear('m.2', 5, 5), ...linear('m.6', 5, 5)];
    // The order of a file is its sorting, 10 before 2: refused where the list claims to be in order …
    const swapped = [...linear('m.2', 5, 5), ...linear('m.10', 5, 5), ...linear('m.6', 5, 5)];
    expect(refusal(model, swapped)).toMatch(/the target lists m\.10 before m\.6.*\[AMBIGUOUS\]/);
    // … and sorted by code point it is counted.
    const sorted = [...lines].sort();
    expect(Object.values(matched(model, sorted)).map(([key]) => key)).toEqual([
      'm.2.weight',
      'm.6.weight',
      'm.10.weight',
    ]);
  });

  test('sorted names that are not counted tell nothing', () => {
    const lines = [...linear('a', 5, 5), ...linear('b', 5, 5), ...linear('c', 5, 5)].sort();
    expect(refusal(tower(['dense', 'dense_1', 'dense_2']), lines)).toMatch(
      /fits 3 modules of equal shapes: a, b, c; .*--map/,
    );
  });

  test('counting from 0 or from 1 is never taken for a name', () => {
    const model = tower(['conv_1', 'conv_2', 'conv_3']);
    const found = matched(model, [...linear('conv.0', 5, 5), ...linear('conv.1', 5, 5), ...linear('conv.2', 5, 5)]);
    expect(Object.values(found).map(([key]) => key)).toEqual(['conv.0.weight', 'conv.1.weight', 'conv.2.weight']);
  });

  test('a name that contradicts the order is not overruled', () => {
    const model = tower(['dense', 'dense_1', 'left_path_dense_in']);
    const lines = [...linear('x', 5, 5), ...linear('left_fc', 5, 5), ...linear('y', 5, 5)];
    expect(refusal(model, lines)).toMatch(/\[AMBIGUOUS\]/);
  });

  const keysOf = (names: readonly string[], prefixes: readonly string[]): readonly (string | null)[] =>
    Object.values(
      matched(
        tower(names),
        prefixes.flatMap((prefix) => linear(prefix, 5, 5)),
      ),
    ).map(([key]) => key);

  test('abbreviated names, whatever the order', () => {
    const parts = ['query', 'key', 'value'];
    const short = ['attn.k_proj', 'attn.v_proj', 'attn.q_proj'];
    const inOrder = ['attn.q_proj.weight', 'attn.k_proj.weight', 'attn.v_proj.weight'];
    expect(keysOf(parts, short)).toEqual(inOrder);
    expect(keysOf(['q', 'k', 'v'], ['value', 'key', 'query'])).toEqual(['query.weight', 'key.weight', 'value.weight']);
    expect(keysOf(['self_query', 'self_key', 'self_value', 'self_output'], [...short, 'attn.out_proj'])).toEqual([
      ...inOrder,
      'attn.out_proj.weight',
    ]);
    expect(keysOf(['encoder_dense', 'decoder_dense'], ['dec', 'enc'])).toEqual(['enc.weight', 'dec.weight']);
    expect(keysOf(['attention_dense', 'image_dense'], ['img_fc', 'attn_fc'])).toEqual([
      'attn_fc.weight',
      'img_fc.weight',
    ]);
    const found = matched(
      tower(parts),
      short.flatMap((prefix) => linear(prefix, 5, 5)),
    );
    expect(Object.values(found).map(([, because]) => because)).toEqual(parts.map(() => 'its abbreviated name'));
  });

  test('abbreviated names of several blocks: by name which part, by number which block', () => {
    const names = [0, 1].flatMap((block) => ['query', 'key', 'value'].map((part) => `block${block}_${part}`));
    const target = [0, 1].flatMap((block) => ['k', 'v', 'q'].map((part) => `layers.${block}.attn.${part}_proj`));
    expect(keysOf(names, target)).toEqual(
      [0, 1].flatMap((block) => ['q', 'k', 'v'].map((part) => `layers.${block}.attn.${part}_proj.weight`)),
    );
  });

  test('the parts of one layer have names of their own', () => {
    const kernels = ['query', 'key', 'value'].map((part) => weight(`${part}_kernel`, [6, 2, 4]));
    const mha = kerasLayer(
      'multi_head_attention',
      'MultiHeadAttention',
      { num_heads: 2, key_dim: 4, use_bias: false },
      [...kernels, weight('output_kernel', [2, 4, 6])],
    );
    const model = modelOf([mha], { '': graphOf([[null, 5, 6]], [['multi_head_attention', [0, 0], 1]], [1]) });
    const lines = ['k_proj', 'v_proj', 'q_proj'].map((name) => `a.${name}.weight\t8,6`);
    expect(Object.values(matched(model, [...lines, 'a.out_proj.weight\t6,8'])).map(([key]) => key)).toEqual([
      'a.q_proj.weight',
      'a.k_proj.weight',
      'a.v_proj.weight',
      'a.out_proj.weight',
    ]);
  });

  test('an order that an abbreviation speaks against is not taken', () => {
    const refused = (names: readonly string[], prefixes: readonly string[]): string =>
      refusal(
        tower(names),
        prefixes.flatMap((prefix) => linear(prefix, 5, 5)),
      );
    // Two that could be the encoder, two layers that could be it.
    expect(refused(['decoder', 'encoder', 'encoder_out'], ['enc', 'x', 'y'])).toMatch(
      /layer encoder: fits 3 modules of equal shapes: enc, x, y; by order it would be x, by name enc.*\[AMBIGUOUS\]/,
    );
    expect(refused(['query', 'query_b', 'key'], ['k', 'q', 'z'])).toMatch(/by order it would be .*\[AMBIGUOUS\]/);
    expect(refused(['a', 'b', 'decoder'], ['dec', 'dec_norm', 'y'])).toMatch(/\[AMBIGUOUS\]/);
    // Words that stand in every name tell nothing.
    expect(keysOf(['decoder_a', 'decoder_b'], ['dec.x', 'dec.y'])).toEqual(['dec.x.weight', 'dec.y.weight']);
  });

  const parallel = (left: string, right: string): Model =>
    modelOf([dense(left, 5, 5), dense(right, 5, 5)], {
      '': graphOf(
        [[null, 5]],
        [
          [left, [0], 1],
          [right, [0], 2],
        ],
        [1, 2],
      ),
    });

  test('side by side: names or nothing', () => {
    const lines = [...linear('right_fc', 5, 5), ...linear('left_fc', 5, 5)];
    expect(matched(parallel('left_dense', 'right_dense'), lines)).toEqual({
      left_dense: ['left_fc.weight', 'its name'],
      right_dense: ['right_fc.weight', 'its name'],
    });
    expect(refusal(parallel('dense', 'dense_1'), lines)).toMatch(/dense and dense_1 stand side by side/);
  });

  test('two layers whose norms a target lists after both', () => {
    const model = chain(
      [null, 8, 8, 4],
      [conv('conv2d', 4, 4), batchNorm('bn_a', 4), conv('conv2d_1', 4, 4), batchNorm('bn_b', 4)],
    );
    const apart = [...conv2d('z1', 4, 4), ...conv2d('y', 4, 4), ...bn2d('x', 4), ...bn2d('w', 4)];
    expect(refusal(model, apart)).toMatch(/different orders.*\[AMBIGUOUS\]/);
    const together = [...conv2d('z1', 4, 4), ...bn2d('y', 4), ...conv2d('x', 4, 4), ...bn2d('w', 4)];
    expect(Object.values(matched(model, together)).map(([key]) => key)).toEqual([
      'z1.weight',
      'y.weight',
      'x.weight',
      'w.weight',
    ]);
  });

  test('at most five candidates', () => {
    const names = ['dense', 'dense_1', 'dense_2', 'dense_3', 'dense_4', 'dense_5', 'dense_6'];
    const model = chain(
      [null, 5],
      names.map((name) => dense(name, 5, 5)),
    );
    const lines = ['a', 'b', 'c', 'd', 'e', 'f', 'g'].flatMap((name) => linear(name, 5, 5)).sort();
    expect(refusal(model, lines)).toMatch(/a, b, c, d, e and 2 more/);
  });
});

describe('a list of keys', () => {
  test('without shapes, with comments, with Windows line ends', () => {
    const model = chain([null, 5], [dense('dense', 5, 6), dense('dense_1', 6, 7)]);
    const { rows } = matchKeys(
      model,
      planOf(model),
      targetOfText('# mine\r\nfirst.weight\r\nfirst.bias\r\n\r\nsecond.weight\t[7, 6]\r\nsecond.bias\r\n', 'keys.txt'),
    );
    expect(rows.map((row) => row.to)).toEqual(['first.weight', 'first.bias', 'second.weight', 'second.bias']);
    expect(refusal(model, ['first.weight', 'first.bias', 'second.weight\t[9, 6]', 'second.bias'])).toMatch(
      /second\.weight: has shape \[9, 6\], layer dense_1 gives \[7, 6\]/,
    );
  });

  test('shapes in the usual spellings', () => {
    for (const shape of ['64,3,7,7', '[64, 3, 7, 7]', '(64, 3, 7, 7)', 'torch.Size([64, 3, 7, 7])', '64x3x7x7']) {
      expect(targetOfText(`a.weight\t${shape}`, 'f').keys[0]?.shape).toEqual([64, 3, 7, 7]);
    }
    expect(targetOfText('n\t[]', 'f').keys[0]?.shape).toEqual([]);
  });

  test('what is no list', () => {
    for (const text of ['a\ta,b', 'a\t1\t2', 'a\na', ' a', 'a\t-1', ''])
      expect(() => targetOfText(text, 'f')).toThrow();
  });
});

describe('a map', () => {
  const model = chain([null, 8, 8, 3], [conv('conv2d', 3, 4), batchNorm('bn', 4)]);
  const plan = planOf(model);
  const text = formatNameMap(plan, ownNames(plan));
  const bytes = (value: string): Uint8Array => new TextEncoder().encode(value);
  const read = (value: string) => readNameMap(bytes(value), plan, 'map.json');

  test('comes back as it was written', () => {
    const renamed = renamePlan(plan, read(text));
    expect(renamed.tensors).toEqual(plan.tensors);
    expect(renamed.modules).toEqual(plan.modules);
    expect(formatNameMap(plan, ownNames(plan))).toBe(text);
  });

  test('renames, and may leave a counter out', () => {
    const changed = text
      .replace('"to": "conv2d.weight"', '"to": "stem.w"')
      .replace('"to": "bn.num_batches_tracked"', '"to": null');
    const renamed = renamePlan(plan, read(changed));
    expect(renamed.tensors.map((tensor) => tensor.name)).toEqual([
      'stem.w',
      'conv2d.bias',
      'bn.weight',
      'bn.bias',
      'bn.running_mean',
      'bn.running_var',
    ]);
  });

  test.each([
    [
      'a key for two tensors',
      (json: string) => json.replace('"to": "conv2d.bias"', '"to": "conv2d.weight"'),
      /two tensors/,
    ],
    [
      'a shape of another model',
      (json: string) => json.replace(/(\s)4,(\s+)3,/, '$19,$23,'),
      /has shape \[4, 3, 3, 3\]/,
    ],
    ['a source of another model', (json: string) => json.replace('"kernel"', '"other"'), /comes from kernel/],
    [
      'a tensor that is not there',
      (json: string) => json.replace('"tensor": "bn.bias"', '"tensor": "no"'),
      /no such tensor/,
    ],
    ['a weight left out', (json: string) => json.replace('"to": "bn.bias"', '"to": null'), /only a counter/],
    ['a tensor twice', (json: string) => json.replace('"tensor": "bn.bias"', '"tensor": "bn.weight"'), /bn\.weight/],
    ['no version', (json: string) => json.replace('"version": 1', '"version": 2'), /version 1/],
    ['no JSON', (json: string) => json.slice(1), /MALFORMED/],
  ])('refuses %s', (_, change, message) => {
    expect(change(text)).not.toBe(text);
    expect(() => read(change(text))).toThrow(message);
  });

  test('refuses a map that lacks a tensor', () => {
    const json = JSON.parse(text);
    json.tensors.pop();
    expect(() => read(JSON.stringify(json))).toThrow(/bn\.num_batches_tracked: is not in the map/);
  });
});
