import type { ByteSource, ReadOptions } from '../../bytes/source.ts';
import { type Diagnostic, note } from '../../ir/diagnostic.ts';
import { BnsumError, isBnsumError } from '../../ir/error.ts';
import { LIMITS } from '../../ir/limits.ts';
import { readCheckpoint } from './checkpoint.ts';
import type { PickleRun } from './pickle-event.ts';
import { isDict, isGlobal, itemsOf, type PickleValue, type StorageNode } from './pickle-value.ts';
import type { RawModel } from './raw-model.ts';
import { notesOf, TORCH } from './read-zip.ts';
import { readStorageId, storageByteLength } from './storage.ts';
import type { StorageBytes } from './strided.ts';
import { unpickle } from './unpickle.ts';

const MAGIC = 0x1950a86a20f9469cfc6cn;
const PROTOCOL = 1001;

/** Bytes of the first look at the pickles; four times as many each time they do not suffice. */
const WINDOW_BYTES = 256 * 1024;

type Run = PickleRun & { readonly value: PickleValue };

/** Walks pickles that stand one after another at the start of a source, reading as far as they go. */
function makeWalker(
  source: ByteSource,
  persist: (id: PickleValue, place: () => string) => PickleValue,
): { next(): Promise<Run>; position(): number } {
  let position = 0;
  let window: Uint8Array = new Uint8Array(0);
  let windowStart = 0;
  return {
    position: () => position,
    async next() {
      let size = WINDOW_BYTES;
      for (;;) {
        const end = windowStart + window.length;
        if (position >= end && end < source.size) {
          windowStart = position;
          window = await source.read(position, Math.min(source.size, position + size));
        }
        try {
          const run = unpickle(window, position - windowStart, { file: source.label, persist });
          position = windowStart + run.end;
          return run;
        } catch (error) {
          const isWhole = windowStart + window.length >= source.size;
          if (!isBnsumError(error, 'TRUNCATED') || isWhole || window.length >= LIMITS.pickleBytes) throw error;
          size = Math.max(size, window.length) * 4;
          windowStart = position;
          window = await source.read(position, Math.min(source.size, position + Math.min(size, LIMITS.pickleBytes)));
        }
      }
    },
  };
}

/**
 * The stream that torch.save wrote up to 1.5: magic number, version, system facts, the object, the list of storage
 * keys, then the storages, each an i64 count and its elements. Reads the pickles and one count per storage. Throws
 * BnsumError when a storage is not where and what the pickles say, or bytes are left over.
 */
export async function readLegacy(source: ByteSource, options: ReadOptions, scope: string): Promise<RawModel> {
  const file = source.label;
  const known = new Map<string, StorageNode>();
  const classes: string[] = [];
  const walker = makeWalker(source, (id, place) => {
    const parts = itemsOf(id) ?? [];
    // A class comes with its source file and text; both are data here.
    if (parts[0] === 'module' && isGlobal(parts[1])) {
      classes.push(`${parts[1].module}.${parts[1].name}`);
      return parts[1];
    }
    return readStorageId(id, known, file, place);
  });
  const magic = await walker.next();
  if (magic.value !== MAGIC) {
    throw new BnsumError({ code: 'MALFORMED', file, reason: 'its first pickle is not the magic number of torch.save' });
  }
  const version = await walker.next();
  if (version.value !== PROTOCOL) {
    throw new BnsumError({
      code: 'UNSUPPORTED',
      file,
      reason: `stream version ${String(version.value)}; ${PROTOCOL} is known`,
    });
  }
  const system = await walker.next();
  if (!isDict(system.value)) {
    throw new BnsumError({ code: 'MALFORMED', file, reason: 'its third pickle does not describe the system' });
  }
  if (system.value.entries.get('little_endian') === false) {
    throw new BnsumError({
      code: 'UNSUPPORTED',
      file,
      reason: 'written on a big-endian machine: how its bytes are ordered depends on the version that wrote it',
      next: 'save it again with a current PyTorch',
    });
  }
  const run = await walker.next();
  const keys = await walker.next();
  const storages = await placeStorages(source, walker.position(), keys.value, known, scope);
  const contents = readCheckpoint(
    run.value,
    {
      file,
      scope,
      bytesOf(node) {
        const bytes = storages.get(node.key);
        if (bytes === undefined) {
          throw new BnsumError({
            code: 'MALFORMED',
            file,
            place: node.key,
            reason: 'a storage that the file does not hold',
          });
        }
        return bytes;
      },
    },
    options.pick,
  );
  const diagnostics: Diagnostic[] = [...contents.diagnostics, ...notesOf(run, file)];
  if (classes.length > 0) {
    diagnostics.push(
      note(
        'CODE_PRESENT',
        { file },
        { what: 'source texts of classes', count: classes.length, first: classes.slice(0, 5) },
      ),
    );
  }
  return { format: 'torch-legacy', producer: TORCH, ...contents, diagnostics, extra: new Map() };
}

async function placeStorages(
  source: ByteSource,
  start: number,
  keys: PickleValue,
  known: ReadonlyMap<string, StorageNode>,
  scope: string,
): Promise<ReadonlyMap<string, StorageBytes>> {
  const file = source.label;
  const fail = (reason: string, at: number): never => {
    throw new BnsumError({ code: 'MALFORMED', file, place: `@${at}`, reason });
  };
  const storages = new Map<string, StorageBytes>();
  let at = start;
  for (const key of itemsOf(keys) ?? fail('its fifth pickle is no list of storages', start)) {
    const node = typeof key === 'string' ? known.get(key) : undefined;
    if (node === undefined || typeof key !== 'string') return fail('it lists a storage that nothing refers to', at);
    if (storages.has(key)) fail(`it lists storage ${key} twice`, at);
    const head = await source.read(at, at + 8);
    const count = new DataView(head.buffer, head.byteOffset, 8).getBigInt64(0, true);
    if (count !== BigInt(node.length)) fail(`storage ${key} has ${count} elements, the pickle says ${node.length}`, at);
    const from = at + 8;
    const byteLength = storageByteLength(node);
    if (!(from + byteLength <= source.size)) {
      throw new BnsumError({
        code: 'TRUNCATED',
        file,
        place: `@${from}`,
        reason: `storage ${key} needs ${byteLength} bytes, ${source.size - from} are left`,
      });
    }
    storages.set(key, {
      id: `${scope}${key}`,
      byteLength,
      bigEndian: false,
      open: async () => source.slice(from, from + byteLength, `${file}!${key}`),
    });
    at = from + byteLength;
  }
  for (const key of known.keys()) if (!storages.has(key)) fail(`it does not list storage ${key}`, at);
  if (at !== source.size) fail(`${source.size - at} bytes follow the last storage`, at);
  return storages;
}
