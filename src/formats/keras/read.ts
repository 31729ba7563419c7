import { parseJson } from '../../bytes/json.ts';
import type { ByteSource, Probe, ReadOptions, Siblings } from '../../bytes/source.ts';
import { readZip, type ZipArchive, type ZipMember } from '../../bytes/zip-read.ts';
import { type Diagnostic, note, type Outcome } from '../../ir/diagnostic.ts';
import { BnsumError } from '../../ir/error.ts';
import { isObject, type Json, objectAt, stringAt } from '../../ir/json.ts';
import { LIMITS } from '../../ir/limits.ts';
import type { Model, Tensor } from '../../ir/model.ts';
import { eraOf } from '../../layers/attribute.ts';
import { type Generation, type LayerSpec, layersBelow, parseArchitecture } from './architecture.ts';
import { readArchitectureAlone } from './architecture-only.ts';
import { type Assigned, variablesOf } from './assignment.ts';
import { type Hdf5Dataset, type Hdf5File, joinPath, splitText, textAttribute, textList } from './hdf5.ts';
import { findSuperblock, openHdf5 } from './hdf5-open.ts';
import { inferInputs } from './inputs.ts';
import { arraysOf, assignLegacy } from './legacy.ts';
import { buildModel, stemOf } from './model.ts';
import { assignPositional, isApart, readStore, type VariableStore } from './positional.ts';
import { tensorOf } from './tensor.ts';
import { looseLegacy, looseModel, looseNumbered, loosePositional } from './weights-only.ts';
import { wireModels } from './wiring.ts';

/** Bytes of metadata.json and of a weight map that are read at most. */
const SMALL_JSON_BYTES = 16 * 1024 * 1024;

/** The architecture of a model as a file states it. */
interface Stated {
  readonly config: Json;
  readonly trainingConfig: Json | undefined;
  readonly generation: Generation;
}

/** Reads any Keras file. Throws BnsumError. */
export async function readKeras(
  source: ByteSource,
  siblings: Siblings,
  options: ReadOptions & { readonly silentMilliseconds?: number },
): Promise<Outcome<Model>> {
  const head = await source.read(0, Math.min(source.size, 4));
  if (head[0] === 0x50 && head[1] === 0x4b) return readArchive(source, options);
  if ((await findSuperblock(source)) !== undefined) return readHdf5(source, options);
  return readJson(source, siblings, options);
}

/** Whether a file is for this reader, by content alone. */
export async function matchKeras(probe: Probe, source: ByteSource): Promise<'no' | 'maybe' | 'yes'> {
  const { head } = probe;
  if (head[0] === 0x50 && head[1] === 0x4b && head[2] === 0x03 && head[3] === 0x04) {
    const archive = await readZip(source, 'lenient');
    return archive.get('config.json') !== undefined || archive.get('metadata.json') !== undefined
      ? 'yes'
      : archive.get('model.weights.h5') !== undefined
        ? 'yes'
        : 'no';
  }
  const text = new TextDecoder().decode(head.subarray(0, 4096)).trimStart();
  if (text.startsWith('{')) {
    if (/"class_name"\s*:/.test(text) && /"config"\s*:/.test(text)) return 'yes';
    return /"weight_map"\s*:/.test(text) && /\.weights\.h5"/.test(text) ? 'yes' : 'no';
  }
  const bases = [0, 512, 1024, 2048];
  if (bases.some((base) => isHdf5At(head, base))) return 'yes';
  if (probe.size <= head.length || /^[\x20-\x7e\s]/.test(text.slice(0, 1))) return 'no';
  return (await findSuperblock(source).catch(() => undefined)) === undefined ? 'no' : 'yes';
}

function isHdf5At(head: Uint8Array, base: number): boolean {
  const signature = [0x89, 0x48, 0x44, 0x46, 0x0d, 0x0a, 0x1a, 0x0a];
  return signature.every((byte, index) => head[base + index] === byte);
}

async function openTree(
  source: ByteSource,
  options: ReadOptions & { readonly silentMilliseconds?: number },
): Promise<Hdf5File> {
  const file = await openHdf5(source, {
    workers: options.workers,
    silentMilliseconds: options.silentMilliseconds,
  });
  try {
    refuseForeignBytes(file);
  } catch (error) {
    await file.close();
    throw error;
  }
  return file;
}

/** Links and storage that lead out of the file. Keras refuses them too. */
function refuseForeignBytes(file: Hdf5File): void {
  for (const group of file.groups.values()) {
    for (const [name, kind] of group.children) {
      if (kind !== 'soft' && kind !== 'external') continue;
      throw new BnsumError({
        code: 'UNSAFE',
        file: file.label,
        place: joinPath(group.path, name),
        reason:
          kind === 'soft' ? 'a soft link, which is never followed' : 'a link into another file, which is never opened',
        next: 'write the model again in one piece',
      });
    }
  }
  for (const dataset of file.datasets.values()) {
    if (!dataset.external && dataset.layout !== 'virtual') continue;
    throw new BnsumError({
      code: 'UNSAFE',
      file: file.label,
      place: dataset.path,
      reason: `its bytes are in other files (${dataset.external ? 'external storage' : 'a virtual dataset'}), which are never opened`,
      next: 'write the model again in one piece',
    });
  }
}

/** Where in an HDF5 file a Keras model lies. */
interface Layout {
  readonly kind: 'legacy' | 'positional' | 'numbered';
  /** Group with the attributes of the model: '' or 'model/kerasmodel'. */
  readonly holder: string;
  /** Legacy: group with the layers. */
  readonly base: string;
}

function layoutOf(file: Hdf5File): Layout {
  for (const holder of ['', 'model/kerasmodel']) {
    const group = file.groups.get(holder);
    if (group === undefined) continue;
    const weights = joinPath(holder, 'model_weights');
    if (textList(group, 'layer_names') !== undefined) return { kind: 'legacy', holder, base: holder };
    if (textList(file.groups.get(weights), 'layer_names') !== undefined)
      return { kind: 'legacy', holder, base: weights };
    if (group.attributes.has('nb_layers')) {
      return { kind: 'numbered', holder, base: holder };
    }
    if (group.attributes.has('model_config')) {
      throw new BnsumError({
        code: 'MISMATCH',
        file: file.label,
        reason: 'has a model_config and no weights of it (no layer_names)',
      });
    }
  }
  const numbered = [...file.datasets.keys()].some((path) => /(^|[/\\])vars\/\d+$/.test(path));
  const empty = file.datasets.size === 0 && [...file.groups.keys()].some((path) => /(^|[/\\])vars$/.test(path));
  if (numbered || empty) return { kind: 'positional', holder: '', base: '' };
  const { size } = file.datasets;
  const first = [...file.datasets.keys()].slice(0, 3).join(', ');
  throw new BnsumError({
    code: 'NOT_A_MODEL',
    file: file.label,
    reason: `an HDF5 file with ${size} dataset${size === 1 ? '' : 's'}${size === 0 ? '' : ` (${first}${size > 3 ? ' …' : ''})`} and no Keras model in it`,
  });
}

function statedBy(file: Hdf5File, layout: Layout): Stated | undefined {
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

function layersCounted(file: Hdf5File, holder: string): number {
  const count = file.groups.get(holder)?.attributes.get('nb_layers');
  if (typeof count === 'number' && Number.isSafeInteger(count) && count >= 0 && count <= LIMITS.layers) return count;
  throw new BnsumError({ code: 'MALFORMED', file: file.label, place: 'nb_layers', reason: 'is no count of layers' });
}

/** Files without `keras_version` are Keras 1: its weights files have none. */
function generationOf(file: Hdf5File, layout: Layout): Generation {
  const holders = [file.groups.get(layout.holder), file.groups.get(layout.base)];
  const find = (name: string): string | undefined =>
    holders.map((group) => textAttribute(group, name)).find((value) => value !== undefined);
  return { version: find('keras_version') ?? '1', backend: find('backend') ?? '' };
}

function jsonText(text: string, file: string, place: string): Json {
  if (text.includes('\ufffd')) throw new BnsumError({ code: 'MALFORMED', file, place, reason: 'is not valid UTF-8' });
  return parseJson(new TextEncoder().encode(text), { file, place }, { nonFinite: true });
}

async function readHdf5(
  source: ByteSource,
  options: ReadOptions & { readonly silentMilliseconds?: number },
): Promise<Outcome<Model>> {
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
      return positionalModel({ source, files: [file], store, stated, format, bytesRead, close });
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

async function statedByOption(options: ReadOptions): Promise<Stated | undefined> {
  return options.config === undefined ? undefined : readStated(options.config, options);
}

/** The architecture in any file that has one: JSON text, `.keras`, whole-model HDF5. */
async function readStated(source: ByteSource, options: ReadOptions): Promise<Stated> {
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

async function wholeJson(source: ByteSource): Promise<Json> {
  if (source.size > LIMITS.jsonBytes) {
    throw new BnsumError({
      code: 'LIMIT',
      file: source.label,
      reason: `JSON of ${source.size} bytes, the limit is ${LIMITS.jsonBytes}`,
    });
  }
  return parseJson(await source.read(0, source.size), { file: source.label }, { nonFinite: true });
}

function statedByJson(json: Json, file: string): Stated {
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

async function statedByArchive(archive: ZipArchive, file: string): Promise<Stated> {
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

interface LegacyParts {
  readonly source: ByteSource;
  readonly file: Hdf5File;
  readonly layout: Layout;
  readonly own: Stated | undefined;
  readonly stated: Stated | undefined;
  readonly format: string;
  readonly bytesRead: () => number;
  readonly close: () => Promise<void>;
}

function legacyModel(parts: LegacyParts): Outcome<Model> {
  const { source, file, layout, own, stated, format, bytesRead, close } = parts;
  const { label } = source;
  const tensor = (dataset: Hdf5Dataset, name: string, policy?: string): Tensor => tensorOf(file, dataset, policy, name);
  const optimizer = arraysOf(file, joinPath(layout.holder, 'optimizer_weights')).map(({ name, dataset }) =>
    tensor(dataset, name, 'float32'),
  );
  const generation = generationOf(file, layout);
  if (stated === undefined) {
    const { version, backend } = generation;
    return looseModel(
      {
        label,
        name: stemOf(label),
        format,
        producer: {
          framework: eraOf(version) === 'tfkeras' ? 'tf.keras' : 'keras',
          version: version === '1' ? '' : version,
          backend,
        },
        tensor: (dataset, name) => tensor(dataset, name),
        optimizer,
        diagnostics: [],
        bytesRead,
        close,
      },
      layout.kind === 'numbered'
        ? looseNumbered(file, layout.holder, layersCounted(file, layout.holder))
        : looseLegacy(file, layout.base),
    );
  }
  const effective = own?.generation ?? (stated.generation.version === '' ? generation : stated.generation);
  const names = textList(file.groups.get(layout.base), 'layer_names') ?? [];
  const root = parseArchitecture(stated.config, label, effective, names);
  if (root.form === 'subclassed') {
    throw new BnsumError({
      code: 'UNSUPPORTED',
      file: label,
      reason: `the config of ${root.type}, a class of its own, does not tell its layers`,
    });
  }
  const diagnostics: Diagnostic[] =
    effective.version === '1' ? [note('ASSUMED', { file: label }, { what: 'keras_version', value: '1' })] : [];
  const graphs = wireModels(root, label, effective.version);
  return buildModel({
    source,
    format,
    root,
    graphs,
    generation: effective,
    assignment: assignLegacy(file, layout.base, root, inferInputs(root, graphs), isUnbuilt(root)),
    optimizer,
    tensor: ({ dataset, name }: Assigned, policy) => tensor(dataset, name, policy),
    config: stated.config,
    trainingConfig: stated.trainingConfig,
    diagnostics,
    bytesRead,
    close,
  });
}

/** A Sequential that was never given an input shape has no weights yet. */
function isUnbuilt(root: LayerSpec): boolean {
  if (root.form !== 'sequential') return false;
  const [first] = root.children;
  const stated = root.inputs ?? root.buildInputs ?? first?.inputs ?? null;
  return stated === null && root.entry.size === 0;
}

interface PositionalParts {
  readonly source: ByteSource;
  readonly diagnostics?: readonly Diagnostic[];
  readonly files: readonly Hdf5File[];
  readonly store: VariableStore;
  readonly stated: Stated | undefined;
  readonly format: string;
  readonly bytesRead: () => number;
  readonly close: () => Promise<void>;
}

function positionalModel(parts: PositionalParts): Outcome<Model> {
  const { source, files, store, stated, format, bytesRead, close } = parts;
  const { label } = source;
  const holder = new Map<Hdf5Dataset, Hdf5File>();
  for (const file of files) for (const dataset of file.datasets.values()) holder.set(dataset, file);
  const tensor = (dataset: Hdf5Dataset, name: string, policy?: string): Tensor => {
    const file = holder.get(dataset);
    if (file === undefined) throw new BnsumError({ code: 'INTERNAL', reason: `${name} belongs to no file` });
    return tensorOf(file, dataset, policy, name);
  };
  const optimizer: Tensor[] = [];
  for (const [object, arrays] of store.arrays) {
    if (!isApart(object) || !object.startsWith('optimizer')) continue;
    for (const dataset of arrays) optimizer.push(tensor(dataset, dataset.path, 'float32'));
  }
  const generation = stated?.generation ?? { version: '', backend: '' };
  const root = stated === undefined ? undefined : parseArchitecture(stated.config, label, generation);
  if (stated === undefined || root === undefined || root.form === 'subclassed') {
    const known = root !== undefined;
    const outcome = looseModel(
      {
        label,
        name: root?.name === undefined || root.name === '' ? stemOf(label) : root.name,
        format,
        producer: { framework: eraOf(generation.version) === 'tfkeras' ? 'tf.keras' : 'keras', ...generation },
        tensor: (dataset, name) => tensor(dataset, name),
        optimizer,
        diagnostics: [
          ...(parts.diagnostics ?? []),
          ...(known ? [note('CUSTOM_LAYER', { file: label }, { type: root.type })] : []),
        ],
        bytesRead,
        close,
      },
      loosePositional(store),
    );
    if (stated === undefined) return outcome;
    const { value, diagnostics } = outcome;
    return { value: { ...value, origin: { config: stated.config } }, diagnostics };
  }
  const graphs = wireModels(root, label, generation.version);
  return buildModel({
    source,
    format,
    root,
    graphs,
    generation,
    assignment: assignPositional(store, root, inferInputs(root, graphs), isUnbuilt(root)),
    optimizer,
    tensor: ({ dataset, name }: Assigned, policy) => tensor(dataset, name, policy),
    config: stated.config,
    trainingConfig: stated.trainingConfig,
    diagnostics: [...(parts.diagnostics ?? []), ...mergedKernels(label, root)],
    bytesRead,
    close,
  });
}

/** `.keras` holds an adapted kernel with its matrices already in it; Keras adds matrices of zeros when it loads it. */
function mergedKernels(file: string, root: LayerSpec): readonly Diagnostic[] {
  return layersBelow(root)
    .filter(({ spec }) => variablesOf(spec)?.some((variable) => variable.legacyOnly === true) === true)
    .map(({ spec }) => note('ASSUMED', { file, layer: spec.path }, { what: 'lora', value: 'merged into the kernel' }));
}

async function readArchive(
  source: ByteSource,
  options: ReadOptions & { readonly silentMilliseconds?: number },
): Promise<Outcome<Model>> {
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
    return positionalModel({
      source,
      diagnostics,
      files: [checked],
      store: readStore([checked], inner.label),
      stated,
      format: 'keras-zip',
      bytesRead: () => source.bytesRead() + file.bytesRead(),
      close: async () => {
        await file.close();
        await source.close();
      },
    });
  } catch (error) {
    await file.close();
    throw error;
  }
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

async function readJson(
  source: ByteSource,
  siblings: Siblings,
  options: ReadOptions & { readonly silentMilliseconds?: number },
): Promise<Outcome<Model>> {
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
