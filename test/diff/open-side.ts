import { fileURLToPath } from 'node:url';
import { account } from '../../src/account/account.ts';
import { summarise } from '../../src/account/summary.ts';
import { parseJson } from '../../src/bytes/json.ts';
import { compare } from '../../src/diff/across.ts';
import type { Category } from '../../src/diff/change.ts';
import type { CompareOptions, Comparison } from '../../src/diff/compare.ts';
import { lockText, sideOfLock } from '../../src/diff/lock.ts';
import { type Side, sideOfModel } from '../../src/diff/side.ts';
import { sideOfSummary } from '../../src/diff/side-summary.ts';
import type { Json } from '../../src/ir/json.ts';
import { openModel } from '../../src/open.ts';
import { describe } from '../../src/views/diagnostics.ts';
import { groupChanges, lineText } from '../../src/views/diff-wording.ts';
import { jsonPieces } from '../../src/views/json.ts';

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

/** A JSON text as the readers give it. */
export function jsonOf(text: string): Json {
  return parseJson(new TextEncoder().encode(text), { file: 'test' });
}

/** What a file's summary in the JSON form says, as a side. */
export async function summarySideOf(path: string): Promise<Side> {
  const { value, diagnostics } = await openModel(path);
  try {
    const summary = summarise(value, account(value), diagnostics, { describe });
    return sideOfSummary(path, jsonOf([...jsonPieces(summary, '')].join('')));
  } finally {
    await value.close();
  }
}

/** What a file's lock file says, as a side. */
export async function lockSideOf(path: string, hash: boolean): Promise<Side> {
  const side = await openSideOf(path);
  try {
    return sideOfLock(path, jsonOf(await lockText(side, { file: path, hash: () => hash })));
  } finally {
    await side.model?.close();
  }
}
