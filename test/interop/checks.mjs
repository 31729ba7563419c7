// What bnsum says against what a framework says.
import { readFile, writeFile } from 'node:fs/promises';

const same = (a, b) => JSON.stringify(a) === JSON.stringify(b);

/** Totals, and every layer's count and output shape by path. `says` is Keras' own account. */
export function compareWithKeras(says, summary) {
  const wrong = [];
  const expect = (what, ours, theirs) => {
    if (!same(ours, theirs)) wrong.push(`${what} is ${JSON.stringify(ours)}, Keras says ${JSON.stringify(theirs)}`);
  };
  const { keras } = summary.totals;
  expect('total', keras.total, says.total);
  expect('trainable', keras.trainable, says.trainable);
  expect('non-trainable', keras.nonTrainable, says.nonTrainable);
  const ours = new Map(summary.layers.map((layer) => [layer.path, layer]));
  for (const row of says.layers) {
    const layer = ours.get(row.path);
    if (layer === undefined) {
      wrong.push(`layer ${row.path} is missing`);
      continue;
    }
    expect(`${row.path} count`, layer.keras, row.count);
    // A layer that is called with several sizes has several shapes; bnsum shows the first call's.
    if (row.shapes.length > 0) expect(`${row.path} output shape`, layer.outputShape, row.shapes[0]);
  }
  // One layer that goes wrong drags those behind it along.
  return wrong.length > 4 ? [...wrong.slice(0, 4), `and ${wrong.length - 4} more`] : wrong;
}

/** The totals that PyTorch's module has against the PyTorch and state_dict totals of a summary. */
export function compareWithTorch(totals, summary, whose) {
  const wrong = [];
  const expect = (what, ours, theirs) => {
    if (ours !== theirs) wrong.push(`${whose}: ${what} is ${ours}, PyTorch says ${theirs}`);
  };
  expect('torch parameters', summary.totals.torch.parameters, totals.parameters);
  expect('torch buffers', summary.totals.torch.buffers, totals.buffers);
  return wrong;
}

export const TOLERANCE = 1e-4;

/** Outputs, control and totals of a converted model. `checked` is PyTorch's answer; `summaries` of Keras and .pt file. */
export function compareConverted(checked, summaries, tolerance = TOLERANCE) {
  const wrong = [];
  if (!(checked.error <= tolerance)) wrong.push(`outputs differ: ${checked.error.toExponential(2)} > ${tolerance}`);
  if (checked.control !== null && !(checked.control > tolerance))
    wrong.push(`control: weights that were spoiled change nothing (${checked.control.toExponential(2)})`);
  if (checked.constant && checked.control !== null) wrong.push('the outputs that were compared are constant');
  const [before, after] = summaries;
  wrong.push(...compareWithTorch(checked.totals, before, 'bnsum of the Keras file'));
  wrong.push(...compareWithTorch(checked.totals, after, 'bnsum of the converted file'));
  if (after.totals.state.elements !== checked.totals.state)
    wrong.push(`state elements are ${after.totals.state.elements}, PyTorch says ${checked.totals.state}`);
  if (before.totals.state.elements !== checked.totals.state)
    wrong.push(
      `state elements of the Keras file are ${before.totals.state.elements}, PyTorch says ${checked.totals.state}`,
    );
  return wrong;
}

/** bndiff of a model and its conversion: the same. */
export async function compareByDiff(commands, source, target) {
  const { status, comparison } = await commands.diff(source, target);
  return status === 0 ? [] : [`bndiff: exit ${status}: ${comparison.message} ${comparison.changes[0]?.message ?? ''}`];
}

/**
 * The conversion once more into safetensors (no checksum hides the bit): the same; then with the lowest bit of one
 * element flipped, exit 1 and that element alone. `seed` chooses the element.
 */
export async function compareFlipped(commands, source, file, seed) {
  await commands.convert(source, file);
  const wrong = await compareByDiff(commands, source, file);
  const flipped = await flipBit(file, seed);
  if (flipped === undefined) return wrong;
  const { status, comparison } = await commands.diff(source, file);
  const { changes } = comparison;
  const found = changes[0];
  const good =
    status === 1 &&
    changes.length === 1 &&
    found.code === 'value' &&
    found.args.stats?.changed === 1 &&
    Array.isArray(found.args.stats.first?.index) &&
    (flipped === found.at.b || flipped.startsWith(`${found.at.b}.`));
  if (!good) {
    const said = changes.map((change) => change.message).join('; ');
    wrong.push(`bndiff: a bit of ${flipped} was flipped: exit ${status}, ${changes.length} changes: ${said}`);
  }
  return wrong;
}

/** Flips the lowest bit of one element; returns its tensor's name, undefined where the file has no element. */
async function flipBit(file, seed) {
  const bytes = await readFile(file);
  const start = 8 + Number(bytes.readBigUInt64LE(0));
  const header = JSON.parse(bytes.toString('utf8', 8, start));
  const tensors = Object.entries(header).filter(
    ([name, { data_offsets: at }]) => name !== '__metadata__' && at[1] > at[0],
  );
  if (tensors.length === 0) return undefined;
  const [name, { shape, data_offsets: at }] = tensors[(seed * 7) % tensors.length];
  const elements = shape.reduce((product, size) => product * size, 1);
  const size = (at[1] - at[0]) / elements;
  bytes[start + at[0] + ((seed * 31) % elements) * size] ^= 1;
  await writeFile(file, bytes);
  return name;
}
