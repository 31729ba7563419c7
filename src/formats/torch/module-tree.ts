import { type Diagnostic, note } from '../../ir/diagnostic.ts';
import { BnsumError, isBnsumError } from '../../ir/error.ts';
import { EMPTY_OBJECT } from '../../ir/json.ts';
import { LIMITS } from '../../ir/limits.ts';
import type { Tensor } from '../../ir/model.ts';
import type { ModuleFacts, RawTensor } from '../../layers/recognise.ts';
import {
  classNameOf,
  type DictNode,
  isDict,
  isGlobal,
  isReduced,
  itemsOf,
  type PickleValue,
  type Reduced,
} from './pickle-value.ts';
import { attributesOf } from './raw-model.ts';
import { isTensorValue, isUninitialised, readTensorValue, type TensorContext } from './tensor-value.ts';

/** Makes a GraphModule of torch.fx out of its attributes, the first argument, and of source code among them. */
const GRAPH_MODULE = 'torch.fx.graph_module.reduce_graph_module';

/** What torch.compile wraps a module in, its first argument; PyTorch's keys begin with `_orig_mod.`. */
const COMPILED = 'torch._dynamo.eval_frame.OptimizedModule';

/** The attributes of a pickled object: BUILD's dict, or its first part where slots come along. */
export function stateOf(value: PickleValue | undefined): DictNode | undefined {
  if (!isReduced(value)) return undefined;
  if (isDict(value.state)) return value.state;
  if (isDict(value.args[0]) && classNameOf(value) === GRAPH_MODULE) return value.args[0];
  const first = itemsOf(value.state)?.[0];
  return isDict(first) ? first : undefined;
}

/** Whether a value is a pickled nn.Module: an object with the three tables that every module has. */
export function isModuleValue(value: PickleValue | undefined): boolean {
  const compiled = compiledModule(value);
  const state = stateOf(compiled ?? value);
  return state !== undefined && isDict(state.entries.get('_modules')) && isDict(state.entries.get('_parameters'));
}

/** The module that torch.compile wrapped. */
function compiledModule(value: PickleValue | undefined): PickleValue | undefined {
  return isReduced(value) && classNameOf(value) === COMPILED ? value.args[0] : undefined;
}

/** The class of a pickled object as the file spells it: 'BatchNorm2d' for torch.nn's own, else 'package.Class'. */
export function typeOfObject(value: PickleValue): string {
  let name = classNameOf(value) ?? '';
  if (isReduced(value) && name === 'copyreg._reconstructor' && isGlobal(value.args[0])) {
    name = classNameOf(value.args[0]) ?? '';
  }
  return name === GRAPH_MODULE ? 'torch.fx.GraphModule' : shortType(name);
}

/** 'torch.nn.modules.batchnorm.BatchNorm2d' is 'BatchNorm2d'; classes from elsewhere keep their package. */
export function shortType(name: string): string {
  const match = /^torch\.nn\.modules\.[a-z_0-9]+\.([A-Za-z_0-9]+)$/.exec(name);
  return match?.[1] ?? name;
}

export interface ModuleTree {
  readonly tensors: readonly RawTensor[];
  readonly modules: ReadonlyMap<string, ModuleFacts>;
  /** The modules as they are pickled, in the same order. */
  readonly pickled: readonly { readonly path: string; readonly value: PickleValue }[];
  /** Tensors that are no part of the state. */
  readonly constants: readonly Tensor[];
  readonly diagnostics: readonly Diagnostic[];
}

interface Visit {
  readonly path: string;
  readonly depth: number;
  readonly value: PickleValue;
}

/**
 * The tree of a whole pickled module in state_dict order: a module's parameters, its buffers, then its children.
 * Buffers that the module itself keeps out of its state_dict are left out and noted.
 */
export function readModuleTree(root: PickleValue, context: TensorContext): ModuleTree {
  const tensors: RawTensor[] = [];
  const modules = new Map<string, ModuleFacts>();
  const pickled: { readonly path: string; readonly value: PickleValue }[] = [];
  const diagnostics: Diagnostic[] = [];
  const unsaved: string[] = [];
  const constants: Tensor[] = [];
  const lazy: string[] = [];
  const packed: string[] = [];
  const compiled = compiledModule(root);
  if (compiled !== undefined) modules.set('', { type: COMPILED, attrs: EMPTY_OBJECT });
  const pending: Visit[] = [
    compiled === undefined ? { path: '', depth: 0, value: root } : { path: '_orig_mod', depth: 1, value: compiled },
  ];
  const addPacked = (name: string, value: PickleValue): void => {
    for (const [path, tensor] of packedTensors(name, value)) {
      packed.push(path);
      tensors.push({
        name: path,
        tensor: readTensorValue(tensor, path, context).tensor,
        isParameter: false,
        trainable: false,
      });
    }
  };
  for (let visit = pending.pop(); visit !== undefined; visit = pending.pop()) {
    const { path, depth, value } = visit;
    const state = stateOf(value);
    if (state === undefined) {
      // A quantised convolution keeps a tuple of settings, weight and bias.
      if (isReduced(value)) {
        modules.set(path, { type: typeOfObject(value), attrs: EMPTY_OBJECT });
        pickled.push({ path, value });
        addPacked(path, value);
      }
      continue;
    }
    if (depth > LIMITS.moduleDepth || modules.size > LIMITS.layers) {
      throw new BnsumError({
        code: 'LIMIT',
        file: context.file,
        place: path.slice(0, 200),
        reason: `modules are nested deeper than ${LIMITS.moduleDepth}, or number more than ${LIMITS.layers}`,
      });
    }
    modules.set(path, { type: typeOfObject(value), attrs: attributesOf(state) });
    pickled.push({ path, value });
    const prefix = path === '' ? '' : `${path}.`;
    const parameters = state.entries.get('_parameters');
    const buffers = state.entries.get('_buffers');
    const left = new Set(itemsOfSet(state.entries.get('_non_persistent_buffers_set')));
    for (const [table, isParameter] of [
      [parameters, true],
      [buffers, false],
    ] as const) {
      if (!isDict(table)) continue;
      for (const [key, entry] of table.entries) {
        if (typeof key !== 'string' || entry === null) continue;
        const name = prefix + key;
        if (!isParameter && left.has(key)) {
          unsaved.push(name);
          constants.push(...readConstant(entry, name, context));
          continue;
        }
        if (isUninitialised(entry)) {
          lazy.push(name);
          continue;
        }
        if (!isTensorValue(entry)) {
          throw new BnsumError({
            code: 'MALFORMED',
            file: context.file,
            place: name,
            reason: 'a parameter or buffer that is no tensor',
          });
        }
        const { tensor, requiresGrad } = readTensorValue(entry, name, context);
        tensors.push({ name, tensor, isParameter, trainable: isParameter ? requiresGrad : false });
      }
    }
    for (const [key, entry] of state.entries) {
      if (typeof key !== 'string' || !isReduced(entry)) continue;
      if (isTensorValue(entry)) {
        unsaved.push(prefix + key);
        constants.push(...readConstant(entry, prefix + key, context));
      } else if (isScriptObject(entry)) addPacked(prefix + key, entry);
    }
    const children = state.entries.get('_modules');
    if (!isDict(children)) continue;
    const below: Visit[] = [];
    for (const [key, child] of children.entries) {
      if (typeof key === 'string' && child !== null) below.push({ path: prefix + key, depth: depth + 1, value: child });
    }
    for (const child of below.reverse()) pending.push(child);
  }
  if (unsaved.length > 0) {
    const elements = elementsOf(constants);
    const first = unsaved.slice(0, 5);
    diagnostics.push(note('NOT_SAVED', { file: context.file }, { count: unsaved.length, elements, first }));
  }
  if (packed.length > 0) diagnostics.push(notePacked(packed, context.file));
  if (lazy.length > 0) {
    diagnostics.push(
      note(
        'WEIGHT_MISSING',
        { file: context.file },
        { count: lazy.length, first: lazy.slice(0, 5), why: 'uninitialised' },
      ),
    );
  }
  return { tensors, modules, pickled, constants, diagnostics };
}

/** Elements of tensors together. */
export function elementsOf(tensors: readonly Tensor[]): number {
  return tensors.reduce((sum, { shape }) => sum + shape.reduce((product, size) => product * size, 1), 0);
}

/** Objects of PyTorch's C++ classes: packed weights of quantised modules. */
export function isScriptObject(value: PickleValue | undefined): value is Reduced {
  return isReduced(value) && /^torch(?:\._C)?\.ScriptObject$/.test(classNameOf(value) ?? '');
}

/** Values that are looked at in one packed object. */
const PACKED_VALUES = 10_000;

/** The tensors inside of a packed value, named by their number. */
export function packedTensors(name: string, value: PickleValue): readonly (readonly [string, Reduced])[] {
  const found: (readonly [string, Reduced])[] = [];
  const pending: PickleValue[] = [value];
  for (let visits = 0; pending.length > 0 && visits < PACKED_VALUES; visits += 1) {
    const next = pending.pop();
    if (isTensorValue(next)) found.push([`${name}.${found.length}`, next]);
    else if (isReduced(next)) pending.push(...(next.state === undefined ? [] : [next.state]), ...next.args);
    else pending.push(...(itemsOf(next) ?? []).toReversed());
  }
  return found;
}

/** Packed weights are counted, unlike by PyTorch, which sees neither parameters nor buffers in them. */
export function notePacked(names: readonly string[], file: string): Diagnostic {
  return note('PACKED', { file }, { count: names.length, first: names.slice(0, 5) });
}

/** A tensor beside the state, for comparing. One that is not read here is named by NOT_SAVED and nothing else. */
export function readConstant(value: PickleValue, name: string, context: TensorContext): readonly Tensor[] {
  if (!isTensorValue(value)) return [];
  try {
    return [readTensorValue(value, name, context).tensor];
  } catch (error) {
    if (isBnsumError(error) && error.code === 'UNSUPPORTED') return [];
    throw error;
  }
}

function itemsOfSet(value: PickleValue | undefined): readonly PickleValue[] {
  return typeof value === 'object' && value !== null && 'kind' in value && value.kind === 'set' ? value.items : [];
}
