import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { parseJson } from '../bytes/json.ts';
import { BnsumError } from '../ir/error.ts';
import { isList, isObject, type Json, type JsonObject } from '../ir/json.ts';
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
  const config: Record<string, unknown> = {};
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
  return parseJson(readFileSync(path), { file: path });
}

/** The nearest bnsum.config.json or package.json with a key `bnsum`, from `folder` upwards. */
export function loadDiffConfig(folder: string): DiffConfig {
  for (let at = folder; ; at = dirname(at)) {
    const own = join(at, 'bnsum.config.json');
    if (existsSync(own)) {
      const json = parsed(own);
      if (!isObject(json)) throw wrong(own, '', 'is not a JSON object');
      const diff = json.get('diff') ?? new Map<string, Json>();
      if (!isObject(diff)) throw wrong(own, 'diff', 'is not an object');
      return readDiff(diff, own, 'diff');
    }
    const manifest = join(at, 'package.json');
    if (existsSync(manifest)) {
      const json = parsed(manifest);
      const bnsum = isObject(json) ? json.get('bnsum') : undefined;
      const diff = isObject(bnsum) ? bnsum.get('diff') : undefined;
      if (isObject(diff)) return readDiff(diff, manifest, 'bnsum.diff');
    }
    // The repository's root ends the search: settings of a folder above are somebody else's.
    if (existsSync(join(at, '.git')) || dirname(at) === at) return {};
  }
}
