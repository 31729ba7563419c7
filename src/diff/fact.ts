import { isList, isObject, type Json } from '../ir/json.ts';

/** A fact as canonical text: keys sorted, one line. Equal texts are equal facts. */
export function formatFact(value: Json): string {
  if (isList(value)) return `[${value.map(formatFact).join(', ')}]`;
  if (isObject(value)) {
    const members = [...value].toSorted(([one], [other]) => (one < other ? -1 : one > other ? 1 : 0));
    return `{${members.map(([key, inner]) => `${JSON.stringify(key)}: ${formatFact(inner)}`).join(', ')}}`;
  }
  if (typeof value === 'bigint') return String(value);
  if (typeof value === 'number' && !Number.isFinite(value)) return JSON.stringify(String(value));
  return JSON.stringify(value);
}

/** Whether two facts say the same. */
export function sameFact(a: Json, b: Json): boolean {
  return formatFact(a) === formatFact(b);
}

/** Longer than this, a value is spread over several lines. */
const LINE = 110;

/**
 * Canonical JSON for files that people review: keys sorted, two spaces a level, every value that fits on a line on one.
 * Equal values give equal texts.
 */
export function formatLines(value: Json, indent = ''): string {
  const flat = formatFact(value);
  if (flat.length + indent.length <= LINE || value === null || typeof value !== 'object') return flat;
  const inner = `${indent}  `;
  if (isList(value)) {
    return `[\n${value.map((item) => inner + formatLines(item, inner)).join(',\n')}\n${indent}]`;
  }
  const members = [...value].toSorted(([one], [other]) => (one < other ? -1 : one > other ? 1 : 0));
  const lines = members.map(([key, item]) => `${inner}${JSON.stringify(key)}: ${formatLines(item, inner)}`);
  return `{\n${lines.join(',\n')}\n${indent}}`;
}
