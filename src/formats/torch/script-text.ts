import type { Json } from '../../ir/json.ts';

/** What the text of one TorchScript class says in literals. */
export interface ClassText {
  readonly parameters: ReadonlySet<string>;
  readonly buffers: ReadonlySet<string>;
  /** `eps : Final[float] = 1e-05`, and arguments of normalisation calls in traced code. */
  readonly literals: ReadonlyMap<string, Json>;
}

/** The classes of one generated source file, by name. Works line by line on the printer's fixed form. */
export function readClasses(source: string): ReadonlyMap<string, ClassText> {
  const classes = new Map<string, ClassText>();
  const lines = source.split('\n');
  let name: string | undefined;
  let body: string[] = [];
  const finish = (): void => {
    if (name !== undefined) classes.set(name, readClass(body));
  };
  for (const line of lines) {
    const header = /^class ([A-Za-z_][A-Za-z_0-9]*)\(/.exec(line);
    if (header !== null) {
      finish();
      name = header[1];
      body = [];
    } else if (line !== '' && !line.startsWith(' ')) {
      finish();
      name = undefined;
    } else body.push(line);
  }
  finish();
  return classes;
}

function readClass(body: readonly string[]): ClassText {
  const literals = new Map<string, Json>();
  let parameters: ReadonlySet<string> = new Set();
  let buffers: ReadonlySet<string> = new Set();
  for (const line of body) {
    const list = /^ {2}__(parameters|buffers)__ = \[(.*)\]$/.exec(line);
    if (list !== null) {
      const names = new Set([...(list[2] ?? '').matchAll(/"([^"\\]*)"/g)].map((match) => match[1] ?? ''));
      if (list[1] === 'parameters') parameters = names;
      else buffers = names;
      continue;
    }
    const final = /^ {2}([A-Za-z_][A-Za-z_0-9]*) : Final\[.*?\] = (.+)$/.exec(line);
    const value = final === null ? undefined : readLiteral(final[2] ?? '');
    if (final !== null && value !== undefined && final[1] !== undefined) literals.set(final[1], value);
  }
  for (const [key, value] of tracedArguments(body.join('\n'))) if (!literals.has(key)) literals.set(key, value);
  return { parameters, buffers, literals };
}

/** A literal of the printer: numbers, booleans, None, text without escapes, flat lists and tuples of those. */
function readLiteral(text: string): Json | undefined {
  const word = text.trim();
  if (/^[-+]?[0-9]+$/.test(word)) {
    const number = Number(word);
    return Number.isSafeInteger(number) ? number : BigInt(word);
  }
  if (/^[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+|[0-9]+)(?:e[-+]?[0-9]+)?$/.test(word)) return Number(word);
  if (word === 'True' || word === 'False') return word === 'True';
  if (word === 'None') return null;
  const quoted = /^"([^"\\]*)"$|^'([^'\\]*)'$/.exec(word);
  if (quoted !== null) return quoted[1] ?? quoted[2] ?? '';
  const inner = /^[[(](.*)[\])]$/.exec(word)?.[1];
  if (inner === undefined || /[[\]()"']/.test(inner)) return undefined;
  const parts = inner.split(',').map((part) => part.trim());
  if (parts.at(-1) === '') parts.pop();
  const values = parts.map(readLiteral);
  return values.every((value) => value !== undefined) ? (values as Json[]) : undefined;
}

/**
 * Where traced code passes settings: position of the argument by function. From the operators' schemas:
 * batch_norm(input, weight, bias, running_mean, running_var, training, momentum, eps, cudnn_enabled),
 * layer_norm(input, normalized_shape, weight, bias, eps, cudnn_enable),
 * group_norm(input, num_groups, weight, bias, eps, cudnn_enabled),
 * instance_norm(input, weight, bias, running_mean, running_var, use_input_stats, momentum, eps, cudnn_enabled).
 */
const TRACED: ReadonlyMap<string, ReadonlyMap<string, number>> = new Map([
  [
    'batch_norm',
    new Map([
      ['momentum', 6],
      ['eps', 7],
    ]),
  ],
  [
    'layer_norm',
    new Map([
      ['normalized_shape', 1],
      ['eps', 4],
    ]),
  ],
  [
    'group_norm',
    new Map([
      ['num_groups', 1],
      ['eps', 4],
    ]),
  ],
  [
    'instance_norm',
    new Map([
      ['momentum', 6],
      ['eps', 7],
    ]),
  ],
]);

function tracedArguments(text: string): ReadonlyMap<string, Json> {
  const found = new Map<string, Json>();
  const calls = [...text.matchAll(/\btorch\.(batch_norm|layer_norm|group_norm|instance_norm)\(/g)];
  // Two calls in one class would belong to two layers: nothing is said then.
  if (calls.length !== 1 || calls[0] === undefined) return found;
  const [call] = calls;
  const places = TRACED.get(call[1] ?? '');
  const parts = argumentsAt(text, (call.index ?? 0) + call[0].length);
  for (const [key, place] of places ?? []) {
    const value = readLiteral(parts[place] ?? '');
    if (value !== undefined) found.set(key, value);
  }
  return found;
}

/** Top-level arguments of a call whose '(' ends at `start`; at most 4096 characters are looked at. */
function argumentsAt(text: string, start: number): readonly string[] {
  const parts: string[] = [];
  let depth = 0;
  let from = start;
  for (let at = start; at < Math.min(text.length, start + 4096); at += 1) {
    const character = text[at];
    if (character === '(' || character === '[') depth += 1;
    else if (character === ')' || character === ']') {
      if (depth === 0) {
        parts.push(text.slice(from, at));
        return parts;
      }
      depth -= 1;
    } else if (character === ',' && depth === 0) {
      parts.push(text.slice(from, at));
      from = at + 1;
    }
  }
  return [];
}
