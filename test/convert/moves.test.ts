import fc from 'fast-check';
import { expect, test } from 'vitest';
import { compileExpr, invertMoves, movedElements, readCompiled } from '../../src/convert/moves.ts';
import type { Expr } from '../../src/layers/family.ts';
import { countingTensor, memoryTensor } from '../helpers/memory-tensor.ts';

/** Nested reference: flat values plus shape, each operation written in the most naive way. */
interface Plain {
  readonly shape: readonly number[];
  readonly values: readonly number[];
}
const product = (list: readonly number[]): number => list.reduce((a, b) => a * b, 1);

function indices(shape: readonly number[]): number[][] {
  return Array.from({ length: product(shape) }, (_, flat) => {
    const index: number[] = [];
    let rest = flat;
    for (let axis = shape.length - 1; axis >= 0; axis -= 1) {
      const size = shape[axis] ?? 1;
      index.unshift(rest % size);
      rest = Math.floor(rest / size);
    }
    return index;
  });
}
const flatOf = (shape: readonly number[], index: readonly number[]): number =>
  index.reduce((flat, at, axis) => flat * (shape[axis] ?? 1) + at, 0);

function evaluate(expr: Expr, sources: ReadonlyMap<string, Plain>): Plain {
  switch (expr.op) {
    case 'source':
      return sources.get(expr.role) as Plain;
    case 'fill':
      return { shape: expr.shape, values: Array.from({ length: product(expr.shape) }, () => expr.value) };
    case 'reshape':
      return { shape: expr.shape, values: evaluate(expr.of, sources).values };
    case 'permute': {
      const inner = evaluate(expr.of, sources);
      const shape = expr.axes.map((axis) => inner.shape[axis] ?? 0);
      const values = indices(shape).map((index) => {
        const from = inner.shape.map(() => 0);
        for (const [to, axis] of expr.axes.entries()) from[axis] = index[to] ?? 0;
        return inner.values[flatOf(inner.shape, from)] ?? Number.NaN;
      });
      return { shape, values };
    }
    case 'slice': {
      const inner = evaluate(expr.of, sources);
      const shape = inner.shape.map((n, axis) => (axis === expr.axis ? expr.stop - expr.start : n));
      const values = indices(shape).map(
        (index) =>
          inner.values[
            flatOf(
              inner.shape,
              index.map((at, axis) => (axis === expr.axis ? at + expr.start : at)),
            )
          ] ?? Number.NaN,
      );
      return { shape, values };
    }
    case 'flip': {
      const inner = evaluate(expr.of, sources);
      const values = indices(inner.shape).map(
        (index) =>
          inner.values[
            flatOf(
              inner.shape,
              index.map((at, axis) => (expr.axes.includes(axis) ? (inner.shape[axis] ?? 0) - 1 - at : at)),
            )
          ] ?? Number.NaN,
      );
      return { shape: inner.shape, values };
    }
    case 'concat': {
      const parts = expr.of.map((part) => evaluate(part, sources));
      const shape = (parts[0]?.shape ?? []).map((n, axis) =>
        axis === expr.axis ? parts.reduce((sum, part) => sum + (part.shape[axis] ?? 0), 0) : n,
      );
      const values = indices(shape).map((index) => {
        let at = index[expr.axis] ?? 0;
        for (const part of parts) {
          const size = part.shape[expr.axis] ?? 0;
          if (at < size)
            return (
              part.values[
                flatOf(
                  part.shape,
                  index.map((n, axis) => (axis === expr.axis ? at : n)),
                )
              ] ?? Number.NaN
            );
          at -= size;
        }
        return Number.NaN;
      });
      return { shape, values };
    }
    case 'compute':
      throw new Error('not here');
  }
}

const dims = fc.integer({ min: 1, max: 4 });

/** A random expression over `kernel` together with its shape. */
function step(current: {
  expr: Expr;
  shape: readonly number[];
}): fc.Arbitrary<{ expr: Expr; shape: readonly number[] }> {
  const rank = current.shape.length;
  const options: fc.Arbitrary<{ expr: Expr; shape: readonly number[] }>[] = [];
  if (rank > 0) {
    options.push(
      fc.shuffledSubarray([...current.shape.keys()], { minLength: rank, maxLength: rank }).map((axes) => ({
        expr: { op: 'permute', of: current.expr, axes },
        shape: axes.map((axis) => current.shape[axis] ?? 0),
      })),
      fc.integer({ min: 0, max: rank - 1 }).map((axis) => ({
        expr: { op: 'flip', of: current.expr, axes: [axis] } as Expr,
        shape: current.shape,
      })),
    );
  }
  return fc.oneof(...options);
}

const moved = fc
  .array(dims, { minLength: 2, maxLength: 4 })
  .chain((shape) =>
    step({ expr: { op: 'source', role: 'kernel' }, shape })
      .chain(step)
      .map((made) => ({ source: shape, ...made })),
  )
  .chain((made) =>
    fc.boolean().map((merge) =>
      merge
        ? {
            ...made,
            expr: { op: 'reshape', of: made.expr, shape: [made.shape[0] ?? 1, product(made.shape.slice(1))] } as Expr,
            shape: [made.shape[0] ?? 1, product(made.shape.slice(1))],
          }
        : made,
    ),
  );

async function read(
  expr: Expr,
  sourceShape: readonly number[],
  start: readonly number[],
  count: readonly number[],
): Promise<number[]> {
  const tensor = countingTensor('kernel', sourceShape);
  const compiled = compileExpr(expr, () => tensor);
  const into = new Int32Array(product(count));
  await readCompiled(compiled, start, count, new Uint8Array(into.buffer));
  return [...into];
}

test('any hyperslab of a moved tensor equals the naive evaluation', async () => {
  await fc.assert(
    fc.asyncProperty(moved, fc.infiniteStream(fc.nat(1000)), async (made, randoms) => {
      const take = (n: number): number => (randoms.next().value as number) % n;
      const start = made.shape.map((n) => take(n));
      const count = made.shape.map((n, axis) => 1 + take(n - (start[axis] ?? 0)));
      const elements = product(made.source);
      const plain = evaluate(
        made.expr,
        new Map([['kernel', { shape: made.source, values: [...Array(elements).keys()] }]]),
      );
      const wanted = indices(count).map(
        (index) =>
          plain.values[
            flatOf(
              plain.shape,
              index.map((at, axis) => at + (start[axis] ?? 0)),
            )
          ],
      );
      expect(await read(made.expr, made.source, start, count)).toEqual(wanted);
    }),
    { numRuns: 400, seed: 1 },
  );
});

test('the inverse of the moves gives the source back', async () => {
  await fc.assert(
    fc.asyncProperty(moved, async (made) => {
      const source = countingTensor('kernel', made.source);
      const compiled = compileExpr(made.expr, () => source);
      const forward = new Int32Array(product(made.shape));
      await readCompiled(
        compiled,
        made.shape.map(() => 0),
        made.shape,
        new Uint8Array(forward.buffer),
      );
      const target = memoryTensor('target', 'int32', made.shape, new Uint8Array(forward.buffer));
      const back = new Int32Array(product(made.source));
      const inverse = invertMoves(compiled, source, target);
      expect(movedElements(inverse)).toBe(product(made.source));
      await readCompiled(
        inverse,
        made.source.map(() => 0),
        made.source,
        new Uint8Array(back.buffer),
      );
      expect([...back]).toEqual([...Array(product(made.source)).keys()]);
    }),
    { numRuns: 300, seed: 2 },
  );
});

test('gates change places: [in, 3u] in the order z r h becomes [3u, in] in the order r z n', async () => {
  const u = 2;
  const kernel: Expr = { op: 'permute', of: { op: 'source', role: 'kernel' }, axes: [1, 0] };
  const gate = (n: number): Expr => ({ op: 'slice', of: kernel, axis: 0, start: n * u, stop: (n + 1) * u });
  const expr: Expr = { op: 'concat', of: [gate(1), gate(0), gate(2)], axis: 0 };
  const plain = evaluate(expr, new Map([['kernel', { shape: [3, 6], values: [...Array(18).keys()] }]]));
  expect(await read(expr, [3, 6], [0, 0], [6, 3])).toEqual(plain.values);
  expect(await read(expr, [3, 6], [1, 1], [4, 2])).toEqual(
    indices([4, 2]).map(([i = 0, j = 0]) => plain.values[flatOf([6, 3], [i + 1, j + 1])]),
  );
});

test('a reshape keeps the parts of a concatenation apart', async () => {
  const part = (start: number): Expr => ({
    op: 'slice',
    of: { op: 'source', role: 'kernel' },
    axis: 0,
    start,
    stop: start + 4,
  });
  const expr: Expr = { op: 'reshape', of: { op: 'concat', of: [part(4), part(0)], axis: 0 }, shape: [2, 4] };
  expect(await read(expr, [8], [0, 0], [2, 4])).toEqual([4, 5, 6, 7, 0, 1, 2, 3]);
});

test('a block is reread in another shape whose axes do not divide it, and comes back', async () => {
  for (const [rows, columns] of [
    [3, 4],
    [5, 2],
    [4, 6],
    [7, 7],
  ] as const) {
    const block: Expr = {
      op: 'slice',
      of: { op: 'source', role: 'kernel' },
      axis: 1,
      start: columns,
      stop: 2 * columns,
    };
    const expr: Expr = { op: 'reshape', of: block, shape: [columns, rows] };
    const source = countingTensor('kernel', [rows, 3 * columns]);
    const plain = evaluate(
      expr,
      new Map([['kernel', { shape: source.shape, values: [...Array(rows * 3 * columns).keys()] }]]),
    );
    expect(await read(expr, source.shape, [0, 0], [columns, rows])).toEqual(plain.values);
    const compiled = compileExpr(expr, () => source);
    expect(movedElements(compiled)).toBe(rows * columns);
    const bytes = new Uint8Array(Int32Array.from(plain.values).buffer);
    const target = memoryTensor('target', 'int32', [columns, rows], bytes);
    const back = new Int32Array(rows * 3 * columns).fill(-1);
    await readCompiled(invertMoves(compiled, source, target), [0, 0], source.shape, new Uint8Array(back.buffer));
    const wanted = [...Array(back.length).keys()].map((at) => {
      const column = at % (3 * columns);
      return column >= columns && column < 2 * columns ? at : -1;
    });
    expect([...back]).toEqual(wanted);
  }
});

test('Flatten order: rows of a Dense kernel from H·W·C to C·H·W', async () => {
  const [h, w, c, out] = [2, 3, 4, 5];
  const expr: Expr = {
    op: 'reshape',
    of: {
      op: 'permute',
      of: { op: 'reshape', of: { op: 'source', role: 'kernel' }, shape: [h, w, c, out] },
      axes: [3, 2, 0, 1],
    },
    shape: [out, c * h * w],
  };
  const values = await read(expr, [h * w * c, out], [0, 0], [out, c * h * w]);
  // weight[j, c·H·W + h·W + w] = kernel[(h·W + w)·C + c, j]
  for (let j = 0; j < out; j += 1)
    for (let ci = 0; ci < c; ci += 1)
      for (let hi = 0; hi < h; hi += 1)
        for (let wi = 0; wi < w; wi += 1)
          expect(values[j * c * h * w + ci * h * w + hi * w + wi]).toBe(((hi * w + wi) * c + ci) * out + j);
});

test('fills write their number in every dtype', async () => {
  for (const [dtype, wanted] of [
    ['float32', [0, 0, 128, 63]],
    ['float16', [0, 60]],
    ['bfloat16', [128, 63]],
    ['int64', [1, 0, 0, 0, 0, 0, 0, 0]],
  ] as const) {
    const compiled = compileExpr({ op: 'fill', value: 1, shape: [2], dtype }, () => countingTensor('kernel', [1]));
    const into = new Uint8Array(wanted.length * 2);
    await readCompiled(compiled, [0], [2], into);
    expect([...into]).toEqual([...wanted, ...wanted]);
  }
});

test('a block larger than the scratch memory is read in parts: transposed, and turned round on one axis', async () => {
  const [rows, columns] = [1_501, 1_999];
  const source = countingTensor('kernel', [rows, columns]);
  const reads: number[] = [];
  const watched = {
    ...source,
    readInto: (...words: Parameters<typeof source.readInto>) => {
      reads.push(words[2].byteLength);
      return source.readInto(...words);
    },
  };
  const flipped: Expr = { op: 'flip', of: { op: 'source', role: 'kernel' }, axes: [0] };
  const compiled = compileExpr({ op: 'permute', of: flipped, axes: [1, 0] }, () => watched);
  const into = new Int32Array(rows * columns);
  await readCompiled(compiled, [0, 0], [columns, rows], new Uint8Array(into.buffer));
  expect(reads.length).toBeGreaterThan(1);
  let wrong = 0;
  for (let column = 0; column < columns; column += 1) {
    for (let row = 0; row < rows; row += 1) {
      if (into[column * rows + row] !== (rows - 1 - row) * columns + column) wrong += 1;
    }
  }
  expect(wrong).toBe(0);
});
