import type { Library } from './hdf5-engine.ts';

export interface LoadedLibrary {
  readonly library: Library;
  /** Lines of complaint so far: the library tells of some damage in no other way. */
  complaints(): number;
}

let loading: Promise<LoadedLibrary> | undefined;

/**
 * The HDF5 library, loaded on first use. The plain build is taken, not the one for Node: it sees only files that we put
 * before it. It binds console.error while it loads; what it prints there is counted and goes nowhere.
 */
export function loadLibrary(): Promise<LoadedLibrary> {
  loading ??= load();
  return loading;
}

async function load(): Promise<LoadedLibrary> {
  const { error } = console;
  let lines = 0;
  console.error = () => {
    lines++;
  };
  try {
    const { ready } = await import('h5wasm');
    const library = (await ready) as unknown as Library;
    return { library, complaints: () => lines };
  } finally {
    console.error = error;
  }
}
