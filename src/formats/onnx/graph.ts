import { BnsumError } from '../../ir/error.ts';
import type { Json } from '../../ir/json.ts';
import type { Call, Constant, Dim, Graph, Shape, Value } from '../../ir/model.ts';
import { describeSources, type Expression, type Forms, isConstantNode, isStated, type Source } from './canonical.ts';
import type { Drafts, Held } from './layer.ts';
import { isStandard, operatorOf, settingsOf, subgraphsOf } from './node.ts';
import type { GraphProto, NodeProto, ValueInfoProto } from './schema.ts';
import { find, type Known, type Scope } from './scope.ts';
import { NORMS, type Recognised, recognise, type Slot } from './slot.ts';
import { dtypeOfCode, smallBytes } from './tensor.ts';

/** Values and calls of a graph, numbered as they come. */
interface Wiring {
  readonly ids: Map<string, number>;
  readonly values: Value[];
  readonly calls: Plan[];
}

/** A call whose constants are described once every tensor has its row. */
interface Plan {
  readonly call: Omit<Call, 'inputs' | 'told'>;
  readonly inputs: readonly (number | Source | null)[];
  readonly told: ReadonlyMap<string, Source>;
}

/** A graph on the way: its constants are described by `finishGraph`. */
export interface Walked {
  readonly graph: Omit<Graph, 'calls'>;
  readonly plans: readonly Plan[];
  readonly expressions: readonly Expression[];
  readonly names: ReadonlySet<string>;
}

/**
 * Turns the nodes that compute into calls, and those with weights into layers. Of graphs inside nodes only the layers
 * are taken. Throws BnsumError MALFORMED when a node reads what nothing before it gives, or gives what is given already.
 */
export async function walkGraph(
  graph: GraphProto,
  nodes: readonly NodeProto[],
  scope: Scope,
  drafts: Drafts,
  file: string,
  outerNames: ReadonlySet<string>,
  /** null: a graph inside a node, of which only the layers are taken. */
  forms: Forms | null,
): Promise<Walked> {
  const wiring: Wiring = { ids: new Map(), values: [], calls: [] };
  const infos = infosOf(graph);
  const value = (name: string): number => {
    const before = wiring.ids.get(name);
    if (before !== undefined) return before;
    const id = wiring.values.length;
    const info = infos.get(name);
    wiring.ids.set(name, id);
    wiring.values.push({ id, shape: shapeOf(info), dtype: dtypeOfCode(info?.type?.tensor_type?.elem_type) });
    return id;
  };
  const given = new Set<string>();
  const inputs: number[] = [];
  for (const { name = '' } of graph.input ?? []) {
    // Files before IR version 4 list initializers among the inputs.
    if (name === '' || scope.known.has(name)) continue;
    given.add(name);
    inputs.push(value(name));
  }
  const readers = readersOf(nodes);
  const outputs = new Set((graph.output ?? []).map((info) => info.name ?? ''));
  const absorbed = new Set<NodeProto>();
  /** Values that follow from constants alone; no call makes them when the model runs. */
  const computable = new Set<string>();
  const isConstant = (name: string): boolean => computable.has(name) || find(scope, name) !== undefined;
  const expressions = new Map<string, Expression>();
  const texts = new Map((graph.initializer ?? []).map((proto) => [proto.name ?? '', proto]));
  const sourceOf = async (name: string): Promise<Source | null> => {
    if (name === '' || forms === null) return null;
    const found = expressions.get(name) ?? find(scope, name)?.root;
    if (found !== undefined) return found;
    const proto = texts.get(name);
    return proto === undefined ? null : { json: new Map([['value', await forms.strings(proto)]]) };
  };
  /** Keeps what a node makes of constants; each output is one of its own. */
  const express = async (node: NodeProto): Promise<void> => {
    if (forms === null || isConstantNode(node)) return;
    const { attrs, free } = await forms.of(node);
    const args: (Source | null)[] = [];
    for (const name of [...(node.input ?? []), ...free]) args.push(await sourceOf(name));
    for (const [index, name] of (node.output ?? []).entries()) {
      const own = index === 0 ? attrs : new Map<string, Json>([...attrs, ['output', index]]);
      if (name !== '') expressions.set(name, { op: operatorOf(node), attrs: own, args });
    }
  };
  const malformed = (node: NodeProto, reason: string): BnsumError =>
    new BnsumError({ code: 'MALFORMED', file, place: node.name || node.output?.[0] || operatorOf(node), reason });
  const claim = (node: NodeProto, name: string): void => {
    if (given.has(name)) throw malformed(node, `gives '${name}', which is given already`);
    given.add(name);
  };
  /** The outputs of a layer that anything reads, and the first one in any case. */
  const read = (names: readonly string[]): readonly string[] =>
    names.filter((name, index) => index === 0 || readers.has(name) || outputs.has(name));
  const isThere = (name: string): boolean =>
    given.has(name) || outerNames.has(name) || find(scope, name) !== undefined || scope.texts.includes(name);

  for (const node of nodes) {
    if (absorbed.has(node)) continue;
    for (const name of node.input ?? []) {
      if (name !== '' && !isThere(name)) {
        throw malformed(node, `reads '${name}', which no input, initializer or node before it gives`);
      }
    }
    const made = (node.output ?? []).filter((name) => name !== '');
    for (const name of made) claim(node, name);
    if (made.length > 0 && made.every((name) => scope.known.has(name))) {
      await express(node);
      continue;
    }
    const recognised = recognise(node, (input) => find(scope, node.input?.[input]));
    const held =
      recognised === undefined ? [] : await weightsOf(node, recognised.slots, NORMS.has(recognised.kind), scope);
    if (recognised === undefined || (recognised.slots.length > 0 && held.length === 0)) {
      if (followsFrom(node, isConstant) && !made.some((name) => outputs.has(name))) {
        for (const name of made) computable.add(name);
        await express(node);
        continue;
      }
      const form = (await forms?.of(node)) ?? { attrs: new Map<string, Json>(), free: [] };
      const inputs: (number | Source | null)[] = [];
      for (const name of [...(node.input ?? []), ...form.free]) {
        // Names that a graph inside reads may be those of a graph further out, or of nothing.
        if (name === '' || isConstant(name) || scope.texts.includes(name)) inputs.push(await sourceOf(name));
        else if (given.has(name)) inputs.push(value(name));
      }
      const places = (node.output ?? []).flatMap((name, index) => (name === '' ? [] : [index]));
      const told = new Map([...form.attrs].map(([key, json]): [string, Source] => [key, { json }]));
      if (places.some((place, index) => place !== index)) told.set('outputs', { json: places });
      wiring.calls.push({
        call: { layer: null, op: operatorOf(node), attrs: settingsOf(node), outputs: made.map(value) },
        inputs,
        told,
      });
      continue;
    }
    const bias = biasBehind(node, held, readers, outputs, scope);
    if (bias !== undefined) {
      absorbed.add(bias.node);
      for (const name of bias.node.output ?? []) claim(bias.node, name);
      held.push({ role: 'bias', class: 'weight', known: bias.known });
    }
    for (const { known } of held) markUsed(known);
    const draft = drafts.call(node, recognised, held);
    const data = (node.input ?? []).filter((name) => name !== '' && !isConstant(name));
    const results = read(bias?.node.output ?? made);
    await forms?.of(node);
    wiring.calls.push({
      call: { layer: draft.path, op: '', attrs: new Map(), outputs: results.map(value) },
      inputs: data.map(value),
      told: await layerTold(node, recognised, held, bias?.node, results, { isConstant, sourceOf, scope }),
    });
  }
  return {
    graph: {
      inputs,
      outputs: [...outputs].filter((name) => given.has(name) || inputs.includes(wiring.ids.get(name) ?? -1)).map(value),
      values: wiring.values,
      takes: (graph.input ?? []).flatMap(({ name = '' }) =>
        inputs.includes(wiring.ids.get(name) ?? -1) ? [name] : [],
      ),
      gives: [...outputs],
    },
    plans: wiring.calls,
    expressions: [...expressions.values()],
    names: given,
  };
}

interface Lookup {
  readonly isConstant: (name: string) => boolean;
  readonly sourceOf: (name: string) => Promise<Source | null>;
  readonly scope: Scope;
}

/** What a layer's node says beyond its attributes and weights: other places of its data, and constants that are no weights. */
async function layerTold(
  node: NodeProto,
  { kind, slots }: Recognised,
  held: readonly Held[],
  bias: NodeProto | undefined,
  results: readonly string[],
  { isConstant, sourceOf, scope }: Lookup,
): Promise<ReadonlyMap<string, Source>> {
  const told = new Map<string, Source>();
  const roles = new Map(slots.map(({ input, role }) => [input, role]));
  const places: number[] = [];
  for (const [place, name] of (node.input ?? []).entries()) {
    if (name === '') continue;
    if (!isConstant(name) && !scope.texts.includes(name)) {
      places.push(place);
      continue;
    }
    const source = await sourceOf(name);
    const role = roles.get(place);
    const isHeld = role !== undefined && held.some((one) => one.role === role);
    // Scale and shift that an exporter put in are none.
    const isPutIn = role !== undefined && NORMS.has(kind) && find(scope, name) !== undefined;
    if (source === null) continue;
    if (isHeld && !isStated(source)) told.set(`${role} from`, source);
    else if (!isHeld && !isPutIn) told.set(`input ${place}`, source);
  }
  for (const name of bias?.input ?? []) {
    const source = isConstant(name) ? await sourceOf(name) : null;
    if (source !== null && !isStated(source)) told.set('bias from', source);
  }
  const [usual] = [0, 1].filter((place) => !roles.has(place));
  if (places.some((place) => place !== usual)) told.set('inputs', { json: places });
  const outputs = (bias ?? node).output ?? [];
  const taken = results.map((name) => outputs.indexOf(name));
  if (taken.some((place, index) => place !== index)) told.set('outputs', { json: taken });
  return told;
}

/** The graph with its constants described; every tensor must have its row by now. */
export async function finishGraph({ graph, plans, expressions }: Walked, drafts: Drafts, forms: Forms): Promise<Graph> {
  const describe = await describeSources(expressions, drafts.rowOf, forms);
  const calls: Call[] = [];
  for (const { call, inputs, told } of plans) {
    const given: (number | Constant)[] = [];
    for (const one of inputs) given.push(typeof one === 'number' ? one : { constant: await describe(one) });
    const found = new Map<string, Json>();
    for (const [key, source] of told) found.set(key, await describe(source));
    calls.push({ ...call, inputs: given, told: found });
  }
  return { ...graph, calls, operators: forms.versions, ...(forms.unread() ? { unread: true } : {}) };
}

function markUsed(known: Known): void {
  known.root.used = true;
  for (const part of known.quantisation) markUsed(part.known);
}

/** Whether a node computes from constants alone. Of CastLike's second argument only the type counts. */
function followsFrom(node: NodeProto, isConstant: (name: string) => boolean): boolean {
  const op = node.op_type ?? '';
  const inputs = (node.input ?? []).filter((name) => name !== '');
  if (!isStandard(node) || inputs.length === 0 || subgraphsOf(node).length > 0) return false;
  if (op.startsWith('Random') || op === 'Bernoulli' || op === 'Multinomial') return false;
  return (op === 'CastLike' ? inputs.slice(0, 1) : inputs).every(isConstant);
}

function readersOf(nodes: readonly NodeProto[]): ReadonlyMap<string, readonly NodeProto[]> {
  const readers = new Map<string, NodeProto[]>();
  const add = (name: string, node: NodeProto): void => {
    const list = readers.get(name);
    if (list === undefined) readers.set(name, [node]);
    else list.push(node);
  };
  for (const node of nodes) {
    for (const name of node.input ?? []) add(name, node);
    for (const inner of subgraphsOf(node)) for (const name of freeNames(inner)) add(name, node);
  }
  return readers;
}

/** Names that a graph inside a node reads and does not make itself; those of graphs inside it included. */
function freeNames(graph: GraphProto): readonly string[] {
  const own = new Set<string>();
  for (const { name = '' } of graph.input ?? []) own.add(name);
  for (const { name = '' } of graph.initializer ?? []) own.add(name);
  for (const { values } of graph.sparse_initializer ?? []) own.add(values?.name ?? '');
  const read = new Set<string>();
  for (const node of graph.node ?? []) {
    for (const name of node.output ?? []) own.add(name);
    for (const name of node.input ?? []) read.add(name);
    for (const inner of subgraphsOf(node)) for (const name of freeNames(inner)) read.add(name);
  }
  for (const { name = '' } of graph.output ?? []) read.add(name);
  return [...read].filter((name) => name !== '' && !own.has(name));
}

/**
 * The constants that a node has in its slots. Scale and shift of a normalisation that are Constant nodes of ones and
 * zeros were put in by an exporter, since ONNX demands them; they are none of the layer's weights.
 */
async function weightsOf(node: NodeProto, slots: readonly Slot[], isNorm: boolean, scope: Scope): Promise<Held[]> {
  const held: Held[] = [];
  for (const slot of slots) {
    const known = find(scope, node.input?.[slot.input]);
    if (known === undefined) continue;
    if (isNorm && known.root.origin === 'constant' && (await isNeutral(known, slot.role))) continue;
    held.push({ role: slot.role, class: slot.class, known });
    for (const part of known.quantisation) {
      held.push({ role: `${slot.role}_${part.role}`, class: 'constant', known: part.known });
    }
  }
  return held;
}

async function isNeutral(known: Known, role: string): Promise<boolean> {
  if (known.stored.tensor.dtype !== 'float32') return false;
  const bytes = await smallBytes(known.stored);
  if (bytes === null || bytes.byteLength % 4 !== 0) return false;
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  const wanted = role === 'weight' ? 1 : role === 'bias' ? 0 : Number.NaN;
  for (let at = 0; at < bytes.byteLength; at += 4) if (view.getFloat32(at, true) !== wanted) return false;
  return true;
}

/** The Add behind a MatMul or a Conv without bias that adds a constant along its channels, and nothing else reads. */
function biasBehind(
  node: NodeProto,
  held: readonly Held[],
  readers: ReadonlyMap<string, readonly NodeProto[]>,
  outputs: ReadonlySet<string>,
  scope: Scope,
): { readonly node: NodeProto; readonly known: Known } | undefined {
  const op = node.op_type ?? '';
  const [result = ''] = node.output ?? [];
  if (!['MatMul', 'Conv', 'ConvTranspose'].includes(op) || held.some((one) => one.role === 'bias')) return undefined;
  const behind = readers.get(result) ?? [];
  const [add] = behind;
  if (behind.length !== 1 || add === undefined || operatorOf(add) !== 'Add' || outputs.has(result)) return undefined;
  const known = (add.input ?? []).filter((name) => name !== result).map((name) => find(scope, name))[0];
  const weight = held.find((one) => one.role === 'weight')?.known;
  if (known === undefined || weight === undefined || known.transposed || known.quantisation.length > 0)
    return undefined;
  const { shape } = known.stored.tensor;
  const size = shape.reduce((product, one) => product * one, 1);
  const sizes = weight.stored.tensor.shape;
  const groups = Number(node.attribute?.find((attribute) => attribute.name === 'group')?.i ?? 1);
  const channels =
    op === 'Conv' ? sizes[0] : op === 'ConvTranspose' ? (sizes[1] ?? 0) * groups : sizes[weight.transposed ? 0 : 1];
  // Counted from the end: the last axis of a product, the one before the spatial ones of a convolution.
  const place = op === 'MatMul' ? shape.length - 1 : shape.length - (sizes.length - 1);
  return size === channels && shape[place] === channels ? { node: add, known } : undefined;
}

function infosOf(graph: GraphProto): ReadonlyMap<string, ValueInfoProto> {
  const infos = new Map<string, ValueInfoProto>();
  for (const list of [graph.value_info, graph.output, graph.input]) {
    for (const info of list ?? []) if (info.name !== undefined) infos.set(info.name, info);
  }
  return infos;
}

/** null: not stated. A named axis is dynamic; one without number and name is not known, the batch axis dynamic. */
function shapeOf(info: ValueInfoProto | undefined): Shape | null {
  const shape = info?.type?.tensor_type?.shape;
  if (shape === undefined) return null;
  return (shape.dim ?? []).map(({ dim_value, dim_param }, axis): Dim => {
    if (typeof dim_value === 'number' && dim_value >= 0) return dim_value;
    return axis === 0 || (dim_param !== undefined && dim_param !== '') ? null : '?';
  });
}
