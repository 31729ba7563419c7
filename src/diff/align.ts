/** Above this many cells the alignment is greedy: its memory and time are bounded. */
const CELLS = 16_000_000;

/**
 * Pairs of equal keys in both orders, as many as can be (longest common subsequence): indices into both lists,
 * ascending in both.
 */
export function alignEqual(a: readonly string[], b: readonly string[]): readonly (readonly [number, number])[] {
  const pairs: (readonly [number, number])[] = [];
  let start = 0;
  while (start < a.length && start < b.length && a[start] === b[start]) {
    pairs.push([start, start]);
    start += 1;
  }
  let endA = a.length;
  let endB = b.length;
  const tail: (readonly [number, number])[] = [];
  while (endA > start && endB > start && a[endA - 1] === b[endB - 1]) {
    endA -= 1;
    endB -= 1;
    tail.push([endA, endB]);
  }
  const rows = endA - start;
  const columns = endB - start;
  if (rows > 0 && columns > 0) {
    const middle =
      rows * columns > CELLS
        ? greedy(a.slice(start, endA), b.slice(start, endB))
        : longest(a.slice(start, endA), b.slice(start, endB));
    pairs.push(...middle.map(([i, j]) => [i + start, j + start] as const));
  }
  return [...pairs, ...tail.reverse()];
}

function longest(a: readonly string[], b: readonly string[]): readonly (readonly [number, number])[] {
  const width = b.length + 1;
  const lengths = new Uint32Array((a.length + 1) * width);
  for (let i = a.length - 1; i >= 0; i -= 1) {
    for (let j = b.length - 1; j >= 0; j -= 1) {
      lengths[i * width + j] =
        a[i] === b[j]
          ? (lengths[(i + 1) * width + j + 1] ?? 0) + 1
          : Math.max(lengths[(i + 1) * width + j] ?? 0, lengths[i * width + j + 1] ?? 0);
    }
  }
  const pairs: (readonly [number, number])[] = [];
  let i = 0;
  let j = 0;
  while (i < a.length && j < b.length) {
    if (a[i] === b[j]) {
      pairs.push([i, j]);
      i += 1;
      j += 1;
    } else if ((lengths[(i + 1) * width + j] ?? 0) >= (lengths[i * width + j + 1] ?? 0)) i += 1;
    else j += 1;
  }
  return pairs;
}

function greedy(a: readonly string[], b: readonly string[]): readonly (readonly [number, number])[] {
  const places = new Map<string, number[]>();
  for (const [index, key] of b.entries()) {
    const list = places.get(key);
    if (list) list.push(index);
    else places.set(key, [index]);
  }
  const cursors = new Map<string, number>();
  const pairs: (readonly [number, number])[] = [];
  let last = -1;
  for (const [index, key] of a.entries()) {
    const list = places.get(key) ?? [];
    let at = cursors.get(key) ?? 0;
    while (at < list.length && (list[at] ?? 0) <= last) at += 1;
    const found = list[at];
    cursors.set(key, at);
    if (found === undefined) continue;
    pairs.push([index, found]);
    last = found;
  }
  return pairs;
}

/** Indices of a longest increasing subsequence: what keeps its place when a list is put into another order. */
export function keptInOrder(order: readonly number[]): ReadonlySet<number> {
  const tails: number[] = [];
  const before: number[] = [];
  for (const [index, value] of order.entries()) {
    let low = 0;
    let high = tails.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((order[tails[middle] ?? 0] ?? 0) < value) low = middle + 1;
      else high = middle;
    }
    before[index] = low === 0 ? -1 : (tails[low - 1] ?? -1);
    tails[low] = index;
  }
  const kept = new Set<number>();
  for (let at = tails.at(-1) ?? -1; at >= 0; at = before[at] ?? -1) kept.add(at);
  return kept;
}
