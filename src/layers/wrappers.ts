import { isList, isObject, type Json, type JsonObject, objectAt, stringAt } from '../ir/json.ts';
import type { Dim, NormAttrs, Shape } from '../ir/model.ts';
import { booleanOf, normFlag } from './attribute.ts';
import type { Family, InnerLayer, Twin, TwinSource } from './family.ts';
import { areUniform, recurrentKind } from './recurrent.ts';
import { partOfChild, type RecurrentPart, recurrentPart, recurrentTwin } from './recurrent-torch.ts';
import { customModule, fromChild, twin } from './twin.ts';

const NO_ARGUMENTS: JsonObject = new Map();

/** A serialised layer: its class name and config; undefined for anything else. */
export function innerLayer(value: Json | undefined, at: string, saved: string = at): InnerLayer | undefined {
  const type = stringAt(value, 'class_name');
  if (type === undefined) return undefined;
  return { at, saved, type, attrs: objectAt(value, 'config') ?? NO_ARGUMENTS };
}

/** Keras' folder name of a class: LSTMCell gives lstm_cell, PReLU p_re_lu. */
export function snakeCase(type: string): string {
  return type
    .replace(/\W+/g, '')
    .replace(/(.)([A-Z][a-z]+)/g, '$1_$2')
    .replace(/([a-z])([A-Z])/g, '$1_$2')
    .toLowerCase();
}

/** A wrapper's twin is its only inner layer's, with this input instead of the child's own. */
export function innerTwin(
  layer: TwinSource,
  inputs: readonly Shape[] | null,
  twinOf: (child: TwinSource) => Twin,
): Twin {
  const child = layer.children[0];
  if (child === undefined) return { refused: 'the file does not say what this wrapper holds' };
  const inner = twinOf({ ...child, inputs: inputs ?? child.inputs });
  if (inner.refused !== undefined) return { refused: `${child.type} inside: ${inner.refused}` };
  return {
    modules: inner.modules,
    tensors: inner.tensors.map((tensor) => ({ ...tensor, from: fromChild(tensor.from, 0) })),
    diagnostics: inner.diagnostics,
  };
}

/** Wrappers that hand on to their inner layer, and preprocessing pipelines that run several in a row. */
export const wrapper: Family = {
  kind: 'wrapper',
  types: { keras: ['Wrapper', 'Pipeline'] },
  container: true,
  normalise: () => ({}),
  inner(attrs) {
    const layers = attrs.get('layers');
    if (isList(layers)) {
      return layers.flatMap((layer, index) => {
        const name = stringAt(objectAt(layer, 'config'), 'name') ?? String(index);
        return [innerLayer(layer, name)].filter((inner) => inner !== undefined);
      });
    }
    return [innerLayer(attrs.get('layer'), 'layer')].filter((inner) => inner !== undefined);
  },
  outputs(_norm, inputs, call, children = []) {
    let shapes: readonly Shape[] | null = children.length === 0 ? null : inputs;
    for (const child of children) shapes = shapes && child.outputs(shapes, call);
    return shapes;
  },
  macs(_norm, inputs, _outputs, children = []) {
    let shapes: readonly Shape[] | null = inputs;
    let total: number | null = children.length === 0 ? null : 0;
    for (const child of children) {
      const next: readonly Shape[] | null = shapes && child.outputs(shapes, NO_ARGUMENTS);
      const count = shapes && child.macs(shapes, next ?? []);
      total = total === null || count === null ? null : total + count;
      shapes = next;
    }
    return total;
  },
};

/** Attributes: none of its own; the cells are its children, the first one nearest to the input. */
export const stackedCells: Family = {
  kind: 'stacked_cells',
  types: { keras: ['StackedRNNCells'] },
  container: true,
  normalise: () => ({}),
  inner(attrs) {
    const cells = attrs.get('cells');
    const seen = new Map<string, number>();
    return (isList(cells) ? cells : []).flatMap((cell, index) => {
      const type = stringAt(cell, 'class_name');
      if (type === undefined) return [];
      const folder = snakeCase(type);
      const count = seen.get(folder) ?? 0;
      seen.set(folder, count + 1);
      const name = stringAt(objectAt(cell, 'config'), 'name') ?? `${index}`;
      const inner = innerLayer(cell, `cells/${name}`, `cells/${count === 0 ? folder : `${folder}_${count}`}`);
      return inner === undefined ? [] : [inner];
    });
  },
  outputs(_norm, inputs, _call, children = []) {
    let step: Shape | undefined = inputs[0];
    const states: Shape[] = [];
    for (const cell of children) {
      const result: readonly Shape[] | null = step === undefined ? null : cell.outputs([step], NO_ARGUMENTS);
      if (result === null) return null;
      step = result[0];
      states.push(...result.slice(1));
    }
    return step === undefined ? null : [step, ...states];
  },
  macs(_norm, inputs, _outputs, children = []) {
    let step: Shape | undefined = inputs[0];
    let total = 0;
    for (const cell of children) {
      if (step === undefined) return null;
      const result: readonly Shape[] | null = cell.outputs([step], NO_ARGUMENTS);
      const count = cell.macs([step], result ?? []);
      if (count === null) return null;
      total += count;
      step = result?.[0];
    }
    return total;
  },
};

/** Attributes: returnSequences, returnState, goBackwards, timeMajor, zeroOutputForMask; the cell is its child. */
export const rnnContainer: Family = {
  kind: 'rnn_container',
  types: { keras: ['RNN'] },
  container: true,
  normalise: (_type, attrs): NormAttrs => ({
    returnSequences: booleanOf(attrs, 'return_sequences', false),
    returnState: booleanOf(attrs, 'return_state', false),
    goBackwards: booleanOf(attrs, 'go_backwards', false),
    stateful: booleanOf(attrs, 'stateful', false),
    zeroOutputForMask: booleanOf(attrs, 'zero_output_for_mask', false),
    timeMajor: booleanOf(attrs, 'time_major', false),
  }),
  inner(attrs) {
    const cell = attrs.get('cell');
    // A list of cells stands for StackedRNNCells.
    const stacked: Json = isList(cell)
      ? new Map<string, Json>([
          ['class_name', 'StackedRNNCells'],
          ['config', new Map<string, Json>([['cells', cell]])],
        ])
      : (cell ?? null);
    return isObject(stacked) ? [innerLayer(stacked, 'cell')].filter((inner) => inner !== undefined) : [];
  },
  outputs(norm, inputs, _call, children = []) {
    const input = inputs[0];
    const cell = children[0];
    if (input === undefined || cell === undefined) return null;
    const [batch, steps] = batchAndSteps(norm, input);
    const result = cell.outputs([[batch, ...input.slice(2)]], NO_ARGUMENTS);
    const out = result?.[0];
    if (out === undefined || result === null) return null;
    const features = out.slice(1);
    const main: Shape = !normFlag(norm, 'returnSequences')
      ? [batch, ...features]
      : normFlag(norm, 'timeMajor')
        ? [steps, batch, ...features]
        : [batch, steps, ...features];
    return normFlag(norm, 'returnState') ? [main, ...result.slice(1)] : [main];
  },
  macs(norm, inputs, _outputs, children = []) {
    const input = inputs[0];
    const cell = children[0];
    if (input === undefined || cell === undefined) return null;
    const [batch, steps] = batchAndSteps(norm, input);
    const one = cell.macs([[batch, ...input.slice(2)]], []);
    return one === null || typeof steps !== 'number' ? null : steps * one;
  },
  toTorch(layer) {
    const cell = layer.children[0];
    if (cell === undefined) return { refused: 'the file does not say what cell this RNN runs' };
    const cells = cell.kind === 'stacked_cells' ? cell.children : [cell];
    const paths = cell.kind === 'stacked_cells' ? cells.map((_, index) => [0, index]) : [[0]];
    return cellsTwin(layer, cells, paths);
  },
};

function batchAndSteps(norm: NormAttrs, input: Shape): readonly [Dim, Dim] {
  const first = input[0] ?? null;
  const second = input[1] ?? null;
  return normFlag(norm, 'timeMajor') ? [second, first] : [first, second];
}

/** Equal cells are the layers of one module; others a chain of one-layer modules called '0', '1', … */
function cellsTwin(layer: TwinSource, cells: readonly TwinSource[], paths: readonly (readonly number[])[]): Twin {
  const parts: RecurrentPart[] = [];
  for (const [index, cell] of cells.entries()) {
    if (recurrentKind(cell.kind) === undefined) return { refused: `the cell ${cell.type} is not a built-in one` };
    const part = recurrentPart(cell);
    if ('refused' in part) return { refused: `${cell.type} inside: ${part.refused}` };
    parts.push(partOfChild(part, paths[index] ?? []));
  }
  const first = cells[0];
  if (first === undefined) return { refused: 'there is no cell inside' };
  const isUniform = cells.every((cell) => cell.kind === first.kind && areUniform(cell.norm, first.norm));
  if (isUniform) {
    return recurrentTwin(
      layer,
      parts.map((part) => [part]),
    );
  }
  if (normFlag(layer.norm, 'timeMajor')) return { refused: 'time_major together with cells that differ' };
  const chain = parts.map((part, index) => recurrentTwin(layer, [[part]], String(index)));
  const twins = chain.filter((link) => link.refused === undefined);
  const refused = chain.find((link) => link.refused !== undefined);
  if (refused !== undefined) return refused;
  return twin(
    [customModule('RecurrentChain', {}), ...twins.flatMap((link) => link.modules)],
    twins.flatMap((link) => link.tensors),
    twins.flatMap((link) => link.diagnostics),
  );
}
