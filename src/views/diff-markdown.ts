import type { DiffRender, DiffReport } from './diff-view.ts';
import {
  breachText,
  deltaText,
  explanationText,
  groupChanges,
  type Line,
  notComparedLines,
  RULE_WORDS,
  ruleCount,
  shownRules,
  verdictText,
} from './diff-wording.ts';
import { showName } from './escape.ts';
import { code, escapeMarkdown } from './markdown.ts';
import { showCount, showStep } from './number.ts';
import { RULE_NAMES } from './wording.ts';

/** GitHub refuses comments above 65,536 characters; what is cut is told, so a little less is ours. */
const LIMIT = 65_000;

/** Changes that stand outside the fold. */
const OPEN = 12;

function cell(text: string): string {
  return text === '' ? '' : code(text);
}

function changeRow(line: Line): string {
  const what = [line.where === '' ? '' : code(line.where), escapeMarkdown(line.what)]
    .filter((part) => part !== '')
    .join(' ');
  return `| ${code(line.mark)} | ${what} | ${cell(line.before)} | ${cell(line.after)} | ${escapeMarkdown(line.remark)} |\n`;
}

const CHANGE_HEAD = '| | What | Before | After | |\n| :--- | :--- | :--- | :--- | :--- |\n';

/** Pieces that belong together: cut between them, never inside. `rest` says how many rows a cut loses. */
interface Block {
  readonly head: string;
  readonly rows: readonly string[];
  readonly foot: string;
}

function* blocksOf(report: DiffReport): Generator<Block> {
  const { comparison } = report;
  const plain = (text: string): Block => ({ head: text, rows: [], foot: '' });
  const mark = report.refused ? '❌' : '✅';
  yield plain(
    `### ${mark} ${code(showName(comparison.a.label))} → ${code(showName(comparison.b.label))}\n\n${escapeMarkdown(verdictText(report))}\n`,
  );
  if (report.breaches.length > 0) {
    yield {
      head: '\n',
      rows: report.breaches.map((breach) => `- ❌ ${escapeMarkdown(breachText(breach))}\n`),
      foot: '',
    };
  }
  if (comparison.troubles.length > 0) {
    const rows = comparison.troubles.map((trouble) => `- ⚠️ ${escapeMarkdown(showName(trouble.message))}\n`);
    yield { head: '\n', rows, foot: '' };
  }
  const totals = shownRules(comparison).map(
    (change) =>
      `| ${escapeMarkdown(RULE_WORDS[change.rule])} | ${ruleCount(change.rule, change.a)} | ${ruleCount(change.rule, change.b)} | ${escapeMarkdown(deltaText(change))} |\n`,
  );
  yield { head: '\n| Total | Before | After | Change |\n| :--- | ---: | ---: | ---: |\n', rows: totals, foot: '' };
  const rows = groupChanges(comparison.changes).map((group) => changeRow(group.line));
  if (rows.length > 0) yield { head: `\n${CHANGE_HEAD}`, rows: rows.slice(0, OPEN), foot: '' };
  if (rows.length > OPEN) {
    yield {
      head: `\n<details><summary>${showCount(rows.length - OPEN)} more differences</summary>\n\n${CHANGE_HEAD}`,
      rows: rows.slice(OPEN),
      foot: '\n</details>\n',
    };
  }
  const pair = comparison.explanation;
  if (pair !== null && pair.steps.length > 0) {
    yield {
      head: `\n<details><summary>Why the totals differ</summary>\n\n| Step | |\n| ---: | :--- |\n| ${showCount(pair.from.elements)} | **${RULE_NAMES[pair.from.rule]}** of the first |\n`,
      rows: pair.steps.map(
        (step) => `| ${showStep(step.elements)} | ${escapeMarkdown(explanationText(step, comparison.across))} |\n`,
      ),
      foot: `| ${showCount(pair.to.elements)} | **= ${RULE_NAMES[pair.to.rule]}** of the second |\n\n</details>\n`,
    };
  }
  if (comparison.notCompared.length > 0) {
    yield {
      head: '\n<details><summary>Not compared</summary>\n\n',
      rows: notComparedLines(comparison.notCompared).map((line) => `- ${escapeMarkdown(line)}\n`),
      foot: '\n</details>\n',
    };
  }
  if (comparison.ignored > 0) yield plain(`\n${showCount(comparison.ignored)} changes were ignored on request.\n`);
}

/** Writes blocks until the limit; then says how many lines are left out. */
function* withinLimit(blocks: Iterable<Block>, limit: number): Generator<string> {
  let used = 0;
  let lost = 0;
  let full = false;
  for (const { head, rows, foot } of blocks) {
    if (full || used + head.length + foot.length + 200 > limit) {
      full = true;
      lost += Math.max(1, rows.length);
      continue;
    }
    used += head.length + foot.length;
    yield head;
    for (const row of rows) {
      if (full || used + row.length + 200 > limit) {
        full = true;
        lost += 1;
        continue;
      }
      used += row.length;
      yield row;
    }
    yield foot;
  }
  if (lost > 0) {
    yield `\n**${showCount(lost)} lines are left out here: ${limit === LIMIT ? 'a comment holds 65,536 characters' : 'the step summary has no room for more'}. The whole report: \`bndiff … --format text\` or \`json\`.**\n`;
  }
}

/**
 * For a comment on a pull request: the answer and the totals in sight, details folded, names in code spans, under
 * GitHub's limit.
 */
export const renderDiffMarkdown: DiffRender = (set, options) => {
  function* all(): Generator<Block> {
    for (const [index, report] of set.reports.entries()) {
      if (index > 0) yield { head: '\n', rows: [], foot: '' };
      for (const block of blocksOf(report)) {
        yield block;
        if (options.quiet) break;
      }
    }
    for (const error of set.errors) {
      yield {
        head: `\n### ⚠️ ${code(showName(error.file))}\n\n${escapeMarkdown(showName(error.message))}\n`,
        rows: [],
        foot: '',
      };
    }
    if (set.reports.length === 0 && set.errors.length === 0)
      yield { head: 'Nothing was compared.\n', rows: [], foot: '' };
  }
  return Promise.resolve(withinLimit(all(), options.limit ?? LIMIT));
};
