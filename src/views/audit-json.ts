import type { Audit } from '../audit/finding.ts';
import type { AuditRender, AuditReport } from './audit-view.ts';
import { reasonText } from './audit-wording.ts';
import { jsonPieces } from './json.ts';

/** The name of the JSON form's schema: the `$id` of docs/schema/audit.schema.json, which the package carries. */
export const AUDIT_SCHEMA = 'urn:bnsum:schema:audit:1';

function auditValue(file: string, audit: Audit, version: string): object {
  const count = (level: string): number => audit.findings.filter((finding) => finding.level === level).length;
  return {
    $schema: AUDIT_SCHEMA,
    version: 1,
    tool: { name: 'bnsum', version },
    file,
    verdict: audit.verdict,
    complete: audit.complete,
    kind: audit.kind,
    counts: { dangerous: count('dangerous'), suspicious: count('suspicious'), known: audit.knownImports },
    findings: audit.findings.map((finding) => ({
      level: finding.level,
      rule: finding.rule,
      module: finding.module,
      name: finding.name,
      member: finding.member,
      offset: finding.offset,
      opIndex: finding.opIndex,
      called: finding.called,
      count: finding.count,
      reason: reasonText(finding),
      detail: finding.detail,
    })),
    limits: audit.findings.filter((finding) => finding.rule === 'LIMIT').map((finding) => finding.detail),
    allowed: audit.allowed,
    bytes: audit.bytes,
    sha256: audit.sha256,
  };
}

function reportValue(report: AuditReport, version: string): object {
  return 'audit' in report ? auditValue(report.file, report.audit, version) : report;
}

/** The JSON form: one object for one file, `{files: [...]}` for several. */
export const renderAuditJson: AuditRender = (reports, { version }) => {
  function* pieces(): Generator<string> {
    const values = reports.map((report) => reportValue(report, version));
    const [only] = values;
    yield* jsonPieces(values.length === 1 && only !== undefined ? only : { files: values }, '');
    yield '\n';
  }
  return Promise.resolve(pieces());
};
