/** Columns that terminals give a text: East Asian wide and emoji two, combining marks none. The text is escaped already. */
const WIDE =
  /[\u1100-\u115f\u231a\u231b\u2329\u232a\u23e9-\u23ec\u23f0\u23f3\u25fd\u25fe\u2614\u2615\u2648-\u2653\u267f\u2693\u26a1\u26aa\u26ab\u26bd\u26be\u26c4\u26c5\u26ce\u26d4\u26ea\u26f2\u26f3\u26f5\u26fa\u26fd\u2705\u270a\u270b\u2728\u274c\u274e\u2753-\u2755\u2757\u2795-\u2797\u27b0\u27bf\u2b1b\u2b1c\u2b50\u2b55\u2e80-\u303e\u3041-\u33ff\u3400-\u4dbf\u4e00-\u9fff\ua000-\ua4cf\ua960-\ua97f\uac00-\ud7a3\uf900-\ufaff\ufe10-\ufe19\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6]|[\u{16fe0}-\u{18dff}\u{1af00}-\u{1b2ff}\u{1f004}\u{1f0cf}\u{1f18e}\u{1f191}-\u{1f19a}\u{1f200}-\u{1f320}\u{1f32d}-\u{1f335}\u{1f337}-\u{1f37c}\u{1f37e}-\u{1f393}\u{1f3a0}-\u{1f3ca}\u{1f3cf}-\u{1f3d3}\u{1f3e0}-\u{1f3f0}\u{1f3f4}\u{1f3f8}-\u{1f43e}\u{1f440}\u{1f442}-\u{1f4fc}\u{1f4ff}-\u{1f53d}\u{1f54b}-\u{1f54e}\u{1f550}-\u{1f567}\u{1f57a}\u{1f595}\u{1f596}\u{1f5a4}\u{1f5fb}-\u{1f64f}\u{1f680}-\u{1f6c5}\u{1f6cc}\u{1f6d0}-\u{1f6d2}\u{1f6d5}-\u{1f6d7}\u{1f6dc}-\u{1f6df}\u{1f6eb}\u{1f6ec}\u{1f6f4}-\u{1f6fc}\u{1f7e0}-\u{1f7eb}\u{1f7f0}\u{1f90c}-\u{1f93a}\u{1f93c}-\u{1f945}\u{1f947}-\u{1f9ff}\u{1fa70}-\u{1faff}\u{20000}-\u{3fffd}]/u;
const MARKS_ONLY = /^(?:\p{Mark}|\u200d|[\ufe00-\ufe0f])+$/u;
const EMOJI_STYLE = /\p{Extended_Pictographic}\ufe0f|\p{Regional_Indicator}{2}/u;

let segmenter: Intl.Segmenter | null = null;

/** What a reader sees as single characters. */
export function graphemes(text: string): readonly string[] {
  if (!/[^\u0020-\u007e]/.test(text)) return text.split('');
  segmenter ??= new Intl.Segmenter('en', { granularity: 'grapheme' });
  return Array.from(segmenter.segment(text), (part) => part.segment);
}

function graphemeWidth(grapheme: string): number {
  if (MARKS_ONLY.test(grapheme)) return 0;
  return WIDE.test(grapheme) || EMOJI_STYLE.test(grapheme) ? 2 : 1;
}

/** Columns of one line. */
export function displayWidth(text: string): number {
  if (!/[^\u0020-\u007e]/.test(text)) return text.length;
  let width = 0;
  for (const grapheme of graphemes(text)) width += graphemeWidth(grapheme);
  return width;
}

/** `text` filled with spaces to `columns`. */
export function pad(text: string, columns: number, align: 'left' | 'right' = 'left'): string {
  const missing = columns - displayWidth(text);
  if (missing <= 0) return text;
  const space = spaces(missing);
  return align === 'left' ? text + space : space + text;
}

const SPACES: readonly string[] = Array.from({ length: 65 }, (_, count) => ' '.repeat(count));

/** A run of spaces; the usual ones are made once. */
export function spaces(count: number): string {
  return SPACES[count] ?? ' '.repeat(count);
}

/** Where a long word may break: behind these characters. */
const SOFT_BREAK = /[/._\-:,|]/;

/**
 * Lines of at most `columns` columns: broken at spaces, else behind a separator of a path, else anywhere. Later lines
 * start with `indent` spaces. Nothing is left out.
 */
export function wrap(text: string, columns: number, indent = 0): readonly string[] {
  const room = Math.max(columns, indent + 4);
  if (displayWidth(text) <= room) return [text];
  const lines: string[] = [];
  let line = '';
  let width = 0;
  const flush = (): void => {
    lines.push(line.trimEnd());
    line = ' '.repeat(indent);
    width = indent;
  };
  for (const word of text.split(/(?<= )/)) {
    const bare = displayWidth(word.trimEnd());
    if (width + bare <= room) {
      line += word;
      width += displayWidth(word);
      continue;
    }
    if (width > indent && bare <= room - indent) {
      flush();
      line += word;
      width += displayWidth(word);
      continue;
    }
    let rest = graphemes(word);
    while (rest.length > 0) {
      let taken = 0;
      let used = width;
      let soft = 0;
      for (const [index, grapheme] of rest.entries()) {
        const next = used + graphemeWidth(grapheme);
        if (next > room && grapheme !== ' ') break;
        used = next;
        taken = index + 1;
        if (SOFT_BREAK.test(grapheme)) soft = taken;
      }
      if (taken < rest.length && soft > 0) taken = soft;
      if (taken === 0 && width <= indent) taken = 1;
      const piece = rest.slice(0, taken).join('');
      line += piece;
      width += displayWidth(piece);
      rest = rest.slice(taken);
      if (rest.length > 0) flush();
    }
  }
  if (line.trim() !== '') lines.push(line.trimEnd());
  return lines;
}
