import { randomBytes } from 'node:crypto';
import {
  closeSync,
  fsyncSync,
  openSync,
  readSync,
  realpathSync,
  renameSync,
  statSync,
  unlinkSync,
  writeSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';
import type { Writable } from 'node:stream';
import { READ_ENDINGS } from '../ir/containers.ts';
import { BnsumError } from '../ir/error.ts';

/** Characters that are gathered before they are handed over: a system call per line costs more than making the line. */
const GATHERED = 32 * 1024;

/** Pieces of text together until they are long enough; bytes as they are. */
function* gathered(pieces: Iterable<string | Uint8Array>): Generator<string | Uint8Array> {
  let text: string[] = [];
  let length = 0;
  for (const piece of pieces) {
    const isText = typeof piece === 'string';
    if (isText) {
      text.push(piece);
      length += piece.length;
    }
    if (length >= GATHERED || (!isText && length > 0)) {
      yield text.join('');
      text = [];
      length = 0;
    }
    if (!isText && piece.length > 0) yield piece;
  }
  if (length > 0) yield text.join('');
}

/** Writes all pieces, waiting whenever the reader is slower; comes back when the last byte is handed over. */
export async function writeAll(stream: Writable, pieces: Iterable<string | Uint8Array>): Promise<void> {
  for (const piece of gathered(pieces)) if (!stream.write(piece) && !stream.destroyed) await drained(stream);
  await new Promise<void>((resolve, reject) => {
    stream.write('', (error) => (error ? reject(error) : resolve()));
  });
}

function drained(stream: Writable): Promise<void> {
  return new Promise((resolve, reject) => {
    const done = (error?: Error): void => {
      stream.off('drain', done);
      stream.off('error', done);
      if (error === undefined) resolve();
      else reject(error);
    };
    stream.on('drain', done);
    stream.on('error', done);
  });
}

/** Temporary files of outputs that are not complete; removed when the process is ended. */
const unfinished = new Set<string>();

export function removeUnfinished(): void {
  for (const path of unfinished) {
    try {
      unlinkSync(path);
    } catch {
      // It is gone already, or cannot be removed: there is nobody left to tell.
    }
  }
  unfinished.clear();
}

/** Endings of files that a report never replaces: models that are read here, and others. */
const PROTECTED: readonly string[] = [...READ_ENDINGS, '.pkl', '.npz', '.npy', '.pb', '.tflite', '.gguf'];

/** Whether a file is a model by its name, or is no text, as a report is; pt-json is a model in text. */
function isProtected(path: string): boolean {
  const name = path.toLowerCase();
  if (PROTECTED.some((ending) => name.endsWith(ending))) return true;
  const head = Buffer.alloc(4096);
  const file = openSync(path, 'r');
  try {
    const bytes = head.subarray(0, readSync(file, head, 0, head.length, 0));
    return bytes.includes(0) || /^\s*\{\s*"format"\s*:\s*"pt-json"/.test(bytes.toString('latin1'));
  } finally {
    closeSync(file);
  }
}

function existing(path: string): ReturnType<typeof statSync> | undefined {
  try {
    return statSync(path, { throwIfNoEntry: false });
  } catch (error) {
    // Below a file there is nothing; what stands in the way is told by its own name.
    if (error instanceof Error && 'code' in error && error.code === 'ENOTDIR') return undefined;
    throw error;
  }
}

/** Throws BnsumError NOT_FOUND or NOT_A_FILE naming the folder that a new file would stand in. */
function requireFolder(path: string): void {
  const folder = dirname(path);
  const stat = existing(folder);
  if (stat?.isDirectory() === true) return;
  throw new BnsumError({
    code: stat === undefined ? 'NOT_FOUND' : 'NOT_A_FILE',
    file: folder,
    reason: stat === undefined ? 'no such folder' : 'is no folder',
    next: 'make it, or name another file for --output',
  });
}

/** Throws BnsumError EXISTS when `path` is one of the inputs, under whatever name, or another model file. */
export function refuseReplacing(path: string, inputs: readonly string[]): void {
  const stat = existing(path);
  if (stat === undefined) {
    requireFolder(path);
    return;
  }
  if (stat.isDirectory()) {
    throw new BnsumError({
      code: 'NOT_A_FILE',
      file: path,
      reason: 'is a directory',
      next: 'name a file for --output',
    });
  }
  for (const input of inputs) {
    const other = existing(input);
    if (other !== undefined && other.dev === stat.dev && other.ino === stat.ino) {
      throw new BnsumError({
        code: 'EXISTS',
        file: path,
        reason: 'the output is one of the inputs',
        next: 'name another file for --output',
      });
    }
  }
  if (stat.isFile() && isProtected(path)) {
    throw new BnsumError({
      code: 'EXISTS',
      file: path,
      reason: 'the report would replace what looks like a model file',
      next: 'name another file for --output',
    });
  }
}

/**
 * Writes a text file that appears complete or not at all: a temporary file beside it, flushed to the disk, then renamed.
 * Devices and pipes are written straight. Throws the system's error as it is.
 */
export function writeReport(path: string, pieces: Iterable<string>): void {
  const stat = existing(path);
  if (stat !== undefined && !stat.isFile()) {
    writeTo(openSync(path, 'w'), pieces, false);
    return;
  }
  // A symbolic link stays one: the file behind it is replaced.
  const target = stat === undefined ? path : realpathSync(path);
  if (stat === undefined) requireFolder(path);
  const temporary = join(dirname(target), `.${basename(target).slice(0, 200)}.${randomBytes(8).toString('hex')}.tmp`);
  const file = openSync(temporary, 'wx', stat === undefined ? 0o666 : Number(stat.mode) & 0o777);
  unfinished.add(temporary);
  try {
    writeTo(file, pieces, true);
    renameSync(temporary, target);
    unfinished.delete(temporary);
  } catch (error) {
    removeUnfinished();
    throw error;
  }
}

function writeTo(file: number, pieces: Iterable<string>, flush: boolean): void {
  try {
    for (const piece of gathered(pieces)) {
      const bytes = typeof piece === 'string' ? new TextEncoder().encode(piece) : piece;
      for (let at = 0; at < bytes.length; ) at += writeSync(file, bytes, at);
    }
    if (flush) fsyncSync(file);
  } finally {
    closeSync(file);
  }
}
