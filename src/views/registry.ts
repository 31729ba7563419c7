import type { Render } from './view.ts';

export interface View {
  readonly name: string;
  /** What it is for, for the help. */
  readonly about: string;
  /** Extensions of output files that ask for it. */
  readonly extensions: readonly string[];
  load(): Promise<Render>;
}

/** Every look of a summary, one line each; a look is loaded when it is asked for. */
export const VIEWS: readonly View[] = [
  {
    name: 'table',
    about: 'for a terminal',
    extensions: [],
    load: async () => (await import('./table.ts')).renderTable,
  },
  { name: 'tree', about: 'nesting', extensions: [], load: async () => (await import('./tree.ts')).renderTree },
  {
    name: 'text',
    about: 'stable lines for git diff',
    extensions: ['.txt'],
    load: async () => (await import('./text.ts')).renderText,
  },
  {
    name: 'json',
    about: 'for programs',
    extensions: ['.json'],
    load: async () => (await import('./json.ts')).renderJson,
  },
  {
    name: 'markdown',
    about: 'for pull requests',
    extensions: ['.md'],
    load: async () => (await import('./markdown.ts')).renderMarkdown,
  },
  {
    name: 'csv',
    about: 'for spreadsheets',
    extensions: ['.csv'],
    load: async () => (await import('./csv.ts')).renderCsv,
  },
  {
    name: 'latex',
    about: 'for papers',
    extensions: ['.tex'],
    load: async () => (await import('./latex.ts')).renderLatex,
  },
];

export function viewNamed(name: string): View | undefined {
  return VIEWS.find((view) => view.name === name);
}
