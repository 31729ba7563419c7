import { mergeAdvice } from '../../bytes/sniff.ts';
import type { ByteSource, FormatReader, Probe, ReadOptions, Siblings } from '../../bytes/source.ts';
import { readZip } from '../../bytes/zip-read.ts';
import { note, type Outcome } from '../../ir/diagnostic.ts';
import { BnsumError, isBnsumError } from '../../ir/error.ts';
import type { Model } from '../../ir/model.ts';
import { recogniseLayers } from '../../layers/recognise.ts';
import { describeBarePickle, looksLikePickle } from './bare-pickle.ts';
import type { RawModel } from './raw-model.ts';
import { readLegacy } from './read-legacy.ts';
import { isShardIndex, readShards } from './read-shards.ts';
import { looksLikeTar, readTar } from './read-tar.ts';
import { readTorchZip } from './read-zip.ts';
import { findOverlaps } from './strided.ts';

/** LONG1 of the magic number, as every protocol writes it. */
const MAGIC: readonly number[] = [0x8a, 0x0a, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19, 0x2e];

function isLegacy(head: Uint8Array): boolean {
  for (let start = 0; start <= 24; start += 1) {
    if (MAGIC.every((byte, index) => head[start + index] === byte)) return true;
  }
  return false;
}

function hasBytes(head: Uint8Array, text: string): boolean {
  return [...text].every((character, index) => head[index] === character.charCodeAt(0));
}

/** Members that only PyTorch's archives have. */
const MEMBER = /(?:^|\/)(?:data\.pkl|constants\.pkl|archive_format|serialized_exported_program\.json)$/;

/** Whether the directory's bytes name such a member; cheaper than a directory of 100,000 members. */
function namesMember(bytes: Uint8Array): boolean {
  const text = new TextDecoder('latin1').decode(bytes);
  return /\/(?:data\.pkl|constants\.pkl|archive_format|serialization_id)|serialized_exported_program\.json/.test(text);
}

/** Reads everything that PyTorch writes: torch.save in its three containers, TorchScript, torch.export, shards. */
export const torchReader: FormatReader<Outcome<Model>> = {
  name: 'torch',
  async match(probe: Probe, source: ByteSource) {
    const { head, tail } = probe;
    if (hasBytes(head, 'PK\x03\x04')) {
      if (namesMember(head.subarray(0, 512)) || namesMember(tail)) return 'yes';
      try {
        const zip = await readZip(source, 'lenient');
        return zip.members.some((member) => MEMBER.test(member.name)) ? 'yes' : 'no';
      } catch (error) {
        if (isBnsumError(error)) return 'no';
        throw error;
      }
    }
    if (isLegacy(head)) return 'yes';
    if (looksLikeTar(head)) return 'yes';
    if (isShardIndex(head)) return 'yes';
    return looksLikePickle(head) ? 'maybe' : 'no';
  },
  async read(source, siblings, options) {
    const opened: ByteSource[] = [];
    const tracked: Siblings = {
      async open(name) {
        const shard = await siblings.open(name);
        opened.push(shard);
        return shard;
      },
    };
    const close = async (): Promise<void> => {
      for (const shard of opened) await shard.close();
      await source.close();
    };
    try {
      const raw = await readRaw(source, tracked, options);
      return finishModel(raw, source, close, () => opened.reduce((sum, shard) => sum + shard.bytesRead(), 0));
    } catch (error) {
      for (const shard of opened) await shard.close();
      throw error;
    }
  },
};

async function readRaw(source: ByteSource, siblings: Siblings, options: ReadOptions): Promise<RawModel> {
  if (source.label.endsWith('.distcp')) {
    throw new BnsumError({
      code: 'UNSUPPORTED',
      file: source.label,
      reason: 'one shard of a distributed checkpoint, which is a folder',
      next: mergeAdvice('FOLDER'),
    });
  }
  const head = await source.read(0, Math.min(source.size, 4096));
  if (hasBytes(head, 'PK\x03\x04')) return readTorchZip(source, options, '');
  if (isLegacy(head)) return readLegacy(source, options, '');
  if (looksLikeTar(head)) return readTar(source, options);
  if (isShardIndex(head)) return readShards(source, siblings, options);
  if (looksLikePickle(head)) throw await describeBarePickle(source);
  throw new BnsumError({ code: 'NOT_A_MODEL', file: source.label, reason: 'no file that PyTorch writes' });
}

function finishModel(
  raw: RawModel,
  source: ByteSource,
  close: () => Promise<void>,
  shardBytes: () => number,
): Outcome<Model> {
  const file = source.label;
  const layers = recogniseLayers(raw.tensors, raw.modules, file);
  const diagnostics = [...raw.diagnostics, ...layers.diagnostics];
  if (raw.modules.size === 0) diagnostics.push(note('NO_ARCHITECTURE', { file }, { framework: 'torch' }));
  const tensors = raw.sharesStorages === false ? [] : raw.tensors.map(({ tensor }) => tensor);
  for (const [tensor, other] of findOverlaps(tensors)) {
    diagnostics.push(note('PARTIAL_OVERLAP', { file, tensor: tensor.name }, { with: other.name }));
  }
  const root = raw.modules.get('');
  const value: Model = {
    name: stemOf(file),
    format: raw.format,
    dialect: 'torch',
    producer: raw.producer,
    layers: layers.value,
    graphs: new Map(),
    optimizer: raw.optimizer,
    trainable: null,
    origin: {
      ...(raw.versions === undefined ? {} : { moduleVersions: raw.versions }),
      ...(raw.extra.size === 0 ? {} : { extra: raw.extra }),
      ...(root === undefined ? {} : { rootType: root.type, rootAttrs: root.attrs }),
      ...(raw.constants === undefined ? {} : { constants: raw.constants }),
      ...(raw.program === undefined ? {} : { program: raw.program }),
      ...(raw.details === undefined ? {} : { details: raw.details }),
      ...(raw.beside === undefined ? {} : { beside: raw.beside }),
    },
    bytesRead: () => source.bytesRead() + shardBytes(),
    close,
  };
  return { value, diagnostics };
}

/** 'resnet18' of 'models/resnet18.pth'. */
function stemOf(label: string): string {
  const base = label.slice(Math.max(label.lastIndexOf('/'), label.lastIndexOf('\\')) + 1);
  const dot = base.indexOf('.', 1);
  return dot < 0 ? base : base.slice(0, dot);
}
