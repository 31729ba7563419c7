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
    expect(ran.stderr).toMatch(
      /^bndiff: git:HEAD:absent\.h5: git says: [^\n]*; check the revision and the path[^\n]*\[NOT_FOUND\]\n$/,
    );
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

describe('files that are no models', () => {
  let other = '';
  beforeAll(() => {
    other = join(folder, 'other');
    mkdirSync(other);
    run(['git', 'init', '-q', '-b', 'main'], other);
    run(['git', 'config', 'user.name', 'Test'], other);
    run(['git', 'config', 'user.email', 'test@example.invalid'], other);
  });

  test('one that bnsum refuses is told as text, and the rest is shown', () => {
    expect(run(['bndiff', '--install-git'], other).status).toBe(0);
    writeFileSync(join(other, 'notes.pt'), 'to be done\n');
    copyFileSync(join(pairs, 'bn.keras'), join(other, 'model.keras'));
    run(['git', 'add', '.'], other);
    run(['git', 'commit', '-q', '-m', 'one'], other);
    writeFileSync(join(other, 'notes.pt'), 'done\n');
    copyFileSync(join(pairs, 'bn-momentum.keras'), join(other, 'model.keras'));
    const { status, stdout, stderr } = run(['git', 'diff'], other);
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    expect(stdout).toMatch(/^ bnsum: notes\.pt: .*\[[A-Z_]+\]$/m);
    expect(stdout).toMatch(/^-sha256 [0-9a-f]{64}$/m);
    expect(stdout).toMatch(/^\+ .*momentum 0\.9 \| 0\.1/m);
    const log = run(['git', 'log', '-p'], other);
    expect(log).toMatchObject({ status: 0, stderr: '' });
    expect(log.stdout).toContain('+bnsum: notes.pt: ');
    expect(run(['bnsum', 'notes.pt'], other).status).toBe(2);
  });

  test('difftool of a model that was added, and of one that was deleted', () => {
    const tool = ['git', 'difftool', '-y', '-t', 'bndiff'];
    copyFileSync(join(pairs, 'bn.keras'), join(other, 'fresh.keras'));
    run(['git', 'add', 'fresh.keras'], other);
    const added = run([...tool, '--cached', '--', 'fresh.keras'], other);
    expect(added.stdout).toContain('bn added (BatchNormalization, 4 tensors, +16)');
    expect(added.stderr).not.toContain('device');
    run(['git', 'commit', '-q', '-m', 'fresh', '--', 'fresh.keras'], other);
    run(['git', 'rm', '-q', 'fresh.keras'], other);
    expect(run([...tool, '--cached', '--', 'fresh.keras'], other).stdout).toContain('bn removed');
  });
});

describe('.gitattributes', () => {
  let count = 0;

  /** What --install-git makes of the file, and what git then takes for the driver of each name. */
  function installed(attributes: string): {
    text: string;
    said: string;
    driver: (name: string) => string;
    where: string;
  } {
    const where = join(folder, `attributes-${count++}`);
    mkdirSync(where);
    run(['git', 'init', '-q'], where);
    writeFileSync(join(where, '.gitattributes'), attributes);
    const { stdout } = run(['bndiff', '--install-git'], where);
    return {
      text: readFileSync(join(where, '.gitattributes'), 'utf8'),
      said: stdout,
      driver: (name) => run(['git', 'check-attr', 'diff', '--', name], where).stdout.trim().split(': ').at(-1) ?? '',
      where,
    };
  }

  test('the lines of Git LFS stay, and ours wins', () => {
    const lfs = '*.h5 filter=lfs diff=lfs merge=lfs -text\n';
    for (const before of [lfs, `*.h5 diff=bnsum\n${lfs}`, `*.h5 diff=bnsum\nmodels/*.h5 filter=lfs diff=lfs -text\n`]) {
      const { text, driver, where, said } = installed(before);
      expect(text.startsWith(before)).toBe(true);
      expect([driver('a.h5'), driver('models/a.h5')]).toEqual(['bnsum', 'bnsum']);
      expect(said).toContain('behind the lines of Git LFS');
      if (before === lfs) expect(run(['git', 'check-attr', 'filter', '--', 'a.h5'], where).stdout).toContain('lfs');
      run(['bndiff', '--install-git'], where);
      expect(readFileSync(join(where, '.gitattributes'), 'utf8')).toBe(text);
    }
  });

  test('a tab is a blank, and no pattern is added twice', () => {
    const { text, said } = installed('*.h5\tdiff=bnsum\n  *.pt \t -text diff=bnsum\n');
    expect(text.match(/\*\.h5/g)).toHaveLength(1);
    expect(text.match(/\*\.pt(?![\w.-])/g)).toHaveLength(1);
    expect(said).toContain('added *.hdf5');
  });

  test('what somebody chose stays, and is told', () => {
    const { text, said, driver } = installed('*.h5 diff=mine\n*.pt -diff\n');
    expect(driver('a.h5')).toBe('mine');
    expect(text.match(/\*\.h5/g)).toHaveLength(1);
    expect(said).toContain('*.h5 keeps diff=mine, so those are not shown');
    expect(said).toContain('*.pt keeps -diff, so those are not shown');
  });

  test('a locked configuration is told by what frees it, not as a revision that is missing', () => {
    const where = join(folder, 'locked');
    mkdirSync(where);
    run(['git', 'init', '-q'], where);
    writeFileSync(join(where, '.git', 'config.lock'), '');
    const ran = run(['bndiff', '--install-git'], where);
    expect(ran.stderr).toMatch(/^bndiff: git says: [^\n]*config[^\n]*; [^\n]*config\.lock[^\n]* \[IO\]\n$/);
    expect(ran.stderr).not.toContain('revision');
    expect(ran.status).toBe(2);
    expect(existsSync(join(where, '.gitattributes'))).toBe(false);
  });

  test('outside a repository and in a bare one it says where to run it', () => {
    const outside = run(['bndiff', '--install-git'], folder);
    expect(outside.status).toBe(2);
    expect(outside.stderr).toMatch(
      /^bndiff: git says: [^\n]*; run bndiff --install-git inside the repository[^\n]*\n$/,
    );
    const bare = join(folder, 'bare.git');
    run(['git', 'init', '-q', '--bare', bare], folder);
    const ran = run(['bndiff', '--install-git'], bare);
    expect(ran.status).toBe(2);
    expect(ran.stderr).toBe(
      'bndiff: this is a bare repository, which has no files and no .gitattributes; run bndiff --install-git in a clone or a work tree of it [NOT_FOUND]\n',
    );
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
