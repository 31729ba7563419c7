import type { DType } from '../../ir/dtype.ts';
import { LIMITS } from '../../ir/limits.ts';
import { type Hdf5Attribute, type Hdf5Child, type Hdf5Dataset, type Hdf5Group, joinPath } from './hdf5.ts';
import type { Hdf5Tree } from './hdf5-engine.ts';
import { addressAt, factsOf, type Message, type ReadAt, readMessages, type Superblock } from './hdf5-structure.ts';

/**
 * Reads the header tree of an HDF5 file without the library, which takes longer to start than everything else together.
 * Only what Keras writes through h5py is read: superblocks 0 and 1, groups as symbol tables, attributes in the object
 * header. At the first thing that is out of the ordinary, damage included, it gives up and the library decides.
 * HDF5 File Format Specification 3.0, sections II to IV.
 */

interface Reader {
  readonly readAt: ReadAt;
  readonly superblock: Superblock;
  /** Global heap collections by address: index to bytes. */
  readonly heaps: Map<number, ReadonlyMap<number, Uint8Array>>;
  readonly budget: { bytes: number; nodes: number };
}

/** Thrown inside this file alone. */
const UNUSUAL = Symbol('unusual');

const HEADER_BYTES = 256 * 1024 * 1024;
const NODES = 4_000_000;
const HEAP_BYTES = 64 * 1024 * 1024;
const SYMBOL_BYTES = 40;

function unusual(): never {
  throw UNUSUAL;
}

/** The tree, or undefined when the library has to be asked. */
export function readHeaderTree(readAt: ReadAt, superblock: Superblock): Hdf5Tree | undefined {
  const { base, version, offsetBytes, lengthBytes } = superblock;
  if (version > 1 || offsetBytes !== 8 || lengthBytes !== 8) return undefined;
  const budget = { bytes: HEADER_BYTES, nodes: NODES };
  const bounded: ReadAt = (offset, into) => {
    budget.bytes -= into.length;
    return budget.bytes >= 0 && readAt(offset, into);
  };
  const reader: Reader = { readAt: bounded, superblock, heaps: new Map(), budget };
  try {
    const start = version === 0 ? 24 : 28;
    const head = bytesAt(reader, 0, start + 48);
    // A base address other than the signature's place belongs to a file that was cut or joined.
    if (addressAt(head, start, 8) !== base) return undefined;
    return collect(reader, addressAt(head, start + 40, 8) ?? unusual());
  } catch (error) {
    if (error === UNUSUAL) return undefined;
    throw error;
  }
}

/** Bytes at an address, which counts from the base. */
function bytesAt(reader: Reader, address: number, size: number): Uint8Array {
  if (!Number.isSafeInteger(address) || size < 0 || size > HEAP_BYTES) unusual();
  const bytes = new Uint8Array(size);
  if (!reader.readAt(reader.superblock.base + address, bytes)) unusual();
  return bytes;
}

/** A group whose children are still to be read. */
interface Pending {
  readonly path: string;
  readonly address: number;
  readonly depth: number;
  readonly messages: readonly Message[];
}

function collect(reader: Reader, root: number): Hdf5Tree {
  const groups: Hdf5Group[] = [];
  const datasets: Hdf5Dataset[] = [];
  const seen = new Set<number>();
  const queue: Pending[] = [{ path: '', address: root, depth: 0, messages: messagesAt(reader, root) }];
  let objects = 0;
  for (let next = queue.pop(); next !== undefined; next = queue.pop()) {
    const { path, address, depth, messages } = next;
    if (seen.has(address) || depth > LIMITS.hdf5Depth) unusual();
    seen.add(address);
    const children = new Map<string, Hdf5Child>();
    for (const { name, address: child, soft } of childrenOf(reader, messages)) {
      objects++;
      if (objects > LIMITS.hdf5Objects || children.has(name) || name === '' || name === '.') unusual();
      const childPath = joinPath(path, name);
      if (soft) {
        children.set(name, 'soft');
        continue;
      }
      const inner = messagesAt(reader, child);
      if (inner.some((message) => message.type === 0x0011)) {
        children.set(name, 'group');
        queue.push({ path: childPath, address: child, depth: depth + 1, messages: inner });
      } else {
        children.set(name, 'dataset');
        datasets.push(datasetOf(reader, childPath, child, inner));
      }
    }
    groups.push({ path, attributes: attributesOf(reader, messages), children });
  }
  return { groups, datasets };
}

/** Messages that we know, or know to be without effect on what is asked. */
const KNOWN: ReadonlySet<number> = new Set([
  0x0000, 0x0001, 0x0003, 0x0004, 0x0005, 0x0007, 0x0008, 0x000b, 0x000c, 0x0011, 0x0012,
]);

function messagesAt(reader: Reader, address: number): readonly Message[] {
  const messages = readMessages(reader.readAt, reader.superblock, address) ?? unusual();
  for (const { type, flags } of messages) if (!KNOWN.has(type) || (flags & 0x02) !== 0) unusual();
  return messages;
}

interface ChildEntry {
  readonly name: string;
  readonly address: number;
  readonly soft: boolean;
}

function childrenOf(reader: Reader, messages: readonly Message[]): readonly ChildEntry[] {
  const table = only(messages, 0x0011);
  const tree = addressAt(table.body, 0, 8) ?? unusual();
  const names = localHeap(reader, addressAt(table.body, 8, 8) ?? unusual());
  const children: ChildEntry[] = [];
  const stack = [tree];
  const seen = new Set<number>();
  for (let address = stack.pop(); address !== undefined; address = stack.pop()) {
    reader.budget.nodes--;
    if (seen.has(address) || reader.budget.nodes < 0) unusual();
    seen.add(address);
    const head = bytesAt(reader, address, 24);
    if (!startsWith(head, 'TREE') || head[4] !== 0) unusual();
    const count = (head[6] ?? 0) | ((head[7] ?? 0) << 8);
    const level = head[5] ?? 0;
    const body = bytesAt(reader, address + 24, count * 16 + 8);
    const below: number[] = [];
    for (let index = 0; index < count; index++) below.push(addressAt(body, 8 + index * 16, 8) ?? unusual());
    if (level > 0) stack.push(...below.reverse());
    else for (const node of below) children.push(...symbolsOf(reader, node, names));
  }
  // The library finds a name by halving, so names out of order are lost to it.
  for (const [index, { name }] of children.entries()) {
    const before = children[index - 1]?.name;
    if (before !== undefined && compareBytes(before, name) >= 0) unusual();
  }
  return children;
}

const ENCODER = new TextEncoder();

function compareBytes(left: string, right: string): number {
  const [a, b] = [ENCODER.encode(left), ENCODER.encode(right)];
  for (let index = 0; index < Math.min(a.length, b.length); index++) {
    const difference = (a[index] ?? 0) - (b[index] ?? 0);
    if (difference !== 0) return difference;
  }
  return a.length - b.length;
}

function symbolsOf(reader: Reader, address: number, names: Uint8Array): readonly ChildEntry[] {
  const head = bytesAt(reader, address, 8);
  if (!startsWith(head, 'SNOD') || head[4] !== 1) unusual();
  const count = (head[6] ?? 0) | ((head[7] ?? 0) << 8);
  const body = bytesAt(reader, address + 8, count * SYMBOL_BYTES);
  const entries: ChildEntry[] = [];
  for (let index = 0; index < count; index++) {
    const at = index * SYMBOL_BYTES;
    const offset = addressAt(body, at, 8) ?? unusual();
    const end = names.indexOf(0, offset);
    if (end < 0) unusual();
    const cache = addressAt(body, at + 16, 4);
    const soft = cache === 2;
    if (cache !== 0 && cache !== 1 && !soft) unusual();
    const name = textOf(names.subarray(offset, end));
    entries.push({ name, soft, address: soft ? 0 : (addressAt(body, at + 8, 8) ?? unusual()) });
  }
  return entries;
}

function localHeap(reader: Reader, address: number): Uint8Array {
  const head = bytesAt(reader, address, 32);
  if (!startsWith(head, 'HEAP') || head[4] !== 0) unusual();
  return bytesAt(reader, addressAt(head, 24, 8) ?? unusual(), addressAt(head, 8, 8) ?? unusual());
}

function startsWith(bytes: Uint8Array, word: string): boolean {
  for (let index = 0; index < word.length; index++) if (bytes[index] !== word.charCodeAt(index)) return false;
  return true;
}

const DECODER = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

function textOf(bytes: Uint8Array): string {
  try {
    return DECODER.decode(bytes);
  } catch {
    return unusual();
  }
}

function only(messages: readonly Message[], type: number): Message {
  const [message, ...others] = messages.filter((candidate) => candidate.type === type);
  return message === undefined || others.length > 0 ? unusual() : message;
}

interface TypeFacts {
  readonly kind: 'integer' | 'float' | 'text' | 'texts' | 'opaque';
  readonly size: number;
  readonly signed: boolean;
  readonly bigEndian: boolean;
  readonly exponent: number;
}

/** Fixed-length and variable-length text, whole numbers, IEEE floats and opaque bytes. */
function typeOf(body: Uint8Array): TypeFacts {
  const kind = (body[0] ?? 0) & 0x0f;
  const version = (body[0] ?? 0) >> 4;
  const bits = body[1] ?? 0;
  const size = addressAt(body, 4, 4) ?? unusual();
  if (version < 1 || version > 3 || size === 0) unusual();
  const facts = { size, signed: false, bigEndian: false, exponent: 0 };
  const whole =
    ((body[8] ?? 0) | ((body[9] ?? 0) << 8)) === 0 && ((body[10] ?? 0) | ((body[11] ?? 0) << 8)) === size * 8;
  switch (kind) {
    case 0:
      if (!whole || ![1, 2, 4, 8].includes(size)) unusual();
      return { ...facts, kind: 'integer', signed: (bits & 0x08) !== 0, bigEndian: (bits & 0x01) !== 0 };
    case 1: {
      const exponent = body[13] ?? 0;
      const known = ['2 5 10', '2 8 7', '4 8 23', '8 11 52'].includes(`${size} ${exponent} ${body[15] ?? 0}`);
      if (!whole || !known || (bits & 0x40) !== 0) unusual();
      return { ...facts, kind: 'float', bigEndian: (bits & 0x01) !== 0, exponent };
    }
    case 3:
      return { ...facts, kind: 'text' };
    case 5:
      return { ...facts, kind: 'opaque' };
    case 9:
      return (bits & 0x0f) === 1 && size === 16 ? { ...facts, kind: 'texts' } : unusual();
    default:
      return unusual();
  }
}

/** null: a dataspace without elements. */
function spaceOf(body: Uint8Array): readonly number[] | null {
  const version = body[0];
  const rank = body[1] ?? 0;
  if (rank > LIMITS.hdf5Rank || (version !== 1 && version !== 2)) unusual();
  if (version === 2 && body[3] === 2) return null;
  const at = version === 1 ? 8 : 4;
  return Array.from({ length: rank }, (_, axis) => addressAt(body, at + axis * 8, 8) ?? unusual());
}

function datasetOf(reader: Reader, path: string, address: number, messages: readonly Message[]): Hdf5Dataset {
  const type = typeOf(only(messages, 0x0003).body);
  const shape = spaceOf(only(messages, 0x0001).body);
  const layout = only(messages, 0x0008).body;
  // Older layouts are rare, and the library knows them.
  if (layout[0] !== 3) unusual();
  const facts = factsOf(messages, reader.superblock);
  const dtype = dtypeOf(type);
  const size = (shape ?? [0]).reduce((product, axis) => product * axis, type.size);
  const pieces = facts.layout === 'contiguous' || facts.layout === 'compact' ? facts.dataOffset : null;
  if (facts.layout === 'unknown' || facts.layout === 'virtual') unusual();
  const stored = facts.storedBytes ?? Math.min(size, reader.superblock.end ?? 0);
  return {
    path,
    dtype,
    typeWords: `${type.kind === 'text' ? 'string' : type.kind} of ${type.size} bytes`,
    shape,
    layout: facts.layout,
    filters: facts.layout === 'chunked' ? filtersOf(messages) : [],
    external: facts.external,
    declaredBytes: size,
    storedBytes: stored,
    dataOffset: type.bigEndian && type.size > 1 ? null : facts.external ? null : pieces,
    identity: address.toString(),
    attributes: dtype === 'opaque2' ? attributesOf(reader, messages) : new Map(),
  };
}

function dtypeOf(type: TypeFacts): DType | 'opaque2' | null {
  switch (type.kind) {
    case 'float':
      if (type.size === 2) return type.exponent === 8 ? 'bfloat16' : 'float16';
      return type.size === 4 ? 'float32' : 'float64';
    case 'integer':
      return `${type.signed ? 'int' : 'uint'}${type.size * 8}` as DType;
    case 'opaque':
      return type.size === 2 ? 'opaque2' : null;
    case 'text':
      return null;
    default:
      return unusual();
  }
}

function filtersOf(messages: readonly Message[]): readonly number[] {
  const found = messages.filter((message) => message.type === 0x000b);
  const body = found[0]?.body;
  if (body === undefined) return [];
  const version = body[0];
  const count = body[1] ?? 0;
  if (found.length > 1 || (version !== 1 && version !== 2)) unusual();
  const word = (at: number): number => (body[at] ?? unusual()) | ((body[at + 1] ?? unusual()) << 8);
  const filters: number[] = [];
  let at = version === 1 ? 8 : 2;
  for (let index = 0; index < count; index++) {
    const id = word(at);
    const named = version === 1 || id >= 256;
    const nameBytes = named ? word(at + 2) : 0;
    const values = word(at + (named ? 6 : 4));
    at += (named ? 8 : 6) + (version === 1 ? Math.ceil(nameBytes / 8) * 8 : nameBytes) + values * 4;
    if (version === 1 && values % 2 === 1) at += 4;
    filters.push(id);
  }
  return filters;
}

function attributesOf(reader: Reader, messages: readonly Message[]): Map<string, Hdf5Attribute> {
  const attributes = new Map<string, Hdf5Attribute>();
  for (const { type, body } of messages) {
    if (type !== 0x000c) continue;
    const version = body[0] ?? 0;
    if (version < 1 || version > 3 || (version > 1 && (body[1] ?? 0) !== 0)) unusual();
    const word = (at: number): number => (body[at] ?? 0) | ((body[at + 1] ?? 0) << 8);
    const padded = (size: number): number => (version === 1 ? Math.ceil(size / 8) * 8 : size);
    const nameAt = version === 3 ? 9 : 8;
    const typeAt = nameAt + padded(word(2));
    const spaceAt = typeAt + padded(word(4));
    const dataAt = spaceAt + padded(word(6));
    if (dataAt > body.length) unusual();
    const name = body.subarray(nameAt, nameAt + word(2));
    const end = name.indexOf(0);
    const value = attributeValue(
      reader,
      typeOf(body.subarray(typeAt, typeAt + word(4))),
      spaceOf(body.subarray(spaceAt, spaceAt + word(6))),
      body.subarray(dataAt),
    );
    attributes.set(textOf(end < 0 ? name : name.subarray(0, end)), value);
  }
  return attributes;
}

function attributeValue(
  reader: Reader,
  type: TypeFacts,
  shape: readonly number[] | null,
  data: Uint8Array,
): Hdf5Attribute {
  if (shape === null) return [];
  const count = shape.reduce((product, axis) => product * axis, 1);
  if (!Number.isSafeInteger(count) || count * type.size > data.length || type.bigEndian) unusual();
  const values: (string | number | bigint)[] = [];
  for (let index = 0; index < count; index++) {
    values.push(elementOf(reader, type, data.subarray(index * type.size, (index + 1) * type.size)));
  }
  return shape.length === 0 ? (values[0] ?? unusual()) : values;
}

function elementOf(reader: Reader, type: TypeFacts, bytes: Uint8Array): string | number | bigint {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  switch (type.kind) {
    case 'text': {
      const end = bytes.indexOf(0);
      return textOf(end < 0 ? bytes : bytes.subarray(0, end));
    }
    case 'texts': {
      const length = view.getUint32(0, true);
      if (length === 0) return '';
      const heap = globalHeap(reader, addressAt(bytes, 4, 8) ?? unusual());
      const text = heap.get(view.getUint32(12, true)) ?? unusual();
      if (text.length < length) unusual();
      const end = text.subarray(0, length).indexOf(0);
      return textOf(text.subarray(0, end < 0 ? length : end));
    }
    case 'float':
      if (type.size === 2) unusual();
      return type.size === 8 ? view.getFloat64(0, true) : view.getFloat32(0, true);
    case 'integer': {
      if (type.size === 8) {
        const value = type.signed ? view.getBigInt64(0, true) : view.getBigUint64(0, true);
        return Number.isSafeInteger(Number(value)) ? Number(value) : value;
      }
      const value = addressBits(bytes);
      const limit = 2 ** (8 * type.size);
      return type.signed && value >= limit / 2 ? value - limit : value;
    }
    default:
      return unusual();
  }
}

function addressBits(bytes: Uint8Array): number {
  let value = 0;
  for (let index = bytes.length - 1; index >= 0; index--) value = value * 256 + (bytes[index] ?? 0);
  return value;
}

function globalHeap(reader: Reader, address: number): ReadonlyMap<number, Uint8Array> {
  const known = reader.heaps.get(address);
  if (known !== undefined) return known;
  const head = bytesAt(reader, address, 16);
  if (!startsWith(head, 'GCOL') || head[4] !== 1) unusual();
  const bytes = bytesAt(reader, address, addressAt(head, 8, 8) ?? unusual());
  const objects = new Map<number, Uint8Array>();
  for (let at = 16; at + 16 <= bytes.length; ) {
    const index = (bytes[at] ?? 0) | ((bytes[at + 1] ?? 0) << 8);
    const size = addressAt(bytes, at + 8, 8) ?? unusual();
    // Index 0 is the free space that ends the collection.
    if (index === 0) break;
    if (at + 16 + size > bytes.length || objects.has(index)) unusual();
    objects.set(index, bytes.subarray(at + 16, at + 16 + size));
    at += 16 + Math.ceil(size / 8) * 8;
  }
  reader.heaps.set(address, objects);
  return objects;
}
