import { randomBytes } from 'node:crypto';
import {
  accessSync,
  type BigIntStats,
  closeSync,
  constants,
  fchmodSync,
  fsync,
  fsyncSync,
  linkSync,
  lstatSync,
  openSync,
  readdirSync,
  renameSync,
  statfsSync,
  statSync,
  unlinkSync,
  write,
  writeSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { BnsumError } from '../../ir/error.ts';
import { useCodec } from '../codec.ts';
import type { ByteSource } from '../source.ts';
import type { WriteTarget } from '../target.ts';
import { nodeCodec } from './codec.ts';
import { errnoOf, type FileIdentity, openDescriptor } from './file-source.ts';

export interface FileTargetOptions {
  /** Replace a file that exists. */
  readonly force: boolean;
  /** Files that must not be the output, by whatever path. */
  readonly inputs?: readonly FileIdentity[];
  /** Bytes that the output will take, if known: refused early when the disk cannot hold them. */
  readonly expectedBytes?: number;
}

/**
 * An output that appears complete or not at all. Everything goes to a temporary file beside the output; `commit` syncs
 * it and moves it into place, `discard` removes it. Both end the output; a second call does nothing.
 */
export interface FileOutput {
  readonly target: WriteTarget;
  /** Part files that an earlier, killed run left beside the output. They are never reused. */
  readonly leftovers: readonly string[];
  /** The bytes written so far, to be checked before `commit`; the caller closes it. A name: that sibling. */
  reopen(sibling?: string): Promise<ByteSource>;
  /** Throws BnsumError EXISTS when, without `force`, the output was created meanwhile; IO when the system refuses. */
  commit(): Promise<void>;
  discard(): Promise<void>;
}

interface Part {
  readonly path: string;
  readonly temporary: string;
  readonly fd: number;
  readonly mode: number;
  readonly target: WriteTarget;
  open: boolean;
}

const live = new Set<() => void>();
let watching = false;
const SYNC_BYTES = 1024 * 1024;

/** Removes every temporary file of this process; for signal handlers, which cannot wait. */
export function discardAll(): void {
  for (const discard of [...live]) discard();
}

/**
 * Refuses early (BnsumError): EXISTS without `force` or when the output is an input, NOT_A_FILE for a folder or device,
 * IO when the folder is missing, read-only or full.
 */
export async function createFileTarget(path: string, options: FileTargetOptions): Promise<FileOutput> {
  useCodec(nodeCodec);
  const folder = dirname(path);
  const there = inspectFolder(path, folder, options.expectedBytes ?? 0);
  const parts: Part[] = [];
  const main = createPart(path, options);
  parts.push(main);
  const names = new Map<string, Part>();

  const discard = (): void => {
    live.delete(discard);
    for (const part of parts) {
      closePart(part);
      unlinkQuietly(part.temporary);
    }
    parts.length = 0;
  };
  live.add(discard);
  if (!watching) process.on('exit', discardAll);
  watching = true;

  const target: WriteTarget = {
    get position() {
      return main.target.position;
    },
    write: (bytes) => main.target.write(bytes),
    writeAt: (offset, bytes) => main.target.writeAt(offset, bytes),
    sibling(name) {
      if (name === '' || /[/\\\0]/.test(name) || name === '.' || name === '..' || names.has(name)) {
        throw new BnsumError({ code: 'INTERNAL', reason: `no name for a file beside the output: '${name}'` });
      }
      const part = createPart(join(folder, name), options);
      parts.push(part);
      names.set(name, part);
      return part.target;
    },
  };

  return {
    target,
    leftovers: leftoversOf(path, folder, main.temporary),
    async reopen(sibling) {
      const part = sibling === undefined ? main : names.get(sibling);
      if (part === undefined) throw new BnsumError({ code: 'INTERNAL', reason: `nothing was written to '${sibling}'` });
      const stats = lstatSync(part.temporary, { bigint: true });
      return openDescriptor(part.temporary, part.path, constants.O_RDONLY | (constants.O_NOFOLLOW ?? 0), stats);
    },
    async commit() {
      if (parts.length === 0) return;
      const moved: string[] = [];
      try {
        for (const part of parts) {
          await new Promise<void>((resolve, reject) => {
            fsync(part.fd, (error) => (error === null ? resolve() : reject(writeError(part.path, error))));
          });
          fchmodSync(part.fd, part.mode);
          closePart(part);
        }
        const now = statSync(folder, { bigint: true });
        if (now.ino !== there.ino || now.dev !== there.dev) {
          throw new BnsumError({
            code: 'IO',
            file: path,
            reason: 'its folder was replaced while the output was written',
          });
        }
        // The main file last: it names its siblings.
        for (const part of [...parts.slice(1), main]) {
          moveIntoPlace(part, options.force);
          moved.push(part.path);
        }
      } catch (error) {
        discard();
        // What was there before cannot come back; what was not there goes again.
        if (!options.force) for (const path of moved) unlinkQuietly(path);
        throw error instanceof BnsumError ? error : writeError(path, error);
      }
      live.delete(discard);
      parts.length = 0;
      syncFolder(folder);
    },
    async discard() {
      discard();
    },
  };
}

function inspectFolder(path: string, folder: string, expectedBytes: number): BigIntStats {
  let stats: BigIntStats;
  try {
    stats = statSync(folder, { bigint: true });
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') {
      throw new BnsumError({
        code: 'IO',
        file: path,
        reason: `the folder ${folder} does not exist`,
        next: 'create it first',
      });
    }
    throw writeError(path, error);
  }
  if (!stats.isDirectory()) throw new BnsumError({ code: 'IO', file: path, reason: `${folder} is not a folder` });
  try {
    accessSync(folder, constants.W_OK | constants.X_OK);
  } catch (error) {
    throw writeError(path, error);
  }
  if (expectedBytes > 0) {
    const disk = statfsSync(folder, { bigint: true });
    const free = disk.bavail * disk.bsize;
    if (free < BigInt(Math.ceil(expectedBytes))) {
      throw new BnsumError({ code: 'IO', file: path, reason: `no space: ${expectedBytes} bytes needed, ${free} free` });
    }
  }
  return stats;
}

function createPart(path: string, options: FileTargetOptions): Part {
  const mode = settleMode(path, options);
  const folder = dirname(path);
  // A file name may have 255 bytes; the output's own name is cut to leave room for ours.
  let stem = basename(path);
  while (Buffer.byteLength(stem) > 200) stem = stem.slice(0, -1);
  const temporary = join(folder, `.${stem}.${randomBytes(8).toString('hex')}.bnpart`);
  const flags = constants.O_RDWR | constants.O_CREAT | constants.O_EXCL | (constants.O_NOFOLLOW ?? 0);
  let fd: number;
  try {
    fd = openSync(temporary, flags, 0o600);
  } catch (error) {
    throw writeError(path, error);
  }
  const part: Part = { path, temporary, fd, mode, open: true, target: targetOf(path, fd, () => part.open) };
  return part;
}

/** Refuses an output that may not be written, and gives the mode bits that it shall have. */
function settleMode(path: string, options: FileTargetOptions): number {
  const usual = 0o666 & ~process.umask();
  let stats: BigIntStats;
  try {
    stats = lstatSync(path, { bigint: true });
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return usual;
    throw writeError(path, error);
  }
  const real = stats.isSymbolicLink() ? statQuietly(path) : stats;
  for (const { device, inode } of options.inputs ?? []) {
    if (real !== null && real.ino === inode && real.dev === device) {
      throw new BnsumError({
        code: 'EXISTS',
        file: path,
        reason: 'the output is an input',
        next: 'name another output, the input is never overwritten',
      });
    }
  }
  if (!stats.isFile() && !stats.isSymbolicLink()) {
    throw new BnsumError({
      code: 'NOT_A_FILE',
      file: path,
      reason: `the output is a ${stats.isDirectory() ? 'folder' : 'device'}`,
    });
  }
  if (!options.force) {
    throw new BnsumError({
      code: 'EXISTS',
      file: path,
      reason: 'the output exists',
      next: 'pass --force to replace it',
    });
  }
  return stats.isFile() ? Number(stats.mode & 0o777n) : usual;
}

function statQuietly(path: string): BigIntStats | null {
  try {
    return statSync(path, { bigint: true });
  } catch {
    return null;
  }
}

function targetOf(path: string, fd: number, isOpen: () => boolean): WriteTarget {
  let position = 0;
  const put = async (bytes: Uint8Array, from: number): Promise<void> => {
    if (!isOpen()) throw new BnsumError({ code: 'INTERNAL', file: path, reason: 'written after it was closed' });
    for (let done = 0; done < bytes.byteLength; ) {
      const left = bytes.byteLength - done;
      try {
        done +=
          left <= SYNC_BYTES
            ? writeSync(fd, bytes, done, left, from + done)
            : await writeLater(bytes, done, left, from + done);
      } catch (error) {
        if (errnoOf(error) !== 'EINTR') throw writeError(path, error);
      }
    }
  };
  const writeLater = (bytes: Uint8Array, done: number, left: number, at: number): Promise<number> =>
    new Promise((resolve, reject) => {
      write(fd, bytes, done, Math.min(left, 1 << 30), at, (error, count) =>
        error === null ? resolve(count) : reject(error),
      );
    });
  return {
    get position() {
      return position;
    },
    async write(bytes) {
      await put(bytes, position);
      position += bytes.byteLength;
    },
    async writeAt(offset, bytes) {
      if (offset < 0 || offset + bytes.byteLength > position) {
        throw new BnsumError({ code: 'INTERNAL', file: path, reason: 'patched beyond what was written' });
      }
      await put(bytes, offset);
    },
    sibling() {
      throw new BnsumError({ code: 'INTERNAL', file: path, reason: 'a sibling has no siblings of its own' });
    },
  };
}

function moveIntoPlace(part: Part, force: boolean): void {
  if (force) {
    renameSync(part.temporary, part.path);
    return;
  }
  try {
    linkSync(part.temporary, part.path);
  } catch (error) {
    const errno = errnoOf(error);
    if (errno === 'EEXIST') throw createdMeanwhile(part.path);
    if (!['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS', 'EMLINK'].includes(errno)) throw error;
    // A file system without hard links: looking and then renaming leaves a moment in which another's file could be lost.
    if (lstatQuietly(part.path)) throw createdMeanwhile(part.path);
    renameSync(part.temporary, part.path);
    return;
  }
  unlinkQuietly(part.temporary);
}

function lstatQuietly(path: string): boolean {
  try {
    lstatSync(path);
    return true;
  } catch {
    return false;
  }
}

function createdMeanwhile(path: string): BnsumError {
  return new BnsumError({
    code: 'EXISTS',
    file: path,
    reason: 'the output was created by somebody else meanwhile',
    next: 'pass --force to replace it',
  });
}

function closePart(part: Part): void {
  if (!part.open) return;
  part.open = false;
  closeSync(part.fd);
}

function unlinkQuietly(path: string): void {
  try {
    unlinkSync(path);
  } catch {
    // Gone already, or the folder is: nothing that could still be done.
  }
}

function syncFolder(folder: string): void {
  try {
    const fd = openSync(folder, constants.O_RDONLY);
    try {
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
  } catch {
    // Not every system lets a folder be synced; the file itself is.
  }
}

function leftoversOf(path: string, folder: string, ours: string): readonly string[] {
  const prefix = `.${basename(path)}.`;
  try {
    return readdirSync(folder)
      .filter((name) => name.startsWith(prefix) && /\.[0-9a-f]{16}\.bnpart$/.test(name))
      .map((name) => join(folder, name))
      .filter((name) => name !== ours)
      .toSorted();
  } catch {
    return [];
  }
}

const REASONS: ReadonlyMap<string, string> = new Map([
  ['ENOSPC', 'no space left on the disk'],
  ['EDQUOT', 'the disk quota is used up'],
  ['EFBIG', 'the file system or a limit does not allow a file of this size'],
  ['EROFS', 'the file system is read-only'],
  ['EACCES', 'no permission to write there'],
  ['EPERM', 'the system does not allow writing there'],
  ['ENAMETOOLONG', 'the file name is too long'],
  ['ENOENT', 'its folder is gone'],
  ['ENOTDIR', 'a part of the path is not a folder'],
  ['ELOOP', 'a part of the path is a symbolic link in a circle'],
  ['EMFILE', 'too many files are open'],
]);

function writeError(path: string, error: unknown): BnsumError {
  if (error instanceof BnsumError) return error;
  const errno = errnoOf(error);
  return new BnsumError({
    code: 'IO',
    file: path,
    reason: REASONS.get(errno) ?? `cannot be written (${errno === '' ? String(error) : errno})`,
    cause: error,
  });
}
