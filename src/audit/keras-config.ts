import { isList, isObject, type Json, type JsonObject, stringAt } from '../ir/json.ts';
import type { AuditRule, Ledger, Level } from './finding.ts';
import { KERAS_CLASSES, KERAS_FUNCTIONS } from './keras-names.ts';
import { isDangerousName } from './names.ts';
import { judgeEncodedPickle } from './nested.ts';

interface Place {
  readonly ledger: Ledger;
  readonly member: string;
}

/** Markers of Keras' own for plain Python values. */
const PLAIN: ReadonlySet<string> = new Set([
  '__tensor__',
  '__keras_tensor__',
  '__numpy__',
  '__bytes__',
  '__ellipsis__',
  '__slice__',
  '__tuple__',
  '__complex__',
  'TensorShape',
  'slice',
  'dict',
  'tuple',
  'list',
  'OrderedDict',
]);

const VOCABULARY_LAYERS: ReadonlySet<string> = new Set([
  'StringLookup',
  'IntegerLookup',
  'TextVectorization',
  'IndexLookup',
  'HashedCrossing',
  'CategoryEncoding',
]);

/** Layers that run what lies outside of Keras. */
const FOREIGN: ReadonlyMap<string, Level> = new Map<string, Level>([
  ['TFSMLayer', 'dangerous'],
  ['TorchModuleWrapper', 'dangerous'],
  ['JaxLayer', 'suspicious'],
  ['FlaxLayer', 'suspicious'],
  ['ModuleWrapper', 'suspicious'],
]);

/** Keras' modules whose classes a config names; the rest of the package is machinery. */
const CLASS_MODULES =
  /^(?:tf_keras|keras)(?:\.src|\.api|\._tf_keras\.keras)?\.(?:layers|initializers|regularizers|constraints|activations|losses|metrics|optimizers|dtype_policies|quantizers|random|models|engine|mixed_precision|legacy|ops)(?:\.|$)/;

/** keras.utils.FeatureSpace and its parts, where Keras has them: they hold preprocessing layers, which are judged for themselves. */
const FEATURE_SPACE: ReadonlySet<string> = new Set(
  ['keras', 'tf_keras'].flatMap((root) => [
    `${root}.utils.FeatureSpace`,
    ...['utils', 'layers.preprocessing'].flatMap((folder) =>
      ['Cross', 'Feature', 'FeatureSpace'].map((name) => `${root}.src.${folder}.feature_space.${name}`),
    ),
  ]),
);

/** Namespaces of TensorFlow operations that only compute. */
const PURE_OPERATIONS =
  /^(?:tf\.)?(?:math|nn|linalg|signal|__operators__|keras\.backend|image|strings|sets|bitwise|random|convert_to_tensor|cast|concat|expand_dims|squeeze|reshape|reduce_\w+|split|stack|unstack|tile|transpose|shape|size|rank|slice|strided_slice|gather|gather_nd|where|identity|stop_gradient|zeros\w*|ones\w*|fill|range|pad|reverse|repeat|meshgrid|broadcast_to|clip_by_value|norm|one_hot|sequence_mask|boolean_mask|sort|argsort|unique|roll|eye|constant|einsum|tensordot|matmul|add|subtract|multiply|divide|pow|sqrt|square|abs|exp|sigmoid|tanh|maximum|minimum|equal|not_equal|less|less_equal|greater|greater_equal|logical_\w+|argmax|argmin|round|floor|sign|cos|sin|cumsum|space_to_depth|depth_to_space|space_to_batch|batch_to_space|compat\.v1\.(?:image|nn|math|transpose|shape|gather|pad|squeeze|expand_dims)|__getitem__|scatter_nd|tensor_scatter_nd_\w+|RaggedTensor|ragged|searchsorted|function)(?:\.|$)/;
const REACHING_OPERATIONS =
  /^(?:tf\.)?(?:io|raw_ops|saved_model|py_function|numpy_function|load_library|load_op_library|data|summary|train|compat\.v1\.(?:py_func|read_file|load)|keras\.(?:utils|models|saving)|debugging|print|autograph|__internal__|experimental|config|distribute|profiler|test|mlir|xla|lite|tpu|queue|sysconfig|feature_column|audio\.decode|estimator|lookup)(?:\.|$)/;
/** Operations of a serialised graph node that reach files or Python. */
const REACHING_NODES =
  /\b(?:ReadFile|WriteFile|PyFunc|EagerPyFunc|PyFuncStateless|LoadLibrary|MatchingFiles|SaveV2|RestoreV2|WholeFileReader\w*|Print\w*|DebugIdentity\w*)\b/;

/** A code object as marshal writes it (Python 2's 'c' and Python 3's referenced 'c'), in base64. */
const MARSHALLED = /^(?:4w|Yw)[A-Za-z0-9+/]AAA/;

/**
 * Everything in a Keras config that a loader resolves to a class, a function or a file: every object and every list is
 * visited, whatever it is nested in. Nothing is resolved here; names are compared with a closed table.
 */
export function judgeKerasConfig(config: Json, place: Place): void {
  const frames: Frame[] = [];
  const enter = (value: Json, path: string, layer: string): void => {
    if (typeof value === 'string') judgeString(value, path, layer, place);
    else if (isList(value)) frames.push({ path, layer, word: undefined, parts: value.entries() });
    else if (isObject(value) && value.size > 0) {
      frames.push({ path, layer, word: judgeObject(value, path, place), parts: value.entries() });
    }
  };
  enter(config, '', '');
  for (let frame = frames.at(-1); frame !== undefined; frame = frames.at(-1)) {
    const step = frame.parts.next();
    if (step.done === true) {
      frames.pop();
      continue;
    }
    const [key, item] = step.value;
    if (typeof item !== 'object' && typeof item !== 'string') continue;
    // As much of a path as is ever shown: the whole of a deep one would be copied for each finding.
    const path =
      frame.path.length >= PATH ? frame.path : `${frame.path}/${typeof key === 'string' ? key.slice(0, 100) : key}`;
    const layer = typeof key === 'number' || key === 'config' ? frame.layer : '';
    enter(item, path, frame.word ?? layer);
  }
}

const PATH = 300;

/** A container whose parts are being visited: at most as many at a time as JSON may nest. */
interface Frame {
  readonly path: string;
  /** The class that the container belongs to. */
  readonly layer: string;
  /** The class that the container is. */
  readonly word: string | undefined;
  readonly parts: Iterator<readonly [number | string, Json]>;
}

function report(
  place: Place,
  level: Level,
  rule: AuditRule,
  path: string,
  facts: { readonly module?: string; readonly name?: string; readonly detail?: string },
): void {
  const { module, name } = facts;
  if (
    level === 'suspicious' &&
    name !== undefined &&
    place.ledger.isAllowed(`${module ?? ''}.${name}`.replace(/^\./, ''))
  )
    return;
  place.ledger.add({
    level,
    rule,
    member: place.member,
    ...(name === undefined ? {} : { module: module ?? '', name }),
    detail: facts.detail ?? path.slice(0, PATH),
  });
}

function judgeString(text: string, path: string, layer: string, place: Place): void {
  if (text.length >= 16 && MARSHALLED.test(text)) report(place, 'dangerous', 'MARSHALLED_CODE', path, {});
  if (text.length >= 24 && layer !== 'TorchModuleWrapper') judgeEncodedPickle(text, place.ledger, place.member, false);
}

/** Judges one object; gives the class that its parts belong to, undefined when it is none. */
function judgeObject(object: JsonObject, path: string, place: Place): string | undefined {
  for (const key of ['function_type', 'output_shape_type', 'mask_type', 'arguments_type']) {
    if (object.get(key) === 'lambda' || object.get(key) === 'raw') {
      if (object.get(key) === 'lambda')
        report(place, 'dangerous', 'LAMBDA', path, { detail: `${path}/${key}`.slice(0, PATH) });
    }
  }
  if (object.has('__lambda__')) report(place, 'dangerous', 'LAMBDA', path, {});
  const written = stringAt(object, 'class_name');
  if (written === undefined) return undefined;
  // tf.keras registers classes of its own under 'Custom'.
  const word = written.startsWith(CUSTOM) ? written.slice(CUSTOM.length) : written;
  const module = stringAt(object, 'module');
  const registered = stringAt(object, 'registered_name');
  const inner = object.get('config');
  judgeRegistered(written, word === 'function' ? inner : undefined, registered, path, place);
  if (word === '__lambda__' || word === 'Lambda') {
    report(place, 'dangerous', 'LAMBDA', path, {});
    return word;
  }
  if (word === 'function') {
    judgeFunction(typeof inner === 'string' ? inner : '', module, path, place);
    return word;
  }
  const foreign = FOREIGN.get(word);
  if (foreign !== undefined) {
    report(place, foreign, 'FOREIGN_LAYER', path, { ...(module === undefined ? {} : { module }), name: word });
    const payload = stringAt(inner, 'module');
    if (word === 'TorchModuleWrapper' && payload !== undefined)
      judgeEncodedPickle(payload, place.ledger, place.member, true);
    return word;
  }
  if (VOCABULARY_LAYERS.has(word) || VOCABULARY_LAYERS.has(registered?.split('>').at(-1) ?? '')) {
    judgeVocabulary(inner, path, place);
  }
  if (word === 'TFOpLambda' || word === 'SlicingOpLambda') {
    judgeOperation(stringAt(inner, 'function') ?? '', path, place);
    return word;
  }
  if (word === 'TensorFlowOpLayer') {
    const node = isObject(inner) ? inner.get('node_def') : undefined;
    if (typeof node === 'string' && REACHING_NODES.test(node)) {
      report(place, 'dangerous', 'GRAPH_OPERATION', path, { detail: node.slice(0, 200) });
    }
    return word;
  }
  judgeName(written, module, path, place);
  return word;
}

const CUSTOM = 'Custom>';

/**
 * Keras looks for an object of the program under the registered name before it looks at module and class (and in older
 * versions of a function under that name): another name than the class's own is another object.
 */
function judgeRegistered(
  word: string,
  inner: Json | undefined,
  registered: string | undefined,
  path: string,
  place: Place,
): void {
  const isFunction = word === 'function';
  const own = isFunction ? inner : word;
  if (registered === undefined || registered === '' || registered === word || registered === own) return;
  const isKnown = typeof own === 'string' && (isFunction ? KERAS_FUNCTIONS.has(own) : isKerasWord(own));
  // 'my_package>My' is a class My of the program, which is named anyway.
  if (!isKnown && registered.split('>').at(-1) === own) return;
  if (isKnown && registered === CUSTOM + own) return;
  report(place, 'suspicious', 'CUSTOM_OBJECT', path, { name: registered });
}

/** A class by its module, as a loader would look it up. */
function judgeName(word: string, module: string | undefined, path: string, place: Place): void {
  const name = { module: module ?? '', name: word };
  if (module === undefined || module === '' || module === 'builtins') {
    if (word.startsWith(CUSTOM) && KERAS_CLASSES.has(word.slice(CUSTOM.length))) return;
    if (word === '__typespec__') report(place, 'suspicious', 'CUSTOM_OBJECT', path, name);
    else if (PLAIN.has(word)) return;
    else if (module === 'builtins') report(place, 'dangerous', 'DANGEROUS_OBJECT', path, name);
    else if (isDangerousWord(word)) report(place, 'dangerous', 'DANGEROUS_OBJECT', path, name);
    else if (!isKerasWord(word)) report(place, 'suspicious', 'CUSTOM_OBJECT', path, name);
    return;
  }
  const root = module.split('.')[0] ?? '';
  if (root === 'keras' || root === 'tf_keras') {
    if (isDangerousWord(word)) report(place, 'dangerous', 'DANGEROUS_OBJECT', path, name);
    else if (isKerasWord(word) || FEATURE_SPACE.has(`${module}.${word}`)) return;
    // A class of a newer Keras, or one that was never public; a function of the machinery is an attack.
    else if (/^[A-Z]\w*$/.test(word) && (module === 'keras' || CLASS_MODULES.test(module))) {
      report(place, 'suspicious', 'CUSTOM_OBJECT', path, name);
    } else report(place, 'dangerous', 'DANGEROUS_OBJECT', path, name);
    return;
  }
  // numpy and tensorflow values: an array, a dtype, a shape.
  if (PLAIN.has(word) && (root === 'tensorflow' || root === 'numpy')) return;
  if (isDangerousName(module, word) || isDangerousWord(word))
    report(place, 'dangerous', 'DANGEROUS_OBJECT', path, name);
  else report(place, 'suspicious', 'CUSTOM_OBJECT', path, name);
}

function isKerasWord(word: string): boolean {
  return KERAS_CLASSES.has(word) || KERAS_FUNCTIONS.has(word) || PLAIN.has(word);
}

/** Helpers that no model needs, by whatever module they are named. */
function isDangerousWord(word: string): boolean {
  return /(?:^|\.)(?:enable_unsafe_deserialization|disable_safe_mode|get_file|load_model|load_weights|model_from_json|model_from_config|deserialize\w*|func_load|eval|exec|compile|system|popen|__import__|open|import_module)$/.test(
    word,
  );
}

/** `{class_name: 'function', config: name, module}`: a function by its name. */
function judgeFunction(name: string, module: string | undefined, path: string, place: Place): void {
  const facts = { module: module ?? '', name: name === '' ? 'function' : name };
  const isOwn = module === undefined || module === 'builtins' || module === 'keras' || module.startsWith('keras.');
  if (module !== undefined && module !== 'builtins' && !isOwn) {
    const level = isDangerousName(module, name) ? 'dangerous' : 'suspicious';
    report(place, level, level === 'dangerous' ? 'DANGEROUS_OBJECT' : 'CUSTOM_OBJECT', path, facts);
  } else if (
    isDangerousWord(name) ||
    isDangerousName('builtins', name) ||
    isDangerousName(module ?? 'builtins', name)
  ) {
    report(place, 'dangerous', 'DANGEROUS_OBJECT', path, facts);
  } else if (name === 'Lambda' || FOREIGN.has(name)) {
    report(place, 'dangerous', 'FOREIGN_LAYER', path, facts);
  } else if (!KERAS_FUNCTIONS.has(name)) {
    // A class is none: Keras would call it where it calls a function.
    report(place, 'suspicious', 'CUSTOM_OBJECT', path, facts);
  }
}

/** A vocabulary is a list, or nothing when the weights hold it; a text is a path or an address that loading opens. */
function judgeVocabulary(config: Json | undefined, path: string, place: Place): void {
  for (const key of ['vocabulary', 'vocabulary_path', 'vocab_file', 'idf_weights']) {
    const value = stringAt(config, key);
    if (value !== undefined)
      report(place, 'dangerous', 'EXTERNAL_PATH', path, { detail: `${key}: ${value.slice(0, 200)}` });
  }
}

function judgeOperation(name: string, path: string, place: Place): void {
  if (REACHING_OPERATIONS.test(name)) report(place, 'dangerous', 'GRAPH_OPERATION', path, { detail: name });
  else if (name !== '' && !PURE_OPERATIONS.test(name))
    report(place, 'suspicious', 'GRAPH_OPERATION', path, { detail: name });
}

const TEXT_MARKS: readonly (readonly [RegExp, Level, AuditRule])[] = [
  [/"class_name"\s*:\s*"(?:Lambda|__lambda__)"|"__lambda__"/, 'dangerous', 'LAMBDA'],
  [/"function_type"\s*:\s*"lambda"/, 'dangerous', 'LAMBDA'],
  [/"class_name"\s*:\s*"(?:TFSMLayer|TorchModuleWrapper)"/, 'dangerous', 'FOREIGN_LAYER'],
  [
    /enable_unsafe_deserialization|"module"\s*:\s*"(?:os|sys|subprocess|posix|nt|builtins|importlib|pickle|shutil)"/,
    'dangerous',
    'DANGEROUS_OBJECT',
  ],
  [/"(?:4w|Yw)[A-Za-z0-9+/]AAA/, 'dangerous', 'MARSHALLED_CODE'],
];

/** A config that our strict parser refuses and Python's may take: what is plainly in the text is reported all the same. */
export function judgeKerasText(text: string, place: Place): void {
  for (const [pattern, level, rule] of TEXT_MARKS) {
    const found = pattern.exec(text);
    if (found !== null)
      place.ledger.add({ level, rule, member: place.member, offset: found.index, detail: found[0].slice(0, 200) });
  }
}
