import { describe, expect, test } from 'vitest';
import { auditBytes, rulesOf } from './audit-bytes.ts';
import { type Hdf5Part, hdf5Bytes } from './hdf5-bytes.ts';

const GIGA = 1_000_000_000;

describe('datasets of which nothing is stored', () => {
  // h5py fills them with zeros when it reads them: each takes its elements times the bytes of one.
  test.each<readonly [string, readonly Hdf5Part[]]>([
    ['33.6 gigabytes of float64', [{ name: 'w', type: 'f8', shape: [4_200_000_000] }]],
    ['a terabyte of long texts', [{ name: 'w', type: GIGA, shape: [1000] }]],
    ['texts longer than 2^31', [{ name: 'w', type: 3 * GIGA, shape: [2] }]],
    ['two axes', [{ name: 'w', type: 'f8', shape: [30_000, 30_000] }]],
    ['bytes that are said to be stored', [{ name: 'w', type: 'f8', shape: [GIGA], stored: 8 * GIGA }]],
    ['eight that each stay below the limit', [...'abcdefgh'].map((name) => ({ name, type: 'f8', shape: [GIGA / 8] }))],
  ])('%s', async (_, parts) => {
    const audit = await auditBytes(hdf5Bytes(...parts), 'x.h5');
    expect(audit.verdict, JSON.stringify(audit.findings)).toBe('suspicious');
    expect(rulesOf(audit)).toEqual(['EXPANSION']);
  });

  test('less than that is an array of zeros', async () => {
    const audit = await auditBytes(hdf5Bytes({ name: 'w', type: 'f8', shape: [GIGA / 2] }), 'x.h5');
    expect(audit.findings).toEqual([]);
    expect((await auditBytes(hdf5Bytes({ name: 'w', type: 'f8', shape: [0, GIGA, GIGA] }), 'x.h5')).findings).toEqual(
      [],
    );
  });
});
