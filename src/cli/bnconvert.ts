import { basename, extname } from 'node:path';
import { account } from '../account/account.ts';
import { explain } from '../account/explain.ts';
import { type FileSource, openFileSource } from '../bytes/node/file-source.ts';
import { createFileTarget, type FileOutput } from '../bytes/node/file-target.ts';
import { memoryTarget, type WriteTarget } from '../bytes/target.ts';
import { generateModule } from '../codegen/module.ts';
import { type Plan, planTranslation } from '../convert/plan.ts';
import { translate } from '../convert/translate.ts';
import { type Diagnostic, note } from '../ir/diagnostic.ts';
import { BnsumError } from '../ir/error.ts';
import type { Model, Tensor } from '../ir/model.ts';
import type { StateEntry } from '../ir/state.ts';
import { openModel, openSource } from '../open.ts';
import { type Container, saveState } from '../save.ts';
import { buildReceipt, hashEntries, hashSource } from '../verify/receipt.ts';
import { type Verification, verifyState } from '../verify/verify.ts';
import { type ConversionReport, renderConversion, renderPlan } from '../views/conversion.ts';
import { type BnconvertOptions, parseBnconvert } from './bnconvert-options.ts';
import type { ExitCode, Io } from './run.ts';
import { columnsOf } from './terminal.ts';
import { commandWorkers } from './workers.ts';

/** Everything an output needs, gathered before the first byte is written. */
interface Work {
  readonly options: BnconvertOptions;
  readonly model: Model;
  readonly plan: Plan;
  readonly entries: readonly StateEntry[];
  readonly diagnostics: readonly Diagnostic[];
}

async function writeText(
  path: string,
  text: string,
  options: BnconvertOptions,
  input: FileSource,
): Promise<FileOutput> {
  const output = await createFileTarget(path, { force: options.force, inputs: [input.identity] });
  await output.target.write(new TextEncoder().encode(text));
  return output;
}

function tensorsOf(model: Model): readonly Tensor[] {
  return model.layers.flatMap((layer) => layer.weights.map((weight) => weight.tensor));
}

/** Writes and re-reads the state_dict; the caller commits. */
async function writeWeights(
  work: Work,
  path: string,
  container: Container,
  input: FileSource,
): Promise<{ output: FileOutput; verification: Verification | null }> {
  const { options, model, plan, entries } = work;
  const expectedBytes = entries.reduce((sum, entry) => sum + entry.tensor.byteLength, 0);
  const output = await createFileTarget(path, { force: options.force, inputs: [input.identity], expectedBytes });
  try {
    const stem = basename(path, extname(path)) || 'archive';
    await saveState(model, plan, entries, container, output.target, {
      sourceName: basename(options.input),
      stem,
      data: options.data,
    });
    if (!options.verify) return { output, verification: null };
    const written = await output.reopen();
    try {
      const reread = await openSource(written, basename(path));
      const verification = await verifyState(plan, entries, tensorsOf(reread.value), path);
      await reread.value.close();
      return { output, verification };
    } finally {
      await written.close();
    }
  } catch (error) {
    await output.discard();
    throw error;
  }
}

/** bnconvert IN OUT: plan, write, re-read, commit; nothing is visible before all of it is there. */
export async function bnconvert(io: Io): Promise<ExitCode> {
  const options = parseBnconvert(io.words, columnsOf(io));
  if ('help' in options) {
    await io.write([options.help]);
    return 0;
  }
  const workers = commandWorkers();
  const opened = await openModel(options.input, {
    ...(options.config === undefined ? {} : { config: options.config }),
    ...(options.pick === undefined ? {} : { pick: options.pick }),
    ...(workers === undefined ? {} : { workers }),
  });
  const model = opened.value;
  const input = await openFileSource(options.input);
  const outputs: FileOutput[] = [];
  try {
    const unknown = options.skip.find((path) => !model.layers.some((layer) => layer.path === path));
    if (unknown !== undefined) {
      throw new BnsumError({
        code: 'NOT_FOUND',
        file: options.input,
        reason: `no layer ${unknown} to skip`,
        next: 'bnsum shows the paths',
      });
    }
    const plan = planTranslation(model, {
      file: options.input,
      skip: new Set(options.skip),
      allowMissing: options.allowMissing,
      foldBn: options.foldBn,
      ...(options.dtype === undefined ? {} : { dtype: options.dtype }),
    });
    const entries = translate(plan, options.dtype === undefined ? {} : { dtype: options.dtype });
    const casts = options.dtype === undefined ? [] : castNotes(plan, entries);
    const diagnostics = [...opened.diagnostics, ...plan.diagnostics, ...casts];
    const work: Work = { options, model, plan, entries, diagnostics };
    if (options.dryRun) {
      await io.write(renderPlan(plan, entries, diagnostics, options.format));
      return 0;
    }
    const report = await writeAll(work, io, input, outputs);
    if (await input.changed()) {
      throw new BnsumError({
        code: 'IO',
        file: options.input,
        reason: 'changed while it was read',
        next: 'run the conversion again',
      });
    }
    for (const output of outputs) await output.commit();
    outputs.length = 0;
    if (!options.quiet && options.output !== '-') await io.write(renderConversion(report, options.format));
    return 0;
  } finally {
    for (const output of outputs) await output.discard();
    await input.close();
    await model.close();
  }
}

function castNotes(plan: Plan, entries: readonly StateEntry[]): Diagnostic[] {
  const cast = entries.filter((entry, index) => entry.tensor.dtype !== plan.tensors[index]?.dtype);
  const first = cast[0];
  if (first === undefined) return [];
  const from = [...new Set(plan.tensors.map((tensor) => tensor.dtype))].filter((dtype) => dtype !== first.tensor.dtype);
  return [note('CAST', {}, { count: cast.length, to: first.tensor.dtype, from })];
}

async function writeAll(work: Work, io: Io, input: FileSource, outputs: FileOutput[]): Promise<ConversionReport> {
  const { options, model, plan, entries } = work;
  let verification: Verification | null = null;
  let target: { file: string; format: string; bytes: number; sha256: string } | null = null;
  if (options.output === '-' && options.container !== null) {
    await pipeWeights(work, io, options.container);
  } else if (options.output !== null && options.container !== null) {
    const written = await writeWeights(work, options.output, options.container, input);
    outputs.push(written.output);
    verification = written.verification;
    if (options.receipt !== undefined) {
      const source = await written.output.reopen();
      target = {
        file: basename(options.output),
        format: options.container,
        bytes: source.size,
        sha256: await hashSource(source),
      };
      await source.close();
    }
  }
  if (options.module !== undefined) {
    const weights = options.output === null || options.output === '-' ? null : basename(options.output);
    const text = generateModule(plan, { weights, source: basename(options.input) });
    outputs.push(await writeText(options.module, text, options, input));
  }
  const before = account(model);
  if (options.receipt !== undefined && target !== null && options.output !== null) {
    const norms = new Map(model.layers.map((layer) => [layer.path, layer.norm]));
    const reopened = await outputs[0]?.reopen();
    if (reopened === undefined) throw new BnsumError({ code: 'INTERNAL', reason: 'a receipt without an output' });
    const reread = await openSource(reopened, basename(options.output));
    const receipt = buildReceipt({
      source: {
        file: basename(options.input),
        format: model.format,
        bytes: input.size,
        sha256: await hashSource(input),
      },
      target,
      plan,
      entries,
      hashes: await hashEntries(entries),
      normOf: (layer) => norms.get(layer) ?? {},
      totals: { before: before.totals, after: account(reread.value).totals },
      explanation: explain(model, before),
      verified: verification,
    });
    await reread.value.close();
    await reopened.close();
    outputs.push(await writeText(options.receipt, `${JSON.stringify(receipt, null, 2)}\n`, options, input));
  }
  return {
    input: options.input,
    output: options.output,
    module: options.module ?? null,
    receipt: options.receipt ?? null,
    tensors: entries.length,
    bytes: entries.reduce((sum, entry) => sum + entry.tensor.byteLength, 0),
    filled: plan.tensors.filter((tensor) => tensor.filled).length,
    dropped: plan.dropped.length,
    totals: before.totals,
    verification,
    diagnostics: work.diagnostics,
  };
}

/** A container to standard output: written whole in memory-free order where it can be, else through memory. */
async function pipeWeights(work: Work, io: Io, container: Container): Promise<void> {
  const target = memoryTarget();
  await saveState(work.model, work.plan, work.entries, container, target as WriteTarget, {
    sourceName: basename(work.options.input),
    stem: 'archive',
    data: work.options.data,
  });
  await io.writeBytes(target.bytes());
}
