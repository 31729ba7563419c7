import type { FormatReader } from '../../bytes/source.ts';
import type { Outcome } from '../../ir/diagnostic.ts';
import type { Model } from '../../ir/model.ts';
import { matchKeras, readKeras } from './read.ts';

/** Keras files of every generation: HDF5, `.keras`, `.weights.h5` and its shards, and architectures as JSON. */
export const kerasReader: FormatReader<Outcome<Model>> = {
  name: 'keras',
  match: matchKeras,
  read: readKeras,
};
