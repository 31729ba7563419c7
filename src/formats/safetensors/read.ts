import { denseTensor } from '../../bytes/dense-tensor.ts';
import { parseJson } from '../../bytes/json.ts';
import type { ByteSource, FormatReader, Probe, Siblings } from '../../bytes/source.ts';
import { type Diagnostic, note, type Outcome } from '../../ir/diagnostic.ts';
import { BnsumError } from '../../ir/error.ts';
import { EMPTY_OBJECT, isObject, type Json, objectAt } from '../../ir/json.ts';
import { LIMITS } from '../../ir/limits.ts';
import type { Model } from '../../ir/model.ts';
import { modulesFromJson, type StateModule } from '../../ir/state-modules.ts';
import { type RawTensor, recogniseLayers } from '../../layers/recognise.ts';
import { type Header, readHeader } from './header.ts';

/** `<name>.safetensors` and sharded sets, named by their `*.safetensors.index.json`. */
export const safetensorsReader: FormatReader<Outcome<Model>> = {
  name: 'safetensors',
  async match(probe) {
    if (looksLikeHeader(probe)) return 'yes';
    if (looksLikeIndex(probe)) return 'yes';
    return probe.name.endsWith('.safetensors') ? 'maybe' : 'no';
  },
  async read(source, siblings) {
    const first = await source.read(0, Math.min(source.size, 9));
    // Bytes 4 to 7 of a header's length are zero; a text has none.
    const isText = first[0] === 0x7b || (first[0] !== undefined && first[0] <= 0x20 && !first.includes(0));
    return isText ? readIndex(source, siblings) : readSingle(source);
  },
};

function looksLikeHeader({ head }: Probe): boolean {
  if (head.byteLength < 9 || head[8] !== 0x7b) return false;
  const length = new DataView(head.buffer, head.byteOffset, 8).getBigUint64(0, true);
  return length <= BigInt(LIMITS.safetensorsHeaderBytes);
}

function looksLikeIndex({ head, tail }: Probe): boolean {
  const text = latin1(head);
  if (!/^\s*\{/.test(text)) return false;
  return text.includes('"weight_map"')
    ? /\.safetensors"/.test(text)
    : latin1(tail).includes('"weight_map"') && /\.safetensors"/.test(latin1(tail) + text);
}

function latin1(bytes: Uint8Array): string {
  return new TextDecoder('latin1').decode(bytes);
}

async function readSingle(source: ByteSource): Promise<Outcome<Model>> {
  const header = await readHeader(source);
  const diagnostics: Diagnostic[] = [];
  const shard = /-(\d{5})-of-(\d{5})\.safetensors$/.exec(source.label);
  if (shard !== null && Number(shard[2]) > 1) {
    diagnostics.push(
      note(
        'ASSUMED',
        { file: source.label },
        {
          what: 'whether other shards belong to it',
          assumed: `shard ${Number(shard[1])} of ${Number(shard[2])} alone`,
        },
      ),
    );
  }
  const build = buildModel(source.label, tensorsOf(source, header), header.metadata, diagnostics);
  return build([source]);
}

async function readIndex(source: ByteSource, siblings: Siblings): Promise<Outcome<Model>> {
  const file = source.label;
  if (source.size > LIMITS.jsonBytes) {
    throw new BnsumError({
      code: 'LIMIT',
      file,
      reason: `an index of ${source.size} bytes, the limit is ${LIMITS.jsonBytes}`,
    });
  }
  const root = parseJson(await source.read(0, source.size), { file });
  const map = objectAt(root, 'weight_map');
  if (map === undefined) throw new BnsumError({ code: 'MALFORMED', file, reason: 'an index without a weight_map' });
  const shards = new Map<string, Map<string, RawTensor>>();
  const order: (readonly [tensor: string, shard: string])[] = [];
  for (const [tensor, shard] of map) {
    if (typeof shard !== 'string') {
      throw new BnsumError({ code: 'MALFORMED', file, place: `weight_map ${tensor}`, reason: 'names no file' });
    }
    refuseForeign(shard, file);
    shards.set(shard, new Map());
    order.push([tensor, shard]);
  }
  const opened: ByteSource[] = [];
  const metadata = new Map<string, string>();
  try {
    for (const [shard, tensors] of shards) {
      const part = await siblings.open(shard);
      opened.push(part);
      const header = await readHeader(part);
      for (const [key, value] of header.metadata) if (!metadata.has(key)) metadata.set(key, value);
      for (const raw of tensorsOf(part, header)) {
        if (map.get(raw.name) !== shard) {
          const said = map.get(raw.name);
          const reason =
            said === undefined
              ? 'is in this shard, the index does not name it'
              : `is in this shard, the index says ${String(said)}`;
          throw new BnsumError({ code: 'MISMATCH', file: part.label, place: raw.name, reason });
        }
        tensors.set(raw.name, raw);
      }
    }
    const ordered = order.map(([tensor, shard]) => {
      const raw = shards.get(shard)?.get(tensor);
      if (raw === undefined) {
        throw new BnsumError({
          code: 'MISMATCH',
          file,
          place: tensor,
          reason: `is not in ${shard}, where the index has it`,
        });
      }
      return raw;
    });
    return buildModel(file, ordered, metadata, [])([source, ...opened]);
  } catch (error) {
    for (const part of opened) await part.close();
    throw error;
  }
}

/** A shard is a plain name in the index's own folder. */
function refuseForeign(shard: string, file: string): void {
  if (/^[^/\\:\0]+\.safetensors$/.test(shard) && !shard.startsWith('..')) return;
  const shown = shard.length > 100 ? `${shard.slice(0, 100)}…` : shard;
  throw new BnsumError({
    code: 'UNSAFE',
    file,
    place: 'weight_map',
    reason: `names the shard '${shown}', which is no .safetensors file of the same folder`,
  });
}

function tensorsOf(source: ByteSource, header: Header): readonly RawTensor[] {
  return header.entries.map(({ name, dtype, shape, begin, end }) => {
    // Tensors never share bytes in this format. Joined: one flat text, where `+` would keep its pieces as well.
    const identity = [source.label, '#', name].join('');
    const tensor = denseTensor({
      file: source.label,
      name,
      dtype,
      shape,
      identity,
      storage: identity,
      async fill(start, into, signal) {
        if (source.readSync !== undefined && into.byteLength <= SYNC_BYTES) {
          source.readSync(begin + start, into);
          return;
        }
        for (let at = 0; at < into.byteLength; at += LIMITS.blockBytes) {
          const from = begin + start + at;
          const to = Math.min(begin + start + into.byteLength, from + LIMITS.blockBytes, end);
          into.set(await source.read(from, to, signal), at);
        }
      },
    });
    return { name, isParameter: null, trainable: null, tensor };
  });
}

const SYNC_BYTES = 1024 * 1024;

/** The framework that `__metadata__.format` names (Transformers' convention). */
const FRAMEWORKS: ReadonlyMap<string, string> = new Map([
  ['pt', 'torch'],
  ['tf', 'tensorflow'],
  ['flax', 'flax'],
  ['mlx', 'mlx'],
]);

/**
 * Writers that sort by type and name (safetensors.torch does) put layer 10 before layer 2 and tear modules of two types
 * apart; then the order says nothing of the model, and numbers are better counted. Any other order is the writer's own.
 */
function inNaturalOrder(tensors: readonly RawTensor[]): readonly RawTensor[] {
  const types = new Set<string>();
  let before: RawTensor | undefined;
  for (const raw of tensors) {
    const { dtype } = raw.tensor;
    if (before?.tensor.dtype === dtype ? raw.name < before.name : types.has(dtype)) return tensors;
    types.add(dtype);
    before = raw;
  }
  const keys = tensors.map((raw) => [raw.name.replace(/\d+/g, (digits) => digits.padStart(12, '0')), raw] as const);
  return keys.sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0)).map(([, raw]) => raw);
}

function buildModel(
  file: string,
  tensors: readonly RawTensor[],
  metadata: ReadonlyMap<string, string>,
  found: readonly Diagnostic[],
): (sources: readonly ByteSource[]) => Outcome<Model> {
  const modules = modulesOf(metadata, file);
  const { value: layers, diagnostics } = recogniseLayers(inNaturalOrder(tensors), modules, file);
  const config = sourceConfig(metadata, file);
  return (sources) => {
    const model: Model = {
      name: stemOf(file),
      format: 'safetensors',
      dialect: 'torch',
      producer: { framework: FRAMEWORKS.get(metadata.get('format') ?? '') ?? '', version: '', backend: '' },
      layers,
      graphs: new Map(),
      optimizer: [],
      trainable: null,
      origin: { extra: metadata, ...(config === undefined ? {} : { config }) },
      bytesRead: () => sources.reduce((sum, one) => sum + one.bytesRead(), 0),
      async close() {
        for (const one of sources) await one.close();
      },
    };
    return { value: model, diagnostics: [...found, ...diagnostics] };
  };
}

function modulesOf(metadata: ReadonlyMap<string, string>, file: string): ReadonlyMap<string, StateModule> {
  const text = metadata.get('bnsum.modules');
  if (text === undefined) return new Map();
  return modulesFromJson(embedded(text, file, 'bnsum.modules'), EMPTY_OBJECT, file);
}

/** The config of the model that this one was converted from. */
function sourceConfig(metadata: ReadonlyMap<string, string>, file: string): Json | undefined {
  const text = metadata.get('bnsum.source');
  if (text === undefined) return undefined;
  const source = embedded(text, file, 'bnsum.source');
  return isObject(source) ? source.get('model_config') : undefined;
}

function embedded(text: string, file: string, key: string): Json {
  const maxBytes = LIMITS.safetensorsHeaderBytes;
  return parseJson(
    new TextEncoder().encode(text),
    { file, place: `__metadata__ ${key}` },
    { nonFinite: true, maxBytes },
  );
}

function stemOf(label: string): string {
  const base = label.split(/[/\\]/).at(-1) ?? label;
  return base.replace(/\.index\.json$/, '').replace(/\.safetensors$/, '');
}
