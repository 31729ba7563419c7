import { isList, type Json } from '../ir/json.ts';
import { keptInOrder } from './align.ts';
import type { Change, Where } from './change.ts';
import { leaveOut, type Work, whereOf, wiresOfBoth } from './compare-work.ts';
import { formatFact } from './fact.ts';
import type { LayerPair, Pairing } from './pair.ts';
import type { Side } from './side.ts';
import { type AllWires, type ResolvedWires, resolveWires, Terms, withoutConstants } from './wires.ts';

/** Reads through layers that the other side lacks, as long as they have one input. */
function through(side: Side, path: string, gone: ReadonlySet<string>): string {
  if (!gone.has(path)) return path;
  const layers = new Map(side.layers.map((layer) => [layer.path, layer]));
  let at = path;
  for (let steps = 0; gone.has(at) && steps < side.layers.length; steps += 1) {
    const inputs = layers.get(at)?.inputs ?? [];
    const [only] = inputs;
    if (only === undefined || inputs.length !== 1) break;
    at = only;
  }
  return at;
}

/** What each layer, and the model's outputs, are computed from. */
export function compareWiring(work: Work, pairing: Pairing, partners: ReadonlyMap<string, string>): void {
  const told = wiresOfBoth(work);
  const both = told === null ? null : sameKept(work, told);
  if (told !== null) compareInterface(work, partners, told);
  const found = both === null ? readsThatDiffer(work, pairing, partners) : callsThatDiffer(pairing, partners, both);
  if (found.length === 0) return;
  const { a, b } = work;
  if (a.chain && b.chain && a.layers.length === b.layers.length) {
    // In a chain another order is a layer that moved, and those around it follow.
    const places = new Map(b.layers.map((layer, index) => [layer.path, index]));
    const order = pairing.pairs.map((pair) => places.get(pair.b.path) ?? 0);
    const kept = keptInOrder(order);
    const moved = new Set(pairing.pairs.filter((_, index) => !kept.has(index)).map((pair) => pair.a.path));
    if (moved.size > 0) {
      const told = found.filter(({ change, plain }) => !plain || moved.has(change.at.a ?? ''));
      if (told.length > 0) {
        work.changes.push(...told.map(({ change }) => change));
        return;
      }
    }
  }
  work.changes.push(...found.map(({ change }) => change));
}

/** Of ONNX, what both sides keep: a lock file of an older release has neither attributes nor constants. */
function sameKept(work: Work, both: readonly [AllWires, AllWires]): readonly [AllWires, AllWires] {
  const [a, b] = both;
  if (work.a.dialect !== 'onnx') return both;
  const [left, right] = [a.get('')?.operators, b.get('')?.operators];
  if (a.get('')?.unread === true || b.get('')?.unread === true) leaveOut(work, 'values', 'texts', 'both', '');
  if (left === undefined && right === undefined) return both;
  if (left === undefined || right === undefined) {
    leaveOut(work, 'attribute', 'constants and attributes of operations', left === undefined ? 'a' : 'b', '');
    return [withoutConstants(a), withoutConstants(b)];
  }
  for (const [operator, before] of left) {
    const after = right.get(operator);
    if (after === undefined || after === before) continue;
    if (meansElse(operator, Number(before), Number(after))) {
      const at: Where = { a: '', b: '', kind: 'model' };
      work.changes.push({ code: 'attribute', at, name: `version of ${operator}`, before, after });
    } else if (!isStandardOperator(operator)) leaveOut(work, 'attribute', `version of ${operator}`, 'both', '');
  }
  return both;
}

/** Operators of another vendor's domain, whose versions nobody here knows. */
function isStandardOperator(operator: string): boolean {
  return !operator.includes('.');
}

/**
 * Versions from which an operator computes something else from the same inputs and attributes (onnx/docs/Changelog.md):
 * Softmax flattened its input around `axis` before 13; Resize had no coordinate transformation before 11; AveragePool
 * counted differently with ceil_mode before 19; GroupNormalization took one scale for each group before 21; Scan had a
 * batch axis before 9; the others broadcast by attributes before 7.
 */
const OTHER_MEANING: ReadonlyMap<string, number> = new Map([
  ['Softmax', 13],
  ['LogSoftmax', 13],
  ['Hardmax', 13],
  ['Resize', 11],
  ['AveragePool', 19],
  ['GroupNormalization', 21],
  ['Scan', 9],
  ['Add', 7],
  ['Sub', 7],
  ['Mul', 7],
  ['Div', 7],
  ['Pow', 7],
  ['Gemm', 7],
]);

function meansElse(operator: string, before: number, after: number): boolean {
  const since = OTHER_MEANING.get(operator);
  return since !== undefined && before < since !== after < since;
}

/** How the model is called: names of ONNX' inputs and outputs, the lists and dicts of Keras. */
function compareInterface(
  work: Work,
  partners: ReadonlyMap<string, string>,
  [left, right]: readonly [AllWires, AllWires],
): void {
  for (const [graph, wires] of left) {
    const other = graph === '' ? '' : (partners.get(graph) ?? graph);
    const theirs = right.get(other);
    if (theirs === undefined) continue;
    const at: Where = { a: graph, b: other, kind: 'model' };
    for (const [code, key] of [
      ['wiring', 'takes'],
      ['outputs', 'gives'],
    ] as const) {
      const [before, after] = [wires[key], theirs[key]];
      if (before === undefined || after === undefined) {
        if (before !== after)
          leaveOut(
            work,
            'attribute',
            `form of the ${key === 'takes' ? 'inputs' : 'outputs'}`,
            before === undefined ? 'a' : 'b',
            graph,
          );
        continue;
      }
      if (sameForm(before, after) || sameForm(after, before)) continue;
      work.changes.push({ code, at, before: namesOf(before), after: namesOf(after) });
    }
  }
}

/** Before Keras 3 a config does not tell a tensor from a list of one (`#?`). */
function sameForm(one: Json, other: Json): boolean {
  const text = formatFact(other);
  return formatFact(one) === text || (one === '#?' && (text === '"#"' || text === '["#"]'));
}

/** The names of a list of ONNX, or the form of what Keras takes or gives. */
function namesOf(form: Json): readonly string[] {
  return isList(form) && form.every((one) => typeof one === 'string' && one !== '#')
    ? form.map(String)
    : [formText(form)];
}

/** `{p: #, q: #}` for people. */
function formText(form: Json): string {
  return formatFact(form).replaceAll('"', '');
}

interface WiringChange {
  readonly change: Change;
  /** Nothing but which layers are read differs. */
  readonly plain: boolean;
}

/** Where one side tells no more than the names of what each layer reads. */
function readsThatDiffer(work: Work, pairing: Pairing, partners: ReadonlyMap<string, string>): readonly WiringChange[] {
  const { a, b } = work;
  const gone = new Set(pairing.removed.map((layer) => layer.path));
  const fresh = new Set(pairing.added.map((layer) => layer.path));
  const found: WiringChange[] = [];
  // An operation's name carries a number and a module path of its release; the name of a layer that has a partner is
  // the partner's.
  const known = new Set(b.layers.filter((layer) => layer.kind !== 'operation').map((layer) => layer.path));
  const word = (name: string): string => (known.has(name) ? name : operationName(name));
  for (const pair of pairing.pairs) {
    const { inputs } = pair.a;
    const others = pair.b.inputs;
    if (inputs === null || others === null) {
      if (inputs !== others && pair.a.weights.length > 0) {
        leaveOut(work, 'wiring', 'wiring', inputs === null ? 'a' : 'b', '');
      }
      continue;
    }
    const direct = inputs.map((path) => partners.get(path) ?? path);
    if (direct.map(word).join('\n') === others.map(word).join('\n')) continue;
    const ours = inputs.map((path) => through(a, path, gone)).map((path) => partners.get(path) ?? path);
    const theirs = others.map((path) => through(b, path, fresh));
    if (ours.map(word).join('\n') === theirs.map(word).join('\n')) continue;
    const change: Change = { code: 'wiring', at: whereOf(pair.a, pair.b), before: inputs, after: others };
    found.push({ change, plain: true });
  }
  return found;
}

function operationName(name: string): string {
  return name
    .slice(name.lastIndexOf('.') + 1)
    .replace(/_\d+$/, '')
    .replaceAll('_', '')
    .toLowerCase();
}

/** Every argument of every call, down through operations to the layers that both sides have. */
function callsThatDiffer(
  pairing: Pairing,
  partners: ReadonlyMap<string, string>,
  [left, right]: readonly [AllWires, AllWires],
): readonly WiringChange[] {
  const terms = new Terms();
  const back = new Map([...partners].map(([one, other]) => [other, one]));
  const removed = new Set(pairing.removed.map((layer) => layer.path));
  const added = new Set(pairing.added.map((layer) => layer.path));
  const nameOfInput = (wires: AllWires, graph: string, index: number): string | null =>
    wires.get(graph)?.inputs[index] ?? null;
  const otherGraph = (graph: string, table: ReadonlyMap<string, string>): string =>
    graph === '' ? '' : (table.get(graph) ?? graph);
  const resolve = (deep: boolean): readonly [ResolvedWires, ResolvedWires] => [
    resolveWires(left, terms, {
      side: 'a',
      common: (path) => partners.get(path) ?? null,
      through: deep ? removed : NONE,
      byPlace: (graph, index) => nameOfInput(right, otherGraph(graph, partners), index) === null,
    }),
    resolveWires(right, terms, {
      side: 'b',
      common: (path) => (back.has(path) ? path : null),
      through: deep ? added : NONE,
      byPlace: (graph, index) => nameOfInput(left, otherGraph(graph, back), index) === null,
    }),
  ];
  const direct = resolve(false);
  const deep = resolve(true);
  const differs = (one: readonly number[], other: readonly number[]): boolean => one.join() !== other.join();
  const found: WiringChange[] = [];
  for (const pair of pairing.pairs) {
    if (pair.a.kind === 'operation') continue;
    const callsIn = ([one, other]: readonly [ResolvedWires, ResolvedWires]) =>
      [one.calls.get(pair.a.path) ?? [], other.calls.get(pair.b.path) ?? []] as const;
    const [before, after] = callsIn(direct);
    if (!differs(before, after) || !differs(...callsIn(deep))) continue;
    const texts = callTexts(terms, before, after);
    const change: Change = { code: 'wiring', at: whereOf(pair.a, pair.b), before: texts.before, after: texts.after };
    found.push({ change, plain: texts.plain });
  }
  for (const [graph, wires] of left) {
    const other = otherGraph(graph, partners);
    const theirs = right.get(other);
    if (theirs === undefined) continue;
    const at: Where = { a: graph, b: other, kind: 'model' };
    const mapped = wires.inputs.map((name) => (name === null ? null : (partners.get(name) ?? null)));
    const told =
      mapped.every((name) => name !== null) && theirs.inputs.every((name) => name !== null && back.has(name));
    if (told && mapped.length === theirs.inputs.length && mapped.join('\n') !== theirs.inputs.join('\n')) {
      const names = (inputs: readonly (string | null)[]): readonly string[] => inputs.map((name) => name ?? '');
      const change: Change = { code: 'wiring', at, before: names(wires.inputs), after: names(theirs.inputs) };
      found.push({ change, plain: false });
    }
    const ends = ([one, two]: readonly [ResolvedWires, ResolvedWires]) =>
      [one.outputs.get(graph) ?? [], two.outputs.get(other) ?? []] as const;
    const [before, after] = ends(direct);
    if (!differs(before, after) || !differs(...ends(deep))) continue;
    const texts = listTexts(terms, before, after);
    found.push({ change: { code: 'outputs', at, ...texts }, plain: texts.plain });
  }
  return found;
}

const NONE: ReadonlySet<string> = new Set();

interface Texts {
  readonly before: readonly string[];
  readonly after: readonly string[];
  readonly plain: boolean;
}

/** Texts of two lists of values; of long ones the part that differs. */
function listTexts(terms: Terms, before: readonly number[], after: readonly number[]): Texts {
  const one: string[] = [];
  const other: string[] = [];
  let plain = true;
  for (let index = 0; index < Math.max(before.length, after.length); index += 1) {
    const [left, right] = [before[index], after[index]];
    if (left !== right) {
      for (const id of [left, right]) if (id !== undefined && terms.at(id)?.form !== 'layer') plain = false;
    }
    const [a, b] = textPair(terms, left, right);
    if (a !== null) one.push(a);
    if (b !== null) other.push(b);
  }
  return { before: one, after: other, plain };
}

/** Longer, an expression is told by the part that differs. */
const EXPRESSION = 70;

function textPair(
  terms: Terms,
  left: number | undefined,
  right: number | undefined,
): readonly [string | null, string | null] {
  const one = left === undefined ? null : terms.text('a', left);
  const other = right === undefined ? null : terms.text('b', right);
  if (left === undefined || right === undefined || left === right || one === null || other === null)
    return [one, other];
  if (one !== other && one.length <= EXPRESSION && other.length <= EXPRESSION) return [one, other];
  const [first, second] = terms.firstDifference(left, right);
  return [terms.text('a', first, 2), terms.text('b', second, 2)];
}

function callTexts(terms: Terms, before: readonly number[], after: readonly number[]): Texts {
  const [one, ...more] = before;
  const [other, ...others] = after;
  if (one === undefined || other === undefined || more.length > 0 || others.length > 0) {
    const all = (side: 'a' | 'b', calls: readonly number[]): readonly string[] =>
      calls.map((id) => {
        const parts = terms.parts(side, id, 2);
        return parts.length === 1 ? (parts[0] ?? '') : `(${parts.join(', ')})`;
      });
    return { before: all('a', before), after: all('b', after), plain: false };
  }
  const list = listTexts(terms, terms.at(one)?.of ?? [], terms.at(other)?.of ?? []);
  const named = (side: 'a' | 'b', id: number): readonly string[] => terms.named(side, id);
  const [ours, theirs] = [named('a', one), named('b', other)];
  return {
    before: [...list.before, ...ours],
    after: [...list.after, ...theirs],
    plain: list.plain && ours.length === 0 && theirs.length === 0,
  };
}

/** The order of a file's layers where it tells no connections: in a Sequential it is what is computed. */
export function compareOrder(work: Work, pairing: Pairing): void {
  const { a, b } = work;
  if (a.dialect !== 'torch' || b.dialect !== 'torch' || wiresOfBoth(work) !== null) return;
  // A safetensors file puts its tensors in an order of its own, by type and size, which says nothing.
  if ([a, b].some((side) => side.format === 'safetensors')) return;
  const places = new Map(b.layers.map((layer, index) => [layer.path, index]));
  const parents = new Map(a.layers.map((layer) => [layer.path, layer]));
  const groups = new Map<string, LayerPair[]>();
  for (const pair of pairing.pairs) {
    const key = `${pair.a.parent ?? ''}\n${pair.b.parent ?? ''}`;
    const list = groups.get(key);
    if (list) list.push(pair);
    else groups.set(key, [pair]);
  }
  for (const pairs of groups.values()) {
    const kept = keptInOrder(pairs.map((pair) => places.get(pair.b.path) ?? 0));
    if (kept.size === pairs.length) continue;
    const [first] = pairs;
    const parent = first?.a.parent == null ? undefined : parents.get(first.a.parent);
    // The root of a whole module has no row of its own.
    const isRoot = parent === undefined && a.rootType === 'Sequential' && b.rootType === 'Sequential';
    if (!isRoot && parent?.type !== 'Sequential') {
      for (const [index, pair] of pairs.entries())
        if (!kept.has(index)) leaveOut(work, 'wiring', 'order', 'both', pair.a.path);
      continue;
    }
    const behind = pairs.toSorted((one, other) => (places.get(one.b.path) ?? 0) - (places.get(other.b.path) ?? 0));
    const placeOf = new Map(behind.map((pair, index) => [pair, index]));
    for (const [index, pair] of pairs.entries()) {
      if (kept.has(index)) continue;
      const before = pairs[index - 1]?.a.path;
      const after = behind[(placeOf.get(pair) ?? 0) - 1]?.b.path;
      const names = (path: string | undefined): readonly string[] => [path ?? 'the input'];
      work.changes.push({ code: 'wiring', at: whereOf(pair.a, pair.b), before: names(before), after: names(after) });
    }
  }
}
