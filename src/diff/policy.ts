import { type Count, minus, order, plus } from '../account/count.ts';
import { type Category, type Change, type ChangeCode, categoriesOf } from './change.ts';
import type { Comparison, RuleChange } from './compare.ts';
import { RULES, type Rule } from './side.ts';

/** An upper bound on a count: absolute, or on its growth since the first side. */
export type Budget =
  | { readonly text: string; readonly rule: Rule; readonly most: number }
  | { readonly text: string; readonly rule: Rule; readonly grow: number; readonly unit: 'percent' | 'count' };

export interface Policy {
  readonly budgets: readonly Budget[];
  readonly deny: readonly Category[];
  /** Layers whose weights and statistics may not change. */
  readonly frozen: readonly string[];
  /** What cannot be compared is a no. */
  readonly requireKnown: boolean;
}

/** One rule of the policy that does not hold. */
export type Breach =
  | { readonly code: 'budget'; readonly budget: Budget; readonly before: Count | null; readonly after: Count | null }
  | { readonly code: 'denied'; readonly category: Category; readonly changes: number }
  | { readonly code: 'frozen'; readonly glob: string; readonly layers: readonly string[] }
  | { readonly code: 'frozen_unknown'; readonly glob: string; readonly layers: readonly string[] }
  | { readonly code: 'unknown'; readonly names: readonly string[] };

/** `unknown`: no difference was found, and not everything could be read. */
export type Verdict = 'same' | 'differs' | 'breached' | 'unknown';

export interface Judged {
  readonly comparison: Comparison;
  readonly breaches: readonly Breach[];
  /** `differs` is a no unless the policy says what is. */
  readonly verdict: Verdict;
  /** Whether the status is 1. */
  readonly refused: boolean;
}

const UNITS: ReadonlyMap<string, number> = new Map([
  ['', 1],
  ['k', 1e3],
  ['m', 1e6],
  ['g', 1e9],
  ['b', 1e9],
  ['kb', 1024],
  ['mb', 1024 ** 2],
  ['gb', 1024 ** 3],
]);

/**
 * `+1%`, `+5000` (growth of the Keras total), `keras.total<=30M`, `torch.parameters+2%`, `bytes<=100MB`. K, M and G
 * (or B) are powers of 1000, KB, MB and GB of 1024; commas and underscores may part thousands. null: it is none of these.
 */
export function parseBudget(text: string): Budget | null {
  const found = /^([a-zA-Z.]*)(<=|\+)(\d+(?:\.\d+)?)(%|[a-zA-Z]{0,2})$/.exec(withoutGroups(text.replace(/\s/g, '')));
  if (found === null) return null;
  const [, name = '', sign = '', digits = '', unit = ''] = found;
  const rule = name === '' ? 'keras.total' : RULES.find((one) => one.toLowerCase() === name.toLowerCase());
  if (rule === undefined) return null;
  if (unit === '%') {
    return sign === '+' ? { text, rule, grow: Number(digits), unit: 'percent' } : null;
  }
  const factor = UNITS.get(unit.toLowerCase());
  if (factor === undefined || (name === '' && sign === '<=')) return null;
  const amount = amountOf(digits, factor);
  return sign === '+' ? { text, rule, grow: amount, unit: 'count' } : { text, rule, most: amount };
}

/** `30,000,000` as `30000000`; a comma that parts no thousands (a decimal one) stays, and is refused. */
function withoutGroups(text: string): string {
  return text.replace(/(?<![\d.,_])\d{1,3}(?:[,_]\d{3})+(?![\d,_])/g, (digits) => digits.replace(/[,_]/g, ''));
}

/** A decimal times a whole factor, rounded down: as doubles 2.01 times a million is one less than 2,010,000. */
function amountOf(digits: string, factor: number): number {
  const [whole = '', fraction = ''] = digits.split('.');
  return Number((BigInt(whole + fraction) * BigInt(factor)) / 10n ** BigInt(fraction.length));
}

function holds(budget: Budget, { a, b }: RuleChange): boolean {
  if (b === null) return false;
  if ('most' in budget) return order(b, budget.most) <= 0;
  if (a === null) return false;
  if (budget.unit === 'count') return order(b, plus(a, budget.grow)) <= 0;
  // In ten-thousandths of a percent, so that 1% of a large count is exact.
  const share = BigInt(Math.round(budget.grow * 1e6));
  return BigInt(minus(b, a)) * 100_000_000n <= BigInt(a) * share;
}

/** Changes of one layer's weights or statistics: what they hold, and whether they are there at all. */
const TOUCHING: ReadonlySet<ChangeCode> = new Set([
  'value',
  'hash',
  'swapped',
  'switched',
  'shape',
  'dtype',
  'kind',
  'tied',
  'tensor_added',
  'tensor_removed',
]);

function touchesFrozen(change: Change): boolean {
  // A layer without weights, such as a Dropout, may come and go.
  if (change.code === 'layer_added' || change.code === 'layer_removed') return change.tensors > 0;
  return TOUCHING.has(change.code);
}

/** `*` is any run of characters, `?` one. */
export function globMatcher(pattern: string): (text: string) => boolean {
  const source = [...pattern]
    .map((one) => (one === '*' ? '[\\s\\S]*' : one === '?' ? '[\\s\\S]' : one.replace(/[\\^$.|+(){}[\]]/, '\\$&')))
    .join('')
    .replace(/(?:\[\\s\\S\]\*)+/g, '[\\s\\S]*');
  const expression = new RegExp(`^${source}$`, 'u');
  return (text) => expression.test(text);
}

/**
 * Whether a layer, or a container that it stands in, fits. A translated layer has dots where Keras has slashes: a
 * pattern in Keras' words fits it too.
 */
export function fitsGlob(matches: (text: string) => boolean, path: string): boolean {
  return fitsPath(matches, path) || (path.includes('.') && fitsPath(matches, path.replaceAll('.', '/')));
}

function fitsPath(matches: (text: string) => boolean, path: string): boolean {
  if (matches(path)) return true;
  for (let at = path.length - 1; at > 0; at -= 1) {
    if ((path[at] === '/' || path[at] === '.') && matches(path.slice(0, at))) return true;
  }
  return false;
}

/** The other names of a layer by the one that changes have: its partner's, and the one before a translation. */
export type Aliases = ReadonlyMap<string, readonly string[]>;

function frozenBreaches(comparison: Comparison, glob: string, aliases: Aliases | undefined): readonly Breach[] {
  const matches = globMatcher(glob);
  const fits = (path: string | null): boolean =>
    path !== null && [path, ...(aliases?.get(path) ?? [])].some((name) => fitsGlob(matches, name));
  const layers = new Set<string>();
  for (const change of comparison.changes) {
    if (touchesFrozen(change) && (fits(change.at.a) || fits(change.at.b))) layers.add(change.at.a ?? change.at.b ?? '');
  }
  const unknown = comparison.notCompared
    .filter((one) => one.what === 'values')
    .flatMap((one) => one.layers)
    .filter((path) => fits(path));
  return [
    ...(layers.size === 0 ? [] : [{ code: 'frozen', glob, layers: [...layers] } as const]),
    ...(unknown.length === 0 ? [] : [{ code: 'frozen_unknown', glob, layers: [...new Set(unknown)] } as const]),
  ];
}

/** Categories that only reading the values can answer; of a BatchNorm the values are the most of it. */
export const VALUE_CATEGORIES: ReadonlySet<Category> = new Set(['values', 'statistics', 'counters', 'bn']);

/** A swap names its two tensors and not their class: a mean and a variance, or one of them with a weight. */
function belongsTo(change: Change, category: Category): boolean {
  if (categoriesOf(change).has(category)) return true;
  const isStatistic = (role: string): boolean => /(?:^|_)(?:mean|var|variance)$/.test(role);
  return category === 'statistics' && change.code === 'swapped' && change.roles.some(isStatistic);
}

/** Totals of one framework that differ although no layer does: one of the two sides is not what it says. */
function totalsDiffer(comparison: Comparison): boolean {
  if (comparison.across || comparison.changes.length > 0 || comparison.ignored > 0) return false;
  return comparison.rules.some(({ a, b }) => a !== null && b !== null && a !== b);
}

/**
 * What a policy says of a comparison. With a budget, a denial or frozen layers only their breach is a no; without any,
 * every difference is. `stale`: the first side is a record that must be current, so a difference is a no as well.
 */
export function judge(comparison: Comparison & { readonly aliases?: Aliases }, policy: Policy, stale = false): Judged {
  const breaches: Breach[] = [];
  for (const budget of policy.budgets) {
    const change = comparison.rules.find((one) => one.rule === budget.rule);
    if (change === undefined || !holds(budget, change)) {
      breaches.push({ code: 'budget', budget, before: change?.a ?? null, after: change?.b ?? null });
    }
  }
  for (const category of policy.deny) {
    const changes = comparison.changes.filter((change) => belongsTo(change, category)).length;
    if (changes > 0) breaches.push({ code: 'denied', category, changes });
  }
  for (const glob of policy.frozen) breaches.push(...frozenBreaches(comparison, glob, comparison.aliases));
  // Values that may not change and cannot be read are a no, as they are for frozen layers.
  const unread = policy.deny.some((category) => VALUE_CATEGORIES.has(category))
    ? comparison.notCompared.filter((one) => one.what === 'values')
    : [];
  const unknown = policy.requireKnown ? comparison.notCompared : unread;
  if (unknown.length > 0) breaches.push({ code: 'unknown', names: [...new Set(unknown.map((one) => one.name))] });
  const ruled = policy.budgets.length > 0 || policy.deny.length > 0 || policy.frozen.length > 0;
  const differs = comparison.changes.length > 0 || totalsDiffer(comparison);
  const refused = breaches.length > 0 || (differs && (stale || !ruled));
  const troubled = comparison.troubles.length > 0;
  const verdict = breaches.length > 0 ? 'breached' : differs ? 'differs' : troubled ? 'unknown' : 'same';
  return { comparison, breaches, verdict, refused };
}
