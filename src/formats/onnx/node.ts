import type { Json, JsonObject } from '../../ir/json.ts';
import type { AttributeProto, GraphProto, NodeProto } from './schema.ts';

export function attributeOf(node: NodeProto, name: string): AttributeProto | undefined {
  return node.attribute?.find((attribute) => attribute.name === name);
}

/** A node's settings as the file has them; tensors and graphs are no settings. */
export function settingsOf(node: NodeProto): JsonObject {
  const settings = new Map<string, Json>();
  for (const attribute of node.attribute ?? []) {
    const value = settingOf(attribute);
    if (value !== undefined && attribute.name !== undefined) settings.set(attribute.name, value);
  }
  return settings;
}

/** AttributeProto.AttributeType; 0 (before IR version 2): told by the field that is there. */
function settingOf(attribute: AttributeProto): Json | undefined {
  switch (Number(attribute.type ?? 0)) {
    case 1:
      return attribute.f ?? 0;
    case 2:
      return attribute.i ?? 0;
    case 3:
      return text(attribute.s ?? new Uint8Array(0));
    case 6:
      return attribute.floats ?? [];
    case 7:
      return attribute.ints ?? [];
    case 8:
      return (attribute.strings ?? []).map(text);
    case 0:
      return (
        attribute.ints ??
        attribute.floats ??
        attribute.strings?.map(text) ??
        attribute.i ??
        attribute.f ??
        (attribute.s === undefined ? undefined : text(attribute.s))
      );
    default:
      return undefined;
  }
}

function text(bytes: Uint8Array): string {
  return new TextDecoder().decode(bytes);
}

/** Graphs among a node's attributes: the branches of If, the body of Loop and Scan. */
export function subgraphsOf(node: NodeProto): readonly GraphProto[] {
  const graphs: GraphProto[] = [];
  for (const attribute of node.attribute ?? []) {
    if (attribute.g !== undefined) graphs.push(attribute.g);
    if (attribute.graphs !== undefined) graphs.push(...attribute.graphs);
  }
  return graphs;
}

/** Whether a node's operator is one of the standard's own. */
export function isStandard(node: NodeProto): boolean {
  return node.domain === undefined || node.domain === '' || node.domain === 'ai.onnx';
}

/** The operator's name, with its domain where that is not the standard's. */
export function operatorOf(node: NodeProto): string {
  return isStandard(node) ? (node.op_type ?? '') : `${node.domain}.${node.op_type ?? ''}`;
}
