import { bitsOf, isDType } from '../../ir/dtype.ts';
import { type GlobalRole, roleOfGlobal } from './globals.ts';
import {
  dtypeFacts,
  dtypeOfText,
  elementsOf,
  faultOfArray,
  isDTypeCall,
  judgeDTypeState,
  productOf,
} from './numpy-dtype.ts';
import { charge, chargeCopy, effortOf, hashKey, step, textLength } from './pickle-effort.ts';
import { find, type Machine, summarise } from './pickle-machine.ts';
import {
  countOf,
  type DictNode,
  type GlobalNode,
  isDict,
  isGlobal,
  isNode,
  isReduced,
  itemsOf,
  type PickleValue,
  type Reduced,
} from './pickle-value.ts';
import { faultOfView } from './pickle-view.ts';

/**
 * What an audit asks of the names on the allow list: each is used for what it is listed for, makes no more memory than
 * the stream stands for, and gives no memory of its own to what it makes. A reader of models does without: it makes none
 * of these things.
 */

/** Arguments of a call under judgement. */
interface Call {
  readonly machine: Machine;
  readonly callable: GlobalNode;
  readonly args: readonly PickleValue[];
  readonly keywords: PickleValue | undefined;
  wrong(reason: string): void;
}

/** Judges a call of a listed name; gives the length of the result where that is no container of the stream. */
export function judgeCall(
  machine: Machine,
  callable: GlobalNode,
  role: GlobalRole,
  args: readonly PickleValue[],
  keywords: PickleValue | undefined,
): number | undefined {
  const call: Call = {
    machine,
    callable,
    args,
    keywords,
    wrong: (reason) => find(machine, 'WRONG_ROLE', `${callable.module}.${callable.name} ${reason}`),
  };
  // No writer of pickles gives keywords to these: they would hide what is made.
  if (keywords !== undefined && !(isDict(keywords) && keywords.entries.size === 0)) {
    call.wrong(`is given keywords ${summarise(keywords)}`);
    if (role === 'numpy' && namesObjects(machine, keywords)) call.wrong('of objects');
  }
  switch (role) {
    case 'mapping':
      return judgeMapping(call);
    case 'storage':
    case 'constant':
      call.wrong('is called');
      return undefined;
    case 'value':
      return judgeSmall(call);
    case 'rebuilder':
      return judgeRebuilder(call);
    case 'tensor':
      return judgeTensor(call);
    case 'reconstructor':
      return judgeReconstructor(call);
    case 'numpy':
      return judgeNumpy(call);
    case 'builtin':
      return judgeBuiltin(call);
    case 'encode':
      if (args[1] !== 'latin1' && args[1] !== 'latin-1') call.wrong(`is given ${summarise(args[1])}`);
      if (typeof args[0] === 'string') charge(machine, args[0].length, callable.path);
      return undefined;
    case 'script-list':
      return undefined;
  }
}

function isAllowed(value: PickleValue | undefined): boolean {
  return isGlobal(value) && roleOfGlobal(value.module, value.name) !== null;
}

/** Bytes that Python takes for each: a place in a list, in a set, in a dict; an integer beside its place. */
const PLACE = 8;
const SET_PLACE = 72;
const ENTRY = 100;
const INTEGER = 32;

function judgeMapping({ machine, callable, args, wrong }: Call): undefined {
  const isDefault = callable.name === 'defaultdict';
  const [factory] = args;
  if (isDefault && factory !== undefined && factory !== null && !isAllowed(factory)) {
    wrong(`is given ${summarise(factory)}`);
  }
  const source = isDefault ? args[1] : args[0];
  if (source === undefined) return;
  if (isReduced(source)) {
    const length = lengthOf(machine, source);
    if (length === undefined) wrong(`is given ${summarise(source)}`);
    charge(machine, (length ?? 0) * ENTRY, callable.path);
    return;
  }
  chargeCopy(machine, source, (lengthOf(machine, source) ?? 0) * ENTRY, callable.path);
  const pairs = itemsOf(source) ?? [];
  if (!step(machine, pairs.length)) return;
  for (const pair of pairs) hashKey(machine, itemsOf(pair)?.[0] ?? pair);
}

/** torch.Size, torch.device and the like. */
function judgeSmall({ machine, callable, args, wrong }: Call): undefined {
  if (callable.name !== 'Size') return;
  const [sizes] = args;
  if (sizes === undefined) return;
  const length = itemsOf(sizes)?.length;
  if (length === undefined) {
    wrong(`is given ${summarise(sizes)}`);
    charge(machine, (lengthOf(machine, sizes) ?? 0) * (PLACE + INTEGER), callable.path);
  } else chargeCopy(machine, sizes, length * PLACE, callable.path);
}

/** Items of a value of the stream; undefined where they are the result of a call that is not known. */
function lengthOf(machine: Machine, value: PickleValue | undefined): number | undefined {
  if (typeof value === 'string' || value instanceof Uint8Array) return value.length;
  if (!isNode(value)) return undefined;
  switch (value.kind) {
    case 'list':
    case 'tuple':
    case 'set':
      return value.items.length;
    case 'dict':
      return value.entries.size;
    default:
      return machine.effort?.lengths.get(value);
  }
}

function integerOf(value: PickleValue | undefined): bigint | undefined {
  if (typeof value === 'boolean') return BigInt(value);
  return typeof value === 'bigint' || (typeof value === 'number' && Number.isSafeInteger(value))
    ? BigInt(value)
    : undefined;
}

/** Elements of a range; undefined where its ends are not plain numbers. */
function rangeLength(args: readonly PickleValue[]): number | undefined {
  const numbers = args.map(integerOf);
  const [start, stop, step_ = 1n] = numbers.length === 1 ? [0n, numbers[0]] : numbers;
  if (start === undefined || stop === undefined || numbers.includes(undefined)) return undefined;
  if (step_ === 0n) return 0;
  const span = step_ > 0n ? stop - start : start - stop;
  const stride = step_ > 0n ? step_ : -step_;
  return span > 0n ? Number((span + stride - 1n) / stride) : 0;
}

/** Python's own types: gives the length of what is no container of the stream. */
function judgeBuiltin({ machine, callable, args, wrong }: Call): number | undefined {
  const { name, path } = callable;
  const [first, second] = args;
  if (name === 'range') {
    const length = rangeLength(args);
    if (length === undefined) wrong(`is given ${summarise({ kind: 'tuple', items: args })}`);
    return length;
  }
  if (first === undefined) return undefined;
  switch (name) {
    case 'str':
    case 'bytes':
    case 'bytearray':
      // Another encoding is a module that is imported by that name.
      if (second !== undefined && !(typeof second === 'string' && /^latin-?1$/.test(second))) {
        wrong(`is given ${summarise(second)}`);
      }
      if (name === 'str') {
        if (isReduced(first) && lengthOf(machine, first) === undefined && !isNumber(first)) {
          wrong(`is given ${summarise(first)}`);
        }
        const length = typeof first === 'string' ? first.length : textLength(machine, first);
        charge(machine, length, path);
        return length;
      }
      return judgeBytes(machine, path, first, wrong);
    case 'list':
    case 'tuple':
    case 'set':
    case 'frozenset': {
      const each = name === 'list' || name === 'tuple' ? PLACE : SET_PLACE;
      const length = lengthOf(machine, first);
      if (length === undefined) {
        wrong(`is given ${summarise(first)}`);
        return undefined;
      }
      if (each === SET_PLACE && step(machine, length)) for (const item of itemsOf(first) ?? []) hashKey(machine, item);
      if (isReduced(first)) charge(machine, length * (each + INTEGER), path);
      else chargeCopy(machine, first, length * each, path);
      return length;
    }
    case 'dict':
      judgeMapping({ machine, callable, args, keywords: undefined, wrong });
      return undefined;
    case 'int':
    case 'float':
    case 'complex':
      if (isReduced(first) && !isNumber(first)) wrong(`is given ${summarise(first)}`);
      charge(machine, lengthOf(machine, first) ?? 0, path);
      return undefined;
    default:
      return undefined;
  }
}

/** Whether a call makes a number: complex(float(…)). */
function isNumber(value: Reduced): boolean {
  return isGlobal(value.callable) && /^builtins\.(?:int|float|complex|bool)$/.test(value.callable.path);
}

function judgeBytes(
  machine: Machine,
  path: string,
  first: PickleValue,
  wrong: (reason: string) => void,
): number | undefined {
  const count = integerOf(first);
  if (count !== undefined) {
    charge(machine, count > 0n ? Number(count) : 0, path);
    return count > 0n ? Number(count) : 0;
  }
  const length = lengthOf(machine, first);
  if (length === undefined) wrong(`is given ${summarise(first)}`);
  else if (isReduced(first)) charge(machine, length, path);
  else chargeCopy(machine, first, length, path);
  return length;
}

/** copyreg._reconstructor(class, base, state): base.__new__(class, state), and base.__init__. */
function judgeReconstructor({ machine, callable, args, wrong }: Call): undefined {
  const [made, base, state] = args;
  if (isGlobal(made)) made.event.called = true;
  if (!isAllowed(made)) wrong(`makes ${summarise(made)}`);
  const isPlain = isGlobal(base) && base.module === 'builtins' && base.name === 'object' && state === null;
  if (isPlain) return;
  // A subclass of a plain type, whose value stands in the stream.
  const type = isGlobal(base) ? roleOfGlobal(base.module, base.name) : null;
  const length = lengthOf(machine, state);
  const isValue = length !== undefined || integerOf(state) !== undefined || (isNode(state) && state.kind === 'float');
  if (!isGlobal(base) || type !== 'builtin' || !isValue || isReduced(state)) {
    wrong(`makes ${summarise(made)} of ${summarise(base)} and ${summarise(state)}`);
  }
  if (isGlobal(base) && type !== null) {
    if (type === 'builtin' || type === 'tensor' || type === 'numpy') {
      judgeCall(machine, base, type, state === undefined ? [] : [state], undefined);
    } else if (type !== 'value' && type !== 'mapping') charge(machine, Number(integerOf(state) ?? 0n), callable.path);
  }
}

/** torch.Tensor, torch.FloatTensor, Parameter: nothing, a tensor, or lengths of an axis each. */
function judgeTensor({ machine, callable, args, wrong }: Call): number | undefined {
  const [first] = args;
  if (first === undefined || first === null || isTensor(first)) return undefined;
  if (isNode(first) && (first.kind === 'storage' || first.kind === 'persistent')) return undefined;
  const sizes = itemsOf(first);
  const elements = productOf(sizes ?? args);
  if (elements !== undefined) {
    charge(machine, Math.max(elements, sizes?.length ?? 0) * BYTES_MOST, callable.path);
    return elements;
  }
  // A list of lists of numbers: as many as they are when they are written out.
  if (sizes !== undefined) charge(machine, textLength(machine, first), callable.path);
  else {
    charge(machine, (lengthOf(machine, first) ?? 0) * BYTES_MOST, callable.path);
    wrong(`is given ${summarise(first)}`);
  }
  return undefined;
}

/** Bytes of the widest element of a plain tensor. */
const BYTES_MOST = 8;

const DENSE = /^_rebuild_tensor(?:_v[23])?$/;

function isTensor(value: PickleValue | undefined): value is Reduced {
  if (!isReduced(value) || !isGlobal(value.callable)) return false;
  const { role } = value.callable.event;
  return role === 'rebuilder' || role === 'tensor';
}

/** Wrappers around the arguments of one tensor. */
const MOST_WRAPPERS = 8;

function judgeRebuilder(outer: Call): number | undefined {
  let call = outer;
  const { machine, wrong } = outer;
  for (let depth = 0; call.callable.name === '_rebuild_from_type_v2'; depth += 1) {
    // (function, type, arguments, state): function(*arguments).as_subclass(type), with the attributes of the state.
    const [made, type, inner, state] = call.args;
    if (!isGlobal(made) || roleOfGlobal(made.module, made.name) !== 'rebuilder') {
      wrong(`is given ${summarise(made)}`);
      return undefined;
    }
    if (isGlobal(type) && !isAllowed(type)) wrong(`makes ${summarise(type)}`);
    judgeAttributes(machine, state);
    const items = itemsOf(inner);
    if (items === undefined || depth > MOST_WRAPPERS) {
      wrong(`is given ${summarise(inner)}`);
      return undefined;
    }
    call = { ...call, callable: made, args: items };
  }
  const { callable, args } = call;
  const { name } = callable;
  if (DENSE.test(name) || name === '_rebuild_qtensor') {
    if (isMade(args[0])) wrong(`is given ${summarise(args[0])}`);
    const fault = faultOfView(args, name === '_rebuild_tensor_v3' ? args[6] : undefined);
    if (fault !== undefined) find(machine, 'TENSOR_BOUNDS', fault);
    // Made empty first, at its full size.
    if (name === '_rebuild_qtensor') {
      chargeTensor(machine, args, 1, callable.path);
      judgeChannels(call);
    }
  } else if (name === '_rebuild_sparse_tensor') {
    // Its indices are walked, however far a stride of 0 repeats them.
    for (const part of itemsOf(args[1]) ?? []) {
      if (isReduced(part) && isGlobal(part.callable) && DENSE.test(part.callable.name)) {
        chargeTensor(machine, part.args, BYTES_MOST, callable.path);
      }
    }
    judgeLater(call);
  } else if (name === '_rebuild_nested_tensor') judgeLater(call);
  else if (name === '_rebuild_parameter_with_state') judgeAttributes(machine, args[3]);
  else if (/^_rebuild_device_tensor_from_/.test(name)) judgeDevice(call);
  return undefined;
}

const MOST_INDIRECT = 10_000;

/** The numbers that such a tensor is addressed by stand in storages, which the surroundings read. */
function judgeLater({ machine, callable, args }: Call): void {
  const { indirect } = effortOf(machine);
  if (indirect.length < MOST_INDIRECT) indirect.push({ name: callable.name, args });
  else find(machine, 'LIMIT', `more than ${MOST_INDIRECT} nested and sparse tensors`);
}

/** A storage that the stream makes for itself is none of the file; what is no storage at all, Python refuses. */
function isMade(storage: PickleValue | undefined): boolean {
  return isReduced(storage) || isGlobal(storage);
}

/** A scale for each channel: PyTorch's older versions did not count them. */
function judgeChannels({ machine, args }: Call): void {
  const [scheme, scales, zeroPoints, axis] = itemsOf(args[4]) ?? [];
  if (!isGlobal(scheme) || !scheme.name.startsWith('per_channel')) return;
  const along = countOf(axis);
  const channels = along === undefined ? undefined : itemsOf(args[2])?.[along];
  for (const part of [scales, zeroPoints]) {
    const count = itemsOf(part)?.length ?? (isReduced(part) && isTensor(part) ? elementsOf(part.args[2]) : undefined);
    if (channels === undefined || count !== channels) {
      find(
        machine,
        'TENSOR_BOUNDS',
        `a quantised tensor of ${summarise(channels)} channels and ${count ?? '?'} scales`,
      );
    }
  }
}

/** The memory of a copy of a view, less what the file holds of its storage. */
function chargeTensor(machine: Machine, args: readonly PickleValue[], bytes: number, what: string): void {
  const [storage, , size] = args;
  const elements = elementsOf(size);
  if (elements === undefined) return;
  let held = 0;
  if (isNode(storage) && storage.kind === 'storage') {
    const { backed } = effortOf(machine);
    const left = backed.get(storage.key) ?? storage.length;
    held = Math.min(left, elements);
    backed.set(storage.key, left - held);
  }
  charge(machine, (elements - held) * bytes, what);
}

/** A tensor that is copied to a device, in another type: what it is copied from has to be known. */
function judgeDevice({ machine, callable, args, wrong }: Call): void {
  const [data, dtype] = args;
  const bytes = isGlobal(dtype) && isDType(dtype.name) ? Math.max(1, bitsOf(dtype.name) / 8) : 16;
  let source: PickleValue | undefined = data;
  for (let depth = 0; depth <= MOST_WRAPPERS && isReduced(source) && isGlobal(source.callable); depth += 1) {
    const { name, path } = source.callable;
    const inner: readonly PickleValue[] = source.args;
    if (DENSE.test(name) || name === '_rebuild_qtensor') {
      chargeTensor(machine, inner, bytes, callable.path);
      return;
    }
    if (isArray(source)) {
      const state = itemsOf(source.state) ?? [];
      const shape = name === '_frombuffer' ? inner[2] : state[state.length - 4];
      const raw = name === '_frombuffer' ? inner[0] : state[state.length - 1];
      const length = lengthOf(machine, raw) ?? 0;
      chargeCopy(machine, raw ?? null, Math.max(length, (elementsOf(shape) ?? 0) * bytes), callable.path);
      return;
    }
    if (source.callable.event.role === 'tensor') {
      const elements = lengthOf(machine, source);
      if (elements !== undefined) {
        charge(machine, elements * bytes, callable.path);
        return;
      }
    } else if (path === 'torch._tensor._rebuild_from_type_v2') {
      const parts = itemsOf(inner[2]);
      const [made] = inner;
      source =
        parts === undefined || !isGlobal(made)
          ? undefined
          : { kind: 'reduced', callable: made, args: parts, keywords: undefined, state: undefined, items: undefined };
      continue;
    }
    source = inner[0];
  }
  wrong(`is given ${summarise(data)}`);
}

function isNamed(value: Reduced, name: string): boolean {
  return isGlobal(value.callable) && value.callable.name === name;
}

/** An array that the stream makes: by _reconstruct and BUILD, or around a buffer. */
function isArray(value: PickleValue): boolean {
  return (
    isReduced(value) &&
    isGlobal(value.callable) &&
    value.callable.event.role === 'numpy' &&
    ['_reconstruct', '_frombuffer', 'ndarray'].includes(value.callable.name)
  );
}

function judgeNumpy(call: Call): number | undefined {
  const { machine, callable, args, keywords, wrong } = call;
  const [first, second, third] = args;
  switch (callable.name) {
    case 'dtype': {
      const type = first ?? null;
      // A class that is not listed has its own finding.
      const isForeign = isGlobal(type) && !isAllowed(type);
      if (namesObjects(machine, type)) wrong('of objects');
      else if (!isForeign && (typeof type !== 'string' || dtypeOfText(type) === undefined)) {
        wrong(`is given ${summarise(type)}`);
      }
      const isFlag = (value: PickleValue | undefined): boolean =>
        value === undefined || typeof value === 'boolean' || value === 0 || value === 1;
      if (args.length > 3 || !isFlag(second) || !isFlag(third)) wrong('is given odd flags');
      return undefined;
    }
    case 'ndarray': {
      const named = isDict(keywords) ? keywords.entries : undefined;
      chargeArray(call, first ?? named?.get('shape'), second ?? named?.get('dtype') ?? 'f8');
      if (args.length > 2) wrong(`is given ${summarise(third)}`);
      return undefined;
    }
    case '_reconstruct': {
      if (!isAllowed(first) || (isGlobal(first) && first.path !== 'numpy.ndarray')) wrong(`makes ${summarise(first)}`);
      const isByte = third instanceof Uint8Array ? third.length === 1 && third[0] === 0x62 : third === 'b';
      chargeArray(call, second, isByte ? 'b1' : (third ?? null));
      return undefined;
    }
    case 'scalar': {
      const facts = dtypeFacts(first);
      if (facts === undefined) wrong(`is given ${summarise(first)}`);
      else if (facts.kind !== 'O' && typeof second !== 'string') {
        const held = second instanceof Uint8Array ? second.length : 0;
        if (held < facts.itemSize) charge(machine, facts.itemSize, callable.path);
        if (second !== undefined && !(second instanceof Uint8Array)) wrong(`is given ${summarise(second)}`);
      }
      return undefined;
    }
    default:
      judgeBuffer(call);
      return undefined;
  }
}

/** The memory of a new array. */
function chargeArray({ machine, callable, wrong }: Call, shape: PickleValue | undefined, type: PickleValue): void {
  if (namesObjects(machine, type)) wrong('of objects');
  const facts = dtypeFacts(type);
  if (facts === undefined) wrong(`is given ${summarise(type)}`);
  const elements = elementsOf(shape);
  if (elements === undefined) wrong(`is given ${summarise(shape)}`);
  // References are eight bytes each.
  charge(machine, (elements ?? 0) * Math.max(facts?.itemSize ?? 16, 1), callable.path);
}

/** numpy._core.numeric._frombuffer(bytes, dtype, shape, order[, axes]): how protocol 5 writes arrays. */
function judgeBuffer({ args, wrong }: Call): void {
  const [buffer, type, shape, order, axes, ...more] = args;
  const facts = dtypeFacts(type);
  const count = itemsOf(shape) === undefined ? undefined : elementsOf(shape);
  const isOrder = typeof order === 'string' && /^[CFKA]$/.test(order);
  const areAxes = axes === undefined || axes === null || productOf(itemsOf(axes) ?? [null]) !== undefined;
  if (facts?.kind === 'O') wrong('of objects');
  else if (
    facts === undefined ||
    count === undefined ||
    !(buffer instanceof Uint8Array && isOrder && areAxes) ||
    more.length > 0
  ) {
    wrong(`is given ${summarise({ kind: 'tuple', items: args })}`);
  } else if (facts.kind !== 'class' && buffer.length !== count * facts.itemSize)
    wrong('is given bytes of another size');
}

/** Values that are looked at for the name of an object type. */
const NAMES_SEEN = 1_000;

/** A dtype of Python objects, by its name, its class, or inside of a structured one. */
function namesObjects(machine: Machine, value: PickleValue): boolean {
  const stack: PickleValue[] = [value];
  let seen = 0;
  for (let part = stack.pop(); part !== undefined && seen < NAMES_SEEN; part = stack.pop()) {
    seen += 1;
    if (typeof part === 'string') {
      if (/^(?:.*,)?\s*(?:\([\d, ]*\)|\d+)?[<>=|]?(?:O\d*|object_?)\s*(?:,|$)/.test(part.slice(0, 1_000))) return true;
    } else if (part instanceof Uint8Array) {
      if (/^[<>=|]?O\d*$/.test(String.fromCharCode(...part.subarray(0, 8)))) return true;
    } else if (isGlobal(part)) {
      // Every class that NumPy does not know stands for objects.
      if (part.module === 'builtins' && !/^(?:int|float|complex|bool|bytes|str)$/.test(part.name)) return true;
      if (part.module === 'numpy' && /^object/.test(part.name)) return true;
    } else if (isDict(part)) {
      for (const value of part.entries.values()) if (stack.push(value) > NAMES_SEEN) break;
    } else stack.push(...(itemsOf(part)?.slice(0, 100) ?? []));
  }
  if (seen > 1) step(machine, seen);
  return false;
}

/** Judges what BUILD sets. */
export function judgeBuild(machine: Machine, target: PickleValue, state: PickleValue): void {
  const wrong = (reason: string): void => find(machine, 'WRONG_ROLE', reason);
  if (isDTypeCall(target)) {
    const { fault, fields } = judgeDTypeState(target, state, (count) => step(machine, count));
    if (fault !== undefined) wrong(`numpy.dtype ${fault}`);
    if (fields !== undefined) effortOf(machine).fields.add(fields);
    return;
  }
  if (isArray(target)) {
    // NumPy sets the state of an array that it has just made, once: a second one frees memory that a tensor may share.
    const isFresh = isReduced(target) && target.state === undefined && isNamed(target, '_reconstruct');
    const fault = isFresh ? faultOfArray(state) : 'is given a second state';
    if (fault !== undefined) wrong(`numpy.ndarray ${fault}`);
    const raw = itemsOf(state)?.at(-1);
    if (typeof raw === 'string' || raw instanceof Uint8Array) chargeCopy(machine, raw, raw.length, 'numpy.ndarray');
    return;
  }
  const view = itemsOf(state);
  if (view?.length === 4 && isTensor(target)) {
    // Tensor.__setstate__ calls set_(storage, offset, size, stride).
    const fault = faultOfView(view);
    if (fault !== undefined) find(machine, 'TENSOR_BOUNDS', fault);
    if (isMade(view[0])) wrong(`a tensor is given ${summarise(view[0])}`);
    // One that is made with its storage may be a part of another one, which was measured with it.
    if (target.args.length > 0 || target.state !== undefined) wrong('a tensor is given a second storage');
    return;
  }
  judgeAttributes(machine, state);
}

/** Attributes that a state sets, by BUILD or by a rebuilder of PyTorch: a dict, or two of them. */
function judgeAttributes(machine: Machine, state: PickleValue | undefined): void {
  for (const part of isDict(state) || isReduced(state) ? [state] : (itemsOf(state) ?? []).slice(0, 2)) {
    if (isReduced(part) && isGlobal(part.callable) && part.callable.event.role === 'builtin') {
      find(machine, 'WRONG_ROLE', `the state is ${summarise(part)}, which is computed`);
    }
    if (!isDict(part)) continue;
    chargeCopy(machine, part, part.entries.size * ENTRY, 'a state that is set again');
    if (!step(machine, part.entries.size)) return;
    for (const key of part.entries.keys()) {
      if (typeof key === 'string' && DANGEROUS_ATTRIBUTES.has(key)) find(machine, 'DANGEROUS_ATTRIBUTE', key);
      else if (isReduced(key) || (isNode(key) && key.kind === 'unresolved')) {
        find(machine, 'DANGEROUS_ATTRIBUTE', `a computed name, ${summarise(key)}`);
      }
    }
  }
}

/** What a Map takes, in objects. */
const MAP_NODES = 4;

/** Judges the keys, and the dict, of SETITEM and SETITEMS. */
export function judgeItems(machine: Machine, target: DictNode, items: readonly PickleValue[]): void {
  for (let at = 0; at < items.length; at += 2) hashKey(machine, items[at] ?? null);
  // From its second entry on it has a Map, many times as large as a list.
  if (target.entries.size < 2 && target.entries.size + items.length / 2 > 1) machine.nodes += MAP_NODES;
  if (machine.effort?.fields.has(target) === true) {
    find(machine, 'WRONG_ROLE', 'numpy.dtype keeps a dict as its fields that is changed afterwards');
  }
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
