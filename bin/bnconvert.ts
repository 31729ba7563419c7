import { asksForVersion, packageVersion } from '../src/cli/version.ts';

if (asksForVersion(process.argv.slice(2))) {
  process.stdout.write(`${packageVersion()}\n`);
} else {
  // A file of its own, loaded after the version is out of the way: start-up is what a user feels first.
  void import('../src/cli/start-bnconvert.ts')
    .then(({ start }) => start())
    .catch((error: unknown) => {
      process.stderr.write(`bnconvert: this is a bug in bnconvert: it could not start: ${String(error)} [INTERNAL]\n`);
      process.exit(70);
    });
}
