import { tensorBlocks } from '../../bytes/dense-tensor.ts';
import { formatJson } from '../../bytes/json.ts';
import type { WriteTarget } from '../../bytes/target.ts';
import { bytesPerElement } from '../../ir/dtype.ts';
import { BnsumError } from '../../ir/error.ts';
import type { Json, JsonObject } from '../../ir/json.ts';
import type { Encoding, Tensor } from '../../ir/model.ts';
import type { StateEntry } from '../../ir/state.ts';
import { modulesToJson, type StateModule } from '../../ir/state-modules.ts';
import { encodeBase64 } from './base64.ts';
import { type ElementText, elementText } from './element.ts';

export interface PtJsonContent {
  /** Module path to its class and constructor arguments. */
  readonly modules: ReadonlyMap<string, Pick<StateModule, 'type' | 'attrs'>>;
  /** Module path to the version of its state, PyTorch's `_metadata`. */
  readonly metadata: ReadonlyMap<string, number>;
  /** `{framework, file, model_config}` of the file that this one was made from; null without one. */
  readonly source: JsonObject | null;
  /** In state_dict order. */
  readonly entries: readonly StateEntry[];
}

export interface PtJsonOptions {
  /** 'base64' (default) keeps every bit; 'text' writes numbers that a person can read, NaNs without their payload. */
  readonly data?: 'base64' | 'text';
}

/**
 * Writes a pt-json file: one module and one tensor per line, LF, fixed order of keys, streamed. An entry that shares
 * another's tensor is written without data. Throws BnsumError UNSUPPORTED for a tensor that the format cannot hold.
 */
export async function writePtJson(
  content: PtJsonContent,
  target: WriteTarget,
  options: PtJsonOptions = {},
): Promise<void> {
  const write = (text: string): Promise<void> => target.write(new TextEncoder().encode(text));
  await write('{\n  "format": "pt-json",\n  "version": 1,\n');
  const modules = modulesToJson(content.modules) as JsonObject;
  await write(`  "modules": ${lines(modules)},\n`);
  const metadata = [...content.metadata].map(
    ([path, version]) => [path, new Map<string, Json>([['version', version]])] as const,
  );
  await write(`  "metadata": ${lines(new Map<string, Json>(metadata))},\n`);
  if (content.source !== null) await write(`  "source": ${lines(content.source)},\n`);
  await write('  "state_dict": {');
  const names = new Set<string>();
  for (const entry of content.entries) {
    judge(entry);
    if (names.has(entry.name)) throw new BnsumError({ code: 'INTERNAL', place: entry.name, reason: 'written twice' });
    await write(`${names.size === 0 ? '' : ','}\n    ${JSON.stringify(entry.name)}: ${await head(entry)}`);
    names.add(entry.name);
    const { tensor } = entry;
    const form = options.data === 'text' ? elementText(tensor.dtype) : null;
    if (entry.shares !== null) {
      await write(` "shares": ${JSON.stringify(entry.shares)}}`);
    } else if (form !== null && isSmallWhenEmpty(tensor)) {
      await write(' "values": ');
      await writeValues(tensor, form, target);
      await write('}');
    } else {
      await write(' "data": "');
      await writeBase64(tensor, target);
      await write('"}');
    }
  }
  await write(names.size === 0 ? '}\n}\n' : '\n  }\n}\n');
}

/** An object with one member per line. */
function lines(value: JsonObject): string {
  if (value.size === 0) return '{}';
  const members = [...value].map(([key, inner]) => `    ${JSON.stringify(key)}: ${spaced(inner)}`);
  return `{\n${members.join(',\n')}\n  }`;
}

/** On one line, with a blank after each comma and colon of the outer object, as people write it. */
function spaced(value: Json): string {
  if (!(value instanceof Map) || value.size === 0) return formatJson(value, { nonFinite: true });
  const members = [...(value as JsonObject)].map(
    ([key, inner]) => `${JSON.stringify(key)}: ${formatJson(inner, { nonFinite: true })}`,
  );
  return `{${members.join(', ')}}`;
}

function judge({ name, tensor }: StateEntry): void {
  const refuse = (reason: string): BnsumError => new BnsumError({ code: 'UNSUPPORTED', place: name, reason });
  if (/\p{Surrogate}/u.test(name)) throw refuse('pt-json cannot hold a name with a lone surrogate');
  const { kind } = tensor.encoding;
  if (kind !== 'dense' && kind !== 'quantised') throw refuse(`pt-json holds dense tensors, not ${kind} ones`);
}

/** The opening of an entry up to its values, which come last. */
async function head({ tensor, kind, requiresGrad }: StateEntry): Promise<string> {
  const parts = [`"dtype": "${tensor.dtype}"`, `"shape": [${tensor.shape.join(', ')}]`];
  if (kind !== null) parts.push(`"kind": "${kind}"`);
  if (requiresGrad !== null) parts.push(`"requires_grad": ${requiresGrad}`);
  if (tensor.encoding.kind === 'quantised') parts.push(`"quant": ${await quant(tensor.encoding)}`);
  return `{${parts.join(', ')},`;
}

async function quant(encoding: Extract<Encoding, { kind: 'quantised' }>): Promise<string> {
  const { scheme, scale, zeroPoint, axis } = encoding;
  if (typeof scale === 'number' && typeof zeroPoint === 'number') {
    return spaced(
      new Map<string, Json>([
        ['scheme', scheme],
        ['scale', scale],
        ['zero_point', zeroPoint],
      ]),
    );
  }
  const facts = new Map<string, Json>([
    ['scheme', scheme],
    ['scales', await numbersOf(scale)],
    ['zero_points', await numbersOf(zeroPoint)],
  ]);
  if (axis !== undefined) facts.set('axis', axis);
  return spaced(facts);
}

async function numbersOf(value: number | Tensor): Promise<readonly number[]> {
  if (typeof value === 'number') return [value];
  const form = elementText(value.dtype);
  if (form === null)
    throw new BnsumError({ code: 'UNSUPPORTED', place: value.name, reason: `a scale of type ${value.dtype}` });
  const numbers: number[] = [];
  for await (const block of tensorBlocks(value)) {
    const view = new DataView(block.buffer, block.byteOffset, block.byteLength);
    for (let at = 0; at < block.byteLength; at += form.leafBytes)
      numbers.push(Number(form.format(view, at).replaceAll('"', '')));
  }
  return numbers;
}

async function writeBase64(tensor: Tensor, target: WriteTarget): Promise<void> {
  // Groups of three bytes go over the borders of blocks.
  let rest = new Uint8Array(0);
  let written = 0;
  for await (const block of tensorBlocks(tensor, BASE64_BLOCK)) {
    written += block.byteLength;
    let from = 0;
    if (rest.byteLength > 0) {
      from = Math.min(3 - rest.byteLength, block.byteLength);
      rest = concat(rest, block.subarray(0, from));
      if (rest.byteLength < 3) continue;
      await target.write(encodeBase64(rest));
    }
    const whole = from + Math.floor((block.byteLength - from) / 3) * 3;
    await target.write(encodeBase64(block.subarray(from, whole)));
    rest = block.slice(whole);
  }
  if (rest.byteLength > 0) await target.write(encodeBase64(rest));
  proveComplete(tensor, written);
}

/** A multiple of 3, and of every element size but 9-byte ones. */
const BASE64_BLOCK = 3 * 1024 * 1024;

function concat(a: Uint8Array, b: Uint8Array): Uint8Array<ArrayBuffer> {
  const whole = new Uint8Array(a.byteLength + b.byteLength);
  whole.set(a);
  whole.set(b, a.byteLength);
  return whole;
}

function proveComplete(tensor: Tensor, written: number): void {
  if (written === tensor.byteLength) return;
  const reason = `gave ${written} bytes instead of ${tensor.byteLength}`;
  throw new BnsumError({ code: 'INTERNAL', place: tensor.name, reason });
}

/** Text is written in pieces of about this many characters. */
const TEXT_PIECE = 64 * 1024;

/** Nested lists in the tensor's shape; complex numbers as pairs, a scalar bare. */
async function writeValues(tensor: Tensor, form: ElementText, target: WriteTarget): Promise<void> {
  const { shape } = tensor;
  if (shape.includes(0)) {
    await target.write(new TextEncoder().encode(emptyLists(shape)));
    return;
  }
  const elementBytes = bytesPerElement(tensor.dtype);
  // How many elements a list of each depth holds: where an element starts or ends such a list, a bracket stands.
  const spans = shape.map((_, axis) => shape.slice(axis).reduce((product, size) => product * size, 1));
  let element = 0;
  let written = 0;
  let text = '';
  for await (const block of tensorBlocks(tensor, 1024 * 1024)) {
    const view = new DataView(block.buffer, block.byteOffset, block.byteLength);
    for (let at = 0; at < block.byteLength; at += elementBytes) {
      if (element > 0) text += ', ';
      for (const span of spans) if (element % span === 0) text += '[';
      text +=
        form.leaves === 1
          ? form.format(view, at)
          : `[${form.format(view, at)}, ${form.format(view, at + form.leafBytes)}]`;
      element += 1;
      for (const span of spans) if (element % span === 0) text += ']';
      if (text.length >= TEXT_PIECE) {
        await target.write(new TextEncoder().encode(text));
        text = '';
      }
    }
    written += block.byteLength;
  }
  await target.write(new TextEncoder().encode(text));
  proveComplete(tensor, written);
}

/** Most lists that an empty tensor is spelled out as; beyond, it stands as empty data. */
const MOST_EMPTY_LISTS = 10_000;

function isSmallWhenEmpty({ shape }: Tensor): boolean {
  const zero = shape.indexOf(0);
  return zero === -1 || shape.slice(0, zero).reduce((product, size) => product * size, 1) <= MOST_EMPTY_LISTS;
}

function emptyLists(shape: readonly number[]): string {
  let text = '[]';
  for (const size of shape.slice(0, shape.indexOf(0)).toReversed())
    text = `[${new Array<string>(size).fill(text).join(', ')}]`;
  return text;
}
