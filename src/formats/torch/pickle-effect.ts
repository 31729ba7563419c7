import { LIMITS } from '../../ir/limits.ts';
import { type GlobalRole, mapPython2, roleOfGlobal } from './globals.ts';
import { effortOf, hashKey } from './pickle-effort.ts';
import type { PickleEvent } from './pickle-event.ts';
import { breach, fail, find, type Machine, opcodeName, summarise } from './pickle-machine.ts';
import { judgeBuild, judgeCall, judgeItems } from './pickle-role.ts';
import { encodeLatin1 } from './pickle-text.ts';
import {
  type DictNode,
  type GlobalNode,
  isDict,
  isGlobal,
  isNode,
  isReduced,
  itemsOf,
  joinItems,
  makeDict,
  NO_ITEMS,
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
  let length: number | undefined;
  if (isGlobal(callable) && role !== null) {
    if (!machine.strict) length = judgeCall(machine, callable, role, args, keywords);
    const plain = plainResult(machine, callable, role, args);
    if (plain !== undefined) return plain;
  }
  const made: PickleValue = { kind: 'reduced', callable, args, keywords, state: undefined, items: undefined };
  if (length !== undefined) effortOf(machine).lengths.set(made, length);
  return made;
}

/** The items of a copy; undefined: so many were copied that the stream cannot mean it, and the call stays a call. */
function copyOf(machine: Machine, items: readonly PickleValue[]): PickleValue[] | undefined {
  return mayCopy(machine, items.length) ? [...items] : undefined;
}

/** Copies are as many as the values that stand in the stream, except in one that copies the same value again and again. */
function mayCopy(machine: Machine, count: number): boolean {
  machine.copied += count;
  if (machine.copied <= LIMITS.pickleStack + machine.opIndex) return true;
  if (machine.strict) fail(machine, 'LIMIT', `copies ${machine.copied} values, more than the stream holds`);
  return false;
}

function plainResult(
  machine: Machine,
  callable: GlobalNode,
  role: GlobalRole,
  args: readonly PickleValue[],
): PickleValue | undefined {
  const first = args[0];
  const items = itemsOf(first);
  if (role === 'mapping') return plainDict(machine, callable.name, callable.name === 'defaultdict' ? args[1] : first);
  if (role === 'encode') {
    return typeof first === 'string' && (args[1] === 'latin1' || args[1] === 'latin-1')
      ? encodeLatin1(first)
      : undefined;
  }
  if (role === 'script-list') return args.length > 0 ? first : undefined;
  if (callable.name === 'Size' && items !== undefined) return tupleOf(copyOf(machine, items));
  if (role !== 'builtin' || args.length > 2) return undefined;
  switch (callable.name) {
    case 'set':
    case 'frozenset': {
      const copy = args.length === 0 ? [] : items && copyOf(machine, items);
      return copy && { kind: 'set', frozen: callable.name === 'frozenset', items: copy };
    }
    case 'list': {
      const copy = args.length === 0 ? [] : items && copyOf(machine, items);
      return copy && { kind: 'list', items: copy };
    }
    case 'tuple':
      return args.length === 0 ? { kind: 'tuple', items: [] } : items && tupleOf(copyOf(machine, items));
    case 'dict':
      return plainDict(machine, 'dict', first);
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

function tupleOf(items: readonly PickleValue[] | undefined): PickleValue | undefined {
  return items && { kind: 'tuple', items };
}

/** A dict of the entries of a mapping, or of a list of pairs; undefined when `source` is neither. */
function plainDict(machine: Machine, type: string, source: PickleValue | undefined): DictNode | undefined {
  const dict = makeDict(type);
  if (source === undefined) return dict;
  return fillDict(machine, dict, source) ? dict : undefined;
}

function fillDict(machine: Machine, dict: DictNode, source: PickleValue): boolean {
  if (isDict(source)) {
    if (!mayCopy(machine, source.entries.size)) return false;
    for (const [key, value] of source.entries) putEntry(dict, key, value);
    return true;
  }
  const pairs = itemsOf(source);
  if (pairs === undefined || !mayCopy(machine, pairs.length)) return false;
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
  if (key instanceof Uint8Array) return key.length > LONG_KEY ? key : indexed(dict, `b${key.join()}`, key);
  if (key.kind === 'list' || key.kind === 'dict' || (key.kind === 'set' && !key.frozen)) return undefined;
  if (key.kind !== 'tuple') return key;
  const text = tupleText(key.items);
  return text === undefined ? key : indexed(dict, text, key);
}

/** Longer bytes and texts in a key are not spelt out again and again: such a key is one of its own. */
const LONG_KEY = 256;

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
    if (typeof item === 'string' && item.length <= LONG_KEY) parts.push(JSON.stringify(item));
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

export function setItems(machine: Machine, target: PickleValue, items: PickleValue[]): void {
  if (items.length % 2 !== 0) fail(machine, 'MALFORMED', 'wrong target type: a key without a value');
  if (isDict(target)) {
    if (target.entries.size + items.length / 2 > LIMITS.pickleEntries) {
      fail(machine, 'LIMIT', `a dict of more than ${LIMITS.pickleEntries} entries`);
    }
    if (!machine.strict) judgeItems(machine, target, items);
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

/** APPEND and APPENDS; also items of instances of unknown classes. The items may be kept as they are. */
export function append(machine: Machine, target: PickleValue, items: PickleValue[], deed: string = 'appends to'): void {
  if (isNode(target) && target.kind === 'list' && deed === 'appends to') target.items = joinItems(target.items, items);
  else if (isReduced(target) && takesItems(target)) target.items = joinItems(target.items ?? NO_ITEMS, items);
  else breach(machine, 'WRONG_TARGET', 'MALFORMED', `wrong target type: ${deed} ${summarise(target)}`);
}

export function addItems(machine: Machine, target: PickleValue, items: PickleValue[]): void {
  if (isNode(target) && target.kind === 'set' && !target.frozen) {
    if (!machine.strict) for (const item of items) hashKey(machine, item);
    target.items = joinItems(target.items, items);
  } else append(machine, target, items, 'adds to');
}

export function frozenSet(machine: Machine, items: PickleValue[]): PickleValue {
  if (!machine.strict) for (const item of items) hashKey(machine, item);
  return { kind: 'set', frozen: true, items };
}

export function build(machine: Machine, target: PickleValue, state: PickleValue): void {
  if (!machine.strict) judgeBuild(machine, target, state);
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
