import type { Model } from '../ir/model.ts';
import type { Accounting } from './account.ts';
import { type Count, plus, times } from './count.ts';
import { firstOwners, RULES, select, tally } from './rules.ts';

export type Tool =
  | 'keras2_summary'
  | 'keras3_summary'
  | 'keras3_summary_compiled'
  | 'sum_numel'
  | 'torchinfo'
  | 'torchsummary'
  | 'state_dict_elements';

/** Why a tool prints what it prints; the sentence is in views. */
export type ToolReason =
  | 'all_weights' // weights and statistics, the optimizer left out
  | 'all_weights_compile_false'
  | 'with_optimizer'
  | 'h5_optimizer_unbuilt' // Keras 3 loads a compiled .h5 with an optimizer of two variables
  | 'not_compiled' // the file holds no optimizer, or not all of it
  | 'parameters_only'
  | 'parameters_once'
  | 'weight_and_bias_only'
  | 'lstm_crash'
  | 'graph_unknown'
  | 'no_counterpart' // layers that Keras does not have
  | 'every_key';

export interface ToolFigure {
  readonly tool: Tool;
  /** null: the tool stops with an error, or it cannot be known. */
  readonly elements: Count | null;
  readonly crashes: boolean;
  readonly reason: ToolReason;
}

/** How often each layer is called in one forward pass, through nested models; null without a graph. */
export function callsOfLayers(model: Model): ReadonlyMap<string, number> | null {
  if (model.graphs.size === 0) return null;
  const calls = new Map<string, number>();
  const waiting: { readonly graph: string; readonly factor: number }[] = [{ graph: '', factor: 1 }];
  // A nested model that is shared between graphs is walked again for each; the bound ends a graph that holds itself.
  const bound = model.graphs.size * 8;
  for (let index = 0; index < waiting.length && index < bound; index += 1) {
    const item = waiting[index];
    if (item === undefined) break;
    const here = new Map<string, number>();
    for (const call of model.graphs.get(item.graph)?.calls ?? []) {
      if (call.layer !== null) here.set(call.layer, (here.get(call.layer) ?? 0) + item.factor);
    }
    for (const [layer, count] of here) {
      calls.set(layer, (calls.get(layer) ?? 0) + count);
      if (model.graphs.has(layer)) waiting.push({ graph: layer, factor: count });
    }
  }
  // The inside of a wrapper is called whenever the wrapper is; parents come before their children.
  for (const layer of model.layers) {
    if (calls.has(layer.path) || layer.parent === null || model.graphs.has(layer.parent)) continue;
    const outer = calls.get(layer.parent);
    if (outer !== undefined) calls.set(layer.path, outer);
  }
  return calls;
}

/** Modules of torch.nn whose weights have other names than `weight` and `bias`: torchsummary counts none of them. */
const UNSEEN_MODULES: ReadonlySet<string> = new Set([
  'GRU',
  'RNN',
  'MultiheadAttention',
  'LSTMCell',
  'GRUCell',
  'RNNCell',
]);

/**
 * torchsummary's Total: `weight` and `bias` of every module that a forward pass calls, once per call and once per
 * module; it stops at an LSTM, whose output is a tuple.
 */
function torchsummary(model: Model, accounting: Accounting): Omit<ToolFigure, 'tool'> {
  const { types } = accounting.entries;
  const hasLstm = [...new Set(types.values())].some((list) => list.includes('LSTM'));
  if (hasLstm || model.layers.some((layer) => layer.kind === 'lstm' && layer.weights.length > 0)) {
    return { elements: null, crashes: true, reason: 'lstm_crash' };
  }
  const calls = callsOfLayers(model);
  if (calls === null || accounting.entries.untwinned.size > 0) {
    return { elements: null, crashes: false, reason: 'graph_unknown' };
  }
  let sum: Count = 0;
  const seen = new Set<string>();
  for (const entry of accounting.entries.torch) {
    const word = entry.role.slice(entry.role.lastIndexOf('.') + 1);
    if (!entry.isParameter || (word !== 'weight' && word !== 'bias')) continue;
    const layer = model.layers[entry.at];
    const unseen = types.get(entry.at)?.some((type) => UNSEEN_MODULES.has(type));
    if (unseen === true || layer?.kind === 'attention') continue;
    const key = `${entry.layer}/${entry.role}`;
    if (seen.has(key)) continue;
    seen.add(key);
    sum = plus(sum, times(entry.elements, calls.get(entry.layer) ?? 0));
  }
  return { elements: sum, crashes: false, reason: 'weight_and_bias_only' };
}

/** What each well-known tool prints as its total for this model, or for its counterpart in the tool's framework. */
export function toolFigures(model: Model, accounting: Accounting): readonly ToolFigure[] {
  const { totals, optimizer } = accounting;
  const legacy = model.format === 'keras-h5';
  // Counted by Keras 3 after loading a compiled .h5: the iteration and the learning rate alone.
  const compiled: Omit<ToolFigure, 'tool'> =
    totals.keras.totalCompiled === null
      ? { elements: null, crashes: false, reason: 'not_compiled' }
      : legacy
        ? { elements: plus(totals.keras.total, 2), crashes: false, reason: 'h5_optimizer_unbuilt' }
        : { elements: plus(totals.keras.total, optimizer.tally.elements), crashes: false, reason: 'with_optimizer' };
  const unique = tally(select(RULES['torch.parameters'], firstOwners(accounting.entries.torch)) ?? []).elements;
  const ofKeras = model.dialect === 'keras';
  // A model of PyTorch that Keras has no layers for is no model of Keras.
  const without = !ofKeras && accounting.entries.untwinned.size > 0;
  const keras = (tool: Tool, reason: ToolReason): ToolFigure =>
    without
      ? { tool, elements: null, crashes: false, reason: 'no_counterpart' }
      : { tool, elements: totals.keras.total, crashes: false, reason };
  return [
    keras('keras2_summary', 'all_weights'),
    keras('keras3_summary', 'all_weights_compile_false'),
    ...(ofKeras ? [{ tool: 'keras3_summary_compiled', ...compiled } as const] : []),
    { tool: 'sum_numel', elements: totals.torch.parameters, crashes: false, reason: 'parameters_only' },
    { tool: 'torchinfo', elements: unique, crashes: false, reason: 'parameters_once' },
    { tool: 'torchsummary', ...torchsummary(model, accounting) },
    { tool: 'state_dict_elements', elements: totals.state.elements, crashes: false, reason: 'every_key' },
  ];
}
