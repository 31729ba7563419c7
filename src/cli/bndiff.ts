import { compare } from '../diff/across.ts';
import type { CompareOptions } from '../diff/compare.ts';
import { fitsGlob, globMatcher, judge } from '../diff/policy.ts';
import type { DiffReport, DiffSet } from '../views/diff-view.ts';
import { loadDiffConfig } from './bndiff-config.ts';
import { installGit, printGitConfig } from './bndiff-gitconfig.ts';
import { findLocks, lockPair, requirePair, updateLocks } from './bndiff-lock.ts';
import { type BndiffOptions, parseBndiff } from './bndiff-options.ts';
import { type OpenSide, openSide, sameFile } from './bndiff-side.ts';
import { writeStepSummary } from './bndiff-step-summary.ts';
import { errorFacts, exitCodeOf } from './message.ts';
import { refuseReplacing, writeReport } from './output.ts';
import type { ExitCode, Io } from './run.ts';
import { colorOf, columnsOf } from './terminal.ts';

/** Which layers' values are to be compared; null: none. */
function wantedValues(options: BndiffOptions): CompareOptions['values'] {
  if (options.values || options.deny.includes('values')) return () => true;
  if (options.frozen.length === 0) return null;
  const globs = options.frozen.map(globMatcher);
  return (path) => globs.some((matches) => fitsGlob(matches, path));
}

async function compareOpen(a: OpenSide, b: OpenSide, options: BndiffOptions, stale: boolean): Promise<DiffReport> {
  const values = wantedValues(options);
  const models = a.side.from === 'model' && b.side.from === 'model';
  const comparison = await compare(a.side, b.side, {
    // A lock file holds hashes or nothing: what it has is compared, what it lacks was not asked for.
    values: stale && !options.values && options.frozen.length === 0 ? null : values,
    identical: values !== null && models && sameFile(a.path, b.path),
    rtol: options.rtol,
    atol: options.atol,
    ignore: options.ignore,
  });
  const { budgets, deny, frozen, requireKnown } = options;
  const judged = judge(comparison, { budgets, deny, frozen, requireKnown }, stale);
  return { ...judged, file: b.side.label.startsWith('git:') ? '' : b.side.label };
}

async function compareFiles(
  first: string,
  second: string,
  options: BndiffOptions,
  stale: boolean,
): Promise<DiffReport> {
  const a = await openSide(first, options);
  try {
    const b = await openSide(second, options);
    try {
      return await compareOpen(a, b, options, stale);
    } finally {
      await b.close();
    }
  } finally {
    await a.close();
  }
}

async function checkLocks(options: BndiffOptions, io: Io): Promise<{ set: DiffSet; failed: boolean }> {
  const words = options.files.length > 0 ? options.files : findLocks('.');
  if (words.length === 0) io.say('bndiff: no lock file below here; bndiff --update MODEL writes one');
  const reports: DiffReport[] = [];
  const errors: { file: string; code: string; message: string }[] = [];
  for (const word of words) {
    try {
      const pair = lockPair(word);
      requirePair(pair);
      reports.push(await compareFiles(pair.lock, pair.model, options, true));
    } catch (error) {
      if (exitCodeOf(error) === 70) throw error;
      io.complain(error);
      errors.push({ file: word, ...errorFacts(error) });
    }
  }
  return { set: { reports, errors }, failed: errors.length > 0 };
}

/** Trouble wins: what could not be read may differ. */
function statusOf(reports: readonly DiffReport[]): ExitCode {
  if (reports.some((report) => report.comparison.troubles.length > 0)) return 2;
  return reports.some((report) => report.refused) ? 1 : 0;
}

async function show(set: DiffSet, options: BndiffOptions, io: Io): Promise<void> {
  const render = await options.view.load();
  const facts = { ...io, isTerminal: io.isTerminal && options.output === undefined };
  const pieces = await render(set, {
    columns: options.output === undefined ? columnsOf(facts) : null,
    color: colorOf(facts, options.color),
    quiet: options.quiet,
  });
  if (options.output === undefined) await io.write(pieces);
  else writeReport(options.output, pieces);
  if (options.view.name === 'github') await writeStepSummary(set, io.env);
}

/** bndiff A B, --check and --update: the report first, then the status. */
export async function bndiff(io: Io): Promise<ExitCode> {
  const options = parseBndiff(io.words, columnsOf(io), () => loadDiffConfig(process.cwd()));
  if ('help' in options) {
    await io.write([options.help]);
    return 0;
  }
  switch (options.task) {
    case 'print-gitconfig':
      await io.write(printGitConfig());
      return 0;
    case 'install-git':
      await io.write(await installGit());
      return 0;
    case 'update':
      await io.write(await updateLocks(options, io.env));
      return 0;
    case 'check': {
      if (options.output !== undefined) refuseReplacing(options.output, options.files);
      const { set, failed } = await checkLocks(options, io);
      await show(set, options, io);
      return failed ? 2 : statusOf(set.reports);
    }
    case 'compare': {
      const [first = '', second = ''] = options.files;
      if (options.output !== undefined) {
        refuseReplacing(
          options.output,
          [first, second].filter((file) => !file.startsWith('git:')),
        );
      }
      const report = await compareFiles(first, second, options, false);
      await show({ reports: [report], errors: [] }, options, io);
      return statusOf([report]);
    }
  }
}
