/** What the environment says of the terminal; only what is asked here is read from it. */
export interface TerminalFacts {
  readonly isTerminal: boolean;
  readonly terminalColumns: number | undefined;
  readonly env: Readonly<Record<string, string | undefined>>;
}

/** Below this nothing sensible can be shown. */
const NARROWEST = 40;

/**
 * Columns to fit into: the terminal's width; without a terminal COLUMNS where it is set; else null, as wide as it is,
 * so that a line of a redirected report is never cut.
 */
export function columnsOf({ isTerminal, terminalColumns, env }: TerminalFacts): number | null {
  if (isTerminal && terminalColumns !== undefined && terminalColumns > 0) return Math.max(NARROWEST, terminalColumns);
  const stated = Number(env['COLUMNS']);
  return Number.isSafeInteger(stated) && stated > 0 ? Math.max(NARROWEST, stated) : null;
}

/** Whether to colour: the flag, then FORCE_COLOR, NO_COLOR, TERM=dumb, then whether a person is looking. */
export function colorOf({ isTerminal, env }: TerminalFacts, flag: boolean | undefined): boolean {
  if (flag !== undefined) return flag;
  const forced = env['FORCE_COLOR'];
  if (forced !== undefined) return forced !== '0' && forced !== 'false';
  if ((env['NO_COLOR'] ?? '') !== '') return false;
  if (env['TERM'] === 'dumb') return false;
  return isTerminal;
}
