import { BnsumError, isBnsumError } from '../ir/error.ts';
import { LIMITS } from '../ir/limits.ts';
import type { Bench, Content } from './context.ts';
import { type NpyHeader, parseNpyHeader } from './npy-header.ts';
import { judgePickles, scanRest } from './pickle.ts';

/** Bytes of one header; NumPy itself refuses more than 10,000 unless it is told to trust the file. */
const HEADER_BYTES = 1024 * 1024;

export function isNpy(head: Uint8Array): boolean {
  return [0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59].every((byte, index) => head[index] === byte);
}

/**
 * NumPy arrays (numpy.lib.format): of numbers they are data of a known length, of objects a pickle. numpy.load reads one
 * array after another from an open file, and a pickle where it finds one, so that what follows an array counts.
 */
export async function judgeNpy(content: Content, bench: Bench): Promise<string> {
  const { source, member } = content;
  const { ledger } = bench;
  let start = 0;
  for (let count = 0; ; count += 1) {
    const end = await judgeArray(content, start, bench);
    if (end === undefined) return 'NumPy array of objects';
    if (end >= source.size) return 'NumPy array';
    const rest = source.size - end;
    ledger.add({ level: 'suspicious', rule: 'TRAILING_BYTES', member, offset: end, detail: `${rest} bytes` });
    if (count >= LIMITS.npyArrays) {
      const detail = `more than ${LIMITS.npyArrays} arrays one after another`;
      ledger.add({ level: 'suspicious', rule: 'LIMIT', member, offset: end, detail });
      ledger.miss(rest);
      return 'NumPy array';
    }
    start = end;
    if (isNpy(await source.read(start, Math.min(source.size, start + 6)))) continue;
    await bench.judge({
      source: source.slice(start, source.size, source.label),
      member: `${member}@${start}`,
      name: '',
      depth: content.depth + 1,
    });
    return 'NumPy array';
  }
}

/** One array; gives where it ends, undefined for one of objects, whose pickle is judged with all that follows. */
async function judgeArray(content: Content, start: number, bench: Bench): Promise<number | undefined> {
  const { source, member } = content;
  const { ledger } = bench;
  const fail = (reason: string): BnsumError =>
    new BnsumError({ code: 'MALFORMED', file: source.label, ...(start === 0 ? {} : { place: `@${start}` }), reason });
  const prefix = await source.read(start, Math.min(source.size, start + 12));
  const version = prefix[6] ?? 0;
  if (prefix.length < 12 || version < 1 || version > 3 || prefix[7] !== 0) {
    throw fail(`NumPy format version ${version}.${prefix[7] ?? 0}`);
  }
  const view = new DataView(prefix.buffer, prefix.byteOffset, prefix.byteLength);
  const from = start + (version > 1 ? 12 : 10);
  const data = from + (version > 1 ? view.getUint32(8, true) : view.getUint16(8, true));
  if (data > source.size) throw fail(`a header of ${data - from} bytes, the file ends before`);
  const isReadable = data - from <= HEADER_BYTES;
  const parsed = isReadable ? readHeader(await source.read(from, data), version) : undefined;
  if (parsed === undefined || parsed.objects) {
    const detail = 'numpy.load reads it with allow_pickle=True alone';
    if (parsed !== undefined) ledger.add({ level: 'suspicious', rule: 'OBJECT_ARRAY', member, offset: data, detail });
    // NumPy may understand what we do not, and then the data is a pickle to it.
    const found = data < source.size ? await judgePickles(content, data, { ledger, member, objects: true }) : 'no';
    if (found === 'no') await scanRest(content, data, { ledger, member });
    if (!isReadable) throw fail(`a header of ${data - from} bytes`);
    if (parsed === undefined) throw fail('a header that numpy.save does not write');
    if (found === 'no') throw fail('an array of objects without a pickle');
    return undefined;
  }
  const end = data + parsed.byteLength;
  if (end > source.size) throw fail(`needs ${parsed.byteLength} bytes, ${source.size - data} are left`);
  return end;
}

function readHeader(bytes: Uint8Array, version: number): NpyHeader | undefined {
  try {
    const text = new TextDecoder(version === 3 ? 'utf-8' : 'latin1', { fatal: true, ignoreBOM: true }).decode(bytes);
    return parseNpyHeader(text);
  } catch (error) {
    if (error instanceof TypeError && !isBnsumError(error)) return undefined;
    throw error;
  }
}
