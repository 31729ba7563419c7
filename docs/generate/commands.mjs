import { code, table } from './markdown.mjs';

/** So wide that the help wraps nothing. */
const WIDE = 100_000;

/** Examples, usage, options and closing lines of a command's help. */
function partsOf(help) {
  const lines = help.split('\n');
  const heading = (name) => lines.findIndex((line) => line.startsWith(name));
  const block = (name) => {
    const start = heading(name);
    if (start < 0) throw new Error(`the help has no ${name}`);
    const rest = lines.slice(start + 1);
    const end = rest.findIndex((line) => line !== '' && !line.startsWith(' '));
    return rest.slice(0, end < 0 ? rest.length : end).filter((line) => line !== '');
  };
  const entry = (line) => /^ {2}(\S.*?) {2,}(.*)$/.exec(line)?.slice(1) ?? [line.trim(), ''];
  const usage = lines[heading('Usage:')].replace('Usage: ', '');
  const about = lines[heading('Usage:') + 2];
  const optionsEnd = heading('Options:') + 1 + block('Options:').length;
  return {
    examples: block('Examples:').map((line) => line.slice(2)),
    usage,
    about,
    words: block('Arguments:').map(entry),
    options: block('Options:').map(entry),
    closing: lines.slice(optionsEnd).filter((line) => line !== ''),
  };
}

function section(name, help) {
  const { examples, usage, about, words, options, closing } = partsOf(help);
  return [
    `## ${name}`,
    about,
    `\`\`\`console\n${examples.join('\n')}\n\`\`\``,
    `Usage: ${code(usage)}`,
    table(
      ['Argument', 'Meaning'],
      words.map(([word, text]) => [code(word), text]),
    ),
    table(
      ['Option', 'Meaning'],
      options.map(([flags, text]) => [code(flags), text]),
    ),
    closing.join('\\\n'),
  ].join('\n\n');
}

/** docs/commands.md: what `--help` says, as tables. */
export function commandsPage({ parseBnsum, parseBnconvert, parseBndiff }) {
  const help = (parse) => parse(['--help'], WIDE, () => ({})).help;
  return [
    '# Commands',
    'The same text as `--help` of each command.',
    section('bnsum', help(parseBnsum)),
    section('bnconvert', help(parseBnconvert)),
    section('bndiff', help(parseBndiff)),
  ].join('\n\n');
}
