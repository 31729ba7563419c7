import type { ByteSource } from '../bytes/source.ts';
import { LIMITS } from '../ir/limits.ts';

const BLOCK_BYTES = 1 << 20;
const WORDS: readonly string[] = ['true', 'false', 'null', 'NaN', 'Infinity'];

/** What may come next, outside of numbers, words and strings. */
type State = 'value' | 'value or ]' | 'key' | 'key or }' | 'colon' | 'comma or end';

/** Parts of a number, by what was read last; those that may end it are in ENDS. */
type Part = '-' | '0' | 'digits' | '.' | 'fraction' | 'e' | 'sign' | 'exponent';
const ENDS: ReadonlySet<Part> = new Set<Part>(['0', 'digits', 'fraction', 'exponent']);

/**
 * Whether a UTF-8 text is one JSON value to Python's json module, which takes more than our parser does: a key that stands
 * twice, half a surrogate, a number of any size, a byte order mark. It ends at the first byte that no JSON has, so that
 * a text that only begins like JSON costs nothing; lists deeper than our parser goes count as JSON.
 */
export async function isJsonText(source: ByteSource): Promise<boolean> {
  const scan = makeScan();
  for (let at = 0; at < source.size; at += BLOCK_BYTES) {
    const bytes = await source.read(at, Math.min(source.size, at + BLOCK_BYTES));
    for (let index = at === 0 && bytes[0] === 0xef ? 3 : 0; index < bytes.length; index += 1) {
      const verdict = scan.step(bytes[index] ?? 0);
      if (verdict !== undefined) return verdict;
    }
  }
  return scan.isWhole();
}

function isSpace(code: number): boolean {
  return code === 0x20 || code === 0x09 || code === 0x0a || code === 0x0d;
}

function isDigit(code: number): boolean {
  return code >= 0x30 && code <= 0x39;
}

function isHex(code: number): boolean {
  return isDigit(code) || (code >= 0x41 && code <= 0x46) || (code >= 0x61 && code <= 0x66);
}

function isSign(code: number): boolean {
  return code === 0x2b || code === 0x2d;
}

/** The part that a byte makes of a number; undefined when it does not belong to it. */
function nextPart(part: Part, code: number): Part | undefined {
  const digit = isDigit(code);
  switch (part) {
    case '-':
      return code === 0x30 ? '0' : digit ? 'digits' : undefined;
    case '.':
    case 'fraction':
      if (digit) return 'fraction';
      return part === 'fraction' && (code | 0x20) === 0x65 ? 'e' : undefined;
    case 'e':
      return isSign(code) ? 'sign' : digit ? 'exponent' : undefined;
    case 'sign':
    case 'exponent':
      return digit ? 'exponent' : undefined;
    default:
      if (part === 'digits' && digit) return 'digits';
      return code === 0x2e ? '.' : (code | 0x20) === 0x65 ? 'e' : undefined;
  }
}

interface Scan {
  /** Takes one byte; false: no JSON, true: too deep to tell, undefined: so far so good. */
  step(code: number): boolean | undefined;
  isWhole(): boolean;
}

function makeScan(): Scan {
  const open = new Uint8Array(LIMITS.jsonDepth);
  let depth = 0;
  let state: State = 'value';
  let inString = false;
  let isKey = false;
  /** Bytes that an escape still needs: 5 behind its backslash, 4 to 1 hexadecimal digits. */
  let escaped = 0;
  let number: Part | undefined;
  let word = '';
  let matched = 0;

  const stringStep = (code: number): false | undefined => {
    if (code < 0x20) return false;
    if (escaped === 5) {
      if (code === 0x75) escaped = 4;
      else if (ESCAPED.has(code)) escaped = 0;
      else return false;
    } else if (escaped > 0) {
      if (!isHex(code)) return false;
      escaped -= 1;
    } else if (code === 0x5c) escaped = 5;
    else if (code === 0x22) {
      inString = false;
      state = isKey ? 'colon' : 'comma or end';
    }
    return undefined;
  };
  const valueStep = (code: number): boolean | undefined => {
    if (code === 0x7b || code === 0x5b) {
      if (depth >= open.length) return true;
      open[depth] = code;
      depth += 1;
      state = code === 0x7b ? 'key or }' : 'value or ]';
    } else if (code === 0x22) {
      inString = true;
      isKey = false;
    } else if (code === 0x2d || isDigit(code)) {
      number = code === 0x2d ? '-' : code === 0x30 ? '0' : 'digits';
    } else {
      const found = WORDS.find((candidate) => candidate.charCodeAt(0) === code);
      if (found === undefined) return false;
      word = found;
      matched = 1;
    }
    return undefined;
  };
  const close = (code: number): false | undefined => {
    if (depth === 0 || open[depth - 1] !== (code === 0x7d ? 0x7b : 0x5b)) return false;
    depth -= 1;
    state = 'comma or end';
    return undefined;
  };
  const markStep = (code: number): boolean | undefined => {
    if (isSpace(code)) return undefined;
    switch (state) {
      case 'value':
        return valueStep(code);
      case 'value or ]':
        return code === 0x5d ? close(code) : valueStep(code);
      case 'key or }':
        if (code === 0x7d) return close(code);
        break;
      case 'colon':
        state = 'value';
        return code === 0x3a ? undefined : false;
      case 'comma or end':
        if (code !== 0x2c) return code === 0x5d || code === 0x7d ? close(code) : false;
        if (depth === 0) return false;
        state = open[depth - 1] === 0x7b ? 'key' : 'value';
        return undefined;
    }
    if (code !== 0x22) return false;
    inString = true;
    isKey = true;
    return undefined;
  };
  return {
    step(code) {
      if (inString) return stringStep(code);
      if (word !== '') {
        if (word.charCodeAt(matched) !== code) return false;
        matched += 1;
        if (matched === word.length) {
          word = '';
          state = 'comma or end';
        }
        return undefined;
      }
      if (number !== undefined) {
        if (number === '-' && code === 0x49) {
          number = undefined;
          word = 'Infinity';
          matched = 1;
          return undefined;
        }
        const next = nextPart(number, code);
        if (next === undefined && !ENDS.has(number)) return false;
        number = next;
        if (next !== undefined) return undefined;
        state = 'comma or end';
      }
      return markStep(code);
    },
    isWhole: () =>
      depth === 0 && !inString && word === '' && (number === undefined ? state === 'comma or end' : ENDS.has(number)),
  };
}

/** What may stand behind a backslash, beside u: " \ / b f n r t. */
const ESCAPED: ReadonlySet<number> = new Set([0x22, 0x5c, 0x2f, 0x62, 0x66, 0x6e, 0x72, 0x74]);
