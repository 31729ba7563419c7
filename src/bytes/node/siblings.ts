import { type BigIntStats, constants, lstatSync, realpathSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { BnsumError } from '../../ir/error.ts';
import type { ByteSource, Siblings } from '../source.ts';
import { errnoOf, openDescriptor } from './file-source.ts';

/**
 * Files beside a model, under the rules for paths that a file names: relative, no '..', below the model's real folder,
 * no symbolic link in any component, a regular file of link count 1, opened without following links.
 * `open` throws BnsumError UNSAFE, NOT_FOUND, NOT_A_FILE or IO. The caller closes what it opened.
 */
export function openSiblings(modelPath: string): Siblings {
  const shown = dirname(modelPath);
  return {
    async open(name: string): Promise<ByteSource> {
      const parts = partsOf(name, modelPath);
      const label = join(shown, ...parts);
      let path: string;
      try {
        path = realpathSync(shown);
      } catch (error) {
        throw new BnsumError({ code: 'IO', file: shown, reason: `cannot be opened (${errnoOf(error)})`, cause: error });
      }
      let stats: BigIntStats | undefined;
      for (const [index, part] of parts.entries()) {
        path = join(path, part);
        stats = inspect(path, label, modelPath);
        if (stats.isSymbolicLink()) {
          throw unsafe(label, 'is reached through a symbolic link', 'put the file itself beside the model');
        }
        if (index < parts.length - 1 && !stats.isDirectory()) {
          throw new BnsumError({ code: 'NOT_FOUND', file: label, reason: `${parts[index]} is no folder` });
        }
      }
      if (stats === undefined || !stats.isFile()) {
        throw new BnsumError({ code: 'NOT_A_FILE', file: label, reason: 'is not a regular file' });
      }
      if (stats.nlink !== 1n) {
        throw unsafe(label, `has ${stats.nlink} hard links`, 'put a copy of its own beside the model');
      }
      return openDescriptor(path, label, constants.O_RDONLY | (constants.O_NOFOLLOW ?? 0), stats);
    },
  };
}

function inspect(path: string, label: string, modelPath: string): BigIntStats {
  try {
    return lstatSync(path, { bigint: true });
  } catch (error) {
    const errno = errnoOf(error);
    if (errno === 'ENOENT' || errno === 'ENOTDIR') {
      throw new BnsumError({
        code: 'NOT_FOUND',
        file: label,
        reason: `is missing, ${modelPath} needs it`,
        next: 'put it in the same folder',
        cause: error,
      });
    }
    throw new BnsumError({ code: 'IO', file: label, reason: `cannot be opened (${errno})`, cause: error });
  }
}

/** The components of a relative path; throws UNSAFE for every other path. */
function partsOf(name: string, modelPath: string): readonly string[] {
  const shown = name.length > 100 ? `${name.slice(0, 100)}…` : name;
  if (name.includes('\0') || name.includes('\\') || /^[A-Za-z][A-Za-z0-9+.-]*:/.test(name)) {
    throw unsafe(modelPath, `names the file '${shown}', which is no relative path`);
  }
  const parts = name.split('/').filter((part, index) => !(part === '.' && index === 0));
  if (parts.length === 0 || parts.some((part) => part === '' || part === '.' || part === '..')) {
    throw unsafe(modelPath, `names the file '${shown}', which is not below the model's folder`);
  }
  return parts;
}

function unsafe(file: string, reason: string, next?: string): BnsumError {
  return new BnsumError({ code: 'UNSAFE', file, reason, ...(next === undefined ? {} : { next }) });
}
