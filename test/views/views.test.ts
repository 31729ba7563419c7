import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { Ajv } from 'ajv';
import { describe, expect, test } from 'vitest';
import { explainPair } from '../../src/account/explain-pair.ts';
import { note } from '../../src/ir/diagnostic.ts';
import type { Model } from '../../src/ir/model.ts';
import { csvField } from '../../src/views/csv.ts';
import { escapeText } from '../../src/views/escape.ts';
import { escapeLatex } from '../../src/views/latex.ts';
import { escapeMarkdown } from '../../src/views/markdown.ts';
import { showBytes, showCount, showShape } from '../../src/views/number.ts';
import { VIEWS } from '../../src/views/registry.ts';
import { displayWidth, wrap } from '../../src/views/width.ts';
import { expectGolden } from '../helpers/golden.ts';
import { attrsOf, batchNormWeights, chainOf, modelOf, referenceCnn } from '../helpers/model.ts';
import { pairOf, render, renderSet, summaryOf } from '../helpers/report.ts';

const schema = JSON.parse(
  readFileSync(fileURLToPath(new URL('../../docs/schema/summary.schema.json', import.meta.url)), 'utf8'),
);
const validate = new Ajv({ strict: true, allowUnionTypes: true }).compile(schema);

function expectValid(text: string): void {
  validate(JSON.parse(text));
  expect(validate.errors).toBeNull();
}

/** A nested, branching model with awkward names. */
function nested(): Model {
  return modelOf({
    name: 'branch',
    layers: [
      { path: 'left', kind: 'input', type: 'InputLayer' },
      {
        path: '塔_tower',
        kind: 'model',
        type: 'Functional',
        container: true,
        weights: [{ role: 'gain', shape: [2] }],
      },
      {
        path: '塔_tower/inner_bn',
        parent: '塔_tower',
        kind: 'batch_norm',
        type: 'BatchNormalization',
        attrs: attrsOf({ momentum: 0.9900000095367432, epsilon: 1e-5 }),
        trainable: false,
        weights: batchNormWeights(4),
      },
      { path: 'join', kind: 'add', type: 'Add' },
    ],
    graphs: new Map([
      [
        '',
        {
          inputs: [0],
          outputs: [2],
          values: [
            { id: 0, shape: [null, 4], dtype: 'float32' },
            { id: 1, shape: [null, 4], dtype: 'float32' },
            { id: 2, shape: [null, 4], dtype: 'float32' },
          ],
          calls: [
            { layer: 'left', op: '', attrs: new Map(), inputs: [], outputs: [0] },
            { layer: '塔_tower', op: '', attrs: new Map(), inputs: [0], outputs: [1] },
            { layer: 'join', op: '', attrs: new Map(), inputs: [0, 1], outputs: [2] },
          ],
        },
      ],
      ['塔_tower', chainOf([null, 4], [['塔_tower/inner_bn', [null, 4]]])],
    ]),
  });
}

/** Numbers in the columns of a table's rows, whatever the look: used to add rows up independently of the totals. */
function columnSum(text: string, column: RegExp): number {
  return [...text.matchAll(column)].reduce((sum, match) => sum + Number((match[1] ?? '').replaceAll(',', '')), 0);
}

describe('golden texts', () => {
  const summary = summaryOf(referenceCnn(), { explain: true, macs: true });
  for (const view of VIEWS) {
    test(`${view.name} of the reference CNN`, async () => {
      expectGolden(
        `${view.name}/reference-cnn.txt`,
        await render(view.name, summaryOf(referenceCnn()), { columns: 100 }),
      );
    });
    test(`${view.name} of the reference CNN, explained`, async () => {
      const text = await render(view.name, summary, { columns: 100, explain: true, macs: true });
      expectGolden(`${view.name}/reference-cnn-explained.txt`, text);
    });
    test(`${view.name} of a nested, branching model`, async () => {
      expectGolden(`${view.name}/nested.txt`, await render(view.name, summaryOf(nested()), { columns: 100 }));
    });
  }
  for (const columns of [60, 80, 120]) {
    test(`table in ${columns} columns`, async () => {
      const text = await render('table', summary, { columns, explain: true });
      expectGolden(`table/reference-cnn-${columns}.txt`, text);
      for (const line of text.split('\n')) expect(displayWidth(line)).toBeLessThanOrEqual(columns);
    });
  }
  test('--bn, --tensors, --sort, --depth, --layer', async () => {
    const branch = summaryOf(nested());
    expectGolden('table/bn.txt', await render('table', branch, { bn: true, columns: 80 }));
    expectGolden('table/tensors.txt', await render('table', branch, { tensors: true, columns: 80 }));
    expectGolden('table/sorted.txt', await render('table', summary, { sort: 'keras', columns: 80 }));
    expectGolden('table/depth.txt', await render('table', branch, { depth: 1, columns: 80 }));
    expectGolden('table/layer.txt', await render('table', branch, { layer: '*bn*', columns: 80 }));
  });
});

describe('long tables', () => {
  test('are set as short ones are drawn', async () => {
    const layersOf = (count: number): Model =>
      modelOf({
        layers: Array.from({ length: count }, (_, index) => ({
          path: `塔_${index % 7}_${index}`,
          kind: 'dense',
          type: 'Dense',
          weights: [{ role: 'kernel', shape: [2, index % 3] }],
        })),
      });
    const rows = async (count: number): Promise<readonly string[]> =>
      (await render('table', summaryOf(layersOf(count)), { columns: 48, quiet: true })).split('\n');
    const short = await rows(500);
    const long = await rows(501);
    // Header, rule and the first five hundred rows.
    const until = short.indexOf('', 2);
    expect(long.slice(0, until)).toEqual(short.slice(0, until));
    expect(until).toBeGreaterThan(500);
  });

  test('of fifty thousand layers take no more than seconds', async () => {
    const layers = Array.from({ length: 50_000 }, (_, index) => ({
      path: `block.${index}.fc`,
      kind: 'dense' as const,
      type: 'Linear',
      weights: [
        { role: 'weight', shape: [4, 4] },
        { role: 'bias', shape: [4] },
      ],
    }));
    const summary = summaryOf(modelOf({ dialect: 'torch', layers }), { explain: true });
    const started = performance.now();
    for (const view of ['table', 'tree', 'text', 'csv']) await render(view, summary, { columns: 80 });
    expect(performance.now() - started).toBeLessThan(8_000);
  });
});

describe('rows of scattered modules', () => {
  // As safetensors.torch writes them: by element type, then by name.
  const scattered = modelOf({
    dialect: 'torch',
    layers: [
      { path: 'body', kind: 'unknown', container: true },
      { path: 'body.0', parent: 'body', kind: 'dense', weights: [{ role: 'weight', shape: [2] }] },
      { path: 'head', kind: 'dense', weights: [{ role: 'weight', shape: [3] }] },
      { path: 'body.1', parent: 'body', kind: 'dense', weights: [{ role: 'weight', shape: [4] }] },
      { path: 'late.a', parent: 'late', kind: 'dense', weights: [{ role: 'weight', shape: [5] }] },
      { path: 'late', kind: 'unknown', container: true },
    ],
  });

  test.each(['table', 'tree'])('%s: each layer stands below its parent', async (name) => {
    const text = await render(name, summaryOf(scattered));
    const names = [...text.matchAll(/^[^\w\n]*(body|0|1|head|late|a)(?= \(dense\)| +(?:Keras )?\d|`)/gm)].map(
      (found) => found[1],
    );
    expect(names).toEqual(['body', '0', '1', 'head', 'late', 'a']);
  });

  test('as text with whole paths', async () => {
    const lines = (await render('text', summaryOf(scattered))).split('\n').filter((line) => line.startsWith('layer '));
    expect(lines.map((line) => line.split(' ')[1])).toEqual(['body', 'body.0', 'body.1', 'head', 'late', 'late.a']);
  });
});

describe('sums', () => {
  test('rows of the text add up to the totals it prints', async () => {
    const text = await render('text', summaryOf(referenceCnn()));
    expect(columnSum(text, /^layer .*: keras ([\d,]+)/gm)).toBe(13_108_758);
    expect(columnSum(text, /^layer .*, torch ([\d,]+)/gm)).toBe(13_108_694);
    expect(columnSum(text, /^layer .*, buffers ([\d,]+)/gm)).toBe(65);
    expect(columnSum(text, /^total Keras: ([\d,]+) total/gm)).toBe(13_108_758);
  });

  test('leaf rows and own shares of the CSV add up, containers apart', async () => {
    const rows = (await render('csv', summaryOf(nested())))
      .trim()
      .split('\r\n')
      .slice(1)
      .map((line) => line.split(','));
    // Columns from the right: own_buffers, own_torch, own_keras, dtype, bytes, buffers, torch, keras.
    const keras = rows.reduce((sum, row) => sum + Number(row[4] === 'true' ? row.at(-3) || 0 : row.at(-8)), 0);
    expect(keras).toBe(18);
  });
});

describe('JSON', () => {
  test('fits the schema', async () => {
    expectValid(await render('json', summaryOf(referenceCnn(), { explain: true, macs: true })));
    expectValid(
      await render('json', summaryOf(nested(), {}, [note('SHAPE_UNKNOWN', { layer: 'x' }, { reason: 'none' })])),
    );
  });

  test('several files, one of them bad, and a pair', async () => {
    const pair = explainPair(pairOf(referenceCnn()), pairOf(nested()));
    const text = await renderSet('json', {
      reports: [
        { file: 'a.h5', summary: summaryOf(referenceCnn()) },
        { file: 'b.h5', error: { code: 'NOT_FOUND', message: 'b.h5: no such file' } },
      ],
      pair,
    });
    expectValid(text);
    const { files } = JSON.parse(text);
    expect(files.map((file: { file: string }) => file.file)).toEqual(['a.h5', 'b.h5']);
  });

  test('keys from files, big numbers and NaN', async () => {
    const model = modelOf({
      dialect: 'torch',
      layers: [
        {
          path: 'a\ud800b',
          kind: 'dense',
          type: 'Linear',
          attrs: new Map<string, number | bigint>([
            ['__proto__', 1],
            ['big', 2n ** 60n],
            ['nan', Number.NaN],
          ]),
          weights: [{ role: 'weight', shape: [2, 2] }],
        },
      ],
    });
    const text = await render('json', summaryOf(model));
    expect(text).toContain('"__proto__": 1');
    expect(text).toContain('"big": 1152921504606846976');
    expect(text).toContain('"nan": "NaN"');
    expect(JSON.parse(text).layers[0].path).toBe('a\ud800b');
  });
});

describe('hostile names', () => {
  const evil = 'x\u001b[2J\u009b31m\u202e\r\n=cmd|<script>`![a](http://b)';
  const model = modelOf({
    name: evil,
    layers: [{ path: evil, kind: 'dense', type: evil, weights: [{ role: 'kernel', shape: [2, 2] }] }],
  });

  test('no look prints a control character or a bidi control', async () => {
    for (const view of VIEWS) {
      if (view.name === 'json') continue;
      const text = await render(view.name, summaryOf(model), { columns: 80, tensors: true });
      expect(text.replace(/\r?\n/g, '')).not.toMatch(/[\u0000-\u001f\u007f-\u009f\u202a-\u202e]/);
    }
    expect(await render('json', summaryOf(model))).not.toMatch(/[\u0000-\u0009\u000b-\u001f]/);
  });

  test('escapes say what was there', () => {
    expect(escapeText('a\u001b[2J\u009b\u202e\u200b')).toBe('a\\x1b[2J\\x9b\\u202e\\u200b');
    expect(escapeText('family 👨‍👩‍👧 and 塔')).toBe('family 👨‍👩‍👧 and 塔');
    expect(escapeText('a\u200db')).toBe('a\\u200db');
  });

  test('formulas, links and commands are text', () => {
    for (const word of ['=1+1', '+1', '-1', '@x', '\t=1', '"=1'])
      expect(csvField(word).replace(/^"/, '')).toMatch(/^'/);
    expect(csvField('a,"b"')).toBe('"a,""b"""');
    expect(escapeMarkdown('[x](javascript:1) <b> http://a')).toBe('\\[x\\](javascript:1) &lt;b&gt; http&#58;//a');
    expect(escapeLatex('a_b%\\input{x}')).toBe('a\\_b\\%\\textbackslash{}input\\{x\\}');
  });

  test('a name of a million characters is cut for people and whole in JSON', async () => {
    const long = modelOf({ layers: [{ path: 'n'.repeat(1_000_000), kind: 'flatten', type: 'Flatten' }] });
    expect((await render('table', summaryOf(long), { columns: 80 })).length).toBeLessThan(5_000);
    expect((await render('json', summaryOf(long))).length).toBeGreaterThan(1_000_000);
  });
});

describe('words and numbers', () => {
  test('bytes as Keras prints them', () => {
    expect([0, 1023, 1024, 1024 * 1024 - 1, 52_435_032, 256].map(showBytes)).toEqual([
      '0.00 B',
      '1023.00 B',
      '1.00 KB',
      '1024.00 KB',
      '50.01 MB',
      '256.00 B',
    ]);
  });
  test('counts and shapes', () => {
    expect(showCount(2n ** 60n)).toBe('1,152,921,504,606,846,976');
    expect(showCount(-1234)).toBe('−1,234');
    expect(showShape([null, 64, '?'])).toBe('(None, 64, ?)');
    expect(showShape([])).toBe('()');
    expect(showShape([3])).toBe('(3,)');
    expect(showShape([[null, 2], null])).toBe('[(None, 2), ?]');
  });
  test('widths of CJK, emoji and combining marks', () => {
    expect(['塔', 'e\u0301', '👨‍👩‍👧', 'ｱ', '한', '🇩🇪', 'ok'].map(displayWidth)).toEqual([2, 1, 2, 1, 2, 2, 2]);
  });
  test('wrapping keeps every character', () => {
    for (const text of [
      'encoder/block_0/attention/query_dense',
      '塔塔塔塔塔塔塔塔塔塔塔塔',
      'a b c d e f g h i j k l',
    ]) {
      for (const columns of [8, 11, 15]) {
        const lines = wrap(text, columns);
        for (const line of lines) expect(displayWidth(line)).toBeLessThanOrEqual(columns);
        expect(lines.join('').replaceAll(' ', '')).toBe(text.replaceAll(' ', ''));
      }
    }
  });
});
