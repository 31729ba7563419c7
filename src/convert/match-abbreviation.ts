/** Names that say the same in fewer letters: `q_proj` and `query`, `enc` and `encoder`, `attn` and `attention`. */
import { isNumber, tellingWords } from './match-name.ts';

/** Letters that attention writes for its parts, also where other words stand beside them. */
const LETTERS: ReadonlyMap<string, readonly string[]> = new Map([
  ['q', ['query', 'queries']],
  ['k', ['key', 'keys']],
  ['v', ['value', 'values']],
  ['o', ['out', 'output']],
]);

/** More pairs of different names than this are not compared. */
const MOST_PAIRS = 1_000_000;

/** The words of each name that neither stand for a kind of layer nor in all the names; numbers left out. */
export function labelsOf(names: readonly (readonly string[])[]): readonly (readonly string[])[] {
  const counts = new Map<string, number>();
  const labels = names.map((words) => [...new Set(tellingWords(words).filter((word) => !isNumber(word)))]);
  for (const label of labels) for (const word of label) counts.set(word, (counts.get(word) ?? 0) + 1);
  return labels.map((label) => label.filter((word) => counts.get(word) !== names.length));
}

/** 3: the same word; 2: surely short for the other; 1: it begins like the other; 0: another word. */
function wordLikeness(a: string, b: string, isAlone: boolean): number {
  if (a === b) return 3;
  const [short, long] = a.length < b.length ? [a, b] : [b, a];
  if (short.length === 1) {
    if (LETTERS.get(short)?.includes(long) === true) return 2;
    return isAlone && long.startsWith(short) ? 1 : 0;
  }
  if (long.startsWith(short)) return short.length > 2 ? 2 : 1;
  // Without the vowels: attn, img, src, tgt.
  return short.length > 2 && !/[aeiou]/.test(short.slice(1)) && short[0] === long[0] && isWithin(short, long) ? 2 : 0;
}

/** Whether the letters of one word stand in the other in order. */
function isWithin(short: string, long: string): boolean {
  let at = 0;
  for (const letter of long) if (letter === short[at]) at += 1;
  return at === short.length;
}

/** How much two labels speak for each other; 0: not at all. */
export function likeness(a: readonly string[], b: readonly string[]): number {
  const [few, many] = a.length <= b.length ? [a, b] : [b, a];
  const isAlone = few.length === 1 && many.length === 1;
  return few.reduce((sum, word) => sum + Math.max(...many.map((other) => wordLikeness(word, other, isAlone))), 0);
}

export interface Labelled<T> {
  readonly item: T;
  readonly label: readonly string[];
}

export interface Part<L, R> {
  readonly ours: readonly L[];
  readonly theirs: readonly R[];
  /** Whether its names belong together; at most one part is what is left. */
  readonly isNamed: boolean;
}

interface Same<T> {
  readonly label: readonly string[];
  readonly items: T[];
}

function byLabel<T>(labelled: readonly Labelled<T>[]): readonly Same<T>[] {
  const found = new Map<string, Same<T>>();
  for (const { item, label } of labelled) {
    const key = [...label].sort().join(' ');
    const same = found.get(key) ?? { label, items: [] };
    same.items.push(item);
    found.set(key, same);
  }
  return [...found.values()];
}

/**
 * Parts of equally many modules whose names speak for each other more than for any other's. What has no such
 * counterpart stays together.
 */
export function partsByLabel<L, R>(
  ours: readonly Labelled<L>[],
  theirs: readonly Labelled<R>[],
): readonly Part<L, R>[] {
  const left = byLabel(ours);
  const right = byLabel(theirs);
  const whole = { ours: ours.map(({ item }) => item), theirs: theirs.map(({ item }) => item), isNamed: false };
  if (left.length * right.length > MOST_PAIRS) return [whole];
  const table = left.map((one) => right.map((other) => likeness(one.label, other.label)));
  const bestOfRow = table.map((row) => Math.max(...row));
  const bestOfColumn = right.map((_, column) => Math.max(...table.map((row) => row[column] ?? 0)));
  const fits = (row: number, column: number): boolean => {
    const value = table[row]?.[column] ?? 0;
    return value > 0 && value === bestOfRow[row] && value === bestOfColumn[column];
  };
  const parts: Part<L, R>[] = [];
  const done = new Set<unknown>();
  for (const [row, one] of left.entries()) {
    const columns = right.flatMap((_, column) => (fits(row, column) ? [column] : []));
    const [column = -1] = columns;
    const other = right[column];
    if (columns.length !== 1 || other === undefined || other.items.length !== one.items.length) continue;
    if (left.some((_, another) => another !== row && fits(another, column))) continue;
    parts.push({ ours: one.items, theirs: other.items, isNamed: true });
    for (const item of [...one.items, ...other.items]) done.add(item);
  }
  const rest = {
    ours: whole.ours.filter((item) => !done.has(item)),
    theirs: whole.theirs.filter((item) => !done.has(item)),
    isNamed: false,
  };
  return rest.ours.length === 0 ? parts : [...parts, rest];
}

/** The first pair, and whom one of the two is more like. */
export interface Objection<L, R> {
  readonly ours: L;
  readonly theirs: R;
  readonly rather: R;
}

/** Whether a name speaks for another module than the one in its place. */
export function objection<L, R>(ours: readonly Labelled<L>[], theirs: readonly Labelled<R>[]): Objection<L, R> | null {
  const known = new Map<string, number>();
  const between = (one: Labelled<L> | undefined, other: Labelled<R> | undefined): number => {
    if (one === undefined || other === undefined || one.label.length === 0 || other.label.length === 0) return 0;
    const key = `${one.label.join(' ')}\0${other.label.join(' ')}`;
    const before = known.get(key);
    if (before !== undefined) return before;
    const value = likeness(one.label, other.label);
    known.set(key, value);
    return value;
  };
  const labels = new Map(theirs.map((one) => [one.label.join(' '), one]));
  const reverse = new Map(ours.map((one) => [one.label.join(' '), one]));
  if (labels.size * reverse.size > MOST_PAIRS) return null;
  for (const [at, one] of ours.entries()) {
    const placed = theirs[at];
    if (placed === undefined) continue;
    const now = between(one, placed);
    for (const other of labels.values()) {
      if (between(one, other) > now) return { ours: one.item, theirs: placed.item, rather: other.item };
    }
    for (const other of reverse.values()) {
      if (between(other, placed) <= now) continue;
      const index = ours.indexOf(other);
      return { ours: other.item, theirs: theirs[index]?.item ?? placed.item, rather: placed.item };
    }
  }
  return null;
}
