import type { ByteSource } from '../../bytes/source.ts';
import { provedByteLength } from '../../ir/build.ts';
import { type Diagnostic, note, type Outcome } from '../../ir/diagnostic.ts';
import { type DType, isDType } from '../../ir/dtype.ts';
import { BnsumError } from '../../ir/error.ts';
import type { Json, JsonObject } from '../../ir/json.ts';
import type { Graph, Model, Shape, Tensor } from '../../ir/model.ts';
import type { BoundLayer, Variable } from '../../layers/family.ts';
import { bindLayer } from '../../layers/registry.ts';
import { type Generation, type LayerSpec, layersBelow, parseArchitecture, policyOf } from './architecture.ts';
import type { Assigned, Assignment } from './assignment.ts';
import type { Hdf5Dataset } from './hdf5.ts';
import { buildModel } from './model.ts';
import { wireModels } from './wiring.ts';

interface Stated {
  readonly config: Json;
  readonly trainingConfig: Json | undefined;
  readonly generation: Generation;
}

/**
 * A config without weights: every weight is a 'meta' tensor with the shape that Keras would give it. A weight whose shape
 * does not follow (no input shape stated) is left out, and SHAPE_UNKNOWN names it.
 */
export function readArchitectureAlone(
  source: ByteSource,
  { config, trainingConfig, generation }: Stated,
): Outcome<Model> {
  const { label } = source;
  const root = parseArchitecture(config, label, generation);
  if (root.form !== 'sequential' && root.form !== 'functional') {
    throw new BnsumError({
      code: 'UNSUPPORTED',
      file: label,
      reason: `the config of ${root.type} does not tell its layers`,
    });
  }
  const inputs = inferInputs(root, wireModels(root, label, generation.version));
  const assignment: Assignment = new Map();
  const dtypes = new Map<Hdf5Dataset, DType>();
  const diagnostics: Diagnostic[] = [note('ASSUMED', { file: label }, { what: 'weights', value: 'architecture only' })];
  for (const { spec } of layersBelow(root)) {
    const given = inputs.get(spec.path) ?? spec.buildInputs;
    const list: Assigned[] = [];
    for (const variable of spec.family?.variables?.(spec.norm, given) ?? []) {
      if (variable.copyOf !== undefined) continue;
      if (variable.shape === null) {
        diagnostics.push(note('SHAPE_UNKNOWN', { file: label, layer: spec.path }, { role: variable.role }));
        continue;
      }
      const dataset = imagined(`${spec.path}/${variable.role}`, variable.shape);
      dtypes.set(dataset, dtypeOf(variable, spec.attrs));
      list.push({ role: variable.role, class: variable.class, certain: true, dataset, name: dataset.path });
    }
    if (list.length > 0) assignment.set(spec.path, list);
  }
  return buildModel({
    source,
    format: 'keras-json',
    root,
    generation,
    assignment,
    optimizer: [],
    tensor: ({ dataset }) => metaTensor(label, dataset, dtypes.get(dataset) ?? 'float32'),
    config,
    trainingConfig,
    diagnostics,
    bytesRead: () => source.bytesRead(),
    close: () => source.close(),
  });
}

function imagined(path: string, shape: readonly number[]): Hdf5Dataset {
  return {
    path,
    dtype: null,
    typeWords: '',
    shape,
    layout: 'unknown',
    filters: [],
    external: false,
    storedBytes: 0,
    dataOffset: null,
    identity: path,
    attributes: new Map(),
  };
}

/** The dtype that the layer's policy gives a variable: a mixed policy keeps float32. */
function dtypeOf(variable: Variable, attrs: JsonObject): DType {
  if (variable.class === 'counter') return 'int64';
  const policy = policyOf(attrs);
  return policy !== undefined && isDType(policy) ? policy : 'float32';
}

function metaTensor(file: string, dataset: Hdf5Dataset, dtype: DType): Tensor {
  const { path: name } = dataset;
  const shape = dataset.shape ?? [];
  return {
    name,
    dtype,
    shape,
    byteLength: provedByteLength(dtype, shape, file, name),
    encoding: { kind: 'meta' },
    identity: `${file}#${name}`,
    storage: `${file}#${name}`,
    readInto: () =>
      Promise.reject(
        new BnsumError({ code: 'NOT_FOUND', file, place: name, reason: 'an architecture alone holds no weights' }),
      ),
  };
}

/** Input shapes of every layer's first call, as far as they follow from the models' inputs. */
function inferInputs(root: LayerSpec, graphs: ReadonlyMap<string, Graph>): ReadonlyMap<string, readonly Shape[]> {
  const found = new Map<string, readonly Shape[]>();
  const runModel = (model: LayerSpec, given: readonly (Shape | null)[]): readonly (Shape | null)[] => {
    const graph = graphs.get(model.path);
    if (graph === undefined) return [];
    const shapes: (Shape | null)[] = graph.values.map((value) => value.shape);
    for (const [index, id] of graph.inputs.entries()) shapes[id] = given[index] ?? shapes[id] ?? null;
    const byPath = new Map(model.children.map((child) => [child.path, child]));
    for (const call of graph.calls) {
      const spec = call.layer === null ? undefined : byPath.get(call.layer);
      if (spec === undefined || spec.kind === 'input') continue;
      const inputs = call.inputs.map((input) => (typeof input === 'number' ? (shapes[input] ?? null) : null));
      const outputs = runLayer(spec, inputs, call.attrs);
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
    const inputs = given.filter((shape) => shape !== null);
    if (inputs.length === 0 || inputs.length < given.length) return [];
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
  found: ReadonlyMap<string, readonly Shape[]>,
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
