import { describe, expect, test } from 'vitest';
import { parseNpyHeader } from '../../src/audit/npy-header.ts';
import { LIMITS } from '../../src/ir/limits.ts';
import { bytes, global, PROTO2, STOP, text } from '../formats/torch/pickle-builder.ts';
import { join, zipBytes } from '../helpers/zip-bytes.ts';
import { auditBytes, namesOf, rulesOf } from './audit-bytes.ts';

const encode = (value: string): Uint8Array => new TextEncoder().encode(value);
const BAD = bytes(PROTO2, global('os', 'system'), text('id'), 0x85, 'R', STOP);

/** A NumPy file with this header and these bytes behind it. */
function npy(header: string, data: Uint8Array = new Uint8Array(0), version = 1, minor = 0): Uint8Array {
  const padded = encode(`${header + ' '.repeat((63 - ((header.length + 10) % 64)) % 64)}\n`);
  const length =
    version === 1 ? [padded.length & 255, padded.length >> 8] : [padded.length & 255, padded.length >> 8, 0, 0];
  return join(bytes(0x93, 'NUMPY', version, minor, ...length), padded, data);
}

const header = (descr: string, shape: string): string =>
  `{'descr': ${descr}, 'fortran_order': False, 'shape': ${shape}, }`;

describe('headers that NumPy reads otherwise than a pattern would', () => {
  // numpy.load(allow_pickle=True) evaluates the header as a Python literal, hands the type to numpy.dtype and unpickles
  // the data of each of these: the type holds objects.
  test.each([
    ['double quotes', header(`[('a', "|O")]`, '(1,)')],
    ['a type of two parts by a comma', header("'i4,O'", `(${Math.ceil(BAD.length / 4)},)`)],
    ['a key that stands twice', `{'descr': '|u1', 'fortran_order': False, 'shape': (${BAD.length},), 'descr': '|O'}`],
    ['a comma in a field', header("[('a', 'i4,O')]", '(1,)')],
    ['the word object', header("[('a', 'object')]", '(1,)')],
    [
      'a comment',
      `{ # 'descr': '|u1', 'shape': (${BAD.length},)\n'descr': '|O', 'fortran_order': False, 'shape': (1,), }`,
    ],
    ['two strings side by side', header("'|' 'O'", '(1,)')],
    ['an escape', header("'\\x4f'", '(1,)')],
    ['a nested record', header("[('a', '<f4'), ('b', [('c', '|O', (2,))])]", '(1,)')],
    ['a title', header("[(('t', 'a'), '|O8')]", '(1,)')],
    ['fields of no length', header("[('a', '|O', (0,))]", '(1,)')],
  ])('%s', async (_, text_) => {
    for (const version of [1, 2, 3]) {
      const audit = await auditBytes(npy(text_, BAD, version), 'x.npy');
      expect(audit.verdict).toBe('dangerous');
      expect(namesOf(audit)).toContain('os.system');
    }
    const archive = await auditBytes(zipBytes([{ name: 'x.npy', data: npy(text_, BAD) }]), 'x.npz');
    expect(archive.verdict).toBe('dangerous');
  });

  test.each([
    ['a header of another version', npy(header("'<f4'", '(1,)'), new Uint8Array(4), 4)],
    ['a header of another minor version', npy(header("'<f4'", '(1,)'), new Uint8Array(4), 1, 1)],
    ['a header longer than the file', npy(header("'<f4'", '(1,)')).subarray(0, 40)],
    ['half of the prefix', bytes(0x93, 'NUMPY', 1, 0, 70)],
    ['a type that is not known', npy(header("'<q8'", '(1,)'), new Uint8Array(8))],
    ['a shape of objects', npy(header("'<f4'", "('a',)"), new Uint8Array(4))],
  ])('%s cannot be judged', async (_, file) => {
    expect(await auditBytes(file, 'x.npy')).toMatchObject({ verdict: 'suspicious', complete: false });
  });
});

describe('the length of an array', () => {
  // numpy.load makes room for 3.2 GB before it finds that none of it is there.
  test('more than the file holds', async () => {
    for (const descr of ["'<f8'", "[('a', '<f8')]", "[('a', '|V1'), ('b', '<i2', (3, 2))]"]) {
      const audit = await auditBytes(npy(header(descr, '(400000000,)')), 'x.npy');
      expect(audit).toMatchObject({ verdict: 'suspicious', complete: false });
      expect(rulesOf(audit)).toEqual(['UNREADABLE']);
    }
  });

  // A second numpy.load on the open file reads what follows, and unpickles it.
  test('a pickle behind a record', async () => {
    const audit = await auditBytes(npy(header("[('a', '<f8')]", '(1,)'), join(new Uint8Array(8), BAD)), 'x.npy');
    expect(audit.verdict).toBe('dangerous');
    expect(rulesOf(audit)).toEqual(['DANGEROUS_IMPORT', 'TRAILING_BYTES']);
  });

  test('an array of objects behind an array', async () => {
    const first = npy(header("'|u1'", '(2,)'), new Uint8Array(2));
    const file = join(first, first, npy(header("'|O'", '(1,)'), BAD));
    expect((await auditBytes(file, 'x.npy')).verdict).toBe('dangerous');
  });

  test('thousands of arrays one after another', async () => {
    const one = npy(header("'|u1'", '(0,)'));
    const many = new Uint8Array(one.length * (LIMITS.npyArrays + 2));
    for (let at = 0; at < many.length; at += one.length) many.set(one, at);
    const audit = await auditBytes(many, 'x.npy');
    expect(audit).toMatchObject({ verdict: 'suspicious', complete: false });
    expect(rulesOf(audit)).toEqual(['LIMIT', 'TRAILING_BYTES']);
  });
});

describe('headers', () => {
  // As numpy.save of Python 3 and 2 writes them.
  test.each([
    [header("'<f4'", '(3, 4)'), 48],
    [header("'|b1'", '()'), 1],
    [header("'>i4'", '(3L,)'), 12],
    [header("'<U3'", '(2,)'), 24],
    [header("'|S0'", '(2,)'), 0],
    [header("'|V5'", '(0, 9007199254740991)'), 0],
    [header("'<M8[25s]'", '(1,)'), 8],
    [header("'<m8'", '(1,)'), 8],
    [header("[('a', '<f4'), ('', '|V4'), ('b', [('x', '|S3'), ('y', '>c8')], (2,))]", '(1,)'), 30],
    [header("[(\"it's\", '<f4'), (('t', 'n'), '<i2')]", '(1,)'), 6],
    [header('[]', '(1,)'), 0],
    [header("'<f4'", '(1,)').replace(', }', '}'), 4],
  ])('%s', (text_, byteLength) => {
    expect(parseNpyHeader(`${text_}  \n`)).toEqual({ objects: false, byteLength });
  });

  test.each([
    '',
    '{}',
    "{'descr': '<f4', 'fortran_order': False}",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (1,), 'more': 1}",
    "{'descr': '<f4', 'fortran_order': 0, 'shape': (1,)}",
    header("'<f4'", '(1)'),
    header("'<f4'", '[1]'),
    header("'<f4'", '(1,,)'),
    header("'<f4'", '(01,)'),
    header("'<f4'", '(-1,)'),
    header("'<f4'", '(True,)'),
    header("'<f4'", '(99999999999999999,)'),
    header("'<f8'", '(9007199254740991,)'),
    header("'<f3'", '(1,)'),
    header("'<M8[s]//2'", '(1,)'),
    header("'<f4 '", '(1,)'),
    header("u'<f4'", '(1,)'),
    header('None', '(1,)'),
    header("['<f4']", '(1,)'),
    header("[('a',)]", '(1,)'),
    header("[('a', '<f4', 2)]", '(1,)'),
    header("[(1, '<f4')]", '(1,)'),
    header("{'names': ['a'], 'formats': ['O']}", '(1,)'),
    `${header("'<f4'", '(1,)')} or 1`,
    ` ${header("'<f4'", '(1,)')}`,
    `${header("'<f4'", '(1,)').replaceAll(' ', '\t')}`,
    header(`${'['.repeat(100_000)}`, '(1,)'),
  ])('%#: nothing that numpy.save writes', (text_) => {
    expect(parseNpyHeader(text_)).toBeUndefined();
  });
});
