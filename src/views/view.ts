import type { PairExplanation } from '../account/explain-pair.ts';
import type { Summary } from '../account/summary.ts';

/** One file's summary under the name that the user gave it, or the reason why there is none. */
export type Report =
  | { readonly file: string; readonly summary: Summary }
  | { readonly file: string; readonly error: { readonly code: string; readonly message: string } };

export type SortKey = 'keras' | 'torch' | 'buffers' | 'bytes' | 'macs' | 'name' | 'path' | 'type';
export const SORT_KEYS: readonly SortKey[] = ['keras', 'torch', 'buffers', 'bytes', 'macs', 'name', 'path', 'type'];

export interface ViewOptions {
  /** Columns to fit into; null: as wide as it is. */
  readonly columns: number | null;
  readonly color: boolean;
  /** One row per BatchNorm instead of one per layer. */
  readonly bn: boolean;
  /** One row per tensor instead of one per layer. */
  readonly tensors: boolean;
  readonly macs: boolean;
  readonly explain: boolean;
  /** Levels of nesting shown; null: all. */
  readonly depth: number | null;
  /** Pattern of the paths shown; null: all. */
  readonly layer: string | null;
  readonly sort: SortKey | null;
  /** Leaves the notes out. */
  readonly quiet: boolean;
}

/** What a look is given: the files in the user's order, and with two of them why their numbers differ. */
export interface ReportSet {
  readonly reports: readonly Report[];
  readonly pair: PairExplanation | null;
}

/** A look: pieces of text that make up the whole output, the last one ending in a line feed. */
export type Render = (set: ReportSet, options: ViewOptions) => Promise<Iterable<string>>;
