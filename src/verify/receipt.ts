import type { Totals } from '../account/account.ts';
import type { Explanation } from '../account/explain.ts';
import { codec } from '../bytes/codec.ts';
import type { ByteSource } from '../bytes/source.ts';
import type { FoldRecord } from '../convert/fold.ts';
import type { Plan } from '../convert/plan.ts';
import type { NormAttrs } from '../ir/model.ts';
import { BlockBuffer, readBlocks } from '../ir/slabs.ts';
import type { StateEntry } from '../ir/state.ts';

/** A record of one conversion that a reviewer can check without the tool. No dates and no paths: the same input gives the same text. */
export interface Receipt {
  readonly $schema: string;
  readonly version: 1;
  readonly source: { readonly file: string; readonly format: string; readonly bytes: number; readonly sha256: string };
  readonly target: { readonly file: string; readonly format: string; readonly bytes: number; readonly sha256: string };
  readonly inputs: readonly PortRecord[];
  readonly outputs: readonly PortRecord[];
  readonly tensors: readonly {
    readonly name: string;
    readonly layer: string;
    readonly from: readonly string[];
    readonly how: string;
    readonly dtype: string;
    readonly shape: readonly number[];
    readonly exact: boolean;
    readonly sha256: string;
  }[];
  readonly filled: readonly { readonly name: string; readonly how: string }[];
  readonly dropped: readonly {
    readonly layer: string;
    readonly role: string;
    readonly tensor: string;
    readonly why: string;
  }[];
  /** BatchNorms that were folded into their neighbours. */
  readonly folded: readonly FoldRecord[];
  readonly modules: readonly {
    readonly path: string;
    readonly layer: string;
    readonly type: string;
    readonly before: NormAttrs;
    readonly after: NormAttrs;
  }[];
  readonly totals: { readonly before: Totals; readonly after: Totals };
  /** The steps that lead from the Keras total to the PyTorch numbers. */
  readonly explanation: Explanation;
  readonly verified: { readonly lossless: number; readonly asPlanned: number; readonly elements: number } | null;
}

export interface PortRecord {
  readonly name: string;
  readonly keras: readonly (number | null | '?')[];
  readonly torch: readonly (number | null | '?')[];
  /** torch axis i is Keras axis axes[i]. */
  readonly axes: readonly number[];
}

/** SHA-256 of a whole file. */
export async function hashSource(source: ByteSource): Promise<string> {
  const hash = codec().sha256();
  const step = 8 * 1024 * 1024;
  for (let at = 0; at < source.size; at += step) hash.update(await source.read(at, Math.min(at + step, source.size)));
  return hash.digest();
}

/** SHA-256 of each entry's dense little-endian bytes. */
export async function hashEntries(entries: readonly StateEntry[]): Promise<ReadonlyMap<string, string>> {
  const hashes = new Map<string, string>();
  const buffer = new BlockBuffer();
  for (const entry of entries) {
    const hash = codec().sha256();
    for await (const block of readBlocks(entry.tensor, buffer)) hash.update(block);
    hashes.set(entry.name, hash.digest());
  }
  return hashes;
}

export interface ReceiptParts {
  readonly source: Receipt['source'];
  readonly target: Receipt['target'];
  readonly plan: Plan;
  readonly entries: readonly StateEntry[];
  readonly hashes: ReadonlyMap<string, string>;
  /** Neutral attributes of a source layer. */
  normOf(layer: string): NormAttrs;
  readonly totals: Receipt['totals'];
  readonly explanation: Explanation;
  readonly verified: Receipt['verified'];
}

export function buildReceipt(parts: ReceiptParts): Receipt {
  const { plan } = parts;
  const names = new Map(plan.tensors.map((tensor, index) => [tensor.name, parts.entries[index]]));
  const root = plan.lowered.classes.at(-1);
  const ports = (list: NonNullable<typeof root>['inputs']): PortRecord[] =>
    list.map((port) => ({
      name: port.name,
      keras: port.shape,
      torch: port.axes.map((axis) => port.shape[axis] ?? null),
      axes: port.axes,
    }));
  return {
    $schema: 'urn:bnsum:schema:receipt:1',
    version: 1,
    source: parts.source,
    target: parts.target,
    inputs: ports(root?.inputs ?? []),
    outputs: ports(root?.outputs ?? []),
    tensors: plan.tensors.map((tensor) => {
      const entry = names.get(tensor.name);
      return {
        name: entry?.name ?? tensor.name,
        layer: tensor.layer,
        from: tensor.origins.map((source) => source.name),
        how: tensor.how,
        dtype: entry?.tensor.dtype ?? tensor.dtype,
        shape: tensor.shape,
        exact: tensor.exact && entry?.tensor.dtype === tensor.dtype,
        sha256: parts.hashes.get(entry?.name ?? tensor.name) ?? '',
      };
    }),
    filled: plan.tensors.filter((tensor) => tensor.filled).map((tensor) => ({ name: tensor.name, how: tensor.how })),
    dropped: plan.dropped.map(({ layer, role, tensor, why }) => ({ layer, role, tensor: tensor.name, why })),
    folded: plan.folds,
    modules: plan.modules.map((module) => ({
      path: module.path,
      layer: module.layer,
      type: module.type,
      before: parts.normOf(module.layer),
      after: module.args,
    })),
    totals: parts.totals,
    explanation: parts.explanation,
    verified: parts.verified,
  };
}
