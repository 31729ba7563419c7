import { spawn, spawnSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))));

export type CommandName = 'bnsum' | 'bnconvert' | 'bndiff';

/** Bundles one command as the package does, below node_modules so that h5wasm is found; gives its path. */
export async function bundleCommand(name: CommandName, folder: string): Promise<string> {
  const outdir = join(root, 'node_modules', '.cache', 'bnsum-test', folder, 'bin');
  mkdirSync(outdir, { recursive: true });
  await build({
    absWorkingDir: root,
    bundle: true,
    platform: 'node',
    target: 'node20',
    format: 'cjs',
    define: { BNSUM_VERSION: '"9.8.7"' },
    entryPoints: [`bin/${name}.ts`],
    outdir,
    outExtension: { '.js': '.cjs' },
    external: ['h5wasm'],
    logLevel: 'error',
  });
  return join(outdir, `${name}.cjs`);
}

export interface Ran {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a command to its end, without a terminal and without the caller's colour settings. */
export function runCommand(path: string, words: readonly string[], env: Readonly<Record<string, string>> = {}): Ran {
  const { status, stdout, stderr } = spawnSync(process.execPath, [path, ...words], {
    encoding: 'utf8',
    env: { PATH: process.env['PATH'] ?? '', ...env },
    maxBuffer: 256 * 1024 * 1024,
  });
  return { status, stdout, stderr };
}

/** Runs a command whose reader goes away after the first bytes. */
export function runCut(
  path: string,
  words: readonly string[],
): Promise<{ readonly code: number | null; readonly stderr: string }> {
  return new Promise((resolve) => {
    const child = spawn(process.execPath, [path, ...words], { stdio: ['ignore', 'pipe', 'pipe'] });
    let stderr = '';
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      stderr += text;
    });
    child.stdout.once('data', () => child.stdout.destroy());
    child.on('close', (code) => resolve({ code, stderr }));
  });
}
