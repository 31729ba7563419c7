import type { DType } from '../../ir/dtype.ts';
import { BnsumError } from '../../ir/error.ts';
import { LIMITS } from '../../ir/limits.ts';
import { type Hdf5Attribute, type Hdf5Child, type Hdf5Dataset, type Hdf5Group, joinPath } from './hdf5.ts';
import type { LoadedLibrary } from './hdf5-library.ts';
import { type ReadAt, readObjectFacts, type Superblock } from './hdf5-structure.ts';

/**
 * The HDF5 library behind hdf5.ts: h5wasm over a file that only reads, by position. Everything here is synchronous and may
 * loop for ever on a damaged file, so untrusted files are read in a worker (hdf5-worker.ts) that can be ended.
 */
export interface EngineSource {
  readonly size: number;
  readonly label: string;
  /** Fills `into` from `start` on; throws when it cannot. */
  readInto(start: number, into: Uint8Array): void;
}

export interface Hdf5Tree {
  readonly groups: readonly Hdf5Group[];
  readonly datasets: readonly Hdf5Dataset[];
}

export interface EngineFile {
  /** Everything but the data, in one pass. `alive` is called before every call into the library. */
  collect(alive: () => void): Hdf5Tree;
  /** One hyperslab of a dataset, C order, little-endian; `into` has exactly its size. */
  read(path: string, start: readonly number[], count: readonly number[], into: Uint8Array): void;
  bytesRead(): number;
  close(): void;
}

/** What we use of the library's low-level interface. */
export interface Library {
  readonly FS: LibraryFs;
  readonly HEAPU8: Uint8Array;
  _malloc(size: number): number;
  _free(pointer: number): void;
  UTF8ToString(pointer: number): string;
  open(name: string, mode: number, trackOrder: boolean, low: number, high: number): bigint;
  close_file(file: bigint): number;
  get_names(file: bigint, path: string, recursive: boolean): string[];
  get_type(file: bigint, path: string): number;
  get_symbolic_link(file: bigint, path: string): string | null;
  get_external_link(file: bigint, path: string): { filename?: string };
  get_attribute_names(file: bigint, path: string): string[];
  get_attribute_metadata(file: bigint, path: string, name: string): TypeFacts;
  get_attribute_data(file: bigint, path: string, name: string, pointer: bigint): number;
  reclaim_vlen_memory(file: bigint, path: string, name: string, pointer: bigint): number;
  get_dataset_metadata(file: bigint, path: string): TypeFacts;
  get_dataset_filters(file: bigint, path: string): { id: number }[];
  get_dataset_data(
    file: bigint,
    path: string,
    count: bigint[],
    offset: bigint[],
    strides: bigint[],
    pointer: bigint,
  ): number;
  create_object_reference(file: bigint, path: string): number[];
}

interface LibraryFs {
  createPath(parent: string, path: string, canRead: boolean, canWrite: boolean): unknown;
  createFile(parent: string, name: string, properties: object, canRead: boolean, canWrite: boolean): LibraryNode;
  unlink(path: string): void;
  ErrnoError: new (errno: number) => Error;
}

interface LibraryNode {
  usedBytes?: number;
  stream_ops: Record<string, unknown>;
  node_ops: { getattr(node: LibraryNode): object };
}

interface TypeFacts {
  readonly type: number;
  readonly size: number;
  readonly signed: boolean;
  readonly littleEndian: boolean;
  readonly vlen: boolean;
  readonly shape: readonly number[] | null;
  readonly total_size: number;
  readonly chunks: readonly number[] | null;
  readonly virtual_sources?: readonly unknown[];
  readonly enum_type?: { readonly members: Readonly<Record<string, number>> };
}

/** HDF5's numbers for type classes (H5Tpublic.h) and for kinds of objects (H5Gpublic.h). */
const INTEGER = 0;
const FLOAT = 1;
const STRING = 3;
const OPAQUE = 5;
const ENUM = 8;
const CLASS_WORDS: Readonly<Record<number, string>> = {
  0: 'integer',
  1: 'float',
  2: 'time',
  3: 'string',
  4: 'bit field',
  5: 'opaque',
  6: 'compound',
  7: 'reference',
  8: 'enumeration',
  9: 'variable-length list',
  10: 'array',
};
const GROUP_OBJECT = 0;
const DATASET_OBJECT = 1;
const LINK_OBJECT = 3;
/** Error number of the C library for input and output (EIO), in emscripten's numbering. */
const EIO = 29;

let opened = 0;

/** Opens a file with the library; throws BnsumError. `superblock` is the one that stands in the file. */
export function openEngineFile(loaded: LoadedLibrary, source: EngineSource, superblock: Superblock): EngineFile {
  const { library, complaints } = loaded;
  const name = `input-${opened++}.h5`;
  let bytesRead = 0;
  let failure: unknown;
  const readInto = (start: number, into: Uint8Array): void => {
    source.readInto(start, into);
    bytesRead += into.length;
  };
  const node = library.FS.createFile('/', name, {}, true, false);
  node.usedBytes = source.size;
  const attributes = node.node_ops.getattr;
  node.node_ops = {
    ...node.node_ops,
    getattr: (of) => ({ ...attributes(of), size: source.size }),
  };
  node.stream_ops = {
    llseek(stream: { position: number }, offset: number, whence: number): number {
      const position = whence === 1 ? stream.position + offset : whence === 2 ? source.size + offset : offset;
      if (position < 0) throw new library.FS.ErrnoError(28);
      return position;
    },
    read(_stream: unknown, heap: Int8Array, at: number, length: number, position: number): number {
      const end = Math.min(source.size, position + length);
      if (position >= end) return 0;
      try {
        readInto(position, new Uint8Array(heap.buffer, heap.byteOffset + at, end - position));
      } catch (error) {
        failure = error;
        throw new library.FS.ErrnoError(EIO);
      }
      return end - position;
    },
  };
  const file = library.open(`/${name}`, 0, false, -1, -1);
  const refuse = (reason: string, place = ''): BnsumError =>
    failure instanceof BnsumError
      ? failure
      : new BnsumError({ code: 'MALFORMED', file: source.label, ...(place === '' ? {} : { place }), reason });
  if (file < 0n) {
    library.FS.unlink(`/${name}`);
    throw refuse('the HDF5 structure is damaged');
  }
  const readAt: ReadAt = (offset, into) => {
    if (offset < 0 || offset + into.length > source.size) return false;
    readInto(offset, into);
    return true;
  };
  return {
    bytesRead: () => bytesRead,
    close: () => {
      library.close_file(file);
      library.FS.unlink(`/${name}`);
    },
    collect: (alive) => collectTree({ library, complaints, file, source, superblock, readAt, refuse, alive }),
    read(path, start, count, into) {
      const byteLength = into.byteLength;
      const pointer = library._malloc(Math.max(byteLength, 1));
      if (pointer === 0) {
        throw new BnsumError({
          code: 'LIMIT',
          file: source.label,
          place: path,
          reason: 'the HDF5 reader is out of memory',
        });
      }
      try {
        const big = (values: readonly number[]): bigint[] => values.map((value) => BigInt(value));
        const strides = count.map(() => 1n);
        const status = library.get_dataset_data(file, `/${path}`, big(count), big(start), strides, BigInt(pointer));
        if (status < 0) throw refuse('the data cannot be read (damaged, or a filter that is not supported)', path);
        into.set(library.HEAPU8.subarray(pointer, pointer + byteLength));
      } finally {
        library._free(pointer);
      }
    },
  };
}

interface Walk {
  readonly library: Library;
  readonly complaints: () => number;
  readonly file: bigint;
  readonly source: EngineSource;
  readonly superblock: Superblock;
  readonly readAt: ReadAt;
  readonly refuse: (reason: string, place?: string) => BnsumError;
  readonly alive: () => void;
}

function collectTree(walk: Walk): Hdf5Tree {
  const { library, file, refuse, alive } = walk;
  const groups: Hdf5Group[] = [];
  const datasets: Hdf5Dataset[] = [];
  const seen = new Set<string>();
  const queue: { path: string; depth: number }[] = [{ path: '', depth: 0 }];
  let objects = 0;
  for (let next = queue.pop(); next !== undefined; next = queue.pop()) {
    const { path, depth } = next;
    if (depth > LIMITS.hdf5Depth) throw tooMuch(walk, path, `groups nest deeper than ${LIMITS.hdf5Depth}`);
    const address = addressOf(walk, path);
    if (seen.has(address)) throw refuse('this group is reached twice (a cycle of hard links)', path);
    seen.add(address);
    const children = new Map<string, Hdf5Child>();
    alive();
    const names = callLibrary(walk, path, () => library.get_names(file, `/${path}`, false));
    for (const name of names) {
      objects++;
      if (objects > LIMITS.hdf5Objects) throw tooMuch(walk, path, `more than ${LIMITS.hdf5Objects} objects`);
      const child = joinPath(path, name);
      alive();
      const kind = callLibrary(walk, child, () => kindOf(walk, child));
      children.set(name, kind);
      if (kind === 'group') queue.push({ path: child, depth: depth + 1 });
      if (kind === 'dataset') datasets.push(callLibrary(walk, child, () => readDataset(walk, child)));
    }
    groups.push({ path, attributes: callLibrary(walk, path, () => readAttributes(walk, path)), children });
  }
  return { groups, datasets };
}

function tooMuch(walk: Walk, place: string, reason: string): BnsumError {
  return new BnsumError({ code: 'LIMIT', file: walk.source.label, place, reason });
}

/**
 * Gives the library's own exceptions our form; some of them are plain strings. A list that broke off in the middle comes
 * without any, so that a complaint counts as one.
 */
function callLibrary<T>(walk: Walk, place: string, call: () => T): T {
  const before = walk.complaints();
  try {
    const result = call();
    if (walk.complaints() > before) throw walk.refuse('the HDF5 structure is damaged here', place);
    return result;
  } catch (error) {
    // A trap leaves the library damaged: it goes up as it is.
    if (error instanceof BnsumError || (error instanceof Error && error.name === 'RuntimeError')) throw error;
    throw walk.refuse('the HDF5 structure is damaged here', place);
  }
}

function addressOf(walk: Walk, path: string): string {
  const bytes = walk.library.create_object_reference(walk.file, path === '' ? '/' : `/${path}`);
  let address = 0n;
  for (let index = bytes.length - 1; index >= 0; index--) address = (address << 8n) | BigInt(bytes[index] ?? 0);
  return address.toString();
}

function kindOf({ library, file }: Walk, path: string): Hdf5Child {
  const absolute = `/${path}`;
  if (library.get_external_link(file, absolute).filename !== undefined) return 'external';
  if (library.get_symbolic_link(file, absolute) !== null) return 'soft';
  const type = library.get_type(file, absolute);
  if (type === GROUP_OBJECT) return 'group';
  if (type === DATASET_OBJECT) return 'dataset';
  return type === LINK_OBJECT ? 'soft' : 'other';
}

function readDataset(walk: Walk, path: string): Hdf5Dataset {
  const { library, file, source } = walk;
  const facts = library.get_dataset_metadata(file, `/${path}`);
  const address = addressOf(walk, path);
  const header = readObjectFacts(walk.readAt, walk.superblock, Number(address));
  const dtype = dtypeOf(facts, header?.half);
  const chunked = facts.chunks !== null;
  const filters = chunked ? library.get_dataset_filters(file, `/${path}`).map((filter) => filter.id) : [];
  const layout = facts.virtual_sources !== undefined ? 'virtual' : chunked ? 'chunked' : (header?.layout ?? 'unknown');
  const littleEndian = facts.littleEndian || facts.size === 1 || facts.type === OPAQUE;
  const declared = declaredBytes(facts);
  const stored = header?.storedBytes ?? (header?.unwritten ? 0 : Math.min(declared, source.size));
  const piece = layout === 'contiguous' || layout === 'compact' ? (header?.dataOffset ?? null) : null;
  const external = header?.external ?? false;
  return {
    path,
    dtype,
    typeWords: typeWords(facts),
    shape: facts.shape,
    layout,
    filters,
    external,
    declaredBytes: declared,
    storedBytes: stored,
    dataOffset: littleEndian && !external ? piece : null,
    identity: address,
    // Only the marker of a bfloat16 array is of use, and asking every dataset would cost more than everything else.
    attributes: dtype === 'opaque2' ? readAttributes(walk, path) : new Map(),
  };
}

/** Bytes of all elements, Infinity when a number cannot say. */
function declaredBytes(facts: TypeFacts): number {
  // The library gives the size of a type as a signed number of 32 bits.
  return (facts.shape ?? [0]).reduce((product, axis) => product * axis, facts.size >>> 0);
}

function dtypeOf(facts: TypeFacts, half: DType | undefined): DType | 'opaque2' | null {
  const { type, size } = facts;
  if (type === FLOAT) return size === 8 ? 'float64' : size === 4 ? 'float32' : size === 2 ? (half ?? null) : null;
  if (type === INTEGER) {
    const bits = size * 8;
    if (size !== 1 && size !== 2 && size !== 4 && size !== 8) return null;
    return `${facts.signed ? 'int' : 'uint'}${bits}` as DType;
  }
  if (type === OPAQUE && size === 2) return 'opaque2';
  if (type === ENUM && size === 1 && facts.enum_type !== undefined) {
    const members = new Map(Object.entries(facts.enum_type.members));
    if (members.size === 2 && members.get('FALSE') === 0 && members.get('TRUE') === 1) return 'bool';
  }
  return null;
}

function typeWords(facts: TypeFacts): string {
  const word = CLASS_WORDS[facts.type] ?? `type class ${facts.type}`;
  return facts.vlen ? `variable-length ${word}` : `${word} of ${facts.size} bytes`;
}

function readAttributes(walk: Walk, path: string): Map<string, Hdf5Attribute> {
  const { library, file, alive } = walk;
  const attributes = new Map<string, Hdf5Attribute>();
  alive();
  for (const name of library.get_attribute_names(file, `/${path}`)) {
    alive();
    attributes.set(name, readAttribute(walk, path, name));
  }
  return attributes;
}

function readAttribute(walk: Walk, path: string, name: string): Hdf5Attribute {
  const { library, file, refuse } = walk;
  const place = `${path} attribute ${name}`;
  const facts = library.get_attribute_metadata(file, `/${path}`, name);
  if (facts.shape === null || facts.total_size === 0) return [];
  const byteLength = declaredBytes(facts);
  if (!(byteLength >= 0 && byteLength <= LIMITS.jsonBytes)) {
    throw tooMuch(walk, place, `an attribute of ${byteLength} bytes, the limit is ${LIMITS.jsonBytes}`);
  }
  const readable =
    facts.type === STRING || facts.type === INTEGER || (facts.type === FLOAT && (facts.size === 4 || facts.size === 8));
  if (!readable) return null;
  const pointer = library._malloc(Math.max(byteLength, 1));
  if (pointer === 0) throw tooMuch(walk, place, 'the HDF5 reader is out of memory');
  try {
    library.HEAPU8.fill(0, pointer, pointer + byteLength);
    const status = library.get_attribute_data(file, `/${path}`, name, BigInt(pointer));
    if (status < 0) throw refuse('the attribute cannot be read', place);
    const data = library.HEAPU8.slice(pointer, pointer + byteLength);
    const values = facts.type === STRING ? readTexts(library, data, facts) : readNumbers(data, facts);
    if (facts.type === STRING && facts.vlen) {
      library.reclaim_vlen_memory(file, `/${path}`, name, BigInt(pointer));
    }
    return facts.shape.length === 0 ? (values[0] ?? null) : values;
  } finally {
    library._free(pointer);
  }
}

function readTexts(library: Library, data: Uint8Array, facts: TypeFacts): string[] {
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  const texts: string[] = [];
  if (facts.vlen) {
    for (let at = 0; at + 4 <= data.length; at += 4) {
      const pointer = view.getUint32(at, true);
      texts.push(pointer === 0 ? '' : library.UTF8ToString(pointer));
    }
    return texts;
  }
  const decoder = new TextDecoder();
  for (let at = 0; at + facts.size <= data.length; at += facts.size) {
    const bytes = data.subarray(at, at + facts.size);
    const end = bytes.indexOf(0);
    texts.push(decoder.decode(end < 0 ? bytes : bytes.subarray(0, end)));
  }
  return texts;
}

function readNumbers(data: Uint8Array, facts: TypeFacts): (number | bigint)[] {
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  const numbers: (number | bigint)[] = [];
  for (let at = 0; at + facts.size <= data.length; at += facts.size) {
    if (facts.type === FLOAT) {
      numbers.push(facts.size === 8 ? view.getFloat64(at, true) : view.getFloat32(at, true));
    } else if (facts.size === 8) {
      const value = facts.signed ? view.getBigInt64(at, true) : view.getBigUint64(at, true);
      numbers.push(Number.isSafeInteger(Number(value)) ? Number(value) : value);
    } else {
      let value = 0;
      for (let index = facts.size - 1; index >= 0; index--) value = value * 256 + (data[at + index] ?? 0);
      const limit = 2 ** (8 * facts.size);
      numbers.push(facts.signed && value >= limit / 2 ? value - limit : value);
    }
  }
  return numbers;
}
