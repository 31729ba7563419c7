import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { basename } from 'node:path';
import { type Accounting, account } from '../account/account.ts';
import { explainPair } from '../account/explain-pair.ts';
import { summarise } from '../account/summary.ts';
import { BnsumError } from '../ir/error.ts';
import type { Model } from '../ir/model.ts';
import { openModel } from '../open.ts';
import { describe } from '../views/diagnostics.ts';
import { selectLayers } from '../views/rows.ts';
import type { Report, ReportSet, ViewOptions } from '../views/view.ts';
import { type BnsumOptions, parseBnsum } from './bnsum-options.ts';
import { watchFileOptions } from './file-options.ts';
import { errorFacts, errorLine, exitCodeOf } from './message.ts';
import { refuseReplacing, writeReport } from './output.ts';
import type { ExitCode, Io } from './run.ts';
import { nearest } from './suggest.ts';
import { colorOf, columnsOf } from './terminal.ts';
import { commandWorkers } from './workers.ts';

interface Read {
  readonly report: Report & { readonly summary: unknown };
  readonly model: Model;
  readonly accounting: Accounting;
}

async function readOne(file: string, options: BnsumOptions): Promise<Read> {
  const workers = commandWorkers();
  const { value: model, diagnostics } = await openModel(file, {
    ...(options.config === undefined ? {} : { config: options.config }),
    ...(options.pick === undefined ? {} : { pick: options.pick }),
    ...(workers === undefined ? {} : { workers }),
  });
  try {
    const accounting = account(model);
    const summary = summarise(model, accounting, diagnostics, {
      describe,
      macs: options.macs,
      explain: options.explain,
    });
    if (options.layer !== undefined && selectLayers(summary.layers, options.layer).length === 0) {
      const near = nearest(
        options.layer,
        summary.layers.map((layer) => layer.path),
      );
      throw new BnsumError({
        code: 'NOT_FOUND',
        file,
        reason: `no layer fits '${options.layer}'${near === undefined ? '' : ` (did you mean ${near}?)`}`,
        next: `try --layer '*part-of-a-name*'`,
      });
    }
    return { report: { file, summary }, model, accounting };
  } finally {
    await model.close();
  }
}

function viewOptions(options: BnsumOptions, io: Io): ViewOptions {
  const facts = { ...io, isTerminal: io.isTerminal && options.output === undefined };
  return {
    columns: options.output === undefined ? columnsOf(facts) : null,
    color: colorOf(facts, options.color),
    bn: options.bn,
    tensors: options.tensors,
    macs: options.macs,
    explain: options.explain,
    depth: options.depth ?? null,
    layer: options.layer ?? null,
    sort: options.sort ?? null,
    quiet: options.quiet,
  };
}

/**
 * A refusal where git wants text: without the folder, which is another one each time, and with the content's hash, so
 * that two files refused for one reason still differ.
 */
async function refusedAsText(file: string, error: unknown): Promise<readonly string[]> {
  const name = basename(file);
  const line = errorLine('bnsum', error).replaceAll(file, name);
  let hash = '';
  try {
    const sha256 = createHash('sha256');
    for await (const block of createReadStream(file)) sha256.update(block as Uint8Array);
    hash = `sha256 ${sha256.digest('hex')}\n`;
  } catch {
    // What cannot be read has no hash; the line says why.
  }
  return [`${line}\n`, hash];
}

/** bnsum FILE…: each file's summary; a file that cannot be read is named, the others are shown, and the status is 2. */
export async function bnsum(io: Io): Promise<ExitCode> {
  const options = parseBnsum(io.words, columnsOf(io));
  if ('help' in options) {
    await io.write([options.help]);
    return 0;
  }
  if ('audit' in options) return (await import('./audit-command.ts')).auditFiles(io, options);
  const inputs = [...options.files, ...(options.config === undefined ? [] : [options.config])];
  if (options.output !== undefined) refuseReplacing(options.output, inputs);

  const reports: Report[] = [];
  const good: Read[] = [];
  const watch = watchFileOptions(options);
  const keep = (read: Read): void => {
    reports.push(read.report);
    watch.see(read.model);
    if (options.explain && options.files.length === 2) good.push(read);
  };
  let failed = false;
  for (const file of options.files) {
    try {
      // Handed on at once: a model kept in a variable of this function would stay in memory while the report is written.
      await readOne(file, options).then(keep);
    } catch (error) {
      if (options.textconv) {
        await io.write(await refusedAsText(file, error));
        continue;
      }
      // Our own bug ends the run: numbers of other files would hide it.
      if (exitCodeOf(error) === 70) throw error;
      failed = true;
      io.complain(error);
      reports.push({ file, error: errorFacts(error) });
    }
  }
  // What could not be read may be what the option is for.
  if (!failed) watch.require();
  const [first, second] = good;
  const set: ReportSet = {
    reports,
    pair: first !== undefined && second !== undefined ? explainPair(first, second) : null,
  };
  const anything = reports.some((report) => 'summary' in report);
  if (anything || options.view.name === 'json') {
    const render = await options.view.load();
    const pieces = await render(set, viewOptions(options, io));
    if (options.output === undefined) await io.write(pieces);
    else if (anything) writeReport(options.output, pieces);
  }
  return failed ? 2 : 0;
}
