import { bndiff } from './bndiff.ts';
import { run } from './run.ts';

/** The command's whole program, loaded after the version is out of the way. */
export function start(): Promise<never> {
  return run('bndiff', bndiff);
}
