import { codec } from '../../bytes/codec.ts';
import { BnsumError } from '../../ir/error.ts';
import { isList, isObject, type Json, type JsonObject } from '../../ir/json.ts';
import { LIMITS } from '../../ir/limits.ts';
import type { Tensor } from '../../ir/model.ts';
import { shortest } from '../../layers/decimal.ts';
import { onnxVersion, withOnnxDefaults } from '../../layers/onnx-defaults.ts';
import { type Functions, functionOf } from './function.ts';
import { attributeOf, isStandard, operatorOf, settingsOf } from './node.ts';
import type { FunctionProto, GraphProto, NodeProto, SparseTensorProto, TensorProto } from './schema.ts';
import type { Root } from './scope.ts';
import { readTensor, type Stored, smallBytes, type TensorContext } from './tensor.ts';

/** A value that is known before the model runs, as it is to be compared: a tensor, what nodes make of some, or JSON. */
export type Source = Root | Expression | { readonly json: Json };

/** What a node makes of constants alone. */
export interface Expression {
  readonly op: string;
  readonly attrs: JsonObject;
  readonly args: readonly (Source | null)[];
}

/** What a node says besides what it reads. */
export interface NodeForm {
  readonly attrs: JsonObject;
  /** Names of the graph around it that the graphs inside it read, in the order in which the form counts them. */
  readonly free: readonly string[];
}

/** Canonical forms of one file's nodes: equal forms compute the same, whatever the values inside are called. */
export interface Forms {
  of(node: NodeProto): Promise<NodeForm>;
  /** The text of a constant; null for one that is a tensor of the model, or too large to be read while opening. */
  textOf(stored: Stored): Promise<string | null>;
  /** The digest of a tensor of texts. */
  strings(proto: TensorProto): Promise<string>;
  /** Counts a tensor among those that are compared by their values alone; gives what stands for it. */
  apart(stored: Stored): string;
  /** Tensors that count in no total and are no argument that could be read: large constants. */
  readonly constants: readonly Tensor[];
  /** Operators that occur, with the version that the file's operator sets mean. */
  readonly versions: ReadonlyMap<string, number>;
  /** Whether a text was too long to be read. */
  unread(): boolean;
}

/** Elements that are listed; of more, there is a digest. */
const LISTED = 16;

/** Bytes of texts that are read for a digest. */
const TEXT_BYTES = 1024 * 1024;

export function formsOf(functions: Functions, opsets: ReadonlyMap<string, number>, context: TensorContext): Forms {
  const file = context.source.label;
  const constants: Tensor[] = [];
  const versions = new Map<string, number>();
  const bodies = new Map<FunctionProto, string>();
  let unread = false;
  let read = 0;

  const apart = (stored: Stored): string => {
    const { tensor } = stored;
    // Numbered as they come: names inside a graph say nothing.
    const name = `constant ${constants.length + 1}`;
    constants.push({ ...tensor, name });
    return `${tensor.dtype} [${tensor.shape.join(', ')}], ${name}`;
  };

  const textOf = async (stored: Stored): Promise<string | null> => {
    const bytes = await smallBytes(stored);
    return bytes === null ? null : valueText(stored.tensor, bytes);
  };

  const strings = async (proto: TensorProto): Promise<string> => {
    const hash = codec().sha256();
    const places = (proto.payload ?? []).flatMap((index) => context.payloads[index] ?? []);
    const size = places.reduce((sum, { start, end }) => sum + end - start, 0);
    if (size > TEXT_BYTES) {
      unread = true;
      return `${size} bytes of text`;
    }
    for (const { start, end } of places) hash.update(await context.source.read(start, end));
    return `text [${(proto.dims ?? []).join(', ')}] ${hash.digest()}`;
  };

  const tensorText = async (proto: TensorProto): Promise<string> => {
    const stored = await readTensor(proto, proto.name ?? '', `${file}#form/${read++}`, context);
    return stored === null ? strings(proto) : ((await textOf(stored)) ?? apart(stored));
  };

  const sparseText = async (proto: SparseTensorProto): Promise<string> => {
    const { values, indices } = proto;
    const parts = [values, indices].flatMap((part) => (part === undefined ? [] : [part]));
    const texts: string[] = [];
    for (const part of parts) texts.push(await tensorText(part));
    return `sparse [${(proto.dims ?? []).join(', ')}] ${texts.join(' at ')}`;
  };

  const version = (node: NodeProto): void => {
    const opset = opsets.get(isStandard(node) ? '' : (node.domain ?? ''));
    const own = opset === undefined || !isStandard(node) ? opset : onnxVersion(node.op_type ?? '', opset);
    if (own !== undefined && own !== null) versions.set(operatorOf(node), own);
  };

  const of = async (node: NodeProto, depth = 0): Promise<NodeForm> => {
    version(node);
    const attrs = new Map<string, Json>();
    const free: string[] = [];
    for (const [name, value] of settingsOf(node)) attrs.set(name, plain(value));
    for (const attribute of node.attribute ?? []) {
      const name = attribute.name ?? '';
      const graphs = [...(attribute.g === undefined ? [] : [attribute.g]), ...(attribute.graphs ?? [])];
      const parts: string[] = [];
      for (const graph of graphs) {
        const form = await graphForm(graph, free, depth);
        parts.push(`graph ${form}`);
      }
      for (const proto of [...(attribute.t === undefined ? [] : [attribute.t]), ...(attribute.tensors ?? [])]) {
        parts.push(await tensorText(proto));
      }
      if (attribute.sparse_tensor !== undefined) parts.push(await sparseText(attribute.sparse_tensor));
      for (const bytes of [...(attribute.tp === undefined ? [] : [attribute.tp]), ...(attribute.type_protos ?? [])]) {
        parts.push(`type ${hex(bytes)}`);
      }
      if (attribute.ref_attr_name !== undefined && attribute.ref_attr_name !== '') {
        attrs.set(name, new Map([['of the call', attribute.ref_attr_name]]));
      } else if (parts.length > 0) attrs.set(name, parts.length === 1 ? (parts[0] ?? '') : parts);
    }
    const body = functionOf(node, functions);
    if (body !== undefined) attrs.set('function', await functionForm(body, depth + 1));
    const full = isStandard(node) ? withOnnxDefaults(node.op_type ?? '', attrs, opsets.get('')) : attrs;
    return { attrs: full, free };
  };

  /** SHA-256 of what a list of nodes makes of its arguments, for each of the outputs. */
  const nodesForm = async (
    nodes: readonly NodeProto[],
    outputs: readonly string[],
    terms: Map<string, string>,
    free: string[] | null,
    depth: number,
  ): Promise<readonly string[]> => {
    const termOf = (name: string): string => {
      if (name === '') return '';
      const own = terms.get(name);
      if (own !== undefined) return own;
      if (free === null) return '?';
      const at = free.indexOf(name);
      return `outer ${at < 0 ? free.push(name) - 1 : at}`;
    };
    for (const node of nodes) {
      const form = await of(node, depth);
      const args = [...(node.input ?? []), ...form.free].map(termOf);
      while (args.at(-1) === '') args.pop();
      const term = digest([operatorOf(node), node.overload ?? '', form.attrs, args]);
      for (const [index, name] of (node.output ?? []).entries()) terms.set(name, `${term} ${index}`);
    }
    return outputs.map(termOf);
  };

  const graphForm = async (graph: GraphProto, free: string[], depth: number): Promise<string> => {
    const terms = new Map<string, string>();
    for (const [index, { name = '' }] of (graph.input ?? []).entries()) terms.set(name, `input ${index}`);
    for (const [index, proto] of (graph.initializer ?? []).entries()) {
      const stored = await readTensor(proto, proto.name ?? '', `${file}#form/${read++}`, context);
      if (stored === null) {
        terms.set(proto.name ?? '', await strings(proto));
        continue;
      }
      const { dtype, shape } = stored.tensor;
      // A graph of the model has its larger tensors in rows, that of a function has none.
      const text = shape.length === 0 || depth > 0 ? await textOf(stored) : null;
      const place = `initializer ${index} ${dtype} [${shape.join(', ')}]`;
      terms.set(proto.name ?? '', text ?? (depth > 0 ? apart(stored) : place));
    }
    for (const [index, { values, dims }] of (graph.sparse_initializer ?? []).entries()) {
      terms.set(values?.name ?? '', `sparse initializer ${index} [${(dims ?? []).join(', ')}]`);
    }
    const outputs = (graph.output ?? []).map(({ name = '' }) => name);
    return digest([graph.input?.length ?? 0, await nodesForm(graph.node ?? [], outputs, terms, free, depth)]);
  };

  const functionForm = async (body: FunctionProto, depth: number): Promise<string> => {
    const known = bodies.get(body);
    if (known !== undefined) return known;
    if (depth > LIMITS.protobufDepth) {
      const reason = `functions are nested deeper than ${LIMITS.protobufDepth}`;
      throw new BnsumError({ code: 'LIMIT', file, place: body.name ?? '', reason });
    }
    const terms = new Map((body.input ?? []).map((name, index) => [name, `input ${index}`]));
    const defaults = await of({ attribute: body.attribute_proto ?? [], domain: body.domain ?? '' }, depth);
    const form = digest([defaults.attrs, await nodesForm(body.node ?? [], body.output ?? [], terms, null, depth)]);
    bodies.set(body, form);
    return form;
  };

  return { of, textOf, strings, apart, constants, versions, unread: () => unread };

  function digest(value: Json): string {
    return sha256(jsonText(value));
  }
}

/** Whether a value follows from its tensor by steps that a layer's roles and shapes state already. */
export function isStated(source: Source | null | undefined): boolean {
  let next: Source | null | undefined = source;
  while (next !== null && next !== undefined && 'args' in next) {
    if (!STATED.has(next.op)) return false;
    next = next.args[0];
  }
  return true;
}

const STATED: ReadonlySet<string> = new Set([
  'ConstantFill',
  'ConstantOfShape',
  'Identity',
  'Reshape',
  'Squeeze',
  'Transpose',
  'Unsqueeze',
]);

/** Whether a node is a Constant with a tensor, which stands for itself. */
export function isConstantNode(node: NodeProto): boolean {
  return isStandard(node) && node.op_type === 'Constant' && attributeOf(node, 'value_string') === undefined;
}

/** Longer, the text of an expression is its digest: a chain of constants that are read twice each doubles at each step. */
const EXPRESSION = 2000;

/**
 * The JSON of constants: `{value: 'float32 2'}`, `{tensor: [layer, role]}` for one that a layer has, and
 * `{op, attrs, args}`. Expressions are given in the order in which they were made, so that arguments are known.
 */
export async function describeSources(
  expressions: readonly Expression[],
  rowOf: (root: Root) => { readonly path: string; readonly role: string; readonly inlined: boolean } | undefined,
  forms: Forms,
): Promise<(source: Source | null) => Promise<Json>> {
  const known = new Map<Source, Json>();
  const leaf = async (root: Root): Promise<Json> => {
    const row = rowOf(root);
    const text = row === undefined || row.inlined ? await forms.textOf(root.stored) : null;
    if (text !== null) return new Map([['value', text]]);
    if (row !== undefined) return new Map([['tensor', [row.path, row.role]]]);
    return new Map([['value', forms.apart(root.stored)]]);
  };
  const describe = async (source: Source | null): Promise<Json> => {
    if (source === null) return null;
    if ('json' in source) return source.json;
    const before = known.get(source);
    if (before !== undefined) return before;
    let found: Json;
    if ('args' in source) {
      const args: Json[] = [];
      for (const one of source.args) args.push(await describe(one));
      const whole = new Map<string, Json>([
        ['op', source.op],
        ['attrs', source.attrs],
        ['args', args],
      ]);
      const text = jsonText(whole);
      found = text.length > EXPRESSION ? new Map([['value', `${source.op} ${sha256(text)}`]]) : whole;
    } else found = await leaf(source);
    known.set(source, found);
    return found;
  };
  // Each finds its arguments described, so that no chain is followed twice or too deep.
  for (const expression of expressions) await describe(expression);
  return describe;
}

/** `float32 2`, `int64 [2, 2]`; a digest of more than a few elements. */
function valueText({ dtype, shape }: Tensor, bytes: Uint8Array): string {
  const count = shape.reduce((product, size) => product * size, 1);
  const numbers = count <= LISTED && shape.length <= 1 ? numbersIn(dtype, bytes) : null;
  if (numbers !== null) return `${dtype} ${shape.length === 0 ? (numbers[0] ?? '') : `[${numbers.join(', ')}]`}`;
  const small = bytes.byteLength <= LISTED;
  return `${dtype} [${shape.join(', ')}] ${small ? hex(bytes) : sha256(bytes)}`;
}

function numbersIn(dtype: string, bytes: Uint8Array): readonly string[] | null {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const all = (size: number, get: (at: number) => number | bigint): readonly string[] =>
    Array.from({ length: bytes.byteLength / size }, (_, index) => numberText(get(index * size)));
  switch (dtype) {
    case 'float32':
      return all(4, (at) => view.getFloat32(at, true)).map((text) => numberText(shortest(Number(text))));
    case 'float64':
      return all(8, (at) => view.getFloat64(at, true));
    case 'int64':
      return all(8, (at) => view.getBigInt64(at, true));
    case 'int32':
      return all(4, (at) => view.getInt32(at, true));
    case 'bool':
    case 'uint8':
      return all(1, (at) => view.getUint8(at));
    default:
      return null;
  }
}

function numberText(value: number | bigint): string {
  return Object.is(value, -0) ? '-0' : String(value);
}

/** A setting with its 32-bit numbers as they were meant. */
function plain(value: Json): Json {
  if (typeof value === 'number') return shortest(value);
  return isList(value) ? value.map(plain) : value;
}

/** JSON with sorted keys. Nothing here is deeper than an expression's longest text allows. */
function jsonText(value: Json): string {
  if (isList(value)) return `[${value.map(jsonText).join(',')}]`;
  if (isObject(value)) {
    const members = [...value].toSorted(([one], [other]) => (one < other ? -1 : one > other ? 1 : 0));
    return `{${members.map(([key, inner]) => `${JSON.stringify(key)}:${jsonText(inner)}`).join(',')}}`;
  }
  if (typeof value === 'bigint' || typeof value === 'number') return numberText(value);
  return JSON.stringify(value);
}

function sha256(data: string | Uint8Array): string {
  const hash = codec().sha256();
  hash.update(typeof data === 'string' ? new TextEncoder().encode(data) : data);
  return hash.digest();
}

function hex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}
