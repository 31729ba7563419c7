import { describe, expect, test } from 'vitest';
import type { Change } from '../../src/diff/change.ts';
import type { Comparison } from '../../src/diff/compare.ts';
import { judge } from '../../src/diff/policy.ts';
import { RULES } from '../../src/diff/side.ts';
import { DIFF_VIEWS } from '../../src/views/diff-registry.ts';
import type { DiffSet } from '../../src/views/diff-view.ts';

const POLICY = { budgets: [], deny: [], frozen: [], requireKnown: false };

function comparisonOf(changes: readonly Change[], more: Partial<Comparison> = {}): Comparison {
  const side = { label: 'a.h5', from: 'model', format: 'keras-h5', dialect: 'keras', producer: 'keras 3' } as const;
  return {
    a: side,
    b: { ...side, label: 'b.h5' },
    across: false,
    paired: 1,
    changes,
    ignored: 0,
    rules: RULES.map((rule) => ({ rule, a: 1, b: 1 })),
    optimizer: { a: 0, b: 0 },
    explanation: null,
    values: null,
    notCompared: [],
    troubles: [],
    namesDiffer: 0,
    ...more,
  };
}

async function rendered(name: string, set: DiffSet, columns: number | null = null): Promise<string> {
  const view = DIFF_VIEWS.find((one) => one.name === name);
  const render = await view?.load();
  if (render === undefined) throw new Error(`no view ${name}`);
  return [...(await render(set, { columns, color: false, quiet: false }))].join('');
}

function setOf(comparison: Comparison, file = 'b.h5'): DiffSet {
  return { reports: [{ ...judge(comparison, POLICY), file }], errors: [] };
}

const HOSTILE = [
  '\u001b[2J\u001b[31mred',
  'line\nbreak\r\n::error::x',
  '`code` <img src=x onerror=alert(1)> | cell',
  '</failure>&"\u0000]]>',
  '\u202etxt.exe',
  '@everyone https://example.invalid [x](y)',
  '%0A::stop-commands::x',
];

function hostileChanges(): readonly Change[] {
  return HOSTILE.flatMap((name): Change[] => {
    const at = { a: name, b: name, kind: 'unknown' } as const;
    return [
      { code: 'layer_renamed', at: { ...at, b: `${name}2` }, renumbered: false },
      { code: 'kind', at, before: name, after: `${name}3` },
      { code: 'attribute', at, name, before: name, after: [name] },
      { code: 'wiring', at, before: [name], after: [] },
      { code: 'tied', at, role: name, before: name, after: null },
      { code: 'tensor_added', at, role: name, class: 'weight', shape: [1], elements: 1 },
    ];
  });
}

describe('names from files are data in every look', () => {
  const set = (): DiffSet => {
    const made = setOf(
      comparisonOf(hostileChanges(), {
        a: { label: HOSTILE[0] ?? '', from: 'model', format: 'x', dialect: 'keras', producer: HOSTILE[1] ?? '' },
        troubles: [{ layer: '', role: '', code: 'IO', message: HOSTILE.join(' ') }],
        notCompared: [
          { what: 'attribute', name: HOSTILE[2] ?? '', silent: 'a', layers: [...HOSTILE], value: HOSTILE[3] ?? '' },
        ],
      }),
      HOSTILE[6],
    );
    return { ...made, errors: [{ file: HOSTILE[2] ?? '', code: 'IO', message: HOSTILE[1] ?? '' }] };
  };

  test.each(['text', 'markdown', 'github', 'junit'])('%s holds no control characters', async (name) => {
    for (const columns of [null, 60, 150]) {
      const text = await rendered(name, set(), columns);
      expect(text).not.toMatch(/[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u202e\u2028]/);
    }
  });

  test('github writes nothing but its own commands', async () => {
    const text = await rendered('github', set());
    for (const line of text.trimEnd().split('\n')) expect(line).toMatch(/^::(?:error|warning|notice) [^\n]*::/);
    expect(text).not.toMatch(/^\s*::(?:stop-commands|error::x)/m);
    expect(text).not.toContain('%0A');
  });

  test('markdown lets no HTML, link or mention out of a code span', async () => {
    const text = await rendered('markdown', set());
    const outside = text.replace(/(`+)[^\n]*?[^`]\1(?!`)/g, '');
    expect(outside.replace(/<\/?(?:details|summary)>/g, '')).not.toMatch(/<[a-z/]/i);
    expect(outside).not.toMatch(/(?<!\\)@everyone|https:\/\/|(?<!\\)\]\(y\)/);
  });

  test('junit is well formed', async () => {
    const text = await rendered('junit', set());
    const open: string[] = [];
    for (const [, close, tag = '', rest = ''] of text.matchAll(/<(\/?)([a-z]+)((?:[^<>"]|"[^"<>]*")*)>/g)) {
      if (close === '/') expect(open.pop()).toBe(tag);
      else if (!rest.endsWith('/')) open.push(tag);
    }
    expect(open).toEqual([]);
    expect(text.replace(/<[^<>]*>/g, '')).not.toMatch(/[<>]|&(?!amp;|lt;|gt;|quot;)/);
  });

  test.each(['json', 'sarif'])('%s is JSON', async (name) => {
    const parsed: unknown = JSON.parse(await rendered(name, set()));
    expect(parsed).toBeTypeOf('object');
  });
});

describe('limits', () => {
  const many = comparisonOf(
    Array.from({ length: 5_000 }, (_, index): Change => {
      const path = `layer_with_a_long_name_${index}`;
      return { code: 'layer_added', at: { a: null, b: path, kind: 'dense' }, type: 'Dense', elements: 1, tensors: 1 };
    }),
  );

  test('a Markdown comment stays under 65,536 characters and says what is missing', async () => {
    const text = await rendered('markdown', setOf(many));
    expect(text.length).toBeLessThan(65_536);
    const rows = text.match(/^\| `\+` \|/gm)?.length ?? 0;
    const lost = Number(/\*\*([\d,]+) lines are left out here/.exec(text)?.[1]?.replaceAll(',', ''));
    expect(rows + lost).toBe(5_000);
    expect(text.match(/<details>/g)?.length).toBe(text.match(/<\/details>/g)?.length);
  });

  test('ten annotations of a step at most, the last ones say the rest', async () => {
    const lines = (await rendered('github', setOf(many))).trimEnd().split('\n');
    expect(lines.filter((line) => line.startsWith('::error')).length).toBeLessThanOrEqual(10);
    expect(lines.at(-2)).toContain('4991 more differences');
  });
});

describe('the answer', () => {
  test('what cannot be read is no sameness', () => {
    const trouble = { layer: 'x', role: 'kernel', code: 'TRUNCATED', message: 'a.h5 x: ends early [TRUNCATED]' };
    expect(judge(comparisonOf([], { troubles: [trouble] }), POLICY).verdict).toBe('unknown');
  });

  test('a layer too far from its budget is told with both numbers', async () => {
    const budget = { text: '+1%', rule: 'keras.total', grow: 1, unit: 'percent' } as const;
    const rules = RULES.map((rule) => ({ rule, a: 100, b: rule === 'keras.total' ? 102 : 100 }));
    const judged = judge(comparisonOf([], { rules }), { ...POLICY, budgets: [budget] });
    expect(judged).toMatchObject({ verdict: 'breached', refused: true });
    const text = await rendered('text', { reports: [{ ...judged, file: '' }], errors: [] });
    expect(text).toContain('✗ budget +1%: Keras total 102, +2 (+2%)\n');
  });
});
