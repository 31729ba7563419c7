import type { ByteSource } from '../../bytes/source.ts';
import type { WorkerChannel, WorkerHost } from '../../bytes/worker.ts';
import { bytesPerElement } from '../../ir/dtype.ts';
import { BnsumError } from '../../ir/error.ts';
import { LIMITS } from '../../ir/limits.ts';
import { slabsOf } from '../../ir/slabs.ts';
import type { Hdf5Dataset, Hdf5File } from './hdf5.ts';
import { type EngineFile, type Hdf5Tree, openEngineFile } from './hdf5-engine.ts';
import { readHeaderTree } from './hdf5-header.ts';
import { loadLibrary } from './hdf5-library.ts';
import { isHdf5Signature, parseSuperblock, type Superblock } from './hdf5-structure.ts';
import type { Hdf5Answer, Hdf5Request } from './hdf5-worker.ts';

export interface OpenHdf5Options {
  /** Reads on a thread that can be ended; without it the caller's own thread is used. */
  readonly workers?: WorkerHost | undefined;
  /** Instead of LIMITS.hdf5HeaderMilliseconds. */
  readonly silentMilliseconds?: number | undefined;
  /** Leaves the header to the library, even where we can read it ourselves. */
  readonly libraryOnly?: boolean;
}

const SUPERBLOCK_BYTES = 96;
/** A source without synchronous reads is read whole when it is not larger than this. */
const WHOLE_BYTES = 512 * 1024 * 1024;
/** Bytes of chunked data that are asked for at once; large against a chunk, since each piece inflates the chunks it cuts. */
const PIECE_BYTES = 8 * 1024 * 1024;
/** Filters that the library was built with: deflate, shuffle, fletcher32, szip, n-bit, scale-offset. */
const KNOWN_FILTERS: ReadonlySet<number> = new Set([1, 2, 3, 4, 5, 6]);
const FILTER_NAMES: ReadonlyMap<number, string> = new Map([
  [32000, 'lzf'],
  [32001, 'blosc'],
  [32004, 'lz4'],
  [32008, 'bitshuffle'],
  [32013, 'zfp'],
  [32015, 'zstd'],
]);

/** Where the library finds the signature: at 0, or at 512 doubled as often as the file is long. */
export async function firstSignature(source: ByteSource): Promise<number | undefined> {
  for (let base = 0; base + 8 <= source.size; base = base === 0 ? 512 : base * 2) {
    if (isHdf5Signature(await source.read(base, base + 8))) return base;
  }
  return undefined;
}

/** The superblock, or undefined where there is none. Throws TRUNCATED when the file ends before its own end. */
export async function findSuperblock(source: ByteSource): Promise<Superblock | undefined> {
  const base = await firstSignature(source);
  if (base === undefined) return undefined;
  const bytes = await source.read(base, Math.min(source.size, base + SUPERBLOCK_BYTES));
  const superblock = parseSuperblock(bytes, base);
  if (superblock === undefined) throw truncated(source, base + SUPERBLOCK_BYTES);
  if (superblock.end === null) {
    throw new BnsumError({
      code: superblock.version > 3 ? 'UNSUPPORTED' : 'MALFORMED',
      file: source.label,
      place: `@${base}`,
      reason:
        superblock.version > 3
          ? `HDF5 superblock version ${superblock.version} is not known`
          : 'the HDF5 superblock is damaged',
    });
  }
  if (superblock.end > source.size) throw truncated(source, superblock.end);
  return superblock;
}

function truncated(source: ByteSource, wanted: number): BnsumError {
  return new BnsumError({
    code: 'TRUNCATED',
    file: source.label,
    reason: `HDF5 file cut off at ${source.size} of ${wanted} bytes`,
    next: 'copy or download it again',
  });
}

/**
 * Opens an HDF5 file and reads its whole header tree. Throws BnsumError: NOT_A_MODEL without a signature, TRUNCATED,
 * MALFORMED, LIMIT, UNSUPPORTED.
 */
export async function openHdf5(source: ByteSource, options: OpenHdf5Options = {}): Promise<Hdf5File> {
  const superblock = await findSuperblock(source);
  if (superblock === undefined) {
    throw new BnsumError({ code: 'NOT_A_MODEL', file: source.label, reason: 'not an HDF5 file' });
  }
  const silent = options.silentMilliseconds ?? LIMITS.hdf5HeaderMilliseconds;
  const engine =
    options.workers === undefined
      ? await openHere(source, superblock)
      : openThread(source, superblock, options.workers, silent);
  let tree: Hdf5Tree;
  try {
    tree = (options.libraryOnly === true ? undefined : ownTree(source, superblock)) ?? (await engine.tree());
  } catch (error) {
    await engine.close();
    throw error;
  }
  const datasets = new Map(tree.datasets.map((dataset) => [dataset.path, dataset]));
  return {
    label: source.label,
    groups: new Map(tree.groups.map((group) => [group.path, group])),
    datasets,
    bytesRead: engine.bytesRead,
    close: engine.close,
    async readInto(path, start, count, into, signal) {
      const dataset = datasets.get(path);
      if (dataset === undefined || dataset.shape === null || dataset.dtype === null) {
        throw new BnsumError({ code: 'NOT_FOUND', file: source.label, place: path, reason: 'no such dataset' });
      }
      const itemBytes = dataset.dtype === 'opaque2' ? 2 : bytesPerElement(dataset.dtype);
      const elements = count.reduce((product, size) => product * size, 1);
      if (elements === 0) return;
      if (dataset.dataOffset !== null) {
        await readRuns(source, dataset, itemBytes, start, count, into, signal);
        return;
      }
      refuseUnreadable(source.label, dataset);
      // In pieces: the library, its thread and this one each hold one, whatever the size of the slab.
      let at = 0;
      for (const piece of slabsOf(count, Math.floor(PIECE_BYTES / itemBytes))) {
        const from = start.map((first, axis) => first + (piece.start[axis] ?? 0));
        const bytes = piece.elements * itemBytes;
        await engine.read(path, from, piece.count, into.subarray(at, at + bytes), signal);
        at += bytes;
      }
    },
  };
}

/** The header as we read it ourselves, in this thread: every step of it is bounded. */
function ownTree(source: ByteSource, superblock: Superblock): Hdf5Tree | undefined {
  const { readSync } = source;
  if (readSync === undefined) return undefined;
  return readHeaderTree((offset, into) => {
    if (offset < 0 || offset + into.length > source.size) return false;
    readSync.call(source, offset, into);
    return true;
  }, superblock);
}

function refuseUnreadable(file: string, dataset: Hdf5Dataset): void {
  const unknown = dataset.filters.find((filter) => !KNOWN_FILTERS.has(filter));
  if (unknown !== undefined) {
    const name = FILTER_NAMES.get(unknown);
    throw new BnsumError({
      code: 'UNSUPPORTED',
      file,
      place: dataset.path,
      reason: `compressed by filter ${unknown}${name === undefined ? '' : ` (${name})`}, which is not supported`,
      next: 'rewrite the file with h5repack -f GZIP=6',
    });
  }
  if (dataset.external || dataset.layout === 'virtual') {
    throw new BnsumError({ code: 'UNSAFE', file, place: dataset.path, reason: 'its bytes are in other files' });
  }
}

/** Reads a hyperslab of bytes that lie in one piece: one read for every run of neighbouring elements. */
async function readRuns(
  source: ByteSource,
  dataset: Hdf5Dataset,
  itemBytes: number,
  start: readonly number[],
  count: readonly number[],
  into: Uint8Array,
  signal?: AbortSignal,
): Promise<void> {
  const shape = dataset.shape ?? [];
  const strides = new Array<number>(shape.length).fill(itemBytes);
  for (let axis = shape.length - 2; axis >= 0; axis--) {
    strides[axis] = (strides[axis + 1] ?? 0) * (shape[axis + 1] ?? 0);
  }
  // The axes behind `split` are taken whole, so that a run covers them and one range of `split` itself.
  let split = shape.length - 1;
  while (split > 0 && count[split] === shape[split]) split--;
  const runBytes = split < 0 ? itemBytes : (count[split] ?? 0) * (strides[split] ?? 0);
  const index = new Array<number>(Math.max(split, 0)).fill(0);
  for (let at = 0; ; at += runBytes) {
    let from = dataset.dataOffset ?? 0;
    for (let axis = 0; axis < shape.length; axis++) {
      from += ((start[axis] ?? 0) + (axis < split ? (index[axis] ?? 0) : 0)) * (strides[axis] ?? 0);
    }
    const target = into.subarray(at, at + runBytes);
    if (source.readSync !== undefined) source.readSync(from, target);
    else target.set(await source.read(from, from + runBytes, signal));
    let axis = split - 1;
    for (; axis >= 0; axis--) {
      index[axis] = (index[axis] ?? 0) + 1;
      if ((index[axis] ?? 0) < (count[axis] ?? 0)) break;
      index[axis] = 0;
    }
    if (axis < 0) return;
  }
}

interface Engine {
  tree(): Promise<Hdf5Tree>;
  /** Fills `into`, which has exactly the size of the slab. */
  read(
    path: string,
    start: readonly number[],
    count: readonly number[],
    into: Uint8Array,
    signal?: AbortSignal,
  ): Promise<void>;
  bytesRead(): number;
  close(): Promise<void>;
}

async function openHere(source: ByteSource, superblock: Superblock): Promise<Engine> {
  const readSync = source.readSync?.bind(source);
  const whole = readSync === undefined ? await wholeOf(source) : undefined;
  let file: EngineFile | undefined;
  const guard = <T>(work: () => T): T => {
    try {
      return work();
    } catch (error) {
      if (error instanceof BnsumError) throw error;
      const reason = error instanceof Error ? error.message : String(error);
      throw new BnsumError({
        code: 'MALFORMED',
        file: source.label,
        reason: `the file made its reader fail: ${reason}`,
      });
    }
  };
  const open = async (): Promise<EngineFile> => {
    const loaded = await loadLibrary();
    file ??= guard(() =>
      openEngineFile(
        loaded,
        {
          label: source.label,
          size: source.size,
          readInto: (start, into) => {
            if (whole === undefined) readSync?.(start, into);
            else into.set(whole.subarray(start, start + into.length));
          },
        },
        superblock,
      ),
    );
    return file;
  };
  return {
    async tree() {
      const opened = await open();
      return guard(() => opened.collect(() => undefined));
    },
    async read(path, start, count, into) {
      const opened = await open();
      guard(() => opened.read(path, start, count, into));
    },
    bytesRead: () => 0,
    async close() {
      const opened = file;
      file = undefined;
      if (opened !== undefined) guard(() => opened.close());
    },
  };
}

async function wholeOf(source: ByteSource): Promise<Uint8Array> {
  if (source.size > WHOLE_BYTES) {
    throw new BnsumError({
      code: 'LIMIT',
      file: source.label,
      reason: `HDF5 of ${source.size} bytes that cannot be read by position, the limit is ${WHOLE_BYTES}`,
    });
  }
  return source.read(0, source.size);
}

/** The header is read by one thread and data, where chunks make it necessary, by another that starts when first asked. */
function openThread(source: ByteSource, superblock: Superblock, workers: WorkerHost, silent: number): Engine {
  let channel: WorkerChannel | undefined;
  let spent = 0;
  let current = 0;
  let last: Promise<unknown> = Promise.resolve();
  // Both threads see it: a buffer handed over with each answer would be one more to be collected.
  let shared = new SharedArrayBuffer(0);
  // The thread answers one request at a time, so the next one waits for the one before, whatever became of it.
  const inTurn = <T>(work: () => Promise<T>): Promise<T> => {
    const done = last.then(work);
    last = done.catch(() => undefined);
    return done;
  };
  const askNow = async (request: Hdf5Request, signal?: AbortSignal): Promise<Hdf5Answer> => {
    if (channel === undefined) {
      const { origin, label, size } = source;
      channel =
        origin === undefined
          ? workers.start('hdf5', { bytes: await wholeOf(source), label })
          : workers.start('hdf5', { fd: origin.fd, offset: origin.offset, size, label });
    }
    const answer = (await channel.request(request, silent, signal)) as Hdf5Answer;
    current = answer.bytesRead;
    return answer;
  };
  const end = async (): Promise<void> => {
    const ended = channel;
    channel = undefined;
    spent += current;
    current = 0;
    await ended?.end();
  };
  return {
    async tree() {
      const answer = await inTurn(() => askNow({ ask: 'tree', superblock }));
      void end();
      if (!('tree' in answer)) throw new BnsumError({ code: 'INTERNAL', reason: 'the HDF5 reader gave no tree' });
      return answer.tree;
    },
    read: (path, start, count, into, signal) =>
      // The copy belongs to the turn: the next request writes into the same memory.
      inTurn(async () => {
        const { byteLength } = into;
        if (shared.byteLength < byteLength) shared = new SharedArrayBuffer(byteLength);
        const common = new Uint8Array(shared, 0, byteLength);
        const answer = await askNow({ ask: 'data', superblock, path, start, count, into: common }, signal);
        if (!('filled' in answer)) throw new BnsumError({ code: 'INTERNAL', reason: 'the HDF5 reader gave no data' });
        into.set(common);
      }),
    bytesRead: () => (source.origin === undefined ? 0 : spent + current),
    close: end,
  };
}
