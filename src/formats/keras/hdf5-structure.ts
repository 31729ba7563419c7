import type { DType } from '../../ir/dtype.ts';

/**
 * The few structures of the HDF5 file format that the library does not show: the superblock's end of file, and of an
 * object header the exact float format, the storage layout, where the bytes lie and whether they lie in other files.
 * Fields by the HDF5 File Format Specification 3.0, sections II.A, IV.A and IV.A.2.
 */

/** Fills `into` from `offset` on; returns false when the file ends before. */
export type ReadAt = (offset: number, into: Uint8Array) => boolean;

const SIGNATURE = [0x89, 0x48, 0x44, 0x46, 0x0d, 0x0a, 0x1a, 0x0a];

/** Whether these bytes begin with the signature of HDF5. */
export function isHdf5Signature(bytes: Uint8Array): boolean {
  return bytes.length >= 8 && SIGNATURE.every((byte, index) => bytes[index] === byte);
}

export interface Superblock {
  /** Where the signature lies: 0, or 512, 1024, 2048 … behind a user block. Addresses count from here. */
  readonly base: number;
  readonly version: number;
  readonly offsetBytes: number;
  readonly lengthBytes: number;
  /** The file's end by its own account, counted from byte 0 of the file; null when the version is not one we know. */
  readonly end: number | null;
}

/** The superblock in the bytes that begin at `base`, at least 96 of them where the file has as many. */
export function parseSuperblock(bytes: Uint8Array, base: number): Superblock | undefined {
  if (!isHdf5Signature(bytes) || bytes.length < 48) return undefined;
  const version = bytes[8] ?? 255;
  const old = version < 2;
  const offsetBytes = bytes[old ? 13 : 9] ?? 0;
  const lengthBytes = bytes[old ? 14 : 10] ?? 0;
  const known = version <= 3 && (offsetBytes === 4 || offsetBytes === 8);
  // Version 0 has 24 bytes before the addresses, version 1 four more, versions 2 and 3 have 12; the third address is the end.
  const start = version === 0 ? 24 : version === 1 ? 28 : 12;
  const end = known ? addressAt(bytes, start + 2 * offsetBytes, offsetBytes) : null;
  return { base, version, offsetBytes, lengthBytes, end };
}

/** An unsigned integer of 1 to 8 bytes; null for the undefined address (all ones), past the bytes, or above 2^53. */
export function addressAt(bytes: Uint8Array, at: number, size: number): number | null {
  if (at < 0 || at + size > bytes.length) return null;
  let value = 0;
  let undefinedAddress = true;
  for (let index = size - 1; index >= 0; index--) {
    const byte = bytes[at + index] ?? 0;
    if (byte !== 0xff) undefinedAddress = false;
    // Exact below 2^53, and past that never below it again.
    value = value * 256 + byte;
  }
  return undefinedAddress || value > Number.MAX_SAFE_INTEGER ? null : value;
}

export interface ObjectFacts {
  readonly layout: 'contiguous' | 'chunked' | 'compact' | 'virtual' | 'unknown';
  /** From byte 0 of the file; null: not in one piece, or never written. */
  readonly dataOffset: number | null;
  /** null: not stated by the header (chunks, or a version that we do not read). */
  readonly storedBytes: number | null;
  /** No address is set: nothing was ever written. */
  readonly unwritten: boolean;
  readonly external: boolean;
  /** What a two-byte float is; undefined for every other type. */
  readonly half: DType | undefined;
}

const MAXIMUM_BLOCKS = 64;
const MAXIMUM_BLOCK_BYTES = 1 << 20;

/** What the header of the dataset at `address` (counted from the base) says; undefined when it cannot be followed. */
export function readObjectFacts(readAt: ReadAt, superblock: Superblock, address: number): ObjectFacts | undefined {
  const messages = readMessages(readAt, superblock, address);
  return messages && factsOf(messages, superblock);
}

/** What the messages of a dataset's header say of its storage. */
export function factsOf(messages: readonly Message[], superblock: Superblock): ObjectFacts {
  let facts: ObjectFacts = {
    layout: 'unknown',
    dataOffset: null,
    storedBytes: null,
    unwritten: false,
    external: false,
    half: undefined,
  };
  for (const { type, body, offset } of messages) {
    if (type === 0x0007) facts = { ...facts, external: true };
    if (type === 0x0003) facts = { ...facts, half: halfOf(body) };
    if (type === 0x0008) facts = { ...facts, ...layoutOf(body, offset, superblock) };
  }
  return facts;
}

export interface Message {
  readonly type: number;
  /** Bit 1: the body only points to where the message lies. */
  readonly flags: number;
  readonly body: Uint8Array;
  /** Of the body, from byte 0 of the file. */
  readonly offset: number;
}

/** All messages of the object header at `address` (counted from the base); undefined when it cannot be followed. */
export function readMessages(readAt: ReadAt, superblock: Superblock, address: number): readonly Message[] | undefined {
  const { base, offsetBytes, lengthBytes } = superblock;
  const prefix = new Uint8Array(34);
  if (!readAt(base + address, prefix.subarray(0, 16))) return undefined;
  const modern = prefix[0] === 0x4f && prefix[1] === 0x48 && prefix[2] === 0x44 && prefix[3] === 0x52;
  const blocks: { start: number; size: number }[] = [];
  let headerBytes = 8;
  if (modern) {
    const flags = prefix[5] ?? 0;
    const times = (flags & 0x20) !== 0 ? 16 : 0;
    const phases = (flags & 0x10) !== 0 ? 4 : 0;
    const sizeBytes = 1 << (flags & 3);
    const sizeAt = 6 + times + phases;
    if (!readAt(base + address, prefix.subarray(0, sizeAt + sizeBytes))) return undefined;
    const size = addressAt(prefix, sizeAt, sizeBytes);
    if (size === null) return undefined;
    headerBytes = (flags & 0x04) !== 0 ? 6 : 4;
    blocks.push({ start: base + address + sizeAt + sizeBytes, size });
  } else {
    if (prefix[0] !== 1) return undefined;
    const size = addressAt(prefix, 8, 4);
    if (size === null) return undefined;
    blocks.push({ start: base + address + 16, size });
  }
  const messages: Message[] = [];
  let continuations = 0;
  for (let index = 0; index < blocks.length; index++) {
    const block = blocks[index];
    if (block === undefined || index >= MAXIMUM_BLOCKS || block.size > MAXIMUM_BLOCK_BYTES) return undefined;
    const bytes = new Uint8Array(block.size);
    if (!readAt(block.start, bytes)) return undefined;
    // Continuation blocks of the modern form begin with 'OCHK'; every block of it but the first ends with a checksum.
    let at = modern && index > 0 ? 4 : 0;
    const stop = modern && index > 0 ? bytes.length - 4 : bytes.length;
    while (at + headerBytes <= stop) {
      const type = modern ? (bytes[at] ?? 0) : (bytes[at] ?? 0) | ((bytes[at + 1] ?? 0) << 8);
      const sizeAt = modern ? at + 1 : at + 2;
      const size = (bytes[sizeAt] ?? 0) | ((bytes[sizeAt + 1] ?? 0) << 8);
      const from = at + headerBytes;
      if (from + size > stop) break;
      const body = bytes.subarray(from, from + size);
      if (type === 0x0010) {
        const start = addressAt(body, 0, offsetBytes);
        const length = addressAt(body, offsetBytes, lengthBytes);
        if (start === null || length === null) return undefined;
        continuations++;
        blocks.push({ start: base + start, size: length });
      } else {
        messages.push({ type, flags: bytes[modern ? at + 3 : at + 4] ?? 0, body, offset: block.start + from });
      }
      at = from + size;
    }
  }
  const stated = (prefix[2] ?? 0) | ((prefix[3] ?? 0) << 8);
  return !modern && stated !== messages.length + continuations ? undefined : messages;
}

function halfOf(body: Uint8Array): DType | undefined {
  const kind = (body[0] ?? 0) & 0x0f;
  const size = addressAt(body, 4, 4);
  if (kind !== 1 || size !== 2 || body.length < 20) return undefined;
  // Bit offset, precision, then exponent location and size, mantissa location and size.
  const exponentBits = body[13] ?? 0;
  const mantissaBits = body[15] ?? 0;
  if (exponentBits === 5 && mantissaBits === 10) return 'float16';
  if (exponentBits === 8 && mantissaBits === 7) return 'bfloat16';
  return undefined;
}

type LayoutFacts = Pick<ObjectFacts, 'layout' | 'dataOffset' | 'storedBytes' | 'unwritten'>;

const UNKNOWN_LAYOUT: LayoutFacts = { layout: 'unknown', dataOffset: null, storedBytes: null, unwritten: false };

function layoutOf(body: Uint8Array, offset: number, { base, offsetBytes, lengthBytes }: Superblock): LayoutFacts {
  const version = body[0] ?? 0;
  if (version === 3 || version === 4 || version === 5) {
    const kind = body[1];
    if (kind === 0) {
      const size = addressAt(body, 2, 2);
      return { layout: 'compact', dataOffset: offset + 4, storedBytes: size, unwritten: false };
    }
    if (kind === 1) {
      const address = addressAt(body, 2, offsetBytes);
      const size = addressAt(body, 2 + offsetBytes, lengthBytes);
      return {
        layout: 'contiguous',
        dataOffset: address === null ? null : base + address,
        storedBytes: size,
        unwritten: address === null,
      };
    }
    if (kind === 2) {
      // Version 3 has the chunk index's address right behind the rank; later versions keep it behind the index's own fields.
      const unwritten = version === 3 && addressAt(body, 3, offsetBytes) === null;
      return { layout: 'chunked', dataOffset: null, storedBytes: unwritten ? 0 : null, unwritten };
    }
    return kind === 3 ? { ...UNKNOWN_LAYOUT, layout: 'virtual' } : UNKNOWN_LAYOUT;
  }
  if (version === 1 || version === 2) {
    const kind = body[2];
    if (kind === 2) return { ...UNKNOWN_LAYOUT, layout: 'chunked' };
    if (kind === 1) {
      const address = addressAt(body, 8, offsetBytes);
      return {
        layout: 'contiguous',
        dataOffset: address === null ? null : base + address,
        storedBytes: null,
        unwritten: address === null,
      };
    }
  }
  return UNKNOWN_LAYOUT;
}
