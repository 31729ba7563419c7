import { BnsumError } from '../ir/error.ts';
import type { Kind } from '../ir/kind.ts';
import type { Model } from '../ir/model.ts';

/** One key that has to be filled. */
export interface TargetKey {
  readonly key: string;
  /** null: the list does not say. */
  readonly shape: readonly number[] | null;
  /** Kind of its layer where the target tells or names it; null where it does not. */
  readonly kind: Kind | null;
  /** Key whose tensor this one is (tied weights), else null. */
  readonly shares: string | null;
}

export interface Target {
  readonly file: string;
  /** In the target's order. */
  readonly keys: readonly TargetKey[];
  /** Whether that order is the order in which the modules were made; safetensors and others sort their keys. */
  readonly isOrdered: boolean;
}

/** The keys of another checkpoint. Throws BnsumError UNSUPPORTED for a model that has no state_dict. */
export function targetOfModel(model: Model, file: string): Target {
  if (model.dialect !== 'torch') {
    throw new BnsumError({
      code: 'UNSUPPORTED',
      file,
      reason: `it holds a ${model.dialect} model, which has no state_dict keys`,
      next: 'give --keys a PyTorch checkpoint, or a text file with one key a line',
    });
  }
  const first = new Map<string, string>();
  const seen = new Set<string>();
  const keys: TargetKey[] = [];
  for (const layer of model.layers) {
    for (const { tensor } of layer.weights) {
      if (seen.has(tensor.name)) continue;
      seen.add(tensor.name);
      const shares = first.get(tensor.identity) ?? null;
      if (shares === null) first.set(tensor.identity, tensor.name);
      keys.push({
        key: tensor.name,
        shape: tensor.shape,
        kind: layer.kind === 'unknown' ? null : layer.kind,
        shares,
      });
    }
  }
  if (keys.length === 0) throw new BnsumError({ code: 'NOT_A_MODEL', file, reason: 'it holds no keys' });
  return { file, keys, isOrdered: model.format !== 'safetensors' && !isSorted(keys) };
}

/** Sorted names say nothing about which module came first. */
function isSorted(keys: readonly TargetKey[]): boolean {
  return keys.every(({ key }, at) => at === 0 || (keys[at - 1]?.key ?? '') < key);
}

/**
 * Keys of a text file, one a line, optionally with a tab and the shape (`64,3,7,7`, `[64, 3, 7, 7]`); empty lines and
 * lines that begin with # are passed over. Throws BnsumError MALFORMED naming the line.
 */
export function targetOfText(text: string, file: string): Target {
  const keys: TargetKey[] = [];
  const seen = new Set<string>();
  for (const [index, raw] of text.split('\n').entries()) {
    const line = raw.replace(/\r$/, '');
    if (line.trim() === '' || line.startsWith('#')) continue;
    const fail = (reason: string): BnsumError =>
      new BnsumError({ code: 'MALFORMED', file, place: `line ${index + 1}`, reason });
    const [key = '', words, ...rest] = line.split('\t');
    if (key.trim() !== key || key === '' || /[\u0000-\u001f\u007f]/.test(key)) {
      throw fail('is no key (one key a line, then a tab and its shape if it is known)');
    }
    if (rest.length > 0) throw fail('has more than a key and a shape');
    if (seen.has(key)) throw fail('names a key for the second time');
    seen.add(key);
    const shape = words === undefined || words.trim() === '' ? null : shapeOf(words);
    if (shape === undefined) throw fail(`'${words}' is no shape (write 64,3,7,7)`);
    keys.push({ key, shape, kind: null, shares: null });
  }
  if (keys.length === 0) throw new BnsumError({ code: 'NOT_A_MODEL', file, reason: 'it holds no keys' });
  return { file, keys, isOrdered: !isSorted(keys) };
}

function shapeOf(words: string): readonly number[] | undefined {
  const inner = /^\s*(?:torch\.Size)?\s*[([]*([^()[\]]*)[)\]]*\s*$/.exec(words)?.[1];
  if (inner === undefined) return undefined;
  const parts = inner.split(/[\s,x×]+/).filter((part) => part !== '');
  const sizes = parts.map(Number);
  return parts.every((part) => /^\d{1,15}$/.test(part)) ? sizes : undefined;
}
