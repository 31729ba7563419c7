import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { parseJson } from '../bytes/json.ts';
import { BnsumError } from '../ir/error.ts';
import { isList, isObject, type Json, type JsonObject } from '../ir/json.ts';
import { systemError } from './message.ts';
import { nearest } from './suggest.ts';

/** Defaults of bndiff that a repository keeps; the command line wins. */
export interface DiffConfig {
  readonly values?: boolean;
  readonly rtol?: number;
  readonly atol?: number;
  readonly requireKnown?: boolean;
  readonly budget?: readonly string[];
  readonly deny?: readonly string[];
  readonly ignore?: readonly string[];
  readonly assertFrozen?: readonly string[];
  /** The file, and where in it these settings stand; absent: there is none. */
  readonly from?: { readonly file: string; readonly place: string };
}

const KEYS = ['values', 'rtol', 'atol', 'requireKnown', 'budget', 'deny', 'ignore', 'assertFrozen'] as const;

function wrong(file: string, place: string, reason: string, next?: string): BnsumError {
  return new BnsumError({ code: 'USAGE', file, place, reason, ...(next === undefined ? {} : { next }) });
}

function wordsOf(value: Json, file: string, place: string): readonly string[] {
  if (typeof value === 'string') return [value];
  if (isList(value) && value.every((one) => typeof one === 'string')) return value as readonly string[];
  throw wrong(file, place, 'takes a text or a list of texts');
}

function readDiff(json: JsonObject, file: string, place: string): DiffConfig {
  const config: Record<string, unknown> = { from: { file, place } };
  for (const [key, value] of json) {
    const here = `${place}.${key}`;
    switch (key) {
      case 'values':
      case 'requireKnown':
        if (typeof value !== 'boolean') throw wrong(file, here, 'takes true or false');
        config[key] = value;
        break;
      case 'rtol':
      case 'atol':
        if (typeof value !== 'number' || value < 0) throw wrong(file, here, 'takes a number from 0 on');
        config[key] = value;
        break;
      case 'budget':
      case 'deny':
      case 'ignore':
      case 'assertFrozen':
        config[key] = wordsOf(value, file, here);
        break;
      default: {
        const near = nearest(key, KEYS);
        const hint = near === undefined ? `known are ${KEYS.join(', ')}` : `did you mean ${near}?`;
        throw wrong(file, here, 'is not a setting', hint);
      }
    }
  }
  return config as DiffConfig;
}

function parsed(path: string): Json {
  let bytes: Uint8Array;
  try {
    bytes = readFileSync(path);
  } catch (error) {
    // The system names no path when it is reading that fails, as it does for a folder.
    const { reason = 'cannot be read', code = 'IO' } = systemError(error) ?? {};
    throw new BnsumError({
      code,
      file: path,
      reason,
      next: 'put the settings into a file of this name, or rename it',
      cause: error,
    });
  }
  return parseJson(bytes, { file: path });
}

/** Throws USAGE for the first member that is none of the known ones. */
function refuseOthers(json: JsonObject, known: readonly string[], file: string, place: string): void {
  for (const key of json.keys()) {
    if (known.includes(key)) continue;
    const near = nearest(key, known);
    // A setting that stands one level too high is no misspelling.
    const inside = (KEYS as readonly string[]).includes(key)
      ? `it belongs under ${place === '' ? '' : `${place}.`}diff`
      : '';
    const hint = inside !== '' ? inside : near === undefined ? `known is ${known[0]}` : `did you mean ${near}?`;
    throw wrong(file, place === '' ? key : `${place}.${key}`, 'is not a setting', hint);
  }
}

/** The nearest bnsum.config.json or package.json with a key `bnsum`, from `folder` upwards. */
export function loadDiffConfig(folder: string): DiffConfig {
  for (let at = folder; ; at = dirname(at)) {
    const own = join(at, 'bnsum.config.json');
    if (existsSync(own)) {
      const json = parsed(own);
      if (!isObject(json)) throw wrong(own, '', 'is not a JSON object', 'it looks like {"diff": {"budget": "+1%"}}');
      refuseOthers(json, ['diff', '$schema'], own, '');
      const diff = json.get('diff') ?? new Map<string, Json>();
      if (!isObject(diff)) throw wrong(own, 'diff', 'is not an object', 'it looks like {"diff": {"budget": "+1%"}}');
      return readDiff(diff, own, 'diff');
    }
    const manifest = join(at, 'package.json');
    if (existsSync(manifest)) {
      const json = parsed(manifest);
      const bnsum = isObject(json) ? json.get('bnsum') : undefined;
      if (bnsum !== undefined) {
        const shape = 'it looks like {"bnsum": {"diff": {"budget": "+1%"}}}';
        if (!isObject(bnsum)) throw wrong(manifest, 'bnsum', 'is not an object', shape);
        refuseOthers(bnsum, ['diff'], manifest, 'bnsum');
        const diff = bnsum.get('diff');
        if (diff !== undefined && !isObject(diff)) throw wrong(manifest, 'bnsum.diff', 'is not an object', shape);
        if (diff !== undefined) return readDiff(diff, manifest, 'bnsum.diff');
      }
    }
    // The repository's root ends the search: settings of a folder above are somebody else's.
    if (existsSync(join(at, '.git')) || dirname(at) === at) return {};
  }
}
