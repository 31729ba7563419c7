// What is known not to be compared, each with its reason: models that bnconvert refuses (expected-refusals.json), and
// models that Keras itself does not build or run (not-run.json). Anything else that is refused is a failure.
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const here = dirname(fileURLToPath(import.meta.url));

const isSubset = (part, whole) =>
  Object.entries(part).every(([key, value]) =>
    value !== null && typeof value === 'object' && !Array.isArray(value)
      ? whole?.[key] !== undefined && isSubset(value, whole[key])
      : JSON.stringify(whole?.[key]) === JSON.stringify(value),
  );

/** Entries {class, where?, says, reason}: classes of a layer (or a model's name), a part of its config, a part of the message. */
export class KnownList {
  #entries;
  #file;

  constructor(file) {
    this.#file = file;
    const entries = JSON.parse(readFileSync(join(here, file), 'utf8'));
    this.#entries = entries.map((entry) => ({ ...entry, met: 0, passed: 0 }));
  }

  #matching(name, config) {
    return this.#entries.filter(
      (entry) => [entry.class].flat().includes(name) && (entry.where === undefined || isSubset(entry.where, config)),
    );
  }

  /** Whether this message of this class is listed. */
  has(name, config, message) {
    const entry = this.#matching(name, config).find((one) => message.includes(one.says));
    if (entry !== undefined) entry.met += 1;
    return entry !== undefined;
  }

  /** Notes that a model went through. */
  passed(name, config) {
    for (const entry of this.#matching(name, config)) entry.passed += 1;
  }

  /** Entries that nothing needs any more, after a run over everything. */
  stale() {
    return this.#entries
      .filter((entry) => entry.met === 0 && entry.passed > 0)
      .map((entry) => `${this.#file} lists what works: ${entry.class} ${JSON.stringify(entry.where ?? {})}`);
  }
}
