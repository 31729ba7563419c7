import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { beforeAll, describe, expect, test } from 'vitest';
import type { WorkerHost } from '../../../src/bytes/worker.ts';
import type { ErrorCode } from '../../../src/ir/error.ts';
import { openKeras } from './open-keras.ts';
import { buildWorkers } from './workers.ts';

const bad = join(dirname(dirname(dirname(dirname(fileURLToPath(import.meta.url))))), 'fixtures', 'bad');

/** What is wrong, by code and the words that a user needs to see. */
const REFUSED: readonly (readonly [string, ErrorCode, RegExp])[] = [
  ['bomb.keras', 'LIMIT', /config\.json/],
  ['compound-weight.h5', 'UNSUPPORTED', /dense\/bias.*compound/],
  ['config-cut.keras', 'TRUNCATED', /config\.json/],
  ['config-deep.keras', 'LIMIT', /nested deeper/],
  ['config-duplicate-key.keras', 'MALFORMED', /class_name/],
  ['config-empty.keras', 'TRUNCATED', /config\.json/],
  ['config-latin1.h5', 'MALFORMED', /model_config.*UTF-8/],
  ['config-list.h5', 'MALFORMED', /names no class/],
  ['config-not-json.h5', 'TRUNCATED', /model_config.*JSON/],
  ['config-not-json.keras', 'MALFORMED', /config\.json.*JSON/],
  ['config-number.h5', 'MALFORMED', /model_config: is no text/],
  ['damaged-btree.h5', 'MALFORMED', /damaged/],
  ['duplicate-config.keras', 'AMBIGUOUS', /config\.json/],
  ['duplicate-weights.keras', 'AMBIGUOUS', /model\.weights\.h5/],
  ['empty-hdf5.h5', 'NOT_A_MODEL', /0 datasets and no Keras model/],
  ['escaping-weight-name.h5', 'MISMATCH', /\.\.\/\.\.\/model_weights/],
  ['external-link-group.h5', 'UNSAFE', /model_weights\/dense.*another file/],
  ['external-link.h5', 'UNSAFE', /dense\/kernel.*another file/],
  ['external-storage.h5', 'UNSAFE', /dense\/kernel.*external storage/],
  ['extra-dataset.keras', 'MISMATCH', /does not name: layers\/dense\/vars\/2/],
  ['extra-layer.h5', 'MISMATCH', /does not name: stranger\/kernel/],
  ['extra-layer.keras', 'MISMATCH', /does not name: layers\/dense_7\/vars/],
  ['extra-weight.h5', 'MISMATCH', /does not name: batch_normalization\/extra/],
  ['group-for-dataset.h5', 'MISMATCH', /dense\/bias, which is not in the file/],
  ['hard-link-cycle.h5', 'MALFORMED', /dense\/loop.*cycle/],
  ['inbound-cycle.h5', 'MALFORMED', /circle/],
  ['inbound-missing.h5', 'MALFORMED', /nowhere/],
  ['inner-not-hdf5.keras', 'NOT_A_MODEL', /model\.weights\.h5: not an HDF5 file/],
  ['json.h5', 'NOT_A_MODEL', /JSON that is no Keras architecture/],
  ['missing-dataset.h5', 'MISMATCH', /dense\/bias/],
  ['missing-dataset.keras', 'MISMATCH', /lacks: dense bias/],
  ['missing-group.h5', 'MISMATCH', /model_weights\/dense: layer_names lists this layer/],
  ['missing-layer.h5', 'MISMATCH', /lacks: dense kernel, dense bias/],
  ['missing-weights.h5', 'MISMATCH', /lacks: dense kernel, dense bias/],
  ['no-config.keras', 'NOT_FOUND', /without config\.json/],
  ['no-weights.keras', 'NOT_FOUND', /without model\.weights\.h5/],
  ['not-keras.h5', 'NOT_A_MODEL', /1 dataset \(temperature\) and no Keras model/],
  ['petabytes-weights.h5', 'LIMIT', /dense\/kernel.*claims/],
  ['petabytes.h5', 'MISMATCH', /1000000000/],
  ['rank-mismatch.h5', 'MISMATCH', /gamma of shape \[4\]/],
  ['same-name-twice.h5', 'MALFORMED', /two layers of one model/],
  ['shape-mismatch.h5', 'MISMATCH', /\[100, 5\].*\[100, 6\]/],
  ['shape-mismatch.keras', 'MISMATCH', /\[100, 5\].*\[100, 6\]/],
  ['shard-missing.weights.json', 'NOT_FOUND', /sharded_00000\.weights\.h5/],
  ['shard-outside.weights.json', 'UNSAFE', /\.\.\/good/],
  ['soft-link-dangling.h5', 'UNSAFE', /dense\/kernel: a soft link/],
  ['soft-link-loop.h5', 'UNSAFE', /dense\/kernel: a soft link/],
  ['soft-link.h5', 'UNSAFE', /dense\/kernel: a soft link/],
  ['superblock-9.h5', 'UNSUPPORTED', /superblock version 9/],
  ['text-weight.h5', 'UNSUPPORTED', /dense\/bias.*string/],
  ['traversal.keras', 'UNSAFE', /evil\.txt/],
  ['truncated-early.h5', 'TRUNCATED', /1000 of \d+ bytes/],
  ['truncated-superblock.h5', 'TRUNCATED', /40 of/],
  ['truncated.h5', 'TRUNCATED', /cut off at \d+ of \d+ bytes/],
  ['truncated.keras', 'TRUNCATED', /truncated/],
  ['unallocated.h5', 'TRUNCATED', /ever written/],
  ['units-huge.h5', 'MALFORMED', /units is "1e\+308"/],
  ['units-negative.h5', 'MALFORMED', /units is "-5"/],
  ['units-text.h5', 'MALFORMED', /units is "5"/],
  ['virtual-dataset.h5', 'UNSAFE', /dense\/kernel.*virtual dataset/],
  ['zip-not-keras.keras', 'NOT_FOUND', /without config\.json/],
];

let workers: WorkerHost;
beforeAll(async () => {
  workers = await buildWorkers();
});

describe('bad files are refused in one line', () => {
  test.each(REFUSED)('%s', async (name, code, words) => {
    const error: unknown = await openKeras(join(bad, name), undefined, workers).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ name: 'BnsumError', message: expect.stringMatching(words) });
    expect(error).toMatchObject({ code });
    expect((error as Error).message).not.toContain('\n');
  });
});

/** Read, with what has to be said about them. */
const NOTED: readonly (readonly [string, string | undefined])[] = [
  ['config-proto.keras', undefined],
  ['lambda-nested.h5', 'CODE_PRESENT'],
  ['lambda-nested.keras', 'CODE_PRESENT'],
  ['module-os.keras', 'CUSTOM_LAYER'],
  ['no-metadata.keras', 'ASSUMED'],
  ['unknown-filter.h5', undefined],
];

test.each(NOTED)('%s is read', async (name, code) => {
  const { value, diagnostics } = await openKeras(join(bad, name), undefined, workers);
  await value.close();
  if (code !== undefined) expect(diagnostics.map((diagnostic) => diagnostic.code)).toContain(code);
  expect(Object.hasOwn(Object.prototype, 'polluted')).toBe(false);
});

async function readAll(name: string): Promise<void> {
  const { value } = await openKeras(join(bad, name), undefined, workers);
  try {
    for (const { weights } of value.layers) {
      for (const { tensor } of weights) {
        const zeros = tensor.shape.map(() => 0);
        await tensor.readInto(zeros, tensor.shape, new Uint8Array(tensor.byteLength));
      }
    }
  } finally {
    await value.close();
  }
}

test('values are refused where their bytes cannot be right', async () => {
  await expect(readAll('crc.keras')).rejects.toMatchObject({ code: 'MALFORMED' });
  await expect(readAll('unknown-filter.h5')).rejects.toMatchObject({
    code: 'UNSUPPORTED',
    message: expect.stringContaining('filter 32000 (lzf)'),
  });
});
