import { alignEqual } from './align.ts';
import { formatFact } from './fact.ts';
import type { Side, SideLayer } from './side.ts';

export type PairedBy = 'path' | 'number' | 'content' | 'signature' | 'order' | 'name';

export interface LayerPair {
  readonly a: SideLayer;
  readonly b: SideLayer;
  readonly by: PairedBy;
}

export interface Pairing {
  /** In the order of the first side. */
  readonly pairs: readonly LayerPair[];
  readonly removed: readonly SideLayer[];
  readonly added: readonly SideLayer[];
  /** Layers of the first side whose partner was chosen by order alone among several that fit. */
  readonly ambiguous: readonly SideLayer[];
}

/** A layer's content as one word, or null where its values are not at hand. */
export type ContentOf = (layer: SideLayer) => Promise<string | null>;

const noContent: ContentOf = () => Promise.resolve(null);

type Children = ReadonlyMap<string | null, readonly SideLayer[]>;

function childrenOf(layers: readonly SideLayer[]): Children {
  const paths = new Set(layers.map((layer) => layer.path));
  const children = new Map<string | null, SideLayer[]>();
  for (const layer of layers) {
    const parent =
      layer.parent !== null && layer.parent !== layer.path && paths.has(layer.parent) ? layer.parent : null;
    const list = children.get(parent);
    if (list) list.push(layer);
    else children.set(parent, [layer]);
  }
  return children;
}

/** What a layer is: kind and tensors; `strict` adds its hyper-parameters. Containers are what they hold. */
function signaturesOf(side: Side, children: Children, strict: boolean): ReadonlyMap<SideLayer, string> {
  const found = new Map<SideLayer, string>();
  const order: SideLayer[] = [...(children.get(null) ?? [])];
  for (let index = 0; index < order.length; index += 1) {
    const layer = order[index];
    if (layer !== undefined) order.push(...(children.get(layer.path) ?? []));
  }
  for (const layer of order.reverse()) {
    const tensors = layer.weights.map((weight) => `${weight.role}:${weight.shape.join('x')}`);
    if (side.dialect !== 'keras') tensors.sort();
    const below = (children.get(layer.path) ?? []).map((child) => found.get(child) ?? '');
    const facts = strict ? formatFact(layer.facts) : '';
    found.set(layer, `${layer.kind} ${tensors.join(' ')} ${facts} [${below.join(';')}]`);
  }
  return found;
}

/**
 * Pairs the layers of two sides of one dialect: by path; layers with automatic numbers or places in a list by the
 * longest common sequence; what is left by content, then by signature in order, which are renames and moves.
 */
export async function pairLayers(a: Side, b: Side, content: ContentOf = noContent): Promise<Pairing> {
  const childrenA = childrenOf(a.layers);
  const childrenB = childrenOf(b.layers);
  const search: Search = {
    sideA: a,
    sideB: b,
    content,
    childrenA,
    childrenB,
    strict: new Map([...signaturesOf(a, childrenA, true), ...signaturesOf(b, childrenB, true)]),
    loose: new Map([...signaturesOf(a, childrenA, false), ...signaturesOf(b, childrenB, false)]),
    partner: new Map(),
    taken: new Set(),
    ambiguous: new Set(),
  };
  await pairTree(search);
  return resultOf(search);
}

/** One pairing in the making. */
interface Search {
  readonly sideA: Side;
  readonly sideB: Side;
  readonly content: ContentOf;
  readonly childrenA: Children;
  readonly childrenB: Children;
  readonly strict: ReadonlyMap<SideLayer, string>;
  readonly loose: ReadonlyMap<SideLayer, string>;
  readonly partner: Map<SideLayer, { readonly b: SideLayer; readonly by: PairedBy }>;
  readonly taken: Set<SideLayer>;
  readonly ambiguous: Set<SideLayer>;
}

async function pairTree(search: Search): Promise<void> {
  const waiting: (readonly [string | null, string | null])[] = [[null, null]];
  for (let index = 0; index < waiting.length; index += 1) {
    const [parentA, parentB] = waiting[index] ?? [null, null];
    const left = search.childrenA.get(parentA) ?? [];
    const right = search.childrenB.get(parentB) ?? [];
    await pairSiblings(search, left, right);
    for (const layer of left) {
      const partner = search.partner.get(layer)?.b;
      if (partner !== undefined) waiting.push([layer.path, partner.path]);
    }
  }
  await pairAcross(search);
}

function resultOf(search: Search): Pairing {
  const pairs: LayerPair[] = [];
  for (const layer of search.sideA.layers) {
    const partner = search.partner.get(layer);
    if (partner !== undefined) pairs.push({ a: layer, b: partner.b, by: partner.by });
  }
  return {
    pairs,
    removed: search.sideA.layers.filter((layer) => !search.partner.has(layer)),
    added: search.sideB.layers.filter((layer) => !search.taken.has(layer)),
    ambiguous: [...search.ambiguous],
  };
}

function join(search: Search, a: SideLayer, b: SideLayer, by: PairedBy): void {
  search.partner.set(a, { b, by });
  search.taken.add(b);
}

function openA(search: Search, layers: readonly SideLayer[]): readonly SideLayer[] {
  return layers.filter((layer) => !search.partner.has(layer));
}

function openB(search: Search, layers: readonly SideLayer[]): readonly SideLayer[] {
  return layers.filter((layer) => !search.taken.has(layer));
}

async function pairSiblings(search: Search, left: readonly SideLayer[], right: readonly SideLayer[]): Promise<void> {
  const named = new Map(right.filter((layer) => layer.name.base === null).map((layer) => [layer.name.leaf, layer]));
  for (const layer of left) {
    const found = layer.name.base === null ? named.get(layer.name.leaf) : undefined;
    if (found !== undefined) join(search, layer, found, 'path');
  }
  pairNumbered(search, left, right);
  await pairRenamed(search, openA(search, left), openB(search, right), true);
}

/** Automatic numbers of one base, or places of one list, in the order of their numbers. */
function pairNumbered(search: Search, left: readonly SideLayer[], right: readonly SideLayer[]): void {
  const groups = (layers: readonly SideLayer[]): Map<string, SideLayer[]> => {
    const found = new Map<string, SideLayer[]>();
    for (const layer of layers) {
      if (layer.name.base === null) continue;
      const list = found.get(layer.name.base);
      if (list) list.push(layer);
      else found.set(layer.name.base, [layer]);
    }
    for (const list of found.values()) list.sort((one, other) => one.name.number - other.name.number);
    return found;
  };
  const ours = groups(left);
  const theirs = groups(right);
  for (const [base, list] of ours) {
    const others = theirs.get(base) ?? [];
    if (base === '#') {
      const places = new Map(others.map((layer) => [layer.name.number, layer]));
      const sameNumbers = list.length === others.length && list.every((layer) => places.has(layer.name.number));
      if (sameNumbers) {
        for (const layer of list) {
          const other = places.get(layer.name.number);
          if (other !== undefined) join(search, layer, other, 'path');
        }
        continue;
      }
    }
    pairSequence(search, list, others);
  }
}

function pairSequence(search: Search, left: readonly SideLayer[], right: readonly SideLayer[]): void {
  if (left.length === right.length && left.every((layer, index) => layer.kind === right[index]?.kind)) {
    const exact = alignEqual(keysOf(left, search.strict), keysOf(right, search.strict));
    // As many of each, in one order: the n-th is the n-th unless an alignment that is not in step explains more.
    const inStep = left.filter((layer, index) => search.strict.get(layer) === keyOf(search, right[index])).length;
    if (inStep >= exact.length) {
      for (const [index, layer] of left.entries()) {
        const other = right[index];
        if (other !== undefined) join(search, layer, other, 'number');
      }
      return;
    }
  }
  for (const signature of [search.strict, search.loose]) {
    for (const gap of gapsOf(search, left, right)) {
      for (const [i, j] of alignEqual(keysOf(gap.left, signature), keysOf(gap.right, signature))) {
        const one = gap.left[i];
        const other = gap.right[j];
        if (one !== undefined && other !== undefined) join(search, one, other, 'number');
      }
    }
  }
  // Between two pairs, as many of one kind on both sides belong together: they changed.
  for (const gap of gapsOf(search, left, right)) {
    if (gap.left.length !== gap.right.length) continue;
    for (const [index, layer] of gap.left.entries()) {
      const other = gap.right[index];
      if (other !== undefined && other.kind === layer.kind) join(search, layer, other, 'number');
    }
  }
}

interface Gap {
  readonly left: readonly SideLayer[];
  readonly right: readonly SideLayer[];
}

/** What lies unpaired between the pairs of two sequences, whose pairs are in one order. */
function gapsOf(search: Search, left: readonly SideLayer[], right: readonly SideLayer[]): readonly Gap[] {
  const places = new Map(right.map((layer, index) => [layer, index]));
  const gaps: Gap[] = [];
  let from = 0;
  let open: SideLayer[] = [];
  const close = (until: number): void => {
    const others = openB(search, right.slice(from, until));
    if (open.length > 0 && others.length > 0) gaps.push({ left: open, right: others });
    open = [];
  };
  for (const layer of left) {
    const partner = search.partner.get(layer)?.b;
    const place = partner === undefined ? undefined : places.get(partner);
    if (place === undefined) {
      open.push(layer);
      continue;
    }
    close(place);
    from = place + 1;
  }
  close(right.length);
  return gaps;
}

function keyOf(search: Search, layer: SideLayer | undefined): string | undefined {
  return layer === undefined ? undefined : search.strict.get(layer);
}

function keysOf(layers: readonly SideLayer[], signature: ReadonlyMap<SideLayer, string>): readonly string[] {
  return layers.map((layer) => signature.get(layer) ?? '');
}

/** What has another name: by content, by signature in order, then by signature without hyper-parameters. */
async function pairRenamed(
  search: Search,
  left: readonly SideLayer[],
  right: readonly SideLayer[],
  siblings: boolean,
): Promise<void> {
  if (left.length === 0 || right.length === 0) return;
  await pairByContent(search, left, right);
  const by: PairedBy = siblings ? 'signature' : 'order';
  for (const signature of [search.strict, search.loose]) {
    const openLeft = openA(search, left).filter((layer) => mayMatch(layer, siblings));
    const openRight = openB(search, right).filter((layer) => mayMatch(layer, siblings));
    const pairs = alignEqual(keysOf(openLeft, signature), keysOf(openRight, signature));
    const mine = countKeys(openLeft, signature);
    const theirs = countKeys(openRight, signature);
    for (const [i, j] of pairs) {
      const one = openLeft[i];
      const other = openRight[j];
      if (one === undefined || other === undefined) continue;
      const key = signature.get(one) ?? '';
      if (mine.get(key) !== theirs.get(key)) search.ambiguous.add(one);
      join(search, one, other, by);
    }
    // Out of order, but the only one of its signature on each side.
    pairUnique(search, openA(search, openLeft), openB(search, openRight), signature, by);
  }
}

function countKeys(
  layers: readonly SideLayer[],
  signature: ReadonlyMap<SideLayer, string>,
): ReadonlyMap<string, number> {
  const counts = new Map<string, number>();
  for (const key of keysOf(layers, signature)) counts.set(key, (counts.get(key) ?? 0) + 1);
  return counts;
}

/** A layer without tensors has too little to be known by in another place. */
function mayMatch(layer: SideLayer, siblings: boolean): boolean {
  return siblings || layer.weights.length > 0;
}

function pairUnique(
  search: Search,
  left: readonly SideLayer[],
  right: readonly SideLayer[],
  signature: ReadonlyMap<SideLayer, string>,
  by: PairedBy,
): void {
  const count = (layers: readonly SideLayer[]): Map<string, SideLayer[]> => {
    const found = new Map<string, SideLayer[]>();
    for (const layer of layers) {
      const key = signature.get(layer) ?? '';
      const list = found.get(key);
      if (list) list.push(layer);
      else found.set(key, [layer]);
    }
    return found;
  };
  const theirs = count(right);
  for (const [key, list] of count(left)) {
    const [one, ...more] = list;
    const [other, ...others] = theirs.get(key) ?? [];
    if (one !== undefined && other !== undefined && more.length === 0 && others.length === 0)
      join(search, one, other, by);
  }
}

async function pairByContent(search: Search, left: readonly SideLayer[], right: readonly SideLayer[]): Promise<void> {
  const wanted = new Set(right.map((layer) => search.loose.get(layer)));
  const candidates = left.filter((layer) => layer.weights.length > 0 && wanted.has(search.loose.get(layer)));
  if (candidates.length === 0) return;
  const byContent = new Map<string, SideLayer[]>();
  for (const layer of right) {
    if (layer.weights.length === 0) continue;
    const word = await search.content(layer);
    if (word === null) return;
    const list = byContent.get(word);
    if (list) list.push(layer);
    else byContent.set(word, [layer]);
  }
  for (const layer of candidates) {
    const word = await search.content(layer);
    const list = word === null ? undefined : byContent.get(word);
    const found = list?.find((other) => !search.taken.has(other) && other.kind === layer.kind);
    if (found !== undefined) join(search, layer, found, 'content');
  }
}

/** Layers that stand under another parent now. */
async function pairAcross(search: Search): Promise<void> {
  const left = openA(search, search.sideA.layers);
  const right = openB(search, search.sideB.layers);
  const byName = new Map<string, SideLayer[]>();
  for (const layer of right) {
    const key = `${layer.name.leaf} ${search.loose.get(layer) ?? ''}`;
    const list = byName.get(key);
    if (list) list.push(layer);
    else byName.set(key, [layer]);
  }
  for (const layer of left) {
    const [found, ...more] = (byName.get(`${layer.name.leaf} ${search.loose.get(layer) ?? ''}`) ?? []).filter(
      (other) => !search.taken.has(other),
    );
    if (found !== undefined && more.length === 0) join(search, layer, found, 'name');
  }
  await pairRenamed(search, openA(search, left), openB(search, right), false);
}
