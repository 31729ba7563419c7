import { expect, test } from 'vitest';
import { LIBRARY } from '../../src/codegen/library-text.ts';
import { LIBRARY_NAMES } from '../../src/convert/names.ts';

test('the names that classes and values must not take are those of the library', () => {
  expect([...LIBRARY_NAMES].sort()).toEqual(LIBRARY.map(({ name }) => name).sort());
});
