import type { IndirectTensor, PickleRun } from '../formats/torch/pickle-event.ts';
import { type GlobalNode, isGlobal, isReduced, type PickleValue } from '../formats/torch/pickle-value.ts';
import { runPickle } from '../formats/torch/unpickle.ts';
import { LIMITS } from '../ir/limits.ts';
import type { Content } from './context.ts';
import type { AuditRule, Ledger, Level } from './finding.ts';
import { isDangerousName, isKnownLibrary, isUnpickler, levelOfImport } from './names.ts';
import { dangerousCall, findNested, scanForPickles } from './nested.ts';
import { judgeValue } from './value.ts';

/** Where a pickle stands and what its surroundings make of it. */
export interface PicklePlace {
  readonly ledger: Ledger;
  readonly member: string;
  /** Added to offsets in the pickle's bytes: where they begin in the member. */
  readonly base: number;
  /** What a persistent id stands for; false: the surroundings do not know it. */
  readonly persist?: (id: PickleValue) => PickleValue | false;
  /** Archive of TorchScript: its own classes are code of the archive, found there. */
  readonly script?: boolean;
  /** Takes the tensors that are addressed by the numbers of others; without it they are findings. */
  readonly indirect?: IndirectTensor[];
  /** The surroundings have said that it is an array of objects. */
  readonly objects?: boolean;
  /** The content is of another format: it is a pickle besides only when it imports something. */
  readonly imports?: boolean;
}

const STRUCTURE: ReadonlySet<string> = new Set(['FRAME', 'PROTO', 'LEFT_ON_STACK', 'MISSING_MEMO', 'WRONG_TARGET']);

/** Runs one pickle leniently; ids that `place.persist` does not know are findings. */
export function runAt(bytes: Uint8Array, start: number, place: PicklePlace): PickleRun {
  const { persist } = place;
  return runPickle(bytes, start, {
    file: place.member,
    strict: false,
    ...(persist === undefined
      ? {}
      : {
          persist: (id: PickleValue): PickleValue => {
            const known = persist(id);
            return known === false ? { kind: 'persistent', id, offset: 0 } : known;
          },
        }),
  });
}

/** Reports every import, call and oddity of one run. */
export function judgeRun(run: PickleRun, place: PicklePlace): void {
  // A number or None: small streams follow one another by the million.
  const isScalar = run.value === null || typeof run.value === 'number' || typeof run.value === 'boolean';
  if (isScalar && run.error === undefined && run.events.length + run.findings.length === 0) return;
  const { ledger, member, base } = place;
  const calls = callsByName(run);
  const isPlain = plainUses(run);
  for (const event of run.events) {
    const at = { member, offset: base + event.offset, opIndex: event.opIndex };
    const { module, name, role } = event;
    if (event.kind === 'import') {
      if (!event.resolved) continue; // its finding COMPUTED_IMPORT says where and what
      if (role !== null) {
        ledger.known(module, name);
        continue;
      }
      if (place.script === true && module.startsWith('__torch__')) continue;
      const facts = { ...at, module, name, called: event.called, detail: calls.get(`${module}\0${name}`) ?? '' };
      if (module === 'builtins' && name === 'getattr') {
        const level: Level = isPlain.lookup() && event.called ? 'suspicious' : 'dangerous';
        report(ledger, { ...facts, level, rule: 'GETATTR' });
        continue;
      }
      if (module === 'functools' && name === 'partial' && event.called && isPlain.partial()) {
        report(ledger, { ...facts, level: 'suspicious', rule: 'UNKNOWN_IMPORT' });
        continue;
      }
      if (name === UFUNC && event.called && isPlain.ufunc()) {
        report(ledger, { ...facts, level: 'suspicious', rule: 'UNKNOWN_IMPORT' });
        continue;
      }
      const level = levelOfImport(module, event.written, name, role);
      if (level === null) continue;
      report(ledger, { ...facts, level, rule: level === 'dangerous' ? 'DANGEROUS_IMPORT' : 'UNKNOWN_IMPORT' });
    } else if (event.kind === 'call' && !event.resolved) {
      const isBound = module === 'functools' && name === 'partial' && isPlain.partial();
      const level: Level = name === '' || (!isBound && isDangerousName(module, name)) ? 'dangerous' : 'suspicious';
      const of = name === '' ? { module: null, name: null } : { module, name };
      ledger.add({ ...at, ...of, level, rule: 'COMPUTED_CALL', called: true, detail: event.argSummary });
    }
  }
  for (const finding of run.findings) {
    const at = { member, offset: base + finding.offset, opIndex: finding.opIndex, detail: finding.detail };
    switch (finding.code) {
      case 'COMPUTED_IMPORT':
        ledger.add({ ...at, level: 'dangerous', rule: 'COMPUTED_IMPORT' });
        break;
      case 'DANGEROUS_ATTRIBUTE':
        ledger.add({ ...at, level: 'dangerous', rule: 'DANGEROUS_ATTRIBUTE' });
        break;
      case 'ARGUMENT':
        ledger.add({ ...at, level: 'suspicious', rule: 'STREAM_BROKEN' });
        ledger.miss(0);
        break;
      case 'LIMIT':
        ledger.add({ ...at, level: 'suspicious', rule: 'LIMIT' });
        ledger.miss(0);
        break;
      case 'EXPANSION':
        ledger.add({ ...at, level: 'suspicious', rule: 'EXPANSION' });
        break;
      case 'TENSOR_BOUNDS':
        ledger.add({ ...at, level: 'suspicious', rule: 'TENSOR_BOUNDS' });
        break;
      case 'EXTENSION_CODE':
        ledger.add({ ...at, level: 'suspicious', rule: 'EXTENSION_CODE' });
        break;
      case 'PERSISTENT_ID':
        if (place.persist === undefined) ledger.add({ ...at, level: 'suspicious', rule: 'PERSISTENT_ID' });
        break;
      case 'WRONG_ROLE': {
        const isObjects = finding.detail.endsWith('of objects');
        if (isObjects && place.objects === true) break;
        const rule: AuditRule = isObjects ? 'OBJECT_ARRAY' : 'WRONG_ROLE';
        ledger.add({ ...at, level: 'suspicious', rule });
        break;
      }
      default:
        if (STRUCTURE.has(finding.code)) ledger.add({ ...at, level: 'suspicious', rule: 'PICKLE_STRUCTURE' });
    }
  }
  if (place.indirect !== undefined) place.indirect.push(...run.indirect);
  else if (run.indirect.length > 0) {
    const detail = 'a nested or sparse tensor, whose indices are not compared here';
    ledger.add({ level: 'suspicious', rule: 'TENSOR_BOUNDS', member, offset: base, detail });
  }
  if (run.error !== undefined) {
    const rule: AuditRule = run.error.code === 'LIMIT' ? 'LIMIT' : 'STREAM_BROKEN';
    const offset = base + run.end;
    ledger.add({ level: 'suspicious', rule, member, offset, opIndex: run.opcodes, detail: run.error.reason });
  }
  const unpickles = run.events.some((event) => event.kind === 'import' && isUnpickler(event.module, event.name));
  judgeValue(run, place);
  findNested(run, place, unpickles);
}

function report(
  ledger: Ledger,
  facts: Parameters<Ledger['add']>[0] & { readonly module: string; readonly name: string },
): void {
  if (facts.level === 'suspicious' && ledger.isAllowed(`${facts.module}.${facts.name}`)) return;
  ledger.add(facts);
}

/** What all uses of a name in the stream have in common, found out once: a stream may name it a million times. */
function plainUses(run: PickleRun): Readonly<Record<'lookup' | 'partial' | 'ufunc', () => boolean>> {
  const once = (judge: (run: PickleRun) => boolean): (() => boolean) => {
    let known: boolean | undefined;
    return () => {
      known ??= judge(run);
      return known;
    };
  };
  return { lookup: once(isPlainLookup), partial: once(isPlainPartial), ufunc: once(isPlainUfunc) };
}

/** The arguments of the first call of each name off the list. */
function callsByName(run: PickleRun): ReadonlyMap<string, string> {
  const calls = new Map<string, string>();
  for (const event of run.events) {
    const key = `${event.module}\0${event.name}`;
    if (event.kind === 'call' && event.resolved && event.argSummary !== '' && !calls.has(key)) {
      calls.set(key, event.argSummary);
    }
  }
  return calls;
}

/**
 * Whether every use of getattr looks up a plain attribute of a class or enum of a known library, and calls nothing of what
 * it gets. It stands so in genuine YOLO files and training arguments.
 */
function isPlainLookup(run: PickleRun): boolean {
  for (const event of run.events) {
    if (event.module !== 'builtins' || event.name !== 'getattr' || event.kind === 'import') continue;
    if (event.kind !== 'call' || !event.resolved) return false;
    const [object, attribute, ...more] = event.args ?? [];
    const class_ = isGlobal(object) ? object : layerOf(object);
    if (more.length > 0 || class_ === undefined || !class_.event.resolved) return false;
    const { module, name } = class_;
    // torch._C._VariableFunctionsClass is where torch.relu and its like are found.
    if (!isKnownLibrary(module) || !/^_?[A-Z]\w*$/.test(name) || isDangerousName(module, name)) return false;
    if (typeof attribute !== 'string' || !/^_?[A-Za-z]\w{0,99}$/.test(attribute)) return false;
    if (isDangerousName(module, attribute)) return false;
  }
  return true;
}

/** The class of a layer of PyTorch that the stream makes: a lazy layer refers to a method of itself, which it runs later. */
function layerOf(object: PickleValue | undefined): GlobalNode | undefined {
  if (!isReduced(object) || object.keywords !== undefined) return undefined;
  const made = isGlobal(object.callable) ? object.callable : undefined;
  if (made?.module.startsWith('torch.nn.modules.') === true) return made;
  return undefined;
}

/**
 * Whether every use of functools.partial binds a name that stands in the stream and is not dangerous itself: calling the
 * result is calling that name, which is reported for itself. Keras writes its variables so into `.npz` weights.
 */
function isPlainPartial(run: PickleRun): boolean {
  return run.events.every((event) => {
    if (event.module !== 'functools' || event.name !== 'partial' || event.kind !== 'call' || !event.resolved)
      return true;
    const [bound] = event.args ?? [];
    if (!isGlobal(bound) || !bound.event.resolved) return false;
    return levelOfImport(bound.module, bound.event.written, bound.name, bound.event.role) !== 'dangerous';
  });
}

const UFUNC = '_ufunc_reconstruct';

/** Whether NumPy's import by name fetches functions of NumPy or SciPy alone: its older versions wrote np.log1p so. */
function isPlainUfunc(run: PickleRun): boolean {
  return run.events.every((event) => {
    if (event.name !== UFUNC || event.kind !== 'call') return true;
    const [module, name, ...more] = event.args ?? [];
    if (!event.resolved || more.length > 0 || typeof module !== 'string' || typeof name !== 'string') return false;
    return (
      /^(?:numpy|scipy\.special)(?:\.\w+)*$/.test(module) && /^[a-z]\w*$/.test(name) && !isDangerousName(module, name)
    );
  });
}

/** Bytes of the first look at a stream; four times as many each time they do not suffice. */
const WINDOW_BYTES = 1024 * 1024;

/**
 * Walks pickles one after another from `start` to the end of the content. 'no': what stands at `start` is no pickle.
 * `after` may take over behind a stream (raw data that the surroundings know); it gives the place where it stopped.
 */
export async function judgePickles(
  content: Content,
  start: number,
  place: Omit<PicklePlace, 'base'>,
  after?: (run: PickleRun, index: number, end: number) => Promise<number | undefined>,
): Promise<'pickle' | 'no'> {
  const { source } = content;
  const { ledger, member } = place;
  const window: Window = { from: 0, bytes: new Uint8Array(0) };
  let position = start;
  let made = 0;
  for (let index = 0; position < source.size || index === 0; index += 1) {
    if (index >= LIMITS.pickleStreams) {
      const detail = `more than ${LIMITS.pickleStreams} streams`;
      ledger.add({ level: 'suspicious', rule: 'LIMIT', member, offset: position, detail });
      ledger.miss(source.size - position);
      await scanRest(content, position, place);
      return 'pickle';
    }
    const stream = await runWindow(content, position, place, window);
    const { run } = stream;
    const isPickle = place.imports === true && index === 0 ? isPickleToo(stream) : looksRun(stream, place, index === 0);
    if (!isPickle) {
      if (index === 0) return 'no';
      trailing(ledger, member, position, source.size);
      await scanRest(content, position, place);
      return 'pickle';
    }
    judgeRun(run, { ...place, base: position });
    const end = position + run.end;
    // What each stream makes is small, all of them together may not be.
    made += run.made;
    if (made > run.made && made > LIMITS.pickleMadeBytes + LIMITS.pickleMadeRatio * (end - start)) {
      const detail = 'streams that make memory out of numbers, all together';
      ledger.add({ level: 'suspicious', rule: 'EXPANSION', member, offset: position, detail });
    }
    if (run.error !== undefined) {
      if (stream.isCut) ledger.add({ level: 'suspicious', rule: 'LIMIT', member, offset: end, detail: CUT_DETAIL });
      ledger.miss(source.size - end);
      await scanRest(content, end, place);
      return 'pickle';
    }
    position = end;
    const taken = await after?.(run, index, end);
    if (taken !== undefined) position = taken;
  }
  return 'pickle';
}

function trailing(ledger: Ledger, member: string, position: number, size: number): void {
  ledger.add({
    level: 'suspicious',
    rule: 'TRAILING_BYTES',
    member,
    offset: position,
    detail: `${size - position} bytes`,
  });
  ledger.miss(size - position);
}

/** Looks for pickles that import something in bytes that were given up. */
export async function scanRest(content: Content, start: number, place: Omit<PicklePlace, 'base'>): Promise<void> {
  const { source } = content;
  const end = Math.min(source.size, start + SCAN_BYTES);
  if (start >= end) return;
  scanForPickles(await source.read(start, end), { ...place, base: start }, true);
}

/** Bytes of an unknown region that are searched for pickles. */
export const SCAN_BYTES: number = 64 * 1024 * 1024;

/** One run, and whether the bytes that it was given were all there are. */
interface Stream {
  readonly run: PickleRun;
  /** From the start of the stream on. */
  readonly bytes: Uint8Array;
  /** More bytes follow those. */
  readonly hasMore: boolean;
  /** The stream needed more than it was given. */
  readonly isCut: boolean;
}

/** Whether a run is one of a pickle at all: it came to its STOP, a limit of ours ended it, or it did what only pickles do. */
function looksRun(stream: Stream, place: Omit<PicklePlace, 'base'>, isFirst: boolean): boolean {
  const { run, bytes } = stream;
  if (bytes[0] === 0x80 && (bytes[1] ?? 0) <= 5) return true;
  if (acts(run)) return true;
  // What lies beyond a limit of ours could be anything.
  if (run.error?.code === 'LIMIT' || (stream.isCut && (run.opcodes > 0 || isPrintable(bytes)))) return true;
  if (run.error !== undefined || isDoubtful(run)) return false;
  return !isFirst || run.end >= bytes.length || !isPrintable(bytes) || isFollowed(stream, place);
}

/** A file of another format counts as a pickle when it imports something, or runs on until a limit of ours ends it. */
function isPickleToo(stream: Stream): boolean {
  const { run } = stream;
  return acts(run) || ((run.error?.code === 'LIMIT' || stream.isCut) && run.opcodes > 3);
}

/** Whether it imports by a name that a module can have; behind an argument that Python refuses, one that matters. */
function acts(run: PickleRun): boolean {
  const doubt = run.findings.find((finding) => finding.code === 'ARGUMENT')?.opIndex ?? Number.POSITIVE_INFINITY;
  return (
    run.events.some((event) => event.kind === 'import' && event.opIndex < doubt && isName(event.module)) ||
    (isDoubtful(run) && dangerousCall(run) !== undefined)
  );
}

/** Whether Python would have stopped before the end of the run. */
function isDoubtful(run: PickleRun): boolean {
  return run.findings.some((finding) => finding.code === 'ARGUMENT');
}

/**
 * Text such as 'N. Smith' is a complete pickle of None, if one wants it to be. It is meant as one where what follows is
 * whole streams up to the end, or where one of them imports something.
 */
function isFollowed({ run: first, bytes, hasMore }: Stream, place: Omit<PicklePlace, 'base'>): boolean {
  let streams = 1;
  for (let at = first.end; at < bytes.length && streams < LIMITS.pickleStreams; streams += 1) {
    const run = runAt(bytes, at, { ...place, base: 0 });
    if (run.error === undefined && !isDoubtful(run)) {
      if (acts(run)) return true;
      at = run.end;
      continue;
    }
    if (run.error?.code === 'TRUNCATED' && hasMore) return true;
    return run.error?.code === 'LIMIT' || (acts(run) && importsDanger(run));
  }
  return true;
}

function importsDanger(run: PickleRun): boolean {
  return run.events.some((event) => event.kind === 'import' && isDangerousName(event.module, event.name));
}

/** Bytes at the start that tell text from a pickle of a binary protocol. */
function isPrintable(bytes: Uint8Array): boolean {
  return bytes.subarray(0, 512).every((byte) => byte >= 0x20 || byte === 9 || byte === 10 || byte === 13);
}

/** A module as a file could spell it; '' is a computed one. */
function isName(module: string): boolean {
  return module === '' || /^[\w.]+$/.test(module);
}

/** Bytes of a stream without a protocol marker: it may as well be anything else. */
const UNMARKED_BYTES = 64 * 1024 * 1024;
const CUT_DETAIL = 'the stream goes on behind the bytes that are walked of one';

/** The bytes that were read last: small streams follow one another by the million. */
interface Window {
  from: number;
  bytes: Uint8Array;
}

/** Runs the pickle at `position` over as many bytes as it takes. */
async function runWindow(
  content: Content,
  position: number,
  place: Omit<PicklePlace, 'base'>,
  window: Window,
): Promise<Stream> {
  const { source } = content;
  const held = window.from <= position ? window.bytes.subarray(position - window.from) : new Uint8Array(0);
  if (held.length > 0) {
    const stream = oneRun(held, position + held.length < source.size, place);
    if (!stream.isCut) return stream;
  }
  for (let size = WINDOW_BYTES; ; size *= 4) {
    const end = Math.min(source.size, position + Math.min(size, LIMITS.pickleBytes));
    const bytes = await source.read(position, end);
    const stream = oneRun(bytes, end < source.size, place);
    const isMost = size >= (bytes[0] === 0x80 ? LIMITS.pickleBytes : UNMARKED_BYTES);
    if (!stream.hasMore || isMost || !stream.isCut) {
      window.from = position;
      window.bytes = bytes;
      return stream;
    }
  }
}

function oneRun(bytes: Uint8Array, hasMore: boolean, place: Omit<PicklePlace, 'base'>): Stream {
  const run = runAt(bytes, 0, { ...place, base: 0 });
  // A frame that is longer than the window looks like one that is longer than the file.
  const isShort = run.error?.code === 'TRUNCATED' || run.findings.some((finding) => finding.code === 'FRAME');
  return { run, bytes, hasMore, isCut: hasMore && isShort };
}
