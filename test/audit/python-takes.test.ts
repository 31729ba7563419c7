import { describe, expect, test } from 'vitest';
import type { Audit } from '../../src/audit/finding.ts';
import { runPickle } from '../../src/formats/torch/unpickle.ts';
import { renderAuditTable } from '../../src/views/audit-table.ts';
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
  text,
  u32,
} from '../formats/torch/pickle-builder.ts';
import { zipBytes } from '../helpers/zip-bytes.ts';
import { auditBytes, namesOf, rulesOf } from './audit-bytes.ts';

/** os.getpid(), in protocol 0. */
const CALL = 'cos\ngetpid\n(tR.';
const encode = (value: string): Uint8Array => new TextEncoder().encode(value);

/** A NumPy array of objects around a pickle. */
function npy(pickle: Uint8Array): Uint8Array {
  const header = "{'descr': '|O', 'fortran_order': False, 'shape': (1,), }\n";
  return bytes(0x93, 'NUMPY', 1, 0, header.length, 0, header, pickle);
}

/** A tar of one empty member whose name is the start of a pickle as well. */
function tarNamed(name: string): Uint8Array {
  const block = new Uint8Array(1536);
  block.set(encode(name), 0);
  block.set(encode(`${'0'.repeat(11)}\0`), 124);
  block.set(encode('        '), 148);
  block.set(encode('0'), 156);
  const sum = block.subarray(0, 512).reduce((total, byte) => total + byte, 0);
  block.set(encode(`${sum.toString(8).padStart(6, '0')}\0 `), 148);
  return block;
}

function expectCall(audit: Audit, name = 'os.getpid'): void {
  expect(audit.verdict, JSON.stringify(audit.findings)).toBe('dangerous');
  expect(namesOf(audit)).toContain(name);
}

describe('numbers as Python reads them', () => {
  const lines = [
    'I0x10\n0',
    'I1_0\n0',
    'I0b1\n0',
    'I0o7\n0',
    'I010\n0',
    'I \t+5\r\n0',
    'I-0x_1f\n0',
    'I1\0rest\n0',
    'L1_0L\n0',
    'L0x10L\n0',
    'L-5\n0',
    'Np1_0\n0',
    'Np 7 \n0g7\n0',
    'Np99999999999999999999\n0',
    'F1_0.5e1_0\n0',
    'F 1.5 \n0',
    `F${'0'.repeat(1_000)}1\n0`,
  ];
  test.each(lines.map((line) => ({ line })))('a call behind $line is found in a file of any name', async ({ line }) => {
    const stream = bytes(line, CALL);
    expectCall(await auditBytes(stream, 'model.pk'));
    expectCall(await auditBytes(stream, 'model.pkl'));
    expectCall(await auditBytes(npy(stream), 'x.npy'));
    const archive = zipBytes([{ name: 'a/data.pkl', data: bytes(PROTO2, stream) }]);
    expectCall(await auditBytes(archive, 'model.pt'));
  });

  test('the name of a tar member', async () => {
    const audit = await auditBytes(tarNamed(`I0x10\n0${CALL}`), 'x.tar');
    expectCall(audit);
    expect(rulesOf(audit)).toContain('TWO_FORMATS');
  });

  const value = (line: string): unknown => {
    const run = runPickle(bytes(line, STOP), 0, { file: 'x' });
    return run.error === undefined ? run.value : run.error.code;
  };
  test.each([
    ['I0x10\n', 16],
    ['I010\n', 8],
    ['I0_10\n', 'MALFORMED'],
    ['I010 \n', 'MALFORMED'],
    ['I1__0\n', 'MALFORMED'],
    ['I_1\n', 'MALFORMED'],
    ['I\n', 'MALFORMED'],
    ['I\0\n', 0],
    ['I01\n', true],
    ['L010L\n', 'MALFORMED'],
    ['L1L \n', 'MALFORMED'],
    ['L\n', 'MALFORMED'],
    ['L-0b11L\n', -3],
    [`L0x${'f'.repeat(16)}L\n`, 2n ** 64n - 1n],
    ['Np0x1\n', 'MALFORMED'],
    ['Np010\n', null],
    ['F1_0.5\n', 10.5],
    ['F1_.5\n', 'MALFORMED'],
    ['F0x1\n', 'MALFORMED'],
    ['F-Infinity\n', Number.NEGATIVE_INFINITY],
  ] as const)('%j is %s', (line, expected) => {
    expect(value(line)).toEqual(expected);
  });

  test('digits beyond the limit are a limit, and what follows is read all the same', async () => {
    for (const line of [`I${'9'.repeat(20_000)}\n0`, `L0x${'f'.repeat(20_000)}L\n0`, `F${'9'.repeat(20_000)}\n0`]) {
      const audit = await auditBytes(bytes(line, CALL), 'model.sav');
      expectCall(audit);
      expect(audit.complete).toBe(false);
      expect(rulesOf(audit)).toContain('LIMIT');
    }
    // A paragraph is no number, however long.
    const prose = await auditBytes(encode(`I ${'wrote this '.repeat(2_000)}\n`), 'README.txt');
    expect(prose).toMatchObject({ verdict: 'safe', kind: 'text' });
  });

  test('INST whose last line ends with the file: the unpickler written in Python calls it', async () => {
    expectCall(await auditBytes(bytes("(S'id'\nios\nsystemX"), 'x.joblib'), 'os.system');
  });
});

describe('what stands behind a stream that breaks', () => {
  test('an argument that is refused ends no audit', async () => {
    for (const line of ['I1__0\n0', 'L1_\n0', 'F0x1\n0', "S'\\x4'\n0", 'Sabc\n0', 'V\\u12\n0', 'Np0x1\n0', 'g-1\n0']) {
      const audit = await auditBytes(bytes(line, CALL), 'model.sav');
      expectCall(audit);
      expect(audit.complete).toBe(false);
      expect(rulesOf(audit)).toContain('STREAM_BROKEN');
    }
  });

  const broken = bytes(PROTO4, 'N', 0x97);
  test.each([
    ['GLOBAL', bytes(CALL), 'os.getpid'],
    ['GLOBAL behind a mark', bytes("(cos\nsystem\nS'id'\no."), 'os.system'],
    ['GLOBAL that reaches a module', bytes('crandom\n_os.getpid\n)R.'), 'random._os.getpid'],
    ['INST', bytes("(S'id'\nios\nsystem\n."), 'os.system'],
    ['STACK_GLOBAL', bytes(shortText('os'), 0x94, shortText('getpid'), 0x94, 0x93, ')R.'), 'os.getpid'],
    ['STACK_GLOBAL of long strings', bytes(text('os'), text('getpid'), 0x93, ')R.'), 'os.getpid'],
    ['STACK_GLOBAL of lines', bytes("S'os'\nVgetpid\n", 0x93, ')R.'), 'os.getpid'],
  ] as const)('%s: the call is found and named', async (_, rest, name) => {
    for (const stream of [bytes(broken, rest), bytes(broken, 'junk ', rest), bytes(PROTO2, 'N.', 0, 1, 2, rest)]) {
      const audit = await auditBytes(zipBytes([{ name: 'a/data.pkl', data: stream }]), 'model.pt');
      expectCall(audit, name);
      expect(audit.complete).toBe(false);
      expect(rulesOf(audit)).toContain('EMBEDDED_PICKLE');
    }
  });

  test('a dangerous import in front of a refused argument, or in a second stream that breaks', async () => {
    for (const stream of ['cos\ngetpid\n0Iq\n.', '(lp0\n.cos\ngetpid\n0junk', 'N.cos\ngetpid\n0Iq\n.']) {
      const audit = await auditBytes(bytes(stream), 'model.sav');
      expectCall(audit);
      expect(audit.complete).toBe(false);
    }
  });

  test('decoys in front of it do not end the search', async () => {
    const decoys = 'cjunk\nname\n'.repeat(30_000);
    const audit = await auditBytes(bytes(broken, decoys, CALL), 'model.bin');
    expectCall(audit);
    expect(audit.findings.filter((finding) => finding.level === 'dangerous')).toMatchObject([
      { count: 1, detail: '()' },
    ]);
  });

  test('INST without a mark imports nothing', async () => {
    const lines = await auditBytes(encode('isympy\nsympy\n'), 'top_level.txt');
    expect(lines).toMatchObject({ verdict: 'safe', kind: 'text' });
  });

  test('a dangerous name that is not called is suspicious', async () => {
    const audit = await auditBytes(bytes(broken, 'cos\ngetpid\n0N.'), 'x.bin');
    expect(audit).toMatchObject({ verdict: 'suspicious', complete: false });
  });

  test('a listing inside a text is suspicious, in a file with the name of a model dangerous', async () => {
    const listing = encode(`Some words, and then more.\nNothing yet\n${CALL}\n`);
    expect(await auditBytes(listing, 'notes.txt')).toMatchObject({ verdict: 'suspicious', complete: false });
    expectCall(await auditBytes(listing, 'model.pt'));
  });
});

describe('a limit of ours never makes a file safe', () => {
  const line = (length: number): Uint8Array => {
    const all = new Uint8Array(length + 5).fill(0x61);
    all.set(encode("S'"), 0);
    all.set(encode("'\n0"), length + 2);
    return all;
  };
  const join = (...parts: readonly Uint8Array[]): Uint8Array => new Uint8Array(Buffer.concat(parts));
  const rows = [
    { id: 'marks', stream: encode('('.repeat(20_000) + '1'.repeat(20_000)) },
    { id: 'values on the stack', stream: encode('N'.repeat(1_000_100) + '0'.repeat(1_000_100)) },
    { id: 'a line', stream: line(17 << 20) },
    { id: 'a stream without a protocol', stream: join(...Array.from({ length: 5 }, () => line(15 << 20))) },
  ];
  test.each(rows)('$id', { timeout: 60_000 }, async ({ stream }) => {
    const audit = await auditBytes(join(stream, encode(CALL)), 'model.sav');
    expectCall(audit);
    expect(audit.complete).toBe(false);
    expect(rulesOf(audit)).toContain('LIMIT');
    const harmless = await auditBytes(join(stream, encode('N.')), 'model.sav');
    expect(harmless).toMatchObject({ verdict: 'suspicious', complete: false });
    expect(rulesOf(harmless)).toContain('LIMIT');
  });
});

describe('one stream behind another, all of them text', () => {
  const list = '(lp0\nI1\naI2\na.';
  test('a harmless one in front hides nothing', async () => {
    for (const name of ['two.sav', 'two.pkl', 'two']) {
      expectCall(await auditBytes(bytes(list, CALL), name));
      expectCall(await auditBytes(bytes('N.', list, 'I5\n.', CALL), name));
    }
    const archive = zipBytes([{ name: 'a/data.pkl', data: bytes(list, CALL) }]);
    expectCall(await auditBytes(archive, 'model.pt'));
  });

  test('harmless ones up to the end are a pickle', async () => {
    expect(await auditBytes(bytes(list, list), 'two.pkl')).toMatchObject({ verdict: 'safe', kind: 'pickle' });
  });

  test('many small streams take time in proportion', { timeout: 30_000 }, async () => {
    const start = performance.now();
    expectCall(await auditBytes(bytes('N.'.repeat(300_000), CALL), 'many.sav'));
    expect(performance.now() - start).toBeLessThan(10_000);
  });

  test.each([
    ['notes.txt', 'N. Smith wrote this.\n'],
    ['notes.txt', 'I. Introduction\nN. B. see below.\nclass\nnotes\n'],
    ['words.txt', 'Words\ntacos\nburritos\nolives\n'],
    ['words.txt', 'List\nradios\nstudios\nios\nandroid\n'],
    ['table.csv', 'Label,count\ncos,1\nsys,2\n'],
    ['page.html', '<!doctype html>\n<p>(I use) os\nsystem\n</p>\n'],
    ['module.js', "import os from 'os';\nconst sys = os\nsystem\n"],
    ['tool.sh.txt', 'Path=/bin\nexec\nid\n'],
  ])('honest text stays text: %s %j', async (name, content) => {
    expect(await auditBytes(encode(content), name)).toMatchObject({ verdict: 'safe', complete: true, kind: 'text' });
  });
});

describe('a few bytes that make a huge value', () => {
  const builtin = (name: string, ...args: readonly Part[]): Uint8Array =>
    bytes(global('builtins', name), '(', ...args, 'tR');
  const big = bytes(0x8a, 8, [0, 0, 0, 0, 0, 0, 0, 0x10]);
  const range = builtin('range', big);
  test.each([
    ['list', builtin('list', range)],
    ['tuple', builtin('tuple', range)],
    ['set', builtin('set', builtin('range', int(5), big, int(3)))],
    ['frozenset', builtin('frozenset', range)],
    ['bytes of a range', builtin('bytes', range)],
    ['list of a range, the wrong way round', builtin('list', builtin('range', big, int(0), bytes('J', u32(-1))))],
    ['bytes', builtin('bytes', big)],
    ['bytearray', builtin('bytearray', big)],
    ['torch.Size', bytes(global('torch', 'Size'), '(', range, 'tR')],
    ['collections.Counter', bytes(global('collections', 'Counter'), '(', range, 'tR')],
    ['numpy.ndarray', bytes(global('numpy', 'ndarray'), '((', big, 't', text('u1'), 'tR')],
    ['torch.Tensor', bytes(global('torch', 'Tensor'), '(', big, 'tR')],
    [
      'xrange of Python 2',
      bytes(global('__builtin__', 'list'), '(', global('__builtin__', 'xrange'), big, 0x85, 'RtR'),
    ],
  ])('%s', async (_, value) => {
    const kept = await auditBytes(bytes(PROTO2, value, STOP));
    expect(kept.verdict).toBe('suspicious');
    expect(rulesOf(kept)).toContain('EXPANSION');
    const dropped = await auditBytes(bytes(PROTO2, value, '0N', STOP));
    expect(rulesOf(dropped)).toContain('EXPANSION');
  });

  test('a memo index that Python makes room for', async () => {
    const audit = await auditBytes(bytes('Nr', u32(2 ** 30), STOP));
    expect(rulesOf(audit)).toEqual(['EXPANSION']);
    expect((await auditBytes(bytes('Nr', u32(100_000), STOP))).verdict).toBe('safe');
  });

  test('what stays small is safe', async () => {
    const small = bytes(range, builtin('list', builtin('range', int(5))), builtin('bytearray', int(10)), 0x87);
    expect((await auditBytes(bytes(PROTO2, small, STOP))).verdict).toBe('safe');
  });
});

describe('what a safe verdict claims', () => {
  const sentences = async (content: string, name: string): Promise<string> => {
    const audit = await auditBytes(encode(content), name);
    expect(audit.verdict).toBe('safe');
    const options = { columns: null, color: false, quiet: false, version: '0' };
    return [...(await renderAuditTable([{ file: name, audit }], options))].join('');
  };
  test('of a text nothing about tensors', async () => {
    for (const [content, name] of [
      ['<!doctype html><html></html>', 'page.html'],
      ['Some words.\n', 'notes.txt'],
      ['{"a": 1}', 'a.json'],
    ] as const) {
      const out = await sentences(content, name);
      expect(out).not.toContain('tensor data');
      expect(out).toMatch(/It is a (?:JSON text|text file): Python's model loaders find nothing in it to run\./);
    }
    expect(await sentences('', 'empty')).toContain('It is empty');
    expect(await sentences('(lp0\n.', 'a.pkl')).toContain('only tensor data and plain containers');
  });
});

describe('attributes and helpers of PyTorch', () => {
  const lookup = (object: Part, attribute: string, ...more: readonly Part[]): Uint8Array =>
    bytes(PROTO2, global('__builtin__', 'getattr'), object, text(attribute), 0x86, 'R', ...more, STOP);
  const made = (module: string, name: string): Uint8Array => bytes(global(module, name), ')', 0x81);

  test('torch.relu as an activation is suspicious, called it is dangerous', async () => {
    const functions = global('torch._C', '_VariableFunctionsClass');
    expect((await auditBytes(lookup(functions, 'relu'))).verdict).toBe('suspicious');
    expect((await auditBytes(lookup(functions, 'relu', ')R'))).verdict).toBe('dangerous');
    expect((await auditBytes(lookup(functions, '__init__'))).verdict).toBe('dangerous');
    expect((await auditBytes(lookup(global('somewhere', '_Functions'), 'relu'))).verdict).toBe('dangerous');
  });

  test('a lazy layer refers to a method of itself', async () => {
    const layer = made('torch.nn.modules.batchnorm', 'LazyBatchNorm2d');
    expect((await auditBytes(lookup(layer, '_infer_parameters'))).verdict).toBe('suspicious');
    expect((await auditBytes(lookup(layer, '_infer_parameters', ')R'))).verdict).toBe('dangerous');
    expect((await auditBytes(lookup(layer, '__class__'))).verdict).toBe('dangerous');
    expect((await auditBytes(lookup(made('a.b', 'Lazy'), '_infer_parameters'))).verdict).toBe('dangerous');
  });

  test('the bounds of a jagged tensor are data, the rest of torch._dynamo is not', async () => {
    const verdict = async (name: string): Promise<string> =>
      (await auditBytes(bytes(PROTO2, global('torch._dynamo.decorators', name), ')', 0x81, STOP))).verdict;
    expect(await verdict('_DimRange')).toBe('suspicious');
    expect(await verdict('_DimRange.x')).toBe('dangerous');
    expect(await verdict('optimize')).toBe('dangerous');
  });
});

describe('names of Python 2', () => {
  const audit = (protocol: number, module: string, name: string): Promise<Audit> =>
    auditBytes(bytes(0x80, protocol, global(module, name), STOP));

  test.each([
    ['__builtin__', 'xrange', 'safe', undefined],
    ['__builtin__', 'long', 'safe', undefined],
    ['__builtin__', 'unicode', 'safe', undefined],
    ['__builtin__', 'basestring', 'safe', undefined],
    ['__builtin__', 'unichr', 'suspicious', 'builtins.chr'],
    ['__builtin__', 'reduce', 'dangerous', 'functools.reduce'],
    ['__builtin__', 'intern', 'dangerous', 'sys.intern'],
    ['itertools', 'izip', 'suspicious', 'builtins.zip'],
    ['itertools', 'imap', 'suspicious', 'builtins.map'],
    ['exceptions', 'ValueError', 'suspicious', 'builtins.ValueError'],
    ['exceptions', 'StandardError', 'suspicious', 'builtins.Exception'],
    ['UserDict', 'UserDict', 'suspicious', 'collections.UserDict'],
    ['urllib', 'urlopen', 'dangerous', 'urllib.request.urlopen'],
    ['urllib', 'quote', 'dangerous', 'urllib.parse.quote'],
    ['thread', 'start_new_thread', 'dangerous', '_thread.start_new_thread'],
    ['cookielib', 'LWPCookieJar', 'dangerous', 'http.cookiejar.LWPCookieJar'],
  ] as const)('%s.%s is %s', async (module, name, verdict, mapped) => {
    const found = await audit(2, module, name);
    expect(found.verdict).toBe(verdict);
    expect(namesOf(found)).toEqual(mapped === undefined ? [] : [mapped]);
  });

  test('from protocol 3 on nothing is mapped', async () => {
    expect(namesOf(await audit(3, '__builtin__', 'xrange'))).toEqual(['__builtin__.xrange']);
  });

  test('a range is the same at every protocol', async () => {
    const args = bytes(int(0), int(5), int(1), 0x87, 'R', STOP);
    const old = await auditBytes(bytes(PROTO2, global('__builtin__', 'xrange'), args));
    const now = await auditBytes(bytes(PROTO4, shortText('builtins'), shortText('range'), 0x93, args));
    expect([old.verdict, now.verdict]).toEqual(['safe', 'safe']);
  });
});

describe('other names of what is dangerous', () => {
  test.each([
    ['numpy.lib.npyio', 'load'],
    ['numpy.lib._npyio_impl', 'load'],
    ['numpy.lib.format', 'read_array'],
    ['numpy._core.multiarray', 'fromfile'],
    ['_pyio', 'open'],
    ['_pyio', 'FileIO'],
    ['io', 'open_code'],
    ['torch.ops', 'load_library'],
    ['torch._ops', '_Ops.load_library'],
    ['torch', 'classes.load_library'],
    ['torch.classes', 'load_library'],
    ['_thread', 'start_new_thread'],
    ['threading', '_start_new_thread'],
    ['http.cookiejar', 'MozillaCookieJar'],
    ['dbm.dumb', 'open'],
    ['dbm.gnu', 'open'],
    ['_dbm', 'open'],
  ])('%s.%s', async (module, name) => {
    for (const protocol of [2, 4]) {
      const audit = await auditBytes(bytes(0x80, protocol, global(module, name), STOP));
      expect(audit.verdict).toBe('dangerous');
    }
  });
});

test('an array of objects is suspicious however its dtype is told', async () => {
  const array = (dtype: Part): Uint8Array => bytes(global('numpy', 'ndarray'), '(', int(3), 0x85, dtype, 'tR');
  const type = (argument: Part): Uint8Array => bytes(global('numpy', 'dtype'), '(', argument, 'tR');
  const field = bytes(']', text('a'), text('|O'), 0x86, 'a');
  const values = [
    array(text('O')),
    array(text('object')),
    array(global('__builtin__', 'object')),
    type(text('object')),
    type(text('i4,O')),
    type(field),
    type(dict([['formats', bytes(']', text('O8'), 'a')]])),
    bytes(global('numpy', 'ndarray'), int(3), 0x85, 0x85, dict([['dtype', text('O')]]), 0x92),
  ];
  for (const value of values) {
    const audit = await auditBytes(bytes(PROTO2, value, STOP));
    expect(audit.verdict, JSON.stringify(audit.findings)).toBe('suspicious');
    expect(rulesOf(audit)).toContain('OBJECT_ARRAY');
  }
  for (const value of [array(text('f4')), type(text('S1')), type(text('V8'))]) {
    expect((await auditBytes(bytes(PROTO2, value, STOP))).verdict).toBe('safe');
  }
});
