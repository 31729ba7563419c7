import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { isDangerousName } from '../../src/audit/names.ts';
import { bytes, dict, global, int, type Part, PROTO2, STOP, shortText, text } from '../formats/torch/pickle-builder.ts';
import { type ZipPart, zipBytes } from '../helpers/zip-bytes.ts';
import { auditBytes } from './audit-bytes.ts';

const SEED = 20240607;
const runs = (numRuns: number): { readonly seed: number; readonly numRuns: number } => ({ seed: SEED, numRuns });
const payload = bytes(global('os', 'system'), text('id'), 0x85, 'R');
const BAD = bytes(PROTO2, payload, STOP);

/** Opcodes that leave one value on the stack. */
const value: fc.Arbitrary<Uint8Array> = fc.oneof(
  fc.constantFrom('N', ']', '}', ')', bytes(0x88), bytes(0x89)).map((part: Part) => bytes(part)),
  fc.integer({ min: 0, max: 1_000_000 }).map(int),
  fc.string({ maxLength: 30 }).map(text),
  fc.stringMatching(/^[a-z]{1,10}$/).map(shortText),
  fc
    .tuple(fc.stringMatching(/^[a-z]{1,8}$/), fc.stringMatching(/^[A-Z][a-z]{1,8}$/))
    .map(([module, name]) => global(module, name)),
  fc.string({ maxLength: 10 }).map((key) => dict([[key, int(1)]])),
);

/** Opcodes that leave the stack as it was. */
const idle: fc.Arbitrary<Uint8Array> = fc.oneof(
  value.map((one) => bytes(one, '0')),
  value.map((one) => bytes('(', one, '1')),
  fc.tuple(value, fc.nat(200)).map(([one, index]) => bytes(one, 'q', index, '0')),
);
const idles = fc.array(idle, { maxLength: 12 }).map((parts) => bytes(...parts));

describe('nothing added to a dangerous file makes it safe', () => {
  test('opcodes before and behind the payload', async () => {
    await fc.assert(
      fc.asyncProperty(idles, idles, fc.boolean(), async (before, after, isDropped) => {
        const stream = bytes(PROTO2, before, payload, after, isDropped ? '0N' : '', STOP);
        expect((await auditBytes(stream)).verdict).toBe('dangerous');
      }),
      runs(300),
    );
  });

  test('bytes behind the payload', async () => {
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 200 }), fc.boolean(), async (tail, hasStop) => {
        const stream = bytes(PROTO2, payload, hasStop ? STOP : '', tail);
        expect((await auditBytes(stream)).verdict).toBe('dangerous');
      }),
      runs(300),
    );
  });

  test('bytes before it', async () => {
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ minLength: 1, maxLength: 200 }), async (head) => {
        expect((await auditBytes(bytes(head, BAD), 'model.pt')).verdict).not.toBe('safe');
      }),
      runs(300),
    );
  });

  test('streams around it', async () => {
    const harmless = value.map((one) => bytes(PROTO2, one, STOP));
    await fc.assert(
      fc.asyncProperty(fc.array(harmless, { maxLength: 5 }), fc.array(harmless, { maxLength: 5 }), async (a, b) => {
        expect((await auditBytes(bytes(...a, BAD, ...b))).verdict).toBe('dangerous');
      }),
      runs(200),
    );
  });

  test('members around it, before and behind the archive', async () => {
    const part: fc.Arbitrary<ZipPart> = fc.record({
      name: fc.stringMatching(/^[a-z]{1,6}(?:\/[a-z]{1,6})?(?:\.(?:pkl|txt|npy|json|h5|pt))?$/),
      data: fc.uint8Array({ maxLength: 100 }),
      method: fc.constantFrom(0, 8),
      flags: fc.constantFrom(0x800, 0x808, 0x840, 0x821),
      crc: fc.option(fc.nat(1_000_000), { nil: 7 }),
    });
    const parts = fc.array(part, { maxLength: 4 });
    const bad: fc.Arbitrary<ZipPart> = fc.record({
      name: fc.constantFrom('a/data.pkl', 'x', 'notes.txt', 'b/constants.pkl', 'a/data/0'),
      data: fc.constant(BAD),
      method: fc.constantFrom(0, 8),
      flags: fc.constantFrom(0x800, 0x840),
    });
    await fc.assert(
      fc.asyncProperty(parts, bad, parts, async (before, payloadPart, after) => {
        const audit = await auditBytes(zipBytes([...before, payloadPart, ...after]), 'x.zip');
        expect(audit.verdict).toBe('dangerous');
      }),
      runs(300),
    );
    const edges = fc.uint8Array({ minLength: 1, maxLength: 60 });
    await fc.assert(
      fc.asyncProperty(edges, edges, async (prefix, suffix) => {
        const file = zipBytes([{ name: 'a/data.pkl', data: BAD }], { prefix, suffix });
        expect((await auditBytes(file, 'x.zip')).verdict).not.toBe('safe');
      }),
      runs(300),
    );
  });
});

describe('any bytes', () => {
  test('give a verdict, and an incomplete one is never safe', async () => {
    const opcode = fc.oneof(
      { weight: 3, arbitrary: value },
      { weight: 2, arbitrary: fc.uint8Array({ minLength: 1, maxLength: 3 }) },
    );
    const stream = fc.array(opcode, { maxLength: 40 }).map((parts) => bytes(PROTO2, ...parts, STOP));
    await fc.assert(
      fc.asyncProperty(fc.oneof(stream, fc.uint8Array({ minLength: 1, maxLength: 400 })), async (input) => {
        const audit = await auditBytes(input, 'x');
        if (!audit.complete) expect(audit.verdict).not.toBe('safe');
        expect(audit.findings.length > 0 || audit.verdict === 'safe').toBe(true);
        // The same bytes, the same answer.
        expect(await auditBytes(input, 'x')).toEqual(audit);
      }),
      runs(1_500),
    );
  });
});

test('a dangerous family is dangerous by every path into it', () => {
  fc.assert(
    fc.property(
      fc.constantFrom('os', 'subprocess', 'sys', 'socket', 'ctypes', 'importlib', 'shutil', 'pickle', 'marshal'),
      fc.stringMatching(/^[A-Za-z]\w{0,10}(?:\.\w{1,6}){0,2}$/),
      fc.stringMatching(/^[a-z]{1,8}(?:\.[a-z]{1,8}){0,2}$/),
      (family, name, other) => {
        expect(isDangerousName(family, name)).toBe(true);
        expect(isDangerousName(`_${family}`, name)).toBe(true);
        expect(isDangerousName(`${family}.${other}`, name)).toBe(true);
        expect(isDangerousName(other, `${family}.${name}`)).toBe(true);
        expect(isDangerousName(other, `__init__.${name}`)).toBe(true);
      },
    ),
    runs(500),
  );
});
