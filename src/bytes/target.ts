/** Where an output goes. Nothing of it is visible under its name before the whole output is committed. */
export interface WriteTarget {
  /** Appends every byte; the caller may reuse `bytes` afterwards. */
  write(bytes: Uint8Array): Promise<void>;
  /** Overwrites bytes that were written before; does not move `position`. */
  writeAt(offset: number, bytes: Uint8Array): Promise<void>;
  /** Bytes appended so far. */
  readonly position: number;
  /** A file of this plain name beside the output, committed and discarded with it. */
  sibling(name: string): WriteTarget;
}

/** A target that keeps everything in memory, for small outputs and for tests. */
export interface MemoryTarget extends WriteTarget {
  bytes(): Uint8Array;
  readonly siblings: ReadonlyMap<string, MemoryTarget>;
}

export function memoryTarget(): MemoryTarget {
  const siblings = new Map<string, MemoryTarget>();
  let memory = new Uint8Array(1024);
  let position = 0;
  return {
    siblings,
    get position() {
      return position;
    },
    async write(bytes) {
      const needed = position + bytes.byteLength;
      if (needed > memory.byteLength) {
        const larger = new Uint8Array(Math.max(needed, memory.byteLength * 2));
        larger.set(memory.subarray(0, position));
        memory = larger;
      }
      memory.set(bytes, position);
      position = needed;
    },
    async writeAt(offset, bytes) {
      if (offset < 0 || offset + bytes.byteLength > position) throw new RangeError('writeAt beyond what was written');
      memory.set(bytes, offset);
    },
    sibling(name) {
      const target = memoryTarget();
      siblings.set(name, target);
      return target;
    },
    bytes: () => memory.slice(0, position),
  };
}
