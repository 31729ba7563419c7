import { type ChangeCode, categoriesOf } from '../diff/change.ts';
import type { DiffRender, DiffReport } from './diff-view.ts';
import { breachText, CODE_WORDS, lineOf, lineText, whereText } from './diff-wording.ts';
import { jsonPieces } from './json.ts';

const SCHEMA = 'https://json.schemastore.org/sarif-2.1.0.json';

/** A path as a relative URI reference; '' where there is none. */
function uriOf(path: string): string {
  return path
    .replaceAll('\\', '/')
    .replace(/^\.\//, '')
    .split('/')
    .map((part) => encodeURIComponent(part))
    .join('/');
}

function locations(report: DiffReport, layer: string | null): object[] {
  const logical =
    layer === null || layer === '' ? {} : { logicalLocations: [{ fullyQualifiedName: layer, kind: 'member' }] };
  const physical = report.file === '' ? {} : { physicalLocation: { artifactLocation: { uri: uriOf(report.file) } } };
  return [{ ...physical, ...logical }];
}

function resultsOf(report: DiffReport): object[] {
  const found: object[] = report.breaches.map((breach) => ({
    ruleId: `breach/${breach.code}`,
    level: 'error',
    message: { text: breachText(breach) },
    locations: locations(report, null),
  }));
  const level = report.refused && report.breaches.length === 0 ? 'error' : 'note';
  for (const change of report.comparison.changes) {
    const where = change.at.a === '' ? 'the model' : whereText(change.at);
    found.push({
      ruleId: `change/${change.code}`,
      level,
      message: { text: lineText({ ...lineOf(change), where }) },
      locations: locations(report, change.at.b ?? change.at.a),
      properties: { categories: [...categoriesOf(change)] },
    });
  }
  return found;
}

/** SARIF 2.1.0: one result for each breach and each change. */
export const renderDiffSarif: DiffRender = (set) => {
  const results = set.reports.flatMap(resultsOf);
  const codes = new Set(set.reports.flatMap((report) => report.comparison.changes.map((change) => change.code)));
  const breaches = new Set(set.reports.flatMap((report) => report.breaches.map((breach) => breach.code)));
  const rules = [
    ...[...breaches].map((code) => ({
      id: `breach/${code}`,
      shortDescription: { text: `A rule of the policy is breached: ${code}` },
    })),
    ...[...codes].map((code: ChangeCode) => ({ id: `change/${code}`, shortDescription: { text: CODE_WORDS[code] } })),
  ];
  const troubles = set.reports.flatMap(({ file, comparison }) =>
    comparison.troubles.map(({ message }) => ({ file, message })),
  );
  const errors = [...set.errors, ...troubles];
  const log = {
    $schema: SCHEMA,
    version: '2.1.0',
    runs: [
      {
        tool: { driver: { name: 'bndiff', rules } },
        results,
        invocations: [
          {
            executionSuccessful: errors.length === 0,
            toolExecutionNotifications: errors.map((error) => ({
              level: 'error',
              message: { text: error.message },
              ...(error.file === ''
                ? {}
                : { locations: [{ physicalLocation: { artifactLocation: { uri: uriOf(error.file) } } }] }),
            })),
          },
        ],
      },
    ],
  };
  function* pieces(): Generator<string> {
    yield* jsonPieces(log, '');
    yield '\n';
  }
  return Promise.resolve(pieces());
};
