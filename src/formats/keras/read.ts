import { codec } from '../../bytes/codec.ts';
import type { ByteSource, Probe, Siblings } from '../../bytes/source.ts';
import { readZip, type ZipArchive, type ZipMember } from '../../bytes/zip-read.ts';
import { note, type Outcome } from '../../ir/diagnostic.ts';
import { BnsumError } from '../../ir/error.ts';
import { objectAt, stringAt } from '../../ir/json.ts';
import { LIMITS } from '../../ir/limits.ts';
import type { Model } from '../../ir/model.ts';
import { readArchitectureAlone } from './architecture-only.ts';
import { legacyModel, positionalModel } from './containers.ts';
import type { Hdf5File } from './hdf5.ts';
import { findSuperblock } from './hdf5-open.ts';
import { isHdf5Signature } from './hdf5-structure.ts';
import { layoutOf, openTree, type TreeOptions } from './layout.ts';
import { readStore } from './positional.ts';
import { type Stated, statedBy, statedByArchive, statedByJson, statedByOption, wholeJson } from './stated.ts';

/** Reads any Keras file. Throws BnsumError. */
export async function readKeras(source: ByteSource, siblings: Siblings, options: TreeOptions): Promise<Outcome<Model>> {
  const head = await source.read(0, Math.min(source.size, 4));
  if (head[0] === 0x50 && head[1] === 0x4b) return readArchive(source, options);
  if ((await findSuperblock(source)) !== undefined) return readHdf5(source, options);
  return readJson(source, siblings, options);
}

/** The first member of what PyTorch saves, below a folder: its directory may have 100,000 entries, so it is not read. */
const TORCH_FIRST = /^[^\0/]+\/(?:data\.pkl|data\/|\.format_version|archive_format|byteorder|constants|version)/;

/** Whether a file is for this reader, by content alone. */
export async function matchKeras(probe: Probe, source: ByteSource): Promise<'no' | 'maybe' | 'yes'> {
  const { head } = probe;
  if (head[0] === 0x50 && head[1] === 0x4b && head[2] === 0x03 && head[3] === 0x04) {
    if (TORCH_FIRST.test(new TextDecoder('latin1').decode(head.subarray(30, 30 + 256)))) return 'no';
    const archive = await readZip(source, 'lenient');
    return archive.get('config.json') !== undefined || archive.get('metadata.json') !== undefined
      ? 'yes'
      : archive.get('model.weights.h5') !== undefined
        ? 'yes'
        : 'no';
  }
  const text = new TextDecoder().decode(head.subarray(0, 4096)).trimStart();
  if (text.startsWith('{')) {
    // A pt-json file keeps the config of the model that it was made from.
    if (/^\{\s*"format"\s*:\s*"pt-json"/.test(text)) return 'no';
    if (/"class_name"\s*:/.test(text) && /"config"\s*:/.test(text)) return 'maybe';
    return /"weight_map"\s*:/.test(text) && /\.weights\.h5"/.test(text) ? 'yes' : 'no';
  }
  const bases = [0, 512, 1024, 2048];
  if (bases.some((base) => isHdf5Signature(head.subarray(base)))) return 'yes';
  if (probe.size <= head.length || /^[\x20-\x7e\s]/.test(text.slice(0, 1))) return 'no';
  return (await findSuperblock(source).catch(() => undefined)) === undefined ? 'no' : 'yes';
}

async function readHdf5(source: ByteSource, options: TreeOptions): Promise<Outcome<Model>> {
  const file = await openTree(source, options);
  try {
    const layout = layoutOf(file);
    const own = layout.kind === 'legacy' ? statedBy(file, layout) : undefined;
    const stated = own ?? (await statedByOption(options));
    const format = own === undefined ? 'keras-weights-h5' : 'keras-h5';
    const bytesRead = (): number => source.bytesRead() + file.bytesRead();
    const close = async (): Promise<void> => {
      await file.close();
      await source.close();
    };
    if (layout.kind === 'positional') {
      const store = readStore([file], source.label);
      return subclassTold(positionalModel({ source, files: [file], store, stated, format, bytesRead, close }), stated);
    }
    if (layout.kind === 'numbered' && stated !== undefined) {
      throw new BnsumError({
        code: 'UNSUPPORTED',
        file: source.label,
        reason: 'weights of Keras 0.x carry no names that a config could be matched with',
      });
    }
    return legacyModel({ source, file, layout, own, stated, format, bytesRead, close });
  } catch (error) {
    await file.close();
    throw error;
  }
}

/** A subclassed model lacks its architecture for good: its note has the class, so that nobody looks for a config. */
function subclassTold(outcome: Outcome<Model>, stated: Stated | undefined): Outcome<Model> {
  const type = stringAt(stated?.config, 'class_name');
  if (type === undefined || outcome.value.graphs.size > 0) return outcome;
  const diagnostics = outcome.diagnostics.map((one) =>
    one.code === 'NO_ARCHITECTURE' ? note('NO_ARCHITECTURE', one.at, { type }) : one,
  );
  return { ...outcome, diagnostics };
}

async function readArchive(source: ByteSource, options: TreeOptions): Promise<Outcome<Model>> {
  const archive = await readZip(source);
  const stated = await statedByArchive(archive, source.label);
  const member = archive.get('model.weights.h5');
  if (member === undefined) {
    const arrays = archive.get('model.weights.npz') !== undefined;
    throw new BnsumError({
      code: arrays ? 'UNSUPPORTED' : 'NOT_FOUND',
      file: source.label,
      reason: arrays
        ? 'its weights are a model.weights.npz (pickled arrays), which is not read'
        : 'a .keras archive without model.weights.h5',
      next: arrays ? 'save it with model.save(), which writes HDF5' : 'save the model again',
    });
  }
  const inner = await archive.source(member);
  const file = await openTree(inner, options);
  const diagnostics =
    stated.generation.version === ''
      ? [note('ASSUMED', { file: source.label }, { what: 'keras_version', value: '3' })]
      : [];
  // Headers are read without the rest of the member; whoever wants values gets them from bytes whose checksum is right.
  let sound: Promise<void> | undefined;
  const checked: Hdf5File = {
    ...file,
    async readInto(...given) {
      sound ??= refuseWrongChecksum(archive, member, inner.label);
      await sound;
      return file.readInto(...given);
    },
  };
  try {
    const outcome = positionalModel({
      source,
      diagnostics,
      files: [checked],
      store: readStore([checked], inner.label),
      stated,
      assets: await assetsOf(archive),
      format: 'keras-zip',
      bytesRead: () => source.bytesRead() + file.bytesRead(),
      close: async () => {
        await file.close();
        await source.close();
      },
    });
    return subclassTold(outcome, stated);
  } catch (error) {
    await file.close();
    throw error;
  }
}

/** SHA-256 of what the archive holds below assets/: vocabularies that a layer was adapted to. */
async function assetsOf(archive: ZipArchive): Promise<ReadonlyMap<string, string>> {
  const found = new Map<string, string>();
  for (const member of archive.members) {
    if (!member.name.startsWith('assets/') || member.name.endsWith('/')) continue;
    const hash = codec().sha256();
    hash.update(await archive.read(member, LIMITS.inflatedBytes));
    found.set(member.name.slice('assets/'.length), hash.digest());
  }
  return found;
}

async function refuseWrongChecksum(archive: ZipArchive, member: ZipMember, file: string): Promise<void> {
  if ((await archive.checkCrc(member)) !== 'wrong') return;
  throw new BnsumError({
    code: 'MALFORMED',
    file,
    reason: 'its bytes do not match its checksum',
    next: 'copy or download it again',
  });
}

async function readJson(source: ByteSource, siblings: Siblings, options: TreeOptions): Promise<Outcome<Model>> {
  const json = await wholeJson(source);
  const map = objectAt(json, 'weight_map');
  if (map === undefined) {
    const stated = statedByJson(json, source.label);
    return readArchitectureAlone(source, stated);
  }
  const names = new Set<string>();
  for (const [key, value] of map) {
    for (const name of Array.isArray(value) ? value : [value]) {
      if (typeof name !== 'string') {
        throw new BnsumError({ code: 'MALFORMED', file: source.label, place: key, reason: 'names no file' });
      }
      names.add(name);
    }
  }
  const files: Hdf5File[] = [];
  const opened: ByteSource[] = [];
  const close = async (): Promise<void> => {
    for (const file of files) await file.close();
    for (const shard of opened) await shard.close();
    await source.close();
  };
  try {
    for (const name of names) {
      const shard = await siblings.open(name);
      opened.push(shard);
      files.push(await openTree(shard, options));
    }
    return positionalModel({
      source,
      files,
      store: readStore(files, source.label),
      stated: await statedByOption(options),
      format: 'keras-weights-h5',
      bytesRead: () =>
        source.bytesRead() +
        opened.reduce((sum, shard) => sum + shard.bytesRead(), 0) +
        files.reduce((sum, file) => sum + file.bytesRead(), 0),
      close,
    });
  } catch (error) {
    for (const file of files) await file.close();
    for (const shard of opened) await shard.close();
    throw error;
  }
}
