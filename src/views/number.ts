import type { Count } from '../account/count.ts';
import type { Shape } from '../ir/model.ts';

/** 13108758 as 13,108,758, the same on every machine. */
export function showCount(count: Count | null): string {
  if (count === null) return '?';
  if (count >= 0 && count < 1000) return String(count);
  const text = String(count);
  const sign = text.startsWith('-') ? '−' : '';
  return sign + text.replace('-', '').replace(/\B(?=(?:\d{3})+$)/g, ',');
}

/** A signed number with its sign in front, as a step of a waterfall. */
export function showStep(count: Count): string {
  return count < 0 ? `− ${showCount(-count)}` : `+ ${showCount(count)}`;
}

const UNITS = ['B', 'KB', 'MB', 'GB', 'TB', 'PB'] as const;

/** Bytes as Keras prints them: two decimals, the smallest power of 1024 that gives less than 1024. */
export function showBytes(bytes: Count | null): string {
  if (bytes === null) return '?';
  let value = Number(bytes);
  let unit = 0;
  while (value >= 1024 && unit < UNITS.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${value.toFixed(2)} ${UNITS[unit] ?? 'B'}`;
}

function isNested(shape: Shape | readonly (Shape | null)[]): shape is readonly (Shape | null)[] {
  return shape.some((part) => Array.isArray(part));
}

/** A shape as Keras prints it: (None, 64, 64, 32); '?' is what cannot be known; several outputs are a list. */
export function showShape(shape: Shape | readonly (Shape | null)[] | null): string {
  if (shape === null) return '?';
  if (isNested(shape)) return `[${shape.map((part) => showShape(part)).join(', ')}]`;
  const axes = shape.map((axis) => (axis === null ? 'None' : String(axis)));
  return axes.length === 1 ? `(${axes[0]},)` : `(${axes.join(', ')})`;
}
