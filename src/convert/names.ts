/**
 * Names for PyTorch: module paths and Python identifiers from a safe alphabet, so that no name of a file can end a
 * string or start a statement, and no attribute hides one of nn.Module's own.
 */

const PYTHON_KEYWORDS = new Set(
  (
    'False None True and as assert async await break class continue def del elif else except finally for from global ' +
    'if import in is lambda nonlocal not or pass raise return try while with yield match case type'
  ).split(' '),
);

/** Attributes and methods of nn.Module (torch 2.13) that a submodule must not hide, and names the module uses itself. */
const MODULE_ATTRIBUTES = new Set(
  (
    'T_destination add_module apply bfloat16 buffers call_super_init children compile cpu cuda double dump_patches eval ' +
    'extra_repr float forward get_buffer get_extra_state get_parameter get_submodule half ipu load load_state_dict ' +
    'modules mtia named_buffers named_children named_modules named_parameters parameters register_backward_hook ' +
    'register_buffer register_forward_hook register_forward_pre_hook register_full_backward_hook ' +
    'register_full_backward_pre_hook register_load_state_dict_post_hook register_load_state_dict_pre_hook ' +
    'register_module register_parameter register_state_dict_post_hook register_state_dict_pre_hook requires_grad_ ' +
    'set_extra_state set_submodule share_memory state_dict to to_empty train training type xpu zero_grad self torch nn F ' +
    'math'
  ).split(' '),
);

/** Names that generated files define beside the model's own classes; codegen's library has these and no others. */
export const LIBRARY_NAMES: ReadonlySet<string> = new Set(
  (
    'pad_same joint_softmax causal_mask attention_bias masked_product masked_extreme along masked_recurrent one_direction masked_bidirectional ' +
    'ClippedLinear JointSoftmax Exponential Squareplus SparsePlus SparseSigmoid GeneralReLU BatchNormNd ' +
    'DropPath GaussianNoise GaussianDropout AxisLayerNorm VarianceScaling UnitNorm Normalization Rescaling ' +
    'LayerScale ElementPReLU KerasRecurrent KerasRNN KerasLSTM KerasGRU RecurrentChain BidirectionalPair ' +
    'ConvLSTM ConvLSTM1d ConvLSTM2d ConvLSTM3d attention_mask KerasMultiHeadAttention GroupedQueryAttention ' +
    'attend DotAttention AdditiveAttention Discretization EinsumDense Resize LocallyConnected'
  ).split(' '),
);

/** Local names that would hide an import, or that Python's linters take for digits. */
export const RESERVED_LOCALS: readonly string[] = ['self', 'torch', 'nn', 'F', 'math', 'OrderedDict', 'l', 'O', 'I'];

/** A Python identifier close to `name`: other characters become '_', a leading digit gets one in front. */
export function identifierOf(name: string): string {
  let word = name
    .normalize('NFKD')
    .replace(/[^A-Za-z0-9_]+/g, '_')
    .replace(/^_+(?=.)/, '')
    .replace(/_+$/, '');
  if (word === '') word = 'layer';
  if (/^[0-9]/.test(word)) word = `_${word}`;
  if (PYTHON_KEYWORDS.has(word)) word = `${word}_`;
  return word;
}

/** `keras.src.ops.numpy.NotEqual` and `math.reduce_mean` as names of values: not_equal, reduce_mean. */
export function snakeWord(op: string): string {
  const last = op.split('.').at(-1) ?? op;
  return last.replace(/(?<=[a-z0-9])(?=[A-Z])/g, '_').toLowerCase();
}

/** As identifierOf, for an attribute of an nn.Module. */
export function attributeOf(name: string): string {
  const word = identifierOf(name);
  return MODULE_ATTRIBUTES.has(word) ? `${word}_` : word;
}

/** CamelCase class name close to `name`, never a torch.nn name by accident of case. */
export function classNameOf(name: string): string {
  const words = identifierOf(name)
    .split('_')
    .filter((word) => word !== '');
  const joined = words.map((word) => word.charAt(0).toUpperCase() + word.slice(1)).join('');
  if (joined === '') return 'Model';
  if (PYTHON_KEYWORDS.has(joined)) return `${joined}Model`;
  return /^[0-9]/.test(joined) ? `Model${joined}` : joined;
}

/** Gives each wanted name once; a second wish for it gets `_2`, `_3` … */
export class NameSet {
  readonly #taken = new Set<string>();

  constructor(reserved: Iterable<string> = []) {
    for (const name of reserved) this.#taken.add(name);
  }

  take(wanted: string): string {
    let name = wanted;
    for (let count = 2; this.#taken.has(name); count += 1) name = `${wanted}_${count}`;
    this.#taken.add(name);
    return name;
  }
}
