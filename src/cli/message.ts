import { BnsumError, type ErrorCode, isBnsumError } from '../ir/error.ts';
import { escapeText } from '../views/escape.ts';

/** Visible characters of one error line. */
const LINE = 500;

/** The code that a foreign error stands for. */
function codeOf(error: unknown): string {
  if (isBnsumError(error)) return error.code;
  return systemError(error)?.code ?? 'INTERNAL';
}

/** What the operating system said, in words. */
const SYSTEM: ReadonlyMap<string, readonly [ErrorCode, string]> = new Map([
  ['ENOENT', ['NOT_FOUND', 'no such file or directory']],
  ['EACCES', ['IO', 'permission denied']],
  ['EPERM', ['IO', 'operation not permitted']],
  ['EISDIR', ['NOT_A_FILE', 'is a directory']],
  ['ENOTDIR', ['NOT_FOUND', 'a part of the path is not a directory']],
  ['ELOOP', ['NOT_FOUND', 'too many symbolic links']],
  ['ENAMETOOLONG', ['NOT_FOUND', 'the name is too long']],
  ['ENOSPC', ['IO', 'no space left on the device']],
  ['EDQUOT', ['IO', 'disk quota exceeded']],
  ['EROFS', ['IO', 'the file system is read-only']],
  ['EMFILE', ['IO', 'too many open files']],
  ['EIO', ['IO', 'input/output error']],
  ['EBUSY', ['IO', 'busy']],
]);

/** A refusal for an error of the operating system; undefined for anything else. */
export function systemError(error: unknown): BnsumError | undefined {
  if (!(error instanceof Error) || !('code' in error) || typeof error.code !== 'string') return undefined;
  if (!('syscall' in error) && !SYSTEM.has(error.code)) return undefined;
  const [code, reason] = SYSTEM.get(error.code) ?? (['IO', `the system said ${error.code}`] as const);
  const file = 'path' in error && typeof error.path === 'string' ? error.path : undefined;
  return new BnsumError({ code, ...(file === undefined ? {} : { file }), reason, cause: error });
}

/** One line without control characters, cut in the middle when it is too long; the code at its end stays. */
export function oneLine(text: string): string {
  const line = escapeText(text.replace(/\s*\r?\n\s*/g, ' ').trim());
  return line.length <= LINE ? line : `${line.slice(0, LINE - 120)}…${line.slice(-110)}`;
}

/** `bnsum: file: reason; next step [CODE]`. */
export function errorLine(command: string, error: unknown): string {
  if (isBnsumError(error) && error.code !== 'INTERNAL') return oneLine(`${command}: ${error.message}`);
  const system = systemError(error);
  if (system !== undefined) return oneLine(`${command}: ${system.message}`);
  const text = error instanceof Error ? error.message : String(error);
  const coded = text.endsWith('[INTERNAL]') ? text.slice(0, -'[INTERNAL]'.length).trimEnd() : text;
  return oneLine(
    `${command}: this is a bug in ${command}: ${coded}; please report it with the output of --debug [INTERNAL]`,
  );
}

/** 2 for trouble that the user can know of, 70 for our bugs. */
export function exitCodeOf(error: unknown): 2 | 70 {
  return codeOf(error) === 'INTERNAL' ? 70 : 2;
}

/** The facts of an error for JSON. */
export function errorFacts(error: unknown): { readonly code: string; readonly message: string } {
  const facts = isBnsumError(error) ? error : (systemError(error) ?? error);
  return { code: codeOf(error), message: facts instanceof Error ? facts.message : String(facts) };
}
