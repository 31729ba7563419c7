import type { ByteSource, ReadOptions } from '../../bytes/source.ts';
import { readZip, type ZipArchive, type ZipMember } from '../../bytes/zip-read.ts';
import { type Diagnostic, note } from '../../ir/diagnostic.ts';
import { BnsumError, isBnsumError } from '../../ir/error.ts';
import { LIMITS } from '../../ir/limits.ts';
import { readCheckpoint } from './checkpoint.ts';
import { KeyTable } from './key-table.ts';
import type { PickleRun } from './pickle-event.ts';
import type { PickleOptions } from './pickle-machine.ts';
import type { PickleValue, StorageNode } from './pickle-value.ts';
import type { RawModel } from './raw-model.ts';
import { readExport } from './read-export.ts';
import { readScript } from './read-script.ts';
import { readStorageId, storageByteLength } from './storage.ts';
import type { StorageBytes } from './strided.ts';
import type { TensorContext } from './tensor-value.ts';
import { unpickle } from './unpickle.ts';

export const TORCH = { framework: 'torch', version: '', backend: '' } as const;

/** Versions of the record format that PyTorch's readers accept. */
const NEWEST_VERSION = 10;

/** A torch archive by its directory: its root folder and what the small records say. */
export interface TorchArchive {
  readonly zip: ZipArchive;
  readonly file: string;
  /** Folder that every record lies in, with its '/'. */
  readonly root: string;
  readonly bigEndian: boolean;
  /** Prefix of storage identities. */
  readonly scope: string;
}

/**
 * Opens a torch zip and reads the model in it: torch.save's state_dicts and modules, TorchScript, torch.export. Reads
 * the directory and the pickle; no tensor's bytes. `scope` keeps the storages of several files apart.
 */
export async function readTorchZip(source: ByteSource, options: ReadOptions, scope: string): Promise<RawModel> {
  const zip = await readZip(source);
  const first = zip.members[0];
  if (first === undefined) {
    throw new BnsumError({ code: 'NOT_A_MODEL', file: source.label, reason: 'an empty zip' });
  }
  const slash = first.name.indexOf('/');
  const root = first.name.slice(0, slash + 1);
  const archive: TorchArchive = {
    zip,
    file: source.label,
    root,
    bigEndian: await readByteOrder(zip, root, source.label),
    scope,
  };
  const isExport =
    zip.get(`${root}archive_format`) !== undefined || zip.members.some((member) => isOldExport(member.name));
  if (isExport) return readExport(archive, options);
  await checkVersion(archive);
  if (zip.get(`${root}constants.pkl`) !== undefined || hasCode(archive)) return readScript(archive);
  const { run, context, sharesStorages } = await readPickle(archive, 'data.pkl', 'data/');
  const contents = readCheckpoint(run.value, context, options.pick);
  return {
    format: 'torch-zip',
    producer: TORCH,
    ...contents,
    diagnostics: [...contents.diagnostics, ...notesOf(run, archive.file)],
    extra: new Map(),
    sharesStorages,
  };
}

/** torch.export's files up to 2.6: `serialized_exported_program.json` at the top of the zip. */
export function isOldExport(name: string): boolean {
  return /(?:^|\/)serialized_exported_program\.json$/.test(name);
}

function hasCode(archive: TorchArchive): boolean {
  return archive.zip.members.some((member) => member.name.startsWith(`${archive.root}code/`));
}

async function readText(zip: ZipArchive, member: ZipMember): Promise<string> {
  return new TextDecoder().decode(await zip.read(member, 4096)).trim();
}

async function readByteOrder(zip: ZipArchive, root: string, file: string): Promise<boolean> {
  const member = zip.get(`${root}byteorder`);
  if (member === undefined) return false;
  const word = await readText(zip, member);
  if (word === 'little' || word === 'big') return word === 'big';
  throw new BnsumError({
    code: 'MALFORMED',
    file: `${file}!${member.name}`,
    reason: `byte order ${JSON.stringify(word.slice(0, 40))}; 'little' and 'big' are known`,
  });
}

async function checkVersion(archive: TorchArchive): Promise<void> {
  const { zip, root, file } = archive;
  const member = zip.get(`${root}version`) ?? zip.get(`${root}.data/version`);
  if (member === undefined) return;
  const word = await readText(zip, member);
  const version = Number(word);
  if (/^[0-9]{1,9}$/.test(word) && version >= 1 && version <= NEWEST_VERSION) return;
  throw new BnsumError({
    code: 'UNSUPPORTED',
    file: `${file}!${member.name}`,
    reason: `archive version ${JSON.stringify(word.slice(0, 40))}; 1 to ${NEWEST_VERSION} are known`,
  });
}

export interface PickleInZip {
  readonly run: PickleRun & { readonly value: PickleValue };
  readonly context: TensorContext;
  /** Whether some storage is named twice. */
  readonly sharesStorages: boolean;
}

/** Unpickles a record whose storages are records `<root><folder><key>`, each proved to have the bytes that it needs. */
export async function readPickle(
  archive: TorchArchive,
  record: string,
  folder: string,
  what: 'values' | 'objects of TorchScript' = 'values',
): Promise<PickleInZip> {
  const { zip, root, file } = archive;
  const member = zip.get(root + record);
  if (member === undefined) {
    if (zip.get(`${root}.data/extern_modules`) !== undefined) {
      throw new BnsumError({
        code: 'UNSUPPORTED',
        file,
        reason: 'a torch.package archive, whose objects are made by code in it',
        next: 'load it in Python, from a source that you trust, and save its state_dict with torch.save',
      });
    }
    const names = zip.members.slice(0, 6).map((entry) => entry.name);
    throw new BnsumError({
      code: 'NOT_A_MODEL',
      file,
      reason: `a zip without ${root}${record}; it holds ${names.join(', ')}${zip.members.length > 6 ? ', …' : ''}`,
    });
  }
  const label = `${file}!${member.name}`;
  const known = new KeyTable<StorageNode>();
  const prefix = root + folder;
  let sharesStorages = false;
  const records = new KeyTable<ZipMember>();
  for (const one of zip.members) if (one.name.startsWith(prefix)) records.set(one.name, one, prefix.length);
  const options: PickleOptions = {
    file: label,
    persist(id, place) {
      const count = known.size;
      const node = readStorageId(id, known, label, place);
      if (known.size === count) sharesStorages = true;
      node.bytes ??= storageIn(archive, records.get(node.key), prefix, node, label, place);
      return node;
    },
  };
  const bytes = await zip.read(member, LIMITS.pickleBytes);
  const run = what === 'values' ? unpickle(bytes, 0, options) : unpickleScript(bytes, options);
  if (run.end !== member.size) {
    throw new BnsumError({
      code: 'MALFORMED',
      file: label,
      place: `@${run.end}`,
      reason: `${member.size - run.end} bytes follow the end of the pickle`,
    });
  }
  const context: TensorContext = {
    file,
    scope: archive.scope,
    bytesOf(node) {
      if (node.bytes !== undefined) return node.bytes;
      throw new BnsumError({ code: 'MALFORMED', file, place: node.key, reason: 'a storage that was not named before' });
    },
  };
  return { run, context, sharesStorages };
}

/** Findings that no rule of reading forbids: they are those of a pickle that is read strictly as well. */
const HARMLESS: ReadonlySet<string> = new Set([
  ...[
    'UNKNOWN_GLOBAL',
    'LEFT_ON_STACK',
    'DUPLICATE_KEY',
    'WRONG_ROLE',
    'EXPANSION',
    'DANGEROUS_ATTRIBUTE',
    'PERSISTENT_ID',
  ],
]);

const BARE_ARGUMENT = 'its arguments are not a tuple';

/**
 * The objects of TorchScript. Its pickler writes a member of an Enum as a call of the class with the bare value, no tuple
 * around it, which Python's own unpickler would refuse (torch/csrc/jit/serialization/pickler.cpp,
 * `Pickler::pushIValueImpl`, where `ivalue.isEnum()`). That one breach is let through.
 */
function unpickleScript(bytes: Uint8Array, options: PickleOptions): PickleInZip['run'] {
  try {
    return unpickle(bytes, 0, options);
  } catch (error) {
    if (!isBnsumError(error) || !error.reason.endsWith(BARE_ARGUMENT)) throw error;
    const run = unpickle(bytes, 0, { ...options, strict: false });
    if (run.findings.every(({ code, detail }) => HARMLESS.has(code) || detail === BARE_ARGUMENT)) return run;
    throw error;
  }
}

function storageIn(
  archive: TorchArchive,
  member: ZipMember | undefined,
  prefix: string,
  node: StorageNode,
  label: string,
  place: () => string,
): StorageBytes {
  const needed = storageByteLength(node);
  if (member === undefined) {
    // An empty storage needs no record; every other one does.
    if (needed > 0) {
      throw new BnsumError({
        code: 'MALFORMED',
        file: label,
        place: place(),
        reason: `the file holds no ${prefix}${node.key}`,
      });
    }
  } else if (member.size !== needed) {
    throw new BnsumError({
      code: 'MALFORMED',
      file: label,
      place: place(),
      reason: `storage ${node.key} needs ${needed} bytes (${node.length} × ${node.dtype ?? 'bytes'}), ${member.name} has ${member.size}`,
    });
  }
  return recordBytes(archive, member, needed, member?.name ?? prefix + node.key);
}

/**
 * A record as a storage. Nothing is read before `open`; a stored record is opened once. A record's name is unique in its
 * file, so it is the storage's identity.
 */
export function recordBytes(
  archive: TorchArchive,
  member: ZipMember | undefined,
  byteLength: number,
  name: string,
): StorageBytes {
  const id = member === undefined ? name : member.name;
  return new RecordStorage(archive, member, archive.scope === '' ? id : archive.scope + id, byteLength);
}

/** A class, not a literal with a closure: a large checkpoint has one of these per tensor. */
class RecordStorage implements StorageBytes {
  readonly #archive: TorchArchive;
  readonly #member: ZipMember | undefined;
  readonly id: string;
  readonly byteLength: number;
  #opened: Promise<ByteSource> | undefined;

  constructor(archive: TorchArchive, member: ZipMember | undefined, id: string, byteLength: number) {
    this.#archive = archive;
    this.#member = member;
    this.id = id;
    this.byteLength = byteLength;
  }

  get bigEndian(): boolean {
    return this.#archive.bigEndian;
  }

  open(): Promise<ByteSource> {
    const { zip, file } = this.#archive;
    const member = this.#member;
    if (member === undefined) {
      throw new BnsumError({ code: 'MALFORMED', file, place: this.id, reason: 'the file holds no such record' });
    }
    if (member.method !== 0) return zip.source(member);
    this.#opened ??= zip.source(member);
    return this.#opened;
  }
}

/** What a pickle's own stream gives cause to mention: names of code, keys set twice. */
export function notesOf(run: PickleRun, file: string): readonly Diagnostic[] {
  const diagnostics: Diagnostic[] = [];
  const names = new Set<string>();
  for (const event of run.events) {
    if (event.kind === 'import' && event.role === null) names.add(`${event.module}.${event.name}`);
  }
  if (names.size > 0) {
    diagnostics.push(
      note('CODE_PRESENT', { file }, { what: 'pickled names', count: names.size, first: [...names].slice(0, 5) }),
    );
  }
  const duplicates = run.findings.filter((finding) => finding.code === 'DUPLICATE_KEY');
  if (duplicates.length > 0) {
    const first = duplicates.slice(0, 5).map((finding) => finding.detail);
    diagnostics.push(note('DUPLICATE_KEY', { file }, { count: duplicates.length, first }));
  }
  return diagnostics;
}
