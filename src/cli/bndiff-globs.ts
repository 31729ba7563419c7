import { fitsGlob, globMatcher } from '../diff/policy.ts';
import type { Side } from '../diff/side.ts';
import { BnsumError } from '../ir/error.ts';
import type { BndiffOptions } from './bndiff-options.ts';
import { nearest } from './suggest.ts';

/** Says of each pattern of --assert-frozen whether any layer fits: one that fits none guards nothing. */
export interface GlobWatch {
  see(side: Side): void;
  /** Throws BnsumError USAGE naming the first pattern that no layer fitted, and the nearest name. */
  require(): void;
}

export function watchGlobs(options: Pick<BndiffOptions, 'frozen' | 'frozenFrom'>): GlobWatch {
  const open = new Map(options.frozen.map((glob) => [glob, globMatcher(glob)]));
  const names = new Set<string>();
  return {
    see(side) {
      if (open.size === 0) return;
      for (const { path } of side.layers) {
        names.add(path);
        for (const [glob, matches] of open) if (fitsGlob(matches, path)) open.delete(glob);
      }
      // Tensors outside the state belong to the model itself, which only a pattern for everything fits.
      if ((side.constants?.length ?? 0) + (side.further?.length ?? 0) === 0) return;
      for (const [glob, matches] of open) if (matches('')) open.delete(glob);
    },
    require() {
      const [glob] = open.keys();
      if (glob === undefined) return;
      const near = nearestName(glob, names);
      const from = options.frozenFrom;
      throw new BnsumError({
        code: 'USAGE',
        ...(from === null ? {} : { file: from.file, place: `${from.place}.assertFrozen` }),
        reason: `no layer fits ${from === null ? '--assert-frozen ' : ''}'${glob}'`,
        next: near === undefined ? 'bnsum MODEL lists the layers' : `did you mean ${near}?`,
      });
    },
  };
}

/** The nearest of the layers' names, of what they stand in, and of what they begin with. */
function nearestName(glob: string, names: ReadonlySet<string>): string | undefined {
  const star = glob.endsWith('*');
  const word = glob.replace(/[*?]+$/, '');
  const candidates = new Set<string>();
  for (const name of names) {
    candidates.add(name);
    for (const cut of name.matchAll(/[./_]/g)) candidates.add(name.slice(0, cut.index));
    const last = name.slice(Math.max(name.lastIndexOf('/'), name.lastIndexOf('.')) + 1);
    candidates.add(last);
  }
  const near = nearest(word, candidates);
  if (near === undefined) return undefined;
  return star && !names.has(near) ? `${near}*` : near;
}
