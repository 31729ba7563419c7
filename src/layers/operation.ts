import { EMPTY_OBJECT, isList, isObject, type Json, type JsonObject } from '../ir/json.ts';
import type { Dim, Shape } from '../ir/model.ts';
import { normText, numbersOf, plainValue, sampleElements, wrapAxis } from './attribute.ts';
import type { Family } from './family.ts';
import {
  type Argument,
  type Arguments,
  broadcast,
  dot,
  einsumOutput,
  literalShape,
  onIndex,
} from './operation-tensor.ts';
import { productOf, reshapedTo, shapeOfJson } from './shape.ts';
import { twin } from './twin.ts';

/**
 * Operations without weights: Keras 3's operation nodes, TFOpLambda, SlicingOpLambda, TensorFlowOpLayer.
 * Neutral: op (one word in lower case: 'add', 'reducemean', 'getitem'), name (the file's own), constants (TensorFlowOpLayer:
 * argument place to value).
 */
export const operation: Family = {
  kind: 'operation',
  types: {
    keras: ['TFOpLambda', 'SlicingOpLambda', 'TensorFlowOpLayer', 'ClassMethod', 'InstanceMethod', 'InstanceProperty'],
  },
  normalise(type, attrs) {
    const node = attrs.get('node_def');
    const name =
      textOf(attrs.get('function')) ??
      textOf(attrs.get('method_name')) ??
      textOf(attrs.get('attr_name')) ??
      (isObject(node) ? textOf(node.get('op')) : undefined) ??
      type;
    return { op: operationWord(name), name, constants: plainValue(attrs.get('constants')) };
  },
  outputs(norm, inputs, call) {
    return operationOutputs(normText(norm, 'op') ?? '', inputs, call);
  },
  macs(norm, inputs, outputs) {
    return operationMacs(normText(norm, 'op') ?? '', inputs, outputs);
  },
  // The generated code writes the operation itself; there is nothing to hold.
  toTorch: () => twin([]),
};

function textOf(value: Json | undefined): string | undefined {
  return typeof value === 'string' ? value : undefined;
}

/** One word for an operation's name: 'keras.src.ops.numpy.GetItem', 'math.reduce_mean' → 'getitem', 'reducemean'. */
export function operationWord(name: string): string {
  const last = name.split('.').at(-1) ?? name;
  return last.replaceAll('_', '').toLowerCase();
}

const words = (text: string): ReadonlySet<string> => new Set(text.split(/\s+/));

/** Element-wise on one value: the shape stays. */
const UNARY = words(
  `abs absolute acos acosh alphadropout angle arccos arccosh arcsin arcsinh arctan arctanh asin asinh atan atanh
  bitwiseinvert bitwisenot cast cbrt ceil celu clip clipbyvalue conj conjugate converttotensor copy cos cosh
  deg2rad digitize dropout elu erf erfc erfinv exp exp2 expm1 fabs flip fliplr flipud floor gelu hardshrink
  hardsigmoid hardsilu hardswish hardtanh i0 identity imag invert isfinite isinf isnan isneginf isposinf isreal
  layernorm leakyrelu log log10 log1p log2 logicalnot logsigmoid logsoftmax mish nantonum neg negative 
  normalize l2normalize  oneslike rad2deg real reciprocal relu relu6 reversev2 reverse rint rmsnorm roll
  round rsqrt saturatecast selu sigmoid sign signbit silu sin sinc sinh softmax softplus softshrink softsign
  sort sparseplus sparsesigmoid sparsemax sqrt square squareplus stopgradient swish tan tanh tanhshrink
  threshold trunc tril triu zeroslike`,
);

/** Element-wise on several values, broadcast. */
const BROADCAST = words(
  `add addv2 addn arctan2 atan2 biasadd bitwiseand bitwiseor bitwisexor divide dividenonan divnonan equal floordiv
  floordivide floormod fmax fmin fmod gcd greater greaterequal heaviside hypot isclose lcm ldexp leftshift less
  lessequal logaddexp logaddexp2 logicaland logicalor logicalxor maximum minimum mod mul multiply nextafter notequal
  pow power radd rdiv realdiv rightshift rmul rsub rtruediv selectv2 squareddifference sub subtract truediv
  truedivide where xdivy xlogy bitwiseleftshift bitwiserightshift`,
);

/** Axes are folded away, or kept with size 1. */
const REDUCE = words(
  `all amax amin any argmax argmin countnonzero logsumexp max mean median min nanmax nanmean nanmin nanstd nansum
  nanvar norm prod ptp reduceall reduceany reduceeuclideannorm reducelogsumexp reducemax reducemean reducemin
  reduceprod reducestd reducesum reducevariance std sum var`,
);

/** Names of arguments by place, where a literal may be given without its name. */
const NAMES: Readonly<Record<string, readonly string[]>> = {
  reshape: ['newshape', 'shape'],
  transpose: ['axes', 'perm'],
  broadcastto: ['shape'],
  expanddims: ['axis'],
  squeeze: ['axis'],
  tile: ['repeats', 'multiples'],
  repeat: ['repeats'],
  pad: ['pad_width', 'paddings'],
};

function read(all: readonly Argument[], call: JsonObject): Arguments {
  return {
    all,
    shapes: all.flatMap((argument) => (isConstant(argument) ? [] : [argument])),
    literal(names, place) {
      for (const name of names) {
        const value = call.get(name);
        if (value !== undefined) return value;
      }
      const argument = all[place];
      return argument !== undefined && isConstant(argument) ? argument.constant : undefined;
    },
  };
}

function isConstant(argument: Argument): argument is { readonly constant: Json } {
  return argument !== null && !Array.isArray(argument);
}

/**
 * Output shapes of an operation (operationWord) over its arguments; null: unknown operation, or arguments that do not
 * settle it (an axis that is not stated is not guessed). Keras 3's batch axis is an ordinary axis here.
 */
export function operationOutputs(
  op: string,
  inputs: readonly Argument[],
  call: JsonObject = EMPTY_OBJECT,
): readonly Shape[] | null {
  const args = read(inputs, call);
  const [first] = args.shapes;
  if (BROADCAST.has(op)) return onAll(args, call);
  if (first === undefined || first === null) return null;
  if (UNARY.has(op)) return [first];
  if (REDUCE.has(op)) return reduced(op, first, args);
  return onAxes(op, first, args) ?? onIndex(op, first, args);
}

function onAll(args: Arguments, call: JsonObject): readonly Shape[] | null {
  const shapes: Shape[] = [];
  for (const argument of args.all) {
    if (argument === null) return null;
    shapes.push(isConstant(argument) ? literalShape(argument.constant) : argument);
  }
  for (const name of ['x1', 'x2', 'x', 'y']) {
    const value = call.get(name);
    // A list that starts with a name is a reference to another value, which is among the arguments already.
    if (isList(value) && typeof value[0] !== 'string') shapes.push(literalShape(value));
  }
  const output = shapes.length === 0 ? null : broadcast(shapes);
  return output === null ? null : [output];
}

function reduced(op: string, input: Shape, args: Arguments): readonly Shape[] | null {
  const told = args.literal(['axis', 'axes', 'reduction_indices', 'dim'], 1);
  const keep = args.literal(['keepdims', 'keep_dims'], 2) === true;
  // Without a word about axes a guess could be wrong; None means all of them, but for TensorFlow's argmax.
  if (told === undefined || (told === null && op.startsWith('arg'))) return null;
  const axes = told === null ? [...input.keys()] : numbersOf(told);
  if (axes === null) return null;
  const gone = new Set<number>();
  for (const axis of axes) {
    const place = wrapAxis(axis, input.length);
    if (place === null) return null;
    gone.add(place);
  }
  return [keep ? input.map((size, axis) => (gone.has(axis) ? 1 : size)) : input.filter((_, axis) => !gone.has(axis))];
}

/** Operations that move, join or resize axes. */
function onAxes(op: string, input: Shape, args: Arguments): readonly Shape[] | null {
  const literal = (place = 1): Json | undefined => args.literal(NAMES[op] ?? ['axis'], place);
  switch (op) {
    case 'reshape':
    case 'view': {
      const target = shapeOfJson(literal());
      const output = target === null ? null : reshapedTo(input, target);
      return output === null ? null : [output];
    }
    case 'flatten':
      return [[input[0] ?? null, productOf(input.slice(1))]];
    case 'ravel':
      return [[productOf(input)]];
    case 'transpose':
    case 'permute': {
      const told = literal();
      if (told === undefined) return null;
      const axes = told === null ? [...input.keys()].reverse() : numbersOf(told);
      return axes?.length === input.length ? [axes.map((axis) => input[axis] ?? null)] : null;
    }
    case 'swapaxes': {
      const left = place(args.literal(['axis1'], 1), input.length);
      const right = place(args.literal(['axis2'], 2), input.length);
      if (left === null || right === null) return null;
      return [input.map((size, axis) => input[axis === left ? right : axis === right ? left : axis] ?? size)];
    }
    case 'moveaxis':
      return moved(input, numbersOf(args.literal(['source'], 1)), numbersOf(args.literal(['destination'], 2)));
    case 'concat':
    case 'concatv2':
    case 'concatenate':
      return joined(args);
    case 'stack':
    case 'pack':
      return stacked(args);
    case 'expanddims': {
      const axes = numbersOf(literal());
      if (axes === null) return null;
      const rank = input.length + axes.length;
      const places = new Set(axes.map((axis) => wrapAxis(axis, rank)));
      if (places.has(null) || places.size !== axes.length) return null;
      const rest = [...input];
      return [Array.from({ length: rank }, (_, axis) => (places.has(axis) ? 1 : (rest.shift() ?? null)))];
    }
    case 'squeeze': {
      const told = literal() ?? args.literal(['squeeze_dims'], 1);
      if (told === undefined) return null;
      const axes = told === null ? null : numbersOf(told);
      if (axes === null)
        return input.some((size) => typeof size !== 'number') ? null : [input.filter((size) => size !== 1)];
      const places = new Set(axes.map((axis) => wrapAxis(axis, input.length)));
      return places.has(null) ? null : [input.filter((_, axis) => !places.has(axis))];
    }
    case 'broadcastto': {
      const target = shapeOfJson(literal());
      return target === null ? null : [target];
    }
    case 'tile': {
      const times = numbersOf(literal());
      if (times === null) return null;
      const rank = Math.max(times.length, input.length);
      const sizes = [...new Array<Dim>(rank - input.length).fill(1), ...input];
      const factors = [...new Array<number>(rank - times.length).fill(1), ...times];
      return [sizes.map((size, axis) => (typeof size === 'number' ? size * (factors[axis] ?? 1) : size))];
    }
    case 'repeat': {
      const times = literal();
      const axis = place(args.literal(['axis'], 2), input.length);
      if (typeof times !== 'number' || axis === null) return null;
      return [input.map((size, index) => (index === axis && typeof size === 'number' ? size * times : size))];
    }
    case 'pad':
    case 'padv2': {
      const told = literal();
      const pairs = isList(told) ? told.map((pair) => numbersOf(pair)) : null;
      if (pairs === null || pairs.length !== input.length || pairs.includes(null)) return null;
      return [
        input.map((size, axis) =>
          typeof size === 'number'
            ? size + (pairs[axis]?.[0] ?? 0) + (pairs[axis]?.[1] ?? pairs[axis]?.[0] ?? 0)
            : size,
        ),
      ];
    }
    case 'matmul':
    case 'batchmatmulv2':
    case 'dot': {
      const [, second] = args.shapes;
      if (second === undefined || second === null) return null;
      const output = dot(input, second, args);
      return output === null ? null : [output];
    }
    case 'einsum':
      return einsumOutput(args);
    default:
      return null;
  }
}

function place(axis: Json | undefined, rank: number): number | null {
  return typeof axis === 'number' ? wrapAxis(axis, rank) : null;
}

function moved(input: Shape, from: readonly number[] | null, to: readonly number[] | null): readonly Shape[] | null {
  if (from === null || to === null || from.length !== to.length) return null;
  const sources = from.map((axis) => wrapAxis(axis, input.length));
  const targets = to.map((axis) => wrapAxis(axis, input.length));
  if (sources.includes(null) || targets.includes(null)) return null;
  const rest = [...input.keys()].filter((axis) => !sources.includes(axis));
  return [
    Array.from(input.keys(), (axis) => {
      const at = targets.indexOf(axis);
      const source = at === -1 ? rest.shift() : sources[at];
      return input[source ?? 0] ?? null;
    }),
  ];
}

function joined(args: Arguments): readonly Shape[] | null {
  const [first] = args.shapes;
  if (first === undefined || first === null) return null;
  const told = args.literal(['axis'], args.all.length - 1);
  const axis = typeof told === 'number' ? wrapAxis(told, first.length) : null;
  if (axis === null) return null;
  let along: Dim = 0;
  const sizes: Dim[] = [...first];
  for (const shape of args.shapes) {
    if (shape === null || shape.length !== first.length) return null;
    const size: Dim = shape[axis] ?? null;
    along = along === '?' || size === '?' ? '?' : along === null || size === null ? null : along + size;
    for (const [index, other] of shape.entries()) if (sizes[index] === null) sizes[index] = other;
  }
  return [sizes.map((size, index) => (index === axis ? along : size))];
}

function stacked(args: Arguments): readonly Shape[] | null {
  const [first] = args.shapes;
  if (first === undefined || first === null) return null;
  if (args.shapes.some((shape) => shape === null || shape.length !== first.length)) return null;
  const told = args.literal(['axis'], args.all.length - 1);
  const axis = typeof told === 'number' ? wrapAxis(told, first.length + 1) : null;
  return axis === null ? null : [[...first.slice(0, axis), args.shapes.length, ...first.slice(axis)]];
}

/** Multiply-accumulates of an operation: those of a matrix product; 0 for all others. */
export function operationMacs(op: string, inputs: readonly Argument[], outputs: readonly Shape[]): number | null {
  if (op !== 'matmul' && op !== 'batchmatmulv2' && op !== 'dot') return 0;
  const [first] = inputs;
  const elements = sampleElements(outputs[0]);
  if (first === undefined || first === null || isConstant(first)) return null;
  const size = first.at(-1);
  return typeof size === 'number' && elements !== null ? elements * size : null;
}
