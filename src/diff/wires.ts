import {
  booleanAt,
  EMPTY_OBJECT,
  isList,
  isObject,
  type Json,
  type JsonObject,
  listAt,
  objectAt,
  stringAt,
} from '../ir/json.ts';
import type { Kind } from '../ir/kind.ts';
import type { Call, Constant, Graph, Layer, Model } from '../ir/model.ts';
import { countCallTensors, isCallTensor } from '../layers/call-tensors.ts';
import { operationWord } from '../layers/operation.ts';
import { formatFact } from './fact.ts';

/** A value that a call reads: an output of an earlier call, or an input of the graph (−1 − its place). */
export interface WireRef {
  readonly from: number;
  readonly output: number;
}

export type WireArg = WireRef | Constant;

/** A keyword argument: its text with `#` in place of the values, and the values. */
export interface WireNamed {
  readonly key: string;
  readonly text: string;
  readonly refs: readonly WireRef[];
}

/** One call, freed of what a release writes without being told: masks that a layer before gives, arguments at their default. */
export interface WireCall {
  /** Path of the layer; null: an operation. */
  readonly layer: string | null;
  /** One word in lower case; '' for a layer. */
  readonly op: string;
  readonly args: readonly WireArg[];
  readonly named: readonly WireNamed[];
}

/** The calls of one graph in the order of execution. */
export interface Wires {
  readonly calls: readonly WireCall[];
  /** How the model is called, from Graph.takes and Graph.gives; absent: the file cannot tell. */
  readonly takes?: Json;
  readonly gives?: Json;
  /** ONNX: versions of its operators; absent there: a lock file of an older release, which kept no constants. */
  readonly operators?: JsonObject;
  /** Something of the calls was not read. */
  readonly unread?: boolean;
  /** The layer that stands for each input of the graph; null: none does. */
  readonly inputs: readonly (string | null)[];
  readonly outputs: readonly WireRef[];
}

export type AllWires = ReadonlyMap<string, Wires>;

/** Layers whose `training` has no default, so that a file holds it only when someone said so. */
const ASKS_TRAINING: ReadonlySet<Kind> = new Set([
  'attention',
  'batch_norm',
  'bidirectional',
  'grouped_attention',
  'model',
  'time_distributed',
  'unknown',
  'wrapper',
]);

/** Layers of which Keras 3 writes `training` as true by itself; of all others that have a default, as false. */
const TRAINS_BY_DEFAULT: ReadonlySet<Kind> = new Set(['crop', 'preprocessing', 'random', 'resize']);

/** Arguments that one release takes by place and another by name, in the order of their places. */
const BY_PLACE = [
  'x',
  'y',
  'inputs',
  'sequences',
  'query',
  'value',
  'key',
  'initial_state',
  'initial_states',
  'slice_spec',
];

/** TensorFlow's words for operations that Keras 3 calls otherwise. */
const COMMON_WORDS: ReadonlyMap<string, string> = new Map([
  ['abs', 'absolute'],
  ['addv2', 'add'],
  ['concat', 'concatenate'],
  ['mul', 'multiply'],
  ['neg', 'negative'],
  ['pow', 'power'],
  ['realdiv', 'truedivide'],
  ['reducemax', 'max'],
  ['reducemean', 'mean'],
  ['reducemin', 'min'],
  ['reduceprod', 'prod'],
  ['reducesum', 'sum'],
  ['sub', 'subtract'],
  ['truediv', 'truedivide'],
]);

/** Every graph of a model as wires; null: the file does not tell. */
export function wiresOf(model: Model): AllWires | null {
  if (model.graphs.size === 0) return null;
  const layers = new Map(model.layers.map((layer) => [layer.path, layer]));
  const wired = (graph: Graph): Wires => (model.dialect === 'onnx' ? wiresOfNodes(graph) : wiresOfGraph(graph, layers));
  return new Map([...model.graphs].map(([path, graph]) => [path, { ...wired(graph), ...endsOf(graph) }]));
}

function endsOf({ takes, gives, operators, unread }: Graph): Partial<Wires> {
  return {
    ...(takes === undefined ? {} : { takes }),
    ...(gives === undefined ? {} : { gives }),
    ...(operators === undefined ? {} : { operators: new Map(operators) }),
    ...(unread === undefined ? {} : { unread }),
  };
}

/** The calls of an ONNX graph, whose reader has put everything into a canonical form. */
function wiresOfNodes(graph: Graph): Wires {
  const refs = new Map<number, WireRef>();
  for (const [index, id] of graph.inputs.entries()) refs.set(id, { from: -1 - index, output: 0 });
  for (const [index, call] of graph.calls.entries()) {
    for (const [output, id] of call.outputs.entries()) refs.set(id, { from: index, output });
  }
  const refOf = (id: number): WireRef => refs.get(id) ?? { from: -1, output: 0 };
  const calls = graph.calls.map((call): WireCall => {
    const args = call.inputs.map((input): WireArg => (typeof input === 'number' ? refOf(input) : input));
    while (args.length > 0 && isNull(args.at(-1))) args.pop();
    const named = [...(call.told ?? [])].map(([key, value]) => ({ key, text: formatFact(value), refs: [] }));
    return {
      layer: call.layer,
      op: call.layer === null ? call.op : '',
      args,
      named: named.toSorted((one, other) => (one.key < other.key ? -1 : 1)),
    };
  });
  return { calls, inputs: graph.inputs.map(() => null), outputs: graph.outputs.map(refOf) };
}

/** Wires without what an older release did not keep of ONNX. */
export function withoutConstants(all: AllWires): AllWires {
  const bare = (wires: Wires): Wires => ({
    ...wires,
    calls: wires.calls.map((call) => ({
      ...call,
      op: operationWord(call.op),
      args: call.args.filter((one) => !('constant' in one)),
      named: [],
    })),
  });
  return new Map([...all].map(([path, wires]) => [path, bare(wires)]));
}

function wiresOfGraph(graph: Graph, layers: ReadonlyMap<string, Layer>): Wires {
  const refs = new Map<number, WireRef>();
  for (const [index, id] of graph.inputs.entries()) refs.set(id, { from: -1 - index, output: 0 });
  const makers = new Map<number, Call>();
  for (const [index, call] of graph.calls.entries()) {
    for (const [output, id] of call.outputs.entries()) {
      refs.set(id, { from: index, output });
      makers.set(id, call);
    }
  }
  const refOf = (id: number): WireRef => refs.get(id) ?? { from: -1, output: 0 };
  return {
    calls: graph.calls.map((call) => wireOf(call, layers, refOf, (id, data) => isGivenMask(id, data, makers, layers))),
    inputs: graph.inputs.map((id) => makers.get(id)?.layer ?? null),
    outputs: graph.outputs.map(refOf),
  };
}

function wireOf(
  call: Call,
  layers: ReadonlyMap<string, Layer>,
  refOf: (id: number) => WireRef,
  isGiven: (id: number, data: number | undefined) => boolean,
): WireCall {
  const layer = call.layer === null ? undefined : layers.get(call.layer);
  // TensorFlow's operations are layers of a kind of their own; Keras 3's are none.
  const loose = call.layer === null || layer?.kind === 'operation';
  const keywords = [...call.attrs].map(([key, value]) => ({ key, value, tensors: countCallTensors(value) }));
  const named = call.inputs.filter((input) => typeof input === 'number');
  const behind = Math.min(
    named.length,
    keywords.reduce((sum, { tensors }) => sum + tensors, 0),
  );
  let place = named.length - behind;
  let left = place;
  const args: WireArg[] = [];
  for (const input of call.inputs) {
    if (typeof input !== 'number') args.push({ constant: plainArgument(input.constant) });
    else if (left > 0) {
      args.push(refOf(input));
      left -= 1;
    }
  }
  const data = named.slice(0, named.length - behind);
  const byKey = new Map<string, number>();
  let next = data.length;
  for (const { key, tensors } of keywords) {
    const [first] = named.slice(next, next + tensors);
    if (first !== undefined) byKey.set(key, first);
    next += tensors;
  }
  const found: WireNamed[] = [];
  const placed = new Map<string, readonly WireArg[]>();
  for (const { key, value, tensors } of keywords) {
    const ids = named.slice(place, place + tensors);
    place += tensors;
    if (key === 'name' || value === null) continue;
    if (tensors === 0 && isDefault(key, value, loose ? null : (layer?.kind ?? 'unknown'))) continue;
    const of = MASKED.get(key);
    if (of !== undefined && ids.length > 0) {
      // One mask is that of the first argument; a list has one for each.
      const dataOf = (index: number): number | undefined => data[of.place + index] ?? byKey.get(of.name);
      if (ids.every((id, index) => isGiven(id, dataOf(index)))) continue;
    }
    if (BY_PLACE.includes(key) && (tensors > 0 || loose)) {
      placed.set(key, tensors > 0 ? ids.map(refOf) : [{ constant: plainArgument(value) }]);
      continue;
    }
    found.push({ key, text: formatFact(plainArgument(value)), refs: ids.map(refOf) });
  }
  for (const key of BY_PLACE) args.push(...(placed.get(key) ?? []));
  while (args.length > 0 && isNull(args.at(-1))) args.pop();
  const constants = loose ? layer?.norm['constants'] : undefined;
  if (constants !== undefined && constants !== null) {
    found.push({ key: 'constants', text: formatFact(constants as Json), refs: [] });
  }
  const own = layer === undefined ? operationWord(call.op) : String(layer.norm['op'] ?? '');
  return {
    layer: loose ? null : call.layer,
    op: loose ? (COMMON_WORDS.get(own) ?? own) : '',
    args,
    named: found.toSorted((one, other) => (one.key < other.key ? -1 : 1)),
  };
}

function isNull(argument: WireArg | undefined): boolean {
  return argument !== undefined && 'constant' in argument && argument.constant === null;
}

function isDefault(key: string, value: Json, kind: Kind | null): boolean {
  if (key !== 'training') return value === false;
  if (kind === null || ASKS_TRAINING.has(kind)) return false;
  return value === TRAINS_BY_DEFAULT.has(kind);
}

/** A literal as text that is the same for every release: `#` for a tensor, `1:5` for a slice. */
function plainArgument(value: Json): Json {
  if (isCallTensor(value)) return '#';
  if (isList(value)) return value.map(plainArgument);
  if (!isObject(value)) return value;
  const inner = stringAt(value, 'class_name') === '__slice__' ? objectAt(value, 'config') : value;
  if (inner?.has('start') === true && inner.has('stop')) {
    const [start, stop, step] = ['start', 'stop', 'step'].map((key) => inner.get(key) ?? null);
    const part = (one: Json | undefined): string =>
      one === null || one === undefined ? '' : formatFact(plainArgument(one));
    return `${part(start)}:${part(stop)}${step === null ? '' : `:${part(step)}`}`;
  }
  return new Map(
    [...value]
      .filter(([key]) => key !== 'module' && key !== 'registered_name')
      .map(([key, one]) => [key, plainArgument(one)]),
  );
}

/** Arguments that Keras fills in with the mask of another argument: its place, and its name. `attention_mask` is none. */
const MASKED: ReadonlyMap<string, { readonly place: number; readonly name: string }> = new Map([
  ['mask', { place: 0, name: 'inputs' }],
  ['inputs_mask', { place: 0, name: 'inputs' }],
  ['sequences_mask', { place: 0, name: 'sequences' }],
  ['query_mask', { place: 0, name: 'query' }],
  ['value_mask', { place: 1, name: 'value' }],
  ['key_mask', { place: 2, name: 'key' }],
]);

/**
 * Layers that hand the mask of their first argument on as it is: those that set `supports_masking` and keep
 * `compute_mask` of Layer, and the recurrent ones (keras/src/layers of 3.15).
 */
const HANDS_MASK_ON: ReadonlySet<Kind> = new Set([
  'activation',
  'attention',
  'batch_norm',
  'bidirectional',
  'dense',
  'dropout',
  'group_norm',
  'grouped_attention',
  'gru',
  'identity',
  'layer_norm',
  'lstm',
  'noise',
  'normalization',
  'prelu',
  'rescaling',
  'rnn',
  'rnn_container',
  'softmax',
  'time_distributed',
  'unit_norm',
]);

/**
 * Whether a mask is the one that Keras 3 writes for what Embedding and Masking hand on: `!=` their mask value on what
 * they read (`any` of it for Masking), and nothing else.
 */
function isGivenMask(
  id: number,
  data: number | undefined,
  makers: ReadonlyMap<number, Call>,
  layers: ReadonlyMap<string, Layer>,
): boolean {
  const seen = new Set<number>();
  for (let next = data; next !== undefined && !seen.has(next); ) {
    seen.add(next);
    const call = makers.get(next);
    const layer = call?.layer == null ? undefined : layers.get(call.layer);
    const source = call?.inputs.find((input) => typeof input === 'number');
    if (layer === undefined || typeof source !== 'number') return false;
    if (layer.norm['maskZero'] === true) return isUnequal(makers.get(id), source, 0);
    if (layer.kind === 'masking') {
      const any = makers.get(id);
      const [inner] = any?.inputs ?? [];
      const isAny = any?.layer === null && operationWord(any.op) === 'any' && typeof inner === 'number';
      return isAny && isUnequal(makers.get(inner), source, layer.norm['maskValue'] ?? 0);
    }
    if (!HANDS_MASK_ON.has(layer.kind)) return false;
    next = source;
  }
  return false;
}

/** `source != value`. */
function isUnequal(call: Call | undefined, source: number, value: unknown): boolean {
  if (call?.layer !== null || operationWord(call.op) !== 'notequal') return false;
  const [one, other] = call.inputs;
  return one === source && typeof other === 'object' && other.constant === value;
}

/** Names of a graph's calls for a file that people review: operations are numbered by their word. */
function namesOfCalls(calls: readonly WireCall[], renamed: (path: string) => string): readonly string[] {
  const counts = new Map<string, number>();
  return calls.map(({ layer, op }) => {
    const base = layer === null ? `(${op})` : renamed(layer);
    const count = (counts.get(base) ?? 0) + 1;
    counts.set(base, count);
    return count === 1 ? base : `${base} call ${count}`;
  });
}

/** Wires as JSON for a lock file: `{graph: {calls, inputs, outputs}}`, values named by the call that makes them. */
export function wiresJson(all: AllWires, renamed: (path: string) => string): JsonObject {
  return new Map(
    [...all].map(([path, wires]): [string, Json] => {
      const names = namesOfCalls(wires.calls, renamed);
      const wordOf = ({ from, output }: WireRef): string => {
        const name = from < 0 ? `input ${-1 - from}` : (names[from] ?? '');
        return output === 0 ? name : `${name} output ${output}`;
      };
      const calls = wires.calls.map((call): Json => {
        const members = new Map<string, Json>();
        if (call.layer === null) members.set('op', call.op);
        else members.set('layer', renamed(call.layer));
        const args = call.args.map(
          (argument): Json => ('constant' in argument ? [argument.constant] : wordOf(argument)),
        );
        if (args.length > 0) members.set('args', args);
        const named = call.named.map(({ key, text, refs }): [string, Json] => [key, [text, ...refs.map(wordOf)]]);
        if (named.length > 0) members.set('named', new Map(named));
        return members;
      });
      const inputs = wires.inputs.map((input) => (input === null ? null : renamed(input)));
      const graph: [string, Json][] = [
        ['calls', calls],
        ['inputs', inputs],
        ['outputs', wires.outputs.map(wordOf)],
        ...(wires.takes === undefined ? [] : [['takes', wires.takes] as [string, Json]]),
        ...(wires.gives === undefined ? [] : [['gives', wires.gives] as [string, Json]]),
        ...(wires.operators === undefined ? [] : [['operators', wires.operators] as [string, Json]]),
        ...(wires.unread === undefined ? [] : [['unread', wires.unread] as [string, Json]]),
      ];
      return [path === '' ? '' : renamed(path), new Map(graph)];
    }),
  );
}

/** The wires of a lock file; null: it keeps none. */
export function wiresAt(json: Json | undefined): AllWires | null {
  if (!isObject(json)) return null;
  return new Map([...json].map(([path, graph]) => [path, readWires(graph)]));
}

function readWires(graph: Json): Wires {
  const entries = listAt(graph, 'calls') ?? [];
  const bare = entries.map(
    (entry): WireCall => ({
      layer: stringAt(entry, 'layer') ?? null,
      op: stringAt(entry, 'op') ?? '',
      args: [],
      named: [],
    }),
  );
  const places = new Map(namesOfCalls(bare, (path) => path).map((name, index) => [name, index]));
  const refOf = (word: Json): WireRef => {
    const text = typeof word === 'string' ? word : '';
    const exact = places.get(text);
    if (exact !== undefined) return { from: exact, output: 0 };
    const [, name = '', output = ''] = /^(.*) output (\d{1,6})$/su.exec(text) ?? [];
    const place = places.get(name);
    if (place !== undefined) return { from: place, output: Number(output) };
    const [, input = '0'] = /^input (\d{1,6})$/.exec(text) ?? [];
    return { from: -1 - Number(input), output: 0 };
  };
  return {
    calls: bare.map((call, index) => {
      const entry = entries[index] ?? null;
      return {
        ...call,
        args: (listAt(entry, 'args') ?? []).map((argument) =>
          isList(argument) ? { constant: argument[0] ?? null } : refOf(argument),
        ),
        named: [...(objectAt(entry, 'named') ?? [])].map(([key, value]): WireNamed => {
          const [text, ...refs] = isList(value) ? value : [];
          return { key, text: typeof text === 'string' ? text : '', refs: refs.map(refOf) };
        }),
      };
    }),
    inputs: (listAt(graph, 'inputs') ?? []).map((input) => (typeof input === 'string' ? input : null)),
    outputs: (listAt(graph, 'outputs') ?? []).map(refOf),
    ...(isObject(graph) && graph.has('takes') ? { takes: graph.get('takes') ?? null } : {}),
    ...(isObject(graph) && graph.has('gives') ? { gives: graph.get('gives') ?? null } : {}),
    ...(isObject(graph) && graph.has('operators') ? { operators: objectAt(graph, 'operators') ?? EMPTY_OBJECT } : {}),
    ...(booleanAt(graph, 'unread') === true ? { unread: true } : {}),
  };
}

type SideKey = 'a' | 'b';

/** A term of either side; equal terms are one node, so that a value read many times costs its size once. */
interface Term {
  readonly form: 'layer' | 'input' | 'constant' | 'operation' | 'output' | 'call';
  readonly word: string;
  readonly of: readonly number[];
  readonly named: readonly { readonly key: string; readonly text: string; readonly of: readonly number[] }[];
  /** What each side calls it. */
  readonly labels: { a: string; b: string };
}

/** Terms of both sides under common numbers. */
export class Terms {
  readonly #ids = new Map<string, number>();
  readonly #terms: Term[] = [];

  add(side: SideKey, label: string, term: Omit<Term, 'labels'>): number {
    const named = term.named.map(({ key, text, of }) => `${key}=${text}(${of.join()})`);
    const key = `${term.form} ${JSON.stringify(term.word)} ${term.of.join()} ${JSON.stringify(named)}`;
    const known = this.#ids.get(key);
    if (known !== undefined) {
      const found = this.#terms[known];
      if (found !== undefined) found.labels[side] = label;
      return known;
    }
    const id = this.#terms.push({ ...term, labels: { a: label, b: label } }) - 1;
    this.#ids.set(key, id);
    return id;
  }

  at(id: number): Term | undefined {
    return this.#terms[id];
  }

  /** For people: `relu(multiply(x, 2))`, deep parts as `…`. */
  text(side: SideKey, id: number, depth = 5): string {
    const term = this.at(id);
    if (term === undefined) return '';
    const [call] = term.of;
    if (term.form === 'output' && call !== undefined) return `${this.text(side, call, depth)} ${term.word}`;
    if (term.form !== 'operation') return term.labels[side];
    return depth === 0 ? '…' : `${term.word}(${this.parts(side, id, depth - 1).join(', ')})`;
  }

  /** What a call or an operation takes, one text each. */
  parts(side: SideKey, id: number, depth = 5): readonly string[] {
    const term = this.at(id);
    if (term === undefined) return [];
    const shown = term.of.slice(0, SHOWN).map((one) => this.text(side, one, depth));
    return [...shown, ...(term.of.length > SHOWN ? ['…'] : []), ...this.named(side, id, depth)];
  }

  named(side: SideKey, id: number, depth = 5): readonly string[] {
    return (this.at(id)?.named ?? []).map(({ key, text, of }) => {
      const values = of.slice(0, SHOWN).map((one) => this.text(side, one, depth));
      return `${key}=${values.length === 0 ? shortened(text) : values.join(', ')}`;
    });
  }

  /** The first place at which two terms differ in more than what they are made of. */
  firstDifference(one: number, other: number): readonly [number, number] {
    let pair: readonly [number, number] = [one, other];
    for (;;) {
      const left = this.at(pair[0]);
      const right = this.at(pair[1]);
      if (left === undefined || right === undefined || left.form !== right.form || left.word !== right.word)
        return pair;
      if (left.of.length !== right.of.length || left.named.length > 0 || right.named.length > 0) return pair;
      const at = left.of.findIndex((id, index) => id !== right.of[index]);
      const next = [left.of[at], right.of[at]] as const;
      if (next[0] === undefined || next[1] === undefined) return pair;
      pair = [next[0], next[1]];
    }
  }
}

/** Values of one operation that a text names. */
const SHOWN = 6;

function shortened(text: string): string {
  return text.length > 60 ? `${text.slice(0, 59)}…` : text;
}

/** What each layer reads, and what each graph gives, as terms. */
export interface ResolvedWires {
  /** Every call of a layer, in order. */
  readonly calls: ReadonlyMap<string, readonly number[]>;
  /** By the graph's path. */
  readonly outputs: ReadonlyMap<string, readonly number[]>;
}

export interface Resolution {
  readonly side: SideKey;
  /** What both sides call this layer; null: the other side lacks it. */
  readonly common: (path: string) => string | null;
  /** Layers that are read through, where they have one input. */
  readonly through: ReadonlySet<string>;
  /** Whether this input of this graph is known by its place alone, because one side has no layer for it. */
  readonly byPlace: (graph: string, index: number) => boolean;
}

export function resolveWires(all: AllWires, terms: Terms, how: Resolution): ResolvedWires {
  const calls = new Map<string, number[]>();
  const outputs = new Map<string, readonly number[]>();
  for (const [path, wires] of all) outputs.set(path, resolveGraph(path, wires, terms, how, calls));
  return { calls, outputs };
}

function resolveGraph(
  path: string,
  wires: Wires,
  terms: Terms,
  how: Resolution,
  calls: Map<string, number[]>,
): readonly number[] {
  const { side } = how;
  const leaf = (form: Term['form'], word: string, label: string): number =>
    terms.add(side, label, { form, word, of: [], named: [] });
  const labelOf = (index: number): string => (wires.inputs.length === 1 ? 'the input' : `input ${index}`);
  const inputs = wires.inputs.map((name, index) =>
    name === null || how.byPlace(path, index) ? leaf('input', String(index), name ?? labelOf(index)) : null,
  );
  const placeOf = new Map(wires.inputs.map((name, index) => [name, index]));
  const made: ((output: number) => number)[] = [];
  const idOf = ({ from, output }: WireRef): number => {
    if (from < 0) return inputs[-1 - from] ?? leaf('input', String(-1 - from), labelOf(-1 - from));
    return made[from]?.(output) ?? leaf('input', '?', '?');
  };
  const argument = (one: WireArg): number => {
    if (!('constant' in one)) return idOf(one);
    return constant(one.constant);
  };
  const constant = (value: Json): number => {
    const tensor = listAt(value, 'tensor');
    const [path, role] = tensor ?? [];
    if (typeof path === 'string' && typeof role === 'string') {
      const shared = how.common(path);
      return leaf(
        'constant',
        `tensor ${shared === null ? `${side} ${path}` : `= ${shared}`} ${role}`,
        `${path} ${role}`,
      );
    }
    // An expression of ONNX, which is no longer than its reader allows.
    const op = stringAt(value, 'op');
    const args = listAt(value, 'args');
    if (op !== undefined && args !== undefined) {
      const attrs = [...(objectAt(value, 'attrs') ?? [])];
      const named = attrs.map(([key, one]) => ({ key, text: formatFact(one), of: [] }));
      return terms.add(side, '', { form: 'operation', word: op, of: args.map(constant), named });
    }
    const text = stringAt(value, 'value') ?? formatFact(value);
    return leaf('constant', text, shortened(text));
  };
  for (const call of wires.calls) {
    const of = call.args.map(argument);
    const named = call.named.map(({ key, text, refs }) => ({ key, text, of: refs.map(idOf) }));
    if (call.layer === null) {
      const id = terms.add(side, '', { form: 'operation', word: call.op, of, named });
      made.push((output) =>
        output === 0 ? id : terms.add(side, '', { form: 'output', word: `output ${output}`, of: [id], named: [] }),
      );
      continue;
    }
    const place = placeOf.get(call.layer);
    const asInput = place === undefined ? null : (inputs[place] ?? null);
    if (asInput !== null) {
      made.push(() => asInput);
      continue;
    }
    const own = calls.get(call.layer) ?? [];
    calls.set(call.layer, own);
    own.push(terms.add(side, '', { form: 'call', word: '', of, named }));
    const values = [...new Set(call.args.filter((one) => !('constant' in one)).map(argument))];
    const [only] = values;
    if (how.through.has(call.layer) && values.length === 1 && only !== undefined) {
      made.push(() => only);
      continue;
    }
    const common = how.common(call.layer);
    const word = common === null ? `${side} ${call.layer}` : `= ${common}`;
    const times = own.length === 1 ? '' : ` call ${own.length}`;
    const label = call.layer + times;
    made.push((output) =>
      leaf('layer', `${word}${times} ${output}`, output === 0 ? label : `${label} output ${output}`),
    );
  }
  return wires.outputs.map(idOf);
}
