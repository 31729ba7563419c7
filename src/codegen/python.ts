/**
 * Lays Python statements out as ruff's formatter does at 88 columns, so that generated code needs no second pass.
 * Works on the small language that the generator writes: names, calls, subscripts, tuples, operators, strings.
 */
const WIDTH = 88;

/** End of the bracket or string that starts at `at`, exclusive. */
function skip(text: string, at: number): number {
  const open = text[at];
  if (open === '"') {
    for (let end = at + 1; end < text.length; end += 1) {
      if (text[end] === '\\') end += 1;
      else if (text[end] === '"') return end + 1;
    }
    return text.length;
  }
  if (open !== '(' && open !== '[' && open !== '{') return at + 1;
  let end = at + 1;
  while (end < text.length) {
    const char = text[end];
    if (char === ')' || char === ']' || char === '}') return end + 1;
    end = skip(text, end);
  }
  return text.length;
}

/** Splits at a separator outside brackets and strings. */
function splitTop(text: string, separator: string): string[] {
  const parts: string[] = [];
  let start = 0;
  let at = 0;
  while (at < text.length) {
    if (text.startsWith(separator, at)) {
      parts.push(text.slice(start, at));
      at += separator.length;
      start = at;
    } else at = skip(text, at);
  }
  parts.push(text.slice(start));
  return parts;
}

/** The last bracket pair at the end of an expression: `head(body)tail` with an empty tail. */
function lastBracket(text: string): { head: string; body: string; close: string } | undefined {
  let at = 0;
  let last: [number, number] | undefined;
  while (at < text.length) {
    const end = skip(text, at);
    if (end > at + 1 && text[at] !== '"') last = [at, end];
    at = end;
  }
  if (last === undefined || last[1] !== text.length) return undefined;
  return {
    head: text.slice(0, last[0] + 1),
    body: text.slice(last[0] + 1, last[1] - 1),
    close: text.slice(last[1] - 1),
  };
}

const pad = (indent: number): string => ' '.repeat(indent);

/** Breaks `text` (what follows `prefix` on its first line); `suffix` follows its last line. */
function layOut(prefix: string, text: string, suffix: string, indent: number): string[] {
  const flat = `${prefix}${text}${suffix}`;
  if (indent + flat.length <= WIDTH) return [pad(indent) + flat];
  const operands = operandsOf(text);
  if (operands.length > 1) return brokenOperators(prefix, operands, suffix, indent);
  const bracket = lastBracket(text);
  if (bracket === undefined || bracket.body.trim() === '') return [pad(indent) + flat];
  return [
    pad(indent) + prefix + bracket.head,
    ...inBrackets(bracket.body, indent + 4),
    pad(indent) + bracket.close + suffix,
  ];
}

/** What stands between brackets: on one line when it fits, else one element a line with a trailing comma. */
function inBrackets(body: string, indent: number): string[] {
  const elements = splitTop(body, ', ').map((element) => element.replace(/,$/, ''));
  if (indent + body.length <= WIDTH && !(elements.length === 1 && body.endsWith(','))) {
    if (elements.length > 0) return [pad(indent) + body];
  }
  if (elements.length === 1 && !body.endsWith(',')) return layOut('', body, '', indent);
  return elements.flatMap((element) => layOut('', element, ',', indent));
}

/** `a + b - c` split before its operators of lowest rank. */
function operandsOf(text: string): { operator: string; text: string }[] {
  for (const group of [
    [' + ', ' - '],
    [' * ', ' / '],
  ]) {
    const found: { operator: string; text: string }[] = [];
    let operator = '';
    let start = 0;
    let at = 0;
    while (at < text.length) {
      const hit = group.find((word) => text.startsWith(word, at));
      if (hit === undefined) {
        at = skip(text, at);
        continue;
      }
      found.push({ operator, text: text.slice(start, at) });
      operator = `${hit.trim()} `;
      at += hit.length;
      start = at;
    }
    found.push({ operator, text: text.slice(start) });
    if (found.length > 1) return found;
  }
  return [{ operator: '', text }];
}

function brokenOperators(
  prefix: string,
  operands: readonly { operator: string; text: string }[],
  suffix: string,
  indent: number,
): string[] {
  const flat = operands.map(({ operator, text }) => `${operator}${text}`).join(' ');
  if (indent + 4 + flat.length <= WIDTH)
    return [`${pad(indent)}${prefix}(`, pad(indent + 4) + flat, `${pad(indent)})${suffix}`];
  return [
    `${pad(indent)}${prefix}(`,
    ...operands.flatMap(({ operator, text }) => layOut(operator, text, '', indent + 4)),
    `${pad(indent)})${suffix}`,
  ];
}

/** `target = expr`, broken where it is too long. */
export function assignment(target: string, expr: string, indent: number): string[] {
  return layOut(`${target} = `, expr, '', indent);
}

/** `return expr`. */
export function returning(expr: string, indent: number): string[] {
  const flat = `return ${expr}`;
  if (indent + flat.length <= WIDTH) return [pad(indent) + flat];
  const elements = splitTop(expr, ', ');
  if (elements.length > 1) {
    return [
      `${pad(indent)}return (`,
      ...elements.flatMap((element) => layOut('', element, ',', indent + 4)),
      `${pad(indent)})`,
    ];
  }
  return layOut('return ', expr, '', indent);
}

/** `def name(self, a, b):` with its arguments broken where they are too long. */
export function definition(name: string, args: readonly string[], indent: number): string[] {
  return layOut(`def ${name}`, `(${args.join(', ')})`, ':', indent);
}

/** A comment, wrapped at the line width. */
export function comment(text: string, indent: number): string[] {
  return wrap(text, WIDTH - indent - 2).map((line) => `${pad(indent)}# ${line}`);
}

/** Words in lines of at most `width` columns. */
export function wrap(text: string, width: number): string[] {
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(/\s+/)) {
    if (line !== '' && line.length + 1 + word.length > width) {
      lines.push(line);
      line = word;
    } else line = line === '' ? word : `${line} ${word}`;
  }
  return line === '' ? lines : [...lines, line];
}
