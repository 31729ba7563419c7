import { BnsumError } from '../../ir/error.ts';
import type { WeightClass } from '../../ir/model.ts';
import type { Variable } from '../../layers/family.ts';
import type { LayerSpec } from './architecture.ts';
import type { Hdf5Dataset } from './hdf5.ts';
import type { InputShapes } from './inputs.ts';

/** One array of the file that was found to be a variable of a layer. */
export interface Assigned {
  readonly role: string;
  readonly class: WeightClass;
  /** The class follows from the layer's kind, not from a guess. */
  readonly certain: boolean;
  readonly dataset: Hdf5Dataset;
  /** As the file spells it. */
  readonly name: string;
}

/** Arrays by the path of the layer that owns them; the root model's own stand under ''. */
export type Assignment = Map<string, Assigned[]>;

/** What config and weights do not agree on. */
export interface Discord {
  /** 'conv1 kernel' */
  readonly missing: string[];
  /** Names of arrays. */
  readonly unexpected: string[];
}

export function addAssigned(assignment: Assignment, path: string, assigned: Assigned): void {
  const list = assignment.get(path);
  if (list === undefined) assignment.set(path, [assigned]);
  else list.push(assigned);
}

/** The variables of a layer of a known family, in creation order; undefined when the class is not known. */
export function variablesOf(spec: LayerSpec, inputs?: InputShapes): readonly Variable[] | undefined {
  if (spec.family === undefined) return undefined;
  return spec.family.variables?.(spec.norm, spec.buildInputs ?? inputs?.get(spec.path) ?? null) ?? [];
}

/** Puts a layer's arrays into the order of its variables, and refuses shapes that the config contradicts. */
export function assignVariable(
  assignment: Assignment,
  file: string,
  spec: LayerSpec,
  variable: Variable,
  dataset: Hdf5Dataset,
  name: string,
): void {
  const { shape } = dataset;
  const wanted = variable.shape;
  if (wanted !== null && shape !== null && !sameShape(wanted, shape)) {
    throw new BnsumError({
      code: 'MISMATCH',
      file,
      place: spec.path,
      reason: `the config asks for a ${variable.role} of shape [${wanted.join(', ')}], ${name} has [${shape.join(', ')}]`,
    });
  }
  addAssigned(assignment, spec.path, { role: variable.role, class: variable.class, certain: true, dataset, name });
}

function sameShape(left: readonly number[], right: readonly number[]): boolean {
  return left.length === right.length && left.every((size, axis) => size === right[axis]);
}

/** Arrays of a layer whose class is not known: their names tell the statistics of a normalisation, nothing else. */
export function assignUnknown(
  assignment: Assignment,
  path: string,
  dataset: Hdf5Dataset,
  name: string,
  role: string,
): void {
  const statistic = /(^|\/)(moving_mean|moving_variance|moving_stddev)$/.test(role);
  addAssigned(assignment, path, { role, class: statistic ? 'statistic' : 'weight', certain: false, dataset, name });
}

const SHOWN = 4;

/** Throws MISMATCH with the names of what is missing and of what is too much. */
export function refuseDiscord(file: string, { missing, unexpected }: Discord): void {
  if (missing.length === 0 && unexpected.length === 0) return;
  const list = (names: readonly string[]): string =>
    names.slice(0, SHOWN).join(', ') + (names.length > SHOWN ? ` and ${names.length - SHOWN} more` : '');
  const reasons = [
    ...(missing.length === 0 ? [] : [`the config names weights that the file lacks: ${list(missing)}`]),
    ...(unexpected.length === 0 ? [] : [`the file holds weights that the config does not name: ${list(unexpected)}`]),
  ];
  throw new BnsumError({ code: 'MISMATCH', file, reason: reasons.join('; ') });
}
