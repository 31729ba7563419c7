import { identifierOf, NameSet, RESERVED_LOCALS } from '../names.ts';
import type { Port, Ref, Statement } from './lowered.ts';

/** A forward whose values still have tokens for names. */
export interface Unnamed {
  readonly statements: Statement[];
  /** Token to the name that its value would like. */
  readonly hints: ReadonlyMap<string, string>;
  /** Tokens of values that are not called `x`. */
  readonly kept: ReadonlySet<string>;
}

const TOKEN = /\u27e6\d+\u27e7/g;

/**
 * Gives every value a name: `x` where it is used once, by the very next statement; else a name from its layer.
 */
export function nameValues(
  draft: Unnamed,
  helpers: ReadonlySet<string>,
  inputs: readonly Port[],
  inputTokens: readonly string[],
  returned: readonly Ref[],
): { inputs: Port[]; statements: Statement[]; returns: string[] } {
  dropUnused(draft, returned);
  const uses = new Map<string, number[]>();
  const use = (token: string, at: number): void => {
    const list = uses.get(token);
    if (list === undefined) uses.set(token, [at]);
    else list.push(at);
  };
  for (const [index, statement] of draft.statements.entries()) {
    for (const [token] of statement.expr.matchAll(TOKEN)) use(token, index);
  }
  const end = draft.statements.length;
  for (const ref of returned) use(ref.name, end);
  const names = new Map<string, string>();
  const taken = new NameSet(['x', ...RESERVED_LOCALS, ...helpers]);
  const isNext = (token: string, at: number): boolean => (uses.get(token) ?? []).every((where) => where === at + 1);
  for (const [index, token] of inputTokens.entries()) {
    const chained = inputTokens.length === 1 && isNext(token, -1);
    const hint = inputs[index]?.name ?? 'x';
    names.set(token, chained ? 'x' : taken.take(hint === 'x' ? 'inputs' : identifierOf(hint)));
  }
  for (const [index, { targets }] of draft.statements.entries()) {
    for (const token of targets) {
      if (!uses.has(token)) {
        names.set(token, '_');
        continue;
      }
      const chained = targets.length === 1 && isNext(token, index) && !draft.kept.has(token);
      names.set(token, chained ? 'x' : taken.take(draft.hints.get(token) ?? 'value'));
    }
  }
  const rename = (text: string): string => text.replace(TOKEN, (token) => names.get(token) ?? token);
  return {
    inputs: inputs.map((port, index) => ({ ...port, name: names.get(inputTokens[index] ?? '') ?? port.name })),
    statements: draft.statements.map((statement) => ({
      ...statement,
      targets: statement.targets.map(rename),
      expr: rename(statement.expr),
      ...(statement.shown === undefined ? {} : { shown: rename(statement.shown) }),
    })),
    returns: returned.map((ref) => rename(ref.name)),
  };
}

/** Statements whose results nobody takes say nothing; what they took may then be unused too. */
function dropUnused(draft: Unnamed, returned: readonly Ref[]): void {
  const wanted = new Set(returned.map((ref) => ref.name));
  for (let at = draft.statements.length - 1; at >= 0; at -= 1) {
    const statement = draft.statements[at];
    if (statement === undefined) continue;
    if (!statement.targets.some((token) => wanted.has(token))) {
      draft.statements.splice(at, 1);
      continue;
    }
    for (const [token] of statement.expr.matchAll(TOKEN)) wanted.add(token);
  }
}
