import type { DType } from '../../ir/dtype.ts';

/**
 * What the Keras reader asks of an HDF5 file, free of any engine: names, attributes, what every dataset is and where its
 * bytes lie, and hyperslabs. Paths are absolute without a leading slash: '' is the root, 'model_weights/conv2d'.
 */
export interface Hdf5File {
  readonly label: string;
  readonly groups: ReadonlyMap<string, Hdf5Group>;
  readonly datasets: ReadonlyMap<string, Hdf5Dataset>;
  /**
   * Copies the hyperslab [start, start + count) of a dataset into `into`, C order, little-endian. Throws BnsumError when the
   * bytes cannot be had; `into` is then undefined.
   */
  readInto(
    path: string,
    start: readonly number[],
    count: readonly number[],
    into: Uint8Array,
    signal?: AbortSignal,
  ): Promise<void>;
  /** Bytes read past the source's own count: a thread reads the file by itself. */
  bytesRead(): number;
  close(): Promise<void>;
}

/** Text, number, or a list of them; null for a type that Keras does not write (compound, reference …). */
export type Hdf5Attribute = string | number | bigint | readonly (string | number | bigint)[] | null;

/** 'soft' and 'external' are links to a path or to another file, which are never followed. */
export type Hdf5Child = 'group' | 'dataset' | 'soft' | 'external' | 'other';

export interface Hdf5Group {
  readonly path: string;
  readonly attributes: ReadonlyMap<string, Hdf5Attribute>;
  readonly children: ReadonlyMap<string, Hdf5Child>;
}

export interface Hdf5Dataset {
  readonly path: string;
  /** 'opaque2': two opaque bytes an element, as Keras 3 stores bfloat16; null: a type that holds no numbers of ours. */
  readonly dtype: DType | 'opaque2' | null;
  /** The type in words, for messages: 'opaque of 2 bytes', 'variable-length string'. */
  readonly typeWords: string;
  /** null: a dataspace without elements. */
  readonly shape: readonly number[] | null;
  readonly layout: 'contiguous' | 'chunked' | 'compact' | 'virtual' | 'unknown';
  /** Filter ids in the order of writing: 1 deflate, 2 shuffle, 3 fletcher32 … */
  readonly filters: readonly number[];
  /** The bytes are in other files, by an external storage message. */
  readonly external: boolean;
  /** Bytes of all its elements, whether they are stored or not; those of a variable-length type are its references. */
  readonly declaredBytes: number;
  /** Bytes the file holds for it; an upper bound where only the chunks know; 0 where nothing was ever written. */
  readonly storedBytes: number;
  /** Where the raw bytes lie in the file when they lie in one piece, little-endian and unfiltered; else null. */
  readonly dataOffset: number | null;
  /** Equal for two names of one dataset (hard links). */
  readonly identity: string;
  readonly attributes: ReadonlyMap<string, Hdf5Attribute>;
}

/** The group's or dataset's attribute as a text, or undefined. */
export function textAttribute(
  holder: { readonly attributes: ReadonlyMap<string, Hdf5Attribute> } | undefined,
  name: string,
): string | undefined {
  const value = holder?.attributes.get(name);
  if (typeof value === 'string') return value;
  const [first, ...rest] = Array.isArray(value) ? value : [];
  return typeof first === 'string' && rest.length === 0 ? first : undefined;
}

/**
 * A list of texts that Keras may have cut into `name0`, `name1` … because an object header holds 64 kB at most.
 * An empty list is stored as an array of no numbers. undefined: absent.
 */
export function textList(group: Hdf5Group | undefined, name: string): readonly string[] | undefined {
  if (group === undefined) return undefined;
  const whole = group.attributes.get(name);
  if (whole !== undefined) return textsOf(whole);
  const parts: string[] = [];
  let found = false;
  for (let index = 0; ; index++) {
    const part = group.attributes.get(`${name}${index}`);
    if (part === undefined) break;
    const texts = textsOf(part);
    if (texts === undefined) return undefined;
    parts.push(...texts);
    found = true;
  }
  return found ? parts : undefined;
}

function textsOf(value: Hdf5Attribute): readonly string[] | undefined {
  if (typeof value === 'string') return [value];
  if (!Array.isArray(value)) return undefined;
  const texts: string[] = [];
  for (const item of value) {
    if (typeof item !== 'string') return undefined;
    texts.push(item);
  }
  return texts;
}

/** A long text that may have been cut into `name0`, `name1` … */
export function splitText(group: Hdf5Group | undefined, name: string): string | undefined {
  const whole = textAttribute(group, name);
  if (whole !== undefined) return whole;
  const parts = textList(group, name);
  return parts === undefined || parts.length === 0 ? undefined : parts.join('');
}

/** 'a' + 'b/c' → 'a/b/c'; the root's path is ''. */
export function joinPath(parent: string, child: string): string {
  return parent === '' ? child : child === '' ? parent : `${parent}/${child}`;
}
