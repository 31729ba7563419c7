import { BnsumError, type ErrorCode } from '../ir/error.ts';
import { LIMITS } from '../ir/limits.ts';
import { codec } from './codec.ts';
import type { ByteSource } from './source.ts';

/**
 * The central directory of a zip (APPNOTE.TXT 6.3.10, sections 4.3.12 to 4.3.16), judged before any member is opened.
 * Everything on which readers are known to disagree is an oddity; a strict reading throws on the first one.
 */
export type ZipOddityCode =
  | 'ambiguous-end' // a second end record, or one in a comment
  | 'bad-crc' // the bytes do not have the checksum that the directory states
  | 'bad-extra' // an extra field that runs past its area
  | 'canonical-twin' // two names that one file system takes for the same
  | 'duplicate-name'
  | 'encrypted'
  | 'entry-count' // the end record counts other entries than the directory holds
  | 'flag-bits' // encryption or patch flags on bytes that are plain
  | 'gap-bytes' // bytes that no member owns
  | 'hidden-member' // a local member that the directory does not list
  | 'local-mismatch' // local header and directory contradict each other
  | 'local-name' // the local header has another name
  | 'method' // neither stored nor deflated
  | 'overlap' // two members share bytes
  | 'prefix-bytes' // bytes before the first member
  | 'size-mismatch' // a stored member with two sizes
  | 'special-file' // symlink or device mode bits
  | 'trailing-bytes' // bytes after the end record
  | 'unicode-path' // an extra field gives another name
  | 'unsafe-name'; // absolute, drive, '..', NUL, empty

export interface ZipOddity {
  readonly code: ZipOddityCode;
  /** Name of the member it concerns; '' for the archive as a whole. */
  readonly member: string;
  readonly detail: string;
}

export type ZipMode = 'strict' | 'lenient';

/** Members as the directory lists them; sizes in bytes, offsets from the start of the file. */
export interface DirectoryEntry {
  readonly name: string;
  /** Where the name's bytes lie in the directory's bytes: a view of its own would cost more than the name. */
  readonly nameStart: number;
  readonly nameLength: number;
  readonly method: number;
  readonly flags: number;
  readonly size: number;
  readonly compressedSize: number;
  readonly crc32: number;
  readonly externalAttributes: number;
  readonly localOffset: number;
  /** Start of what follows: the next member or the directory. */
  limit: number;
  /** Where the content starts; -1 until the local header was read. */
  dataStart: number;
}

export interface Directory {
  readonly entries: readonly DirectoryEntry[];
  /** The last entry of each name. */
  readonly byName: ReadonlyMap<string, DirectoryEntry>;
  /** Where the directory starts, and the members end. */
  readonly start: number;
  /** The directory itself, which `nameStart` points into. */
  readonly bytes: Uint8Array;
}

/** Takes note of an oddity; in strict mode it throws. */
export type Noticing = (code: ZipOddityCode, member: string, detail: string) => void;

const END_SIGNATURE = 0x06054b50;
const END_BYTES = 22;
const LOCATOR_SIGNATURE = 0x07064b50;
const LOCATOR_BYTES = 20;
const END64_SIGNATURE = 0x06064b50;
const ENTRY_SIGNATURE = 0x02014b50;
const ENTRY_BYTES = 46;
const LOCAL_BYTES = 30;
const NO_EXTRA: Uint8Array = new Uint8Array(0);
/** An extra field and a data descriptor: what may lie between two members without the directory saying so. */
const MOST_UNSEEN = 65_535 + 24;
/** Encrypted, patched data, strong encryption, masked headers. */
export const FORBIDDEN_FLAGS: number = 0x1 | 0x20 | 0x40 | 0x2000;

const OTHER_CODES: Readonly<Partial<Record<ZipOddityCode, ErrorCode>>> = {
  'ambiguous-end': 'AMBIGUOUS',
  'canonical-twin': 'AMBIGUOUS',
  'duplicate-name': 'AMBIGUOUS',
  encrypted: 'UNSUPPORTED',
  method: 'UNSUPPORTED',
  'special-file': 'UNSAFE',
  'unsafe-name': 'UNSAFE',
};

/** The refusal that an oddity is in strict mode. */
export function oddityError(label: string, code: ZipOddityCode, member: string, detail: string): BnsumError {
  const file = member === '' ? label : `${label}!${member}`;
  return new BnsumError({ code: OTHER_CODES[code] ?? 'MALFORMED', file, reason: detail });
}

function broken(source: ByteSource, place: number | null, reason: string, code: ErrorCode = 'MALFORMED'): BnsumError {
  return new BnsumError({ code, file: source.label, ...(place === null ? {} : { place: `@${place}` }), reason });
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** A 64-bit field as a safe integer. */
function wide(source: ByteSource, view: DataView, at: number, what: string): number {
  const value = view.getBigUint64(at, true);
  if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw broken(source, null, `${what} of ${value} is beyond every file`);
  return Number(value);
}

interface End {
  readonly count: number;
  readonly size: number;
  readonly offset: number;
  /** Where the directory has to end: at the zip64 end record, or at the end record. */
  readonly position: number;
}

/** Reads the directory. Throws BnsumError on every damage; oddities go to `notice`. */
export async function readDirectory(source: ByteSource, notice: Noticing): Promise<Directory> {
  const tailStart = Math.max(0, source.size - (END_BYTES + 65_535 + LOCATOR_BYTES + 56));
  const tail = await source.read(tailStart, source.size);
  const end = await findEnd(source, tail, tailStart, notice);
  if (end.size > LIMITS.zipDirectoryBytes) {
    throw broken(
      source,
      end.offset,
      `zip directory of ${end.size} bytes, the limit is ${LIMITS.zipDirectoryBytes}`,
      'LIMIT',
    );
  }
  if (end.count > LIMITS.zipEntries) {
    throw broken(source, null, `zip with ${end.count} members, the limit is ${LIMITS.zipEntries}`, 'LIMIT');
  }
  if (end.count * ENTRY_BYTES > end.size) {
    notice('entry-count', '', `the end record counts ${end.count} members, its directory has room for fewer`);
  }
  const start = end.position - end.size;
  const prefix = start - end.offset;
  if (start < 0 || prefix < 0) throw broken(source, end.offset, 'the zip directory runs into its end record');
  if (prefix > 0) {
    notice('prefix-bytes', '', `${prefix} bytes stand before the zip archive or between its directory and its end`);
  }
  const bytes =
    start >= tailStart
      ? tail.subarray(start - tailStart, end.position - tailStart)
      : await source.read(start, end.position);
  const entries = parseEntries(source, bytes, { start, prefix, count: end.count }, notice);
  settleRanges(source, entries, { start, prefix }, notice);
  return { entries, byName: settleNames(entries, notice), start, bytes };
}

async function findEnd(source: ByteSource, tail: Uint8Array, tailStart: number, notice: Noticing): Promise<End> {
  const view = viewOf(tail);
  const found: number[] = [];
  for (let at = tail.byteLength - END_BYTES; at >= 0; at -= 1) {
    if (tail[at] === 0x50 && view.getUint32(at, true) === END_SIGNATURE) found.push(at);
  }
  const [last, ...others] = found;
  if (last === undefined) {
    throw broken(source, null, 'no zip end record: the file is truncated or no zip', 'TRUNCATED');
  }
  // Readers search from the end, so the last record is the one they take.
  const at = last;
  const finish = at + END_BYTES + view.getUint16(at + 20, true);
  if (finish > tail.byteLength) throw broken(source, tailStart + at, 'the zip comment ends early', 'TRUNCATED');
  if (finish < tail.byteLength) {
    notice('trailing-bytes', '', `${tail.byteLength - finish} bytes follow the zip end record`);
  }
  const disk = view.getUint16(at + 4, true);
  const directoryDisk = view.getUint16(at + 6, true);
  const onDisk = view.getUint16(at + 8, true);
  const small = {
    count: view.getUint16(at + 10, true),
    size: view.getUint32(at + 12, true),
    offset: view.getUint32(at + 16, true),
  };
  const located = at >= LOCATOR_BYTES && view.getUint32(at - LOCATOR_BYTES, true) === LOCATOR_SIGNATURE;
  const record = located ? await readEnd64(source, view, at, tailStart, notice) : null;
  if ((disk !== 0 || directoryDisk !== 0) && !(located && disk === 0xffff && directoryDisk === 0xffff)) {
    throw broken(source, tailStart + at, `a zip of several parts (part ${disk})`, 'UNSUPPORTED');
  }
  if (!located && (small.size === 0xffffffff || small.offset === 0xffffffff)) {
    throw broken(source, tailStart + at, 'the zip64 end record is missing');
  }
  if (onDisk !== small.count) throw broken(source, tailStart + at, 'the zip end record gives two counts of members');
  if (record !== null) {
    const same = (narrow: number, sentinel: number, value: number): boolean => narrow === sentinel || narrow === value;
    if (
      !same(small.count, 0xffff, record.count) ||
      !same(small.size, 0xffffffff, record.size) ||
      !same(small.offset, 0xffffffff, record.offset)
    ) {
      throw broken(source, tailStart + at, 'the zip end record and the zip64 end record contradict each other');
    }
  }
  const end: End = record ?? { ...small, position: tailStart + at };
  for (const other of others) {
    const reaches = other + END_BYTES + view.getUint16(other + 20, true) === tail.byteLength;
    // Inside a member's data a record is only data (a zip in a zip), unless it closes an archive that starts at byte 0.
    const closes = view.getUint32(other + 12, true) + view.getUint32(other + 16, true) === tailStart + other;
    if (reaches || closes || tailStart + other >= end.position - end.size) {
      notice('ambiguous-end', '', `a second zip end record stands at byte ${tailStart + other}`);
    }
  }
  return end;
}

async function readEnd64(
  source: ByteSource,
  tailView: DataView,
  at: number,
  tailStart: number,
  notice: Noticing,
): Promise<End> {
  const locatorAt = tailStart + at - LOCATOR_BYTES;
  const offset = wide(source, tailView, at - LOCATOR_BYTES + 8, 'zip64 end record offset');
  const disks = tailView.getUint32(at - 4, true);
  if (tailView.getUint32(at - LOCATOR_BYTES + 4, true) !== 0 || disks > 1) {
    throw broken(source, locatorAt, `a zip of several parts (${disks})`, 'UNSUPPORTED');
  }
  // Bytes before the archive shift the record, so its plain place directly before the locator is tried as well.
  for (const position of new Set([offset, locatorAt - 56])) {
    if (position < 0 || position + 56 > locatorAt) continue;
    const view = viewOf(await source.read(position, position + 56));
    if (view.getUint32(0, true) !== END64_SIGNATURE) continue;
    if (position !== offset) {
      notice('prefix-bytes', '', `the zip64 end record stands at byte ${position}, its locator says ${offset}`);
    }
    const recordSize = wide(source, view, 4, 'zip64 end record size');
    if (position + 12 + recordSize !== locatorAt) {
      throw broken(source, position, 'the zip64 end record does not reach its locator');
    }
    if (view.getUint32(16, true) !== 0 || view.getUint32(20, true) !== 0) {
      throw broken(source, position, 'a zip of several parts', 'UNSUPPORTED');
    }
    const count = wide(source, view, 32, 'count of zip members');
    if (wide(source, view, 24, 'count of zip members') !== count) {
      throw broken(source, position, 'the zip64 end record gives two counts of members');
    }
    const size = wide(source, view, 40, 'zip directory size');
    return { count, size, offset: wide(source, view, 48, 'zip directory offset'), position };
  }
  throw broken(source, locatorAt, 'the zip64 locator does not point at a zip64 end record');
}

function parseEntries(
  source: ByteSource,
  bytes: Uint8Array,
  where: { readonly start: number; readonly prefix: number; readonly count: number },
  notice: Noticing,
): DirectoryEntry[] {
  const view = viewOf(bytes);
  const text = codec().latin1(bytes);
  const entries: DirectoryEntry[] = [];
  let at = 0;
  while (at < bytes.byteLength) {
    const place = where.start + at;
    if (at + ENTRY_BYTES > bytes.byteLength)
      throw broken(source, place, 'the zip directory ends inside an entry', 'TRUNCATED');
    if (view.getUint32(at, true) !== ENTRY_SIGNATURE) throw broken(source, place, 'no entry of a zip directory here');
    if (entries.length >= LIMITS.zipEntries) {
      throw broken(source, place, `zip with more than ${LIMITS.zipEntries} members`, 'LIMIT');
    }
    const nameLength = view.getUint16(at + 28, true);
    const extraLength = view.getUint16(at + 30, true);
    const next = at + ENTRY_BYTES + nameLength + extraLength + view.getUint16(at + 32, true);
    if (next > bytes.byteLength) throw broken(source, place, 'the zip directory ends inside an entry', 'TRUNCATED');
    if (nameLength > LIMITS.zipNameBytes) {
      throw broken(source, place, `a member name of ${nameLength} bytes, the limit is ${LIMITS.zipNameBytes}`, 'LIMIT');
    }
    const flags = view.getUint16(at + 8, true);
    const nameEnd = at + ENTRY_BYTES + nameLength;
    const name = isAscii(bytes, at + ENTRY_BYTES, nameEnd)
      ? text(at + ENTRY_BYTES, nameEnd)
      : decodeName(source, place, bytes.subarray(at + ENTRY_BYTES, nameEnd), (flags & 0x800) !== 0);
    const stored = {
      size: view.getUint32(at + 24, true),
      compressedSize: view.getUint32(at + 20, true),
      localOffset: view.getUint32(at + 42, true),
      disk: view.getUint16(at + 34, true),
    };
    const extra = extraLength === 0 ? NO_EXTRA : bytes.subarray(nameEnd, nameEnd + extraLength);
    const sizes = wideSizes(source, place, extra, stored);
    if (sizes === null) notice('bad-extra', name, 'an extra field of the zip directory runs past its area');
    const settled = sizes ?? stored;
    if (settled.disk !== 0) throw broken(source, place, `a member on part ${settled.disk} of a zip`, 'UNSUPPORTED');
    const entry: DirectoryEntry = {
      name,
      nameStart: at + ENTRY_BYTES,
      nameLength,
      method: view.getUint16(at + 10, true),
      flags,
      size: settled.size,
      compressedSize: settled.compressedSize,
      crc32: view.getUint32(at + 16, true),
      externalAttributes: view.getUint32(at + 38, true),
      localOffset: settled.localOffset + where.prefix,
      limit: 0,
      dataStart: -1,
    };
    judgeEntry(entry, extra, notice);
    entries.push(entry);
    at = next;
  }
  if (entries.length !== where.count) {
    notice('entry-count', '', `the end record counts ${where.count} members, the directory holds ${entries.length}`);
  }
  return entries;
}

interface Sizes {
  readonly size: number;
  readonly compressedSize: number;
  readonly localOffset: number;
  readonly disk: number;
}

/** Fields of 32 bits that stand for zip64 values are replaced. null: the extra area is damaged. */
function wideSizes(source: ByteSource, place: number, extra: Uint8Array, narrow: Sizes): Sizes | null {
  const wanted =
    narrow.size === 0xffffffff ||
    narrow.compressedSize === 0xffffffff ||
    narrow.localOffset === 0xffffffff ||
    narrow.disk === 0xffff;
  if (!wanted && extra.byteLength === 0) return narrow;
  const view = viewOf(extra);
  const fields = { ...narrow };
  let seen = false;
  for (let at = 0; at + 4 <= extra.byteLength; ) {
    const id = view.getUint16(at, true);
    const from = at + 4;
    const to = from + view.getUint16(at + 2, true);
    if (to > extra.byteLength) {
      if (wanted && !seen) break;
      return null;
    }
    if (id === 1 && wanted && !seen) {
      seen = true;
      let cursor = from;
      for (const key of ['size', 'compressedSize', 'localOffset'] as const) {
        if (narrow[key] !== 0xffffffff) continue;
        if (cursor + 8 > to) throw broken(source, place, `the zip64 extra field does not hold the ${WORDS[key]}`);
        fields[key] = wide(source, view, cursor, WORDS[key]);
        cursor += 8;
      }
      if (narrow.disk === 0xffff) {
        if (cursor + 4 > to) throw broken(source, place, 'the zip64 extra field does not hold the disk number');
        fields.disk = view.getUint32(cursor, true);
      }
    }
    at = to;
  }
  if (wanted && !seen) throw broken(source, place, 'the zip64 extra field is missing');
  return fields;
}

const WORDS = { size: 'size', compressedSize: 'stored size', localOffset: 'member offset' } as const;

/** What can be said of one entry from the directory alone. */
function judgeEntry(entry: DirectoryEntry, extra: Uint8Array, notice: Noticing): void {
  const { name, method, flags } = entry;
  const type = (entry.externalAttributes >>> 28) & 0xf;
  if (type !== 0 && type !== 0x8 && type !== 0x4) {
    notice('special-file', name, 'a symbolic link or device, not a file');
  }
  if ((flags & 0x1) !== 0 && (method === 99 || (method === 0 && entry.compressedSize !== entry.size))) {
    notice('encrypted', name, 'the member is encrypted');
  } else if ((flags & FORBIDDEN_FLAGS) !== 0) {
    notice('flag-bits', name, `encrypted or patched flag set (0x${(flags & FORBIDDEN_FLAGS).toString(16)})`);
  }
  if (method !== 0 && method !== 8) {
    notice('method', name, `compression method ${method} is not read`);
  } else if (method === 0 && entry.compressedSize !== entry.size && (flags & 0x1) === 0) {
    notice('size-mismatch', name, `a stored member with two sizes, ${entry.compressedSize} and ${entry.size}`);
  }
  if (isUnsafeName(name)) notice('unsafe-name', name, 'the member name leaves its folder or holds a NUL');
  const other = unicodePath(extra);
  if (other !== null && other !== name) notice('unicode-path', name, `an extra field calls the member '${other}'`);
}

function isUnsafeName(name: string): boolean {
  if (name === '' || name.includes('\0') || /^[/\\]|^[A-Za-z]:/.test(name)) return true;
  return name.includes('..') && name.split(/[/\\]/).includes('..');
}

/** The name in an Info-ZIP Unicode Path field (0x7075), null without one. */
function unicodePath(extra: Uint8Array): string | null {
  if (extra.byteLength === 0) return null;
  const view = viewOf(extra);
  for (let at = 0; at + 4 <= extra.byteLength; ) {
    const to = at + 4 + view.getUint16(at + 2, true);
    if (view.getUint16(at, true) === 0x7075 && to <= extra.byteLength && to - at > 9) {
      return new TextDecoder('utf-8', { ignoreBOM: true }).decode(extra.subarray(at + 9, to));
    }
    at = to;
  }
  return null;
}

/** Where each member's bytes may reach; members outside the data area throw, overlaps and holes are noticed. */
function settleRanges(
  source: ByteSource,
  entries: readonly DirectoryEntry[],
  where: { readonly start: number; readonly prefix: number },
  notice: Noticing,
): void {
  const sorted = entries.toSorted((a, b) => a.localOffset - b.localOffset);
  let index = 0;
  for (const entry of sorted) {
    index += 1;
    entry.limit = sorted[index]?.localOffset ?? where.start;
    const needed = entry.localOffset + LOCAL_BYTES + entry.nameLength + entry.compressedSize;
    if (needed > where.start) {
      throw broken(source, entry.localOffset, `member '${entry.name}' runs past the data of the zip`);
    }
    if (needed > entry.limit) {
      notice('overlap', entry.name, 'the member overlaps the one after it');
      entry.limit = where.start;
    } else if (entry.limit - needed > MOST_UNSEEN) {
      notice('gap-bytes', entry.name, `${entry.limit - needed} bytes after the member belong to no member`);
    }
  }
  const first = sorted[0]?.localOffset ?? where.start;
  if (first > where.prefix) notice('prefix-bytes', '', `${first - where.prefix} bytes stand before the first member`);
}

/** Names have to be unique, also to a file system that ignores case, composition and stray dots. */
function settleNames(entries: readonly DirectoryEntry[], notice: Noticing): ReadonlyMap<string, DirectoryEntry> {
  const byName = new Map<string, DirectoryEntry>();
  // Plain names are their own canonical form; only the others need a second index.
  const byForm = new Map<string, string>();
  for (const entry of entries) {
    const { name } = entry;
    const before = byName.size;
    if (byName.set(name, entry).size === before) {
      notice('duplicate-name', name, 'two members of one name');
      continue;
    }
    const form = canonicalName(name);
    const twin = byForm.get(form) ?? (form !== name && byName.has(form) ? form : undefined);
    if (twin !== undefined) notice('canonical-twin', name, `and '${twin}' differ in spelling alone`);
    if (form !== name) byForm.set(form, name);
  }
  return byName;
}

function canonicalName(name: string): string {
  // Plain names, the usual ones, are their own canonical form.
  if (/^[a-z0-9_-]+(?:[/.][a-z0-9_-]+)*$/.test(name)) return name;
  return name
    .normalize('NFC')
    .toLowerCase()
    .split(/[/\\]/)
    .map((part) => part.replace(/[. ]+$/, ''))
    .filter((part) => part !== '')
    .join('/');
}

/** Code page 437, upper half: what names without the UTF-8 flag are in. */
const CP437 =
  'ÇüéâäàåçêëèïîìÄÅÉæÆôöòûùÿÖÜ¢£¥₧ƒáíóúñÑªº¿⌐¬½¼¡«»░▒▓│┤╡╢╖╕╣║╗╝╜╛┐└┴┬├─┼╞╟╚╔╩╦╠═╬╧╨╤╥╙╘╒╓╫╪┘┌█▄▌▐▀αßΓπΣσµτΦΘΩδ∞φε∩≡±≥≤⌠⌡÷≈°∙·√ⁿ²■\u00a0';

function isAscii(bytes: Uint8Array, start: number, end: number): boolean {
  for (let at = start; at < end; at += 1) if ((bytes[at] ?? 0) > 127) return false;
  return true;
}

/** A name that is not plain ASCII. */
function decodeName(source: ByteSource, place: number, raw: Uint8Array, utf8: boolean): string {
  if (!utf8)
    return Array.from(raw, (code) => (code < 0x80 ? String.fromCharCode(code) : CP437.charAt(code - 0x80))).join('');
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(raw);
  } catch {
    throw broken(source, place, 'a member name is not valid UTF-8');
  }
}
