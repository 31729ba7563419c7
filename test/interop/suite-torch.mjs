// torchvision's models, torch.onnx, continued training, and the loader of pt-json files.
import { existsSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { compareWithTorch } from './checks.mjs';
import { shown } from './report.mjs';
import { KEPT } from './suite-applications.mjs';

const SAMPLE = ['resnet18', 'resnet50', 'mobilenet_v2', 'densenet121', 'vit_b_16'];

/** Models that are also saved whole, as a pickled module. */
const WHOLE = new Set(['resnet18', 'mobilenet_v2']);

function compareState(made, summary) {
  const wrong = compareWithTorch(made, summary, 'bnsum');
  if (summary.totals.state.elements !== made.state)
    wrong.push(`state elements are ${summary.totals.state.elements}, PyTorch says ${made.state}`);
  const norms = summary.layers.filter((layer) => layer.kind === 'batch_norm').length;
  if (norms !== made.batchNorms) wrong.push(`${norms} BatchNorms are recognised of ${made.batchNorms}`);
  return wrong;
}

export async function vision(context) {
  const { report, torch, commands, folder, all, only } = context;
  const started = performance.now();
  const names = (all ? await torch.ask('vision_models') : SAMPLE).filter(
    (name) => only === null || name.includes(only),
  );
  const rows = [];
  for (const name of names) {
    const stem = `vision-${name}`;
    const file = join(folder, `${stem}.pt`);
    const whole = WHOLE.has(name);
    try {
      const made = await torch.ask('vision_model', { name, folder, stem, whole }, 900);
      const wrong = compareState(made, await commands.summarise([file]));
      if (whole) {
        const text = compareState(made, await commands.summarise([join(folder, `${stem}-module.pt`)]));
        wrong.push(...text.map((line) => `saved whole: ${line}`));
      }
      const good = report.count('torch-summary', name, wrong);
      const numbers = [made.parameters, made.buffers, made.state].map((count) => count.toLocaleString('en'));
      rows.push([name, ...numbers, made.batchNorms, good ? 'agree' : 'DIFFER']);
    } catch (error) {
      report.count('torch-summary', name, [error.message]);
      rows.push([name, null, null, null, null, 'FAILED']);
    }
    if (name !== 'resnet50') await rm(file, { force: true });
    await rm(join(folder, `${stem}-module.pt`), { force: true });
  }
  const head = ['model', 'parameters', 'buffers', 'state_dict', 'BatchNorms', 'bnsum'];
  report.table('torch-summary: bnsum against torchvision', head, rows, started);
  if (names.includes('resnet50')) await explainResNet(context);
}

/** Networks that both frameworks have under one name, with what bnconvert has to say of the target. */
const TWINS = [
  { ours: 'MobileNetV2', theirs: 'mobilenet_v2', eps: 1e-3, uneven: true },
  { ours: 'DenseNet121', theirs: 'densenet121', eps: 1.001e-5, uneven: false },
  { ours: 'VGG16', theirs: 'vgg16', eps: null, uneven: false, large: true },
];

/** --keys: Keras' weights under torchvision's keys, loaded into torchvision's own model, compute what Keras does. */
export async function keys({ report, keras, torch, commands, folder, all, only }) {
  const started = performance.now();
  const rows = [];
  for (const { ours, theirs, eps, uneven, large } of TWINS) {
    const title = `${ours} as ${theirs}`;
    if ((large && !all) || (only !== null && !title.includes(only))) continue;
    const stem = `keys-${ours}`;
    const file = (extension) => join(folder, `${stem}.${extension}`);
    const target = join(folder, `${stem}-target.pt`);
    const wrong = [];
    let checked = null;
    try {
      await keras.ask('application', { name: ours, folder, stem }, 900);
      await torch.ask('vision_model', { name: theirs, folder, stem: `${stem}-target` }, 900);
      const { diagnostics } = await commands.plan(file('keras'), ['--keys', target]);
      const said = diagnostics.find(({ code, args }) => code === 'TARGET_SETTING' && args.setting === 'eps');
      const padding = diagnostics.some(({ code }) => code === 'TARGET_PADDING');
      if ((said?.args.value ?? null) !== eps) wrong.push(`eps is said to be ${said?.args.value}, Keras has ${eps}`);
      if (padding !== uneven) wrong.push(`uneven padding is ${padding ? '' : 'not '}spoken of`);
      await commands.convert(file('keras'), file('pt'), { extra: ['--keys', target] });
      checked = await torch.ask(
        'compare_vision',
        { name: theirs, weights: file('pt'), arrays: file('npz'), eps: said?.args.value ?? null, uneven: padding },
        900,
      );
      if (!(checked.error <= 1e-4)) wrong.push(`the outputs differ by ${checked.error.toExponential(2)}`);
      if (!(checked.control > 1e-3)) wrong.push(`the control differs by ${checked.control.toExponential(2)} only`);
    } catch (error) {
      wrong.push(error.message);
    }
    const good = report.count('torchvision-keys', title, wrong);
    const errors = [checked?.error, checked?.control, checked?.plain].map((one) =>
      one === undefined ? null : shown(one),
    );
    rows.push([title, ...errors, good ? 'equal' : 'DIFFER']);
    for (const path of [file('keras'), file('h5'), file('npz'), file('pt'), target]) await rm(path, { force: true });
  }
  await keras.stop();
  await torch.stop();
  const head = ['model', 'max relative error', 'control', 'without what bnconvert says', 'result'];
  report.table("torchvision-keys: Keras' weights in torchvision's models", head, rows, started);
}

/** ResNet50 of both frameworks side by side: the whole gap is explained. */
async function explainResNet({ report, keras, commands, folder, only }) {
  if (only !== null) return;
  const wrong = [];
  const files = [join(folder, `app-${KEPT}.keras`), join(folder, 'vision-resnet50.pt')];
  try {
    if (!existsSync(files[0])) {
      await keras.ask('application', { name: KEPT, folder, stem: `app-${KEPT}`, run: false });
      await keras.stop();
    }
    const { pair } = await commands.summarise(files, { explain: true });
    const steps = pair.steps.map((step) => [step.kind, step.elements]);
    const wanted = [
      ['moving_statistics', -53120],
      ['bias_before_batch_norm', -26560],
    ];
    if (pair.from.elements !== 25636712) wrong.push(`Keras' ResNet50 has ${pair.from.elements}`);
    if (pair.to.elements !== 25557032) wrong.push(`torchvision's resnet50 has ${pair.to.elements}`);
    if (JSON.stringify(steps) !== JSON.stringify(wanted)) wrong.push(`the steps are ${JSON.stringify(steps)}`);
    report.say(
      `\nresnet50, Keras to PyTorch: ${pair.from.elements.toLocaleString('en')} ${pair.steps
        .map((step) => `${step.elements < 0 ? '−' : '+'} ${Math.abs(step.elements).toLocaleString('en')} ${step.kind}`)
        .join(' ')} = ${pair.to.elements.toLocaleString('en')}`,
    );
  } catch (error) {
    wrong.push(error.message);
  }
  report.count('torch-summary', 'resnet50 explained', wrong);
  for (const file of [...files, join(folder, `app-${KEPT}.h5`)]) await rm(file, { force: true });
}

export async function onnx({ report, torch, commands, folder, only }) {
  const started = performance.now();
  const rows = [];
  for (const [name, dynamo] of [
    ['small', false],
    ['small', true],
    ['resnet18', false],
    ['mobilenet_v2', true],
  ]) {
    const title = `${name}, ${dynamo ? 'dynamo' : 'TorchScript'} exporter`;
    if (only !== null && !title.includes(only)) continue;
    const stem = `onnx-${name}-${dynamo}`;
    try {
      const made = await torch.ask('export_onnx', { name, folder, stem, dynamo });
      const summary = await commands.summarise([join(folder, `${stem}.onnx`)]);
      const { parameters, buffers } = summary.totals.torch;
      const wrong = [];
      if (parameters !== made.parameters) wrong.push(`parameters are ${parameters}, PyTorch says ${made.parameters}`);
      // ONNX has no place for num_batches_tracked.
      const statistics = made.norms.reduce((sum, norm) => sum + 2 * norm.channels, 0);
      const ours = summary.layers.filter((layer) => layer.kind === 'batch_norm');
      const kept = ours.reduce((sum, layer) => sum + 2 * (layer.bn?.channels ?? 0), 0);
      if (kept !== statistics) wrong.push(`${kept} moving statistics, PyTorch says ${statistics}`);
      for (const [index, norm] of made.norms.entries()) {
        const bn = ours[index]?.bn;
        const close = (a, b) => typeof a === 'number' && Math.abs(a - b) <= 1e-6 * Math.abs(b);
        if (!close(bn?.eps, norm.eps) || !close(bn?.momentum?.torch, norm.momentum)) {
          wrong.push(
            `BatchNorm ${index}: eps ${bn?.eps}, momentum ${bn?.momentum?.torch}; PyTorch says ${norm.eps}, ${norm.momentum}`,
          );
          break;
        }
      }
      const good = report.count('torch-onnx', title, wrong);
      rows.push([title, made.parameters.toLocaleString('en'), buffers, made.norms.length, good ? 'agree' : 'DIFFER']);
    } catch (error) {
      report.count('torch-onnx', title, [error.message]);
      rows.push([title, null, null, null, 'FAILED']);
    }
  }
  await torch.stop();
  const head = ['model', 'parameters', 'buffers', 'BatchNorms', 'bnsum'];
  report.table('torch-onnx: bnsum against the model that was exported', head, rows, started);
}

/** Same data, same steps: the statistics of both frameworks, before and after taking their variance estimators apart. */
export async function training({ report, keras, torch, commands, folder, modules }) {
  const started = performance.now();
  const [stem, steps, tolerance] = ['training', 20, 1e-4];
  const file = (extension) => join(folder, `${stem}.${extension}`);
  const rows = [];
  try {
    const theirs = await keras.ask('train', { folder, stem, steps });
    const module = join(modules, `${stem}.py`);
    const receipt = await commands.convert(file('keras'), file('pt'), { module });
    const paths = Object.fromEntries(receipt.modules.map(({ layer, path }) => [layer, path]));
    const ours = await torch.ask('train', {
      module_file: module,
      weights: file('pt'),
      arrays: file('npz'),
      input_axes: receipt.inputs[0].axes,
      modules: Object.fromEntries(Object.keys(theirs.after).map((layer) => [layer, paths[layer]])),
    });
    for (const [layer, after] of Object.entries(theirs.after)) {
      const { momentum, variance: start } = theirs.before[layer];
      const n = theirs.counts[layer];
      const kept = momentum ** steps;
      const widest = (a, b) => Math.max(...a.map((value, at) => Math.abs(value - b[at])));
      // PyTorch feeds its running variance n/(n−1) times the batch's; the share of the start value is not scaled.
      const corrected = ours[layer].variance.map(
        (value, at) => kept * start[at] + ((value - kept * start[at]) * (n - 1)) / n,
      );
      const mean = widest(ours[layer].mean, after.mean);
      const raw = widest(ours[layer].variance, after.variance);
      const variance = widest(corrected, after.variance);
      const moved = widest(theirs.before[layer].variance, after.variance);
      const wrong = [];
      if (!(mean <= tolerance)) wrong.push(`means differ by ${mean.toExponential(2)}`);
      if (!(variance <= tolerance)) wrong.push(`corrected variances differ by ${variance.toExponential(2)}`);
      if (!(moved > 100 * tolerance)) wrong.push('the statistics did not move: nothing was compared');
      if (ours[layer].counter !== steps) wrong.push(`num_batches_tracked is ${ours[layer].counter}`);
      const good = report.count('training', layer, wrong);
      rows.push([
        layer,
        momentum,
        n,
        shown(moved),
        shown(mean),
        shown(raw),
        shown(variance),
        good ? 'equal' : 'DIFFER',
      ]);
    }
  } catch (error) {
    report.count('training', 'continued training', [error.message]);
  }
  const head = [
    'BatchNorm',
    'Keras momentum',
    'n',
    'moved by',
    'mean',
    'variance',
    'variance without n/(n−1)',
    'result',
  ];
  report.table(`training: statistics after ${steps} more steps, largest difference`, head, rows, started);
}

/** The loader that the README shows, against torch.load of the same conversion. */
export async function loader({ report, keras, torch, commands, folder }) {
  const started = performance.now();
  const rows = [];
  for (const name of ['reference-cnn-small', 'many-inputs-and-outputs', 'batch-norm-no-scale', 'transformer-block']) {
    const stem = `loader-${name}`;
    const file = (extension) => join(folder, `${stem}.${extension}`);
    const wrong = [];
    let tensors = null;
    try {
      await keras.ask('composite', { name, folder, stem });
      await commands.convert(file('keras'), file('pt'));
      for (const data of ['base64', 'text']) {
        const output = file(`${data}.pt-json`);
        await commands.convert(file('keras'), output, { extra: ['--data', data] });
        ({ tensors } = await torch.ask('same_state', { weights: file('pt'), text: output }));
      }
    } catch (error) {
      wrong.push(error.message);
    }
    const good = report.count('pt-json-loader', name, wrong);
    rows.push([name, tensors, good ? 'equal' : 'DIFFER']);
  }
  report.table(
    'pt-json-loader: the loader of the README against torch.load',
    ['model', 'tensors', 'base64 and text'],
    rows,
    started,
  );
}
