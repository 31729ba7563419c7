import { Buffer } from 'node:buffer';
import { createHash } from 'node:crypto';
import { crc32, inflateRawSync } from 'node:zlib';
import { BnsumError } from '../../ir/error.ts';
import { type Inflate, useCodec } from '../codec.ts';

/** node:zlib as our codec. */
export const nodeCodec: Inflate = {
  inflateRaw(bytes, maxBytes) {
    try {
      // zlib itself demands a limit of at least 1. `info` tells how much of the input was used, so that bytes behind
      // the stream do not pass unseen.
      const options = { maxOutputLength: Math.max(1, maxBytes), info: true };
      const result = inflateRawSync(bytes, options) as unknown as {
        readonly buffer: Uint8Array;
        readonly engine: { readonly bytesWritten: number };
      };
      const rest = bytes.byteLength - result.engine.bytesWritten;
      if (rest > 0) throw new BnsumError({ code: 'MALFORMED', reason: `${rest} bytes follow the deflate stream` });
      if (result.buffer.byteLength > maxBytes) throw tooLong(maxBytes);
      return new Uint8Array(result.buffer.buffer, result.buffer.byteOffset, result.buffer.byteLength);
    } catch (error) {
      const code = (error as { readonly code?: unknown }).code;
      if (code === 'ERR_BUFFER_TOO_LARGE') throw tooLong(maxBytes);
      if (code === 'Z_BUF_ERROR') throw new BnsumError({ code: 'TRUNCATED', reason: 'the deflate stream ends early' });
      if (typeof code === 'string' && code.startsWith('Z_')) {
        throw new BnsumError({ code: 'MALFORMED', reason: 'the deflate stream is damaged', cause: error });
      }
      throw error;
    }
  },
  crc32(bytes, seed = 0) {
    return crc32(bytes, seed);
  },
  sha256() {
    const hash = createHash('sha256');
    return {
      update(bytes) {
        hash.update(bytes);
      },
      digest: () => hash.digest('hex'),
    };
  },
  latin1(bytes) {
    const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    return (start, end) => buffer.toString('latin1', start, end);
  },
};

function tooLong(maxBytes: number): BnsumError {
  return new BnsumError({ code: 'LIMIT', reason: `the deflate stream gives more than ${maxBytes} bytes` });
}

useCodec(nodeCodec);
