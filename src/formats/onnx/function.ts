import { BnsumError } from '../../ir/error.ts';
import { LIMITS } from '../../ir/limits.ts';
import { subgraphsOf } from './node.ts';
import type { AttributeProto, FunctionProto, NodeProto } from './schema.ts';

function keyOf(of: { readonly domain?: string; readonly overload?: string }, name: string | undefined): string {
  return JSON.stringify([of.domain ?? '', name ?? '', of.overload ?? '']);
}

export type Functions = ReadonlyMap<string, FunctionProto>;

/** The function of the file that a node calls. */
export function functionOf(node: NodeProto, functions: Functions): FunctionProto | undefined {
  return functions.get(keyOf(node, node.op_type));
}

/** The file's own functions by domain, name and overload. */
export function functionsOf(list: readonly FunctionProto[] | undefined): Functions {
  return new Map((list ?? []).map((one) => [keyOf(one, one.name), one]));
}

/**
 * Nodes with the calls of the file's own functions replaced by their bodies, names of inner values prefixed by the
 * call's. A function that holds graphs stays a call. Throws BnsumError LIMIT when they are nested too deep (or call
 * themselves) or give too many nodes.
 */
export function inlineFunctions(nodes: readonly NodeProto[], functions: Functions, file: string): readonly NodeProto[] {
  if (functions.size === 0) return nodes;
  const inlined: NodeProto[] = [];
  const pending = nodes.map((node) => ({ node, depth: 0 })).reverse();
  let calls = 0;
  for (let next = pending.pop(); next !== undefined; next = pending.pop()) {
    const { node, depth } = next;
    const body = functionOf(node, functions);
    if (body === undefined || body.node?.some((inner) => subgraphsOf(inner).length > 0) === true) {
      inlined.push(node);
      continue;
    }
    calls += 1;
    if (depth >= LIMITS.protobufDepth || inlined.length + pending.length > LIMITS.layers || calls > LIMITS.layers) {
      const reason = `functions are nested deeper than ${LIMITS.protobufDepth}, or give more than ${LIMITS.layers} nodes`;
      throw new BnsumError({ code: 'LIMIT', file, place: body.name ?? '', reason });
    }
    const prefix = `${node.name || node.output?.[0] || body.name || 'call'}#${calls}/`;
    for (const inner of expand(node, body, prefix).reverse()) pending.push({ node: inner, depth: depth + 1 });
  }
  return inlined;
}

function expand(call: NodeProto, body: FunctionProto, prefix: string): NodeProto[] {
  const names = new Map<string, string>();
  for (const [index, name] of (body.input ?? []).entries()) names.set(name, call.input?.[index] ?? '');
  for (const [index, name] of (body.output ?? []).entries()) {
    const outer = call.output?.[index];
    if (outer !== undefined && outer !== '') names.set(name, outer);
  }
  const rename = (name: string): string => (name === '' ? '' : (names.get(name) ?? prefix + name));
  return (body.node ?? []).map((inner) => ({
    ...inner,
    ...(inner.name === undefined || inner.name === '' ? {} : { name: prefix + inner.name }),
    input: (inner.input ?? []).map(rename),
    output: (inner.output ?? []).map(rename),
    attribute: (inner.attribute ?? []).flatMap((attribute) => bound(attribute, call, body)),
  }));
}

/** An attribute of a body that refers to one of the call's, or to the default that the function has for it. */
function bound(attribute: AttributeProto, call: NodeProto, body: FunctionProto): readonly AttributeProto[] {
  if (attribute.ref_attr_name === undefined || attribute.ref_attr_name === '') return [attribute];
  const named = (one: AttributeProto): boolean => one.name === attribute.ref_attr_name;
  const given = call.attribute?.find(named) ?? body.attribute_proto?.find(named);
  if (given === undefined) return [];
  return [attribute.name === undefined ? given : { ...given, name: attribute.name }];
}
