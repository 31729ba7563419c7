import { minus } from '../account/count.ts';
import type { DiffRender, DiffReport, DiffViewOptions } from './diff-view.ts';
import {
  breachText,
  deltaText,
  explanationText,
  groupChanges,
  type Line,
  lineText,
  notComparedLines,
  RULE_WORDS,
  ruleCount,
  shownRules,
  signed,
  verdictText,
} from './diff-wording.ts';
import { showName } from './escape.ts';
import { showCount, showStep } from './number.ts';
import { loadPaint, type Paint } from './paint.ts';
import { displayWidth, pad, wrap } from './width.ts';
import { RULE_NAMES } from './wording.ts';

/** From this width on, the two sides of a change stand in columns beside each other. */
const SIDE_BY_SIDE = 110;

function painted(paint: Paint, mark: Line['mark'], text: string): string {
  switch (mark) {
    case '+':
      return paint.strong(text);
    case '-':
    case '!':
      return paint.bad(text);
    case '>':
      return paint.warn(text);
    case '~':
      return text;
  }
}

function* changeLines(report: DiffReport, options: DiffViewOptions, paint: Paint): Generator<string> {
  const groups = groupChanges(report.comparison.changes);
  if (groups.length === 0) return;
  yield '\n';
  if (options.columns !== null && options.columns >= SIDE_BY_SIDE) {
    yield* besideLines(
      groups.map((group) => group.line),
      options.columns,
      paint,
    );
    return;
  }
  for (const { line } of groups) {
    const lines = wrap(`${line.mark} ${lineText(line)}`, options.columns ?? Number.MAX_SAFE_INTEGER, 4);
    for (const one of lines) yield `${painted(paint, line.mark, one)}\n`;
  }
}

/** What, before, after and remark in four columns. */
function* besideLines(lines: readonly Line[], columns: number, paint: Paint): Generator<string> {
  const first = lines.map((line) => [line.where, line.what].filter((part) => part !== '').join(' '));
  const side = Math.min(
    36,
    Math.max(12, ...lines.map((line) => Math.max(displayWidth(line.before), displayWidth(line.after)))),
  );
  const remark = Math.min(34, Math.max(0, ...lines.map((line) => displayWidth(line.remark))));
  const what = Math.min(Math.max(16, ...first.map(displayWidth)), columns - 2 * side - remark - 12);
  for (const [index, line] of lines.entries()) {
    const cells = [
      wrap(first[index] ?? '', what),
      wrap(line.before, side),
      wrap(line.after, side),
      wrap(line.remark, Math.max(8, remark)),
    ];
    const height = Math.max(...cells.map((cell) => cell.length));
    for (let row = 0; row < height; row += 1) {
      const [a = '', b = '', c = '', d = ''] = cells.map((cell) => cell[row] ?? '');
      const arrow = row === 0 && line.before !== '' ? '→' : ' ';
      const text = `${row === 0 ? line.mark : ' '} ${pad(a, what)}  ${pad(b, side)} ${arrow} ${pad(c, side)}  ${d}`;
      yield `${painted(paint, line.mark, text.trimEnd())}\n`;
    }
  }
}

function* totalLines(report: DiffReport): Generator<string> {
  const rows = shownRules(report.comparison).map((change) => ({
    name: RULE_WORDS[change.rule],
    a: ruleCount(change.rule, change.a),
    b: ruleCount(change.rule, change.b),
    delta: deltaText(change),
  }));
  const name = Math.max(...rows.map((row) => row.name.length));
  const a = Math.max(...rows.map((row) => row.a.length));
  const b = Math.max(...rows.map((row) => row.b.length));
  yield '\n';
  for (const row of rows) {
    const text = `${pad(row.name, name)}  ${pad(row.a, a, 'right')} → ${pad(row.b, b, 'right')}  ${row.delta}`;
    yield `${text.trimEnd()}\n`;
  }
  const { optimizer } = report.comparison;
  if (optimizer.a !== null && optimizer.b !== null && optimizer.a !== optimizer.b) {
    yield `optimizer, apart: ${showCount(optimizer.a)} → ${showCount(optimizer.b)} (${signed(minus(optimizer.b, optimizer.a))}); no difference of the network\n`;
  }
}

function* explanationLines(report: DiffReport): Generator<string> {
  const pair = report.comparison.explanation;
  if (pair === null || pair.steps.length === 0) return;
  const width = Math.max(
    showCount(pair.from.elements).length,
    showCount(pair.to.elements).length,
    ...pair.steps.map((step) => showStep(step.elements).length),
  );
  yield '\n';
  yield `${pad(showCount(pair.from.elements), width, 'right')}  ${RULE_NAMES[pair.from.rule]} of the first\n`;
  for (const step of pair.steps)
    yield `${pad(showStep(step.elements), width, 'right')}  ${explanationText(step, report.comparison.across)}\n`;
  yield `${pad(showCount(pair.to.elements), width, 'right')}  = ${RULE_NAMES[pair.to.rule]} of the second\n`;
}

function* reportLines(report: DiffReport, options: DiffViewOptions, paint: Paint): Generator<string> {
  const { comparison } = report;
  const origin = (side: typeof comparison.a): string =>
    `${showName(side.label)} (${[side.from === 'model' ? side.format : side.from, showName(side.producer)].filter((part) => part !== '').join(', ')})`;
  const room = options.columns ?? Number.MAX_SAFE_INTEGER;
  for (const line of wrap(`${origin(comparison.a)} → ${origin(comparison.b)}`, room, 4)) yield `${paint.bold(line)}\n`;
  for (const line of wrap(verdictText(report), room)) yield `${report.refused ? paint.bad(line) : line}\n`;
  for (const breach of report.breaches) {
    for (const line of wrap(`✗ ${breachText(breach)}`, room, 4)) yield `${paint.bad(line)}\n`;
  }
  for (const trouble of comparison.troubles) {
    for (const line of wrap(`! ${showName(trouble.message)}`, room, 4)) yield `${paint.bad(line)}\n`;
  }
  if (options.quiet) return;
  yield* changeLines(report, options, paint);
  yield* totalLines(report);
  yield* explanationLines(report);
  if (comparison.namesDiffer > 0) {
    yield `\n${comparison.namesDiffer} of ${comparison.paired} layers have other names; they were paired by content, kind, shape and order\n`;
  }
  if (comparison.ignored > 0) yield `\nignored: ${comparison.ignored} changes (--ignore)\n`;
  if (comparison.notCompared.length === 0) return;
  yield `\n${paint.dim('not compared:')}\n`;
  for (const one of notComparedLines(comparison.notCompared)) {
    for (const line of wrap(`  ${one}`, options.columns ?? Number.MAX_SAFE_INTEGER, 4)) yield `${paint.dim(line)}\n`;
  }
}

/** Prose that is wider than the terminal goes on below; tables and lines that fit are left alone. */
function* fitted(lines: Iterable<string>, columns: number | null, color: boolean): Generator<string> {
  for (const line of lines) {
    // A painted line was wrapped before it was painted, or is short.
    if (columns === null || color || displayWidth(line.trimEnd()) <= columns) yield line;
    else for (const part of wrap(line.trimEnd(), columns, 4)) yield `${part}\n`;
  }
}

/** For people at a terminal; the two sides beside each other where it is wide enough. */
export const renderDiffText: DiffRender = async (set, options) => {
  const paint = await loadPaint(options.color);
  function* pieces(): Generator<string> {
    for (const [index, report] of set.reports.entries()) {
      if (index > 0) yield '\n';
      yield* fitted(reportLines(report, options, paint), options.columns, options.color);
    }
  }
  return pieces();
};
