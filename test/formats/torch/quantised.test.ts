import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { account } from '../../../src/account/account.ts';
import { openTorch } from './open.ts';

const folder = fileURLToPath(new URL('../../../fixtures/good/torch/quantised/', import.meta.url));

interface Expected {
  readonly parameters: number;
  readonly buffers: number;
  /** Shapes of what the modules pack away. */
  readonly packed: readonly (readonly number[])[];
}

// Written by PyTorch, which sees neither parameters nor buffers in packed weights: they count as buffers here, and PACKED
// says which. A quantised convolution's weight and bias are packed in the module and plain in its state_dict.
describe('quantised modules', () => {
  const files = readdirSync(folder).filter((name) => name.endsWith('.pt'));

  test('there are some', () => {
    expect(files).toHaveLength(4);
  });

  test.each(files)('%s: nothing of them is lost, and nothing is a parameter', async (name) => {
    const expected: Expected = JSON.parse(readFileSync(`${folder}${name}.expected.json`, 'utf8'));
    const { value, diagnostics } = await openTorch(folder + name);
    const { totals } = account(value);
    expect(totals.torch.parameters).toBe(expected.parameters);
    const shapes = value.layers.flatMap((layer) => layer.weights.map(({ tensor }) => tensor.shape.join('x')));
    for (const shape of new Set(expected.packed.map((one) => one.join('x')))) {
      const count = (list: readonly string[]): number => list.filter((one) => one === shape).length;
      expect(count(shapes), shape).toBeGreaterThanOrEqual(count(expected.packed.map((one) => one.join('x'))));
    }
    const packed = expected.packed.reduce((sum, shape) => sum + shape.reduce((product, size) => product * size, 1), 0);
    // A state_dict has the scales and zero points of quantised layers as tensors, a module has them as numbers.
    expect(Number(totals.torch.buffers)).toBeGreaterThanOrEqual(packed + expected.buffers);
    expect(diagnostics.some(({ code }) => code === 'PACKED')).toBe(true);
    await value.close();
  });
});
