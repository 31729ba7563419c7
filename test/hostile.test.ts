import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { beforeAll, describe, expect, test } from 'vitest';
import { auditSource } from '../src/audit/audit.ts';
import type { Audit, Verdict } from '../src/audit/finding.ts';
import { openFileSource } from '../src/bytes/node/file-source.ts';
import type { WorkerHost } from '../src/bytes/worker.ts';
import { isBnsumError } from '../src/ir/error.ts';
import { openModel } from '../src/open.ts';
import { buildWorkers } from './formats/keras/workers.ts';

/**
 * Public files that attack, crash or mislead readers, and honest ones beside them, each with the verdict that its
 * collector expects. They are data: nothing here loads them.
 */
const hostile = process.env['BNSUM_HOSTILE'];
const samples = process.env['BNSUM_SAMPLES'];
const good = join(dirname(dirname(fileURLToPath(import.meta.url))), 'fixtures', 'good');

const MEGABYTE = 1024 * 1024;

let workers: WorkerHost;
beforeAll(async () => {
  workers = await buildWorkers();
});

async function audit(path: string, host?: WorkerHost): Promise<Audit> {
  const source = await openFileSource(path);
  try {
    return await auditSource(source, path, { workers: host });
  } finally {
    await source.close();
  }
}

/** Honest files that are not called safe, and why. */
const REASONS: ReadonlyMap<string, string> = new Map([
  ['object_arrays.npz', 'arrays of Python objects: numpy.load takes them with allow_pickle=True alone'],
  ['object_arrays_compressed.npz', 'arrays of Python objects: numpy.load takes them with allow_pickle=True alone'],
  ['pre_pr22362_nested_container.keras', 'a class registered by the program that wrote it'],
]);

interface Entry {
  readonly path: string;
  readonly expected: string;
}

function readIndex(folder: string): readonly Entry[] {
  const file = join(folder, 'INDEX.tsv');
  if (!existsSync(file)) return [];
  const [head = '', ...lines] = readFileSync(file, 'utf8').split('\n');
  const columns = head.split('\t');
  const cell = (line: string, name: string): string => line.split('\t')[columns.indexOf(name)] ?? '';
  return lines
    .filter((line) => line !== '')
    .map((line) => ({ path: cell(line, 'local_path'), expected: cell(line, 'expected_verdict') }));
}

const entries = hostile === undefined ? [] : readIndex(hostile);

/** The least verdict for what the index expects. */
function leastVerdict(expected: string): Verdict {
  if (expected.startsWith('dangerous')) return 'dangerous';
  if (expected.startsWith('suspicious') || expected.startsWith('error:')) return 'suspicious';
  return 'safe';
}

const RANK: Readonly<Record<Verdict, number>> = { safe: 0, suspicious: 1, dangerous: 2 };

describe.skipIf(hostile === undefined)('hostile files (BNSUM_HOSTILE)', () => {
  test('the files are there', () => {
    expect(entries.length, 'BNSUM_HOSTILE is set, but holds no INDEX.tsv').toBeGreaterThan(150);
  });

  test.each(entries)('$path', { timeout: 30_000 }, async ({ path, expected }) => {
    const before = process.memoryUsage().rss;
    const start = performance.now();
    const { verdict, complete, findings } = await audit(join(hostile ?? '', path), workers);
    expect(RANK[verdict], JSON.stringify(findings)).toBeGreaterThanOrEqual(RANK[leastVerdict(expected)]);
    if (!complete) expect(verdict).not.toBe('safe');
    if (/^(?:safe|valid container)/.test(expected)) {
      const reason = REASONS.get(path.split('/').at(-1) ?? '');
      expect(verdict, JSON.stringify(findings)).toBe(reason === undefined ? 'safe' : 'suspicious');
    }
    expect(performance.now() - start).toBeLessThan(15_000);
    expect(process.memoryUsage().rss - before).toBeLessThan(400 * MEGABYTE);
  });

  test.each(entries)('summary: $path', { timeout: 30_000 }, async ({ path, expected }) => {
    try {
      const { value } = await openModel(join(hostile ?? '', path), { workers });
      await value.close();
      // A model file that opens holds no payload that its own reader would have had to run.
      expect(expected.startsWith('dangerous') && path.endsWith('.pkl')).toBe(false);
    } catch (error) {
      expect(isBnsumError(error), String(error)).toBe(true);
      if (isBnsumError(error)) expect(error.code).not.toBe('INTERNAL');
    }
  });
});

function filesBelow(folder: string): readonly string[] {
  return readdirSync(folder, { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .filter((path) => !/\.(?:tsv|expected\.json|md)$|[/\\]\./.test(path))
    .toSorted();
}

/** Files of honest people that hold code all the same: loading them in Python runs it. */
const CODE: ReadonlyMap<string, string> = new Map([
  ['12end__evil_keras__model.keras', 'os.system in its pickled weights'],
  ['MichaelHopf__CarND-Behavioral-Cloning-P3__model.hdf5', 'Lambda layers with marshalled code'],
  ['lambda.h5', 'a Lambda layer with marshalled code'],
  ['lambda.keras', 'a Lambda layer with marshalled code'],
  ['module-fx.pt', 'torch.fx runs the source code in it'],
  ['module-compiled.pt', 'what torch.compile wraps it in calls getattr and makes objects of the compiler'],
  // torch/attributes: a bound method and a function of C++ are pickled as a call of getattr.
  ...['module', 'module-legacy', 'module-other', 'module-protocol-4', 'module-renamed'].map(
    (name) => [`${name}.pt`, 'builtins.getattr is called'] as const,
  ),
]);

async function expectHarmless(path: string): Promise<void> {
  // Honest HDF5 needs no thread of its own, and there are hundreds of files.
  const { verdict, findings } = await audit(path);
  const reason = CODE.get(path.split('/').at(-1) ?? '');
  if (reason === undefined) expect(verdict, JSON.stringify(findings)).not.toBe('dangerous');
  else expect(verdict, reason).toBe('dangerous');
}

const sampleFiles = samples === undefined || !existsSync(samples) ? [] : filesBelow(samples);

describe.skipIf(samples === undefined)('samples (BNSUM_SAMPLES)', () => {
  test('the files are there', () => {
    expect(sampleFiles.length, 'BNSUM_SAMPLES is set, but empty').toBeGreaterThan(20);
  });
  test.each(sampleFiles)('%s', async (path) => {
    await expectHarmless(path);
  });
});

describe('fixtures that real frameworks wrote', () => {
  test.each(filesBelow(good).map((path) => path.slice(good.length + 1)))('%s', async (name) => {
    await expectHarmless(join(good, name));
  });
});
