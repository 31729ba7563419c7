import { crc32, deflateRawSync } from 'node:zlib';

/** One member; every field of its two headers can be set apart. */
export interface ZipPart {
  readonly name: string;
  readonly data?: Uint8Array;
  readonly method?: number;
  readonly flags?: number;
  readonly crc?: number;
  readonly size?: number;
  readonly compressedSize?: number;
  readonly external?: number;
  readonly extra?: Uint8Array;
  readonly offset?: number;
  readonly disk?: number;
  readonly local?: {
    readonly name?: string;
    readonly method?: number;
    readonly flags?: number;
    readonly crc?: number;
    readonly size?: number;
    readonly compressedSize?: number;
    readonly extra?: Uint8Array;
  };
  /** Bytes after the data: a descriptor, or something hidden. */
  readonly after?: Uint8Array;
  /** Left out of the directory. */
  readonly hidden?: true;
}

export interface ZipShape {
  readonly prefix?: Uint8Array;
  readonly suffix?: Uint8Array;
  readonly comment?: Uint8Array;
  readonly count?: number;
  readonly disk?: number;
  readonly directorySize?: number;
  readonly directoryOffset?: number;
  /** Bytes before the end record: zip64 records. */
  readonly beforeEnd?: (start: number, size: number, count: number) => Uint8Array;
}

export function fields(...values: readonly (readonly [width: 2 | 4 | 8, value: number])[]): Uint8Array {
  const bytes = new Uint8Array(values.reduce((sum, [width]) => sum + width, 0));
  const view = new DataView(bytes.buffer);
  let at = 0;
  for (const [width, value] of values) {
    if (width === 2) view.setUint16(at, value, true);
    else if (width === 4) view.setUint32(at, value, true);
    else view.setBigUint64(at, BigInt(value), true);
    at += width;
  }
  return bytes;
}

export function join(...parts: readonly Uint8Array[]): Uint8Array {
  return new Uint8Array(Buffer.concat(parts));
}

export function zipBytes(parts: readonly ZipPart[], shape: ZipShape = {}): Uint8Array {
  const blocks: Uint8Array[] = [shape.prefix ?? new Uint8Array(0)];
  const directory: Uint8Array[] = [];
  let position = blocks[0]?.byteLength ?? 0;
  let listed = 0;
  for (const part of parts) {
    const plain = part.data ?? new Uint8Array(0);
    const method = part.method ?? 0;
    const stored = method === 8 ? new Uint8Array(deflateRawSync(plain)) : plain;
    const flags = part.flags ?? 0x800;
    const crc = part.crc ?? crc32(plain);
    const size = part.size ?? plain.byteLength;
    const compressedSize = part.compressedSize ?? stored.byteLength;
    const name = new TextEncoder().encode(part.name);
    const localName = new TextEncoder().encode(part.local?.name ?? part.name);
    const localExtra = part.local?.extra ?? new Uint8Array(0);
    const local = join(
      fields(
        [4, 0x04034b50],
        [2, 20],
        [2, part.local?.flags ?? flags],
        [2, part.local?.method ?? method],
        [4, 0],
        [4, part.local?.crc ?? crc],
        [4, part.local?.compressedSize ?? compressedSize],
        [4, part.local?.size ?? size],
        [2, localName.byteLength],
        [2, localExtra.byteLength],
      ),
      localName,
      localExtra,
      stored,
      part.after ?? new Uint8Array(0),
    );
    const extra = part.extra ?? new Uint8Array(0);
    if (part.hidden === undefined) {
      listed += 1;
      directory.push(
        fields(
          [4, 0x02014b50],
          [2, 0x0314],
          [2, 20],
          [2, flags],
          [2, method],
          [4, 0],
          [4, crc],
          [4, compressedSize],
          [4, size],
          [2, name.byteLength],
          [2, extra.byteLength],
          [2, 0],
          [2, part.disk ?? 0],
          [2, 0],
          [4, part.external ?? 0],
          [4, part.offset ?? position],
        ),
        name,
        extra,
      );
    }
    blocks.push(local);
    position += local.byteLength;
  }
  const entries = join(...directory);
  const start = shape.directoryOffset ?? position;
  const size = shape.directorySize ?? entries.byteLength;
  const count = shape.count ?? listed;
  const comment = shape.comment ?? new Uint8Array(0);
  const disk = shape.disk ?? 0;
  return join(
    ...blocks,
    entries,
    shape.beforeEnd?.(position, entries.byteLength, count) ?? new Uint8Array(0),
    fields(
      [4, 0x06054b50],
      [2, disk],
      [2, disk],
      [2, count],
      [2, count],
      [4, size],
      [4, start],
      [2, comment.byteLength],
    ),
    comment,
    shape.suffix ?? new Uint8Array(0),
  );
}
