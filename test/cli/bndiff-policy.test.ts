import { spawnSync } from 'node:child_process';
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { useCodec } from '../../src/bytes/codec.ts';
import { nodeCodec } from '../../src/bytes/node/codec.ts';
import { memoryTarget } from '../../src/bytes/target.ts';
import { writeTorch } from '../../src/formats/torch/write.ts';
import type { StateEntry } from '../../src/ir/state.ts';
import { bundleCommand, type Ran } from '../helpers/command.ts';
import { memoryTensor } from '../helpers/memory-tensor.ts';

useCodec(nodeCodec);

const good = fileURLToPath(new URL('../../fixtures/good/', import.meta.url));
const pairs = join(good, 'pairs');
const bn = join(pairs, 'bn.keras');
const swapped = join(pairs, 'bn-mean-variance-swapped.keras');
let path = '';
let folder = '';
let cwd = '';
let count = 0;

beforeAll(async () => {
  path = await bundleCommand('bndiff', 'bndiff-policy');
  folder = mkdtempSync(join(tmpdir(), 'bndiff-policy-'));
});
beforeEach(() => {
  cwd = join(folder, String(count++));
  mkdirSync(join(cwd, '.git'), { recursive: true });
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function bndiff(words: readonly string[], env: Readonly<Record<string, string>> = {}): Ran {
  const options = { cwd, encoding: 'utf8', env: { PATH: process.env['PATH'] ?? '', ...env } } as const;
  const { status, stdout, stderr } = spawnSync(process.execPath, [path, ...words], options);
  return { status, stdout, stderr };
}

function refused(words: readonly string[], code: string, text: string): void {
  const ran = bndiff(words);
  expect(ran.stderr).toMatch(new RegExp(`^bndiff: [^\\n]+ \\[${code}\\]\\n$`));
  expect(ran.stderr).toContain(text);
  expect(ran.status).toBe(2);
}

const here = (name: string, text: string): void => writeFileSync(join(cwd, name), text);

/** A state_dict of vectors; every element of one has its value. */
async function stateDict(name: string, tensors: Readonly<Record<string, number>>, size = 4): Promise<string> {
  const entries = Object.entries(tensors).map(([key, value]): StateEntry => {
    const bytes = new Uint8Array(new Float32Array(size).fill(value).buffer);
    return {
      name: key,
      tensor: memoryTensor(key, 'float32', [size], bytes),
      kind: 'parameter',
      requiresGrad: true,
      shares: null,
    };
  });
  const target = memoryTarget();
  await writeTorch(entries, target, { root: 'x', versions: new Map() });
  writeFileSync(join(cwd, name), target.bytes());
  return name;
}

/** A safetensors file of one tensor of four floats. */
function safetensors(value: number): Buffer {
  const header = Buffer.from(JSON.stringify({ w: { dtype: 'F32', shape: [4], data_offsets: [0, 16] } }));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(header.length));
  return Buffer.concat([length, header, Buffer.from(new Float32Array(4).fill(value).buffer)]);
}

describe('values in other files than the one that is named', () => {
  test('equal indexes of unequal shards differ, and one index is itself', () => {
    for (const [side, value] of [
      ['a', 1],
      ['b', 2],
    ] as const) {
      mkdirSync(join(cwd, side));
      writeFileSync(join(cwd, side, 'part.safetensors'), safetensors(value));
      here(
        `${side}/model.safetensors.index.json`,
        JSON.stringify({ metadata: { total_size: 16 }, weight_map: { w: 'part.safetensors' } }),
      );
    }
    const [a, b] = ['a', 'b'].map((side) => join(side, 'model.safetensors.index.json'));
    expect(bndiff([a ?? '', b ?? '', '--values']).stdout).toContain('values differ in 1 of 1 tensors');
    expect(bndiff([a ?? '', b ?? '', '--values']).status).toBe(1);
    expect(bndiff([a ?? '', a ?? '', '--values']).status).toBe(0);
    writeFileSync(join(cwd, 'b', 'part.safetensors'), safetensors(1));
    expect(bndiff([a ?? '', b ?? '', '--values']).status).toBe(0);
  });

  test('external data of ONNX', () => {
    const name = 'cnn-dynamo-external.onnx';
    for (const side of ['a', 'b']) {
      mkdirSync(join(cwd, side));
      for (const file of [name, `${name}.data`]) copyFileSync(join(good, 'onnx', file), join(cwd, side, file));
    }
    const words = [join('a', name), join('b', name), '--values'];
    expect(bndiff(words).status).toBe(0);
    const data = join(cwd, 'b', `${name}.data`);
    const bytes = readFileSync(data);
    bytes[0] = (bytes[0] ?? 0) ^ 1;
    writeFileSync(data, bytes);
    expect(bndiff(words)).toMatchObject({ status: 1, stderr: '' });
  });
});

describe('--deny of values', () => {
  test('statistics are read for it', () => {
    expect(bndiff([bn, swapped]).status).toBe(0);
    expect(bndiff([bn, swapped, '--deny', 'statistics'])).toMatchObject({ status: 1 });
    // Of a BatchNorm the values are the most of it.
    expect(bndiff([bn, swapped, '--deny', 'bn'])).toMatchObject({ status: 1 });
    expect(bndiff([bn, swapped, '--values', '--ignore', 'bn'])).toMatchObject({ status: 0 });
    expect(bndiff([bn, join(pairs, 'bn-gamma-beta-swapped.keras'), '--deny', 'counters']).status).toBe(0);
  });

  test('a lock file without hashes cannot answer it', async () => {
    const model = await stateDict('v.pt', { 'a.weight': 1 });
    bndiff(['--update', model]);
    const ran = bndiff(['--check', model, '--deny', 'values']);
    expect(ran.status).toBe(1);
    expect(ran.stdout).toContain('values of a: only the second file tells');
    expect(bndiff(['--check', model]).status).toBe(0);
    bndiff(['--update', model, '--values']);
    expect(bndiff(['--check', model, '--deny', 'values']).status).toBe(0);
    await stateDict('v.pt', { 'a.weight': 2 });
    expect(bndiff(['--check', model, '--deny', 'values']).status).toBe(1);
  });
});

describe('--assert-frozen', () => {
  test.each([
    ['frozen.pt', 'frozen-other.pt'],
    ['export-constants.pt2', 'export-constants-other.pt2'],
  ])('a pattern for everything means tensors outside the state too: %s', (a, b) => {
    const [one, other] = [a, b].map((name) => join(good, 'torch/containers', name));
    const ran = bndiff([one ?? '', other ?? '', '--assert-frozen', '*']);
    expect(ran.status).toBe(1);
    expect(ran.stdout).toContain('frozen *: the model changed');
  });

  test('weights that appear or vanish touch it', async () => {
    const before = await stateDict('a.pt', { 'body.0.weight': 1, 'body.0.bias': 1, 'head.weight': 1 });
    const without = await stateDict('b.pt', { 'body.0.weight': 1, 'head.weight': 1 });
    const more = await stateDict('c.pt', {
      'body.0.weight': 1,
      'body.0.bias': 1,
      'body.1.weight': 1,
      'head.weight': 1,
    });
    for (const [one, other] of [
      [before, without],
      [without, before],
      [before, more],
      [more, before],
    ] as const) {
      expect(bndiff([one, other, '--assert-frozen', 'body']).status).toBe(1);
      expect(bndiff([one, other, '--assert-frozen', 'head']).status).toBe(0);
    }
  });

  test('the second file’s name of a layer is as good as the first’s', async () => {
    const old = await stateDict('a.pt', { 'old.weight': 1, 'head.weight': 9, 'head.bias': 9 });
    const now = await stateDict('b.pt', { 'backbone.weight': 2, 'head.weight': 9, 'head.bias': 9 });
    for (const words of [
      [old, now],
      [now, old],
    ]) {
      for (const glob of ['backbone*', 'old']) expect(bndiff([...words, '--assert-frozen', glob]).status).toBe(1);
      expect(bndiff([...words, '--assert-frozen', 'head']).status).toBe(0);
    }
  });

  test('a pattern that fits no layer is refused with the nearest name', async () => {
    const a = await stateDict('a.pt', { 'backbone_1.weight': 1, 'head.weight': 1 });
    const b = await stateDict('b.pt', { 'backbone_1.weight': 2, 'head.weight': 1 });
    refused(
      [a, b, '--assert-frozen', 'bakcbone*'],
      'USAGE',
      "no layer fits --assert-frozen 'bakcbone*'; did you mean backbone*?",
    );
    refused([a, b, '--assert-frozen', 'haed'], 'USAGE', 'did you mean head?');
    refused(['--update', a, '--assert-frozen', 'haed'], 'USAGE', 'did you mean head?');
    bndiff(['--update', a]);
    here('bnsum.config.json', '{"diff": {"assertFrozen": "haed"}}');
    refused([a, b], 'USAGE', "bnsum.config.json diff.assertFrozen: no layer fits 'haed'; did you mean head?");
    const checked = bndiff(['--check']);
    expect(checked).toMatchObject({ status: 2 });
    expect(checked.stderr).toContain('did you mean head?');
  });

  test('one pattern may be for one model of several', async () => {
    const a = await stateDict('a.pt', { 'one.weight': 1 });
    const b = await stateDict('b.pt', { 'two.weight': 1 });
    bndiff(['--update', a, b, '--values']);
    expect(bndiff(['--check', '--assert-frozen', 'one', '--assert-frozen', 'two']).status).toBe(0);
    expect(bndiff(['--check', a, '--assert-frozen', 'two']).status).toBe(2);
  });
});

describe('lock files', () => {
  test('--check never writes one, nor a model', async () => {
    const model = await stateDict('m.pt', { 'a.weight': 1 });
    bndiff(['--update', model]);
    const lock = `${model}.bnlock.json`;
    const before = readFileSync(join(cwd, lock), 'utf8');
    for (const words of [['--check'], ['--check', model], ['--check', lock], ['--check', '.'], [model, model]]) {
      refused([...words, '-o', lock], 'EXISTS', 'name another file for --output');
    }
    refused(['--check', '-o', model], 'EXISTS', 'the output is one of the inputs');
    expect(readFileSync(join(cwd, lock), 'utf8')).toBe(before);
    expect(statSync(join(cwd, model)).size).toBeGreaterThan(500);
  });

  test('what is none is refused with the way out', async () => {
    const model = await stateDict('m.pt', { 'a.weight': 1 });
    const lock = `${model}.bnlock.json`;
    bndiff(['--update', model]);
    const text = readFileSync(join(cwd, lock), 'utf8');
    for (const wrong of [
      '',
      '{}',
      '[]',
      text.slice(0, 200),
      `\ufeff${text}`,
      text.replace(/"elements": \d+/, '"elements": 3'),
    ]) {
      here(lock, wrong);
      refused(['--check', model], 'MALFORMED', 'bndiff --update m.pt');
    }
    copyFileSync(join(cwd, model), join(cwd, lock));
    refused(['--check', model], 'MALFORMED', 'is no lock file');
  });

  test('none at all is trouble, a folder is all below it', async () => {
    refused(['--check'], 'NOT_FOUND', 'no lock file below here; write one with bndiff --update MODEL');
    mkdirSync(join(cwd, 'sub'));
    refused(['--check', 'sub'], 'NOT_FOUND', 'sub: no lock file below this folder');
    const model = await stateDict('sub/m.pt', { 'a.weight': 1 });
    bndiff(['--update', model]);
    expect(bndiff(['--check', 'sub'])).toMatchObject({ status: 0, stderr: '' });
  });
});

describe('the config file', () => {
  test.each([
    ['bnsum.config.json', '{"dif": {}}', 'bnsum.config.json dif: is not a setting; did you mean diff?'],
    ['bnsum.config.json', '{"deny": "bn"}', 'bnsum.config.json deny: is not a setting; it belongs under diff'],
    [
      'bnsum.config.json',
      '{"diff": {"deny": "valus"}}',
      "bnsum.config.json diff.deny: unknown word for --deny 'valus'",
    ],
    ['bnsum.config.json', '{"diff": {"budget": "lots"}}', "bnsum.config.json diff.budget: 'lots' is no budget"],
    [
      'package.json',
      '{"bnsum": {"deny": "bn"}}',
      'package.json bnsum.deny: is not a setting; it belongs under bnsum.diff',
    ],
    ['package.json', '{"bnsum": "x"}', 'package.json bnsum: is not an object'],
    ['package.json', '{"bnsum": {"diff": 3}}', 'package.json bnsum.diff: is not an object'],
  ])('%s of %s is refused by its name', (name, text, message) => {
    here(name, text);
    refused([bn, bn], 'USAGE', message);
  });

  test('a package.json that says nothing of bnsum says nothing', () => {
    here('package.json', '{"name": "x", "dif": 1}');
    expect(bndiff([bn, bn]).status).toBe(0);
  });

  test('a folder of its name is named', () => {
    mkdirSync(join(cwd, 'bnsum.config.json'));
    refused([bn, bn], 'NOT_A_FILE', 'bnsum.config.json: is a directory');
  });
});

describe('output', () => {
  test('the folder that is missing is named', () => {
    refused([bn, bn, '-o', 'nodir/x.json'], 'NOT_FOUND', 'nodir: no such folder');
    here('file', '');
    refused([bn, bn, '-o', 'file/x.json'], 'NOT_A_FILE', 'file: is no folder');
  });

  test('a reader that goes away does not change the answer', () => {
    const piped = (other: string, reader: string): number | null =>
      spawnSync('bash', [
        '-c',
        `"${process.execPath}" "${path}" "${bn}" "${other}" | ${reader}; exit \${PIPESTATUS[0]}`,
      ]).status;
    for (const reader of ['true', 'head -1']) {
      expect(piped(join(pairs, 'bn-momentum.keras'), reader)).toBe(1);
      expect(piped(bn, reader)).toBe(0);
      expect(piped('absent.keras', reader)).toBe(2);
    }
  });

  test('the file that git does not have on one side', () => {
    const added = bndiff(['/dev/null', bn]);
    expect(added).toMatchObject({ status: 1, stderr: '' });
    expect(added.stdout).toContain('bn added (BatchNormalization, 4 tensors, +16)');
    expect(bndiff([bn, '/dev/null']).stdout).toContain('bn removed (BatchNormalization, 4 tensors, −16)');
    expect(bndiff(['/dev/null', '/dev/null']).status).toBe(0);
  });

  test('a folder of a revision is no file', () => {
    for (const name of ['git:HEAD:..', 'git:HEAD:.', 'git:HEAD:sub/', 'git:HEAD:sub/..']) {
      refused([name, bn], 'USAGE', 'names a folder of the revision');
    }
  });

  test('a full step summary is left as it is', () => {
    here('step.md', 'x'.repeat(1024 * 1024 - 10));
    const ran = bndiff([bn, join(pairs, 'bn-momentum.keras'), '--format', 'github'], {
      GITHUB_STEP_SUMMARY: join(cwd, 'step.md'),
    });
    expect(ran.status).toBe(1);
    expect(statSync(join(cwd, 'step.md')).size).toBe(1024 * 1024 - 10);
  });
});
