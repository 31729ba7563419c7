import { closeSync, openSync, readFileSync, readSync, realpathSync, statSync } from 'node:fs';
import { parseJson } from '../bytes/json.ts';
import { isLock, sideOfLock } from '../diff/lock.ts';
import { RULES, type Side, sideOfModel } from '../diff/side.ts';
import { isSummary, sideOfSummary } from '../diff/side-summary.ts';
import { BnsumError } from '../ir/error.ts';
import type { Json } from '../ir/json.ts';
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

/** What git names where a file is not there on one side; Windows has its own word. */
export function isNoFile(word: string): boolean {
  return word === '/dev/null' || word.toLowerCase() === 'nul';
}

/** The side of a file that is not there: a model without layers, in the words of the one beside it. */
export function noSide(word: string, dialect: Side['dialect']): OpenSide {
  return {
    side: {
      label: word,
      from: 'model',
      name: '',
      format: 'none',
      dialect,
      producer: '',
      counts: new Map(RULES.map((rule) => [rule, 0])),
      optimizer: null,
      layers: [],
      architecture: true,
      chain: false,
      inputShapes: null,
      outputs: null,
      model: null,
      accounting: null,
    },
    path: word,
    close: () => Promise.resolve(),
  };
}

/** A lock file alone, which only --update writes. Throws BnsumError MALFORMED or UNSUPPORTED naming that next step. */
export function openLock(path: string, model: string): OpenSide {
  const next = `write it again with bndiff --update ${model}`;
  const stat = statSync(path);
  const wrong = (reason: string, cause?: unknown): BnsumError =>
    new BnsumError({ code: 'MALFORMED', file: path, reason, next, cause });
  if (!stat.isFile()) {
    throw new BnsumError({
      code: 'NOT_A_FILE',
      file: path,
      reason: 'is no file, so it is no lock file',
      next: `remove it, then ${next}`,
    });
  }
  if (stat.size === 0) throw wrong('is empty, so it is no lock file');
  if (stat.size > LIMITS.jsonBytes) throw wrong('is too large for a lock file');
  let json: Json;
  try {
    json = parseJson(readFileSync(path), { file: path });
  } catch (error) {
    if (!(error instanceof BnsumError)) throw error;
    throw wrong(`is no lock file: ${[error.place, error.reason].filter(Boolean).join(': ')}`, error);
  }
  if (!isLock(json)) throw wrong('is no lock file');
  return { side: sideOfLock(path, json), path, close: () => Promise.resolve() };
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

/** How files begin that hold every value themselves: HDF5, zip, a pickle, the header of safetensors. */
function holdsItsValues(path: string): boolean {
  const head = Buffer.alloc(16);
  const file = openSync(path, 'r');
  try {
    readSync(file, head, 0, head.length, 0);
  } finally {
    closeSync(file);
  }
  const isHdf5 = head.subarray(0, 8).equals(Buffer.from('\x89HDF\r\n\x1a\n', 'latin1'));
  const isZip = head.readUInt16BE(0) === 0x504b;
  const isPickle = head[0] === 0x80;
  const isSafetensors = head[8] === 0x7b && head.readUInt16LE(6) === 0;
  return isHdf5 || isZip || isPickle || isSafetensors;
}

/**
 * Whether two models hold the same values because their files hold the same bytes. An index of shards and an ONNX file
 * name other files that hold the values: those are read unless it is one and the same file.
 */
export function sameModel(a: string, b: string): boolean {
  if (realpathSync(a) === realpathSync(b)) return true;
  return holdsItsValues(a) && sameFile(a, b);
}

/** Whole files are compared in pieces of this size. */
const PIECE = 4 * 1024 * 1024;
const LOOKS = 64;
const LOOK_BYTES = 4096;

/** Whether two files hold the same bytes: one file under two names, or equal from the first byte to the last. */
function sameFile(a: string, b: string): boolean {
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
