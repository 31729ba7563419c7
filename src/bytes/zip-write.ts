import { BnsumError } from '../ir/error.ts';
import { codec } from './codec.ts';
import type { WriteTarget } from './target.ts';

export interface ZipRecord {
  readonly name: string;
  /** Bytes of the content, known in advance. */
  readonly size: number;
  /** CRC-32 of the content; absent: computed while writing and patched into the header. */
  readonly crc32?: number;
}

export interface ZipWriter {
  /** Writes one stored member from blocks that add up to `size`; returns where its content starts. */
  add(record: ZipRecord, blocks: AsyncIterable<Uint8Array> | Iterable<Uint8Array>): Promise<number>;
  /** Writes the directory. No member may follow. */
  finish(): Promise<void>;
}

export interface ZipWriteOptions {
  /** Content starts at a multiple of this many bytes. PyTorch's readers map tensors at 64. */
  readonly alignment?: number;
}

interface Written {
  readonly name: Uint8Array;
  readonly size: number;
  readonly crc32: number;
  readonly offset: number;
}

const LOCAL_BYTES = 30;
const UTF8_FLAG = 0x0800;
/** 1980-01-01 00:00:00, the first moment that DOS can name: the same input gives the same bytes. */
const DOS_DATE = 0x0021;
const WIDE = 0xffffffff;
/** 'FB', the extra field that PyTorch pads with the letter Z. */
const PAD_ID = 0x4246;
const PAD_BYTE = 0x5a;

/**
 * Writes stored members one after the other, starting at the target's position 0, zip64 where sizes or offsets need
 * it. Duplicate names are our own mistake (INTERNAL), and so are blocks that do not add up to the announced size.
 */
export function zipWriter(target: WriteTarget, options: ZipWriteOptions = {}): ZipWriter {
  const alignment = options.alignment ?? 64;
  const written: Written[] = [];
  const names = new Set<string>();

  return {
    async add(record, blocks) {
      if (names.has(record.name)) {
        throw new BnsumError({ code: 'INTERNAL', reason: `zip member '${record.name}' written twice` });
      }
      names.add(record.name);
      const name = new TextEncoder().encode(record.name);
      const offset = target.position;
      const header = localHeader({ name, size: record.size, crc32: record.crc32 ?? 0, offset }, alignment);
      await target.write(header);
      const dataStart = target.position;
      let crc = 0;
      let size = 0;
      for await (const block of blocks) {
        crc = codec().crc32(block, crc);
        size += block.byteLength;
        await target.write(block);
      }
      if (size !== record.size || (record.crc32 !== undefined && record.crc32 !== crc)) {
        throw new BnsumError({ code: 'INTERNAL', reason: `zip member '${record.name}' is not what was announced` });
      }
      if (record.crc32 === undefined) {
        const patch = new Uint8Array(4);
        new DataView(patch.buffer).setUint32(0, crc, true);
        await target.writeAt(offset + 14, patch);
      }
      written.push({ name, size, crc32: crc, offset });
      return dataStart;
    },
    async finish() {
      const start = target.position;
      for (let from = 0; from < written.length; from += 1024) {
        await target.write(join(written.slice(from, from + 1024).map(directoryEntry)));
      }
      await target.write(endRecords(written.length, start, target.position - start));
    },
  };
}

function join(parts: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.byteLength, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.byteLength;
  }
  return whole;
}

function localHeader(member: Written, alignment: number): Uint8Array {
  const wide = member.size >= WIDE;
  const fixed = LOCAL_BYTES + member.name.byteLength + (wide ? 20 : 0);
  // The padding field has a head of four bytes, and stands there even when nothing is left to pad, as PyTorch has it.
  const before = member.offset + fixed + 4;
  const padding = (alignment - (before % alignment)) % alignment;
  const header = new Uint8Array(fixed + 4 + padding);
  const view = new DataView(header.buffer);
  view.setUint32(0, 0x04034b50, true);
  view.setUint16(4, wide ? 45 : 20, true);
  view.setUint16(6, UTF8_FLAG, true);
  view.setUint16(12, DOS_DATE, true);
  view.setUint32(14, member.crc32, true);
  view.setUint32(18, wide ? WIDE : member.size, true);
  view.setUint32(22, wide ? WIDE : member.size, true);
  view.setUint16(26, member.name.byteLength, true);
  view.setUint16(28, header.byteLength - LOCAL_BYTES - member.name.byteLength, true);
  header.set(member.name, LOCAL_BYTES);
  let at = LOCAL_BYTES + member.name.byteLength;
  if (wide) {
    view.setUint16(at, 1, true);
    view.setUint16(at + 2, 16, true);
    view.setBigUint64(at + 4, BigInt(member.size), true);
    view.setBigUint64(at + 12, BigInt(member.size), true);
    at += 20;
  }
  view.setUint16(at, PAD_ID, true);
  view.setUint16(at + 2, padding, true);
  header.fill(PAD_BYTE, at + 4);
  return header;
}

function directoryEntry(member: Written): Uint8Array {
  const wideSize = member.size >= WIDE;
  const wideOffset = member.offset >= WIDE;
  const extra = wideSize || wideOffset ? 4 + (wideSize ? 16 : 0) + (wideOffset ? 8 : 0) : 0;
  const entry = new Uint8Array(46 + member.name.byteLength + extra);
  const view = new DataView(entry.buffer);
  view.setUint32(0, 0x02014b50, true);
  view.setUint16(4, 45, true);
  view.setUint16(6, extra > 0 ? 45 : 20, true);
  view.setUint16(8, UTF8_FLAG, true);
  view.setUint16(14, DOS_DATE, true);
  view.setUint32(16, member.crc32, true);
  view.setUint32(20, wideSize ? WIDE : member.size, true);
  view.setUint32(24, wideSize ? WIDE : member.size, true);
  view.setUint16(28, member.name.byteLength, true);
  view.setUint16(30, extra, true);
  view.setUint32(42, wideOffset ? WIDE : member.offset, true);
  entry.set(member.name, 46);
  if (extra === 0) return entry;
  let at = 46 + member.name.byteLength;
  view.setUint16(at, 1, true);
  view.setUint16(at + 2, extra - 4, true);
  at += 4;
  if (wideSize) {
    view.setBigUint64(at, BigInt(member.size), true);
    view.setBigUint64(at + 8, BigInt(member.size), true);
    at += 16;
  }
  if (wideOffset) view.setBigUint64(at, BigInt(member.offset), true);
  return entry;
}

/** The end record, with its zip64 form before it where a count, size or offset does not fit. */
function endRecords(count: number, start: number, size: number): Uint8Array {
  const wide = count >= 0xffff || start >= WIDE || size >= WIDE;
  const head = wide ? 76 : 0;
  const bytes = new Uint8Array(head + 22);
  const view = new DataView(bytes.buffer);
  if (wide) {
    view.setUint32(0, 0x06064b50, true);
    view.setBigUint64(4, 44n, true);
    view.setUint16(12, 45, true);
    view.setUint16(14, 45, true);
    view.setBigUint64(24, BigInt(count), true);
    view.setBigUint64(32, BigInt(count), true);
    view.setBigUint64(40, BigInt(size), true);
    view.setBigUint64(48, BigInt(start), true);
    view.setUint32(56, 0x07064b50, true);
    view.setBigUint64(64, BigInt(start + size), true);
    view.setUint32(72, 1, true);
  }
  view.setUint32(head, 0x06054b50, true);
  view.setUint16(head + 8, wide ? 0xffff : count, true);
  view.setUint16(head + 10, wide ? 0xffff : count, true);
  view.setUint32(head + 12, wide ? WIDE : size, true);
  view.setUint32(head + 16, wide ? WIDE : start, true);
  return bytes;
}
