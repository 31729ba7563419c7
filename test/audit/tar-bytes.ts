import { join } from '../helpers/zip-bytes.ts';

const encode = (value: string): Uint8Array => new TextEncoder().encode(value);

export interface TarPart {
  readonly name: string;
  readonly data?: Uint8Array;
  readonly type?: string;
  /** In the header, instead of the data's. */
  readonly size?: number;
  readonly prefix?: string;
  readonly magic?: string;
  readonly link?: string;
  /** Sums the bytes of the header as signed ones. */
  readonly signed?: boolean;
}

/** A header and its data, filled up to whole blocks. */
export function tarPart(part: TarPart): Uint8Array {
  const data = part.data ?? new Uint8Array(0);
  const block = new Uint8Array(512 + Math.ceil(data.length / 512) * 512);
  const header = block.subarray(0, 512);
  header.set(encode(part.name), 0);
  header.set(encode('0000644\0'), 100);
  header.set(encode(`${(part.size ?? data.length).toString(8).padStart(11, '0')}\0`), 124);
  header.set(encode('00000000000\0'), 136);
  header.set(encode(part.type ?? '0'), 156);
  header.set(encode(part.link ?? ''), 157);
  header.set(encode(part.magic ?? 'ustar\x0000'), 257);
  header.set(encode(part.prefix ?? ''), 345);
  sealTar(header, part.signed);
  block.set(data, 512);
  return block;
}

/** Writes the checksum of a header. */
export function sealTar(header: Uint8Array, signed: boolean = false): void {
  header.set(encode('        '), 148);
  let sum = 0;
  for (const byte of header.subarray(0, 512)) sum += signed && byte > 127 ? byte - 256 : byte;
  header.set(encode(`${sum.toString(8).padStart(6, '0')}\0 `), 148);
}

export function tarBytes(...parts: readonly (TarPart | Uint8Array)[]): Uint8Array {
  const bytes = parts.map((part) => (part instanceof Uint8Array ? part : tarPart(part)));
  return join(...bytes, new Uint8Array(1024));
}

/** One pax record, as long as it says. */
export function paxRecord(key: string, value: string): Uint8Array {
  const body = ` ${key}=${value}\n`;
  let length = encode(body).length;
  while (String(length).length + encode(body).length !== length) length += 1;
  return encode(`${length}${body}`);
}

/** A pax header of records. */
export function pax(records: readonly (readonly [key: string, value: string])[], type = 'x'): Uint8Array {
  return tarPart({ name: 'pax', type, data: join(...records.map(([key, value]) => paxRecord(key, value))) });
}
