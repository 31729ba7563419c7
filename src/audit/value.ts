import type { PickleRun } from '../formats/torch/pickle-event.ts';
import {
  countOf,
  isGlobal,
  isNode,
  isReduced,
  itemsOf,
  type PickleValue,
  type Reduced,
} from '../formats/torch/pickle-value.ts';
import type { PicklePlace } from './pickle.ts';

type Node = Extract<PickleValue, { readonly kind: string }>;

/** Values that a structure may stand for, beside a thousand times its nodes, before it counts as an expansion bomb. */
const EXPANDED = 20_000_000;
const EXPANDED_RATIO = 1_000;

/** Everything directly below a value. */
export function partsOf(node: Node): readonly PickleValue[] {
  switch (node.kind) {
    case 'list':
    case 'tuple':
    case 'set':
      return node.items;
    case 'dict': {
      const parts: PickleValue[] = [];
      for (const [key, value] of node.entries) parts.push(key, value);
      if (node.state !== undefined) parts.push(node.state);
      return parts;
    }
    case 'reduced':
      return [
        node.callable,
        ...(node.args.length < 1_000 ? node.args : [{ kind: 'tuple', items: node.args } as const]),
        ...(node.keywords === undefined ? [] : [node.keywords]),
        ...(node.state === undefined ? [] : [node.state]),
        ...(node.items === undefined ? [] : [{ kind: 'list', items: node.items } as const]),
      ];
    case 'persistent':
      return [node.id];
    default:
      return [];
  }
}

/**
 * Walks a value once, children first. Shared parts are visited once and counted as often as they stand: few bytes can
 * stand for 10^9 elements, which only whoever copies or prints them pays for.
 */
export function judgeValue(run: PickleRun, place: PicklePlace): void {
  if (!isNode(run.value)) return;
  const sizes = new Map<Node, number>();
  const stack: { readonly node: Node; readonly parts: readonly PickleValue[]; next: number; size: number }[] = [];
  const enter = (node: Node): void => {
    // While a node is open it counts as one: a cycle is no expansion.
    sizes.set(node, 1);
    if (isReduced(node)) judgeView(node, place);
    stack.push({ node, parts: partsOf(node), next: 0, size: 1 });
  };
  enter(run.value);
  let largest = 1;
  for (let frame = stack.at(-1); frame !== undefined; frame = stack.at(-1)) {
    const part = frame.parts[frame.next];
    if (part === undefined && frame.next >= frame.parts.length) {
      sizes.set(frame.node, frame.size);
      largest = Math.max(largest, frame.size);
      stack.pop();
      const parent = stack.at(-1);
      if (parent !== undefined) parent.size += frame.size;
      continue;
    }
    frame.next += 1;
    if (!isNode(part)) {
      frame.size += 1;
      continue;
    }
    const known = sizes.get(part);
    if (known === undefined) enter(part);
    else frame.size += known;
  }
  if (largest > EXPANDED && largest > EXPANDED_RATIO * sizes.size) {
    place.ledger.add({
      level: 'suspicious',
      rule: 'EXPANSION',
      member: place.member,
      offset: place.base,
      detail: `${sizes.size} values stand for ${largest.toPrecision(3)}`,
    });
  }
}

/** A tensor's view has to lie in its storage: PyTorch's older versions did not check it. */
function judgeView(node: Reduced, place: PicklePlace): void {
  const { callable, args } = node;
  if (!isGlobal(callable) || !/^_rebuild_tensor(?:_v[23])?$/.test(callable.name)) return;
  const [storage, offset, size, stride] = args;
  if (!isNode(storage) || storage.kind !== 'storage') return;
  const shape = itemsOf(size);
  const strides = itemsOf(stride);
  const complain = (detail: string): void => {
    place.ledger.add({ level: 'suspicious', rule: 'TENSOR_BOUNDS', member: place.member, detail });
  };
  const first = countOf(offset);
  if (first === undefined || shape === undefined || strides === undefined || shape.length !== strides.length) {
    complain(`a tensor of storage ${storage.key} without a plain place in it`);
    return;
  }
  let last = first;
  let empty = false;
  for (const [axis, value] of shape.entries()) {
    const length = countOf(value);
    const step = countOf(strides[axis]);
    if (length === undefined || step === undefined) {
      complain(`a tensor of storage ${storage.key} with a shape or stride that is no whole number`);
      return;
    }
    if (length === 0) empty = true;
    last += Math.max(0, length - 1) * step;
  }
  // An untyped storage counts bytes; its elements are at least one.
  if (!empty && !(last < storage.length)) {
    complain(`a tensor that reaches element ${last} of storage ${storage.key}, which has ${storage.length}`);
  }
}
