import { readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { openFileSource } from '../../../src/bytes/node/file-source.ts';
import { readHeaderTree } from '../../../src/formats/keras/hdf5-header.ts';
import { findSuperblock, openHdf5 } from '../../../src/formats/keras/hdf5-open.ts';
import { isBnsumError } from '../../../src/ir/error.ts';

/** Our own reading of the headers against the library's, object by object. */
const root = join(dirname(dirname(dirname(dirname(fileURLToPath(import.meta.url))))), 'fixtures');
const samples = process.env['BNSUM_SAMPLES'];
const hostile = process.env['BNSUM_HOSTILE'];

function hdf5Below(folder: string): string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && /\.(h5|hdf5)$/.test(entry.name))
    .map((entry) => join(entry.parentPath, entry.name))
    .sort();
}

const files = [
  ...hdf5Below(join(root, 'good')),
  ...hdf5Below(join(root, 'bad')),
  ...(samples === undefined ? [] : hdf5Below(join(samples, 'keras-h5'))),
  ...(samples === undefined ? [] : hdf5Below(join(samples, 'keras-weights'))),
  ...(hostile === undefined ? [] : hdf5Below(join(hostile, 'usnistgov+h5wasm'))),
  ...(hostile === undefined ? [] : hdf5Below(join(hostile, 'h5py+h5py'))),
  ...(hostile === undefined ? [] : hdf5Below(join(hostile, 'usnistgov+jsfive'))),
];

let own = 0;

async function compare(path: string): Promise<void> {
  const source = await openFileSource(path).catch(() => undefined);
  if (source === undefined) return;
  try {
    const superblock = await findSuperblock(source).catch(() => undefined);
    if (superblock === undefined) return;
    const tree = readHeaderTree((offset, into) => {
      if (offset < 0 || offset + into.length > source.size) return false;
      source.readSync(offset, into);
      return true;
    }, superblock);
    if (tree === undefined) return;
    own++;
    const library = await openHdf5(source, { libraryOnly: true }).catch((error: unknown) => error);
    // What the library refuses must not pass unseen.
    expect(library).not.toSatisfy(isBnsumError);
    const file = library as Awaited<ReturnType<typeof openHdf5>>;
    await file.close();
    expect(new Map(tree.groups.map((group) => [group.path, group]))).toEqual(file.groups);
    expect(new Map(tree.datasets.map((dataset) => [dataset.path, dataset]))).toEqual(file.datasets);
  } finally {
    await source.close();
  }
}

describe('header trees', () => {
  test.each(files)('%s', compare);

  test('nearly every file of Keras is read without the library', () => {
    expect(own).toBeGreaterThan(0.85 * hdf5Below(join(root, 'good')).length);
  });
});
