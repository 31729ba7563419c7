import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { code, table } from './markdown.mjs';

/** Refusals and notes shown per class; the rest are counted. */
const SHOWN = 4;

function fixture(root, name) {
  return JSON.parse(readFileSync(join(root, 'fixtures/good', name), 'utf8'));
}

const tensor = (name, shape, dtype) => ({
  class_name: '__keras_tensor__',
  config: { shape, dtype, keras_history: [name, 0, 0] },
});

const input = (name, { shape, dtype }) => ({
  module: 'keras.layers',
  class_name: 'InputLayer',
  config: { batch_shape: shape, dtype, sparse: false, name },
  registered_name: null,
  name,
  inbound_nodes: [],
});

/** What Keras notes of the shapes a layer was built with. */
function builtWith({ inputs, spread }) {
  const shapes = inputs.map(({ shape }) => shape);
  if (!spread) return { input_shape: shapes.length === 1 ? shapes[0] : shapes };
  return { shapes_dict: { query_shape: shapes[0], value_shape: shapes[1] ?? shapes[0] } };
}

/** A functional model, as Keras writes its config, that calls this one layer. */
function architecture(entry) {
  const layers = entry.inputs.map((given, index) => input(`input_${index}`, given));
  const tensors = entry.inputs.map(({ shape, dtype }, index) => tensor(`input_${index}`, shape, dtype));
  const args = entry.spread || tensors.length === 1 ? tensors : [tensors];
  const called = {
    module: 'keras.layers',
    class_name: entry.className,
    config: { ...entry.config, name: 'layer' },
    registered_name: null,
    build_config: builtWith(entry),
    name: 'layer',
    inbound_nodes: [{ args, kwargs: entry.callKwargs }],
  };
  const inputs = layers.map(({ name }) => [name, 0, 0]);
  return {
    module: 'keras.src.models.functional',
    class_name: 'Functional',
    config: {
      name: 'model',
      trainable: true,
      layers: [...layers, called],
      input_layers: inputs,
      output_layers: [['layer', 0, 0]],
    },
    registered_name: null,
  };
}

/** Names of torch that a module's source uses for the layer. */
function namesIn(source) {
  const body = source.slice(source.indexOf('class Model('), source.indexOf('def load('));
  const found = [...body.matchAll(/\b(?:nn|F|torch)\.[A-Za-z_]\w*/g)].map(([name]) => name);
  const names = [...new Set(found)].filter((name) => name !== 'nn.Module');
  const isPassing = /def forward\(self, (\w+)\):\n\s+return \1\n/.test(body);
  return names.length > 0 ? names.map(code) : [isPassing ? 'passes its input on' : 'tensor methods'];
}

/** What becomes of one layer: its PyTorch names, or why it is refused. */
async function outcome(sources, entry, version) {
  const { memorySource, kerasReader, inferShapes, planTranslation, generateModule, isBnsumError } = sources;
  const json = { ...architecture(entry), keras_version: version, backend: 'tensorflow' };
  const source = memorySource(new TextEncoder().encode(JSON.stringify(json)), 'model.json');
  try {
    const siblings = { open: () => Promise.reject(new Error('a layer stands alone')) };
    const read = await kerasReader.read(source, siblings, {});
    const model = inferShapes(read.value).value;
    const plan = planTranslation(model, { file: 'model.json' });
    const own = plan.modules.filter((module) => module.layer === 'layer' || module.layer.startsWith('layer/'));
    const custom = own.filter((module) => module.custom).map((module) => code(module.type));
    const names = namesIn(generateModule(plan, { weights: null, source: 'model.json' }));
    const notes = plan.diagnostics.filter(({ code: name }) => name === 'ASSUMED' || name === 'TRAINING_DIFFERS');
    return {
      names: custom.length > 0 && names[0]?.startsWith('`') !== true ? custom : [...custom, ...names],
      exact: plan.tensors.every((one) => one.exact),
      notes: notes.map(({ code: name, args }) => `${name}: ${args.what ?? ''}`.trim()),
    };
  } catch (error) {
    if (!isBnsumError(error) || error.code === 'INTERNAL') throw error;
    return { refused: error.reason };
  }
}

/** The most frequent first; what is cut off is counted. */
function listed(counts) {
  const all = [...counts].toSorted(([a, m], [b, n]) => n - m || (a < b ? -1 : 1)).map(([text]) => text);
  const rest = all.length - SHOWN;
  return [...all.slice(0, SHOWN), ...(rest > 0 ? [`${rest} more`] : [])].join('; ');
}

function count(counts, key) {
  counts.set(key, (counts.get(key) ?? 0) + 1);
}

async function rowOf(sources, name, cases, version) {
  const family = sources.familyOfType('keras', cases[0].className);
  const kind = family?.kind ?? 'unknown';
  const names = new Map();
  const refused = new Map();
  const notes = new Map();
  let exact = true;
  let converted = 0;
  for (const entry of cases) {
    const result = await outcome(sources, entry, version);
    if (result.refused !== undefined) {
      count(refused, result.refused);
      continue;
    }
    converted += 1;
    for (const used of result.names) count(names, used);
    for (const note of result.notes) count(notes, note);
    exact &&= result.exact;
  }
  const used = [...names].toSorted(([a, m], [b, n]) => n - m || (a < b ? -1 : 1)).map(([text]) => text);
  const grade = converted === 0 ? 'refused' : `${exact ? 'exact' : 'computed'}${notes.size > 0 ? ', with a note' : ''}`;
  return [
    code(name),
    code(kind),
    converted === 0 ? '–' : used.join(', '),
    grade,
    `${converted} of ${cases.length}`,
    [notes.size > 0 ? listed(notes) : '', refused.size > 0 ? `refused: ${listed(refused)}` : '']
      .filter((text) => text !== '')
      .join('. '),
  ];
}

async function rows(sources, list, version, skip = new Set()) {
  const byClass = new Map();
  for (const entry of list.cases) byClass.set(entry.class, [...(byClass.get(entry.class) ?? []), entry]);
  const out = [];
  for (const name of list.classes) {
    if (skip.has(name)) continue;
    const alias = list.aliases[name];
    const cases = byClass.get(name);
    if (name === 'InputLayer') out.push([code(name), code('input'), 'an argument of `forward`', 'exact', '', '']);
    else if (alias !== undefined) out.push([code(name), '', '', '', '', `another name of ${code(alias)}`]);
    else if (cases !== undefined) out.push(await rowOf(sources, name, cases, version));
    else {
      const reason = sources.UNCOVERED.get(name) ?? list.reasons[name];
      if (reason === undefined) throw new Error(`${name} has neither a case nor a reason`);
      out.push([code(name), '–', '–', 'not converted', '', reason]);
    }
  }
  return out;
}

/** docs/layers.md: every class of keras.layers and what bnconvert makes of it, found out by planning each recorded case. */
export async function layersPage(sources, root) {
  const three = fixture(root, 'keras-layers.json');
  const two = fixture(root, 'tfkeras-layers.json');
  const head = ['Class', 'Kind', 'In PyTorch', 'Grade', 'Cases', 'Notes'];
  const rowsThree = await rows(sources, three, three.framework.keras);
  const rowsTwo = await rows(sources, two, two.framework.keras ?? '2.15.0', new Set(three.classes));
  return [
    '# Layers',
    `Every class of \`keras.layers\` in Keras ${three.framework.keras}, and what bnconvert writes for it. Each row is found` +
      ' out by planning the conversion of the cases that real Keras recorded: one layer each, with the options that change' +
      ' the rule.',
    [
      '- **In PyTorch**: modules and functions that the generated code uses. Names without a prefix are classes that the generated module defines. `passes its input on`: nothing happens at inference.',
      '- **Grade**: `exact` means that weights are only moved or filled, never computed. `computed` means that some values result from arithmetic. `refused` means that the conversion stops at such a layer and names it. A note says where training or an assumption differs.',
      '- **Cases**: how many of the recorded cases convert; the notes give the reasons of the others.',
    ].join('\n'),
    'Summaries do not depend on this table: bnsum counts a layer of any class from its weights.',
    table(head, rowsThree),
    '## Only in Keras 2',
    table(head, rowsTwo),
  ].join('\n\n');
}
