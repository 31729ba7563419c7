import type { JsonObject } from '../ir/json.ts';
import type { Dialect, NormAttrs } from '../ir/model.ts';
import { booleanOf, normFlag, normNumber, normRecord, numberOrNull, sampleElements } from './attribute.ts';
import { type Family, permutationOf, type Twin, type TwinSource, type Variable } from './family.ts';
import { adaptationOf, adaptationRefusal, constant, loraVariables, quantisedMode, variable } from './quantisation.ts';
import { missing, shapeOf, source, twin, twinModule, twinTensor } from './twin.ts';

/**
 * Embedding. Neutral: vocabulary, width, paddingIndex (PyTorch's; null: none), maskZero, quantised, lora.
 * Row 0 is an ordinary row in Keras, also with mask_zero: the twin has no padding_idx.
 */
export const embedding: Family = {
  kind: 'embedding',
  types: { keras: ['Embedding'], torch: ['Embedding'] },
  normalise: embeddingNorm,
  variables: (norm) => embeddingVariables(norm),
  outputs(norm, inputs) {
    const [input] = inputs;
    return input === undefined ? null : [[...input, normNumber(norm, 'width') ?? '?']];
  },
  toTorch(layer: TwinSource): Twin {
    const refusal =
      adaptationRefusal(
        layer.norm,
        layer.weights.map((weight) => weight.role),
      ) ?? missing(layer, 'embeddings');
    if (refusal !== undefined) return refusal;
    const [rows = 0, width = 0] = shapeOf(layer, 'embeddings');
    return twin(
      [twinModule('Embedding', { num_embeddings: rows, embedding_dim: width })],
      [twinTensor(layer, 'weight', source('embeddings'))],
    );
  },
  toKeras(layer: TwinSource): Twin {
    const refusal = missing(layer, 'weight');
    if (refusal !== undefined) return refusal;
    const [rows = 0, width = 0] = shapeOf(layer, 'weight');
    return twin(
      [twinModule('Embedding', { input_dim: rows, output_dim: width })],
      [twinTensor(layer, 'embeddings', source('weight'))],
    );
  },
};

/**
 * ReversibleEmbedding. Neutral: as embedding, and tied, softCap. A call with reverse=True maps (…, width) to
 * (…, vocabulary). Twin: `embedding`, and `reverse` (Linear without bias) when the two are not tied.
 */
export const reversibleEmbedding: Family = {
  kind: 'reversible_embedding',
  types: { keras: ['ReversibleEmbedding'] },
  normalise(type, attrs, dialect, version) {
    return {
      ...embeddingNorm(type, attrs, dialect, version),
      tied: booleanOf(attrs, 'tie_weights', true),
      softCap: numberOrNull(attrs, 'logit_soft_cap'),
    };
  },
  variables: reversibleVariables,
  outputs(norm, inputs, call) {
    const [input] = inputs;
    if (input === undefined) return null;
    return call.get('reverse') === true
      ? [[...input.slice(0, -1), normNumber(norm, 'vocabulary') ?? '?']]
      : [[...input, normNumber(norm, 'width') ?? '?']];
  },
  /** Looking up costs nothing; a reverse call costs output elements × width. */
  macs(norm, inputs, outputs) {
    const width = normNumber(norm, 'width');
    const [input] = inputs;
    const [output] = outputs;
    if (input === undefined || output === undefined || width === null) return null;
    if (input.length !== output.length) return 0;
    const elements = sampleElements(output);
    return elements === null ? null : elements * width;
  },
  toTorch(layer: TwinSource): Twin {
    const refusal =
      adaptationRefusal(
        layer.norm,
        layer.weights.map((weight) => weight.role),
      ) ?? missing(layer, 'embeddings');
    if (refusal !== undefined) return refusal;
    const [rows = 0, width = 0] = shapeOf(layer, 'embeddings');
    const modules = [twinModule('Embedding', { num_embeddings: rows, embedding_dim: width }, 'embedding')];
    const tensors = [twinTensor(layer, 'embedding.weight', source('embeddings'))];
    if (normFlag(layer.norm, 'tied')) return twin(modules, tensors);
    const reverse = missing(layer, 'reverse_embeddings');
    if (reverse !== undefined) return reverse;
    return twin(
      [...modules, twinModule('Linear', { in_features: width, out_features: rows, bias: false }, 'reverse')],
      [
        ...tensors,
        twinTensor(layer, 'reverse.weight', {
          op: 'permute',
          of: source('reverse_embeddings'),
          axes: permutationOf('in out', 'out in'),
        }),
      ],
    );
  },
};

function embeddingNorm(_type: string, attrs: JsonObject, dialect: Dialect, version: string): NormAttrs {
  if (dialect === 'torch') {
    return {
      vocabulary: numberOrNull(attrs, 'num_embeddings'),
      width: numberOrNull(attrs, 'embedding_dim'),
      paddingIndex: numberOrNull(attrs, 'padding_idx'),
      maskZero: false,
    };
  }
  return {
    vocabulary: numberOrNull(attrs, 'input_dim'),
    width: numberOrNull(attrs, 'output_dim'),
    paddingIndex: null,
    maskZero: booleanOf(attrs, 'mask_zero', false),
    ...adaptationOf(attrs, version),
  };
}

const groups = (size: number, block: number): number => Math.ceil(size / block);

function embeddingVariables(norm: NormAttrs, more: readonly Variable[] = []): readonly Variable[] {
  const rows = normNumber(norm, 'vocabulary');
  const width = normNumber(norm, 'width');
  if (rows === null || width === null) return [variable('embeddings', null, ['embeddings', 'W']), ...more];
  const block = normNumber(normRecord(norm, 'quantised'), 'block');
  const grouped = block !== null && block > 0;
  switch (quantisedMode(norm)) {
    case 'int8':
      return [constant('embeddings', [rows, width]), constant('embeddings_scale', [rows]), ...more];
    case 'int4':
      return [
        constant('embeddings', [rows, Math.ceil(width / 2)]),
        constant('embeddings_scale', grouped ? [rows, groups(width, block)] : [rows]),
        ...(grouped ? [constant('embeddings_zero', [rows, groups(width, block)]), constant('g_idx', [width])] : []),
        ...more,
      ];
    default:
      return [
        variable('embeddings', [rows, width], ['embeddings', 'W']),
        ...more,
        ...loraVariables(norm, 'embeddings', [rows, width]),
      ];
  }
}

function reversibleVariables(norm: NormAttrs): readonly Variable[] {
  if (normFlag(norm, 'tied')) return embeddingVariables(norm);
  const rows = normNumber(norm, 'vocabulary');
  const width = normNumber(norm, 'width');
  if (rows === null || width === null) return embeddingVariables(norm, [variable('reverse_embeddings', null)]);
  const block = normNumber(normRecord(norm, 'quantised'), 'block');
  const grouped = block !== null && block > 0;
  switch (quantisedMode(norm)) {
    case 'int8':
      return embeddingVariables(norm, [
        constant('reverse_embeddings', [width, rows]),
        constant('reverse_embeddings_scale', [rows]),
      ]);
    case 'int4': {
      const scale = grouped ? [groups(width, block), rows] : [rows];
      return embeddingVariables(norm, [
        constant('reverse_embeddings', [Math.ceil(width / 2), rows]),
        constant('reverse_embeddings_scale', scale),
        ...(grouped ? [constant('reverse_embeddings_zero', scale)] : []),
      ]);
    }
    default:
      return embeddingVariables(norm, [variable('reverse_embeddings', [width, rows])]);
  }
}
