import { describe, expect, test } from 'vitest';
import { compare } from '../../src/diff/across.ts';
import type { Comparison } from '../../src/diff/compare.ts';
import { lockText, sideOfLock } from '../../src/diff/lock.ts';
import { type Side, sideOfModel } from '../../src/diff/side.ts';
import { notComparedLines } from '../../src/views/diff-wording.ts';
import { readBytes } from '../formats/onnx/open.ts';
import { bytes, float, floats, graph, int, join, model, node, tensor, text } from '../formats/onnx/wire.ts';
import { compareFiles, goodPath, jsonOf, linesOf, lockSideOf, openSideOf, STRICT, STRUCTURE } from './open-side.ts';

const FLOAT = 1;
const INT = 2;
const STRING = 3;
const TENSOR = 4;
const GRAPH = 5;
const INTS = 7;

function attribute(name: string, type: number, ...parts: readonly Uint8Array[]): Uint8Array {
  return join(text(1, name), ...parts, int(20, type));
}

const real = (name: string, value: number) => attribute(name, FLOAT, float(2, value));
const whole = (name: string, value: number) => attribute(name, INT, int(3, value));
const word = (name: string, value: string) => attribute(name, STRING, text(4, value));
const body = (name: string, of: Uint8Array) => attribute(name, GRAPH, bytes(6, of));

const numbers = (name: string, dims: readonly number[], ...values: readonly number[]) =>
  tensor(name, 1, dims, bytes(9, floats(...values)));

const W = numbers('w', [2, 2], 1, 2, 3, 4);
const B = numbers('b', [2], 5, 6);

interface Parts {
  readonly nodes: readonly Uint8Array[];
  readonly initializers?: readonly Uint8Array[];
  readonly inputs?: readonly string[];
  readonly outputs?: readonly string[];
  readonly functions?: readonly Uint8Array[];
  readonly opset?: number;
}

function file({ functions = [], opset, ...parts }: Parts): Uint8Array {
  const whole = model(graph({ inputs: ['x'], outputs: ['y'], ...parts }));
  const last = opset === undefined ? [] : [bytes(8, int(2, opset))];
  return join(whole, ...last, ...functions.map((one) => bytes(25, one)));
}

async function sideOf(parts: Parts): Promise<Side> {
  const { value } = await readBytes(file(parts));
  return sideOfModel('test.onnx', value);
}

async function found(one: Parts, other: Parts, options = STRICT): Promise<Comparison> {
  return compare(await sideOf(one), await sideOf(other), options);
}

const lines = async (one: Parts, other: Parts): Promise<readonly string[]> => linesOf(await found(one, other));

/** One node that reads x. */
const only = (op: string, ...attributes: readonly Uint8Array[]): Parts => ({
  nodes: [node({ op, inputs: ['x'], outputs: ['y'], attributes })],
});

const gemm = (...attributes: readonly Uint8Array[]): Parts => ({
  nodes: [node({ op: 'Gemm', inputs: ['x', 'w', 'b'], outputs: ['y'], name: 'g', attributes })],
  initializers: [W, B],
});

describe('what torch.onnx exports', () => {
  // One number in a Constant node is another; the modules multiply by 2 and by 3, and view as [2, 2, 2] and [4, 2, 1].
  test.each([
    ['onnx-scale', 'float32 2', 'float32 3'],
    ['onnx-view', 'int64 [2, 2, 2]', 'int64 [4, 2, 1]'],
  ])('%s', async (name, before, after) => {
    const [one, other] = [`differences/${name}-a.onnx`, `differences/${name}-b.onnx`];
    const [line, ...more] = linesOf(await compareFiles(one, other));
    expect(more).toEqual([]);
    expect(line).toContain(before);
    expect(line).toContain(after);
    expect(linesOf(await compareFiles(one, one))).toEqual([]);
    expect(
      linesOf(await compare(await lockSideOf(goodPath(one), true), await openSideOf(goodPath(other)), STRICT)),
    ).toHaveLength(1);
    expect(
      linesOf(await compare(await lockSideOf(goodPath(one), true), await openSideOf(goodPath(one)), STRICT)),
    ).toEqual([]);
  });
});

describe('attributes', () => {
  // Defaults are those of onnx' schemas: Gemm 13, Selu 6, BatchNormalization 15, LSTM 14.
  test.each<[string, Parts, Parts, string]>([
    ['a factor', gemm(), gemm(real('alpha', 2)), 'g alpha 1 → 2'],
    ['another', gemm(), gemm(real('beta', 0.5)), 'g beta 1 → 0.5'],
    ['a transposition', gemm(), gemm(whole('transA', 1)), 'g transA 0 → 1'],
    ['of the weight', gemm(), gemm(whole('transB', 1)), 'g transposed off → on'],
    ['an activation', only('Relu'), only('Sigmoid'), 'y function relu → sigmoid'],
    ['with a setting', only('LeakyRelu'), only('LeakyRelu', real('alpha', 0.5)), 'y slope 0.01 → 0.5'],
  ])('%s is a difference', async (_name, one, other, line) => {
    expect(await lines(one, other)).toContain(line);
  });

  test('at their default are what absent ones are', async () => {
    expect(
      await lines(gemm(), gemm(real('alpha', 1), real('beta', 1), whole('transA', 0), whole('transB', 0))),
    ).toEqual([]);
    expect(await lines(only('Elu'), only('Elu', real('alpha', 1)))).toEqual([]);
    expect(await lines(only('CumSum'), only('CumSum', whole('reverse', 0)))).toEqual([]);
    expect(await lines(only('CumSum'), only('CumSum', whole('reverse', 1)))).toHaveLength(1);
    const selu = (alpha: number) => only('Selu', real('alpha', alpha));
    expect(await lines(only('Selu'), selu(1.6732632))).toEqual([]);
    expect(await lines(only('Selu'), selu(2))).not.toEqual([]);
  });

  test('of a recurrent layer, and the places of what it reads', async () => {
    const rnn = (inputs: readonly string[], ...attributes: readonly Uint8Array[]): Parts => ({
      nodes: [
        node({ op: 'RNN', inputs, outputs: ['y'], name: 'r', attributes: [whole('hidden_size', 1), ...attributes] }),
      ],
      initializers: [numbers('w', [1, 1, 1], 1), numbers('r', [1, 1, 1], 1)],
      inputs: ['x', 'h'],
    });
    const plain = ['x', 'w', 'r'];
    expect(await lines(rnn(plain), rnn(plain, word('direction', 'reverse')))).toEqual([
      'r direction forward → reverse',
    ]);
    expect(await lines(rnn(plain), rnn(plain, word('direction', 'forward')))).toEqual([]);
    expect(await lines(rnn(plain), rnn(plain, real('clip', 3)))).toEqual(['r clip none → 3']);
    expect(await lines(rnn([...plain, '', 'h']), rnn([...plain, '', '', 'h']))).toHaveLength(1);
  });

  test('that are tensors, and the domain of an operator', async () => {
    const foo = (domain: string, value: number): Parts => ({
      nodes: [
        node({
          op: 'Foo',
          inputs: ['x'],
          outputs: ['y'],
          domain,
          attributes: [attribute('k', TENSOR, bytes(5, numbers('', [2], 1, value)))],
        }),
      ],
    });
    expect(await lines(foo('a.b', 1), foo('a.b', 1))).toEqual([]);
    expect(await lines(foo('a.b', 1), foo('a.b', 2))).toHaveLength(1);
    expect(await lines(foo('a.b', 1), foo('c.d', 1))).toHaveLength(1);
    // Operators are told apart by their letters' case, too.
    expect(
      await lines(
        { nodes: [node({ op: 'Foo', inputs: ['x'], outputs: ['y'], domain: 'q' })] },
        { nodes: [node({ op: 'FOO', inputs: ['x'], outputs: ['y'], domain: 'q' })] },
      ),
    ).toHaveLength(1);
  });

  test('whose meaning another operator set changed', async () => {
    // Changelog of ONNX: the axis of Softmax defaults to 1 before version 13, and to −1 since.
    const softmax = only('Softmax', whole('axis', 1));
    expect(await lines({ ...softmax, opset: 11 }, { ...softmax, opset: 13 })).toEqual([
      'the model version of Softmax 11 → 13',
    ]);
    expect(await lines({ ...only('Softmax'), opset: 11 }, { ...softmax, opset: 11 })).toEqual([]);
    expect(await lines({ ...only('Softmax'), opset: 13 }, { ...softmax, opset: 13 })).toEqual(['y axis -1 → 1']);
  });
});

describe('constants', () => {
  const scaled = (name: string, ...value: readonly Uint8Array[]): Parts => ({
    nodes: [
      node({ op: 'Constant', inputs: [], outputs: [name], attributes: value }),
      node({ op: 'Mul', inputs: ['x', name], outputs: ['y'] }),
    ],
    initializers: [W],
  });
  const two = attribute('value', TENSOR, bytes(5, numbers('', [], 2)));
  const three = attribute('value', TENSOR, bytes(5, numbers('', [], 3)));

  test('are compared by value, not by name or spelling', async () => {
    expect(await lines(scaled('c', two), scaled('c', three))).toEqual([
      'the model outputs Mul(x, float32 2) → Mul(x, float32 3)'.replaceAll('x', 'the input'),
    ]);
    expect(await lines(scaled('c', two), scaled('d', two))).toEqual([]);
    expect(await lines(scaled('c', two), scaled('c', real('value_float', 2)))).toEqual([]);
    expect(await lines(scaled('c', two), scaled('c', real('value_float', -2)))).toHaveLength(1);
  });

  test('through what is computed from them', async () => {
    const computed = (op: string, value: Uint8Array): Parts => ({
      nodes: [
        node({ op: 'Constant', inputs: [], outputs: ['c'], attributes: [value] }),
        node({ op, inputs: ['c'], outputs: ['d'] }),
        node({ op: 'Mul', inputs: ['x', 'd'], outputs: ['y'] }),
      ],
      initializers: [W],
    });
    expect(await lines(computed('Exp', two), computed('Exp', two))).toEqual([]);
    expect(await lines(computed('Exp', two), computed('Exp', three))).toHaveLength(1);
    expect(await lines(computed('Exp', two), computed('Log', two))).toHaveLength(1);
  });

  test('that are large are compared with their values, as tensors outside the state', async () => {
    const large = (last: number) => {
      const values = Array.from({ length: 2000 }, (_, index) => (index === 1999 ? last : 1));
      return scaled('c', attribute('value', TENSOR, bytes(5, numbers('', [2000], ...values))));
    };
    expect(linesOf(await found(large(1), large(2), STRUCTURE))).toEqual([]);
    expect(await lines(large(1), large(1))).toEqual([]);
    expect(await lines(large(1), large(2))).toHaveLength(1);
  });

  test('a chain that doubles at each step takes no more time for it', async () => {
    const steps = Array.from({ length: 2000 }, (_, index) =>
      node({ op: 'Add', inputs: [`c${index}`, `c${index}`], outputs: [`c${index + 1}`] }),
    );
    const parts: Parts = {
      nodes: [
        node({ op: 'Constant', inputs: [], outputs: ['c0'], attributes: [two] }),
        ...steps,
        node({ op: 'Mul', inputs: ['x', 'c2000'], outputs: ['y'] }),
      ],
      initializers: [W],
    };
    expect(await lines(parts, parts)).toEqual([]);
  });
});

describe('graphs inside nodes', () => {
  const branch = (op: string, inner = 'i', read = 'x') =>
    graph({ nodes: [node({ op, inputs: [read], outputs: [inner] })], outputs: [inner] });
  const choose = (yes: Uint8Array, no: Uint8Array): Parts => ({
    nodes: [
      node({ op: 'Sin', inputs: ['x'], outputs: ['p'] }),
      node({ op: 'Cos', inputs: ['x'], outputs: ['q'] }),
      node({
        op: 'If',
        inputs: ['c'],
        outputs: ['y'],
        attributes: [body('then_branch', yes), body('else_branch', no)],
      }),
      node({ op: 'Add', inputs: ['p', 'q'], outputs: ['z'] }),
    ],
    inputs: ['x', 'c'],
    outputs: ['y', 'z'],
  });

  test('are compared whatever their values are called', async () => {
    const plain = choose(branch('Exp'), branch('Log'));
    expect(await lines(plain, choose(branch('Exp', 'k'), branch('Log', 'm')))).toEqual([]);
    expect(await lines(plain, choose(branch('Exp'), branch('Abs')))).toHaveLength(1);
    expect(await lines(plain, choose(branch('Log'), branch('Exp')))).toHaveLength(1);
    expect(
      await lines(choose(branch('Exp', 'i', 'p'), branch('Log')), choose(branch('Exp', 'i', 'q'), branch('Log'))),
    ).toHaveLength(1);
  });

  test('down to their constants, as deep as they go', async () => {
    const inner = (value: number) => {
      const constant = attribute('value', TENSOR, bytes(5, numbers('', [], value)));
      return graph({
        nodes: [
          node({ op: 'Constant', inputs: [], outputs: ['k'], attributes: [constant] }),
          node({ op: 'Mul', inputs: ['x', 'k'], outputs: ['i'] }),
        ],
        outputs: ['i'],
      });
    };
    const deep = (value: number) =>
      graph({
        nodes: [
          node({
            op: 'If',
            inputs: ['c'],
            outputs: ['o'],
            attributes: [body('then_branch', inner(value)), body('else_branch', branch('Exp'))],
          }),
        ],
        outputs: ['o'],
      });
    expect(await lines(choose(deep(2), branch('Exp')), choose(deep(2), branch('Exp')))).toEqual([]);
    expect(await lines(choose(deep(2), branch('Exp')), choose(deep(3), branch('Exp')))).toHaveLength(1);
  });

  test('in the functions of the file, and the defaults of their attributes', async () => {
    const F = (nodes: readonly Uint8Array[], ...defaults: readonly Uint8Array[]) =>
      join(
        text(1, 'F'),
        text(4, 'a'),
        text(4, 'c'),
        text(5, 'r'),
        ...nodes.map((one) => bytes(7, one)),
        text(10, 'own'),
        ...defaults.map((one) => bytes(11, one)),
      );
    const call = (definition: Uint8Array, ...attributes: readonly Uint8Array[]): Parts => ({
      nodes: [node({ op: 'F', inputs: ['x', 'c'], outputs: ['y'], domain: 'own', attributes })],
      inputs: ['x', 'c'],
      functions: [definition],
    });
    const chosen = (op: string) =>
      F([
        node({
          op: 'If',
          inputs: ['c'],
          outputs: ['r'],
          attributes: [body('then_branch', branch(op, 'i', 'a')), body('else_branch', branch('Exp', 'i', 'a'))],
        }),
      ]);
    expect(await lines(call(chosen('Log')), call(chosen('Log')))).toEqual([]);
    expect(await lines(call(chosen('Log')), call(chosen('Sin')))).toHaveLength(1);
    const slope = join(text(1, 'alpha'), int(20, FLOAT), text(21, 'al'));
    const leaky = (value: number) =>
      F([node({ op: 'LeakyRelu', inputs: ['a'], outputs: ['r'], attributes: [slope] })], real('al', value));
    expect(await lines(call(leaky(0.25)), call(leaky(0.5)))).toEqual(['y slope 0.25 → 0.5']);
    expect(await lines(call(leaky(0.25)), call(leaky(0.5), real('al', 0.25)))).toEqual([]);
  });
});

describe('names', () => {
  const net = (name: string, hidden: string, input = 'x', output = 'y'): Parts => ({
    nodes: [
      node({ op: 'Gemm', inputs: [input, 'w', 'b'], outputs: [hidden], name: `${name}0` }),
      node({ op: 'Relu', inputs: [hidden], outputs: [output], name: `${name}1` }),
    ],
    initializers: [W, B],
    inputs: [input],
    outputs: [output],
  });

  test('inside the graph are nobody’s, those of inputs and outputs are how it is called', async () => {
    expect(await lines(net('n', 'h'), net('m', 'k'))).toEqual([]);
    expect(await lines(net('n', 'h'), net('n', 'h', 'z'))).toEqual(['the model reads from x → z']);
    expect(await lines(net('n', 'h'), net('n', 'h', 'x', 'z'))).toEqual(['the model outputs y → z']);
  });

  test('of outputs that are one of several', async () => {
    const split = (...outputs: readonly string[]): Parts => ({
      nodes: [
        node({ op: 'Split', inputs: ['x'], outputs, attributes: [attribute('split', INTS, int(8, 1), int(8, 1))] }),
      ],
    });
    const [line] = await lines(split('y', 'z'), split('z', 'y'));
    expect(line).toMatch(/^the model outputs Split\(.*\) → Split\(.*\) output 1$/);
    expect(await lines(split('y', 'z'), split('', 'y'))).toHaveLength(1);
  });
});

test('a lock file of an older release tells neither attributes nor constants, which is no difference', async () => {
  const side = await sideOf({
    ...gemm(real('alpha', 2)),
    nodes: [
      node({ op: 'Gemm', inputs: ['x', 'w', 'b'], outputs: ['h'] }),
      node({ op: 'Mul', inputs: ['h', 'b'], outputs: ['y'] }),
    ],
  });
  const layers = side.layers.map((layer) => ({
    ...layer,
    facts: new Map([...layer.facts].filter(([key]) => key !== 'config')),
  }));
  const wires = new Map(
    [...(side.wires ?? [])].map(([path, { calls, inputs, outputs }]) => [
      path,
      { calls: calls.map((call) => ({ ...call, op: call.op.toLowerCase(), named: [] })), inputs, outputs },
    ]),
  );
  const old = sideOfLock(
    'lock',
    jsonOf(await lockText({ ...side, layers, wires, constants: null }, { file: 'x', hash: () => false })),
  );
  const against = await compare(old, side, STRUCTURE);
  expect(linesOf(against)).toEqual([]);
  expect(notComparedLines(against.notCompared)).toEqual([
    'settings of h: only the second file tells',
    'constants and attributes of operations, form of the inputs, form of the outputs: only the second file tells',
  ]);
});
