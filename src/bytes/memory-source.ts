import { checkRange } from './range.ts';
import type { ByteSource } from './source.ts';

/**
 * A source over bytes in memory; reads give views, not copies. `bytesRead` reports for the file that the bytes came
 * from, where there is one; otherwise what was delivered here is counted.
 */
export function memorySource(bytes: Uint8Array, label: string, bytesRead?: () => number): ByteSource {
  let delivered = 0;
  const read = bytesRead ?? (() => delivered);
  const over = (view: Uint8Array, name: string): ByteSource => ({
    size: view.byteLength,
    label: name,
    async read(start, end, signal) {
      signal?.throwIfAborted();
      checkRange(name, view.byteLength, start, end);
      delivered += end - start;
      return view.subarray(start, end);
    },
    readSync(start, into) {
      checkRange(name, view.byteLength, start, start + into.byteLength);
      into.set(view.subarray(start, start + into.byteLength));
      delivered += into.byteLength;
      return into.byteLength;
    },
    slice(start, end, sliceLabel) {
      checkRange(name, view.byteLength, start, end);
      return over(view.subarray(start, end), sliceLabel);
    },
    bytesRead: read,
    async close() {},
  });
  return over(bytes, label);
}
