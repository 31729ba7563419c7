// Every model of keras.applications with random weights: bnsum against Keras, then the conversion against PyTorch.
import { rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { compareByDiff, compareConverted, compareWithKeras } from './checks.mjs';
import { shown } from './report.mjs';

const SAMPLE = [
  'MobileNetV2',
  'MobileNetV3Small',
  'EfficientNetB0',
  'EfficientNetV2B0',
  'NASNetMobile',
  'DenseNet121',
  'ResNet50',
  'ConvNeXtTiny',
  'Xception',
];

/** ResNet50 is also half of the comparison with torchvision's: its file is kept. */
export const KEPT = 'ResNet50';

/**
 * Hundreds of layers with random weights magnify what float32 rounds until the frameworks differ in the first digit; in
 * float64 a wrong weight is still seen and rounding is not.
 */
const DOUBLE = /^EfficientNet/;

/** Seeds other than 1: with that one EfficientNetB7 is a network that magnifies float64's rounding too (1.4e-4). */
const SEEDS = new Map([['EfficientNetB7', 2]]);

const GIGABYTE = 1024 ** 3;

export async function applications(context) {
  const { report, keras, torch, commands, folder, all, only } = context;
  const started = performance.now();
  const everything = await keras.ask('applications');
  const names = (all ? everything : SAMPLE).filter((name) => only === null || name.includes(only));
  const known = new Set(everything);
  const summaryRows = [];
  const convertRows = [];
  for (const name of names) {
    const clock = performance.now();
    report.progress(name);
    const stem = `app-${name}`;
    const file = (extension) => join(folder, `${stem}.${extension}`);
    try {
      if (!known.has(name)) throw new Error('keras.applications has no such model');
      const made = await keras.ask(
        'application',
        { name, folder, stem, seed: SEEDS.get(name) ?? 1, double: DOUBLE.test(name) },
        1500,
      );
      // The largest models and PyTorch's copy of them need not be in memory together.
      if ((await stat(file('keras'))).size > GIGABYTE / 2) await keras.stop();
      const [archive, legacy] = await commands.summarise([file('keras'), file('h5')]);
      const wrong = [
        ...compareWithKeras(made.says, archive).map((text) => `.keras: ${text}`),
        ...compareWithKeras(made.says, legacy).map((text) => `.h5: ${text}`),
      ];
      const { total, trainable, nonTrainable, layers } = made.says;
      const shapes = layers.filter((row) => row.shapes.length > 0).length;
      const good = report.count('keras-summary', name, wrong);
      const numbers = [total, trainable, nonTrainable].map((count) => count.toLocaleString('en'));
      summaryRows.push([name, ...numbers, layers.length, shapes, good ? 'agree' : 'DIFFER']);
      convertRows.push(await convertOne(context, name, stem, made, legacy, clock));
    } catch (error) {
      report.count('keras-summary', name, [error.message]);
      summaryRows.push([name, null, null, null, null, null, 'FAILED']);
    }
    for (const extension of ['keras', 'h5', 'npz', 'pt'])
      if (name !== KEPT || extension === 'pt' || extension === 'npz') await rm(file(extension), { force: true });
  }
  await torch.stop();
  const head = ['model', 'total', 'trainable', 'non-trainable', 'layers', 'shapes', '.keras and .h5'];
  report.table('keras-summary: bnsum against Keras', head, summaryRows, started);
  const convertHead = ['model', 'outputs', 'max relative error', 'control', 'PyTorch parameters', 'result', 'time'];
  report.table('keras-convert: PyTorch against Keras', convertHead, convertRows, started);
}

async function convertOne({ report, torch, commands, folder, modules }, name, stem, made, legacy, clock) {
  const output = join(folder, `${stem}.pt`);
  const module = join(modules, `${stem}.py`);
  const time = () => `${((performance.now() - clock) / 1000).toFixed(1)} s`;
  try {
    const receipt = await commands.convert(join(folder, `${stem}.keras`), output, { module });
    const after = await commands.summarise([output]);
    const checked = await torch.ask(
      'compare',
      {
        module_file: module,
        weights: output,
        arrays: join(folder, `${stem}.npz`),
        inputs: receipt.inputs,
        outputs: receipt.outputs,
      },
      1500,
    );
    if ((await stat(output)).size > GIGABYTE / 2) await torch.stop();
    const wrong = compareConverted(checked, [legacy, after]);
    // Each of the two Keras files: the .h5 is not the one that was converted.
    for (const extension of ['keras', 'h5'])
      wrong.push(...(await compareByDiff(commands, join(folder, `${stem}.${extension}`), output)));
    const good = report.count('keras-convert', name, wrong);
    return [
      name,
      made.outputs.map((shape) => shape.join('×')).join(' '),
      shown(checked.error),
      shown(checked.control),
      checked.totals.parameters.toLocaleString('en'),
      good ? 'equal' : 'DIFFER',
      time(),
    ];
  } catch (error) {
    report.count('keras-convert', name, [error.message]);
    return [name, null, null, null, null, 'FAILED', time()];
  }
}
