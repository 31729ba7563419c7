import { existsSync, readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import type { Model } from '../../../src/ir/model.ts';
import { openKeras } from './open-keras.ts';

/**
 * One model in two containers: legacy files name their arrays, `.keras` and `.weights.h5` only count them. Equal values
 * under equal roles show that the count was read as the framework meant it, where shapes alone could not tell.
 */
const good = join(dirname(dirname(dirname(dirname(fileURLToPath(import.meta.url))))), 'fixtures', 'good');

const pairs = readdirSync(good)
  .filter((name) => /\.h5$/.test(name) && !/weights\.h5$/.test(name))
  .map((name) => name.replace(/\.h5$/, ''))
  .flatMap((stem) => [
    [stem, `${stem}.keras`] as const,
    [stem, `${stem}.weights.h5`] as const,
    [stem, `${stem}.legacy-weights.h5`] as const,
  ])
  .filter(([, other]) => existsSync(join(good, other)))
  // The legacy file holds the adapted kernel and its matrices apart, the other one their sum; the custom layer of the
  // other one has no names; the large one is compared by its small tensors below.
  .filter(([stem]) => !['lora', 'custom-layer', 'reference-cnn'].includes(stem));

async function valuesOf(model: Model): Promise<ReadonlyMap<string, string>> {
  const values = new Map<string, string>();
  for (const layer of model.layers) {
    for (const { role, tensor } of layer.weights) {
      const bytes = new Uint8Array(tensor.byteLength);
      await tensor.readInto(
        tensor.shape.map(() => 0),
        tensor.shape,
        bytes,
      );
      values.set(
        `${layer.path} ${role}`,
        `${tensor.dtype} ${tensor.shape.join('x')} ${Buffer.from(bytes).toString('hex')}`,
      );
    }
  }
  return values;
}

describe('the same arrays in two containers', () => {
  test('there are some', () => expect(pairs.length).toBeGreaterThan(60));

  test.each(pairs)('%s.h5 and %s', async (stem, other) => {
    const config = /weights\.h5$/.test(other) ? join(good, `${stem}.config.json`) : undefined;
    const named = (await openKeras(join(good, `${stem}.h5`))).value;
    const counted = (await openKeras(join(good, other), config)).value;
    try {
      expect(await valuesOf(counted)).toEqual(await valuesOf(named));
    } finally {
      await named.close();
      await counted.close();
    }
  });
});

test.each(['lookup-tf-idf.keras', 'lookup-tf-idf.weights.h5'])(
  '%s: the table of a lookup layer is left out and said so',
  async (name) => {
    const { value, diagnostics } = await openKeras(join(good, name));
    await value.close();
    expect(diagnostics).toContainEqual(
      expect.objectContaining({
        code: 'NOT_A_VARIABLE',
        args: { count: 1, first: [expect.stringMatching(/lookup\/vars\/idf_weights$/)] },
      }),
    );
  },
);
