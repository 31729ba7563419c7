import type { ByteSource } from '../bytes/source.ts';
import { dtypeOfStorage, isUntypedStorage } from '../formats/torch/globals.ts';
import { isGlobal, itemsOf, type PickleValue } from '../formats/torch/pickle-value.ts';
import { bitsOf, isDType } from '../ir/dtype.ts';
import { LIMITS } from '../ir/limits.ts';
import { type Bench, baseName, type Content, joinMember, type PartTaker } from './context.ts';
import { scanForPickles } from './nested.ts';
import { judgePickles, judgeRun, runAt, SCAN_BYTES, scanRest } from './pickle.ts';
import { readMembers, type TarMember, tarFailure } from './tar-members.ts';

/** A tar: every member for itself; the four of torch.save before 0.2 by their layout. */
export async function judgeTar(content: Content, bench: Bench, taken?: PartTaker): Promise<string> {
  const { source } = content;
  const { ledger } = bench;
  const members: TarMember[] = [];
  const names = new Set<string>();
  const reading = readMembers(source);
  let failure: unknown;
  let end = source.size;
  try {
    for (;;) {
      const step = await reading.next();
      if (step.done === true) {
        end = step.value;
        break;
      }
      members.push(step.value);
    }
  } catch (error) {
    failure = error;
  }
  const isTorch = ['pickle', 'storages'].every((name) => members.some((one) => plain(one.name) === name));
  for (const member of members) {
    const place = joinMember(content.member, member.name);
    const odd = (detail: string): void =>
      ledger.add({ level: 'suspicious', rule: 'TAR_ODDITY', member: place, detail });
    if (names.has(member.name)) odd('two members of one name');
    names.add(member.name);
    for (const detail of new Set(member.oddities)) odd(detail);
    if (member.isDoubtful) ledger.miss(member.size);
    if (member.unsafe !== undefined) {
      const detail = member.unsafe === member.name ? '' : member.unsafe.slice(0, 200);
      ledger.add({ level: 'suspicious', rule: 'UNSAFE_NAME', member: place, detail });
    }
    if (!['0', '5', '7'].includes(member.type)) {
      ledger.add({ level: 'suspicious', rule: 'SPECIAL_FILE', member: place, detail: `type '${member.type}'` });
      if (!['1', '2'].includes(member.type)) ledger.miss(member.size);
    }
    if (member.size === 0) continue;
    const part: Content = {
      source: source.slice(member.from, member.from + member.size, `${source.label}!${member.name}`),
      member: place,
      name: baseName(member.name),
      depth: content.depth + 1,
    };
    const layout = isTorch ? TORCH_MEMBERS.get(plain(member.name)) : undefined;
    if (layout !== undefined) {
      await layout(part, bench);
      continue;
    }
    taken?.(member.from, member.from + member.size);
    await bench.judge(part);
  }
  if (failure !== undefined) throw failure;
  await judgeTail(content, end, bench);
  return isTorch ? 'torch.save tar' : 'tar';
}

/** Zero blocks end a tar, and fill it up. */
async function judgeTail(content: Content, start: number, bench: Bench): Promise<void> {
  const { source, member } = content;
  for (let at = start; at < source.size; at += 1 << 20) {
    const bytes = await source.read(at, Math.min(source.size, at + (1 << 20)));
    const index = bytes.findIndex((byte) => byte !== 0);
    if (index < 0) continue;
    const offset = at + index;
    const detail = `${source.size - offset} bytes`;
    bench.ledger.add({ level: 'suspicious', rule: 'TRAILING_BYTES', member, offset, detail });
    const rest = source.slice(offset, source.size, source.label);
    await bench.judge({ source: rest, member: `${member}@${offset}`, name: '', depth: content.depth + 1 });
    return;
  }
}

function plain(name: string): string {
  return name.replace(/^\.\//, '');
}

/** Ids of this layout are keys of tensors and storages, in the same file. */
const persist = (id: PickleValue): PickleValue => (isGlobal(id) ? id : { kind: 'persistent', id, offset: 0 });

async function judgeObject(content: Content, bench: Bench): Promise<void> {
  const { ledger } = bench;
  const found = await judgePickles(content, 0, { ledger, member: content.member, persist });
  if (found !== 'no') return;
  await scanRest(content, 0, { ledger, member: content.member });
  throw tarFailure(content.source, 0, 'no pickle');
}

/** Pickles and numbers in turn; raw bytes of a storage are data when their length follows from its class. */
async function judgeRecords(content: Content, bench: Bench, isStorages: boolean): Promise<void> {
  const { source, member } = content;
  const { ledger } = bench;
  if (source.size > LIMITS.pickleBytes) {
    ledger.add({ level: 'suspicious', rule: 'LIMIT', member, detail: `${source.size} bytes` });
    ledger.miss(source.size);
    return;
  }
  const bytes = await source.read(0, source.size);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let at = 0;
  const pickle = (): PickleValue | undefined => {
    const place = { ledger, member, base: 0, persist };
    const run = runAt(bytes, at, place);
    judgeRun(run, place);
    at = run.end;
    if (run.error !== undefined) {
      scanForPickles(bytes.subarray(at, at + SCAN_BYTES), { ...place, base: at }, true);
      throw tarFailure(source, at, run.error.reason);
    }
    return run.value;
  };
  const skip = (length: number): void => {
    if (!(length >= 0) || at + length > bytes.length) throw tarFailure(source, at, `needs ${length} bytes`);
    at += length;
  };
  const total = pickle();
  if (typeof total !== 'number') throw tarFailure(source, 0, 'no count');
  for (let index = 0; index < total; index += 1) {
    const type = itemsOf(pickle())?.[2];
    if (isStorages) {
      skip(8);
      const count = Number(view.getBigInt64(at - 8, true));
      skip(count * elementBytes(type, source, at));
    } else {
      skip(4);
      const rank = view.getInt32(at - 4, true);
      if (rank < 0 || rank > LIMITS.tensorRank) throw tarFailure(source, at, `rank ${rank}`);
      skip(4 + 16 * rank + 8);
    }
  }
  // The list of storage views came with a later version.
  if (isStorages && at < bytes.length) pickle();
  if (at < bytes.length) {
    ledger.add({
      level: 'suspicious',
      rule: 'TRAILING_BYTES',
      member,
      offset: at,
      detail: `${bytes.length - at} bytes`,
    });
    const rest = source.slice(at, source.size, source.label);
    await bench.judge({ source: rest, member: `${member}@${at}`, name: '', depth: content.depth + 1 });
  }
}

function elementBytes(type: PickleValue | undefined, source: ByteSource, at: number): number {
  if (isGlobal(type)) {
    const dtype = dtypeOfStorage(type.module, type.name);
    if (dtype !== undefined && isDType(dtype)) return Math.max(1, bitsOf(dtype) / 8);
    if (isUntypedStorage(type.module, type.name)) return 1;
  }
  throw tarFailure(source, at, 'a storage of no class that PyTorch writes');
}

const TORCH_MEMBERS: ReadonlyMap<string, (content: Content, bench: Bench) => Promise<void>> = new Map([
  ['sys_info', judgeObject],
  ['pickle', judgeObject],
  ['tensors', (content: Content, bench: Bench) => judgeRecords(content, bench, false)],
  ['storages', (content: Content, bench: Bench) => judgeRecords(content, bench, true)],
]);
