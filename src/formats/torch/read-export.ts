import { codec } from '../../bytes/codec.ts';
import { formatJson, parseJson } from '../../bytes/json.ts';
import type { ByteSource, ReadOptions } from '../../bytes/source.ts';
import type { ZipMember } from '../../bytes/zip-read.ts';
import { type Diagnostic, note } from '../../ir/diagnostic.ts';
import type { DType } from '../../ir/dtype.ts';
import { BnsumError, isBnsumError } from '../../ir/error.ts';
import {
  booleanAt,
  isList,
  isObject,
  type Json,
  type JsonObject,
  listAt,
  numberAt,
  objectAt,
  stringAt,
} from '../../ir/json.ts';
import { LIMITS } from '../../ir/limits.ts';
import type { Tensor } from '../../ir/model.ts';
import type { ModuleFacts, RawTensor } from '../../layers/recognise.ts';
import { readExportModules } from './export-graph.ts';
import type { RawModel } from './raw-model.ts';
import { isOldExport, readTorchZip, recordBytes, TORCH, type TorchArchive } from './read-zip.ts';
import { makeStridedTensor, type StorageBytes } from './strided.ts';

/** torch.export's numbers of dtypes (its schema's ScalarType). */
const DTYPE_CODES: ReadonlyMap<number, DType> = new Map([
  [1, 'uint8'],
  [2, 'int8'],
  [3, 'int16'],
  [4, 'int32'],
  [5, 'int64'],
  [6, 'float16'],
  [7, 'float32'],
  [8, 'float64'],
  [9, 'complex32'],
  [10, 'complex64'],
  [11, 'complex128'],
  [12, 'bool'],
  [13, 'bfloat16'],
  [28, 'uint16'],
  [29, 'float8_e4m3fn'],
  [30, 'float8_e5m2'],
  [31, 'float8_e4m3fnuz'],
  [32, 'float8_e5m2fnuz'],
  [33, 'float8_e8m0fnu'],
  [34, 'uint32'],
  [35, 'uint64'],
]);

/**
 * A file of torch.export. New form (2.8 and later): raw weights, listed by a JSON file, and the program as JSON; old
 * form: a zip around a torch.save'd state_dict and the program. Of the program only module names and the settings of
 * normalisations and convolutions are used.
 */
export async function readExport(archive: TorchArchive, options: ReadOptions): Promise<RawModel> {
  const old = archive.zip.members.find((member) => isOldExport(member.name));
  return old === undefined ? readNew(archive, options) : readOld(archive, old, options);
}

async function readJson(archive: TorchArchive, member: ZipMember): Promise<Json> {
  const bytes = await archive.zip.read(member, LIMITS.jsonBytes);
  return parseJson(bytes, { file: `${archive.file}!${member.name}` }, { nonFinite: true });
}

async function readNew(archive: TorchArchive, options: ReadOptions): Promise<RawModel> {
  const { zip, root, file } = archive;
  const programs = zip.members.filter(
    (member) => member.name.startsWith(`${root}models/`) && member.name.endsWith('.json'),
  );
  const names = programs.map((member) => member.name.slice(`${root}models/`.length, -'.json'.length));
  const wanted = options.pick ?? (names.length === 1 ? names[0] : 'model');
  const index = names.indexOf(wanted ?? '');
  const program = programs[index];
  if (program === undefined || wanted === undefined) {
    throw new BnsumError({
      code: options.pick === undefined ? 'AMBIGUOUS' : 'NOT_FOUND',
      file,
      reason: `it holds the programs ${names.join(', ') || '(none)'}`,
      next: 'choose one with --pick NAME',
    });
  }
  const config = zip.get(`${root}data/weights/${wanted}_weights_config.json`);
  if (config === undefined) {
    throw new BnsumError({ code: 'MALFORMED', file, reason: `no list of weights for the program ${wanted}` });
  }
  const weights = objectAt(await readJson(archive, config), 'config');
  if (weights === undefined) {
    throw new BnsumError({ code: 'MALFORMED', file: `${file}!${config.name}`, reason: 'no "config" in it' });
  }
  const json = await readJson(archive, program);
  const storages = new Map<string, StorageBytes>();
  const tensors: RawTensor[] = [];
  for (const [name, facts] of weights) {
    if (!isObject(facts)) throw malformed(archive, name, 'no description');
    tensors.push(readWeight(archive, 'weights', name, facts, storages));
  }
  const diagnostics: Diagnostic[] = [];
  if (names.length > 1) {
    diagnostics.push(
      note(
        'CANDIDATE_CHOSEN',
        { file },
        { chosen: wanted, reason: options.pick === undefined ? 'preferred name' : 'picked', candidates: names },
      ),
    );
  }
  const constants = await readConstants(archive, wanted);
  const model = finish(archive, tensors, constants, readExportModules(json), json, diagnostics);
  const others = names.filter((name) => name !== wanted);
  if (others.length === 0) return model;
  return { ...model, beside: () => new Map(others.map((name) => [name, { text: null, tensors: true }])) };
}

/** Tensors that the program was traced with and that are no part of the state. */
async function readConstants(archive: TorchArchive, program: string): Promise<readonly Tensor[]> {
  const member = archive.zip.get(`${archive.root}data/constants/${program}_constants_config.json`);
  if (member === undefined) return [];
  const storages = new Map<string, StorageBytes>();
  const tensors: Tensor[] = [];
  for (const [name, facts] of objectAt(await readJson(archive, member), 'config') ?? []) {
    // Objects of custom classes stand in the same list, without sizes.
    if (!isObject(facts) || objectAt(facts, 'tensor_meta') === undefined) continue;
    if (booleanAt(facts, 'use_pickle') === true) continue;
    tensors.push(readWeight(archive, 'constants', name, facts, storages).tensor);
  }
  return tensors;
}

/** What a node remembers of the machine that traced it, and where a tensor lay then. */
const OF_THE_MACHINE: ReadonlySet<string> = new Set(['metadata', 'device', 'as_device']);

/**
 * SHA-256 of an exported program: its graph and signature, how a caller gives its inputs and takes its outputs, and the
 * sizes that it is made for. Left out is what only the machine or the example of the tracing gave it: stack traces,
 * devices, and the size that stood where any size may (`hint`). Source: torch/_export/serde/schema.py of PyTorch 2.13.
 */
function hashGraph(program: Json): string {
  const module = objectAt(program, 'graph_module');
  const told = new Map<string, Json>([
    ['graph', plainGraph(module?.get('graph') ?? null)],
    ['signature', plainGraph(module?.get('signature') ?? null)],
    ['calls', callsOf(module)],
    ['ranges', rangesOf(program)],
  ]);
  const hash = codec().sha256();
  hash.update(new TextEncoder().encode(formatJson(told, { nonFinite: true })));
  return hash.digest();
}

/** The signatures of the modules that have one: of the whole program, unless others were asked for. */
function callsOf(module: JsonObject | undefined): Json {
  return (listAt(module, 'module_call_graph') ?? [])
    .filter((entry) => objectAt(entry, 'signature') !== undefined)
    .map((entry) => [stringAt(entry, 'fqn') ?? '', plainGraph(objectAt(entry, 'signature') ?? null)]);
}

/** Bounds of the sizes that may vary, by their symbols in order. */
function rangesOf(program: Json): Json {
  const ranges = objectAt(program, 'range_constraints') ?? new Map<string, Json>();
  return [...ranges].toSorted(([one], [other]) => (one < other ? -1 : 1)).map(([symbol, range]) => [symbol, range]);
}

function plainGraph(value: Json): Json {
  if (isList(value)) return value.map(plainGraph);
  if (!isObject(value)) return value;
  const isSymbolic = value.has('expr_str');
  const kept = [...value].filter(([key]) => !OF_THE_MACHINE.has(key) && !(isSymbolic && key === 'hint'));
  return new Map(kept.map(([key, inner]) => [key, plainGraph(inner)]));
}

function finish(
  archive: TorchArchive,
  tensors: readonly RawTensor[],
  constants: readonly Tensor[],
  modules: ReadonlyMap<string, ModuleFacts>,
  program: Json,
  diagnostics: readonly Diagnostic[],
): RawModel {
  return {
    format: 'torch-export',
    producer: { ...TORCH, version: stringAt(program, 'torch_version') ?? '' },
    tensors,
    modules,
    versions: undefined,
    optimizer: [],
    diagnostics: [...diagnostics, ...notSaved(archive, program)],
    extra: new Map(),
    constants,
    // Lock files of before have 'program', a hash without calls and ranges, and with devices.
    program: new Map([['exported', () => hashGraph(program)]]),
  };
}

function malformed(archive: TorchArchive, name: string, reason: string): BnsumError {
  return new BnsumError({ code: 'MALFORMED', file: archive.file, place: name, reason });
}

/** Symbolic sizes are objects; only plain integers are sizes of weights. */
function integers(meta: JsonObject, key: string): readonly number[] | undefined {
  const list = listAt(meta, key)?.map((item) => numberAt(item, 'as_int'));
  return list?.every((item) => item !== undefined && Number.isSafeInteger(item) && item >= 0)
    ? (list as readonly number[])
    : undefined;
}

function readWeight(
  archive: TorchArchive,
  folder: 'weights' | 'constants',
  name: string,
  facts: JsonObject,
  storages: Map<string, StorageBytes>,
): RawTensor {
  const meta = objectAt(facts, 'tensor_meta');
  const path = stringAt(facts, 'path_name');
  const isParameter = booleanAt(facts, 'is_param') ?? null;
  if (meta === undefined || path === undefined) throw malformed(archive, name, 'no tensor_meta or path_name');
  if (booleanAt(facts, 'use_pickle') === true) {
    throw new BnsumError({
      code: 'UNSUPPORTED',
      file: archive.file,
      place: name,
      reason: 'a weight of a tensor subclass, stored as a pickle of its own',
    });
  }
  const dtype = DTYPE_CODES.get(numberAt(meta, 'dtype') ?? -1);
  const shape = integers(meta, 'sizes');
  const strides = integers(meta, 'strides');
  const offset = numberAt(objectAt(meta, 'storage_offset'), 'as_int');
  if (dtype === undefined) throw malformed(archive, name, `dtype code ${numberAt(meta, 'dtype')} is not known`);
  if (
    shape === undefined ||
    strides === undefined ||
    offset === undefined ||
    !Number.isSafeInteger(offset) ||
    offset < 0
  ) {
    throw malformed(archive, name, 'sizes, strides or offset are no whole numbers');
  }
  const record = `${archive.root}data/${folder}/${path}`;
  let storage = storages.get(path);
  if (storage === undefined) {
    const member = archive.zip.get(record);
    if (member === undefined) throw malformed(archive, name, `the file holds no ${record}`);
    storage = recordBytes(archive, member, member.size, record);
    storages.set(path, storage);
  }
  const tensor = makeStridedTensor({
    file: archive.file,
    name,
    dtype,
    shape,
    strides,
    offset,
    storage,
    encoding: { kind: 'dense' },
    refusal: undefined,
  });
  const requiresGrad = booleanAt(meta, 'requires_grad') ?? null;
  return { name, tensor, isParameter, trainable: isParameter === false ? false : requiresGrad };
}

async function readOld(archive: TorchArchive, program: ZipMember, options: ReadOptions): Promise<RawModel> {
  const { zip, file, scope } = archive;
  const folder = program.name.slice(0, program.name.length - 'serialized_exported_program.json'.length);
  // Early versions gave the torch.save'd state_dict the ending .json as well.
  const state = zip.get(`${folder}serialized_state_dict.pt`) ?? zip.get(`${folder}serialized_state_dict.json`);
  if (state === undefined) {
    throw new BnsumError({ code: 'MALFORMED', file, reason: `the file holds no ${folder}serialized_state_dict.pt` });
  }
  const json = await readJson(archive, program);
  const { pick: _, ...rest } = options;
  const inner = await readTorchZip(await zip.source(state), rest, `${scope}state/`);
  const parameters = new Set<string>();
  const buffers = new Set<string>();
  for (const spec of inputSpecs(json)) {
    const parameter = stringAt(objectAt(spec, 'parameter'), 'parameter_name');
    const buffer = stringAt(objectAt(spec, 'buffer'), 'buffer_name');
    if (parameter !== undefined) parameters.add(parameter);
    if (buffer !== undefined) buffers.add(buffer);
  }
  const tensors = inner.tensors.map((raw): RawTensor => {
    const isParameter = parameters.has(raw.name) ? true : buffers.has(raw.name) ? false : raw.isParameter;
    return { ...raw, isParameter, trainable: isParameter === false ? false : raw.trainable };
  });
  const held = zip.get(`${folder}serialized_constants.pt`);
  const constants = held === undefined ? [] : await readOldConstants(archive, await zip.source(held));
  return finish(archive, tensors, constants, readExportModules(json), json, inner.diagnostics);
}

async function readOldConstants(archive: TorchArchive, source: ByteSource): Promise<readonly Tensor[]> {
  try {
    const inner = await readTorchZip(source, {}, `${archive.scope}constants/`);
    return inner.tensors.map((raw) => raw.tensor);
  } catch (error) {
    // An empty dict, as most programs have it.
    if (isBnsumError(error) && error.code === 'NOT_A_MODEL') return [];
    throw error;
  }
}

function inputSpecs(program: Json): readonly Json[] {
  return listAt(objectAt(objectAt(program, 'graph_module'), 'signature'), 'input_specs') ?? [];
}

/** Buffers that the program marks as not persistent; they are no part of the state. */
function notSaved(archive: TorchArchive, program: Json): readonly Diagnostic[] {
  const names: string[] = [];
  for (const spec of inputSpecs(program)) {
    const buffer = objectAt(spec, 'buffer');
    const name = stringAt(buffer, 'buffer_name');
    if (name !== undefined && booleanAt(buffer, 'persistent') === false) names.push(name);
  }
  if (names.length === 0) return [];
  return [note('NOT_SAVED', { file: archive.file }, { count: names.length, first: names.slice(0, 5) })];
}
