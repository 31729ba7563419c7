/**
 * Names that make an import dangerous, by what they do. Everything else off the allow list is suspicious, so that these
 * lists decide between two levels and never make a file safe.
 */
export interface Family {
  /** What the names do, as the middle of a sentence about them. */
  readonly reason: string;
  /** Packages that do it with everything below them; `_os` is `os`. */
  readonly packages?: string;
  /** Modules deeper in a package, with everything below them. */
  readonly modules?: string;
  /** Single names of a module, also as one part of a dotted name. */
  readonly names?: Readonly<Record<string, string>>;
}

/** NumPy's readers and writers of files, some of which unpickle; they stand in several of its modules. */
const NUMPY_FILES =
  'load save fromfile memmap genfromtxt loadtxt savetxt savez savez_compressed recfromtxt recfromcsv fromregex DataSource';
const YAML =
  'load load_all unsafe_load unsafe_load_all full_load full_load_all round_trip_load round_trip_load_all YAML Loader CLoader UnsafeLoader CUnsafeLoader FullLoader CFullLoader UnsafeConstructor FullConstructor Constructor';

export const FAMILIES: readonly Family[] = [
  {
    reason: 'compile or run source text, bytecode, templates or code of another language',
    packages: `
      runpy code codeop marshal timeit profile cProfile trace pdb bdb doctest unittest test idlelib lib2to3 cgi cgitb
      rlcompleter turtle turtledemo tkinter tix testcapi testinternalcapi testmultiphase testbuffer testsinglephase
      interpreters interpqueues xxsubinterpreters xxinterpchannels IPython ipykernel ipdb pudb debugpy pydevd jupyter
      jupyter_client nbconvert nbformat notebook nose nose2 pytest py pluggy tox coverage jinja2 mako chameleon genshi
      asteval simpleeval RestrictedPython numexpr js2py execjs py_mini_racer lupa rpy2 oct2py jpype jnius pyjulia julia
      Cython pyximport weave numba llvmlite triton pycuda pyopencl tvm cppyy pythran pythonnet clr
    `,
    modules: `
      torch.jit torch._dynamo torch._inductor torch._functorch torch._guards torch._higher_order_ops torch._library
      torch.library torch._custom_ops torch._custom_op torch._export torch.export torch.onnx torch._lazy torch._vendor
      torch._native torch.fx.experimental torch.fx.graph_module torch.fx._lazy_graph_module torch.fx.operator_schemas
      torch.fx._graph_pickler torch.distributed.nn.jit torch.distributed.flight_recorder torch.package
      torch.testing._internal torch.utils.benchmark torch.utils._traceback
      numpy.f2py scipy.weave cupyx.jit cupy.cuda.compiler cupy._core.raw pandas.core.computation
      sympy.parsing sympy.utilities.lambdify sympy.utilities.autowrap sympy.utilities.codegen sympy.utilities._compilation
      tensorflow.python.ops.script_ops tensorflow.python.autograph
    `,
    names: {
      builtins: 'eval exec compile execfile apply breakpoint input raw_input help',
      types:
        'CodeType FunctionType LambdaType SimpleNamespace MethodType ModuleType BuiltinFunctionType BuiltinMethodType new_class prepare_class resolve_bases DynamicClassAttribute FrameType CellType coroutine',
      dataclasses: '_create_fn make_dataclass _process_class _FuncBuilder',
      typing: 'get_type_hints _eval_type ForwardRef',
      collections: 'namedtuple _sys _itemgetter',
      optparse: 'Values',
      gettext: 'c2py',
      six: 'exec_ execfile',
      'future.utils': 'exec_ execfile',
      'sympy.core.sympify': 'sympify kernS',
      sympy: 'sympify S parse_expr lambdify kernS autowrap ufuncify preview init_printing',
      cupy: 'RawKernel RawModule ElementwiseKernel ReductionKernel fuse',
      'PIL.ImageMath': 'eval unsafe_eval lambda_eval',
      'torch.nn.attention.flex_attention': '_reconstruct_closure_fn',
      torch: 'compile import_ir_module import_ir_module_from_buffer parse_ir',
      'torch.cuda': '_compile_kernel',
      'torch.cuda._utils': '_nvrtc_compile _cuda_load_module',
    },
  },
  {
    reason: 'start processes or threads, or change the running one',
    packages: `
      os posix nt posixpath ntpath genericpath subprocess bootsubprocess pty tty commands popen2 sys signal
      multiprocessing multiprocess billiard pathos pebble loky posixsubprocess posixshmem uuid osx_support aix_support pyrepl
      platform pydoc pydoc_data mailcap pipes winapi winreg msvcrt overlapped msi msilib fcntl resource termios syslog
      readline curses site sitebuiltins sitecustomize usercustomize sysconfig atexit faulthandler webbrowser antigravity
      concurrent asyncio gevent eventlet greenlet psutil pexpect ptyprocess sh plumbum fabric fabric2 invoke xonsh
      ansible git dulwich docker kubernetes distributed celery execnet rpyc Pyro4 Pyro5 ipyparallel
      pyautogui pynput keyboard win32api win32com win32process win32event pythoncom comtypes wmi
    `,
    modules: `
      torch.utils.bottleneck torch.utils.collect_env torch.distributed.rpc torch.distributed.run
      torch.distributed.launch torch.distributed.elastic torch.multiprocessing torch.backends.xeon torch._strobelight
      torch.utils._strobelight torch.utils._get_clean_triton torch.numa torch.utils.data._utils.worker
      torch.cuda._memory_viz numpy.distutils numpy.testing mlflow.projects mlflow.utils.process spacy.cli
      PIL.ImageShow PIL.ImageGrab PIL.EpsImagePlugin lightning.pytorch.cli pytorch_lightning.cli ray.cloudpickle ray._private
      ray.job_submission ray.util dask.multiprocessing dask.threaded
      pytorch_lightning.utilities.cli pyspark.java_gateway
    `,
    names: {
      builtins: 'exit quit',
      threading: '_start_new_thread _start_joinable_thread Thread Timer _DummyThread',
      thread: 'start_new_thread start_new start_joinable_thread interrupt_main',
      contextlib: 'ExitStack AsyncExitStack',
      sched: 'scheduler',
      weakref: 'finalize',
      logging: 'basicConfig',
      'spacy.util': 'run_command import_file load_model load_model_from_path load_model_from_package',
      wandb: 'init login restore save agent sweep Api',
      datasets: 'load_dataset load_dataset_builder load_from_disk',
    },
  },
  {
    reason: 'import a module, or fetch an attribute, by a name that they are given',
    packages: `
      importlib imp pkgutil zipimport modulefinder inspect gc frozen_importlib frozen_importlib_external pyclbr encodings
      importlib_metadata importlib_resources pip ensurepip venv virtualenv setuptools pkg_resources distutils
      distutils_hack wheel conda dis
    `,
    modules: `
      six.moves future.moves future.builtins past hydra.utils hydra._internal hydra.main hydra.compose hydra.core.utils
      hydra.experimental lightning_utilities.core.imports torch._utils_internal torch._logging
      torch.nn.utils._deprecation_utils transformers.dynamic_module_utils mmcv.utils.misc mmengine.utils.misc
      xml.dom xml.sax
    `,
    names: {
      builtins: 'getattr setattr delattr globals locals vars reload',
      operator: 'attrgetter itemgetter methodcaller call',
      functools: 'partial partialmethod reduce singledispatch',
      codecs: 'lookup getencoder getdecoder getreader getwriter getincrementalencoder getincrementaldecoder',
      warnings: '_getcategory _processoptions _setoption',
      copyreg: 'add_extension pickle dispatch_table _extension_registry __newobj__ __newobj_ex__',
      'torch._utils': '_import_dotted_name',
      'torch.utils._pytree':
        '_defaultdict_deserialize enum_object_hook treespec_loads _private_register_pytree_node register_pytree_node',
      'numpy.core': '_ufunc_reconstruct',
      'numpy._core': '_ufunc_reconstruct',
      'numpy.core.function_base': 'add_newdoc',
      'numpy._core.function_base': 'add_newdoc',
      'numpy.lib.utils': '_makenamedict lookfor source info safe_eval',
      'numpy.lib._utils_impl': '_makenamedict lookfor source info safe_eval',
      'omegaconf.omegaconf': 'register_resolver register_new_resolver',
      'tensorflow.python.util.lazy_loader': 'LazyLoader',
    },
  },
  {
    reason: 'open, read, write or delete files',
    packages: `
      shutil tempfile glob fileinput linecache mmap sqlite3 tarfile zipfile shelve py_compile compileall zipapp dbm
      anydbm dumbdbm dbhash gdbm whichdb mailbox filecmp netrc tokenize tabnanny wave sunau aifc chunk uu quopri sndhdr
      imghdr spwd nis ossaudiodev tracemalloc fsspec smart_open gcsfs s3fs adlfs pyfilesystem fs aiofiles
    `,
    modules: `
      logging.config logging.handlers torch.utils.file_baton torch.utils.hipify torch.utils._content_store
      torch.utils._cpp_embed_headers torch.utils._cpp_extension_versioner torch.utils._triton torch.utils.jit
      torch.utils.tensorboard torch.profiler torch.cuda.tunable torch.cuda._annotate_cuda_graph_trace
      torch.distributed.debug torch.distributed._tools torch.distributed.checkpoint._consolidate_hf_safetensors
      torch.distributed.checkpoint._experimental torch.sparse._triton_ops_meta
      pandas.io.common pandas.io.parsers pandas.io.pytables pandas.io.sql pandas.io.excel pandas.io.html
      pandas.io.json._json pandas.io.feather_format pandas.io.parquet pandas.io.orc pandas.io.sas pandas.io.spss
      pandas.io.stata pandas.io.xml pandas.io.clipboard pandas.io.clipboards pandas.io.gbq pandas.io.api
      numpy.ma.mrecords pyarrow.fs pyarrow.parquet pyarrow.dataset xml.etree.ElementInclude
      keras.saving keras.utils keras.config keras.src.saving keras.src.utils keras.src.config keras.engine.saving
      tensorflow.io tensorflow.saved_model tensorflow.raw_ops tensorflow.keras.utils tensorflow.python.saved_model
      tensorflow.python.ops.io_ops tensorflow.python.ops.gen_io_ops tensorflow.python.lib.io
      tensorflow.python.platform.gfile mlflow.pyfunc
    `,
    names: {
      builtins: 'open file license copyright credits',
      io: 'open FileIO open_code OpenWrapper',
      pyio: 'open FileIO open_code OpenWrapper',
      codecs: 'open register EncodedFile',
      bz2: 'open BZ2File',
      gzip: 'open GzipFile',
      lzma: 'open LZMAFile',
      argparse: 'FileType',
      configparser: 'read read_file readfp',
      mimetypes: 'read_mime_types init MimeTypes',
      'xml.etree.ElementTree': 'parse iterparse ElementTree',
      'xml.etree.cElementTree': 'parse iterparse ElementTree',
      numpy: NUMPY_FILES,
      'numpy.lib': NUMPY_FILES,
      'numpy.lib.npyio': NUMPY_FILES,
      'numpy.lib._npyio_impl': NUMPY_FILES,
      'numpy.lib.format': 'read_array open_memmap write_array',
      'numpy.lib._format_impl': 'read_array open_memmap write_array',
      'numpy.lib._datasource': 'open DataSource Repository',
      'numpy.core.multiarray': NUMPY_FILES,
      'numpy._core.multiarray': NUMPY_FILES,
      'numpy.core._multiarray_umath': NUMPY_FILES,
      'numpy._core._multiarray_umath': NUMPY_FILES,
      'numpy.core.memmap': NUMPY_FILES,
      'numpy._core.memmap': NUMPY_FILES,
      'numpy.core.records': NUMPY_FILES,
      'numpy._core.records': NUMPY_FILES,
      'numpy.core._methods': '_dump _dumps',
      'numpy._core._methods': '_dump _dumps',
      'numpy.rec': NUMPY_FILES,
      'numpy.ma': NUMPY_FILES,
      'numpy.ma.core': NUMPY_FILES,
      pandas:
        'read_pickle eval read_hdf read_csv read_sql read_sql_table read_sql_query read_json read_excel read_html read_xml read_table read_fwf read_feather read_parquet read_orc read_sas read_spss read_stata read_gbq read_clipboard to_pickle HDFStore ExcelFile ExcelWriter',
      'scipy.io':
        'loadmat savemat whosmat mmread mmwrite mminfo readsav netcdf_file FortranFile hb_read hb_write loadarff',
      'scipy.io.matlab': 'loadmat savemat whosmat',
      'scipy.io.wavfile': 'read write',
      'sklearn.datasets':
        'load_files load_svmlight_file load_svmlight_files dump_svmlight_file fetch_file fetch_openml',
      h5py: 'File',
      'h5py._hl.files': 'File',
      'h5py.h5f': 'open create',
      tables: 'open_file',
      zarr: 'open open_array open_group load save',
      netCDF4: 'Dataset MFDataset',
      xarray: 'open_dataset open_dataarray open_mfdataset open_zarr load_dataset load_dataarray',
      pyarrow: 'memory_map OSFile input_stream output_stream create_memory_map',
      polars:
        'read_csv read_parquet read_json read_ipc read_excel read_database scan_csv scan_parquet scan_ipc scan_ndjson',
      'PIL.Image': 'open',
      'PIL.ImageFont': 'truetype load load_path',
      cv2: 'imread imreadmulti imwrite imwritemulti VideoCapture VideoWriter FileStorage',
      imageio: 'imread imwrite mimread mimwrite get_reader get_writer',
      soundfile: 'read write SoundFile',
      librosa: 'load',
      torchaudio: 'load save info',
      'torchvision.io': 'read_image read_video read_file write_file write_jpeg write_png write_video decode_image',
      'torch.serialization':
        '_open_file _open_file_like _open_zipfile_reader _open_zipfile_writer _open_zipfile_writer_file mkdtemp',
      torch: 'save from_file PyTorchFileReader PyTorchFileWriter',
      'torch.autograd.profiler': 'load_nvprof parse_nvprof_trace EnforceUnique',
      'torch.cuda.memory': '_dump_snapshot _save_segment_usage _save_memory_usage',
      'torch.xpu.memory': '_dump_snapshot',
      'torch.distributed.checkpoint': 'FileSystemReader FileSystemWriter',
      'torch.distributed.checkpoint.filesystem': 'FileSystemReader FileSystemWriter FileSystem',
      onnx: 'load load_model save save_model',
      onnxruntime: 'InferenceSession',
      'omegaconf.omegaconf': 'load save',
      omegaconf: 'load save register_resolver register_new_resolver',
    },
  },
  {
    reason: 'reach the network',
    packages: `
      socket ssl http httplib urllib urllib2 urllib3 requests httpx aiohttp ftplib smtplib smtpd telnetlib cookielib
      xmlrpc xmlrpclib socketserver SocketServer BaseHTTPServer SimpleHTTPServer CGIHTTPServer DocXMLRPCServer
      SimpleXMLRPCServer wsgiref poplib nntplib imaplib asyncore asynchat paramiko pycurl websocket websockets zmq tornado
      twisted flask django fastapi starlette uvicorn gunicorn bottle cherrypy streamlit gradio boto boto3 botocore
      s3transfer azure keyring redis pymongo psycopg psycopg2 pymysql MySQLdb comet_ml
    `,
    modules: `
      torch.hub torch.utils.model_zoo google.cloud nltk.data nltk.downloader scipy.datasets
      transformers.pipelines transformers.utils.hub transformers.file_utils datasets.load datasets.download
      torchvision.datasets.utils torchvision._internally_replaced_utils gensim.downloader
    `,
    names: {
      sqlalchemy: 'create_engine',
      'sqlalchemy.engine.create': 'create_engine',
      huggingface_hub: 'hf_hub_download snapshot_download upload_file upload_folder create_repo login HfApi Repository',
    },
  },
  {
    reason: 'load native code into the process, or read and write memory by address',
    packages: 'ctypes cffi',
    modules: `
      torch.utils.cpp_extension numpy.ctypeslib tensorflow.python.framework.load_library scipy._lib._ccallback
      torchvision.extension
    `,
    names: {
      'torch.cuda.memory': 'CUDAPluggableAllocator',
      'torch.cuda': 'CUDAPluggableAllocator',
      'torch.xpu.memory': 'XPUPluggableAllocator',
      'numpy.core._internal': '_ctypes',
      'numpy._core._internal': '_ctypes',
    },
  },
  {
    reason: 'unpickle, or run the tags of a YAML text',
    packages: 'pickle cPickle dill cloudpickle joblib jsonpickle srsly',
    modules: `
      torch.utils._config_module torch.utils.data.datapipes.utils.decoder torch.utils.model_dump torch.utils.show_pickle
      torch._weights_only_unpickler torch.distributed.checkpoint._pg_transport torch.distributed.checkpoint.format_utils
      pandas.compat.pickle_compat pandas.io.pickle sklearn.externals.joblib pyspark.serializers pyspark.cloudpickle
      statsmodels.iolib.smpickle
    `,
    names: {
      torch: 'load',
      'torch.serialization': 'load save _load _legacy_load _legacy_save add_safe_globals safe_globals',
      'torch.storage': '_load_from_bytes',
      yaml: YAML,
      'yaml.loader': YAML,
      'yaml.constructor': YAML,
      'ruamel.yaml': YAML,
      'ruamel.yaml.main': YAML,
      ruamel_yaml: YAML,
      spacy: 'load',
      'gensim.utils': 'unpickle pickle open',
      'fastai.learner': 'load_learner load_model',
      'fastai.basics': 'load_learner',
      'fastai.vision.all': 'load_learner',
      paddle: 'load save',
      mxnet: 'load save',
    },
  },
  {
    reason: 'tell a scanner of pickles what to report',
    packages: 'fickling picklescan modelscan modelaudit',
  },
];
