import { spawn } from 'node:child_process';
import { createWriteStream, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { BnsumError, type ErrorCode } from '../ir/error.ts';
import { usage } from './usage.ts';

/** A file of a git revision. */
export interface GitName {
  readonly revision: string;
  readonly path: string;
}

/** `git:REV:PATH`; null: something else. Throws BnsumError USAGE where one of the two cannot be what it claims. */
export function parseGitName(word: string): GitName | null {
  if (!word.startsWith('git:')) return null;
  const colon = word.indexOf(':', 4);
  if (colon < 0) throw usage(`'${word}' names no file of a revision`, 'give git:REV:PATH, such as git:HEAD~1:model.h5');
  const revision = word.slice(4, colon);
  const path = word.slice(colon + 1);
  // A leading dash would be an option, two dots a range; the rest is git's to judge.
  if (revision.startsWith('-') || revision.includes('..') || /[\0-\x1f\x7f]/.test(revision)) {
    throw usage(`'${revision}' is no revision`, 'give git:REV:PATH, such as git:HEAD~1:model.h5');
  }
  if (path === '' || path.startsWith('-') || /[\0\n\r]/.test(path)) {
    throw usage(`'${word}' names no file of a revision`, 'give git:REV:PATH, such as git:HEAD~1:model.h5');
  }
  // What git would list is a folder, and its last part no name for a file.
  if (path.endsWith('/') || path === '.' || path === '..' || /\/\.\.?$/.test(path)) {
    throw usage(`'${word}' names a folder of the revision`, 'name a file, such as git:HEAD~1:model.h5');
  }
  return { revision, path };
}

/** A private folder that goes when the process ends, however it ends in an orderly way. */
function privateFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'bndiff-'));
  process.on('exit', () => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** What it means to the user that git fails. */
export interface GitFailure {
  readonly code: ErrorCode;
  readonly file?: string;
  /** In place of git's own words. */
  readonly reason?: string;
  readonly next: string;
}

/**
 * Runs git with fixed words and no shell; its standard output goes where `into` says. Throws BnsumError as `failure`
 * says, or NOT_FOUND where there is no git.
 */
export async function git(
  words: readonly string[],
  failure: GitFailure,
  into?: NodeJS.WritableStream,
): Promise<string> {
  const child = spawn('git', words, { stdio: ['ignore', 'pipe', 'pipe'], shell: false, windowsHide: true });
  let said = '';
  let out = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    if (said.length < 4096) said += text;
  });
  const ended = new Promise<number | null>((resolve, reject) => {
    child.on('error', reject);
    child.on('close', resolve);
  });
  // Both may fail; the first that does is told.
  ended.catch(() => undefined);
  try {
    if (into === undefined) for await (const text of child.stdout.setEncoding('utf8')) out += String(text);
    else await pipeline(child.stdout, into);
    const status = await ended;
    if (status === 0) return out;
    const words = said.trim().replace(/^(?:fatal|error): /, '');
    throw new BnsumError({ reason: `git says: ${words === '' ? `status ${status}` : words}`, ...failure });
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') {
      throw new BnsumError({
        code: 'NOT_FOUND',
        ...(failure.file === undefined ? {} : { file: failure.file }),
        reason: 'git is not installed',
        next: 'install git, or name files',
      });
    }
    throw error;
  }
}

/**
 * Writes the file of a revision, filters applied (so that Git LFS gives the model and not its pointer), into a private
 * folder. Throws BnsumError NOT_FOUND with what git said.
 */
export async function readGitFile(word: string, { revision, path }: GitName): Promise<string> {
  const target = join(privateFolder(), basename(path));
  await git(
    ['cat-file', '--filters', `${revision}:${path}`],
    {
      code: 'NOT_FOUND',
      file: word,
      next: 'check the revision and the path, which counts from the repository’s root',
    },
    createWriteStream(target, { flags: 'wx', mode: 0o600 }),
  );
  return target;
}
