import type { Call, Graph, Model } from '../ir/model.ts';

/** Whether one layer's output reaches another layer: only then their order is a fact of the model. */
export interface Order {
  precedes(a: string, b: string): boolean;
}

interface Step {
  readonly graph: string;
  readonly layer: string;
}

export function orderOf(model: Model): Order {
  const parents = new Map(model.layers.map((layer) => [layer.path, layer.parent]));
  const callers = new Map<string, string>();
  for (const [path, graph] of model.graphs) {
    for (const call of graph.calls) if (call.layer !== null && !callers.has(call.layer)) callers.set(call.layer, path);
  }
  const readers = new Map<string, ReadonlyMap<number, readonly Call[]>>();
  for (const [path, graph] of model.graphs) readers.set(path, readersOf(graph));

  /** The calls that lead to a layer, the root's first. */
  const stepsTo = (layer: string): readonly Step[] => {
    const steps: Step[] = [];
    let path: string | null = layer;
    while (path !== null && steps.length < 1000) {
      const graph = callers.get(path);
      if (graph === undefined) {
        path = parents.get(path) ?? null;
        continue;
      }
      steps.unshift({ graph, layer: path });
      if (graph === '') break;
      path = graph;
    }
    return steps;
  };

  return {
    precedes(a, b) {
      const left = stepsTo(a);
      const right = stepsTo(b);
      for (let at = 0; at < left.length && at < right.length; at += 1) {
        const one = left[at];
        const other = right[at];
        if (one === undefined || other === undefined || one.graph !== other.graph) return false;
        if (one.layer === other.layer) continue;
        const graph = model.graphs.get(one.graph);
        const next = readers.get(one.graph);
        return graph !== undefined && next !== undefined && reaches(graph, next, one.layer, other.layer);
      }
      // Parts of one layer: in the order in which the layer has them.
      return left.length > 0 && left.length === right.length;
    },
  };
}

function readersOf(graph: Graph): Map<number, Call[]> {
  const readers = new Map<number, Call[]>();
  for (const call of graph.calls) {
    for (const input of call.inputs) {
      if (typeof input !== 'number') continue;
      const list = readers.get(input);
      if (list === undefined) readers.set(input, [call]);
      else list.push(call);
    }
  }
  return readers;
}

function reaches(graph: Graph, readers: ReadonlyMap<number, readonly Call[]>, from: string, to: string): boolean {
  const first = graph.calls.find((call) => call.layer === from);
  const pending = [...(first?.outputs ?? [])];
  const seen = new Set(pending);
  for (let id = pending.pop(); id !== undefined; id = pending.pop()) {
    for (const call of readers.get(id) ?? []) {
      if (call.layer === to) return true;
      for (const output of call.outputs) {
        if (seen.has(output)) continue;
        seen.add(output);
        pending.push(output);
      }
    }
  }
  return false;
}
