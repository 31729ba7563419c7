import { bitsOf, isDType } from '../../ir/dtype.ts';
import { BnsumError } from '../../ir/error.ts';
import { dtypeOfStorage, isUntypedStorage } from './globals.ts';
import { countOf, isGlobal, itemsOf, type PickleValue, type StorageNode } from './pickle-value.ts';

/** Bytes that a storage of this many elements has in the file; packed types count bytes as elements. */
export function storageByteLength(node: StorageNode): number {
  return node.dtype === null ? node.length : node.length * Math.max(1, bitsOf(node.dtype) / 8);
}

/** The storages that a stream has named, by key. */
interface KnownStorages {
  get(key: string): StorageNode | undefined;
  set(key: string, node: StorageNode): unknown;
}

/**
 * What `('storage', class, key, location, numel[, view])` names. The location is ignored: it says where the storage
 * lived, not what it holds. Throws BnsumError for a class that is no storage, or counts that are no counts.
 */
export function readStorageId(id: PickleValue, known: KnownStorages, file: string, place: () => string): StorageNode {
  const refusal = (reason: string): BnsumError => new BnsumError({ code: 'MALFORMED', file, place: place(), reason });
  const parts = itemsOf(id) ?? [];
  if (parts[0] !== 'storage' || parts.length < 5 || parts.length > 6) {
    throw refusal('a persistent id that names no storage');
  }
  const type = parts[1];
  const key = parts[2];
  const view = parts[5];
  if (!isGlobal(type)) throw refusal('a storage whose class is not a name');
  const dtype = dtypeOfStorage(type.module, type.name);
  if (dtype === undefined && !isUntypedStorage(type.module, type.name)) {
    throw refusal(`${type.module}.${type.name} is no storage class that PyTorch writes`);
  }
  if (typeof key !== 'string') throw refusal('a storage key that is not text');
  const length = countOf(parts[4]);
  if (length === undefined) throw refusal(`storage ${key}: its number of elements is no whole number below 2^53`);
  const shift = view === undefined || view === null ? 0 : viewOffset(view);
  if (shift === undefined) throw refusal('a storage view without offset and size');
  const node: StorageNode = {
    kind: 'storage',
    dtype: dtype !== undefined && isDType(dtype) ? dtype : null,
    key,
    length,
    shift,
    bytes: undefined,
  };
  const first = known.get(key);
  if (first === undefined) {
    known.set(key, node);
    return node;
  }
  if (first.dtype !== node.dtype || first.length !== node.length) {
    throw refusal(`storage ${key} is named twice, as ${describe(first)} and as ${describe(node)}`);
  }
  return first.shift === shift ? first : node;
}

function describe(node: StorageNode): string {
  return `${node.length} × ${node.dtype ?? 'bytes'}`;
}

/** Storage views of PyTorch up to 0.3: (key, offset, size) in the storage of numel elements. */
function viewOffset(view: PickleValue): number | undefined {
  const [, offset, size] = itemsOf(view) ?? [];
  return countOf(size) === undefined ? undefined : countOf(offset);
}
