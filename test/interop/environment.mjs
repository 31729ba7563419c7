// The Python environment of the interop tests: .interop-venv in the project's root, made from the requirements here.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const here = dirname(fileURLToPath(import.meta.url));
export const root = join(here, '..', '..');
const venv = join(root, '.interop-venv');
const stampFile = join(venv, 'requirements.sha256');
const bin = join(venv, process.platform === 'win32' ? 'Scripts' : 'bin');
const lists = [join(here, 'requirements.txt'), join(here, 'requirements-no-deps.txt')];

/** Pythons for which all of the pinned packages exist. */
const KNOWN = ['3.11', '3.12', '3.13'];

function run(command, args) {
  const { status, error, signal } = spawnSync(command, args, { stdio: ['ignore', 2, 2] });
  if (status !== 0) {
    const how = error?.message ?? (signal === null ? `exit ${status}` : signal);
    throw new Error(`cannot prepare the interop tests: '${[command, ...args].join(' ')}' failed (${how})`);
  }
}

function findPython() {
  const asked = process.env.BNSUM_PYTHON;
  for (const command of asked ? [asked] : ['python3', ...KNOWN.map((version) => `python${version}`), 'python']) {
    const { status, stdout } = spawnSync(command, ['-c', 'import sys; print("%d.%d" % sys.version_info[:2])'], {
      encoding: 'utf8',
    });
    const version = status === 0 ? stdout.trim() : '';
    if (KNOWN.includes(version)) return { command, version };
  }
  throw new Error(`cannot prepare the interop tests: they need Python ${KNOWN.join(', ')} (set BNSUM_PYTHON to one)`);
}

/** Paths of Python and ruff, installed now unless the venv holds exactly this already. Throws where anything is missing. */
export function prepareEnvironment(say) {
  const python = { python: join(bin, 'python'), ruff: join(bin, 'ruff') };
  const hash = createHash('sha256');
  for (const list of lists) hash.update(readFileSync(list));
  const wanted = hash.digest('hex');
  if (existsSync(stampFile) && readFileSync(stampFile, 'utf8') === wanted) return python;
  const { command, version } = findPython();
  say(`installing the frameworks into .interop-venv (Python ${version}); this is done once`);
  run(command, ['-m', 'venv', '--clear', venv]);
  const pip = ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check'];
  run(python.python, [...pip, '-r', lists[0]]);
  run(python.python, [...pip, '--no-deps', '-r', lists[1]]);
  writeFileSync(stampFile, wanted);
  return python;
}

/** Builds the commands when they are not there. */
export function prepareCommands(say) {
  const dist = process.env.BNSUM_DIST ?? join(root, 'dist');
  if (!existsSync(join(dist, 'bin', 'bnconvert.cjs'))) {
    say('building the commands');
    run(process.execPath, [join(root, 'build.mjs')]);
  }
  return dist;
}
