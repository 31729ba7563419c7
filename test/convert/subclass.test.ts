import { expect, test } from 'vitest';
import { planTranslation } from '../../src/convert/plan.ts';
import { openModel } from '../../src/open.ts';

const good = new URL('../../fixtures/good/', import.meta.url).pathname;

test('a subclassed model is refused for what it is, not for a config that it lacks', async () => {
  const { value: model, diagnostics } = await openModel(`${good}subclassed.keras`);
  try {
    expect(() => planTranslation(model, { file: 'subclassed.keras' })).toThrow(
      /^subclassed\.keras: its model is a \w+, a subclass whose layers and their order only its own code knows; .*keras\.Model\(inputs, outputs\).* \[REFUSED\]$/,
    );
    const told = diagnostics.find(({ code }) => code === 'NO_ARCHITECTURE');
    expect(told?.args['type']).toMatch(/^\w+$/);
  } finally {
    await model.close();
  }
});

test('weights alone still ask for a config', async () => {
  const { value: model, diagnostics } = await openModel(`${good}subclassed.weights.h5`);
  try {
    expect(() => planTranslation(model, { file: 'w.h5' })).toThrow(/--config/);
    expect(diagnostics.find(({ code }) => code === 'NO_ARCHITECTURE')?.args).toEqual({});
  } finally {
    await model.close();
  }
});
