import { isKeras3, type LayerSpec } from './architecture.ts';

/**
 * Whether the weights of a layer that were made trainable are trained, by the rule of the generation that wrote the file:
 * - Keras 1, 2 and tf.keras ask the layer and everything that holds it.
 * - A model that Keras 3 loads from a file asks the layer itself, and the root where that is functional; a Sequential's
 *   flag and a nested model's are ignored, a wrapper's inner layer decides for itself.
 * Rows of the table "Effective trainability", checked by running both.
 */
export function trainableBelow(root: LayerSpec, version: string): ReadonlyMap<string, boolean> {
  const modern = isKeras3(version);
  const flag = (spec: LayerSpec): boolean => spec.trainable ?? true;
  const rootFlag = modern && root.form !== 'functional' ? true : flag(root);
  const result = new Map<string, boolean>([['', flag(root)]]);
  const stack = root.children.map((spec) => ({ spec, above: rootFlag }));
  for (let next = stack.pop(); next !== undefined; next = stack.pop()) {
    const { spec, above } = next;
    const own = above && flag(spec);
    result.set(spec.path, own);
    for (const child of spec.children) stack.push({ spec: child, above: modern ? above : own });
  }
  return result;
}
