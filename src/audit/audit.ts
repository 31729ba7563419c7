import { codec } from '../bytes/codec.ts';
import type { ByteSource } from '../bytes/source.ts';
import type { WorkerHost } from '../bytes/worker.ts';
import { LIMITS } from '../ir/limits.ts';
import { judgeContent } from './content.ts';
import { type Bench, baseName } from './context.ts';
import { type Audit, makeLedger } from './finding.ts';

export interface AuditOptions {
  /** Threads for code that may have to be ended (HDF5). */
  readonly workers?: WorkerHost | undefined;
  /** Exact names `module.name` that the user vouches for; a dangerous one stays dangerous. */
  readonly allow?: ReadonlySet<string>;
}

const HASH_BLOCK = 4 * 1024 * 1024;

/**
 * What would run if Python loaded these bytes, whatever they are. Nothing in them is run, decoded as code, followed or
 * fetched. 'safe' means: only tensor data and plain containers, all of it judged. Throws BnsumError only where the bytes
 * cannot be had (IO); damage and limits are findings, and make the audit incomplete.
 */
export async function auditSource(source: ByteSource, name: string, options: AuditOptions = {}): Promise<Audit> {
  const ledger = makeLedger(options.allow);
  const bench: Bench = {
    ledger,
    workers: options.workers,
    budget: { left: 4 * LIMITS.inflatedBytes, hidden: LIMITS.auditHidden, readings: LIMITS.auditReadings },
    judge: (content) => judgeContent(content, bench),
  };
  const kind = await bench.judge({ source, member: '', name: baseName(name), depth: 0 });
  const hash = codec().sha256();
  for (let at = 0; at < source.size; at += HASH_BLOCK) {
    hash.update(await source.read(at, Math.min(source.size, at + HASH_BLOCK)));
  }
  const { any, bytes } = ledger.missed();
  return {
    verdict: ledger.verdict(),
    complete: !any,
    findings: ledger.findings(),
    knownImports: ledger.knownCount(),
    kind,
    allowed: ledger.allowedSeen(),
    bytes: { judged: any ? Math.max(0, source.size - bytes) : source.size, total: source.size },
    sha256: hash.digest(),
  };
}
