import { useCodec } from './bytes/codec.ts';
import { nodeCodec } from './bytes/node/codec.ts';
import { openFileSource } from './bytes/node/file-source.ts';
import { openSiblings } from './bytes/node/siblings.ts';
import { nameContent } from './bytes/sniff.ts';
import type { ByteSource, FormatReader, Probe, ReadOptions, Siblings } from './bytes/source.ts';
import { inferShapes } from './graph/infer.ts';
import type { Outcome } from './ir/diagnostic.ts';
import { BnsumError } from './ir/error.ts';
import type { Model } from './ir/model.ts';
import { READERS } from './registry.ts';

useCodec(nodeCodec);

/** Bytes of the file's end that a probe holds: a zip's end record with its longest comment. */
const TAIL_BYTES = 66_000;
const HEAD_BYTES = 4_096;

/** What a file alone does not settle, and the threads that may be used. */
export interface OpenOptions {
  /** Path of a to_json() text, a config.json or another Keras file that gives a weights-only file its architecture. */
  readonly config?: string;
  /** Name of the state_dict to read where a checkpoint holds several. */
  readonly pick?: string;
  /** Runs the HDF5 reader on a thread that can be ended; without it HDF5 is read in this thread. */
  readonly workers?: ReadOptions['workers'];
}

function baseName(path: string): string {
  return path.split(/[/\\]/).at(-1) ?? path;
}

/** The first and last bytes of a source, for those who decide what it is. */
export async function probe(source: ByteSource, path: string): Promise<Probe> {
  const head = await source.read(0, Math.min(HEAD_BYTES, source.size));
  const start = Math.max(0, source.size - TAIL_BYTES);
  const tail = await source.read(start, source.size);
  return { head, tail, size: source.size, name: baseName(path) };
}

/** The reader that takes the file; refuses with what the file is when none does. */
export async function chooseReader(source: ByteSource, seen: Probe): Promise<FormatReader<Outcome<Model>>> {
  let second: FormatReader<Outcome<Model>> | undefined;
  for (const reader of READERS) {
    const answer = await reader.match(seen, source);
    if (answer === 'yes') return reader;
    if (answer === 'maybe') second ??= reader;
  }
  if (second !== undefined) return second;
  const found = nameContent(seen);
  const file = source.label;
  if (found === null) {
    throw new BnsumError({
      code: 'NOT_A_MODEL',
      file,
      reason: 'it is not a model file that is known here',
      next: 'Keras (.h5, .keras, .weights.h5), PyTorch (.pt, .pth), safetensors, pt-json and ONNX are read',
    });
  }
  // 'a gzip file; unpack it first': what it is, and what to do.
  const [what = '', ...steps] = found.split('; ');
  const next = steps.length === 0 ? {} : { next: steps.join('; ') };
  throw new BnsumError({ code: 'NOT_A_MODEL', file, reason: `it is ${what}`, ...next });
}

/** Reads a source that is open already, such as an output before it is committed; `name` is its base name. */
export async function openSource(source: ByteSource, name: string): Promise<Outcome<Model>> {
  const seen = await probe(source, name);
  const reader = await chooseReader(source, seen);
  return reader.read(source, NO_SIBLINGS, {});
}

const NO_SIBLINGS: Siblings = {
  open(name) {
    throw new BnsumError({ code: 'UNSAFE', file: name, reason: 'no file beside this one is opened' });
  },
};

/**
 * Opens a model file: headers only, output shapes inferred. The caller closes the Model.
 * Throws BnsumError for whatever cannot be read, naming file, place, reason and next step.
 */
export async function openModel(path: string, options: OpenOptions = {}): Promise<Outcome<Model>> {
  const source = await openFileSource(path);
  let config: ByteSource | undefined;
  try {
    const reader = await chooseReader(source, await probe(source, path));
    if (options.config !== undefined) config = await openFileSource(options.config);
    const read = await reader.read(source, openSiblings(path), {
      ...(config === undefined ? {} : { config }),
      ...(options.pick === undefined ? {} : { pick: options.pick }),
      ...(options.workers === undefined ? {} : { workers: options.workers }),
    });
    const inferred = inferShapes(read.value);
    return { value: inferred.value, diagnostics: [...read.diagnostics, ...inferred.diagnostics] };
  } catch (error) {
    await source.close();
    throw error;
  } finally {
    await config?.close();
  }
}
