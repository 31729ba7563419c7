// What bnsum, bnconvert and bndiff cost, beside what people use instead, measured in one run.
//   node bench/run.mjs                  everything (npm run bench); needs `npm run build` and about 15 GB of temporary space
//   node bench/run.mjs --quick          small inputs
//   node bench/run.mjs --only NAME      one of start, headers, many, convert, diff (may be repeated); --runs N
// The Python peers come from .interop-venv, which `npm run test:interop` makes, or from BNSUM_BENCH_PYTHON.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { arch, cpus, loadavg, platform, release, tmpdir, totalmem } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { manyTensors, writeOnnx, writeSafetensors, writeTorch } from './inputs.mjs';
import { interleave, withoutTime } from './measure.mjs';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const dist = process.env.BNSUM_BENCH_DIST ?? join(root, 'dist');
const bin = (name) => [process.execPath, join(dist, 'bin', `${name}.cjs`)];
const CASES = { start, headers, many, convert, diff };

const { values } = parseArgs({
  options: {
    only: { type: 'string', multiple: true },
    quick: { type: 'boolean', default: false },
    runs: { type: 'string' },
  },
});
const chosen = values.only ?? Object.keys(CASES);
const stranger = chosen.find((name) => !Object.hasOwn(CASES, name));
if (stranger !== undefined) fail(`no case '${stranger}': ${Object.keys(CASES).join(', ')}`);
if (!existsSync(join(dist, 'bin', 'bnsum.cjs'))) fail('there is no dist/: run `npm run build` first');
const { quick } = values;
const rounds = (usual) => (values.runs === undefined ? usual : Number(values.runs));

const python = findPython();
const peer = (...words) => ({
  words: [python, join(root, 'bench', 'peer.py'), ...words],
  env: { CUDA_VISIBLE_DEVICES: '', TF_CPP_MIN_LOG_LEVEL: '3', TF_ENABLE_ONEDNN_OPTS: '0' },
});

const folder = mkdtempSync(join(tmpdir(), 'bnsum-bench-'));
const clear = () => rmSync(folder, { recursive: true, force: true });
for (const [signal, code] of [
  ['SIGINT', 130],
  ['SIGTERM', 143],
]) {
  process.once(signal, () => {
    clear();
    process.exit(code);
  });
}

let over = 0;
try {
  describeMachine();
  for (const name of chosen) {
    const inside = join(folder, name);
    mkdirSync(inside);
    console.log(`\n${name}`);
    await CASES[name](inside);
    rmSync(inside, { recursive: true, force: true });
  }
  console.log(`\nload average at the end ${load()}`);
  console.log(over === 0 ? 'within every limit' : `${over} above their limit`);
} finally {
  clear();
}

function fail(message) {
  console.error(message);
  process.exit(2);
}

function load() {
  return loadavg()
    .map((one) => one.toFixed(1))
    .join(', ');
}

function findPython() {
  const given = process.env.BNSUM_BENCH_PYTHON;
  if (given !== undefined) return given;
  const made = join(root, '.interop-venv', platform() === 'win32' ? 'Scripts/python.exe' : 'bin/python');
  return existsSync(made) ? made : null;
}

function firstLine(words) {
  const { stdout, stderr, status } = spawnSync(words[0], words.slice(1), { encoding: 'utf8' });
  return status === 0 ? `${stdout}${stderr}`.trim().split('\n')[0] : null;
}

function describeMachine() {
  const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
  const processors = cpus();
  const memory = (totalmem() / 2 ** 30).toFixed(0);
  console.log(`bnsum ${version}, Node ${process.version}, ${platform()} ${release()} ${arch()}`);
  console.log(`${processors.length} × ${processors[0]?.model ?? '?'}, ${memory} GiB, load average ${load()}`);
  console.log(
    python === null
      ? 'no .interop-venv: the Python peers and the .h5 inputs are left out (npm run test:interop makes it)'
      : firstLine(peer('versions').words),
  );
  if (withoutTime !== null) console.log(withoutTime);
  console.log('medians of runs in turns; peak memory is the largest of all runs');
}

/** Prints a row per command: its figures, and its ratio to the command that `against` names. */
function table(results, against) {
  const base = results.get(against);
  const width = Math.max(...[...results.keys()].map((label) => label.length));
  const cell = (value, digits, size) => (value === null ? '–' : value.toFixed(digits)).padStart(size);
  console.log(`  ${''.padEnd(width)}   seconds  processor  peak MB   × ${against}`);
  for (const [label, { seconds, processor, megabytes }] of results) {
    const figures = [cell(seconds, 3, 9), cell(processor, 2, 10), cell(megabytes, 0, 8)].join(' ');
    console.log(`  ${label.padEnd(width)} ${figures} ${cell(seconds / base.seconds, 2, 9)}`);
  }
}

function limit(what, value, most, unit = '') {
  if (value === null) return;
  const good = value <= most;
  if (!good) over += 1;
  const digits = most < 20 ? 2 : 0;
  console.log(`  ${good ? 'ok  ' : 'OVER'} ${what}: ${value.toFixed(digits)}${unit}, at most ${most}${unit}`);
}

function make(path, side, layers, storage) {
  const { words, env } = peer('make', path, String(side), String(layers), storage);
  const { status, stderr } = spawnSync(words[0], words.slice(1), { encoding: 'utf8', env: { ...process.env, ...env } });
  if (status !== 0) throw new Error(stderr);
}

async function start() {
  const good = join(root, 'fixtures', 'good');
  const keras = join(good, 'reference-cnn.h5');
  const commands = [
    { label: 'node -e 0', words: [process.execPath, '-e', '0'] },
    { label: 'bnsum --version', words: [...bin('bnsum'), '--version'] },
    { label: 'bnsum .h5', words: [...bin('bnsum'), keras] },
    { label: 'bnsum .keras', words: [...bin('bnsum'), join(good, 'reference-cnn.keras')] },
    { label: 'bnsum .pt', words: [...bin('bnsum'), join(good, 'pairs', 'resnet50.pt')] },
  ];
  if (python !== null) commands.push({ label: 'h5py names and shapes', ...peer('names', keras) });
  const results = interleave(commands, rounds(quick ? 5 : 15));
  if (python !== null) {
    const slow = [{ label: 'Keras load_model().summary()', ...peer('summary', keras) }];
    for (const [label, result] of interleave(slow, rounds(quick ? 1 : 3))) results.set(label, result);
  }
  table(results, 'node -e 0');
  const ratio = (label, base) => results.get(label).seconds / results.get(base).seconds;
  limit('--version to node -e 0', ratio('bnsum --version', 'node -e 0'), 1.3, '×');
  limit('.h5 to node -e 0', ratio('bnsum .h5', 'node -e 0'), 5, '×');
  if (python !== null) {
    console.log(
      `  Keras takes ${ratio('Keras load_model().summary()', 'bnsum .h5').toFixed(1)}× the time of bnsum .h5`,
    );
    console.log(`  h5py takes ${ratio('h5py names and shapes', 'bnsum .h5').toFixed(1)}× the time of bnsum .h5`);
  }
}

/** Bytes that the library reads from the disk for a summary: counted by the reader, slices and all. */
function bytesRead(path) {
  const script = `import { openModel } from ${JSON.stringify(join(dist, 'lib', 'index.js'))};
    const { value } = await openModel(process.argv[1]); console.log(value.bytesRead()); await value.close();`;
  const { stdout, stderr, status } = spawnSync(process.execPath, ['--input-type=module', '-e', script, path], {
    encoding: 'utf8',
    cwd: root,
  });
  if (status !== 0) throw new Error(stderr);
  return Number(stdout);
}

async function headers(inside) {
  const files = [];
  if (python !== null) {
    const side = quick ? 4096 : 16_384;
    make(join(inside, 'small.h5'), 64, 2, 'plain');
    make(join(inside, 'large.h5'), side, 2, 'sparse');
    files.push(['.h5', 'small.h5', 'large.h5', 2_000_000]);
  }
  const wide = quick ? 2048 : 16_384;
  const layers = (side) => Array.from({ length: 10 }, (_, index) => [`fc${index}.weight`, [side, side]]);
  await writeTorch(inside, join(inside, 'small.pt'), layers(50));
  await writeTorch(inside, join(inside, 'large.pt'), layers(wide));
  files.push(['.pt', 'small.pt', 'large.pt', 5_000_000]);
  await writeOnnx(join(inside, 'small.onnx'), 'small.onnx', 90, 3);
  await writeOnnx(join(inside, 'large.onnx'), 'large.onnx', quick ? 2048 : 16_384, 3);
  files.push(['.onnx and its data', 'small.onnx', 'large.onnx', 5_000_000]);
  const commands = files.flatMap(([, small, large]) =>
    [small, large].map((name) => ({ label: `bnsum ${name}`, words: [...bin('bnsum'), join(inside, name)] })),
  );
  const results = interleave(commands, rounds(quick ? 3 : 7));
  table(results, `bnsum ${files[0][1]}`);
  for (const [what, small, large, most] of files) {
    const { seconds, megabytes } = results.get(`bnsum ${large}`);
    limit(`large ${what} to small: time`, seconds / results.get(`bnsum ${small}`).seconds, 2, '×');
    limit(`large ${what}: peak memory`, megabytes, 150, ' MB');
    limit(`large ${what}: bytes read`, bytesRead(join(inside, large)), most);
  }
}

async function many(inside) {
  const tensors = manyTensors(quick ? 10_000 : 100_000);
  await writeTorch(inside, join(inside, 'many.pt'), tensors);
  await writeSafetensors(join(inside, 'many.safetensors'), tensors);
  const commands = [{ label: 'node -e 0', words: [process.execPath, '-e', '0'] }];
  for (const name of ['many.pt', 'many.safetensors']) {
    for (const format of ['text', 'json']) {
      commands.push({
        label: `bnsum ${name} ${format}`,
        words: [...bin('bnsum'), join(inside, name), '--format', format],
      });
    }
  }
  const results = interleave(commands, rounds(3));
  table(results, 'node -e 0');
  for (const { label } of commands.slice(1)) {
    limit(`${label}: seconds`, results.get(label).seconds, 3, ' s');
    limit(`${label}: peak memory`, results.get(label).megabytes, 400, ' MB');
  }
}

async function convert(inside) {
  if (python === null) return void console.log('  left out: its inputs are made by h5py');
  const inputs = quick
    ? [
        ['50 MB', 1800, 4, 'plain'],
        ['50 MB, gzip', 3600, 1, 'gzip'],
      ]
    : [
        ['500 MB', 5600, 4, 'plain'],
        ['4 GB', 11_200, 8, 'plain'],
        ['one kernel of 2 GB', 23_170, 1, 'plain'],
        ['one kernel of 500 MB, gzip', 11_200, 1, 'gzip'],
      ];
  for (const [what, side, layers, storage] of inputs) {
    const source = join(inside, 'model.h5');
    const target = join(inside, 'model.pt');
    const before = () => rmSync(target, { force: true });
    make(source, side, layers, storage);
    const commands = [
      { label: `bnconvert, ${what}`, words: [...bin('bnconvert'), source, target, '--quiet'], before },
      { label: `h5py, numpy, torch, ${what}`, ...peer('convert', source, target), before },
    ];
    const results = interleave(commands, rounds(quick ? 1 : 3));
    const [ours, theirs] = commands.map(({ label }) => results.get(label));
    table(results, commands[1].label);
    limit(`${what}: time to the peer's`, ours.seconds / theirs.seconds, 1, '×');
    limit(`${what}: peak memory`, ours.megabytes, 300, ' MB');
    before();
  }
}

async function diff(inside) {
  if (python === null) return void console.log('  left out: its inputs are made by h5py');
  const words = [python, join(root, 'bench', 'diff_files.py'), inside];
  const { status, stderr } = spawnSync(words[0], words.slice(1), { encoding: 'utf8' });
  if (status !== 0) throw new Error(stderr);
  const h5diff = firstLine(['h5diff', '--version']);
  console.log(`  ${h5diff ?? 'no h5diff (hdf5-tools): the peer is left out'}`);
  for (const [what, name, code] of [
    ['identical', 'same.h5', 0],
    ['different', 'other.h5', 1],
  ]) {
    const pair = [join(inside, 'a.h5'), join(inside, name)];
    const commands = [{ label: `bndiff, ${what}`, words: [...bin('bndiff'), ...pair, '--values'], status: code }];
    if (h5diff !== null) commands.push({ label: `h5diff, ${what}`, words: ['h5diff', '-q', ...pair], status: code });
    const results = interleave(commands, rounds(quick ? 1 : 3));
    table(results, commands.at(-1).label);
    const ours = results.get(commands[0].label);
    if (h5diff !== null)
      limit(`${what}: time to h5diff's`, ours.seconds / results.get(commands[1].label).seconds, 1, '×');
    limit(`${what}: peak memory`, ours.megabytes, 150, ' MB');
  }
}
