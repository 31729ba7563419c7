import { sampleElements } from './attribute.ts';
import type { Family } from './family.ts';
import { arrayValue } from './normalization.ts';
import { customModule, twin } from './twin.ts';

/** x · scale + offset. Attributes: scale, offset (a number, or a list along the last axis). */
export const rescaling: Family = {
  kind: 'rescaling',
  types: { keras: ['Rescaling'] },
  normalise: (_type, attrs) => ({
    scale: arrayValue(attrs.get('scale')) ?? 1,
    offset: arrayValue(attrs.get('offset')) ?? 0,
  }),
  outputs: (_norm, inputs) => inputs.slice(0, 1),
  macs: (_norm, inputs) => sampleElements(inputs[0]),
  toTorch({ norm }) {
    const scale = norm['scale'] ?? 1;
    const offset = norm['offset'] ?? 0;
    const perChannel = Array.isArray(scale) || Array.isArray(offset);
    return twin([customModule('Rescaling', { scale, offset, ...(perChannel ? { dim: -1 } : {}) })]);
  },
};
