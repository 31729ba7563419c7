import { describe, expect, test } from 'vitest';
import { isTarHeader } from '../../src/audit/tar-members.ts';
import { bytes, global, PROTO2, STOP, text } from '../formats/torch/pickle-builder.ts';
import { join } from '../helpers/zip-bytes.ts';
import { auditBytes, namesOf, rulesOf } from './audit-bytes.ts';
import { pax, sealTar, tarBytes, tarPart } from './tar-bytes.ts';

const encode = (value: string): Uint8Array => new TextEncoder().encode(value);
const BAD = bytes(PROTO2, global('os', 'system'), text('id'), 0x85, 'R', STOP);
const note = { name: 'ok.txt', data: encode('hello\n') };

describe('names that Python extracts', () => {
  // tarfile.extractall writes '../evil' for each of them.
  test.each([
    ['GNU.sparse.name', tarBytes(pax([['GNU.sparse.name', '../evil']]), note)],
    ['a prefix without the magic of ustar', tarBytes({ ...note, name: 'evil', prefix: '..', magic: '' })],
    [
      'a record within the value of another',
      tarBytes(
        pax([
          ['comment', 'x\n12 path=ok.txt'],
          ['path', '../evil'],
        ]),
        note,
      ),
    ],
    [
      'the last of two records',
      tarBytes(
        pax([
          ['path', 'ok.txt'],
          ['path', '../evil'],
        ]),
        note,
      ),
    ],
    ['records for all members', tarBytes(pax([['path', '../evil']], 'g'), note)],
    ['the outer one of two headers', tarBytes(pax([['path', '../evil']]), pax([['path', 'ok.txt']]), note)],
    [
      'a long name and a record',
      tarBytes({ name: 'l', type: 'L', data: encode('../evil\0') }, pax([['path', 'ok']]), note),
    ],
    ['Solaris records', tarBytes(pax([['path', '../evil']], 'X'), note)],
    [
      'a long name that goes on behind its end',
      tarBytes({ name: 'l', type: 'L', data: encode('../evil\0'), size: 3 }, note),
    ],
    [
      'records far behind the first',
      tarBytes(
        pax([
          ['comment', 'x'.repeat(70_000)],
          ['path', '../evil'],
        ]),
        note,
      ),
    ],
    ['the target of a link', tarBytes({ name: 'l', type: '2', link: '../evil' })],
    [
      'a long target of a link',
      tarBytes({ name: 'l', type: 'K', data: encode('../evil\0') }, { name: 'l', type: '2' }),
    ],
    ['a linkpath', tarBytes(pax([['linkpath', '/evil']]), { name: 'l', type: '1', link: 'ok.txt' })],
  ])('%s', async (_, file) => {
    const audit = await auditBytes(file, 'x.tar');
    expect(audit.verdict).toBe('suspicious');
    expect(rulesOf(audit)).toContain('UNSAFE_NAME');
  });

  test('plain names are what they were', async () => {
    const long = `${'d/'.repeat(100)}x.txt`;
    for (const file of [
      tarBytes(note, { name: 'dir/', type: '5' }),
      tarBytes({ name: 'l', type: 'L', data: encode(`${long}\0`) }, note),
      tarBytes(
        pax([
          ['path', long],
          ['mtime', '1.5'],
          ['size', '6'],
        ]),
        note,
      ),
      tarBytes(pax([['comment', 'a commit']], 'g'), note),
      tarBytes({ ...note, prefix: 'a/b' }),
      tarBytes({ ...note, magic: '' }),
      tarBytes({ ...note, magic: 'ustar  \0' }),
    ]) {
      expect((await auditBytes(file, 'x.tar')).findings).toEqual([]);
    }
  });
});

describe('where the next member begins', () => {
  const evil = { name: 'x.pkl', data: BAD };

  // tarfile jumps by the size of the pax record, into what looks like data.
  test('a size in a pax record', async () => {
    const data = join(new Uint8Array(512), tarPart(evil));
    const file = tarBytes(pax([['size', '1536']]), note, { name: 'data.bin', data });
    const audit = await auditBytes(file, 'x.tar');
    expect(audit).toMatchObject({ verdict: 'dangerous', complete: false });
    expect(namesOf(audit)).toContain('os.system');
    expect(rulesOf(audit)).toContain('TAR_ODDITY');
  });

  // tarfile takes the bytes behind a directory, link or device for the next header, whatever size its own states.
  test.each(['1', '2', '3', '4', '5', '6'])('a size of type %s', async (type) => {
    const file = tarBytes({ name: 'a/', type, data: tarPart(evil) });
    const audit = await auditBytes(file, 'x.tar');
    expect(audit).toMatchObject({ verdict: 'dangerous', complete: false });
    expect(rulesOf(audit)).toContain('TAR_ODDITY');
  });

  test('an old file whose name ends with a slash is a directory', async () => {
    const audit = await auditBytes(tarBytes({ name: 'a/', type: '\0', data: tarPart(evil) }), 'x.tar');
    expect(audit.verdict).toBe('dangerous');
  });

  test.each([
    ['a size that is none', tarBytes(pax([['size', '1_0']]), note)],
    ['a record that is too short', tarBytes({ name: 'p', type: 'x', data: encode('5 path=ok.txt\n') }, note)],
    ['a record that is too long', tarBytes({ name: 'p', type: 'x', data: encode('99 path=ok.txt\n') }, note)],
    ['a record without a length', tarBytes({ name: 'p', type: 'x', data: encode('path=ok.txt\n') }, note)],
    ['a sparse file of pax', tarBytes(pax([['GNU.sparse.map', '0,1']]), note)],
    ['a size for all members', tarBytes(pax([['size', '6']], 'g'), note)],
    ['a header for nobody', tarBytes(note, pax([['path', 'x']]))],
    ['many headers for one', tarBytes(...Array.from({ length: 40 }, () => pax([['path', 'x']])), note)],
    ['a header longer than the file', tarBytes({ name: 'p', type: 'x', size: 99_999 })],
  ])('%s is not judged', async (_, file) => {
    expect(await auditBytes(file, 'x.tar')).toMatchObject({ verdict: 'suspicious', complete: false });
  });

  test('the map of an old sparse file', async () => {
    const map = new Uint8Array(1024);
    map[504] = 1;
    const sparse = tarPart({ name: 's', type: 'S', size: 0, data: map });
    sparse[482] = 1;
    sealTar(sparse);
    const audit = await auditBytes(tarBytes(sparse, evil), 'x.tar');
    expect(audit).toMatchObject({ verdict: 'dangerous', complete: false });
    expect(rulesOf(audit)).toContain('SPECIAL_FILE');
  });
});

describe('what a tar is', () => {
  // tarfile compares the checksum with the sums of unsigned and of signed bytes.
  test('a checksum of signed bytes', async () => {
    const file = tarBytes({ name: 'é.pkl', data: BAD, signed: true });
    const audit = await auditBytes(file, 'x.tar');
    expect(audit.verdict).toBe('dangerous');
    expect(audit.kind).toBe('tar');
    expect(rulesOf(audit)).toEqual(['DANGEROUS_IMPORT', 'TAR_ODDITY']);
  });

  // tarfile.nti: int(text, 8) takes a sign, a prefix, underscores and spaces, and other numbers are in base 256.
  test.each([
    ['with a prefix', (sum: number) => `0o${sum.toString(8)}\0 `],
    ['with an underscore', (sum: number) => `0_${sum.toString(8)}\0 `],
    ['with a sign', (sum: number) => `+${sum.toString(8)}\0 `],
    ['with spaces', (sum: number) => ` ${sum.toString(8)}  `],
    ['in base 256', (sum: number) => String.fromCharCode(0x80, 0, 0, 0, 0, 0, sum >> 8, sum & 255)],
  ])('a checksum %s', (_, write) => {
    const block = tarPart(note);
    const sum = Number.parseInt(new TextDecoder().decode(block.subarray(148, 154)), 8);
    block.set(
      Uint8Array.from(write(sum), (character) => character.charCodeAt(0)),
      148,
    );
    expect(isTarHeader(block)).toBe(true);
  });

  test('no name at all', () => {
    expect(isTarHeader(tarPart({ name: '' }))).toBe(true);
    expect(isTarHeader(new Uint8Array(512))).toBe(false);
    expect(isTarHeader(tarPart(note).subarray(0, 511))).toBe(false);
    const other = tarPart(note);
    other[0] = 0x7a;
    expect(isTarHeader(other)).toBe(false);
  });
});
