import {
  type BigIntStats,
  closeSync,
  constants,
  fstatSync,
  openSync,
  read,
  readdirSync,
  readSync,
  statSync,
} from 'node:fs';
import { basename, dirname, extname, join } from 'node:path';
import { BnsumError } from '../../ir/error.ts';
import { useCodec } from '../codec.ts';
import { checkRange } from '../range.ts';
import { mergeAdvice } from '../sniff.ts';
import type { ByteSource } from '../source.ts';
import { nodeCodec } from './codec.ts';

/** What makes two paths the same file. */
export interface FileIdentity {
  readonly device: bigint;
  readonly inode: bigint;
}

export interface FileSource extends ByteSource {
  readonly path: string;
  readonly identity: FileIdentity;
  /** Fills `into` from `start` on, without a detour over the event loop. */
  readSync(start: number, into: Uint8Array): number;
  /** Whether size, time of change or the file at this path are others than when it was opened. */
  changed(): Promise<boolean>;
}

/** Reads up to this size are quicker done at once than handed to another thread. */
const SYNC_BYTES = 1024 * 1024;

/**
 * Opens one regular file for reading; one descriptor serves all reads and slices until `close` of the whole source
 * (closing a slice does nothing). Throws BnsumError NOT_FOUND, NOT_A_FILE, NOT_A_MODEL (empty) or IO.
 */
export async function openFileSource(path: string): Promise<FileSource> {
  let found: BigIntStats;
  try {
    found = statSync(path, { bigint: true });
  } catch (error) {
    throw openError(path, error);
  }
  // Looked at before it is opened: opening a device or FIFO can already do something.
  refuseOther(path, found);
  return openDescriptor(path, path, constants.O_RDONLY, found);
}

/** Opens `path` and makes sure that it still is the file of `found`. */
export function openDescriptor(path: string, label: string, flags: number, found: BigIntStats): FileSource {
  useCodec(nodeCodec);
  let fd: number;
  try {
    // Without O_NONBLOCK a FIFO put there in between would hang us.
    fd = openSync(path, flags | (constants.O_NONBLOCK ?? 0));
  } catch (error) {
    throw openError(label, error);
  }
  const stats = fstatSync(fd, { bigint: true });
  try {
    refuseOther(label, stats);
    if (stats.ino !== found.ino || stats.dev !== found.dev) {
      throw new BnsumError({ code: 'IO', file: label, reason: 'was replaced while it was being opened' });
    }
    if (stats.size === 0n) {
      throw new BnsumError({
        code: 'NOT_A_MODEL',
        file: label,
        reason: 'the file is empty',
        next: 'fetch or save it again',
      });
    }
  } catch (error) {
    closeSync(fd);
    throw error;
  }
  return sourceOf(fd, path, label, stats);
}

function sourceOf(fd: number, path: string, rootLabel: string, stats: BigIntStats): FileSource {
  const fileSize = Number(stats.size);
  let delivered = 0;
  let open = true;

  const short = (label: string, at: number): BnsumError =>
    new BnsumError({
      code: 'TRUNCATED',
      file: label,
      place: `@${at}`,
      reason: 'the file became shorter while it was read',
    });
  const failed = (label: string, at: number, error: unknown): BnsumError =>
    new BnsumError({
      code: 'IO',
      file: label,
      place: `@${at}`,
      reason: `cannot be read (${errnoOf(error)})`,
      cause: error,
    });
  const fill = (label: string, position: number, into: Uint8Array): number => {
    for (let done = 0; done < into.byteLength; ) {
      let got: number;
      try {
        got = readSync(fd, into, done, into.byteLength - done, position + done);
      } catch (error) {
        if (errnoOf(error) === 'EINTR') continue;
        throw failed(label, position + done, error);
      }
      if (got === 0) throw short(label, position + done);
      done += got;
    }
    delivered += into.byteLength;
    return into.byteLength;
  };
  const fillLater = async (label: string, position: number, into: Uint8Array, signal?: AbortSignal): Promise<void> => {
    for (let done = 0; done < into.byteLength; ) {
      signal?.throwIfAborted();
      const length = Math.min(into.byteLength - done, 1 << 30);
      const got = await new Promise<number>((resolve, reject) => {
        read(fd, into, done, length, position + done, (error, count) =>
          error === null ? resolve(count) : reject(failed(label, position + done, error)),
        );
      });
      if (got === 0) throw short(label, position + done);
      done += got;
    }
    delivered += into.byteLength;
  };

  const over = (offset: number, size: number, label: string): ByteSource & Pick<FileSource, 'readSync'> => ({
    size,
    label,
    origin: { fd, offset },
    async read(start, end, signal) {
      signal?.throwIfAborted();
      checkRange(label, size, start, end);
      const memory = Buffer.allocUnsafeSlow(end - start);
      const into = new Uint8Array(memory.buffer, memory.byteOffset, memory.byteLength);
      if (into.byteLength <= SYNC_BYTES) fill(label, offset + start, into);
      else await fillLater(label, offset + start, into, signal);
      return into;
    },
    readSync(start, into) {
      checkRange(label, size, start, start + into.byteLength);
      return fill(label, offset + start, into);
    },
    slice(start, end, sliceLabel) {
      checkRange(label, size, start, end);
      return over(offset + start, end - start, sliceLabel);
    },
    bytesRead: () => delivered,
    async close() {},
  });

  return {
    ...over(0, fileSize, rootLabel),
    path,
    identity: { device: stats.dev, inode: stats.ino },
    async close() {
      if (open) closeSync(fd);
      open = false;
    },
    async changed() {
      const now = fstatSync(fd, { bigint: true });
      if (now.size !== stats.size || now.mtimeNs !== stats.mtimeNs) return true;
      try {
        const there = statSync(path, { bigint: true });
        return there.ino !== stats.ino || there.dev !== stats.dev;
      } catch {
        return true;
      }
    },
  };
}

/** The errno word of a system error, '' for another error. */
export function errnoOf(error: unknown): string {
  const code = (error as { readonly code?: unknown } | null)?.code;
  return typeof code === 'string' ? code : '';
}

function refuseOther(label: string, stats: BigIntStats): void {
  if (stats.isFile()) return;
  const what = stats.isDirectory()
    ? 'is a folder'
    : stats.isFIFO()
      ? 'is a pipe'
      : stats.isSocket()
        ? 'is a socket'
        : 'is a device';
  throw new BnsumError({
    code: 'NOT_A_FILE',
    file: label,
    reason: `${what}, not a file`,
    next: stats.isDirectory() ? folderAdvice(label) : 'write it to a file first',
  });
}

/** What to do with a folder that was named instead of a file. */
function folderAdvice(path: string): string {
  let names: readonly string[];
  try {
    names = readdirSync(path);
  } catch {
    return 'name a file in it';
  }
  if (names.includes('saved_model.pb')) {
    return 'it is a TensorFlow SavedModel, which is not read: save the model as .keras or .h5';
  }
  if (names.some((name) => name.endsWith('.distcp'))) return `it is a distributed checkpoint: ${mergeAdvice(path)}`;
  const model = names
    .filter((name) => /\.(keras|h5|hdf5|pt|pth|ckpt|safetensors|onnx|json)$/.test(name))
    .toSorted()
    .at(0);
  return model === undefined ? 'name a model file' : `name a file in it, such as ${join(path, model)}`;
}

function openError(label: string, error: unknown): BnsumError {
  const errno = errnoOf(error);
  const facts = { file: label, cause: error };
  switch (errno) {
    case 'ENOENT':
    case 'ENOTDIR': {
      const near = nearName(label);
      return new BnsumError({
        ...facts,
        code: 'NOT_FOUND',
        reason: 'no such file',
        next: near === null ? 'check the path' : `did you mean ${near}?`,
      });
    }
    case 'EACCES':
    case 'EPERM':
      return new BnsumError({
        ...facts,
        code: 'IO',
        reason: 'no permission to read it',
        next: 'make it readable first',
      });
    case 'ELOOP':
      return new BnsumError({
        ...facts,
        code: 'IO',
        reason: 'is a symbolic link that may not be followed',
        next: 'name the file that it leads to',
      });
    case 'ENAMETOOLONG':
      return new BnsumError({ ...facts, code: 'IO', reason: 'the path is too long', next: 'check the path' });
    case 'EMFILE':
    case 'ENFILE':
      return new BnsumError({
        ...facts,
        code: 'IO',
        reason: 'too many files are open',
        next: 'name fewer files, or raise ulimit -n',
      });
    default:
      if (error instanceof TypeError)
        return new BnsumError({ ...facts, code: 'NOT_FOUND', reason: 'no such file', next: 'check the path' });
      return new BnsumError({ ...facts, code: 'IO', reason: `cannot be opened (${errno})` });
  }
}

/** A file of the same folder that differs in case or extension alone. */
function nearName(path: string): string | null {
  const wanted = basename(path).toLowerCase();
  const stem = wanted.slice(0, wanted.length - extname(wanted).length);
  let names: string[];
  try {
    names = readdirSync(dirname(path)).toSorted();
  } catch {
    return null;
  }
  const sameWord = names.find((name) => name.toLowerCase() === wanted);
  const found = sameWord ?? names.find((name) => name.toLowerCase().replace(/\.[^.]*$/, '') === stem && stem !== '');
  return found === undefined ? null : join(dirname(path), found);
}
