import type { Call, Graph } from '../../ir/model.ts';

/**
 * The calls in the order in which Keras 3 runs them: by their greatest distance from an output, and among equals as a
 * walk from the outputs first meets them. It matters where a call changes what the others see, as an attention does
 * that takes the mask of its input away. Calls that no output needs are left where they were, at the end.
 */
export function inRunOrder(graph: Graph): readonly Call[] {
  const madeBy = new Map<number, Call>();
  for (const call of graph.calls) for (const id of call.outputs) madeBy.set(id, call);
  const parentsOf = (call: Call): readonly Call[] =>
    call.inputs.flatMap((input) => (typeof input === 'number' ? (madeBy.get(input) ?? []) : []));
  const nearestFirst = [...walked(graph, madeBy, parentsOf)].reverse();
  const depths = new Map<Call, number>();
  const byLayer = new Map<string, number>();
  for (const call of nearestFirst) {
    let depth = depths.get(call) ?? 0;
    if (call.layer !== null) {
      // The calls of one layer stand as far from the outputs as the farthest of those met so far.
      depth = Math.max(depth, byLayer.get(call.layer) ?? 0);
      byLayer.set(call.layer, depth);
    }
    depths.set(call, depth);
    for (const parent of parentsOf(call)) depths.set(parent, Math.max(depth + 1, depths.get(parent) ?? 0));
  }
  // Sorting keeps the order of equals: that in which the map met them.
  const run = [...depths.keys()].sort((a, b) => (depths.get(b) ?? 0) - (depths.get(a) ?? 0));
  const order = [...run, ...graph.calls.filter((call) => !depths.has(call))];
  const done = new Set<number>(graph.inputs);
  for (const call of order) {
    if (call.inputs.some((input) => typeof input === 'number' && !done.has(input))) return graph.calls;
    for (const id of call.outputs) done.add(id);
  }
  return order;
}

/** Every call that an output needs, behind those that it needs itself, as a walk in depth meets them. */
function walked(
  graph: Graph,
  madeBy: ReadonlyMap<number, Call>,
  parentsOf: (call: Call) => readonly Call[],
): readonly Call[] {
  const found: Call[] = [];
  const seen = new Set<Call>();
  for (const output of graph.outputs) {
    const start = madeBy.get(output);
    if (start === undefined || seen.has(start)) continue;
    seen.add(start);
    const stack = [{ call: start, parents: parentsOf(start), next: 0 }];
    for (let top = stack.at(-1); top !== undefined; top = stack.at(-1)) {
      const parent = top.parents[top.next];
      top.next += 1;
      if (parent === undefined) {
        found.push(top.call);
        stack.pop();
      } else if (!seen.has(parent)) {
        seen.add(parent);
        stack.push({ call: parent, parents: parentsOf(parent), next: 0 });
      }
    }
  }
  return found;
}
