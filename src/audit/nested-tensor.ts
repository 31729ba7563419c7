import { isNode, isReduced, itemsOf, type PickleValue, type StorageNode } from '../formats/torch/pickle-value.ts';
import { LIMITS } from '../ir/limits.ts';

/** The bytes of a storage, little-endian; undefined where they are not at hand. */
type ReadStorage = (storage: StorageNode) => Promise<Uint8Array | undefined>;

/** A tensor of whole numbers whose values are read: sizes, strides or offsets. */
interface Table {
  readonly storage: StorageNode;
  readonly rows: number;
  readonly columns: number;
  readonly steps: readonly [row: number, column: number];
  readonly offset: number;
}

/**
 * Why a nested tensor leaves its buffer: its sizes, strides and offsets are tensors themselves, and PyTorch's older
 * versions made views by them without a look. undefined: every row lies in the buffer.
 */
export async function faultOfNested(args: readonly PickleValue[], read: ReadStorage): Promise<string | undefined> {
  const buffer = isReduced(args[0]) ? args[0].args[0] : undefined;
  const sizes = tableOf(args[1], 2);
  const strides = tableOf(args[2], 2);
  const offsets = tableOf(args[3], 1);
  const isKnown = isNode(buffer) && buffer.kind === 'storage' && args.length === 4;
  if (!isKnown || sizes === undefined || strides === undefined || offsets === undefined) {
    return 'a nested tensor whose sizes are no plain tensors';
  }
  const isFit = strides.rows === sizes.rows && strides.columns === sizes.columns && offsets.rows === sizes.rows;
  if (!isFit) return 'a nested tensor whose sizes, strides and offsets differ in number';
  const tables = [];
  for (const table of [sizes, strides, offsets]) {
    const values = await numbersOf(table, read);
    if (values === undefined) return 'a nested tensor whose sizes could not be read';
    tables.push(values);
  }
  const [lengths = [], steps = [], starts = []] = tables;
  for (let row = 0; row < sizes.rows; row += 1) {
    let last = starts[row] ?? 0n;
    let isEmpty = false;
    for (let axis = 0; axis < sizes.columns; axis += 1) {
      const length = lengths[row * sizes.columns + axis] ?? 0n;
      const step = steps[row * sizes.columns + axis] ?? 0n;
      if (length < 0n || step < 0n) return 'a nested tensor with a size or stride below 0';
      if (length === 0n) isEmpty = true;
      else last += (length - 1n) * step;
    }
    if (!isEmpty && (last < 0n || last >= BigInt(buffer.length) || (starts[row] ?? 0n) < 0n)) {
      return `a nested tensor whose row ${row} reaches element ${last} of storage ${buffer.key}, which has ${buffer.length}`;
    }
  }
  return undefined;
}

function tableOf(value: PickleValue | undefined, rank: number): Table | undefined {
  if (!isReduced(value)) return undefined;
  const [storage, offset, shape, strides] = value.args;
  const [rows, columns = 1, ...more] = itemsOf(shape) ?? [];
  const [first, second = 1] = itemsOf(strides) ?? [];
  if (!isNode(storage) || storage.kind !== 'storage' || storage.dtype !== 'int64' || more.length > 0) return undefined;
  if (typeof rows !== 'number' || typeof columns !== 'number' || typeof offset !== 'number') return undefined;
  if (typeof first !== 'number' || typeof second !== 'number' || (itemsOf(shape)?.length ?? 0) !== rank)
    return undefined;
  return { storage, rows, columns, steps: [first, second], offset: offset + storage.shift };
}

/** Values of all tables of a nested tensor: one row for each of its parts. */
const MOST_VALUES = 1_000_000;

async function numbersOf(table: Table, read: ReadStorage): Promise<readonly bigint[] | undefined> {
  const { storage, rows, columns, steps, offset } = table;
  if (!(rows * columns <= MOST_VALUES) || storage.length * 8 > LIMITS.blockBytes) return undefined;
  const bytes = rows * columns === 0 ? new Uint8Array(0) : await read(storage);
  if (bytes === undefined) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const values: bigint[] = [];
  for (let row = 0; row < rows; row += 1) {
    for (let column = 0; column < columns; column += 1) {
      const at = 8 * (offset + row * steps[0] + column * steps[1]);
      if (!(at >= 0 && at + 8 <= bytes.byteLength)) return undefined;
      values.push(view.getBigInt64(at, true));
    }
  }
  return values;
}
