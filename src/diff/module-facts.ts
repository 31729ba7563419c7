import { isList, isObject, type Json, type JsonObject } from '../ir/json.ts';
import type { Kind } from '../ir/kind.ts';
import { shortest } from '../layers/decimal.ts';
import type { Family } from '../layers/family.ts';
import { Asked, digest, LISTED } from './config-facts.ts';
import { formatFact } from './fact.ts';

/** The modules of torch.nn (`torch.nn.modules.__all__` of PyTorch 2.13, without Module itself). */
const TORCH_NN: ReadonlySet<string> = new Set(
  (
    'AdaptiveAvgPool1d AdaptiveAvgPool2d AdaptiveAvgPool3d AdaptiveLogSoftmaxWithLoss AdaptiveMaxPool1d ' +
    'AdaptiveMaxPool2d AdaptiveMaxPool3d AlphaDropout AvgPool1d AvgPool2d AvgPool3d BCELoss BCEWithLogitsLoss ' +
    'BatchNorm1d BatchNorm2d BatchNorm3d Bilinear CELU CTCLoss ChannelShuffle CircularPad1d CircularPad2d ' +
    'CircularPad3d ConstantPad1d ConstantPad2d ConstantPad3d Container Conv1d Conv2d Conv3d ConvTranspose1d ' +
    'ConvTranspose2d ConvTranspose3d CosineEmbeddingLoss CosineSimilarity CrossEntropyLoss CrossMapLRN2d Dropout ' +
    'Dropout1d Dropout2d Dropout3d ELU Embedding EmbeddingBag FeatureAlphaDropout Flatten Fold FractionalMaxPool2d ' +
    'FractionalMaxPool3d GELU GLU GRU GRUCell GaussianNLLLoss GroupNorm Hardshrink Hardsigmoid Hardswish Hardtanh ' +
    'HingeEmbeddingLoss HuberLoss Identity InstanceNorm1d InstanceNorm2d InstanceNorm3d KLDivLoss L1Loss LPPool1d ' +
    'LPPool2d LPPool3d LSTM LSTMCell LayerNorm LazyBatchNorm1d LazyBatchNorm2d LazyBatchNorm3d LazyConv1d ' +
    'LazyConv2d LazyConv3d LazyConvTranspose1d LazyConvTranspose2d LazyConvTranspose3d LazyInstanceNorm1d ' +
    'LazyInstanceNorm2d LazyInstanceNorm3d LazyLinear LeakyReLU Linear LinearCrossEntropyLoss ' +
    'LinearCrossEntropyOptions LocalResponseNorm LogSigmoid LogSoftmax MSELoss MarginRankingLoss MaxPool1d ' +
    'MaxPool2d MaxPool3d MaxUnpool1d MaxUnpool2d MaxUnpool3d Mish ModuleDict ModuleList MultiLabelMarginLoss ' +
    'MultiLabelSoftMarginLoss MultiMarginLoss MultiheadAttention NLLLoss NLLLoss2d PReLU PairwiseDistance ' +
    'ParameterDict ParameterList PixelShuffle PixelUnshuffle PoissonNLLLoss RMSNorm RNN RNNBase RNNCell RNNCellBase ' +
    'RReLU ReLU ReLU6 ReflectionPad1d ReflectionPad2d ReflectionPad3d ReplicationPad1d ReplicationPad2d ' +
    'ReplicationPad3d SELU Sequential SiLU Sigmoid SmoothL1Loss SoftMarginLoss Softmax Softmax2d Softmin Softplus ' +
    'Softshrink Softsign SyncBatchNorm Tanh Tanhshrink Threshold Transformer TransformerDecoder ' +
    'TransformerDecoderLayer TransformerEncoder TransformerEncoderLayer TripletMarginLoss ' +
    'TripletMarginWithDistanceLoss Unflatten Unfold Upsample UpsamplingBilinear2d UpsamplingNearest2d ZeroPad1d ' +
    'ZeroPad2d ZeroPad3d NonDynamicallyQuantizableLinear'
  ).split(' '),
);

/** Whether a class is one of torch.nn's own, whose attributes mean what its documentation says. */
export function isTorchNn(type: string): boolean {
  return TORCH_NN.has(type);
}

/** What torch.nn.Module itself keeps in every object. The training flag has a place of its own. */
const EVERY_MODULE: ReadonlySet<string> = new Set([
  ...['training', 'dump_patches', 'call_super_init'],
  // Left behind by torch.jit.script.
  '__overloads__',
]);

/** What modules of torch.nn keep besides their settings: sizes that the tensors tell, and leftovers of old releases. */
const TORCH_NN_BOOKKEEPING: ReadonlySet<string> = new Set([
  ...['inplace', 'device', 'dtype', 'activation_relu_or_gelu'],
  ...['in_features', 'out_features', 'in1_features', 'in2_features', 'in_channels', 'out_channels', 'num_features'],
  ...['num_embeddings', 'embedding_dim', 'embed_dim', 'kdim', 'vdim', 'head_dim', 'normalized_shape', 'transposed'],
  ...['input_size', 'hidden_size', 'num_chunks', 'mode', 'bias', 'sparse', 'name', 'scale_grad_by_freq'],
]);

/** Containers have no settings of their own: whatever stands there, someone put there. */
const CONTAINERS: ReadonlySet<string> = new Set(['Container', 'ModuleDict', 'ModuleList', 'Sequential']);

/** Where a module lay when it was saved: PyTorch moves it wherever it is loaded to. */
const DEVICE = /^(?:cpu|cuda|mps|xpu|meta|hpu|xla)(?::\d+)?$/;

function plain(value: Json): Json {
  if (typeof value === 'number') return shortest(value);
  if (isList(value)) return value.map(plain);
  return isObject(value) ? new Map([...value].map(([key, inner]) => [key, plain(inner)])) : value;
}

/**
 * What the attributes of a PyTorch module say beyond the neutral ones, in the file's words. Of a class of torch.nn what
 * follows from the tensors is left out; of any other class nothing is, since only its own code knows what it means.
 * None, 0, False and '' are different values.
 */
export function moduleFacts(
  family: Family,
  kind: Kind,
  type: string,
  attrs: JsonObject,
  version: string,
  backend: string,
): JsonObject {
  const facts = new Map<string, Json>();
  if (attrs.size === 0) return facts;
  const watched = new Asked(attrs);
  family.normalise(type, watched, 'torch', version, backend);
  // Of a class that no family knows, such as EmbeddingBag, `mode` and `sparse` are all there is to know.
  const isKnown = isTorchNn(type) && !CONTAINERS.has(type) && kind !== 'unknown' && kind !== 'wrapper';
  const bookkeeping = isKnown ? TORCH_NN_BOOKKEEPING : EVERY_MODULE;
  for (const [key, value] of attrs) {
    if (EVERY_MODULE.has(key) || bookkeeping.has(key) || watched.asked.has(key)) continue;
    if (key === 'device' && typeof value === 'string' && DEVICE.test(value)) continue;
    const fact = plain(value);
    const isLong = isList(fact) && fact.length > LISTED;
    facts.set(key, isLong ? `${fact.length} entries, ${digest(formatFact(fact))}` : fact);
  }
  return facts;
}

/** Kinds whose modules compute something else while they are trained. */
const TRAINED: ReadonlySet<Kind> = new Set(['batch_norm', 'dropout', 'noise']);

/**
 * The training flag, where it bears on what is computed: `training` of Dropout and BatchNorm and what drops or
 * normalises as they do, `trainingFlag` of classes whose code the file does not hold. Source: the uses of
 * `self.training` in torch/nn/modules of PyTorch 2.13.
 */
export function trainingFacts(
  kind: Kind,
  type: string,
  attrs: JsonObject,
  details: JsonObject | undefined,
): JsonObject | undefined {
  const flag = attrs.get('training');
  if (typeof flag !== 'boolean') return undefined;
  const dropout = attrs.get('dropout');
  const matters =
    TRAINED.has(kind) ||
    type === 'RReLU' ||
    (kind === 'instance_norm' && attrs.get('track_running_stats') === true) ||
    (isTorchNn(type) && typeof dropout === 'number' && dropout > 0);
  if (matters) return new Map([['training', flag]]);
  // A hook is given the module, as that of spectral_norm reads its flag.
  const hooked = [...(details?.keys() ?? [])].some((name) => name.startsWith('forward '));
  return isTorchNn(type) && !hooked ? undefined : new Map([['trainingFlag', flag]]);
}

/** What stands for nothing in torch.nn: a setting that a release before does not have yet. */
export function isNothing(value: Json | undefined): boolean {
  if (value === undefined || value === null || value === false || value === 0 || value === '') return true;
  return isList(value) ? value.length === 0 : isObject(value) && value.size === 0;
}

/** The same class under the paths of several releases: torch.ao.nn was torch.nn, and modules moved between files. */
function classPath(type: string): string {
  return type.replace(/^torch\.ao\.nn\./, 'torch.nn.').replace(/^(torch\.nn\..*?)\.?modules\.[a-z_0-9]+\./, '$1.');
}

/** Whether two classes of PyTorch are one; `loosely`: one form of a file leaves out the module. */
export function sameModuleClass(a: string, b: string, loosely: boolean): boolean {
  if (a === '' || b === '' || a === b || classPath(a) === classPath(b)) return true;
  // Before PyTorch 1.5 tracing knew no classes.
  if (a === 'Module' || b === 'Module') return true;
  const last = (type: string): string => type.slice(type.lastIndexOf('.') + 1);
  return loosely && last(a) === last(b);
}
