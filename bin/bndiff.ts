import { asksForVersion, packageVersion } from '../src/cli/version.ts';

if (asksForVersion(process.argv.slice(2))) {
  process.stdout.write(`${packageVersion()}\n`);
} else {
  // Loaded after the version is out of the way: start-up is what a user feels first.
  void Promise.all([import('../src/cli/run.ts'), import('../src/cli/bndiff.ts')])
    .then(([{ run }, { bndiff }]) => run('bndiff', bndiff))
    .catch((error: unknown) => {
      process.stderr.write(`bndiff: this is a bug in bndiff: it could not start: ${String(error)} [INTERNAL]\n`);
      process.exit(70);
    });
}
