// What bnsum says against what a framework says.

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
