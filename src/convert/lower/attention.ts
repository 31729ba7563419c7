import type { JsonObject } from '../../ir/json.ts';
import { normNumber } from '../../layers/attribute.ts';
import { type Emit, type Emitted, literal, plainAxes, type Result } from './context.ts';
import type { Ref } from './lowered.ts';
import { AMBIGUOUS, releaseOf } from './mask.ts';

/** Keyword arguments that a call may have and that change what attention computes. */
function flagOf(call: JsonObject, name: string): boolean {
  return call.get(name) === true;
}

/** Masks that the call states for attention as such, and that are not handed on with a value. */
function refuseMasks(emit: Emit): void {
  const value = emit.call.attrs.get('attention_mask');
  if (value !== undefined && value !== null) emit.refuse('attention_mask is given');
}

/** The masks of query, value and key, as they broadcast to (batch, queries, keys). */
function maskTerms(query: Ref, others: readonly (Ref | undefined)[]): readonly string[] {
  const terms = others.flatMap((ref) => (ref?.mask === undefined ? [] : [`${ref.mask}[:, None]`]));
  return [...(query.mask === undefined ? [] : [`${query.mask}[:, :, None]`]), ...new Set(terms)];
}

const EMPTIED = 'A query that may look nowhere gets no values.';

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
  const terms = maskTerms(query, emit.inputs.slice(1));
  const isFused = (normNumber(emit.norm, 'dropout') ?? 0) === 0 && !scores;
  const release = releaseOf(emit.model);
  // Where Keras 3 does not use the fused kernel, a query that may look nowhere gets no values; else their plain average.
  const isEmptied = terms.length > 0 && !isFused && release !== 'keras2';
  if (isEmptied && release === 'early3') return emit.refuse(AMBIGUOUS);
  const isBuiltIn = emit.twin?.modules[0]?.custom !== true;
  if (isBuiltIn) {
    const names = `${query.name}, ${key.name}, ${value.name}`;
    const heads = emit.twin?.modules[0]?.args['num_heads'];
    if (isEmptied) {
      const told = biasOf(emit, query, key, terms, isCausal, `, heads=${literal(heads)}`);
      const bias = emit.line(told, { shape: null, axes: plainAxes(3), named: 'bias' }).name;
      const call = `${module}(${names}, attn_mask=${bias}, average_attn_weights=False)`;
      const own: Result = { shape: emit.outputShapes[1] ?? null, axes: plainAxes(4) };
      const [full, weights] = emit.lines(call, [{ shape, axes }, own]) as [Ref, Ref];
      const any = `(${bias} == 0).any(dim=-1).unflatten(0, (-1, ${literal(heads)}))`;
      const seeing = emit.line(any, { shape: null, axes: plainAxes(3), named: 'seeing' }, EMPTIED).name;
      const rest = emit.twin?.modules[0]?.args['bias'] === false ? '0.0' : `${module}.out_proj.bias`;
      const output = emit.line(`torch.where(${seeing}[:, 0, :, None], ${full.name}, ${rest})`, { shape, axes });
      return scores ? [output, emit.line(`${weights.name} * ${seeing}[..., None]`, own)] : [output];
    }
    const mask =
      terms.length > 0
        ? `, attn_mask=${biasOf(emit, query, key, terms, isCausal, `, heads=${literal(heads)}`)}`
        : isCausal
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
  const axesTold = emit.norm['attentionAxes'];
  if (terms.length > 0 && (query.axes.length !== 3 || (Array.isArray(axesTold) && axesTold.length !== 1))) {
    return emit.refuse('a mask reaches attention along several axes');
  }
  const causal = isCausal ? ', causal=True' : '';
  const bias =
    terms.length > 0 ? `, bias=${biasOf(emit, query, key, terms, false, '')}${isEmptied ? ', empty=True' : ''}` : '';
  return [emit.line(`${module}(${query.name}, ${value.name}, ${key.name}${causal}${bias})`, { shape, axes })];
}

function biasOf(emit: Emit, query: Ref, key: Ref, terms: readonly string[], causal: boolean, heads: string): string {
  const words = `[${terms.join(', ')}]${causal ? ', causal=True' : ''}${heads}`;
  return `${emit.helper('attention_bias')}(${query.name}, ${key.name}, ${words})`;
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
  const [asking, asked] = emit.inputs.map((ref) => ref.mask ?? 'None');
  const masks = asking === 'None' && asked === 'None' ? '' : `, masks=(${asking}, ${asked})`;
  const expr = `${emit.module()}(${query.name}, ${value.name}, ${key.name}${causal}${masks})`;
  return [emit.line(expr, { shape, axes: plainAxes(shape?.length ?? query.axes.length) })];
}
