import type { ByteSource } from '../bytes/source.ts';
import type { WorkerHost } from '../bytes/worker.ts';
import type { Ledger } from './finding.ts';

/** Something to judge: the file, or a part of it. */
export interface Content {
  readonly source: ByteSource;
  /** As in Finding.member. */
  readonly member: string;
  /** Base name, which only tells what a loader would take it for. */
  readonly name: string;
  /** Archives around it. */
  readonly depth: number;
  /** Whoever found it looks through its bytes for members of a zip that no directory lists. */
  readonly isSearched?: boolean;
}

export interface Bench {
  readonly ledger: Ledger;
  readonly workers: WorkerHost | undefined;
  /** What the whole audit may still do. */
  readonly budget: Budget;
  /** Judges any content, whatever it turns out to be; gives its kind in our words. */
  judge(content: Content): Promise<string>;
}

export interface Budget {
  /** Inflated bytes, and bytes of members that no directory lists. */
  left: number;
  /** Members that no directory lists. */
  hidden: number;
  /** Parts that are judged as something else than what they begin with. */
  readings: number;
}

/** Takes note of a part of an archive that lies there as it is and is judged for itself: bytes [from, to) of the archive. */
export type PartTaker = (from: number, to: number) => void;

/** Archives in archives that formats have: `.keras` > `.npz` > `.npy`, `.pt2` > `.pt` > pickle. */
export const MOST_ARCHIVES = 2;

export function baseName(path: string): string {
  return path.split(/[/\\]/).at(-1) ?? path;
}

/** 'model.weights.h5' in the file, 'a.npz!b.npy' below it. */
export function joinMember(member: string, inner: string): string {
  return member === '' ? inner : `${member}!${inner}`;
}
