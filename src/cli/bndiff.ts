import type { ExitCode, Io } from './run.ts';

/** bndiff is announced, not here: one line and 2. */
export function bndiff(io: Io): Promise<ExitCode> {
  io.say('bndiff: Comparing two model files comes with the next release; bnsum FILE... summarises today [USAGE]');
  return Promise.resolve(2);
}
