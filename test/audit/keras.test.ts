import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { beforeAll, describe, expect, test } from 'vitest';
import type { AuditRule, Verdict } from '../../src/audit/finding.ts';
import type { WorkerHost } from '../../src/bytes/worker.ts';
import { buildWorkers } from '../formats/keras/workers.ts';
import { bytes, global, PROTO2, STOP, text, u64 } from '../formats/torch/pickle-builder.ts';
import { zipBytes } from '../helpers/zip-bytes.ts';
import { auditBytes, namesOf, rulesOf } from './audit-bytes.ts';

const encode = (value: string): Uint8Array => new TextEncoder().encode(value);
const BAD = bytes(PROTO2, global('os', 'system'), text('id'), 0x85, 'R', STOP);

/** A .keras archive around a config; its weights are left out, which is the reader's affair. */
const archive = (config: unknown): Uint8Array =>
  zipBytes([
    { name: 'metadata.json', data: encode('{"keras_version": "3.15.1"}') },
    { name: 'config.json', data: encode(typeof config === 'string' ? config : JSON.stringify(config)) },
  ]);
const layer = (
  class_name: string,
  config: unknown = {},
  module: string | null = 'keras.layers',
  more: object = {},
) => ({
  module,
  class_name,
  config,
  registered_name: null,
  ...more,
});
const model = (...layers: readonly unknown[]): object =>
  layer('Sequential', { name: 'm', layers: [layer('InputLayer'), ...layers, layer('Dense', { units: 1 })] }, 'keras');

/** Marshalled code as Python 2.7 and Python 3 begin it, in base64. */
const CODE3 = Buffer.concat([Buffer.from([0xe3, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]), Buffer.alloc(40)]).toString('base64');
const CODE2 = Buffer.concat([Buffer.from([0x63, 1, 0, 0, 0, 1, 0, 0, 0]), Buffer.alloc(40)]).toString('base64');

type Row = readonly [
  id: string,
  config: unknown,
  verdict: Verdict,
  rules: readonly AuditRule[],
  names?: readonly string[],
];

const ROWS: readonly Row[] = [
  [
    'a plain model',
    model(layer('Conv2D', { kernel_initializer: layer('GlorotUniform', { seed: null }, 'keras.initializers') })),
    'safe',
    [],
  ],
  ['a nested model', model(model(layer('LSTM'))), 'safe', []],
  [
    'a model of Keras 1',
    { class_name: 'Sequential', config: [{ class_name: 'Convolution2D', config: { nb_filter: 3 } }] },
    'safe',
    [],
  ],
  ['an operation of Keras 3', model(layer('Add', {}, 'keras.src.ops.numpy')), 'safe', []],
  ['K02 module os', model(layer('system', 'id', 'os')), 'dangerous', ['DANGEROUS_OBJECT'], ['os.system']],
  ['K02 module subprocess', model(layer('Popen', {}, 'subprocess')), 'dangerous', ['DANGEROUS_OBJECT']],
  ['K02 module builtins', model(layer('eval', {}, 'builtins')), 'dangerous', ['DANGEROUS_OBJECT']],
  [
    'K02 a function of builtins',
    model(layer('function', 'exec', 'builtins')),
    'dangerous',
    ['DANGEROUS_OBJECT'],
    ['builtins.exec'],
  ],
  ['K02 a function of os', model(layer('function', 'system', 'os')), 'dangerous', ['DANGEROUS_OBJECT']],
  [
    'K02 a function of the program',
    model(layer('Activation', { activation: layer('function', 'my_relu', 'builtins') })),
    'suspicious',
    ['CUSTOM_OBJECT'],
  ],
  [
    'K02 a function of Keras',
    model(layer('Activation', { activation: layer('function', 'relu', 'builtins') })),
    'safe',
    [],
  ],
  [
    'K02 __lambda__ as a closure',
    model(layer('Activation', { activation: { class_name: '__lambda__', config: { code: CODE3 } } })),
    'dangerous',
    ['LAMBDA', 'MARSHALLED_CODE'],
  ],
  [
    'K02 marshalled code of Python 2 anywhere',
    model(layer('Dense', { note: [CODE2, null, null] })),
    'dangerous',
    ['MARSHALLED_CODE'],
  ],
  [
    'K03 enable_unsafe_deserialization',
    model(layer('enable_unsafe_deserialization', {}, 'keras.config')),
    'dangerous',
    ['DANGEROUS_OBJECT'],
  ],
  [
    'K03 the same as a function',
    model(layer('function', 'enable_unsafe_deserialization', 'keras.config')),
    'dangerous',
    ['DANGEROUS_OBJECT'],
  ],
  ['K03 get_file', model(layer('function', 'get_file', 'keras.utils')), 'dangerous', ['DANGEROUS_OBJECT']],
  [
    'K03 get_file as a class',
    model(layer('get_file', { origin: 'https://example.invalid' }, 'keras.utils')),
    'dangerous',
    ['DANGEROUS_OBJECT'],
  ],
  ['K03 a class of the machinery', model(layer('Progbar', {}, 'keras.utils')), 'dangerous', ['DANGEROUS_OBJECT']],
  [
    'K03 a function of a layer module',
    model(layer('deserialize', {}, 'keras.layers')),
    'dangerous',
    ['DANGEROUS_OBJECT'],
  ],
  ['a layer of a newer Keras', model(layer('HyperDense', {}, 'keras.layers')), 'suspicious', ['CUSTOM_OBJECT']],
  ['K04 TFSMLayer', model(layer('TFSMLayer', { filepath: '/tmp/x' })), 'dangerous', ['FOREIGN_LAYER']],
  [
    'K04 TorchModuleWrapper',
    model(layer('TorchModuleWrapper', { module: Buffer.from(BAD).toString('base64') })),
    'dangerous',
    ['FOREIGN_LAYER', 'NESTED_PICKLE'],
  ],
  [
    'K04 TorchModuleWrapper around a torch archive',
    model(
      layer('TorchModuleWrapper', {
        module: Buffer.from(zipBytes([{ name: 'a/data.pkl', data: BAD }])).toString('base64'),
      }),
    ),
    'dangerous',
    ['FOREIGN_LAYER', 'EMBEDDED_PICKLE'],
  ],
  [
    'K04 a pickle in base64 elsewhere',
    model(layer('Dense', { note: Buffer.from(BAD).toString('base64') })),
    'suspicious',
    ['NESTED_PICKLE'],
  ],
  [
    'K04 registered under another package',
    model(layer('Mine', {}, null, { registered_name: 'mine>Mine' })),
    'suspicious',
    ['CUSTOM_OBJECT'],
  ],
  [
    'K04 a class of another package',
    model(layer('Mine', {}, 'mine.layers')),
    'suspicious',
    ['CUSTOM_OBJECT'],
    ['mine.layers.Mine'],
  ],
  ["K04 tf.keras' own registration", { class_name: 'Custom>Adam', config: {} }, 'safe', []],
  ...['StringLookup', 'IntegerLookup', 'TextVectorization'].flatMap((name): Row[] => [
    [`K05 ${name} with a path`, model(layer(name, { vocabulary: '/etc/passwd' })), 'dangerous', ['EXTERNAL_PATH']],
    [
      `K05 ${name} with an address`,
      model(layer(name, { vocabulary: 'https://example.invalid/v' })),
      'dangerous',
      ['EXTERNAL_PATH'],
    ],
    [`K05 ${name} with a list`, model(layer(name, { vocabulary: ['a', 'b'] })), 'safe', []],
    [`K05 ${name} without one`, model(layer(name, { vocabulary: null })), 'safe', []],
  ]),
  [
    'K06 a key twice',
    '{"class_name": "Dense", "class_name": "Lambda", "config": {}}',
    'dangerous',
    ['LAMBDA', 'UNREADABLE'],
  ],
  [
    'K06 a key twice, both harmless',
    '{"class_name": "Dense", "class_name": "Dense", "config": {}}',
    'suspicious',
    ['UNREADABLE'],
  ],
  [
    'K07 __proto__',
    '{"class_name": "Sequential", "config": {"__proto__": {"polluted": 1}, "constructor": 1}}',
    'safe',
    [],
  ],
  ['K08 depth', `{"a": ${'['.repeat(100_000)}${']'.repeat(100_000)}}`, 'suspicious', ['LIMIT']],
  ['K08 a comment', '{"a": 1 /* b */}', 'suspicious', ['UNREADABLE']],
  ['K08 NaN', '{"class_name": "Sequential", "config": {"rate": NaN}}', 'safe', []],
  [
    'H16 Lambda at the top',
    model(layer('Lambda', { function: [CODE3, null, null], function_type: 'lambda' })),
    'dangerous',
    ['LAMBDA', 'MARSHALLED_CODE'],
  ],
  ['H16 Lambda in a nested model', model(model(model(layer('Lambda')))), 'dangerous', ['LAMBDA']],
  ['H16 Lambda in a wrapper', model(layer('TimeDistributed', { layer: layer('Lambda') })), 'dangerous', ['LAMBDA']],
  [
    'H16 a layer that is a Lambda by its config',
    model(layer('Dense', { function_type: 'lambda', function: [CODE3] })),
    'dangerous',
    ['LAMBDA'],
  ],
  ['an operation of TensorFlow', model({ class_name: 'TFOpLambda', config: { function: 'math.add' } }), 'safe', []],
  [
    'an operation that writes',
    model({ class_name: 'TFOpLambda', config: { function: 'io.write_file' } }),
    'dangerous',
    ['GRAPH_OPERATION'],
  ],
  [
    'an operation that is not known',
    model({ class_name: 'TFOpLambda', config: { function: 'mine.add' } }),
    'suspicious',
    ['GRAPH_OPERATION'],
  ],
  [
    'a graph node',
    model({ class_name: 'TensorFlowOpLayer', config: { node_def: 'name: "a" op: "AddV2"' } }),
    'safe',
    [],
  ],
  [
    'a graph node that reads',
    model({ class_name: 'TensorFlowOpLayer', config: { node_def: 'name: "a" op: "ReadFile"' } }),
    'dangerous',
    ['GRAPH_OPERATION'],
  ],
];

describe('Keras configs', () => {
  const rows = ROWS.map(([id, config, verdict, rules, names = []]) => ({ id, config, verdict, rules, names }));
  test.each(rows)('$id', async ({ config, verdict, rules, names }) => {
    const audit = await auditBytes(archive(config), 'x.keras');
    expect(audit.verdict, JSON.stringify(audit.findings)).toBe(verdict);
    for (const rule of rules) expect(rulesOf(audit)).toContain(rule);
    for (const name of names) expect(namesOf(audit)).toContain(name);
    expect('polluted' in {}).toBe(false);
  });

  test('a config on its own, as to_json() writes it', async () => {
    const audit = await auditBytes(encode(JSON.stringify(model(layer('Lambda')))), 'config.json');
    expect(audit).toMatchObject({ verdict: 'dangerous', kind: 'Keras config' });
    expect(audit.findings[0]?.detail).toBe('/config/layers/1');
  });

  test('weights in .npz inside of .keras are judged', async () => {
    const header = encode("{'descr': '|O', 'fortran_order': False, 'shape': (), }\n");
    const npy = Buffer.concat([Buffer.from('\x93NUMPY\x01\0', 'latin1'), Buffer.from([header.length, 0]), header, BAD]);
    const npz = zipBytes([{ name: 'layers/dense.npy', data: new Uint8Array(npy) }]);
    const file = zipBytes([
      { name: 'config.json', data: encode('{}') },
      { name: 'model.weights.npz', data: npz },
    ]);
    const audit = await auditBytes(file, 'x.keras');
    expect(audit.findings[0]).toMatchObject({ name: 'system', member: 'model.weights.npz!layers/dense.npy' });
  });

  test('K13: a regular expression meets long names in linear time', async () => {
    const long = `${'a'.repeat(1_000_000)}!`;
    const start = performance.now();
    await auditBytes(archive(model(layer(long, {}, long))), 'x.keras');
    // Wide: a quadratic one would take hours.
    expect(performance.now() - start).toBeLessThan(20_000);
  });
});

describe('HDF5', () => {
  const root = join(dirname(dirname(dirname(fileURLToPath(import.meta.url)))), 'fixtures');
  let workers: WorkerHost;
  beforeAll(async () => {
    workers = await buildWorkers();
  });

  test.each<readonly [string, string, Verdict, readonly AuditRule[]]>([
    ['a model', 'good/bn-both-off.h5', 'safe', []],
    ['H01 a user block', 'good/constructed-user-block.h5', 'suspicious', ['USER_BLOCK']],
    ['H02 cut', 'bad/truncated.h5', 'suspicious', ['UNREADABLE']],
    ['H03 a superblock of version 9', 'bad/superblock-9.h5', 'suspicious', ['UNREADABLE']],
    ['H04 an external link', 'bad/external-link.h5', 'dangerous', ['EXTERNAL_LINK']],
    ['H04 an external link in place of a group', 'bad/external-link-group.h5', 'dangerous', ['EXTERNAL_LINK']],
    ['H04 a soft link', 'bad/soft-link.h5', 'suspicious', ['SOFT_LINK']],
    ['H04 a soft link to itself', 'bad/soft-link-loop.h5', 'suspicious', ['SOFT_LINK']],
    ['H05 external storage', 'bad/external-storage.h5', 'dangerous', ['EXTERNAL_STORAGE']],
    ['H05 a virtual dataset', 'bad/virtual-dataset.h5', 'dangerous', ['VIRTUAL_DATASET']],
    ['H06 a cycle of hard links', 'bad/hard-link-cycle.h5', 'suspicious', ['UNREADABLE']],
    ['H07 petabytes', 'bad/petabytes.h5', 'suspicious', ['EXPANSION']],
    ['H15 a config that is no text', 'bad/config-number.h5', 'suspicious', ['UNREADABLE']],
    ['H15 a config that is no JSON', 'bad/config-not-json.h5', 'suspicious', ['UNREADABLE']],
    ['H16 a nested Lambda', 'bad/lambda-nested.h5', 'dangerous', ['LAMBDA']],
    ['a Lambda that Keras wrote', 'good/lambda.h5', 'dangerous', ['LAMBDA', 'MARSHALLED_CODE']],
    ['a Lambda in .keras', 'bad/lambda-nested.keras', 'dangerous', ['LAMBDA']],
    [
      'a config that is there twice, once with a Lambda',
      'bad/duplicate-config.keras',
      'dangerous',
      ['LAMBDA', 'ZIP_ODDITY'],
    ],
    ['a foreign module', 'bad/module-os.keras', 'dangerous', ['DANGEROUS_OBJECT']],
  ])('%s', async (_name, path, verdict, rules) => {
    const audit = await auditBytes(new Uint8Array(readFileSync(join(root, path))), path, { workers });
    expect(audit.verdict, JSON.stringify(audit.findings)).toBe(verdict);
    for (const rule of rules) expect(rulesOf(audit)).toContain(rule);
  });
});

describe('safetensors and ONNX', () => {
  const safetensors = (header: string, data = 0): Uint8Array =>
    bytes(u64(BigInt(encode(header).length)), encode(header), new Uint8Array(data));

  test.each<readonly [string, Uint8Array, Verdict]>([
    ['a tensor', safetensors('{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}', 4), 'safe'],
    [
      'metadata that looks like code',
      safetensors('{"__metadata__":{"x":"__import__(\'os\').system(\'id\')"}}'),
      'safe',
    ],
    [
      'bytes that belong to nothing',
      safetensors('{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}', 5),
      'suspicious',
    ],
    ['a name twice', safetensors('{"a":{"dtype":"F32","shape":[0],"data_offsets":[0,0]},"a":{}}'), 'suspicious'],
  ])('safetensors: %s', async (_name, file, verdict) => {
    expect((await auditBytes(file, 'x.safetensors')).verdict).toBe(verdict);
  });

  const varint = (value: number): number[] => (value < 128 ? [value] : [(value & 127) | 128, ...varint(value >> 7)]);
  const field = (number: number, ...parts: readonly Uint8Array[]): Uint8Array => {
    const length = parts.reduce((sum, part) => sum + part.length, 0);
    return bytes(varint(number * 8 + 2), varint(length), ...parts);
  };
  const entry = (key: string, value: string): Uint8Array => field(13, field(1, encode(key)), field(2, encode(value)));
  const onnx = (...tensorParts: readonly Uint8Array[]): Uint8Array =>
    bytes(
      8,
      9,
      field(2, encode('pytorch')),
      field(7, field(5, field(8, encode('w')), ...tensorParts)),
      field(8, field(1, encode('my.domain'))),
    );

  test.each<readonly [string, Uint8Array, Verdict, readonly AuditRule[]]>([
    ['plain', onnx(), 'safe', []],
    [
      'O04 a file beside it',
      onnx(entry('location', 'weights.bin'), entry('offset', '0'), entry('length', '4')),
      'safe',
      [],
    ],
    ['O04 a file below it', onnx(entry('location', 'data/weights.bin')), 'safe', []],
    ['O04 ..', onnx(entry('location', '../../etc/passwd')), 'dangerous', ['EXTERNAL_PATH']],
    ['O04 a/../../b', onnx(entry('location', 'a/../../b')), 'dangerous', ['EXTERNAL_PATH']],
    ['O04 absolute', onnx(entry('location', '/etc/passwd')), 'dangerous', ['EXTERNAL_PATH']],
    ['O04 an address', onnx(entry('location', 'file:///etc/passwd')), 'dangerous', ['EXTERNAL_PATH']],
    ['O05 a negative offset', onnx(entry('offset', '-1')), 'suspicious', ['EXTERNAL_PATH']],
    ['O05 an unknown key', onnx(entry('__class__', 'x')), 'suspicious', ['EXTERNAL_PATH']],
    ['O02 a record past the end', bytes(onnx(), varint(14 * 8 + 2), varint(90), 'x'), 'suspicious', ['UNREADABLE']],
  ])('ONNX: %s', async (_name, file, verdict, rules) => {
    const audit = await auditBytes(file, 'x.onnx');
    expect(audit.verdict, JSON.stringify(audit.findings)).toBe(verdict);
    expect(audit.kind).toBe(rules.includes('UNREADABLE') ? 'damaged' : 'ONNX');
    for (const rule of rules) expect(rulesOf(audit)).toContain(rule);
  });

  test('O03: graphs nested deeper than the limit', async () => {
    let graph = field(1, encode(''));
    for (let depth = 0; depth < 200; depth += 1) graph = field(1, field(5, field(6, graph)));
    const audit = await auditBytes(bytes(8, 9, field(7, graph)), 'x.onnx');
    expect(rulesOf(audit)).toContain('LIMIT');
  });

  test('an index whose shards lie elsewhere', async () => {
    const index = (name: string): Uint8Array => encode(JSON.stringify({ weight_map: { a: name } }));
    expect((await auditBytes(index('a-00001-of-00002.safetensors'), 'x.index.json')).verdict).toBe('safe');
    for (const name of ['../a.safetensors', '/a', 'https://example.invalid/a', 'a\\b']) {
      expect(rulesOf(await auditBytes(index(name), 'x.index.json'))).toEqual(['EXTERNAL_PATH']);
    }
  });
});
