import { BnsumError } from '../ir/error.ts';
import type { Bench, Content } from './context.ts';
import { judgePickles, scanRest } from './pickle.ts';

/** Bytes of one header; NumPy itself refuses more than 10,000 unless it is told to trust the file. */
const HEADER_BYTES = 1024 * 1024;

export function isNpy(head: Uint8Array): boolean {
  return [0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59].every((byte, index) => head[index] === byte);
}

/** One NumPy array: of numbers it is data of a known length, of objects a pickle (numpy.lib.format). */
export async function judgeNpy(content: Content, bench: Bench): Promise<string> {
  const { source, member } = content;
  const { ledger } = bench;
  const fail = (reason: string): BnsumError => new BnsumError({ code: 'MALFORMED', file: source.label, reason });
  const start = await source.read(0, Math.min(source.size, 12));
  const version = start[6] ?? 0;
  if (start.length < 12 || version < 1 || version > 3) throw fail(`NumPy format version ${version}`);
  const view = new DataView(start.buffer, start.byteOffset, start.byteLength);
  const wide = version > 1;
  const from = wide ? 12 : 10;
  const length = wide ? view.getUint32(8, true) : view.getUint16(8, true);
  if (length > HEADER_BYTES) throw fail(`a header of ${length} bytes`);
  const header = new TextDecoder('latin1').decode(await source.read(from, from + length));
  const data = from + length;
  const parsed = parseHeader(header);
  if (parsed === undefined) throw fail('a header that NumPy does not write');
  if (parsed.objects) {
    ledger.add({
      level: 'suspicious',
      rule: 'OBJECT_ARRAY',
      member,
      offset: data,
      detail: 'numpy.load reads it with allow_pickle=True alone',
    });
    const found = await judgePickles(content, data, { ledger, member, objects: true });
    if (found === 'no') {
      await scanRest(content, data, { ledger, member });
      throw fail('an array of objects without a pickle');
    }
    return 'NumPy array of objects';
  }
  const needed = parsed.byteLength;
  if (needed === undefined) return 'NumPy array';
  if (data + needed > source.size) throw fail(`needs ${needed} bytes, ${source.size - data} are left`);
  if (data + needed < source.size) {
    const rest = source.size - data - needed;
    ledger.add({ level: 'suspicious', rule: 'TRAILING_BYTES', member, offset: data + needed, detail: `${rest} bytes` });
    // numpy.load reads one array after another from an open file, and a pickle where it finds one.
    await bench.judge({
      ...content,
      source: source.slice(data + needed, source.size, source.label),
      member: `${member}@${data + needed}`,
      name: '',
    });
  }
  return 'NumPy array';
}

/**
 * The literal dict of a header. byteLength is undefined for a structured type without objects, whose size we do not
 * compute; undefined as a whole for a text that is no such dict.
 */
function parseHeader(text: string): { readonly objects: boolean; readonly byteLength: number | undefined } | undefined {
  const shape = /'shape'\s*:\s*\(([\d\sL,]*)\)/.exec(text)?.[1];
  const order = /'fortran_order'\s*:\s*(?:True|False)/.test(text);
  if (!/^\s*\{/.test(text) || !/\}\s*$/.test(text) || shape === undefined || !order) return undefined;
  const simple = /'descr'\s*:\s*'([<>|=]?)([A-Za-z])(\d*)[^']*'/.exec(text);
  if (simple === null) {
    if (!/'descr'\s*:\s*\[/.test(text)) return undefined;
    return { objects: /'[<>|=]?O\d*'/.test(text), byteLength: undefined };
  }
  const [, , kind = '', size = ''] = simple;
  if (kind === 'O') return { objects: true, byteLength: undefined };
  const itemBytes = kind === 'U' ? 4 * Number(size) : kind === '?' ? 1 : Number(size);
  const elements = shape
    .split(',')
    .map((part) => part.replace('L', '').trim())
    .filter((part) => part !== '')
    .reduce((product, part) => product * Number(part), 1);
  const byteLength = elements * itemBytes;
  return { objects: false, byteLength: Number.isSafeInteger(byteLength) ? byteLength : undefined };
}
