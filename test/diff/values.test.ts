import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, describe, expect, test } from 'vitest';
import { memoryTarget } from '../../src/bytes/target.ts';
import { planTranslation } from '../../src/convert/plan.ts';
import { translate } from '../../src/convert/translate.ts';
import { compareValues } from '../../src/diff/values.ts';
import { writeTorch } from '../../src/formats/torch/write.ts';
import { bytesPerElement, type DType } from '../../src/ir/dtype.ts';
import type { StateEntry } from '../../src/ir/state.ts';
import { openModel } from '../../src/open.ts';
import { memoryTensor } from '../helpers/memory-tensor.ts';
import { wholeTensor } from '../helpers/source.ts';
import { compareFiles, goodPath, linesOf, STRICT } from './open-side.ts';

const folder = mkdtempSync(join(tmpdir(), 'bndiff-values-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const EXACT = { rtol: 0, atol: 0 };

function floats(name: string, values: readonly number[], shape: readonly number[] = [values.length]) {
  return memoryTensor(name, 'float32', shape, new Uint8Array(Float32Array.from(values).buffer));
}

describe('how far two tensors are apart', () => {
  test('the numbers, worked out by hand', async () => {
    // a = (3, 4), b = (3, 0): the difference is (0, 4), |a| = 5, |b| = 3, a·b = 9.
    const stats = await compareValues(floats('a', [3, 4]), floats('b', [3, 0]), EXACT);
    expect(stats).toEqual({
      elements: 2,
      changed: 1,
      maxAbs: 4,
      relativeL2: 4 / 5,
      cosine: 9 / 15,
      nan: { a: 0, b: 0 },
      infinite: { a: 0, b: 0 },
      first: { index: [1], a: '4', b: '0' },
    });
  });

  test('index in C order of the shape', async () => {
    const stats = await compareValues(
      floats('a', [1, 2, 3, 4, 5, 6], [2, 3]),
      floats('b', [1, 2, 3, 4, 9, 6], [2, 3]),
      EXACT,
    );
    expect(stats?.first.index).toEqual([1, 1]);
  });

  test('NaN and the infinities are counted, and stay out of the norms', async () => {
    const stats = await compareValues(
      floats('a', [1, Number.NaN, 2]),
      floats('b', [1, 5, Number.POSITIVE_INFINITY]),
      EXACT,
    );
    expect(stats).toMatchObject({ changed: 2, maxAbs: 0, nan: { a: 1, b: 0 }, infinite: { a: 0, b: 1 } });
  });

  test('with no tolerance the bits count: -0 and the payload of a NaN', async () => {
    const zero = await compareValues(floats('a', [0]), floats('b', [-0]), EXACT);
    expect(zero).toMatchObject({ changed: 1, maxAbs: 0, first: { a: '0', b: '-0' } });
    const nan = (bits: number) => memoryTensor('n', 'float32', [1], new Uint8Array(Uint32Array.of(bits).buffer));
    expect(await compareValues(nan(0x7fc00000), nan(0x7fc00001), EXACT)).toMatchObject({ changed: 1 });
    expect(await compareValues(nan(0x7fc00000), nan(0x7fc00001), { rtol: 0, atol: 1e-9 })).toBeNull();
  });

  test('the norms of numbers whose squares a double cannot hold', async () => {
    const doubles = (...numbers: readonly number[]) =>
      memoryTensor('d', 'float64', [numbers.length], new Uint8Array(Float64Array.from(numbers).buffer));
    const norms = async (a: readonly number[], b: readonly number[]) => {
      const stats = await compareValues(doubles(...a), doubles(...b), EXACT);
      return [stats?.relativeL2, stats?.cosine];
    };
    // The example of whole numbers above, times 1e200 and times 1e-200: |b - a| / |a| = 4/5, cosine 9/15.
    for (const unit of [1e200, 1e-200, 1e307]) {
      const [relative, cosine] = await norms([3 * unit, 4 * unit], [3 * unit, 0]);
      expect(relative).toBeCloseTo(4 / 5, 12);
      expect(cosine).toBeCloseTo(9 / 15, 12);
    }
    // The difference itself is beyond a double: from 1e308 to -1.5e308 it is 2.5 times a.
    const [far, opposite] = await norms([1e308], [-1.5e308]);
    expect(far).toBeCloseTo(2.5, 12);
    expect(opposite).toBeCloseTo(-1, 12);
    // A ratio that no double holds is none.
    expect(await norms([1e-200], [1e200])).toEqual([null, 1]);
    expect(await norms([0], [1e200])).toEqual([null, null]);
    const [wide] = await norms([1e200], [-1.7e308]);
    expect((wide ?? 0) / 1.7e108).toBeCloseTo(1, 12);
  });

  test('tolerances are relative to the first', async () => {
    const a = floats('a', [100]);
    const b = floats('b', [101]);
    expect(await compareValues(a, b, { rtol: 0.01, atol: 0 })).toBeNull();
    expect(await compareValues(a, b, { rtol: 0.0099, atol: 0 })).not.toBeNull();
    expect(await compareValues(a, b, { rtol: 0, atol: 1 })).toBeNull();
  });

  test('integers beyond 2^53 are told apart', async () => {
    const big = (value: bigint) => memoryTensor('i', 'int64', [1], new Uint8Array(BigInt64Array.of(value).buffer));
    const stats = await compareValues(big(9007199254740993n), big(9007199254740992n), EXACT);
    expect(stats?.first).toMatchObject({ a: '9007199254740993', b: '9007199254740992' });
  });

  test('two element types are compared as numbers', async () => {
    const half = memoryTensor('h', 'float16', [2], new Uint8Array(Uint16Array.of(0x3c00, 0x4000).buffer));
    expect(await compareValues(floats('a', [1, 2]), half, EXACT)).toBeNull();
    expect(await compareValues(floats('a', [1, 3]), half, EXACT)).toMatchObject({
      changed: 1,
      first: { index: [1], a: '3', b: '2' },
    });
  });
});

/** The entries of a real model as a .pt file, one bit of one tensor flipped. */
async function writeFlipped(entries: readonly StateEntry[], path: string, tensor: number, bit: number): Promise<void> {
  const changed: StateEntry[] = [];
  for (const [index, entry] of entries.entries()) {
    const bytes = await wholeTensor(entry.tensor);
    if (index === tensor) bytes[bit >> 3] = (bytes[bit >> 3] ?? 0) ^ (1 << (bit & 7));
    changed.push({ ...entry, tensor: { ...memoryTensor(entry.name, entry.tensor.dtype, entry.tensor.shape, bytes) } });
  }
  const target = memoryTarget();
  await writeTorch(changed, target, { root: 'flipped', versions: new Map() });
  writeFileSync(path, target.bytes());
}

describe('a conversion', () => {
  test('one flipped bit anywhere is one difference that names tensor and index', async () => {
    const name = 'bn-scale-off.h5';
    const { value: model } = await openModel(goodPath(name));
    const entries = translate(planTranslation(model, { file: name }));
    const sizes = entries.map((entry) => entry.tensor.byteLength * 8);
    const place = fc
      .integer({ min: 0, max: entries.length - 1 })
      .chain((tensor) => fc.tuple(fc.constant(tensor), fc.integer({ min: 0, max: (sizes[tensor] ?? 1) - 1 })));
    const path = join(folder, 'flipped.pt');
    await fc.assert(
      fc.asyncProperty(place, async ([tensor, bit]) => {
        await writeFlipped(entries, path, tensor, bit);
        const { changes } = await compareFiles(name, path);
        const entry = entries[tensor];
        const size = bytesPerElement(entry?.tensor.dtype ?? ('float32' satisfies DType));
        let element = Math.floor((bit >> 3) / size);
        const index: number[] = [];
        for (const axis of [...(entry?.tensor.shape ?? [])].reverse()) {
          index.unshift(element % axis);
          element = Math.floor(element / axis);
        }
        expect(changes).toHaveLength(1);
        const [change] = changes;
        expect(change?.code).toBe('value');
        if (change?.code !== 'value') return;
        expect(`${change.at.b}.${change.role}`).toBe(entry?.name);
        expect(change.stats.first.index).toEqual(index);
        expect(change.stats.changed).toBe(1);
      }),
      { numRuns: 40 },
    );
    await model.close();
  });

  test('bit for bit what it came from, filled tensors against their fill value', async () => {
    const name = 'bn-scale-off.h5';
    const { value: model } = await openModel(goodPath(name));
    const entries = translate(planTranslation(model, { file: name }));
    const path = join(folder, 'exact.pt');
    await writeFlipped(entries, path, -1, 0);
    await model.close();
    const found = await compareFiles(name, path);
    expect(linesOf(found)).toEqual([]);
    expect(found.values?.compared).toBe(entries.length);
    expect(linesOf(await compareFiles(path, goodPath(name), STRICT))).toEqual([]);
  });
});
