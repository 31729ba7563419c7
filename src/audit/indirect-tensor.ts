import type { ByteSource } from '../bytes/source.ts';
import type { IndirectTensor } from '../formats/torch/pickle-event.ts';
import {
  countOf,
  isGlobal,
  isNode,
  isReduced,
  itemsOf,
  type PickleValue,
  type StorageNode,
} from '../formats/torch/pickle-value.ts';
import { LIMITS } from '../ir/limits.ts';
import type { Ledger } from './finding.ts';

/** The bytes of a storage, little-endian; undefined where they are not at hand. */
export type OpenStorage = (storage: StorageNode) => Promise<ByteSource | undefined>;

/**
 * Tensors whose memory is addressed by the numbers of other tensors: nested ones by sizes and offsets, sparse ones by
 * indices. PyTorch loads them without a look at those numbers (older versions of nested ones, all versions of sparse ones
 * unless they are told to), and their first use reads and writes where the numbers lead.
 */
export async function judgeIndirect(
  tensors: readonly IndirectTensor[],
  openStorage: OpenStorage,
  ledger: Ledger,
  member: string,
): Promise<void> {
  const open = bounded(openStorage);
  for (const { name, args } of tensors) {
    const isNested = name === '_rebuild_nested_tensor';
    const fault = isNested ? await faultOfNested(args, open) : await faultOfSparse(args, open);
    if (fault === undefined) continue;
    const detail = `a ${isNested ? 'nested' : 'sparse'} tensor ${fault}`;
    ledger.add({ level: 'suspicious', rule: 'TENSOR_BOUNDS', member, detail });
  }
}

/** Opens a storage for a number of bytes; undefined where it is not at hand, or was read often enough. */
type Open = (storage: StorageNode, bytes: (size: number) => number) => Promise<ByteSource | undefined>;

/** Lets each storage be read twice over, all tensors together: a file may name one a million times. */
function bounded(openStorage: OpenStorage): Open {
  const sources = new Map<string, ByteSource | undefined>();
  let left = 0;
  return async (storage, bytes) => {
    if (!sources.has(storage.key)) {
      const opened = await openStorage(storage);
      sources.set(storage.key, opened);
      left += 2 * (opened?.size ?? 0);
    }
    const source = sources.get(storage.key);
    if (source === undefined) return undefined;
    left -= bytes(source.size);
    return left < 0 ? undefined : source;
  };
}

/** A plain tensor of the file. */
interface Table {
  readonly storage: StorageNode;
  readonly offset: number;
  readonly shape: readonly number[];
  readonly strides: readonly number[];
}

function tableOf(value: PickleValue | undefined): Table | undefined {
  if (!isReduced(value) || !isGlobal(value.callable)) return undefined;
  if (!/^_rebuild_tensor(?:_v2)?$/.test(value.callable.name)) return undefined;
  const [storage, offset] = value.args;
  const from = countOf(offset);
  const shape = countsOf(value.args[2]);
  const strides = countsOf(value.args[3]);
  if (!isNode(storage) || storage.kind !== 'storage' || from === undefined) return undefined;
  if (shape === undefined || strides === undefined || shape.length !== strides.length) return undefined;
  return { storage, offset: from + storage.shift, shape, strides };
}

function countsOf(value: PickleValue | undefined): readonly number[] | undefined {
  const counts = itemsOf(value)?.map(countOf);
  return counts?.every((count) => count !== undefined) === true ? counts : undefined;
}

const ODD = 'whose parts are no plain tensors';
const UNREAD = 'whose numbers could not be read';

async function faultOfNested(args: readonly PickleValue[], open: Open): Promise<string | undefined> {
  const [buffer, sizes, strides, offsets] = args.map(tableOf);
  if (buffer === undefined || sizes === undefined || strides === undefined || offsets === undefined) return ODD;
  const [rows = 0, axes = 0] = sizes.shape;
  // One of no rows has sizes of no axes.
  const isEmpty = offsets.shape.join() === '0' && sizes.shape.length === 0 && strides.shape.length === 0;
  if (isEmpty) return undefined;
  const isFit =
    sizes.shape.length === 2 &&
    offsets.shape.length === 1 &&
    offsets.shape[0] === rows &&
    strides.shape.join() === sizes.shape.join();
  if (!isFit) return 'whose sizes, strides and offsets differ in number';
  if (rows * axes > MOST_KEPT) return UNREAD;
  const [lengths, steps, starts] = [await keep(sizes, open), await keep(strides, open), await keep(offsets, open)];
  if (lengths === undefined || steps === undefined || starts === undefined) return UNREAD;
  for (let row = 0; row < rows; row += 1) {
    const start = starts[row] ?? 0;
    let last = start;
    let isNone = false;
    for (let axis = row * axes; axis < (row + 1) * axes; axis += 1) {
      const length = lengths[axis] ?? 0;
      const step = steps[axis] ?? 0;
      if (length < 0 || step < 0) return 'with a size or stride below 0';
      if (length === 0) isNone = true;
      else last += (length - 1) * step;
    }
    if (!isNone && !(start >= 0 && last < buffer.storage.length)) {
      return `whose row ${row} reaches element ${last} of storage ${buffer.storage.key}, which has ${buffer.storage.length}`;
    }
  }
  return undefined;
}

async function faultOfSparse(args: readonly PickleValue[], open: Open): Promise<string | undefined> {
  const layout = layoutOf(args[0]);
  const parts = itemsOf(args[1]) ?? [];
  if (layout === 'sparse_coo') {
    const [indices, values] = [tableOf(parts[0]), tableOf(parts[1])];
    const size = countsOf(parts[2]);
    if (indices === undefined || values === undefined || size === undefined) return ODD;
    const [axes = 0, entries = 0] = indices.shape;
    const isFit =
      indices.shape.length === 2 && values.shape[0] === entries && axes + values.shape.length - 1 === size.length;
    if (!isFit) return 'whose indices do not fit its values';
    let fault: string | undefined;
    const isRead = await read(indices, open, (index, at) => {
      const axis = Math.floor(at / entries);
      if (!(index >= 0 && index < (size[axis] ?? 0))) fault ??= `with index ${index} on axis ${axis} of ${size[axis]}`;
    });
    return isRead ? fault : UNREAD;
  }
  if (layout === undefined || !/^sparse_(?:csr|csc|bsr|bsc)$/.test(layout)) return ODD;
  return faultOfCompressed(layout, parts, open);
}

/** Compressed rows or columns: where each begins among the entries, and the place of each entry in it. */
async function faultOfCompressed(
  layout: string,
  parts: readonly PickleValue[],
  open: Open,
): Promise<string | undefined> {
  const [starts, places, values] = [tableOf(parts[0]), tableOf(parts[1]), tableOf(parts[2])];
  const size = countsOf(parts[3]);
  if (starts === undefined || places === undefined || values === undefined || size === undefined) return ODD;
  const batch = starts.shape.length - 1;
  const isBlocked = /bs[rc]$/.test(layout);
  const block = isBlocked ? values.shape.slice(batch + 1, batch + 3) : [1, 1];
  const [rows = 0, columns = 0] = [0, 1].map((axis) => (size[batch + axis] ?? 0) / (block[axis] ?? 0));
  const [lines, others] = layout.endsWith('r') ? [rows, columns] : [columns, rows];
  const entries = places.shape[batch] ?? 0;
  const outer = size.slice(0, batch).join();
  const isFit =
    batch >= 0 &&
    Number.isInteger(rows) &&
    Number.isInteger(columns) &&
    starts.shape[batch] === lines + 1 &&
    values.shape[batch] === entries &&
    [starts, places, values].every((table) => table.shape.slice(0, batch).join() === outer) &&
    places.shape.length === batch + 1 &&
    size.length === batch + 2 + (values.shape.length - batch - (isBlocked ? 3 : 1));
  if (!isFit) return 'whose indices do not fit its values';
  let fault: string | undefined;
  let before = 0;
  const isRead = await read(starts, open, (start, at) => {
    const line = at % (lines + 1);
    const isRight = line === 0 ? start === 0 : start >= before && (line < lines || start === entries);
    if (!isRight) fault ??= `whose line ${line} begins at entry ${start} of ${entries}`;
    before = start;
  });
  const isReadToo = await read(places, open, (place) => {
    if (!(place >= 0 && place < others)) fault ??= `with index ${place} of ${others}`;
  });
  return isRead && isReadToo ? fault : UNREAD;
}

/** 'sparse_coo' of torch.sparse_coo, and of the call that PyTorch writes for it. */
function layoutOf(value: PickleValue | undefined): string | undefined {
  if (isGlobal(value) && value.module === 'torch') return value.name;
  if (!isReduced(value) || !isGlobal(value.callable) || value.callable.name !== '_get_layout') return undefined;
  const [word] = value.args;
  return typeof word === 'string' ? word.replace(/^torch\./, '') : undefined;
}

/** Numbers that are kept at once. */
const MOST_KEPT = 1_000_000;
const BLOCK_BYTES = 4 * 1024 * 1024;

async function keep(table: Table, open: Open): Promise<readonly number[] | undefined> {
  const values: number[] = [];
  return (await read(table, open, (value) => void values.push(value))) ? values : undefined;
}

/** Gives the numbers of a tensor in their order; false where they cannot be had. */
async function read(table: Table, open: Open, visit: (value: number, at: number) => void): Promise<boolean> {
  const { storage, offset, shape, strides } = table;
  const item = storage.dtype === 'int64' ? 8 : storage.dtype === 'int32' ? 4 : undefined;
  const count = shape.reduce((product, length) => product * length, 1);
  if (item === undefined || !Number.isSafeInteger(count)) return false;
  if (count === 0) return true;
  const isPlain = isContiguous(table);
  const source = await open(storage, (size) => (isPlain ? count * item : size));
  if (source === undefined) return false;
  const valueAt = (view: DataView, at: number): number =>
    item === 4 ? view.getInt32(at, true) : view.getInt32(at + 4, true) * 2 ** 32 + view.getUint32(at, true);
  if (isPlain) {
    if ((offset + count) * item > source.size) return false;
    for (let from = 0; from < count; from += BLOCK_BYTES / item) {
      const length = Math.min(count - from, BLOCK_BYTES / item);
      const bytes = await source.read((offset + from) * item, (offset + from + length) * item);
      const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
      for (let at = 0; at < length; at += 1) visit(valueAt(view, at * item), from + at);
    }
    return true;
  }
  // Other views are small, or none that PyTorch writes: a stride of 0 would repeat a few bytes without end.
  if (source.size > LIMITS.blockBytes || count > source.size) return false;
  const bytes = await source.read(0, source.size);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let at = 0; at < count; at += 1) {
    let place = offset;
    for (let axis = shape.length - 1, rest = at; axis >= 0; axis -= 1) {
      const length = shape[axis] ?? 1;
      place += (rest % length) * (strides[axis] ?? 0);
      rest = Math.floor(rest / length);
    }
    if ((place + 1) * item > bytes.length) return false;
    visit(valueAt(view, place * item), at);
  }
  return true;
}

function isContiguous({ shape, strides }: Table): boolean {
  let expected = 1;
  for (let axis = shape.length - 1; axis >= 0; axis -= 1) {
    if ((shape[axis] ?? 1) > 1 && strides[axis] !== expected) return false;
    expected *= shape[axis] ?? 1;
  }
  return true;
}
