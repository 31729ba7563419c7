/**
 * What was noticed on the way: inferred, filled in, dropped, approximated. A diagnostic is data (code, place, arguments);
 * the wording lives in views/diagnostics.ts, one sentence per code.
 */
export type Severity = 'info' | 'warning' | 'error';

export type DiagnosticCode =
  | 'ASSUMED'
  | 'CANDIDATE_CHOSEN'
  | 'CAST'
  | 'CLASS_ASSUMED'
  | 'CLASS_INFERRED'
  | 'CODE_CONSTANTS'
  | 'CODE_PRESENT'
  | 'COMMON_PREFIX'
  | 'CUSTOM_LAYER'
  | 'DROPPED'
  | 'DUPLICATE_KEY'
  | 'FILLED'
  | 'FOLDED'
  | 'KEYS_MATCHED'
  | 'KIND_GUESSED'
  | 'LAYER_SKIPPED'
  | 'NO_ARCHITECTURE'
  | 'NOT_A_TENSOR'
  | 'NOT_A_VARIABLE'
  | 'NOT_FOLDED'
  | 'NOT_SAVED'
  | 'NO_TWIN'
  | 'PACKED'
  | 'PARTIAL_OVERLAP'
  | 'SHAPE_UNKNOWN'
  | 'TARGET_PADDING'
  | 'TARGET_SETTING'
  | 'TRAINING_DIFFERS'
  | 'WEIGHT_MISSING'
  | 'WEIGHT_UNEXPECTED';

export const DIAGNOSTIC_SEVERITY: Readonly<Record<DiagnosticCode, Severity>> = {
  /** Layers pad one end more than the other, which `padding=` cannot say: a target without our module must do so; args: count, first. */
  TARGET_PADDING: 'warning',
  /** Modules have a setting that is not PyTorch's default and that no state_dict carries; args: count, type, setting, value, usual, first. */
  TARGET_SETTING: 'warning',
  /** Floating tensors were cast to another type on request; args: count, from, to. */
  CAST: 'info',
  /** A tensor of an unrecognised layer is counted as a parameter. */
  CLASS_ASSUMED: 'info',
  /** Parameters and buffers are told apart by the recognised layers, since the file does not say; args: parameters, buffers. */
  CLASS_INFERRED: 'info',
  /** All names begin with a wrapper's prefix, which paths keep; args: prefix. */
  COMMON_PREFIX: 'info',
  /** A key was set twice in one dict: the last value counts; args: count, first. */
  DUPLICATE_KEY: 'warning',
  /** Values of a state_dict that are no tensors and are left out; args: count, first. */
  NOT_A_TENSOR: 'info',
  /** Arrays of a Keras file that are no variables of its layers and are left out; args: count, first. */
  NOT_A_VARIABLE: 'info',
  /** Buffers that the module keeps out of its state_dict; args: count, first. */
  NOT_SAVED: 'info',
  /** A custom layer, summarised from its weights. */
  CUSTOM_LAYER: 'info',
  /** Several state_dicts in one checkpoint; one was chosen. */
  CANDIDATE_CHOSEN: 'info',
  /** Modules were given the keys of a target; args: count, by. */
  KEYS_MATCHED: 'info',
  /** A kind was inferred from names and shapes. */
  KIND_GUESSED: 'info',
  /** A layer was left out on request. */
  LAYER_SKIPPED: 'warning',
  /** The file holds code that was not looked at further (Lambda, TorchScript). */
  CODE_PRESENT: 'warning',
  /** Tensors that are constants of TorchScript code, of a frozen model all its weights: they count in no total; args: count, elements, first. */
  CODE_CONSTANTS: 'warning',
  /** The config names weights that the file lacks. */
  WEIGHT_MISSING: 'warning',
  /** The file holds weights that the config does not name. */
  WEIGHT_UNEXPECTED: 'warning',
  /** A layer without a counterpart in the other framework counts its own tensors. */
  NO_TWIN: 'info',
  /** Architecture is absent: a weights-only file without --config. */
  NO_ARCHITECTURE: 'info',
  /** A reading that the file does not settle was assumed. */
  ASSUMED: 'warning',
  /** Weights packed into objects of quantised modules, which PyTorch counts neither as parameters nor as buffers; they count as buffers here; args: count, first. */
  PACKED: 'info',
  /** A tensor overlaps another one in part. */
  PARTIAL_OVERLAP: 'warning',
  /** A tensor has no place in the other framework; args: role, why. */
  DROPPED: 'info',
  /** A tensor that the source lacks was made; args: tensor, value. */
  FILLED: 'info',
  /** A BatchNorm was folded into its neighbours on request; args: into, how ('backward' | 'forward'). */
  FOLDED: 'info',
  /** A BatchNorm that could not be folded stays; args: why. */
  NOT_FOLDED: 'info',
  /** Same outputs in inference, another computation in training; args: what. */
  TRAINING_DIFFERS: 'warning',
  /** A shape could not be inferred. */
  SHAPE_UNKNOWN: 'info',
};

/** Where something was noticed; what is absent does not apply. */
export interface Place {
  readonly file?: string;
  readonly layer?: string;
  readonly tensor?: string;
  readonly offset?: number;
}

/** What was inferred, filled in, dropped or approximated: a code with arguments, which `describe` puts into words. */
export interface Diagnostic {
  readonly code: DiagnosticCode;
  readonly severity: Severity;
  readonly at: Place;
  readonly args: Readonly<Record<string, string | number | boolean | null | readonly string[]>>;
}

/** Builds a diagnostic with the severity of its code. */
export function note(code: DiagnosticCode, at: Place, args: Diagnostic['args'] = {}): Diagnostic {
  return { code, severity: DIAGNOSTIC_SEVERITY[code], at, args };
}

/** A value plus what was noticed on the way to it. */
export interface Outcome<T> {
  readonly value: T;
  readonly diagnostics: readonly Diagnostic[];
}
