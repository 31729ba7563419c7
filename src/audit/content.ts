import { nameContent } from '../bytes/sniff.ts';
import { findSuperblock } from '../formats/keras/hdf5-open.ts';
import { readHeader } from '../formats/safetensors/header.ts';
import { OPCODE_NAMES } from '../formats/torch/opcodes.ts';
import { isBnsumError } from '../ir/error.ts';
import { type Bench, type Content, MOST_ARCHIVES } from './context.ts';
import type { AuditRule } from './finding.ts';
import { judgeHdf5 } from './hdf5.ts';
import { isJsonText } from './json-scan.ts';
import { judgeBrokenJson, judgeJson, TEXT_BYTES } from './json-text.ts';
import { findCalls, type Search, scanForPickles } from './nested.ts';
import { isNpy, judgeNpy } from './npy.ts';
import { isOnnx, judgeOnnx } from './onnx.ts';
import { SCAN_BYTES } from './pickle.ts';
import { judgeTar } from './tar.ts';
import { isTarHeader } from './tar-members.ts';
import { judgePickleFile } from './torch-legacy.ts';
import { judgeZip } from './zip.ts';

const HEAD_BYTES = 4_096;
const TAIL_BYTES = 66_000;

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
  const { source, member } = content;
  const { ledger } = bench;
  try {
    return await dispatch(content, bench);
  } catch (error) {
    if (!isBnsumError(error) || error.code === 'INTERNAL' || error.code === 'IO') throw error;
    const rule: AuditRule = error.code === 'LIMIT' ? 'LIMIT' : 'UNREADABLE';
    const place = error.place === undefined ? '' : `${error.place}: `;
    ledger.add({ level: 'suspicious', rule, member, detail: `${place}${error.reason}` });
    ledger.miss(source.size);
    return 'damaged';
  }
}

async function dispatch(content: Content, bench: Bench): Promise<string> {
  const { source, member, depth } = content;
  const { ledger } = bench;
  if (source.size === 0) return 'empty';
  const head = await source.read(0, Math.min(HEAD_BYTES, source.size));
  const text = latin1(head);
  const isArchiveTooDeep = depth > MOST_ARCHIVES;

  const isZip = text.startsWith('PK\x03\x04') || text.startsWith('PK\x05\x06');
  const archive = isZip ? judgeZip : isTarHeader(head) ? judgeTar : undefined;
  if (archive !== undefined) {
    if (!isZip) await alsoPickle(content, bench, 'tar');
    if (isArchiveTooDeep) {
      ledger.add({ level: 'suspicious', rule: 'NESTED_ARCHIVE', member });
      ledger.miss(source.size);
      return 'archive';
    }
    return archive(content, bench);
  }
  // Zip readers start at the end, others at the start: such a file is two.
  const tail = await source.read(Math.max(0, source.size - TAIL_BYTES), source.size);
  const hidden = latin1(tail).includes('PK\x05\x06') && latin1(tail).includes('PK\x01\x02');
  const kind = await dispatchPlain(content, bench, head, text, tail);
  if (hidden && !isArchiveTooDeep && kind !== 'HDF5' && kind !== 'safetensors') {
    ledger.add({ level: 'suspicious', rule: 'TWO_FORMATS', member, detail: `${kind}, zip` });
    await judgeZip(content, bench);
  }
  return kind;
}

/** A file of another format whose first bytes are opcodes as well: an unpickler takes it for what it wants. */
async function alsoPickle(content: Content, bench: Bench, kind: string): Promise<void> {
  if ((await judgePickleFile(content, bench, true)) === undefined) return;
  bench.ledger.add({ level: 'suspicious', rule: 'TWO_FORMATS', member: content.member, detail: `${kind}, pickle` });
}

async function dispatchPlain(
  content: Content,
  bench: Bench,
  head: Uint8Array,
  text: string,
  tail: Uint8Array,
): Promise<string> {
  const { source, member, name } = content;
  const { ledger } = bench;
  const closed = CLOSED.find(([offset, bytes]) => text.startsWith(bytes, offset));
  if (closed !== undefined) {
    await alsoPickle(content, bench, closed[2]);
    ledger.add({ level: 'suspicious', rule: 'NOT_OPENED', member, detail: closed[2] });
    ledger.miss(source.size);
    await scan(content, bench);
    return closed[2];
  }
  const native = NATIVE.find(([bytes]) => text.startsWith(bytes));
  if (native !== undefined && isNative(native, text)) {
    await alsoPickle(content, bench, native[1]);
    const level = /(?:^|\/)aotinductor\/|\.(?:so|pyd|dll|dylib)$/.test(member) ? 'dangerous' : 'suspicious';
    ledger.add({ level, rule: 'NATIVE_CODE', member, detail: native[1] });
    ledger.miss(source.size);
    return native[1];
  }
  if (isNpy(head)) return judgeNpy(content, bench);
  if (await isHdf5(content)) {
    await alsoPickle(content, bench, 'HDF5');
    return judgeHdf5(content, bench);
  }
  if (isSafetensors(head, source.size)) {
    await alsoPickle(content, bench, 'safetensors');
    await readHeader(source);
    return 'safetensors';
  }
  const pickle = await judgePickleFile(content, bench);
  if (pickle !== undefined) return pickle;
  if (await isOnnx(content)) return judgeOnnx(content, bench);
  return judgeRest(content, bench, head, tail, name);
}

/** Two letters alone say little: a program has more behind them. */
function isNative([bytes]: readonly [string, string], text: string): boolean {
  if (bytes === 'MZ') return text.length > 64 && /[\x00-\x08]/.test(text.slice(0, 64));
  if (bytes === '#!') return /^#!\s*\/?[\w/. -]+/.test(text);
  return true;
}

async function isHdf5(content: Content): Promise<boolean> {
  try {
    return (await findSuperblock(content.source)) !== undefined;
  } catch (error) {
    // The signature is there; judgeHdf5 says what is wrong with the rest.
    if (isBnsumError(error)) return true;
    throw error;
  }
}

function isSafetensors(head: Uint8Array, size: number): boolean {
  if (head.length < 9 || head[8] !== 0x7b) return false;
  const length = new DataView(head.buffer, head.byteOffset, 8).getBigUint64(0, true);
  return length > 1n && length < BigInt(Math.max(size, 2)) * 16n && head[7] === 0 && head[6] === 0;
}

/** Text, and whatever is not known: text does nothing, the rest could be anything. */
async function judgeRest(
  content: Content,
  bench: Bench,
  head: Uint8Array,
  tail: Uint8Array,
  name: string,
): Promise<string> {
  const { source, member } = content;
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
