import type { JsonObject } from '../ir/json.ts';
import type { NormAttrs } from '../ir/model.ts';
import { attributeOf, normNumber, normText, numberOf, numberOrNull, plainValue } from './attribute.ts';
import type { Family, Twin, TwinSource } from './family.ts';
import { assumed, customModule, trainingNote, twin, twinModule } from './twin.ts';

const VARIANTS: ReadonlyMap<string, string> = new Map([
  ['Dropout', 'element'],
  ['SpatialDropout1D', 'channel'],
  ['SpatialDropout2D', 'channel'],
  ['SpatialDropout3D', 'channel'],
  ['Dropout1d', 'channel'],
  ['Dropout2d', 'channel'],
  ['Dropout3d', 'channel'],
  ['AlphaDropout', 'alpha'],
  ['FeatureAlphaDropout', 'channel_alpha'],
  ['StochasticDepth', 'sample'],
  ['DropPath', 'sample'],
]);

/**
 * Attributes: rate, variant ('element', 'channel', 'alpha', 'channel_alpha', 'sample': a sample is kept or dropped whole), spatial (1, 2, 3 or null), noiseShape
 * (null, or a list with 1 where one draw is shared and null where the size is the input's).
 */
export const dropout: Family = {
  kind: 'dropout',
  types: {
    keras: [
      'Dropout',
      'SpatialDropout1D',
      'SpatialDropout2D',
      'SpatialDropout3D',
      'AlphaDropout',
      'StochasticDepth',
      'FixedDropout',
    ],
    torch: ['Dropout', 'Dropout1d', 'Dropout2d', 'Dropout3d', 'AlphaDropout', 'FeatureAlphaDropout'],
    onnx: ['Dropout'],
  },
  normalise(type, attrs, dialect) {
    const spatial = /([123])[Dd]$/.exec(type)?.[1];
    return {
      // Keras 1 and PyTorch say p; ONNX moved the ratio to an input in opset 12.
      rate:
        dialect === 'keras'
          ? numberOf(attrs, ['rate', 'p', 'drop_path_rate'], 0.5)
          : numberOrNull(attrs, ['p', 'ratio']),
      variant: VARIANTS.get(type) ?? 'element',
      spatial: spatial === undefined ? null : Number(spatial),
      noiseShape: plainValue(attributeOf(attrs, 'noise_shape')),
    };
  },
  outputs: (_norm, inputs) => inputs.slice(0, 1),
  macs: () => 0,
  toTorch(layer) {
    const { norm } = layer;
    const p = normNumber(norm, 'rate') ?? 0.5;
    const noise = norm['noiseShape'];
    if (norm['variant'] === 'sample') return twin([customModule('DropPath', { p })]);
    if (norm['variant'] === 'channel') return twin([twinModule(`Dropout${norm['spatial'] ?? 2}d`, { p })]);
    if (Array.isArray(noise) && norm['variant'] === 'element') {
      // One draw per sample is stochastic depth; other shapes have no module.
      if (noise[0] !== 1 && noise.slice(1).every((size) => size === 1)) return twin([customModule('DropPath', { p })]);
      return twin([twinModule('Identity', {})], [], [trainingNote(layer, 'noise_shape')]);
    }
    return twin([twinModule(norm['variant'] === 'alpha' ? 'AlphaDropout' : 'Dropout', { p })]);
  },
  toKeras(layer) {
    const rate = normNumber(layer.norm, 'rate') ?? 0.5;
    const spatial = normNumber(layer.norm, 'spatial');
    switch (normText(layer.norm, 'variant')) {
      case 'channel':
        return twin([twinModule(`SpatialDropout${spatial ?? 2}D`, { rate })]);
      case 'alpha':
        return twin([twinModule('AlphaDropout', { rate })]);
      case 'channel_alpha':
        return twin([twinModule('AlphaDropout', { rate })], [], [trainingNote(layer, 'FeatureAlphaDropout')]);
      default:
        return twin([twinModule('Dropout', { rate })]);
    }
  },
};

/** Attributes: distribution ('additive' with stddev, 'multiplicative' with rate), stddev, rate. Nothing in inference. */
export const noise: Family = {
  kind: 'noise',
  types: { keras: ['GaussianNoise', 'GaussianDropout'] },
  normalise(type, attrs) {
    return type === 'GaussianNoise'
      ? { distribution: 'additive', stddev: numberOf(attrs, ['stddev', 'sigma'], 1), rate: null }
      : { distribution: 'multiplicative', stddev: null, rate: numberOf(attrs, ['rate', 'p'], 0.5) };
  },
  outputs: (_norm, inputs) => inputs.slice(0, 1),
  macs: () => 0,
  toTorch({ norm }) {
    return norm['distribution'] === 'additive'
      ? twin([customModule('GaussianNoise', { stddev: normNumber(norm, 'stddev') })])
      : twin([customModule('GaussianDropout', { p: normNumber(norm, 'rate') })]);
  },
};

/** Attributes: maskValue. Masked steps are those whose features all equal it; they come out as zeros. */
export const masking: Family = {
  kind: 'masking',
  types: { keras: ['Masking'] },
  normalise: (_type, attrs) => ({ maskValue: numberOf(attrs, 'mask_value', 0) }),
  outputs: (_norm, inputs) => inputs.slice(0, 1),
  macs: () => 0,
  toTorch: (layer) =>
    twin(
      [customModule('Masking', { mask_value: normNumber(layer.norm, 'maskValue') ?? 0 })],
      [],
      [assumed(layer, 'masked steps', 'none')],
    ),
};

/** Layers that hand on what they get: attributes l1 and l2 of ActivityRegularization (a loss, not a computation). */
export const identity: Family = {
  kind: 'identity',
  types: {
    keras: ['Identity', 'ActivityRegularization'],
    torch: ['Identity'],
    onnx: ['Identity'],
  },
  normalise: (_type, attrs): NormAttrs => penalties(attrs),
  outputs: (_norm, inputs) => inputs.slice(0, 1),
  macs: () => 0,
  toTorch: (): Twin => twin([twinModule('Identity', {})]),
  toKeras: (_layer: TwinSource): Twin => twin([twinModule('Identity', {})]),
};

function penalties(attrs: JsonObject): NormAttrs {
  return { l1: numberOrNull(attrs, 'l1'), l2: numberOrNull(attrs, 'l2') };
}
