import type { Kind } from '../ir/kind.ts';
import type { Dialect } from '../ir/model.ts';
import type { Family } from './family.ts';

/** Every layer family, one line each. Two families that claim one kind, or one type in one dialect, are refused. */
const FAMILIES: readonly Family[] = [];

const byKind = new Map<Kind, Family>();
const byType = new Map<string, Family>();

for (const family of FAMILIES) {
  if (byKind.has(family.kind)) throw new RangeError(`two families claim the kind ${family.kind}`);
  byKind.set(family.kind, family);
  for (const [dialect, types] of Object.entries(family.types)) {
    for (const type of types) {
      const key = `${dialect}:${type}`;
      if (byType.has(key)) throw new RangeError(`two families claim ${key}`);
      byType.set(key, family);
    }
  }
}

export function families(): readonly Family[] {
  return FAMILIES;
}

export function familyOfKind(kind: Kind): Family | undefined {
  return byKind.get(kind);
}

/** The family of a class name of a dialect ('Conv2D' of keras), or undefined for a class we do not know. */
export function familyOfType(dialect: Dialect, type: string): Family | undefined {
  return byType.get(`${dialect}:${type}`);
}
