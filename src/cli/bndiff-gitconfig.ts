import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { MODEL_ENDINGS } from '../ir/containers.ts';
import { git } from './bndiff-git.ts';

/** Files that git is to show by their summary. */
const PATTERNS = MODEL_ENDINGS.map((ending) => `*${ending}`);

/** Settings of git; `$LOCAL` and `$REMOTE` are git's own words for the two sides. */
const SETTINGS: readonly (readonly [string, string])[] = [
  // A textconv that fails ends git diff and git log -p for the whole repository: this one says why and never does.
  ['diff.bnsum.textconv', 'bnsum --textconv'],
  ['diff.bnsum.cachetextconv', 'true'],
  ['diff.bnsum.binary', 'true'],
  ['difftool.bndiff.cmd', 'bndiff "$LOCAL" "$REMOTE"'],
  ['difftool.bndiff.trustExitCode', 'false'],
];

/** What --install-git sets, as commands and lines that a person can run and paste. */
export function printGitConfig(): readonly string[] {
  return [
    ...SETTINGS.map(([key, value]) => `git config ${key} '${value}'\n`),
    '\n# .gitattributes, behind the lines of Git LFS\n',
    ...PATTERNS.map((pattern) => `${pattern} diff=bnsum\n`),
  ];
}

interface AttributeLine {
  readonly pattern: string;
  /** The value of `diff`; null: the line says nothing of it. */
  readonly diff: string | null;
}

/** Lines of .gitattributes as git reads them: blanks are spaces and tabs, of several lines that fit the last one counts. */
function attributeLines(text: string): readonly AttributeLine[] {
  return text.split(/\r?\n/).flatMap((line) => {
    const [pattern = '', ...attributes] = line.trim().split(/[ \t]+/);
    if (pattern === '' || pattern.startsWith('#')) return [];
    let diff: string | null = null;
    for (const attribute of attributes) {
      const found = /^([-!]?)diff(?:=(.*))?$/.exec(attribute);
      if (found !== null) diff = found[2] ?? `${found[1]}diff`;
    }
    return [{ pattern: pattern.replace(/^"(.*)"$/, '$1'), diff }];
  });
}

/** What stands of one pattern: ours, nothing, what Git LFS wrote after or instead of ours, or what somebody chose. */
function standing(pattern: string, lines: readonly AttributeLine[]): 'ours' | 'none' | 'lfs' | string {
  const extension = pattern.slice(1);
  let found = 'none';
  for (const line of lines) {
    // A line for some of these files, such as models/*.h5, takes them away from ours when it stands behind it.
    if (line.diff === null || !(line.pattern.endsWith(extension) || line.pattern === '*')) continue;
    if (line.diff === 'bnsum') {
      if (line.pattern === pattern) found = 'ours';
    } else if (line.diff === 'lfs') found = 'lfs';
    else if (line.pattern === pattern) found = line.diff;
  }
  return found;
}

/** The folder that holds the repository's files. Throws BnsumError NOT_FOUND where there is none. */
async function workTree(): Promise<string> {
  const bare = await git(['rev-parse', '--is-bare-repository'], {
    code: 'NOT_FOUND',
    next: 'run bndiff --install-git inside the repository, or see bndiff --print-gitconfig',
  });
  const root = await git(['rev-parse', '--show-toplevel'], {
    code: 'NOT_FOUND',
    reason:
      bare.trim() === 'true'
        ? 'this is a bare repository, which has no files and no .gitattributes'
        : 'this is not where the files of the repository are',
    next: 'run bndiff --install-git in a clone or a work tree of it',
  });
  return root.replace(/\r?\n$/, '');
}

/**
 * Sets the textconv and the difftool in this repository's own configuration and adds the patterns that .gitattributes
 * lacks, or that the lines of Git LFS take away. Throws BnsumError NOT_FOUND outside a repository, IO where git cannot
 * write its configuration.
 */
export async function installGit(): Promise<readonly string[]> {
  const root = await workTree();
  for (const [key, value] of SETTINGS) {
    await git(['config', '--local', key, value], {
      code: 'IO',
      next: 'wait for another git to end, remove a config.lock that one left, and see that the folder can be written',
    });
  }
  const path = join(root, '.gitattributes');
  const text = existsSync(path) ? readFileSync(path, 'utf8') : '';
  const lines = attributeLines(text);
  const now = PATTERNS.map((pattern) => [pattern, standing(pattern, lines)] as const);
  const missing = now.filter(([, how]) => how === 'none' || how === 'lfs').map(([pattern]) => pattern);
  const others = now.filter(([, how]) => how !== 'none' && how !== 'lfs' && how !== 'ours');
  if (missing.length > 0) {
    const gap = text === '' || text.endsWith('\n') ? '' : '\n';
    writeFileSync(path, `${text}${gap}${missing.map((pattern) => `${pattern} diff=bnsum\n`).join('')}`);
  }
  const lfs = now.some(([, how]) => how === 'lfs') ? ' behind the lines of Git LFS, whose files stay in LFS' : '';
  const added = missing.length === 0 ? 'it names them already' : `added ${missing.join(', ')}${lfs}`;
  return [
    'git diff and git log -p show models of this repository by their summary (bnsum --format text)\n',
    `.gitattributes: ${added}; commit it so that others can install theirs\n`,
    ...others.map(
      ([pattern, how]) =>
        `.gitattributes: ${pattern} keeps ${how.startsWith('-') || how.startsWith('!') || how === 'diff' ? how : `diff=${how}`}, so those are not shown by their summary\n`,
    ),
    'git difftool -t bndiff shows what changed\n',
  ];
}
