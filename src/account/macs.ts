import { childrenByPath, layersByPath } from '../ir/layer-index.ts';
import type { Call, Graph, Layer, Model, Shape } from '../ir/model.ts';
import type { BoundLayer } from '../layers/family.ts';
import { bindLayer } from '../layers/registry.ts';
import { type Count, plus, times } from './count.ts';
import { callsOfLayers } from './tools.ts';

export interface MacCounts {
  /** Multiply-accumulates of one sample through the whole model; null when one layer's are not known. */
  readonly total: Count | null;
  /** By layer, all its calls together; null: not known. */
  readonly layers: ReadonlyMap<string, Count | null>;
}

/** Operations without a layer that multiply and accumulate; what they cost is not modelled. */
const HEAVY_OPERATION = /matmul|einsum|tensordot|(?:^|[._])dot|conv|gemm|attention/i;

function shapesOf(graph: Graph, ids: Call['inputs']): readonly Shape[] | null {
  const shapes: Shape[] = [];
  for (const id of ids) {
    if (typeof id !== 'number') continue;
    const shape = graph.values[id]?.shape ?? null;
    if (shape === null) return null;
    shapes.push(shape);
  }
  return shapes;
}

/** Multiply-accumulates of each layer for one sample, every call counted. Null without a graph or without shapes. */
export function countMacs(model: Model): MacCounts {
  const layers = new Map<string, Count | null>();
  const children = childrenByPath(model);
  const byPath = layersByPath(model);
  const bind = (layer: Layer): BoundLayer =>
    bindLayer({ ...layer, children: (children.get(layer.path) ?? []).map(bind) });
  const factors = callsOfLayers(model);
  if (factors === null) return { total: null, layers };

  let sum: Count | null = 0;
  for (const [path, graph] of model.graphs) {
    const factor = path === '' ? 1 : (factors.get(path) ?? 0);
    if (factor === 0) continue;
    for (const call of graph.calls) {
      if (call.layer === null) {
        if (HEAVY_OPERATION.test(call.op)) sum = null;
        continue;
      }
      const layer = byPath.get(call.layer);
      if (layer === undefined || model.graphs.has(call.layer)) continue;
      const inputs = shapesOf(graph, call.inputs);
      const outputs = shapesOf(graph, call.outputs);
      const idle = layer.kind === 'input';
      const each = idle ? 0 : inputs === null || outputs === null ? null : bind(layer).macs(inputs, outputs);
      const before = layers.get(call.layer);
      const all: Count | null = each === null || before === null ? null : plus(before ?? 0, times(each, factor));
      layers.set(call.layer, all);
      sum = each === null || sum === null ? null : plus(sum, times(each, factor));
    }
  }
  return { total: sum, layers };
}
