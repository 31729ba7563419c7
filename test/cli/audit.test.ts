import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Ajv } from 'ajv';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { bytes, dict, global, PROTO2, STOP, text } from '../formats/torch/pickle-builder.ts';
import { bundleCommand, runCommand } from '../helpers/command.ts';
import { zipBytes } from '../helpers/zip-bytes.ts';

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
let command = '';
let folder = '';
const path = (name: string): string => join(folder, name);

beforeAll(async () => {
  command = await bundleCommand('bnsum', 'audit');
  folder = mkdtempSync(join(tmpdir(), 'bnsum-audit-'));
  const evil = bytes(PROTO2, global('builtins', 'eval'), text('1'), 0x85, 'R', STOP);
  writeFileSync(path('evil.pt'), zipBytes([{ name: 'evil/data.pkl', data: evil }]));
  writeFileSync(path('good.pkl'), bytes(PROTO2, dict([]), STOP));
  writeFileSync(path('net.pkl'), bytes(PROTO2, global('__main__', 'Net'), ')', 0x81, STOP));
  writeFileSync(path('odd.pkl'), bytes(PROTO2, global('__main__', 'a\x1b[2J\nverdict: safe'), ')', 0x81, STOP));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const audit = (...words: readonly string[]): ReturnType<typeof runCommand> =>
  runCommand(command, ['--audit', ...words]);
const schema: object = JSON.parse(readFileSync(join(root, 'docs', 'schema', 'audit.schema.json'), 'utf8'));
const validate = new Ajv({ allErrors: true, allowUnionTypes: true }).compile(schema);

describe('bnsum --audit', () => {
  test('the headline comes first, then a row a name, then what to do', () => {
    const { status, stdout, stderr } = audit(path('evil.pt'));
    expect(stderr).toBe('');
    expect(status).toBe(1);
    const lines = stdout.split('\n');
    expect(lines[0]).toBe(
      `${path('evil.pt')}: dangerous - 1 dangerous, 0 suspicious, 0 known imports (builtins.eval @ evil/data.pkl op#1)`,
    );
    expect(lines[2]).toMatch(/^Level +Found +Count +First place +Why$/);
    expect(lines[4]).toMatch(/^dangerous +builtins\.eval +1 +evil\/data\.pkl op#1 +runs code.*called with \("1"\)$/);
    expect(stdout).toContain('Do not load it');
  });

  test('a safe file: what that claims, and status 0', () => {
    const { status, stdout } = audit(path('good.pkl'));
    expect(status).toBe(0);
    expect(stdout.split('\n')[0]).toBe(`${path('good.pkl')}: safe - 0 dangerous, 0 suspicious, 0 known imports`);
    expect(stdout).toContain('only tensor data and plain containers');
  });

  test('status: suspicious counts unless --fail-on dangerous', () => {
    expect(audit(path('net.pkl')).status).toBe(1);
    expect(audit('--fail-on', 'suspicious', path('net.pkl')).status).toBe(1);
    expect(audit('--fail-on', 'dangerous', path('net.pkl')).status).toBe(0);
    expect(audit('--fail-on', 'dangerous', path('net.pkl'), path('evil.pt')).status).toBe(1);
  });

  test('--allow takes one exact name, which the report repeats', () => {
    const { status, stdout } = audit('--allow', '__main__.Net', path('net.pkl'));
    expect(status).toBe(0);
    expect(stdout).toContain('Allowed on request: __main__.Net.');
    expect(audit('--allow', '__main__.Ne', path('net.pkl')).status).toBe(1);
    for (const name of ['os.system', 'builtins.eval', 'a.b.__class__']) {
      const refused = audit('--allow', name, path('good.pkl'));
      expect(refused.status).toBe(2);
      expect(refused.stderr).toMatch(/dangerous.*\[USAGE\]\n$/);
    }
    expect(audit('--allow', '__main__.*', path('net.pkl')).stderr).toContain('[USAGE]');
  });

  test('several files: each its report, trouble is 2 and named, the others are judged', () => {
    const { status, stdout, stderr } = audit(path('evil.pt'), path('none.pt'), path('good.pkl'));
    expect(status).toBe(2);
    expect(stderr).toMatch(/^bnsum: .*none\.pt: no such file.* \[NOT_FOUND\]\n$/);
    expect(stdout).toContain('evil.pt: dangerous');
    expect(stdout).toContain('good.pkl: safe');
  });

  test('JSON follows its schema', () => {
    const one = JSON.parse(audit('--format', 'json', path('evil.pt')).stdout);
    expect(validate(one), JSON.stringify(validate.errors)).toBe(true);
    expect(one).toMatchObject({
      verdict: 'dangerous',
      complete: true,
      counts: { dangerous: 1, suspicious: 0, known: 0 },
      findings: [
        { level: 'dangerous', module: 'builtins', name: 'eval', member: 'evil/data.pkl', opIndex: 1, called: true },
      ],
      tool: { name: 'bnsum', version: '9.8.7' },
    });
    const many = JSON.parse(audit('--format', 'json', path('evil.pt'), path('none.pt')).stdout);
    expect(validate(many), JSON.stringify(validate.errors)).toBe(true);
    expect(many.files).toHaveLength(2);
    const failure = JSON.parse(audit('--format', 'json', path('none.pt')).stdout);
    expect(validate(failure), JSON.stringify(validate.errors)).toBe(true);
  });

  test('the checksum is that of the file, and the same bytes give the same report', async () => {
    const { createHash } = await import('node:crypto');
    const first = audit('--format', 'json', path('evil.pt')).stdout;
    expect(JSON.parse(first).sha256).toBe(
      createHash('sha256')
        .update(readFileSync(path('evil.pt')))
        .digest('hex'),
    );
    expect(audit('--format', 'json', path('evil.pt')).stdout).toBe(first);
  });

  test('names from the file cannot move the cursor or begin a line', () => {
    for (const format of ['table', 'json']) {
      const { stdout } = audit('--format', format, path('odd.pkl'));
      expect(stdout).not.toMatch(/\u001b|^verdict: safe/m);
    }
  });

  test('narrow terminals, quiet, colours, files', () => {
    const { stdout } = runCommand(command, ['--audit', path('evil.pt')], { COLUMNS: '60' });
    const [, ...rest] = stdout.split('\n');
    for (const line of rest) expect(line.length).toBeLessThanOrEqual(60);
    expect(audit('-q', path('evil.pt')).stdout.trim().split('\n')).toHaveLength(1);
    expect(audit('--color', path('evil.pt')).stdout).toContain('\u001b[31m');
    const before = readdirSync(folder);
    expect(audit('-o', path('report.json'), path('evil.pt')).status).toBe(1);
    expect(validate(JSON.parse(readFileSync(path('report.json'), 'utf8')))).toBe(true);
    expect(readdirSync(folder).filter((name) => !before.includes(name))).toEqual(['report.json']);
    expect(audit('-o', path('evil.pt'), path('good.pkl')).status).toBe(2);
  });

  test('options that say nothing about an audit are refused, and the other way round', () => {
    for (const words of [
      ['--explain'],
      ['--bn'],
      ['--tensors'],
      ['--macs'],
      ['--layer', 'a'],
      ['--sort', 'name'],
      ['--depth', '1'],
      ['--config', 'c'],
      ['--pick', 'p'],
    ]) {
      const { status, stderr } = audit(...words, path('good.pkl'));
      expect(status).toBe(2);
      expect(stderr).toContain(`${words[0]} says nothing about an audit`);
    }
    expect(runCommand(command, ['--fail-on', 'dangerous', path('good.pkl')]).stderr).toContain('give --audit too');
    expect(audit('--format', 'markdown', path('good.pkl')).stderr).toContain('use one of table, json');
    expect(audit('--fail-on', 'dangerus', path('good.pkl')).stderr).toContain('did you mean dangerous?');
  });
});
