import { Argument, Command, Option } from 'commander';
import { CATEGORIES, type Category } from '../diff/change.ts';
import { type Budget, parseBudget } from '../diff/policy.ts';
import { BnsumError } from '../ir/error.ts';
import { DIFF_VIEWS } from '../views/diff-registry.ts';
import type { DiffView } from '../views/diff-view.ts';
import type { DiffConfig } from './bndiff-config.ts';
import { choose, parseWords, refuseEmpty, repeatable, usage } from './usage.ts';

export type BndiffTask = 'compare' | 'update' | 'check' | 'install-git' | 'print-gitconfig';

export interface BndiffOptions {
  readonly task: BndiffTask;
  readonly files: readonly string[];
  readonly view: DiffView;
  readonly output: string | undefined;
  readonly quiet: boolean;
  readonly color: boolean | undefined;
  readonly config: string | undefined;
  readonly pick: string | undefined;
  readonly values: boolean;
  readonly rtol: number;
  readonly atol: number;
  readonly requireKnown: boolean;
  readonly budgets: readonly Budget[];
  readonly deny: readonly Category[];
  readonly ignore: ReadonlySet<Category>;
  readonly frozen: readonly string[];
  /** The config file that `frozen` comes from; null: the command line. */
  readonly frozenFrom: NonNullable<DiffConfig['from']> | null;
}

const EXAMPLES = `Examples:
  bndiff old.h5 new.h5                       what changed, in both frameworks' words
  bndiff model.h5 model.pt --values          is the conversion right, bit for bit?
  bndiff git:main:model.h5 model.h5          against another revision (Git LFS too)
  bndiff --update model.h5                   write model.h5.bnlock.json, to be committed
  bndiff --check                             compare every lock file below here with its model
  bndiff a.h5 b.h5 --budget +1% --deny bn,dtype --assert-frozen 'backbone*'
`;

interface Parsed {
  readonly update?: boolean;
  readonly check?: boolean;
  readonly installGit?: boolean;
  readonly printGitconfig?: boolean;
  readonly format?: string;
  readonly output?: string;
  readonly quiet?: boolean;
  readonly color?: boolean;
  readonly config?: string;
  readonly pick?: string;
  readonly values?: boolean;
  readonly rtol?: string;
  readonly atol?: string;
  readonly requireKnown?: boolean;
  readonly budget?: readonly string[];
  readonly deny?: readonly string[];
  readonly ignore?: readonly string[];
  readonly assertFrozen?: readonly string[];
}

function program(): Command {
  return (
    new Command('bndiff')
      .description('What changed between two models, for people and for CI. No Python needed.')
      .usage('[options] A B | --update MODEL... | --check [PATH...]')
      .argument('[FILES...]')
      // One list to the parser; to people each task has its own words.
      .configureHelp({
        visibleArguments: () => [
          new Argument('A B', 'model files, summaries (bnsum --format json), lock files, or git:REV:PATH'),
          new Argument('MODEL', 'a model file that gets a lock file beside it'),
          new Argument('PATH', 'a model, its lock file, or a folder of lock files'),
        ],
      })
      .option('--values', 'compare the values too: weights and BatchNorm statistics, tensor by tensor')
      .option('--rtol <x>', 'relative tolerance, of the first file’s value (default: 0)')
      .option('--atol <x>', 'absolute tolerance (default: 0: the bits must be equal)')
      .option('--require-known', 'status 1 when something could not be compared')
      .option('--update', 'write MODEL.bnlock.json beside each model; with --values its hashes too')
      .option('--check', 'compare lock files (all below here when none is named) with their models; never writes')
      .addOption(repeatable('--budget <limit>', 'e.g. +1%, keras.total<=30M, torch.parameters+2%, bytes<=100MB'))
      .addOption(repeatable('--deny <list>', `status 1 for these changes: ${CATEGORIES.join(', ')}`))
      .addOption(repeatable('--ignore <list>', 'leave these changes out (same words)'))
      .addOption(repeatable('--assert-frozen <glob>', 'weights and statistics of these layers must not change'))
      .option(
        '--format <name>',
        `form of the report: ${DIFF_VIEWS.map((view) => view.name).join(', ')} (default: text, or by the extension of --output)`,
      )
      .option('-o, --output <file>', 'write the report to a file, complete or not at all')
      .option('--config <file>', 'architecture for weights-only files: to_json(), config.json or another Keras file')
      .option('--pick <name>', 'which state_dict of a checkpoint')
      .option('--install-git', 'let git diff and git log -p show models (this repository)')
      .option('--print-gitconfig', 'print what --install-git would set')
      .option('-q, --quiet', 'only the answer')
      .addOption(new Option('--color', 'colours even without a terminal (also FORCE_COLOR)'))
      .addOption(new Option('--no-color', 'no colours (also NO_COLOR, TERM=dumb)'))
      .option('--debug', 'stack traces of errors')
      .option('-V, --version', 'the version')
      .helpOption('-h, --help', 'this help')
      .addHelpText('beforeAll', EXAMPLES)
      .addHelpText(
        'after',
        [
          '',
          'Defaults come from bnsum.config.json or the key bnsum of package.json, under "diff".',
          'With --budget, --deny or --assert-frozen only their breach is status 1; else every difference is.',
          'Exit status: 0 same, 1 differs, stale or breached, 2 trouble, 70 a bug of bndiff.',
        ].join('\n'),
      )
  );
}

/** What --deny takes that has the values compared. */
const VALUE_WORDS: ReadonlySet<Category> = new Set(['values', 'statistics', 'counters']);

function toleranceOf(name: string, word: string | undefined, fallback: number): number {
  if (word === undefined) return fallback;
  const value = Number(word);
  if (word.trim() !== '' && Number.isFinite(value) && value >= 0) return value;
  throw usage(`--${name} takes a number from 0 on, not '${word}'`);
}

function categories(flag: string, words: readonly string[]): readonly Category[] {
  return words
    .flatMap((word) => word.split(','))
    .map((word) => word.trim())
    .filter((word) => word !== '')
    .map((word) => choose(`word for --${flag}`, word, CATEGORIES));
}

/** Reads words of the command line or, where it gives none, those of the config file, whose refusal names the file. */
function givenOr<T>(
  given: readonly string[] | undefined,
  defaults: DiffConfig,
  key: 'budget' | 'deny' | 'ignore',
  read: (words: readonly string[]) => readonly T[],
): readonly T[] {
  if (given !== undefined) return read(given);
  try {
    return read(defaults[key] ?? []);
  } catch (error) {
    if (!(error instanceof BnsumError) || defaults.from === undefined) throw error;
    const { code, reason, next } = error;
    throw new BnsumError({
      code,
      file: defaults.from.file,
      place: `${defaults.from.place}.${key}`,
      reason,
      ...(next === undefined ? {} : { next }),
      cause: error,
    });
  }
}

function budgetOf(text: string): Budget {
  const budget = parseBudget(text);
  if (budget !== null) return budget;
  throw usage(`'${text}' is no budget`, 'try +1%, +5000, keras.total<=30M, torch.parameters+2% or bytes<=100MB');
}

function taskOf(parsed: Parsed): BndiffTask {
  const asked: BndiffTask[] = [
    ...(parsed.update === true ? (['update'] as const) : []),
    ...(parsed.check === true ? (['check'] as const) : []),
    ...(parsed.installGit === true ? (['install-git'] as const) : []),
    ...(parsed.printGitconfig === true ? (['print-gitconfig'] as const) : []),
  ];
  if (asked.length > 1) throw usage(`--${asked[0]} and --${asked[1]} are two tasks`, 'give one of them');
  return asked[0] ?? 'compare';
}

/**
 * The command line as typed options over the defaults of a config file, or the help text. Throws BnsumError USAGE with
 * the nearest word.
 */
export function parseBndiff(
  words: readonly string[],
  helpColumns: number | null,
  loadConfig: () => DiffConfig,
): BndiffOptions | { readonly help: string } {
  const command = program();
  const help = parseWords(command, words, helpColumns);
  if (help !== null) return { help };
  const parsed = command.opts<Parsed>();
  const files = command.args;
  const task = taskOf(parsed);
  refuseEmpty(
    files.map((word, index) => [task === 'compare' ? (['A', 'B'][index] ?? 'a file') : `FILE ${index + 1}`, word]),
  );
  refuseEmpty([
    ['--output', parsed.output],
    ['--config', parsed.config],
  ]);
  if (task === 'compare' && files.length !== 2) {
    throw files.length > 2
      ? usage(`'${files[2]}' is one file too many`, 'give two files')
      : usage(
          files.length === 0 ? 'no file given' : 'only one file given',
          'try: bndiff old.h5 new.h5, or bndiff --help',
        );
  }
  if ((task === 'install-git' || task === 'print-gitconfig') && files.length > 0) {
    throw usage(`--${task} is for the whole repository and takes no file, not '${files[0]}'`, 'leave the file out');
  }
  if (task === 'update' && files.length === 0) throw usage('no model given', 'try: bndiff --update model.h5');
  const wantsConfig = task === 'compare' || task === 'check' || task === 'update';
  const defaults: DiffConfig = wantsConfig ? loadConfig() : {};
  const name = parsed.format ?? nameByExtension(parsed.output) ?? 'text';
  const chosen = choose(
    'format',
    name,
    DIFF_VIEWS.map((view) => view.name),
  );
  const view = DIFF_VIEWS.find((one) => one.name === chosen);
  if (view === undefined) throw usage(`unknown format '${name}'`);
  const options: BndiffOptions = {
    task,
    files,
    view,
    output: parsed.output,
    quiet: parsed.quiet === true,
    color: words.includes('--color') || words.includes('--no-color') ? parsed.color : undefined,
    config: parsed.config,
    pick: parsed.pick,
    values: parsed.values ?? defaults.values ?? false,
    rtol: toleranceOf('rtol', parsed.rtol, defaults.rtol ?? 0),
    atol: toleranceOf('atol', parsed.atol, defaults.atol ?? 0),
    requireKnown: parsed.requireKnown ?? defaults.requireKnown ?? false,
    budgets: givenOr(parsed.budget, defaults, 'budget', (list) => list.map(budgetOf)),
    deny: givenOr(parsed.deny, defaults, 'deny', (list) => categories('deny', list)),
    ignore: new Set(givenOr(parsed.ignore, defaults, 'ignore', (list) => categories('ignore', list))),
    frozen: parsed.assertFrozen ?? defaults.assertFrozen ?? [],
    frozenFrom: parsed.assertFrozen === undefined ? (defaults.from ?? null) : null,
  };
  refuseTolerance(parsed, options);
  return options;
}

/** A tolerance is for values: where none are compared it would be ignored. One of the config file is for other runs too. */
function refuseTolerance(parsed: Parsed, { task, values, deny, frozen }: BndiffOptions): void {
  const flag = parsed.rtol !== undefined ? '--rtol' : parsed.atol !== undefined ? '--atol' : null;
  if (flag === null) return;
  if (task === 'update') throw usage(`${flag} is for comparing, and --update compares nothing`, `leave ${flag} out`);
  const looks = values || frozen.length > 0 || deny.some((word) => VALUE_WORDS.has(word));
  if (!looks) throw usage(`${flag} is for values, which are not compared`, 'give --values too');
}

function nameByExtension(output: string | undefined): string | undefined {
  if (output === undefined) return undefined;
  return DIFF_VIEWS.find((view) => view.extensions.some((extension) => output.toLowerCase().endsWith(extension)))?.name;
}
