import type { DType } from './dtype.ts';
import type { JsonObject } from './json.ts';
import type { Kind } from './kind.ts';

/** A dialect is a language of names, layouts and semantics; a format is a container. */
export type Dialect = 'keras' | 'torch' | 'onnx';

/** number: known; null: dynamic (Keras' None); '?': cannot be known. The batch axis is part of every shape. */
export type Dim = number | null | '?';
export type Shape = readonly Dim[];

/**
 * What a stored array is for. `weight`: trained by gradients. `statistic`: moved by the forward pass
 * (moving_mean, vector_u, Normalization's mean). `counter`: num_batches_tracked, Normalization's count.
 * `seed`: random state. `constant`: fixed data.
 */
export type WeightClass = 'weight' | 'statistic' | 'counter' | 'seed' | 'constant';

export type Encoding =
  | { readonly kind: 'dense' }
  | { readonly kind: 'meta' }
  | {
      readonly kind: 'quantised';
      readonly scheme: string;
      readonly scale: number | Tensor;
      readonly zeroPoint: number | Tensor;
      readonly axis?: number;
    }
  | { readonly kind: 'sparse'; readonly layout: string; readonly parts: ReadonlyMap<string, Tensor> };

/** Lazy handle: knows everything but its bytes. */
export interface Tensor {
  /** As the file spells it. */
  readonly name: string;
  readonly dtype: DType;
  /** Elements per axis in the file's own order; [] is a scalar. */
  readonly shape: readonly number[];
  /** Bytes of the dense, contiguous form: ceil(bits(dtype) * product(shape) / 8). */
  readonly byteLength: number;
  readonly encoding: Encoding;
  /** Storage + offset + strides + shape: equal means one and the same tensor. */
  readonly identity: string;
  /** Equal means that the bytes overlap or are shared. */
  readonly storage: string;
  /**
   * Copies the hyperslab [start, start + count) of every axis into `into`, C order, little-endian, contiguous;
   * `into` holds at least product(count) * bits / 8 bytes. Repeatable. Throws BnsumError when the bytes cannot be had
   * (truncated, meta, sparse).
   */
  readInto(start: readonly number[], count: readonly number[], into: Uint8Array, signal?: AbortSignal): Promise<void>;
}

/** A tensor in its role in a layer. */
export interface Weight {
  /** Keras' word where there is one: kernel, bias, gamma, beta, moving_mean, moving_variance, recurrent_kernel …
   * for Keras models; the PyTorch key's last part (weight, bias, running_mean, weight_ih_l0 …) for torch models. */
  readonly role: string;
  readonly class: WeightClass;
  /** nn.Parameter or buffer: what PyTorch says or would say; null when neither the file nor the layer's kind tells. */
  readonly isParameter: boolean | null;
  /** Effective trainability by the rule of the file's own framework; null when the file does not say. */
  readonly trainable: boolean | null;
  readonly tensor: Tensor;
}

/** Neutral attribute values; the names are ours (see the family's file in layers/), never a file's. */
export type NormValue =
  | null
  | boolean
  | number
  | string
  | readonly NormValue[]
  | { readonly [name: string]: NormValue };
export type NormAttrs = Readonly<Record<string, NormValue>>;

/** What owns weights, or groups layers that do: a Keras layer, a PyTorch module, the tensors of an ONNX node. */
export interface Layer {
  /** Unique; the file's own path without the model's name: `tower/inner_bn` (Keras), `layers.0.bn1` (PyTorch). */
  readonly path: string;
  readonly parent: string | null;
  /** Nested model or wrapper: its row shows the counts of its subtree. */
  readonly container: boolean;
  readonly kind: Kind;
  /** The file's own class name; '' where the file has none. */
  readonly type: string;
  /** The layer's own `trainable` flag as the file says; null where it does not. */
  readonly trainable: boolean | null;
  /** The file's own names and values (a Keras layer config, a module's attributes, an ONNX node's attributes). */
  readonly attrs: JsonObject;
  /** Neutral names and values. A value that is not known is null, never a default. */
  readonly norm: NormAttrs;
  /** SHA-256 of the files that the container keeps for this layer, by name: a vocabulary that was adapted. */
  readonly assets?: ReadonlyMap<string, string>;
  /** Own tensors, in the framework's order; a tensor tied to another layer appears in both with equal identity. */
  readonly weights: readonly Weight[];
}

/** What flows between calls: an input, or a call's result. */
export interface Value {
  readonly id: number;
  readonly shape: Shape | null;
  readonly dtype: string | null;
}

/** A literal among a call's inputs, such as the 2 of `x * 2`. */
export interface Constant {
  readonly constant: import('./json.ts').Json;
}

/** One use of a layer, or of an operation without weights (layer null, op its name). */
export interface Call {
  /** Path of the layer, or null for an operation. */
  readonly layer: string | null;
  /** The operation's name (`Add`, `keras.src.ops.numpy.Multiply`, `Relu`); '' for a plain layer call. */
  readonly op: string;
  /** Keyword arguments of the call, as the file has them. */
  readonly attrs: JsonObject;
  /** Value ids (numbers) in argument order, and constants. */
  readonly inputs: readonly (number | Constant)[];
  readonly outputs: readonly number[];
  /**
   * Everything that the file says of this call besides what it reads, in a canonical form for comparing: of an ONNX node
   * the attributes, defaults included, and digests of the graphs inside it. A layer's attributes stand with the layer.
   */
  readonly told?: JsonObject;
}

/** The calls of a model, or of one nested in it, and the values between them. */
export interface Graph {
  readonly inputs: readonly number[];
  readonly outputs: readonly number[];
  /** The keys by which a model takes its inputs and gives its outputs, in their order; null: it has no key. */
  readonly inputNames?: readonly (string | null)[];
  readonly outputNames?: readonly (string | null)[];
  /** Indexed by id: values[id].id === id. */
  readonly values: readonly Value[];
  /** In execution order. */
  readonly calls: readonly Call[];
  /**
   * How the model is called, for comparing: names of ONNX, and the lists and dicts of Keras with `#` for a tensor.
   * Absent: the file cannot tell.
   */
  readonly takes?: import('./json.ts').Json;
  readonly gives?: import('./json.ts').Json;
  /** ONNX: operators with the version that the file's operator sets mean. */
  readonly operators?: ReadonlyMap<string, number>;
  /** Something of the calls was too large to be read while opening. */
  readonly unread?: boolean;
}

export interface Producer {
  /** 'keras', 'tf.keras', 'torch', 'onnx exporter' …; '' when the file does not say. */
  readonly framework: string;
  /** The version the file states, '' when it does not. */
  readonly version: string;
  /** Keras' backend ('tensorflow', 'theano', 'torch'); '' when the file does not say. */
  readonly backend: string;
}

/** What a file says of its modules beyond plain settings, for comparing. */
export interface Details {
  /** Module path ('' is the whole) to names and texts; null: a value that could not be read. */
  readonly facts: ReadonlyMap<string, import('./json.ts').JsonObject>;
  /** Tensors among them; like `constants` they count in no total. */
  readonly constants: readonly Tensor[];
}

/** Something that lies beside the model in its file. */
export interface Beside {
  /** Equal texts are equal contents, the values of tensors aside; null: it could not be read. */
  readonly text: string | null;
  /** Whether it holds tensors, whose values are in no text. */
  readonly tensors: boolean;
}

export interface Origin {
  readonly config?: import('./json.ts').Json;
  readonly trainingConfig?: import('./json.ts').Json;
  /** PyTorch's state_dict._metadata: module prefix to version. */
  readonly moduleVersions?: ReadonlyMap<string, number>;
  readonly extra?: ReadonlyMap<string, string>;
  /** Class of a whole pickled module, which has no row of its own: 'Sequential', 'package.Net'. */
  readonly rootType?: string;
  /** Its attributes in the file's words. */
  readonly rootAttrs?: import('./json.ts').JsonObject;
  /**
   * Tensors that are no part of the state and count in no total: constants of TorchScript code and of exported programs,
   * attributes and buffers that a module keeps out of its state_dict. Absent: the file cannot tell.
   */
  readonly constants?: readonly Tensor[];
  /**
   * What the file holds of the computation besides layers and graphs, for comparing: part ('code' of TorchScript,
   * 'program' of torch.export) to what works out its SHA-256. Absent: it holds nothing of it.
   */
  readonly program?: ReadonlyMap<string, () => string>;
  /**
   * Works out what PyTorch's modules keep besides `attrs`: hooks, private attributes, functions, objects, lists of
   * tensors; and the entries of a state_dict that are no tensors. Absent: the file cannot tell.
   */
  readonly details?: () => Details;
  /** Works out what lies beside the model in its file, by name; the optimizer is apart. Absent: nothing does. */
  readonly beside?: () => ReadonlyMap<string, Beside>;
}

/** A model file of any format: layers with lazy tensors, graphs where the file has them, and where it comes from. */
export interface Model {
  /** The model's own name where the file has one, else the file's stem. */
  readonly name: string;
  /** Container: 'keras-h5', 'keras-weights-h5', 'keras-zip', 'torch-zip', 'torch-legacy', 'torch-tar', 'torchscript',
   * 'torch-export', 'safetensors', 'pt-json', 'onnx'. */
  readonly format: string;
  readonly dialect: Dialect;
  readonly producer: Producer;
  /** File order; a tensor owned by a container belongs to a Layer with that path. */
  readonly layers: readonly Layer[];
  /** '' is the root, one more per nested model (its path); empty means unknown. */
  readonly graphs: ReadonlyMap<string, Graph>;
  readonly optimizer: readonly Tensor[];
  /** The root's own trainable flag; null where the file does not say. */
  readonly trainable: boolean | null;
  readonly origin: Origin;
  /** Bytes read from disk so far, where the reader can tell. */
  bytesRead(): number;
  close(): Promise<void>;
}
