import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { table } from './markdown.mjs';

/** What is changed of a package before it is shipped. Its licence asks for the date and nature of changes. */
const CHANGED = {
  h5wasm:
    'Changed for this package: the WebAssembly that the library holds as text is shipped as a file of its own' +
    ' (`dist/worker/hdf5.wasm`, byte for byte), and the largest heap is set lower. The changes are those of' +
    ' `build-hdf5-worker.mjs`; they are made anew, and so dated, with each build. Source: National Institute of Standards' +
    ' and Technology (NIST).',
};

/** Licence expressions of packages whose package.json only points to a file. */
const TOLD = { h5wasm: 'NIST software notice, with the HDF5 licence (BSD-style)' };

function licenceText(folder) {
  const name = readdirSync(folder).find((file) => /^licen[cs]e/i.test(file));
  if (name === undefined) throw new Error(`${folder} holds no licence`);
  return readFileSync(join(folder, name), 'utf8').replaceAll('\r\n', '\n');
}

/** THIRD_PARTY.md: packages whose code is in dist/, with their licences. */
export function licencesPage(_sources, root) {
  const { packages } = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8'));
  const shipped = Object.entries(packages).filter(([path, { dev }]) => path !== '' && dev !== true);
  const facts = shipped.map(([path, { version }]) => {
    const name = path.slice(path.lastIndexOf('node_modules/') + 'node_modules/'.length);
    const { license } = JSON.parse(readFileSync(join(root, path, 'package.json'), 'utf8'));
    return { name, version, licence: TOLD[name] ?? license, text: licenceText(join(root, path)) };
  });
  const sections = facts.map(({ name, version, text }) => {
    const quoted = text
      .trim()
      .split('\n')
      .map((line) => `    ${line.replaceAll('\t', '    ')}`.trimEnd())
      .join('\n');
    const changed = CHANGED[name] === undefined ? [] : [CHANGED[name]];
    return [`## ${name} ${version}`, ...changed, quoted].join('\n\n');
  });
  return [
    '# Third-party software',
    'The commands and the HDF5 thread in `dist` contain code of these packages.',
    table(
      ['Package', 'Version', 'Licence'],
      facts.map(({ name, version, licence }) => [name, version, licence]),
    ),
    ...sections,
  ].join('\n\n');
}
