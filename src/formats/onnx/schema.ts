/**
 * The messages of an ONNX file, as far as they are read: field numbers, names and kinds of the published specification
 * (onnx.proto, IR version 13). What is not listed (texts, training, quantisation notes) is skipped.
 */
export type MessageName =
  | 'Model'
  | 'Opset'
  | 'Entry'
  | 'Graph'
  | 'Node'
  | 'Attribute'
  | 'Tensor'
  | 'SparseTensor'
  | 'ValueInfo'
  | 'Type'
  | 'TensorType'
  | 'Shape'
  | 'Dimension'
  | 'Function';

/** int: any varint. payload: element values, of which only the place is kept. */
export type FieldKind = 'int' | 'float' | 'string' | 'bytes' | 'payload' | { readonly message: MessageName };

export interface Field {
  readonly name: string;
  readonly kind: FieldKind;
  readonly repeated: boolean;
  /** Wire type of one value: 0 varint, 1 eight bytes, 2 with a length, 5 four bytes. */
  readonly wire: 0 | 1 | 2 | 5;
}

export type PayloadField =
  | 'raw_data'
  | 'float_data'
  | 'int32_data'
  | 'string_data'
  | 'int64_data'
  | 'double_data'
  | 'uint64_data';

function one(name: string, kind: FieldKind): Field {
  return { name, kind, repeated: false, wire: kind === 'int' ? 0 : kind === 'float' ? 5 : 2 };
}

function many(name: string, kind: FieldKind): Field {
  return { ...one(name, kind), repeated: true };
}

function payload(name: PayloadField, wire: Field['wire']): Field {
  return { name, kind: 'payload', repeated: name !== 'raw_data', wire };
}

function of(message: MessageName): FieldKind {
  return { message };
}

/** Stands for an element payload once the file is skimmed: an index into the list of places. Outside ONNX's numbers. */
export const PAYLOAD_NUMBER = 1000;

type Fields = ReadonlyMap<number, Field>;

export const SCHEMA: Readonly<Record<MessageName, Fields>> = {
  Model: new Map([
    [1, one('ir_version', 'int')],
    [2, one('producer_name', 'string')],
    [3, one('producer_version', 'string')],
    [4, one('domain', 'string')],
    [5, one('model_version', 'int')],
    [7, one('graph', of('Graph'))],
    [8, many('opset_import', of('Opset'))],
    [14, many('metadata_props', of('Entry'))],
    [25, many('functions', of('Function'))],
  ]),
  Opset: new Map([
    [1, one('domain', 'string')],
    [2, one('version', 'int')],
  ]),
  Entry: new Map([
    [1, one('key', 'string')],
    [2, one('value', 'string')],
  ]),
  Graph: new Map([
    [1, many('node', of('Node'))],
    [2, one('name', 'string')],
    [5, many('initializer', of('Tensor'))],
    [11, many('input', of('ValueInfo'))],
    [12, many('output', of('ValueInfo'))],
    [13, many('value_info', of('ValueInfo'))],
    [15, many('sparse_initializer', of('SparseTensor'))],
  ]),
  Node: new Map([
    [1, many('input', 'string')],
    [2, many('output', 'string')],
    [3, one('name', 'string')],
    [4, one('op_type', 'string')],
    [5, many('attribute', of('Attribute'))],
    [7, one('domain', 'string')],
    [8, one('overload', 'string')],
  ]),
  Attribute: new Map([
    [1, one('name', 'string')],
    [2, one('f', 'float')],
    [3, one('i', 'int')],
    [4, one('s', 'bytes')],
    [5, one('t', of('Tensor'))],
    [6, one('g', of('Graph'))],
    [7, many('floats', 'float')],
    [8, many('ints', 'int')],
    [9, many('strings', 'bytes')],
    [10, many('tensors', of('Tensor'))],
    [11, many('graphs', of('Graph'))],
    // Types are compared as they stand.
    [14, one('tp', 'bytes')],
    [15, many('type_protos', 'bytes')],
    [20, one('type', 'int')],
    [21, one('ref_attr_name', 'string')],
    [22, one('sparse_tensor', of('SparseTensor'))],
  ]),
  Tensor: new Map([
    [1, many('dims', 'int')],
    [2, one('data_type', 'int')],
    [3, one('segment', 'bytes')],
    [4, payload('float_data', 5)],
    [5, payload('int32_data', 0)],
    [6, payload('string_data', 2)],
    [7, payload('int64_data', 0)],
    [8, one('name', 'string')],
    [9, payload('raw_data', 2)],
    [10, payload('double_data', 1)],
    [11, payload('uint64_data', 0)],
    [13, many('external_data', of('Entry'))],
    [14, one('data_location', 'int')],
  ]),
  SparseTensor: new Map([
    [1, one('values', of('Tensor'))],
    [2, one('indices', of('Tensor'))],
    [3, many('dims', 'int')],
  ]),
  ValueInfo: new Map([
    [1, one('name', 'string')],
    [2, one('type', of('Type'))],
  ]),
  Type: new Map([[1, one('tensor_type', of('TensorType'))]]),
  TensorType: new Map([
    [1, one('elem_type', 'int')],
    [2, one('shape', of('Shape'))],
  ]),
  Shape: new Map([[1, many('dim', of('Dimension'))]]),
  Dimension: new Map([
    [1, one('dim_value', 'int')],
    [2, one('dim_param', 'string')],
  ]),
  Function: new Map([
    [1, one('name', 'string')],
    [4, many('input', 'string')],
    [5, many('output', 'string')],
    [7, many('node', of('Node'))],
    [10, one('domain', 'string')],
    [11, many('attribute_proto', of('Attribute'))],
    [13, one('overload', 'string')],
  ]),
};

/** A 64-bit integer: a number where it is safe. */
export type Integer = number | bigint;

export interface ModelProto {
  readonly ir_version?: Integer;
  readonly producer_name?: string;
  readonly producer_version?: string;
  readonly domain?: string;
  readonly model_version?: Integer;
  readonly graph?: GraphProto;
  readonly opset_import?: readonly OpsetProto[];
  readonly metadata_props?: readonly EntryProto[];
  readonly functions?: readonly FunctionProto[];
}

export interface OpsetProto {
  readonly domain?: string;
  readonly version?: Integer;
}

export interface EntryProto {
  readonly key?: string;
  readonly value?: string;
}

export interface GraphProto {
  readonly node?: readonly NodeProto[];
  readonly name?: string;
  readonly initializer?: readonly TensorProto[];
  readonly input?: readonly ValueInfoProto[];
  readonly output?: readonly ValueInfoProto[];
  readonly value_info?: readonly ValueInfoProto[];
  readonly sparse_initializer?: readonly SparseTensorProto[];
}

export interface NodeProto {
  readonly input?: readonly string[];
  readonly output?: readonly string[];
  readonly name?: string;
  readonly op_type?: string;
  readonly attribute?: readonly AttributeProto[];
  readonly domain?: string;
  readonly overload?: string;
}

export interface AttributeProto {
  readonly name?: string;
  readonly f?: number;
  readonly i?: Integer;
  readonly s?: Uint8Array;
  readonly t?: TensorProto;
  readonly g?: GraphProto;
  readonly floats?: readonly number[];
  readonly ints?: readonly Integer[];
  readonly strings?: readonly Uint8Array[];
  readonly tensors?: readonly TensorProto[];
  readonly graphs?: readonly GraphProto[];
  readonly tp?: Uint8Array;
  readonly type_protos?: readonly Uint8Array[];
  readonly type?: Integer;
  readonly ref_attr_name?: string;
  readonly sparse_tensor?: SparseTensorProto;
}

export interface TensorProto {
  readonly dims?: readonly Integer[];
  readonly data_type?: Integer;
  readonly segment?: Uint8Array;
  readonly name?: string;
  readonly external_data?: readonly EntryProto[];
  readonly data_location?: Integer;
  /** Indices into the list of places that skimming gives. */
  readonly payload?: readonly number[];
}

export interface SparseTensorProto {
  readonly values?: TensorProto;
  readonly indices?: TensorProto;
  readonly dims?: readonly Integer[];
}

export interface ValueInfoProto {
  readonly name?: string;
  readonly type?: {
    readonly tensor_type?: {
      readonly elem_type?: Integer;
      readonly shape?: { readonly dim?: readonly { readonly dim_value?: Integer; readonly dim_param?: string }[] };
    };
  };
}

export interface FunctionProto {
  readonly name?: string;
  readonly input?: readonly string[];
  readonly output?: readonly string[];
  readonly node?: readonly NodeProto[];
  readonly domain?: string;
  /** Attributes of a call that have a default. */
  readonly attribute_proto?: readonly AttributeProto[];
  readonly overload?: string;
}
