import type { Summary } from '../account/summary.ts';
import { type Cell, cellText, gridOf } from './grid.ts';
import { showCount, showStep } from './number.ts';
import { totalLines } from './totals.ts';
import type { Render, ViewOptions } from './view.ts';
import { differenceText, pairStepText, RULE_NAMES, stepText } from './wording.ts';

const SPECIAL: ReadonlyMap<string, string> = new Map([
  ['\\', '\\textbackslash{}'],
  ['{', '\\{'],
  ['}', '\\}'],
  ['$', '\\$'],
  ['&', '\\&'],
  ['#', '\\#'],
  ['%', '\\%'],
  ['_', '\\_'],
  ['^', '\\textasciicircum{}'],
  ['~', '\\textasciitilde{}'],
  ['<', '\\textless{}'],
  ['>', '\\textgreater{}'],
  ['|', '\\textbar{}'],
  ['"', '\\textquotedbl{}'],
  ['−', '--'],
  // Ligatures such as ?` and -- would change the text.
  ['`', '{`}'],
]);

/** Text in which no character starts a command, a comment or a cell. */
export function escapeLatex(text: string): string {
  return text.replace(/[\\{}$&#%_^~<>|"−`]/g, (character) => SPECIAL.get(character) ?? character);
}

function cellLatex(cell: Cell): string {
  const text = escapeLatex(cellText(cell));
  if (cell.as !== 'text') return text;
  const indent = (cell.level ?? 0) === 0 ? '' : `\\hspace*{${cell.level}em}`;
  return `${indent}\\texttt{${text}}`;
}

function* rowsPieces(columns: string, head: readonly string[], rows: Iterable<readonly string[]>): Generator<string> {
  yield `\\begin{longtable}{${columns}}\n\\hline\n${head.join(' & ')} \\\\\n\\hline\n\\endhead\n`;
  for (const row of rows) yield `${row.join(' & ')} \\\\\n`;
  yield '\\hline\n\\end{longtable}\n';
}

function* reportPieces(summary: Summary, options: ViewOptions): Generator<string> {
  const grid = gridOf(summary, options);
  yield* rowsPieces(
    grid.columns.map((column) => (column.align === 'right' ? 'r' : 'l')).join(''),
    grid.columns.map((column) => escapeLatex(column.title)),
    Array.from(grid.rows, (row) => row.map(cellLatex)),
  );
  yield* rowsPieces(
    'lrl',
    ['Total', 'Count', ''],
    totalLines(summary).map((line) => [escapeLatex(line.whose), showCount(line.count), escapeLatex(line.what)]),
  );
  yield `${escapeLatex(differenceText(summary))}\n`;
  if (summary.explanation === undefined) return;
  const steps = summary.explanation.stages.flatMap((stage) => [
    [showCount(stage.from.elements), RULE_NAMES[stage.from.rule]],
    ...stage.steps.map((step) => [showStep(step.elements), stepText(step)]),
    [showCount(stage.to.elements), `= ${RULE_NAMES[stage.to.rule]}`],
  ]);
  yield* rowsPieces(
    'rl',
    ['Elements', 'Step'],
    steps.map((row) => row.map(escapeLatex)),
  );
}

/** Tables for LaTeX: needs the longtable package and a T1 font encoding. */
export const renderLatex: Render = (set, options) => {
  function* pieces(): Generator<string> {
    for (const report of set.reports) {
      if (!('summary' in report)) continue;
      const title = escapeLatex(
        cellText({ as: 'text', text: set.reports.length > 1 ? report.file : report.summary.model.name }),
      );
      yield `\\paragraph{\\texttt{${title}}}\n`;
      yield* reportPieces(report.summary, options);
    }
    if (set.pair === null) return;
    yield* rowsPieces(
      'rl',
      ['Elements', 'From the first file to the second'],
      set.pair.steps.map((step) => [escapeLatex(showStep(step.elements)), escapeLatex(pairStepText(step))]),
    );
  }
  return Promise.resolve(pieces());
};
