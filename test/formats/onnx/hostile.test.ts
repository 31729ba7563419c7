import { linkSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join as joinPath } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { account } from '../../../src/account/account.ts';
import { BnsumError } from '../../../src/ir/error.ts';
import { refusalOf, wholeTensor } from '../../helpers/source.ts';
import { matches, openOnnx, readBytes } from './open.ts';
import { bytes, entry, external, float, floats, graph, int, join, model, node, tensor, text, varint } from './wire.ts';

const NAMES = ['scale', 'B', 'mean', 'var'];
const VECTORS = NAMES.map((name, index) => tensor(name, 1, [2], bytes(9, floats(index + 1, 2))));
const NORM = node({
  op: 'BatchNormalization',
  inputs: ['x', ...NAMES],
  outputs: ['y'],
  name: 'bn',
  attributes: [join(text(1, 'momentum'), float(2, 0.99), int(20, 1))],
});
const GOOD = model(graph({ nodes: [NORM], initializers: VECTORS, inputs: ['x'], outputs: ['y'] }));

/** A model with one more initializer. */
function withTensor(body: Uint8Array): Uint8Array {
  return model(graph({ nodes: [NORM], initializers: [...VECTORS, body], inputs: ['x'], outputs: ['y'] }));
}

test('the model that the others are damaged from is read', async () => {
  expect(await matches(GOOD)).toBe('yes');
  const { value } = await readBytes(GOOD);
  expect(account(value).totals.torch).toMatchObject({ parameters: 4, buffers: 4 });
  expect(value.layers[0]?.norm['momentum']).toBeCloseTo(0.99, 7);
});

describe('wire format', () => {
  const rows: readonly (readonly [string, Uint8Array, string, RegExp])[] = [
    ['a varint that is cut off', join(int(1, 8), [0x12, 0x80]), 'TRUNCATED', /cut off/],
    ['a varint of eleven bytes', join([8], new Array<number>(10).fill(0x80), [1]), 'MALFORMED', /64 bits/],
    ['a tenth byte above one', join([8], new Array<number>(9).fill(0xff), [2]), 'MALFORMED', /64 bits/],
    ['field number 0', join(int(1, 8), [0x02, 0]), 'MALFORMED', /field number 0/],
    ['a group', join(int(1, 8), [0x3b]), 'MALFORMED', /group/],
    ['the end of a group', join(int(1, 8), [0x3c]), 'MALFORMED', /group/],
    ['wire type 6', join(int(1, 8), [0x3e]), 'MALFORMED', /wire type 6/],
    ['wire type 7', join(int(1, 8), [0x3f]), 'MALFORMED', /wire type 7/],
    ['a graph that is a number', join(int(1, 8), int(7, 5)), 'MALFORMED', /Model graph has wire type 0/],
    ['a field past the end', join(int(1, 8), varint(7 * 8 + 2), varint(1000), [1, 2]), 'TRUNCATED', /1000 bytes/],
    ['a field of 2^63 bytes', join(int(1, 8), varint(7 * 8 + 2), varint(2n ** 63n)), 'TRUNCATED', /bytes/],
    ['an unknown field past the end', join(int(1, 8), varint(99 * 8 + 2), varint(9)), 'TRUNCATED', /99/],
    ['eight bytes that are not there', join(int(1, 8), varint(99 * 8 + 1), [1, 2]), 'TRUNCATED', /99/],
    ['a name that is not UTF-8', model(graph({ nodes: [bytes(1, [0xc0, 0xaf])] })), 'MALFORMED', /UTF-8/],
    ['no graph', join(int(1, 8), text(2, 'tests')), 'MALFORMED', /without a graph/],
  ];
  test.each(rows)('%s', async (_, body, code, reason) => {
    const refusal = await refusalOf(readBytes(body));
    expect(refusal.code).toBe(code);
    expect(refusal.message).toMatch(reason);
    if (!refusal.message.includes('without a graph')) expect(refusal.place).toMatch(/^@\d+$/);
  });

  test('graphs in graphs: 20 deep are read, 10,000 deep are refused at depth 100', async () => {
    // From the inside out, each level only as what stands before the next: copying would be quadratic.
    const nested = (depth: number): Uint8Array => {
      const parts: Uint8Array[] = [graph({ nodes: [node({ op: 'Identity', inputs: ['x'], outputs: ['i'] })] })];
      let size = parts[0]?.length ?? 0;
      for (let level = 0; level < depth; level += 1) {
        const attribute = join(text(1, 'then'), int(20, 5), varint(6 * 8 + 2), varint(size));
        const whole = attribute.length + size;
        const branch = join(
          node({ op: 'If', inputs: ['x'], outputs: [`o${level}`] }),
          varint(5 * 8 + 2),
          varint(whole),
          attribute,
        );
        const part = join(
          level === depth - 1 ? bytes(11, text(1, 'x')) : [],
          varint(1 * 8 + 2),
          varint(branch.length + size),
          branch,
        );
        parts.push(part);
        size += part.length;
      }
      return model(join(...parts.reverse()));
    };
    await expect(readBytes(nested(20))).resolves.toBeDefined();
    for (const depth of [200, 10_000]) {
      const refusal = await refusalOf(readBytes(nested(depth)));
      expect(refusal.code).toBe('LIMIT');
      expect(refusal.reason).toMatch(/deeper than 100/);
    }
  });

  test('a list of packed numbers that ends inside a number', async () => {
    const refusal = await refusalOf(readBytes(withTensor(join(bytes(1, [0x80]), int(2, 1), text(8, 't')))));
    expect(refusal.code).toBe('MALFORMED');
  });
});

describe('tensors', () => {
  const rows: readonly (readonly [string, Uint8Array, string, RegExp])[] = [
    ['too few raw bytes', tensor('t', 1, [3], bytes(9, floats(1, 2))), 'MISMATCH', /12 bytes are needed/],
    ['too many raw bytes', tensor('t', 1, [1], bytes(9, floats(1, 2))), 'MISMATCH', /holds 8/],
    ['no elements', tensor('t', 1, [3]), 'MISMATCH', /no elements/],
    [
      'raw and typed elements',
      tensor('t', 1, [2], bytes(4, floats(1, 2)), bytes(9, floats(1, 2))),
      'MALFORMED',
      /come twice/,
    ],
    ['a typed field of another type', tensor('t', 7, [2], bytes(4, floats(1, 2))), 'MISMATCH', /float_data/],
    ['too few typed numbers', tensor('t', 7, [200], bytes(7, varint(5))), 'MISMATCH', /numbers are needed/],
    ['a negative axis', tensor('t', 1, [-1], bytes(9, floats(1))), 'MALFORMED', /whole number/],
    ['a product above 2^53', tensor('t', 1, [2n ** 40n, 2n ** 40n], bytes(9, floats(1))), 'LIMIT', /2\^53/],
    ['an axis above 2^53', tensor('t', 1, [2n ** 62n], bytes(9, floats(1))), 'LIMIT', /axis/],
    ['a rank of 65', tensor('t', 1, new Array<number>(65).fill(1), bytes(9, floats(1))), 'LIMIT', /rank/],
    ['a type that is not known', tensor('t', 77, [1], bytes(9, floats(1))), 'UNSUPPORTED', /77/],
    ['no type', tensor('t', 0, [1], bytes(9, floats(1))), 'UNSUPPORTED', /type 0/],
    ['segments', tensor('t', 1, [1], bytes(3, int(1, 0)), bytes(9, floats(1))), 'UNSUPPORTED', /segments/],
    ['a name that is there already', tensor('scale', 1, [1], bytes(9, floats(1))), 'MALFORMED', /two initializers/],
    [
      'external and own elements',
      tensor('t', 1, [1], external('w.bin'), bytes(9, floats(1))),
      'MALFORMED',
      /come twice/,
    ],
  ];
  test.each(rows)('%s', async (_, body, code, reason) => {
    const refusal = await refusalOf(readBytes(withTensor(body), new Map([['w.bin', floats(1)]])));
    expect([refusal.code, refusal.message]).toEqual([code, expect.stringMatching(reason)]);
  });

  test('typed fields of every form give the same elements', async () => {
    const forms = [
      bytes(7, join(varint(1), varint(-2), varint(300))),
      join(int(7, 1), int(7, -2), int(7, 300)),
      join(bytes(7, varint(1)), bytes(7, join(varint(-2), varint(300)))),
    ];
    for (const form of forms) {
      const { value } = await readBytes(withTensor(tensor('t', 7, [3], form)));
      const found = value.layers.flatMap((layer) => layer.weights).find((weight) => weight.tensor.name === 't');
      expect(found).toBeDefined();
      if (found === undefined) continue;
      const view = new BigInt64Array((await wholeTensor(found.tensor)).buffer);
      expect([...view]).toEqual([1n, -2n, 300n]);
    }
    const apart = withTensor(tensor('t', 1, [2], float(4, 1.5), float(4, -2)));
    const { value } = await readBytes(apart);
    const tensors = value.layers.flatMap((layer) => layer.weights).map((weight) => weight.tensor);
    const last = tensors.find((one) => one.name === 't');
    expect(last === undefined ? [] : [...new Float32Array((await wholeTensor(last)).buffer)]).toEqual([1.5, -2]);
  });

  test('fewer or more varints than elements are told when they are read', async () => {
    for (const count of [2, 6]) {
      const body = tensor('t', 7, [count], bytes(7, join(varint(300), varint(300), varint(300))));
      const { value } = await readBytes(withTensor(body));
      const found = value.layers.flatMap((layer) => layer.weights).find((weight) => weight.tensor.name === 't');
      if (found === undefined) throw new Error('no such tensor');
      expect((await refusalOf(wholeTensor(found.tensor))).code).toBe('MISMATCH');
    }
  });
});

describe('graphs', () => {
  const identity = (from: string, to: string): Uint8Array => node({ op: 'Relu', inputs: [from], outputs: [to] });
  const rows: readonly (readonly [string, Uint8Array, RegExp])[] = [
    ['a cycle', graph({ nodes: [identity('b', 'a'), identity('a', 'b')], outputs: ['b'] }), /reads 'b'/],
    ['an initializer that is missing', graph({ nodes: [NORM], inputs: ['x'], outputs: ['y'] }), /reads 'scale'/],
    ['a value given twice', graph({ nodes: [identity('x', 'y'), identity('x', 'y')], inputs: ['x'] }), /given already/],
  ];
  test.each(rows)('%s', async (_, body, reason) => {
    const refusal = await refusalOf(readBytes(model(body)));
    expect([refusal.code, refusal.message]).toEqual(['MALFORMED', expect.stringMatching(reason)]);
  });

  test('operators of other domains are rows of what is not known, whatever their names', async () => {
    const nodes = [
      node({ op: 'PyOp', domain: 'evil.example', inputs: ['x', 'scale'], outputs: ['y'], name: '__proto__' }),
    ];
    const { value } = await readBytes(model(graph({ nodes, initializers: VECTORS, inputs: ['x'], outputs: ['y'] })));
    expect(value.graphs.get('')?.calls.map((call) => call.op)).toEqual(['evil.example.PyOp']);
    expect(new Set(value.layers.map((layer) => layer.kind))).toEqual(new Set(['unknown']));
  });

  test('100,000 nodes take time in proportion', async () => {
    const chain = (count: number): Uint8Array =>
      model(
        graph({
          nodes: Array.from({ length: count }, (_, index) => identity(`v${index}`, `v${index + 1}`)),
          inputs: ['v0'],
          outputs: [`v${count}`],
        }),
      );
    // The best of three, so that a busy machine does not decide.
    const time = async (body: Uint8Array): Promise<number> => {
      const times: number[] = [];
      for (let round = 0; round < 3; round += 1) {
        const start = performance.now();
        const { value } = await readBytes(body);
        expect(value.layers.length).toBeGreaterThan(0);
        times.push(performance.now() - start);
      }
      return Math.min(...times);
    };
    const [small, large] = [await time(chain(10_000)), await time(chain(100_000))];
    expect(large).toBeLessThan(40 * Math.max(small, 200));
  });
});

describe('external data', () => {
  let folder = '';
  beforeAll(() => {
    folder = mkdtempSync(joinPath(tmpdir(), 'bnsum-onnx-'));
    mkdirSync(joinPath(folder, 'real'));
    writeFileSync(joinPath(folder, 'w.bin'), new Uint8Array(8));
    writeFileSync(joinPath(folder, 'real/w.bin'), new Uint8Array(8));
    writeFileSync(joinPath(folder, 'twice.bin'), new Uint8Array(8));
    linkSync(joinPath(folder, 'twice.bin'), joinPath(folder, 'hard.bin'));
    symlinkSync('w.bin', joinPath(folder, 'soft.bin'));
    symlinkSync('real', joinPath(folder, 'soft'));
  });
  afterAll(() => rmSync(folder, { recursive: true }));

  const open = async (location: string, more: Readonly<Record<string, string>> = {}) => {
    const path = joinPath(folder, 'model.onnx');
    writeFileSync(path, withTensor(tensor('t', 1, [2], external(location, more))));
    return openOnnx(path);
  };

  test('a file in the folder, and one below it', async () => {
    for (const location of ['w.bin', './w.bin', 'real/w.bin']) await (await open(location)).value.close();
  });

  test.each([
    ['../../etc/passwd', 'UNSAFE'],
    ['a/../../b', 'UNSAFE'],
    ['real/../w.bin', 'UNSAFE'],
    ['/etc/passwd', 'UNSAFE'],
    ['C:\\w.bin', 'UNSAFE'],
    ['file:///etc/passwd', 'UNSAFE'],
    ['soft.bin', 'UNSAFE'],
    ['soft/w.bin', 'UNSAFE'],
    ['hard.bin', 'UNSAFE'],
    ['real', 'NOT_A_FILE'],
    ['gone.bin', 'NOT_FOUND'],
    ['w.bin\0', 'UNSAFE'],
  ])('%s is not opened', async (location, code) => {
    expect((await refusalOf(open(location))).code).toBe(code);
  });

  test.each([
    [{ offset: '-1' }, 'MALFORMED'],
    [{ offset: '0x10' }, 'MALFORMED'],
    [{ offset: '1e3' }, 'MALFORMED'],
    [{ length: '-8' }, 'MALFORMED'],
    [{ offset: '99999999999999999999' }, 'MALFORMED'],
    [{ length: '9' }, 'MISMATCH'],
    [{ offset: '1' }, 'TRUNCATED'],
    [{ offset: '1125899906842624' }, 'TRUNCATED'],
    [{ __proto__x: '1' }, 'MALFORMED'],
    [{ basepath: '/' }, 'MALFORMED'],
  ])('%o is refused', async (more, code) => {
    expect((await refusalOf(open('w.bin', more))).code).toBe(code);
  });

  test('a key that comes twice, and no location', async () => {
    const twice = tensor('t', 1, [2], external('w.bin', { offset: '0' }), entry(13, 'offset', '0'));
    const none = tensor('t', 1, [2], entry(13, 'offset', '0'), int(14, 1));
    for (const body of [twice, none]) expect((await refusalOf(readBytes(withTensor(body)))).code).toBe('MALFORMED');
  });

  test('three gigabytes beside the model cost less than 5 MB of reading', async () => {
    const count = 300;
    const size = 10_000_000;
    writeFileSync(joinPath(folder, 'large.data'), '');
    truncateSync(joinPath(folder, 'large.data'), count * size);
    const path = joinPath(folder, 'large.onnx');
    const nodes = Array.from({ length: count }, (_, index) =>
      node({ op: 'MatMul', inputs: [`v${index}`, `w${index}`], outputs: [`v${index + 1}`] }),
    );
    const initializers = Array.from({ length: count }, (_, index) =>
      tensor(`w${index}`, 1, [2500, 1000], external('large.data', { offset: `${index * size}`, length: `${size}` })),
    );
    writeFileSync(path, model(graph({ nodes, initializers, inputs: ['v0'], outputs: [`v${count}`] })));
    const { value } = await openOnnx(path);
    expect(account(value).totals.torch.parameters).toBe((count * size) / 4);
    expect(value.bytesRead()).toBeLessThan(5_000_000);
    await value.close();
  });

  test('three gigabytes in the model itself are stepped over', async () => {
    const path = joinPath(folder, 'whole.onnx');
    const size = 3_000_000_000;
    const header = join(int(1, 750_000_000), int(2, 1), text(8, 'w'), varint(9 * 8 + 2), varint(size));
    const graphHead = join(bytes(1, node({ op: 'Relu', inputs: ['x'], outputs: ['y'] })), bytes(11, text(1, 'x')));
    const tensorHead = join(varint(5 * 8 + 2), varint(header.length + size), header);
    const head = join(
      int(1, 8),
      bytes(8, int(2, 15)),
      varint(7 * 8 + 2),
      varint(graphHead.length + tensorHead.length + size),
      graphHead,
      tensorHead,
    );
    writeFileSync(path, head);
    truncateSync(path, head.length + size);
    const { value } = await openOnnx(path);
    expect(account(value).totals.torch.parameters).toBe(750_000_000);
    expect(value.bytesRead()).toBeLessThan(100_000);
    const tail = new Uint8Array(8);
    const found = value.layers.flatMap((layer) => layer.weights)[0];
    await found?.tensor.readInto([749_999_998], [2], tail);
    expect([...tail]).toEqual(new Array<number>(8).fill(0));
    await value.close();
  });
});

test('every cut of a model is refused, or is no model', async () => {
  for (let size = 0; size < GOOD.length; size += 1) {
    const outcome = await readBytes(GOOD.subarray(0, size)).then(
      () => 'read',
      (error: unknown) => error,
    );
    // The operator sets come last: without them the file is whole.
    if (outcome !== 'read') expect(outcome).toBeInstanceOf(BnsumError);
    else expect(size).toBeGreaterThanOrEqual(GOOD.length - 4);
  }
});

test('whatever a byte becomes, the file is read or refused', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.tuple(fc.nat(GOOD.length - 1), fc.nat(255)), { minLength: 1, maxLength: 6 }),
      async (changes) => {
        const damaged = GOOD.slice();
        for (const [at, byte] of changes) damaged[at] = byte;
        try {
          const { value } = await readBytes(damaged);
          account(value);
          for (const { tensor: one } of value.layers.flatMap((layer) => layer.weights)) {
            if (one.encoding.kind === 'dense' && one.byteLength < 1e6) await wholeTensor(one);
          }
        } catch (error) {
          if (!(error instanceof BnsumError) || error.code === 'INTERNAL') throw error;
        }
      },
    ),
    { numRuns: 3_000 },
  );
});
