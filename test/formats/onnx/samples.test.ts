import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { account } from '../../../src/account/account.ts';
import { openOnnx } from './open.ts';

const samples = process.env['BNSUM_SAMPLES'];

interface Row {
  readonly producer: string;
  readonly parameters: number;
  /** Moving statistics; shapes and other constants apart. */
  readonly statistics: number;
  readonly batchNorms: number;
  readonly keras: number;
}

/** Derived from layer sizes. */
const TABLE: ReadonlyMap<string, Row> = new Map<string, Row>([
  // 25·8 + 8, 8·25·16 + 16, 256·10 + 10
  [
    'las7__weight-inspect__mnist.onnx',
    { producer: 'CNTK 2.5.1', parameters: 5994, statistics: 0, batchNorms: 0, keras: 5994 },
  ],
  // ResNet-50 as PyTorch has it, convolutions without bias: 25,557,032, and two statistics for each of 26,560 channels.
  [
    'onnx__onnx__light_resnet50.onnx',
    { producer: 'onnx-caffe2', parameters: 25_557_032, statistics: 53_120, batchNorms: 53, keras: 25_610_152 },
  ],
]);

describe.skipIf(samples === undefined)('public ONNX files (BNSUM_SAMPLES)', () => {
  const folder = join(samples ?? '', 'onnx');

  test('the table names every sample', () => {
    expect(readdirSync(folder).sort()).toEqual([...TABLE.keys()].sort());
  });

  test.each([...TABLE])('%s', async (file, row) => {
    const { value: model } = await openOnnx(join(folder, file));
    const { totals, folding } = account(model);
    const { framework, version } = model.producer;
    expect(`${framework} ${version}`.trim()).toBe(row.producer);
    expect(totals.torch.parameters).toBe(row.parameters);
    expect(totals.keras.total).toBe(row.keras);
    const weights = model.layers.flatMap((layer) => layer.weights);
    const statistics = weights.filter((weight) => weight.class === 'statistic');
    const count = (shape: readonly number[]) => shape.reduce((product, size) => product * size, 1);
    expect(statistics.reduce((sum, { tensor }) => sum + count(tensor.shape), 0)).toBe(row.statistics);
    expect(model.layers.filter((layer) => layer.kind === 'batch_norm').length).toBe(row.batchNorms);
    expect(folding?.length).toBe(row.batchNorms);
    await model.close();
  });
});
