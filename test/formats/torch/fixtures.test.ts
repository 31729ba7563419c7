import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import type { Tensor, Weight } from '../../../src/ir/model.ts';
import { bytesOf, openTorch } from './open.ts';

const folder = fileURLToPath(new URL('../../../fixtures/good/torch/', import.meta.url));

interface ExpectedTensor {
  readonly name: string;
  /** null: a lazy module's parameter before the first call. */
  readonly shape: readonly number[] | null;
  readonly dtype: string;
  readonly isParameter: boolean;
  readonly requiresGrad: boolean;
  readonly sha256: string | null;
  readonly meta?: boolean;
  readonly layout?: string;
  readonly quantised?: { readonly scheme: string; readonly scale?: number; readonly axis?: number };
}

interface Expected {
  readonly counts: {
    readonly parameters: number | null;
    readonly buffers: number | null;
    readonly stateElements: number | null;
    readonly stateUnique: number | null;
  };
  readonly nested?: readonly (readonly number[])[];
  readonly tensors: readonly ExpectedTensor[];
  readonly modules: readonly Readonly<Record<string, unknown>>[];
  /** Tensors of which nothing in the file says whether they are parameters: what they are counted as is said. */
  readonly assumed?: readonly string[];
  readonly main?: string;
  readonly undecided?: boolean;
  readonly candidates?: readonly {
    readonly path: string;
    readonly names: readonly string[];
    readonly stateElements: number;
  }[];
  readonly apart?: Readonly<Record<string, { readonly tensors: number; readonly elements: number }>>;
}

/** Files of PyTorch that hold no model: the refusal's code. */
const REFUSED: ReadonlyMap<string, string> = new Map([
  ['no-tensors.pt', 'NOT_A_MODEL'],
  ['optimizer-alone.pt', 'NOT_A_MODEL'],
  ['two-and-scalar.pt', 'AMBIGUOUS'],
  ['two-candidates.pt', 'AMBIGUOUS'],
]);

/**
 * State_dicts of losses: a `weight` alone, which by its key could be anybody's parameter. Nothing in such a file says
 * that it is a buffer.
 */
const INDISTINCT = /^nn\/[A-Za-z0-9]*Loss(?:2d)?-weights?\.pt$/;

/** Values that are stored to be conjugated or negated on reading: shown, not given. */
const LAZY_BITS: ReadonlySet<string> = new Set(['conjugate', 'negative', 'conjugate_negative']);

const files = readdirSync(folder, { recursive: true, encoding: 'utf8' })
  // Packed weights have a test of their own.
  .filter((name) => name.endsWith('.expected.json') && !name.startsWith('quantised/'))
  .map((name) => name.slice(0, -'.expected.json'.length))
  .sort();

function isNested(tensor: Tensor): boolean {
  return tensor.encoding.kind === 'sparse' && tensor.encoding.layout === 'nested';
}

function elements(weight: Weight): number {
  return weight.tensor.shape.reduce((product, size) => product * size, 1);
}

describe('every file that PyTorch wrote', () => {
  test('there are files of every kind', () => {
    expect(files.length).toBeGreaterThan(200);
  });
  test.each(files)('%s', async (name) => {
    const expected = JSON.parse(readFileSync(join(folder, `${name}.expected.json`), 'utf8')) as Expected;
    const base = name.slice(name.lastIndexOf('/') + 1);
    const refused = expected.tensors.length === 0 ? (REFUSED.get(base) ?? 'empty') : REFUSED.get(base);
    if (refused !== undefined && refused !== 'empty') {
      await expect(openTorch(join(folder, name))).rejects.toMatchObject({ name: 'BnsumError', code: refused });
      if (!expected.undecided) return;
    }
    const pick = expected.undecided && expected.main !== undefined ? { pick: expected.main } : {};
    const { value: model, diagnostics } = await openTorch(join(folder, name), pick);
    try {
      const weights = new Map(
        model.layers.flatMap((layer) => layer.weights.map((weight) => [weight.tensor.name, weight] as const)),
      );
      const stored = expected.tensors.filter((tensor) => tensor.shape !== null);
      const nested = [...weights.values()].filter(({ tensor }) => isNested(tensor));
      expect(nested.length).toBe(expected.nested === undefined ? 0 : 1);
      for (const { tensor } of nested) weights.delete(tensor.name);
      expect([...weights.keys()].sort()).toEqual(stored.map((tensor) => tensor.name).sort());
      expect(diagnostics.some((entry) => entry.code === 'WEIGHT_MISSING')).toBe(
        stored.length < expected.tensors.length,
      );
      for (const wanted of stored) {
        const weight = weights.get(wanted.name);
        if (weight === undefined) throw new Error(wanted.name);
        const { tensor } = weight;
        expect({ name: tensor.name, shape: tensor.shape, dtype: tensor.dtype }).toEqual({
          name: wanted.name,
          shape: wanted.shape,
          dtype: wanted.dtype,
        });
        const isAssumed = expected.assumed?.includes(wanted.name) === true;
        if (!isAssumed && expected.modules.length > 0 && !INDISTINCT.test(name)) {
          expect([wanted.name, weight.isParameter]).toEqual([wanted.name, wanted.isParameter]);
          if (weight.trainable !== null) {
            expect([wanted.name, weight.trainable]).toEqual([wanted.name, wanted.requiresGrad]);
          }
        }
        if (wanted.quantised !== undefined) {
          expect(tensor.encoding.kind).toBe('quantised');
          // The file says 'per_channel_affine' also where float zero points make it the float variant.
          const scheme = tensor.encoding.kind === 'quantised' ? tensor.encoding.scheme : '';
          expect(wanted.quantised.scheme.startsWith(scheme)).toBe(true);
        }
        if (wanted.meta) expect(tensor.encoding).toEqual({ kind: 'meta' });
        const isLazy = base.startsWith('views') && LAZY_BITS.has(wanted.name);
        if (tensor.encoding.kind === 'meta' || tensor.encoding.kind === 'sparse' || isLazy) {
          await expect(bytesOf(tensor)).rejects.toMatchObject({ name: 'BnsumError', code: 'UNSUPPORTED' });
        } else if (wanted.sha256 !== null) {
          const digest = createHash('sha256')
            .update(await bytesOf(tensor))
            .digest('hex');
          expect([wanted.name, digest]).toEqual([wanted.name, wanted.sha256]);
        }
      }
      const all = [...weights.values()];
      const sum = (list: readonly Weight[]): number => list.reduce((total, weight) => total + elements(weight), 0);
      if (expected.counts.stateElements === null) return;
      expect(sum(all)).toBe(expected.counts.stateElements);
      const unique = [...new Map(all.map((weight) => [weight.tensor.identity, weight])).values()];
      expect(sum(unique)).toBe(expected.counts.stateUnique);
      const isTold = (weight: Weight): boolean => expected.assumed?.includes(weight.tensor.name) !== true;
      if (expected.counts.parameters !== null && expected.modules.length > 0 && !INDISTINCT.test(name)) {
        const untold = expected.tensors.filter(({ name: key, isParameter }) => {
          return isParameter && expected.assumed?.includes(key) === true;
        });
        const parameters = sum(unique.filter((weight) => weight.isParameter === true && isTold(weight)));
        expect(parameters).toBe(
          untold.reduce(
            (left, { shape }) => left - (shape ?? []).reduce((n, size) => n * size, 1),
            expected.counts.parameters,
          ),
        );
      }
      if (expected.assumed !== undefined) {
        const said = diagnostics.find((entry) => entry.code === 'CLASS_ASSUMED')?.args;
        const first = (said?.['first'] ?? []) as readonly string[];
        expect(said === undefined).toBe(expected.assumed.length === 0);
        // Whole numbers of a layer that is not recognised are named too: they count as buffers.
        if (first.length === said?.['count']) expect(first).toEqual(expect.arrayContaining([...expected.assumed]));
      }
      const optimizer = Object.entries(expected.apart ?? {}).filter(([key]) => /optim/.test(key));
      expect(model.optimizer.length).toBe(optimizer.reduce((total, [, apart]) => total + apart.tensors, 0));
      if ((expected.candidates?.length ?? 0) > 1) {
        const chosen = diagnostics.find((entry) => entry.code === 'CANDIDATE_CHOSEN');
        expect(chosen?.args['chosen']).toBe(expected.main);
        for (const candidate of expected.candidates ?? []) {
          const { value } = await openTorch(join(folder, name), { pick: candidate.path });
          const names = value.layers.flatMap((layer) => layer.weights.map((weight) => weight.tensor.name));
          expect(names.sort()).toEqual([...candidate.names].sort());
          await value.close();
        }
      }
    } finally {
      await model.close();
    }
  });
});
