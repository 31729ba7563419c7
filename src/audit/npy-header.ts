import { LIMITS } from '../ir/limits.ts';

/** What NumPy takes an array for. */
export interface NpyHeader {
  /** Whether there are Python objects in its type: then its data is a pickle. */
  readonly objects: boolean;
  readonly byteLength: number;
}

/** A type of elements: how many bytes one takes. */
interface ElementType {
  readonly kind: 'type';
  readonly bytes: number;
  readonly objects: boolean;
}

type Value =
  | { readonly kind: 'text'; readonly text: string }
  | { readonly kind: 'integer'; readonly value: number }
  | { readonly kind: 'boolean' }
  | { readonly kind: 'tuple'; readonly items: readonly Value[] }
  | ElementType;

interface Frame {
  readonly close: ')' | ']' | '}';
  readonly items: Value[];
  /** Of a dict: the key whose value comes next. */
  key: string | undefined;
  /** Whether a comma was the last thing, so that another item may follow. */
  comma: boolean;
}

/**
 * Reads the literal of an array's header as strictly as numpy.save writes it: NumPy evaluates it as a Python literal and
 * hands the type to numpy.dtype, which know comments, escapes, two strings side by side, keys that stand twice and types
 * such as 'i4,O'. None of them is read here: undefined for everything that numpy.save does not write.
 */
export function parseNpyHeader(text: string): NpyHeader | undefined {
  const fields = parseDict(text);
  if (fields === undefined || fields.size !== 3) return undefined;
  const type = elementType(fields.get('descr'));
  const shape = axesOf(fields.get('shape'));
  if (type === undefined || shape === undefined || fields.get('fortran_order')?.kind !== 'boolean') return undefined;
  const byteLength = timesAll(type.bytes, shape);
  if (type.objects) return { objects: true, byteLength: 0 };
  return byteLength === undefined ? undefined : { objects: false, byteLength };
}

/** The dict of the header, whatever its keys; iterative, since lists and tuples may nest as deep as the header is long. */
function parseDict(text: string): ReadonlyMap<string, Value> | undefined {
  if (!text.startsWith('{')) return undefined;
  const fields = new Map<string, Value>();
  const stack: Frame[] = [{ close: '}', items: [], key: undefined, comma: true }];
  let at = 1;
  for (let frame = stack.at(-1); frame !== undefined; frame = stack.at(-1)) {
    while (text[at] === ' ') at += 1;
    const mark = text[at];
    let value: Value | undefined;
    if (mark === frame.close) {
      at += 1;
      stack.pop();
      const parent = stack.at(-1);
      if (parent === undefined) return frame.key === undefined && isPadding(text, at) ? fields : undefined;
      value = closed(frame);
      if (value === undefined) return undefined;
      frame = parent;
    } else {
      if (!frame.comma) return undefined;
      if (mark === '(' || mark === '[') {
        if (frame.close === '}' && frame.key === undefined) return undefined;
        stack.push({ close: mark === '(' ? ')' : ']', items: [], key: undefined, comma: true });
        at += 1;
        continue;
      }
      const leaf = leafAt(text, at);
      if (leaf === undefined) return undefined;
      at = leaf.end;
      value = leaf.value;
    }
    if (frame.close === '}' && frame.key === undefined) {
      while (text[at] === ' ') at += 1;
      if (value.kind !== 'text' || fields.has(value.text) || text[at] !== ':') return undefined;
      frame.key = value.text;
      at += 1;
      continue;
    }
    if (frame.key !== undefined) fields.set(frame.key, value);
    else frame.items.push(value);
    frame.key = undefined;
    while (text[at] === ' ') at += 1;
    frame.comma = text[at] === ',';
    if (frame.comma) at += 1;
  }
  return undefined;
}

/** A list is a type of fields; a tuple of one item has a comma, without which it would be no tuple. */
function closed(frame: Frame): Value | undefined {
  const { items } = frame;
  if (frame.close === ']') return fieldsType(items);
  return items.length === 1 && !frame.comma ? undefined : { kind: 'tuple', items };
}

function isPadding(text: string, from: number): boolean {
  for (let at = from; at < text.length; at += 1) if (text[at] !== ' ' && text[at] !== '\n') return false;
  return true;
}

function leafAt(text: string, at: number): { readonly value: Value; readonly end: number } | undefined {
  const first = text[at];
  if (first === "'" || first === '"') {
    const end = text.indexOf(first, at + 1);
    const inner = text.slice(at + 1, end);
    // A backslash would make another text of it; a control character ends a Python string or is written as an escape.
    if (end < 0 || /[\\\x00-\x1f]/.test(inner)) return undefined;
    return { value: { kind: 'text', text: inner }, end: end + 1 };
  }
  for (const word of ['True', 'False']) {
    if (text.startsWith(word, at)) return { value: { kind: 'boolean' }, end: at + word.length };
  }
  const end = endOfDigits(text, at);
  const value = wholeNumber(text.slice(at, end));
  if (value === undefined) return undefined;
  // Python 2 wrote its long integers so, and NumPy still reads them.
  return { value: { kind: 'integer', value }, end: text[end] === 'L' ? end + 1 : end };
}

function endOfDigits(text: string, from: number): number {
  let at = from;
  while (at < text.length && text.charCodeAt(at) >= 0x30 && text.charCodeAt(at) <= 0x39) at += 1;
  return at;
}

/** Digits without a leading zero, which Python would refuse. */
function wholeNumber(digits: string): number | undefined {
  if (digits === '' || digits.length > 16 || (digits.length > 1 && digits.startsWith('0'))) return undefined;
  const value = Number(digits);
  return Number.isSafeInteger(value) ? value : undefined;
}

/** A tuple of integers. */
function axesOf(value: Value | undefined): readonly number[] | undefined {
  if (value?.kind !== 'tuple' || value.items.length > LIMITS.tensorRank) return undefined;
  const axes: number[] = [];
  for (const item of value.items) {
    if (item.kind !== 'integer') return undefined;
    axes.push(item.value);
  }
  return axes;
}

/** The product, when a number can say it: 0 times anything is 0. */
function timesAll(bytes: number, axes: readonly number[]): number | undefined {
  if (axes.includes(0)) return 0;
  const product = axes.reduce((total, axis) => total * axis, bytes);
  return Number.isSafeInteger(product) ? product : undefined;
}

/** The type of a record, whose fields follow one another without a gap: `(name, type)` or `(name, type, shape)` each. */
function fieldsType(items: readonly Value[]): ElementType | undefined {
  let bytes = 0;
  let objects = false;
  for (const item of items) {
    if (item.kind !== 'tuple' || item.items.length < 2 || item.items.length > 3) return undefined;
    const [name, inner, shape] = item.items;
    const type = isFieldName(name) ? elementType(inner) : undefined;
    const axes = shape === undefined ? [] : axesOf(shape);
    if (type === undefined || axes === undefined) return undefined;
    const size = timesAll(type.bytes, axes);
    if (size === undefined) return undefined;
    bytes += size;
    objects ||= type.objects;
  }
  return Number.isSafeInteger(bytes) ? { kind: 'type', bytes, objects } : undefined;
}

/** A name, or a title and a name. */
function isFieldName(value: Value | undefined): boolean {
  if (value?.kind === 'tuple') return value.items.length === 2 && value.items.every(({ kind }) => kind === 'text');
  return value?.kind === 'text';
}

/** Sizes that NumPy's kinds of numbers have, on whatever machine. */
const SIZES: ReadonlyMap<string, readonly number[]> = new Map([
  ['b', [1]],
  ['i', [1, 2, 4, 8, 16]],
  ['u', [1, 2, 4, 8, 16]],
  ['f', [2, 4, 8, 10, 12, 16]],
  ['c', [8, 16, 20, 24, 32]],
  ['M', [8]],
  ['m', [8]],
]);

/** A record, or a type as dtype.str writes it: byte order, kind and size, of dates the unit. */
function elementType(value: Value | undefined): ElementType | undefined {
  if (value?.kind === 'type') return value;
  if (value?.kind !== 'text') return undefined;
  const { text } = value;
  const from = '<>|='.includes(text[0] ?? ' ') ? 1 : 0;
  const kind = text[from] ?? '';
  const end = endOfDigits(text, from + 1);
  const size = wholeNumber(text.slice(from + 1, end));
  const rest = text.slice(end);
  if (kind === 'O') return rest === '' ? { kind: 'type', bytes: 8, objects: true } : undefined;
  if (size === undefined) return undefined;
  const isDate = kind === 'M' || kind === 'm';
  if (rest !== '' && !(isDate && /^\[\d{0,10}[A-Za-z]{1,7}\]$/.test(rest))) return undefined;
  if (kind === 'S' || kind === 'V') return { kind: 'type', bytes: size, objects: false };
  if (kind === 'U') return { kind: 'type', bytes: 4 * size, objects: false };
  return SIZES.get(kind)?.includes(size) === true ? { kind: 'type', bytes: size, objects: false } : undefined;
}
