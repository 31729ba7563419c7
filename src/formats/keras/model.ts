import type { ByteSource } from '../../bytes/source.ts';
import { type Diagnostic, note, type Outcome } from '../../ir/diagnostic.ts';
import type { Json } from '../../ir/json.ts';
import type { Graph, Layer, Model, Producer, Tensor, Weight } from '../../ir/model.ts';
import { eraOf } from '../../layers/attribute.ts';
import { type Generation, type LayerSpec, layersBelow, policyOf } from './architecture.ts';
import type { Assigned, Assignment } from './assignment.ts';
import { trainableBelow } from './trainability.ts';

/** What every way of reading a Keras file comes down to. */
export interface Parts {
  readonly source: ByteSource;
  readonly format: string;
  readonly root: LayerSpec;
  readonly graphs: ReadonlyMap<string, Graph>;
  readonly generation: Generation;
  readonly assignment: Assignment;
  /** SHA-256 of files by the layer's path and the file's name. */
  readonly assets?: ReadonlyMap<string, ReadonlyMap<string, string>>;
  readonly optimizer: readonly Tensor[];
  /** Makes the lazy tensor of an array. */
  readonly tensor: (assigned: Assigned, policy: string | undefined) => Tensor;
  readonly config: Json | undefined;
  readonly trainingConfig: Json | undefined;
  readonly diagnostics: readonly Diagnostic[];
  readonly bytesRead: () => number;
  readonly close: () => Promise<void>;
}

/** Puts layers, weights and graphs together. */
export function buildModel(parts: Parts): Outcome<Model> {
  const { source, root, generation, assignment } = parts;
  const diagnostics: Diagnostic[] = [...parts.diagnostics];
  const trainable = trainableBelow(root, generation.version);
  const layers: Layer[] = [];
  const own = weightsOf(parts, root, trainable.get('') ?? true);
  if (own.length > 0) layers.push(layerOf(root, null, own));
  for (const { spec, parent } of layersBelow(root)) {
    const weights = weightsOf(parts, spec, trainable.get(spec.path) ?? true);
    const assets = parts.assets?.get(spec.path);
    const layer = layerOf(spec, parent === root ? null : parent.path, weights);
    layers.push(assets === undefined ? layer : { ...layer, assets });
    diagnostics.push(...diagnosticsOf(source.label, spec, weights));
  }
  return {
    value: {
      name: root.name === '' ? stemOf(source.label) : root.name,
      format: parts.format,
      dialect: 'keras',
      producer: producerOf(generation),
      layers,
      graphs: parts.graphs,
      optimizer: parts.optimizer,
      trainable: root.trainable,
      origin: {
        ...(parts.config === undefined ? {} : { config: parts.config }),
        ...(parts.trainingConfig === undefined ? {} : { trainingConfig: parts.trainingConfig }),
      },
      bytesRead: parts.bytesRead,
      close: parts.close,
    },
    diagnostics,
  };

  function weightsOf({ tensor }: Parts, spec: LayerSpec, effective: boolean): readonly Weight[] {
    const policy = policyOf(spec.attrs);
    const found = assignment.get(spec.path) ?? [];
    // Low-rank adaptation trains its two matrices instead of what they adapt.
    const adapted = found.some((assigned) => assigned.role.startsWith('lora_'));
    const held = (role: string): boolean => adapted && (role === 'kernel' || role === 'embeddings');
    return found.map((assigned) => ({
      role: assigned.role,
      class: assigned.class,
      isParameter: assigned.certain ? assigned.class === 'weight' : null,
      trainable: assigned.class === 'weight' && effective && !held(assigned.role),
      tensor: tensor(assigned, policy),
    }));
  }
}

function layerOf(spec: LayerSpec, parent: string | null, weights: readonly Weight[]): Layer {
  return {
    path: spec.path,
    parent,
    container: spec.children.length > 0 || spec.kind === 'model' || spec.family?.container === true,
    kind: spec.kind,
    type: spec.type,
    trainable: spec.trainable,
    attrs: spec.attrs,
    norm: spec.norm,
    weights,
  };
}

function diagnosticsOf(file: string, spec: LayerSpec, weights: readonly Weight[]): readonly Diagnostic[] {
  const at = { file, layer: spec.path };
  const found: Diagnostic[] = [];
  if (spec.kind === 'unknown') found.push(note('CUSTOM_LAYER', at, { type: spec.type }));
  if (spec.kind === 'lambda' || spec.type === 'TorchModuleWrapper') {
    found.push(note('CODE_PRESENT', at, { type: spec.type }));
  }
  const guessed = weights.filter((weight) => weight.isParameter === null).map((weight) => weight.tensor.name);
  if (guessed.length > 0) found.push(note('CLASS_ASSUMED', at, { tensors: guessed }));
  return found;
}

function producerOf({ version, backend }: Generation): Producer {
  const framework = eraOf(version) === 'tfkeras' ? 'tf.keras' : 'keras';
  return { framework, version, backend };
}

/** 'dir/model.weights.h5' → 'model'. */
export function stemOf(label: string): string {
  const base = label.split('/').at(-1) ?? label;
  return base.replace(/(\.weights)?\.(h5|hdf5|keras|json)$/i, '') || base;
}
