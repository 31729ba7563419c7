import { escapeText } from './escape.ts';
import { type Cell, gridOf } from './grid.ts';
import { showShape } from './number.ts';
import { rowsOf } from './rows.ts';
import type { Render, Report, ViewOptions } from './view.ts';
import { pairStepText, RULE_NAMES, stepText } from './wording.ts';

/**
 * A field by RFC 4180. A text that a spreadsheet would run as a formula (= + - @, tab, return, also behind a quote or
 * spaces) gets an apostrophe in front; numbers are written bare.
 */
export function csvField(text: string): string {
  const safe = /^[\s"']*[=+\-@\uff0b\uff0d\uff1d\uff20]/.test(text) ? `'${text}` : text;
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

function bare(cell: Cell): string {
  switch (cell.as) {
    case 'text':
      return csvField(escapeText(cell.text));
    case 'count':
      return cell.count === null ? '' : String(cell.count);
    case 'bytes':
      return cell.bytes === null ? '' : String(cell.bytes);
    case 'number':
      return cell.number === null ? '' : String(cell.number);
    case 'flag':
      return cell.flag === null ? '' : String(cell.flag);
    case 'shape':
      return cell.shape === null ? '' : csvField(showShape(cell.shape));
  }
}

const LAYER_COLUMNS = [
  'path',
  'name',
  'type',
  'kind',
  'container',
  'output_shape',
  'keras',
  'torch',
  'buffers',
  'bytes',
  'dtype',
];

function* layerRows(report: Extract<Report, { summary: unknown }>, options: ViewOptions): Generator<string[]> {
  for (const { layer, own, keras, torch, buffers } of rowsOf(report.summary, options)) {
    if (own) continue;
    yield [
      csvField(escapeText(layer.path)),
      csvField(escapeText(layer.name)),
      csvField(escapeText(layer.type)),
      layer.kind,
      String(layer.container),
      layer.outputShape === null ? '' : csvField(showShape(layer.outputShape)),
      String(keras),
      String(torch),
      String(buffers),
      String(layer.bytes),
      layer.dtype ?? '',
      ...(options.macs ? [String(layer.macs ?? '')] : []),
      ...(layer.own === undefined ? ['', '', ''] : [layer.own.keras, layer.own.torch, layer.own.buffers].map(String)),
    ];
  }
}

function* explanationRows(report: Extract<Report, { summary: unknown }>): Generator<string[]> {
  for (const stage of report.summary.explanation?.stages ?? []) {
    const names = [RULE_NAMES[stage.from.rule], RULE_NAMES[stage.to.rule]];
    yield [...names, String(stage.from.elements), 'start'];
    for (const step of stage.steps) yield [...names, String(step.elements), csvField(stepText(step))];
    yield [...names, String(stage.to.elements), 'end'];
  }
}

/**
 * One table, one header: the layers (containers hold the sum of the rows below them; `own_*` is their own share), or
 * with --bn, --tensors or --explain what these show. Several files get a first column `file`.
 */
export const renderCsv: Render = (set, options) => {
  function* pieces(): Generator<string> {
    const several = set.reports.length > 1;
    let headed = false;
    const head = (columns: readonly string[]): string => {
      if (headed) return '';
      headed = true;
      return `${[...(several ? ['file'] : []), ...columns].join(',')}\r\n`;
    };
    for (const report of set.reports) {
      if (!('summary' in report)) continue;
      const file = several ? [csvField(escapeText(report.file))] : [];
      const line = (fields: readonly string[]): string => `${[...file, ...fields].join(',')}\r\n`;
      if (options.explain) {
        yield head(['rule_before', 'rule_after', 'elements', 'step']);
        for (const row of explanationRows(report)) yield line(row);
      } else if (options.bn || options.tensors) {
        const grid = gridOf(report.summary, options);
        yield head(grid.columns.map((column) => column.key));
        for (const row of grid.rows) yield line(row.map(bare));
      } else {
        yield head([...LAYER_COLUMNS, ...(options.macs ? ['macs'] : []), 'own_keras', 'own_torch', 'own_buffers']);
        for (const row of layerRows(report, options)) yield line(row);
      }
    }
    for (const step of set.pair?.steps ?? []) {
      yield `${['', 'first file', 'second file', String(step.elements), csvField(pairStepText(step))].join(',')}\r\n`;
    }
  }
  return Promise.resolve(pieces());
};
