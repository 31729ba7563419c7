import type { Render, Report, ReportSet } from './view.ts';

function scalarText(value: unknown): string | null {
  switch (typeof value) {
    case 'bigint':
      return String(value);
    case 'number':
      // JSON has no words for these: they are strings.
      return Number.isFinite(value) ? JSON.stringify(value) : JSON.stringify(String(value));
    case 'string':
    case 'boolean':
      return JSON.stringify(value);
    default:
      return value === null || value === undefined ? 'null' : null;
  }
}

/**
 * Pieces of JSON text, two spaces a level, lists of plain values on one line. Maps are objects, bigints whole numbers,
 * NaN and the infinities strings; undefined members are left out. Lone surrogates are written as escapes.
 */
export function* jsonPieces(value: unknown, indent: string): Generator<string> {
  const scalar = scalarText(value);
  if (scalar !== null) {
    yield scalar;
    return;
  }
  const inner = `${indent}  `;
  if (Array.isArray(value)) {
    const items: readonly unknown[] = value;
    const plain = items.map(scalarText);
    if (plain.every((text) => text !== null)) {
      yield `[${plain.join(', ')}]`;
      return;
    }
    yield '[';
    for (const [index, item] of items.entries()) {
      yield `${index === 0 ? '' : ','}\n${inner}`;
      yield* jsonPieces(item, inner);
    }
    yield `\n${indent}]`;
    return;
  }
  const members: Iterable<readonly [string, unknown]> =
    value instanceof Map ? (value as ReadonlyMap<string, unknown>) : Object.entries(value as object);
  let first = true;
  for (const [key, member] of members) {
    if (member === undefined) continue;
    yield `${first ? '{' : ','}\n${inner}${JSON.stringify(key)}: `;
    first = false;
    yield* jsonPieces(member, inner);
  }
  yield first ? '{}' : `\n${indent}}`;
}

/** Gathers small pieces, so that each write is worth its call. */
export function* gathered(pieces: Iterable<string>): Generator<string> {
  let held: string[] = [];
  let size = 0;
  for (const piece of pieces) {
    held.push(piece);
    size += piece.length;
    if (size < 65_536) continue;
    yield held.join('');
    held = [];
    size = 0;
  }
  yield held.join('');
}

function reportValue(report: Report): object {
  return 'summary' in report ? { file: report.file, ...report.summary } : report;
}

function setValue(set: ReportSet): object {
  const only = set.reports[0];
  if (set.reports.length === 1 && only !== undefined) return 'summary' in only ? only.summary : only;
  return { files: set.reports.map(reportValue), ...(set.pair === null ? {} : { pair: set.pair }) };
}

/** The JSON form: one object for one file, `{files: [...]}` for several. */
export const renderJson: Render = (set) => {
  function* pieces(): Generator<string> {
    yield* jsonPieces(setValue(set), '');
    yield '\n';
  }
  return Promise.resolve(gathered(pieces()));
};
