import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import type { Weight } from '../../../src/ir/model.ts';
import { bytesOf, openTorch } from './open.ts';

const samples = process.env['BNSUM_SAMPLES'];

interface Row {
  readonly format: string;
  /** Elements of parameters and of buffers, as PyTorch counts them; null where the file does not settle it. */
  readonly parameters: number | null;
  readonly buffers: number | null;
  /** Elements of all tensors. */
  readonly state: number;
  readonly optimizer?: number;
  readonly batchNorms?: number;
  /** eps and PyTorch's momentum, where the file holds them. */
  readonly eps?: number;
  readonly momentum?: number;
}

/** Derived from layer sizes: Linear in·out + out, Conv out·in·k² (+ out), BatchNorm 4·C + 1. */
const TABLE: ReadonlyMap<string, Row> = new Map<string, Row>([
  // 37·32 + 32 + 32·32 + 32 + 32·4 + 4
  [
    'torch-legacy/4SafeAI__Deep_Q_Learning_Example_for_Unity_Banana_Env__model.pt',
    { format: 'torch-legacy', parameters: 2404, buffers: 0, state: 2404 },
  ],
  // 17 layers of 3·3: 64·9 + 15·64·64·9 + 64·9 convolution weights, biases 16·64 + 1, BatchNorm 15·(128 | 129)
  [
    'torch-legacy/cszn__DnCNN__model.pth',
    {
      format: 'torch-legacy',
      parameters: 556_096,
      buffers: 15 * 129,
      state: 556_096 + 15 * 129,
      batchNorms: 15,
      eps: 1e-4,
      momentum: 0.95,
    },
  ],
  // 64 + 128 + 256 + 384 + 384 + 512 + 512
  [
    'torch-legacy/richzhang__PerceptualSimilarity__squeeze.pth',
    { format: 'torch-legacy', parameters: 2240, buffers: 0, state: 2240 },
  ],
  // Written before the counter: 8 BatchNorms, two vectors each.
  [
    'torch-legacy/txie-93__cgcnn__band-gap.pth.tar',
    { format: 'torch-legacy', parameters: 96_641, buffers: 1536, state: 98_177, optimizer: 30, batchNorms: 8 },
  ],
  // 10 + 5 + 5 + 1
  ['torch-zip/2yunsu__pyHessian_cycloid__model.pt', { format: 'torch-zip', parameters: 21, buffers: 0, state: 21 }],
  [
    'torch-zip/Elendil-Q__aegnn__last.ckpt',
    { format: 'torch-zip', parameters: null, buffers: null, state: 30_707, optimizer: 74, batchNorms: 7 },
  ],
  [
    'torch-zip/douzaikongcheng__cifar10_pytorch_quantization_demo__model_int8.pth',
    { format: 'torch-zip', parameters: null, buffers: null, state: 76_308 },
  ],
  ['torch-zip/mlverse__torch__state_dict.pth', { format: 'torch-zip', parameters: null, buffers: null, state: 30 }],
  // LeNet: 450 + 6 + 2400 + 16 + 48000 + 120 + 10080 + 84 + 840 + 10
  [
    'torch-zip/roarkai__pytorch_notes__savedClassModel.pt',
    { format: 'torch-zip', parameters: 62_006, buffers: 0, state: 62_006 },
  ],
  // BatchNorm1d(37), 37·64 + 64, 64·64 + 64, 64·4 + 4
  [
    'torchscript/leonorsilva__Udacity-Project-1-Navigation__model_scripted.pt',
    {
      format: 'torchscript',
      parameters: 74 + 2432 + 4160 + 260,
      buffers: 75,
      state: 7001,
      batchNorms: 1,
      eps: 1e-5,
      momentum: 0.1,
    },
  ],
  ['torchscript/mlverse__torch__linear.pt', { format: 'torchscript', parameters: 110, buffers: 0, state: 110 }],
]);

function sum(weights: readonly Weight[]): number {
  return weights.reduce((total, { tensor }) => total + tensor.shape.reduce((product, size) => product * size, 1), 0);
}

describe.skipIf(samples === undefined)('PyTorch files from the wild (BNSUM_SAMPLES)', () => {
  const root = samples ?? '';
  test('the table has every file', () => {
    const found = ['torch-legacy', 'torch-zip', 'torchscript'].flatMap((folder) =>
      readdirSync(join(root, folder)).map((name) => `${folder}/${name}`),
    );
    expect([...TABLE.keys()].sort()).toEqual(found.sort());
  });
  for (const [name, row] of TABLE) {
    test(name, async () => {
      const { value: model } = await openTorch(join(root, name));
      const weights = model.layers.flatMap((layer) => layer.weights);
      expect(model.format).toBe(row.format);
      expect(sum(weights)).toBe(row.state);
      if (row.parameters !== null) {
        expect(sum(weights.filter((weight) => weight.isParameter === true))).toBe(row.parameters);
        expect(sum(weights.filter((weight) => weight.isParameter === false))).toBe(row.buffers);
      }
      expect(model.optimizer.length).toBe(row.optimizer ?? 0);
      const norms = model.layers.filter((layer) => layer.kind === 'batch_norm');
      expect(norms.length).toBe(row.batchNorms ?? 0);
      for (const norm of norms) {
        expect(norm.norm['epsilon']).toBe(row.eps ?? null);
        // Neutral momentum is the share that is kept.
        expect(norm.norm['momentum']).toBe(row.momentum === undefined ? null : Number((1 - row.momentum).toFixed(9)));
      }
      for (const { tensor } of weights) expect((await bytesOf(tensor)).length).toBe(tensor.byteLength);
      await model.close();
    });
  }
});
