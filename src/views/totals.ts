import type { Count } from '../account/count.ts';
import type { Summary } from '../account/summary.ts';
import { showBytes, showCount } from './number.ts';

/** One line of the totals: whose number, the number, what it counts. */
export interface TotalLine {
  readonly whose: string;
  readonly count: Count | null;
  readonly what: string;
}

/** Totals under both frameworks' rules, in a fixed order; what the file does not say shows as '?'. */
export function totalLines(summary: Summary): readonly TotalLine[] {
  const { keras, torch, state, inference } = summary.totals;
  const { bytes } = summary;
  const unsaid = (value: Count | null): string => (value === null ? ' (the file does not say)' : '');
  const lines: TotalLine[] = [
    { whose: 'Keras', count: keras.total, what: `total params (${showBytes(bytes.keras.total)})` },
    { whose: '', count: keras.trainable, what: `trainable${unsaid(keras.trainable)}` },
    { whose: '', count: keras.nonTrainable, what: `non-trainable${unsaid(keras.nonTrainable)}` },
  ];
  if (keras.optimizer !== 0) {
    lines.push({
      whose: '',
      count: keras.optimizer,
      what: `optimizer variables, counted apart (${showBytes(bytes.keras.optimizer)})`,
    });
  }
  if (keras.totalCompiled !== null) {
    lines.push({ whose: '', count: keras.totalCompiled, what: 'total as Keras 3 prints it once compiled and built' });
  }
  lines.push(
    { whose: 'PyTorch', count: torch.parameters, what: `parameters (${showBytes(bytes.torch.parameters)})` },
    { whose: '', count: torch.trainable, what: `trainable${unsaid(torch.trainable)}` },
    { whose: '', count: torch.frozen, what: `frozen${unsaid(torch.frozen)}` },
    { whose: '', count: torch.buffers, what: 'buffer elements' },
    { whose: 'state_dict', count: state.elements, what: 'elements, key by key' },
  );
  if (state.unique !== state.elements)
    lines.push({ whose: '', count: state.unique, what: 'elements, tied tensors once' });
  lines.push({
    whose: 'Inference',
    count: inference.elements,
    what:
      inference.elements === null ? 'not known: the file holds no graph' : 'elements with each BatchNorm folded away',
  });
  const macs = summary.totals.macs;
  if (macs !== undefined) {
    lines.push({
      whose: 'MACs',
      count: macs,
      what: macs === null ? 'not known for every layer' : 'multiply-accumulates for one sample',
    });
  }
  return lines;
}

/** Whose number stands in front, then the number, then what it counts. */
export function totalColumns(lines: readonly TotalLine[]): { readonly whose: number; readonly count: number } {
  return {
    whose: Math.max(...lines.map((line) => line.whose.length)),
    count: Math.max(...lines.map((line) => showCount(line.count).length)),
  };
}

/** `keras-h5, Keras 3.15.1 (tensorflow)`. */
export function originText(summary: Summary): string {
  const { format, producer } = summary.model;
  const parts = [producer.framework, producer.version].filter((part) => part !== null).join(' ');
  const backend = producer.backend === null ? '' : ` (${producer.backend})`;
  return parts === '' ? format : `${format}, ${parts}${backend}`;
}
