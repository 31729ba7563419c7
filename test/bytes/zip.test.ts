import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join as joinPath } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import yauzl from 'yauzl';
import { useCodec } from '../../src/bytes/codec.ts';
import { memorySource } from '../../src/bytes/memory-source.ts';
import { nodeCodec } from '../../src/bytes/node/codec.ts';
import { openFileSource } from '../../src/bytes/node/file-source.ts';
import { memoryTarget } from '../../src/bytes/target.ts';
import { readZip, type ZipArchive } from '../../src/bytes/zip-read.ts';
import { zipWriter } from '../../src/bytes/zip-write.ts';
import { BnsumError, type ErrorCode } from '../../src/ir/error.ts';
import { refusalOf } from '../helpers/source.ts';
import { fields, join, type ZipPart, type ZipShape, zipBytes } from '../helpers/zip-bytes.ts';

useCodec(nodeCodec);
const encode = (text: string): Uint8Array => new TextEncoder().encode(text);
const hello = encode('hello, hello, hello');
const open = (bytes: Uint8Array, mode?: 'lenient') => readZip(memorySource(bytes, 'a.zip'), mode);

/** Everything that a strict reader does with an archive. */
async function whole(bytes: Uint8Array): Promise<ZipArchive> {
  const archive = await open(bytes);
  await archive.inspect();
  for (const member of archive.members) await archive.read(member, 1e9);
  return archive;
}

let folder = '';
beforeAll(() => {
  folder = mkdtempSync(joinPath(tmpdir(), 'bnsum-zip-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Names and contents as yauzl sees them. */
async function asYauzl(bytes: Uint8Array): Promise<ReadonlyMap<string, Uint8Array>> {
  const path = joinPath(folder, 'oracle.zip');
  writeFileSync(path, bytes);
  const zip = await new Promise<yauzl.ZipFile>((resolve, reject) => {
    yauzl.open(path, { lazyEntries: true }, (error, file) => (file === undefined ? reject(error) : resolve(file)));
  });
  const found = new Map<string, Uint8Array>();
  return new Promise((resolve, reject) => {
    zip.on('error', reject);
    zip.on('end', () => resolve(found));
    zip.on('entry', (entry: yauzl.Entry) => {
      zip.openReadStream(entry, (error, stream) => {
        if (stream === undefined) return reject(error);
        const parts: Buffer[] = [];
        stream.on('data', (part: Buffer) => parts.push(part));
        stream.on('error', reject);
        stream.on('end', () => {
          found.set(entry.fileName, new Uint8Array(Buffer.concat(parts)));
          zip.readEntry();
        });
      });
    });
    zip.readEntry();
  });
}

const zip64 = (
  start: number,
  size: number,
  count: number,
  claimed?: Partial<Record<'offset' | 'count' | 'start', number>>,
) =>
  join(
    fields(
      [4, 0x06064b50],
      [8, 44],
      [2, 45],
      [2, 45],
      [4, 0],
      [4, 0],
      [8, claimed?.count ?? count],
      [8, claimed?.count ?? count],
      [8, size],
      [8, claimed?.start ?? start],
    ),
    fields([4, 0x07064b50], [4, 0], [8, claimed?.offset ?? start + size], [4, 1]),
  );

describe('what is read', () => {
  test('stored and deflated members, as yauzl reads them', async () => {
    const name = fc.stringMatching(/^[a-zé]{1,8}(\/[a-z0-9]{1,5}){0,2}\.[a-z]{1,3}$/);
    const part = fc.record({ name, data: fc.uint8Array({ maxLength: 200 }), method: fc.constantFrom(0, 8) });
    await fc.assert(
      fc.asyncProperty(fc.uniqueArray(part, { maxLength: 6, selector: (one) => one.name }), async (parts) => {
        const bytes = zipBytes(parts);
        const archive = await whole(bytes);
        const oracle = await asYauzl(bytes);
        expect(archive.members.map((member) => member.name)).toEqual([...oracle.keys()]);
        for (const member of archive.members) {
          const ours = await archive.read(member, 1e6);
          expect(ours).toEqual(oracle.get(member.name));
          const source = await archive.source(member);
          expect(await source.read(0, source.size)).toEqual(ours);
          expect(source.label).toBe(`a.zip!${member.name}`);
          expect(await archive.checkCrc(member)).toBe(member.size > 0 && member.crc32 === 0 ? 'absent' : 'ok');
        }
      }),
      { numRuns: 60 },
    );
  });

  test('what PyTorch does passes: descriptors, padded extra fields, zip64 end records, no checksums', async () => {
    const data = new Uint8Array(40).fill(7);
    const crc = nodeCodec.crc32(data);
    const descriptor = fields([4, 0x08074b50], [4, crc], [4, 40], [4, 40]);
    const pad = join(encode('FB'), fields([2, 6]), encode('ZZZZZZ'));
    const torch: ZipPart = {
      name: 'm/data/0',
      data,
      flags: 0x808,
      local: { crc: 0, size: 0, compressedSize: 0, extra: pad },
      after: descriptor,
    };
    const archive = await whole(zipBytes([torch], { beforeEnd: zip64 }));
    expect(archive.members[0]).toMatchObject({ name: 'm/data/0', size: 40, dataStart: 30 + 8 + 10 });
    const off = await whole(zipBytes([{ ...torch, crc: 0, after: fields([4, 0x08074b50], [4, 0], [4, 40], [4, 40]) }]));
    expect(await off.checkCrc(off.members[0] as (typeof off.members)[0])).toBe('absent');
    for (const after of [fields([4, crc], [4, 40], [4, 40]), fields([4, 0x08074b50], [4, crc], [8, 40], [8, 40])]) {
      await whole(zipBytes([{ ...torch, after }]));
    }
  });

  test('an archive without members, and one inside another', async () => {
    expect((await whole(zipBytes([]))).members).toEqual([]);
    const inner = zipBytes([{ name: 'x', data: hello }]);
    const archive = await whole(zipBytes([{ name: 'inner.zip', data: inner }]));
    expect(archive.get('inner.zip')?.size).toBe(inner.byteLength);
    expect(archive.get('__proto__')).toBeUndefined();
  });

  test('names in code page 437 where the UTF-8 flag is off', async () => {
    const bytes = zipBytes([{ name: 'ab', data: hello, flags: 0 }]).map((byte) => (byte === 0x61 ? 0x81 : byte));
    expect((await open(bytes)).members[0]?.name).toBe('üb');
  });

  test('opening a large archive reads its directory alone', async () => {
    const path = joinPath(folder, 'large.zip');
    writeFileSync(path, zipBytes([{ name: 'a', data: new Uint8Array(20_000_000) }]));
    const source = await openFileSource(path);
    const archive = await readZip(source);
    const member = archive.get('a');
    if (member === undefined) throw new Error('no member');
    await archive.source(member);
    expect(source.bytesRead()).toBeLessThan(70_000);
    await source.close();
  });

  test('100,000 members take time in proportion', async () => {
    const target = memoryTarget();
    const writer = zipWriter(target);
    for (let index = 0; index < 100_000; index += 1) await writer.add({ name: `m/data/${index}`, size: 0 }, []);
    await writer.finish();
    const source = memorySource(target.bytes(), 'a.zip');
    const start = performance.now();
    expect((await readZip(source)).members).toHaveLength(100_000);
    // Wide, since it takes a fraction of a second: comparing each name with each would take minutes.
    expect(performance.now() - start).toBeLessThan(20_000);
  });
});

describe('what is refused', () => {
  const one: ZipPart = { name: 'a', data: hello };
  const two: ZipPart = { name: 'b', data: hello };
  const at = (length: number): number => 30 + 1 + length;
  const cases: readonly (readonly [
    id: string,
    parts: readonly ZipPart[],
    shape: ZipShape,
    code: ErrorCode,
    reason: RegExp,
  ])[] = [
    ['Z02 two end records', [one], { suffix: zipBytes([]) }, 'AMBIGUOUS', /second zip end record/],
    ['Z02 an end record in the comment', [one], { comment: zipBytes([]) }, 'AMBIGUOUS', /second zip end record/],
    ['Z03 bytes before', [one], { prefix: encode('#!') }, 'MALFORMED', /2 bytes stand before the first member/],
    ['Z03 bytes behind', [one], { suffix: encode('x') }, 'MALFORMED', /1 bytes follow/],
    [
      'Z03 bytes before the directory',
      [{ ...one, after: encode('hidden') }],
      {},
      'MALFORMED',
      /6 bytes after the member/,
    ],
    [
      'Z04 a locator that points outside',
      [one],
      { beforeEnd: (s, n, c) => zip64(s, n, c, { offset: 1e12 }), directorySize: 0xffffffff },
      'MALFORMED',
      /contradict|locator/,
    ],
    ['Z04 zip64 missing', [one], { directoryOffset: 0xffffffff }, 'MALFORMED', /zip64 end record is missing/],
    [
      'Z04 zip64 contradicts',
      [one],
      { beforeEnd: (s, n, c) => zip64(s, n, c, { count: 9 }) },
      'MALFORMED',
      /contradict/,
    ],
    ['Z04 zip64 field missing', [{ ...one, size: 0xffffffff }], {}, 'MALFORMED', /zip64 extra field is missing/],
    ['Z04 disk 1', [one], { disk: 1 }, 'UNSUPPORTED', /several parts/],
    ['Z04 a member on disk 2', [{ ...one, disk: 2 }], {}, 'UNSUPPORTED', /part 2/],
    ['Z05 count too high', [one], { count: 2 }, 'MALFORMED', /counts 2 members/],
    ['Z05 count too low', [one, two], { count: 1 }, 'MALFORMED', /counts 1 members/],
    ['Z05 a hidden member', [one, { ...two, hidden: true }], {}, 'MALFORMED', /does not list/],
    ['Z06 another local name', [{ ...one, local: { name: 'b' } }], {}, 'MALFORMED', /another name/],
    ['Z07 another local method', [{ ...one, local: { method: 8 } }], {}, 'MALFORMED', /method 8/],
    ['Z07 other local sizes', [{ ...one, local: { size: 4 } }], {}, 'MALFORMED', /sizes 4/],
    [
      'Z07 sizes 0 without a descriptor',
      [{ ...one, local: { size: 0, compressedSize: 0 } }],
      {},
      'MALFORMED',
      /sizes 0/,
    ],
    ['Z07 another local checksum', [{ ...one, local: { crc: 4 } }], {}, 'MALFORMED', /checksum in the header/],
    ['Z08 flag 0x1', [{ ...one, flags: 0x801 }], {}, 'MALFORMED', /flag set \(0x1\)/],
    ['Z08 flag 0x20', [{ ...one, flags: 0x820 }], {}, 'MALFORMED', /flag set \(0x20\)/],
    ['Z08 flag 0x40', [{ ...one, flags: 0x840 }], {}, 'MALFORMED', /flag set \(0x40\)/],
    ['Z08 flag 0x2000', [{ ...one, flags: 0x2800 }], {}, 'MALFORMED', /flag set \(0x2000\)/],
    [
      'Z08 a flag in the local header alone',
      [{ ...one, local: { flags: 0x801 } }],
      {},
      'MALFORMED',
      /differ in their encryption/,
    ],
    ['Z09 encrypted', [{ ...one, flags: 0x801, size: hello.byteLength - 12 }], {}, 'UNSUPPORTED', /encrypted/],
    ['Z10 wrong checksum', [{ ...one, crc: 5 }], {}, 'MALFORMED', /checksum/],
    ['Z12 a name twice', [one, one], {}, 'AMBIGUOUS', /one name/],
    ['Z13 case', [one, { ...two, name: 'A' }], {}, 'AMBIGUOUS', /spelling/],
    [
      'Z13 ./',
      [
        { ...one, name: 'x/a' },
        { ...two, name: 'x/./a' },
      ],
      {},
      'AMBIGUOUS',
      /spelling/,
    ],
    [
      'Z13 //',
      [
        { ...one, name: 'x/a' },
        { ...two, name: 'x//a' },
      ],
      {},
      'AMBIGUOUS',
      /spelling/,
    ],
    [
      'Z13 \\',
      [
        { ...one, name: 'x/a' },
        { ...two, name: 'x\\a' },
      ],
      {},
      'AMBIGUOUS',
      /spelling/,
    ],
    ['Z13 trailing dot', [one, { ...two, name: 'a.' }], {}, 'AMBIGUOUS', /spelling/],
    [
      'Z13 composition',
      [
        { ...one, name: 'é' },
        { ...two, name: 'e\u0301' },
      ],
      {},
      'AMBIGUOUS',
      /spelling/,
    ],
    ['Z14 ../', [{ ...one, name: '../../x' }], {}, 'UNSAFE', /leaves its folder/],
    ['Z14 absolute', [{ ...one, name: '/etc/x' }], {}, 'UNSAFE', /leaves its folder/],
    ['Z14 drive', [{ ...one, name: 'C:\\x' }], {}, 'UNSAFE', /leaves its folder/],
    ['Z14 backslashes', [{ ...one, name: 'a\\..\\b' }], {}, 'UNSAFE', /leaves its folder/],
    ['Z14 NUL', [{ ...one, name: 'a\0b' }], {}, 'UNSAFE', /NUL/],
    ['Z15 symlink', [{ ...one, external: 0o120777 * 65536 }], {}, 'UNSAFE', /symbolic link/],
    ['Z15 device', [{ ...one, external: 0o020666 * 65536 }], {}, 'UNSAFE', /device/],
    ['Z16 overlap', [one, { ...two, offset: 0, local: { name: 'a' } }], {}, 'MALFORMED', /overlap/],
    [
      'Z16 quoted overlap',
      [
        { ...one, size: hello.byteLength + 40, compressedSize: hello.byteLength + 40 },
        { ...two, data: new Uint8Array(90) },
      ],
      {},
      'MALFORMED',
      /overlap/,
    ],
    ['Z17 a ratio beyond DEFLATE', [{ ...one, method: 8, size: 200_000_000 }], {}, 'LIMIT', /more than DEFLATE/],
    [
      'Z17 10 GiB',
      [{ ...one, data: new Uint8Array(300 * 1024), method: 8, size: 0xfffffffe, compressedSize: undefined as never }],
      {},
      'LIMIT',
      /limit|DEFLATE/,
    ],
    ['Z18 inflates to more', [{ ...one, method: 8, size: 5 }], {}, 'MALFORMED', /more than 5 bytes/],
    ['Z18 inflates to less', [{ ...one, method: 8, size: 50 }], {}, 'MALFORMED', /inflates to 19 bytes/],
    ['Z20 method 12', [{ ...one, method: 12 }], {}, 'UNSUPPORTED', /method 12/],
    ['Z20 method 99', [{ ...one, method: 99, flags: 0x801 }], {}, 'UNSUPPORTED', /encrypted/],
    ['Z23 offset past the end', [{ ...one, offset: 1e9 }], {}, 'MALFORMED', /runs past/],
    ['Z23 offset inside the directory', [{ ...one, offset: at(hello.byteLength) + 4 }], {}, 'MALFORMED', /runs past/],
    [
      'Z23 offset beside the header',
      [{ ...one, data: new Uint8Array(200), offset: 4, size: 90, compressedSize: 90 }],
      {},
      'MALFORMED',
      /before the first|no zip member/,
    ],
    [
      'Z24 unicode path',
      [{ ...one, extra: join(fields([2, 0x7075], [2, 8]), Uint8Array.of(1), fields([4, 0]), encode('evi')) }],
      {},
      'MALFORMED',
      /'evi'/,
    ],
    [
      'an extra field past its area',
      [{ ...one, extra: fields([2, 0x1111], [2, 40]) }],
      {},
      'MALFORMED',
      /runs past its area/,
    ],
    ['a directory that is none', [one], { directorySize: 20 }, 'MALFORMED', /./],
    ['a name of 5,000 bytes', [{ ...one, name: 'a'.repeat(5_000) }], {}, 'LIMIT', /4096/],
  ];
  test.each(cases)('%s', async (_, parts, shape, code, reason) => {
    const clean = parts.map((part) =>
      'compressedSize' in part && part.compressedSize === undefined ? without(part) : part,
    );
    const error = await refusalOf(whole(zipBytes(clean, shape)));
    expect(error.reason).toMatch(reason);
    expect(error.code).toBe(code);
    expect(error.file).toMatch(/^a\.zip/);
  });

  function without(part: ZipPart): ZipPart {
    const { compressedSize: _, ...rest } = part;
    return rest;
  }

  test('Z19 bytes behind the deflate stream, bad codes, no final block', async () => {
    const packed = new Uint8Array(30).fill(0xff);
    const raw: ZipPart = { name: 'a', data: packed, size: 100, method: 0, local: { method: 8 } };
    const bytes = zipBytes([raw]);
    // The directory's method: 46 - 36 bytes into its entry.
    bytes[30 + 1 + 30 + 10] = 8;
    expect((await refusalOf(whole(bytes))).reason).toMatch(/damaged/);
    const good = zipBytes([{ ...one, method: 8 }]);
    const archive = await open(good);
    const size = archive.members[0]?.compressedSize ?? 0;
    expect(() => nodeCodec.inflateRaw(good.subarray(31, 31 + size + 1), 100)).toThrow(/follow the deflate stream/);
    expect(() => nodeCodec.inflateRaw(good.subarray(31, 31 + size - 3), 100)).toThrow(/ends early/);
  });

  test('Z01 every truncation, and every flipped bit is refused or read', async () => {
    const good = zipBytes([
      { name: 'm/data.pkl', data: hello, method: 8 },
      {
        name: 'm/data/0',
        data: hello,
        flags: 0x808,
        local: { crc: 0, size: 0, compressedSize: 0 },
        after: fields([4, 0x08074b50], [4, nodeCodec.crc32(hello)], [4, 19], [4, 19]),
      },
    ]);
    for (let length = 0; length < good.length; length += 1) await refusalOf(whole(good.subarray(0, length)));
    for (let index = 0; index < good.length; index += 1) {
      for (const flip of [0x01, 0x10, 0x80, 0xff]) {
        const bad = good.slice();
        bad[index] = (bad[index] ?? 0) ^ flip;
        for (const run of [
          whole(bad),
          open(bad, 'lenient').then(async (archive) => {
            await archive.inspect();
            for (const member of archive.members) await archive.read(member, 1e6);
          }),
        ]) {
          try {
            await run;
          } catch (error) {
            if (!(error instanceof BnsumError)) throw error;
            expect(error.code).not.toBe('INTERNAL');
          }
        }
      }
    }
  });

  test('a member above the limit of its reader', async () => {
    const archive = await open(zipBytes([one]));
    const member = archive.get('a');
    if (member === undefined) throw new Error('no member');
    expect((await refusalOf(archive.read(member, 5))).code).toBe('LIMIT');
  });

  test('lenient: the bytes are judged all the same, and what is odd is listed', async () => {
    const parts: readonly ZipPart[] = [
      { ...one, flags: 0x821, crc: 1, local: { name: 'c' } },
      { ...two, name: 'a', external: 0o120777 * 65536 },
      { ...two, name: '../x' },
      { ...two, name: 'gone', hidden: true },
    ];
    const archive = await open(zipBytes(parts, { suffix: encode('tail'), count: 3 }), 'lenient');
    await archive.inspect();
    expect(new Set(archive.oddities.map(({ code }) => code))).toEqual(
      new Set(
        [
          'flag-bits',
          'duplicate-name',
          'special-file',
          'unsafe-name',
          'trailing-bytes',
          'local-name',
          'local-mismatch',
          'hidden-member',
        ].filter((code) => code !== 'local-mismatch'),
      ),
    );
    for (const member of archive.members) expect(await archive.read(member, 100)).toEqual(hello);
    expect(archive.oddities.filter(({ code }) => code === 'bad-crc')).toHaveLength(1);
    const prefixed = await open(zipBytes([one], { prefix: encode('#!/bin/sh\n') }), 'lenient');
    expect(prefixed.oddities.map(({ code }) => code)).toEqual(['prefix-bytes']);
    expect(await prefixed.read(prefixed.members[0] as (typeof prefixed.members)[0], 100)).toEqual(hello);
  });
});

describe('writing', () => {
  test('members come back, aligned, and yauzl agrees', async () => {
    const part = fc.record({
      name: fc.stringMatching(/^[a-z]{1,6}\/[a-z0-9é]{1,9}$/),
      data: fc.uint8Array({ maxLength: 300 }),
      known: fc.boolean(),
      cut: fc.nat(300),
    });
    await fc.assert(
      fc.asyncProperty(fc.uniqueArray(part, { maxLength: 6, selector: (one) => one.name }), async (parts) => {
        const target = memoryTarget();
        const writer = zipWriter(target);
        for (const { name, data, known, cut } of parts) {
          const record = known
            ? { name, size: data.byteLength, crc32: nodeCodec.crc32(data) }
            : { name, size: data.byteLength };
          const start = await writer.add(record, [data.subarray(0, cut), data.subarray(cut)]);
          expect(start % 64).toBe(0);
        }
        await writer.finish();
        const bytes = target.bytes();
        const archive = await whole(bytes);
        const oracle = await asYauzl(bytes);
        expect(archive.members.map(({ name }) => name)).toEqual(parts.map(({ name }) => name));
        for (const [index, { name, data }] of parts.entries()) {
          expect(oracle.get(name)).toEqual(data);
          const member = archive.members[index];
          if (member === undefined) throw new Error('no member');
          expect(await archive.read(member, 1e6)).toEqual(data);
          expect(member.dataStart % 64).toBe(0);
        }
      }),
      { numRuns: 60 },
    );
  });

  test('sizes and offsets beyond 4 GiB are zip64', async () => {
    // A target that keeps the headers and counts the rest.
    const kept: { readonly at: number; readonly bytes: Uint8Array }[] = [];
    let position = 0;
    const target = {
      get position() {
        return position;
      },
      async write(bytes: Uint8Array) {
        if (bytes.byteLength < 100_000) kept.push({ at: position, bytes: bytes.slice() });
        position += bytes.byteLength;
      },
      async writeAt(offset: number, bytes: Uint8Array) {
        kept.push({ at: offset, bytes: bytes.slice() });
      },
      sibling: () => target,
    };
    const size = 4_400_000_000;
    const block = new Uint8Array(200_000_000);
    useCodec({
      ...nodeCodec,
      crc32: (bytes, seed) => (bytes.byteLength > 1_000_000 ? 7 : nodeCodec.crc32(bytes, seed)),
    });
    try {
      const writer = zipWriter(target);
      await writer.add(
        { name: 'm/big', size },
        Array.from({ length: 22 }, () => block),
      );
      await writer.add({ name: 'm/after', size: 5 }, [encode('hello')]);
      await writer.finish();
      const source = {
        ...memorySource(new Uint8Array(0), 'big.zip'),
        size: position,
        async read(from: number, to: number) {
          const into = new Uint8Array(to - from);
          for (const { at, bytes } of kept) {
            for (let index = Math.max(from, at); index < Math.min(to, at + bytes.byteLength); index += 1) {
              into[index - from] = bytes[index - at] ?? 0;
            }
          }
          return into;
        },
      };
      const archive = await readZip(source);
      await archive.inspect();
      expect(archive.get('m/big')).toMatchObject({ size, compressedSize: size });
      const after = archive.get('m/after');
      if (after === undefined) throw new Error('no member');
      expect(new TextDecoder().decode(await archive.read(after, 100))).toBe('hello');
      expect(after.dataStart).toBeGreaterThan(size);
    } finally {
      useCodec(nodeCodec);
    }
  });

  test('a wrong announcement and a second member of one name are our mistakes', async () => {
    const writer = zipWriter(memoryTarget());
    await writer.add({ name: 'a', size: 1 }, [Uint8Array.of(1)]);
    expect((await refusalOf(writer.add({ name: 'a', size: 1 }, [Uint8Array.of(1)]))).code).toBe('INTERNAL');
    expect((await refusalOf(writer.add({ name: 'b', size: 2 }, [Uint8Array.of(1)]))).code).toBe('INTERNAL');
  });
});

const hostile = process.env['BNSUM_HOSTILE'];
describe.skipIf(hostile === undefined)('yauzl’s own failures', () => {
  const below = joinPath(hostile ?? '', 'thejoshwolfe+yauzl', 'test');
  test('each is refused', async () => {
    expect(existsSync(below)).toBe(true);
    for (const name of readdirSync(joinPath(below, 'failure'))) {
      await refusalOf(whole(new Uint8Array(readFileSync(joinPath(below, 'failure', name)))));
    }
  });

  test('each success is read alike, or refused for what readers disagree on', async () => {
    for (const name of readdirSync(joinPath(below, 'success'))) {
      const bytes = new Uint8Array(readFileSync(joinPath(below, 'success', name)));
      try {
        const archive = await whole(bytes);
        const oracle = await asYauzl(bytes);
        for (const member of archive.members) expect(await archive.read(member, 1e8)).toEqual(oracle.get(member.name));
      } catch (error) {
        if (!(error instanceof BnsumError)) throw error;
        expect(`${name}: ${error.reason}`).toMatch(/encrypt|sloppy/);
      }
    }
  });
});
