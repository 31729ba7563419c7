import { spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { bundleCommand, runCommand } from '../helpers/command.ts';

const good = fileURLToPath(new URL('../../fixtures/good/', import.meta.url));
/** 52 MB of weights: long enough to be interrupted at many places. */
const cnn = join(good, 'reference-cnn.h5');
const small = join(good, 'bn-foldable.h5');
let path = '';
let root = '';
/** How long the whole conversion takes here. */
let milliseconds = 0;

beforeAll(async () => {
  path = await bundleCommand('bnconvert', 'bnconvert-faults');
  root = mkdtempSync(join(tmpdir(), 'bnconvert-faults-'));
  milliseconds = (await interrupted([cnn, join(root, 'whole.pt')], 'SIGKILL', 120_000)).milliseconds;
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

const fresh = (): string => mkdtempSync(join(root, 'case-'));
const hash = (file: string): string => createHash('sha256').update(readFileSync(file)).digest('hex');
const partsIn = (folder: string): string[] =>
  readdirSync(folder).filter((name) => /^\.a\.pt\.[0-9a-f]{16}\.bnpart$/.test(name));

interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly milliseconds: number;
}

/** Runs the command and sends a signal after so many milliseconds. */
function interrupted(words: readonly string[], signal: NodeJS.Signals, after: number): Promise<Ended> {
  return new Promise((resolve) => {
    const start = Date.now();
    const child = spawn(process.execPath, [path, ...words], { stdio: 'ignore' });
    const timer = setTimeout(() => child.kill(signal), after);
    child.on('close', (code, by) => {
      clearTimeout(timer);
      resolve({ code, signal: by, milliseconds: Date.now() - start });
    });
  });
}

describe('killed', () => {
  test('kill -9 at many moments: the old file or the new one, and at most a part file beside it', {
    timeout: 240_000,
  }, async () => {
    const folder = fresh();
    const out = join(folder, 'a.pt');
    expect(runCommand(path, [cnn, out]).status).toBe(0);
    const complete = hash(out);
    let killed = 0;
    let replaced = 0;
    for (let round = 0; round < 10; round += 1) {
      writeFileSync(out, 'old content');
      const before = new Set(partsIn(folder));
      const ended = await interrupted([cnn, out, '--force'], 'SIGKILL', (milliseconds * (round + 0.5)) / 10);
      if (ended.signal === 'SIGKILL') killed += 1;
      const now = readFileSync(out);
      if (now.toString('latin1') !== 'old content') {
        replaced += 1;
        expect(hash(out)).toBe(complete);
      }
      const left = readdirSync(folder).filter((name) => name !== 'a.pt' && !before.has(name));
      expect(left.length).toBeLessThanOrEqual(1);
      expect(left).toEqual(partsIn(folder).filter((name) => !before.has(name)));
    }
    expect(killed).toBeGreaterThan(3);
    expect(replaced).toBeLessThan(10);
    // What they left is named by the next run, which does its work all the same.
    const parts = partsIn(folder);
    const ran = runCommand(path, [cnn, out, '--force']);
    expect(ran.status).toBe(0);
    expect(hash(out)).toBe(complete);
    expect(ran.stderr.split('\n').filter((line) => line.includes('is left from a run that was ended'))).toHaveLength(
      parts.length,
    );
    expect(partsIn(folder)).toEqual(parts);
  });

  test.each([
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ] as const)('%s leaves nothing behind', { timeout: 120_000 }, async (signal, status) => {
    const folder = fresh();
    const out = join(folder, 'a.pt');
    let ended = 0;
    for (const share of [0.4, 0.55, 0.7, 0.85]) {
      writeFileSync(out, 'old content');
      const { code } = await interrupted([cnn, out, '--force'], signal, milliseconds * share);
      expect([0, status]).toContain(code);
      if (code === status) {
        ended += 1;
        expect(readFileSync(out, 'utf8')).toBe('old content');
      }
      expect(readdirSync(folder)).toEqual(['a.pt']);
    }
    expect(ended).toBeGreaterThan(0);
  });
});

describe('no room', () => {
  /** Runs with a limit on the size of files, in blocks of 512 or 1024 bytes. */
  function limited(
    blocks: number,
    words: readonly string[],
  ): { status: number | null; stderr: string; stdout: string } {
    const script = `ulimit -f ${blocks}; exec "$0" "$@"`;
    return spawnSync('sh', ['-c', script, process.execPath, path, ...words], { encoding: 'utf8' });
  }

  test('a limit on the size of a file: refused, the old file as it was', () => {
    const folder = fresh();
    const out = join(folder, 'a.pt');
    writeFileSync(out, 'old content');
    for (const blocks of [1, 100, 20_000]) {
      const ran = limited(blocks, [cnn, out, '--force']);
      expect(ran.stderr).toMatch(/^bnconvert: .*\[IO\]\n$/);
      expect(ran.status).toBe(2);
      expect(ran.stdout).toBe('');
      expect(readFileSync(out, 'utf8')).toBe('old content');
      expect(readdirSync(folder)).toEqual(['a.pt']);
    }
  });

  test('a full disk', (context) => {
    const folder = fresh();
    const mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', folder]);
    // Only root may mount.
    if (mounted.status !== 0) return context.skip('no file system can be mounted here');
    try {
      const out = join(folder, 'a.pt');
      writeFileSync(out, 'old content');
      // 52 MB into 64 KiB is seen before anything is written.
      const early = runCommand(path, [cnn, out, '--force']);
      expect(early.stderr).toMatch(/no space: \d+ bytes needed, \d+ free.*\[IO\]\n$/);
      expect(early.status).toBe(2);
      // What fills up while the weights are written is seen there: text takes more than the weights' bytes.
      writeFileSync(join(folder, 'filler'), new Uint8Array(44 * 1024));
      const late = runCommand(path, [small, join(folder, 'a.pt-json'), '--data', 'text']);
      expect(late.stderr).toMatch(/no space.*\[IO\]\n$/);
      expect(late.status).toBe(2);
      expect(readFileSync(out, 'utf8')).toBe('old content');
      expect(readdirSync(folder).sort()).toEqual(['a.pt', 'filler']);
    } finally {
      spawnSync('umount', [folder]);
    }
  });

  test('a folder that may not be written', (context) => {
    const folder = fresh();
    const locked = join(folder, 'locked');
    mkdirSync(locked);
    chmodSync(locked, 0o500);
    try {
      if (process.getuid?.() === 0) {
        // Root may write everywhere but into a file system that is mounted for reading.
        const mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', 'ro', 'tmpfs', locked]);
        if (mounted.status !== 0) return context.skip('nothing refuses root here');
      }
      const ran = runCommand(path, [small, join(locked, 'a.pt')]);
      expect(ran.stderr).toMatch(/^bnconvert: .*(read-only|no permission).*\[IO\]\n$/);
      expect(ran.status).toBe(2);
      expect(readdirSync(locked)).toEqual([]);
    } finally {
      spawnSync('umount', [locked]);
      chmodSync(locked, 0o700);
    }
  });
});

test('an input that changes while it is read is refused', { timeout: 60_000 }, async () => {
  const folder = fresh();
  const input = join(folder, 'in.h5');
  const out = join(folder, 'a.pt');
  writeFileSync(input, readFileSync(cnn));
  const ran = await new Promise<{ code: number | null; stderr: string }>((resolve) => {
    const child = spawn(process.execPath, [path, input, out], { stdio: ['ignore', 'ignore', 'pipe'] });
    let stderr = '';
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      stderr += text;
    });
    setTimeout(() => {
      const bytes = readFileSync(input);
      writeFileSync(input, bytes);
    }, milliseconds * 0.6);
    child.on('close', (code) => resolve({ code, stderr }));
  });
  if (ran.code === 0) return expect(readdirSync(folder).sort()).toEqual(['a.pt', 'in.h5']);
  expect(ran.stderr).toMatch(/changed while it was read.*\[IO\]\n$/);
  expect(readdirSync(folder)).toEqual(['in.h5']);
});
