import { bnconvert } from './bnconvert.ts';
import { run } from './run.ts';

/** The command's whole program, loaded after the version is out of the way. */
export function start(): Promise<never> {
  return run('bnconvert', bnconvert);
}
