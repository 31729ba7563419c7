import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { account } from '../../src/account/account.ts';
import { compare } from '../../src/diff/across.ts';
import { lockText, sideOfLock } from '../../src/diff/lock.ts';
import { type Side, sideOfModel } from '../../src/diff/side.ts';
import { openModel } from '../../src/open.ts';
import { notComparedLines } from '../../src/views/diff-wording.ts';
import {
  compareFiles,
  goodPath,
  jsonOf,
  linesOf,
  lockSideOf,
  openSideOf,
  STRICT,
  STRUCTURE,
  summarySideOf,
} from './open-side.ts';

const at = (name: string): string => `torch/containers/${name}`;

const against = (a: string, b: string, options = STRICT) => compareFiles(at(a), at(b), options);

const lockedSide = (name: string, hash: boolean) => lockSideOf(goodPath(at(name)), hash);
const summarySide = (name: string) => summarySideOf(goodPath(at(name)));

const CODE = 'the model TorchScript code (differs: it may compute something else)';
const PROGRAM = 'the model exported program (differs: it may compute something else)';

// Files of real PyTorch. The saturated network has the tensors, names and settings of the other one, and tanh for relu.
describe('what is computed is compared too', () => {
  test('TorchScript: another forward is a difference', async () => {
    expect(linesOf(await against('script.pt', 'script-saturated.pt'))).toEqual([CODE]);
  });

  test('TorchScript: the same network compiled twice in a process is the same', async () => {
    const again = readFileSync(goodPath(at('script-again.pt')), 'latin1');
    expect(again).toContain('___torch_mangle_');
    expect(readFileSync(goodPath(at('script.pt')), 'latin1')).not.toContain('___torch_mangle_');
    expect(linesOf(await against('script.pt', 'script-again.pt'))).toEqual([]);
    expect(linesOf(await against('script-again.pt', 'script-saturated.pt'))).toEqual([CODE]);
  });

  test('torch.export: another graph is a difference', async () => {
    expect(linesOf(await against('export-eval.pt2', 'export-saturated.pt2'))).toEqual([PROGRAM]);
    expect(linesOf(await against('export-eval.pt2', 'export-eval.pt2'))).toEqual([]);
  });

  test('TorchScript and torch.export say it in different forms', async () => {
    const found = await against('script.pt', 'export-eval.pt2');
    expect(linesOf(found)).toEqual([]);
    expect(notComparedLines(found.notCompared)).toContain(
      'the computation (TorchScript code, exported program): the two files keep it in different forms',
    );
  });

  test('a state_dict does not tell it', async () => {
    const found = await against('script.pt', 'state-dict-zip.pt');
    expect(notComparedLines(found.notCompared)).toContain(
      'the computation (TorchScript code, exported program): only the first file tells',
    );
  });
});

describe('tensors outside the state', () => {
  test('a frozen network keeps its weights as constants, which PyTorch does not count', async () => {
    const expected = JSON.parse(readFileSync(goodPath(at('frozen.pt.expected.json')), 'utf8'));
    const { value, diagnostics } = await openModel(goodPath(at('frozen.pt')));
    const shapes = (value.origin.constants ?? []).map((tensor) => tensor.shape.join());
    const said: readonly string[] = expected.constants.map((shape: readonly number[]) => shape.join());
    expect(shapes.toSorted()).toEqual(said.toSorted());
    expect(account(value).totals.state.elements).toBe(expected.counts.stateElements);
    const elements = 5 + 5 * 8 + 8 * 3 * 3 * 3 + 8;
    expect(diagnostics.find(({ code }) => code === 'CODE_CONSTANTS')?.args).toMatchObject({ count: 4, elements });
    await value.close();
  });

  test('their values are compared', async () => {
    const lines = linesOf(await against('frozen.pt', 'frozen-other.pt'));
    expect(lines).toHaveLength(4);
    for (const line of lines) expect(line).toMatch(/^the model constant CONSTANTS\.c[0-3], first at/);
    expect(linesOf(await against('frozen.pt', 'frozen-other.pt', STRUCTURE))).toEqual([]);
  });

  test.each([
    ['script-constants.pt', 'script-constants-other.pt', 'shift'],
    ['export-constants.pt2', 'export-constants-other.pt2', 'shift'],
  ])('plain attributes and lifted tensors: %s', async (a, b, name) => {
    const lines = linesOf(await against(a, b));
    expect(lines).toHaveLength(1);
    expect(lines[0]).toMatch(new RegExp(`^the model constant ${name}, first at \\[1\\] 1 → 2`));
    const side = await openSideOf(goodPath(at(b)));
    const names = (side.constants ?? []).map((weight) => weight.role);
    // The literal, the attribute, and in an exported program the buffer that is not saved.
    expect(names).toContain('shift');
    expect(names.length).toBe(a.endsWith('.pt2') ? 3 : 1);
    await side.model?.close();
  });

  test('the first form of torch.export keeps them as well, and the settings of its BatchNorm', async () => {
    const { value } = await openModel(goodPath(at('export-old.pt2')));
    expect(value.origin.constants?.map((tensor) => tensor.name)).toEqual(['mask', 'shift', 'lifted_tensor_0']);
    expect(value.layers.find((layer) => layer.path === 'bn')?.norm).toMatchObject({ epsilon: 1e-3 });
    await value.close();
    expect(linesOf(await against('export-old.pt2', 'export-old-train.pt2'))).toEqual([PROGRAM]);
  });

  test('they add nothing to any total', async () => {
    const { value } = await openModel(goodPath(at('export-constants.pt2')));
    expect(account(value).totals.state.elements).toBe(20);
    await value.close();
  });
});

describe('a lock file and a summary keep both', () => {
  test('the code', async () => {
    const side = await openSideOf(goodPath(at('script-saturated.pt')));
    for (const before of [await lockedSide('script.pt', false), await summarySide('script.pt')]) {
      expect(linesOf(await compare(before, side, STRUCTURE))).toEqual([CODE]);
    }
    await side.model?.close();
    const same = await openSideOf(goodPath(at('script-again.pt')));
    for (const before of [await lockedSide('script.pt', true), await summarySide('script.pt')]) {
      expect(linesOf(await compare(before, same, STRUCTURE))).toEqual([]);
    }
    await same.model?.close();
  });

  test('the constants, by hash in a lock file that hashes', async () => {
    const other = await openSideOf(goodPath(at('frozen-other.pt')));
    const lines = linesOf(await compare(await lockedSide('frozen.pt', true), other, STRUCTURE));
    expect(lines).toHaveLength(4);
    expect(lines[0]).toBe('the model constant CONSTANTS.c0 (the content differs)');
    expect(linesOf(await compare(await lockedSide('frozen.pt', false), other, STRUCTURE))).toEqual([]);
    const summary = await summarySide('frozen.pt');
    expect(summary.constants?.map((weight) => weight.shape)).toEqual(other.constants?.map((weight) => weight.shape));
    await other.model?.close();
  });
});

describe('the attributes of a whole module', () => {
  test('of the root are compared, although it has no row', async () => {
    const sides = await Promise.all([0.1, 0.2].map(moduleWith));
    const [one, other] = sides;
    if (one === undefined || other === undefined) throw new Error('two sides');
    expect(linesOf(await compare(one, other, STRUCTURE))).toEqual(['the model alpha 0.1 → 0.2']);
    const locked = sideOfLock('a', jsonOf(await lockText(one, { file: 'a', hash: () => false })));
    expect(linesOf(await compare(locked, other, STRUCTURE))).toEqual(['the model alpha 0.1 → 0.2']);
    expect(linesOf(await compare(locked, one, STRUCTURE))).toEqual([]);
  });

  /** module-main-class-zip.pt with one more attribute of its root, as a class with a setting of its own would have. */
  async function moduleWith(alpha: number): Promise<Side> {
    const side = await openSideOf(goodPath(at('module-main-class-zip.pt')));
    if (side.model === null) throw new Error('a model');
    const { origin } = side.model;
    const attrs = new Map([...(origin.rootAttrs ?? []), ['alpha', alpha] as const]);
    return sideOfModel('module.pt', { ...side.model, origin: { ...origin, rootAttrs: attrs } });
  }
});
