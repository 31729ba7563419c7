/**
 * Random-access bytes. `end` is exclusive. A read that cannot give every byte throws BnsumError TRUNCATED, it never gives fewer.
 * A slice is a source again, so that a file inside a file is an ordinary source.
 */
export interface ByteSource {
  readonly size: number;
  /** For messages: 'model.keras!model.weights.h5'. */
  readonly label: string;
  /** Where this source's byte 0 lies in the file behind it; lets a worker reach the same bytes. */
  readonly origin?: { readonly fd: number; readonly offset: number };
  read(start: number, end: number, signal?: AbortSignal): Promise<Uint8Array>;
  /** Files and their slices: fills `into` from `start` on and returns its length; throws like read. */
  readSync?(start: number, into: Uint8Array): number;
  slice(start: number, end: number, label: string): ByteSource;
  /** Bytes delivered so far by the file behind this source, all slices together. */
  bytesRead(): number;
  close(): Promise<void>;
}

/** Opens a file that stands beside the model: shards and ONNX external data, by the rules for paths found in files. */
export interface Siblings {
  /** `name` is a plain file name, or for ONNX external data a relative path that stays in the model's folder. */
  open(name: string): Promise<ByteSource>;
}

export interface Probe {
  /** The first bytes, up to 4096. */
  readonly head: Uint8Array;
  /** The last bytes, up to 66,000. */
  readonly tail: Uint8Array;
  readonly size: number;
  /** Base name of the file. */
  readonly name: string;
}

export interface ReadOptions {
  /** A config file's Model or text that supplies the architecture of a weights-only file. */
  readonly config?: ByteSource;
  /** Which candidate of a checkpoint to read (`state_dict_ema`). */
  readonly pick?: string;
  /** Threads for code that may have to be ended; without it such code runs in the caller's own thread. */
  readonly workers?: import('./worker.ts').WorkerHost;
}

/** A container that can be read into a Model. */
export interface FormatReader<M> {
  /** 'keras-h5' … as in Model.format, or the name of the group of formats that the folder reads. */
  readonly name: string;
  /** Decides by content; pure but for reading zip directories through `source`. */
  match(probe: Probe, source: ByteSource): Promise<'no' | 'maybe' | 'yes'>;
  read(source: ByteSource, siblings: Siblings, options: ReadOptions): Promise<M>;
}
