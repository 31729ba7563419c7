// The sources as one module, bundled into a folder that is removed again.
import { mkdtempSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { build } from 'esbuild';

const EXPORTS = `
export { parseBnsum } from './src/cli/bnsum-options.ts';
export { parseBnconvert } from './src/cli/bnconvert-options.ts';
export { parseBndiff } from './src/cli/bndiff-options.ts';
export { READERS } from './src/registry.ts';
export { CONTAINER_ENDINGS, CONTAINERS } from './src/ir/containers.ts';
export { CONTENT_NAMES } from './src/bytes/sniff.ts';
export { LIMITS } from './src/ir/limits.ts';
export { DIAGNOSTIC_SEVERITY, note } from './src/ir/diagnostic.ts';
export { reasonText } from './src/views/audit-wording.ts';
export { describe } from './src/views/diagnostics.ts';
export { familyOfType, families } from './src/layers/registry.ts';
export { UNCOVERED } from './src/layers/uncovered.ts';
export { memorySource } from './src/bytes/memory-source.ts';
export { kerasReader } from './src/formats/keras/index.ts';
export { inferShapes } from './src/graph/infer.ts';
export { planTranslation } from './src/convert/plan.ts';
export { emitterOf } from './src/convert/lower/registry.ts';
export { generateModule } from './src/codegen/module.ts';
export { isBnsumError } from './src/ir/error.ts';
`;

/** Everything that the pages are made from. */
export async function loadSources(root) {
  const folder = mkdtempSync(join(tmpdir(), 'bnsum-docs-'));
  try {
    const outfile = join(folder, 'sources.cjs');
    await build({
      absWorkingDir: root,
      stdin: { contents: EXPORTS, resolveDir: root, sourcefile: 'sources.ts', loader: 'ts' },
      bundle: true,
      platform: 'node',
      target: 'node20',
      format: 'cjs',
      external: ['h5wasm'],
      outfile,
      logLevel: 'error',
    });
    return createRequire(import.meta.url)(outfile);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
