import { codec } from '../bytes/codec.ts';
import { parseJson } from '../bytes/json.ts';
import { memorySource } from '../bytes/memory-source.ts';
import type { ByteSource } from '../bytes/source.ts';
import { readZip, type ZipArchive, type ZipMember, type ZipOddity } from '../bytes/zip-read.ts';
import type { IndirectTensor } from '../formats/torch/pickle-event.ts';
import { storageByteLength } from '../formats/torch/storage.ts';
import { BnsumError, isBnsumError } from '../ir/error.ts';
import { isObject, objectAt, stringAt } from '../ir/json.ts';
import { LIMITS } from '../ir/limits.ts';
import { type Bench, baseName, type Content, joinMember, type PartTaker } from './context.ts';
import type { AuditRule } from './finding.ts';
import { judgeIndirect, type OpenStorage } from './indirect-tensor.ts';
import { isNpy } from './npy.ts';
import { judgePickles, SCAN_BYTES } from './pickle.ts';
import { makeStorageIds } from './torch-legacy.ts';

const RULES: Readonly<Partial<Record<ZipOddity['code'], AuditRule>>> = {
  'bad-crc': 'BAD_CHECKSUM',
  'hidden-member': 'HIDDEN_MEMBER',
  'prefix-bytes': 'PREFIX_BYTES',
  'special-file': 'SPECIAL_FILE',
  'trailing-bytes': 'TRAILING_BYTES',
  'unsafe-name': 'UNSAFE_NAME',
};

interface Archive {
  readonly content: Content;
  readonly zip: ZipArchive;
  readonly bench: Bench;
  /** Members whose bytes a pickle or a list of weights owns: numbers, whatever they look like. */
  readonly owned: Set<ZipMember>;
  readonly judged: Set<ZipMember>;
  readonly isScript: boolean;
  readonly isExport: boolean;
  readonly taken: PartTaker | undefined;
  /** Bytes of stored members so far. */
  stored: number;
}

/** A zip: what its readers could disagree on, and every member for itself. */
export async function judgeZip(content: Content, bench: Bench, taken?: PartTaker): Promise<string> {
  const { source } = content;
  let zip: ZipArchive;
  try {
    zip = await readZip(source, 'lenient');
  } catch (error) {
    // Without a directory the members are still there for whoever reads them one after another.
    await judgeHidden(content, bench, [[0, source.size]]);
    throw error;
  }
  const names = zip.members.map((member) => member.name);
  const archive: Archive = {
    content,
    zip,
    bench,
    owned: new Set(),
    judged: new Set(),
    taken,
    stored: 0,
    isScript: names.some((name) => /(?:^|\/)code\/.*\.py$/.test(name)) && names.some((name) => /data\.pkl$/.test(name)),
    isExport: names.some((name) => /(?:^|\/)(?:archive_format|serialized_exported_program\.json)$/.test(name)),
  };
  if (archive.isScript || archive.isExport) {
    const detail = archive.isScript ? 'TorchScript' : 'an exported program';
    bench.ledger.add({ level: 'suspicious', rule: 'PROGRAM', member: content.member, detail });
  }
  for (const member of zip.members) {
    if (/(?:^|\/)(?:data|constants|traced_inputs)\.pkl$/.test(member.name))
      await guarded(archive, member, judgeTorchPickle);
  }
  await ownExportWeights(archive);
  for (const member of zip.members) {
    if (!archive.judged.has(member)) await guarded(archive, member, judgeMember);
  }
  reportOddities(archive);
  await judgeBetween(archive);
  return kindOf(archive);
}

function kindOf({ zip, isScript, isExport }: Archive): string {
  const has = (pattern: RegExp): boolean => zip.members.some((member) => pattern.test(member.name));
  if (isScript) return 'TorchScript archive';
  if (isExport) return 'torch.export archive';
  if (has(/^config\.json$/) && has(/^model\.weights\./)) return 'Keras archive';
  if (has(/(?:^|\/)data\.pkl$/)) return 'torch.save zip';
  if (zip.members.length > 0 && zip.members.every((member) => member.name.endsWith('.npy'))) return 'NumPy archive';
  return 'zip';
}

/** One member; what it refuses is a finding, and the others are still judged. */
async function guarded(
  archive: Archive,
  member: ZipMember,
  judge: (archive: Archive, member: ZipMember) => Promise<void>,
): Promise<void> {
  archive.judged.add(member);
  try {
    await judge(archive, member);
  } catch (error) {
    if (!isBnsumError(error) || error.code === 'INTERNAL') throw error;
    const { ledger } = archive.bench;
    const rule: AuditRule = error.code === 'LIMIT' ? 'LIMIT' : 'UNREADABLE';
    const place = joinMember(archive.content.member, member.name);
    ledger.add({ level: 'suspicious', rule, member: place, detail: error.reason });
    ledger.miss(member.compressedSize);
  }
}

/**
 * Proves, before a member is judged, that all of them together stay within what an audit may inflate, and that stored ones
 * do not share the bytes of the archive again and again.
 */
function spend(archive: Archive, member: ZipMember): void {
  const { content, bench } = archive;
  if (member.method === 0) archive.stored += member.compressedSize;
  else bench.budget.left -= member.size;
  const isShared = archive.stored > SHARED * content.source.size;
  if (bench.budget.left >= 0 && !isShared) return;
  const reason = isShared ? 'members that share their bytes' : 'too many inflated bytes in all';
  throw new BnsumError({ code: 'LIMIT', file: content.source.label, reason });
}

/** How often the bytes of an archive may be judged: once, were there not damaged directories that list a member twice. */
const SHARED = 4;

async function openMember(archive: Archive, member: ZipMember): Promise<Content> {
  const { content, zip } = archive;
  return {
    source: await zip.source(member),
    member: joinMember(content.member, member.name),
    name: baseName(member.name),
    depth: content.depth + 1,
  };
}

async function judgeMember(archive: Archive, member: ZipMember): Promise<void> {
  const { bench, zip } = archive;
  const place = joinMember(archive.content.member, member.name);
  spend(archive, member);
  const crc = await zip.checkCrc(member);
  if (crc === 'wrong') bench.ledger.add({ level: 'suspicious', rule: 'BAD_CHECKSUM', member: place });
  if (crc === 'absent' && !isTorch(archive)) {
    bench.ledger.add({ level: 'suspicious', rule: 'BAD_CHECKSUM', member: place, detail: 'no checksum' });
  }
  if (member.size === 0) return;
  const part = await openMember(archive, member);
  if (archive.owned.has(member)) {
    await judgeOwned(archive, part);
    return;
  }
  if (archive.isScript && /(?:^|\/)code\/.*\.(?:py|debug_pkl)$/.test(member.name)) {
    // The program that PROGRAM names. Its debug records are pickles and judged as such.
    if (member.name.endsWith('.py')) return;
  }
  if (member.method === 0) archive.taken?.(member.dataStart, member.dataStart + member.compressedSize);
  await bench.judge(part);
}

/**
 * Numbers to whoever loads the pickle that owns them. numpy.load takes every member of a zip for an array that begins like
 * one, whatever its name, and unpickles it where it holds objects.
 */
async function judgeOwned({ content, bench }: Archive, part: Content): Promise<void> {
  if (/\.npz$/i.test(content.name)) {
    const detail = 'NumPy archive, records of a pickle';
    bench.ledger.add({ level: 'suspicious', rule: 'TWO_FORMATS', member: content.member, detail });
  }
  if (isNpy(await part.source.read(0, Math.min(part.source.size, 6)))) await bench.judge(part);
}

function isTorch({ zip }: Archive): boolean {
  return zip.members.some((member) => /(?:^|\/)(?:data\.pkl|archive_format)$/.test(member.name));
}

/** data.pkl, constants.pkl or what a trace was made with: its storages are records beside it, each of the size that the pickle says. */
async function judgeTorchPickle(archive: Archive, member: ZipMember): Promise<void> {
  const { zip, bench } = archive;
  const { ledger } = bench;
  spend(archive, member);
  const crc = await zip.checkCrc(member);
  if (crc === 'wrong') {
    ledger.add({ level: 'suspicious', rule: 'BAD_CHECKSUM', member: joinMember(archive.content.member, member.name) });
  }
  const part = await openMember(archive, member);
  const ids = makeStorageIds(part.source.label);
  const unknown: string[] = [];
  const indirect: IndirectTensor[] = [];
  const found = await judgePickles(part, 0, {
    ledger,
    member: part.member,
    script: archive.isScript,
    indirect,
    persist(id) {
      const node = ids.persist(id);
      if (node === false && unknown.length === 0) unknown.push(ids.refused[0] ?? 'an id that names no storage');
      return node;
    },
  });
  if (found === 'no') {
    await bench.judge(part);
    if (part.source.size > 0) ledger.add({ level: 'suspicious', rule: 'OTHER_CONTENT', member: part.member });
    return;
  }
  if (unknown.length > 0) {
    ledger.add({ level: 'suspicious', rule: 'PERSISTENT_ID', member: part.member, detail: unknown[0] ?? '' });
  }
  const root = member.name.slice(0, member.name.lastIndexOf('/') + 1);
  const folder = `${root}${baseName(member.name).replace(/\.pkl$/, '')}/`;
  for (const [key, node] of ids.known) {
    const record = zip.get(folder + key);
    const needed = storageByteLength(node);
    if (record === undefined) {
      if (needed > 0) mismatch(`no record ${folder}${key}`);
    } else if (record.size !== needed && !(record.size === 0 && folder.endsWith('traced_inputs/'))) {
      mismatch(`${record.name} has ${record.size} bytes, the pickle says ${needed}`);
    } else archive.owned.add(record);
  }
  const order = zip.get(`${root}byteorder`);
  let isLittle = true;
  if (order !== undefined) {
    const word = new TextDecoder().decode(await zip.read(order, 4096)).trim();
    isLittle = word === 'little';
    if (word !== 'little' && word !== 'big') mismatch(`byte order ${JSON.stringify(word.slice(0, 40))}`);
  }
  const open: OpenStorage = async ({ key }) => {
    const record = zip.get(folder + key);
    const isPlain = isLittle && record?.method === 0 && archive.owned.has(record);
    return isPlain ? zip.source(record) : undefined;
  };
  await judgeIndirect(indirect, open, ledger, part.member);

  function mismatch(detail: string): void {
    ledger.add({ level: 'suspicious', rule: 'STORAGE_MISMATCH', member: part.member, detail });
  }
}

/** torch.export lists the raw records of its weights and constants in JSON. */
async function ownExportWeights(archive: Archive): Promise<void> {
  if (!archive.isExport) return;
  const { zip } = archive;
  for (const member of zip.members) {
    const found = /^(.*\/)?data\/(weights|constants)\/[^/]*_config\.json$/.exec(member.name);
    if (found === null) continue;
    await guarded(archive, member, async () => {
      const bytes = await zip.read(member, LIMITS.jsonBytes);
      const json = parseJson(bytes, { file: member.name }, { nonFinite: true });
      const list = objectAt(json, 'config');
      for (const value of isObject(list) ? list.values() : []) {
        const path = stringAt(value, 'path_name');
        const record = path === undefined ? undefined : zip.get(`${found[1] ?? ''}data/${found[2]}/${path}`);
        // Without use_pickle the record is raw numbers.
        const isRaw = isObject(value) && (value.get('use_pickle') ?? false) === false;
        if (record !== undefined && isRaw) archive.owned.add(record);
      }
      archive.judged.delete(member);
    });
  }
}

function reportOddities({ content, zip, bench }: Archive): void {
  for (const { code, member, detail } of zip.oddities) {
    // The checksum of every member was compared above.
    if (code === 'bad-crc') continue;
    bench.ledger.add({
      level: 'suspicious',
      rule: RULES[code] ?? 'ZIP_ODDITY',
      member: member === '' ? content.member : joinMember(content.member, member),
      detail,
    });
  }
}

/** What no member of the directory owns: bytes before, between and behind. */
async function judgeBetween(archive: Archive): Promise<void> {
  const { content, zip, bench } = archive;
  const odd = new Set(zip.oddities.map((oddity) => oddity.code));
  const suspicious: readonly ZipOddity['code'][] = [
    'prefix-bytes',
    'trailing-bytes',
    'hidden-member',
    'gap-bytes',
    'entry-count',
    'ambiguous-end',
    'overlap',
  ];
  if (!suspicious.some((code) => odd.has(code))) return;
  const taken = zip.members
    .filter((member) => member.dataStart >= 0)
    .map((member): readonly [number, number] => [member.dataStart, member.dataStart + member.compressedSize])
    .toSorted((a, b) => a[0] - b[0]);
  const free: [number, number][] = [];
  let at = 0;
  for (const [start, end] of taken) {
    if (start > at) free.push([at, start]);
    at = Math.max(at, end);
  }
  free.push([at, content.source.size]);
  await judgeHidden(content, bench, free);
  const first = free[0];
  if (odd.has('prefix-bytes') && first !== undefined && first[0] === 0) {
    const head = await content.source.read(0, Math.min(first[1], SCAN_BYTES));
    const stop = indexOfLocal(head, 0);
    const end = stop < 0 ? head.length : stop;
    if (end > 0) {
      const kind = await bench.judge({
        source: content.source.slice(0, end, content.source.label),
        member: joinMember(content.member, '(bytes before the archive)'),
        name: '',
        depth: content.depth + 1,
      });
      if (kind !== 'unknown' && kind !== 'text') {
        bench.ledger.add({ level: 'suspicious', rule: 'TWO_FORMATS', member: content.member, detail: `${kind}, zip` });
      }
    }
  }
  const behind = endOfArchive(await tailOf(content.source));
  if (odd.has('trailing-bytes') && behind !== undefined && behind < content.source.size) {
    await bench.judge({
      source: content.source.slice(behind, content.source.size, content.source.label),
      member: joinMember(content.member, '(bytes behind the archive)'),
      name: '',
      depth: content.depth + 1,
    });
  }
}

const TAIL_BYTES = 66_000;

async function tailOf(source: ByteSource): Promise<{ readonly bytes: Uint8Array; readonly start: number }> {
  const start = Math.max(0, source.size - TAIL_BYTES);
  return { bytes: await source.read(start, source.size), start };
}

function endOfArchive({ bytes, start }: { readonly bytes: Uint8Array; readonly start: number }): number | undefined {
  for (let at = bytes.length - 22; at >= 0; at -= 1) {
    if (bytes[at] !== 0x50 || bytes[at + 1] !== 0x4b || bytes[at + 2] !== 5 || bytes[at + 3] !== 6) continue;
    return start + at + 22 + (bytes[at + 20] ?? 0) + 256 * (bytes[at + 21] ?? 0);
  }
  return undefined;
}

function indexOfLocal(bytes: Uint8Array, from: number): number {
  for (let at = bytes.indexOf(0x50, from); at >= 0; at = bytes.indexOf(0x50, at + 1)) {
    if (bytes[at + 1] === 0x4b && bytes[at + 2] === 3 && bytes[at + 3] === 4) return at;
  }
  return -1;
}

/** Members in the given ranges that have a local header and no entry in the directory. */
async function judgeHidden(
  content: Content,
  bench: Bench,
  ranges: readonly (readonly [number, number])[],
): Promise<void> {
  const { source } = content;
  if (content.isSearched === true) return;
  for (const [start, end] of ranges) {
    if (end - start < 30) continue;
    const stop = Math.min(end, start + SCAN_BYTES);
    if (stop < end) bench.ledger.miss(end - stop);
    const bytes = await source.read(start, stop);
    for (let at = indexOfLocal(bytes, 0); at >= 0; at = indexOfLocal(bytes, at + 4)) {
      const found = hiddenMember(bytes, at, bench);
      // A header without bytes behind it belongs to a listed member, whose data begins at the range's end.
      if (found === undefined || found.bytes.length === 0) continue;
      // Each may hold all that follow it.
      bench.budget.hidden -= 1;
      bench.budget.left -= found.bytes.length;
      if (bench.budget.hidden < 0 || bench.budget.left < 0) {
        const detail = `more than ${LIMITS.auditHidden} members that are not in the directory, or too many bytes of them`;
        bench.ledger.add({ level: 'suspicious', rule: 'LIMIT', member: content.member, offset: start + at, detail });
        bench.ledger.miss(end - start - at);
        return;
      }
      const member = joinMember(content.member, `${found.name} (not in the directory)`);
      bench.ledger.add({ level: 'suspicious', rule: 'HIDDEN_MEMBER', member, offset: start + at });
      await bench.judge({
        source: memorySource(found.bytes, `${source.label}!${found.name}`),
        member,
        name: baseName(found.name),
        depth: content.depth + 1,
        // What is stored in it stands in these bytes as well.
        isSearched: found.isStored,
      });
    }
  }
}

function hiddenMember(
  bytes: Uint8Array,
  at: number,
  bench: Bench,
): { readonly name: string; readonly bytes: Uint8Array; readonly isStored: boolean } | undefined {
  if (at + 30 > bytes.length) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const method = view.getUint16(at + 8, true);
  const compressed = view.getUint32(at + 18, true);
  const nameEnd = at + 30 + view.getUint16(at + 26, true);
  const from = nameEnd + view.getUint16(at + 28, true);
  if (from > bytes.length) return undefined;
  const name = new TextDecoder('latin1').decode(bytes.subarray(at + 30, nameEnd));
  const open = compressed === 0 || compressed === 0xffffffff;
  const next = indexOfLocal(bytes, from);
  const data = bytes.subarray(from, open ? (next < 0 ? bytes.length : next) : from + compressed);
  if (method === 0) return { name, bytes: data, isStored: true };
  if (method !== 8) return undefined;
  try {
    return {
      name,
      bytes: codec().inflateRaw(data, Math.min(LIMITS.inflatedBytes, Math.max(0, bench.budget.left))),
      isStored: false,
    };
  } catch (error) {
    if (!isBnsumError(error)) throw error;
    // What inflates to nothing useful is judged as it stands, and costs what a bomb may cost.
    if (error.code === 'LIMIT') bench.budget.left -= LIMITS.inflatedBytes;
    return { name, bytes: data, isStored: true };
  }
}
