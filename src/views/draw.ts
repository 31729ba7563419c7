import { type Cell, type Column, cellText, type Grid } from './grid.ts';
import type { Paint } from './paint.ts';
import { displayWidth, pad, wrap } from './width.ts';

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
    let cells = 0;
    for (const row of grid.rows) cells = Math.max(cells, row[index] ? displayWidth(cellText(row[index])) : 0);
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

/** Rows up to which cli-table3 draws the table; it takes milliseconds a row, and a longer table is set by hand. */
const DRAWN_BY_LIBRARY = 500;

/** Lines of rows whose cells are texts of one or more lines, two spaces between the columns. */
async function drawRows(columns: readonly Column[], rows: readonly (readonly string[])[]): Promise<readonly string[]> {
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
    colAligns: columns.map((column) => column.align),
  });
  for (const row of rows) table.push([...row]);
  return table.toString().split('\n');
}

/** The same lines, cell by cell. */
function setRows(
  columns: readonly Column[],
  widths: readonly number[],
  rows: Iterable<readonly (readonly string[])[]>,
): readonly string[] {
  const drawn: string[] = [];
  const gap = ' '.repeat(GAP);
  for (const row of rows) {
    const height = Math.max(1, ...row.map((lines) => lines.length));
    for (let line = 0; line < height; line += 1) {
      drawn.push(
        row
          .map((lines, index) => pad(lines[line] ?? '', widths[index] ?? 0, columns[index]?.align ?? 'left'))
          .join(gap),
      );
    }
  }
  return drawn;
}

/** A table without vertical lines: a header, a rule, and rows; wrapped into `available` columns. */
export async function drawGrid(grid: Grid, available: number | null, paint: Paint): Promise<readonly string[]> {
  const widths = fitWidths(grid, available);
  const header = grid.columns.map((column, index) => wrap(column.title, widths[index] ?? 0));
  const height = Math.max(1, ...header.map((lines) => lines.length));
  const heads = header.map((lines) => [...Array<string>(height - lines.length).fill(''), ...lines]);
  const body = grid.rows.map((row) => row.map((cell, index) => linesOf(cell, widths[index] ?? 0)));
  let drawn: readonly string[];
  if (body.length <= DRAWN_BY_LIBRARY) {
    const rows = body.map((row, at) =>
      row.map((lines, index) => {
        const cell = grid.rows[at]?.[index];
        return (cell?.as === 'text' && cell.sum === true ? lines.map(paint.strong) : lines).join('\n');
      }),
    );
    drawn = await drawRows(grid.columns, [heads.map((lines) => lines.map(paint.bold).join('\n')), ...rows]);
  } else {
    drawn = setRows(grid.columns, widths, [heads, ...body]);
  }
  const total = widths.reduce((sum, width) => sum + width, GAP * (widths.length - 1));
  const lines = drawn.map((line) => line.trimEnd());
  return [...lines.slice(0, height), paint.dim('─'.repeat(total)), ...lines.slice(height)];
}
