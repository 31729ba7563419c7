import { type Diagnostic, note } from '../../ir/diagnostic.ts';
import { familyOf } from '../../ir/dtype.ts';
import { BnsumError } from '../../ir/error.ts';
import { EMPTY_OBJECT, type JsonObject } from '../../ir/json.ts';
import type { Kind } from '../../ir/kind.ts';
import { LIMITS } from '../../ir/limits.ts';
import type { Layer, NormAttrs, Tensor, Weight, WeightClass } from '../../ir/model.ts';
import { settled } from '../../layers/onnx-defaults.ts';
import { commonPath, isMadeUp, moduleOf, splitKey } from './name.ts';
import { settingsOf } from './node.ts';
import type { NodeProto } from './schema.ts';
import type { Known, Root } from './scope.ts';
import { normOf, type Recognised } from './slot.ts';

/** A layer while the graph is walked. */
export interface Draft {
  readonly path: string;
  readonly kind: Kind;
  readonly type: string;
  readonly attrs: JsonObject;
  readonly norm: NormAttrs;
  readonly weights: Weight[];
  /** Whether the path is that of a PyTorch module, whose parts are modules around it. */
  readonly isModule: boolean;
}

/** What a node has: its constants by role, with the class of each. */
export interface Held {
  readonly role: string;
  readonly class: WeightClass;
  readonly known: Known;
}

export interface Row {
  readonly path: string;
  readonly role: string;
  /** It is an argument of operations, no weight. */
  readonly inlined: boolean;
}

/** Collects layers under paths that are each taken once. */
export interface Drafts {
  /** The layer that a node calls: a new one, or one that has the same weights and settings. */
  call(node: NodeProto, recognised: Recognised, held: readonly Held[]): Draft;
  /** Tensors that no layer has, as rows of what is not known. */
  addRest(roots: readonly Root[]): void;
  /** The row that has a tensor. */
  rowOf(root: Root): Row | undefined;
  layers(): readonly Layer[];
  diagnostics(): readonly Diagnostic[];
}

/** Examples that a folded diagnostic names. */
const EXAMPLES = 5;

/** `names` are those of the root's initializers: a module that has some belongs to the layer that holds them. */
export function collectDrafts(file: string, names: readonly string[], opset: number): Drafts {
  const owned = new Set(names.flatMap((name) => splitKey(name)?.path ?? []));
  const byPath = new Map<string, Draft>();
  const bySignature = new Map<string, Draft>();
  const rows = new Map<Root, Row>();
  let parameters = 0;
  let buffers = 0;
  let assumed = 0;
  const assumedFirst: string[] = [];

  const add = (draft: Draft): Draft => {
    if (byPath.size >= LIMITS.layers) {
      throw new BnsumError({ code: 'LIMIT', file, reason: `more than ${LIMITS.layers} layers` });
    }
    byPath.set(draft.path, draft);
    return draft;
  };
  const freePath = (...candidates: readonly (string | undefined)[]): string => {
    const named = candidates.filter((path): path is string => path !== undefined && path !== '');
    const free = named.find((path) => !byPath.has(path));
    if (free !== undefined) return free;
    const base = named[0] ?? 'layer';
    let count = 2;
    while (byPath.has(`${base}#${count}`)) count += 1;
    return `${base}#${count}`;
  };
  const weightOf = (role: string, weightClass: WeightClass, tensor: Tensor): Weight => {
    const isParameter = weightClass === 'weight';
    return { role, class: weightClass, isParameter, trainable: isParameter ? null : false, tensor };
  };

  return {
    call(node, { kind }, held) {
      const op = node.op_type ?? '';
      const attrs = settled(op, settingsOf(node), opset);
      const signature =
        held.length === 0
          ? undefined
          : JSON.stringify([
              op,
              held.map(({ role, known }) => [role, known.root.stored.tensor.identity, known.transposed]),
              [...attrs].map(([key, value]) => [key, String(value)]),
            ]);
      const before = signature === undefined ? undefined : bySignature.get(signature);
      if (before !== undefined) return before;
      const own = held.filter((one) => one.class !== 'constant').map(({ known }) => known.root.name);
      const path = commonPath(own);
      const scope = path === undefined ? moduleOf(node.name, op) : undefined;
      const module = scope === undefined || owned.has(scope) ? undefined : scope;
      const chosen = freePath(path, module, node.name, node.output?.[0], op);
      const draft = add({
        path: chosen,
        kind,
        type: op,
        attrs,
        norm: normOf(op, kind, attrs, new Map(held.map(({ role, known }) => [role, known]))),
        weights: held.map(({ role, class: weightClass, known }) => weightOf(role, weightClass, known.stored.tensor)),
        isModule: chosen === module || (chosen === path && own.some((name) => splitKey(name)?.path === path)),
      });
      for (const weight of draft.weights) {
        if (weight.isParameter) parameters += 1;
        else buffers += 1;
      }
      for (const { role, known } of held) {
        if (!rows.has(known.root)) rows.set(known.root, { path: draft.path, role, inlined: false });
      }
      if (signature !== undefined) bySignature.set(signature, draft);
      return draft;
    },
    addRest(roots) {
      const groups = new Map<string, Draft>();
      for (const root of roots) {
        const { name, origin, stored } = root;
        const { tensor } = stored;
        const key = splitKey(name);
        const weightClass = restClass(name, origin, tensor);
        if (weightClass === 'weight') {
          assumed += 1;
          if (assumedFirst.length < EXAMPLES) assumedFirst.push(name);
        }
        const inlined = weightClass === 'constant';
        const owner = key === undefined ? undefined : (groups.get(key.path) ?? byPath.get(key.path));
        if (key !== undefined && owner?.weights.every(({ role }) => role !== key.role) === true) {
          owner.weights.push(weightOf(key.role, weightClass, tensor));
          rows.set(root, { path: owner.path, role: key.role, inlined });
          continue;
        }
        const draft = add({
          path: freePath(key?.path, name, 'constant'),
          kind: 'unknown',
          type: '',
          attrs: EMPTY_OBJECT,
          norm: {},
          weights: [weightOf(key?.role ?? 'value', weightClass, tensor)],
          isModule: key !== undefined,
        });
        rows.set(root, { path: draft.path, role: key?.role ?? 'value', inlined });
        if (key !== undefined && draft.path === key.path) groups.set(key.path, draft);
      }
    },
    rowOf: (root) => rows.get(root),
    layers: () => arrange([...byPath.values()]),
    diagnostics() {
      const list: Diagnostic[] = [];
      if (parameters + buffers > 0) list.push(note('CLASS_INFERRED', { file }, { parameters, buffers }));
      if (assumed > 0) list.push(note('CLASS_ASSUMED', { file }, { count: assumed, first: assumedFirst }));
      return list;
    },
  };
}

/** Only floating tensors are trained; names that an exporter made up, and single numbers, are its constants. */
function restClass(name: string, origin: Root['origin'], tensor: Tensor): WeightClass {
  const family = familyOf(tensor.dtype);
  if (family !== 'float' && family !== 'complex') {
    return /(?:^|\.)num_batches_tracked$/.test(name) ? 'counter' : 'constant';
  }
  if (/(?:^|\.)running_(?:mean|var)$/.test(name)) return 'statistic';
  const isSingle = tensor.shape.every((size) => size === 1) && splitKey(name) === undefined;
  return (origin === 'initializer' && isMadeUp(name)) || isSingle ? 'constant' : 'weight';
}

/** Layers with a container row before the first of those in it, for each module that is no layer itself. */
function arrange(drafts: readonly Draft[]): readonly Layer[] {
  const leaves = new Set(drafts.map((draft) => draft.path));
  const made = new Set<string>();
  const layers: Layer[] = [];
  for (const { path, kind, type, attrs, norm, weights, isModule } of drafts) {
    let parent: string | null = null;
    const parts = isModule ? path.split('.') : [path];
    if (parts.length <= LIMITS.moduleDepth) {
      for (let count = 1; count < parts.length; count += 1) {
        const above = parts.slice(0, count).join('.');
        if (!leaves.has(above) && !made.has(above)) {
          made.add(above);
          layers.push({ ...CONTAINER, path: above, parent });
        }
        parent = above;
      }
    }
    layers.push({ path, parent, container: false, kind, type, trainable: null, attrs, norm, weights });
  }
  return layers;
}

const CONTAINER = {
  container: true,
  kind: 'unknown',
  type: '',
  trainable: null,
  attrs: EMPTY_OBJECT,
  norm: {},
  weights: [],
} as const;
