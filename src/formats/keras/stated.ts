import { parseJson } from '../../bytes/json.ts';
import type { ByteSource } from '../../bytes/source.ts';
import { readZip, type ZipArchive } from '../../bytes/zip-read.ts';
import { BnsumError } from '../../ir/error.ts';
import { isObject, type Json, objectAt, stringAt } from '../../ir/json.ts';
import { LIMITS } from '../../ir/limits.ts';
import type { Generation } from './architecture.ts';
import { type Hdf5File, splitText } from './hdf5.ts';
import { findSuperblock } from './hdf5-open.ts';
import { generationOf, type Layout, layoutOf, openTree, type TreeOptions } from './layout.ts';

/** Bytes of metadata.json and of a weight map that are read at most. */
const SMALL_JSON_BYTES = 16 * 1024 * 1024;

/** The architecture of a model as a file states it. */
export interface Stated {
  readonly config: Json;
  readonly trainingConfig: Json | undefined;
  readonly generation: Generation;
}

export function statedBy(file: Hdf5File, layout: Layout): Stated | undefined {
  const group = file.groups.get(layout.holder);
  const text = splitText(group, 'model_config');
  if (text === undefined) {
    if (group?.attributes.has('model_config') !== true) return undefined;
    throw new BnsumError({ code: 'MALFORMED', file: file.label, place: 'model_config', reason: 'is no text' });
  }
  const training = splitText(group, 'training_config');
  return {
    config: jsonText(text, file.label, 'model_config'),
    trainingConfig: training === undefined ? undefined : jsonText(training, file.label, 'training_config'),
    generation: generationOf(file, layout),
  };
}

function jsonText(text: string, file: string, place: string): Json {
  if (text.includes('\ufffd')) throw new BnsumError({ code: 'MALFORMED', file, place, reason: 'is not valid UTF-8' });
  return parseJson(new TextEncoder().encode(text), { file, place }, { nonFinite: true });
}

export async function statedByOption(options: TreeOptions): Promise<Stated | undefined> {
  return options.config === undefined ? undefined : readStated(options.config, options);
}

/** The architecture in any file that has one: JSON text, `.keras`, whole-model HDF5. */
async function readStated(source: ByteSource, options: TreeOptions): Promise<Stated> {
  const head = await source.read(0, Math.min(source.size, 4));
  if (head[0] === 0x50 && head[1] === 0x4b) return statedByArchive(await readZip(source), source.label);
  if ((await findSuperblock(source)) !== undefined) {
    const file = await openTree(source, options);
    try {
      const layout = layoutOf(file);
      const stated = layout.kind === 'legacy' ? statedBy(file, layout) : undefined;
      if (stated !== undefined) return stated;
    } finally {
      await file.close();
    }
    throw new BnsumError({
      code: 'NOT_FOUND',
      file: source.label,
      reason: 'holds weights alone, no architecture',
      next: 'give a config.json, a to_json() text or a whole model',
    });
  }
  return statedByJson(await wholeJson(source), source.label);
}

export async function wholeJson(source: ByteSource): Promise<Json> {
  if (source.size > LIMITS.jsonBytes) {
    throw new BnsumError({
      code: 'LIMIT',
      file: source.label,
      reason: `JSON of ${source.size} bytes, the limit is ${LIMITS.jsonBytes}`,
    });
  }
  return parseJson(await source.read(0, source.size), { file: source.label }, { nonFinite: true });
}

export function statedByJson(json: Json, file: string): Stated {
  if (!isObject(json) || stringAt(json, 'class_name') === undefined || !json.has('config')) {
    throw new BnsumError({ code: 'NOT_A_MODEL', file, reason: 'JSON that is no Keras architecture' });
  }
  // to_json() of Keras 1 and 2 states the version; a config of Keras 3 does not, but names the modules of its classes.
  const version = stringAt(json, 'keras_version');
  const modern = json.has('module') || json.has('registered_name');
  return {
    config: json,
    trainingConfig: json.get('compile_config'),
    generation: { version: version ?? (modern ? '' : '1'), backend: stringAt(json, 'backend') ?? '' },
  };
}

export async function statedByArchive(archive: ZipArchive, file: string): Promise<Stated> {
  const config = await memberJson(archive, 'config.json', file, LIMITS.jsonBytes);
  if (config === undefined) {
    throw new BnsumError({
      code: 'NOT_FOUND',
      file,
      reason: 'a .keras archive without config.json',
      next: 'save the model again',
    });
  }
  const metadata = await memberJson(archive, 'metadata.json', file, SMALL_JSON_BYTES);
  return {
    config,
    trainingConfig: objectAt(config, 'compile_config'),
    generation: { version: stringAt(metadata, 'keras_version') ?? '', backend: '' },
  };
}

async function memberJson(archive: ZipArchive, name: string, file: string, limit: number): Promise<Json | undefined> {
  const member = archive.get(name);
  if (member === undefined) return undefined;
  return parseJson(await archive.read(member, limit), { file: `${file}!${name}` }, { nonFinite: true });
}
