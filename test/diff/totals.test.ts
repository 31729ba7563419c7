import { readdirSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { parseJson } from '../../src/bytes/json.ts';
import { compare } from '../../src/diff/across.ts';
import { lockText, sideOfLock } from '../../src/diff/lock.ts';
import { judge, type Policy, parseBudget } from '../../src/diff/policy.ts';
import type { Side } from '../../src/diff/side.ts';
import { sideOfModel } from '../../src/diff/side.ts';
import { isBnsumError } from '../../src/ir/error.ts';
import { modelOf } from '../helpers/model.ts';
import { goodPath, openSideOf, STRUCTURE } from './open-side.ts';

const NO_POLICY: Policy = { budgets: [], deny: [], frozen: [], requireKnown: false };

const MODEL = /\.(?:h5|keras|pt|pth|safetensors|ckpt|tar|pt2|onnx)$/;
const files = ['', 'torch/containers', 'torch/nn', 'torch/tensors', 'safetensors', 'pairs', 'onnx'].flatMap((folder) =>
  readdirSync(goodPath(folder), { withFileTypes: true })
    .filter((entry) => entry.isFile() && MODEL.test(entry.name))
    .map((entry) => (folder === '' ? entry.name : `${folder}/${entry.name}`)),
);

async function sideOrNull(name: string): Promise<Side | null> {
  try {
    return await openSideOf(goodPath(name));
  } catch (error) {
    // Files that no reader takes on purpose: other tests say why.
    if (isBnsumError(error) && error.code !== 'INTERNAL') return null;
    throw error;
  }
}

const locked = async (side: Side): Promise<string> => lockText(side, { file: 'model', hash: () => false });
const read = (text: string): Side =>
  sideOfLock('model.keras.bnlock.json', parseJson(new TextEncoder().encode(text), { file: 'lock' }));

describe('the numbers of a lock file', () => {
  test('add up for every model, and are those of the model', async () => {
    const wrong: string[] = [];
    for (const name of files) {
      const side = await sideOrNull(name);
      if (side === null) continue;
      try {
        const judged = judge(await compare(read(await locked(side)), side, STRUCTURE), NO_POLICY, true);
        if (judged.verdict !== 'same') wrong.push(`${name}: ${judged.verdict}`);
      } catch (error) {
        wrong.push(`${name}: ${error instanceof Error ? error.message : String(error)}`);
      } finally {
        await side.model?.close();
      }
    }
    expect(wrong).toEqual([]);
  }, 120_000);

  test.each([
    [/"total": \d+/, 'keras.total'],
    [/"parameters": \d+/, 'torch.parameters'],
    [/"unique": \d+/, 'state.unique'],
  ])('an edited %s is refused with the way out', async (pattern, rule) => {
    const side = await openSideOf(goodPath('pairs/bn.keras'));
    const text = await locked(side);
    await side.model?.close();
    const edited = text.replace(pattern, (found) => found.replace(/\d+$/, '5'));
    expect(edited).not.toBe(text);
    expect(() => read(edited)).toThrow(
      new RegExp(
        `totals: ${rule.replace('.', '\\.')} is 5, .*write it again with bndiff --update model\\.keras \\[MALFORMED\\]`,
      ),
    );
  });

  test('totals that differ while no layer does are a difference', async () => {
    const side = sideOfModel('a', modelOf({ layers: [] }));
    const edited: Side = { ...side, counts: new Map([...side.counts, ['bytes', 77]]) };
    const judged = judge(await compare(edited, side, STRUCTURE), NO_POLICY);
    expect(judged).toMatchObject({ verdict: 'differs', refused: true });
    expect(judge(await compare(side, side, STRUCTURE), NO_POLICY)).toMatchObject({ verdict: 'same', refused: false });
  });
});

describe('a budget', () => {
  test.each([
    ['keras.total<=2.01M', 2_010_000],
    ['keras.total<=1.1K', 1_100],
    ['keras.total<=0.29M', 290_000],
    ['keras.total<=1.005K', 1_005],
    ['keras.total<=1.0019K', 1_001],
    ['bytes<=1.5KB', 1_536],
    ['keras.total<=30,000,000', 30_000_000],
    ['keras.total<=1_234_567', 1_234_567],
  ])('%s is exact', (text, most) => {
    expect(parseBudget(text)).toMatchObject({ most });
  });

  test.each(['+1,5%', 'bytes<=1,5GB', '+1,50', '+10,00', '+,5', '+1,234,5', 'bytes<=1.5,000', '+0,001,5%'])(
    'a decimal comma is no budget: %s',
    (text) => {
      expect(parseBudget(text)).toBeNull();
    },
  );
});
