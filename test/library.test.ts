import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, expect, test } from 'vitest';
import { openModel, planTranslation, saveState, translate, verifyState } from '../src/index.ts';

const folder = mkdtempSync(join(tmpdir(), 'bnsum-library-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const good = (name: string): string => fileURLToPath(new URL(`../fixtures/good/${name}`, import.meta.url));

test('a conversion by the library is the file that it says, whole or not at all', async () => {
  const { value: model } = await openModel(good('bn-scale-off.h5'));
  try {
    const plan = planTranslation(model, { file: 'bn-scale-off.h5' });
    for (const ending of ['pt', 'safetensors', 'pt-json']) {
      const path = join(folder, `model.${ending}`);
      await saveState(model, plan, path);
      const { value: written } = await openModel(path);
      const tensors = written.layers.flatMap((layer) => layer.weights.map((weight) => weight.tensor));
      const shown = await verifyState(plan, translate(plan), tensors, path);
      expect(shown.lossless + shown.asPlanned).toBe(plan.tensors.length);
      await written.close();
      const before = readFileSync(path);
      await expect(saveState(model, plan, path)).rejects.toMatchObject({ code: 'EXISTS' });
      expect(readFileSync(path).equals(before)).toBe(true);
      await saveState(model, plan, path, { force: true });
    }
    await expect(saveState(model, plan, join(folder, 'model.txt'))).rejects.toMatchObject({ code: 'USAGE' });
    expect(existsSync(join(folder, 'model.txt'))).toBe(false);
    expect(readdirSync(folder).toSorted()).toEqual(['model.pt', 'model.pt-json', 'model.safetensors']);
  } finally {
    await model.close();
  }
});
