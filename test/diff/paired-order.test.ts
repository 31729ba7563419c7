import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { memoryTarget } from '../../src/bytes/target.ts';
import { compare } from '../../src/diff/across.ts';
import { byNumbers, contradicted } from '../../src/diff/paired-order.ts';
import { type SideLayer, sideOfModel } from '../../src/diff/side.ts';
import { writeTorch } from '../../src/formats/torch/write.ts';
import { chain, kerasLayer, weight } from '../helpers/graph-model.ts';
import { memoryTensor } from '../helpers/memory-tensor.ts';
import { modelOf } from '../helpers/model.ts';
import { linesOf, openSideOf, STRICT, STRUCTURE } from './open-side.ts';

const folder = mkdtempSync(join(tmpdir(), 'bndiff-order-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function layersOf(paths: readonly string[]): readonly SideLayer[] {
  return sideOfModel(
    'x',
    modelOf({ dialect: 'torch', layers: paths.map((path) => ({ path, kind: 'dense' as const })) }),
  ).layers;
}

/** Names of the first file, of the second in its order, and which of the second holds what the first ones hold. */
function judged(left: readonly string[], right: readonly string[], holds: readonly number[], isOrdered = true) {
  const one = layersOf(left);
  const other = layersOf(right);
  const content = one.map((layer, index) => [layer, other[holds[index] ?? 0] as SideLayer] as const);
  const { pairs, unsure } = contradicted(content, (layer) => other.indexOf(layer), isOrdered);
  return {
    moved: pairs.filter(([, placed, found]) => placed !== found).map(([a, , found]) => `${a.path} in ${found.path}`),
    unsure: unsure.map((layer) => layer.path),
  };
}

describe('equal content in another place', () => {
  const IN_ORDER = { moved: [], unsure: [] };

  test.each([
    [['a', 'b'], ['0', '2'], 'places of a list'],
    [['a', 'b'], ['fc1', 'fc2'], 'numbers of one name'],
    [['dense', 'dense_1'], ['fc1', 'fc2'], 'numbers of Keras, which are nobody’s'],
    [['block1_conv', 'block2_conv'], ['features.0.conv', 'features.1.conv'], 'counted from 0 there'],
    [['first', 'second'], ['encoder', 'decoder'], 'the order of the file alone'],
    [['mu', 'logvar'], ['fc_mu', 'fc_logvar'], 'words in common'],
  ])('%s against %s: %s', (left, right) => {
    expect(judged(left, right, [0, 1])).toEqual(IN_ORDER);
    expect(judged(left, right, [1, 0]).moved).toEqual([`${left[0]} in ${right[1]}`, `${left[1]} in ${right[0]}`]);
  });

  test('of a file in an order of its own, only the numbers of one name count', () => {
    expect(judged(['first', 'second'], ['alpha', 'beta'], [1, 0], false)).toEqual({
      moved: [],
      unsure: ['first', 'second'],
    });
    expect(judged(['a', 'b'], ['net.2', 'net.10'], [1, 0], false).moved).toHaveLength(2);
    expect(['net.10', 'net.2', 'net'].toSorted(byNumbers)).toEqual(['net', 'net.2', 'net.10']);
  });

  test('names win over the order of the file', () => {
    expect(judged(['mu', 'logvar'], ['fc_logvar', 'fc_mu'], [1, 0])).toEqual(IN_ORDER);
    expect(judged(['mu', 'logvar'], ['fc_logvar', 'fc_mu'], [0, 1]).moved).toHaveLength(2);
  });

  test('a shortcut that the other file lists behind the block is no swap', () => {
    const keras = ['conv2_block1_0_conv', 'conv2_block1_3_conv'];
    expect(judged(keras, ['layer1.0.conv3', 'layer1.0.downsample.0'], [1, 0])).toEqual(IN_ORDER);
    expect(judged(['x', 'y'], ['block.last', 'block.shortcut.0'], [1, 0])).toEqual({ moved: [], unsure: ['x', 'y'] });
  });

  test('three that went round', () => {
    expect(judged(['a', 'b', 'c'], ['0', '1', '2'], [1, 2, 0]).moved).toEqual(['a in 1', 'b in 2', 'c in 0']);
  });
});

describe('two dense layers of one shape, across frameworks', () => {
  const SIZE = 3;
  const values = (first: number): Float32Array => Float32Array.from({ length: SIZE * SIZE }, (_, at) => first + at);
  const bytesOf = (numbers: Float32Array): Uint8Array => new Uint8Array(numbers.buffer);

  const keras = () => {
    const dense = (path: string, first: number) =>
      kerasLayer(path, 'Dense', { name: path, units: SIZE, use_bias: false, activation: 'linear' }, [
        {
          ...weight('kernel', [SIZE, SIZE]),
          tensor: memoryTensor(`${path}/kernel`, 'float32', [SIZE, SIZE], bytesOf(values(first))),
        },
      ]);
    return sideOfModel('keras', chain([null, SIZE], [dense('a', 0), dense('b', 100)]));
  };

  /** PyTorch's weight is Keras' kernel transposed. */
  async function torch(entries: readonly (readonly [string, number])[]) {
    const state = entries.map(([name, first]) => {
      const kernel = values(first);
      const turned = kernel.map((_, at) => kernel[(at % SIZE) * SIZE + Math.floor(at / SIZE)] ?? 0);
      const tensor = memoryTensor(`${name}.weight`, 'float32', [SIZE, SIZE], bytesOf(turned));
      return { name: `${name}.weight`, tensor, kind: 'parameter' as const, requiresGrad: true, shares: null };
    });
    const target = memoryTarget();
    await writeTorch(state, target, { root: 'x', versions: new Map() });
    const path = join(folder, `${entries.map(([name, first]) => name + first).join('-')}.pt`);
    writeFileSync(path, target.bytes());
    return openSideOf(path);
  }

  test('in place they are the same, exchanged they are not', async () => {
    const right = await torch([
      ['0', 0],
      ['2', 100],
    ]);
    expect(linesOf(await compare(keras(), right, STRICT))).toEqual([]);
    const wrong = await torch([
      ['0', 100],
      ['2', 0],
    ]);
    const found = await compare(keras(), wrong, STRICT);
    expect(linesOf(found).slice(0, 2)).toEqual(['moved a → 2', 'moved b → 0']);
    expect(found.changes.filter((change) => change.code === 'value').map((change) => change.at)).toEqual([
      { a: 'a', b: '0', kind: 'dense' },
      { a: 'b', b: '2', kind: 'dense' },
    ]);
    expect((await compare(wrong, keras(), STRICT)).changes.map((change) => change.code)).toContain('value');
    const ignoring = await compare(keras(), wrong, { ...STRICT, ignore: new Set(['renames']) });
    expect(ignoring.changes.map((change) => change.code)).toEqual(['value', 'value']);
    expect(ignoring.ignored).toBe(2);
  });

  test('without values it is not known which is which', async () => {
    const found = await compare(
      keras(),
      await torch([
        ['0', 100],
        ['2', 0],
      ]),
      STRUCTURE,
    );
    expect(found.changes).toEqual([]);
    expect(found.notCompared).toContainEqual(expect.objectContaining({ what: 'ambiguous', layers: ['a', 'b'] }));
  });
});
