import type { SideLayer } from './side.ts';

/** A layer, the one it is paired with, and the one that holds the same. */
type Placed = readonly [SideLayer, SideLayer, SideLayer];

export interface Placing {
  readonly pairs: readonly Placed[];
  /** Layers that stand in another order, where neither names nor places say whether they should. */
  readonly unsure: readonly SideLayer[];
}

interface Words {
  readonly letters: ReadonlySet<string>;
  readonly all: ReadonlySet<string>;
  /** The name without its numbers: those of one list or one family of names have it in common. */
  readonly skeleton: string;
  /** The name without the number that Keras gives. */
  readonly stem: string;
  readonly depth: number;
}

function wordsOf(path: string): Words {
  const words = path.toLowerCase().match(/[a-z]+|\d+/g) ?? [];
  return {
    letters: new Set(words.filter((word) => !/^\d/.test(word))),
    all: new Set(words),
    skeleton: path.replace(/\d+/g, '#'),
    stem: path.replace(/_\d+$/, ''),
    depth: path.split(/[./]/).length,
  };
}

function shared(one: ReadonlySet<string>, other: ReadonlySet<string>): number {
  let count = 0;
  for (const word of one) if (other.has(word)) count += 1;
  return count;
}

/** Names in the order of their letters and of the numbers in them: 2 before 10. */
export function byNumbers(one: string, other: string): number {
  const [a, b] = [one, other].map((path) => path.match(/\d+|\D+/g) ?? []);
  for (let index = 0; index < Math.min(a?.length ?? 0, b?.length ?? 0); index += 1) {
    const [left = '', right = ''] = [a?.[index], b?.[index]];
    if (left === right) continue;
    const gap = Number(left) - Number(right);
    return Number.isNaN(gap) || gap === 0 ? (left < right ? -1 : 1) : gap;
  }
  return (a?.length ?? 0) - (b?.length ?? 0);
}

/** Of more layers of one shape the names are not held against each other: that grows with the square. */
const MOST = 1_000;

/**
 * Holds pairs of equal content, all of one kind and shape, against the names and the order of the second file. Weights
 * that sit in each other's place have equal content too, so content that contradicts both is no pairing. `isOrdered`
 * false: the file's order says nothing, only the numbers in names of one family do.
 */
export function contradicted(
  content: readonly (readonly [SideLayer, SideLayer])[],
  placeOf: (layer: SideLayer) => number,
  isOrdered: boolean = true,
): Placing {
  const words = new Map<SideLayer, Words>();
  const of = (layer: SideLayer): Words => {
    const known = words.get(layer);
    if (known !== undefined) return known;
    const made = wordsOf(layer.path);
    words.set(layer, made);
    return made;
  };
  const wrong = new Set<number>();
  const unsure = new Set<number>();
  const inOrder = content.every(([, other], index) => {
    const before = content[index - 1];
    return before === undefined || placeOf(before[1]) < placeOf(other);
  });
  const many = content.length > MOST;
  for (let i = 0; i < content.length && !(many && inOrder); i += 1) {
    for (let j = i + 1; j < content.length; j += 1) {
      const [one, other] = [content[i], content[j]];
      if (one === undefined || other === undefined) continue;
      const [x, y] = [of(one[1]), of(other[1])];
      const said = judgePair(of(one[0]), of(other[0]), x, y, placeOf(one[1]) > placeOf(other[1]));
      const answer = said.because === 'order' && !isOrdered && x.skeleton !== y.skeleton ? 'unsure' : said.answer;
      const into = answer === 'wrong' ? wrong : answer === 'unsure' ? unsure : undefined;
      into?.add(i).add(j);
    }
  }
  const places = placeAgain(
    content.filter((_, index) => wrong.has(index)),
    of,
    placeOf,
  );
  return {
    pairs: content.map(([one, other]): Placed => [one, places.get(one) ?? other, other]),
    unsure: content.flatMap(([one], index) => (unsure.has(index) && !wrong.has(index) ? [one] : [])),
  };
}

interface Judgement {
  readonly answer: 'right' | 'wrong' | 'unsure';
  readonly because: 'names' | 'order';
}

const RIGHT: Judgement = { answer: 'right', because: 'names' };

/** What names and order say of two layers a, b whose content is that of x, y; `inverted`: y stands before x. */
function judgePair(a: Words, b: Words, x: Words, y: Words, inverted: boolean): Judgement {
  const straight = shared(a.letters, x.letters) + shared(b.letters, y.letters);
  const crossed = shared(a.letters, y.letters) + shared(b.letters, x.letters);
  // Each of the two has more in common with the other's partner: mu with fc_mu, logvar with fc_logvar.
  const named =
    shared(a.letters, y.letters) > shared(a.letters, x.letters) &&
    shared(b.letters, x.letters) > shared(b.letters, y.letters);
  if (named) return { answer: 'wrong', because: 'names' };
  if (!inverted || straight > crossed) return RIGHT;
  // Numbers of one list count from 0 here and from 1 there, and those of Keras are nobody's choice.
  const counted = (a.skeleton === b.skeleton && x.skeleton === y.skeleton) || a.stem === b.stem;
  if (!counted && straight === crossed) {
    const withNumbers = shared(a.all, x.all) + shared(b.all, y.all);
    if (withNumbers > shared(a.all, y.all) + shared(b.all, x.all)) return RIGHT;
  }
  // A branch inside a block, such as a shortcut, is listed before or behind what it runs beside.
  return { answer: x.depth === y.depth ? 'wrong' : 'unsure', because: 'order' };
}

/** Pairs anew what content paired wrongly: the most words in common first, then in the order of both files. */
function placeAgain(
  pairs: readonly (readonly [SideLayer, SideLayer])[],
  of: (layer: SideLayer) => Words,
  placeOf: (layer: SideLayer) => number,
): ReadonlyMap<SideLayer, SideLayer> {
  const left = pairs.map(([one]) => one);
  const right = pairs.map(([, other]) => other).toSorted((one, other) => placeOf(one) - placeOf(other));
  const found = new Map<SideLayer, SideLayer>();
  const taken = new Set<SideLayer>();
  const most = left.length > MOST ? 0 : Math.max(0, ...left.map((layer) => of(layer).letters.size));
  for (let score = most; score >= 0; score -= 1) {
    for (const one of left) {
      if (found.has(one)) continue;
      const other = right.find(
        (layer) => !taken.has(layer) && (score === 0 || shared(of(one).letters, of(layer).letters) === score),
      );
      if (other === undefined) continue;
      found.set(one, other);
      taken.add(other);
    }
  }
  return found;
}
