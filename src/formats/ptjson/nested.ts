import type { ByteSource } from '../../bytes/source.ts';
import { BnsumError } from '../../ir/error.ts';
import { LIMITS } from '../../ir/limits.ts';
import { type Cursor, TOKEN_BYTES } from './cursor.ts';
import type { ElementText } from './element.ts';

/** Nested lists of numbers, scanned once: their shape, and marks from which a part can be read without the rest. */
export interface Nested {
  /** Lengths from the outermost list inwards, the pairs of complex numbers included; [] for a bare number. */
  readonly shape: readonly number[];
  readonly leaves: number;
  /** Byte offset of every MARK_STEP-th leaf. */
  readonly marks: readonly number[];
  readonly end: number;
}

const MARK_STEP = 4096;
const SCAN_BYTES = 1024 * 1024;

const EXPECT = { value: 0, valueOrClose: 1, commaOrClose: 2 } as const;

/** Kinds of bytes: 0 nothing that belongs here, 1 space, 2 part of a number or word, 3 quote, 4 '[', 5 ']', 6 ','. */
const KIND = new Uint8Array(256);
for (const code of [0x20, 0x0a, 0x0d, 0x09]) KIND[code] = 1;
for (const letter of '0123456789+-.eENaInfityrulsTF') KIND[letter.charCodeAt(0)] = 2;
KIND[0x22] = 3;
KIND[0x5b] = 4;
KIND[0x5d] = 5;
KIND[0x2c] = 6;

/** Walks over one value from the cursor's position; throws BnsumError where lists are ragged or hold something else. */
export async function scanNested(cursor: Cursor, name: string): Promise<Nested> {
  const shape: (number | undefined)[] = [];
  const counts: number[] = [];
  const marks: number[] = [];
  let depth = 0;
  let leafDepth = -1;
  let leaves = 0;
  let state: number = EXPECT.value;
  const refuse = (reason: string): BnsumError => cursor.fail(reason, 'MALFORMED', name);

  for (;;) {
    const bytes = await cursor.window(TOKEN_BYTES * 2);
    const base = cursor.position;
    const atEnd = base + bytes.byteLength >= cursor.source.size;
    // A token that reaches into what is not at hand waits for the next round.
    const stop = atEnd ? bytes.byteLength : bytes.byteLength - TOKEN_BYTES;
    let index = 0;
    while (index < stop) {
      const kind = KIND[bytes[index] as number];
      if (kind === 1) {
        index += 1;
      } else if (kind === 2 || kind === 3) {
        if (state === EXPECT.commaOrClose) throw refuse('a comma belongs between two numbers');
        let end = index + 1;
        if (kind === 3) {
          while (end < bytes.byteLength && bytes[end] !== 0x22 && end - index < 48) end += 1;
          if (bytes[end] !== 0x22) throw refuse('text where numbers belong');
          end += 1;
        } else {
          while (end < bytes.byteLength && KIND[bytes[end] as number] === 2) end += 1;
          if (end - index > TOKEN_BYTES / 2) throw cursor.fail('a number of too many digits', 'LIMIT', name);
        }
        if (leafDepth === -1) leafDepth = depth;
        if (leafDepth !== depth) throw refuse('numbers and lists stand side by side');
        if (leaves % MARK_STEP === 0) marks.push(base + index);
        leaves += 1;
        cursor.position = base + end;
        if (depth === 0) return { shape: [], leaves, marks, end: cursor.position };
        counts[depth] = (counts[depth] ?? 0) + 1;
        state = EXPECT.commaOrClose;
        index = end;
      } else if (kind === 4) {
        if (state === EXPECT.commaOrClose) throw refuse('a comma belongs between two lists');
        if (leafDepth !== -1 && depth >= leafDepth) throw refuse('numbers and lists stand side by side');
        depth += 1;
        if (depth > LIMITS.tensorRank + 1)
          throw cursor.fail(`lists nested deeper than ${LIMITS.tensorRank}`, 'LIMIT', name);
        counts[depth] = 0;
        state = EXPECT.valueOrClose;
        index += 1;
      } else if (kind === 5) {
        if (state === EXPECT.value || depth === 0) throw refuse('a list ends where a number belongs');
        const length = counts[depth] ?? 0;
        const known = shape[depth - 1];
        if (known === undefined) shape[depth - 1] = length;
        else if (known !== length) throw refuse(`lists of ${known} and of ${length} items stand side by side`);
        depth -= 1;
        index += 1;
        cursor.position = base + index;
        if (depth === 0) {
          return { shape: shape.map((one) => one ?? 0), leaves, marks, end: cursor.position };
        }
        counts[depth] = (counts[depth] ?? 0) + 1;
        state = EXPECT.commaOrClose;
      } else if (kind === 6) {
        if (state !== EXPECT.commaOrClose) throw refuse('a comma where a number belongs');
        state = EXPECT.value;
        index += 1;
      } else {
        cursor.position = base + index;
        throw cursor.fail(`'${String.fromCharCode(bytes[index] as number)}' where numbers belong`, 'MALFORMED', name);
      }
    }
    cursor.position = base + index;
    if (atEnd) throw cursor.fail('the JSON text ends early', 'TRUNCATED', name);
  }
}

/** Bytes [start, start + into.byteLength) of the elements of nested lists; start lies between two leaves. */
export async function fillNested(
  source: ByteSource,
  nested: Nested,
  form: ElementText,
  start: number,
  into: Uint8Array,
  name: string,
  signal?: AbortSignal,
): Promise<void> {
  const first = start / form.leafBytes;
  const count = into.byteLength / form.leafBytes;
  const view = new DataView(into.buffer, into.byteOffset, into.byteLength);
  const mark = Math.floor(first / MARK_STEP);
  let leaf = mark * MARK_STEP;
  let position = nested.marks[mark] ?? nested.end;
  const decoder = new TextDecoder('latin1');
  let piece = 64 * 1024;
  while (leaf < first + count) {
    const to = Math.min(nested.end, position + piece + TOKEN_BYTES);
    piece = SCAN_BYTES;
    const bytes = await source.read(position, to, signal);
    const text = decoder.decode(bytes);
    const stop = to === nested.end ? bytes.byteLength : bytes.byteLength - TOKEN_BYTES;
    let index = 0;
    while (index < stop && leaf < first + count) {
      const kind = KIND[bytes[index] as number];
      if (kind !== 2 && kind !== 3) {
        index += 1;
        continue;
      }
      let end = index + 1;
      if (kind === 3) end = text.indexOf('"', end) + 1;
      else while (end < bytes.byteLength && KIND[bytes[end] as number] === 2) end += 1;
      if (leaf >= first) {
        const token = text.slice(index, end);
        if (!form.parse(token, view, (leaf - first) * form.leafBytes)) {
          throw new BnsumError({
            code: 'MALFORMED',
            file: source.label,
            place: name,
            reason: `${token.slice(0, 40)} at byte ${position + index} is no value of this type`,
          });
        }
      }
      leaf += 1;
      index = end;
    }
    position += index;
    if (to === nested.end && leaf < first + count) {
      throw new BnsumError({ code: 'TRUNCATED', file: source.label, place: name, reason: 'the lists end early' });
    }
  }
}
