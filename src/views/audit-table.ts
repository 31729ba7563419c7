import type { Audit, Finding } from '../audit/finding.ts';
import type { AuditRender, AuditViewOptions } from './audit-view.ts';
import {
  adviceTexts,
  countsText,
  INCOMPLETE_CLAIM,
  nameText,
  placeText,
  reasonText,
  safeClaim,
} from './audit-wording.ts';
import { drawGrid } from './draw.ts';
import { showName } from './escape.ts';
import type { Cell, Grid } from './grid.ts';
import { showCount } from './number.ts';
import { loadPaint, type Paint } from './paint.ts';
import { wrap } from './width.ts';

/** Findings of one import that are rows: one row a name and rule, wherever it stands. */
interface Group {
  readonly first: Finding;
  readonly count: number;
  readonly places: number;
}

/** Rows that people are shown; JSON has all of them. */
const ROWS = 100;

function groupsOf(findings: readonly Finding[]): readonly Group[] {
  const groups = new Map<string, { first: Finding; count: number; places: number }>();
  for (const finding of findings) {
    const what = finding.name === null ? finding.detail : nameText(finding);
    const key = [finding.level, finding.rule, what].join('\0');
    const group = groups.get(key);
    if (group === undefined) groups.set(key, { first: finding, count: finding.count, places: 1 });
    else {
      group.count += finding.count;
      group.places += 1;
    }
  }
  return [...groups.values()];
}

const text = (value: string): Cell => ({ as: 'text', text: value });

function whyText(finding: Finding): string {
  if (finding.detail === '') return reasonText(finding);
  return `${reasonText(finding)}${finding.called === true ? '; called with ' : ': '}${finding.detail}`;
}

function gridOf(groups: readonly Group[]): Grid {
  return {
    columns: [
      { key: 'level', title: 'Level', align: 'left' },
      { key: 'found', title: 'Found', align: 'left', least: 16 },
      { key: 'count', title: 'Count', align: 'right' },
      { key: 'place', title: 'First place', align: 'left', least: 12 },
      { key: 'reason', title: 'Why', align: 'left', least: 20 },
    ],
    rows: groups.map(({ first, count, places }) => [
      text(first.level),
      text(nameText(first)),
      { as: 'count', count },
      text(`${placeText(first)}${places > 1 ? ` (and ${places - 1} more)` : ''}`),
      text(whyText(first)),
    ]),
  };
}

/** `model.pt: dangerous - 1 dangerous, 0 suspicious, 4 known imports (builtins.eval @ data.pkl op#12)`. */
export function headline(file: string, audit: Audit): string {
  const [first] = audit.findings;
  const place = first === undefined ? '' : placeText(first);
  const example = first === undefined ? '' : ` (${nameText(first)}${place === '' ? '' : ` @ ${place}`})`;
  const incomplete = audit.complete ? '' : ', incomplete';
  return `${showName(file)}: ${audit.verdict}${incomplete} - ${countsText(audit)}${showName(example)}`;
}

async function reportLines(file: string, audit: Audit, options: AuditViewOptions, paint: Paint): Promise<string[]> {
  const { columns } = options;
  const wide = columns ?? Number.POSITIVE_INFINITY;
  const color = { safe: paint.bold, suspicious: paint.warn, dangerous: paint.bad }[audit.verdict];
  const lines = [color(headline(file, audit))];
  if (options.quiet) return lines;
  const groups = groupsOf(audit.findings);
  if (groups.length > 0) {
    lines.push('');
    for (const line of await drawGrid(gridOf(groups.slice(0, ROWS)), columns, paint)) lines.push(line);
    if (groups.length > ROWS) lines.push(`… ${showCount(groups.length - ROWS)} more (all of them with --format json)`);
  }
  const sentences: string[] = [];
  if (audit.verdict === 'safe') sentences.push(safeClaim(audit.kind));
  if (!audit.complete) sentences.push(INCOMPLETE_CLAIM);
  if (audit.allowed.length > 0) sentences.push(`Allowed on request: ${audit.allowed.map(showName).join(', ')}.`);
  sentences.push(...adviceTexts(audit.findings));
  if (sentences.length > 0) lines.push('', ...sentences.flatMap((sentence) => wrap(sentence, wide)));
  return lines;
}

/** One headline a file, then its findings by name, and what to do next. */
export const renderAuditTable: AuditRender = async (reports, options) => {
  const paint = await loadPaint(options.color);
  const pieces: string[] = [];
  for (const report of reports) {
    if (!('audit' in report)) continue;
    if (pieces.length > 0 && !options.quiet) pieces.push('\n');
    for (const line of await reportLines(report.file, report.audit, options, paint)) pieces.push(`${line}\n`);
  }
  return pieces;
};
