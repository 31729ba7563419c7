import { describe, expect, test } from 'vitest';
import { planTranslation } from '../../src/convert/plan.ts';
import { inferShapes } from '../../src/graph/infer.ts';
import type { Layer, Model } from '../../src/ir/model.ts';
import { chain, graphOf, kerasLayer, modelOf, weight } from '../helpers/graph-model.ts';

const planOf = (model: Model) => planTranslation(inferShapes(model).value, { file: 'model' });

/** The root's statements as they will be written, without comments. */
function written(model: Model): readonly string[] {
  const root = planOf(model).lowered.classes.at(-1);
  return (root?.statements ?? []).map(({ shown, targets, expr }) => `${shown ?? targets.join(', ')} = ${expr}`);
}

function refusal(model: Model): string {
  try {
    planOf(model);
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
  return 'planned';
}

const dense = (path: string, from: number, to: number): Layer =>
  kerasLayer(path, 'Dense', { units: to }, [weight('kernel', [from, to]), weight('bias', [to])]);

const gru = (path: string, from: number, units: number, config: Record<string, unknown> = {}): Layer =>
  kerasLayer(
    path,
    'GRU',
    { units, reset_after: true, activation: 'tanh', recurrent_activation: 'sigmoid', ...config },
    [
      weight('kernel', [from, 3 * units]),
      weight('recurrent_kernel', [units, 3 * units]),
      weight('bias', [2, 3 * units]),
    ],
  );

const masking = kerasLayer('masking', 'Masking', { mask_value: 0 });

describe('Flatten', () => {
  test('brings channels last first where a size is open', () => {
    const conv = kerasLayer('conv', 'Conv1D', { filters: 2, kernel_size: [1] }, [weight('kernel', [1, 3, 2])]);
    const lines = written(chain([null, null, 3], [conv, kerasLayer('flat', 'Flatten')]));
    expect(lines).toEqual(['x = self.conv(x)', 'x = x.permute(0, 2, 1)', 'x = x.flatten(1)']);
  });

  test('leaves an axis of one element where it is', () => {
    const conv = kerasLayer('conv', 'Conv1D', { filters: 2, kernel_size: [4] }, [weight('kernel', [4, 3, 2])]);
    const plan = planOf(chain([null, 4, 3], [conv, kerasLayer('flat', 'Flatten'), dense('dense', 2, 5)]));
    expect(plan.lowered.inputOrder.size).toBe(0);
  });

  test('given statistics of a Normalization stay in the order that the configuration has', () => {
    const conv = kerasLayer('conv', 'Conv1D', { filters: 2, kernel_size: [1] }, [weight('kernel', [1, 3, 2])]);
    const norm = kerasLayer('norm', 'Normalization', { axis: -1, mean: [1, 2, 3, 4], variance: [1, 1, 1, 1] });
    const lines = written(chain([null, 2, 3], [conv, kerasLayer('flat', 'Flatten'), norm]));
    // (N, C, L) flattened, back to (N, L·C), and only then normalised.
    expect(lines).toEqual([
      'x = self.conv(x)',
      'x = x.flatten(1)',
      'x = x.unflatten(1, (2, 2)).permute(0, 2, 1).flatten(1)',
      'x = self.norm(x)',
    ]);
  });
});

describe('permutes', () => {
  const conv = kerasLayer('conv', 'Conv2D', { filters: 3, kernel_size: [1, 1] }, [weight('kernel', [1, 1, 3, 3])]);

  test('of one value under other names of its axes are not taken for each other', () => {
    const model = modelOf(
      [conv, dense('plain', 3, 2), kerasLayer('turn', 'Permute', { dims: [2, 1, 3] }), dense('turned', 3, 2)],
      {
        '': graphOf(
          [[null, 4, 4, 3]],
          [
            ['conv', [0], 1],
            ['plain', [1], 2],
            ['turn', [1], 3],
            ['turned', [3], 4],
          ],
          [2, 4],
        ),
      },
    );
    // (N, C, H, W) to (N, H, W, C), then to (N, W, H, C).
    const lines = written(model).filter((line) => line.includes('permute'));
    expect(lines.map((line) => line.slice(line.indexOf('.')))).toEqual([
      '.permute(0, 2, 3, 1)',
      '.permute(0, 3, 2, 1)',
    ]);
  });
});

describe('a shared pool', () => {
  test('is a module per padding', () => {
    const pool = kerasLayer('pool', 'AveragePooling1D', { pool_size: 3, strides: 2, padding: 'same' });
    const model = modelOf([pool], {
      '': graphOf(
        [
          [null, 5, 2],
          [null, 6, 2],
        ],
        [
          ['pool', [0], 2],
          ['pool', [1], 3],
        ],
        [2, 3],
      ),
    });
    const [root] = planOf(model).lowered.classes;
    // 5 → 3 windows of 3 at stride 2 need 2 more elements, 6 → 3 need one: only the first is symmetric.
    expect(root?.attributes.map(({ build }) => build)).toEqual([
      'nn.AvgPool1d(kernel_size=3, stride=2, padding=1, count_include_pad=False)',
      'nn.AvgPool1d(kernel_size=3, stride=2)',
    ]);
  });
});

describe('masks', () => {
  test('an operation ends a mask, an activation does not', () => {
    const step = (op: boolean): Model =>
      modelOf([masking, kerasLayer('tanh', 'Activation', { activation: 'tanh' }), gru('gru', 3, 2)], {
        '': graphOf(
          [[null, 4, 3]],
          [['masking', [0], 1], op ? ['op:keras.src.ops.numpy.Tanh', [1], 2] : ['tanh', [1], 2], ['gru', [2], 3]],
          [3],
        ),
      });
    expect(written(step(false)).join('\n')).toContain('masked_recurrent(self.gru');
    expect(written(step(true)).join('\n')).not.toContain('masked_recurrent');
  });

  test('a layer that walks backwards hands the mask on as it came', () => {
    const first = gru('first', 3, 2, { go_backwards: true, return_sequences: true });
    const lines = written(chain([null, 4, 3], [masking, first, gru('second', 2, 2)]));
    expect(lines.find((line) => line.includes('self.first,'))).toMatch(/, mask_2\)$/);
    expect(lines).toContain('mask_2 = mask.flip(1)');
    expect(lines.find((line) => line.includes('self.second,'))).toMatch(/, mask\)$/);
  });

  test('a mask given by name is not taken for an initial state', () => {
    const keras = (layer: string): unknown => ({
      class_name: '__keras_tensor__',
      config: { keras_history: [layer, 0, 0] },
    });
    const model = modelOf([gru('gru', 3, 2)], {
      '': graphOf(
        [
          [null, 4, 3],
          [null, 4],
        ],
        [
          ['op:keras.src.ops.numpy.NotEqual', [1], 2, { x2: 0 }],
          ['gru', [0, 2], 3, { mask: keras('not_equal') }],
        ],
        [3],
      ),
    });
    const lines = written(model);
    expect(lines[0]).toMatch(/ != 0$/);
    expect(lines[1]).toMatch(/masked_recurrent\(self\.gru, \w+, not_equal\)$/);
  });

  test('a nested model takes the mask as an argument and gives it back', () => {
    const inner = kerasLayer('inner', 'Functional');
    const model = modelOf([masking, inner, gru('inner/gru', 3, 3, { return_sequences: true }), gru('last', 3, 2)], {
      inner: graphOf([[null, 4, 3]], [['inner/gru', [0], 1]], [1]),
      '': graphOf(
        [[null, 4, 3]],
        [
          ['masking', [0], 1],
          ['inner', [1], 2],
          ['last', [2], 3],
        ],
        [3],
      ),
    });
    const [nested, root] = planOf(model).lowered.classes;
    expect(nested?.inputs.map(({ name }) => name)).toEqual(['inputs', 'mask']);
    expect(nested?.returns).toEqual([expect.any(String), 'mask']);
    expect(root?.statements.map(({ targets }) => targets.length)).toEqual([1, 1, 2, 2, 1]);
  });

  test.each([
    [true, /masked_bidirectional\(self\.both, \w+, mask, zero=True\)$/],
    [false, /masked_bidirectional\(self\.both, \w+, mask\)$/],
  ])('a Bidirectional gives zeros at masked steps where it returns sequences: %s', (sequences, wanted) => {
    const config = { units: 2, reset_after: true, activation: 'tanh', return_sequences: sequences };
    const half = (name: string): Layer =>
      gru(`both/${name}`, 3, 2, { ...config, go_backwards: name === 'backward_layer' });
    const both = kerasLayer('both', 'Bidirectional', { merge_mode: 'concat', layer: { class_name: 'GRU', config } });
    const model = chain([null, 4, 3], [masking, both]);
    const lines = written({ ...model, layers: [masking, both, half('forward_layer'), half('backward_layer')] });
    expect(lines.some((line) => wanted.test(line))).toBe(true);
  });

  test('masked steps take no part in products', () => {
    const model = modelOf([masking, kerasLayer('multiply', 'Multiply')], {
      '': graphOf(
        [
          [null, 4, 3],
          [null, 4, 3],
        ],
        [
          ['masking', [0], 2],
          ['multiply', [2, 1], 3],
        ],
        [3],
      ),
    });
    expect(written(model).at(-1)).toMatch(/= masked_product\(\[\w+, \w+\], \[mask, None\]\)$/);
    const older = { ...model, producer: { ...model.producer, version: '2.15.0' } };
    expect(written(older).at(-1)).toMatch(/ \* /);
  });

  const attention = (path: string, config: Record<string, unknown> = {}): Layer =>
    kerasLayer(path, 'MultiHeadAttention', { num_heads: 1, key_dim: 3, use_bias: false, ...config }, [
      ...['query', 'key', 'value'].map((name) => weight(`${name}_kernel`, [3, 1, 3])),
      weight('output_kernel', [1, 3, 3]),
    ]);

  const writtenBy = (version: string, model: Model): Model => ({
    ...model,
    producer: { ...model.producer, version },
  });

  /** The sum of a masked and an unmasked value before a layer that asks for a mask. */
  const mixed = modelOf([masking, kerasLayer('add', 'Add'), gru('gru', 3, 2)], {
    '': graphOf(
      [
        [null, 4, 3],
        [null, 4, 3],
      ],
      [
        ['masking', [0], 2],
        ['add', [2, 1], 3],
        ['gru', [3], 4],
      ],
      [4],
    ),
  });

  test('a sum with an unmasked value has no mask in Keras 3', () => {
    expect(written(mixed).join('\n')).not.toContain('masked_recurrent');
  });

  test.each(['2.15.0', '3.3.3'])('masks that releases of Keras join differently are refused: %s', (version) => {
    expect(refusal(writtenBy(version, mixed))).toMatch(/gru \(GRU\).*which mask reaches it/);
  });

  test('different masks are joined by or, and stand behind each other where their values do', () => {
    const joined = (layer: Layer, steps: number) =>
      written(
        modelOf([masking, kerasLayer('other', 'Masking', { mask_value: 1 }), layer, gru('gru', 3, 2)], {
          '': graphOf(
            [[null, steps, 3]],
            [
              ['masking', [0], 1],
              ['other', [0], 2],
              [layer.path, [1, 2], 3],
              ['gru', [3], 4],
            ],
            [4],
          ),
        }),
      );
    expect(joined(kerasLayer('add', 'Add'), 4)).toContain('mask_3 = mask | mask_2');
    const long = joined(kerasLayer('concat', 'Concatenate', { axis: 1 }), 4);
    expect(long).toContain('mask_3 = torch.cat([mask, mask_2], dim=1)');
  });

  /** Two attentions that read one tensor, the second under the name that an Identity or a Dense gives it. */
  const twice = (between: Layer, inputs: readonly [number, number] = [3, 2]): Model =>
    modelOf([masking, between, attention('first'), attention('second')], {
      '': graphOf(
        [[null, 4, 3]],
        [
          ['masking', [0], 1],
          [between.path, [1], 2],
          ['first', [1, 1], 3],
          ['second', [...inputs], 4],
        ],
        [4],
      ),
    });

  const masksOf = (model: Model, path: string): string =>
    /attention_bias\(\w+, \w+, \[(.*?)\], heads/.exec(
      written(model).find((line) => line.includes(`self.${path}(`)) ?? '',
    )?.[1] ?? 'none';

  test('an attention takes the mask of what it reads away, under every name of the tensor', () => {
    expect(masksOf(twice(kerasLayer('same', 'Identity')), 'first')).toBe('mask[:, :, None], mask[:, None]');
    expect(masksOf(twice(kerasLayer('same', 'Identity')), 'second')).toBe('mask[:, :, None]');
    // A copy keeps its mask where it is made before: Keras runs equally distant calls as the outputs first meet them.
    expect(masksOf(twice(dense('copy', 3, 3), [2, 3]), 'second')).toBe('mask[:, :, None], mask[:, None]');
    expect(masksOf(twice(dense('copy', 3, 3), [3, 2]), 'second')).toBe('mask[:, :, None]');
  });

  test('it does not in Keras 2, and in early releases of Keras 3 nobody knows', () => {
    const model = twice(kerasLayer('same', 'Dropout', { rate: 0.5 }));
    expect(masksOf(writtenBy('2.15.0', model), 'second')).toBe('mask[:, :, None], mask[:, None]');
    expect(refusal(writtenBy('3.5.0', model))).toMatch(/second \(MultiHeadAttention\).*which mask reaches it/);
  });

  test('casts between layers leave copies whose masks stay', () => {
    const model = twice(kerasLayer('same', 'Identity', { dtype: 'float16' }));
    const layers = model.layers.map((layer) =>
      layer.path === 'first' ? attention('first', { dtype: 'float32' }) : layer,
    );
    expect(refusal({ ...model, layers })).toMatch(/second \(MultiHeadAttention\).*which mask reaches it/);
  });

  test('a query that may look nowhere gets no values where Keras 3 drops scores out', () => {
    const model = modelOf([masking, attention('attention', { dropout: 0.5 })], {
      '': graphOf(
        [[null, 4, 3]],
        [
          ['masking', [0], 1],
          ['attention', [1, 1], 2],
        ],
        [2],
      ),
    });
    expect(written(model).at(-1)).toMatch(/= torch\.where\(seeing\[:, 0, :, None\], \w+, 0\.0\)$/);
    expect(written(writtenBy('2.15.0', model)).join('\n')).not.toContain('seeing');
    expect(refusal(writtenBy('3.9.0', model))).toMatch(/attention \(MultiHeadAttention\).*which mask reaches it/);
  });

  test('a call with an initial state runs without a mask in Keras 3, but hands it on', () => {
    const model = modelOf([masking, gru('first', 3, 3, { return_sequences: true }), gru('second', 3, 2)], {
      '': graphOf(
        [
          [null, 4, 3],
          [null, 3],
        ],
        [
          ['masking', [0], 2],
          ['first', [2, 1], 3],
          ['second', [3], 4],
        ],
        [4],
      ),
    });
    const run = (version: string) =>
      written(writtenBy(version, model)).flatMap((line) => /masked_recurrent\(self\.(\w+)/.exec(line)?.[1] ?? []);
    expect(run('3.15.1')).toEqual(['second']);
    expect(run('2.15.0')).toEqual(['first', 'second']);
  });

  test('Rescaling ends a mask in Keras 2', () => {
    const model = chain([null, 4, 3], [masking, kerasLayer('scale', 'Rescaling', { scale: 2 }), gru('gru', 3, 2)]);
    const text = (version: string) => written(writtenBy(version, model)).join('\n');
    expect(text('3.15.1')).toContain('masked_recurrent');
    expect(text('2.15.0')).not.toContain('masked_recurrent');
  });

  test('ActivityRegularization hands a mask on in Keras 2, which Identity does not', () => {
    const behind = (type: string): string => {
      const model = chain([null, 4, 3], [masking, kerasLayer('between', type), gru('gru', 3, 2)]);
      return written(writtenBy('2.15.0', model)).join('\n');
    };
    expect(behind('ActivityRegularization')).toContain('masked_recurrent');
    expect(behind('Identity')).not.toContain('masked_recurrent');
  });
});

describe('operations', () => {
  test('a reshape that moves elements between samples is refused', () => {
    const model = modelOf([], {
      '': graphOf([[null, 2, 4]], [['op:keras.src.ops.numpy.Reshape', [0], 1, { newshape: [-1, 4] }]], [1]),
    });
    expect(refusal(model)).toMatch(/between samples/);
  });

  test('are named by their own word', () => {
    const model = modelOf([], {
      '': graphOf([[null, 4]], [['op:keras.src.ops.numpy.NotEqual', [0], 1, { x2: 0 }]], [1, 1]),
    });
    expect(written(model)).toEqual(['not_equal = x != 0']);
  });
});

describe('names', () => {
  test('hide neither a class of the library nor a helper', () => {
    const inner = kerasLayer('rescaling', 'Functional');
    const model = modelOf(
      [inner, dense('rescaling/dense', 3, 3), kerasLayer('l', 'Activation', { activation: 'tanh' })],
      {
        rescaling: graphOf([[null, 3]], [['rescaling/dense', [0], 1]], [1]),
        '': graphOf(
          [[null, 3]],
          [
            ['rescaling', [0], 1],
            ['l', [1], 2],
          ],
          [2, 1],
        ),
      },
    );
    const [nested, root] = planOf(model).lowered.classes;
    expect(nested?.name).toBe('Rescaling_2');
    expect(root?.statements.flatMap(({ targets }) => targets)).not.toContain('l');
    expect(root?.name).toBe('Model');
  });

  test.each(['none', 'true', 'False'])('%s is no name of a class', (name) => {
    const inner = kerasLayer(name, 'Functional');
    const model = modelOf([inner, dense(`${name}/dense`, 3, 3)], {
      [name]: graphOf([[null, 3]], [[`${name}/dense`, [0], 1]], [1]),
      '': graphOf([[null, 3]], [[name, [0], 1]], [1]),
    });
    expect(planOf(model).lowered.classes[0]?.name).toMatch(/^(None|True|False)Model$/);
  });
});

describe('sums', () => {
  test("InceptionResNetV2's residual is scaled before it is added", () => {
    const scaled = kerasLayer('mix', 'CustomScaleLayer', { scale: 0.17 });
    const model = modelOf([scaled], {
      '': graphOf(
        [
          [null, 4],
          [null, 4],
        ],
        [['mix', [0, 1], 2]],
        [2],
      ),
    });
    expect(written(model)).toEqual(['x = input_1 + 0.17 * input_2']);
  });
});
