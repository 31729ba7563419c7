import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { code, table } from './markdown.mjs';

/** The comment above each code of DIAGNOSTIC_SEVERITY. */
function meanings(root) {
  const text = readFileSync(join(root, 'src/ir/diagnostic.ts'), 'utf8');
  const found = new Map();
  for (const [, comment, name] of text.matchAll(/\/\*\* ([^*]+) \*\/\s*([A-Z_]+): '/g)) found.set(name, comment.trim());
  return found;
}

/** The refusals of ErrorCode with the comment behind each. */
function errors(root) {
  const text = readFileSync(join(root, 'src/ir/error.ts'), 'utf8');
  const union = text.slice(text.indexOf('export type ErrorCode'), text.indexOf('export interface ErrorFacts'));
  return [...union.matchAll(/\| '([A-Z_]+)'(?: \/\/ (.*))?/g)].map(([, name, comment]) => [name, comment ?? '']);
}

/** The rules of the audit, from the type that lists them. */
function rules(root) {
  const text = readFileSync(join(root, 'src/audit/finding.ts'), 'utf8');
  const union = text.slice(text.indexOf('export type AuditRule'), text.indexOf('export interface Finding'));
  return [...union.matchAll(/\| '([A-Z_]+)'/g)].map(([, name]) => name).toSorted();
}

/** docs/diagnostics.md: what is noticed on the way, and what is refused. */
export function diagnosticsPage({ DIAGNOSTIC_SEVERITY, note, describe, reasonText }, root) {
  const comments = meanings(root);
  const rows = Object.entries(DIAGNOSTIC_SEVERITY)
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, severity]) => {
      const meaning = comments.get(name);
      if (meaning === undefined) throw new Error(`${name} has no comment in src/ir/diagnostic.ts`);
      return [code(name), severity, meaning, describe(note(name, {}, {}))];
    });
  const refusals = errors(root).map(([name, comment]) => {
    if (name === 'USAGE') return [code(name), 'the command line is wrong', '2'];
    if (name === 'INTERNAL') return [code(name), 'a bug of ours; please report it', '70'];
    return [code(name), comment, '2'];
  });
  return [
    '# Diagnostics, errors and findings',
    '## Diagnostics',
    'What was inferred, filled in, dropped or approximated. Reports list them under the table, JSON under `diagnostics`' +
      ' as `{code, severity, at, args, message}`. The wording below is that without arguments.',
    table(['Code', 'Severity', 'Meaning', 'Wording'], rows),
    '## Errors',
    'A refusal is one line on stderr: file, place, reason, next step and the code in brackets.' +
      ' stdout gets nothing of that file, but for `--format json`, where `{file, error}` stands in its place.',
    table(['Code', 'Meaning', 'Exit status'], refusals),
    '## Findings of --audit',
    'Each finding is `suspicious` or `dangerous`. The verdict is the worst of them; a file that could not be judged to its' +
      ' end is at least suspicious.',
    table(
      ['Rule', 'Meaning'],
      rules(root).map((rule) => [code(rule), reasonText({ rule })]),
    ),
  ].join('\n\n');
}
