import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { compare } from '../../src/diff/across.ts';
import { lockText, sideOfLock } from '../../src/diff/lock.ts';
import { notComparedLines } from '../../src/views/diff-wording.ts';
import {
  compareFiles,
  goodPath,
  jsonOf,
  linesOf,
  lockSideOf,
  openSideOf,
  STRICT,
  STRUCTURE,
  summarySideOf,
} from './open-side.ts';

interface Told {
  readonly pairs: Readonly<Record<string, { readonly a: unknown; readonly b: unknown }>>;
}

const told: Told = JSON.parse(readFileSync(goodPath('differences/differences.json'), 'utf8'));

/** What the one difference is about, for each pair that fixtures/make/keras_differences.py writes. */
const PAIRS: Readonly<Record<string, { readonly file: string; readonly line: RegExp }>> = {
  vocabulary: { file: 'keras', line: /^words assets .*vocabulary\.txt/ },
  'mask-value': { file: 'json', line: /^l reads from e → e, mask=notequal\(x, 5\)$/ },
  'custom-setting': { file: 'json', line: /^r layers 2 → 3$/ },
  'custom-holder': { file: 'json', line: /^h layer .*"linear".* → .*"relu"/ },
  'model-class': { file: 'json', line: /^the model type Functional → Twice$/ },
  'nested-subclass': { file: 'keras', line: /^s n 1 → 2$/ },
  'dot-axes': { file: 'json', line: /^dot axes 1 → \[1, 2\]$/ },
  'output-dict': { file: 'json', line: /^the model outputs \{p: #, q: #\} → \{p: #, r: #\}$/ },
  regulariser: { file: 'json', line: /^d kernel_regularizer .*mode=rows.* → .*mode=columns/ },
  'value-range': { file: 'json', line: /^s value_range \[0, 255\] → \[0, 1\]$/ },
};

test('every pair that the script writes is here', () => {
  expect(Object.keys(PAIRS).sort()).toEqual(Object.keys(told.pairs).sort());
});

describe('models that hold the same weights and compute something else', () => {
  test.each(Object.entries(PAIRS))('%s', async (name, { file, line }) => {
    const { a, b } = told.pairs[name] ?? {};
    // Where Keras could be asked, it gives other outputs.
    if (a !== null) expect(a).not.toEqual(b);
    const [one, other] = [`differences/${name}-a.${file}`, `differences/${name}-b.${file}`];
    const lines = linesOf(await compareFiles(one, other));
    expect(lines).toHaveLength(1);
    expect(lines[0]).toMatch(line);
    const side = await openSideOf(goodPath(other));
    try {
      expect(linesOf(await compare(await lockSideOf(goodPath(one), true), side, STRICT)), 'its lock file').toHaveLength(
        1,
      );
    } finally {
      await side.model?.close();
    }
  });

  test.each(Object.entries(PAIRS))('%s is itself, its own lock file and its own summary', async (name, { file }) => {
    const path = `differences/${name}-b.${file}`;
    // A config alone has no values.
    const options = file === 'json' ? STRUCTURE : STRICT;
    const own = await compareFiles(path, path, options);
    expect([...linesOf(own), ...notComparedLines(own.notCompared)]).toEqual([]);
    const side = await openSideOf(goodPath(path));
    try {
      const lock = await compare(await lockSideOf(goodPath(path), true), side, options);
      expect([...linesOf(lock), ...notComparedLines(lock.notCompared)]).toEqual([]);
      expect(linesOf(await compare(await summarySideOf(goodPath(path)), side, STRUCTURE))).toEqual([]);
    } finally {
      await side.model?.close();
    }
  });
});

test('what a lock file of an older release does not hold is not compared', async () => {
  const strip = /"(?:takes|gives|whole)": |^ {4}"facts": \{"config"/;
  for (const name of ['custom-setting-a.json', 'model-class-b.json', 'vocabulary-a.keras']) {
    const side = await openSideOf(goodPath(`differences/${name}`));
    try {
      const layers = side.layers.map((layer) => ({
        ...layer,
        facts: new Map([...layer.facts].filter(([key]) => key !== 'assets' && key !== 'whole' && key !== 'layers')),
      }));
      const wires = new Map(
        [...(side.wires ?? [])].map(([path, { calls, inputs, outputs }]) => [path, { calls, inputs, outputs }]),
      );
      const { rootType: _, ...old } = side;
      const text = await lockText({ ...old, layers, wires, rootFacts: null }, { file: name, hash: () => false });
      expect(text).not.toMatch(strip);
      const found = await compare(sideOfLock('lock', jsonOf(text)), side, STRUCTURE);
      expect(linesOf(found), name).toEqual([]);
      expect(notComparedLines(found.notCompared).join('\n'), name).toContain('class');
    } finally {
      await side.model?.close();
    }
  }
});
