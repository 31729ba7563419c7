import type { ByteSource } from '../bytes/source.ts';
import { BnsumError } from '../ir/error.ts';
import { LIMITS } from '../ir/limits.ts';

const BLOCK = 512;
/** Sizes from here on have no room in the eleven octal digits of a header, so that a pax record states them. */
const WIDE_SIZE = 8 ** 11;

export interface TarMember {
  /** As Python's tarfile names it. */
  readonly name: string;
  /** A name that leads out of the folder, among all that some reader may give it, the target of a link included. */
  readonly unsafe: string | undefined;
  /** '0' a file, '5' a directory …; an old file whose name ends with a slash is a directory. */
  readonly type: string;
  readonly from: number;
  /** Bytes that belong to it: none of a directory or link, whatever its header says. */
  readonly size: number;
  /** On what tar readers disagree. */
  readonly oddities: readonly string[];
  /** Whether other bytes than these may be what a reader extracts. */
  readonly isDoubtful: boolean;
}

export function tarFailure(source: ByteSource, at: number, reason: string): BnsumError {
  return new BnsumError({ code: 'MALFORMED', file: source.label, place: `@${at}`, reason });
}

/** Whether Python's tarfile, which opens whatever begins with a header of the right checksum, takes this for a tar. */
export function isTarHeader(head: Uint8Array): boolean {
  if (head.length < BLOCK) return false;
  const header = parseHeader(head.subarray(0, BLOCK));
  // An empty field is a checksum of 0, which signed bytes may sum up to by chance.
  return header !== undefined && (header.hasNumbers || header.checksum !== 0);
}

interface Header {
  readonly checksum: number;
  /** Only the sum of signed bytes fits, as some old writers made it; most readers refuse that. */
  readonly isSigned: boolean;
  /** Whether the other numbers are numbers, as Python demands. */
  readonly hasNumbers: boolean;
  readonly size: number;
  readonly type: string;
  readonly short: string;
  readonly prefix: string;
  readonly isUstar: boolean;
  readonly link: string;
}

function textAt(block: Uint8Array, start: number, length: number): string {
  return untilNul(block.subarray(start, start + length));
}

function untilNul(field: Uint8Array): string {
  const end = field.indexOf(0);
  return new TextDecoder().decode(end < 0 ? field : field.subarray(0, end));
}

/** A number field as tarfile.nti reads it: base 256, or what int(text, 8) takes; undefined for what it refuses. */
function numberAt(block: Uint8Array, start: number, length: number): number | undefined {
  const first = block[start] ?? 0;
  if (first === 0x80 || first === 0xff) {
    let value = 0;
    for (let at = start + 1; at < start + length; at += 1) value = value * 256 + (block[at] ?? 0);
    return first === 0x80 ? value : value - 256 ** (length - 1);
  }
  const text = textAt(block, start, length).replace(/^[\s\x1c-\x1f]+|[\s\x1c-\x1f]+$/g, '');
  if (text === '') return 0;
  const digits = /^([+-]?)(?:0[oO]_?)?([0-7](?:_?[0-7]){0,11})$/.exec(text);
  if (digits === null) return undefined;
  const value = Number.parseInt((digits[2] ?? '').replaceAll('_', ''), 8);
  return digits[1] === '-' ? -value : value;
}

function parseHeader(block: Uint8Array): Header | undefined {
  const checksum = numberAt(block, 148, 8);
  const size = numberAt(block, 124, 12);
  if (checksum === undefined || size === undefined) return undefined;
  // Both sums count the checksum's own field as spaces.
  let unsigned = 8 * 32;
  let signed = 8 * 32;
  for (let at = 0; at < BLOCK; at += 1) {
    if (at >= 148 && at < 156) continue;
    const byte = block[at] ?? 0;
    unsigned += byte;
    signed += byte > 127 ? byte - 256 : byte;
  }
  if (checksum !== unsigned && checksum !== signed) return undefined;
  const code = block[156] ?? 0;
  const short = textAt(block, 0, 100);
  const letter = code === 0 ? '0' : String.fromCharCode(code);
  return {
    checksum,
    isSigned: checksum !== unsigned,
    hasNumbers:
      [100, 108, 116, 329, 337].every((at) => numberAt(block, at, 8) !== undefined) &&
      numberAt(block, 136, 12) !== undefined,
    size,
    type: code === 0 && short.endsWith('/') ? '5' : letter,
    short,
    prefix: textAt(block, 345, 155),
    isUstar: textAt(block, 257, 6) === 'ustar',
    link: textAt(block, 157, 100),
  };
}

/** What the headers before a member say of it. */
interface Pending {
  longName: string | undefined;
  longLink: string | undefined;
  pax: Map<string, string> | undefined;
  readonly names: string[];
  readonly oddities: string[];
  isDoubtful: boolean;
  headers: number;
}

function makePending(): Pending {
  return {
    longName: undefined,
    longLink: undefined,
    pax: undefined,
    names: [],
    oddities: [],
    isDoubtful: false,
    headers: 0,
  };
}

/** Headers before one member, all of which are held: a writer has a long name, a long link and pax records. */
const MOST_HEADERS = 16;

/** Keys of pax records that change which bytes a member has or where it goes. */
function isSparseKey(key: string): boolean {
  return key.startsWith('GNU.sparse.');
}

/**
 * Members one after another, where Python's tarfile finds them; gives where the archive ends. Throws BnsumError where the
 * tar breaks.
 */
export async function* readMembers(source: ByteSource): AsyncGenerator<TarMember, number> {
  let at = 0;
  let pending = makePending();
  for (let count = 0; at + BLOCK <= source.size; count += 1) {
    if (count > LIMITS.zipEntries) throw tarFailure(source, at, `more than ${LIMITS.zipEntries} members`);
    const block = await source.read(at, at + BLOCK);
    if (block.every((byte) => byte === 0)) break;
    const header = parseHeader(block);
    if (header === undefined || header.size < 0) throw tarFailure(source, at, 'a broken tar header');
    let from = at + BLOCK;
    if (header.isSigned) pending.oddities.push('a checksum of signed bytes');
    if (!header.hasNumbers) {
      pending.oddities.push('a number that is none');
      pending.isDoubtful = true;
    }
    if ('LKxXg'.includes(header.type)) {
      pending.headers += 1;
      if (pending.headers > MOST_HEADERS)
        throw tarFailure(source, at, `more than ${MOST_HEADERS} headers of one member`);
      await readAhead(source, from, header, pending);
      at = from + blocksOf(header.size);
      continue;
    }
    if (header.type === 'S') from = await behindSparse(source, from, block);
    const member = memberOf(header, from, pending);
    if (from + member.size > source.size) {
      throw tarFailure(source, from, `a member of ${member.size} bytes, the file ends before`);
    }
    yield member;
    at = from + blocksOf(member.size);
    pending = makePending();
  }
  if (pending.headers > 0) throw tarFailure(source, at, 'the tar ends behind a header of a member that is not there');
  return Math.min(at, source.size);
}

function blocksOf(size: number): number {
  return Math.ceil(size / BLOCK) * BLOCK;
}

/** Blocks of GNU's old sparse form that go on with the map of the file. */
async function behindSparse(source: ByteSource, start: number, block: Uint8Array): Promise<number> {
  let from = start;
  for (let more = block[482] !== 0; more; from += BLOCK) {
    if (from + BLOCK > source.size) throw tarFailure(source, from, 'a sparse map, the file ends before');
    more = (await source.read(from + 504, from + 505))[0] !== 0;
  }
  return from;
}

/** A header for the member behind it: a long name of GNU's, or pax records. */
async function readAhead(source: ByteSource, from: number, header: Header, pending: Pending): Promise<void> {
  const { size, type } = header;
  if (size > LIMITS.tarHeaderBytes) throw tarFailure(source, from, `a header of ${size} bytes`);
  const end = from + blocksOf(size);
  if (end > source.size) throw tarFailure(source, from, `a header of ${size} bytes, the file ends before`);
  const bytes = await source.read(from, end);
  if (bytes.subarray(size).some((byte) => byte !== 0)) pending.oddities.push('bytes behind the end of a header');
  if (type === 'L' || type === 'K') {
    const text = untilNul(bytes);
    pending.names.push(text);
    const key = type === 'L' ? 'longName' : 'longLink';
    if (pending[key] !== undefined) pending.oddities.push('two headers of one kind');
    // The first is applied last.
    pending[key] ??= text;
    return;
  }
  const records = readRecords(bytes, size, pending);
  for (const [key, value] of records) {
    if (key === 'path' || key === 'linkpath' || key === 'GNU.sparse.name') pending.names.push(value);
    if (type !== 'g') continue;
    if (key === 'path' || key === 'linkpath' || key === 'size' || isSparseKey(key)) {
      pending.oddities.push(`${key} for all members`);
      pending.isDoubtful = true;
    }
  }
  if (type === 'g') return;
  if (pending.pax !== undefined) pending.oddities.push('two headers of one kind');
  pending.pax = new Map([...records, ...(pending.pax ?? [])]);
}

/** Records `length key=value\n`, each as long as it says; of two with one key the last counts. */
function readRecords(bytes: Uint8Array, size: number, pending: Pending): Map<string, string> {
  const records = new Map<string, string>();
  const decoder = new TextDecoder();
  const odd = (detail: string): void => {
    pending.oddities.push(detail);
    pending.isDoubtful = true;
  };
  let at = 0;
  while (at < size) {
    const space = bytes.indexOf(0x20, at);
    const digits = space < 0 || space - at > 10 ? '' : decoder.decode(bytes.subarray(at, space));
    const end = at + Number(digits);
    const equals = bytes.indexOf(0x3d, space);
    if (!/^[1-9]\d*$/.test(digits) || end > size || equals <= space + 1 || equals >= end || bytes[end - 1] !== 0x0a) {
      odd('a pax header that is none');
      break;
    }
    const key = decoder.decode(bytes.subarray(space + 1, equals));
    if (records.has(key)) pending.oddities.push(`${key} stands twice`);
    if (isSparseKey(key)) odd('a sparse file');
    records.set(key, decoder.decode(bytes.subarray(equals + 1, end - 1)));
    at = end;
  }
  return records;
}

/** Types whose header is followed by bytes of the member; Python takes those that it does not know for files. */
function hasBytes(type: string): boolean {
  return !'123456'.includes(type);
}

const NONE: readonly string[] = [];

function isUnsafe(name: string): boolean {
  return name.includes('\0') || /^[/\\]|^[A-Za-z]:/.test(name) || name.split(/[/\\]/).includes('..');
}

function memberOf(header: Header, from: number, pending: Pending): TarMember {
  const { type, short, prefix } = header;
  const { pax } = pending;
  const oddities = [...pending.oddities];
  let { isDoubtful } = pending;
  const plain = prefix === '' || type === 'S' ? short : `${prefix}/${short}`;
  if (prefix !== '' && !header.isUstar) oddities.push('a prefix that only some readers put before the name');
  const path = pax?.get('path');
  if (pending.longName !== undefined && path !== undefined) oddities.push('two long names');
  const name = pax?.get('GNU.sparse.name') ?? pending.longName ?? path ?? plain;
  let { size } = header;
  const stated = pax?.get('size');
  if (stated !== undefined) {
    const wide = /^\d{1,16}$/.test(stated) ? Number(stated) : undefined;
    if (wide === undefined || (wide !== size && wide < WIDE_SIZE)) {
      oddities.push(`two sizes, ${size} and ${stated.slice(0, 40)}`);
      isDoubtful = true;
    }
    size = wide ?? size;
  }
  if (!hasBytes(type) && size > 0) {
    oddities.push(`${size} bytes of a member that has none`);
    isDoubtful = true;
    size = 0;
  }
  const links = type === '1' || type === '2' ? [header.link] : [];
  const unsafe = [name, plain, ...links, ...pending.names].find(isUnsafe);
  return { name, unsafe, type, from, size, oddities: oddities.length === 0 ? NONE : oddities, isDoubtful };
}
