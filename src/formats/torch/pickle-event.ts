import type { BnsumError } from '../../ir/error.ts';
import type { GlobalRole } from './globals.ts';
import type { PickleValue } from './pickle-value.ts';

/**
 * What a loader would have done at this place. Recorded when the opcode is met, so that a stream which breaks later, or
 * throws the result away, still reports it.
 */
export interface PickleEvent {
  readonly kind: 'import' | 'call' | 'build' | 'extension' | 'persistent';
  /** Python 2 names are mapped ('__builtin__' is 'builtins'); '' where the name is not a constant of the stream. */
  readonly module: string;
  readonly name: string;
  /** As the stream spells the module, when that differs. */
  readonly written: string | undefined;
  /** The role in the allow list, null for a name that is not on it. */
  readonly role: GlobalRole | null;
  /** false: the name, or the thing called, is the result of a computation or of a missing memo entry. */
  readonly resolved: boolean;
  readonly offset: number;
  readonly opIndex: number;
  readonly opcode: string;
  /** Of an import: whether it was called afterwards. */
  called: boolean;
  /** Calls of names off the allow list, and BUILD: the arguments, shortened. */
  readonly argSummary: string;
  /** Calls of names off the allow list: the arguments themselves. */
  readonly args: readonly PickleValue[] | undefined;
  /** How often; allowed names are folded into their first place. */
  count: number;
}

export type FindingCode =
  | 'ARGUMENT'
  | 'COMPUTED_IMPORT'
  | 'DANGEROUS_ATTRIBUTE'
  | 'DUPLICATE_KEY'
  | 'EXPANSION'
  | 'EXTENSION_CODE'
  | 'FRAME'
  | 'LEFT_ON_STACK'
  | 'LIMIT'
  | 'MISSING_MEMO'
  | 'PERSISTENT_ID'
  | 'PROTO'
  | 'TENSOR_BOUNDS'
  | 'UNKNOWN_GLOBAL'
  | 'WRONG_ROLE'
  | 'WRONG_TARGET';

/** Something unusual about the stream itself. */
export interface PickleFinding {
  readonly code: FindingCode;
  readonly offset: number;
  readonly opIndex: number;
  readonly detail: string;
}

/** A nested or sparse tensor: its maker, and the arguments. */
export interface IndirectTensor {
  readonly name: string;
  readonly args: readonly PickleValue[];
}

export interface PickleRun {
  /** What the stream describes; undefined when it broke. */
  readonly value: PickleValue | undefined;
  /** One past the STOP opcode, or where it broke. */
  readonly end: number;
  readonly opcodes: number;
  readonly protocol: number;
  readonly events: readonly PickleEvent[];
  readonly findings: readonly PickleFinding[];
  /** Of an audit: objects that it held, and bytes that calls make out of numbers and copies. */
  readonly nodes: number;
  readonly made: number;
  /** Of an audit: tensors that are addressed by the numbers of others. */
  readonly indirect: readonly IndirectTensor[];
  readonly error: BnsumError | undefined;
}
