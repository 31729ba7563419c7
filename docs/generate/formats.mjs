import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { code, table } from './markdown.mjs';

/** Per reader: files, how they are told, and what of them is read. Rows of a reader that is not registered are an error. */
const READ = {
  keras: [
    [
      '`.h5`, `.hdf5`',
      'HDF5 with `model_config` or `layer_names`',
      'Keras 1, 2, tf.keras and 3: architecture, weights, compile settings, optimizer apart',
    ],
    ['`.weights.h5`', 'HDF5 with `vars` groups', 'weights; architecture and names come with `--config`'],
    ['`.keras`', 'zip with `config.json`', 'architecture, weights, optimizer apart'],
    [
      '`.weights.json`',
      'JSON with a `weight_map` of `.weights.h5` shards',
      'sharded weights; the shards stand beside it',
    ],
    ['`.json`', 'JSON with `class_name` and `config`', 'architecture alone: shapes and counts without values'],
  ],
  torch: [
    [
      '`.pt`, `.pth`, `.bin`, `.ckpt`',
      'zip with `data.pkl`',
      'state_dicts, checkpoints, whole modules; the pickle is read as data and never run',
    ],
    ['`.pt`, `.pth`', 'torch’s magic number in a pickle stream', 'the container of PyTorch before 1.6'],
    ['`.tar`, `.pth`', 'tar with `pickle`, `tensors` and `storages`', 'the container of PyTorch before 0.2'],
    ['`.pt`, `.ts`', 'zip with `constants.pkl`', 'TorchScript: tensors, module tree, attributes; the code is not run'],
    ['`.pt2`', 'zip with an exported program', 'torch.export: tensors and the graph’s layers'],
    [
      '`.bin.index.json`',
      'JSON with a `weight_map` of `.bin` shards',
      'sharded checkpoints; the shards stand beside it',
    ],
  ],
  safetensors: [
    ['`.safetensors`', 'its header', 'tensors and `__metadata__`'],
    [
      '`.safetensors.index.json`',
      'JSON with a `weight_map` of `.safetensors` shards',
      'sharded tensors; the shards stand beside it',
    ],
  ],
  'pt-json': [
    ['`.pt-json`', 'JSON with `"format": "pt-json"`', 'state_dict, modules, versions, source (see README)'],
    ['`.json`', 'JSON of `{key: nested lists}`', 'plain JSON state_dicts of other tools'],
  ],
  onnx: [
    [
      '`.onnx`',
      'protobuf with a graph',
      'initializers, constants, recognised layers; external data of the model’s own folder',
    ],
  ],
};

const WRITTEN = {
  pt: 'zip as torch.save writes it; `torch.load(weights_only=True)` takes it',
  safetensors: '`__metadata__` holds `format: pt`, `bnsum.modules` and `bnsum.source`',
  'pt-json': 'JSON text, one tensor a line; `--data text` writes numbers instead of base64',
};

/** Each limit with the comment above it. */
function limits(root, LIMITS) {
  const text = readFileSync(join(root, 'src/ir/limits.ts'), 'utf8');
  const comments = new Map();
  for (const [, comment, name] of text.matchAll(/(?:\/\*\* ([^\n]*) \*\/\n)?\s*([A-Za-z0-9]+): [\d_ *]+,/g))
    comments.set(name, comment ?? '');
  return Object.entries(LIMITS).map(([name, value]) => {
    const reason = comments.get(name) ?? '';
    if (reason === '') throw new Error(`the limit ${name} has no reason in src/ir/limits.ts`);
    return [code(name), value.toLocaleString('en-US'), reason];
  });
}

/** docs/formats.md: what is read, written and only named. */
export function formatsPage({ READERS, CONTAINERS, CONTAINER_ENDINGS, CONTENT_NAMES, LIMITS }, root) {
  const names = READERS.map((reader) => reader.name);
  const rows = names.flatMap((name) => {
    if (READ[name] === undefined) throw new Error(`the reader ${name} is not described in docs/generate/formats.mjs`);
    return READ[name].map(([files, told, read]) => [name, files, told, read]);
  });
  const written = CONTAINERS.map((name) => {
    if (WRITTEN[name] === undefined)
      throw new Error(`the container ${name} is not described in docs/generate/formats.mjs`);
    return [code(name), CONTAINER_ENDINGS[name].map(code).join(', '), WRITTEN[name]];
  });
  return [
    '# Formats',
    'A file is recognised by its content, never by its extension alone. Opening reads headers; values are read in blocks.',
    '## Read',
    table(['Reader', 'Files', 'Told by', 'What is read'], rows),
    '## Written by bnconvert',
    table(['`--to`', 'Extensions', 'Content'], written),
    '`--module FILE.py` writes PyTorch source. `--receipt FILE` writes JSON.',
    '## Named, not read',
    'These are refused with what they are and, where something helps, what to do:',
    CONTENT_NAMES.map((name) => `- ${name}`).join('\n'),
    '## Limits',
    'A file that claims more is refused with the limit that it hit.',
    table(['Limit', 'Value', 'Reason'], limits(root, LIMITS)),
  ].join('\n\n');
}
