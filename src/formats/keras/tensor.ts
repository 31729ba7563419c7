import { countElements, provedByteLength } from '../../ir/build.ts';
import type { DType } from '../../ir/dtype.ts';
import { BnsumError } from '../../ir/error.ts';
import { LIMITS } from '../../ir/limits.ts';
import type { Tensor } from '../../ir/model.ts';
import { type Hdf5Dataset, type Hdf5File, textAttribute } from './hdf5.ts';

/**
 * A dataset as a lazy tensor. `policy` is the layer's dtype, which decides what two opaque bytes are where the array is
 * not marked. Throws BnsumError: UNSAFE for bytes in other files, LIMIT and TRUNCATED for claims beyond the bytes present,
 * UNSUPPORTED for a type without numbers.
 */
export function tensorOf(file: Hdf5File, dataset: Hdf5Dataset, policy: string | undefined, name: string): Tensor {
  const { label } = file;
  const place = dataset.path;
  const dtype = dtypeOf(label, dataset, policy);
  const shape = dataset.shape ?? [0];
  if (dataset.external || dataset.layout === 'virtual') {
    throw new BnsumError({
      code: 'UNSAFE',
      file: label,
      place,
      reason: `its bytes are in other files (${dataset.external ? 'external storage' : 'a virtual dataset'}), which are never opened`,
      next: 'repack the file into one with h5repack',
    });
  }
  const claimed = shape.reduce((product, axis) => product * axis, 1);
  if (!Number.isSafeInteger(claimed)) {
    throw new BnsumError({
      code: 'LIMIT',
      file: label,
      place,
      reason: `shape [${shape.join(', ')}] claims ${claimed.toExponential(1)} elements`,
    });
  }
  const elements = countElements(shape, label, place);
  const byteLength = provedByteLength(dtype, shape, label, place);
  if (elements > 0) proveBytes(label, dataset, byteLength);
  return {
    name,
    dtype,
    shape,
    byteLength,
    encoding: { kind: 'dense' },
    identity: `${label}@${dataset.identity}`,
    storage: `${label}@${dataset.identity}`,
    readInto: (start, count, into, signal) => file.readInto(place, start, count, into, signal),
  };
}

function proveBytes(file: string, dataset: Hdf5Dataset, byteLength: number): void {
  const { layout, storedBytes, path: place } = dataset;
  if (byteLength > LIMITS.hdf5DeclaredBytes && byteLength > LIMITS.hdf5Ratio * storedBytes) {
    throw new BnsumError({
      code: 'LIMIT',
      file,
      place,
      reason: `claims ${byteLength} bytes of which the file holds at most ${storedBytes}`,
    });
  }
  if (storedBytes === 0) throw new BnsumError({ code: 'TRUNCATED', file, place, reason: 'no data was ever written' });
  if ((layout === 'contiguous' || layout === 'compact') && storedBytes < byteLength) {
    throw new BnsumError({
      code: 'TRUNCATED',
      file,
      place,
      reason: `${byteLength} bytes claimed, ${storedBytes} stored`,
    });
  }
}

function dtypeOf(file: string, dataset: Hdf5Dataset, policy: string | undefined): DType {
  const { dtype, path: place } = dataset;
  if (dtype !== null && dtype !== 'opaque2') return dtype;
  if (dtype === 'opaque2') {
    const mark = textAttribute(dataset, 'dtype');
    // A policy such as mixed_bfloat16 keeps float32 variables, so it says nothing about opaque ones.
    if ((mark ?? policy) === 'bfloat16') return 'bfloat16';
    if (mark === undefined && policy === undefined) {
      throw new BnsumError({
        code: 'AMBIGUOUS',
        file,
        place,
        reason: 'two opaque bytes an element: nothing here says which type that is',
        next: 'give the architecture with --config',
      });
    }
  }
  throw new BnsumError({ code: 'UNSUPPORTED', file, place, reason: `holds no numbers (${dataset.typeWords})` });
}
