import { categoriesOf } from '../diff/change.ts';
import type { DiffRender, DiffReport } from './diff-view.ts';
import { breachText, lineOf, lineText, notComparedText, verdictText, whereText } from './diff-wording.ts';
import { jsonPieces } from './json.ts';

/** The name of the JSON form's schema: the `$id` of docs/schema/diff.schema.json, which the package carries. */
export const DIFF_SCHEMA = 'urn:bnsum:schema:diff:1';
export const DIFF_VERSION = 1;

function reportValue(report: DiffReport): object {
  const { comparison, breaches, verdict, refused } = report;
  return {
    a: comparison.a,
    b: comparison.b,
    verdict,
    refused,
    message: verdictText(report),
    across: comparison.across,
    paired: comparison.paired,
    changes: comparison.changes.map((change) => {
      const { code, at, ...args } = change;
      const message = lineText({ ...lineOf(change), where: at.a === '' ? 'the model' : whereText(at) });
      return { code, at, categories: [...categoriesOf(change)], args, message };
    }),
    ignored: comparison.ignored,
    totals: Object.fromEntries(comparison.rules.map(({ rule, a, b }) => [rule, { a, b }])),
    optimizer: comparison.optimizer,
    explanation: comparison.explanation,
    values: comparison.values,
    notCompared: comparison.notCompared.map((one) => ({ ...one, message: notComparedText(one) })),
    troubles: comparison.troubles,
    namesDiffer: comparison.namesDiffer,
    breaches: breaches.map((breach) => ({ ...breach, message: breachText(breach) })),
  };
}

/** The JSON form: every comparison with its verdict, and the files that could not be compared. */
export const renderDiffJson: DiffRender = (set) => {
  function* pieces(): Generator<string> {
    yield* jsonPieces(
      {
        $schema: DIFF_SCHEMA,
        version: DIFF_VERSION,
        comparisons: set.reports.map(reportValue),
        errors: set.errors,
      },
      '',
    );
    yield '\n';
  }
  return Promise.resolve(pieces());
};
