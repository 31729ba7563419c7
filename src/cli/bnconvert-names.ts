import { type FileSource, openFileSource } from '../bytes/node/file-source.ts';
import { matchKeys } from '../convert/match.ts';
import { type Target, targetOfModel, targetOfText } from '../convert/match-target.ts';
import { formatNameMap, type NameRow, ownNames, readNameMap, renamePlan } from '../convert/name-map.ts';
import type { Plan } from '../convert/plan.ts';
import { BnsumError, isBnsumError } from '../ir/error.ts';
import { LIMITS } from '../ir/limits.ts';
import type { Model } from '../ir/model.ts';
import { openModel } from '../open.ts';
import type { BnconvertOptions } from './bnconvert-options.ts';
import { hasPicks } from './file-options.ts';
import { commandWorkers } from './workers.ts';

/** The plan under the names that were asked for, and the text of --emit-map. */
export interface Named {
  readonly plan: Plan;
  readonly map: string;
}

/** Applies --keys or --map; without them every tensor keeps its own name. Throws BnsumError where names do not fit. */
export async function namePlan(model: Model, plan: Plan, options: BnconvertOptions): Promise<Named> {
  const named = await rowsFor(model, plan, options);
  if (named === null) return { plan, map: formatNameMap(plan, ownNames(plan)) };
  const renamed = renamePlan(plan, named.rows);
  return {
    plan: { ...renamed, diagnostics: [...renamed.diagnostics, ...named.diagnostics] },
    map: formatNameMap(plan, named.rows),
  };
}

async function rowsFor(
  model: Model,
  plan: Plan,
  options: BnconvertOptions,
): Promise<{ readonly rows: readonly NameRow[]; readonly diagnostics: Plan['diagnostics'] } | null> {
  if (options.keys !== undefined) return matchKeys(model, plan, await readTarget(options.keys, options.pick));
  if (options.map === undefined) return null;
  const bytes = await readWhole(options.map);
  return { rows: readNameMap(bytes, plan, options.map), diagnostics: [] };
}

function noCheckpoint(path: string): BnsumError {
  return new BnsumError({
    code: 'USAGE',
    file: path,
    reason: 'it is no PyTorch checkpoint, among whose state_dicts --pick could choose',
    next: 'leave --pick out',
  });
}

/** A checkpoint, or a text file with one key a line. */
async function readTarget(path: string, pick: string | undefined): Promise<Target> {
  const workers = commandWorkers();
  try {
    const { value } = await openModel(path, {
      ...(pick === undefined ? {} : { pick }),
      ...(workers === undefined ? {} : { workers }),
    });
    try {
      if (pick !== undefined && !hasPicks(value)) throw noCheckpoint(path);
      return targetOfModel(value, path);
    } finally {
      await value.close();
    }
  } catch (error) {
    if (!isBnsumError(error, 'NOT_A_MODEL')) throw error;
    const text = await readText(path);
    if (text === null) throw error;
    if (pick !== undefined) throw noCheckpoint(path);
    return targetOfText(text, path);
  }
}

/** The file as text, or null when it is none. */
async function readText(path: string): Promise<string | null> {
  const bytes = await readWhole(path);
  try {
    const text = new TextDecoder('utf-8', { fatal: true }).decode(bytes);
    return /[\u0000-\u0008\u000e-\u001f<{]/.test(text) ? null : text;
  } catch {
    return null;
  }
}

async function readWhole(path: string): Promise<Uint8Array> {
  const source: FileSource = await openFileSource(path);
  try {
    if (source.size > LIMITS.jsonBytes) {
      throw new BnsumError({
        code: 'LIMIT',
        file: path,
        reason: `has ${source.size} bytes, more than the ${LIMITS.jsonBytes} that a list of names may have`,
      });
    }
    return await source.read(0, source.size);
  } finally {
    await source.close();
  }
}
