import type { CommanderError } from 'commander';
import { BnsumError } from '../ir/error.ts';
import { nearest } from './suggest.ts';

/** A refusal of the command line. */
export function usage(reason: string, next?: string): BnsumError {
  return new BnsumError({ code: 'USAGE', reason, ...(next === undefined ? {} : { next }) });
}

/** Picks a word from a closed list, or throws USAGE with the nearest one. */
export function choose<T extends string>(what: string, word: string, known: readonly T[]): T {
  const found = known.find((one) => one === word);
  if (found !== undefined) return found;
  const near = nearest(word, known);
  throw usage(
    `unknown ${what} '${word}'${near === undefined ? '' : ` (did you mean ${near}?)`}`,
    `use one of ${known.join(', ')}`,
  );
}

/** `error: unknown option '--fromat'\n(Did you mean --format?)` as our own one-line refusal. */
export function usageOf(command: string, error: CommanderError): BnsumError {
  const text = error.message
    .replace(/^error: /, '')
    .replace(/\s*\n\s*/g, ' ')
    .replace('(Did you mean', '(did you mean');
  return usage(text, `see ${command} --help`);
}
