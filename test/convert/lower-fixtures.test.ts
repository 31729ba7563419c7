import { readdirSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { planTranslation } from '../../src/convert/plan.ts';
import { openModel } from '../../src/open.ts';

const folder = new URL('../../fixtures/good/convert/', import.meta.url).pathname;
const files = readdirSync(folder).filter((name) => name.endsWith('.keras'));

const count = (shape: readonly number[]): number => shape.reduce((product, size) => product * size, 1);

/** What the interop test runs; here it is only asked whether every weight arrives, and once. */
describe.each(files)('%s', (file) => {
  test('every element of every weight has one place', async () => {
    const { value: model } = await openModel(`${folder}${file}`);
    try {
      const plan = planTranslation(model, { file });
      const read = new Map<string, number>();
      for (const tensor of plan.tensors) {
        if (tensor.filled) continue;
        read.set(tensor.layer, (read.get(tensor.layer) ?? 0) + count(tensor.shape));
        for (const source of tensor.sources) expect(source.name).not.toBe('');
      }
      const stored = new Map<string, number>();
      const paths = [...read.keys()];
      for (const layer of model.layers) {
        const owner = paths.filter((path) => layer.path === path || layer.path.startsWith(`${path}/`)).at(-1);
        for (const { tensor } of layer.weights) {
          if (plan.dropped.some((one) => one.tensor.identity === tensor.identity)) continue;
          expect(owner, `${layer.path} has no module`).toBeDefined();
          stored.set(owner ?? '', (stored.get(owner ?? '') ?? 0) + count(tensor.shape));
        }
      }
      expect(read).toEqual(stored);
    } finally {
      await model.close();
    }
  });
});
