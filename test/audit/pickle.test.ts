import { describe, expect, test } from 'vitest';
import type { AuditRule, Verdict } from '../../src/audit/finding.ts';
import { openModel } from '../../src/open.ts';
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
  storage,
  tensor,
  text,
  u32,
  u64,
} from '../formats/torch/pickle-builder.ts';
import { auditBytes, namesOf, rulesOf } from './audit-bytes.ts';

const BAD = bytes(PROTO2, global('os', 'system'), text('id'), 0x85, 'R', STOP);
const GOOD = bytes(PROTO2, dict([['a', int(1)]]), STOP);
const encode = (value: string): Uint8Array => new TextEncoder().encode(value);

/** One row: its id, the stream, the verdict, rules that have to be among the findings. */
type Row = readonly [
  id: string,
  stream: Uint8Array,
  verdict: Verdict,
  rules: readonly AuditRule[],
  names?: readonly string[],
];

const call = (module: string, name: string, ...args: readonly Part[]): Uint8Array =>
  bytes(global(module, name), '(', ...args, 'tR');
const wrap = (...parts: readonly Part[]): Uint8Array => bytes(PROTO2, ...parts, STOP);
const stack = (module: Part, name: Part): Uint8Array => bytes(PROTO4, module, name, 0x93, ')', 'R', STOP);

/** The legacy layout of torch.save around one tensor of `count` float32 values. */
function legacy(magic: Part, raw: Uint8Array): Uint8Array {
  const keys = wrap(']', text('0'), 'a');
  const state = wrap(dict([['w', tensor('FloatStorage', '0', 2, 0, [2], [1])]]));
  const system = wrap(dict([['little_endian', bytes(0x88)]]));
  return bytes(wrap(magic), wrap(bytes('M', [0xe9, 0x03])), system, state, keys, u64(2n), raw);
}
const MAGIC = bytes(0x8a, 10, [0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19]);

const ROWS: readonly Row[] = [
  ['P02 STOP on an empty stack', bytes(STOP), 'suspicious', []],
  ['P04 GLOBAL and REDUCE', BAD, 'dangerous', ['DANGEROUS_IMPORT'], ['os.system']],
  [
    'P05 STACK_GLOBAL from the memo, with decoys behind',
    bytes(
      PROTO4,
      shortText('os'),
      0x94,
      '0',
      shortText('system'),
      0x94,
      '0',
      shortText('math'),
      shortText('cos'),
      '00',
      'h',
      0,
      'h',
      1,
      0x93,
      shortText('id'),
      0x85,
      'R',
      STOP,
    ),
    'dangerous',
    ['DANGEROUS_IMPORT'],
    ['os.system'],
  ],
  [
    'P06 STACK_GLOBAL whose strings are the very first opcodes',
    bytes(shortText('os'), shortText('system'), 0x93, STOP),
    'dangerous',
    ['DANGEROUS_IMPORT'],
    ['os.system'],
  ],
  [
    'P07 STACK_GLOBAL of a memo entry that was never made',
    stack(bytes('h', 9), shortText('x')),
    'dangerous',
    ['COMPUTED_IMPORT'],
  ],
  ['P08 STACK_GLOBAL with a number as module', stack(int(1), shortText('x')), 'dangerous', ['COMPUTED_IMPORT']],
  [
    'P09 a computed name',
    stack(call('builtins', 'str', text('os')), shortText('system')),
    'dangerous',
    ['COMPUTED_IMPORT'],
  ],
  ['P10 INST', bytes('(', text('id'), 'ios\nsystem\n', STOP), 'dangerous', ['DANGEROUS_IMPORT'], ['os.system']],
  [
    'P10 OBJ, thrown away',
    wrap('(', global('os', 'system'), text('id'), 'o0', 'N'),
    'dangerous',
    ['DANGEROUS_IMPORT'],
    ['os.system'],
  ],
  ['P11 EXT1', wrap(0x82, 1), 'suspicious', ['EXTENSION_CODE']],
  ['P11 EXT2', wrap(0x83, 1, 1), 'suspicious', ['EXTENSION_CODE']],
  ['P11 EXT4', wrap(0x84, u32(70000)), 'suspicious', ['EXTENSION_CODE']],
  ['P12 BINPERSID of no storage', wrap(text('key'), 'Q'), 'suspicious', ['PERSISTENT_ID']],
  ['P12 PERSID', bytes('Pkey\n.'), 'suspicious', []],
  ['P12 a storage id outside of a torch file', wrap(storage('FloatStorage', '0', 4)), 'suspicious', ['PERSISTENT_ID']],
  [
    'P13 payload, then no pickle',
    bytes(BAD.subarray(0, -1), 0xff, 0xff),
    'dangerous',
    ['DANGEROUS_IMPORT', 'STREAM_BROKEN'],
    ['os.system'],
  ],
  ['P14 a second stream', bytes(GOOD, BAD), 'dangerous', ['DANGEROUS_IMPORT'], ['os.system']],
  ['P15 garbage behind', bytes(GOOD, [1, 2, 3, 4]), 'suspicious', ['TRAILING_BYTES']],
  ['P15 legacy torch: raw storages are data', legacy(MAGIC, new Uint8Array(8)), 'safe', []],
  ['P15 legacy torch: storage bytes that look like a pickle', legacy(MAGIC, BAD.subarray(0, 8)), 'safe', []],
  ['P15 legacy torch: bytes behind the storages', legacy(MAGIC, new Uint8Array(9)), 'suspicious', ['TRAILING_BYTES']],
  [
    'P15 legacy torch: a pickle behind the storages',
    legacy(MAGIC, bytes(new Uint8Array(8), BAD)),
    'dangerous',
    ['DANGEROUS_IMPORT'],
  ],
  ['P15 legacy torch: storages that end early', legacy(MAGIC, new Uint8Array(3)), 'suspicious', ['STORAGE_MISMATCH']],
  [
    'P16 the magic number is the result of a call',
    legacy(call('os', 'system', text('id')), new Uint8Array(8)),
    'dangerous',
    ['DANGEROUS_IMPORT'],
  ],
  ['P17 PROTO 9', bytes(0x80, 9, 'N', STOP), 'suspicious', []],
  ['P17 PROTO twice', bytes(PROTO2, PROTO2, 'N', STOP), 'suspicious', ['PICKLE_STRUCTURE']],
  ['P17 PROTO inside', bytes('N0', PROTO2, 'N', STOP), 'suspicious', ['PICKLE_STRUCTURE']],
  ['P18 FRAME longer than the file', bytes(PROTO4, 0x95, u64(999n), 'N', STOP), 'suspicious', ['PICKLE_STRUCTURE']],
  [
    'P18 FRAME longer than the file, a payload behind it',
    bytes(PROTO4, 0x95, u64(2n ** 60n), global('os', 'system'), STOP),
    'dangerous',
    ['DANGEROUS_IMPORT'],
  ],
  [
    'P18 an argument that crosses the frame',
    bytes(PROTO4, 0x95, u64(3n), shortText('abcdef'), STOP),
    'suspicious',
    ['PICKLE_STRUCTURE'],
  ],
  [
    'P18 FRAME inside FRAME',
    bytes(PROTO4, 0x95, u64(12n), 0x95, u64(2n), 'N', STOP, 'N', STOP),
    'suspicious',
    ['PICKLE_STRUCTURE'],
  ],
  ['P19 BINUNICODE8 of 2^63', bytes(PROTO4, 0x8d, u64(2n ** 63n), 'x'), 'suspicious', ['STREAM_BROKEN']],
  ['P19 BINBYTES8 beyond the file', bytes(PROTO4, 0x8e, u64(1000n), 'x'), 'suspicious', ['STREAM_BROKEN']],
  ['P19 LONG4, negative', bytes(PROTO2, 0x8b, u32(0xffffffff), STOP), 'suspicious', ['STREAM_BROKEN']],
  [
    'P20 a long of 100,000 bytes',
    bytes(PROTO2, 0x8b, u32(100_000), new Uint8Array(100_000), STOP),
    'suspicious',
    ['LIMIT'],
  ],
  ['P26 BUILD on a dict', wrap('}', '}', 'b'), 'suspicious', ['PICKLE_STRUCTURE']],
  ['P26 SETITEMS with an odd count', wrap('}', '(', int(1), 'u'), 'suspicious', ['STREAM_BROKEN']],
  ['P26 APPEND to text', wrap(text('a'), int(1), 'a'), 'suspicious', ['PICKLE_STRUCTURE']],
  ...['__class__', '__setstate__', '__reduce_ex__', '__annotations__'].map(
    (key): Row => [
      `P27 BUILD sets ${key}`,
      wrap(global('collections', 'OrderedDict'), ')R', dict([[key, int(1)]]), 'b'),
      'dangerous',
      ['DANGEROUS_ATTRIBUTE'],
    ],
  ),
  ['P28 a pickle as bytes', bytes(PROTO4, 'C', BAD.length, BAD, STOP), 'suspicious', ['NESTED_PICKLE']],
  ['P28 a pickle in base64', wrap(text(Buffer.from(BAD).toString('base64'))), 'suspicious', ['NESTED_PICKLE']],
  ['P28 a pickle in hex', wrap(text(Buffer.from(BAD).toString('hex'))), 'suspicious', ['NESTED_PICKLE']],
  ['P28 a pickle in a pickle in a pickle', nest(nest(BAD)), 'suspicious', ['NESTED_PICKLE']],
  [
    'P28 a pickle beside an unpickling import',
    wrap(global('pickle', 'loads'), bytes('T', u32(BAD.length), BAD), 0x85, 'R'),
    'dangerous',
    ['DANGEROUS_IMPORT'],
    ['pickle.loads'],
  ],
  ...(
    [
      ['torch.storage', '_load_from_bytes'],
      ['pickle', 'loads'],
      ['joblib', 'load'],
      ['numpy', 'load'],
    ] as const
  ).map(
    ([module, name]): Row => [
      `P29 ${module}.${name}`,
      wrap(call(module, name, text('x'))),
      'dangerous',
      ['DANGEROUS_IMPORT'],
      [`${module}.${name}`],
    ],
  ),
  ['P30 OrderedDict with a space', wrap(global('collections', 'OrderedDict ')), 'suspicious', ['UNKNOWN_IMPORT']],
  ['P30 OrderedDict with NUL', wrap(global('collections', 'OrderedDict\0')), 'suspicious', ['UNKNOWN_IMPORT']],
  ['P30 OrderedDict in Cyrillic', wrap(global('collections', 'ОrderedDict')), 'suspicious', ['UNKNOWN_IMPORT']],
  [
    'P30 a dotted name',
    wrap(global('collections', 'OrderedDict.__init__.__globals__')),
    'dangerous',
    ['DANGEROUS_IMPORT'],
  ],
  [
    'P30 a dotted name without underscores',
    wrap(global('collections', 'OrderedDict.fromkeys')),
    'dangerous',
    ['DANGEROUS_IMPORT'],
  ],
  ['P30 a module reached by dots', wrap(global('torch.serialization', 'os.system')), 'dangerous', ['DANGEROUS_IMPORT']],
  ['P30 a private twin reached by dots', wrap(global('random', '_os.system')), 'dangerous', ['DANGEROUS_IMPORT']],
  ['P31 torch.evil', wrap(global('torch', 'evil')), 'suspicious', ['UNKNOWN_IMPORT']],
  ['P31 torchx', wrap(global('torchx', 'FloatStorage')), 'suspicious', ['UNKNOWN_IMPORT']],
  ['P31 torch.utils.collect_env', wrap(global('torch.utils.collect_env', 'run')), 'dangerous', ['DANGEROUS_IMPORT']],
  [
    'P32 __main__.Net',
    wrap(global('__main__', 'Net'), ')', 0x81, dict([]), 'b'),
    'suspicious',
    ['UNKNOWN_IMPORT'],
    ['__main__.Net'],
  ],
  [
    'P33 odd keys',
    wrap(
      dict([
        ['__proto__', int(1)],
        ['constructor', int(2)],
        ['', int(3)],
      ]),
    ),
    'safe',
    [],
  ],
  [
    'P34 a key twice',
    wrap(
      dict([
        ['a', int(1)],
        ['a', int(2)],
      ]),
    ),
    'safe',
    [],
  ],
  [
    'P36 __builtin__.eval',
    wrap(call('__builtin__', 'eval', text('1'))),
    'dangerous',
    ['DANGEROUS_IMPORT'],
    ['builtins.eval'],
  ],
  ['P36 cPickle.loads', wrap(call('cPickle', 'loads', text('1'))), 'dangerous', ['DANGEROUS_IMPORT'], ['pickle.loads']],
  [
    'P36 copy_reg._reconstructor of object',
    wrap(
      call('copy_reg', '_reconstructor', global('collections', 'OrderedDict'), global('__builtin__', 'object'), 'N'),
    ),
    'safe',
    [],
  ],
  [
    'P36 copy_reg._reconstructor of a foreign class',
    wrap(call('copy_reg', '_reconstructor', global('a', 'B'), global('__builtin__', 'object'), 'N')),
    'suspicious',
    ['UNKNOWN_IMPORT', 'WRONG_ROLE'],
  ],
  ['P37 NEWOBJ_EX', bytes(PROTO4, global('collections', 'OrderedDict'), ')}', 0x92, STOP), 'safe', []],
  ['P37 BYTEARRAY8', bytes([0x80, 5], 0x96, u64(3n), 'abc', STOP), 'safe', []],
  ['P37 NEXT_BUFFER', bytes([0x80, 5], 0x97, STOP), 'suspicious', ['STREAM_BROKEN']],
  ['P38 a numpy dtype', wrap(call('numpy', 'dtype', text('f4'), int(0), int(1))), 'safe', []],
  [
    'P38 a numpy dtype of objects',
    wrap(call('numpy', 'dtype', text('O8'), int(0), int(1))),
    'suspicious',
    ['OBJECT_ARRAY'],
  ],
  ...(
    [
      ['typing', 'get_type_hints'],
      ['types', 'SimpleNamespace'],
      ['dataclasses', '_create_fn'],
      ['inspect', 'getattr_static'],
    ] as const
  ).map(
    ([module, name]): Row => [`P39 ${module}.${name}`, wrap(global(module, name)), 'dangerous', ['DANGEROUS_IMPORT']],
  ),
  ...['fickling', 'picklescan.scanner', 'modelscan'].map(
    (module): Row => [`P40 ${module}`, wrap(global(module, 'x')), 'dangerous', ['DANGEROUS_IMPORT']],
  ),
];

function nest(inner: Uint8Array): Uint8Array {
  return bytes(PROTO4, 'C', inner.length, inner, STOP);
}

describe('pickles', () => {
  const rows = ROWS.map(([id, stream, verdict, rules, names = []]) => ({ id, stream, verdict, rules, names }));
  test.each(rows)('$id', async ({ stream, verdict, rules, names }) => {
    const audit = await auditBytes(stream);
    expect(audit.verdict, JSON.stringify(audit.findings)).toBe(verdict);
    for (const rule of rules) expect(rulesOf(audit)).toContain(rule);
    for (const name of names) expect(namesOf(audit)).toContain(name);
  });

  test('P03: cut at every byte, never safe, and the imports so far are named', async () => {
    const whole = bytes(PROTO2, global('os', 'system'), text('id'), 0x85, 'R', dict([['a', int(1)]]), '0', STOP);
    const named = 2 + global('os', 'system').length;
    for (let cut = 1; cut < whole.length; cut += 1) {
      const audit = await auditBytes(whole.subarray(0, cut));
      expect(audit.verdict, `cut at ${cut}`).toBe(cut < named ? 'suspicious' : 'dangerous');
      expect(audit.complete).toBe(false);
    }
  });

  test('P03: the same in protocol 0, which is text', async () => {
    const whole = encode("(dp0\nS'a'\nI1\ns.");
    for (let cut = 1; cut < whole.length; cut += 1) {
      expect((await auditBytes(whole.subarray(0, cut))).verdict, `cut at ${cut}`).toBe('suspicious');
    }
    expect((await auditBytes(whole)).verdict).toBe('safe');
  });

  test('P04: member, offset and opcode of an import', async () => {
    const { findings } = await auditBytes(BAD);
    expect(findings).toEqual([
      {
        level: 'dangerous',
        rule: 'DANGEROUS_IMPORT',
        module: 'os',
        name: 'system',
        member: '',
        offset: 2,
        opIndex: 1,
        called: true,
        detail: '("id")',
        count: 1,
      },
    ]);
  });

  test('P21, P22, P23, P24, P25: bounded work', async () => {
    // Ten levels of ten references each.
    const levels: Part[] = [PROTO2, ']q', 0, 'N', 'a'];
    for (let level = 1; level <= 10; level += 1) {
      levels.push(']q', level, '(');
      for (let copy = 0; copy < 10; copy += 1) levels.push('h', level - 1);
      levels.push('e');
    }
    const bomb = await auditBytes(bytes(...levels, STOP));
    expect(rulesOf(bomb)).toContain('EXPANSION');
    const marks = await auditBytes(bytes(PROTO2, '('.repeat(100_000), STOP));
    expect(rulesOf(marks)).toContain('LIMIT');
    const deep = await auditBytes(bytes(PROTO2, 'N', '\x85'.repeat(200_000), STOP));
    expect(deep.verdict).toBe('safe');
    const cycle = await auditBytes(bytes(PROTO2, ']q', 0, 'h', 0, 'a', STOP));
    expect(cycle.verdict).toBe('safe');
    const sparse = await auditBytes(bytes(PROTO2, 'N', 'r', u32(0x7fffffff), STOP));
    expect(rulesOf(sparse)).toEqual(['EXPANSION']);
    const noNewline = await auditBytes(bytes('c', 'a'.repeat(2_000_000)));
    expect(noNewline.verdict).toBe('suspicious');
  });

  test('P33: no prototype is touched', async () => {
    await auditBytes(wrap(dict([['__proto__', dict([['polluted', int(1)]])]])));
    expect('polluted' in {}).toBe(false);
  });

  test('P35: what is no pickle is named', async () => {
    const page = await auditBytes(encode('<!doctype html><html></html>'), 'model.pt');
    expect(page).toMatchObject({ verdict: 'suspicious', kind: 'text' });
    expect(page.findings[0]?.detail).toContain('HTML');
    const pointer = await auditBytes(encode('version https://git-lfs.github.com/spec/v1\nsize 5\n'), 'model.pt');
    expect(pointer.findings[0]?.detail).toContain('Git LFS');
    const prose = await auditBytes(encode('N. Smith wrote this.\n'), 'README.txt');
    expect(prose).toMatchObject({ verdict: 'safe', kind: 'text' });
  });
});

describe('roles', () => {
  const lookup = (module: string, name: string, attribute: string, ...more: readonly Part[]): Uint8Array =>
    wrap(global('__builtin__', 'getattr'), global(module, name), text(attribute), 0x86, 'R', ...more);

  test('getattr of a plain attribute of a library class is suspicious, everything else dangerous', async () => {
    const verdict = async (stream: Uint8Array): Promise<Verdict> => (await auditBytes(stream)).verdict;
    expect(await verdict(lookup('transformers.trainer_utils', 'HubStrategy', 'EVERY_SAVE'))).toBe('suspicious');
    expect(await verdict(lookup('transformers.trainer_utils', 'HubStrategy', '__init__'))).toBe('dangerous');
    expect(await verdict(lookup('transformers.trainer_utils', 'HubStrategy', 'a.b'))).toBe('dangerous');
    expect(await verdict(lookup('os', 'System', 'popen'))).toBe('dangerous');
    expect(await verdict(lookup('somewhere', 'Net', 'run'))).toBe('dangerous');
    expect(await verdict(lookup('torch', 'Tensor', 'add', ')', 'R'))).toBe('dangerous');
    expect(await verdict(wrap(global('__builtin__', 'getattr')))).toBe('dangerous');
  });

  test('functools.partial of a named class is no more than that class', async () => {
    const partial = (module: string, name: string): Uint8Array =>
      wrap(global('functools', 'partial'), global(module, name), 0x85, 'R', ')', 'R');
    expect((await auditBytes(partial('a.b', 'Net'))).verdict).toBe('suspicious');
    expect((await auditBytes(partial('os', 'system'))).verdict).toBe('dangerous');
    const computed = wrap(global('functools', 'partial'), call('a', 'b'), 0x85, 'R', ')', 'R');
    expect((await auditBytes(computed)).verdict).toBe('dangerous');
  });

  test('listed names in another role', async () => {
    const called = await auditBytes(wrap(call('torch', 'FloatStorage', int(1))));
    expect(rulesOf(called)).toContain('WRONG_ROLE');
    const factory = await auditBytes(wrap(call('collections', 'defaultdict', global('a', 'b'))));
    expect(rulesOf(factory)).toEqual(['UNKNOWN_IMPORT', 'WRONG_ROLE']);
    const codec = await auditBytes(wrap(call('_codecs', 'encode', text('x'), text('idna'))));
    expect(rulesOf(codec)).toEqual(['WRONG_ROLE']);
    const latin = await auditBytes(wrap(call('_codecs', 'encode', text('x'), text('latin1'))));
    expect(latin.verdict).toBe('safe');
  });

  test('the result of a call that is called', async () => {
    const twice = await auditBytes(wrap(global('a', 'b'), ')R', ')R'));
    expect(rulesOf(twice)).toEqual(['COMPUTED_CALL', 'UNKNOWN_IMPORT']);
    const nothing = await auditBytes(wrap('h', 5, ')', 'R'));
    expect(nothing.verdict).toBe('dangerous');
  });

  test('harmless members of dangerous packages are suspicious', async () => {
    for (const [module, name] of [
      ['pathlib', 'PosixPath'],
      ['joblib.numpy_pickle', 'NumpyArrayWrapper'],
      ['uuid', 'UUID'],
    ] as const) {
      expect((await auditBytes(wrap(global(module, name)))).verdict, name).toBe('suspicious');
    }
    for (const [module, name] of [
      ['pathlib', 'Path.write_text'],
      ['pathlib', 'os'],
      ['joblib.numpy_pickle', 'load'],
      ['logging.handlers', 'SocketHandler'],
      ['functools', 'reduce'],
      ['operator', 'attrgetter'],
      ['_io', 'open'],
      ['posix', 'execv'],
      ['torch.hub', 'load'],
      ['keras.models', 'load_model'],
      ['__main__', '__builtins__'],
    ] as const) {
      expect((await auditBytes(wrap(global(module, name)))).verdict, `${module}.${name}`).toBe('dangerous');
    }
  });

  test('--allow takes one exact name off the findings, and never a dangerous one', async () => {
    const stream = wrap(global('__main__', 'Net'), ')', 0x81, '0', global('__main__', 'Net2'), ')', 0x81);
    const audit = await auditBytes(stream, 'x.pkl', { allow: ['__main__.Net', 'a.b'] });
    expect(namesOf(audit)).toEqual(['__main__.Net2']);
    expect(audit.allowed).toEqual(['__main__.Net']);
    expect((await auditBytes(BAD, 'x.pkl', { allow: ['os.system'] })).verdict).toBe('dangerous');
  });

  test('equal findings are folded, with their number', async () => {
    const once = bytes(global('a', 'B'), ')', 0x81, '0');
    const audit = await auditBytes(wrap(...Array.from({ length: 300 }, () => once), 'N'));
    expect(audit.findings).toHaveLength(1);
    expect(audit.findings[0]?.count).toBe(300);
  });
});

test('the reader of models refuses what the audit names', async () => {
  const { mkdtempSync, rmSync, writeFileSync } = await import('node:fs');
  const { tmpdir } = await import('node:os');
  const { join } = await import('node:path');
  const folder = mkdtempSync(join(tmpdir(), 'bnsum-audit-'));
  try {
    const path = join(folder, 'x.pkl');
    writeFileSync(path, BAD);
    await expect(openModel(path)).rejects.toThrow('--audit');
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

describe('names that run what they are given', () => {
  // Each of these, called, runs text or bytes of the file, imports by a name of it, opens a path or starts a process.
  test.each([
    ['torch.fx.graph_module', 'reduce_graph_module'],
    ['torch.fx.graph_module', '_exec_with_source'],
    ['torch.fx.graph_module', '_forward_from_src'],
    ['torch.fx.graph_module', '_method_from_src'],
    ['torch.fx.graph_module', 'reduce_package_graph_module'],
    ['torch.fx._lazy_graph_module', '_deserialize_lazy_graph_module'],
    ['torch._utils', '_import_dotted_name'],
    ['torch._C', '_jit_pass_inline'],
    ['torch._C', 'import_ir_module'],
    ['torch.export', 'load'],
    ['torch.onnx.utils', 'export'],
    ['tokenize', 'open'],
    ['threading', 'Timer'],
    ['_testcapi', 'run_in_subinterp'],
    ['xml.etree.ElementTree', 'parse'],
    ['numpy.core', '_ufunc_reconstruct'],
    ['numpy.ma.core', 'fromfile'],
    ['yaml', 'unsafe_load'],
    ['ruamel.yaml', 'YAML'],
    ['psutil', 'Popen'],
    ['pexpect', 'spawn'],
    ['gevent.subprocess', 'Popen'],
    ['sklearn.externals.joblib', 'load'],
    ['hydra.utils', 'instantiate'],
    ['llvmlite.binding', 'load_library_permanently'],
    ['cupy', 'RawKernel'],
    ['transformers', 'AutoModel.from_pretrained'],
    ['pandas.io.common', 'get_handle'],
    ['sympy.core.sympify', 'sympify'],
    ['jinja2', 'Template'],
  ])('%s.%s is dangerous and cannot be allowed', async (module, name) => {
    const audit = await auditBytes(wrap(call(module, name, text('x'))), 'x.pkl', { allow: [`${module}.${name}`] });
    expect(audit.verdict).toBe('dangerous');
    expect(namesOf(audit)).toContain(`${module}.${name}`);
  });

  test('classes of the same libraries that hold data are suspicious', async () => {
    for (const [module, name] of [
      ['torch._C', '_VariableFunctionsClass'],
      ['torch.fx.node', 'Node'],
      ['torch.nn.utils.rnn', 'PackedSequence'],
      ['torch.distributed.checkpoint.metadata', 'Metadata'],
      ['sklearn.externals.joblib.numpy_pickle', 'NumpyArrayWrapper'],
      ['sklearn.datasets.base', 'Bunch'],
      ['omegaconf.dictconfig', 'DictConfig'],
      ['ruamel.yaml.comments', 'CommentedMap'],
      ['pandas.core.frame', 'DataFrame'],
      ['PIL.Image', 'Image'],
      ['argparse', 'Namespace'],
      ['zoneinfo', 'ZoneInfo'],
      ['sympy.core.symbol', 'Symbol'],
    ] as const) {
      expect((await auditBytes(wrap(global(module, name)))).verdict, `${module}.${name}`).toBe('suspicious');
    }
  });

  test("NumPy's function by name is what it names", async () => {
    const ufunc = (module: string, name: string): Uint8Array =>
      wrap(call('numpy.core', '_ufunc_reconstruct', text(module), text(name)));
    expect((await auditBytes(ufunc('numpy.core._multiarray_umath', 'log1p'))).verdict).toBe('suspicious');
    expect((await auditBytes(ufunc('os', 'system'))).verdict).toBe('dangerous');
    expect((await auditBytes(ufunc('numpy', 'load'))).verdict).toBe('dangerous');
  });
});
