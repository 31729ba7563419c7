import fc from 'fast-check';
import { expect, test } from 'vitest';
import { KeyTable } from '../../../src/formats/torch/key-table.ts';

test('a table of storage keys is a Map, whatever the keys and their order', () => {
  const key = fc.oneof(
    fc.integer({ min: 0, max: 12 }).map(String),
    fc.constantFrom('', '00', '01', '-1', '1.0', '9999999', '10000000', '1e3', 'a', '٣', ' 1'),
  );
  fc.assert(
    fc.property(fc.array(fc.tuple(key, fc.integer())), (pairs) => {
      const table = new KeyTable<number>();
      const map = new Map<string, number>();
      for (const [at, [text, value]] of pairs.entries()) {
        if (at % 2 === 0) table.set(text, value);
        else table.set(`archive/data/${text}`, value, 13);
        map.set(text, value);
        expect(table.size).toBe(map.size);
        for (const [asked] of pairs) expect(table.get(asked)).toBe(map.get(asked));
      }
    }),
  );
});
