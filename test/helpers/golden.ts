import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect } from 'vitest';

const root = join(dirname(dirname(dirname(fileURLToPath(import.meta.url)))), 'fixtures', 'golden');

/** Compares with fixtures/golden/NAME; UPDATE_GOLDEN=1 writes it, to be read by a person before it is kept. */
export function expectGolden(name: string, text: string): void {
  const path = join(root, name);
  if (process.env['UPDATE_GOLDEN'] === '1') {
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, text);
    return;
  }
  expect(existsSync(path), `fixtures/golden/${name} is missing`).toBe(true);
  expect(text).toBe(readFileSync(path, 'utf8'));
}
