import type { Summary } from '../account/summary.ts';
import { groupNotes } from './diagnostics.ts';
import { showName } from './escape.ts';
import { momentumText } from './grid.ts';
import { showCount, showShape, showStep } from './number.ts';
import { layerTitle, rowsOf } from './rows.ts';
import { totalLines } from './totals.ts';
import type { Render, ViewOptions } from './view.ts';
import { differenceText, pairStepText, RULE_NAMES, stepText, TOOL_REASONS, TOOLS } from './wording.ts';

const flag = (value: boolean | null): string => (value === null ? '?' : value ? 'yes' : 'no');

function* layerLines(summary: Summary, options: ViewOptions): Generator<string> {
  for (const row of rowsOf(summary, options)) {
    const { layer } = row;
    if (row.own) continue;
    if (options.bn && layer.bn === undefined) continue;
    const type = layer.type === '' ? layer.kind : layer.type;
    const shape = layer.outputShape === null ? '' : ` -> ${showShape(layer.outputShape)}`;
    const inputs =
      summary.chain === false && layer.inputs !== null && layer.inputs.length > 0
        ? ` from ${layer.inputs.map(showName).join(', ')}`
        : '';
    const macs = layer.macs === undefined ? '' : `, macs ${showCount(layer.macs)}`;
    yield `layer ${showName(layerTitle(layer, true))} (${showName(type)})${shape}${inputs}: keras ${showCount(layer.keras)}, torch ${showCount(layer.torch)}, buffers ${showCount(layer.buffers)}${macs}\n`;
    if (layer.bn !== undefined) {
      const { channels, axis, eps, gamma, beta, frozen } = layer.bn;
      const axes = axis === null ? '?' : String(axis);
      yield `  batch norm: channels ${channels ?? '?'}, axis ${axes}, eps ${eps ?? '?'}, momentum ${momentumText(layer)}, gamma ${flag(gamma)}, beta ${flag(beta)}, frozen ${flag(frozen)}\n`;
    }
    if (options.bn) continue;
    for (const weight of layer.weights) {
      const name = options.tensors ? showName(weight.name) : showName(weight.role);
      yield `  ${name} ${showShape(weight.shape)} ${weight.dtype} ${weight.class}\n`;
    }
  }
}

function* summaryLines(summary: Summary, options: ViewOptions): Generator<string> {
  yield* layerLines(summary, options);
  let whose = '';
  for (const line of totalLines(summary)) {
    whose = line.whose === '' ? whose : line.whose;
    yield `total ${whose}: ${showCount(line.count)} ${line.what}\n`;
  }
  yield `${differenceText(summary)}\n`;
  for (const stage of summary.explanation?.stages ?? []) {
    yield `explain ${showCount(stage.from.elements)} ${RULE_NAMES[stage.from.rule]}\n`;
    for (const step of stage.steps) yield `  ${showStep(step.elements)} ${stepText(step)}\n`;
    yield `  = ${showCount(stage.to.elements)} ${RULE_NAMES[stage.to.rule]}\n`;
  }
  for (const tool of summary.explanation?.tools ?? []) {
    const figure = tool.crashes ? 'crashes' : showCount(tool.elements);
    yield `tool ${TOOLS[tool.tool]}: ${figure} (${TOOL_REASONS[tool.reason]})\n`;
  }
  if (options.quiet) return;
  for (const note of groupNotes(summary.diagnostics)) yield `${note.severity}: ${note.text} [${note.code}]\n`;
}

/**
 * Plain lines for `git diff`: nothing is aligned, so that one changed layer is one changed line; no model name, path or
 * version, which change without the model.
 */
export const renderText: Render = (set, options) => {
  function* pieces(): Generator<string> {
    for (const report of set.reports) {
      if (!('summary' in report)) continue;
      if (set.reports.length > 1) yield `file ${showName(report.file)}\n`;
      yield* summaryLines(report.summary, options);
    }
    for (const step of set.pair?.steps ?? []) yield `pair ${showStep(step.elements)} ${pairStepText(step)}\n`;
  }
  return Promise.resolve(pieces());
};
