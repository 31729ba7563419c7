import type { Render, Report, ReportSet } from './view.ts';

function scalarText(value: unknown): string | null {
  switch (typeof value) {
    case 'bigint':
      return String(value);
    case 'number':
      // JSON has no words for these: they are strings.
      return Number.isFinite(value) ? String(value) : JSON.stringify(String(value));
    case 'string':
    case 'boolean':
      return JSON.stringify(value);
    default:
      return value === null || value === undefined ? 'null' : null;
  }
}

/** Lists longer than this are written piece by piece; what is shorter becomes one text, which is much quicker. */
const SHORT = 64;

/** Whether a long list stands in the value, looking `depth` levels down. */
function holdsLong(value: unknown, depth: number): boolean {
  if (typeof value !== 'object' || value === null) return false;
  if (Array.isArray(value)) {
    return value.length > SHORT || (depth > 0 && value.some((item: unknown) => holdsLong(item, depth - 1)));
  }
  if (depth === 0) return false;
  if (value instanceof Map) {
    for (const member of value.values()) if (holdsLong(member, depth - 1)) return true;
    return false;
  }
  // By name, since a list of the values would be made for every layer of a large model.
  for (const name in value) if (holdsLong((value as Record<string, unknown>)[name], depth - 1)) return true;
  return false;
}

/** The words before the members of our own objects; the names are few. */
const openings = new Map<string, string>();

function openingOf(key: string): string {
  let opening = openings.get(key);
  if (opening === undefined) {
    opening = `${JSON.stringify(key)}: `;
    openings.set(key, opening);
  }
  return opening;
}

/** What jsonPieces writes, as one text. */
function jsonText(value: unknown, indent: string): string {
  const scalar = scalarText(value);
  if (scalar !== null) return scalar;
  const inner = `${indent}  `;
  let text = '';
  if (Array.isArray(value)) {
    const items: readonly unknown[] = value;
    if (items.every((item) => typeof item !== 'object' || item === null)) {
      for (const item of items) text += text === '' ? scalarText(item) : `, ${scalarText(item)}`;
      return `[${text}]`;
    }
    for (const item of items) text += `${text === '' ? '[' : ','}\n${inner}${jsonText(item, inner)}`;
    return `${text}\n${indent}]`;
  }
  if (value instanceof Map) {
    for (const [key, member] of value as ReadonlyMap<string, unknown>) {
      if (member === undefined) continue;
      text += `${text === '' ? '{' : ','}\n${inner}${JSON.stringify(key)}: ${jsonText(member, inner)}`;
    }
  } else {
    const record = value as Readonly<Record<string, unknown>>;
    for (const key of Object.keys(record)) {
      const member = record[key];
      if (member === undefined) continue;
      text += `${text === '' ? '{' : ','}\n${inner}${openingOf(key)}${jsonText(member, inner)}`;
    }
  }
  return text === '' ? '{}' : `${text}\n${indent}}`;
}

/**
 * Pieces of JSON text, two spaces a level, lists of plain values on one line. Maps are objects, bigints whole numbers,
 * NaN and the infinities strings; undefined members are left out. Lone surrogates are written as escapes.
 */
export function* jsonPieces(value: unknown, indent: string, depth: number = 4): Generator<string> {
  if (!holdsLong(value, depth)) {
    yield jsonText(value, indent);
    return;
  }
  const below = Math.max(0, depth - 1);
  const inner = `${indent}  `;
  if (Array.isArray(value)) {
    const items: readonly unknown[] = value;
    if (items.every((item) => typeof item !== 'object' || item === null)) {
      yield `[${items.map(scalarText).join(', ')}]`;
      return;
    }
    let separator = '[';
    for (const item of items) {
      const opening = `${separator}\n${inner}`;
      separator = ',';
      // A generator for each item of a long list would cost more than its text.
      if (!holdsLong(item, below)) yield opening + jsonText(item, inner);
      else {
        yield opening;
        yield* jsonPieces(item, inner, below);
      }
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
    yield* jsonPieces(member, inner, below);
  }
  yield first ? '{}' : `\n${indent}}`;
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
  return Promise.resolve(pieces());
};
