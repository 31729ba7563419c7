import { BnsumError } from '../../ir/error.ts';
import { isList, type Json } from '../../ir/json.ts';
import type { Encoding } from '../../ir/model.ts';
import { attributeOf, isStandard, settingsOf } from './node.ts';
import type { GraphProto, NodeProto } from './schema.ts';
import {
  dtypeOfCode,
  filledTensor,
  readSparse,
  readTensor,
  reshapedTensor,
  type Stored,
  shapeOf,
  smallBytes,
  smallIntegers,
  storedTensor,
  type TensorContext,
} from './tensor.ts';

/** Where a constant comes from. `made`: by a node that stands for an initializer (ConstantOfShape). */
export type Origin = 'initializer' | 'made' | 'constant';

/** A tensor that stands in the file, however many values come from it. */
export interface Root {
  readonly name: string;
  readonly origin: Origin;
  readonly stored: Stored;
  /** A layer has it, or it only says how another one is made. */
  used: boolean;
}

/** A value that is known before the model runs. */
export interface Known {
  readonly root: Root;
  readonly stored: Stored;
  /** The matrix is used turned round. */
  readonly transposed: boolean;
  /** Scale and zero point of a quantised tensor. */
  readonly quantisation: readonly { readonly role: string; readonly known: Known }[];
}

/** The constants of a graph, and of the graphs around it. */
export interface Scope {
  readonly outer: Scope | null;
  /** Tells the names of different graphs apart: '', 'if_1/then'. */
  readonly id: string;
  readonly known: Map<string, Known>;
  readonly roots: Root[];
  /** Values of text, which are no tensors. */
  readonly texts: string[];
}

export function find(scope: Scope, name: string | undefined): Known | undefined {
  if (name === undefined || name === '') return undefined;
  for (let at: Scope | null = scope; at !== null; at = at.outer) {
    const known = at.known.get(name);
    if (known !== undefined) return known;
  }
  return undefined;
}

/** Reads a graph's initializers. Throws BnsumError MALFORMED for a name that comes twice. */
export async function openScope(
  graph: GraphProto,
  outer: Scope | null,
  id: string,
  context: TensorContext,
): Promise<Scope> {
  const scope: Scope = { outer, id, known: new Map(), roots: [], texts: [] };
  const file = context.source.label;
  const seen = new Set<string>();
  const once = (name: string): void => {
    if (seen.has(name)) {
      throw new BnsumError({ code: 'MALFORMED', file, place: name, reason: 'two initializers have this name' });
    }
    seen.add(name);
  };
  for (const proto of graph.initializer ?? []) {
    const name = proto.name ?? '';
    once(name);
    const stored = await readTensor(proto, name, `${file}#${id}${name}`, context);
    if (stored === null) scope.texts.push(name);
    else add(scope, name, 'initializer', stored);
  }
  for (const proto of graph.sparse_initializer ?? []) {
    const name = proto.values?.name ?? '';
    once(name);
    const stored = await readSparse(proto, name, `${file}#${id}${name}`, context);
    if (stored === null) scope.texts.push(name);
    else add(scope, name, 'initializer', stored);
  }
  return scope;
}

function add(scope: Scope, name: string, origin: Origin, stored: Stored): void {
  const root: Root = { name, origin, stored, used: false };
  scope.roots.push(root);
  scope.known.set(name, { root, stored, transposed: false, quantisation: [] });
}

/** Takes the node in when it makes a constant from constants; false when it computes. */
export async function takeConstant(scope: Scope, node: NodeProto, context: TensorContext): Promise<boolean> {
  const name = node.output?.[0];
  if (!isStandard(node) || name === undefined || name === '') return false;
  const first = find(scope, node.input?.[0]);
  const derived = (known: Known | null): boolean => {
    if (known !== null) scope.known.set(name, known);
    return known !== null;
  };
  switch (node.op_type) {
    case 'Constant': {
      const stored = await constantValue(node, name, `${context.source.label}#${scope.id}${name}`, context);
      if (stored !== null) add(scope, name, 'constant', stored);
      return stored !== null;
    }
    case 'ConstantOfShape':
    case 'ConstantFill': {
      const stored = await fillValue(scope, node, name, context);
      if (stored !== null) add(scope, name, 'made', stored);
      return stored !== null;
    }
    case 'Identity':
    case 'Cast':
    case 'CastLike':
      return derived(first ?? null);
    case 'Transpose':
      return derived(first === undefined ? null : turned(first, settingsOf(node).get('perm')));
    case 'Reshape':
    case 'Unsqueeze':
    case 'Squeeze':
      return derived(first === undefined ? null : await reshaped(scope, node, first, context.source.label));
    case 'DequantizeLinear':
      return derived(first === undefined ? null : dequantised(scope, node, first));
    default:
      return false;
  }
}

async function constantValue(
  node: NodeProto,
  name: string,
  id: string,
  context: TensorContext,
): Promise<Stored | null> {
  const file = context.source.label;
  const value = attributeOf(node, 'value');
  if (value?.t !== undefined) return readTensor(value.t, value.t.name || name, id, context);
  const sparse = attributeOf(node, 'sparse_value')?.sparse_tensor;
  if (sparse !== undefined) return readSparse(sparse, sparse.values?.name || name, id, context);
  const float = attributeOf(node, 'value_float');
  const floats = attributeOf(node, 'value_floats');
  if (float !== undefined || floats !== undefined) {
    const bytes = new Uint8Array(Float32Array.from(floats?.floats ?? [float?.f ?? 0]).buffer);
    return literal(file, name, 'float32', floats === undefined ? [] : [bytes.byteLength / 4], id, bytes);
  }
  const int = attributeOf(node, 'value_int');
  const ints = attributeOf(node, 'value_ints');
  if (int !== undefined || ints !== undefined) {
    const numbers = (ints?.ints ?? [int?.i ?? 0]).map(BigInt);
    const bytes = new Uint8Array(BigInt64Array.from(numbers).buffer);
    return literal(file, name, 'int64', ints === undefined ? [] : [numbers.length], id, bytes);
  }
  return null;
}

function literal(
  file: string,
  name: string,
  dtype: 'float32' | 'int64',
  shape: readonly number[],
  id: string,
  bytes: Uint8Array,
): Stored {
  return storedTensor(file, name, dtype, shape, id, id, async (start, into) => {
    into.set(bytes.subarray(start, start + into.byteLength));
  });
}

/** ConstantOfShape (a fill value as a tensor of one element) and the older ConstantFill (a float). */
async function fillValue(scope: Scope, node: NodeProto, name: string, context: TensorContext): Promise<Stored | null> {
  const file = context.source.label;
  const settings = settingsOf(node);
  const told = node.op_type === 'ConstantFill' ? integers(settings.get('shape')) : null;
  const from = find(scope, node.input?.[0]);
  const list = told ?? (from === undefined ? null : await smallIntegers(from.stored));
  if (list === null) return null;
  const shape = shapeOf(list, file, name);
  if (from !== undefined) from.root.used = true;
  const id = `${file}#${scope.id}${name}`;
  if (node.op_type === 'ConstantFill') {
    const dtype = dtypeOfCode(Number(settings.get('dtype') ?? 1));
    if (dtype !== 'float32') return null;
    const value = settings.get('value');
    return filledTensor(file, name, dtype, shape, id, floatBytes(typeof value === 'number' ? value : 0));
  }
  const value = attributeOf(node, 'value')?.t;
  if (value === undefined) return filledTensor(file, name, 'float32', shape, id, floatBytes(0));
  const element = await readTensor(value, name, `${id}/value`, context);
  const bytes = element === null ? null : await smallBytes(element);
  return element === null || bytes === null || bytes.byteLength === 0 || /4$|2$/.test(subByte(element))
    ? null
    : filledTensor(file, name, element.tensor.dtype, shape, id, bytes);
}

function subByte(element: Stored): string {
  return /^u?int[24]$/.test(element.tensor.dtype) ? element.tensor.dtype : '';
}

function floatBytes(value: number): Uint8Array {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setFloat32(0, value, true);
  return bytes;
}

function integers(value: Json | undefined): readonly number[] | null {
  return isList(value) && value.every((item) => typeof item === 'number') ? value : null;
}

/** The other one of a matrix's two orders; null for any other permutation. */
function turned(known: Known, perm: Json | undefined): Known | null {
  const rank = known.stored.tensor.shape.length;
  const axes = integers(perm) ?? Array.from({ length: rank }, (_, index) => rank - 1 - index);
  if (axes.every((axis, index) => axis === index)) return known;
  return rank === 2 ? { ...known, transposed: !known.transposed } : null;
}

async function reshaped(scope: Scope, node: NodeProto, known: Known, file: string): Promise<Known | null> {
  const old = known.stored.tensor.shape;
  const settings = settingsOf(node);
  const word = node.op_type === 'Reshape' ? 'shape' : 'axes';
  const from = find(scope, node.input?.[1]);
  const list = integers(settings.get(word)) ?? (from === undefined ? null : await smallIntegers(from.stored));
  if (known.transposed) return null;
  let shape: readonly number[] | null = null;
  if (node.op_type === 'Reshape' && list !== null) shape = targetShape(old, list, settings.get('allowzero') === 1);
  if (node.op_type === 'Unsqueeze' && list !== null) shape = unsqueezed(old, list);
  if (node.op_type === 'Squeeze') {
    const axes = list?.map((axis) => (axis < 0 ? axis + old.length : axis));
    shape = old.filter((size, axis) => (axes === undefined ? size !== 1 : !axes.includes(axis)));
  }
  const count = (sizes: readonly number[]): number => sizes.reduce((product, size) => product * size, 1);
  if (shape === null || count(shape) !== count(old)) return null;
  if (from !== undefined) from.root.used = true;
  return { ...known, stored: reshapedTensor(file, known.stored, shape) };
}

function targetShape(old: readonly number[], list: readonly number[], keepsZero: boolean): readonly number[] | null {
  const shape = list.map((size, axis) => (size === 0 && !keepsZero ? (old[axis] ?? 0) : size));
  const open = shape.indexOf(-1);
  if (open < 0) return shape.every((size) => size >= 0) ? shape : null;
  const rest = shape.filter((_, axis) => axis !== open).reduce((product, size) => product * size, 1);
  const size = old.reduce((product, one) => product * one, 1) / rest;
  return Number.isSafeInteger(size) && size >= 0 ? shape.with(open, size) : null;
}

function unsqueezed(old: readonly number[], axes: readonly number[]): readonly number[] | null {
  const rank = old.length + axes.length;
  const places = new Set(axes.map((axis) => (axis < 0 ? axis + rank : axis)));
  if (places.size !== axes.length || rank > 64) return null;
  const rest = [...old];
  return Array.from({ length: rank }, (_, axis) => (places.has(axis) ? 1 : (rest.shift() ?? 1)));
}

function dequantised(scope: Scope, node: NodeProto, known: Known): Known | null {
  const scale = find(scope, node.input?.[1]);
  const zero = find(scope, node.input?.[2]);
  if (scale === undefined || known.quantisation.length > 0) return null;
  const axis = settingsOf(node).get('axis');
  const isScalar = scale.stored.tensor.shape.reduce((product, size) => product * size, 1) === 1;
  const encoding: Encoding = {
    kind: 'quantised',
    scheme: isScalar ? 'per_tensor_affine' : 'per_channel_affine',
    scale: scale.stored.tensor,
    zeroPoint: zero?.stored.tensor ?? 0,
    ...(isScalar ? {} : { axis: typeof axis === 'number' ? axis : 1 }),
  };
  return {
    ...known,
    stored: { tensor: { ...known.stored.tensor, encoding }, fill: known.stored.fill },
    quantisation: [
      { role: 'scale', known: scale },
      ...(zero === undefined ? [] : [{ role: 'zero_point', known: zero }]),
    ],
  };
}
