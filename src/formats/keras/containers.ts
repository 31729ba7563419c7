import type { ByteSource } from '../../bytes/source.ts';
import { type Diagnostic, note, type Outcome } from '../../ir/diagnostic.ts';
import { BnsumError } from '../../ir/error.ts';
import type { Model, Tensor } from '../../ir/model.ts';
import { eraOf } from '../../layers/attribute.ts';
import { type LayerSpec, layersBelow, parseArchitecture } from './architecture.ts';
import { type Assigned, variablesOf } from './assignment.ts';
import { type Hdf5Dataset, type Hdf5File, joinPath, textList } from './hdf5.ts';
import { inferInputs } from './inputs.ts';
import { generationOf, type Layout, layersCounted } from './layout.ts';
import { arraysOf, assignLegacy } from './legacy.ts';
import { buildModel, stemOf } from './model.ts';
import { assignPositional, type VariableStore } from './positional.ts';
import type { Stated } from './stated.ts';
import { tensorOf } from './tensor.ts';
import { looseLegacy, looseModel, looseNumbered, loosePositional } from './weights-only.ts';
import { wireModels } from './wiring.ts';

export interface LegacyParts {
  readonly source: ByteSource;
  readonly file: Hdf5File;
  readonly layout: Layout;
  readonly own: Stated | undefined;
  readonly stated: Stated | undefined;
  readonly format: string;
  readonly bytesRead: () => number;
  readonly close: () => Promise<void>;
}

export function legacyModel(parts: LegacyParts): Outcome<Model> {
  const { source, file, layout, own, stated, format, bytesRead, close } = parts;
  const { label } = source;
  const tensor = (dataset: Hdf5Dataset, name: string, policy?: string): Tensor => tensorOf(file, dataset, policy, name);
  const optimizer = arraysOf(file, joinPath(layout.holder, 'optimizer_weights')).map(({ name, dataset }) =>
    tensor(dataset, name, 'float32'),
  );
  const generation = generationOf(file, layout);
  if (stated === undefined) {
    const { version, backend } = generation;
    return looseModel(
      {
        label,
        name: stemOf(label),
        format,
        producer: {
          framework: eraOf(version) === 'tfkeras' ? 'tf.keras' : 'keras',
          version: version === '1' ? '' : version,
          backend,
        },
        tensor: (dataset, name) => tensor(dataset, name),
        optimizer,
        diagnostics: [],
        bytesRead,
        close,
      },
      layout.kind === 'numbered'
        ? looseNumbered(file, layout.holder, layersCounted(file, layout.holder))
        : looseLegacy(file, layout.base),
    );
  }
  const effective = own?.generation ?? (stated.generation.version === '' ? generation : stated.generation);
  const names = textList(file.groups.get(layout.base), 'layer_names') ?? [];
  const root = parseArchitecture(stated.config, label, effective, names);
  if (root.form === 'subclassed') {
    throw new BnsumError({
      code: 'UNSUPPORTED',
      file: label,
      reason: `the config of ${root.type}, a class of its own, does not tell its layers`,
    });
  }
  const diagnostics: Diagnostic[] =
    effective.version === '1' ? [note('ASSUMED', { file: label }, { what: 'keras_version', value: '1' })] : [];
  const graphs = wireModels(root, label, effective.version);
  return buildModel({
    source,
    format,
    root,
    graphs,
    generation: effective,
    assignment: assignLegacy(file, layout.base, root, inferInputs(root, graphs), isUnbuilt(root)),
    optimizer,
    tensor: ({ dataset, name }: Assigned, policy) => tensor(dataset, name, policy),
    config: stated.config,
    trainingConfig: stated.trainingConfig,
    diagnostics,
    bytesRead,
    close,
  });
}

/** A Sequential that was never given an input shape has no weights yet. */
function isUnbuilt(root: LayerSpec): boolean {
  if (root.form !== 'sequential') return false;
  const [first] = root.children;
  const stated = root.inputs ?? root.buildInputs ?? first?.inputs ?? null;
  return stated === null && root.entry.size === 0;
}

export interface PositionalParts {
  readonly source: ByteSource;
  readonly diagnostics?: readonly Diagnostic[];
  readonly files: readonly Hdf5File[];
  readonly store: VariableStore;
  readonly stated: Stated | undefined;
  /** SHA-256 of the archive's files below assets/, by their path there. */
  readonly assets?: ReadonlyMap<string, string>;
  readonly format: string;
  readonly bytesRead: () => number;
  readonly close: () => Promise<void>;
}

export function positionalModel(parts: PositionalParts): Outcome<Model> {
  const { source, files, store, stated, format, bytesRead, close } = parts;
  const { label } = source;
  const diagnostics = [...(parts.diagnostics ?? []), ...leftOutTables(label, store)];
  const holder = new Map<Hdf5Dataset, Hdf5File>();
  for (const file of files) for (const dataset of file.datasets.values()) holder.set(dataset, file);
  const tensor = (dataset: Hdf5Dataset, name: string, policy?: string): Tensor => {
    const file = holder.get(dataset);
    if (file === undefined) throw new BnsumError({ code: 'INTERNAL', reason: `${name} belongs to no file` });
    return tensorOf(file, dataset, policy, name);
  };
  const optimizer = optimizerArrays(store).map((dataset) => tensor(dataset, dataset.path, 'float32'));
  const generation = stated?.generation ?? { version: '', backend: '' };
  const root = stated === undefined ? undefined : parseArchitecture(stated.config, label, generation);
  if (stated === undefined || root === undefined || root.form === 'subclassed') {
    const known = root !== undefined;
    const outcome = looseModel(
      {
        label,
        name: root?.name === undefined || root.name === '' ? stemOf(label) : root.name,
        format,
        producer: { framework: eraOf(generation.version) === 'tfkeras' ? 'tf.keras' : 'keras', ...generation },
        tensor: (dataset, name) => tensor(dataset, name),
        optimizer,
        diagnostics: [...diagnostics, ...(known ? [note('CUSTOM_LAYER', { file: label }, { type: root.type })] : [])],
        bytesRead,
        close,
      },
      loosePositional(store),
    );
    if (stated === undefined) return outcome;
    const origin = { config: stated.config, ...programOf(parts.assets ?? NO_ASSETS) };
    return { ...outcome, value: { ...outcome.value, origin } };
  }
  const graphs = wireModels(root, label, generation.version);
  const places = new Map<string, string>();
  const assignment = assignPositional(store, root, inferInputs(root, graphs), isUnbuilt(root), places);
  const { owned, loose } = assetsByLayer(parts.assets ?? NO_ASSETS, places);
  const outcome = buildModel({
    source,
    format,
    root,
    graphs,
    generation,
    assignment,
    assets: owned,
    optimizer,
    tensor: ({ dataset, name }: Assigned, policy) => tensor(dataset, name, policy),
    config: stated.config,
    trainingConfig: stated.trainingConfig,
    diagnostics: [...diagnostics, ...mergedKernels(label, root)],
    bytesRead,
    close,
  });
  const { value } = outcome;
  const origin = { ...value.origin, ...programOf(loose), constants: tablesOf(files, store, tensor) };
  return { ...outcome, value: { ...value, origin } };
}

const NO_ASSETS: ReadonlyMap<string, string> = new Map();

/** Each file with the layer whose object it lies in: Keras files assets as it does variables. */
function assetsByLayer(
  assets: ReadonlyMap<string, string>,
  places: ReadonlyMap<string, string>,
): { readonly owned: ReadonlyMap<string, ReadonlyMap<string, string>>; readonly loose: ReadonlyMap<string, string> } {
  const owned = new Map<string, Map<string, string>>();
  const loose = new Map<string, string>();
  for (const [path, digest] of assets) {
    let object = path;
    while (object !== '' && !places.has(object)) object = object.slice(0, Math.max(object.lastIndexOf('/'), 0));
    const layer = object === '' ? undefined : places.get(object);
    if (layer === undefined) {
      loose.set(path, digest);
      continue;
    }
    const own = owned.get(layer) ?? new Map<string, string>();
    owned.set(layer, own.set(path.slice(object.length + 1), digest));
  }
  return { owned, loose };
}

/** Assets of no layer that is known are compared as part of the computation. */
function programOf(assets: ReadonlyMap<string, string>): Pick<Model['origin'], 'program'> {
  if (assets.size === 0) return {};
  return { program: new Map([...assets].map(([path, digest]) => [`assets/${path}`, () => digest])) };
}

/** The optimizer's arrays. One that scales the loss lists those of the optimizer inside it a second time. */
function optimizerArrays(store: VariableStore): readonly Hdf5Dataset[] {
  const outer = store.arrays.get('optimizer') ?? [];
  const inner = store.arrays.get('optimizer/inner_optimizer') ?? [];
  return outer.length >= inner.length ? outer : [...outer, ...inner];
}

/** Tables of document frequencies that a lookup layer was adapted to: they decide what it computes, and are no weights. */
function tablesOf(
  files: readonly Hdf5File[],
  { tables }: VariableStore,
  tensor: (dataset: Hdf5Dataset, name: string) => Tensor,
): readonly Tensor[] {
  return tables.flatMap((path) => {
    const dataset = files.map((file) => file.datasets.get(path)).find((one) => one !== undefined);
    return dataset === undefined ? [] : [tensor(dataset, path)];
  });
}

/** Lookup layers save their table of document frequencies beside no variable; Keras counts it as nothing, and so do we. */
function leftOutTables(file: string, store: VariableStore): readonly Diagnostic[] {
  const { tables } = store;
  return tables.length === 0
    ? []
    : [note('NOT_A_VARIABLE', { file }, { count: tables.length, first: tables.slice(0, 5) })];
}

/** `.keras` holds an adapted kernel with its matrices already in it; Keras adds matrices of zeros when it loads it. */
function mergedKernels(file: string, root: LayerSpec): readonly Diagnostic[] {
  return layersBelow(root)
    .filter(({ spec }) => variablesOf(spec)?.some((variable) => variable.legacyOnly === true) === true)
    .map(({ spec }) => note('ASSUMED', { file, layer: spec.path }, { what: 'lora', value: 'merged into the kernel' }));
}
