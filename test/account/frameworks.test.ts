import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { account } from '../../src/account/account.ts';
import { explain } from '../../src/account/explain.ts';
import { openModel } from '../../src/open.ts';

/** What each fixture's own framework said of it, against what is counted from the file. */
const good = fileURLToPath(new URL('../../fixtures/good/', import.meta.url));

interface KerasCounts {
  readonly total?: number;
  readonly trainable?: number;
  readonly nonTrainable?: number;
  readonly optimizer?: number;
  readonly totalCompiled?: number;
}
interface TorchCounts {
  readonly parameters?: number | null;
  readonly buffers?: number | null;
  readonly stateElements?: number | null;
  readonly stateUnique?: number | null;
}

/** Keras counts that the file does not determine, with the reason. */
const KERAS_APART: ReadonlyMap<string, readonly (keyof KerasCounts)[]> = new Map([
  // Which variables of a class that we do not have are trained is said nowhere in the file.
  ['custom-layer', ['trainable', 'nonTrainable']],
  // Keras loads a compiled .h5 without the slots that the file holds; the file's own are counted.
  ['adam-fitted.h5', ['optimizer', 'totalCompiled']],
  ['rmsprop-frozen-fitted.h5', ['optimizer', 'totalCompiled']],
  ['sgd-momentum-fitted.h5', ['optimizer', 'totalCompiled']],
  // The file holds the merged kernel; Keras adds the two factors again when it loads the layer.
  ['lora.keras', ['total', 'trainable', 'nonTrainable']],
]);

function namesBelow(folder: string): readonly string[] {
  return readdirSync(join(good, folder), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.expected.json'))
    .map((name) => join(folder, name.slice(0, -'.expected.json'.length)))
    .filter((name) => existsSync(join(good, name)))
    .sort();
}

function countsOf(name: string): unknown {
  return JSON.parse(readFileSync(join(good, `${name}.expected.json`), 'utf8')).counts;
}

test('every whole Keras file counts as Keras counted it', async () => {
  const wrong: string[] = [];
  let compared = 0;
  const whole = namesBelow('.').filter((name) => /^[^/\\]+\.(?:h5|keras)$/.test(name) && !/weights/.test(name));
  for (const name of whole) {
    const counts = countsOf(name) as KerasCounts | undefined;
    if (counts === undefined || typeof counts.total !== 'number') continue;
    const { value: model } = await openModel(join(good, name));
    try {
      const { keras } = account(model).totals;
      const apart = [...KERAS_APART].find(([start]) => name.startsWith(start))?.[1] ?? [];
      for (const key of ['total', 'trainable', 'nonTrainable'] as const) {
        if (apart.includes(key) || keras[key] === null) continue;
        if (keras[key] !== counts[key]) wrong.push(`${name} ${key}: ${keras[key]}, Keras says ${counts[key]}`);
      }
      if (counts.optimizer !== undefined && counts.optimizer > 0 && !apart.includes('optimizer')) {
        if (keras.optimizer !== counts.optimizer)
          wrong.push(`${name} optimizer: ${keras.optimizer}, ${counts.optimizer}`);
      }
      compared += 1;
    } finally {
      await model.close();
    }
  }
  expect(wrong).toEqual([]);
  expect(compared).toBeGreaterThanOrEqual(40);
}, 300_000);

test('every PyTorch layer counts as PyTorch counted it, and its explanation leaves no remainder', async () => {
  const wrong: string[] = [];
  let compared = 0;
  // A loss's weight has no layer that says it is a buffer; an uninitialised tensor has no size.
  const layers = namesBelow(join('torch', 'nn')).filter((name) => !/Loss|uninitialised/.test(name));
  for (const name of layers) {
    const counts = countsOf(name) as TorchCounts | undefined;
    if (counts === undefined || typeof counts.parameters !== 'number') continue;
    const { value: model } = await openModel(join(good, name));
    try {
      const accounting = account(model);
      const { torch, state } = accounting.totals;
      const found: TorchCounts = {
        parameters: Number(torch.parameters),
        buffers: Number(torch.buffers),
        stateElements: Number(state.elements),
        stateUnique: Number(state.unique),
      };
      for (const key of ['parameters', 'buffers', 'stateElements', 'stateUnique'] as const) {
        if (typeof counts[key] === 'number' && found[key] !== counts[key]) {
          wrong.push(`${name} ${key}: ${found[key]}, PyTorch says ${counts[key]}`);
        }
      }
      explain(model, accounting);
      compared += 1;
    } finally {
      await model.close();
    }
  }
  expect(wrong).toEqual([]);
  expect(compared).toBeGreaterThanOrEqual(40);
}, 300_000);
