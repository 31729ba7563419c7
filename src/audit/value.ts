import type { PickleRun } from '../formats/torch/pickle-event.ts';
import { type PickleNode, partsOf, sizeOfTree } from '../formats/torch/pickle-tree.ts';
import { isNode } from '../formats/torch/pickle-value.ts';
import type { PicklePlace } from './pickle.ts';

/** Values that a structure may stand for, beside a thousand times its nodes, before it counts as an expansion bomb. */
const EXPANDED = 20_000_000;
const EXPANDED_RATIO = 1_000;

/**
 * Counts what a value stands for. Few bytes can stand for 10^9 elements, which only whoever copies or prints them pays
 * for. The objects of a run are bounded, and so is this walk.
 */
export function judgeValue(run: PickleRun, place: PicklePlace): void {
  if (!isNode(run.value)) return;
  const sizes = new Map<PickleNode, number>();
  const largest = sizeOfTree(
    run.value,
    sizes,
    () => 1,
    partsOf,
    () => true,
  );
  if (largest > EXPANDED && largest > EXPANDED_RATIO * sizes.size) {
    place.ledger.add({
      level: 'suspicious',
      rule: 'EXPANSION',
      member: place.member,
      offset: place.base,
      detail: `${sizes.size} values stand for ${largest.toPrecision(3)}`,
    });
  }
}
