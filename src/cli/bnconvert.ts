import type { ExitCode, Io } from './run.ts';

/** bnconvert is announced, not here: one line and 2. */
export function bnconvert(io: Io): Promise<ExitCode> {
  io.say(
    'bnconvert: Converting Keras files to PyTorch comes with the next release; bnsum FILE... summarises today [USAGE]',
  );
  return Promise.resolve(2);
}
