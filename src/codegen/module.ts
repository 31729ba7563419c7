import { literal } from '../convert/lower/context.ts';
import type { Attribute, LoweredClass, Port } from '../convert/lower/lowered.ts';
import type { Plan } from '../convert/plan.ts';
import { BnsumError } from '../ir/error.ts';
import type { NormAttrs, Shape } from '../ir/model.ts';
import { activationModule } from '../layers/activation-function.ts';
import type { TwinModule } from '../layers/family.ts';
import { isInLibrary, libraryEntries } from './library.ts';
import { assignment, comment, definition, returning, wrap } from './python.ts';

/** What a generated module names in its text. */
export interface ModuleOptions {
  /** Base name of the weights file that load() reads by default; null: load() takes a path. */
  readonly weights: string | null;
  /** Base name of the Keras file, for the header. */
  readonly source: string;
}

/**
 * Python source of a PyTorch module that computes what the Keras model computes. One file, no dependency but torch,
 * constructor without arguments, weights by `load()`. Throws BnsumError INTERNAL for a plan without a class, or one that
 * names a class or an argument which is not known here; no plan of `planTranslation` does.
 */
export function generateModule(plan: Plan, options: ModuleOptions): string {
  const { lowered } = plan;
  const used = new Set(lowered.helpers);
  let needsOrdered = false;
  const bodies: string[] = [];
  for (const made of lowered.classes) {
    const body = classText(made, made === lowered.classes.at(-1) ? frozenText(plan) : []);
    for (const attribute of made.attributes) {
      const modules = attribute.twin?.modules ?? [];
      for (const module of modules) for (const name of customNames(module)) used.add(name);
      if (attribute.build === undefined && modules.length > 0 && !modules.some((module) => module.name === ''))
        needsOrdered = true;
    }
    bodies.push(body);
  }
  for (const name of used) {
    if (!isInLibrary(name))
      throw new BnsumError({ code: 'INTERNAL', reason: `the generated module needs ${name}, which is not defined` });
  }
  const library = libraryEntries(used).map((entry) => entry.text.trimEnd());
  const root = lowered.classes.at(-1);
  if (root === undefined) throw new BnsumError({ code: 'INTERNAL', reason: 'a model without a class' });
  const all = [...library, ...bodies, loadText(root.name, options)].join('\n\n\n');
  const imports = [
    ...(/\bmath\./.test(all) ? ['import math'] : []),
    ...(needsOrdered ? ['from collections import OrderedDict'] : []),
  ];
  const third = [
    'import torch',
    ...(/\bF\./.test(all) ? ['import torch.nn.functional as F'] : []),
    'from torch import nn',
  ];
  const header = headerText(root, options);
  return `${[header, ...(imports.length > 0 ? [imports.join('\n')] : []), third.join('\n')].join('\n\n')}\n\n\n${all}\n`;
}

/** Classes of our own that a module needs, its activations included. */
function customNames(module: TwinModule): readonly string[] {
  const own = module.custom === true ? [module.type] : [];
  const arguments_ = Object.values(module.args).flatMap((value) => {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) return [];
    const inner = activationModule(value as NormAttrs);
    return inner?.custom === true ? [inner.type] : [];
  });
  return [...own, ...arguments_];
}

function headerText(root: LoweredClass, options: ModuleOptions): string {
  const lines = [
    `"""PyTorch module of ${safe(options.source)}.`,
    '',
    ...root.inputs.map((port) => `Input ${port.name}: ${shapeWords(port)}.`),
    ...root.outputs.map((port, index) => `Output${root.outputs.length > 1 ? ` ${index}` : ''}: ${shapeWords(port)}.`),
    '"""',
  ];
  return lines.flatMap((line) => (line === '' ? [''] : wrap(line, 88))).join('\n');
}

/** A file name inside a docstring: nothing that could end it. */
function safe(text: string): string {
  return text
    .replace(/[^\x20-\x7e]/g, '?')
    .replaceAll('\\', '/')
    .replaceAll('"', "'");
}

function shapeWords(port: Port): string {
  const torch = port.axes.map((axis) => dimWord(port.shape, axis));
  const keras = port.shape.map((_, axis) => dimWord(port.shape, axis));
  const same = port.axes.every((axis, at) => axis === at);
  return same ? `(${torch.join(', ')})` : `(${torch.join(', ')}), which Keras has as (${keras.join(', ')})`;
}

function dimWord(shape: Shape, axis: number): string {
  const size = shape[axis];
  return axis === 0 ? 'N' : typeof size === 'number' ? String(size) : '*';
}

/** Parameters that Keras does not train: whole modules where every one of theirs is frozen, else one by one. */
function frozenText(plan: Plan): string[] {
  const parameters = plan.tensors.filter((tensor) => tensor.isParameter);
  const modules = new Map<string, boolean>();
  const owner = (name: string): string => name.slice(0, name.lastIndexOf('.'));
  for (const { name, requiresGrad } of parameters) {
    modules.set(owner(name), (modules.get(owner(name)) ?? true) && !requiresGrad);
  }
  const whole = [...modules].flatMap(([path, frozen]) => (frozen ? [path] : []));
  const single = parameters.filter(({ name, requiresGrad }) => !requiresGrad && modules.get(owner(name)) === false);
  const loop = (names: readonly string[], getter: string): string[] => {
    if (names.length === 0) return [];
    const flat = `        for name in ${literal(names)}:`;
    const head =
      flat.length <= 88
        ? [flat]
        : ['        for name in (', ...names.map((name) => `            ${literal(name)},`), '        ):'];
    return [...head, `            self.${getter}(name).requires_grad_(False)`];
  };
  const lines = [
    ...loop(whole, 'get_submodule'),
    ...loop(
      single.map(({ name }) => name),
      'get_parameter',
    ),
  ];
  return lines.length === 0 ? [] : ['        # Not trained in Keras, or filled in.', ...lines];
}

function classText(made: LoweredClass, frozen: readonly string[]): string {
  const lines: string[] = [`class ${made.name}(nn.Module):`];
  const attributes = made.attributes.flatMap((attribute) => attributeText(attribute));
  if (attributes.length > 0) {
    lines.push('    def __init__(self):', '        super().__init__()', ...attributes, ...frozen, '');
  }
  lines.push(...definition('forward', ['self', ...made.inputs.map((port) => port.name)], 4));
  for (const statement of made.statements) {
    if (statement.comment !== undefined) lines.push(...comment(statement.comment, 8));
    lines.push(...assignment(statement.shown ?? statement.targets.join(', '), statement.expr, 8));
  }
  // `x = f(x)` followed by `return x` is `return f(x)`.
  const last = made.statements.at(-1);
  const only = made.returns.length === 1 ? made.returns[0] : undefined;
  if (
    last !== undefined &&
    only !== undefined &&
    last.targets.length === 1 &&
    last.targets[0] === only &&
    last.comment === undefined
  ) {
    const size = assignment(only, last.expr, 8).length;
    lines.splice(lines.length - size, size, ...returning(last.expr, 8));
  } else lines.push(...returning(made.returns.join(', '), 8));
  return lines.join('\n');
}

function attributeText(attribute: Attribute): string[] {
  const lines = attribute.comment === undefined ? [] : comment(attribute.comment, 8);
  return [...lines, ...assignment(`self.${attribute.name}`, buildText(attribute), 8)];
}

function buildText(attribute: Attribute): string {
  if (attribute.build !== undefined) return attribute.build;
  const modules = attribute.twin?.modules ?? [];
  const own = modules.find((module) => module.name === '');
  if (own !== undefined) return constructorText(own, modules);
  const items = modules.map((module) => `(${literal(module.name)}, ${constructorText(module, [])})`);
  return `nn.Sequential(OrderedDict([${items.join(', ')}]))`;
}

/** Modules directly below `path` in the twin, with what is below them. */
function childrenBelow(path: string, modules: readonly TwinModule[]): readonly TwinModule[] {
  const lead = path === '' ? '' : `${path}.`;
  return modules.filter((module) => {
    const rest = module.name.slice(lead.length);
    return module.name !== path && module.name.startsWith(lead) && rest !== '' && !rest.includes('.');
  });
}

/** Arguments that PyTorch users write by position. */
const POSITIONAL: ReadonlySet<string> = new Set([
  'in_channels',
  'out_channels',
  'in_features',
  'out_features',
  'num_features',
  'num_embeddings',
  'embedding_dim',
  'input_size',
  'hidden_size',
  'normalized_shape',
  'num_groups',
  'num_channels',
  'embed_dim',
  'num_heads',
]);

/** PyTorch's own defaults of arguments that say nothing then; eps and momentum are always written. */
const DEFAULTS: ReadonlyMap<string, readonly string[]> = new Map([
  ['stride', ['1']],
  ['padding', ['0']],
  ['output_padding', ['0']],
  ['dilation', ['1']],
  ['groups', ['1']],
  ['bias', ['True']],
  ['affine', ['True']],
  ['elementwise_affine', ['True']],
  ['track_running_stats', ['True']],
  ['bidirectional', ['False']],
  ['num_layers', ['1']],
  ['dropout', ['0']],
  ['nonlinearity', ['"tanh"']],
  ['kdim', ['None']],
  ['vdim', ['None']],
]);

/** A class of our own takes its sub-modules as arguments: by name, or by position where they are numbered. */
function constructorText(module: TwinModule, all: readonly TwinModule[]): string {
  const type = module.custom === true ? module.type : `nn.${module.type}`;
  const args = Object.entries(module.args).flatMap(([name, value]) => {
    const word = valueText(module.custom === true ? '' : name, value);
    if (module.custom !== true && DEFAULTS.get(name)?.includes(word) === true) return [];
    return [POSITIONAL.has(name) && module.custom !== true ? word : `${name}=${word}`];
  });
  const children = module.custom === true ? childrenBelow(module.name, all) : [];
  const numbered: string[] = [];
  const named: string[] = [];
  for (const child of children) {
    const name = child.name.split('.').at(-1) ?? '';
    if (/^\d+$/.test(name)) numbered.push(constructorText(child, all));
    else named.push(`${name}=${constructorText(child, all)}`);
  }
  return `${type}(${[...numbered, ...args, ...named].join(', ')})`;
}

/** Arguments for which PyTorch spreads one number over all spatial axes. */
const SPREAD: ReadonlySet<string> = new Set(['kernel_size', 'stride', 'padding', 'dilation', 'output_padding']);

/** kernel_size (3, 3) is written 3. */
function valueText(name: string, value: NormAttrs[string]): string {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) {
    const module = activationModule(value as NormAttrs);
    if (module === undefined) throw new BnsumError({ code: 'INTERNAL', reason: `no module for the argument ${name}` });
    return constructorText(module, []);
  }
  const spreads = SPREAD.has(name) && Array.isArray(value) && value.length > 0;
  return literal(spreads && value.every((item) => item === value[0]) ? value[0] : value);
}

function loadText(root: string, options: ModuleOptions): string {
  const weights = options.weights;
  const argument = weights === null ? 'path' : `path=${literal(weights)}`;
  const kind =
    weights === null ? 'pt' : weights.endsWith('.safetensors') ? 'safetensors' : /json$/.test(weights) ? 'json' : 'pt';
  const head = [`def load(${argument}):`, `    """Return the module in eval mode with the weights of \`path\`."""`];
  if (kind === 'safetensors') {
    return [
      ...head,
      '    from safetensors.torch import load_file',
      '',
      `    model = ${root}()`,
      '    model.load_state_dict(load_file(path))',
      '    return model.eval()',
    ].join('\n');
  }
  if (kind === 'json') {
    return [
      ...head,
      '    import base64',
      '    import json',
      '',
      '    with open(path, encoding="utf-8") as file:',
      '        entries = json.load(file)["state_dict"]',
      '    state = {}',
      '    for name, entry in entries.items():',
      '        dtype = getattr(torch, entry["dtype"])',
      '        if "values" in entry:',
      '            state[name] = torch.tensor(entry["values"], dtype=dtype)',
      '            continue',
      '        data = bytearray(base64.b64decode(entry["data"]))',
      '        empty = torch.empty(entry["shape"], dtype=dtype)',
      '        flat = torch.frombuffer(data, dtype=dtype) if data else empty',
      '        state[name] = flat.reshape(entry["shape"])',
      `    model = ${root}()`,
      '    model.load_state_dict(state)',
      '    return model.eval()',
    ].join('\n');
  }
  return [
    ...head,
    `    model = ${root}()`,
    '    state = torch.load(path, map_location="cpu", weights_only=True)',
    '    model.load_state_dict(state)',
    '    return model.eval()',
  ].join('\n');
}
