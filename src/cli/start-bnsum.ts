import { setFlagsFromString } from 'node:v8';
import { bnsum } from './bnsum.ts';
import { run } from './run.ts';

/** The command's whole program, loaded after the version is out of the way. */
export function start(): Promise<never> {
  // A short program that reads 100,000 tensors makes more garbage than it keeps: let it be collected before memory doubles.
  setFlagsFromString('--heap-growing-percent=50');
  return run('bnsum', bnsum);
}
