import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';

const root = dirname(dirname(fileURLToPath(import.meta.url)));

/** Floor of each room; imports go down or stay in the room. */
const FLOORS: readonly (readonly string[])[] = [
  ['src/ir'],
  ['src/bytes', 'src/layers'],
  ['src/graph', 'src/formats'],
  ['src/account', 'src/convert', 'src/codegen', 'src/audit'],
  ['src/diff', 'src/verify'],
  ['src/views'],
  ['src/open.ts', 'src/save.ts', 'src/registry.ts', 'src/library.ts', 'src/index.ts', 'src/cli'],
  ['bin'],
];

/** Rooms of one floor that may see each other: the table of docs/architecture.md, plus what it implies. */
const SIDEWAYS = new Set([
  'src/diff>src/verify',
  'src/cli>src/open.ts',
  'src/index.ts>src/library.ts',
  'src/index.ts>src/open.ts',
  'src/library.ts>src/open.ts',
  'src/library.ts>src/save.ts',
  'src/cli>src/save.ts',
  'src/open.ts>src/registry.ts',
  // The generated module is written from the same plan that moves the weights.
  'src/codegen>src/convert',
]);

const FORBIDDEN = [
  'src/convert>src/formats',
  'src/codegen>src/formats',
  'src/account>src/formats',
  'src/views>src/formats',
];

function filesBelow(folder: string): string[] {
  return readdirSync(join(root, folder), { withFileTypes: true }).flatMap((entry) => {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) return filesBelow(path);
    return path.endsWith('.ts') ? [path] : [];
  });
}

function roomOf(path: string): string {
  const unix = path.split(sep).join('/');
  for (const floor of FLOORS) {
    for (const room of floor) if (unix === room || unix.startsWith(`${room}/`)) return room;
  }
  throw new Error(`${unix} is in no room`);
}

function floorOf(room: string): number {
  return FLOORS.findIndex((floor) => floor.includes(room));
}

function importsOf(path: string): string[] {
  const text = readFileSync(join(root, path), 'utf8');
  const statement = /^(?:import\b[^;']*|export\b[^;']*|\})\s*from '([^']+)'|^import '([^']+)'|\bimport\('([^']+)'\)/gm;
  return [...text.matchAll(statement)].map((match) => match[1] ?? match[2] ?? match[3] ?? '');
}

const files = [...filesBelow('src'), ...filesBelow('bin')];

test('imports only go down', () => {
  const wrong: string[] = [];
  const unused = new Set(SIDEWAYS);
  for (const file of files) {
    const room = roomOf(file);
    for (const target of importsOf(file)) {
      if (!target.startsWith('.')) continue;
      const path = relative(root, resolve(root, dirname(file), target));
      if (path === 'package.json') continue;
      const other = roomOf(path);
      const arrow = `${room}>${other}`;
      unused.delete(arrow);
      if (room === other) {
        const folder = (name: string): string => name.split(sep)[2] ?? '';
        const crossing = room === 'src/formats' && folder(file) !== folder(path);
        if (crossing) wrong.push(`${file} sees the other format ${path}`);
        continue;
      }
      const down = floorOf(other) < floorOf(room);
      if (FORBIDDEN.includes(arrow) || (!down && !SIDEWAYS.has(arrow))) wrong.push(`${file} imports ${path}`);
    }
  }
  expect(wrong).toEqual([]);
  expect([...unused], 'ways that no import takes').toEqual([]);
});

test('node: and Buffer stay in bytes/node, cli and bin', () => {
  const allowed = ['src/bytes/node/', 'src/cli/', 'bin/'];
  const wrong = files.filter((file) => {
    const unix = file.split(sep).join('/');
    if (allowed.some((prefix) => unix.startsWith(prefix))) return false;
    const text = readFileSync(join(root, file), 'utf8').replace(/\/\*[\s\S]*?\*\/|\/\/.*$/gm, '');
    return /'node:|\bBuffer\b(?!')|\brequire\(/.test(text);
  });
  expect(wrong.map((file) => file.split(sep).join('/'))).toEqual([]);
});

/** One third-party package, one room. */
const PACKAGES: Readonly<Record<string, readonly string[]>> = {
  commander: ['src/cli/'],
  chalk: ['src/views/'],
  'cli-table3': ['src/views/'],
  h5wasm: ['src/formats/keras/'],
  protobufjs: ['src/formats/onnx/'],
};

test('each third-party package is imported in its room alone', () => {
  const wrong: string[] = [];
  for (const file of files) {
    const unix = file.split(sep).join('/');
    for (const target of importsOf(file)) {
      if (target.startsWith('.') || target.startsWith('node:')) continue;
      const name = target
        .split('/')
        .slice(0, target.startsWith('@') ? 2 : 1)
        .join('/');
      const rooms = PACKAGES[name];
      if (rooms === undefined || !rooms.some((room) => unix.startsWith(room))) wrong.push(`${unix} imports ${target}`);
    }
  }
  expect(wrong).toEqual([]);
});
