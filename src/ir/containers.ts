/** Containers that a state_dict is written to. */
export const CONTAINERS = ['pt', 'safetensors', 'pt-json'] as const;
/** The name of a container: pt, safetensors or pt-json. */
export type Container = (typeof CONTAINERS)[number];

/** Endings of a file's name that stand for each container, in lower case. */
export const CONTAINER_ENDINGS: Readonly<Record<Container, readonly string[]>> = {
  pt: ['.pt', '.pth', '.bin'],
  safetensors: ['.safetensors'],
  'pt-json': ['.pt-json', '.pt.json'],
};

/** Endings of Keras' files; `.weights.h5` is one of them. */
export const KERAS_ENDINGS: readonly string[] = ['.h5', '.hdf5', '.keras'];

/**
 * Endings of models that say so by themselves. Content decides what a file is; names decide which files git shows, which
 * ones hooks look at, and which ones a report never replaces.
 */
export const MODEL_ENDINGS: readonly string[] = [
  ...KERAS_ENDINGS,
  '.pt',
  '.pth',
  '.pt2',
  '.ckpt',
  '.safetensors',
  '.pt-json',
  '.pt.json',
  '.onnx',
];

/** Endings of models that other files have as well. */
export const SHARED_ENDINGS: readonly string[] = ['.bin', '.tar', '.ts'];

/** Endings of every model that is read. */
export const READ_ENDINGS: readonly string[] = [...MODEL_ENDINGS, ...SHARED_ENDINGS];
