import { isList, isObject, type Json, stringAt } from '../ir/json.ts';

/**
 * Whether a value among a Keras call's arguments is a tensor: Keras 3's `__keras_tensor__`, or the `[layer, node,
 * tensor]` of older releases, which may be followed by keyword arguments. `['_CONSTANT_VALUE', -1, 2]` is a constant.
 */
export function isCallTensor(value: Json): boolean {
  if (stringAt(value, 'class_name') === '__keras_tensor__') return true;
  if (!isList(value) || value.length < 3 || value.length > 4) return false;
  const [layer, node, tensor] = value;
  return typeof layer === 'string' && layer !== '' && isPlace(node) && isPlace(tensor);
}

function isPlace(value: Json | undefined): boolean {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0;
}

/** Number of tensors in an argument, lists and dicts included: a call's inputs list those given by name last. */
export function countCallTensors(argument: Json): number {
  let count = 0;
  const stack: Json[] = [argument];
  for (let next = stack.pop(); next !== undefined; next = stack.pop()) {
    if (isCallTensor(next)) count += 1;
    else if (isList(next)) stack.push(...next);
    else if (isObject(next)) stack.push(...next.values());
  }
  return count;
}
