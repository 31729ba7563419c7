import { parseJson } from '../bytes/json.ts';
import { ptjsonReader } from '../formats/ptjson/read.ts';
import { BnsumError, isBnsumError } from '../ir/error.ts';
import { isList, isObject, type Json, objectAt } from '../ir/json.ts';
import { LIMITS } from '../ir/limits.ts';
import type { Bench, Content } from './context.ts';
import { judgeKerasConfig, judgeKerasText } from './keras-config.ts';

/**
 * A JSON text: a Keras config by its objects, an index of shards by its names, pt-json and everything else are data.
 */
export async function judgeJson(content: Content, bench: Bench): Promise<string> {
  const { source, member } = content;
  const head = await source.read(0, Math.min(source.size, 4096));
  const start = new TextDecoder().decode(head);
  if (/"format"\s*:\s*"pt-json"/.test(start)) {
    const outcome = await ptjsonReader.read(source.slice(0, source.size, source.label), NO_SIBLINGS, {});
    await outcome.value.close();
    const config = outcome.value.origin.config;
    if (config !== undefined) judgeKerasConfig(config as Json, { ledger: bench.ledger, member });
    return 'pt-json';
  }
  if (source.size > LIMITS.jsonBytes) {
    throw new BnsumError({ code: 'LIMIT', file: source.label, reason: `JSON text of ${source.size} bytes` });
  }
  const bytes = await source.read(0, source.size);
  let json: Json;
  try {
    json = parseJson(bytes, { file: source.label }, { nonFinite: true });
  } catch (error) {
    // Python takes more than our parser does: a key that stands twice, for one.
    if (isBnsumError(error)) judgeKerasText(new TextDecoder().decode(bytes), { ledger: bench.ledger, member });
    throw error;
  }
  const map = objectAt(json, 'weight_map');
  if (map !== undefined) {
    const shards = new Set([...map.values()].flatMap((value) => (isList(value) ? value : [value])));
    for (const shard of shards) {
      if (typeof shard === 'string' && /^[^/\\\0:]+$/.test(shard) && shard !== '..') continue;
      const detail = typeof shard === 'string' ? shard : 'no text';
      bench.ledger.add({ level: 'suspicious', rule: 'EXTERNAL_PATH', member, detail });
    }
    return 'shard index';
  }
  judgeKerasConfig(json, { ledger: bench.ledger, member });
  const isKeras = isObject(json) && json.has('class_name') && json.has('config');
  return isKeras ? 'Keras config' : 'JSON';
}

const NO_SIBLINGS = {
  open(name: string): never {
    throw new BnsumError({ code: 'UNSAFE', file: name, reason: 'no file beside this one is opened' });
  },
};
