import { fileURLToPath } from 'node:url';
import { compare } from '../../src/diff/across.ts';
import type { Category } from '../../src/diff/change.ts';
import type { CompareOptions, Comparison } from '../../src/diff/compare.ts';
import { type Side, sideOfModel } from '../../src/diff/side.ts';
import { openModel } from '../../src/open.ts';
import { groupChanges, lineText } from '../../src/views/diff-wording.ts';

const good = fileURLToPath(new URL('../../fixtures/good/', import.meta.url));

export function goodPath(name: string): string {
  return good + name;
}

export async function openSideOf(path: string): Promise<Side> {
  const { value } = await openModel(path);
  return sideOfModel(path, value);
}

export const STRICT: CompareOptions = { values: () => true, rtol: 0, atol: 0, ignore: new Set<Category>() };
export const STRUCTURE: CompareOptions = { ...STRICT, values: null };

/** Compares two files of fixtures/good, or two paths. */
export async function compareFiles(a: string, b: string, options: CompareOptions = STRICT): Promise<Comparison> {
  const [one, other] = [a, b].map((name) => (name.startsWith('/') ? name : goodPath(name)));
  const left = await openSideOf(one ?? '');
  const right = await openSideOf(other ?? '');
  try {
    return await compare(left, right, options);
  } finally {
    await left.model?.close();
    await right.model?.close();
  }
}

/** What a person reads of the changes, one line each. */
export function linesOf(comparison: Comparison): readonly string[] {
  return groupChanges(comparison.changes).map(({ line }) => lineText(line));
}
