import type { Audit } from '../audit/finding.ts';

/** One file's audit under the name that the user gave it, or the reason why there is none. */
export type AuditReport =
  | { readonly file: string; readonly audit: Audit }
  | { readonly file: string; readonly error: { readonly code: string; readonly message: string } };

export interface AuditViewOptions {
  /** Columns to fit into; null: as wide as it is. */
  readonly columns: number | null;
  readonly color: boolean;
  /** The headline alone. */
  readonly quiet: boolean;
  /** Version of the program that judged. */
  readonly version: string;
}

export type AuditRender = (reports: readonly AuditReport[], options: AuditViewOptions) => Promise<Iterable<string>>;

export interface AuditView {
  readonly name: string;
  readonly extensions: readonly string[];
  load(): Promise<AuditRender>;
}

/** Every look of an audit, one line each. */
export const AUDIT_VIEWS: readonly AuditView[] = [
  { name: 'table', extensions: [], load: async () => (await import('./audit-table.ts')).renderAuditTable },
  { name: 'json', extensions: ['.json'], load: async () => (await import('./audit-json.ts')).renderAuditJson },
];
