import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  castTensor,
  decodeFloats,
  encodeFloats,
  halfToNumber,
  numberToBrain,
  numberToHalf,
} from '../../src/convert/cast.ts';
import type { DType } from '../../src/ir/dtype.ts';
import { memoryTensor } from '../helpers/memory-tensor.ts';

interface Casts {
  /** float32 bits, and the float16 and bfloat16 bits that numpy and ml_dtypes make of them. */
  readonly float32: readonly (readonly [number, number, number])[];
  /** float64 big-endian hex, and the float16 and float32 bits. */
  readonly float64: readonly (readonly [string, number, number])[];
}
const casts: Casts = JSON.parse(readFileSync(new URL('../../fixtures/casts.json', import.meta.url), 'utf8'));

const words = (values: readonly number[], size: 2 | 4): Uint8Array =>
  new Uint8Array((size === 2 ? Uint16Array.from(values) : Uint32Array.from(values)).buffer);

const isNaN16 = (bits: number, fractionBits: number): boolean =>
  (bits & 0x7fff) > (fractionBits === 10 ? 0x7c00 : 0x7f80);

async function cast(from: DType, bytes: Uint8Array, to: DType, elements: number): Promise<Uint8Array> {
  const tensor = castTensor(memoryTensor('t', from, [elements], bytes), to);
  const into = new Uint8Array(tensor.byteLength);
  await tensor.readInto([0], [elements], into);
  return into;
}

describe('as numpy rounds', () => {
  const singles = casts.float32.map(([bits]) => bits);

  test.each([
    ['float16', 1, 10],
    ['bfloat16', 2, 7],
  ] as const)('float32 to %s', async (dtype, column, fraction) => {
    const into = await cast('float32', words(singles, 4), dtype, singles.length);
    const found = new Uint16Array(into.buffer);
    expect(singles.length).toBeGreaterThan(1000);
    for (const [at, row] of casts.float32.entries()) {
      const wanted = row[column];
      const got = found[at] ?? 0;
      const same = isNaN16(wanted, fraction) ? isNaN16(got, fraction) : got === wanted;
      if (!same) expect.fail(`${row[0].toString(16)} became ${got.toString(16)}, not ${wanted.toString(16)}`);
    }
  });

  test('float64 to float16 and float32, in one step', async () => {
    const bytes = new Uint8Array(casts.float64.length * 8);
    for (const [at, [hex]] of casts.float64.entries()) {
      for (let byte = 0; byte < 8; byte += 1)
        bytes[at * 8 + 7 - byte] = Number.parseInt(hex.slice(byte * 2, byte * 2 + 2), 16);
    }
    const halves = new Uint16Array((await cast('float64', bytes, 'float16', casts.float64.length)).buffer);
    const singles32 = new Uint32Array((await cast('float64', bytes, 'float32', casts.float64.length)).buffer);
    expect([...halves]).toEqual(casts.float64.map(([, half]) => half));
    expect([...singles32]).toEqual(casts.float64.map(([, , single]) => single));
  });
});

describe('by hand', () => {
  test.each([
    [1, 0x3c00],
    [-2, 0xc000],
    [65504, 0x7bff],
    // The middle between 65504 and 65536 goes to the even one, which is infinite.
    [65519.99, 0x7bff],
    [65520, 0x7c00],
    [2 ** -24, 0x0001],
    // Half of the smallest: a tie between 0 and 1, to 0.
    [2 ** -25, 0x0000],
    [1.5 * 2 ** -25, 0x0001],
    // 1 + 2^-11 lies between 1 and 1 + 2^-10: to even. 1 + 3 · 2^-11 lies between odd and even: up.
    [1 + 2 ** -11, 0x3c00],
    [1 + 3 * 2 ** -11, 0x3c02],
    [2 ** -14 - 2 ** -25, 0x0400],
    [-0, 0x8000],
    [Number.POSITIVE_INFINITY, 0x7c00],
  ])('%d as float16', (value, bits) => {
    expect(numberToHalf(value)).toBe(bits);
  });

  test.each([
    [1, 0x3f80],
    [1 + 2 ** -8, 0x3f80],
    [1 + 3 * 2 ** -8, 0x3f82],
    // Just above a tie, by less than float32 can hold: still above.
    [1 + 2 ** -8 + 2 ** -40, 0x3f81],
    [1 + 3 * 2 ** -8 - 2 ** -40, 0x3f81],
    [-(1 + 2 ** -8 + 2 ** -40), 0xbf81],
    [3.4e38, 0x7f80],
    [3.38e38, 0x7f7e],
    [-0, 0x8000],
    [2 ** -133, 0x0001],
    [2 ** -134, 0x0000],
  ])('%d as bfloat16', (value, bits) => {
    expect(numberToBrain(value)).toBe(bits);
  });
});

describe('always', () => {
  test('every half comes back from its number', () => {
    for (let bits = 0; bits < 65536; bits += 1) {
      if (!isNaN16(bits, 10)) expect(numberToHalf(halfToNumber(bits))).toBe(bits);
    }
  });

  test('every bfloat16 comes back from its number', () => {
    const all = Uint16Array.from({ length: 65536 }, (_, bits) => bits).filter((bits) => !isNaN16(bits, 7));
    const into = new Uint8Array(all.byteLength);
    encodeFloats(decodeFloats(new Uint8Array(all.buffer), 'bfloat16', all.length), 'bfloat16', into);
    expect(new Uint16Array(into.buffer)).toEqual(all);
  });

  test('the nearest half, ties to even, of any double', () => {
    fc.assert(
      fc.property(fc.double({ noNaN: true, min: -65504, max: 65504 }), (value) => {
        const bits = numberToHalf(value);
        const made = halfToNumber(bits);
        const size = bits & 0x7fff;
        const sign = bits & 0x8000;
        const others = [size + 1, size - 1]
          .filter((one) => one >= 0 && one <= 0x7bff)
          .map((one) => halfToNumber(sign | one));
        const error = Math.abs(made - value);
        return others.every((other) => {
          const distance = Math.abs(other - value);
          return error < distance || (error === distance && bits % 2 === 0);
        });
      }),
      { numRuns: 2000 },
    );
  });

  test('order is kept', () => {
    fc.assert(
      fc.property(fc.float({ noNaN: true }), fc.float({ noNaN: true }), (a, b) => {
        const [low, high] = a <= b ? [a, b] : [b, a];
        return halfToNumber(numberToHalf(low)) <= halfToNumber(numberToHalf(high));
      }),
    );
  });

  test('float32 to float64 and back is the same; integers pass through', async () => {
    const bytes = words([0x3f800001, 0x00000001, 0x7f7fffff, 0x80000000], 4);
    const wide = await cast('float32', bytes, 'float64', 4);
    expect(await cast('float64', wide, 'float32', 4)).toEqual(bytes);
    const counter = memoryTensor('n', 'int64', [], new Uint8Array(8));
    expect(castTensor(counter, 'float16')).toBe(counter);
  });

  test('a type that is no plain number is refused', () => {
    const tensor = memoryTensor('t', 'float8_e4m3fn', [1], new Uint8Array(1));
    expect(() => castTensor(tensor, 'float32')).toThrow(/UNSUPPORTED/);
  });
});
