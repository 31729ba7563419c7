import type { WriteTarget } from '../../bytes/target.ts';
import { zipWriter } from '../../bytes/zip-write.ts';
import type { DType } from '../../ir/dtype.ts';
import { BnsumError } from '../../ir/error.ts';
import { BlockBuffer, readBlocks } from '../../ir/slabs.ts';
import type { StateEntry } from '../../ir/state.ts';

/** Storage classes that PyTorch's strict unpickler allows, by element type. */
const STORAGES: ReadonlyMap<DType, string> = new Map([
  ['float64', 'DoubleStorage'],
  ['float32', 'FloatStorage'],
  ['float16', 'HalfStorage'],
  ['bfloat16', 'BFloat16Storage'],
  ['int64', 'LongStorage'],
  ['int32', 'IntStorage'],
  ['int16', 'ShortStorage'],
  ['int8', 'CharStorage'],
  ['uint8', 'ByteStorage'],
  ['bool', 'BoolStorage'],
  ['complex64', 'ComplexFloatStorage'],
  ['complex128', 'ComplexDoubleStorage'],
]);

export interface TorchWriteOptions {
  /** The archive's root folder: the file's stem. */
  readonly root: string;
  /** `_metadata`: module prefix to version, '' the root. Empty: none is written. */
  readonly versions: ReadonlyMap<string, number>;
}

/**
 * Writes a state_dict as torch.save does (zip, protocol 2, storages aligned at 64 bytes), with nothing in it but what
 * torch.load(weights_only=True) allows. Tensors are streamed in blocks. Throws BnsumError UNSUPPORTED for an element
 * type without a storage class.
 */
export async function writeTorch(
  entries: readonly StateEntry[],
  target: WriteTarget,
  options: TorchWriteOptions,
): Promise<void> {
  const keys = new Map<string, number>();
  for (const entry of entries) {
    if (!STORAGES.has(entry.tensor.dtype)) {
      throw new BnsumError({
        code: 'UNSUPPORTED',
        place: entry.name,
        reason: `${entry.tensor.dtype} is not written to .pt files`,
        next: 'choose another element type with --dtype, or write .safetensors',
      });
    }
    if (entry.shares === null) keys.set(entry.name, keys.size);
  }
  const zip = zipWriter(target, { alignment: 64 });
  const text = new TextEncoder();
  const add = (name: string, content: Uint8Array): Promise<number> =>
    zip.add({ name: `${options.root}/${name}`, size: content.byteLength }, [content]);
  await add('data.pkl', pickleState(entries, keys, options.versions));
  await add('.format_version', text.encode('1'));
  await add('.storage_alignment', text.encode('64'));
  await add('byteorder', text.encode('little'));
  const buffer = new BlockBuffer();
  for (const entry of entries) {
    const key = keys.get(entry.name);
    if (key === undefined) continue;
    const record = { name: `${options.root}/data/${key}`, size: entry.tensor.byteLength };
    await zip.add(record, readBlocks(entry.tensor, buffer));
  }
  await add('version', text.encode('3\n'));
  await zip.finish();
}

/** Protocol 2, without a memo: only opcodes that every reader of such files knows. */
class Pickle {
  readonly #parts: Uint8Array[] = [];
  readonly #text: InstanceType<typeof TextEncoder> = new TextEncoder();

  byte(...values: readonly number[]): this {
    this.#parts.push(Uint8Array.from(values));
    return this;
  }

  /** `\n` cannot occur: the names are ours. */
  global(module: string, name: string): this {
    this.#parts.push(this.#text.encode(`c${module}\n${name}\n`));
    return this;
  }

  string(value: string): this {
    const bytes = this.#text.encode(value);
    const head = new Uint8Array(5);
    head[0] = 0x58; // BINUNICODE
    new DataView(head.buffer).setUint32(1, bytes.byteLength, true);
    this.#parts.push(head, bytes);
    return this;
  }

  integer(value: number): this {
    if (value >= 0 && value < 0x100) return this.byte(0x4b, value); // BININT1
    if (value >= -0x80000000 && value < 0x80000000) {
      const bytes = new Uint8Array(5);
      bytes[0] = 0x4a; // BININT
      new DataView(bytes.buffer).setInt32(1, value, true);
      this.#parts.push(bytes);
      return this;
    }
    const bytes = new Uint8Array(10);
    bytes[0] = 0x8a; // LONG1
    bytes[1] = 8;
    new DataView(bytes.buffer).setBigInt64(2, BigInt(value), true);
    this.#parts.push(bytes);
    return this;
  }

  tuple(values: readonly number[]): this {
    this.byte(0x28); // MARK
    for (const value of values) this.integer(value);
    return this.byte(0x74); // TUPLE
  }

  /** OrderedDict() */
  ordered(): this {
    return this.global('collections', 'OrderedDict').byte(0x29, 0x52); // EMPTY_TUPLE REDUCE
  }

  bytes(): Uint8Array {
    const whole = new Uint8Array(this.#parts.reduce((sum, part) => sum + part.byteLength, 0));
    let at = 0;
    for (const part of this.#parts) {
      whole.set(part, at);
      at += part.byteLength;
    }
    return whole;
  }
}

function contiguousStrides(shape: readonly number[]): number[] {
  const strides = new Array<number>(shape.length).fill(1);
  for (let axis = shape.length - 2; axis >= 0; axis -= 1) {
    strides[axis] = (strides[axis + 1] ?? 1) * Math.max(1, shape[axis + 1] ?? 1);
  }
  return strides;
}

function pickleState(
  entries: readonly StateEntry[],
  keys: ReadonlyMap<string, number>,
  versions: ReadonlyMap<string, number>,
): Uint8Array {
  const pickle = new Pickle().byte(0x80, 2).ordered().byte(0x28); // PROTO 2, OrderedDict(), MARK
  for (const { name, tensor, shares } of entries) {
    const elements = tensor.shape.reduce((product, size) => product * size, 1);
    const key = keys.get(shares ?? name);
    if (key === undefined)
      throw new BnsumError({ code: 'INTERNAL', reason: `${name} shares a tensor that is not written` });
    pickle
      .string(name)
      .global('torch._utils', '_rebuild_tensor_v2')
      .byte(0x28, 0x28) // arguments, persistent id
      .string('storage')
      .global('torch', STORAGES.get(tensor.dtype) ?? '')
      .string(String(key))
      .string('cpu')
      .integer(elements)
      .byte(0x74, 0x51) // TUPLE BINPERSID
      .integer(0)
      .tuple(tensor.shape)
      .tuple(contiguousStrides(tensor.shape))
      .byte(0x89) // NEWFALSE: a state_dict's tensors ask for no gradient
      .ordered()
      .byte(0x74, 0x52); // TUPLE REDUCE
  }
  pickle.byte(0x75); // SETITEMS
  if (versions.size > 0) {
    pickle.byte(0x7d).string('_metadata').ordered().byte(0x28); // EMPTY_DICT, its one key
    for (const [prefix, version] of versions) {
      pickle.string(prefix).byte(0x7d).string('version').integer(version).byte(0x73); // EMPTY_DICT SETITEM
    }
    pickle.byte(0x75, 0x73, 0x62); // SETITEMS SETITEM BUILD
  }
  return pickle.byte(0x2e).bytes(); // STOP
}
