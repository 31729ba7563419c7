import type { GlobalRole } from '../formats/torch/globals.ts';
import type { Level } from './finding.ts';

/**
 * What an import means. A deny list alone always has a hole, so that it only decides between
 * 'suspicious' and 'dangerous': a name is safe by the allow list (formats/torch/globals.ts) and by nothing else.
 */

function words(text: string): ReadonlySet<string> {
  return new Set(text.trim().split(/\s+/));
}

/** Packages that are dangerous with everything below them. */
const PACKAGES: ReadonlySet<string> = words(`
  runpy code codeop marshal timeit profile cProfile trace pdb bdb doctest unittest test idlelib lib2to3
  os posix nt posixpath ntpath subprocess pty commands popen2 sys signal multiprocessing posixsubprocess uuid
  osx_support aix_support pyrepl platform pydoc pydoc_data mailcap pipes winapi winreg msvcrt fcntl
  site sitecustomize usercustomize atexit faulthandler
  importlib imp pkgutil zipimport modulefinder inspect gc interpreters xxsubinterpreters frozen_importlib
  frozen_importlib_external
  shutil tempfile glob fileinput linecache mmap sqlite3 tarfile zipfile shelve distutils py_compile compileall zipapp
  dbm anydbm dumbdbm dbhash gdbm whichdb
  socket ssl http httplib urllib urllib2 urllib3 requests httpx aiohttp asyncio ftplib smtplib smtpd telnetlib
  cookielib xmlrpc xmlrpclib socketserver SocketServer BaseHTTPServer SimpleHTTPServer CGIHTTPServer DocXMLRPCServer
  SimpleXMLRPCServer webbrowser antigravity wsgiref poplib nntplib imaplib asyncore asynchat paramiko
  ctypes cffi pip ensurepip venv virtualenv setuptools pkg_resources
  pickle cPickle dill cloudpickle joblib jsonpickle
  fickling picklescan modelscan modelaudit
  turtledemo IPython
`);

/** Modules deeper in a package that are dangerous with everything below them. */
const MODULES: readonly string[] = [
  'logging.config',
  'logging.handlers',
  'torch.hub',
  'torch.jit',
  'torch._dynamo',
  'torch._inductor',
  'torch.fx.experimental',
  'torch.utils.bottleneck',
  'torch.utils.collect_env',
  'torch.utils.cpp_extension',
  'torch.utils._config_module',
  'torch.utils.data.datapipes.utils.decoder',
  'torch.utils.model_zoo',
  'torch.distributed.rpc',
  'torch.distributed.run',
  'torch.distributed.launch',
  'torch.distributed.elastic',
  'torch.multiprocessing',
  'torch.package',
  'torch.testing._internal',
  'numpy.f2py',
  'numpy.distutils',
  'numpy.testing',
  'numpy.ctypeslib',
  'mlflow.projects',
  'mlflow.pyfunc',
  'mlflow.utils.process',
  'keras.saving',
  'keras.utils',
  'keras.config',
  'keras.src.saving',
  'keras.src.utils',
  'keras.src.config',
  'keras.engine.saving',
  'tensorflow.io',
  'tensorflow.saved_model',
  'tensorflow.raw_ops',
  'tensorflow.keras.utils',
  'tensorflow.python.saved_model',
  'tensorflow.python.ops.io_ops',
  'tensorflow.python.ops.gen_io_ops',
  'tensorflow.python.ops.script_ops',
  'tensorflow.python.framework.load_library',
  'tensorflow.python.lib.io',
  'tensorflow.python.platform.gfile',
  'transformers.dynamic_module_utils',
];

/** NumPy's readers and writers of files, some of which unpickle; they stand in several of its modules. */
const NUMPY_FILES: ReadonlySet<string> = words(
  'load save fromfile memmap genfromtxt loadtxt savetxt savez savez_compressed recfromtxt recfromcsv fromregex DataSource',
);

const NAMES: ReadonlyMap<string, ReadonlySet<string>> = new Map([
  [
    'builtins',
    words(
      'eval exec compile execfile apply open file input raw_input breakpoint getattr setattr delattr globals locals vars reload',
    ),
  ],
  [
    'types',
    words(
      'CodeType FunctionType LambdaType SimpleNamespace MethodType ModuleType BuiltinFunctionType BuiltinMethodType new_class prepare_class resolve_bases DynamicClassAttribute FrameType CellType coroutine',
    ),
  ],
  ['dataclasses', words('_create_fn make_dataclass _process_class _FuncBuilder')],
  ['typing', words('get_type_hints _eval_type ForwardRef')],
  ['collections', words('namedtuple _sys _itemgetter')],
  ['operator', words('attrgetter itemgetter methodcaller call')],
  ['functools', words('partial partialmethod reduce singledispatch')],
  ['io', words('open FileIO open_code OpenWrapper')],
  ['pyio', words('open FileIO open_code OpenWrapper')],
  ['thread', words('start_new_thread start_new start_joinable_thread')],
  ['threading', words('_start_new_thread _start_joinable_thread')],
  ['codecs', words('open register EncodedFile')],
  ['bz2', words('open BZ2File')],
  ['gzip', words('open GzipFile')],
  ['lzma', words('open LZMAFile')],
  ['pandas', words('read_pickle eval read_hdf read_csv read_sql')],
  ['pandas.io.pickle', words('read_pickle')],
  ['pandas.core.computation.eval', words('eval')],
  ['numpy', NUMPY_FILES],
  ['numpy.lib', NUMPY_FILES],
  ['numpy.lib.npyio', NUMPY_FILES],
  ['numpy.lib._npyio_impl', NUMPY_FILES],
  ['numpy.lib.format', words('read_array open_memmap write_array')],
  ['numpy.lib._format_impl', words('read_array open_memmap write_array')],
  ['numpy.lib._datasource', words('open DataSource Repository')],
  ['numpy.core.multiarray', NUMPY_FILES],
  ['numpy._core.multiarray', NUMPY_FILES],
  ['numpy.core.memmap', NUMPY_FILES],
  ['numpy._core.memmap', NUMPY_FILES],
  ['numpy.core.records', NUMPY_FILES],
  ['numpy._core.records', NUMPY_FILES],
  ['numpy.rec', NUMPY_FILES],
  ['torch', words('load save compile from_file')],
  ['torch.serialization', words('load save _load _legacy_load _open_file _open_file_like add_safe_globals')],
  ['torch.storage', words('_load_from_bytes')],
  ['copyreg', words('add_extension pickle dispatch_table _extension_registry __newobj__ __newobj_ex__')],
  ['weakref', words('finalize')],
  ['sympy', words('sympify parse_expr lambdify')],
  ['huggingface_hub', words('hf_hub_download snapshot_download')],
]);

/**
 * Classes inside a dangerous package that hold data: they occur in honest files and do nothing when they are made. They
 * stay off the allow list, so they are suspicious.
 */
const DATA_CLASSES: ReadonlySet<string> = new Set([
  'joblib.numpy_pickle.NumpyArrayWrapper',
  'joblib.numpy_pickle.NDArrayWrapper',
  'joblib.numpy_pickle_compat.NDArrayWrapper',
  'joblib.numpy_pickle_compat.ZNDArrayWrapper',
  'uuid.UUID',
  'uuid.SafeUUID',
  // The bounds of a jagged tensor's dimension.
  'torch._dynamo.decorators._DimRange',
]);

const PATH_CLASSES: ReadonlySet<string> = words('Path PosixPath WindowsPath PurePath PurePosixPath PureWindowsPath');

function isBelow(full: string, package_: string): boolean {
  return full === package_ || full.startsWith(`${package_}.`);
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
  if (MODULES.some((dangerous) => isBelow(full, dangerous))) return true;
  const listed = NAMES.get(plainModule) ?? NAMES.get(bare(plainModule));
  const parts = name.split('.');
  if (parts.some((part) => listed?.has(part) === true)) return true;
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
    MODULES.some((dangerous) => isBelow(module, dangerous))
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
