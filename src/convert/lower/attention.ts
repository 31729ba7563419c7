import type { JsonObject } from '../../ir/json.ts';
import { type Emit, type Emitted, plainAxes } from './context.ts';
import type { Ref } from './lowered.ts';

/** Keyword arguments that a call may have and that change what attention computes. */
function flagOf(call: JsonObject, name: string): boolean {
  return call.get(name) === true;
}

function refuseMasks(emit: Emit): void {
  if (emit.inputs.some((ref) => ref.mask !== undefined)) {
    emit.refuse('a mask of an Embedding or Masking layer reaches it');
  }
  for (const name of ['attention_mask', 'query_mask', 'value_mask', 'key_mask', 'mask']) {
    const value = emit.call.attrs.get(name);
    if (value !== undefined && value !== null) emit.refuse(`${name} is given`);
  }
}

/** MultiHeadAttention and GroupedQueryAttention: inputs query, value, key. */
export function emitMultiHead(emit: Emit): Emitted {
  refuseMasks(emit);
  const [query, value, key = value] = emit.inputs.map((ref) => emit.keras(ref)) as [Ref, Ref, Ref | undefined];
  if (query === undefined || value === undefined || key === undefined)
    return emit.refuse('it needs a query and a value');
  const shape = emit.outputShapes[0] ?? query.shape;
  const axes = plainAxes(shape?.length ?? query.axes.length);
  const scores = flagOf(emit.call.attrs, 'return_attention_scores');
  const isCausal = flagOf(emit.call.attrs, 'use_causal_mask');
  const module = emit.module();
  const isBuiltIn = emit.twin?.modules[0]?.custom !== true;
  if (isBuiltIn) {
    const names = `${query.name}, ${key.name}, ${value.name}`;
    const mask = isCausal
      ? `, attn_mask=${emit.helper('causal_mask')}(${query.name}.shape[1], ${key.name}.shape[1], ${query.name}.device)`
      : '';
    if (scores) {
      const own = emit.outputShapes[1] ?? null;
      return emit.lines(`${module}(${names}${mask}, average_attn_weights=False)`, [
        { shape, axes },
        { shape: own, axes: plainAxes(4) },
      ]);
    }
    return [emit.line(`${module}(${names}${mask}, need_weights=False)[0]`, { shape, axes })];
  }
  if (scores) return emit.refuse('return_attention_scores of an attention that nn.MultiheadAttention cannot stand for');
  const causal = isCausal ? ', causal=True' : '';
  return [emit.line(`${module}(${query.name}, ${value.name}, ${key.name}${causal})`, { shape, axes })];
}

/** Attention and AdditiveAttention: [query, value] or [query, value, key]. */
export function emitDotAttention(emit: Emit): Emitted {
  refuseMasks(emit);
  if (flagOf(emit.call.attrs, 'return_attention_scores')) return emit.refuse('return_attention_scores');
  const [query, value, key = value] = emit.inputs.map((ref) => emit.keras(ref)) as [Ref, Ref, Ref | undefined];
  if (query === undefined || value === undefined || key === undefined)
    return emit.refuse('it needs a query and a value');
  const causal = flagOf(emit.call.attrs, 'use_causal_mask') ? ', causal=True' : '';
  const shape = emit.outputShapes[0] ?? null;
  const expr = `${emit.module()}(${query.name}, ${value.name}, ${key.name}${causal})`;
  return [emit.line(expr, { shape, axes: plainAxes(shape?.length ?? query.axes.length) })];
}
