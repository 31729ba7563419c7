import { bitsOf, isDType } from '../../ir/dtype.ts';
import { countOf, isGlobal, isNode, itemsOf, type PickleValue } from './pickle-value.ts';
import { storageByteLength } from './storage.ts';

/**
 * Why a view leaves its storage, or is none: PyTorch's older versions did not check it. The arguments are those that all
 * makers of tensors begin with; `dtype` is that of the elements where the storage is of another. undefined: it lies in it,
 * or the storage is nothing of this file, which has a finding of its own.
 */
export function faultOfView(args: readonly PickleValue[], dtype?: PickleValue): string | undefined {
  const [storage, offset, size, stride] = args;
  if (!isNode(storage) || storage.kind !== 'storage') return undefined;
  const shape = itemsOf(size);
  const strides = itemsOf(stride);
  const first = countOf(offset);
  if (first === undefined || shape === undefined || strides === undefined || shape.length !== strides.length) {
    return `a tensor of storage ${storage.key} without a plain place in it`;
  }
  let last = first + storage.shift;
  let empty = false;
  for (let axis = 0; axis < shape.length; axis += 1) {
    const length = countOf(shape[axis]);
    const step = countOf(strides[axis]);
    if (length === undefined || step === undefined) {
      return `a tensor of storage ${storage.key} with a shape or stride that is no whole number`;
    }
    if (length === 0) empty = true;
    else last += (length - 1) * step;
  }
  if (empty) return undefined;
  const type = isGlobal(dtype) && isDType(dtype.name) ? dtype.name : storage.dtype;
  // An untyped storage counts bytes; its elements are at least one.
  const held = type === null ? storage.length : Math.floor((storageByteLength(storage) * 8) / bitsOf(type));
  if (last < held) return undefined;
  return `a tensor that reaches element ${last} of storage ${storage.key}, which has ${held}`;
}
