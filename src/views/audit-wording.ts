import type { Audit, AuditRule, Finding } from '../audit/finding.ts';

/** What a rule means, as the middle of a sentence about the file; `advice` is what to do next. */
interface Wording {
  readonly reason: string;
  readonly advice: Advice;
}

type Advice = 'ask' | 'convert' | 'fetch' | 'open' | 'own' | 'stop';

/** What to do next, one sentence each. */
export const ADVICE: Readonly<Record<Advice, string>> = {
  stop: 'Do not load it: ask the publisher, or take weights in safetensors.',
  ask: 'Ask the publisher what it is for; weights in safetensors need none of it.',
  own: 'If the class is yours or of a library that you use, allow it for this run with --allow MODULE.NAME.',
  convert: 'Convert it to safetensors where you trust it, and pass that on.',
  fetch: 'Fetch the file again and compare its checksum with the publisher.',
  open: 'Unpack it and audit what is in it.',
};

const WORDING: Readonly<Record<AuditRule, Wording>> = {
  BAD_CHECKSUM: { reason: 'its bytes do not have the checksum that the archive states', advice: 'fetch' },
  COMPUTED_CALL: { reason: 'calls the result of a computation', advice: 'stop' },
  COMPUTED_IMPORT: { reason: 'imports a name that is not in the stream but computed', advice: 'stop' },
  CUSTOM_OBJECT: {
    reason: 'a class or function that the loading program has to bring; what it does is not in the file',
    advice: 'own',
  },
  DANGEROUS_ATTRIBUTE: { reason: 'sets a name that changes what an object does', advice: 'stop' },
  DANGEROUS_IMPORT: { reason: 'runs code, or reaches processes, files, the network or other pickles', advice: 'stop' },
  DANGEROUS_OBJECT: { reason: 'no layer and no part of one: Keras would resolve and call it', advice: 'stop' },
  EMBEDDED_PICKLE: { reason: 'bytes that belong to nothing hold a pickle', advice: 'ask' },
  EXPANSION: { reason: 'a few bytes that stand for a huge structure, or for much memory', advice: 'ask' },
  EXTENSION_CODE: { reason: 'an import by a number that means whatever the loading program registered', advice: 'ask' },
  EXTERNAL_LINK: { reason: 'a link into another file', advice: 'stop' },
  EXTERNAL_PATH: { reason: 'names a file or address outside of the model, which loading opens', advice: 'stop' },
  EXTERNAL_STORAGE: { reason: 'its bytes are taken from another file', advice: 'stop' },
  FOREIGN_LAYER: { reason: 'a layer that runs what lies outside of Keras', advice: 'stop' },
  GETATTR: { reason: 'looks up an attribute by its name', advice: 'ask' },
  GRAPH_OPERATION: { reason: 'an operation of TensorFlow that is named by the file', advice: 'ask' },
  HIDDEN_MEMBER: { reason: 'a member that the directory does not list: readers see different files', advice: 'stop' },
  LAMBDA: { reason: 'a Lambda: Python code, which loading runs', advice: 'stop' },
  LIMIT: { reason: 'a limit ended the reading', advice: 'ask' },
  MARSHALLED_CODE: { reason: 'compiled Python code', advice: 'stop' },
  NATIVE_CODE: { reason: 'a program or library', advice: 'stop' },
  NESTED_ARCHIVE: { reason: 'an archive inside, which is not opened further', advice: 'open' },
  NESTED_PICKLE: { reason: 'a value that is itself a pickle', advice: 'ask' },
  NOT_OPENED: { reason: 'a kind of file that is not opened here', advice: 'open' },
  OBJECT_ARRAY: { reason: 'an array of Python objects, which are pickled', advice: 'convert' },
  OTHER_CONTENT: { reason: 'not what its name says', advice: 'fetch' },
  PERSISTENT_ID: { reason: 'refers to something that only another program can resolve', advice: 'ask' },
  PICKLE_STRUCTURE: { reason: 'does what no writer of pickles does', advice: 'ask' },
  PREFIX_BYTES: { reason: 'bytes stand before the archive', advice: 'ask' },
  PROGRAM: { reason: 'holds a program, which loading compiles and use runs', advice: 'ask' },
  PYTHON_SOURCE: { reason: 'Python source text', advice: 'ask' },
  SOFT_LINK: { reason: 'a link by path, which is never followed here', advice: 'ask' },
  SPECIAL_FILE: { reason: 'no file: a link or a device', advice: 'stop' },
  STORAGE_MISMATCH: { reason: 'its tensors are not the bytes that it says', advice: 'fetch' },
  STREAM_BROKEN: { reason: 'the pickle breaks here; whoever loads it has run what stands before', advice: 'fetch' },
  TAR_ODDITY: { reason: 'tar readers disagree about it', advice: 'ask' },
  TENSOR_BOUNDS: { reason: 'a tensor that leaves its storage', advice: 'ask' },
  TRAILING_BYTES: { reason: 'bytes follow the end', advice: 'ask' },
  TWO_FORMATS: { reason: 'one file for some readers, another for others', advice: 'stop' },
  UNKNOWN_CONTENT: { reason: 'bytes of no known kind', advice: 'ask' },
  UNKNOWN_IMPORT: { reason: 'a class or function that is not on the list of plain tensor data', advice: 'own' },
  UNREADABLE: { reason: 'damaged, or against the rules of its format', advice: 'fetch' },
  UNSAFE_NAME: { reason: 'a member name that leaves its folder', advice: 'stop' },
  USER_BLOCK: { reason: 'bytes stand before the HDF5 data', advice: 'ask' },
  VIRTUAL_DATASET: { reason: 'its bytes are taken from other files', advice: 'stop' },
  WRONG_ROLE: { reason: 'a name of plain tensor data, used for something else', advice: 'ask' },
  ZIP_ODDITY: { reason: 'zip readers disagree about it', advice: 'ask' },
};

/** Why a finding is one, as a phrase without facts of the file. */
export function reasonText(finding: Finding): string {
  return WORDING[finding.rule].reason;
}

/** The next steps for a set of findings, the most urgent first, each once. */
export function adviceTexts(findings: readonly Finding[]): readonly string[] {
  const order: readonly Advice[] = ['stop', 'fetch', 'open', 'ask', 'own', 'convert'];
  const wanted = new Set(findings.map((finding) => WORDING[finding.rule].advice));
  const dangerous = findings.some((finding) => finding.level === 'dangerous');
  const chosen = order.filter((advice) => wanted.has(advice) && !(dangerous && advice !== 'stop' && advice !== 'open'));
  if (dangerous && !chosen.includes('stop')) chosen.unshift('stop');
  return chosen.slice(0, 2).map((advice) => ADVICE[advice]);
}

/** `os.system` of an import; the rule's own words where no name is involved. */
export function nameText(finding: Finding): string {
  if (finding.name === null) return finding.rule.toLowerCase().replaceAll('_', ' ');
  return finding.module === '' || finding.module === null ? finding.name : `${finding.module}.${finding.name}`;
}

/** `data.pkl op#12`, `config.json`, `@1024`; data from the file, to be escaped. */
export function placeText(finding: Finding): string {
  const parts = [finding.member];
  if (finding.opIndex !== null) parts.push(`op#${finding.opIndex}`);
  else if (finding.offset !== null) parts.push(`@${finding.offset}`);
  return parts.filter((part) => part !== '').join(' ');
}

const SAFE_CLAIM = 'It holds only tensor data and plain containers, and all of it was judged. Nothing in it was run.';

/** Kinds that are text and no model by themselves, and how to call them. */
const TEXTS: ReadonlyMap<string, string> = new Map([
  ['text', 'a text file'],
  ['JSON', 'a JSON text'],
  ['Keras config', 'a Keras configuration'],
  ['shard index', 'a JSON text that names the parts of a model'],
]);

/** What a verdict of 'safe' claims of a file of this kind; printed with it. */
export function safeClaim(kind: string): string {
  if (kind === 'empty') return 'It is empty: nothing in it can run.';
  const called = TEXTS.get(kind);
  if (called === undefined) return SAFE_CLAIM;
  return `It is ${called}: Python's model loaders find nothing in it to run. All of it was judged, and nothing was run.`;
}

export const INCOMPLETE_CLAIM = 'Some bytes could not be judged, so it cannot be called safe. Nothing in it was run.';

/** `1 dangerous, 0 suspicious, 4 known imports`. */
export function countsText(audit: Audit): string {
  const count = (level: Finding['level']): number => audit.findings.filter((finding) => finding.level === level).length;
  const known = audit.knownImports;
  return `${count('dangerous')} dangerous, ${count('suspicious')} suspicious, ${known} known import${known === 1 ? '' : 's'}`;
}
