import { bitsOf, isDType } from '../../ir/dtype.ts';
import { BnsumError } from '../../ir/error.ts';
import { dtypeOfStorage, isUntypedStorage } from './globals.ts';
import { countOf, isGlobal, itemsOf, type PickleValue, type StorageNode } from './pickle-value.ts';

/** Bytes that a storage of this many elements has in the file; packed types count bytes as elements. */
export function storageByteLength(node: StorageNode): number {
  return node.dtype === null ? node.length : node.length * Math.max(1, bitsOf(node.dtype) / 8);
}

/**
 * What `('storage', class, key, location, numel[, view])` names. The location is ignored: it says where the storage
 * lived, not what it holds. Throws BnsumError for a class that is no storage, or counts that are no counts.
 */
export function readStorageId(
  id: PickleValue,
  known: Map<string, StorageNode>,
  file: string,
  place: string,
): StorageNode {
  const fail = (reason: string): never => {
    throw new BnsumError({ code: 'MALFORMED', file, place, reason });
  };
  const parts = itemsOf(id) ?? [];
  const [word, type, key, , count, view] = parts;
  if (word !== 'storage' || parts.length < 5 || parts.length > 6) fail('a persistent id that names no storage');
  if (!isGlobal(type)) return fail('a storage whose class is not a name');
  const dtype = dtypeOfStorage(type.module, type.name);
  if (dtype === undefined && !isUntypedStorage(type.module, type.name)) {
    fail(`${type.module}.${type.name} is no storage class that PyTorch writes`);
  }
  if (typeof key !== 'string') return fail('a storage key that is not text');
  const length = countOf(count);
  if (length === undefined) return fail(`storage ${key}: its number of elements is no whole number below 2^53`);
  const shift = view === undefined || view === null ? 0 : viewOffset(view, fail);
  const node: StorageNode = {
    kind: 'storage',
    dtype: dtype !== undefined && isDType(dtype) ? dtype : null,
    key,
    length,
    shift,
  };
  const first = known.get(key);
  if (first === undefined) {
    known.set(key, node);
    return node;
  }
  if (first.dtype !== node.dtype || first.length !== node.length) {
    fail(`storage ${key} is named twice, as ${describe(first)} and as ${describe(node)}`);
  }
  return first.shift === shift ? first : node;
}

function describe(node: StorageNode): string {
  return `${node.length} × ${node.dtype ?? 'bytes'}`;
}

/** Storage views of PyTorch up to 0.3: (key, offset, size) in the storage of numel elements. */
function viewOffset(view: PickleValue, fail: (reason: string) => never): number {
  const [, offset, size] = itemsOf(view) ?? [];
  const from = countOf(offset);
  if (from === undefined || countOf(size) === undefined) return fail('a storage view without offset and size');
  return from;
}
