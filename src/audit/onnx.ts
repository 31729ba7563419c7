import type { ByteSource } from '../bytes/source.ts';
import { BnsumError } from '../ir/error.ts';
import { LIMITS } from '../ir/limits.ts';
import type { Bench, Content } from './context.ts';

/**
 * ONNX as protobuf records (onnx.proto): only what leads out of the file is looked at, and that every record lies in its
 * parent. Payloads are skipped by their length.
 */
interface Field {
  readonly number: number;
  readonly wire: number;
  /** Of a varint. */
  readonly value: number;
  /** Of a length-delimited field: where its bytes are. */
  readonly start: number;
  readonly end: number;
}

interface Reader {
  fields(start: number, end: number): AsyncGenerator<Field>;
  text(field: Field): Promise<string>;
}

const WINDOW = 64 * 1024;

function readerOf(source: ByteSource): Reader {
  let window: Uint8Array = new Uint8Array(0);
  let from = 0;
  const byteAt = async (at: number): Promise<number> => {
    if (at < from || at >= from + window.length) {
      from = at;
      window = await source.read(at, Math.min(source.size, at + WINDOW));
    }
    return window[at - from] ?? 0;
  };
  const fail = (at: number, reason: string): BnsumError =>
    new BnsumError({ code: 'MALFORMED', file: source.label, place: `@${at}`, reason });
  const varint = async (at: number, end: number): Promise<readonly [value: number, next: number]> => {
    let value = 0;
    for (let index = 0; index < 10; index += 1) {
      if (at + index >= end) throw fail(at, 'a number that runs past its record');
      const byte = await byteAt(at + index);
      value += (byte & 0x7f) * 2 ** (7 * index);
      if (byte < 0x80) return [value, at + index + 1];
    }
    throw fail(at, 'a number of more than ten bytes');
  };
  return {
    async *fields(start, end) {
      for (let at = start; at < end; ) {
        const [key, afterKey] = await varint(at, end);
        const number = Math.floor(key / 8);
        const wire = key % 8;
        if (number < 1 || number > 536_870_911) throw fail(at, `field number ${number}`);
        if (wire === 0) {
          const [value, next] = await varint(afterKey, end);
          yield { number, wire, value, start: afterKey, end: next };
          at = next;
        } else {
          const [length, from] =
            wire === 2
              ? await varint(afterKey, end)
              : wire === 1
                ? ([8, afterKey] as const)
                : wire === 5
                  ? ([4, afterKey] as const)
                  : ([Number.NaN, afterKey] as const);
          if (!(length >= 0)) throw fail(at, `wire type ${wire}`);
          if (from + length > end) throw fail(at, `a record of ${length} bytes runs past its parent`);
          yield { number, wire, value: 0, start: from, end: from + length };
          at = from + length;
        }
      }
    },
    async text({ start, end }) {
      return new TextDecoder().decode(await source.read(start, Math.min(end, start + 4096)));
    },
  };
}

/**
 * Whether the records at the top are those of a ModelProto: a graph, and nothing else than it has. What breaks behind the
 * graph counts where a format version stood before it: a text may begin like records by chance. 'many': more records
 * than are looked at.
 */
export async function isOnnx({ source }: Content): Promise<'yes' | 'no' | 'many'> {
  const reader = readerOf(source);
  const wires: Readonly<Record<number, number>> = {
    1: 0,
    2: 2,
    3: 2,
    4: 2,
    5: 0,
    6: 2,
    7: 2,
    8: 2,
    14: 2,
    20: 2,
    25: 2,
    26: 2,
  };
  let hasGraph = false;
  let hasVersion = false;
  let count = 0;
  try {
    for await (const field of reader.fields(0, source.size)) {
      if (wires[field.number] !== field.wire) return 'no';
      if (field.number === 7) hasGraph = true;
      if (field.number === 1) hasVersion = true;
      count += 1;
      if (count > MOST_RECORDS) return hasGraph ? 'yes' : 'many';
    }
  } catch (error) {
    if (error instanceof BnsumError) return hasGraph && hasVersion ? 'yes' : 'no';
    throw error;
  }
  return hasGraph ? 'yes' : 'no';
}

const MOST_RECORDS = 100_000;

/** Which fields of a message hold which messages; null ends the descent. */
const CHILDREN: Readonly<Record<string, Readonly<Record<number, string>>>> = {
  model: { 7: 'graph', 20: 'training', 25: 'function' },
  training: { 1: 'graph', 2: 'graph' },
  graph: { 1: 'node', 5: 'tensor', 15: 'sparse' },
  sparse: { 1: 'tensor', 2: 'tensor' },
  function: { 7: 'node', 11: 'attribute' },
  node: { 5: 'attribute' },
  attribute: { 5: 'tensor', 6: 'graph', 10: 'tensor', 11: 'graph', 22: 'sparse', 23: 'sparse' },
  tensor: { 13: 'external' },
};

export async function judgeOnnx({ source, member }: Content, bench: Bench): Promise<string> {
  const { ledger } = bench;
  const reader = readerOf(source);
  const stack: { readonly kind: string; readonly fields: AsyncGenerator<Field> }[] = [
    { kind: 'model', fields: reader.fields(0, source.size) },
  ];
  for (let frame = stack.at(-1); frame !== undefined; frame = stack.at(-1)) {
    const step = await frame.fields.next();
    if (step.done === true) {
      stack.pop();
      continue;
    }
    const field = step.value;
    const child = field.wire === 2 ? CHILDREN[frame.kind]?.[field.number] : undefined;
    if (child === undefined) continue;
    if (child === 'external') {
      const entry = new Map<number, string>();
      for await (const part of reader.fields(field.start, field.end)) {
        if (part.wire === 2) entry.set(part.number, await reader.text(part));
      }
      const problem = externalProblem(entry.get(1) ?? '', entry.get(2) ?? '');
      if (problem !== null) {
        ledger.add({
          level: problem,
          rule: 'EXTERNAL_PATH',
          member,
          offset: field.start,
          detail: `${entry.get(1)}: ${entry.get(2)}`,
        });
      }
      continue;
    }
    if (stack.length > LIMITS.protobufDepth) {
      throw new BnsumError({
        code: 'LIMIT',
        file: source.label,
        place: `@${field.start}`,
        reason: `records nest deeper than ${LIMITS.protobufDepth}`,
      });
    }
    stack.push({ kind: child, fields: reader.fields(field.start, field.end) });
  }
  return 'ONNX';
}

/** What is wrong with one entry of a tensor's external data; null when nothing is. */
function externalProblem(key: string, value: string): 'suspicious' | 'dangerous' | null {
  switch (key) {
    case 'location': {
      const parts = value.split(/[/\\]/);
      const leads = value === '' || value.includes('\0') || /^[/\\]|^[A-Za-z][A-Za-z0-9+.-]*:/.test(value);
      return leads || parts.includes('..') ? 'dangerous' : null;
    }
    case 'offset':
    case 'length':
      return /^\d{1,16}$/.test(value) ? null : 'suspicious';
    case 'checksum':
    case 'basepath':
      return key === 'basepath' && value !== '' ? 'dangerous' : null;
    default:
      return 'suspicious';
  }
}
