import { type Cell, type Column, cellText, type Grid } from './grid.ts';
import type { Paint } from './paint.ts';
import { displayWidth, wrap } from './width.ts';

const GAP = 2;
const INDENT = 2;
/** Columns that a wrapping column keeps whatever the terminal. */
const NARROWEST = 8;

/** The text of a cell with its nesting in front. */
function indented(cell: Cell): { readonly text: string; readonly indent: number } {
  const indent = cell.as === 'text' ? (cell.level ?? 0) * INDENT : 0;
  return { text: ' '.repeat(indent) + cellText(cell), indent };
}

/** Lines of a cell: `name (Type)` breaks before the type first. */
function linesOf(cell: Cell, columns: number): readonly string[] {
  const { text, indent } = indented(cell);
  if (displayWidth(text) <= columns) return [text];
  // Deep nesting must not push a name out of its column.
  const kept = Math.min(indent, Math.max(0, columns - 10));
  const body = text.slice(indent);
  const type = cell.as === 'text' ? / \([^()\s]*\)$/.exec(body)?.[0] : undefined;
  const room = ' '.repeat(kept);
  if (type === undefined) return wrap(room + body, columns, kept);
  return [...wrap(room + body.slice(0, -type.length), columns, kept), ...wrap(room + type.slice(1), columns, kept)];
}

function naturalWidths(grid: Grid): number[] {
  return grid.columns.map((column, index) => {
    let widest = displayWidth(column.title);
    for (const row of grid.rows) {
      const cell = row[index];
      if (cell !== undefined) widest = Math.max(widest, displayWidth(indented(cell).text));
    }
    return widest;
  });
}

function narrowestHeader(title: string): number {
  return Math.max(...title.split(' ').map((word) => displayWidth(word)));
}

/**
 * Widths that fit into `available` columns: first headers break into words, then the columns that may wrap give way,
 * the widest first, down to what they need at least.
 */
function fitWidths(grid: Grid, available: number | null): readonly number[] {
  const widths = naturalWidths(grid);
  if (available === null) return widths;
  const over = (): number => widths.reduce((sum, width) => sum + width, GAP * (widths.length - 1)) - available;
  if (over() <= 0) return widths;
  for (const [index, column] of grid.columns.entries()) {
    if (column.least !== undefined) continue;
    const cells = Math.max(0, ...grid.rows.map((row) => (row[index] ? displayWidth(cellText(row[index])) : 0)));
    widths[index] = Math.max(cells, narrowestHeader(column.title));
  }
  // Twice: down to what reads well, and in a very narrow terminal on to what can be shown at all.
  for (const least of [(column: Column) => column.least ?? 0, () => NARROWEST]) {
    while (over() > 0) {
      let widest = -1;
      for (const [index, column] of grid.columns.entries()) {
        const width = widths[index] ?? 0;
        const gives = column.least !== undefined && width > least(column);
        if (gives && width > (widths[widest] ?? -1)) widest = index;
      }
      if (widest < 0) break;
      widths[widest] = (widths[widest] ?? 0) - 1;
    }
  }
  return widths;
}

/** A table without vertical lines, drawn by cli-table3: a header, a rule, and rows; wrapped into `available` columns. */
export async function drawGrid(grid: Grid, available: number | null, paint: Paint): Promise<readonly string[]> {
  const widths = fitWidths(grid, available);
  const { default: Table } = await import('cli-table3');
  const none = '';
  const table = new Table({
    chars: {
      top: none,
      'top-mid': none,
      'top-left': none,
      'top-right': none,
      bottom: none,
      'bottom-mid': none,
      'bottom-left': none,
      'bottom-right': none,
      left: none,
      'left-mid': none,
      mid: none,
      'mid-mid': none,
      right: none,
      'right-mid': none,
      middle: ' '.repeat(GAP),
    },
    style: { 'padding-left': 0, 'padding-right': 0, head: [], border: [] },
    colAligns: grid.columns.map((column) => column.align),
  });
  const header = grid.columns.map((column, index) => headerLines(column, widths[index] ?? 0));
  const height = Math.max(1, ...header.map((lines) => lines.length));
  table.push(
    header.map((lines) => [...Array<string>(height - lines.length).fill(''), ...lines].map(paint.bold).join('\n')),
  );
  for (const row of grid.rows) {
    table.push(
      row.map((cell, index) => {
        const lines = linesOf(cell, widths[index] ?? 0);
        const sum = cell.as === 'text' && cell.sum === true;
        return (sum ? lines.map(paint.strong) : lines).join('\n');
      }),
    );
  }
  const lines = table
    .toString()
    .split('\n')
    .map((line) => line.trimEnd());
  const total = widths.reduce((sum, width) => sum + width, GAP * (widths.length - 1));
  lines.splice(height, 0, paint.dim('─'.repeat(total)));
  return lines;
}

function headerLines(column: Column, columns: number): readonly string[] {
  return wrap(column.title, columns);
}
