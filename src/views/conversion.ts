import type { Totals } from '../account/account.ts';
import type { Count } from '../account/count.ts';
import type { Plan } from '../convert/plan.ts';
import type { Diagnostic } from '../ir/diagnostic.ts';
import type { StateEntry } from '../ir/state.ts';
import type { Verification } from '../verify/verify.ts';
import { describe, groupNotes } from './diagnostics.ts';
import { showName } from './escape.ts';
import { showCount } from './number.ts';

/** What a conversion did. */
export interface ConversionReport {
  readonly input: string;
  readonly output: string | null;
  readonly module: string | null;
  readonly receipt: string | null;
  readonly map: string | null;
  readonly tensors: number;
  readonly bytes: number;
  readonly filled: number;
  readonly dropped: number;
  /** BatchNorms that are gone. */
  readonly folded: number;
  readonly totals: Totals;
  readonly verification: Verification | null;
  readonly diagnostics: readonly Diagnostic[];
}

function notes(diagnostics: readonly Diagnostic[]): string[] {
  return groupNotes(diagnostics).map(({ severity, text }) => `${severity === 'info' ? 'note' : severity}: ${text}`);
}

function counted(count: Count, what: string): string {
  return `${showCount(count)} ${what}${count === 1 ? '' : 's'}`;
}

/** The report after a conversion, in lines. */
export function renderConversion(report: ConversionReport, format: 'text' | 'json'): readonly string[] {
  if (format === 'json') return [`${JSON.stringify({ version: 1, ...report }, bigintText, 2)}\n`];
  const { totals, verification } = report;
  const lines: string[] = [];
  if (report.output !== null) {
    lines.push(
      `${showName(report.output)}: ${counted(report.tensors, 'tensor')}, ${counted(report.bytes, 'byte')} of data`,
    );
  }
  if (report.module !== null) lines.push(`${showName(report.module)}: PyTorch module`);
  if (report.receipt !== null) lines.push(`${showName(report.receipt)}: receipt`);
  if (report.map !== null) lines.push(`${showName(report.map)}: map of names`);
  lines.push(
    `Keras ${counted(totals.keras.total, 'parameter')} = PyTorch ${counted(totals.torch.parameters, 'parameter')} and ` +
      `${counted(totals.torch.buffers, 'buffer element')} (bnsum --explain ${showName(report.input)} shows the steps)` +
      (report.folded > 0 ? `, before ${counted(report.folded, 'BatchNorm')} went into the layers beside` : ''),
  );
  if (report.filled > 0)
    lines.push(
      `filled: ${counted(report.filled, 'tensor')} that Keras does not hold (num_batches_tracked and the like)`,
    );
  if (report.dropped > 0)
    lines.push(`dropped: ${counted(report.dropped, 'tensor')} without a place in a state_dict (see --dry-run)`);
  if (verification !== null) {
    const { lossless, asPlanned, elements } = verification;
    const source = elements === 1 ? 'the one source element' : `every one of ${showCount(elements)} source elements`;
    lines.push(
      `lossless: read back, ${counted(lossless, 'tensor')} ${lossless === 1 ? 'gives' : 'give'} ${source} again; ` +
        `${counted(asPlanned, 'filled, folded, computed or cast one')} ${asPlanned === 1 ? 'is' : 'are'} as planned`,
    );
  } else if (report.output !== null) lines.push('not read back (--no-verify)');
  return [...lines, ...notes(report.diagnostics)].map((line) => `${line}\n`);
}

function bigintText(_key: string, value: unknown): unknown {
  return typeof value === 'bigint' ? value.toString() : value;
}

function castWords(from: string | null, to: string): string {
  return from === null || from === to ? to : `${from} as ${to}`;
}

/** Keras' and PyTorch's order of the gates, by module; classes of our own keep Keras' order. */
function gateOrders(plan: Plan): ReadonlyMap<string, string> {
  return new Map(
    plan.modules.flatMap(({ path, type, custom }): [string, string][] => {
      if (custom) return [];
      if (type === 'LSTM' || type === 'LSTMCell') return [[path, 'i f c o -> i f g o']];
      return type === 'GRU' || type === 'GRUCell' ? [[path, 'z r h -> r z n']] : [];
    }),
  );
}

/** The plan of --dry-run: each target tensor with its source, transformation, type, and why; then what is left behind. */
export function renderPlan(
  plan: Plan,
  entries: readonly StateEntry[],
  diagnostics: readonly Diagnostic[],
  format: 'text' | 'json',
): readonly string[] {
  const gates = gateOrders(plan);
  const rows = plan.tensors.map((tensor, index) => ({
    name: entries[index]?.name ?? tensor.name,
    dtype: entries[index]?.tensor.dtype ?? tensor.dtype,
    fromDtype: tensor.origins[0]?.dtype ?? null,
    shape: tensor.shape,
    kind: tensor.isParameter ? 'parameter' : 'buffer',
    layer: tensor.layer,
    from: tensor.origins.map((source) => source.name),
    how: tensor.how,
    gates: gates.get(tensor.name.slice(0, Math.max(0, tensor.name.lastIndexOf('.')))) ?? null,
    filled: tensor.filled,
    exact: tensor.exact,
    shares: tensor.shares ?? null,
  }));
  const dropped = plan.dropped.map(({ layer, role, tensor, why }) => ({ layer, role, tensor: tensor.name, why }));
  if (format === 'json') {
    const inputs = plan.lowered.classes.at(-1)?.inputs ?? [];
    const outputs = plan.lowered.classes.at(-1)?.outputs ?? [];
    const notesOf = diagnostics.map((diagnostic) => ({ ...diagnostic, message: describe(diagnostic) }));
    return [
      `${JSON.stringify({ version: 1, inputs, outputs, tensors: rows, dropped, diagnostics: notesOf }, bigintText, 2)}\n`,
    ];
  }
  const lines = rows.map(
    (row) =>
      `${showName(row.name)}  ${castWords(row.fromDtype, row.dtype)} [${row.shape.join(', ')}]  ` +
      (row.filled ? row.how : `<- ${row.from.map(showName).join(', ')}  ${row.how}`) +
      (row.gates === null ? '' : `  gates ${row.gates}`) +
      (row.shares === null ? '' : `  shares ${showName(row.shares)}`),
  );
  for (const row of dropped) {
    lines.push(`dropped  ${showName(row.layer === '' ? row.tensor : `${row.layer} ${row.role}`)}: ${row.why}`);
  }
  return [...lines, ...notes(diagnostics)].map((line) => `${line}\n`);
}
