/**
 * Every limit on what a file may claim, with its reason. A refusal names the limit that it hit.
 * Sources: the formats' own guards where they have one, else chosen so that real models pass by a wide margin.
 */
export type LimitName =
  | 'safetensorsHeaderBytes'
  | 'safetensorsTensors'
  | 'jsonBytes'
  | 'jsonDepth'
  | 'jsonNodes'
  | 'jsonObjects'
  | 'jsonDigits'
  | 'zipEntries'
  | 'zipNameBytes'
  | 'zipDirectoryBytes'
  | 'tarHeaderBytes'
  | 'inflatedBytes'
  | 'inflateRatio'
  | 'hdf5DeclaredBytes'
  | 'hdf5Ratio'
  | 'hdf5Depth'
  | 'hdf5Objects'
  | 'hdf5Rank'
  | 'hdf5HeaderMilliseconds'
  | 'npyArrays'
  | 'pickleBytes'
  | 'pickleOpcodes'
  | 'pickleStack'
  | 'pickleMarkDepth'
  | 'pickleMemo'
  | 'pickleIntegerDigits'
  | 'pickleLineBytes'
  | 'pickleStreams'
  | 'pickleEvents'
  | 'pickleEntries'
  | 'pickleNodes'
  | 'pickleMadeBytes'
  | 'pickleMadeRatio'
  | 'pickleHashSteps'
  | 'pickleKeyDepth'
  | 'pickleVisits'
  | 'protobufBytes'
  | 'protobufDepth'
  | 'tensorRank'
  | 'moduleDepth'
  | 'layers'
  | 'blockBytes'
  | 'auditDepth'
  | 'auditReadings'
  | 'auditHidden'
  | 'auditSearchBytes';

export const LIMITS: Readonly<Record<LimitName, number>> = {
  /** Bytes of a safetensors header: the reference implementation's bound. */
  safetensorsHeaderBytes: 100_000_000,
  /** Tensors of one safetensors file: what its largest header can list with short names is a few times that. */
  safetensorsTensors: 1_000_000,
  /** Bytes of one JSON text (config, index), which is held in memory; configs of real models have a few megabytes. */
  jsonBytes: 64 * 1024 * 1024,
  /** Nesting of JSON; real configs stay below 60. */
  jsonDepth: 512,
  /** Values in one JSON text, each an object in memory: one for 16 bytes of the largest text. */
  jsonNodes: 4_000_000,
  /** Objects in one JSON text, which take 200 bytes each where a number takes eight: real configs stay below 100,000. */
  jsonObjects: 1_000_000,
  /** Characters of one JSON number: conversion to bigint is quadratic. */
  jsonDigits: 10_000,
  /** Members of a zip: a checkpoint of 100,000 tensors has 100,000. */
  zipEntries: 1_000_000,
  /** Bytes of a member's name: the longest path that Linux takes. */
  zipNameBytes: 4_096,
  /** Bytes of a zip's central directory, which is held in memory: a million members with short names. */
  zipDirectoryBytes: 256 * 1024 * 1024,
  /** Bytes of a tar header that only names the member behind it: a path of 4,096 bytes and a few attributes. */
  tarHeaderBytes: 1024 * 1024,
  /** Inflated bytes of one member that is read whole (JSON, pickle) and held in memory. */
  inflatedBytes: 256 * 1024 * 1024,
  /** Inflated to stored: DEFLATE cannot honestly exceed about 1032; a model's text stays far below. */
  inflateRatio: 1_100,
  /** HDF5 dataset: declared bytes above this and above hdf5Ratio times the stored bytes are refused (Keras' own guard). */
  hdf5DeclaredBytes: 4 * 1024 * 1024 * 1024,
  /** Declared to stored bytes of such a dataset: what honest compression reaches; DEFLATE ends at about 1032. */
  hdf5Ratio: 1_000,
  /** Groups within groups: Keras nests one for each nested model, a few levels in real files. */
  hdf5Depth: 128,
  /** Groups and datasets of one file, each held in memory: a million layers with a group and a dataset each. */
  hdf5Objects: 2_000_000,
  /** Axes of a dataset: HDF5's own bound (H5S_MAX_RANK). */
  hdf5Rank: 32,
  /** Milliseconds of silence after which an HDF5 reader is taken to hang (a damaged file can make it loop for ever). */
  hdf5HeaderMilliseconds: 60_000,
  /** NumPy arrays one after another in one file, each judged for itself; one array a file is usual. */
  npyArrays: 10_000,
  /** Bytes of one pickle, which is held in memory; its tensors' values stand outside of it. */
  pickleBytes: 512 * 1024 * 1024,
  /** Opcodes of one pickle: a tensor of a state_dict takes about 35, so more than a million tensors. */
  pickleOpcodes: 50_000_000,
  /** Values on the stack: a pickler empties it every 1,000 items, so that only depth makes it grow. */
  pickleStack: 1_000_000,
  /** Open marks, one for each level of nesting: Python's own pickler gives up at about 1,000 levels. */
  pickleMarkDepth: 10_000,
  /** Entries of the memo, each held in memory: a tensor of a state_dict takes about 9, so a million tensors. */
  pickleMemo: 10_000_000,
  /** Decimal digits of one pickled integer: conversion is quadratic. */
  pickleIntegerDigits: 10_000,
  /** Bytes of one text argument of protocol 0; torch's own source texts stay far below. */
  pickleLineBytes: 16 * 1024 * 1024,
  /** Pickles one behind another in one file, as an audit walks them: a second or two. */
  pickleStreams: 1_000_000,
  /** Imports and calls of names off the allow list in one pickle, each recorded for itself. */
  pickleEvents: 1_000_000,
  /** Entries of one dict: a Map of V8 holds 2^24. */
  pickleEntries: 10_000_000,
  /** Objects that an audit holds of one pickle, 250 bytes each; a checkpoint of 100,000 tensors has 800,000. */
  pickleNodes: 4_000_000,
  /** Bytes that calls of one pickle make out of numbers or copies (bytearray(n)); honest ones make next to none so. */
  pickleMadeBytes: 64 * 1024 * 1024,
  /** More of them for each byte of the stream: a text that is encoded is copied. */
  pickleMadeRatio: 4,
  /** Steps of Python to hash the keys of one pickle, besides one a byte: about a second. */
  pickleHashSteps: 100_000_000,
  /** Tuples in one another that are a key: Python hashes by recursion, and its stack ends at tens of thousands. */
  pickleKeyDepth: 1_000,
  /** Our own steps through the arguments of calls of one pickle. */
  pickleVisits: 20_000_000,
  /** Bytes of an ONNX file beside the elements of its tensors, which are held in memory. */
  protobufBytes: 512 * 1024 * 1024,
  /** Messages within messages: the default of protobuf's own readers. */
  protobufDepth: 100,
  /** Axes of a tensor: as many as NumPy 2 takes. */
  tensorRank: 64,
  /** Nested models and modules: far more levels than anybody writes by hand. */
  moduleDepth: 256,
  /** Layers, calls and edges of one model: ten times what a checkpoint of 100,000 tensors has. */
  layers: 1_000_000,
  /** Bytes of the blocks that weights move in, so that memory stays small whatever the tensor. */
  blockBytes: 64 * 1024 * 1024,
  /** Parts in parts that an audit follows (a file behind the end of a file behind …); formats nest three deep. */
  auditDepth: 16,
  /** Parts of a file that an audit judges as a second format beside the first: an honest file has none. */
  auditReadings: 64,
  /** Members that no zip directory lists: one alone is a finding, and each may hold all the others. */
  auditHidden: 10_000,
  /** Bytes that an audit walks in search of pickles in what nothing owns; chance makes it a few per megabyte. */
  auditSearchBytes: 512 * 1024 * 1024,
};
