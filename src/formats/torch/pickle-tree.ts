import type { PickleValue } from './pickle-value.ts';

export type PickleNode = Extract<PickleValue, { readonly kind: string }>;

/** Everything directly below a value. */
export function partsOf(node: PickleNode): readonly PickleValue[] {
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

interface Frame {
  readonly node: PickleNode;
  readonly parts: readonly PickleValue[];
  next: number;
  size: number;
}

/**
 * The size of a value when every part counts as often as it stands: few bytes can stand for 10^9 parts. Each part is
 * walked once, children first; its size is kept in `known`. A part that is still open counts as one: a cycle is no
 * expansion. `own` gives the size of a value without its parts, `below` its parts; `step` is told how many parts a value
 * has and how deep it stands, and ends the walk by false.
 */
export function sizeOfTree(
  root: PickleNode,
  known: Map<PickleNode, number>,
  own: (value: PickleValue) => number,
  below: (node: PickleNode) => readonly PickleValue[],
  step: (parts: number, depth: number) => boolean,
): number {
  const stack: Frame[] = [];
  const enter = (node: PickleNode): boolean => {
    const parts = below(node);
    known.set(node, 1);
    stack.push({ node, parts, next: 0, size: own(node) });
    return step(parts.length + 1, stack.length);
  };
  let isOpen = known.get(root) === undefined && enter(root);
  while (isOpen) {
    const frame = stack.at(-1);
    if (frame === undefined) break;
    if (frame.next >= frame.parts.length) {
      known.set(frame.node, frame.size);
      stack.pop();
      const parent = stack.at(-1);
      if (parent !== undefined) parent.size += frame.size;
      continue;
    }
    const part = frame.parts[frame.next] ?? null;
    frame.next += 1;
    if (typeof part !== 'object' || part === null || part instanceof Uint8Array) {
      frame.size += own(part);
      continue;
    }
    const size = known.get(part);
    if (size === undefined) isOpen = enter(part);
    else frame.size += size;
  }
  // A walk that was ended knows as much as it saw.
  for (const frame of stack) known.set(root, (known.get(root) ?? 0) + frame.size);
  return known.get(root) ?? 1;
}
