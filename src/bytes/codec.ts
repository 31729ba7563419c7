import { BnsumError } from '../ir/error.ts';

/** What the platform does for us: the core may not import it, so an entry point registers it. */
export interface Inflate {
  /**
   * The whole raw DEFLATE stream. Throws BnsumError, without file: LIMIT when it gives more than `maxBytes`,
   * TRUNCATED without a final block, MALFORMED when it is damaged or when bytes follow it.
   */
  inflateRaw(bytes: Uint8Array, maxBytes: number): Uint8Array;
  /** CRC-32 (ISO 3309) of `bytes`, continued from `seed`. */
  crc32(bytes: Uint8Array, seed?: number): number;
  /** A SHA-256 in the making. */
  sha256(): Hasher;
  /** Reads ranges of `bytes` as text, one character a byte (ISO 8859-1): directories have a name per member. */
  latin1(bytes: Uint8Array): (start: number, end: number) => string;
}

export interface Hasher {
  update(bytes: Uint8Array): void;
  /** 64 lower-case hexadecimal digits; ends the hash. */
  digest(): string;
}

let registered: Inflate | undefined;

/** Registers the platform's codec for the whole process. */
export function useCodec(codec: Inflate): void {
  registered = codec;
}

/** The registered codec; an entry point that forgot to register one is our bug. */
export function codec(): Inflate {
  if (registered === undefined) throw new BnsumError({ code: 'INTERNAL', reason: 'no codec is registered' });
  return registered;
}
