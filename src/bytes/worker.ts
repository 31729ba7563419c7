/**
 * Threads that can be ended: for code that may loop for ever or run out of memory on hostile bytes. The host is given by
 * the program (bytes/node/worker.ts under Node); without one such code runs in the caller's own thread.
 */
export interface WorkerHost {
  /** Starts the worker of this name. It knows the bytes it may read and nothing else. */
  start(name: string, access: WorkerAccess): WorkerChannel;
}

/** What a worker may read: a window of an open file, or bytes that are handed over. */
export type WorkerAccess =
  | { readonly fd: number; readonly offset: number; readonly size: number; readonly label: string }
  | { readonly bytes: Uint8Array; readonly label: string };

export interface WorkerChannel {
  /**
   * One request, one answer, in order. Rejects with BnsumError: what the worker refused, or LIMIT when it gave no sign of
   * life for `silentMilliseconds` (it is then ended), or MALFORMED when it died.
   */
  request(message: WorkerMessage, silentMilliseconds: number, signal?: AbortSignal): Promise<WorkerMessage>;
  /** Ends the thread, whatever it does. */
  end(): Promise<void>;
}

/** Data that a thread can hand to another. */
export type WorkerMessage = object;
