// One small model per layer, option and rank, and models in which layers meet: converted, and run in both frameworks.
import { readFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { compareByDiff, compareConverted, compareFlipped, compareWithKeras, TOLERANCE } from './checks.mjs';
import { Refusal } from './commands.mjs';
import { root } from './environment.mjs';
import { KnownList } from './known.mjs';
import { Pool, shown } from './report.mjs';

/** Cases that cannot be made into a file of their own. */
const LEFT_OUT = new Map([
  ['TFSMLayer', 'its weights are in a folder that is not part of the model file'],
  ['InputLayer', 'every model has one'],
]);

/** Cases whose models say something else in the file and after it is loaded, or that leave nothing to compare. */
function isLeftOut(one) {
  // Keras writes the kernel with its low-rank update in it and makes new matrices, which the file has not, on loading.
  if (one.config.lora_rank != null) return true;
  // The case's input is a float, whose random values are no rows of the table.
  if (one.class === 'SpectralNormalization' && one.config.layer?.class_name === 'Embedding') return true;
  // Reads the second table only, and the control spoils the first.
  if (one.class === 'ReversibleEmbedding' && one.callKwargs?.reverse === true && !one.config.tie_weights) return true;
  return LEFT_OUT.has(one.class);
}

/** Sizes that are open in a fixture case are given here, so cases that differ in nothing else become one. */
function concrete(cases) {
  const seen = new Set();
  const kept = [];
  for (const one of cases) {
    if (isLeftOut(one)) continue;
    const inputs = one.inputs.map((input) => ({
      ...input,
      shape: input.shape.map((size, axis) => (axis === 0 ? size : (size ?? 7))),
    }));
    const key = JSON.stringify([one.class, one.config, inputs, one.callKwargs, one.spread]);
    if (seen.has(key)) continue;
    seen.add(key);
    kept.push({ ...one, inputs });
  }
  return kept;
}

function grouped(cases) {
  const groups = new Map();
  for (const one of cases) groups.set(one.class, [...(groups.get(one.class) ?? []), one]);
  return groups;
}

/** What sets a case apart from its class' first: the options that differ, then the input shapes. */
function describe(one, first) {
  const short = (value) => {
    if (value === null || typeof value !== 'object') return String(value);
    if (Array.isArray(value)) return `[${value.map(short).join(',')}]`;
    return value.class_name ?? JSON.stringify(value).slice(0, 40);
  };
  const options = Object.keys(one.config)
    .filter((key) => key !== 'name' && JSON.stringify(one.config[key]) !== JSON.stringify(first.config[key]))
    .map((key) => `${key}=${short(one.config[key])}`);
  const calls = Object.keys(one.callKwargs).map((key) => `${key}=${one.callKwargs[key]}`);
  const shapes = one.inputs.map(({ shape }) => `(${shape.slice(1).join(',')})`).join(' ');
  return [`${one.class} ${shapes}`, ...options, ...calls].join(' ').slice(0, 160);
}

/** The first case of every class, and three more spread over the classes with the most rules. */
function sample(groups) {
  const many = 12;
  return groups.flatMap((cases) => {
    if (cases.length < many) return [cases[0]];
    const last = cases.length - 1;
    return [...new Set([0, Math.round(last / 3), Math.round((2 * last) / 3), last])].map((at) => cases[at]);
  });
}

export async function layers(context) {
  const { all, only } = context;
  const { cases } = JSON.parse(readFileSync(join(root, 'fixtures', 'good', 'keras-layers.json'), 'utf8'));
  const groups = [...grouped(concrete(cases)).values()];
  const jobs = (all ? groups.flat() : sample(groups)).map((one) => {
    const group = groups.find((list) => list[0].class === one.class);
    return {
      group: one.class,
      name: describe(one, group[0]),
      config: one.config,
      make: ['layer_case', { case: { ...one, weights: undefined } }],
    };
  });
  const wanted = jobs.filter((job) => only === null || job.name.includes(only));
  await convertMany(context, 'keras-layers', 'layer', wanted);
}

export async function composites(context) {
  const names = await context.keras.ask('composites');
  const jobs = names.map((name) => ({ group: name, name, config: {}, make: ['composite', { name }] }));
  const wanted = jobs.filter((job) => context.only === null || job.name.includes(context.only));
  await convertMany(context, 'keras-composites', 'model', wanted);
}

const EMPTY_ROW = { tried: 0, equal: 0, refused: 0, notRun: 0, failed: 0, error: null, control: null };

async function convertMany(context, suite, what, jobs) {
  const { report, keras, torch, folder } = context;
  const started = performance.now();
  const refusals = new KnownList('expected-refusals.json');
  const notRun = new KnownList('not-run.json');
  const rows = new Map();
  // Keras makes the next model while the last one is converted and run by PyTorch.
  const pool = new Pool(2);
  for (const [index, job] of jobs.entries()) {
    const row = rows.get(job.group) ?? { ...EMPTY_ROW };
    rows.set(job.group, row);
    row.tried += 1;
    const stem = `${suite}-${index}`;
    let made;
    try {
      made = await keras.ask(job.make[0], { ...job.make[1], folder, stem, seed: 1 }, 120);
    } catch (error) {
      if (notRun.has(job.group, job.config, error.message)) {
        row.notRun += 1;
        report.skipped += 1;
        continue;
      }
      row.failed += 1;
      report.count(suite, job.name, [`Keras: ${error.message}`]);
      continue;
    }
    notRun.passed(job.group, job.config);
    await pool.add(() => convertOne(context, suite, job, stem, made, row, refusals));
  }
  await pool.drain();
  await Promise.all([keras.stop(), torch.stop()]);
  const head = [what, 'tried', 'equal', 'refused', 'not run', 'failed', 'max relative error', 'control'];
  const lines = [...rows].map(([group, row]) => [
    group,
    row.tried,
    row.equal,
    row.refused,
    row.notRun,
    row.failed,
    shown(row.error),
    shown(row.control),
  ]);
  const sum = (key) => [...rows.values()].reduce((total, row) => total + row[key], 0);
  lines.push(['all', sum('tried'), sum('equal'), sum('refused'), sum('notRun'), sum('failed'), null, null]);
  report.table(`${suite}: PyTorch against Keras`, head, lines, started);
  if (context.all && context.only === null)
    for (const text of refusals.stale())
      report.notes.push(`expected-refusals.json lists what converts by now: ${text}`);
}

/** Half precision computes with 11 or 8 bits: the frameworks round at different places. */
function toleranceOf({ dtype }) {
  const policy = dtype?.config?.name ?? '';
  if (policy.includes('bfloat16')) return 5e-2;
  return policy.includes('float16') ? 1e-2 : TOLERANCE;
}

async function convertOne({ report, torch, commands, folder, modules }, suite, job, stem, made, row, refusals) {
  const file = (extension) => join(folder, `${stem}.${extension}`);
  const module = join(modules, `${stem}.py`);
  const wrong = [];
  try {
    let receipt;
    try {
      receipt = await commands.convert(file('keras'), file('pt'), { module });
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      if (!refusals.has(job.group, job.config, error.message)) wrong.push(`refused, and not listed: ${error.message}`);
      if (!/(?:layer|operation) \S/.test(error.message)) wrong.push('the refusal names no layer');
      wrong.push(...compareWithKeras(made.says, await commands.summarise([file('keras')])));
      if (wrong.length === 0) {
        row.refused += 1;
        report.refused += 1;
      }
    }
    if (receipt !== undefined) {
      refusals.passed(job.group, job.config);
      const summaries = await commands.summarise([file('keras'), file('pt')]);
      wrong.push(...compareWithKeras(made.says, summaries[0]));
      const checked = await torch.ask('compare', {
        module_file: module,
        weights: file('pt'),
        arrays: file('npz'),
        inputs: receipt.inputs,
        outputs: receipt.outputs,
      });
      wrong.push(...compareConverted(checked, summaries, toleranceOf(job.config)));
      wrong.push(...(await compareByDiff(commands, file('keras'), file('pt'))));
      const seed = Number(stem.split('-').at(-1));
      wrong.push(...(await compareFlipped(commands, file('keras'), file('safetensors'), seed)));
      row.error = Math.max(row.error ?? 0, checked.error);
      if (checked.control !== null) row.control = Math.min(row.control ?? checked.control, checked.control);
      if (wrong.length === 0) row.equal += 1;
    }
  } catch (error) {
    wrong.push(error.message);
  }
  if (wrong.length > 0) row.failed += 1;
  report.count(suite, job.name, wrong);
  for (const extension of ['keras', 'pt', 'npz', 'pt.receipt.json', 'safetensors', 'safetensors.receipt.json'])
    await rm(file(extension), { force: true });
}
