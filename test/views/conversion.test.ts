import { expect, test } from 'vitest';
import { type ConversionReport, renderConversion } from '../../src/views/conversion.ts';

const report = (count: number): ConversionReport => ({
  input: 'a.h5',
  output: 'a.pt',
  module: null,
  receipt: null,
  map: null,
  tensors: count,
  bytes: count,
  filled: count,
  dropped: count,
  folded: count,
  totals: {
    keras: { total: count, trainable: count, nonTrainable: 0, optimizer: 0, totalCompiled: null },
    torch: { parameters: count, trainable: count, frozen: 0, buffers: count },
    state: { elements: count, unique: count },
    inference: { elements: count },
  },
  verification: { lossless: count, asPlanned: count, elements: count },
  diagnostics: [],
});

test('one thing is one, more are many', () => {
  expect(renderConversion(report(1), 'text')).toEqual([
    'a.pt: 1 tensor, 1 byte of data\n',
    'Keras 1 parameter = PyTorch 1 parameter and 1 buffer element (bnsum --explain a.h5 shows the steps), before 1 BatchNorm went into the layers beside\n',
    'filled: 1 tensor that Keras does not hold (num_batches_tracked and the like)\n',
    'dropped: 1 tensor without a place in a state_dict (see --dry-run)\n',
    'lossless: read back, 1 tensor gives the one source element again; 1 filled, folded, computed or cast one is as planned\n',
  ]);
  const many = renderConversion(report(2000), 'text').join('');
  expect(many).toContain('a.pt: 2,000 tensors, 2,000 bytes of data\n');
  expect(many).toContain('filled: 2,000 tensors that');
  expect(many).toContain('dropped: 2,000 tensors without');
  expect(many).toContain('2,000 tensors give every one of 2,000 source elements again; 2,000 filled, folded');
});
