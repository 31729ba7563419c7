import { byteLengthOf, type DType } from './dtype.ts';
import { BnsumError } from './error.ts';
import { LIMITS } from './limits.ts';

/**
 * Elements of a shape, exactly: the product of its axes ([] has one).
 * Throws BnsumError LIMIT above 2^53, MALFORMED for a negative or fractional axis.
 */
export function countElements(shape: readonly number[], file?: string, place?: string): number {
  if (shape.length > LIMITS.tensorRank) {
    throw new BnsumError({
      code: 'LIMIT',
      ...(file === undefined ? {} : { file }),
      ...(place === undefined ? {} : { place }),
      reason: `rank ${shape.length} is above the limit of ${LIMITS.tensorRank}`,
    });
  }
  let product: number | bigint = 1;
  for (const axis of shape) {
    if (!Number.isSafeInteger(axis) || axis < 0) {
      throw new BnsumError({
        code: 'MALFORMED',
        ...(file === undefined ? {} : { file }),
        ...(place === undefined ? {} : { place }),
        reason: `shape [${shape.join(', ')}] has an axis that is not a whole number`,
      });
    }
    // Exact beyond 2^53 as well: an axis of 0 may follow.
    if (typeof product === 'bigint') product *= BigInt(axis);
    else if (Number.isSafeInteger(product * axis)) product *= axis;
    else product = BigInt(product) * BigInt(axis);
  }
  if (product > Number.MAX_SAFE_INTEGER) {
    throw new BnsumError({
      code: 'LIMIT',
      ...(file === undefined ? {} : { file }),
      ...(place === undefined ? {} : { place }),
      reason: `shape [${shape.join(', ')}] claims ${product} elements, more than 2^53`,
    });
  }
  return Number(product);
}

/** Bytes of a contiguous tensor; refuses what does not fit a safe integer. */
export function provedByteLength(dtype: DType, shape: readonly number[], file?: string, place?: string): number {
  const bytes = byteLengthOf(dtype, countElements(shape, file, place));
  if (!Number.isSafeInteger(bytes)) {
    throw new BnsumError({
      code: 'LIMIT',
      ...(file === undefined ? {} : { file }),
      ...(place === undefined ? {} : { place }),
      reason: `shape [${shape.join(', ')}] of ${dtype} claims more than 2^53 bytes`,
    });
  }
  return bytes;
}
