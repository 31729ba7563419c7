// The interop tests: what bnsum and bnconvert say, against what Keras and PyTorch say and compute.
//   node test/interop/run.mjs                     a fixed sample (npm run test:interop)
//   node test/interop/run.mjs --all               everything (npm run test:interop:all)
//   node test/interop/run.mjs --suite NAME        one suite (may be repeated); --only TEXT: cases whose name holds it
import { rmSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { Commands } from './commands.mjs';
import { prepareCommands, prepareEnvironment } from './environment.mjs';
import { Peer } from './peer.mjs';
import { Report } from './report.mjs';
import { applications } from './suite-applications.mjs';
import { composites, layers } from './suite-layers.mjs';
import { recorded } from './suite-recorded.mjs';
import { keys, loader, onnx, training, vision } from './suite-torch.mjs';

/** In this order: torch-summary compares a file that keras-applications makes. */
const SUITES = {
  'keras-applications': applications,
  'keras-layers': layers,
  'keras-composites': composites,
  'keras-recorded': recorded,
  'torch-summary': vision,
  'torchvision-keys': keys,
  'torch-onnx': onnx,
  training,
  'pt-json-loader': loader,
};

const { values } = parseArgs({
  options: {
    all: { type: 'boolean', default: false },
    suite: { type: 'string', multiple: true },
    only: { type: 'string' },
    keep: { type: 'boolean', default: false },
  },
});

const started = performance.now();
const report = new Report();
const chosen = values.suite ?? Object.keys(SUITES);
for (const name of chosen)
  if (!(name in SUITES)) throw new Error(`no suite '${name}': ${Object.keys(SUITES).join(', ')}`);

const { python, ruff } = prepareEnvironment((line) => report.say(line));
const commands = new Commands(
  prepareCommands((line) => report.say(line)),
  ruff,
);
const folder = await mkdtemp(join(tmpdir(), 'bnsum-interop-'));
const modules = join(folder, 'modules');
await mkdir(modules);
for (const [signal, code] of [
  ['SIGINT', 130],
  ['SIGTERM', 143],
]) {
  process.once(signal, () => {
    rmSync(folder, { recursive: true, force: true });
    process.exit(code);
  });
}
const keras = new Peer(python, 'keras_peer.py');
const torch = new Peer(python, 'torch_peer.py');

const context = {
  report,
  commands,
  keras,
  torch,
  folder,
  modules,
  all: values.all,
  only: values.only ?? null,
};
try {
  for (const name of chosen) {
    try {
      await SUITES[name](context);
    } catch (error) {
      report.count(name, 'the suite', [error.stack]);
    }
  }
  const files = await readdir(modules);
  if (files.length > 0) {
    const complaints = await commands.lint(modules);
    for (const file of files) report.count('ruff', file, complaints.has(file) ? [complaints.get(file)] : []);
    if (complaints.has('ruff')) report.count('ruff', 'ruff', [complaints.get('ruff')]);
    report.say(`\nruff: ${files.length} generated modules, ${complaints.size} with complaints`);
  }
} finally {
  await Promise.allSettled([keras.stop(), torch.stop()]);
  if (values.keep) report.say(`kept: ${folder}`);
  else await rm(folder, { recursive: true, force: true });
}
report.close(started);
process.exitCode = report.failures.length === 0 ? 0 : 1;
