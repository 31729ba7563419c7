import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import { BnsumError, type ErrorFacts } from '../../ir/error.ts';
import type { WorkerAccess, WorkerChannel, WorkerHost, WorkerMessage } from '../worker.ts';

/** Megabytes of JavaScript heap of one worker; the memory of a WebAssembly module is bounded by its own build. */
const HEAP_MEGABYTES = 1024;
const STACK_MEGABYTES = 4;

/** What the main thread hands to a worker at its start; `beat` counts its signs of life. */
export interface WorkerStart {
  readonly access: WorkerAccess;
  readonly beat: SharedArrayBuffer;
}

export type WorkerAnswer =
  | { readonly id: number; readonly value: WorkerMessage }
  | { readonly id: number; readonly refused: ErrorFacts }
  /** The code in the worker is damaged for good: it has to be ended. */
  | { readonly id: number; readonly broken: string };

/**
 * Runs the workers that the build puts into `folder` (`hdf5.cjs`) on threads. undefined when they are not there, as in a
 * checkout that was not built.
 */
export function nodeWorkers(folder: string): WorkerHost | undefined {
  if (!existsSync(join(folder, 'hdf5.cjs'))) return undefined;
  return { start: (name, access) => startWorker(join(folder, `${name}.cjs`), access) };
}

/** The workers of a package whose module at `url` lies in a folder beside `worker/`. */
export function workersBeside(url: string): WorkerHost | undefined {
  return nodeWorkers(join(dirname(fileURLToPath(url)), '..', 'worker'));
}

interface Waiting {
  readonly id: number;
  readonly resolve: (value: WorkerMessage) => void;
  readonly reject: (error: BnsumError) => void;
}

function startWorker(entry: string, access: WorkerAccess): WorkerChannel {
  const beat = new SharedArrayBuffer(4);
  const counter = new Int32Array(beat);
  const start: WorkerStart = { access, beat };
  const worker = new Worker(entry, {
    workerData: start,
    // Whatever a library prints is its own affair.
    stdout: true,
    stderr: true,
    execArgv: [],
    resourceLimits: { maxOldGenerationSizeMb: HEAP_MEGABYTES, stackSizeMb: STACK_MEGABYTES },
  });
  worker.stdout.resume();
  worker.stderr.resume();
  let waiting: Waiting | undefined;
  let dead: string | undefined;
  let requests = 0;
  const died = (reason: string): BnsumError =>
    new BnsumError({ code: 'MALFORMED', file: access.label, reason: `the file made its reader fail: ${reason}` });
  const fail = (reason: string): void => {
    dead = reason;
    waiting?.reject(died(reason));
    waiting = undefined;
  };
  worker.on('message', (answer: WorkerAnswer) => {
    if (waiting?.id !== answer.id) return;
    const { resolve, reject } = waiting;
    waiting = undefined;
    worker.unref();
    if ('value' in answer) resolve(answer.value);
    else if ('refused' in answer) reject(new BnsumError(answer.refused));
    else {
      dead = answer.broken;
      reject(died(answer.broken));
    }
  });
  worker.on('error', (error) => fail(error instanceof Error ? error.message : String(error)));
  worker.on('exit', () => fail(dead ?? 'it ended early'));

  const request: WorkerChannel['request'] = (message, silentMilliseconds, signal) =>
    new Promise((resolve, reject) => {
      if (dead !== undefined) {
        reject(died(dead));
        return;
      }
      if (waiting !== undefined) {
        reject(new BnsumError({ code: 'INTERNAL', reason: 'a worker answers one request at a time' }));
        return;
      }
      const stop = (code: 'LIMIT' | 'IO', reason: string): void => {
        finish();
        dead = reason;
        waiting = undefined;
        void worker.terminate();
        reject(new BnsumError({ code, file: access.label, reason }));
      };
      let last = Atomics.load(counter, 0);
      const timer = setInterval(() => {
        const now = Atomics.load(counter, 0);
        if (now === last) stop('LIMIT', `reading it made no progress for ${silentMilliseconds / 1000} seconds`);
        last = now;
      }, silentMilliseconds);
      const abort = (): void => stop('IO', 'reading was cancelled');
      const finish = (): void => {
        clearInterval(timer);
        signal?.removeEventListener('abort', abort);
      };
      signal?.addEventListener('abort', abort, { once: true });
      const id = requests++;
      waiting = {
        id,
        resolve: (value) => {
          finish();
          resolve(value);
        },
        reject: (error) => {
          finish();
          reject(error);
        },
      };
      worker.ref();
      worker.postMessage({ id, message });
    });
  return {
    request,
    async end() {
      dead ??= 'it was closed';
      await worker.terminate();
    },
  };
}
