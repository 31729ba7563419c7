import { describe, expect, test } from 'vitest';
import { planTranslation } from '../../src/convert/plan.ts';
import { settingNotes } from '../../src/convert/settings.ts';
import { openModel } from '../../src/open.ts';

const folder = new URL('../../fixtures/good/', import.meta.url).pathname;

async function notesOf(file: string): Promise<ReturnType<typeof settingNotes>> {
  const { value: model } = await openModel(`${folder}${file}`);
  try {
    return settingNotes(model, planTranslation(model, { file }));
  } finally {
    await model.close();
  }
}

describe('what a target without the generated module has to be given', () => {
  test("the settings of BatchNorm that are not PyTorch's defaults", async () => {
    // Its config says epsilon 0.001 and momentum 0.15.
    const notes = await notesOf('reference-cnn.h5');
    expect(notes.map(({ code, args }) => [code, args['type'], args['setting'], args['value']])).toEqual([
      ['TARGET_SETTING', 'BatchNorm2d', 'eps', 0.001],
      ['TARGET_SETTING', 'BatchNorm2d', 'momentum', 0.85],
    ]);
  });

  test('padding that differs at both ends, and no other', async () => {
    // Of its layers with padding: 15 rows by 3 with a stride of 2, and 22 by 3 with one of 3, take one row at each end;
    // ZeroPadding2D has ((1, 0), (0, 2)).
    const notes = await notesOf('convolutions-2d.keras');
    expect(notes.map(({ code, args }) => [code, args['count'], args['first']])).toEqual([
      ['TARGET_PADDING', 1, ['zero_padding2d']],
    ]);
  });

  test('nothing to say where neither is the case', async () => {
    expect(await notesOf('convert/flatten-open.keras')).toEqual([]);
  });
});
