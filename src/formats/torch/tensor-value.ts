import { type DType, isDType } from '../../ir/dtype.ts';
import { BnsumError } from '../../ir/error.ts';
import { LIMITS } from '../../ir/limits.ts';
import type { Encoding, Tensor } from '../../ir/model.ts';
import {
  classNameOf,
  countOf,
  isDict,
  isGlobal,
  isNode,
  isReduced,
  itemsOf,
  numberOf,
  type PickleValue,
  type Reduced,
  type StorageNode,
} from './pickle-value.ts';
import { makeShapeTensor, makeStridedTensor, type StorageBytes } from './strided.ts';

/** Where tensors come from: a file, and the bytes of its storages. */
export interface TensorContext {
  readonly file: string;
  /** Prefix of identities, unique per file of a sharded model. */
  readonly scope: string;
  bytesOf(storage: StorageNode): StorageBytes;
}

export interface TensorValue {
  readonly tensor: Tensor;
  /** true: rebuilt as an nn.Parameter; null: a plain tensor, which a state_dict holds for both. */
  readonly isParameter: true | null;
  readonly requiresGrad: boolean | null;
}

const PARAMETERS: ReadonlySet<string> = new Set([
  'torch._utils._rebuild_parameter',
  'torch._utils._rebuild_parameter_with_state',
  'torch.nn.parameter.Parameter',
]);

const HOLDERS: ReadonlySet<string> = new Set([
  'torch.autograd.variable.Variable',
  'torch.Tensor',
  'torch.nn.parameter.Buffer',
  'torch._utils._rebuild_device_tensor_from_cpu_tensor',
]);

const TENSORS: ReadonlySet<string> = new Set([
  'torch._utils._rebuild_tensor',
  'torch._utils._rebuild_tensor_v2',
  'torch._utils._rebuild_tensor_v3',
  'torch._utils._rebuild_qtensor',
  'torch._utils._rebuild_sparse_tensor',
  'torch._utils._rebuild_nested_tensor',
  'torch._utils._rebuild_meta_tensor_no_storage',
  'torch._utils._rebuild_wrapper_subclass',
  'torch._tensor._rebuild_from_type_v2',
]);

const UNINITIALISED: ReadonlySet<string> = new Set([
  'torch.nn.parameter.UninitializedParameter',
  'torch.nn.parameter.UninitializedBuffer',
]);

/** Whether a value is a tensor, by the name of what makes it; its arguments are not looked at. */
export function isTensorValue(value: PickleValue | undefined): value is Reduced {
  if (!isReduced(value)) return false;
  const name = classNameOf(value) ?? '';
  return TENSORS.has(name) || PARAMETERS.has(name) || HOLDERS.has(name);
}

/** Lazy modules: a parameter that has no shape yet. */
export function isUninitialised(value: PickleValue | undefined): boolean {
  return isReduced(value) && UNINITIALISED.has(classNameOf(value) ?? '');
}

/**
 * The tensor that a rebuilder would make, every claim checked: throws BnsumError MALFORMED for arguments that are not
 * what the rebuilder takes, for a view outside its storage, and for a storage that the file does not hold.
 */
export function readTensorValue(value: Reduced, name: string, context: TensorContext, depth: number = 0): TensorValue {
  const maker = classNameOf(value) ?? '';
  // What nearly every tensor is, first.
  if (maker === 'torch._utils._rebuild_tensor_v2') return readDense(maker, value.args, name, context);
  const fail = failAt(name, context);
  if (depth > 8) fail('tensors are wrapped in one another more than 8 times');
  const args = value.args;
  if (maker === 'torch._tensor._rebuild_from_type_v2') {
    // (function, type, args, state): the function is itself a rebuilder, the type and its state are names and data.
    const [callable, , inner] = args;
    const items = itemsOf(inner);
    if (!isGlobal(callable) || items === undefined) return fail('_rebuild_from_type_v2 without function and arguments');
    const made: Reduced = {
      kind: 'reduced',
      callable,
      args: items,
      keywords: undefined,
      state: undefined,
      items: undefined,
    };
    if (!isTensorValue(made)) {
      throw new BnsumError({
        code: 'UNSUPPORTED',
        file: context.file,
        place: name,
        reason: `a tensor that ${callable.path} makes is not read`,
        next: 'save it as a plain tensor',
      });
    }
    return readTensorValue(made, name, context, depth + 1);
  }
  if (PARAMETERS.has(maker) || HOLDERS.has(maker)) {
    const [data, flag] = args;
    if (!isTensorValue(data)) return fail(`${maker} is not given a tensor`);
    const inner = readTensorValue(data, name, context, depth + 1);
    if (maker === 'torch._utils._rebuild_device_tensor_from_cpu_tensor') return inner;
    const state = itemsOf(value.state)?.[0];
    const requiresGrad = typeof flag === 'boolean' ? flag : typeof state === 'boolean' ? state : inner.requiresGrad;
    return { tensor: inner.tensor, isParameter: PARAMETERS.has(maker) ? true : inner.isParameter, requiresGrad };
  }
  switch (maker) {
    case 'torch._utils._rebuild_tensor':
    case 'torch._utils._rebuild_tensor_v3':
      return readDense(maker, args, name, context);
    case 'torch._utils._rebuild_qtensor':
      return readQuantised(args, name, context, fail, depth);
    case 'torch._utils._rebuild_sparse_tensor':
      return readSparse(args, name, context, fail, depth);
    case 'torch._utils._rebuild_nested_tensor':
      return readNested(args, name, context, fail, depth);
    case 'torch._utils._rebuild_meta_tensor_no_storage': {
      const [dtype, size, , flag] = args;
      return metaTensor(
        dtypeOf(dtype, fail),
        sizesOf(size, fail),
        typeof flag === 'boolean' ? flag : null,
        name,
        context,
      );
    }
    case 'torch._utils._rebuild_wrapper_subclass': {
      const [, dtype, size, , , , , flag] = args;
      return metaTensor(
        dtypeOf(dtype, fail),
        sizesOf(size, fail),
        typeof flag === 'boolean' ? flag : null,
        name,
        context,
      );
    }
    default:
      return fail(`${maker} makes no tensor that is read here`);
  }
}

type Fail = (reason: string) => never;

function failAt(name: string, context: TensorContext): Fail {
  return (reason) => {
    throw new BnsumError({ code: 'MALFORMED', file: context.file, place: name, reason });
  };
}

const DENSE: Encoding = { kind: 'dense' };

/** The whole numbers of a size or stride, or why it is none. The tuple's own array: a tensor has two of them. */
function countsOf(value: PickleValue | undefined): readonly number[] | string {
  const items = itemsOf(value);
  if (items === undefined) return 'a size or stride that is no tuple';
  if (items.length > LIMITS.tensorRank) return `rank ${items.length} is above the limit of ${LIMITS.tensorRank}`;
  return areCounts(items) ? items : 'a size or stride that is no whole number from 0 to 2^53';
}

function sizesOf(value: PickleValue | undefined, fail: Fail): readonly number[] {
  const counts = countsOf(value);
  return typeof counts === 'string' ? fail(counts) : counts;
}

function areCounts(items: readonly PickleValue[]): items is readonly number[] {
  for (const item of items) if (countOf(item) === undefined) return false;
  return true;
}

function dtypeOf(value: PickleValue | undefined, fail: Fail): DType {
  if (isGlobal(value) && value.module === 'torch' && isDType(value.name)) return value.name;
  return fail('a dtype that is not known');
}

function readDense(
  maker: string,
  args: readonly PickleValue[],
  name: string,
  context: TensorContext,
  encoding: Encoding = DENSE,
): TensorValue {
  const storage = args[0];
  const flag = args[4];
  if (!isNode(storage) || storage.kind !== 'storage')
    return failAt(name, context)('its storage is not one of this file');
  const isThird = maker === 'torch._utils._rebuild_tensor_v3';
  const metadata = args[isThird ? 7 : 6];
  const dtype = isThird ? dtypeOf(args[6], failAt(name, context)) : storage.dtype;
  if (dtype === null) return failAt(name, context)('an untyped storage without a dtype');
  const from = countOf(args[1]);
  if (from === undefined) return failAt(name, context)('an offset that is no whole number');
  const shape = countsOf(args[2]);
  if (typeof shape === 'string') return failAt(name, context)(shape);
  const strides = countsOf(args[3]);
  if (typeof strides === 'string') return failAt(name, context)(strides);
  const bits =
    isDict(metadata) && (metadata.entries.get('conj') === true || metadata.entries.get('neg') === true)
      ? 'its values are marked to be conjugated or negated when they are read'
      : undefined;
  const tensor = makeStridedTensor({
    file: context.file,
    name,
    dtype,
    shape,
    strides,
    offset: from + storage.shift,
    storage: context.bytesOf(storage),
    encoding,
    refusal: bits,
  });
  return { tensor, isParameter: null, requiresGrad: typeof flag === 'boolean' ? flag : null };
}

function readQuantised(
  args: readonly PickleValue[],
  name: string,
  context: TensorContext,
  fail: Fail,
  depth: number,
): TensorValue {
  const parameters = itemsOf(args[4]) ?? [];
  const [scheme, scale, zeroPoint, axis] = parameters;
  if (!isGlobal(scheme)) return fail('a quantisation scheme that is not a name');
  const part = (value: PickleValue | undefined, word: string): number | Tensor => {
    const number = numberOf(value);
    if (number !== undefined) return number;
    if (isTensorValue(value)) return readTensorValue(value, `${name}.${word}`, context, depth + 1).tensor;
    return fail(`a quantised tensor without ${word}`);
  };
  const along = countOf(axis);
  const encoding: Encoding = {
    kind: 'quantised',
    scheme: scheme.name,
    scale: part(scale, 'scale'),
    zeroPoint: part(zeroPoint, 'zero_point'),
    ...(along === undefined ? {} : { axis: along }),
  };
  const dense = [args[0], args[1], args[2], args[3], args[5]].map((value) => value ?? null);
  return readDense('torch._utils._rebuild_tensor_v2', dense, name, context, encoding);
}

function layoutName(value: PickleValue | undefined): string {
  if (isReduced(value) && classNameOf(value) === 'torch.serialization._get_layout') {
    const word = value.args[0];
    if (typeof word === 'string') return word.replace(/^torch\./, '');
  }
  return isGlobal(value) ? value.name : 'sparse';
}

function readSparse(
  args: readonly PickleValue[],
  name: string,
  context: TensorContext,
  fail: Fail,
  depth: number,
): TensorValue {
  const layout = layoutName(args[0]);
  const inner = itemsOf(args[1]) ?? [];
  const names = layout === 'sparse_coo' ? ['indices', 'values'] : ['compressed_indices', 'plain_indices', 'values'];
  const parts = new Map<string, Tensor>();
  for (const [index, word] of names.entries()) {
    const part = inner[index];
    if (!isTensorValue(part)) return fail(`a ${layout} tensor without ${word}`);
    parts.set(word, readTensorValue(part, `${name}.${word}`, context, depth + 1).tensor);
  }
  const values = parts.get('values');
  if (values === undefined) return fail(`a ${layout} tensor without values`);
  const shape = sizesOf(inner[names.length], fail);
  const indices = parts.get('indices');
  const stored = values.shape[0] ?? 0;
  if (indices !== undefined) {
    const [axes, entries] = indices.shape;
    if (indices.shape.length !== 2 || entries !== stored || (axes ?? 0) + values.shape.length - 1 !== shape.length) {
      fail(`indices [${indices.shape.join(', ')}] do not fit values [${values.shape.join(', ')}]`);
    }
  } else if (parts.get('plain_indices')?.shape.at(-1) !== values.shape[shape.length - 2]) {
    fail('its plain indices do not fit its values');
  }
  const tensor = makeShapeTensor({
    file: context.file,
    name,
    dtype: values.dtype,
    shape,
    encoding: { kind: 'sparse', layout, parts },
    id: `sparse:${values.identity}`,
    refusal: `a sparse tensor (${layout}) is described, not read`,
  });
  return { tensor, isParameter: null, requiresGrad: null };
}

function readNested(
  args: readonly PickleValue[],
  name: string,
  context: TensorContext,
  fail: Fail,
  depth: number,
): TensorValue {
  const parts = new Map<string, Tensor>();
  for (const [index, word] of ['buffer', 'sizes', 'strides', 'offsets'].entries()) {
    const part = args[index];
    if (!isTensorValue(part)) return fail(`a nested tensor without ${word}`);
    parts.set(word, readTensorValue(part, `${name}.${word}`, context, depth + 1).tensor);
  }
  const buffer = parts.get('buffer');
  if (buffer === undefined) return fail('a nested tensor without buffer');
  const tensor = makeShapeTensor({
    file: context.file,
    name,
    dtype: buffer.dtype,
    // Its rows differ in size: what is known is how many elements there are.
    shape: buffer.shape,
    encoding: { kind: 'sparse', layout: 'nested', parts },
    id: `nested:${buffer.identity}`,
    refusal: 'a nested tensor is described, not read',
  });
  return { tensor, isParameter: null, requiresGrad: null };
}

function metaTensor(
  dtype: DType,
  shape: readonly number[],
  requiresGrad: boolean | null,
  name: string,
  context: TensorContext,
): TensorValue {
  const tensor = makeShapeTensor({
    file: context.file,
    name,
    dtype,
    shape,
    encoding: { kind: 'meta' },
    id: `${context.scope}meta:${name}`,
    refusal: 'the file holds its shape and no values',
  });
  return { tensor, isParameter: null, requiresGrad };
}
