import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll } from 'vitest';
import { nodeWorkers } from '../../../src/bytes/node/worker.ts';
import type { WorkerHost } from '../../../src/bytes/worker.ts';

const root = dirname(dirname(dirname(dirname(fileURLToPath(import.meta.url)))));

const made: string[] = [];

afterAll(() => {
  for (const folder of made) rmSync(folder, { recursive: true, force: true });
});

/** Builds the thread that reads HDF5 as the package does, into a folder of its own, and hosts it. */
export async function buildWorkers(): Promise<WorkerHost> {
  const outdir = mkdtempSync(join(tmpdir(), 'bnsum-workers-'));
  made.push(outdir);
  const builder: { buildHdf5Worker(options: { root: string; outdir: string }): Promise<void> } = await import(
    join(root, 'build-hdf5-worker.mjs')
  );
  await builder.buildHdf5Worker({ root, outdir });
  const host = nodeWorkers(outdir);
  if (host === undefined) throw new Error('the build made no HDF5 worker');
  return host;
}
