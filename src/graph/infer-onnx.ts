import { EMPTY_OBJECT, isList } from '../ir/json.ts';
import type { Call, Dim, Graph, Layer, Shape } from '../ir/model.ts';
import { bindLayer } from '../layers/registry.ts';

/** Operators that give each element of their first argument another value, whatever their further arguments are. */
const ELEMENTWISE: ReadonlySet<string> = new Set([
  'Abs',
  'Cast',
  'CastLike',
  'Ceil',
  'Clip',
  'Cos',
  'DequantizeLinear',
  'Erf',
  'Exp',
  'Floor',
  'Identity',
  'Log',
  'Neg',
  'Not',
  'QuantizeLinear',
  'Reciprocal',
  'Round',
  'Sign',
  'Sin',
  'Sqrt',
]);

/** Operators that combine their arguments element by element. */
const BROADCAST: ReadonlySet<string> = new Set(['Add', 'Div', 'Max', 'Mean', 'Min', 'Mul', 'Pow', 'Sub', 'Sum']);

/**
 * Fills the shapes that an ONNX graph does not state, where layers and the plainest operators give them; every other
 * value stays unknown. A shape that the file states is kept.
 */
export function fillShapes(graph: Graph, layers: ReadonlyMap<string, Layer>): Graph {
  const shapes = graph.values.map((value) => value.shape);
  for (const call of graph.calls) {
    const [output] = call.outputs;
    const stated = output === undefined ? undefined : shapes[output];
    if (output === undefined || stated === undefined || (stated !== null && !stated.includes('?'))) continue;
    const inferred = outputOf(call, layers, shapes);
    if (stated === null) shapes[output] = inferred;
    else if (inferred?.length === stated.length) {
      shapes[output] = stated.map((size, axis) => (size === '?' ? (inferred[axis] ?? '?') : size));
    }
  }
  return { ...graph, values: graph.values.map((value) => ({ ...value, shape: shapes[value.id] ?? null })) };
}

function outputOf(call: Call, layers: ReadonlyMap<string, Layer>, shapes: readonly (Shape | null)[]): Shape | null {
  const given = call.inputs.map((input) => (typeof input === 'number' ? (shapes[input] ?? null) : null));
  const [first] = given;
  if (first === null || first === undefined) return null;
  if (call.layer !== null) {
    const layer = layers.get(call.layer);
    // Both settings decide the size in ways that no neutral attribute states.
    if (layer === undefined || layer.attrs.has('output_shape') || layer.attrs.get('ceil_mode') === 1) return null;
    return bindLayer({ ...layer, children: [] }).outputs([first], EMPTY_OBJECT)?.[0] ?? null;
  }
  if (ELEMENTWISE.has(call.op)) return first;
  if (BROADCAST.has(call.op)) return given.reduce<Shape | null>(broadcast, []);
  if (call.op === 'Concat') return concatenated(given, call.attrs.get('axis'));
  if (call.op === 'Transpose') {
    const perm = call.attrs.get('perm');
    const axes = isList(perm) ? perm.map(Number) : first.map((_, axis) => first.length - 1 - axis);
    return axes.length === first.length ? axes.map((axis) => first[axis] ?? '?') : null;
  }
  return null;
}

/** Two shapes of which one may be stretched; null where that is not known. */
function broadcast(left: Shape | null, right: Shape | null): Shape | null {
  if (left === null || right === null) return null;
  const rank = Math.max(left.length, right.length);
  const shape: Dim[] = [];
  for (let axis = 0; axis < rank; axis += 1) {
    const a = axis < rank - left.length ? 1 : (left[axis - rank + left.length] ?? null);
    const b = axis < rank - right.length ? 1 : (right[axis - rank + right.length] ?? null);
    if (a === b || b === 1) shape.push(a);
    else if (a === 1 || typeof b === 'number') shape.push(b);
    else if (typeof a === 'number') shape.push(a);
    else shape.push(null);
  }
  return shape;
}

function concatenated(given: readonly (Shape | null)[], where: unknown): Shape | null {
  const [first] = given;
  if (typeof where !== 'number' || first === null || first === undefined) return null;
  const axis = where < 0 ? where + first.length : where;
  let sum: Dim = 0;
  for (const shape of given) {
    const size = shape?.length === first.length ? shape[axis] : undefined;
    if (size === undefined) return null;
    sum = typeof size === 'number' && typeof sum === 'number' ? sum + size : null;
  }
  return first.map((size, index) => (index === axis ? sum : size));
}
