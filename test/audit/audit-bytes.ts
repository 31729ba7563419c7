import { auditSource } from '../../src/audit/audit.ts';
import type { Audit, AuditRule } from '../../src/audit/finding.ts';
import { useCodec } from '../../src/bytes/codec.ts';
import { memorySource } from '../../src/bytes/memory-source.ts';
import { nodeCodec } from '../../src/bytes/node/codec.ts';
import type { WorkerHost } from '../../src/bytes/worker.ts';

useCodec(nodeCodec);

/** The audit of bytes under a name. */
export function auditBytes(
  bytes: Uint8Array,
  name = 'x.pkl',
  options: { readonly allow?: readonly string[]; readonly workers?: WorkerHost } = {},
): Promise<Audit> {
  return auditSource(memorySource(bytes, name), name, {
    ...(options.workers === undefined ? {} : { workers: options.workers }),
    allow: new Set(options.allow ?? []),
  });
}

/** Rules of the findings, sorted, each once. */
export function rulesOf(audit: Audit): readonly AuditRule[] {
  return [...new Set(audit.findings.map((finding) => finding.rule))].toSorted();
}

/** `os.system` of each finding that has a name. */
export function namesOf(audit: Audit): readonly string[] {
  return audit.findings.flatMap((finding) => (finding.name === null ? [] : [`${finding.module}.${finding.name}`]));
}
