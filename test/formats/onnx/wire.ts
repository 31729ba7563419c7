/** Protobuf by hand: the wire format of onnx.proto's fields, valid or not. */

type Part = Uint8Array | readonly number[];

export function join(...parts: readonly Part[]): Uint8Array {
  const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}

export function varint(value: number | bigint): Uint8Array {
  const bytes: number[] = [];
  let rest = BigInt.asUintN(64, BigInt(value));
  do {
    const low = Number(rest & 0x7fn);
    rest >>= 7n;
    bytes.push(rest > 0n ? low | 0x80 : low);
  } while (rest > 0n);
  return Uint8Array.from(bytes);
}

export function int(field: number, value: number | bigint): Uint8Array {
  return join(varint(field * 8), varint(value));
}

export function bytes(field: number, body: Part): Uint8Array {
  return join(varint(field * 8 + 2), varint(body.length), body);
}

export function text(field: number, value: string): Uint8Array {
  return bytes(field, new TextEncoder().encode(value));
}

export function float(field: number, value: number): Uint8Array {
  const body = new Uint8Array(4);
  new DataView(body.buffer).setFloat32(0, value, true);
  return join(varint(field * 8 + 5), body);
}

export function floats(...values: readonly number[]): Uint8Array {
  return new Uint8Array(Float32Array.from(values).buffer);
}

export function entry(field: number, key: string, value: string): Uint8Array {
  return bytes(field, join(text(1, key), text(2, value)));
}

/** TensorProto: type and dims, then what the test adds. */
export function tensor(name: string, type: number, dims: readonly (number | bigint)[], ...more: Part[]): Uint8Array {
  return join(...dims.map((size) => int(1, size)), int(2, type), text(8, name), ...more);
}

export function external(location: string, more: Readonly<Record<string, string>> = {}): Uint8Array {
  const entries = [
    entry(13, 'location', location),
    ...Object.entries(more).map(([key, value]) => entry(13, key, value)),
  ];
  return join(...entries, int(14, 1));
}

export interface NodeParts {
  readonly op: string;
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  readonly name?: string;
  readonly domain?: string;
  readonly attributes?: readonly Uint8Array[];
}

export function node(parts: NodeParts): Uint8Array {
  return join(
    ...parts.inputs.map((name) => text(1, name)),
    ...parts.outputs.map((name) => text(2, name)),
    ...(parts.name === undefined ? [] : [text(3, parts.name)]),
    text(4, parts.op),
    ...(parts.attributes ?? []).map((attribute) => bytes(5, attribute)),
    ...(parts.domain === undefined ? [] : [text(7, parts.domain)]),
  );
}

export function info(name: string): Uint8Array {
  return text(1, name);
}

export interface GraphParts {
  readonly nodes?: readonly Uint8Array[];
  readonly initializers?: readonly Uint8Array[];
  readonly inputs?: readonly string[];
  readonly outputs?: readonly string[];
}

export function graph(parts: GraphParts): Uint8Array {
  return join(
    ...(parts.nodes ?? []).map((one) => bytes(1, one)),
    ...(parts.initializers ?? []).map((one) => bytes(5, one)),
    ...(parts.inputs ?? []).map((name) => bytes(11, info(name))),
    ...(parts.outputs ?? []).map((name) => bytes(12, info(name))),
  );
}

export function model(body: Uint8Array): Uint8Array {
  return join(int(1, 8), text(2, 'tests'), bytes(7, body), bytes(8, int(2, 15)));
}
