// The refusals that are known: what bnconvert does not convert, and why. Anything else that is refused is a failure.
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const file = join(dirname(fileURLToPath(import.meta.url)), 'expected-refusals.json');

const isSubset = (part, whole) =>
  Object.entries(part).every(([key, value]) =>
    value !== null && typeof value === 'object' && !Array.isArray(value)
      ? whole?.[key] !== undefined && isSubset(value, whole[key])
      : JSON.stringify(whole?.[key]) === JSON.stringify(value),
  );

export class Refusals {
  /** Each: class (or a composite's name), optionally `where` (a part of the config) and `shape`'s rank, and the reason. */
  #entries = JSON.parse(readFileSync(file, 'utf8')).map((entry) => ({ ...entry, met: 0, converted: 0 }));

  #matching(name, config) {
    return this.#entries.filter(
      (entry) => entry.class === name && (entry.where === undefined || isSubset(entry.where, config)),
    );
  }

  /** Empty when the refusal is listed with this reason and names the layer; else what is wrong with it. */
  check(name, config, line) {
    const entries = this.#matching(name, config);
    const entry = entries.find((one) => line.includes(one.says));
    if (entry === undefined) return [`refused, and not listed: ${line}`];
    entry.met += 1;
    return /layer '?[^ ]/.test(line) ? [] : [`the refusal does not name the layer: ${line}`];
  }

  converted(name, config) {
    for (const entry of this.#matching(name, config)) entry.converted += 1;
  }

  /** Entries that nothing needs any more, after a run over everything. */
  stale() {
    return this.#entries
      .filter((entry) => entry.met === 0 && entry.converted > 0)
      .map((entry) => `${entry.class} ${JSON.stringify(entry.where ?? {})}: '${entry.says}'`);
  }
}
