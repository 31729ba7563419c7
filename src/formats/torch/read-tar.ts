import type { ByteSource, ReadOptions } from '../../bytes/source.ts';
import { isDType } from '../../ir/dtype.ts';
import { BnsumError } from '../../ir/error.ts';
import { LIMITS } from '../../ir/limits.ts';
import { readCheckpoint } from './checkpoint.ts';
import { dtypeOfStorage, isUntypedStorage } from './globals.ts';
import {
  countOf,
  type GlobalNode,
  isGlobal,
  itemsOf,
  type PickleValue,
  type Reduced,
  type StorageNode,
} from './pickle-value.ts';
import type { RawModel } from './raw-model.ts';
import { notesOf, TORCH } from './read-zip.ts';
import { storageByteLength } from './storage.ts';
import type { StorageBytes } from './strided.ts';
import type { TensorContext } from './tensor-value.ts';
import { unpickle } from './unpickle.ts';

const BLOCK = 512;

/** Whether bytes begin with a tar header: the checksum of its first block fits, and its first name is one of ours. */
export function looksLikeTar(head: Uint8Array): boolean {
  if (head.length < BLOCK || headerChecksum(head) !== octal(head, 148, 8)) return false;
  const name = textAt(head, 0, 100).replace(/^\.\//, '');
  return ['sys_info', 'pickle', 'tensors', 'storages', ''].includes(name);
}

function textAt(block: Uint8Array, start: number, length: number): string {
  const field = block.subarray(start, start + length);
  const end = field.indexOf(0);
  return new TextDecoder('latin1').decode(end < 0 ? field : field.subarray(0, end));
}

function octal(block: Uint8Array, start: number, length: number): number | undefined {
  const text = textAt(block, start, length).trim();
  return /^[0-7]{1,12}$/.test(text) ? Number.parseInt(text, 8) : undefined;
}

/** Sum of the header's bytes with the checksum field as spaces. */
function headerChecksum(block: Uint8Array): number {
  let sum = 8 * 32;
  for (let at = 0; at < BLOCK; at += 1) if (at < 148 || at >= 156) sum += block[at] ?? 0;
  return sum;
}

async function readMembers(source: ByteSource): Promise<ReadonlyMap<string, { from: number; size: number }>> {
  const members = new Map<string, { from: number; size: number }>();
  let at = 0;
  while (at + BLOCK <= source.size) {
    const header = await source.read(at, at + BLOCK);
    if (header.every((byte) => byte === 0)) return members;
    const size = octal(header, 124, 12);
    if (size === undefined || headerChecksum(header) !== octal(header, 148, 8)) {
      throw new BnsumError({ code: 'MALFORMED', file: source.label, place: `@${at}`, reason: 'a broken tar header' });
    }
    const name = textAt(header, 0, 100).replace(/^\.\//, '');
    const from = at + BLOCK;
    if (from + size > source.size) {
      throw new BnsumError({
        code: 'TRUNCATED',
        file: source.label,
        place: `@${from}`,
        reason: `${name || 'a member'} needs ${size} bytes`,
      });
    }
    const isFile = header[156] === 0x30 || header[156] === 0;
    if (isFile && members.has(name)) {
      throw new BnsumError({
        code: 'AMBIGUOUS',
        file: source.label,
        place: `@${at}`,
        reason: `two members are named ${JSON.stringify(name)}`,
      });
    }
    if (isFile) members.set(name, { from, size });
    if (members.size > 1000)
      throw new BnsumError({ code: 'LIMIT', file: source.label, reason: 'more than 1000 tar members' });
    at = from + Math.ceil(size / BLOCK) * BLOCK;
  }
  return members;
}

/** A cursor over a member: pickles and fixed-size numbers in turn. */
function makeCursor(bytes: Uint8Array, file: string, persist?: (id: PickleValue, place: () => string) => PickleValue) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let at = 0;
  const take = (length: number): number => {
    if (at + length > bytes.length) {
      throw new BnsumError({
        code: 'TRUNCATED',
        file,
        place: `@${at}`,
        reason: `needs ${length} bytes, ${bytes.length - at} are left`,
      });
    }
    at += length;
    return at - length;
  };
  const count = (value: bigint | number): number => {
    const number = Number(value);
    if (number >= 0 && Number.isSafeInteger(number)) return number;
    throw new BnsumError({ code: 'MALFORMED', file, place: `@${at}`, reason: `${value} is no count` });
  };
  return {
    pickle(): ReturnType<typeof unpickle> {
      const run = unpickle(bytes, at, persist === undefined ? { file } : { file, persist });
      at = run.end;
      return run;
    },
    int32: (): number => count(view.getInt32(take(4), true)),
    int64: (): number => count(view.getBigInt64(take(8), true)),
    skip: (length: number): number => take(length),
    place: (): number => at,
    left: (): number => bytes.length - at,
  };
}

interface TarTensor {
  readonly storage: StorageNode;
  readonly sizes: readonly number[];
  readonly strides: readonly number[];
  readonly offset: number;
}

/**
 * The tar of torch.save before 0.2: members sys_info, pickle, tensors, storages. The three small ones
 * are read whole, of the storages their heads only by reading the member whole up to the pickle limit.
 */
export async function readTar(source: ByteSource, options: ReadOptions): Promise<RawModel> {
  const file = source.label;
  const members = await readMembers(source);
  const bytesOf = async (name: string): Promise<{ bytes: Uint8Array; from: number; label: string }> => {
    const member = members.get(name);
    const label = `${file}!${name}`;
    if (member === undefined)
      throw new BnsumError({ code: 'NOT_A_MODEL', file, reason: `a tar without the member ${name}` });
    if (member.size > LIMITS.pickleBytes) {
      throw new BnsumError({
        code: 'LIMIT',
        file: label,
        reason: `${member.size} bytes, the limit is ${LIMITS.pickleBytes}`,
      });
    }
    return { bytes: await source.read(member.from, member.from + member.size), from: member.from, label };
  };
  const stored = await bytesOf('storages');
  const { storages, nodes } = readStorages(source, stored, file);
  const described = await bytesOf('tensors');
  const tensors = readTensors(described, nodes);
  const main = await bytesOf('pickle');
  const rebuild: GlobalNode = rebuilder();
  const run = unpickle(main.bytes, 0, {
    file: main.label,
    persist(id, place) {
      if (isGlobal(id)) return id;
      const parts = itemsOf(id);
      if (parts?.[0] === 'module' && isGlobal(parts[1])) return parts[1];
      const key = keyOf(id);
      const tensor = key === undefined ? undefined : tensors.get(key);
      if (tensor !== undefined) return rebuilt(rebuild, tensor);
      const storage = key === undefined ? undefined : nodes.get(key);
      if (storage !== undefined) return storage;
      throw new BnsumError({
        code: 'MALFORMED',
        file: main.label,
        place: place(),
        reason: 'an id that is no tensor of the file',
      });
    },
  });
  const context: TensorContext = {
    file,
    scope: '',
    bytesOf(node) {
      const bytes = storages.get(node.key);
      if (bytes === undefined)
        throw new BnsumError({ code: 'MALFORMED', file, place: node.key, reason: 'no such storage' });
      return bytes;
    },
  };
  const contents = readCheckpoint(run.value, context, options.pick);
  return {
    format: 'torch-tar',
    producer: TORCH,
    ...contents,
    diagnostics: [...contents.diagnostics, ...notesOf(run, file)],
    extra: new Map(),
  };
}

function keyOf(value: PickleValue | undefined): string | undefined {
  if (typeof value === 'string') return value;
  return typeof value === 'number' || typeof value === 'bigint' ? String(value) : undefined;
}

function rebuilder(): GlobalNode {
  const event = {
    kind: 'import',
    module: 'torch._utils',
    name: '_rebuild_tensor',
    written: undefined,
    role: 'rebuilder',
    resolved: true,
    offset: 0,
    opIndex: 0,
    opcode: 'PERSID',
    called: true,
    argSummary: '',
    args: undefined,
    count: 1,
  } as const;
  return {
    kind: 'global',
    path: `${event.module}.${event.name}`,
    module: event.module,
    name: event.name,
    event: { ...event },
  };
}

function rebuilt(callable: GlobalNode, tensor: TarTensor): Reduced {
  const args: PickleValue[] = [
    tensor.storage,
    tensor.offset,
    { kind: 'tuple', items: tensor.sizes },
    { kind: 'tuple', items: tensor.strides },
  ];
  return { kind: 'reduced', callable, args, keywords: undefined, state: undefined, items: undefined };
}

function readStorages(
  source: ByteSource,
  member: { readonly bytes: Uint8Array; readonly from: number; readonly label: string },
  file: string,
): { readonly storages: Map<string, StorageBytes>; readonly nodes: Map<string, StorageNode> } {
  const fail = (reason: string): never => {
    throw new BnsumError({ code: 'MALFORMED', file: member.label, reason });
  };
  const cursor = makeCursor(member.bytes, member.label);
  const storages = new Map<string, StorageBytes>();
  const nodes = new Map<string, StorageNode>();
  const total = countOf(cursor.pickle().value) ?? fail('no number of storages');
  for (let index = 0; index < total; index += 1) {
    const [id, , type] = itemsOf(cursor.pickle().value) ?? [];
    const key = keyOf(id) ?? fail('a storage without a key');
    const dtype = isGlobal(type) ? dtypeOfStorage(type.module, type.name) : undefined;
    if (!isGlobal(type) || (dtype === undefined && !isUntypedStorage(type.module, type.name))) {
      return fail(`storage ${key} is of no class that PyTorch writes`);
    }
    const length = cursor.int64();
    const node: StorageNode = {
      kind: 'storage',
      dtype: dtype !== undefined && isDType(dtype) ? dtype : null,
      key,
      length,
      shift: 0,
      bytes: undefined,
    };
    const byteLength = storageByteLength(node);
    const from = member.from + cursor.place();
    cursor.skip(byteLength);
    nodes.set(key, node);
    storages.set(key, {
      id: key,
      byteLength,
      bigEndian: false,
      open: async () => source.slice(from, from + byteLength, `${file}!storages/${key}`),
    });
  }
  for (const view of itemsOf(cursor.pickle().value) ?? fail('no list of storage views')) {
    const [target, root, offset, length] = itemsOf(view) ?? [];
    const base = nodes.get(keyOf(root) ?? '');
    const from = countOf(offset);
    const name = keyOf(target);
    if (base === undefined || from === undefined || name === undefined || countOf(length) === undefined) {
      return fail('a storage view of no storage');
    }
    nodes.set(name, { ...base, shift: base.shift + from });
  }
  return { storages, nodes };
}

function readTensors(
  member: { readonly bytes: Uint8Array; readonly label: string },
  nodes: ReadonlyMap<string, StorageNode>,
): ReadonlyMap<string, TarTensor> {
  const fail = (reason: string): never => {
    throw new BnsumError({ code: 'MALFORMED', file: member.label, reason });
  };
  const cursor = makeCursor(member.bytes, member.label);
  const tensors = new Map<string, TarTensor>();
  const total = countOf(cursor.pickle().value) ?? fail('no number of tensors');
  for (let index = 0; index < total; index += 1) {
    const [id, storageId] = itemsOf(cursor.pickle().value) ?? [];
    const key = keyOf(id) ?? fail('a tensor without a key');
    const storage = nodes.get(keyOf(storageId) ?? '') ?? fail(`tensor ${key} is in no storage of the file`);
    const rank = cursor.int32();
    if (rank > LIMITS.tensorRank) fail(`rank ${rank} is above the limit of ${LIMITS.tensorRank}`);
    cursor.skip(4);
    const sizes = Array.from({ length: rank }, () => cursor.int64());
    const strides = Array.from({ length: rank }, () => cursor.int64());
    tensors.set(key, { storage, sizes, strides, offset: cursor.int64() });
  }
  if (cursor.left() !== 0) fail(`${cursor.left()} bytes follow the last tensor`);
  return tensors;
}
