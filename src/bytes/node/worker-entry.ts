import { readSync } from 'node:fs';
import { setFlagsFromString } from 'node:v8';
import { parentPort, workerData } from 'node:worker_threads';
import { BnsumError } from '../../ir/error.ts';
import type { WorkerMessage } from '../worker.ts';
import type { WorkerAnswer, WorkerStart } from './worker.ts';

/** The bytes that a worker was given. */
export interface WorkerInput {
  readonly size: number;
  readonly label: string;
  /** Fills `into` from `start` on; throws BnsumError when it cannot. */
  readInto(start: number, into: Uint8Array): void;
}

/** Handles one request; `transfer` of its answer are buffers that are handed over instead of copied. */
export type WorkerHandler = (
  message: WorkerMessage,
) => Promise<{ readonly value: WorkerMessage; readonly transfer?: readonly ArrayBuffer[] }>;

/** Serves requests on this thread. `handle` is made from the bytes and a sign of life that it gives as it works. */
export function serveWorker(make: (input: WorkerInput, alive: () => void) => WorkerHandler): void {
  const port = parentPort;
  if (port === null) throw new BnsumError({ code: 'INTERNAL', reason: 'a worker needs a parent' });
  const { access, beat } = workerData as WorkerStart;
  const counter = new Int32Array(beat);
  const handle = make(inputOf(access), () => Atomics.add(counter, 0, 1));
  port.on('message', async ({ id, message }: { id: number; message: WorkerMessage }) => {
    const answer = (value: WorkerAnswer, transfer: readonly ArrayBuffer[] = []): void =>
      port.postMessage(value, [...transfer]);
    try {
      const { value, transfer } = await handle(message);
      answer({ id, value }, transfer);
    } catch (error) {
      if (error instanceof BnsumError) {
        const { code, file, place, reason, next } = error;
        answer({
          id,
          refused: {
            code,
            reason,
            ...(file === undefined ? {} : { file }),
            ...(place === undefined ? {} : { place }),
            ...(next === undefined ? {} : { next }),
          },
        });
      } else {
        answer({ id, broken: error instanceof Error ? error.message : String(error) });
      }
    }
  });
}

/**
 * Compiles WebAssembly fast instead of well from here on: half the start-up time, and slower loops. For work that ends
 * before optimised code would pay.
 */
export function preferFastCompile(fast: boolean): void {
  setFlagsFromString(fast ? '--liftoff-only' : '--no-liftoff-only');
  // Of a large module most functions are never called.
  setFlagsFromString(fast ? '--wasm-lazy-compilation' : '--no-wasm-lazy-compilation');
}

function inputOf(access: WorkerStart['access']): WorkerInput {
  const { label } = access;
  if ('bytes' in access) {
    const { bytes } = access;
    return {
      label,
      size: bytes.length,
      readInto(start, into) {
        if (start + into.length > bytes.length) throw cutOff(label, start + into.length, bytes.length);
        into.set(bytes.subarray(start, start + into.length));
      },
    };
  }
  const { fd, offset, size } = access;
  return {
    label,
    size,
    readInto(start, into) {
      if (start + into.length > size) throw cutOff(label, start + into.length, size);
      for (let done = 0; done < into.length; ) {
        const got = readSync(fd, into, done, into.length - done, offset + start + done);
        if (got <= 0) throw cutOff(label, start + into.length, start + done);
        done += got;
      }
    },
  };
}

function cutOff(file: string, wanted: number, size: number): BnsumError {
  return new BnsumError({ code: 'TRUNCATED', file, reason: `ends at byte ${size}, byte ${wanted} is needed` });
}
