import type { Layer } from './model.ts';

type Layered = { readonly layers: readonly Layer[] };

/** What nests a list of layers, of a model or of its summary. */
type Nested = { readonly layers: readonly Pick<Layer, 'path' | 'parent'>[] };

/** A model's layers do not change, so they are indexed once; models that differ in their graphs share the list. */
const indexes = new WeakMap<readonly Layer[], ReadonlyMap<string, Layer>>();

/** The layers by path. */
export function layersByPath(model: Layered): ReadonlyMap<string, Layer> {
  const known = indexes.get(model.layers);
  if (known !== undefined) return known;
  const index = new Map<string, Layer>();
  for (const layer of model.layers) index.set(layer.path, layer);
  indexes.set(model.layers, index);
  return index;
}

/**
 * How a model's layers are nested, by their places in `model.layers`; -1 stands for none. Whole numbers instead of paths:
 * a checkpoint of 100,000 layers is asked for them many times.
 */
export interface LayerTree {
  /** The place of each layer's parent; -1 where the model has no such layer. */
  readonly parents: Int32Array;
  /** The place of each layer's first child. */
  readonly firstChildren: Int32Array;
  /** The place of the next layer below the same parent. */
  readonly nextSiblings: Int32Array;
  /** The place of the first layer without a parent. */
  readonly firstRoot: number;
}

const trees = new WeakMap<Nested['layers'], LayerTree>();

export function layerTree({ layers }: Nested): LayerTree {
  const known = trees.get(layers);
  if (known !== undefined) return known;
  const parents = parentsOf(layers);
  const firstChildren = new Int32Array(layers.length).fill(-1);
  const nextSiblings = new Int32Array(layers.length).fill(-1);
  let firstRoot = -1;
  for (let at = layers.length - 1; at >= 0; at -= 1) {
    const parent = parents[at] ?? -1;
    nextSiblings[at] = parent < 0 ? firstRoot : (firstChildren[parent] ?? -1);
    if (parent < 0) firstRoot = at;
    else firstChildren[parent] = at;
  }
  const tree = { parents, firstChildren, nextSiblings, firstRoot };
  trees.set(layers, tree);
  return tree;
}

/** The place of each one's parent in the same list, -1 for none. */
export function parentsOf(layers: readonly Pick<Layer, 'path' | 'parent'>[]): Int32Array {
  const parents = new Int32Array(layers.length).fill(-1);
  let places: Map<string, number> | undefined;
  for (let at = 0; at < layers.length; at += 1) {
    const { path, parent = null } = layers[at] ?? {};
    if (parent === null || parent === path) continue;
    // Mostly the parent is the layer before, or one that it lies in.
    let above = at - 1;
    while (above >= 0 && layers[above]?.path !== parent) above = parents[above] ?? -1;
    if (above < 0) {
      places ??= new Map(layers.map((layer, place) => [layer.path, place]));
      above = places.get(parent) ?? -1;
    }
    parents[at] = above;
  }
  return parents;
}

const childLists = new WeakMap<readonly Layer[], ReadonlyMap<string, readonly Layer[]>>();

/** The layers below each parent, in file order, by the parent's path. */
export function childrenByPath({ layers }: Layered): ReadonlyMap<string, readonly Layer[]> {
  const known = childLists.get(layers);
  if (known !== undefined) return known;
  const children = new Map<string, Layer[]>();
  for (const layer of layers) {
    if (layer.parent === null || layer.parent === layer.path) continue;
    const list = children.get(layer.parent);
    if (list === undefined) children.set(layer.parent, [layer]);
    else list.push(layer);
  }
  childLists.set(layers, children);
  return children;
}
