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
  | 'jsonDigits'
  | 'zipEntries'
  | 'zipNameBytes'
  | 'zipDirectoryBytes'
  | 'inflatedBytes'
  | 'inflateRatio'
  | 'hdf5DeclaredBytes'
  | 'hdf5Ratio'
  | 'hdf5Depth'
  | 'hdf5Objects'
  | 'hdf5Rank'
  | 'hdf5HeaderMilliseconds'
  | 'pickleBytes'
  | 'pickleOpcodes'
  | 'pickleStack'
  | 'pickleMarkDepth'
  | 'pickleMemo'
  | 'pickleIntegerDigits'
  | 'pickleLineBytes'
  | 'pickleEvents'
  | 'protobufBytes'
  | 'protobufDepth'
  | 'tensorRank'
  | 'moduleDepth'
  | 'layers'
  | 'blockBytes';

export const LIMITS: Readonly<Record<LimitName, number>> = {
  /** Bytes of a safetensors header: the reference implementation's bound. */
  safetensorsHeaderBytes: 100_000_000,
  /** Tensors of one safetensors file: what its largest header can list with short names is a few times that. */
  safetensorsTensors: 1_000_000,
  /** Bytes of one JSON text (config, index). */
  jsonBytes: 64 * 1024 * 1024,
  /** Nesting of JSON; real configs stay below 60. */
  jsonDepth: 512,
  /** Values in one JSON text. */
  jsonNodes: 4_000_000,
  /** Characters of one JSON number: conversion to bigint is quadratic. */
  jsonDigits: 10_000,
  /** Members of a zip: a checkpoint of 100,000 tensors has 100,000. */
  zipEntries: 1_000_000,
  zipNameBytes: 4_096,
  /** Bytes of a zip's central directory, which is held in memory: a million members with short names. */
  zipDirectoryBytes: 256 * 1024 * 1024,
  /** Inflated bytes of one member that is read whole (JSON, pickle). */
  inflatedBytes: 256 * 1024 * 1024,
  /** Inflated to stored: DEFLATE cannot honestly exceed about 1032; a model's text stays far below. */
  inflateRatio: 1_100,
  /** HDF5 dataset: declared bytes above this and above hdf5Ratio times the stored bytes are refused (Keras' own guard). */
  hdf5DeclaredBytes: 4 * 1024 * 1024 * 1024,
  hdf5Ratio: 1_000,
  hdf5Depth: 128,
  hdf5Objects: 2_000_000,
  hdf5Rank: 32,
  /** Milliseconds of silence after which an HDF5 reader is taken to hang (a damaged file can make it loop for ever). */
  hdf5HeaderMilliseconds: 60_000,
  pickleBytes: 512 * 1024 * 1024,
  pickleOpcodes: 50_000_000,
  pickleStack: 1_000_000,
  pickleMarkDepth: 10_000,
  pickleMemo: 10_000_000,
  /** Decimal digits of one pickled integer: conversion is quadratic. */
  pickleIntegerDigits: 10_000,
  /** Bytes of one text argument of protocol 0; torch's own source texts stay far below. */
  pickleLineBytes: 16 * 1024 * 1024,
  /** Imports and calls of names off the allow list in one pickle, each recorded for itself. */
  pickleEvents: 1_000_000,
  /** Bytes of an ONNX file beside the elements of its tensors, which are held in memory. */
  protobufBytes: 512 * 1024 * 1024,
  protobufDepth: 100,
  tensorRank: 64,
  /** Nested models and modules. */
  moduleDepth: 256,
  /** Layers, calls and edges of one model. */
  layers: 1_000_000,
  /** Weights move in blocks of at most this many bytes. */
  blockBytes: 64 * 1024 * 1024,
};
