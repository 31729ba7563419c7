import { denseTensor } from '../../bytes/dense-tensor.ts';
import type { ByteSource } from '../../bytes/source.ts';
import { provedByteLength } from '../../ir/build.ts';
import type { DType } from '../../ir/dtype.ts';
import { BnsumError } from '../../ir/error.ts';
import { isList, isObject, type Json, numberAt, stringAt } from '../../ir/json.ts';
import type { Encoding, Tensor } from '../../ir/model.ts';
import { decodeBase64 } from './base64.ts';
import { elementText } from './element.ts';
import type { Described } from './entry.ts';
import { fillNested } from './nested.ts';

/** Base64 characters decoded at a time: a multiple of four. */
const PIECE = 1024 * 1024;

/** Turns a description with values of its own into a lazy tensor. Throws BnsumError where they cannot belong together. */
export function tensorOf(source: ByteSource, described: Described): Tensor {
  const { name, payload } = described;
  const file = source.label;
  const place = { file, name, identity: `${file}#${name}`, storage: `${file}#${name}` };
  if (payload.kind === 'shares') throw new BnsumError({ code: 'INTERNAL', file, place: name, reason: 'not resolved' });
  if (payload.kind === 'base64') {
    const dtype = described.dtype ?? 'float32';
    const shape = described.shape ?? [];
    const byteLength = provedByteLength(dtype, shape, file, name);
    return denseTensor({
      ...place,
      dtype,
      shape,
      encoding: encodingOf(described.quant, file, name),
      fill: (start, into, signal) => fillBase64(source, { ...payload, byteLength }, start, into, name, signal),
    });
  }
  const { nested } = payload;
  const dtype = described.dtype ?? assumedType(name);
  const form = elementText(dtype);
  if (form === null) {
    throw new BnsumError({
      code: 'UNSUPPORTED',
      file,
      place: name,
      reason: `${dtype} has no plain numbers, only data`,
    });
  }
  const found = form.leaves === 2 && nested.leaves > 0 ? nested.shape.slice(0, -1) : nested.shape;
  const shape = described.shape ?? found;
  const empty = shape.includes(0);
  const fits = empty
    ? nested.leaves === 0
    : sameShape(found, shape) && (form.leaves === 1 || nested.shape.at(-1) === 2);
  if (!fits) {
    const reason = `values are of shape [${nested.shape.join(', ')}], not [${shape.join(', ')}]`;
    throw new BnsumError({ code: 'MALFORMED', file, place: name, reason });
  }
  return denseTensor({
    ...place,
    dtype,
    shape,
    encoding: encodingOf(described.quant, file, name),
    fill: (start, into, signal) => fillNested(source, nested, form, start, into, name, signal),
  });
}

/** Nested lists of other tools have no types: torch's default, and the counter of BatchNorm. */
function assumedType(name: string): DType {
  return name === 'num_batches_tracked' || name.endsWith('.num_batches_tracked') ? 'int64' : 'float32';
}

function sameShape(a: readonly number[], b: readonly number[]): boolean {
  return a.length === b.length && a.every((axis, index) => axis === b[index]);
}

async function fillBase64(
  source: ByteSource,
  payload: { readonly start: number; readonly length: number; readonly byteLength: number },
  start: number,
  into: Uint8Array,
  name: string,
  signal?: AbortSignal,
): Promise<void> {
  const end = start + into.byteLength;
  const last = Math.ceil(end / 3) * 4;
  const scratch = new Uint8Array((Math.min(PIECE, last) / 4) * 3);
  for (let at = Math.floor(start / 3) * 4; at < last; at += PIECE) {
    const to = Math.min(last, at + PIECE);
    const text = await source.read(payload.start + at, payload.start + to, signal);
    const count = decodeBase64(text, scratch);
    const from = (at / 4) * 3;
    // Padding belongs at the end of the whole text alone, and there has to be as much as the length demands.
    const expected = to === payload.length ? payload.byteLength - from : ((to - at) / 4) * 3;
    if (count !== expected) {
      throw new BnsumError({ code: 'MALFORMED', file: source.label, place: name, reason: 'data is not base64' });
    }
    const skip = Math.max(0, start - from);
    const take = Math.min(count, end - from);
    if (take > skip) into.set(scratch.subarray(skip, take), from + skip - start);
  }
}

/** `{scheme, scale, zero_point}`, or per channel `{scheme, scales, zero_points, axis}`. */
function encodingOf(quant: Json | null, file: string, name: string): Encoding {
  if (quant === null) return { kind: 'dense' };
  const refuse = (reason: string): BnsumError => new BnsumError({ code: 'MALFORMED', file, place: name, reason });
  const scheme = stringAt(quant, 'scheme');
  if (scheme === undefined || !isObject(quant)) throw refuse('quant names no scheme');
  const scale = numberAt(quant, 'scale');
  const zeroPoint = numberAt(quant, 'zero_point');
  if (scale !== undefined && zeroPoint !== undefined) return { kind: 'quantised', scheme, scale, zeroPoint };
  const scales = numbersOf(quant.get('scales'));
  const zeroPoints = numbersOf(quant.get('zero_points'));
  const axis = numberAt(quant, 'axis');
  if (scales === null || zeroPoints === null || axis === undefined || scales.length !== zeroPoints.length) {
    throw refuse('quant holds neither a scale nor scales per channel');
  }
  const list = (part: string, values: readonly number[]): Tensor => {
    const bytes = new Uint8Array(Float64Array.from(values).buffer);
    return denseTensor({
      file,
      name: `${name} ${part}`,
      dtype: 'float64',
      shape: [values.length],
      identity: `${file}#${name} ${part}`,
      storage: `${file}#${name} ${part}`,
      async fill(start, into) {
        into.set(bytes.subarray(start, start + into.byteLength));
      },
    });
  };
  return { kind: 'quantised', scheme, scale: list('scales', scales), zeroPoint: list('zero_points', zeroPoints), axis };
}

function numbersOf(value: Json | undefined): readonly number[] | null {
  if (!isList(value)) return null;
  const numbers = value.filter((item) => typeof item === 'number');
  return numbers.length === value.length ? numbers : null;
}
