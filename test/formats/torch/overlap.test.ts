import { expect, test } from 'vitest';
import { readTorchBytes } from './open.ts';
import { bytes, dict, PROTO2, STOP, tensor } from './pickle-builder.ts';
import { buildZip } from './zip-builder.ts';

/** Which tensors of one storage of twelve floats are said to overlap another one. */
async function overlaps(...tensors: readonly (readonly [string, number, readonly number[], readonly number[]])[]) {
  const items = tensors.map(([name, offset, shape, strides]) => {
    return [name, tensor('FloatStorage', '0', 12, offset, [...shape], [...strides])] as const;
  });
  const file = buildZip([
    { name: 'm/data.pkl', content: bytes(PROTO2, dict(items.map(([name, value]) => [name, value])), STOP) },
    { name: 'm/data/0', content: new Uint8Array(48) },
    { name: 'm/version', content: bytes('3\n') },
  ]);
  const { diagnostics } = await readTorchBytes(file);
  return diagnostics.flatMap(({ code, at, args }) =>
    code === 'PARTIAL_OVERLAP' ? [`${at.tensor} ${args['with']}`] : [],
  );
}

test('tensors that share some of their bytes are named, each once', async () => {
  expect(await overlaps(['a', 0, [6], [1]], ['b', 4, [6], [1]])).toEqual(['b a']);
  expect(await overlaps(['all', 0, [12], [1]], ['a', 0, [4], [1]], ['b', 8, [2, 2], [2, 1]])).toEqual([
    'a all',
    'b all',
  ]);
});

test('pieces side by side, one tensor under two names, and strided views are not', async () => {
  expect(await overlaps(['a', 0, [6], [1]], ['b', 6, [6], [1]])).toEqual([]);
  expect(await overlaps(['a', 0, [3, 4], [4, 1]], ['b', 0, [3, 4], [4, 1]])).toEqual([]);
  expect(await overlaps(['even', 0, [6], [2]], ['odd', 1, [6], [2]])).toEqual([]);
  expect(await overlaps(['a', 0, [0], [1]], ['b', 0, [12], [1]])).toEqual([]);
});
