import { parseJson } from '../bytes/json.ts';
import { ptjsonReader } from '../formats/ptjson/read.ts';
import { BnsumError, isBnsumError } from '../ir/error.ts';
import { isList, isObject, type Json, type JsonObject, objectAt } from '../ir/json.ts';
import { LIMITS } from '../ir/limits.ts';
import type { Bench, Content } from './context.ts';
import { judgeKerasConfig, judgeKerasText } from './keras-config.ts';

/** Bytes of a pt-json text: its tensors stand in it as text. */
export const TEXT_BYTES: number = 256 * 1024 * 1024;

/**
 * A JSON text. Whatever it is to us (an index of shards, pt-json, data), every object in it is judged as Keras would
 * resolve it: Keras looks for no other keys than its own.
 */
export async function judgeJson(content: Content, bench: Bench): Promise<string> {
  const { source, member } = content;
  const head = await source.read(0, Math.min(source.size, 4096));
  const mayBePtjson = /"format"\s*:\s*"pt-json"/.test(new TextDecoder().decode(head));
  const maxBytes = mayBePtjson ? TEXT_BYTES : LIMITS.jsonBytes;
  if (source.size > maxBytes) {
    throw new BnsumError({ code: 'LIMIT', file: source.label, reason: `JSON text of ${source.size} bytes` });
  }
  const bytes = await source.read(0, source.size);
  let json: Json;
  try {
    json = parseJson(bytes, { file: source.label }, { nonFinite: true, maxBytes });
  } catch (error) {
    // Python takes more than our parser does: a key that stands twice, for one.
    if (isBnsumError(error)) judgeKerasText(new TextDecoder().decode(bytes), { ledger: bench.ledger, member });
    throw error;
  }
  judgeKerasConfig(json, { ledger: bench.ledger, member });
  const map = objectAt(json, 'weight_map');
  if (map !== undefined) judgeShards(map, content, bench);
  if (!isObject(json)) return 'JSON';
  if (json.get('format') === 'pt-json') {
    const outcome = await ptjsonReader.read(source.slice(0, source.size, source.label), NO_SIBLINGS, {});
    await outcome.value.close();
    return 'pt-json';
  }
  if (json.has('class_name') && json.has('config')) return 'Keras config';
  return map === undefined ? 'JSON' : 'shard index';
}

/** The files that an index names stand beside it. */
function judgeShards(map: JsonObject, { member }: Content, { ledger }: Bench): void {
  for (const shard of new Set([...map.values()].flatMap((value) => (isList(value) ? value : [value])))) {
    if (typeof shard === 'string' && /^[^/\\\0:]+$/.test(shard) && shard !== '..') continue;
    const detail = typeof shard === 'string' ? shard : 'no text';
    ledger.add({ level: 'suspicious', rule: 'EXTERNAL_PATH', member, detail });
  }
}

/**
 * What only begins like JSON (a vocabulary, a log, an ini file): a text. A config that somebody cut or broke is one as
 * well, so that what is plainly in it is named.
 */
export async function judgeBrokenJson({ source, member }: Content, { ledger }: Bench): Promise<void> {
  if (source.size > LIMITS.jsonBytes) return;
  judgeKerasText(new TextDecoder().decode(await source.read(0, source.size)), { ledger, member });
}

const NO_SIBLINGS = {
  open(name: string): never {
    throw new BnsumError({ code: 'UNSAFE', file: name, reason: 'no file beside this one is opened' });
  },
};
