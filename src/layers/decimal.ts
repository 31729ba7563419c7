import type { DType } from '../ir/dtype.ts';

/** A finite number as digits × 10^-scale, exactly as its shortest text says. */
function decimalOf(value: number): { readonly digits: bigint; readonly scale: number } {
  const [mantissa = '0', exponent = '0'] = String(value).split('e');
  const [whole = '0', fraction = ''] = mantissa.split('.');
  const scale = fraction.length - Number(exponent);
  const digits = BigInt(whole + fraction);
  return scale >= 0 ? { digits, scale } : { digits: digits * 10n ** BigInt(-scale), scale: 0 };
}

/**
 * 1 − value in decimal arithmetic on the shortest text that reads back as `value`: 0.99 gives 0.01, 0.15 gives 0.85.
 * For every decimal of up to nine digits complement(complement(x)) is x. Not finite: value as it is (NaN, ∓Infinity).
 */
export function complement(value: number): number {
  if (!Number.isFinite(value)) return 1 - value;
  const { digits, scale } = decimalOf(value);
  if (scale > 400) return 1 - value;
  const difference = 10n ** BigInt(scale) - digits;
  return difference === 0n ? 0 : Number(`${difference}e${-scale}`);
}

/**
 * The number that was meant: a value that went through float32 (0.9900000095367432) as the shortest decimal that
 * rounds to the same float32 (0.99); anything else as it is: whole numbers, and values whose own text is short
 * (0.0001220703125). A float64 `dtype` says that nothing was rounded.
 */
export function shortest(value: number, dtype?: DType): number {
  if (dtype === 'float64' || Number.isInteger(value) || Math.fround(value) !== value) return value;
  const own = significantDigits(value);
  for (let digits = 1; digits <= 9 && digits + 3 < own; digits += 1) {
    const candidate = Number(value.toPrecision(digits));
    if (Math.fround(candidate) === value) return candidate;
  }
  return value;
}

function significantDigits(value: number): number {
  return (String(value).split('e')[0] ?? '').replace(/[-.]/g, '').replace(/^0+/, '').length;
}
