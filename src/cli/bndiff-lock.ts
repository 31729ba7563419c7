import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { basename, join } from 'node:path';
import { LOCK_SUFFIX, lockText } from '../diff/lock.ts';
import { fitsGlob, globMatcher } from '../diff/policy.ts';
import { BnsumError } from '../ir/error.ts';
import { watchGlobs } from './bndiff-globs.ts';
import type { BndiffOptions } from './bndiff-options.ts';
import { openSide } from './bndiff-side.ts';
import { watchFileOptions } from './file-options.ts';
import { writeReport } from './output.ts';
import { usage } from './usage.ts';

/** Folders that hold no models of the project. */
const SKIPPED: ReadonlySet<string> = new Set(['.git', 'node_modules', '.venv', 'venv', '__pycache__']);

/** Every lock file below a folder, sorted; symbolic links are not followed. */
export function findLocks(folder: string): readonly string[] {
  const found: string[] = [];
  const waiting = [folder];
  for (let at = waiting.pop(); at !== undefined; at = waiting.pop()) {
    for (const entry of readdirSync(at, { withFileTypes: true })) {
      const path = at === '.' ? entry.name : join(at, entry.name);
      if (entry.isDirectory() && !SKIPPED.has(entry.name)) waiting.push(path);
      else if (entry.isFile() && entry.name.endsWith(LOCK_SUFFIX)) found.push(path);
    }
  }
  return found.toSorted();
}

/** The lock file and the model of what was named: either of the two. */
export function lockPair(word: string): { readonly lock: string; readonly model: string } {
  return word.endsWith(LOCK_SUFFIX)
    ? { lock: word, model: word.slice(0, -LOCK_SUFFIX.length) }
    : { lock: `${word}${LOCK_SUFFIX}`, model: word };
}

/** The lock files that `--check` means: those named, all below a folder, or all below here. Throws where there are none. */
export function locksOf(words: readonly string[]): readonly { readonly lock: string; readonly model: string }[] {
  const found = (words.length === 0 ? ['.'] : words).flatMap((word) => {
    const isFolder = statSync(word, { throwIfNoEntry: false })?.isDirectory() === true;
    if (!isFolder || word.endsWith(LOCK_SUFFIX)) return [word];
    const locks = findLocks(word);
    if (locks.length > 0) return locks;
    throw new BnsumError({
      code: 'NOT_FOUND',
      ...(words.length === 0 ? {} : { file: word }),
      reason: `no lock file below ${words.length === 0 ? 'here' : 'this folder'}`,
      next: 'write one with bndiff --update MODEL, or name the model',
    });
  });
  return found.map(lockPair);
}

/** Throws BnsumError NOT_FOUND naming what is missing and what to do. */
export function requirePair({ lock, model }: { readonly lock: string; readonly model: string }): void {
  if (!existsSync(lock)) {
    throw new BnsumError({
      code: 'NOT_FOUND',
      file: lock,
      reason: 'no such lock file',
      next: `write it with bndiff --update ${model}`,
    });
  }
  if (!existsSync(model)) {
    throw new BnsumError({
      code: 'NOT_FOUND',
      file: model,
      reason: 'its lock file is there, the model is not',
      next: `fetch the model, or remove ${lock}`,
    });
  }
}

/** Whether a CI service runs this: nothing is written there. */
export function inCi(env: Readonly<Record<string, string | undefined>>): boolean {
  const value = env['CI'];
  return value !== undefined && value !== '' && value !== '0' && value !== 'false';
}

/** Writes the lock file of each model; says which are new, changed or as they were. */
export async function updateLocks(
  options: BndiffOptions,
  env: Readonly<Record<string, string | undefined>>,
): Promise<readonly string[]> {
  if (inCi(env)) {
    throw usage(
      '--update writes, and CI is set',
      'run it where the change is made and commit the lock file; CI runs bndiff --check',
    );
  }
  const texts: { readonly lock: string; readonly text: string }[] = [];
  const globs = options.frozen.map(globMatcher);
  const watch = watchGlobs(options);
  const fileOptions = watchFileOptions(options);
  for (const word of options.files) {
    const { lock, model } = lockPair(word);
    if (model.startsWith('git:')) throw usage(`'${model}' is no file beside which a lock file can stand`);
    const opened = await openSide(model, options);
    try {
      if (opened.side.from !== 'model') throw usage(`'${model}' is no model file`, 'give the model');
      watch.see(opened.side);
      if (opened.side.model !== null) fileOptions.see(opened.side.model);
      const text = await lockText(opened.side, {
        file: basename(model),
        hash: (path) => options.values || globs.some((matches) => fitsGlob(matches, path)),
      });
      texts.push({ lock, text });
    } finally {
      await opened.close();
    }
  }
  fileOptions.require();
  // Patterns of the config file are for every model of the repository, and this may be one of many.
  if (options.frozenFrom === null) watch.require();
  return texts.map(({ lock, text }) => {
    const before = existsSync(lock) ? readFileSync(lock, 'utf8') : null;
    if (before === text) return `${lock}: as it was\n`;
    writeReport(lock, [text]);
    return `${lock}: ${before === null ? 'written' : 'updated'}\n`;
  });
}
