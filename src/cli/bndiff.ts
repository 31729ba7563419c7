import { compare } from '../diff/across.ts';
import type { CompareOptions } from '../diff/compare.ts';
import { LOCK_SUFFIX } from '../diff/lock.ts';
import { fitsGlob, globMatcher, judge } from '../diff/policy.ts';
import type { Side } from '../diff/side.ts';
import { BnsumError } from '../ir/error.ts';
import type { WeightClass } from '../ir/model.ts';
import type { DiffReport, DiffSet, DiffViewOptions } from '../views/diff-view.ts';
import { loadDiffConfig } from './bndiff-config.ts';
import { installGit, printGitConfig } from './bndiff-gitconfig.ts';
import { type GlobWatch, watchGlobs } from './bndiff-globs.ts';
import { locksOf, requirePair, updateLocks } from './bndiff-lock.ts';
import { type BndiffOptions, parseBndiff } from './bndiff-options.ts';
import { isNoFile, noSide, type OpenSide, openLock, openSide, sameModel } from './bndiff-side.ts';
import { type StepSummary, writeStepSummary } from './bndiff-step-summary.ts';
import { watchFileOptions } from './file-options.ts';
import { errorFacts, exitCodeOf } from './message.ts';
import { refuseReplacing, writeReport } from './output.ts';
import type { ExitCode, Io } from './run.ts';
import { colorOf, columnsOf } from './terminal.ts';

function pathsWith(side: Side, kind: WeightClass): readonly string[] {
  return side.layers.filter((layer) => layer.weights.some((weight) => weight.class === kind)).map(({ path }) => path);
}

/** Which layers' values are to be compared, by any of a layer's names; null: none. */
function wantedValues(options: BndiffOptions, sides: readonly Side[]): CompareOptions['values'] {
  if (options.values || options.deny.includes('values')) return () => true;
  // What is denied has to be looked at.
  const denied = new Set<string>();
  for (const side of sides) {
    if (options.deny.includes('statistics')) for (const path of pathsWith(side, 'statistic')) denied.add(path);
    if (options.deny.includes('counters')) for (const path of pathsWith(side, 'counter')) denied.add(path);
    if (options.deny.includes('bn')) {
      for (const { kind, path } of side.layers) if (kind === 'batch_norm') denied.add(path);
    }
  }
  if (options.frozen.length === 0 && denied.size === 0) return null;
  const globs = options.frozen.map(globMatcher);
  return (path) => denied.has(path) || globs.some((matches) => fitsGlob(matches, path));
}

async function compareOpen(a: OpenSide, b: OpenSide, options: BndiffOptions, stale: boolean): Promise<DiffReport> {
  const values = wantedValues(options, [a.side, b.side]);
  const models = a.side.model !== null && b.side.model !== null;
  const comparison = await compare(a.side, b.side, {
    values,
    byName: !options.values && !options.deny.includes('values'),
    identical: values !== null && models && sameModel(a.path, b.path),
    rtol: options.rtol,
    atol: options.atol,
    ignore: options.ignore,
  });
  const { budgets, deny, frozen, requireKnown } = options;
  const judged = judge(comparison, { budgets, deny, frozen, requireKnown }, stale);
  return { ...judged, file: b.side.label.startsWith('git:') ? '' : b.side.label };
}

/** Both sides of a comparison; git names a file that one side lacks by the word for none. */
async function openBoth(first: string, second: string, options: BndiffOptions): Promise<readonly [OpenSide, OpenSide]> {
  if (isNoFile(first)) {
    const b = isNoFile(second) ? noSide(second, 'keras') : await openSide(second, options);
    return [noSide(first, b.side.dialect), b];
  }
  const a = await openSide(first, options);
  try {
    return [a, isNoFile(second) ? noSide(second, a.side.dialect) : await openSide(second, options)];
  } catch (error) {
    await a.close();
    throw error;
  }
}

/** Whether every option that is for some file or layer has met one. */
function watchSides(options: BndiffOptions): GlobWatch {
  const globs = watchGlobs(options);
  const files = watchFileOptions(options);
  return {
    see(side) {
      globs.see(side);
      if (side.model !== null) files.see(side.model);
    },
    require() {
      files.require();
      globs.require();
    },
  };
}

async function compareFiles(first: string, second: string, options: BndiffOptions): Promise<DiffReport> {
  const watch = watchSides(options);
  const [a, b] = await openBoth(first, second, options);
  try {
    watch.see(a.side);
    watch.see(b.side);
    watch.require();
    return await compareOpen(a, b, options, false);
  } finally {
    await a.close();
    await b.close();
  }
}

type LockPair = ReturnType<typeof locksOf>[number];

async function compareLock(pair: LockPair, options: BndiffOptions, watch: GlobWatch): Promise<DiffReport> {
  requirePair(pair);
  const lock = openLock(pair.lock, pair.model);
  const model = await openSide(pair.model, options);
  try {
    watch.see(lock.side);
    watch.see(model.side);
    return await compareOpen(lock, model, options, true);
  } finally {
    await model.close();
  }
}

async function checkLocks(
  pairs: readonly LockPair[],
  options: BndiffOptions,
  io: Io,
): Promise<{ set: DiffSet; failed: boolean }> {
  const watch = watchSides(options);
  const reports: DiffReport[] = [];
  const errors: { file: string; code: string; message: string }[] = [];
  const refuse = (file: string, error: unknown): void => {
    if (exitCodeOf(error) === 70) throw error;
    io.complain(error);
    errors.push({ file, ...errorFacts(error) });
  };
  for (const pair of pairs) {
    try {
      reports.push(await compareLock(pair, options, watch));
    } catch (error) {
      refuse(pair.model, error);
    }
  }
  // A pattern is for one model or another; where one could not be read, it may be for that.
  if (errors.length === 0) {
    try {
      watch.require();
    } catch (error) {
      refuse(error instanceof BnsumError ? (error.file ?? '') : '', error);
    }
  }
  return { set: { reports, errors }, failed: errors.length > 0 };
}

/** A report never takes the place of what is compared, nor of any lock file. */
function refuseOutput(output: string | undefined, inputs: readonly string[]): void {
  if (output === undefined) return;
  refuseReplacing(output, inputs);
  if (!output.endsWith(LOCK_SUFFIX)) return;
  throw new BnsumError({
    code: 'EXISTS',
    file: output,
    reason: 'is the name of a lock file, which only --update writes',
    next: 'name another file for --output',
  });
}

/** Trouble wins: what could not be read may differ. */
function statusOf(reports: readonly DiffReport[]): ExitCode {
  if (reports.some((report) => report.comparison.troubles.length > 0)) return 2;
  return reports.some((report) => report.refused) ? 1 : 0;
}

async function show(set: DiffSet, options: BndiffOptions, io: Io): Promise<void> {
  const render = await options.view.load();
  const facts = { ...io, isTerminal: io.isTerminal && options.output === undefined };
  // The annotations say whether the summary has what they leave out, so it is written first.
  const summary = options.view.name === 'github' ? await writeStepSummary(set, io.env) : 'none';
  const asked: DiffViewOptions & { readonly summary: StepSummary } = {
    columns: options.output === undefined ? columnsOf(facts) : null,
    color: colorOf(facts, options.color),
    quiet: options.quiet,
    summary,
  };
  const pieces = await render(set, asked);
  if (options.output === undefined) await io.write(pieces);
  else writeReport(options.output, pieces);
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
      const pairs = locksOf(options.files);
      refuseOutput(
        options.output,
        pairs.flatMap(({ lock, model }) => [lock, model]),
      );
      const { set, failed } = await checkLocks(pairs, options, io);
      await show(set, options, io);
      return failed ? 2 : statusOf(set.reports);
    }
    case 'compare': {
      const [first = '', second = ''] = options.files;
      refuseOutput(
        options.output,
        [first, second].filter((file) => !file.startsWith('git:') && !isNoFile(file)),
      );
      const report = await compareFiles(first, second, options);
      await show({ reports: [report], errors: [] }, options, io);
      return statusOf([report]);
    }
  }
}
