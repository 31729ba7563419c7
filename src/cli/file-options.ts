import { BnsumError } from '../ir/error.ts';
import type { Model } from '../ir/model.ts';

/** Formats of PyTorch that can hold several state_dicts or programs. */
const PICKED: ReadonlySet<string> = new Set(['torch-zip', 'torch-legacy', 'torch-tar', 'torch-export']);

/** Whether --pick says something about this model's file. */
export function hasPicks(model: Pick<Model, 'format'>): boolean {
  return PICKED.has(model.format);
}

/** Sees whether --config and --pick are for any of the files that are read: one that is for none is a mistake. */
export interface FileOptionWatch {
  see(model: Pick<Model, 'dialect' | 'format'>): void;
  /** Throws BnsumError USAGE naming the option that no file had a use for. */
  require(): void;
}

export function watchFileOptions(options: {
  readonly config: string | undefined;
  readonly pick: string | undefined;
}): FileOptionWatch {
  let configured = options.config === undefined;
  let picked = options.pick === undefined;
  return {
    see(model) {
      configured ||= model.dialect === 'keras';
      picked ||= hasPicks(model);
    },
    require() {
      if (!configured) {
        throw new BnsumError({
          code: 'USAGE',
          ...(options.config === undefined ? {} : { file: options.config }),
          reason: '--config gives Keras weights their architecture, and no file named here is one of Keras',
          next: 'leave --config out',
        });
      }
      if (!picked) {
        throw new BnsumError({
          code: 'USAGE',
          reason: `--pick '${options.pick}' chooses among the state_dicts of a PyTorch checkpoint, and no file named here is one`,
          next: 'leave --pick out',
        });
      }
    },
  };
}
