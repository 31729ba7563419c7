import { formatJson, parseJson } from '../bytes/json.ts';
import { type Diagnostic, note } from '../ir/diagnostic.ts';
import { BnsumError } from '../ir/error.ts';
import { isList, isObject, type Json, type JsonObject, listAt, numberAt, stringAt } from '../ir/json.ts';
import type { Plan, PlannedModule, PlannedTensor } from './plan.ts';

/** Under which key a planned tensor is written, and why. */
export interface NameRow {
  /** The plan's own name. */
  readonly tensor: string;
  /** Key of the state_dict; null: it is left out, as the target has no place for a counter. */
  readonly to: string | null;
  /** A further key of the same tensor (tied weights) names the key that holds it. */
  readonly shares: string | null;
  readonly because: string;
}

/** Every planned tensor under its own name. */
export function ownNames(plan: Plan): readonly NameRow[] {
  return plan.tensors.map(({ name }) => ({ tensor: name, to: name, shares: null, because: 'the layer name' }));
}

const SCHEMA = 'urn:bnsum:schema:map:1';

/** The reviewable text of --emit-map: one tensor per entry, in the order of the state_dict. No dates, no paths. */
export function formatNameMap(plan: Plan, rows: readonly NameRow[]): string {
  const planned = new Map(plan.tensors.map((tensor) => [tensor.name, tensor]));
  const tensors = rows.map((row): Json => {
    const tensor = planned.get(row.tensor);
    if (tensor === undefined) throw new BnsumError({ code: 'INTERNAL', reason: `${row.tensor} is not of this plan` });
    return new Map<string, Json>([
      ['from', tensor.origins.map((origin) => origin.name)],
      ['tensor', row.tensor],
      ['to', row.to],
      ...(row.shares === null ? [] : ([['shares', row.shares]] as const)),
      ['shape', tensor.shape],
      ['how', tensor.how],
      ['because', row.because],
    ]);
  });
  const map = new Map<string, Json>([
    ['$schema', SCHEMA],
    ['version', 1],
    ['tensors', tensors],
  ]);
  return `${formatJson(map, { indent: 2 })}\n`;
}

function refusal(code: 'MALFORMED' | 'MISMATCH', file: string, place: string, reason: string): BnsumError {
  return new BnsumError({
    code,
    file,
    place,
    reason,
    next: '--emit-map FILE writes a whole map of this model to start from',
  });
}

/**
 * Reads a map back, strictly: every planned tensor once, no key twice, sources and shapes as planned; only counters may
 * be left out (`"to": null`). Throws BnsumError MALFORMED or MISMATCH.
 */
export function readNameMap(bytes: Uint8Array, plan: Plan, file: string): readonly NameRow[] {
  const json = parseJson(bytes, { file });
  const list = listAt(json, 'tensors');
  if (!isObject(json) || list === undefined || numberAt(json, 'version') !== 1) {
    throw refusal('MALFORMED', file, '', 'it is no map of version 1 (an object with version and tensors)');
  }
  const planned = new Map(plan.tensors.map((tensor) => [tensor.name, tensor]));
  const seen = new Set<string>();
  const keys = new Set<string>();
  const rows: NameRow[] = [];
  for (const [index, entry] of list.entries()) {
    const row = readRow(entry, `/tensors/${index}`, file);
    const tensor = planned.get(row.tensor);
    if (tensor === undefined) throw refusal('MISMATCH', file, row.tensor, 'the model has no such tensor');
    checkFacts(entry as JsonObject, tensor, file);
    if (row.shares === null) {
      if (seen.has(row.tensor)) throw refusal('MISMATCH', file, row.tensor, 'is listed twice');
      seen.add(row.tensor);
    }
    if (row.to === null && tensor.class !== 'counter') {
      throw refusal('MISMATCH', file, row.tensor, 'only a counter may be left out ("to": null)');
    }
    if (row.to !== null) {
      if (keys.has(row.to)) throw refusal('MISMATCH', file, row.to, 'two tensors go to this key');
      keys.add(row.to);
    }
    rows.push(row);
  }
  const missing = plan.tensors.find((tensor) => !seen.has(tensor.name));
  if (missing !== undefined) throw refusal('MISMATCH', file, missing.name, 'is not in the map');
  const holders = new Map(rows.flatMap((row) => (row.shares === null && row.to !== null ? [[row.to, row]] : [])));
  for (const row of rows) {
    if (row.shares !== null && holders.get(row.shares)?.tensor !== row.tensor) {
      throw refusal('MISMATCH', file, row.to ?? row.tensor, `shares ${row.shares}, which does not hold this tensor`);
    }
  }
  return rows;
}

function readRow(entry: Json, place: string, file: string): NameRow {
  const tensor = stringAt(entry, 'tensor');
  const to = isObject(entry) ? entry.get('to') : undefined;
  const shares = stringAt(entry, 'shares') ?? null;
  if (tensor === undefined || (typeof to !== 'string' && to !== null) || to === '') {
    throw refusal('MALFORMED', file, place, 'an entry needs tensor and to');
  }
  return {
    tensor,
    to,
    shares,
    because: `the map${stringAt(entry, 'because') === undefined ? '' : ` (${stringAt(entry, 'because')})`}`,
  };
}

/** Sources and shape must be those of the plan: a map of another model is no map of this one. */
function checkFacts(entry: JsonObject, tensor: PlannedTensor, file: string): void {
  const shape = listAt(entry, 'shape');
  if (shape === undefined || shape.join() !== tensor.shape.join()) {
    throw refusal('MISMATCH', file, tensor.name, `has shape [${tensor.shape.join(', ')}] in the model`);
  }
  const from = listAt(entry, 'from');
  const names = tensor.origins.map((origin) => origin.name);
  if (!isList(from) || from.length !== names.length || from.some((name, at) => name !== names[at])) {
    throw refusal('MISMATCH', file, tensor.name, `comes from ${names.join(', ') || 'no tensor'} in the model`);
  }
}

/** The last part of a key and what is before it. */
export function splitKey(key: string): { readonly prefix: string; readonly leaf: string } {
  const dot = key.lastIndexOf('.');
  return dot < 0 ? { prefix: '', leaf: key } : { prefix: key.slice(0, dot), leaf: key.slice(dot + 1) };
}

/**
 * The plan under other keys: tensors renamed, left out or shared as the rows say, and modules moved to the prefixes of
 * their tensors. Order stays the plan's, further keys of a tensor come last.
 */
export function renamePlan(plan: Plan, rows: readonly NameRow[]): Plan {
  const old = new Map(plan.tensors.map((tensor) => [tensor.name, tensor]));
  const rowOf = new Map(rows.filter((row) => row.shares === null).map((row) => [row.tensor, row]));
  const origin = new Map<string, PlannedTensor>();
  const tensors: PlannedTensor[] = [];
  const left: Diagnostic[] = [];
  const paths = new Map<string, string | null>();
  const put = (tensor: PlannedTensor, name: string, shares: string | null): void => {
    origin.set(name, tensor);
    tensors.push({ ...tensor, name, ...(shares === null ? {} : { shares }) });
  };
  for (const tensor of plan.tensors) {
    const row = rowOf.get(tensor.name);
    if (row === undefined) throw new BnsumError({ code: 'INTERNAL', reason: `${tensor.name} has no name` });
    if (row.to === null) {
      const why = 'the target keeps no counter';
      left.push(note('DROPPED', { layer: tensor.layer }, { role: splitKey(tensor.name).leaf, why }));
      continue;
    }
    put(tensor, row.to, null);
    const ours = splitKey(tensor.name).prefix;
    const theirs = splitKey(row.to).prefix;
    const had = paths.get(ours);
    paths.set(ours, had === undefined || had === theirs ? theirs : null);
  }
  for (const row of rows) {
    const tensor = old.get(row.tensor);
    if (row.shares !== null && row.to !== null && tensor !== undefined) put(tensor, row.to, row.shares);
  }
  return {
    ...plan,
    tensors,
    modules: plan.modules.flatMap((module): PlannedModule[] => {
      const path = paths.get(module.path) ?? null;
      return path === null ? [] : [{ ...module, path }];
    }),
    diagnostics: [...plan.diagnostics, ...left],
    find: (tensor, role, child) => plan.find(origin.get(tensor.name) ?? tensor, role, child),
  };
}
