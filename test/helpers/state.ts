import fc from 'fast-check';
import { denseTensor } from '../../src/bytes/dense-tensor.ts';
import { byteLengthOf, type DType } from '../../src/ir/dtype.ts';
import type { StateEntry } from '../../src/ir/state.ts';

/** A state_dict entry over bytes in memory. */
export function entryOf(
  name: string,
  dtype: DType,
  shape: readonly number[],
  bytes: Uint8Array,
  facts: Partial<StateEntry> = {},
): StateEntry {
  const tensor = denseTensor({
    file: 'memory',
    name,
    dtype,
    shape,
    identity: name,
    storage: name,
    async fill(start, into) {
      into.set(bytes.subarray(start, start + into.byteLength));
    },
  });
  return { name, tensor, kind: null, requiresGrad: null, shares: null, ...facts };
}

export interface RandomEntry {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly bytes: Uint8Array;
}

const odd = fc.constantFrom(
  '__proto__',
  'constructor',
  '',
  '../x',
  '10',
  '2',
  'é',
  '😀',
  '\u001b[31m',
  'a"b\\c',
  'x.y.weight',
);

/** A state_dict with names of every kind and random bytes in every element (NaN payloads, infinities, -0 among them). */
export function stateArbitrary(dtypes: readonly DType[]): fc.Arbitrary<readonly RandomEntry[]> {
  const shape = fc.array(fc.integer({ min: 0, max: 5 }), { maxLength: 4 });
  const name = fc.oneof(odd, fc.string({ maxLength: 12, unit: 'grapheme' }));
  const entry = fc
    .record({ name, dtype: fc.constantFrom(...dtypes), shape })
    .chain(({ name: key, dtype, shape: axes }) => {
      const length = byteLengthOf(
        dtype,
        axes.reduce((product, axis) => product * axis, 1),
      );
      const bytes = fc.uint8Array({ minLength: length, maxLength: length });
      // A boolean is a byte that is 0 or 1.
      const valid = dtype === 'bool' ? bytes.map((all) => all.map((byte) => byte & 1)) : bytes;
      return valid.map((data) => ({ name: key, dtype, shape: axes, bytes: data }));
    });
  return fc.uniqueArray(entry, { maxLength: 8, selector: (one) => one.name });
}
