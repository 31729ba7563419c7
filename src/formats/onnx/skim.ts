import type { ByteSource } from '../../bytes/source.ts';
import { BnsumError, type ErrorCode } from '../../ir/error.ts';
import { LIMITS } from '../../ir/limits.ts';
import { type Field, type MessageName, PAYLOAD_NUMBER, type PayloadField, SCHEMA } from './schema.ts';

/** Where the values of one tensor lie. Neighbouring values that are not packed are one place, tags included. */
export interface Payload {
  readonly field: PayloadField;
  readonly packed: boolean;
  /** Bytes [start, end) of the file. */
  readonly start: number;
  end: number;
  /** Values, where they are not packed. */
  count: number;
}

/** A file without its payloads: a protobuf message of the fields in the schema, each payload replaced by its index. */
export interface Skimmed {
  readonly bytes: Uint8Array;
  readonly payloads: readonly Payload[];
}

/** Bytes read after a payload that was stepped over: names and sizes of the next tensor. Doubled while reading on. */
const FIRST_WINDOW = 512;
const LARGEST_WINDOW = 256 * 1024;
/** A tag and a length, each of at most ten bytes. */
const HEADER_BYTES = 20;

interface Frame {
  readonly message: MessageName;
  readonly end: number;
  /** Where the length of the copied message is to be written; -1 for the whole. */
  readonly lengthAt: number;
}

interface Cursor {
  readonly source: ByteSource;
  window: Uint8Array;
  /** File offset of the window's first byte. */
  base: number;
  /** File offset of the next byte. */
  at: number;
  /** Size of the next window. */
  next: number;
}

/**
 * Walks the wire format of a ModelProto and steps over element data without reading it. Memory is what is kept; the walk
 * keeps its own stack. Throws BnsumError MALFORMED or TRUNCATED with the offset, LIMIT for nesting above 100 messages,
 * for too many nodes or tensors and for too large a rest.
 */
export async function skim(source: ByteSource): Promise<Skimmed> {
  const cursor: Cursor = { source, window: new Uint8Array(0), base: 0, at: 0, next: FIRST_WINDOW };
  const copy = makeCopy(source.label);
  const payloads: Payload[] = [];
  const stack: Frame[] = [{ message: 'Model', end: source.size, lengthAt: -1 }];
  let things = 0;
  for (let frame = stack.at(-1); frame !== undefined; frame = stack.at(-1)) {
    if (cursor.at >= frame.end) {
      copy.close(frame.lengthAt);
      stack.pop();
      continue;
    }
    if (!holds(cursor, HEADER_BYTES)) await fetch(cursor, HEADER_BYTES);
    const start = cursor.at;
    const tag = varint(cursor, frame.end, start);
    const number = Math.floor(tag / 8);
    const wire = tag % 8;
    if (number === 0 || number > 0x1f_ff_ff_ff) throw refusal(source, 'MALFORMED', start, `field number ${number}`);
    if (wire === 3 || wire === 4) throw refusal(source, 'MALFORMED', start, 'a group, which ONNX does not have');
    if (wire > 5) throw refusal(source, 'MALFORMED', start, `wire type ${wire}`);
    const field = SCHEMA[frame.message].get(number);
    if (field !== undefined) checkWire(source, start, frame.message, field, wire);
    let length = wire === 1 ? 8 : wire === 5 ? 4 : 0;
    const valueAt = cursor.at;
    if (wire === 0) {
      varint(cursor, frame.end, start);
      length = cursor.at - valueAt;
      cursor.at = valueAt;
    } else if (wire === 2) {
      length = varint(cursor, frame.end, start);
    }
    const bodyAt = cursor.at;
    if (length > frame.end - bodyAt) {
      const what = `${frame.message} field ${number} is said to hold ${length} bytes, ${frame.end - bodyAt} are left`;
      throw refusal(source, 'TRUNCATED', start, what);
    }
    if (field === undefined) {
      cursor.at = bodyAt + length;
    } else if (field.kind === 'payload') {
      record(payloads, copy, field, wire, start, bodyAt, length);
      cursor.at = bodyAt + length;
    } else if (typeof field.kind === 'object') {
      if (stack.length >= LIMITS.protobufDepth) {
        throw refusal(source, 'LIMIT', start, `messages are nested deeper than ${LIMITS.protobufDepth}`);
      }
      if (field.name === 'node' || field.name === 'initializer') {
        things += 1;
        if (things > LIMITS.layers) {
          throw refusal(source, 'LIMIT', start, `more than ${LIMITS.layers} nodes and initializers`);
        }
      }
      stack.push({ message: field.kind.message, end: bodyAt + length, lengthAt: copy.open(number) });
    } else {
      if (!holds(cursor, length)) await fetch(cursor, length);
      const body = cursor.window.subarray(bodyAt - cursor.base, bodyAt - cursor.base + length);
      if (field.kind === 'string') checkText(source, start, body);
      copy.put(number, wire, body);
      cursor.at = bodyAt + length;
    }
  }
  return { bytes: copy.bytes(), payloads };
}

function refusal(source: ByteSource, code: ErrorCode, at: number, reason: string): BnsumError {
  return new BnsumError({ code, file: source.label, place: `@${at}`, reason: `no valid ONNX protobuf: ${reason}` });
}

function checkWire(source: ByteSource, at: number, message: MessageName, field: Field, wire: number): void {
  const isPacked = wire === 2 && field.repeated && (field.wire === 0 || field.wire === 1 || field.wire === 5);
  if (wire === field.wire || isPacked) return;
  throw refusal(source, 'MALFORMED', at, `${message} ${field.name} has wire type ${wire}, not ${field.wire}`);
}

function checkText(source: ByteSource, at: number, bytes: Uint8Array): void {
  if (bytes.every((byte) => byte < 0x80)) return;
  try {
    new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    throw refusal(source, 'MALFORMED', at, 'a text that is not UTF-8');
  }
}

/** Whether the next `count` bytes, or all that the file still has, are in the window. */
function holds(cursor: Cursor, count: number): boolean {
  const end = Math.min(cursor.at + count, cursor.source.size);
  return cursor.at >= cursor.base && end <= cursor.base + cursor.window.byteLength;
}

async function fetch(cursor: Cursor, count: number): Promise<void> {
  const { source, at } = cursor;
  const isNear = at >= cursor.base && at <= cursor.base + cursor.window.byteLength;
  cursor.next = isNear ? Math.min(cursor.next * 2, LARGEST_WINDOW) : FIRST_WINDOW;
  const end = Math.min(source.size, at + Math.max(count, cursor.next));
  if (count > LIMITS.protobufBytes) {
    throw refusal(source, 'LIMIT', at, `a field of ${count} bytes, the limit is ${LIMITS.protobufBytes}`);
  }
  cursor.window = await source.read(at, end);
  cursor.base = at;
}

/** The varint at the cursor, which the window holds; exact up to 2^53, larger beyond. */
function varint(cursor: Cursor, end: number, start: number): number {
  const { window, base, source } = cursor;
  let value = 0;
  let scale = 1;
  for (let index = 0; index < 10; index += 1) {
    const at = cursor.at;
    const byte = at >= end ? undefined : window[at - base];
    if (byte === undefined) throw refusal(source, 'TRUNCATED', start, 'a number is cut off');
    if (index === 9 && byte > 1) break;
    cursor.at = at + 1;
    value += (byte & 0x7f) * scale;
    scale *= 128;
    if (byte < 0x80) return value;
  }
  throw refusal(source, 'MALFORMED', start, 'a number of more than 64 bits');
}

function record(
  payloads: Payload[],
  copy: Copy,
  field: Field,
  wire: number,
  start: number,
  bodyAt: number,
  length: number,
): void {
  const name = field.name as PayloadField;
  const packed = wire === 2;
  const last = payloads.at(-1);
  if (!packed && last?.packed === false && last.field === name && last.end === start) {
    last.end = bodyAt + length;
    last.count += 1;
    return;
  }
  // Strings stand one by one; only whether there are any matters.
  if (name === 'string_data' && last?.field === name && last.end === start) {
    last.end = bodyAt + length;
    last.count += 1;
    return;
  }
  copy.putIndex(payloads.length);
  payloads.push({ field: name, packed, start: packed ? bodyAt : start, end: bodyAt + length, count: 1 });
}

interface Copy {
  /** Starts a nested message; gives the place of its length. */
  open(number: number): number;
  close(lengthAt: number): void;
  put(number: number, wire: number, body: Uint8Array): void;
  putIndex(index: number): void;
  bytes(): Uint8Array;
}

/** Bytes of a length that is written once it is known: a varint may have leading zeros. */
const LENGTH_BYTES = 5;

function makeCopy(file: string): Copy {
  let buffer = new Uint8Array(64 * 1024);
  let size = 0;
  const reserve = (count: number): void => {
    if (size + count <= buffer.byteLength) return;
    if (size + count > LIMITS.protobufBytes) {
      const reason = `more than ${LIMITS.protobufBytes} bytes beside the elements of tensors`;
      throw new BnsumError({ code: 'LIMIT', file, reason });
    }
    const larger = new Uint8Array(Math.max(buffer.byteLength * 2, size + count));
    larger.set(buffer.subarray(0, size));
    buffer = larger;
  };
  const number = (value: number): void => {
    let rest = value;
    while (rest > 0x7f) {
      buffer[size++] = (rest % 128) | 0x80;
      rest = Math.floor(rest / 128);
    }
    buffer[size++] = rest;
  };
  return {
    open(field) {
      reserve(16);
      number(field * 8 + 2);
      size += LENGTH_BYTES;
      return size - LENGTH_BYTES;
    },
    close(lengthAt) {
      if (lengthAt < 0) return;
      let length = size - lengthAt - LENGTH_BYTES;
      for (let index = 0; index < LENGTH_BYTES; index += 1) {
        buffer[lengthAt + index] = (length % 128) | (index < LENGTH_BYTES - 1 ? 0x80 : 0);
        length = Math.floor(length / 128);
      }
    },
    put(field, wire, body) {
      reserve(body.byteLength + 16);
      number(field * 8 + wire);
      if (wire === 2) number(body.byteLength);
      buffer.set(body, size);
      size += body.byteLength;
    },
    putIndex(index) {
      reserve(16);
      number(PAYLOAD_NUMBER * 8);
      number(index);
    },
    bytes: () => buffer.subarray(0, size),
  };
}
