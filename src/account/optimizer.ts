import { countElements } from '../ir/build.ts';
import { type Diagnostic, note } from '../ir/diagnostic.ts';
import { byteLengthOf } from '../ir/dtype.ts';
import { EMPTY_OBJECT, isObject, type Json, numberAt, objectAt, stringAt } from '../ir/json.ts';
import type { Model, Tensor } from '../ir/model.ts';
import { type Count, plus, times, total } from './count.ts';
import type { Entry } from './entries.ts';
import { firstOwners, isTrained, type Tally } from './rules.ts';

/** Slot elements per trainable element, and scalars besides iteration and learning rate; by the class's config. */
type Slots = (config: Json) => { readonly perElement: number; readonly scalars: number };

const flag = (config: Json, key: string): boolean => {
  const value = config instanceof Map ? config.get(key) : undefined;
  return value === true || (typeof value === 'number' && value !== 0);
};
const slots =
  (perElement: number, scalars = 0): Slots =>
  () => ({ perElement, scalars });

/** Keras 3's optimizers whose slots follow from the number of trainable elements alone (base_optimizer.py and its heirs). */
const SLOTS: ReadonlyMap<string, Slots> = new Map<string, Slots>([
  ['SGD', (config) => ({ perElement: flag(config, 'momentum') ? 1 : 0, scalars: 0 })],
  ['Adagrad', slots(1)],
  ['Lion', slots(1)],
  [
    'RMSprop',
    (config) => ({
      perElement: 1 + (flag(config, 'momentum') ? 1 : 0) + (flag(config, 'centered') ? 1 : 0),
      scalars: 0,
    }),
  ],
  ['Adam', (config) => ({ perElement: flag(config, 'amsgrad') ? 3 : 2, scalars: 0 })],
  ['AdamW', (config) => ({ perElement: flag(config, 'amsgrad') ? 3 : 2, scalars: 0 })],
  ['Adamax', slots(2)],
  ['Lamb', slots(2)],
  ['Adadelta', slots(2)],
  ['Ftrl', slots(2)],
  ['Nadam', slots(2, 1)],
]);

export interface OptimizerAccount {
  /** Elements and bytes of the optimizer as it is once built: as saved, or as Keras builds it on loading. */
  readonly tally: Tally;
  /** True when the file's own optimizer variables, or those Keras builds when it loads the file, are complete. */
  readonly built: boolean;
  /** Elements that stand in the file. */
  readonly saved: Count;
}

/** A loss-scaling optimizer saves the one that it wraps twice: in its own list and below this name. */
const WRAPPED = 'inner_optimizer/';
/** Scalars that the loss-scaling wrapper adds: iteration, learning rate, step counter, scale. */
const WRAPPER_SCALARS = 4;

function savedTensors(model: Model): readonly Tensor[] {
  const seen = new Set<string>();
  return model.optimizer.filter((tensor) => {
    if (seen.has(tensor.identity) || tensor.name.includes(WRAPPED)) return false;
    seen.add(tensor.identity);
    return true;
  });
}

/** Class name and config of the optimizer in either generation's training config. */
function optimizerConfig(training: Json | undefined): { type: string; config: Json } | null {
  const found = objectAt(training, 'optimizer') ?? objectAt(training, 'optimizer_config');
  const type = stringAt(found, 'class_name');
  // A compile config that leaves the optimizer out makes Keras compile with its default.
  if (isObject(training) && training.size > 0 && found === undefined) return { type: 'RMSprop', config: EMPTY_OBJECT };
  if (found === undefined || type === undefined) return null;
  return { type: type.split('>').at(-1) ?? type, config: objectAt(found, 'config') ?? EMPTY_OBJECT };
}

/**
 * The optimizer's elements (by the table of slots above). Loading a compiled `.keras` file builds its optimizer, even when
 * it was saved before any step and therefore holds fewer variables than Keras will report; what Keras builds is computed
 * from the optimizer's class where that determines it.
 */
export function accountOptimizer(
  model: Model,
  entries: readonly Entry[],
): { readonly account: OptimizerAccount; readonly diagnostics: readonly Diagnostic[] } {
  const tensors = savedTensors(model);
  const saved: Tally = {
    elements: total(tensors.map((tensor) => countElements(tensor.shape, undefined, tensor.name))),
    bytes: total(tensors.map((tensor) => tensor.byteLength)),
  };
  const wrapped = model.optimizer.some((tensor) => tensor.name.includes(WRAPPED));
  const scalarsSaved = 2 + (wrapped ? WRAPPER_SCALARS : 0);
  const asSaved = { tally: saved, built: tensors.length > scalarsSaved, saved: saved.elements };
  const found = model.format === 'keras-zip' ? optimizerConfig(model.origin.trainingConfig) : null;
  if (found === null || asSaved.built) return { account: asSaved, diagnostics: [] };

  const rule = SLOTS.get(found.type);
  const weights = firstOwners(entries);
  const unknown = weights.some((entry) => isTrained(entry) === null);
  const scheduled = objectAt(found.config, 'learning_rate') !== undefined;
  const accumulate = numberAt(found.config, 'gradient_accumulation_steps') !== undefined ? 1 : 0;
  const averaged = flag(found.config, 'use_ema') ? 1 : 0;
  if (rule === undefined || unknown) {
    return {
      account: asSaved,
      diagnostics: [note('ASSUMED', {}, { what: 'optimizer', type: found.type })],
    };
  }
  const { perElement, scalars } = rule(found.config);
  const copies = perElement + accumulate + averaged;
  const trained = weights.filter((entry) => isTrained(entry) === true);
  const elements = total(trained.map((entry) => entry.elements));
  const bytes = total(trained.map((entry) => byteLengthOf(entry.dtype, entry.elements)));
  const fixed = 1 + (scheduled ? 0 : 1) + scalars + (wrapped ? WRAPPER_SCALARS : 0);
  return {
    account: {
      tally: {
        elements: plus(times(elements, copies), fixed),
        // The iteration is an int64 on TensorFlow; every other scalar is a float32.
        bytes: plus(times(bytes, copies), (fixed - 1) * 4 + (model.producer.backend === 'torch' ? 4 : 8)),
      },
      built: true,
      saved: saved.elements,
    },
    diagnostics: [],
  };
}
