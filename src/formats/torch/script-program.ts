import { codec } from '../../bytes/codec.ts';

/** Classes and functions of generated TorchScript source, by qualified name (`__torch__.torch.nn.modules.conv.Conv2d`). */
export type Definitions = ReadonlyMap<string, string>;

/** Splits one source file of a module (`__torch__.models`) into its top-level classes and functions. */
export function* definitionsOf(module: string, source: string): Generator<readonly [string, string]> {
  let name: string | undefined;
  let lines: string[] = [];
  for (const line of source.split('\n')) {
    const header = /^(?:class|def) ([A-Za-z_][A-Za-z_0-9]*)\b/.exec(line);
    if (header !== null) {
      if (name !== undefined) yield [`${module}.${name}`, lines.join('\n').trimEnd()];
      name = header[1];
      lines = [];
    }
    lines.push(line);
  }
  if (name !== undefined) yield [`${module}.${name}`, lines.join('\n').trimEnd()];
}

/** A name that PyTorch counts up in one process when a class is compiled a second time. */
const MANGLED = /___torch_mangle_\d+\./g;

/** Names that the printer gives to values in the order of one file; and texts, which may hold what looks like one. */
const LOCAL = /"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|(?<![.\w])_\d+\b/g;

/** Literal attributes, which stand in the order of a Python set. */
const LITERALS = /(?:^ {2}[A-Za-z_][A-Za-z_0-9]* : Final\[.*\n?)+/gm;

/** The text of one class or function without what only one process or one file gave it. */
function plainText(text: string): string {
  const names = new Map<string, string>();
  return text
    .replace(LITERALS, (lines) => `${lines.trimEnd().split('\n').toSorted().join('\n')}\n`)
    .replace(LOCAL, (local) => {
      if (!local.startsWith('_')) return local;
      const name = names.get(local) ?? `_${names.size}`;
      names.set(local, name);
      return name;
    });
}

const NAME = /\b__torch__(?:\.[A-Za-z_][A-Za-z_0-9]*)+/g;

/**
 * SHA-256 of a model's code: of every class and function that is reached from `roots`, in the order in which they are
 * named. Names that only count what one process compiled before are replaced by a number in that order, so that the
 * same model saved twice has the same code.
 */
export function hashProgram(definitions: Definitions, roots: Iterable<string>): string {
  const numbers = new Map<string, string>();
  const counts = new Map<string, number>();
  const waiting: string[] = [];
  const rename = (name: string): string => {
    const known = numbers.get(name);
    if (known !== undefined) return known;
    const plain = name.replace(MANGLED, '');
    const count = counts.get(plain) ?? 0;
    counts.set(plain, count + 1);
    const word = `${plain}#${count}`;
    numbers.set(name, word);
    waiting.push(name);
    return word;
  };
  /** The longest name that is defined: what follows it is an attribute or a method. */
  const renameIn = (text: string): string =>
    text.replace(NAME, (found) => {
      for (let end = found.length; end > 0; end = found.lastIndexOf('.', end - 1)) {
        const name = found.slice(0, end);
        if (definitions.has(name)) return rename(name) + found.slice(end);
      }
      return found.replace(MANGLED, '');
    });
  const hash = codec().sha256();
  const encoder = new TextEncoder();
  const write = (name: string): void => {
    const word = rename(name);
    hash.update(encoder.encode(`${word}\n${renameIn(plainText(definitions.get(name) ?? ''))}\n`));
  };
  for (const root of roots) if (definitions.has(root)) rename(root);
  for (let index = 0; index < waiting.length; index += 1) write(waiting[index] ?? '');
  return hash.digest();
}
