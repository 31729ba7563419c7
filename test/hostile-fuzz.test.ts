import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { auditSource } from '../src/audit/audit.ts';
import { memorySource } from '../src/bytes/memory-source.ts';
import type { WorkerHost } from '../src/bytes/worker.ts';
import { isBnsumError } from '../src/ir/error.ts';
import type { Model } from '../src/ir/model.ts';
import { openModel } from '../src/open.ts';
import { buildWorkers } from './formats/keras/workers.ts';

/**
 * Small files of every format, cut and flipped by a fixed seed: the whole way from a path to tensor values gives a model
 * or one BnsumError, and the audit a verdict, in bounded time.
 */
const good = join(dirname(dirname(fileURLToPath(import.meta.url))), 'fixtures', 'good');
const SEED = Number(process.env['BNSUM_FUZZ_SEED'] ?? 20240607);
/** Rounds of each kind; more of them by hand. */
const ROUNDS = Number(process.env['BNSUM_FUZZ_ROUNDS'] ?? 40);
/** HDF5 starts a thread each time. */
const roundsOf = (seed: string): number => (/\.(?:h5|keras)$/.test(seed) ? Math.ceil(ROUNDS / 4) : ROUNDS);
const LONGEST_MILLISECONDS = 10_000;
const READ_BYTES = 1024 * 1024;

const SEEDS: readonly string[] = [
  'bn-both-off.h5',
  'bn-both-off.weights.h5',
  'constructed-latest-superblock.h5',
  'bn-both-off.keras',
  'bn-both-off.config.json',
  'torch/containers/bare-tensor-legacy.pt',
  'torch/containers/list-of-tensors-legacy.pt',
  'torch/containers/no-tensors.pt',
  'torch/containers/export-eval.pt2',
  'torch/containers/imagenet-example.pth.tar',
  'safetensors/bfloat16.safetensors',
  'safetensors/no-tensors.safetensors',
  'onnx/sparse-initializer.onnx',
  'onnx/constant-of-shape.onnx',
];

/** xorshift32: the same sequence on every machine. */
function makeRandom(seed: number): (below: number) => number {
  let state = seed >>> 0 || 1;
  return (below) => {
    state ^= state << 13;
    state >>>= 0;
    state ^= state >>> 17;
    state ^= state << 5;
    state >>>= 0;
    return state % below;
  };
}

const EDGES: readonly number[] = [0, 1, 0x7f, 0x80, 0xff];

/** One damaged copy: cut, flipped bits, a field at an edge value, a piece moved over another. */
function mutate(bytes: Uint8Array, random: (below: number) => number): Uint8Array {
  const copy = bytes.slice();
  const at = random(copy.length);
  switch (random(5)) {
    case 0:
      return copy.subarray(0, at);
    case 1:
      for (let count = random(8); count >= 0; count -= 1) {
        const place = random(copy.length);
        copy[place] = (copy[place] ?? 0) ^ (1 << random(8));
      }
      return copy;
    case 2:
      copy.fill(EDGES[random(EDGES.length)] ?? 0, at, at + 2 ** random(4));
      return copy;
    case 3:
      copy.copyWithin(at, random(copy.length), random(copy.length));
      return copy;
    default: {
      // Headers are where structure is.
      const place = random(Math.min(copy.length, 512));
      copy[place] = random(256);
      return copy;
    }
  }
}

function cuts(bytes: Uint8Array, most: number): readonly Uint8Array[] {
  const step = Math.max(1, Math.ceil(bytes.length / most));
  const pieces: Uint8Array[] = [];
  for (let end = 1; end < bytes.length; end += step) pieces.push(bytes.subarray(0, end));
  return pieces;
}

async function readValues(model: Model): Promise<void> {
  let left = READ_BYTES;
  for (const layer of model.layers) {
    for (const { tensor } of layer.weights) {
      if (tensor.encoding.kind !== 'dense' || !(tensor.byteLength <= left)) continue;
      left -= tensor.byteLength;
      const start = tensor.shape.map(() => 0);
      await tensor.readInto(start, tensor.shape, new Uint8Array(tensor.byteLength));
    }
  }
}

let workers: WorkerHost;
let folder = '';
beforeAll(async () => {
  workers = await buildWorkers();
  folder = mkdtempSync(join(tmpdir(), 'bnsum-fuzz-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Opens and reads a damaged file; gives what came out that should not. */
async function open(name: string, bytes: Uint8Array): Promise<string | undefined> {
  const path = join(folder, name);
  writeFileSync(path, bytes);
  const start = performance.now();
  try {
    const { value } = await openModel(path, { workers });
    try {
      await readValues(value);
    } finally {
      await value.close();
    }
  } catch (error) {
    if (!isBnsumError(error)) return error instanceof Error ? (error.stack ?? error.message) : String(error);
    if (error.code === 'INTERNAL') return error.message;
  }
  const spent = performance.now() - start;
  return spent > LONGEST_MILLISECONDS ? `took ${Math.round(spent)} ms` : undefined;
}

describe('damaged files of every format', () => {
  test('the seeds are there', () => {
    const present = new Set(readdirSync(good, { recursive: true, encoding: 'utf8' }));
    expect(SEEDS.filter((seed) => !present.has(seed))).toEqual([]);
  });

  test.each(SEEDS)('open and read: %s', { timeout: 180_000 }, async (seed) => {
    const whole = new Uint8Array(readFileSync(join(good, seed)));
    const name = basename(seed);
    expect(await open(name, whole)).toBeUndefined();
    const random = makeRandom(SEED + seed.length * 7919);
    const inputs = [
      ...cuts(whole, roundsOf(seed)),
      ...Array.from({ length: roundsOf(seed) }, () => mutate(whole, random)),
    ];
    const wrong: string[] = [];
    for (const [index, input] of inputs.entries()) {
      const problem = await open(name, input);
      if (problem !== undefined) wrong.push(`input ${index} (${input.length} bytes): ${problem}`);
    }
    expect(wrong).toEqual([]);
  });

  test.each(SEEDS)('audit: %s', { timeout: 180_000 }, async (seed) => {
    const whole = new Uint8Array(readFileSync(join(good, seed)));
    const random = makeRandom(SEED + seed.length * 104_729);
    const inputs = [
      ...cuts(whole, roundsOf(seed)),
      ...Array.from({ length: roundsOf(seed) }, () => mutate(whole, random)),
    ];
    for (const [index, input] of inputs.entries()) {
      if (input.length === 0) continue;
      const start = performance.now();
      const audit = await auditSource(memorySource(input, basename(seed)), seed, { workers });
      expect(performance.now() - start, `input ${index}`).toBeLessThan(LONGEST_MILLISECONDS);
      if (!audit.complete) expect(audit.verdict, `input ${index}`).not.toBe('safe');
    }
  });
});
