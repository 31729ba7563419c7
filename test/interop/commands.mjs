// The built commands, run as a user runs them.
import { spawn } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';

function collect(command, args, options = {}) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'], ...options });
    const out = [];
    const err = [];
    child.stdout.on('data', (piece) => out.push(piece));
    child.stderr.on('data', (piece) => err.push(piece));
    child.on('error', reject);
    child.on('close', (status, signal) =>
      resolve({
        status: status ?? signal,
        stdout: Buffer.concat(out).toString('utf8'),
        stderr: Buffer.concat(err).toString('utf8').trim(),
      }),
    );
  });
}

/** What bnconvert says when it will not convert a model; everything else that goes wrong is a plain Error. */
export class Refusal extends Error {}

export class Commands {
  constructor(dist, ruff) {
    this.bin = (name) => join(dist, 'bin', `${name}.cjs`);
    this.ruff = ruff;
  }

  async #run(name, args) {
    return await collect(process.execPath, [this.bin(name), ...args], {
      env: { ...process.env, NO_COLOR: '1', FORCE_COLOR: undefined },
    });
  }

  /** bnsum's JSON of one file; of several files, a list, or with `explain` the whole object. */
  async summarise(files, { explain = false } = {}) {
    const { status, stdout, stderr } = await this.#run('bnsum', [
      ...(explain ? ['--explain'] : []),
      '--format',
      'json',
      ...files,
    ]);
    if (status !== 0) throw new Error(`bnsum: exit ${status}: ${stderr}`);
    const value = JSON.parse(stdout);
    if (explain) return value;
    return files.length === 1 ? value : value.files;
  }

  /** Converts; returns the receipt. Throws Refusal with bnconvert's own line. */
  async convert(input, output, { module, extra = [] } = {}) {
    const receipt = `${output}.receipt.json`;
    const { status, stderr } = await this.#run('bnconvert', [
      input,
      output,
      ...(module === undefined ? [] : ['--module', module]),
      '--receipt',
      receipt,
      '--quiet',
      ...extra,
    ]);
    const line = stderr.split('\n').find((text) => text.startsWith('bnconvert:')) ?? stderr;
    // An unreadable file or a wrong option is exit 2 as well: only what is refused or unsupported is a refusal.
    if (status === 2 && /\[(?:REFUSED|UNSUPPORTED)\]/.test(line)) throw new Refusal(line);
    if (status !== 0) throw new Error(`bnconvert: exit ${status}: ${line.slice(0, 600)}`);
    return JSON.parse(await readFile(receipt, 'utf8'));
  }

  /** What bnconvert would do, as data: nothing is written. */
  async plan(input, extra = []) {
    const { status, stdout, stderr } = await this.#run('bnconvert', [input, '--dry-run', '--format', 'json', ...extra]);
    if (status !== 0) throw new Error(`bnconvert --dry-run: exit ${status}: ${stderr.slice(0, 600)}`);
    return JSON.parse(stdout);
  }

  /** bndiff of two files with every value, byte-exact: the exit code and the one comparison. */
  async diff(a, b) {
    const { status, stdout, stderr } = await this.#run('bndiff', [
      a,
      b,
      '--values',
      '--rtol',
      '0',
      '--atol',
      '0',
      '--format',
      'json',
    ]);
    if (status !== 0 && status !== 1) throw new Error(`bndiff: exit ${status}: ${stderr.slice(0, 600)}`);
    return { status, comparison: JSON.parse(stdout).comparisons[0] };
  }

  /** What ruff has to say of generated modules: file name to complaint; empty when all is well. */
  async lint(folder) {
    const complaints = new Map();
    const add = (file, text) => complaints.set(file, [complaints.get(file), text].filter(Boolean).join('; '));
    const base = (path) => path.split(/[/\\]/).at(-1);
    const check = await collect(this.ruff, ['check', '--isolated', '--no-cache', '--output-format', 'json', folder]);
    for (const { filename, code, message, location } of JSON.parse(check.stdout || '[]'))
      add(base(filename), `ruff check: ${code} ${message} (line ${location?.row})`);
    const format = await collect(this.ruff, ['format', '--isolated', '--no-cache', '--check', folder]);
    for (const line of format.stdout.split('\n')) {
      const found = /^Would reformat: (.*)$/.exec(line.trim());
      if (found) add(base(found[1]), 'ruff format would change it');
    }
    if (check.status > 1 || format.status > 1) add('ruff', `${check.stderr} ${format.stderr}`);
    return complaints;
  }
}
