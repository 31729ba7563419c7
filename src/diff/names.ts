import type { Kind } from '../ir/kind.ts';
import { familyOfKind } from '../layers/registry.ts';

/** What a layer is called, as far as the numbers that Keras gives are concerned. */
export interface LayerName {
  /** Name below the parent. */
  readonly leaf: string;
  /** The name without its number where the number is given automatically or is a position; null: a name of its own. */
  readonly base: string | null;
  /** 0 where the name carries none. */
  readonly number: number;
}

/** Keras' own snake case of a class name: BatchNormalization gives batch_normalization, ReLU gives re_lu. */
export function snakeCase(type: string): string {
  return type
    .replace(/\W+/g, '')
    .replace(/(.)([A-Z][a-z]+)/g, '$1_$2')
    .replace(/([a-z])([A-Z])/g, '$1_$2')
    .toLowerCase();
}

/** Class names of Keras 1 that later releases spell otherwise. */
const LATER_TYPES: ReadonlyMap<string, string> = new Map([
  ['Convolution1D', 'Conv1D'],
  ['Convolution2D', 'Conv2D'],
  ['Convolution3D', 'Conv3D'],
  ['AtrousConvolution1D', 'Conv1D'],
  ['AtrousConvolution2D', 'Conv2D'],
  ['Deconvolution2D', 'Conv2DTranspose'],
  ['Convolution2DTranspose', 'Conv2DTranspose'],
  ['SeparableConvolution2D', 'SeparableConv2D'],
  ['SyncBatchNormalization', 'BatchNormalization'],
]);

/** Bases of automatic names that stand for one thing in all generations. */
const COMMON_BASES: ReadonlyMap<Kind, readonly string[]> = new Map([
  ['input', ['input', 'input_layer']],
  ['model', ['model', 'functional', 'sequential']],
]);

/** The base under which layers of this kind and class are numbered, the same for every generation of Keras. */
export function commonBase(kind: Kind, type: string): string {
  return COMMON_BASES.get(kind)?.[0] ?? snakeCase(LATER_TYPES.get(type) ?? type);
}

function automaticBases(kind: Kind, type: string): ReadonlySet<string> {
  // Keras 1's Merge is listed with its mode, and named without it.
  const listed = (familyOfKind(kind)?.types.keras ?? []).map((one) => one.replace(/:.*/s, ''));
  const types = [type, ...listed];
  return new Set([...types.flatMap((one) => [snakeCase(one), one.toLowerCase()]), ...(COMMON_BASES.get(kind) ?? [])]);
}

/** The name of a Keras layer below its parent; automatic when it is its class in snake case, with or without a number. */
export function kerasName(path: string, parent: string | null, kind: Kind, type: string): LayerName {
  const leaf = leafOf(path, parent);
  const last = leaf.slice(leaf.lastIndexOf('/') + 1);
  const [, stem = last, digits] = /^(.*?)(?:_(\d{1,9}))?$/su.exec(last) ?? [];
  const number = digits === undefined ? 0 : Number(digits);
  if (kind === 'operation') return { leaf, base: `${leaf.slice(0, leaf.length - last.length)}${stem}`, number };
  if (!automaticBases(kind, type).has(stem)) return { leaf, base: null, number: 0 };
  // A lock file keeps no class: its names are common ones already.
  const base = type === '' ? stem : commonBase(kind, type);
  return { leaf, base: `${leaf.slice(0, leaf.length - last.length)}${base}`, number };
}

/** The name of a PyTorch module below its parent; a whole number is a place in a Sequential or a list. */
export function torchName(path: string, parent: string | null): LayerName {
  const leaf = leafOf(path, parent);
  return /^\d{1,9}$/.test(leaf) ? { leaf, base: '#', number: Number(leaf) } : { leaf, base: null, number: 0 };
}

function leafOf(path: string, parent: string | null): string {
  return parent !== null && path.length > parent.length + 1 && path.startsWith(parent)
    ? path.slice(parent.length + 1)
    : path;
}
