import { realpathSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { nodeWorkers } from '../bytes/node/worker.ts';
import type { WorkerHost } from '../bytes/worker.ts';

/** The threads that the build puts beside the command; undefined when the sources run as they are. */
export function commandWorkers(): WorkerHost | undefined {
  const command = process.argv[1];
  if (command === undefined) return undefined;
  try {
    return nodeWorkers(join(dirname(realpathSync(command)), '..', 'worker'));
  } catch {
    return undefined;
  }
}
