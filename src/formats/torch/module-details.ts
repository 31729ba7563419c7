import { isBnsumError } from '../../ir/error.ts';
import type { Json, JsonObject } from '../../ir/json.ts';
import type { Details, Tensor } from '../../ir/model.ts';
import { isModuleValue, isScriptObject, stateOf } from './module-tree.ts';
import { type DictNode, isDict, isReduced, type PickleValue, type Reduced } from './pickle-value.ts';
import { attributeJson } from './raw-model.ts';
import { isTensorValue, readTensorValue, type TensorContext } from './tensor-value.ts';
import { type ValueReader, ValueTexts } from './value-text.ts';

/** A module that a file describes, as it is pickled. */
export interface PickledModule {
  readonly path: string;
  readonly value: PickleValue;
}

/**
 * Names that torch.nn.Module and its subclasses in torch.nn keep for themselves: tables that are read elsewhere, hooks of
 * loading and saving, and what follows from settings. Source: `__init__` and `__setstate__` of torch/nn/modules/
 * {module,rnn,conv,activation}.py of PyTorch 1.0 to 2.13.
 */
const OWN_NAMES: ReadonlySet<string> = new Set([
  ...['training', 'dump_patches', 'call_super_init', '_parameters', '_buffers', '_modules', '_backend'],
  ...['_non_persistent_buffers_set', '_is_full_backward_hook', '_version', '_compiled_call_impl'],
  ...['_state_dict_hooks', '_state_dict_pre_hooks', '_load_state_dict_pre_hooks', '_load_state_dict_post_hooks'],
  ...['_forward_hooks_with_kwargs', '_forward_hooks_always_called', '_forward_pre_hooks_with_kwargs'],
  ...['_flat_weights', '_flat_weights_names', '_flat_weight_refs', '_all_weights', '_data_ptrs', '_param_buf_size'],
  ...['_reversed_padding_repeated_twice', '_padding_repeated_twice', '_qkv_same_embed_dim'],
]);

/** Tables of functions that PyTorch calls around a module, by what its documentation calls them. */
const HOOKS: ReadonlyMap<string, string> = new Map([
  ['_forward_pre_hooks', 'forward pre-hooks'],
  ['_forward_hooks', 'forward hooks'],
  ['_backward_pre_hooks', 'backward pre-hooks'],
  ['_backward_hooks', 'backward hooks'],
]);

const HOOK_WORDS: ReadonlySet<string> = new Set(HOOKS.values());

/** Collects the tensors that are met among attributes, under the path of where they lie. */
export class TensorCollector {
  readonly found: Tensor[] = [];
  readonly #context: TensorContext;
  readonly #state: ReadonlyMap<string, string>;

  /** `state`: names of the tensors that the state has, by identity. */
  constructor(context: TensorContext, state: ReadonlyMap<string, string>) {
    this.#context = context;
    this.#state = state;
  }

  /** 'tensor', or the name of the state's tensor that it is; null: it cannot be read. */
  take(value: Reduced, path: string): string | null {
    try {
      const { tensor } = readTensorValue(value, path, this.#context);
      const known = this.#state.get(tensor.identity);
      if (known !== undefined) return `tensor ${known}`;
      this.found.push(tensor);
      return 'tensor';
    } catch (error) {
      if (isBnsumError(error)) return null;
      throw error;
    }
  }
}

/** Names of tensors by identity. */
export function namesByIdentity(
  tensors: readonly { readonly name: string; readonly tensor: Tensor }[],
): ReadonlyMap<string, string> {
  return new Map(tensors.map(({ name, tensor }) => [tensor.identity, name]));
}

/** What a module keeps that is no table of PyTorch, its hooks as lists: their keys count in one process. */
function heldBy(value: Reduced): readonly (readonly [string, PickleValue])[] | undefined {
  const state = isModuleValue(value) ? stateOf(value) : undefined;
  if (state === undefined) return undefined;
  const held: (readonly [string, PickleValue])[] = [];
  for (const [key, inner] of state.entries) {
    if (typeof key !== 'string') continue;
    const hooks = HOOKS.get(key);
    if (hooks !== undefined) {
      if (isDict(inner) && inner.entries.size > 0) held.push([hooks, { kind: 'list', items: hooksOf(inner, state) }]);
    } else if (key === '_parameters' || key === '_buffers' || key === '_modules' || !OWN_NAMES.has(key)) {
      held.push([key, inner]);
    }
  }
  return held;
}

/** Hooks in their order, each with how it is called. */
function hooksOf(table: DictNode, state: DictNode): PickleValue[] {
  const marked = (name: string, id: PickleValue): boolean => {
    const marks = state.entries.get(name);
    return isDict(marks) && marks.entries.has(id);
  };
  return [...table.entries].map(([id, hook]): PickleValue => {
    const how = [
      ...(marked('_forward_hooks_with_kwargs', id) || marked('_forward_pre_hooks_with_kwargs', id)
        ? ['with kwargs']
        : []),
      ...(marked('_forward_hooks_always_called', id) ? ['always called'] : []),
    ];
    return how.length === 0 ? hook : { kind: 'tuple', items: [hook, ...how] };
  });
}

/** A reader of values inside the modules of one file. */
function readerOf(
  modules: readonly PickledModule[],
  collector: Pick<TensorCollector, 'take'>,
  name: (path: string) => string,
): ValueReader {
  const paths = new Map(modules.map(({ path, value }) => [value, path]));
  return {
    tensor: (value, path) => collector.take(value, path),
    known: (value) => {
      const path = paths.get(value);
      return path === undefined ? undefined : `module ${path === '' ? '(root)' : path}`;
    },
    held: heldBy,
    name,
  };
}

/** Whether a module's attributes as JSON have it already; hooks are never among them. */
function isPlain(key: string, value: PickleValue): boolean {
  return !key.startsWith('_') && !HOOK_WORDS.has(key) && attributeJson(value) !== undefined;
}

/**
 * What the modules of a whole pickled model keep besides plain settings: hooks, private attributes, functions, objects,
 * arrays, and the tensors among them that are no part of the state.
 */
export function describeModules(
  modules: readonly PickledModule[],
  state: ReadonlyMap<string, string>,
  context: TensorContext,
): Details {
  const collector = new TensorCollector(context, state);
  const texts = new ValueTexts(readerOf(modules, collector, (path) => path));
  // The weights of a packed object are read with the state.
  const packed = new ValueTexts(readerOf(modules, { take: () => 'tensor' }, (path) => path));
  const facts = new Map<string, JsonObject>();
  for (const { path, value } of modules) {
    const prefix = path === '' ? '' : `${path}.`;
    const told = new Map<string, Json>();
    const held = isReduced(value) ? heldBy(value) : undefined;
    if (held === undefined) told.set('packed', packed.text(value, path));
    for (const [key, inner] of held ?? []) {
      if (key === '_parameters' || key === '_buffers' || key === '_modules') continue;
      if (isTensorValue(inner) || isPlain(key, inner)) continue;
      told.set(key, (isScriptObject(inner) ? packed : texts).text(inner, prefix + key));
    }
    if (told.size > 0) facts.set(path, told);
  }
  return { facts, constants: collector.found };
}

/** Attributes of TorchScript's objects beyond plain settings; `training` where the code of a class reads it. */
export function describeObjects(
  objects: readonly (PickledModule & { readonly readsTraining: boolean })[],
  state: ReadonlyMap<string, string>,
  context: TensorContext,
  name: (path: string) => string,
): Details {
  const collector = new TensorCollector(context, state);
  const texts = new ValueTexts(readerOf(objects, collector, name));
  const rows = new Set(objects.map(({ value }) => value));
  const facts = new Map<string, JsonObject>();
  for (const { path, value, readsTraining } of objects) {
    const prefix = path === '' ? '' : `${path}.`;
    const told = new Map<string, Json>();
    for (const [key, inner] of stateOf(value)?.entries ?? []) {
      if (typeof key !== 'string') continue;
      if (key === 'training' && readsTraining && typeof inner === 'boolean') told.set(key, inner);
      if (OWN_NAMES.has(key) || isTensorValue(inner) || rows.has(inner) || isPlain(key, inner)) continue;
      told.set(key, texts.text(inner, prefix + key));
    }
    if (told.size > 0) facts.set(path, told);
  }
  return { facts, constants: collector.found };
}

/** Entries of a state_dict that are no tensors (`_extra_state`, settings), as facts of the whole; tensors in them apart. */
export function describeEntries(
  entries: readonly (readonly [string, PickleValue])[],
  state: ReadonlyMap<string, string>,
  context: TensorContext,
): Details {
  const collector = new TensorCollector(context, state);
  const texts = new ValueTexts(readerOf([], collector, (path) => path));
  const told = new Map<string, Json>(entries.map(([key, value]) => [key, texts.text(value, key)]));
  return { facts: told.size === 0 ? new Map() : new Map([['', told]]), constants: collector.found };
}

/** What lies beside a model in its file, as text; tensors by their type and shape. null: it cannot be read. */
export function describeBeside(
  entries: readonly (readonly [string, PickleValue])[],
  context: TensorContext,
): ReadonlyMap<string, { readonly text: string | null; readonly tensors: boolean }> {
  let tensors = 0;
  const take = (value: Reduced, path: string): string | null => {
    tensors += 1;
    try {
      const { tensor } = readTensorValue(value, path, context);
      return `${tensor.dtype}[${tensor.shape.join(', ')}]`;
    } catch (error) {
      if (isBnsumError(error)) return null;
      throw error;
    }
  };
  return new Map(
    entries.map(([key, value]) => {
      // Each entry by itself: what it shares with another one is counted in both.
      const texts = new ValueTexts(readerOf([], { take }, (path) => path));
      tensors = 0;
      const text = texts.text(value, key);
      return [key, { text, tensors: tensors > 0 }];
    }),
  );
}
