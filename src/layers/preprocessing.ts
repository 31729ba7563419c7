import { isList, type JsonObject } from '../ir/json.ts';
import type { Dim, NormAttrs, Shape } from '../ir/model.ts';
import {
  attributeOf,
  booleanOf,
  eraOf,
  normFlag,
  normNumber,
  normNumbers,
  normText,
  numberOf,
  numberOrNull,
  numbersOf,
  stringOf,
} from './attribute.ts';
import type { Family, Variable } from './family.ts';
import { customModule, twin, twinModule } from './twin.ts';
import { snakeCase } from './wrappers.ts';

/**
 * Layers that prepare data: no gradients, and mostly no arrays. Attributes: operation (the class in snake case:
 * 'string_lookup', 'hashing', …), outputMode (one of int, one_hot, multi_hot, count, tf_idf), depth (its width; null not
 * settled), generation ('keras3' or 'keras2': they differ in the shape of encoded outputs), and what else the operation
 * needs: sequenceLength and splits (text_vectorization); frame, step, fft, mode, padding, dataFormat, expandDims
 * (stft_spectrogram); melBins, step (mel_spectrogram); boundaries (discretization).
 */
export const preprocessing: Family = {
  kind: 'preprocessing',
  types: {
    keras: [
      'CategoryEncoding',
      'ContrastLimitedAdaptiveHistogramEqualization',
      'Discretization',
      'HashedCrossing',
      'Hashing',
      'IntegerLookup',
      'MaxNumBoundingBoxes',
      'MelSpectrogram',
      'STFTSpectrogram',
      'StringLookup',
      'TextVectorization',
    ],
  },
  normalise(type, attrs, _dialect, version) {
    const operation = OPERATIONS.get(type) ?? snakeCase(type);
    const generation = eraOf(version) === 'keras3' ? 'keras3' : 'keras2';
    const base: NormAttrs = { operation, generation, outputMode: outputMode(attrs, operation) };
    switch (operation) {
      case 'category_encoding':
        return { ...base, depth: numberOrNull(attrs, ['num_tokens', 'max_tokens']) };
      case 'hashing':
      case 'hashed_crossing':
        return { ...base, depth: numberOrNull(attrs, 'num_bins') };
      case 'discretization': {
        const boundaries = numbersOf(attributeOf(attrs, ['bin_boundaries', 'bins']));
        return {
          ...base,
          depth: boundaries === null ? numberOrNull(attrs, 'num_bins') : boundaries.length + 1,
          boundaries,
        };
      }
      case 'string_lookup':
      case 'integer_lookup':
        return { ...base, depth: vocabularyDepth(attrs) };
      case 'text_vectorization':
        return {
          ...base,
          depth: vocabularyDepth(attrs),
          sequenceLength: numberOrNull(attrs, 'output_sequence_length'),
          splits: attributeOf(attrs, 'split') !== null,
        };
      case 'stft_spectrogram': {
        const frame = numberOf(attrs, 'frame_length', 256);
        return {
          ...base,
          frame,
          step: numberOrNull(attrs, 'frame_step') ?? Math.floor(frame / 2),
          fft: numberOrNull(attrs, 'fft_length') ?? 2 ** Math.ceil(Math.log2(frame)),
          mode: stringOf(attrs, 'mode', 'log'),
          padding: stringOf(attrs, 'padding', 'valid'),
          dataFormat: stringOf(attrs, 'data_format', 'channels_last'),
          expandDims: booleanOf(attrs, 'expand_dims', false),
        };
      }
      case 'mel_spectrogram':
        return {
          ...base,
          melBins: numberOf(attrs, 'num_mel_bins', 128),
          step: numberOf(attrs, 'sequence_stride', 512),
        };
      default:
        return base;
    }
  },
  variables(norm): readonly Variable[] {
    if (norm['operation'] !== 'stft_spectrogram') return [];
    const shape = [normNumber(norm, 'frame') ?? 0, 1, Math.floor((normNumber(norm, 'fft') ?? 0) / 2) + 1];
    return ['real_kernel', 'imag_kernel']
      .filter((role) => norm['mode'] !== (role === 'real_kernel' ? 'imag' : 'real'))
      .map((role) => ({ role, class: 'weight', at: '', names: [role], shape }));
  },
  outputs(norm, inputs) {
    const input = inputs[0];
    if (input === undefined) return null;
    const shape = encodedShape(norm, input);
    return shape === null ? null : [shape];
  },
  toTorch({ norm }) {
    const boundaries = normNumbers(norm, 'boundaries');
    if (norm['operation'] === 'discretization' && norm['outputMode'] === 'int' && boundaries !== null) {
      return twin([customModule('Discretization', { boundaries })]);
    }
    return { refused: REASONS.get(String(norm['operation'])) ?? 'what this layer prepares is not converted' };
  },
};

/** Why an operation has no twin. */
const REASONS: ReadonlyMap<string, string> = new Map([
  ['category_encoding', 'encodings of categories are not converted; encode the data before the model'],
  ['clahe', 'histogram equalisation is not converted; equalise the images before the model'],
  ['discretization', 'the boundaries are not in the config, or the output is not an index'],
  ['hashed_crossing', 'TensorFlow’s hash function is not in PyTorch'],
  ['hashing', 'TensorFlow’s hash function is not in PyTorch'],
  ['integer_lookup', 'a vocabulary is not a tensor; look the values up before the model'],
  ['max_num_bounding_boxes', 'works on bounding boxes, not on a tensor'],
  ['mel_spectrogram', 'spectrograms are not converted; compute them before the model'],
  ['stft_spectrogram', 'spectrograms are not converted; compute them before the model'],
  ['string_lookup', 'a vocabulary is text, not a tensor; look the values up before the model'],
  ['text_vectorization', 'a vocabulary is text, not a tensor; prepare the text before the model'],
]);

const OPERATIONS: ReadonlyMap<string, string> = new Map([
  ['STFTSpectrogram', 'stft_spectrogram'],
  ['ContrastLimitedAdaptiveHistogramEqualization', 'clahe'],
]);

function outputMode(attrs: JsonObject, operation: string): string | null {
  const value = attributeOf(attrs, 'output_mode');
  if (typeof value === 'string') {
    const mode = value.replaceAll('-', '_');
    return mode === 'binary' ? 'multi_hot' : mode;
  }
  return operation === 'category_encoding' ? 'multi_hot' : 'int';
}

/** Width of an encoded lookup: the padded size, the recorded one, or what the vocabulary in the config makes. */
function vocabularyDepth(attrs: JsonObject): number | null {
  const padded = numberOrNull(attrs, 'max_tokens');
  if (booleanOf(attrs, 'pad_to_max_tokens', false) && padded !== null) return padded;
  const recorded = numberOrNull(attrs, 'vocabulary_size');
  if (recorded !== null) return recorded;
  const vocabulary = attrs.get('vocabulary');
  return isList(vocabulary) ? vocabulary.length + numberOf(attrs, 'num_oov_indices', 1) : null;
}

function encodedShape(norm: NormAttrs, input: Shape): Shape | null {
  const depth = normNumber(norm, 'depth');
  const mode = normText(norm, 'outputMode');
  switch (norm['operation']) {
    case 'clahe':
    case 'max_num_bounding_boxes':
      return input;
    case 'stft_spectrogram':
      return stftShape(norm, input);
    case 'mel_spectrogram': {
      const steps = input.at(-1) ?? null;
      const step = normNumber(norm, 'step') ?? 1;
      const frames: Dim = typeof steps === 'number' ? Math.floor((steps + step + 1) / step) : steps;
      return [...input.slice(0, -1), normNumber(norm, 'melBins'), frames];
    }
    case 'text_vectorization': {
      if (mode === 'int') return [input[0] ?? null, normNumber(norm, 'sequenceLength')];
      const tokens: Shape = normFlag(norm, 'splits') ? [...input, null] : input.length <= 1 ? [...input, 1] : input;
      return [...tokens.slice(0, -1), depth];
    }
    case 'category_encoding':
    case 'discretization':
    case 'hashing':
    case 'hashed_crossing':
    case 'string_lookup':
    case 'integer_lookup':
      return mode === 'int' ? input : oneOfMany(norm, input, mode ?? 'multi_hot', depth);
    default:
      return null;
  }
}

/** Encodings of the last axis. Keras' own layers differ from each other, and Keras 3's from Keras 2's. */
function oneOfMany(norm: NormAttrs, input: Shape, mode: string, depth: Dim): Shape {
  if (input.length === 0) return [depth];
  const isOne = input.at(-1) === 1 && input.length > 1;
  const isKeras3 = norm['generation'] === 'keras3';
  if (isKeras3 && norm['operation'] === 'hashing') return [...input.slice(0, -1), depth];
  if (mode === 'one_hot' && !isOne) return [...input, depth];
  if (isKeras3 && norm['operation'] === 'discretization' && mode !== 'one_hot') {
    return input.length < 2 ? [depth] : [input[0] ?? null, ...input.slice(2), depth];
  }
  return [...input.slice(0, -1), depth];
}

/** Keras' convolution over time with frames as kernel; frequencies become channels, or an axis of their own. */
function stftShape(norm: NormAttrs, input: Shape): Shape | null {
  const isFirst = norm['dataFormat'] === 'channels_first';
  const steps = input[isFirst ? 2 : 1] ?? null;
  const channels = input[isFirst ? 1 : 2] ?? null;
  const frame = normNumber(norm, 'frame') ?? 1;
  const step = normNumber(norm, 'step') ?? 1;
  const frequencies = (Math.floor((normNumber(norm, 'fft') ?? 0) / 2) + 1) * (norm['mode'] === 'stft' ? 2 : 1);
  const reach = typeof steps !== 'number' ? steps : norm['padding'] === 'same' ? steps : steps - frame + 1;
  const time: Dim = typeof reach === 'number' ? Math.floor((reach - 1) / step) + 1 : reach;
  const batch = input[0] ?? null;
  if (normFlag(norm, 'expandDims')) {
    return isFirst ? [batch, channels, time, frequencies] : [batch, time, frequencies, channels];
  }
  const wide: Dim = typeof channels === 'number' ? channels * frequencies : channels;
  return isFirst ? [batch, wide, time] : [batch, time, wide];
}

/**
 * Augmentation: changes data in training only. Attributes: operation, size ([height, width] of RandomCrop, else null),
 * dataFormat, openAxes (those that RandomHeight and RandomWidth leave open).
 */
export const random: Family = {
  kind: 'random',
  types: {
    keras: [
      'AugMix',
      'AutoContrast',
      'CutMix',
      'Equalization',
      'MixUp',
      'RandAugment',
      'RandomBrightness',
      'RandomColorDegeneration',
      'RandomColorJitter',
      'RandomContrast',
      'RandomCrop',
      'RandomElasticTransform',
      'RandomErasing',
      'RandomFlip',
      'RandomGaussianBlur',
      'RandomGrayscale',
      'RandomHeight',
      'RandomHue',
      'RandomInvert',
      'RandomPerspective',
      'RandomPosterization',
      'RandomRotation',
      'RandomSaturation',
      'RandomSharpness',
      'RandomShear',
      'RandomTranslation',
      'RandomWidth',
      'RandomZoom',
      'Solarization',
    ],
  },
  normalise(type, attrs) {
    const height = numberOrNull(attrs, 'height');
    const width = numberOrNull(attrs, 'width');
    return {
      operation: snakeCase(type),
      size: type === 'RandomCrop' && height !== null && width !== null ? [height, width] : null,
      dataFormat: stringOf(attrs, 'data_format', 'channels_last'),
      openAxes: type === 'RandomHeight' ? [-3] : type === 'RandomWidth' ? [-2] : [],
    };
  },
  outputs(norm, inputs) {
    const input = inputs[0];
    if (input === undefined) return null;
    const size = normNumbers(norm, 'size');
    const axes = norm['dataFormat'] === 'channels_first' ? [-2, -1] : [-3, -2];
    const shape = input.map((axis, index) => {
      const fromEnd = index - input.length;
      if ((normNumbers(norm, 'openAxes') ?? []).includes(fromEnd)) return null;
      return size === null
        ? axis
        : fromEnd === axes[0]
          ? (size[0] ?? axis)
          : fromEnd === axes[1]
            ? (size[1] ?? axis)
            : axis;
    });
    return [shape];
  },
  macs: () => 0,
  toTorch: ({ norm }) =>
    norm['size'] !== null && norm['size'] !== undefined
      ? { refused: 'RandomCrop resizes and crops in inference too' }
      : norm['operation'] === 'auto_contrast'
        ? { refused: 'AutoContrast stretches the contrast in inference too' }
        : twin([twinModule('Identity', {})]),
};
