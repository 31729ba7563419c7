import type { ByteSource, FormatReader, Probe, Siblings } from '../../bytes/source.ts';
import { type Diagnostic, note, type Outcome } from '../../ir/diagnostic.ts';
import { familyOf } from '../../ir/dtype.ts';
import { BnsumError } from '../../ir/error.ts';
import type { Model } from '../../ir/model.ts';
import { type Forms, formsOf } from './canonical.ts';
import { decodeModel } from './decode.ts';
import { type ExternalFiles, externalFiles } from './external.ts';
import { type Functions, functionsOf, inlineFunctions } from './function.ts';
import { finishGraph, type Walked, walkGraph } from './graph.ts';
import { collectDrafts, type Drafts } from './layer.ts';
import { subgraphsOf } from './node.ts';
import type { GraphProto, ModelProto } from './schema.ts';
import { openScope, type Root, type Scope, takeConstant } from './scope.ts';
import { skim } from './skim.ts';
import { looksLikeModel } from './sniff.ts';
import type { TensorContext } from './tensor.ts';

/** `<name>.onnx`, with its external data beside it. */
export const onnxReader: FormatReader<Outcome<Model>> = {
  name: 'onnx',
  async match(probe: Probe) {
    if (probe.size === 0) return 'no';
    if (looksLikeModel(probe.head, probe.size)) return 'yes';
    return probe.name.endsWith('.onnx') && isBinary(probe.head) ? 'maybe' : 'no';
  },
  read: readOnnx,
};

/** Damaged protobuf under the right name is ours to explain; a text page or a pointer under it is not. */
function isBinary(head: Uint8Array): boolean {
  return head.some((byte) => byte < 0x09) && head[0] !== 0;
}

async function readOnnx(source: ByteSource, siblings: Siblings): Promise<Outcome<Model>> {
  const external = externalFiles(siblings);
  try {
    const { bytes, payloads } = await skim(source);
    return await buildModel(await decodeModel(bytes, source.label), { source, payloads, external });
  } catch (error) {
    await external.close();
    throw error;
  }
}

async function buildModel(proto: ModelProto, context: TensorContext): Promise<Outcome<Model>> {
  const { source, external } = context;
  const file = source.label;
  if (proto.graph === undefined) {
    throw new BnsumError({ code: 'MALFORMED', file, reason: 'an ONNX file without a graph' });
  }
  const opsets = new Map(
    (proto.opset_import ?? []).map(({ domain = '', version = 0 }) => [
      domain === 'ai.onnx' ? '' : domain,
      Number(version),
    ]),
  );
  const drafts = collectDrafts(
    file,
    (proto.graph.initializer ?? []).map(({ name = '' }) => name),
    opsets.get('') ?? Number.POSITIVE_INFINITY,
  );
  const scopes: Scope[] = [];
  const functions = functionsOf(proto.functions);
  const forms = formsOf(functions, opsets, context);
  const walked = await readGraphs(proto.graph, functions, context, drafts, scopes, forms);
  drafts.addRest(restOf(scopes));
  const graph = await finishGraph(walked, drafts, forms);
  return {
    value: {
      name: stemOf(file),
      format: 'onnx',
      dialect: 'onnx',
      producer: { framework: proto.producer_name ?? '', version: proto.producer_version ?? '', backend: '' },
      layers: drafts.layers(),
      graphs: new Map([['', graph]]),
      optimizer: [],
      trainable: null,
      origin: { extra: extraOf(proto), constants: forms.constants },
      bytesRead: () => source.bytesRead() + external.bytesRead(),
      async close() {
        await closeAll(source, external);
      },
    },
    diagnostics: [...notes(scopes, file), ...drafts.diagnostics()],
  };
}

async function closeAll(source: ByteSource, external: ExternalFiles): Promise<void> {
  await external.close();
  await source.close();
}

interface Visit {
  readonly proto: GraphProto;
  readonly outer: Scope | null;
  readonly id: string;
  readonly names: ReadonlySet<string>;
}

/** The root's graph; graphs inside nodes give their constants and layers. */
async function readGraphs(
  root: GraphProto,
  functions: Functions,
  context: TensorContext,
  drafts: Drafts,
  scopes: Scope[],
  forms: Forms,
): Promise<Walked> {
  const file = context.source.label;
  let first: Walked | undefined;
  const pending: Visit[] = [{ proto: root, outer: null, id: '', names: new Set() }];
  for (let visit = pending.pop(); visit !== undefined; visit = pending.pop()) {
    const { proto, outer, id, names } = visit;
    const scope = await openScope(proto, outer, id, context);
    scopes.push(scope);
    const nodes = inlineFunctions(proto.node ?? [], functions, file);
    for (const node of nodes) await takeConstant(scope, node, context);
    const walked = await walkGraph(proto, nodes, scope, drafts, file, names, first === undefined ? forms : null);
    first ??= walked;
    const known = new Set([...names, ...walked.names]);
    const inner = nodes.flatMap((node, index) =>
      subgraphsOf(node).map((graph, which) => ({
        proto: graph,
        outer: scope,
        id: `${id}${node.name || `${node.op_type}_${index}`}.${which}/`,
        names: known,
      })),
    );
    pending.push(...inner.reverse());
  }
  return first ?? { graph: { inputs: [], outputs: [], values: [] }, plans: [], expressions: [], names: new Set() };
}

/**
 * Tensors that no layer has. Those of Constant nodes are arguments of operations, unless the file holds no floating
 * initializer at all: then its weights stand in such nodes.
 */
function restOf(scopes: readonly Scope[]): readonly Root[] {
  const roots = scopes.flatMap((scope) => scope.roots);
  const isFloat = (root: Root): boolean => familyOf(root.stored.tensor.dtype) === 'float';
  const usual = roots.some((root) => root.origin !== 'constant' && isFloat(root));
  return roots.filter((root) => {
    if (root.used) return false;
    if (root.origin !== 'constant') return true;
    return !usual && isFloat(root) && root.stored.tensor.shape.some((size) => size > 1);
  });
}

function notes(scopes: readonly Scope[], file: string): readonly Diagnostic[] {
  const texts = scopes.flatMap((scope) => scope.texts);
  return texts.length === 0 ? [] : [note('NOT_A_TENSOR', { file }, { count: texts.length, first: texts.slice(0, 5) })];
}

/** What the file says of itself: its metadata, and the versions of the operator sets as `opset` and `opset <domain>`. */
function extraOf(proto: ModelProto): ReadonlyMap<string, string> {
  const extra = new Map<string, string>();
  if (proto.ir_version !== undefined) extra.set('ir_version', String(proto.ir_version));
  for (const { domain = '', version = 0 } of proto.opset_import ?? []) {
    extra.set(domain === '' || domain === 'ai.onnx' ? 'opset' : `opset ${domain}`, String(version));
  }
  if (proto.graph?.name !== undefined && proto.graph.name !== '') extra.set('graph', proto.graph.name);
  for (const { key = '', value = '' } of proto.metadata_props ?? []) if (!extra.has(key)) extra.set(key, value);
  return extra;
}

function stemOf(label: string): string {
  return (label.split(/[/\\]/).at(-1) ?? label).replace(/\.onnx$/, '');
}
