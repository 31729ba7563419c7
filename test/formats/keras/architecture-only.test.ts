import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { openKeras } from './open-keras.ts';

/** A config alone has to give the counts that Keras gave for the built model. */
const good = join(dirname(dirname(dirname(dirname(fileURLToPath(import.meta.url))))), 'fixtures', 'good');

function builtBeside(config: string): string | undefined {
  const stem = config.replace(/\.config\.json$/, '');
  return ['.h5', '.keras', '.weights.h5', '.weights.json']
    .map((extension) => join(good, `${stem}${extension}.expected.json`))
    .find((path) => existsSync(path));
}

// A class of the user's own tells no shapes; a quantised layer's arrays are packed when it is quantised, not when it is built.
const UNTOLD = /^(custom-layer|quantised-)/;

const cases = readdirSync(good).filter((name) => name.endsWith('.config.json') && !UNTOLD.test(name));

describe('a config alone', () => {
  test('there are some', () => expect(cases.length).toBeGreaterThan(10));

  test.each(cases)('%s', async (name) => {
    const path = builtBeside(name);
    expect(path).toBeDefined();
    const expected = JSON.parse(readFileSync(path ?? '', 'utf8')) as {
      readonly counts: { readonly total: number; readonly trainable: number; readonly nonTrainable: number };
    };
    const { value: model, diagnostics } = await openKeras(join(good, name));
    const weights = model.layers.flatMap((layer) => layer.weights);
    const count = (list: typeof weights): number =>
      list.reduce((sum, weight) => sum + weight.tensor.shape.reduce((product, axis) => product * axis, 1), 0);
    expect(count(weights)).toBe(expected.counts.total);
    expect(count(weights.filter((weight) => weight.trainable === true))).toBe(expected.counts.trainable);
    expect(count(weights.filter((weight) => weight.trainable === false))).toBe(expected.counts.nonTrainable);
    expect(diagnostics.map((diagnostic) => diagnostic.code)).toContain('ASSUMED');
    const [first] = weights;
    if (first !== undefined) {
      await expect(first.tensor.readInto([], [], new Uint8Array(first.tensor.byteLength))).rejects.toMatchObject({
        code: 'NOT_FOUND',
      });
    }
    await model.close();
  });
});
