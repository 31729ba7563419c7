import { basename, extname, resolve } from 'node:path';
import { account } from '../account/account.ts';
import { explain } from '../account/explain.ts';
import { type FileIdentity, type FileSource, openFileSource } from '../bytes/node/file-source.ts';
import { createFileTarget, type FileOutput } from '../bytes/node/file-target.ts';
import { memoryTarget, type WriteTarget } from '../bytes/target.ts';
import { generateModule } from '../codegen/module.ts';
import { type Plan, planTranslation } from '../convert/plan.ts';
import { settingNotes } from '../convert/settings.ts';
import { translate } from '../convert/translate.ts';
import type { Container } from '../ir/containers.ts';
import { type Diagnostic, note } from '../ir/diagnostic.ts';
import { BnsumError, isBnsumError } from '../ir/error.ts';
import type { Model, Tensor } from '../ir/model.ts';
import type { StateEntry } from '../ir/state.ts';
import { openModel, openSource } from '../open.ts';
import { saveState } from '../save.ts';
import { buildReceipt, hashEntries, hashSource, type Receipt } from '../verify/receipt.ts';
import { type Verification, verifyState } from '../verify/verify.ts';
import { type ConversionReport, renderConversion, renderPlan } from '../views/conversion.ts';
import { escapeText } from '../views/escape.ts';
import { namePlan } from './bnconvert-names.ts';
import { type BnconvertOptions, parseBnconvert } from './bnconvert-options.ts';
import type { ExitCode, Io } from './run.ts';
import { nearest } from './suggest.ts';
import { columnsOf } from './terminal.ts';
import { usage } from './usage.ts';
import { commandWorkers } from './workers.ts';

/** Everything an output needs, gathered before the first byte is written. */
interface Work {
  readonly options: BnconvertOptions;
  readonly model: Model;
  readonly plan: Plan;
  readonly entries: readonly StateEntry[];
  readonly diagnostics: readonly Diagnostic[];
  /** Text of --emit-map. */
  readonly map: string;
}

/** The outputs of one run, all created before the first byte is written and committed together at the end. */
interface Outputs {
  readonly weights: FileOutput | null;
  readonly module: FileOutput | null;
  readonly receipt: FileOutput | null;
  readonly map: FileOutput | null;
}

async function createOutputs(
  options: BnconvertOptions,
  entries: readonly StateEntry[],
  inputs: readonly FileIdentity[],
  made: FileOutput[],
): Promise<Outputs> {
  const paths = [options.output === '-' ? null : options.output, options.module, options.receipt, options.emitMap];
  const seen = new Set<string>();
  for (const path of paths) {
    if (path === null || path === undefined) continue;
    if (seen.has(resolve(path))) throw usage(`'${path}' is named for two outputs`, 'give each a file of its own');
    seen.add(resolve(path));
  }
  const create = async (path: string | null | undefined, expectedBytes: number): Promise<FileOutput | null> => {
    if (path === null || path === undefined) return null;
    const output = await createFileTarget(path, { force: options.force, inputs, expectedBytes });
    made.push(output);
    return output;
  };
  const bytes = entries.reduce((sum, entry) => sum + (entry.shares === null ? entry.tensor.byteLength : 0), 0);
  return {
    weights: await create(paths[0], bytes),
    module: await create(paths[1], 0),
    receipt: await create(paths[2], 0),
    map: await create(paths[3], 0),
  };
}

async function writeText(output: FileOutput, text: string): Promise<void> {
  await output.target.write(new TextEncoder().encode(text));
}

/** Every file that is read, so that none of them is written. */
async function identitiesOf(options: BnconvertOptions, input: FileSource): Promise<readonly FileIdentity[]> {
  const identities = [input.identity];
  for (const path of [options.config, options.keys, options.map]) {
    if (path === undefined) continue;
    const source = await openFileSource(path);
    identities.push(source.identity);
    await source.close();
  }
  return identities;
}

function tensorsOf(model: Model): readonly Tensor[] {
  return model.layers.flatMap((layer) => layer.weights.map((weight) => weight.tensor));
}

/** Writes and re-reads the state_dict; the caller commits, unless the two differ (the error that says where). */
async function writeWeights(
  work: Work,
  output: FileOutput,
  path: string,
  container: Container,
): Promise<Verification | BnsumError | null> {
  const { options, model, plan, entries } = work;
  const stem = basename(path, extname(path)) || 'archive';
  await saveState(model, plan, entries, container, output.target, {
    sourceName: basename(options.input),
    stem,
    data: options.data,
  });
  if (!options.verify) return null;
  const written = await output.reopen();
  try {
    const reread = await openSource(written, basename(path));
    try {
      return await verifyState(plan, entries, tensorsOf(reread.value), path);
    } catch (error) {
      if (isBnsumError(error, 'MISMATCH')) return error;
      throw error;
    } finally {
      await reread.value.close();
    }
  } finally {
    await written.close();
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
    ...(workers === undefined ? {} : { workers }),
  });
  const model = opened.value;
  const input = await openFileSource(options.input);
  const outputs: FileOutput[] = [];
  try {
    refuseUnknown(options, model);
    const own = planTranslation(model, {
      file: options.input,
      skip: new Set(options.skip),
      allowMissing: options.allowMissing,
      foldBn: options.foldBn,
      ...(options.dtype === undefined ? {} : { dtype: options.dtype }),
    });
    const { plan, map } = await namePlan(model, own, options);
    const entries = translate(plan, options.dtype === undefined ? {} : { dtype: options.dtype });
    const casts = options.dtype === undefined ? [] : castNotes(plan, entries);
    const apart = options.module === undefined || options.module === null ? settingNotes(model, plan) : [];
    const diagnostics = [...opened.diagnostics, ...plan.diagnostics, ...apart, ...casts];
    const work: Work = { options, model, plan, entries, diagnostics, map };
    if (options.dryRun) {
      await io.write(renderPlan(plan, entries, diagnostics, options.format));
      return 0;
    }
    const targets = await createOutputs(options, entries, await identitiesOf(options, input), outputs);
    sayLeftovers(io, outputs);
    const report = await writeAll(work, io, input, targets);
    if (isBnsumError(report)) {
      io.complain(report);
      return 1;
    }
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

function refuseUnknown(options: BnconvertOptions, model: Model): void {
  const paths = model.layers.map((layer) => layer.path);
  const unknown = options.skip.find((path) => !paths.includes(path));
  if (unknown === undefined) return;
  const near = nearest(unknown, paths);
  throw new BnsumError({
    code: 'NOT_FOUND',
    file: options.input,
    reason: `no layer '${unknown}' to skip${near === undefined ? '' : ` (did you mean ${near}?)`}`,
    next: 'bnsum shows the paths',
  });
}

/** What an earlier run left that was killed: never reused, for the user to remove. */
function sayLeftovers(io: Io, outputs: readonly FileOutput[]): void {
  for (const path of outputs.flatMap((output) => output.leftovers)) {
    io.say(escapeText(`bnconvert: note: ${path} is left from a run that was ended; it can be removed`));
  }
}

/** Tensors that are written in another type than the file has them in. */
function castNotes(plan: Plan, entries: readonly StateEntry[]): Diagnostic[] {
  const from = new Set<string>();
  let count = 0;
  let to: string | null = null;
  for (const [index, entry] of entries.entries()) {
    const planned = plan.tensors[index];
    const before = planned?.origins[0]?.dtype ?? planned?.dtype;
    if (before === undefined || before === entry.tensor.dtype) continue;
    from.add(before);
    count += 1;
    to = entry.tensor.dtype;
  }
  return to === null ? [] : [note('CAST', {}, { count, to, from: [...from] })];
}

async function writeAll(
  work: Work,
  io: Io,
  input: FileSource,
  outputs: Outputs,
): Promise<ConversionReport | BnsumError> {
  const { options, model, plan, entries } = work;
  let verification: Verification | null = null;
  if (options.output === '-' && options.container !== null) {
    await pipeWeights(work, io, options.container);
  } else if (outputs.weights !== null && options.output !== null && options.container !== null) {
    const checked = await writeWeights(work, outputs.weights, options.output, options.container);
    if (isBnsumError(checked)) return checked;
    verification = checked;
  }
  if (outputs.module !== null) {
    const weights = options.output === null || options.output === '-' ? null : basename(options.output);
    await writeText(outputs.module, generateModule(plan, { weights, source: basename(options.input) }));
  }
  if (outputs.map !== null) await writeText(outputs.map, work.map);
  const before = account(model);
  if (outputs.receipt !== null) {
    const receipt = await receiptOf(work, input, outputs, before, verification);
    await writeText(outputs.receipt, `${JSON.stringify(receipt, null, 2)}\n`);
  }
  return {
    input: options.input,
    output: options.output,
    module: options.module ?? null,
    receipt: options.receipt ?? null,
    map: options.emitMap ?? null,
    tensors: entries.length,
    bytes: entries.reduce((sum, entry) => sum + entry.tensor.byteLength, 0),
    filled: plan.tensors.filter((tensor) => tensor.filled).length,
    dropped: plan.dropped.length,
    folded: plan.folds.length,
    totals: before.totals,
    verification,
    diagnostics: work.diagnostics,
  };
}

/** The record of --receipt; the weights are written, but not yet in place. */
async function receiptOf(
  work: Work,
  input: FileSource,
  outputs: Outputs,
  before: ReturnType<typeof account>,
  verification: Verification | null,
): Promise<Receipt> {
  const { options, model, plan, entries } = work;
  if (outputs.weights === null || options.output === null || options.container === null) {
    throw new BnsumError({ code: 'INTERNAL', reason: 'a receipt without an output' });
  }
  const norms = new Map(model.layers.map((layer) => [layer.path, layer.norm]));
  const written = await outputs.weights.reopen();
  try {
    const reread = await openSource(written, basename(options.output));
    const after = account(reread.value).totals;
    return buildReceipt({
      source: {
        file: basename(options.input),
        format: model.format,
        bytes: input.size,
        sha256: await hashSource(input),
      },
      target: {
        file: basename(options.output),
        format: options.container,
        bytes: written.size,
        sha256: await hashSource(written),
      },
      plan,
      entries,
      hashes: await hashEntries(entries),
      normOf: (layer) => norms.get(layer) ?? {},
      totals: { before: before.totals, after },
      explanation: explain(model, before),
      verified: verification,
    });
  } finally {
    await written.close();
  }
}

/** Bytes of an archive that is put together in memory for a pipe. */
const PIPE_BYTES = 256 * 1024 * 1024;

/**
 * A container to standard output. safetensors and pt-json stream; a .pt archive is patched after its data, which a pipe
 * does not allow, so it goes through memory and may not be large.
 */
async function pipeWeights(work: Work, io: Io, container: Container): Promise<void> {
  const options = { sourceName: basename(work.options.input), stem: 'archive', data: work.options.data };
  if (container !== 'pt') {
    await saveState(work.model, work.plan, work.entries, container, pipeTarget(io), options);
    return;
  }
  const bytes = work.entries.reduce((sum, entry) => sum + entry.tensor.byteLength, 0);
  if (bytes > PIPE_BYTES) {
    throw new BnsumError({
      code: 'UNSUPPORTED',
      file: work.options.input,
      reason: `${bytes} bytes of weights are too many for a .pt archive through a pipe`,
      next: 'name a file as OUT, or pipe --to safetensors',
    });
  }
  const target = memoryTarget();
  await saveState(work.model, work.plan, work.entries, container, target, options);
  await io.writeBytes(target.bytes());
}

function pipeTarget(io: Io): WriteTarget {
  let position = 0;
  const never = (): never => {
    throw new BnsumError({ code: 'INTERNAL', reason: 'a pipe can only be written forwards' });
  };
  return {
    get position() {
      return position;
    },
    async write(bytes) {
      position += bytes.byteLength;
      // The writer reuses its buffer, the pipe may still hold it.
      await io.writeBytes(bytes.slice());
    },
    writeAt: never,
    sibling: never,
  };
}
