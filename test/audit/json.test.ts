import { describe, expect, test } from 'vitest';
import { isJsonText } from '../../src/audit/json-scan.ts';
import { memorySource } from '../../src/bytes/memory-source.ts';
import { zipBytes } from '../helpers/zip-bytes.ts';
import { auditBytes, namesOf, rulesOf } from './audit-bytes.ts';

const encode = (value: string): Uint8Array => new TextEncoder().encode(value);

const layer = (class_name: string, config: unknown = {}, more: object = {}): object => ({
  module: 'keras.layers',
  class_name,
  config,
  registered_name: null,
  ...more,
});
const model = (...layers: readonly object[]): object => ({
  module: 'keras',
  class_name: 'Sequential',
  config: { name: 'm', layers },
  registered_name: 'Sequential',
});
const activation = (config: string, more: object = {}): object =>
  layer('Activation', { activation: { module: 'builtins', class_name: 'function', config, ...more } });
const keras = (config: object): Uint8Array => zipBytes([{ name: 'config.json', data: encode(JSON.stringify(config)) }]);

describe('other keys beside those of Keras', () => {
  // keras.saving.load_model takes class_name, config and module from the object and never looks for another key.
  test.each([
    ['weight_map', { weight_map: {} }],
    ['pt-json', { format: 'pt-json', version: 1, state_dict: {} }],
    ['both', { weight_map: { a: 'b' }, format: 'pt-json', version: 1, state_dict: {} }],
  ])('%s hides no Lambda', async (_, keys) => {
    const audit = await auditBytes(keras({ ...keys, ...model(layer('Lambda')) }), 'x.keras');
    expect(audit.verdict).toBe('dangerous');
    expect(rulesOf(audit)).toContain('LAMBDA');
  });

  // json.loads reads the values of a key that stands within what the tensor's type and shape say is its data.
  test('data that our reader jumps over hides none', async () => {
    const inner = JSON.stringify({ ...model(layer('Lambda')), more: '' }).slice(1, -2);
    const hidden = `x",${inner}`;
    const data = hidden + 'A'.repeat((4 - (hidden.length % 4)) % 4 || 4);
    const rows = (data.length / 4) * 3;
    const text = `{"format":"pt-json","version":1,"state_dict":{"w":{"dtype":"uint8","shape":[${rows}],"kind":"buffer","requires_grad":false,"data":"${data}"}}}`;
    expect(JSON.parse(text).state_dict.w.class_name).toBe('Sequential');
    const audit = await auditBytes(encode(text), 'config.json');
    expect(audit.verdict).toBe('dangerous');
  });

  test('an index of shards and a pt-json are what they were', async () => {
    const index = { metadata: { total_size: 8 }, weight_map: { w: 'model-00001-of-00001.safetensors' } };
    expect(await auditBytes(encode(JSON.stringify(index)), 'x.index.json')).toMatchObject({
      verdict: 'safe',
      kind: 'shard index',
    });
    const state = { format: 'pt-json', version: 1, state_dict: { w: { dtype: 'uint8', shape: [3], data: 'AAAA' } } };
    expect(await auditBytes(encode(JSON.stringify(state)), 'x.pt-json')).toMatchObject({
      verdict: 'safe',
      kind: 'pt-json',
    });
  });

  test('white space before a config, more than is looked at first', async () => {
    const text = ' '.repeat(10_000) + JSON.stringify(model(layer('Lambda')));
    expect((await auditBytes(encode(text), 'notes.txt')).verdict).toBe('dangerous');
  });
});

describe('names under which Keras looks for objects', () => {
  // _retrieve_class_or_fn asks the registry for the registered name before it looks at module and class.
  test.each([
    ['acme>Runner', layer('Dense', { cmd: 'id' }, { registered_name: 'acme>Runner' })],
    ['Runner', layer('Dense', {}, { registered_name: 'Runner' })],
    ['Custom>LSTM', layer('Dense', {}, { registered_name: 'Custom>LSTM' })],
    ['me>relu', activation('relu', { registered_name: 'me>relu' })],
  ])('another registered name: %s', async (name, one) => {
    const audit = await auditBytes(keras(model(one)), 'x.keras');
    expect(audit.verdict).toBe('suspicious');
    expect(namesOf(audit)).toEqual([`.${name}`]);
  });

  test('a class of the program is named once', async () => {
    const one = layer('My', {}, { module: null, registered_name: 'me>My' });
    expect(namesOf(await auditBytes(keras(model(one)), 'x.keras'))).toEqual(['.My']);
    const other = layer('My', {}, { module: null, registered_name: 'me>Other' });
    expect(namesOf(await auditBytes(keras(model(other)), 'x.keras', { allow: ['My'] }))).toEqual(['.me>Other']);
  });

  test('a vocabulary of the class that is registered', async () => {
    const one = layer('Hashing', { vocabulary: '/etc/passwd' }, { registered_name: 'x>StringLookup' });
    expect(rulesOf(await auditBytes(keras(model(one)), 'x.keras'))).toContain('EXTERNAL_PATH');
  });

  test.each([
    ['none', layer('Dense', {}, { registered_name: '' })],
    ['its own', layer('Dense', {}, { registered_name: 'Dense' })],
    ["tf.keras' own", layer('Adam', {}, { module: 'keras.optimizers', registered_name: 'Custom>Adam' })],
    ['of a function', activation('relu', { registered_name: 'function' })],
    ['of a function by its name', activation('relu', { registered_name: 'relu' })],
  ])('a registered name that says nothing: %s', async (_, one) => {
    expect((await auditBytes(keras(model(one)), 'x.keras')).findings).toEqual([]);
  });

  // A class under 'function' is called where Keras calls an activation.
  test.each([
    ['Lambda', 'dangerous', 'FOREIGN_LAYER'],
    ['TFSMLayer', 'dangerous', 'FOREIGN_LAYER'],
    ['Dense', 'suspicious', 'CUSTOM_OBJECT'],
  ])('a class as a function: %s', async (name, verdict, rule) => {
    const audit = await auditBytes(keras(model(activation(name))), 'x.keras');
    expect(audit.verdict).toBe(verdict);
    expect(rulesOf(audit)).toEqual([rule]);
  });

  test("a Lambda under tf.keras' own package", async () => {
    expect((await auditBytes(keras(model(layer('Custom>Lambda'))), 'x.keras')).verdict).toBe('dangerous');
  });

  // FeatureSpace.save writes this; its preprocessors are layers.
  test('a FeatureSpace, and what stands in one', async () => {
    const feature = (preprocessor: object): object => ({
      module: 'keras.src.layers.preprocessing.feature_space',
      class_name: 'Feature',
      config: { dtype: 'float32', preprocessor, output_mode: 'float' },
      registered_name: 'Feature',
    });
    const space = (preprocessor: object): object => ({
      module: 'keras.utils',
      class_name: 'FeatureSpace',
      config: { features: { a: feature(preprocessor) }, output_mode: 'concat', crosses: [] },
      registered_name: null,
    });
    expect((await auditBytes(keras(space(layer('Normalization'))), 'x.keras')).findings).toEqual([]);
    expect((await auditBytes(keras(space(layer('Lambda'))), 'x.keras')).verdict).toBe('dangerous');
    const helper = { module: 'keras.utils', class_name: 'get_file', config: {}, registered_name: null };
    expect((await auditBytes(keras(helper), 'x.keras')).verdict).toBe('dangerous');
  });
});

describe('texts that begin like JSON', () => {
  test.each([
    ['vocabulary.txt', '[UNK]\nthe\na\n'],
    ['train.log', '[2024-01-01] start\n'],
    ['setup.cfg', '[section]\na=1\n'],
    ['merges.txt', '{ } a\n'],
    ['README.md', '[![badge](x)](y)\n'],
  ])('%s is a text', async (name, text) => {
    expect(await auditBytes(encode(text), name)).toMatchObject({ verdict: 'safe', complete: true, kind: 'text' });
  });

  test('in an archive of Keras, where TextVectorization keeps its words', async () => {
    const file = zipBytes([
      { name: 'config.json', data: encode(JSON.stringify(model(layer('TextVectorization', { vocabulary: null })))) },
      { name: 'assets/layers/text_vectorization/vocabulary.txt', data: encode('[UNK]\nthe\na\n') },
    ]);
    expect((await auditBytes(file, 'x.keras')).findings).toEqual([]);
  });

  test('what is named JSON has to be JSON', async () => {
    const audit = await auditBytes(encode('[UNK]\nthe\n'), 'vocabulary.json');
    expect(audit).toMatchObject({ verdict: 'suspicious', complete: false });
  });

  // json.loads takes the last of two keys, half a surrogate and 1e999; so no name makes a text of them.
  test.each(['{"a": 1, "a": 2}', '["\\ud800"]', '[1e999]', `${'['.repeat(600)}${']'.repeat(600)}`])(
    'what Python takes and we do not: %s',
    async (text) => {
      expect(await auditBytes(encode(text), 'x.txt')).toMatchObject({ verdict: 'suspicious', complete: false });
    },
  );

  test('a Lambda in a config that was cut', async () => {
    const text = JSON.stringify(model(layer('Lambda'))).slice(0, -1);
    expect((await auditBytes(encode(text), 'x.txt')).verdict).toBe('dangerous');
  });

  test.each<[string, boolean]>([
    ['{}', true],
    [' [ ] ', true],
    ['\ufeff[]', true],
    ['[1, -0.5e+3, 0, NaN, -Infinity, true, null, "a\\u00e9\\n"]', true],
    ['{"a": {"b": [1]}, "c": ""}', true],
    ['-1', true],
    ['12', true],
    ['[01]', false],
    ['[1.]', false],
    ['[1e]', false],
    ['[+1]', false],
    ['[-]', false],
    ['[1,]', false],
    ['{"a" 1}', false],
    ['{"a": 1,}', false],
    ['{a: 1}', false],
    ['[1}', false],
    ['[1', false],
    ['["a]', false],
    ['["a\nb"]', false],
    ['["\\x"]', false],
    ['["\\u12g4"]', false],
    ['[nul]', false],
    ['[] []', false],
    ["['a']", false],
    ['', false],
    [']', false],
  ])('%j is JSON to Python: %s', async (text, expected) => {
    expect(await isJsonText(memorySource(encode(text), 'x'))).toBe(expected);
  });
});

describe('memory', () => {
  // Four million objects of seven bytes would take 200 bytes each.
  test('millions of objects are a limit, not a burden', async () => {
    const before = process.memoryUsage().rss;
    const audit = await auditBytes(encode(`[${'{},'.repeat(1_500_000)}{}]`), 'x.json');
    expect(audit).toMatchObject({ verdict: 'suspicious', complete: false });
    expect(rulesOf(audit)).toEqual(['LIMIT']);
    expect(process.memoryUsage().rss - before).toBeLessThan(250 * 1024 * 1024);
  });
});
