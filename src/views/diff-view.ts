import type { Judged } from '../diff/policy.ts';

/** One answer: what was judged, and the file that an annotation stands at. */
export interface DiffReport extends Judged {
  /** Path of the file that a reader would change; '' where there is none. */
  readonly file: string;
}

/** What a look of differences is given. */
export interface DiffSet {
  readonly reports: readonly DiffReport[];
  readonly errors: readonly { readonly file: string; readonly code: string; readonly message: string }[];
}

export interface DiffViewOptions {
  /** Columns to fit into; null: as wide as it is. */
  readonly columns: number | null;
  readonly color: boolean;
  /** Only the verdict. */
  readonly quiet: boolean;
  /** Characters that the Markdown form may have; absent: those of a comment. */
  readonly limit?: number;
  /** What the step summary has of the report; the annotations send readers there only for all of it. */
  readonly summary?: 'whole' | 'cut' | 'none';
}

/** Pieces of text that make up the whole output. */
export type DiffRender = (set: DiffSet, options: DiffViewOptions) => Promise<Iterable<string>>;

export interface DiffView {
  readonly name: string;
  readonly about: string;
  readonly extensions: readonly string[];
  load(): Promise<DiffRender>;
}
