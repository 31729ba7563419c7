import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import type { WorkerHost } from '../../../src/bytes/worker.ts';
import type { Tensor } from '../../../src/ir/model.ts';
import { openKeras } from './open-keras.ts';
import { buildWorkers } from './workers.ts';

/**
 * Public files of all generations. Elements and layers were counted in the files themselves with h5py and json, without
 * any framework: datasets outside optimizer and metrics, datasets of the optimizer, layers of the config ('-': none).
 */
const samples = process.env['BNSUM_SAMPLES'];

interface Sample {
  readonly file: string;
  readonly format: string;
  readonly version: string;
  readonly elements: number;
  readonly optimizer: number;
  readonly layers: number | '-';
}

const H5 = 'keras-h5';
const WEIGHTS = 'keras-weights-h5';
const ZIP = 'keras-zip';

const TABLE: readonly Sample[] = (
  [
    ['keras-h5/1sourabhh__ANN-CLASSIFICATION-CHURN-__model.h5', H5, '2.15.0', 2945, 5891, 3],
    ['keras-h5/Alexanderms36__HumanGlaucoma__model.keras', H5, '2.10.0', 417, 835, 3],
    ['keras-h5/KonduitAI__dl4j-test-resources__batchNormError.h5', H5, '2.2.4-tf', 550, 0, 3],
    ['keras-h5/KonduitAI__dl4j-test-resources__cnn_batch_norm.h5', H5, '2.1.3', 79, 0, 6],
    ['keras-h5/KonduitAI__dl4j-test-resources__cnn_tf_model.h5', H5, '1.1.2', 64, 0, 10],
    ['keras-h5/KonduitAI__dl4j-test-resources__issue_9349.hdf5', H5, '2.4.0', 44, 89, 7],
    ['keras-h5/KonduitAI__dl4j-test-resources__lstm_tf_model.h5', H5, '1.1.0', 129, 0, 4],
    ['keras-h5/KonduitAI__dl4j-test-resources__simple_lstm_th_keras_1_model.h5', H5, '1.2.2', 10451, 10451, 2],
    ['keras-h5/KonduitAI__dl4j-test-resources__wgan_discriminator.h5', H5, '2.1.3', 97536, 0, 16],
    ['keras-h5/MichaelHopf__CarND-Behavioral-Cloning-P3__model.hdf5', H5, '1.2.1', 51601, 102883, 20],
    ['keras-h5/dventimiglia__CarND-Behavioral-Cloning__model.h5', WEIGHTS, '2.3.1', 58795, 0, '-'],
    [
      'keras-h5/fastmachinelearning__example-models__KERAS_3layer_batch_norm_weights.h5',
      WEIGHTS,
      '2.0.8',
      4921,
      0,
      '-',
    ],
    ['keras-h5/fastmachinelearning__example-models__hgq_jet_classifier.h5', H5, '2.13.1', 4845, 0, 16],
    ['keras-h5/hexiangnan__neural_collaborative_filtering__ml-1m_GMF_8_1501651698.h5', WEIGHTS, '', 77977, 0, '-'],
    ['keras-h5/oarriaga__face_classification__tiny_XCEPTION_KDEF.hdf5', H5, '2.0.5', 18314, 35149, 46],
    ['keras-h5/pplonski__keras2cpp__my_nn_weights.h5', WEIGHTS, '', 4968, 0, '-'],
    ['keras-v3/57cell__nlf-classifier__model.keras', ZIP, '2.15.0', 76545, 153091, 6],
    ['keras-v3/Alex-Elias__hit-song__model.keras', ZIP, '2.14.0', 751, 1503, 3],
    [
      'keras-v3/AlgoDM-Fall2023-Team2__Visual-Search-Using-Variational-Autoencoders__model.keras',
      ZIP,
      '2.14.0',
      93125,
      186251,
      '-',
    ],
    ['keras-v3/AlrzA2003__BinanceTrader__model.keras', ZIP, '3.5.0', 4475, 8952, 7],
    ['keras-v3/AmyMendiola__Espresso_Chatbot__model.keras', ZIP, '3.1.1', 6383, 12768, 3],
    ['keras-v3/fastmachinelearning__example-models__qkeras-v3_3layer.keras', ZIP, '3.14.1', 4389, 0, 8],
    ['keras-v3/keras-team__keras__pre_pr22362_nested_container.keras', ZIP, '3.15.0', 58, 0, '-'],
    ['keras-weights/ACertainArchangel__space-invaders-RL__model.keras.weights.h5', WEIGHTS, '', 29124, 56970, '-'],
    ['keras-weights/ShreyanshGupta28__mnist_classification_app__model.weights.h5', WEIGHTS, '', 53018, 106038, '-'],
  ] as const
).map(([file, format, version, elements, optimizer, layers]) => ({
  file,
  format,
  version,
  elements,
  optimizer,
  layers,
}));

function elementsOf(tensors: readonly Tensor[]): number {
  return tensors.reduce((sum, tensor) => sum + tensor.shape.reduce((product, axis) => product * axis, 1), 0);
}

describe.skipIf(samples === undefined)('public Keras files (BNSUM_SAMPLES)', () => {
  const folder = samples ?? '';
  let workers: WorkerHost;
  beforeAll(async () => {
    workers = await buildWorkers();
  });

  test('the samples are there', () => {
    expect(existsSync(join(folder, 'keras-h5')), 'BNSUM_SAMPLES is set, but holds no keras-h5').toBe(true);
  });

  test.each(TABLE)('$file', async ({ file, format, version, elements, optimizer, layers }) => {
    const { value: model, diagnostics } = await openKeras(join(folder, file), undefined, workers);
    try {
      expect(model.format).toBe(format);
      expect(model.producer.version).toBe(version);
      expect(elementsOf(model.layers.flatMap((layer) => layer.weights.map((weight) => weight.tensor)))).toBe(elements);
      expect(elementsOf(model.optimizer)).toBe(optimizer);
      if (layers === '-') expect(diagnostics.map((diagnostic) => diagnostic.code)).toContain('NO_ARCHITECTURE');
      else expect(model.layers.filter((layer) => layer.parent === null).length).toBe(layers);
    } finally {
      await model.close();
    }
  });

  test('an archive with two members of one name is refused', async () => {
    await expect(
      openKeras(join(folder, 'keras-v3/12end__evil_keras__model.keras'), undefined, workers),
    ).rejects.toMatchObject({ code: 'AMBIGUOUS', message: expect.stringContaining('model.weights.npz') });
  });
});
