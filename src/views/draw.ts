import { type Cell, type Column, cellText, type Grid } from './grid.ts';
import type { Paint } from './paint.ts';
import { displayWidth, pad, spaces, wrap } from './width.ts';

const GAP = 2;
const INDENT = 2;
const GAP_TEXT = ' '.repeat(GAP);
/** Columns that a wrapping column keeps whatever the terminal. */
const NARROWEST = 8;

function indentOf(cell: Cell): number {
  return cell.as === 'text' ? (cell.level ?? 0) * INDENT : 0;
}

/** A cell that fits into `columns` on one line, its nesting in front; undefined when it does not fit. */
function oneLine(cell: Cell, columns: number): string | undefined {
  const indent = indentOf(cell);
  const text = cellText(cell);
  if (indent + displayWidth(text) > columns) return undefined;
  return indent === 0 ? text : spaces(indent) + text;
}

/** Lines of a cell: `name (Type)` breaks before the type first. */
function linesOf(cell: Cell, columns: number): readonly string[] {
  const whole = oneLine(cell, columns);
  if (whole !== undefined) return [whole];
  const body = cellText(cell);
  // Deep nesting must not push a name out of its column.
  const kept = Math.min(indentOf(cell), Math.max(0, columns - 10));
  const type = cell.as === 'text' ? / \([^()\s]*\)$/.exec(body)?.[0] : undefined;
  const room = ' '.repeat(kept);
  if (type === undefined) return wrap(room + body, columns, kept);
  return [...wrap(room + body.slice(0, -type.length), columns, kept), ...wrap(room + type.slice(1), columns, kept)];
}

/** The widest cell of each column, with and without its nesting. */
function measureCells(grid: Grid): { readonly whole: number[]; readonly bare: number[] } {
  const whole = grid.columns.map(() => 0);
  const bare = grid.columns.map(() => 0);
  for (const row of grid.rows) {
    for (let index = 0; index < row.length; index += 1) {
      const cell = row[index];
      if (cell === undefined) continue;
      const width = displayWidth(cellText(cell));
      whole[index] = Math.max(whole[index] ?? 0, indentOf(cell) + width);
      bare[index] = Math.max(bare[index] ?? 0, width);
    }
  }
  return { whole, bare };
}

function narrowestHeader(title: string): number {
  return Math.max(...title.split(' ').map((word) => displayWidth(word)));
}

/**
 * Widths that fit into `available` columns: first headers break into words, then the columns that may wrap give way,
 * the widest first, down to what they need at least.
 */
function fitWidths(grid: Grid, available: number | null): readonly number[] {
  const { whole, bare } = measureCells(grid);
  const widths = grid.columns.map((column, index) => Math.max(displayWidth(column.title), whole[index] ?? 0));
  if (available === null) return widths;
  const over = (): number => widths.reduce((sum, width) => sum + width, GAP * (widths.length - 1)) - available;
  if (over() <= 0) return widths;
  for (const [index, column] of grid.columns.entries()) {
    if (column.least !== undefined) continue;
    widths[index] = Math.max(bare[index] ?? 0, narrowestHeader(column.title));
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

/** One row's lines, cell by cell. */
function* setRow(
  columns: readonly Column[],
  widths: readonly number[],
  row: readonly (readonly string[])[],
): Generator<string> {
  const height = Math.max(1, ...row.map((lines) => lines.length));
  for (let line = 0; line < height; line += 1) {
    const cells = row.map((lines, index) =>
      pad(lines[line] ?? '', widths[index] ?? 0, columns[index]?.align ?? 'left'),
    );
    yield cells.join(GAP_TEXT);
  }
}

/** The rows of a long table, made as they are taken. */
function* setRows(grid: Grid, widths: readonly number[]): Generator<string> {
  const { columns } = grid;
  for (const row of grid.rows) {
    let text = '';
    for (let index = 0; index < row.length; index += 1) {
      const cell = row[index];
      const width = widths[index] ?? 0;
      const whole = cell === undefined ? undefined : oneLine(cell, width);
      if (whole === undefined) {
        text = '';
        break;
      }
      text += (index === 0 ? '' : GAP_TEXT) + pad(whole, width, columns[index]?.align ?? 'left');
    }
    if (text !== '') yield text;
    else {
      const lines = row.map((cell, index) => linesOf(cell, widths[index] ?? 0));
      yield* setRow(columns, widths, lines);
    }
  }
}

/** A table without vertical lines: a header, a rule, and rows; wrapped into `available` columns. */
export async function drawGrid(grid: Grid, available: number | null, paint: Paint): Promise<Iterable<string>> {
  const widths = fitWidths(grid, available);
  const header = grid.columns.map((column, index) => wrap(column.title, widths[index] ?? 0));
  const height = Math.max(1, ...header.map((lines) => lines.length));
  const heads = header.map((lines) => [...Array<string>(height - lines.length).fill(''), ...lines]);
  const total = widths.reduce((sum, width) => sum + width, GAP * (widths.length - 1));
  const rule = paint.dim('─'.repeat(total));
  if (grid.rows.length > DRAWN_BY_LIBRARY) return longTable(grid, widths, heads, rule);
  const rows = Array.from(grid.rows, (row) =>
    row.map((cell, index) => {
      const lines = linesOf(cell, widths[index] ?? 0);
      return (cell.as === 'text' && cell.sum === true ? lines.map(paint.strong) : lines).join('\n');
    }),
  );
  const drawn = await drawRows(grid.columns, [heads.map((lines) => lines.map(paint.bold).join('\n')), ...rows]);
  const lines = drawn.map((line) => line.trimEnd());
  return [...lines.slice(0, height), rule, ...lines.slice(height)];
}

function* longTable(
  grid: Grid,
  widths: readonly number[],
  heads: readonly (readonly string[])[],
  rule: string,
): Generator<string> {
  for (const line of setRow(grid.columns, widths, heads)) yield line.trimEnd();
  yield rule;
  for (const line of setRows(grid, widths)) yield line.trimEnd();
}
