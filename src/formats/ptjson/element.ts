import type { DType } from '../../ir/dtype.ts';

/** How elements of one type stand as JSON text under `values`. */
export interface ElementText {
  /** Bytes of one leaf: a whole element, or half of a complex one. */
  readonly leafBytes: number;
  /** Leaves of one element: 2 for complex numbers, which are pairs [re, im]. */
  readonly leaves: 1 | 2;
  /** Text of the leaf at a byte offset. */
  format(view: DataView, at: number): string;
  /** Writes the leaf; false when the token is none of this type. */
  parse(token: string, view: DataView, at: number): boolean;
}

/** null: the type has no plain text form and always stands as base64 (float8 and everything below a byte). */
export function elementText(dtype: DType): ElementText | null {
  return FORMS.get(dtype) ?? null;
}

const NUMBER = /^-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?$/;
const INTEGER = /^-?(?:0|[1-9]\d*)$/;

/** NaN and the infinities are quoted; the bare words of Python's writer are read too. */
const SPECIAL: ReadonlyMap<string, number> = new Map([
  ['NaN', Number.NaN],
  ['Infinity', Number.POSITIVE_INFINITY],
  ['-Infinity', Number.NEGATIVE_INFINITY],
]);

function unquote(token: string): string {
  return token.startsWith('"') && token.endsWith('"') && token.length > 1 ? token.slice(1, -1) : token;
}

function parseFloating(token: string): number | null {
  const special = SPECIAL.get(unquote(token));
  if (special !== undefined) return special;
  return NUMBER.test(token) ? Number(token) : null;
}

function formatFloating(value: number, shortest: string): string {
  if (Number.isFinite(value)) return Object.is(value, -0) ? '-0.0' : shortest;
  return `"${value}"`;
}

/** The shortest decimal that `round` takes back to `value`. */
function shortestFor(value: number, digits: number, round: (wide: number) => number): string {
  if (!Number.isFinite(value)) return '';
  const plain = String(value);
  if (plain.length <= 5) return plain;
  for (let precision = Math.max(1, digits - 4); precision < digits; precision += 1) {
    const text = String(Number(value.toPrecision(precision)));
    if (round(Number(text)) !== value) continue;
    // Found above the lowest precision tried: nothing shorter does. At the lowest, look further down.
    if (precision > Math.max(1, digits - 4)) return text;
    let best = text;
    for (let lower = precision - 1; lower >= 1; lower -= 1) {
      const shorter = String(Number(value.toPrecision(lower)));
      if (round(Number(shorter)) !== value) break;
      best = shorter;
    }
    return best;
  }
  return String(Number(value.toPrecision(digits)));
}

const WORD = new DataView(new ArrayBuffer(8));

/** Rounds to nearest, ties to even, to a binary format with so many fraction bits and this range of exponents. */
function roundBinary(value: number, fractionBits: number, least: number, most: number): number {
  if (!Number.isFinite(value) || value === 0) return value;
  WORD.setFloat64(0, value);
  const exponent = Math.max(((WORD.getUint32(0) >>> 20) & 0x7ff) - 1023, least);
  const quantum = 2 ** (exponent - fractionBits);
  const scaled = value / quantum;
  const floor = Math.floor(scaled);
  const rest = scaled - floor;
  const whole = rest > 0.5 || (rest === 0.5 && floor % 2 !== 0) ? floor + 1 : floor;
  const rounded = whole * quantum;
  if (Math.abs(rounded) >= 2 ** (most + 1)) return value < 0 ? Number.NEGATIVE_INFINITY : Number.POSITIVE_INFINITY;
  return rounded === 0 && value < 0 ? -0 : rounded;
}

const toHalf = (value: number): number => roundBinary(value, 10, -14, 15);
const toBrain = (value: number): number => roundBinary(value, 7, -126, 127);

function readHalf(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 0x1f;
  const fraction = bits & 0x3ff;
  if (exponent === 31) return fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
  return exponent === 0 ? sign * fraction * 2 ** -24 : sign * (1024 + fraction) * 2 ** (exponent - 25);
}

function halfBits(value: number): number {
  if (Number.isNaN(value)) return 0x7e00;
  const rounded = toHalf(value);
  const sign = rounded < 0 || Object.is(rounded, -0) ? 0x8000 : 0;
  const size = Math.abs(rounded);
  if (size === Number.POSITIVE_INFINITY) return sign | 0x7c00;
  if (size < 2 ** -14) return sign | (size * 2 ** 24);
  WORD.setFloat64(0, size);
  const exponent = ((WORD.getUint32(0) >>> 20) & 0x7ff) - 1023;
  return sign | (((exponent + 15) << 10) + (size / 2 ** (exponent - 10) - 1024));
}

function readBrain(bits: number): number {
  WORD.setUint32(0, bits * 65536);
  return WORD.getFloat32(0);
}

function brainBits(value: number): number {
  if (Number.isNaN(value)) return 0x7fc0;
  WORD.setFloat32(0, toBrain(value));
  return WORD.getUint32(0) >>> 16;
}

interface FloatFacts {
  readonly leafBytes: number;
  /** Significant decimal digits that always suffice. */
  readonly digits: number;
  round(value: number): number;
  get(view: DataView, at: number): number;
  set(view: DataView, at: number, value: number): void;
}

const DOUBLE: FloatFacts = {
  leafBytes: 8,
  digits: 17,
  round: (value) => value,
  get: (view, at) => view.getFloat64(at, true),
  set: (view, at, value) => view.setFloat64(at, value, true),
};
const SINGLE: FloatFacts = {
  leafBytes: 4,
  digits: 9,
  round: Math.fround,
  get: (view, at) => view.getFloat32(at, true),
  set: (view, at, value) => view.setFloat32(at, value, true),
};
const HALF: FloatFacts = {
  leafBytes: 2,
  digits: 5,
  round: toHalf,
  get: (view, at) => readHalf(view.getUint16(at, true)),
  set: (view, at, value) => view.setUint16(at, halfBits(value), true),
};
const BRAIN: FloatFacts = {
  leafBytes: 2,
  digits: 4,
  round: toBrain,
  get: (view, at) => readBrain(view.getUint16(at, true)),
  set: (view, at, value) => view.setUint16(at, brainBits(value), true),
};

function floating(facts: FloatFacts, leaves: 1 | 2 = 1): ElementText {
  return {
    leafBytes: facts.leafBytes,
    leaves,
    format(view, at) {
      const value = facts.get(view, at);
      // JavaScript's own text is the shortest for float64.
      const text = facts === DOUBLE ? String(value) : shortestFor(value, facts.digits, facts.round);
      return formatFloating(value, text);
    },
    parse(token, view, at) {
      const value = parseFloating(token);
      if (value === null) return false;
      facts.set(view, at, value);
      return true;
    },
  };
}

function integral(bytes: 1 | 2 | 4 | 8, signed: boolean): ElementText {
  const bits = BigInt(bytes * 8);
  const least = signed ? -(1n << (bits - 1n)) : 0n;
  const most = signed ? (1n << (bits - 1n)) - 1n : (1n << bits) - 1n;
  const read = (view: DataView, at: number): number | bigint => {
    switch (bytes) {
      case 1:
        return signed ? view.getInt8(at) : view.getUint8(at);
      case 2:
        return signed ? view.getInt16(at, true) : view.getUint16(at, true);
      case 4:
        return signed ? view.getInt32(at, true) : view.getUint32(at, true);
      case 8:
        return signed ? view.getBigInt64(at, true) : view.getBigUint64(at, true);
    }
  };
  return {
    leafBytes: bytes,
    leaves: 1,
    format(view, at) {
      const value = read(view, at);
      const exact = typeof value === 'number' || (value <= SAFE && value >= -SAFE);
      return exact ? String(value) : `"${value}"`;
    },
    parse(token, view, at) {
      const text = unquote(token);
      if (text.length > 20 || !INTEGER.test(text)) return false;
      const value = BigInt(text);
      if (value < least || value > most) return false;
      if (bytes === 8) view.setBigInt64(at, value, true);
      else if (bytes === 4) view.setInt32(at, Number(value), true);
      else if (bytes === 2) view.setInt16(at, Number(value), true);
      else view.setInt8(at, Number(value));
      return true;
    },
  };
}

const SAFE = BigInt(Number.MAX_SAFE_INTEGER);

const BOOLEAN: ElementText = {
  leafBytes: 1,
  leaves: 1,
  // torch reads every byte but 0 as true.
  format: (view, at) => (view.getUint8(at) === 0 ? 'false' : 'true'),
  parse(token, view, at) {
    if (token !== 'true' && token !== 'false') return false;
    view.setUint8(at, token === 'true' ? 1 : 0);
    return true;
  },
};

const FORMS: ReadonlyMap<DType, ElementText> = new Map<DType, ElementText>([
  ['float64', floating(DOUBLE)],
  ['float32', floating(SINGLE)],
  ['float16', floating(HALF)],
  ['bfloat16', floating(BRAIN)],
  ['complex128', floating(DOUBLE, 2)],
  ['complex64', floating(SINGLE, 2)],
  ['complex32', floating(HALF, 2)],
  ['int64', integral(8, true)],
  ['int32', integral(4, true)],
  ['int16', integral(2, true)],
  ['int8', integral(1, true)],
  ['uint64', integral(8, false)],
  ['uint32', integral(4, false)],
  ['uint16', integral(2, false)],
  ['uint8', integral(1, false)],
  ['qint8', integral(1, true)],
  ['quint8', integral(1, false)],
  ['qint32', integral(4, true)],
  ['bool', BOOLEAN],
]);
