import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { DIAGNOSTIC_SEVERITY } from '../src/ir/diagnostic.ts';
import { bundleCommand, type CommandName } from './helpers/command.ts';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const page = (path: string): string => readFileSync(join(root, path), 'utf8');

const PAGES = ['', 'docs/'].flatMap((folder) =>
  readdirSync(join(root, folder))
    .filter((name) => name.endsWith('.md'))
    .map((name) => folder + name),
);

test('the pages are found', () => {
  expect(PAGES).toEqual(expect.arrayContaining(['README.md', 'SECURITY.md', 'docs/ci.md', 'docs/formats.md']));
});

test('the generated pages are fresh', () => {
  const ran = spawnSync(process.execPath, ['docs/generate.mjs', '--check'], { cwd: root, encoding: 'utf8' });
  expect(ran.stderr).toBe('');
  expect(ran.stdout).toBe('');
  expect(ran.status).toBe(0);
});

test('every class of keras.layers has a row', () => {
  const { classes } = JSON.parse(page('fixtures/good/keras-layers.json')) as { readonly classes: readonly string[] };
  const layers = page('docs/layers.md');
  expect(classes.filter((name) => !layers.includes(`\n| \`${name}\` | `))).toEqual([]);
});

test('every diagnostic has a row', () => {
  const text = page('docs/diagnostics.md');
  expect(Object.keys(DIAGNOSTIC_SEVERITY).filter((code) => !text.includes(`\n| \`${code}\` | `))).toEqual([]);
});

describe.each(PAGES)('%s', (path) => {
  const text = page(path);

  test('its links lead to files', () => {
    const links = [...text.matchAll(/\]\(([^)#]+?)(?:#[^)]*)?\)/g)].map((match) => match[1] ?? '');
    const local = links.filter((link) => !/^[a-z]+:/.test(link));
    expect(local.filter((link) => !existsSync(join(root, dirname(path), link)))).toEqual([]);
  });

  test('it names paths of the sources that exist', () => {
    const named = [...text.matchAll(/`((?:src|bin|test|fixtures|docs|bench)\/[\w./-]*\w)`/g)].map(
      (match) => match[1] ?? '',
    );
    // NAME stands for a file that the reader writes.
    expect(named.filter((name) => !name.includes('NAME') && !existsSync(join(root, name)))).toEqual([]);
  });

  test('it ends with one line feed and holds no tabs or trailing blanks', () => {
    expect(text).toMatch(/[^\n]\n$/);
    expect(text).not.toMatch(/\t|[ ]\n/);
  });
});

/** A ```console block of the README: a command behind '$ npx' and what it prints. */
interface Transcript {
  readonly command: string;
  readonly output: string;
}

function transcripts(text: string): readonly Transcript[] {
  const blocks = [...text.matchAll(/```console\n([\s\S]*?)```/g)].map((match) => match[1] ?? '');
  return blocks.flatMap((block) =>
    block
      .split(/^\$ /m)
      .filter((part) => part !== '')
      .map((part) => {
        const end = part.indexOf('\n');
        return { command: part.slice(0, end), output: part.slice(end + 1) };
      })
      .filter(({ command }) => /^npx bn(?:sum|convert|diff) /.test(command)),
  );
}

describe('README examples print what they show', () => {
  const paths = new Map<string, string>();
  let folder = '';

  beforeAll(async () => {
    for (const name of ['bnsum', 'bnconvert', 'bndiff'] as const satisfies readonly CommandName[]) {
      paths.set(name, await bundleCommand(name, 'docs'));
    }
    folder = mkdtempSync(join(tmpdir(), 'bnsum-docs-'));
    symlinkSync(join(root, 'fixtures'), join(folder, 'fixtures'));
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  // In the order of the page: an example may use the files that one before it wrote.
  test.each(transcripts(page('README.md')))('$command', ({ command, output }) => {
    const [, name = '', ...words] = command.split(' ');
    const { stdout, stderr } = spawnSync(process.execPath, [paths.get(name) ?? '', ...words], {
      cwd: folder,
      encoding: 'utf8',
      env: { PATH: process.env['PATH'] ?? '' },
    });
    // As a terminal shows it; `…` stands for lines that are left out.
    const shown = stdout + stderr;
    const pieces = output.split(/^…\n/m);
    let at = 0;
    for (const [index, piece] of pieces.entries()) {
      const found = index === 0 ? (shown.startsWith(piece) ? 0 : -1) : shown.indexOf(piece, at);
      expect(found, `${piece}\n--- was not found in ---\n${shown}`).toBeGreaterThanOrEqual(at);
      at = found + piece.length;
    }
    if (pieces.length === 1) expect(shown).toBe(output);
  });
});

test('the Python loader of the README is the one that the interop tests run', () => {
  const loader = page('test/interop/pt_json_loader.py');
  expect(page('README.md')).toContain(`\`\`\`python\n${loader}\`\`\``);
});
