import { type Diagnostic, note } from '../ir/diagnostic.ts';
import type { DType } from '../ir/dtype.ts';
import { BnsumError } from '../ir/error.ts';
import { stringAt } from '../ir/json.ts';
import { childrenByPath, layersByPath } from '../ir/layer-index.ts';
import type { Layer, Model, NormAttrs, Shape, Tensor, WeightClass } from '../ir/model.ts';
import type { Expr, Twin, TwinSource } from '../layers/family.ts';
import { type FoldRecord, foldModel } from './fold.ts';
import { inputsOfFirstCalls, lowerModel, twinSourceOf } from './lower/lower.ts';
import type { FeatureOrder, Lowered } from './lower/lowered.ts';
import { computes, describeExpr, mapSources, reorder, sourcesOf } from './order.ts';

/** One tensor of the state_dict to be, and the expression of source tensors that gives it. */
export interface PlannedTensor {
  /** Key of the state_dict. */
  readonly name: string;
  /** Path of the source layer. */
  readonly layer: string;
  /** Path of the PyTorch module that owns it. */
  readonly module: string;
  readonly class: WeightClass;
  readonly isParameter: boolean;
  readonly requiresGrad: boolean;
  readonly shape: readonly number[];
  readonly dtype: DType;
  readonly expr: Expr;
  /** Source tensors of the expression, each once. */
  readonly sources: readonly Tensor[];
  /** The file's own tensors that go in: those of `sources`, or what a folded one is made of. */
  readonly origins: readonly Tensor[];
  /** Whether values are only moved or filled, never computed. */
  readonly exact: boolean;
  /** True when no source tensor goes in. */
  readonly filled: boolean;
  /** The expression in words. */
  readonly how: string;
  /** Name of the planned tensor that this one is, under a further key; absent: it is its own. */
  readonly shares?: string;
}

export interface PlannedModule {
  readonly path: string;
  readonly layer: string;
  readonly type: string;
  readonly args: NormAttrs;
  readonly custom: boolean;
}

export interface DroppedTensor {
  readonly layer: string;
  readonly role: string;
  readonly tensor: Tensor;
  readonly why: string;
}

/**
 * What a conversion will do, as data: printed by --dry-run, carried out by translate. Nothing is read from weights here.
 */
export interface Plan {
  readonly tensors: readonly PlannedTensor[];
  readonly modules: readonly PlannedModule[];
  readonly dropped: readonly DroppedTensor[];
  readonly lowered: Lowered;
  /** BatchNorms that were folded away. */
  readonly folds: readonly FoldRecord[];
  /** Sources of a planned tensor's expression, by tensor name. */
  find(tensor: PlannedTensor, role: string, child: readonly number[]): Tensor;
  readonly diagnostics: readonly Diagnostic[];
}

export interface PlanOptions {
  /** For messages. */
  readonly file: string;
  /** Layers to leave out. */
  readonly skip?: ReadonlySet<string>;
  /** Turn a weight without a place into a diagnostic. */
  readonly allowMissing?: boolean;
  /** Fold each BatchNorm into its neighbours where that is exact at inference. */
  readonly foldBn?: boolean;
  /** Element type that folded values are rounded to, once; absent: that of each array. */
  readonly dtype?: DType;
}

/**
 * Plans the conversion of a Keras model into a PyTorch state_dict. Throws BnsumError REFUSED or MISMATCH naming the
 * layer that cannot be converted.
 */
export function planTranslation(given: Model, options: PlanOptions): Plan {
  if (given.dialect !== 'keras') {
    throw new BnsumError({
      code: 'UNSUPPORTED',
      file: options.file,
      reason: `it holds a ${given.dialect} model; the conversion to PyTorch starts from Keras`,
    });
  }
  // A file that names the class of its model and still tells no graph has it in code.
  const subclass = given.graphs.has('') ? undefined : stringAt(given.origin.config, 'class_name');
  if (subclass !== undefined) {
    throw new BnsumError({
      code: 'REFUSED',
      file: options.file,
      reason: `its model is a ${subclass}, a subclass whose layers and their order only its own code knows`,
      next: 'build it anew as keras.Model(inputs, outputs), take the weights over with set_weights() and save that',
    });
  }
  const skip = options.skip ?? new Set<string>();
  const folded =
    options.foldBn === true
      ? foldModel(given, {
          file: options.file,
          skip,
          ...(options.dtype === undefined ? {} : { dtype: options.dtype }),
        })
      : null;
  const model = folded?.model ?? given;
  const lowered = lowerModel(model, { file: options.file, skip });
  const context = contextOf(model);
  const diagnostics: Diagnostic[] = [...lowered.diagnostics, ...(folded?.diagnostics ?? [])];
  const tensors: PlannedTensor[] = [];
  const modules: PlannedModule[] = [];
  const dropped: DroppedTensor[] = [];
  const owners = new Map<string, TwinSource>();
  const used = new Set<string>();
  const ordered = new Set<string>();

  for (const [layerPath, module] of orderedModules(lowered)) {
    const layer = context.layers.get(layerPath);
    const twin = twinFor(lowered, layerPath);
    if (layer === undefined || twin === undefined) continue;
    const source = twinSourceOf(layer, context.children, context.inputs);
    diagnostics.push(...twin.diagnostics);
    for (const made of twin.modules) {
      const path = made.name === '' ? module : `${module}.${made.name}`;
      modules.push({ path, layer: layerPath, type: made.type, args: made.args, custom: made.custom === true });
    }
    ordered.add(layerPath);
    for (const tensor of twin.tensors) {
      const expr = inOrder(tensor.from, source, lowered, options.file);
      const name = `${module}.${tensor.name}`;
      owners.set(name, source);
      const found = sourcesOf(expr).map((leaf) => findSource(source, leaf.role, leaf.child ?? [], options.file));
      const sources = [...new Map(found.map((weight) => [weight.tensor.identity, weight.tensor])).values()];
      const facts = sources.flatMap((one) => folded?.made.get(one.identity) ?? []);
      const origins = sources.flatMap((one) => folded?.made.get(one.identity)?.sources ?? [one]);
      for (const one of [...sources, ...origins]) used.add(one.identity);
      tensors.push({
        name,
        layer: layerPath,
        module,
        class: tensor.class,
        isParameter: tensor.isParameter,
        requiresGrad: tensor.isParameter && tensor.trainable && found.every((weight) => weight.trainable !== false),
        shape: tensor.shape,
        dtype: tensor.dtype,
        expr,
        sources,
        origins,
        exact: !computes(expr) && facts.length === 0,
        filled: found.length === 0,
        how: [describeExpr(expr), ...facts.map((fact) => fact.how)].join(', '),
      });
    }
  }

  // An order that no weight was stored in would leave a kernel in the wrong order.
  for (const path of [...lowered.inputOrder.keys(), ...lowered.outputOrder.keys()]) {
    if (!ordered.has(path)) {
      throw new BnsumError({
        code: 'INTERNAL',
        file: options.file,
        reason: `the feature order of ${path} was not applied`,
      });
    }
  }

  for (const layer of model.layers) {
    const skipped = [...skip].some((path) => layer.path === path || layer.path.startsWith(`${path}/`));
    for (const weight of layer.weights) {
      if (used.has(weight.tensor.identity)) continue;
      const told = droppedBy(diagnostics, layer.path, weight.role);
      const why = skipped ? 'its layer is left out' : told;
      if (why === undefined && options.allowMissing !== true) {
        throw new BnsumError({
          code: 'REFUSED',
          file: options.file,
          place: `layer ${layer.path} (${layer.type})`,
          reason: `its weight ${weight.role} has no place in PyTorch`,
          next: `leave the layer out with --skip ${layer.path}, or let it go with --allow-missing`,
        });
      }
      dropped.push({
        layer: layer.path,
        role: weight.role,
        tensor: weight.tensor,
        why: why ?? 'allowed by --allow-missing',
      });
      if (why === undefined) {
        diagnostics.push(
          note(
            'DROPPED',
            { layer: layer.path, tensor: weight.tensor.name },
            { role: weight.role, why: 'allowed by --allow-missing' },
          ),
        );
      }
    }
  }
  for (const tensor of model.optimizer) {
    dropped.push({ layer: '', role: 'optimizer', tensor, why: 'optimizer state stays behind' });
  }
  return {
    tensors,
    modules,
    dropped,
    lowered,
    folds: folded?.folds ?? [],
    diagnostics: uniqueDiagnostics(diagnostics),
    find(tensor, role, child) {
      const owner = owners.get(tensor.name);
      if (owner === undefined) throw new BnsumError({ code: 'INTERNAL', reason: `${tensor.name} is not of this plan` });
      return findSource(owner, role, child, options.file).tensor;
    },
  };
}

function contextOf(model: Model): {
  layers: ReadonlyMap<string, Layer>;
  children: ReadonlyMap<string, readonly Layer[]>;
  inputs: ReadonlyMap<string, readonly Shape[] | null>;
} {
  return {
    layers: layersByPath(model),
    children: childrenByPath(model),
    inputs: inputsOfFirstCalls(model),
  };
}

/** Layer paths with their module paths in state_dict order: attributes as they are registered, nested classes in place. */
function orderedModules(lowered: Lowered): [string, string][] {
  return [...lowered.modules];
}

function twinFor(lowered: Lowered, layer: string): Exclude<Twin, { readonly refused: string }> | undefined {
  for (const made of lowered.classes) {
    for (const attribute of made.attributes)
      if (attribute.layer === layer && attribute.twin !== undefined) return attribute.twin;
  }
  return undefined;
}

function findSource(
  source: TwinSource,
  role: string,
  child: readonly number[],
  file: string,
): TwinSource['weights'][number] {
  let owner: TwinSource | undefined = source;
  for (const index of child) owner = owner?.children[index];
  const weight = owner?.weights.find((candidate) => candidate.role === role);
  if (weight === undefined) {
    throw new BnsumError({
      code: 'MISMATCH',
      file,
      place: `layer ${owner?.path ?? source.path} (${owner?.type ?? source.type})`,
      reason: `the file lacks its ${role}`,
    });
  }
  return weight;
}

/** Rows of kernels and vectors in the order in which the features lie in PyTorch. */
function inOrder(expr: Expr, source: TwinSource, lowered: Lowered, file: string): Expr {
  const takes = lowered.inputOrder.get(source.path);
  const gives = lowered.outputOrder.get(source.path);
  if (takes === undefined && gives === undefined) return expr;
  const apply = (leaf: Extract<Expr, { op: 'source' }>): Expr => {
    const { shape } = findSource(source, leaf.role, leaf.child ?? [], file).tensor;
    if (takes !== undefined && leaf.role === 'kernel') return reorder(leaf, shape, 0, takes);
    if (gives !== undefined && shape.length >= 1 && shape.at(-1) === sizeOf(gives)) {
      return reorder(leaf, shape, shape.length - 1, gives);
    }
    return leaf;
  };
  return mapSources(expr, apply);
}

function sizeOf(order: FeatureOrder): number {
  return order.reduce((sum, { dims }) => sum + dims.reduce((product, size) => product * size, 1), 0);
}

/** Why a family said that a weight has no place. */
function droppedBy(diagnostics: readonly Diagnostic[], layer: string, role: string): string | undefined {
  const found = diagnostics.find(
    (diagnostic) => diagnostic.code === 'DROPPED' && diagnostic.at.layer === layer && diagnostic.args['role'] === role,
  );
  return found === undefined ? undefined : String(found.args['why'] ?? 'it has no place in PyTorch');
}

function uniqueDiagnostics(diagnostics: readonly Diagnostic[]): readonly Diagnostic[] {
  return [...new Map(diagnostics.map((diagnostic) => [JSON.stringify(diagnostic), diagnostic])).values()];
}
