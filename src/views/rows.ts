import type { Count } from '../account/count.ts';
import { order } from '../account/count.ts';
import type { Summary, SummaryLayer } from '../account/summary.ts';
import { layerTree } from '../ir/layer-index.ts';
import type { SortKey, ViewOptions } from './view.ts';

/** A layer as a row: how deep it stands, and whether it is a container's own share. */
export interface Row {
  readonly layer: SummaryLayer;
  readonly level: number;
  /** A container's own tensors, on a line below its sum. */
  readonly own: boolean;
  readonly keras: Count;
  readonly torch: Count;
  readonly buffers: Count;
}

/** What a layer is called where people read it; `whole`: by its path. The model's own tensors have the empty path. */
export function layerTitle(layer: SummaryLayer, whole: boolean): string {
  const name = whole || layer.name === '' ? layer.path : layer.name;
  return name === '' ? ROOT : name;
}

/** Stands for the model itself. */
export const ROOT = '(root)';

/**
 * The places of the layers in the order of their rows: below its parent each, since files of tensors may scatter what
 * belongs to one module.
 */
function placesOf(layers: readonly SummaryLayer[]): Int32Array {
  const { firstChildren, nextSiblings, parents, firstRoot } = layerTree({ layers });
  const places = new Int32Array(layers.length);
  let count = 0;
  let at = firstRoot;
  while (at >= 0) {
    places[count] = at;
    count += 1;
    let next = firstChildren[at] ?? -1;
    // Up to the next one that has a sibling.
    for (let from = at; next < 0 && from >= 0; from = parents[from] ?? -1) next = nextSiblings[from] ?? -1;
    at = next;
  }
  return places.subarray(0, count);
}

/** How many containers each layer stands in, by its place in the list; `places`: parents before their children. */
function levelsOf(layers: readonly SummaryLayer[], places: Int32Array): Int32Array {
  const { parents } = layerTree({ layers });
  const levels = new Int32Array(layers.length);
  for (const at of places) {
    const above = parents[at] ?? -1;
    levels[at] = above < 0 ? 0 : (levels[above] ?? 0) + 1;
  }
  return levels;
}

/** `*` any run of characters, `?` one; everything else is itself. */
export function matcherOf(pattern: string): (text: string) => boolean {
  const source = [...pattern]
    .map((character) =>
      character === '*' ? '[\\s\\S]*' : character === '?' ? '[\\s\\S]' : character.replace(/[\\^$.|+(){}[\]]/, '\\$&'),
    )
    .join('')
    .replace(/(?:\[\\s\\S\]\*)+/g, '[\\s\\S]*');
  const expression = new RegExp(`^${source}$`, 'u');
  return (text) => expression.test(text);
}

/** Layers whose path or name fits the pattern, and what stands below a container that fits. */
export function selectLayers(layers: readonly SummaryLayer[], pattern: string | null): readonly SummaryLayer[] {
  if (pattern === null) return layers;
  const isChosen = chooserOf(pattern);
  return layers.filter(isChosen);
}

function chooserOf(pattern: string): (layer: SummaryLayer) => boolean {
  const fits = matcherOf(pattern);
  const chosen = new Set<string>();
  return (layer) => {
    const below = layer.parent !== null && chosen.has(layer.parent);
    if (!below && !fits(layer.path) && !fits(layer.name)) return false;
    chosen.add(layer.path);
    return true;
  };
}

function compare(a: Row, b: Row, key: SortKey): number {
  switch (key) {
    case 'keras':
    case 'torch':
    case 'buffers':
      return order(b[key], a[key]);
    case 'bytes':
      return order(b.layer.bytes, a.layer.bytes);
    case 'macs':
      return order(b.layer.macs ?? -1, a.layer.macs ?? -1);
    case 'name':
    case 'path':
    case 'type':
      return a.layer[key] < b.layer[key] ? -1 : a.layer[key] > b.layer[key] ? 1 : 0;
  }
}

/** The rows to show: filtered, cut at a depth, or (sorted) the leaves alone, largest first. */
export function rowsOf(summary: Summary, options: ViewOptions): readonly Row[] {
  const places = placesOf(summary.layers);
  const levels = levelsOf(summary.layers, places);
  const rows: Row[] = [];
  const isChosen = options.layer === null ? null : chooserOf(options.layer);
  for (const at of places) {
    const layer = summary.layers[at];
    if (layer === undefined || (isChosen !== null && !isChosen(layer))) continue;
    const level = levels[at] ?? 0;
    if (options.depth !== null && level >= options.depth) continue;
    rows.push({ layer, level, own: false, keras: layer.keras, torch: layer.torch, buffers: layer.buffers });
    const openBelow = options.depth === null || level + 1 < options.depth;
    if (layer.own !== undefined && openBelow) rows.push({ layer, level: level + 1, own: true, ...layer.own });
  }
  // Filtered rows show whole paths, so nothing is indented.
  if (options.sort === null) return options.layer === null ? rows : rows.map((row) => ({ ...row, level: 0 }));
  const key = options.sort;
  const closed = (row: Row): boolean => options.depth !== null && row.level + 1 >= options.depth;
  return rows
    .filter((row) => row.own || !row.layer.container || closed(row))
    .map((row) => ({ ...row, level: 0 }))
    .sort((a, b) => compare(a, b, key));
}
