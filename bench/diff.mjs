// Compares bndiff with h5diff on two identical and two different files of 1 GB: node bench/diff.mjs FOLDER
// FOLDER holds a.h5, same.h5 and other.h5, which bench/diff_files.py writes. Needs GNU time and h5diff (hdf5-tools).
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const command = process.env.BNDIFF ?? join(root, 'dist', 'bin', 'bndiff.cjs');
const folder = process.argv[2];
const files = folder === undefined ? [] : ['a.h5', 'same.h5', 'other.h5'].map((name) => join(folder, name));
if (files.length === 0 || !files.every((file) => existsSync(file))) {
  console.error('usage: node bench/diff.mjs FOLDER; python bench/diff_files.py FOLDER writes its files');
  process.exit(2);
}

const RUNS = 3;

/** Best wall time in seconds and largest peak memory in MB of several runs. */
function measure(words) {
  let seconds = Number.POSITIVE_INFINITY;
  let megabytes = 0;
  let status = null;
  for (let run = 0; run < RUNS; run += 1) {
    const { stderr, status: code } = spawnSync('/usr/bin/time', ['-f', '%e %M', ...words], {
      encoding: 'utf8',
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    const [time, memory] = stderr.trim().split('\n').at(-1).split(' ').map(Number);
    seconds = Math.min(seconds, time);
    megabytes = Math.max(megabytes, memory / 1024);
    status = code;
  }
  return { seconds, megabytes, status };
}

const [a, same, other] = files;
console.log('files      command             seconds   peak MB  status');
for (const [name, b] of [
  ['identical', same],
  ['different', other],
]) {
  for (const [label, words] of [
    ['bndiff --values', [process.execPath, command, a, b, '--values']],
    ['h5diff -q', ['h5diff', '-q', a, b]],
  ]) {
    const { seconds, megabytes, status } = measure(words);
    const cells = [name.padEnd(10), label.padEnd(18), seconds.toFixed(2).padStart(8), megabytes.toFixed(0).padStart(9)];
    console.log(`${cells.join(' ')}  ${String(status).padStart(6)}`);
  }
}
