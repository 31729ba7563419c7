import { bytesPerElement, type DType } from '../../src/ir/dtype.ts';
import type { Tensor } from '../../src/ir/model.ts';

/** A dense tensor over bytes in memory, C order. */
export function memoryTensor(name: string, dtype: DType, shape: readonly number[], bytes: Uint8Array): Tensor {
  const size = bytesPerElement(dtype);
  return {
    name,
    dtype,
    shape,
    byteLength: bytes.byteLength,
    encoding: { kind: 'dense' },
    identity: name,
    storage: name,
    async readInto(start, count, into) {
      const copy = (axis: number, from: number, to: number): number => {
        if (axis === shape.length) {
          into.set(bytes.subarray(from * size, (from + 1) * size), to * size);
          return to + 1;
        }
        const inner = shape.slice(axis + 1).reduce((product, n) => product * n, 1);
        for (let k = 0; k < (count[axis] ?? 0); k += 1) {
          to = copy(axis + 1, from + ((start[axis] ?? 0) + k) * inner, to);
        }
        return to;
      };
      copy(0, 0, 0);
    },
  };
}

/** int32 tensor holding 0, 1, 2 … so that every element is told apart. */
export function countingTensor(name: string, shape: readonly number[], first = 0): Tensor {
  const elements = shape.reduce((product, n) => product * n, 1);
  const values = Int32Array.from({ length: elements }, (_, index) => first + index);
  return memoryTensor(name, 'int32', shape, new Uint8Array(values.buffer));
}
