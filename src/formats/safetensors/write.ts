import { tensorBlocks } from '../../bytes/dense-tensor.ts';
import type { WriteTarget } from '../../bytes/target.ts';
import { BnsumError } from '../../ir/error.ts';
import { LIMITS } from '../../ir/limits.ts';
import type { StateEntry } from '../../ir/state.ts';
import { DTYPE_WORDS } from './header.ts';

const RANK: ReadonlyMap<string, number> = new Map(DTYPE_WORDS.map(([, dtype], index) => [dtype, index]));

/**
 * Writes a safetensors file as the reference writer lays it out: tensors by falling element type, then by the bytes of
 * their names; the header padded with spaces to a multiple of 8. `metadata` keeps its order; PyTorch's readers want
 * `format: pt`. The format has no sharing, so a tied tensor is written under each of its names.
 * Throws BnsumError UNSUPPORTED for a tensor that the format cannot hold, LIMIT for a header that is too long.
 */
export async function writeSafetensors(
  entries: readonly StateEntry[],
  metadata: ReadonlyMap<string, string>,
  target: WriteTarget,
): Promise<void> {
  const sorted = entries.map((entry) => ({ entry, rank: rankOf(entry), key: new TextEncoder().encode(entry.name) }));
  sorted.sort((a, b) => b.rank - a.rank || compareBytes(a.key, b.key));
  const parts: string[] = [];
  if (metadata.size > 0) parts.push(`"__metadata__":${formatMetadata(metadata)}`);
  let offset = 0;
  const names = new Set<string>();
  for (const { entry, rank } of sorted) {
    const { name, tensor } = entry;
    if (names.has(name)) throw new BnsumError({ code: 'INTERNAL', place: name, reason: 'written twice' });
    names.add(name);
    const end = offset + tensor.byteLength;
    const word = DTYPE_WORDS[rank]?.[0] ?? '';
    parts.push(
      `${JSON.stringify(name)}:{"dtype":"${word}","shape":[${tensor.shape.join(',')}],"data_offsets":[${offset},${end}]}`,
    );
    offset = end;
  }
  const text = new TextEncoder().encode(`{${parts.join(',')}}`);
  const length = Math.ceil(text.byteLength / 8) * 8;
  if (length > LIMITS.safetensorsHeaderBytes) {
    throw new BnsumError({
      code: 'LIMIT',
      reason: `a safetensors header of ${length} bytes, readers take at most ${LIMITS.safetensorsHeaderBytes}`,
      next: 'write .pt instead',
    });
  }
  const header = new Uint8Array(8 + length).fill(0x20);
  new DataView(header.buffer).setBigUint64(0, BigInt(length), true);
  header.set(text, 8);
  await target.write(header);
  for (const { entry } of sorted) {
    let written = 0;
    for await (const block of tensorBlocks(entry.tensor)) {
      await target.write(block);
      written += block.byteLength;
    }
    if (written !== entry.tensor.byteLength) {
      const reason = `gave ${written} bytes instead of ${entry.tensor.byteLength}`;
      throw new BnsumError({ code: 'INTERNAL', place: entry.name, reason });
    }
  }
}

function rankOf({ name, tensor }: StateEntry): number {
  const refuse = (reason: string): BnsumError =>
    new BnsumError({ code: 'UNSUPPORTED', place: name, reason, next: 'write .pt instead' });
  if (name === '__metadata__') throw refuse('safetensors keeps this name for itself');
  if (/\p{Surrogate}/u.test(name)) throw refuse('safetensors cannot hold a name with a lone surrogate');
  if (tensor.encoding.kind !== 'dense')
    throw refuse(`safetensors holds dense tensors, not ${tensor.encoding.kind} ones`);
  const rank = RANK.get(tensor.dtype);
  if (rank === undefined) throw refuse(`safetensors has no type for ${tensor.dtype}`);
  return rank;
}

/** Order of Rust strings: by UTF-8 bytes. */
function compareBytes(a: Uint8Array, b: Uint8Array): number {
  const shared = Math.min(a.byteLength, b.byteLength);
  for (let at = 0; at < shared; at += 1) {
    const difference = (a[at] ?? 0) - (b[at] ?? 0);
    if (difference !== 0) return difference;
  }
  return a.byteLength - b.byteLength;
}

function formatMetadata(metadata: ReadonlyMap<string, string>): string {
  const parts = [...metadata].map(([key, value]) => `${JSON.stringify(key)}:${JSON.stringify(value)}`);
  return `{${parts.join(',')}}`;
}
