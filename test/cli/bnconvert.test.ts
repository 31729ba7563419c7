import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  copyFileSync,
  existsSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Ajv } from 'ajv';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { bytes, dict, PROTO2, STOP, tensor } from '../formats/torch/pickle-builder.ts';
import { buildZip, type Member } from '../formats/torch/zip-builder.ts';
import { bundleCommand, type Ran, runCommand } from '../helpers/command.ts';

const good = fileURLToPath(new URL('../../fixtures/good/', import.meta.url));
const schemas = fileURLToPath(new URL('../../docs/schema/', import.meta.url));
const foldable = join(good, 'bn-foldable.h5');
const cnn = join(good, 'reference-cnn.h5');
let path = '';
let bnsum = '';
let root = '';
let folder = '';

beforeAll(async () => {
  path = await bundleCommand('bnconvert', 'bnconvert-cli');
  bnsum = await bundleCommand('bnsum', 'bnconvert-cli');
  root = mkdtempSync(join(tmpdir(), 'bnconvert-cli-'));
});
afterAll(() => rmSync(root, { recursive: true, force: true }));
beforeEach(() => {
  folder = mkdtempSync(join(root, 'case-'));
});

const run = (...words: readonly string[]): Ran => runCommand(path, words);
const at = (name: string): string => join(folder, name);
const hash = (file: string): string => createHash('sha256').update(readFileSync(file)).digest('hex');

function expectDone(ran: Ran): void {
  expect(ran.stderr).toBe('');
  expect(ran.status).toBe(0);
}

/** One line on stderr, nothing on stdout, status 2. */
function expectRefused(ran: Ran, code: string): void {
  expect(ran.stderr).toMatch(new RegExp(`^bnconvert: [^\\n]+ \\[${code}\\]\\n$`));
  expect(ran.stdout).toBe('');
  expect(ran.status).toBe(2);
}

function validate(name: string, json: unknown): void {
  const check = new Ajv({ strict: false }).compile(JSON.parse(readFileSync(join(schemas, name), 'utf8')));
  if (!check(json)) expect.fail(JSON.stringify(check.errors?.slice(0, 3)));
}

describe('what it writes', () => {
  test.each(['pt', 'pth', 'safetensors', 'pt-json'])(
    'the same input gives the same .%s bytes, with a report',
    (extension) => {
      const first = at(`a.${extension}`);
      mkdirSync(at('other'));
      const second = at(`other/a.${extension}`);
      const ran = run(foldable, first);
      expectDone(ran);
      expectDone(run(foldable, second));
      expect(hash(first)).toBe(hash(second));
      expect(ran.stdout).toContain('lossless: read back');
      expect(readdirSync(folder).sort()).toEqual([`a.${extension}`, 'other']);
    },
  );

  test('every container holds the same tensors', () => {
    const hashes = ['pt', 'safetensors', 'pt-json'].map((extension) => {
      expectDone(run(foldable, at(`a.${extension}`), '--receipt', at(`${extension}.json`)));
      const receipt = JSON.parse(readFileSync(at(`${extension}.json`), 'utf8'));
      validate('receipt.schema.json', receipt);
      expect(receipt.target.sha256).toBe(hash(at(`a.${extension}`)));
      expect(receipt.source.sha256).toBe(hash(foldable));
      return receipt.tensors.map((tensor: { name: string; sha256: string }) => [tensor.name, tensor.sha256]);
    });
    expect(hashes[1]).toEqual(hashes[0]);
    expect(hashes[2]).toEqual(hashes[0]);
  });

  test('the reference CNN keeps eps and momentum', () => {
    expectDone(run(cnn, at('a.pt-json')));
    const json = JSON.parse(readFileSync(at('a.pt-json'), 'utf8'));
    expect(json.modules.batch_normalization).toMatchObject({ type: 'BatchNorm2d', eps: 0.001, momentum: 0.85 });
    expect(json.state_dict['batch_normalization.num_batches_tracked']).toMatchObject({ dtype: 'int64', shape: [] });
  });

  test('--data text writes numbers', () => {
    expectDone(run(foldable, at('a.pt-json'), '--data', 'text'));
    const { state_dict: state } = JSON.parse(readFileSync(at('a.pt-json'), 'utf8'));
    expect(state['conv2d.weight'].values).toHaveLength(4);
    expect(state['batch_normalization.num_batches_tracked'].values).toBe(0);
    expectRefused(run(foldable, at('b.pt-json'), '--data', 'hex'), 'USAGE');
  });

  test('OUT ending in .py is the module alone', () => {
    const ran = run(foldable, at('model.py'));
    expectDone(ran);
    expect(readdirSync(folder)).toEqual(['model.py']);
    expect(readFileSync(at('model.py'), 'utf8')).toContain('def load(path):');
  });

  test('a pipe gets the container, and nothing else', () => {
    expectDone(run(foldable, at('a.safetensors')));
    expectDone(run(foldable, at('archive.pt')));
    for (const [to, file] of [
      ['safetensors', 'a.safetensors'],
      ['pt', 'archive.pt'],
    ] as const) {
      const shell = runShell(`exec "$0" "$1" "$2" - --to ${to} > "$3"`, foldable, at('piped'));
      expect(shell).toEqual({ status: 0, stderr: '' });
      expect(hash(at('piped'))).toBe(hash(at(file)));
    }
    expectRefused(run(foldable, '-'), 'USAGE');
    expectRefused(run(foldable, '-', '--to', 'pt', '--receipt', at('r.json')), 'USAGE');
  });

  test('--no-verify says so, --quiet says nothing', () => {
    expect(run(foldable, at('a.pt'), '--no-verify').stdout).toContain('not read back (--no-verify)');
    expect(run(foldable, at('b.pt'), '--quiet')).toEqual({ status: 0, stdout: '', stderr: '' });
  });

  test('--dtype casts what floats and leaves counters', () => {
    const ran = run(foldable, at('a.pt-json'), '--dtype', 'float16');
    expectDone(ran);
    expect(ran.stdout).toMatch(/tensors cast \(float32\) to float16/);
    const { state_dict: state } = JSON.parse(readFileSync(at('a.pt-json'), 'utf8'));
    const types = new Set(
      Object.entries(state).map(([name, one]) => `${name.split('.').at(-1)} ${(one as { dtype: string }).dtype}`),
    );
    expect(types).toContain('weight float16');
    expect(types).toContain('num_batches_tracked int64');
    expect([...types].filter((type) => type.endsWith('float32'))).toEqual([]);
    expectRefused(run(foldable, at('b.pt'), '--dtype', 'flaot16'), 'USAGE');
  });

  test.each(['recurrent', 'nested-functional', 'bn-scale-off', 'shared-layer', 'k2-bidirectional', 'k2-recurrent'])(
    'weights alone with their --config: %s',
    (name) => {
      const whole = existsSync(join(good, `${name}.keras`)) ? `${name}.keras` : `${name}.h5`;
      const tensors = (file: string, ...words: readonly string[]): unknown => {
        const ran = run(join(good, file), at(`${file}.pt`), '--receipt', at(`${file}.json`), ...words);
        expectDone(ran);
        return JSON.parse(readFileSync(at(`${file}.json`), 'utf8')).tensors.map(
          (tensor: { name: string; sha256: string; shape: readonly number[] }) => [
            tensor.name,
            tensor.shape,
            tensor.sha256,
          ],
        );
      };
      const config = join(good, `${name}.config.json`);
      expect(tensors(`${name}.weights.h5`, '--config', config)).toEqual(tensors(whole));
      const ran = run(join(good, `${name}.weights.h5`), at('alone.pt'));
      expectRefused(ran, 'NOT_FOUND');
      expect(ran.stderr).toContain('--config');
    },
  );
});

describe('--fold-bn', () => {
  test('the file holds the number that bnsum calls inference', () => {
    expectDone(run(foldable, at('a.pt'), '--fold-bn', '--module', at('m.py'), '--receipt', at('r.json')));
    const totals = (file: string) => JSON.parse(runCommand(bnsum, [file, '--format', 'json']).stdout).totals;
    expect(totals(at('a.pt')).state.elements).toBe(totals(foldable).inference.elements);
    const source = readFileSync(at('m.py'), 'utf8');
    expect(source).not.toContain('BatchNorm');
    expect(source).toContain('self.conv2d = nn.Conv2d(3, 4, kernel_size=3, padding=1)');
    const receipt = JSON.parse(readFileSync(at('r.json'), 'utf8'));
    validate('receipt.schema.json', receipt);
    expect(receipt.folded).toEqual([
      { bn: 'batch_normalization', how: 'backward', into: ['conv2d'] },
      { bn: 'batch_normalization_1', how: 'backward', into: ['depthwise_conv2d'] },
      { bn: 'batch_normalization_2', how: 'backward', into: ['dense'] },
    ]);
    expect(receipt.verified).toMatchObject({ lossless: 0, asPlanned: 6 });
    expect(receipt.tensors.every((tensor: { exact: boolean }) => !tensor.exact)).toBe(true);
  });

  test('the reference CNN: forward into the Dense behind Flatten', () => {
    const ran = run(cnn, at('a.safetensors'), '--fold-bn');
    expectDone(ran);
    expect(ran.stdout).toContain('batch_normalization: folded forward into dense');
    const { totals } = JSON.parse(runCommand(bnsum, [at('a.safetensors'), '--format', 'json']).stdout);
    expect(totals.state.elements).toBe(13_108_630);
  });
});

describe('--keys, --emit-map and --map', () => {
  test('a map goes out, is changed, and comes back; the result is a target', () => {
    expectDone(run(cnn, '--emit-map', at('map.json')));
    const text = readFileSync(at('map.json'), 'utf8');
    validate('map.schema.json', JSON.parse(text));
    writeFileSync(
      at('mine.json'),
      text.replaceAll('"to": "conv2d.', '"to": "stem.0.').replaceAll('"to": "dense', '"to": "head'),
    );
    expectDone(run(cnn, at('mapped.pt-json'), '--map', at('mine.json')));
    const json = JSON.parse(readFileSync(at('mapped.pt-json'), 'utf8'));
    expect(Object.keys(json.state_dict).slice(0, 2)).toEqual(['stem.0.weight', 'stem.0.bias']);
    expect(json.modules['stem.0']).toMatchObject({ type: 'Conv2d' });
    expect(json.metadata.batch_normalization).toEqual({ version: 2 });
    const ran = run(cnn, at('again.pt-json'), '--keys', at('mapped.pt-json'), '--emit-map', at('again.json'));
    expectDone(ran);
    expect(ran.stdout).toContain("4 modules matched to the target's keys");
    expect(readFileSync(at('again.pt-json'), 'utf8')).toBe(readFileSync(at('mapped.pt-json'), 'utf8'));
    validate('map.schema.json', JSON.parse(readFileSync(at('again.json'), 'utf8')));
  });

  test.each(['pt', 'safetensors'])('the keys of a .%s and of a text file', (extension) => {
    expectDone(run(foldable, at(`t.${extension}`)));
    expectDone(run(foldable, at(`a.${extension}`), '--keys', at(`t.${extension}`)));
    const keys = JSON.parse(run(foldable, at('x.pt'), '--dry-run', '--format', 'json').stdout).tensors as readonly {
      name: string;
      shape: readonly number[];
    }[];
    writeFileSync(at('keys.txt'), keys.map(({ name, shape }) => `net.${name}\t${shape.join(',')}\n`).join(''));
    expectDone(run(foldable, at('b.pt-json'), '--keys', at('keys.txt')));
    const { state_dict: state } = JSON.parse(readFileSync(at('b.pt-json'), 'utf8'));
    expect(Object.keys(state)).toEqual(keys.map(({ name }) => `net.${name}`));
  });

  test('--pick chooses the state_dict whose keys are taken', () => {
    const rows = JSON.parse(run(foldable, at('x.pt'), '--dry-run', '--format', 'json').stdout).tensors as readonly {
      name: string;
      dtype: string;
      shape: readonly number[];
    }[];
    const members: Member[] = [];
    const state = (prefix: string): Uint8Array =>
      dict(
        rows.map(({ name, dtype, shape }): [string, Uint8Array] => {
          const count = shape.reduce((product, size) => product * size, 1);
          const stride = shape.map((_, axis) => shape.slice(axis + 1).reduce((product, size) => product * size, 1));
          const key = String(members.length);
          members.push({ name: `two/data/${key}`, content: new Uint8Array(count * (dtype === 'int64' ? 8 : 4)) });
          const type = dtype === 'int64' ? 'LongStorage' : 'FloatStorage';
          return [prefix + name, tensor(type, key, count, 0, shape, stride)];
        }),
      );
    const pickle = bytes(
      PROTO2,
      dict([
        ['first', state('a.')],
        ['second', state('b.')],
      ]),
      STOP,
    );
    writeFileSync(at('two.pt'), buildZip([{ name: 'two/data.pkl', content: pickle }, ...members]));
    for (const [pick, prefix] of [
      ['first', 'a.'],
      ['second', 'b.'],
    ] as const) {
      expectDone(run(foldable, at(`${pick}.pt-json`), '--keys', at('two.pt'), '--pick', pick));
      const { state_dict: written } = JSON.parse(readFileSync(at(`${pick}.pt-json`), 'utf8'));
      expect(Object.keys(written)).toEqual(rows.map(({ name }) => prefix + name));
    }
    expectRefused(run(foldable, at('c.pt'), '--keys', at('two.pt')), 'AMBIGUOUS');
    const third = run(foldable, at('c.pt'), '--keys', at('two.pt'), '--pick', 'third');
    expectRefused(third, 'NOT_FOUND');
    expect(third.stderr).toContain('pick one of first, second');
    // Where there is nothing to choose from it is a mistake.
    expectRefused(run(foldable, at('c.pt'), '--pick', 'first'), 'USAGE');
    writeFileSync(at('keys.txt'), 'a.weight\n');
    for (const target of ['first.pt-json', 'keys.txt']) {
      expectRefused(run(foldable, at('c.pt'), '--keys', at(target), '--pick', 'first'), 'USAGE');
    }
  });

  test('a target with another layer, no target, a Keras target, and a module', () => {
    writeFileSync(at('keys.txt'), 'a.weight\t1,2\n');
    expectRefused(run(foldable, at('a.pt'), '--keys', at('keys.txt')), 'MISMATCH');
    expectRefused(run(foldable, at('a.pt'), '--keys', at('absent.pt')), 'NOT_FOUND');
    expectRefused(run(foldable, at('a.pt'), '--keys', cnn), 'UNSUPPORTED');
    writeFileSync(at('page.txt'), '<!DOCTYPE html>');
    expectRefused(run(foldable, at('a.pt'), '--keys', at('page.txt')), 'NOT_A_MODEL');
    expectRefused(run(foldable, at('a.pt'), '--keys', at('keys.txt'), '--module', at('m.py')), 'USAGE');
    expectRefused(run(foldable, at('m.py'), '--map', at('keys.txt')), 'USAGE');
    expectRefused(run(foldable, at('a.pt'), '--map', at('keys.txt')), 'MALFORMED');
    expectRefused(run(foldable, at('a.pt'), '--keys', 'a', '--map', 'b'), 'USAGE');
    expect(readdirSync(folder).sort()).toEqual(['keys.txt', 'page.txt']);
  });
});

describe('--dry-run', () => {
  test('text: each tensor with its source, permutation, type, and what is filled', () => {
    const ran = run(cnn, at('a.pt'), '--dry-run', '--dtype', 'float16');
    expectDone(ran);
    const lines = ran.stdout.split('\n');
    expect(lines).toContain(
      'conv2d.weight  float32 as float16 [32, 1, 3, 3]  <- sequential/conv2d/kernel  kernel · permute(3, 2, 0, 1)',
    );
    expect(lines).toContain('batch_normalization.num_batches_tracked  int64 []  fill 0');
    expect(lines.find((line) => line.startsWith('dense.weight'))).toContain(
      'reshape(64, 64, 32, 100) · permute(2, 0, 1, 3)',
    );
    expect(readdirSync(folder)).toEqual([]);
  });

  test('gate orders', () => {
    const { tensors } = JSON.parse(run(join(good, 'recurrent.keras'), '--dry-run', '--format', 'json').stdout);
    const gates = new Set(tensors.map((tensor: { gates: string | null }) => tensor.gates));
    expect(gates).toContain('i f c o -> i f g o');
    expect(gates).toContain('z r h -> r z n');
  });

  test('json: the same as data; what is dropped says why', () => {
    const json = JSON.parse(run(join(good, 'bn-renorm.keras'), '--dry-run', '--format', 'json').stdout);
    expect(json.dropped.map((one: { role: string }) => one.role)).toEqual(
      expect.arrayContaining(['moving_stddev', 'renorm_mean', 'renorm_stddev']),
    );
    expect(json.dropped.every((one: { why: string }) => one.why.length > 0)).toBe(true);
    expect(json.inputs[0].axes).toHaveLength(json.inputs[0].shape.length);
    const fitted = JSON.parse(run(join(good, 'adam-fitted.keras'), '--dry-run', '--format', 'json').stdout);
    expect(fitted.dropped.some((one: { role: string }) => one.role === 'optimizer')).toBe(true);
  });
});

describe('strict unless told', () => {
  test('--skip leaves layers out, by their paths', () => {
    const ran = run(foldable, at('a.pt-json'), '--skip', 'batch_normalization', '--skip', 'batch_normalization_1');
    expectDone(ran);
    expect(ran.stdout).toContain('left out on request');
    const { state_dict: state } = JSON.parse(readFileSync(at('a.pt-json'), 'utf8'));
    expect(Object.keys(state).filter((key) => key.startsWith('batch_norm'))).toEqual([
      'batch_normalization_2.weight',
      'batch_normalization_2.bias',
      'batch_normalization_2.running_mean',
      'batch_normalization_2.running_var',
      'batch_normalization_2.num_batches_tracked',
    ]);
    const unknown = run(foldable, at('b.pt'), '--skip', 'batch_normalisation_1');
    expectRefused(unknown, 'NOT_FOUND');
    expect(unknown.stderr).toContain('did you mean batch_normalization_1?');
  });

  test('a layer that has no counterpart is named', () => {
    const ran = run(join(good, 'custom-layer.keras'), at('a.pt'));
    expectRefused(ran, 'REFUSED');
    expect(ran.stderr).toMatch(/layer \w+/);
  });

  test('the command line', () => {
    expectRefused(run(), 'USAGE');
    expectRefused(run(foldable), 'USAGE');
    expectRefused(run(foldable, at('a.xyz')), 'USAGE');
    expectRefused(run(foldable, at('a.pt'), at('b.pt')), 'USAGE');
    expectRefused(run(foldable, at('a.pt'), '--receipt', at('a.pt')), 'USAGE');
    expect(run('', at('a.pt')).stderr).toBe('bnconvert: IN is empty; name a file [USAGE]\n');
    expect(run(foldable, '').stderr).toBe('bnconvert: OUT is empty; name a file [USAGE]\n');
    for (const words of [[at('a.pt')], [at('a.safetensors')], ['--module', at('a.py')]]) {
      const ran = run(foldable, ...words, '--data', 'text');
      expectRefused(ran, 'USAGE');
      expect(ran.stderr).toContain('pt-json');
    }
    expect(run('--help').stdout).not.toContain('(default: [])');
    expect(run(foldable, at('a.pt'), '--flod-bn').stderr).toContain('did you mean --fold-bn?');
    expect(run(foldable, at('a.pt'), '--to', 'safetensor').stderr).toContain('did you mean safetensors?');
  });
});

describe('outputs that are there', () => {
  test('an existing output needs --force', () => {
    writeFileSync(at('a.pt'), 'old');
    const ran = run(foldable, at('a.pt'));
    expectRefused(ran, 'EXISTS');
    expect(ran.stderr).toContain('--force');
    expect(readFileSync(at('a.pt'), 'utf8')).toBe('old');
    expectDone(run(foldable, at('a.pt'), '--force'));
    expect(readFileSync(at('a.pt')).subarray(0, 2).toString()).toBe('PK');
    // One output that exists stops all of them.
    writeFileSync(at('m.py'), 'old');
    expectRefused(run(foldable, at('b.pt'), '--module', at('m.py')), 'EXISTS');
    expect(readdirSync(folder).sort()).toEqual(['a.pt', 'm.py']);
  });

  test('an input is never an output, by whatever name', () => {
    copyFileSync(foldable, at('in.h5'));
    symlinkSync('in.h5', at('soft.pt'));
    linkSync(at('in.h5'), at('hard.pt'));
    const before = hash(at('in.h5'));
    for (const words of [
      [at('in.h5'), '--to', 'pt'],
      [at('soft.pt')],
      [at('hard.pt')],
      [at('x.pt'), '--module', at('hard.pt')],
    ]) {
      for (const force of [[], ['--force']]) {
        expectRefused(run(at('in.h5'), ...words, ...force), 'EXISTS');
      }
    }
    expect(hash(at('in.h5'))).toBe(before);
    expect(readdirSync(folder).sort()).toEqual(['hard.pt', 'in.h5', 'soft.pt']);
  });

  test('nor is the target of --keys or the file of --config', () => {
    expectDone(run(foldable, at('t.pt')));
    const before = hash(at('t.pt'));
    expectRefused(run(foldable, at('t.pt'), '--keys', at('t.pt'), '--force'), 'EXISTS');
    expect(hash(at('t.pt'))).toBe(before);
    copyFileSync(join(good, 'recurrent.config.json'), at('config.pt'));
    const ran = run(join(good, 'recurrent.weights.h5'), at('config.pt'), '--config', at('config.pt'), '--force');
    expectRefused(ran, 'EXISTS');
  });

  test('a link as output is replaced, not followed', () => {
    writeFileSync(at('elsewhere'), 'mine');
    symlinkSync('elsewhere', at('a.pt'));
    expectDone(run(foldable, at('a.pt'), '--force'));
    expect(readFileSync(at('elsewhere'), 'utf8')).toBe('mine');
  });

  test('a folder, and a folder that is not there', () => {
    mkdirSync(at('a.pt'));
    expectRefused(run(foldable, at('a.pt'), '--force'), 'NOT_A_FILE');
    const ran = run(foldable, at('absent/a.pt'));
    expectRefused(ran, 'IO');
    expect(ran.stderr).toContain('does not exist');
  });
});

function runShell(script: string, input: string, output: string): { status: number | null; stderr: string } {
  const { status, stderr } = spawnSync('sh', ['-c', script, process.execPath, path, input, output], {
    encoding: 'utf8',
  });
  return { status, stderr };
}
