import { nameContent } from '../bytes/sniff.ts';
import { readHeader } from '../formats/safetensors/header.ts';
import { OPCODE_NAMES } from '../formats/torch/opcodes.ts';
import { isBnsumError } from '../ir/error.ts';
import { LIMITS } from '../ir/limits.ts';
import { type Bench, type Content, MOST_ARCHIVES, type PartTaker } from './context.ts';
import type { AuditRule } from './finding.ts';
import { judgeHdf5 } from './hdf5.ts';
import { isJsonText } from './json-scan.ts';
import { judgeBrokenJson, judgeJson, TEXT_BYTES } from './json-text.ts';
import { findCalls, type Search, scanForPickles } from './nested.ts';
import { isNpy, judgeNpy } from './npy.ts';
import { isOnnx, judgeOnnx } from './onnx.ts';
import { SCAN_BYTES } from './pickle.ts';
import { findReadings, isCovered, type Reading, TAIL_BYTES } from './readings.ts';
import { judgeTar } from './tar.ts';
import { judgePickleFile } from './torch-legacy.ts';
import { judgeZip } from './zip.ts';

const HEAD_BYTES = 4_096;

/** Kinds told by their first bytes that are never opened here. */
const CLOSED: readonly (readonly [offset: number, bytes: string, kind: string])[] = [
  [0, '7z\xbc\xaf\x27\x1c', '7-Zip archive'],
  [0, 'Rar!\x1a\x07', 'RAR archive'],
  [0, '\x1f\x8b', 'gzip file'],
  [0, '\xfd7zXZ\x00', 'xz file'],
  [0, 'BZh', 'bzip2 file'],
  [0, '\x28\xb5\x2f\xfd', 'Zstandard file'],
  [0, '\x04\x22\x4d\x18', 'LZ4 file'],
  [0, '\x5d\x00\x00', 'LZMA file'],
  [0, 'MSCF', 'cabinet archive'],
  [0, 'xar!', 'xar archive'],
  [0, '!<arch>\n', 'ar archive'],
  [0, 'GGUF', 'GGUF file'],
  [0, 'GGML', 'GGML file'],
  [0, 'SQLite format 3\x00', 'SQLite database'],
  [0, '%PDF-', 'PDF document'],
  [4, 'PTMF', 'PyTorch mobile file'],
  [4, 'TFL3', 'TensorFlow Lite model'],
];

const NATIVE: readonly (readonly [bytes: string, kind: string])[] = [
  ['\x7fELF', 'ELF program or library'],
  ['MZ', 'Windows program or library'],
  ['\xfe\xed\xfa\xce', 'Mach-O program or library'],
  ['\xfe\xed\xfa\xcf', 'Mach-O program or library'],
  ['\xcf\xfa\xed\xfe', 'Mach-O program or library'],
  ['\xce\xfa\xed\xfe', 'Mach-O program or library'],
  ['\xca\xfe\xba\xbe', 'Mach-O or Java program'],
  ['#!', 'script'],
];

/** Names of what is no text: pickles, models, archives. */
const BINARY_NAME =
  /\.(?:pkl|pickle|pk|pck|pcl|dill|pt|pth|pt2|bin|ckpt|joblib|dat|p|model|t7|tar|zip|h5|hdf5|keras|np[yz]|safetensors|onnx|pb|tflite)$/i;

function latin1(bytes: Uint8Array): string {
  return new TextDecoder('latin1').decode(bytes);
}

/** Judges one content by what it is. Throws BnsumError only for trouble of the system. */
export async function judgeContent(content: Content, bench: Bench): Promise<string> {
  const { source, member, depth } = content;
  if (depth > LIMITS.auditDepth) {
    const detail = `parts nest deeper than ${LIMITS.auditDepth}`;
    bench.ledger.add({ level: 'suspicious', rule: 'LIMIT', member, detail });
    bench.ledger.miss(source.size);
    return 'unknown';
  }
  return guarded(content, bench, () => dispatch(content, bench));
}

type Place = Pick<Content, 'source' | 'member'>;

/** What a judge refuses is a finding. */
async function guarded({ source, member }: Place, { ledger }: Bench, judge: () => Promise<string>): Promise<string> {
  try {
    return await judge();
  } catch (error) {
    if (!isBnsumError(error) || error.code === 'INTERNAL' || error.code === 'IO') throw error;
    const rule: AuditRule = error.code === 'LIMIT' ? 'LIMIT' : 'UNREADABLE';
    const place = error.place === undefined ? '' : `${error.place}: `;
    ledger.add({ level: 'suspicious', rule, member, detail: `${place}${error.reason}` });
    ledger.miss(source.size);
    return 'damaged';
  }
}

/**
 * Readers do not agree where a file begins: a file may be one thing for this and another for that. It is judged as what it
 * begins with, and then as whatever else it is.
 */
async function dispatch(content: Content, bench: Bench): Promise<string> {
  const { source } = content;
  if (source.size === 0) return 'empty';
  const head = await source.read(0, Math.min(HEAD_BYTES, source.size));
  const tail = await source.read(Math.max(0, source.size - TAIL_BYTES), source.size);
  const readings = await findReadings(content, head, tail);
  const first: First = { ...content, head, tail, text: latin1(head), readings, taken: new Set() };
  const kind = await guarded(content, bench, () => judgeFirst(first, bench));
  for (const reading of readings) {
    if (first.taken.has(reading)) continue;
    await judgeBeside(content, bench, kind, reading.kind, () => judgeReading(content, bench, reading));
  }
  if (kind !== 'ONNX' && kind !== 'text' && (await isOnnx(content)) !== 'no') {
    await judgeBeside(content, bench, kind, 'ONNX', () => judgeOnnx(content, bench));
  }
  return kind;
}

/** A content with what was found out before it is judged by its beginning. */
interface First extends Content {
  readonly head: Uint8Array;
  readonly tail: Uint8Array;
  /** The head as text, a character a byte. */
  readonly text: string;
  readonly readings: readonly Reading[];
  /** Readings that need no more judging: what the file begins with, and what is a whole part of it. */
  readonly taken: Set<Reading>;
}

/** Judges a content as something else than what it begins with. */
async function judgeBeside(
  content: Place,
  bench: Bench,
  kind: string,
  other: string,
  judge: () => Promise<string>,
): Promise<void> {
  const { source, member } = content;
  const { ledger } = bench;
  ledger.add({ level: 'suspicious', rule: 'TWO_FORMATS', member, detail: `${kind}, ${other}` });
  bench.budget.readings -= 1;
  if (bench.budget.readings < 0) {
    const detail = `more than ${LIMITS.auditReadings} parts that are two formats`;
    ledger.add({ level: 'suspicious', rule: 'LIMIT', member, detail });
    ledger.miss(source.size);
    return;
  }
  await guarded(content, bench, judge);
}

async function judgeReading(content: Content, bench: Bench, reading: Reading): Promise<string> {
  if (reading.kind === 'HDF5') return judgeHdf5(content, bench, { alone: false });
  return judgeArchive(content, bench, reading.kind === 'zip' ? judgeZip : judgeTar);
}

type JudgeArchive = (content: Content, bench: Bench, part?: PartTaker) => Promise<string>;

async function judgeArchive(content: Content, bench: Bench, judge: JudgeArchive, part?: PartTaker): Promise<string> {
  if (content.depth <= MOST_ARCHIVES) return judge(content, bench, part);
  bench.ledger.add({ level: 'suspicious', rule: 'NESTED_ARCHIVE', member: content.member });
  bench.ledger.miss(content.source.size);
  return 'archive';
}

/** Judges a content by its first bytes. */
async function judgeFirst(first: First, bench: Bench): Promise<string> {
  const { text, readings, taken } = first;
  const own = (kind: Reading['kind']): boolean => {
    const reading = readings.find((one) => one.kind === kind);
    if (reading !== undefined) taken.add(reading);
    return reading !== undefined;
  };
  // A member that begins where a reading does and holds all of it is judged as that anyway: a model in a tar.
  const part: PartTaker = (from, to) => {
    for (const reading of readings) if (isCovered(reading, from, to)) taken.add(reading);
  };
  if (text.startsWith('PK\x03\x04') || text.startsWith('PK\x05\x06')) {
    own('zip');
    return judgeArchive(first, bench, judgeZip, part);
  }
  if (own('tar')) {
    await alsoPickle(first, bench, 'tar');
    return judgeArchive(first, bench, judgeTar, part);
  }
  return judgePlain(first, bench, () => own('HDF5'));
}

/** A file of another format whose first bytes are opcodes as well: an unpickler takes it for what it wants. */
async function alsoPickle(content: Content, bench: Bench, kind: string): Promise<void> {
  if ((await judgePickleFile(content, bench, true)) === undefined) return;
  bench.ledger.add({ level: 'suspicious', rule: 'TWO_FORMATS', member: content.member, detail: `${kind}, pickle` });
}

async function judgePlain(first: First, bench: Bench, ownHdf5: () => boolean): Promise<string> {
  const { source, member, text, head } = first;
  const { ledger } = bench;
  const closed = CLOSED.find(([offset, bytes]) => text.startsWith(bytes, offset));
  if (closed !== undefined) {
    await alsoPickle(first, bench, closed[2]);
    ledger.add({ level: 'suspicious', rule: 'NOT_OPENED', member, detail: closed[2] });
    ledger.miss(source.size);
    await scan(first, bench);
    return closed[2];
  }
  const native = NATIVE.find(([bytes]) => text.startsWith(bytes));
  if (native !== undefined && isNative(native, text)) {
    await alsoPickle(first, bench, native[1]);
    const level = /(?:^|\/)aotinductor\/|\.(?:so|pyd|dll|dylib)$/.test(member) ? 'dangerous' : 'suspicious';
    ledger.add({ level, rule: 'NATIVE_CODE', member, detail: native[1] });
    ledger.miss(source.size);
    return native[1];
  }
  if (isNpy(head)) return judgeNpy(first, bench);
  if (isSafetensors(head, source.size)) {
    await alsoPickle(first, bench, 'safetensors');
    await readHeader(source);
    return 'safetensors';
  }
  if (ownHdf5()) {
    await alsoPickle(first, bench, 'HDF5');
    return judgeHdf5(first, bench);
  }
  const pickle = await judgePickleFile(first, bench);
  if (pickle !== undefined) return pickle;
  if ((await isOnnx(first)) === 'yes') return judgeOnnx(first, bench);
  return judgeRest(first, bench);
}

/** Two letters alone say little: a program has more behind them. */
function isNative([bytes]: readonly [string, string], text: string): boolean {
  if (bytes === 'MZ') return text.length > 64 && /[\x00-\x08]/.test(text.slice(0, 64));
  if (bytes === '#!') return /^#!\s*\/?[\w/. -]+/.test(text);
  return true;
}

function isSafetensors(head: Uint8Array, size: number): boolean {
  if (head.length < 9 || head[8] !== 0x7b) return false;
  const length = new DataView(head.buffer, head.byteOffset, 8).getBigUint64(0, true);
  return length > 1n && length < BigInt(Math.max(size, 2)) * 16n && head[7] === 0 && head[6] === 0;
}

/** Text, and whatever is not known: text does nothing, the rest could be anything. */
async function judgeRest(content: First, bench: Bench): Promise<string> {
  const { source, member, name, head, tail } = content;
  const { ledger } = bench;
  const probe = { head, tail, size: source.size, name };
  if (await isTextThroughout(content)) {
    const start = await firstOfText(content);
    if (start === 0x7b || start === 0x5b) {
      if (/json$/i.test(name) || (await isJsonText(source))) return judgeJson(content, bench);
      await judgeBrokenJson(content, bench);
    }
    await judgeTextCalls(content, bench, head);
    if (/\.pyw?$/i.test(name)) {
      ledger.add({ level: 'suspicious', rule: 'PYTHON_SOURCE', member });
      return 'Python source';
    }
    if (BINARY_NAME.test(name) || /\.json$/i.test(name)) {
      ledger.add({ level: 'suspicious', rule: 'OTHER_CONTENT', member, detail: nameContent(probe) ?? 'a text' });
    }
    return 'text';
  }
  ledger.add({ level: 'suspicious', rule: 'UNKNOWN_CONTENT', member, detail: nameContent(probe) ?? '' });
  ledger.miss(source.size);
  await scan(content, bench);
  return 'unknown';
}

/** The first byte of a text that is neither white space nor a byte order mark. */
async function firstOfText({ source }: Content): Promise<number | undefined> {
  for (let at = 0; at < source.size; at += HEAD_BYTES) {
    const bytes = await source.read(at, Math.min(source.size, at + HEAD_BYTES));
    const isMarked = at === 0 && bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf;
    const first = bytes.subarray(isMarked ? 3 : 0).find((byte) => byte > 0x20);
    if (first !== undefined) return first;
  }
  return undefined;
}

/**
 * A text that is no pickle for us: where it begins with an opcode, whatever calls a dangerous name in it is named all the
 * same. In a tutorial it is an example, in a file with the name of a model it is more.
 */
async function judgeTextCalls(content: Content, bench: Bench, head: Uint8Array): Promise<void> {
  const { source, member, name } = content;
  if (!OPCODE_NAMES.has(head[0] ?? 0)) return;
  const level = BINARY_NAME.test(name) ? 'dangerous' : 'suspicious';
  const search: Search = { candidates: 0, walked: 0, reported: new Set() };
  for (let at = 0; at < source.size; at += SCAN_BYTES - SCAN_OVERLAP) {
    const bytes = await source.read(at, Math.min(source.size, at + SCAN_BYTES));
    const found = findCalls(bytes, { ledger: bench.ledger, member, base: at }, search, level);
    if (found === undefined) continue;
    bench.ledger.miss(source.size - at - found);
    return;
  }
}

/** What a call may need, where two readings of a text meet. */
const SCAN_OVERLAP = 1024 * 1024;

async function scan(content: Content, bench: Bench): Promise<void> {
  const { source, member, name } = content;
  const bytes = await source.read(0, Math.min(source.size, SCAN_BYTES));
  scanForPickles(bytes, { ledger: bench.ledger, member, base: 0 }, BINARY_NAME.test(name));
}

/** Texts up to TEXT_BYTES are read through; a longer one would be a data set. */
async function isTextThroughout({ source }: Content): Promise<boolean> {
  if (source.size > TEXT_BYTES) return false;
  const decoder = new TextDecoder('utf-8', { fatal: true });
  try {
    for (let at = 0; at < source.size; at += 1 << 22) {
      const bytes = await source.read(at, Math.min(source.size, at + (1 << 22)));
      if (bytes.some((byte) => byte < 0x20 && byte !== 9 && byte !== 10 && byte !== 12 && byte !== 13)) return false;
      decoder.decode(bytes, { stream: true });
    }
    decoder.decode();
    return true;
  } catch (error) {
    if (error instanceof TypeError) return false;
    throw error;
  }
}
