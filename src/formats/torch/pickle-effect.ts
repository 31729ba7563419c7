import { LIMITS } from '../../ir/limits.ts';
import { type GlobalRole, mapPython2, roleOfGlobal } from './globals.ts';
import type { PickleEvent } from './pickle-event.ts';
import { breach, fail, find, type Machine, opcodeName, summarise } from './pickle-machine.ts';
import { encodeLatin1 } from './pickle-text.ts';
import {
  type DictNode,
  type GlobalNode,
  isDict,
  isGlobal,
  isNode,
  isReduced,
  itemsOf,
  makeDict,
  type PickleValue,
  putEntry,
} from './pickle-value.ts';

/**
 * What imports, calls and assignments leave behind: a record, and an inert description of the result. Plain containers
 * are followed (OrderedDict(), set([...])), everything else stays a name with its arguments.
 */
function record(machine: Machine, facts: Omit<PickleEvent, 'offset' | 'opIndex' | 'opcode' | 'count'>): PickleEvent {
  const event: PickleEvent = {
    ...facts,
    offset: machine.opStart,
    opIndex: machine.opIndex,
    opcode: opcodeName(machine.opcode),
    count: 1,
  };
  if (facts.role !== null && facts.resolved) {
    machine.folded.push(event);
  }
  if (machine.events.length >= LIMITS.pickleEvents) {
    fail(machine, 'LIMIT', `more than ${LIMITS.pickleEvents} imports and calls off the allow list`);
  }
  machine.events.push(event);
  return event;
}

/** Counts an event of a listed name that was recorded before; undefined: it is new. */
function again(machine: Machine, kind: PickleEvent['kind'], module: string, name: string): PickleEvent | undefined {
  // Listed names are few: a short list is searched faster than a key is made.
  for (const first of machine.folded) {
    if (first.kind === kind && first.name === name && first.module === module) {
      first.count += 1;
      return first;
    }
  }
  return undefined;
}

/** An import by name. A module or name that is no string of the stream cannot be resolved. */
export function importGlobal(machine: Machine, module: PickleValue, name: PickleValue): GlobalNode {
  const resolved = typeof module === 'string' && typeof name === 'string';
  if (!resolved) {
    breach(machine, 'COMPUTED_IMPORT', 'UNSAFE', `imports a computed name (${summarise(module)}, ${summarise(name)})`);
  }
  const written = typeof module === 'string' ? module : '';
  const spelt = typeof name === 'string' ? name : '';
  const [mapped, word] = machine.protocol < 3 && resolved ? mapPython2(written, spelt) : [written, spelt];
  const role: GlobalRole | null = resolved ? roleOfGlobal(mapped, word) : null;
  const event =
    (role === null ? undefined : again(machine, 'import', mapped, word)) ??
    record(machine, {
      kind: 'import',
      module: mapped,
      name: word,
      written: mapped === written ? undefined : written,
      role,
      resolved,
      called: false,
      argSummary: '',
      args: undefined,
    });
  if (role === null && resolved) find(machine, 'UNKNOWN_GLOBAL', `${mapped}.${word}`);
  return { kind: 'global', path: `${mapped}.${word}`, module: mapped, name: word, event };
}

export function importExtension(machine: Machine, code: number): GlobalNode {
  const event = record(machine, {
    kind: 'extension',
    module: 'copyreg',
    name: `extension ${code}`,
    written: undefined,
    role: null,
    resolved: false,
    called: false,
    argSummary: '',
    args: undefined,
  });
  breach(
    machine,
    'EXTENSION_CODE',
    'UNSUPPORTED',
    `extension code ${code} means whatever the loading program registered`,
  );
  const name = `extension ${code}`;
  return { kind: 'global', path: `copyreg.${name}`, module: 'copyreg', name, event };
}

/** The name at the root of a callable: a call's result is called by the name of the call. */
function rootOf(callable: PickleValue): GlobalNode | undefined {
  let value = callable;
  for (let depth = 0; depth < 64; depth += 1) {
    if (isGlobal(value)) return value;
    if (!isReduced(value)) return undefined;
    value = value.callable;
  }
  return undefined;
}

/** A call by REDUCE, INST, OBJ, NEWOBJ or NEWOBJ_EX. */
export function call(
  machine: Machine,
  callable: PickleValue,
  args: readonly PickleValue[],
  keywords?: PickleValue,
): PickleValue {
  const root = rootOf(callable);
  const resolved = isGlobal(callable) && callable.event.resolved;
  const role = resolved && isGlobal(callable) ? callable.event.role : null;
  if (root !== undefined) root.event.called = true;
  const module = root?.module ?? '';
  const name = root?.name ?? '';
  if (role === null || again(machine, 'call', module, name) === undefined) {
    record(machine, {
      kind: 'call',
      module,
      name,
      written: undefined,
      role,
      resolved,
      called: true,
      argSummary: role === null ? summarise({ kind: 'tuple', items: args }) : '',
      args: role === null ? args : undefined,
    });
  }
  if (callable === null || (!isGlobal(callable) && !isReduced(callable))) {
    if (!(isNode(callable) && (callable.kind === 'unresolved' || callable.kind === 'persistent'))) {
      breach(machine, 'WRONG_TARGET', 'MALFORMED', `calls ${summarise(callable)}, which is no function or class`);
    }
  }
  if (isGlobal(callable) && role !== null) {
    checkRole(machine, callable, role, args, keywords);
    const plain = plainResult(callable, role, args);
    if (plain !== undefined) return plain;
  }
  return { kind: 'reduced', callable, args, keywords, state: undefined, items: undefined };
}

/** Whether a name of the allow list is used for what it is listed for. */
function checkRole(
  machine: Machine,
  callable: GlobalNode,
  role: GlobalRole,
  args: readonly PickleValue[],
  keywords: PickleValue | undefined,
): void {
  // What nearly every call is: the rebuilder of a tensor, an empty OrderedDict.
  if (role === 'rebuilder' && callable.name !== '_rebuild_from_type_v2') return;
  if (role === 'mapping' && callable.name === 'OrderedDict') return;
  const first = args[0];
  const wrong = (reason: string): void => find(machine, 'WRONG_ROLE', `${callable.module}.${callable.name} ${reason}`);
  const allowed = (value: PickleValue | undefined): boolean =>
    isGlobal(value) && roleOfGlobal(value.module, value.name) !== null;
  if (role === 'constant' || role === 'storage') wrong('is called');
  if (callable.name === '_rebuild_from_type_v2') {
    if (!isGlobal(first) || roleOfGlobal(first.module, first.name) !== 'rebuilder')
      wrong(`is given ${summarise(first)}`);
    else if (isGlobal(args[1]) && !allowed(args[1])) wrong(`makes ${summarise(args[1])}`);
  }
  if (role === 'reconstructor') {
    if (isGlobal(first)) first.event.called = true;
    if (!allowed(first)) wrong(`makes ${summarise(first)}`);
  }
  if (callable.name === 'defaultdict' && first !== undefined && first !== null && !allowed(first)) {
    wrong(`is given ${summarise(first)}`);
  }
  if (role === 'encode' && args[1] !== 'latin1' && args[1] !== 'latin-1') wrong(`is given ${summarise(args[1])}`);
  if (callable.name === '_reconstruct' && role === 'numpy' && !allowed(first)) wrong(`makes ${summarise(first)}`);
  if (role === 'numpy') {
    const at = DTYPE_ARGUMENT.get(callable.name);
    if ((at !== undefined && namesObjects(args[at])) || namesObjects(keywords)) wrong('of objects');
  }
  const made = elementsMade(callable, role, args);
  if (made > MOST_MADE) {
    find(machine, 'EXPANSION', `${callable.module}.${callable.name} makes ${made.toPrecision(3)} elements`);
  }
}

/** Which argument of NumPy's makers is the dtype. */
const DTYPE_ARGUMENT: ReadonlyMap<string, number> = new Map([
  ['dtype', 0],
  ['ndarray', 1],
  ['_reconstruct', 2],
]);

/** A dtype of Python objects, by its name, its class, or inside of a structured one. */
function namesObjects(value: PickleValue | undefined, depth: number = 4): boolean {
  if (typeof value === 'string')
    return /^(?:.*,)?\s*(?:\([\d, ]*\)|\d+)?[<>=|]?(?:O\d*|object_?)\s*(?:,|$)/.test(value);
  if (isGlobal(value)) {
    return (
      (value.module === 'builtins' && value.name === 'object') ||
      (value.module === 'numpy' && /^object/.test(value.name))
    );
  }
  if (depth === 0) return false;
  const parts = isDict(value) ? [...value.entries.values()].slice(0, 100) : (itemsOf(value)?.slice(0, 100) ?? []);
  return parts.some((part) => namesObjects(part, depth - 1));
}

/** Elements, or bytes, that one call may make out of a few numbers. */
const MOST_MADE = 1 << 24;

/** What a listed name makes out of numbers alone: list(range(n)), bytearray(n), an empty array or tensor of a shape. */
function elementsMade(callable: GlobalNode, role: GlobalRole, args: readonly PickleValue[]): number {
  const [first, second] = args;
  if (role === 'numpy') {
    if (callable.name === 'ndarray') return productOf(itemsOf(first) ?? [first]);
    return callable.name === '_reconstruct' ? productOf(itemsOf(second) ?? [second]) : 0;
  }
  if (role === 'tensor') return productOf(args);
  if (callable.name === 'range') return 0;
  if ((callable.name === 'bytes' || callable.name === 'bytearray') && args.length === 1) {
    const length = integerOf(first);
    if (length !== undefined) return Number(length);
  }
  return Math.max(0, ...args.slice(0, 4).map(rangeLength));
}

function integerOf(value: PickleValue | undefined): bigint | undefined {
  return typeof value === 'bigint' || (typeof value === 'number' && Number.isSafeInteger(value))
    ? BigInt(value)
    : undefined;
}

/** 0 where one is no whole number. */
function productOf(lengths: readonly (PickleValue | undefined)[]): number {
  if (lengths.length === 0 || lengths.length > 64) return 0;
  let product = 1;
  for (const value of lengths) {
    const length = integerOf(value);
    if (length === undefined || length < 0n) return 0;
    product *= Number(length);
  }
  return product;
}

/** Elements of a range that is made in the stream; 0 for anything else. */
function rangeLength(value: PickleValue | undefined): number {
  if (!isReduced(value) || !isGlobal(value.callable)) return 0;
  if (value.callable.module !== 'builtins' || value.callable.name !== 'range') return 0;
  const numbers = value.args.map(integerOf);
  const [start, stop, step = 1n] = numbers.length === 1 ? [0n, numbers[0]] : numbers;
  if (start === undefined || stop === undefined || step === 0n) return 0;
  const length = step > 0n ? (stop - start) / step : (start - stop) / -step;
  return length > 0n ? Number(length) : 0;
}

function plainResult(callable: GlobalNode, role: GlobalRole, args: readonly PickleValue[]): PickleValue | undefined {
  const first = args[0];
  const items = itemsOf(first);
  if (role === 'mapping') {
    const source = callable.name === 'defaultdict' ? args[1] : first;
    const dict = makeDict(callable.name);
    if (source === undefined) return dict;
    return fillDict(dict, source) ? dict : undefined;
  }
  if (role === 'encode') {
    return typeof first === 'string' && (args[1] === 'latin1' || args[1] === 'latin-1')
      ? encodeLatin1(first)
      : undefined;
  }
  if (role === 'script-list') return args.length > 0 ? first : undefined;
  if (callable.name === 'Size' && items !== undefined) return { kind: 'tuple', items };
  if (role !== 'builtin' || args.length > 2) return undefined;
  switch (callable.name) {
    case 'set':
    case 'frozenset':
      if (args.length === 0) return { kind: 'set', frozen: callable.name === 'frozenset', items: [] };
      return items && { kind: 'set', frozen: callable.name === 'frozenset', items: [...items] };
    case 'list':
      return args.length === 0 ? { kind: 'list', items: [] } : items && { kind: 'list', items: [...items] };
    case 'tuple':
      return args.length === 0 ? { kind: 'tuple', items: [] } : items && { kind: 'tuple', items };
    case 'dict':
      return args.length === 0 ? makeDict('dict') : undefined;
    case 'bytes':
    case 'bytearray':
      if (args.length === 0) return new Uint8Array(0);
      if (first instanceof Uint8Array && args.length === 1) return first;
      return typeof first === 'string' && typeof args[1] === 'string' && /^latin-?1$/.test(args[1])
        ? encodeLatin1(first)
        : undefined;
    default:
      return undefined;
  }
}

/** Copies a mapping, or a list of pairs, into a dict; false when `source` is neither. */
function fillDict(dict: DictNode, source: PickleValue): boolean {
  if (isDict(source)) {
    for (const [key, value] of source.entries) putEntry(dict, key, value);
    return true;
  }
  const pairs = itemsOf(source);
  if (pairs === undefined) return false;
  for (const pair of pairs) {
    const [key, value, ...more] = itemsOf(pair) ?? [];
    if (key === undefined || value === undefined || more.length > 0) return false;
    if (setEntry(dict, key, value) === 'unhashable') return false;
  }
  return true;
}

/** Index of compound keys, by a text that is equal where Python holds the keys equal. */
const compoundKeys: WeakMap<DictNode, Map<string, PickleValue>> = new WeakMap();

/** Sets an entry as Python does; tells whether the key was there, or cannot be a key. */
export function setEntry(dict: DictNode, key: PickleValue, value: PickleValue): 'new' | 'duplicate' | 'unhashable' {
  const actual = keyIn(dict, key);
  if (actual === undefined) return 'unhashable';
  const before = dict.entries.size;
  putEntry(dict, actual, value);
  return dict.entries.size === before ? 'duplicate' : 'new';
}

function keyIn(dict: DictNode, key: PickleValue): PickleValue | undefined {
  if (typeof key === 'boolean') return dict.entries.has(Number(key)) ? Number(key) : key;
  if (typeof key === 'number') return (key === 0 || key === 1) && dict.entries.has(key === 1) ? key === 1 : key;
  if (key === null || typeof key === 'string' || typeof key === 'bigint') return key;
  if (isNode(key) && key.kind === 'float') {
    const plain = Number.isSafeInteger(key.value) ? key.value + 0 : key.value;
    return dict.entries.has(plain) ? plain : indexed(dict, `f${plain}`, key);
  }
  if (key instanceof Uint8Array) return indexed(dict, `b${key.join()}`, key);
  if (key.kind === 'list' || key.kind === 'dict' || (key.kind === 'set' && !key.frozen)) return undefined;
  if (key.kind !== 'tuple') return key;
  const text = tupleText(key.items);
  return text === undefined ? key : indexed(dict, text, key);
}

function indexed(dict: DictNode, text: string, key: PickleValue): PickleValue {
  let index = compoundKeys.get(dict);
  if (index === undefined) {
    index = new Map();
    compoundKeys.set(dict, index);
  }
  const known = index.get(text);
  if (known !== undefined) return known;
  index.set(text, key);
  return key;
}

/** A text for a short tuple of plain values; undefined for any other, which is a key of its own. */
function tupleText(items: readonly PickleValue[]): string | undefined {
  if (items.length > 16) return undefined;
  const parts: string[] = [];
  for (const item of items) {
    if (typeof item === 'string') parts.push(JSON.stringify(item));
    else if (item === null || typeof item === 'number' || typeof item === 'bigint') parts.push(String(item));
    else if (typeof item === 'boolean') parts.push(String(Number(item)));
    else return undefined;
  }
  return `t${parts.join(',')}`;
}

/** Instances of a class that we do not know may take items; a tensor, a dtype or a size may not. */
function takesItems(target: PickleValue): boolean {
  if (!isReduced(target) || !isGlobal(target.callable)) return isReduced(target);
  const role = roleOfGlobal(target.callable.module, target.callable.name);
  return role === null || role === 'reconstructor';
}

export function setItems(machine: Machine, target: PickleValue, items: readonly PickleValue[]): void {
  if (items.length % 2 !== 0) fail(machine, 'MALFORMED', 'wrong target type: a key without a value');
  if (isDict(target)) {
    for (let at = 0; at < items.length; at += 2) {
      const key = items[at] ?? null;
      const result = setEntry(target, key, items[at + 1] ?? null);
      if (result === 'unhashable') {
        breach(machine, 'WRONG_TARGET', 'MALFORMED', `${summarise(key)} cannot be a key`);
      } else if (result === 'duplicate') find(machine, 'DUPLICATE_KEY', summarise(key));
    }
    return;
  }
  append(machine, target, items, 'sets an item of');
}

/** APPEND and APPENDS; also items of instances of unknown classes. */
export function append(
  machine: Machine,
  target: PickleValue,
  items: readonly PickleValue[],
  deed: string = 'appends to',
): void {
  let list: PickleValue[] | undefined;
  if (isNode(target) && target.kind === 'list' && deed === 'appends to') list = target.items;
  else if (isReduced(target) && takesItems(target)) {
    target.items ??= [];
    list = target.items;
  }
  if (list === undefined) {
    breach(machine, 'WRONG_TARGET', 'MALFORMED', `wrong target type: ${deed} ${summarise(target)}`);
    return;
  }
  for (const item of items) list.push(item);
}

export function addItems(machine: Machine, target: PickleValue, items: readonly PickleValue[]): void {
  if (isNode(target) && target.kind === 'set' && !target.frozen) {
    for (const item of items) target.items.push(item);
  } else append(machine, target, items, 'adds to');
}

/** Names that change what an object is or does when BUILD sets them. */
const DANGEROUS_ATTRIBUTES: ReadonlySet<string> = new Set([
  '__annotations__',
  '__bases__',
  '__builtins__',
  '__call__',
  '__class__',
  '__code__',
  '__del__',
  '__delattr__',
  '__dict__',
  '__getattr__',
  '__getattribute__',
  '__getstate__',
  '__globals__',
  '__import__',
  '__init__',
  '__mro__',
  '__new__',
  '__reduce__',
  '__reduce_ex__',
  '__setattr__',
  '__setstate__',
  '__subclasses__',
]);

export function build(machine: Machine, target: PickleValue, state: PickleValue): void {
  for (const part of isDict(state) ? [state] : (itemsOf(state) ?? [])) {
    if (!isDict(part)) continue;
    for (const key of part.entries.keys()) {
      if (typeof key === 'string' && DANGEROUS_ATTRIBUTES.has(key)) find(machine, 'DANGEROUS_ATTRIBUTE', key);
    }
  }
  const root = rootOf(target);
  const known = isDict(target) ? ('mapping' as const) : root && roleOfGlobal(root.module, root.name);
  record(machine, {
    kind: 'build',
    module: root?.module ?? (isDict(target) ? 'collections' : ''),
    name: root?.name ?? (isDict(target) ? target.type : ''),
    written: undefined,
    role: known ?? null,
    resolved: true,
    called: false,
    argSummary: known === undefined || known === null ? summarise(state) : '',
    args: undefined,
  });
  if (isDict(target) && target.type !== 'dict') target.state = state;
  else if (isReduced(target)) target.state = state;
  else breach(machine, 'WRONG_TARGET', 'MALFORMED', `wrong target type: sets the state of ${summarise(target)}`);
}

export function recordPersistent(machine: Machine, id: PickleValue): void {
  const first = itemsOf(id)?.[0];
  if (first === 'storage' && again(machine, 'persistent', '', first) !== undefined) return;
  record(machine, {
    kind: 'persistent',
    module: '',
    name: typeof first === 'string' ? first.slice(0, 60) : '',
    written: undefined,
    role: first === 'storage' ? 'storage' : null,
    resolved: true,
    called: false,
    argSummary: first === 'storage' ? '' : summarise(id),
    args: undefined,
  });
  if (first !== 'storage') find(machine, 'PERSISTENT_ID', summarise(id));
}
