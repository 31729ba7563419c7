import { asksForVersion, packageVersion } from '../src/cli/version.ts';

if (asksForVersion(process.argv.slice(2))) {
  process.stdout.write(`${packageVersion()}\n`);
} else {
  // Loaded after the version is out of the way: start-up is what a user feels first.
  void Promise.all([import('../src/cli/run.ts'), import('../src/cli/bnsum.ts')])
    .then(([{ run }, { bnsum }]) => run('bnsum', bnsum))
    .catch((error: unknown) => {
      process.stderr.write(`bnsum: this is a bug in bnsum: it could not start: ${String(error)} [INTERNAL]\n`);
      process.exit(70);
    });
}
