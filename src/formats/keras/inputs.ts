import type { JsonObject } from '../../ir/json.ts';
import type { Call, Graph, Shape } from '../../ir/model.ts';
import { attentionInputs } from '../../layers/attention.ts';
import type { BoundLayer } from '../../layers/family.ts';
import { operationOutputs, operationWord } from '../../layers/operation.ts';
import type { Argument } from '../../layers/operation-tensor.ts';
import { bindLayer } from '../../layers/registry.ts';
import type { LayerSpec } from './architecture.ts';

/** Input shapes of each layer's first call, by path; a layer whose inputs are not known is absent. */
export type InputShapes = ReadonlyMap<string, readonly Shape[]>;

const RECURRENT: ReadonlySet<string> = new Set(['bidirectional', 'conv_lstm', 'gru', 'lstm', 'rnn', 'rnn_container']);

const ATTENTION: ReadonlySet<string> = new Set(['attention', 'grouped_attention']);

function tensorInputs(kind: string, call: Call, shapes: readonly (Shape | null)[]): readonly (Shape | null)[] {
  if (ATTENTION.has(kind)) {
    return attentionInputs(call.inputs, call.attrs)
      .filter((input) => typeof input === 'number')
      .map((input) => shapes[input] ?? null);
  }
  return call.inputs.filter((input) => typeof input === 'number').map((input) => shapes[input] ?? null);
}

function runOperation(call: Call, shapes: readonly (Shape | null)[]): readonly Shape[] {
  const given = call.inputs.map((input): Argument => (typeof input === 'number' ? (shapes[input] ?? null) : input));
  return operationOutputs(operationWord(call.op), given, call.attrs) ?? [];
}

/** Input shapes of every layer's first call, as far as they follow from the models' inputs. */
export function inferInputs(root: LayerSpec, graphs: ReadonlyMap<string, Graph>): InputShapes {
  const found = new Map<string, readonly Shape[]>();
  const runModel = (model: LayerSpec, given: readonly (Shape | null)[]): readonly (Shape | null)[] => {
    const graph = graphs.get(model.path);
    if (graph === undefined) return [];
    const shapes: (Shape | null)[] = graph.values.map((value) => value.shape);
    for (const [index, id] of graph.inputs.entries()) shapes[id] = given[index] ?? shapes[id] ?? null;
    const byPath = new Map(model.children.map((child) => [child.path, child]));
    for (const call of graph.calls) {
      const spec = call.layer === null ? undefined : byPath.get(call.layer);
      if (spec?.kind === 'input') continue;
      const outputs =
        spec === undefined || spec.form === 'operation'
          ? runOperation(call, shapes)
          : runLayer(spec, tensorInputs(spec.kind, call, shapes), call.attrs);
      for (const [index, id] of call.outputs.entries()) shapes[id] = outputs[index] ?? null;
    }
    return graph.outputs.map((id) => shapes[id] ?? null);
  };
  const runLayer = (
    spec: LayerSpec,
    given: readonly (Shape | null)[],
    attrs: JsonObject,
  ): readonly (Shape | null)[] => {
    if (spec.form === 'sequential' || spec.form === 'functional') return runModel(spec, given);
    // A recurrent layer's other inputs are states and masks.
    const known = RECURRENT.has(spec.kind) && given[0] !== null ? given.slice(0, 1) : given;
    const inputs = known.filter((shape) => shape !== null);
    if (inputs.length === 0 || inputs.length < known.length) return [];
    if (!found.has(spec.path)) found.set(spec.path, inputs);
    for (const [index, child] of spec.children.entries())
      runLayer(child, innerInputs(spec, index, inputs, found), attrs);
    return bound(spec).outputs(inputs, attrs) ?? [];
  };
  runModel(root, []);
  return found;
}

/** What goes into a wrapper's inner layer. */
function innerInputs(
  wrapper: LayerSpec,
  index: number,
  inputs: readonly Shape[],
  found: InputShapes,
): readonly Shape[] {
  const [first] = inputs;
  if (first === undefined) return inputs;
  // One time step.
  if (wrapper.kind === 'time_distributed' || wrapper.kind === 'rnn_container')
    return [[...first.slice(0, 1), ...first.slice(2)]];
  if (wrapper.kind === 'stacked_cells' && index > 0) {
    const before = wrapper.children[index - 1];
    const given = before === undefined ? undefined : found.get(before.path);
    const units = before?.norm['units'];
    if (given !== undefined && typeof units === 'number') return [[first[0] ?? null, units]];
  }
  return inputs;
}

function bound(spec: LayerSpec): BoundLayer {
  const { path, kind, type, norm } = spec;
  return bindLayer({ path, kind, type, norm, children: spec.children.map(bound) });
}
