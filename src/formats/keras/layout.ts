import type { ByteSource, ReadOptions } from '../../bytes/source.ts';
import { BnsumError } from '../../ir/error.ts';
import { LIMITS } from '../../ir/limits.ts';
import type { Generation } from './architecture.ts';
import { type Hdf5File, joinPath, textAttribute, textList } from './hdf5.ts';
import { openHdf5 } from './hdf5-open.ts';

/** How an HDF5 file may be opened; `silentMilliseconds` stands for LIMITS.hdf5HeaderMilliseconds. */
export type TreeOptions = ReadOptions & { readonly silentMilliseconds?: number };

export async function openTree(source: ByteSource, options: TreeOptions): Promise<Hdf5File> {
  const file = await openHdf5(source, {
    workers: options.workers,
    silentMilliseconds: options.silentMilliseconds,
  });
  try {
    refuseForeignBytes(file);
  } catch (error) {
    await file.close();
    throw error;
  }
  return file;
}

/** Links and storage that lead out of the file. Keras refuses them too. */
function refuseForeignBytes(file: Hdf5File): void {
  for (const group of file.groups.values()) {
    for (const [name, kind] of group.children) {
      if (kind !== 'soft' && kind !== 'external') continue;
      throw new BnsumError({
        code: 'UNSAFE',
        file: file.label,
        place: joinPath(group.path, name),
        reason:
          kind === 'soft' ? 'a soft link, which is never followed' : 'a link into another file, which is never opened',
        next: 'write the model again in one piece',
      });
    }
  }
  for (const dataset of file.datasets.values()) {
    if (!dataset.external && dataset.layout !== 'virtual') continue;
    throw new BnsumError({
      code: 'UNSAFE',
      file: file.label,
      place: dataset.path,
      reason: `its bytes are in other files (${dataset.external ? 'external storage' : 'a virtual dataset'}), which are never opened`,
      next: 'write the model again in one piece',
    });
  }
}

/** Where in an HDF5 file a Keras model lies. */
export interface Layout {
  readonly kind: 'legacy' | 'positional' | 'numbered';
  /** Group with the attributes of the model: '' or 'model/kerasmodel'. */
  readonly holder: string;
  /** Legacy: group with the layers. */
  readonly base: string;
}

export function layoutOf(file: Hdf5File): Layout {
  for (const holder of ['', 'model/kerasmodel']) {
    const group = file.groups.get(holder);
    if (group === undefined) continue;
    const weights = joinPath(holder, 'model_weights');
    if (textList(group, 'layer_names') !== undefined) return { kind: 'legacy', holder, base: holder };
    if (textList(file.groups.get(weights), 'layer_names') !== undefined)
      return { kind: 'legacy', holder, base: weights };
    if (group.attributes.has('nb_layers')) {
      return { kind: 'numbered', holder, base: holder };
    }
    if (group.attributes.has('model_config')) {
      throw new BnsumError({
        code: 'MISMATCH',
        file: file.label,
        reason: 'has a model_config and no weights of it (no layer_names)',
      });
    }
  }
  const numbered = [...file.datasets.keys()].some((path) => /(^|[/\\])vars\/\d+$/.test(path));
  const empty = file.datasets.size === 0 && [...file.groups.keys()].some((path) => /(^|[/\\])vars$/.test(path));
  if (numbered || empty) return { kind: 'positional', holder: '', base: '' };
  const { size } = file.datasets;
  const first = [...file.datasets.keys()].slice(0, 3).join(', ');
  throw new BnsumError({
    code: 'NOT_A_MODEL',
    file: file.label,
    reason: `an HDF5 file with ${size} dataset${size === 1 ? '' : 's'}${size === 0 ? '' : ` (${first}${size > 3 ? ' …' : ''})`} and no Keras model in it`,
  });
}

export function layersCounted(file: Hdf5File, holder: string): number {
  const count = file.groups.get(holder)?.attributes.get('nb_layers');
  if (typeof count === 'number' && Number.isSafeInteger(count) && count >= 0 && count <= LIMITS.layers) return count;
  throw new BnsumError({ code: 'MALFORMED', file: file.label, place: 'nb_layers', reason: 'is no count of layers' });
}

/** Files without `keras_version` are Keras 1: its weights files have none. */
export function generationOf(file: Hdf5File, layout: Layout): Generation {
  const holders = [file.groups.get(layout.holder), file.groups.get(layout.base)];
  const find = (name: string): string | undefined =>
    holders.map((group) => textAttribute(group, name)).find((value) => value !== undefined);
  return { version: find('keras_version') ?? '1', backend: find('backend') ?? '' };
}
