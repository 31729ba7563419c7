import { isObject, type Json, type JsonObject } from '../ir/json.ts';
import type { Dim, NormAttrs, Shape } from '../ir/model.ts';
import {
  booleanOf,
  eraOf,
  normNumber,
  normNumbers,
  normText,
  numberOrNull,
  numbersOf,
  sizesOf,
  stringOf,
} from './attribute.ts';
import type { Family, Twin, TwinSource } from './family.ts';
import { assumed, customModule, twin, twinModule } from './twin.ts';
import { dataFormatOf, kerasDataFormat, mapSpatial, type Pad, pairsOf } from './window.ts';

function rankOf(type: string): number {
  const digit = /([123])[dD]$/.exec(type)?.[1];
  return digit === undefined ? 2 : Number(digit);
}

/**
 * Pairs per spatial axis from Keras' forms: a number; a number per axis (symmetric); a pair for 1-D; pairs;
 * Keras 1's {top_pad, bottom_pad, left_pad, right_pad} and {left_pad, right_pad}.
 */
function pairsOfJson(value: Json | undefined, rank: number, otherwise: number): readonly Pad[] | null {
  if (isObject(value) && !value.has('items')) return namedPairs(value, rank);
  const list = isObject(value) ? value.get('items') : value;
  if (list === undefined || list === null) return Array.from({ length: rank }, () => [otherwise, otherwise] as const);
  if (typeof list === 'number') return Array.from({ length: rank }, () => [list, list] as const);
  if (!Array.isArray(list)) return null;
  const flat = numbersOf(list);
  if (flat !== null) {
    if (rank === 1 && flat.length === 2) return [[flat[0] ?? 0, flat[1] ?? 0]];
    // Keras 1: (top, bottom, left, right).
    if (rank === 2 && flat.length === 4) {
      return [
        [flat[0] ?? 0, flat[1] ?? 0],
        [flat[2] ?? 0, flat[3] ?? 0],
      ];
    }
    return flat.length === rank ? flat.map((size) => [size, size] as const) : null;
  }
  const pairs: Pad[] = [];
  for (const item of list as readonly Json[]) {
    const pair = numbersOf(item);
    if (pair === null || pair.length > 2) return null;
    pairs.push([pair[0] ?? 0, pair.length === 1 ? (pair[0] ?? 0) : (pair[1] ?? 0)]);
  }
  return pairs.length === rank ? pairs : null;
}

function namedPairs(value: JsonObject, rank: number): readonly Pad[] | null {
  const at = (name: string): number => {
    const size = value.get(name);
    return typeof size === 'number' ? size : 0;
  };
  if (rank === 1) return [[at('left_pad'), at('right_pad')]];
  if (rank !== 2) return null;
  return [
    [at('top_pad'), at('bottom_pad')],
    [at('left_pad'), at('right_pad')],
  ];
}

/** PyTorch's and torch.nn.functional.pad's order: the last axis first, before and after. */
function torchPads(pads: readonly Pad[], sign: 1 | -1): readonly number[] {
  return [...pads].reverse().flatMap(([before, after]) => [sign * before, sign * after]);
}

function ownPads(value: Json | undefined, rank: number): readonly Pad[] {
  const sizes = numbersOf(value) ?? [0];
  if (sizes.length === 1) return Array.from({ length: rank }, () => [sizes[0] ?? 0, sizes[0] ?? 0] as const);
  return Array.from({ length: rank }, (_, index) => {
    const place = (rank - 1 - index) * 2;
    return [sizes[place] ?? 0, sizes[place + 1] ?? 0] as const;
  });
}

function padded(norm: NormAttrs, input: Shape | undefined, sign: 1 | -1): readonly Shape[] | null {
  const pads = pairsOf(norm['pads']);
  if (pads === null) return null;
  const output = mapSpatial(input, pads.length, dataFormatOf(norm), (size: Dim, index) => {
    if (typeof size !== 'number') return size;
    const [before, after] = pads[index] ?? [0, 0];
    const length = size + sign * (before + after);
    return length <= 0 ? undefined : length;
  });
  return output === null ? null : [output];
}

/** ZeroPadding1D to 3D. Neutral: rank, pads ([before, after] per spatial axis), value, mode, dataFormat. */
export const zeroPad: Family = {
  kind: 'zero_pad',
  types: {
    keras: ['ZeroPadding1D', 'ZeroPadding2D', 'ZeroPadding3D'],
    torch: [
      ...['ZeroPad1d', 'ZeroPad2d', 'ZeroPad3d', 'ConstantPad1d', 'ConstantPad2d', 'ConstantPad3d'],
      ...['ReflectionPad1d', 'ReflectionPad2d', 'ReflectionPad3d'],
      ...['ReplicationPad1d', 'ReplicationPad2d', 'ReplicationPad3d'],
    ],
  },
  normalise(type, attrs, dialect, version) {
    const rank = rankOf(type);
    if (dialect === 'torch') {
      const mode = type.startsWith('Reflection')
        ? 'reflect'
        : type.startsWith('Replication')
          ? 'replicate'
          : 'constant';
      return {
        rank,
        pads: attrs.size === 0 ? null : ownPads(attrs.get('padding'), rank),
        value: numberOrNull(attrs, 'value') ?? 0,
        mode,
        dataFormat: 'channels_first',
      };
    }
    return {
      rank,
      pads: pairsOfJson(attrs.get('padding'), rank, 1),
      value: 0,
      mode: 'constant',
      dataFormat: kerasDataFormat(attrs, attrs.has('dim_ordering') ? 'keras1' : eraOf(version), rank),
    };
  },
  outputs: (norm, inputs) => padded(norm, inputs[0], 1),
  toTorch(layer: TwinSource): Twin {
    const pads = pairsOf(layer.norm['pads']);
    if (pads === null) return { refused: 'its padding is not stated' };
    return twin([twinModule(`ZeroPad${pads.length}d`, { padding: torchPads(pads, 1) })]);
  },
  toKeras(layer: TwinSource): Twin {
    const pads = pairsOf(layer.norm['pads']);
    if (pads === null) return { refused: 'its padding is not stated' };
    if (layer.norm['mode'] !== 'constant' || normNumber(layer.norm, 'value') !== 0) {
      return { refused: 'Keras pads with zeros only' };
    }
    return twin([twinModule(`ZeroPadding${pads.length}D`, { padding: pads.length === 1 ? (pads[0] ?? null) : pads })]);
  },
};

/**
 * Cropping1D to 3D, CenterCrop. Neutral: rank, pads (cropped before and after, null for CenterCrop), size (CenterCrop's
 * [height, width]), dataFormat. CenterCrop scales an image up that is too small, so its output always has `size`.
 */
export const crop: Family = {
  kind: 'crop',
  types: { keras: ['Cropping1D', 'Cropping2D', 'Cropping3D', 'CenterCrop'] },
  normalise(type, attrs, _dialect, version) {
    const rank = rankOf(type);
    const dataFormat = kerasDataFormat(attrs, attrs.has('dim_ordering') ? 'keras1' : eraOf(version), rank);
    if (type === 'CenterCrop') {
      return { rank, pads: null, size: [numberOrNull(attrs, 'height'), numberOrNull(attrs, 'width')], dataFormat };
    }
    return { rank, pads: pairsOfJson(attrs.get('cropping'), rank, rank === 2 ? 0 : 1), size: null, dataFormat };
  },
  outputs(norm, inputs) {
    const size = normNumbers(norm, 'size');
    return size === null ? padded(norm, inputs[0], -1) : resized(norm, inputs[0], size);
  },
  toTorch(layer: TwinSource): Twin {
    const pads = pairsOf(layer.norm['pads']);
    if (pads !== null) return twin([twinModule(`ZeroPad${pads.length}d`, { padding: torchPads(pads, -1) })]);
    const size = normNumbers(layer.norm, 'size');
    const fits = padded(
      {
        ...layer.norm,
        pads: [
          [0, 0],
          [0, 0],
        ],
      },
      layer.inputs?.[0],
      1,
    )?.[0];
    const from = dataFormatOf(layer.norm) === 'channels_first' ? -2 : -3;
    const [height, width] = fits === undefined ? [] : fits.slice(from, from + 2 === 0 ? undefined : from + 2);
    if (size === null || typeof height !== 'number' || typeof width !== 'number') {
      return { refused: 'whether it crops or scales is not known without the size of its input' };
    }
    const [wantedHeight = 0, wantedWidth = 0] = size;
    if (height < wantedHeight || width < wantedWidth) {
      return { refused: 'it scales an image that is smaller than its size' };
    }
    const top = Math.floor((height - wantedHeight) / 2);
    const left = Math.floor((width - wantedWidth) / 2);
    const cut: readonly Pad[] = [
      [top, height - wantedHeight - top],
      [left, width - wantedWidth - left],
    ];
    return twin([twinModule('ZeroPad2d', { padding: torchPads(cut, -1) })]);
  },
};

function resized(norm: NormAttrs, input: Shape | undefined, size: readonly number[]): readonly Shape[] | null {
  const rank = size.length;
  // Image layers also take single images: (H, W, C) without a batch axis.
  if (input?.length === rank + 1) {
    const output = mapSpatial([1, ...input], rank, dataFormatOf(norm), (_, index) => size[index] ?? '?');
    return output === null ? null : [output.slice(1)];
  }
  const output = mapSpatial(input, rank, dataFormatOf(norm), (_, index) => size[index] ?? '?');
  return output === null ? null : [output];
}

/** UpSampling1D to 3D. Neutral: rank, size[] (whole factors; ONNX and PyTorch may have fractions), interpolation, dataFormat. */
export const upsample: Family = {
  kind: 'upsample',
  types: {
    keras: ['UpSampling1D', 'UpSampling2D', 'UpSampling3D'],
    torch: ['Upsample', 'UpsamplingNearest2d', 'UpsamplingBilinear2d'],
  },
  normalise(type, attrs, dialect, version) {
    if (dialect === 'torch') {
      const factors = numbersOf(attrs.get('scale_factor'));
      const sizes = numbersOf(attrs.get('size'));
      const rank = factors?.length === 1 ? 2 : (factors?.length ?? sizes?.length ?? 2);
      return {
        rank,
        size: factors === null ? null : factors.length === 1 ? new Array<number>(rank).fill(factors[0] ?? 1) : factors,
        target: sizes === null ? null : sizes.length === 1 ? new Array<number>(rank).fill(sizes[0] ?? 1) : sizes,
        interpolation: type === 'UpsamplingBilinear2d' ? 'bilinear' : stringOf(attrs, 'mode', 'nearest'),
        dataFormat: 'channels_first',
      };
    }
    const rank = rankOf(type);
    return {
      rank,
      size: sizesOf(attrs, ['size', 'length'], rank, 2),
      target: null,
      interpolation: stringOf(attrs, 'interpolation', 'nearest').toLowerCase(),
      dataFormat: kerasDataFormat(attrs, attrs.has('dim_ordering') ? 'keras1' : eraOf(version), rank),
    };
  },
  outputs(norm, inputs) {
    const target = normNumbers(norm, 'target');
    if (target !== null) return resized(norm, inputs[0], target);
    const factors = normNumbers(norm, 'size');
    if (factors === null) return null;
    const output = mapSpatial(inputs[0], factors.length, dataFormatOf(norm), (size: Dim, index) =>
      typeof size === 'number' ? Math.floor(size * (factors[index] ?? 1)) : size,
    );
    return output === null ? null : [output];
  },
  toTorch(layer: TwinSource): Twin {
    const { norm } = layer;
    const factors = normNumbers(norm, 'size') ?? [];
    const mode = normText(norm, 'interpolation') ?? 'nearest';
    switch (mode) {
      case 'nearest':
      case 'area':
        return twin([twinModule('Upsample', { scale_factor: factors, mode: 'nearest' })]);
      case 'bilinear':
        return twin([twinModule('Upsample', { scale_factor: factors, mode: 'bilinear', align_corners: false })]);
      case 'bicubic':
        return twin([customModule('Resize', { scale_factor: factors, mode, antialias: true })], [], [bicubicOf(layer)]);
      default:
        return { refused: `interpolation '${mode}' has no counterpart in PyTorch` };
    }
  },
  toKeras(layer: TwinSource): Twin {
    const { norm } = layer;
    const factors = normNumbers(norm, 'size');
    const rank = normNumber(norm, 'rank') ?? 2;
    const mode = normText(norm, 'interpolation');
    if (factors === null || factors.some((factor) => !Number.isInteger(factor))) {
      return { refused: 'Keras scales by whole factors only' };
    }
    if (mode !== 'nearest') return { refused: `interpolation '${mode ?? ''}' has no single counterpart in Keras` };
    return twin([twinModule(`UpSampling${rank}D`, { size: rank === 1 ? (factors[0] ?? 1) : factors })]);
  },
};

/**
 * Resizing. Neutral: size [height, width], interpolation, antialias, fit ('stretch', 'crop', 'pad'), dataFormat.
 * Twin: the custom module Resize {size, mode, antialias} over torch.nn.functional.interpolate; 'nearest' is PyTorch's
 * 'nearest-exact'.
 */
export const resize: Family = {
  kind: 'resize',
  types: { keras: ['Resizing'] },
  normalise(_type, attrs, _dialect, version) {
    return {
      size: [numberOrNull(attrs, 'height'), numberOrNull(attrs, 'width')],
      interpolation: stringOf(attrs, 'interpolation', 'bilinear').toLowerCase(),
      antialias: booleanOf(attrs, 'antialias', false),
      fit: booleanOf(attrs, 'crop_to_aspect_ratio', false)
        ? 'crop'
        : booleanOf(attrs, 'pad_to_aspect_ratio', false)
          ? 'pad'
          : 'stretch',
      dataFormat: kerasDataFormat(attrs, eraOf(version), 2),
    };
  },
  outputs(norm, inputs) {
    const size = normNumbers(norm, 'size');
    return size === null ? null : resized(norm, inputs[0], size);
  },
  toTorch(layer: TwinSource): Twin {
    const { norm } = layer;
    const size = normNumbers(norm, 'size');
    if (size === null) return { refused: 'its size is not stated' };
    if (norm['fit'] !== 'stretch') return { refused: 'keeping the aspect ratio has no counterpart in PyTorch' };
    const antialias = norm['antialias'] === true;
    const mode = normText(norm, 'interpolation') ?? 'bilinear';
    switch (mode) {
      case 'nearest':
        return twin([customModule('Resize', { size, mode: 'nearest-exact', antialias: false })]);
      case 'bilinear':
        return twin([customModule('Resize', { size, mode, antialias })]);
      case 'bicubic':
        if (!antialias && !grows(layer, size)) {
          return { refused: 'bicubic shrinking without antialias has no counterpart in PyTorch' };
        }
        return twin([customModule('Resize', { size, mode, antialias: true })], [], [bicubicOf(layer)]);
      default:
        return { refused: `interpolation '${mode}' has no counterpart in PyTorch` };
    }
  },
};

/** The backends interpolate differently, and a config does not say which one trained the model. */
function bicubicOf(layer: TwinSource): ReturnType<typeof assumed> {
  return assumed(
    layer,
    'the bicubic kernel',
    "TensorFlow's, which PyTorch has with antialias=True; other factors than 2 and 4 differ by up to 1e-3",
  );
}

function grows(layer: TwinSource, size: readonly number[]): boolean {
  const input = layer.inputs?.[0];
  if (input === undefined) return false;
  const start = dataFormatOf(layer.norm) === 'channels_first' ? input.length - 2 : input.length - 3;
  return size.every((wanted, index) => {
    const have = input[start + index];
    return typeof have === 'number' && have <= wanted;
  });
}
