import { BnsumError } from '../ir/error.ts';

/** Throws BnsumError TRUNCATED when [start, end) does not lie in a source of `size` bytes, MALFORMED when it is no range. */
export function checkRange(label: string, size: number, start: number, end: number): void {
  if (!Number.isSafeInteger(start) || !Number.isSafeInteger(end) || start < 0 || end < start) {
    throw new BnsumError({ code: 'MALFORMED', file: label, reason: `no range of bytes: ${start} to ${end}` });
  }
  if (end > size) {
    throw new BnsumError({
      code: 'TRUNCATED',
      file: label,
      place: `@${start}`,
      reason: `ends at ${size} bytes, bytes up to ${end} are needed`,
    });
  }
}
