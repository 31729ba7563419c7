import { isObject, type Json, type JsonObject, objectAt, stringAt } from '../ir/json.ts';
import type { Dim, Shape } from '../ir/model.ts';
import { attributeOf, normFlag } from './attribute.ts';
import type { Family, InnerLayer } from './family.ts';
import { areUniform, recurrentKind } from './recurrent.ts';
import { partOfChild, recurrentPart, recurrentTwin } from './recurrent-torch.ts';
import { assumed } from './twin.ts';
import { innerLayer } from './wrappers.ts';

/** The backward layer's config is left out where it is the forward one turned round. */
function inner(attrs: JsonObject): readonly InnerLayer[] {
  const forward = attrs.get('layer') ?? attrs.get('forward_layer');
  const told = attrs.get('backward_layer');
  const backward = isObject(told) ? told : turned(forward);
  return [innerLayer(forward, 'forward_layer'), innerLayer(backward, 'backward_layer')].filter(
    (layer) => layer !== undefined,
  );
}

function turned(layer: Json | undefined): Json {
  const type = stringAt(layer, 'class_name');
  const config = objectAt(layer, 'config');
  if (type === undefined || config === undefined) return null;
  const backwards = config.get('go_backwards') !== true;
  return new Map<string, Json>([
    ['class_name', type],
    ['config', new Map<string, Json>([...config, ['go_backwards', backwards]])],
  ]);
}

/**
 * Attributes: mergeMode ('concat', 'sum', 'ave', 'mul', or null: both outputs). Children: forward_layer, backward_layer.
 * PyTorch's module gives the two halves concatenated; the other modes split and combine them. Without return_sequences
 * the last states are meant, not the output at the last step.
 */
export const bidirectional: Family = {
  kind: 'bidirectional',
  types: { keras: ['Bidirectional'] },
  container: true,
  normalise(_type, attrs) {
    const mode = attributeOf(attrs, 'merge_mode');
    return { mergeMode: mode === undefined ? 'concat' : typeof mode === 'string' ? mode : null };
  },
  inner,
  outputs(norm, inputs, call, children = []) {
    const forward = children[0];
    const result = forward?.outputs(inputs.slice(0, 1), call);
    const main = result?.[0];
    if (forward === undefined || result === null || result === undefined || main === undefined) return null;
    const states = normFlag(forward.norm, 'returnState') ? result.slice(1) : [];
    if (norm['mergeMode'] === null) return [main, main, ...states, ...states];
    const last = main.at(-1) ?? null;
    const doubled: Dim = typeof last === 'number' ? last * 2 : last;
    const merged: Shape = norm['mergeMode'] === 'concat' ? [...main.slice(0, -1), doubled] : main;
    return [merged, ...states, ...states];
  },
  macs(_norm, inputs, outputs, children = []) {
    let total = 0;
    for (const child of children) {
      const count = child.macs(inputs.slice(0, 1), outputs);
      if (count === null) return null;
      total += count;
    }
    return children.length === 2 ? total : null;
  },
  toTorch(layer) {
    const [forward, backward] = layer.children;
    if (forward === undefined || backward === undefined) {
      return { refused: 'the file does not say what the two directions are' };
    }
    if (recurrentKind(forward.kind) === undefined || recurrentKind(backward.kind) === undefined) {
      return { refused: `${forward.type} has no bidirectional form in PyTorch` };
    }
    if (normFlag(forward.norm, 'goBackwards') || !normFlag(backward.norm, 'goBackwards')) {
      return { refused: 'the forward layer walks backwards (go_backwards), so the two directions are exchanged' };
    }
    if (normFlag(forward.norm, 'timeMajor')) return { refused: 'time_major inside a wrapper' };
    const ahead = recurrentPart(forward);
    const back = recurrentPart(backward);
    if ('refused' in ahead) return { refused: `${forward.type} inside: ${ahead.refused}` };
    if ('refused' in back) return { refused: `${backward.type} inside: ${back.refused}` };
    if (forward.kind !== backward.kind || !areUniform(forward.norm, backward.norm)) {
      return { refused: 'the two directions are not of one kind, size and activation' };
    }
    const notes = normFlag(forward.norm, 'stateful')
      ? [assumed(layer, 'stateful', 'the caller hands the state on')]
      : [];
    return recurrentTwin(layer, [[partOfChild(ahead, [0]), partOfChild(back, [1])]], '', notes);
  },
};
