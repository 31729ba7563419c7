import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { formatJson, parseJson } from '../../src/bytes/json.ts';
import { BnsumError } from '../../src/ir/error.ts';
import type { Json } from '../../src/ir/json.ts';
import { LIMITS } from '../../src/ir/limits.ts';

const at = { file: 'config.json' };
const encode = (text: string): Uint8Array => new TextEncoder().encode(text);
const parse = (text: string, options = {}): Json => parseJson(encode(text), at, options);

function refusal(run: () => unknown): BnsumError {
  try {
    run();
  } catch (error) {
    if (error instanceof BnsumError) return error;
    throw error;
  }
  throw new Error('was accepted');
}

/** Turns what JSON.parse gives into our form; `digits`: a number this large was written as digits, not as 5e17. */
function asData(value: unknown, digits = true): Json {
  if (Array.isArray(value)) return value.map((inner) => asData(inner, digits));
  if (value !== null && typeof value === 'object') {
    return new Map(Object.entries(value).map(([key, inner]) => [key, asData(inner, digits)]));
  }
  const text = digits && typeof value === 'number' ? String(value) : '';
  return /^-?\d{16,}$/.test(text) && !Number.isSafeInteger(value) ? BigInt(text) : (value as Json);
}

describe('parseJson', () => {
  test('agrees with JSON.parse on every JSON value', () => {
    fc.assert(
      fc.property(fc.jsonValue(), fc.integer({ min: 0, max: 3 }), (value, indent) => {
        const text = JSON.stringify(value, null, indent);
        expect(parse(text)).toEqual(asData(JSON.parse(text)));
      }),
    );
  });

  test('accepts and refuses what JSON.parse does, duplicate keys, surrogates and large numbers apart', () => {
    const characters = fc.constantFrom(...'{}[]",:0123456789.eE+-\\ntrufalsb \t\nNI'.split(''));
    fc.assert(
      fc.property(fc.string({ unit: characters, maxLength: 12 }), (text) => {
        let theirs: unknown;
        let accepted = true;
        try {
          theirs = JSON.parse(text);
        } catch {
          accepted = false;
        }
        try {
          const ours = parse(text);
          expect(accepted).toBe(true);
          // Twelve characters hold no integer beyond 2^53 but one with an exponent, which stays a number.
          expect(ours).toEqual(asData(theirs, false));
        } catch (error) {
          if (!(error instanceof BnsumError)) throw error;
          if (accepted) expect(error.reason).toMatch(/duplicate key|too large/);
        }
      }),
      { numRuns: 20_000, examples: [['5e17'], ['[5e17]']] },
    );
  });

  test('keeps integers beyond 2^53, minus zero and odd keys', () => {
    expect(parse('[9007199254740991, 9007199254740993, -9007199254740993, 18446744073709551615]')).toEqual([
      9007199254740991,
      9007199254740993n,
      -9007199254740993n,
      18446744073709551615n,
    ]);
    expect(Object.is(parse('-0.0'), -0)).toBe(true);
    expect(parse('{"__proto__": 1, "constructor": 2, "": 3}')).toEqual(
      new Map([
        ['__proto__', 1],
        ['constructor', 2],
        ['', 3],
      ]),
    );
    expect(parse('"\\ud83d\\ude00 \\u00e9 😀"')).toBe('😀 é 😀');
  });

  test('names a duplicate key and its object', () => {
    const error = refusal(() => parse('{"layers": [{"a": 1}, {"class_name": "A", "class_name": "B"}]}'));
    expect([error.code, error.place, error.reason]).toEqual(['MALFORMED', '/layers/1', "duplicate key 'class_name'"]);
  });

  test.each([
    ['a byte order mark', '\ufeff{}', 'MALFORMED', /byte order mark/],
    ['trailing text', '{} x', 'MALFORMED', /follows/],
    ['a comment', '{ // no\n}', 'MALFORMED', /quoted key/],
    ['a trailing comma', '[1,]', 'MALFORMED', /not a JSON value/],
    ['a lone surrogate', '"\\ud800"', 'MALFORMED', /surrogate/],
    ['NaN', '[NaN]', 'MALFORMED', /NaN/],
    ['a number that overflows', '1e400', 'MALFORMED', /too large/],
    ['a leading zero', '01', 'MALFORMED', /leading zero/],
    ['nothing', ' ', 'TRUNCATED', /ends early/],
    ['an unfinished string', '{"a', 'TRUNCATED', /ends early/],
    ['an unfinished word', '[tru', 'TRUNCATED', /ends early/],
  ])('refuses %s', (_, text, code, reason) => {
    const error = refusal(() => parse(text));
    expect(error.code).toBe(code);
    expect(error.reason).toMatch(reason);
  });

  test('gives byte offsets, not characters', () => {
    expect(refusal(() => parse('["é😀", x]')).place).toBe('@11');
  });

  test('refuses invalid UTF-8 and UTF-16', () => {
    expect(refusal(() => parseJson(Uint8Array.of(0x22, 0xff, 0x22), at)).reason).toMatch(/UTF-8/);
    expect(refusal(() => parseJson(Uint8Array.of(0xff, 0xfe, 0x7b, 0), at)).reason).toMatch(/UTF-16/);
  });

  test('takes Python words when asked', () => {
    expect(parse('[NaN, Infinity, -Infinity, -1]', { nonFinite: true })).toEqual([NaN, Infinity, -Infinity, -1]);
  });

  test.each(['1.0', '1e3', '-0', '0.5'])('integersOnly refuses %s', (text) => {
    expect(refusal(() => parse(text, { integersOnly: true })).code).toBe('MALFORMED');
  });

  test('stops at its limits, fast', () => {
    const start = performance.now();
    expect(refusal(() => parse('['.repeat(1_000_000))).code).toBe('LIMIT');
    expect(refusal(() => parse('{"a":'.repeat(1_000_000))).code).toBe('LIMIT');
    expect(parse('['.repeat(LIMITS.jsonDepth) + ']'.repeat(LIMITS.jsonDepth))).toBeInstanceOf(Array);
    expect(refusal(() => parse('1'.repeat(5_000_000))).code).toBe('LIMIT');
    expect(refusal(() => parse(`[${'0,'.repeat(4_100_000)}0]`)).code).toBe('LIMIT');
    expect(refusal(() => parse('[0]', { maxBytes: 2 })).code).toBe('LIMIT');
    expect(performance.now() - start).toBeLessThan(5_000);
  });
});

describe('formatJson', () => {
  test('writes what parseJson reads back, and what JSON.stringify writes', () => {
    fc.assert(
      fc.property(fc.jsonValue(), fc.integer({ min: 0, max: 3 }), (value, indent) => {
        const data = asData(JSON.parse(JSON.stringify(value)));
        const text = formatJson(data, { indent });
        expect(parse(text)).toEqual(data);
        if (!text.includes('-0.0')) expect(text).toBe(JSON.stringify(JSON.parse(JSON.stringify(value)), null, indent));
      }),
    );
  });

  test('keeps minus zero, 64-bit integers and the order of keys', () => {
    const value = new Map<string, Json>([
      ['10', -0],
      ['2', 18446744073709551615n],
    ]);
    expect(formatJson(value)).toBe('{"10":-0.0,"2":18446744073709551615}');
    expect(formatJson([NaN, -Infinity], { nonFinite: true })).toBe('[NaN,-Infinity]');
    expect(() => formatJson(NaN)).toThrow(BnsumError);
  });

  test('survives deep nesting', () => {
    let value: Json = 0;
    for (let depth = 0; depth < 200_000; depth += 1) value = [value];
    expect(formatJson(value)).toHaveLength(400_001);
  });
});
