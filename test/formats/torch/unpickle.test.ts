import { describe, expect, test } from 'vitest';
import '../../../src/bytes/node/codec.ts';
import type { PickleRun } from '../../../src/formats/torch/pickle-event.ts';
import { isDict, type PickleValue } from '../../../src/formats/torch/pickle-value.ts';
import { runPickle, unpickle } from '../../../src/formats/torch/unpickle.ts';
import { LIMITS } from '../../../src/ir/limits.ts';
import {
  bytes,
  dict,
  global,
  int,
  type Part,
  PROTO2,
  PROTO4,
  STOP,
  shortText,
  tensor,
  text,
  u32,
  u64,
} from './pickle-builder.ts';

function run(stream: Uint8Array, strict = true): PickleRun {
  return runPickle(stream, 0, { file: 'test.pkl', strict });
}

function value(...parts: readonly Part[]): PickleValue {
  return unpickle(bytes(...parts), 0, { file: 'test.pkl' }).value;
}

function imports(result: PickleRun): readonly string[] {
  return result.events.filter((event) => event.kind === 'import').map((event) => `${event.module}.${event.name}`);
}

describe('values', () => {
  const cases: readonly (readonly [string, PickleValue, ...Part[]])[] = [
    ['None', null, 'N.'],
    ['NEWTRUE', true, PROTO2, 0x88, '.'],
    ['NEWFALSE', false, PROTO2, 0x89, '.'],
    ['INT true', true, 'I01\n.'],
    ['INT', -12, 'I-12\n.'],
    ['LONG', 7, 'L7L\n.'],
    ['LONG beyond 2^53', 9007199254740993n, 'L9007199254740993L\n.'],
    ['BININT negative', -2, 'J', [254, 255, 255, 255], '.'],
    ['BININT2', 258, 'M', [2, 1], '.'],
    ['LONG1 empty', 0, PROTO2, 0x8a, 0, '.'],
    ['LONG1 negative', -128, PROTO2, 0x8a, 1, 0x80, '.'],
    ['LONG1 of 128', 128, PROTO2, 0x8a, 2, [0x80, 0], '.'],
    ['LONG4', 255, PROTO2, 0x8b, u32(2), [255, 0], '.'],
    ['FLOAT', 0.5, 'F0.5\n.'],
    ['FLOAT inf', Number.POSITIVE_INFINITY, 'Finf\n.'],
    ['BINFLOAT', 0.1, 'G', [0x3f, 0xb9, 0x99, 0x99, 0x99, 0x99, 0x99, 0x9a], '.'],
    ['STRING with escapes', "a'b\n\x01\\q", "S'a\\'b\\n\\x01\\q'\n."],
    ['SHORT_BINSTRING', 'abc', 'U', 3, 'abc.'],
    ['BINSTRING', 'abc', 'T', u32(3), 'abc.'],
    ['UNICODE', 'aé\u20ac\\\\u', 'Va\xe9\\u20ac\\\\u\n.'],
    ['BINUNICODE lone surrogate', 'a\ud800b', 'X', u32(5), [0x61, 0xed, 0xa0, 0x80, 0x62], '.'],
    ['BINUNICODE8', 'ab', PROTO4, 0x8d, u64(2n), 'ab.'],
  ];
  for (const [name, expected, ...parts] of cases) {
    test(name, () => {
      expect(value(...parts)).toEqual(expected);
    });
  }
  test('bytes of Python 2 that are not UTF-8 stay bytes', () => {
    expect(value('U', 2, [0xff, 0x41], '.')).toEqual(Uint8Array.of(0xff, 0x41));
  });
  test('a whole float is not an integer', () => {
    expect(value('F5.0\n.')).toEqual({ kind: 'float', value: 5 });
    expect(value('F-0.0\n.')).toEqual({ kind: 'float', value: -0 });
  });
  test('bytes, bytearray and a read-only mark', () => {
    expect(value(PROTO4, 'B', u32(2), 'ab.')).toEqual(bytes('ab'));
    expect(value([0x80, 5], 0x96, u64(2n), 'ab', 0x98, '.')).toEqual(bytes('ab'));
  });
  test('lists, tuples, sets and memo', () => {
    expect(value(']q', 0, '(K', 1, 'K', 2, 'e.')).toEqual({ kind: 'list', items: [1, 2] });
    expect(value('(K', 1, 'N', 't.')).toEqual({ kind: 'tuple', items: [1, null] });
    expect(value(PROTO4, 0x8f, '(K', 1, 0x90, '.')).toEqual({ kind: 'set', frozen: false, items: [1] });
    expect(value(PROTO4, shortText('a'), 0x94, 'h', 0, 0x86, '.')).toEqual({ kind: 'tuple', items: ['a', 'a'] });
    expect(value('(I1\np5\nI2\ng5\nt.')).toEqual({ kind: 'tuple', items: [1, 2, 1] });
  });
  test('pickles stand one after another', () => {
    const stream = bytes(PROTO2, 'K', 1, STOP, PROTO2, 'K', 2, STOP);
    const first = unpickle(stream, 0, { file: 'two' });
    const second = unpickle(stream, first.end, { file: 'two' });
    expect([first.value, first.end, second.value, second.end]).toEqual([1, 5, 2, 10]);
  });
  test('Python 2 names are mapped before anything is judged (P36)', () => {
    const result = run(bytes(PROTO2, global('__builtin__', 'set'), '(](K', 1, 'etR', STOP));
    expect(result.value).toEqual({ kind: 'set', frozen: false, items: [1] });
    expect(result.events[0]).toMatchObject({ module: 'builtins', written: '__builtin__', role: 'builtin' });
  });
  test('_codecs.encode gives the bytes that it stands for (P38)', () => {
    expect(value(PROTO2, global('_codecs', 'encode'), text('\u00ff'), text('latin1'), 0x86, 'R.')).toEqual(
      Uint8Array.of(255),
    );
  });
});

describe('what would run is recorded and not run', () => {
  const DANGEROUS: readonly (readonly [string, string, ...Part[]])[] = [
    ['P04 GLOBAL and REDUCE', 'os.system', "cos\nsystem\n(S'ls'\ntR."],
    [
      'P05 STACK_GLOBAL from the memo',
      'os.system',
      PROTO4,
      shortText('os'),
      0x94,
      '0',
      shortText('system'),
      0x94,
      '0',
      shortText('x'),
      '0h',
      0,
      'h',
      1,
      0x93,
      ')R.',
    ],
    ['P06 STACK_GLOBAL first of all', 'os.system', shortText('os'), shortText('system'), 0x93, ')R.'],
    ['P10 INST', 'os.system', "(S'ls'\nios\nsystem\n."],
    ['P10 OBJ', 'os.system', '(cos\nsystem\n', text('ls'), 'o.'],
    ['P10 OBJ thrown away', 'os.system', '(cos\nsystem\n', text('ls'), 'o0N.'],
    ['P37 NEWOBJ_EX', 'os.system', PROTO4, 'cos\nsystem\n)}', 0x92, '.'],
  ];
  test.each(DANGEROUS)('%s', (_name, expected, ...parts) => {
    const result = run(bytes(...parts));
    expect(result.error).toBeUndefined();
    expect(imports(result)).toContain(expected);
    const call = result.events.find((event) => event.kind === 'call');
    expect(call).toMatchObject({ module: 'os', name: 'system', role: null, called: true });
    expect(result.events.find((event) => event.kind === 'import')).toMatchObject({ called: true });
  });
  test('P07 an import from a memo entry that was never made', () => {
    const stream = bytes(PROTO4, 'h', 9, shortText('system'), 0x93, ')R.');
    expect(run(stream).error).toMatchObject({ code: 'MALFORMED' });
    const result = run(stream, false);
    expect(result.findings.map((finding) => finding.code)).toEqual(['MISSING_MEMO', 'COMPUTED_IMPORT']);
    expect(result.events[0]).toMatchObject({ kind: 'import', resolved: false });
  });
  test('P08 and P09 a module name that is no constant', () => {
    expect(run(bytes(PROTO4, 'K', 1, shortText('system'), 0x93, '.')).error).toMatchObject({ code: 'UNSAFE' });
    const computed = bytes(PROTO4, global('builtins', 'str'), ')R', shortText('system'), 0x93, ')R.');
    expect(run(computed, false).findings.map((finding) => finding.code)).toContain('COMPUTED_IMPORT');
  });
  test('P11 extension codes', () => {
    expect(run(bytes(PROTO2, 0x82, 7, '.')).error).toMatchObject({ code: 'UNSUPPORTED' });
    expect(run(bytes(PROTO2, 0x84, u32(7), '.'), false).events[0]).toMatchObject({ kind: 'extension' });
  });
  test('P13 what came before a broken stream is reported', () => {
    const result = run(bytes("cos\nsystem\n(S'ls'\ntR", 0xff, 0xff));
    expect(result.error).toMatchObject({ code: 'MALFORMED' });
    expect(imports(result)).toEqual(['os.system']);
    expect(result.end).toBe(20);
  });
  test('P27 attributes that change what an object is', () => {
    const result = run(
      bytes(PROTO2, global('__main__', 'A'), ')', 0x81, dict([['__class__', bytes('N')]]), 'b.'),
      false,
    );
    expect(result.findings.map((finding) => finding.code)).toContain('DANGEROUS_ATTRIBUTE');
  });
  test('P30 names match by exact bytes', () => {
    for (const name of ['OrderedDict ', 'OrderedDict\u0000', '\u041erderedDict', 'OrderedDict.__init__.__globals__']) {
      const result = run(bytes(PROTO4, shortText('collections'), shortText(name), 0x93, '.'));
      expect(result.events[0]).toMatchObject({ role: null });
    }
  });
  test('P31 no trust by prefix', () => {
    for (const [module, name] of [
      ['torch.evil', 'FloatStorage'],
      ['torchx', 'float32'],
      ['torch.utils.collect_env', 'run'],
      ['torch', 'load'],
      ['torch.storage', '_load_from_bytes'],
    ] as const) {
      expect(run(bytes(global(module, name), '.')).events[0]).toMatchObject({ role: null });
    }
  });
  test('a listed name in another role is a finding', () => {
    const result = run(bytes(PROTO2, global('torch', 'float32'), ')R.'), false);
    expect(result.findings.map((finding) => finding.code)).toEqual(['WRONG_ROLE']);
  });
  test('repeated listed names are folded, others are not', () => {
    const listed = run(bytes(PROTO2, global('collections', 'OrderedDict'), 'q', 0, ')R0h', 0, ')R.'));
    expect(listed.events.map((event) => [event.kind, event.count])).toEqual([
      ['import', 1],
      ['call', 2],
    ]);
    const other = run(bytes(PROTO2, global('a', 'b'), 'q', 0, ')R0h', 0, ')R.'));
    expect(other.events.map((event) => event.kind)).toEqual(['import', 'call', 'call']);
  });
});

describe('refusals', () => {
  test('P01 and P02', () => {
    expect(run(new Uint8Array(0)).error).toMatchObject({ code: 'TRUNCATED' });
    expect(run(bytes('.')).error).toMatchObject({ code: 'MALFORMED', place: '@0 op#0' });
    expect(run(bytes('.')).error?.message).toMatch(/stack underflow/);
  });
  test('P03 cut at every byte', () => {
    const stream = bytes(PROTO2, dict([['weight', tensor('FloatStorage', '0', 6, 0, [2, 3], [3, 1])]]), STOP);
    for (let length = 0; length < stream.length; length += 1) {
      const result = run(stream.subarray(0, length));
      expect(result.error).toMatchObject({ name: 'BnsumError', code: 'TRUNCATED' });
      expect(result.error?.place).toMatch(/^@\d+/);
    }
    expect(run(stream).error).toBeUndefined();
  });
  const MALFORMED: readonly (readonly [string, string, ...Part[]])[] = [
    ['P17 PROTO 9', 'UNSUPPORTED', [0x80, 9], 'N.'],
    ['P17 PROTO twice', 'MALFORMED', PROTO2, PROTO2, 'N.'],
    ['P17 PROTO later', 'MALFORMED', 'N', PROTO2, '.'],
    ['P18 FRAME longer than the file', 'TRUNCATED', PROTO4, 0x95, u64(100n), 'N.'],
    ['P18 FRAME inside FRAME', 'MALFORMED', PROTO4, 0x95, u64(11n), 0x95, u64(1n), 'N.'],
    ['P18 argument across the end of a frame', 'MALFORMED', PROTO4, 0x95, u64(3n), shortText('abcdef'), '.'],
    ['P19 BINUNICODE8 of 2^63 bytes', 'TRUNCATED', PROTO4, 0x8d, u64(1n << 63n), '.'],
    ['P19 BINBYTES8 beyond the file', 'TRUNCATED', PROTO4, 0x8e, u64(1000n), '.'],
    ['P19 LONG4 of negative length', 'MALFORMED', PROTO2, 0x8b, u32(-1), '.'],
    ['P20 LONG4 of many digits', 'LIMIT', PROTO2, 0x8b, u32(5000), new Uint8Array(5000).fill(1), '.'],
    ['P20 INT of many digits', 'LIMIT', `I${'1'.repeat(LIMITS.pickleIntegerDigits + 1)}\n.`],
    ['P21 no newline', 'TRUNCATED', 'Iabc'],
    ['P26 BUILD on a dict', 'MALFORMED', '}}b.'],
    ['P26 BUILD on text', 'MALFORMED', text('a'), '}b.'],
    ['P26 SETITEMS with an odd count', 'MALFORMED', '}(K', 1, 'u.'],
    ['P26 APPEND to a tensor', 'MALFORMED', tensor('FloatStorage', '0', 1, 0, [], []), 'Na.'],
    ['P26 SETITEM on a list', 'MALFORMED', ']K', 0, 'Ns.'],
    ['P24 a list as a key', 'MALFORMED', '}]Ns.'],
    ['P37 NEXT_BUFFER', 'UNSUPPORTED', [0x80, 5], 0x97, '.'],
    ['an unknown opcode', 'MALFORMED', 0xf0],
    ['text that is no UTF-8', 'MALFORMED', 'X', u32(1), 0xff, '.'],
    ['arguments that are no tuple', 'MALFORMED', global('a', 'b'), ']R.'],
    ['a mark that is missing', 'MALFORMED', 'u.'],
    ['an underflow below a mark', 'MALFORMED', 'K', 1, '(K', 1, 0x86, '.'],
  ];
  test.each(MALFORMED)('%s', (_name, code, ...parts) => {
    expect(run(bytes(...parts)).error).toMatchObject({ name: 'BnsumError', code });
  });
  test('P22 shared references stay shared', () => {
    const stream = bytes(PROTO2, ']', ...Array.from({ length: 40 }, () => '(22e'.replace('22', '')).fill(''), '.');
    expect(run(stream).error).toBeUndefined();
    let nested = bytes(']');
    for (let depth = 0; depth < 60; depth += 1)
      nested = bytes(nested, 'q', depth, ']', 'h', depth, 'a', 'h', depth, 'a');
    const result = run(bytes(PROTO2, nested, STOP));
    expect(result.error).toBeUndefined();
    expect(result.opcodes).toBeLessThan(500);
  });
  test('P23 a million marks', () => {
    expect(run(new Uint8Array(1_000_000).fill(0x28)).error).toMatchObject({ code: 'LIMIT' });
  });
  test('P23 a tuple in a tuple, 300,000 deep', () => {
    const stream = new Uint8Array(300_002).fill(0x85);
    stream[0] = 0x4e;
    stream[300_001] = 0x2e;
    expect(run(stream).error).toBeUndefined();
  });
  test('P24 a list that holds itself', () => {
    const result = value(']q', 0, 'h', 0, 'a.');
    expect(result).toMatchObject({ kind: 'list' });
  });
  test('P25 a memo index of 2^31', () => {
    expect(value('Nr', u32(0x80000000), '0j', u32(0x80000000), '.')).toBeNull();
  });
});

describe('keys', () => {
  test('P33 names are only names', () => {
    const keys = ['__proto__', 'constructor', '', 'e\u0301', '\u00e9', '\ud800'];
    const stream = bytes(
      PROTO2,
      '}(',
      ...keys.slice(0, 5).flatMap((key) => [text(key), 'N']),
      'X',
      u32(3),
      [0xed, 0xa0, 0x80],
      'N',
      'K',
      1,
      'N',
      'K',
      1,
      'K',
      2,
      0x86,
      'N',
      'u.',
    );
    const result = run(stream).value;
    if (!isDict(result)) throw new Error('no dict');
    expect([...result.entries.keys()]).toEqual([...keys, 1, { kind: 'tuple', items: [1, 2] }]);
    expect(Object.getPrototypeOf({})).toBe(Object.prototype);
    expect(({} as Record<string, unknown>)['N']).toBeUndefined();
  });
  test('P34 the last value of a key wins and is noted', () => {
    const result = run(
      bytes(
        PROTO2,
        dict([
          ['a', int(1)],
          ['b', int(2)],
          ['a', int(3)],
        ]),
        STOP,
      ),
    );
    if (!isDict(result.value)) throw new Error('no dict');
    expect([...result.value.entries]).toEqual([
      ['a', 3],
      ['b', 2],
    ]);
    expect(result.findings).toMatchObject([{ code: 'DUPLICATE_KEY', detail: '"a"' }]);
  });
  test('equal keys of Python are one key', () => {
    const same = bytes('}(', 'K', 1, text('int'), 0x88, text('bool'), 'F1.0\n', text('float'), 'u.');
    const result = value(PROTO2, same);
    if (!isDict(result)) throw new Error('no dict');
    expect([...result.entries]).toEqual([[1, 'float']]);
    const tuples = value('}(K', 1, 0x85, 'K', 1, 'K', 1, 0x85, 'K', 2, 'u.');
    expect(isDict(tuples) && tuples.entries.size).toBe(1);
  });
});
