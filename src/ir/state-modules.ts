import { BnsumError } from './error.ts';
import { isObject, type Json, type JsonObject, numberAt, stringAt } from './json.ts';

/** What a container says of one module: its class, its constructor arguments and its state_dict version. */
export interface StateModule {
  readonly type: string;
  readonly attrs: JsonObject;
  readonly version?: number;
}

/** `{"bn": {"type": "BatchNorm2d", "num_features": 32, …}}`, the form of `modules` in pt-json and safetensors. */
export function modulesToJson(modules: ReadonlyMap<string, Pick<StateModule, 'type' | 'attrs'>>): Json {
  return new Map(
    [...modules].map(([path, { type, attrs }]) => [path, new Map<string, Json>([['type', type], ...attrs])]),
  );
}

/** Reads that form; `metadata` is PyTorch's `{"bn": {"version": 2}}`. Throws BnsumError MALFORMED. */
export function modulesFromJson(modules: Json, metadata: Json, file: string): ReadonlyMap<string, StateModule> {
  const read = new Map<string, StateModule>();
  if (!isObject(modules))
    throw new BnsumError({ code: 'MALFORMED', file, place: 'modules', reason: 'is not an object' });
  for (const [path, facts] of modules) {
    const type = stringAt(facts, 'type');
    if (!isObject(facts) || type === undefined) {
      throw new BnsumError({ code: 'MALFORMED', file, place: `modules ${path}`, reason: 'a module needs a type' });
    }
    const attrs = new Map([...facts].filter(([name]) => name !== 'type'));
    const version = isObject(metadata) ? numberAt(metadata.get(path), 'version') : undefined;
    read.set(path, { type, attrs, ...(version === undefined ? {} : { version }) });
  }
  return read;
}

/** Module prefix to version, as PyTorch's `_metadata` has it. Throws BnsumError MALFORMED. */
export function versionsFromJson(metadata: Json, file: string): ReadonlyMap<string, number> {
  if (!isObject(metadata)) {
    throw new BnsumError({ code: 'MALFORMED', file, place: 'metadata', reason: 'is not an object' });
  }
  const versions = new Map<string, number>();
  for (const [path, facts] of metadata) {
    const version = numberAt(facts, 'version');
    if (version !== undefined) versions.set(path, version);
  }
  return versions;
}
