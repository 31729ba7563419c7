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

/** Bracket pairs outside brackets and strings, by their first and last character. */
function bracketsOf(text: string): [number, number][] {
  const found: [number, number][] = [];
  let at = 0;
  while (at < text.length) {
    const end = skip(text, at);
    if (end > at + 1 && text[at] !== '"') found.push([at, end - 1]);
    at = end;
  }
  return found;
}

const pad = (indent: number): string => ' '.repeat(indent);

/** Breaks `text` (what follows `prefix` on its first line); `suffix` follows its last line. Without a prefix it stands in brackets. */
function layOut(prefix: string, text: string, suffix: string, indent: number): string[] {
  const flat = `${prefix}${text}${suffix}`;
  if (indent + flat.length <= WIDTH) return [pad(indent) + flat];
  const operands = operandsOf(text);
  const links = operands.length === 1 ? linksOf(text) : [text];
  if (operands.length > 1 && !breaksInside(prefix, operands, indent)) {
    return inParentheses(prefix, suffix, indent, (inner) =>
      operands.flatMap(({ operator, text: operand }) => layOut(operator, operand, '', inner)),
    );
  }
  if (links.length > 2) {
    return inParentheses(prefix, suffix, indent, (inner) => links.map((link) => pad(inner) + link), text);
  }
  const brackets = bracketsOf(text).filter(([open, close]) => close > open + 1);
  if (brackets.length === 0) return [pad(indent) + flat];
  return brokenBrackets(prefix, text, suffix, indent, brackets);
}

/** Parentheses around what has no brackets of its own to break; inside brackets there are some already. */
function inParentheses(
  prefix: string,
  suffix: string,
  indent: number,
  lines: (indent: number) => readonly string[],
  flat?: string,
): string[] {
  if (prefix === '') {
    const made = [...lines(indent)];
    return [...made.slice(0, -1), `${made.at(-1) ?? ''}${suffix}`];
  }
  const whole = flat !== undefined && indent + 4 + flat.length <= WIDTH ? [pad(indent + 4) + flat] : lines(indent + 4);
  return [`${pad(indent)}${prefix}(`, ...whole, `${pad(indent)})${suffix}`];
}

/** `a.b(…)`, `.c(…)`, `.d(…)`: a chain of calls, split before each dot that follows a bracket. */
function linksOf(text: string): string[] {
  const links: string[] = [];
  let start = 0;
  for (const [, close] of bracketsOf(text)) {
    if (text[close + 1] !== '.') continue;
    links.push(text.slice(start, close + 1));
    start = close + 1;
  }
  links.push(text.slice(start));
  return links;
}

/** Whether one operator's brackets are broken instead of setting the whole in parentheses. */
function breaksInside(
  prefix: string,
  operands: readonly { operator: string; text: string }[],
  indent: number,
): boolean {
  const [first, last] = operands;
  if (operands.length !== 2 || first === undefined || last === undefined) return false;
  if (first.text.startsWith('(')) return true;
  const brackets = bracketsOf(last.text);
  const end = brackets.at(-1);
  if (end === undefined || end[1] !== last.text.length - 1 || end[1] === end[0] + 1) return false;
  const head = `${prefix}${first.text} ${last.operator}${last.text.slice(0, end[0] + 1)}`;
  return bracketsOf(first.text).length + brackets.length > 1 || indent + head.length <= WIDTH;
}

/** Breaks those brackets that must be: what lies up to the next bracket is kept on one line where it fits. */
function brokenBrackets(
  prefix: string,
  text: string,
  suffix: string,
  indent: number,
  brackets: readonly (readonly [number, number])[],
): string[] {
  const lines: string[] = [];
  let line = prefix;
  let at = 0;
  for (const [index, [open, close]] of brackets.entries()) {
    const next = brackets[index + 1]?.[0];
    const ahead = next === undefined ? `${text.slice(at)}${suffix}` : text.slice(at, next + 1);
    if (indent + line.length + ahead.length <= WIDTH) {
      line += text.slice(at, close);
      at = close;
      continue;
    }
    lines.push(pad(indent) + line + text.slice(at, open + 1), ...inBrackets(text.slice(open + 1, close), indent + 4));
    line = '';
    at = close;
  }
  return [...lines, pad(indent) + line + text.slice(at) + suffix];
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
    [' == ', ' != ', ' >= ', ' > ', ' <= ', ' < '],
    [' + ', ' - '],
    [' * ', ' / ', ' % '],
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
