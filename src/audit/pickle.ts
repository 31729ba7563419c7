import type { PickleRun } from '../formats/torch/pickle-event.ts';
import type { PickleValue } from '../formats/torch/pickle-value.ts';
import { isGlobal } from '../formats/torch/pickle-value.ts';
import { runPickle } from '../formats/torch/unpickle.ts';
import { LIMITS } from '../ir/limits.ts';
import type { Content } from './context.ts';
import type { AuditRule, Ledger, Level } from './finding.ts';
import { isDangerousName, isKnownLibrary, isUnpickler, levelOfImport } from './names.ts';
import { findNested, scanForPickles } from './nested.ts';
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
  const { ledger, member, base } = place;
  const calls = callsByName(run);
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
        const level: Level = isPlainLookup(run) && event.called ? 'suspicious' : 'dangerous';
        report(ledger, { ...facts, level, rule: 'GETATTR' });
        continue;
      }
      if (module === 'functools' && name === 'partial' && event.called && isPlainPartial(run)) {
        report(ledger, { ...facts, level: 'suspicious', rule: 'UNKNOWN_IMPORT' });
        continue;
      }
      const level = levelOfImport(module, event.written, name, role);
      if (level === null) continue;
      report(ledger, { ...facts, level, rule: level === 'dangerous' ? 'DANGEROUS_IMPORT' : 'UNKNOWN_IMPORT' });
    } else if (event.kind === 'call' && !event.resolved) {
      const isPlain = module === 'functools' && name === 'partial' && isPlainPartial(run);
      const level: Level = name === '' || (!isPlain && isDangerousName(module, name)) ? 'dangerous' : 'suspicious';
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
    if (more.length > 0 || !isGlobal(object) || !object.event.resolved) return false;
    const { module, name } = object;
    if (!isKnownLibrary(module) || !/^[A-Z]\w*$/.test(name) || isDangerousName(module, name)) return false;
    if (typeof attribute !== 'string' || !/^[A-Za-z]\w{0,99}$/.test(attribute)) return false;
    if (isDangerousName(module, attribute)) return false;
  }
  return true;
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
  let position = start;
  for (let index = 0; position < source.size || index === 0; index += 1) {
    const { run, bytes } = await runWindow(content, position, { ...place, base: 0 });
    const isPickle = index === 0 && place.imports === true ? importsByName(run) : looksRun(run, bytes, 0);
    if (!isPickle) {
      if (index === 0) return 'no';
      trailing(ledger, member, position, source.size);
      await scanRest(content, position, place);
      return 'pickle';
    }
    judgeRun(run, { ...place, base: position });
    const end = position + run.end;
    if (run.error !== undefined) {
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
async function scanRest(content: Content, start: number, place: Omit<PicklePlace, 'base'>): Promise<void> {
  const { source } = content;
  const end = Math.min(source.size, start + SCAN_BYTES);
  if (start >= end) return;
  scanForPickles(await source.read(start, end), { ...place, base: start });
}

/** Bytes of an unknown region that are searched for pickles. */
export const SCAN_BYTES: number = 64 * 1024 * 1024;

/** Whether a run is one of a pickle at all: it came to its STOP, or it did what only pickles do. */
function looksRun(run: PickleRun, bytes: Uint8Array, start: number): boolean {
  if (bytes[start] === 0x80 && (bytes[start + 1] ?? 0) <= 5) return true;
  const acts = importsByName(run);
  if (run.error === undefined) return acts || !isProse(bytes, start, run);
  return acts;
}

function importsByName(run: PickleRun): boolean {
  return run.events.some((event) => event.kind === 'import' && isName(event.module));
}

/** Text such as 'N. Smith' is a complete pickle of None, if one wants it to be. */
function isProse(bytes: Uint8Array, start: number, run: PickleRun): boolean {
  if (run.end >= bytes.length) return false;
  return bytes.subarray(start, start + 512).every((byte) => byte >= 0x20 || byte === 9 || byte === 10 || byte === 13);
}

/** A module as a file could spell it; '' is a computed one. */
function isName(module: string): boolean {
  return module === '' || /^[\w.]+$/.test(module);
}

/** Bytes of a stream without a protocol marker: it may as well be anything else. */
const UNMARKED_BYTES = 64 * 1024 * 1024;

/** Runs the pickle at `position` over as many bytes as it takes. */
async function runWindow(
  content: Content,
  position: number,
  place: PicklePlace,
): Promise<{ readonly run: PickleRun; readonly bytes: Uint8Array }> {
  const { source } = content;
  for (let size = WINDOW_BYTES; ; size *= 4) {
    const end = Math.min(source.size, position + Math.min(size, LIMITS.pickleBytes));
    const bytes = await source.read(position, end);
    const run = runAt(bytes, 0, place);
    const isWhole = end === source.size || size >= (bytes[0] === 0x80 ? LIMITS.pickleBytes : UNMARKED_BYTES);
    // A frame that is longer than the window looks like one that is longer than the file.
    const cut = run.error?.code === 'TRUNCATED' || run.findings.some((finding) => finding.code === 'FRAME');
    if (isWhole || !cut) return { run, bytes };
  }
}
