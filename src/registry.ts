import type { FormatReader } from './bytes/source.ts';
import { kerasReader } from './formats/keras/index.ts';
import { onnxReader } from './formats/onnx/read.ts';
import { ptjsonReader } from './formats/ptjson/read.ts';
import { safetensorsReader } from './formats/safetensors/read.ts';
import { torchReader } from './formats/torch/index.ts';
import type { Outcome } from './ir/diagnostic.ts';
import type { Model } from './ir/model.ts';

/** Every container that is read, one line each. pt-json first: its text may hold a Keras config. */
export const READERS: readonly FormatReader<Outcome<Model>>[] = [
  ptjsonReader,
  kerasReader,
  torchReader,
  safetensorsReader,
  onnxReader,
];
