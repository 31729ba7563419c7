import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { memorySource } from '../../../src/bytes/memory-source.ts';
import { memoryTarget } from '../../../src/bytes/target.ts';
import { DTYPE_WORDS, readHeader } from '../../../src/formats/safetensors/header.ts';
import { safetensorsReader } from '../../../src/formats/safetensors/read.ts';
import { writeSafetensors } from '../../../src/formats/safetensors/write.ts';
import { bitsOf } from '../../../src/ir/dtype.ts';
import { BnsumError, type ErrorCode } from '../../../src/ir/error.ts';
import type { Model, Tensor } from '../../../src/ir/model.ts';
import { memorySiblings, probeOf, refusalOf, wholeTensor } from '../../helpers/source.ts';
import { entryOf, stateArbitrary } from '../../helpers/state.ts';

const REFERENCE =
  'OAEAAAAAAAB7Il9fbWV0YWRhdGFfXyI6eyJmb3JtYXQiOiJwdCJ9LCJhIjp7ImR0eXBlIjoiSTY0Iiwic2hhcGUiOlsxXSwiZGF0YV9vZmZzZXRzIjpbMCw4XX0sImIiOnsiZHR5cGUiOiJGMzIiLCJzaGFwZSI6WzJdLCJkYXRhX29mZnNldHMiOls4LDE2XX0sImQiOnsiZHR5cGUiOiJGMzIiLCJzaGFwZSI6WzJdLCJkYXRhX29mZnNldHMiOlsxNiwyNF19LCLDqSI6eyJkdHlwZSI6IkYxNiIsInNoYXBlIjpbMV0sImRhdGFfb2Zmc2V0cyI6WzI0LDI2XX0sImMiOnsiZHR5cGUiOiJCT09MIiwic2hhcGUiOlsxXSwiZGF0YV9vZmZzZXRzIjpbMjYsMjddfX0gICAgICABAAAAAAAAAAAAAAAAAAAAAACAPwAAgD8AAAA=';

const encode = (text: string): Uint8Array => new TextEncoder().encode(text);

function fileOf(header: string | Uint8Array, data: Uint8Array | number, length?: number | bigint): Uint8Array {
  const text = typeof header === 'string' ? encode(header) : header;
  const body = typeof data === 'number' ? new Uint8Array(data) : data;
  const file = new Uint8Array(8 + text.byteLength + body.byteLength);
  new DataView(file.buffer).setBigUint64(0, BigInt(length ?? text.byteLength), true);
  file.set(text, 8);
  file.set(body, 8 + text.byteLength);
  return file;
}

const read = (bytes: Uint8Array, files?: ReadonlyMap<string, Uint8Array>) =>
  safetensorsReader.read(memorySource(bytes, 'model.safetensors'), memorySiblings(files), {});

function tensorsOf(model: Model): ReadonlyMap<string, Tensor> {
  return new Map(model.layers.flatMap((layer) => layer.weights.map(({ tensor }) => [tensor.name, tensor])));
}

const one = (dtype: string, shape: string, from: number | string, to: number | string): string =>
  `{"a":{"dtype":"${dtype}","shape":${shape},"data_offsets":[${from},${to}]}}`;

describe('the header is proved', () => {
  const refused: readonly (readonly [id: string, bytes: Uint8Array, code: ErrorCode, reason: RegExp])[] = [
    ['S01 nothing', new Uint8Array(0), 'TRUNCATED', /no safetensors header/],
    ['S01 seven bytes', new Uint8Array(7), 'TRUNCATED', /no safetensors header/],
    ['S02 length 0', fileOf('', 0), 'MALFORMED', /header of 0/],
    ['S02 length beyond the file', fileOf('{}', 0, 3), 'TRUNCATED', /needs 11 bytes/],
    ['S02 length 2^63', fileOf('{}', 0, 2n ** 63n), 'LIMIT', /limit/],
    ['S02 length 100,000,001', fileOf('{}', 0, 100_000_001), 'LIMIT', /limit/],
    ['S03 leading space', fileOf(' {}', 0), 'MALFORMED', /start/],
    ['S03 byte order mark', fileOf('\ufeff{}', 0), 'MALFORMED', /start/],
    ['S03 NUL padding', fileOf('{}\0\0', 0), 'MALFORMED', /follows/],
    ['S04 invalid UTF-8', fileOf(Uint8Array.of(0x7b, 0x22, 0xff, 0x22, 0x7d), 0), 'MALFORMED', /UTF-8/],
    ['S04 lone surrogate', fileOf('{"\\ud800":{}}', 0), 'MALFORMED', /surrogate/],
    [
      'S05 name twice',
      fileOf(`${one('U8', '[1]', 0, 1).slice(0, -1)},${one('U8', '[1]', 0, 1).slice(1)}`, 1),
      'MALFORMED',
      /duplicate key 'a'/,
    ],
    [
      'S05 dtype twice',
      fileOf('{"a":{"dtype":"U8","dtype":"I8","shape":[1],"data_offsets":[0,1]}}', 1),
      'MALFORMED',
      /duplicate key 'dtype'/,
    ],
    [
      'S05 metadata twice',
      fileOf('{"__metadata__":{},"__metadata__":{}}', 0),
      'MALFORMED',
      /duplicate key '__metadata__'/,
    ],
    ['S06 backwards', fileOf(one('U8', '[1]', 1, 0), 1), 'MALFORMED', /backwards/],
    ['S06 negative', fileOf(one('U8', '[1]', -1, 0), 1), 'MALFORMED', /not a size/],
    ['S06 float', fileOf(one('U8', '[1]', '0.0', 1), 1), 'MALFORMED', /fraction/],
    ['S06 exponent', fileOf(one('U8', '[1]', 0, '1e0'), 1), 'MALFORMED', /exponent/],
    ['S06 text', fileOf(one('U8', '[1]', 0, '"1"'), 1), 'MALFORMED', /not a size/],
    ['S06 2^53 + 1', fileOf(one('U8', '[1]', 0, '9007199254740993'), 1), 'MALFORMED', /not a size/],
    ['S07 hole at the start', fileOf(one('U8', '[1]', 1, 2), 2), 'MALFORMED', /unused/],
    ['S07 tail', fileOf(one('U8', '[1]', 0, 1), 2), 'MALFORMED', /belong to no tensor/],
    ['S07 past the end', fileOf(one('U8', '[2]', 0, 2), 1), 'TRUNCATED', /the file has/],
    [
      'S07 overlap',
      fileOf(
        '{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}}',
        3,
      ),
      'MALFORMED',
      /overlaps/,
    ],
    [
      'S07 hole between',
      fileOf(
        '{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"b":{"dtype":"U8","shape":[1],"data_offsets":[2,3]}}',
        3,
      ),
      'MALFORMED',
      /unused/,
    ],
    ['S09 size differs', fileOf(one('F32', '[1]', 0, 3), 3), 'MALFORMED', /takes 4 bytes, not 3/],
    ['S09 product overflows', fileOf(one('F32', '[9007199254740991,9007199254740991]', 0, 0), 0), 'LIMIT', /2\^53/],
    ['S09 [0, 2^60]', fileOf(one('F32', '[0,1152921504606846976]', 0, 0), 0), 'MALFORMED', /not a size/],
    ['S09 empty with bytes', fileOf(one('F32', '[0]', 0, 4), 4), 'MALFORMED', /takes 0 bytes/],
    [
      'S10 empty inside another',
      fileOf(
        '{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[0],"data_offsets":[1,1]}}',
        2,
      ),
      'MALFORMED',
      /overlaps/,
    ],
    ['S11 unknown dtype', fileOf(one('F128', '[1]', 0, 16), 16), 'UNSUPPORTED', /F128/],
    ['S11 odd F4', fileOf(one('F4', '[3]', 0, 2), 2), 'MALFORMED', /whole bytes/],
    ['S12 metadata with a number', fileOf('{"__metadata__":{"a":1}}', 0), 'MALFORMED', /not text/],
    ['S12 metadata with an object', fileOf('{"__metadata__":{"a":{}}}', 0), 'MALFORMED', /not text/],
    ['S12 metadata is a list', fileOf('{"__metadata__":[]}', 0), 'MALFORMED', /not an object/],
    [
      'S13 extra key',
      fileOf('{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1],"x":1}}', 1),
      'MALFORMED',
      /unknown key 'x'/,
    ],
    ['S13 key missing', fileOf('{"a":{"dtype":"U8","shape":[1]}}', 1), 'MALFORMED', /no data_offsets/],
    ['S14 deep', fileOf('{"a":'.repeat(1_000_000), 0), 'LIMIT', /deeper/],
    ['rank 65', fileOf(one('U8', `[${'1,'.repeat(64)}1]`, 0, 1), 1), 'LIMIT', /rank/],
  ];
  test.each(refused)('%s is refused', async (_, bytes, code, reason) => {
    const error = await refusalOf(read(bytes));
    expect([error.code, error.file]).toEqual([code, 'model.safetensors']);
    expect(error.reason).toMatch(reason);
  });

  test('S08, S14: large hostile headers are refused fast', async () => {
    const start = performance.now();
    const bomb = Array.from(
      { length: 100_000 },
      (_, index) => `"t${index}":{"dtype":"U8","shape":[9],"data_offsets":[0,9]}`,
    );
    expect((await refusalOf(read(fileOf(`{${bomb.join(',')}}`, 9)))).reason).toMatch(/overlaps/);
    const spaces = encode(`{${' '.repeat(40_000_000)}`);
    expect((await refusalOf(read(fileOf(spaces, 0)))).code).toBe('TRUNCATED');
    const entries = encode(`{"a":[${'0,'.repeat(10_000_000)}0]}`);
    expect((await refusalOf(read(fileOf(entries, 0)))).code).toBe('LIMIT');
    expect(performance.now() - start).toBeLessThan(10_000);
  });

  test('S02: an announced header is not allocated', async () => {
    let asked = 0;
    const source = memorySource(fileOf('{}', 0, 99_999_999), 'x');
    const spy = {
      ...source,
      read: (from: number, to: number) => {
        asked = Math.max(asked, to - from);
        return source.read(from, to);
      },
    };
    await refusalOf(safetensorsReader.read(spy, memorySiblings(), {}));
    expect(asked).toBeLessThan(100);
  });

  test('S10, S12, S15: empty tensors, empty objects and odd names are only data', async () => {
    const header = `{"__metadata__":{},"":{"dtype":"F32","shape":[0,3],"data_offsets":[0,0]},"__proto__":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"../x":{"dtype":"BOOL","shape":[],"data_offsets":[2,3]},"z":{"dtype":"F32","shape":[0],"data_offsets":[2,2]}}`;
    const { value } = await read(fileOf(header, Uint8Array.of(7, 8, 1)));
    const tensors = tensorsOf(value);
    expect([...tensors.keys()].toSorted()).toEqual(['', '../x', '__proto__', 'z']);
    expect([...(await wholeTensor(tensors.get('__proto__') as Tensor))]).toEqual([7, 8]);
    expect(Object.hasOwn(Object.prototype, 'dtype')).toBe(false);
    expect((await readHeader(memorySource(fileOf('{}', 0), 'x'))).entries).toEqual([]);
  });

  test('opening reads the header alone', async () => {
    const header = one('F32', '[250000]', 0, 1_000_000);
    const { value } = await read(fileOf(header, 1_000_000));
    expect(value.bytesRead()).toBeLessThan(header.length + 32);
  });

  test('is recognised by content, and by name only as a guess', async () => {
    const match = (bytes: Uint8Array, name: string) =>
      safetensorsReader.match(probeOf(bytes, name), memorySource(bytes, name));
    expect(await match(fileOf(one('U8', '[1]', 0, 1), 1), 'model.bin')).toBe('yes');
    expect(await match(encode('{"weight_map":{"a":"x-00001-of-00002.safetensors"}}'), 'x.json')).toBe('yes');
    expect(await match(encode('{"weight_map":{"a":"x-00001-of-00002.bin"}}'), 'x.json')).toBe('no');
    expect(await match(encode('garbage, quite long'), 'model.safetensors')).toBe('maybe');
    expect(await match(encode('garbage, quite long'), 'model.pt')).toBe('no');
  });
});

describe('S16: a sharded set', () => {
  const first = fileOf(
    '{"__metadata__":{"format":"pt"},"b":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}',
    Uint8Array.of(2),
  );
  const second = fileOf(one('U8', '[1]', 0, 1), Uint8Array.of(1));
  const files = new Map([
    ['m-00001-of-00002.safetensors', first],
    ['m-00002-of-00002.safetensors', second],
  ]);
  const index = (map: object): Uint8Array => encode(JSON.stringify({ metadata: { total_size: 2 }, weight_map: map }));

  test('is read in the order of its weight_map', async () => {
    const map = { b: 'm-00001-of-00002.safetensors', a: 'm-00002-of-00002.safetensors' };
    const { value } = await read(index(map), files);
    const tensors = tensorsOf(value);
    expect([...tensors.keys()].toSorted()).toEqual(['a', 'b']);
    expect([...(await wholeTensor(tensors.get('b') as Tensor))]).toEqual([2]);
    expect(value.producer.framework).toBe('torch');
  });

  test.each([
    ['a foreign folder', { b: '../../other.safetensors' }, 'UNSAFE'],
    ['an absolute path', { b: '/etc/x.safetensors' }, 'UNSAFE'],
    ['a URL', { b: 'https://x/y.safetensors' }, 'UNSAFE'],
    ['a subfolder', { b: 'a\\b.safetensors' }, 'UNSAFE'],
    ['a missing shard', { b: 'm-00003-of-00002.safetensors' }, 'NOT_FOUND'],
    ['a tensor in another shard', { a: 'm-00001-of-00002.safetensors', b: 'm-00002-of-00002.safetensors' }, 'MISMATCH'],
    ['a tensor in no shard', { b: 'm-00001-of-00002.safetensors', c: 'm-00001-of-00002.safetensors' }, 'MISMATCH'],
    ['a tensor without a file', { b: 1 }, 'MALFORMED'],
  ])('%s is refused', async (_, map, code) => {
    expect((await refusalOf(read(index(map), files))).code).toBe(code);
  });
});

describe('writing', () => {
  const dtypes = DTYPE_WORDS.map(([, dtype]) => dtype).filter((dtype) => bitsOf(dtype) % 8 === 0);

  test('every state comes back byte for byte', async () => {
    await fc.assert(
      fc.asyncProperty(stateArbitrary(dtypes), fc.dictionary(fc.string(), fc.string()), async (state, extra) => {
        const target = memoryTarget();
        const entries = state.map(({ name, dtype, shape, bytes }) => entryOf(name, dtype, shape, bytes));
        const metadata = new Map(Object.entries(extra).filter(([key]) => !key.startsWith('bnsum.')));
        await writeSafetensors(entries, metadata, target);
        const bytes = target.bytes();
        expect(Number(new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true)) % 8).toBe(0);
        const { value } = await read(bytes);
        const tensors = tensorsOf(value);
        expect(tensors.size).toBe(state.length);
        expect(value.origin.extra).toEqual(metadata);
        for (const { name, dtype, shape, bytes: data } of state) {
          const tensor = tensors.get(name);
          expect([tensor?.dtype, tensor?.shape]).toEqual([dtype, shape]);
          expect(await wholeTensor(tensor as Tensor)).toEqual(data);
        }
      }),
    );
  });

  test('the layout is the reference writer’s', async () => {
    // Written by the safetensors package 0.8.0: save({'b': zeros(2, f32), 'a': ones(1, i64), 'é': zeros(1, f16),
    // 'c': zeros(1, bool), 'd': ones(2, f32)}, metadata={'format': 'pt'}).
    const reference = Buffer.from(REFERENCE, 'base64');
    const ones = Uint8Array.from([0, 0, 0x80, 0x3f, 0, 0, 0x80, 0x3f]);
    const target = memoryTarget();
    const entries = [
      entryOf('b', 'float32', [2], new Uint8Array(8)),
      entryOf('a', 'int64', [1], Uint8Array.of(1, 0, 0, 0, 0, 0, 0, 0)),
      entryOf('é', 'float16', [1], new Uint8Array(2)),
      entryOf('c', 'bool', [1], new Uint8Array(1)),
      entryOf('d', 'float32', [2], ones),
    ];
    await writeSafetensors(entries, new Map([['format', 'pt']]), target);
    expect(target.bytes()).toEqual(new Uint8Array(reference));
  });

  test('what the format cannot hold is refused by name', async () => {
    const write = (name: string, dtype: 'complex128' | 'uint8') =>
      writeSafetensors([entryOf(name, dtype, [1], new Uint8Array(16))], new Map(), memoryTarget());
    expect((await refusalOf(write('w', 'complex128'))).message).toMatch(/^w: .*complex128/);
    expect((await refusalOf(write('__metadata__', 'uint8'))).code).toBe('UNSUPPORTED');
    expect((await refusalOf(write('\ud800', 'uint8'))).code).toBe('UNSUPPORTED');
  });
});

test('damaged files are refused or read, and never anything else', async () => {
  const target = memoryTarget();
  const entries = [
    entryOf('bn.weight', 'float32', [4], new Uint8Array(16)),
    entryOf('bn.bias', 'float32', [4], new Uint8Array(16)),
    entryOf('bn.running_mean', 'float32', [4], new Uint8Array(16)),
    entryOf('bn.running_var', 'float32', [4], new Uint8Array(16)),
    entryOf('bn.num_batches_tracked', 'int64', [], new Uint8Array(8)),
  ];
  const modules = '{"bn":{"type":"BatchNorm2d","num_features":4,"eps":0.001,"momentum":0.85}}';
  const metadata = new Map([
    ['format', 'pt'],
    ['bnsum.modules', modules],
  ]);
  await writeSafetensors(entries, metadata, target);
  const good = target.bytes();
  const attempt = async (bytes: Uint8Array): Promise<void> => {
    try {
      const { value } = await read(bytes);
      for (const tensor of tensorsOf(value).values()) await wholeTensor(tensor);
    } catch (error) {
      if (!(error instanceof BnsumError)) throw error;
      expect(error.code).not.toBe('INTERNAL');
    }
  };
  for (let length = 0; length < good.length; length += 1) {
    await refusalOf(read(good.subarray(0, length)));
  }
  for (let at = 0; at < good.length; at += 1) {
    for (const flip of [0x01, 0x20, 0x80, 0xff]) {
      const bad = good.slice();
      bad[at] = (bad[at] ?? 0) ^ flip;
      await attempt(bad);
    }
  }
});

const samples = process.env['BNSUM_SAMPLES'];
describe.skipIf(samples === undefined)('real files', () => {
  const open = async (name: string): Promise<Model> => {
    const bytes = new Uint8Array(readFileSync(join(samples ?? '', 'safetensors', name)));
    return (await safetensorsReader.read(memorySource(bytes, name), memorySiblings(), {})).value;
  };

  test('what tinygrad wrote opens, whole', async () => {
    const value = await open('AliBayatMokhtari__mnist-tinygrad__model.safetensors');
    const tensors = [...tensorsOf(value).values()];
    expect(tensors.length).toBe(2);
    for (const tensor of tensors) await wholeTensor(tensor);
  });

  test('a file with five bytes behind its tensor is refused, as the reference reader refuses it', async () => {
    const error = await refusalOf(open('las7__weight-inspect__tiny.safetensors'));
    expect(error.reason).toBe('5 bytes belong to no tensor');
  });
});
