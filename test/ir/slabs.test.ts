import fc from 'fast-check';
import { expect, test } from 'vitest';
import { type Slab, slabsOf, tilesOf } from '../../src/ir/slabs.ts';

const shapes = fc.array(fc.integer({ min: 1, max: 6 }), { maxLength: 4 });

/** How often each element is in a slab, by its place in C order. */
function cover(
  shape: readonly number[],
  slabs: Iterable<Slab>,
): { counts: number[]; order: number[]; largest: number } {
  const total = shape.reduce((product, size) => product * size, 1);
  const counts = new Array<number>(total).fill(0);
  const order: number[] = [];
  let largest = 0;
  for (const slab of slabs) {
    largest = Math.max(largest, slab.elements);
    const walk = (axis: number, at: number): void => {
      if (axis === shape.length) {
        counts[at] = (counts[at] ?? 0) + 1;
        order.push(at);
        return;
      }
      for (let k = 0; k < (slab.count[axis] ?? 0); k += 1) {
        walk(axis + 1, at * (shape[axis] ?? 1) + (slab.start[axis] ?? 0) + k);
      }
    };
    walk(0, 0);
  }
  return { counts, order, largest };
}

test('slabs are consecutive runs that hold every element once', () => {
  fc.assert(
    fc.property(shapes, fc.integer({ min: 1, max: 40 }), (shape, most) => {
      const { counts, order, largest } = cover(shape, slabsOf(shape, most));
      expect(counts.every((count) => count === 1)).toBe(true);
      expect(order).toEqual([...counts.keys()]);
      expect(largest).toBeLessThanOrEqual(most);
    }),
    { seed: 3 },
  );
});

test('tiles hold every element once and stay within the limit', () => {
  fc.assert(
    fc.property(shapes, fc.integer({ min: 1, max: 40 }), (shape, most) => {
      const { counts, largest } = cover(shape, tilesOf(shape, most));
      expect(counts.every((count) => count === 1)).toBe(true);
      expect(largest).toBeLessThanOrEqual(most);
    }),
    { seed: 4 },
  );
});

test('a tensor without elements has no slab', () => {
  expect([...slabsOf([3, 0, 2], 10)]).toEqual([]);
});
