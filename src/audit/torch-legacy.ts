import type { IndirectTensor, PickleRun } from '../formats/torch/pickle-event.ts';
import { isGlobal, itemsOf, type PickleValue, type StorageNode } from '../formats/torch/pickle-value.ts';
import { readStorageId, storageByteLength } from '../formats/torch/storage.ts';
import { isBnsumError } from '../ir/error.ts';
import type { Bench, Content } from './context.ts';
import { judgeIndirect, type OpenStorage } from './indirect-tensor.ts';
import { judgePickles } from './pickle.ts';

/** The magic number of torch.save up to 1.5. */
const MAGIC = 0x1950a86a20f9469cfc6cn;

/** A reader of `storage` ids that keeps what it saw; false for every other id. */
export function makeStorageIds(label: string): {
  readonly known: ReadonlyMap<string, StorageNode>;
  readonly refused: readonly string[];
  persist(id: PickleValue): PickleValue | false;
} {
  const known = new Map<string, StorageNode>();
  const refused: string[] = [];
  return {
    known,
    refused,
    persist(id) {
      if (itemsOf(id)?.[0] !== 'storage') return false;
      try {
        return readStorageId(id, known, label, () => '');
      } catch (error) {
        if (!isBnsumError(error)) throw error;
        if (refused.length < 100) refused.push(error.reason);
        return false;
      }
    },
  };
}

/**
 * A file that begins with a pickle: a stream of any writer, or torch.save's layout up to 1.5 (magic number, version,
 * system facts, object, storage keys, then raw storages, whose byte counts have to match). undefined: it is none. `imports`: the content is of
 * another format, so that only a stream that imports something counts.
 */
export async function judgePickleFile(
  content: Content,
  bench: Bench,
  imports: boolean = false,
): Promise<string | undefined> {
  const { source, member } = content;
  const { ledger } = bench;
  const ids = makeStorageIds(source.label);
  const indirect: IndirectTensor[] = [];
  const places = new Map<string, readonly [start: number, end: number]>();
  let isTorch = false;
  let odd = 0;
  const after = async (run: PickleRun, index: number, end: number): Promise<number | undefined> => {
    if (index === 0) isTorch = run.value === MAGIC;
    return isTorch && index === 4 ? skipStorages(run.value, end) : undefined;
  };
  const skipStorages = async (keys: PickleValue | undefined, start: number): Promise<number> => {
    const fail = (detail: string): void => {
      ledger.add({ level: 'suspicious', rule: 'STORAGE_MISMATCH', member, offset: at, detail });
    };
    let at = start;
    for (const key of itemsOf(keys) ?? []) {
      const node = typeof key === 'string' ? ids.known.get(key) : undefined;
      if (node === undefined) {
        fail('a storage in the list that nothing refers to');
        return at;
      }
      if (at + 8 > source.size) {
        fail(`storage ${node.key} is not there: the file ends`);
        ledger.miss(0);
        return source.size;
      }
      const head = await source.read(at, at + 8);
      const count = new DataView(head.buffer, head.byteOffset, 8).getBigInt64(0, true);
      const byteLength = storageByteLength(node);
      if (count !== BigInt(node.length)) {
        fail(`storage ${node.key} has ${count} elements, the pickle says ${node.length}`);
        return at;
      }
      if (at + 8 + byteLength > source.size) {
        fail(`storage ${node.key} needs ${byteLength} bytes, ${source.size - at - 8} are left`);
        ledger.miss(source.size - at);
        return source.size;
      }
      places.set(node.key, [at + 8, at + 8 + byteLength]);
      at += 8 + byteLength;
    }
    return at;
  };
  const persist = (id: PickleValue): PickleValue | false => {
    const parts = itemsOf(id) ?? [];
    // torch.save up to 1.5 writes a class together with its source text.
    if (parts[0] === 'module' && isGlobal(parts[1])) return parts[1];
    const node = ids.persist(id);
    if (node === false) odd += 1;
    return node;
  };
  const found = await judgePickles(content, 0, { ledger, member, persist, imports, indirect }, after);
  if (found === 'no') return undefined;
  const open: OpenStorage = async ({ key }) => {
    const place = places.get(key);
    return place && source.slice(place[0], place[1], source.label);
  };
  await judgeIndirect(indirect, open, ledger, member);
  if (odd > 0 || (ids.known.size > 0 && !isTorch)) {
    ledger.add({
      level: 'suspicious',
      rule: 'PERSISTENT_ID',
      member,
      detail: ids.refused[0] ?? 'ids that only another file or program can resolve',
    });
  }
  return isTorch ? 'torch.save stream' : 'pickle';
}
