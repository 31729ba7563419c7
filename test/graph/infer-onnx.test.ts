import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { account } from '../../src/account/account.ts';
import { inferShapes } from '../../src/graph/infer.ts';
import type { Model, Shape } from '../../src/ir/model.ts';
import { openOnnx } from '../formats/onnx/open.ts';

const ROOT = join(import.meta.dirname, '../../fixtures/good/onnx');
const files = readdirSync(ROOT).filter((name) => name.endsWith('.onnx'));

/** The model as if its file stated the shapes of its inputs alone. */
function forgetful(model: Model): Model {
  const graph = model.graphs.get('');
  if (graph === undefined) throw new Error('no graph');
  const values = graph.values.map((value) => (graph.inputs.includes(value.id) ? value : { ...value, shape: null }));
  return { ...model, graphs: new Map([['', { ...graph, values }]]) };
}

function shapesOf(model: Model): readonly (Shape | null)[] {
  return (model.graphs.get('')?.values ?? []).map((value) => value.shape);
}

describe('shapes that are inferred are those that the exporter stated', () => {
  let compared = 0;
  test.each(files)('%s', async (file) => {
    const { value: model } = await openOnnx(join(ROOT, file));
    const stated = shapesOf(model);
    const inferred = shapesOf(inferShapes(forgetful(model)).value);
    for (const [id, shape] of inferred.entries()) {
      const told = stated[id];
      // The dynamic axes of a made-up output are no statement.
      if (shape === null || told === null || told === undefined || told.includes('?')) continue;
      if (told.some((size) => size === null)) continue;
      compared += 1;
      expect(shape).toEqual(told);
    }
    await model.close();
  });
  test('and they are many', () => expect(compared).toBeGreaterThan(60));
});

test('both exporters of torch give the same deployment size', async () => {
  const sizes = new Set<unknown>();
  for (const file of ['cnn-preserved.onnx', 'cnn-training.onnx', 'cnn-dynamo.onnx', 'cnn-folded.onnx']) {
    const { value: model } = await openOnnx(join(ROOT, file));
    sizes.add(account(inferShapes(model).value).totals.inference.elements);
    await model.close();
  }
  // 3·8·9 weights and the bias that BatchNorm leaves, 8·5 + 5.
  expect([...sizes]).toEqual([216 + 8 + 45]);
});
