import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { complement, shortest } from '../../src/layers/decimal.ts';

describe('complement', () => {
  test.each([
    [0.99, 0.01],
    [0.9, 0.1],
    [0.999, 0.001],
    [0.9997, 0.0003],
    [0.15, 0.85],
    [0, 1],
    [1, 0],
    [1e-7, 0.9999999],
    [1.5, -0.5],
    [-0.25, 1.25],
    [1e21, 1 - 1e21],
  ])('1 - %d is %d', (value, other) => {
    expect(complement(value)).toBe(other);
  });

  test('every k / 10^6 goes there and back', () => {
    for (let k = 0; k <= 1_000_000; k += 1) {
      const value = Number(`${k}e-6`);
      const other = Number(`${1_000_000 - k}e-6`);
      if (complement(value) !== other || complement(other) !== value) expect({ k, got: complement(value) }).toBe(k);
    }
  });

  test('every decimal of up to nine digits goes there and back', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 999_999_999 }), fc.integer({ min: 1, max: 9 }), (digits, places) => {
        const value = Number(`${digits % 10 ** places}e-${places}`);
        expect(complement(complement(value))).toBe(value);
        expect(complement(value)).toBe(Number(`${10 ** places - (digits % 10 ** places)}e-${places}`));
      }),
      { numRuns: 2000 },
    );
  });

  test('what is no number stays none', () => {
    expect(complement(Number.NaN)).toBeNaN();
    expect(complement(Number.POSITIVE_INFINITY)).toBe(Number.NEGATIVE_INFINITY);
  });
});

describe('shortest', () => {
  test('float32 noise is taken off', () => {
    expect(shortest(0.9900000095367432)).toBe(0.99);
    expect(shortest(Math.fround(1.001e-5))).toBe(1.001e-5);
    expect(shortest(0.9900000095367432, 'float64')).toBe(0.9900000095367432);
  });

  test.each([0.99, 0.5, 3, 1234567936, 0.0001220703125, 0.0009765625, 1 / 3, 0, -0.25])('%d stays', (value) => {
    expect(shortest(value)).toBe(value);
  });

  test('every k / 10^6 survives float32', () => {
    for (let k = 1; k < 1_000_000; k += 1) {
      const value = Number(`${k}e-6`);
      if (shortest(Math.fround(value)) !== value) expect({ k, got: shortest(Math.fround(value)) }).toBe(k);
    }
  });
});
