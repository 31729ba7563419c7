/** Colours as functions; without colour they give the text back and chalk is not loaded. */
export interface Paint {
  bold(text: string): string;
  dim(text: string): string;
  strong(text: string): string;
  warn(text: string): string;
  bad(text: string): string;
}

const PLAIN: Paint = {
  bold: (text) => text,
  dim: (text) => text,
  strong: (text) => text,
  warn: (text) => text,
  bad: (text) => text,
};

export async function loadPaint(color: boolean): Promise<Paint> {
  if (!color) return PLAIN;
  const { Chalk } = await import('chalk');
  const chalk = new Chalk({ level: 1 });
  return {
    bold: (text) => chalk.bold(text),
    dim: (text) => chalk.dim(text),
    strong: (text) => chalk.cyan(text),
    warn: (text) => chalk.yellow(text),
    bad: (text) => chalk.red(text),
  };
}
