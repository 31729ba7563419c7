// Writes the generated pages of docs/ and THIRD_PARTY.md from the sources; `--check` names the stale ones and exits with 1 instead.
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { commandsPage } from './generate/commands.mjs';
import { diagnosticsPage } from './generate/diagnostics.mjs';
import { formatsPage } from './generate/formats.mjs';
import { layersPage } from './generate/layers.mjs';
import { licencesPage } from './generate/licences.mjs';
import { loadSources } from './generate/sources.mjs';

const root = dirname(dirname(fileURLToPath(import.meta.url)));

const PAGES = [
  ['docs/commands.md', commandsPage],
  ['docs/diagnostics.md', diagnosticsPage],
  ['docs/formats.md', formatsPage],
  ['docs/layers.md', layersPage],
  ['THIRD_PARTY.md', licencesPage],
];

const check = process.argv.includes('--check');
const sources = await loadSources(root);
let stale = 0;
for (const [path, page] of PAGES) {
  const text = `<!-- Written by npm run docs; do not edit. -->\n\n${(await page(sources, root)).trim()}\n`;
  const file = join(root, path);
  const same = existsSync(file) && readFileSync(file, 'utf8') === text;
  if (same) continue;
  if (check) {
    stale += 1;
    console.log(`${path} is stale; run npm run docs`);
  } else {
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, text);
    console.log(`wrote ${path}`);
  }
}
process.exitCode = stale === 0 ? 0 : 1;
