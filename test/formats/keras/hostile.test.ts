import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import type { WorkerHost } from '../../../src/bytes/worker.ts';
import { isBnsumError } from '../../../src/ir/error.ts';
import { openKeras } from './open-keras.ts';
import { buildWorkers } from './workers.ts';

/** HDF5 files that crashed, hung or misled other readers. Each ends in a model or in one refusal, in bounded time. */
const hostile = process.env['BNSUM_HOSTILE'];
const SUITE = 'HDFGroup+cve_hdf5';
const SILENT_MILLISECONDS = 5_000;
const MEGABYTE = 1024 * 1024;

function filesBelow(folder: string): string[] {
  return readdirSync(folder, { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name));
}

const suite = hostile === undefined ? '' : join(hostile, SUITE);
const files = existsSync(suite) ? filesBelow(suite) : [];

describe.skipIf(hostile === undefined)('hostile HDF5 (BNSUM_HOSTILE)', () => {
  let workers: WorkerHost;
  beforeAll(async () => {
    workers = await buildWorkers();
  });

  test('the files are there', () => {
    expect(files.length, `BNSUM_HOSTILE is set, but holds no ${SUITE}`).toBeGreaterThan(50);
  });

  test.each(files)('%s', { timeout: 3 * SILENT_MILLISECONDS }, async (file) => {
    const before = process.memoryUsage().rss;
    const result = await openKeras(file, undefined, workers, SILENT_MILLISECONDS).catch((error: unknown) => error);
    if (result instanceof Error) {
      expect(isBnsumError(result)).toBe(true);
      expect(result.message).not.toContain('\n');
    } else {
      const { value } = result as Awaited<ReturnType<typeof openKeras>>;
      await value.close();
    }
    expect(process.memoryUsage().rss - before).toBeLessThan(300 * MEGABYTE);
  });
});
