import type { JsonObject } from '../ir/json.ts';
import type { NormAttrs, Shape } from '../ir/model.ts';
import { keyOf } from './attention.ts';
import { booleanOf, normFlag, normNumber, normText, numberOf, sizesAt, stringOf } from './attribute.ts';
import type { Family } from './family.ts';
import { customModule, source, twin, twinTensor, weightOf } from './twin.ts';

/** [query, value] or [query, value, key] to the query's shape with the value's width; the scores on request. */
function outputs(_norm: NormAttrs, inputs: readonly Shape[], call: JsonObject): readonly Shape[] | null {
  const [query, value, key = value] = inputs;
  if (query === undefined || value === undefined || key === undefined) return null;
  const main: Shape = [...query.slice(0, -1), value.at(-1) ?? null];
  const scores: Shape = [...query.slice(0, -1), key.at(-2) ?? null];
  return call.get('return_attention_scores') === true ? [main, scores] : [main];
}

/** Scores and their use: queries · keys · (query width + value width). */
function macs(_norm: NormAttrs, inputs: readonly Shape[]): number | null {
  const [query, value, third] = inputs;
  const key = keyOf(value, third);
  const lead = query?.slice(1, -1) ?? [null];
  let total = 1;
  for (const size of [...lead, key?.at(-2)]) {
    if (typeof size !== 'number') return null;
    total *= size;
  }
  const width = query?.at(-1);
  const out = value?.at(-1);
  return typeof width === 'number' && typeof out === 'number' ? total * (width + out) : null;
}

/**
 * Attributes: useScale, scoreMode ('dot': not divided by √d; 'concat': w · Σ tanh(scale · (q + k))), causal (tf.keras
 * had it among the layer's own arguments), dropout.
 */
export const dotAttention: Family = {
  kind: 'dot_attention',
  types: { keras: ['Attention'] },
  normalise: (_type, attrs) => ({
    useScale: booleanOf(attrs, 'use_scale', false),
    scoreMode: stringOf(attrs, 'score_mode', 'dot'),
    causal: booleanOf(attrs, 'causal', false),
    dropout: numberOf(attrs, 'dropout', 0),
  }),
  variables: (norm) => [
    ...(normFlag(norm, 'useScale')
      ? [{ role: 'scale', class: 'weight' as const, at: '', names: ['scale'], shape: [] }]
      : []),
    ...(normText(norm, 'scoreMode') === 'concat'
      ? [
          {
            role: 'concat_score_weight',
            class: 'weight' as const,
            at: '',
            names: ['concat_score_weight'],
            shape: [],
          },
        ]
      : []),
  ],
  outputs,
  macs,
  toTorch(layer) {
    const { norm } = layer;
    const roles = ['scale', 'concat_score_weight'].filter((role) => weightOf(layer, role) !== undefined);
    return twin(
      [
        customModule('DotAttention', {
          score_mode: normText(norm, 'scoreMode') ?? 'dot',
          use_scale: roles.includes('scale'),
          ...causalArg(norm),
          ...dropoutArg(norm),
        }),
      ],
      roles.map((role) => twinTensor(layer, role, source(role))),
    );
  },
};

/** Attributes: useScale, causal, dropout. Scores are Σ scale · tanh(q + k). */
export const additiveAttention: Family = {
  kind: 'additive_attention',
  types: { keras: ['AdditiveAttention'] },
  normalise: (_type, attrs) => ({
    useScale: booleanOf(attrs, 'use_scale', true),
    causal: booleanOf(attrs, 'causal', false),
    dropout: numberOf(attrs, 'dropout', 0),
  }),
  variables: (norm, inputs) =>
    normFlag(norm, 'useScale')
      ? [{ role: 'scale', class: 'weight', at: '', names: ['scale'], shape: sizesAt(inputs?.[0], [-1]) }]
      : [],
  outputs,
  macs,
  toTorch(layer) {
    const scale = weightOf(layer, 'scale');
    return twin(
      [
        customModule('AdditiveAttention', {
          ...(scale === undefined ? { use_scale: false } : { dim: scale.tensor.shape[0] ?? null }),
          ...causalArg(layer.norm),
          ...dropoutArg(layer.norm),
        }),
      ],
      scale === undefined ? [] : [twinTensor(layer, 'scale', source('scale'))],
    );
  },
};

function causalArg(norm: NormAttrs): NormAttrs {
  return normFlag(norm, 'causal') ? { causal: true } : {};
}

function dropoutArg(norm: NormAttrs): NormAttrs {
  const dropout = normNumber(norm, 'dropout') ?? 0;
  return dropout === 0 ? {} : { dropout };
}
