import type { JsonObject } from '../ir/json.ts';
import type { Kind } from '../ir/kind.ts';
import type { Dialect, NormAttrs } from '../ir/model.ts';
import { activation, softmax } from './activation.ts';
import { attention } from './attention.ts';
import { batchNorm } from './batch-norm.ts';
import { bidirectional } from './bidirectional.ts';
import { conv } from './conv.ts';
import { convLstm } from './conv-lstm.ts';
import { convTranspose } from './conv-transpose.ts';
import { dense, einsumDense } from './dense.ts';
import { depthwiseConv, separableConv } from './depthwise.ts';
import { additiveAttention, dotAttention } from './dot-attention.ts';
import { embedding, reversibleEmbedding } from './embedding.ts';
import type { BoundLayer, Family, Twin, TwinSource } from './family.ts';
import { groupNorm, instanceNorm } from './group-norm.ts';
import { groupedAttention } from './grouped-attention.ts';
import { lambda } from './lambda.ts';
import { layerNorm } from './layer-norm.ts';
import { layerScale } from './layer-scale.ts';
import { locallyConnected } from './locally.ts';
import { add, average, concatenate, dot, maximum, minimum, multiply, subtract } from './merge.ts';
import { normalization } from './normalization.ts';
import { operation } from './operation.ts';
import { dropout, identity, masking, noise } from './plain.ts';
import { adaptivePool, avgPool, globalAvgPool, globalMaxPool, maxPool } from './pool.ts';
import { prelu } from './prelu.ts';
import { preprocessing, random } from './preprocessing.ts';
import { gru, lstm, rnn } from './recurrent.ts';
import { rescaling } from './rescaling.ts';
import { rmsNorm } from './rms-norm.ts';
import { flatten, input, permute, repeat, reshape } from './shape.ts';
import { crop, resize, upsample, zeroPad } from './spatial.ts';
import { spectralNorm } from './spectral-norm.ts';
import { timeDistributed } from './time-distributed.ts';
import { unitNorm } from './unit-norm.ts';
import { rnnContainer, stackedCells, wrapper } from './wrappers.ts';

/** Every layer family, one line each. Two families that claim one kind, or one type in one dialect, are refused. */
const FAMILIES: readonly Family[] = [
  activation,
  adaptivePool,
  add,
  additiveAttention,
  attention,
  average,
  avgPool,
  batchNorm,
  bidirectional,
  concatenate,
  conv,
  convLstm,
  convTranspose,
  crop,
  dense,
  depthwiseConv,
  dot,
  dotAttention,
  dropout,
  einsumDense,
  embedding,
  flatten,
  globalAvgPool,
  globalMaxPool,
  groupedAttention,
  groupNorm,
  gru,
  identity,
  input,
  instanceNorm,
  lambda,
  layerNorm,
  layerScale,
  locallyConnected,
  lstm,
  masking,
  maximum,
  maxPool,
  minimum,
  multiply,
  noise,
  normalization,
  operation,
  permute,
  prelu,
  preprocessing,
  random,
  repeat,
  rescaling,
  reshape,
  resize,
  reversibleEmbedding,
  rmsNorm,
  rnn,
  rnnContainer,
  separableConv,
  softmax,
  spectralNorm,
  stackedCells,
  subtract,
  timeDistributed,
  unitNorm,
  upsample,
  wrapper,
  zeroPad,
];

const byKind = new Map<Kind, Family>();
const byType = new Map<string, Family>();

for (const family of FAMILIES) {
  if (byKind.has(family.kind)) throw new RangeError(`two families claim the kind ${family.kind}`);
  byKind.set(family.kind, family);
  for (const [dialect, types] of Object.entries(family.types)) {
    for (const type of types) {
      const key = `${dialect}:${type}`;
      if (byType.has(key)) throw new RangeError(`two families claim ${key}`);
      byType.set(key, family);
    }
  }
}

export function families(): readonly Family[] {
  return FAMILIES;
}

export function familyOfKind(kind: Kind): Family | undefined {
  return byKind.get(kind);
}

/**
 * The family of a class name of a dialect ('Conv2D' of keras), or undefined for a class we do not know.
 * Keras 1's Merge is told apart by the `mode` among its attributes.
 */
export function familyOfType(dialect: Dialect, type: string, attrs?: JsonObject): Family | undefined {
  if (dialect === 'keras' && type === 'Merge') return byType.get(`keras:Merge:${attrs?.get('mode') ?? 'sum'}`);
  return byType.get(`${dialect}:${type}`);
}

/**
 * A layer whose outputs and MACs can be asked for: its family, attributes and children in one value.
 * A kind without a family answers null.
 */
export function bindLayer(layer: {
  readonly path: string;
  readonly kind: Kind;
  readonly type: string;
  readonly norm: NormAttrs;
  readonly children: readonly BoundLayer[];
}): BoundLayer {
  const family = byKind.get(layer.kind);
  const { path, kind, type, norm, children } = layer;
  return {
    path,
    kind,
    type,
    norm,
    children,
    outputs: (inputs, call) => family?.outputs(norm, inputs, call, children) ?? null,
    macs: (inputs, outputs) =>
      family === undefined ? null : family.macs === undefined ? 0 : family.macs(norm, inputs, outputs, children),
  };
}

/** The PyTorch twin of a Keras layer; refused when its kind has none. */
export function twinOf(layer: TwinSource): Twin {
  const family = byKind.get(layer.kind);
  if (family?.toTorch === undefined) return { refused: `${layer.type || layer.kind} has no counterpart in PyTorch` };
  return family.toTorch(layer, twinOf);
}
