import { minus } from '../account/count.ts';
import type { Landmark, Step, StepKind } from '../account/explain.ts';
import type { PairStep, PairStepKind } from '../account/explain-pair.ts';
import type { Summary } from '../account/summary.ts';
import type { Tool, ToolReason } from '../account/tools.ts';
import { listNames } from './diagnostics.ts';
import { showCount } from './number.ts';
import { ROOT } from './rows.ts';

/** What a step is, in words that follow its number; `of` is empty or names the layers. */
const STEPS: Readonly<Record<StepKind, (of: string) => string>> = {
  moving_statistics: (of) => `moving statistics${of}`,
  other_statistics: (of) => `statistics${of}`,
  batch_counters: (of) => `num_batches_tracked${of}`,
  counters: (of) => `counters${of}`,
  constants: (of) => `constants${of}`,
  filled_scale: (of) => `gamma or beta${of} that Keras leaves out and PyTorch fills`,
  second_bias: (of) => `second biases${of}, which PyTorch keeps and Keras does not`,
  filled: (of) => `elements${of} that only the PyTorch layer has`,
  tied_apart: (of) => `elements of tied tensors${of}, which the other framework's layers cannot share`,
  restructured: (of) => `elements${of} by another structure of the same layer`,
  repeated_keys: (of) => `elements of tied tensors under further keys${of}`,
  folded_affine: (of) => `gamma and beta${of}, folded away`,
  gained_bias: (of) => `biases that the neighbours${of} gain`,
  scale_and_shift: (of) => `scales and shifts${of}, which no neighbour can take`,
  optimizer: () => 'optimizer variables',
};

/** Where one framework keeps what the other counts, for the sentence under the totals. */
const STEP_REMARKS: Readonly<Partial<Record<StepKind, string>>> = {
  moving_statistics: ', which PyTorch keeps in buffers',
  other_statistics: ', which PyTorch keeps in buffers',
  counters: ', which PyTorch keeps in buffers',
  constants: ', which PyTorch keeps in buffers',
  batch_counters: ', which PyTorch keeps in buffers',
};

/** The noun of a step in that sentence, where it differs from the step's own words. */
const STEP_NOUNS: Readonly<Partial<Record<StepKind, string>>> = {
  filled_scale: 'filled gamma or beta',
  second_bias: 'second biases',
  tied_apart: 'elements of tied tensors',
};

/** The noun of a single one. */
const ONE_OF: Readonly<Partial<Record<StepKind, string>>> = {
  moving_statistics: 'moving statistic',
  other_statistics: 'statistic',
  counters: 'counter',
  constants: 'constant',
  second_bias: 'second bias',
  filled: 'element that only the PyTorch layer has',
  restructured: 'element by another structure of the same layer',
};

const PAIR_STEPS: Readonly<Record<PairStepKind, string>> = {
  moving_statistics: 'moving statistics, counted by one framework and not by the other',
  other_statistics: 'statistics of other layers, counted by one framework and not by the other',
  counters: 'counters',
  constants: 'constants',
  bias_before_batch_norm: 'biases before a BatchNorm',
  bias: 'biases',
  second_bias: 'second biases of recurrent layers',
  scale_and_shift: 'scales and shifts of normalisation layers',
  tied: 'elements of tied tensors, which count once',
  different_size: 'elements of layers of another size',
  only_in_first: 'elements of layers that only the first has',
  only_in_second: 'elements of layers that only the second has',
};

export const RULE_NAMES: Readonly<Record<Landmark['rule'], string>> = {
  'keras.total': 'Keras total',
  'keras.totalCompiled': 'Keras 3 total, compiled',
  'torch.parameters': 'PyTorch parameters',
  'state.elements': 'state_dict elements',
  'inference.elements': 'elements with each BatchNorm folded',
};

export const TOOLS: Readonly<Record<Tool, string>> = {
  keras2_summary: 'Keras 2 summary()',
  keras3_summary: 'Keras 3 summary(), not compiled',
  keras3_summary_compiled: 'Keras 3 summary(), loaded compiled',
  sum_numel: 'sum(p.numel())',
  torchinfo: 'torchinfo',
  torchsummary: 'torchsummary',
  state_dict_elements: 'sum over the state_dict',
};

export const TOOL_REASONS: Readonly<Record<ToolReason, string>> = {
  all_weights: 'weights and statistics; never the optimizer',
  all_weights_compile_false: 'weights and statistics',
  with_optimizer: 'adds the optimizer, which loading builds',
  h5_optimizer_unbuilt: 'adds two optimizer variables: loading an .h5 does not build the slots',
  not_compiled: 'the file holds no optimizer (not compiled when saved), or one that is not known whole',
  parameters_only: 'parameters, frozen ones too; no statistics',
  parameters_once: 'parameters, a shared one once',
  weight_and_bias_only:
    'only attributes called weight and bias, once per call of a layer; none of GRU, RNN or attention',
  lstm_crash: 'stops at an LSTM: its output is a tuple',
  no_counterpart: 'Keras has no such layers',
  graph_unknown: 'counts per call, and the calls are not known',
  every_key: 'every key, counters and tied tensors included',
};

/** `moving statistics of batch_normalization`. */
export function stepText(step: Step): string {
  return STEPS[step.kind](step.layers.length === 0 ? '' : ` of ${listNames(step.layers.map((path) => path || ROOT))}`);
}

export function pairStepText(step: PairStep): string {
  return `${PAIR_STEPS[step.kind]} (${listNames(step.layers.map((path) => path || ROOT))})`;
}

/** `a`, `a and b`, `a, b and c`. */
function listed(words: readonly string[]): string {
  return words.length < 3 ? words.join(' and ') : `${words.slice(0, -1).join(', ')} and ${words.at(-1) ?? ''}`;
}

/** Why Keras' and PyTorch's totals differ, in one sentence. */
export function differenceText(summary: Summary): string {
  const { keras, torch } = summary.totals;
  const say = (step: Step): string => {
    const count = step.elements < 0 ? minus(0, step.elements) : step.elements;
    const layers = step.layers.length === 1 ? '1 layer' : `${showCount(step.layers.length)} layers`;
    const noun = (count === 1 ? ONE_OF[step.kind] : undefined) ?? STEP_NOUNS[step.kind] ?? STEPS[step.kind]('');
    return `${showCount(count)} ${noun} (${layers})`;
  };
  /** Steps that are remarked on alike stand together, before their remark. */
  const list = (steps: readonly Step[]): string => {
    const groups = new Map<string, string[]>();
    for (const step of steps) {
      const remark = STEP_REMARKS[step.kind] ?? '';
      const group = groups.get(remark);
      if (group === undefined) groups.set(remark, [say(step)]);
      else group.push(say(step));
    }
    const texts = [...groups].map(([remark, words]) => `${listed(words)}${remark}`);
    return texts.join([...groups.keys()].some((remark) => remark !== '') ? ', and ' : ' and ');
  };
  const less = summary.difference.filter((step) => step.elements < 0);
  const more = summary.difference.filter((step) => step.elements > 0);
  if (less.length === 0 && more.length === 0) return 'Keras and PyTorch report the same total.';
  const parts = [
    ...(less.length === 0 ? [] : [`Keras alone counts ${list(less)}`]),
    ...(more.length === 0 ? [] : [`PyTorch alone counts ${list(more)}`]),
  ];
  const gap =
    keras.total > torch.parameters ? minus(keras.total, torch.parameters) : minus(torch.parameters, keras.total);
  const start = gap === 0 ? 'The totals agree, though' : `The totals differ by ${showCount(gap)}:`;
  return `${start} ${parts.join('; ')}.`;
}
