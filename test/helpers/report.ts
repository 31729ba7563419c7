import { type Accounting, account } from '../../src/account/account.ts';
import { type Summary, type SummaryOptions, summarise } from '../../src/account/summary.ts';
import type { Diagnostic } from '../../src/ir/diagnostic.ts';
import type { Model } from '../../src/ir/model.ts';
import { describe } from '../../src/views/diagnostics.ts';
import { viewNamed } from '../../src/views/registry.ts';
import type { Report, ReportSet, ViewOptions } from '../../src/views/view.ts';

export const PLAIN: ViewOptions = {
  columns: null,
  color: false,
  bn: false,
  tensors: false,
  macs: false,
  explain: false,
  depth: null,
  layer: null,
  sort: null,
  quiet: false,
};

export function summaryOf(
  model: Model,
  options: Partial<SummaryOptions> = {},
  diagnostics: readonly Diagnostic[] = [],
): Summary {
  return summarise(model, account(model), diagnostics, { describe, ...options });
}

export function pairOf(model: Model): { readonly model: Model; readonly accounting: Accounting } {
  return { model, accounting: account(model) };
}

/** The whole text of a look. */
export async function renderSet(view: string, set: ReportSet, options: Partial<ViewOptions> = {}): Promise<string> {
  const found = viewNamed(view);
  if (found === undefined) throw new Error(`no view ${view}`);
  const render = await found.load();
  return [...(await render(set, { ...PLAIN, ...options }))].join('');
}

export function render(view: string, summary: Summary, options: Partial<ViewOptions> = {}): Promise<string> {
  const report: Report = { file: 'model.h5', summary };
  return renderSet(view, { reports: [report], pair: null }, options);
}
