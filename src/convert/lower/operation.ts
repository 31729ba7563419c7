import type { Json } from '../../ir/json.ts';
import { isList, isObject, objectAt, stringAt } from '../../ir/json.ts';
import type { NormAttrs } from '../../ir/model.ts';
import { activationOfName } from '../../layers/activation-function.ts';
import { numbersOf } from '../../layers/attribute.ts';
import { operationWord } from '../../layers/operation.ts';
import { snakeWord } from '../names.ts';
import { activate } from './activation.ts';
import { type Emit, type Emitted, literal, plainAxes } from './context.ts';
import type { Axes, Ref } from './lowered.ts';
import { together } from './merge.ts';
import { emitReshape } from './shape.ts';

type Argument = Ref | { readonly constant: Json };

const isRef = (argument: Argument): argument is Ref => !('constant' in argument);

/** `a op b`. */
const INFIX: ReadonlyMap<string, string> = new Map([
  ['add', '+'],
  ['addv2', '+'],
  ['biasadd', '+'],
  ['radd', '+'],
  ['sub', '-'],
  ['subtract', '-'],
  ['mul', '*'],
  ['multiply', '*'],
  ['rmul', '*'],
  ['div', '/'],
  ['divide', '/'],
  ['realdiv', '/'],
  ['truedivide', '/'],
  ['truediv', '/'],
  ['pow', '**'],
  ['power', '**'],
  ['equal', '=='],
  ['notequal', '!='],
  ['greater', '>'],
  ['greaterequal', '>='],
  ['less', '<'],
  ['lessequal', '<='],
  ['mod', '%'],
  ['floormod', '%'],
]);

/** Operations that give truth values, which keep their name. */
const COMPARISONS: ReadonlySet<string> = new Set([
  'equal',
  'greater',
  'greaterequal',
  'less',
  'lessequal',
  'logicaland',
  'logicalor',
  'logicalxor',
  'notequal',
]);

/** Two-argument functions. */
const BINARY: ReadonlyMap<string, string> = new Map([
  ['maximum', 'torch.maximum'],
  ['minimum', 'torch.minimum'],
  ['logicaland', 'torch.logical_and'],
  ['logicalor', 'torch.logical_or'],
  ['logicalxor', 'torch.logical_xor'],
  ['arctan2', 'torch.atan2'],
  ['floordivide', 'torch.floor_divide'],
  ['floordiv', 'torch.floor_divide'],
]);

/** One-argument functions of PyTorch with the same meaning, element by element. */
const UNARY: ReadonlyMap<string, string> = new Map([
  ['arccos', 'torch.acos'],
  ['arccosh', 'torch.acosh'],
  ['arcsin', 'torch.asin'],
  ['arcsinh', 'torch.asinh'],
  ['arctan', 'torch.atan'],
  ['arctanh', 'torch.atanh'],
  ['log10', 'torch.log10'],
  ['log2', 'torch.log2'],
  ['logicalnot', 'torch.logical_not'],
  ['oneslike', 'torch.ones_like'],
  ['zeroslike', 'torch.zeros_like'],
  ['abs', 'torch.abs'],
  ['absolute', 'torch.abs'],
  ['ceil', 'torch.ceil'],
  ['cos', 'torch.cos'],
  ['cosh', 'torch.cosh'],
  ['erf', 'torch.erf'],
  ['exp', 'torch.exp'],
  ['expm1', 'torch.expm1'],
  ['floor', 'torch.floor'],
  ['log', 'torch.log'],
  ['log1p', 'torch.log1p'],
  ['neg', 'torch.neg'],
  ['negative', 'torch.neg'],
  ['reciprocal', 'torch.reciprocal'],
  ['rsqrt', 'torch.rsqrt'],
  ['sign', 'torch.sign'],
  ['sin', 'torch.sin'],
  ['sinh', 'torch.sinh'],
  ['sqrt', 'torch.sqrt'],
  ['square', 'torch.square'],
  ['tan', 'torch.tan'],
]);

const ACTIVATIONS: ReadonlyMap<string, string> = new Map([
  ['celu', 'celu'],
  ['elu', 'elu'],
  ['hardsilu', 'hard_silu'],
  ['hardswish', 'hard_silu'],
  ['logsigmoid', 'log_sigmoid'],
  ['mish', 'mish'],
  ['relu', 'relu'],
  ['relu6', 'relu6'],
  ['selu', 'selu'],
  ['sigmoid', 'sigmoid'],
  ['silu', 'silu'],
  ['softplus', 'softplus'],
  ['softsign', 'softsign'],
  ['swish', 'silu'],
  ['tanh', 'tanh'],
]);

const REDUCTIONS: ReadonlyMap<string, string> = new Map([
  ['all', 'all'],
  ['any', 'any'],
  ['reduceall', 'all'],
  ['reduceany', 'any'],
  ['amax', 'amax'],
  ['amin', 'amin'],
  ['max', 'amax'],
  ['mean', 'mean'],
  ['min', 'amin'],
  ['reducemax', 'amax'],
  ['reducemean', 'mean'],
  ['reducemin', 'amin'],
  ['reducesum', 'sum'],
  ['sum', 'sum'],
]);

/** Keras 3 operation nodes, TFOpLambda and kin, by a closed list of operations. */
export function emitOperation(emit: Emit): Emitted {
  const told = emit.norm['op'];
  const word = typeof told === 'string' ? told : operationWord(emit.call.op);
  const all = argumentsOf(emit);
  const infix = INFIX.get(word);
  const binary = BINARY.get(word);
  if (infix !== undefined || binary !== undefined) return [emitBinary(emit, all, word, infix, binary)];
  const given = all.find(isRef);
  if (given === undefined) return emit.refuse(`the operation ${word} has no tensor input`);
  const unary = UNARY.get(word);
  if (unary !== undefined) {
    const dtype = emit.call.attrs.get('dtype');
    if (dtype !== undefined && dtype !== null && dtype !== 'bool') return emit.refuse(`${word} with a dtype`);
    const tail = dtype === 'bool' ? ', dtype=torch.bool' : '';
    return [emit.line(`${unary}(${given.name}${tail})`, { ...given })];
  }
  const activation = ACTIVATIONS.get(word);
  if (activation !== undefined) {
    if (activation === 'elu' || activation === 'celu') {
      refuseArguments(emit, all.slice(0, 1), ['x', 'features', 'name', 'alpha']);
      const alpha = numberArgument(emit, all, ['alpha'], 1) ?? 1;
      return [activate(emit, given, { function: activation, alpha })];
    }
    refuseArguments(emit, all, ['x', 'features', 'name']);
    return [activate(emit, given, activationOfName(activation, 'keras3'))];
  }
  switch (word) {
    case 'leakyrelu': {
      const slope = numberArgument(emit, all, ['negative_slope', 'alpha'], 1) ?? 0.2;
      return [activate(emit, given, { function: 'leaky_relu', slope } as NormAttrs)];
    }
    case 'gelu':
      return [
        activate(emit, given, { function: 'gelu', approximate: argument(emit, all, ['approximate'], 1) !== false }),
      ];
    case 'softmax':
    case 'logsoftmax': {
      const axis = numberArgument(emit, all, ['axis'], 1) ?? -1;
      return [activate(emit, given, { function: word === 'softmax' ? 'softmax' : 'log_softmax', axis })];
    }
    case 'hardsigmoid':
      return [activate(emit, given, activationOfName('hard_sigmoid', 'keras3'))];
    case 'converttotensor':
      refuseArguments(emit, all, ['x', 'name']);
      return [given];
    case 'identity':
    case 'copy':
    case 'stopgradient':
      return [given];
    case 'clip':
    case 'clipbyvalue': {
      const low = numberArgument(emit, all, ['x_min', 'clip_value_min'], 1);
      const high = numberArgument(emit, all, ['x_max', 'clip_value_max'], 2);
      if (low === null || high === null) return emit.refuse('clip without two numbers');
      return [emit.line(`torch.clamp(${given.name}, ${literal(low)}, ${literal(high)})`, { ...given })];
    }
    case 'reshape':
      return emitReshape(emit);
    case 'flatten':
      return emitReshape(emit);
    case 'transpose':
      return [emitTranspose(emit, given, all)];
    case 'concatenate':
    case 'concat':
      return [emitJoin(emit, all, 'torch.cat')];
    case 'stack':
      return [emitStack(emit, all)];
    case 'flip':
      return [emitFlip(emit, given, all)];
    case 'swapaxes':
      return [emitSwap(emit, given, all)];
    case 'where':
    case 'selectv2':
      return [emitWhere(emit, all)];
    case 'expanddims':
      return [emitExpand(emit, given, all)];
    case 'squeeze':
      return [emitSqueeze(emit, given, all)];
    case 'matmul':
      return [emitMatmul(emit, all)];
    case 'getitem':
      return [emitIndex(emit, given, all)];
    case 'cast':
      return [emitCast(emit, given, all)];
    default: {
      const reduction = REDUCTIONS.get(word);
      if (reduction !== undefined) return [emitReduction(emit, given, all, reduction)];
      return emit.refuse(`the operation ${word} is not among those that are written for PyTorch`);
    }
  }
}

function argumentsOf(emit: Emit): readonly Argument[] {
  let next = 0;
  return emit.call.inputs.map((input): Argument => {
    if (typeof input !== 'number') return { constant: input.constant };
    const ref = emit.inputs[next] as Ref;
    next += 1;
    return ref;
  });
}

/** An argument by name, else by its place. */
function argument(emit: Emit, all: readonly Argument[], names: readonly string[], place: number): Json | undefined {
  for (const name of names) {
    const value = emit.call.attrs.get(name);
    if (value !== undefined) return value;
  }
  const found = all[place];
  return found !== undefined && !isRef(found) ? found.constant : undefined;
}

function numberArgument(emit: Emit, all: readonly Argument[], names: readonly string[], place: number): number | null {
  const value = argument(emit, all, names, place);
  return typeof value === 'number' ? value : null;
}

/** Refuses keyword arguments that this emitter would ignore. */
function refuseArguments(emit: Emit, all: readonly Argument[], known: readonly string[]): void {
  for (const [name, value] of emit.call.attrs) {
    if (!known.includes(name) && value !== null) emit.refuse(`its argument ${name}`);
  }
  if (all.filter((one) => !isRef(one)).length > 0) emit.refuse('further arguments');
}

function emitBinary(
  emit: Emit,
  all: readonly Argument[],
  word: string,
  infix: string | undefined,
  binary: string | undefined,
): Ref {
  const operands: Argument[] = [...all];
  for (const name of ['x', 'x1', 'a', 'y', 'x2', 'b', 'value', 'bias']) {
    const value = emit.call.attrs.get(name);
    if (typeof value === 'number' || (isList(value) && numbersOf(value) !== null && operands.length < 2)) {
      operands.push({ constant: value });
    }
  }
  const constants = emit.norm['constants'];
  if (operands.length < 2 && typeof constants === 'object' && constants !== null && !Array.isArray(constants)) {
    for (const [place, value] of Object.entries(constants as NormAttrs)) {
      operands.splice(Number(place), 0, { constant: value as Json });
    }
  }
  if (operands.length !== 2) return emit.refuse(`${word} of ${operands.length} values`);
  const refs = operands.filter(isRef);
  const lists = operands.some((one) => !isRef(one) && typeof one.constant !== 'number');
  const laid = lists ? refs.map((ref) => emit.keras(ref)) : together(emit, refs);
  const first = laid[0];
  if (first === undefined) return emit.refuse(`${word} of constants`);
  let next = 0;
  const names = operands.map((one) => {
    if (isRef(one)) {
      const ref = laid[next] as Ref;
      next += 1;
      return ref.name;
    }
    if (typeof one.constant === 'number') {
      const text = literal(one.constant);
      if (binary === undefined) return one.constant < 0 ? `(${text})` : text;
      return `torch.tensor(${text}, device=${first.name}.device)`;
    }
    return `torch.tensor(${listText(emit, one.constant)}, device=${first.name}.device)`;
  });
  const shape = emit.outputShapes[0] ?? first.shape;
  const axes = shape !== null && shape.length !== first.axes.length ? plainAxes(shape.length) : first.axes;
  const expr = infix === undefined ? `${binary}(${names.join(', ')})` : names.join(` ${infix} `);
  const named = COMPARISONS.has(word) ? { named: snakeWord(emit.call.op) } : {};
  return emit.line(expr, { shape, axes, features: first.features, ...named });
}

function listText(emit: Emit, value: Json): string {
  if (typeof value === 'number') return literal(value);
  if (!isList(value)) return emit.refuse('an operand that is neither a tensor nor numbers');
  return `[${value.map((item) => listText(emit, item)).join(', ')}]`;
}

function emitTranspose(emit: Emit, given: Ref, all: readonly Argument[]): Ref {
  const rank = given.axes.length;
  const axes = numbersOf(argument(emit, all, ['axes', 'perm'], 1)) ?? [...plainAxes(rank)].reverse();
  const input = emit.plain(given);
  const renamed = input.axes.map((axis) => axes.indexOf(axis));
  if (renamed[0] !== 0 || renamed.includes(-1)) return emit.refuse('a transpose that moves the batch axis');
  return { ...input, shape: emit.outputShapes[0] ?? null, axes: renamed };
}

function emitJoin(emit: Emit, all: readonly Argument[], name: string): Ref {
  const refs = all.filter(isRef);
  const first = refs[0] as Ref;
  const told = numberArgument(emit, all, ['axis'], all.length - 1) ?? -1;
  const axis = told < 0 ? told + first.axes.length : told;
  const laid = together(
    emit,
    refs.map((ref) => emit.plain(ref)),
  );
  const axes: Axes = laid[0]?.axes ?? first.axes;
  const expr = `${name}([${laid.map((ref) => ref.name).join(', ')}], dim=${axes.indexOf(axis)})`;
  return emit.line(expr, { shape: emit.outputShapes[0] ?? null, axes });
}

/** Values of one shape side by side on a new axis. */
function emitStack(emit: Emit, all: readonly Argument[]): Ref {
  const refs = all.filter(isRef).map((ref) => emit.keras(ref));
  const first = refs[0] as Ref;
  const rank = first.axes.length + 1;
  const told = numberArgument(emit, all, ['axis'], all.length - 1) ?? 0;
  const axis = told < 0 ? told + rank : told;
  if (axis === 0) return emit.refuse('a stack along a new batch axis');
  const expr = `torch.stack([${refs.map((ref) => ref.name).join(', ')}], dim=${axis})`;
  return emit.line(expr, { shape: emit.outputShapes[0] ?? null, axes: plainAxes(rank) });
}

function emitFlip(emit: Emit, given: Ref, all: readonly Argument[]): Ref {
  const input = emit.plain(given);
  const told = numbersOf(argument(emit, all, ['axis'], 1));
  if (told === null) return emit.refuse('a flip of all axes, the batch included');
  const dims = told.map((axis) => input.axes.indexOf(axis < 0 ? axis + input.axes.length : axis));
  return emit.line(`${input.name}.flip(${dims.join(', ')})`, { ...input });
}

function emitSwap(emit: Emit, given: Ref, all: readonly Argument[]): Ref {
  const input = emit.plain(given);
  const rank = input.axes.length;
  const [left, right] = [numberArgument(emit, all, ['axis1'], 1), numberArgument(emit, all, ['axis2'], 2)].map(
    (axis) => (axis === null || axis >= 0 ? axis : axis + rank),
  );
  if (typeof left !== 'number' || typeof right !== 'number' || left === 0 || right === 0) {
    return emit.refuse('swapped axes that are not in the file, or the batch axis');
  }
  const axes = input.axes.map((axis) => (axis === left ? right : axis === right ? left : axis));
  return { ...input, shape: emit.outputShapes[0] ?? null, axes };
}

function emitWhere(emit: Emit, all: readonly Argument[]): Ref {
  if (all.length !== 3) return emit.refuse('where without two values to choose from');
  const laid = together(emit, all.filter(isRef));
  let next = 0;
  const names = all.map((one) => {
    if (!isRef(one)) return typeof one.constant === 'number' ? literal(one.constant) : emit.refuse('where with a list');
    const ref = laid[next] as Ref;
    next += 1;
    return ref.name;
  });
  const first = laid[0] as Ref;
  const shape = emit.outputShapes[0] ?? first.shape;
  const axes = shape !== null && shape.length !== first.axes.length ? plainAxes(shape.length) : first.axes;
  return emit.line(`torch.where(${names.join(', ')})`, { shape, axes, features: first.features });
}

function emitExpand(emit: Emit, given: Ref, all: readonly Argument[]): Ref {
  const input = emit.keras(given);
  const told = numberArgument(emit, all, ['axis'], 1) ?? -1;
  const rank = input.axes.length + 1;
  return emit.line(`${input.name}.unsqueeze(${told})`, { shape: emit.outputShapes[0] ?? null, axes: plainAxes(rank) });
}

function emitSqueeze(emit: Emit, given: Ref, all: readonly Argument[]): Ref {
  const input = emit.keras(given);
  const axes = numbersOf(argument(emit, all, ['axis'], 1));
  if (axes === null || axes.length !== 1) return emit.refuse('squeeze without one axis');
  return emit.line(`${input.name}.squeeze(${axes[0]})`, {
    shape: emit.outputShapes[0] ?? null,
    axes: plainAxes(input.axes.length - 1),
  });
}

function emitMatmul(emit: Emit, all: readonly Argument[]): Ref {
  const refs = all.filter(isRef).map((ref) => emit.keras(ref));
  const [a, b] = refs;
  if (a === undefined || b === undefined) return emit.refuse('matmul with something else than two tensors');
  for (const name of ['transpose_a', 'transpose_b', 'adjoint_a', 'adjoint_b']) {
    if (emit.call.attrs.get(name) === true) return emit.refuse(`matmul with ${name}`);
  }
  const shape = emit.outputShapes[0] ?? null;
  return emit.line(`${a.name} @ ${b.name}`, { shape, axes: plainAxes(shape?.length ?? a.axes.length) });
}

/** x[…] with literal indices: numbers, slices, None and an ellipsis. */
function emitIndex(emit: Emit, given: Ref, all: readonly Argument[]): Ref {
  const input = emit.keras(given);
  const told = emit.call.attrs.get('key') ?? emit.call.attrs.get('slice_spec') ?? all.find((one) => !isRef(one));
  const key =
    told !== undefined && typeof told === 'object' && told !== null && 'constant' in told
      ? told.constant
      : (told as Json | undefined);
  if (key === undefined) return emit.refuse('an index that is not in the file');
  const items = isList(key) ? key : [key];
  const shape = emit.outputShapes[0] ?? null;
  if (shape === null) return emit.refuse('an index whose result has an unknown shape');
  const text = items.map((item) => indexText(emit, item)).join(', ');
  return emit.line(`${input.name}[${text}]`, { shape, axes: plainAxes(shape.length) });
}

function indexText(emit: Emit, item: Json): string {
  if (item === null) return 'None';
  if (typeof item === 'number') return String(item);
  const config = isObject(item) ? (objectAt(item, 'config') ?? item) : undefined;
  if (item === '...' || stringAt(item, 'class_name') === '__ellipsis__') return '...';
  if (config === undefined || !(config.has('start') || config.has('stop') || config.has('step'))) {
    return emit.refuse('an index that is neither a number nor a slice');
  }
  const [start, stop, step] = ['start', 'stop', 'step'].map((name) => config.get(name) ?? null);
  for (const bound of [start, stop, step]) {
    if (bound !== null && typeof bound !== 'number') return emit.refuse('a slice whose bounds are computed');
  }
  if (typeof step === 'number' && step < 0) return emit.refuse('a slice that runs backwards');
  const word = (bound: Json | undefined): string => (typeof bound === 'number' ? String(bound) : '');
  return `${word(start)}:${word(stop)}${typeof step === 'number' && step !== 1 ? `:${step}` : ''}`;
}

const TORCH_TYPES: ReadonlySet<string> = new Set([
  'float16',
  'float32',
  'float64',
  'bfloat16',
  'int32',
  'int64',
  'bool',
]);

function emitCast(emit: Emit, given: Ref, all: readonly Argument[]): Ref {
  const dtype = argument(emit, all, ['dtype'], 1);
  if (typeof dtype !== 'string' || !TORCH_TYPES.has(dtype)) return emit.refuse('a cast to another type');
  return emit.line(`${given.name}.to(torch.${dtype})`, { ...given });
}

function emitReduction(emit: Emit, given: Ref, all: readonly Argument[], name: string): Ref {
  const input = emit.plain(given);
  const rank = input.axes.length;
  const told = numbersOf(argument(emit, all, ['axis', 'reduction_indices'], 1));
  if (told === null) return emit.refuse('a reduction over all axes, the batch included');
  const axes = told.map((axis) => (axis < 0 ? axis + rank : axis));
  const dims = axes.map((axis) => input.axes.indexOf(axis)).sort((a, b) => a - b);
  const keep = argument(emit, all, ['keepdims', 'keep_dims'], 2) === true;
  const expr = `${input.name}.${name}(dim=${dims.length === 1 ? dims[0] : literal(dims)}${keep ? ', keepdim=True' : ''})`;
  const shape = emit.outputShapes[0] ?? null;
  if (keep) return emit.line(expr, { shape, axes: input.axes });
  const rest = input.axes.filter((axis) => !axes.includes(axis));
  const kept = [...rest].sort((a, b) => a - b);
  return emit.line(expr, { shape, axes: rest.map((axis) => kept.indexOf(axis)) });
}
