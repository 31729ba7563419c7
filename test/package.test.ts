import { spawnSync } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

const root = dirname(dirname(fileURLToPath(import.meta.url)));

interface Manifest {
  readonly version: string;
  readonly license: string;
  readonly type: string;
  readonly engines: { readonly node: string };
  readonly bin: Readonly<Record<string, string>>;
  readonly exports: Readonly<Record<string, string | Readonly<Record<string, string>>>>;
  readonly files: readonly string[];
  readonly scripts: Readonly<Record<string, string>>;
  readonly dependencies: Readonly<Record<string, string>>;
  readonly devDependencies: Readonly<Record<string, string>>;
}

interface Locked {
  readonly version?: string;
  readonly resolved?: string;
  readonly dev?: boolean;
  readonly hasInstallScript?: boolean;
}

function json(path: string): unknown {
  return JSON.parse(readFileSync(join(root, path), 'utf8'));
}

const manifest = json('package.json') as Manifest;
const lock = json('package-lock.json') as { readonly packages: Readonly<Record<string, Locked>> };
const shipped = Object.entries(lock.packages).filter(([path, { dev }]) => path !== '' && dev !== true);

describe('package.json', () => {
  test('depends on what was agreed and nothing else', () => {
    expect(Object.keys(manifest.dependencies)).toEqual(['chalk', 'cli-table3', 'commander', 'h5wasm', 'protobufjs']);
  });

  test('every version is exact', () => {
    const ranges = Object.entries({ ...manifest.dependencies, ...manifest.devDependencies });
    expect(ranges.filter(([, range]) => !/^\d+\.\d+\.\d+$/.test(range))).toEqual([]);
  });

  test('runs on Node 20, as ESM, under MIT', () => {
    expect(manifest.engines.node).toMatch(/^>=20\.\d+\.\d+$/);
    expect(manifest.type).toBe('module');
    expect(manifest.license).toBe('MIT');
    expect(readFileSync(join(root, 'LICENSE'), 'utf8')).toMatch(/^MIT License\n/);
  });

  test('is the version that the action installs and that the pages name', () => {
    const action = readFileSync(join(root, 'action.yml'), 'utf8');
    expect(/^ {2}version:\n(?: {4}.*\n)*? {4}default: (.*)$/m.exec(action)?.[1]).toBe(manifest.version);
    const ci = readFileSync(join(root, 'docs/ci.md'), 'utf8');
    const tags = [...ci.matchAll(/OWNER\/bnsum@(\S+)|^ +rev: (\S+)$/gm)].map((match) => match[1] ?? match[2]);
    expect(tags).toEqual([`v${manifest.version}`, `v${manifest.version}`]);
  });

  test('has three commands', () => {
    expect(manifest.bin).toEqual({
      bnsum: 'dist/bin/bnsum.cjs',
      bnconvert: 'dist/bin/bnconvert.cjs',
      bndiff: 'dist/bin/bndiff.cjs',
    });
  });

  test('exports the library with its types first', () => {
    const library = manifest.exports['.'];
    expect(typeof library === 'object' && Object.keys(library)).toEqual(['types', 'default']);
    expect(manifest.exports['./package.json']).toBe('./package.json');
  });

  test('builds itself on npm ci and runs nothing else on install', () => {
    expect(manifest.scripts['prepare']).toBe('node build.mjs');
    expect(Object.keys(manifest.scripts).filter((name) => /^(?:pre|post)?install$|^postprepare$/.test(name))).toEqual(
      [],
    );
  });
});

describe('dependencies', () => {
  /** NIST's notice lets everybody use, copy and change; HDF5 inside it is under a BSD-style licence. */
  const NOTICE = new Map([['h5wasm', 'SEE LICENSE IN LICENSE.txt']]);
  const ALLOWED = new Set(['MIT', 'BSD-2-Clause', 'BSD-3-Clause', 'Apache-2.0', 'ISC']);
  const nameOf = (path: string): string => path.slice(path.lastIndexOf('node_modules/') + 'node_modules/'.length);

  test.each(shipped.map(([path]) => path))('%s has a licence that allows shipping it', (path) => {
    const { license } = json(join(path, 'package.json')) as { readonly license?: string };
    const name = nameOf(path);
    if (NOTICE.has(name)) expect(license).toBe(NOTICE.get(name));
    else expect(ALLOWED).toContain(license);
    expect(readFileSync(join(root, 'THIRD_PARTY.md'), 'utf8')).toContain(
      `\n## ${name} ${lock.packages[path]?.version}\n`,
    );
  });

  test("NIST's notice and HDF5's are kept whole", () => {
    const notice = readFileSync(join(root, 'node_modules/h5wasm/LICENSE.txt'), 'utf8');
    expect(notice).toContain('NIST-developed software is provided by NIST as a public service.');
    const kept = readFileSync(join(root, 'THIRD_PARTY.md'), 'utf8').replace(/^ {4}/gm, '');
    const words = (text: string): string => text.replace(/\s+/g, ' ').trim();
    expect(words(kept)).toContain(words(notice));
    expect(kept).toContain('Changed for this package:');
  });

  test('what is linked into the WebAssembly of h5wasm has its notice', () => {
    // The paths that its build left in it name what was compiled in, the compiler's own libraries apart.
    const library = readFileSync(join(root, 'node_modules/h5wasm/dist/esm/hdf5_util.js'), 'utf8');
    const parts = new Set([...library.matchAll(/_deps\/([\w-]+?)-(?:src|build)/g)].map((match) => match[1] ?? ''));
    expect([...parts].toSorted()).toEqual(['hdf5', 'hdf5_zlib', 'szip']);
    const kept = readFileSync(join(root, 'THIRD_PARTY.md'), 'utf8');
    for (const holder of [
      'Copyright (C) 1995-2024 Jean-loup Gailly and Mark Adler',
      'Copyright 2023 Mathis Rosenhauer, Moritz Hanke, Joerg Behrens, Luis Kornblueh',
      'Copyright (c) 2010-2014 Emscripten authors',
      'Rich Felker',
      'Apache License v2.0 with LLVM Exceptions',
    ]) {
      expect(kept).toContain(holder);
    }
  });

  test('the lock file names no registry', () => {
    const text = readFileSync(join(root, 'package-lock.json'), 'utf8');
    expect([...text.matchAll(/"resolved": "([^"]*)"/g)].map((match) => match[1])).toEqual([]);
    expect(existsSync(join(root, '.npmrc')) && /registry/.test(readFileSync(join(root, '.npmrc'), 'utf8'))).toBe(false);
  });

  test('no runtime dependency runs a script when it is installed', () => {
    expect(shipped.filter(([, { hasInstallScript }]) => hasInstallScript === true)).toEqual([]);
  });
});

describe('the package', () => {
  let stage = '';
  let packed: readonly string[] = [];
  const commands = Object.keys(manifest.bin);

  const pages = ['.', 'docs'].flatMap((folder) =>
    readdirSync(join(root, folder)).flatMap((name) => (name.endsWith('.md') ? [join(folder, name)] : [])),
  );

  const isWhole = (dist: string): boolean =>
    [
      'bin/bnsum.cjs',
      'bin/bnconvert.cjs',
      'bin/bndiff.cjs',
      'cli/bnsum.cjs',
      'cli/bnconvert.cjs',
      'cli/bndiff.cjs',
      'worker/hdf5.cjs',
      'worker/hdf5.wasm',
      'lib/index.js',
      'lib/index.d.ts',
    ].every((file) => existsSync(join(dist, file)));

  const copy = (name: string): void => {
    mkdirSync(dirname(join(stage, name)), { recursive: true });
    cpSync(join(root, name), join(stage, name), { recursive: true });
  };

  // A copy of what npm packs, away from node_modules: what is missing in it is missing for a user too.
  beforeAll(() => {
    stage = mkdtempSync(join(tmpdir(), 'bnsum-package-'));
    // Beside what belongs in, one file of each folder that does not.
    const decoys = ['src/index.ts', 'test/package.test.ts', 'fixtures/make/README.md', 'docs/generate.mjs'];
    const copies = ['package.json', 'LICENSE', ...pages, 'docs/schema', ...decoys];
    for (const name of copies) copy(name);
    if (isWhole(join(root, 'dist'))) for (const name of ['bin', 'cli', 'worker', 'lib']) copy(`dist/${name}`);
    if (!isWhole(join(stage, 'dist'))) {
      for (const name of ['src', 'bin', 'build.mjs', 'build-hdf5-worker.mjs', 'tsconfig.json', 'tsconfig.build.json'])
        copy(name);
      symlinkSync(join(root, 'node_modules'), join(stage, 'node_modules'));
      const built = spawnSync(process.execPath, ['build.mjs'], { cwd: stage, encoding: 'utf8' });
      expect(built.stderr).toBe('');
      rmSync(join(stage, 'node_modules'));
    }
    const { stdout } = spawnSync('npm', ['pack', '--dry-run', '--json', '--ignore-scripts'], {
      cwd: stage,
      encoding: 'utf8',
    });
    const [told] = JSON.parse(stdout) as readonly { readonly files: readonly { readonly path: string }[] }[];
    packed = (told?.files ?? []).map(({ path }) => path);
  }, 120_000);
  afterAll(() => rmSync(stage, { recursive: true, force: true }));

  test('holds what the commands and the library need', () => {
    const needed = [
      ...Object.values(manifest.bin),
      'dist/worker/hdf5.cjs',
      'dist/worker/hdf5.wasm',
      'dist/lib/index.js',
      'dist/lib/index.d.ts',
      'LICENSE',
      'package.json',
      ...pages,
      ...readdirSync(join(root, 'docs/schema')).map((name) => `docs/schema/${name}`),
    ];
    expect(needed.filter((name) => !packed.includes(name))).toEqual([]);
  });

  test('holds what its pages link to', () => {
    const missing = packed
      .filter((name) => name.endsWith('.md'))
      .flatMap((name) =>
        [...readFileSync(join(stage, name), 'utf8').matchAll(/\]\(([^)#]+?)(?:#[^)]*)?\)/g)]
          .map((match) => match[1] ?? '')
          .filter((link) => !/^[a-z]+:/.test(link) && !packed.includes(join(dirname(name), link)))
          .map((link) => `${name}: ${link}`),
      );
    expect(missing).toEqual([]);
  });

  test('declares what the library leads to, whole, and nothing else', () => {
    const program = ts.createProgram([join(stage, 'dist/lib/index.d.ts')], {
      lib: ['lib.es2023.d.ts', 'lib.dom.d.ts'],
      module: ts.ModuleKind.NodeNext,
      types: [],
      noEmit: true,
      strict: true,
    });
    const said = ts.getPreEmitDiagnostics(program);
    expect(said.map((one) => ts.flattenDiagnosticMessageText(one.messageText, ' '))).toEqual([]);
    const reached = program
      .getSourceFiles()
      .map(({ fileName }) => relative(stage, fileName).replaceAll('\\', '/'))
      .filter((name) => name.startsWith('dist/'));
    expect(packed.filter((name) => name.endsWith('.d.ts')).toSorted()).toEqual(reached.toSorted());
  });

  test('holds the licences of what it ships', () => {
    expect(packed).toContain('THIRD_PARTY.md');
  });

  test('holds no sources, tests or fixtures', () => {
    const folders = new Set(
      packed.map((name) => name.split('/').slice(0, -1).join('/').split('/').slice(0, 2).join('/')),
    );
    expect(
      [...folders].filter(
        (folder) => folder !== '' && !/^(?:dist\/(?:bin|cli|worker|lib)|docs|docs\/schema)$/.test(folder),
      ),
    ).toEqual([]);
    expect(packed.filter((name) => /\.ts$/.test(name) && !/\.d\.ts$/.test(name))).toEqual([]);
    expect(packed.filter((name) => name.endsWith('.mjs'))).toEqual([]);
  });

  test('names no path of the machine that built it', () => {
    const texts = packed.filter((name) => /^dist\/.*\.(?:cjs|js|d\.ts)$/.test(name));
    const home = root.split('/').slice(0, 3).join('/');
    expect(texts.filter((name) => readFileSync(join(stage, name), 'utf8').includes(`${home}/`))).toEqual([]);
  });

  test.each(commands)('%s starts with a shebang and may be run', (name) => {
    const path = join(stage, manifest.bin[name] ?? '');
    expect(readFileSync(path, 'utf8')).toMatch(/^#!\/usr\/bin\/env node\n/);
    expect(statSync(path).mode & 0o111).toBe(0o111);
  });

  const run = (name: string, ...words: readonly string[]): { status: number | null; stdout: string; stderr: string } =>
    spawnSync(process.execPath, [join(stage, manifest.bin[name] ?? ''), ...words], {
      cwd: root,
      encoding: 'utf8',
      env: { PATH: process.env['PATH'] ?? '' },
    });

  test.each(commands)('%s --version prints the version', (name) => {
    expect(run(name, '--version')).toMatchObject({ status: 0, stdout: `${manifest.version}\n`, stderr: '' });
  });

  test.each(commands)('%s --help starts with examples', (name) => {
    const { status, stdout, stderr } = run(name, '--help');
    expect(stdout).toMatch(new RegExp(`^Examples:\n  ${name} `));
    expect(stderr).toBe('');
    expect(status).toBe(0);
  });

  test('reads HDF5 and a zip without any other package', () => {
    for (const file of ['reference-cnn.h5', 'reference-cnn.keras', 'constructed-libver-latest.h5']) {
      expect(run('bnsum', join('fixtures/good', file), '-q')).toMatchObject({ status: 0, stderr: '' });
    }
  });
});
