import { appendFileSync, statSync } from 'node:fs';
import type { DiffSet } from '../views/diff-view.ts';

/** GitHub takes a megabyte per step. */
const STEP_BYTES = 1024 * 1024;

/** Appends the Markdown form to the file that GITHUB_STEP_SUMMARY names, as long as the step has room for it. */
export async function writeStepSummary(set: DiffSet, env: Readonly<Record<string, string | undefined>>): Promise<void> {
  const path = env['GITHUB_STEP_SUMMARY'];
  if (path === undefined || path === '') return;
  const { renderDiffMarkdown } = await import('../views/diff-markdown.ts');
  const pieces = await renderDiffMarkdown(set, { columns: null, color: false, quiet: false });
  const text = [...pieces].join('');
  const used = statSync(path, { throwIfNoEntry: false })?.size ?? 0;
  if (used + new TextEncoder().encode(text).byteLength <= STEP_BYTES) appendFileSync(path, text);
}
