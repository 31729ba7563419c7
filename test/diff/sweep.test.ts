import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { memoryTarget } from '../../src/bytes/target.ts';
import { planTranslation } from '../../src/convert/plan.ts';
import { translate } from '../../src/convert/translate.ts';
import { compare } from '../../src/diff/across.ts';
import { writeTorch } from '../../src/formats/torch/write.ts';
import { isBnsumError } from '../../src/ir/error.ts';
import { openModel } from '../../src/open.ts';
import {
  compareFiles,
  goodPath,
  linesOf,
  lockSideOf,
  openSideOf,
  STRICT,
  STRUCTURE,
  summarySideOf,
} from './open-side.ts';

const folder = mkdtempSync(join(tmpdir(), 'bndiff-sweep-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const MODEL = /\.(?:h5|keras|pt|pth|safetensors|ckpt|tar|pt2)$/;

function filesBelow(name: string): readonly string[] {
  return readdirSync(goodPath(name), { withFileTypes: true })
    .filter((entry) => entry.isFile() && MODEL.test(entry.name))
    .map((entry) => (name === '' ? entry.name : `${name}/${entry.name}`));
}

const keras = filesBelow('');
const others = ['torch/containers', 'torch/nn', 'torch/tensors', 'safetensors', 'pairs'].flatMap(filesBelow);
/** 13 million weights: compared elsewhere. */
const small = keras.filter((name) => !name.startsWith('reference-cnn'));

test('there is something to compare', () => {
  expect(small.length).toBeGreaterThan(200);
  expect(others.length).toBeGreaterThan(200);
});

/** Files that no reader takes on purpose: other tests say why. */
async function isRefused(name: string): Promise<boolean> {
  try {
    const { value } = await openModel(goodPath(name));
    await value.close();
    return false;
  } catch (error) {
    if (isBnsumError(error) && error.code !== 'INTERNAL') return true;
    throw error;
  }
}

describe('every file is itself, values included', () => {
  test.each([...small, ...others])('%s', async (name) => {
    if (await isRefused(name)) return;
    const found = await compareFiles(name, name);
    expect(linesOf(found)).toEqual([]);
    // A conjugated or negated view is not resolved by the reader, which says so.
    expect(found.troubles.filter((trouble) => trouble.code !== 'UNSUPPORTED')).toEqual([]);
  });
});

describe('every file is what its own summary and its own lock file say', () => {
  test.each([...small, ...others])('%s', async (name) => {
    if (await isRefused(name)) return;
    const path = goodPath(name);
    const side = await openSideOf(path);
    try {
      expect(linesOf(await compare(await summarySideOf(path), side, STRUCTURE)), 'its summary').toEqual([]);
      // A conjugated view has no values that could be hashed.
      const lock = await lockSideOf(path, !/tensors\/views/.test(name));
      expect(linesOf(await compare(lock, side, STRUCTURE)), 'its lock file').toEqual([]);
    } finally {
      await side.model?.close();
    }
  });
});

/** Layers that one of the two containers writes otherwise, by Keras' own doing. */
const KERAS_WRITES_OTHERWISE: ReadonlySet<string> = new Set(['custom-layer', 'lora']);

describe('one model in both containers of Keras', () => {
  const both = small.filter((name) => name.endsWith('.h5') && small.includes(name.replace(/h5$/, 'keras')));
  test.each(both.filter((name) => !KERAS_WRITES_OTHERWISE.has(name.slice(0, -3))))('%s', async (name) => {
    expect(linesOf(await compareFiles(name, name.replace(/h5$/, 'keras')))).toEqual([]);
  });
});

describe('a file of weights alone and its model', () => {
  const pairs = small.filter((name) => name.endsWith('.weights.h5') && small.includes(name.replace('.weights', '')));
  test.each(pairs)('%s', async (name) => {
    const { changes } = await compareFiles(name.replace('.weights', ''), name, STRUCTURE);
    expect(changes.filter((change) => change.code === 'shape' || change.code === 'layer_moved')).toEqual([]);
  });
});

/** Its CuDNN biases stop the converter before a comparison begins. */
const CONVERTER_REFUSES: ReadonlySet<string> = new Set(['constructed-mb2-cudnn.h5']);

describe('every conversion is what it came from, bit for bit', () => {
  test.each(small.filter((name) => !CONVERTER_REFUSES.has(name)))('%s', async (name) => {
    if (await isRefused(name)) return;
    const { value: model } = await openModel(goodPath(name));
    try {
      if (model.dialect !== 'keras' || model.graphs.size === 0) return;
      const target = memoryTarget();
      try {
        const plan = planTranslation(model, { file: name });
        await writeTorch(translate(plan), target, { root: 'sweep', versions: new Map() });
      } catch (error) {
        // Models without a counterpart are refused; the conversion's own tests say which.
        if (isBnsumError(error, 'REFUSED', 'MISMATCH', 'UNSUPPORTED')) return;
        throw error;
      }
      const path = join(folder, 'model.pt');
      writeFileSync(path, target.bytes());
      if (target.bytes().length === 0) return;
      const found = await compareFiles(name, path, STRICT);
      expect(linesOf(found)).toEqual([]);
      expect(found.explanation?.to.elements).toBe(found.rules.find((one) => one.rule === 'torch.parameters')?.b);
    } finally {
      await model.close();
    }
  });
});
