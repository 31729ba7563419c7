import {
  type DictNode,
  isDict,
  isGlobal,
  isReduced,
  isTuple,
  itemsOf,
  type PickleValue,
  type Reduced,
} from './pickle-value.ts';

/** What a stream's numpy.dtype describes. */
export interface DTypeFacts {
  /** NumPy's letter: 'f', 'U', 'V', 'O' …; 'class' for a class off the allow list, which is reported as an import. */
  readonly kind: string;
  /** Bytes of one element. */
  readonly itemSize: number;
}

/** What numpy.dtype.__reduce__ writes: the kind and the size, and nothing that NumPy's own language of types has besides. */
const SIZES: ReadonlyMap<string, readonly number[] | null> = new Map<string, readonly number[] | null>([
  ['b', [1]],
  ['i', [1, 2, 4, 8]],
  ['u', [1, 2, 4, 8]],
  ['f', [2, 4, 8, 12, 16]],
  ['c', [8, 16, 24, 32]],
  ['M', [8]],
  ['m', [8]],
  ['O', [4, 8]],
  ['S', null],
  ['U', null],
  ['V', null],
]);

/** The type behind a text as pickles have it; undefined for any other. */
export function dtypeOfText(text: string): DTypeFacts | undefined {
  const [, kind, digits] = /^[<>=|]?([A-Za-z])(\d{1,10})$/.exec(text) ?? [];
  const sizes = kind === undefined ? undefined : SIZES.get(kind);
  if (kind === undefined || sizes === undefined) return undefined;
  const size = Number(digits);
  if (sizes !== null && !sizes.includes(size)) return undefined;
  return { kind, itemSize: kind === 'U' ? 4 * size : size };
}

/** Whether a value is a call of numpy.dtype. */
export function isDTypeCall(value: PickleValue | undefined): value is Reduced {
  return isReduced(value) && isGlobal(value.callable) && value.callable.path === 'numpy.dtype';
}

/** The type that a value of the stream is; undefined for what is none that pickles have. */
export function dtypeFacts(value: PickleValue | undefined): DTypeFacts | undefined {
  if (typeof value === 'string') return dtypeOfText(value);
  if (!isDTypeCall(value)) return undefined;
  const [type] = value.args;
  if (typeof type === 'string') return dtypeOfText(type);
  if (!isGlobal(type) || type.event.role !== null) return undefined;
  return { kind: 'class', itemSize: lengthOf(itemsOf(value.state)?.[5]) ?? 0 };
}

/** Items of what nothing can change afterwards. */
function tupleItems(value: PickleValue | undefined): readonly PickleValue[] | undefined {
  return isTuple(value) ? value.items : undefined;
}

function lengthOf(value: PickleValue | undefined): number | undefined {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0 ? value : undefined;
}

/** Elements of a shape; undefined where it is no tuple of whole numbers. */
export function elementsOf(shape: PickleValue | undefined): number | undefined {
  const lengths = itemsOf(shape) ?? (shape === undefined ? undefined : [shape]);
  return lengths === undefined ? undefined : productOf(lengths);
}

/** undefined where one is no whole number ≥ 0; beyond what a number can hold it is infinite. */
export function productOf(lengths: readonly PickleValue[]): number | undefined {
  let product = 1;
  let isEmpty = false;
  if (lengths.length > 64) return undefined;
  for (const value of lengths) {
    const isWhole = typeof value === 'bigint' || (typeof value === 'number' && Number.isSafeInteger(value));
    if (!isWhole && typeof value !== 'boolean') return undefined;
    const length = Number(value);
    if (length < 0) return undefined;
    if (length === 0) isEmpty = true;
    else product *= length;
  }
  return isEmpty ? 0 : product;
}

/** Flags that say that elements are references: NPY_ITEM_REFCOUNT, NPY_LIST_PICKLE, NPY_ITEM_IS_POINTER. */
const REFERENCES = 0x07;
/** NPY_NEEDS_INIT of text, NPY_NEEDS_PYAPI and NPY_ALIGNED_STRUCT of structures. */
const KNOWN_FLAGS = 0x98;
const ALIGNMENTS: ReadonlySet<PickleValue> = new Set([1, 2, 4, 8, 16, 32, 64]);

/** A fault of a state, and the fields of the type, which stay the stream's own dict. */
interface StateReport {
  readonly fault: string | undefined;
  readonly fields: DictNode | undefined;
}

/**
 * Whether the state that BUILD gives to a dtype is one that NumPy wrote for it. NumPy believes it: with a field of type
 * object behind flags that deny it, bytes of the file become the addresses of Python objects. `step` counts our steps.
 */
export function judgeDTypeState(target: Reduced, state: PickleValue, step: (count: number) => boolean): StateReport {
  const report = (fault: string | undefined, fields?: DictNode): StateReport => ({ fault, fields });
  const facts = dtypeFacts(target);
  // The call has its own finding.
  if (facts === undefined || facts.kind === 'O') return report(undefined);
  const [, align, copy] = target.args;
  const isFresh = target.args.length === 3 && (align === false || align === 0) && (copy === true || copy === 1);
  if (!isFresh) return report('changes a type that others share');
  if (target.state !== undefined) return report('is given a second state');
  const parts = tupleItems(state) ?? [];
  const [version, order, inner, names, fields, size, alignment, flags, metadata] = parts;
  if (!(version === 3 && parts.length === 8) && !(version === 4 && parts.length === 9)) {
    return report('is given a state of no version that NumPy writes');
  }
  if (!isOrder(order)) return report('is given an odd byte order');
  if (typeof flags !== 'number' || (flags & REFERENCES) !== 0) return report('is given flags of objects');
  if ((flags & ~KNOWN_FLAGS) !== 0) return report('is given flags that NumPy does not write');
  const isFlexible = ['S', 'U', 'V', 'class'].includes(facts.kind);
  if (isFlexible ? size !== facts.itemSize || !ALIGNMENTS.has(alignment ?? null) : size !== -1 || alignment !== -1) {
    return report('is given a size or alignment of another type');
  }
  if (parts.length === 9 && !isMetadata(metadata)) return report('is given odd metadata');
  if (facts.kind !== 'V' && facts.kind !== 'class' && (inner !== null || names !== null || fields !== null)) {
    return report('is given fields, which its type has not');
  }
  if (inner !== null) {
    const [type, shape, ...more] = tupleItems(inner) ?? [];
    const part = dtypeFacts(type);
    if (part?.kind === 'O') return report('of objects');
    const bytes = part === undefined ? undefined : part.itemSize * (elementsOf(shape) ?? Number.NaN);
    const isFit = more.length === 0 && names === null && fields === null && bytes === facts.itemSize;
    return report(isFit ? undefined : 'is given an inner array of another size');
  }
  if (names === null && fields === null) return report(undefined);
  return judgeFields(names, fields, facts.itemSize, step);
}

function judgeFields(
  names: PickleValue | undefined,
  fields: PickleValue | undefined,
  size: number,
  step: (count: number) => boolean,
): StateReport {
  const report = (fault: string | undefined): StateReport => ({ fault, fields: undefined });
  const list = tupleItems(names);
  if (list === undefined || !isDict(fields)) return report('is given names without fields');
  if (!step(list.length + fields.entries.size)) return report('is given more fields than are looked at');
  let titles = 0;
  for (const value of fields.entries.values()) {
    const [type, offset, title, ...more] = tupleItems(value) ?? [];
    const part = isDTypeCall(type) ? dtypeFacts(type) : undefined;
    if (part?.kind === 'O') return report('of objects');
    const from = lengthOf(offset);
    if (part === undefined || from === undefined || more.length > 0 || from + part.itemSize > size) {
      return report('is given a field that does not lie in it');
    }
    if (title !== undefined) titles += 1;
  }
  const known = list.every((name) => typeof name === 'string' && fields.entries.has(name));
  // A field with a title stands there twice.
  if (!known || fields.entries.size !== list.length + titles / 2 || new Set(list).size !== list.length) {
    return report('is given names that are not those of its fields');
  }
  return { fault: undefined, fields };
}

function isOrder(value: PickleValue | undefined): boolean {
  if (value instanceof Uint8Array) return value.length === 1 && '<>|='.includes(String.fromCharCode(value[0] ?? 0));
  return typeof value === 'string' && value.length === 1 && '<>|='.includes(value);
}

/** A dict of the user's, or (that dict or None, (unit, number, divisor, event)) of a date. */
function isMetadata(value: PickleValue | undefined): boolean {
  if (value === null || isDict(value)) return true;
  const [own, unit, ...more] = itemsOf(value) ?? [];
  const [name, ...numbers] = itemsOf(unit) ?? [];
  if (more.length > 0 || !(own === null || isDict(own)) || numbers.length > 3) return false;
  return (
    (typeof name === 'string' || name instanceof Uint8Array) &&
    name.length < 16 &&
    numbers.every((number) => lengthOf(number) !== undefined)
  );
}

/** Why the state of an array is none that NumPy wrote; undefined for one that is. */
export function faultOfArray(state: PickleValue): string | undefined {
  const parts = itemsOf(state) ?? [];
  if (parts.length < 4 || parts.length > 5) return 'is given an odd state';
  const [shape, type, , raw] = parts.slice(parts.length - 4);
  const facts = dtypeFacts(type);
  if (facts === undefined) return 'is given a type that pickles do not have';
  if (facts.kind === 'O') return undefined;
  const count = itemsOf(shape) === undefined ? undefined : elementsOf(shape);
  if (count === undefined) return 'is given a shape that is none';
  // Python 2 wrote its bytes as text.
  if (typeof raw === 'string') return undefined;
  if (!(raw instanceof Uint8Array)) return 'is given a value that is no bytes';
  if (facts.kind !== 'class' && raw.length !== count * facts.itemSize) return 'is given bytes of another size';
  return undefined;
}
