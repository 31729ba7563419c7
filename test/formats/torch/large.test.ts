import { mkdtempSync, rmSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openTorch } from './open.ts';
import { bytes, dict, PROTO2, STOP, tensor } from './pickle-builder.ts';
import { type Member, planZip } from './zip-builder.ts';

let folder = '';
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'bnsum-large-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

async function writeSparse(name: string, members: readonly Member[]): Promise<string> {
  const path = join(folder, name);
  const { parts, size } = planZip(members);
  const file = await open(path, 'w');
  await file.truncate(size);
  for (const [at, part] of parts) await file.write(part, 0, part.length, at);
  await file.close();
  return path;
}

function checkpoint(pickle: Uint8Array, storages: readonly number[]): readonly Member[] {
  return [
    { name: 'm/data.pkl', content: pickle },
    { name: 'm/byteorder', content: bytes('little') },
    ...storages.map((size, key) => ({ name: `m/data/${key}`, size })),
    { name: 'm/version', content: bytes('3\n') },
  ];
}

test('10 GB, sparse: less than 5 MB are read', async () => {
  const count = 268_435_456;
  const entries = Array.from(
    { length: 10 },
    (_, key) =>
      [`fc${key}.weight`, tensor('FloatStorage', String(key), count, 0, [16_384, 16_384], [16_384, 1])] as const,
  );
  const path = await writeSparse(
    'big.pt',
    checkpoint(
      bytes(PROTO2, dict(entries), STOP),
      entries.map(() => count * 4),
    ),
  );
  const { value: model } = await openTorch(path);
  expect(model.layers.length).toBe(10);
  const first = model.layers[9]?.weights[0]?.tensor;
  expect(first?.byteLength).toBe(count * 4);
  expect(model.bytesRead()).toBeLessThan(5_000_000);
  const into = new Uint8Array(64);
  await first?.readInto([16_000, 16], [2, 8], into);
  expect(into.every((byte) => byte === 0)).toBe(true);
  await model.close();
});

test('100,000 tensors are opened by their directory and pickle alone', async () => {
  const count = 100_000;
  const chunks: Uint8Array[] = [bytes(PROTO2, '}(')];
  for (let key = 0; key < count; key += 1) {
    const name = key % 2 === 0 ? `layers.${key >> 1}.fc.weight` : `layers.${key >> 1}.fc.bias`;
    const shape = key % 2 === 0 ? [4, 4] : [4];
    const body = tensor('FloatStorage', String(key), key % 2 === 0 ? 16 : 4, 0, shape, key % 2 === 0 ? [4, 1] : [1]);
    chunks.push(dict([[name, body]]).subarray(2, -1));
  }
  chunks.push(bytes('u', STOP));
  const pickle = new Uint8Array(chunks.reduce((total, chunk) => total + chunk.length, 0));
  let at = 0;
  for (const chunk of chunks) {
    pickle.set(chunk, at);
    at += chunk.length;
  }
  const sizes = Array.from({ length: count }, (_, key) => (key % 2 === 0 ? 64 : 16));
  const path = await writeSparse('many.pt', checkpoint(pickle, sizes));
  const before = process.memoryUsage().rss;
  const { value: model } = await openTorch(path);
  const grown = process.memoryUsage().rss - before;
  // One row per layer and one per container.
  expect(model.layers.filter((layer) => layer.kind === 'dense').length).toBe(50_000);
  // How long it takes is measured in bench/.
  expect(grown).toBeLessThan(400_000_000);
  await model.close();
});
