import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { git } from './bndiff-git.ts';

/** Files that git is to show by their summary. */
const PATTERNS = ['*.h5', '*.hdf5', '*.keras', '*.pt', '*.pth', '*.safetensors'] as const;

/** Settings of git; `$LOCAL` and `$REMOTE` are git's own words for the two sides. */
const SETTINGS: readonly (readonly [string, string])[] = [
  ['diff.bnsum.textconv', 'bnsum --format text --quiet'],
  ['diff.bnsum.cachetextconv', 'true'],
  ['diff.bnsum.binary', 'true'],
  ['difftool.bndiff.cmd', 'bndiff "$LOCAL" "$REMOTE"'],
  ['difftool.bndiff.trustExitCode', 'false'],
];

/** What --install-git sets, as commands and lines that a person can run and paste. */
export function printGitConfig(): readonly string[] {
  return [
    ...SETTINGS.map(([key, value]) => `git config ${key} '${value}'\n`),
    '\n# .gitattributes\n',
    ...PATTERNS.map((pattern) => `${pattern} diff=bnsum\n`),
  ];
}

/**
 * Sets the textconv and the difftool in this repository's own configuration and adds the patterns that .gitattributes
 * lacks. Throws BnsumError NOT_FOUND outside a repository.
 */
export async function installGit(): Promise<readonly string[]> {
  const root = (await git(['rev-parse', '--show-toplevel'])).trim();
  for (const [key, value] of SETTINGS) await git(['config', '--local', key, value]);
  const path = join(root, '.gitattributes');
  const text = existsSync(path) ? readFileSync(path, 'utf8') : '';
  const lines = text.split('\n');
  const missing = PATTERNS.filter(
    (pattern) => !lines.some((line) => line.startsWith(`${pattern} `) && /\bdiff=/.test(line)),
  );
  if (missing.length > 0) {
    const gap = text === '' || text.endsWith('\n') ? '' : '\n';
    writeFileSync(path, `${text}${gap}${missing.map((pattern) => `${pattern} diff=bnsum\n`).join('')}`);
  }
  const added = missing.length === 0 ? 'it names them already' : `added ${missing.join(', ')}`;
  return [
    'git diff and git log -p show models of this repository by their summary (bnsum --format text)\n',
    `.gitattributes: ${added}; commit it so that others can install theirs\n`,
    'git difftool -t bndiff shows what changed\n',
  ];
}
