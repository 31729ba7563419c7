import type { Shape } from '../ir/model.ts';
import type { Family } from './family.ts';
import { innerLayer, innerTwin } from './wrappers.ts';

/** The shape of one step: the time axis left out. */
function oneStep(shape: Shape): Shape {
  return [shape[0] ?? null, ...shape.slice(2)];
}

/** Attributes: none. The inner layer is applied to every step; its twin works on (batch · steps, …). */
export const timeDistributed: Family = {
  kind: 'time_distributed',
  types: { keras: ['TimeDistributed'] },
  container: true,
  normalise: () => ({}),
  inner: (attrs) => [innerLayer(attrs.get('layer'), 'layer')].filter((inner) => inner !== undefined),
  outputs(_norm, inputs, call, children = []) {
    const steps = inputs[0]?.[1];
    const result = children[0]?.outputs(inputs.map(oneStep), call);
    if (steps === undefined || result === null || result === undefined) return null;
    return result.map((shape) => [shape[0] ?? null, steps, ...shape.slice(1)]);
  },
  macs(_norm, inputs, outputs, children = []) {
    const steps = inputs[0]?.[1];
    const one = children[0]?.macs(inputs.map(oneStep), outputs.map(oneStep)) ?? null;
    return one === null || typeof steps !== 'number' ? null : steps * one;
  },
  toTorch: (layer, twinOf) => innerTwin(layer, layer.inputs?.map(oneStep) ?? null, twinOf),
};
