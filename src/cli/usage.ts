import { type Command, CommanderError, Option } from 'commander';
import { BnsumError } from '../ir/error.ts';
import { nearest } from './suggest.ts';

/** A refusal of the command line. */
export function usage(reason: string, next?: string): BnsumError {
  return new BnsumError({ code: 'USAGE', reason, ...(next === undefined ? {} : { next }) });
}

/** Refuses a file that is named by no letter at all, such as a variable of a script that is not set. */
export function refuseEmpty(named: Iterable<readonly [what: string, word: string | undefined]>): void {
  for (const [what, word] of named) if (word === '') throw usage(`${what} is empty`, 'name a file');
}

/** An option that is given once or more; its words in their order, or undefined. */
export function repeatable(flags: string, text: string): Option {
  return new Option(flags, `${text} (may be repeated)`).argParser(
    (word: string, before: readonly string[] | undefined) => [...(before ?? []), word],
  );
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
function usageOf(command: string, error: CommanderError): BnsumError {
  const text = error.message
    .replace(/^error: /, '')
    .replace(/\s*\n\s*/g, ' ')
    .replace('(Did you mean', '(did you mean');
  return usage(text, `see ${command} --help`);
}

/**
 * Parses the words; returns the help text where it was asked for, else null. Throws BnsumError USAGE with the nearest
 * option.
 */
export function parseWords(command: Command, words: readonly string[], helpColumns: number | null): string | null {
  let help = '';
  command.exitOverride().configureOutput({
    writeOut: (text) => {
      help += text;
    },
    writeErr: () => undefined,
    getOutHelpWidth: () => helpColumns ?? 100,
    getOutHasColors: () => false,
  });
  try {
    command.parse([...words], { from: 'user' });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    if (error.code === 'commander.helpDisplayed' || error.code === 'commander.help') return help;
    throw usageOf(command.name(), error);
  }
  return null;
}
