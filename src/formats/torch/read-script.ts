import { type Diagnostic, note } from '../../ir/diagnostic.ts';
import { BnsumError } from '../../ir/error.ts';
import type { Json } from '../../ir/json.ts';
import { LIMITS } from '../../ir/limits.ts';
import type { Tensor } from '../../ir/model.ts';
import type { ModuleFacts, RawTensor } from '../../layers/recognise.ts';
import { describeObjects, namesByIdentity, type PickledModule } from './module-details.ts';
import { elementsOf, type ModuleTree, readConstant, shortType, stateOf } from './module-tree.ts';
import { classNameOf, isReduced, itemsOf, type PickleValue } from './pickle-value.ts';
import { attributesOf, type RawModel } from './raw-model.ts';
import { readPickle, TORCH, type TorchArchive } from './read-zip.ts';
import { type Definitions, definitionsOf, hashProgram } from './script-program.ts';
import { type ClassText, readClasses } from './script-text.ts';
import { isTensorValue, readTensorValue, type TensorContext } from './tensor-value.ts';

/** Text of all classes together: real models stay below a few megabytes. */
const CODE_BYTES = 64 * 1024 * 1024;

/**
 * A TorchScript archive: objects of `__torch__.…` classes whose state is a dict of attributes in order. Parameters and
 * buffers are told apart by the lists in the class texts; eps and momentum are literals there. The text is searched for
 * literals, nothing of it is run.
 */
export async function readScript(archive: TorchArchive): Promise<RawModel> {
  const { run, context } = await readPickle(archive, 'data.pkl', 'data/', 'objects of TorchScript');
  const code = await readCode(archive);
  const { classes } = code;
  const { tensors, modules, pickled, constants: attributes, diagnostics } = readObjects(run.value, code, context);
  const constants = await readConstants(archive);
  return {
    format: 'torchscript',
    producer: TORCH,
    tensors,
    modules,
    versions: undefined,
    optimizer: [],
    diagnostics: [
      note('CODE_PRESENT', { file: archive.file }, { what: 'TorchScript', count: classes.size }),
      ...diagnostics,
      ...noteConstants(constants, archive.file),
    ],
    extra: new Map(),
    constants: [...constants, ...attributes],
    program: new Map([['code', () => hashProgram(code.definitions, typesOf(run.value))]]),
    details: () =>
      describeObjects(readersOfTraining(pickled, code.definitions), namesByIdentity(tensors), context, scriptType),
  };
}

interface Code {
  readonly classes: ReadonlyMap<string, ClassText>;
  readonly definitions: Definitions;
  /** Whether the classes list their buffers: those of PyTorch before 1.5 list their parameters only. */
  readonly listsBuffers: boolean;
}

const BUFFER_LIST = /^ {2}__buffers__ = \[/m;

async function readCode(archive: TorchArchive): Promise<Code> {
  let listsBuffers = false;
  const definitions = new Map<string, string>();
  const classes = new Map<string, ClassText>();
  const folder = `${archive.root}code/`;
  let left = CODE_BYTES;
  for (const member of archive.zip.members) {
    if (!member.name.startsWith(folder) || !member.name.endsWith('.py')) continue;
    const bytes = await archive.zip.read(member, left);
    left -= bytes.length;
    const module = member.name.slice(folder.length, -3).replaceAll('/', '.');
    const source = new TextDecoder().decode(bytes);
    listsBuffers ||= BUFFER_LIST.test(source);
    for (const [name, text] of readClasses(source)) classes.set(`${module}.${name}`, text);
    for (const [name, text] of definitionsOf(module, source)) definitions.set(name, text);
  }
  return { classes, definitions, listsBuffers };
}

/**
 * The objects, each with whether its code asks if it is being trained. Of a traced model none does: what was traced is
 * fixed. Where some code asks it of another object, every object counts.
 */
function readersOfTraining(
  objects: readonly PickledModule[],
  definitions: Definitions,
): readonly (PickledModule & { readonly readsTraining: boolean })[] {
  const ofOthers = [...definitions.values()].some((text) => /(?<!\bself)\.training\b/.test(text));
  const readers = new Map<string, boolean>();
  const reads = (name: string): boolean => {
    const known = readers.get(name) ?? /\.training\b/.test(definitions.get(name) ?? '');
    readers.set(name, known);
    return known;
  };
  return objects.map((object) => ({ ...object, readsTraining: ofOthers || reads(classNameOf(object.value) ?? '') }));
}

/** Classes of the objects, from the root down. */
function* typesOf(root: PickleValue): Generator<string> {
  const pending = [root];
  const seen = new Set<PickleValue>();
  for (let value = pending.pop(); value !== undefined; value = pending.pop()) {
    const state = stateOf(value);
    if (state === undefined || seen.has(value)) continue;
    seen.add(value);
    yield classNameOf(value) ?? '';
    pending.push(...[...state.entries.values()].filter((entry) => isReduced(entry)).reverse());
  }
}

/**
 * The tensors that the code reads as `CONSTANTS.c0` and so on: of a frozen model, all its weights. They are neither
 * parameters nor buffers to PyTorch, so that its own counts leave them out.
 */
async function readConstants(archive: TorchArchive): Promise<readonly Tensor[]> {
  const member = archive.zip.get(`${archive.root}constants.pkl`);
  if (member === undefined) return [];
  const { run, context } = await readPickle(archive, 'constants.pkl', 'constants/');
  const items = itemsOf(run.value) ?? [];
  return items.flatMap((item, index) => readConstant(item, `CONSTANTS.c${index}`, context));
}

function noteConstants(constants: readonly Tensor[], file: string): readonly Diagnostic[] {
  if (constants.length === 0) return [];
  const elements = elementsOf(constants);
  const first = constants.slice(0, 5).map((tensor) => tensor.name);
  return [note('CODE_CONSTANTS', { file }, { count: constants.length, elements, first })];
}

/** `__torch__.torch.nn.modules.linear.___torch_mangle_0.Linear` is torch.nn's Linear. */
function scriptType(name: string): string {
  return shortType(name.replace(/^__torch__\./, '').replace(/___torch_mangle_\d+\./g, ''));
}

/**
 * The tensors that torch.jit.load's state_dict has: parameters and buffers. A tensor that a class lists as neither is a
 * plain attribute of the module; those are left out and noted.
 */
function readObjects(root: PickleValue, { classes, listsBuffers }: Code, context: TensorContext): ModuleTree {
  const tensors: RawTensor[] = [];
  const unsaved: string[] = [];
  const constants: Tensor[] = [];
  const modules = new Map<string, ModuleFacts>();
  const pickled: PickledModule[] = [];
  const pending: { readonly path: string; readonly depth: number; readonly value: PickleValue }[] = [
    { path: '', depth: 0, value: root },
  ];
  for (let visit = pending.pop(); visit !== undefined; visit = pending.pop()) {
    const { path, depth, value } = visit;
    const state = stateOf(value);
    const name = classNameOf(value) ?? '';
    if (state === undefined) continue;
    if (depth > LIMITS.moduleDepth || modules.size > LIMITS.layers) {
      throw new BnsumError({
        code: 'LIMIT',
        file: context.file,
        place: path.slice(0, 200),
        reason: `modules are nested deeper than ${LIMITS.moduleDepth}, or number more than ${LIMITS.layers}`,
      });
    }
    const text = classes.get(name);
    pickled.push({ path, value });
    modules.set(path, {
      type: scriptType(name),
      attrs: new Map<string, Json>([...attributesOf(state), ...(text?.literals ?? [])]),
    });
    const prefix = path === '' ? '' : `${path}.`;
    const own: RawTensor[] = [];
    const below: { readonly path: string; readonly depth: number; readonly value: PickleValue }[] = [];
    for (const [key, entry] of state.entries) {
      if (typeof key !== 'string') continue;
      if (isTensorValue(entry)) {
        if (listsBuffers && text !== undefined && !text.parameters.has(key) && !text.buffers.has(key)) {
          unsaved.push(prefix + key);
          constants.push(...readConstant(entry, prefix + key, context));
          continue;
        }
        const { tensor, requiresGrad } = readTensorValue(entry, prefix + key, context);
        const isParameter = text?.parameters.has(key)
          ? true
          : text?.buffers.has(key)
            ? false
            : requiresGrad === true
              ? true
              : null;
        own.push({ name: prefix + key, tensor, isParameter, trainable: isParameter === false ? false : requiresGrad });
      } else if (isReduced(entry) && stateOf(entry) !== undefined) {
        below.push({ path: prefix + key, depth: depth + 1, value: entry });
      }
    }
    // A state_dict lists parameters before buffers.
    tensors.push(...own.filter((raw) => raw.isParameter !== false), ...own.filter((raw) => raw.isParameter === false));
    pending.push(...below.reverse());
  }
  const first = unsaved.slice(0, 5);
  const diagnostics =
    unsaved.length === 0
      ? []
      : [note('NOT_SAVED', { file: context.file }, { count: unsaved.length, elements: elementsOf(constants), first })];
  return { tensors, modules, pickled, constants, diagnostics };
}
