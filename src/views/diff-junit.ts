import type { DiffRender, DiffReport, DiffSet } from './diff-view.ts';
import { breachText, groupChanges, lineText, verdictText } from './diff-wording.ts';
import { escapeText } from './escape.ts';

/** Text and attribute values of XML 1.0, which knows no control characters. */
function xml(text: string): string {
  return escapeText(text)
    .replace(/[\ufffe\uffff]/g, '')
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replaceAll('"', '&quot;');
}

interface Case {
  readonly name: string;
  readonly failures: readonly string[];
}

/** What was asked of a pair, each as a test. */
function casesOf(report: DiffReport): readonly Case[] {
  const groups = groupChanges(report.comparison.changes);
  const of = (values: boolean): readonly string[] =>
    groups
      .filter(
        ({ changes }) =>
          (changes[0]?.code === 'value' || changes[0]?.code === 'hash' || changes[0]?.code === 'swapped') === values,
      )
      .map(({ line }) => lineText(line));
  const counted = report.refused && report.breaches.length === 0;
  // Totals may differ where no layer does.
  const totals = report.comparison.changes.length === 0 ? [verdictText(report)] : [];
  const cases: Case[] = [{ name: 'architecture', failures: counted ? [...of(false), ...totals] : [] }];
  if (report.comparison.values !== null) cases.push({ name: 'values', failures: counted ? of(true) : [] });
  const troubles = report.comparison.troubles.map((trouble) => trouble.message);
  if (troubles.length > 0) cases.push({ name: 'complete', failures: troubles });
  cases.push({ name: 'policy', failures: report.breaches.map(breachText) });
  return cases;
}

function* suiteLines(report: DiffReport): Generator<string> {
  const cases = casesOf(report);
  const failed = cases.filter((one) => one.failures.length > 0).length;
  const name = `${report.comparison.a.label} → ${report.comparison.b.label}`;
  yield `  <testsuite name="${xml(name)}" tests="${cases.length}" failures="${failed}" errors="0">\n`;
  for (const { name: test, failures } of cases) {
    const open = `    <testcase classname="${xml(report.file || report.comparison.b.label)}" name="${test}"`;
    if (failures.length === 0) {
      yield `${open}/>\n`;
      continue;
    }
    yield `${open}>\n      <failure message="${xml(verdictText(report))}">${failures.map(xml).join('\n')}</failure>\n    </testcase>\n`;
  }
  yield '  </testsuite>\n';
}

function countOf(set: DiffSet): { readonly tests: number; readonly failures: number } {
  const cases = set.reports.flatMap(casesOf);
  return { tests: cases.length + set.errors.length, failures: cases.filter((one) => one.failures.length > 0).length };
}

/** JUnit XML as CI services read it: a suite for each pair, a test for each thing that was asked. */
export const renderDiffJunit: DiffRender = (set) => {
  function* pieces(): Generator<string> {
    const { tests, failures } = countOf(set);
    yield '<?xml version="1.0" encoding="UTF-8"?>\n';
    yield `<testsuites name="bndiff" tests="${tests}" failures="${failures}" errors="${set.errors.length}">\n`;
    for (const report of set.reports) yield* suiteLines(report);
    for (const error of set.errors) {
      yield `  <testsuite name="${xml(error.file)}" tests="1" failures="0" errors="1">\n`;
      yield `    <testcase classname="${xml(error.file)}" name="read">\n      <error type="${xml(error.code)}" message="${xml(error.message)}"/>\n    </testcase>\n  </testsuite>\n`;
    }
    yield '</testsuites>\n';
  }
  return Promise.resolve(pieces());
};
