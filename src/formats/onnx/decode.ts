import type { Reader } from 'protobufjs/minimal.js';
import { BnsumError } from '../../ir/error.ts';
import { type Field, type Integer, type MessageName, type ModelProto, PAYLOAD_NUMBER, SCHEMA } from './schema.ts';

/**
 * The messages of a skimmed file. `bytes` was checked when it was skimmed: lengths, nesting and texts are valid; lists of
 * packed numbers are not. Throws BnsumError MALFORMED for those.
 */
export async function decodeModel(bytes: Uint8Array, file: string): Promise<ModelProto> {
  const { default: protobuf } = await import('protobufjs/minimal.js');
  const reader = protobuf.Reader.create(bytes);
  try {
    // The fields of a message are those of the schema, with the schema's names and kinds.
    return decode(reader, 'Model', reader.len) as ModelProto;
  } catch (error) {
    const reason = 'no valid ONNX protobuf: a list of packed numbers is damaged';
    throw new BnsumError({ code: 'MALFORMED', file, reason, cause: error });
  }
}

type Message = Record<string, unknown>;

/** Depth is that of the file, at most limits.protobufDepth. */
function decode(reader: Reader, message: MessageName, end: number): Message {
  const fields = SCHEMA[message];
  const decoded: Message = {};
  while (reader.pos < end) {
    const tag = reader.uint32();
    const number = tag >>> 3;
    if (number === PAYLOAD_NUMBER) {
      append(decoded, 'payload', reader.uint32());
      continue;
    }
    const field = fields.get(number);
    if (field === undefined) {
      reader.skipType(tag & 7);
    } else if (field.repeated && (tag & 7) === 2 && field.wire !== 2) {
      const until = reader.uint32() + reader.pos;
      while (reader.pos < until) append(decoded, field.name, value(reader, field));
      if (reader.pos !== until) throw new RangeError(`${message} ${field.name} ends inside a number`);
    } else if (field.repeated) {
      append(decoded, field.name, value(reader, field));
    } else {
      // A field that comes twice: the last one counts, but messages are merged.
      const next = value(reader, field);
      const before = decoded[field.name];
      decoded[field.name] = typeof field.kind === 'object' && before !== undefined ? merged(before, next) : next;
    }
  }
  return decoded;
}

function append(message: Message, name: string, item: unknown): void {
  const list = message[name];
  if (Array.isArray(list)) list.push(item);
  else message[name] = [item];
}

function merged(before: unknown, next: unknown): Message {
  const result: Message = { ...(before as Message) };
  for (const [name, item] of Object.entries(next as Message)) {
    const old = result[name];
    result[name] = Array.isArray(old) && Array.isArray(item) ? [...old, ...item] : item;
  }
  return result;
}

function value(reader: Reader, field: Field): unknown {
  switch (field.kind) {
    case 'int':
      return integer(reader);
    case 'float':
      return reader.float();
    case 'string':
      return new TextDecoder().decode(reader.bytes());
    case 'bytes':
      return reader.bytes();
    case 'payload':
      return undefined;
    default: {
      const end = reader.uint32() + reader.pos;
      return decode(reader, field.kind.message, end);
    }
  }
}

function integer(reader: Reader): Integer {
  const read = reader.int64();
  if (typeof read === 'number') return read;
  const whole = BigInt.asIntN(64, (BigInt(read.high >>> 0) << 32n) | BigInt(read.low >>> 0));
  const near = Number(whole);
  return Number.isSafeInteger(near) ? near : whole;
}
