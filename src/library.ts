import { createFileTarget } from './bytes/node/file-target.ts';
import { workersBeside } from './bytes/node/worker.ts';
import type { Plan } from './convert/plan.ts';
import { translate } from './convert/translate.ts';
import { CONTAINER_ENDINGS, CONTAINERS, type Container } from './ir/containers.ts';
import type { Outcome } from './ir/diagnostic.ts';
import { BnsumError } from './ir/error.ts';
import type { Model } from './ir/model.ts';
import { type OpenOptions, openModel as open } from './open.ts';
import { saveState as save } from './save.ts';

/**
 * Opens a model file: headers only, output shapes inferred; the caller closes the Model. HDF5 is read on a thread that is
 * ended when a damaged file makes it loop. Throws BnsumError for whatever cannot be read, naming file, place, reason and
 * next step.
 */
export function openModel(path: string, options: OpenOptions = {}): Promise<Outcome<Model>> {
  const workers = options.workers ?? workersBeside(import.meta.url);
  return open(path, workers === undefined ? options : { ...options, workers });
}

/** How a state_dict is written. */
export interface SaveOptions {
  /** Default: by the ending of the path. */
  readonly container?: Container;
  /** How pt-json holds numbers; default base64. */
  readonly data?: 'base64' | 'text';
  /** Replace a file that exists; the source of the plan is never replaced. */
  readonly force?: boolean;
}

/**
 * Writes the planned state_dict of an open Keras model to a file, which appears complete or not at all; values are moved
 * in blocks. Throws BnsumError: USAGE for an ending that names no container, EXISTS without `force`, IO, and what a
 * tensor's source throws.
 */
export async function saveState(model: Model, plan: Plan, path: string, options: SaveOptions = {}): Promise<void> {
  const container = options.container ?? containerOf(path);
  const output = await createFileTarget(path, { force: options.force === true });
  try {
    const { data } = options;
    await save(model, plan, translate(plan), container, output.target, {
      sourceName: model.name,
      stem: stemOf(path),
      ...(data === undefined ? {} : { data }),
    });
    await output.commit();
  } finally {
    // Does nothing once the file is in place.
    await output.discard();
  }
}

function containerOf(path: string): Container {
  const name = path.toLowerCase();
  const found = CONTAINERS.find((one) => CONTAINER_ENDINGS[one].some((ending) => name.endsWith(ending)));
  if (found !== undefined) return found;
  throw new BnsumError({
    code: 'USAGE',
    file: path,
    reason: 'its ending names no container',
    next: `give one of ${Object.values(CONTAINER_ENDINGS).flat().join(', ')}, or the option container`,
  });
}

function stemOf(path: string): string {
  const base = path.split(/[/\\]/).at(-1) ?? path;
  const dot = base.indexOf('.', 1);
  return dot < 0 ? base : base.slice(0, dot);
}
