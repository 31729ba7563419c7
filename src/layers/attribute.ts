import { isList, isObject, type Json, type JsonObject } from '../ir/json.ts';
import type { NormAttrs, NormValue, Shape } from '../ir/model.ts';

/**
 * The generations of Keras that differ in defaults and meaning.
 * 'keras2': multi-backend 2.0 to 2.3; 'tfkeras': tf.keras and tf-keras 2.x; 'keras3' also stands for an unknown version.
 */
export type Era = 'keras1' | 'keras2' | 'tfkeras' | 'keras3';

/** The generation that wrote a version string: '1.2.2', '2.3.1', '2.2.4-tf', '2.15.0', '3.15.1', ''. */
export function eraOf(version: string): Era {
  const [major = 3, minor = 0] = version.split('.').map((part) => Number.parseInt(part, 10));
  if (version === '' || Number.isNaN(major) || major >= 3) return 'keras3';
  if (major < 2) return 'keras1';
  return version.includes('tf') || minor >= 4 ? 'tfkeras' : 'keras2';
}

/** Whether a version is below another, number by number; an unknown version is below none. */
export function isBelow(version: string, limit: string): boolean {
  if (version === '') return false;
  const left = version.split('.').map((part) => Number.parseInt(part, 10) || 0);
  const right = limit.split('.').map((part) => Number.parseInt(part, 10) || 0);
  for (const [index, wanted] of right.entries()) {
    const given = left[index] ?? 0;
    if (given !== wanted) return given < wanted;
  }
  return false;
}

/** A number under the first of these keys that the attributes hold, else `otherwise`. */
export function numberOf(attrs: JsonObject, keys: string | readonly string[], otherwise: number): number {
  const value = unwrapped(attributeOf(attrs, keys));
  return typeof value === 'number' ? value : typeof value === 'boolean' ? Number(value) : otherwise;
}

/** Keras 2 wrote a NumPy scalar as {type: 'ndarray', value: 0.3}, Keras 3 as {class_name: '__numpy__', config: {value}}. */
function unwrapped(value: Json | undefined): Json | undefined {
  if (!isObject(value)) return value;
  const config = value.get('config');
  return value.get('value') ?? (isObject(config) ? config.get('value') : undefined);
}

/** Like numberOf, and null where the attributes hold none (or Python's None). */
export function numberOrNull(attrs: JsonObject, keys: string | readonly string[]): number | null {
  const value = unwrapped(attributeOf(attrs, keys));
  return typeof value === 'number' ? value : null;
}

export function booleanOf(attrs: JsonObject, keys: string | readonly string[], otherwise: boolean): boolean {
  const value = attributeOf(attrs, keys);
  return typeof value === 'boolean' ? value : typeof value === 'number' ? value !== 0 : otherwise;
}

export function stringOf(attrs: JsonObject, keys: string | readonly string[], otherwise: string): string {
  const value = attributeOf(attrs, keys);
  return typeof value === 'string' ? value : otherwise;
}

/** Numbers of a list, of one number, or of Keras' `{class_name: '__tuple__', items}`; null when it is none of them. */
export function numbersOf(value: Json | undefined): readonly number[] | null {
  if (typeof value === 'number') return [value];
  const list = isList(value) ? value : isObject(value) ? value.get('items') : undefined;
  if (!isList(list) || list.some((item) => typeof item !== 'number')) return null;
  return list as readonly number[];
}

/** A size per spatial axis: one number stands for all of them. */
export function sizesOf(
  attrs: JsonObject,
  keys: string | readonly string[],
  rank: number,
  otherwise: number,
): number[] {
  const sizes = numbersOf(attributeOf(attrs, keys)) ?? [otherwise];
  return sizes.length === 1 ? new Array<number>(rank).fill(sizes[0] ?? otherwise) : [...sizes];
}

/** The value under the first key that is present. */
export function attributeOf(attrs: JsonObject, keys: string | readonly string[]): Json | undefined {
  for (const key of typeof keys === 'string' ? [keys] : keys) {
    const value = attrs.get(key);
    if (value !== undefined) return value;
  }
  return undefined;
}

/** Whether a key is present, even as null. */
export function hasAny(attrs: JsonObject, keys: readonly string[]): boolean {
  return keys.some((key) => attrs.has(key));
}

/** JSON as neutral attribute values; objects become plain ones, 64-bit integers decimal text. */
export function plainValue(value: Json | undefined): NormValue {
  if (value === undefined || value === null) return null;
  if (typeof value === 'bigint') return value.toString();
  if (isList(value)) return value.map(plainValue);
  if (isObject(value)) return Object.fromEntries([...value].map(([key, inner]) => [key, plainValue(inner)]));
  return value;
}

/** A neutral attribute as a number; null when it is not one. */
export function normNumber(norm: NormAttrs, name: string): number | null {
  const value = norm[name];
  return typeof value === 'number' ? value : null;
}

export function normText(norm: NormAttrs, name: string): string | null {
  const value = norm[name];
  return typeof value === 'string' ? value : null;
}

/** A neutral attribute that is true; anything else is false. */
export function normFlag(norm: NormAttrs, name: string): boolean {
  return norm[name] === true;
}

/** A neutral attribute as a list of numbers; one number is a list of one, anything else null. */
export function normNumbers(norm: NormAttrs, name: string): readonly number[] | null {
  const value = norm[name];
  if (typeof value === 'number') return [value];
  if (!Array.isArray(value) || value.some((item) => typeof item !== 'number')) return null;
  return value as readonly number[];
}

/** An inner record of neutral attributes; {} when there is none. */
export function normRecord(norm: NormAttrs, name: string): NormAttrs {
  const value = norm[name];
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as NormAttrs) : {};
}

/** The axis counted from the front; null when it is outside the rank. */
export function wrapAxis(axis: number, rank: number): number | null {
  const wrapped = axis < 0 ? axis + rank : axis;
  return wrapped >= 0 && wrapped < rank ? wrapped : null;
}

/** Product of all axes but the batch axis; null when one is not known. */
export function sampleElements(shape: Shape | undefined): number | null {
  if (shape === undefined) return null;
  let product = 1;
  for (const size of shape.slice(1)) {
    if (typeof size !== 'number') return null;
    product *= size;
  }
  return product;
}

/** The known sizes at these axes; null when one is dynamic, unknown or outside the rank. */
export function sizesAt(shape: Shape | undefined, axes: readonly number[]): readonly number[] | null {
  if (shape === undefined) return null;
  const sizes: number[] = [];
  for (const axis of axes) {
    const wrapped = wrapAxis(axis, shape.length);
    const size = wrapped === null ? null : shape[wrapped];
    if (typeof size !== 'number') return null;
    sizes.push(size);
  }
  return sizes;
}
