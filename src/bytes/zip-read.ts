import { BnsumError, isBnsumError } from '../ir/error.ts';
import { LIMITS } from '../ir/limits.ts';
import { codec } from './codec.ts';
import { memorySource } from './memory-source.ts';
import type { ByteSource } from './source.ts';
import {
  type DirectoryEntry,
  FORBIDDEN_FLAGS,
  oddityError,
  readDirectory,
  type ZipMode,
  type ZipOddity,
  type ZipOddityCode,
} from './zip-directory.ts';

export type { ZipMode, ZipOddity, ZipOddityCode };

export interface ZipMember {
  readonly name: string;
  /** 0 stored, 8 deflated; others are refused when strict. */
  readonly method: number;
  readonly flags: number;
  /** Bytes of the content, and as stored. */
  readonly size: number;
  readonly compressedSize: number;
  readonly crc32: number;
  /** Where the content starts in the archive; -1 until the member was opened (`source`, `read`, `checkCrc`). */
  readonly dataStart: number;
  readonly externalAttributes: number;
}

export interface ZipArchive {
  /** In the directory's order. */
  readonly members: readonly ZipMember[];
  /** Grows as members are opened; complete after `inspect`. Empty when strict. */
  readonly oddities: readonly ZipOddity[];
  /** The member of exactly this name; the last one where a name occurs twice (lenient). */
  get(name: string): ZipMember | undefined;
  /**
   * A stored member as a slice; a deflated one inflated into memory up to LIMITS.inflatedBytes, its checksum compared.
   * Reads the local header, which has to agree with the directory.
   */
  source(member: ZipMember): Promise<ByteSource>;
  /** The whole content, checksum compared (strict: another one is refused). LIMIT above `limitBytes`. */
  read(member: ZipMember, limitBytes: number): Promise<Uint8Array>;
  /** Compares the content with its checksum, in blocks. 'absent': PyTorch wrote it with checksums switched off. */
  checkCrc(member: ZipMember): Promise<'ok' | 'wrong' | 'absent'>;
  /** Reads every local header, so that each byte of the archive is accounted for: throws when strict, else notes oddities. */
  inspect(): Promise<readonly ZipOddity[]>;
}

const LOCAL_SIGNATURE = 0x04034b50;
const LOCAL_BYTES = 30;
const DESCRIPTOR_SIGNATURE = 0x08074b50;

/**
 * Opens a zip by its central directory alone; local headers are read as members are opened. 'strict' refuses whatever
 * readers disagree on (hidden bytes, two names, encryption flags, unsafe names); 'lenient' collects that as oddities
 * and throws only where no bytes can be judged.
 */
export async function readZip(source: ByteSource, mode: ZipMode = 'strict'): Promise<ZipArchive> {
  const oddities: ZipOddity[] = [];
  const seen = new Set<string>();
  const notice = (code: ZipOddityCode, member: string, detail: string): void => {
    if (mode === 'strict') throw oddityError(source.label, code, member, detail);
    const key = `${code}\0${member}\0${detail}`;
    if (!seen.has(key)) oddities.push({ code, member, detail });
    seen.add(key);
  };
  const directory = await readDirectory(source, notice);
  const members: readonly DirectoryEntry[] = directory.entries;
  const labelOf = (member: ZipMember): string => `${source.label}!${member.name}`;

  /** Reads and judges the local header; afterwards dataStart is known and the bytes lie in the member's own range. */
  const locate = async (given: ZipMember): Promise<DirectoryEntry> => {
    const entry = own(given);
    if (entry.dataStart >= 0) return entry;
    const { name } = entry;
    const header = await source.read(
      entry.localOffset,
      Math.min(entry.localOffset + LOCAL_BYTES + entry.nameLength, source.size),
    );
    const view = new DataView(header.buffer, header.byteOffset, header.byteLength);
    if (header.byteLength < LOCAL_BYTES || view.getUint32(0, true) !== LOCAL_SIGNATURE) {
      throw new BnsumError({
        code: 'MALFORMED',
        file: labelOf(entry),
        place: `@${entry.localOffset}`,
        reason: 'no zip member starts where the directory says',
      });
    }
    const nameLength = view.getUint16(26, true);
    const extraLength = view.getUint16(28, true);
    const localName = header.subarray(LOCAL_BYTES, LOCAL_BYTES + nameLength);
    if (nameLength !== entry.nameLength || !equalBytes(localName, rawNameOf(entry))) {
      notice('local-name', name, 'the member has another name in its own header');
    }
    const dataStart = entry.localOffset + LOCAL_BYTES + nameLength + extraLength;
    const dataEnd = dataStart + entry.compressedSize;
    if (dataEnd > directory.start) {
      throw new BnsumError({
        code: 'MALFORMED',
        file: labelOf(entry),
        reason: 'the member runs past the data of the zip',
      });
    }
    if (dataEnd > entry.limit) notice('overlap', name, 'the member overlaps the one after it');
    const flags = view.getUint16(6, true);
    const contradiction = await compareLocal(source, entry, view, flags, dataStart - extraLength, extraLength);
    if (contradiction !== null) notice('local-mismatch', name, contradiction);
    if ((flags & FORBIDDEN_FLAGS) !== (entry.flags & FORBIDDEN_FLAGS)) {
      notice('flag-bits', name, 'local header and directory differ in their encryption flags');
    }
    await judgeGap(source, entry, dataEnd, flags, notice);
    entry.dataStart = dataStart;
    return entry;
  };

  const own = (given: ZipMember): DirectoryEntry => {
    const entry = given as DirectoryEntry;
    if (entry.localOffset === undefined)
      throw new BnsumError({ code: 'INTERNAL', reason: 'a member of another archive' });
    return entry;
  };

  const rawNameOf = (entry: DirectoryEntry): Uint8Array =>
    directory.bytes.subarray(entry.nameStart, entry.nameStart + entry.nameLength);

  const refuseUnreadable = (member: DirectoryEntry): void => {
    if (member.method !== 0 && member.method !== 8) {
      throw oddityError(source.label, 'method', member.name, `compression method ${member.method} is not read`);
    }
    if ((member.flags & 0x1) !== 0 && member.method === 0 && member.size !== member.compressedSize) {
      throw oddityError(source.label, 'encrypted', member.name, 'the member is encrypted');
    }
  };

  const inflate = async (member: DirectoryEntry, limit: number): Promise<Uint8Array> => {
    const { size, compressedSize } = member;
    const refuse = (reason: string): BnsumError =>
      new BnsumError({
        code: 'LIMIT',
        file: labelOf(member),
        reason,
        next: 'store the member without compression (zip -0) if the file is trusted',
      });
    if (size > limit) throw refuse(`a compressed member of ${size} bytes, the limit is ${limit}`);
    if (size > compressedSize * LIMITS.inflateRatio) {
      throw refuse(`${compressedSize} bytes claim to hold ${size}, more than DEFLATE can`);
    }
    const stored = await source.read(member.dataStart, member.dataStart + compressedSize);
    let content: Uint8Array;
    try {
      content = codec().inflateRaw(stored, size);
    } catch (error) {
      if (!isBnsumError(error)) throw error;
      const encrypted = (member.flags & 0x1) !== 0 ? 'the member is encrypted, or ' : '';
      const code = error.code === 'LIMIT' ? 'MALFORMED' : error.code;
      throw new BnsumError({ code, file: labelOf(member), reason: encrypted + error.reason, cause: error });
    }
    if (content.byteLength !== size) {
      throw new BnsumError({
        code: 'MALFORMED',
        file: labelOf(member),
        reason: `the member inflates to ${content.byteLength} bytes, the directory says ${size}`,
      });
    }
    return content;
  };

  const compareCrc = (member: DirectoryEntry, content: Uint8Array): void => {
    if (codec().crc32(content) !== member.crc32 && member.crc32 !== 0) {
      notice('bad-crc', member.name, 'the bytes do not have the checksum that the zip directory states');
    }
  };

  const archive: ZipArchive = {
    members,
    oddities,
    get: (name) => directory.byName.get(name),
    async source(given) {
      const member = await locate(given);
      refuseUnreadable(member);
      if (member.method === 0) {
        return source.slice(member.dataStart, member.dataStart + member.compressedSize, labelOf(member));
      }
      const content = await inflate(member, LIMITS.inflatedBytes);
      compareCrc(member, content);
      return memorySource(content, labelOf(member), () => source.bytesRead());
    },
    async read(given, limitBytes) {
      const member = await locate(given);
      refuseUnreadable(member);
      if (member.method === 0 && member.compressedSize > limitBytes) {
        throw new BnsumError({
          code: 'LIMIT',
          file: labelOf(member),
          reason: `${member.compressedSize} bytes, the limit is ${limitBytes}`,
        });
      }
      const content =
        member.method === 0
          ? await source.read(member.dataStart, member.dataStart + member.compressedSize)
          : await inflate(member, limitBytes);
      compareCrc(member, content);
      return content;
    },
    async checkCrc(given) {
      const member = await locate(given);
      refuseUnreadable(member);
      if (member.crc32 === 0 && member.size > 0) return 'absent';
      if (member.method === 8) {
        const content = await inflate(member, LIMITS.inflatedBytes);
        return codec().crc32(content) === member.crc32 ? 'ok' : 'wrong';
      }
      let crc = 0;
      const end = member.dataStart + member.compressedSize;
      for (let at = member.dataStart; at < end; at += CRC_BLOCK) {
        crc = codec().crc32(await source.read(at, Math.min(end, at + CRC_BLOCK)), crc);
      }
      return crc === member.crc32 ? 'ok' : 'wrong';
    },
    async inspect() {
      for (const member of members) await locate(member);
      return oddities;
    },
  };
  return archive;
}

const CRC_BLOCK = 4 * 1024 * 1024;

function equalBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.byteLength === b.byteLength && a.every((byte, index) => byte === b[index]);
}

/** Method, sizes and checksum of a local header against the directory; null when they agree. */
async function compareLocal(
  source: ByteSource,
  entry: DirectoryEntry,
  view: DataView,
  flags: number,
  extraStart: number,
  extraLength: number,
): Promise<string | null> {
  const method = view.getUint16(8, true);
  if (method !== entry.method) return `method ${method} in the member's header, ${entry.method} in the directory`;
  const crc = view.getUint32(14, true);
  const compressedSize = view.getUint32(18, true);
  const size = view.getUint32(22, true);
  // Only with a data descriptor (bit 3) may the header leave them open.
  const open = ((flags | entry.flags) & 0x8) !== 0;
  if (crc !== entry.crc32 && !(open && crc === 0)) return 'checksum in the header differs from the directory';
  let wide: readonly [number, number] = [size, compressedSize];
  if (size === 0xffffffff || compressedSize === 0xffffffff) {
    const extra = await source.read(extraStart, extraStart + extraLength);
    const found = localZip64(extra);
    if (found === null && !open) return 'the zip64 field of the header is missing';
    wide = found ?? [entry.size, entry.compressedSize];
  }
  const same = (value: number, expected: number): boolean => value === expected || (open && value === 0);
  if (!same(wide[0], entry.size) || !same(wide[1], entry.compressedSize)) {
    return `sizes ${wide[0]} and ${wide[1]} in the member's header, ${entry.size} and ${entry.compressedSize} in the directory`;
  }
  return null;
}

/** Size and stored size of a local zip64 field; null without one. */
function localZip64(extra: Uint8Array): readonly [number, number] | null {
  const view = new DataView(extra.buffer, extra.byteOffset, extra.byteLength);
  for (let at = 0; at + 4 <= extra.byteLength; ) {
    const length = view.getUint16(at + 2, true);
    if (view.getUint16(at, true) === 1 && length >= 16 && at + 20 <= extra.byteLength) {
      return [Number(view.getBigUint64(at + 4, true)), Number(view.getBigUint64(at + 12, true))];
    }
    at += 4 + length;
  }
  return null;
}

/** What lies between a member's bytes and the next member: nothing, or its data descriptor. */
async function judgeGap(
  source: ByteSource,
  entry: DirectoryEntry,
  dataEnd: number,
  flags: number,
  notice: (code: ZipOddityCode, member: string, detail: string) => void,
): Promise<void> {
  const gap = entry.limit - dataEnd;
  if (gap <= 0) return;
  const head = await source.read(dataEnd, dataEnd + Math.min(gap, 24));
  const view = new DataView(head.buffer, head.byteOffset, head.byteLength);
  const signed = head.byteLength >= 4 && view.getUint32(0, true) === DESCRIPTOR_SIGNATURE;
  // With or without signature, with sizes of four or eight bytes (APPNOTE 4.3.9).
  const lengths = signed ? [16, 24] : [12, 20];
  if (((flags | entry.flags) & 0x8) !== 0 && lengths.includes(gap)) {
    const at = signed ? 4 : 0;
    const big = gap - at > 12;
    const compressed = big ? Number(view.getBigUint64(at + 4, true)) : view.getUint32(at + 4, true);
    const size = big ? Number(view.getBigUint64(at + 12, true)) : view.getUint32(at + 8, true);
    if (view.getUint32(at, true) !== entry.crc32 || compressed !== entry.compressedSize || size !== entry.size) {
      notice('local-mismatch', entry.name, 'the data descriptor contradicts the directory');
    }
    return;
  }
  const local = head.byteLength >= 4 && view.getUint32(0, true) === LOCAL_SIGNATURE;
  if (local) notice('hidden-member', entry.name, 'after the member stands one that the directory does not list');
  else notice('gap-bytes', entry.name, `${gap} bytes after the member belong to no member`);
}
