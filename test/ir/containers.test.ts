import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { CONTAINER_ENDINGS, MODEL_ENDINGS, READ_ENDINGS, SHARED_ENDINGS } from '../../src/ir/containers.ts';

const read = (name: string): string => readFileSync(new URL(`../../${name}`, import.meta.url), 'utf8');

test('every ending that the page of formats names is in the table, and so are those that are written', () => {
  const page = read('docs/formats.md');
  const tables = page.slice(0, page.indexOf('## Named, not read'));
  const named = new Set([...tables.matchAll(/`(\.[a-z0-9.-]+)`/g)].map((match) => match[1] ?? ''));
  expect(named.size).toBeGreaterThan(12);
  const known: readonly string[] = [...MODEL_ENDINGS, ...SHARED_ENDINGS];
  // Texts that stand beside a model, or describe one.
  const texts = [...named].filter((ending) => ending.endsWith('.json') && ending !== '.pt.json');
  const missing = [...named, ...Object.values(CONTAINER_ENDINGS).flat()].filter(
    (ending) => !texts.includes(ending) && !known.some((one) => ending.endsWith(one)),
  );
  expect(missing).toEqual([]);
});

test('the README names every ending that is read, and every one that is written', () => {
  const readme = read('README.md');
  const bullet = (start: string): readonly string[] => {
    const from = readme.indexOf(`\n- ${start}`);
    expect(from).toBeGreaterThan(0);
    const text = readme.slice(from + 1, readme.indexOf('\n- ', from + 1));
    return [...text.matchAll(/`(\.[a-z0-9.-]+)`/g)].map((match) => match[1] ?? '').toSorted();
  };
  // Of these a part is read, by what is in them.
  const others = ['.weights.h5', '.json'];
  expect(bullet('`bnsum FILE...`')).toEqual([...READ_ENDINGS, ...others].toSorted());
  // The sentence goes on with what loads the first of them.
  const written = Object.values(CONTAINER_ENDINGS).flat();
  expect([...new Set(bullet('OUT is '))]).toEqual(written.toSorted());
});

test('the hooks look at every model', () => {
  const hooks = read('.pre-commit-hooks.yaml');
  const patterns = [...hooks.matchAll(/files: (.*)/g)].map((match) => new RegExp(match[1] ?? ''));
  expect(patterns).toHaveLength(2);
  for (const pattern of patterns) for (const ending of MODEL_ENDINGS) expect(`a${ending}`).toMatch(pattern);
  for (const ending of SHARED_ENDINGS) expect(`a${ending}`).toMatch(patterns[0] ?? /$^/);
});
