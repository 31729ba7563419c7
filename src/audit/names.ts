import type { GlobalRole } from '../formats/torch/globals.ts';
import { FAMILIES, type Family } from './dangerous-names.ts';
import type { Level } from './finding.ts';

/**
 * What an import means. A deny list alone always has a hole, so that it only decides between
 * 'suspicious' and 'dangerous': a name is safe by the allow list (formats/torch/globals.ts) and by nothing else.
 */

function words(text: string): ReadonlySet<string> {
  return new Set(text.trim().split(/\s+/));
}

/** Packages that are dangerous with everything below them. */
const PACKAGES: ReadonlySet<string> = words(FAMILIES.map((family) => family.packages ?? '').join(' '));

/** Modules deeper in a package that are dangerous with everything below them. */
const MODULES: ReadonlySet<string> = words(FAMILIES.map((family) => family.modules ?? '').join(' '));

const NAMES: ReadonlyMap<string, ReadonlySet<string>> = gather(FAMILIES);

function gather(families: readonly Family[]): ReadonlyMap<string, ReadonlySet<string>> {
  const names = new Map<string, Set<string>>();
  for (const family of families) {
    for (const [module, list] of Object.entries(family.names ?? {})) {
      const known = names.get(module) ?? new Set();
      for (const name of words(list)) known.add(name);
      names.set(module, known);
    }
  }
  return names;
}

/**
 * Classes inside a dangerous package that hold data: they occur in honest files and do nothing when they are made. They
 * stay off the allow list, so they are suspicious.
 */
const DATA_CLASSES: ReadonlySet<string> = new Set([
  'joblib.numpy_pickle.NumpyArrayWrapper',
  'joblib.numpy_pickle.NDArrayWrapper',
  'joblib.numpy_pickle_compat.NDArrayWrapper',
  'joblib.numpy_pickle_compat.ZNDArrayWrapper',
  'sklearn.externals.joblib.numpy_pickle.NumpyArrayWrapper',
  'sklearn.externals.joblib.numpy_pickle.NDArrayWrapper',
  'sklearn.externals.joblib.numpy_pickle_compat.NDArrayWrapper',
  'sklearn.externals.joblib.numpy_pickle_compat.ZNDArrayWrapper',
  'uuid.UUID',
  'uuid.SafeUUID',
  // The bounds of a jagged tensor's dimension.
  'torch._dynamo.decorators._DimRange',
]);

const PATH_CLASSES: ReadonlySet<string> = words('Path PosixPath WindowsPath PurePath PurePosixPath PureWindowsPath');

/** Whether a dotted path is one of MODULES, or lies below one. */
function isInModules(full: string): boolean {
  for (let end = full.indexOf('.'); end >= 0; end = full.indexOf('.', end + 1)) {
    if (MODULES.has(full.slice(0, end))) return true;
  }
  return MODULES.has(full);
}

/** 'os' of '_os' and of 'os': private twins of a module are the module. */
function bare(part: string): string {
  const stripped = part.replace(/^_+/, '');
  return stripped === '' ? part : stripped;
}

function isDunder(part: string): boolean {
  return part.length > 4 && part.startsWith('__') && part.endsWith('__');
}

/**
 * Whether a name belongs to a family that runs code, reaches processes, files, the network, or other pickles. A dotted
 * name is split and each part is tested, since a loader walks it attribute by attribute.
 */
export function isDangerousName(module: string, name: string): boolean {
  const full = `${module}.${name}`;
  if (DATA_CLASSES.has(full)) return false;
  const root = module.split('.')[0] ?? '';
  const plainModule = module === '__builtin__' ? 'builtins' : module;
  if (plainModule !== 'builtins' && PACKAGES.has(bare(root))) return true;
  if (isInModules(full) || module.split('.').some((part) => VENDORED.has(part))) return true;
  const listed = NAMES.get(plainModule) ?? NAMES.get(bare(plainModule));
  const parts = name.split('.');
  if (parts.some((part) => listed?.has(part) === true)) return true;
  if (parts.length > 1 && parts.some((part) => LOADERS.has(part))) return true;
  if (plainModule === 'torch._C' && parts.some((part) => TORCH_C.test(part))) return true;
  if (bare(root) === 'logging' && parts.some((part) => /Handler$|^basicConfig$/.test(part))) return true;
  if (bare(root) === 'pathlib') return !(parts.length === 1 && PATH_CLASSES.has(name));
  if (FRAMEWORKS.has(root) && parts.some((part) => FRAMEWORK_HELPER.test(part))) return true;
  // torch.ops and torch.classes load a library into the process.
  if (root === 'torch' && parts.includes('load_library')) return true;
  if (parts.some(isDunder)) return true;
  // A module reached as an attribute of another one: torch.serialization's `os.system`, random's `_os`.
  const reached = parts.length > 1 ? parts : /^_?[a-z]/.test(name) ? [name] : [];
  const builtins = NAMES.get('builtins');
  for (const part of reached) {
    if (PACKAGES.has(bare(part)) && (parts.length > 1 || ALWAYS_MODULES.has(bare(part)))) return true;
    if (parts.length > 1 && builtins?.has(part) === true) return true;
  }
  return false;
}

/** Packages that others carry along under their own roof: sklearn.externals.joblib, gevent.subprocess. */
const VENDORED: ReadonlySet<string> = words('cloudpickle joblib dill loky subprocess ctypes urllib3');

/** Methods that open files or addresses, of whatever class: AutoModel.from_pretrained. */
const LOADERS: ReadonlySet<string> = words(
  'from_pretrained save_pretrained push_to_hub load_from_checkpoint load_state_dict_from_url from_file clone_from',
);

/** Compilers and readers of files among the functions of PyTorch's own library. */
const TORCH_C =
  /^_?(?:jit|import_ir|parse_|create_.*(?:trace|module)|PyTorchFile|Script|FileReader|load_|dynamo|functorch|lazy|compile|cuda_load|dispatch|export|onnx|te$|nnc$|get_file)/;

const FRAMEWORKS: ReadonlySet<string> = words('keras tensorflow tf_keras tf tensorflow_core');
/** Loaders and file helpers of Keras and TensorFlow, in whatever module they stand. */
const FRAMEWORK_HELPER =
  /^(?:load_|deserialize|model_from_|get_file$|enable_unsafe|read_file|write_file|py_func|numpy_function)/;

/** Whether a module has any dangerous name: what a search for imports looks for first. */
export function mayBeDangerous(module: string): boolean {
  const root = module.split('.')[0] ?? '';
  return (
    PACKAGES.has(bare(root)) ||
    ['logging', 'pathlib', 'torch'].includes(bare(root)) ||
    module === '__builtin__' ||
    FRAMEWORKS.has(root) ||
    NAMES.has(bare(module)) ||
    isInModules(module) ||
    module.split('.').some((part) => VENDORED.has(part))
  );
}

/** Words that, as an attribute of any module, can only be the module of that name. */
const ALWAYS_MODULES: ReadonlySet<string> = words(
  'os sys subprocess importlib posix ctypes shutil socket pty marshal runpy builtins',
);

/** null: on the allow list in this spelling. */
export function levelOfImport(
  module: string,
  written: string | undefined,
  name: string,
  role: GlobalRole | null,
): Level | null {
  if (role !== null) return null;
  if (isDangerousName(module, name) || (written !== undefined && isDangerousName(written, name))) return 'dangerous';
  // An attribute of a listed name (OrderedDict.__init__ …) reaches into it.
  if (name.includes('.') && LISTED_MODULES.has(module)) return 'dangerous';
  return 'suspicious';
}

const LISTED_MODULES: ReadonlySet<string> = words(
  'collections torch._utils copyreg _codecs builtins torch.serialization torch.storage torch._tensor',
);

/** Names that unpickle what they are given. */
export function isUnpickler(module: string, name: string): boolean {
  const root = bare(module.split('.')[0] ?? '');
  if (['pickle', 'cPickle', 'dill', 'cloudpickle', 'joblib', 'shelve', 'marshal', 'jsonpickle'].includes(root)) {
    return !DATA_CLASSES.has(`${module}.${name}`);
  }
  return /^(?:load|loads|_load_from_bytes|read_pickle|Unpickler)$/.test(name);
}

/** Libraries whose enums and classes occur in honest checkpoints: looking up one of their attributes is no attack by itself. */
const LIBRARIES: ReadonlySet<string> = words(`
  torch torchvision torchaudio numpy scipy sklearn pandas transformers accelerate ultralytics models lightning
  pytorch_lightning timm datasets tokenizers diffusers peft sentence_transformers setfit omegaconf hydra monai fairseq
  detectron2 mmcv mmengine mmdet keras tensorflow enum collections argparse decimal datetime
`);

export function isKnownLibrary(module: string): boolean {
  return LIBRARIES.has(module.split('.')[0] ?? '');
}
