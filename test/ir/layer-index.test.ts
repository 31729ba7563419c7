import { describe, expect, test } from 'vitest';
import { childrenByPath, layerTree, parentsOf } from '../../src/ir/layer-index.ts';
import { modelOf } from '../helpers/model.ts';

/** Layers by path and parent, in this order. */
function nested(...pairs: readonly (readonly [string, string | null])[]) {
  return modelOf({
    layers: pairs.map(([path, parent]) => ({ path, parent, kind: 'unknown' as const, type: '', weights: [] })),
  });
}

describe('the nesting of layers', () => {
  test('follows the parents, wherever they stand', () => {
    const model = nested(
      ['late.a', 'late'],
      ['tower', null],
      ['tower.b', 'tower'],
      ['late', null],
      ['tower.c', 'tower'],
    );
    expect([...parentsOf(model.layers)]).toEqual([3, -1, 1, -1, 1]);
    const { firstRoot, firstChildren, nextSiblings } = layerTree(model);
    const below = (first: number): string[] => {
      const paths: string[] = [];
      for (let at = first; at >= 0; at = nextSiblings[at] ?? -1) paths.push(model.layers[at]?.path ?? '?');
      return paths;
    };
    expect(below(firstRoot)).toEqual(['tower', 'late']);
    expect(below(firstChildren[1] ?? -1)).toEqual(['tower.b', 'tower.c']);
    expect(below(firstChildren[3] ?? -1)).toEqual(['late.a']);
    expect(
      childrenByPath(model)
        .get('tower')
        ?.map((layer) => layer.path),
    ).toEqual(['tower.b', 'tower.c']);
  });

  test('a parent that is no layer of the model, and a layer that names itself, stand at the top', () => {
    const model = nested(['a', 'gone'], ['b', 'b'], ['c', 'a']);
    expect([...parentsOf(model.layers)]).toEqual([-1, -1, 0]);
  });
});
