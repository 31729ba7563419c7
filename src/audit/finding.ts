import { LIMITS } from '../ir/limits.ts';

export type Level = 'suspicious' | 'dangerous';
export type Verdict = 'safe' | Level;

/** What was found; one rule, one meaning. The wording of each is in views/audit-wording.ts. */
export type AuditRule =
  // Pickles
  | 'COMPUTED_CALL' // something is called whose name the stream does not hold
  | 'COMPUTED_IMPORT' // an import whose name is the result of a computation
  | 'DANGEROUS_ATTRIBUTE' // BUILD sets a name that changes what an object does
  | 'DANGEROUS_IMPORT' // a name of a family that runs code, reaches files, processes or the network
  | 'EXPANSION' // few bytes that stand for a huge structure, or for much memory
  | 'EXTENSION_CODE'
  | 'GETATTR' // an attribute is looked up by name
  | 'NESTED_PICKLE' // a value that is itself a pickle
  | 'OBJECT_ARRAY' // an array of Python objects: they are pickled
  | 'PERSISTENT_ID'
  | 'PICKLE_STRUCTURE' // what no writer of pickles writes
  | 'STORAGE_MISMATCH' // a storage that is not there, or of another size than the pickle says
  | 'STREAM_BROKEN' // the stream ends or breaks before its STOP
  | 'TENSOR_BOUNDS' // a view that leaves its storage
  | 'TRAILING_BYTES' // bytes after the last stream that are none
  | 'UNKNOWN_IMPORT' // a name that is neither on the allow list nor of a dangerous family
  | 'WRONG_ROLE' // a listed name, used for something else
  // Containers
  | 'BAD_CHECKSUM'
  | 'EMBEDDED_PICKLE' // bytes that no member or value owns hold a pickle
  | 'HIDDEN_MEMBER'
  | 'LIMIT' // a limit ended the reading
  | 'NATIVE_CODE' // a program or library
  | 'NESTED_ARCHIVE' // an archive in an archive, deeper than any format has it
  | 'NOT_OPENED' // a kind of file or archive that is not opened here
  | 'OTHER_CONTENT' // not what its name says
  | 'PREFIX_BYTES'
  | 'PROGRAM' // TorchScript or an exported program
  | 'PYTHON_SOURCE'
  | 'SPECIAL_FILE'
  | 'TAR_ODDITY'
  | 'TWO_FORMATS'
  | 'UNKNOWN_CONTENT'
  | 'UNREADABLE' // damaged, or against the rules of its format
  | 'UNSAFE_NAME'
  | 'ZIP_ODDITY' // something on which zip readers disagree
  // Keras, HDF5, ONNX
  | 'CUSTOM_OBJECT' // a class or function that the loading program has to bring
  | 'DANGEROUS_OBJECT' // a class or function that Keras should never resolve from a file
  | 'EXTERNAL_LINK'
  | 'EXTERNAL_PATH' // a path or address that leads out of the model
  | 'EXTERNAL_STORAGE'
  | 'FOREIGN_LAYER' // a layer that runs what lies outside of Keras
  | 'GRAPH_OPERATION'
  | 'LAMBDA'
  | 'MARSHALLED_CODE'
  | 'SOFT_LINK'
  | 'USER_BLOCK'
  | 'VIRTUAL_DATASET';

export interface Finding {
  readonly level: Level;
  readonly rule: AuditRule;
  /** Module and name of the import or object it is about; null where there is none. */
  readonly module: string | null;
  readonly name: string | null;
  /** Where: '' is the file itself, 'archive/data.pkl', 'model.weights.h5!/layers'. */
  readonly member: string;
  /** Byte offset in that member. */
  readonly offset: number | null;
  /** Number of the opcode, from 0. */
  readonly opIndex: number | null;
  /** Whether the name is called; null where calling does not apply. */
  readonly called: boolean | null;
  /** Facts from the file, data: to be escaped before it is shown. */
  readonly detail: string;
  /** How often this was found at this member; the first place is kept. */
  readonly count: number;
}

export interface Audit {
  readonly verdict: Verdict;
  /** Whether every byte could be judged. */
  readonly complete: boolean;
  readonly findings: readonly Finding[];
  /** Distinct imports on the allow list. */
  readonly knownImports: number;
  /** What the file is, in our words: 'pickle', 'zip', 'torch zip', … */
  readonly kind: string;
  /** Names that the user allowed and that occurred. */
  readonly allowed: readonly string[];
  readonly bytes: { readonly judged: number; readonly total: number };
  readonly sha256: string;
}

export type FindingFacts = Omit<Finding, 'count' | 'module' | 'name' | 'offset' | 'opIndex' | 'called' | 'detail'> &
  Partial<Pick<Finding, 'module' | 'name' | 'offset' | 'opIndex' | 'called' | 'detail'>>;

/** Findings of one file that are kept; more of them say nothing new. */
const FINDINGS_KEPT = 10_000;

/** Collects findings while a file is judged. Equal ones (rule, name, member, level) are folded into their first place. */
export interface Ledger {
  add(facts: FindingFacts): void;
  /** Bytes that could not be judged: the file is incomplete. `byteLength` may be 0 where no number is known. */
  miss(byteLength: number): void;
  known(module: string, name: string): void;
  /** Whether the user allowed this exact name for this run; remembers that it occurred. */
  isAllowed(full: string): boolean;
  /** Bytes that searches for pickles in what nothing owns have walked, all of them together. */
  readonly searched: { bytes: number };
  findings(): readonly Finding[];
  verdict(): Verdict;
  readonly missed: () => { readonly any: boolean; readonly bytes: number };
  readonly knownCount: () => number;
  readonly allowedSeen: () => readonly string[];
}

export function makeLedger(allow: ReadonlySet<string> = new Set()): Ledger {
  const folded = new Map<string, Finding>();
  const known = new Set<string>();
  const allowedSeen = new Set<string>();
  let missedBytes = 0;
  let missedAny = false;
  let overflow = false;
  return {
    searched: { bytes: 0 },
    add(facts) {
      const finding: Finding = {
        module: null,
        name: null,
        offset: null,
        opIndex: null,
        called: null,
        detail: '',
        ...facts,
        count: 1,
      };
      const what = finding.name === null ? finding.detail : `${finding.module}\0${finding.name}`;
      const key = [finding.level, finding.rule, finding.member, what].join('\0');
      const first = folded.get(key);
      if (first !== undefined) {
        folded.set(key, {
          ...first,
          count: first.count + 1,
          called: first.called === true || finding.called === true ? true : first.called,
          detail: first.detail === '' ? finding.detail : first.detail,
        });
        return;
      }
      // A dangerous finding is kept whatever came before it.
      if (folded.size >= FINDINGS_KEPT && finding.level !== 'dangerous') {
        overflow = true;
        missedAny = true;
        return;
      }
      if (folded.size < 2 * FINDINGS_KEPT) folded.set(key, finding);
    },
    miss(byteLength) {
      missedAny = true;
      missedBytes += Math.max(0, byteLength);
    },
    known(module, name) {
      if (known.size < LIMITS.pickleEvents) known.add(`${module}.${name}`);
    },
    isAllowed(full) {
      if (!allow.has(full)) return false;
      allowedSeen.add(full);
      return true;
    },
    findings() {
      const list = [...folded.values()];
      if (overflow) {
        list.push({
          level: 'suspicious',
          rule: 'LIMIT',
          module: null,
          name: null,
          member: '',
          offset: null,
          opIndex: null,
          called: null,
          detail: `more than ${FINDINGS_KEPT} findings`,
          count: 1,
        });
      }
      const rank = (finding: Finding): number => (finding.level === 'dangerous' ? 0 : 1);
      return list.toSorted((a, b) => rank(a) - rank(b));
    },
    verdict() {
      let verdict: Verdict = missedAny || overflow ? 'suspicious' : 'safe';
      for (const finding of folded.values()) {
        if (finding.level === 'dangerous') return 'dangerous';
        verdict = 'suspicious';
      }
      return verdict;
    },
    missed: () => ({ any: missedAny, bytes: missedBytes }),
    knownCount: () => known.size,
    allowedSeen: () => [...allowedSeen].toSorted(),
  };
}
