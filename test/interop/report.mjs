// Counts what was tried and prints the tables.

const seconds = (ms) => `${(ms / 1000).toFixed(1)} s`;

/** Relative errors in a form that aligns; null: nothing was compared. */
export const shown = (error) => (error === null || error === undefined ? '–' : error.toExponential(1));

export class Report {
  passed = 0;
  failures = [];
  refused = 0;
  skipped = 0;
  notes = [];

  /** One thing that was tried: counted, and when `wrong` is not empty listed with all that was wrong. */
  count(suite, name, wrong) {
    if (wrong.length === 0) this.passed += 1;
    else this.failures.push({ suite, name, wrong });
    return wrong.length === 0;
  }

  say(line) {
    process.stdout.write(`${line}\n`);
  }

  /** A sign of life on standard error: some models take minutes. */
  progress(line) {
    process.stderr.write(`  ${line}\n`);
  }

  table(title, head, rows, started) {
    const cells = [head, ...rows].map((row) => row.map((cell) => String(cell ?? '–')));
    const widths = head.map((_, column) => Math.max(...cells.map((row) => row[column].length)));
    const numeric = head.map((_, column) =>
      rows.every((row) => /^[\d.,–∞e+-]*( s)?$/.test(String(row[column] ?? '–'))),
    );
    const line = (row) =>
      row
        .map((cell, column) => (numeric[column] ? cell.padStart(widths[column]) : cell.padEnd(widths[column])))
        .join('  ')
        .trimEnd();
    this.say(`\n${title} (${seconds(performance.now() - started)})`);
    this.say(line(cells[0]));
    this.say(widths.map((width) => '─'.repeat(width)).join('  '));
    for (const row of cells.slice(1)) this.say(line(row));
  }

  /** The failures, the notes and the closing line. */
  close(started) {
    if (this.failures.length > 0) this.say('\nFailures');
    for (const { suite, name, wrong } of this.failures)
      for (const text of wrong) this.say(`  ${suite}: ${name}: ${text}`);
    for (const note of this.notes) this.say(`note: ${note}`);
    this.say(
      `\n${this.refused} of the passed are refusals that expected-refusals.json lists; ${this.skipped} cases Keras does not run (not-run.json); ${seconds(performance.now() - started)} in all`,
    );
    this.say(`${this.passed} passed, ${this.failures.length} failed`);
  }
}

/** Runs tasks two at a time; each names itself in its own result. */
export class Pool {
  #limit;
  #running = new Set();

  constructor(limit) {
    this.#limit = limit;
  }

  /** Waits for a free place, then starts the task without waiting for its end. */
  async add(task) {
    while (this.#running.size >= this.#limit) await Promise.race(this.#running);
    const running = task().finally(() => this.#running.delete(running));
    this.#running.add(running);
  }

  async drain() {
    await Promise.all(this.#running);
  }
}
