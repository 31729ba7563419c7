import { attributeOf, numbersOf } from './attribute.ts';
import type { Family } from './family.ts';

/**
 * Code of the user's own, which is never looked at. Attributes: outputShape (without the batch axis; null where the
 * config does not state numbers).
 */
export const lambda: Family = {
  kind: 'lambda',
  types: { keras: ['Lambda'] },
  normalise: (_type, attrs) => ({ outputShape: numbersOf(attributeOf(attrs, 'output_shape')) }),
  outputs(norm, inputs) {
    const shape = norm['outputShape'];
    if (!Array.isArray(shape)) return null;
    return [[inputs[0]?.[0] ?? null, ...(shape as readonly number[])]];
  },
  macs: () => null,
  toTorch: () => ({ refused: 'a Lambda holds Python code' }),
};
