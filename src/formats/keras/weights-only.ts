import { type Diagnostic, note, type Outcome } from '../../ir/diagnostic.ts';
import { EMPTY_OBJECT } from '../../ir/json.ts';
import type { Kind } from '../../ir/kind.ts';
import type { Layer, Model, Producer, Tensor, Weight } from '../../ir/model.ts';
import type { Hdf5Dataset, Hdf5File } from './hdf5.ts';
import { joinPath, textList } from './hdf5.ts';
import { arraysOf, arraysOfLayer, readings } from './legacy.ts';
import { isApart, type VariableStore } from './positional.ts';
import { kindByName, type LooseArray, type Recognised, recogniseNamed, recognisePositional } from './recognition.ts';

/** A weights file, or a subclassed model, of which only the arrays are known. */
export interface Loose {
  readonly label: string;
  readonly name: string;
  readonly format: string;
  readonly producer: Producer;
  readonly tensor: (dataset: Hdf5Dataset, name: string) => Tensor;
  readonly optimizer: readonly Tensor[];
  readonly diagnostics: readonly Diagnostic[];
  readonly bytesRead: () => number;
  readonly close: () => Promise<void>;
}

export interface LooseLayer {
  readonly path: string;
  readonly recognised: Recognised;
}

/** Layers of the legacy layout: named groups, named arrays. */
export function looseLegacy(file: Hdf5File, base: string): readonly LooseLayer[] {
  const layers = new Map<string, LooseArray[]>();
  const put = (path: string, array: LooseArray): void => {
    const list = layers.get(path);
    if (list === undefined) layers.set(path, [array]);
    else list.push(array);
  };
  const names = textList(file.groups.get(base), 'layer_names') ?? [];
  for (const layer of names) {
    const arrays = arraysOfLayer(file, joinPath(base, layer));
    if (arrays.length === 0) layers.set(layer, layers.get(layer) ?? []);
    for (const { name, dataset } of arrays) {
      const { owner, role } = readings(name, layer);
      put(owner === '' ? layer : `${layer}/${owner}`, { role, name, dataset });
    }
  }
  for (const { name, dataset } of arraysOf(file, joinPath(base, 'top_level_model_weights'))) {
    put('', { role: readings(name, '').role, name, dataset });
  }
  return [...layers].map(([path, arrays]) => ({
    path,
    recognised: recogniseNamed(path.split('/').at(-1) ?? path, arrays),
  }));
}

/** Layers of Keras 0.x: `layer_0`, `layer_1` … with `param_0` … each, and no word of what they are. */
export function looseNumbered(file: Hdf5File, holder: string, count: number): readonly LooseLayer[] {
  const layers: LooseLayer[] = [];
  for (let index = 0; index < count; index++) {
    const path = joinPath(holder, `layer_${index}`);
    const arrays: LooseArray[] = [];
    for (let position = 0; ; position++) {
      const dataset = file.datasets.get(joinPath(path, `param_${position}`));
      if (dataset === undefined) break;
      arrays.push({ role: `param_${position}`, name: dataset.path, dataset });
    }
    layers.push({ path: `layer_${index}`, recognised: recogniseNamed('', arrays) });
  }
  return layers;
}

/** Layers of the positional layout: the class is in the path, and since 3.6 the name beside the arrays. */
export function loosePositional(store: VariableStore): readonly LooseLayer[] {
  const layers: LooseLayer[] = [];
  for (const [object, arrays] of [...store.arrays].sort(byNumberedPath)) {
    if (isApart(object)) continue;
    const loose = arrays.map((dataset) => ({ role: '', name: dataset.path, dataset }));
    const last = object.split('/').at(-1) ?? '';
    // An empty object tells nothing but that a layer without weights is there; a container's is a row of its own later.
    if (loose.length === 0 && (object === '' || (store.below.get(object)?.length ?? 0) > 0)) continue;
    layers.push({ path: object, recognised: recognisePositional(kindOfObject(last, object), loose) });
  }
  return layers;
}

/** An RNN keeps its arrays in its cell, a wrapper in its layer. */
function kindOfObject(last: string, object: string): Kind | undefined {
  if (last !== 'cell') return kindByName(last);
  return kindByName(object.split('/').at(-2) ?? '');
}

function byNumberedPath([left]: readonly [string, unknown], [right]: readonly [string, unknown]): number {
  const parts = (path: string): readonly string[] => path.split(/(\d+)/);
  const other = parts(right);
  for (const [index, part] of parts(left).entries()) {
    const against = other[index];
    if (against === undefined) return 1;
    if (part === against) continue;
    const numbers = [Number(part), Number(against)] as const;
    if (part !== '' && against !== '' && !Number.isNaN(numbers[0]) && !Number.isNaN(numbers[1])) {
      return numbers[0] - numbers[1];
    }
    return part < against ? -1 : 1;
  }
  return left.length - right.length;
}

/** Rows for the layers and for the folders that hold them. */
export function looseModel(loose: Loose, layers: readonly LooseLayer[]): Outcome<Model> {
  const rows = new Map<string, Layer>();
  const diagnostics: Diagnostic[] = [...loose.diagnostics];
  const at = { file: loose.label };
  diagnostics.push(note('NO_ARCHITECTURE', at));
  const addParents = (path: string): string | null => {
    const cut = path.lastIndexOf('/');
    if (cut < 0) return null;
    const parent = path.slice(0, cut);
    if (!rows.has(parent)) rows.set(parent, row(parent, addParents(parent), 'model', true, []));
    return parent;
  };
  for (const { path, recognised } of layers) {
    const weights = recognised.arrays.map(
      (array): Weight => ({
        role: array.role,
        class: array.class,
        isParameter: array.certain ? array.class === 'weight' : null,
        trainable: array.class === 'weight' ? null : false,
        tensor: loose.tensor(array.dataset, array.name),
      }),
    );
    const parent = addParents(path);
    const existing = rows.get(path);
    rows.set(path, row(path, parent, recognised.kind, existing?.container ?? false, weights));
    if (weights.length === 0) continue;
    const guessed = weights.filter((weight) => weight.isParameter === null).map((weight) => weight.tensor.name);
    if (guessed.length > 0) diagnostics.push(note('CLASS_ASSUMED', { ...at, layer: path }, { tensors: guessed }));
    else if (recognised.kind !== 'unknown') {
      diagnostics.push(note('KIND_GUESSED', { ...at, layer: path }, { kind: recognised.kind }));
    }
  }
  return {
    value: {
      name: loose.name,
      format: loose.format,
      dialect: 'keras',
      producer: loose.producer,
      layers: [...rows.values()],
      graphs: new Map(),
      optimizer: loose.optimizer,
      trainable: null,
      origin: {},
      bytesRead: loose.bytesRead,
      close: loose.close,
    },
    diagnostics,
  };
}

function row(path: string, parent: string | null, kind: Kind, container: boolean, weights: readonly Weight[]): Layer {
  return { path, parent, container, kind, type: '', trainable: null, attrs: EMPTY_OBJECT, norm: {}, weights };
}
