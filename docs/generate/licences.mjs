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

const MIT = `Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated
documentation files (the "Software"), to deal in the Software without restriction, including without limitation the rights
to use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies of the Software, and to permit persons to
whom the Software is furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or substantial portions of the
Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE
WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR
COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE,
ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.`;

/**
 * What the WebAssembly of h5wasm holds besides HDF5. The release names none of it in its licence file: each part is told
 * by a text that stands in the file (`sign`), and its licence is that of the part's own sources.
 */
const INSIDE_H5WASM = [
  {
    name: 'zlib',
    version: '1.3.1',
    licence: 'Zlib',
    signs: ['hdf5_zlib-build', '1.3.1'],
    text: `Copyright (C) 1995-2024 Jean-loup Gailly and Mark Adler

This software is provided 'as-is', without any express or implied warranty. In no event will the authors be held liable
for any damages arising from the use of this software.

Permission is granted to anyone to use this software for any purpose, including commercial applications, and to alter it
and redistribute it freely, subject to the following restrictions:

1. The origin of this software must not be misrepresented; you must not claim that you wrote the original software. If
   you use this software in a product, an acknowledgment in the product documentation would be appreciated but is not
   required.
2. Altered source versions must be plainly marked as such, and must not be misrepresented as being the original software.
3. This notice may not be removed or altered from any source distribution.

Jean-loup Gailly        Mark Adler
jloup@gzip.org          madler@alumni.caltech.edu`,
  },
  {
    name: 'libaec (as szip)',
    version: 'not stated',
    licence: 'BSD-2-Clause',
    signs: ['szip-src'],
    text: `Copyright 2023 Mathis Rosenhauer, Moritz Hanke, Joerg Behrens, Luis Kornblueh
All rights reserved.

Redistribution and use in source and binary forms, with or without modification, are permitted provided that the following
conditions are met:

1. Redistributions of source code must retain the above copyright notice, this list of conditions and the following
   disclaimer.
2. Redistributions in binary form must reproduce the above copyright notice, this list of conditions and the following
   disclaimer in the documentation and/or other materials provided with the distribution.

THIS SOFTWARE IS PROVIDED BY THE COPYRIGHT HOLDERS AND CONTRIBUTORS "AS IS" AND ANY EXPRESS OR IMPLIED WARRANTIES,
INCLUDING, BUT NOT LIMITED TO, THE IMPLIED WARRANTIES OF MERCHANTABILITY AND FITNESS FOR A PARTICULAR PURPOSE ARE
DISCLAIMED. IN NO EVENT SHALL THE COPYRIGHT HOLDER OR CONTRIBUTORS BE LIABLE FOR ANY DIRECT, INDIRECT, INCIDENTAL, SPECIAL,
EXEMPLARY, OR CONSEQUENTIAL DAMAGES (INCLUDING, BUT NOT LIMITED TO, PROCUREMENT OF SUBSTITUTE GOODS OR SERVICES; LOSS OF
USE, DATA, OR PROFITS; OR BUSINESS INTERRUPTION) HOWEVER CAUSED AND ON ANY THEORY OF LIABILITY, WHETHER IN CONTRACT, STRICT
LIABILITY, OR TORT (INCLUDING NEGLIGENCE OR OTHERWISE) ARISING IN ANY WAY OUT OF THE USE OF THIS SOFTWARE, EVEN IF ADVISED
OF THE POSSIBILITY OF SUCH DAMAGE.`,
  },
  {
    name: 'Emscripten, its runtime',
    version: 'not stated',
    licence: 'MIT or NCSA; here MIT',
    signs: ['emscripten_resize_heap'],
    text: `Copyright (c) 2010-2014 Emscripten authors, see AUTHORS file.\n\n${MIT}`,
  },
  {
    name: 'musl, the C library of Emscripten',
    version: 'not stated',
    licence: 'MIT',
    signs: ['-0X+0X 0X-0x+0x 0x'],
    text: `Copyright © 2005-2020 Rich Felker, et al.

${MIT}

Most of the mathematics is Copyright © 1993, 2004 Sun Microsystems, © 2003-2011 David Schultz, © 2003-2009 Steven G. Kargl,
© 2003-2009 Bruce D. Evans or © 2008 Stephen L. Moshier, each under permissive terms that stand in the sources.`,
  },
  {
    name: 'libc++abi, libc++ and compiler-rt of LLVM',
    version: 'not stated',
    licence: 'Apache-2.0 WITH LLVM-exception',
    signs: ['libcxxabi', 'NSt3__2'],
    text: `Part of the LLVM Project, under the Apache License v2.0 with LLVM Exceptions. The text of that licence stands above,
under long; the exceptions are:

As an exception, if, as a result of your compiling your source code, portions of this Software are embedded into an Object
form of such source code, you may redistribute such embedded portions in such Object form without complying with the
conditions of Sections 4(a), 4(b) and 4(d) of the License.

In addition, if you combine or link compiled forms of this Software with software that is licensed under the GPLv2
("Combined Software") and if a court of competent jurisdiction determines that the patent provision (Section 3), the
indemnity provision (Section 9) or other Section of the License conflicts with the conditions of the GPLv2, you may
retroactively and prospectively choose to deem waived or otherwise exclude such Section(s) of the License, but only in
their entirety and only with respect to the Combined Software.`,
  },
];

/** Throws when the release no longer holds a part, or no longer in that version: then the list has to be looked at. */
function requireSigns(root) {
  const library = readFileSync(join(root, 'node_modules/h5wasm/dist/esm/hdf5_util.js'), 'utf8');
  for (const { name, signs } of INSIDE_H5WASM) {
    const missing = signs.find((sign) => !library.includes(sign));
    if (missing !== undefined) throw new Error(`h5wasm holds no '${missing}', by which ${name} was told`);
  }
}

function quote(text) {
  return text
    .trim()
    .split('\n')
    .map((line) => `    ${line.replaceAll('\t', '    ')}`.trimEnd())
    .join('\n');
}

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
    const changed = CHANGED[name] === undefined ? [] : [CHANGED[name]];
    return [`## ${name} ${version}`, ...changed, quote(text)].join('\n\n');
  });
  requireSigns(root);
  return [
    '# Third-party software',
    'The commands and the HDF5 thread in `dist` contain code of these packages.',
    table(
      ['Package', 'Version', 'Licence'],
      facts.map(({ name, version, licence }) => [name, version, licence]),
    ),
    ...sections,
    '## Inside h5wasm',
    'The WebAssembly of h5wasm (`dist/worker/hdf5.wasm`) is HDF5, whose notice stands with that of h5wasm, and these parts,' +
      ' which its release does not name. They were told by texts in the file, libaec as what its build takes for szip; a' +
      ' version is given where one stands there.',
    table(
      ['Part', 'Version', 'Licence'],
      INSIDE_H5WASM.map(({ name, version, licence }) => [name, version, licence]),
    ),
    'Its allocator, dlmalloc by Doug Lea, is in the public domain.',
    ...INSIDE_H5WASM.map(({ name, text }) => `### ${name}\n\n${quote(text)}`),
  ].join('\n\n');
}
