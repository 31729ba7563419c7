import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { bundleCommand, type Ran, runCommand, runCut } from '../helpers/command.ts';

const good = fileURLToPath(new URL('../../fixtures/good/', import.meta.url));
const cnn = join(good, 'reference-cnn.h5');
let path = '';
let folder = '';

beforeAll(async () => {
  path = await bundleCommand('bnsum', 'cli');
  folder = mkdtempSync(join(tmpdir(), 'bnsum-cli-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const bnsum = (words: readonly string[], env: Readonly<Record<string, string>> = {}): Ran =>
  runCommand(path, words, env);

function file(name: string, content: string | Uint8Array): string {
  const at = join(folder, name);
  writeFileSync(at, content);
  return at;
}

/** One line, with a code, and nothing on stdout. */
function expectRefused(ran: Ran, code: string): void {
  expect(ran.stderr).toMatch(new RegExp(`^bnsum: [^\\n]+ \\[${code}\\]\\n$`));
  expect(ran.stderr.length).toBeLessThanOrEqual(510);
  expect(ran.stdout).toBe('');
  expect(ran.status).toBe(2);
}

describe('what it says', () => {
  test('the reference CNN in numbers', () => {
    const { stdout, status, stderr } = bnsum([cnn, '--format', 'json']);
    const { totals } = JSON.parse(stdout);
    expect(totals.keras).toMatchObject({ total: 13_108_758, trainable: 13_108_694, nonTrainable: 64 });
    expect(totals.torch).toMatchObject({ parameters: 13_108_694, buffers: 65 });
    expect(totals.state.elements).toBe(13_108_759);
    expect(totals.inference.elements).toBe(13_108_630);
    expect(stderr).toBe('');
    expect(status).toBe(0);
  });

  test('both file formats agree', () => {
    const both = ['reference-cnn.h5', 'reference-cnn.keras'].map((name) => join(good, name));
    const { files } = JSON.parse(bnsum([...both, '--format', 'json']).stdout);
    expect(files[0].totals.keras.total).toBe(files[1].totals.keras.total);
    expect(files[0].totals.torch).toEqual(files[1].totals.torch);
    expect(files[0].totals.inference).toEqual(files[1].totals.inference);
  });

  test('--version and --help', () => {
    expect(bnsum(['--version'])).toEqual({ status: 0, stdout: '9.8.7\n', stderr: '' });
    expect(bnsum([cnn, '-V']).stdout).toBe('9.8.7\n');
    const help = bnsum(['--help']);
    expect(help.status).toBe(0);
    expect(help.stdout.startsWith('Examples:\n  bnsum model.h5')).toBe(true);
  });

  test('COLUMNS wraps, a pipe alone does not', () => {
    const wide = bnsum([cnn]).stdout.split('\n');
    expect(Math.max(...wide.map((line) => line.length))).toBeGreaterThan(90);
    const narrow = bnsum([cnn], { COLUMNS: '60' }).stdout.split('\n');
    expect(Math.max(...narrow.map((line) => line.length))).toBeLessThanOrEqual(60);
  });

  test('colour only where it is wanted', () => {
    const colored = (words: readonly string[], env: Readonly<Record<string, string>> = {}): boolean =>
      bnsum([cnn, ...words], env).stdout.includes('\u001b[');
    expect(colored([])).toBe(false);
    expect(colored(['--color'])).toBe(true);
    expect(colored([], { FORCE_COLOR: '1' })).toBe(true);
    expect(colored(['--no-color'], { FORCE_COLOR: '1' })).toBe(false);
    expect(colored(['--color', '--format', 'text'])).toBe(false);
  });

  test('a filter, a depth and a sort', () => {
    expect(bnsum([cnn, '--layer', 'dense*', '--format', 'csv']).stdout.trim().split('\r\n')).toHaveLength(3);
    const sorted = bnsum([cnn, '--sort', 'keras', '--format', 'csv']).stdout.split('\r\n');
    expect(sorted[1]?.startsWith('dense,')).toBe(true);
  });

  test('--explain of two files', () => {
    const { stdout } = bnsum([cnn, join(good, 'reference-cnn.keras'), '--explain', '--format', 'json']);
    expect(JSON.parse(stdout).pair).toMatchObject({ steps: [], paired: 4 });
  });
});

describe('what it refuses', () => {
  test('the command line', () => {
    expectRefused(bnsum([]), 'USAGE');
    const option = bnsum([cnn, '--explian']);
    expectRefused(option, 'USAGE');
    expect(option.stderr).toContain('did you mean --explain?');
    const format = bnsum([cnn, '--format', 'jsno']);
    expectRefused(format, 'USAGE');
    expect(format.stderr).toContain('did you mean json?');
    for (const depth of ['0', '-1', 'NaN', '1e999', '1.5', '']) expectRefused(bnsum([cnn, '--depth', depth]), 'USAGE');
    expectRefused(bnsum([cnn, '--sort', 'size']), 'USAGE');
  });

  test('a file that is named by no letter, told by its place', () => {
    expect(bnsum(['']).stderr).toBe('bnsum: FILE is empty; name a file [USAGE]\n');
    expect(bnsum([cnn, '']).stderr).toBe('bnsum: FILE 2 is empty; name a file [USAGE]\n');
    expect(bnsum(['--audit', '']).stderr).toBe('bnsum: FILE is empty; name a file [USAGE]\n');
    expect(bnsum([cnn, '-o', '']).stderr).toBe('bnsum: --output is empty; name a file [USAGE]\n');
  });

  test('an option that changes nothing beside another', () => {
    for (const format of ['table', 'csv', 'markdown', 'latex', 'json']) {
      for (const table of ['--bn', '--tensors']) {
        for (const option of [
          ['--sort', 'keras'],
          ['--depth', '1'],
        ]) {
          const ran = bnsum([cnn, '--format', format, table, ...option]);
          expectRefused(ran, 'USAGE');
          expect(ran.stderr).toContain(`${option[0]} changes nothing in the format ${format} with ${table}`);
        }
      }
    }
    expectRefused(bnsum([cnn, '--format', 'csv', '--bn', '--macs']), 'USAGE');
    expectRefused(bnsum([cnn, '--format', 'csv', '--explain', '--layer', 'dense*']), 'USAGE');
    expectRefused(bnsum([cnn, '--format', 'json', '--layer', 'dense*']), 'USAGE');
  });

  test('the same option where it changes something', () => {
    const differs = (words: readonly string[], option: readonly string[]): boolean => {
      const plain = bnsum([cnn, ...words]);
      const other = bnsum([cnn, ...words, ...option]);
      expect([plain.status, other.status, other.stderr]).toEqual([0, 0, '']);
      return plain.stdout !== other.stdout;
    };
    expect(differs(['--format', 'text', '--tensors'], ['--sort', 'keras'])).toBe(true);
    expect(differs(['--format', 'tree', '--tensors'], ['--sort', 'keras'])).toBe(true);
    expect(differs(['--format', 'table', '--bn'], ['--macs'])).toBe(true);
    expect(differs(['--format', 'json'], ['--macs'])).toBe(true);
  });

  test('--pick and --config where no file has a use for them', () => {
    const pick = bnsum([cnn, '--pick', 'state_dict']);
    expectRefused(pick, 'USAGE');
    expect(pick.stderr).toContain("--pick 'state_dict' chooses among the state_dicts of a PyTorch checkpoint");
    const torch = join(good, 'torch', 'nn', 'BatchNorm1d.pt');
    expectRefused(bnsum([torch, '--config', cnn]), 'USAGE');
    // One that has a use for it is enough.
    expect(bnsum([cnn, torch, '--config', cnn]).status).toBe(0);
  });

  test('a layer that is not there, with the nearest name', () => {
    const ran = bnsum([cnn, '--layer', 'conv2b']);
    expectRefused(ran, 'NOT_FOUND');
    expect(ran.stderr).toContain('did you mean conv2d?');
  });

  test('what is no model file', () => {
    expectRefused(bnsum([join(folder, 'absent.h5')]), 'NOT_FOUND');
    expectRefused(bnsum([folder]), 'NOT_A_FILE');
    expectRefused(bnsum([file('empty.h5', '')]), 'NOT_A_MODEL');
    expectRefused(bnsum([file('page.h5', '<!DOCTYPE html><html>')]), 'NOT_A_MODEL');
    symlinkSync('loop', join(folder, 'loop'));
    expectRefused(bnsum([join(folder, 'loop')]), 'IO');
  });

  test('a name with control characters is escaped', () => {
    const ran = bnsum([join(folder, 'a\u001b[2Jb\nc.h5')]);
    expectRefused(ran, 'NOT_FOUND');
    expect(ran.stderr).toContain('\\x1b[2J');
  });

  test('a name that begins with a dash, behind --', () => {
    const ran = bnsum(['--', '-rf.h5']);
    expectRefused(ran, 'NOT_FOUND');
  });

  test('one of several: the others are shown, the bad one is named', () => {
    const ran = bnsum([cnn, join(folder, 'absent.h5'), cnn]);
    expect(ran.status).toBe(2);
    expect(ran.stdout.match(/^== /gm)).toHaveLength(2);
    expect(ran.stderr).toMatch(/^bnsum: .*absent\.h5.*\[NOT_FOUND\]\n$/);
  });

  test('in JSON the refusal is an object too', () => {
    const ran = bnsum([join(folder, 'absent.h5'), '--format', 'json']);
    expect(ran.status).toBe(2);
    expect(JSON.parse(ran.stdout)).toMatchObject({ error: { code: 'NOT_FOUND' } });
  });
});

describe('--output', () => {
  test('writes the whole report, by the name’s extension, and replaces an older one', () => {
    const out = join(folder, 'summary.json');
    for (let run = 0; run < 2; run += 1) {
      expect(bnsum([cnn, '-o', out])).toEqual({ status: 0, stdout: '', stderr: '' });
      expect(JSON.parse(readFileSync(out, 'utf8')).totals.keras.total).toBe(13_108_758);
    }
    expect(readdirSync(folder).filter((name) => name.endsWith('.tmp'))).toEqual([]);
  });

  test('a temporary file of a killed run is in nobody’s way', () => {
    const out = join(folder, 'again.json');
    const command = `touch "${folder}/.again.json.$$.tmp"; exec "${process.execPath}" "${path}" "${cnn}" --format json -o "${out}"`;
    expect(spawnSync('sh', ['-c', command]).status).toBe(0);
    expect(JSON.parse(readFileSync(out, 'utf8')).totals.keras.total).toBe(13_108_758);
  });

  test('never over an input, another model, or a directory', () => {
    const copy = file('copy.h5', readFileSync(cnn));
    const link = join(folder, 'link.txt');
    symlinkSync(copy, link);
    expectRefused(bnsum([copy, '-o', copy]), 'EXISTS');
    expectRefused(bnsum([copy, '-o', link]), 'EXISTS');
    expectRefused(bnsum([cnn, '-o', copy, '--format', 'json']), 'EXISTS');
    for (const name of ['keep.pt2', 'keep.ts', 'keep.onnx', 'keep.pt-json', 'keep.pt.json', 'KEEP.CKPT', 'keep.tar']) {
      expectRefused(bnsum([cnn, '-o', file(name, 'x')]), 'EXISTS');
    }
    expectRefused(bnsum([cnn, '-o', file('state.json', '{ "format": "pt-json", "version": 1 }')]), 'EXISTS');
    expectRefused(bnsum([cnn, '-o', file('weights.dat', readFileSync(cnn))]), 'EXISTS');
    mkdirSync(join(folder, 'sub'));
    expectRefused(bnsum([cnn, '-o', join(folder, 'sub')]), 'NOT_A_FILE');
    expectRefused(bnsum([cnn, '-o', join(folder, 'no', 'such', 'x.json')]), 'NOT_FOUND');
    expect(readFileSync(copy).equals(readFileSync(cnn))).toBe(true);
  });

  test('nothing is written when no file could be read', () => {
    const out = join(folder, 'never.json');
    expect(bnsum([join(folder, 'absent.h5'), '-o', out]).status).toBe(2);
    expect(readdirSync(folder)).not.toContain('never.json');
  });
});

describe('the pipe', () => {
  test('a reader that goes away is a quiet end', async () => {
    const files = Array.from({ length: 40 }, () => cnn);
    expect(await runCut(path, [...files, '--format', 'json'])).toEqual({ code: 0, stderr: '' });
  });

  test('a slow reader gets everything', () => {
    const files = Array.from({ length: 30 }, () => cnn);
    const command = `"${process.execPath}" "${path}" ${files.map((name) => `"${name}"`).join(' ')} --format json | (sleep 1; cat)`;
    const { stdout } = spawnSync('sh', ['-c', command], { encoding: 'utf8', maxBuffer: 64 * 1024 * 1024 });
    expect(JSON.parse(stdout).files).toHaveLength(30);
  });

  test('a full device is one line', () => {
    const { stderr, status } = spawnSync('sh', ['-c', `"${process.execPath}" "${path}" "${cnn}" > /dev/full`], {
      encoding: 'utf8',
    });
    expect(stderr).toMatch(/^bnsum: .*no space left.* \[IO\]\n$/);
    expect(status).toBe(2);
  });
});
