import { crc32 } from 'node:zlib';
import { bytes, u32, u64 } from './pickle-builder.ts';

/** A stored member; `size` alone: that many zero bytes, which are not materialised. */
export interface Member {
  readonly name: string;
  readonly content?: Uint8Array;
  readonly size?: number;
  /** Stated instead of the real checksum. */
  readonly crc?: number;
}

export interface ZipPlan {
  /** Bytes to be written, by offset. */
  readonly parts: readonly (readonly [number, Uint8Array])[];
  readonly size: number;
}

function u16(value: number): number[] {
  return [value & 255, value >> 8];
}

/** Lays out a zip of stored members, with zip64 fields where offsets or counts need them. */
export function planZip(members: readonly Member[]): ZipPlan {
  const parts: (readonly [number, Uint8Array])[] = [];
  const directory: Uint8Array[] = [];
  let at = 0;
  for (const member of members) {
    const name = new TextEncoder().encode(member.name);
    const size = member.content?.length ?? member.size ?? 0;
    const crc = member.crc ?? (member.content === undefined ? 0 : crc32(member.content));
    const fields = bytes(u16(0), u16(0), u16(0), u16(0), u32(crc), u32(size), u32(size), u16(name.length));
    parts.push([at, bytes('PK\x03\x04', u16(20), fields, u16(0), name)]);
    const isFar = at > 0xfffffffe;
    const extra = isFar ? bytes(u16(1), u16(8), u64(BigInt(at))) : new Uint8Array(0);
    directory.push(
      bytes('PK\x01\x02', u16(20), u16(20), fields, u16(extra.length), u16(0), u16(0), u16(0), u32(0)),
      bytes(u32(isFar ? 0xffffffff : at), name, extra),
    );
    at += 30 + name.length;
    if (member.content !== undefined) parts.push([at, member.content]);
    at += size;
  }
  const start = at;
  const length = directory.reduce((total, part) => total + part.length, 0);
  const joined = new Uint8Array(length);
  let place = 0;
  for (const part of directory) {
    joined.set(part, place);
    place += part.length;
  }
  parts.push([at, joined]);
  at += length;
  const count = members.length;
  const isBig = start > 0xfffffffe || count > 0xfffe;
  if (isBig) {
    const record = bytes(
      ...['PK\x06\x06', u64(44n), u16(45), u16(45), u32(0), u32(0)],
      ...[u64(BigInt(count)), u64(BigInt(count)), u64(BigInt(length)), u64(BigInt(start))],
    );
    parts.push([at, bytes(record, 'PK\x06\x07', u32(0), u64(BigInt(at)), u32(1))]);
    at += record.length + 20;
  }
  const shown = Math.min(count, isBig ? 0xffff : count);
  const end = bytes(
    ...['PK\x05\x06', u16(0), u16(0), u16(shown), u16(shown), u32(length)],
    ...[u32(isBig ? 0xffffffff : start), u16(0)],
  );
  parts.push([at, end]);
  return { parts, size: at + end.length };
}

export function buildZip(members: readonly Member[]): Uint8Array {
  const { parts, size } = planZip(members);
  const file = new Uint8Array(size);
  for (const [at, part] of parts) file.set(part, at);
  return file;
}
