import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, realpathSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

/**
 * The command as it is shipped, over every hostile file at once, in a process that may read the files it was given and
 * nothing else: no write, no child process, no other file, and with strace no socket either.
 */
const root = dirname(dirname(fileURLToPath(import.meta.url)));
const hostile = process.env['BNSUM_HOSTILE'];

function filesBelow(folder: string): readonly string[] {
  return readdirSync(folder, { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile() && entry.name !== 'INDEX.tsv')
    .map((entry) => join(entry.parentPath, entry.name))
    .toSorted();
}

/** Names, sizes and times of everything below a folder. */
function snapshot(folder: string): readonly string[] {
  return filesBelow(folder).map((path) => {
    const { size, mtimeMs, mode } = statSync(path);
    return `${path} ${size} ${mtimeMs} ${mode}`;
  });
}

const files = hostile === undefined || !existsSync(hostile) ? [] : filesBelow(hostile);
const strace = ['/usr/bin/strace', '/bin/strace', '/usr/local/bin/strace'].find((path) => existsSync(path));

describe.skipIf(hostile === undefined)('hostile files in a process that is watched (BNSUM_HOSTILE)', () => {
  let place = '';
  let command = '';
  let home = '';
  beforeAll(async () => {
    place = realpathSync(mkdtempSync(join(tmpdir(), 'bnsum-sandbox-')));
    home = join(place, 'home');
    mkdirSync(home);
    await build({
      absWorkingDir: root,
      bundle: true,
      platform: 'node',
      target: 'node20',
      format: 'cjs',
      define: { BNSUM_VERSION: '"9.8.7"' },
      entryPoints: ['bin/bnsum.ts'],
      outdir: join(place, 'bin'),
      outExtension: { '.js': '.cjs' },
      external: ['h5wasm'],
      logLevel: 'error',
    });
    const builder: { buildHdf5Worker(options: { root: string; outdir: string }): Promise<void> } = await import(
      join(root, 'build-hdf5-worker.mjs')
    );
    await builder.buildHdf5Worker({ root, outdir: join(place, 'worker') });
    command = join(place, 'bin', 'bnsum.cjs');
  });
  afterAll(() => rmSync(place, { recursive: true, force: true }));

  const env = (): Record<string, string> => ({ PATH: '', HOME: home, TMPDIR: home });

  test.each([
    ['audit', ['--audit', '--format', 'json']],
    ['summary', ['--format', 'json']],
  ])('%s: only what was named is read, nothing is written or started', { timeout: 300_000 }, (_what, words) => {
    expect(files.length, 'BNSUM_HOSTILE is set, but empty').toBeGreaterThan(150);
    const before = snapshot(hostile ?? '');
    const permissions = [
      '--experimental-permission',
      '--no-warnings',
      '--allow-worker',
      `--allow-fs-read=${join(place, 'bin')}/*`,
      `--allow-fs-read=${join(place, 'worker')}/*`,
      `--allow-fs-read=${realpathSync(hostile ?? '')}/*`,
    ];
    const ran = spawnSync(process.execPath, [...permissions, command, ...words, ...files], {
      cwd: home,
      env: env(),
      encoding: 'utf8',
      maxBuffer: 256 * 1024 * 1024,
    });
    expect(ran.stderr).not.toContain('ERR_ACCESS_DENIED');
    expect(ran.stderr).not.toContain('INTERNAL');
    expect([1, 2]).toContain(ran.status);
    const report: { readonly files: readonly { readonly file: string }[] } = JSON.parse(ran.stdout);
    expect(report.files.map((one) => one.file)).toEqual(files);
    // One line a refusal, and no control character in it.
    for (const line of ran.stderr.split('\n'))
      expect(line).toMatch(/^$|^bnsum: [^\u0000-\u001f\u007f-\u009f]*\[[A-Z_]+\]$/);
    expect(readdirSync(home)).toEqual([]);
    expect(snapshot(hostile ?? '')).toEqual(before);
  });

  test.skipIf(strace === undefined)(
    'system calls: no program, no socket, no file opened to be written',
    { timeout: 300_000 },
    () => {
      const log = join(place, 'calls.txt');
      const calls =
        'execve,execveat,socket,connect,bind,open,openat,openat2,creat,unlink,unlinkat,rename,renameat,renameat2,mkdir,mkdirat,symlink,symlinkat,link,linkat,truncate,ftruncate,chmod,fchmod,fchmodat';
      const words = ['-f', '-qq', '-s', '4096', '-o', log, '-e', `trace=${calls}`, process.execPath, command];
      const ran = spawnSync(strace ?? '', [...words, '--audit', '--format', 'json', ...files], {
        cwd: home,
        env: env(),
        encoding: 'utf8',
        maxBuffer: 256 * 1024 * 1024,
      });
      expect([1, 2]).toContain(ran.status);
      const lines = readFileSync(log, 'utf8').split('\n');
      expect(lines.filter((line) => /\bexecve/.test(line))).toHaveLength(1);
      const named = new Set(files);
      const strange = lines.filter((line) => {
        if (line === '' || /\bexecve\(|\+\+\+|---/.test(line)) return false;
        const opened = /\bopenat\([^"]*"((?:[^"\\]|\\.)*)", ([A-Z_|]+)/.exec(line);
        if (opened === null) return !/resumed>/.test(line);
        const [, path = '', flags = ''] = opened;
        if (/O_WRONLY|O_RDWR|O_CREAT|O_TRUNC|O_APPEND/.test(flags))
          return path !== '/dev/null' && !path.startsWith('/dev/');
        const isSystem = /^\/(?:etc\/(?:ld\.so|ssl\/openssl|localtime)|lib|usr\/|proc\/|sys\/|dev\/)/.test(path);
        return !(isSystem || path.startsWith(place) || named.has(path) || path === process.execPath);
      });
      expect(strange).toEqual([]);
      const opened = new Set(lines.map((line) => /\bopenat\([^"]*"([^"]*)"/.exec(line)?.[1] ?? ''));
      expect(files.filter((file) => opened.has(file)).length).toBeGreaterThan(150);
      expect(readdirSync(home)).toEqual([]);
    },
  );
});
