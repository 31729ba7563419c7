import { describe, expect, test } from 'vitest';
import { compare } from '../../src/diff/across.ts';
import { lockText, sideOfLock } from '../../src/diff/lock.ts';
import { judge } from '../../src/diff/policy.ts';
import { type Side, sideOfModel } from '../../src/diff/side.ts';
import { renderDiffJunit } from '../../src/views/diff-junit.ts';
import { notComparedLines } from '../../src/views/diff-wording.ts';
import { chain, kerasLayer, toJson } from '../helpers/graph-model.ts';
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

const at = (name: string): string => `torch/attributes/${name}`;
const against = (a: string, b: string, options = STRICT) => compareFiles(at(a), at(b), options);
const lines = async (a: string, b: string, options = STRICT) => linesOf(await against(a, b, options));

/** Names that Attributes of fixtures/make/torch_containers.py gives another value in its second variant. */
const DIFFERENT = [
  ...['builtin', 'partial', 'method', 'settings', 'choice', 'chosen', 'plane', 'part', 'steps', 'queue', 'raw'],
  ...['scalar', 'array', 'words', 'nothing', 'flag', 'text', 'mode', 'name', 'layers', 'hidden_size'],
  ...['kernel_initializer', 'factor', '_private'],
];

// Files of real PyTorch 2.13.
describe('attributes of any kind', () => {
  test('every one that differs is a difference, of the root and of a module in it', async () => {
    const { changes } = await against('module.pt', 'module-other.pt', STRUCTURE);
    for (const where of ['', 'child']) {
      const named = changes.filter((change) => change.code === 'attribute' && change.at.a === where);
      expect(named.map((change) => ('name' in change ? change.name : '')).toSorted()).toEqual(DIFFERENT.toSorted());
    }
    expect(changes.every((change) => change.code === 'attribute')).toBe(true);
  });

  test('in words that a person reads', async () => {
    const found = await lines('module.pt', 'module-other.pt', STRUCTURE);
    const partial = 'functools.partial(torch.nn.functional.leaky_relu, negative_slope=';
    expect(found).toContain(`child partial ${partial}0.1) → ${partial}0.2)`);
    expect(found).toContain('child settings __main__.Settings(value=0) → __main__.Settings(value=1)');
    expect(found).toContain('child choice __main__.Choice(1) → __main__.Choice(2)');
    expect(found).toContain('child chosen {1, 2} → {1, 3}');
    expect(found).toContain('child nothing none → 0');
    expect(found).toContain('child flag off → none');
    expect(found).toContain("child text '' → x");
    expect(found).toContain('child factor [-0.2, 0.2] → 0.2');
  });

  test('tensors in lists and dicts are compared by value, with --values only', async () => {
    const found = await against('module.pt', 'module-other.pt');
    const names = found.changes.flatMap((change) => (change.code === 'value' ? [change.name] : []));
    expect(names.toSorted()).toEqual(['child.table.a', 'child.tensors.0', 'table.a', 'tensors.0']);
  });

  test('the same module in another container and another protocol is the same', async () => {
    expect(await lines('module.pt', 'module-legacy.pt')).toEqual([]);
    expect(await lines('module.pt', 'module-protocol-4.pt')).toEqual([]);
  });

  test('another class is a difference, of the root and of a module in it', async () => {
    expect(await lines('module.pt', 'module-renamed.pt')).toEqual([
      'the model type __main__.Attributes → __main__.Renamed',
      'child type __main__.Attributes → __main__.Renamed',
    ]);
  });
});

describe('what surrounds a module', () => {
  test('hooks by name, the power iterations of spectral_norm, the training flag', async () => {
    const found = await lines('hooks.pt', 'hooks-other.pt', STRUCTURE);
    expect(found).toContain('0 forward hooks [__main__.double] → [__main__.triple]');
    expect(found.find((line) => line.includes('forward pre-hooks'))).toMatch(
      /n_power_iterations=1.* → .*n_power_iterations=2/,
    );
    expect(found).toContain('1 training on → off');
    expect(found).toContain('3 training on → off');
    // The ReLU does the same in both.
    expect(found.some((line) => line.startsWith('2 '))).toBe(false);
  });

  test('the numbers of hooks count in one process', async () => {
    expect(await lines('hooks.pt', 'hooks-again.pt')).toEqual([]);
  });

  test('a flag of a class whose code nobody has is told', async () => {
    const a = await openSideOf(goodPath(at('module.pt')));
    const b = await openSideOf(goodPath(at('module.pt')));
    const flipped = b.layers.map((layer) => ({ ...layer, facts: new Map([...layer.facts, ['trainingFlag', false]]) }));
    const found = await compare(a, { ...b, layers: flipped }, STRUCTURE);
    expect(linesOf(found)).toEqual([]);
    expect(notComparedLines(found.notCompared)).toEqual([
      expect.stringMatching(/^the training flag, which differs of .*child.*: only the code of the class tells/),
    ]);
  });
});

describe('TorchScript', () => {
  test('None and 0, members of an Enum, names that Keras has other uses for', async () => {
    const found = await lines('script.pt', 'script-other.pt', STRUCTURE);
    expect(found).toContain('the model axis none → 0');
    expect(found).toContain('the model mode sum → mean');
    expect(found.find((line) => line.startsWith('the model choice'))).toMatch(/Choice\(1\) → .*Choice\(2\)$/);
  });

  test('tensors in lists and dicts, packed weights', async () => {
    const { changes } = await against('script.pt', 'script-other.pt');
    expect(changes.flatMap((change) => (change.code === 'value' ? [change.name] : [])).toSorted()).toEqual([
      'table.a',
      'tensors.0',
    ]);
    const packed = await lines('script-quantised.pt', 'script-quantised-other.pt');
    expect(packed.some((line) => line.startsWith('the model constant 0._packed_params._packed_params.0'))).toBe(true);
    expect(await lines('script-quantised.pt', 'script-quantised.pt')).toEqual([]);
  });

  test('what looks like a local name inside of a text is none', async () => {
    expect(await lines('script-text.pt', 'script-text-other.pt')).toEqual([
      'the model TorchScript code (differs: it may compute something else)',
    ]);
  });
});

describe('torch.export', () => {
  const PROGRAM = 'the model exported program (differs: it may compute something else)';

  test('the keys of the outputs and the sizes that it is made for', async () => {
    expect(await lines('export.pt2', 'export-other.pt2')).toEqual([PROGRAM]);
    expect(await lines('export-rows-2.pt2', 'export-rows-more.pt2')).toEqual([PROGRAM]);
  });

  test('neither the size of the example nor the device is a difference', async () => {
    expect(await lines('export-rows-2.pt2', 'export-rows-5.pt2')).toEqual([]);
    expect(await lines('export.pt2', 'export-cuda.pt2')).toEqual([]);
  });
});

describe('checkpoints', () => {
  test('entries of the state that are no tensors, and tensors in them', async () => {
    const found = await lines('beside.pt', 'beside-other.pt');
    expect(found).toHaveLength(2);
    expect(found).toContain('the model note 0 → 1');
    expect(found.find((line) => line.includes('_extra_state.scale'))).toMatch(/1 → 2/);
  });

  test('what lies beside the model is told', async () => {
    const told = notComparedLines((await against('beside.pt', 'beside-other.pt')).notCompared);
    expect(told).toContain('beside the model, config: the two files differ there');
    expect(told).toContain('beside the model, ema: its tensors are not compared');
    expect(told.some((line) => line.includes('epoch'))).toBe(false);
  });
});

describe('lock files and summaries', () => {
  test.each([
    ['module.pt', 'module-other.pt', 2 * DIFFERENT.length + 4],
    ['hooks.pt', 'hooks-other.pt', null],
    ['script.pt', 'script-other.pt', null],
    ['sparse.pt', 'sparse-other.pt', 3],
  ])('a lock file with hashes finds what a direct comparison finds: %s', async (a, b, count) => {
    const lock = await lockSideOf(goodPath(at(a)), true);
    const [same, other] = [await openSideOf(goodPath(at(a))), await openSideOf(goodPath(at(b)))];
    expect(linesOf(await compare(lock, same, STRICT))).toEqual([]);
    const direct = await against(a, b);
    const found = await compare(lock, other, STRICT);
    expect(
      found.changes.map(({ code, at: place }) => `${code === 'hash' ? 'value' : code} ${place.a}`).toSorted(),
    ).toEqual(direct.changes.map(({ code, at: place }) => `${code === 'hash' ? 'value' : code} ${place.a}`).toSorted());
    if (count !== null) expect(found.changes).toHaveLength(count);
  });

  /** As `bndiff --update` wrote it before attributes of any kind were kept. */
  async function oldLock(name: string): Promise<Side> {
    const side = await openSideOf(goodPath(at(name)));
    const drop = (facts: Side['layers'][number]['facts']) => {
      const kept = [...facts].filter(([key]) => !['details', 'training', 'trainingFlag'].includes(key));
      return new Map(
        kept.map(([key, value]) => {
          if (key !== 'config' || !(value instanceof Map)) return [key, value];
          return [key, new Map([...value].filter(([, one]) => one !== null && one !== false && one !== ''))];
        }),
      );
    };
    const { details: _, further: __, inputDtypes: ___, ...rest } = side;
    const layers = side.layers.map((layer) => {
      const facts = drop(layer.facts);
      const config = facts.get('config');
      // Of a class that it did not know it kept them beside the neutral ones.
      return { ...layer, facts: layer.kind === 'unknown' && config instanceof Map ? config : facts };
    });
    const facts = { rootFacts: side.rootFacts ? drop(side.rootFacts) : null };
    return sideOfLock(name, jsonOf(await lockText({ ...rest, ...facts, layers }, { file: name, hash: () => false })));
  }

  test.each(['module.pt', 'hooks.pt', 'script.pt', 'script-quantised.pt', 'beside.pt', 'export.pt2'])(
    'an old lock file says what it does not tell: %s',
    async (name) => {
      const found = await compare(await oldLock(name), await openSideOf(goodPath(at(name))), STRUCTURE);
      expect(linesOf(found)).toEqual([]);
      if (name !== 'export.pt2') expect(found.notCompared.length).toBeGreaterThan(0);
    },
  );

  test('the old hash of an exported program is no longer compared', async () => {
    const lock = await oldLock('export.pt2');
    const before: Side = { ...lock, program: new Map([['program', '0'.repeat(64)]]) };
    const found = await compare(before, await openSideOf(goodPath(at('export.pt2'))), STRUCTURE);
    expect(linesOf(found)).toEqual([]);
    expect(found.notCompared.map(({ what }) => what)).toContain('program');
  });

  test('nor are tensors outside the state that it does not list', async () => {
    const lock = await oldLock('hooks.pt');
    // spectral_norm keeps the normed weight as a plain attribute.
    expect(lock.constants?.map(({ role }) => role)).toEqual(['4.weight']);
    const found = await compare({ ...lock, constants: [] }, await openSideOf(goodPath(at('hooks.pt'))), STRUCTURE);
    expect(linesOf(found)).toEqual([]);
    expect(found.notCompared.map(({ what }) => what)).toContain('constants');
  });

  test('a summary says what it does not keep', async () => {
    const found = await compare(
      await summarySideOf(goodPath(at('module.pt'))),
      await openSideOf(goodPath(at('module-other.pt'))),
      STRUCTURE,
    );
    const told = found.notCompared.filter(({ what }) => what === 'attribute').map(({ name }) => name);
    expect(told).toEqual(expect.arrayContaining(['partial', 'settings', '_private']));
    // Plain settings it has.
    expect(linesOf(found)).toContain('child nothing none → 0');
    const keras = goodPath('frozen-functional-root.keras');
    const self = await compare(await summarySideOf(keras), await openSideOf(keras), STRUCTURE);
    expect(linesOf(self)).toEqual([]);
    expect(self.notCompared.map(({ what, name }) => `${what} ${name}`)).toEqual(
      expect.arrayContaining(['wiring calls', 'inputs inputs']),
    );
  });
});

describe('forms of one network', () => {
  // script-sequential.pt and module-sequential-zip.pt are one network, fixtures/make/torch_containers.py says so.
  test.each([
    ['module-sequential-zip.pt', 'script-sequential.pt'],
    ['script-sequential.pt', 'module-sequential-zip.pt'],
    ['module-main-class-zip.pt', 'trace.pt'],
    ['module-main-class-zip.pt', 'export-eval.pt2'],
  ])('the lock file of %s against %s has no attributes that only one form keeps', async (a, b) => {
    const lock = await lockSideOf(goodPath(`torch/containers/${a}`), false);
    const found = await compare(lock, await openSideOf(goodPath(`torch/containers/${b}`)), STRUCTURE);
    expect(found.changes.filter(({ code }) => code === 'attribute')).toEqual([]);
  });
});

describe('models of Keras', () => {
  const path = goodPath('frozen-functional-root.keras');
  const rooted = async (name: string, own: Readonly<Record<string, unknown>> = {}) => {
    const { model } = await openSideOf(path);
    if (model === null) throw new Error('a model');
    const config = toJson({ class_name: name, config: { name: 'm', trainable: true, ...own } });
    return sideOfModel(path, { ...model, origin: { ...model.origin, config } });
  };

  test('another class of the whole, and its own settings', async () => {
    const [functional, one, other] = [
      await rooted('Functional'),
      await rooted('pkg>Net', { n: 1 }),
      await rooted('Net', { n: 2 }),
    ];
    expect(linesOf(await compare(functional, one, STRUCTURE))).toEqual(['the model type Functional → Net']);
    expect(linesOf(await compare(one, other, STRUCTURE))).toEqual(['the model n 1 → 2']);
    // Before TensorFlow 2.3 a functional model was a Model.
    expect(linesOf(await compare(functional, await rooted('Model'), STRUCTURE))).toEqual([]);
    const locked = sideOfLock('a', jsonOf(await lockText(one, { file: 'a', hash: () => false })));
    expect(linesOf(await compare(locked, other, STRUCTURE))).toEqual(['the model n 1 → 2']);
    const { rootType: _, ...old } = locked;
    const told = (await compare({ ...old, rootFacts: null }, one, STRUCTURE)).notCompared.map(({ name }) => name);
    expect(told).toEqual(expect.arrayContaining(['class', 'n']));
  });

  test('a lock file keeps the types of the inputs', async () => {
    // A Sequential has no layer for its input.
    const bare = { ...sideOfModel('x', chain([null, 4], [kerasLayer('x', 'Dense')])), inputDtypes: ['float32'] };
    const lock = sideOfLock('a', jsonOf(await lockText(bare, { file: 'a', hash: () => false })));
    const types = ['int32'];
    const found = linesOf(await compare(lock, { ...bare, inputDtypes: types }, STRUCTURE));
    expect(found).toEqual(['the model dtype of input float32 → int32']);
    const { inputDtypes: _, ...old } = lock;
    const told = await compare(old, bare, STRUCTURE);
    expect(linesOf(told)).toEqual([]);
    expect(notComparedLines(told.notCompared)).toContain('types of the inputs: only the second file tells');
  });
});

test('JUnit fails where only the totals differ', async () => {
  const side = await openSideOf(goodPath(at('beside.pt')));
  const counts = new Map([...side.counts, ['torch.buffers' as const, 7]]);
  const comparison = await compare(side, { ...side, counts }, STRUCTURE);
  const judged = judge(comparison, { budgets: [], deny: [], frozen: [], requireKnown: false });
  expect(judged.verdict).toBe('differs');
  const report = { ...judged, file: 'x' };
  const pieces = await renderDiffJunit({ reports: [report], errors: [] }, {} as Parameters<typeof renderDiffJunit>[1]);
  expect([...pieces].join('')).toContain('failures="1"');
});
