import type { ByteSource } from '../../bytes/source.ts';
import { provedByteLength } from '../../ir/build.ts';
import { type Diagnostic, note, type Outcome } from '../../ir/diagnostic.ts';
import { type DType, isDType } from '../../ir/dtype.ts';
import { BnsumError } from '../../ir/error.ts';
import type { JsonObject } from '../../ir/json.ts';
import type { Model, Tensor } from '../../ir/model.ts';
import type { Variable } from '../../layers/family.ts';
import { layersBelow, parseArchitecture, policyOf } from './architecture.ts';
import { type Assigned, type Assignment, variablesOf } from './assignment.ts';
import type { Hdf5Dataset } from './hdf5.ts';
import { inferInputs } from './inputs.ts';
import { buildModel } from './model.ts';
import type { Stated } from './stated.ts';
import { wireModels } from './wiring.ts';

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
  const graphs = wireModels(root, label, generation.version);
  const inputs = inferInputs(root, graphs);
  const assignment: Assignment = new Map();
  const dtypes = new Map<Hdf5Dataset, DType>();
  const diagnostics: Diagnostic[] = [note('ASSUMED', { file: label }, { what: 'weights', value: 'architecture only' })];
  for (const { spec } of layersBelow(root)) {
    const list: Assigned[] = [];
    for (const variable of variablesOf(spec, inputs) ?? []) {
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
    graphs,
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
    declaredBytes: 0,
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
