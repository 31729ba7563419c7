import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { memorySource } from '../../../src/bytes/memory-source.ts';
import { memoryTarget } from '../../../src/bytes/target.ts';
import { decodeBase64, encodeBase64 } from '../../../src/formats/ptjson/base64.ts';
import { elementText } from '../../../src/formats/ptjson/element.ts';
import { ptjsonReader } from '../../../src/formats/ptjson/read.ts';
import { type PtJsonContent, writePtJson } from '../../../src/formats/ptjson/write.ts';
import { bitsOf, DTYPES, type DType } from '../../../src/ir/dtype.ts';
import { BnsumError } from '../../../src/ir/error.ts';
import type { Json } from '../../../src/ir/json.ts';
import type { Model, Tensor } from '../../../src/ir/model.ts';
import type { StateEntry } from '../../../src/ir/state.ts';
import { memorySiblings, probeOf, refusalOf, wholeTensor } from '../../helpers/source.ts';
import { entryOf, stateArbitrary } from '../../helpers/state.ts';

const encode = (text: string): Uint8Array => new TextEncoder().encode(text);
const read = (bytes: Uint8Array | string) =>
  ptjsonReader.read(memorySource(typeof bytes === 'string' ? encode(bytes) : bytes, 'm.pt-json'), memorySiblings(), {});

function tensorsOf(model: Model): ReadonlyMap<string, Tensor> {
  return new Map(model.layers.flatMap((layer) => layer.weights.map(({ tensor }) => [tensor.name, tensor])));
}

const floats = async (tensor: Tensor | undefined): Promise<number[]> =>
  tensor === undefined ? [] : [...new Float32Array((await wholeTensor(tensor)).slice().buffer)];

async function written(entries: readonly StateEntry[], data: 'base64' | 'text', facts: Partial<PtJsonContent> = {}) {
  const target = memoryTarget();
  await writePtJson({ modules: new Map(), metadata: new Map(), source: null, entries, ...facts }, target, { data });
  return target.bytes();
}

/** NaNs lose their payload as text; every other bit stays. */
function sameButNaN(dtype: DType, a: Uint8Array, b: Uint8Array): void {
  const form = elementText(dtype);
  if (form === null) {
    expect(a).toEqual(b);
    return;
  }
  const left = new DataView(a.buffer, a.byteOffset, a.byteLength);
  const right = new DataView(b.buffer, b.byteOffset, b.byteLength);
  for (let at = 0; at < a.byteLength; at += form.leafBytes) {
    const said = form.format(left, at);
    expect(form.format(right, at)).toBe(said);
    if (said === '"NaN"') continue;
    expect(b.subarray(at, at + form.leafBytes)).toEqual(a.subarray(at, at + form.leafBytes));
  }
}

const whole = DTYPES.filter((dtype) => bitsOf(dtype) % 8 === 0);

describe('base64', () => {
  test('is what Node writes, and comes back', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
        const text = encodeBase64(bytes);
        expect(Buffer.from(text).toString('latin1')).toBe(Buffer.from(bytes).toString('base64'));
        const into = new Uint8Array((text.byteLength / 4) * 3);
        const count = decodeBase64(text, into);
        expect(into.subarray(0, count)).toEqual(bytes);
      }),
    );
  });

  test.each(['A', 'AAA', 'A===', '=AAA', 'AA=A', 'AA A', 'AAA"', 'AA\n=', 'éAA='])('%s is refused', (text) => {
    expect(decodeBase64(encode(text), new Uint8Array(16))).toBe(-1);
  });
});

describe('elements as text', () => {
  const text = (dtype: DType, bits: bigint): string => {
    const view = new DataView(new ArrayBuffer(8));
    view.setBigUint64(0, bits, true);
    return elementText(dtype)?.format(view, 0) ?? '';
  };
  test.each<readonly [DType, bigint, string]>([
    ['float32', 0x3dcccccdn, '0.1'],
    ['float32', 0x80000000n, '-0.0'],
    ['float32', 0x7f800000n, '"Infinity"'],
    ['float32', 0xff800000n, '"-Infinity"'],
    ['float32', 0x7fc00001n, '"NaN"'],
    ['float32', 0x00000001n, '1e-45'],
    ['float32', 0x7f7fffffn, '3.4028235e+38'],
    ['float16', 0x2e66n, '0.1'],
    ['float16', 0x7bffn, '65504'],
    ['float16', 0x0001n, '6e-8'],
    ['bfloat16', 0x3dcdn, '0.1'],
    ['bfloat16', 0x4049n, '3.14'],
    ['int64', 0x7fffffffffffffffn, '"9223372036854775807"'],
    ['int64', 0xffffffffffffffffn, '-1'],
    ['uint64', 0xffffffffffffffffn, '"18446744073709551615"'],
    ['uint64', 0x001fffffffffffffn, '9007199254740991'],
    ['bool', 1n, 'true'],
  ])('%s %s is %s', (dtype, bits, expected) => {
    expect(text(dtype, bits)).toBe(expected);
  });

  test('every float16 and bfloat16 comes back', () => {
    for (const dtype of ['float16', 'bfloat16'] as const) {
      const form = elementText(dtype);
      const from = new DataView(new ArrayBuffer(2));
      const to = new DataView(new ArrayBuffer(2));
      for (let bits = 0; bits < 65_536; bits += 1) {
        from.setUint16(0, bits, true);
        const said = form?.format(from, 0) ?? '';
        if (said === '"NaN"') continue;
        if (form?.parse(said, to, 0) !== true || to.getUint16(0, true) !== bits)
          throw new Error(`${dtype} ${bits} ${said}`);
      }
    }
  });

  test('every float32 pattern comes back, in at most nine digits', () => {
    const form = elementText('float32');
    const from = new DataView(new ArrayBuffer(4));
    const to = new DataView(new ArrayBuffer(4));
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 0xffffffff }), (bits) => {
        from.setUint32(0, bits, true);
        const said = form?.format(from, 0) ?? '';
        if (said === '"NaN"') return;
        expect(form?.parse(said, to, 0)).toBe(true);
        expect(to.getUint32(0, true)).toBe(bits);
        if (!said.startsWith('"') && !said.includes('e') && Math.abs(Number(said)) < 1e6) {
          expect(said.replace(/^-?0*\.?0*|[-.]/g, '').length).toBeLessThanOrEqual(9);
        }
      }),
      { numRuns: 5_000 },
    );
  });

  test.each<readonly [DType, string]>([
    ['int8', '128'],
    ['uint8', '-1'],
    ['int32', '1.0'],
    ['int64', '"x"'],
    ['float32', 'true'],
    ['float32', '1.'],
    ['float32', '--1'],
    ['bool', '1'],
  ])('%s does not take %s', (dtype, token) => {
    expect(elementText(dtype)?.parse(token, new DataView(new ArrayBuffer(8)), 0)).toBe(false);
  });
});

describe('writing and reading back', () => {
  const kinds = fc.constantFrom<StateEntry['kind']>('parameter', 'buffer', null);
  test.each(['base64', 'text'] as const)('every state comes back from %s', async (data) => {
    await fc.assert(
      fc.asyncProperty(stateArbitrary(whole), kinds, async (state, kind) => {
        const entries = state.map(({ name, dtype, shape, bytes }) => entryOf(name, dtype, shape, bytes, { kind }));
        const file = await written(entries, data);
        expect(new TextDecoder().decode(file)).not.toContain('\r');
        const { value } = await read(file);
        const tensors = tensorsOf(value);
        expect(tensors.size).toBe(state.length);
        for (const { name, dtype, shape, bytes } of state) {
          const tensor = tensors.get(name) as Tensor;
          expect([tensor.dtype, tensor.shape]).toEqual([dtype, shape]);
          if (data === 'base64') expect(await wholeTensor(tensor)).toEqual(bytes);
          else sameButNaN(dtype, bytes, await wholeTensor(tensor));
        }
      }),
    );
  });

  test('Python and JSON.parse read it too', async () => {
    const state = [entryOf('bn.weight', 'float32', [2], Uint8Array.of(0, 0, 128, 63, 0, 0, 0, 128))];
    const config = new Map<string, Json>([['class_name', 'Sequential']]);
    const facts = {
      modules: new Map([
        [
          'bn',
          {
            type: 'BatchNorm2d',
            attrs: new Map<string, Json>([
              ['eps', 0.001],
              ['momentum', 0.85],
            ]),
          },
        ],
      ]),
      metadata: new Map([['bn', 2]]),
      source: new Map<string, Json>([
        ['framework', 'keras'],
        ['file', 'in.h5'],
        ['model_config', config],
      ]),
    };
    expect(new TextDecoder().decode(await written(state, 'text', facts))).toBe(
      [
        '{',
        '  "format": "pt-json",',
        '  "version": 1,',
        '  "modules": {',
        '    "bn": {"type": "BatchNorm2d", "eps": 0.001, "momentum": 0.85}',
        '  },',
        '  "metadata": {',
        '    "bn": {"version": 2}',
        '  },',
        '  "source": {',
        '    "framework": "keras",',
        '    "file": "in.h5",',
        '    "model_config": {"class_name": "Sequential"}',
        '  },',
        '  "state_dict": {',
        '    "bn.weight": {"dtype": "float32", "shape": [2], "values": [1, -0.0]}',
        '  }',
        '}',
        '',
      ].join('\n'),
    );
    const binary = JSON.parse(new TextDecoder().decode(await written(state, 'base64', facts)));
    expect(binary.state_dict['bn.weight'].data).toBe('AACAPwAAAIA=');
  });

  test('modules, versions and the source survive', async () => {
    const bytes = new Uint8Array(16);
    const keys = ['weight', 'bias', 'running_mean', 'running_var'];
    const file = await written(
      keys.map((key) => entryOf(`bn.${key}`, 'float32', [4], bytes)),
      'base64',
      {
        modules: new Map([
          [
            'bn',
            {
              type: 'BatchNorm1d',
              attrs: new Map<string, Json>([
                ['num_features', 4],
                ['eps', 0.001],
                ['momentum', 0.85],
              ]),
            },
          ],
        ]),
        metadata: new Map([
          ['', 1],
          ['bn', 2],
        ]),
        source: new Map<string, Json>([
          ['framework', 'keras'],
          ['model_config', new Map<string, Json>([['rate', Number.NaN]])],
        ]),
      },
    );
    const { value } = await read(file);
    expect(value.layers.find((layer) => layer.path === 'bn')).toMatchObject({
      type: 'BatchNorm1d',
      kind: 'batch_norm',
    });
    expect(value.layers.find((layer) => layer.path === 'bn')?.attrs.get('momentum')).toBe(0.85);
    expect(value.origin.moduleVersions).toEqual(
      new Map([
        ['', 1],
        ['bn', 2],
      ]),
    );
    expect(value.origin.config).toEqual(new Map([['rate', Number.NaN]]));
    expect(value.origin.extra?.get('bnsum.source')).toContain('"framework":"keras"');
  });

  test('tied tensors are one', async () => {
    const first = entryOf('a.weight', 'float32', [1], Uint8Array.of(0, 0, 128, 63), {
      kind: 'parameter',
      requiresGrad: true,
    });
    const file = await written([first, { ...first, name: 'b.weight', shares: 'a.weight' }], 'base64');
    expect(new TextDecoder().decode(file)).toContain(
      '"b.weight": {"dtype": "float32", "shape": [1], "kind": "parameter", "requires_grad": true, "shares": "a.weight"}',
    );
    const tensors = tensorsOf((await read(file)).value);
    expect(tensors.get('b.weight')?.identity).toBe(tensors.get('a.weight')?.identity);
    expect(await floats(tensors.get('b.weight'))).toEqual([1]);
  });

  test('quantised tensors keep scheme, scales and zero points', async () => {
    const plain = entryOf('q', 'qint8', [2], Uint8Array.of(1, 255));
    const perTensor = {
      ...plain,
      tensor: {
        ...plain.tensor,
        encoding: { kind: 'quantised', scheme: 'per_tensor_affine', scale: 0.1, zeroPoint: 3 },
      },
    } as const;
    const scales = entryOf('s', 'float64', [2], new Uint8Array(Float64Array.of(0.5, 0.1).buffer)).tensor;
    const zeros = entryOf('z', 'int64', [2], new Uint8Array(16)).tensor;
    const perChannel = {
      ...plain,
      name: 'c',
      tensor: {
        ...plain.tensor,
        encoding: { kind: 'quantised', scheme: 'per_channel_affine', scale: scales, zeroPoint: zeros, axis: 0 },
      },
    } as const;
    for (const data of ['base64', 'text'] as const) {
      const tensors = tensorsOf((await read(await written([perTensor, perChannel], data))).value);
      expect(tensors.get('q')?.encoding).toEqual(perTensor.tensor.encoding);
      const encoding = tensors.get('c')?.encoding;
      if (encoding?.kind !== 'quantised' || typeof encoding.scale === 'number') throw new Error('not per channel');
      expect([encoding.axis, [...new Float64Array((await wholeTensor(encoding.scale)).slice().buffer)]]).toEqual([
        0,
        [0.5, 0.1],
      ]);
      expect([...(await wholeTensor(tensors.get('c') as Tensor))]).toEqual([1, 255]);
    }
  });

  test('parts of large tensors are read without the rest, base64 and text', async () => {
    const values = Int32Array.from({ length: 60 * 50 * 7 }, (_, index) => index * 7919);
    for (const data of ['base64', 'text'] as const) {
      const file = await written([entryOf('t', 'int32', [60, 50, 7], new Uint8Array(values.buffer))], data);
      const tensor = tensorsOf((await read(file)).value).get('t') as Tensor;
      await fc.assert(
        fc.asyncProperty(
          fc.nat(59),
          fc.nat(49),
          fc.nat(6),
          fc.nat(60),
          fc.nat(50),
          fc.nat(7),
          async (a, b, c, da, db, dc) => {
            const count = [Math.min(da, 60 - a), Math.min(db, 50 - b), Math.min(dc, 7 - c)] as const;
            const into = new Int32Array(count[0] * count[1] * count[2]);
            await tensor.readInto([a, b, c], count, new Uint8Array(into.buffer));
            let at = 0;
            for (let x = a; x < a + count[0]; x += 1)
              for (let y = b; y < b + count[1]; y += 1)
                for (let z = c; z < c + count[2]; z += 1)
                  if (into[at++] !== values[(x * 50 + y) * 7 + z]) throw new Error(`${x} ${y} ${z}`);
          },
        ),
        { numRuns: 60 },
      );
    }
  });

  test('opening jumps over the data', async () => {
    const file = await written(
      [entryOf('a', 'float32', [2_000_000], new Uint8Array(8_000_000)), entryOf('b', 'uint8', [1], Uint8Array.of(7))],
      'base64',
    );
    const { value } = await read(file);
    expect(value.bytesRead()).toBeLessThan(50_000);
    expect([...(await wholeTensor(tensorsOf(value).get('b') as Tensor))]).toEqual([7]);
  });
});

describe('other orders and other tools', () => {
  test('data before dtype and shape is searched for its end', async () => {
    const { value } = await read(
      '{"state_dict":{"a":{"data":"AACAPw==","shape":[1],"dtype":"float32"}},"version":1,"format":"pt-json"}',
    );
    expect(await floats(tensorsOf(value).get('a'))).toEqual([1]);
  });

  test('a plain object of nested lists', async () => {
    const { value, diagnostics } = await read(
      '{"w": [[1, 2.5], [-0.0, 1e-3]], "b": 3, "bn.num_batches_tracked": 7, "e": [], "n": [NaN, "Infinity"]}',
    );
    const tensors = tensorsOf(value);
    expect(tensors.get('w')?.shape).toEqual([2, 2]);
    expect(await floats(tensors.get('w'))).toEqual([1, 2.5, -0, Math.fround(1e-3)]);
    expect(tensors.get('b')?.shape).toEqual([]);
    expect([tensors.get('bn.num_batches_tracked')?.dtype, tensors.get('bn.num_batches_tracked')?.shape]).toEqual([
      'int64',
      [],
    ]);
    expect(tensors.get('e')?.shape).toEqual([0]);
    expect(await floats(tensors.get('n'))).toEqual([Number.NaN, Number.POSITIVE_INFINITY]);
    expect(diagnostics.some(({ code }) => code === 'ASSUMED')).toBe(true);
  });

  test('model_data beside a state_dict', async () => {
    const { value } = await read('{"model_data": {"hidden_size": 20}, "state_dict": {"rec.bias_ih_l0": [0.5, 1]}}');
    expect(value.origin.extra?.get('model_data')).toBe('{"hidden_size":20}');
    expect(await floats(tensorsOf(value).get('rec.bias_ih_l0'))).toEqual([0.5, 1]);
  });

  const samples = process.env['BNSUM_SAMPLES'];
  test.skipIf(samples === undefined)('a real one: RTNeural’s BatchNorm', async () => {
    const bytes = readFileSync(join(samples ?? '', 'pt-json-prior', 'jatinchowdhury18__RTNeural__bn.json'));
    const text = bytes.toString('utf8');
    const { value } = await read(new Uint8Array(bytes));
    const tensors = tensorsOf(value);
    const plain: Record<string, number[] | number> = JSON.parse(text);
    expect([...tensors.keys()].toSorted()).toEqual(Object.keys(plain).toSorted());
    for (const [name, tensor] of tensors) {
      if (tensor.dtype !== 'float32') continue;
      expect(await floats(tensor)).toEqual([plain[name]].flat(9).map((one) => Math.fround(one as number)));
    }
  });
});

describe('refusals', () => {
  const own = (state: string, rest = ''): string => `{"format":"pt-json","version":1${rest},"state_dict":{${state}}}`;
  test.each([
    ['a newer version', '{"format":"pt-json","version":2,"state_dict":{}}', 'UNSUPPORTED', /version 2/],
    ['no version', '{"format":"pt-json","state_dict":{}}', 'UNSUPPORTED', /without a version/],
    ['no state_dict', '{"format":"pt-json","version":1}', 'MALFORMED', /no state_dict/],
    [
      'a name twice',
      own('"a":{"dtype":"uint8","shape":[],"data":"AA=="},"a":{"dtype":"uint8","shape":[],"data":"AA=="}'),
      'MALFORMED',
      /duplicate key 'a'/,
    ],
    [
      'a field twice',
      own('"a":{"dtype":"uint8","dtype":"int8","shape":[],"data":"AA=="}'),
      'MALFORMED',
      /duplicate key 'dtype'/,
    ],
    ['a section twice', own('', ',"modules":{},"modules":{}'), 'MALFORMED', /duplicate key 'modules'/],
    [
      'a key twice in modules',
      own('', ',"modules":{"a":{"type":"X","type":"Y"}}'),
      'MALFORMED',
      /duplicate key 'type'/,
    ],
    ['an unknown dtype', own('"a":{"dtype":"float31","shape":[],"data":"AA=="}'), 'UNSUPPORTED', /float31/],
    ['an unknown field', own('"a":{"dtype":"uint8","shape":[],"scale":2,"data":"AA=="}'), 'UNSUPPORTED', /'scale'/],
    ['no data', own('"a":{"dtype":"uint8","shape":[]}'), 'MALFORMED', /no data/],
    ['data and values', own('"a":{"dtype":"uint8","shape":[],"data":"AA==","values":1}'), 'MALFORMED', /twice/],
    [
      'short data',
      own('"a":{"dtype":"float32","shape":[4],"data":"AA=="},"b":{"dtype":"uint8","shape":[],"data":"AA=="}'),
      'MALFORMED',
      /24 base64 characters/,
    ],
    ['long data', own('"a":{"dtype":"uint8","shape":[1],"data":"AAAAAAAA"}'), 'MALFORMED', /4 base64 characters/],
    [
      'data beyond the file',
      own('"a":{"dtype":"float64","shape":[1000000],"data":"AA=="}'),
      'TRUNCATED',
      /file ends before/,
    ],
    [
      'a shape beyond every file',
      own('"a":{"dtype":"float64","shape":[9007199254740991,9],"data":""}'),
      'LIMIT',
      /2\^53/,
    ],
    ['a negative axis', own('"a":{"dtype":"uint8","shape":[-1],"data":""}'), 'MALFORMED', /no size/],
    ['ragged lists', own('"a":{"dtype":"float32","shape":[2,2],"values":[[1,2],[3]]}'), 'MALFORMED', /side by side/],
    ['numbers beside lists', own('"a":{"dtype":"float32","shape":[2],"values":[1,[2]]}'), 'MALFORMED', /side by side/],
    ['values of another shape', own('"a":{"dtype":"float32","shape":[3],"values":[1,2]}'), 'MALFORMED', /not \[3\]/],
    [
      'values of a type without text',
      own('"a":{"dtype":"float8_e5m2","shape":[1],"values":[1]}'),
      'UNSUPPORTED',
      /only data/,
    ],
    ['lists without end', own(`"a":{"dtype":"float32","shape":[1],"values":${'['.repeat(2000)}`), 'LIMIT', /deeper/],
    ['shares nothing', own('"a":{"dtype":"uint8","shape":[],"shares":"b"}'), 'MALFORMED', /not there/],
    [
      'shares in a circle',
      own('"a":{"dtype":"uint8","shape":[],"shares":"b"},"b":{"dtype":"uint8","shape":[],"shares":"a"}'),
      'MALFORMED',
      /circle/,
    ],
    [
      'shares another shape',
      own('"a":{"dtype":"uint8","shape":[1],"shares":"b"},"b":{"dtype":"uint8","shape":[],"data":"AA=="}'),
      'MALFORMED',
      /another type or shape/,
    ],
    ['a module without a type', own('', ',"modules":{"a":{}}'), 'MALFORMED', /needs a type/],
    ['text behind', `${own('')} x`, 'MALFORMED', /follows/],
    ['a byte order mark', `\ufeff${own('')}`, 'MALFORMED', /byte order mark/],
    ['a comma too many', own('"a":{"dtype":"uint8","shape":[],"data":"AA=="},'), 'MALFORMED', /quoted/],
    ['other JSON', '{"name": "x", "w": [1]}', 'NOT_A_MODEL', /'name'/],
    ['an empty object', '{}', 'NOT_A_MODEL', /without a tensor/],
    ['text in lists', '{"layers": [1, "dense"]}', 'MALFORMED', /no value of this type/],
  ])('%s', async (_, text, code, reason) => {
    const run = async (): Promise<void> => {
      const { value } = await read(text);
      for (const tensor of tensorsOf(value).values()) await wholeTensor(tensor);
    };
    const error = await refusalOf(run());
    expect([error.code, error.file]).toEqual([code, 'm.pt-json']);
    expect(error.reason).toMatch(reason);
  });

  test('characters that are not base64 are found when the tensor is read', async () => {
    for (const data of ['AA!AAA==', 'AAAA====', 'AAAA=AA=', 'AAAAAAA=']) {
      const { value } = await read(own(`"a":{"dtype":"float32","shape":[1],"data":"${data}"}`));
      const error = await refusalOf(wholeTensor(tensorsOf(value).get('a') as Tensor));
      expect(error.message).toContain('data is not base64');
    }
  });

  test('is recognised by content', async () => {
    const match = (text: string, name = 'x.json') =>
      ptjsonReader.match(probeOf(encode(text), name), memorySource(encode(text), name));
    expect(await match('{ "format": "pt-json"')).toBe('yes');
    expect(await match('{"w": [[1.0')).toBe('maybe');
    expect(await match('{"model_data": {}, "state_dict": {"a": [1]}}')).toBe('maybe');
    expect(await match('{"class_name": "Sequential", "config": []}')).toBe('no');
    expect(await match('{"layers": [{"type": "dense"}]}')).toBe('no');
    expect(await match('PK')).toBe('no');
  });
});

test('damaged files are refused or read, and never anything else', async () => {
  const entries = [
    entryOf('a.weight', 'float32', [2, 2], new Uint8Array(16), { kind: 'parameter', requiresGrad: true }),
    entryOf('a.bias', 'float16', [2], new Uint8Array(4)),
    entryOf('n', 'int64', [], new Uint8Array(8), { kind: 'buffer' }),
  ];
  const facts = {
    modules: new Map([['a', { type: 'Linear', attrs: new Map<string, Json>([['in_features', 2]]) }]]),
    metadata: new Map([['a', 1]]),
  };
  for (const data of ['base64', 'text'] as const) {
    const good = await written(entries, data, facts);
    const attempt = async (bytes: Uint8Array): Promise<void> => {
      try {
        const { value } = await read(bytes);
        for (const tensor of tensorsOf(value).values()) await wholeTensor(tensor);
      } catch (error) {
        if (!(error instanceof BnsumError)) throw error;
        expect(error.code).not.toBe('INTERNAL');
      }
    };
    // The final newline may go.
    for (let length = 0; length < good.length - 1; length += 1) await refusalOf(read(good.subarray(0, length)));
    for (let at = 0; at < good.length; at += 1) {
      for (const flip of [0x01, 0x04, 0x20, 0x80]) {
        const bad = good.slice();
        bad[at] = (bad[at] ?? 0) ^ flip;
        await attempt(bad);
      }
    }
  }
});
