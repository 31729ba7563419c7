import { formatJson } from '../../bytes/json.ts';
import type { ByteSource, FormatReader, Probe } from '../../bytes/source.ts';
import { type Diagnostic, note, type Outcome } from '../../ir/diagnostic.ts';
import { BnsumError } from '../../ir/error.ts';
import { EMPTY_OBJECT, isObject, type Json } from '../../ir/json.ts';
import type { Model, Tensor } from '../../ir/model.ts';
import { modulesFromJson, versionsFromJson } from '../../ir/state-modules.ts';
import { type RawTensor, recogniseLayers } from '../../layers/recognise.ts';
import { type Cursor, openCursor } from './cursor.ts';
import { type Described, readEntry } from './entry.ts';
import { tensorOf } from './tensor.ts';

/** Our own pt-json, and the plain JSON state_dicts of other tools: `{key: nested lists}`, alone or under `state_dict`. */
export const ptjsonReader: FormatReader<Outcome<Model>> = {
  name: 'pt-json',
  match: async (probe) => judge(probe),
  async read(source) {
    const text = await readText(source);
    return buildModel(source, text);
  },
};

function judge({ head, name }: Probe): 'no' | 'maybe' | 'yes' {
  const text = new TextDecoder('latin1').decode(head);
  if (!/^\s*\{/.test(text)) return 'no';
  if (/"format"\s*:\s*"pt-json"/.test(text)) return 'yes';
  if (name.endsWith('.pt-json')) return 'maybe';
  if (/"(?:state_dict|model_data)"\s*:\s*\{/.test(text)) return 'maybe';
  // Another tool's state_dict: the first value is a list of numbers, or of such lists.
  return /^\s*\{\s*"(?:[^"\\]|\\.)*"\s*:\s*\[[\s[]*(?:-?\d|\])/.test(text) ? 'maybe' : 'no';
}

interface Text {
  readonly members: ReadonlyMap<string, Json>;
  readonly entries: ReadonlyMap<string, Described>;
  /** Keys outside `state_dict` whose values are nested lists or numbers. */
  readonly bare: ReadonlyMap<string, Described>;
  readonly hasState: boolean;
}

/** Walks over the whole text once; payloads with a known length are jumped over. */
async function readText(source: ByteSource): Promise<Text> {
  const cursor = openCursor(source);
  const members = new Map<string, Json>();
  const entries = new Map<string, Described>();
  const bare = new Map<string, Described>();
  const seen = new Set<string>();
  const mark = (await cursor.window(3)).subarray(0, 3);
  if (mark[0] === 0xef && mark[1] === 0xbb) throw cursor.fail('JSON text starts with a byte order mark');
  await eachMember(cursor, '', async (key) => {
    if (seen.has(key)) throw cursor.fail(`duplicate key '${key}'`);
    seen.add(key);
    const first = await cursor.step(() => cursor.peek());
    if (key === 'state_dict' && first === 0x7b) {
      await eachMember(cursor, 'state_dict', async (name) => {
        if (entries.has(name)) throw cursor.fail(`duplicate key '${name}'`, 'MALFORMED', 'state_dict');
        entries.set(name, await readEntry(cursor, name));
      });
    } else if (first === 0x5b || first === 0x2d || (first >= 0x30 && first <= 0x39)) {
      if (key === 'version') members.set(key, await cursor.step(() => cursor.value()));
      else bare.set(key, await readEntry(cursor, key));
    } else {
      members.set(key, await cursor.step(() => cursor.value()));
    }
  });
  if ((await cursor.step(() => cursor.peek())) !== -1) throw cursor.fail('text follows the JSON value');
  return { members, entries, bare, hasState: seen.has('state_dict') };
}

/** Consumes an object, calling `read` after each key's colon. */
async function eachMember(cursor: Cursor, place: string, read: (key: string) => Promise<void>): Promise<void> {
  await cursor.step(() => cursor.expect(0x7b, place === '' ? '{' : `{ of ${place}`));
  if ((await cursor.step(() => cursor.peek())) === 0x7d) {
    await cursor.step(() => cursor.expect(0x7d, '}'));
    return;
  }
  for (let more = true; more; ) {
    const key = await cursor.step(() => {
      const word = cursor.text();
      cursor.expect(0x3a, 'a colon');
      return word;
    });
    await read(key);
    more = await cursor.step(() => {
      const code = cursor.peek();
      if (code === 0x7d) {
        cursor.position += 1;
        return false;
      }
      cursor.expect(0x2c, 'a comma or }');
      return true;
    });
  }
}

/** What a pt-json file may hold beside its tensors. */
const FIELDS: ReadonlySet<string> = new Set(['format', 'version', 'producer', 'modules', 'metadata', 'source']);

function buildModel(source: ByteSource, text: Text): Outcome<Model> {
  const file = source.label;
  const diagnostics: Diagnostic[] = [];
  const own = text.members.get('format') === 'pt-json';
  const field = (key: string): Json => (own ? (text.members.get(key) ?? EMPTY_OBJECT) : EMPTY_OBJECT);
  if (own) judgeOwn(text, file, diagnostics);
  else judgeForeign(text, file, diagnostics);
  const tensors = resolve(source, own || text.hasState ? text.entries : text.bare);
  const modules = modulesFromJson(field('modules'), field('metadata'), file);
  const recognised = recogniseLayers(tensors, modules, file);
  const origin = field('source');
  const config = isObject(origin) ? origin.get('model_config') : undefined;
  const extra = new Map<string, string>();
  if (isObject(origin) && origin.size > 0) extra.set('bnsum.source', formatJson(origin, { nonFinite: true }));
  const modelData = own ? undefined : text.members.get('model_data');
  if (modelData !== undefined) extra.set('model_data', formatJson(modelData, { nonFinite: true }));
  const versions = versionsFromJson(field('metadata'), file);
  const model: Model = {
    name: stemOf(file),
    format: 'pt-json',
    dialect: 'torch',
    producer: { framework: own ? 'torch' : '', version: '', backend: '' },
    layers: recognised.value,
    graphs: new Map(),
    optimizer: [],
    trainable: null,
    origin: {
      extra,
      ...(config === undefined ? {} : { config }),
      ...(versions.size === 0 ? {} : { moduleVersions: versions }),
    },
    bytesRead: () => source.bytesRead(),
    close: () => source.close(),
  };
  return { value: model, diagnostics: [...diagnostics, ...recognised.diagnostics] };
}

function judgeOwn(text: Text, file: string, diagnostics: Diagnostic[]): void {
  const version = text.members.get('version');
  if (version !== 1) {
    const isNumber = typeof version === 'number';
    throw new BnsumError({
      code: 'UNSUPPORTED',
      file,
      reason: isNumber
        ? `pt-json version ${version}, version 1 is read`
        : 'pt-json without a version; version 1 is read',
      next: isNumber ? 'take a newer bnsum' : 'write it with bnconvert',
    });
  }
  if (!text.hasState) throw new BnsumError({ code: 'MALFORMED', file, reason: 'has no state_dict' });
  for (const key of ['modules', 'metadata', 'source']) {
    const value = text.members.get(key);
    if (value !== undefined && !isObject(value)) {
      throw new BnsumError({ code: 'MALFORMED', file, place: key, reason: 'is not an object' });
    }
  }
  const unknown = [...text.members.keys(), ...text.bare.keys()].filter((key) => !FIELDS.has(key));
  if (unknown.length > 0) {
    diagnostics.push(
      note('ASSUMED', { file }, { what: 'what these fields mean', assumed: `${unknown.join(', ')} left out` }),
    );
  }
}

function judgeForeign(text: Text, file: string, diagnostics: Diagnostic[]): void {
  const foreign = (reason: string): BnsumError =>
    new BnsumError({ code: 'NOT_A_MODEL', file, reason, next: 'name a model file' });
  if (!text.hasState) {
    const other = text.members.keys().next().value;
    if (other !== undefined) throw foreign(`JSON that holds no state_dict: '${other}' is no list of numbers`);
  }
  const described = text.hasState ? text.entries : text.bare;
  if (described.size === 0) throw foreign('JSON without a tensor');
  if ([...described.values()].some(({ dtype }) => dtype === null)) {
    const assumed = 'float32, num_batches_tracked int64';
    diagnostics.push(note('ASSUMED', { file }, { what: 'the element types', assumed }));
  }
}

/** Makes the tensors; one that shares another's values becomes the same tensor under its own name. */
function resolve(source: ByteSource, described: ReadonlyMap<string, Described>): readonly RawTensor[] {
  const made = new Map<string, Tensor>();
  for (const one of described.values()) {
    if (one.payload.kind !== 'shares') made.set(one.name, tensorOf(source, one));
  }
  const raw: RawTensor[] = [];
  for (const one of described.values()) {
    const tensor = one.payload.kind === 'shares' ? shared(source, one, described, made) : made.get(one.name);
    if (tensor === undefined) continue;
    raw.push({
      name: one.name,
      tensor: { ...tensor, name: one.name },
      isParameter: one.kind === null ? null : one.kind === 'parameter',
      trainable: one.requiresGrad,
    });
  }
  return raw;
}

function shared(
  source: ByteSource,
  one: Described,
  described: ReadonlyMap<string, Described>,
  made: ReadonlyMap<string, Tensor>,
): Tensor {
  const refuse = (reason: string): BnsumError =>
    new BnsumError({ code: 'MALFORMED', file: source.label, place: one.name, reason });
  const visited = new Set<string>([one.name]);
  let at: Described = one;
  while (at.payload.kind === 'shares') {
    const next = described.get(at.payload.of);
    if (next === undefined) throw refuse(`shares '${at.payload.of}', which is not there`);
    if (visited.has(next.name)) throw refuse('shares its values in a circle');
    visited.add(next.name);
    at = next;
  }
  const tensor = made.get(at.name);
  if (tensor === undefined) throw refuse(`shares '${at.name}', which has no values`);
  if (tensor.dtype !== one.dtype || tensor.shape.join() !== one.shape?.join()) {
    throw refuse(`shares '${at.name}', which has another type or shape`);
  }
  return tensor;
}

function stemOf(label: string): string {
  const base = label.split(/[/\\]/).at(-1) ?? label;
  return base.replace(/\.(?:pt-json|json)$/, '');
}
