import { attentionInputs, keyOf, projection, projectionTwin } from './attention.ts';
import { attributeOf, booleanOf, normFlag, normNumber, numberOf, numberOrNull } from './attribute.ts';
import type { Family } from './family.ts';
import { missing } from './twin.ts';

/**
 * Query heads that share key and value heads: query head j uses head ⌊j / (heads / keyHeads)⌋.
 * Attributes: heads, keyHeads, keyDim, useBias, useGate, slidingWindow, dropout.
 */
export const groupedAttention: Family = {
  kind: 'grouped_attention',
  types: { keras: ['GroupQueryAttention', 'GroupedQueryAttention'] },
  normalise: (_type, attrs) => ({
    heads: numberOrNull(attrs, 'num_query_heads'),
    keyHeads: numberOrNull(attrs, 'num_key_value_heads'),
    keyDim: numberOrNull(attrs, 'head_dim'),
    useBias: booleanOf(attrs, 'use_bias', true),
    useGate: booleanOf(attrs, 'use_gate', false),
    slidingWindow: numberOrNull(attrs, 'sliding_window'),
    dropout: numberOf(attrs, 'dropout', 0),
  }),
  variables(norm, inputs) {
    const [query, value, key = value] = inputs ?? [];
    const width = (shape: typeof query) => {
      const size = shape?.at(-1);
      return typeof size === 'number' ? size : null;
    };
    const heads = normNumber(norm, 'heads');
    const shared = normNumber(norm, 'keyHeads');
    const size = normNumber(norm, 'keyDim');
    const hasBias = norm['useBias'] !== false;
    const part = (name: string, input: typeof query, count: number | null) =>
      projection(name, `_${name}_dense`, [width(input), count, size], hasBias ? [count, size] : null);
    return [
      ...part('query', query, heads),
      ...part('key', key, shared),
      ...(normFlag(norm, 'useGate') ? part('gate', query, heads) : []),
      ...part('value', value, shared),
      ...projection('output', '_output_dense', [heads, size, width(query)], hasBias ? [width(query)] : null),
    ];
  },
  outputs(norm, inputs, call) {
    const [query, value, key = value] = attentionInputs(inputs, call);
    if (query === undefined) return null;
    if (attributeOf(call, 'return_attention_scores') !== true) return [query];
    return [query, [query[0] ?? null, normNumber(norm, 'heads'), query[1] ?? null, key?.[1] ?? null]];
  },
  macs(norm, inputs) {
    const [query, value, third] = inputs;
    const key = keyOf(value, third);
    const heads = normNumber(norm, 'heads');
    const shared = normNumber(norm, 'keyHeads');
    const size = normNumber(norm, 'keyDim');
    const sizes = [query?.[1], key?.[1], value?.[1], query?.[2], key?.[2], value?.[2]];
    if (heads === null || shared === null || size === null) return null;
    const [queries, keys, values, width, keyWidth, valueWidth] = sizes;
    if (
      typeof queries !== 'number' ||
      typeof keys !== 'number' ||
      typeof values !== 'number' ||
      typeof width !== 'number' ||
      typeof keyWidth !== 'number' ||
      typeof valueWidth !== 'number'
    ) {
      return null;
    }
    return (
      queries * width * heads * size * (normFlag(norm, 'useGate') ? 2 : 1) +
      keys * keyWidth * shared * size +
      values * valueWidth * shared * size +
      2 * queries * keys * heads * size +
      queries * heads * size * width
    );
  },
  toTorch(layer) {
    const { norm } = layer;
    const dropout = normNumber(norm, 'dropout') ?? 0;
    return (
      missing(layer, 'query_kernel', 'key_kernel', 'value_kernel', 'output_kernel') ??
      projectionTwin(layer, 'GroupedQueryAttention', {
        num_query_heads: normNumber(norm, 'heads'),
        num_key_value_heads: normNumber(norm, 'keyHeads'),
        head_dim: normNumber(norm, 'keyDim'),
        ...(norm['slidingWindow'] === null ? {} : { sliding_window: norm['slidingWindow'] ?? null }),
        ...(dropout === 0 ? {} : { dropout }),
      })
    );
  },
};
