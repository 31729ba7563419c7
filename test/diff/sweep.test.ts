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

const MODEL = /\.(?:h5|keras|onnx|pt|pth|safetensors|ckpt|tar|pt2)$/;

function filesBelow(name: string): readonly string[] {
  return readdirSync(goodPath(name), { withFileTypes: true })
    .filter((entry) => entry.isFile() && MODEL.test(entry.name))
    .map((entry) => (name === '' ? entry.name : `${name}/${entry.name}`));
}

const keras = filesBelow('');
const others = [
  'torch/containers',
  'torch/attributes',
  'torch/nn',
  'torch/tensors',
  'safetensors',
  'pairs',
  'onnx',
  'differences',
].flatMap(filesBelow);
/** 13 million weights: compared elsewhere. */
const small = keras.filter((name) => !name.startsWith('reference-cnn'));

test('there is something to compare', () => {
  expect(small.length).toBeGreaterThan(200);
  expect(others.length).toBeGreaterThan(200);
});

/** Files that are not read, with the reason. */
const READERS_REFUSE: ReadonlyMap<string, string> = new Map([
  ['npz-weights.keras', 'its weights are a .npz of pickled arrays'],
  ['sharded_00003.weights.h5', 'a shard, whose layer has its first array in the shard before'],
  ['torch/containers/no-tensors.pt', 'a dict without tensors'],
  ['torch/containers/optimizer-alone.pt', 'the state of an optimizer'],
  ['torch/containers/two-and-scalar.pt', 'two models, neither of them the usual one'],
  ['torch/containers/two-candidates.pt', 'two models, neither of them the usual one'],
]);

/** Names that ended early, by why: what is left out is asserted, so that a reader that gives up is no green test. */
function leftOut(): { see(name: string): void; expectThese(names: Iterable<string>): void } {
  const seen = new Set<string>();
  return {
    see: (name) => void seen.add(name),
    expectThese: (names) => expect([...seen].toSorted()).toEqual([...names].toSorted()),
  };
}

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
  const refused = leftOut();
  test.each([...small, ...others])('%s', async (name) => {
    if (await isRefused(name)) return refused.see(name);
    const found = await compareFiles(name, name);
    expect(linesOf(found)).toEqual([]);
    // A conjugated or negated view is not resolved by the reader, which says so.
    expect(found.troubles.filter((trouble) => trouble.code !== 'UNSUPPORTED')).toEqual([]);
  });
  test('but for those that are not read', () => refused.expectThese(READERS_REFUSE.keys()));
});

describe('every file is what its own summary and its own lock file say', () => {
  const refused = leftOut();
  test.each([...small, ...others])('%s', async (name) => {
    if (await isRefused(name)) return refused.see(name);
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
  test('but for those that are not read', () => refused.expectThese(READERS_REFUSE.keys()));
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

/** Models that are not converted, with the layer or setting that has no counterpart in PyTorch. */
const CONVERTER_REFUSES: ReadonlyMap<string, string> = new Map([
  ['attention-mask.h5', 'an attention_mask'],
  ['attention-mask.keras', 'an attention_mask'],
  ['bidirectional-stacked.keras', 'a Bidirectional around an RNN of cells'],
  ['bidirectional.h5', 'a Bidirectional with two unlike directions'],
  ['bidirectional.keras', 'a Bidirectional with two unlike directions'],
  ['constructed-k1-bn-mode1.h5', 'a BatchNormalization of mode 1'],
  ['constructed-k1-bn-mode2.h5', 'a BatchNormalization of mode 2'],
  ['custom-layer.h5', 'a class of somebody else'],
  ['custom-layer.keras', 'a class of somebody else'],
  ['k2-bn-axes-two.h5', 'a BatchNormalization over two axes'],
  ['k2-bn-axes-two.keras', 'a BatchNormalization over two axes'],
  ['k2-locally-connected.h5', 'a LocallyConnected2D of implementation 2'],
  ['k2-locally-connected.keras', 'a LocallyConnected2D of implementation 2'],
  ['lambda.h5', 'a Lambda'],
  ['lambda.keras', 'a Lambda'],
  ['lookup-tf-idf.keras', 'a StringLookup'],
  ['lora.h5', 'LoRA matrices apart from their kernel'],
  ['quantised-float8.keras', 'quantised weights'],
  ['quantised-int4.keras', 'quantised weights'],
  ['quantised-int8.keras', 'quantised weights'],
  ['sequential-unbuilt.keras', 'no input shape'],
]);

/** Files without a graph, which nothing could be planned from: weights alone, and classes whose code makes the calls. */
const hasNoGraph = (name: string): boolean =>
  /(?:\.weights|\.legacy-weights|^constructed-.*-weights)\.h5$/.test(name) ||
  ['constructed-k1-std.h5', 'subclassed.keras'].includes(name);

describe('every conversion is what it came from, bit for bit', () => {
  const refused = leftOut();
  const without = leftOut();
  test.each(small.filter((name) => !READERS_REFUSE.has(name)))('%s', async (name) => {
    const { value: model } = await openModel(goodPath(name));
    try {
      if (model.graphs.size === 0) return without.see(name);
      const target = memoryTarget();
      try {
        const plan = planTranslation(model, { file: name });
        await writeTorch(translate(plan), target, { root: 'sweep', versions: new Map() });
      } catch (error) {
        if (isBnsumError(error, 'REFUSED')) return refused.see(name);
        throw error;
      }
      const path = join(folder, 'model.pt');
      writeFileSync(path, target.bytes());
      const found = await compareFiles(name, path, STRICT);
      expect(linesOf(found)).toEqual([]);
      expect(found.explanation?.to.elements).toBe(found.rules.find((one) => one.rule === 'torch.parameters')?.b);
    } finally {
      await model.close();
    }
  });
  test('but for what has no counterpart', () => refused.expectThese(CONVERTER_REFUSES.keys()));
  test('but for what has no graph', () =>
    without.expectThese(small.filter((name) => hasNoGraph(name) && !READERS_REFUSE.has(name))));
});
