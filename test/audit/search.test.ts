import { describe, expect, test } from 'vitest';
import { makeLedger } from '../../src/audit/finding.ts';
import { findCalls, scanForPickles } from '../../src/audit/nested.ts';
import { LIMITS } from '../../src/ir/limits.ts';
import { bytes, PROTO4, STOP, text } from '../formats/torch/pickle-builder.ts';
import { join } from '../helpers/zip-bytes.ts';
import { auditBytes, namesOf, rulesOf } from './audit-bytes.ts';

const encode = (value: string): Uint8Array => new TextEncoder().encode(value);
const repeat = (value: string, count: number): Uint8Array => encode(value.repeat(count));

/** Names that a search finds called in bytes, and the milliseconds that it took. */
function search(content: Uint8Array): { readonly names: readonly string[]; readonly milliseconds: number } {
  const ledger = makeLedger();
  const start = performance.now();
  findCalls(content, { ledger, member: '', base: 0 }, { candidates: 0, walked: 0, reported: new Set() }, 'dangerous');
  const names = ledger.findings().flatMap(({ module, name }) => (name === null ? [] : [`${module}.${name}`]));
  return { names, milliseconds: performance.now() - start };
}

describe('calls in bytes that are no stream', () => {
  // Each of them is a part of a stream that calls os.system when whoever loads it comes so far.
  test.each([
    ['GLOBAL', encode('cos\nsystem\n(tR.')],
    ['GLOBAL behind a mark', encode('(cos\nsystem\no.')],
    ['INST', encode('(ios\nsystem\n.')],
    ['INST with arguments', encode("(S'id'\nios\nsystem\n.")],
    ['INST behind many marks', join(repeat('(', 300), encode("S'id'\nios\nsystem\n."))],
    ['SHORT_BINUNICODE', bytes(0x8c, 2, 'os', 0x8c, 6, 'system', 0x93, ')R.')],
    ['BINUNICODE', bytes('X', 2, 0, 0, 0, 'os', 'X', 6, 0, 0, 0, 'system', 0x93, ')R.')],
    ['BINUNICODE8', bytes(0x8d, 2, 0, 0, 0, 0, 0, 0, 0, 'os', 0x8c, 6, 'system', 0x93, ')R.')],
    ['SHORT_BINSTRING', bytes('U', 2, 'os', 'U', 6, 'system', 0x93, ')R.')],
    ['BINSTRING', bytes('T', 2, 0, 0, 0, 'os', 'T', 6, 0, 0, 0, 'system', 0x93, ')R.')],
    ['UNICODE', bytes('Vos\nVsystem\n', 0x93, ')R.')],
    ['STRING', bytes('S\'os\'\nS"system"\n', 0x93, ')R.')],
  ])('%s', (_, part) => {
    for (const before of ['', 'xx', 'c', 'U', '\x8c\x05', 'V'.repeat(50), 'os\n']) {
      expect(search(join(encode(before), encode('  '), part, encode('   '))).names).toContain('os.system');
    }
  });

  test.each([
    ['another name', encode('ccollections\nOrderedDict\n(tR.')],
    ['no call', encode('cos\nsystem\n.....')],
    ['a count that is too long', bytes(0x8c, 200, 'os', 0x8c, 6, 'system', 0x93, ')R.')],
    ['a quote that does not close', bytes("S'os\nS'system'\n", 0x93, ')R.')],
    ['a word of digits', bytes('c0s\nsystem\n(tR.')],
  ])('%s is none', (_, part) => {
    expect(search(join(part, encode('   '))).names).toEqual([]);
  });
});

describe('work', () => {
  // Each hit of INST looked back over 4,096 bytes for a mark, and each word was read again at each of its letters.
  test.each([
    ['INST without a mark', 'ios\nsystem\n'],
    ['INST far behind its marks', `((((((((${'x'.repeat(5_000)}ios\nsystem\n`],
    ['one word of GLOBAL', 'c'],
    ['one word of UNICODE', 'V'],
    ['quotes', "S'"],
    ['marks', '('],
  ])('%s', (_, part) => {
    const content = repeat(part, Math.ceil((8 * 1024 * 1024) / part.length));
    expect(search(content).milliseconds).toBeLessThan(2_500);
  });

  test('a text of it', async () => {
    const start = performance.now();
    const audit = await auditBytes(repeat('ios\nsystem\n', 400_000), 'x.pkl');
    expect(audit.verdict).toBe('suspicious');
    expect(performance.now() - start).toBeLessThan(3_000);
  });

  test('words that could all be modules', () => {
    const ledger = makeLedger();
    const content = repeat('U', 4 * 1024 * 1024);
    const state = { candidates: 0, walked: 0, reported: new Set<number>() };
    findCalls(content, { ledger, member: '', base: 0 }, state, 'dangerous');
    expect(ledger.missed().any).toBe(true);
    expect(ledger.searched.bytes).toBeLessThan(70 * 1024 * 1024);
  });

  test('all searches of an audit together', () => {
    const ledger = makeLedger();
    ledger.searched.bytes = LIMITS.auditSearchBytes + 1;
    scanForPickles(bytes(PROTO4, text('a'), STOP, 'xxxxxxxxxxxxxxxxx'), { ledger, member: '', base: 0 });
    expect(ledger.verdict()).toBe('suspicious');
    expect(ledger.findings().map(({ rule }) => rule)).toEqual(['LIMIT']);
  });
});

describe('pickles in texts', () => {
  const BAD = encode('cos\nsystem\n(S"id"\ntR.');
  const hex = Buffer.from(BAD).toString('hex');
  const base64 = Buffer.from(BAD).toString('base64');

  test.each([
    ['hex', hex],
    ['hex in capitals', hex.toUpperCase()],
    ['base64', base64],
    ['base64 with spaces', ` ${base64.slice(0, 1)}  ${base64.slice(1)}`],
  ])('%s', async (_, value) => {
    const audit = await auditBytes(encode(JSON.stringify({ a: value.padEnd(24) })), 'x.json');
    expect(rulesOf(audit)).toEqual(['NESTED_PICKLE']);
    expect(audit.findings[0]?.detail).toContain('os.system');
    expect(namesOf(audit)).toEqual([]);
  });

  // A pattern over a long text of pairs held every pair to go back to.
  test('many digits that are none', async () => {
    const before = process.memoryUsage().rss;
    const audit = await auditBytes(encode(`{"a": "${'0a'.repeat(15_000_000)}"}`), 'x.json');
    expect(audit.findings).toEqual([]);
    expect(process.memoryUsage().rss - before).toBeLessThan(250 * 1024 * 1024);
  });
});
