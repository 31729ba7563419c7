import { Command, Option } from 'commander';
import { READ_ENDINGS } from '../ir/containers.ts';
import { AUDIT_VIEWS, type AuditView } from '../views/audit-view.ts';
import { VIEWS, type View } from '../views/registry.ts';
import { SORT_KEYS, type SortKey } from '../views/view.ts';
import { choose, parseWords, refuseEmpty, repeatable, usage } from './usage.ts';

export interface BnsumOptions {
  readonly files: readonly string[];
  readonly view: View;
  readonly output: string | undefined;
  readonly quiet: boolean;
  readonly color: boolean | undefined;
  readonly config: string | undefined;
  readonly pick: string | undefined;
  readonly explain: boolean;
  readonly bn: boolean;
  readonly tensors: boolean;
  readonly macs: boolean;
  readonly layer: string | undefined;
  readonly sort: SortKey | undefined;
  readonly depth: number | undefined;
  /** For git: a file that is refused is told as text, and the status is 0. */
  readonly textconv: boolean;
}

/** What `--audit` asks for, instead of a summary. */
export interface AuditWords {
  readonly audit: true;
  readonly files: readonly string[];
  readonly view: AuditView;
  readonly output: string | undefined;
  readonly quiet: boolean;
  readonly color: boolean | undefined;
  /** The least verdict that makes the status 1. */
  readonly failOn: 'suspicious' | 'dangerous';
  /** Exact names `module.name`. */
  readonly allow: ReadonlySet<string>;
}

const EXAMPLES = `Examples:
  bnsum model.h5                     totals under Keras' and PyTorch's rules, layer by layer
  bnsum model.pt --explain           why the two frameworks report different numbers
  bnsum model.keras --bn             every BatchNorm: channels, eps, both momentum conventions
  bnsum a.h5 b.pt --explain          why two files differ
  bnsum model.h5 --format json -o summary.json
  bnsum --audit download.pt          what loading it in Python would run
  bnsum weights.h5 --config config.json --layer 'block_*' --sort torch
`;

function parseDepth(word: string): number {
  const depth = Number(word);
  if (/^\d+$/.test(word) && Number.isSafeInteger(depth) && depth >= 1) return depth;
  throw usage(`--depth takes a whole number from 1 on, not '${word}'`);
}

interface Parsed {
  readonly format?: string;
  readonly output?: string;
  readonly quiet?: boolean;
  readonly color?: boolean;
  readonly config?: string;
  readonly pick?: string;
  readonly explain?: boolean;
  readonly bn?: boolean;
  readonly tensors?: boolean;
  readonly macs?: boolean;
  readonly layer?: string;
  readonly sort?: string;
  readonly depth?: string;
  readonly textconv?: boolean;
  readonly audit?: boolean;
  readonly failOn?: string;
  readonly allow?: readonly string[];
}

function program(): Command {
  const names = VIEWS.map((view) => view.name);
  return new Command('bnsum')
    .description("Summarise Keras and PyTorch model files: parameters under both frameworks' rules, without Python.")
    .usage('[options] FILE...')
    .argument('[FILE...]', `model files: ${READ_ENDINGS.join(', ')}, and .json of an architecture or of shards`)
    .option(
      '--format <name>',
      `form of the report: ${names.join(', ')} (default: table, or by the extension of --output)`,
    )
    .option('-o, --output <file>', 'write the report to a file, complete or not at all')
    .option('--explain', "the steps from one rule's number to the other's, and what other tools print")
    .option('--bn', 'one row per BatchNorm: channels, axis, eps, momentum in both conventions, gamma, beta, frozen')
    .option('--tensors', 'one row per tensor: name, shape, dtype, bytes')
    .option('--macs', 'multiply-accumulates for one sample')
    .option('--layer <glob>', 'only layers whose path or name fits: * is any run of characters, ? one')
    .option('--depth <n>', 'levels of nesting to show')
    .option('--sort <key>', `leaves alone, by ${SORT_KEYS.join(', ')}`)
    .option('--config <file>', 'architecture for a weights-only file: to_json(), config.json or another Keras file')
    .option('--pick <name>', 'which state_dict of a checkpoint')
    .option('--audit', 'what loading the files in Python would run: models, pickles, archives; table or json')
    .option('--fail-on <verdict>', 'audit: the verdict that makes the exit status 1: suspicious (default) or dangerous')
    .addOption(
      repeatable('--allow <name>', 'audit: an exact MODULE.NAME to vouch for; what is dangerous cannot be allowed'),
    )
    .addOption(new Option('--textconv', 'what bndiff --install-git has git run').hideHelp())
    .option('-q, --quiet', 'leave the notes out')
    .addOption(new Option('--color', 'colours even without a terminal (also FORCE_COLOR)'))
    .addOption(new Option('--no-color', 'no colours (also NO_COLOR, TERM=dumb)'))
    .option('--debug', 'stack traces of errors')
    .option('-V, --version', 'the version')
    .helpOption('-h, --help', 'this help')
    .addHelpText('beforeAll', EXAMPLES)
    .addHelpText(
      'after',
      "\nWidth: the terminal's; without a terminal COLUMNS, else lines are not wrapped.\nExit status: 0 done, 1 the audit found something, 2 trouble with a file or the command line, 70 a bug of bnsum.",
    );
}

/**
 * The command line as typed options, or the help text that was asked for. Throws BnsumError USAGE with the nearest
 * option, format or key.
 */
export function parseBnsum(
  words: readonly string[],
  helpColumns: number | null,
): BnsumOptions | AuditWords | { readonly help: string } {
  const command = program();
  const help = parseWords(command, words, helpColumns);
  if (help !== null) return { help };
  const parsed = command.opts<Parsed>();
  const files = command.args;
  if (files.length === 0) throw usage('no file given', 'try: bnsum model.h5, or bnsum --help');
  refuseEmpty(files.map((word, index) => [files.length === 1 ? 'FILE' : `FILE ${index + 1}`, word]));
  refuseEmpty([
    ['--output', parsed.output],
    ['--config', parsed.config],
  ]);
  if (parsed.audit === true) return auditWords(parsed, files, words);
  for (const [flag, given] of [
    ['--fail-on', parsed.failOn],
    ['--allow', parsed.allow],
  ]) {
    if (given !== undefined) throw usage(`${flag} says something about an audit`, 'give --audit too');
  }
  const shown = [parsed.bn === true ? '--bn' : '', parsed.tensors === true ? '--tensors' : ''].filter(
    (one) => one !== '',
  );
  if (shown.length > 1) throw usage('--bn and --tensors each replace the table of layers', 'give one of them');
  const textconv = parsed.textconv === true;
  const name = parsed.format ?? (textconv ? 'text' : (nameByExtension(parsed.output) ?? 'table'));
  const chosen = choose(
    'format',
    name,
    VIEWS.map((view) => view.name),
  );
  const view = VIEWS.find((one) => one.name === chosen);
  if (view === undefined) throw usage(`unknown format '${name}'`);
  refuseUnheeded(parsed, view);
  return {
    files,
    view,
    output: parsed.output,
    quiet: parsed.quiet === true || textconv,
    textconv,
    color: colorFlag(parsed, words),
    config: parsed.config,
    pick: parsed.pick,
    explain: parsed.explain === true,
    bn: parsed.bn === true,
    tensors: parsed.tensors === true,
    macs: parsed.macs === true || parsed.sort === 'macs',
    layer: parsed.layer,
    sort: parsed.sort === undefined ? undefined : choose('sort key', parsed.sort, SORT_KEYS),
    depth: parsed.depth === undefined ? undefined : parseDepth(parsed.depth),
  };
}

/** Throws USAGE for an option that would change nothing. */
function refuseUnheeded(parsed: Parsed, view: View): void {
  const asked = { bn: parsed.bn === true, tensors: parsed.tensors === true, explain: parsed.explain === true };
  const flag = view.unheeded(asked).find((key) => parsed[key] !== undefined);
  if (flag === undefined) return;
  const others = (['bn', 'tensors', 'explain'] as const).filter((key) => asked[key] && key !== flag);
  const beside = others.length === 0 ? '' : ` with --${others.join(' and --')}`;
  throw usage(
    `--${flag} changes nothing in the format ${view.name}${beside}`,
    `leave --${flag} out, or take --format text`,
  );
}

/** Options of a summary, which an audit has no use for: none is ignored in silence. */
const SUMMARY_ONLY = [
  'textconv',
  'config',
  'pick',
  'explain',
  'bn',
  'tensors',
  'macs',
  'layer',
  'sort',
  'depth',
] as const;

function auditWords(parsed: Parsed, files: readonly string[], words: readonly string[]): AuditWords {
  const other = SUMMARY_ONLY.find((key) => parsed[key] !== undefined);
  if (other !== undefined) throw usage(`--${other} says nothing about an audit`, 'give one of them');
  const names = AUDIT_VIEWS.map((view) => view.name);
  const { output } = parsed;
  const extension = AUDIT_VIEWS.find((view) => view.extensions.some((end) => output?.toLowerCase().endsWith(end)));
  const chosen = choose('format of an audit', parsed.format ?? extension?.name ?? 'table', names);
  const view = AUDIT_VIEWS.find((one) => one.name === chosen);
  if (view === undefined) throw usage(`unknown format '${chosen}'`);
  const allow = new Set(parsed.allow ?? []);
  for (const name of allow) {
    if (!/^[\w<>]+(?:\.[\w<>]+)+$/.test(name)) {
      throw usage(`--allow takes one exact MODULE.NAME, not '${name}'`, 'there are no patterns');
    }
  }
  return {
    audit: true,
    files,
    view,
    output,
    quiet: parsed.quiet === true,
    color: colorFlag(parsed, words),
    failOn: choose('verdict', parsed.failOn ?? 'suspicious', ['suspicious', 'dangerous'] as const),
    allow,
  };
}

function colorFlag(parsed: Parsed, words: readonly string[]): boolean | undefined {
  return words.includes('--color') || words.includes('--no-color') ? parsed.color : undefined;
}

function nameByExtension(output: string | undefined): string | undefined {
  if (output === undefined) return undefined;
  return VIEWS.find((view) => view.extensions.some((extension) => output.toLowerCase().endsWith(extension)))?.name;
}
