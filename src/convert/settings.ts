import { type Diagnostic, note } from '../ir/diagnostic.ts';
import type { Layer, Model } from '../ir/model.ts';
import { paddingOf, padsOf, pairsOf } from '../layers/window.ts';
import { inputsOfFirstCalls } from './lower/lower.ts';
import type { Plan } from './plan.ts';

/** PyTorch's defaults of constructor arguments that change what a module computes and that no state_dict carries. */
const USUAL: ReadonlyMap<string, Readonly<Record<string, number>>> = new Map([
  ['BatchNorm1d', { eps: 1e-5, momentum: 0.1 }],
  ['BatchNorm2d', { eps: 1e-5, momentum: 0.1 }],
  ['BatchNorm3d', { eps: 1e-5, momentum: 0.1 }],
  ['GroupNorm', { eps: 1e-5 }],
  ['LayerNorm', { eps: 1e-5 }],
]);

/** Layers that a diagnostic names. */
const NAMED = 5;

/**
 * What a model built by hand has to be given besides the weights: the settings of its modules that are not PyTorch's
 * defaults (TARGET_SETTING), and uneven padding (TARGET_PADDING), which `padding=` of a PyTorch module cannot say. For
 * conversions that write no module.
 */
export function settingNotes(model: Model, plan: Plan): readonly Diagnostic[] {
  return [...settings(plan), ...paddings(model)];
}

function settings(plan: Plan): readonly Diagnostic[] {
  const found = new Map<string, { type: string; setting: string; value: number; usual: number; paths: string[] }>();
  for (const { path, type, args } of plan.modules) {
    for (const [setting, usual] of Object.entries(USUAL.get(type) ?? {})) {
      const value = args[setting];
      if (typeof value !== 'number' || value === usual) continue;
      const key = `${type} ${setting} ${value}`;
      const group = found.get(key) ?? { type, setting, value, usual, paths: [] };
      group.paths.push(path);
      found.set(key, group);
    }
  }
  return [...found.values()].map(({ type, setting, value, usual, paths }) =>
    note('TARGET_SETTING', {}, { count: paths.length, type, setting, value, usual, first: paths.slice(0, NAMED) }),
  );
}

function paddings(model: Model): readonly Diagnostic[] {
  const inputs = inputsOfFirstCalls(model);
  const uneven = model.layers.filter((layer) => isUneven(layer, inputs.get(layer.path)?.[0] ?? null));
  if (uneven.length === 0) return [];
  return [
    note('TARGET_PADDING', {}, { count: uneven.length, first: uneven.slice(0, NAMED).map((layer) => layer.path) }),
  ];
}

/** Whether a layer pads one end of an axis more than the other, or as much as the input's size demands. */
function isUneven({ kind, norm }: Layer, input: Parameters<typeof padsOf>[1]): boolean {
  if (kind === 'zero_pad') {
    const pads = pairsOf(norm['pads']) ?? pairsOf(norm['padding']);
    return (pads ?? []).some(([before, after]) => before !== after);
  }
  if (kind === 'conv_transpose' || paddingOf(norm) !== 'same') return false;
  if (norm['kernelSize'] === undefined && norm['poolSize'] === undefined) return false;
  const pads = padsOf(norm, input);
  return pads === null || pads.some(([before, after]) => before !== after);
}
