import { codec } from '../../bytes/codec.ts';
import {
  classNameOf,
  type DictNode,
  isDict,
  isGlobal,
  isTuple,
  itemsOf,
  type PickleValue,
  type Reduced,
} from './pickle-value.ts';
import { isTensorValue, isUninitialised } from './tensor-value.ts';

/** What a description of pickled values needs to know of the file around them. */
export interface ValueReader {
  /** The word for a tensor; `path` says where it lies. null: it cannot be read. */
  readonly tensor: (value: Reduced, path: string) => string | null;
  /** The word for a value that is described elsewhere, such as a module of the tree; undefined: there is none. */
  readonly known: (value: PickleValue) => string | undefined;
  /** What an object holds under names of its own, where that is not all that the pickle has of it. */
  readonly held: (value: Reduced) => readonly (readonly [string, PickleValue])[] | undefined;
  /** A class or function as it is shown. */
  readonly name: (path: string) => string;
}

/** Values that are described for one file: attributes are settings, and a cache among them may be large. */
const VISITS = 1_000_000;

/** Longer texts are told by what they are and a digest. */
const LONGEST = 160;

/** A part of a value: what stands before it, and the value. */
interface Part {
  readonly label: string;
  readonly value: PickleValue;
  readonly path: string;
}

interface Frame {
  readonly value: PickleValue;
  /** `functools.partial(` and `)`. */
  readonly open: string;
  readonly close: string;
  readonly parts: readonly Part[];
  readonly texts: string[];
  /** A set has no order. */
  readonly sorted: boolean;
}

/** 16 hexadecimal digits of the SHA-256 of a text or of bytes. */
export function shortDigest(content: string | Uint8Array): string {
  const hash = codec().sha256();
  hash.update(typeof content === 'string' ? new TextEncoder().encode(content) : content);
  return hash.digest().slice(0, 16);
}

/** NumPy 2 moved its core. */
function pathText(path: string): string {
  return path.replace(/^numpy\._core\./, 'numpy.core.').replace(/^builtins\./, '');
}

function floatText(value: number): string {
  return Number.isInteger(value) ? `${Object.is(value, -0) ? '-0' : value}.0` : String(value);
}

function stringText(value: string): string {
  if (value.length <= LONGEST) return JSON.stringify(value);
  return `text of ${value.length}, ${shortDigest(value)}`;
}

function bytesText(value: Uint8Array): string {
  if (value.length > 32) return `${value.length} bytes, ${shortDigest(value)}`;
  return `bytes(${[...value].map((byte) => byte.toString(16).padStart(2, '0')).join('')})`;
}

/**
 * Describes pickled values of any kind as text: equal texts are equal values, whatever protocol wrote them. Functions and
 * classes are their names, objects their class and attributes, long texts a digest. Nothing is run, and nothing
 * recurses: a pickle may nest as deep as it likes.
 */
export class ValueTexts {
  readonly #reader: ValueReader;
  /** Values that were described, so that one that is met a million times costs its size once. */
  readonly #known = new Map<PickleValue, string>();
  #left = VISITS;

  constructor(reader: ValueReader) {
    this.#reader = reader;
  }

  /** null: something in it cannot be read, or there is too much of it. */
  text(value: PickleValue, path: string): string | null {
    const first = this.#open(value, path);
    if (first === null || typeof first === 'string') return first;
    const stack: Frame[] = [first];
    const entered = new Map<PickleValue, number>([[value, 0]]);
    for (;;) {
      const frame = stack.at(-1);
      if (frame === undefined) return null;
      const part = frame.parts[frame.texts.length];
      if (part === undefined) {
        const done = close(frame);
        this.#known.set(frame.value, done);
        entered.delete(frame.value);
        stack.pop();
        const above = stack.at(-1);
        if (above === undefined) return done;
        above.texts.push((above.parts[above.texts.length]?.label ?? '') + done);
        continue;
      }
      const depth = entered.get(part.value);
      const next = depth === undefined ? this.#open(part.value, part.path) : `(${stack.length - depth} above)`;
      if (next === null) return null;
      if (typeof next === 'string') frame.texts.push(part.label + next);
      else {
        entered.set(part.value, stack.length);
        stack.push(next);
      }
    }
  }

  /** The text of a value without parts, or the frame of one that has some. */
  #open(value: PickleValue, path: string): string | Frame | null {
    this.#left -= 1;
    if (this.#left < 0) return null;
    if (value === null) return 'None';
    if (typeof value === 'boolean') return value ? 'True' : 'False';
    if (typeof value === 'number' || typeof value === 'bigint') return String(value);
    if (typeof value === 'string') return stringText(value);
    if (value instanceof Uint8Array) return bytesText(value);
    if (value.kind === 'float') return floatText(value.value);
    if (value.kind === 'global') return this.#name(value.path);
    const known = this.#known.get(value) ?? this.#reader.known(value);
    if (known !== undefined) return known;
    const frame = (open: string, parts: readonly Part[], end: string, sorted: boolean = false): Frame => ({
      value,
      open,
      close: end,
      parts,
      texts: [],
      sorted,
    });
    const listed = (items: readonly PickleValue[]): readonly Part[] =>
      items.map((item, index) => ({ label: '', value: item, path: `${path}.${index}` }));
    switch (value.kind) {
      case 'list':
        return frame('[', listed(value.items), ']');
      case 'tuple':
        return frame('(', listed(value.items), ')');
      case 'set':
        return frame('{', listed(value.items), '}', true);
      case 'dict':
        return frame(value.type === 'dict' ? '{' : `${value.type}{`, this.#entries(value, path), '}');
      case 'reduced':
        return this.#object(value, path, frame, listed);
      default:
        // A storage without a tensor, or what the pickle itself does not tell.
        return null;
    }
  }

  #name(path: string): string {
    return this.#reader.name(pathText(path));
  }

  #entries(dict: DictNode, path: string): readonly Part[] {
    return [...dict.entries].map(([key, value]): Part => {
      if (typeof key === 'string') return { label: `${stringText(key)}: `, value, path: `${path}.${key}` };
      return { label: '', value: { kind: 'tuple', items: [key, value] }, path };
    });
  }

  #object(
    value: Reduced,
    path: string,
    frame: (open: string, parts: readonly Part[], end: string) => Frame,
    listed: (items: readonly PickleValue[]) => readonly Part[],
  ): string | Frame | null {
    // A guard on `value` itself would leave nothing of its type.
    const item: PickleValue = value;
    if (isTensorValue(item)) return this.#reader.tensor(item, path);
    if (isUninitialised(value)) return 'uninitialised';
    const callable = classNameOf(value);
    // Where a tensor lies is not what is computed.
    if (callable === 'torch.device') return 'device';
    const [first, second, third] = value.args;
    // Before protocol 4 a name inside of a class is looked up by a call.
    if (callable === 'builtins.getattr' && isGlobal(first) && typeof second === 'string') {
      return this.#name(`${first.path}.${second}`);
    }
    const attributes = (entries: Iterable<readonly [PickleValue, PickleValue]>): readonly Part[] =>
      [...entries]
        .map(([key, inner]): Part => {
          if (typeof key !== 'string') return { label: 'item=', value: { kind: 'tuple', items: [key, inner] }, path };
          return { label: `${key}=`, value: inner, path: `${path}.${key}` };
        })
        .toSorted((one, other) => (one.label < other.label ? -1 : one.label > other.label ? 1 : 0));
    const held = this.#reader.held(value);
    if (held !== undefined) return frame(`${this.#name(classOf(value))}(`, attributes(held), ')');
    if (callable === 'functools.partial' && isTuple(value.state)) {
      const [func, args, keywords, more] = value.state.items;
      return frame(
        'functools.partial(',
        [
          ...listed([func ?? null, ...(itemsOf(args) ?? [])]),
          ...(isDict(keywords) ? attributes(keywords.entries) : []),
          ...(isDict(more) ? attributes(more.entries) : []),
        ],
        ')',
      );
    }
    const { state, items, keywords } = value;
    // Protocols 0 and 1 make an object by a function, later ones by its class.
    const isMade = callable === 'copyreg._reconstructor' && isGlobal(first);
    const args = isMade ? (third === null || third === undefined ? [] : [third]) : value.args;
    const parts: Part[] = [];
    if (callable === undefined) parts.push({ label: 'calls ', value: value.callable, path });
    parts.push(...listed(args));
    if (isDict(keywords)) parts.push(...attributes(keywords.entries));
    if (isDict(state)) parts.push(...attributes(state.entries));
    else if (state !== undefined) parts.push({ label: 'state=', value: state, path });
    if (items !== undefined) parts.push({ label: 'items=', value: { kind: 'list', items }, path });
    return frame(`${this.#name(classOf(value))}(`, parts, ')');
  }
}

/** The class of an object, or the function that makes it. */
function classOf(value: Reduced): string {
  const name = classNameOf(value) ?? '';
  const [first] = value.args;
  return name === 'copyreg._reconstructor' && isGlobal(first) ? first.path : name;
}

function close({ open, close: end, texts, sorted }: Frame): string {
  const whole = open + (sorted ? texts.toSorted() : texts).join(', ') + end;
  if (whole.length <= LONGEST) return whole;
  return `${open}${texts.length} parts, ${shortDigest(whole)}${end}`;
}
