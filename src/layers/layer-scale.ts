import { normNumber, numberOrNull, sampleElements } from './attribute.ts';
import type { Family } from './family.ts';
import { customModule, missing, shapeOf, source, twin, twinTensor } from './twin.ts';

/** x · gamma along the last axis (ConvNeXt's own layer). Attributes: size. */
export const layerScale: Family = {
  kind: 'layer_scale',
  types: { keras: ['LayerScale'] },
  normalise: (_type, attrs) => ({ size: numberOrNull(attrs, 'projection_dim') }),
  // Keras 3 names the array by its class alone.
  variables(norm) {
    const size = normNumber(norm, 'size');
    return [
      { role: 'gamma', class: 'weight', at: '', names: ['gamma', 'variable'], shape: size === null ? null : [size] },
    ];
  },
  outputs: (_norm, inputs) => inputs.slice(0, 1),
  macs: (_norm, inputs) => sampleElements(inputs[0]),
  toTorch(layer) {
    return (
      missing(layer, 'gamma') ??
      twin(
        [customModule('LayerScale', { size: shapeOf(layer, 'gamma')[0] ?? null, dim: -1 })],
        [twinTensor(layer, 'weight', source('gamma'))],
      )
    );
  },
};
