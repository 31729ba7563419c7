import { execFileSync, spawn } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { openFileSource } from '../../src/bytes/node/file-source.ts';
import { createFileTarget, discardAll } from '../../src/bytes/node/file-target.ts';
import { openSiblings } from '../../src/bytes/node/siblings.ts';
import { refusalOf } from '../helpers/source.ts';

const text = (value: string): Uint8Array => new TextEncoder().encode(value);
const isRoot = process.getuid?.() === 0;
let folder = '';
const at = (name: string): string => join(folder, name);

function modulePath(name: string): string {
  return new URL(`../../src/bytes/node/${name}.ts`, import.meta.url).pathname;
}

/** Bundles a script and returns its path. */
async function bundled(script: string): Promise<string> {
  const esbuild = await import('esbuild');
  const built = await esbuild.build({
    stdin: { contents: script, resolveDir: folder, loader: 'ts' },
    bundle: true,
    format: 'esm',
    platform: 'node',
    write: false,
  });
  writeFileSync(at('run.mjs'), built.outputFiles[0]?.contents ?? '');
  return at('run.mjs');
}

/** What a script prints when it runs without the rights of root. */
async function unprivileged(script: string): Promise<string> {
  const path = await bundled(script);
  chmodSync(folder, 0o755);
  const user = isRoot ? { uid: 65_534, gid: 65_534 } : {};
  return execFileSync(process.execPath, [path], { encoding: 'utf8', cwd: '/', ...user }).trim();
}

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'bnsum-file-'));
});
afterEach(() => {
  chmodSync(folder, 0o755);
  rmSync(folder, { recursive: true, force: true });
});

describe('openFileSource', () => {
  test('reads ranges and slices, counts the bytes, and says where they lie', async () => {
    writeFileSync(at('a'), text('0123456789'));
    const source = await openFileSource(at('a'));
    expect([source.size, source.label]).toEqual([10, at('a')]);
    expect(new TextDecoder().decode(await source.read(2, 5))).toBe('234');
    const slice = source.slice(4, 9, 'a!part').slice(1, 4, 'a!part!more');
    expect([slice.size, slice.label, slice.origin?.offset]).toEqual([3, 'a!part!more', 5]);
    expect(new TextDecoder().decode(await slice.read(0, 3))).toBe('567');
    const into = new Uint8Array(2);
    expect(slice.readSync?.(1, into)).toBe(2);
    expect(new TextDecoder().decode(into)).toBe('67');
    expect([source.bytesRead(), slice.bytesRead()]).toEqual([8, 8]);
    await slice.close();
    expect(await source.changed()).toBe(false);
    await source.close();
    await source.close();
  });

  test('gives every byte or none', async () => {
    writeFileSync(at('a'), new Uint8Array(3_000_000));
    const source = await openFileSource(at('a'));
    expect((await source.read(0, 3_000_000)).byteLength).toBe(3_000_000);
    expect((await refusalOf(source.read(5, 3_000_001))).code).toBe('TRUNCATED');
    expect((await refusalOf(source.read(5, 4))).code).toBe('MALFORMED');
    expect(() => source.slice(0, 3_000_001, 'x')).toThrow(/TRUNCATED/);
    truncateSync(at('a'), 10);
    expect((await refusalOf(source.read(0, 20))).reason).toMatch(/became shorter/);
    expect((await refusalOf(source.read(0, 2_000_000))).reason).toMatch(/became shorter/);
    expect(await source.changed()).toBe(true);
    await source.close();
  });

  test('notices a replaced file', async () => {
    writeFileSync(at('a'), text('one'));
    const source = await openFileSource(at('a'));
    writeFileSync(at('b'), text('two'));
    renameSync(at('b'), at('a'));
    expect(await source.changed()).toBe(true);
    expect(new TextDecoder().decode(await source.read(0, 3))).toBe('one');
    await source.close();
  });

  test('an abort signal ends a read', async () => {
    writeFileSync(at('a'), text('one'));
    const source = await openFileSource(at('a'));
    await expect(source.read(0, 1, AbortSignal.abort())).rejects.toThrow(/abort/i);
    await source.close();
  });

  test('what is no file is refused, with what to do', async () => {
    mkdirSync(at('folder'));
    writeFileSync(at('folder/saved_model.pb'), 'x');
    mkdirSync(at('other'));
    writeFileSync(at('other/model.keras'), 'x');
    mkdirSync(at('dcp'));
    writeFileSync(at('dcp/__0_0.distcp'), 'x');
    writeFileSync(at('empty.pt'), '');
    writeFileSync(at('Model.h5'), 'x');
    execFileSync('mkfifo', [at('pipe')]);
    const expected: readonly (readonly [string, string, RegExp])[] = [
      [at('folder'), 'NOT_A_FILE', /is a folder, not a file; it is a TensorFlow SavedModel/],
      [at('other'), 'NOT_A_FILE', /such as .*other\/model\.keras/],
      [
        at('dcp'),
        'NOT_A_FILE',
        /a distributed checkpoint: merge it into one file with .* dcp_to_torch .*dcp model\.pt/,
      ],
      [at('pipe'), 'NOT_A_FILE', /is a pipe/],
      ['/dev/null', 'NOT_A_FILE', /is a device/],
      [at('empty.pt'), 'NOT_A_MODEL', /the file is empty/],
      [at('model.h5'), 'NOT_FOUND', /did you mean .*Model\.h5\?/],
      [at('model.keras'), 'NOT_FOUND', /did you mean .*Model\.h5\?/],
      [at('nothing'), 'NOT_FOUND', /no such file; check the path \[/],
      [at('Model.h5/x'), 'NOT_FOUND', /no such file; check the path/],
      [at('x'.repeat(300)), 'IO', /too long; check the path/],
      [`${at('a')}\0b`, 'NOT_FOUND', /no such file; check the path/],
    ];
    for (const [path, code, message] of expected) {
      const error = await refusalOf(openFileSource(path));
      expect([error.code, error.message]).toEqual([code, expect.stringMatching(message)]);
    }
  });

  test('a file without permission is refused', async () => {
    writeFileSync(at('a'), 'x', { mode: 0 });
    const said = await unprivileged(`
      import { openFileSource } from ${JSON.stringify(modulePath('file-source'))};
      try { await openFileSource(${JSON.stringify(at('a'))}); } catch (error) { console.log(error.code + ': ' + error.reason); }`);
    expect(said).toBe('IO: no permission to read it');
  });
});

describe('openSiblings', () => {
  const open = (name: string) => openSiblings(at('model.onnx')).open(name);

  test('opens regular files at and below the folder of the model', async () => {
    mkdirSync(at('data'));
    writeFileSync(at('a.bin'), 'one');
    writeFileSync(at('data/b.bin'), 'two');
    for (const name of ['a.bin', './a.bin', 'data/b.bin']) {
      const source = await open(name);
      expect(source.size).toBe(3);
      await source.close();
    }
  });

  test('every other path is refused', async () => {
    mkdirSync(at('data'));
    mkdirSync(at('outside'));
    writeFileSync(at('outside/c'), 'x');
    writeFileSync(at('real'), 'x');
    writeFileSync(at('twin'), 'x');
    linkSync(at('twin'), at('data/hard'));
    symlinkSync(at('real'), at('soft'));
    symlinkSync(at('outside'), at('softdir'));
    execFileSync('mkfifo', [at('pipe')]);
    const expected: readonly (readonly [string, string, RegExp])[] = [
      ['../real', 'UNSAFE', /not below/],
      ['data/../../real', 'UNSAFE', /not below/],
      ['data/../real', 'UNSAFE', /not below/],
      ['/etc/passwd', 'UNSAFE', /not below/],
      ['', 'UNSAFE', /not below/],
      ['.', 'UNSAFE', /not below/],
      ['data//x', 'UNSAFE', /not below/],
      ['a\0b', 'UNSAFE', /no relative path/],
      ['a\\b', 'UNSAFE', /no relative path/],
      ['C:/x', 'UNSAFE', /no relative path/],
      ['https://host/x', 'UNSAFE', /no relative path/],
      ['file:x', 'UNSAFE', /no relative path/],
      ['soft', 'UNSAFE', /symbolic link/],
      ['softdir/c', 'UNSAFE', /symbolic link/],
      ['data/hard', 'UNSAFE', /2 hard links/],
      ['twin', 'UNSAFE', /2 hard links/],
      ['pipe', 'NOT_A_FILE', /not a regular file/],
      ['data', 'NOT_A_FILE', /not a regular file/],
      ['missing', 'NOT_FOUND', /is missing/],
      ['real/x', 'NOT_FOUND', /no folder/],
    ];
    for (const [name, code, reason] of expected) {
      const error = await refusalOf(open(name));
      expect([name, error.code, error.reason]).toEqual([name, code, expect.stringMatching(reason)]);
    }
  });
});

describe('createFileTarget', () => {
  const names = (): readonly string[] => readdirSync(folder).toSorted();

  test('the output appears on commit, whole, with the usual mode', async () => {
    const output = await createFileTarget(at('out.pt'), { force: false });
    await output.target.write(text('hello '));
    await output.target.write(new Uint8Array(2_000_000).fill(0x41));
    await output.target.writeAt(0, text('J'));
    expect(output.target.position).toBe(2_000_006);
    expect(existsSync(at('out.pt'))).toBe(false);
    expect(names()).toHaveLength(1);
    expect(names()[0]).toMatch(/^\.out\.pt\.[0-9a-f]{16}\.bnpart$/);
    const check = await output.reopen();
    expect([check.size, new TextDecoder().decode(await check.read(0, 7)), check.label]).toEqual([
      2_000_006,
      'Jello A',
      at('out.pt'),
    ]);
    await check.close();
    await output.commit();
    await output.commit();
    await output.discard();
    expect(names()).toEqual(['out.pt']);
    expect(statSync(at('out.pt')).size).toBe(2_000_006);
    expect(statSync(at('out.pt')).mode & 0o777).toBe(0o666 & ~process.umask());
    expect((await refusalOf(output.target.write(text('x')))).code).toBe('INTERNAL');
  });

  test('discard leaves nothing', async () => {
    const output = await createFileTarget(at('out'), { force: false });
    await output.target.write(text('x'));
    await output.target.sibling('out-2').write(text('y'));
    expect(names()).toHaveLength(2);
    await output.discard();
    await output.discard();
    expect(names()).toEqual([]);
    await createFileTarget(at('a'), { force: false });
    await createFileTarget(at('b'), { force: false });
    discardAll();
    expect(names()).toEqual([]);
  });

  test('an existing output is refused without force, and replaced with it, mode kept', async () => {
    writeFileSync(at('out'), 'old');
    chmodSync(at('out'), 0o640);
    const error = await refusalOf(createFileTarget(at('out'), { force: false }));
    expect([error.code, error.next]).toEqual(['EXISTS', 'pass --force to replace it']);
    expect(names()).toEqual(['out']);
    const output = await createFileTarget(at('out'), { force: true });
    await output.target.write(text('new'));
    expect(readFileSync(at('out'), 'utf8')).toBe('old');
    await output.commit();
    expect([readFileSync(at('out'), 'utf8'), statSync(at('out')).mode & 0o777, names()]).toEqual([
      'new',
      0o640,
      ['out'],
    ]);
  });

  test('an output that appears meanwhile is kept', async () => {
    const output = await createFileTarget(at('out'), { force: false });
    await output.target.write(text('ours'));
    await output.target.sibling('part').write(text('ours too'));
    writeFileSync(at('out'), 'theirs');
    expect((await refusalOf(output.commit())).code).toBe('EXISTS');
    expect(names()).toEqual(['out']);
    expect(readFileSync(at('out'), 'utf8')).toBe('theirs');
  });

  test('the output is never an input, by whatever path', async () => {
    writeFileSync(at('in'), 'weights');
    symlinkSync(at('in'), at('soft'));
    linkSync(at('in'), at('hard'));
    const source = await openFileSource(at('in'));
    for (const name of ['in', 'soft', 'hard', './in']) {
      const error = await refusalOf(createFileTarget(`${folder}/${name}`, { force: true, inputs: [source.identity] }));
      expect(error.reason).toBe('the output is an input');
    }
    await source.close();
    expect(readFileSync(at('in'), 'utf8')).toBe('weights');
  });

  test('a symbolic link is replaced, not followed', async () => {
    writeFileSync(at('elsewhere'), 'keep');
    symlinkSync(at('elsewhere'), at('out'));
    const output = await createFileTarget(at('out'), { force: true });
    await output.target.write(text('new'));
    await output.commit();
    expect([readFileSync(at('elsewhere'), 'utf8'), readFileSync(at('out'), 'utf8')]).toEqual(['keep', 'new']);
  });

  test('what cannot be written is refused before anything is', async () => {
    mkdirSync(at('folder'));
    writeFileSync(at('file'), 'x');
    const cases: readonly (readonly [string, string, RegExp])[] = [
      [at('folder'), 'NOT_A_FILE', /the output is a folder/],
      ['/dev/full', 'NOT_A_FILE', /the output is a device/],
      [at('missing/out'), 'IO', /does not exist/],
      [at('file/out'), 'IO', /not a folder/],
      [at('x'.repeat(300)), 'IO', /too long/],
    ];
    for (const [path, code, reason] of cases) {
      const error = await refusalOf(createFileTarget(path, { force: true }));
      expect([path, error.code, error.reason]).toEqual([path, code, expect.stringMatching(reason)]);
    }
    const space = await refusalOf(createFileTarget(at('out'), { force: false, expectedBytes: 2 ** 60 }));
    expect(space.reason).toMatch(/^no space: \d+ bytes needed, \d+ free$/);
    expect(names()).toEqual(['file', 'folder']);
  });

  test('the longest names work', async () => {
    const name = 'é'.repeat(127);
    const output = await createFileTarget(at(name), { force: false });
    await output.target.write(text('x'));
    await output.commit();
    expect(names()).toEqual([name]);
  });

  test('a folder without permission is refused', async () => {
    mkdirSync(at('closed'), { mode: 0o555 });
    const said = await unprivileged(`
      import { createFileTarget } from ${JSON.stringify(modulePath('file-target'))};
      try { await createFileTarget(${JSON.stringify(at('closed/out'))}, { force: false }); }
      catch (error) { console.log(error.code + ': ' + error.reason); }`);
    expect(said).toBe('IO: no permission to write there');
  });

  test('a folder that is swapped for a link meanwhile gets nothing', async () => {
    mkdirSync(at('folder'));
    mkdirSync(at('victim'));
    const output = await createFileTarget(at('folder/out'), { force: false });
    await output.target.write(text('x'));
    renameSync(at('folder'), at('moved'));
    symlinkSync(at('victim'), at('folder'));
    expect((await refusalOf(output.commit())).reason).toMatch(/replaced/);
    expect(readdirSync(at('victim'))).toEqual([]);
  });

  test('part files of a killed run are reported and not used', async () => {
    const left = at('.out.0123456789abcdef.bnpart');
    writeFileSync(left, 'half');
    const output = await createFileTarget(at('out'), { force: false });
    expect(output.leftovers).toEqual([left]);
    await output.target.write(text('x'));
    await output.commit();
    expect(names()).toEqual(['.out.0123456789abcdef.bnpart', 'out']);
  });

  test('siblings commit together and have plain names', async () => {
    const output = await createFileTarget(at('index.json'), { force: false });
    await output.target.write(text('index'));
    const sibling = output.target.sibling('shard-1');
    await sibling.write(text('shard'));
    const check = await output.reopen('shard-1');
    expect(check.size).toBe(5);
    await check.close();
    for (const name of ['../x', 'a/b', '', '..', 'shard-1'])
      expect(() => output.target.sibling(name)).toThrow(/INTERNAL/);
    await output.commit();
    expect(names()).toEqual(['index.json', 'shard-1']);
  });

  test('a full disk is one clear refusal', async () => {
    const path = modulePath('file-target');
    const script = `
      import { createFileTarget } from ${JSON.stringify(path)};
      process.on('SIGXFSZ', () => {});
      const output = await createFileTarget(${JSON.stringify(at('out'))}, { force: false });
      try { for (let n = 0; n < 50; n += 1) await output.target.write(new Uint8Array(100_000)); console.log('fits'); }
      catch (error) { console.log(error.code + ': ' + error.reason); }
      process.exit(0);`;
    await bundled(script);
    const said = execFileSync('bash', ['-c', `ulimit -f 1000; exec "${process.execPath}" "${at('run.mjs')}"`], {
      encoding: 'utf8',
    });
    expect(said.trim()).toBe('IO: the file system or a limit does not allow a file of this size');
    // The exit removed the temporary file.
    expect(names()).toEqual(['run.mjs']);
  });

  test('killed at any moment, the output is old or new', async () => {
    const path = modulePath('file-target');
    const script = `
      import { createFileTarget } from ${JSON.stringify(path)};
      for (;;) {
        const output = await createFileTarget(${JSON.stringify(at('out'))}, { force: true });
        for (let n = 0; n < 20; n += 1) await output.target.write(new Uint8Array(50_000).fill(65));
        await output.commit();
      }`;
    await bundled(script);
    writeFileSync(at('out'), 'old');
    for (let round = 0; round < 12; round += 1) {
      const child = spawn(process.execPath, [at('run.mjs')], { stdio: 'ignore' });
      await new Promise((resolve) => setTimeout(resolve, 60 + round * 23));
      child.kill('SIGKILL');
      await new Promise((resolve) => child.on('exit', resolve));
      const content = readFileSync(at('out'));
      const whole = content.length === 1_000_000 && content.every((byte) => byte === 65);
      expect(whole || content.toString() === 'old').toBe(true);
      const parts = names().filter((name) => name.endsWith('.bnpart'));
      expect(parts.length).toBeLessThanOrEqual(1);
      for (const part of parts) rmSync(at(part));
    }
  });
});
