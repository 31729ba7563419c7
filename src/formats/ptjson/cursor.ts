import { parseJson } from '../../bytes/json.ts';
import type { ByteSource } from '../../bytes/source.ts';
import { BnsumError, type ErrorCode } from '../../ir/error.ts';
import type { Json } from '../../ir/json.ts';
import { LIMITS } from '../../ir/limits.ts';

/** Thrown inside a step that needs bytes beyond the window; `step` fetches them and starts the step again. */
const MORE: unique symbol = Symbol('more bytes');

const FIRST_BYTES = 4096;
const MOST_BYTES = 256 * 1024;
/** A number or quoted number is never longer. */
export const TOKEN_BYTES = 16_384;

/**
 * Walks JSON text in a source through a window, so that long strings can be jumped over and no text is ever whole in
 * memory. Positions are byte offsets in the source.
 */
export interface Cursor {
  readonly source: ByteSource;
  position: number;
  /** Runs a synchronous step, again from its start with a larger window while it needs more bytes. */
  step<T>(run: () => T): Promise<T>;
  /** The next byte that is not white space, not consumed; -1 at the end of the text. */
  peek(): number;
  /** Consumes that byte, which has to be `code`. */
  expect(code: number, what: string): void;
  /** Consumes a string, number, word, list or object and parses it. */
  value(): Json;
  /** Consumes a string. */
  text(): string;
  /** The bytes from `position` on that are at hand, at least `least` of them unless the source ends. */
  window(least: number): Promise<Uint8Array>;
  fail(reason: string, code?: ErrorCode, place?: string): BnsumError;
}

export function openCursor(source: ByteSource): Cursor {
  const file = source.label;
  const { size } = source;
  let bytes: Uint8Array = new Uint8Array(0);
  let start = 0;
  let chunk = FIRST_BYTES;

  const load = async (from: number, least: number): Promise<void> => {
    // Bytes that follow what is at hand are read in growing pieces; after a jump in small ones again.
    const near = from >= start && from <= start + bytes.byteLength;
    chunk = near ? Math.min(MOST_BYTES, chunk * 2) : FIRST_BYTES;
    const end = Math.min(size, from + Math.max(chunk, least));
    bytes = await source.read(from, end);
    start = from;
  };
  const at = (position: number): number => {
    const index = position - start;
    if (index >= 0 && index < bytes.byteLength) return bytes[index] as number;
    if (position >= size) return -1;
    throw MORE;
  };
  const fail = (reason: string, code: ErrorCode = 'MALFORMED', place?: string): BnsumError =>
    new BnsumError({ code, file, place: place ?? `@${cursor.position}`, reason });
  const short = (): BnsumError =>
    new BnsumError({ code: 'TRUNCATED', file, place: `@${size}`, reason: 'the JSON text ends early' });

  /** End of the value at `from`: brackets are counted and strings passed over; parseJson judges the rest. */
  const endOfValue = (from: number): number => {
    let depth = 0;
    for (let position = from; ; position += 1) {
      const code = at(position);
      if (code === -1) {
        // A bare number may end the text.
        if (depth === 0 && position > from) return position;
        throw short();
      }
      if (code === 0x22) {
        for (position += 1; ; position += 1) {
          const inner = at(position);
          if (inner === -1) throw short();
          if (inner === 0x5c) position += 1;
          else if (inner === 0x22) break;
        }
        if (depth === 0) return position + 1;
      } else if (code === 0x7b || code === 0x5b) {
        depth += 1;
        if (depth > LIMITS.jsonDepth) throw fail(`JSON nested deeper than ${LIMITS.jsonDepth}`, 'LIMIT');
      } else if (code === 0x7d || code === 0x5d) {
        if (depth === 0) return position;
        depth -= 1;
        if (depth === 0) return position + 1;
      } else if (depth === 0 && (code === 0x2c || code <= 0x20)) {
        return position;
      }
    }
  };

  const cursor: Cursor = {
    source,
    position: 0,
    async step(run) {
      const from = cursor.position;
      for (let wanted = FIRST_BYTES; ; wanted *= 2) {
        try {
          return run();
        } catch (error) {
          if (error !== MORE) throw error;
        }
        cursor.position = from;
        if (wanted > LIMITS.jsonBytes * 2) {
          throw fail(`a JSON value of more than ${LIMITS.jsonBytes} bytes`, 'LIMIT');
        }
        await load(from, wanted);
      }
    },
    peek() {
      for (;;) {
        const code = at(cursor.position);
        if (code !== 0x20 && code !== 0x0a && code !== 0x0d && code !== 0x09) return code;
        cursor.position += 1;
      }
    },
    expect(code, what) {
      const found = cursor.peek();
      if (found === -1) throw short();
      if (found !== code) throw fail(`${what} belongs here`);
      cursor.position += 1;
    },
    value() {
      if (cursor.peek() === -1) throw short();
      const from = cursor.position;
      const end = endOfValue(from);
      if (end === from) throw fail('not a JSON value');
      const value = parseJson(
        bytes.subarray(from - start, end - start),
        { file, place: `@${from} ` },
        { nonFinite: true },
      );
      cursor.position = end;
      return value;
    },
    text() {
      if (cursor.peek() !== 0x22) {
        if (cursor.peek() === -1) throw short();
        throw fail('quoted text belongs here');
      }
      // Short plain text, the usual key, needs no parser.
      let plain = '';
      for (let position = cursor.position + 1; position < cursor.position + 200; position += 1) {
        const code = at(position);
        if (code === 0x22) {
          cursor.position = position + 1;
          return plain;
        }
        if (code < 0x20 || code >= 0x7f || code === 0x5c) break;
        plain += String.fromCharCode(code);
      }
      const value = cursor.value();
      if (typeof value !== 'string') throw fail('quoted text belongs here');
      return value;
    },
    async window(least) {
      const have = start + bytes.byteLength - cursor.position;
      const inside = cursor.position >= start && have > 0;
      if (!inside || (have < least && start + bytes.byteLength < size)) await load(cursor.position, least);
      return bytes.subarray(cursor.position - start);
    },
    fail,
  };
  return cursor;
}
