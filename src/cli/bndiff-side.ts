import { closeSync, openSync, readFileSync, readSync, statSync } from 'node:fs';
import { parseJson } from '../bytes/json.ts';
import { isLock, sideOfLock } from '../diff/lock.ts';
import { type Side, sideOfModel } from '../diff/side.ts';
import { isSummary, sideOfSummary } from '../diff/side-summary.ts';
import { BnsumError } from '../ir/error.ts';
import { LIMITS } from '../ir/limits.ts';
import { openModel } from '../open.ts';
import { parseGitName, readGitFile } from './bndiff-git.ts';
import { commandWorkers } from './workers.ts';

/** A side with the file that it was read from. */
export interface OpenSide {
  readonly side: Side;
  /** Path of the bytes. */
  readonly path: string;
  close(): Promise<void>;
}

export interface SideOptions {
  readonly config: string | undefined;
  readonly pick: string | undefined;
}

/** What our own JSON files say of themselves within their first bytes. */
const OURS = /^\s*\{[\s\S]{0,4000}"urn:bnsum:schema:(?:summary|lock):/;

/** Whether the file starts as a summary or a lock file does; a pt-json model is JSON too. */
function looksLikeOurs(path: string): boolean {
  const stat = statSync(path, { throwIfNoEntry: false });
  if (stat === undefined || !stat.isFile() || stat.size > LIMITS.jsonBytes) return false;
  const head = Buffer.alloc(Math.min(4096, stat.size));
  const file = openSync(path, 'r');
  try {
    readSync(file, head, 0, head.length, 0);
  } finally {
    closeSync(file);
  }
  if (head[0] !== 0x7b && head[0] !== 0x20 && head[0] !== 0x0a) return false;
  // A canonical lock file has its keys sorted, so that the schema's name stands first.
  return OURS.test(head.toString('latin1'));
}

/** Opens what the user named: a model file, a summary, a lock file, or a file of a git revision. */
export async function openSide(word: string, options: SideOptions): Promise<OpenSide> {
  const name = parseGitName(word);
  const path = name === null ? word : await readGitFile(word, name);
  try {
    return await openPath(word, path, options);
  } catch (error) {
    if (name === null || !(error instanceof BnsumError)) throw error;
    const { code, place, reason, next } = error;
    throw new BnsumError({
      code,
      file: word,
      ...(place === undefined ? {} : { place }),
      reason,
      ...(next === undefined ? {} : { next }),
      cause: error,
    });
  }
}

async function openPath(word: string, path: string, options: SideOptions): Promise<OpenSide> {
  if (looksLikeOurs(path)) {
    const json = parseJson(readFileSync(path), { file: word });
    const side = isSummary(json) ? sideOfSummary(word, json) : isLock(json) ? sideOfLock(word, json) : undefined;
    if (side !== undefined) return { side, path, close: () => Promise.resolve() };
  }
  const workers = commandWorkers();
  const { value: model } = await openModel(path, {
    ...(options.config === undefined ? {} : { config: options.config }),
    ...(options.pick === undefined ? {} : { pick: options.pick }),
    ...(workers === undefined ? {} : { workers }),
  });
  try {
    return { side: sideOfModel(word, model), path, close: () => model.close() };
  } catch (error) {
    await model.close();
    throw error;
  }
}

/** Whole files are compared in pieces of this size. */
const PIECE = 4 * 1024 * 1024;
const LOOKS = 64;
const LOOK_BYTES = 4096;

/** Whether two files hold the same bytes: one file under two names, or equal from the first byte to the last. */
export function sameFile(a: string, b: string): boolean {
  const one = statSync(a, { bigint: true });
  const other = statSync(b, { bigint: true });
  if (one.dev === other.dev && one.ino === other.ino && one.ino !== 0n) return true;
  if (one.size !== other.size || !one.isFile() || !other.isFile()) return false;
  const left = openSync(a, 'r');
  const right = openSync(b, 'r');
  const mine = Buffer.allocUnsafe(PIECE);
  const theirs = Buffer.allocUnsafe(PIECE);
  try {
    // Other weights differ nearly everywhere: a look at a few places spares reading both to the first difference.
    for (let look = 0; look < LOOKS; look += 1) {
      const at = Math.floor((Number(one.size) / LOOKS) * look);
      const read = readSync(left, mine, 0, LOOK_BYTES, at);
      if (read !== readSync(right, theirs, 0, LOOK_BYTES, at)) return false;
      if (mine.compare(theirs, 0, read, 0, read) !== 0) return false;
    }
    for (;;) {
      const read = readSync(left, mine, 0, PIECE, null);
      if (read !== readFully(right, theirs, read)) return false;
      if (read === 0) return true;
      if (mine.compare(theirs, 0, read, 0, read) !== 0) return false;
    }
  } finally {
    closeSync(left);
    closeSync(right);
  }
}

function readFully(file: number, into: Buffer, wanted: number): number {
  let done = 0;
  while (done < wanted) {
    const read = readSync(file, into, done, wanted - done, null);
    if (read === 0) return done;
    done += read;
  }
  return done === 0 ? readSync(file, into, 0, 1, null) : done;
}
