import { describe, expect, test } from 'vitest';
import type { AuditRule, Verdict } from '../../src/audit/finding.ts';
import { type Inflate, useCodec } from '../../src/bytes/codec.ts';
import { nodeCodec } from '../../src/bytes/node/codec.ts';
import {
  bytes,
  dict,
  global,
  type Part,
  PROTO2,
  STOP,
  tensor,
  text,
  u32,
  u64,
} from '../formats/torch/pickle-builder.ts';
import { fields, join, type ZipPart, type ZipShape, zipBytes } from '../helpers/zip-bytes.ts';
import { auditBytes, namesOf, rulesOf } from './audit-bytes.ts';

const encode = (value: string): Uint8Array => new TextEncoder().encode(value);
const BAD = bytes(PROTO2, global('os', 'system'), text('id'), 0x85, 'R', STOP);
const GOOD = bytes(PROTO2, dict([]), STOP);
const NOTE = encode('a note\n');
const note: ZipPart = { name: 'note.txt', data: NOTE };
const bad: ZipPart = { name: 'a/data.pkl', data: BAD };

type Row = readonly [id: string, file: Uint8Array, verdict: Verdict, complete: boolean, rules: readonly AuditRule[]];
const zip = (...parts: readonly ZipPart[]): Uint8Array => zipBytes(parts);
const shaped = (shape: ZipShape, ...parts: readonly ZipPart[]): Uint8Array => zipBytes(parts, shape);

/** A torch archive of one tensor; its record can be replaced. */
function torchParts(record: Uint8Array = new Uint8Array(8), more: readonly ZipPart[] = []): readonly ZipPart[] {
  const state = bytes(PROTO2, dict([['w', tensor('FloatStorage', '0', 2, 0, [2], [1])]]), STOP);
  return [
    { name: 'm/data.pkl', data: state },
    { name: 'm/byteorder', data: encode('little') },
    { name: 'm/data/0', data: record },
    { name: 'm/version', data: encode('3\n') },
    ...more,
  ];
}

const view = (offset: number, size: readonly number[], stride: readonly number[]): Uint8Array =>
  zip(
    { name: 'm/data.pkl', data: bytes(PROTO2, tensor('FloatStorage', '0', 2, offset, size, stride), STOP) },
    { name: 'm/data/0', data: new Uint8Array(8) },
  );

const unicodePath = (name: string): Uint8Array =>
  join(fields([2, 0x7075], [2, 5 + name.length]), bytes(1, u32(0)), encode(name));

function nested(levels: number, inner: Uint8Array): Uint8Array {
  let file = inner;
  for (let level = 0; level < levels; level += 1) file = zip({ name: 'inner.zip', data: file });
  return file;
}

const ROWS: readonly Row[] = [
  ['Z00 a plain zip', zip(note), 'safe', true, []],
  ['Z00 a pickle in a zip', zip(note, bad), 'dangerous', true, ['DANGEROUS_IMPORT']],
  ['Z00 a pickle under another extension', zip({ name: 'a/readme.txt', data: BAD }), 'dangerous', true, []],
  ['Z00 a deflated pickle', zip({ ...bad, method: 8 }), 'dangerous', true, []],
  [
    'Z02 a second end record in the comment',
    shaped({ comment: zip(note) }, note, bad),
    'dangerous',
    true,
    ['ZIP_ODDITY'],
  ],
  ['Z03 bytes before', shaped({ prefix: encode('hello there') }, note), 'suspicious', false, ['PREFIX_BYTES']],
  ['Z03 a pickle before', shaped({ prefix: BAD }, note), 'dangerous', false, ['TWO_FORMATS', 'DANGEROUS_IMPORT']],
  ['Z03 bytes behind', shaped({ suffix: encode('hello') }, note), 'suspicious', true, ['TRAILING_BYTES']],
  ['Z03 a pickle behind', shaped({ suffix: BAD }, note), 'dangerous', true, ['TRAILING_BYTES', 'DANGEROUS_IMPORT']],
  ['Z04 disk number 1', shaped({ disk: 1 }, bad), 'dangerous', false, ['UNREADABLE', 'HIDDEN_MEMBER']],
  ['Z05 a wrong count', shaped({ count: 3 }, note), 'suspicious', true, ['ZIP_ODDITY']],
  [
    'Z05 a hidden member',
    zip(note, { ...bad, hidden: true }, note),
    'dangerous',
    true,
    ['HIDDEN_MEMBER', 'DANGEROUS_IMPORT'],
  ],
  [
    'Z06 another local name',
    zip({ ...bad, name: 'a.txt', local: { name: 'b.pkl' } }),
    'dangerous',
    true,
    ['ZIP_ODDITY'],
  ],
  ['Z07 another local method', zip({ ...note, local: { method: 8 } }), 'suspicious', true, ['ZIP_ODDITY']],
  ['Z07 other local sizes', zip({ ...note, local: { size: 3 } }), 'suspicious', true, ['ZIP_ODDITY']],
  ...[0x1, 0x20, 0x40, 0x2000].flatMap((flag): Row[] => [
    [
      `Z08 flag 0x${flag.toString(16)} on plain data`,
      zip({ ...note, flags: flag }),
      'suspicious',
      true,
      ['ZIP_ODDITY'],
    ],
    [
      `Z08 flag 0x${flag.toString(16)} on a payload`,
      zip({ ...bad, flags: flag }),
      'dangerous',
      true,
      ['DANGEROUS_IMPORT'],
    ],
  ]),
  [
    'Z09 encrypted',
    zip({ ...note, flags: 1, compressedSize: NOTE.length, size: NOTE.length - 1 }),
    'suspicious',
    false,
    ['UNREADABLE'],
  ],
  [
    'Z10 a wrong checksum on a payload',
    zip({ ...bad, crc: 1 }),
    'dangerous',
    true,
    ['BAD_CHECKSUM', 'DANGEROUS_IMPORT'],
  ],
  ['Z10 a wrong checksum', zip({ ...note, crc: 1 }), 'suspicious', true, ['BAD_CHECKSUM']],
  ['Z11 no checksum in a torch archive', zip(...torchParts().map((part) => ({ ...part, crc: 0 }))), 'safe', true, []],
  ['Z11 no checksum elsewhere', zip({ ...note, crc: 0 }), 'suspicious', true, ['BAD_CHECKSUM']],
  ['Z12 one name twice, the first a payload', zip(bad, { ...bad, data: GOOD }), 'dangerous', true, ['ZIP_ODDITY']],
  ['Z12 one name twice, the second a payload', zip({ ...bad, data: GOOD }, bad), 'dangerous', true, ['ZIP_ODDITY']],
  ['Z12 data.pkl in two folders', zip({ name: 'b/data.pkl', data: GOOD }, bad), 'dangerous', true, []],
  ['Z13 names that differ in case', zip(note, { ...note, name: 'NOTE.txt' }), 'suspicious', true, ['ZIP_ODDITY']],
  ...['../../x', '/etc/x', 'C:\\x', 'a\\..\\b', 'a\0b'].map(
    (name): Row => [`Z14 ${JSON.stringify(name)}`, zip({ ...note, name }), 'suspicious', true, ['UNSAFE_NAME']],
  ),
  ['Z15 a symbolic link', zip({ ...note, external: 0xa000_0000 }), 'suspicious', true, ['SPECIAL_FILE']],
  [
    'Z16 overlapping members',
    zip({ ...note, name: 'x', offset: 0 }, { ...note, offset: 0 }),
    'suspicious',
    true,
    ['ZIP_ODDITY'],
  ],
  ['Z18 declares less than it holds', zip({ ...note, method: 8, size: 3 }), 'suspicious', false, ['UNREADABLE']],
  ['Z18 declares more than it holds', zip({ ...note, method: 8, size: 1000 }), 'suspicious', false, ['UNREADABLE']],
  [
    'Z19 deflate with trailing bytes',
    zip({ ...note, method: 8, compressedSize: 15, after: new Uint8Array(9) }),
    'suspicious',
    false,
    [],
  ],
  ...[1, 6, 9, 12, 14, 93, 98].map(
    (method): Row => [`Z20 method ${method}`, zip({ ...note, method }), 'suspicious', false, ['UNREADABLE']],
  ),
  ['Z21 nested once', nested(1, zip(bad)), 'dangerous', true, ['DANGEROUS_IMPORT']],
  ['Z21 nested 42 times', nested(42, zip(note)), 'suspicious', false, ['NESTED_ARCHIVE']],
  ['Z23 an offset past the end', zip({ ...note, offset: 10_000 }), 'suspicious', false, ['UNREADABLE']],
  [
    'Z24 a unicode path of another name',
    zip({ ...note, extra: unicodePath('evil') }),
    'suspicious',
    true,
    ['ZIP_ODDITY'],
  ],
  ['Z26 a pickle with a zip behind it', join(BAD, zip(note)), 'dangerous', false, ['TWO_FORMATS', 'DANGEROUS_IMPORT']],
  [
    'Z26 a harmless pickle with a bad zip behind it',
    join(GOOD, zip(bad)),
    'dangerous',
    false,
    ['TWO_FORMATS', 'DANGEROUS_IMPORT'],
  ],
  ['T02 a record too long', zip(...torchParts(new Uint8Array(9))), 'suspicious', false, ['STORAGE_MISMATCH']],
  [
    'T02 no record',
    zip(...torchParts().filter((part) => part.name !== 'm/data/0')),
    'suspicious',
    true,
    ['STORAGE_MISMATCH'],
  ],
  ['T04 a view beyond its storage', view(1, [2], [1]), 'suspicious', true, ['TENSOR_BOUNDS']],
  ['T04 strides beyond the storage', view(0, [2], [2]), 'suspicious', true, ['TENSOR_BOUNDS']],
  ['T04 a view that fits', view(1, [1], [7]), 'safe', true, []],
  [
    'T07 an unknown byte order',
    zip(...torchParts().map((part) => (part.name === 'm/byteorder' ? { ...part, data: encode('xyz') } : part))),
    'suspicious',
    true,
    ['STORAGE_MISMATCH'],
  ],
  ['T08 a storage that looks like a pickle', zip(...torchParts(BAD.subarray(0, 8))), 'safe', true, []],
  [
    'T09 a pickle beside the storages',
    zip(...torchParts(undefined, [{ name: 'm/data/1', data: BAD }])),
    'dangerous',
    true,
    ['DANGEROUS_IMPORT'],
  ],
  [
    'T09 Python source',
    zip(...torchParts(undefined, [{ name: 'm/setup.py', data: encode('print(1)\n') }])),
    'suspicious',
    true,
    ['PYTHON_SOURCE'],
  ],
  [
    'T10 TorchScript',
    zip(...torchParts(undefined, [{ name: 'm/code/__torch__.py', data: encode('class A: pass\n') }])),
    'suspicious',
    true,
    ['PROGRAM'],
  ],
  [
    'a library',
    zip({ name: 'm/data/aotinductor/model/a.so', data: join(encode('\x7fELF'), new Uint8Array(200)) }),
    'dangerous',
    false,
    ['NATIVE_CODE'],
  ],
];

describe('zip archives', () => {
  test.each(ROWS)('%s', async (_id, file, verdict, complete, rules) => {
    const audit = await auditBytes(file, 'x.zip');
    expect(audit.verdict, JSON.stringify(audit.findings)).toBe(verdict);
    for (const rule of rules) expect(rulesOf(audit)).toContain(rule);
    expect(audit.complete).toBe(complete);
  });

  test('Z01: cut at every byte, never safe', async () => {
    const file = zip(note, bad);
    for (let cut = 1; cut < file.length; cut += 1) {
      const audit = await auditBytes(file.subarray(0, cut), 'x.zip');
      expect(audit.verdict, `cut at ${cut}`).not.toBe('safe');
      // One or two bytes are a text.
      expect(audit.complete).toBe(cut < 3);
    }
  });

  test('Z17: a bomb is refused before it is inflated', async () => {
    const bomb = zip({ name: 'zeros', data: new Uint8Array(1000), method: 8, size: 10 * 1024 ** 2 * 400 });
    let streams = 0;
    const counting: Inflate = {
      ...nodeCodec,
      inflateRaw(...words) {
        streams += 1;
        return nodeCodec.inflateRaw(...words);
      },
    };
    useCodec(counting);
    try {
      expect(rulesOf(await auditBytes(bomb, 'x.zip'))).toContain('LIMIT');
      expect(streams).toBe(0);
      // The count counts: an honest member is inflated.
      await auditBytes(zip({ name: 'zeros', data: new Uint8Array(1000), method: 8 }), 'x.zip');
      expect(streams).toBeGreaterThan(0);
    } finally {
      useCodec(nodeCodec);
    }
  });

  test.each([
    ['7-Zip', "7z\xbc\xaf'\x1c\0\0"],
    ['RAR', 'Rar!\x1a\x07\0'],
    ['gzip', '\x1f\x8b\x08\0'],
    ['xz', '\xfd7zXZ\0'],
    ['bzip2', 'BZh91AY'],
    ['Zstandard', '\x28\xb5\x2f\xfd\0'],
    ['GGUF', 'GGUF\x03\0\0\0'],
  ])('Z25: %s is named and not opened', async (kind, start) => {
    const audit = await auditBytes(bytes(start, new Uint8Array(64)), 'model.pt');
    expect(audit).toMatchObject({ verdict: 'suspicious', complete: false });
    expect(audit.findings[0]).toMatchObject({ rule: 'NOT_OPENED' });
    expect(audit.kind).toContain(kind);
  });

  test('member names are where findings are', async () => {
    const inner = zip({ name: 'deep/x.pkl', data: BAD });
    const audit = await auditBytes(zip({ name: 'in.npz', data: inner }), 'x.zip');
    expect(audit.findings[0]?.member).toBe('in.npz!deep/x.pkl');
    expect(namesOf(audit)).toEqual(['os.system']);
  });
});

describe('tar', () => {
  function tar(members: readonly (readonly [name: string, data: Uint8Array, type?: string])[]): Uint8Array {
    const blocks = members.flatMap(([name, data, type = '0']) => {
      const header = new Uint8Array(512);
      header.set(encode(name), 0);
      header.set(encode('0000644\0'), 100);
      header.set(encode(`${data.length.toString(8).padStart(11, '0')}\0`), 124);
      header.set(encode('        '), 148);
      header.set(encode(type), 156);
      header.set(encode('ustar\0'), 257);
      header.set(
        encode(
          `${header
            .reduce((sum, byte) => sum + byte, 0)
            .toString(8)
            .padStart(6, '0')}\0 `,
        ),
        148,
      );
      return [header, data, new Uint8Array((512 - (data.length % 512)) % 512)];
    });
    return join(...blocks, new Uint8Array(1024));
  }
  const TENSORS = bytes(PROTO2, 'K', 0, STOP);
  const pickleOf = (...parts: readonly Part[]): Uint8Array => bytes(PROTO2, ...parts, STOP);
  const STORAGES = join(
    pickleOf('K', 1),
    pickleOf('(', text('0'), text('cpu'), global('torch', 'FloatStorage'), 't'),
    bytes(u64(2n), new Uint8Array(8)),
    pickleOf(']'),
  );

  test.each<readonly [string, Uint8Array, Verdict, boolean, readonly AuditRule[]]>([
    ['a plain tar', tar([['note.txt', NOTE]]), 'safe', true, []],
    ['a pickle in it', tar([['x', BAD]]), 'dangerous', true, ['DANGEROUS_IMPORT']],
    [
      'T11 legacy torch',
      tar([
        ['sys_info', GOOD],
        ['pickle', GOOD],
        ['storages', STORAGES],
        ['tensors', TENSORS],
      ]),
      'safe',
      true,
      [],
    ],
    [
      'T11 legacy torch with a payload',
      tar([
        ['sys_info', GOOD],
        ['pickle', BAD],
        ['storages', STORAGES],
        ['tensors', TENSORS],
      ]),
      'dangerous',
      true,
      ['DANGEROUS_IMPORT'],
    ],
    [
      'T11 a payload behind the storages',
      tar([
        ['sys_info', GOOD],
        ['pickle', GOOD],
        ['storages', join(STORAGES, BAD)],
        ['tensors', TENSORS],
      ]),
      'dangerous',
      true,
      ['TRAILING_BYTES'],
    ],
    ['a link', tar([['x', new Uint8Array(0), '2']]), 'suspicious', true, ['SPECIAL_FILE']],
    ['a name that leaves', tar([['../x', NOTE]]), 'suspicious', true, ['UNSAFE_NAME']],
    [
      'a name twice',
      tar([
        ['x', NOTE],
        ['x', BAD],
      ]),
      'dangerous',
      true,
      ['TAR_ODDITY'],
    ],
    ['bytes behind the end', join(tar([['x', NOTE]]), BAD), 'dangerous', true, ['TRAILING_BYTES']],
    [
      'cut',
      tar([
        ['x', BAD],
        ['y', new Uint8Array(900)],
      ]).subarray(0, 1700),
      'dangerous',
      false,
      ['UNREADABLE'],
    ],
  ])('%s', async (_name, file, verdict, complete, rules) => {
    const audit = await auditBytes(file, 'x.tar');
    expect(audit.verdict, JSON.stringify(audit.findings)).toBe(verdict);
    for (const rule of rules) expect(rulesOf(audit)).toContain(rule);
    expect(audit.complete).toBe(complete);
  });
});

describe('NumPy', () => {
  function npy(descr: string, shape: string, data: Uint8Array, version = 1): Uint8Array {
    const header = encode(`{'descr': ${descr}, 'fortran_order': False, 'shape': ${shape}, }\n`);
    const length = version === 1 ? fields([2, header.length]) : fields([4, header.length]);
    return join(bytes('\x93NUMPY', version, 0), length, header, data);
  }
  test.each<readonly [string, Uint8Array, Verdict, readonly AuditRule[]]>([
    ['numbers', npy("'<f4'", '(2, 3)', new Uint8Array(24)), 'safe', []],
    ['a scalar, version 2', npy("'|b1'", '()', new Uint8Array(1), 2), 'safe', []],
    ['text', npy("'<U5'", '(2,)', new Uint8Array(40)), 'safe', []],
    ['too short', npy("'<f4'", '(2, 3)', new Uint8Array(20)), 'suspicious', ['UNREADABLE']],
    ['a payload behind it', npy("'<f4'", '(1,)', join(new Uint8Array(4), BAD)), 'dangerous', ['TRAILING_BYTES']],
    ['objects', npy("'|O'", '(1,)', GOOD), 'suspicious', ['OBJECT_ARRAY']],
    ['objects with a payload', npy("'|O'", '(1,)', BAD), 'dangerous', ['DANGEROUS_IMPORT']],
    ['a record with objects', npy("[('a', '<i4'), ('b', '|O')]", '(1,)', BAD), 'dangerous', ['DANGEROUS_IMPORT']],
    ['a header that is no dict', npy('__import__("os")', '(1,)', GOOD), 'suspicious', ['UNREADABLE']],
  ])('%s', async (_name, file, verdict, rules) => {
    for (const [data, name] of [
      [file, 'x.npy'],
      [zip({ name: 'a.npy', data: file }), 'x.npz'],
    ] as const) {
      const audit = await auditBytes(data, name);
      expect(audit.verdict, JSON.stringify(audit.findings)).toBe(verdict);
      for (const rule of rules) expect(rulesOf(audit)).toContain(rule);
    }
  });
});

describe('files of two formats', () => {
  test('a tar whose first name is a pickle', async () => {
    const header = new Uint8Array(512);
    header.set(encode("cos\nsystem\n(S'id'\ntR."), 0);
    header.set(encode('00000000000\0'), 124);
    header.set(encode('        0'), 148);
    header.set(encode('ustar\0'), 257);
    header.set(
      encode(
        `${header
          .reduce((sum, byte) => sum + byte, 0)
          .toString(8)
          .padStart(6, '0')}\0 `,
      ),
      148,
    );
    const audit = await auditBytes(join(header, new Uint8Array(1024)), 'x.tar');
    expect(audit.verdict).toBe('dangerous');
    expect(rulesOf(audit)).toContain('TWO_FORMATS');
  });

  test('a bzip2 file that is a pickle', async () => {
    // 'B' takes four bytes of length, and as many bytes of data.
    const length = [0x5a, 0x68, 0x01, 0];
    const audit = await auditBytes(bytes('B', length, 'x'.repeat(0x1685a), '0', global('os', 'system'), STOP), 'x.bz2');
    expect(namesOf(audit)).toEqual(['os.system']);
    expect(rulesOf(audit)).toEqual(['DANGEROUS_IMPORT', 'NOT_OPENED', 'EMBEDDED_PICKLE', 'TWO_FORMATS'].toSorted());
  });

  test('a safetensors file that is a pickle', async () => {
    // Byte 0 is the low byte of the header's length and SHORT_BINSTRING; from its end on, strings of 126 bytes lead
    // through a text in the header into the data.
    const first = 100;
    const headerLength = 0x55 + 256 * first;
    const end = 8 + headerLength;
    const start = 2 + first;
    const over = (128 - ((end - start) % 128)) % 128;
    const data = bytes(new Uint8Array(over), global('os', 'system'), STOP);
    const open = '{"__metadata__":{"x":"';
    const tail = `"},"a":{"dtype":"U8","shape":[${data.length}],"data_offsets":[0,${data.length}]}}`;
    const filler = 'x'.repeat(start - 8 - open.length);
    const blocks = `U~${'x'.repeat(126)}`.repeat(Math.ceil((end - start) / 128));
    const header = (open + filler + blocks).slice(0, headerLength - tail.length) + tail;
    const file = bytes(u64(BigInt(headerLength)), header, data);
    const audit = await auditBytes(file, 'x.safetensors');
    expect(audit.kind).toBe('safetensors');
    expect(namesOf(audit)).toEqual(['os.system']);
    expect(rulesOf(audit)).toContain('TWO_FORMATS');
  });
});
