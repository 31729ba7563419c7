import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

/** Put in by the bundler; absent when the sources run as they are. */
declare const BNSUM_VERSION: string | undefined;

/** The package's version, without loading anything else. */
export function packageVersion(): string {
  if (typeof BNSUM_VERSION === 'string') return BNSUM_VERSION;
  return versionAbove(dirname(process.argv[1] ?? '.')) ?? versionAbove(process.cwd()) ?? '0.0.0';
}

/** From the package.json that the sources stand under. */
function versionAbove(folder: string): string | undefined {
  for (let at = folder; ; at = dirname(at)) {
    try {
      const facts: unknown = JSON.parse(readFileSync(join(at, 'package.json'), 'utf8'));
      if (typeof facts === 'object' && facts !== null && 'name' in facts && facts.name === 'bnsum') {
        return 'version' in facts && typeof facts.version === 'string' ? facts.version : undefined;
      }
    } catch {
      // No package.json here: further up.
    }
    if (dirname(at) === at) return undefined;
  }
}

/** Whether the user asks for the version alone: `--version` or `-V` before a `--`. */
export function asksForVersion(words: readonly string[]): boolean {
  const end = words.indexOf('--');
  return (end < 0 ? words : words.slice(0, end)).some((word) => word === '--version' || word === '-V');
}
