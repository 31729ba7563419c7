import { spawnSync } from 'node:child_process';
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Ajv, type ValidateFunction } from 'ajv';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { bundleCommand, type Ran, runCommand } from '../helpers/command.ts';

const root = fileURLToPath(new URL('../../', import.meta.url));
const good = join(root, 'fixtures', 'good');
const pairs = join(good, 'pairs');
const bn = join(pairs, 'bn.keras');
const momentum = join(pairs, 'bn-momentum.keras');
let path = '';
let bnsum = '';
let bnconvert = '';
let folder = '';
let valid: ValidateFunction;
let validLock: ValidateFunction;

function schema(name: string): object {
  return JSON.parse(readFileSync(join(root, 'docs', 'schema', name), 'utf8')) as object;
}

beforeAll(async () => {
  path = await bundleCommand('bndiff', 'bndiff');
  bnsum = await bundleCommand('bnsum', 'bndiff');
  bnconvert = await bundleCommand('bnconvert', 'bndiff');
  folder = mkdtempSync(join(tmpdir(), 'bndiff-cli-'));
  const ajv = new Ajv({ strict: false });
  valid = ajv.compile(schema('diff.schema.json'));
  validLock = ajv.compile(schema('lock.schema.json'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const bndiff = (words: readonly string[], env: Readonly<Record<string, string>> = {}): Ran =>
  runCommand(path, words, env);

function runIn(cwd: string, words: readonly string[], env: Readonly<Record<string, string>> = {}): Ran {
  const options = { cwd, encoding: 'utf8', env: { PATH: process.env['PATH'] ?? '', ...env } } as const;
  const { status, stdout, stderr } = spawnSync(process.execPath, [path, ...words], options);
  return { status, stdout, stderr };
}

function copy(from: string, name: string): string {
  const to = join(folder, name);
  copyFileSync(from, to);
  return to;
}

describe('status and report', () => {
  test('same is 0, different is 1, and the report stands on stdout', () => {
    const same = bndiff([bn, bn]);
    expect(same).toMatchObject({ status: 0, stderr: '' });
    expect(same.stdout).toContain('No difference; values were not compared (--values).');
    const different = bndiff([bn, momentum]);
    expect(different).toMatchObject({ status: 1, stderr: '' });
    expect(different.stdout).toContain('~ bn momentum 0.99 → 0.9 (PyTorch 0.01 → 0.1)\n');
  });

  test('trouble is 2 and one line', () => {
    for (const [words, code] of [
      [[bn], 'USAGE'],
      [[bn, momentum, bn], 'USAGE'],
      [[bn, join(folder, 'absent.h5')], 'NOT_FOUND'],
      [[bn, momentum, '--deny', 'ad'], 'USAGE'],
      [[bn, momentum, '--budget', 'much'], 'USAGE'],
      [[bn, momentum, '--rtol', '-1'], 'USAGE'],
      [['', bn], 'USAGE'],
      [[bn, ''], 'USAGE'],
      [['--check', ''], 'USAGE'],
      [['--install-git', bn], 'USAGE'],
      [['--print-gitconfig', bn], 'USAGE'],
      [[bn, momentum, '--pick', 'state_dict'], 'USAGE'],
      [[join(good, 'torch/nn/BatchNorm1d.pt'), join(good, 'torch/nn/BatchNorm1d.pt'), '--config', bn], 'USAGE'],
      [['git:-x:a.h5', bn], 'USAGE'],
      [['git:HEAD', bn], 'USAGE'],
      [['--update', '--check', bn], 'USAGE'],
    ] as const) {
      const ran = bndiff(words);
      expect(ran.stderr).toMatch(new RegExp(`^bndiff: [^\\n]+ \\[${code}\\]\\n$`));
      expect(ran).toMatchObject({ status: 2, stdout: '' });
    }
  });

  test('a tolerance is for values', () => {
    for (const flag of ['--rtol', '--atol']) {
      const alone = bndiff([bn, momentum, flag, '0.1']);
      expect(alone).toMatchObject({ status: 2, stdout: '' });
      expect(alone.stderr).toBe(`bndiff: ${flag} is for values, which are not compared; give --values too [USAGE]\n`);
      expect(bndiff([bn, bn, flag, '0.1', '--values'])).toMatchObject({ status: 0, stderr: '' });
      expect(bndiff([bn, bn, flag, '0.1', '--deny', 'statistics'])).toMatchObject({ status: 0, stderr: '' });
      expect(bndiff([bn, bn, flag, '0.1', '--assert-frozen', 'b*'])).toMatchObject({ status: 0, stderr: '' });
      expect(bndiff(['--update', bn, '--values', flag, '0.1'])).toMatchObject({ status: 2, stdout: '' });
    }
    // A repository may keep a tolerance for the runs that compare values, and --values itself.
    const kept = join(folder, 'kept');
    mkdirSync(kept);
    writeFileSync(join(kept, 'bnsum.config.json'), '{"diff": {"rtol": 0.1}}');
    expect(runIn(kept, [bn, bn])).toMatchObject({ status: 0, stderr: '' });
    writeFileSync(join(kept, 'bnsum.config.json'), '{"diff": {"values": true}}');
    expect(runIn(kept, [bn, bn, '--rtol', '0.1'])).toMatchObject({ status: 0, stderr: '' });
  });

  test('--help starts with examples, --version is told', () => {
    expect(bndiff(['--help']).stdout.startsWith('Examples:\n  bndiff old.h5 new.h5')).toBe(true);
    expect(bndiff(['--version']).stdout).toBe('9.8.7\n');
    const help = bndiff(['--help'], { COLUMNS: '400' }).stdout;
    expect(help).toContain('Usage: bndiff [options] A B | --update MODEL... | --check [PATH...]\n');
    for (const option of ['--budget', '--deny', '--ignore', '--assert-frozen']) {
      expect(help).toMatch(new RegExp(`^  ${option} .*\\(may be repeated\\)$`, 'm'));
    }
  });

  test('the two sides stand beside each other where it is wide enough', () => {
    const wide = bndiff([bn, momentum], { COLUMNS: '140' }).stdout;
    expect(wide).toMatch(/~ bn momentum +0\.99 +→ 0\.9 +PyTorch 0\.01 → 0\.1\n/);
    const narrow = bndiff([bn, momentum], { COLUMNS: '60' }).stdout;
    expect(Math.max(...narrow.split('\n').map((line) => line.length))).toBeLessThanOrEqual(60);
  });

  test('--quiet is the answer alone', () => {
    expect(bndiff([bn, momentum, '-q']).stdout.trimEnd().split('\n')).toHaveLength(2);
  });
});

describe('policy', () => {
  test('a budget lets other changes pass and refuses growth', () => {
    const five = join(pairs, 'bn-five-channels.keras');
    expect(bndiff([bn, momentum, '--budget', '+1%']).status).toBe(0);
    expect(bndiff([bn, five, '--budget', '+25%']).status).toBe(0);
    const over = bndiff([bn, five, '--budget', '+24.99%']);
    expect(over.status).toBe(1);
    expect(over.stdout).toContain('✗ budget +24.99%: Keras total 20, +4 (+25%)');
    expect(bndiff([bn, five, '--budget', 'keras.total<=20']).status).toBe(0);
    expect(bndiff([bn, five, '--budget', 'keras.total<=19']).status).toBe(1);
    expect(bndiff([bn, five, '--budget', 'torch.parameters+2']).status).toBe(0);
    expect(bndiff([bn, five, '--budget', 'torch.parameters+1']).status).toBe(1);
  });

  test('--deny refuses its categories alone', () => {
    expect(bndiff([bn, momentum, '--deny', 'bn']).status).toBe(1);
    expect(bndiff([bn, momentum, '--deny', 'changed']).status).toBe(1);
    expect(bndiff([bn, momentum, '--deny', 'added,removed,dtype,params']).status).toBe(0);
    expect(bndiff([bn, join(pairs, 'bn-dtype.keras'), '--deny', 'dtype']).status).toBe(1);
    expect(bndiff([bn, join(pairs, 'bn-gamma-beta-swapped.keras'), '--deny', 'values']).status).toBe(1);
  });

  test('--assert-frozen watches weights and statistics', () => {
    expect(bndiff([bn, momentum, '--assert-frozen', 'b*']).status).toBe(0);
    const moved = bndiff([bn, join(pairs, 'bn-mean-variance-swapped.keras'), '--assert-frozen', 'b*']);
    expect(moved.status).toBe(1);
    expect(moved.stdout).toContain('✗ frozen b*: bn changed');
    // A pattern that fits no layer guards nothing.
    expect(bndiff([bn, join(pairs, 'bn-mean-variance-swapped.keras'), '--assert-frozen', 'other*']).status).toBe(2);
  });

  test('--require-known', () => {
    const cnn = join(good, 'reference-cnn.h5');
    const target = join(folder, 'cnn.pt');
    expect(runCommand(bnconvert, [cnn, target, '--force']).status).toBe(0);
    expect(bndiff([cnn, target, '--values', '--atol', '0']).status).toBe(0);
    const known = bndiff([cnn, target, '--require-known']);
    expect(known.status).toBe(1);
    expect(known.stdout).toContain('eps 0.001, momentum 0.15 of batch_normalization: only the first file tells');
  });

  test('a config file gives defaults, the command line wins', () => {
    const own = join(folder, 'config');
    mkdirSync(own);
    copyFileSync(bn, join(own, 'a.keras'));
    copyFileSync(momentum, join(own, 'b.keras'));
    writeFileSync(join(own, 'bnsum.config.json'), '{"diff": {"deny": ["added"]}}\n');
    const there = (words: readonly string[]): Ran => runIn(own, words);
    expect(there(['a.keras', 'b.keras']).status).toBe(0);
    expect(there(['a.keras', 'b.keras', '--deny', 'bn']).status).toBe(1);
    writeFileSync(join(own, 'bnsum.config.json'), '{"diff": {"dney": ["added"]}}\n');
    expect(there(['a.keras', 'b.keras']).stderr).toContain('did you mean deny?');
    rmSync(join(own, 'bnsum.config.json'));
    writeFileSync(join(own, 'package.json'), '{"bnsum": {"diff": {"deny": "dtype"}}}\n');
    expect(there(['a.keras', 'b.keras']).status).toBe(0);
  });
});

describe('summaries and lock files', () => {
  test('a summary stands for its model, values apart', () => {
    const summary = join(folder, 'bn.json');
    expect(runCommand(bnsum, [bn, '--format', 'json', '-o', summary]).status).toBe(0);
    expect(bndiff([summary, bn]).status).toBe(0);
    const changed = bndiff([summary, momentum]);
    expect(changed.status).toBe(1);
    expect(changed.stdout).toContain('~ bn momentum 0.99 → 0.9 (PyTorch 0.01 → 0.1)');
    expect(bndiff([join(pairs, 'bn-frozen.keras'), summary]).stdout).toContain('trainability');
  });

  test('--update writes canonical text, --check reads it', () => {
    const model = copy(bn, 'model.keras');
    expect(bndiff(['--update', model])).toMatchObject({ status: 0, stdout: `${model}.bnlock.json: written\n` });
    const text = readFileSync(`${model}.bnlock.json`, 'utf8');
    expect(validLock(JSON.parse(text)), JSON.stringify(validLock.errors)).toBe(true);
    expect(text).not.toContain('\r');
    expect(text).not.toMatch(/3\.15|keras_version/);
    expect(bndiff(['--update', model]).stdout).toContain('as it was');
    expect(bndiff(['--check', model]).status).toBe(0);
    copyFileSync(momentum, model);
    const stale = bndiff(['--check', `${model}.bnlock.json`]);
    expect(stale.status).toBe(1);
    expect(stale.stdout).toContain('~ bn momentum 0.99 → 0.9 (PyTorch 0.01 → 0.1)');
    expect(readFileSync(`${model}.bnlock.json`, 'utf8')).toBe(text);
  });

  test('a difference is a no for --check, whatever else is asked', () => {
    const model = copy(bn, 'stale.keras');
    bndiff(['--update', model]);
    copyFileSync(momentum, model);
    expect(bndiff(['--check', model, '--budget', '+1%']).status).toBe(1);
  });

  test('the text is one whatever release or session wrote the model', () => {
    const lockOf = (from: string, name: string): string => {
      const model = copy(from, name);
      expect(bndiff(['--update', model]).status).toBe(0);
      return readFileSync(`${model}.bnlock.json`, 'utf8').replace(name, 'NAME');
    };
    expect(lockOf(join(pairs, 'automatic.keras'), 'one.keras')).toBe(
      lockOf(join(pairs, 'automatic-again.keras'), 'two.keras'),
    );
    expect(lockOf(join(good, 'reference-cnn.h5'), 'keras3.h5')).toBe(
      lockOf(join(good, 'reference-cnn-keras2.h5'), 'keras2.h5'),
    );
  });

  test('--check alone finds every lock file below, --update in CI writes none', () => {
    const own = join(folder, 'tree');
    mkdirSync(join(own, 'deep', 'node_modules'), { recursive: true });
    copyFileSync(bn, join(own, 'a.keras'));
    copyFileSync(bn, join(own, 'deep', 'b.keras'));
    const there = (words: readonly string[], env: Readonly<Record<string, string>> = {}): Ran => runIn(own, words, env);
    expect(there(['--update', 'a.keras'], { CI: 'true' })).toMatchObject({ status: 2, stdout: '' });
    expect(there(['--update', 'a.keras', 'deep/b.keras']).status).toBe(0);
    const { stdout, status } = there(['--check', '--format', 'json'], { CI: 'true' });
    expect(status).toBe(0);
    expect(JSON.parse(stdout).comparisons).toHaveLength(2);
    rmSync(join(own, 'deep', 'b.keras'));
    expect(there(['--check'])).toMatchObject({ status: 2 });
  });

  test('hashes of frozen layers see a statistic that moves', () => {
    const model = copy(bn, 'frozen.keras');
    expect(bndiff(['--update', model, '--assert-frozen', 'bn']).status).toBe(0);
    expect(readFileSync(`${model}.bnlock.json`, 'utf8').match(/"sha256"/g)).toHaveLength(4);
    expect(bndiff(['--check', model, '--assert-frozen', 'bn']).status).toBe(0);
    copyFileSync(join(pairs, 'bn-mean-variance-swapped.keras'), model);
    const moved = bndiff(['--check', model, '--assert-frozen', 'bn']);
    expect(moved.status).toBe(1);
    expect(moved.stdout).toContain('frozen bn: bn changed');
  });

  test('a lock file of other rules is refused with the way out', () => {
    const model = copy(bn, 'old.keras');
    bndiff(['--update', model]);
    const lock = `${model}.bnlock.json`;
    writeFileSync(lock, readFileSync(lock, 'utf8').replace('"rules": 2', '"rules": 0'));
    const ran = bndiff(['--check', model]);
    expect(ran.status).toBe(2);
    expect(ran.stderr).toContain('write it again with bndiff --update');
  });
});

describe('forms', () => {
  const of = (
    format: string,
    words: readonly string[] = [bn, momentum],
    env: Readonly<Record<string, string>> = {},
  ): string => bndiff([...words, '--format', format], env).stdout;

  test.each([
    [['bn.keras', 'bn-momentum.keras']],
    [['bn.keras', 'bn-five-channels.keras']],
    [['bn.keras', 'bn-dtype.keras']],
    [['bn.keras', 'bn-gamma-beta-swapped.keras']],
    [['bn.keras', 'automatic.keras']],
    [['mobilenet-v2.config.json', 'mobilenet-v2-renamed.config.json']],
    [['resnet50.config.json', 'resnet50-module.pt']],
  ])('json of %s fits its schema', (names) => {
    const report = JSON.parse(of('json', [...names.map((name) => join(pairs, name)), '--values', '--budget', '+1%']));
    expect(valid(report), JSON.stringify(valid.errors?.slice(0, 3))).toBe(true);
  });

  test('github escapes data and properties, and fills the step summary', () => {
    const summary = join(folder, 'step.md');
    writeFileSync(summary, 'before\n');
    const odd = copy(momentum, 'a,b:c%d.keras');
    const text = of('github', [bn, odd], { GITHUB_STEP_SUMMARY: summary });
    expect(text).toMatch(
      /^::error file=[^,:]*a%2Cb%3Ac%25d\.keras,title=bndiff%3A momentum::bn momentum 0\.99 → 0\.9/m,
    );
    expect(
      text
        .trimEnd()
        .split('\n')
        .every((line) => /^::(error|warning|notice) /.test(line)),
    ).toBe(true);
    expect(readFileSync(summary, 'utf8')).toMatch(/^before\n### ❌ /);
  });

  test('markdown folds, keeps names in code spans and stays under the limit', () => {
    const text = of('markdown', [join(pairs, 'mobilenet-v2.config.json'), join(pairs, 'resnet50.config.json')]);
    expect(text.length).toBeLessThan(65_536);
    expect(text).toContain('<details><summary>');
    expect(text.match(/<details>/g)?.length).toBe(text.match(/<\/details>/g)?.length);
  });

  test('sarif has the version, a rule for every result and a relative place', () => {
    const log = JSON.parse(of('sarif'));
    expect(log.version).toBe('2.1.0');
    const [run] = log.runs;
    const rules = run.tool.driver.rules.map((rule: { id: string }) => rule.id);
    expect(run.results).toHaveLength(1);
    for (const result of run.results) expect(rules).toContain(result.ruleId);
    expect(run.results[0].level).toBe('error');
  });

  test('junit counts its failures and escapes what it quotes', () => {
    const odd = copy(momentum, 'a<b&"c".keras');
    const text = of('junit', [bn, odd]);
    expect(text).toContain('failures="1"');
    expect(text).toContain('a&lt;b&amp;&quot;c&quot;.keras');
    expect(text).not.toContain('a<b');
  });

  test('an output file appears whole and never replaces a model', () => {
    const report = join(folder, 'report.json');
    expect(bndiff([bn, momentum, '-o', report])).toMatchObject({ status: 1, stdout: '' });
    expect(valid(JSON.parse(readFileSync(report, 'utf8')))).toBe(true);
    expect(bndiff([bn, momentum, '-o', copy(bn, 'kept.keras')]).status).toBe(2);
  });
});
