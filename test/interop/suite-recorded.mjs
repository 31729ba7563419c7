// Small models whose inputs and outputs Keras left beside them: converted and run by PyTorch. No Keras is started.
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { compareByDiff, compareConverted, compareFlipped } from './checks.mjs';
import { root } from './environment.mjs';
import { shown } from './report.mjs';

export async function recorded({ report, torch, commands, folder, modules, only }) {
  const started = performance.now();
  const home = join(root, 'fixtures', 'good', 'convert');
  const names = readdirSync(home)
    .filter((file) => file.endsWith('.keras') && (only === null || file.includes(only)))
    .map((file) => file.slice(0, -'.keras'.length));
  if (names.length === 0 && only === null) throw new Error('no recorded models');
  const rows = [];
  for (const [index, name] of names.entries()) {
    const file = join(home, `${name}.keras`);
    const weights = join(folder, `recorded-${name}.pt`);
    const module = join(modules, `recorded_${name.replaceAll('-', '_')}.py`);
    const arrays = join(folder, `recorded-${name}.npz`);
    try {
      const receipt = await commands.convert(file, weights, { module });
      await torch.ask('unpack_recorded', { expected: join(home, `${name}.expected.json`), arrays });
      const { inputs, outputs } = receipt;
      const checked = await torch.ask('compare', { module_file: module, weights, arrays, inputs, outputs });
      const wrong = compareConverted(checked, await commands.summarise([file, weights]));
      wrong.push(...(await compareByDiff(commands, file, weights)));
      wrong.push(...(await compareFlipped(commands, file, join(folder, `recorded-${name}.safetensors`), index)));
      const good = report.count('keras-recorded', name, wrong);
      rows.push([name, shown(checked.error), shown(checked.control), good ? 'equal' : 'DIFFER']);
    } catch (error) {
      report.count('keras-recorded', name, [error.message]);
      rows.push([name, null, null, 'FAILED']);
    }
  }
  report.table('keras-recorded: PyTorch against what Keras recorded', ['model', 'error', 'control', ''], rows, started);
}
