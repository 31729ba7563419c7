import type { Tensor } from './model.ts';

/** One entry of a state_dict, in order: what the writers of PyTorch containers take. */
export interface StateEntry {
  /** Key: 'layers.0.bn1.running_mean'. */
  readonly name: string;
  readonly tensor: Tensor;
  readonly kind: 'parameter' | 'buffer' | null;
  readonly requiresGrad: boolean | null;
  /** Name of the entry whose tensor this one is (tied weights), else null. */
  readonly shares: string | null;
}
