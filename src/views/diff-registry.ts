import type { DiffView } from './diff-view.ts';

/** Every look of a comparison, one line each. */
export const DIFF_VIEWS: readonly DiffView[] = [
  {
    name: 'text',
    about: 'for a terminal',
    extensions: ['.txt'],
    load: async () => (await import('./diff-text.ts')).renderDiffText,
  },
  {
    name: 'json',
    about: 'for programs',
    extensions: ['.json'],
    load: async () => (await import('./diff-json.ts')).renderDiffJson,
  },
];
