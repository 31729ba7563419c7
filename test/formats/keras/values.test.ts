import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import type { WorkerHost } from '../../../src/bytes/worker.ts';
import type { Model, Tensor } from '../../../src/ir/model.ts';
import { openKeras } from './open-keras.ts';
import { buildWorkers } from './workers.ts';

const good = join(dirname(dirname(dirname(dirname(fileURLToPath(import.meta.url))))), 'fixtures', 'good');

/** The fixture scripts fill large arrays of the reference model from this table, over and over. */
const TABLE = Array.from({ length: 7 }, (_, index) => Math.fround(Math.round(Math.sin(index * 1.7) * 500) / 10_000));
const COLUMNS = 100;

async function block(tensor: Tensor, start: readonly number[], count: readonly number[]): Promise<readonly number[]> {
  const bytes = new Uint8Array(count.reduce((product, size) => product * size, 4));
  await tensor.readInto(start, count, bytes);
  return [...new Float32Array(bytes.buffer)];
}

function tableBlock([row = 0, column = 0]: readonly number[], [rows = 0, columns = 0]: readonly number[]): number[] {
  return Array.from({ length: rows * columns }, (_, index) => {
    const at = (row + Math.floor(index / columns)) * COLUMNS + column + (index % columns);
    return TABLE[at % TABLE.length] ?? Number.NaN;
  });
}

function kernelOf(model: Model): Tensor {
  const weight = model.layers.find((layer) => layer.path === 'dense')?.weights.find(({ role }) => role === 'kernel');
  if (weight === undefined) throw new Error('no kernel');
  return weight.tensor;
}

test.each([
  ['reference-cnn.h5', true],
  ['reference-cnn.h5', false],
  ['reference-cnn.keras', true],
  ['reference-cnn.keras', false],
])('blocks of compressed chunks in %s, on a thread: %s', async (name, threaded) => {
  const workers: WorkerHost | undefined = threaded ? await buildWorkers() : undefined;
  const { value: model } = await openKeras(join(good, name), undefined, workers);
  try {
    const kernel = kernelOf(model);
    expect(kernel.shape).toEqual([131_072, COLUMNS]);
    const corners = [
      [
        [0, 0],
        [3, 7],
      ],
      [
        [131_000, 3],
        [5, 90],
      ],
      [
        [70_001, 0],
        [2, COLUMNS],
      ],
    ] as const;
    // All at once: whoever reads first must not disturb the others.
    const found = await Promise.all(corners.map(([start, count]) => block(kernel, start, count)));
    expect(found).toEqual(corners.map(([start, count]) => tableBlock(start, count)));
    // More than is asked of the library at once, cut out of the middle.
    const [row, column, rows, columns] = [5, 1, 60_000, 95];
    const large = new Float32Array(rows * columns);
    await kernel.readInto([row, column], [rows, columns], new Uint8Array(large.buffer));
    const isRight = (value: number, index: number): boolean =>
      value === TABLE[((row + Math.floor(index / columns)) * COLUMNS + column + (index % columns)) % TABLE.length];
    expect(large.every(isRight)).toBe(true);
  } finally {
    await model.close();
  }
});

test('a hyperslab of contiguous bytes is the one that the whole array holds', async () => {
  const { value: model } = await openKeras(join(good, 'nested-functional.h5'));
  try {
    const layer = model.layers.find((candidate) => candidate.path === 'tower/inner_conv');
    const tensor = layer?.weights.find(({ role }) => role === 'kernel')?.tensor;
    if (tensor === undefined) throw new Error('no kernel');
    expect(tensor.shape).toEqual([3, 3, 3, 4]);
    const whole = await block(tensor, [0, 0, 0, 0], tensor.shape);
    const start = [1, 0, 1, 2];
    const count = [2, 2, 2, 2];
    const wanted: number[] = [];
    for (let a = 1; a < 3; a++) {
      for (let b = 0; b < 2; b++) {
        for (let c = 1; c < 3; c++) for (let d = 2; d < 4; d++) wanted.push(whole[((a * 3 + b) * 3 + c) * 4 + d] ?? 0);
      }
    }
    expect(await block(tensor, start, count)).toEqual(wanted);
  } finally {
    await model.close();
  }
});

test('headers alone are read: a few kilobytes of a model of 50 MB', async () => {
  const { value: model } = await openKeras(join(good, 'reference-cnn.h5'));
  expect(model.bytesRead()).toBeLessThan(64 * 1024);
  await model.close();
});
