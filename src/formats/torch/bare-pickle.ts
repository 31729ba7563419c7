import { mergeAdvice } from '../../bytes/sniff.ts';
import type { ByteSource } from '../../bytes/source.ts';
import { BnsumError } from '../../ir/error.ts';
import { LIMITS } from '../../ir/limits.ts';
import { runPickle } from './unpickle.ts';

/** Whether bytes begin like a pickle: a protocol marker, or a protocol 0 or 1 opcode with a class name. */
export function looksLikePickle(head: Uint8Array): boolean {
  const [first, second = 0] = head;
  if (first === 0x80 && second >= 1 && second <= 5) return true;
  const start = new TextDecoder('latin1').decode(head.subarray(0, 200));
  return /^(?:\(?[cdilt]p?\d*\n|[(}\]]*q\x00|\(?(?:[ic])[A-Za-z_][\w.]*\n[A-Za-z_][\w.]*\n)/.test(start);
}

/** What a pickle without PyTorch's container is, as the refusal that names it. Nothing of it is run. */
export async function describeBarePickle(source: ByteSource): Promise<BnsumError> {
  const bytes = await source.read(0, Math.min(source.size, LIMITS.pickleBytes));
  const run = runPickle(bytes, 0, { file: source.label, strict: false });
  const names = new Set<string>();
  for (const event of run.events) if (event.kind === 'import') names.add(`${event.module}.${event.name}`);
  const list = [...names];
  const what = names.has('torch.storage._load_from_bytes')
    ? 'PyTorch tensors pickled without torch.save'
    : list.some((name) => name.startsWith('numpy.'))
      ? 'NumPy arrays'
      : list.length > 0
        ? `objects of ${list.slice(0, 4).join(', ')}${list.length > 4 ? ', …' : ''}`
        : 'plain values';
  return new BnsumError({
    code: 'NOT_A_MODEL',
    file: source.label,
    reason:
      run.error === undefined
        ? `a bare pickle of ${what}, which is no model file`
        : `a bare pickle of ${what} that breaks: ${run.error.reason}`,
    next: names.has('torch.distributed.checkpoint.metadata.Metadata')
      ? `it describes a distributed checkpoint: ${mergeAdvice('FOLDER')}`
      : 'bnsum --audit says what it would run; save the model with torch.save or as safetensors',
  });
}
