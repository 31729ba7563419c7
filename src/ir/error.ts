/**
 * The closed set of refusals. Every one names file, place, reason and the next step, in one line.
 * `USAGE` and everything else exit with 2; `INTERNAL` is our bug and exits with 70.
 */
export type ErrorCode =
  | 'NOT_FOUND' // no such file, no such member, no such layer
  | 'NOT_A_FILE' // directory, FIFO, device
  | 'NOT_A_MODEL' // something else: HTML page, Git LFS pointer, empty file, plain HDF5
  | 'TRUNCATED' // ends before what it claims to hold
  | 'MALFORMED' // breaks its format's rules
  | 'MISMATCH' // two parts of the input contradict each other
  | 'UNSUPPORTED' // valid, and not read by us
  | 'UNSAFE' // asks for code, a foreign path, an external file
  | 'LIMIT' // over one of the limits in limits.ts
  | 'AMBIGUOUS' // several readings, none of them preferred
  | 'REFUSED' // a conversion that would be wrong
  | 'EXISTS' // output exists, output is the input
  | 'IO' // the operating system said no
  | 'USAGE'
  | 'INTERNAL';

export interface ErrorFacts {
  readonly code: ErrorCode;
  /** File label, with members after '!': `model.keras!model.weights.h5`. */
  readonly file?: string;
  /** Where in it: `@1234`, `/model_config/layers/3`, a layer or tensor name. */
  readonly place?: string;
  readonly reason: string;
  /** What the user can do now; by default what helps with errors of this code. */
  readonly next?: string;
  readonly cause?: unknown;
}

/** What helps where a refusal names no step of its own; our own bugs and usage errors have none. */
const NEXT_STEPS: Readonly<Partial<Record<ErrorCode, string>>> = {
  AMBIGUOUS: 'write the file again with the tool that made it',
  EXISTS: 'name another file',
  IO: 'check the disk and the permissions',
  LIMIT: 'such a file is not read; check where it comes from',
  MALFORMED: 'the file is damaged or not what it claims; fetch or save it again',
  MISMATCH: 'its parts do not belong together; save the model again',
  NOT_A_FILE: 'name a file',
  NOT_A_MODEL: 'name the file that holds the model',
  NOT_FOUND: 'check the name',
  REFUSED: 'convert that layer by hand',
  TRUNCATED: 'the file is incomplete; fetch or save it again',
  UNSAFE: 'write the model again in one piece',
  UNSUPPORTED: 'save the model in another form that is read (bnsum --help lists them)',
};

/** The only error type that reaches a user; its message is one line: `file place: reason; next step [CODE]`. */
export class BnsumError extends Error {
  readonly code: ErrorCode;
  readonly file: string | undefined;
  readonly place: string | undefined;
  readonly reason: string;
  readonly next: string | undefined;

  constructor(facts: ErrorFacts) {
    const where = [facts.file, facts.place].filter((part) => part !== undefined && part !== '').join(' ');
    const next = facts.next ?? NEXT_STEPS[facts.code];
    const step = next === undefined ? '' : `; ${next}`;
    super(`${where === '' ? '' : `${where}: `}${facts.reason}${step} [${facts.code}]`, { cause: facts.cause });
    this.name = 'BnsumError';
    this.code = facts.code;
    this.file = facts.file;
    this.place = facts.place;
    this.reason = facts.reason;
    this.next = next;
  }
}

/** Narrows to our own refusal, optionally of given codes. */
export function isBnsumError(error: unknown, ...codes: readonly ErrorCode[]): error is BnsumError {
  return error instanceof BnsumError && (codes.length === 0 || codes.includes(error.code));
}
