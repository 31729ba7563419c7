import type { ByteSource, Siblings } from '../../bytes/source.ts';
import { BnsumError } from '../../ir/error.ts';
import { type Fill, rangeFill } from './elements.ts';
import type { EntryProto } from './schema.ts';

/** Where a tensor's bytes lie outside the model file. */
export interface ExternalPlace {
  readonly location: string;
  readonly offset: number;
  readonly length: number;
}

/** The files beside the model that hold tensors. */
export interface ExternalFiles {
  /** Opens the file and checks that it has the bytes. Throws BnsumError by the rules for paths found in files. */
  prove(place: ExternalPlace, tensor: string): Promise<void>;
  fill(place: ExternalPlace): Fill;
  bytesRead(): number;
  close(): Promise<void>;
}

const KEYS: ReadonlySet<string> = new Set(['location', 'offset', 'length', 'checksum']);

/**
 * The place that a TensorProto's external_data names. Keys are those of the specification, numbers are unsigned decimal.
 * Throws BnsumError MALFORMED, or MISMATCH when the length is not that of the tensor.
 */
export function placeOf(
  entries: readonly EntryProto[],
  byteLength: number,
  file: string,
  tensor: string,
): ExternalPlace {
  const found = new Map<string, string>();
  const malformed = (reason: string): BnsumError =>
    new BnsumError({ code: 'MALFORMED', file, place: tensor, reason: `external data: ${reason}` });
  for (const { key = '', value = '' } of entries) {
    if (!KEYS.has(key)) throw malformed(`the key '${key.slice(0, 40)}' is not one of ${[...KEYS].join(', ')}`);
    if (found.has(key)) throw malformed(`'${key}' comes twice`);
    found.set(key, value);
  }
  const location = found.get('location');
  if (location === undefined || location === '') throw malformed('no location');
  const count = (key: string): number | undefined => {
    const text = found.get(key);
    if (text === undefined) return undefined;
    const size = /^\d{1,20}$/.test(text) ? Number(text) : Number.NaN;
    if (!Number.isSafeInteger(size)) throw malformed(`${key} '${text.slice(0, 40)}' is no number of bytes`);
    return size;
  };
  const length = count('length');
  if (length !== undefined && length !== byteLength) {
    const reason = `external data: ${byteLength} bytes are needed, the length is said to be ${length}`;
    throw new BnsumError({ code: 'MISMATCH', file, place: tensor, reason });
  }
  return { location, offset: count('offset') ?? 0, length: byteLength };
}

/** Files open at a time: an exporter may write one for each of a thousand tensors. */
const OPEN_FILES = 32;

export function externalFiles(siblings: Siblings): ExternalFiles {
  const sizes = new Map<string, number>();
  /** In the order of their last use. */
  const open = new Map<string, ByteSource>();
  let read = 0;
  const get = async (location: string): Promise<ByteSource> => {
    const before = open.get(location);
    if (before !== undefined) {
      open.delete(location);
      open.set(location, before);
      return before;
    }
    const source = await siblings.open(location);
    const size = sizes.get(location);
    if (size !== undefined && size !== source.size) {
      await source.close();
      throw new BnsumError({ code: 'MISMATCH', file: source.label, reason: 'has changed since the model was opened' });
    }
    sizes.set(location, source.size);
    open.set(location, source);
    for (const [oldest, unused] of open) {
      if (open.size <= OPEN_FILES) break;
      open.delete(oldest);
      read += unused.bytesRead();
      await unused.close();
    }
    return source;
  };
  return {
    async prove({ location, offset, length }, tensor) {
      let size = sizes.get(location);
      let label = location;
      if (size === undefined) {
        const source = await get(location);
        size = source.size;
        label = source.label;
      }
      if (offset + length > size) {
        const reason = `ends at ${size} bytes, ${tensor} needs bytes ${offset} to ${offset + length}`;
        throw new BnsumError({ code: 'TRUNCATED', file: label, reason });
      }
    },
    fill({ location, offset, length }) {
      return async (start, into, signal) => {
        const source = await get(location);
        await rangeFill(source, [{ start: offset, end: offset + length }])(start, into, signal);
      };
    },
    bytesRead: () => [...open.values()].reduce((sum, source) => sum + source.bytesRead(), read),
    async close() {
      for (const source of open.values()) await source.close();
      open.clear();
    },
  };
}
