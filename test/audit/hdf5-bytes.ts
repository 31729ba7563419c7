import { fields, join } from '../helpers/zip-bytes.ts';

const encode = (value: string): Uint8Array => new TextEncoder().encode(value);

export interface Hdf5Part {
  readonly name: string;
  /** 'f8', or a text of so many bytes an element. */
  readonly type: 'f8' | number;
  readonly shape: readonly number[];
  /** What the header calls the size of its data; there is none. */
  readonly stored?: number;
}

const UNDEFINED = new Uint8Array(8).fill(0xff);
const address = (value: number): Uint8Array => fields([8, value]);

function padded(bytes: Uint8Array, size: number): Uint8Array {
  const whole = new Uint8Array(size);
  whole.set(bytes);
  return whole;
}

function header(...messages: readonly (readonly [type: number, body: Uint8Array])[]): Uint8Array {
  const all = messages.map(([type, body]) => {
    const size = Math.ceil(body.length / 8) * 8;
    return join(fields([2, type], [2, size], [4, 0]), padded(body, size));
  });
  const body = join(...all);
  return join(fields([2, 1], [2, messages.length], [4, 1], [4, body.length], [4, 0]), body);
}

function typeMessage(type: 'f8' | number): Uint8Array {
  if (type !== 'f8') return join(new Uint8Array([0x13, 0, 0, 0]), fields([4, type]));
  const float = fields([4, 8], [2, 0], [2, 64]);
  return join(new Uint8Array([0x11, 0x20, 0x3f, 0]), float, new Uint8Array([52, 11, 0, 52]), fields([4, 1023]));
}

/** Datasets of which nothing was ever written, in a file of the oldest form; up to eight, in the order of their names. */
export function hdf5Bytes(...parts: readonly Hdf5Part[]): Uint8Array {
  const names = join(new Uint8Array(8), ...parts.map(({ name }) => padded(encode(name), 8)));
  const tree = 96 + 40;
  const heap = tree + 544;
  const node = heap + 32 + names.length;
  let end = node + 328;
  const headers = parts.map(({ type, shape, stored }) => {
    const size = stored ?? shape.reduce((product, axis) => product * axis, type === 'f8' ? 8 : type);
    const place = stored === undefined ? UNDEFINED : address(96);
    const bytes = header(
      [0x0001, join(new Uint8Array([1, shape.length, 0, 0, 0, 0, 0, 0]), ...shape.map(address))],
      [0x0003, typeMessage(type)],
      [0x0008, join(new Uint8Array([3, 1]), place, address(size))],
    );
    const at = end;
    end += bytes.length;
    return { at, bytes };
  });
  const entries = headers.map(({ at }, index) => join(address(8 + 8 * index), address(at), new Uint8Array(24)));
  return join(
    encode('\x00HDF\r\n\x1a\n').fill(0x89, 0, 1),
    new Uint8Array([0, 0, 0, 0, 0, 8, 8, 0]),
    fields([2, 4], [2, 16], [4, 0]),
    address(0),
    UNDEFINED,
    address(end),
    UNDEFINED,
    join(address(0), address(96), fields([4, 1], [4, 0]), address(tree), address(heap)),
    header([0x0011, join(address(tree), address(heap))]),
    padded(
      join(
        encode('TREE'),
        fields([2, 0], [2, 1]),
        UNDEFINED,
        UNDEFINED,
        address(0),
        address(node),
        address(8 * parts.length),
      ),
      544,
    ),
    join(encode('HEAP'), fields([4, 0]), address(names.length), address(1), address(heap + 32), names),
    padded(join(encode('SNOD'), fields([2, 1], [2, parts.length]), ...entries), 328),
    ...headers.map(({ bytes }) => bytes),
  );
}
