import { basename } from 'node:path';
import { memorySource } from '../../../src/bytes/memory-source.ts';
import { openFileSource } from '../../../src/bytes/node/file-source.ts';
import { openSiblings } from '../../../src/bytes/node/siblings.ts';
import type { ByteSource, Siblings } from '../../../src/bytes/source.ts';
import { onnxReader } from '../../../src/formats/onnx/read.ts';
import type { Outcome } from '../../../src/ir/diagnostic.ts';
import type { Model } from '../../../src/ir/model.ts';
import { memorySiblings, probeOf } from '../../helpers/source.ts';

/** Reads as opening a file does, the choice among formats included. */
export async function readOnnx(source: ByteSource, siblings: Siblings): Promise<Outcome<Model>> {
  const head = await source.read(0, Math.min(4096, source.size));
  const match = await onnxReader.match({ head, tail: head, size: source.size, name: basename(source.label) }, source);
  if (match === 'no') throw new Error(`${source.label} was not recognised`);
  return onnxReader.read(source, siblings, {});
}

export async function openOnnx(path: string): Promise<Outcome<Model>> {
  const source = await openFileSource(path);
  try {
    return await readOnnx(source, openSiblings(path));
  } catch (error) {
    await source.close();
    throw error;
  }
}

/** Reads bytes, whatever they look like. */
export function readBytes(bytes: Uint8Array, files?: ReadonlyMap<string, Uint8Array>): Promise<Outcome<Model>> {
  return onnxReader.read(memorySource(bytes, 'test.onnx'), memorySiblings(files), {});
}

export function matches(bytes: Uint8Array, name = 'test.bin'): Promise<'no' | 'maybe' | 'yes'> {
  return onnxReader.match(probeOf(bytes, name), memorySource(bytes, name));
}
