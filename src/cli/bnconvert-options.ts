import { Command } from 'commander';
import { CONTAINER_ENDINGS, CONTAINERS, type Container, KERAS_ENDINGS } from '../ir/containers.ts';
import { choose, parseWords, refuseEmpty, repeatable, usage } from './usage.ts';

const CAST_TYPES = ['float64', 'float32', 'float16', 'bfloat16'] as const;
export type CastType = (typeof CAST_TYPES)[number];

export interface BnconvertOptions {
  readonly input: string;
  /** '-' is standard output; null: only the module (or only the plan) is asked for. */
  readonly output: string | null;
  readonly container: Container | null;
  readonly module: string | undefined;
  readonly receipt: string | undefined;
  readonly config: string | undefined;
  readonly pick: string | undefined;
  readonly keys: string | undefined;
  readonly map: string | undefined;
  readonly emitMap: string | undefined;
  readonly dtype: CastType | undefined;
  readonly foldBn: boolean;
  readonly data: 'base64' | 'text';
  readonly skip: readonly string[];
  readonly allowMissing: boolean;
  readonly dryRun: boolean;
  readonly format: 'text' | 'json';
  readonly force: boolean;
  readonly verify: boolean;
  readonly quiet: boolean;
}

const EXAMPLES = `Examples:
  bnconvert model.h5 model.pt                        a state_dict for torch.load(weights_only=True)
  bnconvert model.keras model.safetensors --module model.py
  bnconvert model.h5 model.pt-json                   readable text, one tensor a line
  bnconvert model.h5 model.pt --dry-run              what would be moved where, and why
  bnconvert weights.h5 model.pt --config config.json
  bnconvert model.h5 model.pt --keys existing.pt --emit-map map.json
`;

interface Parsed {
  readonly to?: string;
  readonly module?: string;
  readonly receipt?: string;
  readonly config?: string;
  readonly pick?: string;
  readonly names?: string;
  readonly keys?: string;
  readonly map?: string;
  readonly emitMap?: string;
  readonly dtype?: string;
  readonly foldBn?: boolean;
  readonly data?: string;
  readonly skip?: readonly string[];
  readonly allowMissing?: boolean;
  readonly dryRun?: boolean;
  readonly format?: string;
  readonly force?: boolean;
  readonly verify: boolean;
  readonly quiet?: boolean;
}

const ENDINGS: readonly string[] = Object.values(CONTAINER_ENDINGS).flat();

function program(): Command {
  return new Command('bnconvert')
    .description(
      'Convert a Keras model file into a PyTorch state_dict and, on request, a PyTorch module. No Python needed.',
    )
    .usage('[options] IN OUT')
    .argument('[IN]', `Keras model file: ${KERAS_ENDINGS.join(', ')}; .weights.h5 with --config`)
    .argument('[OUT]', `file to write: ${ENDINGS.join(', ')}, or .py for the module alone; - with --to`)
    .option('--to <name>', `container of OUT: ${CONTAINERS.join(', ')} (default: by the extension)`)
    .option('--module <file>', 'also write a PyTorch module (Python source) that computes the same')
    .option(
      '--receipt <file>',
      'also write a JSON record: hashes, every transformation, filled and dropped tensors, totals',
    )
    .option('--dry-run', 'print the plan, write nothing')
    .option('--names <how>', 'names of the PyTorch modules: layer (the Keras layer names)')
    .option('--keys <target>', 'take the names of another checkpoint, or of a list with one key a line')
    .option('--map <file>', 'a reviewed map from --emit-map: names as it says')
    .option('--emit-map <file>', 'write the map of names as JSON')
    .option('--dtype <type>', `cast floating tensors: ${CAST_TYPES.join(', ')}`)
    .option('--fold-bn', 'fold each BatchNorm into its neighbour where that is exact')
    .option('--data <form>', 'numbers of a pt-json file: base64 (default) or text')
    .addOption(repeatable('--skip <layer>', 'leave a layer out'))
    .option('--allow-missing', 'drop weights that have no place in PyTorch instead of refusing')
    .option('--config <file>', 'architecture for a weights-only file: to_json(), config.json or another Keras file')
    .option('--pick <name>', 'which state_dict of the checkpoint that --keys names')
    .option('--format <name>', 'form of the report: text or json', 'text')
    .option('--force', 'replace files that exist')
    .option('--no-verify', 'do not read the output back')
    .option('-q, --quiet', 'no report')
    .option('--debug', 'stack traces of errors')
    .option('-V, --version', 'the version')
    .helpOption('-h, --help', 'this help')
    .addHelpText('beforeAll', EXAMPLES)
    .addHelpText(
      'after',
      '\nOutputs appear complete or not at all; the input is never changed.\nExit status: 0 done, 1 the check of the output failed, 2 trouble or refused, 70 a bug of bnconvert.',
    );
}

function containerOf(output: string, to: string | undefined): Container | null {
  if (to !== undefined) return choose('container', to, CONTAINERS);
  const name = output.toLowerCase();
  const found = CONTAINERS.find((one) => CONTAINER_ENDINGS[one].some((ending) => name.endsWith(ending)));
  if (found !== undefined) return found;
  if (name.endsWith('.py')) return null;
  throw usage(
    output === '-' ? 'standard output needs --to' : `the extension of '${output}' names no container`,
    `give --to ${CONTAINERS.join(', --to ')}, or an extension ${ENDINGS.join(', ')}, .py`,
  );
}

/** The command line as typed options, or the help text. Throws BnsumError USAGE. */
export function parseBnconvert(
  words: readonly string[],
  helpColumns: number | null,
): BnconvertOptions | { readonly help: string } {
  const command = program();
  const help = parseWords(command, words, helpColumns);
  if (help !== null) return { help };
  const parsed = command.opts<Parsed>();
  const [input, output] = command.args;
  if (input === undefined) throw usage('no file given', 'try: bnconvert model.h5 model.pt, or bnconvert --help');
  if (command.args.length > 2) throw usage(`'${command.args[2]}' is one file too many`, 'give IN and OUT');
  refuseEmpty([
    ['IN', input],
    ['OUT', output],
    ['--module', parsed.module],
    ['--receipt', parsed.receipt],
    ['--keys', parsed.keys],
    ['--map', parsed.map],
    ['--emit-map', parsed.emitMap],
    ['--config', parsed.config],
  ]);
  if (output === undefined && parsed.dryRun !== true && parsed.module === undefined && parsed.emitMap === undefined) {
    throw usage('no output given', `try: bnconvert ${input} model.pt`);
  }
  if (parsed.names !== undefined) choose('naming', parsed.names, ['layer']);
  if (parsed.keys !== undefined && parsed.map !== undefined)
    throw usage('--keys and --map both give names', 'give one of them');
  const pythonOut = output?.toLowerCase().endsWith('.py') === true && parsed.to === undefined;
  if ((parsed.keys !== undefined || parsed.map !== undefined) && (pythonOut || parsed.module !== undefined)) {
    throw usage(
      `${parsed.keys !== undefined ? '--keys' : '--map'} gives the names of another model, which the module would not load`,
      'write the module and these weights in two runs',
    );
  }
  if (parsed.pick !== undefined && parsed.keys === undefined) {
    throw usage('--pick chooses among the state_dicts of the checkpoint that --keys names', 'give --keys too');
  }
  const container = output === undefined ? null : containerOf(output, parsed.to);
  if (parsed.data !== undefined && container !== 'pt-json') {
    throw usage('--data says how a pt-json file holds its numbers, and no such file is written', 'leave --data out');
  }
  if (parsed.receipt !== undefined && (output === undefined || output === '-' || pythonOut)) {
    throw usage('--receipt is the record of a written file', 'name OUT as a weights file');
  }
  if (pythonOut && parsed.module !== undefined)
    throw usage('OUT and --module both name the module', 'give one of them');
  return {
    input,
    output: output === undefined || pythonOut ? null : output,
    container,
    module: pythonOut ? output : parsed.module,
    receipt: parsed.receipt,
    config: parsed.config,
    pick: parsed.pick,
    keys: parsed.keys,
    map: parsed.map,
    emitMap: parsed.emitMap,
    dtype: parsed.dtype === undefined ? undefined : choose('element type', parsed.dtype, CAST_TYPES),
    foldBn: parsed.foldBn === true,
    data: choose('form of data', parsed.data ?? 'base64', ['base64', 'text']),
    skip: parsed.skip ?? [],
    allowMissing: parsed.allowMissing === true,
    dryRun: parsed.dryRun === true,
    format: choose('format', parsed.format ?? 'text', ['text', 'json']),
    force: parsed.force === true,
    verify: parsed.verify,
    quiet: parsed.quiet === true,
  };
}
