import type { DiffRender, DiffReport, DiffViewOptions } from './diff-view.ts';
import { breachText, groupChanges, lineText, verdictText } from './diff-wording.ts';
import { escapeText } from './escape.ts';

/** The rules of workflow commands: data keeps to one line, properties end at a colon or a comma. */
function data(text: string): string {
  return escapeText(text).replaceAll('%', '%25').replaceAll('\r', '%0D').replaceAll('\n', '%0A');
}

function property(text: string): string {
  return data(text).replaceAll(':', '%3A').replaceAll(',', '%2C');
}

function annotation(level: 'error' | 'warning' | 'notice', file: string, title: string, text: string): string {
  const place = file === '' ? '' : `file=${property(file)},`;
  return `::${level} ${place}title=${property(title)}::${data(text)}\n`;
}

/** GitHub shows ten annotations of a level for a step; the last of ours says how many there are. */
const SHOWN = 9;

function* reportLines(report: DiffReport, summary: DiffViewOptions['summary']): Generator<string> {
  const level = report.refused ? 'error' : 'notice';
  const title = report.comparison.a.label;
  for (const breach of report.breaches) yield annotation('error', report.file, 'bndiff', breachText(breach));
  for (const { message } of report.comparison.troubles) yield annotation('error', report.file, 'bndiff', message);
  const groups = groupChanges(report.comparison.changes);
  for (const { line } of groups.slice(0, SHOWN)) {
    yield annotation(
      report.breaches.length > 0 ? 'warning' : level,
      report.file,
      `bndiff: ${line.what}`,
      lineText(line),
    );
  }
  if (groups.length > SHOWN) {
    yield annotation(
      'notice',
      report.file,
      'bndiff',
      `${groups.length - SHOWN} more differences; ${summary === 'whole' ? 'the step summary has them' : 'bndiff --format text shows them'}`,
    );
  }
  yield annotation(report.refused ? 'error' : 'notice', report.file, `bndiff ${title}`, verdictText(report));
}

/** Annotations of a workflow run. The command also appends the Markdown form to the step's summary. */
export const renderDiffGithub: DiffRender = (set, options) => {
  function* pieces(): Generator<string> {
    for (const report of set.reports) {
      const lines = [...reportLines(report, options.summary)];
      yield* options.quiet ? lines.slice(-1) : lines;
    }
    for (const error of set.errors) yield annotation('error', error.file, 'bndiff', error.message);
  }
  return Promise.resolve(pieces());
};
