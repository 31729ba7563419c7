import { preferFastCompile, serveWorker } from '../../bytes/node/worker-entry.ts';
import { type EngineFile, type Hdf5Tree, openEngineFile } from './hdf5-engine.ts';
import { loadLibrary } from './hdf5-library.ts';
import type { Superblock } from './hdf5-structure.ts';

/** The entry of the thread that reads one HDF5 file. */
export type Hdf5Request =
  | { readonly ask: 'tree'; readonly superblock: Superblock }
  | {
      readonly ask: 'data';
      readonly superblock: Superblock;
      readonly path: string;
      readonly start: readonly number[];
      readonly count: readonly number[];
      /** Shared memory, filled with the data. */
      readonly into: Uint8Array;
    };

export type Hdf5Answer =
  | { readonly tree: Hdf5Tree; readonly bytesRead: number }
  | { readonly filled: true; readonly bytesRead: number };

serveWorker((input, alive) => {
  let file: EngineFile | undefined;
  return async (message) => {
    const request = message as Hdf5Request;
    alive();
    // Headers are read once and data long: only for data is optimised code worth its time.
    if (file === undefined) preferFastCompile(request.ask === 'tree');
    const loaded = await loadLibrary();
    alive();
    file ??= openEngineFile(loaded, input, request.superblock);
    if (request.ask === 'tree') {
      const answer: Hdf5Answer = { tree: file.collect(alive), bytesRead: file.bytesRead() };
      return { value: answer };
    }
    file.read(request.path, request.start, request.count, request.into);
    const answer: Hdf5Answer = { filled: true, bytesRead: file.bytesRead() };
    return { value: answer };
  };
});
