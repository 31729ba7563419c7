import { readFileSync } from 'node:fs';

/** Put in by the bundler; absent when the sources run as they are. */
declare const BNSUM_VERSION: string | undefined;

/** The package's version, without loading anything else. */
export function packageVersion(): string {
  if (typeof BNSUM_VERSION === 'string') return BNSUM_VERSION;
  const text = readFileSync(new URL('../../package.json', import.meta.url), 'utf8');
  return (JSON.parse(text) as { readonly version: string }).version;
}

/** Whether the user asks for the version alone: `--version` or `-V` before a `--`. */
export function asksForVersion(words: readonly string[]): boolean {
  const end = words.indexOf('--');
  return (end < 0 ? words : words.slice(0, end)).some((word) => word === '--version' || word === '-V');
}
