import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';
import { beforeAll, expect, test } from 'vitest';

const root = dirname(dirname(fileURLToPath(import.meta.url)));

/** What the library promises: values first, then types. Removing or renaming one is a breaking change. */
const VALUES = [
  'BnsumError',
  'CONTAINERS',
  'account',
  'describe',
  'explain',
  'explainPair',
  'generateModule',
  'isBnsumError',
  'openModel',
  'planTranslation',
  'saveState',
  'summarise',
  'translate',
  'verifyState',
];
const TYPES = [
  'Accounting',
  'Call',
  'Container',
  'DType',
  'Diagnostic',
  'Explanation',
  'Graph',
  'Layer',
  'Model',
  'ModuleOptions',
  'OpenOptions',
  'Outcome',
  'PairExplanation',
  'Plan',
  'PlannedTensor',
  'SaveOptions',
  'StateEntry',
  'Summary',
  'Tensor',
  'Totals',
  'TranslateOptions',
  'Value',
  'Verification',
  'Weight',
];

const options = (path: string): ts.CompilerOptions => {
  const read = ts.getParsedCommandLineOfConfigFile(
    join(root, path),
    {},
    {
      ...ts.sys,
      onUnRecoverableConfigFileDiagnostic: () => undefined,
    },
  );
  if (read === undefined) throw new Error(`${path} cannot be read`);
  return read.options;
};

const words = (diagnostics: readonly ts.Diagnostic[]): readonly string[] =>
  diagnostics.map((one) => ts.flattenDiagnosticMessageText(one.messageText, ' '));

let program: ts.Program;
const declarations = new Map<string, string>();
let emitted: ts.EmitResult;

beforeAll(() => {
  program = ts.createProgram([join(root, 'src/index.ts')], options('tsconfig.build.json'));
  emitted = program.emit(undefined, (name, text) => declarations.set(name.replaceAll('\\', '/'), text));
});

test('the exported names are these', () => {
  const checker = program.getTypeChecker();
  const source = program.getSourceFile(join(root, 'src/index.ts'));
  const module = source && checker.getSymbolAtLocation(source);
  const symbols = module === undefined ? [] : checker.getExportsOfModule(module);
  const isValue = (symbol: ts.Symbol): boolean => {
    const target = symbol.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(symbol) : symbol;
    return (target.flags & ts.SymbolFlags.Value) !== 0;
  };
  const names = (all: readonly ts.Symbol[]): readonly string[] => all.map((symbol) => symbol.name).toSorted();
  expect(names(symbols.filter(isValue))).toEqual(VALUES);
  expect(names(symbols.filter((symbol) => !isValue(symbol)))).toEqual(TYPES);
});

test('every exported name says what it is', () => {
  const checker = program.getTypeChecker();
  const source = program.getSourceFile(join(root, 'src/index.ts'));
  expect(source?.text).toMatch(/^\/\*\*/);
  const module = source && checker.getSymbolAtLocation(source);
  const silent = (module === undefined ? [] : checker.getExportsOfModule(module))
    .map((symbol) => (symbol.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(symbol) : symbol))
    .filter((symbol) => symbol.getDocumentationComment(checker).length === 0);
  expect(silent.map((symbol) => symbol.name)).toEqual([]);
});

test('the declarations build', () => {
  expect(words([...program.getSyntacticDiagnostics(), ...emitted.diagnostics])).toEqual([]);
  expect(declarations.has(join(root, 'dist/lib/index.d.ts'))).toBe(true);
});

/** What a consumer's compiler says of a text that imports the library through its declarations alone. */
function consume(text: string): readonly string[] {
  const path = join(root, 'example.mts');
  const virtual = new Map([...declarations, [path, text]]);
  const base = { ...options('tsconfig.json'), noEmit: true };
  const host = ts.createCompilerHost(base);
  const { fileExists, readFile, getSourceFile } = host;
  host.fileExists = (name) => virtual.has(name) || fileExists(name);
  host.readFile = (name) => virtual.get(name) ?? readFile(name);
  host.getSourceFile = (name, target, ...rest) => {
    const known = virtual.get(name);
    return known === undefined ? getSourceFile(name, target, ...rest) : ts.createSourceFile(name, known, target);
  };
  host.resolveModuleNameLiterals = (literals, from, _, settings) =>
    literals.map(({ text: word }) => {
      if (word !== 'bnsum') return ts.resolveModuleName(word, from, settings, host);
      const resolvedFileName = join(root, 'dist/lib/index.d.ts');
      return { resolvedModule: { resolvedFileName, extension: ts.Extension.Dts, isExternalLibraryImport: true } };
    });
  return words(ts.getPreEmitDiagnostics(ts.createProgram([path], base, host)));
}

test('the library examples of the README compile against the declarations', () => {
  const readme = readFileSync(join(root, 'README.md'), 'utf8');
  const [counting = '', converting = '', ...others] = [...readme.matchAll(/```ts\n([\s\S]*?)```/g)].map(
    (match) => match[1] ?? '',
  );
  expect(others).toEqual([]);
  // The last line must be refused: were a type lost on the way, it would be `any` and pass.
  const wrong =
    "\nexport const wrong: boolean = account(await openModel('a').then((one) => one.value)).totals.keras.total;\n";
  expect(consume(counting + wrong)).toEqual([
    "Type 'Count' is not assignable to type 'boolean'.   Type 'number' is not assignable to type 'boolean'.",
  ]);
  expect(converting).toContain('saveState(model, plan,');
  expect(consume(`${converting}\nexport const wrong: string = saveState;\n`)).toEqual([
    expect.stringContaining("is not assignable to type 'string'"),
  ]);
});
