import type { Render } from './view.ts';

export interface View {
  readonly name: string;
  /** What it is for, for the help. */
  readonly about: string;
  /** Extensions of output files that ask for it. */
  readonly extensions: readonly string[];
  /** Options that change nothing in this look beside the others that are asked for: they are refused, not ignored. */
  unheeded(asked: Readonly<Record<TableOption, boolean>>): readonly (TableOption | RowOption)[];
  load(): Promise<Render>;
}

/** Options that put another table in the place of the layers. */
export type TableOption = 'bn' | 'tensors' | 'explain';
/** Options of the layers' rows. */
export type RowOption = 'layer' | 'sort' | 'depth' | 'macs';

/** A look whose one table is of the layers, or of what --bn or --tensors asks for. */
const ofOneTable: View['unheeded'] = ({ bn, tensors }) => (bn || tensors ? ['sort', 'depth'] : []);

/** A look that shows the layers whatever else is asked for. */
const ofLayers: View['unheeded'] = () => [];

/** Every look of a summary, one line each; a look is loaded when it is asked for. */
export const VIEWS: readonly View[] = [
  {
    name: 'table',
    about: 'for a terminal',
    extensions: [],
    unheeded: ofOneTable,
    load: async () => (await import('./table.ts')).renderTable,
  },
  {
    name: 'tree',
    about: 'nesting',
    extensions: [],
    unheeded: ofLayers,
    load: async () => (await import('./tree.ts')).renderTree,
  },
  {
    name: 'text',
    about: 'stable lines for git diff',
    extensions: ['.txt'],
    unheeded: ofLayers,
    load: async () => (await import('./text.ts')).renderText,
  },
  {
    name: 'json',
    about: 'for programs',
    extensions: ['.json'],
    // It holds every layer and tensor, in the file's order.
    unheeded: () => ['layer', 'sort', 'depth'],
    load: async () => (await import('./json.ts')).renderJson,
  },
  {
    name: 'markdown',
    about: 'for pull requests',
    extensions: ['.md'],
    unheeded: ofOneTable,
    load: async () => (await import('./markdown.ts')).renderMarkdown,
  },
  {
    name: 'csv',
    about: 'for spreadsheets',
    extensions: ['.csv'],
    // One table and no totals below it.
    unheeded: ({ bn, tensors, explain }) => {
      if (explain) return ['bn', 'tensors', 'layer', 'sort', 'depth', 'macs'];
      return bn || tensors ? ['sort', 'depth', 'macs'] : [];
    },
    load: async () => (await import('./csv.ts')).renderCsv,
  },
  {
    name: 'latex',
    about: 'for papers',
    extensions: ['.tex'],
    unheeded: ofOneTable,
    load: async () => (await import('./latex.ts')).renderLatex,
  },
];

export function viewNamed(name: string): View | undefined {
  return VIEWS.find((view) => view.name === name);
}
