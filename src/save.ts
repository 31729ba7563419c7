import { formatJson } from './bytes/json.ts';
import type { WriteTarget } from './bytes/target.ts';
import type { Plan } from './convert/plan.ts';
import { writePtJson } from './formats/ptjson/write.ts';
import { writeSafetensors } from './formats/safetensors/write.ts';
import { writeTorch } from './formats/torch/write.ts';
import type { Container } from './ir/containers.ts';
import type { Json, JsonObject } from './ir/json.ts';
import type { Model, NormValue } from './ir/model.ts';
import type { StateEntry } from './ir/state.ts';
import { modulesToJson, type StateModule } from './ir/state-modules.ts';

export interface SaveOptions {
  /** Base name of the source file, kept in the output. */
  readonly sourceName: string;
  /** Stem of the output: the root folder of a .pt archive. */
  readonly stem: string;
  /** How pt-json holds numbers. */
  readonly data?: 'base64' | 'text';
}

type Modules = ReadonlyMap<string, Pick<StateModule, 'type' | 'attrs'>>;

function jsonOf(value: NormValue): Json {
  if (Array.isArray(value)) return value.map((item) => jsonOf(item as NormValue));
  if (typeof value === 'object' && value !== null) {
    return new Map(Object.entries(value).map(([name, inner]) => [name, jsonOf(inner as NormValue)]));
  }
  return value as Json;
}

/** Every module's class and constructor arguments, so that eps and momentum survive in a file without code. */
export function modulesOf(plan: Plan): Modules {
  return new Map(
    plan.modules.map((module) => [
      module.path,
      { type: module.type, attrs: new Map(Object.entries(module.args).map(([name, value]) => [name, jsonOf(value)])) },
    ]),
  );
}

function sourceOf(model: Model, plan: Plan, name: string): JsonObject {
  const source = new Map<string, Json>([
    ['framework', model.dialect],
    ['file', name],
  ]);
  if (model.producer.version !== '') source.set('version', model.producer.version);
  if (model.origin.config !== undefined) source.set('model_config', model.origin.config);
  // The config still has these BatchNorms; who goes back to Keras must know that their tensors are gone.
  if (plan.folds.length > 0)
    source.set(
      'folded',
      plan.folds.map((fold) => fold.bn),
    );
  return source;
}

/** Writes the planned state_dict; tensors are streamed in blocks. Throws BnsumError of a source
 * that cannot be read or a target that cannot be written. */
export async function saveState(
  model: Model,
  plan: Plan,
  entries: readonly StateEntry[],
  container: Container,
  target: WriteTarget,
  options: SaveOptions,
): Promise<void> {
  const modules = modulesOf(plan);
  const source = sourceOf(model, plan, options.sourceName);
  const versions = versionsOf(entries);
  switch (container) {
    case 'pt':
      await writeTorch(entries, target, { root: options.stem, versions });
      return;
    case 'safetensors': {
      const metadata = new Map<string, string>([
        ['format', 'pt'],
        ['bnsum.modules', formatJson(modulesToJson(modules))],
        ['bnsum.source', formatJson(source)],
      ]);
      await writeSafetensors(entries, metadata, target);
      return;
    }
    case 'pt-json':
      await writePtJson({ modules, metadata: versions, source, entries }, target, {
        ...(options.data === undefined ? {} : { data: options.data }),
      });
  }
}

/**
 * `_metadata` by the keys that are written: BatchNorm's own version 2, which goes with num_batches_tracked; 1 for every
 * other module and the root.
 */
export function versionsOf(entries: readonly StateEntry[]): ReadonlyMap<string, number> {
  const versions = new Map<string, number>([['', 1]]);
  for (const { name } of entries) {
    const module = name.slice(0, Math.max(0, name.lastIndexOf('.')));
    const version = name.endsWith('num_batches_tracked') ? 2 : 1;
    versions.set(module, Math.max(version, versions.get(module) ?? 1));
  }
  return versions;
}
