import { LIBRARY, type LibraryEntry } from './library-text.ts';

const byName = new Map(LIBRARY.map((entry) => [entry.name, entry]));

/** Whether a custom module or helper of this name is defined for generated code. */
export function isInLibrary(name: string): boolean {
  return byName.has(name);
}

/** The named entries and all that they use, dependencies first, else in alphabetical order. */
export function libraryEntries(names: ReadonlySet<string>): readonly LibraryEntry[] {
  const done = new Map<string, LibraryEntry>();
  const visit = (name: string): void => {
    const entry = byName.get(name);
    if (entry === undefined || done.has(name)) return;
    for (const used of entry.uses ?? []) visit(used);
    done.set(name, entry);
  };
  for (const name of [...names].sort()) visit(name);
  return [...done.values()];
}
