import { isKeras3, type LayerSpec } from './architecture.ts';

/**
 * Whether the weights of a layer that were made trainable are trained, once the file's own generation has loaded it:
 * - Keras 1, 2 and tf.keras ask the layer and every wrapper around it. A live model is asked for its flag as well, but
 *   loading does not bring it back: a nested or root model comes up with its flag on (run: tf_keras 2.21).
 * - Keras 3 asks the layer itself, and the root where that is functional; a Sequential's flag and a nested model's are
 *   ignored, and a wrapper's inner layer decides for itself (run).
 * Models written after `model.trainable = False` carry the flag on every layer, so that both come to the same.
 */
export function trainableBelow(root: LayerSpec, version: string): ReadonlyMap<string, boolean> {
  const modern = isKeras3(version);
  const flag = (spec: LayerSpec): boolean => spec.trainable ?? true;
  const rootFlag = modern && root.form === 'functional' ? flag(root) : true;
  const result = new Map<string, boolean>([['', flag(root)]]);
  const stack = root.children.map((spec) => ({ spec, above: rootFlag }));
  for (let next = stack.pop(); next !== undefined; next = stack.pop()) {
    const { spec, above } = next;
    const own = above && flag(spec);
    result.set(spec.path, own);
    const passes = modern || spec.form !== 'wrapper' || flag(spec);
    for (const child of spec.children) stack.push({ spec: child, above: above && passes });
  }
  return result;
}
