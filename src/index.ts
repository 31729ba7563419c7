/**
 * The typed library: open a model file, account for it, explain, convert, verify. Everything here is data or a lazy
 * handle; nothing prints.
 */
export { type Accounting, account, type Totals } from './account/account.ts';
export { type Explanation, explain } from './account/explain.ts';
export { explainPair, type PairExplanation } from './account/explain-pair.ts';
export { type Summary, summarise } from './account/summary.ts';
export { generateModule, type ModuleOptions } from './codegen/module.ts';
export { type Plan, type PlannedTensor, planTranslation } from './convert/plan.ts';
export { type TranslateOptions, translate } from './convert/translate.ts';
export { CONTAINERS, type Container } from './ir/containers.ts';
export type { Diagnostic, Outcome } from './ir/diagnostic.ts';
export type { DType } from './ir/dtype.ts';
export { BnsumError, isBnsumError } from './ir/error.ts';
export type { Call, Graph, Layer, Model, Tensor, Value, Weight } from './ir/model.ts';
export type { StateEntry } from './ir/state.ts';
export { openModel, type SaveOptions, saveState } from './library.ts';
export type { OpenOptions } from './open.ts';
export { type Verification, verifyState } from './verify/verify.ts';
export { describe } from './views/diagnostics.ts';
