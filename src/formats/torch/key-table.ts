/** Longest number that is taken as a place: seven digits, as many as a zip may have members. */
const MOST_DIGITS = 7;

/** The whole number that a text spells as PyTorch spells the keys of storages, from `start` on; -1 for any other text. */
function numberAt(text: string, start: number): number {
  const length = text.length - start;
  if (length === 0 || length > MOST_DIGITS || (length > 1 && text.charCodeAt(start) === 48)) return -1;
  let number = 0;
  for (let at = start; at < text.length; at += 1) {
    const digit = text.charCodeAt(at) - 48;
    if (digit < 0 || digit > 9) return -1;
    number = number * 10 + digit;
  }
  return number;
}

/**
 * Values by storage key. PyTorch numbers its keys 0, 1, 2 …, and a list is faster to ask than a Map of 100,000 texts;
 * any other key is taken as well.
 */
export class KeyTable<T> {
  readonly #numbered: T[] = [];
  readonly #others = new Map<string, T>();

  get size(): number {
    return this.#numbered.length + this.#others.size;
  }

  get(key: string): T | undefined {
    const number = numberAt(key, 0);
    return number >= 0 && number < this.#numbered.length ? this.#numbered[number] : this.#others.get(key);
  }

  /** `text` from `start` on is the key. */
  set(text: string, value: T, start: number = 0): void {
    const number = numberAt(text, start);
    // A number that comes too early stays among the others until the ones before it are there.
    if (number >= 0 && number <= this.#numbered.length) {
      if (number === this.#numbered.length && this.#others.size > 0) this.#others.delete(text.slice(start));
      this.#numbered[number] = value;
    } else this.#others.set(text.slice(start), value);
  }
}
