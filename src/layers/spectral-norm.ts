import { numberOf } from './attribute.ts';
import type { Family } from './family.ts';
import { droppedNote, trainingNote } from './twin.ts';
import { innerLayer, innerTwin } from './wrappers.ts';

/**
 * Attributes: powerIterations. Keras overwrites the inner kernel with kernel / σ while training and uses the stored one
 * as it is in inference, so the twin is the plain inner layer. The file holds the kernel twice.
 */
export const spectralNorm: Family = {
  kind: 'spectral_norm',
  types: { keras: ['SpectralNormalization'] },
  container: true,
  normalise: (_type, attrs) => ({ powerIterations: numberOf(attrs, 'power_iterations', 1) }),
  inner: (attrs) => [innerLayer(attrs.get('layer'), 'layer')].filter((inner) => inner !== undefined),
  variables: () => [
    { role: 'kernel', class: 'weight', at: '', names: [], shape: null, copyOf: 'layer/kernel' },
    // Keras 2 called it sn_u in its add-on package; the built-in layer says vector_u.
    { role: 'vector_u', class: 'statistic', at: '', names: ['vector_u', 'sn_u'], shape: null },
  ],
  outputs: (_norm, inputs, call, children) => children?.[0]?.outputs(inputs, call) ?? null,
  macs: (_norm, inputs, outputs, children) => children?.[0]?.macs(inputs, outputs) ?? null,
  toTorch(layer, twinOf) {
    const inner = innerTwin(layer, layer.inputs, twinOf);
    if (inner.refused !== undefined) return inner;
    return {
      ...inner,
      diagnostics: [
        ...inner.diagnostics,
        droppedNote(layer, 'vector_u', 'the stored kernel is divided by its norm already'),
        trainingNote(layer, 'spectral normalisation'),
      ],
    };
  },
};
