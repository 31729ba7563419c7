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
}

export interface Bench {
  readonly ledger: Ledger;
  readonly workers: WorkerHost | undefined;
  /** Inflated bytes that the whole audit may still hold in memory. */
  readonly budget: { left: number };
  /** Judges any content, whatever it turns out to be; gives its kind in our words. */
  judge(content: Content): Promise<string>;
}

/** Archives in archives that formats have: `.keras` > `.npz` > `.npy`, `.pt2` > `.pt` > pickle. */
export const MOST_ARCHIVES = 2;

export function baseName(path: string): string {
  return path.split(/[/\\]/).at(-1) ?? path;
}

/** 'model.weights.h5' in the file, 'a.npz!b.npy' below it. */
export function joinMember(member: string, inner: string): string {
  return member === '' ? inner : `${member}!${inner}`;
}
