import type { Library } from './hdf5-engine.ts';

let loading: Promise<Library> | undefined;

/**
 * The HDF5 library, loaded on first use. The plain build is taken, not the one for Node: it sees only files that we put
 * before it. What it prints on errors goes nowhere; it binds console.error while it loads.
 */
export function loadLibrary(): Promise<Library> {
  loading ??= load();
  return loading;
}

async function load(): Promise<Library> {
  const { error } = console;
  console.error = () => undefined;
  try {
    const { ready } = await import('h5wasm');
    return (await ready) as unknown as Library;
  } finally {
    console.error = error;
  }
}
