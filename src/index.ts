/**
 * The typed library: open a model file, account for it, explain, convert, verify. Everything here is data or a lazy
 * handle; nothing prints.
 */
export { type Accounting, account, type Totals } from './account/account.ts';
export { type Explanation, explain } from './account/explain.ts';
export { explainPair, type PairExplanation } from './account/explain-pair.ts';
export { type Summary, summarise } from './account/summary.ts';
export { generateModule } from './codegen/module.ts';
export { type Plan, type PlannedTensor, planTranslation } from './convert/plan.ts';
export { translate } from './convert/translate.ts';
export type { Diagnostic, Outcome } from './ir/diagnostic.ts';
export type { DType } from './ir/dtype.ts';
export { BnsumError, isBnsumError } from './ir/error.ts';
export type { Call, Graph, Layer, Model, Tensor, Value, Weight } from './ir/model.ts';
export type { StateEntry } from './ir/state.ts';
export { type OpenOptions, openModel } from './open.ts';
export { CONTAINERS, type Container, saveState } from './save.ts';
export { verifyState } from './verify/verify.ts';
export { describe } from './views/diagnostics.ts';
