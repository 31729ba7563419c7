import { auditSource } from '../audit/audit.ts';
import type { Audit } from '../audit/finding.ts';
import { isDangerousName } from '../audit/names.ts';
import { openFileSource } from '../bytes/node/file-source.ts';
import { BnsumError } from '../ir/error.ts';
import type { AuditReport } from '../views/audit-view.ts';
import type { AuditWords } from './bnsum-options.ts';
import { errorFacts, exitCodeOf } from './message.ts';
import { refuseReplacing, writeReport } from './output.ts';
import type { ExitCode, Io } from './run.ts';
import { colorOf, columnsOf } from './terminal.ts';
import { packageVersion } from './version.ts';
import { commandWorkers } from './workers.ts';

/** Throws USAGE for a name that no one can vouch for. */
function refuseDangerous(allow: ReadonlySet<string>): void {
  for (const full of allow) {
    const dot = full.lastIndexOf('.');
    if (!isDangerousName(full.slice(0, dot), full.slice(dot + 1))) continue;
    throw new BnsumError({ code: 'USAGE', reason: `'${full}' is dangerous in every file and cannot be allowed` });
  }
}

async function auditOne(file: string, allow: ReadonlySet<string>): Promise<Audit> {
  const source = await openFileSource(file);
  try {
    const audit = await auditSource(source, file, { workers: commandWorkers(), allow });
    if (await source.changed()) {
      throw new BnsumError({ code: 'IO', file, reason: 'changed while it was read', next: 'audit it again' });
    }
    return audit;
  } finally {
    await source.close();
  }
}

/**
 * bnsum --audit FILE…: each file's verdict. 0: below `--fail-on`; 1: a verdict reaches it; 2: a file could not be opened,
 * the others are judged all the same.
 */
export async function auditFiles(io: Io, options: AuditWords): Promise<ExitCode> {
  refuseDangerous(options.allow);
  if (options.output !== undefined) refuseReplacing(options.output, options.files);
  const reports: AuditReport[] = [];
  let failed = false;
  let found = false;
  for (const file of options.files) {
    try {
      const audit = await auditOne(file, options.allow);
      if (audit.verdict === 'dangerous' || (audit.verdict !== 'safe' && options.failOn === 'suspicious')) found = true;
      reports.push({ file, audit });
    } catch (error) {
      if (exitCodeOf(error) === 70) throw error;
      failed = true;
      io.complain(error);
      reports.push({ file, error: errorFacts(error) });
    }
  }
  const anything = reports.some((report) => 'audit' in report);
  if (anything || options.view.name === 'json') {
    const facts = { ...io, isTerminal: io.isTerminal && options.output === undefined };
    const render = await options.view.load();
    const pieces = await render(reports, {
      columns: options.output === undefined ? columnsOf(facts) : null,
      color: colorOf(facts, options.color),
      quiet: options.quiet,
      version: packageVersion(),
    });
    if (options.output === undefined) await io.write(pieces);
    else if (anything) writeReport(options.output, pieces);
  }
  return failed ? 2 : found ? 1 : 0;
}
