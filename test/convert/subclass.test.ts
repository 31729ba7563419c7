import { expect, test } from 'vitest';
import { planTranslation } from '../../src/convert/plan.ts';
import { openModel } from '../../src/open.ts';
import { describe } from '../../src/views/diagnostics.ts';

const good = new URL('../../fixtures/good/', import.meta.url).pathname;

test('a subclassed model is refused for what it is, not for a config that it lacks', async () => {
  const { value: model, diagnostics } = await openModel(`${good}subclassed.keras`);
  try {
    expect(() => planTranslation(model, { file: 'subclassed.keras' })).toThrow(
      /^subclassed\.keras: its model is a \w+, a subclass whose layers and their order only its own code knows; .*keras\.Model\(inputs, outputs\).* \[REFUSED\]$/,
    );
    const told = diagnostics.find(({ code }) => code === 'NO_ARCHITECTURE');
    expect(told?.args['type']).toMatch(/^\w+$/);
    expect(told && describe(told)).toMatch(/a subclassed model: only its own code knows its layers/);
  } finally {
    await model.close();
  }
});

test('weights alone still ask for a config', async () => {
  const { value: model, diagnostics } = await openModel(`${good}subclassed.weights.h5`);
  try {
    expect(() => planTranslation(model, { file: 'w.h5' })).toThrow(/--config/);
    const told = diagnostics.find(({ code }) => code === 'NO_ARCHITECTURE');
    expect(told?.args).toEqual({});
    expect(told && describe(told)).toMatch(/holds weights without an architecture/);
  } finally {
    await model.close();
  }
});
