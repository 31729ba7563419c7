/**
 * Names from files are data. Control characters (C0, DEL, C1), line and paragraph separators, bidirectional controls,
 * invisible characters and lone surrogates become visible escapes; a joiner inside an emoji stays.
 */
const UNSAFE =
  /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u115f\u1160\u180e\u200b-\u200f\u2028-\u202f\u2060-\u206f\u3164\ufeff\uffa0\ufff9-\ufffb]|[\u{e0000}-\u{e0fff}]|\p{Surrogate}/gu;
const EMOJI_JOINER = /(?<=\p{Extended_Pictographic}[\ufe0f\u{1f3fb}-\u{1f3ff}]*)\u200d(?=\p{Extended_Pictographic})/gu;
/** Stands for a joiner that stays, while the others are escaped; a private-use character that no escape touches. */
const KEPT_JOINER = '\u{f8ff0}';

/** The text with everything that could move the cursor, hide or reorder text written out as an escape. */
export function escapeText(text: string): string {
  if (!/[^\u0020-\u007e]/.test(text)) return text;
  return text
    .replaceAll(KEPT_JOINER, '\\u{f8ff0}')
    .replace(EMOJI_JOINER, KEPT_JOINER)
    .replace(UNSAFE, (character) => {
      const code = character.codePointAt(0) ?? 0;
      if (code <= 0xff) return `\\x${code.toString(16).padStart(2, '0')}`;
      return code <= 0xffff ? `\\u${code.toString(16).padStart(4, '0')}` : `\\u{${code.toString(16)}}`;
    })
    .replaceAll(KEPT_JOINER, '\u200d');
}

/** Characters of one name that people are shown; JSON holds it whole. */
const SHOWN = 200;

/** An escaped name for people, cut in the middle when it is longer than anyone reads; the cut says how much is gone. */
export function showName(text: string): string {
  if (text.length <= SHOWN) return escapeText(text);
  const head = [...text.slice(0, 120)].join('');
  const tail = text.slice(-40);
  return `${escapeText(head)}…[${text.length - 160} more characters]…${escapeText(tail)}`;
}
