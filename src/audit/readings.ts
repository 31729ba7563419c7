import type { ByteSource } from '../bytes/source.ts';
import { findSuperblock, firstSignature } from '../formats/keras/hdf5-open.ts';
import { isBnsumError } from '../ir/error.ts';
import type { Content } from './context.ts';
import { isTarHeader } from './tar-members.ts';

/**
 * What a file is to readers that do not begin at its first byte, whatever that says: HDF5 at 512, 1024, 2048 … and a zip
 * by the record at its end. A tar begins at the first byte, in a block that others take for something else.
 */
export interface Reading {
  readonly kind: 'HDF5' | 'tar' | 'zip';
  /** The bytes that the reading takes. */
  readonly start: number;
  readonly end: number;
}

/** Bytes at the end in which zip readers look for their record: 65,557, and what a reader of blocks takes beside them. */
export const TAIL_BYTES = 70_000;

/** Every reading of the content; `head` holds its first bytes and `tail` its last. */
export async function findReadings(
  { source }: Content,
  head: Uint8Array,
  tail: Uint8Array,
): Promise<readonly Reading[]> {
  const readings: Reading[] = [];
  if (isTarHeader(head)) readings.push({ kind: 'tar', start: 0, end: source.size });
  const hdf5 = await firstSignature(source);
  if (hdf5 !== undefined) readings.push({ kind: 'HDF5', start: hdf5, end: await endOfHdf5(source, hdf5) });
  const zip = await findZip(source, tail);
  if (zip !== undefined) readings.push(zip);
  return readings;
}

/** Where HDF5 ends that may have been moved: its addresses count from the signature or from byte 0. */
async function endOfHdf5(source: ByteSource, base: number): Promise<number> {
  try {
    return base + ((await findSuperblock(source))?.end ?? source.size);
  } catch (error) {
    // The signature is there; judgeHdf5 says what is wrong with the rest.
    if (isBnsumError(error)) return Number.POSITIVE_INFINITY;
    throw error;
  }
}

const END_BYTES = 22;
/** End records that are looked behind: one is usual, and each costs a read. */
const MOST_RECORDS = 64;

/** The zip that a reader finds who begins at the end: a record there with a directory behind it. */
async function findZip(source: ByteSource, tail: Uint8Array): Promise<Reading | undefined> {
  const from = source.size - tail.length;
  const view = new DataView(tail.buffer, tail.byteOffset, tail.byteLength);
  let records = 0;
  for (let at = tail.length - END_BYTES; at >= 0; at -= 1) {
    if (tail[at] !== 0x50 || view.getUint32(at, true) !== 0x06054b50) continue;
    const size = view.getUint32(at + 12, true);
    const offset = view.getUint32(at + 16, true);
    const end = from + at + END_BYTES;
    records += 1;
    if (records > MOST_RECORDS) return { kind: 'zip', start: 0, end };
    // Readers take the directory by its size before the record, or by its offset.
    for (const start of [from + at - size, offset]) {
      if (size > 0 && (await hasSignature(source, start, 0x02014b50))) {
        return { kind: 'zip', start: Math.max(0, from + at - size - offset), end };
      }
    }
    const wide = at >= 20 && view.getUint32(at - 20, true) === 0x07064b50;
    if (!wide) continue;
    for (const record of [from + at - 76, Number(view.getBigUint64(at - 12, true))]) {
      if (!(await hasSignature(source, record, 0x06064b50)) || record + 56 > source.size) continue;
      const bytes = await source.read(record, record + 56);
      const fields = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
      const start = record - Number(fields.getBigUint64(40, true)) - Number(fields.getBigUint64(48, true));
      return { kind: 'zip', start: Math.max(0, start), end };
    }
  }
  return undefined;
}

async function hasSignature(source: ByteSource, at: number, signature: number): Promise<boolean> {
  if (!(at >= 0 && at + 4 <= source.size)) return false;
  const bytes = await source.read(at, at + 4);
  return new DataView(bytes.buffer, bytes.byteOffset, 4).getUint32(0, true) === signature;
}

/** Whether a part that is judged for itself is all that the reading takes, at the place where it takes it. */
export function isCovered(reading: Reading, from: number, to: number): boolean {
  switch (reading.kind) {
    case 'tar':
      return false;
    case 'HDF5':
      return from === reading.start && to >= reading.end;
    default:
      return from <= reading.start && to >= reading.end;
  }
}
