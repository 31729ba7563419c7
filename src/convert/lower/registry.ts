import type { Kind } from '../../ir/kind.ts';
import type { Layer } from '../../ir/model.ts';
import { normNumber, normNumbers } from '../../layers/attribute.ts';
import { dataFormatOf } from '../../layers/window.ts';
import { emitActivation } from './activation.ts';
import { emitDotAttention, emitMultiHead } from './attention.ts';
import type { Emitter } from './context.ts';
import { emitAdaptivePool, emitConvolution, emitGlobalPool, emitPool } from './convolution.ts';
import { emitDense, emitEinsumDense, emitEmbedding, emitReversibleEmbedding } from './dense.ts';
import { emitConcatenate, emitDot, emitElementwise } from './merge.ts';
import { emitBatchNorm, emitGroupNorm, emitTrailingNorm } from './norm.ts';
import { emitOperation } from './operation.ts';
import { emitBidirectional, emitConvLstm, emitRecurrent, emitRnnContainer } from './recurrent.ts';
import { emitFlatten, emitPassing, emitPermute, emitRepeat, emitReshape, emitZeroPad } from './shape.ts';
import {
  emitConvTranspose,
  emitCropping,
  emitDropout,
  emitLayerScale,
  emitLocal,
  emitMasking,
  emitNormalization,
  emitOwn,
  emitPrelu,
  emitRescaling,
  emitResize,
  emitSpectralNorm,
  emitTimeDistributed,
  emitUnitNorm,
  emitUpsample,
} from './special.ts';

/** How each kind is written, one line each. */
const EMITTERS: ReadonlyMap<Kind, Emitter> = new Map<Kind, Emitter>([
  ['activation', emitActivation],
  ['softmax', emitActivation],
  ['adaptive_pool', emitAdaptivePool],
  ['add', emitElementwise],
  ['subtract', emitElementwise],
  ['multiply', emitElementwise],
  ['average', emitElementwise],
  ['maximum', emitElementwise],
  ['minimum', emitElementwise],
  ['concatenate', emitConcatenate],
  ['dot', emitDot],
  ['conv', emitConvolution],
  ['depthwise_conv', emitConvolution],
  ['separable_conv', emitConvolution],
  ['max_pool', emitPool],
  ['avg_pool', emitPool],
  ['global_avg_pool', emitGlobalPool],
  ['global_max_pool', emitGlobalPool],
  ['dense', emitDense],
  ['einsum_dense', emitEinsumDense],
  ['embedding', emitEmbedding],
  ['batch_norm', emitBatchNorm],
  ['layer_norm', emitTrailingNorm],
  ['rms_norm', emitTrailingNorm],
  ['group_norm', emitGroupNorm],
  ['instance_norm', emitGroupNorm],
  ['flatten', emitFlatten],
  ['reshape', emitReshape],
  ['permute', emitPermute],
  ['repeat', emitRepeat],
  ['zero_pad', emitZeroPad],
  ['crop', emitCropping],
  ['rescaling', emitRescaling],
  ['dropout', emitDropout],
  ['noise', emitPassing],
  ['masking', emitMasking],
  ['identity', emitPassing],
  ['additive_attention', emitDotAttention],
  ['attention', emitMultiHead],
  ['bidirectional', emitBidirectional],
  ['conv_lstm', emitConvLstm],
  ['conv_transpose', emitConvTranspose],
  ['dot_attention', emitDotAttention],
  ['grouped_attention', emitMultiHead],
  ['gru', emitRecurrent],
  ['layer_scale', emitLayerScale],
  ['locally_connected', emitLocal],
  ['lstm', emitRecurrent],
  ['normalization', emitNormalization],
  ['operation', emitOperation],
  ['prelu', emitPrelu],
  ['preprocessing', emitOwn],
  ['random', emitPassing],
  ['resize', emitResize],
  ['reversible_embedding', emitReversibleEmbedding],
  ['rnn', emitRecurrent],
  ['rnn_container', emitRnnContainer],
  ['spectral_norm', emitSpectralNorm],
  ['time_distributed', emitTimeDistributed],
  ['unit_norm', emitUnitNorm],
  ['upsample', emitUpsample],
]);

export function emitterOf(kind: Kind): Emitter | undefined {
  return EMITTERS.get(kind);
}

/** What a layer wants of its input's layout: a channel axis first, Keras' order, whatever comes, or nothing to go by. */
export type LayoutWish = 'any' | 'keras' | 'none' | { readonly channel: number };

const SLIDING: ReadonlySet<Kind> = new Set<Kind>([
  'conv',
  'conv_transpose',
  'depthwise_conv',
  'separable_conv',
  'locally_connected',
  'max_pool',
  'avg_pool',
  'adaptive_pool',
  'global_avg_pool',
  'global_max_pool',
  'zero_pad',
  'crop',
  'upsample',
  'resize',
]);

const ANY: ReadonlySet<Kind> = new Set<Kind>([
  'activation',
  'softmax',
  'add',
  'subtract',
  'multiply',
  'average',
  'maximum',
  'minimum',
  'concatenate',
  'dropout',
  'noise',
  'identity',
  'rescaling',
  'normalization',
  'prelu',
  'random',
  'operation',
  'layer_scale',
]);

export function layoutWish(layer: Layer): LayoutWish {
  if (SLIDING.has(layer.kind)) {
    const rank = normNumber(layer.norm, 'rank');
    if (dataFormatOf(layer.norm) === 'channels_first') return rank === null ? 'keras' : { channel: 1 };
    return { channel: -1 };
  }
  if (layer.kind === 'batch_norm') {
    const axis = normNumbers(layer.norm, 'axis')?.[0];
    return axis === undefined ? 'any' : { channel: axis };
  }
  if (layer.kind === 'flatten' || layer.kind === 'reshape' || layer.kind === 'input') return 'none';
  return ANY.has(layer.kind) ? 'any' : 'keras';
}
