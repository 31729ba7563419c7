import type { JsonObject } from '../ir/json.ts';
import type { Dim, NormAttrs, Shape } from '../ir/model.ts';
import {
  attributeOf,
  booleanOf,
  eraOf,
  normFlag,
  normNumber,
  normNumbers,
  numberOf,
  numberOrNull,
  numbersOf,
} from './attribute.ts';
import { countCallTensors } from './call-tensors.ts';
import type { Expr, Family, Twin, TwinSource, TwinTensor, Variable } from './family.ts';
import {
  assumed,
  customModule,
  joined,
  missing,
  reshaped,
  shapeOf,
  sliced,
  source,
  transposed,
  twin,
  twinModule,
  twinTensor,
  weightOf,
} from './twin.ts';

/**
 * Attributes: heads, keyDim, valueDim, useBias, useGate, outputShape (null: the query's width), attentionAxes (null: all
 * axes but batch and features, jointly), slidingWindow (null: none), dropout, scoresOf (what Keras says of the shape of
 * the returned scores: 'query' takes the query's length for both axes); PyTorch: width (embed_dim), batchFirst,
 * addZeroAttention.
 */
function normalise(_type: string, attrs: JsonObject, dialect: string, version: string): NormAttrs {
  if (dialect === 'torch') {
    const width = numberOrNull(attrs, 'embed_dim');
    const heads = numberOrNull(attrs, 'num_heads');
    return {
      heads,
      keyDim: width === null || heads === null ? null : width / heads,
      valueDim: width === null || heads === null ? null : width / heads,
      useBias: attrs.has('bias') ? booleanOf(attrs, 'bias', true) : null,
      useGate: false,
      outputShape: null,
      attentionAxes: null,
      slidingWindow: null,
      dropout: numberOrNull(attrs, 'dropout'),
      scoresOf: 'key',
      width,
      batchFirst: attrs.has('batch_first') ? booleanOf(attrs, 'batch_first', false) : null,
      addZeroAttention: booleanOf(attrs, 'add_zero_attn', false),
    };
  }
  const keyDim = numberOrNull(attrs, ['key_dim', 'head_size']);
  return {
    heads: numberOrNull(attrs, 'num_heads'),
    keyDim,
    valueDim: numberOrNull(attrs, 'value_dim') ?? keyDim,
    useBias: booleanOf(attrs, 'use_bias', true),
    useGate: booleanOf(attrs, 'use_gate', false),
    outputShape: numbersOf(attributeOf(attrs, 'output_shape')),
    attentionAxes: numbersOf(attributeOf(attrs, 'attention_axes')),
    slidingWindow: numberOrNull(attrs, 'sliding_window'),
    dropout: numberOf(attrs, 'dropout', 0),
    scoresOf: eraOf(version) === 'keras3' ? 'query' : 'key',
    width: null,
    batchFirst: true,
    addZeroAttention: false,
  };
}

/** One projection: the kernel and, with a bias, its bias. */
export function projection(
  name: string,
  at: string,
  kernel: readonly (number | null)[],
  bias: readonly (number | null)[] | null,
): readonly Variable[] {
  const known = (shape: readonly (number | null)[]) =>
    shape.every((size) => size !== null) ? (shape as readonly number[]) : null;
  const file = name === 'output' ? 'attention_output' : name;
  return [
    { role: `${name}_kernel`, class: 'weight', at, names: [`${file}/kernel`], shape: known(kernel) },
    ...(bias === null
      ? []
      : [{ role: `${name}_bias`, class: 'weight' as const, at, names: [`${file}/bias`], shape: known(bias) }]),
  ];
}

/**
 * Query, value and key of a call, whether they stand by place or by name. Its other tensors are masks: those given by
 * name stand behind all others, in the order of `call`.
 */
export function attentionInputs<T>(given: readonly T[], call: JsonObject): readonly (T | undefined)[] {
  const counts = [...call].map(([name, value]) => [name, countCallTensors(value)] as const);
  let at = Math.max(given.length - counts.reduce((sum, [, count]) => sum + count, 0), 0);
  const placed = given.slice(0, at);
  const named = new Map<string, T | undefined>();
  for (const [name, count] of counts) {
    if (count > 0) named.set(name, given[at]);
    at += count;
  }
  const [query, value, key] = ['query', 'value', 'key'].map((name, index) => named.get(name) ?? placed[index]);
  return key === undefined ? [query, value] : [query, value, key];
}

/**
 * The key among a call's shapes where the call itself is not at hand. A third tensor is a mask unless it has the value's
 * positions; a square of (queries, values) that is not as wide as the value is one too.
 */
export function keyOf(value: Shape | undefined, third: Shape | undefined): Shape | undefined {
  if (value === undefined || third === undefined || third.length !== value.length) return value;
  if (third.slice(1, -1).some((size, index) => size !== value[index + 1])) return value;
  return third.length === 3 && third[2] === value[1] && third[2] !== value[2] ? value : third;
}

function widthOf(shape: Shape | undefined): number | null {
  const size = shape?.at(-1);
  return typeof size === 'number' ? size : null;
}

/** Releases before about 3.3 call the sub-objects `_query_dense`; the gate always has the underscore. */
function variables(norm: NormAttrs, inputs: readonly Shape[] | null): readonly Variable[] {
  const [query, value, key = value] = inputs ?? [];
  const heads = normNumber(norm, 'heads');
  const keyDim = normNumber(norm, 'keyDim');
  const valueDim = normNumber(norm, 'valueDim');
  const hasBias = norm['useBias'] !== false;
  const bias = (size: number | null) => (hasBias ? [heads, size] : null);
  const out = normNumbers(norm, 'outputShape') ?? [widthOf(query)];
  return [
    ...projection('query', 'query_dense', [widthOf(query), heads, keyDim], bias(keyDim)),
    ...projection('key', 'key_dense', [widthOf(key), heads, keyDim], bias(keyDim)),
    ...(normFlag(norm, 'useGate')
      ? projection('gate', '_gate_dense', [widthOf(query), heads, valueDim], bias(valueDim))
      : []),
    ...projection('value', 'value_dense', [widthOf(value), heads, valueDim], bias(valueDim)),
    ...projection('output', 'output_dense', [heads, valueDim, ...out], hasBias ? out : null),
  ];
}

function outputs(norm: NormAttrs, inputs: readonly Shape[], call: JsonObject): readonly Shape[] | null {
  const [query, value, key = value] = attentionInputs(inputs, call);
  if (query === undefined || norm['width'] !== null) return null;
  const out = normNumbers(norm, 'outputShape');
  const main: Shape = out === null ? query : [...query.slice(0, -1), ...out];
  if (call.get('return_attention_scores') !== true) return [main];
  const length = query[1] ?? null;
  const keys: Dim = norm['scoresOf'] === 'query' ? length : (key?.[1] ?? null);
  return [main, [query[0] ?? null, normNumber(norm, 'heads'), length, keys]];
}

/** Projections, scores and their use; softmax and masks are not counted. */
function macs(norm: NormAttrs, inputs: readonly Shape[]): number | null {
  const [query, value, third] = inputs;
  const key = keyOf(value, third);
  const heads = normNumber(norm, 'heads');
  const keyDim = normNumber(norm, 'keyDim');
  const valueDim = normNumber(norm, 'valueDim');
  if (query === undefined || value === undefined || key === undefined) return null;
  const axes = normNumbers(norm, 'attentionAxes') ?? Array.from({ length: query.length - 2 }, (_, index) => index + 1);
  const sizes = [
    positions(query),
    positions(key),
    positions(value),
    product(axes.map((axis) => key[axis < 0 ? axis + key.length : axis] ?? null)),
    widthOf(query),
    widthOf(key),
    widthOf(value),
  ];
  if (heads === null || keyDim === null || valueDim === null || sizes.some((size) => size === null)) return null;
  const [queries, keys, values, reach, width, keyWidth, valueWidth] = sizes as readonly number[] as [
    number,
    number,
    number,
    number,
    number,
    number,
    number,
  ];
  const out = product(normNumbers(norm, 'outputShape') ?? [width]) ?? width;
  return (
    queries * width * heads * keyDim +
    keys * keyWidth * heads * keyDim +
    values * valueWidth * heads * valueDim +
    (normFlag(norm, 'useGate') ? queries * width * heads * valueDim : 0) +
    queries * reach * heads * (keyDim + valueDim) +
    queries * heads * valueDim * out
  );
}

function positions(shape: Shape): number | null {
  return product(shape.slice(1, -1));
}

function product(sizes: readonly Dim[]): number | null {
  let result = 1;
  for (const size of sizes) {
    if (typeof size !== 'number') return null;
    result *= size;
  }
  return result;
}

/** (inputs, heads, size) as the rows of a Linear: (heads · size, inputs). */
export function projectionRows(layer: TwinSource, role: string): Expr {
  const [width = 0, heads = 0, size = 0] = shapeOf(layer, role);
  return reshaped({ op: 'permute', of: source(role), axes: [1, 2, 0] }, [heads * size, width]);
}

export function flatBias(layer: TwinSource, role: string): Expr {
  const shape = shapeOf(layer, role);
  return shape.length === 1 ? source(role) : reshaped(source(role), [shape.reduce((total, size) => total * size, 1)]);
}

/** (heads, size, outputs…) as the rows of a Linear: (outputs, heads · size). */
export function outputRows(layer: TwinSource): Expr {
  const [heads = 0, size = 0, ...out] = shapeOf(layer, 'output_kernel');
  const width = out.reduce((total, axis) => total * axis, 1);
  return transposed(reshaped(source('output_kernel'), [heads * size, width]));
}

/** Linear sub-modules query_proj, key_proj, value_proj, gate_proj, output_proj below a custom module. */
export function projectionTwin(layer: TwinSource, type: string, args: NormAttrs): Twin {
  const names = ['query', 'key', 'gate', 'value', 'output'].filter(
    (name) => weightOf(layer, `${name}_kernel`) !== undefined,
  );
  const modules = [customModule(type, args)];
  const tensors: TwinTensor[] = [];
  for (const name of names) {
    const rows = name === 'output' ? outputRows(layer) : projectionRows(layer, `${name}_kernel`);
    const weight = twinTensor(layer, `${name}_proj.weight`, rows);
    const hasBias = weightOf(layer, `${name}_bias`) !== undefined;
    modules.push(
      twinModule(
        'Linear',
        {
          in_features: weight.shape[1] ?? null,
          out_features: weight.shape[0] ?? null,
          ...(hasBias ? {} : { bias: false }),
        },
        `${name}_proj`,
      ),
    );
    tensors.push(weight);
    if (hasBias) tensors.push(twinTensor(layer, `${name}_proj.bias`, flatBias(layer, `${name}_bias`)));
  }
  return twin(modules, tensors);
}

function toTorch(layer: TwinSource): Twin {
  const { norm } = layer;
  const absent = missing(layer, 'query_kernel', 'key_kernel', 'value_kernel', 'output_kernel');
  if (absent !== undefined) return absent;
  const biases = ['query_bias', 'key_bias', 'value_bias', 'output_bias'];
  if (biases.some((role) => weightOf(layer, role) !== undefined)) {
    const lacking = missing(layer, ...biases);
    if (lacking !== undefined) return lacking;
  }
  const [width = 0, heads = 0, keyDim = 0] = shapeOf(layer, 'query_kernel');
  const valueDim = shapeOf(layer, 'value_kernel')[2] ?? 0;
  const keyWidth = shapeOf(layer, 'key_kernel')[0] ?? 0;
  const valueWidth = shapeOf(layer, 'value_kernel')[0] ?? 0;
  const out = shapeOf(layer, 'output_kernel').slice(2);
  const rank = layer.inputs?.[0]?.length;
  const axes = normNumbers(norm, 'attentionAxes');
  const isPlain =
    heads * keyDim === width &&
    valueDim === keyDim &&
    out.length === 1 &&
    out[0] === width &&
    weightOf(layer, 'gate_kernel') === undefined &&
    norm['slidingWindow'] === null &&
    (rank === undefined ? axes === null || (axes.length === 1 && axes[0] === 1) : rank === 3);
  if (!isPlain) {
    return projectionTwin(layer, 'KerasMultiHeadAttention', {
      num_heads: heads,
      key_dim: keyDim,
      value_dim: valueDim,
      ...(out.length === 1 ? {} : { output_shape: out }),
      ...(axes === null ? {} : { attention_axes: axes }),
      ...(norm['slidingWindow'] === null ? {} : { sliding_window: norm['slidingWindow'] ?? null }),
      ...dropoutArg(norm),
    });
  }
  const same = keyWidth === width && valueWidth === width;
  const rows = ['query', 'key', 'value'].map((name) => projectionRows(layer, `${name}_kernel`));
  const hasBias = weightOf(layer, 'query_bias') !== undefined;
  return twin(
    [
      twinModule('MultiheadAttention', {
        embed_dim: width,
        num_heads: heads,
        ...dropoutArg(norm),
        ...(hasBias ? {} : { bias: false }),
        ...(same ? {} : { kdim: keyWidth, vdim: valueWidth }),
        batch_first: true,
      }),
    ],
    [
      ...(same
        ? [twinTensor(layer, 'in_proj_weight', joined(rows, 0))]
        : ['q', 'k', 'v'].map((letter, index) =>
            twinTensor(layer, `${letter}_proj_weight`, rows[index] ?? joined([], 0)),
          )),
      ...(hasBias
        ? [
            twinTensor(
              layer,
              'in_proj_bias',
              joined(
                ['query', 'key', 'value'].map((name) => flatBias(layer, `${name}_bias`)),
                0,
              ),
            ),
          ]
        : []),
      twinTensor(layer, 'out_proj.weight', outputRows(layer)),
      ...(hasBias ? [twinTensor(layer, 'out_proj.bias', source('output_bias'))] : []),
    ],
    rank === undefined ? [assumed(layer, 'input rank', 3)] : [],
  );
}

function dropoutArg(norm: NormAttrs): NormAttrs {
  const dropout = normNumber(norm, 'dropout') ?? 0;
  return dropout === 0 ? {} : { dropout };
}

function toKeras(layer: TwinSource): Twin {
  const { norm } = layer;
  const heads = normNumber(norm, 'heads');
  if (heads === null) return { refused: 'the number of heads is not in the file' };
  if (weightOf(layer, 'bias_k') !== undefined || norm['addZeroAttention'] === true) {
    return { refused: 'bias_k, bias_v or add_zero_attn have no counterpart in Keras' };
  }
  const stacked = weightOf(layer, 'in_proj_weight') !== undefined;
  const outRole = weightOf(layer, 'out_proj.weight') === undefined ? 'weight' : 'out_proj.weight';
  const outBias = outRole === 'weight' ? 'bias' : 'out_proj.bias';
  if (!stacked) {
    const absent = missing(layer, 'q_proj_weight', 'k_proj_weight', 'v_proj_weight');
    if (absent !== undefined) return absent;
  }
  const absent = missing(layer, outRole);
  if (absent !== undefined) return absent;
  const width = shapeOf(layer, outRole)[0] ?? 0;
  const size = width / heads;
  if (!Number.isInteger(size)) return { refused: `${width} features do not divide into ${heads} heads` };
  const rows = (index: number, letter: string): Expr =>
    stacked ? sliced(source('in_proj_weight'), 0, index * width, (index + 1) * width) : source(`${letter}_proj_weight`);
  const inputs = (letter: string) => (stacked ? width : (shapeOf(layer, `${letter}_proj_weight`)[1] ?? 0));
  const hasBias = weightOf(layer, 'in_proj_bias') !== undefined;
  const lacking = hasBias ? missing(layer, outBias) : undefined;
  if (lacking !== undefined) return lacking;
  if (
    (stacked && shapeOf(layer, 'in_proj_weight')[0] !== 3 * width) ||
    (hasBias && shapeOf(layer, 'in_proj_bias')[0] !== 3 * width)
  ) {
    return { refused: 'in_proj and out_proj do not fit each other' };
  }
  const tensors: TwinTensor[] = [];
  for (const [index, [letter, name]] of (
    [
      ['q', 'query'],
      ['k', 'key'],
      ['v', 'value'],
    ] as const
  ).entries()) {
    tensors.push(
      twinTensor(layer, `${name}/kernel`, {
        op: 'permute',
        of: reshaped(rows(index, letter), [heads, size, inputs(letter)]),
        axes: [2, 0, 1],
      }),
    );
    if (hasBias) {
      const bias = sliced(source('in_proj_bias'), 0, index * width, (index + 1) * width);
      tensors.push(twinTensor(layer, `${name}/bias`, reshaped(bias, [heads, size])));
    }
  }
  tensors.push(
    twinTensor(layer, 'attention_output/kernel', reshaped(transposed(source(outRole)), [heads, size, width])),
  );
  if (hasBias) tensors.push(twinTensor(layer, 'attention_output/bias', source(outBias)));
  return twin(
    [
      twinModule('MultiHeadAttention', {
        num_heads: heads,
        key_dim: size,
        value_dim: size,
        use_bias: hasBias,
        dropout: normNumber(norm, 'dropout') ?? 0,
      }),
    ],
    tensors,
    norm['batchFirst'] === true ? [] : [assumed(layer, 'batch_first', true)],
  );
}

export const attention: Family = {
  kind: 'attention',
  types: { keras: ['MultiHeadAttention'], torch: ['MultiheadAttention'] },
  normalise,
  variables,
  outputs,
  macs,
  toTorch,
  toKeras,
};
