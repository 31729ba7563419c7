import type { Count } from '../account/count.ts';
import { order } from '../account/count.ts';
import type { Summary, SummaryLayer } from '../account/summary.ts';
import { parentsOf } from '../ir/layer-index.ts';
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

/** How many containers each layer stands in, in the order of the list. */
function levelsOf(layers: readonly SummaryLayer[]): readonly number[] {
  const levels: number[] = [];
  for (const above of parentsOf(layers)) levels.push(above < 0 ? 0 : (levels[above] ?? 0) + 1);
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
  const levels = levelsOf(summary.layers);
  const rows: Row[] = [];
  const isChosen = options.layer === null ? null : chooserOf(options.layer);
  for (const [at, layer] of summary.layers.entries()) {
    if (isChosen !== null && !isChosen(layer)) continue;
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
