import type { JsonObject } from '../ir/json.ts';
import type { Kind } from '../ir/kind.ts';
import type { Dim, NormAttrs, Shape } from '../ir/model.ts';
import {
  attributeOf,
  booleanOf,
  eraOf,
  hasAny,
  normFlag,
  normNumber,
  normNumbers,
  numbersOf,
  sampleElements,
  sizesOf,
} from './attribute.ts';
import { modulePadding, product } from './conv.ts';
import type { Family, Twin, TwinSource } from './family.ts';
import { twin, twinModule } from './twin.ts';
import {
  channelAxis,
  dataFormatOf,
  kerasDataFormat,
  kerasPadding,
  mapSpatial,
  onnxPadding,
  paddingOf,
  slide,
  torchPadding,
} from './window.ts';

/** Spatial axes in a class name: 'MaxPooling2D' has 2; 2 where the name does not say. */
function rankOf(type: string): number {
  const digit = /([123])[dD]$/.exec(type)?.[1];
  return digit === undefined ? 2 : Number(digit);
}

const ranks = (...names: readonly string[]): readonly string[] =>
  names.flatMap((name) => [1, 2, 3].map((rank) => name.replace('#', String(rank))));

/**
 * Max and average pooling.
 * Neutral: rank, poolSize[], strides[], padding (as conv), dilation[] (max), dataFormat, ceilMode, countIncludePad.
 * Keras never counts padded cells in an average; PyTorch does unless told.
 */
function poolFamily(kind: 'max_pool' | 'avg_pool', keras: readonly string[], torch: string, onnx: string): Family {
  return {
    kind,
    types: { keras: ranks(...keras), torch: ranks(`${torch}#d`), onnx: [onnx] },
    normalise(type, attrs, dialect, version) {
      switch (dialect) {
        case 'keras':
          return kerasPool(type, attrs, version);
        case 'torch':
          return torchPool(attrs, rankOf(type), kind);
        case 'onnx': {
          const pool = numbersOf(attrs.get('kernel_shape'));
          const rank = pool?.length ?? 2;
          return {
            rank,
            poolSize: pool,
            strides: sizesOf(attrs, 'strides', rank, 1),
            padding: onnxPadding(attrs, rank),
            dilation: sizesOf(attrs, 'dilations', rank, 1),
            dataFormat: 'channels_first',
            ceilMode: booleanOf(attrs, 'ceil_mode', false),
            countIncludePad: booleanOf(attrs, 'count_include_pad', false),
          };
        }
      }
    },
    outputs(norm, inputs) {
      const output = slide(norm, inputs[0]);
      return output === null ? null : [output];
    },
    toTorch(layer: TwinSource): Twin {
      const { norm } = layer;
      const rank = normNumber(norm, 'rank') ?? 2;
      const pool = normNumbers(norm, 'poolSize') ?? [];
      const padding = modulePadding(norm, false);
      const args = { kernel_size: pool, stride: normNumbers(norm, 'strides') ?? pool, padding };
      return twin([
        kind === 'max_pool'
          ? twinModule(`MaxPool${rank}d`, args)
          : twinModule(`AvgPool${rank}d`, { ...args, count_include_pad: normFlag(norm, 'countIncludePad') }),
      ]);
    },
    toKeras(layer: TwinSource): Twin {
      const { norm } = layer;
      const rank = normNumber(norm, 'rank') ?? 2;
      const padding = paddingOf(norm);
      if (normFlag(norm, 'ceilMode')) return { refused: 'ceil_mode has no counterpart in Keras' };
      if ((normNumbers(norm, 'dilation') ?? []).some((size) => size !== 1)) {
        return { refused: 'a dilated pool has no counterpart in Keras' };
      }
      const padded = Array.isArray(padding) && padding.some(([before, after]) => before !== 0 || after !== 0);
      if (padded) return { refused: 'a pool that pads its input has no single counterpart in Keras' };
      return twin([
        twinModule(`${kind === 'max_pool' ? 'MaxPooling' : 'AveragePooling'}${rank}D`, {
          pool_size: normNumbers(norm, 'poolSize'),
          strides: normNumbers(norm, 'strides'),
          padding: padding === 'same' ? 'same' : 'valid',
        }),
      ]);
    },
    ...(kind === 'avg_pool' ? { macs: poolMacs } : {}),
  };
}

/** Averaging: one accumulation per cell of each window. */
function poolMacs(norm: NormAttrs, _inputs: readonly Shape[], outputs: readonly Shape[]): number | null {
  const elements = sampleElements(outputs[0]);
  const pool = normNumbers(norm, 'poolSize');
  return elements === null || pool === null ? null : elements * product(pool);
}

function kerasPool(type: string, attrs: JsonObject, version: string): NormAttrs {
  const rank = rankOf(type);
  const era = hasAny(attrs, ['border_mode', 'dim_ordering', 'pool_length']) ? 'keras1' : eraOf(version);
  const poolSize = sizesOf(attrs, ['pool_size', 'pool_length'], rank, 2);
  const told = attributeOf(attrs, ['strides', 'stride']);
  return {
    rank,
    poolSize,
    strides: numbersOf(told) === null ? poolSize : sizesOf(attrs, ['strides', 'stride'], rank, 1),
    padding: kerasPadding(attrs),
    dilation: poolSize.map(() => 1),
    dataFormat: kerasDataFormat(attrs, era, rank),
    ceilMode: false,
    countIncludePad: false,
  };
}

function torchPool(attrs: JsonObject, rank: number, kind: Kind): NormAttrs {
  if (attrs.size === 0) {
    return { rank, poolSize: null, strides: null, padding: null, dilation: null, dataFormat: 'channels_first' };
  }
  const poolSize = attrs.has('kernel_size') ? sizesOf(attrs, 'kernel_size', rank, 1) : null;
  return {
    rank,
    poolSize,
    strides: numbersOf(attrs.get('stride')) === null ? poolSize : sizesOf(attrs, 'stride', rank, 1),
    padding: torchPadding(attrs, rank),
    dilation: sizesOf(attrs, 'dilation', rank, 1),
    dataFormat: 'channels_first',
    ceilMode: booleanOf(attrs, 'ceil_mode', false),
    countIncludePad: kind === 'avg_pool' ? booleanOf(attrs, 'count_include_pad', true) : false,
  };
}

export const maxPool: Family = poolFamily('max_pool', ['MaxPooling#D', 'MaxPool#D'], 'MaxPool', 'MaxPool');
export const avgPool: Family = poolFamily('avg_pool', ['AveragePooling#D', 'AvgPool#D'], 'AvgPool', 'AveragePool');

/**
 * Global pooling. Neutral: rank (null: all axes but batch and channels), dataFormat, keepdims.
 * Twin: the custom module GlobalAvgPool or GlobalMaxPool {rank, keepdims}: mean or amax over the spatial axes.
 */
function globalFamily(kind: 'global_max_pool' | 'global_avg_pool', keras: readonly string[], onnx: string): Family {
  return {
    kind,
    types: { keras: ranks(...keras), onnx: [onnx] },
    normalise(type, attrs, dialect, version) {
      if (dialect !== 'keras') return { rank: null, dataFormat: 'channels_first', keepdims: true };
      const rank = rankOf(type);
      return {
        rank,
        dataFormat: kerasDataFormat(attrs, attrs.has('dim_ordering') ? 'keras1' : eraOf(version), rank),
        keepdims: booleanOf(attrs, 'keepdims', false),
      };
    },
    outputs(norm, inputs) {
      const [input] = inputs;
      if (input === undefined) return null;
      const rank = normNumber(norm, 'rank') ?? input.length - 2;
      if (normFlag(norm, 'keepdims')) {
        const output = mapSpatial(input, rank, dataFormatOf(norm), () => 1);
        return output === null ? null : [output];
      }
      if (input.length < rank + 2) return null;
      return [[input[0] ?? null, input[channelAxis(input.length, rank, dataFormatOf(norm))] ?? null]];
    },
    toTorch(layer: TwinSource): Twin {
      const { norm } = layer;
      const rank = normNumber(norm, 'rank') ?? 2;
      return twin([
        {
          name: '',
          type: kind === 'global_avg_pool' ? 'GlobalAvgPool' : 'GlobalMaxPool',
          args: { rank, keepdims: normFlag(norm, 'keepdims') },
          custom: true,
        },
      ]);
    },
    ...(kind === 'global_avg_pool'
      ? { macs: (_norm: NormAttrs, inputs: readonly Shape[]) => sampleElements(inputs[0]) }
      : {}),
  };
}

export const globalMaxPool: Family = globalFamily(
  'global_max_pool',
  ['GlobalMaxPooling#D', 'GlobalMaxPool#D'],
  'GlobalMaxPool',
);
export const globalAvgPool: Family = globalFamily(
  'global_avg_pool',
  ['GlobalAveragePooling#D', 'GlobalAvgPool#D'],
  'GlobalAveragePool',
);

/** Adaptive pooling. Neutral: rank, mode ('max' | 'avg'), outputSize[] (null entries keep the axis), dataFormat. */
export const adaptivePool: Family = {
  kind: 'adaptive_pool',
  types: {
    keras: ranks('AdaptiveMaxPooling#D', 'AdaptiveAveragePooling#D'),
    torch: ranks('AdaptiveMaxPool#d', 'AdaptiveAvgPool#d'),
  },
  normalise(type, attrs, dialect, version) {
    const rank = rankOf(type);
    const told = attrs.get('output_size');
    const sizes = Array.isArray(told) ? told : [told];
    const entry = (index: number): number | null => {
      const size = sizes.length === 1 ? sizes[0] : sizes[index];
      return typeof size === 'number' ? size : null;
    };
    return {
      rank,
      mode: type.startsWith('AdaptiveMax') ? 'max' : 'avg',
      outputSize: told === undefined ? null : Array.from({ length: rank }, (_, index) => entry(index)),
      dataFormat: dialect === 'keras' ? kerasDataFormat(attrs, eraOf(version), rank) : 'channels_first',
    };
  },
  outputs(norm, inputs) {
    const sizes = norm['outputSize'];
    const rank = normNumber(norm, 'rank') ?? 2;
    if (!Array.isArray(sizes)) return null;
    const output = mapSpatial(inputs[0], rank, dataFormatOf(norm), (size: Dim, index) => {
      const wanted: unknown = sizes[index];
      return typeof wanted === 'number' ? wanted : size;
    });
    return output === null ? null : [output];
  },
  toTorch(layer: TwinSource): Twin {
    const { norm } = layer;
    const rank = normNumber(norm, 'rank') ?? 2;
    return twin([
      twinModule(`Adaptive${norm['mode'] === 'max' ? 'Max' : 'Avg'}Pool${rank}d`, {
        output_size: norm['outputSize'] ?? null,
      }),
    ]);
  },
  toKeras(layer: TwinSource): Twin {
    const { norm } = layer;
    const rank = normNumber(norm, 'rank') ?? 2;
    return twin([
      twinModule(`Adaptive${norm['mode'] === 'max' ? 'Max' : 'Average'}Pooling${rank}D`, {
        output_size: norm['outputSize'] ?? null,
      }),
    ]);
  },
};
