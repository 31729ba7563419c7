import { readFileSync } from 'node:fs';
import { dirname, join as joinPath } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import type { Audit } from '../../src/audit/finding.ts';
import { memorySource } from '../../src/bytes/memory-source.ts';
import { findSuperblock } from '../../src/formats/keras/hdf5-open.ts';
import { LIMITS } from '../../src/ir/limits.ts';
import { bytes, dict, global, PROTO2, STOP, tensor, text, u32 } from '../formats/torch/pickle-builder.ts';
import { fields, join, zipBytes } from '../helpers/zip-bytes.ts';
import { auditBytes, namesOf, rulesOf } from './audit-bytes.ts';
import { sealTar, tarBytes, tarPart } from './tar-bytes.ts';

const encode = (value: string): Uint8Array => new TextEncoder().encode(value);
const root = joinPath(dirname(dirname(dirname(fileURLToPath(import.meta.url)))), 'fixtures', 'good');
const fixture = (name: string): Uint8Array => new Uint8Array(readFileSync(joinPath(root, name)));
const BAD = bytes(PROTO2, global('os', 'system'), text('id'), 0x85, 'R', STOP);

/** Models with a Lambda layer: the library of HDF5 takes one wherever it looks for a signature, Keras a zip by its end. */
const LAMBDA_H5 = fixture('lambda.h5');
const LAMBDA_ZIP = fixture('lambda.keras');

/** A header of NumPy for so many bytes, itself of `total` bytes. */
function npyHeader(count: number, total: number, descr = '|u1'): Uint8Array {
  const words = `{'descr': '${descr}', 'fortran_order': False, 'shape': (${count},), }`;
  const header = `${words.padEnd(total - 11)}\n`;
  return bytes(0x93, 'NUMPY', 1, 0, header.length & 255, header.length >> 8, header);
}

/** An array of these bytes, which begin `total` bytes behind its own beginning. */
const npy = (data: Uint8Array, total = 128): Uint8Array => join(npyHeader(data.length, total), data);

function safetensors(data: Uint8Array): Uint8Array {
  const json = `{"w":{"dtype":"U8","shape":[${data.length}],"data_offsets":[0,${data.length}]}}`;
  const header = encode(json.padEnd(Math.ceil(json.length / 8) * 8));
  return join(fields([8, header.length]), header, data);
}

/** Bytes so long that the next ones stand at `offset`. */
const upTo = (offset: number, from: number): Uint8Array => new Uint8Array(offset - from);

function expectTwo(audit: Audit, kind: string, rule = 'LAMBDA'): void {
  expect(audit.verdict, JSON.stringify(audit.findings)).toBe('dangerous');
  expect(audit.kind).toBe(kind);
  expect(rulesOf(audit)).toEqual(expect.arrayContaining([rule, 'TWO_FORMATS']));
}

describe('HDF5 behind something else', () => {
  // H5Fopen looks for the signature at 0, 512, 1024 and so on to the end of the file; keras loads the model that is there.
  test.each([512, 1024, 65_536])('behind an array, at %i', async (offset) => {
    expectTwo(await auditBytes(npy(LAMBDA_H5, offset), 'x.h5'), 'NumPy array');
  });

  test('in a zip', async () => {
    const inner = join(npyHeader(LAMBDA_H5.length + 2048 - 35 - 128, 128), upTo(2048, 35 + 128), LAMBDA_H5);
    expectTwo(await auditBytes(zipBytes([{ name: 'x.npy', data: inner }]), 'x.h5'), 'NumPy archive');
  });

  test('in a tar', async () => {
    const inner = npy(join(upTo(1536, 128), LAMBDA_H5));
    expectTwo(await auditBytes(tarBytes({ name: 'x.npy', data: inner }), 'x.h5'), 'tar');
  });

  test('in a safetensors, behind 64 megabytes', async () => {
    const offset = 128 * 1024 * 1024;
    const file = new Uint8Array(offset + LAMBDA_H5.length);
    const header = safetensors(upTo(offset + LAMBDA_H5.length, 80)).subarray(0, 80);
    file.set(header);
    file.set(LAMBDA_H5, offset);
    expect((await findSuperblock(memorySource(file, 'x')))?.base).toBe(offset);
    expectTwo(await auditBytes(file, 'x.h5'), 'safetensors');
  });

  test('behind an array that is damaged', async () => {
    const file = npy(LAMBDA_H5, 512);
    file[9] = 0xff;
    expect((await auditBytes(file, 'x.h5')).verdict).toBe('dangerous');
  });
});

describe('a zip at the end of something else', () => {
  // zipfile and keras find it by the record at the end, whatever stands before.
  test.each([
    ['safetensors', safetensors(LAMBDA_ZIP)],
    ['NumPy array', npy(LAMBDA_ZIP)],
  ])('in %s', async (kind, file) => {
    expectTwo(await auditBytes(file, 'x.keras'), kind);
  });

  test('in an HDF5 file', async () => {
    const file = join(fixture('reference-cnn.weights.h5'), LAMBDA_ZIP);
    // The end of the file as the superblock states it: a dataset of bytes would do the same.
    file.set(fields([8, file.length]), 40);
    expectTwo(await auditBytes(file, 'x.keras'), 'HDF5');
  });

  test('with a directory longer than what is read of the end', async () => {
    const extra = join(fields([2, 0x9999], [2, 60_000]), new Uint8Array(60_000));
    const config = encode('{"class_name": "Lambda", "config": {}}');
    const zip = zipBytes(
      [
        { name: 'config.json', data: config },
        { name: 'zz', extra },
      ],
      { comment: new Uint8Array(30_000) },
    );
    expectTwo(await auditBytes(npy(zip), 'x.keras'), 'NumPy array');
  });

  test('with records before it that lead nowhere', async () => {
    const record = join(encode('PK\x05\x06'), new Uint8Array(18));
    const zip = zipBytes([{ name: 'config.json', data: encode('{"class_name": "Lambda", "config": {}}') }]);
    const many = join(...Array.from({ length: 100 }, () => record));
    expect((await auditBytes(npy(join(zip, record)), 'x.keras')).verdict).toBe('dangerous');
    expect((await auditBytes(npy(join(zip, many)), 'x.keras')).verdict).not.toBe('safe');
  });
});

describe('a tar that begins as something else', () => {
  const evil = { name: '../evil.txt', data: encode('hello\n') };

  // tarfile takes the sum of signed bytes as well.
  test('an array', async () => {
    const rest = tarBytes(evil);
    const file = npy(join(upTo(512, 128), rest));
    file.set(encode('00000000\x0000000000000\0'), 116);
    file.set(npyHeader(file.length - 128, 116).subarray(0, 116));
    file.set(encode('0'), 156);
    sealTar(file, true);
    const audit = await auditBytes(file, 'x.npy');
    expect(audit.verdict).toBe('suspicious');
    expect(rulesOf(audit)).toContain('UNSAFE_NAME');
  });

  test('a zip, in the extra field of its first member', async () => {
    const content = npy(join(upTo(512, 128), tarBytes(evil)));
    const size = 512 - 35;
    const extra = new Uint8Array(size);
    extra.set(fields([2, 0x9901], [2, size - 4]));
    extra.set(encode('0000644\0'), 100 - 35);
    extra.set(encode(`${(512).toString(8).padStart(11, '0')}\0`), 124 - 35);
    extra.set(encode('0'), 156 - 35);
    const file = zipBytes([{ name: 'a.npy', data: content, local: { extra } }]);
    sealTar(file);
    const audit = await auditBytes(file, 'x.zip');
    expect(rulesOf(audit)).toEqual(expect.arrayContaining(['TWO_FORMATS', 'UNSAFE_NAME']));
    expect(audit.kind).toBe('NumPy archive');
  });
});

describe('a pickle that is an ONNX model as well', () => {
  // 'B' is BINBYTES to pickle, with a count of four bytes, and operator sets to protobuf, with a count of one.
  test('external data', async () => {
    const record = (number: number, content: Uint8Array): Uint8Array =>
      join(bytes(number * 8 + 2, content.length), content);
    const entry = join(record(1, encode('location')), record(2, encode('../../etc/passwd')));
    const weights = record(5, record(13, entry));
    // A graph of 257 bytes: so the low byte of the count is the length of what protobuf skips.
    const names = record(2, new Uint8Array(100));
    const more = record(10, new Uint8Array(254 - weights.length - names.length - 2));
    const graph = join(bytes(7 * 8 + 2, 0xfe, 1), weights, names, more);
    expect(graph.length).toBe(257);
    const file = join(
      bytes('B', u32(10 + graph.length + 2)),
      new Uint8Array(10),
      graph,
      bytes(2 * 8 + 2, 1),
      encode('.'),
    );
    expectTwo(await auditBytes(file, 'x.onnx'), 'pickle', 'EXTERNAL_PATH');
  });
});

describe('parts that are whole files', () => {
  // h5py opens this tar, and zipfile that one: they find what is judged as a member anyway.
  test.each([
    ['HDF5 as the first member of a tar', tarBytes({ name: 'x.h5', data: fixture('reference-cnn.weights.h5') })],
    [
      'a zip at the end of a tar',
      tarBytes(
        { name: 'a.txt', data: encode('a') },
        { name: 'x.zip', data: zipBytes([{ name: 'a.txt', data: encode('a') }]) },
      ),
    ],
    [
      'HDF5 at 512 of a zip',
      zipBytes([
        {
          name: 'x.h5',
          data: fixture('reference-cnn.weights.h5'),
          local: { extra: join(fields([2, 0x9901], [2, 512 - 30 - 4 - 4]), new Uint8Array(512 - 30 - 4 - 4)) },
        },
      ]),
    ],
  ])('%s', async (_, file) => {
    expect((await auditBytes(file, 'x.bin')).findings).toEqual([]);
  });

  test('what is judged in them is found once', async () => {
    const audit = await auditBytes(tarBytes({ name: 'x.h5', data: LAMBDA_H5 }), 'x.tar');
    expect(audit.verdict).toBe('dangerous');
    expect(rulesOf(audit)).not.toContain('TWO_FORMATS');
  });
});

describe('records of a pickle', () => {
  const parts = (record: Uint8Array): Uint8Array =>
    zipBytes([
      {
        name: 'data.pkl',
        data: bytes(
          PROTO2,
          dict([['w', tensor('ByteStorage', 'x.npy', record.length, 0, [record.length], [1])]]),
          STOP,
        ),
      },
      { name: 'data/x.npy', data: record },
      { name: 'version', data: encode('3\n') },
    ]);

  // numpy.load takes the file for an archive of arrays, and the member for an array by its first bytes.
  test.each(['x.npz', 'x.pt'])('an array of objects in one, %s', async (name) => {
    const audit = await auditBytes(parts(join(npyHeader(1, 128, '|O'), BAD)), name);
    expect(audit.verdict).toBe('dangerous');
    expect(namesOf(audit)).toContain('os.system');
    expect(rulesOf(audit)).toContain('OBJECT_ARRAY');
  });

  test('an array of numbers in one is numbers', async () => {
    expect((await auditBytes(parts(npy(new Uint8Array(8))), 'x.pt')).findings).toEqual([]);
  });

  test('any in a file named for NumPy', async () => {
    expect(rulesOf(await auditBytes(parts(new Uint8Array(8)), 'x.npz'))).toEqual(['TWO_FORMATS']);
    expect((await auditBytes(parts(new Uint8Array(8)), 'x.pt')).findings).toEqual([]);
  });
});

describe('work', () => {
  const header = (size: number): Uint8Array =>
    join(
      encode('PK\x03\x04'),
      fields([2, 20], [2, 0], [2, 0], [4, 0], [4, 0], [4, size], [4, size], [2, 1], [2, 0]),
      encode('a'),
    );

  // 200 headers whose members reach to the end of the file, each of which holds all that follow.
  test('members that no directory lists and that hold one another', async () => {
    const one = header(0x7fffffff);
    const file = join(...Array.from({ length: 400 }, () => one), header(BAD.length), BAD);
    const start = performance.now();
    const audit = await auditBytes(file, 'x.zip');
    expect(audit).toMatchObject({ verdict: 'dangerous', complete: false });
    expect(namesOf(audit)).toContain('os.system');
    expect(performance.now() - start).toBeLessThan(3_000);
  });

  test('more of them than are judged', async () => {
    const one = header(0);
    const file = new Uint8Array((one.length + 1) * (LIMITS.auditHidden + 2));
    for (let at = 0; at < file.length; at += one.length + 1) file.set(one, at);
    const audit = await auditBytes(file, 'x.zip');
    expect(audit).toMatchObject({ verdict: 'suspicious', complete: false });
    expect(rulesOf(audit)).toContain('LIMIT');
  });

  test('files behind files', async () => {
    const one = new Uint8Array(96);
    one.set(LAMBDA_H5.subarray(0, 24));
    one.set(fields([8, 0], [8, 0], [8, one.length]), 24);
    const file = join(...Array.from({ length: 3000 }, () => one));
    const audit = await auditBytes(file, 'x.h5');
    expect(audit).toMatchObject({ verdict: 'suspicious', complete: false });
    expect(rulesOf(audit)).toContain('LIMIT');
    expect(audit.findings.length).toBeLessThan(100);
  });

  // A directory of a few bytes an entry may list one member as often as it likes.
  test('a member that is listed again and again', async () => {
    const data = new Uint8Array(4 * 1024 * 1024);
    const head = (signature: string, ...more: readonly (readonly [2 | 4 | 8, number])[]): Uint8Array =>
      join(
        encode(signature),
        fields(...more, [2, 0], [4, 0], [4, 0], [4, data.length], [4, data.length], [2, 3], [2, 0]),
      );
    const member = join(head('PK\x03\x04', [2, 20], [2, 0]), encode('000'), data);
    const directory = Array.from({ length: 300 }, (_, index) =>
      join(
        head('PK\x01\x02', [2, 20], [2, 20], [2, 0]),
        fields([2, 0], [2, 0], [2, 0], [4, 0], [4, 0]),
        encode(String(index).padStart(3, '0')),
      ),
    );
    const end = fields([2, 0], [2, 0], [2, 300], [2, 300], [4, 300 * 49], [4, member.length], [2, 0]);
    const file = join(member, ...directory, encode('PK\x05\x06'), end);
    const start = performance.now();
    const audit = await auditBytes(file, 'x.zip');
    expect(audit).toMatchObject({ verdict: 'suspicious', complete: false });
    expect(rulesOf(audit)).toContain('LIMIT');
    expect(performance.now() - start).toBeLessThan(3_000);
  });

  test('a tar in a tar in a tar', async () => {
    let file = tarPart({ name: 'x.pkl', data: BAD });
    for (let index = 0; index < 5; index += 1) file = tarBytes({ name: 'x.tar', data: file });
    expect(await auditBytes(file, 'x.tar')).toMatchObject({ verdict: 'suspicious', complete: false });
  });
});
