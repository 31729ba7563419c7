import { isDType } from '../../ir/dtype.ts';

/**
 * What a name on the allow list is good for. A name in another role is a finding, a name off the list is never more than
 * a placeholder.
 */
export type GlobalRole =
  /** Makes a mapping: OrderedDict(), Counter(), defaultdict(factory). */
  | 'mapping'
  /** Named by a storage's persistent id only. */
  | 'storage'
  /** A value by itself: a dtype, a layout, a quantisation scheme. */
  | 'constant'
  /** Makes a small value: Size, device, complex. */
  | 'value'
  /** Makes a tensor from a storage. */
  | 'rebuilder'
  /** Tensor and Parameter: a class that is named or called with a tensor. */
  | 'tensor'
  /** copyreg._reconstructor: makes an instance of the class it is given. */
  | 'reconstructor'
  /** numpy's array, scalar and dtype makers. */
  | 'numpy'
  /** Python's own plain types. */
  | 'builtin'
  /** _codecs.encode: bytes written as text by Python 2 protocols. */
  | 'encode'
  /** torch.jit._pickle's typed lists. */
  | 'script-list';

const STORAGE_DTYPES: ReadonlyMap<string, string> = new Map([
  ['DoubleStorage', 'float64'],
  ['FloatStorage', 'float32'],
  ['HalfStorage', 'float16'],
  ['BFloat16Storage', 'bfloat16'],
  ['LongStorage', 'int64'],
  ['IntStorage', 'int32'],
  ['ShortStorage', 'int16'],
  ['CharStorage', 'int8'],
  ['ByteStorage', 'uint8'],
  ['BoolStorage', 'bool'],
  ['ComplexFloatStorage', 'complex64'],
  ['ComplexDoubleStorage', 'complex128'],
  ['QInt8Storage', 'qint8'],
  ['QUInt8Storage', 'quint8'],
  ['QInt32Storage', 'qint32'],
  ['QUInt4x2Storage', 'quint4x2'],
  ['QUInt2x4Storage', 'quint2x4'],
]);

const REBUILDERS: ReadonlySet<string> = new Set([
  '_rebuild_tensor',
  '_rebuild_tensor_v2',
  '_rebuild_tensor_v3',
  '_rebuild_parameter',
  '_rebuild_parameter_with_state',
  '_rebuild_qtensor',
  '_rebuild_sparse_tensor',
  '_rebuild_nested_tensor',
  '_rebuild_meta_tensor_no_storage',
  '_rebuild_wrapper_subclass',
  '_rebuild_device_tensor_from_numpy',
  '_rebuild_device_tensor_from_cpu_tensor',
]);

const BUILTINS: ReadonlySet<string> = new Set([
  'bytearray',
  'bytes',
  'set',
  'frozenset',
  'complex',
  'slice',
  'range',
  'int',
  'float',
  'str',
  'list',
  'dict',
  'tuple',
  'bool',
  'object',
]);

const SCHEMES: ReadonlySet<string> = new Set([
  'per_tensor_affine',
  'per_channel_affine',
  'per_tensor_symmetric',
  'per_channel_symmetric',
  'per_channel_affine_float_qparams',
]);

const EXACT: ReadonlyMap<string, GlobalRole> = new Map<string, GlobalRole>([
  ['collections OrderedDict', 'mapping'],
  ['collections Counter', 'mapping'],
  ['collections defaultdict', 'mapping'],
  ['torch.storage TypedStorage', 'storage'],
  ['torch.storage UntypedStorage', 'storage'],
  ['torch.storage _UntypedStorage', 'storage'],
  ['torch Size', 'value'],
  ['torch device', 'value'],
  ['torch Tensor', 'tensor'],
  ['torch.nn.parameter Parameter', 'tensor'],
  ['torch.nn.parameter Buffer', 'tensor'],
  ['torch.serialization _get_layout', 'value'],
  ['torch._tensor _rebuild_from_type_v2', 'rebuilder'],
  ['copyreg _reconstructor', 'reconstructor'],
  ['_codecs encode', 'encode'],
  ['numpy dtype', 'numpy'],
  ['numpy ndarray', 'numpy'],
  ['numpy.core.multiarray _reconstruct', 'numpy'],
  ['numpy._core.multiarray _reconstruct', 'numpy'],
  ['numpy.core.multiarray scalar', 'numpy'],
  ['numpy._core.multiarray scalar', 'numpy'],
  ['numpy.core.numeric _frombuffer', 'numpy'],
  ['numpy._core.numeric _frombuffer', 'numpy'],
  ['torch.jit._pickle build_intlist', 'script-list'],
  ['torch.jit._pickle build_doublelist', 'script-list'],
  ['torch.jit._pickle build_boollist', 'script-list'],
  ['torch.jit._pickle build_tensorlist', 'script-list'],
  ['torch.jit._pickle restore_type_tag', 'script-list'],
]);

/**
 * The role of a name, null when it is off the list. Modules are Python 3's (see mapPython2). Matching is by exact bytes:
 * a dotted or odd name is never on the list. Source: it joins the lists of PyTorch's own
 * restricted loader and of the common scanners.
 */
export function roleOfGlobal(module: string, name: string): GlobalRole | null {
  const exact = EXACT.get(`${module} ${name}`);
  if (exact !== undefined) return exact;
  switch (module) {
    case 'torch':
    case 'torch.cuda':
      if (STORAGE_DTYPES.has(name)) return 'storage';
      if (module === 'torch' && (isDType(name) || SCHEMES.has(name))) return 'constant';
      if (module === 'torch' && name === 'UntypedStorage') return 'storage';
      return /^(?:Double|Float|Half|BFloat16|Long|Int|Short|Char|Byte|Bool)Tensor$/.test(name) ? 'tensor' : null;
    case 'torch._utils':
      return REBUILDERS.has(name) ? 'rebuilder' : null;
    case 'builtins':
      return BUILTINS.has(name) ? 'builtin' : null;
    default:
      return null;
  }
}

/** dtype of a typed storage class; undefined for any other name. */
export function dtypeOfStorage(module: string, name: string): string | undefined {
  return module === 'torch' || module === 'torch.cuda' ? STORAGE_DTYPES.get(name) : undefined;
}

/** Whether a class is the storage without a dtype, whose length is in bytes. */
export function isUntypedStorage(module: string, name: string): boolean {
  return (
    (module === 'torch.storage' && (name === 'UntypedStorage' || name === '_UntypedStorage')) ||
    (module === 'torch' && name === 'UntypedStorage')
  );
}

/** Modules that Python 3 has under another name (Lib/_compat_pickle.py, IMPORT_MAPPING). */
const PYTHON2: ReadonlyMap<string, string> = new Map([
  ['__builtin__', 'builtins'],
  ['copy_reg', 'copyreg'],
  ['cPickle', 'pickle'],
  ['Queue', 'queue'],
  ['SocketServer', 'socketserver'],
  ['ConfigParser', 'configparser'],
  ['repr', 'reprlib'],
  ['Tkinter', 'tkinter'],
  ['markupbase', '_markupbase'],
  ['_winreg', 'winreg'],
  ['thread', '_thread'],
  ['dummy_thread', '_dummy_thread'],
  ['dbhash', 'dbm.bsd'],
  ['dumbdbm', 'dbm.dumb'],
  ['dbm', 'dbm.ndbm'],
  ['gdbm', 'dbm.gnu'],
  ['anydbm', 'dbm'],
  ['whichdb', 'dbm'],
  ['xmlrpclib', 'xmlrpc.client'],
  ['SimpleXMLRPCServer', 'xmlrpc.server'],
  ['DocXMLRPCServer', 'xmlrpc.server'],
  ['httplib', 'http.client'],
  ['htmlentitydefs', 'html.entities'],
  ['HTMLParser', 'html.parser'],
  ['Cookie', 'http.cookies'],
  ['cookielib', 'http.cookiejar'],
  ['BaseHTTPServer', 'http.server'],
  ['SimpleHTTPServer', 'http.server'],
  ['CGIHTTPServer', 'http.server'],
  ['test.test_support', 'test.support'],
  ['commands', 'subprocess'],
  ['urlparse', 'urllib.parse'],
  ['robotparser', 'urllib.robotparser'],
  ['urllib2', 'urllib.request'],
  ['_abcoll', 'collections.abc'],
  ['_elementtree', 'xml.etree.ElementTree'],
  ['UserDict', 'collections'],
  ['UserList', 'collections'],
  ['UserString', 'collections'],
  ['StringIO', 'io'],
  ['cStringIO', 'io'],
]);

/** Names that moved by themselves: module, then name, to module and name (NAME_MAPPING there). */
const PYTHON2_NAMES: ReadonlyMap<string, ReadonlyMap<string, readonly [module: string, name: string]>> = new Map(
  Object.entries({
    __builtin__: {
      xrange: ['builtins', 'range'],
      reduce: ['functools', 'reduce'],
      intern: ['sys', 'intern'],
      unichr: ['builtins', 'chr'],
      unicode: ['builtins', 'str'],
      basestring: ['builtins', 'str'],
      long: ['builtins', 'int'],
    },
    itertools: {
      izip: ['builtins', 'zip'],
      imap: ['builtins', 'map'],
      ifilter: ['builtins', 'filter'],
      ifilterfalse: ['itertools', 'filterfalse'],
      izip_longest: ['itertools', 'zip_longest'],
    },
    exceptions: { StandardError: ['builtins', 'Exception'] },
    UserDict: { IterableUserDict: ['collections', 'UserDict'], UserDict: ['collections', 'UserDict'] },
    socket: { _socketobject: ['socket', 'SocketType'] },
    _socket: { fromfd: ['socket', 'fromfd'] },
    _multiprocessing: { Connection: ['multiprocessing.connection', 'Connection'] },
    multiprocessing: {
      AuthenticationError: ['multiprocessing.context', 'AuthenticationError'],
      BufferTooShort: ['multiprocessing.context', 'BufferTooShort'],
      ProcessError: ['multiprocessing.context', 'ProcessError'],
      TimeoutError: ['multiprocessing.context', 'TimeoutError'],
    },
    'multiprocessing.process': { Process: ['multiprocessing.context', 'Process'] },
    'multiprocessing.forking': { Popen: ['multiprocessing.popen_fork', 'Popen'] },
    urllib: {
      ContentTooShortError: ['urllib.error', 'ContentTooShortError'],
      getproxies: ['urllib.request', 'getproxies'],
      pathname2url: ['urllib.request', 'pathname2url'],
      quote_plus: ['urllib.parse', 'quote_plus'],
      quote: ['urllib.parse', 'quote'],
      unquote_plus: ['urllib.parse', 'unquote_plus'],
      unquote: ['urllib.parse', 'unquote'],
      url2pathname: ['urllib.request', 'url2pathname'],
      urlcleanup: ['urllib.request', 'urlcleanup'],
      urlencode: ['urllib.parse', 'urlencode'],
      urlopen: ['urllib.request', 'urlopen'],
      urlretrieve: ['urllib.request', 'urlretrieve'],
    },
    urllib2: { HTTPError: ['urllib.error', 'HTTPError'], URLError: ['urllib.error', 'URLError'] },
  } satisfies Record<string, Record<string, [string, string]>>).map(([module, names]) => [
    module,
    new Map(Object.entries<[string, string]>(names)),
  ]),
);

/** Exceptions of Python 2 are Python 3's builtins, under the same names. */
const EXCEPTION = /^(?:[A-Z][A-Za-z]*(?:Error|Exception|Warning|Exit|Interrupt|Iteration)|Exception|Warning)$/;

/** Python 3's module and name of Python 2's, as its unpickler maps them before looking anything up. */
export function mapPython2(module: string, name: string): readonly [module: string, name: string] {
  const moved = PYTHON2_NAMES.get(module)?.get(name);
  if (moved !== undefined) return moved;
  if (module === 'exceptions' && EXCEPTION.test(name)) return ['builtins', name];
  return [PYTHON2.get(module) ?? module, name];
}
