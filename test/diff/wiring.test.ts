import { describe, expect, test } from 'vitest';
import { compare } from '../../src/diff/across.ts';
import { categoriesOf } from '../../src/diff/change.ts';
import type { CompareOptions } from '../../src/diff/compare.ts';
import { lockText, sideOfLock } from '../../src/diff/lock.ts';
import { type Side, sideOfModel } from '../../src/diff/side.ts';
import { wiresAt, wiresJson } from '../../src/diff/wires.ts';
import type { Layer, Model } from '../../src/ir/model.ts';
import { openModel } from '../../src/open.ts';
import { notComparedLines } from '../../src/views/diff-wording.ts';
import { chain, graphOf, kerasLayer, modelOf, type Step, toJson, weight } from '../helpers/graph-model.ts';
import { modelOf as bareModel } from '../helpers/model.ts';
import { goodPath, linesOf, openSideOf, STRUCTURE } from './open-side.ts';

const dense = (path: string, units = 4) =>
  kerasLayer(path, 'Dense', { name: path, units, use_bias: false }, [weight('kernel', [4, units])]);

function functional(layers: readonly Layer[], steps: readonly Step[], outputs: readonly number[]): Model {
  const input = kerasLayer('x', 'InputLayer', { name: 'x', batch_shape: [null, 4] });
  return modelOf([input, ...layers], { '': graphOf([[null, 4]], [['x', [], 0], ...steps], outputs) });
}

async function lines(one: Model, other: Model, options: CompareOptions = STRUCTURE): Promise<readonly string[]> {
  return linesOf(await compare(sideOfModel('a', one), sideOfModel('b', other), options));
}

describe('a skip connection that starts elsewhere', () => {
  const skip = (names: readonly [string, string, string], from: 1 | 2, plus = 0) => {
    const [one, two, three] = names;
    return functional(
      [dense(one), dense(two), dense(three), kerasLayer('sum', 'Add')],
      [
        [one, [0], 1],
        [two, [1], 2],
        [three, [2], 3],
        ['sum', [3, from], 4 + plus],
      ],
      [4 + plus],
    );
  };

  test('between names that differ in a number alone', async () => {
    const names = ['block_1', 'block_2', 'block_3'] as const;
    expect(await lines(skip(names, 1), skip(names, 2))).toEqual(['sum reads from block_3, block_1 → block_3, block_2']);
  });

  test('between names that Keras gives, which are resolved by what is paired', async () => {
    const early = ['dense', 'dense_1', 'dense_2'] as const;
    const late = ['dense_7', 'dense_8', 'dense_9'] as const;
    expect(await lines(skip(early, 1), skip(late, 1))).toEqual([]);
    expect(await lines(skip(early, 1), skip(late, 2))).toEqual(['sum reads from dense_2, dense → dense_9, dense_8']);
  });

  test('against a side that tells no more than names', async () => {
    const names = ['block_1', 'block_2', 'block_3'] as const;
    const bare = (from: 1 | 2): Side => ({ ...sideOfModel('b', skip(names, from)), wires: null });
    expect(linesOf(await compare(bare(1), bare(2), STRUCTURE))).toEqual([
      'sum reads from block_3, block_1 → block_3, block_2',
    ]);
    expect(linesOf(await compare(bare(1), bare(1), STRUCTURE))).toEqual([]);
  });
});

describe('operations without a layer', () => {
  type Part = readonly [op: string, inputs: readonly (number | { readonly constant: unknown })[], attrs?: object];
  /** `head` reads the last of these operations on `x`. */
  const on = (...parts: readonly Part[]): Model => {
    const steps = parts.map(
      ([op, , attrs], index): Step => [`op:${op}`, [], index + 1, attrs as Record<string, unknown>],
    );
    const model = functional(
      [dense('head')],
      [...steps, ['head', [parts.length], parts.length + 1]],
      [parts.length + 1],
    );
    const graph = model.graphs.get('');
    if (graph === undefined) throw new Error('no graph');
    const calls = graph.calls.map((call, index) => {
      const part = parts[index - 1];
      if (part === undefined) return call;
      const inputs = part[1].map((one) => (typeof one === 'number' ? one : { constant: toJson(one.constant) }));
      return { ...call, inputs };
    });
    return { ...model, graphs: new Map([['', { ...graph, calls }]]) };
  };
  const slice = (start: number, stop: number) => [
    { class_name: '__slice__', config: { start: null, stop: null, step: null } },
    { class_name: '__slice__', config: { start, stop, step: null } },
  ];

  test.each<[string, Model, Model, string]>([
    [
      'one more',
      on(['Relu', [0]]),
      on(['Multiply', [0, { constant: 2 }]], ['Relu', [1]]),
      'relu(x) → relu(multiply(x, 2))',
    ],
    ['another below', on(['Relu', [0]]), on(['Sigmoid', [0]], ['Relu', [1]]), 'relu(x) → relu(sigmoid(x))'],
    [
      'another input',
      on(['Relu', [0]], ['Add', [1, 0]]),
      on(['Relu', [0]], ['Add', [1, 1]]),
      'add(relu(x), x) → add(relu(x), relu(x))',
    ],
    ['another constant', on(['Add', [0, { constant: 1 }]]), on(['Add', [0, { constant: 2 }]]), 'add(x, 1) → add(x, 2)'],
    [
      'exchanged',
      on(['Subtract', [{ constant: 1 }, 0]]),
      on(['Subtract', [0, { constant: 1 }]]),
      'subtract(1, x) → subtract(x, 1)',
    ],
    [
      'another setting',
      on(['Roll', [0], { shift: 1 }]),
      on(['Roll', [0], { shift: 2 }]),
      'roll(x, shift=1) → roll(x, shift=2)',
    ],
    [
      'another slice',
      on(['GetItem', [0, { constant: slice(1, 5) }]]),
      on(['GetItem', [0, { constant: slice(2, 6) }]]),
      'getitem(x, [":", "1:5"]) → getitem(x, [":", "2:6"])',
    ],
  ])('%s', async (_what, one, other, line) => {
    expect(await lines(one, other)).toEqual([`head reads from ${line}`]);
    expect(await lines(one, one)).toEqual([]);
  });

  test('of the model’s own output', async () => {
    const end = (op: string) =>
      functional(
        [dense('d')],
        [
          ['d', [0], 1],
          [`op:${op}`, [1], 2],
        ],
        [2],
      );
    expect(await lines(end('Relu'), end('Gelu'))).toEqual(['the model outputs relu(d) → gelu(d)']);
  });

  test('deep below: the place that differs is told', async () => {
    const deep = (last: string) =>
      on(...Array.from({ length: 30 }, (_, index): Part => [index === 0 ? last : 'Relu', [index]]));
    expect(await lines(deep('Tanh'), deep('Sin'))).toEqual(['head reads from tanh(x) → sin(x)']);
  });

  test('that double in every step cost no more than they are', async () => {
    const twice = (last: string) =>
      on(...Array.from({ length: 200 }, (_, index): Part => [index === 0 ? last : 'Add', [index, index]]));
    expect(await lines(twice('Add'), twice('Add'))).toEqual([]);
    expect(await lines(twice('Add'), twice('Multiply'))).toEqual(['head reads from add(x, x) → multiply(x, x)']);
  });

  test('that TensorFlow keeps as layers', async () => {
    const layer = kerasLayer('tf.__operators__.add', 'TFOpLambda', { function: '__operators__.add' });
    const old = functional(
      [dense('d'), layer],
      [
        ['d', [0], 1],
        ['tf.__operators__.add', [1, 0], 2, { y: ['x', 0, 0], name: null }],
      ],
      [2],
    );
    const now = functional(
      [dense('d')],
      [
        ['d', [0], 1],
        ['op:keras.src.ops.numpy.Add', [1, 0], 2],
      ],
      [2],
    );
    const other = functional(
      [dense('d')],
      [
        ['d', [0], 1],
        ['op:keras.src.ops.numpy.Subtract', [1, 0], 2],
      ],
      [2],
    );
    expect(await lines(old, now)).toEqual([]);
    expect(await lines(old, other)).toEqual(['the model outputs add(d, x) → subtract(d, x)']);
  });
});

describe('arguments and order of calls', () => {
  test('arguments that someone gave', async () => {
    const attention = (attrs: Record<string, unknown>) =>
      functional(
        [kerasLayer('mha', 'MultiHeadAttention', { num_heads: 2, key_dim: 2 })],
        [['mha', [0, 0], 1, attrs]],
        [1],
      );
    expect(await lines(attention({}), attention({ use_causal_mask: true }))).toEqual([
      'mha reads from x, x → x, x, use_causal_mask=true',
    ]);
    expect(await lines(attention({}), attention({ use_causal_mask: false, training: null }))).toEqual([]);
  });

  test('training=False is a choice in a BatchNormalization, and a default of an LSTM', async () => {
    const called = (type: string, config: object, attrs: Record<string, unknown>) =>
      functional([kerasLayer('l', type, config as Record<string, unknown>)], [['l', [0], 1, attrs]], [1]);
    const norm = (attrs: Record<string, unknown>) => called('BatchNormalization', {}, attrs);
    expect(await lines(norm({}), norm({ training: false }))).toEqual(['l reads from x → x, training=false']);
    const lstm = (attrs: Record<string, unknown>) => called('LSTM', { units: 4 }, attrs);
    expect(await lines(lstm({}), lstm({ training: false, mask: null }))).toEqual([]);
    expect(await lines(lstm({}), lstm({ training: true }))).toEqual(['l reads from x → x, training=true']);
  });

  test('how often a shared layer is called', async () => {
    const calls = (count: number) =>
      functional(
        [dense('d')],
        Array.from({ length: count }, (_, index): Step => ['d', [index], index + 1]),
        [count],
      );
    expect(await lines(calls(2), calls(3))).toEqual([
      'the model outputs d call 2 → d call 3',
      'd reads from x, d → x, d, d call 2',
    ]);
  });

  test('the order of the model’s inputs', async () => {
    const inputs = (order: readonly [number, number]) => {
      const input = (name: string) => kerasLayer(name, 'InputLayer', { name, batch_shape: [null, 4] });
      const graph = graphOf(
        [
          [null, 4],
          [null, 4],
        ],
        [
          ['x', [], 0],
          ['y', [], 1],
          ['s', [0, 1], 2],
        ],
        [2],
      );
      return modelOf([input('x'), input('y'), kerasLayer('s', 'Subtract')], { '': { ...graph, inputs: order } });
    };
    expect(await lines(inputs([0, 1]), inputs([1, 0]))).toEqual(['the model reads from x, y → y, x']);
  });

  test('which of several outputs is read', async () => {
    const states = (read: 1 | 2) => {
      const lstm = kerasLayer('l', 'LSTM', { units: 4, return_state: true });
      const model = functional(
        [lstm, dense('head')],
        [
          ['l', [0], 1],
          ['head', [read], 4],
        ],
        [4],
      );
      const graph = model.graphs.get('');
      const calls = (graph?.calls ?? []).map((call) => (call.layer === 'l' ? { ...call, outputs: [3, 1, 2] } : call));
      return { ...model, graphs: new Map([['', { ...graph!, calls }]]) };
    };
    expect(await lines(states(1), states(2))).toEqual(['head reads from l output 1 → l output 2']);
  });

  test('the type of the input of a Sequential', async () => {
    const typed = (dtype: string): Model => {
      const model = chain([null, 4], [dense('d')]);
      const graph = model.graphs.get('')!;
      const values = graph.values.map((value, index) => (index === 0 ? { ...value, dtype } : value));
      return { ...model, graphs: new Map([['', { ...graph, values }]]) };
    };
    expect(await lines(typed('float32'), typed('float16'))).toEqual(['the model dtype of input float32 → float16']);
  });

  test('a mask that an Embedding hands on is not wiring, one that someone gave is', async () => {
    const masked = (op: string | null, read = 0, value = 0) => {
      const tensor = { class_name: '__keras_tensor__', config: { keras_history: ['m', 0, 0] } };
      const steps: Step[] = [['e', [0], 1]];
      if (op !== null) steps.push([`op:${op}`, [read, { constant: value }], 2]);
      steps.push(['l', op === null ? [1] : [1, 2], 3, op === null ? {} : { mask: tensor }]);
      const embedding = kerasLayer('e', 'Embedding', { input_dim: 9, output_dim: 4, mask_zero: true });
      return functional([embedding, kerasLayer('l', 'LSTM', { units: 4 })], steps, [3]);
    };
    expect(await lines(masked(null), masked('NotEqual'))).toEqual([]);
    expect(await lines(masked(null), masked('Greater'))).toEqual(['l reads from e → e, mask=greater(x, 0)']);
    expect(await lines(masked(null), masked('NotEqual', 0, 5))).toEqual(['l reads from e → e, mask=notequal(x, 5)']);
    expect(await lines(masked(null), masked('NotEqual', 1))).toEqual(['l reads from e → e, mask=notequal(e, 0)']);
  });
});

describe('an order that is the computation', () => {
  const sequential = (names: readonly string[]) =>
    chain(
      [null, 4],
      names.map((name) => dense(name)),
    );

  test('is wiring, which --ignore renames does not hide', async () => {
    const options: CompareOptions = { ...STRUCTURE, ignore: new Set(['renames']) };
    const found = await compare(
      sideOfModel('a', sequential(['a', 'b', 'c'])),
      sideOfModel('b', sequential(['b', 'a', 'c'])),
      options,
    );
    expect(found.changes.length).toBeGreaterThan(0);
    expect(found.changes.every((change) => categoriesOf(change).has('wiring'))).toBe(true);
  });

  const torch = (names: readonly string[], told: boolean, parent: string | null = null, type = 'Sequential') =>
    sideOfModel(
      'x',
      bareModel({
        dialect: 'torch',
        origin: told && parent === null ? { rootType: type } : {},
        layers: [
          ...(parent === null
            ? []
            : [
                {
                  path: parent,
                  kind: 'model' as const,
                  type,
                  container: true,
                  attrs: toJson({ training: true }) as Layer['attrs'],
                },
              ]),
          ...names.map((name) => ({
            path: parent === null ? name : `${parent}.${name}`,
            parent,
            kind: 'dense' as const,
            type: told ? 'Linear' : '',
            attrs: toJson(told ? { training: true } : {}) as Layer['attrs'],
            weights: [{ role: 'weight', shape: [4, 4] }],
          })),
        ],
      }),
    );

  test('in a whole module of PyTorch', async () => {
    const found = await compare(torch(['a', 'b'], true), torch(['b', 'a'], true), STRUCTURE);
    expect(linesOf(found)).toEqual(['a reads from the input → b']);
    const inside = await compare(torch(['a', 'b'], true, 'body'), torch(['b', 'a'], true, 'body'), STRUCTURE);
    expect(linesOf(inside)).toEqual(['body.a reads from the input → body.b']);
  });

  test('is not known of a state_dict, nor of a class of one’s own', async () => {
    for (const [one, other] of [
      [torch(['a', 'b'], false), torch(['b', 'a'], false)],
      [torch(['a', 'b'], true, 'body', 'Block'), torch(['b', 'a'], true, 'body', 'Block')],
      [torch(['a', 'b'], true, null, 'package.Net'), torch(['b', 'a'], true, null, 'package.Net')],
    ] as const) {
      const found = await compare(one, other, STRUCTURE);
      expect(found.changes).toEqual([]);
      expect(found.notCompared.map((entry) => entry.name)).toEqual(['order']);
      expect(notComparedLines(found.notCompared)[0]).toMatch(/^order of the layers, which is another for .*a: neither/);
    }
  });

  test('says nothing in a safetensors file, which orders its tensors by itself', async () => {
    const sorted = { ...torch(['b', 'a'], false), format: 'safetensors' };
    const found = await compare(torch(['a', 'b'], false), sorted, STRUCTURE);
    expect([found.changes, found.notCompared]).toEqual([[], []]);
  });
});

describe('tied tensors', () => {
  const tied = (owner: 'a' | 'b' | null) =>
    modelOf(
      ['a', 'b', 'c'].map((name) =>
        kerasLayer(name, 'Dense', { units: 4, use_bias: false }, [
          weight('kernel', [4, 4], name === 'c' && owner ? owner : name),
        ]),
      ),
      {},
    );

  test('to another tensor than before', async () => {
    expect(await lines(tied('a'), tied('b'))).toEqual(['c kernel tied to a kernel → tied to b kernel']);
    expect(await lines(tied('a'), tied('a'))).toEqual([]);
  });

  test('against a lock file', async () => {
    const text = await lockText(sideOfModel('a', tied('a')), { file: 'a', hash: () => false });
    const locked = sideOfLock('a', toJson(JSON.parse(text)));
    const against = async (owner: 'a' | 'b' | null) =>
      linesOf(await compare(locked, sideOfModel('b', tied(owner)), STRUCTURE));
    expect(await against('a')).toEqual([]);
    expect(await against('b')).toEqual(['c kernel tied to a kernel → tied to b kernel']);
    expect(await against(null)).toEqual(['c kernel tied to a kernel → its own tensor']);
  });
});

describe('what is no difference', () => {
  test('axes counted from either end, words of a release, masks inside a Bidirectional', async () => {
    const norm = (axis: readonly number[]) =>
      chain(
        [null, 3, 4],
        [kerasLayer('ln', 'LayerNormalization', { axis, epsilon: 0.001 }, [weight('gamma', [4]), weight('beta', [4])])],
      );
    const shaped = (model: Model): Model => {
      const graph = model.graphs.get('')!;
      const values = graph.values.map((value) => ({ ...value, shape: [null, 3, 4] }));
      return { ...model, graphs: new Map([['', { ...graph, values }]]) };
    };
    expect(await lines(shaped(norm([2])), shaped(norm([-1])))).toEqual([]);
    expect(await lines(shaped(norm([1])), shaped(norm([-1])))).toEqual(['ln axes [-2] → [-1]']);
    const both = (config: Record<string, unknown>) => {
      const inner = { ...kerasLayer('bi/forward_layer', 'LSTM', { units: 4, ...config }), parent: 'bi' };
      return chain([null, 3, 4], [kerasLayer('bi', 'Bidirectional', {}), inner]);
    };
    expect(await lines(both({}), both({ zero_output_for_mask: true }))).toEqual([]);
  });

  test('a fresh lock of a model of Keras 1', async () => {
    const side = await openSideOf(goodPath('constructed-k1-functional.h5'));
    try {
      const text = await lockText(side, { file: 'a', hash: () => false });
      const found = await compare(sideOfLock('a', toJson(JSON.parse(text))), side, STRUCTURE);
      expect(linesOf(found)).toEqual([]);
    } finally {
      await side.model?.close();
    }
  });

  test.each(['reference-cnn.keras', 'constructed-k1-functional.h5', 'pairs/automatic.keras'])(
    'wires of %s through a lock file',
    async (name) => {
      const { value: model } = await openModel(goodPath(name));
      try {
        const { wires, layers } = sideOfModel('a', model);
        if (wires == null) throw new Error('no wires');
        const written = wiresJson(wires, (path) => path);
        expect(wiresAt(toJson(JSON.parse(JSON.stringify(plain(written)))))).toEqual(wires);
        expect(layers.length).toBeGreaterThan(0);
      } finally {
        await model.close();
      }
    },
  );
});

/** Maps as objects. */
function plain(value: unknown): unknown {
  if (value instanceof Map) return Object.fromEntries([...value].map(([key, one]) => [key, plain(one)]));
  return Array.isArray(value) ? value.map(plain) : value;
}
