import { parseJson } from '../../bytes/json.ts';
import type { ByteSource, ReadOptions, Siblings } from '../../bytes/source.ts';
import { type Diagnostic, note } from '../../ir/diagnostic.ts';
import { BnsumError } from '../../ir/error.ts';
import { objectAt } from '../../ir/json.ts';
import type { Tensor } from '../../ir/model.ts';
import type { RawTensor } from '../../layers/recognise.ts';
import type { RawModel } from './raw-model.ts';
import { readLegacy } from './read-legacy.ts';
import { readTorchZip } from './read-zip.ts';

/** `pytorch_model.bin.index.json`: a weight_map whose shards are not safetensors. */
export function isShardIndex(head: Uint8Array): boolean {
  const text = new TextDecoder('latin1').decode(head);
  return /^\s*\{/.test(text) && /"weight_map"\s*:\s*\{[^}]*?:\s*"[^"]*\.(?:bin|pt|pth)"/.test(text);
}

/**
 * A model in several files, by its index: names in the index's order, every name in the shard that the index says and
 * in no other. Shards are plain names in the index's folder. Throws BnsumError UNSAFE for any other name, MISMATCH when
 * index and shards contradict each other.
 */
export async function readShards(source: ByteSource, siblings: Siblings, options: ReadOptions): Promise<RawModel> {
  const file = source.label;
  const json = parseJson(await source.read(0, source.size), { file });
  const map = objectAt(json, 'weight_map');
  if (map === undefined) throw new BnsumError({ code: 'MALFORMED', file, reason: 'no weight_map' });
  const shardOf = new Map<string, string>();
  for (const [name, shard] of map) {
    if (typeof shard !== 'string' || shard === '' || shard === '.' || shard === '..' || /[/\\:\0]/.test(shard)) {
      throw new BnsumError({
        code: 'UNSAFE',
        file,
        place: name,
        reason: `names the shard ${JSON.stringify(shard)}; a shard is a plain file name in the same folder`,
      });
    }
    shardOf.set(name, shard);
  }
  const found = new Map<string, RawTensor>();
  const diagnostics: Diagnostic[] = [];
  const optimizer: Tensor[] = [];
  const unexpected: string[] = [];
  const versions = new Map<string, number>();
  for (const shard of new Set(shardOf.values())) {
    const part = await siblings.open(shard);
    const raw = await readShard(part, options, `${shard}:`);
    for (const tensor of raw.tensors) {
      if (shardOf.get(tensor.name) === shard) found.set(tensor.name, tensor);
      else unexpected.push(`${shard}: ${tensor.name}`);
    }
    for (const [path, version] of raw.versions ?? []) versions.set(path, version);
    for (const diagnostic of raw.diagnostics) if (diagnostic.code !== 'COMMON_PREFIX') diagnostics.push(diagnostic);
  }
  const tensors: RawTensor[] = [];
  for (const [name, shard] of shardOf) {
    const tensor = found.get(name);
    if (tensor === undefined) {
      throw new BnsumError({
        code: 'MISMATCH',
        file,
        place: name,
        reason: `the index places it in ${shard}, which does not hold it`,
      });
    }
    tensors.push(tensor);
  }
  if (unexpected.length > 0) {
    diagnostics.push(note('WEIGHT_UNEXPECTED', { file }, { count: unexpected.length, first: unexpected.slice(0, 5) }));
  }
  return {
    format: 'torch-zip',
    producer: { framework: 'torch', version: '', backend: '' },
    tensors,
    modules: new Map(),
    versions: versions.size === 0 ? undefined : versions,
    optimizer,
    diagnostics,
    extra: new Map(),
  };
}

async function readShard(source: ByteSource, options: ReadOptions, scope: string): Promise<RawModel> {
  const head = await source.read(0, Math.min(4, source.size));
  return head[0] === 0x50 && head[1] === 0x4b
    ? readTorchZip(source, options, scope)
    : readLegacy(source, options, scope);
}
