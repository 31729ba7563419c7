import { provedByteLength } from '../../ir/build.ts';
import { type DType, isDType } from '../../ir/dtype.ts';
import { isList, isObject, type Json } from '../../ir/json.ts';
import { base64Length } from './base64.ts';
import type { Cursor } from './cursor.ts';
import { type Nested, scanNested } from './nested.ts';

/** Where a tensor's values stand in the text. */
export type Payload =
  | { readonly kind: 'base64'; readonly start: number; readonly length: number }
  | { readonly kind: 'values'; readonly nested: Nested }
  | { readonly kind: 'shares'; readonly of: string };

/** One tensor as the file describes it. `dtype` and `shape` are null where only nested lists are given. */
export interface Described {
  readonly name: string;
  readonly dtype: DType | null;
  readonly shape: readonly number[] | null;
  readonly kind: 'parameter' | 'buffer' | null;
  readonly requiresGrad: boolean | null;
  readonly quant: Json | null;
  readonly payload: Payload;
}

const QUOTE = 0x22;

interface Draft {
  dtype: DType | null;
  shape: readonly number[] | null;
  kind: 'parameter' | 'buffer' | null;
  requiresGrad: boolean | null;
  quant: Json | null;
  payload: Payload | null;
}

/** Reads one member of `state_dict`, after its colon: an object of our own, or nested lists of another tool. */
export async function readEntry(cursor: Cursor, name: string): Promise<Described> {
  const first = await cursor.step(() => cursor.peek());
  if (first !== 0x7b) {
    const nested = await scanNested(cursor, name);
    const payload: Payload = { kind: 'values', nested };
    return { name, dtype: null, shape: null, kind: null, requiresGrad: null, quant: null, payload };
  }
  const draft: Draft = { dtype: null, shape: null, kind: null, requiresGrad: null, quant: null, payload: null };
  const seen = new Set<string>();
  await cursor.step(() => cursor.expect(0x7b, '{'));
  for (let more = await cursor.step(() => cursor.peek() !== 0x7d); more; ) {
    const key = await cursor.step(() => {
      const word = cursor.text();
      cursor.expect(0x3a, 'a colon');
      return word;
    });
    if (seen.has(key)) throw cursor.fail(`duplicate key '${key}'`, 'MALFORMED', name);
    seen.add(key);
    await readMember(cursor, name, key, draft);
    more = await cursor.step(() => {
      const code = cursor.peek();
      if (code === 0x7d) return false;
      cursor.expect(0x2c, 'a comma or }');
      return true;
    });
  }
  await cursor.step(() => cursor.expect(0x7d, '}'));
  return settle(cursor, name, draft);
}

async function readMember(cursor: Cursor, name: string, key: string, draft: Draft): Promise<void> {
  const refuse = (reason: string) => cursor.fail(reason, 'MALFORMED', name);
  switch (key) {
    case 'data':
      if (draft.payload !== null) throw refuse('has its values twice');
      draft.payload = await readData(cursor, name, draft);
      return;
    case 'values':
      if (draft.payload !== null) throw refuse('has its values twice');
      await cursor.step(() => cursor.peek());
      draft.payload = { kind: 'values', nested: await scanNested(cursor, name) };
      return;
  }
  const value = await cursor.step(() => cursor.value());
  switch (key) {
    case 'dtype':
      if (typeof value !== 'string' || !isDType(value)) {
        throw cursor.fail(`unknown dtype ${typeof value === 'string' ? `'${value}'` : ''}`, 'UNSUPPORTED', name);
      }
      draft.dtype = value;
      return;
    case 'shape':
      if (!isList(value)) throw refuse('shape is no list');
      draft.shape = value.map((axis) => {
        if (typeof axis !== 'number' || !Number.isSafeInteger(axis) || axis < 0) throw refuse('shape holds no size');
        return axis;
      });
      return;
    case 'kind':
      if (value !== 'parameter' && value !== 'buffer') throw refuse("kind is neither 'parameter' nor 'buffer'");
      draft.kind = value;
      return;
    case 'requires_grad':
      if (typeof value !== 'boolean') throw refuse('requires_grad is neither true nor false');
      draft.requiresGrad = value;
      return;
    case 'shares':
      if (typeof value !== 'string') throw refuse('shares names no tensor');
      if (draft.payload !== null) throw refuse('has values of its own and shares others');
      draft.payload = { kind: 'shares', of: value };
      return;
    case 'quant':
      if (!isObject(value)) throw refuse('quant is no object');
      draft.quant = value;
      return;
    default:
      throw cursor.fail(`unknown field '${key}'`, 'UNSUPPORTED', name);
  }
}

/** The base64 text: jumped over where type and shape came before it, else searched for its end. */
async function readData(cursor: Cursor, name: string, draft: Draft): Promise<Payload> {
  await cursor.step(() => cursor.expect(QUOTE, 'base64 text'));
  const start = cursor.position;
  if (draft.dtype === null || draft.shape === null)
    return { kind: 'base64', start, length: await findQuote(cursor, name) };
  const length = base64Length(provedByteLength(draft.dtype, draft.shape, cursor.source.label, name));
  if (start + length >= cursor.source.size) {
    const reason = `needs ${length} base64 characters, the file ends before`;
    throw cursor.fail(reason, 'TRUNCATED', name);
  }
  // The last group is looked at with the quote: a text of another length has neither there.
  const tail = Math.min(4, length);
  cursor.position = start + length - tail;
  const bytes = await cursor.window(tail + 1);
  const wrong = [...bytes.subarray(0, tail)].some((code) => code === QUOTE || code === 0x5c || code <= 0x20);
  if (wrong || bytes[tail] !== QUOTE) {
    throw cursor.fail(`data has not the ${length} base64 characters of its shape`, 'MALFORMED', name);
  }
  cursor.position = start + length + 1;
  return { kind: 'base64', start, length };
}

async function findQuote(cursor: Cursor, name: string): Promise<number> {
  const start = cursor.position;
  for (;;) {
    const bytes = await cursor.window(1);
    if (bytes.byteLength === 0) throw cursor.fail('the JSON text ends early', 'TRUNCATED', name);
    const end = bytes.indexOf(QUOTE);
    const part = end === -1 ? bytes : bytes.subarray(0, end);
    if (part.includes(0x5c)) throw cursor.fail('a backslash in base64 text', 'MALFORMED', name);
    cursor.position += part.byteLength;
    if (end !== -1) {
      cursor.position += 1;
      return cursor.position - 1 - start;
    }
  }
}

function settle(cursor: Cursor, name: string, draft: Draft): Described {
  const { payload, dtype, shape } = draft;
  const refuse = (reason: string) => cursor.fail(reason, 'MALFORMED', name);
  if (payload === null) throw refuse('has no data');
  if (dtype === null) throw refuse('has no dtype');
  if (shape === null) throw refuse('has no shape');
  const byteLength = provedByteLength(dtype, shape, cursor.source.label, name);
  if (payload.kind === 'base64' && payload.length !== base64Length(byteLength)) {
    throw refuse(`data has ${payload.length} base64 characters, its shape needs ${base64Length(byteLength)}`);
  }
  return { name, dtype, shape, kind: draft.kind, requiresGrad: draft.requiresGrad, quant: draft.quant, payload };
}
