import { useCodec } from '../../../src/bytes/codec.ts';
import { nodeCodec } from '../../../src/bytes/node/codec.ts';
import { openFileSource } from '../../../src/bytes/node/file-source.ts';
import { openSiblings } from '../../../src/bytes/node/siblings.ts';
import type { WorkerHost } from '../../../src/bytes/worker.ts';
import { readKeras } from '../../../src/formats/keras/read.ts';
import type { Outcome } from '../../../src/ir/diagnostic.ts';
import type { Model } from '../../../src/ir/model.ts';

useCodec(nodeCodec);

/** Opens a Keras file in this thread, or on a thread of `workers`. The label is the base name. */
export async function openKeras(
  path: string,
  config?: string,
  workers?: WorkerHost,
  silentMilliseconds?: number,
): Promise<Outcome<Model>> {
  const source = await openFileSource(path);
  const given = config === undefined ? undefined : await openFileSource(config);
  try {
    return await readKeras(source, openSiblings(path), {
      ...(given === undefined ? {} : { config: given }),
      ...(workers === undefined ? {} : { workers }),
      ...(silentMilliseconds === undefined ? {} : { silentMilliseconds }),
    });
  } catch (error) {
    await source.close();
    throw error;
  } finally {
    await given?.close();
  }
}
