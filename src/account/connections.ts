import type { Graph, Model, Shape } from '../ir/model.ts';

/** What the graphs say of each layer. */
export interface Connections {
  /** Output shapes of each layer's first call; null for an output that is not known. */
  readonly outputs: ReadonlyMap<string, readonly (Shape | null)[]>;
  /** Layers (or operations) whose values each layer reads, over all its calls, each once. */
  readonly sources: ReadonlyMap<string, readonly string[]>;
  /** True when every graph is a chain, so that naming each layer's source says nothing new. */
  readonly isChain: boolean;
}

function isChain(graph: Graph): boolean {
  let previous: number | undefined = graph.inputs[0];
  if (graph.inputs.length > 1 || graph.outputs.length > 1) return false;
  for (const call of graph.calls) {
    const reads = call.inputs.filter((input) => typeof input === 'number');
    if (reads.length > 1 || call.outputs.length !== 1) return false;
    if (reads.length === 1 && previous !== undefined && reads[0] !== previous) return false;
    previous = call.outputs[0];
  }
  return true;
}

/** Shapes and edges by layer, from every graph of the model. */
export function connect(model: Model): Connections {
  const outputs = new Map<string, readonly (Shape | null)[]>();
  const sources = new Map<string, string[]>();
  for (const graph of model.graphs.values()) {
    const producer = new Map<number, string>();
    for (const call of graph.calls) {
      for (const output of call.outputs) producer.set(output, call.layer ?? call.op);
    }
    for (const call of graph.calls) {
      if (call.layer === null) continue;
      if (!outputs.has(call.layer)) {
        outputs.set(
          call.layer,
          call.outputs.map((output) => graph.values[output]?.shape ?? null),
        );
      }
      const from = sources.get(call.layer) ?? [];
      for (const input of call.inputs) {
        const name = typeof input === 'number' ? producer.get(input) : undefined;
        if (name !== undefined && !from.includes(name)) from.push(name);
      }
      sources.set(call.layer, from);
    }
  }
  return { outputs, sources, isChain: [...model.graphs.values()].every(isChain) };
}
