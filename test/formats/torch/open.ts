import { basename } from 'node:path';
import { useCodec } from '../../../src/bytes/codec.ts';
import { memorySource } from '../../../src/bytes/memory-source.ts';
import { nodeCodec } from '../../../src/bytes/node/codec.ts';
import { openFileSource } from '../../../src/bytes/node/file-source.ts';
import { openSiblings } from '../../../src/bytes/node/siblings.ts';
import type { ByteSource, ReadOptions, Siblings } from '../../../src/bytes/source.ts';
import { torchReader } from '../../../src/formats/torch/index.ts';
import type { Outcome } from '../../../src/ir/diagnostic.ts';
import type { Model, Tensor } from '../../../src/ir/model.ts';

useCodec(nodeCodec);

export const NO_SIBLINGS: Siblings = {
  open: async (name) => {
    throw new Error(`a sibling was asked for: ${name}`);
  },
};

/** Sniffs and reads, as opening a file does; fails when the reader does not claim the bytes. */
export async function readTorch(
  source: ByteSource,
  siblings: Siblings = NO_SIBLINGS,
  options: ReadOptions = {},
): Promise<Outcome<Model>> {
  const head = await source.read(0, Math.min(4096, source.size));
  const tail = await source.read(Math.max(0, source.size - 66_000), source.size);
  const match = await torchReader.match({ head, tail, size: source.size, name: basename(source.label) }, source);
  if (match === 'no') throw new Error(`${source.label} was not recognised`);
  return torchReader.read(source, siblings, options);
}

export async function openTorch(path: string, options: ReadOptions = {}): Promise<Outcome<Model>> {
  const source = await openFileSource(path);
  try {
    return await readTorch(source, openSiblings(path), options);
  } catch (error) {
    await source.close();
    throw error;
  }
}

export function readTorchBytes(bytes: Uint8Array, options: ReadOptions = {}): Promise<Outcome<Model>> {
  return readTorch(memorySource(bytes, 'test.pt'), NO_SIBLINGS, options);
}

/** The whole tensor, C order, little-endian. */
export async function bytesOf(tensor: Tensor): Promise<Uint8Array> {
  const into = new Uint8Array(tensor.byteLength);
  await tensor.readInto(
    tensor.shape.map(() => 0),
    tensor.shape,
    into,
  );
  return into;
}
