// Runs commands in turns and measures each: wall time, processor time, peak memory.
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';

const TIME = '/usr/bin/time';
const hasTime = process.platform === 'linux' && existsSync(TIME);

/** Why the columns for processor time and memory are empty, or null. */
export const withoutTime = hasTime ? null : 'no GNU time here: processor time and peak memory are left out';

function once({ words, env, status: wanted = 0 }) {
  const [command, ...rest] = hasTime ? [TIME, '-f', 'BENCH %U %S %M', ...words] : words;
  const started = performance.now();
  const { status, stderr, error } = spawnSync(command, rest, {
    encoding: 'utf8',
    stdio: ['ignore', 'ignore', 'pipe'],
    env: { ...process.env, ...env },
    maxBuffer: 1 << 26,
  });
  const seconds = (performance.now() - started) / 1000;
  if (error) throw error;
  if (status !== wanted) throw new Error(`${words.join(' ')} ended with ${status}: ${stderr.slice(-2000)}`);
  const found = /BENCH ([\d.]+) ([\d.]+) (\d+)\s*$/.exec(stderr);
  return {
    seconds,
    processor: found ? Number(found[1]) + Number(found[2]) : null,
    megabytes: found ? (Number(found[3]) * 1024) / 1e6 : null,
  };
}

function median(values) {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/**
 * Runs every command once per round, in order, so that a busy moment of the machine meets all of them. A command is
 * { label, words, env?, status?, before? }; the result has medians, and the largest peak memory of all runs.
 */
export function interleave(commands, rounds) {
  const runs = new Map(commands.map(({ label }) => [label, []]));
  for (let round = 0; round < rounds; round += 1) {
    for (const command of commands) {
      command.before?.();
      runs.get(command.label).push(once(command));
    }
  }
  return new Map(
    [...runs].map(([label, list]) => [
      label,
      {
        seconds: median(list.map((run) => run.seconds)),
        processor: hasTime ? median(list.map((run) => run.processor)) : null,
        megabytes: hasTime ? Math.max(...list.map((run) => run.megabytes)) : null,
      },
    ]),
  );
}
