import { appendFileSync, statSync } from 'node:fs';
import type { DiffSet, DiffViewOptions } from '../views/diff-view.ts';

/** GitHub takes a megabyte per step. */
const STEP_BYTES = 1024 * 1024;

/** What a reader is told of the step summary: all of it, a part, or that there is none. */
export type StepSummary = 'whole' | 'cut' | 'none';

/** As the Markdown form ends when it had to leave lines out. */
const CUT = /\*\*[\d,]+ lines are left out here/;

/**
 * Appends the Markdown form to the file that GITHUB_STEP_SUMMARY names, as much of it as the step has room for; says
 * how much that is.
 */
export async function writeStepSummary(
  set: DiffSet,
  env: Readonly<Record<string, string | undefined>>,
): Promise<StepSummary> {
  const path = env['GITHUB_STEP_SUMMARY'];
  if (path === undefined || path === '') return 'none';
  const { renderDiffMarkdown } = await import('../views/diff-markdown.ts');
  const room = STEP_BYTES - (statSync(path, { throwIfNoEntry: false })?.size ?? 0);
  // Characters of several bytes make a text longer than its limit: it is written once more under a smaller one.
  let limit = room;
  for (let attempt = 0; attempt < 4 && limit > 1000; attempt += 1) {
    const options: DiffViewOptions & { readonly limit: number } = { columns: null, color: false, quiet: false, limit };
    const text = [...(await renderDiffMarkdown(set, options))].join('');
    const bytes = new TextEncoder().encode(text).byteLength;
    if (bytes <= room) {
      appendFileSync(path, text);
      return CUT.test(text) ? 'cut' : 'whole';
    }
    limit = Math.floor((Math.min(limit, text.length) * room * 0.95) / bytes);
  }
  return 'none';
}
