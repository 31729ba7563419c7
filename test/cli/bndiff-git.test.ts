import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { bundleCommand, type Ran } from '../helpers/command.ts';

const pairs = fileURLToPath(new URL('../../fixtures/good/pairs/', import.meta.url));
let folder = '';
let repository = '';
let bin = '';
let env: Readonly<Record<string, string>> = {};

function run(words: readonly string[], cwd = repository, more: Readonly<Record<string, string>> = {}): Ran {
  const [command = '', ...rest] = words;
  const { status, stdout, stderr } = spawnSync(command, rest, { cwd, encoding: 'utf8', env: { ...env, ...more } });
  return { status, stdout, stderr };
}

/** A command as `npm install` puts it on the path. */
async function install(name: 'bnsum' | 'bndiff'): Promise<void> {
  const path = await bundleCommand(name, 'bndiff-git');
  const script = join(bin, name);
  writeFileSync(script, `#!/bin/sh\nexec "${process.execPath}" "${path}" "$@"\n`);
  chmodSync(script, 0o755);
}

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'bndiff-git-'));
  bin = join(folder, 'bin');
  repository = join(folder, 'repository');
  const home = join(folder, 'home');
  const temporary = join(folder, 'tmp');
  for (const one of [bin, repository, home, temporary]) mkdirSync(one);
  // Nobody's own settings, and no editor or pager.
  env = {
    PATH: `${bin}:${process.env['PATH'] ?? ''}`,
    HOME: home,
    TMPDIR: temporary,
    GIT_CONFIG_NOSYSTEM: '1',
    GIT_CONFIG_GLOBAL: join(home, 'none'),
    GIT_PAGER: 'cat',
  };
  await install('bnsum');
  await install('bndiff');
  run(['git', 'init', '-q', '-b', 'main']);
  run(['git', 'config', 'user.name', 'Test']);
  run(['git', 'config', 'user.email', 'test@example.invalid']);
  copyFileSync(join(pairs, 'bn.keras'), join(repository, 'model.keras'));
  run(['bndiff', '--install-git']);
  run(['git', 'add', '.']);
  run(['git', 'commit', '-q', '-m', 'a model']);
  copyFileSync(join(pairs, 'bn-momentum.keras'), join(repository, 'model.keras'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe('a real git repository', () => {
  test('git diff of a changed momentum is one readable line', () => {
    const { stdout, status } = run(['git', 'diff', '-U0', 'model.keras']);
    expect(status).toBe(0);
    const lines = stdout.split('\n').filter((line) => /^[+-](?![+-]{2})/.test(line));
    expect(lines).toEqual([
      expect.stringMatching(/^- .*momentum 0\.99 \| 0\.01/),
      expect.stringMatching(/^\+ .*momentum 0\.9 \| 0\.1/),
    ]);
  });

  test('--install-git is idempotent and --print-gitconfig says the same', () => {
    const before = readFileSync(join(repository, '.gitattributes'), 'utf8');
    expect(run(['bndiff', '--install-git']).stdout).toContain('it names them already');
    expect(readFileSync(join(repository, '.gitattributes'), 'utf8')).toBe(before);
    const { stdout } = run(['bndiff', '--print-gitconfig']);
    for (const line of stdout.split('\n').filter((one) => one.startsWith('git config '))) {
      const [, key = '', value = ''] = /^git config (\S+) '(.*)'$/.exec(line) ?? [];
      expect(run(['git', 'config', key]).stdout).toBe(`${value}\n`);
    }
  });

  test('git:REV:PATH is that revision, and leaves nothing behind', () => {
    const changed = run(['bndiff', 'git:HEAD:model.keras', 'model.keras']);
    expect(changed.status).toBe(1);
    expect(changed.stdout).toContain('~ bn momentum 0.99 → 0.9 (PyTorch 0.01 → 0.1)');
    expect(run(['bndiff', 'git:HEAD:model.keras', join(pairs, 'bn.keras'), '--values']).status).toBe(0);
    expect(readdirSync(join(folder, 'tmp'))).toEqual([]);
  });

  test('what git does not have is one line and 2', () => {
    const ran = run(['bndiff', 'git:HEAD:absent.h5', 'model.keras']);
    expect(ran.status).toBe(2);
    expect(ran.stderr).toMatch(/^bndiff: git:HEAD:absent\.h5: git says: [^\n]*\[NOT_FOUND\]\n$/);
    const outside = run(['bndiff', 'git:HEAD:model.keras', join(pairs, 'bn.keras')], folder);
    expect(outside.status).toBe(2);
    expect(readdirSync(join(folder, 'tmp'))).toEqual([]);
  });

  test('filters run, as Git LFS needs them to', () => {
    const stored = join(folder, 'stored');
    mkdirSync(stored);
    copyFileSync(join(pairs, 'bn.keras'), join(stored, 'big'));
    run(['git', 'config', 'filter.fake.clean', 'echo pointer']);
    run(['git', 'config', 'filter.fake.smudge', `cat "${join(stored, 'big')}"`]);
    writeFileSync(join(repository, '.gitattributes'), 'big.keras filter=fake\n', { flag: 'a' });
    copyFileSync(join(pairs, 'bn.keras'), join(repository, 'big.keras'));
    run(['git', 'add', '.']);
    run(['git', 'commit', '-q', '-m', 'big']);
    expect(run(['git', 'show', 'HEAD:big.keras']).stdout).toBe('pointer\n');
    expect(run(['bndiff', 'git:HEAD:big.keras', join(pairs, 'bn.keras'), '--values']).status).toBe(0);
  });

  test('nothing that a file is called is run', () => {
    const name = '$(touch hacked);`touch hacked`.keras';
    copyFileSync(join(pairs, 'bn.keras'), join(repository, name));
    run(['git', 'add', '.']);
    run(['git', 'commit', '-q', '-m', 'odd name']);
    expect(run(['bndiff', `git:HEAD:${name}`, join(pairs, 'bn.keras')]).status).toBe(0);
    expect(existsSync(join(repository, 'hacked'))).toBe(false);
  });
});

describe('what CI services run', () => {
  const root = fileURLToPath(new URL('../../', import.meta.url));

  /** As a runner starts a step with `shell: bash`. */
  const BASH = ['bash', '--noprofile', '--norc', '-eo', 'pipefail', '-c'];

  /** The shell steps of action.yml; GitHub gives the inputs through the environment. */
  function steps(): readonly string[] {
    const text = readFileSync(join(root, 'action.yml'), 'utf8');
    return [...text.matchAll(/^ {6}run: \|\n((?: {8}.*\n|\n)+)/gm)].map((match) =>
      (match[1] ?? '').replace(/^ {8}/gm, ''),
    );
  }

  test('the action checks lock files, writes the step summary and passes the status on', () => {
    const [script = ''] = steps();
    const own = join(folder, 'action');
    mkdirSync(own);
    copyFileSync(join(pairs, 'bn.keras'), join(own, 'model.keras'));
    run(['bndiff', '--update', 'model.keras'], own);
    const inputs = {
      BNDIFF_ARGUMENTS: '--check',
      BNDIFF_COMMENT: join(own, 'comment.md'),
      BNDIFF_COMMAND: 'bndiff',
      GITHUB_OUTPUT: join(own, 'output'),
      GITHUB_STEP_SUMMARY: join(own, 'summary.md'),
    };
    expect(run([...BASH, script], own, inputs).status).toBe(0);
    expect(readFileSync(join(own, 'output'), 'utf8')).toBe('status=0\n');
    copyFileSync(join(pairs, 'bn-momentum.keras'), join(own, 'model.keras'));
    const failed = run([...BASH, script], own, inputs);
    expect(failed.status).toBe(1);
    expect(failed.stdout).toMatch(/^::error file=model\.keras,/m);
    expect(readFileSync(join(own, 'summary.md'), 'utf8')).toContain('`bn` momentum');
    expect(readFileSync(join(own, 'comment.md'), 'utf8')).toContain('`bn` momentum');
    expect(readFileSync(join(own, 'output'), 'utf8')).toBe('status=0\nstatus=1\n');
  });

  test('words with shell characters stay words', () => {
    const [script = ''] = steps();
    const own = join(folder, 'action');
    const ran = run([...BASH, script], own, {
      BNDIFF_ARGUMENTS: '--check absent$(touch hacked).keras',
      BNDIFF_COMMENT: '',
      BNDIFF_COMMAND: 'bndiff',
      GITHUB_OUTPUT: join(own, 'output'),
    });
    expect(ran.status).toBe(2);
    expect(existsSync(join(own, 'hacked'))).toBe(false);
  });

  test('the pre-commit hooks name commands that exist', () => {
    const text = readFileSync(join(root, '.pre-commit-hooks.yaml'), 'utf8');
    const ids = [...text.matchAll(/^- id: (\S+)$/gm)].map((match) => match[1]);
    expect(ids).toEqual(['bndiff-check', 'bndiff-update']);
    for (const [, entry = ''] of text.matchAll(/^ {2}entry: (.*)$/gm))
      expect(entry).toMatch(/^bndiff --(?:check|update)$/);
  });
});
