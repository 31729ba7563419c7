import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { useCodec } from '../../src/bytes/codec.ts';
import { nodeCodec } from '../../src/bytes/node/codec.ts';
import { openFileSource } from '../../src/bytes/node/file-source.ts';
import { openSiblings } from '../../src/bytes/node/siblings.ts';
import { kerasReader } from '../../src/formats/keras/index.ts';
import { planFolding } from '../../src/graph/fold.ts';
import { inferShapes, outputShapeOf } from '../../src/graph/infer.ts';
import type { Shape } from '../../src/ir/model.ts';

useCodec(nodeCodec);

const folder = new URL('../../fixtures/good/', import.meta.url).pathname;

/** Shapes that a file does not settle, or that Keras states of another call than the first. */
const EXCEPTIONS: Readonly<Record<string, string>> = {
  'shared-layer-shapes shared_conv': 'Keras shows the last call of a shared layer, outputShapeOf tells the first',
};

/** Models with a layer whose output no config states. */
const UNSETTLED = /^(custom-layer|lambda|operations|sequential-unbuilt|subclassed)\./;

interface Expected {
  readonly layers?: readonly { readonly path: string; readonly type: string; readonly outputShape: unknown }[];
}

/** Whole models that Keras described, without weights-only files. */
const files = readdirSync(folder).filter(
  (name) =>
    /\.(keras|h5)$/.test(name) && !/weights|k1-std/.test(name) && readdirSync(folder).includes(`${name}.expected.json`),
);

async function inferred(name: string) {
  const source = await openFileSource(`${folder}${name}`);
  const read = await kerasReader.read(source, openSiblings(`${folder}${name}`), {});
  return inferShapes(read.value);
}

describe('output shapes of real models', () => {
  test.each(files)('%s', async (name) => {
    const expected = JSON.parse(readFileSync(`${folder}${name}.expected.json`, 'utf8')) as Expected;
    const { value: model, diagnostics } = await inferred(name);
    try {
      const unsettled = UNSETTLED.test(name);
      if (!unsettled) expect(diagnostics.filter((entry) => entry.code === 'SHAPE_UNKNOWN')).toEqual([]);
      const said = new Map<string, unknown>();
      const ours = new Map<string, unknown>();
      for (const layer of expected.layers ?? []) {
        // Keras does not say what cells, and inner layers in older versions, give.
        if (layer.outputShape === null) continue;
        if (EXCEPTIONS[`${name.replace(/\..*$/, '')} ${layer.path}`] !== undefined) continue;
        const shapes: readonly (Shape | null)[] | null = outputShapeOf(model, layer.path);
        const shape = shapes?.length === 1 ? shapes[0] : shapes;
        if (unsettled && (shape == null || (shape as readonly unknown[]).includes('?'))) continue;
        ours.set(layer.path, shape);
        said.set(layer.path, layer.outputShape);
      }
      expect(ours).toEqual(said);
    } finally {
      await model.close();
    }
  });

  test('there are enough of them', () => {
    expect(files.length).toBeGreaterThan(80);
  });
});

test('the reference CNN folds its BatchNormalization forward into the Dense', async () => {
  for (const name of ['reference-cnn.h5', 'reference-cnn.keras', 'reference-cnn-keras2.h5']) {
    const { value: model } = await inferred(name);
    const plan = planFolding(model);
    expect(plan).toEqual([
      { bn: 'batch_normalization', how: 'forward', into: ['dense'], gainsBias: false, elementsAfter: 0 },
    ]);
    await model.close();
  }
});
