import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { memorySource } from '../../../src/bytes/memory-source.ts';
import type { Siblings } from '../../../src/bytes/source.ts';
import { torchReader } from '../../../src/formats/torch/index.ts';
import { BnsumError } from '../../../src/ir/error.ts';
import { bytesOf, NO_SIBLINGS, readTorch, readTorchBytes } from './open.ts';
import { bytes, dict, global, int, type Part, PROTO2, STOP, tensor, text, u32, u64 } from './pickle-builder.ts';
import { buildZip, type Member } from './zip-builder.ts';

/** 0, 1, 2 … as float32, little-endian. */
function floats(count: number): Uint8Array {
  return new Uint8Array(Float32Array.from({ length: count }, (_, index) => index).buffer);
}

function checkpoint(pickle: Uint8Array, members: readonly Member[]): Uint8Array {
  return buildZip([{ name: 'm/data.pkl', content: pickle }, ...members, { name: 'm/version', content: bytes('3\n') }]);
}

function one(value: Uint8Array, storage: Uint8Array = floats(6), more: readonly Member[] = []): Uint8Array {
  return checkpoint(bytes(PROTO2, dict([['w', value]]), STOP), [{ name: 'm/data/0', content: storage }, ...more]);
}

async function valuesOf(file: Uint8Array): Promise<readonly number[]> {
  const { value } = await readTorchBytes(file);
  const found = value.layers[0]?.weights[0]?.tensor;
  if (found === undefined) throw new Error('no tensor');
  return [...new Float32Array((await bytesOf(found)).buffer)];
}

const PLAIN = tensor('FloatStorage', '0', 6, 0, [2, 3], [3, 1]);

describe('torch zip', () => {
  test('views are gathered in C order', async () => {
    expect(await valuesOf(one(PLAIN))).toEqual([0, 1, 2, 3, 4, 5]);
    expect(await valuesOf(one(tensor('FloatStorage', '0', 6, 0, [3, 2], [1, 3])))).toEqual([0, 3, 1, 4, 2, 5]);
    expect(await valuesOf(one(tensor('FloatStorage', '0', 6, 1, [2], [3])))).toEqual([1, 4]);
    expect(await valuesOf(one(tensor('FloatStorage', '0', 6, 2, [2, 3], [0, 1])))).toEqual([2, 3, 4, 2, 3, 4]);
    expect(await valuesOf(one(tensor('FloatStorage', '0', 6, 5, [], [])))).toEqual([5]);
    expect(await valuesOf(one(tensor('FloatStorage', '0', 6, 0, [0, 3], [3, 1])))).toEqual([]);
  });
  test('a hyperslab of a transposed view', async () => {
    const { value } = await readTorchBytes(one(tensor('FloatStorage', '0', 6, 0, [3, 2], [1, 3])));
    const into = new Uint8Array(8);
    await value.layers[0]?.weights[0]?.tensor.readInto([1, 0], [1, 2], into);
    expect([...new Float32Array(into.buffer)]).toEqual([1, 4]);
  });
  test('T07 big-endian storages are turned', async () => {
    const swapped = floats(6);
    for (let at = 0; at < swapped.length; at += 4) swapped.subarray(at, at + 4).reverse();
    const big = { name: 'm/byteorder', content: bytes('big') };
    expect(await valuesOf(one(PLAIN, swapped, [big]))).toEqual([0, 1, 2, 3, 4, 5]);
    const odd = { name: 'm/byteorder', content: bytes('xyz') };
    await expect(readTorchBytes(one(PLAIN, floats(6), [odd]))).rejects.toMatchObject({ code: 'MALFORMED' });
  });
  test('T05 a scalar expanded to 10^12 elements is shown, not stored', async () => {
    const million = 1_000_000;
    const { value } = await readTorchBytes(
      one(tensor('FloatStorage', '0', 1, 0, [million, million], [0, 0]), floats(1)),
    );
    expect(value.layers[0]?.weights[0]?.tensor.shape).toEqual([million, million]);
  });
  const REFUSED: readonly (readonly [string, Uint8Array])[] = [
    ['T02 a record that is absent', checkpoint(bytes(PROTO2, dict([['w', PLAIN]]), STOP), [])],
    ['T02 a record that is too short', one(PLAIN, floats(5))],
    ['T02 a record that is too long', one(PLAIN, floats(7))],
    ['T04 a view beyond its storage', one(tensor('FloatStorage', '0', 6, 1, [2, 3], [3, 1]))],
    ['T04 a stride beyond its storage', one(tensor('FloatStorage', '0', 6, 0, [2, 3], [1_000_000_000, 1]))],
    ['T04 a negative stride', one(tensor('FloatStorage', '0', 6, 5, [6], [-1]))],
    ['T04 more sizes than strides', one(tensor('FloatStorage', '0', 6, 0, [2, 3], [3]))],
    ['T06 a class that is no storage', one(tensor('FakeStorage', '0', 6, 0, [2, 3], [3, 1]))],
    ['T03 a negative number of elements', one(tensor('FloatStorage', '0', -6, 0, [2, 3], [3, 1]))],
    ['P12 an id that names no storage', one(bytes(text('x'), 'Q'))],
    [
      'P15 bytes after the pickle',
      checkpoint(bytes(PROTO2, dict([['w', PLAIN]]), STOP, 'more'), [{ name: 'm/data/0', content: floats(6) }]),
    ],
    [
      'a version from the future',
      buildZip([
        { name: 'm/data.pkl', content: bytes(PROTO2, '}', STOP) },
        { name: 'm/version', content: bytes('11\n') },
      ]),
    ],
    [
      'T01 data.pkl in another folder',
      buildZip([
        { name: 'a/x', content: bytes('x') },
        { name: 'm/data.pkl', content: bytes('N.') },
      ]),
    ],
  ];
  test.each(REFUSED)('%s', async (_name, file) => {
    await expect(readTorchBytes(file)).rejects.toBeInstanceOf(BnsumError);
  });
  test('T03 counts of 2^60, of floats and of text', async () => {
    for (const count of [bytes(0x8a, 8, u64(1n << 60n)), bytes('F6.0\n'), text('6')]) {
      const id = bytes('(', text('storage'), global('torch', 'FloatStorage'), text('0'), text('cpu'), count, 'tQ');
      const value = bytes(global('torch._utils', '_rebuild_tensor'), '(', id, int(0), '(K', 6, 't(K', 1, 'ttR');
      await expect(readTorchBytes(one(value))).rejects.toMatchObject({ code: 'MALFORMED' });
    }
  });
  test('P33 keys that are no text, or names of JavaScript', async () => {
    const entries: Part[] = [text('__proto__'), PLAIN, int(3), PLAIN, text('3'), PLAIN];
    const { value } = await readTorchBytes(
      checkpoint(bytes(PROTO2, '}(', ...entries, 'u', STOP), [{ name: 'm/data/0', content: floats(6) }]),
    );
    expect(value.layers.flatMap((layer) => layer.weights.map((weight) => weight.role))).toEqual([
      '__proto__',
      '<3>',
      '3',
    ]);
  });
  test('shared storages: equal views are one tensor, others share storage alone', async () => {
    const half = tensor('FloatStorage', '0', 6, 0, [3], [1]);
    const entries = dict([
      ['a.weight', PLAIN],
      ['b.weight', PLAIN],
      ['c.weight', half],
    ]);
    const { value } = await readTorchBytes(
      checkpoint(bytes(PROTO2, entries, STOP), [{ name: 'm/data/0', content: floats(6) }]),
    );
    const [a, b, c] = value.layers.flatMap((layer) => layer.weights.map((weight) => weight.tensor));
    expect(a?.identity).toBe(b?.identity);
    expect(c?.identity).not.toBe(a?.identity);
    expect(c?.storage).toBe(a?.storage);
  });
});

describe('legacy tar', () => {
  function octal(value: number, width: number): string {
    return `${value.toString(8).padStart(width - 1, '0')}\0`;
  }
  function tarMember(name: string, content: Uint8Array): Uint8Array {
    const header = new Uint8Array(512);
    header.set(bytes(name), 0);
    header.set(bytes(octal(content.length, 12)), 124);
    header[156] = 0x30;
    const sum = header.reduce((total, byte) => total + byte, 8 * 32);
    header.set(bytes(octal(sum, 7), ' '), 148);
    return bytes(header, content, new Uint8Array((512 - (content.length % 512)) % 512));
  }
  function tar(pickle: Uint8Array): Uint8Array {
    const name = bytes('(', int(1), text('cpu'), global('torch', 'FloatStorage'), 't');
    const storages = bytes(PROTO2, int(1), STOP, PROTO2, name, STOP, u64(6n), floats(6), PROTO2, ']', STOP);
    const described = bytes(
      ...[PROTO2, int(1), STOP, PROTO2, '(', int(7), int(1), global('torch', 'FloatTensor'), 't', STOP],
      ...[u32(2), u32(0), u64(3n), u64(2n), u64(1n), u64(3n), u64(0n)],
    );
    return bytes(
      tarMember('sys_info', bytes(PROTO2, '}', STOP)),
      tarMember('pickle', pickle),
      tarMember('tensors', described),
      tarMember('storages', storages),
      new Uint8Array(1024),
    );
  }
  test('tensors by their numbers', async () => {
    const file = tar(bytes(PROTO2, dict([['w', bytes(int(7), 'Q')]]), STOP));
    const { value } = await readTorchBytes(file);
    expect(value.format).toBe('torch-tar');
    expect(await valuesOf(file)).toEqual([0, 3, 1, 4, 2, 5]);
  });
  test('T11 a call in it is a record', async () => {
    const file = tar(bytes(PROTO2, 'cos\nsystem\n', text('ls'), 0x85, 'R0', dict([['w', bytes(int(7), 'Q')]]), STOP));
    const { diagnostics } = await readTorchBytes(file);
    expect(diagnostics.find((entry) => entry.code === 'CODE_PRESENT')?.args['first']).toEqual(['os.system']);
  });
  test('cut anywhere, it is refused', async () => {
    const file = tar(bytes(PROTO2, dict([['w', bytes(int(7), 'Q')]]), STOP));
    for (let length = 512; length < file.length - 1024 - 512; length += 37) {
      const source = memorySource(file.subarray(0, length), 'cut.tar');
      await expect(torchReader.read(source, NO_SIBLINGS, {})).rejects.toBeInstanceOf(BnsumError);
    }
  });
});

describe('shards', () => {
  const shards = new Map([
    ['a.bin', one(PLAIN)],
    ['b.bin', checkpoint(bytes(PROTO2, dict([['v', PLAIN]]), STOP), [{ name: 'm/data/0', content: floats(6) }])],
  ]);
  const siblings: Siblings = {
    async open(name) {
      const found = shards.get(name);
      if (found === undefined) throw new BnsumError({ code: 'NOT_FOUND', file: name, reason: 'no such file' });
      return memorySource(found, name);
    },
  };
  const index = (map: Readonly<Record<string, string>>) =>
    memorySource(new TextEncoder().encode(JSON.stringify({ metadata: {}, weight_map: map })), 'x.bin.index.json');
  test('names in the order of the index, storages kept apart', async () => {
    const { value } = await readTorch(index({ v: 'b.bin', w: 'a.bin' }), siblings);
    const tensors = value.layers.flatMap((layer) => layer.weights.map((weight) => weight.tensor));
    expect(tensors.map((entry) => entry.name)).toEqual(['v', 'w']);
    expect(tensors[0]?.storage).not.toBe(tensors[1]?.storage);
  });
  test('S16 only plain names', async () => {
    for (const name of ['../a.bin', '/etc/a.bin', 'https://host/a.bin', 'd\\a.bin']) {
      await expect(readTorch(index({ w: name }), siblings)).rejects.toMatchObject({ code: 'UNSAFE' });
    }
    await expect(readTorch(index({ w: 'b.bin' }), siblings)).rejects.toMatchObject({ code: 'MISMATCH' });
    await expect(readTorch(index({ w: 'c.bin' }), siblings)).rejects.toMatchObject({ code: 'NOT_FOUND' });
  });
});

test('a bare pickle is named for what it is', async () => {
  const pickle = bytes(PROTO2, global('torch.storage', '_load_from_bytes'), ')R.');
  await expect(readTorchBytes(pickle)).rejects.toThrow(/pickled without torch\.save/);
  await expect(readTorchBytes(bytes(PROTO2, global('numpy', 'ndarray'), '.'))).rejects.toThrow(/NumPy/);
  const metadata = bytes(PROTO2, global('torch.distributed.checkpoint.metadata', 'Metadata'), ')R.');
  await expect(readTorchBytes(metadata)).rejects.toThrow(/a distributed checkpoint: merge it .* dcp_to_torch/);
});

test('a shard of a distributed checkpoint is named for what it is', async () => {
  await expect(readTorch(memorySource(one(PLAIN), 'dcp/__0_0.distcp'))).rejects.toThrow(
    /one shard of a distributed checkpoint, which is a folder; merge it .* dcp_to_torch FOLDER model\.pt \[UNSUPPORTED\]/,
  );
});

describe('damage', () => {
  const root = fileURLToPath(new URL('../../../fixtures/good/torch/', import.meta.url));
  const files = [
    'containers/state-dict-zip.pt',
    'containers/state-dict-legacy.pt',
    'containers/script.pt',
    'containers/export-eval.pt2',
    'containers/module-sequential-zip.pt',
  ];
  async function judge(file: Uint8Array): Promise<void> {
    try {
      const source = memorySource(file, 'damaged.pt');
      const { value } = await torchReader.read(source, NO_SIBLINGS, {});
      for (const layer of value.layers) for (const { tensor } of layer.weights) await bytesOf(tensor);
    } catch (error) {
      if (!(error instanceof BnsumError) || error.code === 'INTERNAL') throw error;
    }
  }
  test.each(files)('%s cut and with bytes changed: only our own errors', async (name) => {
    const good = new Uint8Array(readFileSync(root + name));
    const step = Math.max(1, Math.floor(good.length / 400));
    for (let length = 0; length < good.length; length += step) await judge(good.subarray(0, length));
    for (let at = 0; at < good.length; at += step) {
      const bad = good.slice();
      bad[at] = (bad[at] ?? 0) ^ (1 << (at % 8));
      await judge(bad);
    }
  });
});
