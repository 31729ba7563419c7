import { type Count, minus } from '../account/count.ts';
import type { PairStep } from '../account/explain-pair.ts';
import type { Change, NotCompared, ValueStats, Where } from '../diff/change.ts';
import type { Comparison, RuleChange } from '../diff/compare.ts';
import { formatFact } from '../diff/fact.ts';
import type { Breach, Judged } from '../diff/policy.ts';
import type { Rule } from '../diff/side.ts';
import type { Json } from '../ir/json.ts';
import { complement } from '../layers/decimal.ts';
import { listNames } from './diagnostics.ts';
import { showName } from './escape.ts';
import { showBytes, showCount, showShape } from './number.ts';
import { pairStepText } from './wording.ts';

export const RULE_WORDS: Readonly<Record<Rule, string>> = {
  'keras.total': 'Keras total',
  'keras.trainable': 'Keras trainable',
  'keras.nonTrainable': 'Keras non-trainable',
  'torch.parameters': 'PyTorch parameters',
  'torch.trainable': 'PyTorch trainable',
  'torch.frozen': 'PyTorch frozen',
  'torch.buffers': 'PyTorch buffers',
  'state.elements': 'state_dict elements',
  'state.unique': 'state_dict, tied once',
  'inference.elements': 'inference elements',
  bytes: 'bytes of weights',
};

const ATTRIBUTE_WORDS: ReadonlyMap<string, string> = new Map([
  ['epsilon', 'eps'],
  ['useBias', 'bias'],
  ['kernelSize', 'kernel size'],
  ['dataFormat', 'data format'],
  ['returnSequences', 'return_sequences'],
]);

/** `+192`, `−192`, `0`. */
export function signed(count: Count): string {
  return count > 0 ? `+${showCount(count)}` : showCount(count);
}

/** The change of a count with its percentage: `+192 (+0.5%)`; '' where nothing changed. */
export function deltaText({ rule, a, b }: RuleChange): string {
  if (a === null || b === null || a === b) return '';
  const gap = minus(b, a);
  const share = a === 0 ? '' : ` (${gap > 0 ? '+' : '−'}${percent(Math.abs(Number(gap)) / Number(a))})`;
  if (rule !== 'bytes') return `${signed(gap)}${share}`;
  return `${gap > 0 ? '+' : '−'}${showBytes(gap < 0 ? minus(0, gap) : gap)}${share}`;
}

/** A number to so many digits, without the zeros that end its fraction: those of 100 and of e-10 stay. */
function plainText(value: number, digits: number): string {
  return value
    .toPrecision(digits)
    .replace(/(\.\d*?)0+(?=e|$)/, '$1')
    .replace(/\.(?=e|$)/, '');
}

function percent(share: number): string {
  const value = share * 100;
  // Less than all is never shown as all.
  if (value >= 99.95 && value < 100) return '>99.9%';
  return `${value >= 100 ? value.toFixed(0) : value >= 0.01 ? plainText(value, 3) : value.toExponential(1)}%`;
}

export function ruleCount(rule: Rule, count: Count | null): string {
  return rule === 'bytes' ? showBytes(count) : showCount(count);
}

/** A fact for people: words bare, lists and records in one line. */
export function factText(value: Json): string {
  if (value === null) return 'none';
  if (typeof value === 'boolean') return value ? 'on' : 'off';
  if (typeof value === 'string') return value === '' ? "''" : showName(value);
  if (value instanceof Map && typeof value.get('function') === 'string') {
    const rest = [...value].filter(([key, one]) => key !== 'function' && one !== null && one !== 0);
    const args = rest.map(([key, one]) => `${key} ${factText(one as Json)}`).join(', ');
    return `${showName(String(value.get('function')))}${args === '' ? '' : ` (${args})`}`;
  }
  return showName(formatFact(value));
}

/** Both words of one thing: the first side's, with the second's where it differs. */
export function whereText(at: Where): string {
  if (at.a === null) return showName(at.b ?? '');
  if (at.b === null || at.a === at.b) return showName(at.a);
  return `${showName(at.a)} (now ${showName(at.b)})`;
}

function torchMomentum(value: Json): string {
  return typeof value === 'number' ? String(complement(value)) : factText(value);
}

const KIND_PLURALS: ReadonlyMap<string, string> = new Map([
  ['conv', 'convolutions'],
  ['batch_norm', 'BatchNorms'],
  ['dense', 'dense layers'],
  ['depthwise_conv', 'depthwise convolutions'],
]);

/** `3 convolutions`, `1 dense layer`. */
export function kindCount(kind: string, count: number): string {
  const plural = KIND_PLURALS.get(kind) ?? `${kind.replaceAll('_', ' ')} layers`;
  return `${count} ${count === 1 ? plural.replace(/s$/, '') : plural}`;
}

/** What each code is about, for rule lists. */
export const CODE_WORDS: Readonly<Record<Change['code'], string>> = {
  layer_added: 'A layer was added',
  layer_removed: 'A layer was removed',
  layer_renamed: 'A layer has another name',
  layer_moved: 'A layer stands in another place',
  kind: 'A layer is of another type',
  attribute: 'A hyper-parameter changed',
  switched: 'A bias, gamma or beta was switched on or off',
  trainable: 'The trainability changed',
  dtype: 'The element type changed',
  policy: 'The dtype policy changed',
  shape: 'The shape of a tensor changed',
  tensor_added: 'A tensor was added to a layer',
  tensor_removed: 'A tensor was removed from a layer',
  tied: 'Tensors were tied or untied',
  wiring: 'A layer reads from another layer',
  program: 'The code or the exported program changed',
  inputs: 'The input shape changed',
  outputs: 'The outputs changed',
  output_shape: 'The output shape of a layer changed',
  swapped: 'Two tensors of a layer hold each other’s values',
  hash: 'The content of a tensor changed',
  value: 'The values of a tensor changed',
};

/** One difference as a line: what it is about, the two sides, and a remark. */
export interface Line {
  readonly mark: '+' | '-' | '~' | '>' | '!';
  /** Already escaped. */
  readonly where: string;
  /** What of it changed: `momentum`, `shape of kernel`. */
  readonly what: string;
  readonly before: string;
  readonly after: string;
  readonly remark: string;
}

/** A group of changes that one line says: same code, same words, several layers. */
export interface Group {
  readonly changes: readonly Change[];
  readonly line: Line;
}

function numberText(value: number): string {
  return Number.isInteger(value) ? String(value) : plainText(value, 4);
}

/** `max |Δ| 0.5, relative L2 0.01, cosine 0.9999, 1 of 32 changed (3.1%), first at [0]: 1 → 1.5`. */
export function statsText(stats: ValueStats): string {
  const parts = [
    `max |Δ| ${numberText(stats.maxAbs)}`,
    `relative L2 ${stats.relativeL2 === null ? 'undefined' : numberText(stats.relativeL2)}`,
    `cosine ${stats.cosine === null ? 'undefined' : plainText(stats.cosine, 6)}`,
    `${showCount(stats.changed)} of ${showCount(stats.elements)} changed (${percent(stats.changed / Math.max(1, stats.elements))})`,
  ];
  if (stats.nan.a + stats.nan.b > 0) parts.push(`NaN ${stats.nan.a} → ${stats.nan.b}`);
  if (stats.infinite.a + stats.infinite.b > 0) parts.push(`Inf ${stats.infinite.a} → ${stats.infinite.b}`);
  return parts.join(', ');
}

const CLASS_WORDS: ReadonlyMap<string, string> = new Map([
  ['weight', 'weights'],
  ['statistic', 'statistics'],
  ['counter', 'counter'],
  ['constant', 'constant'],
]);

/** What a file holds of the computation besides layers, by part. */
const PROGRAM_WORDS: ReadonlyMap<string, string> = new Map([
  ['code', 'TorchScript code'],
  ['program', 'exported program'],
  ['exported', 'exported program'],
]);

function rolesText(roles: readonly string[]): string {
  return listNames(roles, 8);
}

function shapesText(shape: Parameters<typeof showShape>[0]): string {
  return showShape(shape);
}

/** The line of one change, its layer left to the caller. */
export function lineOf(change: Change): Omit<Line, 'where'> {
  const plain = { before: '', after: '', remark: '' };
  switch (change.code) {
    case 'layer_added':
    case 'layer_removed': {
      const added = change.code === 'layer_added';
      const type = change.type === '' ? change.at.kind : change.type;
      const tensors =
        change.tensors === 0
          ? 'no weights'
          : `${change.tensors === 1 ? '1 tensor' : `${change.tensors} tensors`}, ${signed(change.elements)}`;
      return {
        ...plain,
        mark: added ? '+' : '-',
        what: added ? 'added' : 'removed',
        remark: `${showName(type)}, ${tensors}`,
      };
    }
    case 'layer_renamed':
      return {
        ...plain,
        mark: '>',
        what: change.renumbered ? 'renumbered' : 'renamed',
        before: showName(change.at.a ?? ''),
        after: showName(change.at.b ?? ''),
      };
    case 'layer_moved':
      return {
        ...plain,
        mark: '>',
        what: 'moved',
        before: showName(change.at.a ?? ''),
        after: showName(change.at.b ?? ''),
      };
    case 'kind':
      return { mark: '~', what: 'type', before: showName(change.before), after: showName(change.after), remark: '' };
    case 'attribute': {
      const remark =
        change.at.kind === 'batch_norm' && change.name === 'momentum'
          ? `PyTorch ${torchMomentum(change.before)} → ${torchMomentum(change.after)}`
          : '';
      const what = ATTRIBUTE_WORDS.get(change.name) ?? showName(change.name);
      return { mark: '~', what, before: factText(change.before), after: factText(change.after), remark };
    }
    case 'switched': {
      const what = `${showName(change.role)} switched ${change.on ? 'on' : 'off'}`;
      return { ...plain, mark: '~', what, remark: signed(change.elements) };
    }
    case 'trainable': {
      const word = (flag: boolean): string => (flag ? 'trainable' : 'frozen');
      const of = change.roles.length === 0 ? '' : ` (${rolesText(change.roles)})`;
      return {
        mark: '~',
        what: `trainability${of}`,
        before: word(change.before),
        after: word(change.after),
        remark: `${showCount(change.elements)} elements`,
      };
    }
    case 'dtype':
      return {
        mark: '~',
        what: `dtype of ${rolesText(change.roles)}`,
        before: change.before,
        after: change.after,
        remark: '',
      };
    case 'policy':
      return {
        mark: '~',
        what: 'dtype policy',
        before: showName(change.before),
        after: showName(change.after),
        remark: '',
      };
    case 'shape':
      return {
        mark: '~',
        what: `shape of ${rolesText(change.roles)}`,
        before: shapesText(change.before),
        after: shapesText(change.after),
        remark: signed(change.elements),
      };
    case 'tensor_added':
    case 'tensor_removed': {
      const added = change.code === 'tensor_added';
      return {
        ...plain,
        mark: added ? '+' : '-',
        what: `${showName(change.role)} ${added ? 'added' : 'removed'}`,
        remark: `${shapesText(change.shape)}, ${signed(change.elements)}`,
      };
    }
    case 'tied': {
      const word = (owner: string | null): string => (owner === null ? 'its own tensor' : `tied to ${showName(owner)}`);
      return {
        mark: '~',
        what: showName(change.role),
        before: word(change.before),
        after: word(change.after),
        remark: '',
      };
    }
    case 'wiring':
      return {
        mark: '~',
        what: 'reads from',
        before: listNames(change.before),
        after: listNames(change.after),
        remark: '',
      };
    case 'program':
      return {
        ...plain,
        mark: '~',
        what: PROGRAM_WORDS.get(change.part) ?? showName(change.part),
        remark: 'differs: it may compute something else',
      };
    case 'inputs':
      return {
        mark: '~',
        what: 'input shape',
        before: change.before.map((shape) => shapesText(shape)).join(', '),
        after: change.after.map((shape) => shapesText(shape)).join(', '),
        remark: '',
      };
    case 'outputs':
      return {
        mark: '~',
        what: 'outputs',
        before: listNames(change.before),
        after: listNames(change.after),
        remark: '',
      };
    case 'output_shape':
      return {
        mark: '~',
        what: 'output shape',
        before: shapesText(change.before),
        after: shapesText(change.after),
        remark: '',
      };
    case 'swapped':
      return { ...plain, mark: '!', what: `${showName(change.roles[0])} and ${showName(change.roles[1])} are swapped` };
    case 'hash':
      return {
        ...plain,
        mark: '~',
        what: `${CLASS_WORDS.get(change.class) ?? 'values'} ${showName(change.role)}`,
        remark: 'the content differs',
      };
    case 'value': {
      const { stats } = change;
      const of = change.filled ? ', which the translation fills' : '';
      return {
        mark: '~',
        what: `${CLASS_WORDS.get(change.class) ?? 'values'} ${showName(change.role)}${of}, first at [${stats.first.index.join(', ')}]`,
        before: stats.first.a,
        after: stats.first.b,
        remark: statsText(stats),
      };
    }
  }
}

/** What a rename or a move replaces: the middle that two paths do not share, cut where words begin and end. */
function middleOf(a: string, b: string): { readonly a: string; readonly b: string } {
  const tokens = (text: string): readonly string[] => text.split(/(?<=[/._-])|(?=[/._-])/);
  const one = tokens(a);
  const other = tokens(b);
  let start = 0;
  while (start < one.length - 1 && start < other.length - 1 && one[start] === other[start]) start += 1;
  let end = 0;
  while (
    end < one.length - 1 - start &&
    end < other.length - 1 - start &&
    one[one.length - 1 - end] === other[other.length - 1 - end]
  ) {
    end += 1;
  }
  // The kept head belongs to what is told, so that the reader finds the place.
  return { a: one.slice(0, one.length - end).join(''), b: other.slice(0, other.length - end).join('') };
}

/** What all texts begin with, up to the last separator: the `_4_` of block_4_expand and block_4_project. */
function sharedHead(texts: readonly string[]): string {
  const [first = ''] = texts;
  let length = first.length;
  for (const text of texts) {
    let same = 0;
    while (same < length && text[same] === first[same]) same += 1;
    length = same;
  }
  return /^.*[/._-]/.exec(first.slice(0, length))?.[0] ?? '';
}

function groupKey(change: Change): string {
  if (change.code === 'layer_renamed' && change.renumbered) {
    const number = (path: string | null): number => Number(/(\d+)$/.exec(path ?? '')?.[1] ?? 0);
    const parent = (change.at.a ?? '').replace(/\d+$/, '');
    return `renumbered ${parent} ${number(change.at.b) - number(change.at.a)}`;
  }
  if (change.code === 'layer_renamed' || change.code === 'layer_moved') {
    const middle = middleOf(change.at.a ?? '', change.at.b ?? '');
    return `${change.code} ${middle.a} ${middle.b}`;
  }
  if (change.code === 'value' || change.code === 'hash' || change.code === 'swapped') return '';
  if (change.code === 'layer_added' || change.code === 'layer_removed') return '';
  if (change.code === 'output_shape') return 'output_shape';
  const line = lineOf(change);
  if (change.code === 'switched') return `${change.code} ${change.at.kind} ${line.what}`;
  return `${change.code} ${change.at.kind} ${line.what} ${line.before} ${line.after}`;
}

function sumOf(changes: readonly Change[]): Count {
  let sum: Count = 0;
  for (const change of changes) if ('elements' in change) sum = minus(sum, minus(0, change.elements));
  return sum;
}

function groupLine(changes: readonly Change[]): Line {
  const [first] = changes;
  if (first === undefined) return { mark: '~', where: '', what: '', before: '', after: '', remark: '' };
  const line = lineOf(first);
  const single = changes.length === 1;
  const layers = changes.map((change) => change.at.a ?? change.at.b ?? '');
  if (first.code === 'layer_renamed' || first.code === 'layer_moved') {
    if (single) return { ...line, where: '', remark: '' };
    if (first.code === 'layer_renamed' && first.renumbered) {
      const last = changes.at(-1)?.at;
      return {
        ...line,
        where: '',
        before: `${showName(first.at.a ?? '')} … ${showName(last?.a ?? '')}`,
        after: `${showName(first.at.b ?? '')} … ${showName(last?.b ?? '')}`,
        remark: `${changes.length} layers`,
      };
    }
    const middle = middleOf(first.at.a ?? '', first.at.b ?? '');
    const shared = sharedHead(changes.map((change) => (change.at.a ?? '').slice(middle.a.length)));
    return {
      ...line,
      where: '',
      before: `${showName(middle.a + shared)}*`,
      after: `${showName(middle.b + shared)}*`,
      remark: `${changes.length} layers`,
    };
  }
  if (first.at.a === '' || first.at.b === '') return { ...line, where: 'the model' };
  if (single) return { ...line, where: whereText(first.at) };
  if (first.code === 'output_shape') {
    return {
      ...line,
      where: `${changes.length} layers`,
      what: 'output shapes',
      remark: `first ${whereText(first.at)}`,
    };
  }
  const where = kindCount(first.at.kind, changes.length);
  const sum = sumOf(changes);
  const counted = sum === 0 || first.code === 'trainable' ? '' : `${signed(sum)}, `;
  const remark = first.code === 'attribute' && line.remark !== '' ? `${line.remark}, ` : counted;
  return { ...line, where, remark: `${remark}${listNames(layers, 3)}` };
}

const CODE_ORDER: readonly Change['code'][] = [
  'inputs',
  'outputs',
  'program',
  'layer_removed',
  'layer_added',
  'layer_renamed',
  'layer_moved',
  'kind',
  'wiring',
  'attribute',
  'switched',
  'shape',
  'tensor_removed',
  'tensor_added',
  'dtype',
  'policy',
  'trainable',
  'tied',
  'output_shape',
  'swapped',
  'hash',
  'value',
];

/** Values of weights first, then statistics, which drift although weights are frozen, then the others. */
function classRank(change: Change): number {
  if (change.code !== 'value' && change.code !== 'hash') return 0;
  return change.class === 'weight' ? 1 : change.class === 'statistic' ? 2 : 3;
}

/** A step from one side's total to the other's; within one framework both count the statistics. */
export function explanationText(step: PairStep, across: boolean): string {
  if (across || (step.kind !== 'moving_statistics' && step.kind !== 'other_statistics')) return pairStepText(step);
  return `${step.kind === 'moving_statistics' ? 'moving statistics' : 'statistics of other layers'} (${listNames(step.layers)})`;
}

/** Changes in a fixed order, those that say the same of several layers as one line. */
export function groupChanges(changes: readonly Change[]): readonly Group[] {
  const groups = new Map<string, Change[]>();
  let apart = 0;
  const ordered = CODE_ORDER.flatMap((code) => changes.filter((change) => change.code === code)).toSorted(
    (one, other) => classRank(one) - classRank(other),
  );
  for (const change of ordered) {
    const key = groupKey(change);
    // What is said of the model itself is said of no layer.
    const word = key === '' ? `#${apart++}` : `${change.at.a === '' || change.at.b === ''} ${key}`;
    const list = groups.get(word);
    if (list) list.push(change);
    else groups.set(word, [change]);
  }
  return [...groups.values()].map((list) => ({ changes: list, line: groupLine(list) }));
}

/** `batch_normalization momentum 0.99 → 0.9 (PyTorch 0.01 → 0.1)`. */
export function lineText({ where, what, before, after, remark }: Line): string {
  const arrow = before === '' && after === '' ? '' : `${before} → ${after}`;
  const parts = [where, what, arrow].filter((part) => part !== '').join(' ');
  return remark === '' ? parts : `${parts} (${remark})`;
}

const NOT_COMPARED: Readonly<Record<NotCompared['what'], (name: string) => string>> = {
  attribute: (name) => ATTRIBUTE_WORDS.get(name) ?? showName(name),
  trainable: () => 'trainability',
  architecture: () => 'layers without weights',
  wiring: (name) =>
    name === 'order'
      ? 'order of the layers'
      : name === 'calls'
        ? 'operations, their arguments and the order of what is read'
        : 'connections between the layers',
  values: () => 'values',
  layer: () => 'kind of layer',
  policy: () => 'dtype policy',
  ambiguous: () => 'which layer is which, where several fit (they were paired in order)',
  program: () => 'the computation (TorchScript code, exported program)',
  constants: () => 'tensors outside the state (constants, buffers that are not saved)',
  training: () => 'the training flag, which differs',
  beside: (name) => showName(name),
  inputs: (name) => (name === 'types' ? 'types of the inputs' : 'inputs and outputs of the model'),
  tied: () => 'which tensors are one',
  optimizer: () => 'optimizer',
};

/** `eps` or, with what the telling side says, `eps 0.001`. */
function notComparedName(one: NotCompared): string {
  const what = NOT_COMPARED[one.what](one.name);
  return one.value === null ? what : `${what} ${factText(one.value)}`;
}

function notComparedPlace(layers: readonly string[]): string {
  return layers.length === 0 ? '' : ` of ${listNames(layers, 3)}`;
}

/** `eps 0.001 of bn: only the first file tells`. */
export function notComparedText(one: NotCompared): string {
  return notComparedGroup([one]);
}

/** Several things that one side does not tell of the same layers. */
function notComparedGroup(group: readonly NotCompared[]): string {
  const [first] = group;
  if (first === undefined) return '';
  const what = group.map(notComparedName).join(', ') + notComparedPlace(first.layers);
  if (first.what === 'ambiguous') return `${notComparedName(first)}: ${listNames(first.layers, 3)}`;
  if (first.what === 'wiring' && first.name === 'order') {
    return `${notComparedName(first)}, which is another for ${listNames(first.layers, 3)}: neither file tells the connections`;
  }
  if ((first.what === 'program' || first.what === 'constants') && first.silent === 'both')
    return `${what}: the two files keep it in different forms`;
  if (first.what === 'beside')
    return `beside the model, ${listNames(group.map(({ name }) => name))}: ${besideText(first)}`;
  if (first.what === 'training') return `${what}: only the code of the class tells whether it matters`;
  if (first.silent === 'both') return `${what}: neither file tells`;
  return `${what}: only the ${first.silent === 'a' ? 'second' : 'first'} file tells`;
}

function besideText({ silent, value }: NotCompared): string {
  if (silent !== 'both') return `only the ${silent === 'a' ? 'second' : 'first'} file has it`;
  return value === 'tensors' ? 'its tensors are not compared' : 'the two files differ there';
}

/** What has words of its own. */
const APART: ReadonlySet<NotCompared['what']> = new Set(['ambiguous', 'beside', 'training', 'wiring']);

/** What was not compared, one line for each set of layers. */
export function notComparedLines(all: readonly NotCompared[]): readonly string[] {
  const groups = new Map<string, NotCompared[]>();
  for (const one of all) {
    const key = `${APART.has(one.what) ? one.what : ''} ${one.name === 'order'} ${one.what === 'beside' ? String(one.value) : ''} ${one.silent} ${one.layers.join('\n')}`;
    const list = groups.get(key);
    if (list) list.push(one);
    else groups.set(key, [one]);
  }
  return [...groups.values()].map(notComparedGroup);
}

/** The model itself has an empty path. */
function layerName(path: string): string {
  return path === '' ? 'the model' : path;
}

export function breachText(breach: Breach): string {
  switch (breach.code) {
    case 'budget': {
      const { rule, text } = breach.budget;
      const known = breach.before !== null && breach.after !== null;
      const gap = known ? deltaText({ rule, a: breach.before, b: breach.after }) : '';
      const after = breach.after === null ? 'not known' : ruleCount(rule, breach.after);
      return `budget ${showName(text)}: ${RULE_WORDS[rule]} ${after}${gap === '' ? '' : `, ${gap}`}`;
    }
    case 'denied':
      return `denied: ${breach.category} (${breach.changes === 1 ? '1 change' : `${breach.changes} changes`})`;
    case 'frozen':
      return `frozen ${showName(breach.glob)}: ${listNames(breach.layers.map(layerName))} changed`;
    case 'frozen_unknown':
      return `frozen ${showName(breach.glob)}: the values of ${listNames(breach.layers.map(layerName))} cannot be compared`;
    case 'unknown':
      return `not everything is known: ${listNames(breach.names)}`;
  }
}

/** The answer in one sentence. */
export function verdictText({ comparison, breaches, verdict }: Judged): string {
  const { values, across } = comparison;
  const looked =
    values === null
      ? 'values were not compared (--values)'
      : values.compared === 0
        ? 'there are no values to compare'
        : values.changedWeights + values.changedStatistics + values.changedOthers === 0
          ? `${values.compared === 1 ? '1 tensor has' : `${showCount(values.compared)} tensors have`} the same values`
          : `values differ in ${showCount(values.changedWeights + values.changedStatistics + values.changedOthers)} of ${showCount(values.compared)} tensors (weights: ${showCount(values.changedWeights)}, statistics: ${showCount(values.changedStatistics)}, others: ${showCount(values.changedOthers)})`;
  const count = groupChanges(comparison.changes).length;
  const differences = count === 1 ? '1 difference' : `${showCount(count)} differences`;
  if (verdict === 'unknown') return `No difference as far as it could be compared; ${looked}.`;
  if (verdict === 'same') return `${across ? 'The same network' : 'No difference'}; ${looked}.`;
  if (verdict === 'differs') return `${count === 0 ? 'The totals differ, and no layer does' : differences}; ${looked}.`;
  const broken = breaches.length === 1 ? '1 rule is breached' : `${breaches.length} rules are breached`;
  return `${broken}; ${count === 0 ? 'no difference' : differences}; ${looked}.`;
}

/**
 * Totals that changed, and always the Keras total and PyTorch's parameters. Across frameworks PyTorch's words alone: the
 * steps from one framework's number to the other's stand apart.
 */
export function shownRules(comparison: Comparison): readonly RuleChange[] {
  return comparison.rules.filter(({ rule, a, b }) => {
    if (comparison.across) return (rule.startsWith('torch.') || rule === 'state.elements') && a !== null && b !== null;
    return (a !== b && (a !== null || b !== null)) || rule === 'keras.total' || rule === 'torch.parameters';
  });
}
