import { isObject, type Json, listAt, numberAt, objectAt, stringAt } from '../../ir/json.ts';
import type { ModuleFacts } from '../../layers/recognise.ts';
import { shortType } from './module-tree.ts';

/** Arguments of an operator that are settings of the module, with the default of its schema; undefined: required. */
type Settings = ReadonlyMap<string, Json | undefined>;

const CONVOLUTION: Settings = new Map<string, Json | undefined>([
  ['stride', 1],
  ['padding', 0],
  ['dilation', 1],
  ['groups', 1],
]);

/** Of PyTorch's smaller set of operators, which leaves nothing out. */
const CORE_CONVOLUTION: Settings = new Map<string, Json | undefined>([
  ['stride', undefined],
  ['padding', undefined],
  ['dilation', undefined],
  ['output_padding', undefined],
  ['groups', undefined],
]);

const BATCH_NORM: Settings = new Map<string, Json | undefined>([
  ['momentum', undefined],
  ['eps', undefined],
]);

/** Operators by name; defaults are those of PyTorch's operator schemas, which the writer leaves out. */
const OPERATORS: ReadonlyMap<string, Settings> = new Map<string, Settings>([
  ['batch_norm', BATCH_NORM],
  // What PyTorch before 2.6 exports in place of batch_norm, and what its decompositions leave.
  ['_native_batch_norm_legit', BATCH_NORM],
  ['_native_batch_norm_legit_functional', BATCH_NORM],
  ['_native_batch_norm_legit_no_training', BATCH_NORM],
  ['native_batch_norm', BATCH_NORM],
  [
    'instance_norm',
    new Map([
      ['momentum', undefined],
      ['eps', undefined],
    ]),
  ],
  [
    'layer_norm',
    new Map<string, Json | undefined>([
      ['normalized_shape', undefined],
      ['eps', 1e-5],
    ]),
  ],
  [
    'group_norm',
    new Map<string, Json | undefined>([
      ['num_groups', undefined],
      ['eps', 1e-5],
    ]),
  ],
  [
    'rms_norm',
    new Map<string, Json | undefined>([
      ['normalized_shape', undefined],
      ['eps', null],
    ]),
  ],
  [
    'native_layer_norm',
    new Map<string, Json | undefined>([
      ['normalized_shape', undefined],
      ['eps', undefined],
    ]),
  ],
  ['convolution', CORE_CONVOLUTION],
  ['conv1d', CONVOLUTION],
  ['conv2d', CONVOLUTION],
  ['conv3d', CONVOLUTION],
  ['conv_transpose1d', new Map([...CONVOLUTION, ['output_padding', 0]])],
  ['conv_transpose2d', new Map([...CONVOLUTION, ['output_padding', 0]])],
  ['conv_transpose3d', new Map([...CONVOLUTION, ['output_padding', 0]])],
]);

/** The modules that an exported program passed through: class by path, and settings from its operators' arguments. */
export function readExportModules(program: Json): ReadonlyMap<string, ModuleFacts> {
  const nodes = listAt(objectAt(objectAt(program, 'graph_module'), 'graph'), 'nodes') ?? [];
  const types = new Map<string, string>();
  const attrs = new Map<string, Map<string, Json>>();
  for (const node of nodes) {
    const metadata = objectAt(node, 'metadata');
    const stack = stringAt(metadata, 'nn_module_stack');
    if (stack === undefined) continue;
    let owner: string | undefined;
    // 'key,path,class' per level, outermost first.
    for (const level of stack.split(';')) {
      const [, path, type] = level.split(',');
      if (path === undefined || type === undefined) continue;
      types.set(path, shortType(type));
      owner = path;
    }
    const operator = /^torch\.ops\.aten\.([a-z0-9_]+)\./.exec(stringAt(node, 'target') ?? '')?.[1];
    const settings = OPERATORS.get(operator ?? '');
    if (settings === undefined || owner === undefined || attrs.has(owner)) continue;
    attrs.set(owner, readSettings(node, settings));
  }
  const modules = new Map<string, ModuleFacts>();
  for (const [path, type] of types) modules.set(path, { type, attrs: attrs.get(path) ?? new Map() });
  return modules;
}

function readSettings(node: Json, settings: Settings): Map<string, Json> {
  const given = new Map<string, Json>();
  for (const input of listAt(node, 'inputs') ?? []) {
    const name = stringAt(input, 'name');
    const value = readArgument(objectAt(input, 'arg'));
    if (name !== undefined && value !== undefined) given.set(name, value);
  }
  const read = new Map<string, Json>();
  for (const [name, otherwise] of settings) {
    const value = given.get(name) ?? otherwise;
    if (value !== undefined) read.set(name, value);
  }
  return read;
}

/** A literal argument; undefined for tensors and symbols. */
function readArgument(argument: Json | undefined): Json | undefined {
  if (!isObject(argument)) return undefined;
  for (const key of ['as_int', 'as_float'] as const) {
    const value = numberAt(argument, key);
    if (value !== undefined) return value;
  }
  const text = stringAt(argument, 'as_string');
  if (text !== undefined) return text;
  const list = listAt(argument, 'as_ints') ?? listAt(argument, 'as_floats');
  if (list !== undefined) return list;
  const symbols = listAt(argument, 'as_sym_ints')?.map((item) => numberAt(item, 'as_int'));
  return symbols?.every((item) => item !== undefined) ? (symbols as readonly number[]) : undefined;
}
