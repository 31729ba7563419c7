import type { Writable } from 'node:stream';
import { errorLine, exitCodeOf } from './message.ts';
import { removeUnfinished, writeAll } from './output.ts';

/** 0 done, 1 the answer is no, 2 trouble. */
export type ExitCode = 0 | 1 | 2;

/** What a command may use of the process. */
export interface Io {
  /** Data; waits for slow readers. */
  write(pieces: Iterable<string>): Promise<void>;
  /** Data that is no text. */
  writeBytes(bytes: Uint8Array): Promise<void>;
  /** One line of a message on stderr, already escaped. */
  say(line: string): void;
  /** An error as one line on stderr, with its stack when asked for with --debug. */
  complain(error: unknown): void;
  readonly isTerminal: boolean;
  readonly terminalColumns: number | undefined;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Words behind the command's name. */
  readonly words: readonly string[];
}

function isBrokenPipe(error: unknown): boolean {
  return error instanceof Error && 'code' in error && (error.code === 'EPIPE' || error.code === 'ERR_STREAM_DESTROYED');
}

function asksForDebug(words: readonly string[]): boolean {
  const end = words.indexOf('--');
  return (end < 0 ? words : words.slice(0, end)).includes('--debug');
}

/** Takes the loss of a reader for the end of what it wants to hear: the command goes on to its answer. */
async function unlessGone(writing: Promise<void>): Promise<void> {
  try {
    await writing;
  } catch (error) {
    if (!isBrokenPipe(error)) throw error;
  }
}

async function ended(stream: Writable): Promise<void> {
  await new Promise<void>((resolve) => stream.write('', () => resolve()));
}

/**
 * Runs a command and ends the process: the one place that exits. A reader that has gone is told nothing more, and the
 * status is what it would have been; data that is no text and was not taken is 2; a refusal is one line and 2; anything unforeseen is our bug and 70; signals remove what is half written.
 */
export async function run(command: string, main: (io: Io) => Promise<ExitCode>): Promise<never> {
  const words = process.argv.slice(2);
  const debug = asksForDebug(words);
  const leave = (code: number): never => {
    removeUnfinished();
    process.exit(code);
  };
  process.on('SIGINT', () => leave(130));
  process.on('SIGTERM', () => leave(143));
  process.on('SIGHUP', () => leave(129));
  const complain = (error: unknown): void => {
    process.stderr.write(`${errorLine(command, error)}\n`);
    if (debug && error instanceof Error) process.stderr.write(`${error.stack ?? ''}\n`);
  };
  // Each write is told of its own failure; without a listener the first one would end the process.
  const quiet = (): void => undefined;
  process.stdout.on('error', quiet);
  process.stderr.on('error', quiet);

  const io: Io = {
    write: (pieces) => unlessGone(writeAll(process.stdout, pieces)),
    writeBytes: (bytes) => writeAll(process.stdout, [bytes]),
    say: (line) => void process.stderr.write(`${line}\n`),
    complain,
    isTerminal: process.stdout.isTTY === true,
    terminalColumns: process.stdout.columns,
    env: process.env,
    words,
  };
  let code: number;
  try {
    code = await main(io);
  } catch (error) {
    // Half a converted model is none, and nobody is left to be told why.
    if (isBrokenPipe(error)) leave(2);
    complain(error);
    code = exitCodeOf(error);
  }
  await ended(process.stderr);
  return leave(code);
}
