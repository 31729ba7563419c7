/**
 * Parsed JSON as data: objects are Maps, so that a key such as `__proto__` is only a key,
 * and integers beyond 2^53 are bigint.
 */
export type Json = null | boolean | number | bigint | string | readonly Json[] | JsonObject;
export type JsonObject = ReadonlyMap<string, Json>;

export function isObject(value: Json | undefined): value is JsonObject {
  return value instanceof Map;
}

export function isList(value: Json | undefined): value is readonly Json[] {
  return Array.isArray(value);
}

/** The object under `key`, or undefined when it is absent or something else. */
export function objectAt(value: Json | undefined, key: string): JsonObject | undefined {
  const inner = isObject(value) ? value.get(key) : undefined;
  return isObject(inner) ? inner : undefined;
}

export function stringAt(value: Json | undefined, key: string): string | undefined {
  const inner = isObject(value) ? value.get(key) : undefined;
  return typeof inner === 'string' ? inner : undefined;
}

export function numberAt(value: Json | undefined, key: string): number | undefined {
  const inner = isObject(value) ? value.get(key) : undefined;
  return typeof inner === 'number' ? inner : undefined;
}

export function booleanAt(value: Json | undefined, key: string): boolean | undefined {
  const inner = isObject(value) ? value.get(key) : undefined;
  return typeof inner === 'boolean' ? inner : undefined;
}

export function listAt(value: Json | undefined, key: string): readonly Json[] | undefined {
  const inner = isObject(value) ? value.get(key) : undefined;
  return isList(inner) ? inner : undefined;
}

export const EMPTY_OBJECT: JsonObject = new Map();
