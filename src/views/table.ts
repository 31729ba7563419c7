import type { Explanation } from '../account/explain.ts';
import type { PairExplanation } from '../account/explain-pair.ts';
import type { Summary } from '../account/summary.ts';
import type { ToolFigure } from '../account/tools.ts';
import { groupNotes } from './diagnostics.ts';
import { drawGrid } from './draw.ts';
import { escapeText, showName } from './escape.ts';
import { gridOf } from './grid.ts';
import { showCount, showStep } from './number.ts';
import { loadPaint, type Paint } from './paint.ts';
import { originText, totalColumns, totalLines } from './totals.ts';
import type { Render, ReportSet, ViewOptions } from './view.ts';
import { pad, wrap } from './width.ts';
import { differenceText, pairStepText, RULE_NAMES, stepText, TOOL_REASONS, TOOLS } from './wording.ts';

const wide = (columns: number | null): number => columns ?? Number.POSITIVE_INFINITY;

/** A number and its text, the text wrapped beside the number. */
function beside(number: string, text: string, numberColumns: number, columns: number | null): readonly string[] {
  const gap = numberColumns + 2;
  const lines = wrap(text, Math.max(20, wide(columns) - gap));
  return lines.map(
    (line, index) => `${index === 0 ? pad(number, numberColumns, 'right') : ' '.repeat(numberColumns)}  ${line}`,
  );
}

/** The block under the table: both frameworks' totals, and why they differ. */
export function totalsBlock(summary: Summary, columns: number | null, paint: Paint): readonly string[] {
  const lines = totalLines(summary);
  const at = totalColumns(lines);
  const drawn = lines.flatMap((line) =>
    beside(showCount(line.count), line.what, at.count, columns === null ? null : columns - at.whose - 2).map(
      (text, index) => `${paint.bold(pad(index === 0 ? line.whose : '', at.whose))}  ${text}`,
    ),
  );
  return [...drawn, ...wrap(differenceText(summary), wide(columns))];
}

function stageLines(
  from: string,
  fromCount: string,
  steps: readonly { readonly number: string; readonly text: string }[],
  to: string,
  toCount: string,
  columns: number | null,
): readonly string[] {
  const width = Math.max(fromCount.length, toCount.length, ...steps.map((step) => step.number.length));
  return [
    ...beside(fromCount, from, width, columns),
    ...steps.flatMap((step) => beside(step.number, step.text, width, columns)),
    ...beside(toCount, `= ${to}`, width, columns),
  ];
}

/** The waterfall between the rules. */
export function explanationBlock(explanation: Explanation, columns: number | null): readonly string[] {
  const lines: string[] = [];
  for (const stage of explanation.stages) {
    if (lines.length > 0) lines.push('');
    lines.push(
      ...stageLines(
        RULE_NAMES[stage.from.rule],
        showCount(stage.from.elements),
        stage.steps.map((step) => ({ number: showStep(step.elements), text: stepText(step) })),
        RULE_NAMES[stage.to.rule],
        showCount(stage.to.elements),
        columns,
      ),
    );
  }
  if (explanation.inferenceUnknown) lines.push('', 'The folded size is not known: the file holds no graph.');
  return lines;
}

/** What other tools print. */
export function toolsBlock(tools: readonly ToolFigure[], columns: number | null): readonly string[] {
  const figure = (tool: ToolFigure): string => (tool.crashes ? 'crashes' : showCount(tool.elements));
  const width = Math.max(...tools.map((tool) => figure(tool).length));
  return tools.flatMap((tool) =>
    beside(figure(tool), `${TOOLS[tool.tool]}: ${TOOL_REASONS[tool.reason]}`, width, columns),
  );
}

/** Why two files have different numbers. */
export function pairBlock(
  pair: PairExplanation,
  names: readonly [string, string],
  columns: number | null,
): readonly string[] {
  return stageLines(
    `${RULE_NAMES[pair.from.rule]} of ${showName(names[0])}`,
    showCount(pair.from.elements),
    pair.steps.map((step) => ({ number: showStep(step.elements), text: pairStepText(step) })),
    `${RULE_NAMES[pair.to.rule]} of ${showName(names[1])}`,
    showCount(pair.to.elements),
    columns,
  );
}

function notesBlock(summary: Summary, columns: number | null, paint: Paint): readonly string[] {
  const notes = groupNotes(summary.diagnostics);
  const words = { info: 'note', warning: 'warning', error: 'error' } as const;
  return notes.flatMap((note) => {
    const lines = wrap(`${words[note.severity]}: ${note.text} [${note.code}]`, wide(columns), 2);
    return note.severity === 'info' ? lines : lines.map(note.severity === 'warning' ? paint.warn : paint.bad);
  });
}

/** The lines of one report, in parts: the table in the middle of a long one is made as it is written. */
async function reportLines(summary: Summary, options: ViewOptions, paint: Paint): Promise<readonly Iterable<string>[]> {
  const { columns } = options;
  const title = `${showName(summary.model.name)} (${escapeText(originText(summary))})`;
  const head = [...wrap(title, wide(columns)).map(paint.bold), ''];
  const grid = gridOf(summary, options);
  const none = options.bn ? 'No BatchNorm.' : options.tensors ? 'No tensors.' : 'No layers.';
  const table = grid.rows.length > 0 ? await drawGrid(grid, columns, paint) : [none];
  const lines = ['', ...totalsBlock(summary, columns, paint)];
  if (summary.explanation !== undefined) {
    lines.push('', paint.bold('From one number to the other'), '', ...explanationBlock(summary.explanation, columns));
    lines.push('', paint.bold('What other tools print'), '', ...toolsBlock(summary.explanation.tools, columns));
  }
  if (!options.quiet && summary.diagnostics.length > 0) lines.push('', ...notesBlock(summary, columns, paint));
  return [head, table, lines];
}

/** Names of the two files of a pair. */
export function pairNames(set: ReportSet): readonly [string, string] {
  const good = set.reports.filter((report) => 'summary' in report);
  return [good[0]?.file ?? '', good[1]?.file ?? ''];
}

/** The table for a terminal: rows, totals under both frameworks' rules, and what was noticed. */
export const renderTable: Render = async (set, options) => {
  const paint = await loadPaint(options.color);
  const parts: Iterable<string>[] = [];
  for (const report of set.reports) {
    if (!('summary' in report)) continue;
    if (parts.length > 0) parts.push(['']);
    if (set.reports.length > 1) parts.push([paint.bold(`== ${showName(report.file)}`), '']);
    parts.push(...(await reportLines(report.summary, options, paint)));
  }
  if (set.pair !== null) {
    parts.push(['', paint.bold('From the first file to the second'), '']);
    parts.push(pairBlock(set.pair, pairNames(set), options.columns));
  }
  return ended(parts);
};

function* ended(parts: readonly Iterable<string>[]): Generator<string> {
  for (const lines of parts) for (const line of lines) yield `${line}\n`;
}
