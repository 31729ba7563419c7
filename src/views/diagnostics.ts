import type { Diagnostic, DiagnosticCode, Place } from '../ir/diagnostic.ts';
import { escapeText, showName } from './escape.ts';

type Args = Diagnostic['args'];

function word(args: Args, key: string): string | null {
  const value = args[key];
  if (value === undefined || value === null) return null;
  if (Array.isArray(value)) return value.map((one) => showName(String(one))).join(', ');
  return showName(String(value));
}

/** ` (word)` or nothing. */
function aside(text: string | null): string {
  return text === null || text === '' ? '' : ` (${text})`;
}

/** `3 keys`, by the argument `count`. */
function counted(args: Args, noun: string, plural: string = `${noun}s`): string {
  const count = args['count'];
  return count === 1 ? `1 ${noun}` : typeof count === 'number' ? `${count} ${plural}` : `some ${plural}`;
}

function firstOf(args: Args): string {
  return aside(word(args, 'first'));
}

const TOWARD: ReadonlyMap<string, string> = new Map([
  ['torch', 'PyTorch'],
  ['keras', 'Keras'],
]);

/** One sentence per code, without the place and without a full stop; every name in it is escaped. */
const SENTENCES: Readonly<Record<DiagnosticCode, (args: Args) => string>> = {
  ASSUMED: (args) => {
    if (args['what'] === 'optimizer') {
      return `what Keras builds for the optimizer ${word(args, 'type') ?? ''} does not follow from its class; the variables in the file are counted`;
    }
    return `the file does not settle ${word(args, 'what') ?? 'a reading'}; assumed${aside(word(args, 'assumed') ?? word(args, 'value') ?? word(args, 'reason'))}`;
  },
  CANDIDATE_CHOSEN: (args) => {
    const chosen = word(args, 'chosen') ?? 'the first';
    const others = Array.isArray(args['candidates'])
      ? args['candidates'].filter((name) => name !== args['chosen'])
      : [];
    if (others.length === 0) return `the model in the checkpoint is ${chosen}; what lies beside it is not counted`;
    return `the checkpoint holds several models; ${chosen} is summarised${aside(word(args, 'reason'))}, --pick NAME takes another (${listNames(others.map(String))})`;
  },
  CAST: (args) =>
    `${counted(args, 'tensor')} cast${aside(word(args, 'from'))} to ${word(args, 'to') ?? 'another type'}`,
  CLASS_ASSUMED: () =>
    'nothing in the file says whether these tensors are parameters; floating ones count as parameters (a lone mean and variance as statistics), those of whole numbers as buffers',
  CLASS_INFERRED: (args) =>
    `parameters${aside(word(args, 'parameters'))} and buffers${aside(word(args, 'buffers'))} are told apart by the recognised layers: the file does not say`,
  CODE_CONSTANTS: (args) =>
    `${counted(args, 'tensor')} of ${word(args, 'elements') ?? '?'} elements are constants of the code, as a frozen model keeps its weights${firstOf(args)}: PyTorch counts them neither as parameters nor as buffers, and no total here does`,
  CODE_PRESENT: (args) =>
    args['what'] === 'pickled names'
      ? `loading it in Python imports ${counted(args, 'class or function', 'classes or functions')} by name${firstOf(args)}, which is not done here; --audit tells what they are`
      : `the file carries code, which is not run${aside(word(args, 'what') ?? word(args, 'type'))}`,
  COMMON_PREFIX: (args) => `every name begins with ${word(args, 'prefix') ?? 'one prefix'}; paths keep it`,
  CUSTOM_LAYER: (args) => `custom layer${aside(word(args, 'type'))}, summarised from its weights`,
  DROPPED: (args) =>
    `${word(args, 'role') ?? word(args, 'what') ?? 'a tensor'} has no place in the other framework${aside(word(args, 'why'))}`,
  DUPLICATE_KEY: (args) => `${counted(args, 'key')} set twice in one dict${firstOf(args)}; the last value counts`,
  FILLED: (args) =>
    `${word(args, 'tensor') ?? 'a tensor'} is not in the file and is filled${aside(word(args, 'value'))}`,
  FOLDED: (args) =>
    `folded ${word(args, 'how') ?? 'away'} into ${word(args, 'into') ?? 'its neighbour'}, exact at inference`,
  KEYS_MATCHED: (args) => `${counted(args, 'module')} matched to the target's keys${aside(word(args, 'by'))}`,
  KIND_GUESSED: (args) =>
    `the kind of layer${aside(word(args, 'kind'))} is inferred from names and shapes${aside(word(args, 'because') ?? word(args, 'reason'))}`,
  LAYER_SKIPPED: (args) => `left out on request${aside(word(args, 'type') ?? word(args, 'why'))}`,
  NOT_A_VARIABLE: (args) => `${counted(args, 'array')} outside the layers’ variables left out${firstOf(args)}`,
  NOT_A_TENSOR: (args) => `${counted(args, 'value')} without a tensor left out${firstOf(args)}`,
  NOT_FOLDED: (args) => `stays a BatchNorm${aside(word(args, 'why'))}`,
  NOT_SAVED: (args) => {
    const elements = word(args, 'elements');
    const size = elements === null ? '' : ` of ${elements} elements`;
    return `${counted(args, 'tensor')}${size} that the module keeps out of its state_dict${firstOf(args)}: in no total here`;
  },
  NO_ARCHITECTURE: (args) =>
    word(args, 'framework') === 'torch'
      ? 'a state_dict holds tensors alone: settings such as eps, output shapes and the order of calls are not known'
      : word(args, 'type') === null
        ? 'the file holds weights without an architecture: output shapes and flags are not known (for Keras weights --config FILE gives them)'
        : 'a subclassed model: only its own code knows its layers and their order, so output shapes and flags are not known',
  NO_TWIN: (args) => {
    const toward = TOWARD.get(String(args['toward'])) ?? 'the other framework';
    return `no counterpart in ${toward}${aside(word(args, 'reason') ?? word(args, 'type'))}; its own tensors are counted`;
  },
  PACKED: (args) =>
    `${counted(args, 'packed tensor')} of quantised modules${firstOf(args)}: counted as buffers here, while PyTorch counts packed weights neither as parameters nor as buffers`,
  PARTIAL_OVERLAP: (args) => `shares part of its bytes with another tensor${aside(word(args, 'with'))}; both count`,
  SHAPE_UNKNOWN: (args) => `the output shape cannot be inferred${aside(word(args, 'reason') ?? word(args, 'type'))}`,
  TARGET_PADDING: (args) =>
    `${counted(args, 'layer')} with more padding at one end than at the other${firstOf(args)}, which padding= of PyTorch cannot say: the target must pad so itself, or be the module that --module writes`,
  TARGET_SETTING: (args) =>
    `${counted(args, `${word(args, 'type') ?? ''} module`.trim())} with ${[word(args, 'setting') ?? 'a setting', word(args, 'value')].filter(Boolean).join(' ')}, which no state_dict carries (PyTorch's default is ${word(args, 'usual') ?? 'another'}): set it in the target, or take the module that --module writes`,
  TRAINING_DIFFERS: (args) =>
    `same outputs at inference, another computation in training${aside(word(args, 'what') ?? word(args, 'reason'))}`,
  WEIGHT_MISSING: (args) =>
    args['why'] === 'uninitialised'
      ? `${counted(args, 'tensor')} of lazy modules${firstOf(args)}, which have no shape before the first forward pass`
      : `a weight that the file should hold is not there${aside(word(args, 'first') ?? word(args, 'weight') ?? word(args, 'role') ?? word(args, 'name') ?? word(args, 'names'))}`,
  WEIGHT_UNEXPECTED: (args) =>
    `the file holds a weight that the config does not name${aside(word(args, 'weight') ?? word(args, 'role') ?? word(args, 'name') ?? word(args, 'names'))}`,
};

function placeText(at: Place): string {
  return [at.file, at.layer, at.tensor === at.layer ? undefined : at.tensor]
    .filter((part) => part !== undefined && part !== '')
    .map((part) => showName(String(part)))
    .join(' ');
}

/** The sentence of one diagnostic, its place in front. */
export function describe(diagnostic: Diagnostic): string {
  const place = placeText(diagnostic.at);
  const sentence = SENTENCES[diagnostic.code](diagnostic.args);
  return place === '' ? sentence : `${place}: ${sentence}`;
}

/** Names at most five places and counts the rest. */
export function listNames(names: readonly string[], most = 5): string {
  const shown = names.slice(0, most).map((name) => showName(name));
  const rest = names.length - shown.length;
  return rest > 0 ? `${shown.join(', ')} and ${rest} more` : shown.join(', ');
}

export interface GroupedNote {
  readonly severity: Diagnostic['severity'];
  readonly code: DiagnosticCode;
  readonly text: string;
}

/** Diagnostics that say the same of several places, as one note each; in order of first appearance. */
export function groupNotes(diagnostics: readonly Diagnostic[]): readonly GroupedNote[] {
  const groups = new Map<string, { first: Diagnostic; sentence: string; places: string[] }>();
  for (const diagnostic of diagnostics) {
    const sentence = SENTENCES[diagnostic.code](diagnostic.args);
    const key = `${diagnostic.code} ${sentence}`;
    const group = groups.get(key) ?? { first: diagnostic, sentence, places: [] };
    // The file stands above its report; its path would change the text without the model.
    const place = diagnostic.at.layer ?? diagnostic.at.tensor;
    if (place !== undefined && place !== '' && !group.places.includes(place)) group.places.push(place);
    groups.set(key, group);
  }
  return [...groups.values()].map(({ first, sentence, places }) => ({
    severity: first.severity,
    code: first.code,
    text: escapeText(places.length === 0 ? sentence : `${listNames(places)}: ${sentence}`),
  }));
}
