import type { DiffView } from './diff-view.ts';

/** Every look of a comparison, one line each; a look is loaded when it is asked for. */
export const DIFF_VIEWS: readonly DiffView[] = [
  {
    name: 'text',
    about: 'for a terminal',
    extensions: ['.txt'],
    load: async () => (await import('./diff-text.ts')).renderDiffText,
  },
  {
    name: 'markdown',
    about: 'for a pull request comment',
    extensions: ['.md'],
    load: async () => (await import('./diff-markdown.ts')).renderDiffMarkdown,
  },
  {
    name: 'github',
    about: 'annotations and the step summary',
    extensions: [],
    load: async () => (await import('./diff-github.ts')).renderDiffGithub,
  },
  {
    name: 'json',
    about: 'for programs',
    extensions: ['.json'],
    load: async () => (await import('./diff-json.ts')).renderDiffJson,
  },
  {
    name: 'sarif',
    about: 'for code scanning',
    extensions: ['.sarif'],
    load: async () => (await import('./diff-sarif.ts')).renderDiffSarif,
  },
  {
    name: 'junit',
    about: 'for test reports',
    extensions: ['.xml'],
    load: async () => (await import('./diff-junit.ts')).renderDiffJunit,
  },
];
