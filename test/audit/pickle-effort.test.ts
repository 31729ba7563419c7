import { describe, expect, test } from 'vitest';
import type { Audit } from '../../src/audit/finding.ts';
import { LIMITS } from '../../src/ir/limits.ts';
import {
  bytes,
  dict,
  global,
  int,
  type Part,
  PROTO2,
  PROTO4,
  STOP,
  storage,
  tensor,
  text,
  u32,
  u64,
} from '../formats/torch/pickle-builder.ts';
import { type ZipPart, zipBytes } from '../helpers/zip-bytes.ts';
import { auditBytes, rulesOf } from './audit-bytes.ts';

const call = (module: string, name: string, ...args: readonly Part[]): Uint8Array =>
  bytes(global(module, name), '(', ...args, 'tR');
const builtin = (name: string, ...args: readonly Part[]): Uint8Array => call('builtins', name, ...args);
const wrap = (...parts: readonly Part[]): Uint8Array => bytes(PROTO4, ...parts, STOP);
/** LONG1. */
const long = (value: bigint): Uint8Array => bytes(0x8a, 8, u64(value));
const shape = (...lengths: readonly bigint[]): Uint8Array => bytes('(', ...lengths.map(long), 't');
const audited = (...parts: readonly Part[]): Promise<Audit> => auditBytes(wrap(...parts));
const join = (...parts: readonly Uint8Array[]): Uint8Array => new Uint8Array(Buffer.concat(parts));

async function expectRule(audit: Audit | Promise<Audit>, rule: string): Promise<void> {
  const { verdict, findings } = await audit;
  expect(verdict, JSON.stringify(findings)).toBe('suspicious');
  expect(findings.map((finding) => finding.rule)).toContain(rule);
}

/** A torch.save zip around a pickle and its records. */
function torchZip(pickle: Uint8Array, records: Readonly<Record<string, Uint8Array>>): Uint8Array {
  const data: readonly ZipPart[] = Object.entries(records).map(([key, value]) => ({ name: `a/${key}`, data: value }));
  return zipBytes([{ name: 'a/data.pkl', data: pickle }, { name: 'a/version', data: bytes('3\n') }, ...data]);
}

describe('memory that the calls of a stream make', () => {
  const GIGA = 1n << 30n;
  const floats = call('torch', 'FloatTensor', call('torch', 'Size', shape(500_000_000n)));
  /** Lists of lists: a printed text doubles with each. */
  const doubling: Part[] = [']q', 0];
  for (let level = 0; level < 30; level += 1) doubling.push('0]q', level + 1, '(h', level, 'h', level, 'e');

  // Each of these, a few dozen bytes, takes 0.3 to 1,000 GB in Python (torch.load with weights_only takes the first).
  test.each<readonly [string, Uint8Array]>([
    [
      'a tensor of a Size, copied to a device',
      call(
        'torch._utils',
        '_rebuild_device_tensor_from_cpu_tensor',
        floats,
        global('torch', 'float64'),
        text('cpu'),
        'I00\n',
      ),
    ],
    ['many small ones', bytes('(', ...Array.from({ length: 20 }, () => builtin('bytearray', int(1 << 24))), 'l')],
    [
      '_reconstructor',
      call('copyreg', '_reconstructor', global('builtins', 'bytearray'), global('builtins', 'bytearray'), long(GIGA)),
    ],
    [
      '_reconstructor of a storage',
      call(
        'copyreg',
        '_reconstructor',
        global('torch.storage', 'UntypedStorage'),
        global('torch.storage', 'UntypedStorage'),
        long(GIGA),
      ),
    ],
    [
      'elements of a gigabyte each',
      call('numpy', 'ndarray', int(2), 0x85, call('numpy', 'dtype', text('V1000000000'))),
    ],
    [
      'keywords',
      bytes(
        global('numpy', 'ndarray'),
        ')',
        dict([
          ['shape', shape(GIGA)],
          ['dtype', text('u1')],
        ]),
        0x92,
      ),
    ],
    ['a scalar without a value', call('numpy.core.multiarray', 'scalar', call('numpy', 'dtype', text('V1000000000')))],
    ['a text of lists', builtin('str', ...doubling)],
    ['a list of a bytearray', builtin('list', builtin('bytearray', int(20_000_000)))],
    ['a tensor of nested lists', call('torch', 'FloatTensor', ...doubling)],
    [
      'a quantised tensor, empty at first',
      call(
        'torch._utils',
        '_rebuild_qtensor',
        storage('QInt8Storage', '0', 4),
        int(0),
        shape(GIGA),
        shape(0n),
        'N',
        'I00\n',
        'N',
      ),
    ],
    [
      'a repeated element, copied to a device',
      call(
        'torch._utils',
        '_rebuild_device_tensor_from_cpu_tensor',
        call('torch._utils', '_rebuild_tensor', storage('FloatStorage', '0', 1), int(0), shape(GIGA), shape(0n)),
        global('torch', 'float64'),
        text('cpu'),
        'I00\n',
      ),
    ],
  ])('%s', async (_, value) => {
    const pickle = (...parts: readonly Part[]): Uint8Array => torchZip(wrap(...parts), { 'data/0': new Uint8Array(4) });
    await expectRule(auditBytes(pickle(value), 'x.pt'), 'EXPANSION');
    // What is thrown away was made all the same.
    await expectRule(auditBytes(pickle(value, '0N'), 'x.pt'), 'EXPANSION');
  });

  test('one value copied again and again, in Python and here', async () => {
    const size = 100_000;
    const list = bytes(']q', 1, '(', 'N'.repeat(size), 'e');
    const copies = Array.from({ length: 2_000 }, () => bytes('h', 2, 'h', 1, 0x85, 'R'));
    for (const name of ['list', 'tuple', 'set']) {
      await expectRule(audited(global('builtins', name), 'q', 2, '0', '(', list, ...copies, 'l'), 'EXPANSION');
    }
    // Each BUILD fills the __dict__ of another object.
    const state = bytes('}q', 1, '(', ...Array.from({ length: 1_000 }, (_, at) => bytes(text(`a${at}`), 'N')), 'u0');
    const builds = Array.from({ length: 2_000 }, () => bytes('h', 2, ')Rh', 1, 'b'));
    const many = audited(state, global('collections', 'OrderedDict'), 'q', 2, '0(', ...builds, 'l');
    await expectRule(many, 'EXPANSION');
  });

  test('a reader of models stops copying as well', async () => {
    const { runPickle } = await import('../../src/formats/torch/unpickle.ts');
    const list = bytes(']q', 1, '(', 'N'.repeat(100_000), 'e');
    const copies = Array.from({ length: 2_000 }, () => bytes('h', 2, 'h', 1, 0x85, 'R'));
    const stream = wrap(global('builtins', 'list'), 'q', 2, '0', '(', list, ...copies, 'l');
    expect(runPickle(stream, 0, { file: 'x' }).error).toMatchObject({ code: 'LIMIT' });
  });

  test('streams one behind another count together', async () => {
    const one = wrap(builtin('bytearray', int(30_000_000)));
    expect((await auditBytes(one)).verdict).toBe('safe');
    await expectRule(auditBytes(bytes(one, one, one)), 'EXPANSION');
  });

  test('a table that grows to a memo index', async () => {
    await expectRule(audited('Nr', u32(15_000_000)), 'EXPANSION');
  });

  test('values of the file are no such memory', async () => {
    // 3 MB of bytes as protocol 2 writes them, and as a bytearray of protocol 4.
    const long8 = (length: number): Uint8Array => join(bytes('B', u32(length)), new Uint8Array(length));
    const encoded = join(
      bytes(global('_codecs', 'encode'), '(X', u32(3_000_000)),
      new Uint8Array(3_000_000).fill(0x61),
    );
    const honest = join(
      bytes(PROTO4, '('),
      join(encoded, bytes(text('latin1'), 'tR')),
      join(bytes(global('builtins', 'bytearray')), long8(3_000_000), bytes(0x85, 'R')),
      bytes('t', STOP),
    );
    expect((await auditBytes(honest)).verdict).toBe('safe');
    // A tensor of 1 GB that was on a device: its bytes are a record, here of 4.
    const device = call(
      'torch._utils',
      '_rebuild_device_tensor_from_cpu_tensor',
      tensor('FloatStorage', '0', 1, 0, [1], [1]),
      global('torch', 'float64'),
      text('cpu'),
      'I00\n',
    );
    const audit = await auditBytes(torchZip(wrap(device), { 'data/0': new Uint8Array(4) }), 'x.pt');
    expect(audit.verdict, JSON.stringify(audit.findings)).toBe('safe');
  });

  test('a computed argument of a plain type is a finding', async () => {
    const number = builtin('int', text('5000000000'));
    for (const value of [
      builtin('range', number),
      builtin('bytearray', number),
      builtin('list', builtin('range', number)),
      call('torch', 'FloatTensor', number),
      call('torch', 'Size', builtin('range', int(3))),
      call('numpy', 'ndarray', number, text('f4')),
      // Another encoding is a module of that name, which Python imports.
      builtin('bytes', text('a'), text('idna')),
      builtin('str', bytes('C', 1, 'a'), text('punycode')),
    ]) {
      await expectRule(audited(value), 'WRONG_ROLE');
    }
  });
});

describe('keys that take long to hash', () => {
  const nested = (levels: number): Uint8Array => bytes(')', ...Array.from({ length: levels }, () => bytes('2', 0x86)));

  // Python hashes a tuple anew, part by part, whenever it is a key: 2^40 steps.
  test('a tuple of one tuple twice, forty times over', async () => {
    await expectRule(audited('}', nested(40), 'Ns'), 'EXPANSION');
    await expectRule(audited(0x8f, '(', nested(40), 0x90), 'EXPANSION');
    await expectRule(audited('(', nested(40), 0x91), 'EXPANSION');
    await expectRule(audited(builtin('set', '(', nested(40), 'l')), 'EXPANSION');
    expect((await audited('}', nested(10), 'Ns')).verdict).toBe('safe');
  });

  test('a long tuple, again and again', async () => {
    const tuple = bytes('(', 'N'.repeat(100_000), 'tq', 1, '0');
    await expectRule(audited(tuple, '}(', 'h\x01N'.repeat(2_000), 'u'), 'EXPANSION');
  });

  // CPython hashes by recursion in C: 300,000 tuples in one another end the process.
  test('tuples in one another', async () => {
    await expectRule(audited('}N', '\x85'.repeat(300_000), 'Ns'), 'EXPANSION');
  });
});

describe('structured types of NumPy', () => {
  const dtype = (type: string): Uint8Array => bytes(global('numpy', 'dtype'), '(', text(type), 0x89, 0x88, 'tR');
  const state = (order: string, ...rest: readonly Part[]): Uint8Array => bytes('(', int(3), text(order), ...rest, 'tb');
  const minus = bytes('J', u32(-1));
  const plain = (type: string): Uint8Array => bytes(dtype(type), state('<', 'NNN', minus, minus, int(0)));
  const field = (name: string, type: Part, offset: number): Uint8Array => bytes(text(name), type, int(offset), 0x86);
  /** A type of `size` bytes with one field. */
  const record = (
    size: number,
    inner: Part,
    options: { flags?: number; size?: number; align?: number } = {},
  ): Uint8Array =>
    bytes(
      dtype(`V${size}`),
      state(
        '|',
        'N',
        text('f'),
        0x85,
        '}',
        inner,
        's',
        int(options.size ?? size),
        int(options.align ?? 1),
        int(options.flags ?? 16),
      ),
    );
  const array = (type: Part, raw: Uint8Array, count = 1): Uint8Array =>
    bytes(
      call('numpy.core.multiarray', '_reconstruct', global('numpy', 'ndarray'), int(0), 0x85, 'C', 1, 'b'),
      '(',
      int(1),
      int(count),
      0x85,
      type,
      0x89,
      'C',
      raw.length,
      raw,
      'tb',
    );
  const eight = bytes('AAAAAAAA');

  test('what NumPy writes is safe', async () => {
    const titled = bytes(
      dtype('V4'),
      state(
        '|',
        'N',
        text('n'),
        0x85,
        '}(',
        ...['n', 'title'].map((name) => bytes(text(name), plain('f4'), int(0), text('title'), 0x87)),
        'u',
        int(4),
        int(1),
        int(16),
      ),
    );
    const inner = bytes(dtype('V8'), state('|', plain('f4'), int(2), 0x85, 0x86, 'NN', int(8), int(4), int(0)));
    const date = bytes(
      dtype('M8'),
      '(',
      int(4),
      text('<'),
      'NNN',
      minus,
      minus,
      int(0),
      'N',
      '(C\x01D',
      int(1),
      int(1),
      int(1),
      't',
      0x86,
      'tb',
    );
    for (const value of [
      array(plain('f8'), eight),
      array(dtype('V8'), eight),
      array(record(8, field('f', plain('i8'), 0)), eight),
      array(record(8, field('f', plain('f4'), 4)), eight),
      array(record(8, field('f', inner, 0)), eight),
      array(titled, bytes('AAAA')),
      array(date, eight),
      array(bytes(dtype('U2'), state('<', 'NNN', int(8), int(4), int(8))), eight),
      call('numpy.core.multiarray', 'scalar', plain('f8'), 'C', 8, eight),
    ]) {
      const audit = await audited(value);
      expect(audit.verdict, JSON.stringify(audit.findings)).toBe('safe');
    }
  });

  // With a field of type object behind flags that deny it, eight bytes of the file are taken for the address of a Python
  // object: str(array) ends in a segmentation fault, or wherever the address leads.
  test.each<readonly [string, Part]>([
    [
      'a field of objects',
      record(8, field('f', bytes(global('numpy', 'dtype'), global('builtins', 'list'), 0x85, 'R'), 0), { flags: 0 }),
    ],
    ['a field of objects by its name', record(8, field('f', dtype('O8'), 0))],
    ['flags of objects', record(8, field('f', plain('i8'), 0), { flags: 63 })],
    ['a field behind the end', record(8, field('f', plain('i8'), 1))],
    ['a size of another type', record(8, field('f', plain('i8'), 0), { size: 1 })],
    ['an alignment of 0', record(8, field('f', plain('i8'), 0), { align: 0 })],
    ['a size of a plain type', bytes(dtype('S8'), state('|', 'NNN', bytes('J', u32(-8)), int(1), int(0)))],
    [
      'an inner array of another size',
      bytes(dtype('V8'), state('|', plain('f4'), int(3), 0x85, 0x86, 'NN', int(8), int(4), int(0))),
    ],
    [
      'a type that is not its own',
      bytes(call('numpy', 'dtype', text('V8')), state('|', 'NNN', int(8), int(1), int(0))),
    ],
    ['a second state', bytes(record(8, field('f', plain('i8'), 0)), state('|', 'NNN', int(8), int(1), int(0)))],
    ['bytes of another size', plain('i1')],
  ])('%s', async (_, type) => {
    const audit = await audited(array(type, eight));
    expect(audit.verdict).toBe('suspicious');
    expect(rulesOf(audit).some((rule) => rule === 'WRONG_ROLE' || rule === 'OBJECT_ARRAY')).toBe(true);
  });

  // NumPy keeps the stream's own dict.
  test('fields that are changed when the type is made', async () => {
    const made = bytes(
      dtype('V8'),
      state('|', 'N', text('f'), 0x85, '}q', 1, field('f', plain('i8'), 0), 's', int(8), int(1), int(16)),
    );
    const changed = bytes('h', 1, field('f', plain('f8'), 4), 's0');
    await expectRule(audited(made, 'q', 2, changed, array('h\x02', eight), 0x86), 'WRONG_ROLE');
  });

  // A tensor of the first state shares its memory, which the second one frees.
  test('a second state of an array', async () => {
    const first = array(plain('f8'), eight);
    await expectRule(audited(first, '(', int(1), int(1), 0x85, plain('f8'), 0x89, 'C', 8, eight, 'tb'), 'WRONG_ROLE');
  });

  test('numpy.dtype takes the texts that NumPy writes, and nothing else', async () => {
    const of = (...args: readonly Part[]): Promise<Audit> => audited(call('numpy', 'dtype', ...args));
    for (const type of ['f8', 'b1', 'c32', 'S0', 'U20', 'V8', 'M8', '<i4'])
      expect((await of(text(type))).verdict).toBe('safe');
    for (const type of ['f4,f4', '(2,)f4', 'f3', 'float64', '3f4', 'datetime64[ns]'])
      await expectRule(of(text(type)), 'WRONG_ROLE');
    for (const type of [bytes('C\x01O'), text('O'), global('builtins', 'list'), global('builtins', 'dict')]) {
      await expectRule(of(type), 'OBJECT_ARRAY');
    }
    await expectRule(of(global('builtins', 'float')), 'WRONG_ROLE');
    await expectRule(of(']'), 'WRONG_ROLE');
  });

  test('an array of protocol 5 around its bytes', async () => {
    const buffer = (type: Part, count: Part, raw: Part, ...more: readonly Part[]): Promise<Audit> =>
      auditBytes(
        bytes([0x80, 5], call('numpy._core.numeric', '_frombuffer', raw, type, count, text('C'), ...more), STOP),
      );
    const raw = bytes(0x96, u64(8n), eight);
    for (const module of ['numpy.core.numeric', 'numpy._core.numeric']) {
      const audit = await audited(call(module, '_frombuffer', raw, plain('f8'), int(1), 0x85, text('C')));
      expect(audit.verdict, JSON.stringify(audit.findings)).toBe('safe');
    }
    expect((await buffer(plain('f4'), bytes(int(2), int(1), 0x86), raw, int(1), int(0), 0x86)).verdict).toBe('safe');
    await expectRule(buffer(dtype('O8'), bytes(int(1), 0x85), raw), 'OBJECT_ARRAY');
    await expectRule(buffer(plain('f8'), bytes(int(2), 0x85), raw), 'WRONG_ROLE');
    await expectRule(buffer(plain('f8'), bytes(int(1), 0x85), builtin('bytearray', int(8))), 'WRONG_ROLE');
    await expectRule(buffer(text('f8,f8'), bytes(int(1), 0x85), raw), 'WRONG_ROLE');
  });
});

describe('views of storages, however the tensor is made', () => {
  const FOUR = { 'data/0': new Uint8Array(16) };
  const place = (length: number, step: number): Part[] => [
    storage('FloatStorage', '0', 4),
    int(0),
    '(',
    int(length),
    't(',
    int(step),
    't',
  ];
  const far = (...more: readonly Part[]): Part[] => [...place(1 << 20, 1), ...more];
  const empty = bytes(global('collections', 'OrderedDict'), ')R');
  const affine = bytes('(', global('torch', 'per_tensor_affine'), 'G', [0x3f, 0xf0, 0, 0, 0, 0, 0, 0], int(0), 't');
  const viaType = (...inner: readonly Part[]): Uint8Array =>
    call(
      'torch._tensor',
      '_rebuild_from_type_v2',
      global('torch._utils', '_rebuild_tensor_v2'),
      global('torch', 'Tensor'),
      '(',
      ...inner,
      't',
      '}',
    );

  // PyTorch before it checked them read, and wrote, whatever memory lies behind the storage.
  test.each<readonly [string, Part]>([
    ['_rebuild_from_type_v2', viaType(...far(0x89, empty))],
    ['_rebuild_qtensor', call('torch._utils', '_rebuild_qtensor', ...far(affine, 0x89, empty))],
    [
      '_rebuild_tensor_v3 of wider elements',
      call('torch._utils', '_rebuild_tensor_v3', ...place(4, 1), 0x89, empty, global('torch', 'float64')),
    ],
    ['the state of a tensor', bytes(global('torch', 'FloatTensor'), ')R(', ...far(), 'tb')],
    ['a tensor that is thrown away', bytes(call('torch._utils', '_rebuild_tensor_v2', ...far(0x89, empty)), '0N')],
    [
      'a tensor that is an argument',
      builtin('tuple', '(', call('torch._utils', '_rebuild_tensor_v2', ...far(0x89, empty)), 'l'),
    ],
  ])('%s', async (_, value) => {
    await expectRule(auditBytes(torchZip(wrap(value), FOUR), 'x.pt'), 'TENSOR_BOUNDS');
  });

  test('views that lie in it are safe', async () => {
    for (const value of [
      viaType(...place(4, 1), 0x89, empty),
      viaType(...place(1000, 0), 0x89, empty),
      call('torch._utils', '_rebuild_tensor_v3', ...place(2, 1), 0x89, empty, global('torch', 'float64')),
      bytes(global('torch', 'FloatTensor'), ')R(', ...place(4, 1), 'tb'),
    ]) {
      const audit = await auditBytes(torchZip(wrap(value), FOUR), 'x.pt');
      expect(audit.verdict, JSON.stringify(audit.findings)).toBe('safe');
    }
  });

  test('a storage that the stream makes for itself', async () => {
    const made = call(
      'copyreg',
      '_reconstructor',
      global('torch.storage', 'UntypedStorage'),
      global('builtins', 'object'),
      'N',
    );
    const view = call('torch._utils', '_rebuild_tensor_v2', made, int(0), int(4), 0x85, int(1), 0x85, 0x89, empty);
    await expectRule(auditBytes(torchZip(wrap(view), FOUR), 'x.pt'), 'WRONG_ROLE');
  });

  const numbers = (...values: readonly bigint[]): Uint8Array => bytes(...values.map((value) => u64(value)));
  const nested = (size: bigint, step: bigint, offset: bigint): Uint8Array =>
    torchZip(
      wrap(
        call(
          'torch._utils',
          '_rebuild_nested_tensor',
          tensor('FloatStorage', '0', 4, 0, [4], [1]),
          tensor('LongStorage', '1', 1, 0, [1, 1], [1, 1]),
          tensor('LongStorage', '2', 1, 0, [1, 1], [1, 1]),
          tensor('LongStorage', '3', 1, 0, [1], [1]),
        ),
      ),
      { ...FOUR, 'data/1': numbers(size), 'data/2': numbers(step), 'data/3': numbers(offset) },
    );

  test('rows of a nested tensor', async () => {
    expect((await auditBytes(nested(4n, 1n, 0n), 'x.pt')).verdict).toBe('safe');
    expect((await auditBytes(nested(2n, 1n, 2n), 'x.pt')).verdict).toBe('safe');
    // torch.nested.nested_tensor([]).
    const none = ['1', '2'].map((key) => tensor('LongStorage', key, 1, 0, [], []));
    const nothing = [tensor('FloatStorage', '0', 4, 0, [0], [1]), ...none, tensor('LongStorage', '3', 0, 0, [0], [1])];
    const empty_ = torchZip(wrap(call('torch._utils', '_rebuild_nested_tensor', ...nothing)), {
      ...FOUR,
      'data/1': numbers(0n),
      'data/2': numbers(0n),
      'data/3': numbers(),
    });
    expect((await auditBytes(empty_, 'x.pt')).verdict).toBe('safe');
    for (const [size, step, offset] of [
      [200_000n, 1n, 0n],
      [4n, 1n, 1n << 44n],
      [2n, 4n, 0n],
      [4n, 1n, 1n],
      [-1n, 1n, 0n],
      [2n, -1n, 1n],
    ] as const) {
      await expectRule(auditBytes(nested(size, step, offset), 'x.pt'), 'TENSOR_BOUNDS');
    }
  });

  /** torch._utils._rebuild_sparse_tensor of two values; the parts before them are whole numbers. */
  const sparse = (layout: string, parts: readonly (readonly [readonly bigint[], readonly number[]])[]): Uint8Array => {
    const records: Record<string, Uint8Array> = { ...FOUR };
    const tables = parts.map(([values, lengths], at) => {
      records[`data/${at + 1}`] = numbers(...values);
      const strides = lengths.map((_, axis) =>
        lengths.slice(axis + 1).reduce((product, length) => product * length, 1),
      );
      return tensor('LongStorage', String(at + 1), values.length, 0, lengths, strides);
    });
    const values = tensor('FloatStorage', '0', 4, 0, [2], [1]);
    const word = call('torch.serialization', '_get_layout', text(`torch.${layout}`));
    const size = bytes(int(3), int(4), 0x86);
    return torchZip(
      wrap(call('torch._utils', '_rebuild_sparse_tensor', word, '(', ...tables, values, size, 't')),
      records,
    );
  };

  // torch.load compares them only when it is told to: to_dense() of such a tensor writes behind its memory.
  test('indices of a sparse tensor', async () => {
    const coo = (...indices: readonly bigint[]): Uint8Array => sparse('sparse_coo', [[indices, [2, 2]]]);
    const compressed = (layout: string, starts: readonly bigint[], places: readonly bigint[]): Uint8Array =>
      sparse(layout, [
        [starts, [starts.length]],
        [places, [places.length]],
      ]);
    for (const file of [
      coo(0n, 2n, 3n, 3n),
      compressed('sparse_csr', [0n, 1n, 1n, 2n], [3n, 0n]),
      compressed('sparse_csc', [0n, 0n, 1n, 1n, 2n], [2n, 0n]),
    ]) {
      const audit = await auditBytes(file, 'x.pt');
      expect(audit.verdict, JSON.stringify(audit.findings)).toBe('safe');
    }
    for (const file of [
      coo(0n, 3n, 3n, 3n),
      coo(0n, 2n, 1n << 30n, 3n),
      coo(0n, -1n, 3n, 3n),
      compressed('sparse_csr', [0n, 1n, 1n, 2n], [4n, 0n]),
      compressed('sparse_csr', [0n, 1n, 1n, 3n], [3n, 0n]),
      compressed('sparse_csr', [0n, 2n, 1n, 2n], [3n, 0n]),
      compressed('sparse_csr', [1n, 1n, 1n, 2n], [3n, 0n]),
      compressed('sparse_csr', [0n, 1n, 2n], [3n, 0n]),
      compressed('sparse_csc', [0n, 0n, 1n, 1n, 2n], [3n, 0n]),
      sparse('sparse_coo', [
        [
          [0n, 2n],
          [1, 2],
        ],
      ]),
    ]) {
      await expectRule(auditBytes(file, 'x.pt'), 'TENSOR_BOUNDS');
    }
  });

  test('scales of a quantised tensor, one for each channel', async () => {
    const channels = (count: number): Uint8Array => {
      const scheme = bytes(
        '(',
        global('torch', 'per_channel_affine'),
        '](',
        'G\0\0\0\0\0\0\0\0'.repeat(count),
        'e',
        '](',
        'K\0'.repeat(count),
        'e',
        int(0),
        't',
      );
      return call(
        'torch._utils',
        '_rebuild_qtensor',
        storage('QInt8Storage', '0', 16),
        int(0),
        int(4),
        int(4),
        0x86,
        int(4),
        int(1),
        0x86,
        scheme,
        0x89,
        empty,
      );
    };
    expect((await auditBytes(torchZip(wrap(channels(4)), FOUR), 'x.pt')).verdict).toBe('safe');
    await expectRule(auditBytes(torchZip(wrap(channels(1)), FOUR), 'x.pt'), 'TENSOR_BOUNDS');
  });

  // set_() on a tensor that is a part of a nested one moves what that one is addressed by.
  test('a second storage of a tensor', async () => {
    const view = tensor('FloatStorage', '0', 4, 0, [4], [1]);
    await expectRule(auditBytes(torchZip(wrap(view, '(', ...place(2, 1), 'tb'), FOUR), 'x.pt'), 'WRONG_ROLE');
  });

  test('the inputs of a trace are storages beside it', async () => {
    const pickle = wrap(tensor('FloatStorage', '0', 2, 0, [2], [1]));
    const archive = (record: Uint8Array): Promise<Audit> =>
      auditBytes(
        zipBytes([
          { name: 'a/data.pkl', data: wrap('N') },
          { name: 'a/code/__torch__.py', data: bytes('x = 1\n') },
          { name: 'a/traced_inputs.pkl', data: pickle },
          { name: 'a/traced_inputs/0', data: record },
        ]),
        'trace.pt',
      );
    // torch.jit.save writes the records empty, or whole.
    expect(rulesOf(await archive(new Uint8Array(0)))).toEqual(['PROGRAM']);
    expect(rulesOf(await archive(new Uint8Array(8)))).toEqual(['PROGRAM']);
    expect(rulesOf(await archive(new Uint8Array(5)))).toEqual(['PROGRAM', 'STORAGE_MISMATCH', 'UNKNOWN_CONTENT']);
  });
});

describe('attributes that are set by other ways than a plain dict', () => {
  const bad = bytes('((', text('__setstate__'), int(1), 'tt');
  const parameter = bytes(global('torch.nn.parameter', 'Parameter'), ')', 0x81);
  const view = tensor('FloatStorage', '0', 1, 0, [1], [1]);

  // setattr(parameter, '__setstate__', …) by each of them.
  test.each<readonly [string, Part]>([
    ['dict of pairs', bytes(parameter, 'N', builtin('dict', bad), 0x86, 'b')],
    ['OrderedDict of pairs', bytes(parameter, call('collections', 'OrderedDict', bad), 'b')],
    [
      '_rebuild_parameter_with_state',
      call('torch._utils', '_rebuild_parameter_with_state', view, 0x88, 'N', dict([['__setstate__', int(1)]])),
    ],
    [
      '_rebuild_from_type_v2',
      call(
        'torch._tensor',
        '_rebuild_from_type_v2',
        global('torch._utils', '_rebuild_tensor_v2'),
        global('torch', 'Tensor'),
        ')',
        'N',
        dict([['__class__', int(1)]]),
        0x86,
      ),
    ],
    ['a computed name', bytes(parameter, '}', builtin('str', text('__class__')), int(1), 's', 'b')],
  ])('%s', async (_, value) => {
    const audit = await auditBytes(wrap(value));
    expect(audit.verdict, JSON.stringify(audit.findings)).toBe('dangerous');
    expect(rulesOf(audit)).toContain('DANGEROUS_ATTRIBUTE');
  });

  test('a state that is computed is a finding', async () => {
    await expectRule(audited(parameter, builtin('dict', builtin('list', builtin('range', int(1)))), 'b'), 'WRONG_ROLE');
  });
});

describe('the work of the audit itself', () => {
  // A deflated megabyte of these is a kilobyte: they took gigabytes, and more than a Map holds.
  test('millions of empty lists end in a limit', { timeout: 60_000 }, async () => {
    const chunk = bytes('(', ']'.repeat(900_000), 'e');
    const lists = join(bytes(PROTO2, ']'), ...Array.from({ length: 5 }, () => chunk));
    for (const stream of [lists, zipBytes([{ name: 'a.pkl', data: join(lists, bytes(STOP)) }])]) {
      const audit = await auditBytes(join(stream, bytes('cos\ngetpid\n)R.')), 'x.pkl');
      expect(audit.complete).toBe(false);
      expect(rulesOf(audit)).toContain('LIMIT');
    }
    const behind = await auditBytes(join(lists, bytes('cos\ngetpid\n)R.')));
    expect(behind.verdict).toBe('dangerous');
    const few = join(bytes(PROTO2, ']'), chunk, bytes(STOP));
    expect((await auditBytes(few)).verdict).toBe('safe');
  });

  test('a name that is used again and again is judged once', { timeout: 60_000 }, async () => {
    const audit = await auditBytes(bytes(PROTO2, 'c__builtin__\ngetattr\n0'.repeat(200_000), 'N.'));
    expect(audit.findings[0]?.count).toBe(200_000);
  });

  test('calls that each walk much end in a limit', { timeout: 60_000 }, async () => {
    const list = bytes(']q', 1, '(', 'N'.repeat(100_000), 'e');
    const texts = Array.from({ length: 300 }, () => bytes('h', 2, 'h', 1, 0x85, 'R0'));
    const audit = await audited(global('builtins', 'str'), 'q', 2, '0', list, ...texts);
    expect(rulesOf(audit)).toContain('LIMIT');
    expect(audit.complete).toBe(false);
  });

  test('more streams than are walked end in a limit', { timeout: 60_000 }, async () => {
    const many = new Uint8Array(2 * LIMITS.pickleStreams + 2).map((_, at) => (at % 2 === 0 ? 0x4e : 0x2e));
    const audit = await auditBytes(join(many, bytes('cos\ngetpid\n)R.')), 'x.sav');
    expect(rulesOf(audit)).toEqual(['EMBEDDED_PICKLE', 'LIMIT']);
    expect(audit).toMatchObject({ verdict: 'dangerous', complete: false });
  });

  test('a long text is decoded only when it begins as a pickle does', { timeout: 60_000 }, async () => {
    const length = 40_000_000;
    const line = (head: string, rest: number): Uint8Array => {
      const all = new Uint8Array(length).fill(rest);
      all.set(bytes(head));
      return join(bytes(PROTO4, 'X', u32(length)), all, bytes(STOP));
    };
    const before = process.memoryUsage().rss;
    const start = performance.now();
    expect((await auditBytes(line('0a', 0x61))).verdict).toBe('safe');
    // A global, in hex, and then no pickle.
    expect((await auditBytes(line('636f730a', 0x30))).verdict).toBe('safe');
    expect(performance.now() - start).toBeLessThan(15_000);
    expect(process.memoryUsage().rss - before).toBeLessThan(700_000_000);
  });

  test('pickles in text are found behind white space and a data address, in every alphabet', async () => {
    const inner = bytes(PROTO2, 'cos\nsystem\n', text('???>>>'), 0x85, 'R', STOP);
    const base64 = Buffer.from(inner).toString('base64');
    for (const word of [
      base64,
      base64.replaceAll('+', '-').replaceAll('/', '_'),
      base64.replace(/=+$/, ''),
      `data:application/x;base64,${base64}`,
      `  \n${base64.replace(/(.{10})/g, '$1\n')}`,
      Buffer.from(inner).toString('hex').toUpperCase(),
    ]) {
      await expectRule(audited(text(word)), 'NESTED_PICKLE');
    }
    for (const word of ['a plain text, and more', 'Y2xhc3M gifts (2020)', '63616665', '28', 'cafe'.repeat(100)]) {
      expect((await audited(text(word))).verdict, word).toBe('safe');
    }
  });
});
