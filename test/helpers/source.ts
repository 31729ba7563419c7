import { memorySource } from '../../src/bytes/memory-source.ts';
import type { ByteSource, Probe, Siblings } from '../../src/bytes/source.ts';
import { BnsumError } from '../../src/ir/error.ts';
import type { Tensor } from '../../src/ir/model.ts';

/** What a reader is shown of bytes in memory. */
export function probeOf(bytes: Uint8Array, name: string): Probe {
  return {
    head: bytes.subarray(0, 4096),
    tail: bytes.subarray(Math.max(0, bytes.length - 66_000)),
    size: bytes.length,
    name,
  };
}

/** Siblings by name, in memory; every other name is refused. */
export function memorySiblings(files: ReadonlyMap<string, Uint8Array> = new Map()): Siblings {
  return {
    async open(name): Promise<ByteSource> {
      const bytes = files.get(name);
      if (bytes === undefined) throw new BnsumError({ code: 'NOT_FOUND', file: name, reason: 'is missing' });
      return memorySource(bytes, name);
    },
  };
}

/** All bytes of a tensor. */
export async function wholeTensor(tensor: Tensor): Promise<Uint8Array> {
  const into = new Uint8Array(tensor.byteLength);
  await tensor.readInto(
    tensor.shape.map(() => 0),
    tensor.shape,
    into,
  );
  return into;
}

/** The refusal that a promise ends in; another error, or none, fails. */
export async function refusalOf(run: Promise<unknown>): Promise<BnsumError> {
  try {
    await run;
  } catch (error) {
    if (error instanceof BnsumError) return error;
    throw error;
  }
  throw new Error('was accepted');
}
