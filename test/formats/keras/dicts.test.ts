import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { parseJson } from '../../../src/bytes/json.ts';
import { type LayerSpec, layersBelow, parseArchitecture } from '../../../src/formats/keras/architecture.ts';
import { wireModels } from '../../../src/formats/keras/wiring.ts';
import { isList, type Json, stringAt } from '../../../src/ir/json.ts';
import type { Graph } from '../../../src/ir/model.ts';

/** What both generations of Keras computed for models of Subtract and Rescaling, one number per input. */
const file = new URL('../../../fixtures/good/keras-dicts.json', import.meta.url);
const cases = parseJson(readFileSync(file), { file: 'keras-dicts.json' });

const numbers = (value: Json | undefined): readonly number[] => (isList(value) ? value.map(Number) : []);

/** The model's outputs for numbers in the order of its inputs. */
function computed(
  specs: ReadonlyMap<string, LayerSpec>,
  graphs: ReadonlyMap<string, Graph>,
  path: string,
  given: readonly number[],
): readonly number[] {
  const graph = graphs.get(path);
  if (graph === undefined) throw new Error(`no graph of ${path}`);
  const values = new Map(graph.inputs.map((id, at) => [id, given[at] ?? Number.NaN]));
  for (const call of graph.calls) {
    const spec = specs.get(call.layer ?? '');
    if (spec === undefined || spec.kind === 'input') continue;
    const inputs = call.inputs.map((id) => (typeof id === 'number' ? (values.get(id) ?? Number.NaN) : Number.NaN));
    const [first = Number.NaN, second = Number.NaN] = inputs;
    const made = graphs.has(spec.path)
      ? computed(specs, graphs, spec.path, inputs)
      : [spec.type === 'Subtract' ? first - second : first * Number(spec.attrs.get('scale'))];
    for (const [at, id] of call.outputs.entries()) values.set(id, made[at] ?? Number.NaN);
  }
  return graph.outputs.map((id) => values.get(id) ?? Number.NaN);
}

describe('dicts are flattened by their keys, as Keras flattens them', () => {
  test.each((isList(cases) ? cases : []).map((one) => [stringAt(one, 'name') ?? '', one] as const))('%s', (_, one) => {
    if (!(one instanceof Map)) throw new Error('a case that is no object');
    const version = stringAt(one, 'version') ?? '';
    const root = parseArchitecture(one.get('config') ?? null, 'm', { version, backend: '' });
    const graphs = wireModels(root, 'm', version);
    const specs = new Map(layersBelow(root).map(({ spec }) => [spec.path, spec]));
    const graph = graphs.get('');
    const names = graph?.inputs.map(
      (id) => graph.calls.find((call) => call.inputs.length === 0 && call.outputs.includes(id))?.layer,
    );
    expect(names).toEqual(one.get('inputs'));
    expect(computed(specs, graphs, '', numbers(one.get('given')))).toEqual(numbers(one.get('outputs')));
  });
});

test('there are cases of both generations and both containers', () => {
  const names = (isList(cases) ? cases : []).map((one) => stringAt(one, 'name') ?? '');
  for (const kind of [/\.keras of 3\./, /\.h5 of 3\./, /\.keras of 2\./, /\.h5 of 2\./]) {
    expect(names.filter((name) => kind.test(name)).length).toBeGreaterThan(11);
  }
});
