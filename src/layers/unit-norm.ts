import { attributeOf, normNumbers, sampleElements } from './attribute.ts';
import type { Family } from './family.ts';
import { axesOf } from './layer-norm.ts';
import { customModule, twin } from './twin.ts';

/** Attributes: axes (a list): each vector along them is divided by its Euclidean norm, at least 1e-12. */
export const unitNorm: Family = {
  kind: 'unit_norm',
  types: { keras: ['UnitNormalization'] },
  normalise: (_type, attrs) => ({ axes: axesOf(attributeOf(attrs, 'axis')) }),
  outputs: (_norm, inputs) => inputs.slice(0, 1),
  // The squares that are summed.
  macs: (_norm, inputs) => sampleElements(inputs[0]),
  toTorch: ({ norm }) => twin([customModule('UnitNorm', { dims: normNumbers(norm, 'axes') ?? [-1] })]),
};
