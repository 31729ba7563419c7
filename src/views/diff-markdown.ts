import type { DiffRender } from './diff-view.ts';
export const renderDiffMarkdown: DiffRender = () => Promise.resolve([]);
