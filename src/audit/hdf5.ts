import { parseJson } from '../bytes/json.ts';
import { type Hdf5Attribute, type Hdf5File, joinPath, splitText } from '../formats/keras/hdf5.ts';
import { findSuperblock, openHdf5 } from '../formats/keras/hdf5-open.ts';
import { isBnsumError } from '../ir/error.ts';
import { LIMITS } from '../ir/limits.ts';
import { type Bench, type Content, joinMember } from './context.ts';
import { judgeKerasConfig, judgeKerasText } from './keras-config.ts';
import { scanForPickles } from './nested.ts';

/** Milliseconds without a sign of life after which a reader of a strange file is ended. */
const SILENT_MILLISECONDS = 10_000;

/** Attributes in which Keras keeps configs. */
const CONFIGS: readonly string[] = ['model_config', 'training_config'];

/**
 * An HDF5 file: links and storage that lead out of it, Keras' configs, and pickles in attributes. What lies before and
 * behind it is left to the caller where it does not stand `alone`.
 */
export async function judgeHdf5(
  content: Content,
  bench: Bench,
  { alone }: { readonly alone: boolean } = { alone: true },
): Promise<string> {
  const { source, member } = content;
  const { ledger } = bench;
  const superblock = await findSuperblock(source);
  if (alone && superblock !== undefined && superblock.base > 0) {
    ledger.add({ level: 'suspicious', rule: 'USER_BLOCK', member, offset: 0, detail: `${superblock.base} bytes` });
    await bench.judge({
      source: source.slice(0, superblock.base, source.label),
      member: joinMember(member, '(user block)'),
      name: '',
      depth: content.depth + 1,
    });
  }
  if (alone && superblock?.end !== undefined && superblock.end !== null && superblock.end < source.size) {
    const rest = source.size - superblock.end;
    ledger.add({
      level: 'suspicious',
      rule: 'TRAILING_BYTES',
      member,
      offset: superblock.end,
      detail: `${rest} bytes`,
    });
    await bench.judge({
      source: source.slice(superblock.end, source.size, source.label),
      member: joinMember(member, '(bytes behind the HDF5 data)'),
      name: '',
      depth: content.depth + 1,
    });
  }
  const file = await openHdf5(source, { workers: bench.workers, silentMilliseconds: SILENT_MILLISECONDS });
  try {
    if (file.groups.get('')?.attributes.has('PYTABLES_FORMAT_VERSION') === true) {
      // Its objects are pickles in datasets and attributes that only PyTables tells apart.
      ledger.add({ level: 'suspicious', rule: 'NOT_OPENED', member, detail: 'PyTables file' });
      ledger.miss(0);
    }
    judgeLinks(file, content, bench);
    judgeAttributes(file, content, bench);
  } finally {
    await file.close();
  }
  return 'HDF5';
}

function judgeLinks(file: Hdf5File, { member, source }: Content, { ledger }: Bench): void {
  for (const group of file.groups.values()) {
    for (const [name, kind] of group.children) {
      const place = joinMember(member, `/${joinPath(group.path, name)}`);
      if (kind === 'external') ledger.add({ level: 'dangerous', rule: 'EXTERNAL_LINK', member: place });
      if (kind === 'soft') ledger.add({ level: 'suspicious', rule: 'SOFT_LINK', member: place });
    }
  }
  let unstored = 0;
  let isLarge = false;
  for (const dataset of file.datasets.values()) {
    const place = joinMember(member, `/${dataset.path}`);
    if (dataset.external) ledger.add({ level: 'dangerous', rule: 'EXTERNAL_STORAGE', member: place });
    // What a header calls stored is there only as far as the file goes.
    const stored = Math.min(dataset.storedBytes, source.size);
    const declared = dataset.declaredBytes;
    if (declared > LIMITS.hdf5Ratio * Math.max(1, stored)) {
      unstored += declared;
      if (declared > LIMITS.hdf5DeclaredBytes) {
        isLarge = true;
        expands(place, declared, stored);
      }
    }
    if (dataset.layout === 'virtual') ledger.add({ level: 'dangerous', rule: 'VIRTUAL_DATASET', member: place });
  }
  // Many that each stay below the limit are as much when all of them are loaded.
  if (unstored > LIMITS.hdf5DeclaredBytes && !isLarge) expands(member, unstored, source.size);

  function expands(place: string, declared: number, stored: number): void {
    const detail = `${declared.toPrecision(3)} bytes, ${stored} of them in the file`;
    ledger.add({ level: 'suspicious', rule: 'EXPANSION', member: place, detail });
  }
}

function judgeAttributes(file: Hdf5File, { member, source }: Content, { ledger }: Bench): void {
  for (const group of file.groups.values()) {
    for (const name of CONFIGS) {
      const text = splitText(group, name);
      const place = { ledger, member: joinMember(member, `/${group.path}@${name}`) };
      if (text === undefined) {
        if (group.attributes.has(name) || group.attributes.has(`${name}0`)) {
          ledger.add({ level: 'suspicious', rule: 'UNREADABLE', member: place.member, detail: 'no text' });
          ledger.miss(0);
        }
        continue;
      }
      try {
        const json = parseJson(
          new TextEncoder().encode(text),
          { file: source.label, place: name },
          { nonFinite: true },
        );
        judgeKerasConfig(json, place);
      } catch (error) {
        if (!isBnsumError(error)) throw error;
        judgeKerasText(text, place);
        ledger.add({ level: 'suspicious', rule: 'UNREADABLE', member: place.member, detail: error.reason });
        ledger.miss(0);
      }
    }
    // PyTables pickles what has no type of HDF5 into attributes, and pandas unpickles it.
    for (const [name, value] of group.attributes) {
      if (!CONFIGS.includes(name)) judgeTexts(value, joinMember(member, `/${group.path}@${name}`), ledger);
    }
  }
}

function judgeTexts(value: Hdf5Attribute, member: string, ledger: Bench['ledger']): void {
  for (const text of Array.isArray(value) ? value : [value]) {
    if (typeof text !== 'string' || text.length < 8) continue;
    scanForPickles(
      Uint8Array.from(text, (character) => character.charCodeAt(0) & 0xff),
      { ledger, member, base: 0 },
    );
  }
}
