/** Names as words that can be compared: `block1_conv1`, `block1.conv1` and `Block1Conv1` are the same words. */

const SYNONYMS: readonly (readonly [RegExp, string])[] = [
  [/batch_?norm(?:ali[sz]ation)?(?:_?[123]d(?![a-z0-9]))?/g, 'bn'],
  [/layer_?norm(?:ali[sz]ation)?/g, 'ln'],
  [/group_?norm(?:ali[sz]ation)?/g, 'gn'],
  [/conv(?:olution)?_?[123]d(?![a-z0-9])/g, 'conv'],
  [/(?<![a-z])(?:fc|linear)(?![a-z])/g, 'dense'],
  [/(?<![a-z])(?:embeddings?|embed|emb)(?![a-z])/g, 'embedding'],
];

/** Words that say what kind of thing a layer is, not which one. */
const GENERIC: ReadonlySet<string> = new Set(
  'bn ln gn conv dense embedding norm lstm gru rnn layer layers model module modules net features depthwise pointwise cell'.split(
    ' ',
  ),
);

/** Words and numbers of a name, in order, in lower case. */
export function wordsOf(name: string): readonly string[] {
  let text = name.replace(/([a-z])([A-Z])/g, '$1_$2').toLowerCase();
  for (const [pattern, word] of SYNONYMS) text = text.replace(pattern, word);
  return text.match(/[a-z]+|[0-9]+|[^a-z0-9\s._/-]+/g) ?? [];
}

/** `Conv2D` → `conv2d`, `BatchNormalization` → `batch_normalization`: what Keras calls layers by itself. */
function automaticBase(type: string): string {
  return type
    .replace(/([^_])([A-Z][a-z]+)/g, '$1_$2')
    .replace(/([a-z])([A-Z])/g, '$1_$2')
    .toLowerCase();
}

/** Whether the name is one that Keras gave: its number says how many layers the session had made before. */
export function isAutomatic(name: string, type: string): boolean {
  const own = name.split('/').at(-1) ?? name;
  const base = automaticBase(type);
  return own === base || (own.startsWith(`${base}_`) && /^\d+$/.test(own.slice(base.length + 1)));
}

export function isNumber(word: string): boolean {
  return /^\d+$/.test(word);
}

/** Words that tell layers of one kind apart. */
export function tellingWords(words: readonly string[]): readonly string[] {
  return words.filter((word) => !GENERIC.has(word));
}

/** Whether one sequence of words lies within the other in order. */
export function contains(a: readonly string[], b: readonly string[]): boolean {
  const [short, long] = a.length <= b.length ? [a, b] : [b, a];
  let at = 0;
  for (const word of long) if (word === short[at]) at += 1;
  return at === short.length;
}

/** Share of common words, numbers left out: 0 to 1. */
export function similarity(a: readonly string[], b: readonly string[]): number {
  const left = new Set(tellingWords(a).filter((word) => !isNumber(word)));
  const right = new Set(tellingWords(b).filter((word) => !isNumber(word)));
  const all = new Set([...left, ...right]);
  if (all.size === 0) return 0;
  return [...left].filter((word) => right.has(word)).length / all.size;
}

/** The words with every number as `#`: equal for names that are only counted through. */
export function patternOf(words: readonly string[]): string {
  return words.map((word) => (isNumber(word) ? '#' : word)).join(' ');
}

/** Order of two names of one pattern by their numbers. */
export function compareNumbers(a: readonly string[], b: readonly string[]): number {
  for (const [at, word] of a.entries()) {
    const other = b[at] ?? '';
    if (!isNumber(word) || word === other) continue;
    return BigInt(word) < BigInt(other) ? -1 : 1;
  }
  return 0;
}
