import type { Summary, SummaryLayer } from '../account/summary.ts';
import { groupNotes } from './diagnostics.ts';
import { escapeText, showName } from './escape.ts';
import { momentumText } from './grid.ts';
import { showCount, showShape } from './number.ts';
import { loadPaint, type Paint } from './paint.ts';
import { layerTitle, rowsOf } from './rows.ts';
import { explanationBlock, pairBlock, pairNames, toolsBlock, totalsBlock } from './table.ts';
import { originText } from './totals.ts';
import type { Render, ViewOptions } from './view.ts';
import { wrap } from './width.ts';

function facts(layer: SummaryLayer, options: ViewOptions): string {
  const parts: string[] = [];
  if (layer.outputShape !== null) parts.push(showShape(layer.outputShape));
  if (layer.keras !== 0 || layer.torch !== 0 || layer.buffers !== 0) {
    parts.push(`Keras ${showCount(layer.keras)}, PyTorch ${showCount(layer.torch)} + ${showCount(layer.buffers)}`);
  }
  if (layer.bn !== undefined && options.bn) parts.push(`eps ${layer.bn.eps ?? '?'}`, momentumText(layer));
  if (layer.macs !== undefined && layer.macs !== 0) parts.push(`${showCount(layer.macs)} MACs`);
  return parts.join('  ');
}

function treeLines(summary: Summary, options: ViewOptions, paint: Paint): string[] {
  const rows = rowsOf(summary, options).filter((row) => !row.own);
  const lines: string[] = [];
  // From the last row up: whether a sibling follows decides each branch.
  const follows: boolean[] = [];
  for (const row of rows.toReversed()) {
    const { level, layer } = row;
    follows.length = Math.min(follows.length, level + 1);
    while (follows.length < level + 1) follows.push(false);
    const stem = follows
      .slice(0, level)
      .map((more) => (more ? '│   ' : '    '))
      .join('');
    const branch = `${stem}${follows[level] === true ? '├── ' : '└── '}`;
    follows[level] = true;
    const name = layerTitle(layer, options.sort !== null || options.layer !== null);
    const type = layer.type === '' ? '' : ` (${showName(layer.type)})`;
    const text = `${showName(name)}${type}`;
    const beneath = `${stem}${branch.endsWith('├── ') ? '│   ' : '    '}`;
    const columns = options.columns === null ? Number.POSITIVE_INFINITY : options.columns;
    const said = facts(layer, options);
    const wrapped = wrap(said === '' ? text : `${text}  ${said}`, Math.max(24, columns - branch.length), 2);
    const drawn = wrapped.map((line, index) => (index === 0 ? paint.dim(branch) : paint.dim(beneath)) + line);
    // Tensors of a row hang below it; they are gathered in reading order because the whole is turned round.
    const tensors = options.tensors
      ? layer.weights.map(
          (weight) => `${paint.dim(`${beneath}  `)}${showName(weight.role)} ${showShape(weight.shape)} ${weight.dtype}`,
        )
      : [];
    lines.push(...[...drawn, ...tensors].toReversed());
  }
  return lines.toReversed();
}

/** The layers as a tree with their counts, then the totals. */
export const renderTree: Render = async (set, options) => {
  const paint = await loadPaint(options.color);
  const pieces: string[] = [];
  for (const report of set.reports) {
    if (!('summary' in report)) continue;
    const { summary } = report;
    if (pieces.length > 0) pieces.push('');
    if (set.reports.length > 1) pieces.push(paint.bold(`== ${showName(report.file)}`));
    pieces.push(paint.bold(`${showName(summary.model.name)} (${escapeText(originText(summary))})`));
    for (const line of treeLines(summary, options, paint)) pieces.push(line);
    pieces.push('', ...totalsBlock(summary, options.columns, paint));
    if (summary.explanation !== undefined) {
      pieces.push('', ...explanationBlock(summary.explanation, options.columns));
      pieces.push('', ...toolsBlock(summary.explanation.tools, options.columns));
    }
    if (!options.quiet) {
      const notes = groupNotes(summary.diagnostics);
      if (notes.length > 0) pieces.push('', ...notes.map((note) => `${note.severity}: ${note.text} [${note.code}]`));
    }
  }
  if (set.pair !== null) pieces.push('', ...pairBlock(set.pair, pairNames(set), options.columns));
  return pieces.map((line) => `${line}\n`);
};
