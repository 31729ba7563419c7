import type { Count } from '../account/count.ts';
import type { Summary, SummaryLayer } from '../account/summary.ts';
import type { Shape } from '../ir/model.ts';
import { showName } from './escape.ts';
import { showBytes, showCount, showShape } from './number.ts';
import { layerTitle, type Row, rowsOf, selectLayers } from './rows.ts';
import type { ViewOptions } from './view.ts';

/** A typed cell: a look decides how each type is written. */
export type Cell =
  | { readonly as: 'text'; readonly text: string; readonly level?: number; readonly sum?: boolean }
  | { readonly as: 'count'; readonly count: Count | null }
  | { readonly as: 'bytes'; readonly bytes: Count | null }
  | { readonly as: 'shape'; readonly shape: Shape | readonly (Shape | null)[] | null }
  | { readonly as: 'number'; readonly number: number | null }
  | { readonly as: 'flag'; readonly flag: boolean | null };

export interface Column {
  /** For CSV and other machines. */
  readonly key: string;
  readonly title: string;
  readonly align: 'left' | 'right';
  /** Least columns that a narrow terminal leaves it; absent: never wrapped. */
  readonly least?: number;
}

/** Rows of typed cells under typed columns. The rows of a large model are made as they are walked, each time anew. */
export interface Grid {
  readonly columns: readonly Column[];
  readonly rows: Iterable<readonly Cell[]> & { readonly length: number };
}

/** Rows made from items one by one: 100,000 rows of cells at once would be the largest thing in memory. */
function madeRows<T>(items: readonly T[], make: (item: T) => readonly Cell[]): Grid['rows'] {
  return {
    length: items.length,
    *[Symbol.iterator]() {
      for (const item of items) yield make(item);
    },
  };
}

const text = (value: string, level = 0, sum = false): Cell => ({ as: 'text', text: value, level, sum });
const count = (value: Count | null): Cell => ({ as: 'count', count: value });

function layerCell(row: Row, flat: boolean): Cell {
  const { layer } = row;
  const name = layerTitle(layer, flat);
  if (row.own) return text('(own tensors)', row.level);
  // A state_dict has no class names: what the layer was recognised as stands in for one.
  const recognised = layer.kind === 'unknown' || layer.container ? '' : layer.kind;
  const type = layer.type === '' ? recognised : layer.type;
  return text(type === '' ? name : `${name} (${type})`, row.level, layer.container);
}

function layerGrid(summary: Summary, options: ViewOptions): Grid {
  const rows = rowsOf(summary, options);
  const flat = options.sort !== null || options.layer !== null;
  const shapes = summary.layers.some((layer) => layer.outputShape !== null);
  const connected = summary.chain === false;
  const columns: Column[] = [
    { key: 'layer', title: 'Layer (type)', align: 'left', least: 14 },
    ...(shapes ? [{ key: 'output_shape', title: 'Output shape', align: 'left', least: 12 } as const] : []),
    { key: 'keras', title: 'Keras params', align: 'right' },
    { key: 'torch', title: 'PyTorch params', align: 'right' },
    { key: 'buffers', title: 'Buffers', align: 'right' },
    ...(options.macs ? [{ key: 'macs', title: 'MACs', align: 'right' } as const] : []),
    ...(connected ? [{ key: 'inputs', title: 'Connected to', align: 'left', least: 12 } as const] : []),
  ];
  return {
    columns,
    rows: madeRows(rows, (row) => {
      const cells: Cell[] = [layerCell(row, flat)];
      if (shapes) cells.push(row.own ? text('') : { as: 'shape', shape: row.layer.outputShape });
      cells.push(count(row.keras), count(row.torch), count(row.buffers));
      if (options.macs) cells.push(count(row.own ? 0 : (row.layer.macs ?? null)));
      if (connected) cells.push(text(row.own ? '' : (row.layer.inputs ?? []).map((name) => showName(name)).join(', ')));
      return cells;
    }),
  };
}

function axisText(axis: number | readonly number[] | null): string {
  return axis === null ? '?' : Array.isArray(axis) ? `[${axis.join(', ')}]` : String(axis);
}

/** Both conventions of a momentum, Keras' first: `0.99 | 0.01`; `?`: not told. `momentum=None` of PyTorch averages all batches. */
export function momentumText({ bn, attrs }: SummaryLayer): string {
  const momentum = bn?.momentum ?? { keras: null, torch: null };
  if (momentum.keras === null && momentum.torch === null) return attrs.get('momentum') === null ? 'cumulative' : '?';
  return `${momentum.keras ?? '?'} | ${momentum.torch ?? '?'}`;
}

function bnGrid(summary: Summary, options: ViewOptions): Grid {
  const layers = selectLayers(summary.layers, options.layer);
  return {
    columns: [
      { key: 'layer', title: 'BatchNorm', align: 'left', least: 14 },
      { key: 'channels', title: 'Channels', align: 'right' },
      { key: 'axis', title: 'Axis', align: 'right' },
      { key: 'eps', title: 'eps', align: 'right' },
      { key: 'momentum', title: 'Momentum Keras | PyTorch', align: 'right', least: 9 },
      { key: 'gamma', title: 'gamma', align: 'right' },
      { key: 'beta', title: 'beta', align: 'right' },
      { key: 'frozen', title: 'Frozen', align: 'right' },
    ],
    rows: layers.flatMap((layer): readonly (readonly Cell[])[] =>
      layer.bn === undefined
        ? []
        : [
            [
              text(layerTitle(layer, true)),
              count(layer.bn.channels),
              text(axisText(layer.bn.axis)),
              { as: 'number', number: layer.bn.eps },
              text(momentumText(layer)),
              { as: 'flag', flag: layer.bn.gamma },
              { as: 'flag', flag: layer.bn.beta },
              { as: 'flag', flag: layer.bn.frozen },
            ],
          ],
    ),
  };
}

function tensorGrid(summary: Summary, options: ViewOptions): Grid {
  const layers: readonly SummaryLayer[] = selectLayers(summary.layers, options.layer);
  return {
    columns: [
      { key: 'tensor', title: 'Tensor', align: 'left', least: 16 },
      { key: 'shape', title: 'Shape', align: 'left', least: 10 },
      { key: 'dtype', title: 'dtype', align: 'left' },
      { key: 'class', title: 'Class', align: 'left' },
      { key: 'elements', title: 'Elements', align: 'right' },
      { key: 'bytes', title: 'Bytes', align: 'right' },
    ],
    rows: madeRows(
      layers.flatMap((layer) => layer.weights),
      (weight) => [
        text(weight.name),
        { as: 'shape', shape: weight.shape },
        text(weight.encoding === undefined ? weight.dtype : `${weight.dtype}, ${weight.encoding}`),
        text(weight.class),
        count(weight.elements),
        { as: 'bytes', bytes: weight.bytes },
      ],
    ),
  };
}

/** The main table of a report: layers, or BatchNorms, or tensors. */
export function gridOf(summary: Summary, options: ViewOptions): Grid {
  return options.bn
    ? bnGrid(summary, options)
    : options.tensors
      ? tensorGrid(summary, options)
      : layerGrid(summary, options);
}

/** A cell for people, escaped, without indentation. */
export function cellText(cell: Cell): string {
  switch (cell.as) {
    case 'text':
      return showName(cell.text);
    case 'count':
      return showCount(cell.count);
    case 'bytes':
      return showBytes(cell.bytes);
    case 'shape':
      return showShape(cell.shape);
    case 'number':
      return cell.number === null ? '?' : String(cell.number);
    case 'flag':
      return cell.flag === null ? '?' : cell.flag ? 'yes' : 'no';
  }
}
