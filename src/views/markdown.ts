import type { Summary } from '../account/summary.ts';
import { groupNotes } from './diagnostics.ts';
import { showName } from './escape.ts';
import { type Cell, cellText, type Grid, gridOf } from './grid.ts';
import { showCount, showStep } from './number.ts';
import { originText, totalLines } from './totals.ts';
import type { Render, ViewOptions } from './view.ts';
import { differenceText, pairStepText, RULE_NAMES, stepText, TOOL_REASONS, TOOLS } from './wording.ts';

/** Plain Markdown text: every character with a meaning is written as an entity or behind a backslash. */
export function escapeMarkdown(text: string): string {
  return text
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replace(/[\\`*_[\]{}#|~!@]/g, '\\$&')
    .replace(/:\/\//g, '&#58;//')
    .replace(/www\./gi, (word) => `${word.slice(0, 3)}&#46;`);
}

/** A name in a code span, from which nothing gets out: backticks decide the fence, and a pipe ends no cell. */
export function code(text: string): string {
  const runs = text.match(/`+/g) ?? [];
  const fence = '`'.repeat(Math.max(0, ...runs.map((run) => run.length)) + 1);
  const space = text.startsWith('`') || text.endsWith('`') || text.trim() === '' ? ' ' : '';
  return `${fence}${space}${text.replaceAll('|', '\\|')}${space}${fence}`;
}

function cellMarkdown(cell: Cell): string {
  const text = cellText(cell);
  if (cell.as !== 'text') return escapeMarkdown(text);
  if (text === '') return '';
  const shown = code(text);
  const indent = '&nbsp;&nbsp;'.repeat(cell.level ?? 0);
  return cell.sum === true ? `${indent}**${shown}**` : indent + shown;
}

function* gridLines(grid: Grid): Generator<string> {
  yield `| ${grid.columns.map((column) => escapeMarkdown(column.title)).join(' | ')} |\n`;
  yield `| ${grid.columns.map((column) => (column.align === 'right' ? '---:' : ':---')).join(' | ')} |\n`;
  for (const row of grid.rows) yield `| ${row.map(cellMarkdown).join(' | ')} |\n`;
}

function* reportPieces(summary: Summary, options: ViewOptions): Generator<string> {
  yield* gridLines(gridOf(summary, options));
  yield '\n| Total | Count | |\n| :--- | ---: | :--- |\n';
  for (const line of totalLines(summary))
    yield `| ${escapeMarkdown(line.whose)} | ${showCount(line.count)} | ${escapeMarkdown(line.what)} |\n`;
  yield `\n${escapeMarkdown(differenceText(summary))}\n`;
  if (summary.explanation !== undefined) {
    yield '\n| Step | |\n| ---: | :--- |\n';
    for (const stage of summary.explanation.stages) {
      yield `| ${showCount(stage.from.elements)} | **${RULE_NAMES[stage.from.rule]}** |\n`;
      for (const step of stage.steps) yield `| ${showStep(step.elements)} | ${escapeMarkdown(stepText(step))} |\n`;
      yield `| ${showCount(stage.to.elements)} | **= ${RULE_NAMES[stage.to.rule]}** |\n`;
    }
    yield '\n| Tool | Prints | Why |\n| :--- | ---: | :--- |\n';
    for (const tool of summary.explanation.tools) {
      const figure = tool.crashes ? 'crashes' : showCount(tool.elements);
      yield `| ${escapeMarkdown(TOOLS[tool.tool])} | ${figure} | ${escapeMarkdown(TOOL_REASONS[tool.reason])} |\n`;
    }
  }
  const notes = options.quiet ? [] : groupNotes(summary.diagnostics);
  if (notes.length > 0) yield '\n';
  for (const note of notes) yield `- ${note.severity}: ${escapeMarkdown(note.text)}\n`;
}

/** GitHub-flavoured Markdown; names stand in code spans, and nothing from the file becomes a link, an image or HTML. */
export const renderMarkdown: Render = (set, options) => {
  function* pieces(): Generator<string> {
    let first = true;
    for (const report of set.reports) {
      if (!('summary' in report)) continue;
      if (!first) yield '\n';
      first = false;
      const title = set.reports.length > 1 ? report.file : report.summary.model.name;
      yield `### ${code(showName(title))}\n\n${escapeMarkdown(originText(report.summary))}\n\n`;
      yield* reportPieces(report.summary, options);
    }
    if (set.pair === null) return;
    yield '\n| Step | From the first file to the second |\n| ---: | :--- |\n';
    yield `| ${showCount(set.pair.from.elements)} | **${RULE_NAMES[set.pair.from.rule]}** |\n`;
    for (const step of set.pair.steps) yield `| ${showStep(step.elements)} | ${escapeMarkdown(pairStepText(step))} |\n`;
    yield `| ${showCount(set.pair.to.elements)} | **= ${RULE_NAMES[set.pair.to.rule]}** |\n`;
  }
  return Promise.resolve(pieces());
};
