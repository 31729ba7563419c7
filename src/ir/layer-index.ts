import type { Layer } from './model.ts';

/** A model's layers do not change, so they are indexed once; models that differ in their graphs share the list. */
const indexes = new WeakMap<readonly Layer[], ReadonlyMap<string, Layer>>();

/** The layers by path. */
export function layersByPath(model: { readonly layers: readonly Layer[] }): ReadonlyMap<string, Layer> {
  const known = indexes.get(model.layers);
  if (known !== undefined) return known;
  const index = new Map<string, Layer>();
  for (const layer of model.layers) index.set(layer.path, layer);
  indexes.set(model.layers, index);
  return index;
}
